//! The batches that are made of what is handed out to a partition in one turn.

use tidewheel_config::DeliverTimestamp;
use tidewheel_config::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use tidewheel_protocol::{BatchError, Compression, RecordBatch, RecordBatchBuilder};

use super::group::CODEC_SHIFT;
use super::key::DelayKey;
use super::record::{FLAG_SPLIT, Record};
use crate::batch_validator::ValidBatch;

/// A batch to be appended now.
#[derive(Clone, Debug)]
pub struct DueBatch {
    /// The key of its last record, which the append carries.
    pub key: DelayKey,
    batch: RecordBatch,
}

impl DueBatch {
    /// The largest timestamp of its records as they were produced, ms since 1970.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.batch.header.max_timestamp
    }

    /// The batch as it is appended at `now_ms`, ms since 1970: with its cursor, and without the producer
    /// it came from.
    ///
    /// # Errors
    /// As [`DelayKey::stamp`].
    pub fn to_append(
        &self,
        timestamp: DeliverTimestamp,
        now_ms: i64,
    ) -> Result<ValidBatch, BatchError> {
        let batch = match timestamp {
            DeliverTimestamp::Create => self.key.stamp(&self.batch)?,
            DeliverTimestamp::Due => {
                let due_ms = self.key.due_ms.cast_signed();
                self.key.stamp(&self.batch.with_log_append_time(due_ms))?
            }
            DeliverTimestamp::Append => self.key.stamp(&self.batch.with_log_append_time(now_ms))?,
        };
        let RecordBatch { header, bytes } = batch;
        Ok(ValidBatch { header, bytes })
    }
}

/// What a partition is given in one turn.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) batches: Vec<DueBatch>,
    /// Records of a split batch that wait for their neighbours.
    joined: Joined,
    /// Keys of records that are passed over because they have expired.
    pub(super) expired: Vec<DelayKey>,
}

/// Neighbouring parts of split batches, to be delivered as one batch.
#[derive(Default)]
struct Joined {
    codec: Compression,
    batches: Vec<RecordBatch>,
    bytes: usize,
    key: DelayKey,
}

/// A batch of more bytes is not joined with others.
const JOINED_BYTES_MAX: usize = 1 << 20;

impl Turn {
    /// Adds a record that is to be delivered.
    pub(super) fn put(&mut self, record: &Record) -> Result<(), BatchError> {
        let batch = RecordBatch::parse(record.payload.clone())?;
        if record.flags & FLAG_SPLIT == 0 {
            self.joined.finish(&mut self.batches);
            self.batches.push(DueBatch {
                key: record.key,
                batch,
            });
            return Ok(());
        }
        let codec = Compression::from_attributes(i16::from(record.flags >> CODEC_SHIFT))?;
        // Looked at here, so that joining cannot fail.
        for record in batch.records(DECOMPRESSED_BATCH_BYTES_MAX)? {
            record?;
        }
        let joined = &mut self.joined;
        if joined.codec != codec || joined.bytes + batch.bytes.len() > JOINED_BYTES_MAX {
            joined.finish(&mut self.batches);
        }
        joined.codec = codec;
        joined.bytes += batch.bytes.len();
        joined.key = record.key;
        joined.batches.push(batch);
        Ok(())
    }

    /// No more will come.
    pub(super) fn finish(&mut self) {
        self.joined.finish(&mut self.batches);
    }
}

impl Joined {
    /// Makes one batch of what was collected.
    fn finish(&mut self, batches: &mut Vec<DueBatch>) {
        let Self {
            codec,
            batches: parts,
            key,
            ..
        } = std::mem::take(self);
        if parts.is_empty() {
            return;
        }
        let mut builder = RecordBatchBuilder::new().compression(codec);
        for part in &parts {
            // They were read when they were collected.
            let records = part
                .records(DECOMPRESSED_BATCH_BYTES_MAX)
                .into_iter()
                .flatten();
            for record in records.flatten() {
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                builder = builder.record_with_headers(record.timestamp, key, value, record.headers);
            }
        }
        // One batch alone had a length; several have at most a mebibyte between them.
        let batch = builder.build().expect("a mebibyte fits a batch");
        batches.push(DueBatch { key, batch });
    }
}
