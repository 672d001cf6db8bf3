//! Probes, from the first moment to the last, and what a service manager is told.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::http::{Answer, admin, connect, get, raw, send, start};
use crate::support::service_manager::ServiceManager;
use crate::support::{Broker, Client, batch, eventually, fetch_request, tidewheel};

/// What a probe tells of a machine that is not too busy to look in time.
fn seen(broker: &Broker, path: &str) -> Answer {
    let mut answer = get(broker, path);
    eventually("the disks were looked at", || {
        answer = get(broker, path);
        !answer.body.contains("no answer")
    });
    answer
}

fn check(answer: &Value, name: &str) -> Value {
    let checks = answer["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("{answer}")).clone()
}

#[test]
fn a_healthy_broker_is_alive_and_ready() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    assert_eq!(get(&broker, "/livez").good(), json!({"status": "ok"}));
    for path in ["/readyz", "/healthz", "/readyz?verbose"] {
        let ready = seen(&broker, path).good();
        assert_eq!(ready["status"], "ok", "{ready}");
        assert_eq!(ready["broker_state"], "RUNNING");
        assert_eq!(ready["broker_state_code"], 3);
    }
    for name in [
        "broker",
        "recovery",
        "metadata",
        "storage",
        "partitions",
        "disk",
    ] {
        let told = seen(&broker, &format!("/readyz/{name}")).good();
        assert_eq!(told, json!({"name": name, "status": "ok", "detail": null}));
    }
    get(&broker, "/readyz/nonsense").problem(404);
}

/// What was durable is cut off, as if the stop had not been clean.
fn damage(data_dir: &Path) {
    std::fs::remove_file(data_dir.join(".kafka_cleanshutdown")).unwrap();
    let path = data_dir.join("t-0/00000000000000000000.log");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
}

#[test]
fn a_damaged_partition_degrades_the_broker_but_does_not_take_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    for _ in 0..2 {
        assert_eq!(client.produce("t", 0, -1, batch(&["v"])).error_code, 0);
    }
    assert!(broker.stop());
    damage(dir.path());
    let broker = start(dir.path(), &[]);
    assert_eq!(seen(&broker, "/readyz/partitions").status, 503);
    let ready = seen(&broker, "/readyz").good();
    assert_eq!(ready["status"], "degraded");
    let told = check(&ready, "partitions");
    assert!(
        told["detail"].as_str().unwrap().starts_with("t-0: "),
        "{told}"
    );
    let topic = get(&broker, "/v1/topics/t").good();
    assert_eq!(topic["damaged_partitions"], 1);
    let partition = get(&broker, "/v1/topics/t/partitions/0").good();
    assert_eq!(partition["damaged"], true);
    let overview = seen(&broker, "/v1/overview").good();
    assert_eq!(overview["alarms"][0]["check"], "partitions");
}

#[test]
fn strangers_hear_what_is_wrong_but_no_names() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let broker = start(&data, &[]);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    for _ in 0..2 {
        assert_eq!(client.produce("t", 0, -1, batch(&["v"])).error_code, 0);
    }
    assert!(broker.stop());
    damage(&data);
    let tokens = dir.path().join("tokens");
    let lines = "prom probe a-probe-token-0123456789\nvic viewer a-viewer-token-0123456789\n";
    std::fs::write(&tokens, lines).unwrap();
    let setting = format!("tidewheel.admin.tokens.file={}", tokens.display());
    let broker = start(&data, &[&setting]);
    let told = |path: &str, token: &str| {
        let header = format!("Bearer {token}");
        let headers = [("authorization", header.as_str())];
        send(&broker, "GET", path, &headers, "").json()
    };
    for token in ["nobodys-token-0123456789", "a-probe-token-0123456789"] {
        let partitions = check(&told("/readyz", token), "partitions");
        assert_eq!(partitions["status"], "degraded");
        assert_eq!(partitions["detail"], Value::Null);
        assert_eq!(told("/readyz/partitions", token)["detail"], Value::Null);
    }
    eventually("a viewer hears which partition it is", || {
        let told = told("/readyz/partitions", "a-viewer-token-0123456789");
        let detail = told["detail"].as_str();
        detail.is_some_and(|detail| detail.starts_with("t-0: "))
    });
}

