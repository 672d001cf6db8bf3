//! Opening a delay store: what a start finds, whatever the last stop was.
//!
//! 1. The checkpoint says which buckets there are and how long they are; other bucket files are left of
//!    something that was not finished, and what they hold is still in the delay log.
//! 2. Each partition's log says how far it was delivered ([`PartitionTail`]).
//! 3. The delay log is read from its beginning: what it holds above a partition's cursor hangs in the
//!    wheel again, or is still to be copied to a bucket. Damaged groups are counted and passed over.
//! 4. What was found is synced, a new file is begun: on a full disk only with the next group.
//!
//! Without a checkpoint everything is found out by reading all buckets as well. What lies in two places has
//! one key, and a key is handed out once.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::bucket::{self, Span};
use super::buckets::Buckets;
use super::damage::{Damages, DelayDamage};
use super::delay_log::{DelayLog, base_of_name};
use super::holes::Holes;
use super::key::{DelayKey, PartitionId, unsigned_ms};
use super::partitions::{DelayCount, Partitions};
use super::producers::{DelayProducers, DelayedProducerBatch};
use super::queue::{DelayOptions, DelayQueue};
use super::replay::Replay;
use super::scan::{FILE_HEAD_BYTES, FileKind, salt_of};
use super::snapshot::{CancelledIdSnapshot, Snapshot};
use super::tombstones::{Cancelled, Tombstones};
use super::unspilled::Unspilled;
use super::wheel::TimingWheel;
use crate::error::StorageError;
use crate::fs::{FileSystem, OpenMode};

/// What the log of a partition says about deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionTail {
    /// The end of the log.
    pub log_end: i64,
    /// The greatest key in the headers of its batches, from the offset asked for to the end.
    pub last_key: Option<DelayKey>,
}

/// Looks into a partition's log, from an offset on; `None` where there is no such partition any more.
pub type TailReader<'a> =
    dyn FnMut(PartitionId, i64) -> Result<Option<PartitionTail>, StorageError> + 'a;

/// A batch that was to be appended at once and may not have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImmediateRepair {
    /// Where it belongs.
    pub partition: PartitionId,
    /// To be appended if, and only if, the partition's log ends here.
    pub offset: i64,
    /// The batch.
    pub batch: Bytes,
}

/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct DelayOpenReport {
    /// Batches to append before the partitions take anything else, in this order.
    pub repairs: Vec<ImmediateRepair>,
    /// Partitions whose log lost deliveries. What is still stored is delivered again.
    pub rewound: Vec<PartitionId>,
    /// Places that were damaged, or are missing. [`DelayQueue::take_damage`] tells which.
    pub damaged: u64,
    /// Bytes of them.
    pub damaged_bytes: u64,
    /// Bytes of the delay log that a crash left unfinished, as this start is the first to find.
    pub torn_bytes: u64,
    /// The checkpoint was lost: cancellations that were older than the delay log are forgotten.
    pub checkpoint_lost: bool,
    /// When the last checkpoint was written, ms since 1970.
    pub last_checkpoint_ms: Option<i64>,
}

/// The files of a store.
#[derive(Debug, Default)]
struct Files {
    log: Vec<u64>,
    buckets: BTreeMap<u64, (String, Span, u64)>,
}

impl Files {
    fn list(fs: &dyn FileSystem, dir: &Path) -> Result<Self, StorageError> {
        let mut files = Self::default();
        let entries = fs
            .read_dir(dir)
            .map_err(|error| StorageError::from_io("list", dir, error))?;
        for entry in entries {
            if let Some(base) = base_of_name(&entry.name) {
                files.log.push(base);
            } else if let Some((id, span)) = bucket::of_name(&entry.name) {
                files.buckets.insert(id, (entry.name, span, entry.len));
            }
        }
        files.log.sort_unstable();
        Ok(files)
    }

    /// The salt in the head of the first file that has one.
    fn salt(&self, fs: &dyn FileSystem, dir: &Path) -> Option<u64> {
        let logs = self
            .log
            .iter()
            .map(|base| (FileKind::Log, format!("{base:020}.delaylog")));
        let names = self.buckets.values();
        let buckets = names.map(|(name, ..)| (FileKind::Bucket, name.clone()));
        logs.chain(buckets).find_map(|(kind, name)| {
            let file = fs.open(&dir.join(name), OpenMode::Read).ok()?;
            let mut head = [0; FILE_HEAD_BYTES];
            file.read_exact_at(&mut head, 0).ok()?;
            salt_of(kind, &head)
        })
    }
}

