//! Delayed records through the HTTP API: looked at, cancelled, moved, held.

use serde_json::{Value, json};
use tidewheel_protocol::RecordBatchBuilder;

use crate::changes::{change, delete};
use crate::delays::{Asked, due_in, produce, read, wait_for};
use crate::support::http::{get, start};
use crate::support::{Broker, Client, eventually, now_ms};

pub(crate) const BOTH: [(&str, &str); 1] = [("delay.mode", "both")];
pub(crate) const HOUR: i64 = 3_600_000;

/// A topic with records that are due after so many hours, which their ids say.
pub(crate) fn delayed(broker: &Broker, hours: &[i64]) -> Client {
    let mut client = broker.connect();
    client.create_topic("t", 1, &BOTH);
    for hour in hours {
        let name = hour.to_string();
        let asked = Asked {
            timestamp: due_in(hour * HOUR),
            ..Asked::with(&[("delay-id", &*name)], &name)
        };
        assert_eq!(produce(&mut client, "t", &[asked]).base_offset, -1);
    }
    client
}

pub(crate) fn list(broker: &Broker, query: &str) -> Value {
    get(broker, &format!("/v1/delayed/messages?topic=t{query}")).good()
}

pub(crate) fn items(page: &Value) -> &[Value] {
    page["items"].as_array().unwrap()
}

/// Their ids as producers gave them.
pub(crate) fn names(page: &Value) -> Vec<&str> {
    let items = items(page).iter();
    items
        .map(|item| item["delay_id"]["data"].as_str().unwrap())
        .collect()
}

fn path(item: &Value) -> String {
    format!("/v1/delayed/messages/{}", item["id"].as_str().unwrap())
}

fn post(broker: &Broker, path: &str) -> Value {
    change(broker, "POST", path, &json!({})).good()
}

#[test]
fn what_is_pending_is_told_by_due_time_and_each_record_with_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = delayed(&broker, &[3, 1, 200, 2]);
    let all = list(&broker, "");
    assert_eq!(names(&all), ["1", "2", "3", "200"]);
    let overview = get(&broker, "/v1/overview").good();
    let (told, whole) = (&overview["delayed"], get(&broker, "/v1/delayed").good());
    for figure in [
        "pending",
        "pending_bytes",
        "next_due_ms",
        "overdue",
        "oldest_overdue_ms",
        "clock_held",
    ] {
        assert_eq!(told[figure], whole[figure], "{figure}");
    }
    // Null while somebody works on the store.
    eventually("four are pending for the partition", || {
        get(&broker, "/v1/topics/t/partitions/0").good()["delayed_pending"] == 4
    });
    assert_eq!(
        (&all["scanned"], &all["next_cursor"]),
        (&json!(4), &json!(null))
    );
    let first = list(&broker, "&limit=2");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = list(&broker, &format!("&cursor={cursor}"));
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["1", "2"], vec!["3", "200"])
    );
    let due = |at: usize| items(&all)[at]["deliver_at_ms"].as_i64().unwrap();
    for (query, expected) in [
        (
            format!("&due_after={}&due_before={}", due(1), due(2)),
            &["2"][..],
        ),
        (format!("&due_after={}", due(1) + 1), &["3", "200"]),
        (format!("&due_before={}", due(0)), &[]),
        ("&due_before=-9223372036854775808".to_owned(), &[]),
        ("&state=pending".to_owned(), &["1", "2", "3", "200"]),
        ("&state=overdue".to_owned(), &[]),
        ("&key=k&limit=3".to_owned(), &["1", "2", "3"]),
        ("&key=other".to_owned(), &[]),
        ("&partition=0&limit=1".to_owned(), &["1"]),
    ] {
        assert_eq!(names(&list(&broker, &query)), expected, "{query}");
    }
    let one = &items(&all)[0];
    for (field, value) in [
        ("topic", json!("t")),
        ("partition", json!(0)),
        ("state", json!("pending")),
        ("overdue_ms", json!(0)),
        ("expires_ms", json!(null)),
        ("records", json!(1)),
    ] {
        assert_eq!(one[field], value, "{field}: {one}");
    }
    assert_eq!(one["key"]["data"], "k");
    let mut told = get(&broker, &path(one)).good();
    let contents = told.as_object_mut().unwrap().remove("contents").unwrap();
    assert_eq!(told, *one);
    assert_eq!(contents[0]["value"]["data"], "1");
    assert_eq!(contents[0]["headers"][0]["key"], "delay-id");
    assert_eq!(contents.as_array().unwrap().len(), 1);
}

