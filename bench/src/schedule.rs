//! When records are due.
//!
//! In an open loop the time of every record is fixed before the run, whatever the broker does: a stall
//! moves nothing, what came due meanwhile is sent at once after it, and its latency counts from the time
//! it was due. That is what keeps a stall visible (the opposite is called coordinated omission).

/// Nanoseconds of a second, times the thousandths a rate is kept in.
const NANOS_BY_MILLIS: u128 = 1_000_000_000_000;

/// When the records of one producer are due, in nanoseconds of the run's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    start: u64,
    total: u64,
    /// Thousandths of records per second, over all producers.
    millirate: u64,
    /// This producer's records are every `stride`-th, beginning with number `offset`.
    stride: u64,
    offset: u64,
}

impl Schedule {
    /// The share of producer `index` of `count` in a schedule of `rate` records per second that begins at
    /// `start` and lasts `duration`, both in nanoseconds. The producers take turns record by record.
    #[must_use]
    pub fn new(start: u64, duration: u64, rate: f64, index: u64, count: u64) -> Self {
        let millirate = crate::values::whole(rate * 1000.0).max(1);
        let count = count.max(1);
        let all = u128::from(duration) * u128::from(millirate);
        // Due strictly before the end.
        let all = u64::try_from(all.div_ceil(NANOS_BY_MILLIS)).unwrap_or(u64::MAX);
        let total = all.saturating_sub(index).div_ceil(count);
        Self {
            start,
            total,
            millirate,
            stride: count,
            offset: index,
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Ends it after so many records.
    pub fn cut(&mut self, total: u64) {
        self.total = self.total.min(total);
    }

    /// When a record is due.
    #[must_use]
    pub fn due_at(&self, index: u64) -> u64 {
        let global = u128::from(index) * u128::from(self.stride) + u128::from(self.offset);
        let after = global * NANOS_BY_MILLIS / u128::from(self.millirate);
        self.start
            .saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }

    /// How many records are due by now, those that were sent included.
    #[must_use]
    pub fn due_by(&self, now: u64) -> u64 {
        let Some(passed) = now.checked_sub(self.start) else {
            return 0;
        };
        // Record g of all is due when g <= (passed + 1) * rate - 1, that is g * 1e12 / rate <= passed.
        let limit = (u128::from(passed) + 1) * u128::from(self.millirate);
        let all = limit.div_ceil(NANOS_BY_MILLIS);
        let mine = all.saturating_sub(u128::from(self.offset));
        let mine = mine.div_ceil(u128::from(self.stride));
        u64::try_from(mine).unwrap_or(u64::MAX).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    proptest! {
        #[test]
        fn the_count_of_due_records_agrees_with_their_times(
            start in 0..SECOND,
            duration in 1..20 * SECOND,
            rate in 0.01_f64..3_000_000.0,
            count in 1_u64..9,
            index in 0_u64..9,
            passed in 0..30 * SECOND,
        ) {
            let schedule = Schedule::new(start, duration, rate, index % count, count);
            let now = start + passed;
            let due = schedule.due_by(now);
            prop_assert!(due <= schedule.total());
            if due > 0 {
                prop_assert!(schedule.due_at(due - 1) <= now);
            }
            if due < schedule.total() {
                prop_assert!(schedule.due_at(due) > now);
            }
            if schedule.total() > 0 {
                prop_assert!(schedule.due_at(schedule.total() - 1) < start + duration);
            }
            prop_assert!(schedule.due_at(schedule.total()) >= start + duration);
        }

        #[test]
        fn producers_together_make_the_whole_rate(
            duration in 1..20 * SECOND,
            rate in 0.01_f64..3_000_000.0,
            count in 1_u64..9,
        ) {
            let whole = Schedule::new(0, duration, rate, 0, 1).total();
            let parts = (0..count).map(|index| Schedule::new(0, duration, rate, index, count).total());
            prop_assert_eq!(parts.sum::<u64>(), whole);
        }
    }

    #[test]
    fn times_do_not_drift() {
        let schedule = Schedule::new(0, 3600 * SECOND, 3.0, 0, 1);
        assert_eq!(schedule.total(), 10_800);
        assert_eq!(schedule.due_at(10_797), 3599 * SECOND);
    }

    #[test]
    fn a_stall_moves_nothing() {
        // 1,000 a second, and nobody looks for three seconds: all that came due is due at its own time.
        let schedule = Schedule::new(0, 10 * SECOND, 1000.0, 0, 1);
        assert_eq!(schedule.due_by(SECOND), 1001);
        let after_stall = 4 * SECOND;
        assert_eq!(schedule.due_by(after_stall), 4001);
        assert_eq!(schedule.due_at(1001), SECOND + 1_000_000);
        assert_eq!(schedule.due_at(4000), after_stall);
    }

    #[test]
    fn producers_take_turns() {
        let first = Schedule::new(0, SECOND, 1000.0, 0, 2);
        let second = Schedule::new(0, SECOND, 1000.0, 1, 2);
        assert_eq!((first.due_at(0), second.due_at(0)), (0, 1_000_000));
        assert_eq!((first.due_at(1), second.due_at(1)), (2_000_000, 3_000_000));
    }
}
