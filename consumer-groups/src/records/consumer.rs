//! What the log says about groups of the newer protocol (KIP-848).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_protocol::Uuid;

use crate::request::JoinProtocol;

/// Names a partition by its topic's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIdPartition {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
}

/// Partitions with the member epoch that each of them came with; 0 where that is not known.
pub type OwnedPartitions = BTreeMap<TopicIdPartition, i32>;

/// Names of topics.
pub type Names = BTreeSet<Arc<str>>;

/// One change to a group. Where there is no value, what it names is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerGroupChange {
    /// The group's epoch, or the group's end. Its offsets have records of their own.
    Epoch(Option<GroupEpoch>),
    /// What the group's topics looked like, as Kafka wrote it before 4.1: only whether it is there.
    PartitionMetadata(bool),
    /// What a member wants.
    Member {
        /// The member.
        member_id: Arc<str>,
        /// What it wants.
        value: Option<Arc<ConsumerMember>>,
    },
    /// For which epoch of the group the target assignment was made.
    TargetEpoch(Option<TargetEpoch>),
    /// What a member is to read.
    Target {
        /// The member.
        member_id: Arc<str>,
        /// The partitions.
        value: Option<Arc<BTreeSet<TopicIdPartition>>>,
    },
    /// What a member reads.
    Current {
        /// The member.
        member_id: Arc<str>,
        /// What it reads.
        value: Option<Arc<CurrentAssignment>>,
    },
    /// The topics that a regular expression stands for.
    Regex {
        /// The regular expression.
        regex: Arc<str>,
        /// The topics.
        value: Option<ResolvedRegex>,
    },
}

impl ConsumerGroupChange {
    /// Whether what it names is gone.
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            ConsumerGroupChange::Epoch(value) => value.is_none(),
            ConsumerGroupChange::PartitionMetadata(is_there) => !is_there,
            ConsumerGroupChange::Member { value, .. } => value.is_none(),
            ConsumerGroupChange::TargetEpoch(value) => value.is_none(),
            ConsumerGroupChange::Target { value, .. } => value.is_none(),
            ConsumerGroupChange::Current { value, .. } => value.is_none(),
            ConsumerGroupChange::Regex { value, .. } => value.is_none(),
        }
    }
}

/// The epoch of a group: it grows with every change of what its members want or can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    /// The epoch.
    pub epoch: i32,
    /// Of the topics that the members want, as they were then; 0 for none.
    pub metadata_hash: i64,
}

/// The epoch of a target assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetEpoch {
    /// The group's epoch that it was made for.
    pub epoch: i32,
    /// When it was made, in ms since 1970; 0 if unknown.
    pub timestamp_ms: i64,
}

/// What a member says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerMember {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// `client.rack`.
    pub rack_id: Option<Arc<str>>,
    /// The client's id.
    pub client_id: Arc<str>,
    /// The client's address.
    pub client_host: Arc<str>,
    /// The topics that it wants.
    pub topics: Arc<Names>,
    /// The regular expression of the topics that it wants.
    pub regex: Option<Arc<str>>,
    /// How long it may take to give partitions up.
    pub rebalance_timeout_ms: i32,
    /// The assignor that it wants.
    pub assignor: Option<Arc<str>>,
    /// What it says in the classic protocol, if it uses that.
    pub classic: Option<ClassicSide>,
}

/// What a member says that uses the classic protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicSide {
    /// Silence after which it counts as gone.
    pub session_timeout_ms: i32,
    /// The protocols that it supports, the most wanted first.
    pub protocols: Vec<JoinProtocol>,
}

/// How far a member has come to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it is to have.
    #[default]
    Stable,
    /// It must give partitions up first.
    UnrevokedPartitions,
    /// It waits for partitions that others give up.
    UnreleasedPartitions,
}

/// What a member reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// The epoch that the member has to name.
    pub epoch: i32,
    /// The epoch before, which it names if it did not hear of the new one.
    pub previous_epoch: i32,
    /// How far it has come.
    pub state: MemberState,
    /// The partitions that it may read.
    pub assigned: OwnedPartitions,
    /// The partitions that it is to give up and nobody else may have yet.
    pub revoking: OwnedPartitions,
}

/// The topics that a regular expression stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    /// Their names.
    pub topics: Arc<Names>,
    /// The version of the topics that it was compared with.
    pub version: i64,
    /// When it was compared, in ms since 1970.
    pub timestamp_ms: i64,
}
