//! Which figures are sampled.

use std::array;

use super::history::Sample;
use crate::broker::Broker;
use crate::clock;
use crate::delays::{self, DelayFigures};
use crate::metrics::{Buckets, TIMES, Totals};
use crate::process;

/// What is read off the broker for a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    totals: Totals,
    delays: DelayFigures,
    connections: u64,
    size_bytes: u64,
    unflushed_bytes: u64,
    disk_free_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    processor_ms: u64,
    times: [Buckets; 3],
}

/// What is kept of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Values {
    /// One for each of the first series; `None` where it could not be told. The others are read off `times`.
    figures: [Option<u64>; FIGURES],
    /// How long things took since the start: to produce, to fetch, rounds of syncs.
    times: [Buckets; 3],
}

/// How a figure is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// As it is.
    Gauge,
    /// It rises, and is told as what it rises by a second.
    Rate,
    /// Milliseconds that rise, told as seconds a second.
    Share,
    /// How many were done a second, of one of the times.
    Done(usize),
    /// In how many seconds so many of a thousand were done since the point before, of one of the times.
    Quantile(usize, u64),
}

/// A figure that is sampled.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    kind: Kind,
    of: fn(&Seen) -> Option<u64>,
}

/// Series of figures, which come before those of times.
const FIGURES: usize = 14;

/// All of them, in the order in which they are told.
pub(super) const SERIES: [Series; FIGURES + 11] = {
    const fn of(name: &'static str, kind: Kind, of: fn(&Seen) -> Option<u64>) -> Series {
        Series { name, kind, of }
    }
    const fn done(name: &'static str, place: usize) -> Series {
        of(name, Kind::Done(place), |_| None)
    }
    const fn time(name: &'static str, place: usize, per_mille: u64) -> Series {
        of(name, Kind::Quantile(place, per_mille), |_| None)
    }
    use Kind::{Gauge, Rate, Share};
    [
        of("records_in_per_second", Rate, |seen| {
            Some(seen.totals.records_in)
        }),
        of("bytes_in_per_second", Rate, |seen| {
            Some(seen.totals.bytes_in)
        }),
        of("bytes_out_per_second", Rate, |seen| {
            Some(seen.totals.bytes_out)
        }),
        of("requests_per_second", Rate, |seen| {
            Some(seen.totals.requests)
        }),
        of("request_errors_per_second", Rate, |seen| {
            Some(seen.totals.request_errors)
        }),
        of("requests_in_flight", Gauge, |seen| {
            Some(seen.totals.requests_in_flight)
        }),
        of("connections", Gauge, |seen| Some(seen.connections)),
        of("size_bytes", Gauge, |seen| Some(seen.size_bytes)),
        of("unflushed_bytes", Gauge, |seen| Some(seen.unflushed_bytes)),
        of("disk_free_bytes", Gauge, |seen| seen.disk_free_bytes),
        of("memory_resident_bytes", Gauge, |seen| seen.memory_bytes),
        of("processors_used", Share, |seen| Some(seen.processor_ms)),
        of("delayed_pending", Gauge, |seen| {
            Some(seen.delays.pending?.records)
        }),
        of("delayed_delivered_per_second", Rate, |seen| {
            Some(seen.delays.delivered)
        }),
        done("produce_requests_per_second", 0),
        done("fetch_requests_per_second", 1),
        time("produce_p50_seconds", 0, 500),
        time("produce_p99_seconds", 0, 990),
        time("produce_p999_seconds", 0, 999),
        time("fetch_p50_seconds", 1, 500),
        time("fetch_p99_seconds", 1, 990),
        time("fetch_p999_seconds", 1, 999),
        time("flush_p50_seconds", 2, 500),
        time("flush_p99_seconds", 2, 990),
        time("flush_p999_seconds", 2, 999),
    ]
};

impl Seen {
    /// Waits for nobody who may wait for a disk.
    pub(super) fn of(broker: &Broker) -> Self {
        let logs = broker.logs();
        let dirs = 0..logs.dir_count();
        let topics = broker.topics();
        let sizes = topics.partitions();
        let sizes = sizes.map(|partition| partition.log().size_bytes());
        let unflushed = dirs.clone().map(|dir| logs.dirty(dir).unsynced_bytes);
        let free = dirs.map(|dir| Some(logs.seen_space(dir)?.free_bytes));
        Self {
            totals: broker.metrics().totals(),
            delays: delays::figures(broker),
            connections: broker.clients().count() as u64,
            size_bytes: sizes.sum(),
            unflushed_bytes: unflushed.sum(),
            disk_free_bytes: free.sum(),
            memory_bytes: process::memory_resident_bytes(),
            processor_ms: u64::try_from(clock::processor_ms()).unwrap_or(0),
            times: broker.metrics().times(),
        }
    }

    /// What is kept of it.
    pub(super) fn values(&self) -> Values {
        Values {
            figures: array::from_fn(|number| (SERIES[number].of)(self)),
            times: self.times,
        }
    }
}

