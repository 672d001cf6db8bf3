//! `DescribeLogDirs` (35, KIP-113).
//!
//! 2 is flexible; 3 adds an error for the whole; 4 the size of the volume (KIP-827). 1 looks like 0.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks what lies in the log directories.
    pub struct DescribeLogDirsRequest (DescribeLogDirs, 0..=4) {
        /// The partitions in question; null for all.
        topics: Option<Vec<DescribableLogDirTopic>>, 0.., null 0..;
    }

    /// Partitions of one topic.
    pub struct DescribableLogDirTopic {
        /// The topic's name.
        topic: StrBytes, 0..;
        /// The partitions' numbers.
        partitions: Vec<i32>, 0..;
    }

    /// What lies in the log directories.
    pub struct DescribeLogDirsResponse (DescribeLogDirs, 0..=4) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// 0, or why there is no answer.
        error_code: i16, 3..;
        /// One entry per directory.
        results: Vec<DescribeLogDirsResult>, 0..;
    }

    /// One directory.
    pub struct DescribeLogDirsResult {
        /// 0, or what is wrong with the directory.
        error_code: i16, 0..;
        /// Its absolute path.
        log_dir: StrBytes, 0..;
        /// What lies in it, by topic.
        topics: Vec<DescribeLogDirsTopic>, 0..;
        /// Size of its volume in bytes; -1 when unknown.
        total_bytes: i64, 4.., default -1;
        /// What is free on its volume, in bytes; -1 when unknown.
        usable_bytes: i64, 4.., default -1;
    }

    /// The partitions of one topic in one directory.
    pub struct DescribeLogDirsTopic {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<DescribeLogDirsPartition>, 0..;
    }

    /// One partition.
    pub struct DescribeLogDirsPartition {
        /// Its number.
        partition_index: i32, 0..;
        /// Bytes of its log segments.
        partition_size: i64, 0..;
        /// How far this replica is behind, in offsets.
        offset_lag: i64, 0..;
        /// Whether this copy is about to replace the one in another directory.
        is_future_key: bool, 0..;
    }
}
