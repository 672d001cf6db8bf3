//! Configs that are altered: durable first, then in force for every log that is open.

use std::net::SocketAddr;
use std::sync::Arc;

use tidewheel_config::{BrokerConfig, GroupConfigOverrides, LogConfig, limits};
use tidewheel_consumer_groups::GroupTimes;
use tracing::info;

use super::topic_changes::{all_or_none, for_all};
use super::{Broker, BrokerError, GroupConfigs};
use crate::config_changes::{
    Altered, BROKER_LOGGER, ConfigAlteration, ConfigDifference, refuse_repeated,
    refuse_too_many_groups, told,
};
use crate::metadata::MetadataStore;
use crate::topics::Topic;

/// Alters the configs of each resource for which that is valid; the results, which are what is set otherwise, are in
/// the order of the request. `peer` is written down: the client of Kafka's API who wants it.
pub(crate) async fn alter_configs(
    broker: &Arc<Broker>,
    alterations: Vec<ConfigAlteration>,
    validate_only: bool,
    peer: Option<SocketAddr>,
) -> Vec<Result<Vec<ConfigDifference>, BrokerError>> {
    let mut kept = Vec::new();
    let begun: Vec<_> = refuse_repeated(alterations)
        .into_iter()
        .map(|one| match one {
            // The disk must not keep anybody from looking closer.
            Ok(one) if one.resource_type == BROKER_LOGGER => {
                let altered = broker.alter_loggers(one, validate_only, peer);
                Some(altered.map(|()| Vec::new()))
            }
            Ok(one) => {
                kept.push(one);
                None
            }
            Err(error) => Some(Err(error)),
        })
        .collect();
    let kept = alter_kept(broker, kept, validate_only, peer).await;
    let mut kept = kept.into_iter();
    let results = begun.into_iter();
    let results = results.map(|done| done.or_else(|| kept.next()));
    results
        .map(|result| result.unwrap_or(Err(BrokerError::Stopped)))
        .collect()
}

/// The same of what the metadata log keeps, each resource once.
async fn alter_kept(
    broker: &Arc<Broker>,
    alterations: Vec<ConfigAlteration>,
    validate_only: bool,
    peer: Option<SocketAddr>,
) -> Vec<Result<Vec<ConfigDifference>, BrokerError>> {
    if alterations.is_empty() {
        return Vec::new();
    }
    let (count, changed) = (alterations.len(), Arc::clone(broker));
    let work = move |metadata: &mut _| changed.alter(alterations, validate_only, peer, metadata);
    let done = broker.changes.run(limits::METADATA_CHANGE_WAIT, work).await;
    done.unwrap_or_else(|error| for_all(count, error))
}

/// Writes down what is set otherwise from now on; `peer` is the client of Kafka's API who wanted it.
fn tell(altered: &Altered, differences: &[ConfigDifference], peer: Option<SocketAddr>) {
    let changes = told(differences);
    let peer = peer.map(|peer| peer.to_string());
    match altered {
        Altered::Topic(altered) => {
            let (topic, set) = (&*altered.topic.name, altered.configs.len());
            info!(topic, set, changes, peer, "configs altered");
        }
        Altered::Broker(altered) => {
            let (broker, set) = (&*altered.name, altered.configs.len());
            info!(broker, set, changes, peer, "configs altered");
        }
        Altered::Group(altered) => {
            let (group, set) = (&*altered.name, altered.configs.len());
            info!(group, set, changes, peer, "configs altered");
        }
    }
}

impl Broker {
    /// Alters what is valid among `alterations`; blocks on the disk.
    fn alter(
        &self,
        alterations: Vec<ConfigAlteration>,
        validate_only: bool,
        peer: Option<SocketAddr>,
        metadata: &mut MetadataStore,
    ) -> Vec<Result<Vec<ConfigDifference>, BrokerError>> {
        let (config, topics) = (self.topic_defaults(), self.topics());
        let before = metadata.state();
        let checked: Vec<Result<Altered, BrokerError>> = alterations
            .into_iter()
            .map(|one| one.validate(&config, &topics, before))
            .collect();
        let checked = refuse_too_many_groups(checked, before);
        let differences: Vec<_> = checked
            .iter()
            .map(|one| {
                let altered = one.as_ref().ok();
                altered.map_or_else(Vec::new, |altered| altered.differences(before))
            })
            .collect();
        let changed = checked.iter().zip(&differences);
        let changed = changed.filter(|(_, differences)| !differences.is_empty());
        let changed: Vec<(&Altered, &Vec<ConfigDifference>)> = changed
            .filter_map(|(altered, differences)| Some((altered.as_ref().ok()?, differences)))
            .collect();
        let made = match validate_only || changed.is_empty() {
            true => Ok(()),
            false => self.alter_valid(metadata, &changed, peer),
        };
        let results = all_or_none(checked, made).into_iter().zip(differences);
        results
            .map(|(result, differences)| result.map(|_| differences))
            .collect()
    }

