//! A topic with a fixed delay: what readers see of its log, over time and over starts.

use std::sync::Arc;

use crate::support::{self, Draft, Log, NOW, Random};
use tidewheel_config::{DelayConfig, DelayMode, LogConfig, TimestampType};
use tidewheel_protocol::RecordBatchBuilder;
use tidewheel_storage::delay::DelayKey;
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::{StorageError, ValidBatch, validate};

const DELAY: i64 = 1_000;

fn config() -> LogConfig {
    LogConfig {
        timestamp_type: TimestampType::LogAppendTime,
        delay: DelayConfig {
            mode: DelayMode::Fixed,
            fixed_ms: DELAY,
            ..DelayConfig::default()
        },
        ..support::config()
    }
}

fn open(fs: &SimFs, epoch: i32) -> (support::Manager, Arc<Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let live = vec![support::live("t", 1, config())];
    let (manager, mut logs) = support::open(&fs, live, epoch).unwrap();
    (manager, logs.pop().unwrap())
}

/// Appends a batch that the broker receives now, waiting for the disk or not.
fn append(log: &Log, id: u64, durable: bool, now_ms: i64) {
    let batch = validate(Draft::new(id).batch(), &log.config(), now_ms).unwrap();
    put(log, batch, durable, now_ms);
}

fn put(log: &Log, batch: ValidBatch, durable: bool, now_ms: i64) {
    let (_, outcome) = log.append(batch, durable, 0, now_ms).pop().unwrap();
    outcome.unwrap();
}

fn visible(log: &Log) -> i64 {
    log.offsets().high_watermark
}

#[test]
fn each_batch_is_seen_when_it_has_waited_and_not_before_also_after_a_start() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut disk = SimFs::new();
        let (mut manager, mut log) = open(&disk, 1);
        let (mut now, mut appended, mut epoch) = (NOW, Vec::new(), 1);
        let mut shown = 0;
        for step in 0..200 {
            match random.below(10) {
                0..=4 => {
                    append(&log, step, random.chance(50), now);
                    appended.push(now);
                }
                5..=6 => now += random.signed(400),
                7 => drop(manager.flush_round(0)),
                8 => manager.checkpoint(now).unwrap(),
                _ => {
                    drop(log);
                    disk = disk.kill();
                    epoch += 1;
                    (manager, log) = open(&disk, epoch);
                    log.hide_pending();
                    shown = 0;
                }
            }
            let next = log.reveal(now).unwrap();
            let due = appended.iter().filter(|at| **at + DELAY <= now).count();
            let due = i64::try_from(due).unwrap();
            let seen = visible(&log);
            assert!(shown <= seen && seen <= due, "seed {seed}: {seen} of {due}");
            shown = seen;
            let waits = appended.get(usize::try_from(due).unwrap());
            assert_eq!(next, waits.map(|at| at + DELAY), "seed {seed}");
            let slice = log.read(seen, 1_000, true).unwrap().slice;
            assert!(slice.is_none(), "nothing behind it, and no error");
        }
        manager.flush_round(0);
        log.reveal(now + DELAY).unwrap();
        assert_eq!(visible(&log), log.offsets().log_end);
        let ids = support::read_all(&log, 1 << 20).len();
        assert_eq!(ids, appended.len());
    }
}

