//! Configs that are altered: durable first, then in force for every log that is open.

use std::sync::Arc;

use tidewheel_config::{LogConfig, limits};
use tracing::info;

use super::topic_changes::{all_or_none, for_all};
use super::{Broker, BrokerError};
use crate::clock;
use crate::config_changes::{Altered, ConfigAlteration, refuse_repeated};
use crate::metadata::MetadataStore;
use crate::topics::Topic;

/// Alters the configs of each resource for which that is valid; the results are in the order of the
/// request.
pub(crate) async fn alter_configs(
    broker: &Arc<Broker>,
    alterations: Vec<ConfigAlteration>,
    validate_only: bool,
) -> Vec<Result<(), BrokerError>> {
    let (count, changed) = (alterations.len(), Arc::clone(broker));
    let work = move |metadata: &mut _| changed.alter(alterations, validate_only, metadata);
    let done = broker.changes.run(limits::METADATA_CHANGE_WAIT, work).await;
    done.unwrap_or_else(|error| for_all(count, error))
}

impl Broker {
    /// Alters what is valid among `alterations`; blocks on the disk.
    fn alter(
        &self,
        alterations: Vec<ConfigAlteration>,
        validate_only: bool,
        metadata: &mut MetadataStore,
    ) -> Vec<Result<(), BrokerError>> {
        let (config, topics) = (self.topic_defaults(), self.topics());
        let brokers = &metadata.state().broker_configs;
        let checked: Vec<Result<Altered, BrokerError>> = refuse_repeated(alterations)
            .into_iter()
            .map(|one| one?.validate(&config, &topics, brokers))
            .collect();
        let changed: Vec<&Altered> = checked
            .iter()
            .flatten()
            .filter(|altered| altered.changes(brokers))
            .collect();
        let made = match validate_only || changed.is_empty() {
            true => Ok(()),
            false => self.alter_valid(metadata, &changed),
        };
        let results = all_or_none(checked, made).into_iter();
        results.map(|result| result.map(|_| ())).collect()
    }

    fn alter_valid(
        &self,
        metadata: &mut MetadataStore,
        altered: &[&Altered],
    ) -> Result<(), BrokerError> {
        metadata.configs_changed(altered, clock::now_ms())?;
        let mut topics = Vec::new();
        let mut settings_changed = false;
        for altered in altered {
            match altered {
                Altered::Topic(altered) => {
                    topics.push(Arc::new(Topic {
                        configs: altered.configs.clone(),
                        ..Topic::clone(&altered.topic)
                    }));
                    info!(topic = %altered.topic.name, set = altered.configs.len(), "configs altered");
                }
                Altered::Broker(altered) => {
                    settings_changed = true;
                    info!(broker = %altered.name, set = altered.configs.len(), "configs altered");
                }
            }
        }
        self.put_topics(topics.clone());
        if settings_changed {
            let settings = metadata.state().settings(&self.config)?;
            self.topic_defaults.store(Arc::new(settings));
            topics = self.topics().iter().cloned().collect();
        }
        self.put_in_force(&topics)
    }

    /// Lets the open logs of topics go by their configs as they are now.
    fn put_in_force(&self, topics: &[Arc<Topic>]) -> Result<(), BrokerError> {
        let config = self.topic_defaults();
        for topic in topics {
            let log = LogConfig::resolve(&config, &topic.configs);
            let log = log.map_err(|error| BrokerError::InvalidConfig {
                reason: error.to_string(),
            })?;
            for partition in &topic.partitions {
                partition.log().set_config(log.clone());
            }
        }
        Ok(())
    }
}
