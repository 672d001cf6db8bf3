//! The text of a scrape, in one of the two formats that Prometheus reads.
//!
//! Both have the same samples under the same names with the same labels, so that a scraper that changes
//! its mind finds the same series again: numbers in `le` are written alike.

use std::fmt::{self, Write};

use tidewheel_config::limits;

use super::families::{Family, Kind};
use super::histogram::Counts;

/// Prometheus' formats of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// The classic one, version 0.0.4.
    Classic,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl MetricsFormat {
    /// What a client with this `Accept` is answered in: `OpenMetrics` where it names that and likes nothing
    /// else better.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let (mut open, mut classic) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut weight, mut is_known) = (1.0, true);
            for parameter in parts {
                match parameter.split_once('=') {
                    Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => {
                        weight = weight_of(value.trim());
                    }
                    Some((name, value)) if name.trim().eq_ignore_ascii_case("version") => {
                        is_known = value.trim().trim_matches('"') == "1.0.0";
                    }
                    _ => {}
                }
            }
            if media.eq_ignore_ascii_case("application/openmetrics-text") {
                if is_known {
                    open = open.max(weight);
                }
            } else if media.eq_ignore_ascii_case("text/plain") {
                classic = classic.max(weight);
            }
        }
        match open > 0.0 && open >= classic {
            true => Self::OpenMetrics,
            false => Self::Classic,
        }
    }

    /// The `Content-Type` of an answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A weight of `Accept`; 0 for what is none.
fn weight_of(text: &str) -> f32 {
    let weight = text.parse().unwrap_or(0.0_f32);
    if weight.is_finite() { weight } else { 0.0 }
}

/// A number of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Count(u64),
    Signed(i64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Count(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Count(value as u64)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Count(u64::from(value))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
        }
    }
}

/// What is written of a scrape.
#[derive(Debug)]
pub(crate) struct Exposition {
    format: MetricsFormat,
    text: String,
    /// Samples for which there was no room.
    left_out: usize,
    /// What the names of families begin with that are wanted; all of them where this is empty.
    wanted: Vec<String>,
}

impl Exposition {
    pub(crate) fn new(format: MetricsFormat) -> Self {
        Self {
            format,
            text: String::new(),
            left_out: 0,
            wanted: Vec::new(),
        }
    }

    /// The same with those families only whose names begin so.
    pub(crate) fn only(self, wanted: Vec<String>) -> Self {
        Self { wanted, ..self }
    }

