//! What the broker tells of topics, partitions, connections and settings.

use serde_json::{Value, json};
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::{RecordBatchBuilder, StrBytes};

use crate::support::http::{get, start};
use crate::support::{Broker, batch, eventually, now_ms};

fn names(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn a_topic_is_told_with_its_figures_partitions_segments_and_settings() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["log.retention.ms=123456789"]);
    let mut client = broker.connect();
    let configs = [
        ("cleanup.policy", "compact,delete"),
        ("segment.bytes", "1048576"),
    ];
    client.create_topic("orders", 2, &configs);
    let value = "x".repeat(700_000);
    for key in ["a", "b", "c"] {
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        let records = RecordBatchBuilder::new().record(now_ms(), key, value);
        let records = records.build().unwrap().bytes;
        assert_eq!(client.produce("orders", 1, -1, records).error_code, 0);
    }
    let topic = get(&broker, "/v1/topics/orders").good();
    assert_eq!(topic["name"], "orders");
    assert_eq!(topic["partitions"], 2);
    assert_eq!(topic["records"], 3);
    assert_eq!(topic["cleanup_policy"], "delete,compact");
    assert_eq!(topic["retention_ms"], 123_456_789);
    assert_eq!(topic["damaged_partitions"], 0);
    assert_eq!(topic["segments"], 4);
    assert_eq!(
        topic["overrides"],
        json!({"cleanup.policy": "compact,delete", "segment.bytes": "1048576"})
    );
    let partition = get(&broker, "/v1/topics/orders/partitions/1").good();
    for (field, value) in [
        ("topic", json!("orders")),
        ("partition", json!(1)),
        ("leader", json!(1)),
        ("log_start_offset", json!(0)),
        ("high_watermark", json!(3)),
        ("last_stable_offset", json!(3)),
        ("log_end_offset", json!(3)),
        ("flushed_offset", json!(3)),
        ("unflushed_bytes", json!(0)),
        ("segments", json!(3)),
        ("damaged", json!(false)),
        ("refusal", Value::Null),
    ] {
        assert_eq!(partition[field], value, "{field}: {partition}");
    }
    assert_eq!(partition["size_bytes"], topic["size_bytes"]);
    assert!(partition["last_timestamp_ms"].as_i64() >= partition["first_timestamp_ms"].as_i64());
    let goes_ms = partition["retention_next_delete_ms"].as_i64().unwrap();
    assert!(goes_ms > partition["first_timestamp_ms"].as_i64().unwrap());
    let all = get(&broker, "/v1/topics/orders/partitions?limit=1").good();
    assert_eq!(
        (&all["total"], &all["next_cursor"]),
        (&json!(2), &json!("1"))
    );
    assert_eq!(all["items"][0]["log_end_offset"], 0);
    let second = get(&broker, "/v1/topics/orders/partitions?cursor=1").good();
    assert_eq!(second["items"], json!([partition]));

    let path = "/v1/topics/orders/partitions/1/segments";
    let segments = get(&broker, path).good();
    let states = segments["items"].as_array().unwrap().iter();
    let states = states.map(|segment| segment["state"].as_str().unwrap());
    assert_eq!(states.collect::<Vec<_>>(), ["sealed", "sealed", "active"]);
    let sealed = get(&broker, &format!("{path}/1")).good();
    assert_eq!(sealed, segments["items"][1]);
    assert_eq!(sealed["last_offset"], 1);
    assert_eq!(sealed["flushed_bytes"], sealed["size_bytes"]);
    get(&broker, &format!("{path}/7")).problem(404);
}

