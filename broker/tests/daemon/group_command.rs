//! `tidewheel group`: consumer groups of a running broker, over Kafka's protocol.

use bytes::Bytes;
use serde_json::Value;
use tidewheel_protocol::consumer_protocol::{ConsumerProtocolAssignment, TopicPartition};
use tidewheel_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use tidewheel_protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseTopics,
};
use tidewheel_protocol::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use tidewheel_protocol::{ErrorCode, RecordBatchBuilder, StrBytes};

use crate::commands::{fed_at, good, good_fed, ran, refused, words};
use crate::relay::relay;
use crate::support::commands::objects;
use crate::support::consumers::join as join_consumer;
use crate::support::groups::{codes, commit_request, committed, find, loaded};
use crate::support::topics::delete_records;
use crate::support::{Broker, Client, batch, eventually, run};

/// A broker with a topic `t` of two partitions, of four records and one, in which `g` has committed 1 and 1.
fn scene(dir: &std::path::Path) -> (Broker, Client) {
    let broker = Broker::start_with(dir, &["group.initial.rebalance.delay.ms=0"]);
    let mut client = loaded(&broker);
    client.create_topic("t", 2, &[]);
    client.produce("t", 0, -1, batch(&["a", "b", "c", "d"]));
    client.produce("t", 1, -1, batch(&["a"]));
    commit(&mut client, "g", &[(0, 1, ""), (1, 1, "")]);
    (broker, client)
}

fn commit(client: &mut Client, group: &str, offsets: &[(i32, i64, &str)]) {
    eventually("it is committed", || {
        // The first one who looks for a coordinator has its topic made.
        find(client, &[group]);
        let request = commit_request(group, "t", offsets);
        let answer: OffsetCommitResponse = client.call(8, &request);
        codes(&answer).iter().all(|code| *code == 0)
    });
}

/// A member of the classic protocol that reads `t-0`.
fn classic_member(client: &mut Client, group: &str) -> String {
    let mut request = JoinGroupRequest {
        group_id: StrBytes::from(group),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: StrBytes::from("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: StrBytes::from("range"),
            metadata: Bytes::from_static(b"opaque"),
        }],
        ..JoinGroupRequest::default()
    };
    let first: JoinGroupResponse = client.call(7, &request);
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    request.member_id = StrBytes::from(&*first.member_id);
    let joined: JoinGroupResponse = client.call(7, &request);
    assert_eq!(joined.error_code, 0);
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![TopicPartition {
            topic: StrBytes::from("t"),
            partitions: vec![0],
        }],
        user_data: None,
    };
    let sync = SyncGroupRequest {
        group_id: StrBytes::from(group),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: assignment.encode(0),
        }],
        ..SyncGroupRequest::default()
    };
    let synced: SyncGroupResponse = client.call(5, &sync);
    assert_eq!(synced.error_code, 0);
    joined.member_id.to_string()
}

#[test]
fn groups_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = scene(dir.path());
    classic_member(&mut client, "readers");
    let listed = good(&broker, &["group", "ls"]);
    assert_eq!(
        words(&listed),
        [
            ["GROUP", "TYPE", "PROTOCOL-TYPE", "STATE"],
            ["g", "classic", "-", "Empty"],
            ["readers", "classic", "consumer", "Stable"],
        ]
    );
    let listed = objects(&good(
        &broker,
        &["group", "ls", "--state", "Stable", "--format", "json"],
    ));
    assert_eq!((listed.len(), &listed[0]["group"]), (1, &"readers".into()));
    drop(client);
    assert!(broker.stop());
}

#[test]
fn groups_are_described_with_their_members() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = scene(dir.path());
    let member = classic_member(&mut client, "readers");
    let told = good(&broker, &["group", "describe", "g"]);
    let rows = words(&told);
    assert_eq!(rows[0], ["GROUP", "g"]);
    assert_eq!(
        rows[1],
        ["COORDINATOR", "1", &format!("({})", broker.address)]
    );
    assert_eq!(rows[6], ["TOTAL-LAG", "3"]);
    assert_eq!(
        rows[8..],
        [
            [
                "GROUP",
                "TOPIC",
                "PARTITION",
                "CURRENT-OFFSET",
                "LOG-END-OFFSET",
                "LAG",
                "CONSUMER-ID",
                "HOST",
                "CLIENT-ID"
            ],
            ["g", "t", "0", "1", "4", "3", "-", "-", "-"],
            ["g", "t", "1", "1", "1", "0", "-", "-", "-"],
        ]
    );
    let told = good(&broker, &["group", "describe", "readers"]);
    let rows = words(&told);
    assert_eq!(rows[4], ["BALANCER", "range"]);
    assert_eq!(
        rows[9],
        [
            "readers",
            "t",
            "0",
            "-",
            "4",
            "-",
            &member,
            "/127.0.0.1",
            "raw-test"
        ]
    );
    drop(client);
    assert!(broker.stop());
}

