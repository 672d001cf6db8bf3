//! `<offset>.snapshot`: the producers of a partition as they were at an offset.
//!
//! Kafka's format, version 1, big-endian:
//! ```text
//! version i16 = 1 | crc u32 | entry count i32 | entries | tail
//! entry, 46 bytes:
//!   producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32 |
//!   timestamp i64 | coordinator epoch i32 = -1 | current transaction's first offset i64 = -1
//! ```
//! The CRC-32C covers everything after it, the tail included. `timestamp` is when the producer last
//! appended; a last offset of -1 stands for a producer whose batches are not known. Kafka keeps
//! one batch per producer here and so forgets four of the five after a restart. The other batches
//! of each producer are in a tail that Kafka's reader leaves alone, since it stops after the
//! announced entries:
//! ```text
//! magic "TWps" | version i16 = 1 | per entry, in their order:
//!   batch count u8, at most 4 | batches, oldest first, 24 bytes each:
//!     last sequence i32 | last offset i64 | offset delta i32 | append time i64
//! ```
//! A snapshot without a tail is one of Kafka's and is read as such.

use std::path::Path;

use tidewheel_protocol::crc32c;

use crate::error::StorageError;
use crate::producer_state::{PRODUCER_BATCHES_MAX, ProducerBatch, ProducerEntry, ProducerState};

const VERSION: i16 = 1;
const CRC_POSITION: usize = 2;
const ENTRIES_POSITION: usize = 6;
const TAIL_MAGIC: [u8; 4] = *b"TWps";
const TAIL_VERSION: i16 = 1;

