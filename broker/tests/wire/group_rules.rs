//! Consumer groups on the wire: the rules of the classic protocol that brokers got wrong before.

use bytes::Bytes;
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidewheel_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use tidewheel_protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity,
};
use tidewheel_protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use tidewheel_protocol::messages::sync_group::SyncGroupResponse;
use tidewheel_protocol::{ErrorCode, StrBytes};

use crate::groups::{
    AT_ONCE, described, heartbeat, join, join_request, sync, sync_request, two_members,
};
use crate::support::groups::{codes, commit_request, committed, find};
use crate::support::{Broker, Client, eventually};

/// A broker with a coordinator and these settings, and a client.
fn started(dir: &tempfile::TempDir, settings: &[&str]) -> (Broker, Client) {
    let broker = Broker::start_with(dir.path(), settings);
    let mut client = broker.connect();
    find(&mut client, &["g"]);
    (broker, client)
}

/// With one protocol of this name and metadata.
fn speaks(request: &mut JoinGroupRequest, name: &str, metadata: &'static [u8]) {
    request.protocols = vec![JoinGroupRequestProtocol {
        name: StrBytes::from(name),
        metadata: Bytes::from_static(metadata),
    }];
}

fn state(client: &mut Client, group: &str) -> String {
    described(client, group).group_state.to_string()
}

#[test]
fn gotcha_40_new_members_come_back_with_the_id_they_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client) = started(&dir, AT_ONCE);
    for version in 4..=9 {
        let group = format!("asks-{version}");
        let asked: JoinGroupResponse = client.call(version, &join_request(&group, "", 10_000));
        assert_eq!(asked.error_code, ErrorCode::MemberIdRequired.code());
        assert_eq!((asked.generation_id, &*asked.leader), (-1, ""));
        assert!(!asked.member_id.is_empty());
        let joined: JoinGroupResponse =
            client.call(version, &join_request(&group, &asked.member_id, 10_000));
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        assert_eq!(joined.member_id, asked.member_id);
        // An id that nobody was given is none.
        let unknown: JoinGroupResponse =
            client.call(version, &join_request(&group, "invented", 10_000));
        assert_eq!(unknown.error_code, ErrorCode::UnknownMemberId.code());
    }
    for version in 0..4 {
        let group = format!("old-{version}");
        let joined: JoinGroupResponse = client.call(version, &join_request(&group, "", 10_000));
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        assert!(!joined.member_id.is_empty());
    }
    for version in 5..=9 {
        let group = format!("static-{version}");
        let mut request = join_request(&group, "", 10_000);
        request.group_instance_id = Some(StrBytes::from("i"));
        let joined: JoinGroupResponse = client.call(version, &request);
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    }
}

#[test]
fn gotcha_41_47_joins_wait_for_others_and_the_leader_alone_sees_them() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["group.initial.rebalance.delay.ms=500"];
    let (broker, mut client) = started(&dir, &settings);
    let (mut one, mut two) = (broker.connect(), broker.connect());
    let mut request = join_request("g", "", 10_000);
    request.protocols.push(JoinGroupRequestProtocol {
        name: StrBytes::from("sticky"),
        metadata: Bytes::from_static(b"first"),
    });
    // Both come during the delay, and one of them does not know what the other one wants most.
    let first = one.send(3, &request);
    eventually("the first one waits", || {
        state(&mut client, "g") == "PreparingRebalance"
    });
    let mut other = join_request("g", "", 10_000);
    speaks(&mut other, "roundrobin", b"");
    let refused: JoinGroupResponse = client.call(3, &other);
    let expected = ErrorCode::InconsistentGroupProtocol.code();
    assert_eq!(refused.error_code, expected);
    other.protocol_type = StrBytes::from("connect");
    speaks(&mut other, "range", b"");
    let refused: JoinGroupResponse = client.call(3, &other);
    assert_eq!(refused.error_code, expected);
    speaks(&mut request, "sticky", b"second");
    let second = two.send(3, &request);
    let first: JoinGroupResponse = one.receive(3, first);
    let second: JoinGroupResponse = two.receive(3, second);
    for joined in [&first, &second] {
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        assert_eq!(joined.protocol_name.as_deref(), Some("sticky"));
        assert_eq!(joined.leader, first.member_id);
    }
    let members = first.members.iter();
    let mut said: Vec<&[u8]> = members.map(|member| &member.metadata[..]).collect();
    said.sort_unstable();
    assert_eq!(
        (said, second.members.len()),
        (vec![&b"first"[..], b"second"], 0)
    );
    assert_eq!(state(&mut client, "g"), "CompletingRebalance");
    sync(&mut one, "g", &first, &[]);
    assert_eq!(state(&mut client, "g"), "Stable");
}