#[test]
fn the_lag_of_groups_is_told_and_what_has_members_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = scene(dir.path());
    classic_member(&mut client, "readers");
    let lags = good(&broker, &["group", "lag"]);
    assert_eq!(
        words(&lags),
        [
            [
                "GROUP",
                "STATE",
                "MEMBERS",
                "TOPICS",
                "OFFSETS",
                "TOTAL-LAG",
                "MAX-LAG"
            ],
            ["g", "Empty", "0", "1", "2", "3", "3"],
            ["readers", "Stable", "1", "1", "0", "0", "-"],
        ]
    );
    let lags = objects(&good(&broker, &["group", "lag", "g", "--format", "json"]));
    assert_eq!((lags.len(), &lags[0]["total_lag"]), (1, &3.into()));

    let moved = ran(
        &broker,
        &["group", "seek", "readers", "--to-start", "--topic", "t"],
    );
    assert_eq!((moved.exit, moved.out.as_str()), (Some(1), ""));
    assert!(
        moved.said.contains("has members (1): stop them first"),
        "{moved:?}"
    );
    let deleted = ran(&broker, &["group", "delete", "readers", "g"]);
    assert_eq!(
        (deleted.exit, deleted.out.as_str()),
        (Some(1), "group g: deleted\n")
    );
    assert!(
        deleted.said.contains("group readers: NON_EMPTY_GROUP"),
        "{deleted:?}"
    );
    drop(client);
    assert!(broker.stop());
}

/// By the timestamp of the first record that is not read, which stands in the log of any broker.
#[test]
fn it_is_told_for_how_long_records_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = scene(dir.path());
    client.create_topic("old", 1, &[("retention.ms", "-1")]);
    let input =
        b"{\"value\":\"a\",\"timestamp_ms\":1000}\n{\"value\":\"b\",\"timestamp_ms\":2000}\n";
    good_fed(&broker, &["produce", "old", "--input", "jsonl"], input);
    let seek = |offset| {
        [
            "group",
            "seek",
            "g",
            "--topic",
            "old",
            "--to-offset",
            offset,
        ]
    };
    let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for (offset, written_s) in [("0", 1), ("1", 2)] {
        good(&broker, &seek(offset));
        let lag = ["group", "lag", "g", "--seconds", "--format", "json"];
        let lag = &objects(&good(&broker, &lag))[0];
        let seconds = lag["max_lag_seconds"].as_u64().unwrap() + written_s;
        assert!((now_s..now_s + 300).contains(&seconds), "{lag}");
    }
    good(&broker, &seek("2"));
    let told = good(&broker, &["group", "describe", "g", "--seconds"]);
    let rows = words(&told);
    let column = rows[8].iter().position(|head| *head == "LAG-SECONDS");
    let of = |row: usize| rows[row][column.unwrap()].parse::<u64>().unwrap();
    assert_eq!((rows[9][1], of(9)), ("old", 0), "{told}");
    assert!(rows[10][1] == "t" && of(10) < 300, "{told}");
    assert_eq!(of(11), 0, "{told}");
    let told = good(&broker, &["group", "lag", "g"]);
    assert!(!told.contains("SECONDS"), "{told}");
    // Retention was faster than the group: what is left of its records counts.
    good(&broker, &seek("0"));
    assert_eq!(delete_records(&mut client, "old", 0, 1).0, 0);
    let lag = || {
        let lag = ["group", "lag", "g", "--seconds", "--format", "json"];
        objects(&good(&broker, &lag)).remove(0)
    };
    let seconds = lag()["max_lag_seconds"].as_u64().unwrap() + 2;
    assert!((now_s..now_s + 300).contains(&seconds), "{}", lag());
    // One without a timestamp may be the oldest of all.
    client.create_topic("timeless", 1, &[]);
    let timeless = RecordBatchBuilder::new().record(-1, None, Some(b"v"));
    let timeless = timeless.build().unwrap().bytes;
    assert_eq!(client.produce("timeless", 0, -1, timeless).error_code, 0);
    let request = commit_request("g", "timeless", &[(0, 0, "")]);
    let answer: OffsetCommitResponse = client.call(8, &request);
    assert_eq!(codes(&answer), [0]);
    assert_eq!(lag()["max_lag_seconds"], Value::Null);
    let told = good(&broker, &["group", "lag", "g", "--seconds"]);
    assert_eq!(words(&told)[1].last(), Some(&"-"), "{told}");
    assert!(broker.stop());
}

