//! `CreatePartitions` (37, KIP-195).
//!
//! 2 is flexible; 1 and 3 look like the one before.

use super::message;
use crate::types::StrBytes;

message! {
    /// Gives topics more partitions.
    pub struct CreatePartitionsRequest (CreatePartitions, 0..=3) {
        /// One entry per topic.
        topics: Vec<CreatePartitionsTopic>, 0..;
        /// How long the answer may take, in ms.
        timeout_ms: i32, 0..;
        /// Whether only to check.
        validate_only: bool, 0..;
    }

    /// A topic that is to grow.
    pub struct CreatePartitionsTopic {
        /// Its name.
        name: StrBytes, 0..;
        /// How many partitions it is to have altogether.
        count: i32, 0..;
        /// Which brokers hold each new partition; null to leave it to the broker.
        assignments: Option<Vec<CreatePartitionsAssignment>>, 0.., null 0..;
    }

    /// The brokers of one new partition.
    pub struct CreatePartitionsAssignment {
        /// Node ids, the preferred leader first.
        broker_ids: Vec<i32>, 0..;
    }

    /// What became of each topic.
    pub struct CreatePartitionsResponse (CreatePartitions, 0..=3) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per topic.
        results: Vec<CreatePartitionsTopicResult>, 0..;
    }

    /// The result for one topic.
    pub struct CreatePartitionsTopicResult {
        /// Its name.
        name: StrBytes, 0..;
        /// 0, or why it did not grow.
        error_code: i16, 0..;
        /// Why it did not grow, for people.
        error_message: Option<StrBytes>, 0.., null 0.., default None;
    }
}
