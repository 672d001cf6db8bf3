//! Recovery of many partitions by several threads.

use std::sync::Arc;

use crate::support::{
    self, Draft, Log, Manager, NOW, append, id_of, live, open, options, read_all,
};
use tidewheel_storage::fs::{Fault, FileSystem, SimFs};
use tidewheel_storage::{LogManagerOptions, StorageError};

const LOGS: u8 = 12;

/// A disk after a kill, with one batch more in each log than in the one before.
fn killed() -> SimFs {
    let disk = SimFs::new();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let topics = (1..=LOGS).map(|id| live(&format!("t{id}"), id, support::config()));
    let (manager, logs) = open(&fs, topics.collect(), 0).unwrap();
    for (count, log) in (1..).zip(&logs) {
        for id in 0..count {
            append(log, &Draft::new(id), false, NOW).unwrap();
        }
    }
    // What is durable no failure may take.
    assert!(manager.flush_round(0).error.is_none());
    disk.kill()
}

fn start(disk: &SimFs, threads: usize) -> Result<(Manager, Vec<Arc<Log>>), StorageError> {
    let options = LogManagerOptions {
        recovery_threads: threads,
        ..options(&["/data"])
    };
    let manager = Manager::open(Arc::new(disk.clone()), options)?;
    let topics = (1..=LOGS).map(|id| live(&format!("t{id}"), id, support::config()));
    let loaded = manager.load(topics.collect(), 1, NOW)?;
    Ok((manager, loaded.logs))
}

/// The name and the ids of each log, in the order in which they are told.
fn content(logs: &[Arc<Log>]) -> Vec<(String, Vec<u64>)> {
    let of_log = |log: &Arc<Log>| {
        assert!(log.refusal().is_none());
        let ids = read_all(log, 1 << 20).iter().map(id_of).collect();
        (log.topic_partition().to_string(), ids)
    };
    logs.iter().map(of_log).collect()
}

#[test]
fn several_threads_find_what_one_finds() {
    let disk = killed();
    let (_manager, logs) = start(&disk.kill(), 1).unwrap();
    let alone = content(&logs);
    assert_eq!(alone.len(), usize::from(LOGS));
    assert_eq!(alone[4], ("t5-0".to_owned(), vec![0, 1, 2, 3, 4]));
    for threads in [2, 4, 100] {
        let (_manager, logs) = start(&disk.kill(), threads).unwrap();
        assert_eq!(content(&logs), alone);
    }
}

/// The start fails with that error, and the next one brings everything back.
#[test]
fn a_disk_that_fails_fails_the_start_and_costs_nothing() {
    let disk = killed();
    let (_manager, logs) = start(&disk.kill(), 1).unwrap();
    let whole = content(&logs);
    for fails_at in 0.. {
        let disk = disk.kill();
        disk.fail_at(disk.op_count() + fails_at, Fault::Eio);
        match start(&disk, 4) {
            Err(error) => assert!(matches!(error, StorageError::Io { .. }), "{error}"),
            Ok((manager, logs)) => {
                assert_eq!(content(&logs), whole);
                if manager.offline_cause(0).is_none() {
                    assert!(
                        fails_at > u64::from(LOGS),
                        "every operation has failed once"
                    );
                    return;
                }
            }
        }
        let (_manager, logs) = start(&disk.kill(), 4).unwrap();
        assert_eq!(content(&logs), whole, "after a failure of {fails_at}");
    }
}
