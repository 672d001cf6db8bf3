//! All buckets of a store: which file a record goes to, and which is loaded or split next.
//!
//! A bucket that is about to be due is *loaded*: its records get into the wheel while their bytes stay in
//! the file. One with more records than the wheel has room for is *split* instead, into buckets of the next
//! finer width; one of a single millisecond is loaded piece by piece, since its file is in the order of
//! keys already. So memory does not depend on how due times are distributed.
//!
//! Spans may overlap. No record with a key at or above [`Buckets::bound`] may be delivered: one with a
//! smaller key may not be loaded yet.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::{Bucket, Span, Width};
use super::damage::DelayDamage;
use super::key::DelayKey;
use super::record::Record;
use super::scan::{BlockScan, FILE_HEAD_LEN, FileKind, Found, file_head};
use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile, OpenMode};

/// Ids are below it, so that id and place of a record fit 63 bits.
pub(super) const BUCKET_IDS: u64 = 1 << 27;
/// A bucket of more bytes takes nothing more: 256 GiB.
pub(super) const BUCKET_BYTES_MAX: u64 = 1 << 38;

/// Records that one bucket takes in one write.
#[derive(Debug, Default)]
pub(super) struct BucketWrite {
    bytes: Vec<u8>,
    count: u64,
    first_ticket: u64,
}

/// Records to be written, by bucket.
#[derive(Debug, Default)]
pub(super) struct BucketWrites {
    by_id: BTreeMap<u64, BucketWrite>,
    pub(super) bytes: usize,
}

/// A bucket that is being divided. The new ones are not seen by anybody before all is written.
#[derive(Debug)]
struct Split {
    parent: u64,
    width: Width,
    /// How far the parent was read, in bytes.
    at: u64,
    children: BTreeMap<u64, Bucket>,
}

/// A record that was loaded: all but its payload.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) record: Record,
    pub(super) bucket: u64,
    pub(super) position: u64,
    pub(super) len: u32,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Buckets {
    fs: Arc<dyn FileSystem>,
    pub(super) dir: PathBuf,
    salt: u64,
    pub(super) all: BTreeMap<u64, Bucket>,
    /// Those that take records, by span.
    open: HashMap<Span, u64>,
    /// Those that are not loaded, by their bound.
    waiting: BTreeSet<(DelayKey, u64)>,
    split: Option<Split>,
    pub(super) next_id: u64,
    /// No longer needed once a checkpoint says so.
    pub(super) retired: Vec<Bucket>,
    /// Files were made since the directory was synced.
    pub(super) new_names: bool,
    /// The file that a record was read from last.
    reading: Option<(u64, PathBuf, Arc<dyn LogFile>)>,
    /// What was found to be damaged and is not noted yet.
    pub(super) damages: Vec<DelayDamage>,
}

impl Buckets {
    pub(super) fn new(fs: Arc<dyn FileSystem>, dir: &Path, salt: u64) -> Self {
        Self {
            fs,
            dir: dir.to_path_buf(),
            salt,
            all: BTreeMap::new(),
            open: HashMap::new(),
            waiting: BTreeSet::new(),
            split: None,
            next_id: 1,
            retired: Vec::new(),
            new_names: false,
            reading: None,
            damages: Vec::new(),
        }
    }

    /// Takes over a bucket that is there.
    pub(super) fn restore(&mut self, bucket: Bucket) {
        self.next_id = self.next_id.max(bucket.id + 1);
        self.publish(bucket);
    }

    /// Takes over a bucket of which only the name is known. It takes nothing more.
    pub(super) fn adopt(&mut self, id: u64, span: Span, len: u64) {
        let mut bucket = Bucket::new(id, span);
        bucket.len = len.max(FILE_HEAD_LEN);
        self.restore(bucket);
        if self.open.get(&span) == Some(&id) {
            self.open.remove(&span);
        }
    }

    /// All records of a bucket.
    pub(super) fn scan(&self, id: u64) -> Result<BlockScan, StorageError> {
        let bucket = self.all.get(&id).ok_or(StorageError::Closed)?;
        self.reader(bucket, FILE_HEAD_LEN)
    }

