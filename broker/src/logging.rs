//! The log of the daemon: to stderr, its last lines in memory for whoever looks, and levels that are changed for
//! a while.

mod format;
mod lines;
mod loggers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewheel_config::{LogFormat, limits};
use tokio::sync::Notify;
use tracing::{Level, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use self::format::LineFormat;
use self::lines::Noting;
#[cfg(test)]
pub(crate) use self::lines::let_tests_note;
pub(crate) use self::lines::{LogLine, LogLines};
pub(crate) use self::loggers::{
    KAFKA_LEVELS, ROOT, is_logger, kafka_level, kafka_name, of_kafka_name,
};
use self::loggers::{LOGGERS, acting_level};
use crate::clock;
use crate::rate_limit::RateLimit;

/// What is written where nobody says anything.
const DEFAULT: &str = "info";

/// A level that was set for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetLevel {
    /// What is written.
    pub(crate) level: Level,
    /// Until when, in steady ms.
    until_ms: i64,
}

impl SetLevel {
    /// One that lasts so many ms from now on.
    pub(crate) fn lasting(level: Level, lasts_ms: i64) -> Self {
        let until_ms = clock::steady_ms().saturating_add(lasts_ms);
        Self { level, until_ms }
    }

    /// How long it still lasts, in ms.
    pub(crate) fn lasts_ms(self) -> i64 {
        self.until_ms.saturating_sub(clock::steady_ms()).max(0)
    }
}

/// Too many loggers have a level of their own.
#[derive(Debug, thiserror::Error)]
#[error("{0} loggers have a level of their own already")]
pub(crate) struct TooManyLoggers(usize);

/// The log, as whoever operates the broker may look at it and change it.
#[derive(Debug)]
pub(crate) struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    directives: String,
    set: Mutex<BTreeMap<String, SetLevel>>,
    changed: Notify,
    changes: RateLimit,
    lines: Arc<LogLines>,
}

impl Logging {
    /// Begins to write to stderr what `TIDEWHEEL_LOG` asks for.
    pub(crate) fn start(format: LogFormat) -> Arc<Self> {
        let asked = std::env::var("TIDEWHEEL_LOG").unwrap_or_default();
        let directives = match asked.parse::<EnvFilter>() {
            Ok(_) if !asked.is_empty() => asked,
            _ => DEFAULT.to_owned(),
        };
        let (logging, filter) = Self::new(directives);
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let stderr = tracing_subscriber::fmt::layer()
            .with_ansi(is_terminal)
            .event_format(LineFormat::new(format, is_terminal))
            // It would tell of a terminal that is gone on that same terminal, and panic.
            .log_internal_errors(false)
            .with_writer(std::io::stderr);
        tracing_subscriber::registry()
            .with(filter)
            .with(stderr)
            .with(Noting(Arc::clone(&logging.lines)))
            .init();
        Arc::new(logging)
    }

    /// A log that writes what `directives` say, and the filter that it changes.
    fn new(directives: String) -> (Self, reload::Layer<EnvFilter, Registry>) {
        let (filter, handle) = reload::Layer::new(filter(&directives));
        let logging = Self {
            filter: handle,
            directives,
            set: Mutex::default(),
            changed: Notify::new(),
            changes: RateLimit::new(),
            lines: Arc::default(),
        };
        (logging, filter)
    }

    /// How often clients of Kafka's API may change levels.
    pub(crate) fn changes(&self) -> &RateLimit {
        &self.changes
    }

    /// The last lines.
    pub(crate) fn lines(&self) -> &LogLines {
        &self.lines
    }

    /// What is written where no level was set for a while, as `TIDEWHEEL_LOG` has it.
    pub(crate) fn directives(&self) -> &str {
        &self.directives
    }

    /// The levels that were set for a while.
    pub(crate) fn levels(&self) -> BTreeMap<String, SetLevel> {
        self.set().clone()
    }

    /// Sets the level of a part of the broker for so many ms, or only looks whether it could; returns the one that
    /// was set before.
    ///
    /// # Errors
    /// Where too many have one.
    pub(crate) fn set_level(
        &self,
        logger: &str,
        level: Level,
        lasts_ms: i64,
        is_dry: bool,
    ) -> Result<Option<SetLevel>, TooManyLoggers> {
        let mut set = self.set();
        if set.len() >= limits::LOGGERS_MAX && !set.contains_key(logger) {
            return Err(TooManyLoggers(set.len()));
        }
        if is_dry {
            return Ok(set.get(logger).copied());
        }
        let before = set.insert(logger.to_owned(), SetLevel::lasting(level, lasts_ms));
        self.apply(&set);
        self.changed.notify_one();
        Ok(before)
    }

