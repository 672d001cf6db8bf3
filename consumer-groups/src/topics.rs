//! The topics that there are, as groups see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_protocol::Uuid;

/// A topic that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
}

/// A snapshot of all topics: what the members of a group of the newer protocol may be given, and what
/// their regular expressions are compared with. All coordinators share one.
#[derive(Debug, Default)]
pub struct TopicsImage {
    version: u64,
    by_name: BTreeMap<Arc<str>, TopicInfo>,
    names: BTreeMap<Uuid, Arc<str>>,
}

impl TopicsImage {
    /// The topics as they are at a `version`, which is another one for every other set of topics and never
    /// 0, the version of no topics at all.
    #[must_use]
    pub fn new(
        version: u64,
        topics: impl IntoIterator<Item = (Arc<str>, TopicInfo)>,
    ) -> TopicsImage {
        let by_name: BTreeMap<Arc<str>, TopicInfo> = topics.into_iter().collect();
        let names = by_name
            .iter()
            .map(|(name, topic)| (topic.id, Arc::clone(name)));
        TopicsImage {
            version,
            names: names.collect(),
            by_name,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn name(&self, id: Uuid) -> Option<&Arc<str>> {
        self.names.get(&id)
    }

    /// All topics, ordered by name.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&Arc<str>, TopicInfo)> {
        self.by_name.iter().map(|(name, topic)| (name, *topic))
    }
}
