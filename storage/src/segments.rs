//! The files of one log: which segments there are, which one is written, and what the disk lacks.
//!
//! This is the I/O half of `Log`; it writes bytes at a base offset it is told and decides nothing
//! about offsets. The list is a snapshot that readers hold by reference count; a changed list is a
//! new one.
//!
//! **Roll.** The new segment's file is made first; if that fails nothing has changed. The old
//! segment's index files and producer snapshot are written later, by the next checkpoint: until
//! then recovery rebuilds them, because the recovery point lies before them.
//!
//! **A failed write** publishes nothing, and the next append writes over what it left. Where the log
//! rolls instead, the leftover stays behind the old segment's last batch until the checkpoint cuts
//! it; recovery knows it by the next segment, which begins exactly where the good batches end.

use std::io::IoSlice;
use std::sync::Arc;

use tidewheel_config::LogConfig;
use tidewheel_protocol::BatchHeader;

use crate::error::StorageError;
use crate::fs::OpenMode;
use crate::index::offset_fits;
use crate::log_offsets::LogPoint;
use crate::open_files::CountedFile;
use crate::partition_dir::PartitionDir;
use crate::recovery_files::{FoundSegment, cut_tail};
use crate::segment::{LOG, LogSegment, indexed_batch};
use crate::segment_file::SegmentFile;
use crate::segment_restore::restore_active;

/// The first preallocation of a segment, in bytes; it doubles from there.
const PREALLOCATE_BYTES_MIN: u64 = 64 << 10;
/// The largest preallocation, in bytes.
const PREALLOCATE_BYTES_MAX: u64 = 32 << 20;
/// Preallocation beyond the first step wants this many times its size free, so that a small disk is not
/// filled with blocks that nobody wrote.
const PREALLOCATE_FREE_FACTOR: u64 = 32;

/// The segments of a log in the order of their base offsets; the last is the active one.
#[derive(Debug)]
pub(crate) struct SegmentList(Vec<Arc<LogSegment>>);

impl SegmentList {
    /// Takes over segments that are in order; at least one.
    pub(crate) fn new(segments: Vec<Arc<LogSegment>>) -> Self {
        assert!(!segments.is_empty(), "a log has an active segment");
        assert!(
            segments.is_sorted_by(|a, b| a.base_offset() < b.base_offset()),
            "segments are in order"
        );
        Self(segments)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Arc<LogSegment>] {
        &self.0
    }

    /// The one that is written.
    pub(crate) fn active(&self) -> &Arc<LogSegment> {
        self.0.last().expect("a log has an active segment")
    }

    /// The one that holds `offset`, if it is not before the first, and those after it.
    pub(crate) fn starting_at(&self, offset: i64) -> &[Arc<LogSegment>] {
        let after = self
            .0
            .partition_point(|segment| segment.base_offset() <= offset);
        after.checked_sub(1).map_or(&[], |at| &self.0[at..])
    }

    /// Whether this segment is still in it.
    pub(crate) fn holds(&self, segment: &Arc<LogSegment>) -> bool {
        self.0.iter().any(|listed| Arc::ptr_eq(listed, segment))
    }

    /// Whether these segments are still in it, one after the other.
    pub(crate) fn has_run(&self, run: &[Arc<LogSegment>]) -> bool {
        let same = |pair: (&Arc<LogSegment>, &Arc<LogSegment>)| Arc::ptr_eq(pair.0, pair.1);
        self.0
            .windows(run.len())
            .any(|window| window.iter().zip(run).all(same))
    }

    /// Bytes of all segments.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.0.iter().map(|segment| segment.published_len()).sum()
    }
}

/// A batch to write: the header with its assigned offsets, and the bytes of the whole.
#[derive(Debug)]
pub(crate) struct BatchWrite<'a> {
    /// The header as it is to lie on the disk.
    pub(crate) header: &'a BatchHeader,
    /// The first bytes of the batch: base offset, length and leader epoch.
    pub(crate) prefix: &'a [u8],
    /// The rest of it.
    pub(crate) rest: &'a [u8],
}

