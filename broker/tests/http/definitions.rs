//! All topics as one document, brought back on another broker.

use serde_json::{Value, json};

use crate::changes::change;
use crate::streams::Events;
use crate::support::http::{Answer, get, start};
use crate::support::{Broker, eventually};

const PATH: &str = "/v1/definitions";

fn import(broker: &Broker, query: &str, document: &Value) -> Answer {
    change(broker, "POST", &format!("{PATH}{query}"), document)
}

fn done(answer: &Value) -> Vec<(&str, &str)> {
    let topics = answer["topics"].as_array().unwrap().iter();
    topics
        .map(|one| {
            (
                one["name"].as_str().unwrap(),
                one["change"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn topics_of_one_broker_are_made_on_another() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [one, other] = dirs.each_ref().map(|dir| start(dir.path(), &[]));
    let mut client = one.connect();
    client.create_topic(
        "orders",
        3,
        &[("retention.ms", "1000"), ("delay.mode", "both")],
    );
    client.create_topic("plain", 1, &[]);
    let told = get(&one, PATH).good();
    let expected = json!([
        {"name": "orders", "partitions": 3, "configs": {"delay.mode": "both", "retention.ms": "1000"}},
        {"name": "plain", "partitions": 1, "configs": {}},
    ]);
    assert_eq!(told["topics"], expected);

    let dry = import(&other, "?dry_run=true", &told).good();
    assert_eq!(done(&dry), [("orders", "created"), ("plain", "created")]);
    assert_eq!(
        get(&other, PATH).good()["topics"],
        json!([]),
        "nothing is done"
    );
    import(&other, "", &told).good();
    assert_eq!(get(&other, PATH).good(), told);
    let again = import(&other, "", &told).good();
    assert_eq!(
        done(&again),
        [("orders", "unchanged"), ("plain", "unchanged")]
    );

    // What it lacks is added, what is not named stays.
    let more = json!({"topics": [
        {"name": "orders", "partitions": 5, "configs": {"retention.ms": "2000"}},
        {"name": "new", "partitions": 2},
    ]});
    assert_eq!(
        done(&import(&other, "", &more).good()),
        [("orders", "changed"), ("new", "created")]
    );
    let told = get(&other, PATH).good();
    let expected = json!({"name": "orders", "partitions": 5,
        "configs": {"delay.mode": "both", "retention.ms": "2000"}});
    assert!(
        told["topics"].as_array().unwrap().contains(&expected),
        "{told}"
    );
    assert_eq!(told["topics"].as_array().unwrap().len(), 3);
}

#[test]
fn where_one_topic_cannot_be_brought_back_none_is() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    broker.connect().create_topic("there", 3, &[]);
    let before = get(&broker, PATH).good();
    let new = json!({"name": "new", "partitions": 1});
    for (wrong, status, place) in [
        (json!({"name": "there", "partitions": 2}), 400, "/topics/1"),
        (
            json!({"name": "there", "partitions": 3, "configs": {"retention.ms": "soon"}}),
            400,
            "/topics/1/configs/retention.ms",
        ),
        (
            json!({"name": "wrong", "partitions": 1, "configs": {"no.such": "1"}}),
            400,
            "/topics/1",
        ),
        (json!({"name": "a/b", "partitions": 1}), 400, "/topics/1"),
        (json!({"name": "none", "partitions": 0}), 400, "/topics/1"),
        (new.clone(), 400, "/topics/1/name"),
    ] {
        let document = json!({"topics": [new, wrong]});
        for query in ["", "?dry_run=true"] {
            let problem = import(&broker, query, &document).problem(status);
            let mut places = problem["errors"].as_array().unwrap().iter();
            assert!(
                places.any(|one| one["pointer"] == place),
                "{place}: {problem}"
            );
        }
    }
    let many: Vec<Value> = (0..1_001)
        .map(|at| json!({"name": format!("t{at}"), "partitions": 1}))
        .collect();
    import(&broker, "", &json!({"topics": many})).problem(400);
    import(&broker, "", &json!({"topics": [], "users": []})).problem(422);
    assert_eq!(get(&broker, PATH).good(), before);
}

/// What is made and what grows are each within the bound, and together beyond it.
#[test]
fn all_that_a_document_adds_has_to_have_room() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["tidewheel.max.partitions=10"]);
    broker.connect().create_topic("there", 2, &[]);
    let before = get(&broker, PATH).good();
    let document = |new: i32, there: i32| {
        json!({"topics": [
            {"name": "new", "partitions": new}, {"name": "there", "partitions": there},
        ]})
    };
    for query in ["?dry_run=true", ""] {
        let problem = import(&broker, query, &document(5, 6)).problem(409);
        assert_eq!(
            problem["detail"],
            "9 partitions beside 2 would be more than 10, which tidewheel.max.partitions allows"
        );
        assert_eq!(problem["errors"][0]["pointer"], "/topics");
        let problem = import(&broker, query, &document(6_000, 6_000)).problem(400);
        assert_eq!(
            problem["errors"],
            json!([{"pointer": "/topics", "detail": "at most 10000 new partitions at once"}])
        );
    }
    assert_eq!(get(&broker, PATH).good(), before);
    import(&broker, "", &document(4, 6)).good();
}

/// Not the document: most of it may be as it was, and what is refused may be a secret.
#[test]
fn it_is_written_down_what_a_document_changes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("same", 1, &[]);
    client.create_topic("orders", 3, &[]);
    let mut lines = Events::of(&broker, "/v1/logs/tail");
    let mut audited = |status: &str| {
        let mut text = String::new();
        eventually("it is written down", || {
            let line = lines.next();
            text = line["message"].as_str().unwrap_or_default().to_owned();
            line["target"] == "tidewheel::audit" && text.contains(status)
        });
        text
    };
    let document = |settings: Value| {
        json!({"topics": [
            {"name": "same", "partitions": 1},
            {"name": "new", "partitions": 1},
            {"name": "orders", "partitions": 4, "configs": settings},
        ]})
    };
    let wrong = document(json!({"no.such": "hush"}));
    import(&broker, "", &wrong).problem(400);
    let told = audited("status=400");
    let asked = r#"asked="set orders; grow orders to 4; create new""#;
    assert!(told.contains(asked), "{told}");
    import(&broker, "", &document(json!({"retention.ms": "7000"}))).good();
    let told = audited("status=200");
    let asked =
        r#"asked="set orders: retention.ms: unset -> \"7000\"; grow orders to 4; create new""#;
    assert!(told.contains(asked), "{told}");
}
