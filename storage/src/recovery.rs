//! Opens a partition after anything but a clean stop.
//!
//! The recovery point (RP) of the log directory's checkpoint says what is durable: every batch below
//! it, the index entries of those batches, a producer snapshot at it, the leader epochs.
//! [`crate::log_checkpoint`] and [`crate::log_manager`] keep it behind all of these. So:
//!
//! * **Below the RP** headers are looked at only where a segment ends, to see that the next one
//!   continues it, and from the last index entry to the RP. Anything wrong there is damage, not a torn
//!   write: the partition goes into quarantine. It is served read-only up to the damage, nothing is
//!   changed on the disk, and its checkpoint entries stay as they are.
//! * **A number that may be wrong** (the checkpoint without its checksum, [`crate::sealed_checkpoints`]) is
//!   followed, but no segment is removed because it lies below such a log start. A hole in a compacted segment is
//!   no end of the log, wherever the RP is, as long as its batches end where the next segment begins.
//! * **From the RP on** every batch is checked: header, CRC, offset chain, epochs that never fall (see
//!   [`crate::recovery_epochs`]). The log ends at the first batch that fails; only acks=1 data or
//!   unacknowledged data can lie behind it. A segment whose successor begins exactly where its good
//!   batches end is whole: what follows in its file is the leftover of a failed write.
//!
//! Order of changes, each safe to be cut off by another crash:
//! 1. files with bytes from the RP on are synced before they are read, which shows a pending
//!    write-back error now and makes what is served durable; then the page cache is told to forget
//!    them, because after an earlier failed sync it may show bytes that the disk does not have and
//!    that no later sync writes;
//! 2. segments behind the end are removed, the newest first, and the directory is synced, so that no
//!    later append can grow into them;
//! 3. the torn tail is copied to a bounded `.torn` file, then the file is shortened and synced; this
//!    is the one place where data files get shorter than they were written, before anything is
//!    mapped;
//! 4. index entries from the RP on are cut off and rebuilt in memory; snapshots beyond the RP are
//!    removed, because offsets beyond it may be written differently now;
//! 5. the directory is synced. The next checkpoint writes indexes, snapshot and epochs, and only then
//!    moves the RP.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_config::LogConfig;
use tidewheel_protocol::BatchHeader;

use crate::batch_scan::{BatchScan, Expected, Next, Scanned, Trust};
use crate::error::StorageError;
use crate::fs::LogFile;
use crate::index::{ActiveIndex, NO_TIMESTAMP, OffsetPosition, TimestampOffset};
use crate::leader_epochs::LeaderEpochs;
use crate::log::{LogParts, load_snapshot};
use crate::log_offsets::LogPoint;
use crate::manifest::SegmentManifest;
use crate::partition_dir::PartitionDir;
use crate::partition_state::PartitionState;
use crate::producer_state::ProducerState;
use crate::recovery_epochs::RecoveryEpochs;
use crate::recovery_files::{
    FoundSegment, PartitionFiles, cut_tail, remove_segment, remove_snapshots,
};
use crate::segment::{LogSegment, SegmentIndex, indexed_batch};
use crate::segment_restore::{cut_index_files, last_entries, restore_index};
use crate::segments::{SegmentList, Segments, Unsealed};

/// What recovery goes by.
#[derive(Debug)]
pub(crate) struct RecoveryInput<'a> {
    /// The partition's directory.
    pub(crate) dir: &'a Arc<PartitionDir>,
    /// The recovery point in the log directory's checkpoint, 0 for none.
    pub(crate) recovery_point: i64,
    /// The log start in the log directory's checkpoint, 0 for none.
    pub(crate) log_start: i64,
    /// Both stood under a checksum.
    pub(crate) is_sealed: bool,
    /// Compaction may have made holes between batches.
    pub(crate) may_have_holes: bool,
    /// The settings.
    pub(crate) config: &'a LogConfig,
    /// The epoch this start writes under; with none, one more than the last in the log.
    pub(crate) leader_epoch: Option<i32>,
    /// `producer.id.expiration.ms`.
    pub(crate) producer_expiration_ms: i64,
    /// ms since 1970.
    pub(crate) now_ms: i64,
}

/// A log as it was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The log.
    pub(crate) parts: LogParts,
    /// Offsets of the producer snapshots on the disk.
    pub(crate) snapshots: BTreeSet<i64>,
}

