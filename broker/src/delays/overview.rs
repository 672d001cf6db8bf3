//! What is pending as a whole, told from memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidewheel_storage::delay::{DelayCount, DelayOutlook, DelayQueue, DelayTotals, PartitionId};

use super::Delays;
use super::admin::DelayedTopic;
use super::pending::topics;
use crate::broker::Broker;
use crate::topics::Topic;

/// The delayed records of a broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct DelayOverview {
    /// All that is pending, and what became of what was due.
    pub(crate) figures: DelayFigures,
    /// When it is due.
    pub(crate) outlook: DelayOutlook,
    /// The topics with delays, and those with something pending, by name.
    pub(crate) topics: Vec<DelayedTopic>,
    /// Whether nothing is delivered because the clock jumped ahead.
    pub(crate) clock_held: bool,
    /// Log directories in which nothing is taken or delivered any more, and why.
    pub(crate) failures: Vec<(usize, String)>,
}

/// Sums over all log directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DelayFigures {
    /// Pending records; `None` where a store is being worked on.
    pub(crate) pending: Option<DelayCount>,
    /// Records that were delivered since the start.
    pub(crate) delivered: u64,
    /// What had been cancelled when it was due, since the start: batches that were due as a whole count once.
    pub(crate) cancelled: u64,
    /// What had expired when it was due, counted likewise.
    pub(crate) expired: u64,
    /// Places of files that were found damaged since the start.
    pub(crate) damaged: u64,
    /// Records that damage took.
    pub(crate) lost: u64,
}

/// What is pending in the store of a log directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenStore {
    /// How much, by topic.
    pub(crate) topics: BTreeMap<[u8; 16], DelayCount>,
    /// When it is due.
    pub(crate) outlook: DelayOutlook,
    /// What the store holds.
    pub(crate) totals: DelayTotals,
}

/// What keeps delayed records from being delivered.
#[derive(Clone, Debug, Default)]
pub(crate) struct DelayState {
    /// The clock jumped ahead.
    pub(crate) clock_held: bool,
    /// The store of a log directory failed, for each of these.
    pub(crate) offline: Vec<bool>,
}

impl Delays {
    /// Told from memory, without a lock.
    pub(crate) fn state(&self) -> DelayState {
        let dirs = self.dirs.iter();
        DelayState {
            clock_held: dirs
                .clone()
                .any(|dir| dir.clock_held.load(Ordering::Relaxed)),
            offline: dirs.map(|dir| dir.failure.get().is_some()).collect(),
        }
    }
}

/// What is pending in each store. Waits for nobody: where a store is being worked on, it is told as it was seen last.
pub(crate) fn seen(broker: &Broker) -> Vec<Arc<SeenStore>> {
    let look = |queue: &DelayQueue| SeenStore {
        topics: queue
            .pending_topics()
            .map(|(topic_id, count)| (topic_id.0, count))
            .collect(),
        outlook: DelayOutlook {
            // Only the sums of it are told.
            until: BTreeMap::new(),
            ..queue.outlook()
        },
        totals: queue.totals(),
    };
    let dirs = broker.delays().dirs().iter();
    let stores = dirs.map(|dir| match dir.try_with(look) {
        Some(seen) => {
            let seen = Arc::new(seen.unwrap_or_default());
            dir.seen.store(Arc::clone(&seen));
            seen
        }
        None => dir.seen.load_full(),
    });
    stores.collect()
}

/// How many records are pending for a partition; `None` where the store is being worked on. Waits for nobody.
pub(crate) fn pending_for(broker: &Broker, topic: &Topic, number: i32) -> Option<u64> {
    let partition = PartitionId {
        topic_id: topic.id,
        partition: number,
    };
    let mut pending = DelayCount::default();
    for dir in broker.delays().dirs() {
        let count = dir.try_with(|queue| queue.pending(partition))?;
        pending.join(count.unwrap_or_default());
    }
    Some(pending.records)
}

/// Tells everything. Waits for who works on the stores, and maybe for a disk with them.
pub(crate) fn overview(broker: &Broker) -> DelayOverview {
    let mut all = DelayOverview {
        topics: topics(broker),
        figures: figures(broker),
        ..DelayOverview::default()
    };
    let mut pending = DelayCount::default();
    for dir in broker.delays().dirs() {
        if let Some((count, outlook)) = dir.with(|queue| (queue.totals().pending, queue.outlook()))
        {
            pending.join(count);
            all.outlook.join(outlook);
        }
        all.clock_held |= dir.clock_held.load(Ordering::Relaxed);
        let failure = dir.failure.get();
        all.failures
            .extend(failure.map(|failure| (dir.number, failure.to_string())));
    }
    all.figures.pending = Some(pending);
    all
}

/// Tells what costs little, and waits for nobody.
pub(crate) fn figures(broker: &Broker) -> DelayFigures {
    let mut all = DelayFigures {
        pending: Some(DelayCount::default()),
        ..DelayFigures::default()
    };
    for dir in broker.delays().dirs() {
        let counts = &dir.counts;
        all.delivered += counts.delivered.load(Ordering::Relaxed);
        all.cancelled += counts.cancelled.load(Ordering::Relaxed);
        all.expired += counts.expired.load(Ordering::Relaxed);
        all.damaged += counts.damaged.load(Ordering::Relaxed);
        all.lost += counts.lost.load(Ordering::Relaxed);
        all.pending = match (all.pending, dir.try_with(|queue| queue.totals().pending)) {
            (Some(mut sum), Some(count)) => {
                sum.join(count.unwrap_or_default());
                Some(sum)
            }
            _ => None,
        };
    }
    all
}
