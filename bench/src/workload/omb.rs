//! Workload files of the OpenMessaging Benchmark, read as they are.
//!
//! Names and meanings follow `Workload.java` of <https://github.com/openmessaging/benchmark>. Its backlog
//! is what consumers begin with: it is produced before the measurement, and drained while the producers
//! go on at their rate for the stated duration, then until nothing is left. What is not known is refused,
//! never ignored.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::{Mode, Workload};
use crate::error::BenchError;
use crate::values::{ByteSize, Keys, Rate, Span, ValueSize};

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OmbWorkload {
    name: String,
    topics: u32,
    partitions_per_topic: i32,
    key_distributor: String,
    message_size: u64,
    use_randomized_payloads: bool,
    random_bytes_ratio: f64,
    payload_file: Option<String>,
    subscriptions_per_topic: u32,
    producers_per_topic: u32,
    consumer_per_subscription: u32,
    producer_rate: u32,
    #[serde(rename = "consumerBacklogSizeGB")]
    consumer_backlog_size_gb: u64,
    test_duration_minutes: u64,
    warmup_duration_minutes: u64,
}

impl Default for OmbWorkload {
    fn default() -> Self {
        Self {
            name: String::new(),
            topics: 1,
            partitions_per_topic: 1,
            key_distributor: "NO_KEY".to_owned(),
            message_size: 1024,
            use_randomized_payloads: false,
            random_bytes_ratio: 0.0,
            payload_file: None,
            subscriptions_per_topic: 0,
            producers_per_topic: 1,
            consumer_per_subscription: 1,
            producer_rate: 0,
            consumer_backlog_size_gb: 0,
            test_duration_minutes: 1,
            warmup_duration_minutes: 1,
        }
    }
}

/// Keys that the benchmark's distributors draw from.
const KEY_COUNT: u32 = 10_000;
/// A backlog is drained to its end, whatever the stated duration: a day is as long as for ever.
const BACKLOG_DRAIN: Span = Span(Duration::from_secs(24 * 3600));

/// Reads the text of the file at `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Workload, BenchError> {
    let wrong = |what: String| BenchError::Content {
        path: path.into(),
        what,
    };
    let omb: OmbWorkload =
        serde_yaml_ng::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let keys = match omb.key_distributor.as_str() {
        "NO_KEY" => Keys::None,
        "KEY_ROUND_ROBIN" => Keys::RoundRobin(KEY_COUNT),
        // Every key equally often.
        "RANDOM_NANO" => Keys::Zipf(0.0, KEY_COUNT),
        other => return Err(wrong(format!("keyDistributor {other} is not known"))),
    };
    let payload = omb.payload_file.as_deref();
    let size = payload
        .and_then(|file| find(file, path))
        .map_or(ValueSize::Fixed(omb.message_size), ValueSize::File);
    let minutes = |count: u64| Span(Duration::from_secs(count.saturating_mul(60)));
    let defaults = Workload::default();
    // Its gigabytes are 2^30 bytes, counted once for every subscription.
    let backlog = omb.consumer_backlog_size_gb.saturating_mul(1 << 30);
    let backlog = backlog / u64::from(omb.subscriptions_per_topic.max(1));
    Ok(Workload {
        name: omb.name,
        mode: match omb.subscriptions_per_topic {
            0 => Mode::Produce,
            _ => Mode::E2e,
        },
        topics: omb.topics,
        partitions: Some(omb.partitions_per_topic),
        producers: omb.producers_per_topic,
        consumers: omb.consumer_per_subscription,
        subscriptions: omb.subscriptions_per_topic.max(1),
        size,
        random_ratio: match omb.use_randomized_payloads {
            true => omb.random_bytes_ratio,
            false => defaults.random_ratio,
        },
        rate: match omb.producer_rate {
            0 => Rate::Max,
            rate => Rate::Records(rate.into()),
        },
        duration: minutes(omb.test_duration_minutes),
        warmup: minutes(omb.warmup_duration_minutes),
        fill: ByteSize(backlog),
        drain: match backlog {
            0 => defaults.drain,
            _ => BACKLOG_DRAIN,
        },
        keys,
        ..defaults
    })
}

