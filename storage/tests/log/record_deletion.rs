//! DeleteRecords on the simulated disk: what was deleted stays deleted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::files::damages;
use crate::support::{self, Draft, Log, Manager, NOW, append, live, open};
use tidewheel_storage::StorageError;
use tidewheel_storage::checkpoint::{LOG_START_OFFSET_CHECKPOINT, read_offsets};
use tidewheel_storage::fs::{FileSystem, SimFs};

fn start(disk: &SimFs, epoch: i32) -> (Manager, Vec<Arc<Log>>) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let partitions = ["a", "b"].into_iter().zip(1..);
    let partitions = partitions.map(|(topic, id)| live(topic, id, support::config()));
    open(&fs, partitions.collect(), epoch).unwrap()
}

fn fill(log: &Log) {
    for id in 0..100 {
        append(log, &Draft::new(id), false, NOW).unwrap();
    }
}

#[test]
fn deleted_records_stay_deleted_after_a_power_cut() {
    for below in [1, 57, 100] {
        let disk = SimFs::new();
        let (manager, logs) = start(&disk, 0);
        fill(&logs[0]);
        fill(&logs[1]);
        let starts = manager.delete_records(&[(Arc::clone(&logs[0]), below)], NOW);
        assert_eq!(starts[0].as_ref().unwrap(), &below);
        assert!(matches!(
            logs[0].read(below - 1, 1, true),
            Err(StorageError::OffsetOutOfRange { .. })
        ));
        let disk = disk.crash_lose_all_unsynced();
        let (_manager, logs) = start(&disk, 1);
        let offsets = logs[0].offsets();
        assert_eq!((offsets.log_start, offsets.log_end), (below, 100));
        assert_eq!(logs[1].offsets().log_start, 0);
    }
}

#[test]
fn a_deletion_right_after_a_checkpoint_is_written_down_as_well() {
    let disk = SimFs::new();
    let (manager, logs) = start(&disk, 0);
    fill(&logs[0]);
    manager.checkpoint(NOW).unwrap();
    manager.delete_records(&[(Arc::clone(&logs[0]), 30)], NOW)[0]
        .as_ref()
        .unwrap();
    let disk = disk.crash_lose_all_unsynced();
    let (_manager, logs) = start(&disk, 1);
    assert_eq!(logs[0].offsets().log_start, 30);
}

/// The cleaning thread may be about to write the directory's files for both; until it has, nobody is told.
#[test]
fn a_deletion_beside_checkpoints_is_on_the_disk_when_it_is_told() {
    let disk = SimFs::new();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    // Many are looked at between the checkpoint of the log and the writing of the files.
    let others = (0..3_000).map(|number| live(&format!("idle{number}"), 1, support::config()));
    let busy = [("a", 1), ("b", 2)].map(|(topic, id)| live(topic, id, support::config()));
    let (manager, _logs) = open(&fs, busy.into_iter().chain(others).collect(), 0).unwrap();
    let [a, b] = ["a", "b"].map(|topic| manager.get(&support::tp(topic, 0)).unwrap());
    let path = Path::new("/data").join(LOG_START_OFFSET_CHECKPOINT);
    let done = AtomicBool::new(false);
    let early = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                append(&b, &Draft::new(0), false, NOW).unwrap();
                manager.checkpoint(NOW).unwrap();
            }
        });
        let delete = |round: i64| {
            append(&a, &Draft::new(0), false, NOW).unwrap();
            let starts = manager.delete_records(&[(Arc::clone(&a), round)], NOW);
            assert_eq!(starts[0].as_ref().unwrap(), &round);
            let disk = disk.crash_lose_all_unsynced();
            let written = read_offsets(&disk, &path).unwrap();
            written.get(a.topic_partition()) != Some(&round)
        };
        let early = (1..=200).filter(|round| delete(*round)).count();
        done.store(true, Ordering::Relaxed);
        early
    });
    assert_eq!(early, 0, "a power cut would have brought them back");
}

#[test]
fn each_log_has_its_own_outcome() {
    let disk = SimFs::new();
    let (manager, logs) = start(&disk, 0);
    fill(&logs[0]);
    let wanted = [(Arc::clone(&logs[1]), 1), (Arc::clone(&logs[0]), 40)];
    let starts = manager.delete_records(&wanted, NOW);
    assert!(matches!(
        starts[0],
        Err(StorageError::OffsetOutOfRange { offset: 1, .. })
    ));
    assert_eq!(starts[1].as_ref().unwrap(), &40);
    let back = manager.delete_records(&[(Arc::clone(&logs[0]), 10)], NOW);
    assert_eq!(back[0].as_ref().unwrap(), &40, "the start never moves back");
}

#[test]
fn a_full_disk_is_told_and_the_records_are_gone_for_readers_all_the_same() {
    let disk = SimFs::new();
    let (manager, logs) = start(&disk, 0);
    fill(&logs[0]);
    disk.set_free_bytes(0);
    let starts = manager.delete_records(&[(Arc::clone(&logs[0]), 40)], NOW);
    assert!(matches!(starts[0], Err(StorageError::DiskFull { .. })));
    assert_eq!(logs[0].offsets().log_start, 40);
    let again = manager.delete_records(&[(Arc::clone(&logs[0]), 40)], NOW);
    assert!(again[0].is_err(), "it is not on the disk yet");
    disk.set_free_bytes(1 << 30);
    let again = manager.delete_records(&[(Arc::clone(&logs[0]), 40)], NOW);
    assert_eq!(again[0].as_ref().unwrap(), &40);
    let (_manager, logs) = start(&disk.crash_lose_all_unsynced(), 1);
    assert_eq!(logs[0].offsets().log_start, 40);
}

/// A start cuts epochs at the log start; the checkpoint and the manifest then say the same.
#[test]
fn after_a_deletion_and_a_kill_a_clean_stop_leaves_epochs_that_agree() {
    for retention in [false, true] {
        let disk = SimFs::new();
        let (manager, logs) = start(&disk, 0);
        fill(&logs[0]);
        manager.checkpoint(NOW).unwrap();
        manager.delete_records(&[(Arc::clone(&logs[0]), 40)], NOW)[0]
            .as_ref()
            .unwrap();
        if retention {
            assert!(logs[0].apply_retention(NOW).unwrap().deleted_segments() > 0);
            manager.checkpoint(NOW).unwrap();
        }
        drop((manager, logs));
        let disk = disk.kill();
        let (manager, _logs) = start(&disk, 1);
        manager.close(NOW).unwrap();
        assert_eq!(damages(&disk.kill()), [""; 0], "retention: {retention}");
    }
}
