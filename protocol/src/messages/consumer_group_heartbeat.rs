//! `ConsumerGroupHeartbeat` (68, KIP-848): all a consumer says to its group and hears from it.
//!
//! 1 adds regular expressions as subscriptions, and makes consumers choose their member ids (KIP-1082).

use super::message;
use crate::types::{StrBytes, Uuid};

message! {
    /// Joins, stays in or leaves a group. What has not changed since the last heartbeat is null or -1.
    pub struct ConsumerGroupHeartbeatRequest (ConsumerGroupHeartbeat, 0..=1) {
        /// The group.
        group_id: StrBytes, 0..;
        /// The member's id.
        member_id: StrBytes, 0..;
        /// The epoch it knows; 0 to join, -1 to leave, -2 to leave as a static member that comes back.
        member_epoch: i32, 0..;
        /// Its instance id, where it is static.
        instance_id: Option<StrBytes>, 0.., null 0.., default None;
        /// Its rack.
        rack_id: Option<StrBytes>, 0.., null 0.., default None;
        /// How long it may take to give partitions up, in ms.
        rebalance_timeout_ms: i32, 0.., default -1;
        /// The topics it wants.
        subscribed_topic_names: Option<Vec<StrBytes>>, 0.., null 0.., default None;
        /// The regular expression of the topics it wants.
        subscribed_topic_regex: Option<StrBytes>, 1.., null 1.., default None;
        /// The assignor it wants.
        server_assignor: Option<StrBytes>, 0.., null 0.., default None;
        /// The partitions it has.
        topic_partitions: Option<Vec<TopicPartitions>>, 0.., null 0.., default None;
    }

    /// What the member has to know.
    pub struct ConsumerGroupHeartbeatResponse (ConsumerGroupHeartbeat, 0..=1) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// 0, or what is wrong.
        error_code: i16, 0..;
        /// The same for people.
        error_message: Option<StrBytes>, 0.., null 0.., default None;
        /// The member's id.
        member_id: Option<StrBytes>, 0.., null 0.., default None;
        /// Its epoch.
        member_epoch: i32, 0..;
        /// When to come again, in ms.
        heartbeat_interval_ms: i32, 0..;
        /// What it may read; null where that has not changed.
        assignment: Option<Assignment>, 0.., null 0.., default None;
    }

    /// What a member may read.
    pub struct Assignment {
        /// One entry per topic.
        topic_partitions: Vec<TopicPartitions>, 0..;
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic's id.
        topic_id: Uuid, 0..;
        /// The partitions' numbers.
        partitions: Vec<i32>, 0..;
    }
}
