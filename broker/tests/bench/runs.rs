//! `tidewheel bench` against a broker of its own: what is told must be true, also when things go wrong.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use serde_json::Value;

use crate::support::{Broker, run, tidewheel};

fn bench(broker: &Broker, arguments: &[&str]) -> Output {
    let mut all = vec!["bench", arguments[0], "--brokers", &broker.address];
    all.extend(&arguments[1..]);
    run(&all)
}

/// The result of a run that went well.
fn result(output: &Output, dir: &Path) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    read_result(dir)
}

fn read_result(dir: &Path) -> Value {
    let text = std::fs::read_to_string(dir.join("result.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

#[test]
fn what_was_produced_is_what_is_consumed_and_the_files_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let out = dir.path().join("out");
    let steady = ["--rate", "1k/s", "--duration", "1s", "--warmup", "200ms"];
    let produce = ["produce", "-t", "orders", "-p", "3", "--out", path(&out)];
    let output = bench(&broker, &[&produce[..], &steady].concat());
    let produced = result(&output, &out);
    let own = &produced["tidewheel"];
    // 1,200 records are due; those of the warm-up are not measured.
    assert_eq!(own["latencies"]["response"]["count"], 1000);
    assert_eq!(own["latencies"]["service"]["count"], 1000);
    assert_eq!(own["durability"], "disk");
    assert_eq!(own["broker"]["pid"], broker.pid());
    assert!(produced["publishRate"].is_array());
    for file in [
        "report.html",
        "intervals.hlog",
        "response.hgrm",
        "percentiles.svg",
    ] {
        assert!(out.join(file).metadata().unwrap().len() > 100, "{file}");
    }
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("errors       none"), "{table}");

    let out = dir.path().join("read");
    let consumed = bench(&broker, &["consume", "-t", "orders", "--out", path(&out)]);
    let consumed = result(&consumed, &out);
    assert_eq!(consumed["tidewheel"]["counts"]["consumed"], 1200);
    let mut client = broker.connect();
    let in_log: usize = (0..3).map(|p| client.consume("orders", p, 0).len()).sum();
    assert_eq!(in_log, 1200);
}

#[test]
fn every_record_of_an_end_to_end_run_arrives_with_its_latency() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    for (mode, extra) in [
        ("e2e", ["--keys", "zipf:1.0:50", "--compression", "lz4"]),
        ("mixed", ["--consumers", "2", "--acks", "1"]),
    ] {
        let out = dir.path().join(mode);
        let load = ["-t", mode, "-p", "2", "--rate", "500/s", "--duration", "1s"];
        let rest = ["--warmup", "0s", "--producers", "2", "--out", path(&out)];
        let output = bench(&broker, &[&[mode][..], &load, &rest, &extra].concat());
        let run = result(&output, &out);
        let latencies = &run["tidewheel"]["latencies"];
        assert_eq!(latencies["e2e"]["count"], 500, "{mode}");
        assert_eq!(latencies["response"]["count"], 500, "{mode}");
        let figure = |series: &str| latencies[series]["percentiles"]["p50"].as_f64().unwrap();
        assert!(figure("e2e") > 0.0 && figure("response") >= figure("service"));
    }
    let mixed = read_result(&dir.path().join("mixed"));
    assert!(mixed["tidewheel"]["counts"]["caught_up"].as_u64() > Some(0));
}

#[test]
fn a_closed_loop_and_one_without_answers_say_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let short = ["-t", "t", "--duration", "300ms", "--warmup", "0s"];
    let output = bench(&broker, &[&["produce"][..], &short].concat());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("closed loop: "), "{table}");

    let out = dir.path().join("out");
    let rest = ["--acks", "0", "--rate", "1k/s", "--out", path(&out)];
    let output = bench(&broker, &[&["produce"][..], &short, &rest].concat());
    let run = result(&output, &out);
    let latencies = &run["tidewheel"]["latencies"];
    assert_eq!(latencies["send_delay"]["count"], 300);
    assert!(latencies["response"].is_null());
    assert_eq!(run["tidewheel"]["durability"], "unacknowledged");
}