/// A segment after the walk.
#[derive(Debug)]
struct Walked {
    found: FoundSegment,
    /// Bytes of good batches.
    len: u64,
    index: WalkedIndex,
    first_timestamp: i64,
}

/// What the walk knows of a segment's indexes.
#[derive(Debug)]
enum WalkedIndex {
    /// The files are complete; the segment's largest timestamp is their last.
    Files(TimestampOffset),
    /// The files lack something, or the segment is the active one.
    Memory(ActiveIndex),
}

/// Where and why the walk met something that is no batch.
#[derive(Debug)]
struct Break {
    position: u64,
    reason: String,
}

struct Walk<'a> {
    input: &'a RecoveryInput<'a>,
    recovery_point: i64,
    expected: i64,
    epochs: RecoveryEpochs,
    producers: ProducerState,
    done: Vec<Walked>,
    broken: Option<Break>,
}

/// Recovers a partition.
///
/// # Errors
/// `Io` and `DiskFull` where files cannot be read or changed. Damage is no error: the log comes back
/// in quarantine.
pub(crate) fn recover(input: &RecoveryInput<'_>) -> Result<Recovered, StorageError> {
    let dir = input.dir;
    let mut files = match PartitionFiles::survey(dir) {
        Err(damage @ StorageError::Corrupt { .. }) => return Ok(empty(input, Some(damage))),
        files => files?,
    };
    if input.is_sealed {
        files.remove_before_log_start(dir, input.log_start)?;
    }
    let Some(first) = files.segments.first().map(|segment| segment.base_offset) else {
        return fresh(input, &files);
    };
    let recovery_point = input.recovery_point.max(first);
    for found in files
        .segments
        .iter()
        .filter(|found| found.end_bound > recovery_point)
    {
        let synced = found.open(dir)?.sync_data();
        synced.map_err(|error| dir.sync_failed(&found.path, error))?;
    }
    let (producers, producers_from) = newest_snapshot(input, &files, recovery_point, first);
    let mut walk = Walk {
        input,
        recovery_point,
        expected: first,
        epochs: RecoveryEpochs::read(dir, recovery_point),
        producers,
        done: Vec::new(),
        broken: None,
    };
    walk.replay_headers(&files, producers_from)?;
    let mut behind = files.segments.into_iter();
    for found in behind.by_ref() {
        if !walk.segment(found)? {
            break;
        }
    }
    if walk.expected < recovery_point {
        return Ok(walk.quarantine(files.snapshots));
    }
    walk.finish(behind.as_slice(), files.snapshots)
}

/// A partition without a data file: it was never written, or all of it is lost.
fn fresh(input: &RecoveryInput<'_>, files: &PartitionFiles) -> Result<Recovered, StorageError> {
    let lost = input.recovery_point.max(input.log_start);
    let refusal = (lost > 0).then(|| {
        let reason = format!("offsets up to {lost} were durable, but there is no segment");
        StorageError::corrupt(input.dir.path(), 0, reason)
    });
    if refusal.is_none() {
        remove_snapshots(input.dir, &files.snapshots)?;
    }
    Ok(empty(input, refusal))
}

/// A log of which nothing can be read; with a `refusal` it takes nothing either.
fn empty(input: &RecoveryInput<'_>, refusal: Option<StorageError>) -> Recovered {
    let lost = input.recovery_point.max(input.log_start);
    let producers = ProducerState::new(input.producer_expiration_ms);
    let end = LogPoint {
        offset: lost,
        segment_base: lost,
        ..LogPoint::default()
    };
    let segment = Arc::new(LogSegment::empty(Arc::clone(input.dir), lost));
    let list = SegmentList::new(vec![segment]);
    let epochs = LeaderEpochs::new();
    Recovered {
        parts: LogParts {
            state: PartitionState::new(
                lost,
                end,
                input.leader_epoch.unwrap_or(0),
                epochs,
                producers,
            ),
            segments: Segments::new(Arc::clone(input.dir), list, Vec::new()),
            unopened: None,
            refusal,
            changed: false,
        },
        snapshots: BTreeSet::new(),
    }
}

/// The newest readable snapshot at or below the recovery point, and its offset; without one no
/// producers, from the first segment on.
fn newest_snapshot(
    input: &RecoveryInput<'_>,
    files: &PartitionFiles,
    recovery_point: i64,
    first: i64,
) -> (ProducerState, i64) {
    for offset in files.snapshots.range(..=recovery_point).rev() {
        if let Ok(producers) = load_snapshot(input.dir, *offset, input.producer_expiration_ms) {
            return (producers, *offset);
        }
    }
    (ProducerState::new(input.producer_expiration_ms), first)
}

