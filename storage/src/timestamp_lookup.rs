//! From times to offsets: the first record at or after a time, and the record with the largest; and back: the
//! time of the record at an offset.
//!
//! The time index says in which segment and from which batch on to look; the batch is then opened,
//! compressed or not, because the answer is a record. Only records between the log start and the
//! high watermark count.

use tidewheel_protocol::BatchHeader;

use crate::error::StorageError;
use crate::index::NO_TIMESTAMP;
use crate::log_offsets::LogOffsetsSnapshot;
use crate::log_reader::LogReader;
use crate::segment::LogSegment;
use crate::timestamps::{RecordTime, first_at_or_after, first_from, first_from_header, largest};

impl LogReader {
    /// The first visible record with a timestamp at or above `timestamp`.
    pub(crate) fn find_by_timestamp(
        &self,
        timestamp: i64,
    ) -> Result<Option<RecordTime>, StorageError> {
        let from = self.offsets().snapshot().log_start;
        let list = self.list();
        for segment in list.all() {
            let end = segment.visible_len();
            if end == 0 || segment.max_timestamp().timestamp < timestamp {
                continue;
            }
            let start = u64::from(segment.lookup_timestamp(timestamp)?.position);
            let mut found = None;
            segment.walk(start, end, |position, header| {
                if header.max_timestamp >= timestamp {
                    let batch = segment.batch_at(position, header)?;
                    found = first_at_or_after(&batch, timestamp, from);
                }
                Ok(found.is_none())
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first visible record at or after `offset`. Where it begins its batch the header says it; else one
    /// batch is opened.
    pub(crate) fn find_by_offset(&self, offset: i64) -> Result<Option<RecordTime>, StorageError> {
        let from = offset.max(self.offsets().snapshot().log_start);
        let list = self.list();
        for segment in list.starting_at(from) {
            let end = segment.visible_len();
            if end == 0 {
                continue;
            }
            let start = u64::from(segment.lookup(from)?.position);
            let mut found = None;
            segment.walk(start, end, |position, header| {
                if header.last_offset() >= from {
                    found = match first_from_header(header, from) {
                        Some(time) => Some(time),
                        None => first_from(&segment.batch_at(position, header)?, from),
                    };
                }
                Ok(found.is_none())
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first of the visible records that have the largest timestamp.
    pub(crate) fn max_timestamp(&self) -> Result<Option<RecordTime>, StorageError> {
        let offsets = self.offsets().snapshot();
        let list = self.list();
        let mut best: Option<RecordTime> = None;
        for segment in list.all() {
            let limit = segment.max_timestamp().timestamp;
            if limit != NO_TIMESTAMP && best.is_none_or(|best| best.timestamp < limit) {
                best = largest_in(segment, &offsets, best)?;
            }
        }
        Ok(best)
    }
}

/// The larger of `best` and the largest in the visible part of a segment.
///
/// The index says where the largest up to some visible batch is; the headers from there on say which
/// batch has the largest of all, and only that one is opened.
fn largest_in(
    segment: &LogSegment,
    offsets: &LogOffsetsSnapshot,
    best: Option<RecordTime>,
) -> Result<Option<RecordTime>, StorageError> {
    let from = offsets.log_start;
    let (end, max) = (segment.visible_len(), segment.max_timestamp());
    let known = if max.offset < offsets.high_watermark {
        segment.lookup(max.offset)?
    } else {
        segment.lookup_time_before(offsets.high_watermark)?
    };
    let start = known.position.max(segment.lookup(from)?.position);
    let is_larger =
        |best: Option<i64>, timestamp: i64| best.is_none_or(|largest| largest < timestamp);
    let mut best = best;
    let mut widest: Option<(u64, BatchHeader, i64)> = None;
    segment.walk(u64::from(start), end, |position, header| {
        let limit = header.max_timestamp;
        if header.base_offset < from {
            // Only a part of this batch counts.
            best = larger(best, largest_of(segment, position, header, from)?);
        } else if is_larger(widest.map(|(.., widest)| widest), limit) {
            widest = Some((position, *header, limit));
        }
        Ok(header.base_offset < from || header.last_offset() != max.offset)
    })?;
    if let Some((position, header, limit)) = widest
        && is_larger(best.map(|best| best.timestamp), limit)
    {
        best = larger(best, largest_of(segment, position, &header, from)?);
    }
    Ok(best)
}

fn largest_of(
    segment: &LogSegment,
    position: u64,
    header: &BatchHeader,
    from: i64,
) -> Result<Option<RecordTime>, StorageError> {
    let batch = segment.batch_at(position, header)?;
    Ok(largest(&batch, from))
}

/// The one with the larger timestamp, the first of equal ones.
fn larger(first: Option<RecordTime>, second: Option<RecordTime>) -> Option<RecordTime> {
    match (first, second) {
        (Some(first), Some(second)) if second.timestamp > first.timestamp => Some(second),
        (first, second) => first.or(second),
    }
}
