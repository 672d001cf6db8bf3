//! Levels of the log over Kafka's protocol, as `kafka-configs --entity-type broker-loggers` sets and reads them.

use std::collections::BTreeMap;

use super::alter::{
    APPEND, Change, DELETE, INVALID_CONFIG, INVALID_REQUEST, SET, SUBTRACT, change, change_one,
    listed, replace, resource,
};
use crate::support::http::{get, start};
use crate::support::{Broker, Client, eventually};
use serde_json::{Value, json};
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, DescribeConfigsResult,
};

const BROKER_LOGGER: i8 = 8;
/// THROTTLING_QUOTA_EXCEEDED.
const THROTTLED: i16 = 89;
const GROUPS: &str = "tidewheel_broker.groups";
const SHARD: &str = "tidewheel_broker.groups.shard";

fn asked(client: &mut Client, version: i16, name: &str, keys: &[&str]) -> DescribeConfigsResult {
    let keys = keys.iter().map(|key| StrBytes::from(*key)).collect();
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: BROKER_LOGGER,
            resource_name: StrBytes::from(name),
            configuration_keys: Some(keys),
        }],
        include_synonyms: version > 0,
        include_documentation: version > 2,
    };
    let mut answer: DescribeConfigsResponse = client.call(version, &request);
    assert_eq!(answer.results.len(), 1);
    answer.results.remove(0)
}

/// Every logger with its level.
fn levels(client: &mut Client) -> BTreeMap<String, String> {
    let told = asked(client, 4, "1", &[]);
    assert_eq!(told.error_code, 0);
    let told = told.configs.iter().map(|config| {
        // As in Kafka: where from, and nothing else.
        assert_eq!((config.config_source, config.config_type), (6, 0));
        assert!(!config.read_only && !config.is_sensitive && config.synonyms.is_empty());
        assert_eq!(config.documentation.as_deref(), Some(""));
        let level = config.value.as_ref().unwrap();
        (config.name.to_string(), level.to_string())
    });
    told.collect()
}

fn set(client: &mut Client, changes: &[Change<'_>]) -> i16 {
    change_one(client, BROKER_LOGGER, "1", changes)
}

#[test]
fn loggers_are_listed_described_set_and_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    assert_eq!(listed(&mut client, 1, &[BROKER_LOGGER]).unwrap(), ["8:1"]);
    let before = levels(&mut client);
    assert!(before.len() > 20 && before.contains_key("root"));
    assert!(before.values().all(|level| level == "WARN"), "{before:?}");

    let changes = [(GROUPS, SET, Some("DEBUG")), ("root", SET, Some("INFO"))];
    let dry = resource(BROKER_LOGGER, "1", &changes);
    assert_eq!(change(&mut client, vec![dry], true), [0]);
    assert_eq!(levels(&mut client), before, "it was only tried");
    assert_eq!(set(&mut client, &changes), 0);
    let told = levels(&mut client);
    for (logger, level) in &told {
        let is_below = logger.starts_with(GROUPS);
        assert_eq!(level, if is_below { "DEBUG" } else { "INFO" }, "{logger}");
    }
    // The HTTP API knows of the same.
    let seen = get(&broker, "/v1/loggers").good();
    let of = |logger: &Value| (logger["name"].clone(), logger["level"].clone());
    let seen: Vec<_> = seen["loggers"].as_array().unwrap().iter().map(of).collect();
    // Under the names of its own.
    let expected = [("root", "info"), ("tidewheel_broker::groups", "debug")];
    assert_eq!(
        seen,
        expected.map(|(name, level)| (json!(name), json!(level)))
    );

    // Nothing here is worse than an error.
    assert_eq!(set(&mut client, &[(SHARD, SET, Some("FATAL"))]), 0);
    assert_eq!(levels(&mut client)[SHARD], "ERROR");
    let back = [(GROUPS, DELETE, None), (SHARD, DELETE, Some(""))];
    assert_eq!(set(&mut client, &back), 0);
    assert!(levels(&mut client).values().all(|level| level == "INFO"));
    // What has no level of its own has none afterwards either.
    assert_eq!(set(&mut client, &back), 0);
    for version in [0, 1, 4] {
        let one = asked(&mut client, version, "1", &[GROUPS, "no.such.logger"]);
        assert_eq!(one.configs.len(), 1, "only what was asked for");
        assert_eq!(one.configs[0].value.as_deref(), Some("INFO"));
        assert!(!one.configs[0].is_default);
    }
    assert!(broker.stop());
}

