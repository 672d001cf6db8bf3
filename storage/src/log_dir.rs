//! One log directory: where it is, its dirty logs, and whether it can still be trusted.
//!
//! The first failed write or sync takes the directory offline until the next start: after a failed
//! `fdatasync` the kernel may have dropped the pages and say yes the next time. A full disk is no
//! fault, nor is a process with too many open files: the operation fails, nothing is published, and the
//! next one tries again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tidewheel_protocol::TopicPartition;

use crate::error::StorageError;
use crate::flush_coalescer::FlushCoalescer;
use crate::fs::FileSystem;

/// The ending of a partition directory whose topic was deleted.
pub(crate) const DELETED_SUFFIX: &str = "-delete";
/// What the name of a segment's file ends with once the segment left the log.
pub(crate) const DELETED_FILE_SUFFIX: &str = ".deleted";
/// The longest file name that common file systems take, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// A log directory. Whoever made it holds its lock.
#[derive(Debug)]
pub(crate) struct LogDir {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    offline: OnceLock<StorageError>,
    coalescer: FlushCoalescer,
}

impl LogDir {
    /// Takes over a directory that is locked and was checked.
    pub(crate) fn new(fs: Arc<dyn FileSystem>, path: PathBuf) -> Self {
        Self {
            fs,
            path,
            offline: OnceLock::new(),
            coalescer: FlushCoalescer::default(),
        }
    }

    /// The file system it lies on.
    pub(crate) fn fs(&self) -> &dyn FileSystem {
        &*self.fs
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The dirty logs of this directory.
    pub(crate) fn coalescer(&self) -> &FlushCoalescer {
        &self.coalescer
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

    /// Judges a failed sync: whatever the reason, what was written may be lost.
    pub(crate) fn take_offline(&self, error: StorageError) -> StorageError {
        self.offline.get_or_init(|| error.clone());
        error
    }

    /// The lock is about to be given up: logs that are still held somewhere write nothing any more.
    pub(crate) fn abandon(&self) {
        self.take_offline(StorageError::Closed);
        self.coalescer.clear();
    }

    /// Makes the entries of a directory durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.fs
            .sync_dir(path)
            .map_err(|error| self.take_offline(StorageError::from_io("sync", path, error)))
    }
}

/// The directory of one partition, shared by all who open files in it.
#[derive(Debug)]
pub(crate) struct PartitionDir {
    log_dir: Arc<LogDir>,
    path: PathBuf,
    tp: TopicPartition,
    deleted: AtomicBool,
    /// A file was opened or used since somebody asked last.
    used: AtomicBool,
    /// A file may be open.
    open: AtomicBool,
}

impl PartitionDir {
    /// The directory of `tp` in `log_dir`; nothing is looked up.
    pub(crate) fn new(log_dir: Arc<LogDir>, tp: TopicPartition) -> Self {
        let path = log_dir.path().join(tp.to_string());
        Self {
            log_dir,
            path,
            tp,
            deleted: AtomicBool::new(false),
            used: AtomicBool::new(false),
            open: AtomicBool::new(false),
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

    /// Where it lies, until it is deleted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file `<base offset><ending>`, for example `00000000000000000042.log`.
    pub(crate) fn file(&self, base_offset: i64, ending: &str) -> PathBuf {
        self.path.join(format!("{base_offset:020}{ending}"))
    }

    /// Fails where the partition was deleted.
    pub(crate) fn check_live(&self) -> Result<(), StorageError> {
        if self.is_deleted() {
            Err(StorageError::PartitionDeleted)
        } else {
            Ok(())
        }
    }

    /// Whether the partition was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Notes that a file of it is used.
    pub(crate) fn mark_used(&self) {
        // Only a hint for closing what is idle: a stale value costs one more round.
        self.open.store(true, Ordering::Relaxed);
        self.used.store(true, Ordering::Relaxed);
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
            .take_offline(StorageError::from_io("sync", path, error))
    }

    /// Judges an error of a helper that already has its path and cause.
    pub(crate) fn judge(&self, error: StorageError) -> StorageError {
        if self.is_deleted() {
            return StorageError::PartitionDeleted;
        }
        self.log_dir.write_failed(error)
    }

    /// Makes the directory's entries durable.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        let synced = self.log_dir.fs().sync_dir(&self.path);
        synced.map_err(|error| self.sync_failed(&self.path, error))
    }
}

/// The partition that a directory name stands for: `<topic>-<partition>`.
pub(crate) fn parse_partition_dir(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let number: i32 = partition.parse().ok().filter(|number| *number >= 0)?;
    let plain = !topic.is_empty() && number.to_string() == partition;
    plain.then(|| TopicPartition {
        topic: Arc::from(topic),
        partition: number,
    })
}

/// The name a deleted partition's directory gets: `<topic>-<partition>.<unique>-delete`, as Kafka
/// names it; a long topic name is cut so that the whole stays a legal file name.
pub(crate) fn deleted_dir_name(tp: &TopicPartition, unique: &str) -> String {
    let ending = format!(".{unique}{DELETED_SUFFIX}");
    let mut name = tp.to_string();
    name.truncate(FILE_NAME_BYTES_MAX.saturating_sub(ending.len()));
    name + &ending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_directories_are_told_from_others() {
        let tp = parse_partition_dir("a-b.c-12").unwrap();
        assert_eq!((&*tp.topic, tp.partition), ("a-b.c", 12));
        for other in [
            "plain",
            "-1",
            "t-",
            "t-x",
            "t-01",
            "t-+1",
            "t-0.0f-delete",
            "t--1x",
        ] {
            assert!(parse_partition_dir(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_name_of_a_deleted_directory_is_never_too_long() {
        let tp = TopicPartition {
            topic: Arc::from("t".repeat(249)),
            partition: 1_000_000,
        };
        let name = deleted_dir_name(&tp, &"f".repeat(32));
        assert_eq!(name.len(), 255);
        assert!(name.ends_with(&format!("{}-delete", "f".repeat(32))));
        let tp = TopicPartition {
            topic: Arc::from("t"),
            partition: 0,
        };
        assert_eq!(deleted_dir_name(&tp, "0f"), "t-0.0f-delete");
    }
}
