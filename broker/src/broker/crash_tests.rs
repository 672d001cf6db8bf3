//! The power is cut, the process killed or the disk failed at every operation of a broker's life on the
//! simulated disk: topics come, grow and go, a group commits, its log is compacted, logs are checkpointed.
//! Topics and offsets must be those that clients were told, or what was under way when it happened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tidewheel_config::{LogConfig, Sources};
use tidewheel_consumer_groups::request::{
    CommitOffsetsRequest, CommitPartition, CommitTopic, DeleteGroupRequest, FetchOffsetsRequest,
};
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::{RecordBatchBuilder, Uuid};
use tidewheel_storage::fs::{Fault, SimFs};
use tidewheel_storage::{CleanerOptions, LogCleaner, LogManagerOptions};
use tokio::time::timeout;

use super::*;
use crate::clock;
use crate::groups::{NoCoordinator, find_groups, start_groups};
use crate::topics::OFFSETS_TOPIC;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(30);
const GROUP: &str = "g";

/// Something that a client asks for, or that the broker does by itself.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A topic with so many partitions.
    Create(&'static str, i32),
    /// It gets so many.
    Grow(&'static str, i32),
    Delete(&'static str),
    /// A record for its first partition, which makes its directory.
    Produce(&'static str),
    /// The group's offset in its first partition.
    Commit(&'static str, i64),
    DeleteGroup,
    /// Checkpoints, retention, unlinking.
    Tidy,
    Compact,
    Restart {
        clean: bool,
    },
}

const LIFE: [Step; 34] = {
    use Step::{Commit, Compact, Create, Delete, DeleteGroup, Grow, Produce, Restart, Tidy};
    [
        Create("a", 1),
        Commit("a", 1),
        Create("b", 2),
        Produce("b"),
        Commit("b", 5),
        Commit("a", 2),
        Grow("a", 3),
        Produce("a"),
        Commit("a", 3),
        Tidy,
        Compact,
        Commit("a", 4),
        Delete("b"),
        Commit("a", 5),
        Tidy,
        Restart { clean: false },
        Commit("a", 6),
        Create("b", 1),
        Commit("b", 9),
        Commit("a", 7),
        Tidy,
        Compact,
        DeleteGroup,
        Commit("a", 8),
        Commit("b", 10),
        Restart { clean: true },
        Commit("a", 9),
        Tidy,
        Compact,
        Delete("a"),
        Create("a", 2),
        Commit("a", 1),
        Tidy,
        Commit("a", 2),
    ]
};

/// A topic as it was told: its id, where that was, and its partitions.
type Told = (Option<Uuid>, usize);

/// By topic, the states that may be found: one where the client was answered, else those before as well.
#[derive(Clone, Debug, Default)]
struct Ledger {
    topics: BTreeMap<&'static str, Vec<Option<Told>>>,
    offsets: BTreeMap<&'static str, Vec<Option<i64>>>,
}

impl Ledger {
    fn of(mut self) -> Self {
        for step in LIFE {
            if let Step::Create(name, _) = step {
                self.topics.insert(name, vec![None]);
                self.offsets.insert(name, vec![None]);
            }
        }
        self
    }

    fn topic(&mut self, name: &str) -> &mut Vec<Option<Told>> {
        self.topics.get_mut(name).unwrap()
    }

    fn offset(&mut self, name: &str) -> &mut Vec<Option<i64>> {
        self.offsets.get_mut(name).unwrap()
    }
}

/// What is found: topics, and offsets of the group in their first partitions.
type Found = (BTreeMap<String, (Uuid, usize)>, BTreeMap<String, i64>);

struct World {
    disk: SimFs,
    broker: Option<Arc<Broker>>,
    ledger: Ledger,
}

impl World {
    fn new(disk: SimFs, ledger: Ledger) -> Self {
        let broker = None;
        Self {
            disk,
            broker,
            ledger,
        }
    }

    fn broker(&self) -> &Arc<Broker> {
        self.broker.as_ref().unwrap()
    }

    /// Starts a broker, with its groups; false where the disk says no.
    async fn start(&mut self) -> bool {
        let sets = vec!["offsets.topic.num.partitions=1".to_owned()];
        let sources = Sources {
            sets,
            ..Sources::default()
        };
        let config = BrokerConfig::load(&sources).unwrap();
        let options = LogManagerOptions {
            checkpoint_bytes: 0,
            ..LogManagerOptions::new(
                vec![PathBuf::from("/data")],
                1,
                "cluster".to_owned(),
                vec![Uuid([1; 16])],
            )
        };
        let Ok(logs) = LogManager::open(Arc::new(self.disk.clone()), options) else {
            return false;
        };
        let Ok(broker) = Broker::open(config, Vec::new(), logs, Clock::default()) else {
            return false;
        };
        let broker = Arc::new(broker);
        let found = find_groups(&broker).await.is_ok();
        start_groups(&broker);
        self.broker = Some(broker);
        self.shrink_segments();
        found && self.offsets().await.is_some()
    }

    /// So that a few commits are worth compacting.
    fn shrink_segments(&self) {
        let topics = self.broker().topics();
        let offsets = topics.named(OFFSETS_TOPIC).into_iter();
        for partition in offsets.flat_map(|topic| &topic.partitions) {
            let log = partition.log();
            log.set_config(LogConfig {
                segment_bytes: 600,
                index_interval_bytes: 200,
                min_cleanable_dirty_ratio: 0.0,
                ..LogConfig::clone(&log.config())
            });
        }
    }

    async fn stop(&mut self, clean: bool) -> bool {
        let broker = self.broker.take().unwrap();
        broker.groups().close();
        let closed = !clean || broker.close().is_ok();
        // What was asked for lately may still be let go of.
        let gone = async {
            while Arc::strong_count(&broker) > 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.unwrap();
        closed
    }

    /// As the flush thread does it.
    fn flush(&self) -> bool {
        let broker = self.broker();
        let round = broker.logs().flush_round(0);
        let topics = broker.topics();
        let advanced = round.advanced.iter();
        advanced
            .filter_map(|log| topics.with_log(*log))
            .for_each(|partition| partition.settle());
        if broker.logs().offline_cause(0).is_some() {
            topics.partitions().for_each(|partition| partition.settle());
        }
        round.error.is_none()
    }

    async fn ask(&self, request: GroupRequest) -> Result<GroupReply, NoCoordinator> {
        let asked = self.broker().groups().ask(GROUP, request);
        self.flush();
        timeout(PATIENCE, asked).await.expect("an answer")
    }

    /// The group's offsets by topic; `None` where nobody can tell.
    async fn offsets(&self) -> Option<BTreeMap<String, i64>> {
        let request = || {
            GroupRequest::FetchOffsets(FetchOffsetsRequest {
                group_id: GROUP.into(),
                member: None,
                topics: None,
                require_stable: false,
            })
        };
        let loaded = async {
            loop {
                match self.ask(request()).await {
                    Err(NoCoordinator::Loading) => tokio::task::yield_now().await,
                    answer => return answer,
                }
            }
        };
        let Ok(GroupReply::FetchOffsets(Ok(topics))) = timeout(PATIENCE, loaded).await.unwrap()
        else {
            return None;
        };
        let offset = |partition: &tidewheel_consumer_groups::reply::FetchedPartition| {
            partition.committed.as_ref().unwrap().offset
        };
        let found = topics
            .iter()
            .map(|topic| (topic.topic.to_string(), offset(&topic.partitions[0])));
        Some(found.collect())
    }

    /// Does a step and notes what a client learns of it; false where it failed.
    async fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Create(name, partitions) => self.create(name, partitions).await,
            Step::Grow(name, count) => self.grow(name, count).await,
            Step::Delete(name) => self.delete(name).await,
            Step::Produce(name) => {
                let topics = self.broker().topics();
                let partition = &topics.named(name).unwrap().partitions[0];
                let now_ms = clock::now_ms();
                let batch = RecordBatchBuilder::new().record(now_ms, None, Some(b"v"));
                let appended = partition.append_own(batch.build().unwrap(), now_ms);
                appended.is_ok() && self.flush()
            }
            Step::Commit(name, offset) => self.commit(name, offset).await,
            Step::DeleteGroup => self.delete_group().await,
            Step::Tidy => {
                let (logs, now_ms) = (self.broker().logs(), clock::now_ms());
                let retained = self.broker().topics();
                let mut retained = retained.partitions();
                retained.all(|partition| partition.log().apply_retention(now_ms).is_ok())
                    && logs.checkpoint(now_ms).is_ok()
                    && logs.unlink_deleted(i64::MAX).is_ok()
            }
            Step::Compact => {
                let mut cleaner = LogCleaner::new(CleanerOptions {
                    dedupe_buffer_bytes: 1 << 20,
                    load_factor: 0.9,
                    secret: (1, 2),
                });
                let mut good = true;
                let mut tell = |report: tidewheel_storage::CleaningReport| {
                    good &= report.outcome.is_ok();
                };
                let logs = self.broker().logs();
                cleaner.clean_due(logs, &clock::now_ms, &mut |_| true, &mut tell);
                good
            }
            Step::Restart { clean } => self.stop(clean).await && self.start().await,
        }
    }

    async fn create(&mut self, name: &'static str, partitions: i32) -> bool {
        let count = usize::try_from(partitions).unwrap();
        self.ledger.topic(name).push(Some((None, count)));
        let mut topic = NewTopic::with_defaults(name, self.broker().config());
        topic.partitions = partitions;
        let wait = limits::METADATA_CHANGE_WAIT;
        let made = create_topics(self.broker(), vec![topic], false, wait).await;
        let Ok(made) = &made[0] else { return false };
        *self.ledger.topic(name) = vec![Some((Some(made.id), count))];
        true
    }

    async fn grow(&mut self, name: &'static str, count: i32) -> bool {
        let Some(Some((id, _))) = self.ledger.topic(name).last().copied() else {
            unreachable!("it was made");
        };
        let grown = Some((id, usize::try_from(count).unwrap()));
        self.ledger.topic(name).push(grown);
        let wanted = NewPartitions {
            topic: name.to_owned(),
            count,
            assignments: None,
        };
        let wait = limits::METADATA_CHANGE_WAIT;
        let done = create_partitions(self.broker(), vec![wanted], false, wait).await;
        if done[0].is_ok() {
            *self.ledger.topic(name) = vec![grown];
        }
        done[0].is_ok()
    }

    async fn delete(&mut self, name: &'static str) -> bool {
        self.ledger.topic(name).push(None);
        self.ledger.offset(name).push(None);
        let topic = TopicRef::Name(name.to_owned());
        let wait = limits::METADATA_CHANGE_WAIT;
        let done = delete_topics(self.broker(), vec![topic], false, wait).await;
        if done[0].is_ok() {
            *self.ledger.topic(name) = vec![None];
            *self.ledger.offset(name) = vec![None];
        }
        done[0].is_ok() && self.flush()
    }

    async fn commit(&mut self, name: &'static str, offset: i64) -> bool {
        self.ledger.offset(name).push(Some(offset));
        let topic_id = self.broker().topics().named(name).unwrap().id;
        let partition = CommitPartition {
            partition: 0,
            offset,
            leader_epoch: None,
            metadata: Some("x".repeat(150).as_str().into()),
            commit_timestamp_ms: None,
        };
        let request = GroupRequest::CommitOffsets(CommitOffsetsRequest {
            group_id: GROUP.into(),
            member_id: "".into(),
            instance_id: None,
            generation: -1,
            reports_unknown_group: true,
            retention_ms: None,
            topics: vec![CommitTopic {
                topic: name.into(),
                topic_id,
                partitions: vec![partition],
            }],
        });
        let Ok(GroupReply::CommitOffsets(topics)) = self.ask(request).await else {
            return false;
        };
        let acked = topics[0].partitions[0].1.is_ok();
        if acked {
            *self.ledger.offset(name) = vec![Some(offset)];
        }
        acked
    }

    async fn delete_group(&mut self) -> bool {
        let offsets = &mut self.ledger.offsets;
        offsets.values_mut().for_each(|states| states.push(None));
        let group_id = GROUP.into();
        let request = GroupRequest::DeleteGroup(DeleteGroupRequest { group_id });
        let Ok(GroupReply::DeleteGroup(Ok(()))) = self.ask(request).await else {
            return false;
        };
        let offsets = &mut self.ledger.offsets;
        offsets.values_mut().for_each(|states| *states = vec![None]);
        true
    }

    /// All that a client can see of topics and offsets.
    async fn look(&self) -> Found {
        let topics = self.broker().topics();
        let own = topics.iter().filter(|topic| &*topic.name != OFFSETS_TOPIC);
        let own = own.map(|topic| {
            let facts = (topic.id, topic.partitions.len());
            (topic.name.to_string(), facts)
        });
        (own.collect(), self.offsets().await.expect("its offsets"))
    }

    /// Compares what is found with what was told.
    fn compare(&self, (topics, offsets): &Found) {
        for (name, states) in &self.ledger.topics {
            let found = topics.get(*name);
            let fits = |state: &Option<Told>| match (state, found) {
                (None, None) => true,
                (Some((id, count)), Some((found_id, found_count))) => {
                    count == found_count && id.is_none_or(|id| id == *found_id)
                }
                _ => false,
            };
            assert!(states.iter().any(fits), "{name}: {found:?}, {states:?}");
        }
        let known = |name: &String| self.ledger.topics.contains_key(name.as_str());
        assert!(topics.keys().all(known), "{topics:?}");
        for (name, states) in &self.ledger.offsets {
            let found = offsets.get(*name).copied();
            assert!(states.contains(&found), "{name}: {found:?} of {states:?}");
        }
        assert!(offsets.keys().all(known), "{offsets:?}");
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

/// A life until it ends or the disk says no; what clients were told of it, and whether it came to its end.
fn live(disk: &SimFs) -> (Ledger, bool) {
    let mut world = World::new(disk.clone(), Ledger::default().of());
    let ended = run(async {
        if !world.start().await {
            return false;
        }
        for step in LIFE {
            if !world.step(step).await {
                return false;
            }
        }
        true
    });
    (world.ledger, ended)
}

/// A broker starts on the disk, shows what was told, goes on, and a clean stop changes nothing.
fn check(disk: SimFs, ledger: &Ledger) {
    run(async {
        let mut world = World::new(disk, ledger.clone());
        assert!(world.start().await, "a start");
        let found = world.look().await;
        world.compare(&found);
        let exists = found.0.keys().next().cloned();
        if let Some(name) = LIFE.iter().find_map(|step| match step {
            Step::Create(name, _) if Some(*name) == exists.as_deref() => Some(*name),
            _ => None,
        }) {
            assert!(world.commit(name, 1_000).await, "a commit");
        }
        let before = world.look().await;
        assert!(world.stop(true).await, "a clean stop");
        assert!(world.start().await, "a start after it");
        assert_eq!(world.look().await, before);
    });
}

#[test]
fn a_life_that_nothing_cuts_off_is_whole() {
    let disk = SimFs::new();
    let (ledger, ended) = live(&disk);
    assert!(ended);
    assert!(disk.op_count() > 200, "{}", disk.op_count());
    assert!(ledger.topics.values().all(|states| states.len() == 1));
    check(disk.kill(), &ledger);
}

#[test]
fn a_crash_at_any_operation_leaves_the_topics_and_offsets_that_were_told() {
    for op in 0.. {
        let disk = SimFs::new();
        disk.fail_at(op, Fault::Crash);
        let (ledger, _) = live(&disk);
        check(disk.kill(), &ledger);
        check(disk.crash_lose_all_unsynced(), &ledger);
        check(disk.crash(op), &ledger);
        if disk.op_count() <= op {
            return;
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_operation_leaves_the_topics_and_offsets_that_were_told() {
    for op in 0.. {
        let disk = SimFs::new();
        disk.fail_at(op, Fault::Eio);
        let (ledger, _) = live(&disk);
        check(disk.kill(), &ledger);
        check(disk.crash(op), &ledger);
        if disk.op_count() <= op {
            return;
        }
    }
}