#[test]
fn the_summary_says_how_much_is_due_by_when() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let nothing = get(&broker, "/v1/delayed").good();
    assert_eq!(
        (&nothing["pending"], &nothing["per_topic"]),
        (&json!(0), &json!([]))
    );
    let mut client = delayed(&broker, &[1, 2, 200]);
    client.create_topic("plain", 1, &[]);
    produce(&mut client, "t", &[Asked::at(due_in(120_000), "soon")]);
    let within = |told: &Value, seconds: Value| {
        let mut bounds = told["due_histogram"].as_array().unwrap().iter();
        let found = bounds.find(|bound| bound["le_seconds"] == seconds);
        found.unwrap()["count"].as_u64().unwrap()
    };
    // What is due much later is counted once it lies in its file.
    eventually("all is counted", || {
        within(&get(&broker, "/v1/delayed").good(), json!(null)) == 4
    });
    let told = get(&broker, "/v1/delayed").good();
    assert_eq!((&told["pending"], &told["overdue"]), (&json!(4), &json!(0)));
    for (seconds, count) in [
        (0, 0),
        (60, 0),
        (600, 1),
        (21_600, 3),
        (604_800, 3),
        (2_592_000, 4),
    ] {
        assert_eq!(within(&told, json!(seconds)), count, "{seconds}: {told}");
    }
    let next = told["next_due_ms"].as_i64().unwrap();
    assert!((110_000..=120_000).contains(&(next - now_ms())), "{told}");
    let topics = told["per_topic"].as_array().unwrap();
    assert_eq!(topics.len(), 1, "only those with delays: {told}");
    assert_eq!(
        (&topics[0]["topic"], &topics[0]["mode"]),
        (&json!("t"), &json!("both"))
    );
    assert_eq!(
        (&topics[0]["pending"], &topics[0]["paused"]),
        (&json!(4), &json!(false))
    );
    assert_eq!(
        (&told["clock_held"], &told["failures"]),
        (&json!(false), &json!([]))
    );
}

/// Both are in records: a batch that is due as a whole is delivered, and cancelled, in one piece.
#[test]
fn what_was_cancelled_is_told_in_the_unit_of_what_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[1]);
    let due = due_in(50 * HOUR);
    let three = ["a", "b", "c"].map(|value| Asked::at(due, value));
    produce(&mut client, "t", &three);
    let page = list(&broker, "");
    assert_eq!(items(&page)[1]["records"], 3);
    delete(&broker, &path(&items(&page)[1])).good();
    let told = || get(&broker, "/v1/delayed").good();
    eventually("it is counted", || told()["withdrawn"] == 3);
    assert_eq!(told()["pending"], 4);
    let moved = format!("{}:reschedule", path(&items(&page)[0]));
    let moved = change(&broker, "POST", &moved, &json!({"deliver_at_ms": due}));
    moved.good();
    eventually("the one that moved, too", || told()["withdrawn"] == 4);
    assert_eq!(told()["pending"], 5);
}

#[test]
fn a_record_is_cancelled_once_and_a_dry_run_leaves_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[1, 2]);
    let page = list(&broker, "");
    let first = path(&items(&page)[0]);
    delete(&broker, &format!("{first}?dry_run=true")).good();
    assert_eq!(list(&broker, ""), page);
    let gone = delete(&broker, &first).good();
    assert_eq!(gone, json!({"id": items(&page)[0]["id"], "dry_run": false}));
    assert_eq!(names(&list(&broker, "")), ["2"]);
    for query in ["", "?dry_run=true"] {
        let problem = delete(&broker, &format!("{first}{query}")).problem(404);
        assert_eq!(problem["type"], "/problems/unknown-delayed-message");
    }
    get(&broker, &first).problem(404);
    produce(&mut client, "t", &[Asked::at(due_in(200), "due")]);
    wait_for(&mut client, "t", 1);
    // Its partition was given what is due later. Whether it ever was is not known.
    let late = format!("/v1/delayed/messages/t-0-{}-1", now_ms() - HOUR);
    let problem = delete(&broker, &late).problem(409);
    assert_eq!(problem["type"], "/problems/not-pending-any-more");
    let detail = "it is not pending any more: delivered, cancelled, moved or expired";
    assert_eq!(problem["detail"], detail);
}

