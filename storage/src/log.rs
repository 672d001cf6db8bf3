//! `Log`: the state of one partition and its files, owned by whoever holds the partition's mutex.
//!
//! It assigns offsets and keeps [`PartitionState`] (pure) and [`Segments`] (files) in step. The list
//! of segments and the log start change only in [`Log::edit`], which also publishes them.
//!
//! **Order of an append**: sequence check, roll if needed, one write, then state, then published
//! length and offsets. A failure at any step leaves everything before it as it was: a roll whose
//! file cannot be made did not happen, and a write that failed published nothing.
//!
//! After a clean stop a log is known without being opened; the producers and the index of the
//! active segment are loaded by the first append.

mod held_back;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;

use tidewheel_config::LogConfig;

use crate::batch_validator::ValidBatch;
use crate::checkpoint::read_small;
use crate::error::StorageError;
use crate::log_checkpoint::CheckpointPlan;
use crate::log_offsets::{LogPoint, VisibleEnd};
use crate::log_reader::LogReader;
use crate::partition_dir::PartitionDir;
use crate::partition_state::{AppendInfo, AppendPlan, PartitionState};
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::retention::{DeletedSegments, SegmentFacts, segments_to_delete};
use crate::segment::LogSegment;
use crate::segment::SNAPSHOT;
use crate::segments::{BatchWrite, Doomed, FlushPlan, Segments};

/// Bytes of a batch that are rewritten: base offset, length, leader epoch.
const PREFIX_LEN: usize = 16;

/// A change of the segment list or the log start.
#[derive(Clone, Debug)]
pub(crate) enum LogEdit {
    /// Begin a new segment at the log end.
    Roll,
    /// Records before this offset are gone for readers.
    AdvanceLogStart(i64),
    /// The segments before the one with this base offset leave the log.
    DropBefore(i64),
    /// A segment takes the place of those from its base offset on that end at `end`.
    Replace {
        /// It is sealed, and ends where they do.
        with: Arc<LogSegment>,
        /// The base offset of the segment that follows.
        end: i64,
    },
}

/// What retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionOutcome {
    /// Segments that left the log, and why.
    pub deleted: DeletedSegments,
    /// Bytes of their `.log` files; they are freed `file.delete.delay.ms` after the next checkpoint.
    pub deleted_bytes: u64,
    /// The partition's first offset now.
    pub log_start: i64,
}

impl RetentionOutcome {
    /// How many segments left the log.
    #[must_use]
    pub fn deleted_segments(&self) -> usize {
        self.deleted.count()
    }
}

/// Producers that lie in a snapshot file until the first append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unopened {
    /// The offset in the snapshot's name; `None` where no producer is known.
    pub(crate) snapshot_offset: Option<i64>,
    /// `producer.id.expiration.ms`.
    pub(crate) producer_expiration_ms: i64,
}

/// What a log is made of.
#[derive(Debug)]
pub(crate) struct LogParts {
    /// Offsets, epochs, producers.
    pub(crate) state: PartitionState,
    /// Files.
    pub(crate) segments: Segments,
    /// Set where producers and active index are still to be loaded.
    pub(crate) unopened: Option<Unopened>,
    /// Why the log takes no append, if it does not.
    pub(crate) refusal: Option<StorageError>,
    /// Whether a checkpoint has something to write.
    pub(crate) changed: bool,
}

/// One partition's log.
#[derive(Debug)]
pub(crate) struct Log {
    state: PartitionState,
    segments: Segments,
    reader: Arc<LogReader>,
    unopened: Option<Unopened>,
    refusal: Option<StorageError>,
    changed: bool,
    epochs_changed: bool,
    last_append_ms: i64,
    /// Records written since the last flush began.
    records_unflushed: i64,
    bytes_at_checkpoint: u64,
    /// What a start has to find: records from here on stay.
    kept_from: Option<i64>,
}

impl Log {
    /// Puts a log together and publishes it to readers.
    pub(crate) fn new(parts: LogParts) -> Self {
        let dir = Arc::clone(parts.segments.dir());
        let reader = Arc::new(LogReader::new(dir, Arc::clone(parts.segments.list())));
        let log = Self {
            state: parts.state,
            segments: parts.segments,
            reader,
            unopened: parts.unopened,
            refusal: parts.refusal,
            changed: parts.changed,
            epochs_changed: parts.changed,
            last_append_ms: i64::MIN,
            records_unflushed: 0,
            bytes_at_checkpoint: 0,
            kept_from: None,
        };
        log.publish();
        log
    }

    /// What readers see.
    pub(crate) fn reader(&self) -> &Arc<LogReader> {
        &self.reader
    }

