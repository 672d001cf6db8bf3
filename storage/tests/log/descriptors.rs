//! No descriptors left: what needs one waits for the next round or fails, and no log directory is taken for
//! broken.

use std::sync::Arc;

use crate::support::watch::WatchedFs;
use crate::support::{self, Draft, Log, Manager, NOW, append, id_of, live, open, read_all};
use tidewheel_config::LogConfig;
use tidewheel_storage::fs::{FileSystem, SimFs};

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        ..support::config()
    }
}

fn start() -> (SimFs, WatchedFs, Manager, Vec<Arc<Log>>) {
    let disk = SimFs::new();
    let watched = WatchedFs::new(disk.clone());
    let fs: Arc<dyn FileSystem> = Arc::new(watched.clone());
    let partitions = vec![live("old", 1, config()), live("new", 2, config())];
    let (manager, logs) = open(&fs, partitions, 0).unwrap();
    (disk, watched, manager, logs)
}

/// What a power cut leaves of a topic.
fn left(disk: &SimFs, topic: &str, id: u8) -> Vec<u64> {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.crash_lose_all_unsynced());
    let (_manager, logs) = open(&fs, vec![live(topic, id, config())], 1).unwrap();
    read_all(&logs[0], 1 << 20).iter().map(id_of).collect()
}

/// The first sync of a log needs its directory. Where that cannot be opened the round is repeated, and
/// nobody is answered before it got through.
#[test]
fn a_round_that_cannot_open_a_directory_is_repeated_and_answers_nobody() {
    let (disk, watched, manager, logs) = start();
    append(&logs[0], &Draft::new(0), true, NOW).unwrap();
    assert!(manager.flush_round(0).error.is_none());
    for (log, id) in logs.iter().zip(1..) {
        append(log, &Draft::new(id), true, NOW).unwrap();
    }
    watched.exhaust(true);
    for advanced in [vec![logs[0].id()], Vec::new(), Vec::new()] {
        let round = manager.flush_round(0);
        assert_eq!(round.advanced, advanced, "only who needs no directory");
        assert!(round.error.unwrap().is_out_of_descriptors());
        assert!(manager.offline_cause(0).is_none());
        assert!(manager.dirty(0).waiters, "the next round is due");
        assert_eq!(logs[1].offsets().durable, 0);
    }
    assert_eq!(left(&disk, "new", 2), [0; 0]);
    watched.exhaust(false);
    let round = manager.flush_round(0);
    assert_eq!(round.advanced, [logs[1].id()]);
    assert!(round.error.is_none() && !manager.dirty(0).waiters);
    assert_eq!(logs[1].offsets().high_watermark, 1);
    assert_eq!(left(&disk, "new", 2), [2]);
    assert_eq!(left(&disk, "old", 1), [0, 1]);
}

/// A log that was appended to again is listed once.
#[test]
fn what_is_appended_meanwhile_goes_with_the_repeated_round() {
    let (disk, watched, manager, logs) = start();
    append(&logs[1], &Draft::new(0), true, NOW).unwrap();
    watched.exhaust(true);
    assert!(manager.flush_round(0).error.is_some());
    append(&logs[1], &Draft::new(1), false, NOW).unwrap();
    watched.exhaust(false);
    assert_eq!(manager.flush_round(0).advanced, [logs[1].id()]);
    assert_eq!(left(&disk, "new", 2), [0, 1]);
}

/// Who syncs by itself does not come again: what it appended must not become durable behind its back.
#[test]
fn a_flush_that_nobody_repeats_takes_the_directory_offline() {
    let (_disk, watched, manager, logs) = start();
    append(&logs[1], &Draft::new(0), true, NOW).unwrap();
    watched.exhaust(true);
    assert!(logs[1].flush(NOW).unwrap_err().is_out_of_descriptors());
    assert!(manager.offline_cause(0).is_some());
    watched.exhaust(false);
    assert!(manager.flush_round(0).advanced.is_empty());
}

/// Deleted directories are unlinked once they can be listed and synced again.
#[test]
fn unlinking_waits_for_descriptors() {
    let (_disk, watched, manager, logs) = start();
    append(&logs[0], &Draft::new(0), true, NOW).unwrap();
    assert!(manager.flush_round(0).error.is_none());
    manager.delete(&logs[0], NOW).unwrap();
    watched.exhaust(true);
    manager.unlink_deleted(NOW).unwrap_err();
    manager.unlink_deleted(NOW + 600_000).unwrap_err();
    assert!(manager.offline_cause(0).is_none());
    watched.exhaust(false);
    manager.unlink_deleted(NOW + 600_000).unwrap();
    let names = watched.read_dir("/data".as_ref()).unwrap();
    assert!(
        names.iter().all(|entry| !entry.name.contains("-delete")),
        "{names:?}"
    );
    // Where nothing is to be removed, no directory is listed.
    watched.exhaust(true);
    manager.unlink_deleted(NOW + 700_000).unwrap();
}

/// An index that is made anew for want of a descriptor would stay in memory.
#[test]
fn an_index_that_cannot_be_opened_is_opened_later() {
    let (_disk, watched, manager, logs) = start();
    let large = Draft {
        value_len: 600_000,
        ..Draft::new(0)
    };
    append(&logs[0], &large, true, NOW).unwrap();
    append(&logs[0], &large, true, NOW).unwrap();
    manager.checkpoint(NOW).unwrap();
    // Its data file is open, its index was put away with the checkpoint.
    watched.exhaust(true);
    let refused = logs[0].read(0, 1, true).unwrap_err();
    assert!(refused.is_out_of_descriptors(), "{refused}");
    watched.exhaust(false);
    assert!(logs[0].read(0, 1, true).unwrap().slice.is_some());
    assert_eq!(manager.open_counts().maps, 3, "the data and both indexes");
}

/// A deletion whose directory is gone is not looked for again and again.
#[test]
fn a_deletion_whose_directory_is_gone_is_forgotten() {
    let (_disk, watched, manager, logs) = start();
    append(&logs[0], &Draft::new(0), true, NOW).unwrap();
    assert!(manager.flush_round(0).error.is_none());
    manager.delete(&logs[0], NOW).unwrap();
    let data = std::path::Path::new("/data");
    let entries = watched.read_dir(data).unwrap();
    let gone = entries.iter().find(|entry| entry.name.contains("-delete"));
    watched
        .remove_dir_all(&data.join(&gone.unwrap().name))
        .unwrap();
    manager.unlink_deleted(NOW + 600_000).unwrap();
    watched.exhaust(true);
    manager.unlink_deleted(NOW + 700_000).unwrap();
}
