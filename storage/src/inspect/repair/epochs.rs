//! Which leader epochs the batches of a log have.
//!
//! No CRC covers a batch's leader epoch, nor `leader-epoch-checkpoint`. Epochs never fall, so those are right
//! that most batches have without falling; a batch below the recovery point whose epoch no other one has and
//! the checkpoint does not know is wrong as well. It gets the epoch of the batch before it. An epoch is no
//! data: what is settled wrongly here costs a client a look at where it stands.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::leader_epochs::LeaderEpochs;

/// Batches of one segment, one behind the other, with the same epoch in their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EpochRun {
    /// The number of the segment.
    pub(super) segment: usize,
    /// How many.
    pub(super) batches: u64,
    /// Base offset of the first one.
    pub(super) first_offset: i64,
    /// Base offset of the last one.
    pub(super) last_offset: i64,
    /// The offset behind it.
    pub(super) end_offset: i64,
    /// As it was found.
    pub(super) epoch: i32,
    /// As it is to be.
    pub(super) settled: i32,
}

/// The epochs of a log in the order of its batches.
#[derive(Debug, Default)]
pub(super) struct EpochRuns(pub(super) Vec<EpochRun>);

impl EpochRuns {
    /// Takes the next batch.
    pub(super) fn pass(&mut self, segment: usize, offsets: Range<i64>, epoch: i32) {
        match self.0.last_mut() {
            Some(run) if (run.segment, run.epoch) == (segment, epoch) => {
                run.batches += 1;
                run.last_offset = offsets.start;
                run.end_offset = offsets.end;
            }
            _ => self.0.push(EpochRun {
                segment,
                batches: 1,
                first_offset: offsets.start,
                last_offset: offsets.start,
                end_offset: offsets.end,
                epoch,
                settled: epoch,
            }),
        }
    }

    /// Decides. `known` are the epochs of the checkpoint, complete below `recovery_point`. In a log that is
    /// `damaged` anyway an epoch is not believed either that only one batch has, one bit above the one before
    /// it, from the recovery point on: batches that are appended under a lower one would be lost by a crash.
    pub(super) fn settle(
        &mut self,
        known: Option<&LeaderEpochs>,
        recovery_point: i64,
        damaged: bool,
    ) {
        let right = self.longest(&self.believed(known, recovery_point, damaged));
        let first = right.iter().position(|right| *right);
        let first = first.map(|number| self.0[number].epoch);
        let known = known.and_then(LeaderEpochs::latest);
        let mut last = first.or(known.map(|known| known.epoch));
        for (run, right) in self.0.iter_mut().zip(right) {
            if right {
                last = Some(run.epoch);
            }
            run.settled = last.unwrap_or(0);
        }
    }

    fn believed(
        &self,
        known: Option<&LeaderEpochs>,
        recovery_point: i64,
        damaged: bool,
    ) -> Vec<bool> {
        let mut batches: HashMap<i32, u64> = HashMap::new();
        for run in &self.0 {
            *batches.entry(run.epoch).or_default() += run.batches;
        }
        let known = known.map_or(&[][..], LeaderEpochs::entries);
        let mut before = None;
        let believed = |run: &EpochRun| {
            let alone = batches.get(&run.epoch) == Some(&1)
                && known.iter().all(|entry| entry.epoch != run.epoch);
            let bit = before
                .replace(run.epoch)
                .map_or(0, |before| before ^ run.epoch);
            let strange = match run.first_offset < recovery_point {
                true => !known.is_empty(),
                false => damaged && bit > 1 && bit.count_ones() == 1,
            };
            run.epoch >= 0 && !(alone && strange)
        };
        self.0.iter().map(believed).collect()
    }

    /// Those of the believed runs that have the most batches among all selections that never fall.
    fn longest(&self, believed: &[bool]) -> Vec<bool> {
        // The best selection that ends with this epoch; the more batches, the higher.
        let mut best: BTreeMap<i32, (u64, usize)> = BTreeMap::new();
        let mut before = vec![None; self.0.len()];
        for (number, run) in self
            .0
            .iter()
            .enumerate()
            .filter(|(number, _)| believed[*number])
        {
            let lower = best.range(..=run.epoch).next_back().map(|(_, best)| *best);
            before[number] = lower.map(|(_, number)| number);
            let batches = lower.map_or(0, |(batches, _)| batches) + run.batches;
            while let Some((epoch, (higher, _))) = best.range(run.epoch..).next()
                && *higher <= batches
            {
                let epoch = *epoch;
                best.remove(&epoch);
            }
            best.insert(run.epoch, (batches, number));
        }
        let mut right = vec![false; self.0.len()];
        let last = best.values().next_back().map(|(_, number)| *number);
        for number in std::iter::successors(last, |number| before[*number]) {
            right[number] = true;
        }
        right
    }

