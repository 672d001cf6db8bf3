//! Log compaction: of every key only the newest record stays.
//!
//! A pass over a log has two halves. First the part that no pass went through, the dirty part, is read, and
//! the newest offset of every key in it is noted in a table of bounded size; where the table is full, the
//! pass ends there. Then all segments from the log's first one on are read up to that point, and what is
//! still the newest of its key is written to new segments ([`rewrite`]), which take the place of the
//! old ones ([`swap`]) run by run, the oldest first: a tombstone never goes before what it deletes. A batch of the dirty
//! part is not opened a second time where the first half knows that all of it stays, or nothing ([`marks`]).
//!
//! How far passes went stands in `cleaner-offset-checkpoint`. An entry is there before the first swap of a
//! log, because it also says that a log may have holes between its batches. Beside it, under the checksum of
//! `tidewheel.checkpoints`, stands what tombstones wait for ([`Cleaned`]), so that they go also where nothing is
//! written after a start.
//!
//! Whoever calls decides when, on which thread and how fast: see [`LogCleaner::clean_due`].

mod choice;
mod filter;
mod marks;
mod offset_map;
mod partition;
mod progress;
mod rewrite;
pub(crate) mod swap;

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::LogConfig;
use tidewheel_config::limits::{COMPACTED_BATCH_BYTES_MAX, COMPACTED_BATCH_RECORDS_MAX};
use tidewheel_protocol::{BatchError, RawRecords, RecordBatch, TopicPartition};

use crate::error::StorageError;
use crate::log_manager::LogManager;
use crate::partition_log::PartitionLog;
use crate::shared_log::LogId;
use choice::{Cleanable, Group, GroupLimits, group};
use filter::Filter;
use offset_map::{MapSize, OffsetMap};
pub(crate) use progress::Cleaned;
use rewrite::{Visited, for_each_batch, rewrite};

/// Is told how many bytes were read and written since the last call, and may wait. Returns false where
/// the work is to end.
pub type Pace<'a> = dyn FnMut(u64) -> bool + 'a;

/// Tells `pace` of bytes.
pub(crate) fn paced(pace: &mut Pace<'_>, bytes: u64) -> Result<(), StorageError> {
    if pace(bytes) {
        Ok(())
    } else {
        Err(StorageError::Closed)
    }
}

