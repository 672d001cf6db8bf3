//! Brings partitions back in which bytes are damaged that had been durable.
//!
//! Every batch with a right CRC stays, in its order and with its offset, unless it may as well lie in the value of a
//! damaged record, or nothing tells its offset. What else lies in a segment is cut out, and kept aside in the folder
//! `cut-out.<ms since 1970>` of the partition, with the old files and the report of what was done. Offsets that are
//! lost get an empty batch, as compaction leaves them, so that the log has no hole that a start could take for a lost
//! tail; a log whose first segments are gone begins with the next one, and that is told. Indexes of what is written
//! anew, producer snapshots, leader epochs and the recovery point are made to agree with it. A partition in which
//! nothing is wrong is not touched. The order of the steps is in `write.rs` and `apply.rs`; a run that was cut off is
//! finished by the next one.

mod apply;
mod aside;
mod chain;
mod epochs;
mod labels;
mod places;
mod report;
mod scan;
mod survey;
mod window;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use tidewheel_protocol::TopicPartition;

pub use report::{RepairLine, RepairSummary};

use self::apply::Apply;
use self::aside::Aside;
use self::survey::{Offsets, Survey};
use super::finding::{Finding, Report, Severity};
use super::layout::{FileKind, LOCK, partition_of, segment_file};
use super::reindex::reindex_segment;
use super::verify_dir::verify_target;
use super::{ReindexOptions, Target, lock};
use crate::checkpoint::{self, CLEAN_SHUTDOWN_MARKER};
use crate::error::StorageError;
use crate::fs::{DirEntry, FileSystem};
use crate::inspect::reindex::ReindexedSegment;
use crate::log_loading::METADATA_TOPIC;
use crate::manifest::{self, MANIFEST};
use crate::sealed_checkpoints::{self, Texts, texts_of};

/// How [`repair`] works.
#[derive(Clone, Copy, Debug)]
pub struct RepairOptions {
    /// `index.interval.bytes` of the topic: a batch gets an entry about so often.
    pub interval_bytes: u32,
    /// Only say what would be done.
    pub dry_run: bool,
    /// ms since 1970.
    pub now_ms: i64,
}

/// Why no partition is repaired that lies alone.
const ALONE: &str =
    "it is no partition of a data directory, whose checkpoints say what was durable";
/// Why the metadata log is not repaired.
const METADATA: &str = "a change that is lost here could make the next start delete topics; put the files of a \
                        backup in their place";
/// What became of the first segments of a log.
const BEGINNING: &str = "its first segments are missing, as the manifest of the last stop tells";
/// Most damages that a run leaves and tells one by one.
const LEFT_MAX: usize = 1_000;
/// Why a partition has to wait.
const SWAP: &str =
    "a compaction was cut off here; the next start finishes it, then repair what is still damaged";

/// Repairs the partition at `path`, or all of the data directory there, and tells `out` what was wrong and what
/// is lost as it is found.
///
/// # Errors
/// `DirectoryInUse` where a broker runs on the data directory; `DiskFull` and `Io`, and then the segment that was to
/// be written is as it was, or lacks indexes, which the next run or start makes anew; `Corrupt` where a checkpoint of
/// the data directory cannot be read.
pub fn repair(
    fs: &dyn FileSystem,
    path: &Path,
    options: RepairOptions,
    out: &mut dyn FnMut(RepairLine),
) -> Result<RepairSummary, StorageError> {
    let target = Target::find(fs, path)?;
    let mut summary = RepairSummary {
        dry_run: options.dry_run,
        ..RepairSummary::default()
    };
    let mut note = |line: RepairLine| {
        summary.note(&line);
        out(line);
    };
    let partitions = match (&target, target.data_dir(fs)) {
        (Target::DataDir(_) | Target::PartitionDir(_), Some(data_dir)) => {
            let _lock = match options.dry_run {
                true => lock(fs, Some(&data_dir))?,
                false => Some(take_lock(fs, &data_dir)?),
            };
            forget_unreadable_manifest(fs, &data_dir, options.dry_run, &mut note)?;
            let run = Run {
                fs,
                data_dir: &data_dir,
                options,
                checkpoints: Checkpoints::read(fs, &data_dir)?,
            };
            run.repair_all(&target, &mut note)?
        }
        _ => {
            note(RepairLine::refused(path, ALONE));
            0
        }
    };
    summary.partitions = partitions;
    Ok(summary)
}

