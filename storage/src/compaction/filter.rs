//! What stays of a batch. Pure: bytes in, bytes out.
//!
//! A record stays while it is the newest of its key; a tombstone no longer than the batch's delete
//! horizon, unless a batch before it is too large to be opened and stays whole. Offsets never change: a batch keeps
//! its first and last offset, and with them its sequence numbers, whatever leaves it. Bytes of records are copied as
//! they are, except where the delete horizon takes the place of the base timestamp.

use std::cell::Cell;
use std::collections::HashMap;

use tidewheel_protocol::{
    BatchError, BatchHeader, Compression, RawRecord, RawRecords, RecordBatch, TimestampType,
};

use super::offset_map::{KeyHash, OffsetMap};
use super::opened;
use crate::index::NO_TIMESTAMP;

/// What decides about records.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    /// The newest offsets of keys.
    pub(crate) newest: &'a OffsetMap,
    /// The base offset of the first batch that came by and is too large to be opened. It keeps old values of its keys,
    /// which must not outlive the tombstones behind them: so those stay, too.
    pub(crate) unopened: Cell<Option<i64>>,
    /// Whether one of those stays though its horizon has come.
    pub(crate) held_back: Cell<bool>,
    /// The offset of the last record of each producer that is known.
    pub(crate) producers: &'a HashMap<i64, i64>,
    /// Until when tombstones stay that had no time before, ms since 1970.
    pub(crate) horizon_ms: i64,
    /// ms since 1970.
    pub(crate) now_ms: i64,
}

/// What stays of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All of it.
    Whole,
    /// This.
    Part(RecordBatch),
    /// Nothing.
    Nothing,
}

/// The records of a batch that stay.
#[derive(Debug, Default)]
struct Chosen {
    dropped: bool,
    tombstones: bool,
    count: i32,
    max_timestamp: i64,
}

