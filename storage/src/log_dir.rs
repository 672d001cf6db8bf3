//! One log directory: where it is, its dirty logs, and whether it can still be trusted.
//!
//! The first failed write or sync takes the directory offline until the next start: after a failed
//! `fdatasync` the kernel may have dropped the pages and say yes the next time. A full disk is no
//! fault, nor is a process with too many open files: the operation fails, nothing is published, and the
//! next one tries again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tidewheel_protocol::{TopicPartition, Uuid};

use crate::ballast::Ballast;
use crate::checkpoint;
use crate::dir_names::deleted_dir_name;
use crate::disk_space::{SpaceLimits, SpaceWatch};
use crate::error::StorageError;
use crate::flush_coalescer::FlushCoalescer;
use crate::fs::FileSystem;
use crate::open_files::OpenFiles;
use crate::partition_dir::lost_identity;
use crate::partition_metadata::{self, PARTITION_METADATA};
use crate::stirred::Stirred;

/// A log directory. Whoever made it holds its lock.
#[derive(Debug)]
pub(crate) struct LogDir {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    offline: OnceLock<StorageError>,
    coalescer: FlushCoalescer,
    /// How often somebody asked to have the names in it synced.
    names_wanted: AtomicU64,
    /// How many of these were answered. Held while the directory is synced.
    names_synced: Mutex<u64>,
    space: SpaceWatch,
    ballast: Ballast,
    stirred: Stirred,
    open: Arc<OpenFiles>,
    /// There may be directories that are to be removed and that nobody noted elsewhere.
    retired: AtomicBool,
}

