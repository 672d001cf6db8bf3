//! Snappy in xerial's framing, and without any.
//!
//! ```text
//! magic 82 53 4E 41 50 50 59 00 | version i32 | compatible version i32 |
//! per block: length i32 | raw snappy block
//! ```
//! Java writes this, so everybody reads it; some clients write one raw block instead.

use std::io;

use super::Failure;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// The magic, version 1, readable from version 1 on. Readers take any version.
const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Uncompressed bytes per block, as xerial's writer has it.
const BLOCK_BYTES: usize = 32 * 1024;
/// More than snappy can gain: an element of three bytes copies at most 64.
const RATIO_MAX: usize = 32;

pub(super) fn compress(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut output = HEADER.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block)?;
        // A block of 32 KiB grows by a few bytes at most.
        output.extend(
            u32::try_from(compressed.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        output.extend(compressed);
    }
    Ok(output)
}

pub(super) fn decompress(compressed: &[u8], max_len: usize) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    if !compressed.starts_with(&MAGIC) {
        decompress_block(compressed, max_len, &mut output)?;
        return Ok(output);
    }
    let mut blocks = compressed.get(HEADER.len()..).ok_or_else(Failure::cut)?;
    while let Some((len, rest)) = blocks.split_first_chunk::<4>() {
        let len = usize::try_from(i32::from_be_bytes(*len)).map_err(Failure::corrupt)?;
        let (block, rest) = rest.split_at_checked(len).ok_or_else(Failure::cut)?;
        decompress_block(block, max_len, &mut output)?;
        blocks = rest;
    }
    if blocks.is_empty() {
        Ok(output)
    } else {
        Err(Failure::cut())
    }
}

/// Appends the content of one raw block.
fn decompress_block(block: &[u8], max_len: usize, output: &mut Vec<u8>) -> Result<(), Failure> {
    let len = snap::raw::decompress_len(block).map_err(Failure::corrupt)?;
    // The block states its length: believed only as far as its bytes could make it.
    if len > block.len().saturating_mul(RATIO_MAX) {
        return Err(Failure::cut());
    }
    let start = output.len();
    if len > max_len.saturating_sub(start) {
        return Err(Failure::TooLarge);
    }
    output.resize(start + len, 0);
    let room = output.get_mut(start..).unwrap_or_default();
    let written = snap::raw::Decoder::new()
        .decompress(block, room)
        .map_err(Failure::corrupt)?;
    output.truncate(start + written);
    Ok(())
}
