//! Records that have expired by the time they are due: where the topic says so they go to its dead-letter topic, in
//! one group of the delay log with the note that they expired. So a crash leaves the one record or the other.

use std::sync::Arc;

use tidewheel_config::{dead_letter_topic, limits};
use tidewheel_protocol::Compression;
use tidewheel_storage::delay::dead_letter::expired;
use tidewheel_storage::delay::{
    DelayGroup, DelayOperation, DelayQueue, DelayedBatch, PartitionId, PendingFate, PendingRecord,
};
use tidewheel_storage::{StorageError, own_codec};
use tracing::{error, info, warn};

use super::deliver::Deliverer;
use super::start::partition_of;
use crate::broker::Broker;
use crate::topics::TopicsSnapshot;

/// The place of the dead letters of a partition.
struct Home {
    /// The topic that they were to go to.
    topic: Arc<str>,
    id: PartitionId,
    /// The codec of the topic, if it has one of its own.
    codec: Option<Compression>,
    /// Nothing is delivered there while it is so, and what is to go there waits.
    is_compacted: bool,
}

impl Home {
    /// The partition of the dead-letter topic with the same number, modulo their count, or another one where that
    /// lies in another log directory than the records: each has a delay log of its own. Else what is wrong.
    fn of(broker: &Broker, topics: &TopicsSnapshot, from: PartitionId) -> Result<Self, String> {
        let topic = topics.with_id(from.topic_id);
        let origin = topic.and_then(|topic| Some((topic, topic.partition(from.partition)?)));
        let (topic, origin) = origin.ok_or("the topic does not exist")?;
        let name = dead_letter_topic(&topic.name);
        let wrong =
            |why: &str| format!("topic {name}, to which expired records of this one go, {why}");
        let found = topics.named(&name).ok_or_else(|| wrong("does not exist"))?;
        if found.is_internal() {
            return Err(wrong("cannot be it"));
        }
        let dir = broker.logs().dir_of(origin.log());
        let lies_there = |number: &i32| {
            let log = found.partition(*number).map(|home| home.log());
            log.is_some_and(|log| broker.logs().dir_of(log) == dir)
        };
        let count = found.partition_count();
        let same = from.partition.checked_rem(count).unwrap_or(0);
        let number = std::iter::once(same).chain(0..count).find(lies_there);
        let number = number.ok_or_else(|| wrong("has no partition in the same data directory"))?;
        let home = found
            .partition(number)
            .ok_or_else(|| wrong("has no partitions"))?;
        let config = home.log().config();
        Ok(Self {
            topic: Arc::clone(&topic.name),
            is_compacted: config.cleanup_policy.compact,
            id: PartitionId {
                topic_id: found.id,
                partition: number,
            },
            codec: own_codec(&config),
        })
    }
}

/// Whether expired records of the partition have a place to go: that they have none shows when they are produced, and
/// not when they expire. Else what is wrong.
pub(super) fn check(broker: &Broker, from: PartitionId) -> Result<(), String> {
    let home = Home::of(broker, &broker.topics(), from)?;
    match home.is_compacted {
        true => Err(format!(
            "topic {}, to which expired records of this one go, is compacted",
            dead_letter_topic(&home.topic)
        )),
        false => Ok(()),
    }
}

/// Whether expired records of the partition are kept.
pub(super) fn keeps(topics: &TopicsSnapshot, from: PartitionId) -> bool {
    let partition = partition_of(topics, from);
    partition.is_some_and(|partition| partition.log().config().delay.buries_expired)
}

/// What becomes of one expired record: it is gone, and comes as the other one where that can be made.
struct Burial<'a> {
    found: &'a PendingRecord,
    add: Option<DelayedBatch>,
}