#[test]
fn a_record_is_delivered_at_another_time_or_now() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[1, 2, 3]);
    let page = list(&broker, "");
    let [one, two, three] = [0, 1, 2].map(|at| path(&items(&page)[at]));
    let to = json!({"deliver_at_ms": due_in(5 * HOUR)});
    let dry = format!("{one}:reschedule?dry_run=true");
    let told = change(&broker, "POST", &dry, &to).good();
    assert_eq!(
        (&told["new_id"], &told["dry_run"]),
        (&json!(null), &json!(true))
    );
    post(&broker, &format!("{two}:deliver-now?dry_run=true"));
    assert_eq!(list(&broker, ""), page);

    let moved = change(&broker, "POST", &format!("{one}:reschedule"), &to).good();
    assert_eq!(moved["deliver_at_ms"], to["deliver_at_ms"]);
    let after = list(&broker, "");
    assert_eq!(names(&after), ["2", "3", "1"]);
    assert_eq!(items(&after)[2]["id"], moved["new_id"]);
    change(&broker, "POST", &format!("{one}:reschedule"), &to).problem(404);
    let moved = post(&broker, &format!("{two}:deliver-now"));
    let seen = wait_for(&mut client, "t", 1);
    assert_eq!(seen[0].value, "2");
    assert!(
        seen[0].timestamp <= now_ms(),
        "retention waits for no time to come: {seen:?}"
    );
    let now = format!("/v1/delayed/messages/{}", moved["new_id"].as_str().unwrap());
    change(&broker, "POST", &format!("{now}:deliver-now"), &json!({})).problem(409);
    delete(&broker, &now).problem(409);
    eventually("it is counted", || {
        get(&broker, "/v1/delayed").good()["delivered_total"] == 1
    });

    for (body, status) in [
        (json!({"deliver_at_ms": due_in(400 * 24 * HOUR)}), 400),
        (json!({"deliver_at_ms": -1}), 400),
        (json!({"deliver_at_ms": "soon"}), 422),
        (json!({}), 422),
        (json!({"deliver_at_ms": 1, "by": "me"}), 422),
    ] {
        for query in ["", "?dry_run=true"] {
            let path = format!("{three}:reschedule{query}");
            change(&broker, "POST", &path, &body).problem(status);
        }
    }
    assert_eq!(names(&list(&broker, "")), ["3", "1"]);
}

#[test]
fn a_record_is_not_moved_to_where_it_would_have_expired() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[]);
    for (name, lives_ms) in [("long", 2 * HOUR), ("short", 50)] {
        let lives_ms = lives_ms.to_string();
        let asked = Asked {
            timestamp: due_in(HOUR),
            ..Asked::with(&[("delay-id", name), ("expire-ms", &*lives_ms)], name)
        };
        assert_eq!(produce(&mut client, "t", &[asked]).base_offset, -1);
    }
    let page = list(&broker, "");
    assert_eq!(names(&page), ["long", "short"]);
    let [long, short] = [0, 1].map(|at| path(&items(&page)[at]));
    eventually("it has expired", || {
        items(&page)[1]["expires_ms"].as_i64() < Some(now_ms())
    });
    let later = json!({"deliver_at_ms": due_in(3 * HOUR)});
    for query in ["?dry_run=true", ""] {
        for (action, body) in [
            (format!("{long}:reschedule"), &later),
            (format!("{short}:reschedule"), &json!({"deliver_at_ms": 1})),
            (format!("{short}:deliver-now"), &json!({})),
        ] {
            let refused = change(&broker, "POST", &format!("{action}{query}"), body).problem(409);
            assert_eq!(refused["type"], "/problems/expires-before", "{action}");
        }
        assert_eq!(list(&broker, ""), page, "nothing was done");
    }
    let before = json!({"deliver_at_ms": due_in(HOUR + 60_000)});
    change(&broker, "POST", &format!("{long}:reschedule"), &before).good();
    assert_eq!(names(&list(&broker, "")), ["short", "long"]);
}

