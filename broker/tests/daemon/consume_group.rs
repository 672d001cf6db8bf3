//! `tidewheel consume --group`: a member of a consumer group, beside others of its kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::api_versions::ApiVersionsRequest;
use tidewheel_protocol::messages::fetch::FetchRequest;
use tidewheel_protocol::messages::heartbeat::HeartbeatRequest;
use tidewheel_protocol::messages::join_group::JoinGroupRequest;
use tidewheel_protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};

use crate::commands::{Running, fed_at, good, good_fed, refused};
use crate::relay::{Asked, relay};
use crate::support::commands::objects;
use crate::support::{Broker, eventually, now_ms};

/// A broker with a topic `t` of so many partitions, whose groups wait for nobody.
fn scene(dir: &std::path::Path, partitions: i32) -> Broker {
    let broker = Broker::start_with(dir, &["group.initial.rebalance.delay.ms=0"]);
    broker.connect().create_topic("t", partitions, &[]);
    broker
}

/// What `group lag` tells of the group `g`.
fn lag(broker: &Broker) -> Value {
    objects(&good(broker, &["group", "lag", "g", "--format", "json"])).remove(0)
}

/// How many members it has that were given partitions.
fn settled(broker: &Broker, members: u64) -> bool {
    let described = good(broker, &["group", "describe", "g", "--format", "json"]);
    let group = &objects(&described)[0];
    let partitions = group["partitions"].as_array().unwrap();
    let mut readers: Vec<_> = partitions
        .iter()
        .map(|one| one["member_id"].as_str())
        .collect();
    readers.sort_unstable();
    readers.dedup();
    let has_all = readers.iter().all(Option::is_some) && readers.len() as u64 == members;
    group["state"] == "Stable" && group["members"] == members && has_all
}

#[test]
fn a_group_goes_on_where_it_has_committed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 2);
    for (partition, lines) in [("0", "a\nb\nc\n"), ("1", "x\ny\n")] {
        good_fed(
            &broker,
            &["produce", "t", "-p", partition],
            lines.as_bytes(),
        );
    }
    let read = |more: &[&str]| {
        let consume = ["consume", "t", "-g", "g", "-f", "%v "];
        let text = good(&broker, &[&consume[..], more].concat());
        let mut values: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        values.sort();
        values
    };
    let mut first = read(&["-n", "3"]);
    assert_eq!((first.len(), &lag(&broker)["total_lag"]), (3, &2.into()));
    let group = lag(&broker);
    assert_eq!(
        (&group["members"], &group["state"]),
        (&0.into(), &"Empty".into())
    );
    first.extend(read(&["-e"]));
    first.sort();
    assert_eq!(first, ["a", "b", "c", "x", "y"]);
    assert!(read(&["-e"]).is_empty(), "nothing comes twice");
    good_fed(&broker, &["produce", "t", "-p", "1"], b"z\n");
    // What was committed counts, and nothing else.
    assert_eq!(read(&["-e", "-o", "start"]), ["z"]);
    assert_eq!(lag(&broker)["total_lag"], 0);
    assert!(broker.stop());
}

#[test]
fn members_share_the_partitions_and_who_leaves_is_replaced_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 2);
    let consume = ["consume", "t", "-g", "g", "-f", "%p:%v\\n"];
    let produce = |partition: &str, line: &str| {
        good_fed(&broker, &["produce", "t", "-p", partition], line.as_bytes());
    };
    let mut one = Running::start(&broker, &consume);
    produce("0", "a\n");
    produce("1", "b\n");
    let mut lines = [one.line(), one.line()];
    lines.sort();
    assert_eq!(lines, ["0:a\n", "1:b\n"]);
    let mut other = Running::start(&broker, &consume);
    eventually("each has one", || settled(&broker, 2));
    produce("0", "c\n");
    produce("1", "d\n");
    let (ones, others) = (one.line(), other.line());
    let mut lines = [ones.as_str(), others.as_str()];
    lines.sort_unstable();
    assert_eq!(lines, ["0:c\n", "1:d\n"]);
    // It has committed what it printed, so that nothing comes twice.
    let left = ones.split(':').next().unwrap().to_owned();
    one.signal("-TERM");
    assert_eq!(one.end(), (Some(0), String::new()));
    eventually("the other one has both", || settled(&broker, 1));
    produce(&left, "e\n");
    assert_eq!(other.line(), format!("{left}:e\n"));
    eventually("it commits while it reads", || {
        lag(&broker)["total_lag"] == 0
    });
    other.signal("-INT");
    assert_eq!(other.end(), (Some(0), String::new()));
    assert_eq!(lag(&broker)["members"], 0);
    assert!(broker.stop());
}

