//! CreatePartitions on the wire: topics that grow while they are in use.

use crate::support::groups::find;
use crate::support::{
    self, Broker, Client, batch, batches, fetch_request, metadata_topic, produce_request,
};
use bytes::Bytes;
use tidewheel_protocol::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse,
    CreatePartitionsTopic,
};
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::messages::produce::ProduceResponse;
use tidewheel_protocol::{ErrorCode, RecordBatchBuilder, StrBytes};

/// Produces one record as an idempotent producer; error code and offset.
fn produce_in_sequence(client: &mut Client, topic: &str, sequence: i32) -> (i16, i64) {
    let builder = RecordBatchBuilder::new().producer(7, 0, sequence);
    let records = builder.record(support::now_ms(), None, None).build();
    let answer = client.produce(topic, 0, -1, records.unwrap().bytes);
    (answer.error_code, answer.base_offset)
}

/// A fetch that waits for records when its topic grows is woken by the next ones, and a producer goes
/// on in its sequence.
#[test]
fn who_uses_a_topic_is_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    assert_eq!(produce_in_sequence(&mut client, "t", 0), (0, 0));
    let mut consumer = broker.connect();
    let mut request = fetch_request("t", 0, 1);
    (request.max_wait_ms, request.min_bytes) = (600_000, 1);
    let sent = consumer.send(11, &request);
    assert_eq!(grow(&mut client, &[topic("t", 3, None)], false), [0]);
    assert_eq!(produce_in_sequence(&mut client, "t", 0), (0, 0));
    assert_eq!(produce_in_sequence(&mut client, "t", 1), (0, 1));
    let mut answer: FetchResponse<Bytes> = consumer.receive(11, sent);
    let partition = answer.responses.remove(0).partitions.remove(0);
    assert_eq!(batches(partition.records.unwrap_or_default()).len(), 1);
}

fn topic(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assigned = assignments.map(|assignments| {
        let one = |brokers: &&[i32]| CreatePartitionsAssignment {
            broker_ids: brokers.to_vec(),
        };
        assignments.iter().map(one).collect()
    });
    CreatePartitionsTopic {
        name: StrBytes::from(name),
        count,
        assignments: assigned,
    }
}

fn growth(topics: &[CreatePartitionsTopic], validate_only: bool) -> CreatePartitionsRequest {
    CreatePartitionsRequest {
        topics: topics.to_vec(),
        timeout_ms: 30_000,
        validate_only,
    }
}

/// The error code of each topic.
fn grow(client: &mut Client, topics: &[CreatePartitionsTopic], validate_only: bool) -> Vec<i16> {
    let answer: CreatePartitionsResponse = client.call(3, &growth(topics, validate_only));
    let codes = answer.results.iter().map(|result| {
        assert_eq!(result.error_message.is_some(), result.error_code != 0);
        result.error_code
    });
    codes.collect()
}

fn partition_count(client: &mut Client, name: &str) -> usize {
    let request = MetadataRequest {
        topics: Some(vec![metadata_topic(name)]),
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(9, &request);
    let partitions = &answer.topics[0].partitions;
    assert!(
        partitions
            .iter()
            .all(|one| one.leader_id == 1 && one.error_code == 0)
    );
    partitions.len()
}

#[test]
fn fact_02_new_partitions_serve_when_they_are_answered_and_outlive_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("max.message.bytes", "100")]);
    assert_eq!(client.produce("t", 0, 1, batch(&["x"])).error_code, 0);
    assert_eq!(grow(&mut client, &[topic("t", 2, None)], true), [0]);
    assert_eq!(partition_count(&mut client, "t"), 1, "that was a check");
    let mut count = 1;
    for version in 0..=3 {
        count += 1;
        let assigned: &[&[i32]] = &[&[1]];
        let assigned = Some(assigned).filter(|_| version % 2 == 0);
        let wanted = growth(&[topic("t", count, assigned)], false);
        let grown = client.send(version, &wanted);
        // Behind the change on the connection, without waiting for its answer.
        let produced = produce_request("t", count - 1, 1, Some(batch(&["x"])));
        let produced = client.send(9, &produced);
        let grown: CreatePartitionsResponse = client.receive(version, grown);
        assert_eq!(
            (&*grown.results[0].name, grown.results[0].error_code),
            ("t", 0)
        );
        let produced: ProduceResponse = client.receive(9, produced);
        let partition = &produced.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, 0));
    }
    assert_eq!(grow(&mut client, &[topic("t", 7, None)], false), [0]);
    let check = |client: &mut Client| {
        assert_eq!(partition_count(client, "t"), 7);
        for partition in 0..5 {
            assert_eq!(client.consume("t", partition, 0).len(), 1);
        }
        assert!(client.consume("t", 6, 0).is_empty());
        let large = client.produce("t", 6, 1, batch(&["x".repeat(100).as_str()]));
        let too_large = ErrorCode::MessageTooLarge.code();
        assert_eq!(large.error_code, too_large, "the topic's own configs");
    };
    check(&mut client);
    broker.kill();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    check(&mut client);
    assert!(broker.stop());
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    check(&mut client);
    client.delete_topic("t");
    client.create_topic("t", 1, &[]);
    broker.kill();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    assert_eq!(
        partition_count(&mut client, "t"),
        1,
        "another topic of the same name"
    );
}

