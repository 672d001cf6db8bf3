//! Builds record batches: for the broker's own logs, tests and clients.

use bytes::Bytes;

use crate::compression::Compression;
use crate::record::{Record, RecordHeader, encode_record};
use crate::record_batch::{BatchError, BatchHeader, RecordBatch};
use crate::wire::Writer;

/// Collects records and makes one batch of them. Offsets are dense, from the base offset on.
///
/// ```
/// use tidewheel_protocol::{Compression, RecordBatchBuilder};
///
/// let batch = RecordBatchBuilder::new()
///     .compression(Compression::Lz4)
///     .record(1_700_000_000_000, Some(b"key"), Some(b"value"))
///     .build()?;
/// assert_eq!(batch.header.record_count, 1);
/// # Ok::<(), tidewheel_protocol::BatchError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RecordBatchBuilder {
    base_offset: i64,
    partition_leader_epoch: i32,
    compression: Compression,
    /// Attributes beside the codec.
    flags: i16,
    producer: Option<Producer>,
    records: Vec<Record>,
}

#[derive(Clone, Copy, Debug)]
struct Producer {
    id: i64,
    epoch: i16,
    base_sequence: i32,
}

impl RecordBatchBuilder {
    /// A batch at offset 0 with leader epoch 0, uncompressed, without a producer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The offset of the first record.
    #[must_use]
    pub fn base_offset(mut self, offset: i64) -> Self {
        self.base_offset = offset;
        self
    }

    /// The leader epoch to stamp.
    #[must_use]
    pub fn partition_leader_epoch(mut self, epoch: i32) -> Self {
        self.partition_leader_epoch = epoch;
        self
    }

    /// The codec for the records.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The idempotent producer of the batch.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer = Some(Producer {
            id,
            epoch,
            base_sequence,
        });
        self
    }

    /// Further attributes: timestamp type, transactional, control. The codec's bits are ignored.
    #[must_use]
    pub fn flags(mut self, attributes: i16) -> Self {
        self.flags = attributes & !0b111;
        self
    }

    /// Adds a record without headers; the timestamp is in ms since 1970.
    #[must_use]
    pub fn record(self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        self.record_with_headers(timestamp, key, value, Vec::new())
    }

    /// Adds a record; the timestamp is in ms since 1970.
    #[must_use]
    pub fn record_with_headers(
        mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Vec<RecordHeader>,
    ) -> Self {
        let key = key.map(Bytes::copy_from_slice);
        let value = value.map(Bytes::copy_from_slice);
        // The offset follows from the place in the batch.
        self.records.push(Record {
            offset: 0,
            timestamp,
            key,
            value,
            headers,
        });
        self
    }

    /// The batch. Without records it has a last offset delta of -1, as only hostile batches have.
    ///
    /// # Errors
    /// Where the batch is too large for its length field.
    pub fn build(&self) -> Result<RecordBatch, BatchError> {
        let base_timestamp = self.records.first().map_or(-1, |record| record.timestamp);
        let max_timestamp = self
            .records
            .iter()
            .map(|record| record.timestamp)
            .max()
            .unwrap_or(-1);
        let mut records = Writer::new();
        let mut record_count = 0;
        for record in &self.records {
            let timestamp_delta = record.timestamp.wrapping_sub(base_timestamp);
            encode_record(&mut records, record, timestamp_delta, record_count)?;
            record_count = record_count.checked_add(1).ok_or(BatchError::TooLarge)?;
        }
        let producer = self.producer.unwrap_or(Producer {
            id: -1,
            epoch: -1,
            base_sequence: -1,
        });
        let header = BatchHeader {
            base_offset: self.base_offset,
            batch_length: 0,
            partition_leader_epoch: self.partition_leader_epoch,
            magic: 2,
            crc: 0,
            attributes: self.compression.id() | self.flags,
            last_offset_delta: record_count - 1,
            base_timestamp,
            max_timestamp,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.base_sequence,
            record_count,
        };
        RecordBatch::assemble(header, &self.compression.compress(&records.freeze())?)
    }
}