impl Filter<'_> {
    /// What stays of `batch`, which lies behind all that was asked before. Where `ends_segment`, its offsets are kept
    /// even if no record is left.
    ///
    /// # Errors
    /// For records that cannot be read.
    pub(crate) fn filter(
        &self,
        batch: &RecordBatch,
        ends_segment: bool,
    ) -> Result<Kept, BatchError> {
        let header = &batch.header;
        if header.base_offset > self.newest.latest() || header.is_control() {
            return Ok(Kept::Whole);
        }
        match self.newest.newest_in(header).map(i32::try_from) {
            Some(Ok(0)) => return self.nothing_of(header, ends_segment),
            Some(Ok(count)) if count == header.record_count => return Ok(Kept::Whole),
            _ => {}
        }
        let Some(records) = opened(batch)? else {
            let first = self.unopened.get().unwrap_or(header.base_offset);
            self.unopened.set(Some(first));
            return Ok(Kept::Whole);
        };
        let mut chosen = Chosen {
            max_timestamp: NO_TIMESTAMP,
            ..Chosen::default()
        };
        let (mut all, mut keys) = (Vec::new(), Vec::new());
        for record in RawRecords::new(header, &records) {
            let record = record?;
            let key = self.unmarked(header, &record);
            keys.extend(key.map(|key| self.newest.hash(key)));
            all.push(record);
        }
        self.newest.touch(keys.iter().copied());
        let (mut keys, mut kept) = (keys.into_iter(), Vec::with_capacity(all.len()));
        for record in all {
            let key = self.unmarked(header, &record).and_then(|_| keys.next());
            if self.stays(header, &record, key) {
                kept.push(record);
                chosen.count += 1;
                chosen.tombstones |= !record.has_value;
                let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
                chosen.max_timestamp = chosen.max_timestamp.max(timestamp);
            } else {
                chosen.dropped = true;
            }
        }
        if kept.is_empty() {
            return self.nothing_of(header, ends_segment);
        }
        let sets_horizon = chosen.tombstones
            && !header.has_delete_horizon()
            && header.last_offset() <= self.newest.latest();
        if !chosen.dropped && !sets_horizon {
            return Ok(Kept::Whole);
        }
        self.rewrite(header, &kept, &chosen, sets_horizon)
            .map(Kept::Part)
    }

    /// Of a batch none of whose records stays.
    fn nothing_of(&self, header: &BatchHeader, ends_segment: bool) -> Result<Kept, BatchError> {
        let keep = ends_segment || self.is_last_of_producer(header);
        match (keep, header.record_count) {
            (false, _) => Ok(Kept::Nothing),
            (true, 0) => Ok(Kept::Whole),
            (true, _) => Ok(Kept::Part(RecordBatch::assemble(emptied(header), &[])?)),
        }
    }

    /// The key of a record, where no mark tells whether it is the newest of its key.
    fn unmarked<'b>(&self, header: &BatchHeader, record: &RawRecord<'b>) -> Option<&'b [u8]> {
        let marked = self.newest.is_newest(offset_of(header, record));
        record.key.filter(|_| marked.is_none())
    }

    /// `key`: its hash, where no mark tells whether it is the newest of its key.
    fn stays(&self, header: &BatchHeader, record: &RawRecord<'_>, key: Option<KeyHash>) -> bool {
        let offset = offset_of(header, record);
        if offset > self.newest.latest() {
            return true;
        }
        let newest = match (self.newest.is_newest(offset), key) {
            (Some(newest), _) => newest,
            (None, Some(key)) => self.newest.get(key).is_none_or(|newest| newest <= offset),
            // Records without a key came before the topic was compacted; none is newest of anything.
            (None, None) => false,
        };
        newest && (record.has_value || self.tombstone_stays(header))
    }

    fn tombstone_stays(&self, header: &BatchHeader) -> bool {
        if !header.has_delete_horizon() || self.now_ms < header.base_timestamp {
            return true;
        }
        let is_held = self.unopened.get().is_some();
        self.held_back.set(self.held_back.get() || is_held);
        is_held
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        self.producers.get(&header.producer_id) == Some(&header.last_offset())
    }

    fn rewrite(
        &self,
        header: &BatchHeader,
        kept: &[RawRecord<'_>],
        chosen: &Chosen,
        sets_horizon: bool,
    ) -> Result<RecordBatch, BatchError> {
        let mut header = BatchHeader {
            record_count: chosen.count,
            ..*header
        };
        let mut records = Vec::new();
        if sets_horizon {
            let shift = header.base_timestamp.wrapping_sub(self.horizon_ms);
            header = header.with_delete_horizon(self.horizon_ms);
            for record in kept {
                let delta = record.timestamp_delta.wrapping_add(shift);
                record.put_with_timestamp_delta(delta, &mut records)?;
            }
        } else {
            for record in kept {
                records.extend_from_slice(record.bytes);
            }
        }
        if header.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = chosen.max_timestamp;
        }
        match header.compression()? {
            Compression::None => RecordBatch::assemble(header, &records),
            codec => RecordBatch::assemble(header, &codec.compress(&records)?),
        }
    }
}

fn offset_of(header: &BatchHeader, record: &RawRecord<'_>) -> i64 {
    header.base_offset + i64::from(record.offset_delta)
}

