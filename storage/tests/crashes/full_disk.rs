//! Little free space: clients' records are refused before the reserve, the broker's own logs are not; what
//! may go early goes, the oldest first; a start finds room, and all is well once there is space again.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use crate::support::{self, Draft, Log, Manager, NOW, append, id_of, live, options, read_all};
use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::{
    AppendInfo, CleanerOptions, LivePartition, LogCleaner, LogManagerOptions, SpaceLimits,
    SpaceState, StorageError,
};

const DISK: u64 = 1 << 20;
const RESERVED: u64 = 20_000;
const LOW: u64 = 40_000;

const WELL: SpaceState = SpaceState {
    is_low: false,
    is_full: false,
};
const FULL: SpaceState = SpaceState {
    is_low: true,
    is_full: true,
};

fn config() -> LogConfig {
    LogConfig {
        file_delete_delay_ms: 60_000,
        segment_bytes: 100_000,
        index_interval_bytes: 16_384,
        ..support::config()
    }
}

/// May lose what is older than this.
fn early(low_disk_retention_ms: i64) -> LogConfig {
    LogConfig {
        low_disk_retention_ms,
        segment_bytes: 2_000,
        ..config()
    }
}

fn start(disk: &SimFs, live: Vec<LivePartition>, epoch: i32) -> (Manager, Vec<Arc<Log>>) {
    load(open(disk, 0), live, epoch)
}

fn open(disk: &SimFs, ballast_bytes: u64) -> Manager {
    let options = LogManagerOptions {
        space: SpaceLimits {
            low_bytes: LOW,
            reserved_bytes: RESERVED,
            ballast_bytes,
        },
        ..options(&["/data"])
    };
    Manager::open(Arc::new(disk.clone()), options).unwrap()
}

fn load(manager: Manager, live: Vec<LivePartition>, epoch: i32) -> (Manager, Vec<Arc<Log>>) {
    let mut logs = manager.load(live, epoch, NOW).unwrap().logs;
    logs.sort_by_key(|log| log.topic_partition().topic.to_string());
    (manager, logs)
}

/// Large enough that the watermarks are as they are set, and half full.
fn new_disk() -> SimFs {
    let disk = SimFs::new();
    let other = disk.open(Path::new("/other"), OpenMode::Create).unwrap();
    let bytes = vec![0; usize::try_from(DISK).unwrap()];
    other.write_all_at(&[IoSlice::new(&bytes)], 0).unwrap();
    other.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.set_free_bytes(DISK);
    disk
}

fn free(disk: &SimFs) -> u64 {
    disk.space(Path::new("/data")).unwrap().free_bytes
}

/// As a client's records are appended.
fn client_append(log: &Log, draft: &Draft) -> Result<AppendInfo, StorageError> {
    log.take_room(draft.batch().bytes.len() as u64)?;
    append(log, draft, false, NOW)
}

fn draft(id: u64) -> Draft {
    Draft {
        value_len: 1_000,
        ..Draft::new(id)
    }
}

/// Appends until nothing more is taken; returns how many batches were.
fn fill(log: &Log) -> u64 {
    for id in 0.. {
        match client_append(log, &draft(id)) {
            Ok(_) => {}
            Err(StorageError::NoRoom { .. }) => return id,
            Err(error) => unreachable!("{error}"),
        }
    }
    unreachable!("the disk fills up")
}

fn ids(log: &Log) -> Vec<u64> {
    read_all(log, 4_096).iter().map(id_of).collect()
}

#[test]
fn clients_are_refused_before_the_reserve_which_is_for_own_logs() {
    let disk = new_disk();
    let partitions = vec![live("client", 1, config()), live("own", 2, config())];
    let (manager, logs) = start(&disk, partitions, 0);
    assert_eq!(manager.watch_space(), [WELL]);
    let taken = fill(&logs[0]);
    let left = free(&disk);
    // Records are counted, not the first few bytes beside them.
    assert!((RESERVED - 50..RESERVED + 1_200).contains(&left), "{left}");
    assert_eq!(manager.watch_space(), [FULL]);
    // What the broker writes for itself goes on, to the end of the disk.
    for id in 0..5 {
        append(&logs[1], &draft(id), true, NOW).unwrap();
    }
    assert!(manager.flush_round(0).error.is_none());
    manager.checkpoint(NOW).unwrap();
    assert_eq!(ids(&logs[1]), [0, 1, 2, 3, 4]);
    assert!(client_append(&logs[0], &draft(taken)).is_err());
    // A deletion frees its space at once, and clients notice.
    manager.delete(&logs[0], NOW).unwrap();
    manager.unlink_deleted(NOW).unwrap();
    assert!(free(&disk) > LOW);
    client_append(&logs[1], &draft(5)).unwrap();
    manager.watch_space();
    assert_eq!(manager.watch_space(), [WELL]);
}

