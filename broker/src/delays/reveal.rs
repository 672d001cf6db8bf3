//! Topics with a fixed delay: when to look into which log for records whose time has come.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewheel_storage::StorageError;
use tidewheel_storage::delay::PartitionId;
use tracing::error;

use super::start::partition_of;
use super::{DelayDir, Delays, NEVER};
use crate::broker::Broker;
use crate::partition::Partition;
use crate::topics::{Topic, TopicsSnapshot};

/// Before the next look into a log that could not be read, in ms.
const RETRY_MS: i64 = 1_000;

/// The partitions of a log directory in which something waits, and when to look into each, ms since 1970.
#[derive(Debug, Default)]
pub(super) struct Looks {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    by_time: BTreeSet<(i64, PartitionId)>,
    times: HashMap<PartitionId, i64>,
}

impl Looks {
    fn lock(&self) -> MutexGuard<'_, List> {
        // Nothing in the critical sections panics.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes when to look, unless that is to be earlier already. Whether it is the first look of all now.
    pub(super) fn add(&self, id: PartitionId, at_ms: i64) -> bool {
        let mut list = self.lock();
        let known_ms = list.times.get(&id).copied().unwrap_or(NEVER);
        if known_ms <= at_ms {
            return false;
        }
        list.by_time.remove(&(known_ms, id));
        list.by_time.insert((at_ms, id));
        list.times.insert(id, at_ms);
        list.by_time.first() == Some(&(at_ms, id))
    }

    /// Takes out a partition whose time has come. What is appended to it from here on is noted anew.
    fn take_due(&self, now_ms: i64) -> Option<PartitionId> {
        let mut list = self.lock();
        let (at_ms, id) = list.by_time.first().copied()?;
        if at_ms > now_ms {
            return None;
        }
        list.by_time.pop_first();
        list.times.remove(&id);
        Some(id)
    }

    /// When the next look is.
    pub(super) fn next_ms(&self) -> Option<i64> {
        self.lock().by_time.first().map(|(at_ms, _)| *at_ms)
    }
}

impl Delays {
    /// Something was appended at `now_ms` to a topic with a fixed delay.
    pub(crate) fn appended(&self, broker: &Broker, (topic, index): (&Topic, i32), now_ms: i64) {
        let Some(partition) = topic.partition(index) else {
            return;
        };
        if let Some(delay_ms) = partition.log().config().delay.holds_back() {
            let at_ms = now_ms.saturating_add(delay_ms);
            self.look_at(broker, (topic, index), partition, at_ms);
        }
    }

    /// The settings of a partition changed, and with them maybe what may be seen of it.
    pub(crate) fn look_now(&self, broker: &Broker, topic: &Topic) {
        for (index, partition) in (0..).zip(&topic.partitions) {
            self.look_at(broker, (topic, index), partition, 0);
        }
    }

    /// Hides what may not be visible yet at a start, until the delivering threads look.
    pub(super) fn hide_pending(
        &self,
        topics: &TopicsSnapshot,
        dir_of: impl Fn(&Partition) -> Option<usize>,
    ) {
        for topic in topics.iter() {
            for (index, partition) in (0..).zip(&topic.partitions) {
                if partition.log().config().delay.holds_back().is_none() {
                    continue;
                }
                partition.log().hide_pending();
                if let Some(dir) = dir_of(partition).and_then(|number| self.dir(number)) {
                    dir.looks.add(id_of(topic, index), 0);
                }
            }
        }
    }

    fn look_at(&self, broker: &Broker, place: (&Topic, i32), partition: &Partition, at_ms: i64) {
        let dir = broker.logs().dir_of(partition.log());
        if let Some(dir) = dir.and_then(|number| self.dir(number))
            && dir.looks.add(id_of(place.0, place.1), at_ms)
        {
            dir.deliver_signal.raise();
        }
    }
}

fn id_of(topic: &Topic, index: i32) -> PartitionId {
    PartitionId {
        topic_id: topic.id,
        partition: index,
    }
}

impl DelayDir {
    /// Shows in each partition what has waited long enough.
    pub(super) fn reveal(&self, topics: &TopicsSnapshot, now_ms: i64) {
        while let Some(id) = self.looks.take_due(now_ms) {
            let Some(partition) = partition_of(topics, id) else {
                continue;
            };
            match partition.reveal(now_ms) {
                Ok(None) | Err(StorageError::PartitionDeleted) => {}
                Ok(Some(next_ms)) => {
                    self.looks.add(id, next_ms.max(now_ms + 1));
                }
                Err(error) => {
                    let partition = partition.log().topic_partition();
                    error!(%partition, %error, "what is due cannot be read, and is not shown");
                    let again_ms = self.time.now_ms().saturating_add(RETRY_MS);
                    self.looks.add(id, again_ms);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_protocol::Uuid;

    use super::*;

    fn id(partition: i32) -> PartitionId {
        PartitionId {
            topic_id: Uuid([1; 16]),
            partition,
        }
    }

    #[test]
    fn the_earliest_look_of_a_partition_counts_and_each_is_taken_once() {
        let looks = Looks::default();
        assert_eq!(looks.next_ms(), None);
        assert!(looks.add(id(0), 50), "the first");
        assert!(!looks.add(id(0), 60) && !looks.add(id(1), 70));
        assert!(looks.add(id(1), 40), "it comes before all others now");
        assert_eq!((looks.next_ms(), looks.take_due(39)), (Some(40), None));
        let taken = [(); 3].map(|()| looks.take_due(50));
        assert_eq!(taken, [Some(id(1)), Some(id(0)), None]);
        assert!(looks.add(id(1), 90), "and noted anew");
    }
}
