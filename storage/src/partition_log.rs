//! One partition's log as the rest of the crate shares it: the mutex around [`Log`], the published
//! reader beside it, and the work that is done without the mutex.
//!
//! Two mutexes, in this order: `maintenance` (one checkpoint, removal or deletion at a time), then
//! `log` (short: offsets, one write, lists). A roll makes a file under it, a deletion renames the directory. No file
//! is synced under `log` but where more lies in one than is known: what a failed write left behind the end is cut off
//! durably when the file is closed, and what is found there when it is opened to be written is kept aside first.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tidewheel_config::LogConfig;
use tidewheel_protocol::{TopicPartition, Uuid};

use crate::batch_validator::ValidBatch;
use crate::compaction::Cleaned;
use crate::dir_names::deleted_dir_name;
use crate::error::StorageError;
use crate::flush_coalescer::DirtyAppend;
use crate::intervals::has_passed;
use crate::log::{Log, RetentionOutcome};
use crate::log_checkpoint::CheckpointPlan;
use crate::log_reader::LogReader;
use crate::manifest::PartitionManifest;
use crate::partition_dir::PartitionDir;
use crate::partition_state::AppendInfo;
use crate::segments::FlushPlan;
use crate::shared_log::LogId;

/// What is known about the files beside the log itself.
#[derive(Debug)]
pub(crate) struct Maintenance {
    /// Offsets of the producer snapshots on the disk.
    pub(crate) snapshots: BTreeSet<i64>,
    /// Those that were removed since the directory was synced: a power cut may bring them back.
    pub(crate) removed_snapshots: Vec<i64>,
    /// When the last checkpoint was, ms since 1970, or when one was first asked for: a new log owes
    /// none yet. What recovery found is owed at once, so that a second crash need not find it again.
    checkpoint_ms: Option<i64>,
    /// Segments whose files carry the ending of deleted ones, the oldest first: base offset, and since
    /// when in ms since 1970.
    pub(crate) deleted: VecDeque<(i64, i64)>,
}

impl Maintenance {
    /// Notes that the files of a segment carry the ending of deleted ones.
    pub(crate) fn note_deleted(&mut self, base_offset: i64, now_ms: i64) {
        self.deleted.push_back((base_offset, now_ms));
    }
}

/// A log to be shared: how it was found.
#[derive(Debug)]
pub(crate) struct FoundLog {
    /// The log.
    pub(crate) log: Log,
    /// The recovery point in the log directory's checkpoint.
    pub(crate) recovery_point: i64,
    /// Offsets of the producer snapshots on the disk.
    pub(crate) snapshots: BTreeSet<i64>,
    /// How far compaction went, where it ever began.
    pub(crate) cleaned: Option<Cleaned>,
}

/// The offsets of a partition that the log directory's checkpoint files hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckpointOffsets {
    /// Everything below is durable and indexed.
    pub(crate) recovery_point: i64,
    /// The first offset that may be read, as far as it is below the recovery point.
    pub(crate) log_start: i64,
    /// The high watermark, as far as it is below the recovery point.
    pub(crate) high_watermark: i64,
    /// How far compaction went, where it ever began: then there may be holes between batches.
    pub(crate) cleaned: Option<Cleaned>,
}

/// When a checkpoint is worth its syncs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointPolicy {
    /// After this many bytes of log.
    pub(crate) bytes: u64,
    /// Or this many ms after the last one.
    pub(crate) interval_ms: i64,
}

/// A log behind its mutex.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    id: LogId,
    dir: Arc<PartitionDir>,
    config: ArcSwap<LogConfig>,
    reader: Arc<LogReader>,
    log: Mutex<Log>,
    maintenance: Mutex<Maintenance>,
    /// The recovery point as the log directory's checkpoint has it, or will have it next.
    recovery_point: AtomicI64,
    /// How far compaction went, where it ever began. One thread compacts.
    cleaned: ArcSwapOption<Cleaned>,
    dirty: AtomicBool,
    /// The high watermark that a start found noted.
    pub(crate) shown_at_start: i64,
}