#[test]
fn a_start_on_a_full_disk_serves_refuses_and_recovers() {
    let disk = new_disk();
    let partitions = || vec![live("client", 1, config()), live("own", 2, config())];
    let (manager, logs) = start(&disk, partitions(), 0);
    let taken = fill(&logs[0]);
    append(&logs[1], &draft(0), true, NOW).unwrap();
    assert!(manager.flush_round(0).error.is_none());
    let all: Vec<u64> = (0..taken).collect();
    for disk in [disk.kill(), disk.crash_lose_all_unsynced()] {
        let (manager, logs) = start(&disk, partitions(), 1);
        assert_eq!(ids(&logs[0]), all);
        let refused = client_append(&logs[0], &draft(taken)).unwrap_err();
        assert!(matches!(refused, StorageError::NoRoom { .. }), "{refused}");
        append(&logs[1], &draft(1), true, NOW).unwrap();
        manager.close(NOW).unwrap();
        drop((manager, logs));
        let disk = disk.kill();
        let (manager, logs) = start(&disk, partitions(), 2);
        assert!(client_append(&logs[0], &draft(taken)).is_err());
        disk.set_free_bytes(DISK);
        client_append(&logs[0], &draft(taken)).unwrap();
        let everything: Vec<u64> = (0..=taken).collect();
        assert_eq!(ids(&logs[0]), everything);
        assert_eq!(ids(&logs[1]), [0, 1]);
        manager.close(NOW).unwrap();
    }
}

#[test]
fn the_oldest_records_that_may_go_early_go_until_there_is_room() {
    let disk = new_disk();
    let partitions = vec![
        live("a-any", 1, early(0)),
        live("b-hour", 2, early(3_600_000)),
        live("c-never", 3, early(-1)),
    ];
    let (manager, logs) = start(&disk, partitions, 0);
    // The three begin together, and draft after draft is a second younger.
    for id in 0..100 {
        let timestamp = NOW + i64::try_from(id).unwrap() * 1_000;
        for log in &logs {
            let draft = Draft {
                timestamp,
                ..draft(id)
            };
            append(log, &draft, false, NOW).unwrap();
        }
    }
    let starts = || -> Vec<i64> { logs.iter().map(|log| log.offsets().log_start).collect() };
    let free_to = |bytes: u64| {
        disk.set_free_bytes(bytes);
        manager.watch_space();
    };
    manager.checkpoint(NOW).unwrap();
    // After an hour and 10 seconds.
    let now_ms = NOW + 3_610_000;
    free_to(LOW);
    assert!(manager.retain_early(now_ms).is_empty());
    free_to(LOW - 10_000);
    let told = manager.retain_early(now_ms);
    assert_eq!(told.len(), 2, "{told:?}");
    let after = starts();
    assert!((4..=8).contains(&after[0]), "{after:?}");
    assert_eq!(after[0], after[1], "the oldest of both");
    assert!(
        manager.retain_early(now_ms).is_empty(),
        "what leaves counts as free"
    );
    manager.checkpoint(now_ms).unwrap();
    manager.unlink_deleted(now_ms).unwrap();
    assert!(free(&disk) >= LOW, "unlinked at once: {}", free(&disk));
    // Nothing younger than a topic allows goes, however little is left.
    for _ in 0..6 {
        free_to(RESERVED / 2);
        manager.retain_early(now_ms);
        manager.checkpoint(now_ms).unwrap();
        manager.unlink_deleted(now_ms).unwrap();
    }
    assert_eq!(starts()[0], 100);
    assert!((8..=10).contains(&starts()[1]), "{:?}", starts());
    assert_eq!(starts()[2], 0);
}

