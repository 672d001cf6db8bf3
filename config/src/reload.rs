//! A configuration that is read again while the broker runs.

use crate::broker::BrokerConfig;
use crate::dynamic::acts_at_once;
use crate::error::ConfigError;
use crate::registry;

/// What comes of a configuration that was read again.
#[derive(Debug)]
pub struct Reloaded {
    /// The settings to go on with, without those that were set while brokers ran.
    pub config: BrokerConfig,
    /// Those that have another value now, or come back to their default.
    pub changed: Vec<&'static str>,
    /// Those that are given otherwise than they were at the start, and act at the next one.
    pub pending: Vec<&'static str>,
}

impl BrokerConfig {
    /// Takes over from `fresh`, the same sources read again, what a running broker can follow. `self` is what it
    /// was given so far.
    ///
    /// # Errors
    /// The first setting that contradicts what stays; nothing is taken over then.
    pub fn reloaded(&self, fresh: &BrokerConfig) -> Result<Reloaded, ConfigError> {
        let mut settings = self.settings.clone();
        let (mut changed, mut pending) = (Vec::new(), Vec::new());
        for row in registry::keys(crate::key::Scope::Broker) {
            let is_other = self.settings.own(row) != fresh.settings.own(row);
            if is_other && !acts_at_once(row) {
                pending.push(row.name);
                continue;
            }
            if is_other {
                changed.push(row.name);
            }
            // Also where the value is the same: the line may be another.
            settings.take_over(row.name, &fresh.settings);
        }
        let config = BrokerConfig::from_settings(settings, Vec::new());
        let mut config = config.map_err(|mut errors| errors.remove(0))?;
        config.warnings.clone_from(&fresh.warnings);
        Ok(Reloaded {
            config,
            changed,
            pending,
        })
    }
}
