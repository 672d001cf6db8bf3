//! The small value types that messages, the log and the broker share.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

/// A UTF-8 string that is a slice of the frame it was read from.
///
/// Cloning bumps a reference count. It keeps the whole frame alive: what is stored for longer than a
/// request lasts should be copied out.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StrBytes(Bytes);

impl StrBytes {
    /// Takes bytes from a frame as a string.
    ///
    /// # Errors
    /// Where the bytes are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// A string that lives as long as the program; nothing is allocated.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text as bytes, which costs nothing.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text. Costs a pass over the bytes: call it once and keep the result in hot code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Cannot fail: checked in `from_utf8`, and the other constructors start from a `str`. Only
        // `unsafe` could skip the second check.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for StrBytes {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for StrBytes {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for StrBytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl From<&str> for StrBytes {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for StrBytes {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl fmt::Debug for StrBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for StrBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A topic id or directory id: 16 bytes, shown as Kafka shows them (URL-safe base64, no padding).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// "No id": what messages carry where a topic has none.
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is [`Uuid::ZERO`].
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

/// One partition of one topic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bits = u128::from_be_bytes(self.0);
        // 128 bits are 21 sextets and 2 bits left over, which base64 pads at the end with zeros.
        let mut text = [0_u8; 22];
        let sextet = |bits: u128| {
            BASE64_URL
                .get((bits & 63) as usize)
                .copied()
                .unwrap_or(b'A')
        };
        let [head @ .., last] = &mut text;
        *last = sextet(bits << 4);
        bits >>= 2;
        for slot in head.iter_mut().rev() {
            *slot = sextet(bits);
            bits >>= 6;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a 22-character URL-safe base64 id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a 22-character URL-safe base64 id")]
pub struct InvalidUuid;

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        let [head @ .., last] = text.as_bytes() else {
            return Err(InvalidUuid);
        };
        if head.len() != 21 {
            return Err(InvalidUuid);
        }
        let value = |byte: u8| {
            let at = BASE64_URL
                .iter()
                .position(|&known| known == byte)
                .ok_or(InvalidUuid)?;
            u128::try_from(at).map_err(|_| InvalidUuid)
        };
        let mut bits = 0_u128;
        for &byte in head {
            bits = bits << 6 | value(byte)?;
        }
        let tail = value(*last)?;
        if tail & 15 != 0 {
            return Err(InvalidUuid);
        }
        Ok(Self((bits << 2 | tail >> 4).to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_checked_utf8_and_compare_as_text() {
        let frame = Bytes::from_static("xgrößey".as_bytes());
        let text = StrBytes::from_utf8(frame.slice(1..8)).unwrap();
        assert_eq!(text, "größe");
        assert_eq!(text, StrBytes::from("größe"));
        assert_eq!(text.as_str(), "größe");
        assert_eq!(format!("{text} {text:?}"), "größe \"größe\"");
        assert_eq!(text.as_bytes().as_ptr(), frame.slice(1..).as_ptr());
        assert!(
            StrBytes::from_utf8(frame.slice(1..4)).is_err(),
            "cut inside a character"
        );
    }

    #[test]
    fn uuid_text_is_kafkas_and_comes_back() {
        // `Uuid.fromString("MMLmzvLqQ8aZ4Gv8hQ9Wtw")` of Kafka's Java client prints itself again.
        for text in [
            "MMLmzvLqQ8aZ4Gv8hQ9Wtw",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "_____________________w",
        ] {
            let id: Uuid = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        for bad in [
            "",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAA!",
            "AAAAAAAAAAAAAAAAAAAAAB",
        ] {
            assert_eq!(bad.parse::<Uuid>(), Err(InvalidUuid));
        }
    }
}
