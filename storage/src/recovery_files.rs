//! The files that recovery finds in a partition's directory, and how it removes and shortens them.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compaction::swap::finish_swaps;
use crate::dir_names::DELETED_FILE_SUFFIX;
use crate::error::StorageError;
use crate::fs::{DirEntry, LogFile, OpenMode};
use crate::partition_dir::PartitionDir;
use crate::segment::{INDEX, LOG, SNAPSHOT, TIME_INDEX};

/// Most bytes of a torn tail that are kept for inspection.
const TORN_BYTES_MAX: u64 = 1 << 20;
/// Most torn tails that a partition keeps; the oldest go first.
const TORN_FILES_MAX: usize = 4;
/// What marks a kept tail: `<base offset>.log.torn-<ms since 1970>`.
const TORN: &str = ".log.torn-";

/// A data file that was found.
#[derive(Clone, Debug)]
pub(crate) struct FoundSegment {
    /// The offset in its name.
    pub(crate) base_offset: i64,
    /// Bytes in it.
    pub(crate) len: u64,
    /// The base offset of the next segment, `i64::MAX` for the last one.
    pub(crate) end_bound: i64,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

impl FoundSegment {
    /// The largest offset that may follow a batch of it: the next segment begins there, or its
    /// indexes cannot name offsets beyond ([`crate::index::offset_fits`]).
    pub(crate) fn next_offset_max(&self) -> i64 {
        self.end_bound.min(self.base_offset.saturating_add(1 << 31))
    }

    /// Opens it.
    pub(crate) fn open(&self, dir: &PartitionDir) -> Result<Arc<dyn LogFile>, StorageError> {
        let file = dir.log_dir().fs().open(&self.path, OpenMode::ReadWrite);
        file.map_err(|error| StorageError::from_io("open", &self.path, error))
    }
}

/// What lies in a partition's directory.
#[derive(Debug, Default)]
pub(crate) struct PartitionFiles {
    /// In the order of their base offsets.
    pub(crate) segments: Vec<FoundSegment>,
    /// Offsets of the producer snapshots.
    pub(crate) snapshots: BTreeSet<i64>,
}

impl PartitionFiles {
    /// Lists the directory; finishes swaps of compacted segments that were cut off, and removes files that were never finished or already deleted, and
    /// indexes without data.
    pub(crate) fn survey(dir: &PartitionDir) -> Result<Self, StorageError> {
        finish_swaps(dir)?;
        let fs = dir.log_dir().fs();
        let entries = fs
            .read_dir(dir.path())
            .map_err(|error| StorageError::from_io("list", dir.path(), error))?;
        let mut files = Self::default();
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            if let Some(base_offset) = offset_of(&entry.name, LOG) {
                let path = dir.path().join(&entry.name);
                let (len, end_bound) = (entry.len, i64::MAX);
                files.segments.push(FoundSegment {
                    base_offset,
                    len,
                    end_bound,
                    path,
                });
            }
            files.snapshots.extend(offset_of(&entry.name, SNAPSHOT));
        }
        files
            .segments
            .sort_unstable_by_key(|segment| segment.base_offset);
        for at in 1..files.segments.len() {
            files.segments[at - 1].end_bound = files.segments[at].base_offset;
        }
        files.remove_leftovers(dir, &entries)?;
        Ok(files)
    }

