//! Reads what nobody reads: every batch of the sealed segments, so that rotten bytes are known before a
//! consumer, or a disk that must be replaced, asks for them.

use std::collections::VecDeque;
use std::sync::Arc;

use tidewheel_protocol::TopicPartition;

use crate::batch_scan::BatchScan;
use crate::compaction::{Pace, paced};
use crate::error::StorageError;
use crate::fs::{LogFile, OpenMode};
use crate::log_manager::LogManager;
use crate::partition_log::PartitionLog;
use crate::segment::LogSegment;
use crate::shared_log::SharedLog;

/// A partition in which [`LogManager::scrub`] found bytes that are not what was written. It takes no
/// append until the next start, and is read as it is: a batch whose CRC is wrong is an error there.
#[derive(Debug)]
pub struct Damage {
    /// The partition.
    pub tp: TopicPartition,
    /// Where, and what is wrong.
    pub error: StorageError,
}

/// What [`LogManager::scrub`] went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStats {
    /// Sealed segments.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl<W> LogManager<W> {
    /// Reads and checks all sealed segments of all logs once, beginning at the log that `first` chooses,
    /// so that restarts do not always leave the same ones out. Stops early where `pace`, which is told of
    /// the bytes read and may wait, says so; then there are no stats. Keeps one file open at a time.
    pub fn scrub(
        &self,
        first: u64,
        pace: &mut Pace<'_>,
        damaged: &mut dyn FnMut(Damage),
    ) -> Option<ScrubStats> {
        let mut stats = ScrubStats::default();
        for log in self.in_turn(first) {
            match scrub_log(&log, &mut stats, pace) {
                Ok(()) | Err(StorageError::PartitionDeleted) => {}
                Err(StorageError::Closed) => return None,
                // That says nothing about the bytes; the next sweep sees them.
                Err(error) if error.is_out_of_descriptors() => {}
                Err(error) => {
                    log.lock().refuse(error.clone());
                    let tp = log.tp().clone();
                    damaged(Damage { tp, error });
                }
            }
        }
        Some(stats)
    }

    /// The logs that take appends, in the order of their names from some one on.
    fn in_turn(&self, first: u64) -> VecDeque<Arc<PartitionLog>> {
        let mut logs: Vec<Arc<PartitionLog>> = {
            let registry = self.registry();
            let all = registry.logs.values();
            all.map(|(_, log)| Arc::clone(log.partition_log()))
                .collect()
        };
        logs.sort_by(|one, other| one.tp().cmp(other.tp()));
        let mut logs = VecDeque::from(logs);
        if let Some(first) = first.checked_rem(logs.len() as u64) {
            logs.rotate_left(usize::try_from(first).unwrap_or(0));
        }
        logs
    }
}

/// What [`SharedLog::verify`] went through.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Batches that are as they were written.
    pub batches: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Where to go on; `None` where nothing is left.
    pub next_offset: Option<i64>,
    /// The end of the log when it began: what came since was not read.
    pub end_offset: i64,
    /// Where, and what is wrong, if anything is. What lies behind was not read.
    pub damage: Option<StorageError>,
}

impl<W> SharedLog<W> {
    /// Reads and checks every batch from the one with `from` on, in the active segment too, until `pace`, which is
    /// told of the bytes read, says that it is enough. Leaves the log as it is, also where it finds damage.
    ///
    /// # Errors
    /// `PartitionDeleted`; no descriptor is left.
    pub fn verify(&self, from: i64, pace: &mut Pace<'_>) -> Result<Verified, StorageError> {
        let log = self.partition_log();
        let (list, active_len, end_offset) = {
            let log = log.lock();
            let list = Arc::clone(log.segments().list());
            let active_len = list.active().published_len();
            (list, active_len, log.state().end().offset)
        };
        let mut verified = Verified {
            end_offset,
            ..Verified::default()
        };
        // What is looked up below comes of indexes that appends add to meanwhile: beyond that end they may know more.
        if from >= end_offset {
            return Ok(verified);
        }
        let all = list.all();
        let first = all.partition_point(|segment| segment.base_offset() <= from);
        for (index, segment) in all.iter().enumerate().skip(first.saturating_sub(1)) {
            let part = match all.get(index + 1) {
                Some(next) => (segment.published_len(), next.base_offset()),
                None => (active_len, end_offset),
            };
            match verify_segment(log, segment, part, from, &mut verified, pace) {
                Ok(()) if verified.next_offset.is_some() => break,
                Ok(()) => {}
                Err(error @ StorageError::PartitionDeleted) => return Err(error),
                Err(error) if error.is_out_of_descriptors() => return Err(error),
                // Nobody will read it any more.
                Err(_) if !log.lists(segment) => {}
                Err(error) => {
                    verified.damage = Some(error);
                    break;
                }
            }
        }
        verified.next_offset = verified.next_offset.filter(|next| *next < end_offset);
        Ok(verified)
    }
}