/// A run in the background whose progress can be read.
fn start_bench(address: &str, arguments: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut command = tidewheel(&["bench", arguments[0], "--brokers", address]);
    command.args(&arguments[1..]).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap());
    (child, said)
}

#[test]
fn a_broker_that_dies_in_the_middle_leaves_errors_and_a_schedule_that_went_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let out = dir.path().join("out");
    let load = [
        "produce",
        "-t",
        "t",
        "--rate",
        "200/s",
        "--duration",
        "6s",
        "--warmup",
        "0s",
    ];
    let rest = ["--drain", "500ms", "--no-progress", "--out", path(&out)];
    let (mut child, mut said) = start_bench(&broker.address, &[&load[..], &rest].concat());
    // The first line comes after five seconds.
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("records sent, "), "{line}");
    broker.kill();
    let mut more = String::new();
    said.read_to_string(&mut more).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{more}");
    let run = read_result(&out);
    let own = &run["tidewheel"];
    let unsent = own["unsent"].as_u64().unwrap();
    let errors = own["errors"].as_object().unwrap().values();
    let failed: u64 = errors.map(|count| count.as_u64().unwrap()).sum();
    let measured = own["latencies"]["response"]["count"].as_u64().unwrap();
    assert!(unsent > 0);
    assert_eq!(
        measured + failed + unsent,
        1200,
        "every record is accounted for"
    );
}

#[test]
fn ctrl_c_ends_a_long_run_early_and_reports_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let out = dir.path().join("out");
    let load = [
        "e2e",
        "-t",
        "t",
        "--rate",
        "100/s",
        "--duration",
        "1h",
        "--warmup",
        "0s",
    ];
    let rest = ["--no-progress", "--out", path(&out)];
    let (mut child, mut said) = start_bench(&broker.address, &[&load[..], &rest].concat());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let mut more = String::new();
    said.read_to_string(&mut more).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{more}");
    let run = read_result(&out);
    let own = &run["tidewheel"];
    assert_eq!(own["interrupted"], true);
    let measured = &own["latencies"];
    assert!(measured["e2e"]["count"].as_u64() >= Some(400));
    assert_eq!(measured["e2e"]["count"], measured["response"]["count"]);
}

#[test]
fn a_broker_that_stands_still_shows_in_response_and_not_in_service_alone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let out = dir.path().join("out");
    let load = [
        "produce",
        "-t",
        "t",
        "--rate",
        "500/s",
        "--duration",
        "8s",
        "--warmup",
        "0s",
    ];
    let rest = ["--in-flight", "1", "--no-progress", "--out", path(&out)];
    let (mut child, mut said) = start_bench(&broker.address, &[&load[..], &rest].concat());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    broker.signal("-STOP");
    // A second of the test's own time, waited for without a sleep.
    let (_never, silence) = std::sync::mpsc::sync_channel::<()>(1);
    assert!(
        silence
            .recv_timeout(std::time::Duration::from_secs(1))
            .is_err()
    );
    broker.signal("-CONT");
    let mut more = String::new();
    said.read_to_string(&mut more).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{more}");
    let run = read_result(&out);
    let latencies = &run["tidewheel"]["latencies"];
    assert_eq!(latencies["response"]["count"], 4000);
    // One request saw the stall of a second; some 500 records were due in it.
    let figure = |series: &str| latencies[series]["percentiles"]["p95"].as_f64().unwrap();
    assert!(figure("response") > 300.0, "{latencies}");
    assert!(figure("response") > 2.0 * figure("service"), "{latencies}");
}

#[test]
fn refused_records_are_counted_by_the_name_of_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    broker
        .connect()
        .create_topic("small", 1, &[("max.message.bytes", "500")]);
    let load = [
        "produce", "-t", "small", "--size", "1KiB", "--rate", "100/s",
    ];
    let rest = ["--duration", "500ms", "--warmup", "0s"];
    let output = bench(&broker, &[&load[..], &rest].concat());
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("errors       MESSAGE_TOO_LARGE: 50\n"),
        "{table}"
    );
}