impl PartitionLog {
    /// Shares a log. `shown_at_start` is the high watermark in the log directory's checkpoint.
    pub(crate) fn new(id: LogId, found: FoundLog, shown_at_start: i64, config: LogConfig) -> Self {
        let FoundLog {
            log,
            recovery_point,
            snapshots,
            cleaned,
        } = found;
        let reader = Arc::clone(log.reader());
        let checkpoint_ms = log.is_changed().then_some(i64::MIN);
        Self {
            id,
            dir: Arc::clone(log.segments().dir()),
            config: ArcSwap::from_pointee(config),
            reader,
            log: Mutex::new(log),
            maintenance: Mutex::new(Maintenance {
                snapshots,
                removed_snapshots: Vec::new(),
                checkpoint_ms,
                deleted: VecDeque::new(),
            }),
            recovery_point: AtomicI64::new(recovery_point),
            cleaned: ArcSwapOption::new(cleaned.map(Arc::new)),
            dirty: AtomicBool::new(false),
            shown_at_start,
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> LogId {
        self.id
    }

    /// Its topic's id.
    pub(crate) fn topic_id(&self) -> Uuid {
        self.dir.topic_id()
    }

    /// Which partition it is.
    pub(crate) fn tp(&self) -> &TopicPartition {
        self.dir.tp()
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Arc<PartitionDir> {
        &self.dir
    }

    /// The settings.
    pub(crate) fn config(&self) -> &ArcSwap<LogConfig> {
        &self.config
    }

    /// The published part.
    pub(crate) fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The log itself.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        let log = self.log.lock().unwrap_or_else(|_| half_changed());
        // While it is held: what is changed now is seen by who looks after this.
        self.dir.stir();
        log
    }

    /// The same for who may open a file: room for it is made before.
    pub(crate) fn lock_with_room(&self) -> MutexGuard<'_, Log> {
        self.dir.log_dir().open_files().make_room();
        self.lock()
    }

    /// The log itself, unless somebody works on it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Log>> {
        match self.log.try_lock() {
            Ok(log) => Some(log),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => half_changed(),
        }
    }