/// The bytes of a snapshot.
#[must_use]
pub fn encode(producers: &ProducerState) -> Vec<u8> {
    let producers = producers.of_log();
    let mut bytes = Vec::with_capacity(16 + producers.len() * 150);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    // The number of producers is bounded far below.
    let count = i32::try_from(producers.len()).unwrap_or(i32::MAX);
    bytes.extend_from_slice(&count.to_be_bytes());
    for (producer_id, entry) in &producers {
        put_entry(&mut bytes, *producer_id, entry);
    }
    bytes.extend_from_slice(&TAIL_MAGIC);
    bytes.extend_from_slice(&TAIL_VERSION.to_be_bytes());
    for (_, entry) in &producers {
        let earlier = entry
            .batches()
            .split_last()
            .map_or(&[][..], |(_, earlier)| earlier);
        // At most five batches are kept.
        bytes.push(u8::try_from(earlier.len()).unwrap_or_default());
        for batch in earlier {
            put_batch(&mut bytes, batch);
            bytes.extend_from_slice(&batch.append_time_ms.to_be_bytes());
        }
    }
    let crc = crc32c(&bytes[ENTRIES_POSITION..]);
    bytes[CRC_POSITION..ENTRIES_POSITION].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn put_entry(bytes: &mut Vec<u8>, producer_id: i64, entry: &ProducerEntry) {
    let unknown = ProducerBatch {
        last_sequence: -1,
        last_offset: -1,
        offset_delta: 0,
        append_time_ms: -1,
    };
    bytes.extend_from_slice(&producer_id.to_be_bytes());
    bytes.extend_from_slice(&entry.epoch.to_be_bytes());
    put_batch(bytes, entry.batches().last().unwrap_or(&unknown));
    bytes.extend_from_slice(&entry.last_append_ms.to_be_bytes());
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.extend_from_slice(&(-1_i64).to_be_bytes());
}

/// The fields that an entry and a batch of the tail share.
fn put_batch(bytes: &mut Vec<u8>, batch: &ProducerBatch) {
    bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
    bytes.extend_from_slice(&batch.last_offset.to_be_bytes());
    bytes.extend_from_slice(&batch.offset_delta.to_be_bytes());
}

/// Reads a snapshot into a state whose producers expire after `expiration_ms`; `path` names it in
/// errors.
///
/// # Errors
/// `Corrupt` for another version, a wrong CRC, or content that no partition can have.
pub fn decode(
    path: &Path,
    bytes: &[u8],
    expiration_ms: i64,
) -> Result<ProducerState, StorageError> {
    let mut fields = Fields { rest: bytes };
    let parsed = parse(&mut fields, expiration_ms);
    parsed.map_err(|reason| {
        let position = bytes.len() - fields.rest.len();
        StorageError::corrupt(path, position as u64, reason)
    })
}

fn parse(fields: &mut Fields<'_>, expiration_ms: i64) -> Result<ProducerState, &'static str> {
    if fields.i16()? != VERSION {
        return Err("unknown version");
    }
    let crc = u32::from_be_bytes(fields.array()?);
    if crc != crc32c(fields.rest) {
        return Err("wrong checksum");
    }
    let count = usize::try_from(fields.i32()?).map_err(|_| "negative count")?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(parse_entry(fields)?);
    }
    let tail = fields.rest.starts_with(&TAIL_MAGIC);
    if tail {
        fields.array::<4>()?;
        if fields.i16()? != TAIL_VERSION {
            return Err("unknown version of the tail");
        }
    }
    let mut producers = ProducerState::new(expiration_ms);
    for entry in entries {
        let mut batches = if tail {
            parse_earlier(fields)?
        } else {
            Vec::new()
        };
        batches.extend(entry.last_batch);
        let offsets = batches.iter().map(|batch| batch.last_offset);
        if !offsets.is_sorted_by(|a, b| a < b) {
            return Err("offsets of a producer do not rise");
        }
        let known = ProducerEntry::new(entry.epoch, entry.last_append_ms, &batches);
        producers.insert(entry.producer_id, known);
    }
    Ok(producers)
}

struct Entry {
    producer_id: i64,
    epoch: i16,
    last_append_ms: i64,
    last_batch: Option<ProducerBatch>,
}

fn parse_entry(fields: &mut Fields<'_>) -> Result<Entry, &'static str> {
    let (producer_id, epoch) = (fields.i64()?, fields.i16()?);
    let mut batch = parse_batch(fields)?;
    let last_append_ms = fields.i64()?;
    batch.append_time_ms = last_append_ms;
    let (_coordinator_epoch, _transaction_start) = (fields.i32()?, fields.i64()?);
    if producer_id < 0 || epoch < 0 {
        return Err("negative producer id or epoch");
    }
    let last_batch = (batch.last_offset >= 0).then_some(batch);
    if last_batch.is_some_and(|batch| !is_possible(&batch)) {
        return Err("impossible batch");
    }
    Ok(Entry {
        producer_id,
        epoch,
        last_append_ms,
        last_batch,
    })
}

fn parse_earlier(fields: &mut Fields<'_>) -> Result<Vec<ProducerBatch>, &'static str> {
    let count = usize::from(u8::from_be_bytes(fields.array()?));
    if count >= PRODUCER_BATCHES_MAX {
        return Err("too many batches");
    }
    let mut batches = Vec::with_capacity(PRODUCER_BATCHES_MAX);
    for _ in 0..count {
        let mut batch = parse_batch(fields)?;
        batch.append_time_ms = fields.i64()?;
        if !is_possible(&batch) {
            return Err("impossible batch");
        }
        batches.push(batch);
    }
    Ok(batches)
}

fn parse_batch(fields: &mut Fields<'_>) -> Result<ProducerBatch, &'static str> {
    Ok(ProducerBatch {
        last_sequence: fields.i32()?,
        last_offset: fields.i64()?,
        offset_delta: fields.i32()?,
        append_time_ms: 0,
    })
}

fn is_possible(batch: &ProducerBatch) -> bool {
    batch.last_sequence >= 0
        && batch.offset_delta >= 0
        && batch.last_offset >= i64::from(batch.offset_delta)
}

/// Takes fixed-width fields off the front.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], &'static str> {
        let (field, rest) = self.rest.split_first_chunk().ok_or("cut off")?;
        self.rest = rest;
        Ok(*field)
    }

    fn i16(&mut self) -> Result<i16, &'static str> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, &'static str> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, &'static str> {
        Ok(i64::from_be_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "00000000000000000042.snapshot";

    fn batch(number: i32) -> ProducerBatch {
        ProducerBatch {
            last_sequence: number * 3 + 2,
            last_offset: i64::from(number) * 10 + 2,
            offset_delta: 2,
            append_time_ms: 1_700_000_000_000 + i64::from(number),
        }
    }

    fn state(entries: &[(i64, i16, std::ops::Range<i32>)]) -> ProducerState {
        let mut producers = ProducerState::default();
        for (producer_id, epoch, numbers) in entries {
            let batches: Vec<_> = numbers.clone().map(batch).collect();
            let last = batches.last().map_or(77, |batch| batch.append_time_ms);
            producers.insert(*producer_id, ProducerEntry::new(*epoch, last, &batches));
        }
        producers
    }

    fn decode_ok(bytes: &[u8]) -> ProducerState {
        decode(Path::new(NAME), bytes, 86_400_000).unwrap()
    }

    fn seal(bytes: &mut [u8]) {
        let crc = crc32c(&bytes[ENTRIES_POSITION..]);
        bytes[CRC_POSITION..ENTRIES_POSITION].copy_from_slice(&crc.to_be_bytes());
    }

    #[test]
    fn all_five_batches_of_every_producer_come_back() {
        let producers = state(&[(1, 0, 0..5), (9, 3, 4..5), (1 << 40, i16::MAX, 0..0)]);
        let back = decode_ok(&encode(&producers));
        assert_eq!(back.sorted(), producers.sorted());
        assert_eq!(back.get(1).unwrap().batches().len(), 5);
        assert!(decode_ok(&encode(&ProducerState::default())).is_empty());
    }

    #[test]
    fn a_snapshot_without_the_tail_is_read_as_kafka_would() {
        let mut bytes = encode(&state(&[(5, 1, 0..3)]));
        bytes.truncate(ENTRIES_POSITION + 4 + 46);
        seal(&mut bytes);
        let back = decode_ok(&bytes);
        assert_eq!(back.get(5).unwrap().batches(), [batch(2)]);
    }

    #[test]
    fn what_no_partition_can_hold_is_refused_even_with_a_right_checksum() {
        let good = encode(&state(&[(5, 1, 0..3)]));
        let first_entry = ENTRIES_POSITION + 4;
        let tail = first_entry + 46;
        let cases: [(&str, usize, &[u8]); 8] = [
            ("version", 0, &[0, 2]),
            ("negative count", ENTRIES_POSITION, &[0xff]),
            ("huge count", ENTRIES_POSITION, &[0x7f]),
            ("producer id", first_entry, &[0xff]),
            ("epoch", first_entry + 8, &[0xff]),
            ("last sequence", first_entry + 10, &[0xff]),
            ("tail version", tail + 4, &[0, 2]),
            ("batches", tail + 6, &[5]),
        ];
        for (name, position, change) in cases {
            let mut bytes = good.clone();
            bytes[position..position + change.len()].copy_from_slice(change);
            seal(&mut bytes);
            let found = decode(Path::new(NAME), &bytes, 1);
            assert!(
                matches!(found, Err(StorageError::Corrupt { .. })),
                "{name}: {found:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_or_cut_is_noticed(
            at in any::<prop::sample::Index>(), bit in 0..8_u32, cut in any::<prop::sample::Index>(),
        ) {
            let good = encode(&state(&[(1, 0, 0..5), (2, 0, 0..1)]));
            let mut bytes = good.clone();
            bytes[at.index(good.len())] ^= 1 << bit;
            prop_assert!(decode(Path::new(NAME), &bytes, 1).is_err());
            prop_assert!(decode(Path::new(NAME), &good[..cut.index(good.len())], 1).is_err());
        }

        #[test]
        fn no_bytes_cause_a_panic(body in prop::collection::vec(any::<u8>(), 0..300), count in 0..4_u8) {
            let mut bytes = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, count];
            bytes.extend(body);
            seal(&mut bytes);
            let known = decode(Path::new(NAME), &bytes, 1).map_or(0, |producers| producers.len());
            prop_assert!(known <= usize::from(count));
        }
    }
}
