//! From what the metadata names to topics with open logs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tidewheel_config::{BrokerConfig, LogConfig};
use tidewheel_protocol::TopicPartition;
use tidewheel_storage::{LivePartition, LoadedLogs, LogManager, StorageError};
use tracing::error;

use super::BrokerError;
use crate::metadata::{MetadataStore, TopicRecord};
use crate::partition::{AppendWaiter, Partition, PartitionLog};
use crate::topics::Topic;

/// Opens the logs of every topic that the metadata names.
pub(super) fn load_topics(
    config: &BrokerConfig,
    logs: &LogManager<AppendWaiter>,
    metadata: &MetadataStore,
    leader_epoch: i32,
    now_ms: i64,
) -> Result<Vec<Arc<Topic>>, BrokerError> {
    let records: Vec<&TopicRecord> = metadata.state().topics.values().collect();
    let mut live = Vec::new();
    for record in &records {
        let id = record.topic_id()?;
        let log_config =
            LogConfig::resolve(config, &record.configs).map_err(|error| record.unusable(&error))?;
        let topic: Arc<str> = Arc::from(record.name.as_str());
        live.extend((0..record.partitions).map(|partition| LivePartition {
            tp: TopicPartition {
                topic: Arc::clone(&topic),
                partition,
            },
            topic_id: id,
            config: log_config.clone(),
        }));
    }
    let loaded = logs.load(live, leader_epoch, now_ms)?;
    report_damage(&loaded);
    let mut opened = by_partition(loaded.logs);
    let topics = records.iter().map(|record| {
        let name: Arc<str> = Arc::from(record.name.as_str());
        Ok(Arc::new(Topic {
            id: record.topic_id()?,
            configs: record.configs.clone(),
            partitions: partitions(&name, 0..record.partitions, &mut opened)?,
            name,
        }))
    });
    topics.collect()
}

/// Says what a start found damaged: nobody else may look before the data is needed.
fn report_damage(loaded: &LoadedLogs<AppendWaiter>) {
    for error in &loaded.lost {
        error!(%error, "a partition is lost");
    }
    for log in &loaded.logs {
        if let Some(error) = log.refusal() {
            error!(partition = %log.topic_partition(), %error, "served read-only: durable data is damaged");
        }
    }
}

/// Logs by the partition they say they are: storage hands them out in an order of its own.
pub(super) fn by_partition(
    logs: Vec<Arc<PartitionLog>>,
) -> HashMap<TopicPartition, Arc<PartitionLog>> {
    logs.into_iter()
        .map(|log| (log.topic_partition().clone(), log))
        .collect()
}

/// Partitions of a topic by their numbers, out of the logs that were opened for it.
pub(super) fn partitions(
    topic: &Arc<str>,
    numbers: Range<i32>,
    logs: &mut HashMap<TopicPartition, Arc<PartitionLog>>,
) -> Result<Vec<Arc<Partition>>, BrokerError> {
    let partitions = numbers.map(|partition| {
        let tp = TopicPartition {
            topic: Arc::clone(topic),
            partition,
        };
        let log = logs.remove(&tp).ok_or(StorageError::PartitionDeleted)?;
        Ok(Arc::new(Partition::new(log)))
    });
    partitions.collect()
}
