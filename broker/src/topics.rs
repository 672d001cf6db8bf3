//! The topics: an immutable snapshot that requests read without a lock, replaced as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tidewheel_config::limits;
use tidewheel_protocol::Uuid;
use tidewheel_storage::LogId;

use crate::partition::Partition;

/// Where consumer groups keep their offsets and members, under Kafka's name.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Whether only the broker makes and writes to a topic of this name.
pub(crate) fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC
}

/// A topic with its partitions, in order of their numbers. A copy has the same partitions.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// The name.
    pub(crate) name: Arc<str>,
    /// The id: new with each creation, the same over restarts.
    pub(crate) id: Uuid,
    /// Configs set on the topic itself.
    pub(crate) configs: BTreeMap<String, String>,
    /// Partition 0 first.
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// How many partitions it has.
    pub(crate) fn partition_count(&self) -> i32 {
        // At most `limits::PARTITIONS_PER_TOPIC_MAX`.
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// Whether only the broker writes to it.
    pub(crate) fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// One partition by its number.
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// All topics at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicsSnapshot {
    /// Counts the changes until now.
    version: u64,
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
    by_log: HashMap<LogId, Arc<Partition>>,
    /// Names with a `.` or `_` in them, by their metric name.
    by_metric: HashMap<String, Arc<str>>,
}

/// Kafka's metric name of a topic, in which `.` and `_` are the same; `None` for a name that has neither
/// and so cannot be mistaken for another.
pub(crate) fn metric_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

impl TopicsSnapshot {
    /// Another one for every other snapshot, 0 only for the first, which is empty.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The topic of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic with that id.
    pub(crate) fn with_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The partition that owns a log.
    pub(crate) fn with_log(&self, log: LogId) -> Option<&Arc<Partition>> {
        self.by_log.get(&log)
    }

    /// All topics, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// How many partitions all topics have.
    pub(crate) fn partition_count(&self) -> usize {
        self.by_log.len()
    }

    /// All partitions, in no order.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.by_log.values()
    }

    /// Whether another topic has the same metric name.
    pub(crate) fn collides(&self, name: &str) -> bool {
        let other = metric_name(name).and_then(|metric| self.by_metric.get(&metric));
        other.is_some_and(|other| **other != *name)
    }

    fn insert(&mut self, topic: Arc<Topic>) {
        for partition in &topic.partitions {
            self.by_log
                .insert(partition.log().id(), Arc::clone(partition));
        }
        if let Some(metric) = metric_name(&topic.name) {
            self.by_metric.insert(metric, Arc::clone(&topic.name));
        }
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(Arc::clone(&topic.name), topic);
    }

    fn remove(&mut self, name: &str) {
        if let Some(topic) = self.by_name.remove(name) {
            self.by_id.remove(&topic.id);
            if let Some(metric) = metric_name(name) {
                self.by_metric.remove(&metric);
            }
            for partition in &topic.partitions {
                self.by_log.remove(&partition.log().id());
            }
        }
    }
}

/// The current snapshot. Only the change whose turn it is replaces it.
#[derive(Debug, Default)]
pub(crate) struct TopicRegistry {
    current: ArcSwap<TopicsSnapshot>,
}

impl TopicRegistry {
    /// What stands now.
    pub(crate) fn snapshot(&self) -> Arc<TopicsSnapshot> {
        self.current.load_full()
    }

    /// Adds topics in one step.
    pub(crate) fn insert_all(&self, topics: Vec<Arc<Topic>>) {
        self.change(|next| topics.into_iter().for_each(|topic| next.insert(topic)));
    }

    /// Takes topics out in one step.
    pub(crate) fn remove_all<'a>(&self, names: impl Iterator<Item = &'a str>) {
        self.change(|next| names.for_each(|name| next.remove(name)));
    }

    fn change(&self, change: impl FnOnce(&mut TopicsSnapshot)) {
        let mut next = TopicsSnapshot::clone(&self.current.load());
        next.version += 1;
        change(&mut next);
        self.current.store(Arc::new(next));
    }
}

/// What is wrong with a topic name, in Kafka's rules: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
pub(crate) fn topic_name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("the topic name is empty");
    }
    if name == "." || name == ".." {
        return Some("a topic cannot be called '.' or '..'");
    }
    if name.len() > limits::TOPIC_NAME_LEN_MAX {
        return Some("the topic name is longer than 249 characters");
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.bytes().all(legal) {
        return Some("a topic name consists of letters, digits, '.', '_' and '-'");
    }
    if name == tidewheel_storage::METADATA_TOPIC {
        return Some("this name is reserved for the broker's own metadata");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_kafkas_rules() {
        let long = "a".repeat(249);
        for good in ["a", "A.b_c-9", "...", "__consumer_offsets", long.as_str()] {
            assert_eq!(topic_name_problem(good), None, "{good}");
        }
        let too_long = "a".repeat(250);
        let bad = [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "ä",
            "a\n",
            "__tidewheel_metadata",
            &too_long,
        ];
        for bad in bad {
            assert!(topic_name_problem(bad).is_some(), "{bad}");
        }
    }
}
