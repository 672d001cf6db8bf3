//! Offsets are committed.

use std::collections::BTreeMap;

use tidewheel_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use tidewheel_protocol::{StrBytes, TopicPartition};

use crate::cli::kafka::client::{Client, ClientError, To};

/// The request that commits these offsets from outside of the group.
pub(in crate::cli) fn request(
    group: &str,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, &committed_offset) in offsets {
        let partitions = topics.entry(&partition.topic).or_default();
        partitions.push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset,
            committed_metadata: Some(StrBytes::default()),
            ..OffsetCommitRequestPartition::default()
        });
    }
    let topics = topics.into_iter();
    let topics = topics.map(|(name, partitions)| OffsetCommitRequestTopic {
        name: StrBytes::from(name),
        partitions,
    });
    OffsetCommitRequest {
        group_id: StrBytes::from(group),
        topics: topics.collect(),
        ..OffsetCommitRequest::default()
    }
}

/// Commits, and gives Kafka's code of what became of each partition of which the coordinator tells.
///
/// # Errors
/// Where the coordinator does not answer.
pub(in crate::cli) async fn commit(
    client: &mut Client,
    group: &str,
    request: &OffsetCommitRequest,
) -> Result<BTreeMap<TopicPartition, i16>, ClientError> {
    let to = To::Coordinator(group);
    let answer: OffsetCommitResponse = client.call(to, i16::MAX, request).await?;
    let mut told = BTreeMap::new();
    for topic in answer.topics {
        told.extend(topic.partitions.iter().map(|one| {
            let partition = TopicPartition {
                topic: (&*topic.name).into(),
                partition: one.partition_index,
            };
            (partition, one.error_code)
        }));
    }
    Ok(told)
}
