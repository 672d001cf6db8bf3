//! Cases of delayed delivery that hang on what there is: memory, partitions, descriptors, a slow disk, files
//! that are missing, old, short, damaged or too many. The numbers are those of the list in docs/testing.md.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::store::{DAY_MS, NOW, Store, add, dir, partition};
use tidewheel_storage::delay::DelayOptions;
use tidewheel_storage::fs::{
    DirEntry, DirLock, DiskSpace, Fault, FileSystem, LogFile, OpenMode, SimFs,
};

fn small() -> DelayOptions {
    DelayOptions {
        near_records_max: 100,
        segment_bytes: 20_000,
        step_bytes: 10_000,
        step_records: 50,
        ..DelayOptions::default()
    }
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

/// Case S1, with fewer records than a long run has.
#[test]
fn far_more_than_memory_holds_may_be_due_in_one_ms() {
    let mut store = Store::new(Arc::new(SimFs::new()), small());
    for group in 0..40 {
        store.add((0..100).map(|at| (group * 100 + at, NOW + 400_000)));
        store.maintain().unwrap();
        store.checkpoint().unwrap();
    }
    store.deliver_at(NOW + 399_999);
    assert_eq!(store.given(), [0; 0]);
    store.now = NOW + 400_000;
    let mut most = 0;
    while store.pending() > 0 {
        store.deliver_some();
        most = most.max(store.queue.totals().near_records);
    }
    assert!(most <= 150, "{most} in memory");
    let totals = store.queue.totals();
    let through_files = [totals.spilled_records, totals.promoted_records];
    assert!(
        through_files.iter().all(|count| *count >= 3_850),
        "{totals:?}"
    );
    assert_eq!(store.given(), (0..4_000).collect::<Vec<u64>>());
}

/// Case S2.
#[test]
fn when_all_is_due_soon_the_rest_waits_in_files_and_comes_in_time() {
    let mut store = Store::new(Arc::new(SimFs::new()), small());
    let due = |number: u64| {
        (
            number,
            NOW + 1_000 + i64::try_from(number * 7_919 % 299_000).unwrap(),
        )
    };
    for group in 0..30 {
        store.add((group * 100..group * 100 + 100).map(due));
        store.maintain().unwrap();
        assert!(store.queue.totals().near_records <= 150);
    }
    let mut last = store.given().len();
    for now in (NOW..=NOW + 300_000).step_by(1_000) {
        store.deliver_at(now);
        let expected = (0..3_000).filter(|number| due(*number).1 <= now).count();
        assert_eq!(store.given().len(), expected, "at {}", now - NOW);
        last = expected;
    }
    assert_eq!((last, store.pending()), (3_000, 0));
}

/// What comes due together was mostly sent together.
#[test]
fn small_records_that_come_due_together_are_read_in_few_pieces() {
    let disk = SimFs::new();
    let mut store = Store::new(Arc::new(disk.clone()), DelayOptions::default());
    for group in 0..40 {
        store.add((0..100).map(|at| (group * 100 + at, NOW + 1_000)));
    }
    let before = disk.read_count();
    store.deliver_at(NOW + 1_000);
    assert_eq!(store.given(), (0..4_000).collect::<Vec<u64>>());
    let reads = disk.read_count() - before;
    assert!(reads <= 40, "{reads} reads");
}

/// Case I4: it fills the memory with what it was to be given.
#[test]
fn what_one_partition_refuses_stops_no_other() {
    let options = DelayOptions {
        near_records_max: 4,
        ..small()
    };
    let mut store = Store::new(Arc::new(SimFs::new()), options);
    let refused = partition(1);
    for number in 0..10 {
        store.accept(1, vec![add(number, NOW + 100, "", false)]);
    }
    store.add((0..50).map(|number| (number, NOW + 1_000 + i64::try_from(number).unwrap() * 10)));
    for now in (NOW..NOW + 4_000).step_by(20) {
        store.now = now;
        store.sync();
        store.maintain().unwrap();
        let fired = store.queue.fire(now).unwrap();
        for delivery in &fired.deliveries {
            match delivery.partition == refused {
                true => store.queue.delivery_failed(refused),
                false => store.append(delivery),
            }
        }
    }
    assert_eq!(store.given(), (0..50).collect::<Vec<u64>>());
    assert_eq!(store.pending(), 10, "those of the partition that refuses");
    store.deliver_at(NOW + 5_000);
    assert_eq!(store.logs[&refused].len(), 10);
}

/// Case S3.
#[test]
fn ten_thousand_partitions_have_one_record_each() {
    let mut store = Store::fresh();
    for at in 0..10_000 {
        store.accept(at, vec![add(1, NOW + 1_000, "", false)]);
    }
    store.deliver_at(NOW + 999);
    assert!(store.logs.is_empty());
    store.deliver_at(NOW + 1_000);
    assert_eq!(store.logs.len(), 10_000);
    assert!(store.logs.values().all(|log| log.len() == 1));
    store.checkpoint().unwrap();
    store.restart();
    store.deliver();
    assert!(store.logs.values().all(|log| log.len() == 1));
}

/// Case S5.
#[test]
fn while_a_sync_takes_its_time_what_is_durable_is_delivered_and_more_is_accepted() {
    let mut store = Store::fresh();
    store.add([(1, NOW + 10)]);
    store.accept(0, vec![add(2, NOW + 20, "", false)]);
    let slow = store.queue.sync_work().unwrap();
    store.accept(0, vec![add(3, NOW + 20, "", false)]);
    store.now = NOW + 10;
    for delivery in store.fire() {
        store.append(&delivery);
    }
    assert_eq!(store.given(), [1]);
    store.now = NOW + 20;
    assert!(store.fire().is_empty());
    store.queue.synced(&slow, &slow.run(&*store.fs));
    for delivery in store.fire() {
        store.append(&delivery);
    }
    assert_eq!(store.given(), [1, 2], "3 came after the sync began");
    store.deliver();
    assert_eq!(store.given(), [1, 2, 3]);
}

/// A process that has no descriptors left after so many further files were opened.
#[derive(Clone, Debug)]
struct FewFiles {
    disk: SimFs,
    left: Arc<AtomicI64>,
}

impl FileSystem for FewFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        match self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            true => self.disk.open(path, mode),
            false => Err(rustix::io::Errno::MFILE.into()),
        }
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.read_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.disk.space(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.disk.lock(path)
    }
}

