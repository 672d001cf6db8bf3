//! Groups as they stand, for those who watch: nobody is asked, and nothing waits for a disk but what the
//! coordinators do just now.

use std::sync::Arc;

use tidewheel_consumer_groups::{GroupView, OffsetView};

use super::Groups;
use crate::partition::Partition;
use crate::topics::TopicsSnapshot;

/// A group.
#[derive(Debug)]
pub(crate) struct WatchedGroup {
    pub(crate) id: Arc<str>,
    /// As ListGroups names it.
    pub(crate) state: &'static str,
    pub(crate) members: usize,
    /// How often its members have shared the partitions out anew.
    pub(crate) generation: i32,
    /// What it has committed, by topic and partition.
    pub(crate) offsets: Vec<WatchedOffset>,
}

/// An offset that a group has committed.
#[derive(Debug)]
pub(crate) struct WatchedOffset {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// The offset of the next record to read.
    pub(crate) committed: i64,
    /// Where it was committed, if that is still there.
    pub(crate) found: Option<Arc<Partition>>,
}

/// What a group has not read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The offset of the first of it, or where it will be.
    pub(crate) first: i64,
    /// How many offsets follow until the high watermark.
    pub(crate) records: u64,
}

impl WatchedOffset {
    /// What is not read; nothing where the partition is gone or offline. An offset beyond the end has read
    /// everything.
    pub(crate) fn unread(&self) -> Option<Unread> {
        let log = self.found.as_ref()?.log();
        if log.failure().is_some() {
            return None;
        }
        // Read after the commit, and the high watermark only moves on.
        let offsets = log.offsets();
        let first = self.committed.max(offsets.log_start);
        let records = offsets.high_watermark.saturating_sub(first);
        Some(Unread {
            first,
            records: u64::try_from(records).unwrap_or(0),
        })
    }
}

impl Groups {
    /// All groups that are read, by id. Waits for the coordinators one after the other.
    pub(crate) fn watch(&self, topics: &TopicsSnapshot) -> Vec<WatchedGroup> {
        let mut groups = Vec::new();
        for shard in self.all() {
            shard.watch(|view| groups.push(watched(view, topics)));
        }
        groups.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        groups
    }
}

fn watched(view: &GroupView<'_>, topics: &TopicsSnapshot) -> WatchedGroup {
    let offset = |view: OffsetView<'_>| {
        // An offset in a topic that was deleted and made again says nothing of the new one.
        let is_same = |id| view.topic_id.is_zero() || view.topic_id == id;
        let topic = topics.named(view.topic).filter(|topic| is_same(topic.id));
        WatchedOffset {
            topic: Arc::clone(view.topic),
            partition: view.partition,
            committed: view.offset,
            found: topic
                .and_then(|topic| topic.partition(view.partition))
                .map(Arc::clone),
        }
    };
    WatchedGroup {
        id: Arc::clone(view.group_id),
        state: view.state(),
        members: view.members(),
        generation: view.generation(),
        offsets: view.offsets().map(offset).collect(),
    }
}
