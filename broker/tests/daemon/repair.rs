//! A partition that is read-only because of damage, and how an operator gets it back.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Output;

use crate::support::{self, Broker, batch, eventually};

/// A broker that moves recovery points at once.
const SOON: [&str; 1] = ["log.flush.offset.checkpoint.interval.ms=50"];
const BATCHES: i64 = 60;
/// Ten of them fill a segment.
const VALUE_LEN: usize = 100_000;

fn value(offset: i64) -> String {
    format!("{offset:010}").repeat(VALUE_LEN / 10)
}

/// Data of several segments, all of it below the recovery point, and a broker that was killed.
fn killed_with_data(dir: &Path) {
    let broker = Broker::start_with(dir, &SOON);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("segment.bytes", "1048576")]);
    client.create_topic("healthy", 1, &[]);
    assert_eq!(
        client.produce("healthy", 0, -1, batch(&["v"])).error_code,
        0
    );
    for offset in 0..BATCHES {
        let answer = client.produce("t", 0, -1, batch(&[&value(offset)]));
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    let noted = dir.join("recovery-point-offset-checkpoint");
    eventually("the recovery point is at the end", || {
        let text = fs::read_to_string(&noted).unwrap_or_default();
        text.contains(&format!("t 0 {BATCHES}\n"))
    });
    broker.kill();
}

/// One byte of the third record is another one, and half of the second segment is gone.
fn damage(dir: &Path) {
    let partition = dir.join("t-0");
    let first = partition.join("00000000000000000000.log");
    let mut open = fs::OpenOptions::new();
    let file = open.read(true).write(true).open(first).unwrap();
    file.write_all_at(b"x", 2 * VALUE_LEN as u64 + 50_000)
        .unwrap();
    let names = fs::read_dir(&partition).unwrap();
    let names = names.map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = names
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    assert!(logs.len() > 3, "{logs:?}");
    let bytes = fs::read(&logs[1]).unwrap();
    fs::write(&logs[1], &bytes[..bytes.len() / 2]).unwrap();
}

fn repair(dir: &Path, further: &[&str]) -> (Option<i32>, Output) {
    let path = dir.to_str().unwrap();
    let arguments = [&["log", "repair", path, "--format", "json"], further].concat();
    let output = support::run(&arguments);
    (output.status.code(), output)
}

/// As somebody does who stands in the directory of a partition that is not damaged.
fn repair_here(partition: &Path) {
    let mut here = support::tidewheel(&["log", "repair", "."]);
    let output = here.current_dir(partition).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A broker on damaged data serves the partition read-only, and keeps it from being repaired.
fn serve_read_only(dir: &Path) {
    let broker = Broker::start(dir);
    let mut client = broker.connect();
    assert_ne!(
        client.produce("t", 0, -1, batch(&["new"])).error_code,
        0,
        "it is read-only"
    );
    assert_eq!(
        client.produce("healthy", 0, -1, batch(&["v"])).error_code,
        0
    );
    assert_eq!(repair(dir, &[]).0, Some(1), "a broker runs on it");
    drop(client);
    assert!(broker.stop());
}

#[test]
fn a_damaged_partition_is_read_only_until_it_is_repaired_and_then_all_else_is_there() {
    let dir = tempfile::tempdir().unwrap();
    killed_with_data(dir.path());
    damage(dir.path());
    serve_read_only(dir.path());
    let healthy = dir.path().join("healthy-0");
    let (code, output) = repair(&healthy, &[]);
    assert_eq!((code, lines(&output).len()), (Some(0), 1), "{output:?}");
    repair_here(&healthy);

    assert_eq!(
        repair(dir.path(), &["--dry-run"]).0,
        Some(5),
        "there is something to do"
    );
    let (code, output) = repair(dir.path(), &[]);
    assert_eq!(code, Some(0), "{output:?}");
    let lines = lines(&output);
    let cuts = lines.iter().filter(|line| line["type"] == "cut");
    let range = |line: &serde_json::Value| line["from_offset"].as_i64()..line["to_offset"].as_i64();
    let ranges: Vec<_> = cuts.map(range).collect();
    assert_eq!(ranges.len(), 2, "{lines:?}");
    assert_eq!(ranges[1], Some(2)..Some(3), "the newest first");
    let is_lost = |offset: i64| ranges.iter().any(|range| range.contains(&Some(offset)));
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["type"], &summary["repaired"]),
        (&"summary".into(), &1.into())
    );
    assert_eq!(
        repair(dir.path(), &[])
            .1
            .stdout
            .split(|byte| *byte == b'\n')
            .count(),
        2,
        "once"
    );

    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let found: Vec<i64> = client
        .consume("t", 0, 0)
        .into_iter()
        .map(|record| {
            assert_eq!(record.value, value(record.offset).as_bytes());
            record.offset
        })
        .collect();
    let expected: Vec<i64> = (0..BATCHES).filter(|offset| !is_lost(*offset)).collect();
    assert!(expected.len() > 50);
    assert_eq!(found, expected);
    let answer = client.produce("t", 0, -1, batch(&["new"]));
    assert_eq!((answer.error_code, answer.base_offset), (0, BATCHES));
    assert_eq!(client.consume("healthy", 0, 0).len(), 2);
    drop(client);
    assert!(broker.stop());
    let verified = support::run(&["log", "verify", dir.path().to_str().unwrap()]);
    assert!(verified.status.success(), "{verified:?}");
}

/// The broker could not open files of another user, and would not start any more.
#[test]
fn nobody_but_the_owner_writes_to_a_directory() {
    if !rustix::process::geteuid().is_root() {
        println!("not run: only root gives a directory away");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    killed_with_data(dir.path());
    std::os::unix::fs::chown(dir.path(), Some(12_345), None).unwrap();
    let path = dir.path().to_str().unwrap();
    for command in ["repair", "reindex"] {
        let output = support::run(&["log", command, path]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("sudo -u '#12345'"), "{said}");
        let looked = support::run(&["log", command, path, "--dry-run"]);
        assert_ne!(looked.status.code(), Some(1));
    }
}
