//! The checkpoint of one log: what must be on the disk before its recovery point may move.
//!
//! The plan is one consistent cut, taken under the log's mutex; it is carried out without the mutex,
//! beside appends. In this order:
//! 1. what was preallocated behind sealed segments (and a leftover of a failed write) is cut off;
//! 2. the data files are synced;
//! 3. the index files get their entries and are synced;
//! 4. producer snapshots are written: those at the ends of sealed segments, then the one at the cut;
//! 5. the leader epochs are written;
//! 6. the directory is synced once, for all these names: everything before the cut is durable.
//!
//! Only then may the recovery point of the log directory move to the cut, because recovery trusts
//! everything below it unseen: data, index entries, the snapshot at that very offset, epochs. A crash
//! before that leaves the old recovery point, and recovery drops what the checkpoint had written
//! beyond it. A full disk stops the checkpoint anywhere; nothing is noted as written, so the next
//! one starts over with the same positions.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::StorageError;
use crate::fs::OpenMode;
use crate::index::{ActiveIndex, Unwritten};
use crate::leader_epochs::LEADER_EPOCH_CHECKPOINT;
use crate::partition_dir::PartitionDir;
use crate::segment::{INDEX, LogSegment, SNAPSHOT, TIME_INDEX};
use crate::segment_file::SegmentFile;
use crate::segments::{FlushPlan, Segments, Unsealed};

/// What one checkpoint of a log writes.
#[derive(Debug)]
pub(crate) struct CheckpointPlan {
    /// The data; its point is the cut.
    pub(crate) flush: FlushPlan,
    cuts: Vec<(Arc<SegmentFile>, u64)>,
    indexes: Vec<IndexWrite>,
    snapshots: Vec<(i64, Arc<[u8]>)>,
    epochs: Option<String>,
    unsealed: Vec<Unsealed>,
}

/// What both index files of a segment lack.
#[derive(Debug)]
struct IndexWrite {
    segment: Arc<LogSegment>,
    offsets: FileWrite,
    times: FileWrite,
}

#[derive(Debug)]
struct FileWrite {
    path: PathBuf,
    position: u64,
    bytes: Vec<u8>,
}

impl CheckpointPlan {
    /// Collects what is to be written. `snapshot` is the one at the cut, where
    /// it is not on the disk already.
    pub(crate) fn new(
        segments: &Segments,
        flush: FlushPlan,
        snapshot: Option<(i64, Arc<[u8]>)>,
        epochs: Option<String>,
        closing: bool,
    ) -> Self {
        let unsealed = segments.unsealed().to_vec();
        let mut cuts = Vec::new();
        let mut indexes = Vec::new();
        let mut snapshots = Vec::new();
        for sealed in &unsealed {
            cuts.extend(
                sealed
                    .file
                    .iter()
                    .map(|file| (Arc::clone(file), sealed.segment.published_len())),
            );
            indexes.extend(IndexWrite::of(&sealed.segment));
            snapshots.extend(sealed.snapshot.clone());
        }
        let active = segments.list().active();
        if closing {
            active.with_memory_index(ActiveIndex::seal);
            cuts.extend(
                segments
                    .writer_file()
                    .map(|file| (file, active.published_len())),
            );
        }
        indexes.extend(IndexWrite::of(active));
        if let Some(last) = snapshot {
            snapshots.retain(|(offset, _)| *offset != last.0);
            snapshots.push(last);
        }
        Self {
            flush,
            cuts,
            indexes,
            snapshots,
            epochs,
            unsealed,
        }
    }

    /// The offset to which the recovery point may move once this is done.
    pub(crate) fn recovery_point(&self) -> i64 {
        self.flush.point.offset
    }

    /// The offsets of the snapshots that are written.
    pub(crate) fn snapshot_offsets(&self) -> impl Iterator<Item = i64> {
        self.snapshots.iter().map(|(offset, _)| *offset)
    }

