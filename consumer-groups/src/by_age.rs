//! What makes room for others, by age: member ids that nobody has come back with, and groups that are new.

use std::collections::VecDeque;
use std::sync::Arc;

/// Things of groups, the oldest first. Those that are none any more stay for a while.
#[derive(Debug, Default)]
pub(crate) struct ByAge {
    next: u64,
    known: VecDeque<Aged>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aged {
    /// By which the group knows it.
    pub(crate) number: u64,
    pub(crate) group_id: Arc<str>,
    /// Since when it is there, in ms since 1970.
    pub(crate) since_ms: i64,
}

impl ByAge {
    /// Notes one of a group; returns its number.
    pub(crate) fn add(&mut self, group_id: &Arc<str>, now_ms: i64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.known.push_back(Aged {
            number,
            group_id: Arc::clone(group_id),
            since_ms: now_ms,
        });
        number
    }

    /// Takes the oldest one, which may be none any more.
    pub(crate) fn pop_oldest(&mut self) -> Option<Aged> {
        self.known.pop_front()
    }

    /// Puts back what was taken as the oldest one.
    pub(crate) fn put_back(&mut self, oldest: Aged) {
        self.known.push_front(oldest);
    }

    /// The clock was set by so much.
    pub(crate) fn move_all(&mut self, by_ms: i64) {
        for aged in &mut self.known {
            aged.since_ms = aged.since_ms.saturating_add(by_ms);
        }
    }

    /// Forgets those that are none any more, once they are some more than a quarter of `count`, which is how many are.
    pub(crate) fn tidy(&mut self, count: usize, is_one: impl Fn(u64, &str) -> bool) {
        const FEW: usize = 64;
        if self.known.len() > count + count / 4 + FEW {
            self.known
                .retain(|aged| is_one(aged.number, &aged.group_id));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_does_not_add_up() {
        let (mut pending, group_id) = (ByAge::default(), Arc::from("g"));
        let first = pending.add(&group_id, 5);
        for _ in 0..10_000 {
            let number = pending.add(&group_id, 6);
            assert_ne!(number, first);
            pending.tidy(1, |number, _| number == first);
        }
        assert!(pending.len() < 100, "{}", pending.len());
        pending.move_all(-3);
        let oldest = pending.pop_oldest().unwrap();
        assert_eq!((oldest.number, oldest.since_ms), (first, 2));
    }
}