/// Version 0 knows no rebalance timeout.
#[test]
fn gotcha_41_a_rebalance_waits_for_old_members_as_long_as_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [AT_ONCE[0], "group.min.session.timeout.ms=100"];
    let (broker, mut one) = started(&dir, &settings);
    let first: JoinGroupResponse = one.call(0, &join_request("g", "", 1_000));
    sync(&mut one, "g", &first, &[]);
    let mut two = broker.connect();
    let waiting = two.send(0, &join_request("g", "", 1_000));
    // The first one lives and does not join again.
    let mut told = Vec::new();
    eventually("the rebalance ends without it", || {
        told.push(heartbeat(
            &mut one,
            "g",
            first.generation_id,
            &first.member_id,
        ));
        told.last() == Some(&ErrorCode::UnknownMemberId.code())
    });
    assert!(
        told.contains(&ErrorCode::RebalanceInProgress.code()),
        "{told:?}"
    );
    let second: JoinGroupResponse = two.receive(0, waiting);
    assert_eq!((second.error_code, second.generation_id), (0, 2));
    assert_eq!(second.members.len(), 1);
}

#[test]
fn gotcha_42_what_members_tell_each_other_is_handed_on_unread() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client) = started(&dir, AT_ONCE);
    for (group, protocol_type) in [
        ("connect", "connect"),
        ("registry", "sr"),
        ("own", "consumer"),
    ] {
        let mut request = join_request(group, "", 10_000);
        request.protocol_type = StrBytes::from(protocol_type);
        speaks(&mut request, "v1", b"\xff\0no text\x80");
        let joined: JoinGroupResponse = client.call(3, &request);
        assert_eq!(joined.error_code, 0);
        assert_eq!(&joined.members[0].metadata[..], b"\xff\0no text\x80");
        let given: &[(&str, &'static [u8])] = &[(&joined.member_id, b"\x80\0nor this\xff")];
        let synced: SyncGroupResponse = sync(&mut client, group, &joined, given);
        assert_eq!(&synced.assignment[..], b"\x80\0nor this\xff");
        let told = described(&mut client, group);
        assert_eq!(
            (&*told.protocol_type, &*told.protocol_data),
            (protocol_type, "v1")
        );
        assert_eq!(&told.members[0].member_metadata[..], b"\xff\0no text\x80");
        assert_eq!(
            &told.members[0].member_assignment[..],
            b"\x80\0nor this\xff"
        );
    }
}

#[test]
fn gotcha_43_followers_wait_for_the_leader_and_commits_do_not_overtake_it() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = started(&dir, AT_ONCE);
    client.create_topic("t", 1, &[]);
    let [(mut first, one), (mut second, two)] = two_members(&broker, "g");
    // The next generation: the leader joins, and then the other one.
    let waiting = first.send(7, &join_request("g", &one.member_id, 10_000));
    let rebalances = ErrorCode::RebalanceInProgress.code();
    eventually("the follower hears of it", || {
        heartbeat(&mut second, "g", two.generation_id, &two.member_id) == rebalances
    });
    let synced: SyncGroupResponse = sync(&mut second, "g", &two, &[]);
    assert_eq!(synced.error_code, rebalances);
    let two: JoinGroupResponse = second.call(7, &join_request("g", &two.member_id, 10_000));
    let one: JoinGroupResponse = first.receive(7, waiting);
    let mut commit = |generation: i32| {
        let mut request = commit_request("g", "t", &[(0, 3, "")]);
        request.member_id = one.member_id.clone();
        request.generation_id_or_member_epoch = generation;
        let answer: OffsetCommitResponse = client.call(8, &request);
        codes(&answer)[0]
    };
    assert_eq!(
        commit(one.generation_id),
        rebalances,
        "the assignment is awaited"
    );
    assert_eq!(
        commit(one.generation_id - 1),
        ErrorCode::IllegalGeneration.code()
    );
    let waiting = second.send(5, &sync_request("g", &two, &[]));
    let given: &[(&str, &'static [u8])] = &[(&two.member_id, b"all")];
    assert_eq!(sync(&mut first, "g", &one, given).error_code, 0);
    let synced: SyncGroupResponse = second.receive(5, waiting);
    assert_eq!(
        (synced.error_code, &synced.assignment[..]),
        (0, &b"all"[..])
    );
    assert_eq!(commit(one.generation_id), 0);
}

#[test]
fn gotcha_44_a_static_member_that_comes_back_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = started(&dir, AT_ONCE);
    let instance = || Some(StrBytes::from("i"));
    let mut request = join_request("g", "", 10_000);
    request.group_instance_id = instance();
    let before: JoinGroupResponse = client.call(7, &request);
    let given: &[(&str, &'static [u8])] = &[(&before.member_id, b"mine")];
    sync(&mut client, "g", &before, given);

    // Nothing tells that it was away: no rebalance, the same assignment.
    let mut again = broker.connect();
    let after: JoinGroupResponse = again.call(7, &request);
    assert_eq!(
        (after.error_code, after.generation_id),
        (0, before.generation_id)
    );
    assert_ne!(after.member_id, before.member_id);
    let synced: SyncGroupResponse = sync(&mut again, "g", &after, &[]);
    assert_eq!(&synced.assignment[..], b"mine");
    let mut alive = HeartbeatRequest {
        group_id: StrBytes::from("g"),
        generation_id: before.generation_id,
        group_instance_id: instance(),
        ..HeartbeatRequest::default()
    };
    for (member_id, expected) in [
        (before.member_id, ErrorCode::FencedInstanceId.code()),
        (after.member_id, 0),
    ] {
        alive.member_id = member_id;
        let answer: HeartbeatResponse = client.call(4, &alive);
        assert_eq!(answer.error_code, expected);
    }

    // In any state: while others are waited for, what the one before waits for is answered.
    let mut other = broker.connect();
    let asked: JoinGroupResponse = other.call(7, &join_request("g", "", 10_000));
    other.send(7, &join_request("g", &asked.member_id, 10_000));
    eventually("the other one waits", || {
        state(&mut client, "g") == "PreparingRebalance"
    });
    let mut third = broker.connect();
    let third_joined: JoinGroupResponse = third.call(7, &request);
    assert_eq!(
        (third_joined.error_code, third_joined.members.len()),
        (0, 2)
    );

    // An administrator removes several at once, by instance id where there is one.
    let request = LeaveGroupRequest {
        group_id: StrBytes::from("g"),
        members: vec![
            MemberIdentity {
                group_instance_id: instance(),
                ..MemberIdentity::default()
            },
            MemberIdentity {
                member_id: StrBytes::from("nobody"),
                ..MemberIdentity::default()
            },
            MemberIdentity {
                member_id: asked.member_id,
                ..MemberIdentity::default()
            },
        ],
        ..LeaveGroupRequest::default()
    };
    let left: LeaveGroupResponse = client.call(5, &request);
    let left = left.members.iter().map(|member| member.error_code);
    assert_eq!(
        left.collect::<Vec<_>>(),
        [0, ErrorCode::UnknownMemberId.code(), 0]
    );
    assert_eq!(state(&mut client, "g"), "Empty");
}

#[test]
fn gotcha_45_notes_are_kept_to_the_byte_and_bounded_and_old_commits_expire() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["offsets.retention.check.interval.ms=50"];
    let (_broker, mut client) = started(&dir, &settings);
    client.create_topic("t", 3, &[]);
    let note = "ü \u{0} \r\n 🜂".repeat(100);
    let long = "x".repeat(4_096);
    let longer = "x".repeat(4_097);
    let notes = [(0, 1, &*note), (1, 2, &*long), (2, 3, &*longer)];
    let answer: OffsetCommitResponse = client.call(8, &commit_request("g", "t", &notes));
    let refused = ErrorCode::OffsetMetadataTooLarge.code();
    assert_eq!(codes(&answer), [0, 0, refused]);
    let kept = [("t".to_owned(), 0, 1, note), ("t".to_owned(), 1, 2, long)];
    assert_eq!(committed(&mut client, "g"), kept);

    // Versions 2 to 4 say for how long.
    for version in 2..=4 {
        let request = OffsetCommitRequest {
            retention_time_ms: 1,
            ..commit_request("g", "t", &[(2, 3, "")])
        };
        let answer: OffsetCommitResponse = client.call(version, &request);
        assert_eq!(codes(&answer), [0]);
        eventually("it has expired", || committed(&mut client, "g") == kept);
    }
}

#[test]
fn gotcha_46_what_was_never_committed_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client) = started(&dir, &[]);
    client.create_topic("t", 2, &[]);
    let answer: OffsetCommitResponse = client.call(8, &commit_request("g", "t", &[(1, 5, "")]));
    assert_eq!(codes(&answer), [0]);
    for version in 1..=7 {
        for (group, expected) in [("g", [-1, 5, -1]), ("nobody", [-1; 3])] {
            let request = OffsetFetchRequest {
                group_id: StrBytes::from(group),
                topics: Some(vec![OffsetFetchRequestTopic {
                    name: StrBytes::from("t"),
                    partition_indexes: vec![0, 1, 9],
                }]),
                // There are no transactions, so nothing that one may still change.
                require_stable: version == 7,
                ..OffsetFetchRequest::default()
            };
            let answer: OffsetFetchResponse = client.call(version, &request);
            assert_eq!(answer.error_code, 0);
            let told = answer.topics[0].partitions.iter();
            let told: Vec<_> = told.map(|p| (p.committed_offset, p.error_code)).collect();
            assert_eq!(
                told,
                expected.map(|offset| (offset, 0)),
                "version {version}"
            );
        }
    }
    for version in 2..=7 {
        let request = OffsetFetchRequest {
            group_id: StrBytes::from("g"),
            topics: None,
            ..OffsetFetchRequest::default()
        };
        let answer: OffsetFetchResponse = client.call(version, &request);
        assert_eq!(
            (answer.topics.len(), answer.topics[0].partitions.len()),
            (1, 1)
        );
    }
    for version in 8..=9 {
        let asked = |group: &str, topics| OffsetFetchRequestGroup {
            group_id: StrBytes::from(group),
            topics,
            ..OffsetFetchRequestGroup::default()
        };
        let named = vec![OffsetFetchRequestTopics {
            name: StrBytes::from("t"),
            partition_indexes: vec![0],
        }];
        let request = OffsetFetchRequest {
            groups: vec![
                asked("g", None),
                asked("nobody", Some(named)),
                asked("g2", None),
            ],
            ..OffsetFetchRequest::default()
        };
        let answer: OffsetFetchResponse = client.call(version, &request);
        let told = answer.groups.iter().map(|group| {
            let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
            let offsets = partitions.map(|partition| partition.committed_offset);
            (group.error_code, offsets.collect::<Vec<_>>())
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, [(0, vec![5]), (0, vec![-1]), (0, vec![])]);
    }
}

#[test]
fn gotcha_47_states_have_the_names_that_clients_look_for() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client) = started(&dir, AT_ONCE);
    assert_eq!(state(&mut client, "g"), "Dead");
    let joined = join(&mut client, "g", 10_000);
    assert_eq!(state(&mut client, "g"), "CompletingRebalance");
    sync(&mut client, "g", &joined, &[]);
    assert_eq!(state(&mut client, "g"), "Stable");
    let request = LeaveGroupRequest {
        group_id: StrBytes::from("g"),
        members: vec![MemberIdentity {
            member_id: joined.member_id,
            ..MemberIdentity::default()
        }],
        ..LeaveGroupRequest::default()
    };
    let left: LeaveGroupResponse = client.call(3, &request);
    assert_eq!(left.error_code, 0);
    assert_eq!(state(&mut client, "g"), "Empty");
}
