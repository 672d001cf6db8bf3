//! One segment: a `.log` file with its two indexes, and how much of it may be read.
//!
//! A segment is known before its files are opened: after a clean stop its length and timestamps come
//! from the manifest. Files are opened and mapped at first use and can be closed again.
//!
//! `published_len` is stored with release ordering after the write returned, and every reader loads
//! it with acquire ordering: bytes below it are written and never change. `visible_len` is the part
//! of them below the high watermark.

mod lookup;

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tidewheel_protocol::{BatchHeader, RecordBatch};

use crate::error::StorageError;
use crate::fs::{MappedFile, OpenMode};
use crate::index::{ActiveIndex, IndexedBatch, NO_TIMESTAMP, TimestampOffset, offset_fits};
use crate::log_reader::mapped_bytes;
use crate::manifest::SegmentManifest;
use crate::open_files::{CountedFile, CountedMap};
use crate::partition_dir::PartitionDir;
use crate::segment_file::SegmentFile;

/// Ending of a segment's data file.
pub(crate) const LOG: &str = ".log";
/// Ending of a segment's offset index.
pub(crate) const INDEX: &str = ".index";
/// Ending of a segment's time index.
pub(crate) const TIME_INDEX: &str = ".timeindex";
/// Ending of a producer snapshot.
pub(crate) const SNAPSHOT: &str = ".snapshot";

/// The indexes of a segment: in memory while they may be ahead of their files, else maps of them.
#[derive(Debug)]
pub(crate) enum SegmentIndex {
    /// In memory; the files may lack entries.
    Memory(ActiveIndex),
    /// Both files, whole: maps of a sealed segment's, copies of those of a segment that may be written
    /// again, because then they are cut.
    Files {
        /// The `.index` file.
        offsets: Bytes,
        /// The `.timeindex` file.
        times: Bytes,
        /// Where they are maps.
        _maps: Option<[CountedMap; 2]>,
    },
}

/// One segment of a log.
#[derive(Debug)]
pub(crate) struct LogSegment {
    base_offset: i64,
    dir: Arc<PartitionDir>,
    len_at_open: u64,
    published_len: AtomicU64,
    visible_len: AtomicU64,
    synced_len: AtomicU64,
    first_timestamp: AtomicI64,
    max_timestamp: AtomicI64,
    offset_of_max_timestamp: AtomicI64,
    file: Mutex<Option<Arc<SegmentFile>>>,
    index: RwLock<Option<SegmentIndex>>,
    sealed: AtomicBool,
    retired: AtomicBool,
}

impl LogSegment {
    /// An empty segment whose file need not exist yet.
    pub(crate) fn empty(dir: Arc<PartitionDir>, base_offset: i64) -> Self {
        let entry = SegmentManifest {
            base_offset,
            log_bytes: 0,
            max_timestamp: NO_TIMESTAMP,
            offset_of_max_timestamp: base_offset,
            first_timestamp: NO_TIMESTAMP,
        };
        let segment = Self::known(dir, &entry);
        segment.set_empty_index();
        segment
    }

