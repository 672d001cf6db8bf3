//! The only place that starts threads: one that makes data durable, with its helpers, one that cleans up, one
//! that compacts, one that scrubs, and three for delayed records.
//!
//! The flush thread of a log directory starts a round as soon as a producer waits for the disk, and
//! otherwise when unsynced data grows old (`tidewheel.flush.interval.ms`) or large
//! (`tidewheel.flush.unsynced.max.bytes`). Whoever comes while a round runs waits for the next one,
//! which begins when this one ends: group commit without a timer.

mod flush_crew;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use tidewheel_protocol::TopicPartition;
use tidewheel_storage::{RetentionOutcome, StorageError};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use self::flush_crew::FlushCrew;
use crate::broker::Broker;
use crate::clock;
use crate::compaction;
use crate::delays;
use crate::scrub;
use crate::trouble::Trouble;

/// How long a partition keeps its files open that nobody reads or writes.
const IDLE_FILES_MS: i64 = 30_000;

/// How often the cleaning thread asks logs whether a checkpoint is worth its writes, and looks whether
/// something else is due.
const CLEANER_PERIOD: Duration = Duration::from_secs(1);

/// Added to the nice value of threads that nobody waits for: with both processors taken, one of them had a
/// producer's thread wait for whole ticks. A tenth of a processor is left to them then.
const BACKGROUND_NICE: i32 = 10;

#[derive(Debug, Default)]
struct Signal {
    raised: bool,
    stopped: bool,
}

/// Wakes a storage thread.
#[derive(Debug, Default)]
pub(crate) struct FlushSignal {
    state: Mutex<Signal>,
    changed: Condvar,
}

impl FlushSignal {
    /// Somebody waits for the disk.
    pub(crate) fn raise(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.raised {
            state.raised = true;
            self.changed.notify_one();
        }
    }

    /// Wakes whoever waits, now and later.
    pub(crate) fn stop(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stopped = true;
        self.changed.notify_all();
    }

    /// Waits until raised, stopped or `at_most` has passed. Returns whether it was stopped.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut Signal| !state.raised && !state.stopped;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, at_most, idle)
            .unwrap_or_else(PoisonError::into_inner);
        state.raised = false;
        state.stopped
    }
}

/// Raises the signal of a log directory for the storage.
struct FlushDue {
    signals: Arc<[FlushSignal]>,
    dir: usize,
}

impl Wake for FlushDue {
    fn wake(self: Arc<Self>) {
        if let Some(signal) = self.signals.get(self.dir) {
            signal.raise();
        }
    }
}

/// The running threads. They are stopped when this is dropped, which must be before the logs are closed.
#[derive(Debug)]
pub(crate) struct StorageThreads {
    broker: Arc<Broker>,
    compactor_signal: Arc<FlushSignal>,
    scrubber_signal: Arc<FlushSignal>,
    threads: Vec<JoinHandle<()>>,
    failed: watch::Receiver<Option<String>>,
}

impl StorageThreads {
    /// Starts them.
    ///
    /// # Errors
    /// Where the system has no more threads.
    pub(crate) fn start(broker: &Arc<Broker>) -> io::Result<Self> {
        let (failure, failed) = watch::channel(None);
        let mut threads = Vec::new();
        for dir in 0..broker.logs().dir_count() {
            let signals = Arc::clone(broker.flush_signals());
            let due = Waker::from(Arc::new(FlushDue { signals, dir }));
            broker.logs().wake_when_due(dir, due);
            let (broker, failure) = (Arc::clone(broker), failure.clone());
            threads.push(spawn("flush", move || flush_loop(&broker, dir, &failure))?);
        }
        for dir in 0..broker.logs().dir_count() {
            let (syncer, deliverer) = (Arc::clone(broker), Arc::clone(broker));
            let checkpointer = Arc::clone(broker);
            let sync = move || delays::sync_loop(&syncer, dir);
            threads.push(spawn("delay-sync", sync)?);
            let deliver = move || delays::deliver(&deliverer, dir);
            threads.push(spawn("delays", deliver)?);
            let write = move || delays::write_checkpoints(&checkpointer, dir);
            threads.push(spawn("delay-checkpoints", write)?);
        }
        let cleaner = Arc::clone(broker);
        threads.push(spawn("cleaner", move || cleaner_loop(&cleaner))?);
        let compactor_signal = Arc::new(FlushSignal::default());
        if broker.config().cleaner.enable {
            let (compactor, signal) = (Arc::clone(broker), Arc::clone(&compactor_signal));
            let run = move || compaction::run(&compactor, &signal);
            threads.push(spawn("compactor", in_background(run))?);
        }
        let scrubber_signal = Arc::new(FlushSignal::default());
        if broker.config().scrub_bytes_per_second > 0 {
            let (scrubber, signal) = (Arc::clone(broker), Arc::clone(&scrubber_signal));
            let run = move || scrub::run(&scrubber, &signal);
            threads.push(spawn("scrubber", in_background(run))?);
        }
        Ok(Self {
            broker: Arc::clone(broker),
            compactor_signal,
            scrubber_signal,
            threads,
            failed,
        })
    }

