//! Reads a run of segments and writes what stays of them into `.cleaned` files, which nobody reads yet.
//!
//! The last batch of the run is kept, without records if need be, so that a segment ends exactly where the
//! next one begins: a start knows a lost tail by that.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use tidewheel_config::LogConfig;
use tidewheel_protocol::{BatchHeader, RecordBatch};

use super::choice::Group;
use super::filter::{Filter, Kept};
use super::{Pace, paced};
use crate::batch_scan::BatchScan;
use crate::error::StorageError;
use crate::fs::{LogFile, OpenMode};
use crate::index::{ActiveIndex, NO_TIMESTAMP};
use crate::manifest::SegmentManifest;
use crate::partition_dir::PartitionDir;
use crate::segment::{INDEX, LOG, LogSegment, TIME_INDEX, indexed_batch};

/// What the name of a file ends with that is being written.
pub(crate) const CLEANED: &str = ".cleaned";
/// The files of a compacted segment; the data comes last wherever their order counts.
pub(crate) const CLEANED_FILES: [&str; 3] = [INDEX, TIME_INDEX, LOG];
/// Bytes that one write takes.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes after which the file is synced, so that the disk never has to take all of it at once while
/// producers wait for their own syncs.
const SYNC_BYTES: u64 = 16 << 20;
/// Where a file's length would no longer fit Kafka's signed 32-bit positions.
const LOG_BYTES_MAX: u64 = i32::MAX as u64;

/// A segment in `.cleaned` files, complete and durable.
#[derive(Debug)]
pub(crate) struct CleanedSegment {
    /// What it holds.
    pub(crate) entry: SegmentManifest,
    /// Its open data file.
    pub(crate) file: Arc<dyn LogFile>,
    /// Its indexes, as they lie in its files.
    pub(crate) index: ActiveIndex,
    /// The first delete horizon that has not come yet, ms since 1970.
    pub(crate) horizon_ms: Option<i64>,
    /// Whether anything left.
    pub(crate) changed: bool,
}

/// What came of a batch that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visited {
    /// So many bytes were written; the next batch follows.
    Wrote(u64),
    /// No batch after it is wanted.
    Stop,
}

/// Calls `visit` with the batches of a sealed segment from the one that holds `from` on, until it wants
/// no more. Every byte is checked.
pub(crate) fn for_each_batch(
    segment: &LogSegment,
    end: i64,
    from: i64,
    pace: &mut Pace<'_>,
    mut visit: impl FnMut(&RecordBatch) -> Result<Visited, StorageError>,
) -> Result<(), StorageError> {
    let position = u64::from(segment.lookup(from)?.position);
    let file = segment.file()?;
    let len = segment.published_len();
    let scan = BatchScan::new(&**file.file(), file.path(), len, position);
    scan.for_each_sealed(segment.base_offset(), end, |batch| match visit(batch)? {
        Visited::Wrote(bytes) => {
            paced(pace, batch.bytes.len() as u64 + bytes)?;
            Ok(true)
        }
        Visited::Stop => Ok(false),
    })
}

/// Writes what `filter` leaves of `group` into `.cleaned` files and makes them durable.
///
/// # Errors
/// `Corrupt` for a batch that cannot be read; `Closed` where `pace` ends the work; `PartitionDeleted`,
/// `DiskFull`, `Io`. What was written so far lies around, see [`super::swap::remove_cleaned`].
pub(crate) fn rewrite(
    dir: &Arc<PartitionDir>,
    group: &Group,
    filter: &Filter<'_>,
    config: &LogConfig,
    files: CleanedFiles,
    pace: &mut Pace<'_>,
) -> Result<CleanedSegment, StorageError> {
    let mut out = Output::new(
        dir,
        group.segments[0].base_offset(),
        files,
        config,
        filter.now_ms,
    );
    for (at, segment) in group.segments.iter().enumerate() {
        let next = group.segments.get(at + 1);
        let end = next.map_or(group.end, |next| next.base_offset());
        for_each_batch(segment, end, segment.base_offset(), pace, |batch| {
            let ends_segment = batch.header.next_offset() == group.end;
            let kept = filter.filter(batch, ends_segment).map_err(|error| {
                let what = format!("at offset {}: {error}", batch.header.base_offset);
                StorageError::corrupt(&segment.log_path(), 0, what)
            })?;
            out.changed |= kept != Kept::Whole;
            match &kept {
                Kept::Whole => out.push(batch),
                Kept::Part(part) => out.push(part),
                Kept::Nothing => Ok(Visited::Wrote(0)),
            }
        })?;
    }
    out.finish(group)
}

/// The files that are being written.
#[derive(Debug)]
struct Output<'a> {
    dir: &'a Arc<PartitionDir>,
    entry: SegmentManifest,
    path: PathBuf,
    files: CleanedFiles,
    buffer: Vec<u8>,
    /// Bytes in the file; those in the buffer follow.
    written: u64,
    synced: u64,
    index: ActiveIndex,
    interval_bytes: u32,
    now_ms: i64,
    horizon_ms: Option<i64>,
    changed: bool,
}

