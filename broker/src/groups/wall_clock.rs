//! The wall clock, watched for being set.

use crate::clock::Clock;

/// A clock that runs fast or slow by less than this is not looked upon as set.
const SET_MS: i64 = 1_000;

/// Tells the time, and by how much the clock was set since the last look. The coordinator needs the wall
/// clock, by which offsets expire, also those of an earlier start; its sessions must not end with it.
pub(super) struct WallClock {
    clock: Clock,
    /// By how much it was ahead of the monotonic clock.
    ahead_ms: i64,
}

impl WallClock {
    pub(super) fn new(clock: Clock) -> Self {
        let (now_ms, steady_ms) = clock.now_and_steady_ms();
        Self {
            clock,
            ahead_ms: now_ms - steady_ms,
        }
    }

    /// Milliseconds since 1970, and how many of them come from setting the clock.
    pub(super) fn look(&mut self) -> (i64, i64) {
        let (now_ms, steady_ms) = self.clock.now_and_steady_ms();
        (now_ms, self.set_by(now_ms, steady_ms))
    }

    fn set_by(&mut self, now_ms: i64, steady_ms: i64) -> i64 {
        let by_ms = now_ms - steady_ms - self.ahead_ms;
        if by_ms.abs() < SET_MS {
            return 0;
        }
        self.ahead_ms += by_ms;
        by_ms
    }

    /// The clock is set from here on.
    #[cfg(test)]
    pub(super) fn set(&mut self, by_ms: i64) {
        self.ahead_ms -= by_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_shows_once_and_one_that_drifts_when_it_is_a_second_off() {
        let mut clock = WallClock {
            clock: Clock::default(),
            ahead_ms: 1_000_000,
        };
        assert_eq!(clock.set_by(1_000_000, 0), 0);
        assert_eq!(clock.set_by(1_000_500, 500), 0);
        assert_eq!(clock.set_by(4_600_600, 600), 3_600_000);
        assert_eq!(clock.set_by(4_600_700, 700), 0);
        assert_eq!(clock.set_by(1_000_800, 800), -3_600_000);
        assert_eq!(clock.set_by(1_001_799, 800), 0);
        assert_eq!(clock.set_by(1_001_800, 800), 1_000);
        assert_eq!(clock.set_by(1_001_801, 800), 0);
    }
}
