//! Everything that can go wrong in the log, named by cause.
//!
//! A value can be cloned, because one failed flush answers many waiters with the same error.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_config::limits::{COMPACTED_BATCH_BYTES_MAX, COMPACTED_BATCH_RECORDS_MAX};

/// A failure of the log, of a file below it, or a record batch that the log refuses.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// A file operation failed. The operation is never repeated; for a write or a sync the log
    /// directory goes offline.
    #[error("cannot {op} {}: {source}", .path.display())]
    Io {
        /// The operation, as a verb: `write`, `sync`, `rename`.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file system has no room, or the quota is used up. Nothing was published; a later
    /// append may succeed.
    #[error("no space left for {}", .path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Free space is so little that it is kept for the broker's own logs. Nothing was written; a later
    /// append may succeed.
    #[error("what is left of the disk of {} is kept for group commits and deletions", .dir.display())]
    NoRoom {
        /// The log directory.
        dir: PathBuf,
    },
    /// An earlier write or sync in this log directory failed, so nothing is written there any
    /// more until the next start.
    #[error("log directory {} is offline after a failed write or sync", .dir.display())]
    LogDirOffline {
        /// The log directory.
        dir: PathBuf,
    },
    /// The offset lies outside what the log holds.
    #[error("offset {offset} is outside {start}..{end}")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The log start offset.
        start: i64,
        /// The end of what may be read.
        end: i64,
    },
    /// A file holds bytes that a torn write cannot explain, or an own file is damaged.
    #[error("{} is corrupt at byte {position}: {reason}", .path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file, in bytes; for a text file, where the line starts.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A batch does not follow the last one of its producer.
    #[error("producer {producer_id} sent sequence {found} where {expected} follows")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The sequence number that would follow.
        expected: i32,
        /// The sequence number that came.
        found: i32,
    },
    /// A batch of a producer that a newer instance has replaced.
    #[error("producer {producer_id} sent epoch {found} after epoch {current}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// The epoch the partition knows.
        current: i16,
        /// The epoch that came.
        found: i16,
    },
    /// A batch that breaks a rule of the record format.
    #[error("invalid record batch: {reason}")]
    InvalidRecord {
        /// The rule.
        reason: String,
    },
    /// Records without a key for a compacted topic.
    #[error("{count} records have no key, which those of a compacted topic must have")]
    MissingKeys {
        /// How many.
        count: usize,
        /// The places of the first of them in the batch, from 0, at most
        /// [`RECORD_ERRORS_MAX`](tidewheel_config::limits::RECORD_ERRORS_MAX).
        indexes: Vec<i32>,
    },
    /// A batch of a compacted topic that is more than compaction takes up at once.
    #[error(
        "{count} records, or what they decompress to, are more than one batch of a compacted topic may hold: \
         {COMPACTED_BATCH_RECORDS_MAX} records, and {COMPACTED_BATCH_BYTES_MAX} bytes after decompression"
    )]
    TooLargeToCompact {
        /// How many records it has.
        count: i32,
    },
    /// A timestamp too far from the broker's clock.
    #[error("timestamp {timestamp} is outside {earliest}..={latest}")]
    InvalidTimestamp {
        /// The timestamp, ms since 1970.
        timestamp: i64,
        /// The earliest that is accepted now, ms since 1970.
        earliest: i64,
        /// The latest that is accepted now, ms since 1970.
        latest: i64,
    },
    /// A batch larger than `max.message.bytes`.
    #[error("record batch of {size} bytes is larger than max.message.bytes {max}")]
    RecordTooLarge {
        /// Bytes of the batch, header included.
        size: usize,
        /// The limit in bytes.
        max: u32,
    },
    /// The batch names a codec that does not exist.
    #[error("compression type {id} is unknown")]
    UnsupportedCompression {
        /// Bits 0-2 of the batch's attributes.
        id: i16,
    },
    /// A transactional batch, or one that does not fit the producer's transaction.
    #[error("transactional record batches are not supported")]
    InvalidTxnState,
    /// Another process holds the lock of the log directory.
    #[error("log directory {} is in use by another process", .dir.display())]
    DirectoryInUse {
        /// The log directory.
        dir: PathBuf,
    },
    /// The directory holds something that is not ours. It is left untouched.
    #[error("log directory {} is not used: {why}", .dir.display())]
    ForeignDirectory {
        /// The directory.
        dir: PathBuf,
        /// Whose it seems to be, as a sentence.
        why: String,
    },
    /// The directory was written by a newer version of Tidewheel. It is left untouched.
    #[error("log directory {} has format {found}, this version reads up to {supported}", .dir.display())]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// The format version found there.
        found: i32,
        /// The newest format version this program knows.
        supported: i32,
    },
    /// The directory is ours but belongs to another broker or cluster.
    #[error("log directory {} belongs elsewhere: {why}", .dir.display())]
    DirectoryMismatch {
        /// The directory.
        dir: PathBuf,
        /// What differs, as a sentence.
        why: String,
    },
    /// A log directory that was used before says nothing of itself any more, or is not named any more.
    #[error("log directory {} is lost: {why}", .dir.display())]
    DirectoryLost {
        /// The directory.
        dir: PathBuf,
        /// How that shows, as a sentence.
        why: String,
    },
    /// The partition was deleted while the caller held it.
    #[error("the partition was deleted")]
    PartitionDeleted,
    /// The logs were closed: the broker stops.
    #[error("the log is closed")]
    Closed,
    /// Records were delivered in this range that a start would deliver again without them: the delay store
    /// has not noted it yet.
    #[error("the delay store has not noted yet what it delivered before offset {offset}")]
    DeliveriesNotNoted {
        /// Where the range begins.
        offset: i64,
    },
    /// More appends wait for this partition than the bound allows.
    #[error("too many appends wait for this partition")]
    QueueFull,
}

