//! The topics that there are, as groups see them.

use std::fmt::Debug;
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

/// All topics at one moment: what the members of a group of the newer protocol may be given, and what
/// their regular expressions are compared with. All coordinators look at the same.
pub trait Topics: Debug + Send + Sync {
    /// Another one for every other set of topics, and 0 only for none at all.
    fn version(&self) -> u64;

    /// The topic of that name.
    fn topic(&self, name: &str) -> Option<TopicInfo>;

    /// The name of the topic with that id.
    fn name(&self, id: Uuid) -> Option<&Arc<str>>;

    /// The names of all topics, in any order.
    fn names(&self) -> Box<dyn Iterator<Item = &Arc<str>> + '_>;
}

/// No topics at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoTopics;

impl Topics for NoTopics {
    fn version(&self) -> u64 {
        0
    }

    fn topic(&self, _: &str) -> Option<TopicInfo> {
        None
    }

    fn name(&self, _: Uuid) -> Option<&Arc<str>> {
        None
    }

    fn names(&self) -> Box<dyn Iterator<Item = &Arc<str>> + '_> {
        Box::new(std::iter::empty())
    }
}
