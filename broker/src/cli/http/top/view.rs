//! What a look is told as: a screen, lines, or an object.

use std::io;

use serde_json::{Value, json};

use super::super::text::{self, printable};
use super::look::{Look, Rates, Topic};
use crate::cli::table;

/// Rows and columns where nobody says how many there are.
const SIZE: (usize, usize) = (24, 80);
/// Lines of the screen that are neither topics nor groups.
const OTHER_LINES: usize = 9;

/// Rows and columns of the terminal.
pub(super) fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            (usize::from(size.ws_row), usize::from(size.ws_col))
        }
        _ => SIZE,
    }
}

/// Topics, the busiest first, then the largest.
fn topics<'a>(before: Option<&Look>, now: &'a Look) -> Vec<(&'a str, Topic, Option<Rates>)> {
    let topics = now.topics.iter();
    let topics = topics.map(|(name, topic)| (name.as_str(), *topic, now.rates(before, name)));
    let mut topics: Vec<_> = topics.collect();
    let busy = |rates: &Option<Rates>| rates.map_or(0.0, |rates| rates.bytes_in + rates.bytes_out);
    topics.sort_by(|(_, one, one_rates), (_, other, other_rates)| {
        let by_rate = busy(other_rates).total_cmp(&busy(one_rates));
        by_rate.then(other.size_bytes.total_cmp(&one.size_bytes))
    });
    topics
}

/// A figure, or a hyphen for what is not known.
fn or_hyphen(figure: Option<f64>, told: impl Fn(f64) -> String) -> String {
    figure.map_or_else(|| "-".to_owned(), told)
}

/// The screen of a terminal with so many rows and columns, in the place of the last one; `trouble` is why there is
/// nothing newer.
pub(super) fn screen(
    before: Option<&Look>,
    now: &Look,
    url: &str,
    trouble: Option<&str>,
    (rows, columns): (usize, usize),
) -> String {
    let room = rows.saturating_sub(OTHER_LINES);
    let groups = now.groups.len().min(room / 3);
    let mut all = summary(now, url);
    all.push(trouble.map_or_else(String::new, printable));
    all.extend(topic_lines(before, now, room - groups));
    all.push(String::new());
    all.extend(group_lines(now, groups));
    // From the first place on, each line to its end, then all that is below; nothing flickers.
    let mut screen = "\u{1b}[H".to_owned();
    for line in all.iter().take(rows.saturating_sub(1)) {
        let line: String = line.chars().take(columns).collect();
        screen.push_str(&line);
        screen.push_str("\u{1b}[K\r\n");
    }
    screen.push_str("\u{1b}[J");
    screen
}

fn summary(now: &Look, url: &str) -> Vec<String> {
    let count = |name: &str| or_hyphen(now.value(name), text::count);
    let bytes = |name: &str| or_hyphen(now.value(name), text::bytes);
    let (state, status) = (printable(&now.broker_state), printable(&now.status));
    vec![
        format!("{url}  {state}, {status}  {}", text::time(now.at_ms)),
        format!(
            "in {} records/s, {}/s; out {}/s; {} requests/s, {} errors/s; {} connections",
            count("records_in_per_second"),
            bytes("bytes_in_per_second"),
            bytes("bytes_out_per_second"),
            count("requests_per_second"),
            count("request_errors_per_second"),
            count("connections"),
        ),
        format!(
            "{} on disk, {} free; {} of memory, {} processors; {} delayed, {}/s delivered",
            bytes("size_bytes"),
            bytes("disk_free_bytes"),
            bytes("memory_resident_bytes"),
            or_hyphen(now.value("processors_used"), |used| format!("{used:.2}")),
            count("delayed_pending"),
            count("delayed_delivered_per_second"),
        ),
    ]
}

fn topic_lines(before: Option<&Look>, now: &Look, most: usize) -> Vec<String> {
    let head = [
        "TOPIC",
        "PARTITIONS",
        "SIZE",
        "RECORDS IN/S",
        "IN/S",
        "OUT/S",
        "DELAYED",
    ];
    let topics = topics(before, now).into_iter().take(most);
    let rows = topics.map(|(name, topic, rates)| {
        let rate = |of: fn(Rates) -> f64, told: fn(f64) -> String| or_hyphen(rates.map(of), told);
        vec![
            printable(name),
            text::count(topic.partitions),
            text::bytes(topic.size_bytes),
            rate(|rates| rates.records_in, text::count),
            rate(|rates| rates.bytes_in, text::bytes),
            rate(|rates| rates.bytes_out, text::bytes),
            text::count(topic.delayed),
        ]
    });
    table::lines(&head, &rows.collect::<Vec<_>>())
}

fn group_lines(now: &Look, most: usize) -> Vec<String> {
    let head = ["GROUP", "STATE", "STATUS", "MEMBERS", "LAG"];
    let rows = now.groups.iter().take(most).map(|group| {
        let lag = group
            .total_lag
            .map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        vec![
            printable(&group.name),
            printable(&group.state),
            printable(&group.status),
            group.members.to_string(),
            lag,
        ]
    });
    table::lines(&head, &rows.collect::<Vec<_>>())
}