/// As [`lock`], but a directory that never had a lock file gets one.
fn take_lock(
    fs: &dyn FileSystem,
    data_dir: &Path,
) -> Result<Box<dyn crate::fs::DirLock>, StorageError> {
    let path = data_dir.join(LOCK);
    fs.lock(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => StorageError::DirectoryInUse {
            dir: data_dir.to_path_buf(),
        },
        _ => StorageError::from_io("lock", &path, error),
    })
}

/// Takes a manifest away that cannot be read, and the marker of a clean stop that has none: the next start then
/// looks at all files, as it does anyhow.
fn forget_unreadable_manifest(
    fs: &dyn FileSystem,
    data_dir: &Path,
    dry_run: bool,
    out: &mut dyn FnMut(RepairLine),
) -> Result<(), StorageError> {
    let unreadable = match manifest::read(fs, data_dir) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => false,
        Err(StorageError::Corrupt { .. }) => true,
        Err(error) => return Err(error),
    };
    let marker = data_dir.join(CLEAN_SHUTDOWN_MARKER);
    let marked = fs.exists(&marker);
    let marked = marked.map_err(|error| StorageError::from_io("look up", &marker, error))?;
    let manifest = data_dir.join(MANIFEST);
    for (needless, file, what) in [
        (marked, marker, "the manifest of that stop cannot be read"),
        (
            unreadable,
            manifest,
            "it cannot be read, and no start needs it",
        ),
    ] {
        if needless && !dry_run {
            checkpoint::remove_durably(fs, &file)?;
        }
        if needless {
            out(RepairLine::Replaced {
                file,
                what: what.to_owned(),
            });
        }
    }
    Ok(())
}

/// What the data directory says of its partitions.
struct Checkpoints {
    /// As a start believes them.
    noted: Texts<sealed_checkpoints::Offsets>,
    /// By the manifest, after a clean stop.
    began: HashMap<TopicPartition, i64>,
}

impl Checkpoints {
    fn read(fs: &dyn FileSystem, data_dir: &Path) -> Result<Self, StorageError> {
        let marker = data_dir.join(CLEAN_SHUTDOWN_MARKER);
        let clean = fs
            .exists(&marker)
            .map_err(|error| StorageError::from_io("look up", &marker, error))?;
        let manifest = match manifest::read(fs, data_dir) {
            Ok(manifest) => manifest.filter(|_| clean),
            // A start does without it.
            Err(StorageError::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        let noted = match sealed_checkpoints::read(fs, data_dir) {
            Ok(Some(sealed)) => texts_of(&sealed),
            // As at a start, the others count then.
            Ok(None) | Err(StorageError::Corrupt { .. }) => {
                let mut texts: Texts<sealed_checkpoints::Offsets> = Texts::default();
                for (name, text) in texts.by_file() {
                    *text = checkpoint::read_offsets(fs, &data_dir.join(name))?;
                }
                texts
            }
            Err(error) => return Err(error),
        };
        let described = manifest
            .into_iter()
            .flat_map(|manifest| manifest.partitions);
        let began = described.map(|one| (one.topic_partition(), one.log_start_offset));
        Ok(Self {
            began: began.collect(),
            noted,
        })
    }

    fn of(&self, tp: &TopicPartition) -> Offsets {
        let value = |offsets: &HashMap<_, i64>| offsets.get(tp).copied().unwrap_or(0);
        Offsets {
            recovery_point: value(&self.noted.recovery_points),
            log_start: value(&self.noted.log_starts),
            high_watermark: value(&self.noted.high_watermarks),
            compacted_to: self.noted.cleaned.get(tp).copied(),
        }
    }
}

struct Run<'a> {
    fs: &'a dyn FileSystem,
    data_dir: &'a Path,
    options: RepairOptions,
    checkpoints: Checkpoints,
}

/// What became of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Healthy,
    Repaired,
    /// It is as it was, in a dry run also where something is wrong with it.
    Untouched,
}

