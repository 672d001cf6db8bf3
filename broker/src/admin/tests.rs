//! The API without a socket.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Request, Response, StatusCode};
use futures_util::StreamExt;
use futures_util::future::{join_all, join3};
use serde_json::{Value, json};
use tidewheel_storage::fs::SimFs;
use tower::ServiceExt;

use super::idle::Activity;
use super::routes::router;
use super::state::Admin;
use crate::broker::Broker;
use crate::groups::find_groups;
use crate::lifecycle::Lifecycle;
use crate::testing::{self, gate::Gate};

/// The API of a broker that has read its data.
fn admin(broker: &Arc<Broker>) -> Arc<Admin> {
    let lifecycle = Lifecycle::begin();
    lifecycle.has_read(broker);
    Admin::of(lifecycle)
}

/// The answer to a request that looks at something, or changes it where it has a body.
async fn answer(admin: &Arc<Admin>, path: &str, body: Option<Value>) -> Response<Body> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let request = Request::builder().method(method).uri(path);
    let request = request.header(HOST, "localhost");
    let request = request.header("x-requested-with", "t");
    let request = request.header(CONTENT_TYPE, "application/json");
    let request = request.extension(Activity::new(&Arc::default()));
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request = request.body(body).unwrap();
    router(admin).oneshot(request).await.unwrap()
}