/// A third member has nothing to read until there is a third partition, or another member is gone.
#[test]
fn a_member_without_partitions_waits() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let consume = ["consume", "t", "-g", "g", "-f", "%v\\n"];
    let mut one = Running::start(&broker, &consume);
    good_fed(&broker, &["produce", "t"], b"a\n");
    assert_eq!(one.line(), "a\n");
    let mut other = Running::start(&broker, &consume);
    eventually("both are in it", || lag(&broker)["members"] == 2);
    // One of them has the partition, whichever; killed, it is missed later, so both end well.
    good_fed(&broker, &["consume", "t", "-g", "g", "-e"], b"");
    one.signal("-INT");
    assert_eq!(one.end(), (Some(0), String::new()));
    good_fed(&broker, &["produce", "t"], b"b\n");
    assert_eq!(other.line(), "b\n");
    other.signal("-INT");
    assert_eq!(other.end(), (Some(0), String::new()));
    assert!(broker.stop());
}

#[test]
fn a_member_goes_on_over_a_broker_that_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let address = broker.address.clone();
    let mut one = Running::start(&broker, &["consume", "t", "-g", "g", "-f", "%v\\n"]);
    good_fed(&broker, &["produce", "t"], b"a\n");
    assert_eq!(one.line(), "a\n");
    eventually("it is committed", || lag(&broker)["total_lag"] == 0);
    broker.kill();
    let mut command = crate::support::tidewheel(&["serve", "--set"]);
    command.arg(format!("listeners=PLAINTEXT://{address}"));
    let broker = Broker::spawn(&mut command, dir.path());
    good_fed(&broker, &["produce", "t"], b"b\n");
    assert_eq!(one.line(), "b\n");
    one.signal("-INT");
    let (exit, said) = one.end();
    assert_eq!(exit, Some(0), "{said}");
    assert_eq!(lag(&broker)["total_lag"], 0);
    assert!(broker.stop());
}

#[test]
fn what_a_group_cannot_be_asked_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    refused(
        &broker,
        &[
            (
                &["consume", "t", "-g", "g", "-p", "0"],
                2,
                "cannot be used with",
            ),
            (
                &["consume", "t", "-g", "g", "-o", "1:5"],
                2,
                "have no end by offset",
            ),
            (
                &["consume", "none", "-g", "g"],
                3,
                "topic none: UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (&["consume", "t", "-g", ""], 1, "INVALID_GROUP_ID"),
        ],
    );
    assert!(broker.stop());
}

/// Whether this asks to join, by an id that the coordinator has given.
fn is_join(asked: &Asked) -> bool {
    let join = asked.of::<JoinGroupRequest>();
    join.is_some_and(|join| !join.member_id.is_empty())
}

/// Another member that does not join again keeps a coordinator from answering: who waits for it asks again some time, and
/// does not give up.
#[test]
fn a_rebalance_that_takes_long_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    good_fed(&broker, &["produce", "t"], b"a\n");
    let joins = AtomicUsize::new(0);
    let address = relay(&broker.address, move |asked| {
        if let Some(join) = asked.of::<JoinGroupRequest>() {
            // Nobody has to wait for one that hangs for longer.
            assert_eq!(
                (join.rebalance_timeout_ms, join.session_timeout_ms),
                (60_000, 45_000)
            );
        }
        match is_join(asked) && joins.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Asked::silence(),
            false => asked.passed(),
        }
    });
    let consume = [
        "consume",
        "t",
        "-g",
        "g",
        "-n",
        "1",
        "-f",
        "%v",
        "--timeout",
        "1",
    ];
    let ran = fed_at(&address, &consume, b"");
    assert_eq!((ran.exit, ran.out.as_str()), (Some(0), "a"), "{ran:?}");
    assert_eq!(
        ran.said,
        "tidewheel: group g: waiting for its other members\n"
    );
    assert_eq!(lag(&broker)["total_lag"], 0);
    assert!(broker.stop());
}

