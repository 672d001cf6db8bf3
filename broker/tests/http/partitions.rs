//! What is done to single partitions: segments begin, and what is on the disk is checked.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use crate::changes::change;
use crate::support::http::{Answer, get, start};
use crate::support::{Broker, batch, eventually};

const PARTITION: &str = "/v1/topics/orders/partitions/1";

fn act(broker: &Broker, action: &str) -> Answer {
    change(broker, "POST", &format!("{PARTITION}:{action}"), &json!({}))
}

/// A topic with so many records in its second partition.
fn fill(broker: &Broker, records: usize) {
    let mut client = broker.connect();
    client.create_topic("orders", 2, &[]);
    for _ in 0..records {
        assert_eq!(client.produce("orders", 1, -1, batch(&["v"])).error_code, 0);
    }
}

fn bases(broker: &Broker) -> Vec<Value> {
    let segments = get(broker, &format!("{PARTITION}/segments")).good();
    let items = segments["items"].as_array().unwrap().iter();
    items
        .map(|segment| segment["base_offset"].clone())
        .collect()
}

#[test]
fn a_partition_says_how_much_producers_send_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    fill(&broker, 5);
    let mut client = broker.connect();
    let told =
        |path: &str, figure: &str| get(&broker, path).good()["in_per_second"][figure].as_f64();
    eventually("it has some records a second", || {
        assert_eq!(client.produce("orders", 1, -1, batch(&["v"])).error_code, 0);
        told(PARTITION, "records") > Some(0.5) && told(PARTITION, "bytes") > Some(30.0)
    });
    assert_eq!(told("/v1/topics/orders/partitions/0", "records"), Some(0.0));
    eventually("there are rates once there is a second sample", || {
        let rates = get(&broker, "/v1/overview").good()["rates"].take();
        assert_eq!(client.produce("orders", 1, -1, batch(&["v"])).error_code, 0);
        rates["records_in_per_second"].as_f64() > Some(0.0)
            && rates["bytes_out_per_second"].as_f64() >= Some(0.0)
    });
}

#[test]
fn a_segment_is_begun_where_the_last_one_holds_something() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    fill(&broker, 3);
    let dry = act(&broker, "roll?dry_run=true").good();
    let told = json!({"topic": "orders", "partition": 1, "rolled": true, "base_offset": 3, "dry_run": true});
    assert_eq!((dry, bases(&broker).len()), (told, 1));
    let rolled = act(&broker, "roll").good();
    assert_eq!(
        (&rolled["rolled"], &rolled["base_offset"]),
        (&json!(true), &json!(3))
    );
    for query in ["?dry_run=true", ""] {
        let again = act(&broker, &format!("roll{query}")).good();
        assert_eq!(
            (&again["rolled"], &again["base_offset"]),
            (&json!(false), &json!(3))
        );
    }
    assert_eq!(bases(&broker), [0, 3]);
    let mut client = broker.connect();
    let answer = client.produce("orders", 1, -1, batch(&["v"]));
    assert_eq!((answer.error_code, answer.base_offset), (0, 3));
    broker.kill();
    let broker = start(dir.path(), &[]);
    assert_eq!(bases(&broker), [0, 3]);
    for (path, status) in [
        ("/v1/topics/orders/partitions/2:roll", 404),
        ("/v1/topics/none/partitions/0:roll", 404),
        ("/v1/topics/orders/partitions/1:roll?dry=1", 400),
        ("/v1/topics/orders/partitions/1:verify?from_offset=x", 400),
        ("/v1/topics/orders/partitions/2:verify", 404),
    ] {
        change(&broker, "POST", path, &json!({})).problem(status);
    }
}

#[test]
fn a_partition_is_checked_and_one_that_is_damaged_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    fill(&broker, 5);
    act(&broker, "roll").good();
    let mut client = broker.connect();
    let mut produce = || client.produce("orders", 1, -1, batch(&["v"])).error_code;
    assert_eq!(produce(), 0);
    let size = get(&broker, PARTITION).good()["size_bytes"].clone();
    let whole = act(&broker, "verify").good();
    let told = json!({"topic": "orders", "partition": 1, "from_offset": 0, "next_offset": null,
        "log_end_offset": 6, "batches": 6, "checked_bytes": size, "size_bytes": size,
        "damage": null, "dry_run": false});
    assert_eq!(whole, told);
    let rest = act(&broker, "verify?from_offset=4").good();
    assert_eq!(
        (&rest["batches"], &rest["from_offset"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(act(&broker, "verify?from_offset=99").good()["batches"], 0);

    let sealed = dir.path().join("orders-1/00000000000000000000.log");
    let file = OpenOptions::new().write(true).open(&sealed).unwrap();
    file.write_all_at(&[0xee, 0xee], 100).unwrap();
    let dry = act(&broker, "verify?dry_run=true").good();
    let damage = dry["damage"].as_str().unwrap();
    assert!(damage.contains("00000000000000000000.log"), "{damage}");
    assert_eq!(
        (&dry["batches"], &dry["next_offset"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(produce(), 0, "it was only a look");
    act(&broker, "verify").good();
    assert_ne!(produce(), 0);
    assert_eq!(get(&broker, "/readyz/partitions").status, 503);
    act(&broker, "roll").problem(503);
}
