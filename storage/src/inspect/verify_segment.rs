//! Checks one segment: every batch of its `.log`, and its indexes on the way.

use std::path::Path;

use tidewheel_config::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use tidewheel_protocol::{BatchHeader, RecordBatch};

use super::finding::{Report, Severity};
use super::layout::segment_file;
use super::log_file::{LogFileReader, Step};
use super::verify_index::{
    BatchFact, IndexWalk, OFFSET_ENTRY_LEN, OffsetEntry, TIME_ENTRY_LEN, TimeEntry,
};
use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::leader_epochs::{EpochEntry, LeaderEpochs};

/// What a crash excuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Whether the last stop was clean, or nothing is known about it.
    pub(super) clean: bool,
    /// Below this offset everything is on the disk, whatever happened.
    pub(super) recovery_point: i64,
    /// Compaction may have made holes between batches and between records, or nothing is known about it.
    pub(super) holes: bool,
}

impl Rules {
    /// Nothing is excused.
    pub(super) const STRICT: Rules = Rules {
        clean: true,
        recovery_point: i64::MAX,
        holes: true,
    };

    /// How bad wrong bytes are that belong to `offset`.
    pub(super) fn severity(&self, offset: i64) -> Severity {
        match !self.clean && offset >= self.recovery_point {
            true => Severity::Note,
            false => Severity::Damage,
        }
    }

    /// How bad a wrong end of an index is: a crash leaves it behind its log.
    pub(super) fn tail_severity(&self) -> Severity {
        if self.clean {
            Severity::Damage
        } else {
            Severity::Note
        }
    }
}

/// What is known about a partition while its segments are walked in order.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) rules: Rules,
    /// The offset that the next batch must have; `None` before the first segment and behind bytes
    /// that could not be read.
    pub(super) next_offset: Option<i64>,
    /// The offset behind the last readable batch: bytes that name no offset lie at or behind it.
    pub(super) reached: i64,
    /// The first offset that may be read.
    pub(super) log_start: i64,
    /// Epochs as their checkpoint has them, where it could be read.
    pub(super) epochs: Option<LeaderEpochs>,
    /// First offset of each epoch as the batches have them.
    pub(super) seen_epochs: Vec<EpochEntry>,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentFacts {
    pub(super) base_offset: i64,
    pub(super) log_bytes: u64,
    /// -1 without records.
    pub(super) max_timestamp: i64,
    /// The largest timestamp of the first batch's header; -1 without batches.
    pub(super) first_timestamp: i64,
    pub(super) offset_of_max_timestamp: i64,
    pub(super) batches: u64,
}

/// Checks the segment of `dir` that begins at `base_offset`.
pub(super) fn verify_segment(
    fs: &dyn FileSystem,
    dir: &Path,
    base_offset: i64,
    sealed: bool,
    walk: &mut Walk,
    report: &mut Report<'_>,
) -> Result<SegmentFacts, StorageError> {
    let path = dir.join(segment_file(base_offset, "log"));
    let mut reader = LogFileReader::open(fs, &path)?;
    let segment = (base_offset, reader.len());
    let mut offsets = open_offset_index(fs, dir, segment, walk, report)?;
    let mut times = open_time_index(fs, dir, segment, walk, report)?;
    let mut facts = SegmentFacts {
        base_offset,
        log_bytes: reader.len(),
        max_timestamp: -1,
        first_timestamp: -1,
        offset_of_max_timestamp: base_offset,
        batches: 0,
    };
    report.summary.files += 1;
    report.summary.log_bytes += reader.len();
    begin_segment(&path, base_offset, walk, report);

    while let Some((position, step)) = reader.next()? {
        let expected = walk.next_offset.unwrap_or(walk.reached);
        match step {
            Step::Batch(batch) => {
                let fact = check_batch(&path, position, &batch, &mut facts, walk, report);
                offsets
                    .iter_mut()
                    .for_each(|index| index.pass(&fact, report, &walk.rules));
                times
                    .iter_mut()
                    .for_each(|index| index.pass(&fact, report, &walk.rules));
            }
            Step::BadCrc { header, error } => {
                report.add(
                    walk.rules.severity(expected),
                    &path,
                    position,
                    error.to_string(),
                );
                // The indexes may name the batch; its damage is reported already.
                offsets.iter_mut().for_each(|index| index.skip(position));
                times
                    .iter_mut()
                    .for_each(|index| index.skip(header.last_offset()));
                walk.next_offset = None;
            }
            Step::Unreadable(what) => {
                report.add(walk.rules.severity(expected), &path, position, what);
                walk.next_offset = None;
            }
        }
    }
    offsets
        .iter_mut()
        .for_each(|index| index.finish(report, &walk.rules));
    times
        .iter_mut()
        .for_each(|index| index.finish(facts.max_timestamp, sealed, report, &walk.rules));
    Ok(facts)
}

