//! One segment: a `.log` file with its two indexes, and how much of it may be read.
//!
//! A segment is known before its files are opened: after a clean stop its length and timestamps come
//! from the manifest. Files are opened and mapped at first use and can be closed again.
//!
//! `published_len` is stored with release ordering after the write returned, and every reader loads
//! it with acquire ordering: bytes below it are written and never change. `visible_len` is the part
//! of them below the high watermark.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use tidewheel_protocol::{BatchHeader, RecordBatch};

use crate::error::StorageError;
use crate::fs::{LogFile, MappedFile, OpenMode};
use crate::index::{
    ActiveIndex, IndexedBatch, NO_TIMESTAMP, OffsetIndex, OffsetPosition, TimeIndex,
    TimestampOffset, offset_fits,
};
use crate::log_dir::PartitionDir;
use crate::log_reader::mapped_bytes;
use crate::manifest::SegmentManifest;

/// Ending of a segment's data file.
pub(crate) const LOG: &str = ".log";
/// Ending of a segment's offset index.
pub(crate) const INDEX: &str = ".index";
/// Ending of a segment's time index.
pub(crate) const TIME_INDEX: &str = ".timeindex";
/// Ending of a producer snapshot.
pub(crate) const SNAPSHOT: &str = ".snapshot";

/// The smallest map of a growing segment, in bytes; it doubles from there.
const MAP_BYTES_MIN: u64 = 1 << 20;

/// A segment's open data file and its map.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    path: PathBuf,
    file: Arc<dyn LogFile>,
    map: RwLock<Option<(u64, Arc<dyn MappedFile>)>>,
}

impl SegmentFile {
    /// Takes over an open file.
    pub(crate) fn new(path: PathBuf, file: Arc<dyn LogFile>) -> Self {
        Self {
            path,
            file,
            map: RwLock::new(None),
        }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &Arc<dyn LogFile> {
        &self.file
    }

    /// A map that reaches at least to `end`, which is at most the published length.
    pub(crate) fn mapped(&self, end: u64) -> Result<Arc<dyn MappedFile>, StorageError> {
        if let Some((len, map)) = &*self.map.read().unwrap_or_else(PoisonError::into_inner)
            && *len >= end
        {
            return Ok(Arc::clone(map));
        }
        let len = end.max(MAP_BYTES_MIN).next_power_of_two();
        let map = self
            .file
            .map(len)
            .map_err(|error| StorageError::from_io("map", &self.path, error))?;
        let mut slot = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|(have, _)| *have < len) {
            *slot = Some((len, Arc::clone(&map)));
        }
        Ok(map)
    }
}

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
    },
}

