//! The coordinator of the groups that one partition of `__consumer_offsets` keeps, and who may use it when.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tidewheel_consumer_groups::{
    GroupCoordinator, GroupReply, GroupRequest, GroupTimes, GroupView, Listed,
};
use tokio::sync::{oneshot, watch};
use tracing::error;

use super::Known;
use super::offsets_log::OffsetsLog;
use super::pending::{NoCoordinator, Pending};
use super::running::Running;
use crate::partition::{AppendError, WhenDurable};
use crate::topics::TopicsSnapshot;

/// A coordinator, or why there is none: at first it is loading.
type State = Result<Running, NoCoordinator>;

/// One coordinator with its log.
pub(super) struct Shard {
    log: OffsetsLog,
    /// `offsets.commit.timeout.ms`.
    commit_timeout: Duration,
    state: Mutex<State>,
    /// When [`keep_time`] has to look, in ms since 1970. Changed by the holder of `state`.
    timer: watch::Sender<Option<i64>>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("partition", self.log.log().topic_partition())
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// One that is still to be loaded.
    pub(super) fn new(log: OffsetsLog, commit_timeout: Duration) -> Self {
        Self {
            log,
            commit_timeout,
            state: Mutex::new(Err(NoCoordinator::Loading)),
            timer: watch::Sender::new(None),
        }
    }

    pub(super) fn log(&self) -> &OffsetsLog {
        &self.log
    }

    /// Whether what the log holds is still being read, or to be read.
    pub(super) fn is_loading(&self) -> bool {
        matches!(*self.lock(), Err(NoCoordinator::Loading))
    }

    /// Begins to serve what `coordinator` has replayed; returns whether it does, which it does not where the
    /// broker stops already. What is `known` is looked at under the lock: of a topic that changes meanwhile either
    /// this hears or the coordinator, see [`Groups::topics_changed`](super::Groups::topics_changed).
    pub(super) fn serve(
        &self,
        coordinator: GroupCoordinator,
        known: impl FnOnce() -> Known,
    ) -> bool {
        let mut state = self.lock();
        let is_awaited = matches!(*state, Err(NoCoordinator::Loading));
        if is_awaited {
            let running = Running::new(coordinator, self.log.clone(), known());
            self.set_timer(running.coordinator().next_deadline());
            *state = Ok(running);
        }
        is_awaited
    }

    /// There is no coordinator until the next start.
    pub(super) fn fail(&self) {
        drop(self.end(&mut self.lock(), NoCoordinator::Failed));
    }

    /// Answers whoever waits and takes no more requests.
    pub(super) fn close(&self) {
        if let Some(running) = self.end(&mut self.lock(), NoCoordinator::Elsewhere) {
            running.close();
        }
    }

    /// Takes the coordinator away. Whoever waits for it and is not answered hears that it is elsewhere.
    fn end(&self, state: &mut State, reason: NoCoordinator) -> Option<Running> {
        self.timer.send_replace(None);
        std::mem::replace(state, Err(reason)).ok()
    }

    /// Where the log takes nothing any more, nobody is to wait for what it would have to take.
    fn end_if_lost(&self, state: &mut State) {
        if state.is_ok() && self.log.log().refusal().is_some() {
            let partition = self.log.log().topic_partition();
            error!(%partition, "its groups cannot be written: they have no coordinator until the next start");
            if let Some(running) = self.end(state, NoCoordinator::Failed) {
                running.close();
            }
        }
    }

    /// The same of one that serves already.
    pub(super) fn set_known(&self, known: impl FnOnce() -> Known) {
        if let Ok(running) = &mut *self.lock() {
            let Known { topics, times, .. } = known();
            running.set_topics(topics);
            running.set_times(times);
        }
    }

    /// The topics are these from now on.
    pub(super) fn set_topics(&self, topics: Arc<TopicsSnapshot>) {
        if let Ok(running) = &mut *self.lock() {
            running.set_topics(topics);
        }
    }

    /// What is set on single groups is this from now on.
    pub(super) fn set_times(&self, times: Arc<GroupTimes>) {
        if let Ok(running) = &mut *self.lock() {
            running.set_times(times);
        }
    }

    /// See [`Groups::ask`](super::Groups::ask).
    pub(super) fn ask(&self, request: GroupRequest) -> Pending {
        // A rebalance takes its time; what else is not done then waits for a disk that hangs.
        let at_most = match &request {
            GroupRequest::Join(_) | GroupRequest::Sync(_) => None,
            _ => Some(self.commit_timeout),
        };
        match self.begin(request) {
            Ok(reply) => Pending::new(reply, at_most),
            Err(reason) => Pending::refused(reason),
        }
    }

