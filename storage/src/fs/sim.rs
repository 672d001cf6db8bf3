//! A disk in memory that can be switched off at any operation, for crash tests.
//!
//! # The model
//! A [`SimFs`] is a cheap handle; clones share the disk. Programs see every completed operation at
//! once, as through a page cache. What a power cut leaves is another matter:
//!
//! - **File bytes** are durable when a `sync_data` that began after the write returned `Ok`. Bytes
//!   written since then survive or not per page of 4 KiB; a page may reach the disk as it is, as it
//!   was after any earlier write, or torn into 512-byte sectors of which some are new. A later page
//!   may survive where an earlier one does not.
//! - **The length** of a file is durable with its bytes. Without a sync it may have any value from
//!   the durable one to the one programs saw; what was not written back reads as zeros.
//! - **A cut** (`set_len`) survives or does not. Where it does not, nothing written after it does.
//! - **Directory entries** (create, rename, remove) are durable after `sync_dir` of the directory
//!   they are in, and only then: a file whose entry is lost is gone although its bytes were synced,
//!   and a directory that was never synced into its parent is gone with all it holds. Syncing a
//!   file does not sync its entry, nor does syncing a directory sync its parent.
//!   Without a sync the changes of one directory survive in their order up to some point, each as
//!   a whole: a rename is atomic. Directories are independent of each other. Files cannot move
//!   between directories, but a second name of one may lie in another.
//! - **A failed sync** makes nothing durable, and its pages count as clean from then on, as in
//!   Linux: a later sync that succeeds does not cover them. Readers still see them, until
//!   [`LogFile::drop_cache`].
//! - **A process that dies** ([`SimFs::kill`]) loses nothing it wrote; what was not synced is still
//!   not durable.
//! - **Reads and maps** show what programs wrote. Maps are copies of settled bytes, so the real
//!   map is tested on the real disk.
//! - **Space** counts the bytes of named files; a file whose last name is unlinked or replaced frees its
//!   space at once. Directories and preallocated blocks take none.
//!
//! Not modelled: reordering beyond the above, misdirected writes, and damage to
//! durable bytes other than by [`SimFs::rot`].
//!
//! # Operations and faults
//! Every operation that changes the disk has a number, counted from 0: write, `sync_data`,
//! `set_len`, `sync_dir`, and each created, renamed or removed name. One that fails for a reason
//! of its own (a missing file) is not counted. [`SimFs::fail_at`] plans a fault for a number.
//! The same program on a new disk does the same operations under the same numbers, and the same
//! seed decides a crash alike.

mod chance;
mod content;
mod disk;
mod file;
#[cfg(test)]
mod tests;

use std::fmt::{self, Debug};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chance::Chance;
use content::Content;
use disk::{Directory, Disk, Node, NodeId, ROOT};
use file::SimFile;

use super::{DirEntry, DirLock, DiskSpace, FileSystem, LogFile, OpenMode};

/// How much a new disk holds, in bytes, unless [`SimFs::set_free_bytes`] says otherwise: 1 TiB.
const FREE_BYTES: u64 = 1 << 40;

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with EIO and has no effect. For a sync see the module's head.
    Eio,
    /// The operation fails with ENOSPC and has no effect.
    Enospc,
    /// Half of a write happens, then it fails with EIO. Any other operation fails as with `Eio`.
    ShortWrite,
    /// Everything stops during the operation, which may or may not survive; it and all later
    /// ones fail. [`SimFs::crash`] or [`SimFs::kill`] then gives the disk of the next start.
    Crash,
}

/// What a disk says that is not so. A program that leaves a step out makes of an honest disk what such
/// a disk makes of an honest program: so a harness shows that it would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A sync of the file or directory returns, and nothing is durable.
    SyncDoesNothing,
    /// A sync of the file makes durable what was there when it was synced before.
    SyncComesLate,
    /// [`LogFile::drop_cache`] forgets nothing.
    CacheStays,
    /// A write to the file changes the lowest bit of the last byte.
    WriteSlips,
    /// A file that is renamed so holds from then on what was there the last time that one with such an ending was, in
    /// the same directory.
    RenameBringsOlder,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Eio | Self::ShortWrite => rustix::io::Errno::IO.into(),
            Self::Enospc => rustix::io::Errno::NOSPC.into(),
            Self::Crash => disk::power_cut(),
        }
    }
}

/// A handle of a simulated disk. See the module's head for what it models.
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

impl Default for SimFs {
    fn default() -> Self {
        Self::new()
    }
}

impl Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFs")
            .field("ops", &self.op_count())
            .finish_non_exhaustive()
    }
}

