//! The directory of one partition: whose it is, whether its names are durable, and who uses files in it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tidewheel_protocol::{TopicPartition, Uuid};

use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::LogFile;
use crate::log_dir::LogDir;
use crate::partition_log::PartitionLog;
use crate::partition_metadata::{self, PARTITION_METADATA};

/// The error of a directory that has files but does not say whose they are.
pub(crate) fn lost_identity(path: &Path) -> StorageError {
    let reason = "it is missing beside other files";
    StorageError::corrupt(&path.join(PARTITION_METADATA), 0, reason)
}

/// What is known of a partition's directory when its log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It may be there or not, and if it is, a power cut may undo that: [`PartitionDir::make`] is to
    /// come first.
    Unknown,
    /// It is there, durably.
    Durable,
}

/// The directory of one partition, shared by all who open files in it.
///
/// It is made with the first file in it, not with the partition: that the partition exists stands in
/// the metadata. What says whose directory it is becomes durable with the first sync of it, and so
/// before any data does.
#[derive(Debug)]
pub(crate) struct PartitionDir {
    log_dir: Arc<LogDir>,
    path: PathBuf,
    tp: TopicPartition,
    topic_id: Uuid,
    /// The directory is there. Stored by the holder of the log's mutex.
    made: AtomicBool,
    /// It and its `partition.metadata` are durable.
    durable: AtomicBool,
    /// `partition.metadata`, open until it is synced.
    identity: Mutex<Option<Arc<dyn LogFile>>>,
    /// Held while a file of it, or it, is synced.
    syncing: Mutex<()>,
    deleted: AtomicBool,
    /// A name was taken away since its names were synced: after a power cut it may be there again.
    has_unsynced_removals: AtomicBool,
    /// Why nothing of it can be read before another start.
    unavailable: OnceLock<StorageError>,
    /// A file was used since it was opened, or since somebody asked last.
    used: AtomicBool,
    /// A file may be open.
    open: AtomicBool,
    /// It stands in the queue of those whose files may be closed.
    queued: AtomicBool,
    /// It stands in the list of those that the cleaning thread looks at.
    listed: AtomicBool,
    /// The log whose directory it is, once that is shared.
    log: OnceLock<Weak<PartitionLog>>,
}

impl PartitionDir {
    /// The directory of `tp` in `log_dir`; nothing is looked up.
    pub(crate) fn new(
        log_dir: Arc<LogDir>,
        tp: TopicPartition,
        topic_id: Uuid,
        presence: Presence,
    ) -> Self {
        let path = log_dir.path().join(tp.to_string());
        Self {
            log_dir,
            path,
            tp,
            topic_id,
            made: AtomicBool::new(presence == Presence::Durable),
            durable: AtomicBool::new(presence == Presence::Durable),
            identity: Mutex::default(),
            syncing: Mutex::default(),
            deleted: AtomicBool::new(false),
            has_unsynced_removals: AtomicBool::new(false),
            unavailable: OnceLock::new(),
            used: AtomicBool::new(false),
            open: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            log: OnceLock::new(),
        }
    }

    /// The log directory it lies in.
    pub(crate) fn log_dir(&self) -> &Arc<LogDir> {
        &self.log_dir
    }

    /// The partition.
    pub(crate) fn tp(&self) -> &TopicPartition {
        &self.tp
    }

