//! The seam between the log and the disk: the real file system, and a simulated one for crash tests.
//!
//! Everything `storage` does to files goes through these two traits, so that a test can cut the
//! power after any single operation and look at what is left.

mod real;
mod sim;

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

pub use real::RealFs;
pub use sim::{Fault, Lie, SimFs};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// For reading and writing, made if missing.
    Create,
    /// For reading and writing; fails with `AlreadyExists` where the file is there.
    CreateNew,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The file name; entries that are not UTF-8 are left out.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
}

/// Holds an exclusive lock on a directory until dropped.
pub trait DirLock: Send + Sync + Debug {}

/// The directory operations the log needs.
pub trait FileSystem: Send + Sync + Debug {
    /// Opens a file. A new file is durable only after [`FileSystem::sync_dir`] of its parent.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>>;
    /// Makes a directory and its missing parents; no error if it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Lists a directory, sorted by name.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Whether something is at `path`.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Renames a file or directory, replacing a file at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives the file at `from` a second name, durable after [`FileSystem::sync_dir`] of its parent. Fails with
    /// `AlreadyExists` where something is at `to`, and on a file system that has no hard links.
    fn hard_link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Unlinks a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all below it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Has the file at `path`, made if missing, take so many bytes of the file system from its beginning on;
    /// nothing is written. Where that fails, as on a file system that cannot do it, it takes what it took before.
    fn reserve(&self, _path: &Path, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The size of the file system of `path`.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
    /// Takes the exclusive lock file at `path`; `WouldBlock` where another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
}

/// The size of a file system, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total_bytes: u64,
    /// What an unprivileged process may still write.
    pub free_bytes: u64,
}

/// The file operations the log needs. All positions are bytes from the start of the file.
#[expect(
    clippy::len_without_is_empty,
    reason = "the length can fail; nobody asks for emptiness"
)]
pub trait LogFile: Send + Sync + Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// When it was last written, ms since 1970.
    fn modified_ms(&self) -> io::Result<i64>;
    /// Says when it was last written, ms since 1970, in the place of what the system noted.
    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()>;
    /// Fills `buf` from `position`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()>;
    /// Writes all parts at `position`, one after the other (`pwritev`, short writes continued).
    /// After an error any prefix may have been written.
    ///
    /// Written bytes *settle*: a position below the length at open, below the end of an earlier
    /// write that returned `Ok`, or below the length of the last `set_len` fails with
    /// `InvalidInput`. After a failed write the same position may be written again.
    fn write_all_at(&self, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Makes the file's data and length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Forgets cached pages that count as written, from the one that holds `position` on, so that
    /// the next read comes from the disk: after a failed sync the cache may hold bytes that the disk
    /// lacks. Only before the file is mapped.
    fn drop_cache(&self, position: u64) -> io::Result<()>;
    /// Reserves blocks without changing the length (`FALLOC_FL_KEEP_SIZE`). The caller ignores errors.
    fn preallocate(&self, position: u64, len: u64) -> io::Result<()>;
    /// Cuts the file, or gives back the blocks preallocated beyond its end. Fails with
    /// `InvalidInput` where it would cut settled bytes of a file that this handle has mapped.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Takes what lies from `len` on for what a write left that did not get through: no map shows it, and it may
    /// be written and cut. For a file that was just opened and is longer than it should be, before its first map.
    fn unsettle(&self, len: u64);
    /// Maps `0..len` read-only; `len` may lie beyond the end. The map shows settled bytes only,
    /// also those that settle later. No other handle may write or cut the file meanwhile.
    fn map(&self, len: u64) -> io::Result<Arc<dyn MappedFile>>;
    /// The open file, for `sendfile` of settled bytes; `None` where it is none of the system's.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A read-only map of a file.
pub trait MappedFile: Send + Sync + Debug {
    /// The bytes `position..position + len`, or `None` where they are outside the map or not
    /// settled. They never change.
    fn bytes(&self, position: u64, len: usize) -> Option<&[u8]>;
    /// Whether `position..position + len` is in the page cache (`mincore`); `true` for a simulated file.
    fn is_resident(&self, position: u64, len: usize) -> bool;
}