/// A sealed segment whose index files and snapshot are not written yet.
#[derive(Clone, Debug)]
pub(crate) struct Unsealed {
    /// The segment.
    pub(crate) segment: Arc<LogSegment>,
    /// Its open file, to give back what was preallocated.
    pub(crate) file: Option<Arc<SegmentFile>>,
    /// The producers at the end of the segment: offset and content of the snapshot file.
    pub(crate) snapshot: Option<(i64, Arc<[u8]>)>,
}

/// A segment that left the log; its files go once the recovery point is past `end_offset`.
#[derive(Clone, Debug)]
pub(crate) struct Doomed {
    /// The segment.
    pub(crate) segment: Arc<LogSegment>,
    /// Offset after its last record.
    pub(crate) end_offset: i64,
}

/// What one flush makes durable.
#[derive(Debug)]
pub(crate) struct FlushPlan {
    /// Everything before this point is durable afterwards.
    pub(crate) point: LogPoint,
    files: Vec<(Arc<LogSegment>, Arc<SegmentFile>, u64)>,
    /// Files made so far, where the directory does not have all of them durably.
    files_made: Option<u64>,
}

impl FlushPlan {
    /// Syncs the files, then the directory where files were made in it.
    pub(crate) fn execute(&self, dir: &PartitionDir) -> Result<(), StorageError> {
        self.sync_files(dir)?;
        match self.has_new_files() {
            true => dir.sync(),
            false => Ok(()),
        }
    }

    /// Syncs the files; where [`Self::has_new_files`] their directory is to follow.
    pub(crate) fn sync_files(&self, dir: &PartitionDir) -> Result<(), StorageError> {
        let mut files = self.files.iter();
        files.try_for_each(|(_, file, _)| dir.sync_data(file.path(), &**file.file()))
    }

    /// Whether files were made of which the directory does not have all durably.
    pub(crate) fn has_new_files(&self) -> bool {
        self.files_made.is_some()
    }

    /// Whether it syncs this file.
    pub(crate) fn syncs(&self, file: &Arc<SegmentFile>) -> bool {
        let mut files = self.files.iter();
        files.any(|(_, synced, _)| Arc::ptr_eq(synced, file))
    }
}

#[derive(Debug)]
struct Writer {
    file: Arc<SegmentFile>,
    allocated_end: u64,
}

/// The files of a log, and who writes them.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: Arc<PartitionDir>,
    list: Arc<SegmentList>,
    writer: Option<Writer>,
    unsynced: Vec<(Arc<LogSegment>, Arc<SegmentFile>)>,
    files_made: u64,
    files_made_durable: u64,
    /// How often a file was opened or made to be written.
    files_opened: u64,
    unsealed: Vec<Unsealed>,
    doomed: Vec<Doomed>,
}

impl Segments {
    /// Takes over segments whose bytes are all on the disk. `unsealed` are those whose index files are
    /// not complete.
    pub(crate) fn new(dir: Arc<PartitionDir>, list: SegmentList, unsealed: Vec<Unsealed>) -> Self {
        Self {
            dir,
            list: Arc::new(list),
            writer: None,
            unsynced: Vec::new(),
            files_made: 0,
            files_made_durable: 0,
            files_opened: 0,
            unsealed,
            doomed: Vec::new(),
        }
    }

    /// The list as it is now.
    pub(crate) fn list(&self) -> &Arc<SegmentList> {
        &self.list
    }

    /// The partition's directory.
    pub(crate) fn dir(&self) -> &Arc<PartitionDir> {
        &self.dir
    }

    /// Sealed segments whose files the next checkpoint completes.
    pub(crate) fn unsealed(&self) -> &[Unsealed] {
        &self.unsealed
    }

    /// Segments whose files are to be removed.
    pub(crate) fn doomed(&self) -> &[Doomed] {
        &self.doomed
    }

    /// The open file of the active segment, if it was written since it was opened.
    pub(crate) fn writer_file(&self) -> Option<Arc<SegmentFile>> {
        self.writer.as_ref().map(|writer| Arc::clone(&writer.file))
    }

    /// Readies the active segment of a log that was not opened since a clean stop: its index comes
    /// into memory. `log_end` is the offset after its last record.
    pub(crate) fn open_active(
        &self,
        log_end: i64,
        interval_bytes: u32,
    ) -> Result<(), StorageError> {
        let active = self.list.active();
        if active.published_len() == 0 {
            active.set_empty_index();
            return Ok(());
        }
        restore_active(active, log_end, interval_bytes)
    }