/// Case S6.
#[test]
fn without_descriptors_everything_waits_and_nothing_is_lost() {
    for left in (0..24).step_by(4) {
        let few = FewFiles {
            disk: SimFs::new(),
            left: Arc::new(AtomicI64::new(i64::MAX)),
        };
        let mut store = Store::new(Arc::new(few.clone()), small());
        let due = |number: u64| {
            (
                number,
                NOW + 1_000 + i64::try_from(number).unwrap() * 40_000,
            )
        };
        store.add((0..300).map(due));
        few.left.store(left, Ordering::Relaxed);
        // Each of these may find none left.
        let mut refused = 0;
        for step in 0..60 {
            store.now = NOW + step * 200_000;
            refused += u64::from(store.queue.maintain(store.now).is_err());
            refused += u64::from(store.checkpoint().is_err());
            let fired = store.queue.fire(store.now).unwrap();
            refused += u64::from(fired.error.is_some());
            for delivery in &fired.deliveries {
                store.append(delivery);
            }
            assert!(!store.queue.is_offline(), "it passes");
        }
        assert!(refused > 0);
        few.left.store(i64::MAX, Ordering::Relaxed);
        store.deliver_at(NOW + DAY_MS);
        assert_eq!(store.given(), (0..300).collect::<Vec<u64>>(), "{left}");
        for _ in 0..2 {
            store.checkpoint().unwrap();
        }
        assert_eq!(store.files("bucket"), [""; 0]);
    }
}

/// The system tells once that a sync failed, whatever the reason: another one would take for durable what is lost.
#[test]
fn a_sync_of_the_delay_log_that_fails_on_a_full_disk_is_not_tried_again() {
    for on_the_way in [false, true] {
        let disk = SimFs::new();
        let mut store = Store::new(Arc::new(disk.clone()), small());
        store.accept(0, vec![add(1, NOW + 1_000, "", false)]);
        disk.fail_at(disk.op_count(), Fault::Enospc);
        if on_the_way {
            store.checkpoint().unwrap_err();
        } else {
            let work = store.queue.sync_work().unwrap();
            let outcome = work.run(&disk);
            assert!(!outcome.as_ref().unwrap_err().is_disk_full());
            store.queue.synced(&work, &outcome);
        }
        assert!(store.queue.is_offline() && store.checkpoint().is_err());
    }
}

