//! Reads primitive values from one buffer, with a bound on everything.

use bytes::{Buf, Bytes, TryGetError};

use super::{DecodeError, STRING_BYTES_MAX};
use crate::types::{StrBytes, Uuid};

/// Array memory in bytes that any input may ask for, however short it is.
pub const BUDGET_BYTES_MIN: usize = 1 << 20;
/// Bytes of array memory that each byte of input adds to the budget.
pub const BUDGET_FACTOR: usize = 8;
/// Array memory in bytes that no input may ask for more of: hundreds of thousands of partitions. What is
/// longer than that consists of records.
pub const BUDGET_BYTES_MAX: usize = 32 << 20;

/// A cursor over one frame or message. Strings and byte fields are slices of it.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    budget_bytes: usize,
}

impl From<TryGetError> for DecodeError {
    fn from(error: TryGetError) -> Self {
        Self::UnexpectedEnd {
            needed: error.requested,
            remaining: error.available,
        }
    }
}

impl Reader {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let budget_bytes = bytes.len().saturating_mul(BUDGET_FACTOR);
        Self {
            bytes,
            budget_bytes: budget_bytes
                .saturating_add(BUDGET_BYTES_MIN)
                .min(BUDGET_BYTES_MAX),
        }
    }

    /// Allows no more than `bytes` of array memory from here on.
    pub fn limit_budget(&mut self, bytes: usize) {
        self.budget_bytes = self.budget_bytes.min(bytes);
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Takes everything that is left, as a slice of the input.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }

    /// Takes the next `len` bytes, as a slice of the input.
    ///
    /// # Errors
    /// Where fewer are left.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.bytes.len() {
            return Err(DecodeError::UnexpectedEnd {
                needed: len,
                remaining: self.bytes.len(),
            });
        }
        Ok(self.bytes.split_to(len))
    }

    /// Reads an 8-bit integer.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn read_i8(&mut self) -> Result<i8, DecodeError> {
        Ok(self.bytes.try_get_i8()?)
    }

    /// Reads a 16-bit integer.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn read_i16(&mut self) -> Result<i16, DecodeError> {
        Ok(self.bytes.try_get_i16()?)
    }

    /// Reads a 32-bit integer.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn read_i32(&mut self) -> Result<i32, DecodeError> {
        Ok(self.bytes.try_get_i32()?)
    }

    /// Reads a 64-bit integer.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn read_i64(&mut self) -> Result<i64, DecodeError> {
        Ok(self.bytes.try_get_i64()?)
    }

    /// Reads one byte as a truth value: anything but 0 is true, as Kafka has it.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn read_bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.bytes.try_get_u8()? != 0)
    }

    /// Reads 16 bytes as an id.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn read_uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.bytes.try_get_u128()?.to_be_bytes()))
    }

    /// Reads an unsigned variable-length integer of at most 32 bits.
    ///
    /// # Errors
    /// At the end of the input, and where the value needs more bits.
    pub fn read_uvarint(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.read_uvarlong(5)?).map_err(|_| DecodeError::Varint)
    }

    /// Reads a signed variable-length integer of at most 32 bits.
    ///
    /// # Errors
    /// At the end of the input, and where the value needs more bits.
    pub fn read_varint(&mut self) -> Result<i32, DecodeError> {
        let bits = self.read_uvarint()?;
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }

    /// Reads a signed variable-length integer of at most 64 bits.
    ///
    /// # Errors
    /// At the end of the input, and where the value needs more bits.
    pub fn read_varlong(&mut self) -> Result<i64, DecodeError> {
        let bits = self.read_uvarlong(10)?;
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }

    fn read_uvarlong(&mut self, bytes_max: u32) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for index in 0..bytes_max {
            let byte = self.bytes.try_get_u8()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit only.
            if index == 9 && bits > 1 {
                return Err(DecodeError::Varint);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// Reads a string; `None` is null.
    ///
    /// # Errors
    /// At the end of the input, for invalid lengths and for text that is not UTF-8.
    pub fn read_nullable_string(&mut self, compact: bool) -> Result<Option<StrBytes>, DecodeError> {
        let len = if compact {
            self.read_compact_len()?
        } else {
            sized_len(self.read_i16()?.into())?
        };
        let Some(len) = len else { return Ok(None) };
        if len > STRING_BYTES_MAX {
            return Err(DecodeError::InvalidLength(
                i64::try_from(len).unwrap_or(i64::MAX),
            ));
        }
        Ok(Some(StrBytes::from_utf8(self.take(len)?)?))
    }

    /// Reads a byte field or a field of records; `None` is null.
    ///
    /// # Errors
    /// At the end of the input and for invalid lengths.
    pub fn read_nullable_bytes(&mut self, compact: bool) -> Result<Option<Bytes>, DecodeError> {
        let len = if compact {
            self.read_compact_len()?
        } else {
            sized_len(self.read_i32()?.into())?
        };
        len.map(|len| self.take(len)).transpose()
    }

    /// Reads the count of an array whose elements take `element_bytes_min` bytes or more here and
    /// `element_memory` bytes each when decoded; `None` is null. After this the caller may allocate
    /// the array.
    ///
    /// # Errors
    /// At the end of the input, where the elements cannot all be there, and where they would exceed
    /// the budget.
    pub(crate) fn read_count(
        &mut self,
        compact: bool,
        element_bytes_min: usize,
        element_memory: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let count = if compact {
            self.read_compact_len()?
        } else {
            sized_len(self.read_i32()?.into())?
        };
        let Some(count) = count else { return Ok(None) };
        let remaining = self.remaining();
        if count > remaining / element_bytes_min.max(1) {
            return Err(DecodeError::ArrayTooLong { count, remaining });
        }
        let memory = count
            .checked_mul(element_memory)
            .ok_or(DecodeError::BudgetExceeded)?;
        self.budget_bytes = self
            .budget_bytes
            .checked_sub(memory)
            .ok_or(DecodeError::BudgetExceeded)?;
        Ok(Some(count))
    }

    /// Runs `read` on the next `len` bytes alone, which it has to use up. The budget is shared.
    pub(crate) fn read_exactly<T>(
        &mut self,
        len: usize,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut part = Self {
            bytes: self.take(len)?,
            budget_bytes: self.budget_bytes,
        };
        let value = read(&mut part)?;
        part.finish()?;
        self.budget_bytes = part.budget_bytes;
        Ok(value)
    }

    /// Reads past a section of tagged fields without looking into them.
    ///
    /// # Errors
    /// Where the section is cut.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        // The count cannot make this loop long: each round takes two bytes or fails.
        for _ in 0..self.read_uvarint()? {
            self.read_uvarint()?;
            let len = self.read_size()?;
            self.take(len)?;
        }
        Ok(())
    }

    /// Reads the size of a tagged field in bytes.
    pub(crate) fn read_size(&mut self) -> Result<usize, DecodeError> {
        let size = self.read_uvarint()?;
        usize::try_from(size).map_err(|_| DecodeError::InvalidLength(size.into()))
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// Where bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }

    fn read_compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        let len = i64::from(self.read_uvarint()?) - 1;
        sized_len(len)
    }
}

