//! LZ4 frames, read here block by block: the library's frame reader takes a frame without its end for
//! a whole one, and reserves buffers for the largest block that a header of seven bytes may announce.
//!
//! ```text
//! magic 04 22 4D 18 | flags u8 | block size u8 | [content size u64] | header checksum u8 |
//! per block: size u32 (high bit: stored), data, [checksum u32] | end mark 00 00 00 00 |
//! [content checksum u32], all little endian
//! ```
//! Checksums are skipped: the CRC of the record batch covers the same bytes. As in Kafka's own reader,
//! blocks that depend on each other and dictionaries are not supported.

use std::io::{self, Write};

use lz4_flex::block::{DecompressError, decompress_into};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::Failure;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4D, 0x18];
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT_BLOCKS: u8 = 0b0010_0000;
const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const DICTIONARY: u8 = 0b0000_0001;
/// High bit of a block's size: the data is stored as it is.
const STORED: u32 = 1 << 31;
/// More than LZ4 can gain: a byte that extends a match stands for 255.
const RATIO_MAX: usize = 255;

pub(super) fn compress(records: &[u8]) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(records)?;
    encoder.finish().map_err(io::Error::from)
}

pub(super) fn decompress(compressed: &[u8], max_len: usize) -> Result<Vec<u8>, Failure> {
    let mut input = compressed;
    if take(&mut input, MAGIC.len())? != MAGIC {
        return Err(Failure::Corrupt("not an LZ4 frame".to_owned()));
    }
    let flags = take_byte(&mut input)?;
    let block_bytes_max = block_bytes_max(take_byte(&mut input)?)?;
    let supported = flags & VERSION_MASK == VERSION
        && flags & INDEPENDENT_BLOCKS != 0
        && flags & DICTIONARY == 0;
    if !supported {
        return Err(Failure::Corrupt(format!(
            "LZ4 frame flags {flags:#04x} are not supported"
        )));
    }
    take(&mut input, if flags & CONTENT_SIZE == 0 { 1 } else { 9 })?;
    let mut output = Vec::new();
    loop {
        let size = take_u32(&mut input)?;
        if size == 0 {
            break;
        }
        let len = usize::try_from(size & !STORED).map_err(Failure::corrupt)?;
        let block = take(&mut input, len)?;
        if size & STORED == 0 {
            append_block(block, block_bytes_max, max_len, &mut output)?;
        } else if len > max_len.saturating_sub(output.len()) {
            return Err(Failure::TooLarge);
        } else {
            output.extend_from_slice(block);
        }
        if flags & BLOCK_CHECKSUMS != 0 {
            take_u32(&mut input)?;
        }
    }
    if flags & CONTENT_CHECKSUM != 0 {
        take_u32(&mut input)?;
    }
    if input.is_empty() {
        Ok(output)
    } else {
        Err(Failure::Corrupt(format!(
            "{} bytes follow the LZ4 frame",
            input.len()
        )))
    }
}

/// Appends the content of one compressed block.
fn append_block(
    block: &[u8],
    block_bytes_max: usize,
    max_len: usize,
    output: &mut Vec<u8>,
) -> Result<(), Failure> {
    let start = output.len();
    let left = max_len.saturating_sub(start);
    let content_max = block_bytes_max.min(block.len().saturating_mul(RATIO_MAX));
    output.resize(start + content_max.min(left), 0);
    let room = output.get_mut(start..).unwrap_or_default();
    let written = decompress_into(block, room).map_err(|error| match error {
        DecompressError::OutputTooSmall { .. } if left < content_max => Failure::TooLarge,
        error => Failure::corrupt(error),
    })?;
    output.truncate(start + written);
    Ok(())
}

/// The largest content of a block: 64 KiB, 256 KiB, 1 MiB or 4 MiB.
fn block_bytes_max(descriptor: u8) -> Result<usize, Failure> {
    match descriptor >> 4 & 0b111 {
        exponent @ 4..=7 => Ok(1 << (8 + 2 * exponent)),
        other => Err(Failure::Corrupt(format!(
            "LZ4 block size code {other} does not exist"
        ))),
    }
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], Failure> {
    let (taken, rest) = input.split_at_checked(len).ok_or_else(Failure::cut)?;
    *input = rest;
    Ok(taken)
}

fn take_byte(input: &mut &[u8]) -> Result<u8, Failure> {
    take(input, 1)?.first().copied().ok_or_else(Failure::cut)
}

fn take_u32(input: &mut &[u8]) -> Result<u32, Failure> {
    let bytes = take(input, 4)?
        .first_chunk::<4>()
        .ok_or_else(Failure::cut)?;
    Ok(u32::from_le_bytes(*bytes))
}
