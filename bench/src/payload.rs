//! Record batches that cost the generator little: their records are encoded once, and a batch takes as
//! many of them as are due.

use std::collections::HashMap;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::wire::Reader;
use tidewheel_protocol::{BatchError, BatchHeader, Compression, RecordBatch, RecordBatchBuilder};

use crate::error::BenchError;
use crate::keys::{KEY_BYTES, key};
use crate::random::Random;
use crate::values::{ValueSize, whole};

/// What a value begins with where end-to-end latency is measured: the run's number, then when the record
/// was due, nanoseconds of the run's clock, both big-endian.
pub(crate) const STAMP_BYTES: usize = 16;

/// Records of one batch, at most.
const RECORDS_PER_BATCH_MAX: usize = 1_000_000;

/// What records look like.
#[derive(Debug, Clone)]
pub(crate) struct RecordShape {
    pub(crate) size: ValueSize,
    /// The share of each value that is random, the rest being zeros: how well values compress.
    pub(crate) random_ratio: f64,
    pub(crate) keyed: bool,
    pub(crate) batch_bytes: usize,
    pub(crate) compression: Compression,
    pub(crate) seed: u64,
}

/// Makes batches.
#[derive(Debug)]
pub(crate) struct BatchMaker {
    compression: Compression,
    records: Bytes,
    /// Where each record ends.
    ends: Vec<usize>,
    values_at: Vec<usize>,
    /// Bytes of values up to each record, itself included.
    value_bytes: Vec<u64>,
    /// Batches of a record count, all with the same timestamp.
    made: HashMap<usize, Bytes>,
    made_bytes: usize,
    made_at_ms: i64,
}

/// How long a batch is used again: as long as its records' timestamps may lag.
const REUSE_MS: i64 = 1000;

impl BatchMaker {
    /// Encodes as many records as a batch can hold, one at least.
    pub(crate) fn new(shape: &RecordShape) -> Result<Self, BenchError> {
        let values = values(shape)?;
        let placeholder = shape.keyed.then(|| key(0));
        let mut builder = RecordBatchBuilder::new();
        for value in &values {
            builder = builder.record(
                0,
                placeholder.as_ref().map(<[u8; KEY_BYTES]>::as_slice),
                Some(value),
            );
        }
        let records = builder.build()?.records_bytes();
        let mut maker = Self {
            compression: shape.compression,
            records,
            ends: Vec::with_capacity(values.len()),
            values_at: Vec::with_capacity(values.len()),
            value_bytes: Vec::with_capacity(values.len()),
            made: HashMap::new(),
            made_bytes: 0,
            made_at_ms: i64::MIN,
        };
        maker.index(&values, shape.batch_bytes)?;
        Ok(maker)
    }

    /// Finds where records and values lie, up to the last record that fits a batch.
    fn index(&mut self, values: &[Vec<u8>], batch_bytes: usize) -> Result<(), BenchError> {
        let mut reader = Reader::new(self.records.clone());
        let mut sum = 0;
        for value in values {
            let len = reader.read_varint().map_err(BenchError::own_batch)?;
            let len = usize::try_from(len).unwrap_or_default();
            reader.take(len).map_err(BenchError::own_batch)?;
            let end = self.records.len() - reader.remaining();
            if !self.ends.is_empty() && BatchHeader::LEN + end > batch_bytes {
                break;
            }
            sum += value.len() as u64;
            self.ends.push(end);
            // After the value comes the count of headers, one byte.
            self.values_at.push(end - 1 - value.len());
            self.value_bytes.push(sum);
        }
        Ok(())
    }

    /// Records of a full batch.
    pub(crate) fn capacity(&self) -> usize {
        self.ends.len()
    }

    /// One value, by its place in a full batch.
    #[cfg(feature = "librdkafka")]
    pub(crate) fn value(&self, index: usize) -> &[u8] {
        // After the value comes the count of headers, one byte.
        &self.records[self.values_at[index]..self.ends[index] - 1]
    }

    /// Bytes of the values of a batch of so many records.
    pub(crate) fn value_bytes(&self, count: usize) -> u64 {
        self.value_bytes[count - 1]
    }

    /// Bytes of the shortest value.
    pub(crate) fn shortest_value(&self) -> u64 {
        let before = std::iter::once(&0).chain(&self.value_bytes);
        let sizes = self.value_bytes.iter().zip(before);
        sizes.map(|(sum, before)| sum - before).min().unwrap_or(0)
    }

    /// The mean of values, in bytes.
    pub(crate) fn mean_value(&self) -> f64 {
        self.value_bytes(self.capacity()) as f64 / self.capacity() as f64
    }

