//! What an answer weighs: an estimate, made before the answer, of the memory it takes until it has left.
//!
//! Most answers are about as long as their requests. Those here are as long as what exists, so that a
//! request of ten bytes may ask for tens of megabytes.

use std::collections::{HashMap, HashSet};

use tidewheel_protocol::Part;
use tidewheel_protocol::messages::alter_configs::AlterConfigsRequest;
use tidewheel_protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use tidewheel_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use tidewheel_protocol::messages::create_partitions::CreatePartitionsRequest;
use tidewheel_protocol::messages::create_topics::CreateTopicsRequest;
use tidewheel_protocol::messages::describe_configs::DescribeConfigsRequest;
use tidewheel_protocol::messages::describe_groups::DescribeGroupsRequest;
use tidewheel_protocol::messages::describe_log_dirs::DescribeLogDirsRequest;
use tidewheel_protocol::messages::describe_producers::DescribeProducersRequest;
use tidewheel_protocol::messages::describe_topic_partitions::DescribeTopicPartitionsRequest;
use tidewheel_protocol::messages::fetch::FetchRequest;
use tidewheel_protocol::messages::find_coordinator::FindCoordinatorRequest;
use tidewheel_protocol::messages::incremental_alter_configs::IncrementalAlterConfigsRequest;
use tidewheel_protocol::messages::join_group::JoinGroupResponse;
use tidewheel_protocol::messages::list_config_resources::ListConfigResourcesRequest;
use tidewheel_protocol::messages::list_groups::ListGroupsRequest;
use tidewheel_protocol::messages::metadata::MetadataRequest;
use tidewheel_protocol::messages::offset_fetch::OffsetFetchRequest;
use tidewheel_protocol::messages::produce::ProduceRequest;
use tidewheel_protocol::messages::sync_group::SyncGroupResponse;

use super::Context;
use crate::topics::Topic;

/// Bytes of answer for each byte of a request, where nothing more is known.
pub(super) const PER_REQUEST_BYTE: usize = 8;

const PER_TOPIC: usize = 512;
/// A partition between its append and its answer, and in the answer, where an error takes a sentence.
const PER_PRODUCED_PARTITION: usize = 512;
const PER_PARTITION: usize = 256;
/// A resource whose configs are altered, with the sentence of an error, and each of its settings.
const PER_ALTERED_RESOURCE: usize = 512;
const PER_ALTERED_SETTING: usize = 128;
/// A partition in a log directory.
const PER_LOG: usize = 64;
/// What a fetch takes for each of its topics and partitions, from its decoding until its answer has left:
/// looked up, on the list of those who wait, and answered.
const PER_FETCHED_TOPIC: usize = 512;
const PER_FETCHED_PARTITION: usize = 512;
/// A producer that a partition remembers.
const PER_PRODUCER: usize = 128;
/// What is told of a group, made once out of what it holds and once more as bytes.
const PER_HELD_BYTE: usize = 2;
/// A resource in a list, with the name of a topic.
const PER_LISTED_RESOURCE: usize = 512;
/// A group in a list, beside its name.
const PER_LISTED_GROUP: usize = 256;
/// A group that is described, with the sentence that says that it is none.
const PER_DESCRIBED_GROUP: usize = 512;
/// An offset of a partition that was asked for, beside its metadata.
const PER_FETCHED_OFFSET: usize = 192;
/// Metadata is bounded in units of UTF-16, as Java counts characters.
const UTF_8_PER_UNIT: usize = 3;
const PER_COORDINATOR: usize = 128;
/// A member as its leader is told of it, beside its ids and metadata.
const PER_JOINED_MEMBER: usize = 256;
/// What is told of a group of the newer protocol: the topic of each partition has its name there, and of a
/// member both what it reads and what it is to read.
const PER_HELD_CONSUMER_BYTE: usize = 8;
/// A topic that a member may read, beside its partitions.
const PER_ASSIGNED_TOPIC: usize = 128;
/// A partition of it.
const PER_ASSIGNED_PARTITION: usize = 8;
/// All settings of one resource, without and with their documentation.
const PER_RESOURCE: usize = 24 * 1024;
const PER_DOCUMENTED_RESOURCE: usize = 40 * 1024;