#[test]
fn groups_of_the_newer_protocol_are_described_too() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = scene(dir.path());
    let joined = join_consumer(&mut client, "new", "m1", &["t"]);
    assert_eq!(joined.error_code, 0);
    let told = good(&broker, &["group", "describe", "new", "--format", "json"]);
    let told = &objects(&told)[0];
    assert_eq!(
        (&told["type"], &told["members"]),
        (&"consumer".into(), &1.into())
    );
    let partitions = told["partitions"].as_array().unwrap();
    assert!(
        partitions.iter().all(|one| one["member_id"] == "m1"),
        "{told}"
    );
    let listed = good(&broker, &["group", "ls"]);
    assert!(listed.contains("new    consumer  consumer"), "{listed}");
    assert!(broker.stop());
}

#[test]
fn a_group_is_moved_and_a_dry_run_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = scene(dir.path());
    let mut offsets = |group: &str| {
        let all = committed(&mut client, group);
        all.into_iter()
            .map(|(_, partition, offset, _)| (partition, offset))
            .collect::<Vec<_>>()
    };
    for (to, expected) in [
        (&["--to-start"][..], [(0, 0), (1, 0)]),
        (&["--to-end"], [(0, 4), (1, 1)]),
        (&["--to-offset", "2"], [(0, 2), (1, 1)]),
        (&["--shift-by", "-1"], [(0, 1), (1, 0)]),
        (&["--shift-by", "100"], [(0, 4), (1, 1)]),
        (&["--to-timestamp", "-1h"], [(0, 0), (1, 0)]),
        (&["--to-timestamp", "2100-01-01"], [(0, 4), (1, 1)]),
        (&["--to-start", "--topic", "t:1"], [(0, 4), (1, 0)]),
    ] {
        let before = offsets("g");
        let dry = [&["group", "seek", "g", "--dry-run"], to].concat();
        let would = good(&broker, &dry);
        assert_eq!(offsets("g"), before, "{to:?}");
        let told = good(&broker, &[&["group", "seek", "g"], to].concat());
        assert_eq!(told, would);
        assert_eq!(offsets("g"), expected, "{to:?}");
    }
    let json = ["group", "seek", "g", "--to-end", "--format", "json"];
    let told = objects(&good(&broker, &json));
    assert_eq!(told[1]["committed_offset"], 0);
    assert_eq!(told[1]["new_offset"], 1);
    // A group that is not there yet is given a beginning.
    let told = good(
        &broker,
        &["group", "seek", "fresh", "--to-end", "--topic", "t:0"],
    );
    assert_eq!(words(&told)[1], ["fresh", "t", "0", "-", "4"]);
    assert_eq!(offsets("fresh"), [(0, 4)]);

    let would = good(
        &broker,
        &["group", "offset-delete", "g", "--topic", "t:1", "--dry-run"],
    );
    assert_eq!(would, "t-1: 1 would be deleted\n");
    let some = ["group", "offset-delete", "g", "--topic", "t:1,9"];
    let some = ran(&broker, &some);
    assert_eq!((some.exit, some.out.as_str()), (Some(3), "t-1: deleted\n"));
    let said = "tidewheel: group g has committed nothing in t-9\n";
    assert_eq!(some.said, said);
    assert_eq!(offsets("g"), [(0, 4)]);
    assert!(broker.stop());
}