#[test]
fn what_makes_no_sense_of_a_logger_is_refused_with_kafkas_codes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let before = levels(&mut client);
    let good = ("tidewheel_broker", SET, Some("TRACE"));
    for (wrong, code) in [
        (
            ("kafka.server.KafkaApis", SET, Some("INFO")),
            INVALID_CONFIG,
        ),
        (("kafka.server.KafkaApis", DELETE, None), INVALID_CONFIG),
        (("tidewheel::audit", SET, Some("ERROR")), INVALID_CONFIG),
        (("", SET, Some("INFO")), INVALID_CONFIG),
        ((GROUPS, SET, Some("LOUD")), INVALID_CONFIG),
        ((GROUPS, SET, Some("debug")), INVALID_CONFIG),
        ((GROUPS, SET, Some("")), INVALID_CONFIG),
        ((GROUPS, SET, None), INVALID_REQUEST),
        ((GROUPS, APPEND, Some("INFO")), INVALID_REQUEST),
        ((GROUPS, SUBTRACT, Some("INFO")), INVALID_REQUEST),
        ((GROUPS, 9, Some("INFO")), INVALID_REQUEST),
        (("root", DELETE, None), INVALID_REQUEST),
        (("tidewheel_broker", SET, Some("INFO")), INVALID_REQUEST),
    ] {
        assert_eq!(set(&mut client, &[good, wrong]), code, "{wrong:?}");
    }
    for name in ["", "2", "x", "-1"] {
        let changed = change_one(&mut client, BROKER_LOGGER, name, &[good]);
        assert_eq!(changed, INVALID_REQUEST, "broker {name:?}");
        let told = asked(&mut client, 4, name, &[]);
        assert_eq!(told.error_code, INVALID_REQUEST, "broker {name:?}");
        assert!(told.configs.is_empty() && told.error_message.is_some());
    }
    // All at once is not what the older request can do with them, as in Kafka.
    let all = [("tidewheel_broker", Some("TRACE"))];
    let replaced = replace(&mut client, 2, (BROKER_LOGGER, "1"), &all);
    assert_eq!(replaced, INVALID_REQUEST);
    let twice = vec![resource(BROKER_LOGGER, "1", &[good]); 2];
    assert_eq!(change(&mut client, twice, false), [INVALID_REQUEST; 2]);
    assert_eq!(levels(&mut client), before, "all of it or nothing");
    // Each resource of a request has its own answer, in its place.
    let mixed = vec![
        resource(BROKER_LOGGER, "1", &[("nobody", SET, Some("INFO"))]),
        resource(4, "1", &[("log.retention.bytes", SET, Some("9"))]),
        resource(BROKER_LOGGER, "01", &[good]),
        resource(2, "no-such-topic", &[("retention.ms", SET, Some("9"))]),
    ];
    assert_eq!(change(&mut client, mixed, false), [INVALID_CONFIG, 0, 0, 3]);
    assert_eq!(levels(&mut client)["tidewheel_broker"], "TRACE");
    assert!(broker.stop());
}

#[test]
fn a_level_goes_back_by_itself_also_without_the_http_api_and_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["tidewheel.loggers.expire.ms=1000"]);
    let mut client = broker.connect();
    assert_eq!(set(&mut client, &[(GROUPS, SET, Some("ERROR"))]), 0);
    assert_eq!(levels(&mut client)[SHARD], "ERROR");
    eventually("it goes back", || levels(&mut client)[SHARD] == "WARN");
    // How long it lasts is a setting that may be changed.
    let expire = [("tidewheel.loggers.expire.ms", SET, Some("60000"))];
    assert_eq!(change_one(&mut client, 4, "", &expire), 0);
    assert_eq!(set(&mut client, &[(GROUPS, SET, Some("ERROR"))]), 0);
    assert!(broker.stop());
    let broker = Broker::start(dir.path());
    assert_eq!(levels(&mut broker.connect())[SHARD], "WARN");
}

#[test]
fn levels_are_not_changed_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let codes: Vec<i16> = (0..100)
        .map(|_| set(&mut client, &[(GROUPS, SET, Some("ERROR"))]))
        .collect();
    let refused = codes.iter().filter(|code| **code == THROTTLED).count();
    let done = codes.iter().filter(|code| **code == 0).count();
    assert!(done >= 10 && refused > 0, "{codes:?}");
    assert_eq!(done + refused, 100);
    // One that is only tried changes nothing and counts for nothing.
    let tried = resource(BROKER_LOGGER, "1", &[(GROUPS, SET, Some("INFO"))]);
    assert_eq!(change(&mut client, vec![tried], true), [0]);
    eventually("it is possible again", || {
        set(&mut client, &[(GROUPS, SET, Some("INFO"))]) == 0
    });
    assert!(broker.stop());
}