/// The segment must begin where the one before it ended.
fn begin_segment(path: &Path, base_offset: i64, walk: &mut Walk, report: &mut Report<'_>) {
    match walk.next_offset {
        Some(expected) if expected != base_offset => {
            let what = format!("begins at offset {base_offset}, {expected} was to come");
            let severity = walk.rules.severity(expected.min(base_offset));
            report.add(severity, path, 0, what);
        }
        _ => {}
    }
    walk.next_offset = Some(base_offset);
    walk.reached = walk.reached.max(base_offset);
}

/// Checks a batch whose CRC is right.
fn check_batch(
    path: &Path,
    position: u64,
    batch: &RecordBatch,
    facts: &mut SegmentFacts,
    walk: &mut Walk,
    report: &mut Report<'_>,
) -> BatchFact {
    let header = &batch.header;
    report.summary.batches += 1;
    check_offsets(path, position, header, walk, report);
    check_epoch(path, position, header, walk, report);
    let severity = walk.rules.severity(header.base_offset);
    match count_records(batch, walk.rules.holes) {
        Ok(0) if !walk.rules.holes => {
            let (from, to) = (header.base_offset, header.last_offset());
            let what = format!("a repair gave offsets {from} to {to} up for lost");
            report.note(path, position, what);
        }
        Ok(count) => report.summary.records += count,
        Err(what) => report.add(severity, path, position, what),
    }
    let max_timestamp = header.max_timestamp;
    if facts.batches == 0 {
        facts.first_timestamp = max_timestamp;
    }
    facts.batches += 1;
    if max_timestamp > facts.max_timestamp {
        facts.max_timestamp = max_timestamp;
        facts.offset_of_max_timestamp = header.last_offset();
    }
    BatchFact {
        position,
        last_offset: header.last_offset(),
        max_timestamp,
        running_max_timestamp: facts.max_timestamp,
    }
}

/// Offsets follow each other without overlap, and without a gap where compaction cannot have made one:
/// it keeps the end of every segment.
fn check_offsets(
    path: &Path,
    position: u64,
    header: &BatchHeader,
    walk: &mut Walk,
    report: &mut Report<'_>,
) {
    let expected = walk.next_offset.unwrap_or(header.base_offset);
    let severity = walk.rules.severity(expected);
    let hole = walk.rules.holes && header.base_offset > expected;
    if header.base_offset != expected && !hole {
        let what = format!(
            "batch begins at offset {}, {expected} was to come",
            header.base_offset
        );
        report.add(severity, path, position, what);
    }
    if header.last_offset_delta < 0 {
        let what = format!("last offset delta {} is negative", header.last_offset_delta);
        report.add(severity, path, position, what);
    }
    walk.next_offset = Some(header.next_offset());
    walk.reached = header.next_offset();
}

