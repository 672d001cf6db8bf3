//! What verification reports.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Bytes are wrong or missing, and no crash explains it.
    Damage,
    /// What a crash leaves and the next start repairs, or what is merely odd.
    Note,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or directory.
    pub file: PathBuf,
    /// Byte position in the file; 0 where the file as a whole is meant.
    pub position: u64,
    /// A clause that says what is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Damage => "damage",
            Severity::Note => "note",
        };
        let Finding {
            file,
            position,
            what,
            ..
        } = self;
        write!(
            f,
            "{severity}: {} at byte {position}: {what}",
            file.display()
        )
    }
}

/// What was looked at, and how much of it was bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifySummary {
    /// Partition directories.
    pub partitions: u64,
    /// Files read.
    pub files: u64,
    /// Record batches checked.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of log files.
    pub log_bytes: u64,
    /// Findings that are damage.
    pub damages: u64,
    /// Findings that are notes.
    pub notes: u64,
    /// Whether the last stop was clean, so that nothing was forgiven.
    pub clean: bool,
}

/// Collects findings while verification walks.
pub(super) struct Report<'a> {
    pub(super) summary: VerifySummary,
    out: &'a mut dyn FnMut(Finding),
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut dyn FnMut(Finding)) -> Report<'a> {
        Report {
            summary: VerifySummary::default(),
            out,
        }
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        file: &Path,
        position: u64,
        what: impl Into<String>,
    ) {
        match severity {
            Severity::Damage => self.summary.damages += 1,
            Severity::Note => self.summary.notes += 1,
        }
        (self.out)(Finding {
            severity,
            file: file.to_path_buf(),
            position,
            what: what.into(),
        });
    }

    pub(super) fn damage(&mut self, file: &Path, position: u64, what: impl Into<String>) {
        self.add(Severity::Damage, file, position, what);
    }

    pub(super) fn note(&mut self, file: &Path, position: u64, what: impl Into<String>) {
        self.add(Severity::Note, file, position, what);
    }
}