/// Checks the first `len` bytes of a segment, behind which `end` follows, from the batch with `from` on.
fn verify_segment(
    log: &PartitionLog,
    segment: &Arc<LogSegment>,
    (len, end): (u64, i64),
    from: i64,
    verified: &mut Verified,
    pace: &mut Pace<'_>,
) -> Result<(), StorageError> {
    if len == 0 {
        return Ok(());
    }
    let Some(file) = open(log, segment)? else {
        return Ok(());
    };
    let position = match from > segment.base_offset() {
        true => u64::from(segment.lookup(from)?.position),
        false => 0,
    };
    // A place behind what is looked at says nothing about it.
    let position = if position < len { position } else { 0 };
    let path = segment.log_path();
    let scan = BatchScan::new(&*file, &path, len, position);
    scan.for_each_sealed(segment.base_offset(), end, |batch| {
        let next = batch.header.next_offset();
        if next <= from {
            return Ok(true);
        }
        verified.batches += 1;
        verified.bytes += batch.bytes.len() as u64;
        let goes_on = pace(batch.bytes.len() as u64);
        verified.next_offset = (!goes_on).then_some(next);
        Ok(goes_on)
    })
}

fn scrub_log(
    log: &PartitionLog,
    stats: &mut ScrubStats,
    pace: &mut Pace<'_>,
) -> Result<(), StorageError> {
    let list = {
        let log = log.lock();
        if log.refusal().is_some() {
            return Ok(());
        }
        Arc::clone(log.segments().list())
    };
    for pair in list.all().windows(2) {
        let Some(file) = open(log, &pair[0])? else {
            continue;
        };
        match scrub_segment(&pair[0], &*file, pair[1].base_offset(), pace) {
            Ok(()) => {
                stats.segments += 1;
                stats.bytes += pair[0].published_len();
            }
            Err(StorageError::Closed) => return Err(StorageError::Closed),
            // Nobody will read it any more.
            Err(_) if !log.lists(&pair[0]) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The file of a segment, where it is still in its log. Opened beside the one that readers share, so that
/// a partition that nobody uses is idle all the same.
fn open(
    log: &PartitionLog,
    segment: &Arc<LogSegment>,
) -> Result<Option<Arc<dyn LogFile>>, StorageError> {
    // No other file gets its name meanwhile.
    let _maintenance = log.maintenance();
    if !log.lists(segment) {
        return Ok(None);
    }
    log.dir().check_live()?;
    let path = segment.log_path();
    let file = log.dir().log_dir().fs().open(&path, OpenMode::Read);
    file.map(Some)
        .map_err(|error| StorageError::from_io("open", &path, error))
}

fn scrub_segment(
    segment: &LogSegment,
    file: &dyn LogFile,
    end: i64,
    pace: &mut Pace<'_>,
) -> Result<(), StorageError> {
    let path = segment.log_path();
    let len = segment.published_len();
    let scan = BatchScan::new(file, &path, len, 0);
    scan.for_each_sealed(segment.base_offset(), end, |batch| {
        paced(pace, batch.bytes.len() as u64)?;
        Ok(true)
    })
}