#[test]
fn a_setting_says_where_its_value_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["log.retention.ms=5000000"]);
    broker
        .connect()
        .create_topic("t", 1, &[("retention.ms", "7")]);
    let of_topic = |name: &str| {
        let page = get(&broker, &format!("/v1/topics/t/configs?q={name}")).good();
        let items = page["items"].as_array().unwrap().iter();
        items
            .clone()
            .find(|item| item["name"] == name)
            .unwrap()
            .clone()
    };
    let own = of_topic("retention.ms");
    assert_eq!(own["value"], "7");
    assert_eq!(own["source"], "DYNAMIC_TOPIC_CONFIG");
    assert_eq!(own["synonyms"][1]["name"], "log.retention.ms");
    assert_eq!(own["synonyms"][1]["source"], "STATIC_BROKER_CONFIG");
    assert_eq!(
        (&own["type"], &own["default"]),
        (&json!("LONG"), &json!("604800000"))
    );
    let untouched = of_topic("max.message.bytes");
    assert_eq!(untouched["source"], "DEFAULT_CONFIG");
    let page = get(&broker, "/v1/config?q=log.retention.ms").good();
    let given = &page["items"][0];
    assert_eq!(given["value"], "5000000");
    assert_eq!(given["origin"]["kind"], "argument");
    let schema = get(&broker, "/v1/config/schema").good();
    let rows = schema.as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["name"] == "tidewheel.admin.auth")
        .unwrap();
    assert_eq!(row["enum_values"], json!(["none", "token"]));
    assert_eq!(row["environment"], "TIDEWHEEL_ADMIN_AUTH");
}

#[test]
fn lists_come_in_pages_sorted_and_cut_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    for (name, partitions) in [("a", 3), ("b", 1), ("other", 2), ("B2", 5)] {
        client.create_topic(name, partitions, &[]);
    }
    let page = get(&broker, "/v1/topics?limit=3").good();
    assert_eq!(
        (names(&page), &page["total"]),
        (vec!["B2", "a", "b"], &json!(4))
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = get(&broker, &format!("/v1/topics?limit=3&cursor={cursor}")).good();
    assert_eq!(
        (names(&page), &page["next_cursor"]),
        (vec!["other"], &Value::Null)
    );
    let page = get(&broker, "/v1/topics?sort=-partitions&limit=2").good();
    assert_eq!(names(&page), ["B2", "a"]);
    let page = get(&broker, "/v1/topics?q=b").good();
    assert_eq!(names(&page), ["B2", "b"]);
    let page = get(&broker, "/v1/topics?fields=name,partitions&q=other").good();
    assert_eq!(page["items"], json!([{"name": "other", "partitions": 2}]));
    let page = get(&broker, "/v1/topics?stats=false&q=other").good();
    assert_eq!(page["items"][0]["size_bytes"], Value::Null);
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "sort=color",
        "nonsense=1",
    ] {
        get(&broker, &format!("/v1/topics?{bad}")).problem(400);
    }
}

#[test]
fn what_is_not_there_is_a_problem_with_kafkas_name_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    broker.connect().create_topic("t", 1, &[]);
    for path in [
        "/v1/topics/no",
        "/v1/topics/no/configs",
        "/v1/topics/t/partitions/1",
    ] {
        let problem = get(&broker, path).problem(404);
        assert_eq!(problem["kafka_error"], "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(problem["kafka_error_code"], 3);
        assert_eq!(problem["instance"], path);
    }
    let problem = get(&broker, "/v1/groups/no").problem(404);
    assert_eq!(problem["kafka_error"], "GROUP_ID_NOT_FOUND");
    get(&broker, "/v1/connections/999").problem(404);
    get(&broker, "/v1/topics/t/partitions/x").problem(400);
    get(&broker, "/nonsense").problem(404);
}

