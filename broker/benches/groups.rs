//! What consumer groups cost.
//!
//! `cargo bench -p tidewheel-broker --bench groups` (`-- rebalance`, `-- load`, `-- commits` or `-- beside` for
//! one of them): how long 500 members of one group take from the last JoinGroup until all have their
//! assignments; what 10,000 groups with ten offsets each hold of memory, and how long a start takes to read
//! them; how many commits are answered in a second; how long heartbeats wait for a large neighbour. It
//! measures and judges nothing: see docs/performance.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the measurement"
)]
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and starts threads"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use support::groups::{codes, commit_request, committed, find, loaded};
use support::{Broker, Client};
use tidewheel_protocol::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, PROTOCOL_TYPE, TopicPartition,
};
use tidewheel_protocol::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidewheel_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use tidewheel_protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use tidewheel_protocol::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use tidewheel_protocol::wire::Reader;
use tidewheel_protocol::{
    ApiKey, Message, RequestHeader, ResponseHeader, StrBytes, encode_request_frame,
};

const TOPIC: &str = "topic";
const MEMBERS: usize = 500;
const PARTITIONS: i32 = 1_000;
const REBALANCES: usize = 11;

const GROUPS: usize = 10_000;
const OFFSETS: i32 = 10;
/// Requests under way on a connection.
const WINDOW: usize = 64;

const COMMITTERS: usize = 16;
const COMMITTING: Duration = Duration::from_secs(5);

/// Offsets of a group, and how many of them are in one topic.
const LARGE: i32 = 200_000;
const LARGE_TOPIC: i32 = 10_000;
const LARGE_ASSIGNMENT: usize = 15 << 20;

/// Versions of the requests: JoinGroup 3 needs no second request for a member id.
const JOIN_AT_ONCE: i16 = 3;
const JOIN: i16 = 7;
const SYNC: i16 = 5;
const COMMIT: i16 = 8;

fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| {
        let mut names = only.iter().filter(|word| !word.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|word| word == name)
    };
    if wanted("rebalance") {
        rebalance();
    }
    if wanted("load") {
        load();
    }
    if wanted("commits") {
        commits(1);
        commits(OFFSETS);
    }
    if wanted("beside") {
        beside();
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// CPU time that the broker has taken, in ms. Linux shows it in hundredths of a second.
fn cpu_ms(broker: &Broker) -> f64 {
    f64::from(u32::try_from(broker.cpu_ticks()).unwrap()) * 10.0
}

fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap()) / 1024.0
}

/// With a `note`, which makes a member's metadata differ from what the group knows.
fn join_request(
    group: &str,
    member_id: StrBytes,
    owned: Vec<i32>,
    note: usize,
) -> JoinGroupRequest {
    let subscription = ConsumerProtocolSubscription {
        topics: vec![StrBytes::from(TOPIC)],
        user_data: Some(Bytes::copy_from_slice(&note.to_be_bytes())),
        owned_partitions: topic_partitions(owned),
        ..ConsumerProtocolSubscription::default()
    };
    JoinGroupRequest {
        group_id: StrBytes::from(group),
        session_timeout_ms: 300_000,
        rebalance_timeout_ms: 300_000,
        member_id,
        protocol_type: StrBytes::from_static(PROTOCOL_TYPE),
        protocols: vec![JoinGroupRequestProtocol {
            name: StrBytes::from("range"),
            metadata: subscription.encode(1),
        }],
        ..JoinGroupRequest::default()
    }
}

fn topic_partitions(partitions: Vec<i32>) -> Vec<TopicPartition> {
    vec![TopicPartition {
        topic: StrBytes::from(TOPIC),
        partitions,
    }]
}

/// The leader gives everybody the same number of `partitions`; the others only ask.
fn sync_request(group: &str, joined: &JoinGroupResponse, partitions: i32) -> SyncGroupRequest {
    let share = partitions / i32::try_from(joined.members.len().max(1)).unwrap();
    let given = (0..).zip(&joined.members).map(|(at, member)| {
        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: topic_partitions((at * share..(at + 1) * share).collect()),
            user_data: None,
        };
        SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: assignment.encode(1),
        }
    });
    SyncGroupRequest {
        group_id: StrBytes::from(group),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some(StrBytes::from_static(PROTOCOL_TYPE)),
        protocol_name: Some(StrBytes::from("range")),
        assignments: given.collect(),
        ..SyncGroupRequest::default()
    }
}

