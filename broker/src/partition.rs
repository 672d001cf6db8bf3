//! One partition: its log, the producers that wait for the disk, the fetches that wait for data.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::{AckAll, CompressionType, LogConfig, limits};
use tidewheel_protocol::{Compression, RecordBatch, UncheckedBatch};
use tidewheel_storage::delay::request::DelayError;
use tidewheel_storage::{
    AppendInfo, SharedLog, StorageError, ValidBatch, validate, validate_header,
};
use tokio::sync::oneshot;

use crate::ack_wait::AckWaits;
use crate::fetch_wait::FetchWaits;
use crate::metrics::TopicTraffic;
use crate::rate_limit::RateLimit;
use crate::recent_input::RecentInput;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Which produce requests an append belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acks {
    /// `acks=0` or `1`: answered when the batch is in the page cache, unless `flush.messages` is
    /// reached.
    Leader,
    /// `acks=-1`: answered when the batch is as durable as the topic's `tidewheel.ack.all` asks.
    All,
}

/// The outcome of an append, on its way to the request that asked for it.
pub(crate) type AppendOutcome = Result<AppendInfo, AppendError>;

/// Why a batch was not appended.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The bytes are not exactly one valid record batch.
    #[error(transparent)]
    Batch(#[from] tidewheel_protocol::BatchError),
    /// The log refused it or failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The request carries nothing for the partition.
    #[error("a produce request carries exactly one record batch for each partition")]
    NoRecords,
    /// The topic or partition does not exist, or was deleted meanwhile.
    #[error("there is no such topic or partition")]
    UnknownTopic,
    /// Only the broker itself writes to the topic.
    #[error("this topic is the broker's own")]
    InternalTopic,
    /// No topic has the id.
    #[error("there is no topic with this id")]
    UnknownTopicId,
    /// `acks` is none of -1, 0 and 1.
    #[error("acks must be -1 (all), 0 or 1")]
    InvalidAcks,
    /// zstd in a version of Produce whose clients cannot read it.
    #[error("zstd needs Produce 7 or later")]
    ZstdTooNew,
    /// A transactional request, before transactions are built.
    #[error("transactions are not supported yet")]
    Transactional,
    /// The disk took longer than the client waits; the batch may still become durable.
    #[error("not acknowledged by the disk in time")]
    TimedOut,
    /// A delay that a batch asks for and cannot have.
    #[error(transparent)]
    Delay(#[from] DelayError),
    /// Delays on a topic that is compacted by now.
    #[error("delay.mode is set on a topic that is compacted: nothing can be produced to it")]
    DelayedCompacted,
    /// Nothing more may be delayed in the topic for now.
    #[error(
        "{pending} {what} of the topic are pending and {wanted} more do not fit into {key}={max}"
    )]
    TooMuchPending {
        /// Records or bytes.
        what: &'static str,
        /// The setting that says so.
        key: &'static str,
        /// Its value.
        max: u64,
        /// As many are pending now.
        pending: u64,
        /// As many were to be added.
        wanted: u64,
    },
    /// A retry topic whose records cannot go where its settings say.
    #[error("{reason}")]
    RetryTarget {
        /// Which topic, and what is wrong with it.
        reason: String,
    },
    /// Records that may expire on a topic without a place for those.
    #[error("{reason}")]
    DeadLetters {
        /// Which topic, and what is wrong with it.
        reason: String,
    },
    /// Another cancellation would be one too many.
    #[error("more than {max} cancellations of delayed records wait for what they could mean",
        max = limits::DELAY_TOMBSTONES_MAX)]
    TooManyCancellations,
    /// `min.insync.replicas` asks for more replicas than one broker is allowed to stand for.
    #[error("min.insync.replicas={wanted} cannot be met by a single broker")]
    NotEnoughReplicas { wanted: i32 },
}

/// What the log hands back with an append's outcome.
#[derive(Debug)]
pub(crate) struct AppendWaiter {
    outcome: oneshot::Sender<AppendOutcome>,
}

impl AppendWaiter {
    /// A waiter and the receiver of what it is told.
    pub(crate) fn new() -> (Self, oneshot::Receiver<AppendOutcome>) {
        let (outcome, receiver) = oneshot::channel();
        (Self { outcome }, receiver)
    }

    /// Passes on the log's outcome.
    pub(crate) fn answer(self, result: Result<AppendInfo, StorageError>) {
        answer(self.outcome, result.map_err(AppendError::from));
    }
}