#[test]
fn connections_say_which_library_they_use_and_how_much_they_ask() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut named = broker.connect();
    let request = ApiVersionsRequest {
        client_software_name: StrBytes::from_static("a-library"),
        client_software_version: StrBytes::from_static("1.2.3"),
    };
    let _: ApiVersionsResponse = named.call(3, &request);
    named.create_topic("t", 1, &[]);
    let mut silent = broker.connect();
    let _: ApiVersionsResponse = silent.call(0, &ApiVersionsRequest::default());
    // An answer may be there before it is known that it has left.
    eventually("both wait for nothing", || {
        let page = get(&broker, "/v1/connections").good();
        let items = page["items"].as_array().unwrap();
        items.iter().all(|one| one["requests_in_flight"] == 0)
    });
    let page = get(&broker, "/v1/connections").good();
    assert_eq!(page["total"], 2);
    let [first, second] = page["items"].as_array().unwrap().as_slice() else {
        panic!("{page}");
    };
    assert_eq!(first["software_name"], "a-library");
    assert_eq!(first["software_version"], "1.2.3");
    assert_eq!(first["client_id"], "raw-test");
    assert_eq!(
        (&first["requests"], &first["last_api"]),
        (&json!(2), &json!("CreateTopics"))
    );
    assert_eq!(
        (&first["requests_in_flight"], &first["security"]),
        (&json!(0), &json!("PLAINTEXT"))
    );
    for figure in ["request_bytes", "answer_bytes"] {
        let bytes = first[figure].as_u64().unwrap();
        assert!((40..2_000).contains(&bytes), "{figure}: {bytes}");
    }
    assert!(
        first["idle_ms"].as_u64() <= first["age_ms"].as_u64(),
        "{first}"
    );
    assert_eq!(first["listener"], broker.address);
    assert_eq!(
        first["address"],
        named.socket.local_addr().unwrap().to_string()
    );
    assert_eq!(second["software_name"], Value::Null);
    let one = get(&broker, &format!("/v1/connections/{}", first["id"])).good();
    assert_eq!(one["client_id"], "raw-test");
    drop((named, silent));
    eventually("they are gone", || {
        get(&broker, "/v1/connections").good()["total"] == 0
    });
}

