//! What a run must reach: `e2e.p99<10ms`, `rate>=50k`, `errors=0`; and what two brokers must reach beside
//! each other: `cpu_per_gb>=6x` holds where the peer's median is at least six times the broker's.

use std::fmt;
use std::str::FromStr;

use crate::summary::Summary;
use crate::values::{Rate, parse_bytes, parse_duration};

/// A figure, how it is compared, and with what.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assertion {
    text: String,
    figure: String,
    comparison: Comparison,
    bound: f64,
    /// Whether the bound is one of the peer's figure to the broker's.
    ratio: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

const COMPARISONS: [(&str, Comparison); 5] = [
    // Those of two characters first: the others are in them.
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

/// Why text is no assertion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no assertion such as e2e.p99<10ms, rate>=50k, errors=0 or cpu_per_gb>=3x")]
pub(crate) struct InvalidAssertion(String);

impl FromStr for Assertion {
    type Err = InvalidAssertion;

    fn from_str(text: &str) -> Result<Self, InvalidAssertion> {
        let invalid = || InvalidAssertion(text.to_owned());
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            let (figure, bound) = text.split_once(sign)?;
            Some((figure.trim(), *comparison, bound.trim()))
        });
        let (figure, comparison, bound) = found.ok_or_else(invalid)?;
        let times = bound.strip_suffix('x');
        let bound = match times {
            // A figure of that name must exist, whatever its unit.
            Some(times) if bound_of(figure, "1").is_some() => times.trim().parse().ok(),
            Some(_) => None,
            None => bound_of(figure, bound),
        };
        Ok(Self {
            text: text.to_owned(),
            figure: figure.to_owned(),
            comparison,
            bound: bound.ok_or_else(invalid)?,
            ratio: times.is_some(),
        })
    }
}

/// Latencies are durations, in ms without a unit; rates may have k and M, memory is a size.
fn bound_of(figure: &str, text: &str) -> Option<f64> {
    let plain = text.parse::<f64>().ok();
    match figure {
        _ if figure.contains('.') => match plain {
            Some(ms) => Some(ms),
            None => Some(parse_duration(text).ok()?.as_secs_f64() * 1e3),
        },
        "memory" => Some(parse_bytes(text).ok()? as f64),
        "late" => match text.strip_suffix('%') {
            Some(percent) => Some(percent.trim().parse::<f64>().ok()? / 100.0),
            None => plain,
        },
        "rate" | "requests" | "consume_rate" => match text.parse() {
            Ok(Rate::Records(rate)) => Some(rate),
            _ => plain,
        },
        "mb" | "consume_mb" | "catch_up_mb" | "errors" | "unsent" | "unconsumed" | "stolen"
        | "cpu_per_gb" | "us_per_request" => plain,
        _ => None,
    }
}

impl Assertion {
    /// What is wrong, or nothing. A figure that the run does not have is wrong too.
    #[must_use]
    pub(crate) fn check(&self, summary: &Summary) -> Option<String> {
        let Some(value) = summary.figure(&self.figure) else {
            return Some(format!("{}: the run has no {}", self.text, self.figure));
        };
        (!self.holds(value)).then(|| format!("{}: it is {value:.3}", self.text))
    }

    /// Whether it speaks of the peer's figure beside the broker's.
    #[must_use]
    pub(crate) fn is_ratio(&self) -> bool {
        self.ratio
    }

    /// The name of its figure.
    #[must_use]
    pub(crate) fn figure(&self) -> &str {
        &self.figure
    }

    /// Whether it holds for a value of its figure.
    #[must_use]
    pub(crate) fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.bound,
            Comparison::LessOrEqual => value <= self.bound,
            Comparison::Equal => (value - self.bound).abs() < 1e-9,
            Comparison::GreaterOrEqual => value >= self.bound,
            Comparison::Greater => value > self.bound,
        }
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::summary;

    fn wrong(text: &str) -> Option<String> {
        let assertion: Assertion = text.parse().unwrap();
        assertion.check(&summary(1000.0, 5.0))
    }

    #[test]
    fn what_holds_passes_and_what_does_not_says_the_value() {
        for text in [
            "response.p99<5.1ms",
            "response.p99 < 6",
            "response.max<=6ms",
            "service.p50>4900us",
            "rate>=1k",
            "rate<=1000/s",
            "mb=1",
            "errors=0",
            "unsent<1",
            "unconsumed=0",
            "late<1%",
            "memory<=1MiB",
            "cpu_per_gb<=300",
        ] {
            assert_eq!(wrong(text), None, "{text}");
        }
        assert_eq!(wrong("rate>2k").unwrap(), "rate>2k: it is 1000.000");
        assert!(wrong("response.p50<1ms").is_some());
    }

    #[test]
    fn a_figure_that_is_missing_fails() {
        assert!(wrong("e2e.p99<10ms").unwrap().contains("has no e2e.p99"));
        assert!(wrong("response.p42<10ms").is_some());
    }

    #[test]
    fn a_bound_in_times_is_one_of_two_brokers() {
        for (text, figure) in [
            ("cpu_per_gb>=6x", "cpu_per_gb"),
            ("e2e.p99.9 > 1.25x", "e2e.p99.9"),
            ("memory>=40x", "memory"),
        ] {
            let assertion: Assertion = text.parse().unwrap();
            assert!(assertion.is_ratio(), "{text}");
            assert_eq!(assertion.figure(), figure);
            assert!(assertion.holds(100.0) && !assertion.holds(1.0));
        }
        assert!(!"rate>6".parse::<Assertion>().unwrap().is_ratio());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "speed>5x",
            "rate>x",
            "rate",
            "speed>5",
            "rate>",
            "rate>fast",
            "memory<1XB",
            "e2e.p99<-",
        ] {
            assert!(text.parse::<Assertion>().is_err(), "{text}");
        }
    }
}
