//! `tidewheel health` and `top` against brokers, and against what is none; and what all commands over HTTP share.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;

use crate::support::commands::{Ran, objects, skipped};
use crate::support::groups::{codes, commit_request, find};
use crate::support::http::{admin, start};
use crate::support::{Broker, batch, eventually, tidewheel};

/// A command that asks there.
fn asking(url: &str, arguments: &[&str]) -> Command {
    let mut command = tidewheel(arguments);
    command.env("TIDEWHEEL_ADMIN_URL", url);
    command
}

fn ask(url: &str, arguments: &[&str]) -> Ran {
    Ran::new(asking(url, arguments).output().unwrap())
}

fn url(broker: &Broker) -> String {
    format!("http://{}", admin(broker))
}

/// Runs a command that asks this broker.
pub(crate) fn cli(broker: &Broker, arguments: &[&str]) -> Ran {
    ask(&url(broker), arguments)
}

/// An answer over HTTP with JSON, or something else, in it.
fn over_http(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Something that gives each one who comes an answer, the last of them to all that follow, and without one says
/// nothing. Ends with the test program.
fn peer(answers: &[String]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = answers.to_vec();
    let answering = thread::Builder::new().spawn(move || {
        let (mut left, mut last, mut silent) = (answers.into_iter(), None, Vec::new());
        for socket in listener.incoming() {
            let (mut socket, mut request) = (socket.unwrap(), [0; 4096]);
            assert!(socket.read(&mut request).unwrap() > 0);
            last = left.next().or(last);
            match &last {
                Some(answer) => socket.write_all(answer.as_bytes()).unwrap(),
                None => silent.push(socket),
            }
        }
    });
    answering.unwrap();
    url
}

fn starting() -> String {
    let checks = r#"[{"name":"broker","status":"unavailable","detail":"a\u001b[2J"}]"#;
    let body = format!(r#"{{"status":"unavailable","broker_state":"RECOVERY","checks":{checks}}}"#);
    over_http(503, &body)
}

fn running() -> String {
    over_http(
        200,
        r#"{"status":"degraded","broker_state":"RUNNING","checks":[]}"#,
    )
}

#[test]
fn health_says_how_a_broker_stands() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    for arguments in [
        &["health"][..],
        &["health", "--exit-code"],
        &["health", "-we"],
    ] {
        let out = cli(&broker, arguments).good();
        assert!(
            out.starts_with("CHECK       STATUS\nall         ok      RUNNING\nbroker      ok\n"),
            "{out}"
        );
        assert!(out.contains("\ndisk        ok"), "{out}");
    }
    let told = objects(&cli(&broker, &["health", "--format", "json"]).good());
    assert_eq!((&told[0]["status"], told.len()), (&Value::from("ok"), 1));
    let address = url(&broker);
    assert!(broker.stop());
    let said = ask(&address, &["health"]).failed(1);
    assert!(
        said.contains(&address) && said.contains("refused"),
        "{said}"
    );
}

#[test]
fn health_tells_by_its_exit_code_and_waits_for_a_broker() {
    let unready = peer(&[starting()]);
    let told = ask(&unready, &["health"]).good();
    assert!(told.contains("unavailable  RECOVERY"), "{told}");
    // What a broker says cannot move the cursor.
    assert!(told.contains("unavailable  a?[2J\n"), "{told}");
    let ran = ask(&unready, &["health", "-e"]);
    assert_eq!(
        (ran.exit, ran.out.as_str(), ran.said.as_str()),
        (Some(5), &*told, "")
    );
    ask(&peer(&[running()]), &["health", "-e"]).good();
    let both = ask(
        &peer(&[starting(), starting(), running()]),
        &["health", "-w", "-e", "--format", "json"],
    );
    let told = objects(&both.good());
    let states = told.iter().map(|one| one["broker_state"].as_str().unwrap());
    assert_eq!(
        states.collect::<Vec<_>>(),
        ["RECOVERY", "RUNNING"],
        "what changes is told, once"
    );
}

/// As a proxy answers while there is no broker behind it.
#[test]
fn whoever_waits_for_a_broker_waits_also_behind_a_proxy() {
    let bad = || over_http(502, "<html>");
    let page = peer(&[bad(), bad(), running()]);
    let ran = ask(&page, &["health", "-w", "-e"]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    assert!(ran.said.contains("HTTP 502"), "{ran:?}");
    ask(&peer(&[bad()]), &["health"]).failed(1);
}

#[test]
fn what_is_no_broker_is_told_from_one_that_is_late() {
    let page = peer(&[over_http(200, "<html>")]);
    for arguments in [&["health"][..], &["delayed", "stats"], &["top", "-n", "1"]] {
        let said = ask(&page, arguments).failed(1);
        assert!(said.contains("not that of a broker"), "{said}");
        let said = ask(&peer(&["SSH-2.0-x\r\n".to_owned()]), arguments).failed(1);
        assert!(said.contains("cannot reach http://127.0.0.1"), "{said}");
        let mut late = arguments.to_vec();
        late.extend(["--timeout", "1"]);
        let said = ask(&peer(&[]), &late).failed(4);
        assert!(said.contains("within 1 s"), "{said}");
        for url in ["https://127.0.0.1:9644", "nowhere at all"] {
            let said = ask(url, arguments).failed(2);
            assert!(said.contains(url), "{said}");
        }
        let said = ask("http://a:secret@b", arguments).failed(2);
        assert!(said.contains("b: ") && !said.contains("secret"), "{said}");
    }
}

#[test]
fn a_token_comes_from_the_environment_or_a_file_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (file, token) = (dir.path().join("tokens"), "an-admin-token-0123456789");
    std::fs::write(&file, format!("ada admin {token}\n")).unwrap();
    let setting = format!("tidewheel.admin.tokens.file={}", file.display());
    let broker = start(&dir.path().join("data"), &[&setting]);
    let stats = ["delayed", "stats", "--format", "json"];
    let said = cli(&broker, &stats).failed(1);
    assert!(
        said.contains("HTTP 401") && said.contains("TIDEWHEEL_ADMIN_TOKEN"),
        "{said}"
    );
    let with = |token: &str| {
        let mut command = asking(&url(&broker), &stats);
        Ran::new(
            command
                .env("TIDEWHEEL_ADMIN_TOKEN", token)
                .output()
                .unwrap(),
        )
    };
    assert_eq!(objects(&with(token).good())[0]["pending"], 0);
    for wrong in ["wrong-token-0123456789", &token[1..]] {
        let said = with(wrong).failed(1);
        assert!(said.contains("HTTP 401") && !said.contains(wrong), "{said}");
    }
    for nonsense in ["", "two words", "a\u{7}b", "é"] {
        let said = with(nonsense).failed(2);
        assert!(
            said.ends_with("TIDEWHEEL_ADMIN_TOKEN: it is no token\n"),
            "{said}"
        );
    }
    let mine = dir.path().join("mine");
    std::fs::write(&mine, format!("{token}\n")).unwrap();
    let from = |path: &str| {
        let mut arguments = stats.to_vec();
        arguments.extend(["--token-file", path]);
        // What is asked for by name wins.
        let mut command = asking(&url(&broker), &arguments);
        Ran::new(
            command
                .env("TIDEWHEEL_ADMIN_TOKEN", "wrong")
                .output()
                .unwrap(),
        )
    };
    from(mine.to_str().unwrap()).good();
    from("/nowhere").failed(2);
    from("/dev/zero").failed(2);
    from("/dev/null").failed(2);
    // Whoever has no token may look whether it lives.
    let out = cli(&broker, &["health", "-e"]).good();
    assert!(out.contains("ok"), "{out}");
    let said = cli(&broker, &["top", "-n", "1"]).failed(1);
    assert!(said.contains("HTTP 401"), "{said}");
}

#[test]
fn top_tells_of_topics_and_groups_and_how_busy_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("busy", 1, &[]);
    client.create_topic("idle", 2, &[]);
    client.produce("busy", 0, -1, batch(&["a", "b", "c"]));
    find(&mut client, &["readers"]);
    let request = commit_request("readers", "busy", &[(0, 1, "")]);
    eventually("the group's coordinator serves", || {
        let answer: OffsetCommitResponse = client.call(8, &request);
        codes(&answer) == [0]
    });

    let mut command = asking(
        &url(&broker),
        &["top", "-i", "1", "-n", "3", "--format", "json"],
    );
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while child.try_wait().unwrap().is_none() {
        client.produce("busy", 0, -1, batch(&["a", "b", "c"]));
    }
    let looks = objects(&Ran::new(child.wait_with_output().unwrap()).good());
    assert_eq!(looks.len(), 3);
    let topic = |look: &Value, name: &str| {
        let mut topics = look["topics"].as_array().unwrap().iter();
        topics.find(|topic| topic["topic"] == name).unwrap().clone()
    };
    assert_eq!(
        topic(&looks[0], "busy")["records_in_per_second"],
        Value::Null
    );
    let last = &looks[2];
    assert!(
        topic(last, "busy")["records_in_per_second"].as_f64() > Some(1.0),
        "{last}"
    );
    assert_eq!(topic(last, "idle")["records_in_per_second"], 0.0);
    assert_eq!(topic(last, "idle")["partitions"], 2.0);
    assert_eq!(
        (&last["broker_state"], &last["status"]),
        (&"RUNNING".into(), &"ok".into())
    );
    assert!(
        last["values"]["requests_per_second"].as_f64() > Some(1.0),
        "{last}"
    );
    assert_eq!(last["groups"][0]["group"], "readers");
    assert!(last["groups"][0]["total_lag"].as_u64() > Some(2), "{last}");

    let out = cli(&broker, &["top", "-n", "1"]).good();
    assert!(
        out.contains(" of=topic topic=idle partitions=2 size_bytes=0 "),
        "{out}"
    );
    assert!(
        out.contains(" of=group group=readers state=Empty "),
        "{out}"
    );
}

/// In the place of the last look, on a terminal that `script` makes.
#[test]
fn top_fills_the_screen_of_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    broker.connect().create_topic("shown", 1, &[]);
    let mut command = Command::new("script");
    let line = format!(
        "{} top -n 1 --admin-url {}",
        env!("CARGO_BIN_EXE_tidewheel"),
        url(&broker)
    );
    let output = command
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return skipped("script of the package bsdutils", &error),
    };
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}");
    assert!(
        shown.contains("\u{1b}[Hhttp://127.0.0.1:") && shown.ends_with("\u{1b}[J"),
        "{shown:?}"
    );
    assert!(
        shown.contains("RUNNING, ok") && shown.contains("\nshown "),
        "{shown:?}"
    );
}
