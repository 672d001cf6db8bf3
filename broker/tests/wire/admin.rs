//! Admin requests on the wire that change no metadata.

use crate::support::{self, Broker, Client, batch};
use tidewheel_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use tidewheel_protocol::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use tidewheel_protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use tidewheel_protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest as ProducersOf,
};
use tidewheel_protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use tidewheel_protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, TopicPartitions,
};
use tidewheel_protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use tidewheel_protocol::{ErrorCode, RecordBatchBuilder, StrBytes, Uuid};

/// Error code and low watermark of each partition.
fn delete_records(client: &mut Client, wanted: &[(&str, i32, i64)]) -> Vec<(i16, i64)> {
    let topics = wanted.iter().map(|(name, partition_index, offset)| {
        let partition = DeleteRecordsPartition {
            partition_index: *partition_index,
            offset: *offset,
        };
        DeleteRecordsTopic {
            name: StrBytes::from(*name),
            partitions: vec![partition],
        }
    });
    let request = DeleteRecordsRequest {
        topics: topics.collect(),
        timeout_ms: 1_000,
    };
    let answer: DeleteRecordsResponse = client.call(2, &request);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|partition| (partition.error_code, partition.low_watermark))
        .collect()
}

/// -1 goes to the high watermark, beyond it is out of range, errors by partition.
#[test]
fn fact_17_deleted_records_are_gone_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, &[]);
    for partition in 0..2 {
        client.produce("t", partition, -1, batch(&["a", "b", "c", "d"]));
    }
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let range = ErrorCode::OffsetOutOfRange.code();
    let wanted = [
        ("t", 0, 3),
        ("missing", 0, 1),
        ("t", 1, 5),
        ("t", 7, 0),
        ("t", 1, -2),
    ];
    assert_eq!(
        delete_records(&mut client, &wanted),
        [
            (0, 3),
            (unknown, -1),
            (range, -1),
            (unknown, -1),
            (range, -1)
        ]
    );
    let below_the_start = delete_records(&mut client, &[("t", 0, 1)]);
    assert_eq!(below_the_start, [(0, 3)], "the start never moves back");
    assert_eq!(client.consume("t", 0, 3).len(), 1);
    assert_eq!(delete_records(&mut client, &[("t", 1, -1)]), [(0, 4)]);
    broker.kill();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    assert_eq!(
        delete_records(&mut client, &[("t", 0, 0), ("t", 1, 0)]),
        [(0, 3), (0, 4)]
    );
}

#[test]
fn fact_17_log_dirs_tell_sizes_and_the_volume() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 3, &[]);
    client.create_topic("other", 1, &[]);
    let records = batch(&["some value"]);
    client.produce("t", 1, -1, records.clone());
    let all: DescribeLogDirsResponse = client.call(4, &DescribeLogDirsRequest { topics: None });
    let found = &all.results[0];
    assert_eq!(
        (all.error_code, all.results.len(), found.error_code),
        (0, 1, 0)
    );
    assert_eq!(&*found.log_dir, dir.path().to_str().unwrap());
    assert!(found.usable_bytes > 0 && found.usable_bytes <= found.total_bytes);
    let names: Vec<&str> = found.topics.iter().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["other", "t"], "without the broker's own");
    let sizes: Vec<_> = found.topics[1]
        .partitions
        .iter()
        .map(|one| {
            (
                one.partition_index,
                one.partition_size,
                one.offset_lag,
                one.is_future_key,
            )
        })
        .collect();
    let len = i64::try_from(records.len()).unwrap();
    assert_eq!(
        sizes,
        [(0, 0, 0, false), (1, len, 0, false), (2, 0, 0, false)]
    );

    let asked = |topic: &str, partitions: &[i32]| DescribableLogDirTopic {
        topic: StrBytes::from(topic),
        partitions: partitions.to_vec(),
    };
    let request = DescribeLogDirsRequest {
        topics: Some(vec![
            asked("t", &[1, 9]),
            asked("missing", &[0]),
            asked("t", &[1]),
        ]),
    };
    for version in 0..=4 {
        let some: DescribeLogDirsResponse = client.call(version, &request);
        let topics = &some.results[0].topics;
        assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
        assert_eq!(topics[0].partitions[0].partition_index, 1);
    }
}

/// One page: topics with their partitions, and where the next begins.
type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

fn describe(client: &mut Client, names: &[&str], from: Option<(&str, i32)>, limit: i32) -> Page {
    let request = DescribeTopicPartitionsRequest {
        topics: names
            .iter()
            .map(|name| TopicRequest {
                name: StrBytes::from(*name),
            })
            .collect(),
        response_partition_limit: limit,
        cursor: from.map(|(name, partition_index)| Cursor {
            topic_name: StrBytes::from(name),
            partition_index,
        }),
    };
    let answer: DescribeTopicPartitionsResponse = client.call(0, &request);
    let topics = answer.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| one.partition_index);
        let name = topic.name.as_ref().unwrap().to_string();
        assert_eq!(topic.topic_id == Uuid::default(), topic.error_code != 0);
        (name, topic.error_code, partitions.collect())
    });
    let next = answer.next_cursor;
    (
        topics.collect(),
        next.map(|next| (next.topic_name.to_string(), next.partition_index)),
    )
}

