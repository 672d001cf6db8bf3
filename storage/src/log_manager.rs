//! All logs of a broker, in one or more log directories.
//!
//! **Start.** A directory is locked, checked (`meta.properties`), and its clean-shutdown marker is
//! taken away durably before anything else changes. With the marker the manifest is trusted, and no
//! topic partition is opened; without it every partition is recovered.
//!
//! **Checkpoint.** Each log first writes what its new recovery point relies on
//! ([`crate::log_checkpoint`]); then the directory's checkpoint files are replaced; then what nobody
//! needs any more is removed. Cut off anywhere, the old recovery point still finds all it needs.
//!
//! **Clean stop.** Every log takes its last checkpoint and refuses appends, so many at a time as recover together;
//! then the checkpoint files, then the manifest, and last the marker are written, each durably. A crash in between
//! leaves no marker, so the manifest of an earlier stop is never trusted beside newer data.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tidewheel_protocol::TopicPartition;

use crate::checkpoint::{take_clean_shutdown, write_clean_shutdown};
use crate::checkpoint_turn::CheckpointTurn;
use crate::claiming::{claim, spared};
use crate::dir_checkpoints::DirCheckpoints;
use crate::dir_names::DELETED_SUFFIX;
use crate::error::StorageError;
use crate::flush_coalescer::{DirtyState, FlushRound};
use crate::flush_work::FlushWork;
use crate::fs::{DirLock, FileSystem};
use crate::intervals::has_passed;
use crate::log_dir::LogDir;
use crate::log_loading::METADATA_TOPIC;
use crate::log_manager_options::LogManagerOptions;
use crate::manifest::{self, Manifest, PartitionManifest};
use crate::open_files::{OpenCounts, OpenFiles};
use crate::over_threads::over_threads;
use crate::partition_log::{CheckpointPolicy, PartitionLog};
use crate::shared_log::SharedLog;

/// A log directory and what is kept about it.
#[derive(Debug)]
pub(crate) struct ManagedDir {
    /// The directory.
    pub(crate) dir: Arc<LogDir>,
    /// Its checkpoint files.
    pub(crate) checkpoints: DirCheckpoints,
    /// The partitions of the last clean stop, until they are loaded.
    pub(crate) manifest: Mutex<HashMap<TopicPartition, PartitionManifest>>,
    /// Deleted partitions whose directories are kept for a while, by the name of the directory.
    pub(crate) deleted: Mutex<HashMap<String, DeletedDir>>,
    /// Which of the logs' checkpoints its files know.
    pub(crate) turn: CheckpointTurn,
    /// `None` of a directory that cannot be used.
    lock: Option<Box<dyn DirLock>>,
}

/// Since when a deleted partition's directory is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeletedDir {
    /// ms since 1970.
    pub(crate) since_ms: i64,
    /// `file.delete.delay.ms`.
    pub(crate) delay_ms: i64,
}

impl ManagedDir {
    /// Takes over a directory that is locked and ours, and takes note of whether the last stop was clean.
    fn open(dir: Arc<LogDir>, lock: Box<dyn DirLock>) -> Result<Self, StorageError> {
        let (fs, path) = (dir.fs(), dir.path());
        let clean = take_clean_shutdown(fs, path)?;
        // Also where there was none: a start that was killed here may have removed it, and it
        // must not come back beside newer data.
        fs.sync_dir(path)
            .map_err(|error| StorageError::from_io("sync", path, error))?;
        // A manifest that cannot be read is none: everything is then recovered.
        let manifest = match clean {
            true => manifest::read(fs, path).ok().flatten(),
            false => None,
        };
        let partitions = manifest.map(|manifest| manifest.partitions);
        let by_name = |known: PartitionManifest| (known.topic_partition(), known);
        let partitions = partitions.unwrap_or_default().into_iter().map(by_name);
        let checkpoints = DirCheckpoints::read(fs, path)?;
        dir.find_ballast();
        dir.look_at_space();
        let manifest = Mutex::new(partitions.collect());
        Ok(Self::new(dir, checkpoints, manifest, Some(lock)))
    }

