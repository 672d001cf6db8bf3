//! Single system calls of a broker at work fail, or the process is killed in one: `strace` makes the n-th
//! write, sync or rename of every thread return an error that the disk never had. Each time the next
//! start is held to the ledger of what was acknowledged.
//!
//! Needs `strace`; without it the tests say so and are ignored, except in CI, where they must run.

use libtest_mimic::Trial;

use crate::machine;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;

use crate::ledger::{Ledger, Power, SETTINGS};
use crate::support::{self, Broker, batch, eventually};
use tidewheel_protocol::ErrorCode;

/// What happens, and to which system calls.
const FAULTS: [(&str, &str); 11] = [
    ("fdatasync", "error=EIO"),
    ("fdatasync", "error=ENOSPC"),
    ("fdatasync", "signal=SIGKILL"),
    ("fsync", "error=EIO"),
    ("fsync", "signal=SIGKILL"),
    ("pwritev", "error=EIO"),
    ("pwritev", "error=ENOSPC"),
    ("pwritev", "signal=SIGKILL"),
    ("rename", "error=EIO"),
    ("rename", "error=ENOSPC"),
    ("rename", "signal=SIGKILL"),
];
/// The call of each thread that fails, counted from 1.
const CALLS: [u32; 6] = [1, 2, 3, 5, 8, 13];
/// Acknowledgements after which a broker that no fault has met is stopped.
const ACKS: usize = 150;

pub(crate) fn trials() -> Vec<Trial> {
    let mut tests: Vec<(String, Box<dyn Fn() + Send>)> = Vec::new();
    for (call, fault) in FAULTS {
        let name = format!("nothing_acknowledged_is_lost_by_{call}_{fault}");
        tests.push((name, Box::new(move || at_calls(call, fault))));
    }
    let name = "a_failed_sync_takes_its_directory_offline_and_is_never_repeated";
    tests.push((name.to_owned(), Box::new(failed_sync)));
    let name = "a_repeated_sync_is_noticed_also_where_another_thread_came_in_between";
    tests.push((name.to_owned(), Box::new(repetition)));
    machine::trials(machine::missing_tool(&["strace"]), tests)
}

fn at_calls(call: &str, fault: &str) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut before = Ledger::default();
    let broker = Broker::start_with(&data, &SETTINGS);
    before.check(&broker);
    assert!(broker.stop());
    let mut fired = 0;
    for number in CALLS {
        println!("{call} {number}: {fault}");
        let copy = dir.path().join(format!("copy-{number}"));
        machine::succeeds(Command::new("cp").arg("-r").args([&data, &copy]));
        let mut ledger = before.clone();
        let trace = dir.path().join("trace");
        let inject = format!("{call}:{fault}:when={number}");
        let exit = life(&mut traced(&trace, &copy, &inject), &copy, &mut ledger);
        let trace = whole(&trace);
        let met = trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL");
        fired += u32::from(met);
        match (met, fault) {
            (false, _) => assert_eq!(exit, Some(0)),
            // Where a write finds no room the disk may have some again; a sync that finds none is a failed one.
            (true, "error=ENOSPC") => assert!(matches!(exit, Some(0 | 1 | 130)), "{exit:?}"),
            // Its only directory is offline; it may have been told to stop while it stopped.
            (true, "error=EIO") => assert!(matches!(exit, Some(1 | 130)), "{exit:?}"),
            (true, _) => {
                assert_eq!(exit, None, "it was killed");
                ledger.only_the_process_died();
            }
        }
        let failures = failed_once(&trace);
        if met && fault.starts_with("error") && call.contains("sync") {
            assert_ne!(failures, 0, "{trace}");
        }
        let broker = Broker::start_with(&copy, &SETTINGS);
        ledger.check(&broker);
        assert!(broker.stop(), "a clean stop");
        let verified = support::run(&["log", "verify", copy.to_str().unwrap()]);
        assert!(verified.status.success(), "{verified:?}");
    }
    assert!(fired >= 3, "only {fired} faults happened");
}

/// A broker whose threads each meet one fault. It is the child itself; strace watches from beside.
fn traced(trace: &Path, data: &Path, inject: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-q", "-e", "signal=SIGKILL", "-o"]);
    command.arg(trace);
    command.args(["-e", "trace=fdatasync,fsync,pwritev,rename,exit_group"]);
    command.args(["-e", &format!("inject={inject}")]);
    command.arg(env!("CARGO_BIN_EXE_tidewheel")).arg("serve");
    command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    command.arg("--data-dir").arg(data).stdin(Stdio::null());
    command
}

/// A trace of a process that has ended, once strace has written the end of its first thread: the last line.
fn whole(trace: &Path) -> String {
    let mut text = String::new();
    eventually("strace has written all", || {
        text = std::fs::read_to_string(trace).unwrap();
        let first = text.split_whitespace().next();
        let mut ends = text.lines().filter(|line| line.contains(" +++ "));
        ends.any(|line| line.split_whitespace().next() == first)
    });
    text
}

/// Starts, works and stops; the exit code, where it was not killed.
fn life(command: &mut Command, data: &Path, ledger: &mut Ledger) -> Option<i32> {
    let broker = match Broker::try_spawn_as_is(command, data) {
        Ok(broker) => broker,
        Err(status) => return status.code(),
    };
    let (acked, all_acked) = sync_channel(1);
    let power = Power::default();
    std::thread::scope(|scope| {
        ledger.work(scope, &broker, &power, &acked);
        drop(acked);
        let enough = all_acked.iter().take(ACKS).count();
        println!("{enough} acknowledgements");
        power.goes();
        all_acked.into_iter().for_each(drop);
    });
    broker.terminate();
    broker.wait()
}

