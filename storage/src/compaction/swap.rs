//! Puts a compacted segment in the place of those it was made from, as Kafka does it, so that a process or
//! the power may end anywhere.
//!
//! 1. The three `.cleaned` files are complete and synced.
//! 2. They are renamed to `.swap`, the `.log` last, and the directory is synced: from here on the swap
//!    is carried out, by this process or by the next start.
//! 3. Readers are shown the new segment. Those who look at the old ones hold them open.
//! 4. The segments after the first leave: their files are renamed to `.deleted`, and the directory is
//!    synced. Otherwise a start could meet them behind a segment that has their records already.
//! 5. The `.swap` files are renamed over those of the first segment, the `.log` last, and the directory is
//!    synced.
//!
//! A start removes `.cleaned` files, and `.swap` files without a `.log.swap` or beside a `.cleaned`: of
//! these the old segments are all there. With a `.log.swap` it does steps 4 and 5.

use std::io::ErrorKind;
use std::path::Path;

use super::rewrite::{CLEANED, CLEANED_FILES, cleaned_path};
use crate::batch_scan::{BatchScan, Expected};
use crate::error::StorageError;
use crate::fs::{DirEntry, OpenMode};
use crate::partition_dir::PartitionDir;
use crate::recovery_files::offset_of;
use crate::segment::{INDEX, LOG, TIME_INDEX};

/// What the name of a complete file ends with whose place another one still has.
pub(crate) const SWAP: &str = ".swap";

/// Step 2. Where the disk has no room for the names, nothing has happened.
pub(crate) fn commit(dir: &PartitionDir, base_offset: i64) -> Result<(), StorageError> {
    for ending in CLEANED_FILES {
        let to = dir.file(base_offset, &format!("{ending}{SWAP}"));
        rename(dir, &cleaned_path(dir, base_offset, ending), &to)?;
    }
    dir.sync()
}

/// Step 5.
pub(crate) fn complete(dir: &PartitionDir, base_offset: i64) -> Result<(), StorageError> {
    for ending in CLEANED_FILES {
        let from = dir.file(base_offset, &format!("{ending}{SWAP}"));
        match dir
            .log_dir()
            .fs()
            .rename(&from, &dir.file(base_offset, ending))
        {
            // A start may have been here before.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            outcome => outcome.map_err(|error| dir.write_failed("rename", &from, error))?,
        }
    }
    dir.sync()
}

/// Removes what an attempt left that did not get through step 2.
pub(crate) fn remove_cleaned(dir: &PartitionDir, base_offset: i64) -> Result<(), StorageError> {
    dir.check_live()?;
    // The `.log.swap` goes first: without it the others are leftovers.
    for ending in CLEANED_FILES.iter().rev() {
        for suffix in [SWAP, CLEANED] {
            dir.remove_file(&dir.file(base_offset, &format!("{ending}{suffix}")))?;
        }
    }
    Ok(())
}

fn rename(dir: &PartitionDir, from: &Path, to: &Path) -> Result<(), StorageError> {
    dir.check_live()?;
    let renamed = dir.log_dir().fs().rename(from, to);
    renamed.map_err(|error| dir.write_failed("rename", from, error))
}

/// What a start does with the swaps that it finds in a partition's directory.
///
/// # Errors
/// `Corrupt` where a `.log.swap` does not end where another segment begins: nothing was changed then.
/// `Io`, `DiskFull`.
pub(crate) fn finish_swaps(dir: &PartitionDir) -> Result<(), StorageError> {
    let entries = dir
        .log_dir()
        .fs()
        .read_dir(dir.path())
        .map_err(|error| StorageError::from_io("list", dir.path(), error))?;
    let named = |ending: &str| {
        let files = entries.iter().filter(|entry| !entry.is_dir);
        let mut offsets: Vec<i64> = files
            .filter_map(|entry| offset_of(&entry.name, ending))
            .collect();
        offsets.sort_unstable();
        offsets
    };
    let first_cleaned = CLEANED_FILES
        .iter()
        .flat_map(|ending| named(&format!("{ending}{CLEANED}")))
        .min();
    let bases = named(LOG);
    for base_offset in named(&format!("{LOG}{SWAP}")) {
        if first_cleaned.is_none_or(|cleaned| base_offset < cleaned) {
            finish_swap(dir, base_offset, &bases)?;
        }
    }
    remove_leftovers(dir, &entries)
}

fn finish_swap(dir: &PartitionDir, base_offset: i64, bases: &[i64]) -> Result<(), StorageError> {
    let end = swap_end(dir, base_offset)?;
    if end <= base_offset || !bases.contains(&end) {
        let path = dir.file(base_offset, &format!("{LOG}{SWAP}"));
        let reason = format!("it ends at offset {end}, where no segment begins");
        return Err(StorageError::corrupt(&path, 0, reason));
    }
    let replaced = bases
        .iter()
        .filter(|base| base_offset < **base && **base < end);
    for base in replaced {
        for ending in [INDEX, TIME_INDEX, LOG] {
            dir.remove_file(&dir.file(*base, ending))?;
        }
    }
    dir.sync()?;
    complete(dir, base_offset)
}

/// The offset after the last one of a `.log.swap`.
fn swap_end(dir: &PartitionDir, base_offset: i64) -> Result<i64, StorageError> {
    let path = dir.file(base_offset, &format!("{LOG}{SWAP}"));
    let failed = |error| StorageError::from_io("read", &path, error);
    let file = dir
        .log_dir()
        .fs()
        .open(&path, OpenMode::Read)
        .map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let mut scan = BatchScan::new(&*file, &path, len, 0);
    let mut expected = Expected {
        base_offset,
        next_offset_max: i64::MAX,
        epoch_min: i32::MIN,
        holes: true,
    };
    while let Some(batch) = scan.next_whole(expected)? {
        expected.base_offset = batch.header.next_offset();
    }
    Ok(expected.base_offset)
}

fn remove_leftovers(dir: &PartitionDir, entries: &[DirEntry]) -> Result<(), StorageError> {
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        if [CLEANED, SWAP]
            .iter()
            .any(|ending| entry.name.ends_with(ending))
        {
            dir.remove_file(&dir.path().join(&entry.name))?;
        }
    }
    Ok(())
}
