//! Topics and configs on the wire: Metadata, CreateTopics, DeleteTopics, DescribeConfigs,
//! DescribeCluster.

use crate::support::{Broker, Client, batch, metadata_topic};
use tidewheel_protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::delete_topics::{
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use tidewheel_protocol::messages::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse,
};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};

fn broker() -> (Broker, Client, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let client = broker.connect();
    (broker, client, dir)
}

fn creatable(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: StrBytes::from(name),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    }
}

fn create(client: &mut Client, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest {
        topics,
        ..CreateTopicsRequest::default()
    };
    let answer: CreateTopicsResponse = client.call(7, &request);
    answer.topics
}

fn config(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig {
        name: StrBytes::from(name),
        value: value.map(StrBytes::from),
    }
}

fn assigned(partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = partitions
        .iter()
        .map(|(index, brokers)| CreatableReplicaAssignment {
            partition_index: *index,
            broker_ids: brokers.to_vec(),
        });
    CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: assignments.collect(),
        ..creatable("assigned")
    }
}

fn bad_topics() -> Vec<(CreatableTopic, ErrorCode)> {
    let with = |partitions, factor| CreatableTopic {
        num_partitions: partitions,
        replication_factor: factor,
        ..creatable("numbers")
    };
    let configured = |name: &str, value| CreatableTopic {
        configs: vec![config(name, value)],
        ..creatable("configured")
    };
    let both = CreatableTopic {
        num_partitions: 1,
        ..assigned(&[(0, &[1])])
    };
    let long = "x".repeat(250);
    vec![
        (creatable("there.is"), ErrorCode::TopicAlreadyExists),
        (creatable("there_is"), ErrorCode::InvalidTopicException),
        (creatable(""), ErrorCode::InvalidTopicException),
        (creatable(".."), ErrorCode::InvalidTopicException),
        (creatable("a/b"), ErrorCode::InvalidTopicException),
        (creatable(&long), ErrorCode::InvalidTopicException),
        (
            creatable("__tidewheel_metadata"),
            ErrorCode::InvalidTopicException,
        ),
        (with(0, 1), ErrorCode::InvalidPartitions),
        (with(-2, 1), ErrorCode::InvalidPartitions),
        (with(i32::MAX, 1), ErrorCode::InvalidPartitions),
        (with(1, 0), ErrorCode::InvalidReplicationFactor),
        (with(1, -2), ErrorCode::InvalidReplicationFactor),
        (with(1, 2), ErrorCode::InvalidReplicationFactor),
        (both, ErrorCode::InvalidRequest),
        (assigned(&[(0, &[2])]), ErrorCode::InvalidReplicaAssignment),
        (assigned(&[(0, &[])]), ErrorCode::InvalidReplicaAssignment),
        (
            assigned(&[(0, &[1, 1])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (assigned(&[(1, &[1])]), ErrorCode::InvalidReplicaAssignment),
        (
            assigned(&[(0, &[1]), (0, &[1])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            configured("no.such.config", Some("1")),
            ErrorCode::InvalidConfig,
        ),
        (
            configured("retention.ms", Some("soon")),
            ErrorCode::InvalidConfig,
        ),
        (configured("retention.ms", None), ErrorCode::InvalidConfig),
        (
            configured("segment.bytes", Some("1000")),
            ErrorCode::InvalidConfig,
        ),
        (
            configured("cleanup.policy", Some("none")),
            ErrorCode::InvalidConfig,
        ),
        (
            configured("compression.type", Some("none")),
            ErrorCode::InvalidConfig,
        ),
    ]
}

#[test]
fn gotcha_15_16_fact_07_15_27_what_cannot_be_created_is_refused_with_kafkas_codes() {
    let (_broker, mut client, _dir) = broker();
    client.create_topic("there.is", 1, &[]);
    for (topic, code) in bad_topics() {
        let what = format!("{topic:?}");
        let [result] = create(&mut client, vec![topic]).try_into().unwrap();
        assert_eq!(
            result.error_code,
            code.code(),
            "{what}: {:?}",
            result.error_message
        );
        assert!(result.error_message.is_some(), "{what} is told why");
    }
    let twice = create(&mut client, vec![creatable("twice"), creatable("twice")]);
    let codes: Vec<i16> = twice.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest.code()]);
    let all: MetadataResponse = client.call(
        1,
        &MetadataRequest {
            topics: None,
            ..Default::default()
        },
    );
    assert_eq!(all.topics.len(), 1, "nothing was made on the way");
}

/// -1 stands for the defaults; what was made is echoed with its configs.
#[test]
fn gotcha_16_fact_15_creation_echoes_what_was_made() {
    let (_broker, mut client, _dir) = broker();
    let topic = CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        configs: vec![config("retention.ms", Some("1000"))],
        ..creatable("defaults")
    };
    let [result] = create(&mut client, vec![topic]).try_into().unwrap();
    assert_eq!(
        (
            result.error_code,
            result.num_partitions,
            result.replication_factor
        ),
        (0, 1, 1)
    );
    assert_eq!(result.error_message, None, "null, not an empty text");
    assert!(!result.topic_id.is_zero());
    let configs = result.configs.unwrap();
    let retention = configs
        .iter()
        .find(|config| &*config.name == "retention.ms")
        .unwrap();
    assert_eq!(
        (retention.value.as_deref(), retention.config_source),
        (Some("1000"), 1)
    );
    assert!(configs.len() >= 20, "{}", configs.len());
    let [result] = create(&mut client, vec![assigned(&[(1, &[1]), (0, &[1])])])
        .try_into()
        .unwrap();
    assert_eq!((result.error_code, result.num_partitions), (0, 2));
}

#[test]
fn validate_only_creates_nothing() {
    let (_broker, mut client, _dir) = broker();
    let request = CreateTopicsRequest {
        topics: vec![creatable("dry")],
        validate_only: true,
        ..CreateTopicsRequest::default()
    };
    let answer: CreateTopicsResponse = client.call(7, &request);
    assert_eq!(answer.topics[0].error_code, 0);
    let all: MetadataResponse = client.call(
        1,
        &MetadataRequest {
            topics: None,
            ..Default::default()
        },
    );
    assert!(all.topics.is_empty());
}

/// A created topic serves at once, a deleted one is gone at once, and the same
/// name can be made again under another id.
#[test]
fn gotcha_14_fact_03_topics_can_be_deleted_and_made_again_at_once() {
    let (_broker, mut client, _dir) = broker();
    let mut ids = std::collections::HashSet::new();
    for round in 0..20 {
        client.create_topic("again", 3, &[]);
        let answer = client.produce("again", 2, -1, batch(&["x"]));
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (0, 0),
            "round {round}"
        );
        assert!(ids.insert(client.topic_id("again")));
        client.delete_topic("again");
        let asked = MetadataRequest {
            topics: Some(vec![metadata_topic("again")]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let gone: MetadataResponse = client.call(9, &asked);
        assert_eq!(
            gone.topics[0].error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
    }
}

#[test]
fn deletion_by_name_by_id_and_by_mistake() {
    let (_broker, mut client, _dir) = broker();
    client.create_topic("by-id", 1, &[]);
    let id = client.topic_id("by-id");
    let state = |name: Option<&str>, topic_id| DeleteTopicState {
        name: name.map(StrBytes::from),
        topic_id,
    };
    let request = DeleteTopicsRequest {
        timeout_ms: 30_000,
        topics: vec![
            state(None, Uuid([1; 16])),
            state(Some("nope"), Uuid::ZERO),
            state(Some("by-id"), id),
            state(None, Uuid::ZERO),
            state(None, id),
        ],
        ..DeleteTopicsRequest::default()
    };
    let answer: DeleteTopicsResponse = client.call(6, &request);
    let mut codes: Vec<i16> = answer
        .responses
        .iter()
        .map(|result| result.error_code)
        .collect();
    codes.sort_unstable();
    let mut expected = [
        ErrorCode::None,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidRequest,
        ErrorCode::UnknownTopicId,
    ]
    .map(ErrorCode::code);
    expected.sort_unstable();
    assert_eq!(codes, expected);
    let deleted = answer
        .responses
        .iter()
        .find(|result| result.error_code == 0)
        .unwrap();
    assert_eq!(deleted.name.as_deref(), Some("by-id"));
}

/// Which list means all differs by version.
#[test]
fn gotcha_11_metadata_lists_all_none_or_some() {
    let (_broker, mut client, _dir) = broker();
    client.create_topic("one", 1, &[]);
    client.create_topic("two", 1, &[]);
    let mut count = |version, topics: Option<Vec<MetadataRequestTopic>>| {
        let request = MetadataRequest {
            topics,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = client.call(version, &request);
        answer.topics.len()
    };
    assert_eq!(count(0, Some(Vec::new())), 2);
    for version in 1..=13 {
        assert_eq!(count(version, None), 2, "version {version}");
        assert_eq!(count(version, Some(Vec::new())), 0, "version {version}");
        assert_eq!(
            count(version, Some(vec![metadata_topic("two")])),
            1,
            "version {version}"
        );
    }
}

/// Ids, the controller among the brokers, Isr = Replicas.
#[test]
fn gotcha_11_13_14_fact_06_metadata_describes_one_node_as_clients_need_it() {
    let (broker, mut client, _dir) = broker();
    client.create_topic("t", 2, &[]);
    let id = client.topic_id("t");
    let by_id = |topic_id, name: Option<&str>| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id,
            name: name.map(StrBytes::from),
        }]),
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(12, &by_id(id, None));
    let [node] = answer.brokers.as_slice() else {
        panic!("{:?}", answer.brokers)
    };
    assert_eq!(format!("{}:{}", node.host, node.port), broker.address);
    assert_eq!(answer.controller_id, node.node_id);
    assert!(answer.cluster_id.is_some());
    let topic = &answer.topics[0];
    assert_eq!((topic.error_code, topic.name.as_deref()), (0, Some("t")));
    for (index, partition) in (0..).zip(&topic.partitions) {
        assert_eq!(partition.partition_index, index);
        assert_eq!(partition.leader_id, node.node_id);
        assert_eq!(partition.replica_nodes, [node.node_id]);
        assert_eq!(partition.isr_nodes, partition.replica_nodes);
        assert!(partition.offline_replicas.is_empty());
    }
    // The Java client leaves an empty name beside it.
    let named: MetadataResponse = client.call(12, &by_id(id, Some("")));
    assert_eq!(named.topics[0], *topic);
    for name in [None, Some(""), Some("t")] {
        let unknown: MetadataResponse = client.call(12, &by_id(Uuid([3; 16]), name));
        let code = unknown.topics[0].error_code;
        assert_eq!(code, ErrorCode::UnknownTopicId.code(), "{name:?}");
    }
}

/// Created on first use only if the client allows it, and usable in the
/// same answer.
#[test]
fn gotcha_12_fact_29_metadata_creates_topics_on_first_use() {
    let (_broker, mut client, _dir) = broker();
    let request = |name: &str, allow| MetadataRequest {
        topics: Some(vec![metadata_topic(name)]),
        allow_auto_topic_creation: allow,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(4, &request("first-use", true));
    assert_eq!(
        (
            answer.topics[0].error_code,
            answer.topics[0].partitions.len()
        ),
        (0, 1)
    );
    let answer: MetadataResponse = client.call(4, &request("not-wanted", false));
    assert_eq!(
        answer.topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    let answer: MetadataResponse = client.call(4, &request("bad name", true));
    assert_eq!(
        answer.topics[0].error_code,
        ErrorCode::InvalidTopicException.code()
    );
    // Whatever else the creation fails on, Kafka answers before it knows.
    client.create_topic("dotted.name", 1, &[]);
    for allow in [true, false] {
        let answer: MetadataResponse = client.call(4, &request("dotted_name", allow));
        assert_eq!(
            answer.topics[0].error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
    }
    let answer: MetadataResponse = client.call(1, &request("old-client", false));
    assert_eq!(
        answer.topics[0].error_code, 0,
        "before version 4 it is always allowed"
    );
}

fn describe(client: &mut Client, version: i16, kind: i8, name: &str) -> DescribeConfigsResponse {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: StrBytes::from(name),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
    };
    client.call(version, &request)
}

#[test]
fn gotcha_17_fact_14_configs_of_topics_and_of_the_broker_are_described() {
    let (_broker, mut client, _dir) = broker();
    client.create_topic("t", 1, &[("retention.ms", "5000")]);
    let answer = describe(&mut client, 4, 2, "t");
    let configs = &answer.results[0].configs;
    assert!(configs.len() >= 20, "{}", configs.len());
    let named = |name: &str| configs.iter().find(|config| &*config.name == name).unwrap();
    let retention = named("retention.ms");
    assert_eq!(
        (retention.value.as_deref(), retention.config_source),
        (Some("5000"), 1)
    );
    let synonyms: Vec<(&str, i8)> = retention
        .synonyms
        .iter()
        .map(|synonym| (&*synonym.name, synonym.source))
        .collect();
    assert_eq!(synonyms.first(), Some(&("retention.ms", 1)));
    let size = named("max.message.bytes");
    assert_eq!(
        (size.value.as_deref(), size.config_source),
        (Some("1048588"), 5)
    );
    assert!(!size.read_only && !size.is_sensitive);
    let old = describe(&mut client, 0, 2, "t");
    let old = |name: &str| {
        old.results[0]
            .configs
            .iter()
            .find(|config| &*config.name == name)
            .cloned()
    };
    assert!(!old("retention.ms").unwrap().is_default);
    assert!(old("max.message.bytes").unwrap().is_default);
    let answer = describe(&mut client, 4, 4, "1");
    let keys: Vec<&str> = answer.results[0]
        .configs
        .iter()
        .map(|config| &*config.name)
        .collect();
    for key in ["node.id", "log.dirs", "num.partitions", "message.max.bytes"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    for (kind, name, code) in [
        (2, "nope", ErrorCode::UnknownTopicOrPartition),
        (2, "bad name", ErrorCode::InvalidTopicException),
        (4, "77", ErrorCode::InvalidRequest),
        (99, "t", ErrorCode::InvalidRequest),
    ] {
        let answer = describe(&mut client, 4, kind, name);
        assert_eq!(answer.results[0].error_code, code.code(), "{kind} {name}");
    }
}

/// As Apache Kafka 4.3.1 answers; only the same question twice is answered once here.
#[test]
fn fact_14_configs_are_described_by_key_and_each_question_once() {
    let (_broker, mut client, _dir) = broker();
    client.create_topic("t", 1, &[]);
    let resource = |kind, name: &str, keys: &[&'static str]| DescribeConfigsResource {
        resource_type: kind,
        resource_name: StrBytes::from(name),
        configuration_keys: Some(keys.iter().map(|key| StrBytes::from(*key)).collect()),
    };
    let mut ask = |resources| {
        let request = DescribeConfigsRequest {
            resources,
            ..DescribeConfigsRequest::default()
        };
        let answer: DescribeConfigsResponse = client.call(3, &request);
        let told = answer.results.into_iter().map(|result| {
            let keys = result.configs.iter().map(|config| config.name.to_string());
            let keys: Vec<String> = keys.collect();
            (result.error_code, keys, result.error_message)
        });
        told.collect::<Vec<_>>()
    };
    let one = ask(vec![resource(
        2,
        "t",
        &["retention.ms", "nope", "retention.ms"],
    )]);
    let empty = Some(StrBytes::default());
    assert_eq!(one, [(0, vec!["retention.ms".to_owned()], empty)]);
    let twice = ask(vec![
        resource(2, "t", &["retention.ms"]),
        resource(2, "t", &["segment.bytes"]),
        resource(2, "t", &["retention.ms"]),
    ]);
    let [(0, keys, _)] = &twice[..] else {
        panic!("one answer for one topic, not {twice:?}");
    };
    assert_eq!(keys.len(), 2, "{keys:?}");
    for spelling in ["1", "01", "+1", "1"] {
        // Whichever name comes first.
        let same = ["001", spelling].map(|name| resource(4, name, &[]));
        assert_eq!(ask(same.to_vec()).len(), 1);
    }
    let refused = ErrorCode::InvalidRequest.code();
    for (kind, name, code, count) in [
        (4, "1", 0, 1),
        (4, "01", 0, 1),
        // The cluster-wide dynamic defaults, of which there are none.
        (4, "", 0, 0),
        (4, "0", refused, 0),
        (4, "-1", refused, 0),
        (4, "x", refused, 0),
        (8, "", refused, 0),
        (8, "2", refused, 0),
        (0, "t", refused, 0),
        (-1, "t", refused, 0),
    ] {
        let [(error, keys, _)] = ask(vec![resource(kind, name, &["node.id"])])
            .try_into()
            .unwrap();
        assert_eq!((error, keys.len()), (code, count), "{kind} {name:?}");
    }
    assert!(ask(Vec::new()).is_empty());
    let many = (0..10_000).map(|number| resource(2, &format!("no-{number}"), &[]));
    let many = ask(many.collect());
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert!(many.len() == 10_000 && many.iter().all(|(error, ..)| *error == unknown));
}

#[test]
fn the_cluster_describes_itself() {
    let (broker, mut client, _dir) = broker();
    let request = DescribeClusterRequest::default();
    for version in 0..=2 {
        let answer: DescribeClusterResponse = client.call(version, &request);
        assert_eq!((answer.error_code, answer.controller_id), (0, 1));
        let node = &answer.brokers[0];
        assert_eq!(format!("{}:{}", node.host, node.port), broker.address);
    }
    let controllers = DescribeClusterRequest {
        endpoint_type: 2,
        ..request
    };
    let answer: DescribeClusterResponse = client.call(1, &controllers);
    assert_eq!(answer.error_code, ErrorCode::MismatchedEndpointType.code());
}