/// The leader epoch is not covered by the CRC: it never falls, and agrees with its checkpoint.
fn check_epoch(
    path: &Path,
    position: u64,
    header: &BatchHeader,
    walk: &mut Walk,
    report: &mut Report<'_>,
) {
    let epoch = header.partition_leader_epoch;
    let severity = walk.rules.severity(header.base_offset);
    let last = walk.seen_epochs.last().map_or(-1, |entry| entry.epoch);
    if epoch < last || epoch < 0 {
        report.add(
            severity,
            path,
            position,
            format!("leader epoch {epoch} follows {last}"),
        );
        return;
    }
    if epoch > last {
        walk.seen_epochs.push(EpochEntry {
            epoch,
            start_offset: header.base_offset,
        });
    }
    // Retention cuts epochs at the log start, which may lie inside the first batch.
    let at = header.base_offset.max(walk.log_start);
    let Some(epochs) = walk.epochs.as_ref().filter(|_| at <= header.last_offset()) else {
        return;
    };
    if epochs.epoch_for(at) != Some(epoch) {
        let known = epochs
            .epoch_for(at)
            .map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
        let what = format!("leader epoch {epoch} at offset {at}, the epoch checkpoint has {known}");
        report.add(severity, path, position, what);
    }
}

/// How many records the batch really holds.
fn count_records(batch: &RecordBatch, holes: bool) -> Result<u64, String> {
    let header = &batch.header;
    let mut count = 0;
    for record in batch
        .records(DECOMPRESSED_BATCH_BYTES_MAX)
        .map_err(|error| error.to_string())?
    {
        record.map_err(|error| error.to_string())?;
        count += 1;
    }
    // A repair leaves empty batches in the place of lost ones.
    let given_up = header.record_count == 0 && header.producer_id == -1;
    if !holes && !given_up && count != i64::from(header.last_offset_delta) + 1 {
        let delta = header.last_offset_delta;
        return Err(format!("{count} records, the last offset delta is {delta}"));
    }
    Ok(u64::try_from(count).unwrap_or_default())
}

/// An empty segment needs no index: the process may have ended while it was made.
fn report_missing_index(
    path: &Path,
    what: &str,
    log_bytes: u64,
    walk: &Walk,
    report: &mut Report<'_>,
) {
    if log_bytes > 0 {
        report.add(walk.rules.tail_severity(), path, 0, what);
    }
}

fn open_offset_index(
    fs: &dyn FileSystem,
    dir: &Path,
    (base_offset, log_bytes): (i64, u64),
    walk: &Walk,
    report: &mut Report<'_>,
) -> Result<Option<IndexWalk<OffsetEntry>>, StorageError> {
    let path = dir.join(segment_file(base_offset, "index"));
    let Some(bytes) = checkpoint::read_small(fs, &path)? else {
        report_missing_index(
            &path,
            "the offset index is missing",
            log_bytes,
            walk,
            report,
        );
        return Ok(None);
    };
    report.summary.files += 1;
    let read = |bytes: &[u8]| OffsetEntry::read(base_offset, bytes);
    Ok(Some(IndexWalk::new(
        path,
        &bytes,
        OFFSET_ENTRY_LEN,
        read,
        report,
        &walk.rules,
    )))
}

fn open_time_index(
    fs: &dyn FileSystem,
    dir: &Path,
    (base_offset, log_bytes): (i64, u64),
    walk: &Walk,
    report: &mut Report<'_>,
) -> Result<Option<IndexWalk<TimeEntry>>, StorageError> {
    let path = dir.join(segment_file(base_offset, "timeindex"));
    let Some(bytes) = checkpoint::read_small(fs, &path)? else {
        report_missing_index(&path, "the time index is missing", log_bytes, walk, report);
        return Ok(None);
    };
    report.summary.files += 1;
    let read = |bytes: &[u8]| TimeEntry::read(base_offset, bytes);
    Ok(Some(IndexWalk::new(
        path,
        &bytes,
        TIME_ENTRY_LEN,
        read,
        report,
        &walk.rules,
    )))
}
