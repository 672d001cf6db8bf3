//! A broker in the process of a test, as docs/embedding.md has it: its data, its topics, its clock.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_broker::{EmbeddedBroker, TestClock};
use tidewheel_protocol::messages::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tokio::runtime::Runtime;

use crate::embedded::Embedded;
use crate::support::consumers::{alive, described, heartbeat, join};
use crate::support::groups::find;
use crate::support::{Client, batch, eventually, http, metadata_topic, now_ms};

#[path = "../../examples/embedded.rs"]
mod example;

const HOUR: Duration = Duration::from_secs(3_600);

/// Where a broker says that its data lies.
fn data_dir(client: &mut Client) -> PathBuf {
    let request = DescribeLogDirsRequest { topics: None };
    let answer: DescribeLogDirsResponse = client.call(4, &request);
    PathBuf::from(&*answer.results[0].log_dir)
}

fn partitions(client: &mut Client, topic: &str) -> usize {
    let request = MetadataRequest {
        topics: Some(vec![metadata_topic(topic)]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(9, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{topic}");
    answer.topics[0].partitions.len()
}

#[test]
fn the_example_runs() {
    example::main().unwrap();
}

#[test]
fn two_brokers_of_a_process_have_nothing_in_common() {
    let clock = TestClock::new();
    let one = Embedded::build(EmbeddedBroker::builder().topic("t", 3).clock(&clock));
    let other = Embedded::build(EmbeddedBroker::builder().topic("t", 1));
    assert_ne!(one.broker.bootstrap(), other.broker.bootstrap());
    assert_eq!(one.broker.admin(), None, "no second door");
    let (mut ones, mut others) = (one.connect(), other.connect());
    assert_eq!(partitions(&mut ones, "t"), 3);
    assert_eq!(partitions(&mut others, "t"), 1);
    assert_eq!(ones.produce("t", 0, -1, batch(&["one"])).error_code, 0);
    assert_eq!(others.produce("t", 0, -1, batch(&["other"])).error_code, 0);
    clock.advance(HOUR);
    assert_eq!(ones.consume("t", 0, 0)[0].value, "one");
    assert_eq!(others.consume("t", 0, 0)[0].value, "other");
    let (first, second) = (data_dir(&mut ones), data_dir(&mut others));
    assert_ne!(first, second);
    one.stop();
    assert!(!first.exists(), "it goes with its broker");
    assert_eq!(others.consume("t", 0, 0).len(), 1, "the other one goes on");
    other.stop();
    assert!(!second.exists());
}

#[test]
fn temporary_data_goes_with_a_broker_that_is_dropped_or_does_not_start() {
    let runtime = Runtime::new().unwrap();
    let start = |builder: tidewheel_broker::EmbeddedBuilder| runtime.block_on(builder.start());
    let broker = start(EmbeddedBroker::builder().topic("t", 1)).unwrap();
    let mut client = Client::connect(&broker.bootstrap());
    assert_eq!(client.produce("t", 0, -1, batch(&["v"])).error_code, 0);
    let data = data_dir(&mut client);
    assert!(data.join("t-0").exists());
    let inside = runtime.enter();
    drop(broker);
    drop(inside);
    assert!(!data.exists());

    let kept = tempfile::tempdir().unwrap();
    let wrong = start(EmbeddedBroker::builder().setting("num.partition", "1"));
    assert!(wrong.unwrap_err().to_string().contains("num.partitions"));
    let there = || EmbeddedBroker::builder().data_dir(kept.path().join("data"));
    let wrong = start(there().topic("no good name", 1));
    assert!(wrong.unwrap_err().to_string().contains("no good name"));
    // It was stopped, or its data would be in use.
    let broker = start(there().topic("t", 2)).unwrap();
    runtime.block_on(broker.stop()).unwrap();
}

/// By its short name, and in memory, where this machine has some.
#[test]
fn data_may_lie_in_memory_or_nowhere() {
    let runtime = Runtime::new().unwrap();
    let builder = tidewheel_broker::Broker::builder()
        .in_memory()
        .topic("t", 1);
    match runtime.block_on(builder.start()) {
        Ok(broker) => {
            let mut client = Client::connect(&broker.bootstrap());
            assert_eq!(client.produce("t", 0, -1, batch(&["v"])).error_code, 0);
            let data = data_dir(&mut client);
            assert!(data.starts_with("/dev/shm"), "{}", data.display());
            runtime.block_on(broker.stop()).unwrap();
            assert!(!data.exists());
        }
        Err(error) => assert!(error.to_string().contains("--shm-size"), "{error}"),
    }
}

/// A program that embeds a broker has its own logger, and its own way to end.
#[test]
fn neither_a_logger_nor_a_handler_of_signals_is_installed() {
    let broker = Embedded::build(EmbeddedBroker::builder().topic("t", 1));
    let answer = broker.connect().produce("t", 0, -1, batch(&["v"]));
    assert_eq!(answer.error_code, 0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let caught = lines.find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    for (number, name) in [
        (1, "HUP"),
        (2, "INT"),
        (3, "QUIT"),
        (10, "USR1"),
        (15, "TERM"),
    ] {
        assert_eq!(caught >> (number - 1) & 1, 0, "SIG{name}");
    }
    let none = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::set_global_default(none).unwrap();
    broker.stop();
}

#[test]
fn data_that_is_to_stay_is_there_for_the_next_broker() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || EmbeddedBroker::builder().data_dir(dir.path()).topic("t", 2);
    let broker = Embedded::build(builder());
    let answer = broker.connect().produce("t", 1, -1, batch(&["v"]));
    assert_eq!(answer.error_code, 0);
    broker.stop();
    // A setting says the same.
    let place = dir.path().to_str().unwrap();
    let broker = EmbeddedBroker::builder().setting("log.dirs", place);
    let broker = Embedded::build(broker.topic("t", 7));
    let mut client = broker.connect();
    assert_eq!(partitions(&mut client, "t"), 2, "it stays as it is");
    assert_eq!(client.consume("t", 1, 0).len(), 1);
    broker.stop();
    assert!(dir.path().join("t-1").exists());
}

/// What lies closed for longer than the retention goes, though nobody has waited for it.
#[test]
fn retention_follows_a_clock_that_is_turned() {
    let clock = TestClock::new();
    let topic = [("retention.ms", "1800000"), ("segment.bytes", "1048576")];
    let broker = EmbeddedBroker::builder().topic_with("t", 1, &topic);
    let broker = Embedded::build(broker.clock(&clock));
    let mut client = broker.connect();
    let value = "x".repeat(600_000);
    for _ in 0..4 {
        assert_eq!(client.produce("t", 0, -1, batch(&[&value])).error_code, 0);
    }
    assert_eq!(client.consume("t", 0, 0).len(), 4);
    clock.advance(HOUR);
    let data = data_dir(&mut client);
    let segments = || {
        let files = std::fs::read_dir(data.join("t-0")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".log")).count()
    };
    eventually("old segments are deleted", || segments() == 1);
    broker.stop();
}

#[test]
fn members_of_a_group_are_missed_when_the_clock_was_turned() {
    let clock = TestClock::new();
    let broker = EmbeddedBroker::builder().topic("t", 1).clock(&clock);
    let broker = Embedded::build(broker);
    let mut client = broker.connect();
    find(&mut client, &["g"]);
    let member = join(&mut client, "g", "m", &["t"]);
    assert_eq!(described(&mut client, "g").members.len(), 1);
    clock.advance(HOUR);
    eventually("the member is gone", || {
        described(&mut client, "g").members.is_empty()
    });
    let told = heartbeat(&mut client, &alive("g", "m", member.member_epoch));
    assert_ne!(told.error_code, 0, "it has to join again");
    broker.stop();
}

/// Data of a topic whose records are dated by the broker.
#[test]
fn what_the_broker_dates_is_dated_by_its_clock() {
    let clock = TestClock::new();
    let topic = [("message.timestamp.type", "LogAppendTime")];
    let broker = EmbeddedBroker::builder().topic_with("t", 1, &topic);
    let broker = Embedded::build(broker.clock(&clock));
    let mut client = broker.connect();
    let mut dated = |value: &'static str| {
        let answer = client.produce("t", 0, -1, batch(&[value]));
        assert_eq!(answer.error_code, 0);
        answer.log_append_time_ms
    };
    let before = dated("before");
    clock.advance(HOUR);
    let by_ms = dated("after") - before;
    assert!((3_600_000..3_900_000).contains(&by_ms), "{by_ms}");
    assert!((clock.now_ms() - before - by_ms).abs() < 300_000);
    let values: Vec<Bytes> = client
        .consume("t", 0, 0)
        .into_iter()
        .map(|one| one.value)
        .collect();
    assert_eq!(values, ["before", "after"]);
    broker.stop();
}

/// Of records that come by HTTP it dates those that say no time.
#[test]
fn records_that_come_by_http_are_dated_by_its_clock() {
    let clock = TestClock::new();
    let broker = EmbeddedBroker::builder().topic("t", 1).clock(&clock);
    let broker = broker.setting("tidewheel.admin.listen", "127.0.0.1:0");
    let broker = Embedded::build(broker.setting("tidewheel.admin.produce", "true"));
    clock.advance(HOUR);
    let (admin, body) = (broker.broker.admin().unwrap(), r#"{"value":"v"}"#);
    let request = format!(
        "POST /v1/topics/t/records HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\
         x-requested-with: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let told = http::raw(&admin, request.as_bytes()).unwrap().good();
    let ahead_ms = told["timestamp_ms"].as_i64().unwrap() - now_ms();
    assert!((3_300_000..3_900_000).contains(&ahead_ms), "{told}");
    broker.stop();
}
