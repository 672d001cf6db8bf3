//! Clean stops with many partitions, by several threads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::watch::WatchedFs;
use crate::support::{self, Draft, Log, Manager, NOW, append, id_of, live, options, read_all};
use tidewheel_storage::fs::{Fault, FileSystem, OpenMode, SimFs};
use tidewheel_storage::{LivePartition, LogManagerOptions};

const LOGS: u8 = 12;

fn topics() -> Vec<LivePartition> {
    let topics = (1..=LOGS).map(|id| live(&format!("t{id}"), id, support::config()));
    topics.collect()
}

fn start(fs: Arc<dyn FileSystem>, threads: usize) -> (Manager, Vec<Arc<Log>>) {
    let options = LogManagerOptions {
        recovery_threads: threads,
        ..options(&["/data"])
    };
    let manager = Manager::open(fs, options).unwrap();
    let loaded = manager.load(topics(), 1, NOW).unwrap();
    (manager, loaded.logs)
}

/// Two checkpoints of each log; the second one makes the snapshot of the first obsolete.
fn write_twice(manager: &Manager, logs: &[Arc<Log>]) {
    for id in 0..2 {
        for log in logs {
            append(log, &Draft::new(id), false, NOW).unwrap();
        }
        manager.flush_round(0);
        manager.checkpoint(NOW).unwrap();
    }
}

/// Every other log gets a batch that no checkpoint knows; their names.
fn change_some(logs: &[Arc<Log>]) -> Vec<PathBuf> {
    let some = logs.iter().step_by(2).map(|log| {
        append(log, &Draft::new(2), false, NOW).unwrap();
        Path::new("/data").join(log.topic_partition().to_string())
    });
    some.collect()
}

/// All files below `/data`, the lines of the manifest in order: it names partitions in any.
fn files(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![PathBuf::from("/data")];
    while let Some(dir) = dirs.pop() {
        for entry in fs.read_dir(&dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                dirs.push(path);
                continue;
            }
            let file = fs.open(&path, OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            if entry.name == "tidewheel.manifest" {
                let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
                // But for the checksum.
                lines.retain(|line| !line.starts_with(b"crc32:"));
                lines.sort_unstable();
                bytes = lines.concat();
            }
            files.insert(path, bytes);
        }
    }
    files
}

fn snapshots(fs: &SimFs) -> Vec<usize> {
    let of_log = |id| {
        let dir = PathBuf::from(format!("/data/t{id}-0"));
        let entries = fs.read_dir(&dir).unwrap();
        let snapshots = entries.iter();
        snapshots
            .filter(|entry| entry.name.ends_with(".snapshot"))
            .count()
    };
    (1..=LOGS).map(of_log).collect()
}

#[test]
fn several_threads_leave_what_one_leaves() {
    let stopped = |threads| {
        let disk = SimFs::new();
        let (manager, logs) = start(Arc::new(disk.clone()), threads);
        write_twice(&manager, &logs);
        change_some(&logs);
        manager.close(NOW).unwrap();
        files(&disk.crash_lose_all_unsynced())
    };
    let alone = stopped(1);
    assert!(alone.contains_key(Path::new("/data/.kafka_cleanshutdown")));
    for threads in [2, 4, 100] {
        assert_eq!(stopped(threads), alone);
    }
}

#[test]
fn a_stop_waits_for_the_disk_in_several_partitions_at_once() {
    let fs = WatchedFs::new(SimFs::new());
    let (manager, logs) = start(Arc::new(fs.clone()), 4);
    write_twice(&manager, &logs);
    change_some(&logs);
    fs.call_meeting();
    manager.close(NOW).unwrap();
    assert!(fs.most_at_once() >= 2);
}

#[test]
fn a_stop_syncs_the_directory_of_a_changed_partition_once_and_no_other() {
    let fs = WatchedFs::new(SimFs::new());
    let (manager, logs) = start(Arc::new(fs.clone()), 1);
    write_twice(&manager, &logs);
    let mut changed = change_some(&logs);
    let before = fs.synced_dirs().len();
    manager.close(NOW).unwrap();
    let mut synced = fs.synced_dirs().split_off(before);
    synced.retain(|dir| dir != Path::new("/data"));
    synced.sort_unstable();
    changed.sort_unstable();
    assert_eq!(synced, changed);
}

#[test]
fn a_snapshot_that_a_power_cut_brings_back_goes_with_the_next_checkpoint() {
    let disk = SimFs::new();
    let (manager, logs) = start(Arc::new(disk.clone()), 1);
    write_twice(&manager, &logs);
    manager.close(NOW).unwrap();
    assert_eq!(snapshots(&disk), [1; LOGS as usize]);
    drop((manager, logs));
    let cut = disk.crash_lose_all_unsynced();
    assert_eq!(snapshots(&cut), [2; LOGS as usize], "nothing synced that");
    // One start at which nothing is written does not forget them.
    let (manager, logs) = start(Arc::new(cut.clone()), 1);
    manager.close(NOW).unwrap();
    drop((manager, logs));
    let (manager, logs) = start(Arc::new(cut.clone()), 1);
    for log in &logs {
        append(log, &Draft::new(3), false, NOW).unwrap();
    }
    manager.flush_round(0);
    manager.checkpoint(NOW).unwrap();
    assert_eq!(snapshots(&cut), [1; LOGS as usize]);
}

/// The stop fails or does not, and the next start has everything.
#[test]
fn a_disk_that_fails_in_a_stop_of_several_threads_costs_nothing() {
    for fault in [Fault::Eio, Fault::Enospc, Fault::Crash] {
        for fails_at in 0.. {
            let disk = SimFs::new();
            let (manager, logs) = start(Arc::new(disk.clone()), 4);
            write_twice(&manager, &logs);
            change_some(&logs);
            assert!(manager.flush_round(0).error.is_none());
            let op = disk.op_count() + fails_at;
            disk.fail_at(op, fault);
            let outcome = manager.close(NOW);
            if disk.op_count() <= op {
                outcome.unwrap();
                assert!(fails_at > u64::from(LOGS), "each operation has failed once");
                break;
            }
            drop(manager);
            let (_manager, after) = start(Arc::new(disk.crash_lose_all_unsynced()), 4);
            for (at, log) in after.iter().enumerate() {
                assert!(log.refusal().is_none());
                let ids: Vec<_> = read_all(log, 1 << 20).iter().map(id_of).collect();
                let all = if at % 2 == 0 { 0..3 } else { 0..2 };
                assert_eq!(ids, all.collect::<Vec<_>>(), "{fault:?} at {fails_at}");
            }
        }
    }
}