#[test]
fn who_is_asked_to_end_while_it_connects_or_joins_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let connects = |asked: &Asked| asked.of::<ApiVersionsRequest>().is_some();
    for (is_last, signal) in [(connects as fn(&Asked) -> bool, "-TERM"), (is_join, "-INT")] {
        let waits = Arc::new(AtomicBool::new(false));
        let comes = Arc::clone(&waits);
        let address = relay(&broker.address, move |asked| {
            if !is_last(asked) {
                return asked.passed();
            }
            comes.store(true, Ordering::SeqCst);
            Asked::silence()
        });
        let one = Running::start_at(&address, &["consume", "t", "-g", "g"]);
        eventually("it waits", || waits.load(Ordering::SeqCst));
        let asked_ms = now_ms();
        one.signal(signal);
        assert_eq!(one.end(), (Some(0), String::new()), "{signal}");
        let took_ms = now_ms() - asked_ms;
        assert!(took_ms < 10_000, "{signal}: {took_ms} ms");
    }
    assert!(broker.stop());
}

/// A pager that shows the first page, for instance.
#[test]
fn a_member_whose_output_nobody_reads_stays_in_the_group_and_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let (is_full, beats) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (fills, counts) = (Arc::clone(&is_full), Arc::clone(&beats));
    let address = relay(&broker.address, move |asked| {
        let is_fetch = asked.of::<FetchRequest>().is_some();
        if asked.of::<HeartbeatRequest>().is_some() {
            counts.fetch_add(1, Ordering::SeqCst);
        }
        let answer = asked.passed();
        let len = answer.as_ref().map_or(0, |answer| answer.len());
        fills.fetch_or(is_fetch && len > 500_000, Ordering::SeqCst);
        answer
    });
    let mut one = Running::start_at(&address, &["consume", "t", "-g", "g", "-f", "%v\\n"]);
    good_fed(&broker, &["produce", "t"], b"a\n");
    assert_eq!(one.line(), "a\n");
    // More than a pipe takes.
    good_fed(&broker, &["produce", "t"], &[b'x'; 600_000]);
    eventually("it has what it cannot write", || {
        is_full.load(Ordering::SeqCst)
    });
    let before = beats.load(Ordering::SeqCst);
    eventually("it says that it is there", || {
        beats.load(Ordering::SeqCst) >= before + 3
    });
    assert_eq!(lag(&broker)["members"], 1);
    one.signal("-TERM");
    let (exit, said) = one.unread();
    assert_eq!(exit, Some(1), "{said}");
    assert!(
        said.contains("group g: ended before what was printed last"),
        "{said}"
    );
    assert_eq!(lag(&broker)["members"], 0, "it has left");
    let again = good(&broker, &["consume", "t", "-g", "g", "-e", "-f", "%S "]);
    assert!(again.ends_with("600000 "), "{again}");
    assert!(broker.stop());
}

#[test]
fn the_last_commit_is_made_again_and_told_where_it_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    good_fed(&broker, &["produce", "t"], b"a\nb\nc\n");
    let consume = ["consume", "t", "-g", "g", "-n", "1", "-f", "%v"];
    let commits = AtomicUsize::new(0);
    let address = relay(&broker.address, move |asked| {
        let is_one = asked.of::<OffsetCommitRequest>().is_some();
        match (
            is_one,
            commits.fetch_add(usize::from(is_one), Ordering::SeqCst),
        ) {
            (true, 0) => None,
            (true, 1) => asked.changed(|answer: &mut OffsetCommitResponse| {
                let code = ErrorCode::RebalanceInProgress.code();
                answer.topics[0].partitions[0].error_code = code;
            }),
            _ => asked.passed(),
        }
    });
    assert_eq!(fed_at(&address, &consume, b"").good(), "a");
    assert_eq!(lag(&broker)["total_lag"], 2);
    let address = relay(&broker.address, |asked| {
        let is_one = asked.of::<OffsetCommitRequest>().is_some();
        if is_one { None } else { asked.passed() }
    });
    let ran = fed_at(&address, &consume, b"");
    assert_eq!((ran.exit, ran.out.as_str()), (Some(1), "b"), "{ran:?}");
    let told = "group g: what was printed last could not be committed: it comes again";
    assert!(ran.said.contains(told), "{ran:?}");
    assert_eq!(good(&broker, &consume), "b");
    assert!(broker.stop());
}
