//! Producing to a topic with delays: the part that is due goes to the partition's log, the rest to the
//! delay log, and the producer is answered when both are as durable as it asked for.
//!
//! An idempotent producer's batch takes its place among the producer's sequence numbers when it is accepted,
//! delayed or not: the partition's log notes those that it does not hold
//! ([`tidewheel_storage::SharedLog::note_delayed`]).
//!
//! A batch that is partly due is written to the delay log as a whole, with the offset at which the part that
//! is due belongs; if the process dies in between, the next start appends it there. For that nothing else may be
//! appended in between, so whatever appends to a partition with delays holds its order lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidewheel_config::{AckAll, CompressionType, DelayConfig, LogConfig, TimestampType};
use tidewheel_protocol::{BatchHeader, RecordBatch};
use tidewheel_storage::delay::request::{DelayPlan, plan};
use tidewheel_storage::delay::{
    DelayCount, DelayGroup, DelayOperation, DelayedProducerBatch, PartitionId, ProducerStamp,
};
use tidewheel_storage::{AppendInfo, StorageError, ValidBatch, recompress, validate};
use tokio::sync::oneshot;

use super::retry::Targets;
use super::start::partition_of;
use super::{Accepted, DelayDir, NEVER, dead_letters, pending_limits, position};
use crate::broker::Broker;
use crate::clock;
use crate::partition::{Acks, AppendError, AppendOutcome, Partition};
use crate::topics::Topic;

/// What a produce request asks of one partition.
pub(super) struct Produced<'a> {
    pub(super) broker: &'a Broker,
    /// That of the partition to which the records go.
    pub(super) dir: &'a DelayDir,
    pub(super) id: PartitionId,
    pub(super) partition: &'a Arc<Partition>,
    pub(super) config: Arc<LogConfig>,
    /// Its CRC and its header were checked.
    pub(super) batch: RecordBatch,
    pub(super) stamp: Option<ProducerStamp>,
    /// Whether the answer waits for the disk.
    pub(super) durable: bool,
    pub(super) now_ms: i64,
}

/// A produce request to one partition that was begun.
pub(crate) struct Begun {
    /// Its outcome, when that is known.
    pub(crate) outcome: oneshot::Receiver<AppendOutcome>,
    /// Whether it waits for a flush round.
    pub(crate) unsynced: bool,
    /// How long its producer is asked to wait before it sends more, in ms.
    pub(crate) throttle_ms: i32,
}

impl From<(oneshot::Receiver<AppendOutcome>, bool)> for Begun {
    fn from((outcome, unsynced): (oneshot::Receiver<AppendOutcome>, bool)) -> Self {
        Self {
            outcome,
            unsynced,
            throttle_ms: 0,
        }
    }
}

/// As [`Partition::append`], for a topic with delays. A producer whose batch was delayed, wholly or in part, is
/// told offset -1.
///
/// # Errors
/// As [`Partition::append`], and where the batch asks for a delay that it cannot have.
pub(crate) fn produce(
    broker: &Broker,
    place: (&Topic, i32),
    records: Bytes,
    acks: Acks,
    zstd_allowed: bool,
    now_ms: i64,
) -> Result<Begun, AppendError> {
    let begun = begin(broker, place, records, acks, zstd_allowed, now_ms);
    begun.inspect_err(|error| broker.metrics().delayed().rejected(error))
}

