//! A flipped bit anywhere in the files of a delay store costs at most the group it is in, and is reported.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::DeliverTimestamp;
use tidewheel_protocol::{RecordBatch, RecordBatchBuilder, Uuid};
use tidewheel_storage::delay::{
    DelayGroup, DelayOpenReport, DelayOperation, DelayOptions, DelayQueue, DelayedBatch,
    PartitionId, PartitionTail,
};
use tidewheel_storage::fs::{FileSystem, LogFile, OpenMode, SimFs};

const NOW: i64 = 1_700_000_000_000;
const GROUPS: u64 = 12;
const YEAR_MS: i64 = 365 * 86_400_000;

fn dir() -> &'static Path {
    Path::new("/delays")
}

fn open(disk: &SimFs) -> (DelayQueue, DelayOpenReport) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let options = DelayOptions {
        segment_bytes: 1_500,
        ..DelayOptions::default()
    };
    let mut tails = |_, _| {
        Ok(Some(PartitionTail {
            log_end: 0,
            last_key: None,
        }))
    };
    DelayQueue::open(fs, dir(), options, 5, NOW, &mut tails).unwrap()
}

/// A store of groups of one record each; every other one is due in an hour and lies in a bucket.
fn written() -> SimFs {
    let disk = SimFs::new();
    let (mut queue, _) = open(&disk);
    for number in 0..GROUPS {
        let value = number.to_be_bytes();
        let batch = RecordBatchBuilder::new().record(NOW, None, Some(&value));
        let delay_ms = if number % 2 == 0 { 10 } else { 3_600_000 };
        let add = DelayedBatch {
            due_ms: NOW + delay_ms,
            expires_ms: None,
            id: Bytes::new(),
            replace: false,
            split_from: None,
            batch: batch.build().unwrap().bytes,
        };
        let group = DelayGroup {
            partition: PartitionId {
                topic_id: Uuid([1; 16]),
                partition: 0,
            },
            log_end: 0,
            producer: None,
            operations: vec![DelayOperation::Add(add)],
        };
        queue.accept(&group, NOW).unwrap();
        let sync = queue.sync_work().unwrap();
        queue.synced(&sync, &sync.run(&disk));
    }
    for at in 0..10 {
        // It copies to buckets once a second.
        queue.maintain(NOW + at * 1_000).unwrap();
    }
    assert!(queue.totals().buckets > 0);
    let checkpoint = queue.begin_checkpoint(NOW).unwrap();
    checkpoint.run(&disk).unwrap();
    disk
}

/// What a store still delivers, and whether anything was said to be wrong.
fn deliver_all(disk: &SimFs) -> (BTreeSet<u64>, bool) {
    let (mut queue, report) = open(disk);
    let mut reported = report.damaged > 0 || report.torn_bytes > 0;
    let mut found = BTreeSet::new();
    for _ in 0..50 {
        queue.maintain(NOW + YEAR_MS).unwrap();
        let fired = queue.fire(NOW + YEAR_MS).unwrap();
        assert!(fired.error.is_none(), "{:?}", fired.error);
        reported |= !fired.damaged.is_empty();
        for delivery in fired.deliveries {
            for due in &delivery.batches {
                let bytes = due.to_append(DeliverTimestamp::Due, NOW).unwrap().bytes;
                for record in RecordBatch::parse(bytes).unwrap().records(1 << 20).unwrap() {
                    let value = record.unwrap().value.unwrap();
                    let number = u64::from_be_bytes(value.as_ref().try_into().unwrap());
                    assert!(found.insert(number), "{number} came twice");
                }
            }
            queue.delivered(delivery.partition, delivery.up_to, 9);
        }
    }
    (found, reported || queue.totals().damaged > 0)
}

#[test]
fn a_flipped_bit_costs_at_most_its_group_and_is_reported() {
    let disk = written();
    let (all, reported) = deliver_all(&disk.kill());
    assert_eq!((all.len() as u64, reported), (GROUPS, false));
    let mut lost = 0;
    for entry in disk.read_dir(dir()).unwrap() {
        let path = dir().join(&entry.name);
        let file: Arc<dyn LogFile> = disk.open(&path, OpenMode::Read).unwrap();
        for position in (0..entry.len).step_by(3) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, position).unwrap();
            let damaged = disk.kill();
            let flipped = byte[0] ^ (1 << (position % 8));
            damaged.rot(&path, position, &[flipped]).unwrap();
            let (found, reported) = deliver_all(&damaged);
            let place = format!("{} at {position}", entry.name);
            assert!(found.len() as u64 >= GROUPS - 1, "{place}: {found:?}");
            assert!(found == all || reported, "{place}: {found:?}");
            lost += u64::from(found != all);
        }
    }
    assert!(lost > 100, "most bytes matter: {lost}");
}

#[test]
fn both_checkpoints_may_be_lost_and_nothing_pending_is() {
    let disk = written();
    for name in ["delay-checkpoint", "delay-checkpoint.copy"] {
        disk.rot(&dir().join(name), 9, &[0xff; 40]).unwrap();
    }
    let (_, report) = open(&disk.kill());
    assert!(report.checkpoint_lost);
    let (found, reported) = deliver_all(&disk);
    assert_eq!((found.len() as u64, reported), (GROUPS, true));
}

#[test]
fn a_bucket_that_is_gone_is_reported_and_the_rest_is_delivered() {
    let disk = written();
    let entries = disk.read_dir(dir()).unwrap();
    let bucket = entries
        .iter()
        .find(|entry| entry.name.ends_with(".delaybucket"));
    disk.remove_file(&dir().join(&bucket.unwrap().name))
        .unwrap();
    let (found, reported) = deliver_all(&disk);
    assert!(reported);
    assert!(found.iter().filter(|number| *number % 2 == 0).count() as u64 == GROUPS / 2);
}