/// For answers that are about as long as their requests.
pub(super) fn like_request<Q>(_: &Context, _: &Q) -> usize {
    0
}

pub(super) fn produce(request: &ProduceRequest) -> usize {
    let topics = request.topic_data.iter();
    let partitions: usize = topics.map(|topic| topic.partition_data.len()).sum();
    partitions.saturating_mul(PER_PRODUCED_PARTITION)
}

/// Of a request for partitions, and for those that it names to be forgotten.
pub(super) fn fetch(request: &FetchRequest) -> usize {
    let wanted = request.topics.iter();
    let wanted = wanted.map(|topic| fetched_topic(&topic.topic, topic.partitions.len()));
    let forgotten = request.forgotten_topics_data.iter();
    let forgotten = forgotten.map(|topic| PER_FETCHED_TOPIC + size_of_val(&topic.partitions[..]));
    wanted.chain(forgotten).sum()
}

/// Its name is in the answer, too.
pub(super) fn fetched_topic(name: &str, partitions: usize) -> usize {
    PER_FETCHED_TOPIC + 2 * name.len() + partitions.saturating_mul(PER_FETCHED_PARTITION)
}

/// Exactly what a fetch's answer takes that is made already: its records are views of mapped files.
pub(super) fn fetched<R>(parts: &[Part<R>]) -> usize {
    let header = parts.iter().map(|part| match part {
        Part::Bytes(bytes) => bytes.len(),
        Part::Records(_) => 0,
    });
    header.sum::<usize>() + size_of_val(parts)
}

pub(super) fn metadata(context: &Context, request: &MetadataRequest) -> usize {
    let topics = context.broker.topics();
    let weigh = |topic: &Topic| PER_TOPIC + topic.partitions.len() * PER_PARTITION;
    match &request.topics {
        Some(wanted) if !(wanted.is_empty() && context.version == 0) => {
            let found = wanted.iter().map(|wanted| match &wanted.name {
                Some(name) => topics.named(name),
                None => topics.with_id(wanted.topic_id),
            });
            // One that is missing may be created.
            found
                .map(|topic| topic.map_or(PER_TOPIC, |topic| weigh(topic)))
                .sum()
        }
        _ => topics.iter().map(|topic| weigh(topic)).sum(),
    }
}

pub(super) fn describe_configs(_: &Context, request: &DescribeConfigsRequest) -> usize {
    let each = match request.include_documentation {
        true => PER_DOCUMENTED_RESOURCE,
        false => PER_RESOURCE,
    };
    request.resources.len().saturating_mul(each)
}

/// Every topic that is created comes back with all its settings.
pub(super) fn create_topics(_: &Context, request: &CreateTopicsRequest) -> usize {
    request.topics.len().saturating_mul(PER_RESOURCE)
}

pub(super) fn create_partitions(_: &Context, request: &CreatePartitionsRequest) -> usize {
    request.topics.len().saturating_mul(PER_TOPIC)
}

pub(super) fn alter_configs(_: &Context, request: &AlterConfigsRequest) -> usize {
    let resources = request.resources.iter();
    altered(resources.map(|resource| resource.configs.len()))
}

pub(super) fn incremental_alter_configs(
    _: &Context,
    request: &IncrementalAlterConfigsRequest,
) -> usize {
    let resources = request.resources.iter();
    altered(resources.map(|resource| resource.configs.len()))
}

fn altered(settings: impl Iterator<Item = usize>) -> usize {
    settings
        .map(|count| PER_ALTERED_RESOURCE + count * PER_ALTERED_SETTING)
        .sum()
}

/// However few are asked for, all logs are looked at.
pub(super) fn describe_log_dirs(context: &Context, _: &DescribeLogDirsRequest) -> usize {
    let logs = context.broker.topics().partitions().count();
    logs.saturating_mul(PER_LOG)
}

pub(super) fn describe_producers(context: &Context, request: &DescribeProducersRequest) -> usize {
    let topics = context.broker.topics();
    let asked = request.topics.iter().filter_map(|asked| {
        let topic = topics.named(&asked.name)?;
        let partitions = asked.partition_indexes.iter();
        let known = partitions.filter_map(|index| topic.partition(*index));
        Some(
            known
                .map(|partition| partition.log().producer_count())
                .sum::<usize>(),
        )
    });
    asked.sum::<usize>().saturating_mul(PER_PRODUCER)
}

