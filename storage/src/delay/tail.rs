//! Reading the cursor of a partition from its log.

use tidewheel_protocol::BatchHeader;

use super::key::DelayKey;
use super::opening::PartitionTail;
use crate::error::StorageError;
use crate::shared_log::SharedLog;

/// Bytes that are looked through at a time.
const READ_BYTES: usize = 1 << 20;

/// The greatest key that the batches of a log carry, from the one that holds `from` on, or from the log's
/// start where that is later. Only headers are looked at.
///
/// # Errors
/// As for any read of the log.
pub fn read_tail<W>(log: &SharedLog<W>, from: i64) -> Result<PartitionTail, StorageError> {
    match log.unavailable() {
        None => {}
        // It only looks empty: what is known of it counts until the directory is back.
        Some(StorageError::LogDirOffline { .. }) => {
            return Ok(PartitionTail {
                log_end: from,
                last_key: None,
            });
        }
        Some(error) => return Err(error),
    }
    let offsets = log.offsets();
    let mut tail = PartitionTail {
        log_end: offsets.log_end,
        last_key: None,
    };
    let mut offset = from.max(offsets.log_start);
    while offset < offsets.log_end {
        let Some(slice) = log.read(offset, READ_BYTES, true)?.slice else {
            break;
        };
        let bytes = slice.load()?.bytes()?;
        let mut rest = bytes.as_ref();
        let before = offset;
        while let Ok(header) = BatchHeader::parse(rest) {
            tail.last_key = tail.last_key.max(DelayKey::of_header(&header));
            offset = offset.max(header.next_offset());
            let Some(behind) = rest.get(header.size_in_bytes()..) else {
                break;
            };
            rest = behind;
        }
        if offset == before {
            break;
        }
    }
    Ok(tail)
}
