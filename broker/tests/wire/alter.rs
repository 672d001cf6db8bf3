//! Configs of topics, groups and the broker, altered while they are in use.

use std::path::Path;

use crate::support::consumers::{described, join};
use crate::support::groups::loaded;
use crate::support::{Broker, Client, batch, batches, eventually, fetch_request};
use bytes::Bytes;
use tidewheel_protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource as LegacyResource, AlterConfigsResponse,
    AlterableConfig as LegacyConfig,
};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse,
};
use tidewheel_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use tidewheel_protocol::messages::list_config_resources::{
    ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

pub(crate) const SET: i8 = 0;
pub(crate) const DELETE: i8 = 1;
pub(crate) const APPEND: i8 = 2;
pub(crate) const SUBTRACT: i8 = 3;

pub(crate) const INVALID_REQUEST: i16 = ErrorCode::InvalidRequest.code();
pub(crate) const INVALID_CONFIG: i16 = ErrorCode::InvalidConfig.code();
const TOO_LARGE: i16 = ErrorCode::MessageTooLarge.code();

/// Name, operation and value of a setting.
pub(crate) type Change<'a> = (&'a str, i8, Option<&'a str>);

pub(crate) fn resource(kind: i8, name: &str, changes: &[Change<'_>]) -> AlterConfigsResource {
    let configs = changes
        .iter()
        .map(|(name, operation, value)| AlterableConfig {
            name: StrBytes::from(*name),
            config_operation: *operation,
            value: value.map(StrBytes::from),
        });
    AlterConfigsResource {
        resource_type: kind,
        resource_name: StrBytes::from(name),
        configs: configs.collect(),
    }
}

/// Alters single settings; the error code of each resource, in the order of the request.
pub(crate) fn change(
    client: &mut Client,
    resources: Vec<AlterConfigsResource>,
    validate_only: bool,
) -> Vec<i16> {
    let names: Vec<StrBytes> = resources
        .iter()
        .map(|resource| resource.resource_name.clone())
        .collect();
    let request = IncrementalAlterConfigsRequest {
        resources,
        validate_only,
    };
    let version = i16::from(validate_only);
    let answer: IncrementalAlterConfigsResponse = client.call(version, &request);
    let answered = answer.responses.iter().zip(names);
    let codes = answered.map(|(answer, name)| {
        assert_eq!(answer.resource_name, name);
        assert_eq!(answer.error_message.is_some(), answer.error_code != 0);
        answer.error_code
    });
    codes.collect()
}

/// Alters settings of one resource.
pub(crate) fn change_one(client: &mut Client, kind: i8, name: &str, changes: &[Change<'_>]) -> i16 {
    change(client, vec![resource(kind, name, changes)], false)[0]
}

/// Replaces all settings of one resource.
pub(crate) fn replace(
    client: &mut Client,
    version: i16,
    (kind, name): (i8, &str),
    configs: &[(&str, Option<&str>)],
) -> i16 {
    let configs = configs.iter().map(|(name, value)| LegacyConfig {
        name: StrBytes::from(*name),
        value: value.map(StrBytes::from),
    });
    let request = AlterConfigsRequest {
        resources: vec![LegacyResource {
            resource_type: kind,
            resource_name: StrBytes::from(name),
            configs: configs.collect(),
        }],
        validate_only: false,
    };
    let answer: AlterConfigsResponse = client.call(version, &request);
    assert_eq!(&*answer.responses[0].resource_name, name);
    answer.responses[0].error_code
}

/// What is set on a resource itself, as `source:name=value`; further on, what lies behind it.
fn set_on(client: &mut Client, kind: i8, name: &str, source: i8) -> Vec<String> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: StrBytes::from(name),
            configuration_keys: None,
        }],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    let answer: DescribeConfigsResponse = client.call(4, &request);
    assert_eq!(answer.results[0].error_code, 0);
    let configs = answer.results[0].configs.iter();
    let own = configs.filter(|config| config.config_source == source);
    let told = own.map(|config| {
        let first = &config.synonyms[0];
        assert_eq!((first.source, &first.value), (source, &config.value));
        let synonyms = config.synonyms.iter().map(|synonym| {
            let value = synonym.value.as_deref().unwrap();
            format!("{}:{}={value}", synonym.source, synonym.name)
        });
        synonyms.collect::<Vec<_>>().join(" ")
    });
    told.collect()
}

fn topic_configs(client: &mut Client, name: &str) -> Vec<String> {
    set_on(client, TOPIC, name, 1)
}