#[test]
fn what_was_there_before_or_was_delayed_otherwise_does_not_wait() {
    let (_manager, log) = open(&SimFs::new(), 1);
    log.set_config(support::config());
    append(&log, 1, false, NOW);
    assert_eq!(visible(&log), 1);
    log.set_config(config());
    let key = DelayKey {
        due_ms: NOW.unsigned_abs(),
        ticket: 1,
    };
    append(&log, 2, false, NOW);
    let delivered = RecordBatchBuilder::new().record(NOW, None, Some(b"v"));
    let delivered = delivered.build().unwrap().with_log_append_time(NOW + 5);
    let delivered = key.stamp(&delivered).unwrap();
    let (header, bytes) = (delivered.header, delivered.bytes);
    put(&log, ValidBatch { header, bytes }, false, NOW + 5);
    append(&log, 3, false, NOW + 10);
    assert_eq!(log.reveal(NOW + DELAY - 1).unwrap(), Some(NOW + DELAY));
    assert_eq!(visible(&log), 1);
    let next = log.reveal(NOW + DELAY).unwrap();
    assert_eq!((visible(&log), next), (3, Some(NOW + DELAY + 10)));
    let later = LogConfig {
        delay: DelayConfig {
            fixed_ms: DELAY + 50,
            ..config().delay
        },
        ..config()
    };
    log.set_config(later);
    assert_eq!(
        log.reveal(NOW + DELAY + 10).unwrap(),
        Some(NOW + DELAY + 60)
    );
    log.set_config(support::config());
    assert_eq!(log.reveal(NOW).unwrap(), None, "no delay any more");
    assert_eq!(visible(&log), 4);
    append(&log, 5, false, NOW);
    assert_eq!(visible(&log), 5);
}

#[test]
fn retention_leaves_what_waits_and_counts_from_when_it_is_seen() {
    let (_manager, log) = open(&SimFs::new(), 1);
    let config = LogConfig {
        retention_ms: 100,
        retention_bytes: 1,
        ..config()
    };
    log.set_config(config);
    for id in 0..100 {
        append(&log, id, false, NOW);
    }
    let retain = |now_ms| log.apply_retention(now_ms).unwrap().deleted_segments();
    assert_eq!(retain(NOW + 10 * DELAY), 0, "nobody could read it yet");
    let config = LogConfig {
        retention_bytes: -1,
        ..LogConfig::clone(&log.config())
    };
    log.set_config(config);
    log.reveal(NOW + DELAY).unwrap();
    assert_eq!(visible(&log), 100);
    assert_eq!(retain(NOW + DELAY + 100), 0);
    assert!(retain(NOW + DELAY + 101) > 1);
    let gone = log.advance_log_start(101);
    assert!(matches!(gone, Err(StorageError::OffsetOutOfRange { .. })));
}

#[test]
fn what_a_start_looks_for_is_not_removed() {
    let (_manager, log) = open(&SimFs::new(), 1);
    let config = LogConfig {
        retention_ms: 100,
        ..support::config()
    };
    log.set_config(config);
    for id in 0..100 {
        append(&log, id, false, NOW);
    }
    log.keep_from(40);
    log.keep_from(10);
    assert_eq!(log.kept_from(), Some(40), "the first counts");
    let gone = log.advance_log_start(41);
    assert!(matches!(
        gone,
        Err(StorageError::DeliveriesNotNoted { offset: 40 })
    ));
    assert_eq!(log.advance_log_start(40).unwrap(), 40);
    log.apply_retention(NOW + 200).unwrap();
    assert_eq!(log.offsets().log_start, 40);
    log.keep_only(None);
    log.apply_retention(NOW + 200).unwrap();
    assert_eq!(log.offsets().log_start, 100);
}

#[test]
fn what_was_seen_stays_so_over_a_start_under_a_longer_delay() {
    let disk = SimFs::new();
    let (manager, log) = open(&disk, 1);
    append(&log, 1, false, NOW);
    log.reveal(NOW + DELAY).unwrap();
    append(&log, 2, false, NOW + DELAY);
    manager.checkpoint(NOW + DELAY).unwrap();
    let (_manager, log) = open(&disk.kill(), 2);
    log.set_config(LogConfig {
        delay: DelayConfig {
            fixed_ms: 100 * DELAY,
            ..config().delay
        },
        ..config()
    });
    log.hide_pending();
    let next = log.reveal(NOW + DELAY).unwrap();
    assert_eq!((visible(&log), next), (1, Some(NOW + 101 * DELAY)));
}
