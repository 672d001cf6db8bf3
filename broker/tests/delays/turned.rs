//! Delays by a clock that the test turns: what takes hours comes in moments, and no sooner than the clock says.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewheel_broker::{EmbeddedBroker, TestClock};
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse};

use crate::delays::{Asked, produce};
use crate::embedded::Embedded;
use crate::support::{Client, eventually, fetch_request};

const HOUR: Duration = Duration::from_secs(3_600);
const HEADER: [(&str, &str); 1] = [("delay.mode", "header")];

/// What can be read. The reader of other tests holds what comes against the clock of the machine.
fn values(client: &mut Client) -> Vec<String> {
    let read = client.consume("t", 0, 0).into_iter();
    read.map(|one| String::from_utf8(one.value.to_vec()).unwrap())
        .collect()
}

/// The same as soon as it is so much.
fn wait_for(client: &mut Client, count: usize) -> Vec<String> {
    let mut read = Vec::new();
    eventually("what is due is delivered", || {
        read = values(client);
        read.len() >= count
    });
    read
}

#[test]
fn what_is_due_in_hours_comes_when_the_clock_is_turned() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long the test has really taken"
    )]
    let began = Instant::now();
    let clock = TestClock::new();
    let broker = EmbeddedBroker::builder().topic_with("t", 1, &HEADER);
    let broker = Embedded::build(broker.clock(&clock));
    let mut client = broker.connect();
    let until = (clock.now_ms() + 90 * 60_000).to_string();
    let asked = [
        Asked::with(&[("delay-ms", "3600000")], "an hour"),
        Asked::with(&[("delay-until", &until)], "half an hour more"),
        Asked::with(
            &[("delay-ms", "86400000"), ("expire-ms", "90000000")],
            "a day",
        ),
    ];
    assert_eq!(produce(&mut client, "t", &asked).base_offset, -1);
    clock.advance(HOUR - Duration::from_secs(300));
    assert_eq!(values(&mut client), [""; 0], "not before its time");
    clock.advance(Duration::from_secs(300));
    assert_eq!(wait_for(&mut client, 1), ["an hour"]);
    clock.advance(HOUR);
    let read = wait_for(&mut client, 2);
    assert_eq!(read, ["an hour", "half an hour more"]);
    clock.advance(22 * HOUR);
    assert_eq!(wait_for(&mut client, 3)[2], "a day");
    assert!(began.elapsed() < HOUR / 2, "nobody has waited");
    broker.stop();
}

/// A consumer that waits already is woken, and a topic with a fixed delay follows the clock too.
#[test]
fn who_waits_for_a_delayed_record_is_woken_when_the_clock_is_turned() {
    let clock = TestClock::new();
    let fixed = [("delay.mode", "fixed"), ("delay.fixed.ms", "7200000")];
    let broker = EmbeddedBroker::builder().topic_with("fixed", 1, &fixed);
    let broker = broker.topic_with("asked", 1, &HEADER).clock(&clock);
    let broker = Embedded::build(broker);
    let mut client = broker.connect();
    let one = [Asked::now("v")];
    assert_eq!(produce(&mut client, "fixed", &one).error_code, 0);
    let one = [Asked::with(&[("delay-ms", "7200000")], "v")];
    assert_eq!(produce(&mut client, "asked", &one).error_code, 0);
    for topic in ["fixed", "asked"] {
        let request = FetchRequest {
            max_wait_ms: 50_000,
            min_bytes: 1,
            ..fetch_request(topic, 0, 0)
        };
        let waiting = client.send(11, &request);
        clock.advance(2 * HOUR);
        let mut answer: FetchResponse<Bytes> = client.receive(11, waiting);
        let data = answer.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, 0);
        assert!(!data.records.unwrap_or_default().is_empty(), "{topic}");
    }
    broker.stop();
}

/// The wall clock of a machine that jumps ahead holds deliveries; a clock that is turned does not.
#[test]
fn a_start_begins_at_the_time_that_the_clock_shows() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let start = || {
        let builder = EmbeddedBroker::builder().topic_with("t", 1, &HEADER);
        Embedded::build(builder.data_dir(dir.path()).clock(&clock))
    };
    let broker = start();
    let mut client = broker.connect();
    let asked = [Asked::with(&[("delay-ms", "3600000")], "v")];
    assert_eq!(produce(&mut client, "t", &asked).error_code, 0);
    broker.stop();
    clock.advance(HOUR);
    let broker = start();
    assert_eq!(wait_for(&mut broker.connect(), 1), ["v"]);
    broker.stop();
}
