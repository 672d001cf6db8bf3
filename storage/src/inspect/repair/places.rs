//! Where batches of a segment are known to stand, whatever lies before them: its offset index says so.
//!
//! No CRC covers an index. So a place counts only where a header stands there whose last offset is the one of
//! the entry: chance makes no such pair, and what lies in the value of a record is in no index.

use std::path::{Path, PathBuf};

use super::window::{Window, capped};
use crate::error::StorageError;
use crate::fs::{DirEntry, FileSystem};
use crate::index::OFFSET_ENTRY_LEN;
use crate::inspect::layout::CUT_OUT;

/// The longest index that is believed, in bytes: 8 million entries.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// What the offset index of a segment says.
#[derive(Debug, Default)]
pub(super) struct Places {
    base_offset: i64,
    /// Position of a batch, and its last offset less the segment's first one; ascending.
    entries: Vec<(u32, u32)>,
}

impl Places {
    /// Those of the segment in the file `log`. Where it has no index, as after a repair that was cut off, those of the
    /// newest one that a repair kept aside; none where there is none of these either.
    pub(super) fn read(
        fs: &dyn FileSystem,
        log: &Path,
        base_offset: i64,
    ) -> Result<Self, StorageError> {
        let mut path = log.with_extension("index");
        if !is_there(fs, &path)? {
            match kept_aside(fs, &path)? {
                Some(kept) => path = kept,
                None => return Ok(Self::default()),
            }
        }
        let mut source = Window::open(fs, &path)?;
        let len = source.len();
        if len > INDEX_BYTES_MAX {
            return Ok(Self::default());
        }
        let mut bytes = Vec::with_capacity(capped(len));
        source.for_each(0, len, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        let (entries, _) = bytes.as_chunks::<OFFSET_ENTRY_LEN>();
        let mut entries: Vec<(u32, u32)> = entries.iter().map(entry).collect();
        entries.sort_unstable();
        Ok(Self {
            base_offset,
            entries,
        })
    }

    /// Whether the batch at `position` is one of them.
    pub(super) fn know(&self, position: u64, last_offset: i64) -> bool {
        let place = u32::try_from(position).ok();
        let offset = last_offset.checked_sub(self.base_offset);
        let offset = offset.and_then(|offset| u32::try_from(offset).ok());
        let entry = place.zip(offset);
        entry.is_some_and(|entry| self.entries.binary_search(&entry).is_ok())
    }

    /// The first position at or behind `position`.
    pub(super) fn next(&self, position: u64) -> Option<u64> {
        let places = &self.entries;
        let at = places.partition_point(|(place, _)| u64::from(*place) < position);
        places.get(at).map(|(place, _)| u64::from(*place))
    }
}

fn is_there(fs: &dyn FileSystem, path: &Path) -> Result<bool, StorageError> {
    let there = fs.exists(path);
    there.map_err(|error| StorageError::from_io("look up", path, error))
}

/// The newest file with the name of `index` in the folders of the partition that repairs made.
fn kept_aside(fs: &dyn FileSystem, index: &Path) -> Result<Option<PathBuf>, StorageError> {
    let (Some(dir), Some(name)) = (index.parent(), index.file_name()) else {
        return Ok(None);
    };
    let entries = fs.read_dir(dir);
    let entries = entries.map_err(|error| StorageError::from_io("list", dir, error))?;
    let made_ms = |entry: &DirEntry| entry.name.strip_prefix(CUT_OUT)?.parse::<i64>().ok();
    let folders = entries.iter().filter(|entry| entry.is_dir);
    let mut folders: Vec<(i64, &str)> = folders
        .filter_map(|entry| Some((made_ms(entry)?, &*entry.name)))
        .collect();
    folders.sort_unstable();
    for (_, folder) in folders.into_iter().rev() {
        let path = dir.join(folder).join(name);
        if is_there(fs, &path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn entry(bytes: &[u8; OFFSET_ENTRY_LEN]) -> (u32, u32) {
    let [a, b, c, d, position @ ..] = *bytes;
    (
        u32::from_be_bytes(position),
        u32::from_be_bytes([a, b, c, d]),
    )
}
