//! Record batches of magic 2: the 61-byte header as a view, and a checked batch over `Bytes`.
//!
//! ```text
//! base_offset i64 | batch_length i32 | partition_leader_epoch i32 | magic i8 | crc u32 |
//! attributes i16 | last_offset_delta i32 | base_timestamp i64 | max_timestamp i64 |
//! producer_id i64 | producer_epoch i16 | base_sequence i32 | record_count i32 | records
//! ```
//! The CRC-32C covers everything from `attributes` to the end, so the first 16 bytes (base offset,
//! length, leader epoch) can be rewritten without touching it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::compression::Compression;
use crate::crc::crc32c;
use crate::wire::DecodeError;

/// Bytes before the range that `batch_length` counts: the base offset and the length itself.
const LENGTH_OVERHEAD: usize = 12;
/// Where the CRC is.
const CRC_POSITION: usize = 17;
/// Where the bytes start that the CRC covers: at the attributes.
const CRC_START: usize = 21;

const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Why bytes are not a record batch, or not one that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a header.
    #[error("{0} bytes are too short for a record batch")]
    TooShort(usize),
    /// Message formats 0 and 1 are not read, others do not exist.
    #[error("magic {0} is not 2")]
    UnsupportedMagic(i8),
    /// The length field cannot be that of a batch.
    #[error("batch length {0} is shorter than a header")]
    InvalidLength(i32),
    /// The batch is longer than what is there.
    #[error("batch of {announced} bytes is cut after {actual}")]
    Cut {
        /// Bytes the header announces, itself included.
        announced: usize,
        /// Bytes there are.
        actual: usize,
    },
    /// More follows where one batch should be alone.
    #[error("{0} bytes follow the batch")]
    TrailingBytes(usize),
    /// The checksum does not match.
    #[error("CRC is {computed:#010x}, the header says {stored:#010x}")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Attributes name no codec.
    #[error("unknown compression codec {0}")]
    UnknownCompression(i16),
    /// The records are not what the codec produces.
    #[error("{} data is corrupt: {reason}", codec.name())]
    CorruptCompression {
        /// The codec the attributes name.
        codec: Compression,
        /// What it found.
        reason: String,
    },
    /// The records would take more than the caller allows.
    #[error("records decompress to more than {max} bytes")]
    DecompressedTooLarge {
        /// The caller's limit in bytes.
        max: usize,
    },
    /// A record breaks its format.
    #[error("record {index} is malformed: {source}")]
    MalformedRecord {
        /// The record's place in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A record's offset is not after the one before it, or beyond the batch.
    #[error("record {index} has offset delta {delta}, out of order or beyond the batch")]
    OffsetDelta {
        /// The record's place in the batch, from 0.
        index: usize,
        /// Its offset minus the batch's base offset.
        delta: i32,
    },
    /// The header counts other records than there are.
    #[error("the header counts {announced} records, there are {actual}")]
    RecordCount {
        /// What the header says.
        announced: i32,
        /// How many were found; more may follow.
        actual: usize,
    },
    /// The records have more headers than the caller allows.
    #[error("the records have more than {max} headers")]
    TooManyHeaders {
        /// The caller's limit.
        max: usize,
    },
    /// A batch being built would be longer than its length field can say.
    #[error("batch does not fit its length field")]
    TooLarge,
}

/// What the timestamps of a batch mean: bit 3 of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Each record has the time its producer gave it.
    CreateTime,
    /// All records have the batch's max timestamp: when the broker appended it.
    LogAppendTime,
}

