//! The power is cut while producers, the flusher and the cleaner are all at work.
//!
//! The moment is seeded, the interleaving is the machine's. Each producer is the only one of its
//! partition, so that what it was told can be compared with what the partition holds afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{
    self, Draft, Log, Manager, NOW, Random, append, check_lookups, id_of, live, open, read_all,
};
use tidewheel_config::LogConfig;
use tidewheel_storage::fs::{Fault, FileSystem, SimFs};

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
const BATCHES: u64 = 400;
/// The operations that a run without a fault takes, roughly.
const OPERATIONS: u64 = 3_000;

/// What a producer was told.
#[derive(Debug, Default)]
struct Told {
    /// Base offset and id of every batch that was written, in order.
    written: Vec<(i64, u64)>,
    /// Everything below was said to be durable.
    durable: i64,
}

fn start(disk: &SimFs, epoch: i32) -> (Manager, Vec<Arc<Log>>) {
    let config = || LogConfig {
        segment_bytes: 6_000,
        ..support::config()
    };
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let partitions = TOPICS.into_iter().zip(1..);
    let partitions = partitions.map(|(topic, id)| live(topic, id, config()));
    let (manager, mut logs) = open(&fs, partitions.collect(), epoch).unwrap();
    // They come in no order, and those without a directory last.
    logs.sort_by(|one, other| one.topic_partition().cmp(other.topic_partition()));
    (manager, logs)
}

/// Appends until the disk is gone. Every second batch waits for the disk, as `acks=all` does.
fn produce(log: &Log, producer: i64) -> Told {
    let mut told = Told::default();
    for (sequence, id) in (0..).zip(0..BATCHES) {
        let mut draft = Draft::new(id);
        draft.count = 1 + usize::try_from(id % 3).unwrap();
        draft.producer = Some((producer, 0, told.records()));
        let durable = sequence % 2 == 0;
        let Ok(info) = append(log, &draft, durable, NOW) else {
            break;
        };
        told.written.push((info.base_offset, id));
        while durable && log.offsets().durable <= info.last_offset && log.refusal().is_none() {
            std::thread::yield_now();
        }
        told.durable = log.offsets().durable;
    }
    told
}

impl Told {
    /// How many records were written.
    fn records(&self) -> i32 {
        let records: u64 = self.written.iter().map(|(_, id)| 1 + id % 3).sum();
        i32::try_from(records).unwrap()
    }
}

/// Everybody works until the producers are done or the disk is gone.
fn run(disk: &SimFs) -> Vec<Told> {
    let (manager, logs) = start(disk, 0);
    let done = AtomicBool::new(false);
    let busy = |work: &(dyn Fn() + Sync)| {
        while !done.load(Ordering::Acquire) {
            work();
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| busy(&|| drop(manager.flush_round(0))));
        scope.spawn(|| {
            let cleaned_at = AtomicU64::new(0);
            busy(&|| {
                // Seldom, so that most of the syncing is the flusher's.
                if disk.op_count() >= cleaned_at.load(Ordering::Relaxed) + OPERATIONS / 20 {
                    drop(manager.checkpoint(NOW));
                    drop(manager.unlink_deleted(NOW));
                    cleaned_at.store(disk.op_count(), Ordering::Relaxed);
                }
            });
        });
        let producers: Vec<_> = logs
            .iter()
            .zip(7..)
            .map(|(log, producer)| scope.spawn(move || produce(log, producer)))
            .collect();
        let told = producers
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect();
        done.store(true, Ordering::Release);
        told
    })
}

fn check(disk: &SimFs, told: &[Told], all_written: bool) {
    let (manager, logs) = start(disk, 1);
    for (log, told) in logs.iter().zip(told) {
        let offsets = log.offsets();
        assert!(
            offsets.log_end >= told.durable,
            "{offsets:?} {}",
            told.durable
        );
        let batches = read_all(log, 1 << 20);
        let found: Vec<(i64, u64)> = batches
            .iter()
            .map(|batch| (batch.header.base_offset, id_of(batch)))
            .collect();
        let common = found.len().min(told.written.len());
        assert_eq!(
            found[..common],
            told.written[..common],
            "same order, same places"
        );
        assert!(
            found.len() <= told.written.len() + 1,
            "only the last one was in doubt"
        );
        if all_written {
            assert!(found.len() >= told.written.len());
        }
        check_lookups(log, &batches);
    }
    manager.close(NOW).unwrap();
}

#[test]
fn a_power_cut_under_load_loses_nothing_that_was_acknowledged() {
    for seed in 0..12 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let disk = SimFs::new();
        drop(start(&disk, 0));
        let disk = disk.kill();
        disk.fail_at(disk.op_count() + random.below(OPERATIONS), Fault::Crash);
        let told = run(&disk);
        check(&disk.crash_lose_all_unsynced(), &told, false);
        check(&disk.crash(random.next()), &told, false);
        check(&disk.kill(), &told, true);
    }
}

#[test]
fn load_that_is_not_cut_is_whole() {
    let disk = SimFs::new();
    let told = run(&disk);
    assert!(
        told.iter()
            .all(|told| told.written.len() == usize::try_from(BATCHES).unwrap())
    );
    println!("{} operations", disk.op_count());
    check(&disk.kill(), &told, true);
}
