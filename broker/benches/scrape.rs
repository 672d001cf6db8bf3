//! What a scrape of the metrics costs: `cargo bench -p tidewheel-broker --bench scrape`.
//!
//! 10,000 partitions in 1,000 topics and 1,000 groups that have committed offsets in ten partitions each, with
//! everything read and with every group behind. It measures and judges nothing: see docs/performance.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the measurement"
)]
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and waits"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::groups::{codes, commit_request, find};
use support::{Client, batch, eventually, produce_request};
use tidewheel_broker::{EmbeddedBroker, MetricsFormat, MetricsPage};
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::messages::produce::ProduceResponse;
use tokio::runtime::Runtime;

const TOPICS: usize = 1_000;
const PARTITIONS: i32 = 10;
const SCRAPES: usize = 50;

fn topic(at: usize) -> String {
    format!("a-topic-named-{at:04}")
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let log_dir = format!("log.dirs={}", dir.path().display());
    let settings = [
        &log_dir,
        "listeners=PLAINTEXT://127.0.0.1:0",
        "tidewheel.max.partitions=20000",
    ];
    let broker = runtime.block_on(EmbeddedBroker::start(&settings)).unwrap();
    let mut client = Client::connect(&broker.bootstrap());
    create(&mut client);
    eventually("there is a coordinator", || {
        let found = find(&mut client, &["group"]);
        found.coordinators.iter().all(|one| one.error_code == 0)
    });
    for at in 0..TOPICS {
        let offsets: Vec<_> = (0..PARTITIONS)
            .map(|partition| (partition, 0, ""))
            .collect();
        let request = commit_request(&format!("group-{at:04}"), &topic(at), &offsets);
        let answer: OffsetCommitResponse = client.call(8, &request);
        assert!(codes(&answer).iter().all(|code| *code == 0));
    }
    let scrape = |page| {
        let text = broker.metrics(page, MetricsFormat::OpenMetrics);
        runtime.block_on(text).unwrap()
    };
    measure("everything is read", || scrape(MetricsPage::Default));
    for at in 0..TOPICS {
        let request = produce_request(&topic(at), 0, 1, Some(batch(&["value"])));
        let answer: ProduceResponse = client.call(9, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    measure("every group is behind", || scrape(MetricsPage::Default));
    measure("detailed", || scrape(MetricsPage::Detailed));
    measure("kafka_exporter's names", || {
        scrape(MetricsPage::KafkaExporter)
    });
    runtime.block_on(broker.stop()).unwrap();
}

fn create(client: &mut Client) {
    let topics = (0..TOPICS).map(|at| CreatableTopic {
        name: StrBytes::from(topic(at)),
        num_partitions: PARTITIONS,
        replication_factor: -1,
        ..CreatableTopic::default()
    });
    let request = CreateTopicsRequest {
        topics: topics.collect(),
        timeout_ms: 60_000,
        ..CreateTopicsRequest::default()
    };
    let answer: CreateTopicsResponse = client.call(7, &request);
    for topic in answer.topics {
        assert_eq!(topic.error_code, 0, "{:?}", topic.error_message);
    }
}

/// Of a machine that others use only the fastest says something.
fn measure(what: &str, scrape: impl Fn() -> String) {
    let mut times: Vec<Duration> = Vec::new();
    let mut bytes = 0;
    for _ in 0..SCRAPES {
        let began = Instant::now();
        bytes = scrape().len();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!(
        "{what}: {bytes} bytes, median {:.1} ms, fastest {:.1} ms, slowest {:.1} ms",
        times[SCRAPES / 2].as_secs_f64() * 1e3,
        times[0].as_secs_f64() * 1e3,
        times[SCRAPES - 1].as_secs_f64() * 1e3,
    );
}