impl StorageError {
    /// The error for a failed file operation; a full disk or quota becomes
    /// [`StorageError::DiskFull`].
    #[must_use]
    pub fn from_io(op: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io {
                op,
                path,
                source: Arc::new(source),
            },
        }
    }

    /// The error for damaged bytes at `position` of `path`.
    #[must_use]
    pub fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_path_buf(),
            position,
            reason: reason.into(),
        }
    }

    /// The error for a batch that breaks a rule of the format.
    #[must_use]
    pub fn invalid_record(reason: impl Into<String>) -> Self {
        Self::InvalidRecord {
            reason: reason.into(),
        }
    }

    /// Whether the cause passes and says nothing about the disk: it is full, or no file can be opened at
    /// the moment. What was tried had no effect that a later try does not undo.
    pub(crate) fn passes(&self) -> bool {
        self.is_disk_full() || self.is_out_of_descriptors()
    }

    /// Whether nothing could be opened because the process or the system has no more descriptors. Only
    /// opening can fail so: nothing was written or synced.
    #[must_use]
    pub fn is_out_of_descriptors(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return false;
        };
        let code = source.raw_os_error();
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
            .iter()
            .any(|errno| code == Some(errno.raw_os_error()))
    }

    /// Whether the cause is a full disk, which passes, and not a broken one.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_or_quota_is_told_apart_from_a_broken_disk() {
        let path = Path::new("/data/t-0/0.log");
        for code in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            let error = StorageError::from_io("write", path, code.into());
            assert!(error.is_disk_full(), "{error}");
        }
        let error = StorageError::from_io("write", path, rustix::io::Errno::IO.into());
        assert!(!error.is_disk_full());
        assert!(
            error
                .to_string()
                .starts_with("cannot write /data/t-0/0.log: "),
            "{error}"
        );
        assert!(std::error::Error::source(&error.clone()).is_some());
    }
}