/// A line for the broker, one for each topic and one for each group, as `key=value`.
pub(super) fn lines(before: Option<&Look>, now: &Look) -> String {
    let time = text::time(now.at_ms);
    // A space would end a value; groups may have any name.
    let word = |text: &str| printable(text).replace(' ', "?");
    let mut out = format!(
        "time={time} of=broker state={} status={}",
        word(&now.broker_state),
        word(&now.status)
    );
    for (name, value) in &now.values {
        push(&mut out, &word(name), *value);
    }
    out.push('\n');
    for (name, topic, rates) in topics(before, now) {
        out.push_str(&format!("time={time} of=topic topic={}", word(name)));
        for (name, value) in figures(topic, rates) {
            push(&mut out, name, value);
        }
        out.push('\n');
    }
    for group in &now.groups {
        let (name, state, status) = (word(&group.name), word(&group.state), word(&group.status));
        let lag = group
            .total_lag
            .map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        let members = group.members;
        out.push_str(&format!(
            "time={time} of=group group={name} state={state} status={status} members={members} total_lag={lag}\n"
        ));
    }
    out
}

fn push(out: &mut String, name: &str, value: Option<f64>) {
    let value = or_hyphen(value.map(rounded), |value| value.to_string());
    out.push_str(&format!(" {name}={value}"));
}

/// What is told of a topic.
fn figures(topic: Topic, rates: Option<Rates>) -> [(&'static str, Option<f64>); 6] {
    [
        ("partitions", Some(topic.partitions)),
        ("size_bytes", Some(topic.size_bytes)),
        ("delayed_pending", Some(topic.delayed)),
        ("records_in_per_second", rates.map(|rates| rates.records_in)),
        ("bytes_in_per_second", rates.map(|rates| rates.bytes_in)),
        ("bytes_out_per_second", rates.map(|rates| rates.bytes_out)),
    ]
}

/// With three digits behind the point.
fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

/// One object in a line.
pub(super) fn json(before: Option<&Look>, now: &Look) -> Value {
    let topics = topics(before, now).into_iter().map(|(name, topic, rates)| {
        let mut told = json!({"topic": name});
        for (name, value) in figures(topic, rates) {
            told[name] = value.map(rounded).into();
        }
        told
    });
    let groups = now.groups.iter().map(|group| {
        json!({
            "group": group.name, "state": group.state, "status": group.status,
            "members": group.members, "total_lag": group.total_lag,
        })
    });
    json!({
        "time_ms": now.at_ms, "broker_state": now.broker_state, "status": now.status,
        "values": now.values, "topics": topics.collect::<Vec<Value>>(),
        "groups": groups.collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::look::Group;
    use super::*;

    fn look(steady_ms: i64, bytes_in: f64) -> Look {
        let topic = |bytes_in, size_bytes| Topic {
            bytes_in,
            size_bytes,
            ..Topic::default()
        };
        let topics = [("busy", topic(bytes_in, 1.0)), ("large", topic(0.0, 5e9))];
        let topics = topics.map(|(name, topic)| (name.to_owned(), topic));
        let groups = (0..40).map(|at| Group {
            name: format!("g {at}\u{1b}[2J"),
            state: "Stable".to_owned(),
            status: "OK".to_owned(),
            members: 1,
            total_lag: Some(at),
        });
        Look {
            steady_ms,
            broker_state: "RUNNING".to_owned(),
            status: "ok".to_owned(),
            values: BTreeMap::from([("connections".to_owned(), Some(3.0))]),
            topics: BTreeMap::from(topics),
            groups: groups.collect(),
            ..Look::default()
        }
    }

    #[test]
    fn a_screen_has_the_busiest_first_and_no_more_than_fits() {
        let (first, second) = (look(0, 0.0), look(2_000, 4_096.0));
        let at = |screen: &str, what: &str| screen.find(what).unwrap();
        let before = screen(None, &first, "http://here", None, (24, 80));
        assert!(at(&before, "large") < at(&before, "busy"), "{before}");
        let after = screen(Some(&first), &second, "http://here", None, (24, 80));
        assert!(at(&after, "busy") < at(&after, "large"), "{after}");
        assert!(after.contains("2 KiB"), "{after}");
        let trouble = Some("no answer\u{1b}[2J");
        let stale = screen(None, &first, "http://here", trouble, (24, 80));
        assert!(
            stale.contains("no answer") && !stale.contains("\u{1b}[2J"),
            "{stale}"
        );
        assert!(stale.contains("large"), "what was seen last stays: {stale}");
        assert_eq!(stale.lines().count(), before.lines().count());
        for (rows, columns) in [(24, 80), (10, 20), (3, 5), (1, 1), (0, 0)] {
            let screen = screen(Some(&first), &second, "http://here", None, (rows, columns));
            let lines: Vec<&str> = screen.lines().collect();
            assert!(lines.len() <= rows.max(1), "{rows}: {screen}");
            for line in lines {
                let shown = line.replace("\u{1b}[H", "").replace("\u{1b}[K", "");
                assert!(
                    shown.replace("\u{1b}[J", "").chars().count() <= columns,
                    "{shown:?}"
                );
            }
            // A name does not clear the screen.
            assert!(!screen.contains("\u{1b}[2J"));
        }
    }

    #[test]
    fn lines_and_objects_tell_all_of_it() {
        let (first, second) = (look(0, 0.0), look(2_000, 4_096.0));
        let lines = lines(Some(&first), &second);
        assert_eq!(lines.lines().count(), 1 + 2 + 40);
        for part in [
            "of=broker state=RUNNING status=ok connections=3\n",
            "of=topic topic=busy partitions=0 size_bytes=1 delayed_pending=0 records_in_per_second=0 \
             bytes_in_per_second=2048 ",
            "of=group group=g?7?[2J state=Stable status=OK members=1 total_lag=7\n",
        ] {
            assert!(lines.contains(part), "{part:?} in {lines}");
        }
        let told = json(None, &first);
        assert_eq!(told["values"]["connections"], 3.0);
        assert_eq!(told["topics"][0]["bytes_in_per_second"], Value::Null);
        assert_eq!(told["groups"][39]["total_lag"], 39);
    }
}
