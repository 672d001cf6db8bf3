//! Does what a survey found to be needed, and tells it; in a dry run it only tells.
//!
//! Order, each step safe to be cut off by a crash:
//! 1. the marker of a clean stop goes: the next start must not believe the manifest, which describes the old
//!    files, nor will a next repair; what only the manifest knew was told before (`repair.rs`);
//! 2. segments are replaced, one by one, and missing ones made (`write.rs`), the newest first: while anything is
//!    left to do, damage below the recovery point is left too, if there ever was some. So the partition stays
//!    read-only, and no start takes damage above the recovery point for a torn end and cuts off what lies
//!    behind it. Then all of the log is synced;
//! 3. producers as they are at the log's end are written, out of the newest snapshot that can be believed and
//!    the headers behind it, and snapshots go that cannot be believed;
//! 4. the leader epochs are written;
//! 5. log start, high watermark and cleaner's offset come back to the log's end where they are beyond it, and
//!    at last the recovery point moves to the end: all before it is durable.
//!
//! What is done is told before it is done, and durably so in the report beside what is cut out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tidewheel_protocol::{BatchHeader, TopicPartition};

use super::RepairOptions;
use super::aside::{Aside, KeptAside};
use super::epochs::EpochRun;
use super::labels::Kept;
use super::report::RepairLine;
use super::scan::Scanner;
use super::survey::{Segment, Survey};
use super::window::Window;
use super::write::NewSegment;
use crate::checkpoint::{
    self, CLEAN_SHUTDOWN_MARKER, CLEANER_OFFSET_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT, REPLICATION_OFFSET_CHECKPOINT,
};
use crate::compaction::Cleaned;
use crate::error::StorageError;
use crate::fs::{FileSystem, OpenMode};
use crate::inspect::layout::segment_file;
use crate::leader_epochs::{EpochEntry, LEADER_EPOCH_CHECKPOINT, LeaderEpochs};
use crate::partition_log::CheckpointOffsets;
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::sealed_checkpoints::{self, SEALED_CHECKPOINTS};

/// A partition that is being repaired.
pub(super) struct Apply<'a> {
    pub(super) fs: &'a dyn FileSystem,
    pub(super) data_dir: &'a Path,
    pub(super) tp: &'a TopicPartition,
    pub(super) options: RepairOptions,
    pub(super) survey: &'a Survey,
}

/// Tells what is done, and writes it into the report unless nothing is.
struct Teller<'a> {
    aside: &'a Aside<'a>,
    dry_run: bool,
    out: &'a mut dyn FnMut(RepairLine),
}

impl Teller<'_> {
    fn tell(&mut self, line: RepairLine) -> Result<(), StorageError> {
        let noted = match self.dry_run {
            true => Ok(()),
            false => self.aside.note(&line),
        };
        (self.out)(line);
        noted
    }
}

/// A file that is to be written.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The segment with this number.
    Rewrite(usize),
    /// Offsets without a segment: from, to.
    Missing(i64, i64),
}

