//! How far a group is behind: for each offset that it has committed, in records and in time.
//!
//! Where everything is read no file is looked at. Else the first unread record tells the time: its place is
//! looked up in an index, headers are read from there on, and where the record does not begin its batch that
//! one batch is opened. One such look-up runs at a time in the whole broker, off the runtime, in turns with those
//! that clients ask for; when nobody waits for the lag any more, the next one is not begun.

use std::sync::Arc;
use std::time::Duration;

use tidewheel_consumer_groups::reply::{FetchedOffset, FetchedTopic};
use tidewheel_consumer_groups::request::FetchOffsetsRequest;
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use tidewheel_storage::StorageError;

use super::NoCoordinator;
use crate::broker::Broker;
use crate::partition::Partition;

/// How far a group is behind in all that it has committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupLag {
    /// One for each committed offset, by topic and partition. None for a group that has committed nothing, or that
    /// nobody knows.
    pub partitions: Vec<PartitionLag>,
}

impl GroupLag {
    /// Unread records of all partitions that are there.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.behind()
            .fold(0, |sum, (records, _)| sum.saturating_add(records))
    }

    /// The age of the oldest of the first unread records; nothing where none is known.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.behind().filter_map(|(_, age)| age).max()
    }

    fn behind(&self) -> impl Iterator<Item = (u64, Option<Duration>)> {
        self.partitions
            .iter()
            .filter_map(|partition| match partition.lag {
                Lag::Behind { records, age } => Some((records, age)),
                Lag::BeyondEnd { .. } | Lag::Gone | Lag::Offline => None,
            })
    }
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The offset of the next record to read, as it was committed.
    pub committed: i64,
    /// What that means now.
    pub lag: Lag,
}

/// What a committed offset means now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// The partition is there.
    Behind {
        /// Offsets from the committed one, or from the log start if that is higher, to the high watermark. Of
        /// a compacted log some of them may be without a record, as in the lag that clients compute.
        records: u64,
        /// The time since the timestamp of the first unread record; zero where there is none or where the
        /// timestamp lies ahead of the clock. Nothing where that record has no timestamp or cannot be read.
        age: Option<Duration>,
    },
    /// The committed offset is higher than the high watermark: what was read from the page cache is gone after
    /// a power cut, or somebody set the offset by hand.
    BeyondEnd {
        /// By how much.
        by: u64,
    },
    /// The topic is gone, whether or not it was made again, or the partition is.
    Gone,
    /// The log directory of the partition is offline: what is behind is not known.
    Offline,
}

/// The lag of a group in everything that it has committed.
///
/// # Errors
/// Where nobody can tell what it has committed.
pub(crate) async fn group_lag(broker: &Broker, group_id: &str) -> Result<GroupLag, NoCoordinator> {
    if broker.groups().all().is_empty() {
        // No client has ever looked for a coordinator.
        return Ok(GroupLag::default());
    }
    let _turn = broker.groups().lag_turn().await;
    let mut partitions = Vec::new();
    for offset in committed_offsets(broker, group_id).await? {
        let lag = offset.lag(broker, ()).await;
        partitions.push(PartitionLag {
            topic: offset.topic,
            partition: offset.partition,
            committed: offset.committed.offset,
            lag,
        });
    }
    Ok(GroupLag { partitions })
}

/// An offset that a group has committed.
#[derive(Clone, Debug)]
pub(crate) struct GroupOffset {
    /// The topic's name.
    pub(crate) topic: Arc<str>,
    /// The partition's number.
    pub(crate) partition: i32,
    /// What was committed.
    pub(crate) committed: FetchedOffset,
}

impl GroupOffset {
    /// What it means now. May read from disk, in turns with others; `turn` is given back when that is done, also
    /// where nobody waits for it any more.
    pub(crate) async fn lag(&self, broker: &Broker, turn: impl Send + 'static) -> Lag {
        match find(broker, &self.topic, self.partition, &self.committed) {
            Some(partition) => lag_in(broker, &partition, self.committed.offset, turn).await,
            None => Lag::Gone,
        }
    }

