//! One partition through its life: lazy opening, rolling, retention, damage, a full disk, deletion.

use std::path::Path;
use std::sync::Arc;

use crate::support::watch::WatchedFs;
use crate::support::{
    self, Draft, Log, Manager, NOW, append, check_lookups, id_of, live, open, read_all, tp,
};
use tidewheel_config::{LogConfig, TimestampType};
use tidewheel_protocol::{Compression, RecordBatch};
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::{StorageError, validate};

/// A new partition `t-0` on a new disk.
fn fresh(config: LogConfig) -> (SimFs, Manager, Arc<Log>) {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, config, 0);
    (disk, manager, log)
}

fn start(disk: &SimFs, config: LogConfig, epoch: i32) -> (Manager, Arc<Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let (manager, mut logs) = open(&fs, vec![live("t", 1, config)], epoch).unwrap();
    (manager, logs.pop().unwrap())
}

fn fill(log: &Log, ids: std::ops::Range<u64>) {
    for id in ids {
        append(log, &Draft::new(id), false, NOW).unwrap();
    }
}

fn names(disk: &SimFs, ending: &str) -> Vec<String> {
    let entries = disk.read_dir(Path::new("/data/t-0")).unwrap();
    entries
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| name.contains(ending))
        .collect()
}

fn ids(log: &Log) -> Vec<u64> {
    read_all(log, 1 << 20).iter().map(id_of).collect()
}

#[test]
fn a_start_after_a_clean_stop_opens_no_file_of_a_partition_until_it_is_used() {
    let (disk, manager, log) = fresh(support::config());
    fill(&log, 0..40);
    manager.close(NOW).unwrap();
    let end = log.offsets();
    drop((manager, log));
    let watched = WatchedFs::new(disk);
    let fs: Arc<dyn FileSystem> = Arc::new(watched.clone());
    let (manager, logs) = open(&fs, vec![live("t", 1, support::config())], 1).unwrap();
    let touched = || {
        watched
            .opened()
            .iter()
            .filter(|path| path.starts_with("/data/t-0"))
            .count()
    };
    assert_eq!(touched(), 0);
    assert_eq!((logs[0].offsets(), logs[0].size_bytes() > 0), (end, true));
    assert_eq!(touched(), 0, "offsets and size are known");
    logs[0].read(0, 1, true).unwrap();
    assert!(touched() > 0);
    append(&logs[0], &Draft::new(40), false, NOW).unwrap();
    assert_eq!(ids(&logs[0]), (0..41).collect::<Vec<_>>());
    check_lookups(&logs[0], &read_all(&logs[0], 1 << 20));
    manager.close(NOW).unwrap();
}

#[test]
fn fact_18_a_clean_stop_leaves_whole_indexes_no_zeros_and_a_snapshot() {
    let (disk, manager, log) = fresh(support::config());
    for (sequence, id) in (0..60).enumerate() {
        let mut draft = Draft::new(id);
        draft.producer = Some((7, 0, i32::try_from(sequence).unwrap()));
        append(&log, &draft, false, NOW).unwrap();
    }
    let batches = read_all(&log, 1 << 20);
    manager.close(NOW).unwrap();
    let logs = names(&disk, ".log");
    assert!(logs.len() > 3);
    let mut bytes = 0;
    for name in &logs {
        let base = name.trim_end_matches(".log");
        let base_offset: i64 = base.parse().unwrap();
        let read = |ending: &str| {
            let path = Path::new("/data/t-0").join(format!("{base}{ending}"));
            let file = disk.open(&path, OpenMode::Read).unwrap();
            let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_exact_at(&mut content, 0).unwrap();
            content
        };
        let log_bytes = read(".log");
        let (offsets, times) = (read(".index"), read(".timeindex"));
        let len = log_bytes.len() as u64;
        let index =
            tidewheel_storage::index::OffsetIndex::open(base_offset, &offsets, len).unwrap();
        index.check().unwrap();
        assert!(index.len() > 2);
        let index = tidewheel_storage::index::TimeIndex::open(base_offset, &times).unwrap();
        index.check().unwrap();
        let in_segment = |batch: &&RecordBatch| batch.header.base_offset >= base_offset;
        let of_segment: Vec<_> = batches.iter().filter(in_segment).collect();
        let last = index.last().unwrap();
        assert!(
            of_segment
                .iter()
                .any(|batch| batch.header.last_offset() == last.offset)
        );
        bytes += log_bytes.len();
        if base_offset > 0 {
            read(".snapshot");
        }
    }
    let written: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
    assert_eq!(bytes, written, "not a byte more than the batches");
    assert!(names(&disk, ".snapshot").contains(&"00000000000000000060.snapshot".to_owned()));
}

