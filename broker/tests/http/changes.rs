//! What is changed through the HTTP API: topics, their settings, groups and connections.

use serde_json::json;
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;

use crate::streams::{Events, set_level};
use crate::support::consumers::join;
use crate::support::groups::{codes, commit_request, find};
use crate::support::http::{Answer, get, send, start};
use crate::support::{Broker, Client, batch, eventually};

const JSON: [(&str, &str); 2] = [
    ("content-type", "application/json"),
    ("x-requested-with", "test"),
];

pub(crate) fn change(
    broker: &Broker,
    method: &str,
    path: &str,
    body: &serde_json::Value,
) -> Answer {
    send(broker, method, path, &JSON, &body.to_string())
}

pub(crate) fn delete(broker: &Broker, path: &str) -> Answer {
    send(broker, "DELETE", path, &JSON, "")
}

#[test]
fn a_topic_is_made_grows_and_goes_and_a_dry_run_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let wanted = json!({"name": "orders", "partitions": 3, "configs": {"retention.ms": "5000"}});
    let dry = change(&broker, "POST", "/v1/topics?dry_run=true", &wanted).good();
    assert_eq!(
        (&dry["partitions"], &dry["dry_run"]),
        (&json!(3), &json!(true))
    );
    get(&broker, "/v1/topics/orders").problem(404);
    let made = change(&broker, "POST", "/v1/topics", &wanted);
    assert_eq!(made.status, 201, "{made:?}");
    let topic = get(&broker, "/v1/topics/orders").good();
    assert_eq!(topic["id"], made.json()["id"]);
    assert_eq!(topic["retention_ms"], 5_000);
    let again = change(&broker, "POST", "/v1/topics", &wanted).problem(409);
    assert_eq!(again["kafka_error"], "TOPIC_ALREADY_EXISTS");

    let count = || get(&broker, "/v1/topics/orders").good()["partitions"].clone();
    let more = json!({"partitions": 5});
    change(&broker, "PATCH", "/v1/topics/orders?dry_run=true", &more).good();
    assert_eq!(count(), 3);
    change(&broker, "PATCH", "/v1/topics/orders", &more).good();
    assert_eq!(count(), 5);
    change(
        &broker,
        "PATCH",
        "/v1/topics/orders",
        &json!({"partitions": 1}),
    )
    .problem(400);

    delete(&broker, "/v1/topics/orders?dry_run=true").good();
    assert_eq!(count(), 5);
    delete(&broker, "/v1/topics/orders").good();
    get(&broker, "/v1/topics/orders").problem(404);
    delete(&broker, "/v1/topics/orders").problem(404);
    delete(&broker, "/v1/topics/orders?dry_run=true").problem(404);
}

#[test]
fn settings_of_a_topic_are_set_and_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("segment.bytes", "1048576")]);
    let path = "/v1/topics/t/configs";
    let overrides = || get(&broker, "/v1/topics/t").good()["overrides"].clone();
    let wanted = json!({"retention.ms": 7_000, "segment.bytes": null});
    change(&broker, "PATCH", &format!("{path}?dry_run=true"), &wanted).good();
    assert_eq!(overrides(), json!({"segment.bytes": "1048576"}));
    change(&broker, "PATCH", path, &wanted).good();
    assert_eq!(overrides(), json!({"retention.ms": "7000"}));
    for bad in [
        json!({"retention.ms": "soon"}),
        json!({"no.such.setting": "1"}),
        json!({"retention.ms": [1]}),
    ] {
        change(&broker, "PATCH", path, &bad).problem(400);
    }
    let named = change(&broker, "PATCH", path, &json!({"a/b~c": [1]})).problem(400);
    assert_eq!(named["errors"][0]["pointer"], "/a~1b~0c");
    assert_eq!(overrides(), json!({"retention.ms": "7000"}));
    change(&broker, "PATCH", "/v1/topics/no/configs", &wanted).problem(404);
}

