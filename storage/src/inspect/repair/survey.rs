//! What is wrong with a partition, and what its log is to be. Nothing is changed here.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::chain::Place;
use super::epochs::EpochRuns;
use super::labels::{Kept, settle};
use super::scan::{Bounds, Found, Known, Scanner};
use super::window::read_beside;
use crate::error::StorageError;
use crate::fs::{DirEntry, FileSystem};
use crate::inspect::layout::{FileKind, segment_file};
use crate::leader_epochs::{LEADER_EPOCH_CHECKPOINT, LeaderEpochs};
use crate::producer_snapshot;

/// Most offsets that one empty batch, and so one segment, can stand for.
const FILLED_MAX: i64 = i32::MAX as i64;
/// Most segments of empty batches that a log gets.
const FILLED_SEGMENTS_MAX: usize = 1_000;
/// How often the leader epoch of a log may change from one batch to the next: some 50 bytes of memory are taken for
/// each.
const EPOCH_RUNS_MAX: usize = 1 << 20;

/// What the checkpoints of the data directory say of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offsets {
    /// 0 for none.
    pub(super) recovery_point: i64,
    /// 0 for none.
    pub(super) log_start: i64,
    /// 0 for none.
    pub(super) high_watermark: i64,
    /// Up to where it was compacted, where it ever was: sealed segments may have holes then.
    pub(super) compacted_to: Option<i64>,
}

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) place: Place,
    /// Whether offsets between batches get an empty one: a start allows no holes here, and from the recovery point on
    /// it takes one for the end of the log.
    pub(super) filled: bool,
    /// It has to be written anew.
    pub(super) damaged: bool,
    /// Behind the last batch that stays.
    pub(super) next_offset: i64,
    /// Up to here an empty batch is put behind that one.
    pub(super) fill_to: i64,
    /// Over the batches that stay, where it is damaged.
    sum: u64,
}

/// A partition.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) dir: PathBuf,
    pub(super) offsets: Offsets,
    /// Those that do not lie wholly before the log start.
    pub(super) segments: Vec<Segment>,
    pub(super) epochs: EpochRuns,
    /// Offsets without a segment: from, to.
    pub(super) missing: Vec<(i64, i64)>,
    pub(super) log_end: i64,
    /// Why the checkpoints' offsets have to change, where the segments are good.
    pub(super) offsets_wrong: Option<&'static str>,
    /// Whether the log start in the checkpoint may be one.
    pub(super) start_believed: bool,
    /// `leader-epoch-checkpoint`, where it can be read.
    pub(super) known_epochs: Option<LeaderEpochs>,
    /// It does not say what the batches below the recovery point say.
    pub(super) epochs_wrong: bool,
    /// Producer snapshots.
    pub(super) snapshots: Vec<i64>,
    /// Those that cannot be believed.
    pub(super) bad_snapshots: Vec<i64>,
}

impl Survey {
    /// Whether nothing has to change.
    pub(super) fn is_healthy(&self) -> bool {
        let numbers = 0..self.segments.len();
        numbers.into_iter().all(|number| !self.rewrites(number))
            && self.missing.is_empty()
            && self.offsets_wrong.is_none()
            && !self.epochs_wrong
            && self.bad_snapshots.is_empty()
    }

    /// Whether a segment has to be written anew.
    pub(super) fn rewrites(&self, number: usize) -> bool {
        self.segments[number].damaged || self.epochs.changes(number)
    }

    /// Looks at the partition in `dir`.
    ///
    /// # Errors
    /// `Io`; `Corrupt` where nothing sensible can be made of it.
    pub(super) fn of(
        fs: &dyn FileSystem,
        dir: &Path,
        entries: &[DirEntry],
        offsets: Offsets,
    ) -> Result<Self, StorageError> {
        let mut survey = Self {
            dir: dir.to_path_buf(),
            offsets,
            segments: segments(dir, entries, offsets),
            epochs: EpochRuns::default(),
            missing: Vec::new(),
            log_end: 0,
            offsets_wrong: None,
            start_believed: true,
            known_epochs: None,
            epochs_wrong: false,
            snapshots: Vec::new(),
            bad_snapshots: Vec::new(),
        };
        survey.look_at_all(fs)?;
        survey.find_end();
        survey.find_gaps()?;
        survey.read_epochs(fs, entries)?;
        survey.read_snapshots(fs, entries)?;
        Ok(survey)
    }