fn produce(client: &mut Client, topic: &str, partition: i32) -> i16 {
    let answer = client.produce(topic, partition, -1, batch(&["some value"]));
    answer.error_code
}

/// Kills it without a word, and starts again.
fn killed(broker: Broker, dir: &Path) -> (Broker, Client) {
    broker.kill();
    let broker = Broker::start(dir);
    let client = broker.connect();
    (broker, client)
}

#[test]
fn fact_14_single_settings_act_at_once_and_outlive_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, &[("retention.ms", "5000")]);
    assert_eq!(produce(&mut client, "t", 1), 0);

    let small = ("max.message.bytes", SET, Some("70"));
    let policy = ("cleanup.policy", APPEND, Some("delete"));
    assert_eq!(
        change_one(&mut client, TOPIC, "t", &[small, policy]),
        0,
        "what is not named stays"
    );
    let all = [
        "1:retention.ms=5000",
        "1:max.message.bytes=70 5:message.max.bytes=1048588",
        "1:cleanup.policy=delete 5:log.cleanup.policy=delete",
    ];
    assert_eq!(topic_configs(&mut client, "t"), all);
    for partition in 0..2 {
        assert_eq!(produce(&mut client, "t", partition), TOO_LARGE);
    }

    let (broker, mut client) = killed(broker, dir.path());
    assert_eq!(topic_configs(&mut client, "t"), all);
    assert_eq!(produce(&mut client, "t", 1), TOO_LARGE);
    let back = ("max.message.bytes", DELETE, None);
    let unknown = ("never.heard.of", DELETE, Some("x"));
    assert_eq!(change_one(&mut client, TOPIC, "t", &[back, unknown]), 0);
    assert_eq!(topic_configs(&mut client, "t"), [all[0], all[2]]);
    assert_eq!(produce(&mut client, "t", 1), 0);
    assert!(broker.stop());

    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    assert_eq!(topic_configs(&mut client, "t"), [all[0], all[2]]);
    assert_eq!(client.consume("t", 1, 0).len(), 2);
    client.delete_topic("t");
    client.create_topic("t", 1, &[]);
    let (_broker, mut client) = killed(broker, dir.path());
    assert!(
        topic_configs(&mut client, "t").is_empty(),
        "another topic of the same name"
    );
}

#[test]
fn what_the_older_request_does_not_name_goes_back_to_its_default() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("retention.ms", "5000"), ("segment.ms", "9000")]);
    for version in 0..=2 {
        let bytes = (100 + version).to_string();
        let configs = [
            ("segment.ms", Some("9000")),
            ("retention.bytes", Some(&*bytes)),
        ];
        assert_eq!(replace(&mut client, version, (TOPIC, "t"), &configs), 0);
        let expected = [
            format!("1:retention.bytes={bytes} 5:log.retention.bytes=-1"),
            "1:segment.ms=9000".to_owned(),
        ];
        assert_eq!(topic_configs(&mut client, "t"), expected);
    }
    let refused = [
        (vec![("segment.ms", None)], INVALID_REQUEST),
        (
            vec![("segment.ms", Some("1")), ("segment.ms", Some("1"))],
            INVALID_REQUEST,
        ),
        (
            vec![("segment.ms", Some("1")), ("no.such", Some("1"))],
            INVALID_CONFIG,
        ),
    ];
    for (configs, code) in refused {
        assert_eq!(replace(&mut client, 2, (TOPIC, "t"), &configs), code);
    }
    assert_eq!(topic_configs(&mut client, "t").len(), 2);
    let (_broker, mut client) = killed(broker, dir.path());
    assert_eq!(topic_configs(&mut client, "t").len(), 2);
    assert_eq!(replace(&mut client, 2, (TOPIC, "t"), &[]), 0);
    assert!(topic_configs(&mut client, "t").is_empty());
}

