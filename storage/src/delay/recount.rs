//! Counting what is pending anew, after damage: the checkpoint counts records that cannot be read any more, and
//! nothing but reading everything says whose they were.
//!
//! What hangs in memory is counted when it begins; what lies in files only is read in steps, which need no lock.
//! What comes or goes meanwhile changes nothing: it is told how much too high the counts were at the beginning.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::DelayDamage;
use super::delay_log::LogSegment;
use super::key::{DelayKey, PartitionId};
use super::partitions::{DelayCount, count_of};
use super::queue::DelayQueue;
use super::record::{Kind, Record, parse_group};
use super::scan::{BlockScan, Found};
use crate::error::StorageError;
use crate::fs::FileSystem;

/// What is pending for a partition.
#[derive(Debug)]
struct Counted {
    number: u32,
    /// Nothing up to it is pending, but for what hangs in memory.
    handed: DelayKey,
    /// As the queue said when the count began.
    said: DelayCount,
    /// As it was found.
    found: DelayCount,
}

/// A file of the delay log.
#[derive(Debug)]
struct LogFile {
    scan: BlockScan,
    /// The position of its first byte.
    base: u64,
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecountStep {
    /// There is more to read.
    More,
    /// It is to be given to [`DelayQueue::finish_recount`].
    Done,
    /// A file has gone that was to be read: begin anew.
    Gone,
}

/// A count that is under way.
#[derive(Debug)]
pub struct DelayRecount {
    fs: Arc<dyn FileSystem>,
    salt: u64,
    /// From where on far records lie in the delay log only.
    spilled: u64,
    partitions: HashMap<PartitionId, Counted>,
    log: VecDeque<LogFile>,
    /// Files of far records: path, from and to which byte.
    buckets: VecDeque<(PathBuf, u64, u64)>,
    bucket: Option<BlockScan>,
    damages: Vec<DelayDamage>,
    /// How many places were known to be damaged when it began.
    known: u64,
}

impl DelayQueue {
    /// Whether damage was met since what is pending was counted last: then what it took counts as pending still.
    #[must_use]
    pub fn wants_recount(&self) -> bool {
        self.uncounted
    }

    /// Begins to count what is pending. Give it back when its steps are over; one at a time.
    #[must_use]
    pub fn begin_recount(&self) -> DelayRecount {
        let mut found = vec![DelayCount::default(); self.partitions.states.len()];
        let states = self.partitions.states.iter();
        let out = states.flat_map(|state| state.ready.iter().chain(&state.in_flight));
        for entry in self.wheel.entries().chain(out) {
            found[entry.partition as usize].join(count_of(entry));
        }
        let states = (0..).zip(&self.partitions.states).zip(found);
        let partitions = states
            .filter(|((_, state), _)| !state.gone)
            .map(|((number, state), found)| {
                let counted = Counted {
                    number,
                    handed: state.handed,
                    said: state.pending,
                    found,
                };
                (state.id, counted)
            })
            .collect();
        let segments = self.log.segments.iter().enumerate();
        let unspilled = |segment: &LogSegment| segment.end() > self.spilled;
        let buckets = self.buckets.all.values();
        let left = buckets.filter(|bucket| bucket.count > 0 && !bucket.is_loaded());
        DelayRecount {
            fs: Arc::clone(&self.fs),
            salt: self.log.salt,
            spilled: self.spilled,
            partitions,
            log: segments
                .filter(|(_, segment)| unspilled(segment))
                .map(|(at, segment)| LogFile {
                    scan: self.log.scan(at, self.spilled),
                    base: segment.base,
                })
                .collect(),
            buckets: left
                .map(|bucket| (bucket.path(&self.buckets.dir), bucket.loaded, bucket.len))
                .collect(),
            bucket: None,
            damages: Vec::new(),
            known: self.damages.places,
        }
    }

    /// Takes off what is pending what is there no more.
    pub fn finish_recount(&mut self, recount: DelayRecount) {
        let new = self.damages.places - recount.known;
        for damage in recount.damages {
            self.damages.note(damage);
        }
        for counted in recount.partitions.into_values() {
            let state = self.partitions.get_mut(counted.number);
            if state.gone {
                continue;
            }
            let mut lost = counted.said;
            lost.remove(counted.found);
            state.pending.remove(lost);
            self.partitions.count_out(counted.number, lost);
            self.lost.join(lost);
        }
        self.uncounted = new > 0;
    }

    /// What was found to be damaged since the last call, as far as it is not too much to be told.
    pub fn take_damage(&mut self) -> Vec<DelayDamage> {
        self.damages.take()
    }

    /// In how many places files were found damaged, at the start and since, and what that took as far as it is known.
    #[must_use]
    pub fn damage_totals(&self) -> (u64, DelayCount) {
        (self.damages.places, self.lost)
    }

    /// Notes damage that took records which are not in memory; whether it is new.
    pub(super) fn note_uncounted(&mut self, damage: DelayDamage) -> bool {
        let is_new = self.damages.note(damage);
        self.uncounted |= is_new;
        is_new
    }
}

impl DelayRecount {
    /// Reads so many bytes, or a few more.
    ///
    /// # Errors
    /// `Io`; then the count is worth nothing.
    pub fn step(&mut self, bytes: u64) -> Result<RecountStep, StorageError> {
        let mut read = 0;
        while read < bytes {
            if let Some(mut segment) = self.log.pop_front() {
                let from = segment.scan.position();
                if let Some(found) = segment.scan.next()? {
                    let base = segment.base;
                    self.look_at(found, from, (segment.scan.path(), base), true);
                    read += segment.scan.position() - from;
                    self.log.push_front(segment);
                }
                continue;
            }
            let Some(mut scan) = self.bucket.take() else {
                let Some((path, from, to)) = self.buckets.pop_front() else {
                    return Ok(RecountStep::Done);
                };
                self.bucket =
                    BlockScan::of_records(self.fs.as_ref(), &path, self.salt, (from, to))?;
                if self.bucket.is_none() {
                    return Ok(RecountStep::Gone);
                }
                continue;
            };
            let from = scan.position();
            if let Some(found) = scan.next()? {
                self.look_at(found, from, (scan.path(), 0), false);
                read += scan.position() - from;
                self.bucket = Some(scan);
            }
        }
        Ok(RecountStep::More)
    }

    /// Counts what lies at a position of a file, whose first byte has the position `base`.
    fn look_at(&mut self, found: Found, from: u64, (path, base): (&Path, u64), is_log: bool) {
        match found {
            Found::Damage { len, .. } => {
                let from = from - base;
                let damage = DelayDamage::new(path, from, from + len);
                self.damages.push(damage);
            }
            Found::Block(position, _, body) if is_log => {
                let group = parse_group(&body, self.salt, position);
                for (place, len, record) in group.iter().flat_map(|group| &group.records) {
                    if record.kind == Kind::Add && record.is_far() && *place >= self.spilled {
                        self.count(record, (*len).into());
                    }
                }
            }
            Found::Block(_, len, body) => {
                if let Some(record) = Record::parse_fields(&body) {
                    self.count(&record, len);
                }
            }
        }
    }

    fn count(&mut self, record: &Record, len: u64) {
        if let Some(counted) = self.partitions.get_mut(&record.partition)
            && record.key > counted.handed
        {
            counted.found.join(record.count(len));
        }
    }
}