#[test]
fn a_topic_that_is_paused_holds_what_is_due_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[1]);
    let path = "/v1/delayed/topics/t";
    post(&broker, &format!("{path}:pause?dry_run=true"));
    let paused = || get(&broker, "/v1/delayed").good()["per_topic"][0]["paused"].clone();
    assert_eq!(paused(), false);
    let told = post(&broker, &format!("{path}:pause"));
    assert_eq!(
        told,
        json!({"topic": "t", "paused": true, "dry_run": false})
    );
    assert_eq!(paused(), true);
    produce(&mut client, "t", &[Asked::at(due_in(300), "held")]);
    eventually("it is overdue", || {
        get(&broker, "/v1/delayed").good()["overdue"] == 1
    });
    assert_eq!(read(&mut client, "t"), []);
    let overdue = list(&broker, "&state=overdue");
    assert_eq!(items(&overdue).len(), 1, "{overdue}");
    assert!(items(&overdue)[0]["overdue_ms"].as_i64() > Some(0));
    let summary = get(&broker, "/v1/delayed").good();
    assert_eq!(
        summary["oldest_overdue_ms"],
        items(&overdue)[0]["deliver_at_ms"]
    );
    post(&broker, &format!("{path}:resume"));
    assert_eq!(wait_for(&mut client, "t", 1)[0].value, "held");
    assert_eq!(paused(), false);
    post(&broker, "/v1/delayed/clock:accept");
    post(&broker, "/v1/delayed/clock:accept?dry_run=true");
}

#[test]
fn a_page_holds_only_so_much_and_the_next_one_goes_on_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[]);
    let value = "x".repeat(900_000);
    for at in 0..20 {
        let (due, key) = (due_in(HOUR + at), at.to_string());
        let records = RecordBatchBuilder::new();
        let records = records.record(due, Some(key.as_bytes()), Some(value.as_bytes()));
        let records = records.build().unwrap().bytes;
        assert_eq!(client.produce("t", 0, -1, records).error_code, 0);
    }
    let (mut keys, mut pages, mut query) = (Vec::new(), 0, String::new());
    loop {
        let page = list(&broker, &format!("&limit=1000{query}"));
        pages += 1;
        let items = items(&page).iter();
        keys.extend(items.map(|item| item["key"]["data"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert!(pages > 1);
    let expected: Vec<String> = (0..20).map(|at| at.to_string()).collect();
    assert_eq!(keys, expected);
    let detail = get(&broker, &path(&items(&list(&broker, "&limit=1"))[0])).good();
    assert_eq!(detail["contents"][0]["value"]["cut"], true);
    assert!(broker.rss_anon_kib() < 256 * 1024);
}

#[test]
fn what_makes_no_sense_is_refused_as_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = delayed(&broker, &[1]);
    for bad in [
        "",
        "?topic=t&limit=0",
        "?topic=t&limit=1001",
        "?topic=t&cursor=x",
        "?topic=t&cursor=other-0-1-1",
        "?topic=t&state=gone",
        "?topic=t&due_after=soon",
        "?topic=t&color=red",
    ] {
        get(&broker, &format!("/v1/delayed/messages{bad}")).problem(400);
    }
    for missing in [
        "?topic=none",
        "?topic=t&partition=1",
        "/t-1-5-1",
        "/none-0-5-1",
    ] {
        get(&broker, &format!("/v1/delayed/messages{missing}")).problem(404);
    }
    for bad in ["t", "t-0-1", "t-0-x-1", "t-0-1--1"] {
        get(&broker, &format!("/v1/delayed/messages/{bad}")).problem(400);
        delete(&broker, &format!("/v1/delayed/messages/{bad}")).problem(400);
        let path = format!("/v1/delayed/messages/{bad}:deliver-now");
        change(&broker, "POST", &path, &json!({})).problem(400);
    }
    for missing in [
        "/v1/delayed/messages/t-0-1-1",
        "/v1/delayed/messages/t-0-1-1:explode",
        "/v1/delayed/messages/t-0-1-1:deliver-now",
        "/v1/delayed/topics/t",
        "/v1/delayed/topics/t:stop",
        "/v1/delayed/topics/none:pause",
        "/v1/delayed/topics/none:pause?dry_run=true",
    ] {
        change(&broker, "POST", missing, &json!({})).problem(404);
    }
}

#[test]
fn what_a_list_shows_is_cancelled_at_once_where_it_is_as_much_as_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = delayed(&broker, &[1, 2, 3, 200]);
    let due = items(&list(&broker, ""))[2]["deliver_at_ms"].clone();
    let path = |query: &str| format!("/v1/delayed/messages?topic=t{query}");
    let before = format!("&due_before={due}");
    let dry = delete(&broker, &path(&format!("{before}&dry_run=true"))).good();
    let told = json!({"matched": 2, "cancelled": 0, "given_up": null, "next_cursor": null, "dry_run": true});
    assert_eq!(dry, told);
    delete(&broker, &path(&before)).problem(400);
    let refused = delete(&broker, &path(&format!("{before}&confirm_count=3"))).problem(409);
    assert_eq!(refused["type"], "/problems/count-differs");
    delete(&broker, "/v1/delayed/messages?topic=none&confirm_count=0").problem(404);
    delete(&broker, &path("&confirm_count=0&colour=red")).problem(400);
    assert_eq!(names(&list(&broker, "")), ["1", "2", "3", "200"]);

    let done = delete(&broker, &path(&format!("{before}&confirm_count=2"))).good();
    let told = json!({"matched": 2, "cancelled": 2, "given_up": null, "next_cursor": null, "dry_run": false});
    assert_eq!(done, told);
    assert_eq!(names(&list(&broker, "")), ["3", "200"]);
    let none = delete(&broker, &path("&key=other&confirm_count=0")).good();
    assert_eq!(none["cancelled"], 0);
    // It is on the disk when it is answered.
    broker.kill();
    let broker = start(dir.path(), &[]);
    assert_eq!(names(&list(&broker, "")), ["3", "200"]);
    let first = delete(&broker, &path("&limit=1&confirm_count=1")).good();
    assert!(first["next_cursor"].is_string(), "{first}");
    delete(&broker, &path("&confirm_count=1")).good();
    assert_eq!(names(&list(&broker, "")), [""; 0]);
}

/// Where the disk is synced for each of them this takes a minute.
#[test]
fn many_are_cancelled_with_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 3, &BOTH);
    let due = due_in(HOUR);
    let asked: Vec<Asked> = (0..1_100)
        .map(|later| Asked::at(due + later, "x"))
        .collect();
    produce(&mut client, "t", &asked);
    let path = "/v1/delayed/messages?topic=t&limit=1000";
    let done = delete(&broker, &format!("{path}&confirm_count=1000")).good();
    assert_eq!(
        (&done["matched"], &done["cancelled"]),
        (&json!(1_000), &json!(1_000))
    );
    assert!(done["next_cursor"].is_string());
    let rest = delete(&broker, &format!("{path}&confirm_count=100")).good();
    assert_eq!(
        (&rest["cancelled"], &rest["next_cursor"]),
        (&json!(100), &json!(null))
    );
}

