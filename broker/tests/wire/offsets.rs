//! Offsets on the wire: ListOffsets and OffsetForLeaderEpoch.

use crate::support::{self, Broker, Client, batch, now_ms};
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use tidewheel_protocol::{Compression, ErrorCode, RecordBatchBuilder, StrBytes};

/// Topics with their partitions and timestamps.
type Question<'a> = [(&'a str, Vec<(i32, i64)>)];

fn list_offsets(client: &mut Client, version: i16, topics: &Question<'_>) -> ListOffsetsResponse {
    let partition = |(partition_index, timestamp): &(i32, i64)| ListOffsetsPartition {
        partition_index: *partition_index,
        timestamp: *timestamp,
        ..ListOffsetsPartition::default()
    };
    let topic = |(name, partitions): &(&str, Vec<(i32, i64)>)| ListOffsetsTopic {
        name: StrBytes::from(*name),
        partitions: partitions.iter().map(partition).collect(),
    };
    let request = ListOffsetsRequest {
        topics: topics.iter().map(topic).collect(),
        ..ListOffsetsRequest::default()
    };
    client.call(version, &request)
}

/// Topic, partition and error of each answer.
fn codes(answer: &ListOffsetsResponse) -> Vec<(&str, i32, i16)> {
    let mut codes = Vec::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            codes.push((
                &*topic.name,
                partition.partition_index,
                partition.error_code,
            ));
        }
    }
    codes
}

fn list_offset(client: &mut Client, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let answer = list_offsets(client, version, &[("t", vec![(0, timestamp)])]);
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp)
}

/// Apache Kafka 4.3.1's answers for a log without records, version by version: error, offset, epoch.
#[test]
fn gotcha_38_the_timestamps_that_are_questions_are_answered_from_their_version_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let nothing = |offset, epoch| (0, offset, epoch);
    let cases = [
        (-1, 1, nothing(0, 0)),
        (-2, 1, nothing(0, 0)),
        (-3, 7, nothing(-1, -1)),
        (-4, 8, nothing(0, 0)),
        (-5, 9, nothing(-1, -1)),
        (-6, 10, nothing(-1, -1)),
        (0, 1, nothing(-1, -1)),
    ];
    for version in 1..=9 {
        for (timestamp, since, (error, offset, epoch)) in cases {
            let question = [("t", vec![(0, timestamp)])];
            let answer = list_offsets(&mut client, version, &question);
            let found = &answer.topics[0].partitions[0];
            let expected = match version >= since {
                // Versions before 4 tell no epoch.
                true => (error, offset, if version < 4 { -1 } else { epoch }),
                false => (ErrorCode::UnsupportedVersion.code(), -1, -1),
            };
            assert_eq!(
                (found.error_code, found.offset, found.leader_epoch),
                expected,
                "{timestamp} in version {version}"
            );
        }
    }
}

#[test]
fn a_partition_that_is_asked_for_twice_is_refused_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, &[]);
    let (invalid, unknown) = (
        ErrorCode::InvalidRequest.code(),
        ErrorCode::UnknownTopicOrPartition.code(),
    );
    let same_topic = [("t", vec![(0, -1), (0, -2), (1, -1)])];
    let topic_twice = [("t", vec![(0, -1)]), ("t", vec![(0, -1), (1, -1)])];
    for question in [&same_topic[..], &topic_twice] {
        let answer = list_offsets(&mut client, 5, question);
        assert_eq!(codes(&answer), [("t", 0, invalid), ("t", 1, 0)]);
    }
    let question = [("u", vec![(0, -1), (0, -1), (1, -1)])];
    let answer = list_offsets(&mut client, 1, &question);
    assert_eq!(codes(&answer), [("u", 0, invalid), ("u", 1, unknown)]);
}

/// Exact per record, also inside compressed batches.
#[test]
fn gotcha_38_fact_07_17_offsets_are_found_by_timestamp_record_by_record() {
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

/// The epoch that a client knows, of the partition's leader.
fn ask_under_epoch(client: &mut Client, current_leader_epoch: i32) -> [(i16, i32, i64); 2] {
    let listed = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: -1,
                current_leader_epoch,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    let listed: ListOffsetsResponse = client.call(4, &listed);
    let listed = &listed.topics[0].partitions[0];
    let ended = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![OffsetForLeaderPartition {
                current_leader_epoch,
                leader_epoch: 0,
                ..OffsetForLeaderPartition::default()
            }],
        }],
        ..OffsetForLeaderEpochRequest::default()
    };
    let ended: OffsetForLeaderEpochResponse = client.call(4, &ended);
    let ended = &ended.topics[0].partitions[0];
    [
        (listed.error_code, listed.leader_epoch, listed.offset),
        (ended.error_code, ended.leader_epoch, ended.end_offset),
    ]
}

#[test]
fn gotcha_37_every_reply_knows_the_epoch_and_fences_clients_that_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.connect().produce_to_new("t", batch(&["a", "b"]));
    broker.kill();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.produce_to_new("t", batch(&["c"]));
    let (fenced, unknown) = (
        ErrorCode::FencedLeaderEpoch.code(),
        ErrorCode::UnknownLeaderEpoch.code(),
    );
    for (epoch, expected) in [
        (-1, [(0, 1, 3), (0, 0, 2)]),
        (0, [(fenced, -1, -1); 2]),
        (1, [(0, 1, 3), (0, 0, 2)]),
        (2, [(unknown, -1, -1); 2]),
    ] {
        assert_eq!(ask_under_epoch(&mut client, epoch), expected, "{epoch}");
    }
    for version in 0..=13 {
        let request = MetadataRequest {
            topics: Some(vec![support::metadata_topic("t")]),
            ..MetadataRequest::default()
        };
        let told: MetadataResponse = client.call(version, &request);
        let epoch = told.topics[0].partitions[0].leader_epoch;
        assert_eq!(epoch, if version < 7 { -1 } else { 1 }, "{version}");
    }
}

/// Whatever the broker writes for itself has no place among the records: programs that copy a topic, or
/// wait for its end, count on every offset.
#[test]
fn gotcha_39_offsets_count_the_records_of_clients_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &[]);
    for round in 0..6 {
        let mut client = broker.connect();
        assert_eq!(list_offset(&mut client, 7, -1), (0, round, -1));
        assert_eq!(list_offset(&mut client, 7, -2), (0, 0, -1));
        let read = client.consume("t", 0, 0);
        let offsets: Vec<i64> = read.iter().map(|read| read.offset).collect();
        assert_eq!(offsets, (0..round).collect::<Vec<_>>());
        let records = RecordBatchBuilder::new().producer(round, 0, 0);
        let records = records.record(now_ms(), None, Some(b"x")).build().unwrap();
        let answer = client.produce("t", 0, -1, records.bytes);
        assert_eq!((answer.error_code, answer.base_offset), (0, round));
        if round % 2 == 0 {
            assert!(broker.stop());
        } else {
            broker.kill();
        }
        broker = Broker::start(dir.path());
    }
}

#[test]
fn gotcha_37_epochs_end_where_the_next_begins() {
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
