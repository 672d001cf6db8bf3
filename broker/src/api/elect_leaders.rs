//! ElectLeaders: on a single broker every partition has its preferred leader already.

use tidewheel_protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
    TopicPartitions,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::Context;
use crate::topics::TopicsSnapshot;

/// The kinds of election there are: preferred and unclean.
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

pub(super) async fn handle(context: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if !ELECTION_TYPES.contains(&request.election_type) {
        return ElectLeadersResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ElectLeadersResponse::default()
        };
    }
    let topics = context.broker.topics();
    // Asked for all, Kafka names only the partitions that are not led as wished: there are none.
    let asked = request.topic_partitions.unwrap_or_default();
    ElectLeadersResponse {
        replica_election_results: asked
            .into_iter()
            .map(|asked| answer(&topics, asked))
            .collect(),
        ..ElectLeadersResponse::default()
    }
}

fn answer(topics: &TopicsSnapshot, asked: TopicPartitions) -> ReplicaElectionResult {
    let topic = topics.named(&asked.topic);
    let result = |partition_id| {
        let known = topic.and_then(|topic| topic.partition(partition_id));
        let (error, message) = match known {
            Some(_) => (
                ErrorCode::ElectionNotNeeded,
                "the preferred replica leads already",
            ),
            None => (
                ErrorCode::UnknownTopicOrPartition,
                "there is no such partition",
            ),
        };
        PartitionResult {
            partition_id,
            error_code: error.code(),
            error_message: Some(StrBytes::from_static(message)),
        }
    };
    ReplicaElectionResult {
        partition_result: asked.partitions.into_iter().map(result).collect(),
        topic: asked.topic,
    }
}