/// Case S4, at a start: what needs no room goes on, also where the start before was no better.
#[test]
fn a_start_on_a_full_disk_delivers_and_takes_more_as_soon_as_there_is_room() {
    let disk = SimFs::new();
    let mut store = Store::new(Arc::new(disk.clone()), DelayOptions::default());
    store.add([(1, NOW + 1_000), (2, NOW + 2_000), (3, NOW + 4_000)]);
    disk.set_free_bytes(0);
    for number in 1..=2 {
        store.restart();
        assert_eq!(store.report.damaged, 0);
        store.now = NOW + number * 1_000;
        for delivery in store.fire() {
            store.append(&delivery);
        }
        let topic_id = partition(0).topic_id;
        let refused = store.queue.set_paused(topic_id, true, store.now);
        assert!(refused.unwrap_err().is_disk_full());
        assert!(!store.queue.is_offline());
    }
    assert_eq!(store.given(), [1, 2]);
    disk.set_free_bytes(u64::MAX);
    store.add([(4, NOW + 3_000)]);
    store.restart();
    store.deliver_at(NOW + 4_000);
    assert_eq!((store.given(), store.pending()), (vec![1, 2, 4, 3], 0));
    store.checkpoint().unwrap();
    store.restart();
    assert_eq!((store.report.damaged, store.pending()), (0, 0));
}

/// What a file holds.
fn read(disk: &SimFs, name: &str) -> Vec<u8> {
    let file = disk.open(&dir().join(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn write(disk: &SimFs, name: &str, bytes: &[u8]) {
    let file = disk.open(&dir().join(name), OpenMode::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(&[io::IoSlice::new(bytes)], 0).unwrap();
}

/// Near and far records, files of both kinds, and checkpoints.
fn filled(disk: &SimFs) -> Store {
    let options = DelayOptions {
        segment_bytes: 3_000,
        ..small()
    };
    let mut store = Store::new(Arc::new(disk.clone()), options);
    let due = |number: u64| (number, NOW + i64::try_from(number).unwrap() * 3_000_000);
    for group in 0..6 {
        store.add((group * 20..group * 20 + 20).map(due));
        store.deliver();
        store.checkpoint().unwrap();
    }
    store
}

const CHECKPOINTS: [&str; 2] = ["delay-checkpoint", "delay-checkpoint.copy"];

/// Case S7.
#[test]
fn checkpoints_may_be_missing_or_damaged_or_of_before() {
    let all: Vec<u64> = (0..120).collect();
    for what in ["missing", "one missing", "damaged", "old"] {
        let disk = SimFs::new();
        let mut store = filled(&disk);
        let old = CHECKPOINTS.map(|name| read(&disk, name));
        store.now = NOW + 30 * 3_000_000;
        store.deliver();
        if what != "old" {
            store.checkpoint().unwrap();
        }
        let pending = store.pending();
        for (name, old) in CHECKPOINTS.into_iter().zip(old) {
            match what {
                "missing" => disk.remove_file(&dir().join(name)).unwrap(),
                "one missing" if name == CHECKPOINTS[0] => {
                    disk.remove_file(&dir().join(name)).unwrap();
                }
                "damaged" => disk.rot(&dir().join(name), 20, &[0xa5; 8]).unwrap(),
                "old" => write(&disk, name, &old),
                _ => {}
            }
        }
        store.restart();
        assert_eq!(store.pending(), pending, "{what}");
        let lost = ["missing", "damaged"].contains(&what);
        assert_eq!(store.report.checkpoint_lost, lost, "{what}");
        store.deliver_at(NOW + 400 * DAY_MS);
        assert_eq!(store.given(), all, "{what}");
        assert_eq!(store.pending(), 0, "{what}");
    }
}

/// Cases S8 and S9: a file of far records holds all that is known of them.
#[test]
fn files_of_far_records_may_be_short_or_too_many() {
    let disk = SimFs::new();
    let mut store = filled(&disk);
    let buckets = store.files("bucket");
    let name = buckets.last().unwrap();
    // What a crash left of a division that was not finished.
    let extra = format!("{:010}{}", 777, &name[10..]);
    assert_ne!(&extra, name);
    write(&disk, &extra, &read(&disk, name));
    store.restart();
    assert_eq!((store.report.damaged, store.pending()), (0, 119));
    assert!(!store.files("bucket").contains(&extra));
    // A file that lost its end costs what was there, and is told.
    let bytes = read(&disk, name);
    write(&disk, name, &bytes[..bytes.len() / 2]);
    store.restart();
    store.now = NOW + 400 * DAY_MS;
    store.deliver();
    let given = sorted(store.given());
    assert!((60..120).contains(&given.len()), "{given:?}");
    assert!(store.queue.totals().damaged > 0);
    assert!(given.windows(2).all(|pair| pair[0] < pair[1]), "none twice");
    for _ in 0..2 {
        store.checkpoint().unwrap();
    }
    assert_eq!(store.files("damaged").len(), 1, "it is kept");
    assert_eq!(store.files("delaybucket").len(), 0);
    assert_eq!(store.queue.pending(partition(0)).records, store.pending());
}
