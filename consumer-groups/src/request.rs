//! What may be asked of the coordinator. Every request concerns one group, except those that say so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::{StrBytes, Uuid};

use crate::records::consumer::TopicIdPartition;

/// Names a request to its sender: comes back with the reply, exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyToken(pub u64);

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRequest {
    /// A member wants to join, or to join again.
    Join(JoinRequest),
    /// A member asks for its assignment; the leader brings everybody's.
    Sync(SyncRequest),
    /// A member says that it is alive.
    Heartbeat(HeartbeatRequest),
    /// Members leave, or are removed by an administrator.
    Leave(LeaveRequest),
    /// A member of a group of the newer protocol joins, says that it is alive, or leaves.
    ConsumerHeartbeat(ConsumerHeartbeatRequest),
    /// Offsets are committed.
    CommitOffsets(CommitOffsetsRequest),
    /// Committed offsets are asked for.
    FetchOffsets(FetchOffsetsRequest),
    /// A group is described.
    Describe(DescribeRequest),
    /// A group of the newer protocol is described.
    DescribeConsumerGroup(DescribeRequest),
    /// All groups are listed.
    List(ListRequest),
    /// A group is deleted, with its offsets.
    DeleteGroup(DeleteGroupRequest),
    /// Offsets of a group are deleted.
    DeleteOffsets(DeleteOffsetsRequest),
    /// Topics were deleted: their offsets go, in all groups.
    TopicsDeleted(TopicsDeletedRequest),
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's id; empty for a new member.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The client's id, which begins the id of a new dynamic member.
    pub client_id: Arc<str>,
    /// The client's address as DescribeGroups shows it.
    pub client_host: Arc<str>,
    /// Silence after which the member counts as gone.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for the member; in version 0 of JoinGroup the session timeout.
    pub rebalance_timeout_ms: i32,
    /// For example `consumer` or `connect`.
    pub protocol_type: Arc<str>,
    /// The protocols (assignors) that the member supports, the most wanted first.
    pub protocols: Vec<JoinProtocol>,
    /// Whether a new dynamic member must come back with the id it is given (JoinGroup 4 and later).
    pub member_id_required: bool,
    /// Whether the member understands `skip_assignment` (JoinGroup 9 and later).
    pub supports_skip_assignment: bool,
    /// Random bits that make the id of a new member.
    pub new_member_uuid: u128,
}

impl JoinRequest {
    /// Whether a classic group answers with a member id to come back with.
    pub(crate) fn asks_for_id(&self) -> bool {
        self.member_id.is_empty() && self.instance_id.is_none() && self.member_id_required
    }

    /// Bytes that are kept of the member.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [
            &self.member_id,
            &self.client_id,
            &self.client_host,
            &self.protocol_type,
        ];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let instance = self.instance_id.as_ref().map_or(0, |text| text.len());
        texts + instance + crate::classic::member::protocol_bytes(&self.protocols)
    }
}

/// A protocol that a member supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinProtocol {
    /// Its name.
    pub name: Arc<str>,
    /// What the member says to the group's leader; never looked into, except by [`GroupRequest::DeleteOffsets`]
    /// and the expiry of offsets, where the protocol type is `consumer`.
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's id.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The generation that the member joined.
    pub generation: i32,
    /// The protocol type that the member believes in (SyncGroup 5 and later).
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that the member believes in (SyncGroup 5 and later).
    pub protocol_name: Option<Arc<str>>,
    /// From the leader: what each member gets.
    pub assignments: Vec<MemberAssignment>,
}

/// What one member gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAssignment {
    /// The member's id.
    pub member_id: Arc<str>,
    /// Its assignment, never looked into.
    pub assignment: Bytes,
}

/// Heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's id.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The generation that the member is in.
    pub generation: i32,
}

/// LeaveGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaveRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// One who leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct LeavingMember {
    /// The member's id; empty where an administrator removes a static member by its instance id.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
}

