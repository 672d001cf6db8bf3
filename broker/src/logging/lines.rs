//! The last lines of the log, for whoever looks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tidewheel_config::limits;
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
#[cfg(test)]
use tracing_subscriber::layer::SubscriberExt as _;
use utoipa::ToSchema;

use crate::clock;

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
pub(super) struct Noting(pub(super) Arc<LogLines>);

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

/// Lets tests note lines whoever writes one first. `tracing` asks once for each place in the code who wants its lines;
/// where there is a single subscriber it asks that of the thread that comes first, and a thread without any wants
/// none, for all. What every thread has wants all of them. To be called before a test does anything that writes.
#[cfg(test)]
pub(crate) fn let_tests_note() {
    static DONE: std::sync::Once = std::sync::Once::new();
    DONE.call_once(|| {
        let set = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        set.expect("nobody else has set it");
    });
}

#[cfg(test)]
impl LogLines {
    /// Notes what this thread writes, for as long as the second is there.
    pub(crate) fn of_this_thread() -> (Arc<Self>, tracing::subscriber::DefaultGuard) {
        let_tests_note();
        let lines = Arc::<Self>::default();
        let noting = tracing_subscriber::registry().with(Noting(Arc::clone(&lines)));
        (lines, tracing::subscriber::set_default(noting))
    }
}

#[cfg(test)]
mod tests {
    use tracing::warn;

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

    /// It was noted nowhere, where the other thread had no subscriber.
    #[test]
    fn a_line_is_noted_also_where_another_thread_was_the_first_to_write_it() {
        let write = || warn!("it broke");
        let (lines, _noted) = LogLines::of_this_thread();
        std::thread::scope(|scope| scope.spawn(write).join().unwrap());
        write();
        let messages = lines.follow().0.into_iter();
        let messages: Vec<_> = messages.map(|line| line.message.clone()).collect();
        assert_eq!(messages, ["it broke"]);
    }

    #[test]
    fn a_line_has_its_message_first_and_long_fields_cut() {
        let lines = Arc::<LogLines>::default();
        let subscriber = tracing_subscriber::registry().with(Noting(Arc::clone(&lines)));
        let long = "ä".repeat(limits::LOG_FIELD_BYTES_MAX);
        let_tests_note();
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
}
