//! The rules for new topics, in Kafka's answers.

use std::collections::HashSet;
use std::sync::Arc;

use tidewheel_config::{
    BrokerConfig, GroupConfig, LogConfig, TopicConfigOverrides, limits, validate_topic_config,
};
use tidewheel_protocol::{TopicPartition, Uuid};
use tidewheel_storage::LivePartition;

use crate::broker::{BrokerError, WrongConfigs};
use crate::ids;
use crate::metadata::TopicRecord;
use crate::partition_budget::PartitionBudget;
use crate::topics::{OFFSETS_TOPIC, TopicsSnapshot, metric_name, topic_name_problem};

/// A topic as a client asks for it.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    /// -1 for the broker's default.
    pub(crate) partitions: i32,
    /// -1 for the broker's default.
    pub(crate) replication_factor: i16,
    /// Partition number and the brokers that are to hold it; empty leaves it to this broker.
    pub(crate) assignments: Vec<(i32, Vec<i32>)>,
    pub(crate) configs: Vec<(String, Option<String>)>,
}

/// A topic that may be made.
#[derive(Clone, Debug)]
pub(crate) struct ValidTopic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
    replication_factor: i16,
    pub(crate) configs: TopicConfigOverrides,
    log: LogConfig,
}

/// What the creator is told.
#[derive(Clone, Debug)]
pub(crate) struct CreatedTopic {
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) configs: TopicConfigOverrides,
}

impl NewTopic {
    /// A topic that is made because a client named it, or for the first group.
    pub(crate) fn with_defaults(name: &str, config: &BrokerConfig) -> Self {
        let (partitions, configs) = match name {
            OFFSETS_TOPIC => offsets_topic(&config.group),
            _ => (config.num_partitions, Vec::new()),
        };
        Self {
            name: name.to_owned(),
            partitions,
            replication_factor: -1,
            assignments: Vec::new(),
            configs,
        }
    }

    /// Checks everything that one topic's request can get wrong.
    pub(crate) fn validate(
        self,
        config: &BrokerConfig,
        existing: &TopicsSnapshot,
    ) -> Result<ValidTopic, BrokerError> {
        if let Some(reason) = topic_name_problem(&self.name) {
            return Err(BrokerError::InvalidTopic {
                name: self.name,
                reason,
            });
        }
        if existing.named(&self.name).is_some() {
            return Err(BrokerError::TopicExists { name: self.name });
        }
        if existing.collides(&self.name) {
            return Err(collision(self.name));
        }
        let (partitions, replication_factor) = match self.assignments.is_empty() {
            true => (self.partition_count(config)?, self.checked_factor(config)?),
            false => self.assigned(config)?,
        };
        let configs = given_configs(self.configs)?;
        let log = LogConfig::resolve_new(config, &configs).map_err(|error| {
            let wrong = WrongConfigs::find(error, &configs, validate_topic_config);
            BrokerError::WrongConfigs(Box::new(wrong))
        })?;
        Ok(ValidTopic {
            name: Arc::from(self.name),
            id: ids::random_uuid(),
            partitions,
            replication_factor,
            configs,
            log,
        })
    }

    fn partition_count(&self, config: &BrokerConfig) -> Result<i32, BrokerError> {
        let max = limits::PARTITIONS_PER_TOPIC_MAX;
        match self.partitions {
            -1 => Ok(config.num_partitions),
            partitions if 1 <= partitions && partitions <= max => Ok(partitions),
            partitions => Err(BrokerError::InvalidPartitions { partitions, max }),
        }
    }

    fn checked_factor(&self, config: &BrokerConfig) -> Result<i16, BrokerError> {
        let max = config.replication_factor_max.max(1);
        match self.replication_factor {
            -1 => Ok(config.default_replication_factor),
            factor if 1 <= factor && factor <= max => Ok(factor),
            factor => Err(BrokerError::InvalidReplicationFactor { factor, max }),
        }
    }

    /// An explicit assignment names every partition once, from 0 on, and only this broker.
    fn assigned(&self, config: &BrokerConfig) -> Result<(i32, i16), BrokerError> {
        if self.partitions != -1 || self.replication_factor != -1 {
            let reason = "a replica assignment leaves the number of partitions and the replication \
                          factor at -1";
            return Err(BrokerError::InvalidRequest { reason });
        }
        let invalid = |reason: String| BrokerError::InvalidAssignment { reason };
        let count = i32::try_from(self.assignments.len()).unwrap_or(i32::MAX);
        let max = limits::PARTITIONS_PER_TOPIC_MAX;
        if count > max {
            return Err(BrokerError::InvalidPartitions {
                partitions: count,
                max,
            });
        }
        let named: HashSet<i32> = self
            .assignments
            .iter()
            .map(|(partition, _)| *partition)
            .collect();
        if !(0..count).all(|partition| named.contains(&partition)) {
            return Err(invalid(
                "the assignment must name every partition from 0 on, once".to_owned(),
            ));
        }
        for (partition, brokers) in &self.assignments {
            if *brokers != [config.node_id] {
                let node_id = config.node_id;
                return Err(invalid(format!(
                    "partition {partition} is assigned to {brokers:?}, but the only broker is {node_id}"
                )));
            }
        }
        Ok((count, 1))
    }
}

