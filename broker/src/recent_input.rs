//! What producers sent to a partition lately, for people who look.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Counts what comes, and remembers two moments of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct RecentInput {
    records: AtomicU64,
    bytes: AtomicU64,
    /// The later one is the second.
    marks: Mutex<[Option<Mark>; 2]>,
}

/// What was counted up to a moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    steady_ms: i64,
    records: u64,
    bytes: u64,
}

/// What comes in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct InputRate {
    pub(crate) records: f64,
    pub(crate) bytes: f64,
}

impl RecentInput {
    /// A batch was appended.
    pub(crate) fn appended(&self, records: i32, bytes: usize) {
        let records = u64::try_from(records).unwrap_or(0);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Remembers this moment in place of the one before the last.
    pub(crate) fn mark(&self, steady_ms: i64) {
        let now = self.at(steady_ms);
        let mut marks = self.marks();
        *marks = [marks[1], Some(now)];
    }

    /// The mean since the moment before the last one that was remembered; `None` where there is none.
    pub(crate) fn per_second(&self, steady_ms: i64) -> Option<InputRate> {
        let [before, last] = *self.marks();
        let (then, now) = (before.or(last)?, self.at(steady_ms));
        let passed_ms = u64::try_from(now.steady_ms.saturating_sub(then.steady_ms)).ok()?;
        let rate = |now: u64, then: u64| (passed_ms > 0).then(|| ratio(now, then, passed_ms));
        Some(InputRate {
            records: rate(now.records, then.records)?,
            bytes: rate(now.bytes, then.bytes)?,
        })
    }

    fn at(&self, steady_ms: i64) -> Mark {
        Mark {
            steady_ms,
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn marks(&self) -> MutexGuard<'_, [Option<Mark>; 2]> {
        // Nothing panics while it is held.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is more by a second, with one digit behind the point.
#[expect(
    clippy::cast_precision_loss,
    reason = "nobody looks at so many digits of a rate"
)]
fn ratio(now: u64, then: u64, passed_ms: u64) -> f64 {
    let tenths = now.saturating_sub(then) as f64 * 10_000.0 / passed_ms as f64;
    tenths.round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_since_the_moment_before_the_last() {
        let input = RecentInput::default();
        input.appended(5, 500);
        assert_eq!(input.per_second(1_000), None, "since when?");
        input.mark(1_000);
        assert_eq!(input.per_second(1_000), None, "no time has passed");
        input.appended(30, 1_000);
        input.appended(-1, 0);
        let rate = |records, bytes| Some(InputRate { records, bytes });
        assert_eq!(input.per_second(4_000), rate(10.0, 333.3));
        input.mark(6_000);
        assert_eq!(input.per_second(11_000), rate(3.0, 100.0));
        input.mark(11_000);
        assert_eq!(input.per_second(12_000), rate(0.0, 0.0));
    }
}
