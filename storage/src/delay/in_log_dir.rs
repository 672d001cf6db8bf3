//! Where the delay store of a log directory lies.

use super::opening::{DelayOpenReport, TailReader};
use super::queue::{DelayOptions, DelayQueue};
use crate::error::StorageError;
use crate::log_manager::LogManager;

/// The directory in a log directory. No partition's has such a name: it has no number.
pub(crate) const DELAY_DIR: &str = "delays";

impl<W> LogManager<W> {
    /// Opens the delay store of a log directory, once and after [`LogManager::load`]. `None` where there is
    /// no such log directory, or no store in it and `make` does not ask for one; at most so many records of it
    /// are kept in memory. See [`DelayQueue::open`].
    ///
    /// # Errors
    /// Those of [`DelayQueue::open`], and `LogDirOffline`.
    pub fn open_delays(
        &self,
        dir: usize,
        make: bool,
        near_records_max: usize,
        salt: u64,
        now_ms: i64,
        tails: &mut TailReader<'_>,
    ) -> Result<Option<(DelayQueue, DelayOpenReport)>, StorageError> {
        let Some(managed) = self.dirs.get(dir) else {
            return Ok(None);
        };
        managed.dir.check_online()?;
        let fs = managed.dir.shared_fs();
        let path = managed.dir.path().join(DELAY_DIR);
        let exists = fs
            .exists(&path)
            .map_err(|error| StorageError::from_io("look at", &path, error))?;
        if !exists && !make {
            return Ok(None);
        }
        let options = DelayOptions {
            near_records_max,
            ..DelayOptions::default()
        };
        DelayQueue::open(fs, &path, options, salt, now_ms, tails).map(Some)
    }
}
