//! DescribeTopicPartitions: metadata of topics in pages, sorted by name (KIP-966).

use std::collections::BTreeSet;

use tidewheel_protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, TopicRequest,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error, rights};
use crate::topics::{Topic, TopicsSnapshot, topic_name_problem};

pub(super) async fn handle(
    context: Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let cursor = request.cursor.unwrap_or(Cursor {
        topic_name: StrBytes::default(),
        partition_index: 0,
    });
    let begins_at_unasked = !cursor.topic_name.is_empty()
        && !request.topics.is_empty()
        && !request
            .topics
            .iter()
            .any(|topic| topic.name == cursor.topic_name);
    if begins_at_unasked || cursor.partition_index < 0 {
        return refused(request.topics);
    }
    let topics = context.broker.topics();
    let all = request.topics.is_empty();
    let names: BTreeSet<StrBytes> = if all {
        let names = topics.iter().map(|topic| StrBytes::from(&*topic.name));
        names.filter(|name| **name >= *cursor.topic_name).collect()
    } else {
        let names = request.topics.into_iter().map(|topic| topic.name);
        names.filter(|name| **name >= *cursor.topic_name).collect()
    };
    let limit = request
        .response_partition_limit
        .clamp(1, context.broker.config().max_request_partition_size_limit);
    page(&context, &topics, names, &cursor, limit)
}

/// The topics by name from the cursor on, until `limit` partitions are told.
fn page(
    context: &Context,
    topics: &TopicsSnapshot,
    names: BTreeSet<StrBytes>,
    cursor: &Cursor,
    limit: i32,
) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    let mut left = limit;
    for name in names {
        let from = match name == cursor.topic_name {
            true => cursor.partition_index,
            false => 0,
        };
        if left == 0 {
            response.next_cursor = Some(Cursor {
                topic_name: name,
                partition_index: 0,
            });
            break;
        }
        let Some(topic) = topics.named(&name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let to = from.saturating_add(left).min(count);
        response.topics.push(described(context, topic, from..to));
        if to < count {
            response.next_cursor = Some(Cursor {
                topic_name: name,
                partition_index: to,
            });
            break;
        }
        left -= (to - from).max(0);
    }
    response
}

fn refused(topics: Vec<TopicRequest>) -> DescribeTopicPartitionsResponse {
    let refused = |topic: TopicRequest| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(topic.name),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    DescribeTopicPartitionsResponse {
        topics: topics.into_iter().map(refused).collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}

fn unknown(name: StrBytes) -> DescribeTopicPartitionsResponseTopic {
    let error = match topic_name_problem(&name) {
        Some(_) => ErrorCode::InvalidTopicException,
        None => ErrorCode::UnknownTopicOrPartition,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name),
        topic_authorized_operations: rights::TOPIC,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn described(
    context: &Context,
    topic: &Topic,
    range: std::ops::Range<i32>,
) -> DescribeTopicPartitionsResponseTopic {
    let node_id = context.broker.node_id();
    let partitions = range.filter_map(|partition_index| {
        let failed = topic.partition(partition_index)?.log().refusal();
        let error = failed.map_or(ErrorCode::None, |error| error::storage_code(&error));
        Some(DescribeTopicPartitionsResponsePartition {
            error_code: error.code(),
            partition_index,
            leader_id: node_id,
            leader_epoch: context.broker.leader_epoch(),
            replica_nodes: vec![node_id],
            isr_nodes: vec![node_id],
            // Nobody stands in for the only replica.
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..DescribeTopicPartitionsResponsePartition::default()
        })
    });
    DescribeTopicPartitionsResponseTopic {
        name: Some(StrBytes::from(&*topic.name)),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        topic_authorized_operations: rights::TOPIC,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
