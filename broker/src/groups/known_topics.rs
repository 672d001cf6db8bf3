//! The topics as consumer groups look at them: the broker's own snapshot.

use std::sync::Arc;

use tidewheel_consumer_groups::{TopicInfo, Topics};
use tidewheel_protocol::Uuid;

use crate::topics::TopicsSnapshot;

impl Topics for TopicsSnapshot {
    fn version(&self) -> u64 {
        self.version()
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        let topic = self.named(name)?;
        Some(TopicInfo {
            id: topic.id,
            partitions: topic.partition_count(),
        })
    }

    fn name(&self, id: Uuid) -> Option<&Arc<str>> {
        self.with_id(id).map(|topic| &topic.name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &Arc<str>> + '_> {
        Box::new(self.iter().map(|topic| &topic.name))
    }
}