impl Run<'_> {
    /// Returns how many partitions were looked at.
    fn repair_all(
        &self,
        target: &Target,
        out: &mut dyn FnMut(RepairLine),
    ) -> Result<u64, StorageError> {
        let dirs: Vec<PathBuf> = match target {
            Target::DataDir(dir) => {
                let entries = self.list(dir)?;
                let partitions = entries
                    .iter()
                    .filter(|entry| entry.is_dir && partition_of(&entry.name).is_some());
                partitions.map(|entry| dir.join(&entry.name)).collect()
            }
            Target::PartitionDir(dir) | Target::File(dir) => vec![dir.clone()],
        };
        let begin_later = self.tell_beginnings(out)?;
        let mut outcomes = HashMap::new();
        for dir in &dirs {
            outcomes.insert(dir.clone(), self.repair_one(dir, out)?);
        }
        // What differs from a manifest that is still there is told already.
        let all_told = !begin_later && !outcomes.values().any(|one| *one == Outcome::Untouched);
        self.look_again(target, &outcomes, all_told, out)?;
        Ok(dirs.len() as u64)
    }

    /// Tells which logs have lost their first segments. Only the manifest of the last stop knows that, and it goes with
    /// the first partition that is repaired, so all are told before, durably. Nothing has to be written: a start
    /// takes the segment behind them for the beginning. True where the manifest is still there.
    fn tell_beginnings(&self, out: &mut dyn FnMut(RepairLine)) -> Result<bool, StorageError> {
        let mut lost = false;
        for entry in self.list(self.data_dir)?.iter().filter(|one| one.is_dir) {
            let tp = partition_of(&entry.name);
            let began = tp.as_ref().and_then(|tp| self.checkpoints.began.get(tp));
            let (Some(tp), Some(began)) = (&tp, began) else {
                continue;
            };
            let dir = self.data_dir.join(&entry.name);
            let first = self.list(&dir)?.iter().filter_map(base_offset).min();
            let Some(first) = first.filter(|first| began < first) else {
                continue;
            };
            lost = true;
            if &*tp.topic == METADATA_TOPIC {
                out(RepairLine::refused(&dir, METADATA));
                continue;
            }
            let line = RepairLine::Cut {
                file: dir.join(segment_file(*began, "log")),
                position: 0,
                bytes: 0,
                from_offset: *began,
                to_offset: first,
                what: BEGINNING.to_owned(),
                kept: None,
            };
            if !self.options.dry_run {
                let aside = Aside::new(self.fs, &dir, self.options.now_ms);
                aside.note(&line)?;
                aside.sync()?;
            }
            out(line);
        }
        if lost && !self.options.dry_run {
            checkpoint::remove_durably(self.fs, &self.data_dir.join(CLEAN_SHUTDOWN_MARKER))?;
        }
        Ok(lost && self.options.dry_run)
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, StorageError> {
        let entries = self.fs.read_dir(dir);
        entries.map_err(|error| StorageError::from_io("list", dir, error))
    }

    fn repair_one(
        &self,
        dir: &Path,
        out: &mut dyn FnMut(RepairLine),
    ) -> Result<Outcome, StorageError> {
        let name = dir.file_name().and_then(|name| name.to_str());
        let Some(tp) = name.and_then(partition_of) else {
            out(RepairLine::refused(dir, ALONE));
            return Ok(Outcome::Untouched);
        };
        let entries = self.list(dir)?;
        if entries
            .iter()
            .any(|entry| entry.name.ends_with(".log.swap"))
        {
            out(RepairLine::refused(dir, SWAP));
            return Ok(Outcome::Untouched);
        }
        match self.repair_partition(dir, &tp, &entries, out) {
            // In a partition that was begun the next run goes on.
            Err(StorageError::Corrupt {
                path,
                position,
                reason,
            }) => {
                out(RepairLine::left(path, position, reason));
                Ok(Outcome::Untouched)
            }
            outcome => outcome,
        }
    }

    fn repair_partition(
        &self,
        dir: &Path,
        tp: &TopicPartition,
        entries: &[DirEntry],
        out: &mut dyn FnMut(RepairLine),
    ) -> Result<Outcome, StorageError> {
        let survey = Survey::of(self.fs, dir, entries, self.checkpoints.of(tp))?;
        if survey.is_healthy() {
            return Ok(Outcome::Healthy);
        }
        if &*tp.topic == METADATA_TOPIC {
            out(RepairLine::refused(dir, METADATA));
            return Ok(Outcome::Untouched);
        }
        let apply = Apply {
            fs: self.fs,
            data_dir: self.data_dir,
            tp,
            options: self.options,
            survey: &survey,
        };
        apply.run(out)?;
        Ok(match self.options.dry_run {
            true => Outcome::Untouched,
            false => Outcome::Repaired,
        })
    }

    /// Makes indexes anew that are damaged beside good batches, and tells what else is wrong.
    fn look_again(
        &self,
        target: &Target,
        outcomes: &HashMap<PathBuf, Outcome>,
        all_told: bool,
        out: &mut dyn FnMut(RepairLine),
    ) -> Result<(), StorageError> {
        let (mut indexes, mut left, mut more) = (BTreeSet::new(), Vec::new(), 0);
        let mut note = |finding: Finding| {
            let dir = finding.file.parent().unwrap_or(&finding.file);
            let outcome = outcomes.get(dir).or_else(|| outcomes.get(&finding.file));
            let damage = finding.severity == Severity::Damage;
            match (outcome, FileKind::of_path(&finding.file)) {
                // What is wrong there is told already, and may be why the directory's files disagree.
                (Some(Outcome::Untouched), _) => {}
                // The recovery point of a repaired log is behind all that a crash may have left unwritten.
                (
                    Some(outcome),
                    FileKind::OffsetIndex(base_offset) | FileKind::TimeIndex(base_offset),
                ) => {
                    if damage || *outcome == Outcome::Repaired {
                        indexes.insert((dir.to_path_buf(), base_offset));
                    }
                }
                (outcome, _) => {
                    if damage && (outcome.is_some() || all_told) {
                        match left.len() < LEFT_MAX {
                            true => left.push(finding),
                            false => more += 1,
                        }
                    }
                }
            }
        };
        let mut report = Report::new(&mut note);
        verify_target(self.fs, target, Some(self.data_dir), &mut report)?;
        let options = ReindexOptions {
            interval_bytes: self.options.interval_bytes,
            dry_run: self.options.dry_run,
        };
        for (dir, base_offset) in indexes {
            let file = dir.join(segment_file(base_offset, "log"));
            let there = self.fs.exists(&file);
            if there.map_err(|error| StorageError::from_io("look up", &file, error))? {
                let outcome = reindex_segment(self.fs, &dir, base_offset, options)?;
                out(RepairLine::Reindexed(ReindexedSegment { file, outcome }));
            }
        }
        for finding in left {
            out(RepairLine::left(
                finding.file,
                finding.position,
                finding.what,
            ));
        }
        if more > 0 {
            let what = format!("{more} more damages, which `log verify` tells");
            out(RepairLine::left(self.data_dir.to_path_buf(), 0, what));
        }
        Ok(())
    }
}

/// The offset in the name of a segment's file.
fn base_offset(entry: &DirEntry) -> Option<i64> {
    match FileKind::of(&entry.name) {
        FileKind::Log(base_offset) if !entry.is_dir => Some(base_offset),
        _ => None,
    }
}
