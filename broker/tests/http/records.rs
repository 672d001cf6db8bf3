//! Records that are produced through the HTTP API.

use serde_json::{Value, json};

use crate::changes::change;
use crate::delays::{due_in, wait_for};
use crate::support::Broker;
use crate::support::http::{Answer, get, send, start};

const ON: [&str; 1] = ["tidewheel.admin.produce=true"];

fn produce(broker: &Broker, topic: &str, record: &Value) -> Answer {
    change(
        broker,
        "POST",
        &format!("/v1/topics/{topic}/records"),
        record,
    )
}

/// The same with a key of the request.
fn produce_once(broker: &Broker, topic: &str, key: &str, record: &Value) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("x-requested-with", "test"),
        ("idempotency-key", key),
    ];
    let path = format!("/v1/topics/{topic}/records");
    send(broker, "POST", &path, &headers, &record.to_string())
}

fn records(broker: &Broker, topic: &str, partition: i64) -> Value {
    let path = format!("/v1/topics/{topic}/messages?partition={partition}&offset=earliest");
    get(broker, &path).good()["items"].clone()
}

#[test]
fn a_record_is_appended_as_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &ON);
    broker.connect().create_topic("t", 3, &[]);
    let record = json!({"partition": 1, "key": "k", "value": {"base64": "/wAB"}, "timestamp_ms": 5_000,
        "headers": [{"key": "h", "value": "v"}, {"key": "none"}]});
    let dry = change(
        &broker,
        "POST",
        "/v1/topics/t/records?dry_run=true",
        &record,
    )
    .good();
    assert_eq!(
        (&dry["offset"], &dry["partition"]),
        (&json!(null), &json!(1))
    );
    assert_eq!(records(&broker, "t", 1), json!([]));
    for offset in 0..2 {
        let told = produce(&broker, "t", &record).good();
        let expected = json!({"topic": "t", "partition": 1, "offset": offset, "timestamp_ms": 5_000, "dry_run": false,
            "repeated": false});
        assert_eq!(told, expected);
    }
    let stored = records(&broker, "t", 1);
    let first = &stored[0];
    assert_eq!(
        (&first["key"]["data"], &first["value"]["data"]),
        (&json!("k"), &json!("/wAB"))
    );
    assert_eq!(first["timestamp_ms"], 5_000);
    assert_eq!(first["headers"][0]["value"]["data"], "v");
    assert_eq!(first["headers"][1]["value"]["format"], "null");
    let tombstone = produce(&broker, "t", &json!({"partition": 2, "key": "gone"})).good();
    assert_eq!(tombstone["offset"], 0);
    assert_eq!(records(&broker, "t", 2)[0]["value"]["format"], "null");
}

#[test]
fn a_record_goes_where_its_key_leads_and_without_one_they_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &ON);
    broker.connect().create_topic("t", 10, &[]);
    // As Kafka's own clients choose.
    for (key, partition) in [("abc", 7), ("abc", 7), ("21", 0)] {
        let told = produce(&broker, "t", &json!({"key": key, "value": "v"})).good();
        assert_eq!(told["partition"], partition, "{key}");
    }
    let taken = (0..10).map(|_| produce(&broker, "t", &json!({"value": "v"})).good());
    let mut taken: Vec<i64> = taken
        .map(|told| told["partition"].as_i64().unwrap())
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_record_is_delivered_later_in_the_way_that_its_topic_wants_to_be_asked() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &ON);
    let mut client = broker.connect();
    for mode in ["timestamp", "header", "both", "none"] {
        client.create_topic(mode, 1, &[("delay.mode", mode)]);
    }
    for mode in ["timestamp", "header", "both"] {
        let due = due_in(400);
        let told = produce(&broker, mode, &json!({"value": mode, "deliver_at_ms": due})).good();
        assert_eq!(told["offset"], json!(null), "{mode}");
        assert_eq!(wait_for(&mut client, mode, 1)[0].value, mode);
    }
    let later = json!({"value": "v", "deliver_at_ms": due_in(1_000_000)});
    let refused = produce(&broker, "none", &later).problem(409);
    assert_eq!(refused["type"], "/problems/no-delays");
    let both = json!({"value": "v", "deliver_at_ms": 1, "timestamp_ms": 1});
    produce(&broker, "timestamp", &both).problem(400);
    produce(&broker, "header", &json!({"deliver_at_ms": -1})).problem(400);
    let far = json!({"value": "v", "deliver_at_ms": due_in(400 * 86_400_000)});
    let refused = produce(&broker, "both", &far).problem(400);
    assert_eq!(refused["kafka_error"], "INVALID_TIMESTAMP");
}