    /// A segment that lies on the disk as `entry` says, durable and visible as a whole.
    pub(crate) fn known(dir: Arc<PartitionDir>, entry: &SegmentManifest) -> Self {
        Self {
            base_offset: entry.base_offset,
            dir,
            len_at_open: entry.log_bytes,
            published_len: AtomicU64::new(entry.log_bytes),
            visible_len: AtomicU64::new(entry.log_bytes),
            synced_len: AtomicU64::new(entry.log_bytes),
            first_timestamp: AtomicI64::new(entry.first_timestamp),
            max_timestamp: AtomicI64::new(entry.max_timestamp),
            offset_of_max_timestamp: AtomicI64::new(entry.offset_of_max_timestamp),
            file: Mutex::new(None),
            index: RwLock::new(None),
            sealed: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// What the manifest keeps of it.
    pub(crate) fn entry(&self) -> SegmentManifest {
        let max = self.max_timestamp();
        SegmentManifest {
            base_offset: self.base_offset,
            log_bytes: self.published_len(),
            max_timestamp: max.timestamp,
            offset_of_max_timestamp: max.offset,
            first_timestamp: self.first_timestamp(),
        }
    }

    /// Offset that its first record has or will have.
    pub(crate) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// The directory of its partition.
    pub(crate) fn dir(&self) -> &Arc<PartitionDir> {
        &self.dir
    }

    /// Where its data lies.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.file(self.base_offset, LOG)
    }

    /// Bytes that were there when it was opened: a start before this one wrote them.
    pub(crate) fn len_at_open(&self) -> u64 {
        self.len_at_open
    }

    /// Bytes that were written and never change.
    pub(crate) fn published_len(&self) -> u64 {
        self.published_len.load(Ordering::Acquire)
    }

    /// Bytes below the high watermark.
    pub(crate) fn visible_len(&self) -> u64 {
        self.visible_len.load(Ordering::Acquire)
    }

    /// Moves the visible length forward. Only the holder of the log's mutex calls it.
    pub(crate) fn show(&self, len: u64) {
        debug_assert!(len <= self.published_len(), "only written bytes are shown");
        self.visible_len.store(len, Ordering::Release);
    }

    /// Bytes known to be on the disk.
    pub(crate) fn synced_len(&self) -> u64 {
        self.synced_len.load(Ordering::Acquire)
    }

    /// Notes that all bytes below `len` are on the disk.
    pub(crate) fn mark_synced(&self, len: u64) {
        self.synced_len.fetch_max(len, Ordering::AcqRel);
    }

    /// The largest timestamp in it, and the last offset of the batch that has it.
    pub(crate) fn max_timestamp(&self) -> TimestampOffset {
        let offset = self.offset_of_max_timestamp.load(Ordering::Acquire);
        TimestampOffset {
            timestamp: self.max_timestamp.load(Ordering::Acquire),
            offset,
        }
    }

    /// When its records are from, as retention sees it: the largest timestamp, or where no record has
    /// one the time of the last write, as in Kafka. Negative where that is unknown, ms since 1970.
    pub(crate) fn dated_ms(&self) -> i64 {
        let timestamp = self.max_timestamp().timestamp;
        if timestamp >= 0 || self.published_len() == 0 {
            return timestamp;
        }
        let modified = self.file().map(|file| file.file().modified_ms());
        modified.map_or(NO_TIMESTAMP, |modified| modified.unwrap_or(NO_TIMESTAMP))
    }

    /// The largest timestamp of its first batch, or [`NO_TIMESTAMP`]; time-based rolling counts from it.
    pub(crate) fn first_timestamp(&self) -> i64 {
        self.first_timestamp.load(Ordering::Acquire)
    }

    /// The open data file; opened here where it is not, after room was made for it.
    pub(crate) fn file(&self) -> Result<Arc<SegmentFile>, StorageError> {
        self.dir.mark_used();
        if let Some(file) = &*self.file_slot() {
            return Ok(Arc::clone(file));
        }
        // While no lock of a segment is held: whoever closes files takes those of another log's.
        self.dir.log_dir().open_files().make_room();
        self.open_file()
    }

    fn file_slot(&self) -> MutexGuard<'_, Option<Arc<SegmentFile>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a writer, for whom room is made once the log's mutex is free again.
    pub(crate) fn open_file(&self) -> Result<Arc<SegmentFile>, StorageError> {
        let mut slot = self.file_slot();
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        self.dir.check_live()?;
        let path = self.log_path();
        let fs = self.dir.log_dir().fs();
        let failed = |error| StorageError::from_io("open", &path, error);
        let file = fs.open(&path, OpenMode::ReadWrite).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        if len < self.published_len() {
            let reason = format!("{} bytes where {} were written", len, self.published_len());
            return Err(StorageError::corrupt(&path, len, reason));
        }
        // What lies behind the end was never part of the log; who writes next takes it away.
        file.unsettle(self.published_len());
        let counted = CountedFile::new(self.dir.log_dir().open_files());
        let file = Arc::new(SegmentFile::new(path, file, counted));
        *slot = Some(Arc::clone(&file));
        // Whoever made room meanwhile may have taken it for closed.
        self.dir.mark_used();
        Ok(file)
    }

    /// Hands over the file that was opened or created elsewhere.
    pub(crate) fn set_file(&self, file: Arc<SegmentFile>) {
        *self.file_slot() = Some(file);
    }

    /// Closes what is open, where all of it is on the disk. Slices that readers hold stay good.
    pub(crate) fn close_files(&self) {
        if self.synced_len() == self.published_len() {
            *self.file_slot() = None;
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            if matches!(*index, Some(SegmentIndex::Files { .. })) {
                *index = None;
            }
        }
    }

    /// Writes a batch at the end and publishes it. Only the holder of the log's mutex calls it.
    pub(crate) fn append(
        &self,
        file: &SegmentFile,
        parts: &[IoSlice<'_>],
        batch: &IndexedBatch,
        interval_bytes: u32,
    ) -> Result<(), StorageError> {
        let position = self.published_len();
        file.file()
            .write_all_at(parts, position)
            .map_err(|error| self.dir.write_failed("write", file.path(), error))?;
        self.note_batch(batch, interval_bytes);
        self.published_len
            .store(position + u64::from(batch.size), Ordering::Release);
        Ok(())
    }

    /// Takes a batch into the index and the timestamps.
    fn note_batch(&self, batch: &IndexedBatch, interval_bytes: u32) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let Some(SegmentIndex::Memory(index)) = &mut *index else {
            unreachable!("a segment is opened for writing before it is written");
        };
        if batch.position == 0 {
            self.first_timestamp
                .store(batch.max_timestamp, Ordering::Release);
        }
        index.batch_appended(batch, interval_bytes);
        let max = index.max_timestamp();
        self.offset_of_max_timestamp
            .store(max.offset, Ordering::Release);
        self.max_timestamp.store(max.timestamp, Ordering::Release);
    }

    /// Replaces the index.
    pub(crate) fn set_index(&self, index: SegmentIndex) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Some(index);
    }

