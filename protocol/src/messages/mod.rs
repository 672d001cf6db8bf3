//! Every message this crate reads and writes, one module per API.
//!
//! Structs and fields have the names of Kafka's schemas, fields in snake case, and the schemas'
//! defaults as their `Default`. Error codes are the plain numbers: see [`ErrorCode`](crate::ErrorCode).
//! To add an API, write its definition after Kafka's schema in a module of its own (the `message!`
//! macro explains the form) and add its row to `for_each_api`: the oracle test and the fuzz targets
//! follow.

use std::ops::RangeInclusive;

use crate::api_key::ApiKey;
use crate::wire::field::{Decode, Encode, Form};
use crate::wire::{DecodeError, Reader, Writer};

mod definition;

pub mod alter_configs;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

pub(crate) use definition::message;

/// Calls a macro with one row per API: its module, its request and its response.
///
/// ```text
/// api_versions ApiVersionsRequest ApiVersionsResponse;
/// ```
/// What holds for every API, such as the comparison with the oracle, is written once over this list.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_api {
    ($callback:ident) => {
        $callback! {
            alter_configs AlterConfigsRequest AlterConfigsResponse;
            api_versions ApiVersionsRequest ApiVersionsResponse;
            consumer_group_describe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
            consumer_group_heartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
            create_partitions CreatePartitionsRequest CreatePartitionsResponse;
            create_topics CreateTopicsRequest CreateTopicsResponse;
            delete_groups DeleteGroupsRequest DeleteGroupsResponse;
            delete_records DeleteRecordsRequest DeleteRecordsResponse;
            delete_topics DeleteTopicsRequest DeleteTopicsResponse;
            describe_acls DescribeAclsRequest DescribeAclsResponse;
            describe_cluster DescribeClusterRequest DescribeClusterResponse;
            describe_configs DescribeConfigsRequest DescribeConfigsResponse;
            describe_groups DescribeGroupsRequest DescribeGroupsResponse;
            describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse;
            describe_producers DescribeProducersRequest DescribeProducersResponse;
            describe_topic_partitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
            elect_leaders ElectLeadersRequest ElectLeadersResponse;
            fetch FetchRequest FetchResponse<bytes::Bytes>;
            find_coordinator FindCoordinatorRequest FindCoordinatorResponse;
            heartbeat HeartbeatRequest HeartbeatResponse;
            incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
            init_producer_id InitProducerIdRequest InitProducerIdResponse;
            join_group JoinGroupRequest JoinGroupResponse;
            leave_group LeaveGroupRequest LeaveGroupResponse;
            list_config_resources ListConfigResourcesRequest ListConfigResourcesResponse;
            list_groups ListGroupsRequest ListGroupsResponse;
            list_offsets ListOffsetsRequest ListOffsetsResponse;
            list_partition_reassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
            metadata MetadataRequest MetadataResponse;
            offset_commit OffsetCommitRequest OffsetCommitResponse;
            offset_delete OffsetDeleteRequest OffsetDeleteResponse;
            offset_fetch OffsetFetchRequest OffsetFetchResponse;
            offset_for_leader_epoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
            produce ProduceRequest ProduceResponse;
            sync_group SyncGroupRequest SyncGroupResponse;
        }
    };
}

/// A request or a response. Only definitions in this module can be one.
#[expect(
    private_bounds,
    reason = "the field codecs are no interface: they would bind all users"
)]
pub trait Message: Decode + Encode {
    /// The API it belongs to.
    const KEY: ApiKey;
    /// The versions defined here.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact forms and tagged fields.
    const FLEXIBLE_FROM: i16 = Self::KEY.flexible_from();

    /// Reads the message. Bytes after it are left in the reader.
    ///
    /// # Errors
    /// For versions outside [`Message::VERSIONS`] and for bytes that are not the message.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                api: Self::KEY,
                version,
            });
        }
        Self::decode_field(reader, form::<Self>(version))
    }

    /// Writes the message as a version in [`Message::VERSIONS`] has it. Fields that the version lacks
    /// are left out; a null that it does not allow becomes empty.
    fn encode(&self, writer: &mut Writer, version: i16) {
        self.encode_field(writer, form::<Self>(version));
    }

    /// The first `error_code` in it that is not 0, of the message itself or of what it is about; 0 where all
    /// went well, and for messages that know no errors.
    fn first_error(&self) -> i16 {
        first_error(self)
    }
}

fn first_error(message: &impl Encode) -> i16 {
    let mut first = 0;
    message.error_codes(&mut |code| {
        if first == 0 {
            first = code;
        }
    });
    first
}

fn form<M: Message>(version: i16) -> Form {
    Form::new(version, M::KEY.is_flexible(version))
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
