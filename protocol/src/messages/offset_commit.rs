//! `OffsetCommit` (8): how far a group has read.
//!
//! 2 gives the retention for all in place of a timestamp for each; 3 adds the throttle time; 5 drops the
//! retention; 6 adds leader epochs; 7 static members; 8 is flexible; 9 is for both kinds of group
//! (KIP-848). 4 looks like 3. Version 0 kept offsets in ZooKeeper; 1 is gone from Kafka 4.0 but is what
//! sarama of 2020 to 2023 sends. 10, with topic ids, is not defined here.

use super::message;
use crate::types::StrBytes;

message! {
    /// Commits an offset in each of some partitions.
    pub struct OffsetCommitRequest (OffsetCommit, 1..=9) {
        /// The group.
        group_id: StrBytes, 0..;
        /// The generation or, with KIP-848, the epoch of the member; -1 from outside the group.
        generation_id_or_member_epoch: i32, 1.., default -1;
        /// The member's id; empty from outside the group.
        member_id: StrBytes, 1..;
        /// Its instance id, where it is static.
        group_instance_id: Option<StrBytes>, 7.., null 7.., default None;
        /// How long to keep the offsets, in ms; -1 for as long as the broker likes.
        retention_time_ms: i64, 2..=4, default -1;
        /// One entry per topic.
        topics: Vec<OffsetCommitRequestTopic>, 0..;
    }

    /// The partitions of one topic.
    pub struct OffsetCommitRequestTopic {
        /// The topic's name.
        name: StrBytes, 0..=9;
        /// One entry per partition.
        partitions: Vec<OffsetCommitRequestPartition>, 0..;
    }

    /// What is committed in one partition.
    pub struct OffsetCommitRequestPartition {
        /// The partition's number.
        partition_index: i32, 0..;
        /// The offset that is to be read next.
        committed_offset: i64, 0..;
        /// Leader epoch of the last record read; -1 when unknown.
        committed_leader_epoch: i32, 6.., default -1;
        /// When it was committed, ms since 1970; -1 for now.
        commit_timestamp: i64, 1..=1, default -1;
        /// Anything the client wants to keep with it.
        committed_metadata: Option<StrBytes>, 0.., null 0..;
    }

    /// What became of each commit.
    pub struct OffsetCommitResponse (OffsetCommit, 1..=9) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 3..;
        /// One entry per topic.
        topics: Vec<OffsetCommitResponseTopic>, 0..;
    }

    /// The results for one topic.
    pub struct OffsetCommitResponseTopic {
        /// The topic's name.
        name: StrBytes, 0..=9;
        /// One entry per partition.
        partitions: Vec<OffsetCommitResponsePartition>, 0..;
    }

    /// The result for one partition.
    pub struct OffsetCommitResponsePartition {
        /// The partition's number.
        partition_index: i32, 0..;
        /// 0, or why nothing was committed.
        error_code: i16, 0..;
    }
}
