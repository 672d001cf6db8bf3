//! What the coordinator writes to `__consumer_offsets`.

pub mod consumer;
mod consumer_encoding;
mod encoding;

use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::{StrBytes, Uuid};

use consumer::ConsumerGroupChange;
pub use encoding::OffsetsRecordError;

/// One record of `__consumer_offsets`: a key, and a value or, in a tombstone, none.
#[derive(Clone, Debug, PartialEq)]
pub enum OffsetsRecord {
    /// A committed offset, or its end.
    OffsetCommit {
        /// Which offset.
        key: OffsetKey,
        /// What it is; none deletes it.
        value: Option<CommittedOffset>,
    },
    /// A finished generation of a classic group, or the group's end.
    GroupMetadata {
        /// The group.
        group_id: Arc<str>,
        /// The generation; none deletes the group. Its offsets have records of their own.
        value: Option<GroupMetadata>,
    },
    /// One change to a group of the newer protocol.
    ConsumerGroup {
        /// The group.
        group_id: Arc<str>,
        /// What changes.
        change: ConsumerGroupChange,
    },
}

impl OffsetsRecord {
    /// The group that the record is about.
    #[must_use]
    pub fn group_id(&self) -> &Arc<str> {
        match self {
            OffsetsRecord::OffsetCommit { key, .. } => &key.group_id,
            OffsetsRecord::GroupMetadata { group_id, .. }
            | OffsetsRecord::ConsumerGroup { group_id, .. } => group_id,
        }
    }
}

/// Names an offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    /// The group.
    pub group_id: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, if the client knew it.
    pub leader_epoch: Option<i32>,
    /// The client's note, byte for byte.
    pub metadata: StrBytes,
    /// The topic's id, zero if the client did not name it.
    pub topic_id: Uuid,
    /// When it was committed, in ms since 1970.
    pub commit_timestamp_ms: i64,
    /// When it expires, where the client asked for a time of its own.
    pub expire_timestamp_ms: Option<i64>,
}

/// A finished generation of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The protocol type; none if the group never had a member.
    pub protocol_type: Option<Arc<str>>,
    /// The generation.
    pub generation: i32,
    /// The chosen protocol; none without members.
    pub protocol_name: Option<Arc<str>>,
    /// The leader's member id; none without members.
    pub leader: Option<Arc<str>>,
    /// Since when the group is in its state, in ms since 1970, if known.
    pub state_timestamp_ms: Option<i64>,
    /// The members, ordered by member id.
    pub members: Vec<GroupMember>,
}

impl GroupMetadata {
    /// What no group ever has: Kafka counts from 0.
    const OF_DELETION: i32 = -1;

    /// Says that the group is being deleted: its offsets follow, and then its end. To Kafka this is a group without
    /// members.
    pub(crate) fn deletion() -> GroupMetadata {
        GroupMetadata {
            protocol_type: None,
            generation: Self::OF_DELETION,
            protocol_name: None,
            leader: None,
            state_timestamp_ms: None,
            members: Vec::new(),
        }
    }

    /// Whether it says so.
    pub(crate) fn is_deletion(&self) -> bool {
        self.generation == Self::OF_DELETION && self.members.is_empty()
    }
}

/// A member of a finished generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The member's id.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The client's id.
    pub client_id: Arc<str>,
    /// The client's address.
    pub client_host: Arc<str>,
    /// How long a rebalance waits for the member.
    pub rebalance_timeout_ms: i32,
    /// Silence after which the member counts as gone.
    pub session_timeout_ms: i32,
    /// What the member said for the chosen protocol.
    pub subscription: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}