#[test]
fn gotcha_17_fact_15_27_growth_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    for name in ["a", "b", "c", "twice"] {
        client.create_topic(name, 2, &[]);
    }
    let partitions = ErrorCode::InvalidPartitions.code();
    let assignment = ErrorCode::InvalidReplicaAssignment.code();
    let missing = ErrorCode::UnknownTopicOrPartition.code();
    let assigned: &[(&[&[i32]], i16)] = &[
        (&[], assignment),
        (&[&[1]], assignment),
        (&[&[1], &[1], &[1]], assignment),
        (&[&[1], &[]], assignment),
        (&[&[1], &[1, 1]], assignment),
        (&[&[1], &[2]], assignment),
        (&[&[1], &[1, 2]], assignment),
    ];
    for (brokers, code) in assigned {
        let wanted = [topic("a", 4, Some(brokers))];
        assert_eq!(grow(&mut client, &wanted, false), [*code], "{brokers:?}");
    }
    for count in [2, 1, 0, -1, i32::MIN, 10_001, i32::MAX] {
        let wanted = [topic("a", count, None)];
        assert_eq!(grow(&mut client, &wanted, false), [partitions], "{count}");
    }
    let wanted = [
        topic("missing", 3, None),
        topic("twice", 3, None),
        topic("a", 6_000, None),
        topic("twice", 4, None),
        topic("b", 6_000, None),
        topic("c", 3, None),
        topic("bad name", 3, None),
    ];
    let codes = [
        missing,
        0,
        partitions,
        0,
        missing,
        ErrorCode::InvalidRequest.code(),
    ];
    assert_eq!(
        grow(&mut client, &wanted, true),
        codes,
        "the doubled name comes last, once"
    );
    let in_no_time = CreatePartitionsRequest {
        timeout_ms: 0,
        ..growth(&[topic("c", 3, None)], false)
    };
    let answer: CreatePartitionsResponse = client.call(3, &in_no_time);
    let timed_out = ErrorCode::RequestTimedOut.code();
    assert_eq!(answer.results[0].error_code, timed_out);
    assert!(grow(&mut client, &[], false).is_empty());
    for name in ["a", "b", "c", "twice"] {
        assert_eq!(partition_count(&mut client, name), 2);
    }
    let wanted = [topic("a", 1, None), topic("b", 4, Some(&[&[1], &[1]]))];
    assert_eq!(grow(&mut client, &wanted, false), [partitions, 0]);
    assert_eq!(partition_count(&mut client, "b"), 4);
}

/// Creates a topic; the error code and what is said.
fn create(client: &mut Client, name: &str, partitions: i32) -> (i16, String) {
    let topic = CreatableTopic {
        name: StrBytes::from(name),
        num_partitions: partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        ..CreateTopicsRequest::default()
    };
    let answer: CreateTopicsResponse = client.call(7, &request);
    let said = answer.topics[0].error_message.clone().unwrap_or_default();
    (answer.topics[0].error_code, said.to_string())
}

/// Also where a restart finds more than there may be; the broker's own topics are made all the same.
#[test]
fn more_partitions_than_the_process_can_serve_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let policy = ErrorCode::PolicyViolation.code();
    let broker = Broker::start_with(dir.path(), &["tidewheel.max.partitions=10"]);
    let mut client = broker.connect();
    assert_eq!(create(&mut client, "a", 6).0, 0);
    let (code, said) = create(&mut client, "b", 5);
    assert_eq!(code, policy);
    assert_eq!(
        said,
        "5 partitions beside 6 would be more than 10, which tidewheel.max.partitions allows"
    );
    assert_eq!(create(&mut client, "b", 3).0, 0);
    let both = [topic("a", 7, None), topic("b", 4, None)];
    assert_eq!(grow(&mut client, &both, false), [0, policy]);
    client.delete_topic("b");
    assert_eq!(create(&mut client, "c", 3).0, 0);
    assert_eq!(find(&mut client, &["g"]).coordinators[0].error_code, 0);
    assert!(broker.stop());
    let broker = Broker::start_with(dir.path(), &["tidewheel.max.partitions=5"]);
    let mut client = broker.connect();
    assert_eq!(client.produce("c", 2, -1, batch(&["v"])).error_code, 0);
    assert_eq!(create(&mut client, "d", 1).0, policy);
}
