//! Histograms that many threads add to: two relaxed additions each.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of a histogram, the one without an upper bound included.
const BUCKETS: usize = 12;

/// How many values fell between which bounds.
pub(crate) type Buckets = [u64; BUCKETS];

/// The upper bounds of a histogram's buckets.
#[derive(Debug)]
pub(crate) struct Scale {
    /// Ascending, fewer than [`BUCKETS`]: as it is counted, and as it is written, which is a number with a
    /// point in it, as `OpenMetrics` wants it.
    bounds: &'static [(u64, &'static str)],
    /// What of the unit that is counted makes one of the unit that is written.
    per_unit: f64,
}

/// Durations, counted in nanoseconds and written in seconds.
pub(crate) const TIMES: Scale = Scale {
    bounds: &[
        (100_000, "0.0001"),
        (500_000, "0.0005"),
        (1_000_000, "0.001"),
        (2_500_000, "0.0025"),
        (5_000_000, "0.005"),
        (10_000_000, "0.01"),
        (25_000_000, "0.025"),
        (100_000_000, "0.1"),
        (500_000_000, "0.5"),
        (1_000_000_000, "1.0"),
        (5_000_000_000, "5.0"),
    ],
    per_unit: 1e9,
};

impl Scale {
    /// Where so many of a thousand values lie, in the unit that is written: within a bucket as if they were spread
    /// evenly there, and at the last bound where they lie beyond it. `None` where there are no values.
    pub(crate) fn quantile(&self, buckets: &Buckets, per_mille: u64) -> Option<f64> {
        let total = buckets
            .iter()
            .fold(0, |sum: u64, one| sum.saturating_add(*one));
        let wanted = total.saturating_mul(per_mille);
        let (mut low, mut below) = (0, 0_u64);
        for ((bound, _), count) in self.bounds.iter().zip(buckets) {
            let up_to = below.saturating_add(count.saturating_mul(1_000));
            if up_to >= wanted && up_to > below {
                let within = ratio(wanted - below, up_to - below);
                return Some((ratio(low, 1) + ratio(bound - low, 1) * within) / self.per_unit);
            }
            (low, below) = (*bound, up_to);
        }
        (total > 0).then(|| ratio(low, 1) / self.per_unit)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a figure of a chart needs no more digits than a double has"
)]
fn ratio(count: u64, per: u64) -> f64 {
    count as f64 / per as f64
}

/// How late something is, counted in ms and written in seconds.
pub(crate) const LATENESS: Scale = Scale {
    bounds: &[
        (1, "0.001"),
        (5, "0.005"),
        (10, "0.01"),
        (50, "0.05"),
        (100, "0.1"),
        (500, "0.5"),
        (1_000, "1.0"),
        (5_000, "5.0"),
        (30_000, "30.0"),
        (300_000, "300.0"),
        (3_600_000, "3600.0"),
    ],
    per_unit: 1e3,
};

/// Sizes in bytes.
pub(crate) const SIZES: Scale = Scale {
    bounds: &[
        (1_024, "1024.0"),
        (4_096, "4096.0"),
        (16_384, "16384.0"),
        (65_536, "65536.0"),
        (262_144, "262144.0"),
        (1_048_576, "1048576.0"),
        (16_777_216, "16777216.0"),
    ],
    per_unit: 1.0,
};

/// How often values fell between which bounds, and their sum. Nothing orders the two: what is read while
/// others add may miss one in the sum.
#[derive(Debug)]
pub(crate) struct Histogram {
    scale: &'static Scale,
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(scale: &'static Scale) -> Self {
        Self {
            scale,
            buckets: Default::default(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value.
    pub(crate) fn observe(&self, value: u64) {
        let bounds = self.scale.bounds.iter();
        let at = bounds.take_while(|(bound, _)| *bound < value).count();
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a duration.
    pub(crate) fn observe_time(&self, time: std::time::Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// What histograms of one scale hold together.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    scale: &'static Scale,
    buckets: Buckets,
    sum: u64,
}

impl Counts {
    pub(crate) fn new(scale: &'static Scale) -> Self {
        Self {
            scale,
            buckets: [0; BUCKETS],
            sum: 0,
        }
    }

    /// Adds what `histogram`, which has the same scale, holds now.
    pub(crate) fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Ordering::Relaxed));
    }

    /// Whether no value was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.iter().all(|count| *count == 0)
    }

    /// The buckets alone, not cumulated.
    pub(crate) fn raw(&self) -> Buckets {
        self.buckets
    }

    /// The buckets with their upper bounds as they are written, not cumulated.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = self.scale.bounds.iter().map(|(_, le)| *le).chain(["+Inf"]);
        bounds.zip(self.buckets)
    }

    /// The sum of all values, in the unit that is written.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum needs no more digits than a double has"
    )]
    pub(crate) fn sum(&self) -> f64 {
        self.sum as f64 / self.scale.per_unit
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_quantile_lies_in_the_bucket_that_holds_it() {
        let told = |buckets: &[(usize, u64)], per_mille| {
            let mut all = [0; BUCKETS];
            buckets.iter().for_each(|(at, count)| all[*at] = *count);
            TIMES.quantile(&all, per_mille)
        };
        let close = |told: Option<f64>, seconds: f64| (told.unwrap() - seconds).abs() < 1e-9;
        assert_eq!(told(&[], 500), None);
        assert!(close(told(&[(0, 10)], 500), 0.000_05));
        assert!(close(told(&[(0, 10)], 999), 0.000_099_9));
        // 99 of a hundred below 0.1 ms, and one between 25 and 100 ms.
        let mixed = [(0, 99), (7, 1)];
        assert!(close(told(&mixed, 990), 0.000_1));
        assert!(close(told(&mixed, 999), 0.025 + 0.075 * 0.9));
        // Nobody knows how far beyond the last bound.
        assert!(close(told(&[(11, 3)], 500), 5.0));
        assert!(close(told(&[(0, u64::MAX), (1, 9)], 500), 0.000_1));
    }

    #[test]
    fn scales_ascend_and_are_written_as_they_are_counted() {
        for scale in [&TIMES, &SIZES, &LATENESS] {
            assert!(scale.bounds.len() < BUCKETS);
            assert!(scale.bounds.is_sorted_by_key(|(bound, _)| bound));
            for (bound, le) in scale.bounds {
                let written: f64 = le.parse().unwrap();
                let counted = f64::from(u32::try_from(bound / 100).unwrap()) * 100.0;
                assert!((written * scale.per_unit - counted).abs() < 100.0, "{le}");
                assert!(le.contains('.'), "{le} is no canonical number");
            }
        }
    }

    #[test]
    fn a_value_falls_below_the_first_bound_that_is_not_lower() {
        let histogram = Histogram::new(&TIMES);
        for time in [
            Duration::ZERO,
            Duration::from_micros(100),
            Duration::from_nanos(100_001),
            Duration::from_secs(5),
            Duration::from_secs(6),
        ] {
            histogram.observe_time(time);
        }
        let mut counts = Counts::new(&TIMES);
        assert!(counts.is_empty());
        counts.add(&histogram);
        counts.add(&histogram);
        let found: Vec<_> = counts.buckets().filter(|(_, count)| *count > 0).collect();
        let expected = [("0.0001", 4), ("0.0005", 2), ("5.0", 2), ("+Inf", 2)];
        assert_eq!(found, expected);
        assert!((counts.sum() - 22.000_400_002).abs() < 1e-9);
        assert_eq!(counts.buckets().count(), TIMES.bounds.len() + 1);
    }
}
