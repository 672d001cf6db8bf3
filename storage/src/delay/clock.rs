//! When the wall clock can be believed. Due times are wall time, so a clock that jumps ahead would fire what
//! is due next year.
//!
//! Beside the wall clock there is one that nobody sets and that goes on while the machine sleeps
//! (CLOCK_BOOTTIME). Between two looks both go on by the same, up to what clocks drift and daemons put right.
//! - The wall clock went back: what is pending waits, nothing else. The queue never delivers early.
//! - It jumped ahead by no more than the tolerance: believed. The same holds for a machine that slept: both
//!   clocks went on, and all that is overdue comes out.
//! - It jumped ahead by more: deliveries are held until somebody accepts the time, until the clock is put
//!   back, or until it has stayed where it is for a while.

/// How far ahead the wall clock may jump without being doubted, in ms: 5 minutes.
pub const CLOCK_TOLERANCE_MS: i64 = 300_000;
/// After how long a clock that jumped ahead and stayed there is believed, in ms: 30 minutes.
pub const CLOCK_ACCEPT_MS: i64 = 1_800_000;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// ms since 1970.
    pub wall_ms: i64,
    /// ms since the machine started, sleep included.
    pub boot_ms: i64,
}

impl ClockReading {
    /// What the wall clock shows beyond the other one.
    fn offset_ms(self) -> i64 {
        self.wall_ms.saturating_sub(self.boot_ms)
    }
}

/// What a look at the clocks says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockVerdict {
    /// Deliver what is due.
    Believed,
    /// Deliver nothing.
    Held {
        /// How far the clock jumped, in ms.
        jumped_ms: i64,
        /// When it will be believed if it stays, as the boot clock counts, in ms.
        until_boot_ms: i64,
    },
}

/// A jump that is not believed yet.
#[derive(Clone, Copy, Debug)]
struct Hold {
    /// The offset after the jump.
    offset_ms: i64,
    since_boot_ms: i64,
}

/// Watches the wall clock. See the module's head.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// The offset that is believed.
    offset_ms: i64,
    tolerance_ms: i64,
    accept_ms: i64,
    hold: Option<Hold>,
}

impl WallClock {
    /// Believes the clock as it is now: nothing is known from before the process started.
    #[must_use]
    pub fn new(reading: ClockReading) -> Self {
        Self {
            offset_ms: reading.offset_ms(),
            tolerance_ms: CLOCK_TOLERANCE_MS,
            accept_ms: CLOCK_ACCEPT_MS,
            hold: None,
        }
    }

    /// Looks at the clocks; before every [`super::DelayQueue::fire`].
    pub fn observe(&mut self, reading: ClockReading) -> ClockVerdict {
        let offset_ms = reading.offset_ms();
        let jumped_ms = offset_ms.saturating_sub(self.offset_ms);
        if jumped_ms <= self.tolerance_ms {
            self.believe(offset_ms);
            return ClockVerdict::Believed;
        }
        let moved = |hold: &Hold| {
            let moved_ms = offset_ms.saturating_sub(hold.offset_ms);
            moved_ms.saturating_abs() > self.tolerance_ms
        };
        let hold = match self.hold {
            Some(hold) if !moved(&hold) => hold,
            _ => Hold {
                offset_ms,
                since_boot_ms: reading.boot_ms,
            },
        };
        let until_boot_ms = hold.since_boot_ms.saturating_add(self.accept_ms);
        if reading.boot_ms >= until_boot_ms {
            self.believe(offset_ms);
            return ClockVerdict::Believed;
        }
        self.hold = Some(hold);
        ClockVerdict::Held {
            jumped_ms,
            until_boot_ms,
        }
    }

    /// Somebody says that the time is right.
    pub fn accept(&mut self, reading: ClockReading) {
        self.believe(reading.offset_ms());
    }

    fn believe(&mut self, offset_ms: i64) {
        self.offset_ms = offset_ms;
        self.hold = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;

    fn at(wall_ms: i64, boot_ms: i64) -> ClockReading {
        ClockReading { wall_ms, boot_ms }
    }

    #[test]
    fn a_clock_that_runs_drifts_or_sleeps_is_believed() {
        let mut clock = WallClock::new(at(1_000_000, 5));
        for (wall, boot) in [
            (1_000_001, 6),
            // Put right by a second, then back.
            (1_001_010, 15),
            (1_000_016, 21),
            // The machine slept for an hour.
            (1_000_016 + HOUR, 21 + HOUR),
            // Exactly the tolerance.
            (1_000_016 + HOUR + CLOCK_TOLERANCE_MS, 21 + HOUR),
        ] {
            assert_eq!(clock.observe(at(wall, boot)), ClockVerdict::Believed);
        }
    }

    #[test]
    fn a_jump_ahead_is_held_until_it_is_undone_accepted_or_old() {
        let start = WallClock::new(at(0, 0));
        let jumped = at(YEAR + 1_000, 1_000);
        let held = ClockVerdict::Held {
            jumped_ms: YEAR,
            until_boot_ms: 1_000 + CLOCK_ACCEPT_MS,
        };
        let mut clock = start;
        assert_eq!(clock.observe(jumped), held);
        assert_eq!(clock.observe(at(2_000, 2_000)), ClockVerdict::Believed);

        let mut clock = start;
        assert_eq!(clock.observe(jumped), held);
        clock.accept(jumped);
        assert_eq!(clock.observe(jumped), ClockVerdict::Believed);

        let mut clock = start;
        assert_eq!(clock.observe(jumped), held);
        let almost = 999 + CLOCK_ACCEPT_MS;
        assert_eq!(clock.observe(at(YEAR + almost, almost)), held);
        let later = almost + 1;
        assert_eq!(
            clock.observe(at(YEAR + later, later)),
            ClockVerdict::Believed
        );
        assert_eq!(
            clock.observe(at(YEAR + later, later)),
            ClockVerdict::Believed
        );
    }

    #[test]
    fn a_clock_that_goes_on_jumping_waits_anew() {
        let mut clock = WallClock::new(at(0, 0));
        for hour in 1..100 {
            let verdict = clock.observe(at(hour * 2 * HOUR, hour * 60_000));
            assert!(matches!(verdict, ClockVerdict::Held { .. }), "{hour}");
        }
    }

    #[test]
    fn a_step_back_is_believed_and_extremes_do_not_overflow() {
        let mut clock = WallClock::new(at(10 * HOUR, 0));
        assert_eq!(clock.observe(at(9 * HOUR, 0)), ClockVerdict::Believed);
        let back_again = clock.observe(at(10 * HOUR, 0));
        assert!(
            matches!(back_again, ClockVerdict::Held { .. }),
            "an hour is more than 5 minutes"
        );
        for wall in [i64::MIN, i64::MAX, 0] {
            for boot in [i64::MIN, i64::MAX, 0] {
                clock.observe(at(wall, boot));
            }
        }
    }
}
