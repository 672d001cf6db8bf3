//! Records where they lie: keys, deltas and the bytes of each record, without a copy and without
//! looking at headers. For whoever walks many records and keeps most of them as they are.

use bytes::Bytes;

use crate::compression::Compression;
use crate::record_batch::{BatchError, BatchHeader, RecordBatch};
use crate::wire::{DecodeError, Writer};

/// One record as it lies in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// All of it, its length included.
    pub bytes: &'a [u8],
    /// Its offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Its timestamp minus the batch's base timestamp, ms.
    pub timestamp_delta: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Whether it has a value: without one it is a tombstone on compacted topics.
    pub has_value: bool,
    attributes: u8,
    /// What follows the offset delta.
    rest: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// The record behind this front: its key is looked for, and its value.
    fn behind(front: Front<'a>) -> Result<Self, DecodeError> {
        let mut body = front.rest;
        let key = match read_i32(&mut body)? {
            ..0 => None,
            len => Some(take(&mut body, usize::try_from(len).unwrap_or(usize::MAX))?),
        };
        let value_len = read_i32(&mut body)?;
        if let Ok(len) = usize::try_from(value_len) {
            take(&mut body, len)?;
        }
        Ok(Self {
            bytes: front.bytes,
            offset_delta: front.offset_delta,
            timestamp_delta: front.timestamp_delta,
            key,
            has_value: value_len >= 0,
            attributes: front.attributes,
            rest: front.rest,
        })
    }

    /// The same record relative to another base timestamp, appended to `records`.
    ///
    /// # Errors
    /// Where the record is longer than its length can say.
    pub fn put_with_timestamp_delta(
        &self,
        timestamp_delta: i64,
        records: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        let mut deltas = Writer::new();
        deltas.put_varlong(timestamp_delta);
        deltas.put_varint(self.offset_delta);
        let deltas = deltas.freeze();
        let len = 1 + deltas.len() + self.rest.len();
        let mut prefix = Writer::new();
        prefix.put_varint(i32::try_from(len).map_err(|_| BatchError::TooLarge)?);
        records.extend_from_slice(&prefix.freeze());
        records.push(self.attributes);
        records.extend_from_slice(&deltas);
        records.extend_from_slice(self.rest);
        Ok(())
    }
}

/// Iterates over decompressed records, and checks on the way what [`crate::RecordIter`] checks, headers
/// left aside. After an error nothing comes.
#[derive(Clone, Debug)]
pub struct RawRecords<'a> {
    rest: &'a [u8],
    announced: i32,
    read: i32,
    last_delta: i32,
    last_delta_max: i32,
    failed: bool,
}

impl<'a> RawRecords<'a> {
    /// The records of the batch with this header, as [`RecordBatch::decompressed`] gives them.
    #[must_use]
    pub fn new(header: &BatchHeader, records: &'a [u8]) -> Self {
        Self {
            rest: records,
            announced: header.record_count,
            read: 0,
            last_delta: -1,
            last_delta_max: header.last_offset_delta,
            failed: false,
        }
    }

    /// Looks at the places of all records and at nothing in them: they are exactly as many as the header
    /// says, fill the batch, and their offsets ascend within those of the batch. What is behind the offset
    /// of a record, its key, value and headers, is skipped by the record's length.
    ///
    /// # Errors
    /// For the first record that is not where or what it should be, and for records too few or too many.
    pub fn check_places(mut self) -> Result<(), BatchError> {
        loop {
            while self.read < self.announced && self.last_delta < self.last_delta_max {
                let Some(rest) = skip_plain(self.rest, self.last_delta + 1) else {
                    break;
                };
                self.rest = rest;
                self.read += 1;
                self.last_delta += 1;
            }
            if self.next_front()?.is_none() {
                return Ok(());
            }
        }
    }

    fn index(&self) -> usize {
        usize::try_from(self.read).unwrap_or_default()
    }

    fn read_next(&mut self) -> Result<Option<RawRecord<'a>>, BatchError> {
        let index = self.index();
        let Some(front) = self.next_front()? else {
            return Ok(None);
        };
        let malformed = |source| BatchError::MalformedRecord { index, source };
        RawRecord::behind(front).map(Some).map_err(malformed)
    }

    fn next_front(&mut self) -> Result<Option<Front<'a>>, BatchError> {
        let index = self.index();
        if self.read >= self.announced || self.rest.is_empty() {
            if self.read == self.announced && self.rest.is_empty() {
                return Ok(None);
            }
            return Err(BatchError::RecordCount {
                announced: self.announced,
                actual: index,
            });
        }
        let malformed = |source| BatchError::MalformedRecord { index, source };
        let front = Front::read(&mut self.rest).map_err(malformed)?;
        let delta = front.offset_delta;
        if delta <= self.last_delta || delta > self.last_delta_max {
            return Err(BatchError::OffsetDelta { index, delta });
        }
        self.last_delta = delta;
        self.read += 1;
        Ok(Some(front))
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read_next().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}

