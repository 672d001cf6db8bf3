//! `tidewheel bench` where more than one load is at work: topics that are replayed or filled in before,
//! brokers that are started or judged beside each other, and the client that is a feature.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::{Broker, run, tidewheel};

fn bench(broker: &Broker, arguments: &str) -> Output {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let mut all = vec!["bench", words[0], "--brokers", &broker.address];
    all.extend(&words[1..]);
    run(&all)
}

/// Runs what must go well, with its files in `dir`, and returns our part of the result.
fn result(broker: &Broker, arguments: &str, dir: &Path) -> Value {
    let output = bench(broker, &format!("{arguments} --out {}", dir.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {said}");
    let text = std::fs::read_to_string(dir.join("result.json")).unwrap();
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    whole["tidewheel"].take()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn delayed_records_are_consumed_when_they_are_due_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let load = "--rate 200/s --duration 1s --warmup 0s --producers 2 -p 2";
    for (topic, how) in [
        ("later", "--delay 1500ms --spread 300ms"),
        ("burst", "--delay 1s --burst"),
    ] {
        let run = format!("delayed -t {topic} {load} {how}");
        let run = result(&broker, &run, &dir.path().join(topic));
        assert_eq!(run["latencies"]["e2e"]["count"], 200, "{topic}");
        assert_eq!(run["errors"], serde_json::json!({}), "{topic}");
        let mean = run["latencies"]["e2e"]["mean"].as_f64();
        assert!(mean > Some(0.0), "{mean:?}");
    }
    let run = format!("produce -t pending {load} --delay 1h");
    let run = result(&broker, &run, &dir.path().join("pending"));
    assert_eq!(run["latencies"]["response"]["count"], 200);
    let consumed = bench(&broker, "consume -t pending --duration 1s");
    let table = String::from_utf8_lossy(&consumed.stdout).into_owned();
    assert!(
        table.contains("; 0 records, ") || !table.contains("consumed"),
        "{table}"
    );
    // On a topic without delays they come at once, and that is told.
    let plain =
        "delayed -t plain --rate 50/s --duration 1s --warmup 0s --topic-config delay.mode=none";
    let output = bench(&broker, plain);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("delivered before it was due"), "{told}");
}

#[test]
fn a_replay_sends_the_same_records_to_the_same_partitions_at_their_times() {
    let dir = tempfile::tempdir().unwrap();
    let first = Broker::start(&dir.path().join("first"));
    let second = Broker::start(&dir.path().join("second"));
    let load = "produce -t lived -p 3 --rate 200/s --duration 1s --warmup 0s --keys rr:10 -z lz4";
    result(&first, load, &dir.path().join("produced"));

    let source = format!("--source lived --source-brokers {}", first.address);
    let replay = format!("replay -t again {source} --duration 10s --producers 2");
    let run = result(&second, &replay, &dir.path().join("replayed"));
    assert_eq!(run["latencies"]["response"]["count"], 200);
    assert_eq!(run["counts"]["acked"], 200);
    // The last record was made 995 ms after the first; a run cannot be faster than its schedule.
    assert!(run["seconds"].as_f64() > Some(0.9), "{}", run["seconds"]);
    assert!(run["asked_per_second"].is_null());
    let twice = format!("replay -t twice {source} --speed 4 --duration 10s");
    let run = result(&second, &twice, &dir.path().join("fast"));
    assert!(run["seconds"].as_f64() > Some(0.2), "{}", run["seconds"]);

    let (mut old, mut new) = (first.connect(), second.connect());
    for partition in 0..3 {
        let before = old.consume("lived", partition, 0);
        assert!(before.len() > 10);
        assert_eq!(new.consume("again", partition, 0).len(), before.len());
        assert_eq!(new.consume("twice", partition, 0), before);
    }
}

#[test]
fn a_replay_ends_with_its_duration_and_says_what_is_wrong_with_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    broker.connect().create_topic("empty", 1, &[]);
    let load = "produce -t lived --rate 100/s --duration 1s --warmup 0s --keys rr:10";
    result(&broker, load, &dir.path().join("produced"));
    let out = dir.path().join("half");
    let run = result(&broker, "replay -t t --source lived --duration 500ms", &out);
    let replayed = run["counts"]["acked"].as_u64().unwrap();
    assert!((1..100).contains(&replayed), "{replayed}");
    for (arguments, code, words) in [
        ("replay -t t", 2, "--source"),
        ("replay -t t --source lived --rate 5/s", 2, "no rate"),
        ("replay -t t --source empty", 2, "nothing to replay"),
        ("replay -t t --source none", 3, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("produce -t t --source lived", 2, "nothing else"),
    ] {
        let output = bench(&broker, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}

#[test]
fn what_is_filled_in_is_consumed_once_or_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let once = "consume -t once -p 2 --fill 256KiB --warmup 0s";
    let run = result(&broker, once, &dir.path().join("once"));
    assert_eq!(run["counts"]["consumed"], 256);

    let again = "consume -t again --fill 64KiB --repeat --duration 1s --warmup 0s";
    let run = result(&broker, again, &dir.path().join("again"));
    assert!(run["counts"]["consumed"].as_u64() > Some(64));

    // A backlog: followers begin with what was there before the load.
    let backlog = "e2e -t backlog --fill 256KiB --rate 100/s --duration 500ms --warmup 0s";
    let run = result(&broker, backlog, &dir.path().join("backlog"));
    assert_eq!(run["latencies"]["e2e"]["count"], 50);
    let mut client = broker.connect();
    assert_eq!(client.consume("backlog", 0, 0).len(), 306);

    let output = bench(&broker, "produce -t t --fill 1KiB");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn starts_are_measured_until_the_first_answer() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let data = dir.path().join("data");
    let program = tidewheel(&[]).get_program().to_str().unwrap().to_owned();
    let start = |flags: &str, command: &[&str]| {
        let words = format!("bench start --brokers {address} --settle 0s {flags} --");
        let mut all: Vec<&str> = words.split_whitespace().collect();
        all.extend(command);
        run(&all)
    };
    let listeners = format!("listeners=PLAINTEXT://{address}");
    let path = data.to_str().unwrap();
    let serve = [&program, "serve", "--data-dir", path, "--set", &listeners];
    let output = start("--runs 2", &serve);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.starts_with("start  ") && table.contains("\nRssAnon "));
    assert!(said(&output).contains("start 2 of 2"));
    let output = start("--runs 1 --within 1us", &serve);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));

    let output = start("--runs 1", &["false"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("ended before it answered"));
    assert_eq!(start("", &["/nowhere"]).status.code(), Some(1));
    let broker = Broker::start(&dir.path().join("other"));
    let output = bench(&broker, "start -- true");
    assert!(said(&output).contains("answers at"), "{}", said(&output));
}

