//! The rules for topics that are to grow, in Kafka's answers.

use std::ops::Range;
use std::sync::Arc;

use tidewheel_config::{BrokerConfig, LogConfig, limits};
use tidewheel_protocol::TopicPartition;
use tidewheel_storage::LivePartition;

use crate::broker::BrokerError;
use crate::topics::{Topic, TopicsSnapshot};

/// What a client asks for one topic.
#[derive(Clone, Debug)]
pub(crate) struct NewPartitions {
    pub(crate) topic: String,
    /// How many the topic is to have altogether.
    pub(crate) count: i32,
    /// The brokers that are to hold each new partition; `None` leaves it to this broker.
    pub(crate) assignments: Option<Vec<Vec<i32>>>,
}

/// A topic that may grow.
#[derive(Clone, Debug)]
pub(crate) struct GrownTopic {
    pub(crate) topic: Arc<Topic>,
    /// How many partitions it has then.
    pub(crate) count: i32,
    log: LogConfig,
}

impl NewPartitions {
    /// Checks everything that one topic's request can get wrong.
    pub(crate) fn validate(
        self,
        config: &BrokerConfig,
        topics: &TopicsSnapshot,
    ) -> Result<GrownTopic, BrokerError> {
        let Some(topic) = topics.named(&self.topic) else {
            return Err(BrokerError::UnknownTopic { name: self.topic });
        };
        if topic.is_internal() {
            // Which partition keeps a group follows from their number.
            return Err(BrokerError::internal_topic(&topic.name));
        }
        let (present, wanted) = (topic.partition_count(), self.count);
        if wanted <= present {
            return Err(BrokerError::NotMorePartitions { present, wanted });
        }
        let max = limits::PARTITIONS_PER_TOPIC_MAX;
        if wanted > max {
            return Err(BrokerError::InvalidPartitions {
                partitions: wanted,
                max,
            });
        }
        if let Some(assignments) = &self.assignments {
            check_assignments(assignments, present..wanted, config.node_id)?;
        }
        let log = LogConfig::resolve(config, &topic.configs).map_err(|error| {
            BrokerError::InvalidConfig {
                reason: error.to_string(),
            }
        })?;
        Ok(GrownTopic {
            topic: Arc::clone(topic),
            count: wanted,
            log,
        })
    }
}

/// Every new partition has an entry, in order, that names only this broker.
fn check_assignments(
    assignments: &[Vec<i32>],
    new: Range<i32>,
    node_id: i32,
) -> Result<(), BrokerError> {
    let refused = |reason: String| Err(BrokerError::InvalidAssignment { reason });
    if assignments.len() != new.len() {
        let (named, added) = (assignments.len(), new.len());
        return refused(format!(
            "{named} partitions are assigned, but {added} are to be added"
        ));
    }
    for (partition, brokers) in new.zip(assignments) {
        if *brokers != [node_id] {
            return refused(format!(
                "partition {partition} can be assigned to broker {node_id} only, which is the only one"
            ));
        }
    }
    Ok(())
}

impl GrownTopic {
    /// The numbers of the new partitions.
    pub(crate) fn added(&self) -> Range<i32> {
        self.topic.partition_count()..self.count
    }

    /// What storage needs to know of the new partitions.
    pub(crate) fn live_partitions(&self) -> impl Iterator<Item = LivePartition> {
        self.added().map(|partition| LivePartition {
            tp: TopicPartition {
                topic: Arc::clone(&self.topic.name),
                partition,
            },
            topic_id: self.topic.id,
            config: self.log.clone(),
        })
    }
}
