//! The offset checkpoints of a log directory: recovery points, log starts, high watermarks, and how far
//! logs are compacted.
//!
//! Each file is replaced as a whole, and only where it would change. What is remembered here is what
//! the files hold now, so that a name that is used again never meets the numbers of the deleted
//! partition: before a partition is created, entries of that name are removed durably.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewheel_protocol::TopicPartition;

use crate::checkpoint::{
    CLEANER_OFFSET_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
    REPLICATION_OFFSET_CHECKPOINT, encode_offsets, read_offsets,
};
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::log_dir::LogDir;
use crate::partition_log::CheckpointOffsets;

type Offsets = HashMap<TopicPartition, i64>;

#[derive(Debug, Default)]
struct Written {
    recovery_points: Offsets,
    log_starts: Offsets,
    high_watermarks: Offsets,
    cleaned: Offsets,
    /// Partitions of earlier starts that are not loaded yet: their entries stay.
    unloaded: HashMap<TopicPartition, CheckpointOffsets>,
}

/// The checkpoint files of one log directory.
#[derive(Debug)]
pub(crate) struct DirCheckpoints {
    written: Mutex<Written>,
}

impl DirCheckpoints {
    /// Reads the files that are there.
    pub(crate) fn read(fs: &dyn FileSystem, dir: &std::path::Path) -> Result<Self, StorageError> {
        let recovery_points = read_offsets(fs, &dir.join(RECOVERY_POINT_CHECKPOINT))?;
        let log_starts = read_offsets(fs, &dir.join(LOG_START_OFFSET_CHECKPOINT))?;
        let high_watermarks = read_offsets(fs, &dir.join(REPLICATION_OFFSET_CHECKPOINT))?;
        let cleaned = read_offsets(fs, &dir.join(CLEANER_OFFSET_CHECKPOINT))?;
        let value = |offsets: &Offsets, tp| offsets.get(tp).copied().unwrap_or(0);
        let all = recovery_points
            .keys()
            .chain(log_starts.keys())
            .chain(high_watermarks.keys())
            .chain(cleaned.keys());
        let unloaded = all
            .map(|tp| {
                let offsets = CheckpointOffsets {
                    recovery_point: value(&recovery_points, tp),
                    log_start: value(&log_starts, tp),
                    high_watermark: value(&high_watermarks, tp),
                    cleaned_to: cleaned.get(tp).copied(),
                };
                (tp.clone(), offsets)
            })
            .collect();
        let written = Written {
            recovery_points,
            log_starts,
            high_watermarks,
            cleaned,
            unloaded,
        };
        Ok(Self {
            written: Mutex::new(written),
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the files said about a partition at the start, all 0 for one they do not know.
    pub(crate) fn at_start(&self, tp: &TopicPartition) -> CheckpointOffsets {
        self.written().unloaded.get(tp).copied().unwrap_or_default()
    }

    /// All partitions are loaded: entries of others go with the next write.
    pub(crate) fn all_loaded(&self) {
        self.written().unloaded.clear();
    }

    /// What the files hold for a partition, all 0 for one they do not know.
    pub(crate) fn written_for(&self, tp: &TopicPartition) -> CheckpointOffsets {
        let written = self.written();
        let value = |offsets: &Offsets| offsets.get(tp).copied().unwrap_or(0);
        CheckpointOffsets {
            recovery_point: value(&written.recovery_points),
            log_start: value(&written.log_starts),
            high_watermark: value(&written.high_watermarks),
            cleaned_to: written.cleaned.get(tp).copied(),
        }
    }

    /// Brings the files to `loaded` and the partitions that are not loaded yet.
    pub(crate) fn write(
        &self,
        dir: &LogDir,
        loaded: &[(TopicPartition, CheckpointOffsets)],
    ) -> Result<(), StorageError> {
        let mut written = self.written();
        let mut all = written.unloaded.clone();
        all.extend(loaded.iter().cloned());
        let pick = |value: fn(&CheckpointOffsets) -> i64| -> Offsets {
            all.iter()
                .map(|(tp, offsets)| (tp.clone(), value(offsets)))
                .collect()
        };
        let recovery_points = pick(|offsets| offsets.recovery_point);
        let mut log_starts = pick(|offsets| offsets.log_start);
        // Kafka lists only what differs from the first segment's base offset; 0 says nothing.
        log_starts.retain(|_, log_start| *log_start > 0);
        let high_watermarks = pick(|offsets| offsets.high_watermark);
        let cleaned = all
            .iter()
            .filter_map(|(tp, offsets)| Some((tp.clone(), offsets.cleaned_to?)))
            .collect();
        replace(
            dir,
            RECOVERY_POINT_CHECKPOINT,
            &mut written.recovery_points,
            recovery_points,
        )?;
        replace(
            dir,
            LOG_START_OFFSET_CHECKPOINT,
            &mut written.log_starts,
            log_starts,
        )?;
        replace(
            dir,
            REPLICATION_OFFSET_CHECKPOINT,
            &mut written.high_watermarks,
            high_watermarks,
        )?;
        replace(
            dir,
            CLEANER_OFFSET_CHECKPOINT,
            &mut written.cleaned,
            cleaned,
        )
    }

    /// Removes the entries of names that are about to be used anew.
    pub(crate) fn forget(
        &self,
        dir: &LogDir,
        names: &[TopicPartition],
    ) -> Result<(), StorageError> {
        let names: HashSet<&TopicPartition> = names.iter().collect();
        let mut written = self.written();
        let written = &mut *written;
        for (file, offsets) in [
            (RECOVERY_POINT_CHECKPOINT, &mut written.recovery_points),
            (LOG_START_OFFSET_CHECKPOINT, &mut written.log_starts),
            (REPLICATION_OFFSET_CHECKPOINT, &mut written.high_watermarks),
            (CLEANER_OFFSET_CHECKPOINT, &mut written.cleaned),
        ] {
            let mut kept = offsets.clone();
            kept.retain(|tp, _| !names.contains(tp));
            replace(dir, file, offsets, kept)?;
        }
        written.unloaded.retain(|tp, _| !names.contains(tp));
        Ok(())
    }
}

/// Writes one file where its content changes, and notes it.
fn replace(
    dir: &LogDir,
    file: &str,
    current: &mut Offsets,
    next: Offsets,
) -> Result<(), StorageError> {
    if *current == next {
        return Ok(());
    }
    let entries: Vec<_> = next
        .iter()
        .map(|(tp, offset)| (tp.clone(), *offset))
        .collect();
    dir.replace_file(file, encode_offsets(&entries).as_bytes())?;
    *current = next;
    Ok(())
}