    /// The right to change which files there are.
    pub(crate) fn maintenance(&self) -> MutexGuard<'_, Maintenance> {
        let maintenance = self.maintenance.lock().unwrap_or_else(|_| half_changed());
        self.dir.stir();
        maintenance
    }

    /// Whether something is left to be written, removed or closed, or somebody works on it now.
    pub(crate) fn needs_care(&self) -> bool {
        let (Ok(maintenance), Ok(log)) = (self.maintenance.try_lock(), self.log.try_lock()) else {
            return true;
        };
        let is_changed = log.is_changed() || !log.segments().doomed().is_empty();
        is_changed || !maintenance.deleted.is_empty() || self.dir.is_open()
    }

    /// Notes that the coalescer lists this log; false where it did already.
    pub(crate) fn list_as_dirty(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// The coalescer took it off its list.
    pub(crate) fn unlist_as_dirty(&self) {
        self.dirty.store(false, Ordering::Release);
    }

    /// Appends a batch and tells the coalescer.
    pub(crate) fn append(
        self: &Arc<Self>,
        batch: &ValidBatch,
        durable: bool,
        now_ms: i64,
    ) -> Result<AppendInfo, StorageError> {
        let config = self.config.load();
        let append = || {
            let mut log = self.lock();
            let before = log.segments().files_opened();
            let appended = log.append(batch, durable, &config, now_ms);
            let opened = log.segments().files_opened() != before;
            drop(log);
            if opened {
                // For the file that was opened, now that nobody waits for this log.
                self.dir.log_dir().open_files().make_room();
            }
            appended
        };
        let info = match append() {
            Err(error) if error.is_disk_full() && self.dir.log_dir().release_ballast() => append(),
            appended => appended,
        }?;
        // A duplicate may wait for the flush of its first append.
        let bytes = if info.duplicate {
            0
        } else {
            batch.bytes.len() as u64
        };
        if !info.duplicate || info.awaits_disk {
            let append = DirtyAppend {
                bytes,
                urgent: info.awaits_disk,
                now_ms,
                flush_ms: config.flush_ms,
            };
            self.dir.log_dir().coalescer().mark(self, append);
        }
        Ok(info)
    }

    /// What a flush of all that is written now has to sync.
    pub(crate) fn flush_plan(&self) -> FlushPlan {
        self.lock().flush_plan()
    }

    /// A flush is done.
    pub(crate) fn flushed(&self, plan: &FlushPlan) {
        self.lock().flushed(plan);
    }

    /// Syncs all that is written now, on this thread. The caller does not repeat it: any failure takes the
    /// directory offline.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        self.dir.check_live()?;
        self.dir.log_dir().check_online()?;
        let plan = self.flush_plan();
        let done = plan.execute(&self.dir);
        done.map_err(|error| match error {
            StorageError::PartitionDeleted => error,
            _ => self.dir.log_dir().take_offline(error),
        })?;
        self.flushed(&plan);
        Ok(())
    }

    /// Takes expired and surplus segments out of the log.
    pub(crate) fn apply_retention(&self, now_ms: i64) -> Result<RetentionOutcome, StorageError> {
        let config = self.config.load();
        // Compaction puts segments in the place of others meanwhile.
        let _maintenance = self.maintenance();
        self.lock_with_room().apply_retention(&config, now_ms)
    }

    /// Writes the log's checkpoint where it is due; returns whether it did. The recovery point in memory
    /// moves; the caller writes it to the log directory's file.
    pub(crate) fn checkpoint(
        &self,
        policy: CheckpointPolicy,
        now_ms: i64,
    ) -> Result<bool, StorageError> {
        let mut maintenance = self.maintenance();
        let plan = {
            let mut log = self.lock();
            let since_ms = *maintenance.checkpoint_ms.get_or_insert(now_ms);
            let due = log.bytes_since_checkpoint() >= policy.bytes
                || has_passed(policy.interval_ms, since_ms, now_ms)
                || !log.segments().doomed().is_empty();
            if due {
                log.checkpoint_plan(false, now_ms)?
            } else {
                None
            }
        };
        let Some(plan) = plan else {
            return Ok(false);
        };
        self.carry_out(&plan, &mut maintenance)?;
        maintenance.checkpoint_ms = Some(now_ms);
        Ok(true)
    }

    /// Writes the last checkpoint; no append is taken any more. Returns whether there was anything to
    /// write.
    pub(crate) fn close(&self, now_ms: i64) -> Result<bool, StorageError> {
        let mut maintenance = self.maintenance();
        let plan = {
            let mut log = self.lock();
            let plan = log.checkpoint_plan(true, now_ms);
            if log.refusal().is_none() {
                log.refuse(StorageError::Closed);
            }
            plan?
        };
        let Some(plan) = plan else {
            return Ok(false);
        };
        self.carry_out(&plan, &mut maintenance)?;
        Ok(true)
    }

    fn carry_out(
        &self,
        plan: &CheckpointPlan,
        maintenance: &mut Maintenance,
    ) -> Result<(), StorageError> {
        if plan.execute(&self.dir)? {
            maintenance.removed_snapshots.clear();
        }
        self.lock().checkpointed(plan);
        maintenance.snapshots.extend(plan.snapshot_offsets());
        self.recovery_point
            .store(plan.recovery_point(), Ordering::Release);
        Ok(())
    }

    /// What the log directory's checkpoint files say about this log.
    pub(crate) fn checkpoint_offsets(&self) -> CheckpointOffsets {
        let recovery_point = self.recovery_point.load(Ordering::Acquire);
        let offsets = self.reader.offsets().snapshot();
        CheckpointOffsets {
            recovery_point,
            log_start: offsets.log_start.min(recovery_point),
            high_watermark: offsets.high_watermark.min(recovery_point),
            cleaned: self.cleaned(),
        }
    }

    /// How far compaction went, where it ever began.
    pub(crate) fn cleaned(&self) -> Option<Cleaned> {
        self.cleaned.load().as_deref().copied()
    }

    /// Notes how far compaction went. Only the thread that compacts calls it.
    pub(crate) fn set_cleaned(&self, cleaned: Cleaned) {
        self.cleaned.store(Some(Arc::new(cleaned)));
    }

    /// Gives back preallocated space and closes the files of a log that was idle for `idle_ms`.
    /// Files that were used since the last call stay open.
    pub(crate) fn release_idle(&self, now_ms: i64, idle_ms: i64) {
        if !self.dir.is_idle() {
            return;
        }
        let last_append_ms = self.lock().last_append_ms();
        if has_passed(idle_ms, last_append_ms, now_ms) {
            self.try_release();
        }
    }

    /// Gives back preallocated space and closes the files, unless somebody works on the log, and except those
    /// that wait for the disk; a flush is due where these are too many. Returns whether all are closed.
    pub(crate) fn try_release(&self) -> bool {
        // While compaction swaps files, none is closed that could be opened under another's name.
        let Ok(_maintenance) = self.maintenance.try_lock() else {
            return false;
        };
        // The caller may hold that of another log, as may whoever waits for it.
        let Ok(mut log) = self.log.try_lock() else {
            return false;
        };
        // First, so that a reader who opens a file beside this is noticed the next time.
        self.dir.mark_closed();
        let released = log.release();
        if !released {
            self.dir.mark_used();
            let log_dir = self.dir.log_dir();
            if log.has_unsynced() && log_dir.open_files().is_full() {
                log_dir.coalescer().urge();
            }
        }
        released
    }

    /// The name that the directory gets when the partition is deleted.
    pub(crate) fn deleted_dir_name(&self) -> String {
        deleted_dir_name(self.tp(), self.topic_id())
    }

    /// Renames the directory away, where there is one. From here on nothing is read or written; slices
    /// stay good.
    pub(crate) fn delete(&self) -> Result<(), StorageError> {
        let _maintenance = self.maintenance();
        let mut log = self.lock();
        if self.dir.is_deleted() {
            return Ok(());
        }
        self.dir.mark_deleted();
        log.refuse(StorageError::PartitionDeleted);
        if !self.dir.is_made() {
            return Ok(());
        }
        let log_dir = self.dir.log_dir();
        let to = log_dir.path().join(self.deleted_dir_name());
        let renamed = log_dir.fs().rename(self.dir.path(), &to);
        // A first append may have made it after the deletion was noted.
        log_dir.look_for_retired();
        renamed.map_err(|error| {
            log_dir.write_failed(StorageError::from_io("rename", self.dir.path(), error))
        })
    }

    /// What the manifest of a clean stop says about this log; `None` for one that must be looked at
    /// again at the next start, or that was never written.
    pub(crate) fn manifest(&self) -> Option<PartitionManifest> {
        let maintenance = self.maintenance();
        let log = self.lock();
        let intact = matches!(log.refusal(), None | Some(StorageError::Closed));
        if !intact || self.dir.is_deleted() || !self.dir.is_made() {
            return None;
        }
        let offsets = log.state().offsets();
        let snapshot = match log.unopened() {
            Some(unopened) => unopened.snapshot_offset,
            None => maintenance.snapshots.get(&offsets.log_end).copied(),
        };
        let segments = log.segments().list().all();
        let has_base = |offset: i64| {
            let found = segments.binary_search_by_key(&offset, |segment| segment.base_offset());
            found.is_ok()
        };
        let older = maintenance.snapshots.iter();
        let older = older.chain(&maintenance.removed_snapshots).copied();
        let older = older.filter(|offset| snapshot != Some(*offset) && !has_base(*offset));
        let tp = self.tp();
        Some(PartitionManifest {
            topic: tp.topic.as_ref().to_owned(),
            partition: tp.partition,
            topic_id: self.topic_id(),
            log_start_offset: offsets.log_start,
            log_end_offset: offsets.log_end,
            segments: segments.iter().map(|segment| segment.entry()).collect(),
            leader_epochs: log.state().epochs().entries().to_vec(),
            producer_snapshot_offset: snapshot,
            older_snapshot_offsets: older.collect(),
        })
    }
}

