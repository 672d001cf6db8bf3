//! ListOffsets: the first, last and timestamped offsets of partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};
use tidewheel_storage::{StorageError, TimestampOffset};

use super::{Context, check_leader_epoch, error};
use crate::partition::Partition;

/// The timestamps that are questions of their own (KIP-734, KIP-405, KIP-1005).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

const NONE: TimestampOffset = TimestampOffset {
    timestamp: -1,
    offset: -1,
    leader_epoch: -1,
};

pub(super) async fn handle(context: Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let read_committed = request.isolation_level == 1;
    let asked = by_partition(request.topics);
    let mut topics: Vec<ListOffsetsTopicResponse> = Vec::new();
    for ((name, partition_index), questions) in asked {
        let answer = match questions.as_slice() {
            [asked] => {
                let topic = context.broker.topics().named(&name).cloned();
                match topic
                    .as_ref()
                    .and_then(|topic| topic.partition(partition_index))
                {
                    Some(partition) => ask(&context, partition, asked, read_committed).await,
                    None => Err(ErrorCode::UnknownTopicOrPartition),
                }
            }
            _ => Err(ErrorCode::InvalidRequest),
        };
        let answer = response(&context, partition_index, answer);
        match topics.last_mut().filter(|topic| topic.name == name) {
            Some(topic) => topic.partitions.push(answer),
            None => topics.push(ListOffsetsTopicResponse {
                name,
                partitions: vec![answer],
            }),
        }
    }
    ListOffsetsResponse {
        topics,
        ..ListOffsetsResponse::default()
    }
}

/// What is asked of each partition, sorted. A partition that stands twice in a request, be it under the
/// same topic or the topic once more, is refused once, as in Kafka.
fn by_partition(
    topics: Vec<ListOffsetsTopic>,
) -> BTreeMap<(StrBytes, i32), Vec<ListOffsetsPartition>> {
    let mut asked: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for topic in topics {
        for partition in topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            asked.entry(key).or_default().push(partition);
        }
    }
    asked
}

async fn ask(
    context: &Context,
    partition: &Arc<Partition>,
    asked: &ListOffsetsPartition,
    read_committed: bool,
) -> Result<TimestampOffset, ErrorCode> {
    let log = partition.log();
    let leader_epoch = context.broker.leader_epoch();
    check_leader_epoch(asked.current_leader_epoch, leader_epoch)?;
    if let Some(error) = log.unavailable() {
        return Err(error::storage_code(&error));
    }
    let offsets = log.offsets();
    let version = context.version;
    match asked.timestamp {
        LATEST => {
            let offset = if read_committed {
                offsets.last_stable
            } else {
                offsets.high_watermark
            };
            Ok(TimestampOffset {
                timestamp: -1,
                offset,
                leader_epoch,
            })
        }
        EARLIEST => Ok(earliest(partition, leader_epoch)),
        EARLIEST_LOCAL if version >= 8 => Ok(earliest(partition, leader_epoch)),
        // Nothing is tiered.
        LATEST_TIERED if version >= 9 => Ok(NONE),
        MAX_TIMESTAMP if version >= 7 => {
            search(context, partition, |partition| {
                partition.log().max_timestamp()
            })
            .await
        }
        timestamp if timestamp >= 0 => {
            search(context, partition, move |partition| {
                partition.log().find_by_timestamp(timestamp)
            })
            .await
        }
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

fn earliest(partition: &Partition, leader_epoch: i32) -> TimestampOffset {
    let log = partition.log();
    let offsets = log.offsets();
    let offset = offsets.log_start;
    let leader_epoch = match offset == offsets.log_end {
        // What will lie there is written under this start's epoch.
        true => leader_epoch,
        false => log.leader_epoch_at(offset).unwrap_or(-1),
    };
    TimestampOffset {
        timestamp: -1,
        offset,
        leader_epoch,
    }
}

/// Looks into batches, which may have to be read from disk and decompressed: not on a runtime worker.
async fn search(
    context: &Context,
    partition: &Arc<Partition>,
    look: impl FnOnce(&Partition) -> Result<Option<TimestampOffset>, StorageError> + Send + 'static,
) -> Result<TimestampOffset, ErrorCode> {
    let partition = Arc::clone(partition);
    match context.broker.look_up(move || look(&partition)).await {
        Some(Ok(found)) => Ok(found.unwrap_or(NONE)),
        Some(Err(error)) => Err(error::storage_code(&error)),
        None => Err(ErrorCode::UnknownServerError),
    }
}

fn response(
    context: &Context,
    partition_index: i32,
    answer: Result<TimestampOffset, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (error, found) = match answer {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, NONE),
    };
    debug_assert!(
        context.version >= 1,
        "version 0 has another shape and is not served"
    );
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: error.code(),
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: found.leader_epoch,
    }
}
