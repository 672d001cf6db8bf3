//! From where to where.

use std::str::FromStr;

use crate::cli::kafka::place::Place;

/// A place to begin, and maybe one to end before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Place,
    pub(super) to: Option<Place>,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = match text.parse() {
            Ok(from) => return Ok(Self { from, to: None }),
            Err(wrong) => wrong,
        };
        // Times have colons of their own.
        let halves = text.match_indices(':').find_map(|(at, _)| {
            let (from, to) = (text.get(..at)?, text.get(at + 1..)?);
            let from = match from.is_empty() {
                true => Place::Start,
                false => from.parse().ok()?,
            };
            let to = Some(to.parse().ok()?);
            Some(Self { from, to })
        });
        halves.ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_beginning_and_maybe_an_end() {
        let day = Place::Time(1_796_083_200_000);
        let morning = Place::Time(1_796_115_600_000);
        for (text, from, to) in [
            ("start", Place::Start, None),
            ("-5", Place::BeforeEnd(5), None),
            (":end", Place::Start, Some(Place::End)),
            ("5:9", Place::Offset(5), Some(Place::Offset(9))),
            ("+1:-1", Place::AfterStart(1), Some(Place::BeforeEnd(1))),
            ("@2026-12-01", day, None),
            ("@2026-12-01:@2026-12-01T09:00Z", day, Some(morning)),
            ("@2026-12-01T09:00Z:end", morning, Some(Place::End)),
            (
                "@2026-12-01T09:00:00+00:00:@1796115600000",
                morning,
                Some(morning),
            ),
        ] {
            assert_eq!(text.parse(), Ok(Span { from, to }), "{text}");
        }
        for text in ["", ":", "5:", "5:9:10", "@:@", "a:b"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
