//! What must hold after a crash, and a disk that does not sync.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tidewheel_protocol::RecordBatchBuilder;
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::{DelayDamage, DelayKey};
use tidewheel_storage::fs::{
    DirEntry, DirLock, DiskSpace, FileSystem, LogFile, MappedFile, OpenMode, SimFs,
};

use crate::ledger::{Entry, Ledger, Promise, Sent};
use crate::scenario::{JUMP_MAX_MS, PARTITIONS, Step};
use crate::support::read_all;
use crate::world::{STORE, World, numbers, partition_id};

/// What happened to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process died.
    Kill,
    /// The power was cut, or a sync failed.
    Power,
}

/// Starts from an image, lets all time pass, and compares with the ledger.
pub(crate) fn check(image: SimFs, ledger: &Ledger, crash: Crash) {
    let mut world = World::resume(image, ledger.clone());
    let report = world.start().unwrap();
    assert!(!report.checkpoint_lost);
    // A power cut leaves holes between groups that nobody was promised, and those are no damage.
    assert_eq!(damaged(&mut world, crash), []);
    check_second_start(&world, crash);
    assert!(report.rewound.is_empty(), "a cursor was ahead of its log");
    check_producers(&world, crash);
    drain(&mut world);
    let pending = world.accepted;
    assert_eq!(world.settled, pending, "what was pending and what came");
    let delivered = audit(&world);
    for (number, entry) in &ledger.entries {
        let count = delivered.get(number).copied().unwrap_or_default();
        check_entry(*number, entry, count, crash);
    }
    check_replaced(ledger, &delivered, crash);
    check_rest(&mut world);
}

/// What a start told to be damaged. A power cut leaves holes between groups that nobody was promised, and those are
/// no damage; only where it took less than 16 bytes off the end of a file nothing tells it from any other change.
fn damaged(world: &mut World, crash: Crash) -> Vec<DelayDamage> {
    let mut told = world.queue().take_damage();
    let is_unclear = |damage: &DelayDamage| crash == Crash::Power && damage.to % 512 < 16;
    told.retain(|damage| !damage.torn && !is_unclear(damage));
    told
}

/// What a crash left is told by the first start, and not by one that has a checkpoint of that.
fn check_second_start(world: &World, crash: Crash) {
    let mut again = World::resume(world.fs.kill(), world.ledger.clone());
    for _ in 0..2 {
        again.start().unwrap();
        again.checkpoint(true).unwrap();
    }
    let report = again.start().unwrap();
    assert_eq!((damaged(&mut again, crash), report.torn_bytes), (vec![], 0));
}

/// Everything is delivered that ever will be.
fn drain(world: &mut World) {
    world.step(&Step::Pause(1, false)).unwrap();
    for ahead in [
        0,
        1,
        20,
        1_000,
        60_000,
        3_600_000,
        86_400_000,
        40 * 86_400_000,
        JUMP_MAX_MS,
    ] {
        world.ledger.advance(ahead);
        world.sync().unwrap();
        world.maintain().unwrap();
        world.deliver(1_000).unwrap();
    }
    let totals = world.queue.as_ref().unwrap().totals();
    assert_eq!(totals.pending.records, 0, "{totals:?}");
    assert_eq!(totals.pending.bytes, 0, "{totals:?}");
    assert_eq!(totals.near_records, 0, "{totals:?}");
}

/// Reads nothing but the partitions' logs: cursors strictly increase, of records that were due together the
/// one accepted first comes first, and plain ones keep their order. How often each number came.
fn audit(world: &World) -> BTreeMap<u64, u32> {
    let mut counts = BTreeMap::new();
    for (at, log) in world.logs.iter().enumerate() {
        let mut last = DelayKey::default();
        let (mut last_plain, mut last_of_due) = (0, BTreeMap::new());
        for batch in read_all(log, 1 << 20) {
            let key = DelayKey::of_header(&batch.header);
            for number in numbers(&batch) {
                *counts.entry(number).or_insert(0) += 1;
                let entry = &world.ledger.entries[&number];
                let due_ms = entry.due_ms;
                assert!(at == entry.partition || entry.buried_in == Some(at));
                let late = key.is_none_or(|key| key.due_ms.cast_signed() >= due_ms);
                assert!(late, "{number} was due at {due_ms}, delivered as {key:?}");
                let before = match key {
                    Some(_) if entry.moved || at != entry.partition => 0,
                    Some(_) => last_of_due.insert(due_ms, number).unwrap_or_default(),
                    None => std::mem::replace(&mut last_plain, number),
                };
                assert!(before < number, "{number} came after {before}");
            }
            if let Some(key) = key {
                assert!(last < key, "{key:?} came after {last:?}");
                last = key;
            }
        }
    }
    counts
}

/// Batches that a producer remembers: those it may send again.
const REMEMBERED: usize = 5;

/// What was promised to an idempotent producer is known when it is sent again, whichever log holds it.
fn check_producers(world: &World, crash: Crash) {
    let needed = needed(crash);
    for ((at, producer_id), sent) in &world.ledger.sent {
        let window = sent.iter().rev().take(REMEMBERED);
        let start = world.ledger.starts.get(at).copied().unwrap_or_default();
        let promised = |sent: &&Sent| {
            let is_there = sent.offset.is_none_or(|offset| offset >= start);
            sent.promise >= needed && is_there
        };
        for sent in window.filter(promised) {
            let said = format!("producer {producer_id} in {at}: {sent:?}");
            match is_known(world, *at, sent) {
                Ok(known) => assert!(known, "{said} is taken twice"),
                // What came before it was lost or is forgotten, and nothing is taken out of order.
                Err(error) => {
                    let forgotten = world.ledger.forgotten.contains(&(*at, *producer_id));
                    assert!(crash == Crash::Power || forgotten, "{said}: {error}");
                }
            }
        }
    }
}

