//! The beginning of every file of the delay store, and reading such a file from front to back.
//!
//! A file begins with 32 bytes:
//! ```text
//! "TWDELAY1" | kind u32: 1 delay log, 2 bucket | salt u64 | base u64 | CRC-32 u32 of the 28 bytes before
//! ```
//! All files of a store have the same salt. A position in the delay log counts from the store's first
//! byte: `base` is that of the file's first byte. Buckets have base 0.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use super::block::{self, ALIGNMENT, HEAD_LEN, RECORD_MAGIC};
use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile, OpenMode};

/// Bytes before the first block.
pub(super) const FILE_HEAD_LEN: u64 = 32;
/// The same, to cut a buffer to size.
pub(super) const FILE_HEAD_BYTES: usize = 32;
const FILE_MAGIC: &[u8; 8] = b"TWDELAY1";
/// Bytes that are read at a time, at least.
const READ_BYTES: u64 = 1 << 20;
/// What a disk writes as a whole.
const SECTOR_BYTES: u64 = 512;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Log,
    Bucket,
}

impl FileKind {
    fn code(self) -> u32 {
        match self {
            Self::Log => 1,
            Self::Bucket => 2,
        }
    }
}

/// The first bytes of a file.
pub(super) fn file_head(kind: FileKind, salt: u64, base: u64) -> Vec<u8> {
    let mut bytes = FILE_MAGIC.to_vec();
    bytes.put_u32(kind.code());
    bytes.put_u64(salt);
    bytes.put_u64(base);
    bytes.put_u32(crc32fast::hash(&bytes));
    bytes
}

/// The salt in the first bytes of a file, unless they are damaged.
pub(super) fn salt_of(kind: FileKind, bytes: &[u8]) -> Option<u64> {
    let (mut fields, mut crc) = (bytes.get(..28)?, bytes.get(28..32)?);
    let sound = crc32fast::hash(fields) == crc.get_u32() && fields.starts_with(FILE_MAGIC);
    fields.advance(FILE_MAGIC.len());
    let right_kind = fields.get_u32() == kind.code();
    (sound && right_kind).then(|| fields.get_u64())
}

/// What is found at some place of a file.
#[derive(Debug)]
pub(super) enum Found {
    /// A sound block: its position, its length, its body.
    Block(u64, u64, Bytes),
    /// Bytes that are no block, up to the next one or to the end of the file.
    Damage {
        /// How many.
        len: u64,
        /// It looks like what a crash left of a write that had not ended, see [`BlockScan::is_unfinished`].
        torn: bool,
    },
}

/// Reads the blocks of a file in their order.
#[derive(Debug)]
pub(super) struct BlockScan {
    path: PathBuf,
    file: Arc<dyn LogFile>,
    magic: u32,
    salt: u64,
    base: u64,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// Where to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanRange {
    pub(super) magic: u32,
    pub(super) salt: u64,
    /// The position of the file's first byte.
    pub(super) base: u64,
    /// From and to which byte of the file.
    pub(super) from: u64,
    pub(super) end: u64,
}

