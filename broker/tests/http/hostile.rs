//! Those who mean harm, and web pages that somebody has open.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;

use crate::support::groups::{codes, commit_request, find};
use crate::support::http::{Answer, admin, connect, get, raw, send, start};
use crate::support::{Broker, batch, eventually};

const WITH_HTTP: [&str; 1] = ["tidewheel.admin.listen=127.0.0.1:0"];

fn broker() -> (Broker, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (start(dir.path(), &[]), dir)
}

fn with(broker: &Broker, headers: &[(&str, &str)]) -> Answer {
    send(broker, "GET", "/v1/info", headers, "")
}

#[test]
fn a_broker_answers_to_its_own_names_only() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(
        dir.path(),
        &["tidewheel.admin.allowed.hosts=broker.example,Other"],
    );
    for host in [
        "localhost",
        "LOCALHOST:9644",
        "127.0.0.1",
        "[::1]:1",
        "10.0.0.1:9644",
        "broker.example:443",
        "other",
    ] {
        assert_eq!(with(&broker, &[("Host", host)]).status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "broker.example.evil.example",
    ] {
        with(&broker, &[("Host", host)]).problem(421);
    }
    for host in ["", "a b", "user@localhost", "localhost/x", "::1"] {
        with(&broker, &[("Host", host)]).problem(400);
    }
    with(&broker, &[("Host", "localhost"), ("Host", "localhost")]).problem(400);
    let address = admin(&broker);
    let none = b"GET /v1/info HTTP/1.1\r\nconnection: close\r\n\r\n";
    raw(&address, none).unwrap().problem(400);
    let proxy =
        b"GET http://evil.example/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    raw(&address, proxy).unwrap().problem(400);
}

#[test]
fn pages_of_another_origin_are_refused_and_changes_need_a_header() {
    let (broker, _dir) = broker();
    let own = format!("http://{}", admin(&broker));
    assert_eq!(with(&broker, &[("Origin", &own)]).status, 200);
    for origin in [
        "null",
        "http://evil.example",
        "https://127.0.0.1",
        "file://",
    ] {
        with(&broker, &[("Origin", origin)]).problem(403);
    }
    with(
        &broker,
        &[("Origin", &own), ("Origin", "http://evil.example")],
    )
    .problem(403);
    for site in ["cross-site", "same-site"] {
        with(&broker, &[("Sec-Fetch-Site", site)]).problem(403);
    }
    assert_eq!(
        with(&broker, &[("Sec-Fetch-Site", "same-origin")]).status,
        200
    );
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let problem = send(&broker, method, "/v1/info", &[], "").problem(403);
        assert_eq!(problem["type"], "/problems/missing-header");
        // Where nobody needs a token, one says nothing.
        let token = [("authorization", "Bearer x")];
        send(&broker, method, "/v1/info", &token, "").problem(403);
        let refused = send(
            &broker,
            method,
            "/v1/info",
            &[("X-Requested-With", "t")],
            "",
        );
        refused.problem(405);
        assert!(
            refused.header("allow").unwrap().contains("GET"),
            "{refused:?}"
        );
    }
    let answer = with(&broker, &[]);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'self'"), "{policy}");
}

#[test]
fn paths_are_taken_as_they_are() {
    let (broker, dir) = broker();
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    for path in [
        "/v1/../livez",
        "/v1/topics/../info",
        "//livez",
        "/livez/",
        "/v1//topics",
        "/LIVEZ",
        "/..%2f..%2fetc/passwd",
        "/v1/topics/..",
        "/v1/topics/%2e%2e",
        "/v1/topics/%2e%2e%2fsecret",
        "/v1/topics/a%2fb",
        "/v1/topics/a%00b",
        "/v1/topics/%0d%0aSet-Cookie:x",
        "/v1/topics/..%5c..%5csecret",
    ] {
        let refused = get(&broker, path);
        refused.problem(404);
        assert_eq!(refused.header("set-cookie"), None);
    }
    get(&broker, "/v1/topics/%ff").problem(400);
    assert_eq!(get(&broker, "/livez?x=../..#y").status, 200);
}

