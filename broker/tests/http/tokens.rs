//! Tokens and roles, and what is written down about whoever changes something.

use std::path::Path;

use crate::streams::Events;
use crate::support::http::{Answer, get, send, start};
use crate::support::{Broker, eventually, run};

const ADMIN: &str = "an-admin-token-0123456789";
const VIEWER: &str = "a-viewer-token-0123456789";
const PROBE: &str = "a-probe-token-0123456789x";
const OPERATOR: &str = "an-operator-token-01234567";

fn tokens(path: &Path) {
    let text = format!(
        "# who may\nada admin {ADMIN}\nvic viewer {VIEWER}\nprom probe {PROBE}\nopal operator {OPERATOR}\n"
    );
    std::fs::write(path, text).unwrap();
}

fn as_whom(broker: &Broker, path: &str, authorization: &str) -> Answer {
    send(broker, "GET", path, &[("authorization", authorization)], "")
}

#[test]
fn whoever_has_no_token_may_only_probe() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    tokens(&file);
    let setting = format!("tidewheel.admin.tokens.file={}", file.display());
    let broker = start(&dir.path().join("data"), &[&setting]);
    for path in [
        "/livez",
        "/readyz",
        "/readyz/disk",
        "/healthz",
        "/v1/status/ready",
    ] {
        assert_eq!(get(&broker, path).status, 200, "{path}");
    }
    // Who guesses there is answered, and counted.
    for path in ["/readyz", "/readyz/disk"] {
        let guessed = as_whom(&broker, path, "Bearer nonsense-nonsense-nonsense");
        assert_eq!(guessed.status, 200, "{path}");
    }
    for path in ["/v1/topics", "/v1/info", "/v1/topics/t", "/v1/config"] {
        let refused = get(&broker, path);
        refused.problem(401);
        let realm = refused.header("www-authenticate").unwrap();
        assert!(realm.starts_with("Bearer"), "{realm}");
        for wrong in [
            "Bearer nonsense-nonsense-nonsense",
            "Bearer ",
            "Bearer",
            "Basic YWRhOmFkYQ==",
            &format!("Bearer {}", &ADMIN[1..]),
            &format!("Bearer {ADMIN}x"),
            &format!("Bearer {}", ADMIN.to_uppercase()),
        ] {
            as_whom(&broker, path, wrong).problem(401);
        }
        as_whom(&broker, path, &format!("Bearer {PROBE}")).problem(403);
    }
    for token in [ADMIN, VIEWER] {
        as_whom(&broker, "/v1/topics", &format!("Bearer {token}")).good();
        as_whom(&broker, "/v1/topics", &format!("bearer  {token}")).good();
    }
    // Who sent none is not counted, nor who may not do what is asked for.
    let page = get(&broker, "/metrics").body;
    let failed = "tidewheel_auth_failures_total{mechanism=\"bearer\"} 30\n";
    assert!(page.contains(failed), "{page}");
    assert!(
        get(&broker, "/metrics")
            .body
            .contains("tidewheel_broker_state 3")
    );
    // Nobody learns from a refusal whether something is there.
    get(&broker, "/v1/topics/t").problem(401);
}

#[test]
fn metrics_may_need_a_token_and_come_in_the_form_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    tokens(&file);
    let setting = format!("tidewheel.admin.tokens.file={}", file.display());
    let settings = [&*setting, "tidewheel.admin.metrics.open=false"];
    let broker = start(&dir.path().join("data"), &settings);
    for path in ["/metrics", "/metrics/detailed", "/metrics/kafka-exporter"] {
        get(&broker, path).problem(401);
        let header = format!("Bearer {PROBE}");
        let scraped = as_whom(&broker, path, &header);
        let content_type = scraped.header("content-type").unwrap();
        assert!(content_type.starts_with("text/plain"), "{content_type}");
        let accept = ("accept", "application/openmetrics-text;version=1.0.0");
        let scraped = send(
            &broker,
            "GET",
            path,
            &[("authorization", &header), accept],
            "",
        );
        let content_type = scraped.header("content-type").unwrap();
        assert!(content_type.starts_with("application/openmetrics-text"));
        assert!(scraped.body.ends_with("# EOF\n"));
    }
}

#[test]
fn tokens_change_while_the_broker_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    tokens(&file);
    let setting = format!("tidewheel.admin.tokens.file={}", file.display());
    let broker = start(&dir.path().join("data"), &[&setting]);
    let header = format!("Bearer {VIEWER}");
    as_whom(&broker, "/v1/info", &header).good();
    broker.connect().create_topic("t", 1, &[]);
    let operator = format!("authorization: Bearer {OPERATOR}");
    let streams = ["/v1/logs/tail", "/v1/topics/t/messages/tail"];
    let streams = streams.map(|path| Events::with(&broker, path, &operator));
    let mut streams = Vec::from(streams);
    let viewer = format!("authorization: {header}");
    let figures = Events::with(&broker, "/v1/stats/stream", &viewer);
    // Renamed, so that the broker never sees half of it.
    let new = dir.path().join("new");
    std::fs::write(&new, format!("ada admin {ADMIN}\n")).unwrap();
    std::fs::rename(&new, &file).unwrap();
    eventually("the old token is refused", || {
        as_whom(&broker, "/v1/info", &header).status == 401
    });
    streams.push(figures);
    for stream in &mut streams {
        assert_eq!(stream.end(), "the token is not valid any more");
    }
    std::fs::remove_file(&file).unwrap();
    as_whom(&broker, "/v1/info", &format!("Bearer {ADMIN}")).good();
}

