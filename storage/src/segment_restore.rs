//! Brings a segment's indexes back into memory from their files and the few batches after the last
//! entry.
//!
//! Files may hold more entries than are taken over: those of bytes that were lost, or the final
//! time entry of a clean stop. They are cut off before anything new is written behind them, because
//! an old entry beyond a new one could otherwise be believed at the next start.

use std::io::ErrorKind;
use std::path::Path;

use crate::checkpoint::read_small;
use crate::error::StorageError;
use crate::fs::OpenMode;
use crate::index::{
    ActiveIndex, NO_TIMESTAMP, OFFSET_ENTRY_LEN, OffsetIndex, OffsetPosition, TIME_ENTRY_LEN,
    TimeIndex, TimestampOffset, Unwritten,
};
use crate::partition_dir::PartitionDir;
use crate::segment::{INDEX, LogSegment, SegmentIndex, TIME_INDEX, indexed_batch};

/// Readies the indexes of a segment that is to be written again. `log_end` is the offset after its
/// last record.
pub(crate) fn restore_active(
    segment: &LogSegment,
    log_end: i64,
    interval_bytes: u32,
) -> Result<(), StorageError> {
    let len = segment.published_len();
    let end = OffsetPosition {
        offset: log_end,
        position: u32::try_from(len).unwrap_or(u32::MAX),
    };
    let mut index = restore_index(segment.dir(), segment.base_offset(), end)?;
    if let Some(last) = index.offset_index().last()
        && !segment.agrees((last, None))?
    {
        index = ActiveIndex::new(segment.base_offset());
    }
    segment.walk(
        u64::from(index.resume_position()),
        len,
        |position, header| {
            if header.last_offset() >= log_end {
                let reason = format!("offset {} before {log_end}", header.last_offset());
                return Err(segment.corrupt(position, &reason));
            }
            index.batch_appended(&indexed_batch(header, position), interval_bytes);
            Ok(true)
        },
    )?;
    cut_index_files(segment.dir(), segment.base_offset(), &index)?;
    segment.set_index(SegmentIndex::Memory(index));
    Ok(())
}

/// The indexes as their files have them below `end`. The caller feeds the batches from
/// `resume_position` on, then calls [`cut_index_files`].
pub(crate) fn restore_index(
    dir: &PartitionDir,
    base_offset: i64,
    end: OffsetPosition,
) -> Result<ActiveIndex, StorageError> {
    let fs = dir.log_dir().fs();
    let offsets = read_small(fs, &dir.file(base_offset, INDEX))?.unwrap_or_default();
    let times = read_small(fs, &dir.file(base_offset, TIME_INDEX))?.unwrap_or_default();
    Ok(ActiveIndex::restore(base_offset, &offsets, &times, end))
}

/// The position of the batch of the last offset index entry (0 without one), and the last time
/// entry, of a segment that was sealed. `None` where a file is missing or no whole number of entries.
pub(crate) fn last_entries(
    dir: &PartitionDir,
    base_offset: i64,
) -> Result<Option<(u64, TimestampOffset)>, StorageError> {
    let offsets = last_bytes::<OFFSET_ENTRY_LEN>(dir, &dir.file(base_offset, INDEX))?;
    let times = last_bytes::<TIME_ENTRY_LEN>(dir, &dir.file(base_offset, TIME_INDEX))?;
    let (Some(offsets), Some(times)) = (offsets, times) else {
        return Ok(None);
    };
    let (Ok(offsets), Ok(times)) = (
        OffsetIndex::open(base_offset, &offsets, u64::MAX),
        TimeIndex::open(base_offset, &times),
    ) else {
        return Ok(None);
    };
    let no_time = TimestampOffset {
        timestamp: NO_TIMESTAMP,
        offset: base_offset,
    };
    let position = offsets.last().map_or(0, |last| u64::from(last.position));
    Ok(Some((position, times.last().unwrap_or(no_time))))
}

/// The last entry of an index file as bytes, empty where it has none.
fn last_bytes<const LEN: usize>(
    dir: &PartitionDir,
    path: &Path,
) -> Result<Option<Vec<u8>>, StorageError> {
    let failed = |error| StorageError::from_io("read", path, error);
    let file = match dir.log_dir().fs().open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let len = file.len().map_err(failed)?;
    let entry_len = LEN as u64;
    if len % entry_len != 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; if len == 0 { 0 } else { LEN }];
    file.read_exact_at(&mut bytes, len.saturating_sub(entry_len))
        .map_err(failed)?;
    Ok(Some(bytes))
}

/// Cuts both index files to the entries that `index` counts as written.
pub(crate) fn cut_index_files(
    dir: &PartitionDir,
    base_offset: i64,
    index: &ActiveIndex,
) -> Result<(), StorageError> {
    let written = |unwritten: Unwritten<'_>| unwritten.position;
    cut(
        dir,
        &dir.file(base_offset, INDEX),
        written(index.unwritten_offsets()),
    )?;
    cut(
        dir,
        &dir.file(base_offset, TIME_INDEX),
        written(index.unwritten_times()),
    )
}

fn cut(dir: &PartitionDir, path: &Path, len: u64) -> Result<(), StorageError> {
    let fs = dir.log_dir().fs();
    let failed = |error| StorageError::from_io("look up", path, error);
    if !fs.exists(path).map_err(failed)? {
        return Ok(());
    }
    let file = fs.open(path, OpenMode::ReadWrite).map_err(failed)?;
    if file.len().map_err(failed)? > len {
        file.set_len(len)
            .map_err(|error| dir.write_failed("truncate", path, error))?;
        file.sync_data()
            .map_err(|error| dir.sync_failed(path, error))?;
    }
    Ok(())
}
