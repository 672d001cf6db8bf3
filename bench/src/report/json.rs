//! `result.json`: the names of the OpenMessaging Benchmark's `TestResult`, so that its chart scripts read
//! the file, and everything of ours under `tidewheel`.
//!
//! Its publish latency is our `service` (from sending), its publish delay our `send_delay` in
//! microseconds, its end-to-end latency our `e2e`. A stall shows in the sum of the first two, or in our
//! `response`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::BenchError;
use crate::summary::{Latency, Summary};
use crate::workload::read_text;

/// Where our own figures are.
const OWN: &str = "tidewheel";

/// The suffixes of its percentiles, and our names for them.
const PERCENTILES: [(&str, &str); 6] = [
    ("50pct", "p50"),
    ("75pct", "p75"),
    ("95pct", "p95"),
    ("99pct", "p99"),
    ("999pct", "p99.9"),
    ("9999pct", "p99.99"),
];

/// The text of the file.
pub(crate) fn render(summary: &Summary) -> String {
    let mut all = openmessaging(summary);
    let own = serde_json::to_value(summary).expect("a summary has text keys only");
    all.insert(OWN.to_owned(), own);
    let mut text = serde_json::to_string_pretty(&all).expect("a map of values is JSON");
    text.push('\n');
    text
}

/// Reads the file, or the one in a folder.
///
/// # Errors
/// Where it cannot be read or is not of this program.
pub(crate) fn read(path: &Path) -> Result<Summary, BenchError> {
    let file = match path.is_dir() {
        true => path.join("result.json"),
        false => path.to_owned(),
    };
    let text = read_text(&file)?;
    let wrong = |what: String| BenchError::Content {
        path: file.clone(),
        what,
    };
    let mut all: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let own = all.remove(OWN);
    let own = own.ok_or_else(|| wrong("there is no result of this program in it".to_owned()))?;
    serde_json::from_value(own).map_err(|error| wrong(error.to_string()))
}

fn openmessaging(summary: &Summary) -> Map<String, Value> {
    let workload = &summary.workload;
    let mut all = Map::new();
    let points = &summary.points;
    let rate =
        |pick: fn(&crate::summary::Point) -> f64| -> Value { points.iter().map(pick).collect() };
    let fixed = [
        ("workload", json!(workload.name)),
        ("driver", json!("Kafka")),
        ("topics", json!(workload.topics)),
        ("partitions", json!(workload.partitions.unwrap_or(1))),
        ("producersPerTopic", json!(workload.producers)),
        (
            "consumersPerTopic",
            json!(workload.consumers * workload.subscriptions),
        ),
        (
            "messageSize",
            json!(summary.counts.acked_bytes / summary.counts.acked.max(1)),
        ),
        (
            "publishRate",
            rate(|point| point.throughput.produced_per_second),
        ),
        (
            "publishErrorRate",
            rate(|point| point.failed as f64 / point.seconds.max(1e-9)),
        ),
        (
            "consumeRate",
            rate(|point| point.throughput.consumed_per_second),
        ),
        (
            "backlog",
            points.iter().map(|point| point.backlog).collect(),
        ),
    ];
    for (name, value) in fixed {
        all.insert(name.to_owned(), value);
    }
    for (prefix, series, factor) in [
        ("publishLatency", "service", 1.0),
        ("publishDelayLatency", "send_delay", 1000.0),
        ("endToEndLatency", "e2e", 1.0),
    ] {
        put_latencies(&mut all, summary, prefix, series, factor);
    }
    all
}

fn put_latencies(
    all: &mut Map<String, Value>,
    summary: &Summary,
    prefix: &str,
    series: &str,
    factor: f64,
) {
    let figures = [("Avg", "mean"), ("Max", "max")]
        .into_iter()
        .chain(PERCENTILES);
    let none = Latency::default();
    let of = |latencies: &std::collections::BTreeMap<String, Latency>, figure: &str| {
        let latency = latencies.get(series).unwrap_or(&none);
        latency.figure(figure).unwrap_or_default() * factor
    };
    let upper = prefix[..1].to_uppercase() + &prefix[1..];
    for (suffix, figure) in figures {
        let points = summary.points.iter();
        let by_second: Value = points.map(|point| of(&point.latencies, figure)).collect();
        all.insert(format!("{prefix}{suffix}"), by_second);
        let whole = json!(of(&summary.latencies, figure));
        all.insert(format!("aggregated{upper}{suffix}"), whole);
    }
    let curve = summary.latencies.get(series).map(|latency| &latency.curve);
    let quantiles: Map<String, Value> = curve
        .into_iter()
        .flatten()
        .map(|(quantile, value)| (format!("{}", quantile * 100.0), json!(value * factor)))
        .collect();
    let name = format!("aggregated{upper}Quantiles");
    all.insert(name, Value::Object(quantiles));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::summary;

    #[test]
    fn the_file_is_read_again_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let result = summary(1000.0, 5.0);
        std::fs::write(dir.path().join("result.json"), render(&result)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), result);
        assert_eq!(read(&dir.path().join("result.json")).unwrap(), result);
    }

    #[test]
    fn the_names_of_the_openmessaging_benchmark_are_there() {
        let all: Value = serde_json::from_str(&render(&summary(1000.0, 5.0))).unwrap();
        for name in [
            "publishRate",
            "consumeRate",
            "backlog",
            "publishLatency99pct",
        ] {
            assert!(all[name].is_array(), "{name}");
        }
        assert!(all["aggregatedPublishLatencyQuantiles"].is_object());
        assert!(all["aggregatedPublishLatency99pct"].is_number());
        assert!(all["aggregatedEndToEndLatencyMax"].is_number());
    }

    #[test]
    fn a_file_of_another_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        for text in ["", "[]", "{}", "{\"tidewheel\": 5}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap_err().exit_code(), 2, "{text}");
        }
        assert_eq!(read(&dir.path().join("none")).unwrap_err().exit_code(), 1);
    }
}
