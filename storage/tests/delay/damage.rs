//! A flipped bit in any byte of the files of a delay store costs at most the group it is in, or the record where it lies
//! in a bucket; it is told with its place, the file is kept, and what it took does not count as pending any more.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::DeliverTimestamp;
use tidewheel_protocol::{RecordBatch, RecordBatchBuilder, Uuid};
use tidewheel_storage::delay::{
    DelayDamage, DelayGroup, DelayOpenReport, DelayOperation, DelayOptions, DelayQueue,
    DelayedBatch, PartitionId, PartitionTail, RecountStep,
};
use tidewheel_storage::fs::{FileSystem, LogFile, OpenMode, SimFs};

const NOW: i64 = 1_700_000_000_000;
const GROUPS: u64 = 6;
/// Records of a group.
const MEMBERS: u64 = 4;
const YEAR_MS: i64 = 365 * 86_400_000;

fn dir() -> &'static Path {
    Path::new("/delays")
}

fn topic(number: u64) -> Uuid {
    Uuid([1 + u8::try_from(number % 2).unwrap(); 16])
}

fn open(disk: &SimFs) -> (DelayQueue, DelayOpenReport) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let options = DelayOptions {
        segment_bytes: 1_000,
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

/// Accepts a group, of one of two topics, of which every other record is due in hours and the rest at once.
fn accept(disk: &SimFs, queue: &mut DelayQueue, group: u64) {
    let add = |number: u64| {
        let batch = RecordBatchBuilder::new().record(NOW, None, Some(&number.to_be_bytes()));
        let delay_ms = if number.is_multiple_of(2) {
            10
        } else {
            3_600_000
        };
        DelayOperation::Add(DelayedBatch {
            due_ms: NOW + delay_ms,
            expires_ms: None,
            id: Bytes::new(),
            replace: false,
            split_from: None,
            batch: batch.build().unwrap().bytes,
        })
    };
    let group = DelayGroup {
        partition: PartitionId {
            topic_id: topic(group),
            partition: 0,
        },
        log_end: 0,
        producer: None,
        operations: (0..MEMBERS).map(|at| add(group * MEMBERS + at)).collect(),
    };
    queue.accept(&group, NOW).unwrap();
    let sync = queue.sync_work().unwrap();
    queue.synced(&sync, &sync.run(disk));
}

fn checkpoint(disk: &SimFs, queue: &mut DelayQueue) {
    let checkpoint = queue.begin_checkpoint(NOW).unwrap();
    let outcome = checkpoint.run(disk);
    queue.finish_checkpoint(&checkpoint, &outcome);
    outcome.unwrap();
}

/// A store that was stopped: all but the last group lie in files of far records as well.
fn written() -> SimFs {
    let disk = SimFs::new();
    let (mut queue, _) = open(&disk);
    for group in 0..GROUPS - 1 {
        accept(&disk, &mut queue, group);
    }
    for at in 0..10 {
        // It copies to buckets once a second.
        queue.maintain(NOW + at * 1_000).unwrap();
    }
    assert!(queue.totals().buckets > 0);
    accept(&disk, &mut queue, GROUPS - 1);
    checkpoint(&disk, &mut queue);
    disk
}

/// What became of a store.
#[derive(Debug)]
struct Seen {
    /// What it still delivered.
    found: BTreeSet<u64>,
    /// What it said to be damaged.
    told: Vec<DelayDamage>,
    /// Records of which it said that damage took them.
    lost: u64,
    /// Files that it kept.
    kept: Vec<String>,
}

impl Seen {
    fn tells(&self, name: &str, position: u64) -> bool {
        self.told.iter().any(|damage| {
            damage.path == dir().join(name) && (damage.from..damage.to).contains(&position)
        })
    }
}

fn recount(queue: &mut DelayQueue) {
    while queue.wants_recount() {
        let mut recount = queue.begin_recount();
        while recount.step(300).unwrap() == RecountStep::More {}
        queue.finish_recount(recount);
    }
}

/// Delivers whatever can be; what is pending then is what is left.
fn deliver_all(disk: &SimFs, queue: &mut DelayQueue) -> Seen {
    let mut found = BTreeSet::new();
    let (mut told, mut ends) = (queue.take_damage(), [0; 2]);
    for round in 0..20 {
        // Once in between, and for the rest when nothing is left.
        if round % 3 == 0 {
            recount(queue);
        }
        queue.maintain(NOW + YEAR_MS).unwrap();
        let fired = queue.fire(NOW + YEAR_MS).unwrap();
        assert!(fired.error.is_none(), "{:?}", fired.error);
        for delivery in fired.deliveries {
            for due in &delivery.batches {
                let bytes = due.to_append(DeliverTimestamp::Due, NOW).unwrap().bytes;
                for record in RecordBatch::parse(bytes).unwrap().records(1 << 20).unwrap() {
                    let value = record.unwrap().value.unwrap();
                    let number = u64::from_be_bytes(value.as_ref().try_into().unwrap());
                    assert!(found.insert(number), "{number} came twice");
                }
            }
            let end = &mut ends[usize::from(delivery.partition.topic_id == topic(1))];
            *end += i64::try_from(delivery.batches.len()).unwrap();
            queue.delivered(delivery.partition, delivery.up_to, *end);
            queue.partition_durable(delivery.partition, *end);
        }
        told.extend(queue.take_damage());
        if queue.is_idle() && !queue.wants_recount() {
            break;
        }
    }
    recount(queue);
    let totals = queue.totals();
    assert_eq!(
        (totals.pending.records, totals.pending.bytes),
        (0, 0),
        "{totals:?}"
    );
    for at in 0..2 {
        assert_eq!(queue.pending_of_topic(topic(at)).records, 0);
    }
    for _ in 0..2 {
        checkpoint(disk, queue);
    }
    let names = disk.read_dir(dir()).unwrap().into_iter();
    let names = names.map(|entry| entry.name);
    Seen {
        found,
        told,
        lost: totals.lost.records,
        kept: names.filter(|name| name.ends_with(".damaged")).collect(),
    }
}

/// A store that is as it was but for a byte.
fn flipped(disk: &SimFs, name: &str, position: u64) -> SimFs {
    let path = dir().join(name);
    let file: Arc<dyn LogFile> = disk.open(&path, OpenMode::Read).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    let damaged = disk.kill();
    let flipped = byte[0] ^ (1 << (position % 8));
    damaged.rot(&path, position, &[flipped]).unwrap();
    damaged
}

#[test]
fn a_flipped_bit_in_any_byte_costs_at_most_its_group_and_is_told_and_counted() {
    let disk = written();
    let whole = disk.kill();
    let all = deliver_all(&whole, &mut open(&whole).0);
    assert_eq!(all.found.len() as u64, GROUPS * MEMBERS);
    assert!(
        all.told.is_empty() && all.kept.is_empty() && all.lost == 0,
        "{all:?}"
    );
    let mut losses = 0;
    for entry in disk.read_dir(dir()).unwrap() {
        for position in 0..entry.len {
            let damaged = flipped(&disk, &entry.name, position);
            let seen = deliver_all(&damaged, &mut open(&damaged).0);
            let place = format!("{} at {position}: {seen:?}", entry.name);
            let lost = GROUPS * MEMBERS - seen.found.len() as u64;
            let most = if entry.name.ends_with("bucket") {
                1
            } else {
                MEMBERS
            };
            assert!(lost <= most, "{place}");
            assert_eq!(seen.lost, lost, "{place}");
            if lost > 0 {
                assert!(seen.tells(&entry.name, position), "{place}");
                assert_eq!(seen.kept.len(), 1, "{place}");
                losses += 1;
            }
            if entry.name.starts_with("delay-checkpoint") {
                assert!(seen.tells(&entry.name, position), "{place}");
            }
            let (again, report) = open(&damaged);
            assert_eq!(
                (again.totals().pending.records, report.damaged),
                (0, 0),
                "{place}"
            );
        }
    }
    assert!(losses > 1_000, "most bytes matter: {losses}");
}

/// No checkpoint knows the last group: a flipped byte in it is damage all the same, and what a write left that never
/// ended is not.
#[test]
fn the_end_of_a_delay_log_that_was_not_stopped_is_damaged_or_torn() {
    let disk = written();
    let (mut queue, _) = open(&disk);
    accept(&disk, &mut queue, GROUPS);
    drop(queue);
    let last = last_log(&disk);
    for position in 32..last.1 {
        let damaged = flipped(&disk, &last.0, position);
        let seen = deliver_all(&damaged, &mut open(&damaged).0);
        let place = format!("at {position}: {seen:?}");
        let lost = (GROUPS + 1) * MEMBERS - seen.found.len() as u64;
        assert!(lost == 0 || seen.tells(&last.0, position), "{place}");
        assert!(lost == 0 || seen.kept.len() == 1, "{place}");
    }
    for len in 33..last.1 {
        let torn = disk.kill();
        let file = torn
            .open(&dir().join(&last.0), OpenMode::ReadWrite)
            .unwrap();
        file.set_len(len).unwrap();
        let (mut queue, report) = open(&torn);
        assert_eq!((report.damaged, report.torn_bytes), (0, len - 32));
        let seen = deliver_all(&torn, &mut queue);
        assert!(seen.kept.is_empty() && seen.told[0].torn, "{len}: {seen:?}");
    }
}

/// What a kill left of a write stays no damage when a checkpoint knows of what came behind it.
#[test]
fn a_torn_end_is_no_damage_to_later_starts() {
    let disk = written();
    let (mut queue, _) = open(&disk);
    accept(&disk, &mut queue, GROUPS);
    drop(queue);
    let last = last_log(&disk);
    for len in 33..last.1 {
        let torn = disk.kill();
        let path = dir().join(&last.0);
        let file = torn.open(&path, OpenMode::ReadWrite).unwrap();
        file.set_len(len).unwrap();
        let (mut queue, _) = open(&torn);
        accept(&torn, &mut queue, GROUPS);
        checkpoint(&torn, &mut queue);
        drop(queue);
        let (_, report) = open(&torn);
        assert_eq!((report.damaged, report.torn_bytes), (0, 0), "cut to {len}");
    }
}

/// A record with zeros of its own looks, once a bit beside them has flipped, like a write that never ended. Where
/// something was written behind it, it may have been acknowledged: the file is kept.
#[test]
fn the_file_of_what_looks_torn_is_kept_where_something_was_written_behind_it() {
    for followed in [false, true] {
        let disk = SimFs::new();
        let (mut queue, _) = open(&disk);
        let batch = RecordBatchBuilder::new().record(NOW, None, Some(&[0; 2_048]));
        let group = DelayGroup {
            partition: PartitionId {
                topic_id: topic(0),
                partition: 0,
            },
            log_end: 0,
            producer: None,
            operations: vec![DelayOperation::Add(DelayedBatch {
                due_ms: NOW + 10,
                expires_ms: None,
                id: Bytes::new(),
                replace: false,
                split_from: None,
                batch: batch.build().unwrap().bytes,
            })],
        };
        queue.accept(&group, NOW).unwrap();
        let (name, len) = last_log(&disk);
        assert!(len > 2_048);
        if followed {
            accept(&disk, &mut queue, 1);
        }
        drop(queue);
        let damaged = flipped(&disk, &name, 60);
        let (mut queue, report) = open(&damaged);
        assert_eq!((report.damaged, report.torn_bytes), (0, len - 32));
        let seen = deliver_all(&damaged, &mut queue);
        assert!(seen.told[0].torn);
        let (found, kept) = if followed { (MEMBERS, 1) } else { (0, 0) };
        assert_eq!((seen.found.len() as u64, seen.kept.len()), (found, kept));
    }
}

/// The last file of the delay log that holds something, and its length.
fn last_log(disk: &SimFs) -> (String, u64) {
    let entries = disk.read_dir(dir()).unwrap().into_iter();
    let logs = entries.filter(|entry| entry.name.ends_with(".delaylog") && entry.len > 32);
    logs.map(|entry| (entry.name, entry.len)).max().unwrap()
}

/// A log that lost its end, or a file of it, where a checkpoint knows of it.
#[test]
fn what_is_missing_of_a_delay_log_is_told() {
    let disk = written();
    let mut logs = disk.read_dir(dir()).unwrap();
    logs.retain(|entry| entry.name.ends_with(".delaylog"));
    assert!(logs.len() > 2);
    for entry in &logs {
        for len in [
            None,
            Some(0),
            Some(32),
            Some(entry.len - 8),
            Some(entry.len / 2),
        ] {
            let damaged = disk.kill();
            let path = dir().join(&entry.name);
            match len {
                None => damaged.remove_file(&path).unwrap(),
                Some(len) => {
                    let file = damaged.open(&path, OpenMode::ReadWrite).unwrap();
                    file.set_len(len).unwrap();
                }
            }
            let seen = deliver_all(&damaged, &mut open(&damaged).0);
            let lost = GROUPS * MEMBERS - seen.found.len() as u64;
            let place = format!("{} cut to {len:?}: {seen:?}", entry.name);
            assert_eq!(seen.lost, lost, "{place}");
            assert!(lost == 0 || !seen.told.is_empty(), "{place}");
            assert!(seen.told.iter().all(|damage| !damage.torn), "{place}");
        }
    }
}

/// Damage that comes while the store is open is met when the record is copied, loaded or due.
#[test]
fn damage_that_comes_while_a_store_is_open_is_told_and_counted() {
    let mut losses = 0;
    for far_is_copied in [false, true] {
        let disk = SimFs::new();
        let (mut queue, _) = open(&disk);
        accept(&disk, &mut queue, 0);
        accept(&disk, &mut queue, 1);
        if far_is_copied {
            for at in 0..10 {
                queue.maintain(NOW + at * 1_000).unwrap();
            }
        }
        drop(queue);
        for entry in disk.read_dir(dir()).unwrap() {
            for position in 32..entry.len {
                // The same again, for every byte.
                let open_disk = SimFs::new();
                let (mut queue, _) = open(&open_disk);
                accept(&open_disk, &mut queue, 0);
                accept(&open_disk, &mut queue, 1);
                for at in 0..10 * i64::from(far_is_copied) {
                    queue.maintain(NOW + at * 1_000).unwrap();
                }
                rot(&open_disk, &entry.name, position);
                let seen = deliver_all(&open_disk, &mut queue);
                let place = format!("{} at {position}: {seen:?}", entry.name);
                let lost = 2 * MEMBERS - seen.found.len() as u64;
                assert_eq!(seen.lost, lost, "{place}");
                assert!(lost == 0 || seen.tells(&entry.name, position), "{place}");
                losses += u64::from(lost > 0);
            }
        }
    }
    assert!(losses > 500, "{losses}");
}

fn rot(disk: &SimFs, name: &str, position: u64) {
    let path = dir().join(name);
    let file: Arc<dyn LogFile> = disk.open(&path, OpenMode::Read).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    disk.rot(&path, position, &[byte[0] ^ 1]).unwrap();
}

#[test]
fn both_checkpoints_may_be_lost_and_nothing_pending_is() {
    let disk = written();
    for name in ["delay-checkpoint", "delay-checkpoint.copy"] {
        disk.rot(&dir().join(name), 9, &[0xff; 40]).unwrap();
    }
    let (mut queue, report) = open(&disk);
    assert!(report.checkpoint_lost);
    let seen = deliver_all(&disk, &mut queue);
    assert_eq!(
        (seen.found.len() as u64, seen.told.len()),
        (GROUPS * MEMBERS, 2)
    );
}

#[test]
fn a_bucket_that_is_gone_is_told_and_the_rest_is_delivered() {
    let disk = written();
    let entries = disk.read_dir(dir()).unwrap();
    let bucket = entries
        .iter()
        .find(|entry| entry.name.ends_with(".delaybucket"));
    let name = &bucket.unwrap().name;
    disk.remove_file(&dir().join(name)).unwrap();
    let seen = deliver_all(&disk, &mut open(&disk).0);
    assert!(seen.tells(name, 40));
    let lost = (GROUPS - 1) * MEMBERS / 2;
    assert_eq!(
        (seen.found.len() as u64, seen.lost),
        (GROUPS * MEMBERS - lost, lost)
    );
}
