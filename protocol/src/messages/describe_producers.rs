//! `DescribeProducers` (61, KIP-664): which producers a partition remembers.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for the producers of partitions.
    pub struct DescribeProducersRequest (DescribeProducers, 0..=0) {
        /// One entry per topic.
        topics: Vec<TopicRequest>, 0..;
    }

    /// Partitions of one topic.
    pub struct TopicRequest {
        /// The topic's name.
        name: StrBytes, 0..;
        /// The partitions' numbers.
        partition_indexes: Vec<i32>, 0..;
    }

    /// The producers of partitions.
    pub struct DescribeProducersResponse (DescribeProducers, 0..=0) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per topic.
        topics: Vec<TopicResponse>, 0..;
    }

    /// Partitions of one topic.
    pub struct TopicResponse {
        /// The topic's name.
        name: StrBytes, 0..;
        /// One entry per partition.
        partitions: Vec<PartitionResponse>, 0..;
    }

    /// The producers of one partition.
    pub struct PartitionResponse {
        /// Its number.
        partition_index: i32, 0..;
        /// 0, or why they are not told.
        error_code: i16, 0..;
        /// Why they are not told, for people.
        error_message: Option<StrBytes>, 0.., null 0.., default None;
        /// One entry per producer.
        active_producers: Vec<ProducerState>, 0..;
    }

    /// One producer.
    pub struct ProducerState {
        /// Its id.
        producer_id: i64, 0..;
        /// Its epoch.
        producer_epoch: i32, 0..;
        /// Sequence number of its last record; -1 when it has none.
        last_sequence: i32, 0.., default -1;
        /// When it appended last, in ms since 1970; -1 when it never did.
        last_timestamp: i64, 0.., default -1;
        /// Epoch of its transaction coordinator.
        coordinator_epoch: i32, 0..;
        /// Where its open transaction starts; -1 when there is none.
        current_txn_start_offset: i64, 0.., default -1;
    }
}
