//! What tests of consumer groups ask for again and again.

use tidewheel_protocol::messages::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse,
};
use tidewheel_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use tidewheel_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse, OffsetFetchResponseGroup,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Broker, Client, eventually};

/// A connection to a broker that has read all its groups after a start.
pub(crate) fn loaded(broker: &Broker) -> Client {
    let mut client = broker.connect();
    eventually("all groups are loaded", || {
        let listed: ListGroupsResponse = client.call(5, &ListGroupsRequest::default());
        let loading = ErrorCode::CoordinatorLoadInProgress.code();
        assert!([0, loading].contains(&listed.error_code));
        listed.error_code == 0
    });
    client
}

pub(crate) fn find(client: &mut Client, keys: &[&str]) -> FindCoordinatorResponse {
    let request = FindCoordinatorRequest {
        coordinator_keys: keys.iter().map(|key| StrBytes::from(*key)).collect(),
        ..FindCoordinatorRequest::default()
    };
    client.call(4, &request)
}

/// Commits as a consumer that uses the group for its offsets only.
pub(crate) fn commit_request(
    group: &str,
    topic: &str,
    offsets: &[(i32, i64, &str)],
) -> OffsetCommitRequest {
    let partitions =
        offsets.iter().map(
            |(partition_index, offset, text)| OffsetCommitRequestPartition {
                partition_index: *partition_index,
                committed_offset: *offset,
                committed_metadata: Some(StrBytes::from(*text)),
                ..OffsetCommitRequestPartition::default()
            },
        );
    OffsetCommitRequest {
        group_id: StrBytes::from(group),
        topics: vec![OffsetCommitRequestTopic {
            name: StrBytes::from(topic),
            partitions: partitions.collect(),
        }],
        ..OffsetCommitRequest::default()
    }
}

pub(crate) fn codes(answer: &OffsetCommitResponse) -> Vec<i16> {
    let topics = answer.topics.iter();
    topics
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.error_code)
        .collect()
}

/// What a group is told that asks for all its offsets.
pub(crate) fn fetch_offsets(client: &mut Client, group: &str) -> OffsetFetchResponseGroup {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: StrBytes::from(group),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let mut answer: OffsetFetchResponse = client.call(8, &request);
    answer.groups.remove(0)
}

/// All offsets of a group: topic, partition, offset, text.
pub(crate) fn committed(client: &mut Client, group: &str) -> Vec<(String, i32, i64, String)> {
    let answer = fetch_offsets(client, group);
    assert_eq!(answer.error_code, 0);
    let topics = answer.topics.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let text = partition.metadata.clone().unwrap_or_default().to_string();
                let offset = partition.committed_offset;
                (
                    topic.name.to_string(),
                    partition.partition_index,
                    offset,
                    text,
                )
            })
        })
        .collect()
}
