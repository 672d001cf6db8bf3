//! `OffsetDelete` (47, KIP-496): removes offsets a group has committed.

use super::message;
use crate::types::StrBytes;

message! {
    /// Removes the committed offsets of some partitions.
    pub struct OffsetDeleteRequest (OffsetDelete, 0..=0) {
        /// The group.
        group_id: StrBytes, 0..;
        /// One entry per topic.
        topics: Vec<OffsetDeleteRequestTopic>, 0..;
    }

    /// The partitions of one topic.
    pub struct OffsetDeleteRequestTopic {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<OffsetDeleteRequestPartition>, 0..;
    }

    /// One partition.
    pub struct OffsetDeleteRequestPartition {
        /// Its number.
        partition_index: i32, 0..;
    }

    /// What became of the offsets.
    pub struct OffsetDeleteResponse (OffsetDelete, 0..=0) {
        /// 0, or why none was removed.
        error_code: i16, 0..;
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per topic.
        topics: Vec<OffsetDeleteResponseTopic>, 0..;
    }

    /// The results for one topic.
    pub struct OffsetDeleteResponseTopic {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<OffsetDeleteResponsePartition>, 0..;
    }

    /// The result for one partition.
    pub struct OffsetDeleteResponsePartition {
        /// The partition's number.
        partition_index: i32, 0..;
        /// 0, or why its offset is still there.
        error_code: i16, 0..;
    }
}
