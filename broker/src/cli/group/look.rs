//! A group as its coordinator tells of it: members, committed offsets, and what there is to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::consumer_protocol::{ConsumerProtocolAssignment, PROTOCOL_TYPE};
use tidewheel_protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use tidewheel_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse,
};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use tidewheel_protocol::{ErrorCode, StrBytes, TopicPartition};

use crate::cli::kafka::client::{Client, ClientError, To};
use crate::cli::kafka::offsets::{END, leaders, offsets};
use crate::cli::kafka::{Tried, refused};
use crate::cli::outcome::Failure;
use crate::cli::table::escaped;

/// The state of a group that is not there, in answers before version 6.
const DEAD: &str = "Dead";

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// `classic` or `consumer`.
    pub(super) group_type: &'static str,
    pub(super) protocol_type: String,
    /// The chosen protocol or assignor.
    pub(super) protocol: String,
    pub(super) state: String,
    pub(super) members: Vec<Member>,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    /// Empty where the members speak a language of their own.
    pub(super) assignment: Vec<TopicPartition>,
}

/// How far a group is in a partition.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) partition: TopicPartition,
    /// The offset of the next record to read, if one was committed.
    pub(super) committed: Option<i64>,
    /// After the last record that consumers see; nothing where the partition is gone.
    pub(super) end: Option<i64>,
}

impl Progress {
    /// Unread records; nothing where that cannot be told.
    pub(super) fn lag(&self) -> Option<i64> {
        Some(self.end?.saturating_sub(self.committed?).max(0))
    }
}

/// One group, which must be there.
///
/// # Errors
/// Where it is not there or its coordinator does not answer.
pub(super) async fn group(client: &mut Client, name: &str) -> Result<Group, Failure> {
    let found = find(client, name).await?;
    found.ok_or_else(|| refused(&of(name), ErrorCode::GroupIdNotFound.code(), None))
}

/// One group, if it is there.
///
/// # Errors
/// Where its coordinator does not answer.
pub(super) async fn find(client: &mut Client, name: &str) -> Result<Option<Group>, Failure> {
    if let Some(group) = newer(client, name).await? {
        return Ok(Some(group));
    }
    let request = DescribeGroupsRequest {
        groups: vec![StrBytes::from(name)],
        ..DescribeGroupsRequest::default()
    };
    let to = To::Coordinator(name);
    let mut answer: DescribeGroupsResponse = client.call(to, i16::MAX, &request).await?;
    let found = answer.groups.pop().unwrap_or_default();
    match ErrorCode::from_code(found.error_code) {
        Some(ErrorCode::GroupIdNotFound) => return Ok(None),
        Some(ErrorCode::None) if found.group_state == DEAD || found.group_state.is_empty() => {
            return Ok(None);
        }
        Some(ErrorCode::None) => {}
        _ => {
            return Err(refused(
                &of(name),
                found.error_code,
                found.error_message.as_ref(),
            ));
        }
    }
    let is_consumer = found.protocol_type == PROTOCOL_TYPE;
    let members = found.members.into_iter().map(|member| Member {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        assignment: match is_consumer {
            true => assigned(member.member_assignment),
            false => Vec::new(),
        },
    });
    Ok(Some(Group {
        name: name.to_owned(),
        group_type: "classic",
        protocol_type: found.protocol_type.to_string(),
        protocol: found.protocol_data.to_string(),
        state: found.group_state.to_string(),
        members: members.collect(),
    }))
}

/// A group as messages name it.
pub(in crate::cli) fn of(name: &str) -> String {
    format!("group {}", escaped(name))
}

/// A group of the newer protocol; nothing where it is another one.
async fn newer(client: &mut Client, name: &str) -> Result<Option<Group>, Failure> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![StrBytes::from(name)],
        ..ConsumerGroupDescribeRequest::default()
    };
    let to = To::Coordinator(name);
    let answer = client.call(to, i16::MAX, &request).await;
    let mut answer: ConsumerGroupDescribeResponse = match answer {
        Err(ClientError::UnsupportedVersion { .. }) => return Ok(None),
        answer => answer?,
    };
    let found = answer.groups.pop().unwrap_or_default();
    match ErrorCode::from_code(found.error_code) {
        Some(ErrorCode::None) if found.group_state.is_empty() => return Ok(None),
        Some(ErrorCode::None) => {}
        Some(ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion) => return Ok(None),
        _ => {
            return Err(refused(
                &of(name),
                found.error_code,
                found.error_message.as_ref(),
            ));
        }
    }
    let members = found.members.into_iter().map(|member| {
        let topics = member.assignment.topic_partitions.into_iter();
        let assignment = topics.flat_map(|topic| numbered(&topic.topic_name, topic.partitions));
        Member {
            member_id: member.member_id.to_string(),
            instance_id: member.instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            assignment: assignment.collect(),
        }
    });
    Ok(Some(Group {
        name: name.to_owned(),
        group_type: "consumer",
        protocol_type: PROTOCOL_TYPE.to_owned(),
        protocol: found.assignor_name.to_string(),
        state: found.group_state.to_string(),
        members: members.collect(),
    }))
}