/// Ends the process. A panic while a log was held left it half-changed: neither an append nor a flush
/// nor a checkpoint may go by it, and the next start recovers what the disk has. The panic has said
/// what happened; the cleaning thread comes by every log every second, so the end is never far, and
/// readers see only what was published whole.
fn half_changed() -> ! {
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;
    use crate::fs::SimFs;
    use crate::{LivePartition, LogManager, LogManagerOptions};

    /// Set in the process that is to end.
    const CHILD: &str = "TIDEWHEEL_TEST_HALF_CHANGED";

    #[test]
    fn a_log_whose_holder_panicked_ends_the_process_at_the_next_use() {
        if std::env::var_os(CHILD).is_some() {
            use_after_panic();
            return;
        }
        let name = "a_log_whose_holder_panicked_ends_the_process_at_the_next_use";
        let child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(6), "SIGABRT: {child:?}");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(said.contains("in the middle of a change"), "{said}");
    }

    fn use_after_panic() {
        let dirs = vec![PathBuf::from("/data")];
        let options = LogManagerOptions::new(dirs, 1, "cluster".to_owned(), vec![Uuid([1; 16])]);
        let manager: LogManager<()> = LogManager::open(Arc::new(SimFs::new()), options).unwrap();
        let live = LivePartition {
            tp: TopicPartition {
                topic: Arc::from("t"),
                partition: 0,
            },
            topic_id: Uuid([2; 16]),
            config: LogConfig::everlasting(),
        };
        let log = manager.create(live, 0).unwrap();
        let held = AssertUnwindSafe(|| {
            let _log = log.partition_log().lock();
            panic!("in the middle of a change");
        });
        catch_unwind(held).unwrap_err();
        manager.checkpoint(0).ok();
    }
}
