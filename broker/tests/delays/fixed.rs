//! `delay.mode=fixed` as clients see it.

use crate::delays::{Asked, due_in, end_offset, produce, read, wait_for};
use crate::support::topics::alter;
use crate::support::{self, Broker, fetch_request, now_ms};
use bytes::Bytes;
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse};

const DELAY: i64 = 4_000;
const FIXED: [(&str, &str); 2] = [("delay.mode", "fixed"), ("delay.fixed.ms", "4000")];

#[test]
fn records_wait_at_their_offsets_for_the_same_time_each() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &FIXED);
    let first = produce(&mut client, "t", &[Asked::at(1, "a"), Asked::at(2, "b")]);
    assert_eq!((first.error_code, first.base_offset), (0, 0));
    let received = first.log_append_time_ms;
    assert!((now_ms() - received).abs() < 60_000, "the broker's time");
    let second = produce(&mut client, "t", &[Asked::at(3, "c")]);
    assert_eq!((second.error_code, second.base_offset), (0, 2));
    for round in 0..3 {
        let (seen, end) = (read(&mut client, "t"), end_offset(&mut client, "t"));
        let within = fetch(&mut client, 1, 0);
        if now_ms() < received + DELAY {
            assert_eq!((seen.len(), end), (0, 0), "round {round}");
            assert_eq!(within, (ErrorCode::None.code(), 0), "hidden, not missing");
        }
        match round {
            0 => broker.kill(),
            1 => assert!(broker.stop()),
            _ => break,
        }
        broker = Broker::start(dir.path());
        client = broker.connect();
    }
    // A fetch that waits is woken in time.
    let (error, count) = fetch(&mut client, 0, 60_000);
    assert!(now_ms() >= received + DELAY, "too early");
    assert!(error == 0 && count > 0);
    let seen = wait_for(&mut client, "t", 3);
    let values: Vec<&str> = seen.iter().map(|seen| &*seen.value).collect();
    assert_eq!(values, ["a", "b", "c"]);
    assert_eq!((seen[0].offset, seen[0].timestamp), (0, received));
    assert_eq!(end_offset(&mut client, "t"), 3);
}

/// Fetches from an offset; the error, and how many bytes came.
fn fetch(client: &mut support::Client, offset: i64, max_wait_ms: i32) -> (i16, usize) {
    let request = FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        ..fetch_request("t", 0, offset)
    };
    let mut answer: FetchResponse<Bytes> = client.call(11, &request);
    let data = answer.responses.remove(0).partitions.remove(0);
    (data.error_code, data.records.unwrap_or_default().len())
}

#[test]
fn a_change_of_the_delay_counts_for_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic(
        "t",
        1,
        &[("delay.mode", "fixed"), ("delay.fixed.ms", "86400000")],
    );
    produce(&mut client, "t", &[Asked::now("a")]);
    assert_eq!(read(&mut client, "t"), []);
    assert_eq!(
        alter(
            &mut client,
            "t",
            &[("delay.mode", "fixed"), ("delay.fixed.ms", "1")]
        ),
        0
    );
    wait_for(&mut client, "t", 1);
    assert_eq!(
        alter(
            &mut client,
            "t",
            &[("delay.mode", "fixed"), ("delay.fixed.ms", "86400000")]
        ),
        0
    );
    produce(&mut client, "t", &[Asked::now("b")]);
    assert_eq!(read(&mut client, "t").len(), 1, "what was seen stays");
    assert_eq!(alter(&mut client, "t", &[]), 0);
    let plain = produce(&mut client, "t", &[Asked::now("c")]);
    assert_eq!((plain.error_code, plain.base_offset), (0, 2));
    let seen = wait_for(&mut client, "t", 3);
    assert_eq!(seen[2].value, "c");
}

#[test]
fn what_was_delayed_otherwise_does_not_wait_a_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("delay.mode", "timestamp")]);
    produce(&mut client, "t", &[Asked::at(due_in(1_500), "a")]);
    assert_eq!(
        alter(
            &mut client,
            "t",
            &[("delay.mode", "fixed"), ("delay.fixed.ms", "86400000")]
        ),
        0
    );
    assert_eq!(wait_for(&mut client, "t", 1)[0].value, "a");
}
