//! What a read says beside the batches it finds, and what it does not do to find them.

use std::sync::Arc;

use crate::support::watch::WatchedFs;
use crate::support::{self, Draft, Log, NOW, append, live, open};
use tidewheel_config::LogConfig;
use tidewheel_storage::VisibleEnd;
use tidewheel_storage::fs::{FileSystem, SimFs};

/// Batches that fit `per_segment` times into a segment.
fn config(per_segment: u32) -> LogConfig {
    LogConfig {
        segment_bytes: per_segment * batch_len(),
        ..support::config()
    }
}

fn batch_len() -> u32 {
    u32::try_from(Draft::new(0).batch().bytes.len()).unwrap()
}

fn append_many(log: &Log, ids: std::ops::Range<u64>, durable: bool) {
    for id in ids {
        append(log, &Draft::new(id), durable, NOW).unwrap();
    }
}

#[test]
fn a_read_tells_what_there_is_beyond_what_fits() {
    let fs: Arc<dyn FileSystem> = Arc::new(SimFs::new());
    let (_manager, logs) = open(&fs, vec![live("t", 1, config(10))], 0).unwrap();
    append_many(&logs[0], 0..3, false);
    let batch = u64::from(batch_len());
    let cut = logs[0].read(1, 10, true).unwrap();
    assert_eq!(cut.slice.unwrap().len() as u64, batch);
    assert_eq!((cut.available, cut.complete), (2 * batch, false));
    let refused = logs[0].read(1, 10, false).unwrap();
    assert!(refused.slice.is_none(), "its first batch does not fit");
    assert_eq!((refused.available, refused.complete), (2 * batch, false));
    let at_end = logs[0].read(3, 10, true).unwrap();
    assert_eq!((at_end.available, at_end.complete), (0, false));
}

/// Kafka's DelayedFetch, case F: a reader of an older segment gains nothing by waiting.
#[test]
fn a_read_in_an_older_segment_is_complete_once_all_of_it_is_visible() {
    let fs: Arc<dyn FileSystem> = Arc::new(SimFs::new());
    let (manager, logs) = open(&fs, vec![live("t", 1, config(2))], 0).unwrap();
    let complete = |offset| logs[0].read(offset, 1 << 20, true).unwrap().complete;
    let segment = || logs[0].visible_end().segment_base;
    append_many(&logs[0], 0..2, false);
    assert!(!complete(1), "the segment may still grow");
    append_many(&logs[0], 2..3, true);
    assert_eq!(segment(), 2, "the log was rolled");
    assert!(complete(1), "though the new segment shows nothing yet");
    append_many(&logs[0], 3..5, false);
    assert!(manager.flush_round(0).error.is_none());
    assert!(complete(0) && complete(2) && complete(3) && !complete(4));
    let seen = VisibleEnd {
        bytes: 5 * u64::from(batch_len()),
        segment_base: 4,
    };
    assert_eq!(logs[0].visible_end(), seen);
}

#[test]
fn a_segment_that_is_partly_held_back_is_not_complete() {
    let fs: Arc<dyn FileSystem> = Arc::new(SimFs::new());
    let (manager, logs) = open(&fs, vec![live("t", 1, config(2))], 0).unwrap();
    append_many(&logs[0], 0..1, false);
    append_many(&logs[0], 1..3, true);
    let read = logs[0].read(0, 1 << 20, true).unwrap();
    assert_eq!(read.available, u64::from(batch_len()));
    assert!(!read.complete, "its second batch is still to be shown");
    assert_eq!(logs[0].visible_end().segment_base, 0);
    assert!(manager.flush_round(0).error.is_none());
    let read = logs[0].read(0, 1 << 20, true).unwrap();
    assert_eq!(read.available, 2 * u64::from(batch_len()));
    assert!(read.complete);
}

#[test]
fn a_read_in_memory_opens_nothing() {
    let disk = SimFs::new();
    let partitions = || vec![live("t", 1, config(2))];
    {
        let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
        let (manager, logs) = open(&fs, partitions(), 0).unwrap();
        append_many(&logs[0], 0..5, false);
        manager.close(NOW).unwrap();
    }
    let watched = WatchedFs::new(disk);
    let fs: Arc<dyn FileSystem> = Arc::new(watched.clone());
    let (_manager, logs) = open(&fs, partitions(), 1).unwrap();
    let before = watched.opened().len();
    let in_memory = |offset| logs[0].read_in_memory(offset, 1 << 20, true).unwrap();
    for cold in 0..5 {
        assert!(in_memory(cold).is_none(), "offset {cold} was never read");
    }
    assert!(in_memory(5).unwrap().slice.is_none(), "the end is known");
    assert!(logs[0].read_in_memory(6, 1, true).is_err());
    assert_eq!(watched.opened().len(), before);
    // The second append rolls; the first read of the new segment maps it.
    append_many(&logs[0], 5..7, false);
    assert!(in_memory(6).is_none());
    let read = logs[0].read(6, 1 << 20, true).unwrap().slice.unwrap();
    let before = watched.opened();
    let again = in_memory(6).unwrap().slice.unwrap();
    assert_eq!(again.bytes().unwrap(), read.bytes().unwrap());
    assert!(again.is_resident());
    assert!(in_memory(3).is_none(), "an old segment");
    assert_eq!(watched.opened(), before);
}