#[test]
fn what_is_too_large_or_no_http_is_refused() {
    let (broker, _dir) = broker();
    let address = admin(&broker);
    let headers = [("X-Requested-With", "t"), ("content-length", "99999999999")];
    send(&broker, "POST", "/v1/info", &headers, "").problem(413);
    let many: String = (0..100).map(|at| format!("x-{at}: y\r\n")).collect();
    let long = "x".repeat(100_000);
    for (request, statuses) in [
        (
            format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
            [431, 431],
        ),
        (
            format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
            [431, 431],
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            [414, 431],
        ),
    ] {
        let refused = raw(&address, request.as_bytes()).expect("an answer");
        assert!(statuses.contains(&refused.status), "{refused:?}");
    }
    for request in [
        "GET /livez HTTP/9.9\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
            .to_owned(),
        "POST /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "\0\0\0\u{12}\0\u{12}\0\u{3}\0\0\0\u{1}\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\0\u{a5}\u{1}\0\0\u{a1}\u{3}\u{3}\r\n\r\n".to_owned(),
    ] {
        let refused = raw(&address, request.as_bytes());
        let status = refused.map_or(400, |refused| refused.status);
        assert!((400..500).contains(&status), "{status}: {request:.80}");
    }
    assert_eq!(get(&broker, "/livez").status, 200);
}

/// Whether the broker closes the connection, within the patience of tests.
fn is_closed(mut socket: TcpStream) -> bool {
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).is_ok()
}

#[test]
fn a_request_that_does_not_get_on_is_given_up() {
    let (broker, _dir) = broker();
    let address = admin(&broker);
    let mut slow = connect(&address);
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: loc").unwrap();
    let silent = connect(&address);
    let mut used = connect(&address);
    used.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    for socket in [slow, silent, used] {
        assert!(is_closed(socket));
    }
    assert_eq!(get(&broker, "/livez").status, 200);
}

#[test]
fn a_body_that_comes_byte_by_byte_is_given_up() {
    let (broker, _dir) = broker();
    let mut slow = connect(&admin(&broker));
    let head = "POST /v1/topics HTTP/1.1\r\nhost: localhost\r\nx-requested-with: t\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"name\": \"";
    slow.write_all(head.as_bytes()).unwrap();
    let pause = Duration::from_millis(500);
    slow.set_read_timeout(Some(pause)).unwrap();
    let mut answer = [0; 12];
    let given_up = (0..100).any(|_| match slow.read(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => slow.write_all(b"x").is_err(),
        // It is answered, or cut.
        _ => true,
    });
    assert!(given_up, "after 50 seconds");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        ["HTTP/1.1 504", &"\0".repeat(12)].contains(&&*answer),
        "{answer}"
    );
    assert_eq!(get(&broker, "/v1/topics").good()["total"], 0);
}

#[test]
fn hundreds_of_idle_connections_do_not_keep_probes_out() {
    let (broker, _dir) = broker();
    let address = admin(&broker);
    let before = broker.open_files();
    // Several times as many as are taken, and fewer than the 1,024 files that a process may often open.
    let idle: Vec<TcpStream> = (0..600)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    for _ in 0..20 {
        assert_eq!(get(&broker, "/livez").status, 200);
        assert_eq!(get(&broker, "/readyz").status, 200);
    }
    assert!(
        broker.open_files() < before + 200,
        "{}",
        broker.open_files()
    );
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    drop(idle);
    eventually("their descriptors are back", || {
        broker.open_files() <= before + 10
    });
}

#[test]
fn a_reader_of_nothing_holds_little() {
    let (broker, _dir) = broker();
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let value = "x".repeat(250_000);
    for _ in 0..4 {
        assert_eq!(client.produce("t", 0, 1, batch(&[&value])).error_code, 0);
    }
    let address = admin(&broker);
    let path = "/v1/topics/t/messages?offset=0&max_value_bytes=262144";
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(100);
    let unread: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut socket = connect(&address);
            socket.write_all(request.as_bytes()).unwrap();
            socket
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(get(&broker, "/livez").status, 200);
    }
    // An answer of 1 MB for each connection, not one for each request.
    let used = broker.rss_anon_kib();
    assert!(used < 400 * 1024, "{used}");
    drop(unread);
}