    /// The id of its topic.
    pub(crate) fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Whether it is known to be there.
    pub(crate) fn is_made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }

    /// Makes the directory where it is not known to be there, with its `partition.metadata`; what lies in
    /// it stays where it is of the same topic. Nothing is durable before [`Self::sync`].
    pub(crate) fn make(&self) -> Result<(), StorageError> {
        if self.is_made() {
            return Ok(());
        }
        let fs = self.log_dir.fs();
        let failed = |error| self.write_failed("create", &self.path, error);
        let id = self.log_dir.check_place(&self.tp)?;
        if id == Some(self.topic_id) {
            // Written anew, and never to become less durable than it may be: after a failed sync the
            // cache shows what the disk lacks, and no later sync would write it.
            partition_metadata::write(fs, &self.path, self.topic_id)
                .map_err(|error| self.judge(error))?;
        } else {
            if fs.exists(&self.path).map_err(failed)? {
                // Left by a deletion whose rename failed, or by an attempt that did not get through.
                self.log_dir.retire(&self.tp, id)?;
            }
            fs.create_dir_all(&self.path).map_err(failed)?;
            let written = partition_metadata::write_unsynced(fs, &self.path, self.topic_id);
            *self.identity() = Some(written.map_err(|error| self.judge(error))?);
        }
        self.made.store(true, Ordering::Release);
        Ok(())
    }

    /// Where it lies, until it is deleted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file `<base offset><ending>`, for example `00000000000000000042.log`.
    pub(crate) fn file(&self, base_offset: i64, ending: &str) -> PathBuf {
        self.path.join(format!("{base_offset:020}{ending}"))
    }

    /// Fails where the partition was deleted, or nothing of it can be read before another start.
    pub(crate) fn check_live(&self) -> Result<(), StorageError> {
        if self.is_deleted() {
            return Err(StorageError::PartitionDeleted);
        }
        self.unavailable().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Why nothing of it can be read before another start, if so.
    pub(crate) fn unavailable(&self) -> Option<&StorageError> {
        self.unavailable.get()
    }

    /// Nothing of it can be read before another start.
    pub(crate) fn set_unavailable(&self, why: StorageError) {
        self.unavailable.get_or_init(|| why);
    }

    /// Whether the partition was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Notes that a file of it is used.
    pub(crate) fn mark_used(self: &Arc<Self>) {
        // Only hints for closing what is idle: a stale value costs one more round. Who is used once only
        // goes before who is used again.
        if self.open.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        } else {
            // Before `stir` looks whether it is listed; who takes it off that list looks at this afterwards. In
            // any weaker order both could miss what the other did, and the files stayed open.
            self.open.store(true, Ordering::SeqCst);
            self.queue_up();
            self.stir();
        }
    }

    /// Has the cleaning thread look at it.
    pub(crate) fn stir(self: &Arc<Self>) {
        self.log_dir.stirred().add(self, &self.listed);
    }

    /// It was taken off the list of those that the cleaning thread looks at.
    pub(crate) fn unlisted(&self) {
        self.listed.store(false, Ordering::SeqCst);
    }

    /// The log whose directory it is, once that is shared.
    pub(crate) fn log(&self) -> Option<Arc<PartitionLog>> {
        self.log.get().and_then(Weak::upgrade)
    }

    /// Takes its place in the queue of those whose files may be closed.
    pub(crate) fn queue_up(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.log_dir.open_files().opened(self);
        }
    }

    /// It was taken off that queue.
    pub(crate) fn unqueued(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }

    /// Whether a file may be open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// Says whose directory it is.
    pub(crate) fn set_log(&self, log: &Arc<PartitionLog>) {
        self.log.get_or_init(|| Arc::downgrade(log));
    }

    /// Closes its files unless they were used since somebody asked; false where they stay open.
    pub(crate) fn close_unused(&self) -> bool {
        if self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        self.log().is_none_or(|log| log.try_release())
    }

    /// Whether files are open that nobody used since the last call.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Relaxed) && !self.used.swap(false, Ordering::Relaxed)
    }

    /// Notes that its files are closed.
    pub(crate) fn mark_closed(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    /// From now on no file of it is opened. Pairs with the acquire load of `is_deleted`.
    pub(crate) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    /// Turns a failed change into an error: of a deleted partition it says nothing about the disk.
    pub(crate) fn write_failed(
        &self,
        op: &'static str,
        path: &Path,
        error: io::Error,
    ) -> StorageError {
        if self.is_deleted() {
            return StorageError::PartitionDeleted;
        }
        self.log_dir
            .write_failed(StorageError::from_io(op, path, error))
    }

    /// Turns a failed open into an error. Only a disk that fails takes the directory offline; too many
    /// open files, for one, are no reason.
    pub(crate) fn open_failed(&self, path: &Path, error: io::Error) -> StorageError {
        if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) {
            return self.write_failed("open", path, error);
        }
        if self.is_deleted() {
            return StorageError::PartitionDeleted;
        }
        StorageError::from_io("open", path, error)
    }

    /// As [`Self::write_failed`], for a sync.
    pub(crate) fn sync_failed(&self, path: &Path, error: io::Error) -> StorageError {
        if self.is_deleted() {
            return StorageError::PartitionDeleted;
        }
        self.log_dir
            .sync_failed(StorageError::from_io("sync", path, error))
    }

    /// Judges an error of a helper that already has its path and cause.
    pub(crate) fn judge(&self, error: StorageError) -> StorageError {
        if self.is_deleted() {
            return StorageError::PartitionDeleted;
        }
        self.log_dir.write_failed(error)
    }

    /// Makes the directory's entries durable, the first time also whose directory it is and that it is
    /// there.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        // Who comes here twice at once syncs twice.
        let first = !self.durable.load(Ordering::Acquire);
        let identity = self.identity().clone();
        if let Some(file) = &identity {
            self.sync_data(&self.path, &**file)?;
        }
        self.sync_entries()?;
        if first {
            self.log_dir.sync_names()?;
            self.durable.store(true, Ordering::Release);
            *self.identity() = None;
        }
        Ok(())
    }

    /// Makes the bytes of a file in it durable.
    pub(crate) fn sync_data(&self, path: &Path, file: &dyn LogFile) -> Result<(), StorageError> {
        self.sync_alone(path, || file.sync_data())
    }

    /// Puts a file that holds `bytes` in the place of `path`, which lies in the directory. Its bytes are durable, its
    /// name is once [`Self::sync_entries`] or [`Self::sync`] was called.
    pub(crate) fn replace_unnamed(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let fs = self.log_dir.fs();
        checkpoint::write_unnamed(fs, path, bytes).map_err(|error| self.judge(error))
    }

    /// Removes a file, where it is there. Until [`Self::sync_removals`] a power cut may bring it back.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        if self.unlink(path)? {
            self.note_removal();
        }
        Ok(())
    }

    /// The same for a file that the caller remembers, so that it is removed again where a power cut brings it back.
    /// Returns whether it was there.
    pub(crate) fn unlink(&self, path: &Path) -> Result<bool, StorageError> {
        match self.log_dir.fs().remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.write_failed("remove", path, error)),
            Ok(()) => Ok(true),
        }
    }

    /// Notes that a name was taken away.
    pub(crate) fn note_removal(&self) {
        self.has_unsynced_removals.store(true, Ordering::Release);
    }

    /// Makes durable that names were taken away, where nothing has done so since.
    pub(crate) fn sync_removals(&self) -> Result<(), StorageError> {
        if self.has_unsynced_removals.load(Ordering::Acquire) && !self.is_deleted() {
            self.sync_entries()?;
        }
        Ok(())
    }

    /// Makes the names in it durable. They are synced in turn with those that a flush makes durable.
    pub(crate) fn sync_entries(&self) -> Result<(), StorageError> {
        // Before the sync: it may miss what is removed meanwhile.
        self.has_unsynced_removals.store(false, Ordering::SeqCst);
        self.sync_alone(&self.path, || self.log_dir.fs().sync_dir(&self.path))
    }

    /// Linux tells a failure of one file's syncs once: were two at work, or one after the other before the
    /// directory is offline, the second would take for durable what the first has lost.
    fn sync_alone(
        &self,
        path: &Path,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.log_dir.check_online()?;
        sync().map_err(|error| self.sync_failed(path, error))
    }

    fn identity(&self) -> MutexGuard<'_, Option<Arc<dyn LogFile>>> {
        // Nothing panics while it is held.
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir_names::parse_partition_dir;
    use crate::disk_space::SpaceLimits;
    use crate::fs::FileSystem;

    /// After a failed sync another succeeds, and what the first was to sync is lost all the same.
    #[test]
    fn no_name_is_taken_for_durable_once_a_sync_has_failed() {
        let fs: Arc<dyn FileSystem> = Arc::new(crate::fs::SimFs::new());
        let path = PathBuf::from("/data");
        fs.create_dir_all(&path.join("t-0")).unwrap();
        let (limits, open) = (SpaceLimits::default(), Arc::default());
        let log_dir = Arc::new(LogDir::new(fs, path, limits, open));
        let tp = parse_partition_dir("t-0").unwrap();
        let dir = PartitionDir::new(Arc::clone(&log_dir), tp, Uuid([1; 16]), Presence::Durable);
        let snapshot = dir.file(0, ".snapshot");
        dir.replace_unnamed(&snapshot, b"a").unwrap();
        dir.sync_entries().unwrap();
        log_dir.replace_file("checkpoint", b"a").unwrap();
        log_dir.take_offline(StorageError::Closed);
        let refused = |outcome| matches!(outcome, Err(StorageError::LogDirOffline { .. }));
        dir.replace_unnamed(&snapshot, b"b").unwrap();
        assert!(refused(dir.sync_entries()));
        assert!(refused(log_dir.replace_file("checkpoint", b"b")));
    }
}
