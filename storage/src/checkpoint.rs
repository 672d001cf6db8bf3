//! Small files that are replaced as a whole, and Kafka's text checkpoints among them.
//!
//! A replaced file is either the old one or the new one after a crash: the bytes go to
//! `<name>.tmp`, are synced, renamed over the old file, and the directory is synced.
//!
//! A text checkpoint of version 0 is
//! ```text
//! 0\n
//! <number of entries>\n
//! <entry>\n            once per entry
//! ```
//! In the offset checkpoints of a log directory an entry is `topic partition offset`.
//! `.kafka_cleanshutdown` is JSON, `{"version":0,"brokerEpoch":-1}`; only that it is there counts.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_protocol::TopicPartition;

use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile, OpenMode};

/// Up to which offset each partition of a log directory is known to be on the disk.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// The high watermark of each partition of a log directory.
pub const REPLICATION_OFFSET_CHECKPOINT: &str = "replication-offset-checkpoint";
/// The log start offset of each partition where it lies above the first segment's base offset.
pub const LOG_START_OFFSET_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// How far each log is compacted; a log that was never compacted is not in it.
pub const CLEANER_OFFSET_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// Present only while nothing runs on the log directory and the last stop was a clean one.
pub const CLEAN_SHUTDOWN_MARKER: &str = ".kafka_cleanshutdown";

/// The largest small file that is read, in bytes. A manifest of a million partitions fits.
pub const SMALL_FILE_BYTES_MAX: u64 = 512 << 20;

/// Replaces `path` by a file that holds `bytes`, durably: see the module's head.
///
/// # Errors
/// Whatever failed first. The old file is then still in place, or the new one is and may vanish
/// again in a crash.
pub fn write_atomically(
    fs: &dyn FileSystem,
    path: &Path,
    bytes: &[u8],
) -> Result<(), StorageError> {
    write_unnamed(fs, path, bytes)?;
    sync_parent(fs, path)
}

/// Replaces `path` by a file that holds `bytes` and returns the file; a process that dies leaves the old
/// one or the new one. After a power cut the name may stand over an empty file or zeros, until the
/// file and its directory are synced.
///
/// # Errors
/// Whatever failed first; the old file is then still in place.
pub(crate) fn write_unsynced(
    fs: &dyn FileSystem,
    path: &Path,
    bytes: &[u8],
) -> Result<Arc<dyn LogFile>, StorageError> {
    let (tmp, file) = write_tmp(fs, path, bytes)?;
    fs.rename(&tmp, path)
        .map_err(|error| StorageError::from_io("rename", &tmp, error))?;
    Ok(file)
}

/// Puts a file that holds `bytes` in the place of `path`; the file is durable, its name is not: the caller
/// syncs the directory, which others may sync as well.
///
/// # Errors
/// Whatever failed first; the old file is then still in place.
pub(crate) fn write_unnamed(
    fs: &dyn FileSystem,
    path: &Path,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let (tmp, file) = write_tmp(fs, path, bytes)?;
    file.sync_data()
        .map_err(|error| StorageError::from_io("sync", &tmp, error))?;
    fs.rename(&tmp, path)
        .map_err(|error| StorageError::from_io("rename", &tmp, error))
}

/// Writes `bytes` beside `path`, under the name and in the file that are returned.
fn write_tmp(
    fs: &dyn FileSystem,
    path: &Path,
    bytes: &[u8],
) -> Result<(PathBuf, Arc<dyn LogFile>), StorageError> {
    let tmp = tmp_path(path);
    let file = fs
        .open(&tmp, OpenMode::Create)
        .map_err(|error| StorageError::from_io("create", &tmp, error))?;
    // A crash may have left a longer one.
    file.set_len(0)
        .map_err(|error| StorageError::from_io("truncate", &tmp, error))?;
    file.write_all_at(&[IoSlice::new(bytes)], 0)
        .map_err(|error| StorageError::from_io("write", &tmp, error))?;
    Ok((tmp, file))
}

/// Makes the directory entry of `path` durable.
///
/// # Errors
/// `Io` where the sync failed.
pub fn sync_parent(fs: &dyn FileSystem, path: &Path) -> Result<(), StorageError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs.sync_dir(parent)
        .map_err(|error| StorageError::from_io("sync", parent, error))
}

/// The whole content of a small file, `None` where there is none.
///
/// # Errors
/// `Corrupt` for more than [`SMALL_FILE_BYTES_MAX`] bytes; `Io` where it cannot be read.
pub fn read_small(fs: &dyn FileSystem, path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    let failed = |error| StorageError::from_io("read", path, error);
    let file = match fs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let len = file.len().map_err(failed)?;
    let len = usize::try_from(len)
        .ok()
        .filter(|_| len <= SMALL_FILE_BYTES_MAX)
        .ok_or_else(|| StorageError::corrupt(path, 0, format!("{len} bytes are too many")))?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(Some(bytes))
}