    /// The same for what nobody waits for.
    pub(super) fn tell(&self, request: GroupRequest) {
        drop(self.begin(request));
    }

    fn begin(&self, request: GroupRequest) -> Result<oneshot::Receiver<GroupReply>, NoCoordinator> {
        let mut state = self.lock();
        self.end_if_lost(&mut state);
        let running = state.as_mut().map_err(|reason| *reason)?;
        let reply = running.handle(request);
        self.hurry_timer(running.coordinator().next_deadline());
        Ok(reply)
    }

    /// Estimated bytes of what a group holds; nothing while it is being read.
    pub(super) fn weight(&self, group_id: &str) -> usize {
        let state = self.lock();
        let running = state.as_ref();
        running.map_or(0, |running| running.coordinator().group_bytes(group_id))
    }

    /// What a list of its groups takes; nothing while they are being read.
    pub(super) fn listed(&self) -> Listed {
        let state = self.lock();
        let running = state.as_ref();
        running.map_or_else(
            |_| Listed::default(),
            |running| running.coordinator().listed(),
        )
    }

    /// Passes on each of its groups; none while they are being read.
    pub(super) fn watch(&self, mut seen: impl FnMut(&GroupView<'_>)) {
        if let Ok(running) = &*self.lock() {
            running.coordinator().views().for_each(|view| seen(&view));
        }
    }

    /// Does what is due, or some of it. Returns whether the log takes it; nothing where there is no
    /// coordinator any more.
    fn tick(&self) -> Option<bool> {
        let mut state = self.lock();
        self.end_if_lost(&mut state);
        let running = state.as_mut().ok()?;
        let goes_well = running.tick();
        self.set_timer(running.coordinator().next_deadline());
        Some(goes_well)
    }

    /// The clock was turned: [`keep_time`] looks at it.
    pub(super) fn look_again(&self) {
        self.timer.send_modify(|_| {});
    }

    fn set_timer(&self, next: Option<i64>) {
        self.timer
            .send_if_modified(|timer| std::mem::replace(timer, next) != next);
    }

    /// Only where it has to look earlier: looking in vain now and then is cheaper than a wake-up for every
    /// heartbeat.
    fn hurry_timer(&self, next: Option<i64>) {
        let timer = *self.timer.borrow();
        if next.is_some_and(|next| timer.is_none_or(|at| next < at)) {
            self.set_timer(next);
        }
    }

    fn lock(&self) -> Held<'_> {
        Held {
            shard: self,
            // Whoever panicked with it has left no coordinator in it.
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// The state of a shard, held.
struct Held<'a> {
    shard: &'a Shard,
    state: MutexGuard<'a, State>,
}

impl Deref for Held<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Held<'_> {
    /// A panic in the middle of a decision: what it left is not trusted, and nobody is left waiting for it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let partition = self.shard.log.log().topic_partition();
            error!(%partition, "its groups have no coordinator until the next start");
            drop(self.shard.end(&mut self.state, NoCoordinator::Failed));
        }
    }
}

/// Has [`keep_time`] look at a shard whose log has failed.
struct Look(Weak<Shard>);

impl WhenDurable for Look {
    /// May be called by whoever holds the state.
    fn finish(self: Box<Self>, result: Result<(), AppendError>) {
        if let (Err(_), Some(shard)) = (result, self.0.upgrade()) {
            shard.look_again();
        }
    }

    fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Looks at sessions and rebalances when their time is over, as long as there is a coordinator.
pub(super) async fn keep_time(shard: Arc<Shard>) {
    /// The longest sleep: the clock may be set while the time until the next deadline is computed.
    const LOOK_AGAIN_MS: i64 = 60_000;
    /// After what the log did not take, a full disk mostly: it is decided again.
    const RETRY: Duration = Duration::from_secs(1);
    let mut timer = shard.timer.subscribe();
    shard.log.when_failed(Look(Arc::downgrade(&shard)));
    while let Some(goes_well) = shard.tick() {
        if !goes_well {
            tokio::time::sleep(RETRY).await;
        }
        let next = *timer.borrow_and_update();
        let left_ms = next.map_or(LOOK_AGAIN_MS, |at| {
            at.saturating_sub(shard.log.clock().now_ms())
        });
        // What is due is done in parts, so that requests have their turn in between.
        let left_ms = left_ms.clamp(1, LOOK_AGAIN_MS).unsigned_abs();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(left_ms)) => {}
            // The shard holds the sender, so it is there.
            _ = timer.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests;
