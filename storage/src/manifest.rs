//! `tidewheel.manifest`: what a log directory held at the last clean stop, so that the next start
//! need not open a single partition.
//!
//! The file is ours, Kafka has none. It is JSON, one value a line, and a checksum:
//! ```text
//! {"version":1,"partitions":2}
//! {"topic":"a","partition":0,"topic_id":"…","log_start_offset":0,"log_end_offset":7,…}
//! {"topic":"b", …}
//! crc32:1b2c3d4e
//! ```
//! The last line is the CRC-32 (IEEE) of every byte before it, in eight hexadecimal digits.
//! The manifest is trusted only together with the clean-shutdown marker, which is removed before
//! anything else in the directory changes; an old manifest beside new data is therefore ignored.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tidewheel_protocol::{TopicPartition, Uuid};

use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::leader_epochs::EpochEntry;

/// The file's name in a log directory.
pub const MANIFEST: &str = "tidewheel.manifest";

const VERSION: u32 = 1;
const CRC_PREFIX: &[u8] = b"crc32:";

/// One segment of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentManifest {
    /// The offset in the segment's file name.
    pub base_offset: i64,
    /// Length of the `.log` file in bytes.
    pub log_bytes: u64,
    /// The largest timestamp of its records, ms since 1970, -1 where there is none.
    pub max_timestamp: i64,
    /// The last offset of the batch with that timestamp.
    pub offset_of_max_timestamp: i64,
    /// The timestamp of its first batch, from which `segment.ms` counts; -1 where there is none.
    pub first_timestamp: i64,
}

/// One partition of the log directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionManifest {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The topic's id, as `partition.metadata` has it.
    #[serde(with = "uuid_text")]
    pub topic_id: Uuid,
    /// The first offset that may be read.
    pub log_start_offset: i64,
    /// The offset the next record gets.
    pub log_end_offset: i64,
    /// The segments in the order of their base offsets; the last one is the active one.
    pub segments: Vec<SegmentManifest>,
    /// The leader epochs, oldest first.
    pub leader_epochs: Vec<EpochEntry>,
    /// The offset in the name of the newest producer snapshot, `None` where no producer is known.
    pub producer_snapshot_offset: Option<i64>,
    /// Older ones that nobody needs any more: they were removed, and a power cut may have brought them back. The next
    /// checkpoint of the partition removes them. Earlier versions neither wrote nor read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older_snapshot_offsets: Vec<i64>,
}

impl PartitionManifest {
    /// Which partition this is.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topic.as_str().into(),
            partition: self.partition,
        }
    }
}

/// All partitions of a log directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// In no particular order.
    pub partitions: Vec<PartitionManifest>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    partitions: usize,
}

/// Replaces the manifest of a log directory, durably.
///
/// # Errors
/// As [`checkpoint::write_atomically`].
pub fn write(fs: &dyn FileSystem, dir: &Path, manifest: &Manifest) -> Result<(), StorageError> {
    let path = dir.join(MANIFEST);
    let bytes =
        encode(manifest).map_err(|error| StorageError::from_io("encode", &path, error.into()))?;
    checkpoint::write_atomically(fs, &path, &bytes)
}

/// Reads the manifest of a log directory, `None` where there is none.
///
/// # Errors
/// `Corrupt` for a damaged one or one of another version, which the caller treats like none;
/// `Io` where it cannot be read.
pub fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Option<Manifest>, StorageError> {
    let path = dir.join(MANIFEST);
    let Some(bytes) = checkpoint::read_small(fs, &path)? else {
        return Ok(None);
    };
    decode(&bytes)
        .map(Some)
        .map_err(|(position, reason)| StorageError::corrupt(&path, position, reason))
}

fn encode(manifest: &Manifest) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    let head = Head {
        version: VERSION,
        partitions: manifest.partitions.len(),
    };
    serde_json::to_writer(&mut bytes, &head)?;
    bytes.push(b'\n');
    for partition in &manifest.partitions {
        serde_json::to_writer(&mut bytes, partition)?;
        bytes.push(b'\n');
    }
    add_checksum(&mut bytes);
    Ok(bytes)
}

/// Adds the line that [`checked_body`] goes by.
pub(crate) fn add_checksum(bytes: &mut Vec<u8>) {
    let crc = crc32fast::hash(bytes);
    bytes.extend_from_slice(CRC_PREFIX);
    bytes.extend_from_slice(format!("{crc:08x}\n").as_bytes());
}

