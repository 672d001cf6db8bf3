//! Lines of the log that others could make us write without end.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tidewheel_config::limits;

use crate::clock;

/// Lets a few lines pass at once and then one from time to time; counts those that do not.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// When as many may pass at once again, in steady ms.
    full_ms: AtomicI64,
    unsaid: AtomicU64,
}

impl RateLimit {
    /// One that has let nothing pass yet.
    pub(crate) const fn new() -> Self {
        Self {
            full_ms: AtomicI64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }

    /// Whether a line may be written now: how many were not since the last one.
    pub(crate) fn passes(&self) -> Option<u64> {
        self.passes_at(clock::steady_ms())
    }

    fn passes_at(&self, now_ms: i64) -> Option<u64> {
        let ahead_max = limits::LOG_LINES_AT_ONCE * limits::LOG_LINE_EVERY_MS;
        let taken = |full_ms: i64| {
            let full_ms = full_ms.max(now_ms) + limits::LOG_LINE_EVERY_MS;
            (full_ms - now_ms <= ahead_max).then_some(full_ms)
        };
        // Each counts for itself: nothing else is read because of it.
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.full_ms.fetch_update(set, read, taken).is_ok() {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_pass_at_once_then_one_from_time_to_time_and_the_others_are_counted() {
        const EVERY_MS: i64 = limits::LOG_LINE_EVERY_MS;
        let limit = RateLimit::new();
        for _ in 0..limits::LOG_LINES_AT_ONCE {
            assert_eq!(limit.passes_at(1_000), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(limit.passes_at(1_000), None);
        }
        assert_eq!(limit.passes_at(1_000 + EVERY_MS - 1), None);
        assert_eq!(limit.passes_at(1_000 + EVERY_MS), Some(8));
        assert_eq!(limit.passes_at(1_000 + EVERY_MS), None);
        // After a pause as many as before, and no more.
        let later_ms = 1_000 + 100 * EVERY_MS;
        let passed = (0..100).filter(|_| limit.passes_at(later_ms).is_some());
        assert_eq!(
            passed.count(),
            usize::try_from(limits::LOG_LINES_AT_ONCE).unwrap()
        );
    }
}
