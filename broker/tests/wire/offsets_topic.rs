//! The topic in which groups keep their offsets: clients read it like any other, and only the broker changes it.

use crate::support::topics::delete_records;
use crate::support::{Broker, Client, batch, metadata_topic};
use tidewheel_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::delete_topics::{
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use tidewheel_protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};

const OFFSETS: &str = "__consumer_offsets";
const REFUSED: i16 = ErrorCode::InvalidTopicException.code();

/// Two partitions are enough here.
const NARROW: &[&str] = &["offsets.topic.num.partitions=2"];

fn described(client: &mut Client, name: &str) -> MetadataResponseTopic {
    let request = MetadataRequest {
        topics: Some(vec![metadata_topic(name)]),
        ..MetadataRequest::default()
    };
    let mut answer: MetadataResponse = client.call(12, &request);
    answer.topics.remove(0)
}

#[test]
fn it_is_told_to_be_internal() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), NARROW);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    assert!(!described(&mut client, "t").is_internal);
    // Named by a client, it is made as for the first group.
    assert!(described(&mut client, OFFSETS).is_internal);
    let topics = ["t", OFFSETS].map(|name| TopicRequest {
        name: StrBytes::from(name),
    });
    let request = DescribeTopicPartitionsRequest {
        topics: topics.into(),
        response_partition_limit: 10,
        ..DescribeTopicPartitionsRequest::default()
    };
    let answer: DescribeTopicPartitionsResponse = client.call(0, &request);
    let internal = answer.topics.iter().map(|topic| topic.is_internal);
    assert_eq!(internal.collect::<Vec<_>>(), [true, false]);
}

/// What a client could write, cut or take away here would be the offsets of groups.
#[test]
fn clients_change_nothing_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), NARROW);
    let mut client = broker.connect();
    assert_eq!(described(&mut client, OFFSETS).partitions.len(), 2);

    let produced = client.produce(OFFSETS, 0, -1, batch(&["forged"]));
    assert_eq!((produced.error_code, produced.base_offset), (REFUSED, -1));

    assert_eq!(delete_records(&mut client, OFFSETS, 0, -1), (REFUSED, -1));

    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: StrBytes::from(OFFSETS),
            count: 3,
            assignments: None,
        }],
        timeout_ms: 1_000,
        ..CreatePartitionsRequest::default()
    };
    let answer: CreatePartitionsResponse = client.call(3, &request);
    assert_eq!(answer.results[0].error_code, REFUSED);

    let id = described(&mut client, OFFSETS).topic_id;
    for (name, topic_id) in [(Some(StrBytes::from(OFFSETS)), Uuid::ZERO), (None, id)] {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name, topic_id }],
            timeout_ms: 1_000,
            ..DeleteTopicsRequest::default()
        };
        let answer: DeleteTopicsResponse = client.call(6, &request);
        assert_eq!(answer.responses[0].error_code, REFUSED);
    }
    let topic = described(&mut client, OFFSETS);
    assert_eq!((topic.topic_id, topic.partitions.len()), (id, 2));
}

/// As many partitions as the client likes, and a policy that forgets: the groups would be gone with the next
/// start. Kafka makes it, and its groups find no coordinator.
#[test]
fn clients_do_not_make_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), NARROW);
    let mut client = broker.connect();
    let topic = |name: &str| CreatableTopic {
        name: StrBytes::from(name),
        num_partitions: 3,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let mut made = |names: &[&str], validate_only: bool| {
        let request = CreateTopicsRequest {
            topics: names.iter().map(|name| topic(name)).collect(),
            validate_only,
            timeout_ms: 1_000,
        };
        let answer: CreateTopicsResponse = client.call(5, &request);
        let codes = answer.topics.iter();
        let mut codes: Vec<_> = codes
            .map(|topic| (topic.name.to_string(), topic.error_code))
            .collect();
        codes.sort();
        codes
    };
    let offsets = |code: i16| (OFFSETS.to_owned(), code);
    assert_eq!(made(&[OFFSETS], true), [offsets(REFUSED)]);
    let both = made(&[OFFSETS, "t"], false);
    assert_eq!(both, [offsets(REFUSED), ("t".to_owned(), 0)]);
    let twice = ErrorCode::InvalidRequest.code();
    assert_eq!(made(&[OFFSETS, OFFSETS], false), [offsets(twice)]);
    let mut other = broker.connect();
    assert_eq!(described(&mut other, OFFSETS).partitions.len(), 2);
    let there = ErrorCode::TopicAlreadyExists.code();
    assert_eq!(made(&[OFFSETS], false), [offsets(there)]);
}
