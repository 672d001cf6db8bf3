//! OffsetForLeaderEpoch: where an epoch ended, so that a client sees when offsets were used again.

use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};

use super::error::storage_code;
use super::{Context, check_leader_epoch};
use crate::topics::Topic;

pub(super) async fn handle(
    context: Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = context.broker.topics();
    let leader_epoch = context.broker.leader_epoch();
    let results = request.topics.into_iter().map(|asked| {
        let topic = topics.named(&asked.topic);
        let partitions = asked
            .partitions
            .iter()
            .map(|partition| answer(topic.map(AsRef::as_ref), partition, leader_epoch))
            .collect();
        OffsetForLeaderTopicResult {
            topic: asked.topic,
            partitions,
        }
    });
    OffsetForLeaderEpochResponse {
        topics: results.collect(),
        ..OffsetForLeaderEpochResponse::default()
    }
}

fn answer(topic: Option<&Topic>, asked: &OffsetForLeaderPartition, current: i32) -> EpochEndOffset {
    let found = topic
        .and_then(|topic| topic.partition(asked.partition))
        .ok_or(ErrorCode::UnknownTopicOrPartition)
        .and_then(|partition| {
            check_leader_epoch(asked.current_leader_epoch, current)?;
            if let Some(error) = partition.log().unavailable() {
                return Err(storage_code(&error));
            }
            Ok(partition.log().end_offset_for_epoch(asked.leader_epoch))
        });
    let (error, (leader_epoch, end_offset)) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, (-1, -1)),
    };
    EpochEndOffset {
        error_code: error.code(),
        partition: asked.partition,
        leader_epoch,
        end_offset,
    }
}
