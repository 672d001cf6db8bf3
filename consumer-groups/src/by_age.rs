//! What makes room for others, by age: member ids that nobody has come back with, and groups that are new.

use std::collections::VecDeque;
use std::sync::Arc;

/// Things of groups, the oldest first, as a number and the group that knows it. Those that are none any more stay for
/// a while.
#[derive(Debug, Default)]
pub(crate) struct ByAge {
    next: u64,
    known: VecDeque<(u64, Arc<str>)>,
}

impl ByAge {
    /// Notes one of a group; returns its number.
    pub(crate) fn add(&mut self, group_id: &Arc<str>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.known.push_back((number, Arc::clone(group_id)));
        number
    }

    /// Takes the oldest one, which may be none any more.
    pub(crate) fn pop_oldest(&mut self) -> Option<(u64, Arc<str>)> {
        self.known.pop_front()
    }

    /// Puts back what was taken as the oldest one.
    pub(crate) fn put_back(&mut self, oldest: (u64, Arc<str>)) {
        self.known.push_front(oldest);
    }

    /// Forgets those that are none any more, once they are some more than a quarter of `count`, which is how many are.
    pub(crate) fn tidy(&mut self, count: usize, is_one: impl Fn(u64, &str) -> bool) {
        const FEW: usize = 64;
        if self.known.len() > count + count / 4 + FEW {
            self.known
                .retain(|(number, group_id)| is_one(*number, group_id));
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