#[test]
fn little_room_on_the_disk_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // The watermarks are shares of the disk at most, so only some disks are short of room.
    let broker = start(
        dir.path(),
        &[&format!("tidewheel.log.dir.low.bytes={}", i64::MAX)],
    );
    let disk = &seen(&broker, "/v1/overview").good()["disks"][0];
    let (free, low) = (disk["free_bytes"].as_u64(), disk["low_bytes"].as_u64());
    let expected = if free < low { 503 } else { 200 };
    assert_eq!(seen(&broker, "/readyz/disk").status, expected, "{disk}");
    assert_eq!(get(&broker, "/readyz").status, 200);
}

/// A client with an answer under way that it does not read.
fn stalled(broker: &Broker) -> Client {
    let mut client = broker.connect();
    client.create_topic("full", 1, &[]);
    let value = "x".repeat(900_000);
    for _ in 0..20 {
        assert_eq!(client.produce("full", 0, 1, batch(&[&value])).error_code, 0);
    }
    let mut request = fetch_request("full", 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    for _ in 0..60 {
        client.send(11, &request);
    }
    client
}

#[test]
fn a_broker_that_stops_is_alive_but_not_ready_and_says_so_until_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let stalled = stalled(&broker);
    let address = admin(&broker);
    broker.terminate();
    let probe = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        raw(&address, request.as_bytes()).unwrap()
    };
    eventually("it is not ready any more", || {
        probe("/readyz").status == 503
    });
    let told = probe("/readyz").json();
    assert_eq!(told["broker_state"], "SHUTTING_DOWN");
    assert_eq!(check(&told, "broker")["status"], "unavailable");
    assert_eq!(probe("/livez").status, 200);
    // An idle connection does not hold the end up.
    let idle = connect(&address);
    drop(stalled);
    assert_eq!(broker.wait(), Some(0));
    drop(idle);
}

#[test]
fn a_service_manager_hears_when_it_is_ready_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let manager = ServiceManager::listen(dir.path());
    let mut command = tidewheel(&["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    manager.watch(&mut command);
    let broker = Broker::spawn(&mut command, &dir.path().join("data"));
    assert!(manager.heard().contains("READY=1"));
    broker.terminate();
    assert!(manager.heard().contains("STOPPING=1"));
    assert_eq!(broker.wait(), Some(0));
}

#[test]
fn a_service_manager_that_watches_hears_that_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let manager = ServiceManager::listen(dir.path());
    let mut command = tidewheel(&["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    manager.watch(&mut command);
    command.env("WATCHDOG_USEC", "100000");
    let broker = Broker::spawn(&mut command, &dir.path().join("data"));
    manager.hears("READY=1");
    for _ in 0..5 {
        assert!(manager.heard().contains("WATCHDOG=1"));
    }
    broker.terminate();
    manager.hears("STOPPING=1");
    assert_eq!(broker.wait(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let listen = format!("tidewheel.admin.listen={}", taken.local_addr().unwrap());
    let data_dir = dir.path().join("data");
    let output = crate::support::run(&[
        "serve",
        "--set",
        "listeners=PLAINTEXT://127.0.0.1:0",
        "--set",
        &listen,
        "--data-dir",
        data_dir.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("tidewheel.admin.listen=127.0.0.1:PORT, or off"),
        "{said}"
    );
    assert!(!data_dir.exists(), "the data is not touched");
}

/// Partitions that were not stopped cleanly are brought back while probes are answered.
#[test]
fn a_start_after_a_crash_tells_how_far_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 50, &[]);
    for partition in 0..50 {
        assert_eq!(
            client.produce("t", partition, -1, batch(&["v"])).error_code,
            0
        );
    }
    broker.kill();
    let broker = start(dir.path(), &[]);
    let told = get(&broker, "/readyz/recovery").good();
    assert_eq!(told["detail"], "50 of 50 partitions are back");
    assert!(broker.stop());
    let broker = start(dir.path(), &[]);
    let told = get(&broker, "/readyz/recovery").good();
    assert_eq!(told["detail"], Value::Null);
}
