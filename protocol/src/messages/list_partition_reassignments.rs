//! `ListPartitionReassignments` (46, KIP-455): which partitions are on the move between brokers.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks which partitions are on the move.
    pub struct ListPartitionReassignmentsRequest (ListPartitionReassignments, 0..=0) {
        /// How long the answer may take, in ms.
        timeout_ms: i32, 0.., default 60_000;
        /// The partitions in question; null for all.
        topics: Option<Vec<ListPartitionReassignmentsTopics>>, 0.., null 0.., default None;
    }

    /// Partitions of one topic.
    pub struct ListPartitionReassignmentsTopics {
        /// The topic's name.
        name: StrBytes, 0..;
        /// The partitions' numbers.
        partition_indexes: Vec<i32>, 0..;
    }

    /// The partitions on the move.
    pub struct ListPartitionReassignmentsResponse (ListPartitionReassignments, 0..=0) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// Why there is no answer, for people.
        error_message: Option<StrBytes>, 0.., null 0..;
        /// One entry per topic.
        topics: Vec<OngoingTopicReassignment>, 0..;
    }

    /// The partitions of one topic that are on the move.
    pub struct OngoingTopicReassignment {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<OngoingPartitionReassignment>, 0..;
    }

    /// One partition on the move.
    pub struct OngoingPartitionReassignment {
        /// Its number.
        partition_index: i32, 0..;
        /// Node ids of its replicas now.
        replicas: Vec<i32>, 0..;
        /// Node ids of the replicas that are being added.
        adding_replicas: Vec<i32>, 0..;
        /// Node ids of the replicas that are being removed.
        removing_replicas: Vec<i32>, 0..;
    }
}