    /// Whether the active segment was written or read for writing, so that its files may lack the final
    /// time index entry and have blocks reserved behind their end.
    pub(crate) fn is_active_incomplete(&self) -> bool {
        let active = self.list.active();
        self.writer.is_some()
            || active.published_len() > 0 && active.with_memory_index(|_| ()).is_some()
    }

    /// Whether a batch belongs into a new segment, as Kafka decides it.
    pub(crate) fn is_full_for(
        &self,
        header: &BatchHeader,
        config: &LogConfig,
        segment_ms: i64,
    ) -> bool {
        let active = self.list.active();
        let len = active.published_len();
        if len == 0 {
            return false;
        }
        let size = header.size_in_bytes() as u64;
        let expired = active.first_timestamp() >= 0
            && header
                .max_timestamp
                .saturating_sub(active.first_timestamp())
                > segment_ms;
        let index_full =
            active.with_memory_index(|index| index.is_full(config.segment_index_bytes));
        len + size > u64::from(config.segment_bytes)
            || expired
            || index_full.unwrap_or(false)
            || !offset_fits(active.base_offset(), header.last_offset())
    }

    /// Writes a batch at the end of the active segment and publishes its bytes.
    pub(crate) fn write(
        &mut self,
        batch: &BatchWrite<'_>,
        config: &LogConfig,
    ) -> Result<(), StorageError> {
        let active = Arc::clone(self.list.active());
        let position = active.published_len();
        let size = batch.header.size_in_bytes() as u64;
        let file = self.writer_for(&active, position + size, config)?;
        let parts = [IoSlice::new(batch.prefix), IoSlice::new(batch.rest)];
        let indexed = indexed_batch(batch.header, position);
        active.append(&file, &parts, &indexed, config.index_interval_bytes)?;
        let listed = self
            .unsynced
            .last()
            .is_some_and(|(last, _)| Arc::ptr_eq(last, &active));
        if !listed {
            self.unsynced.push((active, file));
        }
        Ok(())
    }

    fn writer_for(
        &mut self,
        active: &Arc<LogSegment>,
        end: u64,
        config: &LogConfig,
    ) -> Result<Arc<SegmentFile>, StorageError> {
        if self.writer.is_some() {
            self.dir.mark_used();
        } else {
            let len = active.published_len();
            let file = if len == 0 {
                self.create_file(active)?
            } else {
                self.files_opened += 1;
                let file = active.open_file()?;
                cut_leftover(&self.dir, active, &file)?;
                file
            };
            self.writer = Some(Writer {
                file,
                allocated_end: len,
            });
        }
        let writer = self.writer.as_mut().expect("opened above");
        if end > writer.allocated_end {
            writer.allocate(&self.dir, end, config);
        }
        Ok(Arc::clone(&writer.file))
    }

    /// Makes the data file of an empty segment, or opens the one that is there and takes away what is in it.
    fn create_file(&mut self, segment: &Arc<LogSegment>) -> Result<Arc<SegmentFile>, StorageError> {
        self.dir.check_live()?;
        self.dir.make()?;
        let path = self.dir.file(segment.base_offset(), LOG);
        let file = self.dir.log_dir().fs().open(&path, OpenMode::Create);
        let file = file.map_err(|error| self.dir.open_failed(&path, error))?;
        file.unsettle(0);
        self.files_made += 1;
        self.files_opened += 1;
        self.dir.mark_used();
        let counted = CountedFile::new(self.dir.log_dir().open_files());
        let file = Arc::new(SegmentFile::new(path, file, counted));
        cut_leftover(&self.dir, segment, &file)?;
        segment.set_file(Arc::clone(&file));
        Ok(file)
    }

    /// Makes sure that the active segment has its file.
    pub(crate) fn create_active_file(&mut self) -> Result<(), StorageError> {
        let active = Arc::clone(self.list.active());
        if self.writer.is_none() && active.published_len() == 0 {
            let file = self.create_file(&active)?;
            self.writer = Some(Writer {
                file,
                allocated_end: 0,
            });
        }
        Ok(())
    }

