//! DeleteRecords: moves the start of partitions up; on disk when answered.

use std::sync::Arc;

use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopic, DeleteRecordsTopicResult,
};
use tidewheel_storage::StorageError;

use super::{Context, error};
use crate::broker::Broker;
use crate::partition::PartitionLog;
use crate::topics::TopicsSnapshot;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub(super) async fn handle(
    context: Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let topics = context.broker.topics();
    let mut wanted = Vec::new();
    let mut answers: Vec<DeleteRecordsTopicResult> = request
        .topics
        .iter()
        .map(|topic| prepare(&topics, topic, &mut wanted))
        .collect();
    let broker = Arc::clone(&context.broker);
    let work = move || delete(&broker, &wanted);
    let outcomes = context.broker.read_blocking(work).await.unwrap_or_default();
    let mut outcomes = outcomes.into_iter();
    let partitions = answers.iter_mut().flat_map(|topic| &mut topic.partitions);
    for partition in partitions.filter(|partition| partition.error_code == 0) {
        settle(partition, outcomes.next());
    }
    DeleteRecordsResponse {
        topics: answers,
        ..DeleteRecordsResponse::default()
    }
}

/// Deletes what lies in each log before its offset; where each log begins now. Waits for the disk.
pub(crate) fn delete(
    broker: &Broker,
    wanted: &[(Arc<PartitionLog>, i64)],
) -> Vec<Result<i64, StorageError>> {
    broker.delays().note_before_deletion(broker, wanted);
    broker
        .logs()
        .delete_records(wanted, broker.clock().now_ms())
}

/// Answers what is wrong, and notes what is to be done in the order of the answers without an error.
fn prepare(
    topics: &TopicsSnapshot,
    asked: &DeleteRecordsTopic,
    wanted: &mut Vec<(Arc<PartitionLog>, i64)>,
) -> DeleteRecordsTopicResult {
    let topic = topics.named(&asked.name);
    let mut result = |asked: &DeleteRecordsPartition| {
        let partition = topic.and_then(|topic| topic.partition(asked.partition_index));
        let error = match partition {
            Some(_) if topic.is_some_and(|topic| topic.is_internal()) => {
                ErrorCode::InvalidTopicException
            }
            Some(partition) => {
                let log = Arc::clone(partition.log());
                let offset = match asked.offset {
                    HIGH_WATERMARK => log.offsets().high_watermark,
                    offset => offset,
                };
                wanted.push((log, offset));
                ErrorCode::None
            }
            None => ErrorCode::UnknownTopicOrPartition,
        };
        DeleteRecordsPartitionResult {
            partition_index: asked.partition_index,
            low_watermark: -1,
            error_code: error.code(),
        }
    };
    DeleteRecordsTopicResult {
        partitions: asked.partitions.iter().map(&mut result).collect(),
        name: asked.name.clone(),
    }
}

/// `None` where the broker went down before it was done.
fn settle(
    partition: &mut DeleteRecordsPartitionResult,
    outcome: Option<Result<i64, StorageError>>,
) {
    let (error, low_watermark) = match outcome {
        Some(Ok(start)) => (ErrorCode::None, start),
        Some(Err(error)) => (error::storage_code(&error), -1),
        None => (ErrorCode::UnknownServerError, -1),
    };
    partition.error_code = error.code();
    partition.low_watermark = low_watermark;
}
