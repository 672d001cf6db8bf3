//! Offsets on the wire: ListOffsets and OffsetForLeaderEpoch.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

mod support;

use support::{Broker, Client, batch, now_ms};
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use tidewheel_protocol::{Compression, ErrorCode, RecordBatchBuilder, StrBytes};

fn list_offset(client: &mut Client, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition {
        timestamp,
        ..ListOffsetsPartition::default()
    };
    let topic = ListOffsetsTopic {
        name: StrBytes::from("t"),
        partitions: vec![partition],
    };
    let request = ListOffsetsRequest {
        topics: vec![topic],
        ..ListOffsetsRequest::default()
    };
    let answer: ListOffsetsResponse = client.call(version, &request);
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp)
}

/// Gotcha 38 and observed fact 17: exact per record, also inside compressed batches.
#[test]
fn offsets_are_found_by_timestamp_record_by_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    assert_eq!(
        list_offset(&mut client, 7, 0),
        (0, -1, -1),
        "nothing there yet"
    );
    assert_eq!(list_offset(&mut client, 7, -3), (0, -1, -1));
    let base = now_ms() - 100_000;
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for (number, codec) in (0..).zip(codecs) {
        let mut builder = RecordBatchBuilder::new().compression(codec);
        // The largest timestamp stands in the middle of its batch.
        for step in [0, 20, 10] {
            builder = builder.record(base + number * 100 + step, None, Some(b"value"));
        }
        client.produce("t", 0, 1, builder.build().unwrap().bytes);
    }
    for number in 0..5 {
        let at = base + number * 100;
        let first = number * 3;
        assert_eq!(list_offset(&mut client, 7, at), (0, first, at));
        assert_eq!(list_offset(&mut client, 7, at + 1), (0, first + 1, at + 20));
        assert_eq!(
            list_offset(&mut client, 7, at + 20),
            (0, first + 1, at + 20)
        );
    }
    assert_eq!(
        list_offset(&mut client, 7, base + 421),
        (0, -1, -1),
        "past the end"
    );
    assert_eq!(
        list_offset(&mut client, 7, -3),
        (0, 13, base + 420),
        "the record, not its batch"
    );
    assert_eq!(list_offset(&mut client, 1, -1), (0, 15, -1));
    assert_eq!(list_offset(&mut client, 1, -2), (0, 0, -1));
    assert_eq!(list_offset(&mut client, 8, -4), (0, 0, -1));
    assert_eq!(list_offset(&mut client, 9, -5), (0, -1, -1));
    let unsupported = ErrorCode::UnsupportedVersion.code();
    assert_eq!(list_offset(&mut client, 6, -3).0, unsupported);
    assert_eq!(list_offset(&mut client, 7, -4).0, unsupported);
    assert_eq!(list_offset(&mut client, 9, -77).0, unsupported);
}

#[test]
fn epochs_end_where_the_next_begins() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let broker = Broker::start(dir.path());
        let mut client = broker.connect();
        client.produce_to_new("t", batch(&["a", "b"]));
        assert!(broker.stop());
    }
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let mut ask = |leader_epoch: i32| {
        let partition = OffsetForLeaderPartition {
            leader_epoch,
            ..OffsetForLeaderPartition::default()
        };
        let topic = OffsetForLeaderTopic {
            topic: StrBytes::from("t"),
            partitions: vec![partition],
        };
        let request = OffsetForLeaderEpochRequest {
            topics: vec![topic],
            ..OffsetForLeaderEpochRequest::default()
        };
        let answer: OffsetForLeaderEpochResponse = client.call(4, &request);
        let found = &answer.topics[0].partitions[0];
        assert_eq!(found.error_code, 0);
        (found.leader_epoch, found.end_offset)
    };
    assert_eq!(ask(0), (0, 2));
    assert_eq!(ask(1), (1, 4));
    assert_eq!(ask(2), (2, 6));
    assert_eq!(ask(3), (3, 6), "the current epoch ends at the log's end");
    assert_eq!(ask(99), (-1, -1), "an epoch that never was");
}