#[test]
fn what_is_refused_says_why_and_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, _client) = scene(dir.path());
    refused(
        &broker,
        &[
            (
                &["group", "describe", "none"],
                3,
                "group none: GROUP_ID_NOT_FOUND",
            ),
            (&["group", "delete", "none"], 3, "GROUP_ID_NOT_FOUND"),
            (
                &["group", "seek", "none", "--to-end"],
                3,
                "GROUP_ID_NOT_FOUND",
            ),
            (
                &["group", "offset-delete", "none", "--topic", "t"],
                3,
                "GROUP_ID_NOT_FOUND",
            ),
            (
                &["group", "offset-delete", "g", "--topic", "other"],
                3,
                "group g has committed nothing in other",
            ),
            (
                &["group", "seek", "g", "--to-end", "--topic", "other"],
                3,
                "UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (
                &["group", "seek", "g", "--to-end", "--topic", "t:9"],
                3,
                "t-9: UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (&["group", "seek", "g"], 2, "required"),
            (
                &["group", "seek", "g", "--to-end", "--to-start"],
                2,
                "cannot be used with",
            ),
            (
                &["group", "seek", "g", "--to-timestamp", "soon"],
                2,
                "it is no time",
            ),
            (
                &["group", "seek", "g", "--to-end", "--topic", "t:x"],
                2,
                "TOPIC:0,1",
            ),
            (&["group", "offset-delete", "g"], 2, "required"),
            (&["group", "describe"], 2, "required"),
            (&["group", "lag", "--watch", "0"], 2, "invalid value"),
        ],
    );
    let lag = ran(&broker, &["group", "lag", "g", "none"]);
    assert_eq!(lag.exit, Some(3), "{lag:?}");
    assert!(
        lag.out.contains("\ng ") && lag.said.contains("group none"),
        "{lag:?}"
    );
    assert!(broker.stop());
}

#[test]
fn every_command_of_groups_has_help_and_gives_up_where_nobody_answers() {
    for command in ["ls", "describe", "lag", "seek", "delete", "offset-delete"] {
        let help = run(&["group", command, "--help"]);
        assert!(help.status.success());
        assert!(
            String::from_utf8(help.stdout)
                .unwrap()
                .contains("TIDEWHEEL_BROKERS")
        );
    }
    let nobody = run(&["group", "ls", "--brokers", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
}

/// A topic that is gone, or that nobody tells of, keeps nobody from the others, and is not passed over in silence.
#[test]
fn what_cannot_be_told_of_committed_offsets_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, _client) = scene(dir.path());
    let with = |change: fn(&mut OffsetFetchResponseTopics)| {
        relay(&broker.address, move |asked| {
            if asked.of::<OffsetFetchRequest>().is_none() {
                return asked.passed();
            }
            asked.changed(|answer: &mut OffsetFetchResponse| {
                let mut topic = answer.groups[0].topics[0].clone();
                change(&mut topic);
                match *topic.name == *"t" {
                    true => answer.groups[0].topics[0] = topic,
                    false => answer.groups[0].topics.push(topic),
                }
            })
        })
    };
    let gone = with(|topic| topic.name = StrBytes::from("gone"));
    let seek = ["group", "seek", "g", "--to-end"];
    let moved = fed_at(&gone, &seek, b"");
    assert_eq!(moved.exit, Some(3), "{moved:?}");
    assert_eq!(words(&moved.out)[1], ["g", "t", "0", "1", "4"]);
    assert!(moved.said.contains("topic gone: UNKNOWN"), "{moved:?}");

    let hidden = with(|topic| {
        let mut partitions = topic.partitions.iter_mut();
        let hidden = partitions.find(|one| one.partition_index == 1).unwrap();
        hidden.error_code = ErrorCode::TopicAuthorizationFailed.code();
    });
    let lag = fed_at(&hidden, &["group", "lag", "g", "--format", "json"], b"");
    assert_eq!(
        (lag.exit, &objects(&lag.out)[0]["offsets"]),
        (Some(1), &1.into())
    );
    let said = "group g in t-1: TOPIC_AUTHORIZATION_FAILED";
    assert!(lag.said.contains(said), "{lag:?}");

    let silent = relay(&broker.address, |asked| {
        match asked.of::<OffsetCommitRequest>() {
            Some(_) => asked.answered(&OffsetCommitResponse::default()),
            None => asked.passed(),
        }
    });
    let moved = fed_at(&silent, &seek, b"");
    assert_eq!(
        (moved.exit, words(&moved.out).len()),
        (Some(1), 1),
        "{moved:?}"
    );
    let said = "group g in t-0: the answer of";
    assert!(moved.said.contains(said), "{moved:?}");
    assert!(broker.stop());
}
