//! The same log on the real file system: real maps, real locks, real `fallocate`.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{
    self, Draft, Log, Manager, NOW, append, check_lookups, id_of, live, options, read_all,
};
use tidewheel_config::LogConfig;
use tidewheel_protocol::Batches;
use tidewheel_storage::StorageError;
use tidewheel_storage::fs::{FileSystem, RealFs};

fn start(dir: &Path, epoch: i32) -> Result<(Manager, Arc<Log>), StorageError> {
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    let manager = Manager::open(fs, options(&[dir.to_str().unwrap()]))?;
    let config = LogConfig {
        segment_bytes: 300_000,
        index_interval_bytes: 4096,
        ..support::config()
    };
    let mut logs = manager.load(vec![live("t", 1, config)], epoch, NOW)?.logs;
    Ok((manager, logs.pop().unwrap()))
}

fn big(id: u64) -> Draft {
    let mut draft = Draft::new(id);
    (draft.count, draft.value_len) = (4, 1_000);
    draft
}

fn ids(log: &Log) -> Vec<u64> {
    read_all(log, 100_000).iter().map(id_of).collect()
}

#[test]
fn batches_come_back_from_the_map_after_a_death_and_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/on/the/way");
    let (manager, log) = start(&dir, 0).unwrap();
    let early = log.read(0, 1, true).unwrap();
    assert!(early.slice.is_none());
    for id in 0..150 {
        append(&log, &big(id), id % 2 == 0, NOW).unwrap();
        if id % 40 == 0 {
            assert!(manager.flush_round(0).error.is_none());
        }
    }
    // A view taken from a growing segment stays good while it grows on.
    assert!(manager.flush_round(0).error.is_none());
    let slice = log.read(149 * 4, 1, true).unwrap().slice.unwrap();
    let view = slice.bytes().unwrap();
    for id in 150..200 {
        append(&log, &big(id), false, NOW).unwrap();
    }
    assert_eq!(view[16..], big(149).batch().bytes[16..]);
    assert!(slice.is_resident());
    slice.load().unwrap();
    assert_eq!(ids(&log), (0..200).collect::<Vec<_>>());
    manager.checkpoint(NOW).unwrap();
    manager.release_idle(i64::MAX, 0);
    manager.release_idle(i64::MAX, 0);
    append(&log, &big(200), false, NOW).unwrap();
    drop((manager, log));
    let (manager, log) = start(&dir, 1).unwrap();
    let batches = read_all(&log, 1 << 20);
    assert_eq!(batches.len(), 201);
    check_lookups(&log, &batches);
    append(&log, &big(201), true, NOW).unwrap();
    manager.close(NOW).unwrap();
    drop((manager, log));
    let (_manager, log) = start(&dir, 2).unwrap();
    assert_eq!(ids(&log), (0..202).collect::<Vec<_>>());
    append(&log, &big(202), false, NOW).unwrap();
    assert_eq!(ids(&log).len(), 203);
}

fn check_lookups_of(log: &Log) {
    check_lookups(log, &read_all(log, 1 << 20));
}

#[test]
fn preallocated_blocks_are_given_back_at_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = start(dir.path(), 0).unwrap();
    append(&log, &Draft::new(0), false, NOW).unwrap();
    let path = dir.path().join("t-0/00000000000000000000.log");
    let len = std::fs::metadata(&path).unwrap().len();
    assert_eq!(
        len,
        log.size_bytes(),
        "preallocation does not show in the length"
    );
    check_lookups_of(&log);
    manager.close(NOW).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), len);
    assert!(
        metadata.blocks() * 512 <= 8192,
        "{} blocks are kept",
        metadata.blocks()
    );
}