#[test]
fn compaction_leaves_half_of_the_reserve() {
    let disk = new_disk();
    let compacted = LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: false,
            compact: true,
        },
        min_cleanable_dirty_ratio: 0.0,
        segment_bytes: 2_000,
        ..config()
    };
    let (manager, logs) = start(&disk, vec![live("t", 1, compacted)], 0);
    for _ in 0..20 {
        append(&logs[0], &draft(0), false, NOW).unwrap();
    }
    manager.checkpoint(NOW).unwrap();
    let mut cleaner = LogCleaner::new(CleanerOptions {
        dedupe_buffer_bytes: 1 << 16,
        load_factor: 0.9,
        secret: (1, 2),
    });
    let mut clean = || {
        let mut outcomes = Vec::new();
        let mut tell = |report: tidewheel_storage::CleaningReport| outcomes.push(report.outcome);
        cleaner.clean_due(&manager, &|| NOW, &mut |_| true, &mut tell);
        outcomes
    };
    disk.set_free_bytes(RESERVED / 2 + 1_000);
    let outcomes = clean();
    assert!(
        matches!(outcomes[..], [Err(StorageError::NoRoom { .. })]),
        "{outcomes:?}"
    );
    // Clients' records are refused there.
    disk.set_free_bytes(RESERVED);
    assert!(matches!(clean()[..], [Ok(_), ..]));
}

const BALLAST: u64 = RESERVED / 4;

/// Starts as a broker does, which notes its start in the metadata first.
fn start_with_ballast(disk: &SimFs, live: Vec<LivePartition>) -> (Manager, Vec<Arc<Log>>) {
    let manager = open(disk, BALLAST);
    let metadata = manager.open_metadata_log(None, NOW).unwrap();
    append(&metadata, &Draft::new(0), true, NOW).unwrap();
    metadata.flush(NOW).unwrap();
    let epoch = metadata.leader_epoch();
    load(manager, live, epoch)
}

fn ballast(disk: &SimFs) -> u64 {
    let file = disk.open(Path::new("/data/tidewheel.ballast"), OpenMode::Read);
    file.map_or(0, |file| file.len().unwrap())
}

/// A durable append of the broker's own, and what it stands on.
fn commit(manager: &Manager, log: &Log, id: u64) {
    append(log, &draft(id), true, NOW).unwrap();
    assert!(manager.flush_round(0).error.is_none());
    manager.checkpoint(NOW).unwrap();
}

#[test]
fn where_others_leave_nothing_own_logs_are_written_out_of_the_ballast() {
    let disk = new_disk();
    let partitions = vec![live("client", 1, config()), live("own", 2, config())];
    let (manager, logs) = start_with_ballast(&disk, partitions);
    commit(&manager, &logs[1], 0);
    for round in 1..4 {
        assert_eq!(manager.watch_space(), [WELL]);
        assert_eq!(ballast(&disk), BALLAST, "it is there again");
        disk.set_free_bytes(0);
        commit(&manager, &logs[1], round);
        assert_eq!(ballast(&disk), 0, "that is where the room came from");
        assert!(
            client_append(&logs[0], &draft(0)).is_err(),
            "not for clients"
        );
        assert_eq!(manager.watch_space(), [FULL]);
        disk.set_free_bytes(RESERVED);
        manager.watch_space();
        assert_eq!(ballast(&disk), 0, "not before there is enough");
        disk.set_free_bytes(DISK);
        client_append(&logs[0], &draft(round)).unwrap();
        manager.watch_space();
    }
    assert_eq!(ids(&logs[1]), [0, 1, 2, 3]);
}

#[test]
fn a_disk_that_others_filled_can_be_started_on_and_stopped() {
    for clean in [true, false] {
        let mut disk = new_disk();
        let partitions = || vec![live("own", 2, config())];
        let (manager, logs) = start_with_ballast(&disk, partitions());
        commit(&manager, &logs[0], 0);
        manager.watch_space();
        if clean {
            manager.close(NOW).unwrap();
        }
        drop((manager, logs));
        disk = disk.kill();
        disk.set_free_bytes(0);
        let (manager, logs) = start_with_ballast(&disk, partitions());
        commit(&manager, &logs[0], 1);
        assert_eq!(ids(&logs[0]), [0, 1], "clean: {clean}");
        manager.delete(&logs[0], NOW).unwrap();
        manager.unlink_deleted(NOW).unwrap();
        manager.close(NOW).unwrap();
        drop((manager, logs));
        disk = disk.kill();
        disk.set_free_bytes(DISK);
        let (manager, _) = start_with_ballast(&disk, Vec::new());
        manager.watch_space();
        assert_eq!(
            (manager.watch_space(), ballast(&disk)),
            (vec![WELL], BALLAST)
        );
    }
}
