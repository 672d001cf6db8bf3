//! What readers see of a log: the published segments and offsets. No log mutex is taken here.
//!
//! A read takes the offsets first and the segment list after them. The writer stores in the other
//! order (bytes, visible length, list, offsets), so every offset below the high watermark that was
//! read lies in the visible part of the list that is read next, or retention has moved past it.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustix::io::Errno;
use tidewheel_protocol::{BatchError, BatchHeader, RecordBatch};

use crate::error::StorageError;
use crate::fs::MappedFile;
use crate::log_offsets::{LogOffsets, LogOffsetsSnapshot};
use crate::partition_dir::PartitionDir;
use crate::segment::{LogSegment, ScanStart};
use crate::segment_file::SegmentFile;
use crate::segments::SegmentList;

/// Bytes at the end of a log that are taken to be in the page cache without asking, where they were
/// written since the log was opened.
const HOT_BYTES: u64 = 64 << 20;
/// Bytes that one read of a cold slice brings in.
const LOAD_BYTES: usize = 256 << 10;

/// What a read found.
#[derive(Clone, Debug)]
pub struct LogRead {
    /// The batches, none where there is nothing to see at the offset or it did not fit.
    pub slice: Option<RecordSlice>,
    /// Visible bytes from the first batch to the end of its segment, whether they fit or not.
    pub available: u64,
    /// The log goes on in a later segment: however long one waits, no read from this offset finds
    /// more than `available`.
    pub complete: bool,
    /// The offsets of the partition, not older than the slice.
    pub offsets: LogOffsetsSnapshot,
}

impl LogRead {
    fn nothing(offsets: LogOffsetsSnapshot) -> Self {
        Self {
            slice: None,
            available: 0,
            complete: false,
            offsets,
        }
    }
}

/// Why a read that must not wait for the disk gave nothing.
enum Missed {
    /// It would have to wait.
    NeedsDisk,
    Failed(StorageError),
}

impl From<StorageError> for Missed {
    fn from(error: StorageError) -> Self {
        Self::Failed(error)
    }
}

/// The published part of a log.
#[derive(Debug)]
pub(crate) struct LogReader {
    dir: Arc<PartitionDir>,
    offsets: LogOffsets,
    list: ArcSwap<SegmentList>,
}

impl LogReader {
    /// Shows `list`; offsets follow with the first publish.
    pub(crate) fn new(dir: Arc<PartitionDir>, list: Arc<SegmentList>) -> Self {
        Self {
            dir,
            offsets: LogOffsets::default(),
            list: ArcSwap::new(list),
        }
    }

    /// The offsets.
    pub(crate) fn offsets(&self) -> &LogOffsets {
        &self.offsets
    }

    /// The segments.
    pub(crate) fn list(&self) -> Arc<SegmentList> {
        self.list.load_full()
    }

    /// Shows another list. Only `Log::edit` calls it.
    pub(crate) fn show_list(&self, list: Arc<SegmentList>) {
        self.list.store(list);
    }

    /// Finds the batch that holds `offset` and what follows it in its segment, up to the high
    /// watermark and at most `max_bytes`. The first batch comes whole where `whole_first_batch` asks
    /// for it, however long it is; without that a first batch that does not fit gives no slice. The
    /// last one may be cut.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        whole_first_batch: bool,
    ) -> Result<LogRead, StorageError> {
        self.read_from(offset, max_bytes, whole_first_batch, |segments, end| {
            let start = segments[0].scan_start(offset, end)?;
            Ok((start, false))
        })
    }

    /// The same without opening, mapping or reading a file, or looking at pages that may not be in
    /// memory; `None` where that is needed.
    pub(crate) fn read_in_memory(
        &self,
        offset: i64,
        max_bytes: usize,
        whole_first_batch: bool,
    ) -> Result<Option<LogRead>, StorageError> {
        let read = self.read_from(offset, max_bytes, whole_first_batch, |segments, end| {
            let start = segments[0].scan_start_in_memory(offset, end);
            start
                .filter(|start| is_hot(segments, start.position))
                .map(|start| (start, true))
                .ok_or(Missed::NeedsDisk)
        });
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Missed::NeedsDisk) => Ok(None),
            Err(Missed::Failed(error)) => Err(error),
        }
    }

    /// Reads; `scan_start` says where a scan begins in the first of some segments, which is not empty
    /// before the `end` it is given, and whether what lies from there on is hot.
    fn read_from<E: From<StorageError>>(
        &self,
        offset: i64,
        max_bytes: usize,
        whole_first_batch: bool,
        scan_start: impl Fn(&[Arc<LogSegment>], u64) -> Result<(ScanStart, bool), E>,
    ) -> Result<LogRead, E> {
        self.dir.check_live()?;
        let offsets = self.check_range(offset)?;
        if offset >= offsets.high_watermark {
            return Ok(LogRead::nothing(offsets));
        }
        let list = self.list();
        let segments = list.starting_at(offset);
        for (at, segment) in segments.iter().enumerate() {
            let tail = &segments[at..];
            let end = segment.visible_len();
            if end == 0 {
                continue;
            }
            let (start, hot) = scan_start(tail, end)?;
            if let Some((position, first)) = find_batch(&start, offset, end)? {
                let available = end - position;
                let first_len = first.size_in_bytes();
                let len = if max_bytes >= first_len {
                    Some(max_bytes.min(usize::try_from(available).unwrap_or(usize::MAX)))
                } else {
                    whole_first_batch.then_some(first_len)
                };
                let file = start.file;
                return Ok(LogRead {
                    slice: len.map(|len| RecordSlice {
                        file,
                        position,
                        len,
                        hot,
                    }),
                    available,
                    complete: tail.len() > 1 && end == segment.published_len(),
                    offsets: self.offsets.snapshot(),
                });
            }
        }
        // Retention took the segment between the two looks.
        Ok(LogRead::nothing(self.check_range(offset)?))
    }

    fn check_range(&self, offset: i64) -> Result<LogOffsetsSnapshot, StorageError> {
        let offsets = self.offsets.snapshot();
        if offset < offsets.log_start || offset > offsets.log_end {
            let LogOffsetsSnapshot {
                log_start: start,
                log_end: end,
                ..
            } = offsets;
            return Err(StorageError::OffsetOutOfRange { offset, start, end });
        }
        Ok(offsets)
    }
}

