//! `ElectLeaders` (43, KIP-183).
//!
//! 1 adds kinds of election and an error for the whole (KIP-460); 2 is flexible.

use super::message;
use crate::types::StrBytes;

message! {
    /// Starts the election of partition leaders.
    pub struct ElectLeadersRequest (ElectLeaders, 0..=2) {
        /// 0 for the preferred replica, 1 for any that lives.
        election_type: i8, 1..;
        /// The partitions in question; null for all.
        topic_partitions: Option<Vec<TopicPartitions>>, 0.., null 0..;
        /// How long the answer may take, in ms.
        timeout_ms: i32, 0.., default 60_000;
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic's name.
        topic: StrBytes, 0..;
        /// The partitions' numbers.
        partitions: Vec<i32>, 0..;
    }

    /// What became of each partition.
    pub struct ElectLeadersResponse (ElectLeaders, 0..=2) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// 0, or why there was no election at all.
        error_code: i16, 1..;
        /// One entry per topic.
        replica_election_results: Vec<ReplicaElectionResult>, 0..;
    }

    /// The results for one topic.
    pub struct ReplicaElectionResult {
        /// The topic's name.
        topic: StrBytes, 0..;
        /// One entry per partition.
        partition_result: Vec<PartitionResult>, 0..;
    }

    /// The result for one partition.
    pub struct PartitionResult {
        /// Its number.
        partition_id: i32, 0..;
        /// 0, or why there was no election.
        error_code: i16, 0..;
        /// Why there was no election, for people.
        error_message: Option<StrBytes>, 0.., null 0..;
    }
}
