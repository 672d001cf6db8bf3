//! Look-ups in a segment's indexes.
//!
//! Entries that come from files are believed only where the log has the batch they name; else the index
//! is rebuilt from the log.

use std::io::{self, ErrorKind};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{INDEX, LogSegment, SegmentIndex, TIME_INDEX, indexed_batch};
use crate::error::StorageError;
use crate::fs::OpenMode;
use crate::index::{
    ActiveIndex, NO_TIMESTAMP, OffsetIndex, OffsetPosition, TimeIndex, TimestampOffset,
};
use crate::log_reader::mapped_bytes;
use crate::open_files::CountedMap;

/// What a look-up found: an entry of the offset index, and the entry of the time index that led to it.
type Entries = (OffsetPosition, Option<TimestampOffset>);

/// The index interval of an index that is rebuilt for a reader: Kafka's default, in bytes.
const REBUILD_INTERVAL_BYTES: u32 = 4096;

impl LogSegment {
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
            SegmentIndex::Files { offsets, times, .. } => {
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
        if self.retired.load(Ordering::Acquire) {
            return self.rebuild_index();
        }
        let open = self.dir.log_dir().open_files();
        let mapped = self.sealed.load(Ordering::Acquire);
        if mapped {
            open.make_room();
        }
        let files = (self.index_bytes(INDEX)?, self.index_bytes(TIME_INDEX)?);
        if let (Some(offsets), Some(times)) = files {
            let log_len = self.published_len();
            let good = OffsetIndex::open(self.base_offset, &offsets, log_len).is_ok()
                && TimeIndex::open(self.base_offset, &times).is_ok();
            if good {
                let counted = || CountedMap::new(open);
                let maps = mapped.then(|| [counted(), counted()]);
                return Ok(SegmentIndex::Files {
                    offsets,
                    times,
                    _maps: maps,
                });
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

    /// An index file, `None` where it is missing or cannot be read. What the system is short of at the moment
    /// is an error: an index that is made anew stays in memory.
    fn index_bytes(&self, ending: &str) -> Result<Option<Bytes>, StorageError> {
        let out_of_maps = |error: &io::Error| error.kind() == ErrorKind::OutOfMemory;
        match self.index_file(ending) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => {
                let passes = out_of_maps(&error);
                let path = self.dir.file(self.base_offset, ending);
                let error = StorageError::from_io("open", &path, error);
                match passes || error.is_out_of_descriptors() {
                    true => Err(error),
                    false => Ok(None),
                }
            }
        }
    }

    fn index_file(&self, ending: &str) -> io::Result<Bytes> {
        let path = self.dir.file(self.base_offset, ending);
        let file = self.dir.log_dir().fs().open(&path, OpenMode::Read)?;
        let len = file.len()?;
        let bytes_len = usize::try_from(len).map_err(|_| ErrorKind::InvalidData)?;
        if len > 0 && self.sealed.load(Ordering::Acquire) {
            return Ok(mapped_bytes(file.map(len)?, 0, bytes_len));
        }
        let mut bytes = vec![0; bytes_len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Bytes::from(bytes))
    }
}
