//! The steps of a pass that need a log's locks.

use std::sync::Arc;

use tidewheel_config::LogConfig;

use super::choice::{CleaningView, Group};
use super::rewrite::{CleanedFiles, CleanedSegment};
use super::swap;
use crate::error::StorageError;
use crate::log::LogEdit;
use crate::open_files::CountedFile;
use crate::partition_log::PartitionLog;
use crate::segment::{INDEX, LOG, LogSegment, SegmentIndex, TIME_INDEX};
use crate::segment_file::SegmentFile;

impl Group {
    /// The offset at which it begins, and so will what becomes of it.
    fn base_offset(&self) -> i64 {
        self.segments[0].base_offset()
    }

    /// Bytes of its segments.
    pub(crate) fn bytes(&self) -> u64 {
        let lens = self.segments.iter().map(|segment| segment.published_len());
        lens.sum()
    }
}

impl PartitionLog {
    /// What may be looked at for compaction, where the log takes appends. An active segment whose records
    /// have waited for longer than `max.compaction.lag.ms` is rolled: a later pass gets them.
    pub(crate) fn cleaning_view(
        &self,
        recovery_point: i64,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<CleaningView, StorageError> {
        let mut log = self.lock();
        log.roll_overdue(config, now_ms)?;
        Ok(CleaningView::of(&log, recovery_point))
    }

    /// Takes from a group what is in the log no more; false where nothing is left of it.
    pub(crate) fn keep_listed(&self, group: &mut Group) -> bool {
        let list = Arc::clone(self.lock().segments().list());
        group.segments.retain(|segment| list.holds(segment));
        assert!(
            group.segments.is_empty() || list.has_run(&group.segments),
            "only the first segments of a log leave it"
        );
        !group.segments.is_empty()
    }

    /// Whether a segment is still in the log.
    pub(crate) fn lists(&self, segment: &Arc<LogSegment>) -> bool {
        self.lock().segments().list().holds(segment)
    }

    /// Makes the files that a group is to be written to.
    pub(crate) fn begin_cleaned(&self, group: &Group) -> Result<CleanedFiles, StorageError> {
        let _maintenance = self.maintenance();
        let base_offset = group.base_offset();
        let files = CleanedFiles::create(self.dir(), base_offset);
        // A full disk may have let only some of them be made.
        files.inspect_err(|_| drop(swap::remove_cleaned(self.dir(), base_offset)))
    }

    /// Removes what was written of a group that is not swapped in. What stays of it, a later pass writes
    /// over or a start removes.
    pub(crate) fn give_up_cleaned(&self, group: &Group) {
        let _maintenance = self.maintenance();
        drop(swap::remove_cleaned(self.dir(), group.base_offset()));
    }

    /// Puts what became of a group in its place; see [`swap`] for the steps. Where the group has changed
    /// meanwhile, because retention took a part of it, nothing happens. Returns whether it was swapped.
    pub(crate) fn swap(
        &self,
        group: &Group,
        cleaned: CleanedSegment,
        now_ms: i64,
    ) -> Result<bool, StorageError> {
        // No segment leaves the log, no file is closed and the directory stays while it is held.
        let mut maintenance = self.maintenance();
        let (dir, base_offset) = (self.dir(), group.base_offset());
        dir.log_dir().check_online()?;
        dir.check_live()?;
        if !self.lock().segments().list().has_run(&group.segments) {
            swap::remove_cleaned(dir, base_offset)?;
            return Ok(false);
        }
        // Who reads them by an older list opens no file by its name any more.
        for segment in &group.segments {
            segment.file()?;
        }
        swap::commit(dir, base_offset)
            .inspect_err(|_| drop(swap::remove_cleaned(dir, base_offset)))?;
        let segment = Arc::new(LogSegment::known(Arc::clone(dir), &cleaned.entry));
        let counted = CountedFile::new(dir.log_dir().open_files());
        let file = SegmentFile::new(segment.log_path(), cleaned.file, counted);
        segment.set_file(Arc::new(file));
        segment.set_index(SegmentIndex::Memory(cleaned.index));
        segment.seal();
        let edit = LogEdit::Replace {
            with: Arc::clone(&segment),
            end: group.end,
        };
        self.lock().edit(edit)?;
        let finished = self
            .rename_replaced(group)
            .and_then(|()| dir.sync())
            .and_then(|()| swap::complete(dir, base_offset));
        // A full disk too: what is half done, only a start may finish.
        finished.map_err(|error| dir.log_dir().take_offline(error))?;
        segment.forget_index();
        for gone in &group.segments[1..] {
            maintenance.note_deleted(gone.base_offset(), now_ms);
        }
        Ok(true)
    }

    fn rename_replaced(&self, group: &Group) -> Result<(), StorageError> {
        for gone in &group.segments[1..] {
            for ending in [INDEX, TIME_INDEX, LOG] {
                self.rename_deleted(gone.base_offset(), ending)?;
            }
        }
        Ok(())
    }
}