#[test]
fn gotcha_18_topic_partitions_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["max.request.partition.size.limit=4"]);
    let mut client = broker.connect();
    for (name, partitions) in [("a", 2), ("b", 5), ("c", 1)] {
        client.create_topic(name, partitions, &[]);
    }
    let topic = |name: &str, partitions: std::ops::Range<i32>| {
        (name.to_owned(), 0, partitions.collect::<Vec<_>>())
    };
    let at = |name: &str, partition| Some((name.to_owned(), partition));
    let first = describe(&mut client, &[], None, 3);
    assert_eq!(
        first,
        (vec![topic("a", 0..2), topic("b", 0..1)], at("b", 1))
    );
    let second = describe(&mut client, &[], Some(("b", 1)), 2_000);
    assert_eq!(
        second,
        (vec![topic("b", 1..5)], at("c", 0)),
        "the setting's limit"
    );
    let last = describe(&mut client, &[], Some(("c", 0)), 2_000);
    assert_eq!(last, (vec![topic("c", 0..1)], None));
    let between = describe(&mut client, &[], Some(("bb", 3)), 0);
    assert_eq!(
        between,
        (vec![topic("c", 0..1)], None),
        "a deleted topic's place is the next topic"
    );

    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let invalid = ErrorCode::InvalidTopicException.code();
    let named = describe(&mut client, &["x", "c", "a b", "c"], None, 10);
    let nothing = |name: &str, error| (name.to_owned(), error, Vec::new());
    assert_eq!(
        named,
        (
            vec![
                nothing("a b", invalid),
                topic("c", 0..1),
                nothing("x", unknown)
            ],
            None
        )
    );
    let refused = ErrorCode::InvalidRequest.code();
    let foreign_cursor = describe(&mut client, &["a"], Some(("b", 0)), 10);
    assert_eq!(foreign_cursor, (vec![nothing("a", refused)], None));
    let negative = describe(&mut client, &["a"], Some(("a", -1)), 10);
    assert_eq!(negative, (vec![nothing("a", refused)], None));
    let far = describe(&mut client, &["a"], Some(("a", i32::MAX)), 10);
    assert_eq!(far, (vec![topic("a", 0..0)], None));
}

#[test]
fn producers_of_a_partition_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    for (producer, sequence) in [(9, 0), (4, 0), (9, 1)] {
        let builder = RecordBatchBuilder::new().producer(producer, 2, sequence);
        let batch = builder.record(support::now_ms(), None, Some(b"v")).build();
        client.produce("t", 0, -1, batch.unwrap().bytes);
    }
    let request = DescribeProducersRequest {
        topics: vec![ProducersOf {
            name: StrBytes::from("t"),
            partition_indexes: vec![0, 0, 1],
        }],
    };
    let answer: DescribeProducersResponse = client.call(0, &request);
    let partitions = &answer.topics[0].partitions;
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let errors: Vec<i16> = partitions.iter().map(|one| one.error_code).collect();
    assert_eq!(errors, [0, unknown]);
    let known: Vec<_> = partitions[0]
        .active_producers
        .iter()
        .map(|one| (one.producer_id, one.producer_epoch, one.last_sequence))
        .collect();
    assert_eq!(known, [(4, 2, 0), (9, 2, 1)]);
    let first = &partitions[0].active_producers[0];
    assert!(first.last_timestamp > 0);
    assert_eq!(
        (first.coordinator_epoch, first.current_txn_start_offset),
        (-1, -1)
    );
}

#[test]
fn gotcha_19_what_a_single_broker_never_does_is_answered_as_done() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);

    let acls: DescribeAclsResponse = client.call(3, &DescribeAclsRequest::default());
    assert_eq!(acls.error_code, ErrorCode::SecurityDisabled.code());

    let moving: ListPartitionReassignmentsResponse =
        client.call(0, &ListPartitionReassignmentsRequest::default());
    assert_eq!((moving.error_code, moving.topics.len()), (0, 0));

    let asked = TopicPartitions {
        topic: StrBytes::from("t"),
        partitions: vec![0, 1],
    };
    let mut request = ElectLeadersRequest {
        topic_partitions: Some(vec![asked]),
        ..ElectLeadersRequest::default()
    };
    let elected: ElectLeadersResponse = client.call(2, &request);
    let results = &elected.replica_election_results[0].partition_result;
    let errors: Vec<i16> = results.iter().map(|one| one.error_code).collect();
    let not_needed = ErrorCode::ElectionNotNeeded.code();
    assert_eq!(
        errors,
        [not_needed, ErrorCode::UnknownTopicOrPartition.code()]
    );
    request.topic_partitions = None;
    let elected: ElectLeadersResponse = client.call(0, &request);
    assert_eq!(elected.replica_election_results, []);
    request.election_type = 2;
    let refused: ElectLeadersResponse = client.call(2, &request);
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
}
