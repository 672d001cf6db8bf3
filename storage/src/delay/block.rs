//! The unit in which files of the delay store are written and checked.
//!
//! ```text
//! magic u32 | body length u32 | body CRC u32 | head CRC u32 | body | zeros up to 8 bytes
//! ```
//! Numbers are big-endian, checksums CRC-32 (IEEE). The head CRC covers the store's salt, the position of
//! the block in its file and the 12 bytes before it. So a reader that has lost its way, because a length
//! rotted, finds the next block by trying every eighth byte: what a client sent cannot pass for one,
//! since it knows neither salt nor position.

use bytes::{Buf, BufMut};

/// Bytes before the body.
pub(super) const HEAD_LEN: usize = 16;
/// Blocks begin at multiples of it.
pub(super) const ALIGNMENT: u64 = 8;
/// What was accepted together: the unit of the delay log.
pub(super) const GROUP_MAGIC: u32 = 0x5457_4447;
/// One record, inside a group or in a bucket.
pub(super) const RECORD_MAGIC: u32 = 0x5457_4452;

/// A head that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) body_len: u32,
    pub(super) body_crc: u32,
}

impl Head {
    /// Bytes from this block to the next.
    pub(super) fn block_len(self) -> u64 {
        block_len(self.body_len)
    }
}

/// Bytes that a block with such a body takes.
pub(super) fn block_len(body_len: u32) -> u64 {
    (HEAD_LEN as u64 + u64::from(body_len)).next_multiple_of(ALIGNMENT)
}

fn head_crc(salt: u64, position: u64, first: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_be_bytes());
    hasher.update(&position.to_be_bytes());
    hasher.update(first);
    hasher.finalize()
}

/// The head of a block that will lie at `position`.
pub(super) fn head(magic: u32, salt: u64, position: u64, head: Head) -> [u8; HEAD_LEN] {
    let mut bytes = [0; HEAD_LEN];
    let mut out = &mut bytes[..];
    out.put_u32(magic);
    out.put_u32(head.body_len);
    out.put_u32(head.body_crc);
    let crc = head_crc(salt, position, &bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Adds a block to `out`, which begins at `base` in its file. The body is what `fill` adds.
pub(super) fn put(
    out: &mut Vec<u8>,
    magic: u32,
    salt: u64,
    base: u64,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.resize(start + HEAD_LEN, 0);
    fill(out);
    let body = &out[start + HEAD_LEN..];
    let body_len = u32::try_from(body.len()).expect("a group is bounded by the size of a request");
    let body_crc = crc32fast::hash(body);
    let head = head(
        magic,
        salt,
        base + start as u64,
        Head { body_len, body_crc },
    );
    out[start..start + HEAD_LEN].copy_from_slice(&head);
    pad(out, start);
}

/// Adds the zeros behind the block that begins at `start`.
pub(super) fn pad(out: &mut Vec<u8>, start: usize) {
    let len = (out.len() - start).next_multiple_of(8);
    out.resize(start + len, 0);
}

/// The head at the beginning of `bytes`, which lie at `position`, if it is one.
pub(super) fn parse_head(magic: u32, salt: u64, position: u64, bytes: &[u8]) -> Option<Head> {
    let mut fields = bytes.get(..HEAD_LEN)?;
    if fields.get_u32() != magic {
        return None;
    }
    let (body_len, body_crc, crc) = (fields.get_u32(), fields.get_u32(), fields.get_u32());
    (crc == head_crc(salt, position, &bytes[..12])).then_some(Head { body_len, body_crc })
}

/// The body of the block at the beginning of `bytes`, which lie at `position`, if all of it is sound.
pub(super) fn parse(magic: u32, salt: u64, position: u64, bytes: &[u8]) -> Option<&[u8]> {
    let head = parse_head(magic, salt, position, bytes)?;
    let body = bytes
        .get(HEAD_LEN..)?
        .get(..usize::try_from(head.body_len).ok()?)?;
    (crc32fast::hash(body) == head.body_crc).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_only_valid_where_it_was_written_and_as_it_was_written() {
        let mut bytes = Vec::new();
        for body in [&b"first"[..], b"", b"exactly 24 bytes to pad."] {
            put(&mut bytes, GROUP_MAGIC, 7, 32, |out| out.extend(body));
        }
        let mut at = 0;
        for expected in [&b"first"[..], b"", b"exactly 24 bytes to pad."] {
            let (rest, position) = (&bytes[at..], 32 + at as u64);
            assert_eq!(parse(GROUP_MAGIC, 7, position, rest), Some(expected));
            assert_eq!(parse(RECORD_MAGIC, 7, position, rest), None);
            assert_eq!(parse(GROUP_MAGIC, 8, position, rest), None);
            assert_eq!(parse(GROUP_MAGIC, 7, position + 8, rest), None);
            let head = parse_head(GROUP_MAGIC, 7, position, rest).unwrap();
            at += usize::try_from(head.block_len()).unwrap();
        }
        assert_eq!(at, bytes.len());
        for bit in 0..21 * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(GROUP_MAGIC, 7, 32, &damaged), None, "bit {bit}");
        }
    }
}
