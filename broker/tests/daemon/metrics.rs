//! What a scrape tells of clients on real sockets, of a broker within this process.

use std::io::Write;
use std::net::TcpStream;

use crate::embedded::Embedded;
use crate::support::{batch, eventually, fetch_request, metadata_topic, produce_request};
use tidewheel_broker::{MetricsFormat, MetricsPage};
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::messages::produce::ProduceResponse;

/// One listener, INSIDE.
const SETTINGS: [&str; 4] = [
    "listeners=INSIDE://127.0.0.1:0",
    "listener.security.protocol.map=INSIDE:PLAINTEXT",
    "max.connections.per.ip=2",
    "num.io.threads=8",
];

/// The value of a sample, named with its labels.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample))?;
    line.strip_prefix(' ')?.parse().ok()
}

impl Embedded {
    fn scraped(&self) -> String {
        let format = MetricsFormat::OpenMetrics;
        let text = self.broker.metrics(MetricsPage::Default, format);
        self.runtime.block_on(text).unwrap()
    }

    fn sample(&self, sample: &str) -> Option<f64> {
        value(&self.scraped(), sample)
    }
}

#[test]
fn requests_are_counted_with_the_phases_of_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Embedded::start_with(dir.path(), &SETTINGS);
    let mut client = broker.connect();
    client.create_topic("orders", 1, &[]);
    let request = produce_request("orders", 0, -1, Some(batch(&["a", "b"])));
    let produced: ProduceResponse = client.call(9, &request);
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
    // Waits for data that does not come.
    let fetch = FetchRequest {
        max_wait_ms: 150,
        min_bytes: 1_000,
        ..fetch_request("orders", 0, 2)
    };
    let _: FetchResponse<bytes::Bytes> = client.call(12, &fetch);
    let metadata = MetadataRequest {
        topics: Some(vec![metadata_topic("nowhere")]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let _: MetadataResponse = client.call(9, &metadata);

    // What is counted when an answer has left may come a moment after it has arrived.
    eventually("the last answer is counted", || {
        broker.sample("tidewheel_request_duration_seconds_count{api=\"Metadata\",phase=\"total\"}")
            == Some(1.0)
    });
    let text = broker.scraped();
    for phase in ["local", "queue", "wait", "respond", "total"] {
        let count =
            format!("tidewheel_request_duration_seconds_count{{api=\"Fetch\",phase=\"{phase}\"}}");
        assert_eq!(value(&text, &count), Some(1.0), "{text}");
    }
    let waited = "tidewheel_request_duration_seconds_sum{api=\"Fetch\",phase=\"wait\"}";
    assert!(value(&text, waited) >= Some(0.1), "{text}");
    for (name, expected) in [
        (
            "tidewheel_requests_total{api=\"Produce\",version=\"9\",error=\"NONE\"}",
            1.0,
        ),
        (
            "tidewheel_requests_total{api=\"Metadata\",version=\"9\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"}",
            1.0,
        ),
        ("tidewheel_requests_in_flight{api=\"Fetch\"}", 0.0),
        ("tidewheel_topic_records_in_total{topic=\"orders\"}", 2.0),
        (
            "tidewheel_connections{listener=\"INSIDE\",security=\"PLAINTEXT\"}",
            1.0,
        ),
        ("tidewheel_connections_accepted_total", 1.0),
    ] {
        assert_eq!(value(&text, name), Some(expected), "{name}\n{text}");
    }
    // A producer with acks=all waited for a sync.
    assert!(
        value(&text, "tidewheel_log_flush_duration_seconds_count") >= Some(1.0),
        "{text}"
    );
    assert!(value(&text, "tidewheel_response_size_bytes_sum{api=\"Produce\"}") > Some(40.0));
}

#[test]
fn a_program_hears_what_is_odd_about_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Embedded::start_with(dir.path(), &SETTINGS);
    let warnings: Vec<String> = broker
        .broker
        .warnings()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        warnings,
        ["--set: num.io.threads has no effect: threads are managed without settings"]
    );
}

#[test]
fn connections_are_counted_with_what_ends_them() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Embedded::start_with(dir.path(), &SETTINGS);
    let first = broker.connect();
    let second = TcpStream::connect(broker.broker.bootstrap()).unwrap();
    let mut third = broker.connect();
    assert!(third.is_closed_by_broker(), "beyond max.connections.per.ip");
    drop((first, second));
    eventually("both are gone", || {
        broker.sample("tidewheel_connections_closed_total{reason=\"client\"}") == Some(2.0)
    });
    assert_eq!(
        broker.sample("tidewheel_connections_closed_total{reason=\"per_address\"}"),
        Some(1.0)
    );
    let mut liar = broker.connect();
    liar.socket.write_all(&[0xFF; 8]).unwrap();
    assert!(liar.is_closed_by_broker());
    eventually("it is refused", || {
        broker.sample("tidewheel_connections_closed_total{reason=\"refused\"}") == Some(1.0)
    });
    assert_eq!(
        broker.sample("tidewheel_connections{listener=\"INSIDE\",security=\"PLAINTEXT\"}"),
        Some(0.0)
    );
}