impl LogDir {
    /// Takes over a directory that is locked and was checked.
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        path: PathBuf,
        space: SpaceLimits,
        open: Arc<OpenFiles>,
    ) -> Self {
        Self {
            fs,
            path,
            offline: OnceLock::new(),
            coalescer: FlushCoalescer::default(),
            names_wanted: AtomicU64::new(0),
            names_synced: Mutex::new(0),
            space: SpaceWatch::new(space),
            ballast: Ballast::default(),
            stirred: Stirred::default(),
            open,
            retired: AtomicBool::new(true),
        }
    }

    /// The file system it lies on.
    pub(crate) fn fs(&self) -> &dyn FileSystem {
        &*self.fs
    }

    /// The same for what outlives a borrow.
    pub(crate) fn shared_fs(&self) -> Arc<dyn FileSystem> {
        Arc::clone(&self.fs)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The dirty logs of this directory.
    pub(crate) fn coalescer(&self) -> &FlushCoalescer {
        &self.coalescer
    }

    /// What is known of its free space.
    pub(crate) fn space(&self) -> &SpaceWatch {
        &self.space
    }

    /// What takes a part of its reserve ahead of need.
    pub(crate) fn ballast(&self) -> &Ballast {
        &self.ballast
    }

    /// The partitions that the cleaning thread looks at.
    pub(crate) fn stirred(&self) -> &Stirred {
        &self.stirred
    }

    /// The open files and maps of all directories.
    pub(crate) fn open_files(&self) -> &Arc<OpenFiles> {
        &self.open
    }

    /// The error that took the directory offline, if one did.
    pub(crate) fn offline_cause(&self) -> Option<&StorageError> {
        self.offline.get()
    }

    /// Fails where the directory is offline.
    pub(crate) fn check_online(&self) -> Result<(), StorageError> {
        match self.offline.get() {
            None => Ok(()),
            Some(_) => Err(StorageError::LogDirOffline {
                dir: self.path.clone(),
            }),
        }
    }

    /// Judges a failed change of a file or directory: what passes is passed on, anything else takes the
    /// directory offline.
    pub(crate) fn write_failed(&self, error: StorageError) -> StorageError {
        if error.passes() {
            error
        } else {
            self.take_offline(error)
        }
    }

    /// Judges a failed sync. One that could not begin, because the directory cannot be opened at the moment,
    /// lost nothing and may be repeated; after any other what was written may be lost.
    pub(crate) fn sync_failed(&self, error: StorageError) -> StorageError {
        if error.is_out_of_descriptors() {
            error
        } else {
            self.take_offline(error)
        }
    }

    /// Takes the directory offline, whatever the reason.
    pub(crate) fn take_offline(&self, error: StorageError) -> StorageError {
        self.offline.get_or_init(|| error.clone());
        error
    }

    /// The lock is about to be given up: logs that are still held somewhere write nothing any more.
    pub(crate) fn abandon(&self) {
        self.take_offline(StorageError::Closed);
        self.coalescer.clear();
    }

    /// Takes the directory of a partition away that belongs to no topic any more. That of topic `id` is
    /// unlinked later; one without an id never held durable data and goes at once.
    pub(crate) fn retire(&self, tp: &TopicPartition, id: Option<Uuid>) -> Result<(), StorageError> {
        let from = self.path.join(tp.to_string());
        let failed = |error| self.write_failed(StorageError::from_io("remove", &from, error));
        let to = self.path.join(deleted_dir_name(tp, id.unwrap_or_default()));
        if self.fs.exists(&to).map_err(failed)? {
            return self.fs.remove_dir_all(&from).map_err(failed);
        }
        self.fs.rename(&from, &to).map_err(failed)?;
        self.look_for_retired();
        if id.is_none() {
            // A crash must not give a half-unlinked directory its old name back.
            self.sync_names()?;
            self.fs.remove_dir_all(&to).map_err(failed)?;
        }
        Ok(())
    }

    /// There may be directories that are to be removed.
    pub(crate) fn look_for_retired(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether there may be some since somebody asked last.
    pub(crate) fn may_have_retired(&self) -> bool {
        self.retired.swap(false, Ordering::AcqRel)
    }

    /// Whether the directory of a partition, if there is one, is what a crash or a full disk leaves of
    /// one that was being made: there is no file but `partition.metadata`, or that one never
    /// reached the disk.
    pub(crate) fn is_unwritten(&self, tp: &TopicPartition) -> Result<bool, StorageError> {
        let path = self.path.join(tp.to_string());
        let entries = match self.fs.read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(StorageError::from_io("list", &path, error)),
        };
        let mut others = entries
            .iter()
            .filter(|entry| !entry.name.starts_with(PARTITION_METADATA));
        if others.next().is_none() {
            return Ok(true);
        }
        let named = entries.iter().any(|entry| entry.name == PARTITION_METADATA);
        Ok(named && partition_metadata::read(&*self.fs, &path)?.is_none())
    }

    /// Fails where files of nobody knows whom lie in the place of a partition; returns the topic whose
    /// directory it is, if it is one's.
    pub(crate) fn check_place(&self, tp: &TopicPartition) -> Result<Option<Uuid>, StorageError> {
        let path = self.path.join(tp.to_string());
        let id = partition_metadata::read(&*self.fs, &path)?;
        if id.is_none() && !self.is_unwritten(tp)? {
            return Err(lost_identity(&path));
        }
        Ok(id)
    }

    /// Puts a file that holds `bytes` in the place of the one called `name`, durably. Names are synced by one
    /// at a time.
    pub(crate) fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.replace_unnamed(name, bytes)?;
        self.sync_names()
    }

    /// The same without the name: several share a call of [`Self::sync_names`].
    pub(crate) fn replace_unnamed(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        checkpoint::write_unnamed(&*self.fs, &self.path.join(name), bytes)
            .map_err(|error| self.write_failed(error))
    }

    /// Makes the names in this directory durable. Those who come while it is synced share the next sync. One
    /// at a time: after one that failed another succeeds, and the names that the first was to sync are
    /// lost all the same.
    pub(crate) fn sync_names(&self) -> Result<(), StorageError> {
        let wanted = self.names_wanted.fetch_add(1, Ordering::AcqRel) + 1;
        // Nothing panics while it is held.
        let synced = self.names_synced.lock();
        let mut synced = synced.unwrap_or_else(PoisonError::into_inner);
        self.check_online()?;
        if *synced < wanted {
            let covered = self.names_wanted.load(Ordering::Acquire);
            let sync = self.fs.sync_dir(&self.path);
            sync.map_err(|error| {
                self.sync_failed(StorageError::from_io("sync", &self.path, error))
            })?;
            *synced = covered;
        }
        Ok(())
    }
}