/// A length where -1 means null and anything lower is nonsense.
fn sized_len(len: i64) -> Result<Option<usize>, DecodeError> {
    if len == -1 {
        return Ok(None);
    }
    usize::try_from(len)
        .map(Some)
        .map_err(|_| DecodeError::InvalidLength(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn varints_of_the_protocol_guide() {
        // Pairs of the zigzag table in Google's protocol buffer encoding, which Kafka refers to.
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x01], -1),
            (&[0x02], 1),
            (&[0x80, 0x01], 64),
            (&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], i32::MIN),
            (&[0xFE, 0xFF, 0xFF, 0xFF, 0x0F], i32::MAX),
        ] {
            assert_eq!(reader(bytes).read_varint(), Ok(value));
            assert_eq!(reader(bytes).read_varlong(), Ok(value.into()));
        }
        let extreme = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(reader(&extreme).read_varlong(), Ok(i64::MIN));
    }

    #[test]
    fn overlong_varints_are_refused() {
        let err = Err(DecodeError::Varint);
        assert_eq!(reader(&[0xFF; 12]).read_uvarint().map(i64::from), err);
        assert_eq!(
            reader(&[0xFF, 0xFF, 0xFF, 0xFF, 0x10])
                .read_uvarint()
                .map(i64::from),
            err
        );
        assert_eq!(reader(&[0xFF; 12]).read_varlong(), err);
        let mut too_big = [0xFF; 10];
        too_big[9] = 0x02;
        assert_eq!(reader(&too_big).read_varlong(), err);
        assert!(matches!(
            reader(&[0x80]).read_uvarint(),
            Err(DecodeError::UnexpectedEnd {
                needed: 1,
                remaining: 0
            })
        ));
    }

    #[test]
    fn null_empty_and_invalid_lengths_are_told_apart() {
        assert_eq!(reader(&[0xFF, 0xFF]).read_nullable_string(false), Ok(None));
        assert_eq!(reader(&[0]).read_nullable_string(true), Ok(None));
        assert_eq!(
            reader(&[0, 0]).read_nullable_string(false),
            Ok(Some("".into()))
        );
        assert_eq!(reader(&[1]).read_nullable_string(true), Ok(Some("".into())));
        assert_eq!(
            reader(&[0xFF, 0xFE]).read_nullable_string(false),
            Err(DecodeError::InvalidLength(-2))
        );
        assert_eq!(
            reader(&[0xFF, 0xFF, 0xFF, 0xFE]).read_nullable_bytes(false),
            Err(DecodeError::InvalidLength(-2))
        );
        assert!(matches!(
            reader(&[3, 0xC3, 0x28]).read_nullable_string(true),
            Err(DecodeError::Utf8(_))
        ));
        let mut long = vec![0x81, 0x80, 0x02];
        long.extend([b'x'; 0x8000]);
        assert_eq!(
            reader(&long).read_nullable_string(true),
            Err(DecodeError::InvalidLength(0x8000))
        );
    }

    #[test]
    fn counts_are_bounded_by_the_bytes_left_and_by_the_budget() {
        assert_eq!(
            reader(&[0x7F, 0xFF, 0xFF, 0xFF]).read_count(false, 1, 1),
            Err(DecodeError::ArrayTooLong {
                count: 0x7FFF_FFFF,
                remaining: 0
            })
        );
        assert_eq!(
            reader(&[0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7]).read_count(false, 4, 4),
            Err(DecodeError::ArrayTooLong {
                count: 2,
                remaining: 7
            })
        );
        let short = vec![0, 0, 0, 1, 0];
        let mut limited = reader(&short);
        limited.limit_budget(10);
        limited.limit_budget(100);
        assert_eq!(
            limited.read_count(false, 1, 11),
            Err(DecodeError::BudgetExceeded)
        );
        let budget = BUDGET_BYTES_MIN + short.len() * BUDGET_FACTOR;
        let mut long = short.clone();
        long.resize(BUDGET_BYTES_MAX, 0);
        for (bytes, budget) in [(short, budget), (long, BUDGET_BYTES_MAX)] {
            assert_eq!(reader(&bytes).read_count(false, 1, budget), Ok(Some(1)));
            assert_eq!(
                reader(&bytes).read_count(false, 1, budget + 1),
                Err(DecodeError::BudgetExceeded)
            );
        }
    }

    #[test]
    fn tagged_fields_are_skipped_and_cut_ones_refused() {
        let mut input = reader(&[2, 0, 1, 9, 0x85, 0x01, 2, 8, 7, 42]);
        assert_eq!(input.skip_tagged_fields(), Ok(()));
        assert_eq!(input.read_i8(), Ok(42));
        assert!(reader(&[1, 0, 5, 1]).skip_tagged_fields().is_err());
        assert!(
            reader(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0, 0])
                .skip_tagged_fields()
                .is_err()
        );
    }
}