#[test]
fn segments_roll_by_size_by_time_by_index_and_by_offset() {
    let segments = |config: LogConfig, drafts: &[Draft]| {
        let (disk, _manager, log) = fresh(config);
        for draft in drafts {
            append(&log, draft, false, NOW).unwrap();
        }
        names(&disk, ".log").len()
    };
    let drafts: Vec<Draft> = (0..10).map(Draft::new).collect();
    let roomy = LogConfig {
        segment_bytes: 1 << 20,
        ..support::config()
    };
    assert_eq!(segments(roomy.clone(), &drafts), 1);
    let batch_len = u32::try_from(drafts[0].batch().bytes.len()).unwrap();
    assert_eq!(
        segments(
            LogConfig {
                segment_bytes: 5 * batch_len,
                ..roomy.clone()
            },
            &drafts
        ),
        2
    );
    // Timestamps rise by 1 ms per batch; a segment lives for 3 ms of them.
    assert_eq!(
        segments(
            LogConfig {
                segment_ms: 3,
                ..roomy.clone()
            },
            &drafts
        ),
        3
    );
    let jitter = LogConfig {
        segment_ms: 3,
        segment_jitter_ms: 3,
        ..roomy.clone()
    };
    assert!(segments(jitter, &drafts) >= 3, "jitter only shortens");
    // One entry per batch but the first; a full index has two.
    let index = LogConfig {
        segment_index_bytes: 40,
        index_interval_bytes: 0,
        ..roomy
    };
    assert!(segments(index, &drafts) >= 3);
}

#[test]
fn fact_13_retention_by_time_takes_the_active_segment_too_and_keeps_the_log_end() {
    let config = LogConfig {
        retention_ms: 1_000,
        ..support::config()
    };
    let (disk, manager, log) = fresh(config.clone());
    fill(&log, 0..40);
    assert_eq!(
        log.apply_retention(NOW + 500).unwrap().deleted_segments(),
        0
    );
    let slice = log.read(0, 1, true).unwrap().slice.unwrap();
    let outcome = log.apply_retention(NOW + 5_000).unwrap();
    assert_eq!((outcome.log_start, log.size_bytes()), (40, 0));
    assert!(matches!(
        log.read(0, 1, true),
        Err(StorageError::OffsetOutOfRange { start: 40, .. })
    ));
    assert!(
        names(&disk, ".log").len() > 2,
        "files go only with the checkpoint"
    );
    manager.checkpoint(NOW).unwrap();
    manager.unlink_deleted(NOW).unwrap();
    assert_eq!(names(&disk, ".log"), ["00000000000000000040.log"]);
    assert_eq!(
        id_of(&RecordBatch::parse(slice.bytes().unwrap()).unwrap()),
        0,
        "a reader keeps its slice"
    );
    drop((manager, log));
    let (_manager, log) = start(&disk.crash_lose_all_unsynced(), config, 1);
    assert_eq!(
        append(&log, &Draft::new(99), false, NOW)
            .unwrap()
            .base_offset,
        40
    );
}

#[test]
fn a_torn_tail_is_cut_and_kept_aside() {
    let (disk, manager, log) = fresh(support::config());
    fill(&log, 0..5);
    drop((manager, log));
    let path = Path::new("/data/t-0/00000000000000000000.log");
    let len = disk.open(path, OpenMode::Read).unwrap().len().unwrap();
    disk.rot(path, len - 10, b"garbage").unwrap();
    let (_manager, log) = start(&disk, support::config(), 1);
    assert_eq!(ids(&log), [0, 1, 2, 3]);
    assert_eq!(names(&disk, ".torn-").len(), 1);
    fill(&log, 5..6);
    assert_eq!(ids(&log), [0, 1, 2, 3, 5]);
}