    /// Resolves with a sentence when the broker cannot go on: the disk of its metadata failed.
    pub(crate) async fn failed(&mut self) -> String {
        match self.failed.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().unwrap_or_default(),
            Err(_) => "the flush thread is gone".to_owned(),
        }
    }

    /// Ends the threads and waits for them, which may take an fsync.
    pub(crate) fn stop(&mut self) {
        self.broker
            .flush_signals()
            .iter()
            .for_each(FlushSignal::stop);
        self.broker.delays().stop();
        self.broker.cleaner_signal().stop();
        self.compactor_signal.stop();
        self.scrubber_signal.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a storage thread ended badly");
            }
        }
    }
}

impl Drop for StorageThreads {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a thread whose panic ends the process: what it left half-done is not trusted, and without it
/// producers would wait for ever.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let guarded = move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            error!("a storage thread panicked: the broker ends here");
            std::process::abort();
        }
    };
    std::thread::Builder::new()
        .name(format!("tidewheel-{name}"))
        .spawn(guarded)
}

/// `run` on a thread that lets others go first. Where the system does not allow that it runs like they do.
fn in_background(run: impl FnOnce() + Send) -> impl FnOnce() + Send {
    move || {
        // Of this thread alone on Linux.
        if let Err(error) = rustix::process::nice(BACKGROUND_NICE) {
            debug!(%error, "a thread in the background goes at full priority");
        }
        run();
    }
}

/// Flushes until told to stop or until the directory fails.
fn flush_loop(broker: &Broker, dir: usize, failure: &watch::Sender<Option<String>>) {
    let Some(signal) = broker.flush_signals().get(dir) else {
        return;
    };
    let interval_ms = broker.config().flush_interval_ms;
    // Nobody waits for data that is looked at this often: four times in the age it may reach.
    let period = millis((interval_ms / 4).clamp(1, 1_000));
    let (mut crew, mut trouble) = (FlushCrew::default(), Trouble::default());
    while !signal.wait(period) {
        if is_due(broker, dir) {
            flush(broker, dir, &mut crew, &mut trouble);
        }
        if let Some(error) = broker.logs().offline_cause(dir) {
            go_offline(broker, dir, &error, failure);
            return;
        }
    }
}

fn is_due(broker: &Broker, dir: usize) -> bool {
    let config = broker.config();
    let dirty = broker.logs().dirty(dir);
    // The clock is read after it: an append that came in between would seem to lie ahead.
    dirty.is_due(config.flush_interval_ms, broker.clock().now_ms())
        || dirty.unsynced_bytes >= config.flush_unsynced_max_bytes
}

/// One round, and word of it to those who waited. What could not be synced for want of descriptors is due
/// again after a pause or with the next append that waits.
fn flush(broker: &Broker, dir: usize, crew: &mut FlushCrew, trouble: &mut Trouble) {
    let Some(work) = broker.logs().begin_flush_round(dir) else {
        return;
    };
    let begun = clock::instant();
    let round = crew.run(work);
    broker.metrics().storage().flushed(clock::instant() - begun);
    match &round.error {
        Some(error) if error.is_out_of_descriptors() => {
            if trouble.begins() {
                warn!(%error, "some data is not on disk yet");
            }
            // Files that others keep open only in case they are used again.
            broker.logs().release_idle(broker.clock().now_ms(), 0);
        }
        None if trouble.ends() => info!("all data is on disk again"),
        _ => {}
    }
    let topics = broker.topics();
    for log in &round.advanced {
        if let Some(partition) = topics.with_log(*log) {
            partition.settle();
        }
    }
}

/// Everybody who waits for this directory is told; without the first one, which holds the metadata, the
/// broker cannot go on.
fn go_offline(
    broker: &Broker,
    dir: usize,
    error: &StorageError,
    failure: &watch::Sender<Option<String>>,
) {
    error!(%error, "a log directory is offline until the next start");
    broker
        .topics()
        .partitions()
        .for_each(|partition| partition.settle());
    if dir == 0 {
        failure.send_replace(Some(error.to_string()));
    }
}

