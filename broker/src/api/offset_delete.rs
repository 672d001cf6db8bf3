//! OffsetDelete: offsets of topics that a group no longer reads.

use std::sync::Arc;

use tidewheel_consumer_groups::reply::TopicResults;
use tidewheel_consumer_groups::request::{DeleteOffsetsRequest, TopicPartitions};
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};

use super::{Context, error};
use crate::topics::TopicsSnapshot;

pub(super) async fn handle(context: Context, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let topics = context.broker.topics();
    let (known, unknown): (Vec<_>, Vec<_>) = request
        .topics
        .into_iter()
        .map(|topic| split(&topics, topic))
        .unzip();
    let delete = GroupRequest::DeleteOffsets(DeleteOffsetsRequest {
        group_id: Arc::from(&*request.group_id),
        topics: known.into_iter().flatten().collect(),
    });
    let code = match context.broker.groups().ask(&request.group_id, delete).await {
        Ok(GroupReply::DeleteOffsets(Ok(done))) => {
            let mut topics: Vec<_> = done.iter().map(told).collect();
            topics.extend(unknown.into_iter().flatten());
            return OffsetDeleteResponse {
                topics,
                ..OffsetDeleteResponse::default()
            };
        }
        Ok(GroupReply::DeleteOffsets(Err(error))) => error::group_code(error),
        Ok(_) => ErrorCode::UnknownServerError,
        Err(reason) => error::no_coordinator_code(reason),
    };
    OffsetDeleteResponse {
        error_code: code.code(),
        ..OffsetDeleteResponse::default()
    }
}

/// The partitions of a topic that exist, and the answer about those that do not.
fn split(
    topics: &TopicsSnapshot,
    asked: OffsetDeleteRequestTopic,
) -> (Option<TopicPartitions>, Option<OffsetDeleteResponseTopic>) {
    let topic = topics.named(&asked.name);
    let indexes = asked.partitions.iter().map(|asked| asked.partition_index);
    let (known, unknown): (Vec<i32>, Vec<i32>) =
        indexes.partition(|index| topic.is_some_and(|topic| topic.partition(*index).is_some()));
    let known = (!known.is_empty()).then(|| TopicPartitions {
        topic: Arc::from(&*asked.name),
        topic_id: Uuid::ZERO,
        partitions: known,
    });
    let refused = |partition_index| OffsetDeleteResponsePartition {
        partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
    };
    let unknown = (!unknown.is_empty()).then(|| OffsetDeleteResponseTopic {
        name: asked.name,
        partitions: unknown.into_iter().map(refused).collect(),
    });
    (known, unknown)
}

fn told(topic: &TopicResults) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter();
    OffsetDeleteResponseTopic {
        name: StrBytes::from(&*topic.topic),
        partitions: partitions
            .map(|(partition_index, result)| OffsetDeleteResponsePartition {
                partition_index: *partition_index,
                error_code: error::group_outcome(*result).code(),
            })
            .collect(),
    }
}