impl Apply<'_> {
    pub(super) fn run(&self, out: &mut dyn FnMut(RepairLine)) -> Result<(), StorageError> {
        let (fs, survey) = (self.fs, self.survey);
        let aside = Aside::new(fs, &survey.dir, self.options.now_ms);
        let out = &mut Teller {
            aside: &aside,
            dry_run: self.options.dry_run,
            out,
        };
        if !self.options.dry_run {
            checkpoint::remove_durably(fs, &self.data_dir.join(CLEAN_SHUTDOWN_MARKER))?;
        }
        for step in self.steps() {
            match step {
                Step::Rewrite(number) => {
                    self.segment(number, &survey.segments[number], &aside, out)?;
                }
                Step::Missing(from, to) => self.missing(from, to, &aside, out)?,
            }
        }
        if !self.options.dry_run {
            self.sync_all()?;
        }
        self.snapshots(&aside, out)?;
        self.epochs(&aside, out)?;
        self.offsets(out)?;
        out.tell(RepairLine::Repaired {
            dir: survey.dir.clone(),
            log_end_offset: survey.log_end,
        })?;
        aside.sync()
    }

    /// What is to be written, in its order.
    fn steps(&self) -> Vec<Step> {
        let survey = self.survey;
        let numbers = (0..survey.segments.len()).filter(|number| survey.rewrites(*number));
        let rewritten = numbers.map(|number| {
            let place = survey.segments[number].place;
            (place.bounds.base_offset, Step::Rewrite(number))
        });
        let missing = survey.missing.iter();
        let missing = missing.map(|(from, to)| (*from, Step::Missing(*from, *to)));
        let mut steps: Vec<(i64, Step)> = rewritten.chain(missing).collect();
        steps.sort_by_key(|(base_offset, _)| Reverse(*base_offset));
        steps.into_iter().map(|(_, step)| step).collect()
    }

    fn segment(
        &self,
        number: usize,
        segment: &Segment,
        aside: &Aside<'_>,
        out: &mut Teller<'_>,
    ) -> Result<(), StorageError> {
        let mut scanner = segment.scanner(self.fs)?;
        let kept = segment.kept_again(&mut scanner)?;
        let runs = self.survey.epochs.0.iter();
        let runs: Vec<EpochRun> = runs.filter(|run| run.segment == number).copied().collect();
        if !self.options.dry_run {
            self.keep_old(segment, aside)?;
        }
        self.cuts(segment, &kept, &mut scanner, aside, out)?;
        for kept in &kept {
            tell_label(&segment.path, kept, out)?;
        }
        for run in runs.iter().filter(|run| run.settled != run.epoch) {
            out.tell(RepairLine::EpochCorrected {
                file: segment.path.clone(),
                offset: run.first_offset,
                batches: run.batches,
                was: run.epoch,
                epoch: run.settled,
            })?;
        }
        if self.options.dry_run {
            return Ok(());
        }
        aside.sync()?;
        let old = Some((&*segment.path, &kept[..], &runs[..]));
        let base_offset = segment.place.bounds.base_offset;
        let mut new = self.new_segment(base_offset, segment.end(), old);
        new.filled = segment.filled;
        new.write(self.fs)
    }

    /// Keeps the files that are to be replaced: the disk may deliver later what it does not now, and the index says
    /// where batches stand until the new log is in its place.
    fn keep_old(&self, segment: &Segment, aside: &Aside<'_>) -> Result<(), StorageError> {
        aside.link(&segment.path)?;
        let index = segment.path.with_extension("index");
        let file = match self.fs.open(&index, OpenMode::ReadWrite) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file,
        };
        file.and_then(|file| file.sync_data())
            .map_err(|error| StorageError::from_io("sync", &index, error))?;
        aside.link(&index)
    }

    /// Tells what is cut out of a segment between the batches that stay, and keeps it aside.
    fn cuts(
        &self,
        segment: &Segment,
        kept: &[Kept],
        scanner: &mut Scanner<'_>,
        aside: &Aside<'_>,
        out: &mut Teller<'_>,
    ) -> Result<(), StorageError> {
        let mut gaps = gaps(segment, kept);
        let mut in_file: Vec<&Kept> = kept.iter().collect();
        in_file.sort_by_key(|kept| kept.found.position);
        let place = segment.place;
        let (mut position, mut offset) = (0, place.bounds.base_offset);
        let stay = in_file
            .iter()
            .map(|kept| (kept.found.position, Some(*kept)));
        for (start, kept) in stay.chain([(place.len, None)]) {
            if position < start {
                let kept_aside = match self.options.dry_run {
                    true => KeptAside::default(),
                    false => aside.keep(&segment.path, position, start)?,
                };
                out.tell(RepairLine::Cut {
                    file: segment.path.clone(),
                    position,
                    bytes: start - position,
                    from_offset: offset,
                    to_offset: gaps.remove(&offset).unwrap_or(offset),
                    what: describe(scanner, position..start, kept_aside.unreadable_bytes)?,
                    kept: kept_aside.path,
                })?;
            }
            if let Some(kept) = kept {
                (position, offset) = (kept.found.end(), kept.next_offset());
            }
        }
        // Nothing is missing between the batches of a compacted segment, but at its end.
        gaps.retain(|_, to| place.exact || *to == segment.end());
        for (from_offset, to_offset) in gaps {
            out.tell(RepairLine::Cut {
                file: segment.path.clone(),
                position: place.len,
                bytes: 0,
                from_offset,
                to_offset,
                what: "nothing stands in the place of these offsets".to_owned(),
                kept: None,
            })?;
        }
        Ok(())
    }

    /// Offsets of which there is no segment.
    fn missing(
        &self,
        from: i64,
        to: i64,
        aside: &Aside<'_>,
        out: &mut Teller<'_>,
    ) -> Result<(), StorageError> {
        out.tell(RepairLine::Cut {
            file: self.survey.dir.join(segment_file(from, "log")),
            position: 0,
            bytes: 0,
            from_offset: if from == to {
                self.survey.offsets.log_start
            } else {
                from
            },
            to_offset: to,
            what: "a segment is missing, or bytes at the end of the one before".to_owned(),
            kept: None,
        })?;
        if self.options.dry_run {
            return Ok(());
        }
        aside.sync()?;
        self.new_segment(from, to, None).write(self.fs)
    }

    fn new_segment<'b>(
        &'b self,
        base_offset: i64,
        fill_to: i64,
        old: Option<(&'b Path, &'b [Kept], &'b [EpochRun])>,
    ) -> NewSegment<'b> {
        let known = self.survey.known_epochs.as_ref();
        NewSegment {
            dir: &self.survey.dir,
            base_offset,
            old,
            filled: true,
            fill_to,
            epoch: self.survey.epochs.at(base_offset, known),
            recovery_point: self.survey.offsets.recovery_point,
            interval_bytes: self.options.interval_bytes,
        }
    }

    /// The segments of the log as it is now, by their names.
    fn logs(&self) -> Vec<(i64, PathBuf)> {
        let survey = self.survey;
        let old = survey
            .segments
            .iter()
            .map(|segment| segment.place.bounds.base_offset);
        let mut bases: Vec<i64> = old
            .chain(survey.missing.iter().map(|(from, _)| *from))
            .collect();
        bases.sort_unstable();
        let path = |base| (base, survey.dir.join(segment_file(base, "log")));
        bases.into_iter().map(path).collect()
    }

    /// The recovery point is to pass bytes of good segments, too, that may never have been synced.
    fn sync_all(&self) -> Result<(), StorageError> {
        for (_, path) in self.logs() {
            for ending in ["log", "index", "timeindex"] {
                let path = path.with_extension(ending);
                let synced = match self.fs.open(&path, OpenMode::ReadWrite) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    file => file.and_then(|file| file.sync_data()),
                };
                synced.map_err(|error| StorageError::from_io("sync", &path, error))?;
            }
        }
        let synced = self.fs.sync_dir(&self.survey.dir);
        synced.map_err(|error| StorageError::from_io("sync", &self.survey.dir, error))
    }

    fn snapshots(&self, aside: &Aside<'_>, out: &mut Teller<'_>) -> Result<(), StorageError> {
        let survey = self.survey;
        let durable = survey.offsets.recovery_point.min(survey.log_end);
        // What a checkpoint left that did not move the recovery point may speak of other batches.
        let believed = |offset: &i64| !survey.bad_snapshots.contains(offset) && *offset <= durable;
        let path = |offset: i64| survey.dir.join(segment_file(offset, "snapshot"));
        let newest = survey.snapshots.iter().copied().filter(believed).max();
        let producers = match self.options.dry_run {
            true => None,
            false => Some(self.producers(newest)?),
        };
        for offset in survey.snapshots.iter().filter(|offset| !believed(offset)) {
            if !self.options.dry_run {
                aside.move_away(&path(*offset))?;
            }
            let what = match survey.bad_snapshots.contains(offset) {
                true => "a producer snapshot that cannot be read, or lies behind the log",
                false => "a producer snapshot behind the recovery point",
            };
            out.tell(RepairLine::Replaced {
                file: path(*offset),
                what: what.to_owned(),
            })?;
        }
        match producers.filter(|producers| !producers.is_empty()) {
            None => Ok(()),
            Some(producers) => {
                let bytes = producer_snapshot::encode(&producers);
                checkpoint::write_atomically(self.fs, &path(survey.log_end), &bytes)
            }
        }
    }

    /// The producers at the end of the log, which is written already.
    fn producers(&self, newest: Option<i64>) -> Result<ProducerState, StorageError> {
        let survey = self.survey;
        let mut producers = ProducerState::new(i64::MAX);
        if let Some(offset) = newest {
            let path = survey.dir.join(segment_file(offset, "snapshot"));
            let bytes = checkpoint::read_small(self.fs, &path)?.unwrap_or_default();
            producers = producer_snapshot::decode(&path, &bytes, i64::MAX)?;
        }
        self.for_each_header(newest.unwrap_or(0), |header| {
            producers.replay(header, self.options.now_ms);
        })?;
        Ok(producers)
    }

    /// Visits the headers of the log as it is now that begin at or behind `from`.
    fn for_each_header(
        &self,
        from: i64,
        mut visit: impl FnMut(&BatchHeader),
    ) -> Result<(), StorageError> {
        let logs = self.logs();
        for (number, (_, path)) in logs.iter().enumerate() {
            let next = logs.get(number + 1);
            if next.is_some_and(|(base_offset, _)| *base_offset <= from) {
                continue;
            }
            let mut window = Window::open(self.fs, path)?;
            let mut position = 0;
            while position < window.len() {
                let header = BatchHeader::parse(window.from(position, BatchHeader::LEN)?)
                    .map_err(|error| StorageError::corrupt(path, position, error.to_string()))?;
                if header.base_offset >= from {
                    visit(&header);
                }
                position += header.size_in_bytes() as u64;
            }
        }
        Ok(())
    }

    /// Makes the checkpoint of leader epochs say what the batches say, which are written already.
    fn epochs(&self, aside: &Aside<'_>, out: &mut Teller<'_>) -> Result<(), StorageError> {
        let survey = self.survey;
        let mut epochs = LeaderEpochs::new();
        let known = survey.known_epochs.as_ref();
        let mut agrees = known.is_some() && !survey.epochs_wrong;
        if !self.options.dry_run {
            self.for_each_header(0, |header| {
                let epoch = header.partition_leader_epoch;
                epochs.assign(epoch, header.base_offset);
                let at = header.base_offset.max(survey.offsets.log_start);
                let told = known.and_then(|known| known.epoch_for(at));
                agrees &= at > header.last_offset() || told == Some(epoch);
            })?;
        }
        let starts = |entry: &EpochEntry| {
            epochs.entries().contains(entry) || entry.start_offset <= survey.offsets.log_start
        };
        let known = known.map_or(&[][..], LeaderEpochs::entries);
        // Of a compacted log the batch that began an epoch may be gone.
        agrees &= self.options.dry_run
            || survey.offsets.compacted_to.is_some()
            || known.iter().all(starts);
        if agrees {
            return Ok(());
        }
        let path = survey.dir.join(LEADER_EPOCH_CHECKPOINT);
        if !self.options.dry_run {
            aside.link(&path)?;
            aside.sync()?;
            checkpoint::write_atomically(self.fs, &path, epochs.encode().as_bytes())?;
        }
        out.tell(RepairLine::Replaced {
            file: path,
            what: "it does not say what the batches say".to_owned(),
        })?;
        Ok(())
    }

    fn offsets(&self, out: &mut Teller<'_>) -> Result<(), StorageError> {
        self.sealed_offsets(out)?;
        let end = self.survey.log_end;
        let at_most = |offset: Option<i64>| offset.map(|offset| offset.min(end));
        // A log start that is not believed says nothing.
        let start = |offset: Option<i64>| at_most(offset.filter(|_| self.survey.start_believed));
        self.offset(LOG_START_OFFSET_CHECKPOINT, &start, out)?;
        self.offset(REPLICATION_OFFSET_CHECKPOINT, &at_most, out)?;
        let compacted_to = self.survey.offsets.compacted_to;
        let cleaned = |offset: Option<i64>| at_most(offset.or(compacted_to));
        self.offset(CLEANER_OFFSET_CHECKPOINT, &cleaned, out)?;
        self.offset(RECOVERY_POINT_CHECKPOINT, &|_| Some(end), out)
    }

    /// The file that a start believes.
    fn sealed_offsets(&self, out: &mut Teller<'_>) -> Result<(), StorageError> {
        let path = self.data_dir.join(SEALED_CHECKPOINTS);
        let replaced = |what| RepairLine::Replaced {
            file: path.clone(),
            what,
        };
        let mut noted = match sealed_checkpoints::read(self.fs, self.data_dir) {
            Ok(Some(noted)) => noted,
            Ok(None) => return Ok(()),
            Err(StorageError::Corrupt { .. }) => {
                if !self.options.dry_run {
                    checkpoint::remove_durably(self.fs, &path)?;
                }
                return out.tell(replaced(
                    "it cannot be read, and the others say the same".into(),
                ));
            }
            Err(error) => return Err(error),
        };
        let (survey, end) = (self.survey, self.survey.log_end);
        let was = noted.get(self.tp).copied().unwrap_or_default();
        let start = if survey.start_believed {
            was.log_start
        } else {
            0
        };
        let cleaned_to = was.cleaned.map(|cleaned| cleaned.to);
        let cleaned_to = cleaned_to.or(survey.offsets.compacted_to);
        let now = CheckpointOffsets {
            recovery_point: end,
            log_start: start.min(end),
            high_watermark: was.high_watermark.min(end),
            cleaned: cleaned_to.map(|offset| Cleaned {
                to: offset.min(end),
                ..was
                    .cleaned
                    .unwrap_or(Cleaned::with_unknown_tombstones(offset))
            }),
        };
        if now == was {
            return Ok(());
        }
        noted.insert(self.tp.clone(), now);
        if !self.options.dry_run {
            let bytes = sealed_checkpoints::encode(&noted);
            checkpoint::write_atomically(self.fs, &path, &bytes)?;
        }
        out.tell(replaced(format!("{} ends at {end}", self.tp)))
    }

    fn is_sealed(&self) -> bool {
        let sealed = sealed_checkpoints::read(self.fs, self.data_dir);
        matches!(sealed, Ok(Some(_)))
    }

    fn offset(
        &self,
        name: &str,
        change: &dyn Fn(Option<i64>) -> Option<i64>,
        out: &mut Teller<'_>,
    ) -> Result<(), StorageError> {
        let path = self.data_dir.join(name);
        let mut offsets: HashMap<TopicPartition, i64> =
            match checkpoint::read_offsets(self.fs, &path) {
                // A start goes by the file under the checksum, and has this one written anew.
                Err(StorageError::Corrupt { .. }) if self.is_sealed() => return Ok(()),
                offsets => offsets?,
            };
        let was = offsets.get(self.tp).copied();
        let now = change(was);
        if was == now {
            return Ok(());
        }
        match now {
            Some(offset) => offsets.insert(self.tp.clone(), offset),
            None => offsets.remove(self.tp),
        };
        if !self.options.dry_run {
            let all: Vec<_> = offsets.into_iter().collect();
            checkpoint::write_offsets(self.fs, &path, &all)?;
        }
        let text = |offset: Option<i64>| offset.map_or("nothing".to_owned(), |o| o.to_string());
        out.tell(RepairLine::Replaced {
            file: path,
            what: format!("{} of {} is {}", text(was), self.tp, text(now)),
        })?;
        Ok(())
    }
}