#[test]
fn a_directory_in_use_and_a_foreign_one_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = start(dir.path(), 0).unwrap();
    assert!(matches!(
        start(dir.path(), 1),
        Err(StorageError::DirectoryInUse { .. })
    ));
    drop(manager);
    assert!(
        append(&log, &Draft::new(0), false, NOW).is_err(),
        "its lock is given up"
    );
    drop(start(dir.path(), 1).unwrap());
    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(
        foreign.path().join("meta.properties"),
        "version=1\ncluster.id=x\nnode.id=1\n",
    )
    .unwrap();
    assert!(matches!(
        start(foreign.path(), 0),
        Err(StorageError::ForeignDirectory { .. })
    ));
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("photo.jpg"), "x").unwrap();
    assert!(matches!(
        start(other.path(), 0),
        Err(StorageError::ForeignDirectory { .. })
    ));
}

/// Flips a bit of the first segment; nothing but the page cache tells the readers.
fn rot(dir: &Path, position: u64) {
    let path = dir.join("t-0/00000000000000000000.log");
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 1], position).unwrap();
}

#[test]
fn the_crc_of_a_cold_read_is_checked_while_it_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = start(dir.path(), 0).unwrap();
    append(&log, &big(0), false, NOW).unwrap();
    let slice = log.read(0, 1, true).unwrap().slice.unwrap();
    assert_eq!(slice.load().unwrap().len(), slice.len());
    rot(dir.path(), 200);
    assert!(matches!(slice.load(), Err(StorageError::Corrupt { .. })));
}

#[test]
fn what_lies_before_a_rotten_batch_is_still_good() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = start(dir.path(), 0).unwrap();
    for id in 0..4 {
        append(&log, &big(id), false, NOW).unwrap();
    }
    let batch = big(0).batch().bytes.len();
    // A value of the third batch, then its length.
    for inside in [200, 11] {
        rot(dir.path(), 2 * batch as u64 + inside);
        let slice = log.read(0, 1 << 20, true).unwrap().slice.unwrap();
        assert_eq!(slice.len(), 4 * batch);
        let good = slice.load().unwrap();
        let found: Vec<_> = Batches::new(good.bytes().unwrap())
            .map(|batch| id_of(&batch.unwrap()))
            .collect();
        assert_eq!(found, [0, 1]);
        let bad = log.read(8, 1 << 20, true);
        let bad = bad.and_then(|read| read.slice.unwrap().load());
        assert!(matches!(bad, Err(StorageError::Corrupt { .. })), "{bad:?}");
    }
}

/// Readers beside a writer see whole, consecutive batches up to the high watermark and never more.
#[test]
fn readers_beside_a_writer_see_only_finished_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = start(dir.path(), 0).unwrap();
    let done = AtomicBool::new(false);
    let follow = || {
        let mut next = 0;
        loop {
            let finished = done.load(Ordering::Acquire);
            let read = log.read(next, 50_000, true).unwrap();
            let Some(slice) = read.slice else {
                if finished {
                    return next;
                }
                std::thread::yield_now();
                continue;
            };
            for batch in Batches::new(slice.bytes().unwrap()) {
                let header = batch.unwrap().header;
                assert_eq!(header.base_offset, next);
                next = header.next_offset();
            }
            assert!(next <= read.offsets.high_watermark, "not shown yet");
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(follow), scope.spawn(follow)];
        for id in 0..1_500 {
            append(&log, &big(id), id % 3 == 0, NOW).unwrap();
            if id % 7 == 0 {
                assert!(manager.flush_round(0).error.is_none());
            }
        }
        assert!(manager.flush_round(0).error.is_none());
        done.store(true, Ordering::Release);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), 6_000);
        }
    });
}

#[test]
fn records_without_timestamps_expire_by_the_time_of_their_last_write() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = start(dir.path(), 0).unwrap();
    log.set_config(LogConfig {
        retention_ms: 60_000,
        ..support::config()
    });
    for id in 0..3 {
        let mut draft = Draft::new(id);
        draft.timestamp = -1;
        append(&log, &draft, false, NOW).unwrap();
    }
    let path = dir.path().join("t-0/00000000000000000000.log");
    let now = std::fs::metadata(path).unwrap().mtime() * 1_000;
    assert_eq!(log.apply_retention(now).unwrap().deleted_segments(), 0);
    let outcome = log.apply_retention(now + 61_000).unwrap();
    assert_eq!((outcome.deleted_segments(), outcome.log_start), (1, 3));
}