#[test]
fn delayed_records_are_told_to_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[1, 2]);
    client.create_topic("empty", 1, &BOTH);
    client.create_topic("plain", 1, &[]);
    let told = |name: &str| -> Option<f64> {
        let page = get(&broker, "/metrics").body;
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    };
    let is = |name: &str, value: f64| {
        let name = format!("tidewheel_delayed_{name}");
        eventually(&name, || told(&name) == Some(value));
    };
    is("pending{topic=\"t\"}", 2.0);
    is("pending{topic=\"empty\"}", 0.0);
    assert_eq!(told("tidewheel_delayed_pending{topic=\"plain\"}"), None);
    is("accepted_total", 2.0);
    assert!(told("tidewheel_delayed_pending_bytes") > Some(100.0));
    let first = items(&list(&broker, ""))[0]["deliver_at_ms"]
        .as_f64()
        .unwrap()
        / 1_000.0;
    let next = told("tidewheel_delayed_next_due_timestamp_seconds").unwrap();
    assert!((first - 86_400.0..=first).contains(&next), "{next} {first}");

    // It is due now, and held.
    post(&broker, "/v1/delayed/topics/t:pause");
    let record = items(&list(&broker, ""))[0].clone();
    post(&broker, &format!("{}:deliver-now", path(&record)));
    is("overdue", 1.0);
    eventually("it is late", || {
        told("tidewheel_delayed_oldest_overdue_seconds") > Some(0.0)
    });
    assert_eq!(
        told("tidewheel_delayed_delivery_lateness_seconds_count"),
        Some(0.0)
    );
    post(&broker, "/v1/delayed/topics/t:resume");
    is("delivered_total", 1.0);
    is("delivery_lateness_seconds_count", 1.0);
    is("overdue", 0.0);
    is("oldest_overdue_seconds", 0.0);
    let dir = dir.path().display();
    is(&format!("dir_offline{{dir=\"{dir}\"}}"), 0.0);
    delete(&broker, &path(&items(&list(&broker, ""))[0])).good();
    is("clock_held", 0.0);
    is("accepted_total", 2.0);
}
