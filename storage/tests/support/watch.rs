//! A file system that notes which files are opened and which directories synced, and can run out of descriptors.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tidewheel_storage::fs::{DirEntry, DirLock, DiskSpace, FileSystem, LogFile, OpenMode, SimFs};

#[derive(Clone, Debug)]
pub(crate) struct WatchedFs {
    fs: SimFs,
    opened: Arc<Mutex<Vec<PathBuf>>>,
    synced_dirs: Arc<Mutex<Vec<PathBuf>>>,
    exhausted: Arc<AtomicBool>,
    meeting: Arc<Meeting>,
}

/// Where those who sync directories wait for each other.
#[derive(Debug, Default)]
struct Meeting {
    is_on: AtomicBool,
    /// How many are there, and the most that were.
    present: Mutex<(usize, usize)>,
    came: Condvar,
}

impl WatchedFs {
    pub(crate) fn new(fs: SimFs) -> Self {
        Self {
            fs,
            opened: Arc::default(),
            synced_dirs: Arc::default(),
            exhausted: Arc::default(),
            meeting: Arc::default(),
        }
    }

    /// From now on whoever syncs a directory waits for another one who does, until two have met.
    pub(crate) fn call_meeting(&self) {
        self.meeting.is_on.store(true, Ordering::Relaxed);
    }

    /// How many synced directories at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.meeting.present.lock().unwrap().1
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

    /// Each directory as often as it was synced.
    pub(crate) fn synced_dirs(&self) -> Vec<PathBuf> {
        self.synced_dirs.lock().unwrap().clone()
    }
}

impl Meeting {
    fn attend(&self) {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut present = self.present.lock().unwrap();
        present.0 += 1;
        present.1 = present.1.max(present.0);
        self.came.notify_all();
        let is_alone = |present: &mut (usize, usize)| present.1 < 2;
        let waited = self.came.wait_timeout_while(present, PATIENCE, is_alone);
        waited.unwrap().0.0 -= 1;
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
        self.synced_dirs.lock().unwrap().push(path.to_path_buf());
        self.check_descriptors()?;
        if self.meeting.is_on.load(Ordering::Relaxed) {
            self.meeting.attend();
        }
        self.fs.sync_dir(path)
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.check_descriptors()?;
        self.fs.reserve(path, bytes)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.fs.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.fs.lock(path)
    }
}