/// The index files of a segment as far as they describe the log below `end`; none of them where the
/// last entry does not lead to the batch it names.
fn believed_index(
    dir: &PartitionDir,
    found: &FoundSegment,
    file: &dyn LogFile,
    end: OffsetPosition,
) -> Result<ActiveIndex, StorageError> {
    let index = restore_index(dir, found.base_offset, end)?;
    if let Some(last) = index.offset_index().last() {
        let mut scan = BatchScan::new(file, &found.path, found.len, u64::from(last.position));
        let named = |header: BatchHeader| header.last_offset() == last.offset;
        if !scan.peek()?.is_some_and(named) {
            return Ok(ActiveIndex::new(found.base_offset));
        }
    }
    Ok(index)
}

impl Walk<'_> {
    /// Takes the batches from offset `from` to the recovery point into the producers. There are
    /// none where the snapshot of the last checkpoint can be read.
    fn replay_headers(&mut self, files: &PartitionFiles, from: i64) -> Result<(), StorageError> {
        let to = self.recovery_point;
        let dir = self.input.dir;
        for found in files
            .segments
            .iter()
            .filter(|found| found.end_bound > from && found.base_offset < to)
        {
            if from >= to {
                break;
            }
            let file = found.open(dir)?;
            let from = from.max(found.base_offset);
            let end = OffsetPosition {
                offset: from,
                position: u32::try_from(found.len).unwrap_or(u32::MAX),
            };
            let position = u64::from(believed_index(dir, found, &*file, end)?.resume_position());
            let mut scan = BatchScan::new(&*file, &found.path, found.len, position);
            let mut expected = scan
                .peek()?
                .map_or(found.base_offset, |header| header.base_offset);
            while expected < to {
                let expect = self.durable(found, expected, to);
                // Damage is judged by the walk that follows.
                let Next::Batch(batch) = scan.next(expect, Trust::Header)? else {
                    break;
                };
                if batch.header.base_offset >= from {
                    self.producers.replay(&batch.header, self.input.now_ms);
                }
                expected = batch.header.next_offset();
            }
        }
        Ok(())
    }

    /// Walks one segment, which begins at the expected offset. Returns whether the next one follows.
    fn segment(&mut self, found: FoundSegment) -> Result<bool, StorageError> {
        let dir = self.input.dir;
        let file = found.open(dir)?;
        if found.end_bound <= self.recovery_point
            && let Some(walked) = self.sealed(&found, &*file)?
        {
            self.expected = found.end_bound;
            self.done.push(walked);
            return Ok(true);
        }
        let trusted = self
            .recovery_point
            .min(found.end_bound)
            .max(found.base_offset);
        let end = OffsetPosition {
            offset: trusted,
            position: u32::try_from(found.len).unwrap_or(u32::MAX),
        };
        let index = believed_index(dir, &found, &*file, end)?;
        let resumed = index.resume_position() > 0;
        let (mut walked, mut broken) = self.batches(&found, &*file, index)?;
        if resumed && self.expected < trusted {
            // An index that leads nowhere is not believed; the file itself decides.
            let index = ActiveIndex::new(found.base_offset);
            (walked, broken) = self.batches(&found, &*file, index)?;
        }
        let continued = self.expected == found.end_bound;
        if !continued {
            self.broken = broken;
        }
        self.done.push(walked);
        Ok(continued)
    }

    /// A sealed segment below the recovery point whose index files are complete: only its last
    /// batches are looked at. `None` where that does not work out.
    fn sealed(
        &mut self,
        found: &FoundSegment,
        file: &dyn LogFile,
    ) -> Result<Option<Walked>, StorageError> {
        let Some((position, max)) = last_entries(self.input.dir, found.base_offset)? else {
            return Ok(None);
        };
        if position >= found.len {
            return Ok(None);
        }
        let mut scan = BatchScan::new(file, &found.path, found.len, position);
        let Some(header) = scan.peek()? else {
            return Ok(None);
        };
        let mut expected = header.base_offset;
        while expected < found.end_bound {
            let expect = self.durable(found, expected, i64::MAX);
            let Next::Batch(batch) = scan.next(expect, Trust::Header)? else {
                return Ok(None);
            };
            if batch.header.max_timestamp > max.timestamp {
                return Ok(None);
            }
            self.epochs.pass(&batch.header);
            expected = batch.header.next_offset();
        }
        let begins = header.base_offset == found.base_offset || self.may_have_holes(found);
        let whole = expected == found.end_bound && (position > 0 || begins);
        Ok(whole.then(|| Walked {
            found: found.clone(),
            len: scan.position(),
            index: WalkedIndex::Files(max),
            first_timestamp: NO_TIMESTAMP,
        }))
    }

    /// Walks the batches of a segment from where its index leads.
    fn batches(
        &mut self,
        found: &FoundSegment,
        file: &dyn LogFile,
        mut index: ActiveIndex,
    ) -> Result<(Walked, Option<Break>), StorageError> {
        let start = u64::from(index.resume_position());
        if found.end_bound > self.recovery_point {
            let forgotten = file.drop_cache(start);
            forgotten.map_err(|error| StorageError::from_io("read", &found.path, error))?;
        }
        let mut scan = BatchScan::new(file, &found.path, found.len, start);
        self.expected = found.base_offset;
        if start > 0
            && let Some(header) = scan.peek()?
        {
            self.expected = header.base_offset;
        }
        let mut broken = None;
        while self.expected < found.end_bound {
            let durable = self.expected < self.recovery_point;
            // A checkpoint is taken between two batches: one that reaches over the RP is damage, and
            // what is durable behind it is no torn tail.
            let (trust, next_offset_max, epoch_min) = if durable {
                (Trust::Header, self.recovery_point, i32::MIN)
            } else {
                (Trust::Nothing, i64::MAX, self.epochs.min())
            };
            let expect = Expected {
                base_offset: self.expected,
                next_offset_max: next_offset_max.min(found.next_offset_max()),
                epoch_min,
                holes: self.may_have_holes(found),
            };
            match scan.next(expect, trust)? {
                Next::Batch(batch) => {
                    let misplaced = scan.misplaced(&batch, expect, found.end_bound)?;
                    if let Some(reason) = misplaced.filter(|_| !durable) {
                        let position = batch.position;
                        broken = Some(Break { position, reason });
                        break;
                    }
                    self.take(&batch, &mut index);
                }
                Next::End => break,
                Next::Bad(reason) => {
                    broken = Some(Break {
                        position: scan.position(),
                        reason,
                    });
                    break;
                }
            }
        }
        let len = broken.as_ref().map_or(scan.position(), |at| at.position);
        let mut first = BatchScan::new(file, &found.path, len, 0);
        let expect = self.durable(found, found.base_offset, i64::MAX);
        let first_timestamp = match first.next(expect, Trust::Header)? {
            Next::Batch(batch) => batch.header.max_timestamp,
            Next::End | Next::Bad(_) => NO_TIMESTAMP,
        };
        let index = WalkedIndex::Memory(index);
        Ok((
            Walked {
                found: found.clone(),
                len,
                index,
                first_timestamp,
            },
            broken,
        ))
    }

    /// Whether there may be holes between the batches of a segment. A compacted one is followed by another,
    /// which begins where its last batch ends, and lies below the RP; but the number of the RP may be lost or
    /// wrong, and then a hole must not pass for the end of the log. No torn write leaves whole batches in their
    /// order up to that very offset with some missing between them.
    fn may_have_holes(&self, found: &FoundSegment) -> bool {
        self.input.may_have_holes && found.end_bound < i64::MAX
    }

    /// What must hold for a batch that is durable, at or behind `base_offset` and before `end`.
    fn durable(&self, found: &FoundSegment, base_offset: i64, end: i64) -> Expected {
        Expected {
            base_offset,
            next_offset_max: found.next_offset_max().min(end),
            epoch_min: i32::MIN,
            holes: self.may_have_holes(found),
        }
    }

    fn take(&mut self, batch: &Scanned, index: &mut ActiveIndex) {
        let indexed = indexed_batch(&batch.header, batch.position);
        index.batch_appended(&indexed, self.input.config.index_interval_bytes);
        self.epochs.pass(&batch.header);
        if batch.header.base_offset >= self.recovery_point {
            self.producers.replay(&batch.header, self.input.now_ms);
        }
        self.expected = batch.header.next_offset();
    }

    /// Durable data is missing or damaged: serve what is whole, change nothing.
    fn quarantine(mut self, snapshots: BTreeSet<i64>) -> Recovered {
        let (from, to) = (self.expected, self.recovery_point);
        let last = self
            .done
            .last()
            .expect("at least the first segment was walked");
        let path = last.found.path.clone();
        let broken = self.broken.take();
        let (position, why) = broken.map_or((last.len, "it ends here".to_owned()), |broken| {
            (broken.position, broken.reason)
        });
        let reason = format!("offsets {from}..{to} were durable but cannot be read: {why}");
        // What was deleted stays deleted, also where the damage lies before it.
        let end_min = self.input.log_start;
        let mut parts = self.parts(end_min);
        parts.refusal = Some(StorageError::corrupt(&path, position, reason));
        parts.changed = false;
        Recovered { parts, snapshots }
    }

    /// Makes the disk agree with what was found.
    fn finish(
        self,
        behind: &[FoundSegment],
        snapshots: BTreeSet<i64>,
    ) -> Result<Recovered, StorageError> {
        let dir = self.input.dir;
        let mut changed = !behind.is_empty();
        for found in behind.iter().rev() {
            remove_segment(dir, found, self.input.now_ms)?;
        }
        if changed {
            dir.sync()?;
        }
        let last = self.done.len() - 1;
        for (at, walked) in self.done.iter().enumerate() {
            if walked.len < walked.found.len {
                changed = true;
                let (found, now_ms) = (&walked.found, self.input.now_ms);
                cut_tail(dir, found, &*found.open(dir)?, walked.len, now_ms)?;
            }
            if let WalkedIndex::Memory(index) = &walked.index {
                changed |= at < last;
                cut_index_files(dir, walked.found.base_offset, index)?;
            }
        }
        let known = snapshots.range(..=self.recovery_point).copied().collect();
        let beyond = snapshots.difference(&known).copied().collect();
        remove_snapshots(dir, &beyond)?;
        dir.sync()?;
        changed |= self.expected != self.input.recovery_point;
        changed |= self.expected > 0 && !known.contains(&self.expected);
        let epochs = self.epochs.on_disk().clone();
        let mut parts = self.parts(0);
        // Those from before the log start go, and the checkpoint is to say what a manifest will.
        parts.changed = changed || *parts.state.epochs() != epochs;
        Ok(Recovered {
            parts,
            snapshots: known,
        })
    }

    /// The log as it was walked; its end is at least `end_min`.
    fn parts(self, end_min: i64) -> LogParts {
        let dir = self.input.dir;
        let mut segments = Vec::new();
        let mut unsealed = Vec::new();
        let last = self.done.len() - 1;
        for (at, walked) in self.done.into_iter().enumerate() {
            let in_memory = matches!(walked.index, WalkedIndex::Memory(_));
            let segment = walked.into_segment(dir, at < last);
            if in_memory && at < last {
                unsealed.push(Unsealed {
                    segment: Arc::clone(&segment),
                    file: None,
                    snapshot: None,
                });
            }
            segments.push(segment);
        }
        let list = SegmentList::new(segments);
        let first = list
            .all()
            .first()
            .map_or(0, |segment| segment.base_offset());
        let active = list.active();
        let end = LogPoint {
            offset: self.expected.max(end_min),
            bytes: 0,
            segment_base: active.base_offset(),
            position: active.published_len(),
        };
        let log_start = self.input.log_start.clamp(first, end.offset);
        let epoch = self.input.leader_epoch.unwrap_or(self.epochs.next_epoch());
        let epochs = self.epochs.within(log_start, end.offset);
        LogParts {
            state: PartitionState::new(log_start, end, epoch, epochs, self.producers),
            segments: Segments::new(Arc::clone(dir), list, unsealed),
            unopened: None,
            refusal: None,
            changed: true,
        }
    }
}

impl Walked {
    fn into_segment(self, dir: &Arc<PartitionDir>, sealed: bool) -> Arc<LogSegment> {
        let max = match &self.index {
            WalkedIndex::Files(max) => *max,
            WalkedIndex::Memory(index) => index.max_timestamp(),
        };
        let entry = SegmentManifest {
            base_offset: self.found.base_offset,
            log_bytes: self.len,
            max_timestamp: max.timestamp,
            offset_of_max_timestamp: max.offset,
            first_timestamp: self.first_timestamp,
        };
        let segment = LogSegment::known(Arc::clone(dir), &entry);
        if let WalkedIndex::Memory(index) = self.index {
            segment.set_index(SegmentIndex::Memory(index));
        }
        if sealed {
            segment.seal();
        }
        Arc::new(segment)
    }
}
