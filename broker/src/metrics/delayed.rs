//! What is counted of delayed records, and what is read off their stores.

use std::sync::atomic::{AtomicU64, Ordering};

use tidewheel_storage::delay::{DelayCount, DelayOutlook};

use super::Traffic;
use super::exposition::Exposition;
use super::families as family;
use super::histogram::{Counts, Histogram, LATENESS};
use super::process::seconds;
use super::traffic::OTHERS;
use crate::broker::Broker;
use crate::delays;
use crate::topics::TopicsSnapshot;

/// What the way of delayed records is counted with.
#[derive(Debug)]
pub(crate) struct DelayedMetrics {
    lateness: Histogram,
    accepted: AtomicU64,
}

impl Default for DelayedMetrics {
    fn default() -> Self {
        Self {
            lateness: Histogram::new(&LATENESS),
            accepted: AtomicU64::new(0),
        }
    }
}

impl DelayedMetrics {
    /// So many records were taken to become visible later.
    pub(crate) fn accepted(&self, records: u64) {
        self.accepted.fetch_add(records, Ordering::Relaxed);
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
        for store in &seen {
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
        self.expose_counts(broker, out);
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

    fn expose_counts(&self, broker: &Broker, out: &mut Exposition) {
        let figures = delays::figures(broker);
        let accepted = self.accepted.load(Ordering::Relaxed);
        out.single(&family::DELAYED_ACCEPTED, accepted);
        out.single(&family::DELAYED_DELIVERED, figures.delivered);
        out.single(&family::DELAYED_CANCELLED, figures.cancelled);
        out.single(&family::DELAYED_EXPIRED, figures.expired);
        out.single(&family::DELAYED_DAMAGED, figures.damaged);
        out.single(&family::DELAYED_LOST, figures.lost);
        let state = broker.delays().state();
        out.single(&family::DELAYED_CLOCK_HELD, state.clock_held);
        let mut samples = out.family(&family::DELAYED_DIR_OFFLINE);
        let dirs = broker.config().log_dirs.iter().zip(&state.offline);
        for (path, is_offline) in dirs {
            samples.add(&[&path.display().to_string()], *is_offline);
        }
    }
}
