//! Settings that are changed while the broker runs, and where each value comes from then.

use serde_json::{Value, json};
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use crate::changes::change;
use crate::streams::Events;
use crate::support::http::{Answer, get, send, start};
use crate::support::{Broker, eventually};

const CONFIG: &str = "/v1/config";

/// What acts for a setting of the broker, and where it comes from.
fn acting(broker: &Broker, name: &str) -> [Value; 2] {
    let page = get(broker, &format!("{CONFIG}?q={name}")).good();
    let items = page["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["name"] == name).unwrap();
    [item["value"].clone(), item["source"].clone()]
}

fn patch(broker: &Broker, query: &str, settings: &Value) -> Answer {
    change(broker, "PATCH", &format!("{CONFIG}{query}"), settings)
}

#[test]
fn settings_of_the_broker_are_set_over_restarts_and_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let given = ["log.retention.ms=5000000"];
    let broker = start(dir.path(), &given);
    let retention = |broker: &Broker| acting(broker, "log.retention.ms");
    let set = |value: &str, source: &str| [json!(value), json!(source)];
    let at_start = set("5000000", "STATIC_BROKER_CONFIG");
    let told = patch(
        &broker,
        "?dry_run=true",
        &json!({"log.retention.ms": 7_000}),
    )
    .good();
    let changed = json!([{"name": "log.retention.ms", "before": null, "after": "7000"}]);
    assert_eq!(
        told,
        json!({"name": "1", "changes": changed, "dry_run": true})
    );
    assert_eq!(retention(&broker), at_start);

    let all = json!({"log.retention.ms": "6000"});
    assert_eq!(patch(&broker, "?of=all", &all).good()["name"], "");
    let of_all = set("6000", "DYNAMIC_DEFAULT_BROKER_CONFIG");
    assert_eq!(retention(&broker), of_all);
    let own = json!({"log.retention.ms": 7_000, "tidewheel.slow.request.ms": 5});
    let told = patch(&broker, "", &own).good();
    assert_eq!(told["changes"].as_array().unwrap().len(), 2);
    let of_this = set("7000", "DYNAMIC_BROKER_CONFIG");
    assert_eq!(retention(&broker), of_this);
    assert_eq!(patch(&broker, "", &own).good()["changes"], json!([]));

    broker.kill();
    let broker = start(dir.path(), &given);
    assert_eq!(retention(&broker), of_this);
    // It is the default of topics.
    broker.connect().create_topic("t", 1, &[]);
    let topic = get(&broker, "/v1/topics/t").good();
    assert_eq!(topic["retention_ms"], 7_000);
    let back = json!({"log.retention.ms": null});
    let told = patch(&broker, "", &back).good();
    let changed = json!([{"name": "log.retention.ms", "before": "7000", "after": null}]);
    assert_eq!(told["changes"], changed);
    assert_eq!(retention(&broker), of_all);
    patch(&broker, "?of=all", &back).good();
    assert_eq!(retention(&broker), at_start);
    assert_eq!(acting(&broker, "tidewheel.slow.request.ms")[0], "5");
}

#[test]
fn all_that_is_wrong_is_told_with_the_setting_and_what_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    broker.connect().create_topic("t", 1, &[]);
    let told = |refused: &Value| -> Vec<(String, String)> {
        let errors = refused["errors"].as_array().unwrap().iter();
        let text = |error: &Value, field: &str| error[field].as_str().unwrap().to_owned();
        errors
            .map(|error| (text(error, "pointer"), text(error, "detail")))
            .collect()
    };
    let wrong =
        json!({"retention.ms": "soon", "segment.bytes": 5, "no/such": 1, "delay.max.ms": 60_000});
    for query in ["", "?dry_run=true"] {
        let path = format!("/v1/topics/t/configs{query}");
        let refused = change(&broker, "PATCH", &path, &wrong).problem(400);
        assert_eq!(refused["kafka_error"], "INVALID_CONFIG");
        let told = told(&refused);
        let pointers = told.iter().map(|(pointer, _)| pointer.as_str());
        let pointers: Vec<&str> = pointers.collect();
        assert_eq!(pointers, ["/no~1such", "/retention.ms", "/segment.bytes"]);
        assert!(told[1].1.contains("a number of milliseconds"), "{told:?}");
        assert!(told[2].1.contains("from 1048576 to 2147483647"), "{told:?}");
    }
    let topic = json!({"name": "u", "configs": {"retention.ms": "soon"}});
    let refused = change(&broker, "POST", "/v1/topics", &topic).problem(400);
    assert_eq!(told(&refused)[0].0, "/configs/retention.ms");

    let wrong = json!({"node.id": 2, "log.retention.ms": "soon", "log.segment.bytes": 1_048_576});
    let refused = patch(&broker, "", &wrong).problem(400);
    assert_eq!(refused["kafka_error"], "INVALID_REQUEST");
    let told = told(&refused);
    assert_eq!((told.len(), told[1].0.as_str()), (2, "/node.id"));
    assert!(told[1].1.contains("cannot be changed while"), "{told:?}");
    let untouched = acting(&broker, "log.segment.bytes");
    assert_eq!(untouched[1], "DEFAULT_CONFIG", "all of it or none");
    patch(&broker, "?of=nobody", &json!({})).problem(400);
    patch(&broker, "", &json!([])).problem(422);
}

