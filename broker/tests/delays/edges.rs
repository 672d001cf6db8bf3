//! Delayed delivery where it meets what takes records away: limits, deletion and retention.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::delays::{Asked, batch, due_in, produce, wait_for};
use crate::support::topics::delete_records;
use crate::support::{self, Broker, Client, eventually, now_ms};
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::produce::{PartitionProduceResponse, ProduceResponse};

const BOTH: (&str, &str) = ("delay.mode", "both");

#[test]
fn a_topic_has_no_more_pending_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, &[BOTH, ("delay.max.pending.records", "10")]);
    let due = due_in(5_000);
    let eight: Vec<Asked> = (0..8).map(|_| Asked::at(due, "early")).collect();
    let (first, waits) = produce_and_wait(&mut client, 0, &eight);
    assert_eq!((first.error_code, waits), (0, 0));
    let tomorrow = Asked::at(due + 86_400_000, "tomorrow");
    let (ninth, waits) = produce_and_wait(&mut client, 1, std::slice::from_ref(&tomorrow));
    let told = (ninth.error_code, waits);
    assert_eq!(told, (0, 500), "of all partitions together");
    let cancel = [("delay-op", "cancel"), ("delay-id", "x")];
    for round in 0..2 {
        let two = [Asked::now("now"), tomorrow.clone(), tomorrow.clone()];
        let (refused, _) = produce_and_wait(&mut client, 0, &two);
        let code = ErrorCode::PolicyViolation.code();
        assert_eq!(refused.error_code, code, "round {round}");
        let text = refused.error_message.unwrap();
        assert!(text.contains("delay.max.pending.records=10"), "{text}");
        let (cancelled, _) = produce_and_wait(&mut client, 0, &[Asked::with(&cancel, "")]);
        assert_eq!(cancelled.error_code, 0, "round {round}");
        if round == 0 {
            let (plain, waits) = produce_and_wait(&mut client, 0, &[Asked::now("plain")]);
            assert_eq!((plain.error_code, plain.base_offset, waits), (0, 0, 0));
            broker.kill();
            broker = Broker::start(dir.path());
            client = broker.connect();
        }
    }
    let seen = wait_for(&mut client, "t", 9);
    assert_eq!((&*seen[0].value, &*seen[8].value), ("plain", "early"));
    let (room, waits) = produce_and_wait(&mut client, 0, &vec![tomorrow; 7]);
    assert_eq!((room.error_code, waits), (0, 0));
}

/// Case I2: its producers ask again and again, each with many records, and are refused.
#[test]
fn a_topic_that_is_full_slows_no_plain_one() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[BOTH, ("delay.max.pending.records", "10")]);
    client.create_topic("plain", 1, &[]);
    let tomorrow = due_in(86_400_000);
    let ahead = |count: i64| -> Vec<Asked> {
        (0..count)
            .map(|at| Asked::at(tomorrow + at * 1_000, "v"))
            .collect()
    };
    assert_eq!(produce_and_wait(&mut client, 0, &ahead(10)).0.error_code, 0);
    let (is_over, refused) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut times_ms = Vec::new();
    std::thread::scope(|scope| {
        // Also where an assertion fails: they would go on for ever.
        let _over = Ends(&is_over);
        for _ in 0..4 {
            let mut client = broker.connect();
            let many = ahead(2_000);
            let (is_over, refused) = (&is_over, &refused);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let (answer, _) = produce_and_wait(&mut client, 0, &many);
                    assert_eq!(answer.error_code, ErrorCode::PolicyViolation.code());
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("some were refused", || refused.load(Ordering::Relaxed) >= 8);
        for offset in 0..200 {
            let bytes = batch(&[Asked::now("v")]).build().unwrap().bytes;
            let request = support::produce_request("plain", 0, 1, Some(bytes));
            let began = now_ms();
            let answer: ProduceResponse = client.call(9, &request);
            times_ms.push(now_ms() - began);
            let told = &answer.responses[0].partition_responses[0];
            let (code, waits) = (told.error_code, answer.throttle_time_ms);
            assert_eq!((code, told.base_offset, waits), (0, offset, 0));
        }
    });
    times_ms.sort_unstable();
    // Generous, for a busy machine: what waits for the others waits for all of them each time.
    let median_ms = times_ms[times_ms.len() / 2];
    assert!(median_ms < 1_000, "{median_ms} ms");
}

/// Says that it is over once it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Produces them in one batch; the answer, and how many ms the client is asked to wait.
fn produce_and_wait(
    client: &mut Client,
    partition: i32,
    records: &[Asked],
) -> (PartitionProduceResponse, i32) {
    let bytes = batch(records).build().unwrap().bytes;
    let request = support::produce_request("t", partition, -1, Some(bytes));
    let mut answer: ProduceResponse = client.call(9, &request);
    let told = answer.responses.remove(0).partition_responses.remove(0);
    (told, answer.throttle_time_ms)
}

#[test]
fn what_was_delivered_and_then_deleted_does_not_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[BOTH]);
    produce(&mut client, "t", &[Asked::at(due_in(1_000), "once")]);
    wait_for(&mut client, "t", 1);
    assert_eq!(delete_records(&mut client, "t", 0, -1), (0, 1));
    broker.kill();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    produce(&mut client, "t", &[Asked::at(due_in(500), "next")]);
    let mut values = Vec::new();
    eventually("the next one is delivered", || {
        let seen = client.consume("t", 0, 1).into_iter();
        values = seen.map(|record| record.value).collect();
        !values.is_empty()
    });
    assert_eq!(values, ["next"]);
}

#[test]
fn retention_counts_from_the_delivery_of_what_was_long_pending() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let produced = now_ms() - 60_000;
    for (topic, retention, is_kept) in [("short", "100000", false), ("long", "1000000", true)] {
        client.create_topic(topic, 1, &[BOTH, ("retention.ms", retention)]);
        let until = due_in(500);
        let asked = Asked {
            timestamp: produced,
            ..Asked::with(&[("delay-until", &until.to_string())], "v")
        };
        produce(&mut client, topic, &[asked]);
        let seen = wait_for(&mut client, topic, 1);
        let expected = if is_kept { produced } else { until };
        assert_eq!(seen[0].timestamp, expected, "{topic}");
    }
}
