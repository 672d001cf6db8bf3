//! Settings of brokers that are changed while they run.

use std::collections::BTreeMap;

use crate::broker::BrokerConfig;
use crate::error::ConfigError;
use crate::key::{ConfigKey, Scope, UpdateMode};
use crate::load::unknown_broker_key;
use crate::registry;
use crate::settings::Values;
use crate::value::{self, Notation, Value};

/// What AlterConfigs set on one broker, or on all, by name.
pub type BrokerConfigOverrides = BTreeMap<String, String>;

impl BrokerConfig {
    /// The same broker under other settings that were set while brokers ran: `own` for this one beats
    /// `all`, and both beat what it was started with.
    ///
    /// # Errors
    /// The first setting that does not exist, cannot be changed while the broker runs, or whose value it
    /// does not take.
    pub fn with_dynamic(
        &self,
        own: &BrokerConfigOverrides,
        all: &BrokerConfigOverrides,
    ) -> Result<BrokerConfig, ConfigError> {
        let settings = self.settings.with_dynamic(values(own)?, values(all)?);
        // What several settings say together was checked at the start: none of those can be changed.
        BrokerConfig::from_settings(settings, Vec::new()).map_err(|mut errors| errors.remove(0))
    }
}

fn values(overrides: &BrokerConfigOverrides) -> Result<Values, ConfigError> {
    let checked = overrides.iter().map(|(name, text)| parse(name, text));
    checked.collect()
}

/// Checks one setting of brokers as AlterConfigs gives it.
///
/// # Errors
/// `Unknown` for a name that no setting of brokers has, `Unsupported` for one that cannot be changed while the
/// broker runs, `Invalid` for a value that it does not take.
pub fn validate_broker_config(name: &str, value: &str) -> Result<(), ConfigError> {
    parse(name, value).map(|_| ())
}

fn parse(name: &str, text: &str) -> Result<(&'static str, Value), ConfigError> {
    let row = registry::find(Scope::Broker, name).ok_or_else(|| unknown_broker_key(name))?;
    if !is_dynamic(row) {
        return Err(ConfigError::Unsupported {
            key: row.name.to_owned(),
            value: value::shorten(text),
            reason: "it cannot be changed while the broker runs".to_owned(),
        });
    }
    Ok((row.name, value::parse(row, text, Notation::Kafka)?))
}

/// Settings that are read where they are needed, and one that nothing reads.
const READ_WHEN_NEEDED: &[&str] = &[
    "max.connections",
    "max.connections.per.ip",
    "tidewheel.loggers.expire.ms",
    "tidewheel.slow.request.ms",
    "sasl.kerberos.min.time.before.relogin",
];

/// Whether a running broker goes by another value of this setting: it is a default of topics, which open logs
/// follow, or nothing has to follow it. The others that Kafka can change (listeners, the expiration of
/// producers) are read at the start only.
#[must_use]
pub fn acts_at_once(row: &ConfigKey) -> bool {
    let mut synonyms = registry::keys(Scope::Topic).flat_map(|topic| topic.synonyms);
    let is_default = synonyms.any(|synonym| synonym.name == row.name);
    row.scope != Scope::Broker || is_default || READ_WHEN_NEEDED.contains(&row.name)
}

/// Whether clients may change it. Kafka knows some that only a file may change.
fn is_dynamic(row: &ConfigKey) -> bool {
    row.update == UpdateMode::ClusterWide && acts_at_once(row)
}