#[test]
fn assertions_decide_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let load = [
        "produce",
        "-t",
        "t",
        "--rate",
        "100/s",
        "--duration",
        "300ms",
        "--warmup",
        "0s",
    ];
    let code = |condition: &str| {
        let output = bench(&broker, &[&load[..], &["--assert", condition]].concat());
        output.status.code()
    };
    assert_eq!(code("errors=0"), Some(0));
    assert_eq!(code("rate>1M"), Some(5));
    assert_eq!(code("e2e.p99<1s"), Some(5), "the run has no such figure");
    assert_eq!(code("nonsense"), Some(2));
}

#[test]
fn mistakes_have_their_exit_codes_and_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    broker.connect().create_topic("empty", 2, &[]);
    for (arguments, code, words) in [
        (
            vec!["produce", "-t", "none", "--no-create"],
            3,
            "UNKNOWN_TOPIC_OR_PARTITION",
        ),
        (
            vec!["consume", "-t", "none"],
            3,
            "UNKNOWN_TOPIC_OR_PARTITION",
        ),
        (vec!["consume", "-t", "empty"], 2, "nothing to consume"),
        (
            vec!["produce", "-t", "empty", "-p", "3"],
            2,
            "has 2 partitions",
        ),
        (vec!["produce", "--rate", "fast"], 2, "fast"),
        (vec!["produce", "--producers", "0"], 2, "producers"),
        (
            vec!["produce", "--workload", "/nowhere.toml"],
            1,
            "/nowhere.toml",
        ),
        (vec!["produce", "-t", "a b"], 1, "INVALID_TOPIC_EXCEPTION"),
        (vec!["suite", "/nowhere", "--out", "/tmp"], 1, "/nowhere"),
    ] {
        let output = bench(&broker, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap().to_string();
    drop(closed);
    let output = run(&["bench", "produce", "--brokers", &nobody]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cannot connect to"), "{said}");
    let help = run(&["bench", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert_eq!(run(&["bench"]).status.code(), Some(2));
}

#[test]
fn two_brokers_are_run_in_turn_and_their_topics_removed() {
    let dir = tempfile::tempdir().unwrap();
    let first = Broker::start(&dir.path().join("first"));
    let second = Broker::start(&dir.path().join("second"));
    let out = dir.path().join("out");
    let load = [
        "versus",
        "--peer",
        &second.address,
        "--rounds",
        "3",
        "--busy",
        "--rate",
        "200/s",
    ];
    let rest = ["--duration", "300ms", "--warmup", "0s", "--out", path(&out)];
    let output = bench(&first, &[&load[..], &rest].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let rounds: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("round "))
        .collect();
    assert_eq!(rounds.len(), 8);
    assert!(rounds[0].ends_with(": broker") && rounds[1].ends_with(": peer"));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("verdict") && table.contains("response p99, ms"),
        "{table}"
    );
    let topics = std::fs::read_dir(dir.path().join("second"))
        .unwrap()
        .flatten();
    let left = topics.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("tidewheel-bench") && !name.ends_with("-delete")
    });
    assert_eq!(left.count(), 0);

    let sides = [out.join("broker"), out.join("peer")];
    let output = run(&["bench", "compare", path(&sides[0]), path(&sides[1])]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("verdict")
    );
}

#[test]
fn a_suite_runs_every_workload_and_writes_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let folder = dir.path().join("suite");
    std::fs::create_dir(&folder).unwrap();
    let short = "rate = '100/s'\nduration = '200ms'\nwarmup = '0s'\ndrain = '5s'\n";
    std::fs::write(folder.join("a.toml"), short).unwrap();
    std::fs::write(folder.join("b.toml"), format!("mode = 'e2e'\n{short}")).unwrap();
    // On topics of their own: those of the others have one partition.
    std::fs::write(folder.join("c.toml"), format!("partitions = 3\n{short}")).unwrap();
    let out = dir.path().join("out");
    let output = bench(&broker, &["suite", path(&folder), "--out", path(&out)]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let index = std::fs::read_to_string(out.join("index.html")).unwrap();
    for page in ["a/report.html", "b/report.html", "c/report.html"] {
        assert!(index.contains(page), "{page}");
    }
    assert_eq!(
        read_result(&out.join("b"))["tidewheel"]["latencies"]["e2e"]["count"],
        20
    );
}
