//! Settings that users give at the start, as clients see them.

use crate::support::{Broker, Client, batch, eventually, metadata_topic, now_ms};
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse,
};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse,
};
use tidewheel_protocol::messages::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::{ErrorCode, RecordBatchBuilder, StrBytes};

fn metadata(client: &mut Client, topics: Option<&str>) -> MetadataResponse {
    let request = MetadataRequest {
        topics: topics.map(|name| vec![metadata_topic(name)]),
        ..MetadataRequest::default()
    };
    client.call(9, &request)
}

fn configs(client: &mut Client, kind: i8, name: &str) -> Vec<DescribeConfigsResourceResult> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: StrBytes::from(name),
            configuration_keys: None,
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    let mut answer: DescribeConfigsResponse = client.call(4, &request);
    assert_eq!(answer.results[0].error_code, 0);
    answer.results.remove(0).configs
}

fn value(configs: &[DescribeConfigsResourceResult], name: &str) -> Option<String> {
    let found = configs.iter().find(|config| &*config.name == name)?;
    found.value.as_deref().map(str::to_owned)
}

/// Behind a proxy clients are sent to another address than the one that is bound.
#[test]
fn fact_04_clients_are_told_the_advertised_address_and_the_node_id() {
    let dir = tempfile::tempdir().unwrap();
    let advertised = "advertised.listeners=PLAINTEXT://broker.example:19092";
    let broker = Broker::start_with(dir.path(), &[advertised, "node.id=42"]);
    assert!(!broker.address.ends_with(":19092"));
    let mut client = broker.connect();
    let told = metadata(&mut client, None);
    let [node] = told.brokers.as_slice() else {
        panic!("{:?}", told.brokers)
    };
    let expected = (42, "broker.example", 19_092);
    assert_eq!((node.node_id, &*node.host, node.port), expected);
    assert_eq!(told.controller_id, 42);
    let request = DescribeClusterRequest::default();
    let told: DescribeClusterResponse = client.call(1, &request);
    let node = &told.brokers[0];
    assert_eq!((node.broker_id, &*node.host, node.port), expected);
}

/// Admin clients send some requests to every broker that is listed.
#[test]
fn gotcha_13_fact_06_every_listed_broker_answers_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["node.id=7"]);
    broker.connect().create_topic("t", 2, &[]);
    let told = metadata(&mut broker.connect(), Some("t"));
    let ids: Vec<i32> = told.brokers.iter().map(|node| node.node_id).collect();
    assert!(ids.contains(&told.controller_id));
    for partition in &told.topics[0].partitions {
        assert_eq!(partition.isr_nodes, partition.replica_nodes);
        assert_eq!(Some(&partition.leader_id), partition.replica_nodes.first());
    }
    for node in &told.brokers {
        let mut client = Client::connect(&format!("{}:{}", node.host, node.port));
        let own = configs(&mut client, 4, &node.node_id.to_string());
        assert_eq!(value(&own, "node.id"), Some(node.node_id.to_string()));
        let request = DescribeLogDirsRequest { topics: None };
        let dirs: DescribeLogDirsResponse = client.call(4, &request);
        assert_eq!(dirs.results[0].topics[0].partitions.len(), 2);
    }
}

#[test]
fn gotcha_12_fact_12_settings_of_the_start_are_honoured() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["node.id=0", "num.partitions=4", "log.retention.ms=-1"];
    let broker = Broker::start_with(dir.path(), &settings);
    let mut client = broker.connect();
    let told = metadata(&mut client, Some("first-use"));
    assert_eq!((told.brokers[0].node_id, told.controller_id), (0, 0));
    assert_eq!(told.topics[0].partitions.len(), 4);
    assert!(
        told.topics[0]
            .partitions
            .iter()
            .all(|one| one.leader_id == 0)
    );
    assert_eq!(
        client.produce("first-use", 3, -1, batch(&["x"])).error_code,
        0
    );
    let retention = value(&configs(&mut client, 2, "first-use"), "retention.ms");
    assert_eq!(retention.as_deref(), Some("-1"));
    let own = configs(&mut client, 4, "0");
    assert_eq!(value(&own, "num.partitions").as_deref(), Some("4"));
    assert!(broker.stop());
    let broker = Broker::start_with(
        dir.path(),
        &[settings[0], "auto.create.topics.enable=false"],
    );
    let mut client = broker.connect();
    let told = metadata(&mut client, Some("second-use"));
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(told.topics[0].error_code, unknown);
    assert_eq!(client.consume("first-use", 3, 0).len(), 1);
}