    /// The epoch of an empty batch at `offset`: that of the batch before it. Where there is none the checkpoint
    /// says it.
    pub(super) fn at(&self, offset: i64, known: Option<&LeaderEpochs>) -> i32 {
        let after = self.0.partition_point(|run| run.first_offset <= offset);
        let settled = |number: usize| self.0.get(number).map(|run| run.settled);
        if let Some(before) = after.checked_sub(1) {
            return settled(before).unwrap_or(0);
        }
        let known = known.and_then(|known| known.epoch_for(offset));
        let first = settled(0).or(known).unwrap_or(0);
        known.map_or(first, |known| known.min(first))
    }

    /// Whether some batch of a segment gets another epoch.
    pub(super) fn changes(&self, segment: usize) -> bool {
        let mut runs = self.0.iter().filter(|run| run.segment == segment);
        runs.any(|run| run.settled != run.epoch)
    }

    /// Whether the checkpoint `known` has for every batch before `end` the epoch that it gets.
    pub(super) fn agree(&self, known: &LeaderEpochs, log_start: i64, end: i64) -> bool {
        let counts = |run: &&EpochRun| run.first_offset < end && run.end_offset > log_start;
        self.0.iter().filter(counts).all(|run| {
            let at = |offset: i64| known.epoch_for(offset.max(log_start)) == Some(run.settled);
            at(run.first_offset) && at(run.last_offset.min(end - 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader_epochs::EpochEntry;

    /// What becomes of the epochs of batches of one offset each.
    fn settled(
        found: &[i32],
        known: &[(i32, i64)],
        recovery_point: i64,
        damaged: bool,
    ) -> Vec<i32> {
        let mut runs = EpochRuns::default();
        for (offset, epoch) in (0..).zip(found) {
            runs.pass(0, offset..offset + 1, *epoch);
        }
        let entries = known.iter().map(|(epoch, start_offset)| EpochEntry {
            epoch: *epoch,
            start_offset: *start_offset,
        });
        let known = LeaderEpochs::from_entries(entries);
        runs.settle(Some(&known), recovery_point, damaged);
        let each = |run: &EpochRun| (0..run.batches).map(|_| run.settled).collect::<Vec<_>>();
        runs.0.iter().flat_map(each).collect()
    }

    #[test]
    fn an_epoch_that_rotted_is_that_of_its_neighbours() {
        let known = [(2, 0), (3, 4)];
        for rotten in [0, 1, 6, 66, i32::MAX, -1, i32::MIN] {
            for at in 0..8 {
                let mut found = [2, 2, 2, 2, 3, 3, 3, 3];
                found[at] = rotten;
                let mut expected = [2, 2, 2, 2, 3, 3, 3, 3];
                // The first batch of an epoch may count to the one before.
                expected[4] = if at == 4 { 2 } else { 3 };
                assert_eq!(
                    settled(&found, &known, 8, true),
                    expected,
                    "{rotten} at {at}"
                );
            }
        }
    }

    #[test]
    fn an_epoch_that_only_the_newest_batch_has_is_believed_where_no_checkpoint_was_taken_since() {
        assert_eq!(settled(&[2, 2, 5], &[(2, 0)], 2, true), [2, 2, 5]);
        assert_eq!(settled(&[2, 2, 5], &[(2, 0)], 3, true), [2, 2, 2]);
        assert_eq!(settled(&[2, 2, 5], &[(2, 0), (5, 2)], 3, true), [2, 2, 5]);
        assert_eq!(settled(&[7], &[], 1, true), [7]);
        let rotten = [2, 2, 2 + 64];
        assert_eq!(settled(&rotten, &[(2, 0)], 2, true), [2, 2, 2]);
        assert_eq!(settled(&rotten, &[(2, 0)], 2, false), rotten);
    }
}
