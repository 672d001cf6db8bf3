//! `flush.messages`: an append that reaches it is acknowledged by the disk, whatever its acks.

use std::sync::Arc;

use crate::support::{self, Draft, Log, Manager, NOW, append, id_of, live, open, read_all};
use tidewheel_config::LogConfig;
use tidewheel_storage::fs::{FileSystem, SimFs};

fn start(disk: &SimFs, flush_messages: i64, epoch: i32) -> (Manager, Arc<Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let config = LogConfig {
        flush_messages,
        ..support::config()
    };
    let (manager, mut logs) = open(&fs, vec![live("t", 1, config)], epoch).unwrap();
    (manager, logs.pop().unwrap())
}

/// The ids that a start finds after a power cut that took everything unsynced.
fn after_power_cut(disk: &SimFs) -> Vec<u64> {
    let (_manager, log) = start(&disk.crash_lose_all_unsynced(), 1, 1);
    read_all(&log, 1 << 20).iter().map(id_of).collect()
}

#[test]
fn with_one_message_no_append_is_answered_before_the_disk_has_it() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 1, 0);
    for id in 0..5 {
        let info = append(&log, &Draft::new(id), false, NOW).unwrap();
        assert!(info.awaits_disk && manager.dirty(0).waiters);
        assert_eq!(log.offsets().high_watermark, info.base_offset, "nor seen");
        assert!(manager.flush_round(0).error.is_none());
        // Here the broker answers.
        assert!(log.offsets().durable > info.last_offset);
        assert_eq!(after_power_cut(&disk), (0..=id).collect::<Vec<_>>());
    }
}

#[test]
fn the_append_that_reaches_the_count_waits_and_takes_those_before_it_along() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 4, 0);
    let mut draft = Draft::new(0);
    draft.count = 2;
    draft.producer = Some((7, 0, 0));
    assert!(!append(&log, &draft, false, NOW).unwrap().awaits_disk);
    assert!(
        !append(&log, &Draft::new(1), false, NOW)
            .unwrap()
            .awaits_disk
    );
    assert_eq!(log.offsets().high_watermark, 3, "seen at once");
    assert!(!manager.dirty(0).waiters);
    (draft.id, draft.producer) = (2, Some((7, 0, 2)));
    for repeated in [false, true] {
        let info = append(&log, &draft, false, NOW).unwrap();
        assert_eq!((info.duplicate, info.awaits_disk), (repeated, true));
        assert_eq!(log.offsets().high_watermark, 3);
    }
    assert_eq!(after_power_cut(&disk), [0; 0]);
    assert!(manager.flush_round(0).error.is_none());
    assert_eq!(after_power_cut(&disk), [0, 1, 2]);
    let repeated = append(&log, &draft, false, NOW).unwrap();
    assert!(repeated.duplicate && !repeated.awaits_disk, "it is there");
    assert!(
        !append(&log, &Draft::new(3), false, NOW)
            .unwrap()
            .awaits_disk
    );
    assert!(!manager.dirty(0).waiters, "the count began anew");
}
