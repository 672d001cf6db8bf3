//! What kafka_exporter tells of a cluster, under its names and with its values, so that dashboards made for
//! it work as they are.

use std::sync::Arc;

use super::exposition::Exposition;
use super::families as family;
use super::families::Family;
use crate::broker::Broker;
use crate::groups::{WatchedGroup, WatchedOffset};
use crate::partition::Partition;
use crate::topics::{Topic, TopicsSnapshot};

/// Tells of this broker, of every partition and of every group.
pub(super) fn expose(broker: &Broker, out: &mut Exposition) {
    let topics = broker.topics();
    out.single(&family::KAFKA_BROKERS, 1_u64);
    let node_id = broker.node_id().to_string();
    let address = broker.endpoint(0).to_string();
    let mut samples = out.family(&family::KAFKA_BROKER_INFO);
    samples.add(&[&node_id, &address], 1_u64);
    let mut samples = out.family(&family::KAFKA_TOPIC_PARTITIONS);
    for topic in topics.iter() {
        samples.add(&[&topic.name], topic.partitions.len());
    }
    expose_partitions(broker, &topics, out);
    let groups = broker.groups().watch(&topics);
    expose_groups(&topics, &groups, out);
}

fn expose_partitions(broker: &Broker, topics: &TopicsSnapshot, out: &mut Exposition) {
    let leader = i64::from(broker.node_id());
    let is_online = |partition: &Partition| i64::from(partition.log().failure().is_none());
    type Of<'a> = &'a dyn Fn(&Partition) -> i64;
    let families: [(&'static Family, Of<'_>); 7] = [
        (&family::KAFKA_CURRENT_OFFSET, &|partition| {
            partition.log().offsets().high_watermark
        }),
        (&family::KAFKA_OLDEST_OFFSET, &|partition| {
            partition.log().offsets().log_start
        }),
        (&family::KAFKA_LEADER, &|_| leader),
        (&family::KAFKA_PREFERRED, &|_| 1),
        (&family::KAFKA_REPLICAS, &|_| 1),
        (&family::KAFKA_IN_SYNC, &is_online),
        (&family::KAFKA_UNDER_REPLICATED, &|partition| {
            1 - is_online(partition)
        }),
    ];
    for (family, of) in families {
        let mut samples = out.many(family);
        for topic in topics.iter() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                samples.add(&[&topic.name, &index.to_string()], of(partition));
            }
        }
    }
}

/// What a group has of a topic in which it has committed anything.
struct Consumed<'a> {
    topic: &'a Arc<Topic>,
    /// By partition.
    offsets: &'a [WatchedOffset],
}

impl<'a> Consumed<'a> {
    fn of(topics: &'a TopicsSnapshot, group: &'a WatchedGroup) -> impl Iterator<Item = Self> {
        let by_topic = group
            .offsets
            .chunk_by(|one, other| one.topic == other.topic);
        by_topic.filter_map(|offsets| {
            let first = offsets.first()?;
            first.found.as_ref()?;
            Some(Self {
                topic: topics.named(&first.topic)?,
                offsets,
            })
        })
    }

    /// The offset and the lag in each partition, -1 where nothing is committed: as kafka_exporter has it, a topic
    /// is there as a whole. An offset may be any number.
    fn partitions(&self) -> impl Iterator<Item = (i64, i64)> {
        let mut offsets = self.offsets.iter().peekable();
        (0..)
            .zip(&self.topic.partitions)
            .map(move |(index, partition)| {
                let committed = offsets.next_if(|offset| offset.partition == index);
                let Some(WatchedOffset { committed, .. }) = committed else {
                    return (-1, -1);
                };
                let end = partition.log().offsets().high_watermark;
                (*committed, end.saturating_sub(*committed))
            })
    }

    /// The sum of the offsets, where a partition without one counts -1, and that of the lags, where it does
    /// not count.
    fn sums(&self) -> (i64, i64) {
        self.partitions()
            .fold((0, 0), |(offsets, lags), (offset, lag)| {
                let lag = if offset == -1 { 0_i64 } else { lag };
                (offsets.saturating_add(offset), lags.saturating_add(lag))
            })
    }
}

fn expose_groups(topics: &TopicsSnapshot, groups: &[WatchedGroup], out: &mut Exposition) {
    let mut samples = out.many(&family::KAFKA_GROUP_MEMBERS);
    for group in groups {
        samples.add(&[&group.id], group.members);
    }
    type Pick = fn((i64, i64)) -> i64;
    let picks: [(&'static Family, &'static Family, Pick); 2] = [
        (
            &family::KAFKA_GROUP_OFFSET,
            &family::KAFKA_GROUP_OFFSET_SUM,
            |(offset, _)| offset,
        ),
        (
            &family::KAFKA_GROUP_LAG,
            &family::KAFKA_GROUP_LAG_SUM,
            |(_, lag)| lag,
        ),
    ];
    let all = || {
        let of = |group| Consumed::of(topics, group).map(move |one| (group, one));
        groups.iter().flat_map(of)
    };
    for (each, sum, pick) in picks {
        let mut samples = out.many(sum);
        for (group, one) in all() {
            samples.add(&[&group.id, &one.topic.name], pick(one.sums()));
        }
        let mut samples = out.many(each);
        for (group, one) in all() {
            if samples.is_full() {
                break;
            }
            for (index, of) in one.partitions().enumerate() {
                samples.add(&[&group.id, &one.topic.name, &index.to_string()], pick(of));
            }
        }
    }
}
