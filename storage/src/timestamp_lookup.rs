//! From times to offsets: the first record at or after a time, and the record with the largest.
//!
//! The time index says in which segment and from which batch on to look; the batch is then opened,
//! compressed or not, because the answer is a record. Only records between the log start and the
//! high watermark count.

use crate::error::StorageError;
use crate::index::NO_TIMESTAMP;
use crate::log_reader::LogReader;
use crate::segment::LogSegment;
use crate::timestamps::{RecordTime, first_at_or_after, largest};

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
                if segment.batch_max_timestamp(position, header)? >= timestamp {
                    let batch = segment.batch_at(position, header)?;
                    found = first_at_or_after(&batch, timestamp, from)
                        .map_err(|error| segment.corrupt(position, &error))?;
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
        let from = self.offsets().snapshot().log_start;
        let list = self.list();
        let mut best: Option<RecordTime> = None;
        for segment in list.all() {
            let limit = segment.max_timestamp().timestamp;
            if limit != NO_TIMESTAMP && best.is_none_or(|best| best.timestamp < limit) {
                best = largest_in(segment, from, best)?;
            }
        }
        Ok(best)
    }
}

/// The larger of `best` and the largest in the visible part of a segment.
///
/// The segment's recorded maximum leads straight to its batch, unless that batch is not visible yet
/// or lies before the log start: then every batch is looked at.
fn largest_in(
    segment: &LogSegment,
    from: i64,
    best: Option<RecordTime>,
) -> Result<Option<RecordTime>, StorageError> {
    let end = segment.visible_len();
    let max = segment.max_timestamp();
    let start = u64::from(segment.lookup(max.offset)?.position);
    let mut direct = None;
    segment.walk(start, end, |position, header| {
        if header.last_offset() == max.offset && header.base_offset >= from {
            let batch = segment.batch_at(position, header)?;
            direct = largest(&batch, from).map_err(|error| segment.corrupt(position, &error))?;
        }
        Ok(header.last_offset() < max.offset)
    })?;
    if direct.is_some() {
        // The caller knows that the segment's maximum is above `best`.
        return Ok(direct);
    }
    let mut best = best;
    segment.walk(0, end, |position, header| {
        let limit = segment.batch_max_timestamp(position, header)?;
        if best.is_none_or(|best| best.timestamp < limit) {
            let batch = segment.batch_at(position, header)?;
            let found = largest(&batch, from).map_err(|error| segment.corrupt(position, &error))?;
            if found.is_some_and(|found| best.is_none_or(|best| best.timestamp < found.timestamp)) {
                best = found;
            }
        }
        Ok(true)
    })?;
    Ok(best)
}
