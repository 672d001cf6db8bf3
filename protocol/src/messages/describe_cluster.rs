//! `DescribeCluster` (60): the brokers, without topics. Flexible from version 0.
//!
//! 1 adds the type of endpoint; 2 fenced brokers.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for the nodes of the cluster.
    pub struct DescribeClusterRequest (DescribeCluster, 0..=2) {
        /// Whether to tell what the client may do to the cluster.
        include_cluster_authorized_operations: bool, 0..;
        /// 1 brokers, 2 controllers.
        endpoint_type: i8, 1.., default 1;
        /// Whether to list brokers that are fenced.
        include_fenced_brokers: bool, 2..;
    }

    /// The nodes of the cluster.
    pub struct DescribeClusterResponse (DescribeCluster, 0..=2) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// Why there is no answer, for people.
        error_message: Option<StrBytes>, 0.., null 0.., default None;
        /// 1 brokers, 2 controllers.
        endpoint_type: i8, 1.., default 1;
        /// The cluster's id.
        cluster_id: StrBytes, 0..;
        /// Node id of the controller; -1 for none.
        controller_id: i32, 0.., default -1;
        /// One entry per node.
        brokers: Vec<DescribeClusterBroker>, 0..;
        /// Bits of what the client may do to the cluster; `i32::MIN` where not asked.
        cluster_authorized_operations: i32, 0.., default i32::MIN;
    }

    /// One node.
    pub struct DescribeClusterBroker {
        /// Its node id.
        broker_id: i32, 0..;
        /// Its host.
        host: StrBytes, 0..;
        /// Its port.
        port: i32, 0..;
        /// Its rack.
        rack: Option<StrBytes>, 0.., null 0.., default None;
        /// Whether it is fenced.
        is_fenced: bool, 2..;
    }
}