#[test]
fn what_cannot_be_appended_is_refused_like_any_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &ON);
    let mut client = broker.connect();
    client.create_topic("t", 2, &[("max.message.bytes", "1000")]);
    client.create_topic("kept", 1, &[("cleanup.policy", "compact")]);
    for (topic, record, status) in [
        ("none", json!({"value": "v"}), 404),
        ("t", json!({"partition": 2, "value": "v"}), 404),
        ("t", json!({"value": {"base64": "x"}}), 400),
        ("t", json!({"key": {"base64": "eA==", "more": 1}}), 422),
        ("t", json!({"value": {"a": 1}}), 422),
        ("t", json!({"value": 7}), 422),
        ("t", json!({"color": "red"}), 422),
        ("t", json!({"value": "x".repeat(2_000)}), 413),
        ("t", json!({"value": "x".repeat(2 << 20)}), 413),
        ("kept", json!({"value": "without a key"}), 400),
    ] {
        produce(&broker, topic, &record).problem(status);
    }
    let named = produce(
        &broker,
        "t",
        &json!({"headers": [{"key": "a", "value": {"base64": "?"}}]}),
    );
    assert_eq!(
        named.problem(400)["errors"][0]["pointer"],
        "/headers/0/value/base64"
    );
    for partition in 0..2 {
        assert_eq!(records(&broker, "t", partition), json!([]));
    }
}

#[test]
fn nothing_is_produced_unless_somebody_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    broker.connect().create_topic("t", 1, &[]);
    for query in ["", "?dry_run=true"] {
        let path = format!("/v1/topics/t/records{query}");
        let refused = change(&broker, "POST", &path, &json!({"value": "v"})).problem(403);
        assert_eq!(refused["type"], "/problems/produce-is-off");
    }
}

#[test]
fn a_record_with_a_key_of_its_request_is_produced_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &ON);
    let mut client = broker.connect();
    for topic in ["t", "u"] {
        client.create_topic(topic, 1, &[]);
    }
    client.create_topic("small", 1, &[("max.message.bytes", "100")]);
    let record = json!({"key": "k", "value": "v"});
    let mut first = produce_once(&broker, "t", "one", &record).good();
    assert_eq!(
        (&first["offset"], &first["repeated"]),
        (&json!(0), &json!(false))
    );
    first["repeated"] = json!(true);
    for _ in 0..2 {
        assert_eq!(produce_once(&broker, "t", "one", &record).good(), first);
    }
    let other = produce_once(&broker, "t", "one", &json!({"key": "k"})).problem(422);
    assert_eq!(other["type"], "/problems/key-of-another-request");
    assert_eq!(
        produce_once(&broker, "t", "two", &record).good()["offset"],
        1
    );
    assert_eq!(
        produce_once(&broker, "u", "one", &record).good()["offset"],
        0
    );
    assert_eq!(records(&broker, "t", 0).as_array().unwrap().len(), 2);
    produce_once(&broker, "t", &"x".repeat(256), &record).problem(400);
    // What was refused was not done: it is tried again.
    let long = json!({"value": "x".repeat(1_000)});
    for _ in 0..2 {
        produce_once(&broker, "small", "one", &long).problem(413);
    }
    assert_eq!(
        produce_once(&broker, "small", "one", &json!({"value": "x"})).good()["offset"],
        0
    );
}