fn numbered(topic: &str, partitions: Vec<i32>) -> impl Iterator<Item = TopicPartition> + use<> {
    let topic: Arc<str> = Arc::from(topic);
    partitions.into_iter().map(move |partition| TopicPartition {
        topic: Arc::clone(&topic),
        partition,
    })
}

/// What the leader gave a member; nothing where that cannot be read.
pub(in crate::cli) fn assigned(assignment: Bytes) -> Vec<TopicPartition> {
    let read = ConsumerProtocolAssignment::decode(assignment);
    let topics = read.map_or_else(|_| Vec::new(), |read| read.assigned_partitions);
    let topics = topics.into_iter();
    topics
        .flat_map(|topic| numbered(&topic.topic, topic.partitions))
        .collect()
}

/// All that a group has committed. What nobody tells of single partitions is said, and noted.
///
/// # Errors
/// Where its coordinator does not tell.
pub(in crate::cli) async fn committed(
    client: &mut Client,
    name: &str,
    tried: &mut Tried,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let request = OffsetFetchRequest {
        group_id: StrBytes::from(name),
        topics: None,
        groups: vec![OffsetFetchRequestGroup {
            group_id: StrBytes::from(name),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        }],
        require_stable: false,
    };
    let to = To::Coordinator(name);
    let answer: OffsetFetchResponse = client.call(to, i16::MAX, &request).await?;
    let group = whole(answer);
    if group.error_code != 0 {
        return Err(refused(&of(name), group.error_code, None));
    }
    let mut committed = BTreeMap::new();
    for topic in group.topics {
        let topic_name: Arc<str> = Arc::from(&*topic.name);
        for one in topic.partitions {
            let partition = TopicPartition {
                topic: Arc::clone(&topic_name),
                partition: one.partition_index,
            };
            if one.error_code != 0 {
                let what = format!("{} in {}", of(name), escaped(&partition.to_string()));
                tried.note(refused(&what, one.error_code, None));
            } else if one.committed_offset >= 0 {
                committed.insert(partition, one.committed_offset);
            }
        }
    }
    Ok(committed)
}

/// The answer about one group; up to version 7 it has another form.
fn whole(mut answer: OffsetFetchResponse) -> OffsetFetchResponseGroup {
    if let Some(group) = answer.groups.pop() {
        return group;
    }
    let topics = answer.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter();
        let partitions = partitions.map(|one| OffsetFetchResponsePartitions {
            partition_index: one.partition_index,
            committed_offset: one.committed_offset,
            committed_leader_epoch: one.committed_leader_epoch,
            metadata: one.metadata,
            error_code: one.error_code,
        });
        OffsetFetchResponseTopics {
            name: topic.name,
            partitions: partitions.collect(),
        }
    });
    OffsetFetchResponseGroup {
        topics: topics.collect(),
        error_code: answer.error_code,
        ..OffsetFetchResponseGroup::default()
    }
}

/// How far a group is in all partitions in which it has committed something or that a member reads.
///
/// # Errors
/// Where somebody does not answer who has to.
pub(super) async fn progress(
    client: &mut Client,
    group: &Group,
    tried: &mut Tried,
) -> Result<Vec<Progress>, Failure> {
    let committed = committed(client, &group.name, tried).await?;
    let assigned = group.members.iter().flat_map(|member| &member.assignment);
    let partitions: BTreeSet<&TopicPartition> = committed.keys().chain(assigned).collect();
    let names: BTreeSet<String> = partitions.iter().map(|one| one.topic.to_string()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let mut leaders = match names.is_empty() {
        true => BTreeMap::new(),
        false => leaders(&client.metadata(Some(&names), false).await?.topics),
    };
    leaders.retain(|partition, _| partitions.contains(partition));
    let ends = offsets(client, &leaders, END).await?;
    let progress = partitions.into_iter().map(|partition| Progress {
        committed: committed.get(partition).copied(),
        end: ends.get(partition).and_then(|end| end.ok()),
        partition: partition.clone(),
    });
    Ok(progress.collect())
}