#[test]
fn a_broken_file_of_tokens_stops_the_start_and_shows_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, format!("ada {ADMIN}\n")).unwrap();
    let setting = format!("tidewheel.admin.tokens.file={}", file.display());
    let output = run(&[
        "serve",
        "--set",
        "listeners=PLAINTEXT://127.0.0.1:0",
        "--set",
        "tidewheel.admin.listen=127.0.0.1:0",
        "--set",
        &setting,
        "--data-dir",
        dir.path().join("data").to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("line 1") && !said.contains(ADMIN), "{said}");
}

/// The weakest role that may do what is more than to look.
const OPERATIONS: &[(&str, &str, &str)] = &[
    ("get", "/v1/topics/{topic}/messages", OPERATOR),
    ("get", "/v1/topics/{topic}/messages/tail", OPERATOR),
    ("get", "/v1/logs/tail", OPERATOR),
    ("get", "/v1/delayed/messages", OPERATOR),
    ("get", "/v1/delayed/messages/{id}", OPERATOR),
    ("post", "/v1/delayed/messages/{id}:deliver-now", OPERATOR),
    ("post", "/v1/delayed/messages/{id}:reschedule", OPERATOR),
    ("post", "/v1/delayed/topics/{topic}:pause", OPERATOR),
    ("post", "/v1/delayed/topics/{topic}:resume", OPERATOR),
    ("post", "/v1/delayed/clock:accept", OPERATOR),
    ("delete", "/v1/groups/{group}", OPERATOR),
    ("post", "/v1/groups/{group}/offsets:seek", OPERATOR),
    ("put", "/v1/groups/{group}/offsets", OPERATOR),
    ("delete", "/v1/groups/{group}/offsets", OPERATOR),
    ("delete", "/v1/connections/{id}", OPERATOR),
    ("post", "/v1/topics", ADMIN),
    ("post", "/v1/definitions", ADMIN),
    ("patch", "/v1/topics/{topic}", ADMIN),
    ("delete", "/v1/topics/{topic}", ADMIN),
    ("patch", "/v1/topics/{topic}/configs", ADMIN),
    ("patch", "/v1/config", ADMIN),
    ("put", "/v1/loggers/{name}", ADMIN),
    ("delete", "/v1/delayed/messages", ADMIN),
    ("delete", "/v1/delayed/messages/{id}", ADMIN),
    ("post", "/v1/topics/{topic}/records", ADMIN),
    (
        "post",
        "/v1/topics/{topic}/partitions/{partition}:delete-records",
        ADMIN,
    ),
    (
        "post",
        "/v1/topics/{topic}/partitions/{partition}:roll",
        ADMIN,
    ),
    (
        "post",
        "/v1/topics/{topic}/partitions/{partition}:verify",
        ADMIN,
    ),
];

/// The operations of the document that are not for everybody, with the weakest role for each.
fn operations(broker: &Broker) -> Vec<(String, String, &'static str)> {
    let document = get(broker, "/openapi.json").good();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        // A probe, as those outside of `/v1/` are.
        if !path.starts_with("/v1/") || path == "/v1/status/ready" {
            continue;
        }
        for method in methods.as_object().unwrap().keys() {
            let mut known = OPERATIONS.iter();
            let known = known.find(|(known, template, _)| known == method && template == path);
            let weakest = known.map(|(_, _, weakest)| *weakest);
            let weakest = weakest.or((method == "get").then_some(VIEWER));
            let weakest = weakest.unwrap_or_else(|| panic!("who may {method} {path}?"));
            found.push((method.to_uppercase(), path.replace(['{', '}'], ""), weakest));
        }
    }
    let more = found.iter().filter(|(_, _, weakest)| *weakest != VIEWER);
    assert_eq!(more.count(), OPERATIONS.len());
    found
}

#[test]
fn each_role_may_do_what_it_is_for_and_every_attempt_is_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    tokens(&file);
    let setting = format!("tidewheel.admin.tokens.file={}", file.display());
    let broker = start(&dir.path().join("data"), &[&setting]);
    let header = format!("authorization: Bearer {ADMIN}");
    let mut lines = Events::with(&broker, "/v1/logs/tail", &header);
    let roles = [
        ("-", "nobodys-token-0123456789"),
        ("prom", PROBE),
        ("vic", VIEWER),
        ("opal", OPERATOR),
        ("ada", ADMIN),
    ];
    let (mut strangers, mut told_of_strangers) = (0, 0);
    for (method, path, weakest) in operations(&broker) {
        let mut may = false;
        for (name, token) in roles {
            may |= token == weakest;
            if may && ["/v1/logs/tail", "/v1/stats/stream"].contains(&path.as_str()) {
                // It would never end.
                continue;
            }
            let header = format!("Bearer {token}");
            let answer = send(&broker, &method, &path, &[("authorization", &header)], "");
            let refused = [401, 403].contains(&answer.status);
            assert_eq!(refused, !may, "{name} {method} {path}: {answer:?}");
            if method != "GET" && name == "-" {
                strangers += 1;
            } else if method != "GET" {
                let mut line = lines.next();
                // They are told ten times at once, and then once a second.
                while line["message"].as_str().unwrap().contains("user=\"-\" ") {
                    told_of_strangers += 1;
                    line = lines.next();
                }
                let told = line["message"].as_str().unwrap();
                assert_eq!(line["target"], "tidewheel::audit", "{line}");
                for part in [name, &method, &path, &answer.status.to_string()] {
                    assert!(told.contains(part), "{part} in {told}");
                }
            }
        }
    }
    assert!(strangers > 15, "{strangers} are few");
    assert!(
        (10..strangers).contains(&told_of_strangers),
        "{told_of_strangers} of {strangers}"
    );
}
