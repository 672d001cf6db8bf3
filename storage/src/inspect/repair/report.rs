//! What a repair says.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::inspect::reindex::{Reindexed, ReindexedSegment};

/// One thing that a repair did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RepairLine {
    /// Bytes of a segment were cut out, or a part of the log is missing.
    Cut {
        /// The `.log` file.
        file: PathBuf,
        /// Where in the file as it was, in bytes.
        position: u64,
        /// How many bytes; 0 where nothing is left that could be cut.
        bytes: u64,
        /// The first offset that is lost; in a compacted log some from here on may have been gone before.
        from_offset: i64,
        /// Behind the last one that is lost; `from_offset` where none is.
        to_offset: i64,
        /// A clause that says what was there.
        what: String,
        /// Where the bytes are kept; not in a dry run, nor where all of them were zeros.
        kept: Option<PathBuf>,
    },
    /// A batch with a right CRC had a wrong base offset, which no CRC covers.
    Relabelled {
        /// The `.log` file.
        file: PathBuf,
        /// Where in the file as it was, in bytes.
        position: u64,
        /// The offset in its header.
        was: i64,
        /// The one it has now.
        offset: i64,
    },
    /// A batch stays, but its base offset may be wrong, or that of a batch near it.
    Doubtful {
        /// The `.log` file.
        file: PathBuf,
        /// Where in the file as it was, in bytes.
        position: u64,
        /// The offset that the batch has now.
        offset: i64,
    },
    /// A byte of a batch's length or its magic byte was wrong, which its CRC tells, although it does not cover them.
    Mended {
        /// The `.log` file.
        file: PathBuf,
        /// Where in the file as it was, in bytes.
        position: u64,
        /// The offset that the batch has now.
        offset: i64,
    },
    /// Batches had a wrong leader epoch, which no CRC covers.
    EpochCorrected {
        /// The `.log` file.
        file: PathBuf,
        /// Offset of the first one.
        offset: i64,
        /// How many batches.
        batches: u64,
        /// The epoch in their headers.
        was: i32,
        /// The one they have now.
        epoch: i32,
    },
    /// A file beside the batches was made anew or taken away.
    Replaced {
        /// Which one.
        file: PathBuf,
        /// A clause that says why.
        what: String,
    },
    /// Indexes of a segment were made anew.
    Reindexed(ReindexedSegment),
    /// A partition is done.
    Repaired {
        /// Its directory.
        dir: PathBuf,
        /// The offset that its next record gets.
        log_end_offset: i64,
    },
    /// Damage that is still there.
    Left {
        /// The file or directory.
        file: PathBuf,
        /// Where in the file, in bytes.
        position: u64,
        /// A clause that says what is wrong.
        what: String,
    },
    /// What is not touched.
    Refused {
        /// The directory.
        dir: PathBuf,
        /// A sentence that says why, and what to do.
        why: String,
    },
}

impl RepairLine {
    pub(super) fn refused(dir: &Path, why: &str) -> Self {
        Self::Refused {
            dir: dir.to_path_buf(),
            why: why.to_owned(),
        }
    }

    pub(super) fn left(file: PathBuf, position: u64, what: String) -> Self {
        Self::Left {
            file,
            position,
            what,
        }
    }

    fn fmt_cut(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Cut {
            file,
            position,
            bytes,
            from_offset,
            to_offset,
            what,
            kept,
        } = self
        else {
            return Ok(());
        };
        let lost = match to_offset - from_offset {
            0 => "no offset is lost".to_owned(),
            _ => format!("offsets {from_offset} to {} are lost", to_offset - 1),
        };
        let file = file.display();
        write!(
            f,
            "cut: {file} at byte {position}, {bytes} bytes: {what}; {lost}"
        )?;
        match kept {
            Some(kept) => write!(f, "; kept in {}", kept.display()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RepairLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { .. } => self.fmt_cut(f),
            Self::Relabelled {
                file,
                position,
                was,
                offset,
            } => {
                let file = file.display();
                write!(
                    f,
                    "relabelled: {file} at byte {position}: offset {was} is {offset}"
                )
            }
            Self::Doubtful {
                file,
                position,
                offset,
            } => {
                let file = file.display();
                write!(
                    f,
                    "doubtful: {file} at byte {position}: offset {offset}, or that of a batch near it, may be wrong"
                )
            }
            Self::Mended {
                file,
                position,
                offset,
            } => {
                let file = file.display();
                write!(
                    f,
                    "mended: {file} at byte {position}: a wrong byte in the length, or the magic byte, of offset {offset}"
                )
            }
            Self::EpochCorrected {
                file,
                offset,
                batches,
                was,
                epoch,
            } => {
                let file = file.display();
                write!(
                    f,
                    "leader epoch: {file}: {batches} batches from offset {offset} on: {was} is {epoch}"
                )
            }
            Self::Replaced { file, what } => write!(f, "replaced: {}: {what}", file.display()),
            Self::Reindexed(segment) => write!(f, "{segment}"),
            Self::Repaired {
                dir,
                log_end_offset,
            } => {
                let dir = dir.display();
                write!(
                    f,
                    "repaired: {dir}: the next record gets offset {log_end_offset}"
                )
            }
            Self::Left {
                file,
                position,
                what,
            } => write!(f, "left: {} at byte {position}: {what}", file.display()),
            Self::Refused { dir, why } => write!(f, "refused: {}: {why}", dir.display()),
        }
    }
}

/// What came of a repair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairSummary {
    /// Partitions that were looked at.
    pub partitions: u64,
    /// Those that were repaired, or would be.
    pub repaired: u64,
    /// Segments whose indexes alone were made anew, or would be.
    pub reindexed: u64,
    /// Bytes that were cut out.
    pub cut_bytes: u64,
    /// Offsets that are lost; of a compacted log at most so many.
    pub lost_offsets: u64,
    /// Damages that are still there.
    pub left: u64,
    /// Directories that were not touched although something is wrong with them, or nothing is known of them.
    pub refused: u64,
    /// Nothing was changed.
    pub dry_run: bool,
}

impl RepairSummary {
    pub(super) fn note(&mut self, line: &RepairLine) {
        match line {
            RepairLine::Cut {
                bytes,
                from_offset,
                to_offset,
                ..
            } => {
                self.cut_bytes += bytes;
                self.lost_offsets += to_offset.abs_diff(*from_offset);
            }
            RepairLine::Repaired { .. } => self.repaired += 1,
            RepairLine::Reindexed(segment) => match segment.outcome {
                Reindexed::Rebuilt { .. } => self.reindexed += 1,
                Reindexed::Damaged { .. } => self.left += 1,
            },
            RepairLine::Left { .. } => self.left += 1,
            RepairLine::Refused { .. } => self.refused += 1,
            RepairLine::Relabelled { .. }
            | RepairLine::Doubtful { .. }
            | RepairLine::Mended { .. }
            | RepairLine::EpochCorrected { .. }
            | RepairLine::Replaced { .. } => {}
        }
    }
}