fn begin(
    broker: &Broker,
    (topic, index): (&Topic, i32),
    records: Bytes,
    acks: Acks,
    zstd_allowed: bool,
    now_ms: i64,
) -> Result<Begun, AppendError> {
    let partition = topic.partition(index).ok_or(AppendError::UnknownTopic)?;
    let log = partition.log();
    let config = log.config();
    if config.delay.delays() && config.cleanup_policy.compact {
        return Err(AppendError::DelayedCompacted);
    }
    let batch = Partition::check(records, zstd_allowed, &config)?;
    let retry = config.retry.clone();
    let batch = match &retry {
        // Nothing stays here.
        Some(_) => batch,
        // First, so that what waits does so in the codec of the topic, also its parts.
        None => recompress(batch, &config)?,
    };
    let targets = retry
        .as_deref()
        .map(|retry| Targets::of(broker, topic, index, retry));
    let targets = targets.transpose()?;
    let topics = broker.topics();
    let target = targets
        .as_ref()
        .and_then(|targets| partition_of(&topics, targets.again));
    let dir = broker.logs().dir_of(target.unwrap_or(partition).log());
    let dir = dir.and_then(|number| broker.delays().dir(number));
    let produced = Produced {
        broker,
        dir: dir.ok_or(AppendError::UnknownTopic)?,
        id: PartitionId {
            topic_id: topic.id,
            partition: index,
        },
        partition,
        stamp: ProducerStamp::of(&batch.header),
        durable: (acks == Acks::All && config.ack_all == AckAll::Disk)
            || config.flush_messages < i64::MAX,
        config,
        batch,
        now_ms,
    };
    let queues = || {
        let overdue = produced.dir.with(|queue| queue.has_overdue(produced.id));
        overdue.unwrap_or(false)
    };
    let plan = plan(&produced.batch, &produced.config.delay, now_ms, queues)?;
    let _order = partition.order();
    if let Some(repeated) = produced.repeated()? {
        return Ok(repeated.into());
    }
    if let (Some(retry), Some(targets)) = (retry, targets) {
        return produced.accept_retries(&retry, &targets);
    }
    match plan {
        DelayPlan::Immediate => {
            let valid = validate(produced.batch, &produced.config, now_ms)?;
            log.take_room(valid.bytes.len() as u64)?;
            Ok(partition.append_for(valid, acks, now_ms).into())
        }
        DelayPlan::Delayed {
            immediate,
            operations,
        } => produced.accept(immediate, operations),
    }
}