/// Checkpoints, retention, and unlinking what was deleted: nobody waits for these.
fn cleaner_loop(broker: &Broker) {
    let (config, clock) = (broker.config(), broker.clock());
    let (mut checkpoints, mut unlinking) = (Trouble::default(), Trouble::default());
    let in_ms = |ms: i64| clock.steady_ms().saturating_add(ms);
    let mut retention_due_ms = in_ms(config.log_initial_task_delay_ms);
    let mut space = Space::of(broker.logs().dir_count());
    while !broker.cleaner_signal().wait(CLEANER_PERIOD) {
        let now_ms = clock.now_ms();
        let is_low = space.look(broker);
        if is_low {
            retain(broker, now_ms);
        }
        match broker.logs().checkpoint(now_ms) {
            Err(error) if checkpoints.begins() => warn!(%error, "checkpoints are put off"),
            Ok(()) if checkpoints.ends() => info!("checkpoints are written again"),
            Err(_) | Ok(()) => {}
        }
        match broker.logs().unlink_deleted(now_ms) {
            Err(error) if unlinking.begins() => warn!(%error, "cannot unlink deleted files"),
            Ok(()) if unlinking.ends() => info!("deleted files are unlinked again"),
            Err(_) | Ok(()) => {}
        }
        // Only what is missing when all that is on its way out has gone.
        if is_low && space.look(broker) {
            for (partition, outcome) in broker.logs().retain_early(now_ms) {
                if let Ok(outcome) = &outcome {
                    broker.metrics().storage().retained_early(outcome);
                }
                tell(&partition, outcome);
            }
        }
        broker.logs().release_idle(now_ms, IDLE_FILES_MS);
        if retention_due_ms <= clock.steady_ms() {
            retention_due_ms = in_ms(config.log_retention_check_interval_ms);
            retain(broker, now_ms);
        }
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn retain(broker: &Broker, now_ms: i64) {
    for partition in broker.topics().partitions() {
        let log = partition.log();
        let outcome = log.apply_retention(now_ms);
        if let Ok(outcome) = &outcome {
            broker.metrics().storage().retained(outcome);
        }
        tell(log.topic_partition(), outcome);
    }
}

fn tell(partition: &TopicPartition, outcome: Result<RetentionOutcome, StorageError>) {
    match outcome {
        Ok(outcome) if outcome.deleted_segments() > 0 => {
            let (segments, log_start) = (outcome.deleted_segments(), outcome.log_start);
            info!(%partition, segments, log_start, "deleted by retention");
        }
        Ok(_) => {}
        Err(error) => warn!(%partition, %error, "retention failed"),
    }
}

/// How the log directories stand, as it was told last.
struct Space(Vec<(Trouble, Trouble)>);

impl Space {
    fn of(dirs: usize) -> Self {
        Self((0..dirs).map(|_| Default::default()).collect())
    }

    /// Looks at the free space of every directory and tells what changed; returns whether it is low in one.
    fn look(&mut self, broker: &Broker) -> bool {
        let states = broker.logs().watch_space();
        let dirs = &broker.config().log_dirs;
        for ((state, (low, full)), dir) in states.iter().zip(&mut self.0).zip(dirs) {
            let dir = dir.display();
            if state.is_low && low.begins() {
                warn!(%dir, "little space is left: retention runs all the time");
            } else if !state.is_low && low.ends() {
                info!(%dir, "there is enough space again");
            }
            if state.is_full && full.begins() {
                error!(%dir, "no space is left: records of clients are refused");
            } else if !state.is_full && full.ends() {
                info!(%dir, "records of clients are taken again");
            }
        }
        states.iter().any(|state| state.is_low)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::*;

    #[test]
    fn what_goes_in_the_background_leaves_other_threads_their_priority() {
        let nice = || rustix::process::nice(0).unwrap();
        let before = nice();
        let found = Arc::new(AtomicI32::new(0));
        let finding = Arc::clone(&found);
        let run = in_background(move || finding.store(nice(), Ordering::Relaxed));
        spawn("test", run).unwrap().join().unwrap();
        // 19 is the most there is.
        let lowered = (before + BACKGROUND_NICE).min(19);
        assert_eq!(found.load(Ordering::Relaxed), lowered);
        assert_eq!(nice(), before);
    }
}
