//! The coordinator of the groups that one partition of `__consumer_offsets` keeps.
//!
//! The contract of `tidewheel-consumer-groups` in a few lines: under one mutex a request is handled, what
//! it decided is appended, and what was appended is replayed. Replies leave when everything before them
//! is as durable as acknowledged data has to be. This is the partition's only writer.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_consumer_groups::{
    GroupCoordinator, GroupError, GroupReply, GroupRequest, OffsetsRecord, Output, ReplyToken,
};
use tidewheel_protocol::{BatchError, RecordBatch, RecordBatchBuilder};
use tidewheel_storage::StorageError;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::broker::Broker;
use crate::clock;
use crate::partition::{AppendError, Partition};
use crate::storage_threads::FlushSignal;
use crate::trouble::Trouble;

/// Why there is no coordinator that could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCoordinator {
    /// What it keeps is still being read.
    Loading,
    /// It was never found, or the broker stops: the client is to look for it.
    Elsewhere,
    /// What it keeps cannot be read or written.
    Failed,
}

/// An answer that may take a while.
pub(crate) struct Pending(Pin<Box<dyn Future<Output = Result<GroupReply, NoCoordinator>> + Send>>);

impl Pending {
    pub(super) fn refused(reason: NoCoordinator) -> Self {
        Self(Box::pin(std::future::ready(Err(reason))))
    }
}

impl Future for Pending {
    type Output = Result<GroupReply, NoCoordinator>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Ready,
    Failed,
    Closed,
}

/// When [`keep_time`] has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Never,
    At(i64),
    Ended,
}

struct State {
    coordinator: GroupCoordinator,
    next_token: u64,
    waiting: HashMap<ReplyToken, oneshot::Sender<GroupReply>>,
    appends: Trouble,
}

/// One coordinator with its log.
pub(super) struct Shard {
    partition: Arc<Partition>,
    /// `offsets.commit.timeout.ms`.
    commit_timeout: Duration,
    flush: Arc<[FlushSignal]>,
    state: Mutex<State>,
    /// Changed by the holder of `state`.
    phase: watch::Sender<Phase>,
    /// Changed by the holder of `state`.
    timer: watch::Sender<Timer>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("partition", self.partition.log().topic_partition())
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

impl Shard {
    pub(super) fn new(
        broker: &Broker,
        partition: &Arc<Partition>,
        coordinator: GroupCoordinator,
    ) -> Self {
        let commit_timeout_ms = broker.config().group.offsets_commit_timeout_ms;
        Self {
            partition: Arc::clone(partition),
            commit_timeout: Duration::from_millis(u64::try_from(commit_timeout_ms).unwrap_or(0)),
            flush: Arc::clone(broker.flush_signals()),
            state: Mutex::new(State {
                coordinator,
                next_token: 0,
                waiting: HashMap::new(),
                appends: Trouble::default(),
            }),
            phase: watch::Sender::new(Phase::Loading),
            timer: watch::Sender::new(Timer::Never),
        }
    }

    pub(super) fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Fills the coordinator with what the log holds: `read` calls its argument for every record.
    pub(super) fn load<E>(
        &self,
        read: impl FnOnce(&mut dyn FnMut(OffsetsRecord)) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        let outcome = read(&mut |record| state.coordinator.replay(&record));
        let phase = match outcome {
            Ok(()) => Phase::Ready,
            Err(_) => Phase::Failed,
        };
        if phase == Phase::Ready {
            let output = state.coordinator.loaded(clock::steady_ms());
            self.carry_out(&mut state, output, false);
        }
        // A broker that stops meanwhile has said so already.
        self.phase.send_if_modified(|current| {
            let loads = *current == Phase::Loading;
            if loads {
                *current = phase;
            }
            loads
        });
        self.set_timer(&state);
        outcome
    }

    /// See [`Groups::ask`](super::Groups::ask).
    pub(super) fn ask(self: Arc<Self>, request: GroupRequest) -> Pending {
        // A rebalance takes its time; what else is not done then waits for a disk that hangs.
        let at_most = match &request {
            GroupRequest::Join(_) | GroupRequest::Sync(_) => None,
            _ => Some(self.commit_timeout),
        };
        if *self.phase.borrow() != Phase::Loading {
            let begun = self.begin(request);
            return Pending(Box::pin(async move { finish(begun?, at_most).await }));
        }
        Pending(Box::pin(async move {
            let mut phase = self.phase.subscribe();
            let loaded = phase.wait_for(|phase| *phase != Phase::Loading);
            if !matches!(timeout(limits::GROUP_LOAD_WAIT, loaded).await, Ok(Ok(_))) {
                return Err(NoCoordinator::Loading);
            }
            let begun = self.begin(request);
            finish(begun?, at_most).await
        }))
    }