#[test]
fn a_body_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let post =
        |headers: &[(&str, &str)], body: &str| send(&broker, "POST", "/v1/topics", headers, body);
    let good = r#"{"name":"t"}"#;
    post(&[("x-requested-with", "t")], good).problem(415);
    post(
        &[("x-requested-with", "t"), ("content-type", "text/plain")],
        good,
    )
    .problem(415);
    post(&JSON, "{").problem(400);
    post(&JSON, r#"{"name":7}"#).problem(422);
    post(&JSON, r#"{"name":"t","color":"red"}"#).problem(422);
    post(&JSON, r#"{"name":"a/b"}"#).problem(400);
    post(&JSON, &format!(r#"{{"name":"{}"}}"#, "x".repeat(2 << 20))).problem(413);
    let chunked = [JSON[0], JSON[1], ("transfer-encoding", "chunked")];
    let piece = "x".repeat(0x10000);
    let pieces = format!("10000\r\n{piece}\r\n").repeat(32);
    let mut request = String::from("POST /v1/topics HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in chunked {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let request = format!("{request}connection: close\r\n\r\n{pieces}0\r\n\r\n");
    let address = crate::support::http::admin(&broker);
    let refused = crate::support::http::raw(&address, request.as_bytes());
    refused.expect("an answer").problem(413);
    assert_eq!(get(&broker, "/v1/topics").good()["total"], 0);
}

/// A group that has read some of ten records in each of two partitions.
pub(crate) fn group(broker: &Broker) -> Client {
    let mut client = broker.connect();
    client.create_topic("orders", 2, &[]);
    for partition in 0..2 {
        for _ in 0..10 {
            let answer = client.produce("orders", partition, 1, batch(&["v"]));
            assert_eq!(answer.error_code, 0);
        }
    }
    assert_eq!(
        find(&mut client, &["billing"]).coordinators[0].error_code,
        0
    );
    let request = commit_request("billing", "orders", &[(0, 4, ""), (1, 6, "")]);
    eventually("the group's coordinator serves", || {
        let answer: OffsetCommitResponse = client.call(8, &request);
        codes(&answer).iter().all(|code| *code == 0)
    });
    client
}

pub(crate) fn committed(broker: &Broker, group: &str) -> Vec<i64> {
    let page = get(broker, &format!("/v1/groups/{group}/lag")).good();
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["committed_offset"].as_i64().unwrap())
        .collect()
}

#[test]
fn a_group_without_members_is_sent_elsewhere_and_a_dry_run_shows_where() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = group(&broker);
    let path = "/v1/groups/billing/offsets:seek";
    let dry = format!("{path}?dry_run=true");
    let seek = |path: &str, body| change(&broker, "POST", path, &body).good();
    let told = seek(&dry, json!({"to": "start"}));
    assert_eq!(
        told["partitions"][1],
        json!({"topic": "orders", "partition": 1, "before": 6, "after": 0,
               "log_start_offset": 0, "log_end_offset": 10})
    );
    assert_eq!(committed(&broker, "billing"), [4, 6]);
    for (to, expected) in [
        (json!({"shift": -2}), [2, 4]),
        (json!("end"), [10, 10]),
        (json!({"offset": 3}), [3, 3]),
        (json!({"shift": 1_000}), [10, 10]),
        (json!({"timestamp_ms": 0}), [0, 0]),
        (json!({"timestamp_ms": i64::MAX}), [10, 10]),
        (json!({"offset": -7}), [0, 0]),
    ] {
        seek(path, json!({"to": to}));
        assert_eq!(committed(&broker, "billing"), expected, "{to}");
    }
    let one = json!([{"topic": "orders", "partitions": [1]}]);
    seek(path, json!({"to": {"offset": 5}, "topics": one}));
    assert_eq!(committed(&broker, "billing"), [0, 5]);
    let new = "/v1/groups/fresh/offsets:seek";
    change(&broker, "POST", new, &json!({"to": "start"})).problem(404);
    let topics = json!([{"topic": "orders"}]);
    change(
        &broker,
        "POST",
        new,
        &json!({"to": {"shift": 1}, "topics": topics}),
    )
    .problem(400);
    seek(new, json!({"to": "end", "topics": topics}));
    assert_eq!(committed(&broker, "fresh"), [10, 10]);
    let unknown = json!({"to": "end", "topics": [{"topic": "orders", "partitions": [2]}]});
    change(&broker, "POST", path, &unknown).problem(404);
}

#[test]
fn a_group_with_members_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = group(&broker);
    join(
        &mut client,
        "billing",
        "AAAAAAAAAAAAAAAAAAAAAQ",
        &["orders"],
    );
    for query in ["", "?dry_run=true"] {
        let refused = delete(&broker, &format!("/v1/groups/billing{query}")).problem(409);
        assert_eq!(refused["kafka_error"], "NON_EMPTY_GROUP");
        let path = format!("/v1/groups/billing/offsets:seek{query}");
        let refused = change(&broker, "POST", &path, &json!({"to": "start"})).problem(409);
        assert_eq!(refused["kafka_error"], "NON_EMPTY_GROUP");
        let path = format!("/v1/groups/billing/offsets{query}");
        let wanted = json!({"offsets": [{"topic": "orders", "partition": 0, "offset": 1}]});
        let refused = change(&broker, "PUT", &path, &wanted).problem(409);
        assert_eq!(refused["kafka_error"], "NON_EMPTY_GROUP");
        let topic = if query.is_empty() { "?" } else { "&" };
        let refused = delete(&broker, &format!("{path}{topic}topic=orders")).problem(409);
        assert_eq!(refused["kafka_error"], "NON_EMPTY_GROUP");
    }
    assert_eq!(committed(&broker, "billing"), [4, 6]);
}

#[test]
fn a_seek_that_names_very_much_takes_little_or_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("wide", 1_001, &[]);
    find(&mut client, &["g"]);
    let path = "/v1/groups/g/offsets:seek";
    let seek = |to: serde_json::Value, count: usize| {
        let topics = vec![json!({"topic": "wide"}); count];
        change(&broker, "POST", path, &json!({"to": to, "topics": topics}))
    };
    seek(json!({"timestamp_ms": 0}), 1).problem(400);
    eventually("the group's coordinator serves", || {
        seek(json!("start"), 1).status == 200
    });
    // A body of nearly 1 MiB, which asks for 40 million partitions.
    seek(json!("end"), 40_000).problem(400);
    let used = broker.rss_anon_kib();
    assert!(used < 256 * 1024, "{used}");
}

#[test]
fn a_group_goes_with_its_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    delete(&broker, "/v1/groups/billing").problem(404);
    let _client = group(&broker);
    delete(&broker, "/v1/groups/billing?dry_run=true").good();
    assert_eq!(committed(&broker, "billing"), [4, 6]);
    delete(&broker, "/v1/groups/billing").good();
    get(&broker, "/v1/groups/billing").problem(404);
}