impl Produced<'_> {
    /// The answer where an idempotent producer's batch was accepted before.
    fn repeated(&self) -> Result<Option<(oneshot::Receiver<AppendOutcome>, bool)>, AppendError> {
        let Some(stamp) = self.stamp else {
            return Ok(None);
        };
        let log = self.partition.log();
        let found = log.is_repeated(&self.batch.header, self.now_ms);
        if matches!(found, Ok(false)) && !self.dir.halved.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let known = self
            .dir
            .with(|queue| queue.find_duplicate(self.id, stamp))
            .flatten();
        let in_log = match found {
            // Later ones of the producer went to the log, and a start found nothing but those there.
            Err(StorageError::OutOfOrderSequence { .. }) if known.is_some() => true,
            found => found?,
        };
        let Some(known) = known else {
            return match in_log {
                // It was not delayed then, whatever would become of it now.
                true => {
                    let valid = validate(self.batch.clone(), &self.undated(), self.now_ms)?;
                    let acks = if self.durable {
                        Acks::All
                    } else {
                        Acks::Leader
                    };
                    Ok(Some(self.partition.append_for(valid, acks, self.now_ms)))
                }
                false => Ok(None),
            };
        };
        let mut partly = false;
        if !in_log {
            // The delay log took it, and the part that was due then did not get to the partition.
            let delay = &self.config.delay;
            let then = plan(&self.batch, delay, known.accepted_ms, || false)?;
            if let DelayPlan::Delayed {
                immediate: Some(batch),
                ..
            } = then
            {
                let valid = validate(batch, &self.undated(), self.now_ms)?;
                self.partition
                    .append_valid(valid, self.durable, self.now_ms)?;
                partly = true;
            }
            log.note_delayed(&known)?;
        }
        let end = self.dir.with(|queue| queue.end()).unwrap_or_default();
        Ok(Some(self.wait(end, partly)))
    }

    fn accept(
        &self,
        immediate: Option<RecordBatch>,
        mut operations: Vec<DelayOperation>,
    ) -> Result<Begun, AppendError> {
        let log = self.partition.log();
        if let Some(refusal) = self.dir.failure.get().cloned().or_else(|| log.refusal()) {
            return Err(refusal.into());
        }
        self.check(&mut operations)?;
        if self.config.delay.buries_expired && operations.iter().any(may_expire) {
            let checked = dead_letters::check(self.broker, self.id);
            checked.map_err(|reason| AppendError::DeadLetters { reason })?;
        }
        // As part of what was checked it is not too large, however well it was packed before.
        let config = LogConfig {
            max_message_bytes: u32::MAX,
            ..LogConfig::clone(&self.config)
        };
        let immediate = immediate.map(|batch| validate(batch, &config, self.now_ms));
        let immediate = immediate.transpose()?;
        if let Some(valid) = &immediate {
            // Else a power cut could take what lies before it, and with it the place it belongs to.
            if log.offsets().durable < log.offsets().log_end {
                log.flush(self.now_ms)?;
            }
            operations.insert(0, immediate_operation(valid, log.offsets().log_end));
        }
        log.take_room(operations.iter().map(bytes_of).sum())?;
        let due_ms = operations.iter().filter_map(due_of).min();
        self.dir.make(self.broker.logs(), self.now_ms)?;
        let group = DelayGroup {
            partition: self.id,
            log_end: log.offsets().log_end,
            producer: self.stamp,
            operations,
        };
        let (end, throttle_ms) = self.accept_within_limits(&group)?;
        self.dir.wake(due_ms);
        let partly = immediate.is_some();
        if let Some(valid) = immediate {
            let appended = self
                .partition
                .append_valid(valid, self.durable, self.now_ms);
            // The other half is made up for when the batch comes again.
            self.note_halved(appended.is_err());
            appended?;
        }
        self.note_accepted()?;
        let (outcome, unsynced) = self.wait(end, partly);
        Ok(Begun {
            outcome,
            unsynced,
            throttle_ms,
        })
    }

    /// Notes the batch, which is in the delay log, among those of its producer.
    pub(super) fn note_accepted(&self) -> Result<(), AppendError> {
        let Some(stamp) = self.stamp else {
            return Ok(());
        };
        let noted = self.partition.log().note_delayed(&DelayedProducerBatch {
            stamp,
            accepted_ms: self.now_ms,
        });
        self.note_halved(noted.is_err());
        Ok(noted?)
    }

    /// Of an idempotent producer's batch something may be accepted and something not.
    fn note_halved(&self, is_halved: bool) {
        let halved = is_halved && self.stamp.is_some();
        self.dir.halved.fetch_or(halved, Ordering::SeqCst);
    }

    /// Gives a group to the queue, if the topic's limits allow it: the position at which it is durable, and how
    /// long the producer is asked to wait.
    fn accept_within_limits(&self, group: &DelayGroup) -> Result<(u64, i32), AppendError> {
        let (topic_id, config) = (self.id.topic_id, &self.config.delay);
        let wanted = pending_limits::wanted(&group.operations);
        let elsewhere = match pending_limits::has_limits(config) {
            true => self
                .broker
                .delays()
                .pending_elsewhere(topic_id, self.dir.number),
            false => DelayCount::default(),
        };
        let accepted = self.dir.with(|queue| {
            let mut pending = queue.pending_of_topic(topic_id);
            pending.join(elsewhere);
            pending_limits::check(config, pending, wanted)?;
            let accepted = queue.accept(group, self.now_ms);
            let accepted = accepted.map_err(|error| match error {
                StorageError::QueueFull => AppendError::TooManyCancellations,
                error => error.into(),
            })?;
            Ok((
                accepted.end,
                pending_limits::throttle_ms(config, pending, wanted),
            ))
        });
        let accepted = accepted.unwrap_or_else(|| Err(StorageError::Closed.into()));
        if accepted.is_ok() {
            let metrics = self.broker.metrics().delayed();
            metrics.accepted(wanted.records);
        }
        accepted
    }

    /// Checks the batches that become visible later as a batch that does so now, but for their timestamps:
    /// those must not lie beyond the time at which retention will see them.
    pub(super) fn check(&self, operations: &mut [DelayOperation]) -> Result<(), AppendError> {
        let config = self.undated();
        for operation in operations {
            let DelayOperation::Add(add) = operation else {
                continue;
            };
            let batch = RecordBatch::parse(add.batch.clone())?;
            let ValidBatch { header, bytes } = validate(batch, &config, self.now_ms)?;
            self.check_timestamp(&header, add.due_ms)?;
            add.batch = bytes;
        }
        Ok(())
    }

    fn check_timestamp(&self, header: &BatchHeader, due_ms: i64) -> Result<(), StorageError> {
        let after_ms = self.config.timestamp_after_max_ms;
        let latest = self.now_ms.saturating_add(after_ms).max(due_ms);
        let kept = self.config.timestamp_type == TimestampType::CreateTime;
        match header.max_timestamp > latest && kept {
            true => Err(StorageError::InvalidTimestamp {
                timestamp: header.max_timestamp,
                earliest: self
                    .now_ms
                    .saturating_sub(self.config.timestamp_before_max_ms),
                latest,
            }),
            false => Ok(()),
        }
    }

    /// The settings of the topic without those about timestamps in the future and about delays, and without
    /// the largest size, which was checked: what a part of a batch takes unpacked is bounded by
    /// `limits::DELAY_BATCH_BYTES_MAX`.
    fn undated(&self) -> LogConfig {
        let config = LogConfig::clone(&self.config);
        let kept = config.timestamp_type == TimestampType::CreateTime;
        LogConfig {
            timestamp_type: TimestampType::CreateTime,
            timestamp_after_max_ms: i64::MAX,
            timestamp_before_max_ms: if kept {
                config.timestamp_before_max_ms
            } else {
                i64::MAX
            },
            delay: DelayConfig::default(),
            compression: CompressionType::Producer,
            max_message_bytes: u32::MAX,
            ..config
        }
    }

    /// The answer: at once, or when the delay log is durable up to `end`.
    pub(super) fn wait(&self, end: u64, partly: bool) -> (oneshot::Receiver<AppendOutcome>, bool) {
        let log = self.partition.log();
        let (outcome, receiver) = oneshot::channel();
        let accepted = Accepted {
            info: AppendInfo {
                base_offset: -1,
                last_offset: -1,
                log_append_time: -1,
                log_start_offset: log.offsets().log_start,
                leader_epoch: self.broker.leader_epoch(),
                duplicate: false,
                awaits_disk: self.durable,
            },
            outcome,
            partition: partly.then(|| Arc::clone(self.partition)),
        };
        if self.durable {
            self.dir.wait_for(end, accepted);
        } else {
            crate::partition::answer(accepted.outcome, Ok(accepted.info));
        }
        (receiver, partly && self.durable)
    }
}

