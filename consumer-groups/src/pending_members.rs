//! The member ids of all groups that were given out and not used yet, by age.

use std::collections::VecDeque;
use std::sync::Arc;

/// Member ids that were given out, the oldest first, as a number and the group that knows it. Those that were used
/// or have expired since stay for a while.
#[derive(Debug, Default)]
pub(crate) struct PendingMembers {
    next: u64,
    given: VecDeque<(u64, Arc<str>)>,
}

impl PendingMembers {
    /// Notes one of a group; returns its number.
    pub(crate) fn add(&mut self, group_id: &Arc<str>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.given.push_back((number, Arc::clone(group_id)));
        number
    }

    /// Takes the oldest one, which may be none any more.
    pub(crate) fn pop_oldest(&mut self) -> Option<(u64, Arc<str>)> {
        self.given.pop_front()
    }

    /// Forgets those that are none any more, once they are some more than a quarter of `count`, which is how many are.
    pub(crate) fn tidy(&mut self, count: usize, is_pending: impl Fn(u64, &str) -> bool) {
        const FEW: usize = 64;
        if self.given.len() > count + count / 4 + FEW {
            self.given
                .retain(|(number, group_id)| is_pending(*number, group_id));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.given.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_does_not_add_up() {
        let (mut pending, group_id) = (PendingMembers::default(), Arc::from("g"));
        let first = pending.add(&group_id);
        for _ in 0..10_000 {
            let number = pending.add(&group_id);
            assert_ne!(number, first);
            pending.tidy(1, |number, _| number == first);
        }
        assert!(pending.len() < 100, "{}", pending.len());
        assert_eq!(pending.pop_oldest(), Some((first, group_id)));
    }
}