    fn alter_valid(
        &self,
        metadata: &mut MetadataStore,
        changed: &[(&Altered, &Vec<ConfigDifference>)],
        peer: Option<SocketAddr>,
    ) -> Result<(), BrokerError> {
        let altered: Vec<&Altered> = changed.iter().map(|(altered, _)| *altered).collect();
        metadata.configs_changed(&altered, self.clock.now_ms())?;
        let mut topics = Vec::new();
        let mut groups = Vec::new();
        let mut settings_changed = false;
        for (altered, differences) in changed {
            tell(altered, differences, peer);
            match altered {
                Altered::Topic(altered) => topics.push(Arc::new(Topic {
                    configs: altered.configs.clone(),
                    ..Topic::clone(&altered.topic)
                })),
                Altered::Broker(_) => settings_changed = true,
                Altered::Group(altered) => {
                    groups.push((altered.name.clone(), altered.configs.clone()));
                }
            }
        }
        if !groups.is_empty() {
            self.put_group_configs(groups);
        }
        self.put_topics(topics.clone());
        if settings_changed {
            let settings = metadata.state().settings(&self.given().config)?;
            self.put_settings(settings);
            topics = self.topics().iter().cloned().collect();
        }
        self.put_in_force(&self.topic_defaults(), &topics)
    }

    /// Lets groups go by what is set on them from now on. What is set on others is not looked at: there may be many.
    pub(super) fn put_group_configs(
        &self,
        altered: impl IntoIterator<Item = (String, GroupConfigOverrides)>,
    ) {
        let mut configs = GroupConfigs::clone(&self.group_configs());
        let mut times = GroupTimes::clone(&self.groups.times());
        for (name, set) in altered {
            let name: Arc<str> = name.into();
            if set.is_empty() {
                configs.remove(&name);
                times.remove(&name);
            } else {
                times.insert(Arc::clone(&name), self.config.group.consumer_times(&set));
                configs.insert(name, Arc::new(set));
            }
        }
        self.groups.set_times(times);
        self.group_configs.store(Arc::new(configs));
    }

    /// Lets the open logs of topics go by their configs as they are now, and by these settings behind them.
    pub(super) fn put_in_force(
        &self,
        config: &BrokerConfig,
        topics: &[Arc<Topic>],
    ) -> Result<(), BrokerError> {
        for topic in topics {
            let log = LogConfig::resolve(config, &topic.configs);
            let log = log.map_err(|error| BrokerError::InvalidConfig {
                reason: error.to_string(),
            })?;
            let mut held_back = log.delay.holds_back().is_some();
            for partition in &topic.partitions {
                held_back |= partition.log().config().delay.holds_back().is_some();
                partition.log().set_config(log.clone());
            }
            if held_back {
                self.delays.look_now(self, topic);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tidewheel_protocol::Uuid;
    use tidewheel_storage::fs::SimFs;
    use tidewheel_storage::{LogManager, LogManagerOptions};

    use super::*;
    use crate::clock::Clock;

    fn set(name: &str, session_ms: Option<&str>) -> (String, GroupConfigOverrides) {
        let key = "consumer.session.timeout.ms".to_owned();
        let configs = session_ms.map(|value| (key, value.to_owned()));
        (name.to_owned(), configs.into_iter().collect())
    }

    #[test]
    fn what_is_set_on_one_group_leaves_the_others_as_they_are() {
        let ids = vec![Uuid([1; 16])];
        let options = LogManagerOptions::new(vec![PathBuf::from("/data")], 1, "c".into(), ids);
        let logs = LogManager::open(Arc::new(SimFs::new()), options).unwrap();
        let broker =
            Broker::open(BrokerConfig::default(), Vec::new(), logs, Clock::default()).unwrap();
        broker.put_group_configs([set("a", Some("50000")), set("b", Some("51000"))]);
        let before = broker.group_configs();
        broker.put_group_configs([set("b", Some("52000")), set("c", Some("53000"))]);
        let after = broker.group_configs();
        assert!(Arc::ptr_eq(&before["a"], &after["a"]));
        let sessions_ms = || {
            let times = broker.groups().times();
            let times = times.iter();
            times
                .map(|(name, times)| (name.to_string(), times.session_timeout_ms))
                .collect::<Vec<_>>()
        };
        let told = |name: &str, ms| (name.to_owned(), ms);
        assert_eq!(
            sessions_ms(),
            [told("a", 50_000), told("b", 52_000), told("c", 53_000)]
        );
        broker.put_group_configs([set("a", None), set("b", None)]);
        assert_eq!(sessions_ms(), [told("c", 53_000)]);
        assert_eq!(broker.group_configs().len(), 1);
    }
}