#[test]
fn a_connection_is_ended_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    let _: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default());
    let connections = get(&broker, "/v1/connections").good();
    let id = connections["items"][0]["id"].clone();
    let path = format!("/v1/connections/{id}");
    delete(&broker, &format!("{path}?dry_run=true&reason=look")).good();
    let long = "x".repeat(257);
    delete(&broker, &format!("{path}?reason={long}")).problem(400);
    let _: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default());
    let mut lines = Events::of(&broker, "/v1/logs/tail");
    set_level(
        &broker,
        "/v1/loggers/tidewheel_broker::connection?level=info",
    )
    .good();
    delete(&broker, &format!("{path}?reason=too%20many%20requests")).good();
    assert!(client.is_closed_by_broker());
    loop {
        let message = lines.next()["message"].as_str().unwrap().to_owned();
        if message.starts_with("connection ended by an operator") {
            assert!(message.contains("too many requests"), "{message}");
            break;
        }
    }
    let path_of_metrics = "/metrics/detailed?family=tidewheel_connections_closed";
    eventually("it is counted", || {
        let metrics = get(&broker, path_of_metrics).body;
        assert!(!metrics.contains("tidewheel_connections{"), "{metrics}");
        metrics.contains("tidewheel_connections_closed_total{reason=\"operator\"} 1\n")
    });
    eventually("it is gone", || get(&broker, &path).status == 404);
    delete(&broker, "/v1/connections/999").problem(404);
}

#[test]
fn the_first_records_of_a_partition_are_given_up_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = group(&broker);
    let path = "/v1/topics/orders/partitions/1";
    let delete = |before: serde_json::Value, query: &str| {
        let path = format!("{path}:delete-records{query}");
        change(&broker, "POST", &path, &json!({"before": before}))
    };
    let begins = || get(&broker, path).good()["log_start_offset"].clone();
    let dry = delete(json!({"offset": 4}), "?dry_run=true").good();
    let told = json!({"topic": "orders", "partition": 1, "before": 0, "log_start_offset": 4, "dry_run": true});
    assert_eq!((dry, begins()), (told, json!(0)));
    for (before, start) in [
        (json!({"offset": 4}), 4),
        (json!({"offset": 2}), 4),
        (json!("end"), 10),
        (json!({"offset": 10}), 10),
    ] {
        let told = delete(before, "").good();
        assert_eq!(
            (&told["log_start_offset"], begins()),
            (&json!(start), json!(start))
        );
    }
    assert_eq!(
        get(&broker, "/v1/topics/orders/partitions/0").good()["log_start_offset"],
        0
    );
    for offset in [-1, 11] {
        for query in ["", "?dry_run=true"] {
            let refused = delete(json!({"offset": offset}), query).problem(400);
            assert_eq!(refused["kafka_error"], "OFFSET_OUT_OF_RANGE");
        }
    }
    assert_eq!(
        client.produce("orders", 1, -1, batch(&["new"])).base_offset,
        10
    );
    broker.kill();
    let broker = start(dir.path(), &[]);
    assert_eq!(get(&broker, path).good()["log_start_offset"], 10);
}

#[test]
fn a_deletion_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = group(&broker);
    let path = "/v1/topics/orders/partitions/1";
    for (path, body, status) in [
        (format!("{path}:delete-records"), json!({}), 422),
        (
            format!("{path}:delete-records"),
            json!({"before": "now"}),
            422,
        ),
        (format!("{path}:explode"), json!({}), 404),
        (path.to_owned(), json!({}), 404),
        (
            "/v1/topics/orders/partitions/x:delete-records".to_owned(),
            json!({}),
            400,
        ),
        (
            "/v1/topics/orders/partitions/2:delete-records".to_owned(),
            json!({"before": "end"}),
            404,
        ),
        (
            "/v1/topics/none/partitions/0:delete-records".to_owned(),
            json!({"before": "end"}),
            404,
        ),
        (
            "/v1/topics/__consumer_offsets/partitions/0:delete-records".to_owned(),
            json!({"before": "end"}),
            400,
        ),
    ] {
        change(&broker, "POST", &path, &body).problem(status);
    }
    assert_eq!(get(&broker, path).good()["log_start_offset"], 0);
}
