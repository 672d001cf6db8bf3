//! Delayed delivery: one delay queue a log directory, made when the first record is delayed there.
//!
//! Producers put records in ([`produce`]); a thread makes them durable and answers ([`DelayDir::sync`]);
//! another one appends what is due to the partitions and looks after the files ([`deliver`]), and a third one writes
//! checkpoints ([`write_checkpoints`]). Topics without delays touch none of this, and where nothing was ever delayed
//! no thread finds anything to do.

mod admin;
mod checkpoints;
mod damage;
mod dead_letters;
mod deliver;
mod overview;
mod pending;
mod pending_limits;
mod produce;
mod retry;
mod reveal;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidewheel_config::BrokerConfig;
use tidewheel_protocol::Uuid;
use tidewheel_storage::delay::{ClockVerdict, DelayCount, DelayQueue, WallClock};
use tidewheel_storage::{AppendInfo, StorageError};
use tokio::sync::oneshot;

pub use self::admin::{
    DelayedError, DelayedId, DelayedPage, DelayedQuery, DelayedRecord, DelayedRecords,
    DelayedTopic, NoDelayedId,
};
pub(crate) use self::checkpoints::run as write_checkpoints;
pub(crate) use self::deliver::run as deliver;
use self::overview::SeenStore;
pub(crate) use self::overview::{
    DelayFigures, DelayOverview, figures, overview, pending_for, seen,
};
pub(crate) use self::pending::{
    accept_clock, cancel, cancel_all, deliver_now, get, list, reschedule, set_paused,
};
pub(crate) use self::produce::{Begun, produce};
use crate::ack_wait::AckWaits;
use crate::broker::Broker;
use crate::clock::{self, Clock};
use crate::partition::{AppendError, AppendOutcome, Partition, PartitionLog, WhenDurable, answer};
use crate::storage_threads::FlushSignal;

/// Of a moment that does not come.
const NEVER: i64 = i64::MAX;

/// The delay queues, one for each log directory.
#[derive(Debug)]
pub(crate) struct Delays {
    dirs: Vec<DelayDir>,
}

/// The delay queue of a log directory and who waits for it.
#[derive(Debug)]
pub(crate) struct DelayDir {
    number: usize,
    /// The broker's clock.
    time: Clock,
    /// Records that are kept in memory.
    near_records_max: usize,
    store: Mutex<Store>,
    /// Held by whoever syncs files of the store: Linux tells of a failure once, and another thread that syncs
    /// the same file would take for durable what is lost.
    syncing: Mutex<()>,
    /// Held by whoever writes a checkpoint: one at a time.
    checkpointing: Mutex<()>,
    /// Producers, by the position of the delay log that has to be durable.
    unsynced: AckWaits<Accepted>,
    /// That position, as far as it is.
    durable: AtomicI64,
    /// Why nothing is accepted or delivered here any more, if that is so.
    failure: OnceLock<StorageError>,
    /// A producer waits for the disk, or a delivery does.
    urgent: AtomicBool,
    /// Since when something is not on the disk, by the clock that nobody sets, in ms.
    unsynced_since: AtomicI64,
    /// There is something that the last checkpoint does not say.
    changed: AtomicBool,
    /// The delay log took a batch of an idempotent producer whose other half its partition's log did not.
    halved: AtomicBool,
    /// `None` while nothing is pending: where the clock jumped before, that was no reason for doubt.
    clock: Mutex<Option<WallClock>>,
    /// Nothing is delivered, because the clock jumped ahead, as the last look at it says.
    clock_held: AtomicBool,
    counts: Counts,
    /// What was pending when somebody scraped.
    seen: ArcSwap<SeenStore>,
    /// Partitions with a fixed delay in which something waits.
    looks: reveal::Looks,
    /// When the delivering thread looks at the queue next, ms since 1970.
    looks_at: AtomicI64,
    /// Wakes the thread that syncs.
    sync_signal: FlushSignal,
    /// Wakes the thread that delivers.
    deliver_signal: FlushSignal,
    /// Ends the thread that writes checkpoints.
    checkpoint_signal: FlushSignal,
}

/// What became of what was due, since the start.
#[derive(Debug, Default)]
struct Counts {
    /// Records that were appended to their partitions.
    delivered: AtomicU64,
    /// Records, or batches that were due as a whole, that had been cancelled when they were due.
    cancelled: AtomicU64,
    /// The same of those that had expired.
    expired: AtomicU64,
    /// Places of the store's files that were found damaged.
    damaged: AtomicU64,
    /// Records that damage took.
    lost: AtomicU64,
}

#[derive(Debug)]
enum Store {
    /// Nothing was ever delayed.
    Unmade,
    Open(Box<DelayQueue>),
    Closed,
}

/// A producer whose records are in the delay log.
#[derive(Debug)]
struct Accepted {
    info: AppendInfo,
    outcome: oneshot::Sender<AppendOutcome>,
    /// The partition to whose log some of its records went at once.
    partition: Option<Arc<Partition>>,
}