fn is_known(world: &World, at: usize, sent: &Sent) -> Result<bool, StorageError> {
    let queue = world.queue.as_ref().unwrap();
    if queue.find_duplicate(partition_id(at), sent.stamp).is_some() {
        return Ok(true);
    }
    let (id, sequence) = (sent.stamp.producer_id, sent.stamp.first_sequence);
    let builder = RecordBatchBuilder::new().record(sent.accepted_ms, None, None);
    let batch = builder.producer(id, 0, sequence).build().unwrap();
    world.logs[at].is_repeated(&batch.header, world.ledger.wall_ms)
}

fn needed(crash: Crash) -> Promise {
    match crash {
        Crash::Kill => Promise::Written,
        Crash::Power => Promise::Durable,
    }
}

fn check_entry(number: u64, entry: &Entry, count: u32, crash: Crash) {
    assert!(count <= 1, "{number} came {count} times: {entry:?}");
    let needed = needed(crash);
    if let Some(surely) = entry.deleted {
        assert!(count == 0 || !surely, "{number} came again: {entry:?}");
        return;
    }
    if entry.immediate.is_some() {
        let kept = entry.promise >= needed && crash == Crash::Kill;
        assert!(
            count == 1 || !kept,
            "{number} was appended and is lost: {entry:?}"
        );
        return;
    }
    if let Some((promise, appended, _)) = entry.cancelled {
        let gone = promise >= needed && !appended;
        assert!(
            count == 0 || !gone,
            "{number} was cancelled and came: {entry:?}"
        );
        return;
    }
    // What expired comes all the same, if it is kept.
    if let (Some(expires_ms), None) = (entry.expires_ms, entry.buried_in) {
        let never = expires_ms <= entry.due_ms;
        assert!(count == 0 || !never, "{number} had expired: {entry:?}");
        return;
    }
    let kept = entry.promise >= needed;
    assert!(count == 1 || !kept, "{number} is lost: {entry:?}");
}

/// A record that was promised and replaced comes, or what took its place, or what took the place of that.
fn check_replaced(ledger: &Ledger, delivered: &BTreeMap<u64, u32>, crash: Crash) {
    let is_needed = |entry: &Entry| {
        entry.promise >= needed(crash) && entry.immediate.is_none() && entry.cancelled.is_some()
    };
    // Nobody can tell that of one.
    let is_excused =
        |entry: &Entry| entry.dropped || entry.deleted.is_some() || entry.expires_ms.is_some();
    for (number, entry) in ledger.entries.iter().filter(|(_, entry)| is_needed(entry)) {
        let mut one_of = ledger.entries.range(number..).filter(|(at, other)| {
            let same = (other.partition, other.id) == (entry.partition, entry.id);
            same && (*at == number || other.replaces)
        });
        let came =
            |(number, other): (&u64, &Entry)| is_excused(other) || delivered.contains_key(number);
        assert!(
            one_of.any(came),
            "{number} is lost with what replaced it: {entry:?}"
        );
    }
}

/// The disk is as before, and another start delivers nothing.
fn check_rest(world: &mut World) {
    for _ in 0..2 {
        world.flush().unwrap();
        world.checkpoint(true).unwrap();
    }
    let files = world.fs.read_dir(Path::new(STORE)).unwrap();
    let names = files.iter().map(|file| file.name.as_str());
    let names: Vec<_> = names.filter(|name| !name.ends_with(".damaged")).collect();
    assert!(
        !names.iter().any(|name| name.ends_with("bucket")),
        "{names:?}"
    );
    assert!(names.len() <= 4, "{names:?}");
    let settled = world.settled;
    world.start().unwrap();
    assert_eq!(world.queue.as_ref().unwrap().totals().pending.records, 0);
    world.deliver(10).unwrap();
    assert_eq!(
        world.settled, settled,
        "nothing comes after everything came"
    );
    assert_eq!(world.logs.len(), PARTITIONS);
}

/// A disk that says it synced a file, and did not.
#[derive(Debug)]
pub(crate) struct Unsynced(pub(crate) SimFs);

impl FileSystem for Unsynced {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        let file = self.0.open(path, mode)?;
        match path.extension().is_some_and(|kind| kind == "delaybucket") {
            true => Ok(Arc::new(UnsyncedFile(file))),
            false => Ok(file),
        }
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.read_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.0.space(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.0.lock(path)
    }
}

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn LogFile>);

impl LogFile for UnsyncedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn modified_ms(&self) -> io::Result<i64> {
        self.0.modified_ms()
    }
    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.0.set_modified_ms(modified_ms)
    }
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, position)
    }
    fn write_all_at(&self, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<()> {
        self.0.write_all_at(parts, position)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn drop_cache(&self, position: u64) -> io::Result<()> {
        self.0.drop_cache(position)
    }
    fn preallocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.0.preallocate(position, len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn unsettle(&self, len: u64) {
        self.0.unsettle(len);
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        self.0.map(len)
    }
}
