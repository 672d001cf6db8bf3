//! A clock that a test turns.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::broker::Broker;
use crate::clock::Clock;

/// How far a clock can be turned in all, in ms: a hundred years.
const TURNED_MS_MAX: i64 = 100 * 365 * 24 * 3_600_000;

/// A clock that a test turns, for [`EmbeddedBuilder::clock`](crate::EmbeddedBuilder::clock): it goes on as the clock
/// of the machine does, and [`TestClock::advance`] puts it ahead. It never goes back. Clones are the same clock, and
/// several brokers may go by it; one that is started later, on the same data for example, begins at the time that it
/// shows then.
///
/// What a broker does to data follows it: when delayed records are due, in every mode, and when they expire;
/// timestamps of LogAppendTime; retention, and its looks (`log.retention.check.interval.ms`); how old segments and unsynced
/// data are, and when deleted files are unlinked; sessions, rebalances and the expiry of offsets of consumer groups; the
/// limits of compaction in time; the age in lags.
///
/// These stay by real time: what clients wait for (`max.wait.ms` of a fetch, `timeout.ms`), idle connections, how often
/// compaction and checkpoints run, the log's lines, and figures about the process. A client's own clock stays too, so
/// that what it dates is old on a clock that was put ahead, and its consumers are missed in their groups where that is
/// by more than their session timeout: they join again.
#[derive(Clone, Debug, Default)]
pub struct TestClock {
    ahead_ms: Arc<AtomicI64>,
    followers: Arc<Mutex<Vec<Weak<Broker>>>>,
}

impl TestClock {
    /// A clock that shows the time of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts it ahead, in whole milliseconds, a hundred years in all at most, and wakes whoever sleeps by it. Does not
    /// wait for what is due then to be done, which takes moments.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(TURNED_MS_MAX);
        let followers = self.lock();
        // Under the lock, so that two who turn it do not take each other's place.
        let ahead_ms = self.ahead_ms.load(Ordering::SeqCst).saturating_add(by_ms);
        self.ahead_ms
            .store(ahead_ms.min(TURNED_MS_MAX), Ordering::SeqCst);
        let awake: Vec<_> = followers.iter().filter_map(Weak::upgrade).collect();
        drop(followers);
        for broker in awake {
            broker.clock_was_turned();
        }
    }

    /// What it shows, in ms since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock().now_ms()
    }

    /// How a broker reads it.
    pub(crate) fn clock(&self) -> Clock {
        Clock::turned_by(Arc::clone(&self.ahead_ms))
    }

    /// A broker that is woken from now on when it is turned.
    pub(crate) fn followed_by(&self, broker: &Arc<Broker>) {
        let mut followers = self.lock();
        followers.retain(|follower| follower.strong_count() > 0);
        followers.push(Arc::downgrade(broker));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Broker>>> {
        // Nothing in the critical sections panics.
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn all_of_a_clock_is_ahead_by_what_it_was_turned() {
        let turned = TestClock::new();
        let clock = turned.clock();
        let before = (clock::now_ms(), clock::steady_ms(), clock::reading());
        turned.advance(Duration::from_secs(3_600));
        turned.clone().advance(Duration::from_millis(1));
        let is_ahead = |now: i64, before: i64| {
            let by_ms = now - before - 3_600_001;
            assert!((0..60_000).contains(&by_ms), "{by_ms}");
        };
        is_ahead(turned.now_ms(), before.0);
        is_ahead(clock.now_ms(), before.0);
        is_ahead(clock.steady_ms(), before.1);
        let (now_ms, steady_ms) = clock.now_and_steady_ms();
        is_ahead(now_ms, before.0);
        is_ahead(steady_ms, before.1);
        is_ahead(clock.reading().wall_ms, before.2.wall_ms);
        is_ahead(clock.reading().boot_ms, before.2.boot_ms);
        turned.advance(Duration::MAX);
        turned.advance(Duration::MAX);
        assert!(clock.now_ms() < before.0 + 2 * TURNED_MS_MAX, "no overflow");
        let other = TestClock::new();
        assert!(
            other.now_ms() < before.0 + 60_000,
            "each is a clock of its own"
        );
    }
}
