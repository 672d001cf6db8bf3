//! What a dump shows: one entry per batch, record, index entry or line, for people and as JSON.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tidewheel_protocol::{BatchHeader, Record, TimestampType};

/// One thing that a file holds. As JSON it is one object with the field `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DumpEntry {
    /// A file begins.
    File {
        /// Where it is.
        file: PathBuf,
        /// What it is.
        kind: &'static str,
        /// Its length in bytes.
        bytes: u64,
    },
    /// A record batch.
    Batch(BatchEntry),
    /// A record of the batch before it.
    Record(RecordEntry),
    /// An entry of an offset index.
    OffsetIndex {
        /// Last offset of a batch.
        offset: i64,
        /// Where the batch begins in the `.log` file.
        position: u32,
    },
    /// An entry of a time index.
    TimeIndex {
        /// Largest timestamp up to here, ms since 1970.
        timestamp: i64,
        /// Last offset of the batch that has it.
        offset: i64,
    },
    /// A producer of a producer snapshot.
    Producer {
        /// Producer id.
        producer_id: i64,
        /// Its epoch.
        producer_epoch: i16,
        /// When it last appended, ms since 1970.
        last_append_ms: i64,
        /// First and last sequence number, first and last offset of its last batches.
        batches: Vec<[i64; 4]>,
    },
    /// A line of a leader-epoch checkpoint.
    LeaderEpoch {
        /// The epoch.
        epoch: i32,
        /// Its first offset.
        start_offset: i64,
    },
    /// The content of `partition.metadata`.
    PartitionMetadata {
        /// Id of the topic.
        topic_id: String,
    },
    /// A line of an offset checkpoint.
    CheckpointedOffset {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
    },
    /// A line of the offset checkpoints that stand under a checksum.
    CheckpointedOffsets {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Below this offset everything is durable.
        recovery_point: i64,
        /// The first offset that may be read.
        log_start: i64,
        /// High watermark.
        high_watermark: i64,
        /// How far it is compacted; nothing where it never was.
        compacted_to: Option<i64>,
        /// When the first tombstones of it may go, ms since 1970, 0 where nobody knows; nothing where none wait.
        horizon_ms: Option<i64>,
        /// The base offset of the batch that holds tombstones back whose time has come.
        held_back_by: Option<i64>,
    },
    /// A line of `meta.properties`.
    Property {
        /// Name.
        key: String,
        /// Value.
        value: String,
    },
    /// A partition as the manifest of the last clean stop describes it.
    ManifestPartition(Box<crate::manifest::PartitionManifest>),
    /// Bytes that cannot be read as what they should be.
    Unreadable {
        /// Byte position in the file.
        position: u64,
        /// What is wrong.
        what: String,
    },
}

/// A record batch as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BatchEntry {
    /// First byte in the file.
    pub position: u64,
    /// Bytes, header included.
    pub size: usize,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Records as the header counts them.
    pub record_count: i32,
    /// Leader epoch that appended it.
    pub leader_epoch: i32,
    /// Producer id, -1 for none.
    pub producer_id: i64,
    /// Producer epoch, -1 for none.
    pub producer_epoch: i16,
    /// Sequence number of the first record, -1 for none.
    pub base_sequence: i32,
    /// Sequence number of the last record, -1 for none.
    pub last_sequence: i32,
    /// Codec, or what is wrong with it.
    pub codec: String,
    /// `CreateTime` or `LogAppendTime`.
    pub timestamp_type: &'static str,
    /// Timestamp of the first record, ms since 1970.
    pub base_timestamp: i64,
    /// Largest timestamp as the header says, ms since 1970.
    pub max_timestamp: i64,
    /// Whether it belongs to a transaction.
    pub is_transactional: bool,
    /// Whether it is a marker.
    pub is_control: bool,
    /// CRC-32C as the header says.
    pub crc: u32,
    /// Whether the bytes agree with it.
    pub crc_ok: bool,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordEntry {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, ms since 1970.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Payload>,
    /// Its value.
    pub value: Option<Payload>,
    /// Its headers.
    pub headers: Vec<(Payload, Option<Payload>)>,
}

/// Bytes of a client: text where they are UTF-8, else hexadecimal digits.
///
/// As JSON text is a string, and other bytes are an object `{"hex": "…"}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl BatchEntry {
    pub(super) fn new(position: u64, header: &BatchHeader, crc_ok: bool) -> BatchEntry {
        BatchEntry {
            position,
            size: header.size_in_bytes(),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            record_count: header.record_count,
            leader_epoch: header.partition_leader_epoch,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            codec: match header.compression() {
                Ok(codec) => codec.name().to_owned(),
                Err(error) => error.to_string(),
            },
            timestamp_type: match header.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            },
            base_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
            is_transactional: header.is_transactional(),
            is_control: header.is_control(),
            crc: header.crc,
            crc_ok,
        }
    }
}