    /// Begins a family, which is told of with its first sample. Each may be begun once.
    pub(crate) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let begins = |start: &String| family.name.starts_with(start.as_str());
        let is_wanted = self.wanted.is_empty() || self.wanted.iter().any(begins);
        Samples {
            exposition: self,
            family,
            begun: false,
            is_bounded: false,
            is_wanted,
        }
    }

    /// The same for a family of which clients decide how many samples it has: they end with the room.
    pub(crate) fn many(&mut self, family: &'static Family) -> Samples<'_> {
        Samples {
            is_bounded: true,
            ..self.family(family)
        }
    }

    /// How many samples were left out for want of room.
    pub(crate) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Begins and ends a family of one sample without labels.
    pub(crate) fn single(&mut self, family: &'static Family, value: impl Into<Value>) {
        self.family(family).add(&[], value);
    }

    /// The whole text.
    pub(crate) fn finish(mut self) -> String {
        if self.format == MetricsFormat::OpenMetrics {
            self.push("# EOF\n");
        }
        self.text
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("writing into a String does not fail");
    }

    fn head(&mut self, family: &Family) {
        let Family { name, help, .. } = family;
        let kind = family.kind.name();
        let name = match self.format {
            MetricsFormat::Classic => name,
            MetricsFormat::OpenMetrics => family.stem(),
        };
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        if let (MetricsFormat::OpenMetrics, Some(unit)) = (self.format, family.unit()) {
            self.write(format_args!("# UNIT {name} {unit}\n"));
        }
    }

    /// Braces with the labels in them, or nothing where there is none.
    fn labels<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut before = '{';
        for (name, value) in labels {
            self.text.push(before);
            before = ',';
            self.push(name);
            self.push("=\"");
            self.escaped(value);
            self.text.push('"');
        }
        if before == ',' {
            self.text.push('}');
        }
    }

    fn escaped(&mut self, value: &str) {
        if !value.contains(['\\', '"', '\n']) {
            return self.push(value);
        }
        for character in value.chars() {
            match character {
                '\\' => self.push("\\\\"),
                '"' => self.push("\\\""),
                '\n' => self.push("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

/// The samples of one family.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    exposition: &'a mut Exposition,
    family: &'static Family,
    begun: bool,
    is_bounded: bool,
    is_wanted: bool,
}

impl Samples<'_> {
    /// Adds a sample with the values of the family's labels, in their order.
    pub(crate) fn add(&mut self, labels: &[&str], value: impl Into<Value>) {
        debug_assert_eq!(self.family.labels.len(), labels.len());
        debug_assert_ne!(self.family.kind, Kind::Histogram);
        if !self.is_wanted {
            return;
        }
        if self.is_full() {
            self.exposition.left_out += 1;
            return;
        }
        let family = self.begin();
        let out = &mut *self.exposition;
        out.push(family.name);
        out.labels(family.labels.iter().copied().zip(labels.iter().copied()));
        out.write(format_args!(" {}\n", value.into()));
    }

    /// Adds a histogram with the values of the family's labels.
    pub(crate) fn add_histogram(&mut self, labels: &[&str], counts: &Counts) {
        debug_assert_eq!(self.family.labels.len(), labels.len());
        debug_assert_eq!(self.family.kind, Kind::Histogram);
        if !self.is_wanted {
            return;
        }
        let family = self.begin();
        let out = &mut *self.exposition;
        let all = || family.labels.iter().copied().zip(labels.iter().copied());
        let mut total = 0;
        for (le, count) in counts.buckets() {
            total += count;
            out.push(family.name);
            out.push("_bucket");
            out.labels(all().chain([("le", le)]));
            out.write(format_args!(" {total}\n"));
        }
        for (suffix, value) in [
            ("_sum", Value::Real(counts.sum())),
            ("_count", Value::Count(total)),
        ] {
            out.push(family.name);
            out.push(suffix);
            out.labels(all());
            out.write(format_args!(" {value}\n"));
        }
    }

    /// Whether there is no room for another sample.
    pub(crate) fn is_full(&self) -> bool {
        self.is_bounded && self.exposition.text.len() >= limits::METRICS_PAGE_BYTES_MAX
    }

    fn begin(&mut self) -> &'static Family {
        if !self.begun {
            self.begun = true;
            self.exposition.head(self.family);
        }
        self.family
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::{Histogram, SIZES};
    use super::*;

    const COUNTER: Family = Family::counter("a_bytes_total", &["b", "c"], "Bytes.");
    const GAUGE: Family = Family::gauge("g", &[], "A gauge.");
    const HISTOGRAM: Family = Family::histogram("h_bytes", &["b"], "Sizes.");

    fn exposed(format: MetricsFormat) -> String {
        let mut out = Exposition::new(format);
        let mut samples = out.family(&COUNTER);
        samples.add(&["plain", "1"], 7_u64);
        samples.add(&["a\"b\\c\nd", ""], u64::MAX);
        out.single(&GAUGE, -1.5);
        // Nothing is told of it.
        out.family(&GAUGE);
        let histogram = Histogram::new(&SIZES);
        histogram.observe(1_024);
        histogram.observe(1_025);
        histogram.observe(u64::from(u32::MAX));
        let mut counts = Counts::new(&SIZES);
        counts.add(&histogram);
        out.family(&HISTOGRAM).add_histogram(&["x"], &counts);
        out.finish()
    }

    #[test]
    fn the_classic_format_names_a_counter_in_full() {
        let text = exposed(MetricsFormat::Classic);
        let head = "# HELP a_bytes_total Bytes.\n# TYPE a_bytes_total counter\n\
                    a_bytes_total{b=\"plain\",c=\"1\"} 7\n\
                    a_bytes_total{b=\"a\\\"b\\\\c\\nd\",c=\"\"} 18446744073709551615\n\
                    # HELP g A gauge.\n# TYPE g gauge\ng -1.5\n\
                    # HELP h_bytes Sizes.\n# TYPE h_bytes histogram\n\
                    h_bytes_bucket{b=\"x\",le=\"1024.0\"} 1\n\
                    h_bytes_bucket{b=\"x\",le=\"4096.0\"} 2\n";
        assert!(text.starts_with(head), "{text}");
        let tail = "h_bytes_bucket{b=\"x\",le=\"+Inf\"} 3\n\
                    h_bytes_sum{b=\"x\"} 4294969344\nh_bytes_count{b=\"x\"} 3\n";
        assert!(text.ends_with(tail), "{text}");
    }

    #[test]
    fn openmetrics_has_units_and_an_end_and_the_same_samples() {
        let (classic, open) = (
            exposed(MetricsFormat::Classic),
            exposed(MetricsFormat::OpenMetrics),
        );
        let head = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
                    a_bytes_total{b=\"plain\",c=\"1\"} 7\n";
        assert!(open.starts_with(head), "{open}");
        assert!(open.ends_with("\n# EOF\n"), "{open}");
        let samples = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(samples(&classic), samples(&open));
    }

    #[test]
    fn what_clients_decide_about_ends_with_the_room() {
        let long = "x".repeat(1024 * 1024);
        let mut out = Exposition::new(MetricsFormat::Classic);
        let mut samples = out.many(&COUNTER);
        let most = limits::METRICS_PAGE_BYTES_MAX / long.len();
        (0..most + 5).for_each(|_| samples.add(&[&long, ""], 1_u64));
        assert!(samples.is_full());
        assert!(out.left_out() >= 5, "{}", out.left_out());
        out.single(&GAUGE, 1_u64);
        let text = out.finish();
        assert!(text.len() < limits::METRICS_PAGE_BYTES_MAX + 2 * long.len());
        assert!(text.ends_with("\ng 1\n"), "the rest is told all the same");
    }

    #[test]
    fn the_format_follows_accept() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,\
                          application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            ("", MetricsFormat::Classic),
            ("*/*", MetricsFormat::Classic),
            (
                "text/html,application/xml;q=0.9,*/*;q=0.8",
                MetricsFormat::Classic,
            ),
            (prometheus, MetricsFormat::OpenMetrics),
            ("Application/OpenMetrics-Text", MetricsFormat::OpenMetrics),
            (
                "application/openmetrics-text; version=\"1.0.0\"; escaping=allow-utf-8",
                MetricsFormat::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=0.0.1",
                MetricsFormat::Classic,
            ),
            ("application/openmetrics-text;q=0", MetricsFormat::Classic),
            (
                "application/openmetrics-text;q=0.3,text/plain;q=0.5",
                MetricsFormat::Classic,
            ),
            (
                "application/openmetrics-text;q=nonsense",
                MetricsFormat::Classic,
            ),
        ] {
            assert_eq!(MetricsFormat::accepted(accept), format, "{accept}");
        }
    }
}