#[test]
fn fact_14_each_resource_has_its_answer_in_the_order_of_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    for name in ["a", "b", "twice"] {
        client.create_topic(name, 1, &[]);
    }
    let good = ("segment.ms", SET, Some("9000"));
    let missing = ErrorCode::UnknownTopicOrPartition.code();
    let wanted = [
        (TOPIC, "missing", good, missing),
        (TOPIC, "twice", good, INVALID_REQUEST),
        (TOPIC, "a", good, 0),
        (
            TOPIC,
            "bad name",
            good,
            ErrorCode::InvalidTopicException.code(),
        ),
        (TOPIC, "twice", good, INVALID_REQUEST),
        (TOPIC, "", good, INVALID_REQUEST),
        (TOPIC, "b", ("no.such", SET, Some("1")), INVALID_CONFIG),
        (8, "a", good, INVALID_REQUEST),
        (-1, "a", good, INVALID_REQUEST),
    ];
    let resources = wanted.map(|(kind, name, change, _)| resource(kind, name, &[change]));
    let codes = wanted.map(|(.., code)| code);
    assert_eq!(change(&mut client, resources.to_vec(), true), codes);
    assert!(
        topic_configs(&mut client, "a").is_empty(),
        "that was a check"
    );
    assert_eq!(change(&mut client, resources.to_vec(), false), codes);
    assert_eq!(topic_configs(&mut client, "a"), ["1:segment.ms=9000"]);
    assert!(topic_configs(&mut client, "twice").is_empty());

    let refused = [
        (("segment.ms", SET, Some("0")), INVALID_CONFIG),
        (("segment.ms", SET, Some("x")), INVALID_CONFIG),
        (("segment.ms", SET, None), INVALID_REQUEST),
        (("segment.ms", 4, Some("1")), INVALID_REQUEST),
        (("segment.ms", APPEND, Some("1")), INVALID_CONFIG),
        (("cleanup.policy", APPEND, Some("none")), INVALID_CONFIG),
        (("cleanup.policy", SUBTRACT, Some("delete")), INVALID_CONFIG),
        (("segment.bytes", SET, Some("1048575")), INVALID_CONFIG),
    ];
    for (wrong, code) in refused {
        let beside_good = [("retention.ms", SET, Some("1")), wrong];
        let answered = change_one(&mut client, TOPIC, "a", &beside_good);
        assert_eq!(answered, code, "{wrong:?}");
    }
    let twice = [good, ("segment.ms", DELETE, None)];
    assert_eq!(change_one(&mut client, TOPIC, "a", &twice), INVALID_REQUEST);
    assert_eq!(
        topic_configs(&mut client, "a"),
        ["1:segment.ms=9000"],
        "all or nothing of a resource"
    );
    assert!(change(&mut client, Vec::new(), false).is_empty());
}

/// A fetch that waits for records when its topic is altered is woken by the next ones.
#[test]
fn who_waits_at_a_topic_is_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let mut consumer = broker.connect();
    let mut request = fetch_request("t", 0, 0);
    (request.max_wait_ms, request.min_bytes) = (600_000, 1);
    let sent = consumer.send(11, &request);
    let good = ("segment.ms", SET, Some("9000"));
    assert_eq!(change_one(&mut client, TOPIC, "t", &[good]), 0);
    assert_eq!(produce(&mut client, "t", 0), 0);
    let mut answer: FetchResponse<Bytes> = consumer.receive(11, sent);
    let partition = answer.responses.remove(0).partitions.remove(0);
    assert_eq!(batches(partition.records.unwrap_or_default()).len(), 1);
}

#[test]
fn fact_14_topics_follow_the_settings_of_the_broker_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["message.max.bytes=2000"]);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    client.create_topic("own", 1, &[("max.message.bytes", "1000")]);
    let small = ("message.max.bytes", SET, Some("70"));
    let checked = change(&mut client, vec![resource(BROKER, "", &[small])], true);
    assert_eq!((checked, produce(&mut client, "t", 0)), (vec![0], 0));

    assert_eq!(change_one(&mut client, BROKER, "", &[small]), 0);
    assert_eq!(produce(&mut client, "t", 0), TOO_LARGE);
    assert_eq!(
        produce(&mut client, "own", 0),
        0,
        "its own beats any default"
    );
    let behind = "4:message.max.bytes=2000 5:message.max.bytes=1048588";
    let for_all = "3:message.max.bytes=70";
    assert_eq!(set_on(&mut client, BROKER, "", 3), [for_all]);
    let expected = [format!("{for_all} {behind}")];
    assert_eq!(set_on(&mut client, BROKER, "1", 3), expected);
    assert_eq!(set_on(&mut client, TOPIC, "t", 3), expected);

    let large = ("message.max.bytes", SET, Some("1000"));
    let flush = ("log.flush.interval.messages", SET, Some("5"));
    assert_eq!(change_one(&mut client, BROKER, "1", &[large, flush]), 0);
    let messages = "log.flush.interval.messages";
    let expected = [
        format!("2:{messages}=5 5:{messages}={}", i64::MAX),
        format!("2:message.max.bytes=1000 {for_all} {behind}"),
    ];
    assert_eq!(set_on(&mut client, BROKER, "1", 2), expected);
    assert_eq!(produce(&mut client, "t", 0), 0);
    broker.kill();
    let broker = Broker::start_with(dir.path(), &["message.max.bytes=2000"]);
    let mut client = broker.connect();
    assert_eq!(set_on(&mut client, BROKER, "1", 2), expected);
    assert_eq!(set_on(&mut client, BROKER, "", 3), [for_all]);
    assert_eq!(produce(&mut client, "t", 0), 0);

    let back = ("message.max.bytes", DELETE, None);
    assert_eq!(change_one(&mut client, BROKER, "1", &[back]), 0);
    client.create_topic("new", 1, &[]);
    for topic in ["t", "new"] {
        assert_eq!(produce(&mut client, topic, 0), TOO_LARGE, "{topic}");
    }
    assert_eq!(set_on(&mut client, BROKER, "1", 2), expected[..1]);
    assert_eq!(replace(&mut client, 2, (BROKER, ""), &[]), 0);
    assert_eq!(replace(&mut client, 0, (BROKER, "1"), &[]), 0);
    assert_eq!(produce(&mut client, "new", 0), 0);
    assert!(broker.stop());
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    for (name, source) in [("1", 2), ("1", 3), ("", 3)] {
        assert!(set_on(&mut client, BROKER, name, source).is_empty());
    }
    assert_eq!(produce(&mut client, "t", 0), 0);
}