impl RecordBatch {
    /// The records without compression: a slice of the batch, or a buffer of at most
    /// `max_decompressed_bytes`.
    ///
    /// # Errors
    /// For an unknown codec, corrupt compressed data, and compressed records above the limit.
    pub fn decompressed(&self, max_decompressed_bytes: usize) -> Result<Bytes, BatchError> {
        let stored = self.records_bytes();
        match self.header.compression()? {
            Compression::None => Ok(stored),
            codec => Ok(Bytes::from(
                codec.decompress(&stored, max_decompressed_bytes)?,
            )),
        }
    }
}

/// A record as far as its offset delta.
struct Front<'a> {
    /// All of the record, its length included.
    bytes: &'a [u8],
    attributes: u8,
    timestamp_delta: i64,
    offset_delta: i32,
    /// What follows the offset delta.
    rest: &'a [u8],
}

impl<'a> Front<'a> {
    /// Takes one record off the front of `bytes`.
    fn read(bytes: &mut &'a [u8]) -> Result<Self, DecodeError> {
        let start = *bytes;
        let len = read_len(bytes)?;
        let mut body = take(bytes, len)?;
        let all = start.get(..start.len() - bytes.len()).unwrap_or_default();
        let [attributes] = *take(&mut body, 1)? else {
            return Err(DecodeError::UnexpectedNull);
        };
        Ok(Self {
            bytes: all,
            attributes,
            timestamp_delta: signed(read_uvarint(&mut body, 10)?),
            offset_delta: read_i32(&mut body)?,
            rest: body,
        })
    }
}

/// What follows a record with this offset delta, in a fifth of the time that [`Front::read`] takes. `None`
/// where a record begins otherwise or with integers of more than three bytes: `Front::read` decides then.
fn skip_plain(records: &[u8], offset_delta: i32) -> Option<&[u8]> {
    let (len, rest) = short_uvarint(records)?;
    // An odd one is negative.
    if len & 1 == 1 {
        return None;
    }
    let (body, rest) = rest.split_at_checked(len as usize / 2)?;
    let (_attributes, body) = body.split_first()?;
    let (_timestamp_delta, body) = short_uvarint(body)?;
    let (delta, _) = short_uvarint(body)?;
    (i64::from(delta) == 2 * i64::from(offset_delta)).then_some(rest)
}

#[inline]
fn short_uvarint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let low = |byte: u8| u32::from(byte & 0x7F);
    match bytes {
        [a @ ..0x80, rest @ ..] => Some((u32::from(*a), rest)),
        [a, b @ ..0x80, rest @ ..] => Some((u32::from(*b) << 7 | low(*a), rest)),
        [a, b, c @ ..0x80, rest @ ..] => Some((u32::from(*c) << 14 | low(*b) << 7 | low(*a), rest)),
        _ => None,
    }
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, rest) = bytes
        .split_at_checked(len)
        .ok_or(DecodeError::UnexpectedEnd {
            needed: len,
            remaining: bytes.len(),
        })?;
    *bytes = rest;
    Ok(taken)
}

fn read_len(bytes: &mut &[u8]) -> Result<usize, DecodeError> {
    let len = read_i32(bytes)?;
    usize::try_from(len).map_err(|_| DecodeError::InvalidLength(len.into()))
}

fn read_i32(bytes: &mut &[u8]) -> Result<i32, DecodeError> {
    let value = signed(read_uvarint(bytes, 5)?);
    i32::try_from(value).map_err(|_| DecodeError::Varint)
}

/// Zigzag: the lowest bit is the sign.
fn signed(bits: u64) -> i64 {
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}

