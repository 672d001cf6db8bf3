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
            keys.extend(record.key.map(|key| self.newest.hash(key)));
            all.push(record);
        }
        self.newest.touch(&keys);
        let (mut keys, mut kept) = (keys.into_iter(), Vec::with_capacity(all.len()));
        for record in all {
            let key = record.key.and_then(|_| keys.next());
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
            let keep = ends_segment || self.is_last_of_producer(header);
            return match (keep, header.record_count) {
                (false, _) => Ok(Kept::Nothing),
                (true, 0) => Ok(Kept::Whole),
                (true, _) => Ok(Kept::Part(RecordBatch::assemble(emptied(header), &[])?)),
            };
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

    fn stays(&self, header: &BatchHeader, record: &RawRecord<'_>, key: Option<KeyHash>) -> bool {
        let offset = header.base_offset + i64::from(record.offset_delta);
        if offset > self.newest.latest() {
            return true;
        }
        // Records without a key came before the topic was compacted; none is newest of anything.
        let Some(key) = key else { return false };
        let newest = self.newest.get(key).is_none_or(|newest| newest <= offset);
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

/// The header of a batch that holds offsets and a producer's sequence, but no record any more.
fn emptied(header: &BatchHeader) -> BatchHeader {
    BatchHeader {
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: NO_TIMESTAMP,
        record_count: 0,
        ..header.uncompressed_without_horizon()
    }
}
