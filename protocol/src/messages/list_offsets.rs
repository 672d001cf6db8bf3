//! `ListOffsets` (2): offsets by time or by place in the log.
//!
//! 2 adds the isolation level and the throttle time; 4 leader epochs; 6 is flexible; 7, 8 and 9 add
//! special timestamps (-3 largest timestamp, -4 first local offset, -5 last tiered offset).

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for one offset in each of some partitions.
    pub struct ListOffsetsRequest (ListOffsets, 1..=9) {
        /// Node id of a replica that asks; -1 for clients.
        replica_id: i32, 0..;
        /// 0: up to the high watermark; 1: up to the last stable offset.
        isolation_level: i8, 2..;
        /// One entry per topic.
        topics: Vec<ListOffsetsTopic>, 0..;
    }

    /// The partitions of one topic.
    pub struct ListOffsetsTopic {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<ListOffsetsPartition>, 0..;
    }

    /// What is asked of one partition.
    pub struct ListOffsetsPartition {
        /// The partition's number.
        partition_index: i32, 0..;
        /// The leader epoch the client knows; -1 to skip the check.
        current_leader_epoch: i32, 4.., default -1;
        /// ms since 1970, or a negative special value: -1 end, -2 start.
        timestamp: i64, 0..;
    }

    /// One offset per partition.
    pub struct ListOffsetsResponse (ListOffsets, 1..=9) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 2..;
        /// One entry per topic.
        topics: Vec<ListOffsetsTopicResponse>, 0..;
    }

    /// The answers for one topic.
    pub struct ListOffsetsTopicResponse {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<ListOffsetsPartitionResponse>, 0..;
    }

    /// The answer for one partition.
    pub struct ListOffsetsPartitionResponse {
        /// The partition's number.
        partition_index: i32, 0..;
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// Timestamp of the record found, ms since 1970; -1 where there is none.
        timestamp: i64, 1.., default -1;
        /// The offset; -1 where no record fits.
        offset: i64, 1.., default -1;
        /// Leader epoch of the record found.
        leader_epoch: i32, 4.., default -1;
    }
}