/// The first batch before `end` whose last offset is at or after `offset`.
fn find_batch(
    start: &ScanStart,
    offset: i64,
    end: u64,
) -> Result<Option<(u64, BatchHeader)>, StorageError> {
    let mut found = None;
    let visit = |position, header: &BatchHeader| {
        if header.last_offset() >= offset {
            found = Some((position, *header));
        }
        Ok(found.is_none())
    };
    start.file.walk(&*start.map, start.position, end, visit)?;
    Ok(found)
}

/// Whether what lies from `position` on in the first of these segments, the last ones of a log, was
/// written since the start and is near the log's end.
fn is_hot(segments: &[Arc<LogSegment>], position: u64) -> bool {
    let old = |first: &Arc<LogSegment>| position < first.len_at_open();
    if segments.first().is_none_or(old) {
        return false;
    }
    let mut distance = 0;
    for segment in segments {
        distance += segment.published_len();
        if distance - position > HOT_BYTES {
            return false;
        }
    }
    true
}

/// Whole or cut batches in a segment, without a copy. It keeps the file open and mapped, so
/// retention and deletion do not touch it.
#[derive(Clone, Debug)]
pub struct RecordSlice {
    file: Arc<SegmentFile>,
    position: u64,
    len: usize,
    hot: bool,
}

impl RecordSlice {
    /// The most bytes that one [`Self::send_to`] sends, so that others have their turn.
    pub const SEND_BYTES_MAX: usize = 1 << 20;

    /// Bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a slice is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether reading it will not wait for the disk. What was written lately is taken to be in the page
    /// cache without asking.
    #[must_use]
    pub fn is_resident(&self) -> bool {
        self.hot
            || self
                .map()
                .is_ok_and(|map| map.is_resident(self.position, self.len))
    }

    /// Brings the slice into the page cache and checks the CRC of every whole batch in it. Returns what
    /// is good of it: all before the first batch that is not what was written. Blocks.
    ///
    /// # Errors
    /// `Io` where it cannot be read, `Corrupt` where its first batch is bad.
    pub fn load(&self) -> Result<Self, StorageError> {
        let mut done = 0;
        while self.len - done >= BatchHeader::LEN {
            match self.check_batch(done) {
                Ok(size) if size > self.len - done => break,
                Ok(size) => done += size,
                Err(StorageError::Corrupt { .. }) if done > 0 => {
                    return Ok(Self {
                        len: done,
                        ..self.clone()
                    });
                }
                Err(error) => return Err(error),
            }
        }
        self.bring_in(done..self.len)?;
        Ok(self.clone())
    }

    /// Whether these of its bytes are in the page cache. Asks the system, unlike [`Self::is_resident`]: what
    /// was there may have left while a reader let the slice wait.
    #[must_use]
    pub fn is_still_resident(&self, bytes: &Range<usize>) -> bool {
        self.map()
            .is_ok_and(|map| map.is_resident(self.position + bytes.start as u64, bytes.len()))
    }

    /// Brings these of its bytes into the page cache, as they are. Blocks.
    ///
    /// # Errors
    /// `Io` where they cannot be read.
    pub fn bring_in(&self, bytes: Range<usize>) -> Result<(), StorageError> {
        let end = bytes.end.min(self.len);
        let mut done = bytes.start.min(end);
        let mut piece = vec![0; LOAD_BYTES.min(end - done)];
        while done < end {
            let part = piece.len().min(end - done);
            self.read_at(&mut piece[..part], self.position + done as u64)?;
            done += part;
        }
        Ok(())
    }

