//! The batches of idempotent producers that went to the delay log, so that one that is sent again is known:
//! the copy that is delivered later does not say whose it was.

use std::collections::{HashMap, VecDeque};

use super::record::ProducerStamp;
use crate::producer_state::{PRODUCER_BATCHES_MAX, PRODUCER_ID_EXPIRATION_MS, PRODUCERS_MAX};

/// A batch that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayedProducerBatch {
    /// Whose it was.
    pub stamp: ProducerStamp,
    /// When it was accepted, ms since 1970.
    pub accepted_ms: i64,
}

/// The last batches of each producer in each partition, as the queue numbers partitions.
#[derive(Debug, Default)]
pub(super) struct DelayProducers {
    batches: HashMap<(u32, i64), VecDeque<DelayedProducerBatch>>,
}

impl DelayProducers {
    /// Notes a batch. One that is known already is not noted twice.
    pub(super) fn note(&mut self, partition: u32, stamp: ProducerStamp, accepted_ms: i64) {
        let batches = self
            .batches
            .entry((partition, stamp.producer_id))
            .or_default();
        let batch = DelayedProducerBatch { stamp, accepted_ms };
        if batches.iter().any(|known| known.stamp == stamp) {
            return;
        }
        if batches
            .back()
            .is_some_and(|last| last.stamp.epoch < stamp.epoch)
        {
            batches.clear();
        }
        if batches.len() == PRODUCER_BATCHES_MAX {
            batches.pop_front();
        }
        batches.push_back(batch);
        self.evict();
    }

    /// Forgets the producers that were idle longest where there are too many in all.
    fn evict(&mut self) {
        if self.batches.len() <= PRODUCERS_MAX {
            return;
        }
        let age = |batches: &VecDeque<DelayedProducerBatch>| {
            batches.back().map_or(i64::MIN, |last| last.accepted_ms)
        };
        let mut ages: Vec<_> = self.batches.values().map(age).collect();
        let (_, limit, _) = ages.select_nth_unstable(PRODUCERS_MAX / 8);
        let limit = *limit;
        let mut surplus = self.batches.len() - (PRODUCERS_MAX - PRODUCERS_MAX / 8);
        self.batches.retain(|_, batches| {
            let goes = surplus > 0 && age(batches) <= limit;
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// Forgets the producers that sent nothing for a day.
    pub(super) fn expire(&mut self, now_ms: i64) {
        self.batches.retain(|_, batches| {
            let last = batches.back().map_or(i64::MIN, |last| last.accepted_ms);
            now_ms.saturating_sub(last) < PRODUCER_ID_EXPIRATION_MS
        });
    }

    /// All batches, oldest first within a producer.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, DelayedProducerBatch)> {
        self.batches
            .iter()
            .flat_map(|((partition, _), batches)| batches.iter().map(|batch| (*partition, *batch)))
    }

    /// The batches of one producer, oldest first.
    pub(super) fn of(
        &self,
        partition: u32,
        producer_id: i64,
    ) -> impl Iterator<Item = &DelayedProducerBatch> {
        self.batches
            .get(&(partition, producer_id))
            .into_iter()
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(producer_id: i64, epoch: i16, first_sequence: i32) -> ProducerStamp {
        ProducerStamp {
            producer_id,
            epoch,
            first_sequence,
            last_sequence: first_sequence,
        }
    }

    #[test]
    fn the_last_five_batches_of_an_epoch_are_known() {
        let mut producers = DelayProducers::default();
        for sequence in [0, 1, 2, 3, 4, 5, 5, 3] {
            producers.note(0, stamp(7, 0, sequence), 1);
        }
        let known = |producers: &DelayProducers| -> Vec<i32> {
            let batches = producers.of(0, 7);
            batches.map(|batch| batch.stamp.first_sequence).collect()
        };
        assert_eq!(known(&producers), [1, 2, 3, 4, 5]);
        producers.note(0, stamp(7, 1, 0), 2);
        assert_eq!(known(&producers), [0]);
        producers.expire(2 + PRODUCER_ID_EXPIRATION_MS);
        assert!(known(&producers).is_empty());
    }

    #[test]
    fn producers_are_bounded() {
        let mut producers = DelayProducers::default();
        for id in 0..2 * PRODUCERS_MAX as i64 {
            producers.note(0, stamp(id, 0, 0), 5);
            assert!(producers.batches.len() <= PRODUCERS_MAX);
        }
    }
}