impl<'a> Output<'a> {
    fn new(
        dir: &'a Arc<PartitionDir>,
        base_offset: i64,
        files: CleanedFiles,
        config: &LogConfig,
        now_ms: i64,
    ) -> Self {
        Self {
            dir,
            entry: SegmentManifest {
                base_offset,
                log_bytes: 0,
                max_timestamp: NO_TIMESTAMP,
                offset_of_max_timestamp: base_offset,
                first_timestamp: NO_TIMESTAMP,
            },
            path: cleaned_path(dir, base_offset, LOG),
            files,
            buffer: Vec::with_capacity(WRITE_BYTES),
            written: 0,
            synced: 0,
            index: ActiveIndex::new(base_offset),
            interval_bytes: config.index_interval_bytes,
            now_ms,
            horizon_ms: None,
            changed: false,
        }
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<Visited, StorageError> {
        let position = self.written + self.buffer.len() as u64;
        if position + batch.bytes.len() as u64 > LOG_BYTES_MAX {
            // Only records that take more room than their producer's codec gave them get here.
            let reason = "what stays of it does not fit one segment";
            return Err(StorageError::corrupt(&self.path, position, reason));
        }
        let header = &batch.header;
        if position == 0 {
            self.entry.first_timestamp = header.max_timestamp;
        }
        self.note_horizon(header);
        self.index
            .batch_appended(&indexed_batch(header, position), self.interval_bytes);
        self.buffer.extend_from_slice(&batch.bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(Visited::Wrote(batch.bytes.len() as u64))
    }

    fn note_horizon(&mut self, header: &BatchHeader) {
        if header.has_delete_horizon() && header.base_timestamp > self.now_ms {
            let horizon = self.horizon_ms.unwrap_or(i64::MAX);
            self.horizon_ms = Some(horizon.min(header.base_timestamp));
        }
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.dir.check_live()?;
        let parts = [IoSlice::new(&self.buffer)];
        self.files
            .log
            .write_all_at(&parts, self.written)
            .map_err(|error| self.dir.write_failed("write", &self.path, error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    /// Where no record has a timestamp, retention goes by when the file was written: when the last of its
    /// records came, not when they were compacted.
    fn keep_age(&self, group: &Group) {
        let last = group.segments.last().and_then(|last| last.file().ok());
        if let Some(modified_ms) = last.and_then(|last| last.file().modified_ms().ok()) {
            // Without it they only stay longer.
            self.files.log.set_modified_ms(modified_ms).ok();
        }
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.files
            .log
            .sync_data()
            .map_err(|error| self.dir.sync_failed(&self.path, error))?;
        self.synced = self.written;
        Ok(())
    }

    fn finish(mut self, group: &Group) -> Result<CleanedSegment, StorageError> {
        self.flush()?;
        self.index.seal();
        let max = self.index.max_timestamp();
        self.entry.log_bytes = self.written;
        self.entry.max_timestamp = max.timestamp;
        self.entry.offset_of_max_timestamp = max.offset;
        let changed = self.changed || group.segments.len() > 1;
        if changed {
            self.keep_age(group);
            self.sync()?;
            let [offsets, times] = [&self.files.index, &self.files.time_index];
            self.write_index(offsets, INDEX, self.index.unwritten_offsets().bytes)?;
            self.write_index(times, TIME_INDEX, self.index.unwritten_times().bytes)?;
        }
        Ok(CleanedSegment {
            entry: self.entry,
            file: self.files.log,
            index: self.index,
            horizon_ms: self.horizon_ms,
            changed,
        })
    }

    fn write_index(
        &self,
        file: &Arc<dyn LogFile>,
        ending: &str,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let path = cleaned_path(self.dir, self.entry.base_offset, ending);
        file.write_all_at(&[IoSlice::new(bytes)], 0)
            .map_err(|error| self.dir.write_failed("write", &path, error))?;
        file.sync_data()
            .map_err(|error| self.dir.sync_failed(&path, error))
    }
}

/// Where a `.cleaned` file lies.
pub(crate) fn cleaned_path(dir: &PartitionDir, base_offset: i64, ending: &str) -> PathBuf {
    dir.file(base_offset, &format!("{ending}{CLEANED}"))
}

/// The empty files that a compacted segment is written to.
#[derive(Debug)]
pub(crate) struct CleanedFiles {
    index: Arc<dyn LogFile>,
    time_index: Arc<dyn LogFile>,
    log: Arc<dyn LogFile>,
}

impl CleanedFiles {
    /// Makes them. The caller keeps the partition from being deleted meanwhile.
    pub(crate) fn create(dir: &PartitionDir, base_offset: i64) -> Result<Self, StorageError> {
        dir.check_live()?;
        let create = |ending| {
            let path = cleaned_path(dir, base_offset, ending);
            let file = dir.log_dir().fs().open(&path, OpenMode::Create);
            let file = file.map_err(|error| dir.open_failed(&path, error))?;
            // An attempt that was given up may have left a part of it.
            file.set_len(0)
                .map_err(|error| dir.write_failed("truncate", &path, error))?;
            Ok(file)
        };
        Ok(Self {
            index: create(INDEX)?,
            time_index: create(TIME_INDEX)?,
            log: create(LOG)?,
        })
    }
}