fn decode(bytes: &[u8]) -> Result<Manifest, (u64, String)> {
    let body = checked_body(bytes).map_err(|reason| (0, reason.to_owned()))?;
    let mut lines = body.split_inclusive(|byte| *byte == b'\n');
    let head_line = lines.next().unwrap_or_default();
    let head: Head =
        serde_json::from_slice(head_line).map_err(|error| (0, format!("head: {error}")))?;
    if head.version != VERSION {
        return Err((0, format!("manifest version {} is unknown", head.version)));
    }
    let mut position = head_line.len() as u64;
    let mut partitions = Vec::new();
    for line in lines {
        let partition: PartitionManifest =
            serde_json::from_slice(line).map_err(|error| (position, error.to_string()))?;
        check(&partition).map_err(|reason| (position, reason.to_owned()))?;
        partitions.push(partition);
        position += line.len() as u64;
    }
    if partitions.len() != head.partitions {
        return Err((
            position,
            format!("{} partitions, not {}", partitions.len(), head.partitions),
        ));
    }
    Ok(Manifest { partitions })
}

/// The bytes before the checksum line, where the checksum is right.
pub(crate) fn checked_body(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let line_len = CRC_PREFIX.len() + 9;
    let at = bytes.len().checked_sub(line_len).ok_or("too short")?;
    let (body, line) = bytes.split_at(at);
    let digits = line
        .strip_prefix(CRC_PREFIX)
        .and_then(|rest| rest.strip_suffix(b"\n"))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .ok_or("no checksum at the end")?;
    let crc = u32::from_str_radix(digits, 16).map_err(|_| "no checksum at the end")?;
    if crc == crc32fast::hash(body) {
        Ok(body)
    } else {
        Err("wrong checksum")
    }
}

/// What a log relies on, also where a bug wrote the file.
fn check(partition: &PartitionManifest) -> Result<(), &'static str> {
    let offsets_rise =
        0 <= partition.log_start_offset && partition.log_start_offset <= partition.log_end_offset;
    if !offsets_rise || partition.partition < 0 {
        return Err("offsets out of order");
    }
    let bases = partition.segments.iter().map(|segment| segment.base_offset);
    if !bases.is_sorted_by(|a, b| a < b) {
        return Err("segments out of order");
    }
    match partition.segments.last() {
        Some(last) if last.base_offset <= partition.log_end_offset => Ok(()),
        _ => Err("the last segment lies beyond the log end"),
    }
}

mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use tidewheel_protocol::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fs::SimFs;

    fn partition(topic: &str, segments: usize) -> PartitionManifest {
        let segment = |number: usize| SegmentManifest {
            base_offset: number as i64 * 100,
            log_bytes: 4096,
            max_timestamp: 1_700_000_000_000,
            offset_of_max_timestamp: number as i64 * 100 + 7,
            first_timestamp: -1,
        };
        PartitionManifest {
            topic: topic.to_owned(),
            partition: 3,
            topic_id: Uuid([7; 16]),
            log_start_offset: 5,
            log_end_offset: segments as i64 * 100,
            segments: (0..segments).map(segment).collect(),
            leader_epochs: vec![EpochEntry {
                epoch: 1,
                start_offset: 5,
            }],
            producer_snapshot_offset: Some(200),
            older_snapshot_offsets: vec![150],
        }
    }

    #[test]
    fn a_manifest_comes_back_and_none_is_no_error() {
        let fs = SimFs::new();
        let dir = Path::new("/data");
        fs.create_dir_all(dir).unwrap();
        assert_eq!(read(&fs, dir).unwrap(), None);
        let manifest = Manifest {
            partitions: vec![partition("a", 1), partition("b ü\n", 4)],
        };
        write(&fs, dir, &manifest).unwrap();
        assert_eq!(read(&fs, dir).unwrap(), Some(manifest));
        write(&fs, dir, &Manifest::default()).unwrap();
        assert_eq!(read(&fs, dir).unwrap(), Some(Manifest::default()));
    }

    #[test]
    fn what_no_log_can_be_is_refused_even_with_a_right_checksum() {
        let mut backwards = partition("a", 2);
        backwards.segments.swap(0, 1);
        let mut beyond = partition("a", 2);
        beyond.log_end_offset = 99;
        let mut start = partition("a", 2);
        start.log_start_offset = 201;
        for bad in [backwards, beyond, start, partition("a", 0)] {
            let bytes = encode(&Manifest {
                partitions: vec![bad.clone()],
            })
            .unwrap();
            assert!(decode(&bytes).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn any_cut_is_noticed() {
        let bytes = encode(&Manifest {
            partitions: vec![partition("a", 3)],
        })
        .unwrap();
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = encode(&Manifest { partitions: vec![partition("a", 3)] }).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            // A flipped bit may turn a lower-case digit of the checksum into the upper-case one.
            let manifest = decode(&bytes);
            let same = manifest == Ok(Manifest { partitions: vec![partition("a", 3)] });
            prop_assert!(manifest.is_err() || same && at >= bytes.len() - 9);
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
