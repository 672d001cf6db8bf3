//! `OffsetFetch` (9): what groups have committed.
//!
//! 2 may ask for all topics and adds an error for the whole; 3 adds the throttle time; 5 leader epochs; 6
//! is flexible; 7 may wait for open transactions (KIP-447); 8 asks for many groups at once (KIP-709); 9
//! names the member (KIP-848). 4 looks like 3. Version 0 read offsets from ZooKeeper; 10, with topic ids,
//! is not defined here.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for committed offsets: of one group up to version 7, of many from version 8 on.
    pub struct OffsetFetchRequest (OffsetFetch, 1..=9) {
        /// The group.
        group_id: StrBytes, 0..=7;
        /// The topics in question; null for all.
        topics: Option<Vec<OffsetFetchRequestTopic>>, 0..=7, null 2..=7;
        /// The groups in question.
        groups: Vec<OffsetFetchRequestGroup>, 8..;
        /// Whether partitions with offsets in an open transaction get an error in place of the old one.
        require_stable: bool, 7..;
    }

    /// The partitions of one topic.
    pub struct OffsetFetchRequestTopic {
        /// The topic's name.
        name: StrBytes, 0..=7;
        /// The partitions' numbers.
        partition_indexes: Vec<i32>, 0..=7;
    }

    /// What is asked of one group.
    pub struct OffsetFetchRequestGroup {
        /// The group.
        group_id: StrBytes, 8..;
        /// Id of the member that asks.
        member_id: Option<StrBytes>, 9.., null 9.., default None;
        /// Epoch of the member that asks; -1 from outside the group or in a classic one.
        member_epoch: i32, 9.., default -1;
        /// The topics in question; null for all.
        topics: Option<Vec<OffsetFetchRequestTopics>>, 8.., null 8..;
    }

    /// The partitions of one topic, from version 8 on.
    pub struct OffsetFetchRequestTopics {
        /// The topic's name.
        name: StrBytes, 8..=9;
        /// The partitions' numbers.
        partition_indexes: Vec<i32>, 8..;
    }

    /// What was committed.
    pub struct OffsetFetchResponse (OffsetFetch, 1..=9) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 3..;
        /// One entry per topic.
        topics: Vec<OffsetFetchResponseTopic>, 0..=7;
        /// 0, or why there is no answer.
        error_code: i16, 2..=7;
        /// One entry per group.
        groups: Vec<OffsetFetchResponseGroup>, 8..;
    }

    /// The answers for one topic.
    pub struct OffsetFetchResponseTopic {
        /// The topic's name.
        name: StrBytes, 0..=7;
        /// One entry per partition.
        partitions: Vec<OffsetFetchResponsePartition>, 0..=7;
    }

    /// What was committed in one partition.
    pub struct OffsetFetchResponsePartition {
        /// The partition's number.
        partition_index: i32, 0..=7;
        /// The offset; -1 where none was committed.
        committed_offset: i64, 0..=7;
        /// Leader epoch of the last record read; -1 when unknown.
        committed_leader_epoch: i32, 5..=7, default -1;
        /// What the client keeps with it.
        metadata: Option<StrBytes>, 0..=7, null 0..=7;
        /// 0, or why there is no answer.
        error_code: i16, 0..=7;
    }

    /// The answers for one group.
    pub struct OffsetFetchResponseGroup {
        /// The group.
        group_id: StrBytes, 8..;
        /// One entry per topic.
        topics: Vec<OffsetFetchResponseTopics>, 8..;
        /// 0, or why there is no answer.
        error_code: i16, 8..;
    }

    /// The answers for one topic, from version 8 on.
    pub struct OffsetFetchResponseTopics {
        /// The topic's name.
        name: StrBytes, 8..=9;
        /// One entry per partition.
        partitions: Vec<OffsetFetchResponsePartitions>, 8..;
    }

    /// What was committed in one partition, from version 8 on.
    pub struct OffsetFetchResponsePartitions {
        /// The partition's number.
        partition_index: i32, 8..;
        /// The offset; -1 where none was committed.
        committed_offset: i64, 8..;
        /// Leader epoch of the last record read; -1 when unknown.
        committed_leader_epoch: i32, 8.., default -1;
        /// What the client keeps with it.
        metadata: Option<StrBytes>, 8.., null 8..;
        /// 0, or why there is no answer.
        error_code: i16, 8..;
    }
}