/// Bounds of a [`LogCleaner`].
#[derive(Clone, Copy, Debug)]
pub struct CleanerOptions {
    /// `log.cleaner.dedupe.buffer.size`: the most memory for keys, in bytes.
    pub dedupe_buffer_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`: how full it may become, below 1.
    pub load_factor: f64,
    /// A number that nobody outside can know; keys are hashed with it.
    pub secret: (u64, u64),
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleaningStats {
    /// Bytes of the segments that were gone through.
    pub bytes_before: u64,
    /// Bytes that are left of them.
    pub bytes_after: u64,
    /// What lies before this offset is compacted now.
    pub cleaned_to: i64,
    /// The first offset of the first batch that no pass had met before and that is more than compaction takes up at
    /// once: it stays as it is, and so do the tombstones behind it.
    pub too_large: Option<i64>,
}

/// The end of a pass, good or bad.
#[derive(Debug)]
pub struct CleaningReport {
    /// The partition.
    pub tp: TopicPartition,
    /// What was done, or why it ended.
    pub outcome: Result<CleaningStats, StorageError>,
    /// The partition is not compacted any more until the next start: it holds something that cannot be
    /// read. It is served as it is.
    pub given_up: bool,
}

/// Compacts logs, one after the other. One owner calls it; it starts no thread.
#[derive(Debug)]
pub struct LogCleaner {
    options: CleanerOptions,
    /// Logs that hold something that cannot be read.
    uncleanable: HashSet<LogId>,
}

/// A log that is worth a pass.
struct Candidate {
    dir: usize,
    log: Arc<PartitionLog>,
    config: Arc<LogConfig>,
    cleanable: Cleanable,
}

impl LogCleaner {
    /// A cleaner that has not looked at any log.
    #[must_use]
    pub fn new(options: CleanerOptions) -> Self {
        Self {
            options,
            uncleanable: HashSet::new(),
        }
    }

    /// Compacts every log that is due, the dirtiest first, until none is left or `pace` ends the work.
    /// A log whose pass failed or was in vain is not tried again before the next call. `now_ms` tells ms since 1970.
    pub fn clean_due<W>(
        &mut self,
        logs: &LogManager<W>,
        now_ms: &dyn Fn() -> i64,
        pace: &mut Pace<'_>,
        report: &mut dyn FnMut(CleaningReport),
    ) {
        let mut tried = HashSet::new();
        let open = self.compacted_logs(logs);
        let known: HashSet<LogId> = open.iter().map(|(_, log)| log.id()).collect();
        self.uncleanable.retain(|id| known.contains(id));
        while let Some(next) = self.dirtiest(logs, &tried, now_ms()) {
            let (id, tp) = (next.log.id(), next.log.tp().clone());
            let outcome = self.pass(logs, &next, now_ms(), pace);
            let stopped = matches!(outcome, Err(StorageError::Closed));
            let given_up = matches!(outcome, Err(StorageError::Corrupt { .. }));
            if given_up {
                self.uncleanable.insert(id);
            }
            let got_on = |stats: &CleaningStats| next.cleanable.first_dirty < stats.cleaned_to;
            if !outcome.as_ref().is_ok_and(got_on) {
                tried.insert(id);
            }
            if !matches!(
                outcome,
                Err(StorageError::Closed | StorageError::PartitionDeleted)
            ) {
                report(CleaningReport {
                    tp,
                    outcome,
                    given_up,
                });
            }
            if stopped || !pace(0) {
                return;
            }
        }
    }

    /// The open logs that are compacted, each with the number of its directory.
    fn compacted_logs<W>(&self, logs: &LogManager<W>) -> Vec<(usize, Arc<PartitionLog>)> {
        let registry = logs.registry();
        let all = registry.logs.values();
        all.map(|(dir, log)| (*dir, log.partition_log()))
            .filter(|(_, log)| log.config().load().cleanup_policy.compact)
            .map(|(dir, log)| (dir, Arc::clone(log)))
            .collect()
    }

    /// The log with the largest dirty share of those that are due.
    fn dirtiest<W>(
        &self,
        logs: &LogManager<W>,
        tried: &HashSet<LogId>,
        now_ms: i64,
    ) -> Option<Candidate> {
        let mut best: Option<Candidate> = None;
        for (dir, log) in self.compacted_logs(logs) {
            if tried.contains(&log.id()) || self.uncleanable.contains(&log.id()) {
                continue;
            }
            let config = log.config().load_full();
            // What takes no appends is not compacted either; its owner has told why.
            let Ok(cleanable) = look_at(logs, dir, &log, &config, now_ms) else {
                continue;
            };
            let tombstones_due = tombstones_due(&log, &cleanable, now_ms);
            let ratio = cleanable.dirty_ratio();
            if cleanable.is_due(&config, tombstones_due)
                && best
                    .as_ref()
                    .is_none_or(|best| best.cleanable.dirty_ratio() < ratio)
            {
                best = Some(Candidate {
                    dir,
                    log,
                    config,
                    cleanable,
                });
            }
        }
        best
    }

    /// One pass over one log.
    fn pass<W>(
        &self,
        logs: &LogManager<W>,
        next: &Candidate,
        now_ms: i64,
        pace: &mut Pace<'_>,
    ) -> Result<CleaningStats, StorageError> {
        let Candidate {
            log,
            config,
            cleanable,
            ..
        } = next;
        let producers = log.lock().producer_ends(config, now_ms)?;
        let horizon_ms = now_ms.saturating_add(config.delete_retention_ms);
        let during = Cleaned::during_pass(log.cleaned(), cleanable.first_dirty, horizon_ms);
        note_cleaned(logs, next, during)?;
        let Newest { newest, too_large } = self.newest_offsets(log, cleanable, pace)?;
        let filter = Filter {
            newest: &newest,
            unopened: Cell::new(None),
            held_back: Cell::new(false),
            producers: &producers,
            horizon_ms,
            now_ms,
        };
        let mut stats = CleaningStats {
            cleaned_to: newest.latest() + 1,
            too_large,
            ..CleaningStats::default()
        };
        let (segments, end) = cleanable.up_to(newest.latest());
        // What a pass that was cut short has put behind the end of this one has a horizon, too.
        let is_behind = segments.len() < cleanable.segments.len();
        let mut first_horizon = during.horizon_ms.filter(|_| is_behind);
        for group in group(segments, end, GroupLimits::of(config)) {
            let done = compact_group(log, group, &filter, config, pace)?;
            stats.bytes_before += done.bytes_before;
            stats.bytes_after += done.bytes_after;
            first_horizon = [first_horizon, done.horizon_ms].into_iter().flatten().min();
        }
        let after = Cleaned {
            to: stats.cleaned_to,
            horizon_ms: first_horizon,
            held_back_by: filter.unopened.get().filter(|_| filter.held_back.get()),
        };
        note_cleaned(logs, next, after)?;
        Ok(stats)
    }

    /// The newest offsets of the keys in the dirty part, as far as they find room.
    fn newest_offsets(
        &self,
        log: &PartitionLog,
        cleanable: &Cleanable,
        pace: &mut Pace<'_>,
    ) -> Result<Newest, StorageError> {
        let first_dirty = cleanable.first_dirty;
        let size = MapSize {
            bytes_max: self.options.dedupe_buffer_bytes,
            load_factor: self.options.load_factor,
        };
        let keys = u64::try_from(cleanable.end - first_dirty).unwrap_or(0);
        let mut newest = OffsetMap::new(size, keys, self.options.secret, first_dirty - 1);
        let mut too_large = None;
        for (at, segment) in cleanable.segments.iter().enumerate() {
            let next = cleanable.segments.get(at + 1);
            let end = next.map_or(cleanable.end, |next| next.base_offset());
            if end <= first_dirty {
                continue;
            }
            let mut full = false;
            let read = for_each_batch(segment, end, first_dirty, pace, |batch| {
                let error = |error| {
                    let what = format!("at offset {}: {error}", batch.header.base_offset);
                    StorageError::corrupt(&segment.log_path(), 0, what)
                };
                match note_keys(&mut newest, batch, first_dirty).map_err(error)? {
                    Noted::All => {}
                    Noted::TooLarge => too_large = too_large.or(Some(batch.header.base_offset)),
                    Noted::Full => {
                        full = true;
                        return Ok(Visited::Stop);
                    }
                }
                Ok(Visited::Wrote(0))
            });
            match read {
                // Retention took it, and all that is older than what it held.
                Err(error) if !is_stop(&error) && !log.lists(segment) => {}
                read => read?,
            }
            if full {
                break;
            }
            newest.cover(end - 1);
        }
        Ok(Newest { newest, too_large })
    }
}

/// The newest offsets of the keys in the dirty part, and the first batch in it whose keys are not among them.
struct Newest {
    newest: OffsetMap,
    too_large: Option<i64>,
}

/// What became of a group.
#[derive(Debug, Default)]
struct Compacted {
    bytes_before: u64,
    bytes_after: u64,
    /// The first delete horizon in it that has not come yet, ms since 1970.
    horizon_ms: Option<i64>,
}

/// Writes what stays of a group, and puts that in its place. Where retention takes its first segments
/// meanwhile, the rest is written once more: a value in it must not outlive the tombstone behind it, and
/// a pass that ended there would never get on in a log that always loses its first segment.
fn compact_group(
    log: &Arc<PartitionLog>,
    mut group: Group,
    filter: &Filter<'_>,
    config: &LogConfig,
    pace: &mut Pace<'_>,
) -> Result<Compacted, StorageError> {
    while log.keep_listed(&mut group) {
        // What is written stands beside what it replaces for a while.
        log.dir().log_dir().check_room_for_a_while(group.bytes())?;
        let files = log.begin_cleaned(&group)?;
        let cleaned = match rewrite(log.dir(), &group, filter, config, files, pace) {
            Ok(cleaned) => cleaned,
            Err(error) => {
                log.give_up_cleaned(&group);
                if is_stop(&error) || group.segments.iter().all(|segment| log.lists(segment)) {
                    return Err(error);
                }
                continue;
            }
        };
        let done = Compacted {
            bytes_before: group.bytes(),
            bytes_after: cleaned.entry.log_bytes,
            horizon_ms: cleaned.horizon_ms,
        };
        if !cleaned.changed {
            log.give_up_cleaned(&group);
            return Ok(done);
        }
        if log.swap(&group, cleaned, filter.now_ms)? {
            return Ok(done);
        }
    }
    Ok(Compacted::default())
}

/// Whether the work ended because it was told to, or because the partition is gone.
fn is_stop(error: &StorageError) -> bool {
    matches!(error, StorageError::Closed | StorageError::PartitionDeleted)
}

/// The records of a batch without their compression; `None` where they are more, in number or by what they
/// decompress to, than compaction holds at once.
///
/// # Errors
/// Where the codec cannot read them.
pub(crate) fn opened(batch: &RecordBatch) -> Result<Option<Bytes>, BatchError> {
    if batch.header.record_count > COMPACTED_BATCH_RECORDS_MAX {
        return Ok(None);
    }
    match batch.decompressed(COMPACTED_BATCH_BYTES_MAX) {
        Err(BatchError::DecompressedTooLarge { .. }) => Ok(None),
        records => records.map(Some),
    }
}

/// What became of the keys of a batch.
enum Noted {
    /// They are in the map.
    All,
    /// The map is full before their end.
    Full,
    /// None is in the map: the batch cannot be opened. Older values of them stay beside it, as if nothing were newer.
    TooLarge,
}

/// Takes the keys of a batch from offset `from` on into the map.
fn note_keys(newest: &mut OffsetMap, batch: &RecordBatch, from: i64) -> Result<Noted, BatchError> {
    let header = &batch.header;
    if header.is_control() || header.last_offset() < from {
        return Ok(Noted::All);
    }
    let Some(records) = opened(batch)? else {
        newest.mark_unclear(header.base_offset);
        newest.cover(header.last_offset());
        return Ok(Noted::TooLarge);
    };
    let mut keys = Vec::new();
    for record in RawRecords::new(header, &records) {
        let record = record?;
        let offset = header.base_offset + i64::from(record.offset_delta);
        if let Some(key) = record.key.filter(|_| offset >= from) {
            keys.push((newest.hash(key), offset));
            if !record.has_value {
                newest.mark_unclear(header.base_offset);
            }
        }
    }
    newest.touch(keys.iter().map(|(key, _)| *key));
    for (key, offset) in keys {
        if !newest.put(key, offset) {
            newest.cover(offset - 1);
            return Ok(Noted::Full);
        }
    }
    newest.cover(header.last_offset());
    Ok(Noted::All)
}

/// What of a log may be compacted; rolls its active segment where records in it have waited too long.
fn look_at<W>(
    logs: &LogManager<W>,
    dir: usize,
    log: &PartitionLog,
    config: &LogConfig,
    now_ms: i64,
) -> Result<Cleanable, StorageError> {
    let written = logs.dirs[dir].checkpoints.written_for(log.tp());
    let view = log.cleaning_view(written.recovery_point, config, now_ms)?;
    let cleaned_to = log.cleaned().map(|cleaned| cleaned.to);
    Cleanable::of(&view, cleaned_to, config, now_ms)
}

/// Whether tombstones of an earlier pass may go.
fn tombstones_due(log: &PartitionLog, cleanable: &Cleanable, now_ms: i64) -> bool {
    let first = cleanable.segments.first();
    log.cleaned()
        .zip(first)
        .is_some_and(|(cleaned, first)| cleaned.tombstones_due(first.base_offset(), now_ms))
}

/// Writes down how far a log is compacted and what its tombstones wait for, where the directory's files do not say so.
fn note_cleaned<W>(
    logs: &LogManager<W>,
    of: &Candidate,
    cleaned: Cleaned,
) -> Result<(), StorageError> {
    of.log.set_cleaned(cleaned);
    let written = logs.dirs[of.dir].checkpoints.written_for(of.log.tp());
    if written.cleaned == Some(cleaned) {
        return Ok(());
    }
    logs.write_dir_checkpoints(of.dir)
}
