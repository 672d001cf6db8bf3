//! Reads the batches of a `.log` file one after the other before anything is mapped.

use std::path::Path;

use bytes::Bytes;
use tidewheel_protocol::{BatchHeader, RecordBatch};

use crate::error::StorageError;
use crate::fs::LogFile;

/// Bytes of one read while only headers are looked at.
const HEADER_READ_BYTES: u64 = 16 << 10;
/// Bytes of one read while whole batches are checked.
const BATCH_READ_BYTES: u64 = 1 << 20;

/// How much of a batch is believed unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It is durable: the header's fields and its place are checked.
    Header,
    /// It may be torn: the CRC is checked too.
    Nothing,
}

/// What must hold for the next batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// Its base offset.
    pub(crate) base_offset: i64,
    /// The largest offset that may follow it: a batch that claims more was damaged, and what lies
    /// behind it must not be taken for something that is not there.
    pub(crate) next_offset_max: i64,
    /// Leader epochs never fall.
    pub(crate) epoch_min: i32,
    /// It may begin later: compaction took what was before it.
    pub(crate) holes: bool,
}

/// A batch that is as expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanned {
    /// Its first byte.
    pub(crate) position: u64,
    /// Its header.
    pub(crate) header: BatchHeader,
}

/// What comes next in the file.
#[derive(Debug)]
pub(crate) enum Next {
    /// A good batch.
    Batch(Scanned),
    /// The end of the file.
    End,
    /// Something else; the text says what.
    Bad(String),
}

/// Reads forward through a file.
#[derive(Debug)]
pub(crate) struct BatchScan<'a> {
    file: &'a dyn LogFile,
    path: &'a Path,
    len: u64,
    position: u64,
    buffer: Bytes,
    buffer_position: u64,
}

impl<'a> BatchScan<'a> {
    /// Starts at `position` of a file of `len` bytes.
    pub(crate) fn new(file: &'a dyn LogFile, path: &'a Path, len: u64, position: u64) -> Self {
        Self {
            file,
            path,
            len,
            position,
            buffer: Bytes::new(),
            buffer_position: 0,
        }
    }

    /// Where the next batch begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next header, wherever it says it belongs; `None` at the end and where there is none.
    pub(crate) fn peek(&mut self) -> Result<Option<BatchHeader>, StorageError> {
        if self.len - self.position < BatchHeader::LEN as u64 {
            return Ok(None);
        }
        let bytes = self.take(BatchHeader::LEN, HEADER_READ_BYTES)?;
        Ok(BatchHeader::parse(&bytes).ok())
    }

    /// Calls `visit` with the batches of a sealed segment, whose first offset may be `base_offset` and behind
    /// which `end` follows, until it returns false. Every byte is checked.
    ///
    /// # Errors
    /// What `visit` says; `Io`, `Corrupt`.
    pub(crate) fn for_each_sealed(
        mut self,
        base_offset: i64,
        end: i64,
        mut visit: impl FnMut(&RecordBatch) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut expected = Expected {
            base_offset,
            next_offset_max: end,
            epoch_min: i32::MIN,
            holes: true,
        };
        while let Some(batch) = self.next_whole(expected)? {
            expected.base_offset = batch.header.next_offset();
            if !visit(&batch)? {
                return Ok(());
            }
        }
        if expected.base_offset != end {
            let reason = format!("offset {} where {end} follows", expected.base_offset);
            return Err(StorageError::corrupt(self.path, self.len, reason));
        }
        Ok(())
    }

    /// Looks at the next batch and moves past it where it is good.
    pub(crate) fn next(&mut self, expected: Expected, trust: Trust) -> Result<Next, StorageError> {
        let left = self.len - self.position;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < BatchHeader::LEN as u64 {
            return Ok(Next::Bad(format!("{left} bytes are left, no batch header")));
        }
        let read_bytes = if trust == Trust::Header {
            HEADER_READ_BYTES
        } else {
            BATCH_READ_BYTES
        };
        let header = match BatchHeader::parse(&self.take(BatchHeader::LEN, read_bytes)?) {
            Ok(header) => header,
            Err(error) => return Ok(Next::Bad(error.to_string())),
        };
        if let Err(reason) = check_header(&header, expected, left) {
            return Ok(Next::Bad(reason));
        }
        let position = self.position;
        if trust == Trust::Nothing {
            let bytes = self.take(header.size_in_bytes(), read_bytes)?;
            if let Err(error) = RecordBatch::parse(bytes) {
                return Ok(Next::Bad(error.to_string()));
            }
        }
        self.position += header.size_in_bytes() as u64;
        Ok(Next::Batch(Scanned { position, header }))
    }

