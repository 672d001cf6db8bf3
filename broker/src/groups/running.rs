//! A coordinator at work: the contract of `tidewheel-consumer-groups` in a few lines.
//!
//! A request is handled, what it decided is appended, and what was appended is replayed. Replies leave when
//! everything before them is as durable as acknowledged data has to be.

use std::collections::HashMap;
use std::sync::Arc;

use tidewheel_consumer_groups::{
    GroupCoordinator, GroupError, GroupReply, GroupRequest, GroupTimes, OffsetsRecord, Output,
    ReplyToken,
};
use tokio::sync::oneshot;
use tracing::warn;

use super::offsets_log::{OffsetsLog, append_error, send};
use super::wall_clock::WallClock;
use super::{CommitHistory, Known};
use crate::topics::TopicsSnapshot;
use crate::trouble::Trouble;

pub(super) struct Running {
    coordinator: GroupCoordinator,
    log: OffsetsLog,
    clock: WallClock,
    next_token: u64,
    waiting: HashMap<ReplyToken, oneshot::Sender<GroupReply>>,
    appends: Trouble,
    /// Those that the coordinator knows.
    topics: Arc<TopicsSnapshot>,
    history: Arc<CommitHistory>,
}

impl Running {
    /// Serves what `coordinator` has replayed.
    pub(super) fn new(
        mut coordinator: GroupCoordinator,
        log: OffsetsLog,
        Known {
            topics,
            times,
            history,
        }: Known,
    ) -> Self {
        coordinator.set_topics(Arc::<TopicsSnapshot>::clone(&topics));
        coordinator.set_times(times);
        let mut running = Self {
            coordinator,
            clock: WallClock::new(log.clock().clone()),
            log,
            next_token: 0,
            waiting: HashMap::new(),
            appends: Trouble::default(),
            topics: Arc::clone(&topics),
            history,
        };
        let now_ms = running.now_ms();
        let topic_id = |name: &str| topics.named(name).map(|topic| topic.id);
        let output = running.coordinator.loaded(now_ms, topic_id);
        running.carry_out(output, false);
        running.note_loaded(now_ms);
        running
    }

    /// What was committed before a start counts as committed at the start: how long ago it was says nothing of
    /// whether anybody reads on.
    fn note_loaded(&self, now_ms: i64) {
        for group in self.coordinator.views() {
            for offset in group.offsets() {
                let place = (offset.topic, offset.partition);
                let history = &self.history;
                history.note(group.group_id, place, offset.offset, &self.topics, now_ms);
            }
        }
    }

    pub(super) fn coordinator(&self) -> &GroupCoordinator {
        &self.coordinator
    }

    /// The topics are these from now on.
    pub(super) fn set_topics(&mut self, topics: Arc<TopicsSnapshot>) {
        self.topics = Arc::clone(&topics);
        self.coordinator.set_topics(topics);
    }

    /// What is set on single groups is this from now on.
    pub(super) fn set_times(&mut self, times: Arc<GroupTimes>) {
        self.coordinator.set_times(times);
    }

    /// Decides about a request, and fixes its place in the order of the log. The reply may come later.
    pub(super) fn handle(&mut self, request: GroupRequest) -> oneshot::Receiver<GroupReply> {
        let token = ReplyToken(self.next_token);
        self.next_token += 1;
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(token, sender);
        let at_once = matches!(request, GroupRequest::Heartbeat(_));
        let now_ms = self.now_ms();
        let output = self.coordinator.handle(request, token, now_ms);
        self.carry_out(output, at_once);
        receiver
    }

    /// Does what is due, or some of it. Returns whether the log takes it.
    pub(super) fn tick(&mut self) -> bool {
        /// Then requests have their turn.
        const AT_ONCE: usize = 100;
        let now_ms = self.now_ms();
        for _ in 0..AT_ONCE {
            let next = self.coordinator.next_deadline();
            if next.is_none_or(|at_ms| now_ms < at_ms) {
                break;
            }
            let output = self.coordinator.tick(now_ms);
            self.carry_out(output, false);
        }
        !self.appends.lasts()
    }

    /// Answers whoever waits.
    pub(super) fn close(mut self) {
        let output = self.coordinator.close(GroupError::NotCoordinator);
        self.carry_out(output, true);
    }

    /// The clock is set from here on.
    #[cfg(test)]
    pub(super) fn set_clock(&mut self, by_ms: i64) {
        self.clock.set(by_ms);
    }

    /// The time. If its clock was set, the coordinator has heard of it.
    fn now_ms(&mut self) -> i64 {
        let (now_ms, set_by_ms) = self.clock.look();
        if set_by_ms != 0 {
            self.coordinator.clock_was_set(set_by_ms);
        }
        now_ms
    }

    /// Appends and replays what was decided, and sees to it that the replies leave.
    fn carry_out(&mut self, output: Output, at_once: bool) {
        let output = self.write(output);
        let replies: Vec<_> = output
            .replies
            .into_iter()
            .filter_map(|(token, reply)| Some((self.waiting.remove(&token)?, reply)))
            .collect();
        if at_once {
            send(replies);
        } else if !replies.is_empty() {
            self.log.release(replies);
        }
    }

    /// Appends and replays the records of an output. Returns it without them, or what follows where the log
    /// did not take all of them.
    fn write(&mut self, mut output: Output) -> Output {
        /// What follows a refusal may have records too, which may be refused again.
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            if output.records.is_empty() {
                break;
            }
            let coordinator = &mut self.coordinator;
            let (history, topics) = (&self.history, &self.topics);
            let now_ms = self.log.clock().now_ms();
            let replay = |record: &OffsetsRecord| {
                coordinator.replay(record);
                history.note_record(record, topics, now_ms);
            };
            match self.log.append(&mut output.records, replay) {
                Ok(()) => drop(self.appends.ends()),
                Err(error) => {
                    if self.appends.begins() {
                        let partition = self.log.log().topic_partition();
                        warn!(%partition, %error, "what groups decide cannot be written");
                    }
                    let (code, now_ms) = (append_error(&error), self.now_ms());
                    output = self.coordinator.append_failed(output, code, now_ms);
                }
            }
        }
        output
    }
}
