//! Records that have expired when they are due: where the topic says so they go to its dead-letter topic.

use crate::delays::{Asked, batch, produce, read_partition, stored, wait_for};
use crate::retry::{headers, pair, wait_for as wait_for_headers};
use crate::support::{Broker, Client, eventually, now_ms};
use tidewheel_protocol::{Compression, ErrorCode};

const DEAD_LETTERS: [(&str, &str); 2] = [("delay.mode", "both"), ("delay.expired", "dead-letter")];

/// A record that is due in so many ms, and then has expired.
fn expires(delay_ms: i64, value: &str) -> Asked {
    let delay = delay_ms.to_string();
    Asked::with(&[("delay-ms", &delay), ("expire-ms", "50")], value)
}

fn send(client: &mut Client, partition: i32, records: &[Asked]) {
    let sent = batch(records).compression(Compression::Lz4).build();
    let answer = client.produce("t", partition, -1, sent.unwrap().bytes);
    assert_eq!((answer.error_code, answer.base_offset), (0, -1));
}

#[test]
fn what_has_expired_goes_to_the_dead_letters_with_its_origin_and_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, &DEAD_LETTERS);
    client.create_topic("t.dlq", 1, &[("compression.type", "gzip")]);
    let mut late = expires(1_000, "late");
    late.timestamp = 1_000_000;
    late.headers.insert(0, pair("trace", "7"));
    send(&mut client, 1, &[late]);
    let good = Asked::with(&[("delay-ms", "1200"), ("expire-ms", "60000")], "good");
    send(&mut client, 1, &[good]);
    // As one batch, which stays whole.
    send(&mut client, 0, &[expires(1_000, "a"), expires(1_000, "b")]);
    let mut dead = wait_for_headers(&mut client, "t.dlq", 0, 3);
    dead.retain(|headers| headers.contains(&pair("trace", "7")));
    let expected = [
        pair("trace", "7"),
        pair("delay-ms", "1000"),
        pair("expire-ms", "50"),
        pair("delay-origin-topic", "t"),
        pair("delay-origin-partition", "1"),
        pair("delay-origin-timestamp", "1000000"),
        pair("delay-reason", "expired"),
    ];
    assert_eq!(dead, [expected]);
    let found = stored(&mut client, "t.dlq", 0);
    let gzip = |codec: Result<Compression, _>| codec == Ok(Compression::Gzip);
    assert!(found.iter().all(|batch| gzip(batch.header.compression())));
    eventually("the others come", || {
        read_partition(&mut client, "t", 1).len() == 1
    });
    assert_eq!(read_partition(&mut client, "t", 1)[0].value, "good");
    assert_eq!(read_partition(&mut client, "t", 0), []);
    let mut values = read_partition(&mut client, "t.dlq", 0);
    values.sort_by(|a, b| a.value.cmp(&b.value));
    let values: Vec<&str> = values.iter().map(|seen| &*seen.value).collect();
    assert_eq!(values, ["a", "b", "late"]);
}

#[test]
fn without_a_dead_letter_topic_what_may_expire_is_refused_at_once_and_else_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &DEAD_LETTERS);
    let refused = |client: &mut Client, expected: &str| {
        let answer = produce(client, "t", &[expires(2_000, "v")]);
        assert_eq!(answer.error_code, ErrorCode::PolicyViolation.code());
        let text = answer.error_message.unwrap();
        assert!(text.contains(expected), "{text}");
    };
    refused(&mut client, "topic t.dlq, ");
    client.create_topic("t.dlq", 1, &[("cleanup.policy", "compact")]);
    refused(&mut client, "is compacted");
    client.delete_topic("t.dlq");
    client.create_topic("t.dlq", 1, &[]);
    send(&mut client, 0, &[expires(2_000, "homeless")]);
    client.delete_topic("t.dlq");
    // What cannot expire needs no such topic.
    send(
        &mut client,
        0,
        &[Asked::with(&[("delay-ms", "2100")], "good")],
    );
    assert_eq!(wait_for(&mut client, "t", 1)[0].value, "good");
    client.create_topic("t.dlq", 1, &[]);
    send(&mut client, 0, &[expires(200, "dead")]);
    wait_for_headers(&mut client, "t.dlq", 0, 1);
    assert_eq!(read_partition(&mut client, "t.dlq", 0)[0].value, "dead");
}

#[test]
fn dead_letters_come_once_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &DEAD_LETTERS);
    client.create_topic("t.dlq", 1, &[]);
    let mut expected = Vec::new();
    for round in 0..4 {
        let due = now_ms() + 500;
        for at in 0..10 {
            let value = format!("{round}-{at}");
            send(&mut client, 0, &[expires(500 + at * 10, &value)]);
            expected.push(value);
        }
        eventually("some are due", || now_ms() >= due + 40 * round);
        broker.kill();
        broker = Broker::start(dir.path());
        client = broker.connect();
    }
    wait_for_headers(&mut client, "t.dlq", 0, expected.len());
    broker.kill();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    send(
        &mut client,
        0,
        &[Asked::with(&[("delay-ms", "300")], "last")],
    );
    assert_eq!(wait_for(&mut client, "t", 1)[0].value, "last");
    let seen = read_partition(&mut client, "t.dlq", 0).into_iter();
    let mut values: Vec<String> = seen.map(|seen| seen.value).collect();
    values.sort();
    assert_eq!(values, expected);
    assert_eq!(headers(&mut client, "t.dlq", 0).len(), expected.len());
}