impl WhenDurable for Accepted {
    fn finish(self: Box<Self>, result: Result<(), AppendError>) {
        answer(self.outcome, result.map(|()| self.info));
    }

    fn is_gone(&self) -> bool {
        self.outcome.is_closed()
    }
}

impl Delays {
    /// Queues that are not looked for yet.
    pub(crate) fn new(dirs: usize, config: &BrokerConfig, clock: &Clock) -> Self {
        let near = config.delay_near_records_max;
        let near = usize::try_from(near).unwrap_or(usize::MAX);
        let dir = |number| DelayDir::new(number, near, clock.clone());
        Self {
            dirs: (0..dirs).map(dir).collect(),
        }
    }

    /// The clock was turned: what is due now is delivered.
    pub(crate) fn look_again(&self) {
        for dir in &self.dirs {
            dir.deliver_signal.raise();
        }
    }

    /// Those of all log directories.
    fn dirs(&self) -> &[DelayDir] {
        &self.dirs
    }

    /// That of a log directory.
    pub(crate) fn dir(&self, number: usize) -> Option<&DelayDir> {
        self.dirs.get(number)
    }

    /// What is pending for a topic in all directories but one.
    fn pending_elsewhere(&self, topic_id: Uuid, dir: usize) -> DelayCount {
        let others = self.dirs.iter().filter(|other| other.number != dir);
        let counts =
            others.filter_map(|other| other.with(|queue| queue.pending_of_topic(topic_id)));
        counts.fold(DelayCount::default(), |mut sum, count| {
            sum.join(count);
            sum
        })
    }

    /// Notes what was delivered, so far as records that are to be deleted are all that says so; the deletion
    /// fails where that cannot be done.
    pub(crate) fn note_before_deletion(
        &self,
        broker: &Broker,
        wanted: &[(Arc<PartitionLog>, i64)],
    ) {
        let mut dirs = BTreeSet::new();
        for (log, offset) in wanted {
            if log.kept_from().is_some_and(|kept| *offset > kept) {
                // Only what is on the disk is noted.
                if let Err(error) = log.flush(broker.clock().now_ms()) {
                    tracing::warn!(%error, "a log with delivered records is not flushed");
                }
                dirs.extend(broker.logs().dir_of(log));
            }
        }
        for dir in dirs.into_iter().filter_map(|number| self.dir(number)) {
            if let Err(error) = checkpoints::checkpoint(broker, dir) {
                tracing::warn!(%error, "what was delivered is not noted");
            }
        }
    }

    /// Drops what is pending for a topic that was deleted.
    pub(crate) fn forget_topic(&self, topic_id: Uuid) {
        for dir in &self.dirs {
            dir.with(|queue| queue.forget_topic(topic_id));
        }
    }

    /// Ends the threads, now or when they look next.
    pub(crate) fn stop(&self) {
        for dir in &self.dirs {
            dir.sync_signal.stop();
            dir.deliver_signal.stop();
            dir.checkpoint_signal.stop();
        }
    }

    /// Writes the last checkpoints, after the logs were closed and the threads have ended.
    ///
    /// # Errors
    /// The first error; the next start then reads more of the delay logs.
    pub(crate) fn close(&self, broker: &Broker) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for dir in &self.dirs {
            if dir.failure.get().is_none() {
                dir.sync();
                outcome = outcome.and(checkpoints::checkpoint(broker, dir));
            }
            *dir.lock() = Store::Closed;
        }
        outcome
    }
}

impl DelayDir {
    fn new(number: usize, near_records_max: usize, time: Clock) -> Self {
        Self {
            number,
            time,
            near_records_max,
            store: Mutex::new(Store::Unmade),
            syncing: Mutex::new(()),
            checkpointing: Mutex::new(()),
            unsynced: AckWaits::default(),
            durable: AtomicI64::new(0),
            failure: OnceLock::new(),
            urgent: AtomicBool::new(false),
            unsynced_since: AtomicI64::new(NEVER),
            changed: AtomicBool::new(false),
            halved: AtomicBool::new(false),
            clock: Mutex::new(None),
            clock_held: AtomicBool::new(false),
            counts: Counts::default(),
            seen: ArcSwap::default(),
            looks: reveal::Looks::default(),
            looks_at: AtomicI64::new(NEVER),
            sync_signal: FlushSignal::default(),
            deliver_signal: FlushSignal::default(),
            checkpoint_signal: FlushSignal::default(),
        }
    }

