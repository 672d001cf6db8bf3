//! How groups get on, as the broker tells it.

use serde_json::{Value, json};
use tidewheel_protocol::RecordBatchBuilder;
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;

use crate::support::groups::{codes, commit_request, find};
use crate::support::http::{get, start};
use crate::support::{Broker, Client, eventually, now_ms};

/// Ten records in each of two partitions, the first of them an hour old.
fn written(broker: &Broker) -> Client {
    let mut client = broker.connect();
    client.create_topic("orders", 2, &[]);
    let hour_ago = now_ms() - 3_600_000;
    for partition in 0..2 {
        let mut records = RecordBatchBuilder::new();
        for second in 0..10 {
            records = records.record(hour_ago + second * 1_000, None, Some(b"v"));
        }
        let records = records.build().unwrap().bytes;
        assert_eq!(
            client.produce("orders", partition, -1, records).error_code,
            0
        );
    }
    assert_eq!(
        find(&mut client, &["billing"]).coordinators[0].error_code,
        0
    );
    client
}

fn commit(client: &mut Client, group: &str, offsets: &[(i32, i64, &str)]) {
    let request = commit_request(group, "orders", offsets);
    eventually("the group's coordinator serves", || {
        let answer: OffsetCommitResponse = client.call(8, &request);
        codes(&answer).iter().all(|code| *code == 0)
    });
}

fn partition(group: &Value, partition: usize) -> &Value {
    &group["partitions"][partition]
}

#[test]
fn a_group_is_told_with_its_lag_in_records_and_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = written(&broker);
    commit(&mut client, "billing", &[(0, 4, "a note"), (1, 10, "")]);
    let group = get(&broker, "/v1/groups/billing").good();
    for (field, value) in [
        ("group", json!("billing")),
        ("type", json!("classic")),
        ("state", json!("Empty")),
        ("members", json!(0)),
        ("total_lag", json!(6)),
        ("max_lag", json!(6)),
        // Nobody is there who could read on.
        ("status", json!("STOP")),
        ("next_cursor", Value::Null),
    ] {
        assert_eq!(group[field], value, "{field}: {group}");
    }
    let behind = partition(&group, 0);
    assert_eq!(behind["committed_offset"], 4);
    assert_eq!(
        (&behind["log_end_offset"], &behind["lag"]),
        (&json!(10), &json!(6))
    );
    assert_eq!(behind["commit_metadata"], "a note");
    let seconds = behind["lag_seconds"].as_f64().unwrap();
    assert!((3_500.0..4_000.0).contains(&seconds), "{seconds}");
    assert_eq!(group["max_lag_seconds"], behind["lag_seconds"]);
    assert!(now_ms() - behind["last_commit_ms"].as_i64().unwrap() < 300_000);
    let read = partition(&group, 1);
    assert_eq!(
        (&read["lag"], &read["lag_seconds"]),
        (&json!(0), &json!(0.0))
    );
    assert_eq!(read["status"], "OK");
    let lag = get(&broker, "/v1/groups/billing/lag?limit=1&cursor=1").good();
    assert_eq!(
        (&lag["total"], &lag["items"][0]["partition"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        get(&broker, "/v1/groups/billing/members").good()["total"],
        0
    );
}

#[test]
fn groups_are_listed_by_how_far_they_are_behind() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    assert_eq!(get(&broker, "/v1/groups").good()["total"], 0);
    let mut client = written(&broker);
    for (group, offset) in [("billing", 8), ("audit", 1), ("done", 10)] {
        commit(&mut client, group, &[(0, offset, "")]);
    }
    let page = get(
        &broker,
        "/v1/groups?sort=-total_lag&limit=2&fields=group,total_lag",
    )
    .good();
    assert_eq!(
        page["items"],
        json!([{"group": "audit", "total_lag": 9}, {"group": "billing", "total_lag": 2}])
    );
    assert_eq!(page["next_cursor"], "n2");
    let quick = get(&broker, "/v1/groups?stats=false&q=audit").good();
    let quick = &quick["items"][0];
    assert_eq!(
        (&quick["state"], &quick["members"]),
        (&json!("Empty"), &json!(0))
    );
    for figure in ["status", "offsets", "total_lag", "max_lag"] {
        assert_eq!(quick[figure], Value::Null, "{figure}");
    }
    let overview = get(&broker, "/v1/overview").good();
    assert_eq!(overview["worst_lag_left_out"], 0);
    let worst: Vec<_> = overview["worst_lag"].as_array().unwrap().iter().collect();
    assert_eq!((worst.len(), &worst[0]["group"]), (2, &json!("audit")));
    // As old as in the answer about the group.
    for group in worst {
        let path = format!("/v1/groups/{}", group["group"].as_str().unwrap());
        let one = get(&broker, &path).good()["max_lag_seconds"]
            .as_f64()
            .unwrap();
        let told = group["max_lag_seconds"].as_f64().unwrap();
        assert!(told > 0.0 && (one - told).abs() < 20.0, "{told} {one}");
    }
    let found = get(&broker, "/v1/groups?regex=^(audit|do)&fields=group").good();
    assert_eq!(
        found["items"],
        json!([{"group": "audit"}, {"group": "done"}])
    );
    get(&broker, "/v1/groups?regex=(").problem(400);
    assert_eq!(overview["groups"], json!({"Empty": 3}));
}

#[test]
fn the_groups_of_a_topic_are_those_that_committed_there() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let path = "/v1/topics/orders/groups";
    get(&broker, path).problem(404);
    let mut client = written(&broker);
    let all = || get(&broker, path).good();
    assert_eq!(all()["items"], json!([]));
    commit(&mut client, "billing", &[(0, 4, ""), (1, 3, "")]);
    commit(&mut client, "audit", &[(1, 10, "")]);
    commit(&mut client, "slow", &[(0, 0, ""), (1, 0, "")]);
    client.create_topic("others", 1, &[]);
    let told = all();
    let names: Vec<&str> = told["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["group"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["slow", "billing", "audit"]);
    let billing = json!({"group": "billing", "state": "Empty", "status": told["items"][1]["status"], "partitions": 2,
        "total_lag": 13, "max_lag": 7, "max_lag_partition": 1});
    assert_eq!(told["items"][1], billing);
    assert_eq!(told["items"][2]["total_lag"], 0);
    assert_eq!(get(&broker, "/v1/topics/others/groups").good()["total"], 0);
    let page = get(&broker, &format!("{path}?limit=2")).good();
    assert_eq!(
        (&page["total"], page["items"].as_array().unwrap().len()),
        (&json!(3), 2)
    );
    let next = page["next_cursor"].as_str().unwrap();
    let rest = get(&broker, &format!("{path}?limit=2&cursor={next}")).good();
    assert_eq!(rest["items"][0]["group"], "audit");
    get(&broker, &format!("{path}?limit=0")).problem(400);
}

#[test]
fn an_offset_of_a_topic_that_is_gone_or_too_high_has_no_lag() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = written(&broker);
    commit(&mut client, "billing", &[(0, 1_000, "")]);
    let group = get(&broker, "/v1/groups/billing").good();
    let high = partition(&group, 0);
    assert_eq!(
        (&high["lag"], &high["lag_seconds"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(high["is_beyond_end"], true);
    client.delete_topic("orders");
    eventually("its offsets are gone", || {
        let group = get(&broker, "/v1/groups/billing");
        group.status == 404 || group.good()["offsets"] == 0
    });
}
