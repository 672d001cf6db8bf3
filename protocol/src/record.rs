//! The records inside a batch.
//!
//! ```text
//! length varint | attributes i8 (unused) | timestamp_delta varlong | offset_delta varint |
//! key_length varint, -1 = null | key | value_length varint, -1 = null | value |
//! header_count varint | per header: key_length varint | key | value_length varint | value
//! ```

use bytes::Bytes;

use crate::record_batch::{BatchError, BatchHeader, RecordBatch, TimestampType};
use crate::wire::{DecodeError, Reader, Writer};

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp, ms since 1970: the producer's, or the batch's append time.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone on compacted topics.
    pub value: Option<Bytes>,
    /// Headers in order; the same key may come more than once.
    pub headers: Vec<RecordHeader>,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The key, UTF-8 by convention.
    pub key: Bytes,
    /// The value, if it has one.
    pub value: Option<Bytes>,
}

impl RecordBatch {
    /// Iterates over the records, decompressing them first. Uncompressed records are slices of the
    /// batch; compressed ones are slices of one buffer of at most `max_decompressed_bytes`.
    ///
    /// # Errors
    /// For an unknown codec, corrupt compressed data, and records above the limit, which uncompressed
    /// records are not subject to.
    pub fn records(&self, max_decompressed_bytes: usize) -> Result<RecordIter, BatchError> {
        let codec = self.header.compression()?;
        let stored = self.records_bytes();
        let records = if codec.id() == 0 {
            stored
        } else {
            Bytes::from(codec.decompress(&stored, max_decompressed_bytes)?)
        };
        Ok(RecordIter {
            header: self.header,
            reader: Reader::new(records),
            read: 0,
            last_delta: -1,
            headers_max: usize::MAX,
            headers: 0,
            failed: false,
        })
    }
}

/// Iterates over the records of a batch, and checks on the way that their count is the header's, that
/// nothing follows them and that their offsets ascend within the batch. After an error nothing comes.
#[derive(Clone, Debug)]
pub struct RecordIter {
    header: BatchHeader,
    reader: Reader,
    read: usize,
    last_delta: i32,
    headers_max: usize,
    /// How many there were.
    headers: usize,
    failed: bool,
}

impl RecordIter {
    /// Ends with [`BatchError::TooManyHeaders`] where the records have more than `max` headers in all: a header
    /// takes two bytes in a batch, and 64 in memory.
    #[must_use]
    pub fn limit_headers(self, max: usize) -> Self {
        Self {
            headers_max: max,
            ..self
        }
    }

    fn read_next(&mut self) -> Result<Option<Record>, BatchError> {
        let announced = self.header.record_count;
        let is_last = i64::try_from(self.read).is_ok_and(|read| read >= announced.into());
        match (is_last, self.reader.remaining()) {
            (true, 0) if announced >= 0 => return Ok(None),
            (true, _) | (false, 0) => {
                return Err(BatchError::RecordCount {
                    announced,
                    actual: self.read,
                });
            }
            (false, _) => {}
        }
        let index = self.read;
        let (max, left) = (self.headers_max, self.headers_max - self.headers);
        let failed = |source| match source {
            DecodeError::ArrayTooLong { count, .. } if count > left => {
                BatchError::TooManyHeaders { max }
            }
            source => BatchError::MalformedRecord { index, source },
        };
        let decoded = decode_record(&mut self.reader, &self.header, left);
        let (delta, record) = decoded.map_err(failed)?;
        self.headers += record.headers.len();
        if delta <= self.last_delta || delta > self.header.last_offset_delta {
            return Err(BatchError::OffsetDelta { index, delta });
        }
        self.last_delta = delta;
        self.read += 1;
        Ok(Some(record))
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read_next().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Reads one record with at most `headers_max` headers; the first value is its offset delta.
fn decode_record(
    reader: &mut Reader,
    header: &BatchHeader,
    headers_max: usize,
) -> Result<(i32, Record), DecodeError> {
    let len = reader.read_varint()?;
    let len = usize::try_from(len).map_err(|_| DecodeError::InvalidLength(len.into()))?;
    let mut reader = Reader::new(reader.take(len)?);
    reader.read_i8()?;
    let timestamp_delta = reader.read_varlong()?;
    let offset_delta = reader.read_varint()?;
    let key = read_sized(&mut reader)?;
    let value = read_sized(&mut reader)?;
    let headers = decode_headers(&mut reader, headers_max)?;
    reader.finish()?;
    let timestamp = match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.saturating_add(timestamp_delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    };
    let offset = header.base_offset.saturating_add(offset_delta.into());
    Ok((
        offset_delta,
        Record {
            offset,
            timestamp,
            key,
            value,
            headers,
        },
    ))
}

fn decode_headers(reader: &mut Reader, max: usize) -> Result<Vec<RecordHeader>, DecodeError> {
    let count = reader.read_varint()?;
    let count = usize::try_from(count).map_err(|_| DecodeError::InvalidLength(count.into()))?;
    // A header takes at least its two lengths.
    let remaining = reader.remaining();
    if count > max.min(remaining / 2) {
        return Err(DecodeError::ArrayTooLong { count, remaining });
    }
    // Grows with what is really there: the count alone could ask for 32 times the record's size.
    let mut headers = Vec::new();
    for _ in 0..count {
        let key = read_sized(reader)?.ok_or(DecodeError::UnexpectedNull)?;
        headers.push(RecordHeader {
            key,
            value: read_sized(reader)?,
        });
    }
    Ok(headers)
}

/// Bytes after a signed length; `None` for -1. Java's reader takes any negative length as null.
fn read_sized(reader: &mut Reader) -> Result<Option<Bytes>, DecodeError> {
    match reader.read_varint()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| DecodeError::InvalidLength(len.into()))?;
            reader.take(len).map(Some)
        }
    }
}

/// Writes one record with its deltas.
pub(crate) fn encode_record(
    writer: &mut Writer,
    record: &Record,
    timestamp_delta: i64,
    offset_delta: i32,
) -> Result<(), BatchError> {
    let mut body = Writer::new();
    body.put_i8(0);
    body.put_varlong(timestamp_delta);
    body.put_varint(offset_delta);
    put_sized(&mut body, record.key.as_ref())?;
    put_sized(&mut body, record.value.as_ref())?;
    body.put_varint(len_i32(record.headers.len())?);
    for header in &record.headers {
        put_sized(&mut body, Some(&header.key))?;
        put_sized(&mut body, header.value.as_ref())?;
    }
    let body = body.freeze();
    put_sized(writer, Some(&body))
}

fn put_sized(writer: &mut Writer, bytes: Option<&Bytes>) -> Result<(), BatchError> {
    match bytes {
        None => writer.put_varint(-1),
        Some(bytes) => {
            writer.put_varint(len_i32(bytes.len())?);
            writer.put_slice(bytes);
        }
    }
    Ok(())
}

fn len_i32(len: usize) -> Result<i32, BatchError> {
    i32::try_from(len).map_err(|_| BatchError::TooLarge)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
