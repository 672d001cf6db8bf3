//! What is pending, for people and for programs.

use std::io::{self, Write};

use clap::Args;
use serde_json::Value;

use super::super::client::{Api, encoded};
use super::super::text::{self, printable};
use super::super::{Failure, Format, Target};
use super::{Filter, path_of};
use crate::cli::outcome::print_json;
use crate::cli::say;
use crate::clock;

/// Entries of a page of the HTTP API.
pub(super) const PAGE_MAX: usize = 1_000;

/// Arguments of `delayed ls`.
#[derive(Args, Debug)]
pub(super) struct LsArguments {
    /// Of this topic; without it, of each topic with something pending
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Entries of a topic to list; 0 for all
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    target: Target,
}

/// Prints an answer, for people in a sentence.
pub(super) fn print(
    format: Format,
    answer: &Value,
    told: impl Fn(&Value) -> String,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Text => writeln!(out, "{}", printable(&told(answer))),
        Format::Json => print_json(&mut out, answer),
    }
}

/// Text of a key or a value as the HTTP API shows it.
fn shown(value: &Value) -> String {
    let data = printable(value["data"].as_str().unwrap_or("-"));
    let (cut, base64) = (value["cut"] == true, value["format"] == "base64");
    let size = value["size_bytes"].as_u64().unwrap_or(0);
    match (base64, cut) {
        (false, false) => data,
        (false, true) => format!("{data}… ({size} bytes)"),
        (true, false) => format!("base64:{data}"),
        (true, true) => format!("base64:{data}… ({size} bytes)"),
    }
}

fn field(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

fn moment(value: &Value) -> String {
    value.as_i64().map_or_else(|| "-".to_owned(), text::time)
}

fn size(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), text::bytes)
}

