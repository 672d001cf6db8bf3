//! From what the metadata names to topics with open logs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tidewheel_config::{BrokerConfig, LogConfig};
use tidewheel_protocol::TopicPartition;
use tidewheel_storage::{LivePartition, LoadedLogs, LogManager, StorageError};
use tracing::{error, warn};

use super::BrokerError;
use crate::metadata::{MetadataStore, TopicRecord};
use crate::metrics::{Metrics, TopicTraffic};
use crate::partition::{AppendWaiter, Partition, PartitionLog};
use crate::topics::Topic;

/// What a start goes by.
pub(super) struct Loading<'a> {
    /// The settings with those that were changed while a broker ran.
    pub(super) config: &'a BrokerConfig,
    pub(super) logs: &'a LogManager<AppendWaiter>,
    pub(super) metrics: &'a Metrics,
    pub(super) leader_epoch: i32,
    /// ms since 1970.
    pub(super) now_ms: i64,
}

impl Loading<'_> {
    /// Opens the logs of every topic that the metadata names.
    pub(super) fn topics(&self, metadata: &MetadataStore) -> Result<Vec<Arc<Topic>>, BrokerError> {
        let records: Vec<&TopicRecord> = metadata.state().topics.values().collect();
        let mut live = Vec::new();
        for record in &records {
            let id = record.topic_id()?;
            let log_config = LogConfig::resolve(self.config, &record.configs)
                .map_err(|error| record.unusable(&error))?;
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
        let loaded = self.logs.load(live, self.leader_epoch, self.now_ms)?;
        self.report_damage(&loaded);
        let mut opened = by_partition(loaded.logs);
        let topics = records.iter().map(|record| {
            let name: Arc<str> = Arc::from(record.name.as_str());
            let traffic = &self.metrics.traffic().of(&name);
            Ok(Arc::new(Topic {
                id: record.topic_id()?,
                configs: record.configs.clone(),
                partitions: partitions(&name, 0..record.partitions, &mut opened, traffic)?,
                name,
            }))
        });
        topics.collect()
    }

    /// Says what a start found damaged: nobody else may look before the data is needed.
    fn report_damage(&self, loaded: &LoadedLogs<AppendWaiter>) {
        for error in &loaded.doubts {
            warn!(%error, "a checkpoint file is damaged or missing; the next checkpoint writes it anew");
        }
        for error in &loaded.lost {
            self.metrics.storage().found_damage();
            error!(%error, "a partition is lost");
        }
        for log in &loaded.logs {
            if let Some(error) = log.unavailable() {
                error!(partition = %log.topic_partition(), %error, "a partition is offline until the next start");
            } else if let Some(error) = log.refusal() {
                self.metrics.storage().found_damage();
                error!(partition = %log.topic_partition(), %error, "served read-only: durable data is damaged");
            }
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

/// Partitions of a topic by their numbers, out of the logs that were opened for it; they are counted together
/// in `traffic`.
pub(super) fn partitions(
    topic: &Arc<str>,
    numbers: Range<i32>,
    logs: &mut HashMap<TopicPartition, Arc<PartitionLog>>,
    traffic: &Arc<TopicTraffic>,
) -> Result<Vec<Arc<Partition>>, BrokerError> {
    let partitions = numbers.map(|partition| {
        let tp = TopicPartition {
            topic: Arc::clone(topic),
            partition,
        };
        let log = logs.remove(&tp).ok_or(StorageError::PartitionDeleted)?;
        Ok(Arc::new(Partition::new(log, Arc::clone(traffic))))
    });
    partitions.collect()
}