/// The header of a batch that holds offsets and a producer's sequence, but no record any more.
fn emptied(header: &BatchHeader) -> BatchHeader {
    BatchHeader {
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: NO_TIMESTAMP,
        record_count: 0,
        ..header.uncompressed_without_horizon()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tidewheel_protocol::RecordBatchBuilder;

    use super::super::offset_map::MapSize;
    use super::super::{Noted, note_keys};
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    /// The keys of `batches` from offset `from` on; with marks, where there is memory for them.
    fn noted(batches: &[RecordBatch], from: i64, bytes_max: u64) -> OffsetMap {
        let size = MapSize {
            bytes_max,
            load_factor: 0.9,
        };
        let end = batches.last().map_or(0, |last| last.header.next_offset());
        let keys = u64::try_from(end - from).unwrap();
        let mut newest = OffsetMap::new(size, keys, (1, 2), from - 1);
        for batch in batches {
            if let Noted::Full = note_keys(&mut newest, batch, from).unwrap() {
                break;
            }
        }
        newest
    }

    fn filtered(batches: &[RecordBatch], newest: &OffsetMap) -> Vec<Kept> {
        let producers = HashMap::new();
        let filter = Filter {
            newest,
            unopened: Cell::new(None),
            held_back: Cell::new(false),
            producers: &producers,
            horizon_ms: NOW + 1_000,
            now_ms: NOW,
        };
        let kept = batches.iter().enumerate();
        kept.map(|(at, batch)| filter.filter(batch, at % 4 == 3).unwrap())
            .collect()
    }

    /// Batches that follow each other, of records with these keys and values or none.
    fn batches(drawn: &[Vec<(Option<u8>, bool)>]) -> Vec<RecordBatch> {
        let mut offset = 0;
        let of = |(number, records): (usize, &Vec<(Option<u8>, bool)>)| {
            let mut builder = RecordBatchBuilder::new()
                .base_offset(offset)
                .compression(Compression::ALL[number % 5]);
            for (key, has_value) in records {
                let key = key.map(|key| [key]);
                let key = key.as_ref().map(<[u8; 1]>::as_slice);
                builder = builder.record(NOW, key, has_value.then_some(&b"value"[..]));
            }
            offset += i64::try_from(records.len()).unwrap();
            builder.build().unwrap()
        };
        drawn.iter().enumerate().map(of).collect()
    }

    /// What an earlier pass left of them, with holes.
    fn thinned(batches: Vec<RecordBatch>) -> Vec<RecordBatch> {
        let kept = filtered(&batches, &noted(&batches, 0, 1));
        let left = batches.into_iter().zip(kept);
        left.filter_map(|(batch, kept)| match kept {
            Kept::Whole => Some(batch),
            Kept::Part(part) => Some(part),
            Kept::Nothing => None,
        })
        .collect()
    }

    proptest! {
        #[test]
        fn marks_change_nothing(
            drawn in prop::collection::vec(
                prop::collection::vec((prop::option::weighted(0.95, 0..30_u8), prop::bool::weighted(0.9)), 1..6),
                1..40,
            ),
            holes in any::<bool>(),
            from in any::<prop::sample::Index>(),
        ) {
            let mut batches = batches(&drawn);
            if holes {
                let more = thinned(batches.split_off(batches.len() / 2));
                batches.extend(more);
            }
            let end = batches.last().map_or(0, |last| last.header.next_offset());
            let from = i64::try_from(from.index(usize::try_from(end).unwrap() + 1)).unwrap();
            let (plain, marked) = (noted(&batches, from, 1), noted(&batches, from, 1 << 16));
            prop_assert_eq!(plain.is_newest(from), None);
            prop_assert_eq!(filtered(&batches, &marked), filtered(&batches, &plain));
        }
    }

    #[test]
    fn a_batch_is_opened_a_second_time_only_where_a_part_of_it_stays() {
        let drawn = [
            vec![(Some(1), true), (Some(2), true)],
            vec![(Some(1), true), (Some(3), true)],
            vec![(Some(2), true), (Some(4), true)],
            vec![(Some(1), true), (Some(5), false)],
            vec![(Some(1), true)],
        ];
        let batches = batches(&drawn);
        let newest = noted(&batches, 0, 1 << 16);
        // A batch as before, of which nothing can be read.
        let unreadable = |batch: &RecordBatch| RecordBatch {
            header: batch.header,
            bytes: Bytes::from_static(&[0xff; 70]),
        };
        let producers = HashMap::new();
        let filter = Filter {
            newest: &newest,
            unopened: Cell::new(None),
            held_back: Cell::new(false),
            producers: &producers,
            horizon_ms: NOW,
            now_ms: NOW,
        };
        let opened = batches.iter().map(|batch| {
            let kept = filter.filter(&unreadable(batch), false);
            kept.ok().map(|kept| kept == Kept::Whole)
        });
        // Nothing stays, a part, all, one that is a tombstone, all.
        let expected = [Some(false), None, Some(true), None, Some(true)];
        assert_eq!(opened.collect::<Vec<_>>(), expected);
    }
}
