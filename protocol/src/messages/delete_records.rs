//! `DeleteRecords` (21, KIP-107).
//!
//! Moves the start of partitions up. 2 is flexible; 1 looks like 0.

use super::message;
use crate::types::StrBytes;

message! {
    /// Deletes the records below an offset of each partition.
    pub struct DeleteRecordsRequest (DeleteRecords, 0..=2) {
        /// One entry per topic.
        topics: Vec<DeleteRecordsTopic>, 0..;
        /// How long the answer may take, in ms.
        timeout_ms: i32, 0..;
    }

    /// The partitions of one topic.
    pub struct DeleteRecordsTopic {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<DeleteRecordsPartition>, 0..;
    }

    /// One partition.
    pub struct DeleteRecordsPartition {
        /// Its number.
        partition_index: i32, 0..;
        /// The first offset to keep; -1 for the high watermark.
        offset: i64, 0..;
    }

    /// What became of each partition.
    pub struct DeleteRecordsResponse (DeleteRecords, 0..=2) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per topic.
        topics: Vec<DeleteRecordsTopicResult>, 0..;
    }

    /// The results for one topic.
    pub struct DeleteRecordsTopicResult {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<DeleteRecordsPartitionResult>, 0..;
    }

    /// The result for one partition.
    pub struct DeleteRecordsPartitionResult {
        /// Its number.
        partition_index: i32, 0..;
        /// Where it starts now; -1 with an error.
        low_watermark: i64, 0..;
        /// 0, or why nothing was deleted.
        error_code: i16, 0..;
    }
}
