//! A file system that notes which files are opened, and can run out of descriptors.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tidewheel_storage::fs::{DirEntry, DirLock, DiskSpace, FileSystem, LogFile, OpenMode, SimFs};

#[derive(Clone, Debug)]
pub(crate) struct WatchedFs {
    fs: SimFs,
    opened: Arc<Mutex<Vec<PathBuf>>>,
    exhausted: Arc<AtomicBool>,
}

impl WatchedFs {
    pub(crate) fn new(fs: SimFs) -> Self {
        Self {
            fs,
            opened: Arc::default(),
            exhausted: Arc::default(),
        }
    }

    /// From now on no file or directory can be opened, or can be again.
    pub(crate) fn exhaust(&self, exhausted: bool) {
        self.exhausted.store(exhausted, Ordering::Relaxed);
    }

    fn check_descriptors(&self) -> io::Result<()> {
        if self.exhausted.load(Ordering::Relaxed) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        Ok(())
    }

    pub(crate) fn opened(&self) -> Vec<PathBuf> {
        self.opened.lock().unwrap().clone()
    }
}

impl FileSystem for WatchedFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        self.opened.lock().unwrap().push(path.to_path_buf());
        self.check_descriptors()?;
        self.fs.open(path, mode)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.check_descriptors()?;
        self.fs.read_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.fs.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check_descriptors()?;
        self.fs.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.fs.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.fs.lock(path)
    }
}
