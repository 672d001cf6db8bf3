//! The values of flags and workload files: sizes, rates, durations, and what goes into a record.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Text that is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidValue {
    text: String,
    expected: &'static str,
}

fn invalid(text: &str, expected: &'static str) -> InvalidValue {
    InvalidValue {
        text: text.to_owned(),
        expected,
    }
}

/// A fraction as a count; below zero and "not a number" are 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what a count wants"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Bytes: `512`, `1KiB`, `64KB`, `1.5MiB`, `2GiB`.
///
/// # Errors
/// For anything else.
pub fn parse_bytes(text: &str) -> Result<u64, InvalidValue> {
    let expected = "a size such as 512, 1KiB or 64KB";
    let (number, unit) = split_unit(text.trim());
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "kb" => 1e3,
        "m" | "mib" => 1024.0 * 1024.0,
        "mb" => 1e6,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "gb" => 1e9,
        _ => return Err(invalid(text, expected)),
    };
    let number: f64 = number.parse().map_err(|_| invalid(text, expected))?;
    Ok(whole(number * factor))
}

/// A duration: `500us`, `10ms`, `30s`, `5m`, `1h`; a plain number is seconds.
///
/// # Errors
/// For anything else.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidValue> {
    let expected = "a duration such as 10ms, 30s or 5m";
    let (number, unit) = split_unit(text.trim());
    let seconds = match unit.trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(invalid(text, expected)),
    };
    let number: f64 = number.parse().map_err(|_| invalid(text, expected))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| invalid(text, expected))
}

macro_rules! text_value {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

/// A duration with its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl Span {
    /// In nanoseconds.
    #[must_use]
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Span {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse_duration(text).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match micros {
            _ if micros.is_multiple_of(1_000_000) => write!(f, "{}s", micros / 1_000_000),
            _ if micros.is_multiple_of(1_000) => write!(f, "{}ms", micros / 1_000),
            _ => write!(f, "{micros}us"),
        }
    }
}

text_value!(Span);

/// How fast records are due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rate {
    /// So many per second, on a schedule that no stall moves: an open loop.
    Records(f64),
    /// So many bytes of values per second, likewise.
    Bytes(f64),
    /// As fast as answers allow: a closed loop.
    Max,
}

impl FromStr for Rate {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let expected = "a rate such as 50k/s, 100MiB/s or max";
        if text == "max" {
            return Ok(Self::Max);
        }
        let text = text.trim();
        let (number, unit) = split_unit(text.strip_suffix("/s").unwrap_or(text));
        let value: f64 = number.parse().map_err(|_| invalid(text, expected))?;
        let rate = match unit.trim() {
            "" => Self::Records(value),
            "k" => Self::Records(value * 1e3),
            "M" => Self::Records(value * 1e6),
            unit => {
                let one = parse_bytes(&format!("1{unit}")).map_err(|_| invalid(text, expected))?;
                Self::Bytes(value * one as f64)
            }
        };
        match rate {
            Self::Records(value) | Self::Bytes(value) if value < 0.001 => {
                Err(invalid(text, expected))
            }
            rate => Ok(rate),
        }
    }
}

/// A number with the largest unit that leaves at least one of it, in three digits at most.
fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    let fitting = units.iter().find(|(_, size)| value >= *size);
    let (unit, size) = fitting.copied().unwrap_or(("", 1.0));
    let text = format!("{:.2}", value / size);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// Bytes as people read them: `1KiB`, `1.5MiB`, `100B`.
pub(crate) fn describe_bytes(bytes: f64) -> String {
    const KIB: f64 = 1024.0;
    let units = [
        ("GiB", KIB * KIB * KIB),
        ("MiB", KIB * KIB),
        ("KiB", KIB),
        ("B", 1.0),
    ];
    scaled(bytes, &units)
}

/// A count as people read it: `2.1M`, `50k`, `7`.
pub(crate) fn describe_count(count: f64) -> String {
    scaled(count, &[("G", 1e9), ("M", 1e6), ("k", 1e3)])
}

impl Rate {
    /// For people: `50k/s`.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Records(value) => format!("{}/s", describe_count(value)),
            Self::Bytes(value) => format!("{}/s", describe_bytes(value)),
            Self::Max => "max".to_owned(),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(value) => write!(f, "{value}/s"),
            Self::Bytes(value) => write!(f, "{value}B/s"),
            Self::Max => f.write_str("max"),
        }
    }
}