#[test]
fn what_a_running_broker_cannot_change_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let refused = [
        ("node.id", SET, Some("2")),
        ("log.dirs", SET, Some("/elsewhere")),
        ("log.retention.hours", SET, Some("2")),
        ("producer.id.expiration.ms", SET, Some("2")),
        ("max.connections.per.ip", SET, Some("0")),
        ("listeners", APPEND, Some("PLAINTEXT://127.0.0.1:1")),
        ("no.such.setting", SET, Some("2")),
        ("message.max.bytes", SET, Some("many")),
        ("message.max.bytes", SET, None),
        ("message.max.bytes", 9, Some("1")),
    ];
    let good = ("log.retention.bytes", SET, Some("9"));
    for wrong in refused {
        for name in ["", "1"] {
            let answered = change_one(&mut client, BROKER, name, &[good, wrong]);
            assert_eq!(answered, INVALID_REQUEST, "{wrong:?} of {name:?}");
        }
    }
    for name in ["7", "01", "x", "-1"] {
        let answered = change_one(&mut client, BROKER, name, &[good]);
        assert_eq!(answered, INVALID_REQUEST, "broker {name}");
    }
    let number = ("log.retention.bytes", APPEND, Some("9"));
    assert_eq!(
        change_one(&mut client, BROKER, "1", &[number]),
        INVALID_CONFIG
    );
    let never_set = ("node.id", DELETE, None);
    assert_eq!(change_one(&mut client, BROKER, "1", &[never_set]), 0);
    for (name, source) in [("1", 2), ("1", 3), ("", 3)] {
        assert!(set_on(&mut client, BROKER, name, source).is_empty());
    }
}

/// What there is of some types, as `type:name`.
pub(crate) fn listed(
    client: &mut Client,
    version: i16,
    types: &[i8],
) -> Result<Vec<String>, ErrorCode> {
    let request = ListConfigResourcesRequest {
        resource_types: types.to_vec(),
    };
    let answer: ListConfigResourcesResponse = client.call(version, &request);
    match ErrorCode::from_code(answer.error_code).unwrap() {
        ErrorCode::None => {
            let all = answer.config_resources.iter();
            Ok(all
                .map(|one| format!("{}:{}", one.resource_type, one.resource_name))
                .collect())
        }
        error => Err(error),
    }
}

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