#[test]
fn damage_below_the_recovery_point_is_quarantined_and_never_cut() {
    let (disk, manager, log) = fresh(support::config());
    fill(&log, 0..8);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    let path = Path::new("/data/t-0/00000000000000000000.log");
    let len = disk.open(path, OpenMode::Read).unwrap().len().unwrap();
    disk.rot(path, len / 2, &[0xff; 400]).unwrap();
    for epoch in 1..4 {
        let (manager, log) = start(&disk, support::config(), epoch);
        let refusal = log.refusal().unwrap();
        assert!(matches!(refusal, StorageError::Corrupt { .. }), "{refusal}");
        assert!(
            refusal.to_string().contains("..8 were durable"),
            "{refusal}"
        );
        let refused = append(&log, &Draft::new(9), false, NOW);
        assert!(matches!(refused, Err(StorageError::Corrupt { .. })));
        let found = ids(&log);
        assert!(
            !found.is_empty() && found.len() < 8,
            "what is whole is served: {found:?}"
        );
        assert_eq!(disk.open(path, OpenMode::Read).unwrap().len().unwrap(), len);
        manager.checkpoint(NOW).unwrap();
        if epoch == 2 {
            manager.close(NOW).unwrap();
        }
    }
}

#[test]
fn a_lost_segment_is_damage_too() {
    let (disk, manager, log) = fresh(support::config());
    fill(&log, 0..40);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    let logs = names(&disk, ".log");
    disk.remove_file(&Path::new("/data/t-0").join(&logs[1]))
        .unwrap();
    let (_manager, log) = start(&disk, support::config(), 1);
    assert!(matches!(log.refusal(), Some(StorageError::Corrupt { .. })));
    assert!(!ids(&log).is_empty());
}

#[test]
fn fact_25_a_full_disk_refuses_appends_serves_reads_and_recovers() {
    let (disk, manager, log) = fresh(support::config());
    fill(&log, 0..3);
    disk.set_free_bytes(70);
    for _ in 0..3 {
        let refused = append(&log, &Draft::new(3), true, NOW);
        assert!(refused.is_err_and(|error| error.is_disk_full()));
    }
    assert_eq!(ids(&log), [0, 1, 2]);
    assert!(
        manager
            .checkpoint(NOW)
            .is_err_and(|error| error.is_disk_full()),
        "put off"
    );
    assert!(manager.offline_cause(0).is_none());
    disk.set_free_bytes(1 << 20);
    fill(&log, 4..30);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    let (_manager, log) = start(&disk.crash_lose_all_unsynced(), support::config(), 1);
    assert_eq!(ids(&log), (0..3).chain(4..30).collect::<Vec<_>>());
}

#[test]
fn a_deleted_partition_is_gone_and_its_name_can_be_used_at_once() {
    let (disk, manager, log) = fresh(support::config());
    fill(&log, 0..30);
    manager.checkpoint(NOW).unwrap();
    let slice = log.read(5, 1, true).unwrap().slice.unwrap();
    manager.delete(&log, NOW).unwrap();
    assert!(matches!(
        append(&log, &Draft::new(1), false, NOW),
        Err(StorageError::PartitionDeleted)
    ));
    assert!(matches!(
        log.read(0, 1, true),
        Err(StorageError::PartitionDeleted)
    ));
    assert!(manager.get(&tp("t", 0)).is_none());
    let again = manager.create(live("t", 2, support::config()), 0).unwrap();
    fill(&again, 100..102);
    manager.unlink_deleted(NOW).unwrap();
    assert_eq!(
        id_of(&RecordBatch::parse(slice.bytes().unwrap()).unwrap()),
        5
    );
    assert!(manager.flush_round(0).error.is_none());
    drop((manager, log, again));
    let fs: Arc<dyn FileSystem> = Arc::new(disk.crash_lose_all_unsynced());
    let (_manager, logs) = open(&fs, vec![live("t", 2, support::config())], 1).unwrap();
    assert!(
        logs[0].refusal().is_none(),
        "the old recovery point is forgotten"
    );
    assert_eq!(ids(&logs[0]), [100, 101]);
}

