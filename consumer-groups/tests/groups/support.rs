//! Runs a coordinator as its contract says, with a list for a log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidewheel_config::{ConsumerTimes, GroupConfig};
use tidewheel_consumer_groups::request::{CommitOffsetsRequest, CommitPartition, CommitTopic};
use tidewheel_consumer_groups::{
    GroupCoordinator, GroupError, GroupLimits, GroupReply, GroupRequest, GroupTimes, OffsetsRecord,
    Output, ReplyToken, TopicInfo, Topics,
};
use tidewheel_protocol::Uuid;

use crate::transitions::{Watch, cause};

/// What the log says when it takes nothing.
pub(crate) const LOG_ERROR: GroupError = GroupError::NotCoordinator;

pub(crate) struct Runner {
    pub(crate) config: GroupConfig,
    pub(crate) limits: GroupLimits,
    pub(crate) coordinator: GroupCoordinator,
    /// What was appended.
    pub(crate) log: Vec<OffsetsRecord>,
    pub(crate) now_ms: i64,
    /// When the coordinator began to serve.
    pub(crate) started_ms: i64,
    /// Requests that wait, and since when.
    pub(crate) parked: BTreeMap<ReplyToken, i64>,
    /// Whether the log refuses the next records.
    pub(crate) append_fails: bool,
    /// How many of these it takes before.
    pub(crate) append_takes: usize,
    /// What became of topics: gone, or made again with this id. Others are there.
    pub(crate) topics: BTreeMap<String, Option<Uuid>>,
    /// What groups go through, where that is watched.
    pub(crate) watch: Option<Watch>,
    next_token: u64,
    image: Arc<TopicsImage>,
}

/// The topics at one moment.
#[derive(Debug, Default)]
struct TopicsImage {
    version: u64,
    by_name: BTreeMap<Arc<str>, TopicInfo>,
    /// How many names were looked up.
    looks: AtomicUsize,
}

impl Topics for TopicsImage {
    fn version(&self) -> u64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.by_name.get(name).copied()
    }

    fn name(&self, id: Uuid) -> Option<&Arc<str>> {
        let named = self.by_name.iter().find(|(_, topic)| topic.id == id);
        named.map(|(name, _)| name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &Arc<str>> + '_> {
        Box::new(self.by_name.keys())
    }
}

/// What came out of a step.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) records: Vec<OffsetsRecord>,
    pub(crate) refused_records: usize,
    pub(crate) replies: Vec<(ReplyToken, GroupReply)>,
}

impl Runner {
    pub(crate) fn new(config: GroupConfig, limits: GroupLimits) -> Runner {
        let mut runner = Runner {
            coordinator: GroupCoordinator::new(config.clone(), limits.clone()),
            config,
            limits,
            log: Vec::new(),
            now_ms: 0,
            started_ms: 0,
            parked: BTreeMap::new(),
            append_fails: false,
            append_takes: 0,
            topics: BTreeMap::new(),
            watch: None,
            next_token: 1,
            image: Arc::default(),
        };
        let loaded = runner.coordinator.loaded(0, |_| None);
        assert_eq!(loaded, Output::default());
        runner
    }

    pub(crate) fn send(&mut self, request: GroupRequest) -> (ReplyToken, Step) {
        let token = ReplyToken(self.next_token);
        self.next_token += 1;
        self.parked.insert(token, self.now_ms);
        let by = cause(&request);
        let output = self.coordinator.handle(request, token, self.now_ms);
        let step = self.apply(output);
        self.look(by, &step);
        (token, step)
    }

    /// Watches what groups go through from now on.
    pub(crate) fn watch(&mut self) {
        self.watch = Some(Watch::default());
    }