/// Start and end of partition 0.
fn bounds(client: &mut Client, topic: &str) -> (i64, i64) {
    let mut ask = |timestamp| {
        let partition = ListOffsetsPartition {
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let request = ListOffsetsRequest {
            topics: vec![ListOffsetsTopic {
                name: StrBytes::from(topic),
                partitions: vec![partition],
            }],
            ..ListOffsetsRequest::default()
        };
        let answer: ListOffsetsResponse = client.call(1, &request);
        answer.topics[0].partitions[0].offset
    };
    (ask(-2), ask(-1))
}

fn dated(timestamp: i64) -> bytes::Bytes {
    let builder = RecordBatchBuilder::new().record(timestamp, None, Some(b"dated"));
    builder.build().unwrap().bytes
}

/// Records of 1970 go at the first check, unless the topic keeps everything.
#[test]
fn fact_13_retention_goes_by_the_time_of_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let often = [
        "log.initial.task.delay.ms=0",
        "log.retention.check.interval.ms=1",
    ];
    let broker = Broker::start_with(dir.path(), &often);
    let mut client = broker.connect();
    client.create_topic("expires", 1, &[]);
    client.create_topic("keeps", 1, &[("retention.ms", "-1")]);
    client.create_topic("fresh", 1, &[]);
    for (topic, timestamp) in [("keeps", 1), ("fresh", now_ms())] {
        let answer = client.produce(topic, 0, -1, dated(timestamp));
        assert_eq!((answer.error_code, answer.base_offset), (0, 0));
    }
    // Between the first and the second time a check has passed over the other topics.
    for offset in 0..2 {
        let answer = client.produce("expires", 0, -1, dated(1));
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
        eventually("the record of 1970 is gone", || {
            bounds(&mut client, "expires") == (offset + 1, offset + 1)
        });
    }
    for topic in ["keeps", "fresh"] {
        assert_eq!(bounds(&mut client, topic), (0, 1), "{topic}");
        assert_eq!(client.consume(topic, 0, 0).len(), 1);
    }
    let next = client.produce("expires", 0, -1, dated(now_ms()));
    assert_eq!(next.base_offset, 2, "offsets go on");
}

/// Tools made for clusters ask for three replicas; a setting lets one broker accept that.
#[test]
fn gotcha_16_a_setting_lets_one_broker_accept_a_replication_factor_of_three() {
    let dir = tempfile::tempdir().unwrap();
    let allowed = ["tidewheel.replication.factor.max=3"];
    for (settings, codes) in [(&[][..], [38, 38, 38]), (&allowed[..], [0, 0, 38])] {
        let broker = Broker::start_with(dir.path(), settings);
        let mut client = broker.connect();
        for (factor, code) in (2..).zip(codes) {
            let name = format!("replicated-{factor}");
            let request = CreateTopicsRequest {
                topics: vec![CreatableTopic {
                    name: StrBytes::from(name.as_str()),
                    num_partitions: 1,
                    replication_factor: factor,
                    ..CreatableTopic::default()
                }],
                timeout_ms: 30_000,
                ..CreateTopicsRequest::default()
            };
            let answer: CreateTopicsResponse = client.call(7, &request);
            let result = &answer.topics[0];
            assert_eq!(result.error_code, code, "{factor}");
            if code == 0 {
                assert_eq!(result.replication_factor, factor);
                assert_eq!(client.produce(&name, 0, -1, batch(&["x"])).error_code, 0);
            }
        }
        assert!(broker.stop());
    }
}

/// User interfaces show all of it; a setting without type or origin breaks some of them.
#[test]
fn gotcha_17_18_every_setting_is_described_with_origin_type_and_default() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    for (kind, name, least) in [(2, "t", 20), (4, "1", 40)] {
        let all = configs(&mut client, kind, name);
        assert!(all.len() >= least, "{}", all.len());
        for config in &all {
            let what = &config.name;
            assert!((1..=6).contains(&config.config_source), "{what}");
            assert!((1..=9).contains(&config.config_type), "{what}");
            assert!(!config.is_sensitive, "{what}: there are no secrets yet");
            assert!(
                config
                    .documentation
                    .as_ref()
                    .is_some_and(|text| !text.is_empty())
            );
            let origins: Vec<i8> = config.synonyms.iter().map(|one| one.source).collect();
            // As in Kafka, a default that stands under no name of the broker has no origin to show.
            let first = origins.first().copied().unwrap_or(5);
            assert_eq!(first, config.config_source, "{what}");
            assert!(origins.is_sorted(), "{what}: {origins:?}");
        }
    }
    let own = configs(&mut client, 4, "1");
    let limit = value(&own, "max.request.partition.size.limit");
    assert_eq!(limit.as_deref(), Some("2000"));
}
