//! Settings that are read again while the broker runs.

use std::sync::Arc;

use tidewheel_config::{BrokerConfig, Warning, limits};

use super::{Broker, BrokerError};
use crate::clock;
use crate::metadata::MetadataStore;

/// What the broker was given: at its start, or when its settings were read again.
#[derive(Debug)]
pub(crate) struct Given {
    /// The settings, without those that were set while brokers ran.
    pub(super) config: BrokerConfig,
    /// When they were read, in ms since 1970.
    pub(crate) read_ms: i64,
    /// Settings that were given otherwise since the start, and act at the next one.
    pub(crate) pending: Vec<&'static str>,
}

/// What came of reading the settings again.
#[derive(Debug)]
pub(crate) struct Followed {
    /// Settings that act with another value from now on, unless something stronger was set while it ran.
    pub(crate) changed: Vec<&'static str>,
    /// See [`Given::pending`].
    pub(crate) pending: Vec<&'static str>,
    /// What is odd about them and was not before.
    pub(crate) warnings: Vec<Warning>,
}

impl Given {
    pub(super) fn at_start(config: BrokerConfig, now_ms: i64) -> Self {
        Self {
            config,
            read_ms: now_ms,
            pending: Vec::new(),
        }
    }
}

/// Goes by the same settings read again, as far as a running broker can.
///
/// # Errors
/// Where they contradict what stays, or other changes took too long; nothing is changed then.
pub(crate) async fn follow(
    broker: &Arc<Broker>,
    fresh: BrokerConfig,
) -> Result<Followed, BrokerError> {
    let changed = Arc::clone(broker);
    let work = move |metadata: &mut _| changed.follow(&fresh, metadata);
    broker
        .changes
        .run(limits::METADATA_CHANGE_WAIT, work)
        .await?
}

impl Broker {
    fn follow(
        &self,
        fresh: &BrokerConfig,
        metadata: &MetadataStore,
    ) -> Result<Followed, BrokerError> {
        let before = self.given();
        let reloaded = before.config.reloaded(fresh);
        let reloaded = reloaded.map_err(|error| BrokerError::RefusedBrokerConfig {
            reason: error.to_string(),
        })?;
        let settings = metadata.state().settings(&reloaded.config)?;
        let warnings = reloaded.config.warnings.iter();
        let warnings = warnings.filter(|one| !before.config.warnings.contains(one));
        let warnings = warnings.cloned().collect();
        // What is told to be in force is.
        let topics: Vec<_> = self.topics().iter().cloned().collect();
        self.put_in_force(&settings, &topics)?;
        self.given.store(Arc::new(Given {
            config: reloaded.config,
            read_ms: clock::now_ms(),
            pending: reloaded.pending.clone(),
        }));
        self.put_settings(settings);
        Ok(Followed {
            changed: reloaded.changed,
            pending: reloaded.pending,
            warnings,
        })
    }
}