impl Deliverer<'_> {
    /// Writes down what becomes of expired records, each partition's in a group. Whether there were any.
    pub(super) fn bury_all(&mut self, kept: &[PendingRecord], now_ms: i64) -> bool {
        // Others may have gone while this round delivered.
        let topics = self.broker.topics();
        let (mut buried, mut unpacked) = (false, 0);
        for records in kept.chunk_by(|a, b| a.partition == b.partition) {
            let Some(PendingRecord { partition, .. }) = records.first() else {
                continue;
            };
            // This thread delivers as well, and small batches may unpack to gigabytes.
            if unpacked >= limits::DELAY_BATCH_BYTES_MAX {
                break;
            }
            match self.bury(&topics, *partition, records, (now_ms, &mut unpacked)) {
                Ok(()) => {
                    self.took(*partition);
                    buried = true;
                }
                Err(StorageError::PartitionDeleted) => {
                    self.dir
                        .with(|queue| queue.forget_topic(partition.topic_id));
                    buried = true;
                }
                Err(error) => self.refused(*partition, &error),
            }
        }
        buried
    }

    /// Records that have no place to go, by now, are dropped.
    fn bury(
        &mut self,
        topics: &TopicsSnapshot,
        from: PartitionId,
        records: &[PendingRecord],
        (now_ms, unpacked): (i64, &mut usize),
    ) -> Result<(), StorageError> {
        let log_end = log_end(topics, from)?;
        let home = self.home(topics, from);
        if let Some(home) = &home {
            let found: usize = records.iter().map(|found| found.add.batch.len()).sum();
            let partition = partition_of(topics, home.id).ok_or(StorageError::PartitionDeleted)?;
            // Before they are packed anew, which would be for nothing on a full disk.
            partition.log().take_room(found as u64)?;
        }
        let (burials, bytes) = burials(home.as_ref(), records, now_ms, unpacked);
        let toward = match home.filter(|_| bytes > 0) {
            Some(Home { id, .. }) => {
                let partition = partition_of(topics, id).ok_or(StorageError::PartitionDeleted)?;
                partition.log().take_room(bytes as u64)?;
                let log_end = partition.log().offsets().log_end;
                let partition = id;
                Some(DelayOperation::Toward { partition, log_end })
            }
            None => None,
        };
        let accepted = self.dir.with(|queue| {
            let operations = operations(queue, burials, toward);
            if operations.is_empty() {
                return Ok(false);
            }
            let group = DelayGroup {
                partition: from,
                log_end,
                producer: None,
                operations,
            };
            queue.accept(&group, now_ms).map(|_| true)
        });
        if accepted.ok_or(StorageError::Closed)?? {
            self.dir.wake(Some(now_ms));
            self.sync_soon();
        }
        Ok(())
    }

    fn home(&mut self, topics: &TopicsSnapshot, from: PartitionId) -> Option<Home> {
        match Home::of(self.broker, topics, from) {
            Ok(home) => {
                if self.homeless.remove(&from.topic_id) {
                    info!(topic = %home.topic, "expired records go to the dead-letter topic again");
                }
                Some(home)
            }
            Err(why) => {
                if self.homeless.insert(from.topic_id) {
                    error!(topic_id = %from.topic_id, %why, "expired records are dropped");
                }
                None
            }
        }
    }
}

/// What becomes of the first of these records, and how many bytes that is.
fn burials<'a>(
    home: Option<&Home>,
    records: &'a [PendingRecord],
    now_ms: i64,
    unpacked: &mut usize,
) -> (Vec<Burial<'a>>, usize) {
    let (mut burials, mut bytes) = (Vec::new(), 0);
    for found in records {
        // They are packed anew, and may have been far smaller. The next ones are asked for again.
        if bytes >= limits::DELAY_TURN_BYTES_MAX || *unpacked >= limits::DELAY_BATCH_BYTES_MAX {
            break;
        }
        let add = home.map(|home| expired(found, &home.topic, home.codec, now_ms));
        let add = add.transpose().unwrap_or_else(|error| {
            warn!(%error, "a record that has expired cannot be read and is dropped");
            None
        });
        let add = add.map(|(add, len)| {
            *unpacked += len;
            bytes += add.batch.len();
            add
        });
        burials.push(Burial { found, add });
    }
    (burials, bytes)
}

/// The group of those that are still pending. Others may have cancelled, replaced or moved a record since it was
/// looked at, and were told so: from here on they are told that they are late.
fn operations(
    queue: &DelayQueue,
    mut burials: Vec<Burial<'_>>,
    toward: Option<DelayOperation>,
) -> Vec<DelayOperation> {
    burials.retain(|burial| queue.fate_of(burial.found) == PendingFate::Pending);
    let mut operations: Vec<_> = burials
        .iter()
        .map(|burial| burial.found.expired())
        .collect();
    let adds = burials.into_iter().filter_map(|burial| burial.add);
    let adds: Vec<_> = adds.map(DelayOperation::Add).collect();
    if !adds.is_empty() {
        operations.extend(toward);
        operations.extend(adds);
    }
    operations
}

fn log_end(topics: &TopicsSnapshot, id: PartitionId) -> Result<i64, StorageError> {
    let partition = partition_of(topics, id).ok_or(StorageError::PartitionDeleted)?;
    Ok(partition.log().offsets().log_end)
}