    fn remove_leftovers(
        &self,
        dir: &PartitionDir,
        entries: &[DirEntry],
    ) -> Result<(), StorageError> {
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            let index_of = offset_of(&entry.name, INDEX).or(offset_of(&entry.name, TIME_INDEX));
            let orphan = index_of.is_some_and(|base_offset| {
                !self
                    .segments
                    .iter()
                    .any(|segment| segment.base_offset == base_offset)
            });
            let leftover = [".tmp", DELETED_FILE_SUFFIX]
                .iter()
                .any(|ending| entry.name.ends_with(ending));
            if orphan || leftover {
                dir.remove_file(&dir.path().join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Removes the segments that lie wholly before the log start, the oldest first: they had left the
    /// log already. The last segment stays.
    pub(crate) fn remove_before_log_start(
        &mut self,
        dir: &PartitionDir,
        log_start: i64,
    ) -> Result<(), StorageError> {
        let gone = self
            .segments
            .iter()
            .take_while(|segment| segment.end_bound <= log_start)
            .count();
        for segment in self.segments.drain(..gone) {
            for ending in [INDEX, TIME_INDEX, LOG] {
                dir.remove_file(&dir.file(segment.base_offset, ending))?;
            }
        }
        Ok(())
    }
}

/// The offset in a file name like `00000000000000000042.log`.
pub(crate) fn offset_of(name: &str, ending: &str) -> Option<i64> {
    let digits = name.strip_suffix(ending)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// Removes a segment that lies behind the end of the log; its beginning is kept for inspection.
pub(crate) fn remove_segment(
    dir: &PartitionDir,
    found: &FoundSegment,
    now_ms: i64,
) -> Result<(), StorageError> {
    let file = found.open(dir)?;
    keep_torn(dir, found, &*file, 0, now_ms)?;
    for ending in [LOG, INDEX, TIME_INDEX] {
        dir.remove_file(&dir.file(found.base_offset, ending))?;
    }
    Ok(())
}

/// Shortens a data file to its good batches; what is cut off is kept for inspection.
pub(crate) fn cut_tail(
    dir: &PartitionDir,
    found: &FoundSegment,
    file: &dyn LogFile,
    len: u64,
    now_ms: i64,
) -> Result<(), StorageError> {
    keep_torn(dir, found, file, len, now_ms)?;
    file.set_len(len)
        .map_err(|error| dir.write_failed("truncate", &found.path, error))?;
    file.sync_data()
        .map_err(|error| dir.sync_failed(&found.path, error))
}

/// Removes producer snapshots.
pub(crate) fn remove_snapshots(
    dir: &PartitionDir,
    offsets: &BTreeSet<i64>,
) -> Result<(), StorageError> {
    offsets
        .iter()
        .try_for_each(|offset| dir.remove_file(&dir.file(*offset, SNAPSHOT)))
}

/// Copies the first bytes from `position` on to a `.torn` file. Zeros are what a file system leaves of
/// bytes that never reached the disk; they are not worth keeping. Neither is the copy worth a failed
/// start on a full disk.
fn keep_torn(
    dir: &PartitionDir,
    found: &FoundSegment,
    file: &dyn LogFile,
    position: u64,
    now_ms: i64,
) -> Result<(), StorageError> {
    let len = (found.len - position).min(TORN_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    file.read_exact_at(&mut bytes, position)
        .map_err(|error| StorageError::from_io("read", &found.path, error))?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    forget_old_torn(dir)?;
    let path = dir
        .path()
        .join(format!("{:020}{TORN}{now_ms}", found.base_offset));
    match write_torn(dir, &path, &bytes) {
        Err(error) if error.is_disk_full() => dir.remove_file(&path),
        Err(error) => Err(error),
        // Its name as well, before the bytes go from where they were.
        Ok(()) => dir.sync(),
    }
}

fn write_torn(dir: &PartitionDir, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let file = dir.log_dir().fs().open(path, OpenMode::Create);
    let file = file.map_err(|error| dir.open_failed(path, error))?;
    // A crash may have left a part of it.
    file.set_len(0)
        .map_err(|error| dir.write_failed("truncate", path, error))?;
    file.write_all_at(&[IoSlice::new(bytes)], 0)
        .map_err(|error| dir.write_failed("write", path, error))?;
    file.sync_data()
        .map_err(|error| dir.sync_failed(path, error))
}

/// Makes room for one more kept tail.
fn forget_old_torn(dir: &PartitionDir) -> Result<(), StorageError> {
    let entries = dir.log_dir().fs().read_dir(dir.path());
    let entries = entries.map_err(|error| StorageError::from_io("list", dir.path(), error))?;
    let stamp = |name: &str| name.split_once(TORN)?.1.parse::<i64>().ok();
    let mut kept: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((stamp(&entry.name)?, &entry.name)))
        .collect();
    kept.sort_unstable();
    let surplus = (kept.len() + 1).saturating_sub(TORN_FILES_MAX);
    kept[..surplus]
        .iter()
        .try_for_each(|(_, name)| dir.remove_file(&dir.path().join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twenty_digits_name_an_offset() {
        assert_eq!(offset_of("00000000000000000042.log", LOG), Some(42));
        assert_eq!(offset_of("00000000000000000042.log.torn-7", LOG), None);
        for other in [
            "42.log",
            "+0000000000000000042.log",
            "99999999999999999999.log",
            ".log",
        ] {
            assert_eq!(offset_of(other, LOG), None, "{other}");
        }
    }
}
