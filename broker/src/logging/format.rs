//! How a line of the log looks: for people, in logfmt, or as JSON. What others make us write stays on its line.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value;
use tidewheel_config::LogFormat;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How every line looks.
#[derive(Debug)]
pub(super) enum LineFormat {
    /// For people.
    Text(Format),
    /// `key=value`.
    Logfmt,
    /// An object a line.
    Json,
}

impl LineFormat {
    /// As asked for, where stderr is a terminal or not.
    pub(super) fn new(asked: LogFormat, is_terminal: bool) -> Self {
        match asked {
            LogFormat::Auto if is_terminal => Self::Text(Format::default()),
            LogFormat::Text => Self::Text(Format::default()),
            LogFormat::Auto | LogFormat::Logfmt => Self::Logfmt,
            LogFormat::Json => Self::Json,
        }
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = match self {
            Self::Text(format) => return format.format_event(context, writer, event),
            Self::Logfmt => Line::of(event)?.logfmt()?,
            Self::Json => serde_json::to_string(&Line::of(event)?).map_err(|_| fmt::Error)?,
        };
        writeln!(writer, "{line}")
    }
}

/// What a line says.
#[derive(Default, Serialize)]
struct Line {
    ts: String,
    level: String,
    target: String,
    msg: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<&'static str, Value>,
    /// The names of the fields as they were written.
    #[serde(skip)]
    order: Vec<&'static str>,
}

impl Line {
    fn of(event: &Event<'_>) -> Result<Self, fmt::Error> {
        let metadata = event.metadata();
        let mut line = Self {
            level: metadata.level().as_str().to_ascii_lowercase(),
            target: metadata.target().to_owned(),
            ..Self::default()
        };
        SystemTime.format_time(&mut Writer::new(&mut line.ts))?;
        event.record(&mut line);
        Ok(line)
    }

    fn logfmt(&self) -> Result<String, fmt::Error> {
        let Self {
            ts, level, target, ..
        } = self;
        let mut out = format!("ts={ts} level={level} target={target} msg=");
        push_text(&mut out, &self.msg);
        for name in &self.order {
            write!(out, " {name}=")?;
            match self.fields.get(name) {
                Some(Value::String(text)) => push_text(&mut out, text),
                Some(other) => write!(out, "{other}")?,
                None => {}
            }
        }
        Ok(out)
    }

    fn add(&mut self, field: &Field, value: Value) {
        let name = field.name();
        if self.fields.insert(name, value).is_none() {
            self.order.push(name);
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.msg = text,
            _ => self.add(field, Value::from(text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value));
    }
}

/// A value of logfmt: in quotes where it is not one plain word.
fn push_text(out: &mut String, text: &str) {
    let is_plain =
        |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '=' | '\\');
    if !text.is_empty() && text.chars().all(is_plain) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // As in JSON, which readers of logfmt take for the rule.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::warn;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What is written of two lines.
    fn written(asked: LogFormat) -> String {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(LineFormat::new(asked, false))
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let peer = "a b=\"c\"\n\\level=error \u{1b}[31m";
            warn!(target: "part", peer, topic = %"t-1", count = 7, is_on = true, none = None::<u8>, "it broke");
            warn!(target: "part", "again");
        });
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_of_logfmt_has_quotes_where_it_needs_them_and_no_second_line() {
        for asked in [LogFormat::Logfmt, LogFormat::Auto] {
            let text = written(asked);
            let lines: Vec<&str> = text.lines().collect();
            let [first, second] = lines[..] else {
                panic!("{text}")
            };
            let (time, rest) = first.split_once(' ').unwrap();
            assert!(time.starts_with("ts=2") && time.ends_with('Z'), "{time}");
            assert_eq!(
                rest,
                "level=warn target=part msg=\"it broke\" \
                 peer=\"a b=\\\"c\\\"\\n\\\\level=error \\u001b[31m\" topic=t-1 count=7 is_on=true"
            );
            assert!(
                second.ends_with(" level=warn target=part msg=again"),
                "{second}"
            );
        }
    }

    #[test]
    fn a_line_of_json_is_an_object() {
        let text = written(LogFormat::Json);
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["level"], "warn");
        assert_eq!(lines[0]["target"], "part");
        assert_eq!(lines[0]["msg"], "it broke");
        let fields = &lines[0]["fields"];
        assert_eq!(fields["peer"], "a b=\"c\"\n\\level=error \u{1b}[31m");
        assert_eq!(
            (&fields["topic"], &fields["count"]),
            (&"t-1".into(), &7.into())
        );
        assert_eq!(
            (&fields["is_on"], &fields["none"]),
            (&true.into(), &Value::Null)
        );
        assert_eq!(lines[1]["fields"], Value::Null);
        assert!(lines[1]["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')));
    }

    #[test]
    fn people_at_a_terminal_get_lines_for_people() {
        assert!(matches!(
            LineFormat::new(LogFormat::Auto, true),
            LineFormat::Text(_)
        ));
        assert!(written(LogFormat::Text).contains(" WARN part: it broke "));
    }
}
