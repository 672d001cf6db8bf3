//! Shows what files hold, also where it is wrong.

use std::path::Path;

use tidewheel_config::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use tidewheel_protocol::RecordBatch;

use super::entry::{BatchEntry, DumpEntry};
use super::layout::FileKind;
use super::log_file::{LogFileReader, Step};
use super::verify_index::{OFFSET_ENTRY_LEN, OffsetEntry, TIME_ENTRY_LEN, TimeEntry};
use super::{Target, lock};
use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::leader_epochs::LeaderEpochs;
use crate::{manifest, partition_metadata, producer_snapshot, sealed_checkpoints};

/// What a dump shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct DumpOptions {
    /// Whether records are shown, not only their batches.
    pub records: bool,
}

/// Shows a data directory, a partition directory or a single file, entry by entry. What cannot be
/// read is shown as [`DumpEntry::Unreadable`], and the next file follows.
///
/// # Errors
/// `DirectoryInUse` where a broker runs on the data directory, `Io` where something cannot be
/// read at all.
pub fn dump(
    fs: &dyn FileSystem,
    path: &Path,
    options: DumpOptions,
    out: &mut dyn FnMut(DumpEntry),
) -> Result<(), StorageError> {
    let target = Target::find(fs, path)?;
    let _lock = lock(fs, target.data_dir(fs).as_deref())?;
    let mut dumper = Dumper { fs, options, out };
    match target {
        Target::File(path) => dumper.file(&path),
        Target::PartitionDir(path) | Target::DataDir(path) => dumper.directory(&path),
    }
}

struct Dumper<'a> {
    fs: &'a dyn FileSystem,
    options: DumpOptions,
    out: &'a mut dyn FnMut(DumpEntry),
}