/// Removes a file durably; no error where there is none.
///
/// # Errors
/// `Io` where it cannot be removed or the directory not synced.
pub fn remove_durably(fs: &dyn FileSystem, path: &Path) -> Result<(), StorageError> {
    match fs.remove_file(path) {
        Ok(()) => sync_parent(fs, path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StorageError::from_io("remove", path, error)),
    }
}

/// The text of a checkpoint with these entries.
#[must_use]
pub fn encode_lines(entries: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for entry in entries {
        text.push_str(&entry);
        text.push('\n');
    }
    text
}

/// The entries of a checkpoint with the byte position of each; `path` names it in errors. An
/// empty file has none, as in Kafka.
///
/// # Errors
/// `Corrupt` where the version is not 0, the count is wrong or the text not UTF-8.
pub fn decode_lines<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(u64, &'a str)>, StorageError> {
    let corrupt =
        |position: usize, reason: String| StorageError::corrupt(path, position as u64, reason);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| corrupt(error.valid_up_to(), "not UTF-8".to_owned()))?;
    let mut position = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        lines.push((position as u64, line.trim_end_matches(['\n', '\r'])));
        position += line.len();
    }
    let mut lines = lines.into_iter();
    let Some((_, version)) = lines.next() else {
        return Ok(Vec::new());
    };
    if version != "0" {
        return Err(corrupt(
            0,
            format!("checkpoint version {version:?} is unknown"),
        ));
    }
    let Some((at, count)) = lines.next() else {
        return Ok(Vec::new());
    };
    let entries: Vec<_> = lines.collect();
    if count.parse::<usize>() != Ok(entries.len()) {
        let reason = format!("{} entries where {count:?} are announced", entries.len());
        return Err(StorageError::corrupt(path, at, reason));
    }
    Ok(entries)
}

/// Writes one of the offset checkpoints.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_offsets(
    fs: &dyn FileSystem,
    path: &Path,
    offsets: &[(TopicPartition, i64)],
) -> Result<(), StorageError> {
    write_atomically(fs, path, encode_offsets(offsets).as_bytes())
}

/// The text of one of the offset checkpoints, sorted by partition.
#[must_use]
pub fn encode_offsets(offsets: &[(TopicPartition, i64)]) -> String {
    let mut sorted: Vec<_> = offsets.iter().collect();
    sorted.sort();
    let mut text = format!("0\n{}\n", sorted.len());
    for (tp, offset) in sorted {
        // Writing to a string cannot fail.
        writeln!(text, "{} {} {offset}", tp.topic, tp.partition).unwrap_or_default();
    }
    text
}

/// Reads one of the offset checkpoints; empty where there is none.
///
/// # Errors
/// `Corrupt` for a damaged file; `Io` where it cannot be read.
pub fn read_offsets(
    fs: &dyn FileSystem,
    path: &Path,
) -> Result<HashMap<TopicPartition, i64>, StorageError> {
    let Some(bytes) = read_small(fs, path)? else {
        return Ok(HashMap::new());
    };
    let mut offsets = HashMap::new();
    for (position, line) in decode_lines(path, &bytes)? {
        let (tp, offset) = parse_offset(line).ok_or_else(|| {
            StorageError::corrupt(
                path,
                position,
                format!("no topic, partition, offset: {line:?}"),
            )
        })?;
        if offsets.insert(tp, offset).is_some() {
            return Err(StorageError::corrupt(
                path,
                position,
                format!("twice: {line:?}"),
            ));
        }
    }
    Ok(offsets)
}

/// Notes that the log directory was closed in order. Call it last.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_clean_shutdown(fs: &dyn FileSystem, dir: &Path) -> Result<(), StorageError> {
    let content = br#"{"version":0,"brokerEpoch":-1}"#;
    write_atomically(fs, &dir.join(CLEAN_SHUTDOWN_MARKER), content)
}

/// Whether the last stop was clean, and forgets it durably: a crash from now on is an unclean
/// stop. Call it before anything else in the directory changes.
///
/// # Errors
/// `Io` where the marker cannot be looked up or removed.
pub fn take_clean_shutdown(fs: &dyn FileSystem, dir: &Path) -> Result<bool, StorageError> {
    let path = dir.join(CLEAN_SHUTDOWN_MARKER);
    let clean = fs
        .exists(&path)
        .map_err(|error| StorageError::from_io("look up", &path, error))?;
    if clean {
        remove_durably(fs, &path)?;
    }
    Ok(clean)
}

fn tmp_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