/// The fields of a batch header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Leader epoch of the partition when the batch was appended.
    pub partition_leader_epoch: i32,
    /// Always 2.
    pub magic: i8,
    /// CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Codec (bits 0-2), timestamp type (3), transactional (4), control (5), delete horizon (6).
    pub attributes: i16,
    /// Offset of the last record minus `base_offset`.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, ms since 1970.
    pub base_timestamp: i64,
    /// Largest timestamp in the batch as the producer states it, ms since 1970.
    pub max_timestamp: i64,
    /// Producer id, -1 for none.
    pub producer_id: i64,
    /// Producer epoch, -1 for none.
    pub producer_epoch: i16,
    /// Sequence number of the first record, -1 for none.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Bytes of a header.
    pub const LEN: usize = 61;

    /// Decodes a header. Only magic and the lower bound of the length are checked: what follows the
    /// header may be absent, and every other field is as it was received.
    ///
    /// # Errors
    /// For less than a header, another magic, or a length below that of a header.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(mut bytes) = bytes.get(..Self::LEN) else {
            return Err(BatchError::TooShort(bytes.len()));
        };
        let header = Self {
            base_offset: bytes.get_i64(),
            batch_length: bytes.get_i32(),
            partition_leader_epoch: bytes.get_i32(),
            magic: bytes.get_i8(),
            crc: bytes.get_u32(),
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            record_count: bytes.get_i32(),
        };
        if header.magic != 2 {
            return Err(BatchError::UnsupportedMagic(header.magic));
        }
        if header.size_in_bytes() < Self::LEN {
            return Err(BatchError::InvalidLength(header.batch_length));
        }
        Ok(header)
    }

    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut out = &mut bytes[..];
        out.put_i64(self.base_offset);
        out.put_i32(self.batch_length);
        out.put_i32(self.partition_leader_epoch);
        out.put_i8(self.magic);
        out.put_u32(self.crc);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.record_count);
        bytes
    }

    /// Bytes of the whole batch, header included; 0 for a negative length.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        usize::try_from(self.batch_length).map_or(0, |len| len.saturating_add(LENGTH_OVERHEAD))
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(self.last_offset_delta.into())
    }

    /// Offset of the first record after the batch.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record; after 2^31 - 1 comes 0. -1 without a producer.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let sequence = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        // The mask leaves 31 bits, so the conversion cannot fail.
        i32::try_from(sequence & i64::from(i32::MAX)).unwrap_or(i32::MAX)
    }

    /// The codec of the records.
    ///
    /// # Errors
    /// Where the attributes name none.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_attributes(self.attributes)
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch is a marker that brokers write, with nothing for consumers in it.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether `base_timestamp` says when compaction may drop the batch's tombstones.
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// The same with a delete horizon, ms since 1970, in the place of the base timestamp: the records'
    /// timestamps are then relative to it.
    #[must_use]
    pub fn with_delete_horizon(self, horizon_ms: i64) -> Self {
        Self {
            attributes: self.attributes | DELETE_HORIZON_BIT,
            base_timestamp: horizon_ms,
            ..self
        }
    }

    /// The same without codec and delete horizon: the header of a batch that has no records any more.
    #[must_use]
    pub fn uncompressed_without_horizon(self) -> Self {
        Self {
            attributes: self.attributes & !(0b111 | DELETE_HORIZON_BIT),
            ..self
        }
    }

    /// What the timestamps mean.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// The first 16 bytes of this batch at another offset and leader epoch: all that changes when a
    /// batch is appended, since the CRC does not cover them.
    #[must_use]
    pub fn patched_prefix(&self, base_offset: i64, leader_epoch: i32) -> [u8; 16] {
        let mut prefix = [0; 16];
        let mut out = &mut prefix[..];
        out.put_i64(base_offset);
        out.put_i32(self.batch_length);
        out.put_i32(leader_epoch);
        prefix
    }
}

/// One batch whose header and length were looked at, but not yet its CRC: what the header alone rules out
/// costs no pass over the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncheckedBatch {
    /// The header, decoded from the first bytes.
    pub header: BatchHeader,
    bytes: Bytes,
}

impl UncheckedBatch {
    /// Takes bytes that are exactly as long as one batch.
    ///
    /// # Errors
    /// For everything that [`BatchHeader::parse`] refuses, a cut batch, and bytes after the batch.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let (announced, actual) = (header.size_in_bytes(), bytes.len());
        if announced > actual {
            return Err(BatchError::Cut { announced, actual });
        }
        if announced < actual {
            return Err(BatchError::TrailingBytes(actual - announced));
        }
        Ok(Self { header, bytes })
    }

    /// The batch, once its CRC is right.
    ///
    /// # Errors
    /// For a wrong CRC.
    pub fn check_crc(self) -> Result<RecordBatch, BatchError> {
        let Self { header, bytes } = self;
        let computed = crc32c(bytes.get(CRC_START..).unwrap_or_default());
        if computed != header.crc {
            return Err(BatchError::Crc {
                stored: header.crc,
                computed,
            });
        }
        Ok(RecordBatch { header, bytes })
    }
}

