//! What the coordinator answers, and what comes out of it as a whole.

use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::{StrBytes, Uuid};

use crate::error::GroupError;
use crate::records::OffsetsRecord;
use crate::request::JoinRequest;
use crate::request::ReplyToken;

/// What a request or a deadline led to. The contract of the crate says what to do with it.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Output {
    /// What to append to `__consumer_offsets`, in this order.
    pub records: Vec<OffsetsRecord>,
    /// Answers, also to requests that were parked. A request that has none here is parked.
    pub replies: Vec<(ReplyToken, GroupReply)>,
}

impl Output {
    pub(crate) fn reply(&mut self, token: ReplyToken, reply: GroupReply) {
        self.replies.push((token, reply));
    }
}

/// A reply, named like its request.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupReply {
    /// To JoinGroup.
    Join(JoinReply),
    /// To JoinGroup, too: an empty group of the newer protocol was in the way, and has ended. The request is to
    /// be made again.
    JoinAgain(JoinRequest),
    /// To SyncGroup.
    Sync(Result<Synced, GroupError>),
    /// To Heartbeat.
    Heartbeat(Result<(), GroupError>),
    /// To LeaveGroup: one entry for each who was to leave, in the order of the request.
    Leave(Result<Vec<MemberLeft>, GroupError>),
    /// To ConsumerGroupHeartbeat.
    ConsumerHeartbeat(Result<ConsumerHeartbeatReply, GroupError>),
    /// To OffsetCommit: one entry for each partition, in the order of the request.
    CommitOffsets(Vec<TopicResults>),
    /// To OffsetFetch.
    FetchOffsets(Result<Vec<FetchedTopic>, GroupError>),
    /// To DescribeGroups; an unknown group is [`GroupError::GroupIdNotFound`], which clients before
    /// DescribeGroups 6 are told as the state `Dead`.
    Describe(Result<GroupDescription, GroupError>),
    /// To ConsumerGroupDescribe.
    DescribeConsumerGroup(Result<ConsumerGroupDescription, GroupError>),
    /// To ListGroups, ordered by group id.
    List(Vec<ListedGroup>),
    /// To DeleteGroups.
    DeleteGroup(Result<(), GroupError>),
    /// To OffsetDelete: one entry for each partition.
    DeleteOffsets(Result<Vec<TopicResults>, GroupError>),
    /// To [`GroupRequest::TopicsDeleted`](crate::GroupRequest::TopicsDeleted).
    TopicsDeleted(Result<(), GroupError>),
}

/// The reply to JoinGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinReply {
    /// The member's id: with [`GroupError::MemberIdRequired`] the one to come back with.
    pub member_id: Arc<str>,
    /// What the member joined, or why it did not.
    pub result: Result<Joined, GroupError>,
}

/// A generation that a member has joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The generation.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that was chosen.
    pub protocol_name: Option<Arc<str>>,
    /// The leader's member id; empty if there is none.
    pub leader: Arc<str>,
    /// Whether the leader shall keep the assignment as it is.
    pub skip_assignment: bool,
    /// For the leader: all members. For others empty.
    pub members: Vec<JoinedMember>,
}

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    /// The member's id.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// What the member says for the chosen protocol.
    pub metadata: Bytes,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The group's protocol.
    pub protocol_name: Option<Arc<str>>,
    /// What the leader gave the member; empty if nothing.
    pub assignment: Bytes,
}

/// How one left.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberLeft {
    /// The member id of the request.
    pub member_id: Arc<str>,
    /// The instance id of the request.
    pub instance_id: Option<Arc<str>>,
    /// Whether it left.
    pub result: Result<(), GroupError>,
}

/// What a member of a group of the newer protocol is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerHeartbeatReply {
    /// The member's id.
    pub member_id: Arc<str>,
    /// Its epoch.
    pub epoch: i32,
    /// When to come again.
    pub heartbeat_interval_ms: i32,
    /// What it may read, unless that is what it was told before.
    pub assignment: Option<Vec<AssignedTopic>>,
}

/// Partitions of one topic that a member may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedTopic {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partitions, in order.
    pub partitions: Vec<i32>,
}

/// Results for partitions of one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicResults {
    /// The topic.
    pub topic: Arc<str>,
    /// Partitions, and how it went.
    pub partitions: Vec<(i32, Result<(), GroupError>)>,
}