fn read_uvarint(bytes: &mut &[u8], bytes_max: u32) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for index in 0..bytes_max {
        let (byte, rest) = bytes.split_first().ok_or(DecodeError::UnexpectedEnd {
            needed: 1,
            remaining: 0,
        })?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7F);
        // The tenth byte has room for one bit only.
        if index == 9 && bits > 1 {
            return Err(DecodeError::Varint);
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Varint)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{RecordBatchBuilder, RecordHeader};

    const MAX: usize = 1 << 20;

    fn batch(compression: Compression) -> RecordBatch {
        let headers = vec![RecordHeader {
            key: Bytes::from_static(b"h"),
            value: None,
        }];
        RecordBatchBuilder::new()
            .base_offset(100)
            .compression(compression)
            .record(1_000, Some(b"a"), Some(b"1"))
            .record(900, None, Some(&[7; 300]))
            .record_with_headers(1_200, Some(b""), None, headers)
            .build()
            .unwrap()
    }

    #[test]
    fn records_are_what_the_owning_iterator_says() {
        for codec in Compression::ALL {
            let batch = batch(codec);
            let records = batch.decompressed(MAX).unwrap();
            let raw: Vec<_> = RawRecords::new(&batch.header, &records)
                .map(Result::unwrap)
                .collect();
            let owned: Vec<_> = batch.records(MAX).unwrap().map(Result::unwrap).collect();
            assert_eq!(raw.len(), owned.len());
            for (raw, owned) in raw.iter().zip(&owned) {
                assert_eq!(100 + i64::from(raw.offset_delta), owned.offset);
                assert_eq!(1_000 + raw.timestamp_delta, owned.timestamp);
                assert_eq!(raw.key, owned.key.as_deref());
                assert_eq!(raw.has_value, owned.value.is_some());
            }
            assert_eq!(
                raw.iter().map(|raw| raw.bytes.len()).sum::<usize>(),
                records.len()
            );
        }
    }

    #[test]
    fn a_record_moves_to_another_base_timestamp() {
        let batch = batch(Compression::None);
        let records = batch.decompressed(MAX).unwrap();
        let mut moved = Vec::new();
        for record in RawRecords::new(&batch.header, &records) {
            let record = record.unwrap();
            record
                .put_with_timestamp_delta(record.timestamp_delta - 1_000_000, &mut moved)
                .unwrap();
        }
        let mut header = batch.header;
        header.base_timestamp += 1_000_000;
        let moved = RecordBatch::assemble(header, &moved).unwrap();
        let read = |batch: &RecordBatch| -> Vec<_> {
            batch.records(MAX).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(read(&moved), read(&batch));
    }

    #[test]
    fn what_the_header_says_must_be_there() {
        let batch = batch(Compression::None);
        let records = batch.decompressed(MAX).unwrap();
        for (count, delta) in [(2, 2), (4, 2), (3, 1), (-1, 2)] {
            let mut header = batch.header;
            (header.record_count, header.last_offset_delta) = (count, delta);
            assert!(RawRecords::new(&header, &records).any(|record| record.is_err()));
        }
        for len in 1..records.len() {
            let cut = RawRecords::new(&batch.header, &records[..len]);
            assert!(cut.into_iter().any(|record| record.is_err()), "{len}");
        }
    }

    /// A record of one-byte lengths, without a key.
    fn record(offset_delta: u8, value: &[u8]) -> Vec<u8> {
        let len = u8::try_from(value.len()).unwrap();
        let front = [2 * (6 + len), 0, 0, 2 * offset_delta, 1, 2 * len];
        [&front[..], value, &[0]].concat()
    }

    #[test]
    fn places_are_checked_without_a_look_into_the_records() {
        let batch = batch(Compression::None);
        let check =
            |records: &[Vec<u8>]| RawRecords::new(&batch.header, &records.concat()).check_places();
        let [first, second, third] = [0, 1, 2].map(|delta| record(delta, b"value"));
        let garbage = vec![12, 0, 0, 4, 0xFF, 0xFF, 0xFF];
        for last in [&third, &garbage] {
            check(&[first.clone(), second.clone(), last.clone()]).unwrap();
        }
        let counted = |result| match result {
            Err(BatchError::RecordCount { announced, actual }) => (announced, actual),
            other => panic!("{other:?}"),
        };
        assert_eq!(counted(check(&[])), (3, 0));
        assert_eq!(counted(check(&[first.clone(), second.clone()])), (3, 2));
        let all = [first.clone(), second.clone(), third.clone()];
        let more = [&all[..], &[record(3, b"")]].concat();
        assert_eq!(counted(check(&more)), (3, 3));
        assert_eq!(counted(check(&[&all[..], &[vec![0]]].concat())), (3, 3));
        for (deltas, at) in [([0, 0, 1], 1), ([0, 2, 1], 2), ([1, 2, 3], 2)] {
            let found = check(&deltas.map(|delta| record(delta, b"")));
            let Err(BatchError::OffsetDelta { index, delta }) = found else {
                panic!("{found:?}");
            };
            assert_eq!((index, delta), (at, deltas[at].into()));
        }
        for last in [
            &[0][..],
            &[1],
            &[14, 0, 0, 4],
            &[2, 0],
            &[4, 0, 0],
            &[0x80; 6],
        ] {
            let found = check(&[first.clone(), second.clone(), last.to_vec()]);
            let malformed = matches!(found, Err(BatchError::MalformedRecord { index: 2, .. }));
            assert!(malformed, "{last:?}: {found:?}");
        }
    }

    #[test]
    fn integers_of_any_length_are_skipped() {
        let value = vec![7; 3 << 20];
        let count = 20_000;
        let builder = (1..count).fold(RecordBatchBuilder::new(), |builder, index| {
            let len = if index == 300 {
                value.len()
            } else {
                index % 150
            };
            let timestamp = [5, 100, 10_000, 10_000_000, i64::MAX / 2][index % 5];
            builder.record(timestamp, None, Some(&value[..len]))
        });
        let batch = builder.build().unwrap();
        RawRecords::new(&batch.header, &batch.records_bytes())
            .check_places()
            .unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in any::<i32>()) {
            let mut header = batch(Compression::None).header;
            (header.record_count, header.last_offset_delta) = (count, i32::MAX);
            let found = RawRecords::new(&header, &bytes).take(300).count();
            prop_assert!(found <= bytes.len() + 1);
            // Whoever looks at more finds fault with more.
            let whole = !RawRecords::new(&header, &bytes).any(|record| record.is_err());
            let placed = RawRecords::new(&header, &bytes).check_places().is_ok();
            prop_assert!(placed || !whole);
        }
    }
}
