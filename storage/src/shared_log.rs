//! `SharedLog`: what the broker holds of a partition.
//!
//! An append hands its outcome back through the waiter it came with, never as the result of the call:
//! today the caller gets its own outcome at once, with write combining it may get others' or none.
//! Reads take no lock.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewheel_config::LogConfig;
use tidewheel_protocol::{BatchHeader, TopicPartition, Uuid};

use crate::batch_validator::ValidBatch;
use crate::delay::{DelayedProducerBatch, merge_delayed, note_delayed};
use crate::error::StorageError;
use crate::log::RetentionOutcome;
use crate::log_offsets::{LogOffsetsSnapshot, VisibleEnd};
use crate::log_reader::LogRead;
use crate::partition_log::PartitionLog;
use crate::partition_state::AppendInfo;
use crate::producer_state::{ProducerEntry, SequenceCheck};
use crate::timestamps::RecordTime;

/// The number of an open log, unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u64);

/// A record's timestamp, offset and epoch, as ListOffsets answers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp, ms since 1970.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// The leader epoch it was written under, -1 where that is unknown.
    pub leader_epoch: i32,
}

/// One partition's log. `W` is whatever the caller wants back with an outcome.
#[derive(Debug)]
pub struct SharedLog<W> {
    log: Arc<PartitionLog>,
    waiter: PhantomData<fn(W) -> W>,
}

impl<W> SharedLog<W> {
    pub(crate) fn new(log: Arc<PartitionLog>) -> Self {
        Self {
            log,
            waiter: PhantomData,
        }
    }

    pub(crate) fn partition_log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// Appends a batch: assigns its offsets, writes it, and makes it visible, at once or with
    /// `durable` when it is on the disk. Returns the outcomes to hand out; one with
    /// [`AppendInfo::awaits_disk`] counts only after a flush round.
    ///
    /// An outcome is an error of the producer's sequence (`OutOfOrderSequence`,
    /// `InvalidProducerEpoch`), `DiskFull` (nothing happened, the next append may succeed), or one
    /// after which the log takes no more: `Io`, `LogDirOffline`, `PartitionDeleted`, `Closed`, and
    /// `Corrupt` for a partition in quarantine.
    pub fn append(
        &self,
        batch: ValidBatch,
        durable: bool,
        waiter: W,
        now_ms: i64,
    ) -> Vec<(W, Result<AppendInfo, StorageError>)> {
        vec![(waiter, self.log.append(&batch, durable, now_ms))]
    }

    /// Counts bytes of clients' records that are about to be appended. The broker's own logs do
    /// without: the reserve is theirs.
    ///
    /// # Errors
    /// `NoRoom` where nothing but the reserve is left of the disk.
    pub fn take_room(&self, bytes: u64) -> Result<(), StorageError> {
        self.log.dir().log_dir().take_room(bytes)
    }

    /// The offsets. Takes no lock.
    #[must_use]
    pub fn offsets(&self) -> LogOffsetsSnapshot {
        self.log.reader().offsets().snapshot()
    }

    /// How far readers see the log. Takes no lock.
    #[must_use]
    pub fn visible_end(&self) -> VisibleEnd {
        self.log.reader().offsets().visible_end()
    }