    /// Whether it writes these leader epochs.
    pub(crate) fn has_epochs(&self, encoded: &str) -> bool {
        self.epochs.as_deref() == Some(encoded)
    }

    /// Carries the plan out, in the order of the module head. Returns whether the directory was synced.
    pub(crate) fn execute(&self, dir: &PartitionDir) -> Result<bool, StorageError> {
        for (file, len) in &self.cuts {
            self.cut(dir, file, *len)?;
        }
        self.flush.sync_files(dir)?;
        for index in &self.indexes {
            index.offsets.execute(dir)?;
            index.times.execute(dir)?;
        }
        for (offset, bytes) in &self.snapshots {
            dir.replace_unnamed(&dir.file(*offset, SNAPSHOT), bytes)?;
        }
        if let Some(epochs) = &self.epochs {
            let path = dir.path().join(LEADER_EPOCH_CHECKPOINT);
            dir.replace_unnamed(&path, epochs.as_bytes())?;
        }
        if self.flush.has_new_files() {
            dir.sync()?;
        } else if self.snapshots.is_empty() && self.epochs.is_none() {
            return Ok(false);
        } else {
            dir.sync_entries()?;
        }
        Ok(true)
    }

    /// Ends a file at `len`. Blocks that are reserved behind its end say nothing after a power cut; bytes do.
    fn cut(
        &self,
        dir: &PartitionDir,
        file: &Arc<SegmentFile>,
        len: u64,
    ) -> Result<(), StorageError> {
        let opened = file.file();
        let found = opened.len();
        let found = found.map_err(|error| StorageError::from_io("look up", file.path(), error))?;
        let cut = opened.set_len(len);
        cut.map_err(|error| dir.write_failed("truncate", file.path(), error))?;
        if found > len && !self.flush.syncs(file) {
            dir.sync_data(file.path(), &**opened)?;
        }
        Ok(())
    }

    /// Notes in memory what the files have now.
    pub(crate) fn note_written(&self, segments: &mut Segments) {
        for index in &self.indexes {
            let (offsets, times) = (index.offsets.end(), index.times.end());
            index
                .segment
                .with_memory_index(|index| index.mark_written(offsets, times));
        }
        segments.sealed(&self.unsealed);
    }
}

impl IndexWrite {
    /// `None` where the index is not in memory: its files are complete then.
    fn of(segment: &Arc<LogSegment>) -> Option<Self> {
        let write = |ending, unwritten: Unwritten<'_>| FileWrite {
            path: segment.dir().file(segment.base_offset(), ending),
            position: unwritten.position,
            bytes: unwritten.bytes.to_vec(),
        };
        segment.with_memory_index(|index| Self {
            segment: Arc::clone(segment),
            offsets: write(INDEX, index.unwritten_offsets()),
            times: write(TIME_INDEX, index.unwritten_times()),
        })
    }
}

impl FileWrite {
    fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }

    /// Makes the file if it is missing, also where there is nothing to write yet.
    fn execute(&self, dir: &PartitionDir) -> Result<(), StorageError> {
        dir.check_live()?;
        if self.position > 0 && self.bytes.is_empty() {
            return Ok(());
        }
        let file = dir.log_dir().fs().open(&self.path, OpenMode::Create);
        let file = file.map_err(|error| dir.open_failed(&self.path, error))?;
        let len = file
            .len()
            .map_err(|error| StorageError::from_io("look up", &self.path, error))?;
        if len > self.position {
            // What a checkpoint left that did not get through.
            file.set_len(self.position)
                .map_err(|error| dir.write_failed("truncate", &self.path, error))?;
        }
        file.write_all_at(&[IoSlice::new(&self.bytes)], self.position)
            .map_err(|error| dir.write_failed("write", &self.path, error))?;
        file.sync_data()
            .map_err(|error| dir.sync_failed(&self.path, error))
    }
}
