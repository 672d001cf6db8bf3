//! One random history: a few clients that mostly follow the protocol, and what is checked after each step.

mod checks;
mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_config::GroupConfig;
use tidewheel_consumer_groups::reply::*;
use tidewheel_consumer_groups::{
    GroupError, GroupLimits, GroupReply, GroupRequest, OffsetsRecord, ReplyToken,
};
use tidewheel_protocol::Uuid;

use crate::support::{Runner, Step};

pub(crate) const GROUPS: [&str; 3] = ["g", "h", "offsets-only"];
/// The longest rebalance timeout, so the longest that anything may be parked.
pub(crate) const REBALANCE_MS: i32 = 6_000;

/// A client: what it believes.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) group_id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) member_id: Arc<str>,
    pub(crate) generation: i32,
    /// Members to assign to, where the client leads.
    pub(crate) members: Vec<Arc<str>>,
    /// The JoinGroup or SyncGroup that it waits for.
    pub(crate) waits_for: Option<ReplyToken>,
}

/// What a request was about, to know what its reply means.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Join(usize),
    Sync(usize),
    Commit(Vec<(Key, i64)>),
    DeleteOffsets(Vec<Key>),
    DeleteGroup(Arc<str>),
    Other,
}

/// Group, topic and partition.
pub(crate) type Key = (Arc<str>, Arc<str>, i32);

pub(crate) struct History {
    pub(crate) runner: Runner,
    pub(crate) clients: Vec<Client>,
    pub(crate) trace: Vec<String>,
    /// What was acknowledged, and not deleted since.
    pub(crate) offsets: BTreeMap<Key, i64>,
    /// The ids of the topics that those were committed for: topics are deleted and made again.
    topic_ids: BTreeMap<Key, Uuid>,
    /// The last generation of each group that anybody was told of or that was recorded.
    pub(crate) generations: BTreeMap<Arc<str>, i32>,
    /// What the last start had to write was refused: offsets in topics that are gone are left to the next.
    start_was_refused: bool,
    asked: BTreeMap<ReplyToken, Asked>,
    random: u64,
    steps: usize,
}

impl History {
    pub(crate) fn new(seed: u64) -> History {
        let mut config = GroupConfig::default();
        if seed.is_multiple_of(3) {
            config.initial_rebalance_delay_ms = 0;
        }
        config.max_size = 3;
        let clients = (0..8).map(|index| Client {
            group_id: GROUPS[index % 2].into(),
            instance_id: (index >= 4).then(|| format!("i{}", index % 3).into()),
            member_id: "".into(),
            generation: -1,
            members: Vec::new(),
            waits_for: None,
        });
        let mut runner = Runner::new(config, GroupLimits::default());
        // Before the clock was ever set back, it was later than 1970.
        runner.set_clock(1_000_000_000);
        History {
            runner,
            clients: clients.collect(),
            trace: Vec::new(),
            offsets: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            generations: BTreeMap::new(),
            start_was_refused: false,
            asked: BTreeMap::new(),
            random: seed,
            steps: 0,
        }
    }

