//! The oldest versions that are served, which no current client sends any more.

use crate::support::{Broker, Client, batch};
use tidewheel_protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use tidewheel_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

fn broker() -> (Broker, Client, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let client = broker.connect();
    (broker, client, dir)
}

fn topic(name: &str, configs: &[(&str, &str)]) -> CreatableTopic {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: StrBytes::from(*name),
        value: Some(StrBytes::from(*value)),
    });
    CreatableTopic {
        name: StrBytes::from(name),
        num_partitions: 3,
        replication_factor: 1,
        configs: configs.collect(),
        ..CreatableTopic::default()
    }
}

fn create(client: &mut Client, version: i16, topics: Vec<CreatableTopic>, dry: bool) -> Vec<i16> {
    let request = CreateTopicsRequest {
        topics,
        timeout_ms: 30_000,
        validate_only: dry,
    };
    let answer: CreateTopicsResponse = client.call(version, &request);
    answer.topics.iter().map(|one| one.error_code).collect()
}

/// Partitions of each topic.
fn partitions(client: &mut Client) -> Vec<(String, usize)> {
    let all = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(1, &all);
    let topics = answer.topics.iter().map(|topic| {
        let name = topic.name.as_deref().unwrap().to_owned();
        (name, topic.partitions.len())
    });
    topics.collect()
}

#[test]
fn topics_are_created_by_versions_0_and_1() {
    let (_broker, mut client, _dir) = broker();
    let wanted = || {
        vec![
            topic("zero", &[("retention.ms", "5000")]),
            topic("a b", &[]),
        ]
    };
    let invalid = ErrorCode::InvalidTopicException.code();
    assert_eq!(create(&mut client, 0, wanted(), false), [0, invalid]);
    assert_eq!(partitions(&mut client), [("zero".to_owned(), 3)]);
    let exists = ErrorCode::TopicAlreadyExists.code();
    assert_eq!(create(&mut client, 1, wanted(), true), [exists, invalid]);
    let assigned = CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment {
            partition_index: 0,
            broker_ids: vec![1],
        }],
        ..topic("one", &[])
    };
    let wanted = vec![assigned];
    assert_eq!(create(&mut client, 1, wanted.clone(), true), [0]);
    assert_eq!(partitions(&mut client).len(), 1, "that was a check");
    assert_eq!(create(&mut client, 1, wanted, false), [0]);
    let expected = [("one".to_owned(), 1), ("zero".to_owned(), 3)];
    assert_eq!(partitions(&mut client), expected);
}

#[test]
fn configs_are_described_by_version_0() {
    let (_broker, mut client, _dir) = broker();
    create(
        &mut client,
        0,
        vec![topic("t", &[("retention.ms", "5000")])],
        false,
    );
    let resource = |kind, name: &str, keys: &[&'static str]| DescribeConfigsResource {
        resource_type: kind,
        resource_name: StrBytes::from(name),
        configuration_keys: Some(keys.iter().map(|key| StrBytes::from(*key)).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![
            resource(2, "t", &["retention.ms", "segment.bytes"]),
            resource(4, "1", &["node.id", "num.partitions"]),
            resource(2, "none", &["retention.ms"]),
        ],
        ..DescribeConfigsRequest::default()
    };
    let answer: DescribeConfigsResponse = client.call(0, &request);
    let told: Vec<_> = answer
        .results
        .iter()
        .map(|result| {
            let configs = result.configs.iter();
            let configs = configs.map(|one| (&*one.name, one.value.as_deref(), one.is_default));
            (result.error_code, configs.collect::<Vec<_>>())
        })
        .collect();
    let mut expected = vec![
        (
            0,
            vec![
                ("retention.ms", Some("5000"), false),
                ("segment.bytes", Some("1073741824"), true),
            ],
        ),
        (
            0,
            vec![
                ("node.id", Some("1"), true),
                ("num.partitions", Some("1"), true),
            ],
        ),
        (ErrorCode::UnknownTopicOrPartition.code(), Vec::new()),
    ];
    let mut told = told;
    for (_, configs) in told.iter_mut().chain(&mut expected) {
        configs.sort_unstable();
    }
    assert_eq!(told, expected);
}

/// Version 0 asks for an epoch and is told its end; version 1 adds the epoch to the answer.
#[test]
fn the_ends_of_epochs_are_told_by_versions_0_and_1() {
    let (broker, mut client, dir) = broker();
    client.produce_to_new("t", batch(&["a", "b"]));
    assert!(broker.stop());
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.produce_to_new("t", batch(&["c"]));
    for (epoch, end) in [(0, 2), (1, 3)] {
        for version in 0..=1 {
            let asked = |partition| OffsetForLeaderPartition {
                partition,
                leader_epoch: epoch,
                ..OffsetForLeaderPartition::default()
            };
            let request = OffsetForLeaderEpochRequest {
                topics: vec![OffsetForLeaderTopic {
                    topic: "t".into(),
                    partitions: vec![asked(0), asked(1)],
                }],
                ..OffsetForLeaderEpochRequest::default()
            };
            let answer: OffsetForLeaderEpochResponse = client.call(version, &request);
            let partitions = answer.topics[0].partitions.iter();
            let told: Vec<_> = partitions
                .map(|one| (one.error_code, one.leader_epoch, one.end_offset))
                .collect();
            let epoch = if version == 0 { -1 } else { epoch };
            let unknown = ErrorCode::UnknownTopicOrPartition.code();
            assert_eq!(told, [(0, epoch, end), (unknown, -1, -1)], "{version}");
        }
    }
}

#[test]
fn log_directories_are_described_by_version_0() {
    let (_broker, mut client, dir) = broker();
    let records = batch(&["some value"]);
    let len = i64::try_from(records.len()).unwrap();
    client.produce_to_new("t", records);
    let some = DescribableLogDirTopic {
        topic: "t".into(),
        partitions: vec![0],
    };
    for topics in [None, Some(vec![some])] {
        let request = DescribeLogDirsRequest { topics };
        let answer: DescribeLogDirsResponse = client.call(0, &request);
        let [found] = answer.results.as_slice() else {
            panic!("{:?}", answer.results)
        };
        assert_eq!(&*found.log_dir, dir.path().to_str().unwrap());
        let partition = &found.topics[0].partitions[0];
        assert_eq!(
            (&*found.topics[0].name, partition.partition_size),
            ("t", len)
        );
    }
}

/// There is one format of records, and small segments are refused since Kafka 4.0.
#[test]
fn fact_21_old_formats_and_small_segments_cannot_be_configured() {
    let (_broker, mut client, _dir) = broker();
    create(&mut client, 1, vec![topic("t", &[])], false);
    let invalid = ErrorCode::InvalidConfig.code();
    for (name, value, code) in [
        ("message.format.version", "0.9.0", invalid),
        ("message.format.version", "3.0-IV1", invalid),
        ("segment.bytes", "1048575", invalid),
        ("segment.bytes", "1048576", 0),
    ] {
        let wanted = vec![topic("other", &[(name, value)])];
        assert_eq!(
            create(&mut client, 1, wanted, true),
            [code],
            "{name}={value}"
        );
        let config = AlterableConfig {
            name: StrBytes::from(name),
            config_operation: 0,
            value: Some(StrBytes::from(value)),
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: "t".into(),
                configs: vec![config],
            }],
            validate_only: true,
        };
        let answer: IncrementalAlterConfigsResponse = client.call(0, &request);
        assert_eq!(answer.responses[0].error_code, code, "{name}={value}");
    }
}
