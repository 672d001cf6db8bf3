//! The result of a run, as files hold it and reports show it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::environment::{Durability, Environment};
use crate::process::ProcessUse;
use crate::recorder::{Counts, Interval, Series};
use crate::workload::Workload;

/// The percentiles of tables, by name.
pub const PERCENTILES: [(&str, f64); 7] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// Nanoseconds of a millisecond.
const MS: f64 = 1e6;

/// Latencies of one kind, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub stdev: f64,
    /// The smallest.
    pub min: f64,
    /// By the names of [`PERCENTILES`].
    pub percentiles: BTreeMap<String, f64>,
    /// The largest.
    pub max: f64,
    /// The whole distribution: pairs of quantile and latency.
    pub curve: Vec<(f64, f64)>,
}

impl Latency {
    /// Of a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let named = PERCENTILES.map(|(name, quantile)| {
            let value = histogram.value_at_quantile(quantile) as f64 / MS;
            (name.to_owned(), value)
        });
        let steps = histogram.iter_quantiles(4);
        let curve = steps.map(|step| {
            let value = step.value_iterated_to() as f64 / MS;
            (step.quantile_iterated_to(), value)
        });
        Self {
            count: histogram.len(),
            mean: histogram.mean() / MS,
            stdev: histogram.stdev() / MS,
            min: histogram.min() as f64 / MS,
            percentiles: BTreeMap::from(named),
            max: histogram.max() as f64 / MS,
            curve: match histogram.is_empty() {
                true => Vec::new(),
                false => curve.collect(),
            },
        }
    }

    /// A figure by its name: a percentile, `min`, `mean`, `stdev` or `max`.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        match name {
            "min" => Some(self.min),
            "mean" => Some(self.mean),
            "stdev" => Some(self.stdev),
            "max" => Some(self.max),
            name => self.percentiles.get(name).copied(),
        }
    }
}

/// Rates over the measurement. Megabytes are millions of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Records acknowledged per second.
    pub produced_per_second: f64,
    /// Megabytes of their values per second.
    pub produced_mb_per_second: f64,
    /// Produce requests per second.
    pub requests_per_second: f64,
    /// Records consumed per second.
    pub consumed_per_second: f64,
    /// Megabytes of fetched batches per second.
    pub consumed_mb_per_second: f64,
    /// Megabytes of batches per second that catch-up consumers fetched.
    pub caught_up_mb_per_second: f64,
}

impl Throughput {
    fn of(counts: &Counts, seconds: f64) -> Self {
        let per_second = |count: u64| count as f64 / seconds.max(1e-9);
        Self {
            produced_per_second: per_second(counts.acked),
            produced_mb_per_second: per_second(counts.acked_bytes) / 1e6,
            requests_per_second: per_second(counts.requests),
            consumed_per_second: per_second(counts.consumed),
            consumed_mb_per_second: per_second(counts.consumed_bytes) / 1e6,
            caught_up_mb_per_second: per_second(counts.caught_up_bytes) / 1e6,
        }
    }
}

/// One second of a run, or what was left of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its begin, in seconds of the measurement.
    pub at: f64,
    /// Its length in seconds.
    pub seconds: f64,
    /// Its rates.
    pub throughput: Throughput,
    /// Records that failed.
    pub failed: u64,
    /// Records acknowledged and not consumed at its end.
    pub backlog: u64,
    /// Latencies by the names of [`Series`], without their curves.
    pub latencies: BTreeMap<String, Latency>,
}

impl Point {
    /// Of an interval's figures.
    #[must_use]
    pub fn of(interval: &Interval, at: f64, seconds: f64, backlog: u64) -> Self {
        let mut latencies = latencies(interval);
        latencies.values_mut().for_each(|one| one.curve.clear());
        Self {
            at,
            seconds,
            throughput: Throughput::of(&interval.counts, seconds),
            failed: interval.counts.failed,
            backlog,
            latencies,
        }
    }
}

fn latencies(interval: &Interval) -> BTreeMap<String, Latency> {
    let measured = Series::ALL.into_iter().filter_map(|series| {
        let histogram = interval.series(series);
        let latency = (!histogram.is_empty()).then(|| Latency::of(histogram))?;
        Some((series.name().to_owned(), latency))
    });
    measured.collect()
}

/// Everything about one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was run.
    pub workload: Workload,
    /// Which broker: its address.
    pub broker_address: String,
    /// When it began, ms since 1970.
    pub started_ms: i64,
    /// How long the measurement lasted.
    pub seconds: f64,
    /// Whether it was ended early.
    pub interrupted: bool,
    /// Records per second that were asked for; none in a closed loop.
    pub asked_per_second: Option<f64>,
    /// What was reached.
    pub throughput: Throughput,
    /// Counters of the measurement.
    pub counts: Counts,
    /// Failed records, and fetches, by the name of the error; the warm-up included.
    pub errors: BTreeMap<String, u64>,
    /// Scheduled records that were never sent.
    pub unsent: u64,
    /// Records acknowledged that a subscription never got: it was too slow for the time it had.
    #[serde(default)]
    pub unconsumed: u64,
    /// The share of the processors, %, that the host of a virtual machine took although something here wanted them: for
    /// others, or to bring memory back that it had taken. What was measured meanwhile says more of that.
    #[serde(default)]
    pub stolen_percent: Option<f64>,
    /// Latencies by the names of [`Series`], in milliseconds.
    pub latencies: BTreeMap<String, Latency>,
    /// What an acknowledgement meant.
    pub durability: Durability,
    /// What the broker used, where it could be seen.
    pub broker: Option<ProcessUse>,
    /// What the bench used.
    pub generator: Option<ProcessUse>,
    /// Where it ran.
    pub environment: Environment,
    /// The measurement by seconds.
    pub points: Vec<Point>,
}

