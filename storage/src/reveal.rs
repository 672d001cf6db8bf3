//! Fixed delays: every record of a topic becomes visible so long after the broker received it.
//!
//! A constant delay keeps the order of records, so they lie in the log as on any topic, and only the high
//! watermark stays behind: before the first batch whose time has not come. Nothing is kept in memory for what
//! waits. Whoever owns the logs calls [`crate::SharedLog::reveal`] at the time that the last call named; it reads
//! headers from there on.

use std::sync::Arc;

use tidewheel_protocol::{BatchHeader, TimestampType};

use crate::delay::DelayKey;
use crate::error::StorageError;
use crate::log_offsets::LogPoint;
use crate::partition_log::PartitionLog;
use crate::segments::SegmentList;

/// Batches that one look goes through.
const BATCHES_MAX: usize = 10_000;

/// The part of a log that is hidden, at one moment.
#[derive(Debug)]
pub(crate) struct HiddenPart {
    /// Where it begins.
    pub(crate) from: LogPoint,
    /// The end of the log.
    pub(crate) end: LogPoint,
    /// The segments.
    pub(crate) list: Arc<SegmentList>,
}

impl HiddenPart {
    /// The first point whose time has not come at `now_ms`, and when to look again: `None` where nothing is left.
    /// What lies before `shown` was seen already, whatever the settings and the clock say now.
    fn look(
        &self,
        shown: i64,
        delay_ms: i64,
        now_ms: i64,
    ) -> Result<(LogPoint, Option<i64>), StorageError> {
        let (mut point, mut next_ms, mut count) = (self.from, None, 0);
        for segment in self.list.starting_at(self.from.offset) {
            let base = segment.base_offset();
            if base > self.end.segment_base {
                break;
            }
            if base > point.segment_base {
                point = LogPoint {
                    segment_base: base,
                    position: 0,
                    ..point
                };
            }
            let stop = match base == self.end.segment_base {
                true => self.end.position,
                false => segment.published_len(),
            };
            segment.walk(point.position, stop, |position, header| {
                let visible_ms = match header.next_offset() <= shown {
                    true => i64::MIN,
                    false => visible_ms(header, delay_ms),
                };
                if visible_ms > now_ms || count == BATCHES_MAX {
                    next_ms = Some(visible_ms.max(now_ms));
                    return Ok(false);
                }
                let size = header.size_in_bytes() as u64;
                count += 1;
                point = LogPoint {
                    offset: header.next_offset().max(point.offset),
                    bytes: point.bytes + size,
                    segment_base: base,
                    position: position + size,
                };
                Ok(true)
            })?;
            if next_ms.is_some() {
                break;
            }
        }
        Ok((point, next_ms))
    }
}

/// When a batch becomes visible, ms since 1970. One from a time when the topic had no fixed delay does at once,
/// and so does one that was delayed otherwise before it was appended.
fn visible_ms(header: &BatchHeader, delay_ms: i64) -> i64 {
    let dated = header.timestamp_type() == TimestampType::LogAppendTime;
    match dated && DelayKey::of_header(header).is_none() {
        true => header.max_timestamp.saturating_add(delay_ms),
        false => i64::MIN,
    }
}

impl PartitionLog {
    /// Shows readers what has waited for as long as the settings say; when to look again, ms since 1970, and `None`
    /// where nothing waits. Only one thread calls it.
    pub(crate) fn reveal(&self, now_ms: i64) -> Result<Option<i64>, StorageError> {
        let Some(hidden) = self.lock().hidden() else {
            return Ok(None);
        };
        let Some(delay_ms) = self.config().load().delay.holds_back() else {
            self.lock().show_all();
            return Ok(None);
        };
        let (point, next_ms) = hidden.look(self.shown_at_start, delay_ms, now_ms)?;
        self.lock().show_until(point);
        Ok(next_ms)
    }

    /// At a start, before anybody reads: hides what may not have been visible yet.
    pub(crate) fn hide_pending(&self) {
        if self.config().load().delay.holds_back().is_some() {
            self.lock().hide_from(self.shown_at_start);
        }
    }
}
