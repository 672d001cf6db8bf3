//! What was deleted keeps its files for `file.delete.delay.ms`, and nothing is unlinked before a start
//! could do without it.

use std::path::Path;
use std::sync::Arc;

use crate::support::{self, Draft, Log, Manager, NOW, append, live, open};
use tidewheel_config::LogConfig;
use tidewheel_storage::fs::{Fault, FileSystem, SimFs};

const DELAY_MS: i64 = 60_000;

fn config() -> LogConfig {
    LogConfig {
        file_delete_delay_ms: DELAY_MS,
        retention_bytes: 500,
        ..support::config()
    }
}

fn start(disk: &SimFs, epoch: i32) -> (Manager, Arc<Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let (manager, mut logs) = open(&fs, vec![live("t", 1, config())], epoch).unwrap();
    (manager, logs.pop().unwrap())
}

fn fill(log: &Log, ids: std::ops::Range<u64>) {
    for id in ids {
        append(log, &Draft::new(id), false, NOW).unwrap();
    }
}

/// The names in a directory that contain `part`.
fn names(disk: &SimFs, dir: &str, part: &str) -> Vec<String> {
    let entries = disk.read_dir(Path::new(dir)).unwrap().into_iter();
    let names = entries.map(|entry| entry.name);
    names.filter(|name| name.contains(part)).collect()
}

fn deleted_files(disk: &SimFs) -> Vec<String> {
    names(disk, "/data/t-0", ".deleted")
}

/// A log whose first segment is renamed, and the names of its files.
fn with_a_deleted_segment() -> (SimFs, Manager, Arc<Log>) {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..40);
    manager.checkpoint(NOW).unwrap();
    assert!(log.apply_retention(NOW).unwrap().deleted_segments() > 0);
    manager.checkpoint(NOW).unwrap();
    (disk, manager, log)
}

#[test]
fn the_files_of_a_deleted_segment_are_renamed_and_unlinked_after_the_delay() {
    let (disk, manager, log) = with_a_deleted_segment();
    let kept = deleted_files(&disk);
    for ending in [".log", ".index", ".timeindex"] {
        let name = format!("00000000000000000000{ending}");
        assert!(kept.contains(&format!("{name}.deleted")), "{kept:?}");
        assert!(!names(&disk, "/data/t-0", "").contains(&name));
    }
    let snapshot = |name: &String| name.ends_with(".snapshot.deleted");
    assert!(kept.iter().any(snapshot), "{kept:?}");
    manager.unlink_deleted(NOW + DELAY_MS - 1).unwrap();
    assert_eq!(deleted_files(&disk), kept);
    fill(&log, 40..80);
    log.apply_retention(NOW).unwrap();
    manager.checkpoint(NOW + 10).unwrap();
    let both = deleted_files(&disk).len();
    manager.unlink_deleted(NOW + DELAY_MS).unwrap();
    assert_eq!(deleted_files(&disk).len(), both - kept.len());
    manager.unlink_deleted(NOW + 10 + DELAY_MS).unwrap();
    assert_eq!(deleted_files(&disk), [""; 0]);
}

#[test]
fn a_stop_and_a_start_wait_for_no_delay() {
    let (disk, manager, log) = with_a_deleted_segment();
    let killed = disk.kill();
    manager.close(NOW).unwrap();
    assert_eq!(deleted_files(&disk), [""; 0]);
    drop((manager, log));
    assert!(!deleted_files(&killed).is_empty());
    let (_manager, _log) = start(&killed, 1);
    assert_eq!(deleted_files(&killed), [""; 0]);
}

#[test]
fn a_disk_too_full_for_a_new_name_frees_the_segment_at_once() {
    for op in 0.. {
        let disk = SimFs::new();
        let (manager, log) = start(&disk, 0);
        fill(&log, 0..40);
        manager.checkpoint(NOW).unwrap();
        log.apply_retention(NOW).unwrap();
        let refused = disk.op_count() + op;
        disk.fail_at(refused, Fault::Enospc);
        manager.checkpoint(NOW).ok();
        if disk.op_count() <= refused {
            // The checkpoint had no more operations.
            assert!(op > 10);
            return;
        }
        if manager.offline_cause(0).is_some() {
            // It was a sync: what others had in the directory may be lost.
            continue;
        }
        manager.checkpoint(NOW).unwrap();
        let left = names(&disk, "/data/t-0", "00000000000000000000.");
        assert!(
            left.iter().all(|name| name.ends_with(".deleted")),
            "{left:?}"
        );
        manager.unlink_deleted(NOW + DELAY_MS).unwrap();
        let left = names(&disk, "/data/t-0", "00000000000000000000.");
        assert_eq!(left, [""; 0], "operation {op}");
    }
}

#[test]
fn the_directory_of_a_deleted_partition_is_kept_for_the_delay_and_not_through_a_start() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..3);
    manager.delete(&log, NOW).unwrap();
    let dirs = || names(&disk, "/data", "-delete");
    let kept = dirs();
    assert_eq!(kept.len(), 1);
    manager.unlink_deleted(NOW + DELAY_MS - 1).unwrap();
    assert_eq!(dirs(), kept);
    let killed = disk.kill();
    manager.unlink_deleted(NOW + DELAY_MS).unwrap();
    assert_eq!(dirs(), [""; 0]);
    let (manager, _log) = start(&killed, 1);
    manager.unlink_deleted(NOW).unwrap();
    assert_eq!(names(&killed, "/data", "-delete"), [""; 0]);
}
