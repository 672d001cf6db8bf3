//! What tests of groups of the newer protocol ask for again and again.

use tidewheel_protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup, Member,
};
use tidewheel_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use tidewheel_protocol::{StrBytes, Uuid};

use super::{Client, eventually};

/// How a new member that wants these topics joins, under an id of its choice.
pub(crate) fn joining(
    group: &str,
    member_id: &str,
    topics: &[&str],
) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: StrBytes::from(group),
        member_id: StrBytes::from(member_id),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(topics.iter().map(|topic| StrBytes::from(*topic)).collect()),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// How a member says that it is alive and that nothing has changed.
pub(crate) fn alive(group: &str, member_id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: StrBytes::from(group),
        member_id: StrBytes::from(member_id),
        member_epoch: epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// The same of one that says what it has.
pub(crate) fn owning(
    group: &str,
    told: &ConsumerGroupHeartbeatResponse,
    partitions: Vec<TopicPartitions>,
) -> ConsumerGroupHeartbeatRequest {
    let member_id = told.member_id.clone().expect("a member");
    ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(partitions),
        ..alive(group, &member_id, told.member_epoch)
    }
}

pub(crate) fn heartbeat(
    client: &mut Client,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    client.call(1, request)
}

/// Joins when there is a coordinator.
pub(crate) fn join(
    client: &mut Client,
    group: &str,
    member_id: &str,
    topics: &[&str],
) -> ConsumerGroupHeartbeatResponse {
    let mut told = ConsumerGroupHeartbeatResponse::default();
    eventually("the member has joined", || {
        told = heartbeat(client, &joining(group, member_id, topics));
        told.error_code == 0
    });
    told
}

/// The partitions in an answer, where it names any.
pub(crate) fn assigned(told: &ConsumerGroupHeartbeatResponse) -> Option<Vec<(Uuid, Vec<i32>)>> {
    let assignment = told.assignment.as_ref()?;
    let topics = assignment.topic_partitions.iter();
    Some(
        topics
            .map(|topic| (topic.topic_id, topic.partitions.clone()))
            .collect(),
    )
}

pub(crate) fn described(client: &mut Client, group: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![StrBytes::from(group)],
        ..ConsumerGroupDescribeRequest::default()
    };
    let mut answer: ConsumerGroupDescribeResponse = client.call(1, &request);
    answer.groups.remove(0)
}

/// What a member may read and is to read, each as topics with numbers of partitions.
pub(crate) fn reads(member: &Member) -> [Vec<(&str, &[i32])>; 2] {
    [&member.assignment, &member.target_assignment].map(|assignment| {
        let topics = assignment.topic_partitions.iter();
        topics
            .map(|topic| (&*topic.topic_name, &topic.partitions[..]))
            .collect()
    })
}
