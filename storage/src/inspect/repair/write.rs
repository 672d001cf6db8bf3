//! Writes what a survey found to be right.
//!
//! Each segment is replaced alone, so that a process that dies leaves the old one or the new one, and both are
//! what a start takes: the old log and its index get a second name in the folder that keeps what is cut out, so
//! that nothing is ever destroyed, and what is cut out is copied there; the new file is written beside the old one,
//! both are synced; the indexes of the old one go, since they lead to other places of the new one; the new file is
//! renamed over the old one; it gets its indexes. The recovery point moves last, once all of the log is
//! durable. Where the disk is full, or a batch has another CRC when it is copied, the segment that was to be
//! written stays as it is; an error behind that may leave the old one or the new one without indexes.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};
use tidewheel_protocol::{BatchHeader, RecordBatch};

use super::epochs::EpochRun;
use super::labels::Kept;
use super::scan::{CRC_START, Found};
use super::window::{WINDOW_BYTES, Window};
use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile, OpenMode};
use crate::index::{ActiveIndex, NO_TIMESTAMP};
use crate::inspect::layout::segment_file;
use crate::segment::indexed_batch;

/// What a segment is to hold.
#[derive(Debug)]
pub(super) struct NewSegment<'a> {
    pub(super) dir: &'a Path,
    pub(super) base_offset: i64,
    /// The old file and the batches that stay of it, with their epochs.
    pub(super) old: Option<(&'a Path, &'a [Kept], &'a [EpochRun])>,
    /// Whether offsets between batches get an empty one.
    pub(super) filled: bool,
    /// Behind the last batch offsets up to here get an empty one.
    pub(super) fill_to: i64,
    /// The epoch of an empty batch before which there is no other.
    pub(super) epoch: i32,
    /// No empty batch reaches over it.
    pub(super) recovery_point: i64,
    /// `index.interval.bytes` of the topic.
    pub(super) interval_bytes: u32,
}

impl NewSegment<'_> {
    /// Puts it in its place, durably.
    pub(super) fn write(&self, fs: &dyn FileSystem) -> Result<(), StorageError> {
        let path = self.file("log");
        let tmp = path.with_extension("log.tmp");
        let written = self.write_beside(fs, &tmp);
        let index = match written {
            Ok(index) => index,
            Err(error) => {
                // What is left of it after a failure that lasts, a start removes.
                fs.remove_file(&tmp).ok();
                return Err(error);
            }
        };
        for ending in ["index", "timeindex"] {
            remove(fs, &self.file(ending))?;
        }
        checkpoint::sync_parent(fs, &path)?;
        fs.rename(&tmp, &path)
            .map_err(|error| StorageError::from_io("rename", &tmp, error))?;
        checkpoint::sync_parent(fs, &path)?;
        let (offsets, times) = (index.unwritten_offsets(), index.unwritten_times());
        checkpoint::write_atomically(fs, &self.file("index"), offsets.bytes)?;
        checkpoint::write_atomically(fs, &self.file("timeindex"), times.bytes)
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.dir.join(segment_file(self.base_offset, ending))
    }

    fn write_beside(&self, fs: &dyn FileSystem, tmp: &Path) -> Result<ActiveIndex, StorageError> {
        let mut output = Output::create(fs, tmp)?;
        let mut index = ActiveIndex::new(self.base_offset);
        let mut note = |header: &BatchHeader, position| {
            index.batch_appended(&indexed_batch(header, position), self.interval_bytes);
        };
        let (mut expected, mut epoch) = (self.base_offset, self.epoch);
        if let Some((old, kept, epochs)) = self.old {
            let mut source = Window::open(fs, old)?;
            let mut epochs = epochs.iter();
            let (mut run, mut left) = (None, 0);
            for kept in kept {
                if left == 0 {
                    run = epochs.next();
                    left = run.map_or(u64::MAX, |run| run.batches);
                }
                left -= 1;
                let settled = run.map_or(kept.found.leader_epoch, |run| run.settled);
                if self.filled {
                    self.fill((expected, kept.base_offset), epoch, &mut output, &mut note)?;
                }
                epoch = settled;
                let position = output.position();
                let header = output.copy(&mut source, kept, epoch)?;
                note(&header, position);
                expected = kept.next_offset();
            }
        }
        self.fill((expected, self.fill_to), epoch, &mut output, &mut note)?;
        output.finish()?;
        index.seal();
        Ok(index)
    }

    /// Puts an empty batch in the place of offsets, two where the recovery point lies within.
    fn fill(
        &self,
        (from, to): (i64, i64),
        epoch: i32,
        output: &mut Output<'_>,
        note: &mut impl FnMut(&BatchHeader, u64),
    ) -> Result<(), StorageError> {
        let middle = self.recovery_point.clamp(from, to.max(from));
        for (from, to) in [(from, middle), (middle, to)] {
            if from < to {
                let batch = empty_batch(from, to, epoch)?;
                note(&batch.header, output.position());
                output.put(&batch.bytes)?;
            }
        }
        Ok(())
    }
}

