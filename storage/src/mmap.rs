//! Read-only maps of files: the only unsafe code of the project.
//!
//! A `&[u8]` promises that its bytes do not change while it lives, and other code changes files.
//! So a map is never seen as one slice. It is a raw pointer, and [`FileMap::bytes`] hands out only
//! bytes below the file's *settled length*: bytes that a finished write put there, which the file's
//! handle refuses to change (see [`crate::fs::RealFs`]). The map may be longer than the file; pages
//! past its end are never touched, because the settled length is at most the file's.
//!
//! What the handle cannot refuse is a second handle or another process that writes the same file.
//! The first is a rule of this crate (one writing handle per file); the second is kept out by the
//! lock of the log directory. What remains is a bad sector: the kernel ends the process (SIGBUS).
#![expect(
    unsafe_code,
    reason = "views of mapped files and mincore; every block says why it holds"
)]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::fs::MappedFile;

/// Pages asked about in one call of `mincore`.
const PAGES_PER_CALL: usize = 256;

/// A map of `0..len` of a file.
#[derive(Debug)]
pub(crate) struct FileMap {
    map: MmapRaw,
    settled_len: Arc<AtomicU64>,
}

impl FileMap {
    /// Maps `0..len` of `file`; `settled_len` is the handle's own, loaded with acquire ordering at
    /// every look.
    pub(crate) fn new(file: &File, len: u64, settled_len: Arc<AtomicU64>) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let map = MmapOptions::new().len(len).map_raw_read_only(file)?;
        Ok(Self { map, settled_len })
    }

    /// The first byte of `position..position + len`, where that lies in the map and is settled.
    fn checked(&self, position: u64, len: usize) -> Option<*const u8> {
        let end = position.checked_add(u64::try_from(len).ok()?)?;
        let mapped = u64::try_from(self.map.len()).ok()?;
        // Pairs with the release store after the write that settled these bytes.
        if end > mapped || end > self.settled_len.load(Ordering::Acquire) {
            return None;
        }
        let position = usize::try_from(position).ok()?;
        Some(self.map.as_ptr().wrapping_add(position))
    }
}

impl MappedFile for FileMap {
    fn bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        let start = self.checked(position, len)?;
        // SAFETY: `checked` proved that the range lies inside the map, which lives as long as
        // `self`, and below the settled length: the file reaches that far and nobody writes or
        // cuts those bytes any more (module head), so they are initialised and do not change.
        Some(unsafe { std::slice::from_raw_parts(start, len) })
    }

    fn is_resident(&self, position: u64, len: usize) -> bool {
        let Some(start) = self.checked(position, len) else {
            return false;
        };
        let page = rustix::param::page_size();
        // `mincore` wants a page boundary; the map itself begins at one.
        let inside = start.addr() % page;
        let mut at = start.wrapping_sub(inside);
        let mut pages = (inside + len).div_ceil(page);
        let mut resident = [0_u8; PAGES_PER_CALL];
        while pages > 0 {
            let count = pages.min(PAGES_PER_CALL);
            // SAFETY: `at` is page aligned and `at..at + count * page` are pages of the map that
            // `self` keeps alive; `resident` has room for `count` bytes, one a page.
            let asked =
                unsafe { libc::mincore(at.cast_mut().cast(), count * page, resident.as_mut_ptr()) };
            if asked != 0 || resident.iter().take(count).any(|flags| flags & 1 == 0) {
                return false;
            }
            at = at.wrapping_add(count * page);
            pages -= count;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_map_shows_settled_bytes_only_also_beyond_the_length_it_began_with() {
        let file = tempfile::tempfile().unwrap();
        let settled = Arc::new(AtomicU64::new(0));
        let map = FileMap::new(&file, 1 << 20, Arc::clone(&settled)).unwrap();
        assert_eq!(map.bytes(0, 0), Some(&[][..]));
        assert_eq!(map.bytes(0, 1), None);
        assert!(
            !map.is_resident(0, 1),
            "nothing is asked about pages beyond the end"
        );
        file.write_all_at(&[7; 10_000], 0).unwrap();
        assert_eq!(map.bytes(0, 1), None, "written, but not settled");
        settled.store(10_000, Ordering::Release);
        assert_eq!(map.bytes(9_990, 10), Some(&[7; 10][..]));
        assert_eq!(map.bytes(9_990, 11), None);
        assert!(map.is_resident(5_000, 5_000));
        assert_eq!(map.bytes(u64::MAX, 2), None);
        settled.store(u64::MAX, Ordering::Release);
        assert_eq!(map.bytes(1 << 20, 1), None, "the map ends");
    }

    #[test]
    fn residence_of_many_pages_is_asked_in_pieces() {
        let file = tempfile::tempfile().unwrap();
        let len = 3 * PAGES_PER_CALL * 4096 + 100;
        file.write_all_at(&vec![1; len], 0).unwrap();
        let settled = Arc::new(AtomicU64::new(len as u64));
        let map = FileMap::new(&file, len as u64, settled).unwrap();
        assert!(map.is_resident(1, len - 1));
        assert!(!map.is_resident(1, len));
    }
}
