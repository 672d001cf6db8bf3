//! ConsumerGroupDescribe: state and members of groups of the newer protocol.

use tidewheel_consumer_groups::reply::{
    ConsumerGroupDescription, DescribedConsumer, DescribedTopic,
};
use tidewheel_consumer_groups::request::DescribeRequest;
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use tidewheel_protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
    Member, TopicPartitions,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error, rights};
use crate::groups::NoCoordinator;

/// Kafka's numbers of the protocols of members.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub(super) async fn handle(
    context: Context,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let describe = |group_id| GroupRequest::DescribeConsumerGroup(DescribeRequest { group_id });
    let operations = rights::told(request.include_authorized_operations, rights::GROUP);
    let mut groups = Vec::new();
    let told = |group_id, reply| {
        let mut group = described(group_id, reply);
        if group.error_code == ErrorCode::None.code() {
            group.authorized_operations = operations;
        }
        groups.push(group);
    };
    let all = context.broker.groups();
    all.ask_named(request.group_ids, describe, told).await;
    ConsumerGroupDescribeResponse {
        groups,
        ..ConsumerGroupDescribeResponse::default()
    }
}

fn described(group_id: StrBytes, reply: Result<GroupReply, NoCoordinator>) -> DescribedGroup {
    let (code, message) = match reply {
        Ok(GroupReply::DescribeConsumerGroup(Ok(group))) => return found(group_id, group),
        Ok(GroupReply::DescribeConsumerGroup(Err(GroupError::GroupIdNotFound))) => {
            let message = format!("Group {group_id} not found.");
            (ErrorCode::GroupIdNotFound, Some(StrBytes::from(message)))
        }
        Ok(GroupReply::DescribeConsumerGroup(Err(refused))) => (error::group_code(refused), None),
        Ok(_) => (ErrorCode::UnknownServerError, None),
        Err(reason) => (error::no_coordinator_code(reason), None),
    };
    DescribedGroup {
        error_code: code.code(),
        error_message: message,
        group_id,
        ..DescribedGroup::default()
    }
}

fn found(group_id: StrBytes, group: ConsumerGroupDescription) -> DescribedGroup {
    DescribedGroup {
        group_id,
        group_state: StrBytes::from(group.state),
        group_epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: StrBytes::from(group.assignor),
        members: group.members.into_iter().map(member).collect(),
        ..DescribedGroup::default()
    }
}

fn member(member: DescribedConsumer) -> Member {
    let topics = member.topics.iter().map(|topic| StrBytes::from(&**topic));
    Member {
        member_id: StrBytes::from(&*member.member_id),
        instance_id: member.instance_id.as_deref().map(StrBytes::from),
        rack_id: member.rack_id.as_deref().map(StrBytes::from),
        member_epoch: member.epoch,
        client_id: StrBytes::from(&*member.client_id),
        client_host: StrBytes::from(&*member.client_host),
        subscribed_topic_names: topics.collect(),
        // Kafka leaves it empty where there is none.
        subscribed_topic_regex: Some(StrBytes::from(member.regex.as_deref().unwrap_or_default())),
        assignment: assignment(member.assignment),
        target_assignment: assignment(member.target_assignment),
        member_type: match member.uses_classic_protocol {
            true => CLASSIC,
            false => CONSUMER,
        },
    }
}

fn assignment(topics: Vec<DescribedTopic>) -> Assignment {
    let topics = topics.into_iter().map(|topic| TopicPartitions {
        topic_id: topic.topic_id,
        topic_name: StrBytes::from(&*topic.topic),
        partitions: topic.partitions,
    });
    Assignment {
        topic_partitions: topics.collect(),
    }
}