impl DelayQueue {
    /// Opens the store in `dir`, which is made if it is missing. `salt` is any number that nobody outside
    /// can know; it counts for a new store only. `tails` looks into partitions' logs, which have to be
    /// recovered before.
    ///
    /// # Errors
    /// `Io`, and `Corrupt` where every file is damaged at its beginning. Damage elsewhere is reported and
    /// passed over.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        options: DelayOptions,
        salt: u64,
        now_ms: i64,
        tails: &mut TailReader<'_>,
    ) -> Result<(Self, DelayOpenReport), StorageError> {
        fs.create_dir_all(dir)
            .map_err(|error| StorageError::from_io("create", dir, error))?;
        crate::checkpoint::sync_parent(fs.as_ref(), dir)?;
        let mut files = Files::list(fs.as_ref(), dir)?;
        let (snapshot, damaged_checkpoints) = Snapshot::read(fs.as_ref(), dir)?;
        let is_new = files.log.is_empty() && files.buckets.is_empty();
        let found_salt = match &snapshot {
            Some(snapshot) => Some(snapshot.salt),
            None => files.salt(fs.as_ref(), dir),
        };
        // The file that a power cut left without its head holds nothing that was durable.
        let unread = snapshot.is_none() && files.buckets.is_empty() && files.log.len() <= 1;
        let salt = match found_salt {
            Some(salt) => salt,
            None if is_new || unread => salt,
            None => {
                return Err(StorageError::corrupt(
                    dir,
                    0,
                    "no file has a sound beginning",
                ));
            }
        };
        let mut report = DelayOpenReport {
            last_checkpoint_ms: snapshot.as_ref().map(|snapshot| snapshot.written_ms),
            // The delay log is cut only after a checkpoint: where it begins at 0 there was none, or
            // nothing that it alone knows.
            checkpoint_lost: snapshot.is_none()
                && !is_new
                && (!damaged_checkpoints.is_empty()
                    || files.log.first().is_none_or(|base| *base > 0)),
            ..DelayOpenReport::default()
        };
        let mut queue = Self::empty(fs, dir, options, salt, now_ms);
        for damage in damaged_checkpoints {
            queue.damages.note(damage);
        }
        let snapshot = snapshot.unwrap_or_default();
        queue.uncounted = snapshot.uncounted;
        queue.log.holes = Holes::new(&snapshot.holes);
        queue.restore_buckets(&snapshot, &mut files, &report)?;
        let mut replay = Replay::new(tails, &mut report, snapshot.log_end);
        queue.restore_partitions(&snapshot, &mut replay)?;
        for base in &files.log {
            queue.note_missing(snapshot.log_start, *base, &replay);
            queue.replay_segment(*base, snapshot.spilled, &mut replay)?;
        }
        queue.note_missing(snapshot.log_start, snapshot.log_end, &replay);
        if replay.report.checkpoint_lost {
            queue.count_buckets(&mut replay)?;
            // Cancellations were read before that.
            queue.tombstones.reach_all(&queue.partitions);
        } else {
            queue.recount_buckets()?;
        }
        queue.partitions.count_topics();
        queue.begin(&snapshot)?;
        report.damaged = queue.damages.places;
        report.damaged_bytes = queue.damages.bytes;
        report.torn_bytes = queue.damages.torn_bytes;
        Ok((queue, report))
    }

    fn empty(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        options: DelayOptions,
        salt: u64,
        now_ms: i64,
    ) -> Self {
        Self {
            log: DelayLog::new(Arc::clone(&fs), dir, salt, options.segment_bytes),
            buckets: Buckets::new(Arc::clone(&fs), dir, salt),
            fs,
            dir: dir.to_path_buf(),
            options,
            partitions: Partitions::default(),
            wheel: TimingWheel::new(unsigned_ms(now_ms)),
            active: std::collections::BTreeSet::new(),
            served: 0,
            out_of_wheel: 0,
            tombstones: Tombstones::default(),
            producers: DelayProducers::default(),
            paused: HashSet::new(),
            next_ticket: 1,
            counted_ticket: 0,
            spilled: 0,
            unspilled: Unspilled::none(),
            spilled_ms: 0,
            spilled_records: 0,
            promoted_records: 0,
            fired_ms: 0,
            checkpoint_sequence: 0,
            damages: Damages::default(),
            uncounted: false,
            lost: DelayCount::default(),
            offline: false,
        }
    }

    /// Takes over the buckets of the checkpoint and removes others; all there are, where it is lost.
    fn restore_buckets(
        &mut self,
        snapshot: &Snapshot,
        files: &mut Files,
        report: &DelayOpenReport,
    ) -> Result<(), StorageError> {
        for bucket in &snapshot.buckets {
            let found = files.buckets.remove(&bucket.id);
            match found.filter(|(_, span, _)| *span == bucket.span) {
                Some(_) => self.buckets.restore(bucket.restore()),
                None => {
                    let path = bucket.restore().path(&self.dir);
                    self.note_uncounted(DelayDamage::new(&path, 0, bucket.len));
                }
            }
        }
        self.buckets.next_id = self.buckets.next_id.max(snapshot.next_bucket);
        for (id, (name, span, len)) in &files.buckets {
            if report.checkpoint_lost {
                self.buckets.adopt(*id, *span, *len);
                continue;
            }
            let path = self.dir.join(name);
            self.fs
                .remove_file(&path)
                .map_err(|error| StorageError::from_io("remove", &path, error))?;
        }
        Ok(())
    }

    fn restore_partitions(
        &mut self,
        snapshot: &Snapshot,
        replay: &mut Replay<'_, '_>,
    ) -> Result<(), StorageError> {
        self.counted_ticket = snapshot.next_ticket;
        for partition in &snapshot.partitions {
            let (number, _) = self.partitions.number(partition.id);
            let state = self.partitions.get_mut(number);
            state.durable = partition.cursor;
            state.counted_from = partition.cursor;
            state.pending = partition.pending;
            state.latest_ms = partition.latest_ms;
            replay.look(state, partition.scan_from)?;
        }
        for cancelled in &snapshot.cancelled_ids {
            let CancelledIdSnapshot {
                partition,
                before,
                reach_ms,
                id,
            } = cancelled;
            self.tombstones
                .cancel_id(*partition, id, *before, *reach_ms);
        }
        for (number, key, records) in &snapshot.cancelled_tickets {
            let cancelled = Cancelled {
                key: *key,
                records: *records,
                // The checkpoint is on the disk.
                by: 0,
            };
            self.tombstones.cancel(*number, cancelled);
        }
        self.paused.extend(&snapshot.paused);
        for (number, DelayedProducerBatch { stamp, accepted_ms }) in &snapshot.producers {
            self.producers.note(*number, *stamp, *accepted_ms);
        }
        Ok(())
    }

    /// Syncs what was found, and begins a new file behind it.
    fn begin(&mut self, snapshot: &Snapshot) -> Result<(), StorageError> {
        let cursors = self
            .partitions
            .states
            .iter()
            .map(|state| state.found.ticket);
        let least = cursors.max().map_or(1, |ticket| ticket + 1);
        self.next_ticket = self.next_ticket.max(snapshot.next_ticket).max(least);
        self.checkpoint_sequence = snapshot.sequence;
        let end = self.log.end().max(snapshot.spilled).max(snapshot.log_end);
        self.spilled = snapshot.spilled;
        self.log.begin(end, self.next_ticket)?;
        if let Some(sync) = self.sync_work() {
            sync.run(self.fs.as_ref())?;
            self.synced(&sync, &Ok(()));
        }
        self.tombstones.synced(self.next_ticket);
        Ok(())
    }

    /// What idempotent producers sent here, oldest first within a producer: to be merged with what the
    /// partition's log knows of them, of which the later sequence counts.
    pub fn producer_batches(
        &self,
        partition: PartitionId,
    ) -> impl Iterator<Item = DelayedProducerBatch> {
        let number = self.partitions.find(partition);
        let all = self.producers.all();
        all.filter_map(move |(at, batch)| (Some(at) == number).then_some(batch))
    }

    /// The batch of a producer that a group repeats, if it was accepted before.
    #[must_use]
    pub fn find_duplicate(
        &self,
        partition: PartitionId,
        stamp: super::record::ProducerStamp,
    ) -> Option<DelayedProducerBatch> {
        let number = self.partitions.find(partition)?;
        let mut batches = self.producers.of(number, stamp.producer_id);
        batches.find(|batch| batch.stamp == stamp).copied()
    }
}