    /// The next random number below `bound` (SplitMix64).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Does something, and checks everything.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        match self.below(100) {
            0 => self.restart(),
            1..=4 => {
                self.runner.append_fails = true;
                self.trace.push("the next append fails".to_owned());
            }
            5 => {
                let by_ms = [-7_200_000, -4_000, 4_000, 7_200_000][self.below(4)];
                self.trace.push(format!("the clock is set by {by_ms}"));
                self.runner.set_clock(by_ms);
            }
            6..=19 => {
                let by_ms = [1, 50, 900, 3_000, 7_000][self.below(5)];
                self.pass(by_ms);
            }
            20..=69 => self.follow_protocol(),
            _ => self.ask_anything(),
        }
        self.check();
        if self.steps.is_multiple_of(20) {
            self.check_recovery();
        }
    }

    /// Everybody falls silent and everything is deleted: nothing may be left.
    pub(crate) fn end(&mut self) {
        self.runner.append_fails = false;
        if self.start_was_refused {
            self.restart();
        }
        self.pass(700_000);
        let left = self.offsets.keys();
        for key in left {
            assert_eq!(
                self.topic_ids[key],
                self.topic_id(&key.1),
                "{key:?} is left"
            );
        }
        for group_id in GROUPS {
            let group_id: Arc<str> = group_id.into();
            self.delete_group(group_id);
        }
        self.check();
        assert_eq!(self.runner.coordinator.state_bytes(), 0);
        assert!(self.runner.parked.is_empty());
        self.pass(600_000);
        assert_eq!(
            self.runner.coordinator.next_deadline(),
            self.next_retention_check()
        );
        assert_eq!(self.runner.recovered().state_bytes(), 0);
    }

    fn next_retention_check(&self) -> Option<i64> {
        let last_start_ms = self.runner.started_ms;
        let passed = (self.runner.now_ms - last_start_ms) / 600_000 + 1;
        Some(last_start_ms + passed * 600_000)
    }

    fn pass(&mut self, by_ms: i64) {
        let until_ms = self.runner.now_ms + by_ms;
        while let Some(step) = self.runner.next_tick(until_ms) {
            self.take(&step);
            self.check();
        }
    }

    fn restart(&mut self) {
        let step = self.runner.restart();
        self.start_was_refused = step.refused_records > 0;
        self.generations.clear();
        let log = std::mem::take(&mut self.runner.log);
        log.iter().for_each(|record| self.note_generation(record));
        self.runner.log = log;
        self.take(&step);
    }

    pub(crate) fn send(&mut self, request: GroupRequest, asked: Asked) -> ReplyToken {
        self.trace
            .push(format!("{} {request:?}", self.runner.now_ms));
        let (token, step) = self.runner.send(request);
        self.asked.insert(token, asked);
        self.take(&step);
        token
    }

    /// Notes what came of a step.
    fn take(&mut self, step: &Step) {
        if step.refused_records > 0 {
            let refused = step.refused_records;
            self.trace.push(format!("log refuses {refused} records"));
        }
        for record in &step.records {
            self.trace.push(format!("{record:?}"));
            self.note_generation(record);
            self.note_tombstone(record);
        }
        for (token, reply) in &step.replies {
            self.trace.push(format!("{token:?} {reply:?}"));
            let asked = self.asked.remove(token).unwrap();
            self.learn(*token, asked, reply);
        }
    }

    fn note_generation(&mut self, record: &OffsetsRecord) {
        let OffsetsRecord::GroupMetadata { group_id, value } = record else {
            return;
        };
        match value {
            Some(value) => self.generation_is(group_id, value.generation),
            None => drop(self.generations.remove(group_id)),
        }
    }

    /// Offsets in a topic that is gone may go at any time.
    fn note_tombstone(&mut self, record: &OffsetsRecord) {
        let OffsetsRecord::OffsetCommit { key, value: None } = record else {
            return;
        };
        let (group_id, topic) = (Arc::clone(&key.group_id), Arc::clone(&key.topic));
        let id = self.topic_id(&topic);
        let key = (group_id, topic, key.partition);
        if self.topic_ids.get(&key).is_some_and(|of| *of != id) {
            self.offsets.remove(&key);
        }
    }

    /// Of the topic of that name that is there now.
    pub(crate) fn topic_id(&self, topic: &str) -> Uuid {
        let made = self.runner.topics.get(topic).copied().flatten();
        made.unwrap_or(Uuid([1; 16]))
    }

    /// It was deleted, and there is another one of that name.
    pub(crate) fn make_topic_again(&mut self, topic: &str) {
        let id = u128::from_be_bytes(self.topic_id(topic).0) + 1;
        let id = Some(Uuid(id.to_be_bytes()));
        self.runner.topics.insert(topic.to_owned(), id);
    }

    fn generation_is(&mut self, group_id: &Arc<str>, generation: i32) {
        let last = self.generations.insert(Arc::clone(group_id), generation);
        assert!(
            last.is_none_or(|last| last <= generation),
            "{group_id}: {generation} after {last:?}"
        );
    }

    fn learn(&mut self, token: ReplyToken, asked: Asked, reply: &GroupReply) {
        match (asked, reply) {
            (Asked::Join(index), GroupReply::Join(reply)) => self.learn_join(index, token, reply),
            (Asked::Sync(index), GroupReply::Sync(result)) => {
                let client = &mut self.clients[index];
                if client.waits_for == Some(token) {
                    client.waits_for = None;
                    if let Err(GroupError::UnknownMemberId | GroupError::FencedInstanceId) = result
                    {
                        client.member_id = "".into();
                    }
                }
            }
            (Asked::Commit(offsets), GroupReply::CommitOffsets(topics)) => {
                let mut results = topics.iter().flat_map(|topic| &topic.partitions);
                for (key, offset) in offsets {
                    if results.next().unwrap().1.is_ok() {
                        let id = self.topic_id(&key.1);
                        self.topic_ids.insert(key.clone(), id);
                        self.offsets.insert(key, offset);
                    }
                }
            }
            (Asked::DeleteOffsets(keys), GroupReply::DeleteOffsets(Ok(topics))) => {
                let mut results = topics.iter().flat_map(|topic| &topic.partitions);
                for key in keys {
                    if results.next().unwrap().1.is_ok() {
                        self.offsets.remove(&key);
                    }
                }
            }
            (Asked::DeleteGroup(group_id), GroupReply::DeleteGroup(Ok(()))) => {
                self.offsets.retain(|(group, ..), _| *group != group_id);
            }
            _ => {}
        }
    }

    fn learn_join(&mut self, index: usize, token: ReplyToken, reply: &JoinReply) {
        let group_id = Arc::clone(&self.clients[index].group_id);
        if let Ok(joined) = &reply.result {
            self.generation_is(&group_id, joined.generation);
        }
        let client = &mut self.clients[index];
        if client.waits_for != Some(token) {
            return;
        }
        client.waits_for = None;
        match &reply.result {
            Ok(joined) => {
                client.member_id = Arc::clone(&reply.member_id);
                client.generation = joined.generation;
                client.members = joined
                    .members
                    .iter()
                    .map(|m| Arc::clone(&m.member_id))
                    .collect();
            }
            Err(GroupError::MemberIdRequired) => client.member_id = Arc::clone(&reply.member_id),
            Err(_) => client.member_id = "".into(),
        }
    }
}