    fn look(&mut self, by: &str, step: &Step) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        let by = match step.refused_records {
            0 => by.to_owned(),
            _ => format!("{by}, which the log refuses"),
        };
        watch.look(&mut self.coordinator, &by, self.now_ms);
    }

    /// The topics are these from now on.
    pub(crate) fn set_topics(&mut self, topics: impl IntoIterator<Item = (Arc<str>, TopicInfo)>) {
        self.image = Arc::new(TopicsImage {
            version: self.image.version + 1,
            by_name: topics.into_iter().collect(),
            looks: AtomicUsize::new(0),
        });
        self.coordinator
            .set_topics(Arc::<TopicsImage>::clone(&self.image));
    }

    /// How many names of topics were looked up since [`Runner::set_topics`].
    pub(crate) fn looks(&self) -> usize {
        self.image.looks.load(Ordering::Relaxed)
    }

    /// This is set on a group from now on.
    pub(crate) fn set_times(&mut self, group_id: Arc<str>, times: ConsumerTimes) {
        let times = GroupTimes::from([(group_id, times)]);
        self.coordinator.set_times(Arc::new(times));
    }

    /// Goes on to the next deadline, if it comes by `until_ms`.
    pub(crate) fn next_tick(&mut self, until_ms: i64) -> Option<Step> {
        let due_ms = self.coordinator.next_deadline()?;
        if due_ms > until_ms {
            self.now_ms = until_ms;
            return None;
        }
        self.now_ms = self.now_ms.max(due_ms);
        let output = self.coordinator.tick(self.now_ms);
        let step = self.apply(output);
        self.look("time", &step);
        Some(step)
    }

    /// Sets the clock. What lasts goes on as long as it would have.
    pub(crate) fn set_clock(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
        self.started_ms += by_ms;
        self.parked.values_mut().for_each(|since| *since += by_ms);
        self.coordinator.clock_was_set(by_ms);
    }

    /// Drops the coordinator and makes a new one from the log.
    pub(crate) fn restart(&mut self) -> Step {
        let closed = self.coordinator.close(GroupError::CoordinatorNotAvailable);
        let closed = self.apply(closed);
        assert!(self.parked.is_empty(), "left waiting: {:?}", self.parked);
        self.coordinator = self.recovered();
        self.started_ms = self.now_ms;
        let topics = &self.topics;
        let topic_id = |topic: &str| topics.get(topic).copied().unwrap_or(Some(Uuid::ZERO));
        let loaded = self.coordinator.loaded(self.now_ms, topic_id);
        let loaded = self.apply(loaded);
        self.look("a restart", &loaded);
        Step {
            records: loaded.records,
            refused_records: loaded.refused_records,
            replies: closed.replies,
        }
    }

    /// A coordinator made from the bytes of the log.
    pub(crate) fn recovered(&self) -> GroupCoordinator {
        let mut coordinator = GroupCoordinator::new(self.config.clone(), self.limits.clone());
        coordinator.set_topics(Arc::<TopicsImage>::clone(&self.image));
        for record in &self.log {
            let (key, value) = record.encode();
            coordinator.replay(&OffsetsRecord::decode(key, value).unwrap());
        }
        coordinator
    }

    fn apply(&mut self, mut output: Output) -> Step {
        let mut step = Step::default();
        if self.append_fails && output.records.len() > self.append_takes {
            self.append_fails = false;
            let refused = output
                .records
                .split_off(std::mem::take(&mut self.append_takes));
            step.records = std::mem::replace(&mut output.records, refused);
            self.written(&step.records);
            step.refused_records = output.records.len();
            output = self
                .coordinator
                .append_failed(output, LOG_ERROR, self.now_ms);
        }
        self.written(&output.records);
        for (token, _) in &output.replies {
            let parked = self.parked.remove(token);
            assert!(parked.is_some(), "{token:?} is answered twice");
        }
        step.records.extend(output.records);
        step.replies = output.replies;
        step
    }

    fn written(&mut self, records: &[OffsetsRecord]) {
        for record in records {
            self.coordinator.replay(record);
        }
        self.log.extend(records.iter().cloned());
    }
}

/// What a consumer says that is subscribed to these topics: version 0 of its subscription.
pub(crate) fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    let length = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
    bytes.extend([0, 0]);
    bytes.extend(length(topics.len()));
    for topic in topics {
        bytes.extend(length(topic.len()));
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes
}

/// What a consumer commits that is in no group.
pub(crate) fn commit_alone(
    group_id: &str,
    topics: impl IntoIterator<Item = (&'static str, Vec<CommitPartition>)>,
) -> GroupRequest {
    let topics = topics.into_iter().map(|(topic, partitions)| CommitTopic {
        topic: topic.into(),
        topic_id: Uuid::ZERO,
        partitions,
    });
    GroupRequest::CommitOffsets(CommitOffsetsRequest {
        group_id: group_id.into(),
        member_id: "".into(),
        instance_id: None,
        generation: -1,
        reports_unknown_group: true,
        retention_ms: None,
        topics: topics.collect(),
    })
}

/// Offset 1 of a partition, and nothing beside it.
pub(crate) fn first_offset(partition: i32) -> CommitPartition {
    CommitPartition {
        partition,
        offset: 1,
        leader_epoch: None,
        metadata: None,
        commit_timestamp_ms: None,
    }
}
