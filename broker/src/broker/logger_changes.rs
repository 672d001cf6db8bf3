//! Levels of the log, altered by clients: at once, for a while, and kept nowhere.

use std::net::SocketAddr;

use tracing::{Level, info};

use super::{Broker, BrokerError};
use crate::config_changes::{ConfigAlteration, ConfigChange, DELETE, SET, invalid};
use crate::logging::{AUDIT, KAFKA_LEVELS, ROOT, kafka_level, of_kafka_name};

impl Broker {
    /// Sets levels of the log, or sets them back: all that the request names, or none. A few times at once, then one
    /// a second: a client could fill the log otherwise.
    pub(super) fn alter_loggers(
        &self,
        alteration: ConfigAlteration,
        validate_only: bool,
        peer: Option<SocketAddr>,
    ) -> Result<(), BrokerError> {
        if alteration.replaces_all {
            // As in Kafka.
            return Err(invalid("levels of the log are altered one by one only"));
        }
        alteration.refuse_repeated_names()?;
        if alteration.resource_name.parse() != Ok(self.node_id()) {
            return Err(invalid("the loggers of a broker are named by its node id"));
        }
        let changes = alteration.changes.into_iter();
        let changes = changes.map(|change| self.level_change(change));
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        let Some(logging) = self.logging().filter(|_| !validate_only) else {
            return Ok(());
        };
        let lasts_ms = self.topic_defaults().loggers_expire_ms;
        let told: Vec<String> = changes
            .iter()
            .map(|(logger, level)| match level {
                Some(level) => format!("{logger}={level}"),
                None => format!("{logger} set back"),
            })
            .collect();
        // Each is written down, and makes every line anew whether it is to be written.
        let Some(refused) = logging.changes().passes() else {
            return Err(BrokerError::TooOften);
        };
        let changed = logging.change_levels(changes, lasts_ms);
        changed.map_err(|error| BrokerError::InvalidConfig {
            reason: error.to_string(),
        })?;
        let (changes, peer) = (told.join(", "), peer.map(|peer| peer.to_string()));
        info!(target: AUDIT, peer, changes, lasts_ms, refused, "a client set levels of loggers");
        Ok(())
    }

    /// What is to be done to which logger, with Kafka's reasons to refuse it.
    fn level_change(&self, change: ConfigChange) -> Result<(String, Option<Level>), BrokerError> {
        let ConfigChange {
            name,
            operation,
            value,
        } = change;
        let name = of_kafka_name(&name);
        let refused = |reason: String| BrokerError::InvalidConfig { reason };
        let there = || match self.logging().is_some_and(|logging| logging.knows(&name)) {
            true => Ok(()),
            false => Err(refused(format!("there is no logger {name}"))),
        };
        match (operation, value) {
            (DELETE, _) => {
                there()?;
                match name.as_str() {
                    ROOT => Err(invalid("the root logger always has a level")),
                    _ => Ok((name, None)),
                }
            }
            (_, None) => Err(invalid("a level that is not deleted needs a value")),
            (SET, Some(level)) => {
                there()?;
                let known = kafka_level(&level);
                let unknown = || refused(format!("{level} is none of the levels {KAFKA_LEVELS}"));
                Ok((name, Some(known.ok_or_else(unknown)?)))
            }
            _ => Err(invalid("levels are set and deleted, and nothing else")),
        }
    }
}