/// A member, on a connection of its own.
struct Member {
    client: Client,
    id: StrBytes,
    owned: Vec<i32>,
}

/// Has everybody join and take what it gets; returns the time from when the last JoinGroup was sent until
/// the last SyncGroup was answered.
fn one_rebalance(members: &mut [Member], round: usize) -> Duration {
    let sent: Vec<i32> = members
        .iter_mut()
        .map(|member| {
            let (id, owned) = (member.id.clone(), member.owned.clone());
            let request = join_request("large", id, owned, round);
            member.client.send(JOIN, &request)
        })
        .collect();
    let last_joined = Instant::now();
    let mut syncs = Vec::new();
    for (member, id) in members.iter_mut().zip(sent) {
        let joined: JoinGroupResponse = member.client.receive(JOIN, id);
        assert_eq!(joined.error_code, 0);
        if joined.leader == joined.member_id {
            assert_eq!(joined.members.len(), MEMBERS);
        }
        let request = sync_request("large", &joined, PARTITIONS);
        syncs.push(member.client.send(SYNC, &request));
    }
    for (member, id) in members.iter_mut().zip(syncs) {
        let synced: SyncGroupResponse = member.client.receive(SYNC, id);
        assert_eq!(synced.error_code, 0);
        let assignment = ConsumerProtocolAssignment::decode(synced.assignment).unwrap();
        member.owned = assignment.assigned_partitions[0].partitions.clone();
        assert_eq!(member.owned.len(), 2);
    }
    last_joined.elapsed()
}

fn rebalance() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["group.initial.rebalance.delay.ms=1000"]);
    let mut client = broker.connect();
    client.create_topic(TOPIC, PARTITIONS, &[]);
    find(&mut client, &["large"]);
    let join = |_| {
        let mut client = broker.connect();
        let request = join_request("large", StrBytes::default(), Vec::new(), 0);
        let first: JoinGroupResponse = client.call(JOIN, &request);
        Member {
            client,
            id: first.member_id,
            owned: Vec::new(),
        }
    };
    let mut members: Vec<Member> = (0..MEMBERS).map(join).collect();
    // The first one waits for the initial delay.
    one_rebalance(&mut members, 0);
    let (rounds, before) = (1..=REBALANCES, cpu_ms(&broker));
    let mut took: Vec<Duration> = rounds.map(|n| one_rebalance(&mut members, n)).collect();
    took.sort();
    println!(
        "{MEMBERS} members on {PARTITIONS} partitions, last JoinGroup sent to last SyncGroup answered: \
         median {:.1} ms, min {:.1}, max {:.1} ({REBALANCES} rebalances); CPU time of the broker {:.0} ms each",
        ms(took[REBALANCES / 2]),
        ms(took[0]),
        ms(took[REBALANCES - 1]),
        (cpu_ms(&broker) - before) / f64::from(u32::try_from(REBALANCES).unwrap()),
    );
}

/// Sends all, a window at a time, and gives the answers.
fn call_all<Q: Message, A: Message>(client: &mut Client, version: i16, all: &[Q]) -> Vec<A> {
    let mut out = Vec::new();
    for window in all.chunks(WINDOW) {
        let sent: Vec<i32> = window.iter().map(|one| client.send(version, one)).collect();
        out.extend(sent.into_iter().map(|id| client.receive(version, id)));
    }
    out
}

/// Groups with a member and offsets each. Some at a time: thousands of groups that have joined and done no more are
/// bounded.
fn fill(client: &mut Client, names: &[String]) {
    names.chunks(1_000).for_each(|some| fill_some(client, some));
}