impl SimFs {
    /// A new disk with an empty root directory.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Disk::new(FREE_BYTES))
    }

    fn of(disk: Disk) -> Self {
        Self {
            disk: Arc::new(Mutex::new(disk)),
        }
    }

    /// How many mutating operations there were; the number of the next one.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        self.disk().ops
    }

    /// How many reads of files' content there were, through maps apart.
    #[must_use]
    pub fn read_count(&self) -> u64 {
        self.disk().reads
    }

    /// Plans `fault` for the operation with this number, counted from 0. It fires once.
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.disk().faults.insert(op, fault);
    }

    /// From here on the disk lies about the paths for which `about` says so, files by the name under
    /// which they were opened, and so do the disks of later starts.
    pub fn lie(&self, lie: Lie, about: fn(&Path) -> bool) {
        self.disk().lies.push((lie, about));
    }

    /// From here on the files and directories for which `about` says so cannot be read (EIO). Maps show what they
    /// showed, and disks of later starts are whole again.
    pub fn fail_reads(&self, about: fn(&Path) -> bool) {
        self.disk().unreadable.push(about);
    }

    /// How many bytes may still be written. A write that needs more fills the disk and fails with
    /// ENOSPC.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.disk().free_bytes = bytes;
    }

    /// The disk as it would be if the power were cut now, or was cut by a fault, and came back;
    /// `seed` decides what of the un-synced survives. This disk stays as it is, so one moment can
    /// be asked for many outcomes; the new disk shares nothing with it.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        self.after_power_cut(&mut Chance::seeded(seed))
    }

    /// As [`SimFs::crash`], and nothing that was not synced survives.
    #[must_use]
    pub fn crash_lose_all_unsynced(&self) -> Self {
        self.after_power_cut(&mut Chance::LoseAll)
    }

    /// The disk as the next process would find it if this one ended now (`kill -9`), or ended at
    /// a crash fault: with all that was written, and its locks free. This disk stays as it is.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self::of(self.disk().after_kill())
    }

    /// Bit rot: overwrites bytes of a file in place, in the cache and on the disk, uncounted. Bytes
    /// beyond the end are ignored.
    ///
    /// # Errors
    /// `NotFound` where there is no such file.
    pub fn rot(&self, path: &Path, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let id = disk.find(path)?.ok_or(ErrorKind::NotFound)?;
        let position = usize::try_from(position).map_err(|_| ErrorKind::InvalidInput)?;
        disk.content_mut(id)?.rot(position, bytes);
        Ok(())
    }

    fn after_power_cut(&self, chance: &mut Chance) -> Self {
        Self::of(self.disk().after_power_cut(chance))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory at `path`.
fn dir_at(disk: &Disk, path: &Path) -> io::Result<NodeId> {
    let id = disk.find(path)?.ok_or(ErrorKind::NotFound)?;
    if disk.is_dir(id) {
        Ok(id)
    } else {
        Err(ErrorKind::NotADirectory.into())
    }
}

/// The file at `path`, made where `mode` asks for it.
fn open_node(disk: &mut Disk, path: &Path, mode: OpenMode) -> io::Result<NodeId> {
    if let Some(id) = disk.find(path)? {
        return match mode {
            OpenMode::CreateNew => Err(ErrorKind::AlreadyExists.into()),
            _ if disk.is_dir(id) => Err(ErrorKind::IsADirectory.into()),
            _ => Ok(id),
        };
    }
    match mode {
        OpenMode::Read | OpenMode::ReadWrite => Err(ErrorKind::NotFound.into()),
        OpenMode::Create | OpenMode::CreateNew => {
            let (parent, name) = disk.parent(path)?;
            disk.link(parent, name, Node::File(Content::default()))
        }
    }
}

impl FileSystem for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.disk();
        let id = open_node(&mut disk, path, mode)?;
        let len = disk.content(id)?.len();
        Ok(Arc::new(SimFile::new(
            (self.clone(), id),
            path,
            len,
            mode != OpenMode::Read,
        )))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let above: Vec<&Path> = path
            .ancestors()
            .filter(|path| path.parent().is_some())
            .collect();
        for path in above.into_iter().rev() {
            if path.as_os_str().is_empty() {
                continue;
            }
            match disk.find(path)? {
                Some(id) if disk.is_dir(id) => {}
                Some(_) => return Err(ErrorKind::NotADirectory.into()),
                None => {
                    let (parent, name) = disk.parent(path)?;
                    disk.link(parent, name, Node::Dir(Directory::default()))?;
                }
            }
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let disk = self.disk();
        disk.check_readable(path)?;
        let id = dir_at(&disk, path)?;
        let mut entries = Vec::new();
        for (name, id) in disk.dir(id)?.entries() {
            let is_dir = disk.is_dir(*id);
            let len = if is_dir { 0 } else { disk.content(*id)?.len() };
            entries.push(DirEntry {
                name: name.clone(),
                is_dir,
                len,
            });
        }
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.disk().find(path)?.is_some())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check_power()?;
        disk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let id = disk.find(from)?.ok_or(ErrorKind::NotFound)?;
        if disk.is_dir(id) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        if disk.find(to)?.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (parent, name) = disk.parent(to)?;
        disk.link_again(parent, name, id)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let id = disk.find(path)?.ok_or(ErrorKind::NotFound)?;
        if disk.is_dir(id) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let (parent, name) = disk.parent(path)?;
        disk.unlink(parent, &name)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if dir_at(&disk, path)? == ROOT {
            return Err(ErrorKind::InvalidInput.into());
        }
        let (parent, name) = disk.parent(path)?;
        disk.unlink_tree(parent, &name)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let id = dir_at(&disk, path)?;
        let lie = disk.lies(Lie::SyncDoesNothing, path);
        match disk.begin()? {
            None if lie => {}
            None => disk.dir_mut(id)?.sync(),
            Some(fault) => {
                disk.powered_off = fault == Fault::Crash;
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.open(path, OpenMode::Create)?.set_len(bytes)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let disk = self.disk();
        disk.find(path)?.ok_or(ErrorKind::NotFound)?;
        Ok(DiskSpace {
            total_bytes: disk.free_bytes.saturating_add(disk.live_bytes()),
            free_bytes: disk.free_bytes,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let mut disk = self.disk();
        open_node(&mut disk, path, OpenMode::Create)?;
        if !disk.locks.insert(path.to_path_buf()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            fs: self.clone(),
            path: path.to_path_buf(),
        }))
    }
}

#[derive(Debug)]
struct SimLock {
    fs: SimFs,
    path: PathBuf,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.disk().locks.remove(&self.path);
    }
}
