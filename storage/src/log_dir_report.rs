//! What a log directory is and holds, for people.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk_space::SpaceLimits;
use crate::error::StorageError;
use crate::fs::DiskSpace;
use crate::log_dir::LogDir;
use crate::log_manager::LogManager;
use crate::shared_log::SharedLog;

/// One log directory.
#[derive(Debug)]
pub struct LogDirReport<W> {
    /// As the options name it.
    pub path: PathBuf,
    /// The size of its file system, or why the directory cannot be used.
    pub space: Result<DiskSpace, StorageError>,
    /// The logs in it, in no order.
    pub logs: Vec<Arc<SharedLog<W>>>,
}

/// The space of one log directory.
#[derive(Debug)]
pub struct LogDirSpace {
    /// As the options name it.
    pub path: PathBuf,
    /// The size of its file system, or why the directory cannot be used.
    pub space: Result<DiskSpace, StorageError>,
    /// The watermarks there.
    pub limits: SpaceLimits,
}

impl<W> LogManager<W> {
    /// The space of all log directories, in the order of the options. Asks the file systems, which may block.
    #[must_use]
    pub fn space(&self) -> Vec<LogDirSpace> {
        let dirs = self.dirs.iter().map(|managed| {
            let dir = &managed.dir;
            let space = dir.check_online().and_then(|()| asked(dir));
            let total = space.as_ref().map_or(0, |space| space.total_bytes);
            LogDirSpace {
                path: dir.path().to_path_buf(),
                limits: self.options.space.on(total),
                space,
            }
        });
        dirs.collect()
    }

    /// All log directories, in the order of the options. Asks the file systems, which may block.
    #[must_use]
    pub fn report(&self) -> Vec<LogDirReport<W>> {
        let reports = self.dirs.iter().enumerate().map(|(number, managed)| {
            let registry = self.registry();
            let here = registry.logs.values().filter(|(dir, _)| *dir == number);
            LogDirReport {
                path: managed.dir.path().to_path_buf(),
                logs: here.map(|(_, log)| Arc::clone(log)).collect(),
                space: managed
                    .dir
                    .check_online()
                    .and_then(|()| asked(&managed.dir)),
            }
        });
        reports.collect()
    }
}

fn asked(dir: &LogDir) -> Result<DiskSpace, StorageError> {
    let asked = dir.fs().space(dir.path());
    asked.map_err(|error| StorageError::from_io("look at", dir.path(), error))
}