/// What the broker itself has to do when appended bytes are on disk, or when that has failed.
pub(crate) trait WhenDurable: Send {
    /// Does it.
    fn finish(self: Box<Self>, result: Result<(), AppendError>);

    /// Whether nobody is left for whom it would be done.
    fn is_gone(&self) -> bool;
}

/// Who waits for appended bytes to be on disk.
enum DurableWaiter {
    /// The producer of a batch.
    Batch {
        info: AppendInfo,
        outcome: oneshot::Sender<AppendOutcome>,
    },
    /// The broker itself.
    Own(Box<dyn WhenDurable>),
}

impl DurableWaiter {
    fn finish(self, result: Result<(), AppendError>) {
        match self {
            Self::Batch { info, outcome } => answer(outcome, result.map(|()| info)),
            Self::Own(then) => then.finish(result),
        }
    }

    /// Its request has timed out or its connection is closed.
    fn is_gone(&self) -> bool {
        match self {
            Self::Batch { outcome, .. } => outcome.is_closed(),
            Self::Own(then) => then.is_gone(),
        }
    }
}

impl fmt::Debug for DurableWaiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Batch { .. } => "Batch",
            Self::Own(_) => "Own",
        })
    }
}

/// The log type of this broker.
pub(crate) type PartitionLog = SharedLog<AppendWaiter>;

/// One partition of one topic, shared by every request that names it.
#[derive(Debug)]
pub(crate) struct Partition {
    log: Arc<PartitionLog>,
    unsynced: AckWaits<DurableWaiter>,
    waits: FetchWaits,
    traffic: Arc<TopicTraffic>,
    recent: RecentInput,
    /// Held by whatever appends to a partition with delays.
    order: Mutex<()>,
    unreadable: RateLimit,
}

impl Partition {
    /// A partition whose topic is counted in `traffic`.
    pub(crate) fn new(log: Arc<PartitionLog>, traffic: Arc<TopicTraffic>) -> Self {
        Self {
            log,
            unsynced: AckWaits::default(),
            waits: FetchWaits::default(),
            traffic,
            recent: RecentInput::default(),
            order: Mutex::new(()),
            unreadable: RateLimit::new(),
        }
    }

    /// Bounds the lines about what cannot be read in it: consumers come again and again.
    pub(crate) fn unreadable(&self) -> &RateLimit {
        &self.unreadable
    }

    /// What is counted of its topic.
    pub(crate) fn traffic(&self) -> &Arc<TopicTraffic> {
        &self.traffic
    }

    /// The right to append, where the topic has delays: the end of the log stays where it is meanwhile.
    pub(crate) fn order(&self) -> MutexGuard<'_, ()> {
        // It guards no data that a panic could leave half-changed.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log, for reading.
    pub(crate) fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// The fetches that wait here.
    pub(crate) fn waits(&self) -> &FetchWaits {
        &self.waits
    }

    /// Checks and appends one batch. When this returns, the batch has its place in the order; the
    /// outcome comes through the receiver, where it awaits the disk after a flush round.
    ///
    /// Also returns whether the flush thread has something to do that a producer waits for.
    ///
    /// # Errors
    /// Where the batch is refused before it reaches the log.
    pub(crate) fn append(
        &self,
        records: Bytes,
        acks: Acks,
        zstd_allowed: bool,
        now_ms: i64,
    ) -> Result<(oneshot::Receiver<AppendOutcome>, bool), AppendError> {
        let config = self.log.config();
        let batch = Self::check(records, zstd_allowed, &config)?;
        let batch = validate(batch, &config, now_ms)?;
        self.log.take_room(batch.bytes.len() as u64)?;
        Ok(self.append_for(batch, acks, now_ms))
    }

    /// Checks the header and the CRC of one batch.
    ///
    /// # Errors
    /// Where it may not be appended.
    pub(crate) fn check(
        records: Bytes,
        zstd_allowed: bool,
        config: &LogConfig,
    ) -> Result<RecordBatch, AppendError> {
        // The header first: what it rules out costs no pass over the bytes.
        let batch = UncheckedBatch::parse(records)?;
        validate_header(&batch.header, config)?;
        if !zstd_allowed && batch.header.compression() == Ok(Compression::Zstd) {
            return Err(AppendError::ZstdTooNew);
        }
        Ok(batch.check_crc()?)
    }

    /// What producers sent lately.
    pub(crate) fn recent(&self) -> &RecentInput {
        &self.recent
    }

