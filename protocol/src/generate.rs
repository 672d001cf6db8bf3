//! Makes any value of any message out of arbitrary bytes, so that proptest can vary and shrink it.

use bytes::Bytes;

use crate::types::{StrBytes, Uuid};
use crate::wire::field::Form;

/// The bytes that decide. After their end every choice is the simplest one.
#[derive(Debug)]
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn integer(&mut self) -> i64 {
        match self.byte() % 8 {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            4 | 5 => i64::from(self.byte()),
            _ => i64::from_be_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// Mostly short, now and then just around where lengths get a second byte.
    fn len(&mut self) -> usize {
        match self.byte() {
            byte @ 0..=247 => usize::from(byte % 4),
            byte => 120 + usize::from(byte % 16),
        }
    }
}

/// A value as a version of a message could have it: fields that the version lacks are at their
/// defaults, and only what may be null is null.
pub(crate) trait Generate: Sized {
    fn generate(choices: &mut Choices<'_>, form: Form) -> Self;
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Generate for $ty {
            fn generate(choices: &mut Choices<'_>, _: Form) -> Self {
                let bytes = choices.integer().to_be_bytes();
                // The low end, so that -1 and small numbers stay what they are.
                Self::from_be_bytes(*bytes.last_chunk().unwrap())
            }
        }
    )*};
}

integers!(i8 i16 i32 i64);

impl Generate for bool {
    fn generate(choices: &mut Choices<'_>, _: Form) -> Self {
        choices.byte() % 2 == 1
    }
}

impl Generate for Uuid {
    fn generate(choices: &mut Choices<'_>, _: Form) -> Self {
        Self(std::array::from_fn(|_| choices.byte()))
    }
}

impl Generate for StrBytes {
    fn generate(choices: &mut Choices<'_>, _: Form) -> Self {
        const ALPHABET: [char; 8] = ['a', 'Z', '-', '"', '\n', '\0', 'ß', '𝄞'];
        let len = choices.len();
        let text: String = (0..len)
            .map(|_| ALPHABET[usize::from(choices.byte()) % ALPHABET.len()])
            .collect();
        text.into()
    }
}

impl Generate for Bytes {
    fn generate(choices: &mut Choices<'_>, _: Form) -> Self {
        let len = choices.len();
        (0..len).map(|_| choices.byte()).collect()
    }
}

impl<T: Generate> Generate for Vec<T> {
    fn generate(choices: &mut Choices<'_>, form: Form) -> Self {
        let len = choices.len();
        (0..len)
            .map(|_| T::generate(choices, form.nullable(false)))
            .collect()
    }
}

impl<T: Generate> Generate for Option<T> {
    fn generate(choices: &mut Choices<'_>, form: Form) -> Self {
        let is_null = form.nullable && choices.byte() % 4 == 1;
        (!is_null).then(|| T::generate(choices, form))
    }
}