    /// A batch of so many records. It is made once a second and used again until then, so its timestamps
    /// lag by a second at most.
    pub(crate) fn plain(&mut self, count: usize, now_ms: i64) -> Result<Bytes, BatchError> {
        let crowded = self.made_bytes > limits::BENCH_BATCH_CACHE_BYTES;
        if crowded || now_ms.saturating_sub(self.made_at_ms) >= REUSE_MS {
            self.made.clear();
            self.made_bytes = 0;
            self.made_at_ms = now_ms;
        }
        if let Some(batch) = self.made.get(&count) {
            return Ok(batch.clone());
        }
        let batch = self.assemble(
            count,
            &self.records[..self.ends[count - 1]],
            self.made_at_ms,
        )?;
        self.made_bytes += batch.len();
        self.made.insert(count, batch.clone());
        Ok(batch)
    }

    /// A batch of its own: with a key per record, and stamps if there are any.
    pub(crate) fn marked(
        &self,
        marks: impl ExactSizeIterator<Item = Mark>,
        run_id: Option<u64>,
        now_ms: i64,
    ) -> Result<Bytes, BatchError> {
        let count = marks.len();
        let mut records = self.records[..self.ends[count - 1]].to_vec();
        for (index, mark) in marks.enumerate() {
            let value_at = self.values_at[index];
            if let Some(number) = mark.key {
                let key_at = self.key_at(index);
                records[key_at..key_at + KEY_BYTES].copy_from_slice(&key(number));
            }
            if let Some(run_id) = run_id {
                records[value_at..value_at + 8].copy_from_slice(&run_id.to_be_bytes());
                records[value_at + 8..value_at + 16].copy_from_slice(&mark.due.to_be_bytes());
            }
        }
        self.assemble(count, &records, now_ms)
    }

    /// Between key and value lies the value's length, a signed variable-length integer.
    fn key_at(&self, index: usize) -> usize {
        let before = index
            .checked_sub(1)
            .map_or(0, |last| self.value_bytes[last]);
        let zigzag = (self.value_bytes[index] - before) * 2;
        let bits = u64::BITS - (zigzag | 1).leading_zeros();
        self.values_at[index] - bits.div_ceil(7) as usize - KEY_BYTES
    }

    fn assemble(&self, count: usize, records: &[u8], now_ms: i64) -> Result<Bytes, BatchError> {
        let count = i32::try_from(count).map_err(|_| BatchError::TooLarge)?;
        let header = BatchHeader {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: self.compression.id(),
            last_offset_delta: count - 1,
            base_timestamp: now_ms,
            max_timestamp: now_ms,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: count,
        };
        let batch = match self.compression {
            Compression::None => RecordBatch::assemble(header, records)?,
            codec => RecordBatch::assemble(header, &codec.compress(records)?)?,
        };
        Ok(batch.bytes)
    }
}

/// What sets a record apart from its template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    /// When it was due.
    pub(crate) due: u64,
    /// The number of its key.
    pub(crate) key: Option<u32>,
}

/// Values enough for one batch.
fn values(shape: &RecordShape) -> Result<Vec<Vec<u8>>, BenchError> {
    let mut random = Random::new(shape.seed);
    let content = match &shape.size {
        ValueSize::File(path) => Some(read_value(path)?),
        ValueSize::Fixed(_) | ValueSize::Uniform(..) => None,
    };
    let mut values = Vec::new();
    let mut sum = 0;
    while values.is_empty() || (sum < shape.batch_bytes && values.len() < RECORDS_PER_BATCH_MAX) {
        let value = match (&content, &shape.size) {
            (Some(content), _) => content.clone(),
            (None, ValueSize::Uniform(low, high)) => {
                let len = random.between(*low, *high);
                random_value(len, shape.random_ratio, &mut random)
            }
            (None, ValueSize::Fixed(len)) => random_value(*len, shape.random_ratio, &mut random),
            (None, ValueSize::File(_)) => Vec::new(),
        };
        // A record's own fields take seven bytes at least.
        sum += value.len() + 7;
        values.push(value);
    }
    Ok(values)
}

fn random_value(len: u64, ratio: f64, random: &mut Random) -> Vec<u8> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut value = vec![0; len];
    let filled = usize::try_from(whole(len as f64 * ratio)).unwrap_or(len);
    random.fill(&mut value[..filled.min(len)]);
    value
}

fn read_value(path: &str) -> Result<Vec<u8>, BenchError> {
    let cannot = |source| BenchError::File {
        path: path.into(),
        source,
    };
    let size = std::fs::metadata(path).map_err(cannot)?.len();
    if size > limits::BENCH_VALUE_BYTES_MAX {
        return Err(BenchError::usage(format!(
            "{path}: a value of {size} bytes is too long"
        )));
    }
    std::fs::read(path).map_err(cannot)
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