/// What a look-up found: an entry of the offset index, and the entry of the time index that led to it.
type Entries = (OffsetPosition, Option<TimestampOffset>);

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

    /// The open data file; opened here where it is not.
    pub(crate) fn file(&self) -> Result<Arc<SegmentFile>, StorageError> {
        self.dir.mark_used();
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
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
        let file = Arc::new(SegmentFile::new(path, file));
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Hands over the file that was opened or created elsewhere.
    pub(crate) fn set_file(&self, file: Arc<SegmentFile>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }

    /// Closes what is open, where all of it is on the disk. Slices that readers hold stay good.
    pub(crate) fn close_files(&self) {
        if self.synced_len() == self.published_len() {
            *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
        file.file
            .write_all_at(parts, position)
            .map_err(|error| self.dir.write_failed("write", &file.path, error))?;
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

    /// Where a scan for `offset` starts.
    pub(crate) fn lookup(&self, offset: i64) -> Result<OffsetPosition, StorageError> {
        let found = self.with_index(|offsets, _| (offsets.lookup(offset), None))?;
        Ok(found.0)
    }

    /// Where a scan for the first record at or after `timestamp` starts.
    pub(crate) fn lookup_timestamp(&self, timestamp: i64) -> Result<OffsetPosition, StorageError> {
        let found = self.with_index(|offsets, times| {
            let time = times.lookup(timestamp);
            (offsets.lookup(time.offset), Some(time))
        })?;
        Ok(found.0)
    }

    /// Where a scan for the largest timestamp before `offset` starts.
    pub(crate) fn lookup_time_before(&self, offset: i64) -> Result<OffsetPosition, StorageError> {
        let found = self.with_index(|offsets, times| {
            let (mut low, mut high) = (0, times.len());
            while low < high {
                let middle = low.midpoint(high);
                match times.entry(middle) {
                    Some(time) if time.offset < offset => low = middle + 1,
                    _ => high = middle,
                }
            }
            let time = low.checked_sub(1).and_then(|last| times.entry(last));
            let place = time.map_or(self.base_offset, |time| time.offset);
            (offsets.lookup(place), time)
        })?;
        Ok(found.0)
    }

    /// Looks something up. What comes from files is checked against the log; where the log says
    /// otherwise the index is rebuilt from it.
    fn with_index(
        &self,
        look: impl Fn(OffsetIndex<'_>, TimeIndex<'_>) -> Entries,
    ) -> Result<Entries, StorageError> {
        {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = index.as_ref().and_then(|index| self.view(index, &look)) {
                let from_files = matches!(*index, Some(SegmentIndex::Files { .. }));
                drop(index);
                if !from_files || self.agrees(found)? {
                    return Ok(found);
                }
            }
        }
        let mut loaded = self.load_index()?;
        let mut found = self.view(&loaded, &look);
        if let (SegmentIndex::Files { .. }, Some(entries)) = (&loaded, found)
            && !self.agrees(entries)?
        {
            loaded = self.rebuild_index()?;
            found = self.view(&loaded, &look);
        }
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        // One in memory may be ahead of this one by now.
        if !matches!(*slot, Some(SegmentIndex::Memory(_))) {
            *slot = Some(loaded);
        }
        found.ok_or_else(|| StorageError::corrupt(&self.log_path(), 0, "its index cannot be read"))
    }

    /// Whether the batches that index entries name are where and what the entries say.
    pub(crate) fn agrees(&self, (place, time): Entries) -> Result<bool, StorageError> {
        let (mut starts, mut timed) = (place.position == 0, true);
        let no_time = |time: &TimestampOffset| time.timestamp == NO_TIMESTAMP;
        let time = time.filter(|time| !no_time(time));
        let walked = self.walk(
            place.position.into(),
            self.published_len(),
            |position, header| {
                if position == u64::from(place.position) && position > 0 {
                    starts = header.last_offset() == place.offset;
                }
                let Some(time) = time.filter(|_| starts) else {
                    return Ok(false);
                };
                timed =
                    header.last_offset() == time.offset && header.max_timestamp == time.timestamp;
                Ok(header.last_offset() < time.offset)
            },
        );
        match walked {
            Ok(()) => Ok(starts && timed),
            Err(StorageError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn view(
        &self,
        index: &SegmentIndex,
        look: impl Fn(OffsetIndex<'_>, TimeIndex<'_>) -> Entries,
    ) -> Option<Entries> {
        match index {
            SegmentIndex::Memory(index) => Some(look(index.offset_index(), index.time_index())),
            SegmentIndex::Files { offsets, times } => {
                let offsets = OffsetIndex::open(self.base_offset, offsets, self.published_len());
                Some(look(
                    offsets.ok()?,
                    TimeIndex::open(self.base_offset, times).ok()?,
                ))
            }
        }
    }

    /// Loads both index files, or rebuilds them in memory where they are missing or make no sense.
    fn load_index(&self) -> Result<SegmentIndex, StorageError> {
        self.dir.check_live()?;
        if let (Ok(offsets), Ok(times)) = (self.index_file(INDEX), self.index_file(TIME_INDEX)) {
            let log_len = self.published_len();
            let good = OffsetIndex::open(self.base_offset, &offsets, log_len).is_ok()
                && TimeIndex::open(self.base_offset, &times).is_ok();
            if good {
                return Ok(SegmentIndex::Files { offsets, times });
            }
        }
        self.rebuild_index()
    }

    /// The index as the log itself says.
    fn rebuild_index(&self) -> Result<SegmentIndex, StorageError> {
        let mut index = ActiveIndex::new(self.base_offset);
        let len = self.published_len();
        self.walk(0, len, |position, header| {
            let batch = indexed_batch(header, position);
            index.batch_appended(&batch, REBUILD_INTERVAL_BYTES);
            Ok(true)
        })?;
        index.seal();
        Ok(SegmentIndex::Memory(index))
    }

    fn index_file(&self, ending: &str) -> std::io::Result<Bytes> {
        let path = self.dir.file(self.base_offset, ending);
        let file = self.dir.log_dir().fs().open(&path, OpenMode::Read)?;
        let len = file.len()?;
        let bytes_len = usize::try_from(len).map_err(|_| std::io::ErrorKind::InvalidData)?;
        if len > 0 && self.sealed.load(Ordering::Acquire) {
            return Ok(mapped_bytes(file.map(len)?, 0, bytes_len));
        }
        let mut bytes = vec![0; bytes_len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Bytes::from(bytes))
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
        let map = file.mapped(end)?;
        let mut position = position;
        while position < end {
            let header = header_at(&*map, &file.path, position, end)?;
            if !offset_fits(self.base_offset, header.last_offset()) {
                let reason = format!("offset {} in this segment", header.last_offset());
                return Err(self.corrupt(position, &reason));
            }
            if !visit(position, &header)? {
                return Ok(());
            }
            position += header.size_in_bytes() as u64;
        }
        Ok(())
    }
}

/// The index interval of an index that is rebuilt for a reader: Kafka's default, in bytes.
const REBUILD_INTERVAL_BYTES: u32 = 4096;

/// The header of the batch at `position`; the batch ends at or before `end`.
pub(crate) fn header_at(
    map: &dyn MappedFile,
    path: &Path,
    position: u64,
    end: u64,
) -> Result<BatchHeader, StorageError> {
    let corrupt = |reason: &str| StorageError::corrupt(path, position, reason);
    if end - position < BatchHeader::LEN as u64 {
        return Err(corrupt("no whole batch header is left"));
    }
    let bytes = map
        .bytes(position, BatchHeader::LEN)
        .ok_or_else(|| corrupt("beyond the map"))?;
    let header = BatchHeader::parse(bytes).map_err(|error| corrupt(&error.to_string()))?;
    if header.size_in_bytes() as u64 > end - position {
        return Err(corrupt("the batch is cut off"));
    }
    Ok(header)
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