/// The file of the values, looked for where the benchmark is started from, beside the workload and beside
/// its folder. Where it lies nowhere, values of the stated size are made.
fn find(file: &str, workload: &Path) -> Option<String> {
    let folder = workload.parent().unwrap_or(Path::new("."));
    let candidates = [
        Path::new(file).to_owned(),
        folder.join(file),
        folder.join("..").join(file),
    ];
    let found = candidates.into_iter().find(|path| path.is_file())?;
    found.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Acks;

    /// `workloads/1-topic-16-partitions-1kb.yaml` of <https://github.com/openmessaging/benchmark>, without
    /// its licence header (Apache 2.0).
    const SIXTEEN_PARTITIONS: &str = r#"
name: 1 producer / 1 consumers on 1 topic

topics: 1
partitionsPerTopic: 16
messageSize: 1024
payloadFile: "payload/payload-1Kb.data"
subscriptionsPerTopic: 1
consumerPerSubscription: 1
producersPerTopic: 1
producerRate: 50000
consumerBacklogSizeGB: 0
testDurationMinutes: 15
"#;

    #[test]
    fn a_real_workload_is_read_unchanged() {
        let path = Path::new("/nowhere/workloads/1-topic-16-partitions-1kb.yaml");
        let workload = parse(SIXTEEN_PARTITIONS, path).unwrap();
        assert_eq!(workload.name, "1 producer / 1 consumers on 1 topic");
        assert_eq!(workload.mode, Mode::E2e);
        assert_eq!((workload.topics, workload.partitions), (1, Some(16)));
        assert_eq!(workload.rate, Rate::Records(50_000.0));
        assert_eq!(workload.size, ValueSize::Fixed(1024));
        assert_eq!(workload.duration.to_string(), "900s");
        assert_eq!(workload.acks, Acks::All);
        workload.check().unwrap();
    }

    /// `workloads/1-topic-100-partitions-1kb-4p-4c-200k-backlog.yaml` from there, likewise.
    const BACKLOG: &str = r#"
name: Backlog for 200k rate 4 producers and 4 consumers on 1 topic / 100 partition

topics: 1
partitionsPerTopic: 100

messageSize: 1024
useRandomizedPayloads: true
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 1000

subscriptionsPerTopic: 1
consumerPerSubscription: 4
producersPerTopic: 4

producerRate: 200000

consumerBacklogSizeGB: 512
testDurationMinutes: 5
"#;

    #[test]
    fn a_backlog_is_filled_in_before_and_drained() {
        let workload = parse(BACKLOG, Path::new("backlog.yaml")).unwrap();
        assert_eq!(workload.mode, Mode::E2e);
        assert_eq!(workload.fill, ByteSize(512 << 30));
        assert_eq!((workload.producers, workload.consumers), (4, 4));
        assert_eq!(workload.drain, BACKLOG_DRAIN);
        workload.check().unwrap();
        let twice = BACKLOG.replace("subscriptionsPerTopic: 1", "subscriptionsPerTopic: 2");
        let workload = parse(&twice, Path::new("backlog.yaml")).unwrap();
        assert_eq!(workload.fill, ByteSize(256 << 30));
    }

    #[test]
    fn the_payload_file_is_found_beside_the_folder_of_workloads() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["workloads", "payload"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("payload/payload-1Kb.data"), "x").unwrap();
        let path = dir.path().join("workloads/w.yaml");
        let workload = parse(SIXTEEN_PARTITIONS, &path).unwrap();
        assert!(matches!(workload.size, ValueSize::File(_)));
    }

    #[test]
    fn what_is_not_served_is_refused() {
        let path = Path::new("w.yaml");
        for text in [
            "consumerBacklogSizeGB: -1",
            "keyDistributor: SOMETHING",
            "topics: many",
            "- a list",
        ] {
            assert_eq!(parse(text, path).unwrap_err().exit_code(), 2, "{text}");
        }
        let keyed = parse("keyDistributor: KEY_ROUND_ROBIN\nproducerRate: 50", path).unwrap();
        assert_eq!(keyed.keys, Keys::RoundRobin(10_000));
    }
}