impl Summary {
    /// Takes latencies, counters and rates from the figures of the whole measurement.
    pub fn fill(&mut self, total: &Interval, counts: Counts, seconds: f64) {
        self.latencies = latencies(total);
        self.counts = counts;
        self.seconds = seconds;
        self.throughput = Throughput::of(&counts, seconds);
    }

    /// Records that did not make it, and fetches that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.errors.values().sum::<u64>() + self.unsent + self.unconsumed
    }

    /// Gigabytes of values and batches that passed the broker in the measurement.
    #[must_use]
    pub fn gigabytes(&self) -> f64 {
        let counts = &self.counts;
        (counts.acked_bytes + counts.consumed_bytes + counts.caught_up_bytes) as f64 / 1e9
    }

    /// The broker's seconds of processor time per gigabyte that passed it. None where gigabytes of values
    /// and of compressed batches would have to be added.
    #[must_use]
    pub fn broker_cpu_per_gb(&self) -> Option<f64> {
        let used = self.broker.as_ref()?;
        let fetched = self.counts.consumed_bytes + self.counts.caught_up_bytes;
        let topic = self.workload.topic_config.get("compression.type");
        let compressed = match topic.map_or("producer", String::as_str) {
            "producer" => self.workload.compression.0.id() != 0,
            codec => codec != "uncompressed",
        };
        let mixed = compressed && fetched > 0 && self.counts.acked_bytes > 0;
        let known = !mixed && self.gigabytes() > 0.0;
        known.then(|| used.cpu_seconds() / self.gigabytes())
    }

    /// The broker's microseconds of processor time per request.
    #[must_use]
    pub fn broker_us_per_request(&self) -> Option<f64> {
        let used = self.broker.as_ref()?;
        let requests = self.counts.requests + self.counts.fetches;
        (requests > 0).then(|| used.cpu_seconds() * 1e6 / requests as f64)
    }

    /// The share of sends that were late, of all.
    #[must_use]
    pub fn late_share(&self) -> f64 {
        self.counts.late as f64 / self.counts.sent.max(1) as f64
    }

    /// A figure by its name, such as `response.p99` (ms), `rate` or `errors`.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        if let Some((series, figure)) = name.split_once('.') {
            return self.latencies.get(series)?.figure(figure);
        }
        let throughput = &self.throughput;
        match name {
            "rate" => Some(throughput.produced_per_second),
            "mb" => Some(throughput.produced_mb_per_second),
            "requests" => Some(throughput.requests_per_second),
            "consume_rate" => Some(throughput.consumed_per_second),
            "consume_mb" => Some(throughput.consumed_mb_per_second),
            "catch_up_mb" => Some(throughput.caught_up_mb_per_second),
            "errors" => Some(self.failures() as f64),
            "unsent" => Some(self.unsent as f64),
            "unconsumed" => Some(self.unconsumed as f64),
            "late" => Some(self.late_share()),
            "stolen" => self.stolen_percent,
            "cpu_per_gb" => self.broker_cpu_per_gb(),
            "us_per_request" => self.broker_us_per_request(),
            "memory" => Some(self.broker.as_ref()?.anonymous_bytes_max as f64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_protocol::Compression;

    use crate::testing::summary;

    #[test]
    fn gigabytes_of_values_and_of_compressed_batches_are_not_added() {
        let per_gb = |compression, consumed_bytes| {
            let mut run = summary(1000.0, 5.0);
            run.workload.compression.0 = compression;
            run.counts.consumed_bytes = consumed_bytes;
            run.broker_cpu_per_gb()
        };
        assert_eq!(per_gb(Compression::None, 0), Some(300.0));
        assert_eq!(per_gb(Compression::Lz4, 0), Some(300.0));
        assert_eq!(per_gb(Compression::None, 10_000_000), Some(150.0));
        assert_eq!(per_gb(Compression::Lz4, 10_000_000), None);
    }

    /// What is fetched is as the topic has it, whatever its producers do.
    #[test]
    fn the_codec_of_the_topic_counts_before_that_of_the_client() {
        for (client, topic, known) in [
            (Compression::None, "lz4", false),
            (Compression::None, "producer", true),
            (Compression::Lz4, "producer", false),
            (Compression::Lz4, "uncompressed", true),
        ] {
            let mut run = summary(1000.0, 5.0);
            run.workload.compression.0 = client;
            let topic_config = &mut run.workload.topic_config;
            topic_config.insert("compression.type".to_owned(), topic.to_owned());
            run.counts.consumed_bytes = 10_000_000;
            assert_eq!(run.broker_cpu_per_gb().is_some(), known, "{topic}");
        }
    }
}