    /// The same for what nobody waits for. What cannot be carried out at once, because groups are still
    /// being read, is carried out then.
    pub(super) fn tell(self: Arc<Self>, request: GroupRequest) {
        if *self.phase.borrow() != Phase::Loading {
            drop(self.begin(request));
            return;
        }
        tokio::spawn(async move {
            let mut phase = self.phase.subscribe();
            // The shard holds the sender, so it is there.
            drop(phase.wait_for(|phase| *phase != Phase::Loading).await);
            drop(self.begin(request));
        });
    }

    fn begin(&self, request: GroupRequest) -> Result<oneshot::Receiver<GroupReply>, NoCoordinator> {
        let mut state = self.lock();
        match *self.phase.borrow() {
            Phase::Ready => {}
            Phase::Loading => return Err(NoCoordinator::Loading),
            Phase::Failed => return Err(NoCoordinator::Failed),
            Phase::Closed => return Err(NoCoordinator::Elsewhere),
        }
        if self.partition.log().refusal().is_some() {
            return Err(NoCoordinator::Failed);
        }
        let token = ReplyToken(state.next_token);
        state.next_token += 1;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(token, sender);
        let at_once = matches!(request, GroupRequest::Heartbeat(_));
        let output = state.coordinator.handle(request, token, clock::steady_ms());
        self.carry_out(&mut state, output, at_once);
        self.hurry_timer(&state);
        Ok(receiver)
    }

    /// Appends and replays what was decided, and sees to it that the replies leave.
    fn carry_out(&self, state: &mut State, output: Output, at_once: bool) {
        let output = self.write(state, output);
        let replies: Vec<_> = output
            .replies
            .into_iter()
            .filter_map(|(token, reply)| Some((state.waiting.remove(&token)?, reply)))
            .collect();
        if at_once {
            send(replies);
        } else if !replies.is_empty() {
            self.release(replies);
        }
    }

    /// Appends and replays the records of an output. Returns it without them, or what follows where the log
    /// did not take them.
    fn write(&self, state: &mut State, mut output: Output) -> Output {
        /// What follows a refusal may have records too, which may be refused again.
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            if output.records.is_empty() {
                break;
            }
            match self.append(&output.records) {
                Ok(()) => {
                    state.appends.ends();
                    for record in std::mem::take(&mut output.records) {
                        state.coordinator.replay(&record);
                    }
                }
                Err(error) => {
                    if state.appends.begins() {
                        let partition = self.partition.log().topic_partition();
                        warn!(%partition, %error, "what groups decide cannot be written");
                    }
                    let code = append_error(&error);
                    let now_ms = clock::steady_ms();
                    output = state.coordinator.append_failed(output, code, now_ms);
                }
            }
        }
        output
    }

    /// Writes records, in as few batches as may be.
    fn append(&self, records: &[OffsetsRecord]) -> Result<(), AppendError> {
        let now_ms = clock::now_ms();
        for batch in batches(records, now_ms)? {
            self.partition.append_own(batch, now_ms)?;
        }
        Ok(())
    }

    /// Lets replies go when all that was appended until now is durable.
    fn release(&self, replies: Vec<(oneshot::Sender<GroupReply>, GroupReply)>) {
        let waits = self
            .partition
            .when_durable(Box::new(move |outcome| match outcome {
                Ok(()) => send(replies),
                Err(_) => send(
                    replies
                        .into_iter()
                        .map(|(sender, reply)| {
                            (sender, reply.refused(GroupError::CoordinatorNotAvailable))
                        })
                        .collect(),
                ),
            }));
        if waits {
            self.flush.iter().for_each(FlushSignal::raise);
        }
    }

    /// Estimated bytes of what a group holds; nothing while it is being read.
    pub(super) fn weight(&self, group_id: &str) -> usize {
        match *self.phase.borrow() {
            Phase::Loading => 0,
            _ => self.lock().coordinator.group_bytes(group_id),
        }
    }

    /// How many groups it keeps; none while they are being read.
    pub(super) fn count(&self) -> usize {
        match *self.phase.borrow() {
            Phase::Loading => 0,
            _ => self.lock().coordinator.group_count(),
        }
    }

    /// Whether nobody needs it any more.
    pub(super) fn is_closed(&self) -> bool {
        *self.phase.borrow() == Phase::Closed
    }

