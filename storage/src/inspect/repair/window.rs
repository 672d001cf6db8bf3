//! A file of which a part is in memory.

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile, OpenMode};
use crate::inspect::log_file::is_bad_sector;

/// Bytes that are read at once.
pub(super) const WINDOW_BYTES: usize = 1 << 20;
/// Bytes that are read at once where the disk cannot deliver more.
const SECTOR_BYTES: u64 = 4096;

/// A file of which a part is in memory.
pub(super) struct Window<'a> {
    path: &'a Path,
    file: Arc<dyn LogFile>,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
    unreadable_bytes: u64,
}

impl<'a> Window<'a> {
    pub(super) fn open(fs: &dyn FileSystem, path: &'a Path) -> Result<Self, StorageError> {
        let failed = |error| StorageError::from_io("open", path, error);
        let file = fs.open(path, OpenMode::Read).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        Ok(Self::new(path, file, len))
    }

    fn new(path: &'a Path, file: Arc<dyn LogFile>, len: u64) -> Self {
        Self {
            path,
            file,
            len,
            start: 0,
            bytes: Vec::new(),
            unreadable_bytes: 0,
        }
    }

    /// Another window on the same file.
    pub(super) fn again(&self) -> Self {
        Self::new(self.path, Arc::clone(&self.file), self.len)
    }

    /// Ends before `end` at the latest: what lies behind is not read.
    pub(super) fn ending_at(mut self, end: u64) -> Self {
        self.len = self.len.min(end);
        self
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that the disk did not deliver, twice asked, and that read as zeros therefore.
    pub(super) fn unreadable_bytes(&self) -> u64 {
        self.unreadable_bytes
    }

    /// What is read from here on comes from the disk.
    pub(super) fn forget(&mut self) -> Result<(), StorageError> {
        self.bytes.clear();
        self.file
            .drop_cache(0)
            .map_err(|error| StorageError::from_io("read", self.path, error))
    }

    /// What is in memory from `position` on: at least `min` bytes, unless the file ends before, and never more
    /// than [`WINDOW_BYTES`].
    pub(super) fn from(&mut self, position: u64, min: usize) -> Result<&[u8], StorageError> {
        let left = self.len.saturating_sub(position);
        let min = min.min(capped(left));
        let inside = position.checked_sub(self.start).map(capped);
        let inside = inside.filter(|at| at.saturating_add(min) <= self.bytes.len());
        let at = match inside {
            Some(at) => at,
            None => {
                self.fill(position, capped(left).min(WINDOW_BYTES.max(min)))?;
                0
            }
        };
        Ok(&self.bytes[at..])
    }

    /// Calls `take` with the bytes `position..end`, piece by piece.
    pub(super) fn for_each(
        &mut self,
        mut position: u64,
        end: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        while position < end {
            let bytes = self.from(position, 1)?;
            let len = bytes.len().min(capped(end - position));
            if len == 0 {
                let reason = "the file became shorter while it was read";
                return Err(StorageError::corrupt(self.path, position, reason));
            }
            take(&bytes[..len])?;
            position += len as u64;
        }
        Ok(())
    }

    fn fill(&mut self, position: u64, len: usize) -> Result<(), StorageError> {
        self.bytes.clear();
        self.bytes.resize(len, 0);
        self.start = position;
        match self.file.read_exact_at(&mut self.bytes, position) {
            Err(error) if is_bad_sector(&error) => self.fill_by_sectors(),
            outcome => outcome.map_err(|error| StorageError::from_io("read", self.path, error)),
        }
    }

    /// What the disk cannot deliver reads as zeros, which are no batch. It is asked twice.
    fn fill_by_sectors(&mut self) -> Result<(), StorageError> {
        let mut at = 0;
        while at < self.bytes.len() {
            let position = self.start + at as u64;
            let sector = capped(SECTOR_BYTES - position % SECTOR_BYTES);
            let end = self.bytes.len().min(at + sector);
            let piece = &mut self.bytes[at..end];
            match self.file.read_exact_at(piece, position) {
                Err(error) if is_bad_sector(&error) => {
                    piece.fill(0);
                    self.unreadable_bytes += (end - at) as u64;
                }
                outcome => {
                    outcome.map_err(|error| StorageError::from_io("read", self.path, error))?;
                }
            }
            at = end;
        }
        Ok(())
    }
}

/// What a small file beside the log says; `None` where there is none, or the disk does not deliver it, twice asked,
/// or it makes no sense.
///
/// # Errors
/// `Io` for all else.
pub(super) fn read_beside<T>(
    fs: &dyn FileSystem,
    path: &Path,
    decode: impl FnOnce(&Path, &[u8]) -> Result<T, StorageError>,
) -> Result<Option<T>, StorageError> {
    let read = checkpoint::read_small(fs, path);
    match read.or_else(|_| checkpoint::read_small(fs, path)) {
        Ok(bytes) => Ok(bytes.and_then(|bytes| decode(path, &bytes).ok())),
        Err(StorageError::Corrupt { .. }) => Ok(None),
        Err(StorageError::Io { source, .. }) if is_bad_sector(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A length in memory; what does not fit is more than there is.
pub(super) fn capped(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
