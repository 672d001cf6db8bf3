//! Compaction on a real disk: readers beside it, with files that are mapped, closed and opened again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::{self, Log, Manager, NOW, live};
use tidewheel_config::LogConfig;
use tidewheel_protocol::{Batches, RecordBatchBuilder, Uuid};
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::{CleanerOptions, LogCleaner, LogManagerOptions, StorageError, validate};

fn config() -> LogConfig {
    let mut config = LogConfig {
        min_cleanable_dirty_ratio: 0.0,
        ..support::config()
    };
    config.cleanup_policy.compact = true;
    config
}

fn open(dir: &Path) -> (Manager, Arc<Log>) {
    let options = LogManagerOptions {
        checkpoint_bytes: 0,
        ..LogManagerOptions::new(
            vec![dir.to_path_buf()],
            1,
            "cluster".to_owned(),
            vec![Uuid([1; 16])],
        )
    };
    let manager = Manager::open(Arc::new(RealFs), options).unwrap();
    let mut loaded = manager.load(vec![live("t", 1, config())], 0, NOW).unwrap();
    (manager, loaded.logs.pop().unwrap())
}

fn append(log: &Log, key: u8, value: &[u8], timestamp: i64) {
    let batch = RecordBatchBuilder::new().record(timestamp, Some(&[key]), Some(value));
    let batch = validate(batch.build().unwrap(), &log.config(), NOW).unwrap();
    log.append(batch, false, 0, NOW).pop().unwrap().1.unwrap();
}

fn clean(manager: &Manager) -> usize {
    let options = CleanerOptions {
        dedupe_buffer_bytes: 1 << 20,
        load_factor: 0.9,
        secret: (3, 4),
    };
    let mut passes = 0;
    LogCleaner::new(options).clean_due(manager, &|| NOW, &mut |_| true, &mut |report| {
        report.outcome.unwrap();
        passes += 1;
    });
    passes
}

/// Reads the log from its start to its end; the newest value of every key.
fn read(log: &Log) -> Result<BTreeMap<u8, Vec<u8>>, StorageError> {
    let (mut offset, mut newest) = (0, BTreeMap::new());
    // To the end as it is then: what was newest at the beginning may give way to what came since.
    while offset < log.offsets().high_watermark {
        let slice = log.read(offset, 3_000, true)?.slice.unwrap();
        slice.load()?;
        for batch in Batches::new(slice.bytes()?) {
            let batch = batch.unwrap();
            assert!(batch.header.last_offset() >= offset);
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                newest.insert(record.key.unwrap()[0], record.value.unwrap().to_vec());
            }
            offset = batch.header.next_offset();
        }
    }
    Ok(newest)
}

#[test]
fn readers_see_every_key_while_segments_are_swapped_and_files_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = open(dir.path());
    for key in 0..20 {
        append(&log, key, b"first", NOW);
    }
    let done = AtomicBool::new(false);
    let mut passes = 0;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    assert_eq!(read(&log).unwrap().len(), 20, "no key is missing");
                    log.find_by_timestamp(NOW).unwrap().unwrap();
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                manager.release_idle(i64::MAX, 0);
                std::thread::yield_now();
            }
        });
        for round in 0..40_u8 {
            for number in 0..30 {
                append(&log, number % 20, &[round; 80], NOW + 1);
            }
            manager.checkpoint(NOW).unwrap();
            passes += clean(&manager);
            manager.unlink_deleted(i64::MAX).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert!(passes >= 39, "{passes}");
    let last = read(&log).unwrap();
    assert!(last.values().all(|value| value == &[39; 80]));
    manager.close(NOW).unwrap();
    drop((manager, log));
    let (_manager, log) = open(dir.path());
    assert_eq!(read(&log).unwrap(), last);
}

#[test]
fn a_compacted_segment_is_as_old_as_its_last_records() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = open(dir.path());
    for number in 0..60 {
        append(&log, number % 3, &[7; 80], -1);
    }
    manager.checkpoint(NOW).unwrap();
    let path = dir.path().join("t-0/00000000000000000000.log");
    let written = UNIX_EPOCH + Duration::from_millis(1_000_000_000_123);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(written).unwrap();
    let before = file.metadata().unwrap().len();
    assert_eq!(clean(&manager), 1);
    let after = std::fs::metadata(&path).unwrap();
    assert!(after.len() < before);
    assert_eq!(after.modified().unwrap(), written);
}