    /// Offsets, epochs, producers.
    pub(crate) fn state(&self) -> &PartitionState {
        &self.state
    }

    /// Files.
    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The snapshot that holds the producers while the log was not opened yet.
    pub(crate) fn unopened(&self) -> Option<Unopened> {
        self.unopened
    }

    /// Why the log takes no append, if it does not.
    pub(crate) fn refusal(&self) -> Option<&StorageError> {
        self.refusal.as_ref()
    }

    /// Takes no append from here on.
    pub(crate) fn refuse(&mut self, why: StorageError) {
        self.refusal = Some(why);
    }

    /// Whether a checkpoint has something to write.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Bytes written since the last checkpoint of this log.
    pub(crate) fn bytes_since_checkpoint(&self) -> u64 {
        self.state.end().bytes - self.bytes_at_checkpoint
    }

    /// When the last batch was written, ms since 1970; `i64::MIN` for none since the start.
    pub(crate) fn last_append_ms(&self) -> i64 {
        self.last_append_ms
    }

    /// Appends a batch. `durable` holds it back from readers until it is on the disk, and so does
    /// `flush.messages` the batch that reaches it: where Kafka syncs within the append, this log
    /// leaves it to the flush round that the caller makes due.
    pub(crate) fn append(
        &mut self,
        batch: &ValidBatch,
        durable: bool,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<AppendInfo, StorageError> {
        self.check_writable()?;
        self.open(config, now_ms)?;
        let header = match self.state.plan(&batch.header, durable, now_ms)? {
            AppendPlan::Duplicate(info) => return Ok(info),
            AppendPlan::Write(header) => header,
        };
        let records_unflushed = self
            .records_unflushed
            .saturating_add(i64::from(header.record_count));
        let durable = durable || records_unflushed >= config.flush_messages;
        let segment_ms = self.segment_ms(config);
        if self.segments.is_full_for(&header, config, segment_ms) {
            self.edit(LogEdit::Roll)?;
        }
        let prefix = header.patched_prefix(header.base_offset, header.partition_leader_epoch);
        let rest = &batch.bytes[PREFIX_LEN..];
        self.segments.write(
            &BatchWrite {
                header: &header,
                prefix: &prefix,
                rest,
            },
            config,
        )?;
        if config.delay.holds_back().is_some() {
            self.state.draw_curtain();
        }
        let start = self.state.end();
        let size = header.size_in_bytes() as u64;
        let end = LogPoint {
            offset: header.next_offset(),
            bytes: start.bytes + size,
            segment_base: start.segment_base,
            position: start.position + size,
        };
        let (info, new_epoch) = self.state.commit(&header, start, end, durable, now_ms);
        self.changed = true;
        self.epochs_changed |= new_epoch;
        self.last_append_ms = now_ms;
        self.records_unflushed = records_unflushed;
        self.publish();
        Ok(info)
    }

    /// The only way in which the segment list and the log start change.
    pub(crate) fn edit(&mut self, edit: LogEdit) -> Result<(), StorageError> {
        match edit {
            LogEdit::Roll => {
                let snapshot = producer_snapshot::encode(self.state.producers());
                self.segments
                    .roll(self.state.end().offset, Arc::from(snapshot))?;
                self.state.rolled();
            }
            LogEdit::AdvanceLogStart(offset) => {
                self.state.advance_log_start(offset);
            }
            LogEdit::DropBefore(base_offset) => {
                self.segments.drop_before(base_offset);
                self.state.advance_log_start(base_offset);
            }
            LogEdit::Replace { with, end } => self.segments.replace(with, end),
        }
        self.changed = true;
        self.reader.show_list(Arc::clone(self.segments.list()));
        self.publish();
        Ok(())
    }

    /// Takes segments out of the log that are older or more than the configuration keeps.
    pub(crate) fn apply_retention(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<RetentionOutcome, StorageError> {
        self.check_writable()?;
        let list = Arc::clone(self.segments.list());
        let (all, log_end) = (list.all(), self.state.offsets().log_end);
        let (expired, deleted) = self.expired(config, now_ms);
        let sealed = expired.len().min(all.len() - 1);
        if sealed > 0 {
            self.edit(LogEdit::DropBefore(all[sealed].base_offset()))?;
        }
        if expired.len() == all.len() {
            self.open(config, now_ms)?;
            self.edit(LogEdit::Roll)?;
            self.edit(LogEdit::DropBefore(log_end))?;
        }
        Ok(RetentionOutcome {
            deleted,
            deleted_bytes: expired.iter().map(|facts| facts.bytes).sum(),
            log_start: self.state.offsets().log_start,
        })
    }

    /// The segments, from the oldest on, that are older or more than the configuration keeps, and how many of
    /// them go for which reason.
    pub(crate) fn expired(
        &self,
        config: &LogConfig,
        now_ms: i64,
    ) -> (Vec<SegmentFacts>, DeletedSegments) {
        let offsets = self.state.offsets();
        let all = self.segments.list().all();
        let ends = all[1..]
            .iter()
            .map(|next| next.base_offset())
            .chain([offsets.log_end]);
        let mut facts: Vec<_> = all
            .iter()
            .zip(ends)
            .map(|(segment, end_offset)| SegmentFacts {
                end_offset,
                bytes: segment.published_len(),
                max_timestamp: if config.retention_ms >= 0 {
                    segment.dated_ms()
                } else {
                    segment.max_timestamp().timestamp
                },
            })
            .collect();
        let limits = self.limits(config, offsets.log_start, now_ms);
        let deleted = segments_to_delete(&facts, &limits);
        facts.truncate(deleted.count());
        (facts, deleted)
    }

    /// Bytes of the segments that left the log and whose files are still there.
    pub(crate) fn doomed_bytes(&self) -> u64 {
        let doomed = self.segments.doomed().iter();
        doomed.map(|doomed| doomed.segment.published_len()).sum()
    }

    /// Moves the log start to `offset`, which is at most the high watermark.
    pub(crate) fn advance_log_start(&mut self, offset: i64) -> Result<i64, StorageError> {
        self.check_writable()?;
        let offsets = self.state.offsets();
        if offset > offsets.high_watermark || offset < 0 {
            let (start, end) = (offsets.log_start, offsets.high_watermark);
            return Err(StorageError::OffsetOutOfRange { offset, start, end });
        }
        if let Some(kept) = self.kept_from.filter(|kept| offset > *kept) {
            return Err(StorageError::DeliveriesNotNoted { offset: kept });
        }
        if offset > offsets.log_start {
            self.edit(LogEdit::AdvanceLogStart(offset))?;
        }
        Ok(self.state.offsets().log_start)
    }

    /// What has to be synced to make all that is written now durable.
    pub(crate) fn flush_plan(&mut self) -> FlushPlan {
        self.records_unflushed = 0;
        self.segments.flush_plan(self.state.end())
    }

    /// A flush is done: the durable offset and maybe the high watermark move.
    pub(crate) fn flushed(&mut self, plan: &FlushPlan) {
        self.segments.flushed(plan);
        self.state.durable_to(plan.point);
        self.publish();
    }

    /// What the next checkpoint writes, `None` where nothing changed. `closing` ends the log: no
    /// append follows, and the active segment is completed like a sealed one.
    pub(crate) fn checkpoint_plan(
        &mut self,
        closing: bool,
        now_ms: i64,
    ) -> Result<Option<CheckpointPlan>, StorageError> {
        // The last checkpoint may have got to the end without completing the active segment.
        let incomplete = closing && self.segments.is_active_incomplete();
        if self.refusal.is_some() || !(self.changed || incomplete) {
            return Ok(None);
        }
        if !self.segments.doomed().is_empty() {
            self.segments.create_active_file()?;
        }
        self.state.producers_mut().expire(now_ms);
        let flush = self.flush_plan();
        let epochs = self.epochs_changed.then(|| self.state.epochs().encode());
        // Of a log that was not opened yet, or did not change since its last checkpoint, the producers
        // are in a file, at the very end of the log.
        let snapshot = (self.changed && self.unopened.is_none()).then(|| {
            let bytes = producer_snapshot::encode(self.state.producers());
            (self.state.end().offset, Arc::from(bytes))
        });
        Ok(Some(CheckpointPlan::new(
            &self.segments,
            flush,
            snapshot,
            epochs,
            closing,
        )))
    }

    /// A checkpoint is on the disk.
    pub(crate) fn checkpointed(&mut self, plan: &CheckpointPlan) {
        plan.note_written(&mut self.segments);
        self.flushed(&plan.flush);
        let complete = self.state.end() == plan.flush.point;
        self.bytes_at_checkpoint = plan.flush.point.bytes;
        self.epochs_changed &= !plan.has_epochs(&self.state.epochs().encode());
        self.changed = !complete || !self.segments.unsealed().is_empty();
    }

    /// Files of segments that left the log are gone.
    pub(crate) fn removed(&mut self, gone: &[Doomed]) {
        self.segments.removed(gone);
    }

    /// Gives back preallocated space and closes files; false where some have to wait.
    pub(crate) fn release(&mut self) -> bool {
        self.segments.release()
    }

    /// Whether bytes wait for the disk, with files that stay open for them.
    pub(crate) fn has_unsynced(&self) -> bool {
        self.segments.has_unsynced()
    }

    fn check_writable(&self) -> Result<(), StorageError> {
        let dir = self.segments.dir();
        dir.check_live()?;
        dir.log_dir().check_online()?;
        self.refusal.as_ref().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Rolls the active segment where its records have waited for compaction for longer than
    /// `max.compaction.lag.ms`. Kafka leaves that to the next append, which may never come.
    pub(crate) fn roll_overdue(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        self.check_writable()?;
        let active = self.segments.list().active();
        let (began, lag) = (active.first_timestamp(), config.max_compaction_lag_ms);
        if active.published_len() > 0 && began > 0 && now_ms.saturating_sub(began) > lag {
            self.open(config, now_ms)?;
            self.edit(LogEdit::Roll)?;
        }
        Ok(())
    }

    /// Rolls the active segment unless it is empty; whether it was rolled, and where the active one begins now.
    pub(crate) fn roll(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<(bool, i64), StorageError> {
        self.check_writable()?;
        let is_due = self.segments.list().active().published_len() > 0;
        if is_due {
            self.open(config, now_ms)?;
            self.edit(LogEdit::Roll)?;
        }
        Ok((is_due, self.segments.list().active().base_offset()))
    }

    /// The offset of the last record of each idempotent producer.
    pub(crate) fn producer_ends(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<HashMap<i64, i64>, StorageError> {
        self.check_writable()?;
        self.open(config, now_ms)?;
        let known = self.state.producers().sorted().into_iter();
        let ends = known.filter_map(|(id, entry)| Some((id, entry.batches().last()?.last_offset)));
        Ok(ends.collect())
    }

    /// The idempotent producers, for a batch that comes to the partition and not into its log.
    pub(crate) fn producers_for_delay(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<&mut ProducerState, StorageError> {
        self.check_writable()?;
        self.open(config, now_ms)?;
        Ok(self.state.producers_mut())
    }

    /// Loads what a clean stop left in files.
    fn open(&mut self, config: &LogConfig, now_ms: i64) -> Result<(), StorageError> {
        let Some(unopened) = self.unopened else {
            return Ok(());
        };
        let expiration_ms = unopened.producer_expiration_ms;
        if let Some(offset) = unopened.snapshot_offset {
            let saved = load_snapshot(self.segments.dir(), offset, expiration_ms);
            *self.state.producers_mut() = match saved {
                Ok(saved) => saved,
                // The batches know it too; without this the log would never take an append again.
                Err(_) => self.replay_producers(expiration_ms, now_ms)?,
            };
        }
        self.segments
            .open_active(self.state.end().offset, config.index_interval_bytes)?;
        self.unopened = None;
        Ok(())
    }

    /// The producers as the batch headers of the whole log show them.
    fn replay_producers(
        &self,
        expiration_ms: i64,
        now_ms: i64,
    ) -> Result<ProducerState, StorageError> {
        let mut producers = ProducerState::new(expiration_ms);
        for segment in self.segments.list().all() {
            segment.walk(0, segment.published_len(), |_, header| {
                producers.replay(header, now_ms);
                Ok(true)
            })?;
        }
        Ok(producers)
    }

    /// `segment.ms` of the active segment, or `max.compaction.lag.ms` of a compacted log: the jitter is fixed by the partition and the segment, so
    /// that partitions created together do not roll together.
    fn segment_ms(&self, config: &LogConfig) -> i64 {
        let segment_ms = match config.cleanup_policy.compact {
            true => config.segment_ms.min(config.max_compaction_lag_ms),
            false => config.segment_ms,
        };
        let range = config.segment_jitter_ms.min(segment_ms);
        if range <= 0 {
            return segment_ms;
        }
        let tp = self.segments.dir().tp();
        let base_offset = self.segments.list().active().base_offset();
        let name = format!("{tp}/{base_offset}");
        let spread = i64::from(crc32fast::hash(name.as_bytes()));
        segment_ms - spread % range
    }

    fn publish(&self) {
        let visible = self.state.visible();
        self.segments.show_to(visible);
        let shown = VisibleEnd {
            bytes: visible.bytes,
            segment_base: visible.segment_base,
        };
        self.reader.offsets().publish(self.state.offsets(), shown);
    }
}

/// Reads the producer snapshot at `offset`.
pub(crate) fn load_snapshot(
    dir: &PartitionDir,
    offset: i64,
    expiration_ms: i64,
) -> Result<ProducerState, StorageError> {
    let path = dir.file(offset, SNAPSHOT);
    let Some(bytes) = read_small(dir.log_dir().fs(), &path)? else {
        return Err(StorageError::from_io(
            "read",
            &path,
            ErrorKind::NotFound.into(),
        ));
    };
    producer_snapshot::decode(&path, &bytes, expiration_ms)
}
