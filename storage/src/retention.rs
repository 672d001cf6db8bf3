//! Which segments may go. Pure: the decision is made from numbers, nothing is touched.
//!
//! As Kafka decides it: from the oldest on, a segment goes while all its records are older than
//! `retention.ms`, or while the log without it is still at least `retention.bytes` long, or where
//! all its records lie before the log start. Segments with records above the high watermark stay.
//! The active segment may be among them; the caller rolls first, so that the log keeps its end.

use tidewheel_config::LogConfig;

/// A segment, as far as retention is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    /// Offset after its last record.
    pub(crate) end_offset: i64,
    /// Bytes of its `.log` file.
    pub(crate) bytes: u64,
    /// The largest timestamp of its records, or where they have none the time of the last write, ms
    /// since 1970; negative where that is unknown too.
    pub(crate) max_timestamp: i64,
}

/// What retention goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetentionLimits {
    /// `retention.ms`, negative for none.
    pub(crate) retention_ms: i64,
    /// `retention.bytes`, negative for none.
    pub(crate) retention_bytes: i64,
    /// The first offset that may be read.
    pub(crate) log_start: i64,
    /// Records from here on stay.
    pub(crate) high_watermark: i64,
    /// ms since 1970.
    pub(crate) now_ms: i64,
}

impl RetentionLimits {
    /// The limits of a topic at some moment.
    pub(crate) fn new(
        config: &LogConfig,
        log_start: i64,
        high_watermark: i64,
        now_ms: i64,
    ) -> Self {
        // What a topic that is only compacted holds goes by DeleteRecords alone.
        let limit = |limit| match config.cleanup_policy.delete {
            true => limit,
            false => -1,
        };
        // What was held back is as old as the time it could be read.
        let held_ms = config.delay.holds_back().unwrap_or(0);
        let retention_ms = match limit(config.retention_ms) {
            negative @ ..0 => negative,
            limit => limit.saturating_add(held_ms),
        };
        Self {
            retention_ms,
            retention_bytes: limit(config.retention_bytes),
            log_start,
            high_watermark,
            now_ms,
        }
    }

    fn expired(&self, segment: &SegmentFacts) -> bool {
        self.retention_ms >= 0
            && segment.max_timestamp >= 0
            && self.now_ms.saturating_sub(segment.max_timestamp) > self.retention_ms
    }
}

/// How many segments go, and why. Where several reasons hold, the first here counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedSegments {
    /// Their records were older than `retention.ms`.
    pub by_age: usize,
    /// The log was longer than `retention.bytes`.
    pub by_size: usize,
    /// All their records lay before the log start.
    pub by_start: usize,
}

impl DeletedSegments {
    /// All of them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_age + self.by_size + self.by_start
    }
}

/// How many segments go, counted from the oldest; `segments` are in order and the last is active.
pub(crate) fn segments_to_delete(
    segments: &[SegmentFacts],
    limits: &RetentionLimits,
) -> DeletedSegments {
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut excess = match u64::try_from(limits.retention_bytes) {
        Ok(allowed) => total.saturating_sub(allowed),
        Err(_) => 0,
    };
    let mut deleted = DeletedSegments::default();
    for (at, segment) in segments.iter().enumerate() {
        let active = at + 1 == segments.len();
        if segment.end_offset > limits.high_watermark || (active && segment.bytes == 0) {
            break;
        }
        if limits.expired(segment) {
            deleted.by_age += 1;
        } else if excess > 0 && excess >= segment.bytes {
            deleted.by_size += 1;
        } else if !active && segment.end_offset <= limits.log_start {
            deleted.by_start += 1;
        } else {
            break;
        }
        excess = excess.saturating_sub(segment.bytes);
    }
    deleted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments_to_delete(segments: &[SegmentFacts], limits: &RetentionLimits) -> usize {
        super::segments_to_delete(segments, limits).count()
    }

    fn facts(segments: &[(i64, u64, i64)]) -> Vec<SegmentFacts> {
        let fact = |&(end_offset, bytes, max_timestamp)| SegmentFacts {
            end_offset,
            bytes,
            max_timestamp,
        };
        segments.iter().map(fact).collect()
    }

    const NONE: RetentionLimits = RetentionLimits {
        retention_ms: -1,
        retention_bytes: -1,
        log_start: 0,
        high_watermark: 100,
        now_ms: 1_000,
    };

    #[test]
    fn time_counts_from_the_largest_timestamp_and_stops_at_the_first_that_stays() {
        let segments = facts(&[(10, 5, 100), (20, 5, 300), (30, 5, 200), (40, 5, 990)]);
        let count = |retention_ms| {
            segments_to_delete(
                &segments,
                &RetentionLimits {
                    retention_ms,
                    ..NONE
                },
            )
        };
        assert_eq!(count(-1), 0);
        assert_eq!(count(900), 0, "exactly as old as allowed stays");
        assert_eq!(count(899), 1);
        assert_eq!(
            count(750),
            1,
            "an expired segment behind one that stays waits for it"
        );
        assert_eq!(count(699), 3);
        assert_eq!(count(0), 4, "the active segment goes too");
        let undated = facts(&[(10, 5, -1), (20, 5, 100)]);
        assert_eq!(
            segments_to_delete(
                &undated,
                &RetentionLimits {
                    retention_ms: 0,
                    ..NONE
                }
            ),
            0
        );
    }

    #[test]
    fn size_keeps_at_least_what_is_allowed() {
        let segments = facts(&[(10, 40, 1), (20, 40, 1), (30, 20, 1)]);
        let count = |retention_bytes| {
            segments_to_delete(
                &segments,
                &RetentionLimits {
                    retention_bytes,
                    ..NONE
                },
            )
        };
        assert_eq!(count(100), 0);
        assert_eq!(
            count(61),
            0,
            "without the first, less than allowed would be left"
        );
        assert_eq!(count(60), 1);
        assert_eq!(count(20), 2);
        assert_eq!(count(0), 3);
    }

    #[test]
    fn segments_before_the_log_start_go_but_nothing_above_the_high_watermark() {
        let segments = facts(&[(10, 5, 1), (20, 5, 1), (30, 5, 1)]);
        let limits = RetentionLimits {
            log_start: 25,
            ..NONE
        };
        assert_eq!(segments_to_delete(&segments, &limits), 2);
        let limits = RetentionLimits {
            log_start: 30,
            ..NONE
        };
        assert_eq!(
            segments_to_delete(&segments, &limits),
            2,
            "the active one holds the log end"
        );
        let limits = RetentionLimits {
            retention_ms: 0,
            high_watermark: 15,
            ..NONE
        };
        assert_eq!(segments_to_delete(&segments, &limits), 1);
        let empty_active = facts(&[(10, 5, 1), (10, 0, -1)]);
        assert_eq!(
            segments_to_delete(
                &empty_active,
                &RetentionLimits {
                    retention_bytes: 0,
                    ..NONE
                }
            ),
            1
        );
    }

    #[test]
    fn each_goes_for_one_reason() {
        let segments = facts(&[(10, 5, 1), (20, 40, 500), (30, 5, 900), (40, 5, 950)]);
        let limits = RetentionLimits {
            retention_ms: 600,
            retention_bytes: 10,
            log_start: 30,
            ..NONE
        };
        let deleted = super::segments_to_delete(&segments, &limits);
        let expected = DeletedSegments {
            by_age: 1,
            by_size: 1,
            by_start: 1,
        };
        assert_eq!(deleted, expected);
    }
}
