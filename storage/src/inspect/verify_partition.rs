//! Checks the directory of one partition: its segments in order, and the files beside them.

use std::path::Path;

use tidewheel_protocol::Uuid;

use super::finding::Report;
use super::layout::{CUT_OUT, FileKind, TORN, segment_file};
use super::verify_segment::{Rules, SegmentFacts, Walk, verify_segment};
use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::{DirEntry, FileSystem};
use crate::leader_epochs::{EpochEntry, LEADER_EPOCH_CHECKPOINT, LeaderEpochs};
use crate::partition_metadata::{self, PARTITION_METADATA};
use crate::producer_snapshot;

/// What a partition directory holds.
#[derive(Debug, Default)]
pub(super) struct PartitionFacts {
    pub(super) segments: Vec<SegmentFacts>,
    /// The offset behind the last batch; `None` where that could not be found out.
    pub(super) log_end: Option<i64>,
    pub(super) epochs: Vec<EpochEntry>,
    pub(super) snapshots: Vec<i64>,
    pub(super) topic_id: Option<Uuid>,
}

/// Checks every file of the partition directory `dir`.
pub(super) fn verify_partition(
    fs: &dyn FileSystem,
    dir: &Path,
    rules: Rules,
    log_start: Option<i64>,
    report: &mut Report<'_>,
) -> Result<PartitionFacts, StorageError> {
    report.summary.partitions += 1;
    let failed = |error| StorageError::from_io("list", dir, error);
    let entries = fs.read_dir(dir).map_err(failed)?;
    let bases = bases(&entries, |kind| match kind {
        FileKind::Log(base) => Some(base),
        _ => None,
    });
    let epochs = read_epochs(fs, dir, bases.first().copied(), &rules, report)?;
    let mut walk = Walk {
        rules,
        next_offset: None,
        reached: 0,
        log_start: log_start.or(bases.first().copied()).unwrap_or(0),
        epochs,
        seen_epochs: Vec::new(),
    };
    let mut facts = PartitionFacts::default();
    for (number, base) in bases.iter().enumerate() {
        let sealed = number + 1 < bases.len();
        facts
            .segments
            .push(verify_segment(fs, dir, *base, sealed, &mut walk, report)?);
    }
    facts.log_end = walk.next_offset;
    check_epochs(dir, &walk, report);
    facts.epochs = walk
        .epochs
        .map(|epochs| epochs.entries().to_vec())
        .unwrap_or_default();
    facts.snapshots = check_snapshots(fs, dir, &entries, facts.log_end, &rules, report)?;
    facts.topic_id = check_metadata(fs, dir, &rules, report)?;
    check_others(dir, &entries, &bases, &rules, report);
    Ok(facts)
}

/// The offsets in the names of the files that `select` picks, ascending.
fn bases(entries: &[DirEntry], select: impl Fn(FileKind) -> Option<i64>) -> Vec<i64> {
    let files = entries.iter().filter(|entry| !entry.is_dir);
    let mut bases: Vec<i64> = files
        .filter_map(|entry| select(FileKind::of(&entry.name)))
        .collect();
    bases.sort_unstable();
    bases
}

fn read_epochs(
    fs: &dyn FileSystem,
    dir: &Path,
    first_offset: Option<i64>,
    rules: &Rules,
    report: &mut Report<'_>,
) -> Result<Option<LeaderEpochs>, StorageError> {
    let path = dir.join(LEADER_EPOCH_CHECKPOINT);
    let Some(bytes) = checkpoint::read_small(fs, &path)? else {
        // A partition that nobody wrote to has none.
        if let Some(first_offset) = first_offset
            && has_log_bytes(fs, dir)?
        {
            let severity = rules.severity(first_offset);
            report.add(severity, &path, 0, "the epoch checkpoint is missing");
        }
        return Ok(None);
    };
    report.summary.files += 1;
    match LeaderEpochs::decode(&path, &bytes) {
        Ok(epochs) => Ok(Some(epochs)),
        Err(error) => {
            report_corrupt(error, &path, report)?;
            Ok(None)
        }
    }
}

fn has_log_bytes(fs: &dyn FileSystem, dir: &Path) -> Result<bool, StorageError> {
    let entries = fs
        .read_dir(dir)
        .map_err(|error| StorageError::from_io("list", dir, error))?;
    let is_log = |entry: &DirEntry| matches!(FileKind::of(&entry.name), FileKind::Log(_));
    Ok(entries.iter().any(|entry| is_log(entry) && entry.len > 0))
}

