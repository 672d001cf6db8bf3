//! The offline log debugger: shows and checks the files of a stopped data directory.
//!
//! [`dump`] shows what files hold, [`verify`] checks that they agree with themselves and with each
//! other. Both only read, bounded in memory whatever the files claim, and share no code with
//! recovery: they are its judge. Parsers of single files are shared, rules between files are not.
//! [`reindex`] replaces indexes in which [`verify`] finds damage; [`repair`] cuts damaged bytes out of logs.
//!
//! A data directory whose last stop was clean must be perfect. After a crash, what recovery is
//! there to repair (a torn tail at or above the recovery point, indexes that lag behind) is
//! reported as a note; everything else is damage.

mod dump;
mod entry;
mod finding;
mod layout;
mod log_file;
mod reindex;
mod repair;
mod verify_dir;
mod verify_index;
mod verify_partition;
mod verify_segment;

use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::fs::{DirLock, FileSystem};

pub use dump::{DumpOptions, dump};
pub use entry::{BatchEntry, DumpEntry, Payload, RecordEntry};
pub use finding::{Finding, Severity, VerifySummary};
pub use reindex::{ReindexOptions, Reindexed, ReindexedSegment, reindex};
pub use repair::{RepairLine, RepairOptions, RepairSummary, repair};
pub use verify_dir::verify;

/// What the caller pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A data directory: it has `meta.properties`.
    DataDir(PathBuf),
    /// The directory of one partition.
    PartitionDir(PathBuf),
    /// One file.
    File(PathBuf),
}

impl Target {
    fn find(fs: &dyn FileSystem, path: &Path) -> Result<Target, StorageError> {
        let failed = |error| StorageError::from_io("open", path, error);
        let Ok(entries) = fs.read_dir(path) else {
            // Not a directory: whether it is there at all shows when it is opened.
            fs.open(path, crate::fs::OpenMode::Read).map_err(failed)?;
            return Ok(Target::File(path.to_path_buf()));
        };
        let has = |name: &str| entries.iter().any(|entry| entry.name == name);
        let is_data_dir = has(layout::META_PROPERTIES)
            || entries
                .iter()
                .any(|entry| entry.is_dir && layout::is_partition_dir(&entry.name));
        Ok(match is_data_dir {
            true => Target::DataDir(path.to_path_buf()),
            false => Target::PartitionDir(path.to_path_buf()),
        })
    }

    /// The data directory that the target is or lies in, if it looks like one.
    fn data_dir(&self, fs: &dyn FileSystem) -> Option<PathBuf> {
        let candidates: Vec<&Path> = match self {
            Target::DataDir(path) => vec![path],
            Target::PartitionDir(path) => path.parent().into_iter().collect(),
            Target::File(path) => path.ancestors().skip(1).take(2).collect(),
        };
        let is_data_dir = |dir: &&Path| {
            fs.exists(&dir.join(layout::META_PROPERTIES))
                .unwrap_or(false)
        };
        candidates
            .into_iter()
            .find(is_data_dir)
            .map(Path::to_path_buf)
    }
}

/// Keeps a broker out of the data directory while it is read, and refuses one that is in use. A
/// directory that never had a lock file (a copy, a partition alone) is read without.
fn lock(
    fs: &dyn FileSystem,
    data_dir: Option<&Path>,
) -> Result<Option<Box<dyn DirLock>>, StorageError> {
    let Some(dir) = data_dir else { return Ok(None) };
    let path = dir.join(layout::LOCK);
    if !fs
        .exists(&path)
        .map_err(|error| StorageError::from_io("look up", &path, error))?
    {
        return Ok(None);
    }
    match fs.lock(&path) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(StorageError::DirectoryInUse {
                dir: dir.to_path_buf(),
            })
        }
        Err(error) => Err(StorageError::from_io("lock", &path, error)),
    }
}