fn parse_offset(line: &str) -> Option<(TopicPartition, i64)> {
    let mut fields = line.split(' ');
    let topic = fields.next().filter(|topic| !topic.is_empty())?;
    let partition = fields
        .next()?
        .parse()
        .ok()
        .filter(|partition| *partition >= 0)?;
    let offset = fields.next()?.parse().ok().filter(|offset| *offset >= 0)?;
    let tp = TopicPartition {
        topic: Arc::from(topic),
        partition,
    };
    fields.next().is_none().then_some((tp, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Fault, SimFs};

    fn dir() -> &'static Path {
        Path::new("/data")
    }

    fn disk() -> SimFs {
        let fs = SimFs::new();
        fs.create_dir_all(dir()).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        fs
    }

    fn offsets(entries: &[(&str, i32, i64)]) -> Vec<(TopicPartition, i64)> {
        let entry = |&(topic, partition, offset): &(&str, i32, i64)| {
            (
                TopicPartition {
                    topic: topic.into(),
                    partition,
                },
                offset,
            )
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn a_replaced_file_is_the_old_or_the_new_one_after_every_crash() {
        let path = dir().join("f");
        let prepared = disk();
        write_atomically(&prepared, &path, &[b'o'; 5000]).unwrap();
        let run = prepared.kill();
        write_atomically(&run, &path, &[b'n'; 9000]).unwrap();
        for op in 0..run.op_count() {
            for fault in [Fault::Crash, Fault::Eio, Fault::ShortWrite] {
                let fs = prepared.kill();
                fs.fail_at(op, fault);
                write_atomically(&fs, &path, &[b'n'; 9000]).unwrap_err();
                for seed in 0..40 {
                    let bytes = read_small(&fs.crash(seed), &path).unwrap().unwrap();
                    let whole = bytes == [b'o'; 5000] || bytes == [b'n'; 9000];
                    assert!(whole, "op {op}, {fault:?}, seed {seed}");
                }
            }
        }
        let after = run.crash_lose_all_unsynced();
        assert_eq!(read_small(&after, &path).unwrap().unwrap(), [b'n'; 9000]);
    }

    #[test]
    fn a_longer_left_over_of_a_crash_does_not_shine_through() {
        let fs = disk();
        let path = dir().join("f");
        let left = fs.open(&tmp_path(&path), OpenMode::CreateNew).unwrap();
        left.write_all_at(&[IoSlice::new(b"a longer one")], 0)
            .unwrap();
        write_atomically(&fs, &path, b"short").unwrap();
        assert_eq!(read_small(&fs, &path).unwrap().unwrap(), b"short");
    }

    #[test]
    fn a_full_disk_leaves_the_old_file() {
        let fs = disk();
        let path = dir().join("f");
        write_atomically(&fs, &path, b"old").unwrap();
        fs.set_free_bytes(1);
        let full = write_atomically(&fs, &path, b"newer").unwrap_err();
        assert!(full.is_disk_full(), "{full}");
        assert_eq!(read_small(&fs, &path).unwrap().unwrap(), b"old");
    }

    #[test]
    fn offset_checkpoints_are_kafkas_text() {
        let fs = disk();
        let path = dir().join(RECOVERY_POINT_CHECKPOINT);
        assert!(read_offsets(&fs, &path).unwrap().is_empty());
        let entries = offsets(&[("b.c-d_e", 10, 7), ("a", 1, i64::MAX), ("b.c-d_e", 2, 0)]);
        write_offsets(&fs, &path, &entries).unwrap();
        let text = read_small(&fs, &path).unwrap().unwrap();
        let expected = format!("0\n3\na 1 {}\nb.c-d_e 2 0\nb.c-d_e 10 7\n", i64::MAX);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(
            read_offsets(&fs, &path).unwrap(),
            entries.into_iter().collect()
        );
    }

    #[test]
    fn damaged_checkpoints_are_refused() {
        for bad in [
            "1\n0\n",
            "x\n",
            "0\n2\na 0 1\n",
            "0\n0\na 0 1\n",
            "0\n-1\n",
            "0\n1\na 0\n",
            "0\n1\na 0 1 2\n",
            "0\n1\n 0 1\n",
            "0\n1\na -1 1\n",
            "0\n1\na 0 -1\n",
            "0\n2\na 0 1\na 0 2\n",
        ] {
            let fs = disk();
            let path = dir().join(RECOVERY_POINT_CHECKPOINT);
            write_atomically(&fs, &path, bad.as_bytes()).unwrap();
            let found = read_offsets(&fs, &path);
            assert!(
                matches!(found, Err(StorageError::Corrupt { .. })),
                "{bad:?}: {found:?}"
            );
        }
        let found = decode_lines(Path::new("f"), b"0\n\xff");
        assert!(
            matches!(found, Err(StorageError::Corrupt { position: 2, .. })),
            "{found:?}"
        );
        assert_eq!(
            decode_lines(Path::new("f"), b"0\r\n1\r\na\r\n").unwrap(),
            [(6, "a")]
        );
    }

    #[test]
    fn the_clean_shutdown_marker_counts_once() {
        let fs = disk();
        assert!(!take_clean_shutdown(&fs, dir()).unwrap());
        write_clean_shutdown(&fs, dir()).unwrap();
        let fs = fs.crash_lose_all_unsynced();
        assert!(take_clean_shutdown(&fs, dir()).unwrap());
        assert!(!take_clean_shutdown(&fs.crash_lose_all_unsynced(), dir()).unwrap());
    }
}
