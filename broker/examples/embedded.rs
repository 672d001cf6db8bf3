//! A test that has a broker to itself: `cargo run -p tidewheel-broker --example embedded`. CI runs it as one.
//!
//! The client is the one that the benchmarks here have; any client of Kafka's does.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_bench::client::Connection;
use tidewheel_broker::{ApiKey, EmbeddedBroker, ErrorCode, Faults, TestClock};
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic,
};
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use tidewheel_protocol::{Batches, RecordBatchBuilder, RecordHeader};

type Outcome<T> = Result<T, Box<dyn Error>>;

const HOUR: Duration = Duration::from_secs(3_600);
/// How long the client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
pub(crate) async fn main() -> Outcome<()> {
    let (clock, faults) = (TestClock::new(), Faults::new());
    let broker = EmbeddedBroker::builder()
        .topic("orders", 3)
        .topic_with("reminders", 1, &[("delay.mode", "header")])
        .clock(&clock)
        .faults(&faults)
        .start()
        .await?;
    println!("a broker listens on {}", broker.bootstrap());
    let mut client = Connection::open(&broker.bootstrap(), PATIENCE).await?;

    // A leader that has moved, as the client sees it: it has to try again.
    let moved = faults
        .on(ApiKey::Produce)
        .fail_with(ErrorCode::NotLeaderOrFollower)?;
    let first = Record::new(&clock, "orders", "first");
    let refused = produce(&mut client, &first).await?;
    assert_eq!(refused, ErrorCode::NotLeaderOrFollower.code());
    assert_eq!(produce(&mut client, &first).await?, 0);
    assert_eq!(moved.happened(), 1);

    // An acknowledgement that gets lost: the record is there, and the client does not know.
    faults.on(ApiKey::Produce).drop_answer();
    let second = Record::new(&clock, "orders", "second");
    assert!(produce(&mut client, &second).await.is_err());
    let mut client = Connection::open(&broker.bootstrap(), PATIENCE).await?;
    let there = read(&mut client, "orders", Duration::ZERO).await?;
    assert_eq!(there, ["first", "second"]);

    // An hour that takes no time.
    let mut pay = Record::new(&clock, "reminders", "pay");
    pay.delay_ms = Some(3_600_000);
    assert_eq!(produce(&mut client, &pay).await?, 0);
    let before = read(&mut client, "reminders", Duration::ZERO).await?;
    assert_eq!(before, [""; 0]);
    clock.advance(HOUR);
    assert_eq!(read(&mut client, "reminders", PATIENCE).await?, ["pay"]);
    println!("an hour has passed, and the reminder is there");

    broker.stop().await?;
    Ok(())
}

struct Record {
    topic: &'static str,
    value: &'static str,
    timestamp_ms: i64,
    delay_ms: Option<u64>,
}

impl Record {
    /// One that is dated by the clock of the broker.
    fn new(clock: &TestClock, topic: &'static str, value: &'static str) -> Self {
        Self {
            topic,
            value,
            timestamp_ms: clock.now_ms(),
            delay_ms: None,
        }
    }
}

/// Produces one record to partition 0; the error code of the answer.
async fn produce(client: &mut Connection, record: &Record) -> Outcome<i16> {
    let headers = record.delay_ms.map(|delay_ms| RecordHeader {
        key: Bytes::from("delay-ms"),
        value: Some(Bytes::from(delay_ms.to_string())),
    });
    let value = Some(record.value.as_bytes());
    let batch = RecordBatchBuilder::new();
    let batch = batch.record_with_headers(
        record.timestamp_ms,
        None,
        value,
        headers.into_iter().collect(),
    );
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: record.topic.into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(batch.build()?.bytes),
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let answer: ProduceResponse = client.call(9, &request, PATIENCE).await?;
    let topic = answer.responses.first();
    let partition = topic.and_then(|topic| topic.partition_responses.first());
    Ok(partition.ok_or("nothing was answered")?.error_code)
}

/// Reads partition 0 from its beginning, and waits this long for a first record; the values.
async fn read(client: &mut Connection, topic: &str, wait: Duration) -> Outcome<Vec<String>> {
    let request = FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis() / 2)?,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let answer: FetchResponse<Bytes> = client.call(11, &request, PATIENCE).await?;
    let topics = answer.responses.into_iter();
    let partitions = topics.flat_map(|topic| topic.partitions);
    let mut values = Vec::new();
    for records in partitions.filter_map(|partition| partition.records) {
        for batch in Batches::new(records) {
            for record in batch?.records(1 << 20)? {
                let value = record?.value.unwrap_or_default();
                values.push(String::from_utf8(value.to_vec())?);
            }
        }
    }
    Ok(values)
}
