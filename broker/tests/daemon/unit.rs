//! The unit that `tidewheel generate systemd` prints, judged by systemd's own tool and by what a broker does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::commands::skipped;
use crate::support::{Broker, batch, eventually, run};

/// Of 10, by `systemd-analyze security`: how much of the machine somebody has who breaks into it. It says 1.7.
const EXPOSURE_MAX: &str = "20";

fn unit() -> String {
    let output = run(&["generate", "systemd"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What systemd-analyze says; `None` where there is none, and that is said.
fn systemd_analyze(arguments: &[&str]) -> Option<String> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(output.status.success(), "{arguments:?}: {said}");
            Some(said)
        }
        Err(error) => {
            skipped("systemd-analyze of the package systemd", &error);
            None
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    // Neither the program nor its page nor its user are installed here.
    let unit = unit()
        .replace("/usr/bin/tidewheel", env!("CARGO_BIN_EXE_tidewheel"))
        .replace("Documentation=man:tidewheel(1)\n", "")
        .replace("=tidewheel\nGroup=tidewheel", "=root\nGroup=root");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidewheel.service");
    fs::write(&path, unit).unwrap();
    let path = path.to_str().unwrap();
    systemd_analyze(&["verify", path]);
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    systemd_analyze(&["security", "--offline=true", &threshold, path]);
}

/// The names of a group of calls, with those of the groups in it.
fn calls_of(group: &str) -> Option<BTreeSet<String>> {
    let mut calls = BTreeSet::new();
    for line in systemd_analyze(&["syscall-filter", group])?.lines() {
        let name = line.trim();
        if name == group || name.starts_with('#') || name.is_empty() {
            continue;
        }
        match name.starts_with('@') {
            true => calls.extend(calls_of(name)?),
            false => drop(calls.insert(name.to_owned())),
        }
    }
    Some(calls)
}

/// What a broker calls that starts, takes records and gives them, and stops.
fn calls_made(trace: &Path) -> BTreeSet<String> {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("strace");
    // The broker is the child itself; strace watches from beside.
    command.args(["-D", "-f", "-q", "-o"]).arg(trace);
    command.arg(env!("CARGO_BIN_EXE_tidewheel")).arg("serve");
    command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command.stdin(Stdio::null());
    let broker = Broker::spawn(&mut command, data.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, &[]);
    // Enough for `sendfile`.
    let value = "x".repeat(10_000);
    for partition in 0..2 {
        let records = batch(&[value.as_str(); 20]);
        let answer = client.produce("t", partition, -1, records);
        assert_eq!(answer.error_code, 0);
        assert_eq!(client.consume("t", partition, 0).len(), 20);
    }
    client.delete_topic("t");
    assert!(broker.stop());
    let mut text = String::new();
    eventually("strace has written all", || {
        text = fs::read_to_string(trace).unwrap();
        let first = text.split_whitespace().next();
        let mut ends = text.lines().filter(|line| line.contains("+++ exited"));
        ends.any(|line| line.split_whitespace().next() == first)
    });
    let calls = text.lines().filter_map(|line| {
        let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    });
    calls.collect()
}

#[test]
fn a_broker_makes_no_call_that_its_unit_forbids() {
    if let Err(error) = Command::new("strace").arg("-V").output() {
        return skipped("strace", &error);
    }
    let unit = unit();
    let filters = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let mut allowed = BTreeSet::new();
    for filter in filters {
        let (forbids, names) = match filter.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, filter),
        };
        for name in names.split_whitespace() {
            let calls = match name.starts_with('@') {
                true => calls_of(name),
                false => Some(BTreeSet::from([name.to_owned()])),
            };
            let Some(calls) = calls else { return };
            match forbids {
                true => allowed.retain(|call| !calls.contains(call)),
                false => allowed.extend(calls),
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let made = calls_made(&dir.path().join("trace"));
    for call in ["pwritev", "sendfile", "mincore", "fdatasync", "accept4"] {
        assert!(made.contains(call), "{call} is not in {made:?}");
    }
    let forbidden: Vec<_> = made.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}