    /// Sets levels for so many ms, or sets them back (`None`).
    ///
    /// # Errors
    /// Where too many would have one; then all stay as they are.
    pub(crate) fn change_levels(
        &self,
        changes: Vec<(String, Option<Level>)>,
        lasts_ms: i64,
    ) -> Result<(), TooManyLoggers> {
        let mut set = self.set();
        let mut changed = set.clone();
        let until_ms = clock::steady_ms().saturating_add(lasts_ms);
        for (logger, level) in changes {
            match level {
                Some(level) => changed.insert(logger, SetLevel { level, until_ms }),
                None => changed.remove(&logger),
            };
        }
        if changed.len() > limits::LOGGERS_MAX {
            return Err(TooManyLoggers(set.len()));
        }
        *set = changed;
        self.apply(&set);
        self.changed.notify_one();
        Ok(())
    }

    /// Every part that writes lines or has a level of its own, and what is written of it, in Kafka's names.
    pub(crate) fn acting_levels(&self) -> BTreeMap<String, &'static str> {
        let set = self.set();
        let directives = self.with_set(&set);
        let known = LOGGERS.iter().map(|&logger| logger.to_owned());
        let all = known.chain(set.keys().cloned());
        let acting = all.map(|logger| {
            let level = acting_level(&directives, &logger);
            (logger, level)
        });
        acting.collect()
    }

    /// Whether there is a part of this name, or one with a level of its own.
    pub(crate) fn knows(&self, logger: &str) -> bool {
        LOGGERS.contains(&logger) || self.set().contains_key(logger)
    }

    /// Sets levels back whose time is over, as long as this is awaited.
    pub(crate) async fn expire(&self) {
        loop {
            let next_ms = {
                let mut set = self.set();
                let count = set.len();
                set.retain(|_, level| level.lasts_ms() > 0);
                if set.len() < count {
                    self.apply(&set);
                }
                set.values().map(|level| level.lasts_ms()).min()
            };
            let pause = next_ms.map(|ms| u64::try_from(ms).unwrap_or(0));
            let pause = pause.map(std::time::Duration::from_millis);
            let over = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// What is written, with the levels that were set for a while.
    fn with_set(&self, set: &BTreeMap<String, SetLevel>) -> String {
        let mut directives = self.directives.clone();
        for (logger, level) in set {
            let level = level.level;
            directives.push_str(&match logger.as_str() {
                ROOT => format!(",{level}"),
                logger => format!(",{logger}={level}"),
            });
        }
        directives
    }

    fn apply(&self, set: &BTreeMap<String, SetLevel>) {
        if let Err(error) = self.filter.reload(filter(&self.with_set(set))) {
            warn!(%error, "the log's levels stay as they are");
        }
    }

    fn set(&self) -> MutexGuard<'_, BTreeMap<String, SetLevel>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written about whoever changes something, whatever the levels are.
pub(crate) const AUDIT: &str = "tidewheel::audit";

/// With these directives, and the audit.
fn filter(directives: &str) -> EnvFilter {
    EnvFilter::new(format!("{directives},{AUDIT}=info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a part is what its lines meet.
    #[test]
    fn levels_are_told_as_they_act_and_go_back_together() {
        let (logging, filter) = Logging::new("warn,tidewheel_broker::scrub=off".to_owned());
        let subscriber = tracing_subscriber::registry().with(filter);
        let _guard = tracing::subscriber::set_default(subscriber);
        let is_written = || {
            [
                tracing::enabled!(target: "tidewheel_broker::groups", Level::DEBUG),
                tracing::enabled!(target: "tidewheel_broker::groups", Level::WARN),
                tracing::enabled!(target: "tidewheel_broker::scrub", Level::ERROR),
            ]
        };
        let told = |logger: &str| logging.acting_levels()[logger];
        assert_eq!(is_written(), [false, true, false]);
        assert_eq!(told("tidewheel_broker::groups"), "WARN");
        assert_eq!(told("tidewheel_broker::scrub"), "OFF");
        let set = |logger: &str, level| (logger.to_owned(), level);
        let both = vec![
            set("tidewheel_broker", Some(Level::ERROR)),
            set("tidewheel_broker::groups", Some(Level::DEBUG)),
        ];
        logging.change_levels(both, 60_000).unwrap();
        assert_eq!(is_written(), [true, true, false]);
        assert_eq!(told("tidewheel_broker::groups"), "DEBUG");
        assert_eq!(told("tidewheel_broker::server"), "ERROR");
        assert_eq!(told(ROOT), "WARN");
        let back = vec![set("tidewheel_broker::groups", None)];
        logging.change_levels(back, 0).unwrap();
        assert_eq!(is_written(), [false, false, false]);
        assert_eq!(told("tidewheel_broker::groups"), "ERROR");
        // All or none.
        let most = limits::LOGGERS_MAX - 1;
        let many = |count| (0..count).map(|n| (format!("part{n}"), Some(Level::INFO)));
        assert!(
            logging
                .change_levels(many(most + 1).collect(), 60_000)
                .is_err()
        );
        assert!(!logging.knows("part0"));
        logging.change_levels(many(most).collect(), 60_000).unwrap();
        assert!(logging.knows("part0") && !logging.knows("part"));
        assert_eq!(told("part7"), "INFO");
    }
}