    /// Starts a new segment at `base_offset`. `snapshot` is the content of the producer snapshot there.
    pub(crate) fn roll(
        &mut self,
        base_offset: i64,
        snapshot: Arc<[u8]>,
    ) -> Result<(), StorageError> {
        let next = Arc::new(LogSegment::empty(Arc::clone(&self.dir), base_offset));
        let file = self.create_file(&next)?;
        let sealed = Arc::clone(self.list.active());
        sealed.seal();
        let old = self.writer.replace(Writer {
            file,
            allocated_end: 0,
        });
        self.unsealed.push(Unsealed {
            segment: sealed,
            file: old.map(|writer| writer.file),
            snapshot: Some((base_offset, snapshot)),
        });
        let mut list = self.list.all().to_vec();
        list.push(next);
        self.list = Arc::new(SegmentList::new(list));
        Ok(())
    }

    /// Takes the segments before `base_offset` out of the list; there must be one that begins there.
    pub(crate) fn drop_before(&mut self, base_offset: i64) {
        let all = self.list.all();
        let keep = all.partition_point(|segment| segment.base_offset() < base_offset);
        assert!(keep < all.len(), "the active segment stays");
        for (segment, next) in all[..keep].iter().zip(&all[1..]) {
            self.doomed.push(Doomed {
                segment: Arc::clone(segment),
                end_offset: next.base_offset(),
            });
        }
        self.list = Arc::new(SegmentList::new(all[keep..].to_vec()));
        let gone = |segment: &LogSegment| segment.base_offset() < base_offset;
        self.unsealed.retain(|unsealed| !gone(&unsealed.segment));
    }

    /// Puts a sealed segment in the place of those from its base offset to `end`, where one begins.
    pub(crate) fn replace(&mut self, with: Arc<LogSegment>, end: i64) {
        let all = self.list.all();
        let at = |offset: i64| all.partition_point(|segment| segment.base_offset() < offset);
        let (from, to) = (at(with.base_offset()), at(end));
        assert!(
            from < to
                && all[from].base_offset() == with.base_offset()
                && all.get(to).is_some_and(|next| next.base_offset() == end),
            "a run of sealed segments is replaced as a whole"
        );
        all[from..to].iter().for_each(|segment| segment.retire());
        let mut list = all.to_vec();
        list.splice(from..to, [with]);
        self.list = Arc::new(SegmentList::new(list));
    }

    /// Shows readers everything before `point`.
    pub(crate) fn show_to(&self, point: LogPoint) {
        for segment in self.list.all().iter().rev() {
            let base_offset = segment.base_offset();
            if base_offset == point.segment_base {
                segment.show(point.position);
            } else if base_offset < point.segment_base {
                let len = segment.published_len();
                if segment.visible_len() == len {
                    break;
                }
                segment.show(len);
            }
        }
    }

    /// What has to be synced so that everything before `point`, the log's end, is durable.
    pub(crate) fn flush_plan(&self, point: LogPoint) -> FlushPlan {
        let files = self.unsynced.iter();
        FlushPlan {
            point,
            files: files
                .map(|(segment, file)| {
                    (
                        Arc::clone(segment),
                        Arc::clone(file),
                        segment.published_len(),
                    )
                })
                .collect(),
            files_made: (self.files_made > self.files_made_durable).then_some(self.files_made),
        }
    }

    /// Notes what a flush made durable.
    pub(crate) fn flushed(&mut self, plan: &FlushPlan) {
        for (segment, _, len) in &plan.files {
            segment.mark_synced(*len);
        }
        self.unsynced
            .retain(|(segment, _)| segment.synced_len() < segment.published_len());
        if let Some(files_made) = plan.files_made {
            self.files_made_durable = self.files_made_durable.max(files_made);
        }
    }

    /// Notes that the files of these sealed segments are complete and durable.
    pub(crate) fn sealed(&mut self, done: &[Unsealed]) {
        let is_done = |segment: &Arc<LogSegment>| {
            done.iter()
                .any(|unsealed| Arc::ptr_eq(&unsealed.segment, segment))
        };
        self.unsealed.retain(|unsealed| !is_done(&unsealed.segment));
        for unsealed in done {
            unsealed.segment.forget_index();
        }
    }

