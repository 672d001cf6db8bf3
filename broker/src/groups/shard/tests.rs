use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use tidewheel_config::{ConsumerTimes, GroupConfig, limits};
use tidewheel_consumer_groups::reply::TopicResults;
use tidewheel_consumer_groups::request::{
    CommitOffsetsRequest, CommitPartition, CommitTopic, ConsumerHeartbeatRequest,
    FetchOffsetsRequest, HeartbeatRequest, JoinProtocol, JoinRequest, TopicsDeletedRequest,
};
use tidewheel_consumer_groups::{GroupError, GroupLimits};
use tidewheel_protocol::{Batches, RecordBatchBuilder, Uuid};
use tidewheel_storage::LogManager;
use tidewheel_storage::fs::{Fault, SimFs};
use tokio::time::timeout;

use super::super::Groups;
use super::super::loading::{Loaded, load, load_by};
use super::*;
use crate::clock::{self, Clock};
use crate::logging::LogLines;
use crate::partition::tests::partition;
use crate::partition::{AppendWaiter, Partition};
use crate::partition_budget::Granted;
use crate::topics::{Topic, TopicRegistry};

/// Of the topic that is committed to.
const ID: Uuid = Uuid([1; 16]);
/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two clocks that are read one after the other, in whole milliseconds, may seem to go apart by less.
const CLOCKS_APART_MS: i64 = 10;

/// A shard on a disk in memory, with acknowledgements that need no flush.
struct World {
    disk: SimFs,
    logs: LogManager<AppendWaiter>,
    partition: Arc<Partition>,
}

impl World {
    fn new() -> Self {
        let disk = SimFs::new();
        let (logs, partition) = partition(&disk, &[("tidewheel.ack.all", "memory")]);
        Self {
            disk,
            logs,
            partition: Arc::new(partition),
        }
    }

    /// As after a start: what the log holds is not read yet.
    fn loading(&self) -> Arc<Shard> {
        let log = OffsetsLog::new(&self.partition, &Arc::default(), &Clock::default());
        Arc::new(Shard::new(log, Duration::from_secs(5)))
    }

    /// The same once it is read.
    fn ready(&self) -> Arc<Shard> {
        let shard = self.loading();
        let loaded = load(&shard, coordinator(), || known(Some(ID)));
        assert_eq!(loaded, Loaded::Settled);
        shard
    }
}

fn coordinator() -> GroupCoordinator {
    GroupCoordinator::new(GroupConfig::default(), GroupLimits::default())
}

/// The topic that is committed to, under this id, or none.
fn known(id: Option<Uuid>) -> Known {
    let registry = TopicRegistry::default();
    let topic = |id| {
        Arc::new(Topic {
            name: "t".into(),
            id,
            configs: BTreeMap::new(),
            partitions: Vec::new(),
        })
    };
    registry.insert_all(id.map(topic).into_iter().collect());
    Known {
        topics: registry.snapshot(),
        times: Arc::default(),
        history: Arc::default(),
    }
}

/// Commits the same offset and note for some partitions of the topic.
fn commit(partitions: i32, offset: i64, note: &str) -> GroupRequest {
    let partitions = (0..partitions).map(|partition| CommitPartition {
        partition,
        offset,
        leader_epoch: None,
        metadata: Some(note.into()),
        commit_timestamp_ms: None,
    });
    GroupRequest::CommitOffsets(CommitOffsetsRequest {
        group_id: "g".into(),
        member_id: "".into(),
        instance_id: None,
        generation: -1,
        reports_unknown_group: true,
        retention_ms: None,
        topics: vec![CommitTopic {
            topic: "t".into(),
            topic_id: ID,
            partitions: partitions.collect(),
        }],
    })
}

fn join() -> GroupRequest {
    GroupRequest::Join(JoinRequest {
        group_id: "g".into(),
        member_id: "".into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinProtocol {
            name: "range".into(),
            metadata: Bytes::new(),
        }],
        member_id_required: false,
        supports_skip_assignment: true,
        new_member_uuid: 1,
    })
}

/// A new member of the newer protocol, which wants these topics.
fn consume(topics: Vec<Arc<str>>) -> GroupRequest {
    GroupRequest::ConsumerHeartbeat(ConsumerHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        chooses_member_id: true,
        epoch: 0,
        instance_id: None,
        rack_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 60_000,
        topics: Some(topics),
        regex: None,
        assignor: None,
        owned: Some(BTreeSet::new()),
        new_member_uuid: 1,
    })
}

fn heartbeat() -> GroupRequest {
    GroupRequest::Heartbeat(HeartbeatRequest {
        group_id: "g".into(),
        member_id: "nobody".into(),
        instance_id: None,
        generation: 1,
    })
}

