//! `ConsumerGroupDescribe` (69, KIP-848): groups of consumers with their members.
//!
//! 1 tells which members use the classic protocol (KIP-1099).

use super::message;
use crate::types::{StrBytes, Uuid};

message! {
    /// Asks what groups look like.
    pub struct ConsumerGroupDescribeRequest (ConsumerGroupDescribe, 0..=1) {
        /// The groups.
        group_ids: Vec<StrBytes>, 0..;
        /// Whether to tell what the client may do to them.
        include_authorized_operations: bool, 0..;
    }

    /// What the groups look like.
    pub struct ConsumerGroupDescribeResponse (ConsumerGroupDescribe, 0..=1) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per group.
        groups: Vec<DescribedGroup>, 0..;
    }

    /// One group.
    pub struct DescribedGroup {
        /// 0, or why it is not described.
        error_code: i16, 0..;
        /// The same for people.
        error_message: Option<StrBytes>, 0.., null 0.., default None;
        /// The group.
        group_id: StrBytes, 0..;
        /// Its state, such as `Stable`.
        group_state: StrBytes, 0..;
        /// Its epoch.
        group_epoch: i32, 0..;
        /// The epoch of its assignment.
        assignment_epoch: i32, 0..;
        /// Its assignor.
        assignor_name: StrBytes, 0..;
        /// Its members.
        members: Vec<Member>, 0..;
        /// Bits of what the client may do to it; `i32::MIN` where not asked.
        authorized_operations: i32, 0.., default i32::MIN;
    }

    /// One member.
    pub struct Member {
        /// Its id.
        member_id: StrBytes, 0..;
        /// Its instance id, where it is static.
        instance_id: Option<StrBytes>, 0.., null 0.., default None;
        /// Its rack.
        rack_id: Option<StrBytes>, 0.., null 0.., default None;
        /// Its epoch.
        member_epoch: i32, 0..;
        /// Its client id.
        client_id: StrBytes, 0..;
        /// Where it comes from.
        client_host: StrBytes, 0..;
        /// The topics it wants.
        subscribed_topic_names: Vec<StrBytes>, 0..;
        /// The regular expression of the topics it wants.
        subscribed_topic_regex: Option<StrBytes>, 0.., null 0.., default None;
        /// What it may read now.
        assignment: Assignment, 0..;
        /// What it is to read.
        target_assignment: Assignment, 0..;
        /// 0 where it uses the classic protocol, 1 where it does not, -1 when unknown.
        member_type: i8, 1.., default -1;
    }

    /// What a member reads.
    pub struct Assignment {
        /// One entry per topic.
        topic_partitions: Vec<TopicPartitions>, 0..;
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic's id.
        topic_id: Uuid, 0..;
        /// Its name.
        topic_name: StrBytes, 0..;
        /// The partitions' numbers.
        partitions: Vec<i32>, 0..;
    }
}
