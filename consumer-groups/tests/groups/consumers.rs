//! Random histories of groups whose members use either protocol and move from one to the other: what must
//! hold whatever they do, and whatever is lost on the way.

mod checks;
mod clients;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_config::GroupConfig;
use tidewheel_consumer_groups::records::consumer::TopicIdPartition;
use tidewheel_consumer_groups::{GroupLimits, GroupReply, GroupRequest, ReplyToken, TopicInfo};
use tidewheel_protocol::Uuid;

use crate::support::{Runner, Step};
use crate::transitions::Transition;

const GROUPS: [&str; 2] = ["g", "h"];
const TOPICS: [&str; 3] = ["t", "u", "v"];
/// Histories.
const SEEDS: u64 = 60;

/// Which protocol a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Classic,
    Consumer,
}

/// A client: what it believes.
#[derive(Clone, Debug)]
struct Client {
    group_id: Arc<str>,
    instance_id: Option<Arc<str>>,
    protocol: Protocol,
    member_id: Arc<str>,
    /// The epoch or generation; 0 to join.
    epoch: i32,
    topics: Vec<Arc<str>>,
    regex: Option<Arc<str>>,
    /// What it reads.
    reads: BTreeSet<TopicIdPartition>,
    /// What it was told to read.
    told: BTreeSet<TopicIdPartition>,
    /// What it last said that it reads.
    said: Option<BTreeSet<TopicIdPartition>>,
    /// Whether it does not know if its last request got through, so that it says everything again.
    is_unsure: bool,
    /// Whether it is to ask for its assignment (classic).
    syncs: bool,
    /// Members to assign to, where it leads (classic).
    members: Vec<Arc<str>>,
    waits_for: Option<ReplyToken>,
}

struct History {
    runner: Runner,
    clients: Vec<Client>,
    topics: BTreeMap<Arc<str>, TopicInfo>,
    topics_made: u8,
    trace: Vec<String>,
    /// Which client asked.
    asked: BTreeMap<ReplyToken, usize>,
    /// The last epoch of each group of the newer protocol.
    epochs: BTreeMap<Arc<str>, i32>,
    random: u64,
    steps: usize,
    /// Whether replies may be lost and the log may refuse.
    is_rough: bool,
}

impl History {
    fn new(seed: u64) -> History {
        let config = GroupConfig {
            initial_rebalance_delay_ms: 0,
            consumer_max_size: 5,
            ..GroupConfig::default()
        };
        let clients = (0..10).map(|index| Client {
            group_id: GROUPS[index % 2].into(),
            instance_id: (index >= 7).then(|| format!("i{}", index % 2).into()),
            protocol: Protocol::Consumer,
            member_id: "".into(),
            epoch: 0,
            topics: vec!["t".into()],
            regex: None,
            reads: BTreeSet::new(),
            told: BTreeSet::new(),
            said: None,
            is_unsure: false,
            syncs: false,
            members: Vec::new(),
            waits_for: None,
        });
        let mut history = History {
            runner: Runner::new(config, GroupLimits::default()),
            clients: clients.collect(),
            topics: BTreeMap::new(),
            topics_made: 0,
            trace: Vec::new(),
            asked: BTreeMap::new(),
            epochs: BTreeMap::new(),
            random: seed,
            steps: 0,
            is_rough: true,
        };
        history.set_topic("t", 4);
        history.set_topic("u", 2);
        history
    }