    fn look_at_all(&mut self, fs: &dyn FileSystem) -> Result<(), StorageError> {
        let recovery_point = self.offsets.recovery_point;
        let (mut walks, compacted) = self.walk_all(fs)?;
        if let (true, None, Some(first)) =
            (compacted, self.offsets.compacted_to, self.segments.first())
        {
            self.offsets.compacted_to = Some(first.place.bounds.base_offset);
            self.offsets_wrong = Some("the log was compacted, and no checkpoint says so");
            for segment in &mut self.segments {
                segment.set_compacted(recovery_point);
            }
            (walks, _) = self.walk_all(fs)?;
        }
        for (segment, mut passed) in self.segments.iter_mut().zip(walks) {
            if segment.damaged {
                passed = Passed::new(passed.segment, passed.bounds, recovery_point);
                let mut scanner = segment.scanner(fs)?;
                let kept = segment.kept(&mut scanner)?;
                segment.sum = sum(&kept);
                for kept in kept {
                    passed.batch(
                        kept.base_offset..kept.next_offset(),
                        kept.found.leader_epoch,
                    );
                }
            }
            segment.next_offset = passed.next_offset;
            self.offsets_wrong = self.offsets_wrong.or(passed.wrong);
            self.epochs.0.extend(passed.epochs.0);
        }
        Ok(())
    }

    /// Finds which segments are damaged, and whether the log was compacted, whatever the checkpoint says: records are
    /// missing within a batch, or two segments have nothing but holes between their batches. One alone may have
    /// lost batches without a trace.
    fn walk_all(&mut self, fs: &dyn FileSystem) -> Result<(Vec<Passed>, bool), StorageError> {
        let recovery_point = self.offsets.recovery_point;
        let mut walks = Vec::with_capacity(self.segments.len());
        let (mut thinned, mut with_holes, mut runs) = (false, 0, 0);
        for (number, segment) in self.segments.iter_mut().enumerate() {
            let bounds = segment.place.bounds;
            let begin = || Passed::new(number, bounds, recovery_point);
            let mut scanner = Scanner::open(fs, &segment.path, segment.known())?;
            let mut passed = begin();
            segment.place.len = scanner.len();
            if !passed.whole(&mut scanner, segment.filled)? {
                // What is damaged is so twice; a read that went wrong is not.
                scanner.forget()?;
                passed = begin();
                segment.damaged = !passed.whole(&mut scanner, segment.filled)?;
            }
            if segment.damaged {
                passed = begin();
                let holes = passed.whole(&mut scanner, false)?
                    && Some(passed.next_offset) == segment.place.end_offset();
                with_holes += u32::from(holes);
            }
            thinned |= passed.thinned;
            runs += passed.epochs.0.len();
            if runs > EPOCH_RUNS_MAX {
                let reason = "its leader epochs change too often to be judged";
                return Err(StorageError::corrupt(&segment.path, 0, reason));
            }
            walks.push(passed);
        }
        Ok((walks, thinned || with_holes > 1))
    }