/// Groups need not be there to have settings, and keep them.
#[test]
fn fact_14_settings_of_a_group_act_at_once_and_outlive_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let _: FindCoordinatorResponse = client.call(2, &FindCoordinatorRequest::default());
    let told_ms = |client: &mut Client, group: &str| {
        let told = join(client, group, "m", &["t"]);
        told.heartbeat_interval_ms
    };
    assert_eq!(told_ms(&mut client, "g"), 5_000);
    let set: &[Change<'_>] = &[
        (HEARTBEAT, SET, Some("7000")),
        (SESSION, SET, Some("50000")),
    ];
    assert_eq!(change_one(&mut client, GROUP, "g", set), 0);
    assert_eq!(told_ms(&mut client, "g"), 7_000);
    assert_eq!(told_ms(&mut client, "h"), 5_000);
    let own = [
        "8:consumer.heartbeat.interval.ms=7000 5:group.consumer.heartbeat.interval.ms=5000",
        "8:consumer.session.timeout.ms=50000 5:group.consumer.session.timeout.ms=45000",
    ];
    let mut seen = set_on(&mut client, GROUP, "g", 8);
    seen.sort();
    assert_eq!(seen, own);
    assert_eq!(set_on(&mut client, GROUP, "nowhere", 8), [""; 0]);
    assert_eq!(listed(&mut client, 1, &[GROUP]).unwrap(), ["32:g"]);
    broker.kill();

    let broker = Broker::start(dir.path());
    let mut client = loaded(&broker);
    assert_eq!(told_ms(&mut client, "g"), 7_000);
    assert_eq!(
        change_one(&mut client, GROUP, "g", &[(HEARTBEAT, DELETE, None)]),
        0
    );
    assert_eq!(told_ms(&mut client, "g"), 5_000);
    assert_eq!(replace(&mut client, 2, (GROUP, "g"), &[]), 0);
    assert_eq!(set_on(&mut client, GROUP, "g", 8), [""; 0]);
    assert_eq!(listed(&mut client, 1, &[GROUP]).unwrap(), [""; 0]);
    let all = ["2:__consumer_offsets", "2:t", "4:1", "8:1"];
    let mut seen = listed(&mut client, 1, &[]).unwrap();
    seen.sort();
    assert_eq!(seen, all);
    assert_eq!(listed(&mut client, 0, &[]).unwrap(), [""; 0]);
    assert_eq!(
        listed(&mut client, 1, &[GROUP, 9]),
        Err(ErrorCode::UnsupportedVersion)
    );
    assert!(broker.stop());
}

#[test]
fn fact_14_a_groups_session_timeout_ends_its_members() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        "group.consumer.min.session.timeout.ms=300",
        "group.consumer.min.heartbeat.interval.ms=100",
    ];
    let broker = Broker::start_with(dir.path(), &settings);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let _: FindCoordinatorResponse = client.call(2, &FindCoordinatorRequest::default());
    let set: &[Change<'_>] = &[(HEARTBEAT, SET, Some("100")), (SESSION, SET, Some("300"))];
    assert_eq!(change_one(&mut client, GROUP, "g", set), 0);
    join(&mut client, "g", "silent", &["t"]);
    eventually("the member is taken out", || {
        described(&mut client, "g").members.is_empty()
    });
}

#[test]
fn fact_14_what_makes_no_sense_on_a_group_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let set = |value| [(SESSION, SET, Some(value))];
    assert_eq!(
        change_one(&mut client, GROUP, "", &set("50000")),
        INVALID_REQUEST
    );
    for value in ["44999", "60001", "x", ""] {
        let code = change_one(&mut client, GROUP, "g", &set(value));
        assert_eq!(code, INVALID_CONFIG, "{value}");
    }
    for (change, code) in [
        ((SESSION, SET, None), INVALID_REQUEST),
        ((SESSION, APPEND, Some("50000")), INVALID_CONFIG),
        (("retention.ms", SET, Some("50000")), INVALID_CONFIG),
        (
            ("share.session.timeout.ms", SET, Some("50000")),
            INVALID_CONFIG,
        ),
    ] {
        assert_eq!(
            change_one(&mut client, GROUP, "g", &[change]),
            code,
            "{change:?}"
        );
    }
    let long = "g".repeat(2_000);
    assert_eq!(
        change_one(&mut client, GROUP, &long, &set("50000")),
        INVALID_CONFIG
    );
    assert_eq!(listed(&mut client, 1, &[GROUP]).unwrap(), [""; 0]);
    // Only so many have any.
    let all = (0..10_001).map(|n| resource(GROUP, &format!("g{n}"), &set("50000")));
    let codes = change(&mut client, all.collect(), false);
    assert_eq!(codes.iter().filter(|&&code| code == 0).count(), 10_000);
    assert_eq!(codes.last(), Some(&INVALID_CONFIG));
    assert_eq!(change_one(&mut client, GROUP, "g0", &set("51000")), 0);
    assert_eq!(
        change_one(&mut client, GROUP, "g0", &[(SESSION, DELETE, None)]),
        0
    );
    assert_eq!(change_one(&mut client, GROUP, "other", &set("50000")), 0);
}
