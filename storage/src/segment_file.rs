//! The open `.log` file of a segment and its map.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tidewheel_protocol::BatchHeader;

use crate::error::StorageError;
use crate::fs::{LogFile, MappedFile};
use crate::open_files::{CountedFile, CountedMap};

/// The smallest map of a growing segment, in bytes; it doubles from there.
const MAP_BYTES_MIN: u64 = 1 << 20;

/// A segment's open data file and its map.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    path: PathBuf,
    file: Arc<dyn LogFile>,
    map: RwLock<Option<CurrentMap>>,
    counted: CountedFile,
}

/// The longest map of a file so far; shorter ones are dropped with their last reader.
#[derive(Debug)]
struct CurrentMap {
    len: u64,
    map: Arc<dyn MappedFile>,
    _counted: CountedMap,
}

impl SegmentFile {
    /// Takes over an open file, which counts as such.
    pub(crate) fn new(path: PathBuf, file: Arc<dyn LogFile>, counted: CountedFile) -> Self {
        Self {
            path,
            file,
            map: RwLock::new(None),
            counted,
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
        if let Some(map) = self.mapped_already(end) {
            return Ok(map);
        }
        self.counted.make_room_for_map();
        let len = end.max(MAP_BYTES_MIN).next_power_of_two();
        let map = self
            .file
            .map(len)
            .map_err(|error| StorageError::from_io("map", &self.path, error))?;
        let mut slot = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|current| current.len < len) {
            *slot = Some(CurrentMap {
                len,
                map: Arc::clone(&map),
                _counted: self.counted.map(),
            });
        }
        Ok(map)
    }

    /// A map that reaches at least to `end`, where there is one.
    pub(crate) fn mapped_already(&self, end: u64) -> Option<Arc<dyn MappedFile>> {
        let slot = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let current = slot.as_ref()?;
        (current.len >= end).then(|| Arc::clone(&current.map))
    }

    /// Calls `visit` with each batch header from `position` to `end`, as `map` shows them, until it
    /// says `false` or fails.
    pub(crate) fn walk(
        &self,
        map: &dyn MappedFile,
        mut position: u64,
        end: u64,
        mut visit: impl FnMut(u64, &BatchHeader) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        while position < end {
            let header = header_at(map, &self.path, position, end)?;
            if !visit(position, &header)? {
                return Ok(());
            }
            position += header.size_in_bytes() as u64;
        }
        Ok(())
    }
}

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
