//! What is counted of the disk's work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewheel_storage::{CleaningStats, RetentionOutcome};

use super::exposition::Exposition;
use super::families as family;
use super::histogram::{Buckets, Counts, Histogram, TIMES};

/// What the storage threads count. Each is counted seldom.
#[derive(Debug)]
pub(crate) struct StorageMetrics {
    flushes: Histogram,
    deleted_by_age: AtomicU64,
    deleted_by_size: AtomicU64,
    deleted_by_start: AtomicU64,
    deleted_early: AtomicU64,
    compactions: AtomicU64,
    failed_compactions: AtomicU64,
    compacted_bytes: AtomicU64,
    kept_bytes: AtomicU64,
    corruptions: AtomicU64,
}

impl Default for StorageMetrics {
    fn default() -> Self {
        Self {
            flushes: Histogram::new(&TIMES),
            deleted_by_age: AtomicU64::new(0),
            deleted_by_size: AtomicU64::new(0),
            deleted_by_start: AtomicU64::new(0),
            deleted_early: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            failed_compactions: AtomicU64::new(0),
            compacted_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            corruptions: AtomicU64::new(0),
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

impl StorageMetrics {
    /// A round of syncs took so long.
    pub(crate) fn flushed(&self, time: Duration) {
        self.flushes.observe_time(time);
    }

    /// How long rounds of syncs took.
    pub(super) fn flush_times(&self) -> Buckets {
        let mut counts = Counts::new(&TIMES);
        counts.add(&self.flushes);
        counts.raw()
    }

    /// Retention has gone over a log.
    pub(crate) fn retained(&self, outcome: &RetentionOutcome) {
        add(&self.deleted_by_age, outcome.deleted.by_age);
        add(&self.deleted_by_size, outcome.deleted.by_size);
        add(&self.deleted_by_start, outcome.deleted.by_start);
    }

    /// The same because the disk fills.
    pub(crate) fn retained_early(&self, outcome: &RetentionOutcome) {
        add(&self.deleted_early, outcome.deleted.count());
    }

    /// A partition was compacted; nothing where that failed.
    pub(crate) fn compacted(&self, stats: Option<&CleaningStats>) {
        let Some(stats) = stats else {
            return add(&self.failed_compactions, 1);
        };
        add(&self.compactions, 1);
        self.compacted_bytes
            .fetch_add(stats.bytes_before, Ordering::Relaxed);
        self.kept_bytes
            .fetch_add(stats.bytes_after, Ordering::Relaxed);
    }

    /// Durable data was found damaged.
    pub(crate) fn found_damage(&self) {
        add(&self.corruptions, 1);
    }

    pub(super) fn expose_flushes(&self, out: &mut Exposition) {
        let mut flushes = Counts::new(&TIMES);
        flushes.add(&self.flushes);
        out.family(&family::FLUSH_SECONDS)
            .add_histogram(&[], &flushes);
    }

    pub(super) fn expose(&self, out: &mut Exposition) {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut samples = out.family(&family::SEGMENTS_DELETED);
        for (reason, counter) in [
            ("age", &self.deleted_by_age),
            ("size", &self.deleted_by_size),
            ("log_start", &self.deleted_by_start),
            ("low_disk", &self.deleted_early),
        ] {
            samples.add(&[reason], value(counter));
        }
        let mut samples = out.family(&family::COMPACTIONS);
        samples.add(&["done"], value(&self.compactions));
        samples.add(&["failed"], value(&self.failed_compactions));
        out.single(&family::COMPACTED_BYTES, value(&self.compacted_bytes));
        out.single(&family::KEPT_BYTES, value(&self.kept_bytes));
        out.single(&family::CORRUPTIONS, value(&self.corruptions));
    }
}
