//! What is counted of delayed records, and what is read off their stores.

use std::sync::atomic::{AtomicU64, Ordering};

use tidewheel_storage::StorageError;
use tidewheel_storage::delay::request::DelayError;
use tidewheel_storage::delay::{DelayCount, DelayOutlook, DelayTotals};

use super::Traffic;
use super::exposition::Exposition;
use super::families as family;
use super::histogram::{Counts, Histogram, LATENESS};
use super::process::seconds;
use super::traffic::OTHERS;
use crate::broker::Broker;
use crate::delays;
use crate::partition::AppendError;
use crate::topics::TopicsSnapshot;

/// What the way of delayed records is counted with.
#[derive(Debug)]
pub(crate) struct DelayedMetrics {
    lateness: Histogram,
    accepted: AtomicU64,
    /// By the place of the reason in [`REASONS`].
    rejected: [AtomicU64; REASONS.len()],
}

/// What batches are refused for, as it is named.
const REASONS: [&str; 6] = ["time", "headers", "limits", "targets", "disk", "records"];

/// The place in [`REASONS`] of an error.
fn reason(error: &AppendError) -> usize {
    match error {
        AppendError::Delay(DelayError::Timestamp { .. }) => 0,
        AppendError::Delay(DelayError::Invalid { .. }) => 1,
        AppendError::TooMuchPending { .. } | AppendError::TooManyCancellations => 2,
        AppendError::RetryTarget { .. } | AppendError::DeadLetters { .. } => 3,
        AppendError::Storage(
            StorageError::Io { .. }
            | StorageError::DiskFull { .. }
            | StorageError::NoRoom { .. }
            | StorageError::LogDirOffline { .. }
            | StorageError::Corrupt { .. },
        ) => 4,
        _ => 5,
    }
}

impl Default for DelayedMetrics {
    fn default() -> Self {
        Self {
            lateness: Histogram::new(&LATENESS),
            accepted: AtomicU64::new(0),
            rejected: Default::default(),
        }
    }
}

impl DelayedMetrics {
    /// So many records were taken to become visible later.
    pub(crate) fn accepted(&self, records: u64) {
        self.accepted.fetch_add(records, Ordering::Relaxed);
    }

    /// A batch for a topic with delays was refused.
    pub(crate) fn rejected(&self, error: &AppendError) {
        if let Some(count) = self.rejected.get(reason(error)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A batch was appended whose last record was due then, ms since 1970.
    pub(crate) fn delivered(&self, due_ms: u64, now_ms: i64) {
        let now_ms = u64::try_from(now_ms).unwrap_or_default();
        self.lateness.observe(now_ms.saturating_sub(due_ms));
    }

    /// Tells everything about delayed records. Waits for nobody who works on a store.
    pub(super) fn expose(
        &self,
        broker: &Broker,
        topics: &TopicsSnapshot,
        traffic: &Traffic,
        out: &mut Exposition,
    ) {
        let seen = delays::seen(broker);
        let (mut outlook, mut bytes) = (DelayOutlook::default(), 0);
        let mut totals = DelayTotals::default();
        for store in &seen {
            totals.near_records += store.totals.near_records;
            totals.spilled_records += store.totals.spilled_records;
            totals.promoted_records += store.totals.promoted_records;
            totals.spill_lag_bytes += store.totals.spill_lag_bytes;
            outlook.join(store.outlook.clone());
            bytes += store.topics.values().map(|count| count.bytes).sum::<u64>();
        }
        let mut others = 0;
        let mut samples = out.family(&family::DELAYED_PENDING);
        for topic in topics.iter() {
            let Some(first) = topic.partitions.first() else {
                continue;
            };
            let counts = seen
                .iter()
                .filter_map(|store| store.topics.get(&topic.id.0));
            let pending = counts.fold(DelayCount::default(), |mut sum, count| {
                sum.join(*count);
                sum
            });
            if pending == DelayCount::default() && !first.log().config().delay.delays() {
                continue;
            }
            match traffic.is_others(first.traffic()) {
                true => others += pending.records,
                false => samples.add(&[&topic.name], pending.records),
            }
        }
        if others > 0 {
            samples.add(&[OTHERS], others);
        }
        out.single(&family::DELAYED_PENDING_BYTES, bytes);
        self.expose_times(&outlook, broker.clock().now_ms(), out);
        self.expose_counts(broker, &totals, out);
    }

    fn expose_times(&self, outlook: &DelayOutlook, now_ms: i64, out: &mut Exposition) {
        let mut samples = out.family(&family::DELAYED_NEXT_DUE);
        if let Some(next_due_ms) = outlook.next_due_ms {
            samples.add(&[], seconds(next_due_ms));
        }
        out.single(&family::DELAYED_OVERDUE, outlook.overdue);
        let late_ms = outlook
            .oldest_overdue_ms
            .map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
        out.single(&family::DELAYED_OLDEST_OVERDUE, seconds(late_ms.max(0)));
        let mut lateness = Counts::new(&LATENESS);
        lateness.add(&self.lateness);
        out.family(&family::DELAYED_LATENESS)
            .add_histogram(&[], &lateness);
    }

    fn expose_counts(&self, broker: &Broker, totals: &DelayTotals, out: &mut Exposition) {
        let figures = delays::figures(broker);
        let accepted = self.accepted.load(Ordering::Relaxed);
        out.single(&family::DELAYED_ACCEPTED, accepted);
        out.single(&family::DELAYED_DELIVERED, figures.delivered);
        out.single(&family::DELAYED_CANCELLED, figures.cancelled);
        out.single(&family::DELAYED_EXPIRED, figures.expired);
        out.single(&family::DELAYED_DAMAGED, figures.damaged);
        out.single(&family::DELAYED_LOST, figures.lost);
        let mut samples = out.family(&family::DELAYED_REJECTED);
        for (reason, count) in REASONS.iter().zip(&self.rejected) {
            samples.add(&[reason], count.load(Ordering::Relaxed));
        }
        out.single(&family::DELAYED_NEAR, totals.near_records);
        out.single(&family::DELAYED_SPILLED, totals.spilled_records);
        out.single(&family::DELAYED_PROMOTED, totals.promoted_records);
        out.single(&family::DELAYED_SPILL_LAG, totals.spill_lag_bytes);
        let state = broker.delays().state();
        out.single(&family::DELAYED_CLOCK_HELD, state.clock_held);
        let mut samples = out.family(&family::DELAYED_DIR_OFFLINE);
        let dirs = broker.config().log_dirs.iter().zip(&state.offline);
        for (path, is_offline) in dirs {
            samples.add(&[&path.display().to_string()], *is_offline);
        }
    }
}