/// What became of each partition of a commit.
async fn results(commit: Pending) -> Vec<Result<(), GroupError>> {
    match commit.await {
        Ok(GroupReply::CommitOffsets(topics)) => {
            let topics: Vec<TopicResults> = topics;
            let partitions = topics.into_iter().flat_map(|topic| topic.partitions);
            partitions.map(|(_, result)| result).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Partitions and offsets that the group has.
async fn offsets(shard: &Shard) -> Vec<(i32, i64)> {
    let request = FetchOffsetsRequest {
        group_id: "g".into(),
        member: None,
        topics: None,
        require_stable: false,
    };
    match shard.ask(GroupRequest::FetchOffsets(request)).await {
        Ok(GroupReply::FetchOffsets(Ok(topics))) => topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|p| (p.partition, p.committed.as_ref().unwrap().offset))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_asks_while_groups_are_read_is_told_at_once_and_later_commits_count() {
    let world = World::new();
    assert_eq!(results(world.ready().ask(commit(1, 1, ""))).await, [Ok(())]);
    let shard = world.loading();
    let early: Vec<_> = (2..5)
        .map(|offset| shard.ask(commit(1, offset, "")))
        .collect();
    assert_eq!((shard.weight("g"), shard.listed().groups), (0, 0));
    load(&shard, coordinator(), || known(Some(ID)));
    assert_eq!(results(shard.ask(commit(1, 5, ""))).await, [Ok(())]);
    for early in early {
        assert_eq!(early.await, Err(NoCoordinator::Loading));
    }
    assert_eq!(offsets(&shard).await, [(0, 5)]);
    assert_eq!(shard.listed().groups, 1);
}

/// Every look at the clock finds that two seconds have passed.
#[tokio::test]
async fn a_long_read_tells_every_few_seconds_how_far_it_is() {
    const PARTITIONS: i32 = 250;
    let world = World::new();
    let shard = world.ready();
    let note = "x".repeat(4_000);
    for offset in 0..6 {
        let answers = results(shard.ask(commit(PARTITIONS, offset, &note))).await;
        assert!(answers.iter().all(Result::is_ok));
    }
    let (lines, _noted) = LogLines::of_this_thread();
    let seconds = Cell::new(0);
    let now_ms = || seconds.replace(seconds.get() + 2) * 1_000;
    let shard = world.loading();
    load_by(&now_ms, &shard, coordinator(), || known(Some(ID)));
    let (said, _) = lines.follow();
    let said: Vec<&str> = said.iter().map(|line| &*line.message).collect();
    let [told @ .., last] = &said[..] else {
        panic!("{said:?}");
    };
    assert!(last.starts_with("groups are loaded"), "{last}");
    assert!(last.contains(" records=1500 "), "{last}");
    assert!(told.len() >= 2, "{told:?}");
    let records = told.iter().map(|line| {
        assert!(line.starts_with("groups are being read"), "{line}");
        assert!(line.ends_with(" end=1500"), "{line}");
        let (_, rest) = line.split_once(" records=").unwrap();
        let (records, rest) = rest.split_once(' ').unwrap();
        assert_eq!(rest, format!("offset={records} end=1500"));
        records.parse::<u64>().unwrap()
    });
    let records: Vec<u64> = records.collect();
    assert!(records.is_sorted() && records[0] > 0, "{records:?}");
}

/// What cannot be understood may be the last commit; what was committed before it is not told in its place. Of a kind
/// that nobody here knows it is none.
#[tokio::test]
async fn no_offset_goes_back_because_a_record_cannot_be_understood() {
    let commit_key = |version: u8| {
        let mut key = vec![0, version];
        for text in ["g", "t"] {
            key.extend([0, 1]);
            key.extend(text.as_bytes());
        }
        key.extend([0; 4]);
        key
    };
    for (key, value, is_told) in [
        (commit_key(1), vec![0, 99], false),
        (commit_key(1), vec![0, 3, 0], false),
        (vec![0, 1, 0, 200], vec![0, 3], false),
        (vec![0, 99, 1, 2, 3], vec![0, 0], true),
    ] {
        let world = World::new();
        assert_eq!(results(world.ready().ask(commit(1, 5, ""))).await, [Ok(())]);
        let batch = RecordBatchBuilder::new().record(0, Some(&key), Some(&value));
        let appended = world.partition.append_own(batch.build().unwrap(), 0);
        assert!(appended.is_ok());
        let shard = world.ready();
        if is_told {
            assert_eq!(offsets(&shard).await, [(0, 5)]);
        } else {
            assert_eq!(shard.ask(heartbeat()).await, Err(NoCoordinator::Failed));
        }
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_groups_that_are_read() {
    let world = World::new();
    assert_eq!(results(world.ready().ask(commit(1, 1, ""))).await, [Ok(())]);
    let shard = world.loading();
    shard.close();
    load(&shard, coordinator(), || known(Some(ID)));
    let refused = shard.ask(heartbeat()).await;
    assert_eq!(refused, Err(NoCoordinator::Elsewhere));
    // Nothing is left to look at.
    assert_eq!(timeout(PATIENCE, keep_time(shard)).await, Ok(()));
}

/// Nobody would tell them of it but the next change.
#[tokio::test]
async fn what_is_set_on_groups_while_shards_are_made_holds() {
    let granted = Granted::to_this_process();
    let groups = Groups::new(&GroupConfig::default(), granted);
    let world = World::new();
    let times = ConsumerTimes {
        session_timeout_ms: 50_000,
        heartbeat_interval_ms: 6_000,
    };
    let known = || Known {
        times: groups.times(),
        ..known(Some(ID))
    };
    let make = || {
        let shard = world.loading();
        shard.serve(coordinator(), known);
        groups.set_times([("g".into(), times)].into());
        vec![shard]
    };
    groups.put(make, known);
    let told = groups.ask("g", consume(vec!["t".into()])).await;
    let Ok(GroupReply::ConsumerHeartbeat(Ok(told))) = told else {
        panic!("{told:?}");
    };
    assert_eq!(told.heartbeat_interval_ms, 6_000);
}

/// Half of a decision would leave partitions to nobody until something else changes.
#[test]
fn what_is_decided_about_members_is_one_batch() {
    let world = World::new();
    let shard = world.ready();
    let names = (0..20_000).map(|n| format!("{}{n}", "t".repeat(100)).into());
    shard.tell(consume(names.collect()));
    let log = shard.log().log();
    let read = log.read(0, limits::OFFSETS_READ_BYTES, true).unwrap();
    let slice = read.slice.unwrap();
    let bytes = slice.bytes().unwrap();
    assert!(bytes.len() > limits::OFFSETS_BATCH_BYTES);
    let batch = Batches::new(bytes).next().unwrap().unwrap();
    let (records, end) = (batch.header.record_count, log.offsets().log_end);
    assert!(records > 3);
    assert_eq!(batch.header.next_offset(), end);
}

/// A crash may come between the deletion of a topic and that of the offsets in it.
#[tokio::test]
async fn offsets_whose_topic_is_gone_when_groups_are_read_are_deleted() {
    for successor in [None, Some(Uuid([2; 16]))] {
        let world = World::new();
        let written = results(world.ready().ask(commit(3, 1, ""))).await;
        assert_eq!(written, [Ok(()); 3]);
        let shard = world.loading();
        // One that is deleted meanwhile is left to the end of the loading.
        shard.tell(GroupRequest::TopicsDeleted(TopicsDeletedRequest {
            topics: [("t".into(), ID)].into(),
        }));
        load(&shard, coordinator(), || known(successor));
        assert_eq!(offsets(&shard).await, []);
        // In the log, too.
        assert_eq!(offsets(&world.ready()).await, []);
    }
}

/// What the coordinator says is what the log says, also where it took a part of the records.
#[tokio::test]
async fn of_a_commit_that_fills_the_disk_halfway_the_first_half_stands() {
    const PARTITIONS: i32 = 1_000;
    let world = World::new();
    let shard = world.ready();
    let note = "x".repeat(4_000);
    let answers = results(shard.ask(commit(PARTITIONS, 1, ""))).await;
    assert!(answers.iter().all(Result::is_ok));
    // Room for two batches of four.
    world.disk.set_free_bytes(3 << 20);
    let answers = results(shard.ask(commit(PARTITIONS, 2, &note))).await;
    let refused = Err(GroupError::CoordinatorNotAvailable);
    assert!(answers.iter().all(|answer| *answer == refused));
    world.disk.set_free_bytes(1 << 40);

    let served = offsets(&shard).await;
    let stored = served.iter().filter(|(_, offset)| *offset == 2).count();
    assert!((500..1_000).contains(&stored), "{stored}");
    assert_eq!(offsets(&world.ready()).await, served);
}

#[tokio::test]
async fn a_panic_ends_this_coordinator_and_nobody_waits_for_it() {
    let world = World::new();
    let shard = world.ready();
    let waits = shard.ask(join());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _held = shard.lock();
        panic!("as expected by this test");
    }));
    assert!(panicked.is_err());
    let told = timeout(PATIENCE, waits).await;
    assert_eq!(told, Ok(Err(NoCoordinator::Elsewhere)));
    assert_eq!(shard.ask(heartbeat()).await, Err(NoCoordinator::Failed));
    let ended = timeout(PATIENCE, keep_time(Arc::clone(&shard))).await;
    assert_eq!(ended, Ok(()));
    shard.close();
}

/// A member that is not heard of is missed after its session, however the clock is set meanwhile.
#[tokio::test]
async fn sessions_go_on_where_the_clock_is_set() {
    let world = World::new();
    let shard = world.ready();
    drop(shard.ask(join()));
    for by_ms in [3_600_000, -3_600_000] {
        let due_ms = shard.timer.borrow().unwrap();
        shard.lock().as_mut().unwrap().set_clock(by_ms);
        assert_eq!(shard.tick(), Some(true));
        let moved_ms = shard.timer.borrow().unwrap() - due_ms;
        assert!((moved_ms - by_ms).abs() < 1_000, "{moved_ms}");
    }
}

/// A rebalance may take minutes: who waits for it is not to wait for a disk that is lost.
#[tokio::test]
async fn when_the_disk_is_lost_members_that_wait_are_sent_away() {
    let world = World::new();
    let shard = world.ready();
    assert_eq!(results(shard.ask(commit(1, 1, ""))).await, [Ok(())]);
    let keeper = tokio::spawn(keep_time(Arc::clone(&shard)));
    let waits = shard.ask(join());
    tokio::task::yield_now().await;
    world.disk.fail_at(world.disk.op_count() + 1, Fault::Eio);
    assert!(world.logs.flush_round(0).error.is_some());
    // As the flush thread does for every partition of a directory that is lost.
    world.partition.settle();
    let told = timeout(PATIENCE, waits).await;
    let Ok(Ok(GroupReply::Join(told))) = told else {
        panic!("{told:?}");
    };
    assert_eq!(told.result.unwrap_err(), GroupError::NotCoordinator);
    assert!(timeout(PATIENCE, keeper).await.is_ok());
    assert_eq!(shard.ask(heartbeat()).await, Err(NoCoordinator::Failed));
}

/// The same where the first to see it is a request, or the clock.
#[tokio::test]
async fn whoever_sees_that_the_disk_is_lost_sends_all_away() {
    for by_request in [true, false] {
        let world = World::new();
        let shard = world.ready();
        assert_eq!(results(shard.ask(commit(1, 1, ""))).await, [Ok(())]);
        let waits = shard.ask(join());
        world.disk.fail_at(world.disk.op_count() + 1, Fault::Eio);
        assert!(world.logs.flush_round(0).error.is_some());
        match by_request {
            true => assert_eq!(shard.ask(heartbeat()).await, Err(NoCoordinator::Failed)),
            false => assert_eq!(shard.tick(), None),
        }
        let told = timeout(PATIENCE, waits).await;
        assert!(matches!(told, Ok(Ok(GroupReply::Join(_)))), "{told:?}");
    }
}

/// Hundreds of thousands of offsets may expire at once.
#[tokio::test]
async fn others_have_their_turn_while_many_offsets_expire() {
    const PARTITIONS: i32 = 15_000;
    let world = World::new();
    let shard = world.ready();
    let GroupRequest::CommitOffsets(mut request) = commit(PARTITIONS, 1, "") else {
        unreachable!("it was made as one");
    };
    for partition in &mut request.topics[0].partitions {
        partition.commit_timestamp_ms = Some(0);
    }
    let answers = results(shard.ask(GroupRequest::CommitOffsets(request))).await;
    assert!(answers.iter().all(Result::is_ok));
    // So much earlier is the next look.
    let mut earlier_ms = GroupConfig::default().offsets_retention_check_interval_ms;
    let mut left = answers.len();
    while left > 0 {
        let by_ms = -earlier_ms - CLOCKS_APART_MS;
        shard.lock().as_mut().unwrap().set_clock(by_ms);
        assert_eq!(shard.tick(), Some(true));
        let now = offsets(&shard).await.len();
        let gone = left - now;
        assert!((1..=limits::GROUP_RETENTION_STEP).contains(&gone), "{gone}");
        (left, earlier_ms) = (now, 1_000);
    }
}

/// That members are gone is decided again where the log did not take it when their time had come.
#[tokio::test]
async fn what_a_full_disk_kept_from_the_log_in_its_time_is_written_later() {
    let world = World::new();
    let shard = world.ready();
    assert_eq!(results(shard.ask(commit(1, 1, ""))).await, [Ok(())]);
    drop(shard.ask(join()));
    let next = || {
        let due_ms = shard.timer.borrow().unwrap();
        let left_ms = (due_ms - clock::now_ms()).max(1_000) + CLOCKS_APART_MS;
        shard.lock().as_mut().unwrap().set_clock(-left_ms);
        shard.tick()
    };
    let written = || world.partition.log().offsets().log_end;
    world.disk.set_free_bytes(0);
    assert_eq!(next(), Some(true), "the joining is over");
    assert_eq!(next(), Some(false), "the member is not heard of");
    assert_eq!(next(), Some(false), "the disk is still full");
    assert_eq!(written(), 1);
    world.disk.set_free_bytes(1 << 40);
    assert_eq!(next(), Some(true));
    assert_eq!(written(), 2);
}