fn fill_some(client: &mut Client, names: &[String]) {
    let joins: Vec<JoinGroupRequest> = names
        .iter()
        .map(|name| join_request(name, StrBytes::default(), Vec::new(), 0))
        .collect();
    let joined: Vec<JoinGroupResponse> = call_all(client, JOIN_AT_ONCE, &joins);
    let members = names.iter().zip(&joined);
    let syncs: Vec<SyncGroupRequest> = members
        .clone()
        .map(|(name, joined)| sync_request(name, joined, OFFSETS))
        .collect();
    let synced: Vec<SyncGroupResponse> = call_all(client, SYNC, &syncs);
    assert!(synced.iter().all(|synced| synced.error_code == 0));
    let commits: Vec<OffsetCommitRequest> = members
        .map(|(name, joined)| OffsetCommitRequest {
            generation_id_or_member_epoch: joined.generation_id,
            member_id: joined.member_id.clone(),
            ..offsets_of(name, OFFSETS)
        })
        .collect();
    let committed: Vec<OffsetCommitResponse> = call_all(client, COMMIT, &commits);
    assert!(
        committed
            .iter()
            .all(|all| codes(all) == [0; OFFSETS as usize])
    );
}

fn offsets_of(group: &str, partitions: i32) -> OffsetCommitRequest {
    let offsets: Vec<(i32, i64, &str)> = (0..partitions).map(|p| (p, 1_000_000, "")).collect();
    commit_request(group, TOPIC, &offsets)
}

fn load() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["group.initial.rebalance.delay.ms=0"];
    let broker = Broker::start_with(dir.path(), &settings);
    let mut client = broker.connect();
    client.create_topic(TOPIC, OFFSETS, &[]);
    find(&mut client, &["any"]);
    let before = broker.rss_anon_kib();
    let names: Vec<String> = (0..GROUPS).map(|n| format!("consumers-of-{n}")).collect();
    let started = Instant::now();
    fill(&mut client, &names);
    println!(
        "{GROUPS} groups with a member and {OFFSETS} offsets each, made in {:.1} s: \
         RssAnon {:.1} MiB, {:.1} before",
        started.elapsed().as_secs_f64(),
        mib(broker.rss_anon_kib()),
        mib(before),
    );
    broker.kill();
    let started = Instant::now();
    let broker = Broker::start_with(dir.path(), &settings);
    let ready = started.elapsed();
    loaded(&broker);
    println!(
        "the same after a kill: ready after {:.0} ms, all groups loaded after {:.0} ms, {:.0} of CPU time; \
         RssAnon {:.1} MiB",
        ms(ready),
        ms(started.elapsed()),
        cpu_ms(&broker),
        mib(broker.rss_anon_kib()),
    );
}

/// Commits as often as it can until time is up; returns how often that was.
fn commit_on(client: Client, group: &str, partitions: i32, until: Instant) -> u32 {
    let mut frames = Vec::new();
    for correlation_id in 0..i32::try_from(WINDOW).unwrap() {
        let header = RequestHeader {
            api_key: ApiKey::OffsetCommit.code(),
            api_version: COMMIT,
            correlation_id,
            client_id: None,
        };
        frames.extend_from_slice(&encode_request_frame(
            &header,
            &offsets_of(group, partitions),
        ));
    }
    let mut socket = client.socket;
    let mut answers = BufReader::new(socket.try_clone().unwrap());
    let mut count = 0;
    while Instant::now() < until {
        socket.write_all(&frames).unwrap();
        for _ in 0..WINDOW {
            let mut prefix = [0; 4];
            answers.read_exact(&mut prefix).unwrap();
            let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
            answers.read_exact(&mut frame).unwrap();
            let mut reader = Reader::new(Bytes::from(frame));
            ResponseHeader::decode(&mut reader, ApiKey::OffsetCommit, COMMIT).unwrap();
            let answer = OffsetCommitResponse::decode(&mut reader, COMMIT).unwrap();
            assert!(codes(&answer).iter().all(|code| *code == 0));
            count += 1;
        }
    }
    count
}

