//! The log of the daemon: to stderr, its last lines in memory for whoever looks, and levels that are changed for
//! a while.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tidewheel_config::limits;
use tokio::sync::{Notify, broadcast};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};
use utoipa::ToSchema;

use crate::clock;

/// What is written where nobody says anything.
const DEFAULT: &str = "info";

/// A line of the log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LogLine {
    /// Counts the lines from 1.
    pub(crate) number: u64,
    /// When it was written.
    pub(crate) time_ms: i64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub(crate) level: &'static str,
    /// The part of the broker.
    pub(crate) target: String,
    /// What happened, with its fields.
    pub(crate) message: String,
}

/// The last lines.
#[derive(Debug)]
pub(crate) struct LogLines {
    last: Mutex<Last>,
    news: broadcast::Sender<Arc<LogLine>>,
}

#[derive(Debug, Default)]
struct Last {
    count: u64,
    lines: VecDeque<Arc<LogLine>>,
}

impl Default for LogLines {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            news: broadcast::Sender::new(limits::LOG_LINES_MAX),
        }
    }
}

impl LogLines {
    /// The last lines, the oldest first, and those that come. None is in both.
    pub(crate) fn follow(&self) -> (Vec<Arc<LogLine>>, broadcast::Receiver<Arc<LogLine>>) {
        let last = self.last();
        (
            last.lines.iter().map(Arc::clone).collect(),
            self.news.subscribe(),
        )
    }

    fn push(&self, level: Level, target: &str, message: String) {
        let mut last = self.last();
        last.count += 1;
        let line = Arc::new(LogLine {
            number: last.count,
            time_ms: clock::now_ms(),
            level: level.as_str(),
            target: target.to_owned(),
            message,
        });
        if last.lines.len() == limits::LOG_LINES_MAX {
            last.lines.pop_front();
        }
        last.lines.push_back(Arc::clone(&line));
        // Under the lock, so that whoever begins to follow misses none. Nobody may listen.
        drop(self.news.send(line));
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes note of every line that is written.
struct Noting(Arc<LogLines>);

impl<S: Subscriber> Layer<S> for Noting {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let metadata = event.metadata();
        let Words { message, fields } = words;
        let text = message + &fields;
        self.0.push(*metadata.level(), metadata.target(), text);
    }
}

/// A message and its fields, cut where they are long.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = format!("{value:?}");
        if text.len() > limits::LOG_FIELD_BYTES_MAX {
            let end = text.floor_char_boundary(limits::LOG_FIELD_BYTES_MAX);
            text.truncate(end);
            text.push('…');
        }
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.push_str(&format!(" {}={text}", field.name()));
        }
    }
}

/// A level that was set for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetLevel {
    /// What is written.
    pub(crate) level: Level,
    /// Until when, in steady ms.
    until_ms: i64,
}

impl SetLevel {
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
    lines: Arc<LogLines>,
}

impl Logging {
    /// Begins to write to stderr what `TIDEWHEEL_LOG` asks for.
    pub(crate) fn start() -> Arc<Self> {
        let asked = std::env::var("TIDEWHEEL_LOG").unwrap_or_default();
        let directives = match asked.parse::<EnvFilter>() {
            Ok(_) if !asked.is_empty() => asked,
            _ => DEFAULT.to_owned(),
        };
        let (filter, handle) = reload::Layer::new(filter(&directives));
        let lines = Arc::<LogLines>::default();
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let stderr = tracing_subscriber::fmt::layer()
            .with_ansi(colours)
            .with_writer(std::io::stderr);
        tracing_subscriber::registry()
            .with(filter)
            .with(stderr)
            .with(Noting(Arc::clone(&lines)))
            .init();
        Arc::new(Self {
            filter: handle,
            directives,
            set: Mutex::default(),
            changed: Notify::new(),
            lines,
        })
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

    /// Sets the level of a part of the broker for so many ms; returns the one that was set before.
    ///
    /// # Errors
    /// Where too many have one.
    pub(crate) fn set_level(
        &self,
        logger: &str,
        level: Level,
        lasts_ms: i64,
    ) -> Result<Option<SetLevel>, TooManyLoggers> {
        let mut set = self.set();
        if set.len() >= limits::LOGGERS_MAX && !set.contains_key(logger) {
            return Err(TooManyLoggers(set.len()));
        }
        let until_ms = clock::steady_ms().saturating_add(lasts_ms);
        let before = set.insert(logger.to_owned(), SetLevel { level, until_ms });
        self.apply(&set);
        self.changed.notify_one();
        Ok(before)
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

    fn apply(&self, set: &BTreeMap<String, SetLevel>) {
        let mut directives = self.directives.clone();
        for (logger, level) in set {
            let level = level.level;
            directives.push_str(&match logger.as_str() {
                ROOT => format!(",{level}"),
                logger => format!(",{logger}={level}"),
            });
        }
        if let Err(error) = self.filter.reload(filter(&directives)) {
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

/// The name that stands for everything.
pub(crate) const ROOT: &str = "root";

/// Whether a part of the broker may be called so: a path of Rust.
pub(crate) fn is_logger(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    !name.starts_with(AUDIT)
        && (1..=limits::LOGGER_NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(legal)
}

#[cfg(test)]
impl LogLines {
    /// Notes what this thread writes, for as long as the second is there.
    pub(crate) fn of_this_thread() -> (Arc<Self>, tracing::subscriber::DefaultGuard) {
        let lines = Arc::<Self>::default();
        let noting = tracing_subscriber::registry().with(Noting(Arc::clone(&lines)));
        (lines, tracing::subscriber::set_default(noting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_none_is_missed_or_told_twice() {
        let lines = LogLines::default();
        for number in 0..limits::LOG_LINES_MAX + 5 {
            lines.push(Level::INFO, "here", number.to_string());
        }
        let (last, mut news) = lines.follow();
        assert_eq!(last.len(), limits::LOG_LINES_MAX);
        assert_eq!(last[0].message, "5");
        lines.push(Level::WARN, "there", "new".to_owned());
        let new = news.try_recv().unwrap();
        assert_eq!((new.level, &*new.message), ("WARN", "new"));
        assert_eq!(new.number, last.last().unwrap().number + 1);
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn a_line_has_its_message_first_and_long_fields_cut() {
        let lines = Arc::<LogLines>::default();
        let subscriber = tracing_subscriber::registry().with(Noting(Arc::clone(&lines)));
        let long = "ä".repeat(limits::LOG_FIELD_BYTES_MAX);
        tracing::subscriber::with_default(subscriber, || {
            warn!(topic = "t", long, "it broke");
        });
        let (last, _) = lines.follow();
        assert!(
            last[0]
                .message
                .starts_with("it broke topic=\"t\" long=\"ää")
        );
        assert!(last[0].message.ends_with('…'));
        assert!(last[0].message.len() < limits::LOG_FIELD_BYTES_MAX + 100);
        assert_eq!((last[0].level, last[0].number), ("WARN", 1));
    }

    #[test]
    fn loggers_are_paths() {
        assert!(is_logger("root") && is_logger("tidewheel_broker::admin"));
        for bad in ["", AUDIT, "a=b", "a,b", "a[b]", &"a".repeat(1_000)] {
            assert!(!is_logger(bad), "{bad}");
        }
    }
}
