//! `partition.metadata`: which topic id a partition directory belongs to.
//!
//! Kafka's text, written before any data and durable before any data is, so that a directory of a
//! deleted topic is never taken for one of a new topic with the same name:
//! ```text
//! version: 0
//! topic_id: <22 characters of URL-safe base64>
//! ```
//! Kafka writes no newline after the second line. A file that ends early or in zeros is one that a
//! power cut kept from the disk: no data beside it was ever durable.

use std::path::Path;
use std::sync::Arc;

use tidewheel_protocol::Uuid;

use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile};

/// The file's name in a partition directory.
pub const PARTITION_METADATA: &str = "partition.metadata";

/// What comes before the id,
const HEAD: &str = "version: 0\ntopic_id: ";
/// and the length of the id.
const ID_LEN: usize = 22;

/// Writes the file of a partition directory, durably.
///
/// # Errors
/// As [`checkpoint::write_atomically`].
pub fn write(fs: &dyn FileSystem, partition_dir: &Path, id: Uuid) -> Result<(), StorageError> {
    let text = format!("{HEAD}{id}");
    checkpoint::write_atomically(fs, &partition_dir.join(PARTITION_METADATA), text.as_bytes())
}

/// Writes the file of a new partition directory. It is durable after a sync of the returned file and of
/// the directory.
///
/// # Errors
/// As [`checkpoint::write_unsynced`].
pub(crate) fn write_unsynced(
    fs: &dyn FileSystem,
    partition_dir: &Path,
    id: Uuid,
) -> Result<Arc<dyn LogFile>, StorageError> {
    let text = format!("{HEAD}{id}");
    checkpoint::write_unsynced(fs, &partition_dir.join(PARTITION_METADATA), text.as_bytes())
}

/// The topic id of a partition directory, `None` where the file is missing or never reached the disk.
///
/// # Errors
/// `Corrupt` for another version or a file that does not name an id; `Io` where it cannot be read.
pub fn read(fs: &dyn FileSystem, partition_dir: &Path) -> Result<Option<Uuid>, StorageError> {
    let path = partition_dir.join(PARTITION_METADATA);
    let Some(bytes) = checkpoint::read_small(fs, &path)? else {
        return Ok(None);
    };
    if is_torn(&bytes) {
        return Ok(None);
    }
    parse(&bytes)
        .map(Some)
        .map_err(|reason| StorageError::corrupt(&path, 0, reason))
}

/// Whether a power cut left only the beginning of the file, or nothing; zeros may follow.
fn is_torn(bytes: &[u8]) -> bool {
    let len = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let head = len.min(HEAD.len());
    len < HEAD.len() + ID_LEN && bytes[..head] == HEAD.as_bytes()[..head]
}

fn parse(bytes: &[u8]) -> Result<Uuid, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    let mut lines = text.lines();
    let mut field = |name: &str| {
        let (key, value) = lines.next()?.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    };
    if field("version").ok_or("no version")? != "0" {
        return Err("unknown version");
    }
    let id: Uuid = field("topic_id")
        .ok_or("no topic id")?
        .parse()
        .map_err(|_| "the topic id is no uuid")?;
    if id.is_zero() {
        Err("the topic id is zero")
    } else {
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::SimFs;

    #[test]
    fn the_file_of_apache_kafka_is_read_and_written_byte_for_byte() {
        let fs = SimFs::new();
        let dir = Path::new("/data/orders-0");
        fs.create_dir_all(dir).unwrap();
        assert_eq!(read(&fs, dir).unwrap(), None);
        let id: Uuid = "MMLmzvLqQ8aZ4Gv8hQ9Wtw".parse().unwrap();
        write(&fs, dir, id).unwrap();
        let bytes = checkpoint::read_small(&fs, &dir.join(PARTITION_METADATA))
            .unwrap()
            .unwrap();
        assert_eq!(bytes, b"version: 0\ntopic_id: MMLmzvLqQ8aZ4Gv8hQ9Wtw");
        assert_eq!(read(&fs, dir).unwrap(), Some(id));
    }

    #[test]
    fn what_a_power_cut_left_unwritten_names_no_topic() {
        let whole = b"version: 0\ntopic_id: MMLmzvLqQ8aZ4Gv8hQ9Wtw";
        let fs = SimFs::new();
        for len in 0..whole.len() {
            for zeros in [0, whole.len() - len] {
                let dir = Path::new("/data").join(format!("t-{len}-{zeros}"));
                fs.create_dir_all(&dir).unwrap();
                let bytes = [&whole[..len], &vec![0; zeros]].concat();
                checkpoint::write_unsynced(&fs, &dir.join(PARTITION_METADATA), &bytes).unwrap();
                assert_eq!(
                    read(&fs, &dir).unwrap(),
                    None,
                    "{len} bytes and {zeros} zeros"
                );
            }
        }
    }

    #[test]
    fn another_version_or_no_id_is_refused() {
        for bad in [
            "version: 1\ntopic_id: MMLmzvLqQ8aZ4Gv8hQ9Wtw",
            "version: 0\nid: MMLmzvLqQ8aZ4Gv8hQ9Wtw",
            "version: 0\ntopic_id: ?MLmzvLqQ8aZ4Gv8hQ9Wtw",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
            "topic_id: MMLmzvLqQ8aZ4Gv8hQ9Wtw",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse(b"\xff").is_err());
    }
}