    /// The next random number below `bound` (SplitMix64).
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).unwrap()).unwrap()
    }

    fn set_topic(&mut self, name: &str, partitions: i32) {
        if let Some(known) = self.topics.get_mut(name) {
            known.partitions = known.partitions.max(partitions);
        } else {
            self.topics_made += 1;
            let id = Uuid([self.topics_made; 16]);
            self.topics
                .insert(name.into(), TopicInfo { id, partitions });
        }
        self.topics_changed();
    }

    fn topics_changed(&mut self) {
        let topics = self.topics.iter();
        let topics: Vec<_> = topics
            .map(|(name, topic)| (Arc::clone(name), *topic))
            .collect();
        self.trace.push(format!("{topics:?}"));
        self.runner.set_topics(topics);
    }

    /// Does something, and checks everything.
    fn step(&mut self) {
        self.steps += 1;
        match self.below(100) {
            0 => self.restart(),
            1..=3 => self.runner.append_fails = self.is_rough,
            4..=14 => {
                let by_ms = [0, 50, 3_000, 20_000][self.below(4)];
                self.pass(by_ms);
            }
            15 | 16 => {
                let (name, count) = (TOPICS[self.below(3)], self.below(6) + 1);
                self.set_topic(name, i32::try_from(count).unwrap());
            }
            17 if self.topics_made < 200 => {
                let name = TOPICS[self.below(3)];
                self.topics.remove(name);
                self.topics_changed();
            }
            18..=20 => self.confuse(),
            _ => {
                let index = self.below(self.clients.len());
                self.act(index);
            }
        }
        self.check();
        if self.steps.is_multiple_of(25) {
            self.check_recovery();
        }
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
        self.take(&step);
    }

    fn send(&mut self, index: usize, request: GroupRequest) -> ReplyToken {
        self.trace
            .push(format!("{} {request:?}", self.runner.now_ms));
        let (token, step) = self.runner.send(request);
        self.asked.insert(token, index);
        if self.runner.parked.contains_key(&token) {
            self.clients[index].waits_for = Some(token);
        }
        self.take(&step);
        token
    }

    fn take(&mut self, step: &Step) {
        for record in &step.records {
            self.trace.push(format!("{record:?}"));
        }
        for (token, reply) in &step.replies {
            self.trace.push(format!("{token:?} {reply:?}"));
            let index = self.asked.remove(token).unwrap();
            let client = &mut self.clients[index];
            // A client that went on without waiting hears nothing.
            let is_awaited = client.waits_for.is_none_or(|awaited| awaited == *token);
            client.waits_for = client.waits_for.filter(|awaited| awaited != token);
            let is_lost = self.is_rough && self.below(12) == 0;
            match is_awaited && !is_lost {
                true => self.learn(index, reply),
                false => self.clients[index].is_unsure = true,
            }
        }
    }

    fn learn(&mut self, index: usize, reply: &GroupReply) {
        match reply {
            GroupReply::ConsumerHeartbeat(result) => self.clients[index].learn_heartbeat(result),
            GroupReply::Join(reply) => self.clients[index].learn_join(reply),
            GroupReply::Sync(result) => {
                let topics = &self.topics;
                self.clients[index].learn_sync(result, topics);
            }
            GroupReply::Heartbeat(result) => self.clients[index].learn_classic_heartbeat(*result),
            _ => {}
        }
    }

    /// Everybody joins anew, nothing is lost, and everybody sends heartbeats: soon all is settled, and everything
    /// is read. Some use the classic protocol, unless `is_pure`.
    fn settle(&mut self, is_pure: bool) {
        self.is_rough = false;
        self.runner.append_fails = false;
        self.pass(100_000);
        for (index, client) in self.clients.iter_mut().enumerate() {
            let is_classic = !is_pure && index < 7 && index % 3 == 0;
            client.start_anew(match is_classic {
                true => Protocol::Classic,
                false => Protocol::Consumer,
            });
            if client.instance_id.is_some() {
                client.topics = vec!["t".into(), "u".into()];
            }
        }
        for _ in 0..12 {
            for index in 0..self.clients.len() {
                for _ in 0..2 {
                    self.beat(index);
                    self.check();
                }
            }
            self.pass(1_000);
        }
        self.check_settled();
    }

    /// Everybody falls silent and the groups are deleted: nothing may be left.
    fn end(&mut self) {
        self.pass(100_000);
        for group_id in GROUPS {
            let group_id = group_id.into();
            let request = tidewheel_consumer_groups::request::DeleteGroupRequest { group_id };
            self.send(0, GroupRequest::DeleteGroup(request));
        }
        self.check();
        self.pass(600_000);
        assert_eq!(self.runner.coordinator.state_bytes(), 0);
        assert!(self.runner.parked.is_empty());
        assert_eq!(self.runner.recovered().state_bytes(), 0);
        let next_ms = self.runner.coordinator.next_deadline().unwrap();
        let since_start_ms = next_ms - self.runner.started_ms;
        assert_eq!(
            since_start_ms % 600_000,
            0,
            "something else than retention is due"
        );
    }
}

/// Runs one history to its end.
fn lived(mut history: History, seed: u64, steps: usize) -> History {
    for _ in 0..steps {
        history.step();
    }
    history.settle(seed.is_multiple_of(2));
    history.end();
    history
}

/// Runs one history and returns its trace.
fn run(seed: u64, steps: usize) -> Vec<String> {
    lived(History::new(seed), seed, steps).trace
}

/// What groups go through.
pub(crate) fn transitions() -> BTreeSet<Transition> {
    let found = (0..SEEDS).flat_map(|seed| {
        let mut history = History::new(seed);
        history.runner.watch();
        lived(history, seed, 250)
            .runner
            .watch
            .unwrap_or_default()
            .seen
    });
    found.collect()
}

#[test]
fn whatever_members_of_either_protocol_do_the_promises_hold() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        assert!(run(seed, 250).len() > 250);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [7, 1_000_003] {
        assert_eq!(run(seed, 200), run(seed, 200), "seed {seed}");
    }
}

/// The random requests get somewhere: partitions are given up and waited for, groups change sides.
#[test]
fn histories_reach_what_they_are_to_check() {
    let trace: Vec<String> = (0..20).flat_map(|seed| run(seed, 250)).collect();
    let count = |what: &str| trace.iter().filter(|line| line.contains(what)).count();
    for what in [
        "UnrevokedPartitions",
        "UnreleasedPartitions",
        "FencedMemberEpoch",
        "UnreleasedInstanceId",
        "FencedInstanceId",
        "UnknownMemberId",
        "GroupMaxSizeReached",
        "RebalanceInProgress",
        "IllegalGeneration",
        "epoch: -2",
        "Sync(Ok",
        "NotCoordinator",
        "classic: Some",
        "Regex {",
        "Epoch(None)",
    ] {
        assert!(count(what) >= 5, "{what}: {}", count(what));
    }
}