/// What was done in between, by how long it took.
fn risen(before: &Values, now: &Values, place: usize) -> Option<Buckets> {
    let (before, now) = (before.times.get(place)?, now.times.get(place)?);
    let mut risen = *now;
    for (count, before) in risen.iter_mut().zip(before) {
        *count = count.saturating_sub(*before);
    }
    Some(risen)
}

/// In how many seconds so many of a thousand were done in between.
fn quantile(before: &Values, now: &Values, place: usize, per_mille: u64) -> Option<f64> {
    let seconds = TIMES.quantile(&risen(before, now, place)?, per_mille)?;
    Some((seconds * 1e6).round() / 1e6)
}

/// What is told of a series at a sample, when this is the one before.
pub(super) fn value(number: usize, before: &Sample, now: &Sample) -> Option<f64> {
    let passed_ms = u64::try_from(now.steady_ms.saturating_sub(before.steady_ms)).ok()?;
    let by_time = |risen: u64, factor: f64| match passed_ms {
        0 => None,
        _ => Some(rounded(ratio(risen, passed_ms) * factor)),
    };
    let figure = |sample: &Sample| sample.values.figures.get(number).copied().flatten();
    let last = figure(now);
    let risen_by = || Some(last?.saturating_sub(figure(before)?));
    match SERIES.get(number)?.kind {
        Kind::Gauge => Some(ratio(last?, 1)),
        Kind::Rate => by_time(risen_by()?, 1_000.0),
        Kind::Share => by_time(risen_by()?, 1.0),
        Kind::Done(place) => {
            let buckets = risen(&before.values, &now.values, place)?;
            by_time(buckets.iter().sum(), 1_000.0)
        }
        Kind::Quantile(place, per_mille) => quantile(&before.values, &now.values, place, per_mille),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a figure of a chart needs no more digits than a double has"
)]
fn ratio(count: u64, per: u64) -> f64 {
    count as f64 / per as f64
}

/// With three digits behind the point.
fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Values {
        /// All figures are this one, and nothing took its time.
        pub(crate) fn all(figure: Option<u64>) -> Self {
            Self {
                figures: [figure; FIGURES],
                times: Default::default(),
            }
        }
    }

    fn at(steady_ms: i64, value: Option<u64>) -> Sample {
        Sample {
            at_ms: 0,
            steady_ms,
            values: Values::all(value),
        }
    }

    #[test]
    fn what_rises_is_told_by_second_and_the_rest_as_it_is() {
        let number = |name| SERIES.iter().position(|one| one.name == name).unwrap();
        let rate = number("records_in_per_second");
        let (gauge, share) = (number("connections"), number("processors_used"));
        let before = at(1_000, Some(10));
        for (now, expected) in [
            (
                at(3_000, Some(3_010)),
                [Some(1_500.0), Some(3_010.0), Some(1.5)],
            ),
            (at(4_000, Some(11)), [Some(0.333), Some(11.0), Some(0.0)]),
            // A counter that fell was another one.
            (at(2_000, Some(4)), [Some(0.0), Some(4.0), Some(0.0)]),
            (at(2_000, None), [None, None, None]),
            (at(1_000, Some(20)), [None, Some(20.0), None]),
        ] {
            let told = [rate, gauge, share].map(|number| value(number, &before, &now));
            assert_eq!(told, expected, "{now:?}");
        }
        assert_eq!(value(SERIES.len(), &before, &before), None);
    }

    #[test]
    fn times_are_those_of_what_was_done_in_between() {
        let number = |name| SERIES.iter().position(|one| one.name == name).unwrap();
        let (mut before, mut now) = (at(1_000, None), at(2_000, None));
        let told = |before: &Sample, now: &Sample| {
            let names = ["fetch_p50_seconds", "fetch_p999_seconds"];
            names.map(|name| value(number(name), before, now))
        };
        // Slow ones of before, which do not count.
        before.values.times[1][9] = 1_000;
        now.values.times[1][9] = 1_000;
        assert_eq!(told(&before, &now), [None, None]);
        now.values.times[1][0] = 10;
        assert_eq!(told(&before, &now), [Some(0.000_05), Some(0.000_1)]);
        assert_eq!(value(number("produce_p50_seconds"), &before, &now), None);
        let fetches = number("fetch_requests_per_second");
        assert_eq!(value(fetches, &before, &now), Some(10.0));
        assert_eq!(value(fetches, &now, &now), None, "no time has passed");
        for (at, series) in SERIES.iter().enumerate() {
            let is_time = matches!(series.kind, Kind::Quantile(..) | Kind::Done(_));
            assert_eq!(is_time, at >= FIGURES, "{}", series.name);
        }
    }

    #[test]
    fn no_two_series_have_the_same_name() {
        let names: std::collections::BTreeSet<&str> =
            SERIES.iter().map(|series| series.name).collect();
        assert_eq!(names.len(), SERIES.len());
    }
}