impl BlockScan {
    /// The records of a file that has nothing else, between two bytes of it; `None` where there is no such file.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn of_records(
        fs: &dyn FileSystem,
        path: &Path,
        salt: u64,
        (from, to): (u64, u64),
    ) -> Result<Option<Self>, StorageError> {
        let failed = |error| StorageError::from_io("open", path, error);
        let file = match fs.open(path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let range = ScanRange {
            magic: RECORD_MAGIC,
            salt,
            base: 0,
            from,
            end: to.min(file.len().map_err(failed)?),
        };
        Ok(Some(Self::new(path, file, range)))
    }

    pub(super) fn new(path: &Path, file: Arc<dyn LogFile>, range: ScanRange) -> Self {
        Self {
            path: path.to_path_buf(),
            file,
            magic: range.magic,
            salt: range.salt,
            base: range.base,
            at: range.from,
            end: range.end,
            buffer: Vec::new(),
            buffer_at: 0,
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The position of what comes next.
    pub(super) fn position(&self) -> u64 {
        self.base + self.at
    }

    /// The next block or damage; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Found>, StorageError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let start = self.at;
        let Some(head) = self.head_at(start)? else {
            return self.skip_damage(start).map(Some);
        };
        let len = head.block_len();
        let position = self.base + start;
        if len > self.end - start {
            self.at = self.end;
            return Ok(Some(self.damage(start, true)));
        }
        self.at = start + len;
        let bytes = self.bytes(start, len)?;
        let body = bytes.get(HEAD_LEN..HEAD_LEN + head.body_len as usize);
        match body.filter(|body| crc32fast::hash(body) == head.body_crc) {
            Some(body) => Ok(Some(Found::Block(
                position,
                len,
                Bytes::copy_from_slice(body),
            ))),
            None => self.unsound(start).map(Some),
        }
    }

    /// Goes on behind damage, at the next head that is sound.
    fn skip_damage(&mut self, start: u64) -> Result<Found, StorageError> {
        let mut at = (start + 1).next_multiple_of(ALIGNMENT);
        while at < self.end && self.head_at(at)?.is_none() {
            at += ALIGNMENT;
        }
        self.at = at.min(self.end);
        self.unsound(start)
    }

    /// The damage from `start` on to where the scan goes on.
    fn unsound(&mut self, start: u64) -> Result<Found, StorageError> {
        let torn = self.is_unfinished(start)?;
        Ok(self.damage(start, torn))
    }

    /// Whether the bytes from `start` to where the scan goes on look like what a crash left of a write that had not
    /// ended: they are the last ones and fewer than a head has; or there is nothing but zeros from the beginning of
    /// them, or of a sector in them, to the end of the sector, or of the file: the file had grown already, and that
    /// sector had not come. Anything else was written and was changed.
    fn is_unfinished(&mut self, start: u64) -> Result<bool, StorageError> {
        let is_last = self.at >= self.end;
        if is_last && self.at - start < HEAD_LEN as u64 {
            return Ok(true);
        }
        let mut from = start;
        while from < self.at {
            let to = (from + 1).next_multiple_of(SECTOR_BYTES).min(self.end);
            let len = to - from;
            // A few zeros are the end of many a block.
            let tells = to.is_multiple_of(SECTOR_BYTES) || len >= HEAD_LEN as u64;
            if tells && self.bytes(from, len)?.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            from = to;
        }
        Ok(false)
    }

    fn damage(&self, start: u64, torn: bool) -> Found {
        Found::Damage {
            len: self.at - start,
            torn,
        }
    }

    fn head_at(&mut self, at: u64) -> Result<Option<block::Head>, StorageError> {
        if self.end - at < HEAD_LEN as u64 {
            return Ok(None);
        }
        let (magic, salt, position) = (self.magic, self.salt, self.base + at);
        let bytes = self.bytes(at, HEAD_LEN as u64)?;
        Ok(block::parse_head(magic, salt, position, bytes))
    }

    /// `len` bytes from `at`; both lie inside the range.
    fn bytes(&mut self, at: u64, len: u64) -> Result<&[u8], StorageError> {
        let have = self.buffer_at..self.buffer_at + self.buffer.len() as u64;
        if at < have.start || at + len > have.end {
            let want = len.max(READ_BYTES).min(self.end - at);
            let failed = |error| StorageError::from_io("read", &self.path, error);
            let want =
                usize::try_from(want).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
            self.buffer.resize(want, 0);
            self.buffer_at = at;
            if let Err(error) = self.file.read_exact_at(&mut self.buffer, at) {
                self.buffer.clear();
                return Err(failed(error));
            }
        }
        let start = usize::try_from(at - self.buffer_at).unwrap_or(usize::MAX);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = self.buffer.get(start..start.saturating_add(len));
        bytes.ok_or_else(|| {
            StorageError::from_io("read", &self.path, io::ErrorKind::UnexpectedEof.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::fs::SimFs;

    const BODIES: [usize; 6] = [0, 1, 100, 8, 3000, 17];

    /// A file of blocks, and where each begins.
    fn written() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = file_head(FileKind::Bucket, 9, 0);
        let mut starts = Vec::new();
        for len in BODIES {
            starts.push(bytes.len());
            block::put(&mut bytes, RECORD_MAGIC, 9, 0, |out| {
                out.resize(out.len() + len, 5);
            });
        }
        starts.push(bytes.len());
        (bytes, starts)
    }

    /// How many blocks are sound, and the damage.
    fn scan(bytes: &[u8]) -> (usize, Vec<(u64, u64, bool)>) {
        let fs = SimFs::new();
        let path = Path::new("/f");
        let file = fs.open(path, OpenMode::Create).unwrap();
        file.write_all_at(&[IoSlice::new(bytes)], 0).unwrap();
        let range = ScanRange {
            magic: RECORD_MAGIC,
            salt: 9,
            base: 0,
            from: FILE_HEAD_LEN,
            end: bytes.len() as u64,
        };
        let mut scan = BlockScan::new(path, file, range);
        let (mut blocks, mut damage) = (0, Vec::new());
        while let Some(found) = scan.next().unwrap() {
            match found {
                Found::Block(..) => blocks += 1,
                Found::Damage { len, torn } => damage.push((scan.position() - len, len, torn)),
            }
        }
        (blocks, damage)
    }

    #[test]
    fn a_flipped_bit_costs_the_block_it_is_in_and_no_other() {
        let (bytes, starts) = written();
        assert_eq!(scan(&bytes), (BODIES.len(), vec![]));
        for (at, start) in starts[..BODIES.len()].iter().enumerate() {
            let end = start + HEAD_LEN + BODIES[at];
            for byte in *start..end {
                let mut damaged = bytes.clone();
                damaged[byte] ^= 1 << (byte % 8);
                let (blocks, damage) = scan(&damaged);
                assert_eq!(blocks, BODIES.len() - 1, "byte {byte}");
                assert_eq!(damage.len(), 1);
                assert_eq!(damage[0].0, *start as u64);
                assert_eq!(damage[0].1, (starts[at + 1] - start) as u64);
                assert!(!damage[0].2, "it was written");
            }
        }
    }

    #[test]
    fn a_sector_that_was_never_written_is_told_from_one_that_was_changed() {
        let (bytes, starts) = written();
        // The block of 3,000 bytes, and a smaller one behind it.
        let (start, end) = (starts[4], starts[5]);
        for sector in start / 512..end / 512 {
            let lost = start.max(sector * 512)..(sector + 1) * 512;
            let mut unwritten = bytes.clone();
            unwritten[lost.clone()].fill(0);
            let (_, damage) = scan(&unwritten);
            assert_eq!(damage, [(start as u64, (end - start) as u64, true)]);
            unwritten[lost.end - 1] = 1;
            let (_, damage) = scan(&unwritten);
            assert_eq!(damage, [(start as u64, (end - start) as u64, false)]);
        }
        // What follows had not come either.
        let mut unwritten = bytes.clone();
        let last = end / 512 * 512;
        unwritten[last..].fill(0);
        unwritten.resize(last + 1024, 0);
        let (_, damage) = scan(&unwritten);
        assert_eq!(damage[0], (start as u64, (end - start) as u64, true));
        assert_eq!((damage.len(), damage[1].2), (2, true));
        // As the last block of a file: its last sector, of which there is a part.
        let mut cut = bytes[..end].to_vec();
        let part = cut.len() / 512 * 512;
        assert!(end - part >= HEAD_LEN);
        cut[part..].fill(0);
        assert_eq!(scan(&cut).1, [(start as u64, (end - start) as u64, true)]);
    }

    #[test]
    fn a_cut_file_has_a_tail_and_what_lies_before_it() {
        let (bytes, starts) = written();
        for len in FILE_HEAD_BYTES..bytes.len() {
            let whole = starts[1..].iter().filter(|end| **end <= len).count();
            let (blocks, damage) = scan(&bytes[..len]);
            assert_eq!(blocks, whole, "cut to {len}");
            assert_eq!(damage.is_empty(), starts.contains(&len));
            assert!(damage.iter().all(|(_, _, torn)| *torn));
        }
        for start in starts {
            // The file had grown and nothing had come.
            let mut grown = bytes[..start].to_vec();
            grown.resize(start + 700, 0);
            let (_, damage) = scan(&grown);
            assert_eq!(damage, [(start as u64, 700, true)]);
        }
    }

    #[test]
    fn the_head_of_a_file_tells_its_salt() {
        let head = file_head(FileKind::Log, 77, 4096);
        assert_eq!(head.len() as u64, FILE_HEAD_LEN);
        assert_eq!(salt_of(FileKind::Log, &head), Some(77));
        assert_eq!(salt_of(FileKind::Bucket, &head), None);
        for byte in 0..head.len() {
            let mut damaged = head.clone();
            damaged[byte] ^= 4;
            assert_eq!(salt_of(FileKind::Log, &damaged), None);
            assert_eq!(salt_of(FileKind::Log, &head[..byte]), None);
        }
    }
}