/// Every epoch of the checkpoint must begin where the batches say, and the other way round.
fn check_epochs(dir: &Path, walk: &Walk, report: &mut Report<'_>) {
    let Some(epochs) = &walk.epochs else { return };
    let path = dir.join(LEADER_EPOCH_CHECKPOINT);
    let log_end = walk.next_offset.unwrap_or(i64::MAX);
    for entry in epochs.entries() {
        let EpochEntry {
            epoch,
            start_offset,
        } = *entry;
        // Epochs begin at or before the first kept batch where retention took the rest.
        let begins_in_log = start_offset > walk.log_start && start_offset < log_end;
        if begins_in_log && !walk.rules.holes && !walk.seen_epochs.contains(entry) {
            let what = format!("no batch begins epoch {epoch} at offset {start_offset}");
            report.add(walk.rules.severity(start_offset), &path, 0, what);
        } else if start_offset > log_end {
            let what = format!("epoch {epoch} begins at {start_offset}, the log ends at {log_end}");
            report.add(walk.rules.severity(log_end), &path, 0, what);
        }
    }
}

/// Producer snapshots carry a checksum; they describe a point of this log.
fn check_snapshots(
    fs: &dyn FileSystem,
    dir: &Path,
    entries: &[DirEntry],
    log_end: Option<i64>,
    rules: &Rules,
    report: &mut Report<'_>,
) -> Result<Vec<i64>, StorageError> {
    let offsets = bases(entries, |kind| match kind {
        FileKind::Snapshot(offset) => Some(offset),
        _ => None,
    });
    for offset in &offsets {
        let path = dir.join(segment_file(*offset, "snapshot"));
        let severity = rules.severity(*offset);
        report.summary.files += 1;
        if log_end.is_some_and(|end| *offset > end) {
            let what = format!("lies behind the log end {}", log_end.unwrap_or_default());
            report.add(severity, &path, 0, what);
        }
        let bytes = checkpoint::read_small(fs, &path)?.unwrap_or_default();
        let producers = match producer_snapshot::decode(&path, &bytes, i64::MAX) {
            Ok(producers) => producers,
            Err(StorageError::Corrupt {
                position, reason, ..
            }) => {
                report.add(severity, &path, position, reason);
                continue;
            }
            Err(error) => return Err(error),
        };
        for (id, producer) in producers.sorted() {
            let last = producer
                .batches()
                .last()
                .map_or(-1, |batch| batch.last_offset);
            if last >= *offset {
                let what = format!("producer {id} has offset {last}, the snapshot ends before");
                report.add(severity, &path, 0, what);
            }
        }
    }
    Ok(offsets)
}

fn check_metadata(
    fs: &dyn FileSystem,
    dir: &Path,
    rules: &Rules,
    report: &mut Report<'_>,
) -> Result<Option<Uuid>, StorageError> {
    let path = dir.join(PARTITION_METADATA);
    match partition_metadata::read(fs, dir) {
        Ok(Some(id)) => {
            report.summary.files += 1;
            return Ok(Some(id));
        }
        // Durable before any data is: only where none ever was, a crash explains that it is not there.
        Ok(None) => report.add(rules.severity(0), &path, 0, "the file is missing"),
        Err(error) => report_corrupt(error, &path, report)?,
    }
    Ok(None)
}

/// Indexes without a log, leftovers, strangers.
fn check_others(
    dir: &Path,
    entries: &[DirEntry],
    bases: &[i64],
    rules: &Rules,
    report: &mut Report<'_>,
) {
    for entry in entries {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            let what = match entry.name.starts_with(CUT_OUT) {
                true => "what a repair cut out and kept",
                false => "a directory that does not belong here",
            };
            report.note(&path, 0, what);
            continue;
        }
        match FileKind::of(&entry.name) {
            FileKind::Leftover if entry.name.ends_with(".log.swap") => {
                report.note(&path, 0, "a compaction that the next start finishes");
            }
            FileKind::OffsetIndex(base) | FileKind::TimeIndex(base) if !bases.contains(&base) => {
                report.add(rules.tail_severity(), &path, 0, "an index without its log");
            }
            FileKind::Leftover if entry.name.contains(TORN) => {
                report.note(
                    &path,
                    0,
                    "the end of a log that a recovery cut off and kept",
                );
            }
            FileKind::Leftover => report.note(&path, 0, "a later step removes this file"),
            FileKind::Unknown => report.note(&path, 0, "a file that does not belong here"),
            _ => {}
        }
    }
}

/// Turns damage of a single file into a finding; other errors stop the verification.
pub(super) fn report_corrupt(
    error: StorageError,
    path: &Path,
    report: &mut Report<'_>,
) -> Result<(), StorageError> {
    match error {
        StorageError::Corrupt {
            position, reason, ..
        } => {
            report.damage(path, position, reason);
            Ok(())
        }
        other => Err(other),
    }
}
