//! A file system with a gate: while it is shut, whoever opens, reads or maps a file below a directory
//! waits; who came is noted either way. No page of it counts as resident.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};

use tidewheel_storage::fs::{
    DirEntry, DirLock, DiskSpace, FileSystem, LogFile, MappedFile, OpenMode, SimFs,
};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct State {
    shut: bool,
    visitors: Vec<ThreadId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Gate {
    fs: SimFs,
    dir: PathBuf,
    /// The runtime's only worker: it is never made to wait, so that a test can tell what it did.
    worker: ThreadId,
    state: Arc<(Mutex<State>, Condvar)>,
    visited: Arc<Notify>,
}

impl Gate {
    /// An open gate before `dir`, made on the runtime's worker.
    pub(crate) fn new(fs: SimFs, dir: &str) -> Self {
        Self {
            fs,
            dir: PathBuf::from(dir),
            worker: thread::current().id(),
            state: Arc::default(),
            visited: Arc::default(),
        }
    }

    /// Shuts it and forgets who came so far.
    pub(crate) fn shut(&self) {
        *self.state.0.lock().unwrap() = State {
            shut: true,
            visitors: Vec::new(),
        };
    }

    pub(crate) fn open(&self) {
        self.state.0.lock().unwrap().shut = false;
        self.state.1.notify_all();
    }

    /// Resolves when somebody has come since it was shut.
    pub(crate) async fn visited(&self) {
        self.visited.notified().await;
    }

    /// How many came since it was shut.
    pub(crate) fn visits(&self) -> usize {
        self.state.0.lock().unwrap().visitors.len()
    }

    /// How often it was the caller.
    pub(crate) fn visits_by_this_thread(&self) -> usize {
        let this = thread::current().id();
        let state = self.state.0.lock().unwrap();
        state.visitors.iter().filter(|id| **id == this).count()
    }

    fn pass(&self, path: &Path) {
        if !path.starts_with(&self.dir) {
            return;
        }
        let visitor = thread::current().id();
        let mut state = self.state.0.lock().unwrap();
        state.visitors.push(visitor);
        if state.shut {
            self.visited.notify_one();
        }
        while state.shut && visitor != self.worker {
            state = self.state.1.wait(state).unwrap();
        }
    }
}

impl FileSystem for Gate {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        self.pass(path);
        Ok(Arc::new(GatedFile {
            file: self.fs.open(path, mode)?,
            path: path.to_owned(),
            gate: self.clone(),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
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
        self.fs.sync_dir(path)
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.fs.reserve(path, bytes)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.fs.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.fs.lock(path)
    }
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn LogFile>,
    path: PathBuf,
    gate: Gate,
}

impl LogFile for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.gate.pass(&self.path);
        self.file.len()
    }

    fn modified_ms(&self) -> io::Result<i64> {
        self.file.modified_ms()
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.file.set_modified_ms(modified_ms)
    }

    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        self.gate.pass(&self.path);
        self.file.read_exact_at(buf, position)
    }

    fn write_all_at(&self, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<()> {
        self.file.write_all_at(parts, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn drop_cache(&self, position: u64) -> io::Result<()> {
        self.file.drop_cache(position)
    }

    fn preallocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.file.preallocate(position, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn unsettle(&self, len: u64) {
        self.file.unsettle(len);
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        self.gate.pass(&self.path);
        Ok(Arc::new(ColdMap(self.file.map(len)?)))
    }
}

/// A map of which nothing is known to be in memory.
#[derive(Debug)]
struct ColdMap(Arc<dyn MappedFile>);

impl MappedFile for ColdMap {
    fn bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        self.0.bytes(position, len)
    }

    fn is_resident(&self, _position: u64, _len: usize) -> bool {
        false
    }
}
