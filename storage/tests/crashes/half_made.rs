//! A partition whose directory was being made when everything stopped: later stops and starts take it as
//! the empty log that it is.

use std::sync::Arc;

use crate::support::files::check_files;
use crate::support::{self, Draft, NOW, append, config, live, open, read_all};
use tidewheel_storage::fs::{Fault, FileSystem, SimFs};

fn start(disk: &SimFs, epoch: i32) -> (support::Manager, Arc<support::Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let (manager, mut logs) = open(&fs, vec![live("t", 1, config())], epoch).unwrap();
    (manager, logs.pop().unwrap())
}

/// Starts and stops twice before anything is written.
fn check(disk: &SimFs) {
    for epoch in [1, 2] {
        let (manager, log) = start(disk, epoch);
        assert_eq!(log.offsets().log_end, log.offsets().log_start);
        manager.close(NOW).unwrap();
        drop((manager, log));
        check_files(disk);
    }
    let (manager, log) = start(disk, 3);
    append(&log, &Draft::new(1), true, NOW).unwrap();
    assert!(manager.flush_round(0).error.is_none());
    assert_eq!(read_all(&log, 1 << 20).len(), 1);
    manager.close(NOW).unwrap();
    drop((manager, log));
    check_files(disk);
}

#[test]
fn a_partition_that_was_being_made_is_an_empty_log() {
    let empty = SimFs::new();
    drop(start(&empty, 0));
    let mut op = 0;
    loop {
        let disk = empty.kill();
        let (manager, log) = start(&disk, 0);
        let began = disk.op_count();
        disk.fail_at(began + op, Fault::Crash);
        let appended = append(&log, &Draft::new(0), false, NOW);
        if appended.is_ok() {
            break;
        }
        drop((manager, log));
        println!("operation {op}");
        // What was written whole stays after a kill: then it is a log of one batch.
        let killed = disk.kill();
        let (manager, log) = start(&killed, 1);
        let is_empty = log.offsets().log_end == 0;
        drop((manager, log));
        if is_empty {
            check(&disk.kill());
        }
        check(&disk.crash_lose_all_unsynced());
        op += 1;
    }
    assert!(op > 5, "{op} operations");
}
