//! `CreateTopics` (19).
//!
//! 1 adds dry runs and error messages; 2 the throttle time; 4 lets -1 stand for the broker's defaults; 5
//! is flexible and returns the configuration; 7 returns topic ids. 3 and 6 look like the one before.

use super::message;
use crate::types::{StrBytes, Uuid};

message! {
    /// Creates topics.
    pub struct CreateTopicsRequest (CreateTopics, 0..=7) {
        /// One entry per topic.
        topics: Vec<CreatableTopic>, 0..;
        /// How long the answer may take, in ms.
        timeout_ms: i32, 0.., default 60_000;
        /// Whether only to check.
        validate_only: bool, 1..;
    }

    /// A topic to create.
    pub struct CreatableTopic {
        /// Its name.
        name: StrBytes, 0..;
        /// How many partitions; -1 for the default or with assignments.
        num_partitions: i32, 0..;
        /// How many replicas of each; -1 for the default or with assignments.
        replication_factor: i16, 0..;
        /// Which brokers hold which partition; empty to leave it to the broker.
        assignments: Vec<CreatableReplicaAssignment>, 0..;
        /// Configuration that differs from the defaults.
        configs: Vec<CreatableTopicConfig>, 0..;
    }

    /// The brokers of one partition.
    pub struct CreatableReplicaAssignment {
        /// The partition's number.
        partition_index: i32, 0..;
        /// Node ids, the preferred leader first.
        broker_ids: Vec<i32>, 0..;
    }

    /// One setting of a topic to create.
    pub struct CreatableTopicConfig {
        /// Its name.
        name: StrBytes, 0..;
        /// Its value.
        value: Option<StrBytes>, 0.., null 0..;
    }

    /// What became of each topic.
    pub struct CreateTopicsResponse (CreateTopics, 0..=7) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 2..;
        /// One entry per topic.
        topics: Vec<CreatableTopicResult>, 0..;
    }

    /// The result for one topic.
    pub struct CreatableTopicResult {
        /// Its name.
        name: StrBytes, 0..;
        /// Its new id.
        topic_id: Uuid, 7..;
        /// 0, or why it was not created.
        error_code: i16, 0..;
        /// Why it was not created, for people.
        error_message: Option<StrBytes>, 1.., null 0..;
        /// Why the configuration is missing from the answer, or 0.
        topic_config_error_code: i16, 5.., tag 0;
        /// How many partitions it has.
        num_partitions: i32, 5.., default -1;
        /// How many replicas each has.
        replication_factor: i16, 5.., default -1;
        /// Its whole configuration.
        configs: Option<Vec<CreatableTopicConfigs>>, 5.., null 5..;
    }

    /// One setting of a created topic.
    pub struct CreatableTopicConfigs {
        /// Its name.
        name: StrBytes, 5..;
        /// Its value.
        value: Option<StrBytes>, 5.., null 5..;
        /// Whether it cannot be changed.
        read_only: bool, 5..;
        /// Where the value comes from, as in DescribeConfigs.
        config_source: i8, 5.., default -1;
        /// Whether the value is a secret, then null.
        is_sensitive: bool, 5..;
    }
}