/// That a partition exists is remembered elsewhere: its directory comes with its first data, and is
/// durable when that is.
#[test]
fn a_partition_that_was_never_written_is_nowhere_on_the_disk() {
    let (disk, manager, _log) = fresh(support::config());
    let partitions = || ["t", "u", "v"].map(|topic| live(topic, 1, support::config()));
    let ops = disk.op_count();
    let mut made = manager.create_many(partitions()[1..].to_vec(), 0).unwrap();
    assert_eq!(disk.op_count(), ops);
    let directories = |disk: &SimFs| {
        let entries = disk.read_dir(Path::new("/data")).unwrap();
        let names = entries.into_iter().filter(|entry| entry.is_dir);
        names.map(|entry| entry.name).collect::<Vec<_>>()
    };
    append(&made[0], &Draft::new(7), true, NOW).unwrap();
    manager.flush_round(0);
    manager.checkpoint(NOW).unwrap();
    assert_eq!(directories(&disk), ["u-0"]);
    let never_written = made.pop().unwrap();
    manager.delete(&never_written, NOW).unwrap();
    manager.close(NOW).unwrap();
    drop((manager, made));
    // The clean stop knows nothing of the others, and they are there all the same.
    let crashed = disk.crash_lose_all_unsynced();
    let fs: Arc<dyn FileSystem> = Arc::new(crashed.clone());
    let (manager, logs) = open(&fs, partitions().to_vec(), 1).unwrap();
    let log = |topic| manager.get(&tp(topic, 0)).unwrap();
    assert_eq!((logs.len(), ids(&log("u"))), (3, vec![7]));
    append(&log("v"), &Draft::new(8), true, NOW).unwrap();
    append(&log("t"), &Draft::new(9), false, NOW).unwrap();
    log("v").flush(NOW).unwrap();
    drop((manager, logs));
    // Of `t` nothing was durable: what is left of it goes, and it is empty.
    let crashed = crashed.crash_lose_all_unsynced();
    let fs: Arc<dyn FileSystem> = Arc::new(crashed.clone());
    let (manager, _logs) = open(&fs, partitions().to_vec(), 2).unwrap();
    assert_eq!(directories(&crashed), ["u-0", "v-0"]);
    let log = |topic| manager.get(&tp(topic, 0)).unwrap();
    let found = ["t", "u", "v"].map(|topic| ids(&log(topic)));
    assert_eq!(found, [vec![], vec![7], vec![8]]);
}

#[test]
fn a_failed_sync_is_final_and_reads_go_on() {
    let (disk, manager, log) = fresh(support::config());
    fill(&log, 0..2);
    disk.fail_at(disk.op_count(), tidewheel_storage::fs::Fault::Eio);
    let round = manager.flush_round(0);
    assert!(matches!(round.error, Some(StorageError::Io { .. })) && round.advanced.is_empty());
    assert!(matches!(
        append(&log, &Draft::new(2), true, NOW),
        Err(StorageError::LogDirOffline { .. })
    ));
    assert!(manager.flush_round(0).error.is_some(), "never tried again");
    assert!(manager.create(live("u", 2, support::config()), 0).is_err());
    assert_eq!(ids(&log), [0, 1]);
    assert_eq!(log.offsets().durable, 0);
}

#[test]
fn a_time_look_up_in_append_time_answers_the_first_record_of_the_batch() {
    let config = LogConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..support::config()
    };
    let (_disk, _manager, log) = fresh(config.clone());
    for (id, now) in [(0, NOW), (1, NOW + 10), (2, NOW + 20)] {
        let mut draft = Draft::new(id);
        (draft.count, draft.compression) = (3, Compression::Zstd);
        let batch = validate(draft.batch(), &config, now).unwrap();
        let (_, outcome) = log.append(batch, false, id, now).pop().unwrap();
        assert_eq!(outcome.unwrap().log_append_time, now);
    }
    let found = log.find_by_timestamp(NOW + 5).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (3, NOW + 10));
    let largest = log.max_timestamp().unwrap().unwrap();
    assert_eq!((largest.offset, largest.timestamp), (6, NOW + 20));
}