pub(super) fn describe_topic_partitions(
    context: &Context,
    request: &DescribeTopicPartitionsRequest,
) -> usize {
    let limit = context.broker.config().max_request_partition_size_limit;
    let limit = request.response_partition_limit.clamp(1, limit);
    usize::try_from(limit).map_or(PER_PARTITION, |limit| limit.saturating_mul(PER_PARTITION))
}

/// The partitions that are named, and of their metadata no more than the group holds: each is answered once.
pub(super) fn offset_fetch(context: &Context, request: &OffsetFetchRequest) -> usize {
    let groups = context.broker.groups();
    let metadata_max = context.broker.config().group.offset_metadata_max_bytes;
    let mut asked: HashMap<&str, (usize, bool)> = HashMap::new();
    for group in &request.groups {
        let (partitions, all) = asked.entry(&group.group_id).or_default();
        let topics = group.topics.iter().flatten();
        *partitions += topics
            .map(|topic| topic.partition_indexes.len())
            .sum::<usize>();
        *all |= group.topics.is_none();
    }
    if context.version < 8 {
        let topics = request.topics.iter().flatten();
        let partitions = topics.map(|topic| topic.partition_indexes.len()).sum();
        asked.insert(&request.group_id, (partitions, request.topics.is_none()));
    }
    let weigh = |(group_id, (partitions, all)): (&str, (usize, bool))| {
        let held = PER_HELD_BYTE * groups.weight(group_id);
        let metadata = partitions.saturating_mul(PER_HELD_BYTE * UTF_8_PER_UNIT * metadata_max);
        let named = partitions.saturating_mul(PER_FETCHED_OFFSET);
        named + held.min(metadata) + if all { held } else { 0 }
    };
    asked.into_iter().map(weigh).sum()
}

/// Each group that is named is described once, with all that it holds.
pub(super) fn describe_groups(context: &Context, request: &DescribeGroupsRequest) -> usize {
    let groups = context.broker.groups();
    let named: HashSet<&str> = request.groups.iter().map(|group_id| &**group_id).collect();
    let weigh = |group_id| PER_DESCRIBED_GROUP + PER_HELD_BYTE * groups.weight(group_id);
    named.into_iter().map(weigh).sum()
}

/// The same of groups of the newer protocol.
pub(super) fn consumer_group_describe(
    context: &Context,
    request: &ConsumerGroupDescribeRequest,
) -> usize {
    let groups = context.broker.groups();
    let group_ids = request.group_ids.iter();
    let named: HashSet<&str> = group_ids.map(|group_id| &**group_id).collect();
    let weigh = |group_id| {
        let told = PER_HELD_CONSUMER_BYTE.saturating_mul(groups.weight(group_id));
        PER_DESCRIBED_GROUP.saturating_add(told)
    };
    named.into_iter().map(weigh).fold(0, usize::saturating_add)
}

/// However few are asked for, all are looked at.
pub(super) fn list_groups(context: &Context, _: &ListGroupsRequest) -> usize {
    let listed = context.broker.groups().listed();
    listed.groups * PER_LISTED_GROUP + listed.bytes * PER_HELD_BYTE
}

/// The same, with the ids of groups.
pub(super) fn list_config_resources(context: &Context, _: &ListConfigResourcesRequest) -> usize {
    let (topics, groups) = (context.broker.topics(), context.broker.group_configs());
    let ids = groups
        .keys()
        .map(|group_id| PER_LISTED_RESOURCE + 2 * group_id.len());
    topics.iter().count() * PER_LISTED_RESOURCE + ids.sum::<usize>()
}

/// Of an answer that is made: what it tells a leader of all members.
pub(super) fn joined(response: &JoinGroupResponse) -> usize {
    let members = response.members.iter().map(|member| {
        let instance = member.group_instance_id.as_ref().map_or(0, |id| id.len());
        PER_JOINED_MEMBER + 2 * (member.member_id.len() + instance + member.metadata.len())
    });
    members.sum()
}