text_value!(Rate);

/// How long values are, and what they hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ValueSize {
    /// All of one size, in bytes.
    Fixed(u64),
    /// The content of a file is every value.
    File(String),
    /// Evenly between two sizes, both included.
    Uniform(u64, u64),
}

impl FromStr for ValueSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(path.to_owned()));
        }
        let expected = "a size, file:PATH or dist:uniform:MIN:MAX";
        if let Some(dist) = text.strip_prefix("dist:") {
            let bounds = dist
                .strip_prefix("uniform:")
                .and_then(|b| b.split_once(':'));
            let (low, high) = bounds.ok_or_else(|| invalid(text, expected))?;
            let (low, high) = (parse_bytes(low)?, parse_bytes(high)?);
            return match low <= high {
                true => Ok(Self::Uniform(low, high)),
                false => Err(invalid(text, expected)),
            };
        }
        parse_bytes(text).map(Self::Fixed)
    }
}

impl ValueSize {
    /// For people: `1KiB`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Fixed(bytes) => describe_bytes(*bytes as f64),
            Self::File(_) | Self::Uniform(..) => self.to_string(),
        }
    }
}

impl fmt::Display for ValueSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Uniform(low, high) => write!(f, "dist:uniform:{low}:{high}"),
        }
    }
}

text_value!(ValueSize);

/// Which keys records have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Keys {
    /// None: whole batches go to the partitions in turn.
    None,
    /// So many keys, one after the other.
    RoundRobin(u32),
    /// So many keys, the n-th with a probability in proportion to `n^-exponent`.
    Zipf(f64, u32),
}

/// Keys where a flag names no number.
const KEYS_DEFAULT: u32 = 10_000;
/// The table of a Zipf distribution has an entry per key.
const KEYS_MAX: u32 = 1_000_000;

impl FromStr for Keys {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let expected = "none, rr, rr:COUNT, zipf:EXPONENT or zipf:EXPONENT:COUNT";
        let wrong = || invalid(text, expected);
        let mut parts = text.split(':');
        let kind = parts.next().unwrap_or_default();
        let exponent = match kind {
            "zipf" => parts.next().ok_or_else(wrong)?,
            _ => "0",
        };
        let exponent: f64 = exponent.parse().map_err(|_| wrong())?;
        let count = match parts.next() {
            Some(count) => count.parse().map_err(|_| wrong())?,
            None => KEYS_DEFAULT,
        };
        let fine = parts.next().is_none()
            && (1..=KEYS_MAX).contains(&count)
            && (0.0..=10.0).contains(&exponent);
        match kind {
            "none" if text == "none" => Ok(Self::None),
            "rr" if fine => Ok(Self::RoundRobin(count)),
            "zipf" if fine => Ok(Self::Zipf(exponent, count)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::RoundRobin(count) => write!(f, "rr:{count}"),
            Self::Zipf(exponent, count) => write!(f, "zipf:{exponent}:{count}"),
        }
    }
}

text_value!(Keys);

/// Whose acknowledgement a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Acks {
    /// Nobody's: `acks=0`.
    None,
    /// The leader's: `acks=1`.
    Leader,
    /// All in-sync replicas': `acks=all`.
    All,
}

impl Acks {
    /// The number in a produce request.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

impl FromStr for Acks {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "0" => Ok(Self::None),
            "1" => Ok(Self::Leader),
            "all" | "-1" => Ok(Self::All),
            _ => Err(invalid(text, "0, 1 or all")),
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "0",
            Self::Leader => "1",
            Self::All => "all",
        })
    }
}

text_value!(Acks);

/// The codec of batches, by Kafka's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Codec(pub tidewheel_protocol::Compression);

impl FromStr for Codec {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let known = tidewheel_protocol::Compression::ALL;
        let found = known.into_iter().find(|codec| codec.name() == text);
        found
            .map(Self)
            .ok_or_else(|| invalid(text, "none, gzip, snappy, lz4 or zstd"))
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

text_value!(Codec);

/// A number of bytes with its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse_bytes(text).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

text_value!(ByteSize);

#[cfg(test)]
mod tests;