#[test]
fn checkpoints_wait_for_enough_bytes_unless_recovery_would_read_too_much() {
    let disk = SimFs::new();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let mut options = support::options(&["/data"]);
    options.checkpoint_bytes = 100_000;
    options.checkpoint_interval_ms = i64::MAX;
    options.recovery_bytes = 5_000;
    let manager = Manager::open(fs, options).unwrap();
    let busy = manager.create(live("t", 1, support::config()), 0).unwrap();
    let quiet = manager.create(live("u", 2, support::config()), 0).unwrap();
    let points = || {
        let path = Path::new("/data/recovery-point-offset-checkpoint");
        let points = tidewheel_storage::checkpoint::read_offsets(&disk, path).unwrap();
        let point = |topic| points.get(&tp(topic, 0)).copied().unwrap_or(0);
        (point("t"), point("u"))
    };
    fill(&busy, 0..20);
    fill(&quiet, 0..2);
    manager.checkpoint(NOW).unwrap();
    assert_eq!(points(), (0, 0), "not enough yet");
    fill(&busy, 20..50);
    manager.checkpoint(NOW).unwrap();
    assert_eq!(points(), (50, 0), "together too much: the large one goes");
}

#[test]
fn a_log_owes_its_first_checkpoint_an_interval_after_it_was_opened() {
    let disk = SimFs::new();
    let start = || {
        let mut options = support::options(&["/data"]);
        options.checkpoint_bytes = 100_000;
        options.checkpoint_interval_ms = 1_000;
        let manager = Manager::open(Arc::new(disk.clone()), options).unwrap();
        let live = live("t", 1, support::config());
        let mut logs = manager.load(vec![live], 0, NOW).unwrap().logs;
        let log = logs.pop().unwrap();
        (manager, log)
    };
    let point_at = |manager: &Manager, now_ms| {
        manager.checkpoint(now_ms).unwrap();
        let path = Path::new("/data/recovery-point-offset-checkpoint");
        let points = tidewheel_storage::checkpoint::read_offsets(&disk, path).unwrap();
        points.get(&tp("t", 0)).copied().unwrap_or(0)
    };
    let (manager, log) = start();
    fill(&log, 0..1);
    assert_eq!(point_at(&manager, NOW), 0);
    assert_eq!(point_at(&manager, NOW + 999), 0);
    assert_eq!(point_at(&manager, NOW + 1_000), 1);
    fill(&log, 1..2);
    assert_eq!(point_at(&manager, NOW + 1_999), 1);
    let set_back = NOW - 5_000;
    assert_eq!(point_at(&manager, set_back), 2, "not put off");
    fill(&log, 2..3);
    drop((manager, log));
    let (manager, _log) = start();
    assert_eq!(point_at(&manager, NOW), 3, "what recovery found is owed");
}

#[test]
fn what_a_failed_write_left_before_a_roll_does_not_end_the_log() {
    for checkpoint in [false, true] {
        let (disk, manager, log) = fresh(support::config());
        fill(&log, 0..3);
        disk.set_free_bytes(90);
        assert!(append(&log, &Draft::new(3), false, NOW).is_err_and(|error| error.is_disk_full()));
        disk.set_free_bytes(1 << 20);
        log.set_config(LogConfig {
            segment_bytes: 1,
            ..support::config()
        });
        fill(&log, 4..6);
        assert_eq!(names(&disk, ".log").len(), 3);
        if checkpoint {
            manager.checkpoint(NOW).unwrap();
        }
        drop((manager, log));
        let (_manager, log) = start(&disk, support::config(), 1);
        assert_eq!(ids(&log), [0, 1, 2, 4, 5], "checkpoint: {checkpoint}");
        let kept = usize::from(!checkpoint);
        assert_eq!(
            names(&disk, ".torn-").len(),
            kept,
            "the leftover is cut and kept aside"
        );
    }
}