    /// What was durable does not become shorter: offsets are not given away twice. Nor are those that consumers
    /// saw or somebody deleted, where something is lost; else a start brings these back to the end itself.
    fn find_end(&mut self) {
        let Offsets {
            recovery_point,
            log_start,
            high_watermark,
            compacted_to,
        } = self.offsets;
        let Some(last) = self.segments.last() else {
            self.log_end = recovery_point.max(log_start).max(high_watermark);
            return;
        };
        let found = last.next_offset;
        let far = |offset: i64| offset.saturating_sub(found) > FILLED_MAX;
        if far(recovery_point) {
            self.offsets_wrong = Some("the recovery point lies far behind the log");
        }
        if far(log_start) {
            self.offsets_wrong = Some("the log start lies far behind the log");
            (self.start_believed, self.offsets.log_start) = (false, 0);
        }
        let gone = |segment: &Segment| {
            let end = segment.place.end_offset();
            segment.damaged || end.is_some_and(|end| segment.next_offset < end)
        };
        let lost = recovery_point > found
            || self.offsets_wrong.is_some()
            || self.segments.iter().any(gone);
        let told = [recovery_point, log_start, high_watermark];
        let ends = told.into_iter().filter(|offset| lost && !far(*offset));
        self.log_end = ends.fold(found, i64::max);
        if log_start.max(compacted_to.unwrap_or(0)) > self.log_end {
            let wrong = "the log start, or what was compacted, lies behind the end of the log";
            self.offsets_wrong = self.offsets_wrong.or(Some(wrong));
        }
    }

    fn find_gaps(&mut self) -> Result<(), StorageError> {
        if self.segments.is_empty() && self.log_end > 0 {
            // All is lost; the log goes on at its end.
            self.missing.push((self.log_end, self.log_end));
        }
        let mut too_many = false;
        for segment in &mut self.segments {
            let bounds = segment.place.bounds;
            let end = bounds.end_offset.min(self.log_end);
            // An empty segment gets its batch into its own file.
            segment.damaged |=
                segment.next_offset == bounds.base_offset && bounds.base_offset < end;
            let mut from = segment.next_offset;
            if segment.damaged {
                from = end
                    .min(bounds.base_offset.saturating_add(FILLED_MAX))
                    .max(from);
                segment.fill_to = from;
            }
            while from < end && !too_many {
                let to = end.min(from.saturating_add(FILLED_MAX));
                self.missing.push((from, to));
                from = to;
                too_many = self.missing.len() > FILLED_SEGMENTS_MAX;
            }
        }
        match too_many {
            true => {
                let reason = "there are too many offsets between its segments";
                Err(StorageError::corrupt(&self.dir, 0, reason))
            }
            false => Ok(()),
        }
    }

    fn read_epochs(
        &mut self,
        fs: &dyn FileSystem,
        entries: &[DirEntry],
    ) -> Result<(), StorageError> {
        let path = self.dir.join(LEADER_EPOCH_CHECKPOINT);
        self.known_epochs = read_beside(fs, &path, LeaderEpochs::decode)?;
        let is_there = entries
            .iter()
            .any(|one| one.name == LEADER_EPOCH_CHECKPOINT);
        let corrupt = is_there && self.known_epochs.is_none();
        let Offsets {
            recovery_point,
            log_start,
            compacted_to,
            ..
        } = self.offsets;
        let damaged =
            self.segments.iter().any(|segment| segment.damaged) || !self.missing.is_empty();
        self.epochs
            .settle(self.known_epochs.as_ref(), recovery_point, damaged);
        let durable = recovery_point.min(self.log_end);
        let first = self
            .segments
            .first()
            .map_or(0, |segment| segment.place.bounds.base_offset);
        let starts = |offset: i64| {
            let mut runs = self.epochs.0.iter();
            offset <= log_start.max(first) || runs.any(|run| run.first_offset == offset)
        };
        self.epochs_wrong = corrupt
            || match &self.known_epochs {
                None => self.epochs.0.iter().any(|run| run.first_offset < durable),
                Some(known) => {
                    let entries = known.entries().iter();
                    let mut offsets = entries.map(|entry| entry.start_offset);
                    !self.epochs.agree(known, log_start, durable)
                        || offsets.any(|offset| {
                            offset > self.log_end
                                || offset < durable && compacted_to.is_none() && !starts(offset)
                        })
                }
            };
        Ok(())
    }