/// One whole batch whose length and CRC were checked, as a slice of the buffer it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    /// The header, decoded from `bytes`.
    pub header: BatchHeader,
    /// Header and records, exactly [`BatchHeader::size_in_bytes`] bytes.
    pub bytes: Bytes,
}

impl RecordBatch {
    /// Takes bytes that are exactly one batch.
    ///
    /// # Errors
    /// For everything that [`BatchHeader::parse`] refuses, a cut batch, a wrong CRC, and bytes after
    /// the batch.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        UncheckedBatch::parse(bytes)?.check_crc()
    }

    /// Splits the first batch off a sequence of batches; on an error `bytes` stays as it is.
    ///
    /// # Errors
    /// As [`RecordBatch::parse`], except that more may follow.
    pub fn split_first(bytes: &mut Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let announced = header.size_in_bytes();
        if announced > bytes.len() {
            return Err(BatchError::Cut {
                announced,
                actual: bytes.len(),
            });
        }
        let batch = Self::parse(bytes.slice(..announced))?;
        bytes.advance(announced);
        Ok(batch)
    }

    /// Puts a batch together from a header and the records as the header's codec has them. Length and
    /// CRC are filled in; everything else stays as given, sense or nonsense.
    ///
    /// # Errors
    /// Where the length field cannot express the length.
    pub fn assemble(mut header: BatchHeader, records: &[u8]) -> Result<Self, BatchError> {
        let size = BatchHeader::LEN.saturating_add(records.len());
        header.batch_length =
            i32::try_from(size - LENGTH_OVERHEAD).map_err(|_| BatchError::TooLarge)?;
        let mut bytes = BytesMut::with_capacity(size);
        bytes.put_slice(&header.encode());
        bytes.put_slice(records);
        header.crc = crc32c(bytes.get(CRC_START..).unwrap_or_default());
        if let Some(crc) = bytes.get_mut(CRC_POSITION..CRC_START) {
            crc.copy_from_slice(&header.crc.to_be_bytes());
        }
        Ok(Self {
            header,
            bytes: bytes.freeze(),
        })
    }

    /// The records as the codec left them.
    #[must_use]
    pub fn records_bytes(&self) -> Bytes {
        self.bytes.slice(BatchHeader::LEN.min(self.bytes.len())..)
    }

    /// See [`BatchHeader::patched_prefix`].
    #[must_use]
    pub fn patched_prefix(&self, base_offset: i64, leader_epoch: i32) -> [u8; 16] {
        self.header.patched_prefix(base_offset, leader_epoch)
    }

    /// A copy of the batch in which every record has the append time `now_ms` (ms since 1970).
    #[must_use]
    pub fn with_log_append_time(&self, now_ms: i64) -> Self {
        self.with_header(BatchHeader {
            attributes: self.header.attributes | TIMESTAMP_TYPE_BIT,
            max_timestamp: now_ms,
            ..self.header
        })
    }

    /// A copy of the batch whose header states another largest timestamp, ms since 1970.
    #[must_use]
    pub fn with_max_timestamp(&self, max_timestamp: i64) -> Self {
        self.with_header(BatchHeader {
            max_timestamp,
            ..self.header
        })
    }

    /// The same records under another header, with its CRC.
    fn with_header(&self, header: BatchHeader) -> Self {
        // The length is that of this batch, which has one, so assembling cannot fail.
        Self::assemble(header, &self.records_bytes()).unwrap_or_else(|_| self.clone())
    }
}

/// The batches of a sequence, such as the records of a fetch response. A batch that is cut at the end
/// ends the iteration; anything else wrong is an error, after which nothing comes.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// Iterates over the batches in `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match RecordBatch::split_first(&mut self.rest) {
            Err(BatchError::TooShort(_) | BatchError::Cut { .. }) => {
                self.rest.clear();
                None
            }
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
            Ok(batch) => Some(Ok(batch)),
        }
    }
}

#[cfg(test)]
#[path = "record_batch_tests.rs"]
mod tests;
