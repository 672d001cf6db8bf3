//! Rounds of group commit at which several threads work.

use std::sync::Arc;

use crate::support::watch::WatchedFs;
use crate::support::{self, Draft, Log, Manager, NOW, append, id_of, live, open, read_all, tp};
use tidewheel_storage::fs::{Fault, FileSystem, SimFs};
use tidewheel_storage::{FlushRound, LogId};

const LOGS: u8 = 12;
const THREADS: usize = 4;

fn start(fs: Arc<dyn FileSystem>, epoch: i32) -> (Manager, Vec<Arc<Log>>) {
    let topic = |id: u8| live(&format!("t{id}"), id, support::config());
    let topics = (1..=LOGS).map(topic).collect();
    open(&fs, topics, epoch).unwrap()
}

/// One batch for every log, with its number as its id.
fn fill(logs: &[Arc<Log>]) {
    for (id, log) in (0..).zip(logs) {
        append(log, &Draft::new(id), true, NOW).unwrap();
    }
}

fn round(manager: &Manager) -> FlushRound {
    let work = manager.begin_flush_round(0).unwrap();
    assert_eq!(work.len(), usize::from(LOGS));
    std::thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(|| work.work());
        }
        work.finish()
    })
}

/// What each log holds after a power cut that took everything unsynced.
fn left(disk: &SimFs) -> Vec<Vec<u64>> {
    let (manager, _logs) = start(Arc::new(disk.crash_lose_all_unsynced()), 1);
    let ids = |id| {
        let log = manager.get(&tp(&format!("t{id}"), 0)).unwrap();
        read_all(&log, 1 << 20).iter().map(id_of).collect()
    };
    (1..=LOGS).map(ids).collect()
}

#[test]
fn logs_are_synced_at_the_same_time_and_each_once() {
    let disk = SimFs::new();
    let watched = WatchedFs::new(disk.clone());
    let (manager, logs) = start(Arc::new(watched.clone()), 0);
    fill(&logs);
    watched.call_meeting();
    let done = round(&manager);
    assert!(done.error.is_none());
    let mut advanced = done.advanced;
    advanced.sort();
    let mut all: Vec<LogId> = logs.iter().map(|log| log.id()).collect();
    all.sort();
    assert_eq!(advanced, all);
    assert!(
        watched.most_at_once() > 1,
        "the threads wait for each other"
    );
    assert!(logs.iter().all(|log| log.offsets().durable == 1));
    let each: Vec<Vec<u64>> = (0..u64::from(LOGS)).map(|id| vec![id]).collect();
    assert_eq!(left(&disk), each);
    assert!(!manager.dirty(0).waiters);
}

/// Whatever sync fails: who is answered is on the disk, nobody else is, and no later round begins.
#[test]
fn after_a_failed_sync_only_those_that_were_synced_are_answered() {
    // Of every log its data, whose directory it is, and the names in that. The name of the directory itself
    // is synced together with those of all who wait for it meanwhile.
    let fewest = u64::from(LOGS) * 3 + 1;
    let most = u64::from(LOGS) * 4;
    for fails_at in 0..=most {
        let disk = SimFs::new();
        let (manager, logs) = start(Arc::new(disk.clone()), 0);
        fill(&logs);
        let before = disk.op_count();
        disk.fail_at(before + fails_at, Fault::Eio);
        let done = round(&manager);
        let syncs = disk.op_count() - before;
        let left = left(&disk);
        for (log, left) in logs.iter().zip(left) {
            let is_answered = done.advanced.contains(&log.id());
            assert_eq!(log.offsets().durable == 1, is_answered);
            assert!(!is_answered || left.len() == 1, "lost at {fails_at}");
        }
        if syncs <= fails_at {
            assert!((fewest..=most).contains(&syncs), "{syncs} syncs");
            assert!(done.error.is_none());
            assert_eq!(done.advanced.len(), logs.len());
        } else {
            assert!(done.error.is_some() && manager.offline_cause(0).is_some());
            let next = manager.flush_round(0);
            assert!(next.error.is_some() && next.advanced.is_empty());
        }
    }
}