/// Pages of 8 MB, as names make them: some of them are held at once, and what is no scrape has places of its own.
#[test]
fn scrapers_that_read_nothing_hold_little() {
    let (broker, _dir) = broker();
    let mut client = broker.connect();
    let topic = "t".repeat(249);
    client.create_topic(&topic, 100, &[]);
    find(&mut client, &["g"]);
    let offsets: Vec<(i32, i64, &str)> = (0..100).map(|partition| (partition, 0, "")).collect();
    for group in 0..60 {
        let request = commit_request(&format!("{group:0>1024}"), &topic, &offsets);
        eventually("the group's coordinator serves", || {
            let answer: OffsetCommitResponse = client.call(8, &request);
            codes(&answer).iter().all(|code| *code == 0)
        });
    }
    let page = get(&broker, "/metrics/detailed");
    assert_eq!(page.status, 200);
    assert!(page.body.len() > 7_500_000, "{}", page.body.len());
    let scrape = "GET /metrics/detailed HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let unread: Vec<_> = (0..32).map(|_| first_status(&broker, scrape)).collect();
    let made = unread.iter().filter(|(_, status)| status == "200").count();
    assert!(made > 0, "{unread:?}");
    let used = broker.rss_anon_kib();
    assert!(used < 192 * 1024, "{used} KiB for {made} pages");
    for path in ["/livez", "/readyz", "/v1/info", "/v1/topics"] {
        assert_eq!(get(&broker, path).status, 200, "{path}");
    }
    drop(unread);
    eventually("there is room for pages again", || {
        get(&broker, "/metrics/detailed").status == 200
    });
}

/// Sends something and returns the status of what comes back first.
fn first_status(broker: &Broker, request: &str) -> (TcpStream, String) {
    let mut socket = connect(&admin(broker));
    socket.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).unwrap();
    (socket, String::from_utf8_lossy(&status[9..]).into_owned())
}

/// 16 connections: all streams and all requests that may be there leave some for probes.
#[test]
fn streams_and_slow_requests_do_not_keep_probes_out() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_limited(256, dir.path(), &WITH_HTTP);
    broker.connect().create_topic("t", 1, &[]);
    let head = "host: localhost\r\nx-requested-with: t\r\ncontent-type: application/json\r\n";
    let tail = format!("GET /v1/topics/t/messages/tail HTTP/1.1\r\n{head}\r\n");
    let stats = format!("GET /v1/stats/stream HTTP/1.1\r\n{head}\r\n");
    let slow = format!(
        "POST /v1/topics HTTP/1.1\r\n{head}expect: 100-continue\r\ncontent-length: 9\r\n\r\n"
    );
    let mut held = Vec::new();
    for (request, good, places) in [(&tail, "200", 3), (&stats, "200", 1), (&slow, "100", 8)] {
        for _ in 0..places {
            let (socket, status) = first_status(&broker, request);
            assert_eq!(status, good);
            held.push(socket);
        }
        assert_eq!(first_status(&broker, request).1, "503");
    }
    for _ in 0..20 {
        assert_eq!(get(&broker, "/livez").status, 200);
        assert_eq!(get(&broker, "/readyz").status, 200);
    }
    get(&broker, "/v1/info").problem(503);
    drop(held);
    eventually("there are places again", || {
        get(&broker, "/v1/info").status == 200
    });
}

/// A process whose descriptors run out: Kafka's clients and probes are served again when they come back.
#[test]
fn a_broker_out_of_descriptors_answers_probes_again_when_they_are_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_limited(64, dir.path(), &WITH_HTTP);
    let address = admin(&broker);
    let clients: Vec<_> = (0..30).map(|_| broker.connect()).collect();
    let idle: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    drop((clients, idle));
    assert_eq!(get(&broker, "/livez").status, 200);
    broker.connect().create_topic("t", 1, &[]);
    assert!(broker.stop());
}
