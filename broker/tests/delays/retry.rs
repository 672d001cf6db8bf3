//! Retry topics: what a consumer could not handle comes back later, and in the end goes to the dead letters.

use crate::delays::{Asked, batch, read_partition, stored};
use crate::support::{Broker, Client, eventually, now_ms};
use bytes::Bytes;
use tidewheel_protocol::{Compression, ErrorCode, RecordBatch};

const RETRY: [(&str, &str); 3] = [
    ("tidewheel.retry.target", "orders"),
    ("tidewheel.retry.backoff.ms", "700,2x"),
    ("tidewheel.retry.max", "2"),
];

fn create(client: &mut Client) {
    client.create_topic("orders", 2, &[("compression.type", "gzip")]);
    client.create_topic("orders.dlq", 1, &[]);
    client.create_topic("orders.retry", 2, &RETRY);
}

/// The headers of all records of a partition.
pub(crate) fn headers(
    client: &mut Client,
    topic: &str,
    partition: i32,
) -> Vec<Vec<(String, String)>> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all = Vec::new();
    for batch in stored(client, topic, partition) {
        for record in batch.records(1 << 20).unwrap() {
            let headers = record.unwrap().headers;
            let pairs = headers.iter();
            let pairs =
                pairs.map(|header| (text(&header.key), text(header.value.as_ref().unwrap())));
            all.push(pairs.collect());
        }
    }
    all
}

pub(crate) fn wait_for(
    client: &mut Client,
    topic: &str,
    partition: i32,
    count: usize,
) -> Vec<Vec<(String, String)>> {
    let mut found = Vec::new();
    eventually("records have arrived", || {
        found = headers(client, topic, partition);
        assert!(found.len() <= count, "{found:?}");
        found.len() == count
    });
    found
}

pub(crate) fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn send(client: &mut Client, partition: i32, records: &[Asked]) -> (i16, i64) {
    let sent = batch(records)
        .compression(Compression::Lz4)
        .build()
        .unwrap();
    let answer = client.produce("orders.retry", partition, -1, sent.bytes);
    (answer.error_code, answer.base_offset)
}

#[test]
fn a_record_comes_back_after_growing_pauses_and_ends_among_the_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    create(&mut client);
    let mut record = Asked {
        timestamp: 1_000_000,
        ..Asked::with(&[("trace", "7")], "order")
    };
    for (attempt, pause_ms) in [(1, 700), (2, 1_400)] {
        let sent_ms = now_ms();
        assert_eq!(send(&mut client, 1, std::slice::from_ref(&record)), (0, -1));
        let seen = wait_for(&mut client, "orders", 1, attempt);
        assert!(now_ms() >= sent_ms + pause_ms, "attempt {attempt} is early");
        let counted = pair("delay-attempt", &attempt.to_string());
        assert_eq!(seen[attempt - 1], [pair("trace", "7"), counted]);
        record.headers.clone_from(&seen[attempt - 1]);
    }
    let mut known = record.clone();
    known.headers.push(pair("delay-origin-topic", "elsewhere"));
    assert_eq!(send(&mut client, 1, &[record, known]), (0, -1));
    let dead = wait_for(&mut client, "orders.dlq", 0, 2);
    let expected = [
        pair("trace", "7"),
        pair("delay-attempt", "2"),
        pair("delay-origin-topic", "orders"),
        pair("delay-origin-partition", "1"),
        pair("delay-origin-timestamp", "1000000"),
        pair("delay-reason", "attempts"),
    ];
    assert_eq!(dead[0], expected);
    assert!(
        dead[1].contains(&pair("delay-origin-topic", "elsewhere")),
        "kept"
    );
    for (topic, partition, codec) in [
        ("orders", 1, Compression::Gzip),
        ("orders.dlq", 0, Compression::Lz4),
    ] {
        let kept = stored(&mut client, topic, partition);
        let in_codec = |batch: &RecordBatch| batch.header.compression() == Ok(codec);
        assert!(kept.iter().all(in_codec), "{topic}: {kept:?}");
    }
    let seen = read_partition(&mut client, "orders", 1);
    assert_eq!((seen.len(), &*seen[1].value), (2, "order"));
    assert_eq!(headers(&mut client, "orders.retry", 1).len(), 0);
}

#[test]
fn a_batch_that_is_sent_again_is_known_also_after_a_kill_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    create(&mut client);
    let tried = [("delay-attempt", "2")];
    let mixed = [
        Asked::now("again"),
        Asked::with(&tried, "dead"),
        Asked::now("again too"),
    ];
    let sent = batch(&mixed).producer(9, 0, 0).build().unwrap().bytes;
    let next = batch(&[Asked::now("next")])
        .producer(9, 0, 3)
        .build()
        .unwrap()
        .bytes;
    for round in 0..3 {
        for bytes in [&sent, &next] {
            let answer = client.produce("orders.retry", 0, -1, bytes.clone());
            assert_eq!(
                (answer.error_code, answer.base_offset),
                (0, -1),
                "round {round}"
            );
        }
        if round == 1 {
            broker.kill();
            broker = Broker::start(dir.path());
            client = broker.connect();
        }
    }
    wait_for(&mut client, "orders", 0, 3);
    wait_for(&mut client, "orders.dlq", 0, 1);
    broker.kill();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    assert_eq!(send(&mut client, 0, &[Asked::now("last")]), (0, -1));
    wait_for(&mut client, "orders", 0, 4);
    let values = read_partition(&mut client, "orders", 0).into_iter();
    let values: Vec<String> = values.map(|seen| seen.value).collect();
    assert_eq!(values, ["again", "again too", "next", "last"]);
    assert_eq!(headers(&mut client, "orders.dlq", 0).len(), 1);
    let gap = batch(&[Asked::now("gap")])
        .producer(9, 0, 7)
        .build()
        .unwrap();
    let answer = client.produce("orders.retry", 0, -1, gap.bytes);
    assert_eq!(
        answer.error_code,
        ErrorCode::OutOfOrderSequenceNumber.code()
    );
}

#[test]
fn a_retry_topic_without_a_place_to_go_to_says_so_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("orders.retry", 1, &RETRY);
    let refused = |client: &mut Client, expected: &str| {
        let sent = batch(&[Asked::now("v")]).build().unwrap().bytes;
        let answer = client.produce("orders.retry", 0, -1, sent);
        assert_eq!(answer.error_code, ErrorCode::PolicyViolation.code());
        let text = answer.error_message.unwrap();
        assert!(text.contains(expected), "{text}");
    };
    refused(&mut client, "topic orders, ");
    client.create_topic("orders", 1, &[]);
    refused(&mut client, "topic orders.dlq, ");
    client.create_topic("orders.dlq", 1, &[("cleanup.policy", "compact")]);
    refused(&mut client, "is compacted");
    client.delete_topic("orders.dlq");
    client.create_topic("orders.dlq", 1, &[]);
    assert_eq!(send(&mut client, 0, &[Asked::now("v")]), (0, -1));
    wait_for(&mut client, "orders", 0, 1);
}
