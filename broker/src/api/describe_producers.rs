//! DescribeProducers: the idempotent producers that partitions remember.

use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use tidewheel_storage::producer_state::ProducerEntry;

use super::Context;
use crate::partition::Partition;

pub(super) async fn handle(
    context: Context,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = context.broker.topics();
    let answers = request.topics.into_iter().map(|asked| {
        let topic = topics.named(&asked.name);
        // Named twice, described once: an answer is bounded by what there is to tell.
        let mut indexes = asked.partition_indexes;
        indexes.sort_unstable();
        indexes.dedup();
        let partitions = indexes.into_iter().map(|index| {
            let partition = topic.and_then(|topic| topic.partition(index));
            answer(index, partition.map(AsRef::as_ref))
        });
        TopicResponse {
            partitions: partitions.collect(),
            name: asked.name,
        }
    });
    DescribeProducersResponse {
        topics: answers.collect(),
        ..DescribeProducersResponse::default()
    }
}

fn answer(partition_index: i32, partition: Option<&Partition>) -> PartitionResponse {
    let (error, producers) = match partition {
        Some(partition) => (ErrorCode::None, partition.log().producers()),
        None => (ErrorCode::UnknownTopicOrPartition, Vec::new()),
    };
    PartitionResponse {
        partition_index,
        error_code: error.code(),
        active_producers: producers
            .iter()
            .map(|(id, entry)| producer(*id, entry))
            .collect(),
        ..PartitionResponse::default()
    }
}

fn producer(producer_id: i64, entry: &ProducerEntry) -> ProducerState {
    ProducerState {
        producer_id,
        producer_epoch: i32::from(entry.epoch),
        last_sequence: entry.last_sequence(),
        last_timestamp: entry.last_append_ms,
        // It belongs to no transaction.
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    }
}