    /// Answers whoever waits and takes no more requests.
    pub(super) fn close(&self) {
        // First, so that loading ends soon.
        self.phase.send_replace(Phase::Closed);
        self.timer.send_replace(Timer::Ended);
        let mut state = self.lock();
        let output = state.coordinator.close(GroupError::NotCoordinator);
        self.carry_out(&mut state, output, true);
    }

    /// Does what is due, or some of it. Returns whether the log takes it.
    fn tick(&self) -> bool {
        /// Then requests have their turn.
        const AT_ONCE: usize = 100;
        let mut state = self.lock();
        if *self.phase.borrow() != Phase::Ready {
            return true;
        }
        let now_ms = clock::steady_ms();
        for _ in 0..AT_ONCE {
            if state
                .coordinator
                .next_deadline()
                .is_none_or(|at| now_ms < at)
            {
                break;
            }
            let output = state.coordinator.tick(now_ms);
            self.carry_out(&mut state, output, false);
        }
        self.set_timer(&state);
        !state.appends.lasts()
    }

    fn set_timer(&self, state: &State) {
        let next = state.coordinator.next_deadline();
        self.timer.send_modify(|timer| {
            if *timer != Timer::Ended {
                *timer = next.map_or(Timer::Never, Timer::At);
            }
        });
    }

    /// Only where it has to look earlier: looking in vain now and then is cheaper than a wake-up for every
    /// heartbeat.
    fn hurry_timer(&self, state: &State) {
        let Some(next) = state.coordinator.next_deadline() else {
            return;
        };
        self.timer.send_if_modified(|timer| {
            let later = match *timer {
                Timer::Never => true,
                Timer::At(at) => next < at,
                Timer::Ended => false,
            };
            if later {
                *timer = Timer::At(next);
            }
            later
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        match self.state.lock() {
            Ok(state) => state,
            // A panic in the middle of a decision: what it left is not trusted.
            Err(poisoned) => {
                self.phase.send_replace(Phase::Failed);
                PoisonError::into_inner(poisoned)
            }
        }
    }
}

/// Looks at sessions and rebalances when their time is over, until the shard is closed.
pub(super) async fn keep_time(shard: Arc<Shard>) {
    /// After what the log did not take, a full disk mostly: it is decided again.
    const RETRY: Duration = Duration::from_secs(1);
    let mut timer = shard.timer.subscribe();
    loop {
        let next = *timer.borrow_and_update();
        let due = async {
            match next {
                Timer::At(at) => {
                    let left = at.saturating_sub(clock::steady_ms());
                    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
                        .await;
                }
                Timer::Never | Timer::Ended => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                if !shard.tick() {
                    tokio::time::sleep(RETRY).await;
                }
            }
            // The shard holds the sender, so it is there.
            _ = timer.changed() => {}
        }
        if shard.is_closed() {
            return;
        }
    }
}

/// What members and committers are told of a refused append.
fn append_error(error: &AppendError) -> GroupError {
    match error {
        AppendError::Storage(StorageError::RecordTooLarge { .. })
        | AppendError::Batch(BatchError::TooLarge) => GroupError::InvalidCommitOffsetSize,
        _ => GroupError::CoordinatorNotAvailable,
    }
}

async fn finish(
    reply: oneshot::Receiver<GroupReply>,
    at_most: Option<Duration>,
) -> Result<GroupReply, NoCoordinator> {
    let reply = async { reply.await.map_err(|_| NoCoordinator::Elsewhere) };
    match at_most {
        Some(at_most) => timeout(at_most, reply)
            .await
            .unwrap_or(Err(NoCoordinator::Failed)),
        None => reply.await,
    }
}

/// A receiver that is gone has closed its connection: what was decided stands all the same.
fn send(replies: Vec<(oneshot::Sender<GroupReply>, GroupReply)>) {
    for (sender, reply) in replies {
        drop(sender.send(reply));
    }
}

/// Records in batches of about `limits::OFFSETS_BATCH_BYTES`; a record is never cut.
fn batches(records: &[OffsetsRecord], now_ms: i64) -> Result<Vec<RecordBatch>, AppendError> {
    let mut batches = Vec::new();
    let mut builder = RecordBatchBuilder::new();
    let mut bytes = 0;
    for record in records {
        let (key, value) = record.encode();
        let size = key.len() + value.as_ref().map_or(0, |value| value.len());
        if bytes > 0 && bytes + size > limits::OFFSETS_BATCH_BYTES {
            batches.push(std::mem::take(&mut builder).build()?);
            bytes = 0;
        }
        builder = builder.record(now_ms, Some(&key), value.as_deref());
        bytes += size;
    }
    if bytes > 0 {
        batches.push(builder.build()?);
    }
    Ok(batches)
}
