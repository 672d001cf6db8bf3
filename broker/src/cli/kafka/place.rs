//! Places in a partition, as people name them.

use std::str::FromStr;

use super::time::parse_time;
use crate::clock;

/// What a place may look like.
const EXPECTED: &str =
    "it is not start, end, an offset, +N (after the start), -N (before the end) or @TIME";

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its first record.
    Start,
    /// After its last record.
    End,
    /// An offset.
    Offset(i64),
    /// So many offsets after the first record.
    AfterStart(i64),
    /// So many offsets before the end.
    BeforeEnd(i64),
    /// The first record that is not older, ms since 1970.
    Time(i64),
}

/// Where a partition begins and ends, and what was found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Of the first record that is not older than the time asked for; below zero where there is none.
    pub(crate) found: i64,
}

impl Place {
    /// The time that must be looked for.
    pub(crate) fn time(self) -> Option<i64> {
        match self {
            Self::Time(time) => Some(time),
            _ => None,
        }
    }

    /// The offset in a partition; one that was named stays as it is, everything else lies within the bounds.
    pub(crate) fn offset(self, bounds: Bounds) -> i64 {
        let Bounds { start, end, found } = bounds;
        let end = end.max(start);
        match self {
            Self::Start => start,
            Self::End => end,
            Self::Offset(offset) => offset,
            Self::AfterStart(count) => start.saturating_add(count).min(end),
            Self::BeforeEnd(count) => end.saturating_sub(count).max(start),
            Self::Time(_) if found < 0 => end,
            Self::Time(_) => found,
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let count = |digits: &str| {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let count = digits.parse::<i64>().ok().filter(|_| is_number);
            count.ok_or_else(|| EXPECTED.to_owned())
        };
        match text {
            "start" | "beginning" | "earliest" => Ok(Self::Start),
            "end" | "latest" => Ok(Self::End),
            _ => match text.split_at_checked(1) {
                Some(("+", digits)) => count(digits).map(Self::AfterStart),
                Some(("-", digits)) => count(digits).map(Self::BeforeEnd),
                Some(("@", time)) => parse_time(time, clock::now_ms()).map(Self::Time),
                _ => count(text).map(Self::Offset),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_found() {
        let bounds = Bounds {
            start: 10,
            end: 20,
            found: 15,
        };
        for (text, offset) in [
            ("start", 10),
            ("earliest", 10),
            ("end", 20),
            ("7", 7),
            ("30", 30),
            ("+3", 13),
            ("+300", 20),
            ("-3", 17),
            ("-300", 10),
            ("@2026-12-01", 15),
            ("@1796115600000", 15),
            ("@-1h", 15),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.offset(bounds), offset, "{text}");
        }
        let nothing = Bounds {
            found: -1,
            ..bounds
        };
        assert_eq!(Place::Time(5).offset(nothing), 20);
        for text in ["", "+", "-", "@", "first", "+-3", "--3", "1.5", "@soon"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
