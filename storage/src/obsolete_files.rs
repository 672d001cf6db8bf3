//! The files of a log that nobody needs any more: those of segments that left it, and old snapshots.
//!
//! A segment's files are renamed once no start would look for them, and unlinked `file.delete.delay.ms`
//! later. The `.log` goes last in both: without it the others are orphans, which a start removes.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::dir_names::DELETED_FILE_SUFFIX;
use crate::error::StorageError;
use crate::intervals::has_passed;
use crate::partition_log::{CheckpointOffsets, PartitionLog};
use crate::segment::{INDEX, LOG, SNAPSHOT, TIME_INDEX};
use crate::segments::Doomed;

/// The files of a segment, in the order in which they go.
const SEGMENT_FILES: [&str; 4] = [INDEX, TIME_INDEX, SNAPSHOT, LOG];

impl PartitionLog {
    /// Removes what nobody needs once the recovery point is in the log directory's file: segments that
    /// left the log, oldest first, and snapshots between segment starts and the newest one. A
    /// segment's files are renamed; [`Self::unlink_deleted`] unlinks them.
    pub(crate) fn remove_obsolete(
        &self,
        written: CheckpointOffsets,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let written_recovery_point = written.recovery_point;
        let mut maintenance = self.maintenance();
        let (doomed, bases): (Vec<Doomed>, BTreeSet<i64>) = {
            let log = self.lock();
            let below = |doomed: &&Doomed| doomed.end_offset <= written_recovery_point;
            let segments = log.segments();
            let bases = segments
                .list()
                .all()
                .iter()
                .map(|segment| segment.base_offset())
                .collect();
            (
                segments.doomed().iter().filter(below).cloned().collect(),
                bases,
            )
        };
        for gone in &doomed {
            let base_offset = gone.segment.base_offset();
            for ending in SEGMENT_FILES {
                self.rename_deleted(base_offset, ending)?;
            }
            maintenance.snapshots.remove(&base_offset);
            maintenance.deleted.push_back((base_offset, now_ms));
            if written.log_start < gone.end_offset {
                // The disk was too full to note the log start: the first segment that is left says it,
                // so none may come back without those behind it.
                self.dir().sync()?;
            }
        }
        if !doomed.is_empty() {
            self.lock().removed(&doomed);
        }
        let newest = maintenance
            .snapshots
            .range(..=written_recovery_point)
            .next_back()
            .copied();
        let obsolete = |offset: &i64| Some(*offset) < newest && !bases.contains(offset);
        let gone: Vec<i64> = maintenance
            .snapshots
            .iter()
            .copied()
            .filter(obsolete)
            .collect();
        for offset in gone {
            self.dir().check_live()?;
            // The manifest of a clean stop names it, so the directory need not be synced for it alone.
            if self.dir().unlink(&self.dir().file(offset, SNAPSHOT))? {
                maintenance.removed_snapshots.push(offset);
            }
            maintenance.snapshots.remove(&offset);
        }
        Ok(())
    }

    /// Unlinks the files of segments that left the log `delay_ms` ago.
    pub(crate) fn unlink_deleted(&self, delay_ms: i64, now_ms: i64) -> Result<(), StorageError> {
        let mut maintenance = self.maintenance();
        while let Some((base_offset, since_ms)) = maintenance.deleted.front().copied()
            && has_passed(delay_ms, since_ms, now_ms)
        {
            self.dir().check_live()?;
            for ending in SEGMENT_FILES {
                self.dir()
                    .remove_file(&self.deleted_file(base_offset, ending))?;
            }
            maintenance.deleted.pop_front();
        }
        Ok(())
    }

    fn deleted_file(&self, base_offset: i64, ending: &str) -> PathBuf {
        let ending = format!("{ending}{DELETED_FILE_SUFFIX}");
        self.dir().file(base_offset, &ending)
    }

    /// Gives a file of a segment that left the log the ending of deleted ones.
    pub(crate) fn rename_deleted(
        &self,
        base_offset: i64,
        ending: &str,
    ) -> Result<(), StorageError> {
        self.dir().check_live()?;
        let from = self.dir().file(base_offset, ending);
        let to = self.deleted_file(base_offset, ending);
        match self.dir().log_dir().fs().rename(&from, &to) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let error = self.dir().write_failed("rename", &from, error);
                // The longer name may be what the disk has no space for.
                if error.is_disk_full() {
                    return self.dir().remove_file(&from);
                }
                Err(error)
            }
            _ => {
                self.dir().note_removal();
                Ok(())
            }
        }
    }
}
