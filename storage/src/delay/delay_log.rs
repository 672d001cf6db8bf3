//! The delay log: everything that was accepted, in its order. Only this is synced before a producer is
//! answered.
//!
//! Files are called after the position of their first byte in 20 digits, `.delaylog` behind it. After a start
//! comes a new file, so that nothing is ever written behind a tail that a crash left; a file is
//! removed once every record in it was delivered for good or lies in a bucket for good.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::block::{self, GROUP_MAGIC, HEAD_LEN, RECORD_MAGIC};
use super::holding::Holding;
use super::holes::Holes;
use super::read_ahead::{ReadAhead, end_of_piece};
use super::record::Record;
use super::scan::{BlockScan, FILE_HEAD_LEN, FileKind, ScanRange, file_head};
use super::wheel::WheelEntry;
use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile, OpenMode};

const SUFFIX: &str = ".delaylog";
/// Positions are below it: 4 EiB.
pub(super) const POSITIONS: u64 = 1 << 62;

/// One file.
#[derive(Debug)]
pub(super) struct LogSegment {
    pub(super) path: PathBuf,
    file: Arc<dyn LogFile>,
    /// The position of its first byte.
    pub(super) base: u64,
    /// Bytes in it, and where the next group goes.
    pub(super) len: u64,
    /// What in it is still needed for delivery.
    pub(super) holding: Holding,
    /// Up to which offset the log of a partition has to be durable, because batches before it were
    /// appended at once and would be appended again from here.
    pub(super) immediate: HashMap<u32, i64>,
    /// No ticket in it is smaller.
    pub(super) first_ticket: u64,
    /// Something in it was damaged: its bytes are kept under another name.
    pub(super) damaged: bool,
}

impl LogSegment {
    pub(super) fn end(&self) -> u64 {
        self.base + self.len
    }
}

/// The base that a file's name says, `None` for other files.
pub(super) fn base_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let base = plain.then(|| digits.parse().ok())?;
    base.filter(|base| *base < POSITIONS && base % block::ALIGNMENT == 0)
}

/// Files that a round of syncing covers.
#[derive(Debug)]
pub struct DelaySync {
    files: Vec<(PathBuf, Arc<dyn LogFile>)>,
    /// A file was made since the last round.
    dir: Option<PathBuf>,
    pub(super) end: u64,
    /// Everything before `end` has a smaller ticket, and everything behind it has not.
    pub(super) next_ticket: u64,
}

impl DelaySync {
    /// Makes everything accepted before the round durable. Needs no lock.
    ///
    /// # Errors
    /// `Io`; then the directory takes nothing any more until it is opened again.
    pub fn run(&self, fs: &dyn FileSystem) -> Result<(), StorageError> {
        for (path, file) in &self.files {
            file.sync_data().map_err(|error| sync_failed(path, error))?;
        }
        match &self.dir {
            Some(dir) => fs.sync_dir(dir).map_err(|error| sync_failed(dir, error)),
            None => Ok(()),
        }
    }
}

