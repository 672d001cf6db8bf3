//! Damage to the files of the delay store while the broker is stopped: it is told with its place, counted, and what it
//! took is not pending any more.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tidewheel_broker::{MetricsFormat, MetricsPage};

use crate::delays::{Asked, due_in, produce, wait_for};
use crate::embedded::Embedded;
use crate::support::{Broker, eventually, tidewheel};

/// Files of the delay store whose names end like this.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("delays")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(end));
    paths.sort();
    paths
}

/// A directory that was stopped with two batches pending, of which the second one, which is the last thing in the
/// delay log, has a changed byte; the file.
fn damaged(dir: &Path) -> PathBuf {
    let broker = Broker::start(dir);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("delay.mode", "timestamp")]);
    // The broker starts and stops until then, on a slow machine, too.
    let due = due_in(25_000);
    produce(&mut client, "t", &[Asked::at(due, "whole")]);
    let taken = [
        Asked::at(due, "taken"),
        Asked::at(due + 600, "taken as well"),
    ];
    produce(&mut client, "t", &taken);
    assert!(broker.stop());
    let logs = files(dir, ".delaylog");
    let with_records = |path: &&PathBuf| fs::metadata(path).unwrap().len() > 32;
    let path = logs.iter().rfind(with_records).unwrap().clone();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(5)
        .rposition(|bytes| bytes == b"taken")
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_changed_byte_of_what_was_acknowledged_last_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = damaged(dir.path());
    let said = dir.path().join("said");
    let mut command = tidewheel(&["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command.stderr(File::create(&said).unwrap());
    let broker = Broker::spawn(&mut command, dir.path());
    let name = path.file_name().unwrap().to_str().unwrap();
    let line = || {
        let text = fs::read_to_string(&said).unwrap();
        let line = text.lines().find(|line| line.contains(name))?;
        Some(line.to_owned())
    };
    eventually("the damage is told", || line().is_some());
    let line = line().unwrap();
    assert!(line.contains("damaged or missing"), "{line}");
    let len = fs::metadata(&path).unwrap().len();
    assert!(line.contains(&len.to_string()), "up to {len}: {line}");
    let mut client = broker.connect();
    assert_eq!(wait_for(&mut client, "t", 1)[0].value, "whole");
    assert!(broker.stop());
    assert_eq!(files(dir.path(), ".damaged").len(), 1, "it is kept");
}

/// The value of a metric of a broker.
fn sample(broker: &Embedded, sample: &str) -> Option<String> {
    let format = MetricsFormat::OpenMetrics;
    let text = broker.broker.metrics(MetricsPage::Default, format);
    let text = broker.runtime.block_on(text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(sample))?;
    Some(line.trim().to_owned())
}

#[test]
fn what_damage_took_is_counted_and_not_pending() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let broker = Embedded::start(dir.path());
    let says = |name: &str, value: &str| sample(&broker, name).as_deref() == Some(value);
    eventually("it is counted", || {
        says("tidewheel_delayed_lost_total", "2")
    });
    assert!(says("tidewheel_delayed_damaged_total", "1"));
    eventually("one is pending", || {
        says("tidewheel_delayed_pending{topic=\"t\"}", "1")
    });
    let mut client = broker.connect();
    wait_for(&mut client, "t", 1);
    eventually("none is pending", || {
        says("tidewheel_delayed_pending{topic=\"t\"}", "0")
            && says("tidewheel_delayed_pending_bytes", "0")
    });
    broker.stop();
}