/// The offsets of a segment that no batch has any more.
fn gaps(segment: &Segment, kept: &[Kept]) -> BTreeMap<i64, i64> {
    let ends = kept.iter().map(Kept::next_offset);
    let froms = [segment.place.bounds.base_offset].into_iter().chain(ends);
    let tos = kept
        .iter()
        .map(|kept| kept.base_offset)
        .chain([segment.end()]);
    froms.zip(tos).filter(|(from, to)| from < to).collect()
}

fn tell_label(file: &Path, kept: &Kept, out: &mut Teller<'_>) -> Result<(), StorageError> {
    let (file, position) = (file.to_path_buf(), kept.found.position);
    if kept.found.mended {
        out.tell(RepairLine::Mended {
            file: file.clone(),
            position,
            offset: kept.base_offset,
        })?;
    }
    if kept.base_offset != kept.found.base_offset {
        out.tell(RepairLine::Relabelled {
            file: file.clone(),
            position,
            was: kept.found.base_offset,
            offset: kept.base_offset,
        })?;
    }
    match kept.doubtful {
        true => out.tell(RepairLine::Doubtful {
            file,
            position,
            offset: kept.base_offset,
        }),
        false => Ok(()),
    }
}

/// What stands where bytes are cut out.
fn describe(
    scanner: &mut Scanner<'_>,
    range: Range<u64>,
    unreadable_bytes: u64,
) -> Result<String, StorageError> {
    let mut what = match scanner.batch_at(range.start)? {
        Some(batch) => format!(
            "a batch with offset {}, which is a copy or agrees with nothing around it",
            batch.base_offset
        ),
        None => "no batch with a right CRC".to_owned(),
    };
    let inside = scanner.passed_within(range.start + 1..range.end);
    if inside > 0 {
        let text = "something looks like one; nothing tells it from the value of a record";
        what += &format!(", but at {inside} places behind that {text}");
    }
    if unreadable_bytes > 0 {
        let text = "bytes, which are kept as zeros";
        what += &format!(", and the disk does not deliver {unreadable_bytes} {text}");
    }
    Ok(what)
}
