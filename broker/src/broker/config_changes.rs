//! Configs that are altered: durable first, then in force for every log that is open.

use std::sync::Arc;

use tidewheel_config::limits;
use tracing::info;

use super::topic_changes::{all_or_none, for_all};
use super::{Broker, BrokerError};
use crate::clock;
use crate::config_changes::{AlteredTopic, ConfigAlteration, refuse_repeated};
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
        let topics = self.topics();
        let checked: Vec<Result<AlteredTopic, BrokerError>> = refuse_repeated(alterations)
            .into_iter()
            .map(|one| one?.validate(&self.config, &topics))
            .collect();
        let changed: Vec<&AlteredTopic> = checked
            .iter()
            .flatten()
            .filter(|altered| altered.configs != altered.topic.configs)
            .collect();
        let made = match validate_only || changed.is_empty() {
            true => Ok(()),
            false => self.alter_topics(metadata, &changed),
        };
        let results = all_or_none(checked, made).into_iter();
        results.map(|result| result.map(|_| ())).collect()
    }

    fn alter_topics(
        &self,
        metadata: &mut MetadataStore,
        altered: &[&AlteredTopic],
    ) -> Result<(), BrokerError> {
        let records = altered
            .iter()
            .map(|altered| (&*altered.topic, altered.configs.clone()));
        metadata.topic_configs_changed(records, clock::now_ms())?;
        let topics = altered.iter().map(|altered| {
            Arc::new(Topic {
                configs: altered.configs.clone(),
                ..Topic::clone(&altered.topic)
            })
        });
        self.topics.insert_all(topics.collect());
        for altered in altered {
            for partition in &altered.topic.partitions {
                partition.log().set_config(altered.log.clone());
            }
            info!(topic = %altered.topic.name, set = altered.configs.len(), "configs altered");
        }
        Ok(())
    }
}
