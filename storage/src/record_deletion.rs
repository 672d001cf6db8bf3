//! Deletion of the records at the front of logs, as DeleteRecords asks for it.
//!
//! Readers see the new start at once. It is on the disk when the call returns: the checkpoint of the log
//! is written first, then the start in the directory's `log-start-offset-checkpoint`, so that a crash
//! brings no deleted record back.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::StorageError;
use crate::log_manager::LogManager;
use crate::partition_log::CheckpointPolicy;
use crate::shared_log::{LogId, SharedLog};

/// Due whatever there is to write.
const AT_ONCE: CheckpointPolicy = CheckpointPolicy {
    bytes: 0,
    interval_ms: i64::MIN,
};

impl<W> LogManager<W> {
    /// Deletes the records of each log below its offset. Returns each log's start, in the order asked;
    /// it is never moved back.
    ///
    /// # Errors
    /// For each log by itself: `OffsetOutOfRange` above its high watermark, else as an append.
    /// `DiskFull` where the new start is in force but could not be written down.
    pub fn delete_records(
        &self,
        wanted: &[(Arc<SharedLog<W>>, i64)],
        now_ms: i64,
    ) -> Vec<Result<i64, StorageError>> {
        let mut moved = HashSet::new();
        let advance = |(log, offset): &(Arc<SharedLog<W>>, i64)| {
            let start = log.partition_log().lock().advance_log_start(*offset)?;
            // By what the file says, not by what was in memory: an earlier attempt may not have got there.
            let dir = self.dir_of(log).and_then(|dir| self.dirs.get(dir));
            let written = dir.map(|dir| dir.checkpoints.written_for(log.topic_partition()));
            if written.is_none_or(|written| written.log_start < start) {
                moved.insert(log.id());
            }
            Ok(start)
        };
        let starts: Vec<_> = wanted.iter().map(advance).collect();
        let written: Vec<_> = (0..self.dirs.len())
            .map(|dir| self.checkpoint_at_once(dir, &moved, now_ms))
            .collect();
        let mut outcomes = Vec::with_capacity(wanted.len());
        for (start, (log, _)) in starts.into_iter().zip(wanted) {
            let written = self.dir_of(log).and_then(|dir| written.get(dir));
            outcomes.push(match written {
                Some(Err(error)) if moved.contains(&log.id()) => start.and(Err(error.clone())),
                _ => start,
            });
        }
        outcomes
    }

    /// Writes the checkpoints of these logs, as far as they are in the directory, and then its files.
    fn checkpoint_at_once(
        &self,
        dir: usize,
        logs: &HashSet<LogId>,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let here = self.logs_of(dir);
        if !here.iter().any(|log| logs.contains(&log.id())) {
            return Ok(());
        }
        self.checkpoint_dir(dir, &here, 1, now_ms, |log| {
            match logs.contains(&log.id()) {
                // Also where all the bytes were on the disk already: the start is to be written.
                true => log.checkpoint(AT_ONCE, now_ms).map(|_| true),
                false => Ok(false),
            }
        })
    }
}