#[test]
fn a_change_is_made_only_to_the_settings_that_it_was_meant_for() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    broker.connect().create_topic("t", 1, &[]);
    let path = "/v1/topics/t/configs";
    for path in [path, CONFIG] {
        let setting = match path {
            CONFIG => "log.retention.ms",
            _ => "retention.ms",
        };
        let tag = || {
            let answer = get(&broker, &format!("{path}?q=retention"));
            answer.header("etag").unwrap().to_owned()
        };
        let patch = |tag: &str, value: u64| {
            let headers = [
                ("content-type", "application/json"),
                ("x-requested-with", "test"),
                ("if-match", tag),
            ];
            let body = json!({ setting: value }).to_string();
            send(&broker, "PATCH", path, &headers, &body)
        };
        let before = tag();
        assert_eq!(before, tag());
        patch(&before, 5_000).good();
        let after = tag();
        assert_ne!(before, after);
        let refused = patch(&before, 6_000).problem(412);
        assert_eq!(refused["type"], "/problems/changed-meanwhile");
        patch("\"nonsense\"", 6_000).problem(412);
        assert_eq!(tag(), after);
        patch(&format!("\"1\", {after}"), 6_000).good();
        patch("*", 7_000).good();
    }
    // What a topic goes by is also what the broker says.
    let tag = get(&broker, path).header("etag").unwrap().to_owned();
    patch(&broker, "", &json!({"log.retention.bytes": 5})).good();
    assert_ne!(get(&broker, path).header("etag"), Some(tag.as_str()));
    // So is what is set on all brokers, though this one has its own.
    let tag = get(&broker, CONFIG).header("etag").unwrap().to_owned();
    patch(&broker, "?of=all", &json!({"log.retention.bytes": 6})).good();
    assert_ne!(get(&broker, CONFIG).header("etag"), Some(tag.as_str()));
}

#[test]
fn it_is_written_down_what_was_changed_and_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["tidewheel.admin.produce=true"]);
    let mut lines = Events::of(&broker, "/v1/logs/tail");
    let mut audited = |word: &str| {
        let mut text = String::new();
        eventually("it is written down", || {
            let line = lines.next();
            let message = line["message"].as_str().unwrap_or_default();
            text = message.to_owned();
            line["target"] == "tidewheel::audit" && text.contains(word)
        });
        text
    };
    let made = json!({"name": "orders", "partitions": 3});
    assert_eq!(change(&broker, "POST", "/v1/topics", &made).status, 201);
    let told = audited("/v1/topics");
    assert!(told.contains("peer=\"127.0.0.1:"), "{told}");
    let asked = r#"asked="{\"name\":\"orders\",\"partitions\":3}""#;
    assert!(told.contains(asked), "{told}");

    patch(&broker, "", &json!({"log.retention.ms": 5})).good();
    let told = audited(CONFIG);
    let asked = r#"asked="log.retention.ms: unset -> \"5\"""#;
    assert!(told.contains(asked), "{told}");
    // What was refused may be a secret.
    patch(&broker, "", &json!({"ssl.keystore.password": "hush"})).problem(400);
    let told = audited("status=400");
    assert!(
        told.contains("ssl.keystore.password") && !told.contains("hush"),
        "{told}"
    );

    // Over Kafka's protocol it is the client's address that is known.
    let mut client = broker.connect();
    let levels = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 8,
            resource_name: StrBytes::from("1"),
            configs: vec![AlterableConfig {
                name: StrBytes::from("tidewheel_broker.groups"),
                config_operation: 0,
                value: Some(StrBytes::from("DEBUG")),
            }],
        }],
        validate_only: false,
    };
    let answer: IncrementalAlterConfigsResponse = client.call(1, &levels);
    assert_eq!(answer.responses[0].error_code, 0);
    let told = audited("levels of loggers");
    assert!(told.contains("peer=\"127.0.0.1:"), "{told}");
    assert!(told.contains("tidewheel_broker::groups=DEBUG"), "{told}");

    let record = json!({"key": "k", "value": "nobodys business"});
    change(&broker, "POST", "/v1/topics/orders/records", &record).good();
    let told = audited("/records");
    assert!(told.contains("asked=\"\""), "{told}");
}
