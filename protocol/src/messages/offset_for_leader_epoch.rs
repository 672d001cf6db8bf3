//! `OffsetForLeaderEpoch` (23): where an epoch ends, so that clients notice truncation.
//!
//! 1 adds the epoch to the response; 2 the client's leader epoch and the throttle time; 3 the replica
//! id; 4 is flexible.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks where an epoch ends in each of some partitions.
    pub struct OffsetForLeaderEpochRequest (OffsetForLeaderEpoch, 0..=4) {
        /// Node id of a replica that asks; -1 for clients, -2 for tools.
        replica_id: i32, 3.., default -2;
        /// One entry per topic.
        topics: Vec<OffsetForLeaderTopic>, 0..;
    }

    /// The partitions of one topic.
    pub struct OffsetForLeaderTopic {
        /// The topic's name.
        topic: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<OffsetForLeaderPartition>, 0..;
    }

    /// What is asked of one partition.
    pub struct OffsetForLeaderPartition {
        /// The partition's number.
        partition: i32, 0..;
        /// The leader epoch the client knows; -1 to skip the check.
        current_leader_epoch: i32, 2.., default -1;
        /// The epoch whose end is asked for.
        leader_epoch: i32, 0..;
    }

    /// The ends of the epochs.
    pub struct OffsetForLeaderEpochResponse (OffsetForLeaderEpoch, 0..=4) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 2..;
        /// One entry per topic.
        topics: Vec<OffsetForLeaderTopicResult>, 0..;
    }

    /// The answers for one topic.
    pub struct OffsetForLeaderTopicResult {
        /// The topic's name.
        topic: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<EpochEndOffset>, 0..;
    }

    /// The answer for one partition.
    pub struct EpochEndOffset {
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// The partition's number.
        partition: i32, 0..;
        /// The largest epoch in the log up to the one asked for; -1 for none.
        leader_epoch: i32, 1.., default -1;
        /// Where that epoch ends: the first offset of the next one; -1 for none.
        end_offset: i64, 0.., default -1;
    }
}