#[test]
fn goals_of_workload_files_are_judged_and_fail_only_where_they_must_hold() {
    let dir = tempfile::tempdir().unwrap();
    let first = Broker::start(&dir.path().join("first"));
    let second = Broker::start(&dir.path().join("second"));
    let folder = dir.path().join("workloads");
    std::fs::create_dir(&folder).unwrap();
    let short = "duration = '300ms'\nwarmup = '0s'\n";
    let goals = "goals = ['rate>=50', 'us_per_request>=1000x']\nrate = '100/s'\n";
    std::fs::write(folder.join("a.toml"), format!("{short}{goals}")).unwrap();
    let read = "mode = 'consume'\nfill = '64KiB'\nrepeat = true\n";
    std::fs::write(folder.join("b.toml"), format!("{short}{read}")).unwrap();
    let out = dir.path().join("out");
    let versus = format!(
        "versus {} --peer {} --rounds 1 --busy --out {}",
        folder.display(),
        second.address,
        out.display()
    );
    let output = bench(&first, &versus);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("goals: 1 reached, 1 missed"), "{table}");
    let written = std::fs::read_to_string(out.join("versus.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written[0]["goals"][0]["reached"], true);
    assert_eq!(written[0]["durability"], "disk");
    assert_eq!(written[1]["name"], "b");
    assert!(written[0]["environment"]["broker_settings"].is_object());
    for file in [
        "versus.md",
        "a/peer/run-1/report.html",
        "b/broker/run-1/result.json",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }

    let output = bench(&first, &format!("{versus} --assert goals"));
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("assertion failed: us_per_request>=1000x"));
    let output = bench(&first, &format!("{versus} --assert errors=0"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = bench(&first, "produce -t t --assert rate>=2x");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

/// A peer that is gone by the second workload, and a place where nothing can be written.
#[test]
fn what_earlier_workloads_came_to_is_written_where_a_side_dies() {
    let dir = tempfile::tempdir().unwrap();
    let first = Broker::start(&dir.path().join("first"));
    let second = Broker::start(&dir.path().join("second"));
    let folder = dir.path().join("workloads");
    std::fs::create_dir(&folder).unwrap();
    let load = "rate = '50/s'\nwarmup = '0s'\ntimeout = '2s'\ngoals = ['rate>=1']\n";
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("a.toml", format!("duration = '300ms'\n{load}"));
    write("b.toml", format!("duration = '3s'\n{load}"));
    let versus = |out: &Path| {
        format!(
            "versus {} --peer {} --rounds 1 --busy --out {}",
            folder.display(),
            second.address,
            out.display()
        )
    };
    let output = bench(&first, &versus(Path::new("/proc/nowhere")));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!said(&output).contains("round 0"), "{}", said(&output));

    let out = dir.path().join("out");
    let words = versus(&out);
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut command = tidewheel(&["bench", words[0], "--brokers", &first.address]);
    let mut running = command
        .args(&words[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    let mut begun = lines
        .by_ref()
        .map(Result::unwrap)
        .filter(|line| line == "round 0 of 1: broker");
    assert!(begun.nth(1).is_some(), "the second workload never began");
    second.kill();
    first.kill();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(running.wait().unwrap().code(), Some(1), "{rest:?}");
    let written = std::fs::read_to_string(out.join("versus.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written.as_array().map(Vec::len), Some(1), "{written}");
    assert_eq!(written[0]["goals"][0]["reached"], true);
}

#[test]
fn a_topic_with_other_settings_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let load = "produce -t mine --rate 50/s --duration 200ms --warmup 0s --topic-config";
    for (setting, code) in [
        ("flush.messages=1", 0),
        ("flush.messages=1", 0),
        ("flush.messages=2", 2),
    ] {
        let output = bench(&broker, &format!("{load} {setting}"));
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    }
}

#[cfg(not(feature = "librdkafka"))]
#[test]
fn without_the_feature_librdkafka_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let output = bench(&broker, "produce -t t --client librdkafka");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--features librdkafka"));
}