impl From<Record> for RecordEntry {
    fn from(record: Record) -> RecordEntry {
        let headers = record.headers.into_iter();
        RecordEntry {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(Payload),
            value: record.value.map(Payload),
            headers: headers
                .map(|header| (Payload(header.key), header.value.map(Payload)))
                .collect(),
        }
    }
}

impl Payload {
    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_map([("hex", self.hex())]),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) => write!(f, "{text:?}"),
            Err(_) => write!(f, "0x{}", self.hex()),
        }
    }
}

impl fmt::Display for DumpEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpEntry::File { file, kind, bytes } => {
                write!(f, "{}: {kind}, {bytes} bytes", file.display())
            }
            DumpEntry::Batch(batch) => write!(f, "  {batch}"),
            DumpEntry::Record(record) => write!(f, "    {record}"),
            DumpEntry::OffsetIndex { offset, position } => {
                write!(f, "  offset {offset} position {position}")
            }
            DumpEntry::TimeIndex { timestamp, offset } => {
                write!(f, "  timestamp {timestamp} offset {offset}")
            }
            DumpEntry::Producer {
                producer_id,
                producer_epoch,
                last_append_ms,
                batches,
            } => {
                write!(f, "  producer {producer_id} epoch {producer_epoch}")?;
                write!(f, " last append {last_append_ms}")?;
                batches.iter().try_for_each(|[first, last, from, to]| {
                    write!(f, ", sequences {first}..={last} at offsets {from}..={to}")
                })
            }
            DumpEntry::LeaderEpoch {
                epoch,
                start_offset,
            } => {
                write!(f, "  epoch {epoch} from offset {start_offset}")
            }
            DumpEntry::PartitionMetadata { topic_id } => write!(f, "  topic id {topic_id}"),
            DumpEntry::CheckpointedOffset {
                topic,
                partition,
                offset,
            } => {
                write!(f, "  {topic}-{partition} offset {offset}")
            }
            DumpEntry::CheckpointedOffsets {
                topic,
                partition,
                recovery_point,
                log_start,
                high_watermark,
                compacted_to,
                horizon_ms,
                held_back_by,
            } => {
                write!(
                    f,
                    "  {topic}-{partition} recovery point {recovery_point} log start {log_start}"
                )?;
                write!(f, " high watermark {high_watermark}")?;
                for (what, number) in [
                    ("compacted to", compacted_to),
                    ("tombstones wait until", horizon_ms),
                    ("tombstones held back by", held_back_by),
                ] {
                    if let Some(number) = number {
                        write!(f, " {what} {number}")?;
                    }
                }
                Ok(())
            }
            DumpEntry::Property { key, value } => write!(f, "  {key}={value}"),
            DumpEntry::ManifestPartition(partition) => write_manifest(f, partition),
            DumpEntry::Unreadable { position, what } => {
                write!(f, "  unreadable at byte {position}: {what}")
            }
        }
    }
}

impl fmt::Display for BatchEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BatchEntry {
            position,
            size,
            base_offset,
            last_offset,
            record_count,
            ..
        } = self;
        write!(
            f,
            "position {position} size {size} offsets {base_offset}..={last_offset}"
        )?;
        write!(
            f,
            " records {record_count} epoch {} codec {}",
            self.leader_epoch, self.codec
        )?;
        write!(
            f,
            " {} {}..{}",
            self.timestamp_type, self.base_timestamp, self.max_timestamp
        )?;
        if self.producer_id != -1 {
            write!(
                f,
                " producer {} epoch {}",
                self.producer_id, self.producer_epoch
            )?;
            write!(
                f,
                " sequences {}..={}",
                self.base_sequence, self.last_sequence
            )?;
        }
        let flags = [
            (self.is_transactional, " transactional"),
            (self.is_control, " control"),
        ];
        for (_, name) in flags.iter().filter(|(set, _)| *set) {
            f.write_str(name)?;
        }
        let verdict = if self.crc_ok { "ok" } else { "WRONG" };
        write!(f, " crc {:#010x} {verdict}", self.crc)
    }
}

impl fmt::Display for RecordEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |payload: &Option<Payload>| match payload {
            Some(payload) => payload.to_string(),
            None => "null".to_owned(),
        };
        write!(f, "offset {} timestamp {}", self.offset, self.timestamp)?;
        write!(f, " key {} value {}", text(&self.key), text(&self.value))?;
        self.headers
            .iter()
            .try_for_each(|(key, value)| write!(f, " header {key}={}", text(value)))
    }
}

fn write_manifest(
    f: &mut fmt::Formatter<'_>,
    partition: &crate::manifest::PartitionManifest,
) -> fmt::Result {
    write!(
        f,
        "  {}-{} topic id {}",
        partition.topic, partition.partition, partition.topic_id
    )?;
    write!(
        f,
        " offsets {}..{}",
        partition.log_start_offset, partition.log_end_offset
    )?;
    for segment in &partition.segments {
        write!(
            f,
            ", segment {} of {} bytes",
            segment.base_offset, segment.log_bytes
        )?;
    }
    Ok(())
}