impl Dumper<'_> {
    fn directory(&mut self, path: &Path) -> Result<(), StorageError> {
        let failed = |error| StorageError::from_io("list", path, error);
        for entry in self.fs.read_dir(path).map_err(failed)? {
            let below = path.join(&entry.name);
            match (entry.is_dir, FileKind::of(&entry.name)) {
                (true, _) => self.partition_directory(&below)?,
                (_, FileKind::Directories | FileKind::Marker | FileKind::Unknown) => {}
                _ => self.file(&below)?,
            }
        }
        Ok(())
    }

    fn partition_directory(&mut self, path: &Path) -> Result<(), StorageError> {
        let failed = |error| StorageError::from_io("list", path, error);
        for entry in self.fs.read_dir(path).map_err(failed)? {
            if !entry.is_dir && FileKind::of(&entry.name) != FileKind::Unknown {
                self.file(&path.join(&entry.name))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), StorageError> {
        let kind = FileKind::of_path(path);
        let failed = |error| StorageError::from_io("open", path, error);
        let file = self
            .fs
            .open(path, crate::fs::OpenMode::Read)
            .map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        (self.out)(DumpEntry::File {
            file: path.to_path_buf(),
            kind: kind.name(),
            bytes,
        });
        match self.content(kind, path) {
            Err(StorageError::Corrupt {
                position, reason, ..
            }) => {
                (self.out)(DumpEntry::Unreadable {
                    position,
                    what: reason,
                });
                Ok(())
            }
            other => other,
        }
    }

    fn content(&mut self, kind: FileKind, path: &Path) -> Result<(), StorageError> {
        let dir = path.parent().unwrap_or(path);
        match kind {
            FileKind::Log(_) => self.log(path),
            FileKind::OffsetIndex(base_offset) => self.offset_index(path, base_offset),
            FileKind::TimeIndex(base_offset) => self.time_index(path, base_offset),
            FileKind::Snapshot(_) => self.snapshot(path),
            FileKind::LeaderEpochs => {
                let bytes = self.small(path)?;
                for entry in LeaderEpochs::decode(path, &bytes)?.entries() {
                    let (epoch, start_offset) = (entry.epoch, entry.start_offset);
                    (self.out)(DumpEntry::LeaderEpoch {
                        epoch,
                        start_offset,
                    });
                }
                Ok(())
            }
            FileKind::PartitionMetadata => {
                if let Some(id) = partition_metadata::read(self.fs, dir)? {
                    (self.out)(DumpEntry::PartitionMetadata {
                        topic_id: id.to_string(),
                    });
                }
                Ok(())
            }
            FileKind::OffsetCheckpoint => self.offset_checkpoint(path),
            FileKind::SealedCheckpoints => self.sealed_checkpoints(dir),
            FileKind::MetaProperties => self.properties(path),
            FileKind::Manifest => {
                let manifest = manifest::read(self.fs, dir)?.unwrap_or_default();
                for partition in manifest.partitions {
                    (self.out)(DumpEntry::ManifestPartition(Box::new(partition)));
                }
                Ok(())
            }
            FileKind::Directories | FileKind::Marker | FileKind::Leftover | FileKind::Unknown => {
                Ok(())
            }
        }
    }

    fn log(&mut self, path: &Path) -> Result<(), StorageError> {
        let mut reader = LogFileReader::open(self.fs, path)?;
        while let Some((position, step)) = reader.next()? {
            match step {
                Step::Batch(batch) => {
                    (self.out)(DumpEntry::Batch(BatchEntry::new(
                        position,
                        &batch.header,
                        true,
                    )));
                    if self.options.records {
                        self.records(position, &batch);
                    }
                }
                Step::BadCrc { header, .. } => {
                    (self.out)(DumpEntry::Batch(BatchEntry::new(position, &header, false)));
                }
                Step::Unreadable(what) => (self.out)(DumpEntry::Unreadable { position, what }),
            }
        }
        Ok(())
    }

    fn records(&mut self, position: u64, batch: &RecordBatch) {
        let records = match batch.records(DECOMPRESSED_BATCH_BYTES_MAX) {
            Ok(records) => records,
            Err(error) => {
                (self.out)(DumpEntry::Unreadable {
                    position,
                    what: error.to_string(),
                });
                return;
            }
        };
        for record in records {
            (self.out)(match record {
                Ok(record) => DumpEntry::Record(record.into()),
                Err(error) => DumpEntry::Unreadable {
                    position,
                    what: error.to_string(),
                },
            });
        }
    }

    fn offset_index(&mut self, path: &Path, base_offset: i64) -> Result<(), StorageError> {
        let bytes = self.small(path)?;
        for (number, chunk) in bytes.chunks(OFFSET_ENTRY_LEN).enumerate() {
            (self.out)(match OffsetEntry::read(base_offset, chunk) {
                Some(OffsetEntry { offset, position }) => {
                    DumpEntry::OffsetIndex { offset, position }
                }
                None => unreadable_entry(number * OFFSET_ENTRY_LEN, chunk),
            });
        }
        Ok(())
    }

    fn time_index(&mut self, path: &Path, base_offset: i64) -> Result<(), StorageError> {
        let bytes = self.small(path)?;
        for (number, chunk) in bytes.chunks(TIME_ENTRY_LEN).enumerate() {
            (self.out)(match TimeEntry::read(base_offset, chunk) {
                Some(TimeEntry { timestamp, offset }) => DumpEntry::TimeIndex { timestamp, offset },
                None => unreadable_entry(number * TIME_ENTRY_LEN, chunk),
            });
        }
        Ok(())
    }

    fn offset_checkpoint(&mut self, path: &Path) -> Result<(), StorageError> {
        let mut offsets: Vec<_> = checkpoint::read_offsets(self.fs, path)?
            .into_iter()
            .collect();
        offsets.sort();
        for (tp, offset) in offsets {
            let (topic, partition) = (tp.topic.to_string(), tp.partition);
            (self.out)(DumpEntry::CheckpointedOffset {
                topic,
                partition,
                offset,
            });
        }
        Ok(())
    }

    fn sealed_checkpoints(&mut self, dir: &Path) -> Result<(), StorageError> {
        let noted = sealed_checkpoints::read(self.fs, dir)?.unwrap_or_default();
        let mut noted: Vec<_> = noted.into_iter().collect();
        noted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (tp, offsets) in noted {
            (self.out)(DumpEntry::CheckpointedOffsets {
                topic: tp.topic.to_string(),
                partition: tp.partition,
                recovery_point: offsets.recovery_point,
                log_start: offsets.log_start,
                high_watermark: offsets.high_watermark,
                compacted_to: offsets.cleaned.map(|cleaned| cleaned.to),
                horizon_ms: offsets.cleaned.and_then(|cleaned| cleaned.horizon_ms),
                held_back_by: offsets.cleaned.and_then(|cleaned| cleaned.held_back_by),
            });
        }
        Ok(())
    }

    fn properties(&mut self, path: &Path) -> Result<(), StorageError> {
        let bytes = self.small(path)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (key, value) in lines.filter_map(|line| line.split_once('=')) {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            (self.out)(DumpEntry::Property { key, value });
        }
        Ok(())
    }

    fn snapshot(&mut self, path: &Path) -> Result<(), StorageError> {
        let bytes = self.small(path)?;
        // Nothing expires here: what the file says is shown.
        for (producer_id, producer) in producer_snapshot::decode(path, &bytes, i64::MAX)?.sorted() {
            let batches = producer.batches().iter().map(|batch| {
                let (first, last) = (batch.first_sequence(), batch.last_sequence);
                [
                    first.into(),
                    last.into(),
                    batch.first_offset(),
                    batch.last_offset,
                ]
            });
            (self.out)(DumpEntry::Producer {
                producer_id,
                producer_epoch: producer.epoch,
                last_append_ms: producer.last_append_ms,
                batches: batches.collect(),
            });
        }
        Ok(())
    }

    fn small(&self, path: &Path) -> Result<Vec<u8>, StorageError> {
        Ok(checkpoint::read_small(self.fs, path)?.unwrap_or_default())
    }
}

fn unreadable_entry(position: usize, bytes: &[u8]) -> DumpEntry {
    DumpEntry::Unreadable {
        position: position as u64,
        what: format!("no index entry: {bytes:02x?}"),
    }
}