    /// A directory that cannot be used until the next start.
    fn offline(dir: Arc<LogDir>, error: StorageError) -> Self {
        dir.take_offline(error);
        Self::new(dir, DirCheckpoints::default(), Mutex::default(), None)
    }

    fn new(
        dir: Arc<LogDir>,
        checkpoints: DirCheckpoints,
        manifest: Mutex<HashMap<TopicPartition, PartitionManifest>>,
        lock: Option<Box<dyn DirLock>>,
    ) -> Self {
        Self {
            dir,
            checkpoints,
            manifest,
            deleted: Mutex::default(),
            turn: CheckpointTurn::default(),
            lock,
        }
    }

    pub(crate) fn deleted(&self) -> MutexGuard<'_, HashMap<String, DeletedDir>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` with each of these logs, which lie in the directory, over at most so many threads. Those that were
    /// deleted meanwhile count as done.
    ///
    /// # Errors
    /// The first one; the other logs were served all the same, unless the directory is offline.
    fn each_log(
        &self,
        logs: &[Arc<PartitionLog>],
        threads: usize,
        work: impl Fn(&PartitionLog) -> Result<(), StorageError> + Sync,
    ) -> Result<(), StorageError> {
        let outcome = Mutex::new(Ok(()));
        over_threads(logs, threads, |_, log| {
            match work(log) {
                Ok(()) | Err(StorageError::PartitionDeleted) => {}
                Err(error) => {
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    if outcome.is_ok() {
                        *outcome = Err(error);
                    }
                    if self.dir.offline_cause().is_some() {
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what lies below the recovery points that the directory's file holds.
    fn remove_obsolete(
        &self,
        logs: &[Arc<PartitionLog>],
        threads: usize,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        self.each_log(logs, threads, |log| {
            log.remove_obsolete(self.checkpoints.written_for(log.tp()), now_ms)
        })
    }
}

impl Drop for ManagedDir {
    fn drop(&mut self) {
        self.dir.abandon();
    }
}

/// The open logs.
#[derive(Debug)]
pub(crate) struct Registry<W> {
    /// By partition, with the number of the directory.
    pub(crate) logs: HashMap<TopicPartition, (usize, Arc<SharedLog<W>>)>,
    /// All topic partitions that exist are in `logs`.
    pub(crate) loaded: bool,
}

/// All logs of a broker. Starts no thread: flushes, checkpoints and removals run on their callers'.
#[derive(Debug)]
pub struct LogManager<W> {
    pub(crate) options: LogManagerOptions,
    pub(crate) cluster_id: String,
    /// Log directories that were named once and are not any more.
    pub(crate) given_up: Vec<StorageError>,
    pub(crate) dirs: Vec<ManagedDir>,
    open: Arc<OpenFiles>,
    pub(crate) registry: Mutex<Registry<W>>,
    pub(crate) next_id: AtomicU64,
}

impl<W> LogManager<W> {
    /// Locks and checks the log directories, makes missing ones, and takes note of whether the last
    /// stop was clean. Opens no partition.
    ///
    /// # Errors
    /// `DirectoryInUse`, `ForeignDirectory`, `NewerFormat`, `DirectoryMismatch` for a directory of
    /// another cluster or node, `Corrupt` for a damaged checkpoint file, `Io`, `DiskFull`. Nothing was
    /// changed in a directory that is refused. A directory but the first that is damaged or cannot be read is no
    /// error: it is offline.
    pub fn open(fs: Arc<dyn FileSystem>, options: LogManagerOptions) -> Result<Self, StorageError> {
        let claimed = claim(&*fs, &options)?;
        let open = Arc::new(OpenFiles::new(options.open));
        let mut dirs = Vec::new();
        for (number, (path, lock)) in options.dirs.iter().zip(claimed.locks).enumerate() {
            let dir = LogDir::new(
                Arc::clone(&fs),
                path.clone(),
                options.space,
                Arc::clone(&open),
            );
            let dir = Arc::new(dir);
            let opened = lock.and_then(|lock| ManagedDir::open(Arc::clone(&dir), lock));
            dirs.push(match opened {
                Ok(managed) => managed,
                Err(error) => ManagedDir::offline(dir, spared(number, error)?),
            });
        }
        Ok(Self {
            options,
            cluster_id: claimed.cluster_id,
            given_up: claimed.given_up,
            dirs,
            open,
            registry: Mutex::new(Registry {
                logs: HashMap::new(),
                loaded: false,
            }),
            next_id: AtomicU64::new(0),
        })
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// How many log directories there are; they are numbered from 0 in the order of the options.
    #[must_use]
    pub fn dir_count(&self) -> usize {
        self.dirs.len()
    }

    /// The error that took a log directory offline.
    #[must_use]
    pub fn offline_cause(&self, dir: usize) -> Option<StorageError> {
        self.dirs.get(dir)?.dir.offline_cause().cloned()
    }

    /// The number of the directory that holds a log.
    #[must_use]
    pub fn dir_of(&self, log: &SharedLog<W>) -> Option<usize> {
        let dir = log.partition_log().dir().log_dir();
        self.dirs
            .iter()
            .position(|managed| Arc::ptr_eq(&managed.dir, dir))
    }

    /// How many files and maps the logs hold.
    #[must_use]
    pub fn open_counts(&self) -> OpenCounts {
        self.open.counts()
    }

    /// The log of a partition.
    #[must_use]
    pub fn get(&self, tp: &TopicPartition) -> Option<Arc<SharedLog<W>>> {
        Some(Arc::clone(&self.registry().logs.get(tp)?.1))
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry<W>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a log directory still has to sync.
    #[must_use]
    pub fn dirty(&self, dir: usize) -> DirtyState {
        self.dirs
            .get(dir)
            .map(|managed| managed.dir.coalescer().state())
            .unwrap_or_default()
    }

    /// Has `waker` woken where a round becomes due although no append asked for it: because files that
    /// wait for the disk are too many. Once per directory.
    pub fn wake_when_due(&self, dir: usize, waker: Waker) {
        if let Some(managed) = self.dirs.get(dir) {
            managed.dir.coalescer().wake_with(waker);
        }
    }

    /// Begins a round of group commit for a log directory, if there is one of this number. After a failed
    /// sync the directory is offline: everybody who waits for one of its logs gets that error.
    #[must_use]
    pub fn begin_flush_round(&self, dir: usize) -> Option<FlushWork> {
        let dir = &self.dirs.get(dir)?.dir;
        Some(dir.coalescer().begin_round(dir))
    }

    /// Runs a whole round on this thread.
    pub fn flush_round(&self, dir: usize) -> FlushRound {
        let work = self.begin_flush_round(dir);
        work.map(|work| work.finish()).unwrap_or_default()
    }

    pub(crate) fn logs_of(&self, dir: usize) -> Vec<Arc<PartitionLog>> {
        let registry = self.registry();
        let of_dir = registry.logs.values().filter(|(number, _)| *number == dir);
        of_dir
            .map(|(_, log)| Arc::clone(log.partition_log()))
            .collect()
    }

    /// Writes checkpoints of the logs that changed enough, and removes what they make obsolete. A full
    /// disk puts the rest off; a directory that fails is offline from here on.
    ///
    /// # Errors
    /// The first error; the other logs and directories were served all the same.
    pub fn checkpoint(&self, now_ms: i64) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for number in 0..self.dirs.len() {
            let logs = self.stirred_logs_of(number);
            let policy = self.policy(&logs);
            let work = |log: &PartitionLog| log.checkpoint(policy, now_ms);
            outcome = outcome.and(self.checkpoint_dir(number, &logs, 1, now_ms, work));
        }
        outcome
    }

    /// When the logs of a directory are due. Where too much has come together, so many are due that
    /// at most half of the allowance is left; the small ones wait.
    fn policy(&self, logs: &[Arc<PartitionLog>]) -> CheckpointPolicy {
        let since = logs.iter().map(|log| log.lock().bytes_since_checkpoint());
        let (mut total, mut changed) = (0, 0);
        for bytes in since.filter(|bytes| *bytes > 0) {
            total += bytes;
            changed += 1;
        }
        let mut bytes = self.options.checkpoint_bytes;
        if total > self.options.recovery_bytes {
            bytes = bytes.min(self.options.recovery_bytes / (2 * changed));
        }
        CheckpointPolicy {
            bytes,
            interval_ms: self.options.checkpoint_interval_ms,
        }
    }

    /// Has `work` write the checkpoints of logs over at most so many threads; it says whether it did. Then the
    /// directory's files.
    pub(crate) fn checkpoint_dir(
        &self,
        number: usize,
        logs: &[Arc<PartitionLog>],
        threads: usize,
        now_ms: i64,
        work: impl Fn(&PartitionLog) -> Result<bool, StorageError> + Sync,
    ) -> Result<(), StorageError> {
        let outcome = self.try_checkpoint_dir(number, logs, threads, now_ms, work);
        if outcome.as_ref().is_err_and(StorageError::is_disk_full) {
            // A checkpoint needs room, and what makes room are the segments that retention took out.
            self.dirs[number].dir.release_ballast();
            self.dirs[number].remove_obsolete(logs, threads, now_ms)?;
        }
        outcome
    }

    fn try_checkpoint_dir(
        &self,
        number: usize,
        logs: &[Arc<PartitionLog>],
        threads: usize,
        now_ms: i64,
        work: impl Fn(&PartitionLog) -> Result<bool, StorageError> + Sync,
    ) -> Result<(), StorageError> {
        let managed = &self.dirs[number];
        managed.dir.check_online()?;
        let wrote = AtomicBool::new(false);
        let outcome = managed.each_log(logs, threads, |log| {
            if work(log)? {
                managed.turn.want();
                wrote.store(true, Ordering::Relaxed);
            }
            Ok(())
        });
        managed.dir.check_online()?;
        let write = || {
            self.write_dir_checkpoints(number)?;
            managed.remove_obsolete(logs, threads, now_ms)
        };
        if !managed.turn.take(write)? && wrote.into_inner() {
            // Another thread wrote it down, and knows of its own logs only.
            managed.remove_obsolete(logs, threads, now_ms)?;
        }
        outcome
    }

    /// Brings the checkpoint files of a directory up to date, for all logs that were ever written. The
    /// registry is held meanwhile: a partition that is created or deleted beside it must not get or lose its entry by a late write.
    pub(crate) fn write_dir_checkpoints(&self, number: usize) -> Result<(), StorageError> {
        let managed = &self.dirs[number];
        let registry = self.registry();
        let written = |log: &SharedLog<W>| log.partition_log().dir().is_made();
        let of_dir = registry.logs.iter();
        let of_dir = of_dir.filter(|(_, (dir, log))| *dir == number && written(log));
        let offsets: Vec<_> = of_dir
            .map(|(tp, (_, log))| (tp.clone(), log.partition_log().checkpoint_offsets()))
            .collect();
        managed.checkpoints.write(&managed.dir, &offsets)
    }

    /// Gives back preallocated space and closes the files of logs that were not written for
    /// `idle_ms` ms.
    pub fn release_idle(&self, now_ms: i64, idle_ms: i64) {
        self.open.forget_closed();
        for number in 0..self.dirs.len() {
            for log in self.stirred_logs_of(number) {
                log.release_idle(now_ms, idle_ms);
            }
            // What a checkpoint wrote is not in the directory's files yet, or what it makes obsolete is there.
            if !self.dirs[number].turn.is_behind() {
                self.settle_stirred(number);
            }
        }
    }

    /// Unlinks the files of deleted segments and the directories of deleted partitions that were kept
    /// for `file.delete.delay.ms`, and at once what an earlier start left, or all of them where free space
    /// was low at the last look. Takes a while for many: a
    /// background thread calls it.
    ///
    /// # Errors
    /// The first error; the rest was removed all the same.
    pub fn unlink_deleted(&self, now_ms: i64) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for (number, managed) in self.dirs.iter().enumerate() {
            let low = managed.dir.space().is_low();
            let delay_ms = |log: &PartitionLog| match low {
                true => 0,
                false => log.config().load().file_delete_delay_ms,
            };
            let segments = unlink_segments(&self.stirred_logs_of(number), delay_ms, now_ms);
            let dirs = unlink_dirs(managed, now_ms);
            if dirs.is_err() {
                managed.dir.look_for_retired();
            }
            outcome = outcome.and(segments).and(dirs);
        }
        outcome
    }

    /// Stops cleanly: everything is durable, indexes are complete, and the next start opens nothing.
    /// No append is taken any more. The locks are held until the manager is dropped; after
    /// that, logs that are still held somewhere refuse appends.
    ///
    /// # Errors
    /// The first error; the directory it came from is recovered at the next start, nothing is lost.
    pub fn close(&self, now_ms: i64) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for number in 0..self.dirs.len() {
            outcome = outcome.and(self.close_dir(number, now_ms));
        }
        outcome
    }

    fn close_dir(&self, number: usize, now_ms: i64) -> Result<(), StorageError> {
        let logs = self.logs_of(number);
        let (managed, threads) = (&self.dirs[number], self.options.recovery_threads);
        // What is written now may need the ballast.
        managed.dir.look_at_space();
        self.checkpoint_dir(number, &logs, threads, now_ms, |log| log.close(now_ms))?;
        // The next start trusts the manifest and looks into no directory: a file that came back by a power cut
        // would lie there for good.
        managed.each_log(&logs, threads, |log| {
            log.unlink_deleted(0, now_ms)?;
            log.dir().sync_removals()
        })?;
        if !self.registry().loaded {
            return Ok(());
        }
        let topics = logs.iter().filter(|log| &*log.tp().topic != METADATA_TOPIC);
        let partitions = topics.filter_map(|log| log.manifest()).collect();
        let (fs, path) = (managed.dir.fs(), managed.dir.path());
        manifest::write(fs, path, &Manifest { partitions })
            .and_then(|()| write_clean_shutdown(fs, path))
            .map_err(|error| managed.dir.write_failed(error))
    }
}

/// Unlinks the files of deleted segments that were kept for `delay_ms`.
fn unlink_segments(
    logs: &[Arc<PartitionLog>],
    delay_ms: impl Fn(&PartitionLog) -> i64,
    now_ms: i64,
) -> Result<(), StorageError> {
    let mut outcome = Ok(());
    for log in logs {
        match log.unlink_deleted(delay_ms(log), now_ms) {
            Ok(()) | Err(StorageError::PartitionDeleted) => {}
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

/// Removes the directories of deleted partitions whose time has come. Looks into the log directory only
/// where there may be one: listing thousands of partitions every second takes a share of a core.
fn unlink_dirs(managed: &ManagedDir, now_ms: i64) -> Result<(), StorageError> {
    if managed.lock.is_none() {
        return Ok(());
    }
    let (fs, path) = (managed.dir.fs(), managed.dir.path());
    let low = managed.dir.space().is_low();
    let has_come = |kept: &DeletedDir| low || has_passed(kept.delay_ms, kept.since_ms, now_ms);
    let noted = managed.deleted().values().any(has_come);
    if !managed.dir.may_have_retired() && !noted {
        return Ok(());
    }
    let entries = fs
        .read_dir(path)
        .map_err(|error| StorageError::from_io("list", path, error))?;
    // Of a deletion that could not rename its directory, or that met none, nothing is left to wait for.
    let is_there = |name: &str| {
        let found = entries.binary_search_by(|entry| entry.name.as_str().cmp(name));
        found.is_ok()
    };
    managed
        .deleted()
        .retain(|name, kept| !has_come(kept) || is_there(name));
    let due = |name: &str| managed.deleted().get(name).is_none_or(has_come);
    let due: Vec<_> = entries
        .into_iter()
        .filter(|entry| entry.is_dir && entry.name.ends_with(DELETED_SUFFIX) && due(&entry.name))
        .collect();
    if !due.is_empty() {
        // A crash must not give a half-unlinked directory its old name back.
        managed.dir.sync_names()?;
    }
    let mut outcome = Ok(());
    for entry in due {
        managed.dir.check_online()?;
        let path = path.join(&entry.name);
        match fs.remove_dir_all(&path) {
            Ok(()) => drop(managed.deleted().remove(&entry.name)),
            Err(error) => {
                let error = StorageError::from_io("remove", &path, error);
                outcome = outcome.and(Err(managed.dir.write_failed(error)));
            }
        }
    }
    outcome
}