fn immediate_operation(valid: &ValidBatch, offset: i64) -> DelayOperation {
    DelayOperation::Immediate {
        offset,
        batch: valid.bytes.clone(),
    }
}

/// What an operation takes on disk, about.
pub(super) fn bytes_of(operation: &DelayOperation) -> u64 {
    match operation {
        DelayOperation::Add(add) => add.batch.len() as u64,
        DelayOperation::Immediate { batch, .. } => batch.len() as u64,
        DelayOperation::Cancel { id } => id.len() as u64,
        DelayOperation::CancelOne { .. }
        | DelayOperation::Expire { .. }
        | DelayOperation::Toward { .. } => 0,
    }
}

/// When an operation delivers something.
pub(super) fn due_of(operation: &DelayOperation) -> Option<i64> {
    match operation {
        DelayOperation::Add(add) => Some(add.due_ms),
        DelayOperation::Cancel { .. }
        | DelayOperation::CancelOne { .. }
        | DelayOperation::Toward { .. }
        | DelayOperation::Expire { .. }
        | DelayOperation::Immediate { .. } => None,
    }
}

/// Whether an operation delivers something that may expire before.
fn may_expire(operation: &DelayOperation) -> bool {
    matches!(operation, DelayOperation::Add(add) if add.expires_ms.is_some())
}

impl DelayDir {
    /// Something was accepted whose first record is due at `due_ms`.
    pub(super) fn wake(&self, due_ms: Option<i64>) {
        self.changed.store(true, Ordering::SeqCst);
        self.unsynced_since
            .fetch_min(clock::steady_ms(), Ordering::SeqCst);
        if due_ms.unwrap_or(NEVER) < self.looks_at.load(Ordering::SeqCst) {
            self.deliver_signal.raise();
        }
    }

    /// Lets a producer wait until the delay log is durable up to `end`.
    fn wait_for(&self, end: u64, accepted: Accepted) {
        let gone = |accepted: &Accepted| accepted.outcome.is_closed();
        self.unsynced.push(position(end), accepted, gone);
        self.urgent.store(true, Ordering::SeqCst);
        self.sync_signal.raise();
        // A sync that ended in between has passed it by, and so has a failure.
        self.settle();
    }
}
