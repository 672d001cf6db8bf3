//! Walks the batches of a `.log` file, whatever it holds.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::{BatchError, BatchHeader, RecordBatch};

use crate::error::StorageError;
use crate::fs::{FileSystem, LogFile, OpenMode};

/// Bytes read at once; a larger batch is read alone.
const READ_BYTES: u64 = 1 << 20;

/// One step of a walk.
#[derive(Debug)]
pub(super) enum Step {
    /// A batch whose length and CRC are right.
    Batch(RecordBatch),
    /// A batch with a plausible length and a wrong CRC; the walk goes on behind it.
    BadCrc {
        header: BatchHeader,
        error: BatchError,
    },
    /// Bytes that are no batch. Where the next one would begin is unknown, so the walk ends.
    Unreadable(String),
}

/// A `.log` file being walked from its beginning.
pub(super) struct LogFileReader<'a> {
    path: &'a Path,
    file: Arc<dyn LogFile>,
    len: u64,
    position: u64,
    /// Bytes of the file from `window_start` on.
    window: Bytes,
    window_start: u64,
}

impl<'a> LogFileReader<'a> {
    pub(super) fn open(fs: &dyn FileSystem, path: &'a Path) -> Result<Self, StorageError> {
        let failed = |error| StorageError::from_io("open", path, error);
        let file = fs.open(path, OpenMode::Read).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let window = Bytes::new();
        Ok(LogFileReader {
            path,
            file,
            len,
            position: 0,
            window,
            window_start: 0,
        })
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The next step and the position where it begins; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Step)>, StorageError> {
        let start = self.position;
        let rest = self.len - start;
        if rest == 0 {
            return Ok(None);
        }
        let read = match self.read_step(start, rest) {
            Ok(step) => step,
            Err(error) if is_bad_sector(&error) => Step::Unreadable(format!("{error}")),
            Err(error) => return Err(StorageError::from_io("read", self.path, error)),
        };
        self.position = match &read {
            Step::Batch(batch) => start + batch.header.size_in_bytes() as u64,
            Step::BadCrc { header, .. } => start + header.size_in_bytes() as u64,
            Step::Unreadable(_) => self.len,
        };
        Ok(Some((start, read)))
    }

    fn read_step(&mut self, start: u64, rest: u64) -> io::Result<Step> {
        let head = self.bytes(start, rest.min(BatchHeader::LEN as u64))?;
        if head.iter().all(|byte| *byte == 0) {
            return Ok(Step::Unreadable(format!(
                "{rest} bytes from here on begin with zeros"
            )));
        }
        let header = match BatchHeader::parse(&head) {
            Ok(header) => header,
            Err(error) => return Ok(Step::Unreadable(error.to_string())),
        };
        let size = header.size_in_bytes() as u64;
        if size > rest {
            let error = BatchError::Cut {
                announced: header.size_in_bytes(),
                actual: saturating(rest),
            };
            return Ok(Step::Unreadable(error.to_string()));
        }
        Ok(match RecordBatch::parse(self.bytes(start, size)?) {
            Ok(batch) => Step::Batch(batch),
            Err(error @ BatchError::Crc { .. }) => Step::BadCrc { header, error },
            Err(error) => Step::Unreadable(error.to_string()),
        })
    }

    /// `len` bytes from `position` on, which lie within the file.
    fn bytes(&mut self, position: u64, len: u64) -> io::Result<Bytes> {
        let window_end = self.window_start + self.window.len() as u64;
        if position < self.window_start || position + len > window_end {
            let wanted = len.max(READ_BYTES).min(self.len - position);
            let mut buffer = vec![0; saturating(wanted)];
            self.file.read_exact_at(&mut buffer, position)?;
            self.window = Bytes::from(buffer);
            self.window_start = position;
        }
        let start = saturating(position - self.window_start);
        Ok(self.window.slice(start..start + saturating(len)))
    }
}

fn saturating(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// Whether the disk could not deliver bytes that should be there: damage, and no reason to stop
/// looking at other files.
pub(super) fn is_bad_sector(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        || error.kind() == io::ErrorKind::UnexpectedEof
}
