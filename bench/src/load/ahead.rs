//! Records that are dated ahead, for topics that deliver them when they are due.

use crate::random::Random;
use crate::workload::Workload;

use super::Phases;

const NANOS_PER_MS: i64 = 1_000_000;
/// The one moment of a burst is a round one, so that all producers choose the same.
const ROUND_MS: i64 = 100;

/// When the batches of a producer are due.
#[derive(Debug)]
pub(super) struct Ahead {
    delay: u64,
    spread: u64,
    /// When the load ends and the delays of a burst begin, nanoseconds of the run's clock.
    burst_from: Option<u64>,
    /// The moment of the burst, ms since 1970.
    burst_ms: Option<i64>,
    random: Random,
}

impl Ahead {
    /// `None` where records are of the time at which they are sent.
    pub(super) fn of(workload: &Workload, phases: Phases, seed: u64) -> Option<Self> {
        let delay = workload.delay.nanos();
        (delay > 0).then(|| Self {
            delay,
            spread: workload.spread.nanos(),
            burst_from: workload.burst.then_some(phases.end),
            burst_ms: None,
            random: Random::new(seed),
        })
    }

    /// Whether no two batches are due at the same time.
    pub(super) fn is_spread(&self) -> bool {
        self.spread > 0
    }

    /// The timestamp of a batch that leaves at `now` of the run's clock, when the wall clock shows `wall_ns`,
    /// nanoseconds since 1970; and the first moment at which the wall clock will show it, on the run's clock.
    pub(super) fn date(&mut self, now: u64, wall_ns: i64) -> (i64, u64) {
        let timestamp = match (self.burst_from, self.burst_ms) {
            (_, Some(known)) => known,
            (Some(from), None) => {
                let left = from.saturating_add(self.delay).saturating_sub(now);
                let at_ms = wall_ns.saturating_add(signed(left)) / NANOS_PER_MS;
                let rounded = (at_ms / ROUND_MS + 1) * ROUND_MS;
                *self.burst_ms.insert(rounded)
            }
            (None, None) => {
                let later = self.random.between(0, self.spread);
                let ahead = signed(self.delay.saturating_add(later));
                // Rounded up: never less than was asked for.
                wall_ns.saturating_add(ahead) / NANOS_PER_MS + 1
            }
        };
        let until = timestamp.saturating_mul(NANOS_PER_MS) - wall_ns;
        let due = now.saturating_add(u64::try_from(until).unwrap_or(0));
        (timestamp, due)
    }
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Span;
    use std::time::Duration;

    const WALL: i64 = 1_700_000_000_000_000_000;
    const PHASES: Phases = Phases {
        start: 0,
        measure: 0,
        end: 1_000_000_000,
        deadline: 2_000_000_000,
    };

    fn workload(spread_ms: u64, burst: bool) -> Workload {
        Workload {
            delay: Span(Duration::from_secs(5)),
            spread: Span(Duration::from_millis(spread_ms)),
            burst,
            ..Workload::default()
        }
    }

    #[test]
    fn a_batch_is_due_when_the_wall_clock_shows_its_timestamp() {
        let mut ahead = Ahead::of(&workload(0, false), PHASES, 1).unwrap();
        let (timestamp, due) = ahead.date(70, WALL + 300_000);
        assert_eq!(timestamp, WALL / NANOS_PER_MS + 5_001);
        // 0.3 ms of the first one were over.
        assert_eq!(due, 70 + 5_001_000_000 - 300_000);
        let mut spread = Ahead::of(&workload(1_000, false), PHASES, 1).unwrap();
        let times: Vec<i64> = (0..50).map(|_| spread.date(0, WALL).0).collect();
        let base = WALL / NANOS_PER_MS;
        assert!(
            times
                .iter()
                .all(|time| (5_000..=6_001).contains(&(time - base)))
        );
        assert!(times.iter().max() > times.iter().min());
        assert!(Ahead::of(&Workload::default(), PHASES, 1).is_none());
    }

    #[test]
    fn a_burst_is_due_at_one_moment_whoever_sends_and_when() {
        let mut one = Ahead::of(&workload(0, true), PHASES, 1).unwrap();
        let mut other = Ahead::of(&workload(0, true), PHASES, 2).unwrap();
        let (timestamp, due) = one.date(0, WALL);
        assert_eq!(timestamp, WALL / NANOS_PER_MS + 6_100);
        assert_eq!(due, 6_100_000_000);
        let later = 900_000_000;
        assert_eq!(other.date(later, WALL + 900_000_000), (timestamp, due));
        assert_eq!(one.date(later, WALL + 900_000_000), (timestamp, due));
    }
}
