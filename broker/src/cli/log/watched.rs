//! A file system that shows how far its logs have been read.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tidewheel_storage::fs::{
    DirEntry, DirLock, DiskSpace, FileSystem, LogFile, MappedFile, OpenMode,
};

use crate::cli::progress::{Progress, ProgressArguments, Unit};
use crate::cli::table::escaped;

/// What is counted: the other files are small.
const LOG: &str = ".log";

/// Passes everything on.
#[derive(Debug)]
pub(super) struct WatchedFs<F> {
    inner: F,
    watch: Arc<Watch>,
}

/// How far each log has been read: what is read again adds nothing.
#[derive(Debug)]
struct Watch {
    progress: Progress,
    reached: Mutex<Reached>,
}

#[derive(Debug, Default)]
struct Reached {
    ends: BTreeMap<PathBuf, u64>,
    sum: u64,
}

impl<F: FileSystem> WatchedFs<F> {
    /// Shows what a command reads below this path.
    pub(super) fn new(inner: F, path: &Path, title: &str, arguments: ProgressArguments) -> Self {
        let total = log_bytes(&inner, path);
        let progress = Progress::new(arguments, title, Unit::Bytes, Some(total));
        let watch = Arc::new(Watch {
            progress,
            reached: Mutex::default(),
        });
        Self { inner, watch }
    }
}

/// Bytes of the logs of a file, a partition or a data directory.
fn log_bytes(fs: &dyn FileSystem, path: &Path) -> u64 {
    let Ok(entries) = fs.read_dir(path) else {
        let file = fs.open(path, OpenMode::Read);
        return file.and_then(|file| file.len()).unwrap_or_default();
    };
    let of_dir = |entries: &[DirEntry]| {
        let logs = entries.iter().filter(|entry| entry.name.ends_with(LOG));
        logs.fold(0, |sum: u64, entry| sum.saturating_add(entry.len))
    };
    let dirs = entries.iter().filter(|entry| entry.is_dir);
    let below = dirs.filter_map(|entry| fs.read_dir(&path.join(&entry.name)).ok());
    below.fold(of_dir(&entries), |sum, entries| {
        sum.saturating_add(of_dir(&entries))
    })
}

impl Watch {
    fn read(&self, path: &Path, end: u64) {
        let done = {
            let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
            let Reached { ends, sum } = &mut *reached;
            let before = ends.entry(path.to_path_buf()).or_default();
            *sum += end.saturating_sub(*before);
            *before = end.max(*before);
            *sum
        };
        self.progress.reach(done, || {
            let mut names = path.iter().rev().map(|name| name.to_string_lossy());
            let (file, dir) = (names.next(), names.next());
            let (file, dir) = (file.unwrap_or_default(), dir.unwrap_or_default());
            escaped(&format!("{dir}/{file}"))
        });
    }
}

impl<F: FileSystem> FileSystem for WatchedFs<F> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        let inner = self.inner.open(path, mode)?;
        if path.extension().is_none_or(|extension| extension != "log") {
            return Ok(inner);
        }
        Ok(Arc::new(WatchedFile {
            inner,
            path: path.to_path_buf(),
            watch: Arc::clone(&self.watch),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.read_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.inner.reserve(path, bytes)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.inner.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.inner.lock(path)
    }
}

/// A log of a watched file system.
#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn LogFile>,
    path: PathBuf,
    watch: Arc<Watch>,
}

impl LogFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn modified_ms(&self) -> io::Result<i64> {
        self.inner.modified_ms()
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.inner.set_modified_ms(modified_ms)
    }

    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, position)?;
        let end = position.saturating_add(buf.len() as u64);
        self.watch.read(&self.path, end);
        Ok(())
    }

    fn write_all_at(&self, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<()> {
        self.inner.write_all_at(parts, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn drop_cache(&self, position: u64) -> io::Result<()> {
        self.inner.drop_cache(position)
    }

    fn preallocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.inner.preallocate(position, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn unsettle(&self, len: u64) {
        self.inner.unsettle(len);
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        self.inner.map(len)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_storage::fs::SimFs;

    use super::*;

    /// A data directory with two partitions and a file that is no log.
    fn disk() -> SimFs {
        let fs = SimFs::new();
        for (path, len) in [
            ("/d/a-0/0.log", 10),
            ("/d/a-0/0.index", 5),
            ("/d/a-1/0.log", 7),
        ] {
            let path = Path::new(path);
            fs.create_dir_all(path.parent().unwrap()).unwrap();
            let file = fs.open(path, OpenMode::CreateNew).unwrap();
            let bytes = vec![0; len];
            file.write_all_at(&[io::IoSlice::new(&bytes)], 0).unwrap();
        }
        fs
    }

    #[test]
    fn logs_are_counted_wherever_a_command_looks() {
        for (path, expected) in [
            ("/d", 17),
            ("/d/a-0", 10),
            ("/d/a-1/0.log", 7),
            ("/none", 0),
        ] {
            assert_eq!(log_bytes(&disk(), Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_is_read_again_is_counted_once() {
        let fs = WatchedFs::new(disk(), Path::new("/d"), "t", ProgressArguments::default());
        let sum = || fs.watch.reached.lock().unwrap().sum;
        let read = |path: &str, position, len| {
            let file = fs.open(Path::new(path), OpenMode::Read).unwrap();
            file.read_exact_at(&mut vec![0; len], position)
        };
        for (path, position, len, expected) in [
            ("/d/a-0/0.log", 0, 4, 4),
            ("/d/a-0/0.log", 0, 10, 10),
            ("/d/a-0/0.log", 2, 3, 10),
            ("/d/a-0/0.index", 0, 5, 10),
            ("/d/a-1/0.log", 0, 7, 17),
            ("/d/a-0/0.log", 5, 5, 17),
        ] {
            read(path, position, len).unwrap();
            assert_eq!(sum(), expected, "{path} {position} {len}");
        }
        assert!(read("/d/a-1/0.log", 0, 8).is_err());
        assert_eq!(sum(), 17);
    }
}