    /// Appends a batch that was checked; see [`Partition::append`].
    pub(crate) fn append_for(
        &self,
        batch: ValidBatch,
        acks: Acks,
        now_ms: i64,
    ) -> (oneshot::Receiver<AppendOutcome>, bool) {
        let durable = acks == Acks::All && self.log.config().ack_all == AckAll::Disk;
        let (waiter, outcome) = AppendWaiter::new();
        let (records, bytes) = (batch.header.record_count, batch.bytes.len());
        let outcomes = self.log.append(batch, durable, waiter, now_ms);
        let is_new = |info: &AppendInfo| !info.duplicate;
        if outcomes
            .iter()
            .any(|(_, result)| result.as_ref().is_ok_and(is_new))
        {
            self.traffic.appended(records, bytes);
            self.recent.appended(records, bytes);
        }
        (outcome, self.deliver(outcomes))
    }

    /// Appends a batch that was checked, for nobody who waits for the disk. With `durable` it becomes visible
    /// by the next flush round, which the caller asks for.
    ///
    /// # Errors
    /// Where the log does not take it: then it holds nothing of it.
    pub(crate) fn append_valid(
        &self,
        batch: ValidBatch,
        durable: bool,
        now_ms: i64,
    ) -> Result<AppendInfo, StorageError> {
        let mut own = Err(StorageError::PartitionDeleted);
        let (waiter, _outcome) = AppendWaiter::new();
        // Each caller gets its own outcome at once.
        for (waiter, result) in self.log.append(batch, durable, waiter, now_ms) {
            own.clone_from(&result);
            waiter.answer(result);
        }
        self.waits.advanced(self.log.visible_end());
        own
    }

    /// Shows waiting fetches what has waited long enough on a topic with a fixed delay; see
    /// [`SharedLog::reveal`].
    pub(crate) fn reveal(&self, now_ms: i64) -> Result<Option<i64>, StorageError> {
        let next_ms = self.log.reveal(now_ms);
        self.waits.advanced(self.log.visible_end());
        next_ms
    }

    /// Appends a batch of the broker's own to a partition that nobody else writes to. Its size has no
    /// other bound than `limits::OFFSETS_BATCH_BYTES_MAX`.
    ///
    /// # Errors
    /// Where the log does not take it: then it holds nothing of it.
    pub(crate) fn append_own(&self, batch: RecordBatch, now_ms: i64) -> Result<(), AppendError> {
        let mut config = LogConfig::clone(&self.log.config());
        config.max_message_bytes = limits::OFFSETS_BATCH_BYTES_MAX;
        // Whoever waits for it holds a lock.
        config.compression = CompressionType::Producer;
        let batch = validate(batch, &config, now_ms)?;
        self.append_valid(batch, config.ack_all == AckAll::Disk, now_ms)?;
        Ok(())
    }

    /// Does `then` once all that is appended now is as durable as `acks=all` asks; returns whether that
    /// waits for the flush thread, which may do it before this returns or be the one who does.
    pub(crate) fn when_durable(&self, then: Box<dyn WhenDurable>) -> bool {
        let offsets = self.log.offsets();
        let waits = self.log.config().ack_all == AckAll::Disk && offsets.durable < offsets.log_end;
        if waits {
            let waiter = DurableWaiter::Own(then);
            self.unsynced
                .push(offsets.log_end, waiter, DurableWaiter::is_gone);
            // A flush that ended in between has passed it by, and so has a failure.
            self.settle();
        } else {
            then.finish(Ok(()));
        }
        waits
    }

    /// Does `then`, with an error, once nothing that is appended will become durable any more.
    pub(crate) fn when_failed(&self, then: Box<dyn WhenDurable>) {
        let waiter = DurableWaiter::Own(then);
        self.unsynced.push(i64::MAX, waiter, DurableWaiter::is_gone);
        // A failure that came in between has passed it by.
        self.settle();
    }

    /// Hands out outcomes of the log. Returns whether one of them waits for the disk.
    fn deliver(&self, outcomes: Vec<(AppendWaiter, Result<AppendInfo, StorageError>)>) -> bool {
        let mut unsynced = false;
        for (waiter, result) in outcomes {
            match result {
                Ok(info) if info.awaits_disk => {
                    let end_offset = info.last_offset + 1;
                    let outcome = waiter.outcome;
                    let waiter = DurableWaiter::Batch { info, outcome };
                    self.unsynced
                        .push(end_offset, waiter, DurableWaiter::is_gone);
                    unsynced = true;
                }
                result => waiter.answer(result),
            }
        }
        if unsynced {
            // A flush that ended between the append and the push has passed these waiters by.
            self.settle();
        } else {
            self.waits.advanced(self.log.visible_end());
        }
        unsynced
    }

