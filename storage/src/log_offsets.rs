//! The offsets of one partition that everybody may read and only the lock holder moves.
//!
//! `log_start <= last_stable <= high_watermark <= log_end` and `durable <= log_end` hold in every
//! [`LogOffsetsSnapshot`], although it is taken without a lock: each value only grows, the writer
//! stores from the end to the start (`publish`), the reader loads from the start to the end
//! (`snapshot`), and each store is a release that pairs with the acquire load of the same value.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The offsets of a partition at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOffsetsSnapshot {
    /// Offset of the first record that may be read.
    pub log_start: i64,
    /// Offset after the last record that consumers may see.
    pub high_watermark: i64,
    /// Offset after the last record of a decided transaction: the high watermark until there are transactions.
    pub last_stable: i64,
    /// Offset that the next record gets.
    pub log_end: i64,
    /// Every record below this offset is on the disk.
    pub durable: i64,
}

/// How far a partition shows its log to readers. Both values only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VisibleEnd {
    /// Bytes below the high watermark since the log was opened.
    pub bytes: u64,
    /// Base offset of the segment that holds the high watermark.
    pub segment_base: i64,
}

/// A place in the log: an offset together with where it lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPoint {
    /// The offset of the record that starts (or will start) here.
    pub(crate) offset: i64,
    /// Bytes of log before this point, counted since the log was opened.
    pub(crate) bytes: u64,
    /// Base offset of the segment the point lies in.
    pub(crate) segment_base: i64,
    /// Bytes from the start of that segment's file.
    pub(crate) position: u64,
}

/// The shared atomics behind [`LogOffsetsSnapshot`]. One writer (the holder of the log's mutex), any number of readers.
#[derive(Debug, Default)]
pub(crate) struct LogOffsets {
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    durable: AtomicI64,
    log_end: AtomicI64,
    visible_bytes: AtomicU64,
    visible_segment: AtomicI64,
}

impl LogOffsets {
    /// Stores new values; the caller holds the log's mutex and never moves a value back.
    pub(crate) fn publish(&self, offsets: LogOffsetsSnapshot, visible: VisibleEnd) {
        debug_assert!(
            offsets.log_start <= offsets.high_watermark
                && offsets.high_watermark <= offsets.log_end
        );
        debug_assert!(offsets.durable <= offsets.log_end);
        self.log_end.store(offsets.log_end, Ordering::Release);
        self.durable.store(offsets.durable, Ordering::Release);
        self.high_watermark
            .store(offsets.high_watermark, Ordering::Release);
        self.log_start.store(offsets.log_start, Ordering::Release);
        self.visible_segment
            .store(visible.segment_base, Ordering::Release);
        self.visible_bytes.store(visible.bytes, Ordering::Release);
    }

    /// Reads all values without a lock, consistent as the module head says.
    pub(crate) fn snapshot(&self) -> LogOffsetsSnapshot {
        let log_start = self.log_start.load(Ordering::Acquire);
        let high_watermark = self.high_watermark.load(Ordering::Acquire);
        let durable = self.durable.load(Ordering::Acquire);
        let log_end = self.log_end.load(Ordering::Acquire);
        LogOffsetsSnapshot {
            log_start,
            high_watermark,
            last_stable: high_watermark,
            log_end,
            durable,
        }
    }

    /// How far readers see. The segment is never older than the bytes.
    pub(crate) fn visible_end(&self) -> VisibleEnd {
        let bytes = self.visible_bytes.load(Ordering::Acquire);
        let segment_base = self.visible_segment.load(Ordering::Acquire);
        VisibleEnd {
            bytes,
            segment_base,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_snapshot_taken_beside_the_writer_is_ordered() {
        let offsets = Arc::new(LogOffsets::default());
        let done = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for end in 0..200_000_i64 {
                    let high_watermark = end - end % 7;
                    let log_start = high_watermark - high_watermark % 11;
                    let durable = end - end % 3;
                    let next = LogOffsetsSnapshot {
                        log_start,
                        high_watermark,
                        last_stable: high_watermark,
                        log_end: end,
                        durable,
                    };
                    offsets.publish(next, VisibleEnd::default());
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let seen = offsets.snapshot();
                assert!(seen.log_start <= seen.high_watermark, "{seen:?}");
                assert!(seen.high_watermark <= seen.log_end, "{seen:?}");
                assert!(seen.durable <= seen.log_end, "{seen:?}");
            }
        });
    }
}