/// Of an answer that is made: what a member may read.
pub(super) fn consumer_group_heartbeat(response: &ConsumerGroupHeartbeatResponse) -> usize {
    let topics = response.assignment.iter().flat_map(|a| &a.topic_partitions);
    topics
        .map(|topic| PER_ASSIGNED_TOPIC + PER_ASSIGNED_PARTITION * topic.partitions.len())
        .sum()
}

/// Of an answer that is made.
pub(super) fn synced(response: &SyncGroupResponse) -> usize {
    2 * response.assignment.len()
}

/// Each key of the request is answered with the address of the broker.
pub(super) fn find_coordinator(context: &Context, request: &FindCoordinatorRequest) -> usize {
    let each = PER_COORDINATOR + context.endpoint().host.len();
    request.coordinator_keys.len() * each
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewheel_protocol::StrBytes;
    use tidewheel_protocol::messages::offset_commit::{
        OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    };
    use tidewheel_protocol::messages::offset_fetch::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopics,
    };

    use super::*;
    use crate::api::dispatch;
    use crate::broker::Broker;
    use crate::groups::find_groups;
    use crate::testing;

    /// The name of a group that has committed ten offsets with much metadata.
    fn name() -> StrBytes {
        StrBytes::from("g".repeat(1_000))
    }

    async fn with_a_group(dir: &std::path::Path) -> Arc<Broker> {
        let broker = testing::broker(dir, &["offsets.topic.num.partitions=1"]);
        find_groups(&broker).await.unwrap();
        testing::create_topic(&broker, "t", 10).await;
        let partition = |partition_index| OffsetCommitRequestPartition {
            partition_index,
            committed_metadata: Some(StrBytes::from("m".repeat(4_096))),
            ..OffsetCommitRequestPartition::default()
        };
        let commit = OffsetCommitRequest {
            group_id: name(),
            generation_id_or_member_epoch: -1,
            topics: vec![OffsetCommitRequestTopic {
                name: StrBytes::from("t"),
                partitions: (0..10).map(partition).collect(),
            }],
            ..OffsetCommitRequest::default()
        };
        // Decided when it is begun; nobody flushes here.
        while broker.groups().weight(&name()) == 0 {
            drop(dispatch(testing::call(&broker, 8, &commit)).await.unwrap());
        }
        broker
    }

    /// A name of a few bytes that stood a thousand times in a request was thought to weigh nothing, or was
    /// answered a thousand times.
    #[tokio::test]
    async fn what_is_told_of_a_group_is_what_it_holds_once() {
        let dir = tempfile::tempdir().unwrap();
        let broker = with_a_group(dir.path()).await;
        let fetch = |times: usize, all: usize| {
            let group = |topics| OffsetFetchRequestGroup {
                group_id: name(),
                topics,
                ..OffsetFetchRequestGroup::default()
            };
            let topic = OffsetFetchRequestTopics {
                name: StrBytes::from("t"),
                partition_indexes: vec![3; times],
            };
            let mut groups = vec![group(Some(vec![topic]))];
            groups.extend((0..all).map(|_| group(None)));
            let request = OffsetFetchRequest {
                groups,
                ..OffsetFetchRequest::default()
            };
            let context = testing::call(&broker, 8, &request).context;
            offset_fetch(&context, &request)
        };
        let held = 10 * 4_096;
        assert!((2 * 4_096..10 * 4_096).contains(&fetch(1, 0)));
        assert!((2 * held..4 * held + 192_000).contains(&fetch(1_000, 0)));
        assert!((2 * held..8 * held).contains(&fetch(1, 1_000)));

        let describe = |times: usize| {
            let request = DescribeGroupsRequest {
                groups: vec![name(); times],
                ..DescribeGroupsRequest::default()
            };
            describe_groups(&testing::call(&broker, 5, &request).context, &request)
        };
        assert_eq!(describe(1_000), describe(1));
        let request = ListGroupsRequest::default();
        let listed = list_groups(&testing::call(&broker, 4, &request).context, &request);
        assert!((2_000..4_000).contains(&listed));
    }
}