/// The partitions and configs of the topic that keeps the offsets of groups, which are Kafka's.
fn offsets_topic(config: &GroupConfig) -> (i32, Vec<(String, Option<String>)>) {
    let segment_bytes = config.offsets_topic_segment_bytes.to_string();
    let configs = [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", &segment_bytes),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), Some(value.to_owned()));
    let configs = configs.into_iter().map(owned).collect();
    (config.offsets_topic_num_partitions, configs)
}

fn given_configs(
    configs: Vec<(String, Option<String>)>,
) -> Result<TopicConfigOverrides, BrokerError> {
    let given = configs.into_iter().map(|(name, value)| match value {
        Some(value) => Ok((name, value)),
        None => Err(BrokerError::InvalidConfig {
            reason: format!("{name} has no value"),
        }),
    });
    given.collect()
}

/// Refuses the later of two topics of one request that have one name, or whose metric names are the same.
pub(crate) fn refuse_collisions(topics: &mut [Result<ValidTopic, BrokerError>]) {
    let (mut names, mut seen) = (HashSet::new(), HashSet::new());
    for entry in topics {
        let Ok(topic) = entry else { continue };
        let name = || topic.name.as_ref().to_owned();
        if !names.insert(Arc::clone(&topic.name)) {
            *entry = Err(BrokerError::TopicExists { name: name() });
        } else if metric_name(&topic.name).is_some_and(|metric| !seen.insert(metric)) {
            *entry = Err(collision(name()));
        }
    }
}

/// Refuses what goes beyond the partitions that one request may add: they are made in one go, and others
/// wait for it.
pub(crate) fn refuse_surplus<T>(topics: &mut [Result<T, BrokerError>], added: impl Fn(&T) -> i32) {
    let max = limits::PARTITIONS_PER_REQUEST_MAX;
    let mut total = 0_i32;
    for entry in topics {
        let Ok(topic) = entry else { continue };
        let partitions = added(topic);
        match total.checked_add(partitions).filter(|total| *total <= max) {
            Some(sum) => total = sum,
            None => *entry = Err(BrokerError::InvalidPartitions { partitions, max }),
        }
    }
}

/// Refuses what goes beyond the partitions that the process can serve, of which `present` are there.
pub(crate) fn refuse_beyond<T>(
    topics: &mut [Result<T, BrokerError>],
    mut present: usize,
    budget: PartitionBudget,
    added: impl Fn(&T) -> i32,
) {
    let PartitionBudget { max, bound } = budget;
    for entry in topics {
        let Ok(topic) = entry else { continue };
        let added = added(topic);
        let sum = present.saturating_add(usize::try_from(added).unwrap_or(0));
        if added == 0 || sum <= max {
            present = sum;
            continue;
        }
        *entry = Err(BrokerError::TooManyPartitions {
            added,
            present,
            max,
            bound,
        });
    }
}

fn collision(name: String) -> BrokerError {
    let reason = "another topic's name differs only in '.' and '_'";
    BrokerError::InvalidTopic { name, reason }
}

impl ValidTopic {
    /// What the metadata log remembers.
    pub(crate) fn record(&self) -> TopicRecord {
        TopicRecord {
            name: self.name.as_ref().to_owned(),
            id: self.id.to_string(),
            partitions: self.partitions,
            configs: self.configs.clone(),
        }
    }

    /// What storage needs to know of its partitions.
    pub(crate) fn live_partitions(&self) -> impl Iterator<Item = LivePartition> {
        (0..self.partitions).map(|partition| LivePartition {
            tp: TopicPartition {
                topic: Arc::clone(&self.name),
                partition,
            },
            topic_id: self.id,
            config: self.log.clone(),
        })
    }

    /// What the creator is told; a topic that was only checked has no id.
    pub(crate) fn created(self, validate_only: bool) -> CreatedTopic {
        CreatedTopic {
            id: if validate_only { Uuid::ZERO } else { self.id },
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: self.configs,
        }
    }
}