/// A failed sync is never repeated, not even on a full disk: the next one would not cover the same pages.
pub(super) fn sync_failed(path: &Path, error: io::Error) -> StorageError {
    StorageError::Io {
        op: "sync",
        path: path.to_path_buf(),
        source: Arc::new(error),
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct DelayLog {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    pub(super) salt: u64,
    segment_bytes: u64,
    pub(super) segments: VecDeque<LogSegment>,
    /// Where the next file begins, for which there was no room yet: the last one takes nothing more.
    begins: Option<u64>,
    /// Files that nothing is needed from once a checkpoint says so, and whether they are damaged.
    pub(super) retired: Vec<(PathBuf, bool)>,
    /// Everything before it is on the disk.
    pub(super) durable: u64,
    /// Files with something that is not durable, and the position behind it.
    unsynced: Vec<(PathBuf, Arc<dyn LogFile>, u64)>,
    /// The base of the last file whose name is not durable.
    new_name: Option<u64>,
    /// Where a crash left nothing.
    pub(super) holes: Holes,
}

impl DelayLog {
    /// A log without files.
    pub(super) fn new(fs: Arc<dyn FileSystem>, dir: &Path, salt: u64, segment_bytes: u64) -> Self {
        Self {
            fs,
            dir: dir.to_path_buf(),
            salt,
            segment_bytes,
            segments: VecDeque::new(),
            begins: None,
            retired: Vec::new(),
            durable: 0,
            unsynced: Vec::new(),
            new_name: None,
            holes: Holes::default(),
        }
    }

    /// Takes over a file that is there, which will be synced by the next round. Files come in their order.
    pub(super) fn restore(
        &mut self,
        base: u64,
        file: Arc<dyn LogFile>,
    ) -> Result<(), StorageError> {
        let path = self.path_of(base);
        let len = file
            .len()
            .map_err(|error| StorageError::from_io("look at", &path, error))?;
        self.unsynced
            .push((path.clone(), Arc::clone(&file), base + len));
        self.segments.push_back(LogSegment {
            path,
            file,
            base,
            len: len.next_multiple_of(block::ALIGNMENT).max(FILE_HEAD_LEN),
            holding: Holding::default(),
            immediate: HashMap::new(),
            first_ticket: u64::MAX,
            damaged: false,
        });
        Ok(())
    }

    /// Begins a new file at `base` behind what a start found; where the disk is full the next group does it.
    pub(super) fn begin(&mut self, base: u64, first_ticket: u64) -> Result<(), StorageError> {
        self.begins = Some(base);
        match self.roll(base, first_ticket) {
            Err(error) if error.passes() => Ok(()),
            begun => begun,
        }
    }

    /// Begins a new file at `base`.
    fn roll(&mut self, base: u64, first_ticket: u64) -> Result<(), StorageError> {
        let path = self.path_of(base);
        let file = self
            .fs
            .open(&path, OpenMode::Create)
            .map_err(|error| StorageError::from_io("create", &path, error))?;
        let write = || {
            // An earlier try may have left something.
            file.set_len(0)?;
            let head = file_head(FileKind::Log, self.salt, base);
            file.write_all_at(&[IoSlice::new(&head)], 0)
        };
        write().map_err(|error| StorageError::from_io("write", &path, error))?;
        self.begins = None;
        self.new_name = Some(base);
        self.unsynced
            .push((path.clone(), Arc::clone(&file), base + FILE_HEAD_LEN));
        self.segments.push_back(LogSegment {
            path,
            file,
            base,
            len: FILE_HEAD_LEN,
            holding: Holding::default(),
            immediate: HashMap::new(),
            first_ticket,
            damaged: false,
        });
        Ok(())
    }

    fn path_of(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}{SUFFIX}"))
    }

    /// The position behind the last group.
    pub(super) fn end(&self) -> u64 {
        let last = self.segments.back().map_or(0, LogSegment::end);
        self.begins.unwrap_or(last)
    }

    /// The position behind the last file, `None` where there is none.
    pub(super) fn last_end(&self) -> Option<u64> {
        self.segments.back().map(LogSegment::end)
    }

    /// The position of the first file.
    pub(super) fn start(&self) -> u64 {
        let first = self.segments.front();
        first.map_or(self.end(), |first| first.base)
    }

    /// The position at which a group would begin now. Starts a new file where the last one is full.
    pub(super) fn next_position(&mut self, first_ticket: u64) -> Result<u64, StorageError> {
        let last = self.segments.back();
        let full = last.is_none_or(|last| last.len >= self.segment_bytes);
        if full || self.begins.is_some() {
            self.roll(self.end(), first_ticket)?;
        }
        Ok(self.end())
    }

    /// Writes a group that was encoded for [`DelayLog::next_position`].
    pub(super) fn append(&mut self, group: &[u8]) -> Result<&mut LogSegment, StorageError> {
        let last = self.segments.back_mut().expect("a position was asked for");
        if let Err(error) = last.file.write_all_at(&[IoSlice::new(group)], last.len) {
            // A shorter group that is written here next would have the rest of this one behind it, which a start
            // takes for damage. Where this fails as well nothing worse comes of it.
            last.file.set_len(last.len).ok();
            return Err(StorageError::from_io("write", &last.path, error));
        }
        last.len += group.len() as u64;
        let end = last.base + last.len;
        match self.unsynced.last_mut() {
            Some((path, _, written)) if *path == last.path => *written = end,
            _ => {
                let (path, file) = (last.path.clone(), Arc::clone(&last.file));
                self.unsynced.push((path, file, end));
            }
        }
        Ok(last)
    }

    /// What a round has to sync, `None` where everything is durable.
    pub(super) fn sync_work(&self, next_ticket: u64) -> Option<DelaySync> {
        if self.unsynced.is_empty() && self.new_name.is_none() {
            return None;
        }
        let files = self.unsynced.iter();
        Some(DelaySync {
            files: files
                .map(|(path, file, _)| (path.clone(), Arc::clone(file)))
                .collect(),
            dir: self.new_name.map(|_| self.dir.clone()),
            end: self.end(),
            next_ticket,
        })
    }

    /// A round that went up to `end` is over.
    pub(super) fn synced(&mut self, end: u64) {
        self.unsynced.retain(|(_, _, written)| *written > end);
        self.new_name.take_if(|base| *base < end);
        self.durable = self.durable.max(end);
    }

    /// The segment that holds a position.
    pub(super) fn segment_at(&self, position: u64) -> Option<&LogSegment> {
        let behind = self
            .segments
            .partition_point(|segment| segment.base <= position);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        (position < segment.end()).then_some(segment)
    }

    /// As [`DelayLog::segment_at`], to change it.
    pub(super) fn segment_at_mut(&mut self, position: u64) -> Option<&mut LogSegment> {
        let behind = self
            .segments
            .partition_point(|segment| segment.base <= position);
        self.segments.get_mut(behind.checked_sub(1)?)
    }

    /// The record whose block lies at `position`; `None` where it is damaged.
    pub(super) fn read(&self, position: u64, len: u32) -> Result<Option<Record>, StorageError> {
        let Some(segment) = self.segment_at(position) else {
            return Ok(None);
        };
        read_record(
            &segment.path,
            segment.file.as_ref(),
            self.salt,
            (segment.base, position),
            len,
        )
    }

    /// Reads the first of these records together with what follows it; `None` where it is alone, or they cannot be
    /// read together.
    pub(super) fn read_ahead(&self, entries: &VecDeque<WheelEntry>) -> Option<ReadAhead> {
        let from = entries.front()?.place;
        let segment = self.segment_at(from)?;
        let to = end_of_piece(entries.iter(), segment.end())?;
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        let read = segment.file.read_exact_at(&mut bytes, from - segment.base);
        read.ok().map(|()| ReadAhead::new(from, bytes.into()))
    }

    /// The groups of the file at this place in the list, from a position on.
    pub(super) fn scan(&self, segment: usize, from: u64) -> BlockScan {
        let segment = &self.segments[segment];
        let from = from.saturating_sub(segment.base).max(FILE_HEAD_LEN);
        let range = ScanRange {
            magic: GROUP_MAGIC,
            salt: self.salt,
            base: segment.base,
            from,
            end: segment.len.min(segment.file.len().unwrap_or(segment.len)),
        };
        BlockScan::new(&segment.path, Arc::clone(&segment.file), range)
    }
}

/// The record in the block at a position; the first of `places` is that of the file's first byte.
/// `None` where it is damaged or cut off.
pub(super) fn read_record(
    path: &Path,
    file: &dyn LogFile,
    salt: u64,
    places: (u64, u64),
    len: u32,
) -> Result<Option<Record>, StorageError> {
    let (base, position) = places;
    let mut bytes = vec![0; len as usize];
    match file.read_exact_at(&mut bytes, position - base) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(StorageError::from_io("read", path, error)),
    }
    Ok(parse_record(salt, position, bytes.into()))
}

/// The record whose block these bytes are, which lie at a position; `None` where they are damaged.
pub(super) fn parse_record(salt: u64, position: u64, bytes: Bytes) -> Option<Record> {
    let body_len = block::parse(RECORD_MAGIC, salt, position, &bytes)?.len();
    Record::parse(&bytes.slice(HEAD_LEN..HEAD_LEN + body_len))
}