    /// The same without a look at the disk: an age is only told where nothing is unread.
    pub(crate) fn records(&self, broker: &Broker) -> Lag {
        match find(broker, &self.topic, self.partition, &self.committed) {
            Some(partition) => records_in(&partition, self.committed.offset),
            None => Lag::Gone,
        }
    }
}

/// All that a group has committed, by topic and partition.
///
/// # Errors
/// Where nobody can tell.
pub(crate) async fn committed_offsets(
    broker: &Broker,
    group_id: &str,
) -> Result<Vec<GroupOffset>, NoCoordinator> {
    let mut offsets = Vec::new();
    for topic in committed(broker, group_id).await? {
        for partition in topic.partitions {
            let Some(committed) = partition.committed else {
                continue;
            };
            offsets.push(GroupOffset {
                topic: Arc::clone(&topic.topic),
                partition: partition.partition,
                committed,
            });
        }
    }
    Ok(offsets)
}

async fn committed(broker: &Broker, group_id: &str) -> Result<Vec<FetchedTopic>, NoCoordinator> {
    let request = GroupRequest::FetchOffsets(FetchOffsetsRequest {
        group_id: Arc::from(group_id),
        member: None,
        topics: None,
        require_stable: false,
    });
    match broker.groups().ask(group_id, request).await? {
        GroupReply::FetchOffsets(Ok(topics)) => Ok(topics),
        // The disk was lost while the answer waited for it.
        GroupReply::FetchOffsets(Err(GroupError::CoordinatorNotAvailable)) => {
            Err(NoCoordinator::Failed)
        }
        // It is closed: nothing else is refused or answered here.
        _ => Err(NoCoordinator::Elsewhere),
    }
}

/// The partition in which an offset was committed.
fn find(
    broker: &Broker,
    topic: &str,
    partition: i32,
    committed: &FetchedOffset,
) -> Option<Arc<Partition>> {
    let topics = broker.topics();
    let topic = topics.named(topic);
    // An offset in a topic that was deleted and made again says nothing of the new one.
    let is_same = |id| committed.topic_id.is_zero() || committed.topic_id == id;
    let topic = topic.filter(|topic| is_same(topic.id))?;
    topic.partition(partition).map(Arc::clone)
}

fn records_in(partition: &Partition, committed: i64) -> Lag {
    let log = partition.log();
    match log.failure() {
        Some(StorageError::PartitionDeleted) => return Lag::Gone,
        Some(_) => return Lag::Offline,
        None => {}
    }
    // Read after the commit, and the high watermark only moves on: what was read lies below it.
    let offsets = log.offsets();
    let end = offsets.high_watermark;
    if let by @ 1.. = distance(end, committed) {
        return Lag::BeyondEnd { by };
    }
    let records = distance(committed.max(offsets.log_start), end);
    let age = (records == 0).then_some(Duration::ZERO);
    Lag::Behind { records, age }
}

async fn lag_in(
    broker: &Broker,
    partition: &Arc<Partition>,
    committed: i64,
    turn: impl Send + 'static,
) -> Lag {
    let lag = records_in(partition, committed);
    let Lag::Behind { records, age: None } = lag else {
        return lag;
    };
    let first = committed.max(partition.log().offsets().log_start);
    let partition = Arc::clone(partition);
    let look = move || {
        let found = partition.log().timestamp_at(first);
        drop(turn);
        found
    };
    let age = match broker.look_up(look).await {
        Some(Ok(Some(timestamp))) => age(timestamp, broker.clock().now_ms()),
        Some(Err(StorageError::PartitionDeleted)) => return Lag::Gone,
        // Retention was faster, the record is damaged, or the runtime ends.
        Some(Ok(None) | Err(_)) | None => None,
    };
    Lag::Behind { records, age }
}