fn commits(partitions: i32) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic(TOPIC, partitions, &[]);
    find(&mut client, &["any"]);
    let (started, before) = (Instant::now(), cpu_ms(&broker));
    let until = started + COMMITTING;
    let count: u32 = std::thread::scope(|scope| {
        let committers: Vec<_> = (0..COMMITTERS)
            .map(|n| {
                let client = broker.connect();
                scope.spawn(move || commit_on(client, &format!("group-{n}"), partitions, until))
            })
            .collect();
        committers.into_iter().map(|one| one.join().unwrap()).sum()
    });
    let seconds = started.elapsed().as_secs_f64();
    let cores = (cpu_ms(&broker) - before) / 1e3 / seconds;
    println!(
        "commits of {partitions} offsets, {COMMITTERS} connections with {WINDOW} under way: \
         {:.0} a second, the broker took {cores:.2} cores ({:.0} a second and core)",
        f64::from(count) / seconds,
        f64::from(count) / seconds / cores,
    );
}

/// Heartbeats, ten milliseconds apart, until `work` is done; tells the longest time that one of them took.
fn beside_heartbeats<R>(broker: &Broker, what: &str, work: impl FnOnce() -> R) -> R {
    let (is_done, started, before) = (AtomicBool::new(false), Instant::now(), cpu_ms(broker));
    let (result, longest) = std::thread::scope(|scope| {
        let heart = scope.spawn(|| {
            let mut client = broker.connect();
            let request = HeartbeatRequest {
                group_id: StrBytes::from_static("neighbour"),
                member_id: StrBytes::from_static("nobody"),
                ..HeartbeatRequest::default()
            };
            let mut longest = Duration::ZERO;
            while !is_done.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let _: HeartbeatResponse = client.call(4, &request);
                longest = longest.max(asked.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            longest
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        (result, heart.join().unwrap())
    });
    println!(
        "{what}: {:.0} ms, {:.0} of CPU time; the longest heartbeat of a neighbour {:.1} ms",
        ms(started.elapsed()),
        cpu_ms(broker) - before,
        ms(longest),
    );
    result
}

/// Commits so many offsets as groups may have, to be kept for `retention_ms`.
fn commit_large(client: &mut Client, retention_ms: i64) {
    for topic in 0..LARGE / LARGE_TOPIC {
        let offsets: Vec<(i32, i64, &str)> = (0..LARGE_TOPIC).map(|p| (p, 1, "")).collect();
        let topic = format!("{TOPIC}-{topic}");
        let request = OffsetCommitRequest {
            retention_time_ms: retention_ms,
            ..commit_request("large", &topic, &offsets)
        };
        let answer: OffsetCommitResponse = client.call(2, &request);
        assert!(codes(&answer).iter().all(|code| *code == 0));
    }
}

/// One partition keeps all groups: what a heartbeat waits for another group of it.
fn beside() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        "offsets.topic.num.partitions=1",
        "offsets.retention.check.interval.ms=1000",
        "group.initial.rebalance.delay.ms=0",
        // Nearly all stay empty: they need no file.
        "tidewheel.max.partitions=300000",
    ];
    let broker = Broker::start_with(dir.path(), &settings);
    let mut client = broker.connect();
    for topic in 0..LARGE / LARGE_TOPIC {
        client.create_topic(&format!("{TOPIC}-{topic}"), LARGE_TOPIC, &[]);
    }
    find(&mut client, &["large"]);
    beside_heartbeats(&broker, "nothing", || std::thread::sleep(COMMITTING));

    commit_large(&mut client, -1);
    let groups_names = vec![StrBytes::from_static("large")];
    let request = DeleteGroupsRequest { groups_names };
    let deleted: DeleteGroupsResponse = beside_heartbeats(
        &broker,
        "200,000 offsets are deleted with their group",
        || client.call(2, &request),
    );
    assert_eq!(deleted.results[0].error_code, 0);

    commit_large(&mut client, 5_000);
    beside_heartbeats(&broker, "200,000 offsets expire, and are asked for", || {
        while !committed(&mut client, "large").is_empty() {}
    });

    let request = join_request("large", StrBytes::default(), Vec::new(), 0);
    let joined: JoinGroupResponse = client.call(JOIN_AT_ONCE, &request);
    let mut request = sync_request("large", &joined, PARTITIONS);
    request.assignments[0].assignment = Bytes::from(vec![0; LARGE_ASSIGNMENT]);
    let synced: SyncGroupResponse = beside_heartbeats(&broker, "an assignment of 15 MiB", || {
        client.call(SYNC, &request)
    });
    assert_eq!(synced.error_code, 0);
}