    /// A queue whose holder panicked is not trusted: the panic of a storage thread ends the process, and one
    /// of a produce request can only have come from a broken rule of the queue.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(|poisoned| {
            self.fail(StorageError::Closed);
            let mut store = PoisonError::into_inner(poisoned);
            *store = Store::Closed;
            store
        })
    }

    /// Works on the queue, if there is one.
    fn with<T>(&self, work: impl FnOnce(&mut DelayQueue) -> T) -> Option<T> {
        match &mut *self.lock() {
            Store::Open(queue) => {
                let done = work(queue);
                if queue.is_offline() {
                    self.fail(StorageError::LogDirOffline {
                        dir: queue.dir().to_path_buf(),
                    });
                }
                Some(done)
            }
            Store::Unmade | Store::Closed => None,
        }
    }

    /// Looks at the queue, if there is one; `None` where somebody works on it.
    fn try_with<T>(&self, look: impl FnOnce(&DelayQueue) -> T) -> Option<Option<T>> {
        let store = match self.store.try_lock() {
            Ok(store) => store,
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return None,
        };
        Some(match &*store {
            Store::Open(queue) => Some(look(queue)),
            Store::Unmade | Store::Closed => None,
        })
    }

    /// Nothing is accepted or delivered here until the next start.
    fn fail(&self, error: StorageError) {
        if self.failure.set(error.clone()).is_ok() {
            tracing::error!(%error, "delayed records are neither taken nor delivered until the next start");
        }
    }

    /// Makes durable what was accepted, and answers.
    pub(crate) fn sync(&self) {
        let syncing = self.syncing();
        // Whoever comes from here on raises them anew.
        self.urgent.store(false, Ordering::SeqCst);
        self.unsynced_since.store(NEVER, Ordering::SeqCst);
        let work = self.with(|queue| Some((queue.sync_work()?, queue.file_system())));
        if let Some((sync, fs)) = work.flatten() {
            let outcome = sync.run(&*fs);
            self.with(|queue| queue.synced(&sync, &outcome));
        }
        drop(syncing);
        self.answer_durable();
    }

    /// Answers the producers whose records somebody has made durable: a sync, or a checkpoint.
    fn answer_durable(&self) {
        let durable = self.with(|queue| queue.durable()).unwrap_or_default();
        self.durable.fetch_max(position(durable), Ordering::SeqCst);
        self.settle();
    }

    fn syncing(&self) -> MutexGuard<'_, ()> {
        // It guards no data that a panic could leave half-changed.
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checkpointing(&self) -> MutexGuard<'_, ()> {
        let held = self.checkpointing.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the producers whose records are durable; all of them where that will not be.
    fn settle(&self) {
        let durable = self.durable.load(Ordering::SeqCst);
        for accepted in self.unsynced.take_done(durable) {
            accepted.durable();
        }
        if let Some(error) = self.failure.get() {
            for accepted in self.unsynced.take_all() {
                answer(accepted.outcome, Err(error.clone().into()));
            }
        }
    }

    fn clock(&self) -> MutexGuard<'_, Option<WallClock>> {
        // No call of it leaves it half-changed.
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock, in ms since 1970, and whether to believe it. Whoever goes by the clock looks himself: the
    /// delivering thread does so once a second, and it may have been set since.
    fn look_at_clock(&self) -> (i64, ClockVerdict) {
        let idle = self.with(|queue| queue.is_idle()).unwrap_or(true);
        let mut clock = self.clock();
        // One look after the other.
        let reading = self.time.reading();
        let verdict = match idle && self.looks.next_ms().is_none() {
            true => {
                *clock = None;
                ClockVerdict::Believed
            }
            false => clock
                .get_or_insert_with(|| WallClock::new(reading))
                .observe(reading),
        };
        let held = verdict != ClockVerdict::Believed;
        self.clock_held.store(held, Ordering::Relaxed);
        (reading.wall_ms, verdict)
    }

    /// Somebody says that the clock is right.
    fn accept_clock(&self) {
        if let Some(clock) = &mut *self.clock() {
            clock.accept(self.time.reading());
        }
        self.clock_held.store(false, Ordering::Relaxed);
        self.deliver_signal.raise();
    }

    fn is_sync_due(&self, interval_ms: i64) -> bool {
        let since = self.unsynced_since.load(Ordering::SeqCst);
        self.urgent.load(Ordering::SeqCst)
            || clock::steady_ms().saturating_sub(since.min(NEVER - 1)) >= interval_ms
    }
}

impl Accepted {
    /// The delay log holds it for good.
    fn durable(self) {
        match self.partition.clone() {
            None => answer(self.outcome, Ok(self.info)),
            // What went to the log is waited for there.
            Some(partition) => drop(partition.when_durable(Box::new(self))),
        }
    }
}

/// A position of the delay log, which is below 2^62.
fn position(end: u64) -> i64 {
    i64::try_from(end).unwrap_or(NEVER)
}

/// Syncs until told to stop: the syncing thread of a log directory.
pub(crate) fn sync_loop(broker: &Broker, dir: usize) {
    let Some(delays) = broker.delays().dir(dir) else {
        return;
    };
    let interval_ms = broker.config().flush_interval_ms;
    let period = u64::try_from((interval_ms / 4).clamp(1, 1_000)).unwrap_or(1);
    while !delays.sync_signal.wait(Duration::from_millis(period)) {
        if delays.is_sync_due(interval_ms) {
            delays.sync();
            // What is due may have waited for it.
            delays.deliver_signal.raise();
        }
    }
}