    /// Checks the batch that begins `start` bytes into the slice, as far as it lies in it; returns its
    /// size in bytes.
    fn check_batch(&self, start: usize) -> Result<usize, StorageError> {
        let position = self.position + start as u64;
        let corrupt = |error: BatchError| {
            StorageError::corrupt(self.file.path(), position, error.to_string())
        };
        let mut bytes = vec![0; BatchHeader::LEN];
        self.read_at(&mut bytes, position)?;
        let size = BatchHeader::parse(&bytes).map_err(corrupt)?.size_in_bytes();
        if size <= self.len - start {
            bytes.resize(size, 0);
            self.read_at(&mut bytes, position)?;
            RecordBatch::parse(Bytes::from(bytes)).map_err(corrupt)?;
        }
        Ok(size)
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> Result<(), StorageError> {
        let read = self.file.file().read_exact_at(bytes, position);
        read.map_err(|error| StorageError::from_io("read", self.file.path(), error))
    }

    /// The bytes, as a view of the map: nothing is copied, pages come in when they are touched.
    ///
    /// # Errors
    /// `Io` where the file cannot be mapped.
    pub fn bytes(&self) -> Result<Bytes, StorageError> {
        Ok(mapped_bytes(self.map()?, self.position, self.len))
    }

    /// Whether [`Self::send_to`] can send it: its file is one of the system's.
    #[must_use]
    pub fn can_be_sent(&self) -> bool {
        self.file.file().descriptor().is_some()
    }

    /// Has the kernel send some of the slice from its byte `start` on, without a copy (`sendfile`), and
    /// returns how many bytes went. What is sent never changes: the slice is below the published length.
    ///
    /// # Errors
    /// Of the socket: `WouldBlock` where it takes nothing now. `Unsupported` where [`Self::can_be_sent`] is
    /// not so or the file system or a filter of system calls refuses it. What is wrong with the file, which
    /// may be too short, has a [`StorageError`] inside.
    pub fn send_to(&self, socket: BorrowedFd<'_>, start: usize) -> io::Result<usize> {
        let file = self.file.file().descriptor();
        let file = file.ok_or(io::ErrorKind::Unsupported)?;
        let mut position = self.position + start as u64;
        let len = self.len.saturating_sub(start).min(Self::SEND_BYTES_MAX);
        loop {
            return match rustix::fs::sendfile(socket, file, Some(&mut position), len) {
                Ok(0) if len > 0 => Err(self.cannot_send(io::ErrorKind::UnexpectedEof.into())),
                Ok(sent) => Ok(sent),
                Err(Errno::INTR) => continue,
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    Err(io::ErrorKind::Unsupported.into())
                }
                // No socket answers so: it is the disk.
                Err(Errno::IO) => Err(self.cannot_send(Errno::IO.into())),
                Err(error) => Err(error.into()),
            };
        }
    }

    fn cannot_send(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        let error = StorageError::from_io("send", self.file.path(), error);
        io::Error::new(kind, error)
    }

    fn map(&self) -> Result<Arc<dyn MappedFile>, StorageError> {
        self.file.mapped(self.position + self.len as u64)
    }
}

impl tidewheel_protocol::RecordsLen for RecordSlice {
    fn records_len(&self) -> usize {
        self.len
    }
}

struct MappedRange {
    map: Arc<dyn MappedFile>,
    position: u64,
    len: usize,
}

impl AsRef<[u8]> for MappedRange {
    fn as_ref(&self) -> &[u8] {
        self.map.bytes(self.position, self.len).unwrap_or_default()
    }
}

/// Published bytes of a map that keep it alive; the caller has checked that the map reaches so far.
pub(crate) fn mapped_bytes(map: Arc<dyn MappedFile>, position: u64, len: usize) -> Bytes {
    Bytes::from_owner(MappedRange { map, position, len })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tidewheel_protocol::{TopicPartition, Uuid};

    use super::*;
    use crate::disk_space::SpaceLimits;
    use crate::fs::SimFs;
    use crate::log_dir::LogDir;
    use crate::manifest::SegmentManifest;
    use crate::partition_dir::Presence;

    #[test]
    fn only_what_was_written_since_the_start_is_taken_to_be_in_the_page_cache() {
        let log_dir = LogDir::new(
            Arc::new(SimFs::new()),
            PathBuf::from("/data"),
            SpaceLimits::default(),
            Arc::default(),
        );
        let tp = TopicPartition {
            topic: Arc::from("t"),
            partition: 0,
        };
        let dir = Arc::new(PartitionDir::new(
            Arc::new(log_dir),
            tp,
            Uuid([1; 16]),
            Presence::Durable,
        ));
        let found = SegmentManifest {
            base_offset: 0,
            log_bytes: 1_000,
            max_timestamp: 1,
            offset_of_max_timestamp: 9,
            first_timestamp: 1,
        };
        let found = Arc::new(LogSegment::known(Arc::clone(&dir), &found));
        let new = Arc::new(LogSegment::empty(dir, 10));
        assert!(!is_hot(&[Arc::clone(&found), Arc::clone(&new)], 0));
        assert!(!is_hot(&[Arc::clone(&found), Arc::clone(&new)], 999));
        assert!(
            is_hot(&[found, Arc::clone(&new)], 1_000),
            "appended behind it"
        );
        assert!(is_hot(&[new], 0));
    }
}
