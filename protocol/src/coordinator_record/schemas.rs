//! The fields of the keys and values. Versions are those of the values.

use bytes::Bytes;

use super::RecordValue;
use crate::messages::message;
use crate::types::{StrBytes, Uuid};

message! {
    /// Whose offset it is.
    pub struct OffsetCommitKey {
        /// The group.
        group: StrBytes, 0..;
        /// The topic's name.
        topic: StrBytes, 0..;
        /// The partition's number.
        partition: i32, 0..;
    }

    /// A committed offset. 1 has an end of its own; 3 adds leader epochs; 4 is flexible.
    pub struct OffsetCommitValue {
        /// The offset that is to be read next.
        offset: i64, 0..;
        /// Leader epoch of the last record read; -1 when unknown.
        leader_epoch: i32, 3.., default -1;
        /// What the client keeps with it.
        metadata: StrBytes, 0..;
        /// When it was committed, ms since 1970.
        commit_timestamp: i64, 0..;
        /// When it ends, ms since 1970; -1 where the broker's retention decides.
        expire_timestamp: i64, 1..=1, default -1;
        /// The topic's id; zero when unknown.
        topic_id: Uuid, 4.., tag 0;
    }

    /// Which classic group it is.
    pub struct GroupMetadataKey {
        /// The group.
        group: StrBytes, 0..;
    }

    /// A classic group. 1 adds rebalance timeouts; 2 the time of the state; 3 static members; 4 is
    /// flexible.
    pub struct GroupMetadataValue {
        /// The kind of its protocol, such as `consumer`.
        protocol_type: StrBytes, 0..;
        /// Its generation.
        generation: i32, 0..;
        /// Its protocol; null where it has no members.
        protocol: Option<StrBytes>, 0.., null 0..;
        /// Member id of its leader; null where it has no members.
        leader: Option<StrBytes>, 0.., null 0..;
        /// Since when it is in its state, ms since 1970; -1 when unknown.
        current_state_timestamp: i64, 2.., default -1;
        /// Its members.
        members: Vec<MemberMetadata>, 0..;
    }

    /// A member of a classic group.
    pub struct MemberMetadata {
        /// Its id.
        member_id: StrBytes, 0..;
        /// Its instance id, where it is static.
        group_instance_id: Option<StrBytes>, 3.., null 3.., default None;
        /// Its client id.
        client_id: StrBytes, 0..;
        /// Where it comes from.
        client_host: StrBytes, 0..;
        /// How long a rebalance waits for it, in ms; -1 stands for the session timeout.
        rebalance_timeout: i32, 1.., default -1;
        /// How long it may be silent, in ms.
        session_timeout: i32, 0..;
        /// What it says in the group's protocol.
        subscription: Bytes, 0..;
        /// What it was assigned.
        assignment: Bytes, 0..;
    }

    /// Which KIP-848 group it is.
    pub struct ConsumerGroupMetadataKey {
        /// The group.
        group_id: StrBytes, 0..;
    }

    /// The epoch of a KIP-848 group.
    pub struct ConsumerGroupMetadataValue {
        /// The epoch.
        epoch: i32, 0..;
        /// A hash of all topics it subscribes to; 0 where there are none.
        metadata_hash: i64, 0.., tag 0;
    }

    /// Which KIP-848 group it is.
    pub struct ConsumerGroupPartitionMetadataKey {
        /// The group.
        group_id: StrBytes, 0..;
    }

    /// What the topics of a KIP-848 group looked like, up to Kafka 4.0.
    pub struct ConsumerGroupPartitionMetadataValue {
        /// One entry per topic.
        topics: Vec<TopicMetadata>, 0..;
    }

    /// What one topic looked like.
    pub struct TopicMetadata {
        /// Its id.
        topic_id: Uuid, 0..;
        /// Its name.
        topic_name: StrBytes, 0..;
        /// How many partitions it had.
        num_partitions: i32, 0..;
        /// The racks of its partitions, where known.
        partition_metadata: Vec<PartitionMetadata>, 0..;
    }

    /// The racks of one partition.
    pub struct PartitionMetadata {
        /// The partition's number.
        partition: i32, 0..;
        /// The racks.
        racks: Vec<StrBytes>, 0..;
    }

    /// Which member of which KIP-848 group it is.
    pub struct ConsumerGroupMemberMetadataKey {
        /// The group.
        group_id: StrBytes, 0..;
        /// The member's id.
        member_id: StrBytes, 0..;
    }

    /// A member of a KIP-848 group.
    pub struct ConsumerGroupMemberMetadataValue {
        /// Its instance id, where it is static.
        instance_id: Option<StrBytes>, 0.., null 0..;
        /// Its rack.
        rack_id: Option<StrBytes>, 0.., null 0..;
        /// Its client id.
        client_id: StrBytes, 0..;
        /// Where it comes from.
        client_host: StrBytes, 0..;
        /// The topics it wants.
        subscribed_topic_names: Vec<StrBytes>, 0..;
        /// The regular expression of the topics it wants.
        subscribed_topic_regex: Option<StrBytes>, 0.., null 0..;
        /// How long it may take to give partitions up, in ms.
        rebalance_timeout_ms: i32, 0.., default -1;
        /// The assignor it wants.
        server_assignor: Option<StrBytes>, 0.., null 0..;
        /// What it says in the classic protocol; null where it does not use that. The default is empty,
        /// not null, as in Kafka's schema.
        classic_member_metadata: Option<ClassicMemberMetadata>, 0.., null 0.., tag 0;
    }

    /// What a member that uses the classic protocol says.
    pub struct ClassicMemberMetadata {
        /// How long it may be silent, in ms.
        session_timeout_ms: i32, 0..;
        /// The protocols it can use, best first.
        supported_protocols: Vec<ClassicProtocol>, 0..;
    }

    /// One protocol a member can use.
    pub struct ClassicProtocol {
        /// Its name, that of an assignor.
        name: StrBytes, 0..;
        /// What the member says in it.
        metadata: Bytes, 0..;
    }

    /// Which KIP-848 group it is.
    pub struct ConsumerGroupTargetAssignmentMetadataKey {
        /// The group.
        group_id: StrBytes, 0..;
    }

    /// The epoch of a target assignment.
    pub struct ConsumerGroupTargetAssignmentMetadataValue {
        /// The group's epoch that it was made for.
        assignment_epoch: i32, 0..;
        /// When it was made, ms since 1970; 0 when unknown (KIP-1263).
        assignment_timestamp: i64, 0.., tag 0;
    }

    /// Which member of which KIP-848 group it is.
    pub struct ConsumerGroupTargetAssignmentMemberKey {
        /// The group.
        group_id: StrBytes, 0..;
        /// The member's id.
        member_id: StrBytes, 0..;
    }

    /// What a member is to read.
    pub struct ConsumerGroupTargetAssignmentMemberValue {
        /// One entry per topic.
        topic_partitions: Vec<TargetTopicPartition>, 0..;
    }

    /// Partitions of one topic that a member is to read.
    pub struct TargetTopicPartition {
        /// The topic's id.
        topic_id: Uuid, 0..;
        /// The partitions' numbers.
        partitions: Vec<i32>, 0..;
    }

    /// Which member of which KIP-848 group it is.
    pub struct ConsumerGroupCurrentMemberAssignmentKey {
        /// The group.
        group_id: StrBytes, 0..;
        /// The member's id.
        member_id: StrBytes, 0..;
    }

    /// What a member reads.
    pub struct ConsumerGroupCurrentMemberAssignmentValue {
        /// The epoch it has to name in its next heartbeat.
        member_epoch: i32, 0..;
        /// The epoch before, which it names where the answer with the new one was lost.
        previous_member_epoch: i32, 0..;
        /// 0 stable, 1 gives partitions up, 2 waits for partitions that others give up.
        state: i8, 0..;
        /// The partitions it has.
        assigned_partitions: Vec<CurrentTopicPartitions>, 0..;
        /// The partitions it has to give up.
        partitions_pending_revocation: Vec<CurrentTopicPartitions>, 0..;
    }

    /// Partitions of one topic that a member has.
    pub struct CurrentTopicPartitions {
        /// The topic's id.
        topic_id: Uuid, 0..;
        /// The partitions' numbers.
        partitions: Vec<i32>, 0..;
        /// The member epoch that each of them came with; null or empty when unknown.
        assignment_epochs: Option<Vec<i32>>, 0.., null 0.., tag 0;
    }

    /// Which regular expression of which KIP-848 group it is.
    pub struct ConsumerGroupRegularExpressionKey {
        /// The group.
        group_id: StrBytes, 0..;
        /// The regular expression.
        regular_expression: StrBytes, 0..;
    }

    /// What a regular expression stands for.
    pub struct ConsumerGroupRegularExpressionValue {
        /// The names of the topics that it fits.
        topics: Vec<StrBytes>, 0..;
        /// The version of the metadata it was compared with.
        version: i64, 0..;
        /// When it was compared, ms since 1970.
        timestamp: i64, 0..;
    }
}

impl RecordValue for OffsetCommitValue {
    const VERSION_MAX: i16 = 4;
    const FLEXIBLE_FROM: i16 = 4;

    fn version(&self) -> i16 {
        // The one version with room for an end of its own.
        if self.expire_timestamp == -1 { 4 } else { 1 }
    }
}

impl RecordValue for GroupMetadataValue {
    const VERSION_MAX: i16 = 4;
    const FLEXIBLE_FROM: i16 = 4;

    fn version(&self) -> i16 {
        // 4 has nothing that 3 lacks, and older brokers cannot read it.
        3
    }
}

impl RecordValue for ConsumerGroupMetadataValue {}
impl RecordValue for ConsumerGroupPartitionMetadataValue {}
impl RecordValue for ConsumerGroupMemberMetadataValue {}
impl RecordValue for ConsumerGroupTargetAssignmentMetadataValue {}
impl RecordValue for ConsumerGroupTargetAssignmentMemberValue {}
impl RecordValue for ConsumerGroupCurrentMemberAssignmentValue {}
impl RecordValue for ConsumerGroupRegularExpressionValue {}
