//! What a group has committed is shown, set in many partitions at once, and deleted.

use serde_json::{Value, json};

use crate::changes::{change, committed, delete, group};
use crate::support::http::{get, start};

const PATH: &str = "/v1/groups/billing/offsets";

#[test]
fn what_a_group_has_committed_is_shown_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = group(&broker);
    let page = get(&broker, PATH).good();
    assert_eq!(
        (&page["total"], &page["next_cursor"]),
        (&json!(2), &json!(null))
    );
    let mut first = page["items"][0].clone();
    assert!(first["last_commit_ms"].take().as_i64() > Some(1_700_000_000_000));
    let expected = json!({"topic": "orders", "partition": 0, "committed_offset": 4,
        "commit_metadata": "", "last_commit_ms": null});
    assert_eq!(first, expected);
    let page = get(&broker, &format!("{PATH}?limit=1&cursor=1")).good();
    assert_eq!(page["items"][0]["committed_offset"], 6);
    get(&broker, &format!("{PATH}?limit=0")).problem(400);
    get(&broker, "/v1/groups/nobody/offsets").problem(404);
}

fn place(partition: i32, offset: i64) -> Value {
    json!({"topic": "orders", "partition": partition, "offset": offset})
}

#[test]
fn a_group_is_sent_to_an_offset_of_its_own_in_each_partition() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = group(&broker);
    let put =
        |path: &str, offsets: Value| change(&broker, "PUT", path, &json!({"offsets": offsets}));
    let both = json!([place(1, 2), place(0, 99)]);
    let dry = put(&format!("{PATH}?dry_run=true"), both.clone()).good();
    let expected = json!([
        {"topic": "orders", "partition": 0, "before": 4, "after": 10,
         "log_start_offset": 0, "log_end_offset": 10},
        {"topic": "orders", "partition": 1, "before": 6, "after": 2,
         "log_start_offset": 0, "log_end_offset": 10},
    ]);
    assert_eq!(
        (&dry["dry_run"], &dry["partitions"]),
        (&json!(true), &expected)
    );
    assert_eq!(committed(&broker, "billing"), [4, 6]);
    assert_eq!(put(PATH, both).good()["partitions"], expected);
    assert_eq!(committed(&broker, "billing"), [10, 2]);
    put(PATH, json!([place(0, -5)])).good();
    assert_eq!(committed(&broker, "billing"), [0, 2], "the other one stays");
    // A group is made by its first offset.
    put("/v1/groups/fresh/offsets", json!([place(0, 7)])).good();
    assert_eq!(committed(&broker, "fresh"), [7]);
    put(PATH, json!([])).problem(400);
    put(PATH, json!([place(0, 1), place(0, 2)])).problem(400);
    put(PATH, json!(vec![place(0, 1); 10_001])).problem(400);
    put(PATH, json!([place(0, 1), place(2, 1)])).problem(404);
    put(
        PATH,
        json!([{"topic": "none", "partition": 0, "offset": 1}]),
    )
    .problem(404);
    put(PATH, json!([{"topic": "orders", "partition": 0}])).problem(422);
    assert_eq!(
        committed(&broker, "billing"),
        [0, 2],
        "nothing of what is refused"
    );
}

#[test]
fn offsets_of_a_topic_are_deleted_and_the_group_stays() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = group(&broker);
    client.create_topic("other", 1, &[]);
    let other = json!({"offsets": [{"topic": "other", "partition": 0, "offset": 0}]});
    change(&broker, "PUT", PATH, &other).good();
    let one = format!("{PATH}?topic=orders&partition=1");
    let dry = delete(&broker, &format!("{one}&dry_run=true")).good();
    let expected = json!({"group": "billing", "dry_run": true,
        "partitions": [{"topic": "orders", "partition": 1, "before": 6}]});
    assert_eq!(dry, expected);
    assert_eq!(committed(&broker, "billing"), [4, 6, 0]);
    delete(&broker, &one).good();
    assert_eq!(committed(&broker, "billing"), [4, 0]);
    delete(&broker, &one).problem(404);
    delete(&broker, PATH).problem(400);
    delete(&broker, &format!("{PATH}?topic=orders")).good();
    delete(&broker, &format!("{PATH}?topic=orders")).problem(404);
    assert_eq!(committed(&broker, "billing"), [0], "another topic's stays");
    delete(&broker, "/v1/groups/nobody/offsets?topic=orders").problem(404);
}