    fn read_snapshots(
        &mut self,
        fs: &dyn FileSystem,
        entries: &[DirEntry],
    ) -> Result<(), StorageError> {
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            let FileKind::Snapshot(offset) = FileKind::of(&entry.name) else {
                continue;
            };
            let path = self.dir.join(&entry.name);
            let decode =
                |path: &Path, bytes: &[u8]| producer_snapshot::decode(path, bytes, i64::MAX);
            let good = read_beside(fs, &path, decode)?;
            self.snapshots.push(offset);
            if good.is_none() || offset > self.log_end {
                self.bad_snapshots.push(offset);
            }
        }
        Ok(())
    }
}

impl Segment {
    /// It lies in a log that was compacted; what was found out about it is forgotten.
    fn set_compacted(&mut self, recovery_point: i64) {
        self.damaged = false;
        self.filled = self.place.bounds.end_offset > recovery_point;
        self.place.exact &= self.place.end_offset().is_none();
    }

    /// What is known of it beside its bytes.
    fn known(&self) -> Known {
        let Place { bounds, exact, .. } = self.place;
        Known { bounds, exact }
    }

    /// Reads its file, from the disk.
    pub(super) fn scanner<'a>(&'a self, fs: &dyn FileSystem) -> Result<Scanner<'a>, StorageError> {
        let mut scanner = Scanner::open(fs, &self.path, self.known())?;
        scanner.forget()?;
        Ok(scanner)
    }

    /// The batches that stay of it, as the survey found them.
    ///
    /// # Errors
    /// `Io`; `Corrupt` where its file does not read as it did then.
    pub(super) fn kept_again(&self, scanner: &mut Scanner<'_>) -> Result<Vec<Kept>, StorageError> {
        let kept = self.kept(scanner)?;
        let bytes = kept.iter().map(|kept| u64::from(kept.found.size));
        let same = match self.damaged {
            true => sum(&kept) == self.sum,
            // Only epochs change.
            false => bytes.sum::<u64>() == self.place.len,
        };
        match same {
            true => Ok(kept),
            false => {
                let reason = "it does not read the same twice, so nothing is cut out of it";
                Err(StorageError::corrupt(&self.path, 0, reason))
            }
        }
    }

    /// The offset behind it once it is written anew.
    pub(super) fn end(&self) -> i64 {
        self.fill_to.max(self.next_offset)
    }

    /// The batches that stay of it.
    fn kept(&self, scanner: &mut Scanner<'_>) -> Result<Vec<Kept>, StorageError> {
        let found = scanner.find_all()?;
        if let Some(outside) = beyond_names(&found, self.place.bounds) {
            let (position, offset) = (outside.position, outside.base_offset);
            let reason = format!(
                "offset {offset}, which is right, does not belong between the names of the segments"
            );
            return Err(StorageError::corrupt(&self.path, position, reason));
        }
        Ok(settle(&found, self.place))
    }
}

/// A batch that another one confirms beyond the names of the segments: one of the names is wrong, and what lies
/// there is not cut out.
fn beyond_names(found: &[Found], bounds: Bounds) -> Option<Found> {
    let inside = |batch: &Found| bounds.hold(batch.base_offset, batch.last_offset());
    let many = found.iter().filter(|batch| !inside(batch)).count() * 2 > found.len();
    let strange = |a: &Found, b: &Found| {
        let agree = a.end() == b.position && a.next_offset() == b.base_offset;
        agree && (inside(a) != inside(b) || many && !inside(a))
    };
    let mut pairs = found.windows(2);
    let (a, b) =
        pairs.find_map(|pair| strange(&pair[0], &pair[1]).then_some((pair[0], pair[1])))?;
    Some(if inside(&a) { b } else { a })
}

