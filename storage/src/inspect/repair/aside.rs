//! The folder that takes what is cut out of a partition, and the report of it.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::RepairLine;
use super::window::Window;
use super::write::{Output, remove};
use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile, OpenMode};
use crate::inspect::layout::CUT_OUT;

/// The report in the folder: the lines that were told, as people read them.
const REPORT: &str = "report.txt";

/// What became of bytes that are cut out.
#[derive(Debug, Default)]
pub(super) struct KeptAside {
    /// Where they are; `None` where all of them read as zeros.
    pub(super) path: Option<PathBuf>,
    /// How many of them the disk did not deliver.
    pub(super) unreadable_bytes: u64,
}

/// The folder, made when it is needed.
pub(super) struct Aside<'a> {
    fs: &'a dyn FileSystem,
    path: PathBuf,
    made: Cell<bool>,
    report: RefCell<Option<Report>>,
}

struct Report {
    file: Arc<dyn LogFile>,
    bytes: u64,
}

impl<'a> Aside<'a> {
    /// That of a partition for a repair at `now_ms`.
    pub(super) fn new(fs: &'a dyn FileSystem, partition_dir: &Path, now_ms: i64) -> Self {
        Self {
            fs,
            path: partition_dir.join(format!("{CUT_OUT}{now_ms}")),
            made: Cell::new(false),
            report: RefCell::new(None),
        }
    }

    /// Copies bytes of a file into it. What the disk does not deliver is zeros there, and counted.
    pub(super) fn keep(
        &self,
        file: &Path,
        start: u64,
        end: u64,
    ) -> Result<KeptAside, StorageError> {
        let mut source = Window::open(self.fs, file)?.ending_at(end);
        let mut all_zeros = true;
        source.for_each(start, end, |bytes| {
            all_zeros &= bytes.iter().all(|byte| *byte == 0);
            Ok(())
        })?;
        let mut kept = KeptAside {
            path: None,
            unreadable_bytes: source.unreadable_bytes(),
        };
        if all_zeros {
            return Ok(kept);
        }
        let mut source = source.again();
        let path = self.path_for(file, &format!(".cut-{start}"))?;
        let copied = Output::create(self.fs, &path).and_then(|mut output| {
            output.put_from(&mut source, start, end)?;
            output.finish()
        });
        if copied.is_err() {
            self.fs.remove_file(&path).ok();
        }
        kept.unreadable_bytes = source.unreadable_bytes();
        kept.path = Some(path);
        copied.map(|()| kept)
    }

    /// Gives a file a second name in it, so that it stays when the first one is taken from it; durable with the
    /// next [`Aside::sync`]. No error where there is no file.
    ///
    /// # Errors
    /// `Corrupt` where the file system cannot do it; `Io`.
    pub(super) fn link(&self, file: &Path) -> Result<(), StorageError> {
        let to = self.path_for(file, "")?;
        let Err(error) = self.fs.hard_link(file, &to) else {
            return Ok(());
        };
        match error.kind() {
            ErrorKind::NotFound => Ok(()),
            ErrorKind::Unsupported
            | ErrorKind::PermissionDenied
            | ErrorKind::CrossesDevices
            | ErrorKind::TooManyLinks
            | ErrorKind::AlreadyExists => {
                let to = to.display();
                let reason = format!(
                    "it cannot be kept under a second name, {to}, so it is not replaced: {error}"
                );
                Err(StorageError::corrupt(file, 0, reason))
            }
            _ => Err(StorageError::from_io("link", file, error)),
        }
    }

    /// Moves a file into it.
    ///
    /// # Errors
    /// As [`Aside::link`].
    pub(super) fn move_away(&self, file: &Path) -> Result<(), StorageError> {
        self.link(file)?;
        self.sync()?;
        remove(self.fs, file)
    }

    /// Puts a line into the report; it is durable with the next [`Aside::sync`].
    pub(super) fn note(&self, line: &RepairLine) -> Result<(), StorageError> {
        let path = self.path_for(Path::new(REPORT), "")?;
        let failed = |error| StorageError::from_io("write", &path, error);
        let mut report = self.report.borrow_mut();
        let report = match &mut *report {
            Some(report) => report,
            none => {
                let file = self.fs.open(&path, OpenMode::Create).map_err(failed)?;
                let bytes = file.len().map_err(failed)?;
                none.insert(Report { file, bytes })
            }
        };
        let text = format!("{line}\n");
        let written = [IoSlice::new(text.as_bytes())];
        report
            .file
            .write_all_at(&written, report.bytes)
            .map_err(failed)?;
        report.bytes += text.len() as u64;
        Ok(())
    }

    fn path_for(&self, file: &Path, ending: &str) -> Result<PathBuf, StorageError> {
        if !self.made.get() {
            let made = self.fs.create_dir_all(&self.path);
            made.map_err(|error| StorageError::from_io("create", &self.path, error))?;
            self.made.set(true);
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(self.path.join(format!("{name}{ending}")))
    }

    /// Makes the report durable, the names in the folder, and its own.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        if !self.made.get() {
            return Ok(());
        }
        if let Some(report) = &*self.report.borrow() {
            let synced = report.file.sync_data();
            synced
                .map_err(|error| StorageError::from_io("sync", &self.path.join(REPORT), error))?;
        }
        let parent = self.path.parent().unwrap_or(&self.path);
        for dir in [&*self.path, parent] {
            let synced = self.fs.sync_dir(dir);
            synced.map_err(|error| StorageError::from_io("sync", dir, error))?;
        }
        Ok(())
    }
}
