//! Makes indexes anew from the batches that they lead to: the only part of the debugger that writes.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::finding::{Finding, Report, Severity};
use super::layout::{FileKind, segment_file};
use super::log_file::{LogFileReader, Step};
use super::verify_dir::verify_target;
use super::{Target, lock};
use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::index::{ActiveIndex, offset_fits};
use crate::segment::indexed_batch;

/// How [`reindex`] works.
#[derive(Clone, Copy, Debug)]
pub struct ReindexOptions {
    /// `index.interval.bytes` of the topic: a batch gets an entry about so often.
    pub interval_bytes: u32,
    /// Only say what would be written.
    pub dry_run: bool,
}

/// What became of a segment whose indexes were found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReindexedSegment {
    /// Its `.log` file.
    pub file: PathBuf,
    /// What was done.
    #[serde(flatten)]
    pub outcome: Reindexed,
}

/// See [`ReindexedSegment`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Reindexed {
    /// Both indexes were replaced, or would be.
    Rebuilt {
        /// Entries of the `.index` file.
        offset_entries: usize,
        /// Entries of the `.timeindex` file.
        time_entries: usize,
    },
    /// Left as it is: the batches themselves are damaged.
    Damaged {
        /// Bytes from the start of the file.
        position: u64,
        /// A clause that says what is wrong.
        what: String,
    },
}

impl fmt::Display for ReindexedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.outcome {
            Reindexed::Rebuilt {
                offset_entries,
                time_entries,
            } => write!(
                f,
                "rebuilt: {file}: {offset_entries} offset entries, {time_entries} time entries"
            ),
            Reindexed::Damaged { position, what } => {
                write!(f, "left: {file} is damaged at byte {position}: {what}")
            }
        }
    }
}

/// Replaces the indexes of a data directory or of one partition that [`super::verify`] finds damaged or
/// missing, each as a whole, and tells `out` of every such segment. A segment whose batches are damaged
/// is left alone, as is what a crash explains: the next start repairs that.
///
/// # Errors
/// `DirectoryInUse` where a broker runs on the data directory; `Io`, `DiskFull`.
pub fn reindex(
    fs: &dyn FileSystem,
    path: &Path,
    options: ReindexOptions,
    out: &mut dyn FnMut(ReindexedSegment),
) -> Result<(), StorageError> {
    let target = Target::find(fs, path)?;
    let data_dir = target.data_dir(fs);
    let _lock = lock(fs, data_dir.as_deref())?;
    let mut wrong = BTreeSet::new();
    let mut note = |finding: Finding| {
        let name = finding.file.file_name().and_then(|name| name.to_str());
        let kind = FileKind::of(name.unwrap_or_default());
        if let FileKind::OffsetIndex(base_offset) | FileKind::TimeIndex(base_offset) = kind
            && finding.severity == Severity::Damage
            && let Some(dir) = finding.file.parent()
        {
            wrong.insert((dir.to_path_buf(), base_offset));
        }
    };
    let mut report = Report::new(&mut note);
    verify_target(fs, &target, data_dir.as_deref(), &mut report)?;
    for (dir, base_offset) in wrong {
        let file = dir.join(segment_file(base_offset, "log"));
        // An index without its segment is not one to be made anew.
        if fs
            .exists(&file)
            .map_err(|error| StorageError::from_io("look up", &file, error))?
        {
            let outcome = reindex_segment(fs, &dir, base_offset, options)?;
            out(ReindexedSegment { file, outcome });
        }
    }
    Ok(())
}

/// Makes the indexes of one segment anew, for a caller who holds the lock of the directory.
pub(super) fn reindex_segment(
    fs: &dyn FileSystem,
    dir: &Path,
    base_offset: i64,
    options: ReindexOptions,
) -> Result<Reindexed, StorageError> {
    let path = dir.join(segment_file(base_offset, "log"));
    let mut reader = LogFileReader::open(fs, &path)?;
    let mut index = ActiveIndex::new(base_offset);
    let mut next_offset = base_offset;
    while let Some((position, step)) = reader.next()? {
        let what = match step {
            Step::Batch(batch)
                if next_offset <= batch.header.base_offset
                    && offset_fits(base_offset, batch.header.last_offset()) =>
            {
                next_offset = batch.header.next_offset();
                index.batch_appended(
                    &indexed_batch(&batch.header, position),
                    options.interval_bytes,
                );
                continue;
            }
            Step::Batch(batch) => {
                let found = batch.header.base_offset;
                format!("offset {found} where {next_offset} may follow")
            }
            Step::BadCrc { error, .. } => error.to_string(),
            Step::Unreadable(what) => what,
        };
        return Ok(Reindexed::Damaged { position, what });
    }
    index.seal();
    let (offsets, times) = (index.unwritten_offsets(), index.unwritten_times());
    if !options.dry_run {
        for (extension, bytes) in [("index", offsets.bytes), ("timeindex", times.bytes)] {
            let path = dir.join(segment_file(base_offset, extension));
            checkpoint::write_atomically(fs, &path, bytes)?;
        }
    }
    Ok(Reindexed::Rebuilt {
        offset_entries: offsets.bytes.len() / super::verify_index::OFFSET_ENTRY_LEN,
        time_entries: times.bytes.len() / super::verify_index::TIME_ENTRY_LEN,
    })
}
