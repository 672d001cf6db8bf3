//! What of a log may be compacted now, and whether it is worth it.
//!
//! Never the active segment, nothing above the high watermark or the recovery point that is written down,
//! nothing younger than `min.compaction.lag.ms`. Behind the written recovery point every batch is checked
//! by a start, one following the other without a hole; so holes lie only where a start trusts what it finds.

use std::sync::Arc;

use tidewheel_config::LogConfig;

use crate::error::StorageError;
use crate::log::Log;
use crate::segment::LogSegment;
use crate::segments::SegmentList;

/// What is looked at: one consistent cut of a log.
#[derive(Debug)]
pub(crate) struct CleaningView {
    /// The segments.
    pub(crate) list: Arc<SegmentList>,
    /// The first offset that may be read.
    pub(crate) log_start: i64,
    /// Offset after the last record.
    pub(crate) log_end: i64,
    /// Nothing from here on may be touched.
    pub(crate) limit: i64,
}

impl CleaningView {
    /// A view of `log`, whose recovery point in the directory's checkpoint is `recovery_point`.
    pub(crate) fn of(log: &Log, recovery_point: i64) -> Self {
        let offsets = log.state().offsets();
        let list = Arc::clone(log.segments().list());
        let unsealed = log.segments().unsealed().first();
        let limit = recovery_point
            .min(log.removable_end())
            .min(list.active().base_offset())
            .min(unsealed.map_or(i64::MAX, |unsealed| unsealed.segment.base_offset()));
        Self {
            list,
            log_start: offsets.log_start,
            log_end: offsets.log_end,
            limit,
        }
    }
}

/// Which part of a log a pass would compact, and why.
#[derive(Debug)]
pub(crate) struct Cleanable {
    /// The segments of the pass, from the first of the log on.
    pub(crate) segments: Vec<Arc<LogSegment>>,
    /// What lies before it was compacted by an earlier pass.
    pub(crate) first_dirty: i64,
    /// Offset after the last record of `segments`.
    pub(crate) end: i64,
    /// Bytes that an earlier pass went through.
    pub(crate) clean_bytes: u64,
    /// Bytes that none did.
    pub(crate) dirty_bytes: u64,
    /// Some of them are older than `max.compaction.lag.ms`.
    pub(crate) overdue: bool,
}

impl Cleanable {
    /// Looks at a log that was compacted up to `cleaned_to`. `now_ms` is ms since 1970.
    pub(crate) fn of(
        view: &CleaningView,
        cleaned_to: Option<i64>,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Self, StorageError> {
        let valid = |offset: &i64| view.log_start <= *offset && *offset <= view.log_end;
        let first_dirty = cleaned_to.filter(valid).unwrap_or(view.log_start);
        let mut cleanable = Self {
            segments: Vec::new(),
            first_dirty,
            end: first_dirty,
            clean_bytes: 0,
            dirty_bytes: 0,
            overdue: false,
        };
        let youngest = now_ms.saturating_sub(config.min_compaction_lag_ms);
        let oldest = now_ms.saturating_sub(config.max_compaction_lag_ms);
        for pair in view.list.all().windows(2) {
            let (segment, end) = (&pair[0], pair[1].base_offset());
            if end > view.limit {
                break;
            }
            if end <= first_dirty {
                cleanable.clean_bytes += segment.published_len();
            } else {
                if config.min_compaction_lag_ms > 0 && segment.dated_ms() > youngest {
                    break;
                }
                let began = first_batch_ms(segment)?;
                cleanable.overdue |= began > 0 && began < oldest;
                cleanable.dirty_bytes += segment.published_len();
            }
            cleanable.segments.push(Arc::clone(segment));
            cleanable.end = end;
        }
        Ok(cleanable)
    }

    /// The segments that hold anything up to and with offset `latest`, and where the last of them ends.
    pub(crate) fn up_to(&self, latest: i64) -> (&[Arc<LogSegment>], i64) {
        let begins = |segment: &Arc<LogSegment>| segment.base_offset() <= latest;
        let (covered, others) = self
            .segments
            .split_at(self.segments.partition_point(begins));
        let end = others.first().map_or(self.end, |next| next.base_offset());
        (covered, end)
    }

    /// The share of bytes that no pass went through, from 0 to 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share needs no more digits than a double has"
    )]
    pub(crate) fn dirty_ratio(&self) -> f64 {
        let total = self.clean_bytes + self.dirty_bytes;
        if total == 0 {
            return 0.0;
        }
        self.dirty_bytes as f64 / total as f64
    }

    /// Whether a pass is worth it. `tombstones_due`: tombstones of an earlier pass may go.
    pub(crate) fn is_due(&self, config: &LogConfig, tombstones_due: bool) -> bool {
        let dirty = self.dirty_bytes > 0
            && (self.overdue || self.dirty_ratio() > config.min_cleanable_dirty_ratio);
        dirty || tombstones_due && !self.segments.is_empty()
    }
}

/// The timestamp of a segment's first batch, which after a crash is known by the file only.
fn first_batch_ms(segment: &LogSegment) -> Result<i64, StorageError> {
    let mut timestamp = segment.first_timestamp();
    if timestamp < 0 {
        segment.walk(0, segment.published_len(), |_, header| {
            timestamp = header.max_timestamp;
            Ok(false)
        })?;
    }
    Ok(timestamp)
}

/// What of two segments that follow each other is written to one, in bytes of log and of its indexes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupLimits {
    /// `segment.bytes`.
    pub(crate) log_bytes: u64,
    /// `segment.index.bytes`.
    pub(crate) index_bytes: u64,
    /// `index.interval.bytes`: an entry comes at most so often.
    pub(crate) interval_bytes: u64,
}

impl GroupLimits {
    /// Those that a log's settings ask for.
    pub(crate) fn of(config: &LogConfig) -> Self {
        Self {
            log_bytes: config.segment_bytes.into(),
            index_bytes: config.segment_index_bytes.into(),
            interval_bytes: config.index_interval_bytes.into(),
        }
    }
}

/// A run of segments that becomes one.
#[derive(Debug)]
pub(crate) struct Group {
    /// At least one.
    pub(crate) segments: Vec<Arc<LogSegment>>,
    /// Offset after the last record.
    pub(crate) end: i64,
}

/// Splits segments, the last of which ends at `end`, into runs that fit one segment each.
pub(crate) fn group(segments: &[Arc<LogSegment>], end: i64, limits: GroupLimits) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut bytes = 0;
    for (at, segment) in segments.iter().enumerate() {
        let len = segment.published_len();
        let segment_end = segments.get(at + 1).map_or(end, |next| next.base_offset());
        // An entry of the larger index takes 12 bytes.
        let fits = |base: i64, bytes: u64| {
            bytes <= limits.log_bytes
                && (bytes / limits.interval_bytes.max(1) + 2) * 12 <= limits.index_bytes
                && segment_end - base <= i64::from(i32::MAX)
        };
        match groups.last_mut() {
            Some(last) if fits(last.segments[0].base_offset(), bytes + len) => {
                last.segments.push(Arc::clone(segment));
                last.end = segment_end;
                bytes += len;
            }
            _ => {
                groups.push(Group {
                    segments: vec![Arc::clone(segment)],
                    end: segment_end,
                });
                bytes = len;
            }
        }
    }
    groups
}