    /// Why the batch that [`Self::next`] has just given does not belong where it says it does, if it stands behind a
    /// hole and what follows in the file, or `end`, where that ends, tells so: its offset is under no checksum.
    pub(crate) fn misplaced(
        &mut self,
        batch: &Scanned,
        expected: Expected,
        end: i64,
    ) -> Result<Option<String>, StorageError> {
        let (here, next) = (batch.header.base_offset, batch.header.next_offset());
        if here == expected.base_offset {
            return Ok(None);
        }
        let follows = match self.peek()? {
            Some(following) => following.base_offset >= next,
            // What cannot be read tells nothing.
            None => self.position < self.len || next == end,
        };
        let reason = format!("offset {here} where {} follows", expected.base_offset);
        Ok((!follows).then_some(reason))
    }

    /// The next batch with its bytes, all of them checked; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` for everything else; `Io`.
    pub(crate) fn next_whole(
        &mut self,
        expected: Expected,
    ) -> Result<Option<RecordBatch>, StorageError> {
        let left = self.len - self.position;
        if left == 0 {
            return Ok(None);
        }
        let (path, position) = (self.path, self.position);
        let corrupt = |reason: String| StorageError::corrupt(path, position, reason);
        if left < BatchHeader::LEN as u64 {
            return Err(corrupt(format!("{left} bytes are left, no batch header")));
        }
        let header = BatchHeader::parse(&self.take(BatchHeader::LEN, BATCH_READ_BYTES)?)
            .map_err(|error| corrupt(error.to_string()))?;
        check_header(&header, expected, left).map_err(corrupt)?;
        let bytes = self.take(header.size_in_bytes(), BATCH_READ_BYTES)?;
        let batch = RecordBatch::parse(bytes).map_err(|error| corrupt(error.to_string()))?;
        self.position += header.size_in_bytes() as u64;
        Ok(Some(batch))
    }

    /// The bytes at the current position; `read_bytes` are read at once where they are not there.
    fn take(&mut self, len: usize, read_bytes: u64) -> Result<Bytes, StorageError> {
        let start = self.position.checked_sub(self.buffer_position);
        let start = start.and_then(|start| usize::try_from(start).ok());
        if let Some(start) = start
            && start + len <= self.buffer.len()
        {
            return Ok(self.buffer.slice(start..start + len));
        }
        let want = read_bytes.max(len as u64).min(self.len - self.position);
        let mut bytes = vec![0; usize::try_from(want).unwrap_or(len)];
        let read = self.file.read_exact_at(&mut bytes, self.position);
        read.map_err(|error| StorageError::from_io("read", self.path, error))?;
        self.buffer = Bytes::from(bytes);
        self.buffer_position = self.position;
        Ok(self.buffer.slice(..len))
    }
}

fn check_header(header: &BatchHeader, expected: Expected, left: u64) -> Result<(), String> {
    let size = header.size_in_bytes() as u64;
    let follows = header.base_offset == expected.base_offset
        || expected.holes && header.base_offset > expected.base_offset;
    if !follows {
        return Err(format!(
            "offset {} where {} follows",
            header.base_offset, expected.base_offset
        ));
    }
    if size > left {
        return Err(format!("a batch of {size} bytes is cut after {left}"));
    }
    let delta = header.last_offset_delta;
    let last = header.base_offset.checked_add(i64::from(delta));
    if delta < 0 || last.is_none_or(|last| last >= expected.next_offset_max) {
        let max = expected.next_offset_max;
        return Err(format!(
            "last offset delta {delta} where offset {max} follows"
        ));
    }
    if header.partition_leader_epoch < expected.epoch_min {
        let epoch = header.partition_leader_epoch;
        return Err(format!("leader epoch {epoch} after {}", expected.epoch_min));
    }
    Ok(())
}
