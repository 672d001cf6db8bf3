//! Open files and maps of a simulated disk. Bytes settle as in a real file.

use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::disk::NodeId;
use super::{Fault, Lie, SimFs};
use crate::fs::real::settled;
use crate::fs::{LogFile, MappedFile};

/// How much a map copies at least, in bytes, where there is as much.
const PIECE_LEN: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct SimFile {
    fs: SimFs,
    id: NodeId,
    path: PathBuf,
    writable: bool,
    /// Changed only while the disk's mutex is held.
    settled_len: Arc<AtomicU64>,
    mapped: AtomicBool,
}

impl SimFile {
    pub(super) fn new((fs, id): (SimFs, NodeId), path: &Path, len: u64, writable: bool) -> Self {
        let settled_len = Arc::new(AtomicU64::new(len));
        Self {
            fs,
            id,
            path: path.to_owned(),
            writable,
            settled_len,
            mapped: AtomicBool::new(false),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(rustix::io::Errno::BADF.into())
        }
    }
}

impl LogFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let disk = self.fs.disk();
        disk.check_power()?;
        Ok(disk.content(self.id)?.len())
    }

    /// A simulated disk has no clock.
    fn modified_ms(&self) -> io::Result<i64> {
        Err(ErrorKind::Unsupported.into())
    }

    fn set_modified_ms(&self, _modified_ms: i64) -> io::Result<()> {
        self.fs.disk().check_power()
    }

    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.check_power()?;
        disk.check_readable(&self.path)?;
        disk.reads += 1;
        let live = disk.content(self.id)?.live();
        let start = usize::try_from(position)
            .ok()
            .filter(|start| *start <= live.len());
        let from = start.map(|start| &live[start..]).unwrap_or_default();
        buf.copy_from_slice(from.get(..buf.len()).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.fs.disk();
        if position < self.settled_len.load(Ordering::Relaxed) {
            return Err(settled());
        }
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        if disk.lies(Lie::WriteSlips, &self.path)
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        let start = usize::try_from(position).map_err(|_| ErrorKind::InvalidInput)?;
        let fault = disk.begin()?;
        let len = disk.content(self.id)?.len();
        let room = disk.free_bytes.saturating_add(len.saturating_sub(position));
        let room = room.saturating_sub(position.saturating_sub(len));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let (fits, error) = match fault {
            Some(Fault::ShortWrite) => (bytes.len() / 2, Some(Fault::ShortWrite.error())),
            Some(fault @ (Fault::Eio | Fault::Enospc)) => (0, Some(fault.error())),
            Some(Fault::Crash) => (bytes.len(), Some(Fault::Crash.error())),
            None if bytes.len() > room => (room, Some(Fault::Enospc.error())),
            None => (bytes.len(), None),
        };
        let content = disk.content_mut(self.id)?;
        content.write(start, &bytes[..fits.min(room)]);
        let grown = content.len() - len;
        disk.free_bytes -= grown;
        disk.powered_off = fault == Some(Fault::Crash);
        match error {
            Some(error) => Err(error),
            None => {
                self.settled_len
                    .store(position + bytes.len() as u64, Ordering::Release);
                Ok(())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.fs.disk();
        let late = disk.lies(Lie::SyncComesLate, &self.path);
        match disk.begin()? {
            None if disk.lies(Lie::SyncDoesNothing, &self.path) => {}
            None if late => disk.content_mut(self.id)?.sync_late(),
            None => disk.content_mut(self.id)?.sync(),
            Some(Fault::Crash) => {
                disk.powered_off = true;
                return Err(Fault::Crash.error());
            }
            Some(fault) => {
                disk.content_mut(self.id)?.sync_failed();
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn drop_cache(&self, position: u64) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.check_power()?;
        let position = usize::try_from(position).map_err(|_| ErrorKind::InvalidInput)?;
        if !disk.lies(Lie::CacheStays, &self.path) {
            disk.content_mut(self.id)?.drop_cache(position);
        }
        Ok(())
    }

    fn preallocate(&self, _position: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let disk = self.fs.disk();
        disk.check_power()?;
        if len > disk.free_bytes {
            Err(Fault::Enospc.error())
        } else {
            Ok(())
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.fs.disk();
        if self.mapped.load(Ordering::Relaxed) && len < self.settled_len.load(Ordering::Relaxed) {
            return Err(settled());
        }
        let new_len = usize::try_from(len).map_err(|_| ErrorKind::InvalidInput)?;
        let before = disk.content(self.id)?.len();
        let free_bytes = disk.free_bytes.saturating_add(before).checked_sub(len);
        let free_bytes = free_bytes.ok_or_else(|| Fault::Enospc.error())?;
        let id = self.id;
        disk.atomically(|disk| {
            disk.free_bytes = free_bytes;
            if let Ok(content) = disk.content_mut(id) {
                content.set_len(new_len);
            }
        })?;
        self.settled_len.store(len, Ordering::Release);
        Ok(())
    }

    fn unsettle(&self, len: u64) {
        let _disk = self.fs.disk();
        if !self.mapped.load(Ordering::Relaxed) {
            self.settled_len.fetch_min(len, Ordering::Release);
        }
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        let disk = self.fs.disk();
        disk.check_power()?;
        self.mapped.store(true, Ordering::Relaxed);
        Ok(Arc::new(SimMap {
            fs: self.fs.clone(),
            id: self.id,
            len,
            settled_len: Arc::clone(&self.settled_len),
            pieces: OnceLock::new(),
        }))
    }
}

/// A map that copies what is asked for. Settled bytes do not change, so a copy stays right; the
/// copies live as long as the map, like the pages of a real one.
#[derive(Debug)]
struct SimMap {
    fs: SimFs,
    id: NodeId,
    len: u64,
    settled_len: Arc<AtomicU64>,
    pieces: OnceLock<Box<Piece>>,
}

/// A copied range, and the one copied after it.
#[derive(Debug)]
struct Piece {
    position: u64,
    bytes: Vec<u8>,
    next: OnceLock<Box<Piece>>,
}

impl Piece {
    fn get(&self, position: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(position.checked_sub(self.position)?).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }
}

impl SimMap {
    fn settled_end(&self) -> u64 {
        self.settled_len.load(Ordering::Acquire).min(self.len)
    }

    /// Copies at least `position..end`, with some bytes after it.
    fn copy(&self, position: u64, end: u64) -> Option<Box<Piece>> {
        let end = end.max((position + PIECE_LEN).min(self.settled_end()));
        let disk = self.fs.disk();
        let content = disk.content(self.id).ok()?;
        let range = usize::try_from(position).ok()?..usize::try_from(end).ok()?;
        let bytes = content.live().get(range)?.to_vec();
        Some(Box::new(Piece {
            position,
            bytes,
            next: OnceLock::new(),
        }))
    }
}

impl Drop for SimMap {
    /// One piece after the other: a long list would be dropped recursively otherwise.
    fn drop(&mut self) {
        let mut next = self.pieces.take();
        while let Some(mut piece) = next {
            next = piece.next.take();
        }
    }
}

impl MappedFile for SimMap {
    fn bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        let end = position.checked_add(u64::try_from(len).ok()?)?;
        if end > self.settled_end() {
            return None;
        }
        let mut slot = &self.pieces;
        loop {
            // Of two that copy at once one is kept; the other's range is looked for again.
            let piece = match slot.get() {
                Some(piece) => piece,
                None => {
                    let copied = self.copy(position, end)?;
                    slot.get_or_init(|| copied)
                }
            };
            if let Some(bytes) = piece.get(position, len) {
                return Some(bytes);
            }
            slot = &piece.next;
        }
    }

    fn is_resident(&self, _position: u64, _len: usize) -> bool {
        true
    }
}