/// Offsets from one to a higher one; 0 where it is not higher.
fn distance(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

/// Nothing for a record without a timestamp.
fn age(timestamp: i64, now_ms: i64) -> Option<Duration> {
    let is_known = timestamp >= 0;
    is_known.then(|| Duration::from_millis(distance(timestamp, now_ms)))
}

#[cfg(test)]
mod tests {
    use tidewheel_config::limits;
    use tidewheel_protocol::{RecordBatchBuilder, StrBytes, Uuid};

    use super::*;
    use crate::broker::{TopicRef, delete_topics};
    use crate::partition::Acks;
    use crate::testing;

    fn partition(lag: Lag) -> PartitionLag {
        PartitionLag {
            topic: "t".into(),
            partition: 0,
            committed: 0,
            lag,
        }
    }

    #[test]
    fn an_age_is_never_negative_and_unknown_without_a_timestamp() {
        assert_eq!(age(1_000, 3_500), Some(Duration::from_millis(2_500)));
        assert_eq!(age(3_500, 1_000), Some(Duration::ZERO));
        assert_eq!(age(-1, 1_000), None);
        assert_eq!(age(i64::MAX, i64::MIN), Some(Duration::ZERO));
    }

    #[test]
    fn a_groups_lag_is_that_of_the_partitions_that_are_there() {
        let second = Duration::from_secs(1);
        let behind = |records, age| partition(Lag::Behind { records, age });
        let lag = GroupLag {
            partitions: vec![
                behind(3, Some(second)),
                behind(u64::MAX, None),
                behind(0, Some(Duration::ZERO)),
                partition(Lag::BeyondEnd { by: 9 }),
                partition(Lag::Gone),
                partition(Lag::Offline),
            ],
        };
        assert_eq!((lag.records(), lag.age()), (u64::MAX, Some(second)));
        assert_eq!(GroupLag::default().age(), None);
    }

    /// What a coordinator still has where its log takes no tombstones.
    #[tokio::test]
    async fn an_offset_in_a_topic_that_was_made_again_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let broker = testing::broker(dir.path(), &[]);
        testing::create_topic(&broker, "t", 1).await;
        let id = broker.topics().named("t").unwrap().id;
        let lag = async |topic: &str, partition, topic_id, offset| {
            let committed = FetchedOffset {
                offset,
                leader_epoch: None,
                topic_id,
                metadata: StrBytes::default(),
                commit_timestamp_ms: 0,
            };
            let topic = topic.into();
            let offset = GroupOffset {
                topic,
                partition,
                committed,
            };
            offset.lag(&broker, ()).await
        };
        let there = Lag::Behind {
            records: 0,
            age: Some(Duration::ZERO),
        };
        for (topic, partition, topic_id, expected) in [
            ("t", 0, id, there),
            ("t", 0, Uuid::ZERO, there),
            ("t", 0, Uuid([7; 16]), Lag::Gone),
            ("t", 1, id, Lag::Gone),
            ("t", -1, id, Lag::Gone),
            ("other", 0, id, Lag::Gone),
        ] {
            let lag = lag(topic, partition, topic_id, 0).await;
            assert_eq!(lag, expected, "{topic} {partition} {topic_id}");
        }
        assert_eq!(
            lag("t", 0, id, i64::MAX).await,
            Lag::BeyondEnd {
                by: i64::MAX.unsigned_abs()
            }
        );
    }

    #[tokio::test]
    async fn a_partition_that_is_deleted_or_offline_meanwhile_has_no_lag() {
        let dir = tempfile::tempdir().unwrap();
        let broker = testing::broker(dir.path(), &[]);
        for topic in ["goes", "stays"] {
            testing::create_topic(&broker, topic, 1).await;
        }
        let topics = broker.topics();
        let [goes, stays] =
            ["goes", "stays"].map(|topic| &topics.named(topic).unwrap().partitions[0]);
        let refs = vec![TopicRef::Name("goes".into())];
        let deleted = delete_topics(&broker, refs, false, limits::METADATA_CHANGE_WAIT).await;
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
        assert_eq!(lag_in(&broker, goes, 0, ()).await, Lag::Gone);
        let batch = RecordBatchBuilder::new().record(1, None, Some(b"a"));
        let appended = stays.append(batch.build().unwrap().bytes, Acks::Leader, true, 1);
        assert!(appended.is_ok());
        // Its directory cannot be synced.
        std::fs::remove_dir_all(dir.path().join("stays-0")).unwrap();
        assert!(stays.log().flush(1).is_err());
        assert_eq!(lag_in(&broker, stays, 0, ()).await, Lag::Offline);
    }
}
