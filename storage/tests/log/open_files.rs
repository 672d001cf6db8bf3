//! More partitions in use than files and maps may be open: those that were not used for long are closed,
//! the others stay open, and nothing is lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use crate::support::watch::WatchedFs;
use crate::support::{Draft, Log, Manager, NOW, append, config, id_of, options, read_all, tp};
use tidewheel_protocol::Uuid;
use tidewheel_storage::fs::SimFs;
use tidewheel_storage::{LivePartition, LogManagerOptions, OpenCounts, OpenLimits};

const PARTITIONS: u8 = 60;
const LIMITS: OpenLimits = OpenLimits { files: 8, maps: 12 };

fn live() -> Vec<LivePartition> {
    let one = |number: u8| LivePartition {
        tp: tp("t", number.into()),
        topic_id: Uuid([7; 16]),
        config: config(),
    };
    (0..PARTITIONS).map(one).collect()
}

fn start(fs: &WatchedFs, epoch: i32) -> (Manager, Vec<Arc<Log>>) {
    let options = LogManagerOptions {
        open: LIMITS,
        ..options(&["/data"])
    };
    let manager = Manager::open(Arc::new(fs.clone()), options).unwrap();
    let mut logs = manager.load(live(), epoch, NOW).unwrap().logs;
    logs.sort_by_key(|log| log.topic_partition().partition);
    (manager, logs)
}

/// At most so many: one log's own files are opened before anything is closed for them.
fn assert_bounded(manager: &Manager, what: &str) {
    let OpenCounts { files, maps } = manager.open_counts();
    assert!(files <= LIMITS.files + 1, "{what}: {files} files");
    assert!(maps <= LIMITS.maps + 3, "{what}: {maps} maps");
}

/// A batch of each id to each log, with a flush after each.
fn write(manager: &Manager, logs: &[Arc<Log>], ids: std::ops::Range<u64>) {
    for id in ids {
        for log in logs {
            append(log, &Draft::new(id), true, NOW).unwrap();
            assert!(manager.flush_round(0).error.is_none());
            assert_bounded(manager, "writing");
        }
    }
}

fn ids(log: &Log) -> Vec<u64> {
    read_all(log, 4_096).iter().map(id_of).collect()
}

#[test]
fn files_and_maps_stay_below_their_limits_whoever_is_used() {
    let fs = WatchedFs::new(SimFs::new());
    let (manager, logs) = start(&fs, 0);
    // Two segments each, of which the first is sealed by the checkpoint.
    write(&manager, &logs, 0..5);
    for log in &logs {
        let large = Draft {
            value_len: 1_500,
            ..Draft::new(5)
        };
        append(log, &large, true, NOW).unwrap();
        assert!(manager.flush_round(0).error.is_none());
        manager.checkpoint(NOW).unwrap();
    }
    write(&manager, &logs, 6..8);
    let all: Vec<u64> = (0..8).collect();
    for log in logs.iter().chain(logs.iter().rev()) {
        assert_eq!(ids(log), all);
        assert_bounded(&manager, "reading");
    }
    manager.close(NOW).unwrap();
    drop((manager, logs));
    let before = fs.opened().len();
    let (manager, logs) = start(&fs, 1);
    let partition = |path: &PathBuf| path.starts_with("/data/t-0");
    assert!(
        !fs.opened()[before..].iter().any(partition),
        "a clean start opens none"
    );
    assert_eq!(manager.open_counts(), OpenCounts::default());
    for log in &logs {
        assert_eq!(ids(log), all);
        assert_bounded(&manager, "reading after a start");
    }
}

#[test]
fn who_is_used_all_the_time_stays_open() {
    let fs = WatchedFs::new(SimFs::new());
    let (manager, logs) = start(&fs, 0);
    let (hot, cold) = logs.split_first().unwrap();
    write(&manager, &logs[..1], 0..1);
    assert_eq!(ids(hot), [0]);
    let opened = |fs: &WatchedFs| {
        let paths = fs.opened();
        let of_hot = |path: &&PathBuf| path.starts_with("/data/t-0/");
        paths.iter().filter(of_hot).count()
    };
    let at_first = opened(&fs);
    for log in cold {
        append(log, &Draft::new(1), true, NOW).unwrap();
        assert!(manager.flush_round(0).error.is_none());
        assert_eq!(ids(hot), [0]);
    }
    assert_eq!(opened(&fs), at_first, "never closed, so never opened again");
}

/// How often somebody was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Batches of which two fill a segment.
fn large(id: u64) -> Draft {
    Draft {
        value_len: 900,
        ..Draft::new(id)
    }
}

/// What a writer leaves behind it is closed for what it opens next.
#[test]
fn the_segments_that_one_log_fills_do_not_add_up() {
    let fs = WatchedFs::new(SimFs::new());
    let (manager, logs) = start(&fs, 0);
    for id in 0..100 {
        append(&logs[0], &large(id), true, NOW).unwrap();
        assert!(manager.flush_round(0).error.is_none());
        manager.checkpoint(NOW).unwrap();
        assert_bounded(&manager, "rolling");
    }
    assert_eq!(ids(&logs[0]), (0..100).collect::<Vec<_>>());
}

/// A consumer of old segments beside a producer for whom the disk is never done.
#[test]
fn old_segments_of_a_log_that_waits_for_the_disk_are_closed() {
    let fs = WatchedFs::new(SimFs::new());
    let (manager, logs) = start(&fs, 0);
    for id in 0..100 {
        append(&logs[0], &large(id), false, NOW).unwrap();
    }
    manager.checkpoint(NOW).unwrap();
    append(&logs[0], &Draft::new(100), false, NOW).unwrap();
    assert_eq!(ids(&logs[0]), (0..=100).collect::<Vec<_>>());
    assert_bounded(&manager, "reading");
    append(&logs[0], &Draft::new(101), false, NOW).unwrap();
    assert_eq!(ids(&logs[0]), (0..=101).collect::<Vec<_>>());
    assert!(manager.flush_round(0).error.is_none());
}

/// What waits for the disk stays open, and a flush is due at once.
#[test]
fn what_is_not_on_disk_yet_is_not_closed_but_flushed() {
    let fs = WatchedFs::new(SimFs::new());
    let (manager, logs) = start(&fs, 0);
    let woken = Arc::new(Woken::default());
    manager.wake_when_due(0, Waker::from(Arc::clone(&woken)));
    let (last, logs) = logs.split_last().unwrap();
    for log in logs {
        append(log, &Draft::new(0), false, NOW).unwrap();
    }
    assert_eq!(manager.open_counts().files, logs.len());
    assert!(manager.dirty(0).waiters, "a flush is due");
    assert_eq!(
        woken.0.load(Ordering::Relaxed),
        1,
        "and who flushes hears it"
    );
    assert_eq!(manager.flush_round(0).advanced.len(), logs.len());
    append(last, &Draft::new(0), true, NOW).unwrap();
    assert_bounded(&manager, "after the flush");
    logs.iter().for_each(|log| assert_eq!(ids(log), [0]));
}

#[test]
fn idle_partitions_hold_nothing() {
    let fs = WatchedFs::new(SimFs::new());
    let (manager, logs) = start(&fs, 0);
    write(&manager, &logs[..5], 0..1);
    logs[..5].iter().for_each(|log| drop(ids(log)));
    assert_ne!(manager.open_counts(), OpenCounts::default());
    manager.checkpoint(NOW).unwrap();
    for _ in 0..2 {
        manager.release_idle(NOW + 60_000, 30_000);
    }
    assert_eq!(manager.open_counts(), OpenCounts::default());
    assert_eq!(ids(&logs[4]), [0]);
}
