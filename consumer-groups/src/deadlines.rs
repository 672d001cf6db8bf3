//! What is to happen when: an ordered set, so that the next deadline is at its front.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happens at a deadline. Each is armed at most once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The rebalance of a group waits no longer for members to join.
    Join(Arc<str>),
    /// Members of a new generation have not asked for their assignment.
    Sync(Arc<str>),
    /// A member, or one that was given a member id and has not joined, is gone.
    Session {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
    },
    /// A group may go on with the classic protocol, if all its members use that.
    Downgrade(Arc<str>),
    /// The members of a classic group are to join again.
    Rebalance(Arc<str>),
    /// A member of a group of the newer protocol is gone.
    ConsumerSession {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
    },
    /// A member of such a group has not done in time what it was told to: to give partitions up, to join
    /// again or to ask for its assignment.
    ConsumerRebalance {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
    },
    /// Offsets are looked through for those that have expired.
    Retention,
    /// More offsets of groups that are being deleted go, and then the groups.
    GroupDeletions,
    /// More offsets in topics that are gone go.
    TopicsDeletion,
}

/// Timers, ordered by when they are due and then by name, which makes every run the same.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    due: BTreeSet<(i64, Timer)>,
    armed: BTreeMap<Timer, i64>,
}

impl Deadlines {
    /// Sets a timer to `at_ms`, whether or not it was set before.
    pub(crate) fn arm(&mut self, timer: Timer, at_ms: i64) {
        if let Some(before_ms) = self.armed.insert(timer.clone(), at_ms) {
            if before_ms == at_ms {
                return;
            }
            self.due.remove(&(before_ms, timer.clone()));
        }
        self.due.insert((at_ms, timer));
    }

    /// Takes a timer back, if it is set.
    pub(crate) fn disarm(&mut self, timer: &Timer) {
        if let Some((timer, at_ms)) = self.armed.remove_entry(timer) {
            self.due.remove(&(at_ms, timer));
        }
    }

    /// Whether a timer is set.
    pub(crate) fn is_armed(&self, timer: &Timer) -> bool {
        self.armed.contains_key(timer)
    }

    /// Takes the first timer that is due.
    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<Timer> {
        let (at_ms, _) = self.due.first()?;
        if *at_ms > now_ms {
            return None;
        }
        let (_, timer) = self.due.pop_first()?;
        self.armed.remove(&timer);
        Some(timer)
    }

    /// The clock was set by `by_ms`: each timer is due as much later by the new time.
    pub(crate) fn move_all(&mut self, by_ms: i64) {
        for at_ms in self.armed.values_mut() {
            *at_ms = at_ms.saturating_add(by_ms);
        }
        let armed = self.armed.iter();
        self.due = armed
            .map(|(timer, at_ms)| (*at_ms, timer.clone()))
            .collect();
    }

    /// When the next timer is due.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.due.len(), self.armed.len());
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(group: &str) -> Timer {
        Timer::Join(group.into())
    }

    #[test]
    fn a_timer_is_due_once_at_the_time_it_was_last_set_to() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(join("a"), 10);
        deadlines.arm(join("b"), 5);
        deadlines.arm(join("b"), 20);
        deadlines.arm(join("c"), 7);
        deadlines.disarm(&join("c"));
        deadlines.disarm(&join("never set"));
        assert_eq!(deadlines.next_ms(), Some(10));
        assert_eq!(deadlines.pop_due(9), None);
        assert_eq!(deadlines.pop_due(30), Some(join("a")));
        assert_eq!(deadlines.pop_due(30), Some(join("b")));
        assert_eq!(deadlines.pop_due(30), None);
        assert_eq!((deadlines.next_ms(), deadlines.len()), (None, 0));
    }

    #[test]
    fn timers_move_with_the_clock_and_keep_their_order() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(join("a"), 10);
        deadlines.arm(join("b"), 5);
        deadlines.move_all(-1_000);
        assert_eq!(deadlines.next_ms(), Some(-995));
        deadlines.disarm(&join("b"));
        assert_eq!(deadlines.pop_due(-991), None);
        assert_eq!(deadlines.pop_due(-990), Some(join("a")));
        assert_eq!(deadlines.len(), 0);
    }
}
