//! `DescribeTopicPartitions` (75, KIP-966): metadata of topics, page by page.

use super::message;
use crate::types::{StrBytes, Uuid};

message! {
    /// Asks for a page of partitions.
    pub struct DescribeTopicPartitionsRequest (DescribeTopicPartitions, 0..=0) {
        /// The topics in question; none for all.
        topics: Vec<TopicRequest>, 0..;
        /// How many partitions the answer may hold.
        response_partition_limit: i32, 0.., default 2000;
        /// Where to begin; null for the beginning.
        cursor: Option<Cursor>, 0.., null 0.., default None;
    }

    /// One topic in question.
    pub struct TopicRequest {
        /// Its name.
        name: StrBytes, 0..;
    }

    /// A place in the list of all partitions.
    pub struct Cursor {
        /// The topic's name.
        topic_name: StrBytes, 0..;
        /// The partition's number.
        partition_index: i32, 0..;
    }

    /// A page of partitions.
    pub struct DescribeTopicPartitionsResponse (DescribeTopicPartitions, 0..=0) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per topic.
        topics: Vec<DescribeTopicPartitionsResponseTopic>, 0..;
        /// Where the next page begins; null when there is none.
        next_cursor: Option<Cursor>, 0.., null 0.., default None;
    }

    /// One topic.
    pub struct DescribeTopicPartitionsResponseTopic {
        /// 0, or why it is not described.
        error_code: i16, 0..;
        /// Its name.
        name: Option<StrBytes>, 0.., null 0..;
        /// Its id.
        topic_id: Uuid, 0..;
        /// Whether it is the broker's own.
        is_internal: bool, 0..;
        /// One entry per partition of the page.
        partitions: Vec<DescribeTopicPartitionsResponsePartition>, 0..;
        /// Bits of what the client may do to the topic; `i32::MIN` where not known.
        topic_authorized_operations: i32, 0.., default i32::MIN;
    }

    /// One partition.
    pub struct DescribeTopicPartitionsResponsePartition {
        /// 0, or what is wrong with it.
        error_code: i16, 0..;
        /// Its number.
        partition_index: i32, 0..;
        /// Node id of its leader.
        leader_id: i32, 0..;
        /// Epoch of its leader; -1 when unknown.
        leader_epoch: i32, 0.., default -1;
        /// Node ids of all replicas.
        replica_nodes: Vec<i32>, 0..;
        /// Node ids of the replicas in sync.
        isr_nodes: Vec<i32>, 0..;
        /// Node ids of replicas out of sync that may lead all the same.
        eligible_leader_replicas: Option<Vec<i32>>, 0.., null 0.., default None;
        /// Node ids that were eligible last.
        last_known_elr: Option<Vec<i32>>, 0.., null 0.., default None;
        /// Node ids of replicas that are offline.
        offline_replicas: Vec<i32>, 0..;
    }
}