/// Committed offsets of one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedTopic {
    /// The topic.
    pub topic: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// One partition's committed offset.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: i32,
    /// The offset, if one is committed.
    pub committed: Option<FetchedOffset>,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch that was committed with it.
    pub leader_epoch: Option<i32>,
    /// The id of the topic it was committed in, zero if it is not known.
    pub topic_id: Uuid,
    /// The client's note beside it.
    pub metadata: StrBytes,
    /// When it was committed, ms since 1970.
    pub commit_timestamp_ms: i64,
}

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDescription {
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Stable`.
    pub state: &'static str,
    /// The protocol type, empty if the group never had a member.
    pub protocol_type: Arc<str>,
    /// The chosen protocol; empty unless the group is stable.
    pub protocol_name: Arc<str>,
    /// The members, ordered by member id.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedMember {
    /// The member's id.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The client's id.
    pub client_id: Arc<str>,
    /// The client's address.
    pub client_host: Arc<str>,
    /// What the member says for the chosen protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// A group as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerGroupDescription {
    /// `Empty`, `Assigning`, `Reconciling` or `Stable`.
    pub state: &'static str,
    /// Its epoch.
    pub epoch: i32,
    /// The epoch of its target assignment.
    pub assignment_epoch: i32,
    /// Its assignor.
    pub assignor: &'static str,
    /// The members, ordered by member id.
    pub members: Vec<DescribedConsumer>,
}

/// A member as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedConsumer {
    /// The member's id.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// `client.rack`.
    pub rack_id: Option<Arc<str>>,
    /// Its epoch.
    pub epoch: i32,
    /// The client's id.
    pub client_id: Arc<str>,
    /// The client's address.
    pub client_host: Arc<str>,
    /// The topics that it names.
    pub topics: Vec<Arc<str>>,
    /// The regular expression of the topics that it wants.
    pub regex: Option<Arc<str>>,
    /// What it may read.
    pub assignment: Vec<DescribedTopic>,
    /// What it is to read.
    pub target_assignment: Vec<DescribedTopic>,
    /// Whether it uses the classic protocol.
    pub uses_classic_protocol: bool,
}

/// Partitions of one topic, with both names of the topic.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedTopic {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partitions, in order.
    pub partitions: Vec<i32>,
}

/// A group as ListGroups shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// The protocol type, empty if the group never had a member.
    pub protocol_type: Arc<str>,
    /// The state, as in [`GroupDescription::state`] or [`ConsumerGroupDescription::state`].
    pub state: &'static str,
    /// `classic` or `consumer`.
    pub group_type: &'static str,
}

impl GroupReply {
    /// The same kind of reply with an error for all that it is about: for replies whose records could not
    /// be appended, and for requests that do not reach a coordinator. That there is too much to append is told by an error
    /// of its own to those who commit, and to nobody else, as in Kafka.
    #[must_use]
    pub fn refused(self, error: GroupError) -> GroupReply {
        let error = match (&self, error) {
            (GroupReply::CommitOffsets(_), error) => error,
            (_, GroupError::InvalidCommitOffsetSize) => GroupError::UnknownServerError,
            (_, error) => error,
        };
        match self {
            GroupReply::Join(_) | GroupReply::JoinAgain(_) => {
                GroupReply::join_refused("".into(), error)
            }
            GroupReply::Sync(_) => GroupReply::Sync(Err(error)),
            GroupReply::Heartbeat(_) => GroupReply::Heartbeat(Err(error)),
            GroupReply::Leave(_) => GroupReply::Leave(Err(error)),
            GroupReply::ConsumerHeartbeat(_) => GroupReply::ConsumerHeartbeat(Err(error)),
            GroupReply::DescribeConsumerGroup(_) => GroupReply::DescribeConsumerGroup(Err(error)),
            GroupReply::CommitOffsets(topics) => {
                GroupReply::CommitOffsets(topics.into_iter().map(|t| t.refused(error)).collect())
            }
            GroupReply::FetchOffsets(_) => GroupReply::FetchOffsets(Err(error)),
            GroupReply::Describe(_) => GroupReply::Describe(Err(error)),
            GroupReply::List(groups) => GroupReply::List(groups),
            GroupReply::DeleteGroup(_) => GroupReply::DeleteGroup(Err(error)),
            GroupReply::DeleteOffsets(_) => GroupReply::DeleteOffsets(Err(error)),
            GroupReply::TopicsDeleted(_) => GroupReply::TopicsDeleted(Err(error)),
        }
    }

    pub(crate) fn join_refused(member_id: Arc<str>, error: GroupError) -> GroupReply {
        GroupReply::Join(JoinReply {
            member_id,
            result: Err(error),
        })
    }
}

impl TopicResults {
    /// An entry that was refused already keeps its own reason.
    fn refused(mut self, error: GroupError) -> TopicResults {
        for (_, result) in &mut self.partitions {
            *result = result.and(Err(error));
        }
        self
    }
}