/// A file or directory whose sync failed is not synced again by this process. How many failed.
fn failed_once(trace: &str) -> usize {
    let calls = calls(trace);
    let of_sync = |call: &&String| call.starts_with("fdatasync(") || call.starts_with("fsync(");
    let syncs: Vec<&String> = calls.iter().filter(of_sync).collect();
    let mut failures = 0;
    for (at, call) in syncs.iter().enumerate() {
        if !call.contains(" = -1 ") {
            continue;
        }
        let path = call.split(['<', '>']).nth(1).expect("-y names the file");
        let named = format!("<{path}>");
        let again = syncs[at + 1..].iter().find(|later| later.contains(&named));
        assert_eq!(again, None, "{call}");
        failures += 1;
    }
    failures
}

fn repetition() {
    let trace = "1 fdatasync(5</d/a> <unfinished ...>\n2 fsync(6</d/b>) = 0\n\
        1 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)\n";
    assert_eq!(failed_once(trace), 1);
    let again = format!("{trace}2 fdatasync(7</d/a>) = 0\n");
    assert!(catch_unwind(|| failed_once(&again)).is_err());
}

/// The calls of a trace in the order of their ends. A call in which another thread came in between has two lines.
fn calls(trace: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for (thread, line) in trace.lines().filter_map(|line| line.split_once(' ')) {
        let line = line.trim_start();
        if let Some(beginning) = line.strip_suffix("<unfinished ...>") {
            begun.insert(thread, beginning.trim_end());
        } else if let Some(resumed) = line.strip_prefix("<... ") {
            let end = resumed
                .split_once(" resumed>")
                .expect("the end of a call")
                .1;
            let beginning = begun.remove(thread).expect("its beginning");
            calls.push(format!("{beginning}{end}"));
        } else {
            calls.push(line.to_owned());
        }
    }
    calls
}

/// Of two directories one fails: its partitions say so, the others go on, and the next start finds all
/// that was acknowledged by reading it back from the device.
fn failed_sync() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    let dirs = format!("log.dirs={},{}", first.display(), second.display());
    let start = || {
        let mut command = support::tidewheel(&["serve", "--set", &dirs]);
        command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
        command
    };
    let broker = Broker::spawn_as_is(&mut start(), &first);
    let mut client = broker.connect();
    client.create_topic("t", 4, &[]);
    for partition in 0..4 {
        assert_eq!(
            client.produce("t", partition, -1, batch(&["a"])).error_code,
            0
        );
    }
    let is_in = |dir: &Path, partition: &i32| dir.join(format!("t-{partition}")).exists();
    let lost = (0..4).find(|partition| is_in(&second, partition)).unwrap();
    let kept = (0..4).find(|partition| is_in(&first, partition)).unwrap();
    let log = second.join(format!("t-{lost}/00000000000000000000.log"));
    let trace = dir.path().join("trace");
    let mut strace = attached(&broker, &trace, &log);
    let code = |partition| {
        let mut client = broker.connect();
        client.produce("t", partition, -1, batch(&["b"])).error_code
    };
    let refused = ErrorCode::KafkaStorageError.code();
    assert_eq!(code(lost), refused, "who waits is told");
    for _ in 0..3 {
        assert_eq!(code(lost), refused, "and so is everybody after it");
        assert_eq!(code(kept), 0, "the other directory goes on");
    }
    broker.terminate();
    broker.wait();
    strace.wait().unwrap();
    let trace = std::fs::read_to_string(trace).unwrap();
    assert_eq!(trace.matches("(INJECTED)").count(), 1, "{trace}");
    assert_eq!(trace.matches("fdatasync").count(), 1, "{trace}");
    let reread = dir.path().join("reread");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-q", "-e", "trace=fadvise64", "-o"]);
    let broker = start();
    command.arg(&reread).arg(broker.get_program());
    command.args(broker.get_args()).stdin(Stdio::null());
    let broker = Broker::spawn_as_is(&mut command, &first);
    let mut client = broker.connect();
    for partition in 0..4 {
        let found = client.consume("t", partition, 0);
        assert_eq!(&found[0].value[..], b"a");
        assert_eq!(
            client.produce("t", partition, -1, batch(&["c"])).error_code,
            0
        );
    }
    assert!(broker.stop());
    let reread = whole(&reread);
    let dropped = |line: &str| line.contains("DONTNEED") && line.contains(log.to_str().unwrap());
    assert!(reread.lines().any(dropped), "{reread}");
}

/// Fails the next sync of a file, in whichever thread of a running broker.
fn attached(broker: &Broker, trace: &Path, file: &Path) -> std::process::Child {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-qq", "-e", "signal=SIGKILL", "-o"])
        .arg(trace);
    command.arg("-P").arg(file);
    command.args(["-e", "trace=fdatasync,fsync"]);
    command.args(["-e", "inject=fdatasync:error=EIO:when=1"]);
    let child = command
        .args(["-p", &broker.pid().to_string()])
        .spawn()
        .unwrap();
    let tasks = format!("/proc/{}/task", broker.pid());
    eventually("every thread is watched", || {
        std::fs::read_dir(&tasks).unwrap().all(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status"));
            status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
        })
    });
    child
}