    /// Begins an empty index.
    pub(crate) fn set_empty_index(&self) {
        self.set_index(SegmentIndex::Memory(ActiveIndex::new(self.base_offset)));
    }

    /// No batch is added any more.
    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
        self.with_memory_index(ActiveIndex::seal);
    }

    /// Another segment gets its place and the names of its files. Who still reads it has its data file
    /// open, and finds the index in memory or makes it anew.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Drops the index from memory; its files are complete.
    pub(crate) fn forget_index(&self) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Works on the index in memory, if it is there.
    pub(crate) fn with_memory_index<T>(
        &self,
        work: impl FnOnce(&mut ActiveIndex) -> T,
    ) -> Option<T> {
        match &mut *self.index.write().unwrap_or_else(PoisonError::into_inner) {
            Some(SegmentIndex::Memory(index)) => Some(work(index)),
            _ => None,
        }
    }

    /// The published batch at `position`, as a view of the map.
    pub(crate) fn batch_at(
        &self,
        position: u64,
        header: &BatchHeader,
    ) -> Result<RecordBatch, StorageError> {
        let size = header.size_in_bytes();
        let map = self.file()?.mapped(position + size as u64)?;
        Ok(RecordBatch {
            header: *header,
            bytes: mapped_bytes(map, position, size),
        })
    }

    /// A batch of this segment that cannot be read.
    pub(crate) fn corrupt(&self, position: u64, reason: &dyn std::fmt::Display) -> StorageError {
        StorageError::corrupt(&self.log_path(), position, reason.to_string())
    }

    /// Calls `visit` with each batch header from `position` to `end` until it says `false`
    /// or fails.
    pub(crate) fn walk(
        &self,
        position: u64,
        end: u64,
        mut visit: impl FnMut(u64, &BatchHeader) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        if position >= end {
            return Ok(());
        }
        let file = self.file()?;
        file.walk(&*file.mapped(end)?, position, end, |position, header| {
            if !offset_fits(self.base_offset, header.last_offset()) {
                let reason = format!("offset {} in this segment", header.last_offset());
                return Err(self.corrupt(position, &reason));
            }
            visit(position, header)
        })
    }

    /// Where a scan for `offset` among the bytes before `end` begins. May wait for the disk.
    pub(crate) fn scan_start(&self, offset: i64, end: u64) -> Result<ScanStart, StorageError> {
        let position = u64::from(self.lookup(offset)?.position);
        let file = self.file()?;
        let map = file.mapped(end)?;
        Ok(ScanStart {
            file,
            map,
            position,
        })
    }

    /// The same without opening, mapping or reading a file; `None` where that is needed.
    pub(crate) fn scan_start_in_memory(&self, offset: i64, end: u64) -> Option<ScanStart> {
        let position = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            match &*index {
                Some(SegmentIndex::Memory(index)) => index.offset_index().lookup(offset).position,
                _ => return None,
            }
        };
        // Whoever opens the file holds the lock meanwhile.
        let file = self.file.try_lock().ok()?.clone()?;
        let map = file.mapped_already(end)?;
        self.dir.mark_used();
        Some(ScanStart {
            file,
            map,
            position: u64::from(position),
        })
    }
}

/// Where a scan of a segment's batches begins: its open file, a map of it, and a batch's first byte.
#[derive(Debug)]
pub(crate) struct ScanStart {
    /// The open file.
    pub(crate) file: Arc<SegmentFile>,
    /// A map that reaches to the end of the scan.
    pub(crate) map: Arc<dyn MappedFile>,
    /// Bytes from the start of the file.
    pub(crate) position: u64,
}

/// How the indexes see a batch.
pub(crate) fn indexed_batch(header: &BatchHeader, position: u64) -> IndexedBatch {
    let cap = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    IndexedBatch {
        last_offset: header.last_offset(),
        position: cap(position),
        size: cap(header.size_in_bytes() as u64),
        max_timestamp: header.max_timestamp,
    }
}
