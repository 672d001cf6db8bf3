//! `Metadata` (3): brokers, topics, and who leads which partition.
//!
//! 1 adds racks, controller and internal topics; 2 the cluster id; 3 the throttle time; 4 the choice to
//! create topics; 5 offline replicas; 7 leader epochs; 8 authorized operations; 9 is flexible; 10 adds
//! topic ids, which 12 may ask by; 13 adds the error of the whole response.

use super::message;
use crate::types::{StrBytes, Uuid};

message! {
    /// Asks for the brokers and for some or all topics.
    pub struct MetadataRequest (Metadata, 0..=13) {
        /// The topics; null asks for all. In version 0 it is the empty list that asks for all.
        topics: Option<Vec<MetadataRequestTopic>>, 0.., null 1..;
        /// Whether the broker may create topics that do not exist.
        allow_auto_topic_creation: bool, 4.., default true;
        /// Whether to tell what the client may do to the cluster.
        include_cluster_authorized_operations: bool, 8..=10;
        /// Whether to tell what the client may do to the topics.
        include_topic_authorized_operations: bool, 8..;
    }

    /// A topic asked for, by name or by id.
    pub struct MetadataRequestTopic {
        /// Its id, or zero.
        topic_id: Uuid, 10..;
        /// Its name, or null to ask by id.
        name: Option<StrBytes>, 0.., null 10..;
    }

    /// The brokers, and the topics asked for.
    pub struct MetadataResponse (Metadata, 0..=13) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 3..;
        /// Every broker.
        brokers: Vec<MetadataResponseBroker>, 0..;
        /// The cluster's id.
        cluster_id: Option<StrBytes>, 2.., null 2.., default None;
        /// Node id of the controller, one of the brokers; -1 for none.
        controller_id: i32, 1.., default -1;
        /// One entry per topic.
        topics: Vec<MetadataResponseTopic>, 0..;
        /// Bits of what the client may do to the cluster; `i32::MIN` where not asked.
        cluster_authorized_operations: i32, 8..=10, default i32::MIN;
        /// 0, or why the client must bootstrap again.
        error_code: i16, 13..;
    }

    /// One broker.
    pub struct MetadataResponseBroker {
        /// Its node id.
        node_id: i32, 0..;
        /// Where clients reach it: host.
        host: StrBytes, 0..;
        /// Where clients reach it: port.
        port: i32, 0..;
        /// Its rack.
        rack: Option<StrBytes>, 1.., null 1.., default None;
    }

    /// One topic.
    pub struct MetadataResponseTopic {
        /// 0, or why there is no more to tell.
        error_code: i16, 0..;
        /// Its name; null for an id that no topic has.
        name: Option<StrBytes>, 0.., null 12..;
        /// Its id; zero for a name that no topic has.
        topic_id: Uuid, 10..;
        /// Whether it belongs to the broker.
        is_internal: bool, 1..;
        /// Its partitions.
        partitions: Vec<MetadataResponsePartition>, 0..;
        /// Bits of what the client may do to the topic; `i32::MIN` where not asked.
        topic_authorized_operations: i32, 8.., default i32::MIN;
    }

    /// One partition.
    pub struct MetadataResponsePartition {
        /// 0, or what is wrong with it.
        error_code: i16, 0..;
        /// Its number.
        partition_index: i32, 0..;
        /// Node id of its leader; -1 for none.
        leader_id: i32, 0..;
        /// Epoch of its leader.
        leader_epoch: i32, 7.., default -1;
        /// Nodes that hold it.
        replica_nodes: Vec<i32>, 0..;
        /// Nodes that hold all of it.
        isr_nodes: Vec<i32>, 0..;
        /// Nodes that hold it and are offline.
        offline_replicas: Vec<i32>, 5..;
    }
}
