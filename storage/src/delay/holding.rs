//! Why a file of the delay store has to stay: the last record of each partition in it that was not yet
//! delivered for good.

use std::collections::HashMap;

use super::key::DelayKey;

/// The greatest key of each partition, as the queue numbers partitions. Since delivery follows the order
/// of keys, nothing is held for a partition whose cursor has passed it.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    greatest: HashMap<u32, DelayKey>,
}

impl Holding {
    /// A record that has to be delivered lies here.
    pub(super) fn add(&mut self, partition: u32, key: DelayKey) {
        let greatest = self.greatest.entry(partition).or_insert(key);
        *greatest = (*greatest).max(key);
    }

    /// Forgets what the cursors have passed; whether nothing is left. `passed` says up to which key a
    /// partition was delivered for good, `None` where the partition is gone.
    pub(super) fn release(&mut self, passed: impl Fn(u32) -> Option<DelayKey>) -> bool {
        self.greatest
            .retain(|partition, key| passed(*partition).is_some_and(|passed| passed < *key));
        self.greatest.is_empty()
    }
}
