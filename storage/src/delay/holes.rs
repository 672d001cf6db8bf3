//! Where the delay log holds nothing, because a crash kept what was written there from the disk. Nobody was told that
//! it was accepted: what was not on the disk was not acknowledged.
//!
//! A start that finds such a place notes it, and the checkpoints keep it: they know that what comes behind it is on
//! the disk, and later starts would take for damage what lies before.

use std::collections::BTreeMap;

/// So many are kept; one that is met then is told anew by each start.
pub(super) const HOLES_MAX: usize = 4_096;

/// Ranges of positions, which neither overlap nor touch: the first byte, and the one behind the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Holes(BTreeMap<u64, u64>);

impl Holes {
    pub(super) fn new(ranges: &[(u64, u64)]) -> Self {
        let mut holes = Self::default();
        for (from, to) in ranges {
            holes.add(*from, *to);
        }
        holes
    }

    /// Notes a range.
    pub(super) fn add(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        while let Some((first, end)) = self.last_before(to).filter(|(_, end)| *end >= from) {
            self.0.remove(&first);
            (from, to) = (from.min(first), to.max(end));
        }
        if self.0.len() < HOLES_MAX {
            self.0.insert(from, to);
        }
    }

    /// The last one that begins at a position or before.
    fn last_before(&self, position: u64) -> Option<(u64, u64)> {
        let last = self.0.range(..=position).next_back();
        last.map(|(from, to)| (*from, *to))
    }

    /// Whether all of a range is known to hold nothing.
    pub(super) fn covers(&self, from: u64, to: u64) -> bool {
        self.last_before(from).is_some_and(|(_, end)| to <= end)
    }

    /// The parts of a range that should hold something.
    pub(super) fn outside(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let (mut parts, mut at) = (Vec::new(), from);
        for (first, end) in &self.0 {
            if at < *first && *first < to {
                parts.push((at, *first));
            }
            at = at.max(*end);
        }
        if at < to {
            parts.push((at, to));
        }
        parts
    }

    /// Forgets those that end at a position or before: nobody reads there any more.
    pub(super) fn forget_before(&mut self, position: u64) {
        self.0.retain(|_, to| *to > position);
    }

    /// Those that end behind a position.
    pub(super) fn behind(&self, position: u64) -> Vec<(u64, u64)> {
        let all = self.0.iter().map(|(from, to)| (*from, *to));
        all.filter(|(_, to)| *to > position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one_and_what_is_outside_is_told() {
        let mut holes = Holes::new(&[(10, 20), (40, 50), (20, 30)]);
        assert_eq!(holes.behind(0), [(10, 30), (40, 50)]);
        assert_eq!(holes.behind(30), [(40, 50)]);
        assert!(holes.covers(10, 30) && holes.covers(15, 16));
        assert!(!holes.covers(9, 11) && !holes.covers(29, 41) && !holes.covers(30, 31));
        let outside = [(0, 10), (30, 40), (50, 60)];
        assert_eq!(holes.outside(0, 60), outside);
        assert_eq!(holes.outside(12, 28), []);
        assert_eq!(holes.outside(60, 70), [(60, 70)]);
        assert_eq!(holes.outside(5, 5), []);
        holes.add(25, 45);
        assert_eq!(holes.behind(0), [(10, 50)]);
        holes.add(70, 70);
        assert_eq!(holes.outside(0, 60), [(0, 10), (50, 60)]);
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let ranges: Vec<_> = (0..HOLES_MAX as u64)
            .map(|at| (3 * at, 3 * at + 1))
            .collect();
        let mut holes = Holes::new(&ranges);
        let end = 3 * HOLES_MAX as u64;
        holes.add(end, end + 1);
        assert!(!holes.covers(end, end + 1), "there is no room");
        holes.forget_before(4);
        assert_eq!(holes.behind(0).len(), HOLES_MAX - 2);
        holes.add(end, end + 1);
        assert!(holes.covers(end, end + 1) && holes.covers(6, 7) && !holes.covers(3, 4));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let ranges: Vec<_> = (0..2 * HOLES_MAX as u64)
            .map(|at| (3 * at, 3 * at + 1))
            .collect();
        let holes = Holes::new(&ranges);
        assert_eq!(holes.behind(0).len(), HOLES_MAX);
        assert!(!holes.covers(ranges[HOLES_MAX].0, ranges[HOLES_MAX].1));
    }
}
