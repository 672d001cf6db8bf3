//! Committed offsets of one group.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use tidewheel_protocol::StrBytes;

use crate::records::CommittedOffset;

/// Estimated bytes of an offset beside its note: the entry of a tree and its part of the nodes.
const OFFSET_BYTES: usize = 128;
/// Estimated bytes of a topic beside its name.
const TOPIC_BYTES: usize = 128;

/// Committed offsets of one group, by topic and partition.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct GroupOffsets {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, CommittedOffset>>,
    count: usize,
    bytes: usize,
}

/// Estimated bytes that a new offset takes.
pub(crate) fn offset_bytes(metadata_len: usize) -> usize {
    OFFSET_BYTES + metadata_len
}

impl GroupOffsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many offsets there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Estimated bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.topics.get(topic)?.get(&partition)
    }

    /// Topics with at least one offset, in order.
    pub(crate) fn topics(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<i32, CommittedOffset>)> {
        self.topics.iter()
    }

    /// The same from one on.
    pub(crate) fn topics_from(
        &self,
        topic: &str,
    ) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<i32, CommittedOffset>)> {
        let from = (Bound::Included(topic), Bound::Unbounded);
        self.topics.range::<str, _>(from)
    }

    /// The offsets of one topic.
    pub(crate) fn of_topic(
        &self,
        topic: &str,
    ) -> Option<(&Arc<str>, &BTreeMap<i32, CommittedOffset>)> {
        self.topics.get_key_value(topic)
    }

    /// Stores an offset. Its note is copied: what comes in is a slice of a frame.
    pub(crate) fn put(&mut self, topic: &Arc<str>, partition: i32, mut offset: CommittedOffset) {
        offset.metadata = match offset.metadata.is_empty() {
            true => StrBytes::default(),
            false => StrBytes::from(offset.metadata.as_str()),
        };
        self.bytes += offset_bytes(offset.metadata.as_bytes().len());
        let partitions = self.topics.entry(Arc::clone(topic)).or_default();
        if partitions.is_empty() {
            self.bytes += TOPIC_BYTES + topic.len();
        }
        match partitions.insert(partition, offset) {
            Some(before) => self.bytes -= offset_bytes(before.metadata.as_bytes().len()),
            None => self.count += 1,
        }
    }

    /// Deletes an offset, if there is one.
    pub(crate) fn remove(&mut self, topic: &str, partition: i32) {
        let Some(partitions) = self.topics.get_mut(topic) else {
            return;
        };
        let Some(before) = partitions.remove(&partition) else {
            return;
        };
        self.count -= 1;
        self.bytes -= offset_bytes(before.metadata.as_bytes().len());
        if partitions.is_empty() {
            self.topics.remove(topic);
            self.bytes -= TOPIC_BYTES + topic.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_protocol::Uuid;

    use super::*;

    fn offset(offset: i64, metadata: &str) -> CommittedOffset {
        CommittedOffset {
            offset,
            leader_epoch: None,
            metadata: metadata.into(),
            topic_id: Uuid::ZERO,
            commit_timestamp_ms: 0,
            expire_timestamp_ms: None,
        }
    }

    #[test]
    fn what_was_stored_and_removed_leaves_nothing_behind() {
        let mut offsets = GroupOffsets::default();
        let topic: Arc<str> = "t".into();
        offsets.put(&topic, 0, offset(1, "first"));
        offsets.put(&topic, 0, offset(2, ""));
        offsets.put(&topic, 1, offset(3, "x"));
        assert_eq!(offsets.count(), 2);
        assert_eq!(offsets.bytes(), 2 * OFFSET_BYTES + 1 + TOPIC_BYTES + 1);
        assert_eq!(offsets.get("t", 0).unwrap().offset, 2);
        offsets.remove("t", 0);
        offsets.remove("t", 0);
        offsets.remove("other", 0);
        offsets.remove("t", 1);
        assert_eq!(offsets, GroupOffsets::default());
    }
}
