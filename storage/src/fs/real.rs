//! The file system of the operating system.
//!
//! A [`RealFile`] lets bytes settle: once a write has returned, the handle refuses to write them
//! again, and once it was mapped it refuses to cut them off. That is what makes views of a map
//! sound (see [`crate::mmap`]). A write that failed settles nothing, so the next one may take the
//! same position.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{Advice, FallocateFlags};

use super::{DirEntry, DirLock, DiskSpace, FileSystem, LogFile, MappedFile, OpenMode};
use crate::mmap::FileMap;

/// Parts that one `pwritev` takes (`IOV_MAX` of Linux).
const PARTS_MAX: usize = 1024;

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl FileSystem for RealFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::Create => options.write(true).create(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
        };
        let file = options.open(path)?;
        let len = file.metadata()?.len();
        Ok(Arc::new(RealFile {
            file,
            settled_len: Arc::new(AtomicU64::new(len)),
            writer: Mutex::new(Writer { mapped: false }),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the directory was read.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_dir = metadata.is_dir();
            entries.push(DirEntry {
                name,
                is_dir,
                len: if is_dir { 0 } else { metadata.len() },
            });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let len = file.metadata()?.len();
        if bytes < len {
            return Ok(rustix::fs::ftruncate(&file, bytes)?);
        }
        let reserved = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
        if reserved.is_err() {
            rustix::fs::ftruncate(&file, len)?;
        }
        Ok(reserved?)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Closing the file releases its lock.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DirLock for RealLock {}

#[derive(Debug)]
struct RealFile {
    file: File,
    /// Bytes below it do not change. Stored under `writer` with release ordering; maps load it with
    /// acquire ordering.
    settled_len: Arc<AtomicU64>,
    /// One write, cut or first map at a time. Only a log's owner writes, so it is always free.
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    mapped: bool,
}

impl LogFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn modified_ms(&self) -> io::Result<i64> {
        let modified = self.file.metadata()?.modified()?;
        let since_1970 = modified
            .duration_since(UNIX_EPOCH)
            .map_err(io::Error::other)?;
        i64::try_from(since_1970.as_millis()).map_err(io::Error::other)
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        let since_1970 = Duration::from_millis(u64::try_from(modified_ms).unwrap_or(0));
        self.file.set_modified(UNIX_EPOCH + since_1970)
    }

    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, position)
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if position < self.settled_len.load(Ordering::Relaxed) {
            return Err(settled());
        }
        let written = write_parts(&self.file, parts, position)?;
        self.settled_len
            .store(position + written, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn drop_cache(&self, position: u64) -> io::Result<()> {
        // A page that is not wholly covered would be kept.
        let page = rustix::param::page_size() as u64;
        let position = position - position % page;
        Ok(rustix::fs::fadvise(
            &self.file,
            position,
            None,
            Advice::DontNeed,
        )?)
    }

    fn preallocate(&self, position: u64, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(
            &self.file,
            FallocateFlags::KEEP_SIZE,
            position,
            len,
        )?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.mapped && len < self.settled_len.load(Ordering::Relaxed) {
            return Err(settled());
        }
        rustix::fs::ftruncate(&self.file, len)?;
        self.settled_len.store(len, Ordering::Release);
        Ok(())
    }

    fn unsettle(&self, len: u64) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if !writer.mapped {
            self.settled_len.fetch_min(len, Ordering::Release);
        }
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let map = FileMap::new(&self.file, len, Arc::clone(&self.settled_len))?;
        writer.mapped = true;
        Ok(Arc::new(map))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

/// The refusal to change bytes that somebody may be looking at.
pub(super) fn settled() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        "written bytes of a log file never change",
    )
}

/// Writes all parts, however many calls it takes; returns how many bytes that were.
fn write_parts(file: &File, parts: &[IoSlice<'_>], position: u64) -> io::Result<u64> {
    let mut rest = parts.to_vec();
    let mut rest = rest.as_mut_slice();
    let mut written = 0;
    // Empty parts at the front would make a write of nothing look like a full disk.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let count = rest.len().min(PARTS_MAX);
        match rustix::io::pwritev(file, &rest[..count], position + written) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(len) => {
                written += len as u64;
                IoSlice::advance_slices(&mut rest, len);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn open(path: &Path, mode: OpenMode) -> Arc<dyn LogFile> {
        RealFs.open(path, mode).unwrap()
    }

    #[test]
    fn many_parts_are_written_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(&dir.path().join("a"), OpenMode::CreateNew);
        let numbers: Vec<[u8; 4]> = (0..3000_u32).map(u32::to_be_bytes).collect();
        let mut parts = vec![IoSlice::new(&[])];
        parts.extend(numbers.iter().map(|number| IoSlice::new(number)));
        file.write_all_at(&parts, 0).unwrap();
        file.write_all_at(&[], 12_000).unwrap();
        let mut back = vec![0; 12_000];
        file.read_exact_at(&mut back, 0).unwrap();
        assert_eq!(back, numbers.concat());
        let beyond = file.read_exact_at(&mut [0; 2], 11_999).unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn settled_bytes_are_neither_overwritten_nor_cut_while_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(&dir.path().join("a"), OpenMode::CreateNew);
        file.write_all_at(&[IoSlice::new(b"hello")], 0).unwrap();
        assert_eq!(
            file.write_all_at(&[IoSlice::new(b"H")], 4)
                .unwrap_err()
                .kind(),
            ErrorKind::InvalidInput
        );
        file.set_len(3).unwrap();
        file.write_all_at(&[IoSlice::new(b"p!")], 3).unwrap();
        let map = file.map(1 << 16).unwrap();
        assert_eq!(map.bytes(0, 5), Some(&b"help!"[..]));
        assert_eq!(file.set_len(4).unwrap_err().kind(), ErrorKind::InvalidInput);
        file.set_len(5).unwrap();
        file.write_all_at(&[IoSlice::new(b" more")], 5).unwrap();
        assert_eq!(map.bytes(0, 10), Some(&b"help! more"[..]));
        assert_eq!(map.bytes(0, 11), None);
    }

    #[test]
    fn preallocated_blocks_do_not_change_the_length_and_are_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = open(&path, OpenMode::CreateNew);
        file.write_all_at(&[IoSlice::new(b"x")], 0).unwrap();
        if file.preallocate(1, 1 << 20).is_err() {
            // Not every file system can; the log does without.
            return;
        }
        let blocks = |path: &Path| std::fs::metadata(path).unwrap().blocks();
        assert_eq!(file.len().unwrap(), 1);
        assert!(blocks(&path) * 512 >= 1 << 20);
        file.set_len(1).unwrap();
        assert_eq!(file.len().unwrap(), 1);
        assert!(blocks(&path) * 512 < 1 << 20);
    }

    #[test]
    fn reserved_space_is_taken_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let blocks = || std::fs::metadata(&path).unwrap().blocks();
        RealFs.reserve(&path, 1 << 20).unwrap();
        assert!(blocks() * 512 >= 1 << 20);
        RealFs.reserve(&path, 1 << 60).unwrap_err();
        assert!(blocks() * 512 < 1 << 21, "it takes what it took");
        RealFs.reserve(&path, 0).unwrap();
        // A copy of such a file may be all holes.
        let sparse = OpenOptions::new().write(true).open(&path).unwrap();
        rustix::fs::ftruncate(&sparse, 1 << 20).unwrap();
        assert_eq!(blocks(), 0);
        RealFs.reserve(&path, 1 << 20).unwrap();
        assert!(blocks() * 512 >= 1 << 20);
        RealFs.reserve(&path, 0).unwrap();
        assert_eq!(
            (blocks(), open(&path, OpenMode::Read).len().unwrap()),
            (0, 0)
        );
    }

    #[test]
    fn directories_are_listed_sorted_and_changed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        RealFs.create_dir_all(&root.join("t-0/x")).unwrap();
        RealFs.create_dir_all(&root.join("t-0/x")).unwrap();
        open(&root.join("b"), OpenMode::Create)
            .write_all_at(&[IoSlice::new(b"12")], 0)
            .unwrap();
        open(&root.join("a"), OpenMode::Create);
        RealFs.rename(&root.join("a"), &root.join("c")).unwrap();
        RealFs.sync_dir(root).unwrap();
        let listed = RealFs.read_dir(root).unwrap();
        let entry = |name: &str, is_dir, len| DirEntry {
            name: name.to_owned(),
            is_dir,
            len,
        };
        assert_eq!(
            listed,
            [
                entry("b", false, 2),
                entry("c", false, 0),
                entry("t-0", true, 0)
            ]
        );
        RealFs.remove_dir_all(&root.join("t-0")).unwrap();
        RealFs.remove_file(&root.join("b")).unwrap();
        assert!(!RealFs.exists(&root.join("b")).unwrap());
        assert!(RealFs.exists(&root.join("c")).unwrap());
        let missing = RealFs.open(&root.join("b"), OpenMode::Read).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let there = RealFs
            .open(&root.join("c"), OpenMode::CreateNew)
            .unwrap_err();
        assert_eq!(there.kind(), ErrorKind::AlreadyExists);
        let space = RealFs.space(root).unwrap();
        assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
    }

    #[test]
    fn a_locked_directory_is_refused_until_the_lock_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let lock = RealFs.lock(&path).unwrap();
        assert_eq!(
            RealFs.lock(&path).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        drop(lock);
        RealFs.lock(&path).unwrap();
    }
}