/// The status and what the answer says.
async fn asked(admin: &Arc<Admin>, path: &str) -> (StatusCode, Value) {
    let answer = answer(admin, path, None).await;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_broker_that_reads_its_data_says_so() {
    let admin = Admin::of(Lifecycle::begin());
    for path in ["/readyz", "/healthz"] {
        let (status, ready) = asked(&admin, path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready["status"], "unavailable", "{ready}");
        assert_eq!(ready["broker_state"], "STARTING");
        assert_eq!(ready["broker_state_code"], 1);
        let checks = ready["checks"].as_array().unwrap().iter();
        let names: Vec<&Value> = checks.map(|check| &check["name"]).collect();
        assert_eq!(names, ["broker", "recovery"], "nothing is said of the data");
    }
    assert_eq!(asked(&admin, "/livez").await.0, StatusCode::OK);
    let scraped = text(&admin, "/metrics").await;
    assert!(
        scraped.contains("\ntidewheel_broker_state 1\n"),
        "{scraped}"
    );
    for path in [
        "/readyz/storage",
        "/readyz/disk",
        "/metrics/kafka-exporter",
        "/v1/overview",
        "/v1/stats",
        "/v1/stats/stream",
        "/v1/delayed",
        "/v1/delayed/messages?topic=t",
        "/v1/topics",
        "/v1/topics/t/messages",
        "/v1/topics/t/messages/tail",
        "/v1/groups",
        "/v1/groups/g/lag",
    ] {
        let (status, problem) = asked(&admin, path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(problem["type"], "/problems/starting", "{path}");
    }
}

/// The text of a page, which must be there.
async fn text(admin: &Arc<Admin>, path: &str) -> String {
    let answer = answer(admin, path, None).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// One partition is looked at at a time, and one takes very long.
#[tokio::test]
async fn a_recovery_under_way_is_told_to_probes_and_scrapes() {
    let disk = SimFs::new();
    let dir = Path::new("/data");
    let broker = testing::broker_on(Arc::new(disk.clone()), dir, &[]);
    for topic in ["a", "z"] {
        testing::create_topic(&broker, topic, 1).await;
        drop(testing::written(&broker, topic, b"v"));
    }
    drop(broker);
    let gate = Gate::new(disk, "/data/z-0/00000000000000000000.log");
    gate.shut();
    let admin = Admin::of(Lifecycle::begin());
    let life = Arc::clone(&admin.lifecycle);
    let (fs, progress) = (Arc::new(gate.clone()), Arc::clone(life.recovery()));
    let opening = tokio::task::spawn_blocking(move || {
        let broker = testing::broker_that_tells(fs, dir, progress);
        life.has_read(&broker);
        life.serves();
    });
    gate.visited().await;
    let (done, total) = {
        let recovery = admin.lifecycle.recovery();
        (recovery.done(), recovery.total())
    };
    let early = [
        text(&admin, "/metrics").await,
        text(&admin, "/metrics/detailed").await,
    ];
    let (status, told) = asked(&admin, "/readyz/recovery").await;
    // Before anything is looked at: nobody waits at the gate for a test that has failed.
    gate.open();
    opening.await.unwrap();
    let late = text(&admin, "/metrics").await;
    assert!(done < total, "{done} of {total}");
    let has = |page: &str, line: &str| {
        let found = page.lines().any(|other| other == line);
        assert!(found, "{line}: {page}");
    };
    let start_time = late.lines();
    let mut start_time =
        start_time.filter(|line| line.starts_with("tidewheel_start_time_seconds "));
    let start_time = start_time.next().unwrap();
    for page in early {
        has(&page, "tidewheel_broker_state 2");
        has(&page, &format!("tidewheel_recovery_partitions {total}"));
        let left = total - done;
        has(
            &page,
            &format!("tidewheel_recovery_remaining_partitions {left}"),
        );
        has(&page, start_time);
        assert!(page.contains("\nprocess_resident_memory_bytes "));
    }
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let detail = format!("{done} of {total} partitions are back");
    assert_eq!(told["detail"], detail);
    has(&late, "tidewheel_broker_state 3");
    has(&late, "tidewheel_recovery_remaining_partitions 0");
}

/// Each of them may open a large batch.
#[tokio::test]
async fn what_is_looked_up_by_its_time_or_age_waits_its_turn_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &["offsets.topic.num.partitions=1"]);
    testing::create_topic(&broker, "t", 1).await;
    testing::written(&broker, "t", b"unread");
    find_groups(&broker).await.unwrap();
    testing::commit(&broker, "g", "t", &[0]);
    testing::commit(&broker, "done", "t", &[1]);
    // Offsets are told once they are on disk.
    let round = broker.logs().flush_round(0);
    let topics = broker.topics();
    let flushed = round.advanced.iter();
    let flushed = flushed.filter_map(|log| topics.with_log(*log));
    flushed.for_each(|partition| partition.settle());
    let admin = admin(&broker);
    let to = json!({"to": {"timestamp_ms": 1}});
    let paths = [
        ("/v1/topics/t/messages?offset=@1", None),
        ("/v1/topics/t/messages/tail?offset=@1", None),
        ("/v1/groups/g", None),
        ("/v1/groups/g/lag", None),
        ("/v1/groups/g/offsets:seek?dry_run=true", Some(to)),
    ];
    let turn = admin.look_up_turn().await.unwrap();
    tokio::time::pause();
    for (path, body) in &paths {
        let status = answer(&admin, path, body.clone()).await.status();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    // Nothing has to be looked up.
    for path in [
        "/v1/topics/t/messages",
        "/v1/groups/done/lag",
        "/v1/delayed/messages?topic=t",
    ] {
        assert_eq!(asked(&admin, path).await.0, StatusCode::OK, "{path}");
    }
    let (status, _) = asked(&admin, "/v1/delayed/messages/t-0-5-1").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    tokio::time::resume();
    drop(turn);
    for (path, body) in paths {
        let status = answer(&admin, path, body).await.status();
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn look_ups_of_kafkas_clients_wait_for_one_of_these_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let admin = admin(&broker);
    let row = Arc::new(Mutex::new(Vec::new()));
    let note = |who| {
        let row = Arc::clone(&row);
        move || row.lock().unwrap().push(who)
    };
    let before = broker.try_look_up().unwrap();
    let here = join_all((0..4).map(|_| admin.look_up(note("http"))));
    let kafka = broker.look_up(note("kafka"));
    // They are begun in this order.
    join3(here, kafka, async { drop(before) }).await;
    assert_eq!(row.lock().unwrap()[..2], ["http", "kafka"]);
}

/// Three batches, the second of which has another byte at this place.
async fn damaged(dir: &Path, place: usize) -> Arc<Broker> {
    let broker = testing::broker(dir, &[]);
    testing::create_topic(&broker, "t", 1).await;
    // Each has its entry in the index.
    let value = [b'x'; 5_000];
    let len = testing::written(&broker, "t", &value).len();
    testing::written(&broker, "t", &value);
    testing::written(&broker, "t", &value);
    let log = dir.join("t-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[len + place] ^= 0xff;
    std::fs::write(log, bytes).unwrap();
    broker
}

#[tokio::test]
async fn a_damaged_batch_hides_nothing_before_it_and_behind_it() {
    /// Of the batch: in its last offset, its magic, its records.
    const PLACES: [usize; 3] = [26, 16, 100];
    for place in PLACES {
        let dir = tempfile::tempdir().unwrap();
        let admin = admin(&damaged(dir.path(), place).await);
        for (from, expected) in [(0, &[0, 2][..]), (1, &[2])] {
            let path = format!("/v1/topics/t/messages?offset={from}&limit=10");
            let (status, page) = asked(&admin, &path).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let items = page["items"].as_array().unwrap().iter();
            let offsets: Vec<i64> = items.map(|one| one["offset"].as_i64().unwrap()).collect();
            assert_eq!(offsets, expected, "{place} from {from}");
            assert_eq!(
                (&page["skipped_batches"], &page["next_offset"]),
                (&json!(1), &json!(3))
            );
        }
        // A stream goes on behind it, too.
        let tail = answer(&admin, "/v1/topics/t/messages/tail?offset=1", None).await;
        let mut events = tail.into_body().into_data_stream();
        for begin in ["event: message\nid: 2\n", "event: gap\nid: 2\n"] {
            let event = events.next().await.unwrap().unwrap();
            assert!(event.starts_with(begin.as_bytes()), "{event:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_streamed_of_a_partition_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "t", 1).await;
    testing::written(&broker, "t", b"x");
    // Its directory cannot be synced.
    std::fs::remove_dir_all(dir.path().join("t-0")).unwrap();
    let topics = broker.topics();
    assert!(
        topics.named("t").unwrap().partitions[0]
            .log()
            .flush(1)
            .is_err()
    );
    let (status, problem) = asked(&admin(&broker), "/v1/topics/t/messages/tail?offset=0").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert_eq!(problem["type"], "/problems/no-records");
}