#[test]
fn idempotent_producers_are_told_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 2, &[]);
    for (partition, id) in [(0, 7), (0, 5), (1, 6)] {
        let records = RecordBatchBuilder::new().producer(id, 3, 0);
        let records = records
            .record(1, None, Some(b"a"))
            .record(1, None, Some(b"b"));
        let records = records.build().unwrap().bytes;
        assert_eq!(client.produce("t", partition, -1, records).error_code, 0);
    }
    let mut told = Vec::new();
    let mut path = "/v1/producers?topic=t&limit=1".to_owned();
    loop {
        let page = get(&broker, &path).good();
        let [one] = page["items"].as_array().unwrap().as_slice() else {
            panic!("{page}");
        };
        assert_eq!(
            (&one["producer_epoch"], &one["last_sequence"]),
            (&json!(3), &json!(1))
        );
        told.push((one["partition"].clone(), one["producer_id"].clone()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/producers?topic=t&limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(
        told,
        [
            (json!(0), json!(5)),
            (json!(0), json!(7)),
            (json!(1), json!(6))
        ]
    );
    let page = get(&broker, "/v1/producers?topic=t&partition=1").good();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    get(&broker, "/v1/producers").problem(400);
    get(&broker, "/v1/producers?topic=no").problem(404);
    get(&broker, "/v1/producers?topic=t&cursor=x").problem(400);
}

/// How the broker stands, when its disks were looked at in time.
fn overview(broker: &Broker) -> Value {
    let mut told = Value::Null;
    eventually("the disks were looked at", || {
        told = get(broker, "/v1/overview").good();
        told["alarms"] == json!([])
    });
    told
}

#[test]
fn the_broker_tells_what_it_is_and_how_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["node.id=7"]);
    let info = get(&broker, "/v1/info").good();
    assert_eq!(
        (&info["node_id"], &info["pid"]),
        (&json!(7), &json!(broker.pid()))
    );
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["revision"].is_string() && info["rustc"].is_string());
    let read_ms = info["config_read_ms"].as_i64().unwrap();
    assert!(read_ms >= info["started_ms"].as_i64().unwrap() - 60_000);
    assert_eq!(info["broker_state"], "RUNNING");
    assert_eq!(info["advertised_listeners"], json!([broker.address]));
    assert_eq!(info["admin"], broker.ready["admin"]);
    assert_eq!(info["log_dirs"], json!([dir.path().to_str().unwrap()]));
    assert!(info["open_files"].as_u64() > Some(3));
    let before = overview(&broker);
    assert_eq!(
        (&before["topics"], &before["alarms"]),
        (&json!(0), &json!([]))
    );
    let mut client = broker.connect();
    client.create_topic("t", 3, &[]);
    assert_eq!(client.produce("t", 0, -1, batch(&["a", "b"])).error_code, 0);
    let after = overview(&broker);
    assert_eq!(
        (&after["topics"], &after["partitions"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(
        (&after["records"], &after["connections"]),
        (&json!(2), &json!(1))
    );
    assert!(after["disks"][0]["free_bytes"].as_u64() > Some(0));
}

/// `rpk cluster health` asks for these.
#[test]
fn what_was_made_for_redpanda_is_answered_in_its_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["node.id=7"]);
    broker.connect().create_topic("t", 3, &[]);
    let ready = get(&broker, "/v1/status/ready").good();
    assert_eq!(ready, json!({"status": "ready"}));
    let mut brokers = Value::Null;
    eventually("the disks were looked at", || {
        get(&broker, "/readyz/disk");
        brokers = get(&broker, "/v1/brokers").good();
        brokers[0]["disk_space"] != json!([])
    });
    let one = &brokers.as_array().unwrap()[0];
    assert_eq!(
        (&one["node_id"], &one["is_alive"], &one["membership_status"]),
        (&json!(7), &json!(true), &json!("active"))
    );
    let disk = &one["disk_space"][0];
    assert_eq!(disk["path"], json!(dir.path().to_str().unwrap()));
    assert!(disk["free"].as_u64() <= disk["total"].as_u64() && disk["total"].as_u64() > Some(0));
    let mut health = get(&broker, "/v1/cluster/health_overview").good();
    let fields = health.as_object_mut().unwrap();
    // Whether a disk has little room is this machine's own business.
    let full = fields.remove("high_disk_usage_nodes").unwrap() != json!([]);
    let reasons = fields.remove("unhealthy_reasons").unwrap();
    assert_eq!(reasons != json!([]), full, "{reasons}");
    let expected = json!({
        "is_healthy": !full, "controller_id": 7, "all_nodes": [7],
        "nodes_down": [], "nodes_in_recovery_mode": [], "leaderless_partitions": [],
        "leaderless_count": 0, "under_replicated_partitions": [], "under_replicated_count": 0,
    });
    assert_eq!(health, expected);
}

#[test]
fn families_of_metrics_are_chosen_by_64_beginnings_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let page = |others: usize| {
        let families = format!("{}tidewheel_build", "zz,".repeat(others));
        get(&broker, &format!("/metrics/detailed?family={families}"))
    };
    for others in [0, 63] {
        let page = page(others);
        let named = page.body.lines().filter(|line| !line.starts_with('#'));
        let named: Vec<&str> = named.collect();
        assert_eq!((page.status, named.len()), (200, 1), "{page:?}");
        assert!(named[0].starts_with("tidewheel_build_info{"), "{named:?}");
    }
    page(64).problem(400);
}

#[test]
fn the_document_about_the_paths_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let document = get(&broker, "/openapi.json").good();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    // Every path without parameters answers what it says.
    for (path, methods) in document["paths"].as_object().unwrap() {
        let needs_more = path.contains('{')
            || path.starts_with("/metrics")
            || ["/v1/producers", "/v1/delayed/messages"].contains(&path.as_str())
            || ["/v1/logs/tail", "/v1/stats/stream"].contains(&path.as_str());
        if !needs_more && methods.get("get").is_some() {
            get(&broker, path).good();
        }
    }
}
