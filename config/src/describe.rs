//! Settings as DescribeConfigs reports them: value, source and the synonyms behind it.

use std::collections::BTreeMap;

use crate::broker::{self, BrokerConfig};
use crate::group::GroupConfigOverrides;
use crate::key::{ConfigKey, ConfigType, Scope, Synonym, UpdateMode};
use crate::registry;
use crate::topic::TopicConfigOverrides;
use crate::value::{self, Notation};

/// Where a value comes from, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic = 1,
    /// Set on this broker while it ran.
    DynamicBroker = 2,
    /// Set for all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// From file, environment or command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the group.
    DynamicGroup = 8,
}

/// One setting of a topic, of a group or of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Name of the setting.
    pub name: &'static str,
    /// The acting value; `None` where it is not set or secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether nobody set it.
    pub is_default: bool,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// Whether the value is a secret.
    pub sensitive: bool,
    /// Type of the value.
    pub config_type: ConfigType,
    /// What the setting does.
    pub documentation: &'static str,
    /// Every value that counts for the setting, the acting one first.
    pub synonyms: Vec<ConfigSynonym>,
}

impl ConfigEntry {
    /// The name under which the acting value was set: its own where nothing was.
    #[must_use]
    pub fn acting_name(&self) -> &'static str {
        self.synonyms.first().map_or(self.name, |first| first.name)
    }
}

/// One value behind a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Name of the topic, group or broker setting that holds it.
    pub name: &'static str,
    /// The value in that setting's unit; `None` where it is secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
}

/// Every topic setting as it acts on a topic with `overrides`.
#[must_use]
pub fn describe_topic(broker: &BrokerConfig, overrides: &TopicConfigOverrides) -> Vec<ConfigEntry> {
    describe_own(Scope::Topic, ConfigSource::DynamicTopic, broker, overrides)
}

/// Every setting of a consumer group as it acts on one with `overrides`.
#[must_use]
pub fn describe_group(broker: &BrokerConfig, overrides: &GroupConfigOverrides) -> Vec<ConfigEntry> {
    describe_own(Scope::Group, ConfigSource::DynamicGroup, broker, overrides)
}

/// Every setting of a scope, with what is set under `source` and what lies behind it.
fn describe_own(
    scope: Scope,
    source: ConfigSource,
    broker: &BrokerConfig,
    overrides: &BTreeMap<String, String>,
) -> Vec<ConfigEntry> {
    let describe = |row: &'static ConfigKey| {
        let parsed = |text: &String| {
            let value = value::parse(row, text, Notation::Kafka);
            value.map_or(text.clone(), |value| value.to_string())
        };
        let own = overrides.get(row.name).map(parsed);
        let behind = match row.synonyms.first() {
            Some(primary) => broker_synonyms(broker, primary.name, row.synonyms),
            None => Vec::new(),
        };
        let first = own
            .clone()
            .map(|value| synonym(row, row.name, value, source));
        let acting = || {
            broker
                .settings
                .effective(row)
                .map(|value| value.to_string())
        };
        entry(
            row,
            own.or_else(acting),
            first.into_iter().chain(behind).collect(),
        )
    };
    registry::keys(scope).map(describe).collect()
}

/// Every broker setting as it acts on this broker.
#[must_use]
pub fn describe_broker(broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let describe = |row: &'static ConfigKey| {
        let own_name = [Synonym {
            name: row.name,
            factor: 1,
        }];
        let names = if row.synonyms.is_empty() {
            &own_name[..]
        } else {
            row.synonyms
        };
        // Two names of one thing: both report what acts, whichever was set.
        let (value, synonyms) = match row.name {
            "node.id" | "broker.id" => {
                let value = broker::node_id(&broker.settings).to_string();
                (Some(value), broker_synonyms(broker, row.name, names))
            }
            "tidewheel.log.dir.reserved.bytes" | "tidewheel.storage.min.free.bytes" => {
                let value = broker.settings.effective(row);
                let synonyms = all_broker_synonyms(broker, names);
                (value.map(|value| value.to_string()), synonyms)
            }
            _ => {
                let value = broker.settings.own(row).map(|value| value.to_string());
                (value, broker_synonyms(broker, row.name, names))
            }
        };
        entry(row, value, synonyms)
    };
    registry::keys(Scope::Broker).map(describe).collect()
}

/// What was set for all brokers while they ran, and nothing else.
#[must_use]
pub fn describe_broker_defaults(broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let wanted = ConfigSource::DynamicDefaultBroker;
    let layers = broker.settings.layers().into_iter();
    let values = layers.filter(|(source, _)| *source == wanted);
    let set = values.flat_map(|(source, values)| {
        values.iter().filter_map(move |(name, value)| {
            let row = registry::find(Scope::Broker, name)?;
            let value = value.to_string();
            let synonyms = vec![synonym(row, row.name, value.clone(), source)];
            Some(entry(row, Some(value), synonyms))
        })
    });
    set.collect()
}

fn entry(
    row: &'static ConfigKey,
    value: Option<String>,
    synonyms: Vec<ConfigSynonym>,
) -> ConfigEntry {
    let source = synonyms
        .first()
        .map_or(ConfigSource::Default, |synonym| synonym.source);
    ConfigEntry {
        name: row.name,
        value: value.filter(|_| !row.sensitive),
        source,
        is_default: source == ConfigSource::Default,
        read_only: row.update == UpdateMode::ReadOnly,
        sensitive: row.sensitive,
        config_type: row.config_type,
        documentation: row.doc,
        synonyms,
    }
}

/// The values behind the broker setting `primary`. As in Kafka the list begins at the first value of `primary` itself,
/// so that a setting whose own name holds nothing has no synonyms and counts as default.
fn broker_synonyms(broker: &BrokerConfig, primary: &str, names: &[Synonym]) -> Vec<ConfigSynonym> {
    let all = all_broker_synonyms(broker, names).into_iter();
    all.skip_while(|synonym| synonym.name != primary).collect()
}

/// The values that broker settings of these names have: set while it ran, given, default, each in the rank of `names`.
fn all_broker_synonyms(broker: &BrokerConfig, names: &[Synonym]) -> Vec<ConfigSynonym> {
    let rows = || {
        names
            .iter()
            .filter_map(|name| registry::find(Scope::Broker, name.name))
    };
    let mut all = Vec::new();
    for (source, values) in broker.settings.layers() {
        for row in rows() {
            let value = values.get(row.name).map(|value| value.to_string());
            all.extend(value.map(|value| synonym(row, row.name, value, source)));
        }
    }
    for row in rows() {
        let value = value::default_of(row).map(|value| value.to_string());
        all.extend(value.map(|value| synonym(row, row.name, value, ConfigSource::Default)));
    }
    all
}

fn synonym(
    row: &ConfigKey,
    name: &'static str,
    value: String,
    source: ConfigSource,
) -> ConfigSynonym {
    ConfigSynonym {
        name,
        value: Some(value).filter(|_| !row.sensitive),
        source,
    }
}
