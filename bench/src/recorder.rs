//! What is measured: histograms and counters, collected by interval.
//!
//! Workers write into a few shards, each behind a mutex that is held for one batch; the reporter swaps a
//! shard's figures for empty ones. No worker ever waits for a report.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Digits that every figure keeps.
const DIGITS: u8 = 3;
/// The longest latency told apart, in nanoseconds: an hour. Longer ones count as this.
const LATENCY_MAX: u64 = 3_600_000_000_000;
/// Shards, at most: each takes a megabyte.
const SHARDS_MAX: usize = 8;
/// Kinds of errors told apart; further ones are counted together.
const ERROR_KINDS_MAX: usize = 64;

/// A histogram of nanoseconds.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).expect("the bounds are in order")
}

/// The kinds of latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Series {
    /// From the time a record was due to its acknowledgement: what a user of an open loop sees.
    Response,
    /// From sending to the acknowledgement: what the broker took once it had the request.
    Service,
    /// From the time a record was due until it was sent.
    SendDelay,
    /// From the time a record was due until a consumer had it.
    EndToEnd,
}

impl Series {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 4] = [
        Self::Response,
        Self::Service,
        Self::SendDelay,
        Self::EndToEnd,
    ];

    /// The name in files and assertions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Service => "service",
            Self::SendDelay => "send_delay",
            Self::EndToEnd => "e2e",
        }
    }
}

/// Counters of an interval. Bytes are those of values, except where said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records handed to the socket.
    pub sent: u64,
    /// Records that were acknowledged, or sent without asking for it.
    pub acked: u64,
    /// Bytes of the records acknowledged.
    pub acked_bytes: u64,
    /// Bytes of produce requests, frames included.
    pub wire_bytes: u64,
    /// Produce requests.
    pub requests: u64,
    /// Records sent more than a millisecond after they were due and had lingered.
    pub late: u64,
    /// Records that were refused, or whose answer never came.
    pub failed: u64,
    /// Records consumed.
    pub consumed: u64,
    /// Bytes of fetched batches.
    pub consumed_bytes: u64,
    /// Fetch requests.
    pub fetches: u64,
    /// Records read again from the start by catch-up consumers.
    pub caught_up: u64,
    /// Bytes of the batches they fetched.
    pub caught_up_bytes: u64,
}

impl Counts {
    fn each(&mut self, other: &Self, change: impl Fn(u64, u64) -> u64) {
        for (mine, theirs) in [
            (&mut self.sent, other.sent),
            (&mut self.acked, other.acked),
            (&mut self.acked_bytes, other.acked_bytes),
            (&mut self.wire_bytes, other.wire_bytes),
            (&mut self.requests, other.requests),
            (&mut self.late, other.late),
            (&mut self.failed, other.failed),
            (&mut self.consumed, other.consumed),
            (&mut self.consumed_bytes, other.consumed_bytes),
            (&mut self.fetches, other.fetches),
            (&mut self.caught_up, other.caught_up),
            (&mut self.caught_up_bytes, other.caught_up_bytes),
        ] {
            *mine = change(*mine, theirs);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.each(other, |mine, theirs| mine + theirs);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.each(other, u64::saturating_sub);
    }
}

/// What happened in an interval.
#[derive(Debug, Clone)]
pub struct Interval {
    histograms: [Histogram<u64>; 4],
    /// What was counted.
    pub counts: Counts,
    /// Failed records, or failed fetches, by the name of the error.
    pub errors: BTreeMap<String, u64>,
}

impl Default for Interval {
    fn default() -> Self {
        Self {
            histograms: std::array::from_fn(|_| new_histogram()),
            counts: Counts::default(),
            errors: BTreeMap::new(),
        }
    }
}

impl Interval {
    /// The latencies of one kind, in nanoseconds.
    #[must_use]
    pub fn series(&self, series: Series) -> &Histogram<u64> {
        &self.histograms[series as usize]
    }

    /// Records a latency in nanoseconds, `count` times.
    pub fn record(&mut self, series: Series, nanos: u64, count: u64) {
        self.histograms[series as usize].saturating_record_n(nanos, count);
    }

    /// Counts an error.
    pub fn error(&mut self, name: &str, count: u64) {
        let name = match self.errors.len() < ERROR_KINDS_MAX || self.errors.contains_key(name) {
            true => name,
            false => "other errors",
        };
        *self.errors.entry(name.to_owned()).or_default() += count;
    }

    /// Adds what another interval holds.
    pub fn merge(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        for (name, count) in &other.errors {
            self.error(name, *count);
        }
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            if !theirs.is_empty() {
                mine.add(theirs)
                    .expect("all histograms have the same bounds");
            }
        }
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        for histogram in &mut self.histograms {
            if !histogram.is_empty() {
                histogram.reset();
            }
        }
        self.counts = Counts::default();
        self.errors.clear();
    }
}

/// Where workers record.
#[derive(Debug)]
pub struct Recorder {
    shards: Vec<Mutex<Interval>>,
}

impl Recorder {
    /// A recorder for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let shards = workers.clamp(1, SHARDS_MAX);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
        }
    }

    /// Lets a worker write its figures.
    pub fn write(&self, worker: usize, write: impl FnOnce(&mut Interval)) {
        let shard = &self.shards[worker % self.shards.len()];
        write(&mut shard.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes what was recorded since the last time and adds it to `into`; `spare` is scratch space.
    pub fn take(&self, into: &mut Interval, spare: &mut Interval) {
        for shard in &self.shards {
            spare.clear();
            std::mem::swap(
                &mut *shard.lock().unwrap_or_else(PoisonError::into_inner),
                spare,
            );
            into.merge(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_everything_once() {
        let recorder = Recorder::new(3);
        for worker in 0..7 {
            recorder.write(worker, |interval| {
                interval.record(Series::Response, 1_000_000, 2);
                interval.counts.acked += 2;
                interval.error("NOT_LEADER", 1);
            });
        }
        let (mut total, mut spare) = (Interval::default(), Interval::default());
        recorder.take(&mut total, &mut spare);
        recorder.take(&mut total, &mut spare);
        assert_eq!(total.counts.acked, 14);
        assert_eq!(total.series(Series::Response).len(), 14);
        assert_eq!(total.series(Series::Service).len(), 0);
        assert_eq!(total.errors.get("NOT_LEADER"), Some(&7));
    }

    #[test]
    fn errors_of_ever_new_names_stay_bounded() {
        let mut interval = Interval::default();
        for name in 0..10_000 {
            interval.error(&name.to_string(), 1);
        }
        assert_eq!(interval.errors.len(), ERROR_KINDS_MAX + 1);
        assert_eq!(interval.errors.values().sum::<u64>(), 10_000);
    }

    #[test]
    fn a_latency_beyond_the_scale_counts_as_the_longest() {
        let mut interval = Interval::default();
        interval.record(Series::EndToEnd, u64::MAX, 1);
        assert!(interval.series(Series::EndToEnd).max() >= LATENCY_MAX);
    }
}
