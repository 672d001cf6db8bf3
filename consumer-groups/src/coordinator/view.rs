//! What is seen of groups without asking them: for those who watch and change nothing.

use std::sync::Arc;

use tidewheel_protocol::Uuid;

use super::{Group, GroupCoordinator, Membership};

/// A group as it stands. What it tells may not be durable yet.
#[derive(Debug)]
pub struct GroupView<'a> {
    /// The group.
    pub group_id: &'a Arc<str>,
    group: &'a Group,
}

/// An offset that a group has committed.
#[derive(Clone, Copy, Debug)]
pub struct OffsetView<'a> {
    /// The topic.
    pub topic: &'a Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
    /// The id of the topic it was committed in, zero if it is not known.
    pub topic_id: Uuid,
    /// When it was committed, in ms since 1970.
    pub commit_timestamp_ms: i64,
}

impl GroupView<'_> {
    /// The state, as ListGroups names it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.group.membership {
            Membership::Classic(group) => group.state_name(),
            Membership::Consumer(group) => group.state_name(),
        }
    }

    /// How many members it has.
    #[must_use]
    pub fn members(&self) -> usize {
        match &self.group.membership {
            Membership::Classic(group) => group.members().len(),
            Membership::Consumer(group) => group.members().len(),
        }
    }

    /// The number of its generation or, of a group of the newer protocol, its epoch: how often its members
    /// have shared the partitions out anew.
    #[must_use]
    pub fn generation(&self) -> i32 {
        match &self.group.membership {
            Membership::Classic(group) => group.generation,
            Membership::Consumer(group) => group.epoch.epoch,
        }
    }

    /// What it has committed, by topic and partition.
    pub fn offsets(&self) -> impl Iterator<Item = OffsetView<'_>> {
        self.group.offsets.topics().flat_map(|(topic, partitions)| {
            let view = move |(partition, committed): (&i32, &crate::records::CommittedOffset)| {
                OffsetView {
                    topic,
                    partition: *partition,
                    offset: committed.offset,
                    topic_id: committed.topic_id,
                    commit_timestamp_ms: committed.commit_timestamp_ms,
                }
            };
            partitions.iter().map(view)
        })
    }
}

impl GroupCoordinator {
    /// All groups, ordered by group id.
    pub fn views(&self) -> impl Iterator<Item = GroupView<'_>> {
        let groups = self.groups.iter();
        groups.map(|(group_id, group)| GroupView { group_id, group })
    }
}