    /// What an adopted bucket holds.
    pub(super) fn counted(&mut self, id: u64, count: u64, first_ticket: u64) {
        let Some(mut bucket) = self.all.remove(&id) else {
            return;
        };
        self.waiting.remove(&(bucket.bound(), id));
        if count == 0 {
            bucket.damaged = true;
            bucket.loaded = bucket.len;
            self.retired.push(bucket);
            return;
        }
        (bucket.count, bucket.first_ticket) = (count, first_ticket);
        bucket.next_ticket = first_ticket;
        self.waiting.insert((bucket.bound(), id));
        self.all.insert(id, bucket);
    }

    /// Something in a bucket is damaged: its file is kept.
    pub(super) fn mark_damaged(&mut self, id: u64) {
        if let Some(bucket) = self.all.get_mut(&id) {
            bucket.damaged = true;
        }
    }

    /// No record that still has to be loaded has a smaller key.
    pub(super) fn bound(&self) -> Option<DelayKey> {
        self.waiting.first().map(|(bound, _)| *bound)
    }

    /// The bucket that has to be loaded first, and the first ms of its span.
    pub(super) fn first_waiting(&self) -> Option<(u64, u64)> {
        let (bound, id) = self.waiting.first()?;
        Some((*id, bound.due_ms))
    }

    fn publish(&mut self, bucket: Bucket) {
        if !bucket.is_loaded() {
            self.waiting.insert((bucket.bound(), bucket.id));
            if bucket.is_untouched() {
                self.open.entry(bucket.span).or_insert(bucket.id);
            }
        }
        self.all.insert(bucket.id, bucket);
    }

    fn fresh_id(&mut self) -> u64 {
        loop {
            let id = self.next_id % BUCKET_IDS;
            self.next_id = id + 1;
            // Ids come round after a hundred million buckets only: those of a split that is under way
            // are not among the old ones.
            if !self.all.contains_key(&id) && self.retired.iter().all(|bucket| bucket.id != id) {
                return id;
            }
        }
    }

    /// The bucket for a due time, made where there is none.
    fn open_for(&mut self, due_ms: u64, now_ms: u64) -> u64 {
        let span = Span::for_record(due_ms, now_ms);
        if let Some(id) = self.open.get(&span)
            && self.all[id].len < BUCKET_BYTES_MAX
        {
            return *id;
        }
        let id = self.fresh_id();
        self.open.insert(span, id);
        self.all.insert(id, Bucket::new(id, span));
        id
    }

    /// Adds a record to what will be written.
    pub(super) fn put(&mut self, record: &Record, now_ms: u64, writes: &mut BucketWrites) {
        let id = self.open_for(record.key.due_ms, now_ms);
        let base = self.all[&id].len;
        writes.put(id, base, record, self.salt);
    }

    /// Writes; what was written is not durable yet. After an error nothing counts as written.
    pub(super) fn write(&mut self, writes: &BucketWrites) -> Result<(), StorageError> {
        for (id, write) in &writes.by_id {
            let bucket = &self.all[id];
            let written = write_bucket(self.fs.as_ref(), &self.dir, self.salt, bucket, write);
            if let Err(error) = written {
                self.forget_unwritten(writes);
                return Err(error);
            }
        }
        for (id, write) in &writes.by_id {
            let bucket = self.all.get_mut(id).expect("it was written just now");
            self.waiting.remove(&(bucket.bound(), *id));
            grow(bucket, write);
            self.new_names = true;
            self.waiting.insert((bucket.bound(), *id));
        }
        Ok(())
    }