/// The segments by the names of the files, without those that a start removes because they lie before the log
/// start.
fn segments(dir: &Path, entries: &[DirEntry], offsets: Offsets) -> Vec<Segment> {
    let files = entries.iter().filter(|entry| !entry.is_dir);
    let bases = files.filter_map(|entry| match FileKind::of(&entry.name) {
        FileKind::Log(base_offset) => Some(base_offset),
        _ => None,
    });
    let mut bases: Vec<i64> = bases.collect();
    bases.sort_unstable();
    let ends = bases.iter().skip(1).copied().chain([i64::MAX]);
    let segments = bases.iter().zip(ends).map(|(base_offset, end_offset)| {
        let last = end_offset == i64::MAX;
        let dirty = |cleaned: i64| last && cleaned <= *base_offset;
        Segment {
            path: dir.join(segment_file(*base_offset, "log")),
            place: Place {
                bounds: Bounds {
                    base_offset: *base_offset,
                    end_offset,
                },
                len: 0,
                // The newest segment was never compacted, unless the file of a newer one is gone.
                exact: offsets.compacted_to.is_none_or(dirty),
            },
            filled: offsets.compacted_to.is_none() || end_offset > offsets.recovery_point,
            damaged: false,
            next_offset: *base_offset,
            fill_to: *base_offset,
            sum: sum(&[]),
        }
    });
    // A log start that lies far behind the last of them is none.
    let last = bases.last().copied().unwrap_or(0);
    let believed = offsets.log_start.saturating_sub(last) <= FILLED_MAX;
    let before_start =
        |segment: &Segment| believed && segment.place.bounds.end_offset <= offsets.log_start;
    segments.skip_while(before_start).collect()
}

/// What two readings of a segment have in common where they tell the same.
fn sum(kept: &[Kept]) -> u64 {
    let mut sum = DefaultHasher::new();
    for kept in kept {
        let found = &kept.found;
        (found.position, found.size, found.crc, found.mended).hash(&mut sum);
        (kept.base_offset, found.leader_epoch, kept.doubtful).hash(&mut sum);
    }
    sum.finish()
}

/// What a walk through a segment notes.
struct Passed {
    segment: usize,
    bounds: Bounds,
    recovery_point: i64,
    next_offset: i64,
    epochs: EpochRuns,
    /// Records are missing within a batch.
    thinned: bool,
    /// Why the recovery point cannot stay.
    wrong: Option<&'static str>,
}

impl Passed {
    fn new(segment: usize, bounds: Bounds, recovery_point: i64) -> Self {
        Self {
            segment,
            bounds,
            recovery_point,
            next_offset: bounds.base_offset,
            epochs: EpochRuns::default(),
            thinned: false,
            wrong: None,
        }
    }

    fn batch(&mut self, offsets: Range<i64>, epoch: i32) {
        let recovery_point = self.recovery_point;
        if offsets.start < recovery_point && recovery_point < offsets.end {
            self.wrong = Some("the recovery point lies within a batch");
        }
        if offsets.start > self.next_offset && self.bounds.end_offset > recovery_point {
            self.wrong = Some("the recovery point lies before a compacted segment");
        }
        self.next_offset = offsets.end;
        self.epochs.pass(self.segment, offsets, epoch);
    }

    /// Walks a segment; false where something is wrong with it.
    fn whole(&mut self, scanner: &mut Scanner<'_>, exact: bool) -> Result<bool, StorageError> {
        let mut position = 0;
        while position < scanner.len() && self.epochs.0.len() <= EPOCH_RUNS_MAX {
            let Some(batch) = scanner.batch_at(position)? else {
                return Ok(false);
            };
            let (base_offset, expected) = (batch.base_offset, self.next_offset);
            let follows = base_offset == expected || !exact && base_offset > expected;
            if !follows || !self.bounds.hold(base_offset, batch.last_offset()) {
                return Ok(false);
            }
            self.thinned |= batch.thinned;
            self.batch(base_offset..batch.next_offset(), batch.leader_epoch);
            position = batch.end();
        }
        Ok(true)
    }
}
