//! `Produce` (0): appends record batches.
//!
//! 3 is the first with magic 2; 5 adds the log start offset to the response; 7 allows zstd; 8 adds
//! record errors; 9 is flexible; 10 adds the current leader; 13 names topics by id alone. Versions 4, 6,
//! 11 and 12 look like the one before.

use bytes::Bytes;

use super::message;
use crate::types::{StrBytes, Uuid};

message! {
    /// Appends one record batch to each of some partitions.
    pub struct ProduceRequest (Produce, 3..=13) {
        /// The producer's transactional id, if it has one.
        transactional_id: Option<StrBytes>, 3.., null 3.., default None;
        /// Who must have the batch before the answer: 0 nobody (and no answer), 1 the leader, -1 all
        /// in-sync replicas.
        acks: i16, 0..;
        /// How long the answer may take, in ms.
        timeout_ms: i32, 0..;
        /// One entry per topic.
        topic_data: Vec<TopicProduceData>, 0..;
    }

    /// The batches for one topic.
    pub struct TopicProduceData {
        /// The topic's name.
        name: StrBytes, 0..=12;
        /// The topic's id.
        topic_id: Uuid, 13..;
        /// One entry per partition.
        partition_data: Vec<PartitionProduceData>, 0..;
    }

    /// The batch for one partition.
    pub struct PartitionProduceData {
        /// The partition's number.
        index: i32, 0..;
        /// The batch, as received.
        records: Option<Bytes>, 0.., null 0..;
    }

    /// What became of each batch.
    pub struct ProduceResponse (Produce, 3..=13) {
        /// One entry per topic.
        responses: Vec<TopicProduceResponse>, 0..;
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// Addresses of the leaders that entries name.
        node_endpoints: Vec<NodeEndpoint>, 10.., tag 0;
    }

    /// The results for one topic.
    pub struct TopicProduceResponse {
        /// The topic's name.
        name: StrBytes, 0..=12;
        /// The topic's id.
        topic_id: Uuid, 13..;
        /// One entry per partition.
        partition_responses: Vec<PartitionProduceResponse>, 0..;
    }

    /// The result for one partition.
    pub struct PartitionProduceResponse {
        /// The partition's number.
        index: i32, 0..;
        /// 0, or why the batch was not appended.
        error_code: i16, 0..;
        /// Offset of the first record; -1 after an error.
        base_offset: i64, 0..;
        /// When the broker appended the batch, ms since 1970; -1 if the topic keeps producers' times.
        log_append_time_ms: i64, 2.., default -1;
        /// The partition's first offset.
        log_start_offset: i64, 5.., default -1;
        /// The records because of which the batch was refused.
        record_errors: Vec<BatchIndexAndErrorMessage>, 8..;
        /// Why the batch was refused, for people.
        error_message: Option<StrBytes>, 8.., null 8.., default None;
        /// Who leads the partition, where the client asked the wrong broker.
        current_leader: LeaderIdAndEpoch, 10.., tag 0;
    }

    /// A record that was refused.
    pub struct BatchIndexAndErrorMessage {
        /// Its place in the batch, from 0.
        batch_index: i32, 8..;
        /// Why, for people.
        batch_index_error_message: Option<StrBytes>, 8.., null 8.., default None;
    }

    /// A partition's leader.
    pub struct LeaderIdAndEpoch {
        /// Its node id; -1 where unknown.
        leader_id: i32, 10.., default -1;
        /// Its epoch.
        leader_epoch: i32, 10.., default -1;
    }

    /// Where clients reach a node.
    pub struct NodeEndpoint {
        /// Its node id.
        node_id: i32, 10..;
        /// Its host.
        host: StrBytes, 10..;
        /// Its port.
        port: i32, 10..;
        /// Its rack.
        rack: Option<StrBytes>, 10.., null 10.., default None;
    }
}