/// A batch without records that stands for the offsets `from..to`, as Kafka's compaction leaves them.
fn empty_batch(from: i64, to: i64, epoch: i32) -> Result<RecordBatch, StorageError> {
    let header = BatchHeader {
        base_offset: from,
        batch_length: 0,
        partition_leader_epoch: epoch,
        magic: 2,
        crc: 0,
        attributes: 0,
        // A survey sees to it that it fits.
        last_offset_delta: i32::try_from(to - from - 1).unwrap_or(i32::MAX),
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: NO_TIMESTAMP,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    };
    RecordBatch::assemble(header, &[])
        .map_err(|error| StorageError::invalid_record(error.to_string()))
}

/// A new file that is written from its beginning to its end.
pub(super) struct Output<'a> {
    path: &'a Path,
    file: Arc<dyn LogFile>,
    /// Bytes of the file.
    written: u64,
    /// What follows them.
    buffer: Vec<u8>,
}

impl<'a> Output<'a> {
    pub(super) fn create(fs: &dyn FileSystem, path: &'a Path) -> Result<Self, StorageError> {
        let file = fs.open(path, OpenMode::Create);
        let file = file.map_err(|error| StorageError::from_io("create", path, error))?;
        // A crash may have left a longer one.
        file.set_len(0)
            .map_err(|error| StorageError::from_io("truncate", path, error))?;
        Ok(Self {
            path,
            file,
            written: 0,
            buffer: Vec::new(),
        })
    }

    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WINDOW_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Puts bytes of another file.
    pub(super) fn put_from(
        &mut self,
        source: &mut Window<'_>,
        position: u64,
        end: u64,
    ) -> Result<(), StorageError> {
        source.for_each(position, end, |bytes| self.put(bytes))
    }

    /// Puts a batch, with the offset and epoch that it gets; what is written has the right CRC.
    fn copy(
        &mut self,
        source: &mut Window<'_>,
        kept: &Kept,
        epoch: i32,
    ) -> Result<BatchHeader, StorageError> {
        let start = kept.found.position;
        let header = kept.found.header(source)?;
        let header = BatchHeader {
            base_offset: kept.base_offset,
            partition_leader_epoch: epoch,
            ..header
        };
        let bytes = header.encode();
        self.put(&bytes)?;
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&bytes[CRC_START..]);
        source.for_each(start + bytes.len() as u64, kept.found.end(), |bytes| {
            digest.update(bytes);
            self.put(bytes)
        })?;
        match digest.finalize() == u64::from(kept.found.crc) {
            true => Ok(header),
            // It was right before: the disk delivers this and that.
            false => Err(unsteady(source, &kept.found)),
        }
    }

    fn write(&mut self) -> Result<(), StorageError> {
        self.file
            .write_all_at(&[IoSlice::new(&self.buffer)], self.written)
            .map_err(|error| StorageError::from_io("write", self.path, error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes its bytes durable; the name is the caller's.
    pub(super) fn finish(mut self) -> Result<(), StorageError> {
        if !self.buffer.is_empty() {
            self.write()?;
        }
        self.file
            .sync_data()
            .map_err(|error| StorageError::from_io("sync", self.path, error))
    }
}

fn unsteady(source: &Window<'_>, found: &Found) -> StorageError {
    let reason = "a batch that was whole is not when it is copied, so nothing is changed";
    StorageError::corrupt(source.path(), found.position, reason)
}

/// Removes a file, where it is there.
pub(super) fn remove(fs: &dyn FileSystem, path: &Path) -> Result<(), StorageError> {
    match fs.remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StorageError::from_io("remove", path, error))
        }
        _ => Ok(()),
    }
}