    /// Notes that the files of these segments are gone.
    pub(crate) fn removed(&mut self, gone: &[Doomed]) {
        self.doomed.retain(|doomed| {
            !gone
                .iter()
                .any(|other| Arc::ptr_eq(&doomed.segment, &other.segment))
        });
    }

    /// Gives back preallocated blocks and closes files, except those that wait for the disk or for the
    /// next checkpoint. Returns whether none is left.
    pub(crate) fn release(&mut self) -> bool {
        let active = Arc::clone(self.list.active());
        if let Some(writer) = &self.writer
            && !self.waits(&active)
        {
            // What a failed write left behind the end must be gone before the file is opened again.
            if end_file(&self.dir, &active, &writer.file).is_ok() {
                self.writer = None;
            }
        }
        for segment in self.list.all() {
            let written = self.writer.is_some() && Arc::ptr_eq(segment, &active);
            if !written && !self.waits(segment) {
                segment.close_files();
            }
        }
        self.writer.is_none() && self.unsynced.is_empty() && self.unsealed.is_empty()
    }

    /// How often a file was opened or made to be written.
    pub(crate) fn files_opened(&self) -> u64 {
        self.files_opened
    }

    /// Whether bytes of a log wait for the disk.
    pub(crate) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Whether a flush or a checkpoint still needs a segment's open file.
    fn waits(&self, segment: &Arc<LogSegment>) -> bool {
        let mut unsynced = self.unsynced.iter().map(|(unsynced, _)| unsynced);
        let mut unsealed = self.unsealed.iter().map(|unsealed| &unsealed.segment);
        unsynced.any(|other| Arc::ptr_eq(other, segment))
            || unsealed.any(|other| Arc::ptr_eq(other, segment))
    }
}

/// Gives back what is reserved behind the end of a segment. What a failed write left there is cut off durably: a
/// clean stop that comes later does not look at the file again, and notes a length that must be that of the file.
fn end_file(
    dir: &PartitionDir,
    segment: &LogSegment,
    file: &SegmentFile,
) -> Result<(), StorageError> {
    let len = segment.published_len();
    let found = file.file().len();
    let found = found.map_err(|error| StorageError::from_io("look up", file.path(), error))?;
    let cut = file.file().set_len(len);
    cut.map_err(|error| StorageError::from_io("truncate", file.path(), error))?;
    if found > len {
        dir.sync_data(file.path(), &**file.file())?;
    }
    Ok(())
}

/// Takes away what lies behind the end of a segment that is about to be written, and keeps it aside: somebody else
/// wrote it, or a power cut undid that it was cut off.
fn cut_leftover(
    dir: &PartitionDir,
    segment: &LogSegment,
    file: &SegmentFile,
) -> Result<(), StorageError> {
    let (opened, path, end) = (file.file(), file.path(), segment.published_len());
    let len = opened.len();
    let len = len.map_err(|error| StorageError::from_io("look up", path, error))?;
    if len <= end {
        return Ok(());
    }
    let found = FoundSegment {
        base_offset: segment.base_offset(),
        len,
        end_bound: i64::MAX,
        path: path.to_path_buf(),
    };
    // Nobody tells a writer of files the time; when the file was written last says as much.
    let written_ms = opened.modified_ms().unwrap_or(0);
    cut_tail(dir, &found, &**opened, end, written_ms)
}

impl Writer {
    /// Reserves blocks ahead of the writes. Errors are ignored: the write itself will tell.
    fn allocate(&mut self, dir: &PartitionDir, end: u64, config: &LogConfig) {
        let step = self
            .allocated_end
            .clamp(PREALLOCATE_BYTES_MIN, PREALLOCATE_BYTES_MAX);
        let from = self.allocated_end;
        let target = (from + step).min(u64::from(config.segment_bytes)).max(end);
        self.allocated_end = target;
        let log_dir = dir.log_dir();
        let roomy = || {
            let space = log_dir.fs().space(log_dir.path());
            space.is_ok_and(|space| space.free_bytes / PREALLOCATE_FREE_FACTOR >= step)
        };
        if !log_dir.space().is_low() && (step == PREALLOCATE_BYTES_MIN || roomy()) {
            self.file.file().preallocate(from, target - from).ok();
        }
    }
}
