//! Writes primitive values into one growing buffer.

use bytes::{BufMut, Bytes, BytesMut};

use super::STRING_BYTES_MAX;
use crate::types::Uuid;

/// A place in a [`Writer`] where record bytes belong that are not copied into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// How many bytes of the buffer come before.
    pub(crate) position: usize,
    /// How many bytes belong there.
    pub(crate) len: usize,
}

/// A buffer that messages are encoded into.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: BytesMut,
    gaps: Vec<Gap>,
}

impl Writer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes were written, without those of gaps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        self.bytes.freeze()
    }

    /// Bytes that belong into the gaps.
    pub(crate) fn gap_bytes(&self) -> usize {
        self.gaps
            .iter()
            .fold(0, |sum, gap| sum.saturating_add(gap.len))
    }

    /// What was written, and where records belong into it.
    pub(crate) fn into_parts(self) -> (Bytes, Vec<Gap>) {
        (self.bytes.freeze(), self.gaps)
    }

    /// Leaves room for `len` record bytes that another part of the frame brings.
    pub(crate) fn leave_gap(&mut self, len: usize) {
        self.gaps.push(Gap {
            position: self.bytes.len(),
            len,
        });
    }

    /// Puts the count of all bytes after the first four, gaps included, into the first four.
    pub(crate) fn set_frame_len(&mut self) {
        let len = self
            .len()
            .saturating_sub(4)
            .saturating_add(self.gap_bytes());
        if let Some(prefix) = self.bytes.first_chunk_mut::<4>() {
            *prefix = wire_len(len).to_be_bytes();
        }
    }

    /// Appends bytes as they are.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    /// Appends an 8-bit integer.
    pub fn put_i8(&mut self, value: i8) {
        self.bytes.put_i8(value);
    }

    /// Appends a 16-bit integer.
    pub fn put_i16(&mut self, value: i16) {
        self.bytes.put_i16(value);
    }

    /// Appends a 32-bit integer.
    pub fn put_i32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    /// Appends a 64-bit integer.
    pub fn put_i64(&mut self, value: i64) {
        self.bytes.put_i64(value);
    }

    /// Appends 1 or 0.
    pub fn put_bool(&mut self, value: bool) {
        self.bytes.put_u8(value.into());
    }

    /// Appends the 16 bytes of an id.
    pub fn put_uuid(&mut self, value: Uuid) {
        self.bytes.put_slice(&value.0);
    }

    /// Appends an unsigned variable-length integer.
    pub fn put_uvarint(&mut self, value: u32) {
        self.put_uvarlong(value.into());
    }

    /// Appends a signed variable-length integer of 32 bits.
    pub fn put_varint(&mut self, value: i32) {
        self.put_uvarint((value << 1 ^ value >> 31).cast_unsigned());
    }

    /// Appends a signed variable-length integer of 64 bits.
    pub fn put_varlong(&mut self, value: i64) {
        self.put_uvarlong((value << 1 ^ value >> 63).cast_unsigned());
    }

    fn put_uvarlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.put_u8((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8((value & 0x7F) as u8);
    }

    /// Appends a string; `None` is null.
    ///
    /// A string over [`STRING_BYTES_MAX`] bytes has no encoding: it is cut before the character that
    /// would cross the limit, so that the message around it stays readable.
    pub fn put_nullable_string(&mut self, text: Option<&[u8]>, compact: bool) {
        let text = text.map(|text| cut_to(text, STRING_BYTES_MAX));
        match (text, compact) {
            (_, true) => self.put_compact_len(text.map(<[u8]>::len)),
            (Some(text), false) => self.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX)),
            (None, false) => self.put_i16(-1),
        }
        self.put_slice(text.unwrap_or_default());
    }

    /// Appends the length of a byte field or the count of an array; `None` is null.
    pub fn put_nullable_len(&mut self, len: Option<usize>, compact: bool) {
        if compact {
            self.put_compact_len(len);
        } else {
            self.put_i32(len.map_or(-1, wire_len));
        }
    }

    fn put_compact_len(&mut self, len: Option<usize>) {
        self.put_uvarint(len.map_or(0, |len| wire_len(len).cast_unsigned() + 1));
    }

    /// Appends a tagged field: its tag, its size, and what `write` writes.
    pub(crate) fn put_tagged_field(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        let mut value = Self::new();
        write(&mut value);
        self.put_uvarint(tag);
        self.put_uvarint(wire_len(value.len()).cast_unsigned());
        self.put_slice(&value.bytes);
    }
}

/// A length in memory as a length on the wire. Nothing this large can be held, far less sent.
fn wire_len(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// The longest prefix of at most `max` bytes that ends between two characters.
fn cut_to(text: &[u8], max: usize) -> &[u8] {
    if text.len() <= max {
        return text;
    }
    // A continuation byte (10xxxxxx) right after the cut means that the cut is inside a character.
    let is_boundary = |end: usize| text.get(end).is_none_or(|byte| byte & 0xC0 != 0x80);
    let end = (0..=max).rev().find(|&end| is_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reader;

    #[test]
    fn variable_length_integers_come_back() {
        let mut values = vec![0_i64, -1];
        for shift in 0..64 {
            values.extend([
                1_i64 << shift,
                (1_i64 << shift).wrapping_sub(1),
                -1_i64 << shift,
            ]);
        }
        for value in values {
            let mut writer = Writer::new();
            writer.put_varlong(value);
            let mut reader = Reader::new(writer.freeze());
            assert_eq!(reader.read_varlong(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
            let Ok(value) = i32::try_from(value) else {
                continue;
            };
            let mut writer = Writer::new();
            writer.put_varint(value);
            writer.put_uvarint(value.cast_unsigned());
            let mut reader = Reader::new(writer.freeze());
            assert_eq!(reader.read_varint(), Ok(value));
            assert_eq!(reader.read_uvarint(), Ok(value.cast_unsigned()));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn a_string_that_is_too_long_is_cut_between_characters() {
        // 2-byte characters after one byte: the limit of 32767 falls on a boundary, 32766 does not.
        for (lead, kept) in [("x", 0x7FFF), ("", 0x7FFE)] {
            let text = format!("{lead}{}", "é".repeat(20_000));
            for compact in [false, true] {
                let mut writer = Writer::new();
                writer.put_nullable_string(Some(text.as_bytes()), compact);
                writer.put_i8(7);
                let mut reader = Reader::new(writer.freeze());
                let read = reader.read_nullable_string(compact).unwrap().unwrap();
                assert_eq!(read.len(), kept);
                assert!(text.starts_with(read.as_str()));
                assert_eq!(reader.read_i8(), Ok(7));
            }
        }
    }
}
