//! What a log directory is and holds, for people.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::StorageError;
use crate::fs::DiskSpace;
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

impl<W> LogManager<W> {
    /// All log directories, in the order of the options. Asks the file systems, which may block.
    #[must_use]
    pub fn report(&self) -> Vec<LogDirReport<W>> {
        let reports = self.dirs.iter().enumerate().map(|(number, managed)| {
            let (fs, path) = (managed.dir.fs(), managed.dir.path());
            let asked = || {
                fs.space(path)
                    .map_err(|error| StorageError::from_io("look at", path, error))
            };
            let registry = self.registry();
            let here = registry.logs.values().filter(|(dir, _)| *dir == number);
            LogDirReport {
                path: path.to_path_buf(),
                logs: here.map(|(_, log)| Arc::clone(log)).collect(),
                space: managed.dir.check_online().and_then(|()| asked()),
            }
        });
        reports.collect()
    }
}