    /// Answers the producers whose batches are on disk and wakes fetches that may see them. Called after
    /// every flush round that moved this log.
    pub(crate) fn settle(&self) {
        let failure = self.log.failure();
        let durable = self.log.offsets().durable;
        for waiter in self.unsynced.take_done(durable) {
            waiter.finish(Ok(()));
        }
        self.waits.advanced(self.log.visible_end());
        if let Some(error) = failure {
            for waiter in self.unsynced.take_all() {
                waiter.finish(Err(error.clone().into()));
            }
            self.waits.interrupt_all();
        }
    }
}

/// Sends an outcome. A receiver that is gone has closed its connection: the append stands all the same.
pub(crate) fn answer(outcome: oneshot::Sender<AppendOutcome>, result: AppendOutcome) {
    drop(outcome.send(result));
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use tidewheel_config::{BrokerConfig, LogConfig, Sources};
    use tidewheel_protocol::{RecordBatchBuilder, TopicPartition, Uuid};
    use tidewheel_storage::fs::SimFs;
    use tidewheel_storage::{LivePartition, LogManager, LogManagerOptions};
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::metrics::Traffic;

    /// A partition on a disk in memory, which nobody flushes.
    pub(crate) fn partition(
        disk: &SimFs,
        overrides: &[(&str, &str)],
    ) -> (LogManager<AppendWaiter>, Partition) {
        let dirs = vec![PathBuf::from("/data")];
        let options = LogManagerOptions::new(dirs, 1, "cluster".to_owned(), vec![Uuid([1; 16])]);
        let logs = LogManager::open(Arc::new(disk.clone()), options).unwrap();
        let overrides = overrides.iter().map(|(name, value)| {
            let (name, value) = (*name, *value);
            (name.to_owned(), value.to_owned())
        });
        let config = BrokerConfig::load(&Sources::default()).unwrap();
        let live = LivePartition {
            tp: TopicPartition {
                topic: Arc::from("t"),
                partition: 0,
            },
            topic_id: Uuid([2; 16]),
            config: LogConfig::resolve(&config, &overrides.collect()).unwrap(),
        };
        let traffic = Traffic::default().of(&live.tp.topic);
        let partition = Partition::new(logs.create(live, 0).unwrap(), traffic);
        (logs, partition)
    }

    fn batch() -> RecordBatch {
        let builder = RecordBatchBuilder::new().record(1, Some(b"k"), None);
        builder.build().unwrap()
    }

    #[test]
    fn with_flush_messages_1_a_leader_append_is_answered_by_the_flush_round() {
        let (logs, partition) = partition(&SimFs::new(), &[("flush.messages", "1")]);
        let records = batch().bytes;
        let (mut outcome, waits) = partition.append(records, Acks::Leader, true, 1).unwrap();
        assert!(waits, "the flush thread is woken");
        assert_eq!(outcome.try_recv().unwrap_err(), TryRecvError::Empty);
        partition.settle();
        assert_eq!(outcome.try_recv().unwrap_err(), TryRecvError::Empty);
        assert!(logs.flush_round(0).error.is_none());
        partition.settle();
        assert_eq!(outcome.try_recv().unwrap().unwrap().base_offset, 0);
    }

    struct Listener {
        /// Counts those that are still there.
        _counted: Arc<()>,
        is_gone: bool,
    }

    impl WhenDurable for Listener {
        fn finish(self: Box<Self>, _: Result<(), AppendError>) {}

        fn is_gone(&self) -> bool {
            self.is_gone
        }
    }

    #[test]
    fn while_the_disk_hangs_those_whom_nobody_listens_to_do_not_pile_up() {
        let (_logs, partition) = partition(&SimFs::new(), &[]);
        partition.append_own(batch(), 1).unwrap();
        let (stays, gone) = (Arc::new(()), Arc::new(()));
        let wait = |counter: &Arc<()>, is_gone| {
            let counted = Arc::clone(counter);
            let listener = Listener {
                _counted: counted,
                is_gone,
            };
            assert!(partition.when_durable(Box::new(listener)));
        };
        (0..10).for_each(|_| wait(&stays, false));
        (0..10_000).for_each(|_| wait(&gone, true));
        assert_eq!(Arc::strong_count(&stays), 11);
        let left = Arc::strong_count(&gone);
        assert!(left < 200, "{left} are left");
    }
}