    /// Those of which nothing counts go with their files, since the next write may make others. One whose file
    /// stays is left to [`Buckets::retire`].
    fn forget_unwritten(&mut self, writes: &BucketWrites) {
        for id in writes.by_id.keys() {
            let bucket = &self.all[id];
            if bucket.count > 0 {
                continue;
            }
            let is_gone = match self.fs.remove_file(&bucket.path(&self.dir)) {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            if is_gone {
                self.open.remove(&bucket.span);
                self.all.remove(id);
            }
        }
    }

    fn reader(&self, bucket: &Bucket, from: u64) -> Result<BlockScan, StorageError> {
        let path = bucket.path(&self.dir);
        let range = (from, bucket.len);
        let scan = BlockScan::of_records(self.fs.as_ref(), &path, self.salt, range)?;
        let missing = || StorageError::from_io("open", &path, io::ErrorKind::NotFound.into());
        scan.ok_or_else(missing)
    }

    /// The file of a bucket, for reading single records.
    pub(super) fn open_file(
        &mut self,
        id: u64,
    ) -> Result<(PathBuf, Arc<dyn LogFile>), StorageError> {
        if let Some((open, path, file)) = &self.reading
            && *open == id
        {
            return Ok((path.clone(), Arc::clone(file)));
        }
        let bucket = self.all.get(&id).ok_or(StorageError::Closed)?;
        let path = bucket.path(&self.dir);
        match self.fs.open(&path, OpenMode::Read) {
            Ok(file) => {
                self.reading = Some((id, path.clone(), Arc::clone(&file)));
                Ok((path, file))
            }
            Err(error) => Err(StorageError::from_io("open", &path, error)),
        }
    }

    /// Loads at most `records` of a bucket, or splits it where that is not enough for all of it; at most
    /// `bytes` are read. Nothing is written to it any more.
    pub(super) fn load(
        &mut self,
        id: u64,
        records: usize,
        bytes: u64,
    ) -> Result<Vec<Loaded>, StorageError> {
        let Some(bucket) = self.all.get(&id) else {
            return Ok(Vec::new());
        };
        if self.open.get(&bucket.span) == Some(&id) {
            self.open.remove(&bucket.span);
        }
        let too_many = bucket.count > records as u64;
        // Also where there is room again by now: what is loaded must not be taken away.
        let begun = self.split.as_ref().is_some_and(|split| split.parent == id);
        match bucket
            .span
            .width
            .finer()
            .filter(|_| begun || (too_many && bucket.is_untouched()))
        {
            Some(width) => {
                if self.split.is_none() {
                    self.split = Some(Split {
                        parent: id,
                        width,
                        at: FILE_HEAD_LEN,
                        children: BTreeMap::new(),
                    });
                }
                self.split_step(bytes).map(|()| Vec::new())
            }
            None => self.load_step(id, records, bytes),
        }
    }

    fn load_step(
        &mut self,
        id: u64,
        records: usize,
        bytes: u64,
    ) -> Result<Vec<Loaded>, StorageError> {
        let bucket = &self.all[&id];
        let mut scan = self.reader(bucket, bucket.loaded)?;
        let (mut loaded, mut to, end) = (Vec::new(), bucket.loaded, bucket.loaded + bytes);
        let mut damages = Vec::new();
        while loaded.len() < records && scan.position() < end {
            match scan.next()? {
                None => {
                    // Shorter than it should be: what is missing is damage, too.
                    if to < bucket.len {
                        damages.push((to, bucket.len));
                    }
                    to = bucket.len;
                    break;
                }
                Some(Found::Damage { .. }) => damages.push((to, scan.position())),
                Some(Found::Block(position, len, body)) => match Record::parse_fields(&body) {
                    Some(record) => loaded.push(Loaded {
                        record,
                        bucket: id,
                        position,
                        len: u32::try_from(len).unwrap_or(u32::MAX),
                    }),
                    None => damages.push((to, scan.position())),
                },
            }
            to = scan.position();
        }
        let is_damaged = !damages.is_empty();
        self.note(scan.path(), damages);
        let bucket = self.all.get_mut(&id).expect("it was looked up");
        self.waiting.remove(&(bucket.bound(), id));
        bucket.damaged |= is_damaged;
        bucket.loaded = to;
        if let Some(last) = loaded.last() {
            bucket.next_ticket = last.record.key.ticket + 1;
        }
        if !bucket.is_loaded() {
            self.waiting.insert((bucket.bound(), id));
        }
        Ok(loaded)
    }

    /// Divides a part of the bucket that is being split.
    fn split_step(&mut self, bytes: u64) -> Result<(), StorageError> {
        let Some(mut split) = self.split.take() else {
            return Ok(());
        };
        let moved = self.split_part(&mut split, bytes);
        let done = self.all[&split.parent].len <= split.at;
        if moved.is_err() || !done {
            self.split = Some(split);
            return moved;
        }
        let parent = self.all.remove(&split.parent).expect("it is being split");
        self.waiting.remove(&(parent.bound(), parent.id));
        for child in split.children.into_values() {
            self.publish(child);
        }
        self.retired.push(parent);
        Ok(())
    }

    fn split_part(&mut self, split: &mut Split, bytes: u64) -> Result<(), StorageError> {
        let parent = &self.all[&split.parent];
        let (len, mut scan) = (parent.len, self.reader(parent, split.at)?);
        let (mut writes, end) = (BucketWrites::default(), split.at + bytes);
        let (mut damages, mut children) = (Vec::new(), Vec::new());
        while scan.position() < end {
            let from = scan.position();
            match scan.next()? {
                None => {
                    if from < len {
                        damages.push((from, len));
                    }
                    break;
                }
                Some(Found::Damage { .. }) => damages.push((from, scan.position())),
                Some(Found::Block(_, _, body)) => match Record::parse(&body) {
                    Some(record) => children.push(record),
                    None => damages.push((from, scan.position())),
                },
            }
        }
        let at = match scan.position() < end {
            true => len,
            false => scan.position(),
        };
        for record in &children {
            let span = Span::around(split.width, record.key.due_ms);
            let child = match split.children.entry(span.start_ms) {
                Entry::Occupied(child) => child.into_mut(),
                Entry::Vacant(free) => free.insert(Bucket::new(self.fresh_id(), span)),
            };
            writes.put(child.id, child.len, record, self.salt);
        }
        for child in split.children.values() {
            if let Some(write) = writes.by_id.get(&child.id) {
                write_bucket(self.fs.as_ref(), &self.dir, self.salt, child, write)?;
            }
        }
        for child in split.children.values_mut() {
            if let Some(write) = writes.by_id.get(&child.id) {
                grow(child, write);
            }
        }
        self.new_names = true;
        split.at = at;
        let parent = self.all.get_mut(&split.parent).expect("it is being split");
        parent.damaged |= !damages.is_empty();
        self.note(scan.path(), damages);
        Ok(())
    }

    fn note(&mut self, path: &Path, damages: Vec<(u64, u64)>) {
        let damages = damages.into_iter();
        self.damages
            .extend(damages.map(|(from, to)| DelayDamage::new(path, from, to)));
    }

    /// Takes out the buckets of which nothing is needed any more.
    pub(super) fn retire(&mut self, passed: impl Fn(u32) -> Option<DelayKey>) {
        let mut done = Vec::new();
        for bucket in self.all.values_mut() {
            // Nothing counts of one whose first write failed; what it was for may lie elsewhere now.
            let unwritten = bucket.count == 0;
            if unwritten || bucket.is_loaded() && bucket.holding.release(&passed) {
                done.push(bucket.id);
            }
        }
        self.open.retain(|_, id| !done.contains(id));
        for id in done {
            self.retired.extend(self.all.remove(&id));
            self.reading.take_if(|(open, _, _)| *open == id);
        }
    }
}

impl BucketWrites {
    fn put(&mut self, id: u64, base: u64, record: &Record, salt: u64) {
        let write = self.by_id.entry(id).or_insert_with(|| BucketWrite {
            first_ticket: record.key.ticket,
            ..BucketWrite::default()
        });
        self.bytes += record.put(&mut write.bytes, salt, base) as usize;
        write.count += 1;
        write.first_ticket = write.first_ticket.min(record.key.ticket);
    }
}

fn grow(bucket: &mut Bucket, write: &BucketWrite) {
    if bucket.count == 0 {
        bucket.next_ticket = write.first_ticket;
    }
    bucket.len += write.bytes.len() as u64;
    bucket.count += write.count;
    bucket.first_ticket = bucket.first_ticket.min(write.first_ticket);
    bucket.dirty = true;
}

/// Writes behind what counts of a bucket's file.
fn write_bucket(
    fs: &dyn FileSystem,
    dir: &Path,
    salt: u64,
    bucket: &Bucket,
    write: &BucketWrite,
) -> Result<(), StorageError> {
    let path = bucket.path(dir);
    let file = fs
        .open(&path, OpenMode::Create)
        .map_err(|error| StorageError::from_io("create", &path, error))?;
    let put = || {
        let is_new = bucket.count == 0;
        let len = if is_new { 0 } else { bucket.len };
        if file.len()? != len {
            // What a write left that failed, or a start that came too early for a checkpoint.
            file.set_len(len)?;
        }
        let head = match is_new {
            true => file_head(FileKind::Bucket, salt, 0),
            false => Vec::new(),
        };
        file.write_all_at(&[IoSlice::new(&head), IoSlice::new(&write.bytes)], len)
    };
    put().map_err(|error| StorageError::from_io("write", &path, error))
}

#[cfg(test)]
#[path = "buckets_tests.rs"]
mod tests;