/// The topics in which something is pending.
async fn topics(api: &Api) -> Result<Vec<String>, Failure> {
    let summary = api.get("/v1/delayed").await?;
    if let Some(count) = summary["per_topic_left_out"]
        .as_u64()
        .filter(|count| *count > 0)
    {
        say(&format!(
            "tidewheel: {count} topics are left out; see --topic"
        ));
    }
    let topics = summary["per_topic"].as_array().into_iter().flatten();
    let pending = topics.filter(|topic| topic["pending"].as_u64() > Some(0));
    let names = pending.filter_map(|topic| topic["topic"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Lists what is pending.
pub(super) async fn ls(arguments: &LsArguments) -> Result<(), Failure> {
    let api = Api::new(&arguments.target)?;
    let topics = match &arguments.topic {
        Some(topic) => vec![topic.clone()],
        None => topics(&api).await?,
    };
    let now_ms = clock::now_ms();
    let limit = match arguments.limit {
        0 => usize::MAX,
        limit => limit,
    };
    let mut rows = Vec::new();
    for topic in topics {
        let query = arguments.filter.query(&topic, now_ms);
        let (mut left, mut cursor) = (limit, None::<String>);
        loop {
            let after = cursor.as_deref().map(encoded);
            let after = after.map_or(String::new(), |after| format!("&cursor={after}"));
            let path = format!(
                "/v1/delayed/messages{query}&limit={}{after}",
                left.min(PAGE_MAX)
            );
            let page = api.get(&path).await?;
            let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
            left = left.saturating_sub(items.len());
            match arguments.target.format {
                Format::Json => lines(items)?,
                Format::Text => rows.extend(items.iter().map(|item| row(item, now_ms))),
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
            if left == 0 {
                say(&printable(&format!(
                    "tidewheel: {topic} has more; see --limit"
                )));
                break;
            }
        }
    }
    if arguments.target.format == Format::Text {
        let head = ["ID", "DUE", "", "RECORDS", "SIZE", "KEY"];
        text::table(&mut io::stdout().lock(), &head, &rows)?;
    }
    Ok(())
}

fn lines(items: &[Value]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    items.iter().try_for_each(|item| print_json(&mut out, item))
}

fn row(item: &Value, now_ms: i64) -> Vec<String> {
    let due = item["deliver_at_ms"].as_i64();
    vec![
        field(item, "id"),
        moment(&item["deliver_at_ms"]),
        due.map_or_else(String::new, |due_ms| text::distance(now_ms, due_ms)),
        field(item, "records"),
        size(&item["size_bytes"]),
        shown(&item["key"]),
    ]
}

/// Shows one pending record.
pub(super) async fn show(id: &str, target: &Target) -> Result<(), Failure> {
    let record = Api::new(target)?.get(&path_of(id)).await?;
    let mut out = io::stdout().lock();
    if target.format == Format::Json {
        return Ok(print_json(&mut out, &record)?);
    }
    let due_ms = record["deliver_at_ms"].as_i64().unwrap_or(0);
    let distance = text::distance(clock::now_ms(), due_ms);
    for (name, value) in [
        ("id", field(&record, "id")),
        ("due", format!("{} ({distance})", text::time(due_ms))),
        ("state", field(&record, "state")),
        ("expires", moment(&record["expires_ms"])),
        ("delay-id", shown(&record["delay_id"])),
        ("records", field(&record, "records")),
        ("size", size(&record["size_bytes"])),
    ] {
        writeln!(out, "{name:<10}{value}")?;
    }
    for content in record["contents"].as_array().into_iter().flatten() {
        writeln!(out)?;
        writeln!(out, "timestamp {}", moment(&content["timestamp_ms"]))?;
        writeln!(out, "key       {}", shown(&content["key"]))?;
        for header in content["headers"].as_array().into_iter().flatten() {
            writeln!(
                out,
                "header    {}: {}",
                field(header, "key"),
                shown(&header["value"])
            )?;
        }
        writeln!(out, "value     {}", shown(&content["value"]))?;
    }
    Ok(())
}

/// Tells how much is pending.
pub(super) async fn stats(target: &Target) -> Result<(), Failure> {
    let summary = Api::new(target)?.get("/v1/delayed").await?;
    let mut out = io::stdout().lock();
    if target.format == Format::Json {
        return Ok(print_json(&mut out, &summary)?);
    }
    let next = summary["next_due_ms"].as_i64();
    let now_ms = clock::now_ms();
    let next = next.map(|ms| format!("{} ({})", text::time(ms), text::distance(now_ms, ms)));
    for (name, value) in [
        ("pending", field(&summary, "pending")),
        ("withdrawn", field(&summary, "withdrawn")),
        ("size", size(&summary["pending_bytes"])),
        ("next due", next.unwrap_or_else(|| "-".to_owned())),
        ("overdue", field(&summary, "overdue")),
        ("since", moment(&summary["oldest_overdue_ms"])),
        ("delivered", field(&summary, "delivered_total")),
        ("cancelled", field(&summary, "cancelled_total")),
        ("expired", field(&summary, "expired_total")),
    ] {
        writeln!(out, "{name:<10}{value}")?;
    }
    if summary["clock_held"] == true {
        writeln!(
            out,
            "the clock jumped ahead and nothing is delivered: see delayed accept-clock"
        )?;
    }
    for failure in summary["failures"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "given up: {}",
            printable(failure.as_str().unwrap_or("?"))
        )?;
    }
    writeln!(out)?;
    let within = summary["due_histogram"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = within.map(within_row).collect();
    text::table(&mut out, &["DUE WITHIN", "COUNT"], &rows)?;
    writeln!(out)?;
    let topics = summary["per_topic"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = topics.map(topic_row).collect();
    text::table(&mut out, &["TOPIC", "MODE", "PENDING", "SIZE", ""], &rows)?;
    if let Some(count) = summary["per_topic_left_out"]
        .as_u64()
        .filter(|count| *count > 0)
    {
        say(&format!("tidewheel: {count} topics are left out"));
    }
    Ok(())
}

fn within_row(within: &Value) -> Vec<String> {
    let bound = match within["le_seconds"].as_i64() {
        None => "all".to_owned(),
        Some(0) => "overdue".to_owned(),
        Some(seconds) => text::duration(seconds.saturating_mul(1_000)),
    };
    vec![bound, field(within, "count")]
}

fn topic_row(topic: &Value) -> Vec<String> {
    let paused = if topic["paused"] == true {
        "paused"
    } else {
        ""
    };
    vec![
        field(topic, "topic"),
        field(topic, "mode"),
        field(topic, "pending"),
        size(&topic["pending_bytes"]),
        paused.to_owned(),
    ]
}
