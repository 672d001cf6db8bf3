//! Cases of delayed delivery that need a whole broker. The numbers are those of the list in docs/testing.md.

use crate::delays::{self, Asked, audit, batch, due_in, produce, read, wait_for};
use crate::support::{Broker, Client, eventually, now_ms};
use tidewheel_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use tidewheel_protocol::{Compression, ErrorCode, StrBytes};

const TIMESTAMP: [(&str, &str); 1] = [("delay.mode", "timestamp")];

/// Case B6.
#[test]
fn what_unpacks_to_far_too_much_is_refused_and_costs_nobody_anything() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &TIMESTAMP);
    let zeros = "0".repeat(9 << 20);
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let due = due_in(60_000);
        let asked: Vec<Asked> = (0..4)
            .map(|ahead| Asked::at(due + ahead * 1_000, &zeros))
            .collect();
        let bomb = batch(&asked).compression(codec).build().unwrap();
        assert!(bomb.bytes.len() < 1 << 20);
        let answer = client.produce("t", 0, -1, bomb.bytes);
        assert_eq!(
            answer.error_code,
            ErrorCode::MessageTooLarge.code(),
            "{codec:?}"
        );
    }
    produce(&mut client, "t", &[Asked::at(due_in(200), "small")]);
    assert_eq!(wait_for(&mut client, "t", 1)[0].value, "small");
}

/// Deletes all there is; the log's start then.
fn delete_all(client: &mut Client, topic: &str) -> i64 {
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: StrBytes::from(topic),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset: -1,
            }],
        }],
        timeout_ms: 10_000,
    };
    let answer: DeleteRecordsResponse = client.call(2, &request);
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    partition.low_watermark
}

/// Case R6: the deletion takes the cursors with it, and the kill the memory.
#[test]
fn what_was_delivered_and_deleted_does_not_come_again_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &TIMESTAMP);
    for round in 0..3 {
        let mut client = broker.connect();
        let start = i64::from(round) * 2;
        produce(&mut client, "t", &[Asked::at(due_in(200), "first")]);
        produce(&mut client, "t", &[Asked::at(due_in(250), "second")]);
        let mut end = 0;
        eventually("both are delivered", || {
            end = delete_all(&mut client, "t");
            end == start + 2
        });
        broker.kill();
        broker = Broker::start(dir.path());
    }
    let mut client = broker.connect();
    produce(&mut client, "t", &[Asked::at(due_in(300), "last")]);
    let mut end = 0;
    eventually("it is delivered", || {
        end = delete_all(&mut client, "t");
        end > 6
    });
    assert_eq!(end, 7, "nothing came again");
}

/// Case I1, with fewer records than a long run has.
#[test]
fn a_drain_lets_live_producers_through() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("burst", 1, &TIMESTAMP);
    client.create_topic("live", 1, &[]);
    let due = due_in(4_000);
    for first in (0..20_000).step_by(1_000) {
        // Parts of batches of their own: the last one is due tomorrow.
        let mut asked: Vec<Asked> = (first..first + 1_000)
            .map(|number| Asked::at(due, &format!("{number}")))
            .collect();
        asked.push(Asked::at(due + 86_400_000, "tomorrow"));
        assert_eq!(produce(&mut client, "burst", &asked).error_code, 0);
    }
    let mut live = broker.connect();
    let mut answered_meanwhile = 0;
    let mut seen = 0;
    while seen < 20_000 {
        let answer = produce(&mut live, "live", &[Asked::now("live")]);
        assert_eq!(answer.error_code, 0);
        seen = delays::stored(&mut client, "burst", 0)
            .iter()
            .map(|batch| batch.header.record_count)
            .sum();
        answered_meanwhile += usize::from(now_ms() >= due);
        assert!(now_ms() < due + 60_000, "{seen} of 20,000");
    }
    assert!(answered_meanwhile > 0);
    let values: Vec<u64> = read(&mut client, "burst")
        .iter()
        .map(|seen| seen.value.parse().unwrap())
        .collect();
    assert!(
        values.into_iter().eq(0..20_000),
        "in the order of acceptance"
    );
}

/// Case I3, with fewer records than a long run has.
#[test]
fn after_a_start_with_a_long_delay_log_plain_topics_work_and_what_was_due_comes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("later", 1, &TIMESTAMP);
    client.create_topic("plain", 1, &[]);
    let due = due_in(6_000);
    for number in 0..40 {
        let ahead = |at: i64| due + number + at * 20;
        let asked: Vec<Asked> = (0..500).map(|at| Asked::at(ahead(at), "v")).collect();
        assert_eq!(produce(&mut client, "later", &asked).error_code, 0);
    }
    broker.kill();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let answer = produce(&mut client, "plain", &[Asked::now("v")]);
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
    assert_eq!(wait_for(&mut client, "later", 20_000).len(), 20_000);
    assert!(broker.stop());
    assert_eq!(audit(dir.path(), "later", 0).len(), 20_000);
}