    /// The batches from the one that holds `offset` on, up to the high watermark, the end of the
    /// segment or `max_bytes`. With `whole_first_batch` the first batch is never cut, however long it
    /// is; without it a first batch that does not fit gives no slice. The last batch may be cut.
    ///
    /// # Errors
    /// `OffsetOutOfRange` before the log start or after the log end, `PartitionDeleted`, `Io`, and
    /// `Corrupt` where a batch header makes no sense.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        whole_first_batch: bool,
    ) -> Result<LogRead, StorageError> {
        self.log.reader().read(offset, max_bytes, whole_first_batch)
    }

    /// As [`SharedLog::read`], for a thread that must not wait for a disk: no file is opened, mapped or
    /// read. `None` where that would be needed, or where it is not known that the pages to look at
    /// are in memory.
    ///
    /// # Errors
    /// As [`SharedLog::read`].
    pub fn read_in_memory(
        &self,
        offset: i64,
        max_bytes: usize,
        whole_first_batch: bool,
    ) -> Result<Option<LogRead>, StorageError> {
        let reader = self.log.reader();
        reader.read_in_memory(offset, max_bytes, whole_first_batch)
    }

    /// The first visible record with a timestamp at or above `timestamp` (ms since 1970). Blocks where
    /// the log is not in the page cache; opens compressed batches.
    ///
    /// # Errors
    /// `PartitionDeleted`, `Io`, `Corrupt`.
    pub fn find_by_timestamp(
        &self,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, StorageError> {
        let found = self.log.reader().find_by_timestamp(timestamp)?;
        Ok(found.map(|found| self.with_epoch(found)))
    }

    /// The first visible record that has the largest timestamp. Blocks as
    /// [`SharedLog::find_by_timestamp`].
    ///
    /// # Errors
    /// `PartitionDeleted`, `Io`, `Corrupt`.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, StorageError> {
        let found = self.log.reader().max_timestamp()?;
        Ok(found.map(|found| self.with_epoch(found)))
    }

    /// The timestamp (ms since 1970, negative where it has none) of the first visible record at or after
    /// `offset`. Blocks as [`SharedLog::find_by_timestamp`]; reads headers, and opens one batch where the
    /// record does not begin it.
    ///
    /// # Errors
    /// `PartitionDeleted`, `Io`, `Corrupt`.
    pub fn timestamp_at(&self, offset: i64) -> Result<Option<i64>, StorageError> {
        let found = self.log.reader().find_by_offset(offset)?;
        Ok(found.map(|found| found.timestamp))
    }

    fn with_epoch(&self, found: RecordTime) -> TimestampOffset {
        let leader_epoch = self.leader_epoch_at(found.offset).unwrap_or(-1);
        TimestampOffset {
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch,
        }
    }

    /// The last epoch at or before `epoch` and the offset where it ended, as OffsetForLeaderEpoch
    /// answers; (-1, -1) where nothing is known.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        let log = self.log.lock();
        if epoch == log.state().leader_epoch() {
            // The current epoch has not ended, also where nothing was written under it yet.
            return (epoch, log.state().offsets().log_end);
        }
        log.state()
            .epochs()
            .end_offset_for(epoch, log.state().offsets().log_end)
    }

    /// The epoch that wrote the record at `offset`.
    #[must_use]
    pub fn leader_epoch_at(&self, offset: i64) -> Option<i32> {
        self.log.lock().state().epochs().epoch_for(offset)
    }

    /// The epoch this start writes under.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.log.lock().state().leader_epoch()
    }

    /// Replaces the settings; the next append goes by them.
    pub fn set_config(&self, config: LogConfig) {
        self.log.config().store(Arc::new(config));
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> Arc<LogConfig> {
        self.log.config().load_full()
    }

    /// Takes segments out of the log that the settings no longer keep. Their files are renamed by the
    /// next checkpoint and unlinked `file.delete.delay.ms` later; slices that readers hold stay good.
    ///
    /// # Errors
    /// As an append: the active segment may have to be rolled.
    pub fn apply_retention(&self, now_ms: i64) -> Result<RetentionOutcome, StorageError> {
        self.log.apply_retention(now_ms)
    }

    /// Begins a new segment, unless the active one is empty; whether it did, and the base offset of the active
    /// segment.
    ///
    /// # Errors
    /// As an append.
    pub fn roll(&self, now_ms: i64) -> Result<(bool, i64), StorageError> {
        let config = self.config();
        // Compaction puts segments in the place of others meanwhile.
        let _maintenance = self.log.maintenance();
        self.log.lock_with_room().roll(&config, now_ms)
    }

    /// Takes no append until the next start, because of damage that somebody has found. What was refused before
    /// stays so for the same reason.
    pub fn refuse(&self, damage: StorageError) {
        let mut log = self.log.lock();
        if log.refusal().is_none() {
            log.refuse(damage);
        }
    }

    /// Deletes records before `offset` for readers; returns the log start, which is never moved back.
    ///
    /// # Errors
    /// `OffsetOutOfRange` above the high watermark, `DeliveriesNotNoted`; else as an append.
    pub fn advance_log_start(&self, offset: i64) -> Result<i64, StorageError> {
        self.log.lock().advance_log_start(offset)
    }

    /// Lets nothing at or after an offset be removed, by retention, compaction or DeleteRecords: from there on a
    /// start looks for what was delivered. Where something has to stay already, that does.
    pub fn keep_from(&self, offset: i64) {
        self.log.lock().keep_from(offset);
    }

    /// Where what has to stay begins, if anything has to.
    #[must_use]
    pub fn kept_from(&self) -> Option<i64> {
        self.log.lock().kept_from()
    }

    /// Only records at or after an offset have to stay from here on, or none.
    pub fn keep_only(&self, from: Option<i64>) {
        self.log.lock().keep_only(from);
    }

    /// Shows readers of a topic with a fixed delay what has waited long enough at `now_ms`, ms since 1970; when
    /// to call it next, and `None` where nothing waits. One thread at a time. Reads headers, maybe from disk.
    ///
    /// # Errors
    /// `PartitionDeleted`, `Io`, `Corrupt`.
    pub fn reveal(&self, now_ms: i64) -> Result<Option<i64>, StorageError> {
        self.log.reveal(now_ms)
    }

    /// On a topic with a fixed delay: hides what may not have been visible before the start, until
    /// [`SharedLog::reveal`] shows it. Before anybody reads the log.
    pub fn hide_pending(&self) {
        self.log.hide_pending();
    }

    /// Whether a batch of an idempotent producer was taken before, into the log or by
    /// [`SharedLog::note_delayed`]. Fails as an append would, for a batch without a producer too.
    ///
    /// # Errors
    /// Those of [`SharedLog::append`].
    pub fn is_repeated(&self, header: &BatchHeader, now_ms: i64) -> Result<bool, StorageError> {
        let config = self.log.config().load();
        let mut log = self.log.lock();
        let producers = log.producers_for_delay(&config, now_ms)?;
        Ok(producers.check(header, now_ms)? != SequenceCheck::New)
    }

    /// Notes a batch of an idempotent producer that went to the delay log, after [`SharedLog::is_repeated`]
    /// said no.
    ///
    /// # Errors
    /// Those of [`SharedLog::append`].
    pub fn note_delayed(&self, batch: &DelayedProducerBatch) -> Result<(), StorageError> {
        let config = self.log.config().load();
        let mut log = self.log.lock();
        let producers = log.producers_for_delay(&config, batch.accepted_ms)?;
        note_delayed(producers, batch);
        Ok(())
    }

    /// Brings back what [`SharedLog::note_delayed`] had noted before a start: the batches that the delay log
    /// knows of, oldest first within a producer.
    ///
    /// # Errors
    /// Those of [`SharedLog::append`].
    pub fn merge_delayed(
        &self,
        batches: &[DelayedProducerBatch],
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let config = self.log.config().load();
        let mut log = self.log.lock();
        let producers = log.producers_for_delay(&config, now_ms)?;
        merge_delayed(producers, batches);
        Ok(())
    }

    /// How many idempotent producers the log remembers.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.log.lock().state().producers().len()
    }

    /// The idempotent producers the log remembers, by id in ascending order, at most
    /// [`PRODUCERS_MAX`](crate::producer_state::PRODUCERS_MAX).
    #[must_use]
    pub fn producers(&self) -> Vec<(i64, ProducerEntry)> {
        let log = self.log.lock();
        let known = log.state().producers().sorted().into_iter();
        known.map(|(id, entry)| (id, entry.clone())).collect()
    }

    /// Makes everything written so far durable, on this thread; it becomes visible.
    ///
    /// # Errors
    /// `Io` where the sync fails, which takes the log directory offline.
    pub fn flush(&self, _now_ms: i64) -> Result<(), StorageError> {
        self.log.flush()
    }

    /// Bytes of all segments. Takes no lock.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.reader().list().size_bytes()
    }

    /// How many segments there are. Takes no lock.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.log.reader().list().all().len()
    }

    /// Which partition it is.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        self.log.tp()
    }

    /// The id of its topic.
    #[must_use]
    pub fn topic_id(&self) -> Uuid {
        self.log.topic_id()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.log.id()
    }

    /// Why what was appended will not become durable any more, if it will not: the directory is offline
    /// or the partition was deleted. Takes no lock.
    #[must_use]
    pub fn failure(&self) -> Option<StorageError> {
        let dir = self.log.dir();
        if dir.is_deleted() {
            return Some(StorageError::PartitionDeleted);
        }
        let cause = dir.log_dir().offline_cause().or_else(|| dir.unavailable());
        cause.cloned()
    }

    /// Whether damage was found in durable data, so that the log is kept for reading only. For those who watch
    /// and must not wait: of a log that somebody works on just now it is false.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        if self.unavailable().is_some() {
            return false;
        }
        let log = self.log.try_lock();
        let refusal = log.as_ref().and_then(|log| log.refusal());
        refusal.is_some_and(|refusal| {
            !matches!(
                refusal,
                StorageError::Closed | StorageError::PartitionDeleted
            )
        })
    }

    /// Why the log takes no appends at the moment, if it does not: its directory is offline, it was
    /// deleted or closed, or recovery found damage and keeps it for reading only.
    #[must_use]
    pub fn refusal(&self) -> Option<StorageError> {
        self.failure()
            .or_else(|| self.log.lock().refusal().cloned())
    }

    /// Why nothing of it can be read before another start, offsets included, if so: its directory is lost, or what a
    /// start must read of it cannot be read. Takes no lock.
    #[must_use]
    pub fn unavailable(&self) -> Option<StorageError> {
        self.log.dir().unavailable().cloned()
    }

    /// The damage for which the log is kept for reading only, if there is any.
    #[must_use]
    pub fn damage(&self) -> Option<StorageError> {
        let log = self.log.lock();
        let refusal = log.refusal();
        let damage = refusal.filter(|refusal| matches!(refusal, StorageError::Corrupt { .. }));
        damage.cloned()
    }
}