/// ConsumerGroupHeartbeat. What has not changed since the last one may be left out.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerHeartbeatRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's id; empty for a new member that does not choose its id.
    pub member_id: Arc<str>,
    /// Whether the member chooses its id itself (ConsumerGroupHeartbeat 1 and later).
    pub chooses_member_id: bool,
    /// The epoch that the member knows; 0 to join, -1 to leave, -2 to leave as a static member that comes
    /// back.
    pub epoch: i32,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// `client.rack`.
    pub rack_id: Option<Arc<str>>,
    /// The client's id.
    pub client_id: Arc<str>,
    /// The client's address.
    pub client_host: Arc<str>,
    /// How long the member may take to give partitions up; -1 if left out.
    pub rebalance_timeout_ms: i32,
    /// The topics that the member wants.
    pub topics: Option<Vec<Arc<str>>>,
    /// The regular expression of the topics that it wants; empty for none.
    pub regex: Option<Arc<str>>,
    /// The assignor that it wants.
    pub assignor: Option<Arc<str>>,
    /// The partitions that it reads.
    pub owned: Option<BTreeSet<TopicIdPartition>>,
    /// Random bits that make the id of a new member.
    pub new_member_uuid: u128,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitOffsetsRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's id; empty for a consumer that uses the group for its offsets only.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The generation or the epoch that the member is in; -1 for a consumer that uses the group for its offsets only.
    pub generation: i32,
    /// Whether the client understands [`GroupIdNotFound`](crate::GroupError::GroupIdNotFound)
    /// (OffsetCommit 9 and later).
    pub reports_unknown_group: bool,
    /// How long to keep the offsets, where the client says so (OffsetCommit 2 to 4).
    pub retention_ms: Option<i64>,
    /// What to commit.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitTopic {
    /// The topic.
    pub topic: Arc<str>,
    /// Its id, where the client named it (OffsetCommit 10 and later), else zero.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// One offset to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, if known.
    pub leader_epoch: Option<i32>,
    /// The client's note beside the offset, kept byte for byte; none is kept as an empty one.
    pub metadata: Option<StrBytes>,
    /// When the client says it committed, in ms since 1970 (OffsetCommit 1).
    pub commit_timestamp_ms: Option<i64>,
}

/// OffsetFetch.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchOffsetsRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member that asks, with its epoch, where it says so (OffsetFetch 9 and later).
    pub member: Option<(Arc<str>, i32)>,
    /// Which partitions; none for all that have an offset.
    pub topics: Option<Vec<TopicPartitions>>,
    /// Whether to refuse offsets that a transaction may still change. There are no transactions yet, so
    /// every offset is stable.
    pub require_stable: bool,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic: Arc<str>,
    /// Its id, where the client named it (OffsetFetch 10 and later), else zero: an offset that was committed
    /// under another id is none.
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// DescribeGroups, for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeRequest {
    /// The group.
    pub group_id: Arc<str>,
}

/// ListGroups. Concerns all groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListRequest {
    /// States to list, in any case; empty for all.
    pub states: Vec<String>,
    /// Types to list (`classic`, `consumer`), in any case; empty for all.
    pub types: Vec<String>,
}

/// DeleteGroups, for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteGroupRequest {
    /// The group.
    pub group_id: Arc<str>,
}

/// OffsetDelete.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteOffsetsRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Whose offsets to delete, by topic. Whoever asks divides what is more than
    /// [`GROUP_RETENTION_STEP`](tidewheel_config::limits::GROUP_RETENTION_STEP): all of it is done at once.
    pub topics: BTreeMap<Arc<str>, BTreeSet<i32>>,
}

/// Topics were deleted. Concerns all groups.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicsDeletedRequest {
    /// The topics and their ids: offsets in a topic that was made again since stay.
    pub topics: BTreeMap<Arc<str>, Uuid>,
}
