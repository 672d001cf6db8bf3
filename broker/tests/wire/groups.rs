//! Consumer groups on the wire: the classic protocol, committed offsets, and what a restart leaves of them.

use crate::support::groups::{codes, commit_request, committed, find, loaded};
use crate::support::{self, Broker, Client};
use bytes::Bytes;
use tidewheel_protocol::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use tidewheel_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};
use tidewheel_protocol::messages::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse,
};
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidewheel_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use tidewheel_protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity,
};
use tidewheel_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use tidewheel_protocol::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

/// So that a first rebalance does not wait for more members.
pub(crate) const AT_ONCE: &[&str] = &["group.initial.rebalance.delay.ms=0"];

pub(crate) fn join_request(
    group: &str,
    member_id: &str,
    session_timeout_ms: i32,
) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: StrBytes::from(group),
        session_timeout_ms,
        rebalance_timeout_ms: 60_000,
        member_id: StrBytes::from(member_id),
        protocol_type: StrBytes::from("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: StrBytes::from("range"),
            metadata: Bytes::from_static(b"opaque"),
        }],
        ..JoinGroupRequest::default()
    }
}

/// Joins as a new member: once for its id, once with it.
pub(crate) fn join(client: &mut Client, group: &str, session_timeout_ms: i32) -> JoinGroupResponse {
    let first: JoinGroupResponse = client.call(7, &join_request(group, "", session_timeout_ms));
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    client.call(
        7,
        &join_request(group, &first.member_id, session_timeout_ms),
    )
}

pub(crate) fn sync(
    client: &mut Client,
    group: &str,
    joined: &JoinGroupResponse,
    assignments: &[(&str, &'static [u8])],
) -> SyncGroupResponse {
    client.call(5, &sync_request(group, joined, assignments))
}

pub(crate) fn sync_request(
    group: &str,
    joined: &JoinGroupResponse,
    assignments: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    let given = assignments
        .iter()
        .map(|(member_id, bytes)| SyncGroupRequestAssignment {
            member_id: StrBytes::from(*member_id),
            assignment: Bytes::from_static(bytes),
        });
    SyncGroupRequest {
        group_id: StrBytes::from(group),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: given.collect(),
        ..SyncGroupRequest::default()
    }
}

pub(crate) fn heartbeat(
    client: &mut Client,
    group: &str,
    generation_id: i32,
    member_id: &str,
) -> i16 {
    let request = HeartbeatRequest {
        group_id: StrBytes::from(group),
        generation_id,
        member_id: StrBytes::from(member_id),
        ..HeartbeatRequest::default()
    };
    let answer: HeartbeatResponse = client.call(4, &request);
    answer.error_code
}

pub(crate) fn described(client: &mut Client, group: &str) -> DescribedGroup {
    let request = DescribeGroupsRequest {
        groups: vec![StrBytes::from(group)],
        ..DescribeGroupsRequest::default()
    };
    let mut answer: DescribeGroupsResponse = client.call(5, &request);
    answer.groups.remove(0)
}

/// Two members with their connections in a stable group, the leader first.
pub(crate) fn two_members(broker: &Broker, group: &str) -> [(Client, JoinGroupResponse); 2] {
    let (mut first, mut second) = (broker.connect(), broker.connect());
    let one = join(&mut first, group, 10_000);
    let given: &[(&str, &[u8])] = &[(&one.member_id, b"all")];
    let assigned: SyncGroupResponse = sync(&mut first, group, &one, given);
    assert_eq!(&assigned.assignment[..], b"all");

    // The second one's join waits for the first to come back.
    let asked: JoinGroupResponse = second.call(7, &join_request(group, "", 10_000));
    let waiting = second.send(7, &join_request(group, &asked.member_id, 10_000));
    let rebalances = ErrorCode::RebalanceInProgress.code();
    support::eventually("the leader hears of the rebalance", || {
        heartbeat(&mut first, group, one.generation_id, &one.member_id) == rebalances
    });
    let one: JoinGroupResponse = first.call(7, &join_request(group, &one.member_id, 10_000));
    let two: JoinGroupResponse = second.receive(7, waiting);
    assert_eq!((one.error_code, two.error_code), (0, 0));
    assert_eq!(one.generation_id, two.generation_id);
    assert_eq!(one.leader, one.member_id);
    assert_eq!((one.members.len(), two.members.len()), (2, 0));

    let waiting = second.send(5, &sync_request(group, &two, &[]));
    let given: &[(&str, &[u8])] = &[(&one.member_id, b"left"), (&two.member_id, b"right")];
    let left = sync(&mut first, group, &one, given);
    let right: SyncGroupResponse = second.receive(5, waiting);
    assert_eq!(
        (&left.assignment[..], &right.assignment[..]),
        (&b"left"[..], &b"right"[..])
    );
    [(first, one), (second, two)]
}

#[test]
fn gotcha_48_fact_05_the_first_who_looks_for_a_coordinator_finds_it_ready() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), AT_ONCE);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let found = find(&mut client, &["a", "b"]);
    let errors = found.coordinators.iter().map(|found| found.error_code);
    assert_eq!(errors.collect::<Vec<_>>(), [0, 0]);
    assert_eq!(found.coordinators[1].key, "b");
    assert_eq!(found.coordinators[1].node_id, 1);
    let answer: OffsetCommitResponse = client.call(8, &commit_request("a", "t", &[(0, 1, "")]));
    assert_eq!(codes(&answer), [0]);

    let request = FindCoordinatorRequest {
        key: StrBytes::from("tx"),
        key_type: 1,
        ..FindCoordinatorRequest::default()
    };
    let refused: FindCoordinatorResponse = client.call(2, &request);
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
    assert_eq!((refused.node_id, refused.port), (-1, -1));
    // One at a time until version 3, of groups only in version 0; share groups have none here.
    for version in 0..=3 {
        let request = FindCoordinatorRequest {
            key: StrBytes::from("a"),
            ..FindCoordinatorRequest::default()
        };
        let found: FindCoordinatorResponse = client.call(version, &request);
        assert_eq!((found.error_code, found.node_id), (0, 1));
    }
    let request = FindCoordinatorRequest {
        key_type: 2,
        coordinator_keys: vec![StrBytes::from("a:AAAAAAAAAAAAAAAAAAAAAQ:0")],
        ..FindCoordinatorRequest::default()
    };
    let refused: FindCoordinatorResponse = client.call(6, &request);
    let refused = &refused.coordinators[0];
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
    assert_eq!((refused.node_id, refused.port), (-1, -1));
}

#[test]
fn gotcha_43_members_share_a_group_and_one_that_leaves_or_falls_silent_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [AT_ONCE[0], "group.min.session.timeout.ms=100"];
    let broker = Broker::start_with(dir.path(), &settings);
    find(&mut broker.connect(), &["g"]);
    let [(mut first, one), (mut second, two)] = two_members(&broker, "g");
    assert_eq!(
        heartbeat(&mut second, "g", two.generation_id, &two.member_id),
        0
    );
    let stale = heartbeat(&mut second, "g", two.generation_id - 1, &two.member_id);
    assert_eq!(stale, ErrorCode::IllegalGeneration.code());
    let unknown = heartbeat(&mut second, "g", two.generation_id, "nobody");
    assert_eq!(unknown, ErrorCode::UnknownMemberId.code());

    let group = described(&mut first, "g");
    assert_eq!((&*group.group_state, group.members.len()), ("Stable", 2));
    assert_eq!(&*group.members[0].client_host, "/127.0.0.1");

    let request = LeaveGroupRequest {
        group_id: StrBytes::from("g"),
        members: vec![MemberIdentity {
            member_id: two.member_id.clone(),
            ..MemberIdentity::default()
        }],
        ..LeaveGroupRequest::default()
    };
    let left: LeaveGroupResponse = second.call(5, &request);
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
    let again: JoinGroupResponse = first.call(7, &join_request("g", &one.member_id, 200));
    assert_eq!((again.error_code, again.members.len()), (0, 1));
    sync(&mut first, "g", &again, &[]);

    // From here on the last member is silent.
    support::eventually("the silent member is gone", || {
        &*described(&mut second, "g").group_state == "Empty"
    });
}

#[test]
fn gotcha_45_fact_01_16_what_was_committed_survives_a_kill_and_the_group_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), AT_ONCE);
    let mut client = broker.connect();
    client.create_topic("t", 3, &[]);
    find(&mut client, &["g"]);
    let request = commit_request("g", "t", &[(0, 5, "five"), (9, 1, ""), (2, 7, "")]);
    let answer: OffsetCommitResponse = client.call(8, &request);
    let missing = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes(&answer), [0, missing, 0]);
    let answer: OffsetCommitResponse = client.call(1, &commit_request("g", "t", &[(2, 8, "v1")]));
    assert_eq!(codes(&answer), [0]);
    let members = two_members(&broker, "m");
    broker.kill();

    let broker = Broker::start_with(dir.path(), AT_ONCE);
    let mut client = loaded(&broker);
    let expected = [
        ("t".to_owned(), 0, 5, "five".to_owned()),
        ("t".to_owned(), 2, 8, "v1".to_owned()),
    ];
    assert_eq!(committed(&mut client, "g"), expected);
    let group = described(&mut client, "m");
    assert_eq!((&*group.group_state, group.members.len()), ("Stable", 2));
    for (_, member) in &members {
        let generation = member.generation_id;
        assert_eq!(
            heartbeat(&mut client, "m", generation, &member.member_id),
            0
        );
    }
    let listed: ListGroupsResponse = client.call(5, &ListGroupsRequest::default());
    let mut names: Vec<_> = listed.groups.iter().map(|group| &*group.group_id).collect();
    names.sort_unstable();
    assert_eq!(names, ["g", "m"]);

    let request = DeleteGroupsRequest {
        groups_names: ["m", "g", "none"].map(StrBytes::from).into(),
    };
    let deleted: DeleteGroupsResponse = client.call(2, &request);
    let codes = deleted.results.iter().map(|result| result.error_code);
    let [live, none] = [ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound];
    assert_eq!(codes.collect::<Vec<_>>(), [live.code(), 0, none.code()]);
    assert_eq!(committed(&mut client, "g"), []);
}

/// Commits of one connection are carried out in their order, however long one of them is.
#[test]
fn pipelined_commits_stay_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), AT_ONCE);
    let mut client = broker.connect();
    client.create_topic("t", 1_000, &[]);
    find(&mut client, &["g"]);
    let long: Vec<_> = (0..1_000).map(|partition| (partition, 1, "")).collect();
    let requests = [
        commit_request("g", "t", &[(0, 0, "")]),
        commit_request("g", "t", &long),
        commit_request("g", "t", &[(0, 2, "")]),
        commit_request("g", "t", &[(0, 3, "")]),
    ];
    let sent: Vec<_> = requests
        .iter()
        .map(|request| client.send(8, request))
        .collect();
    for sent in sent {
        let answer: OffsetCommitResponse = client.receive(8, sent);
        assert!(codes(&answer).iter().all(|code| *code == 0));
    }
    let all = committed(&mut client, "g");
    assert_eq!((all.len(), all[0].2, all[999].2), (1_000, 3, 1));
}

#[test]
fn offsets_of_a_deleted_topic_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), AT_ONCE);
    let mut client = broker.connect();
    for topic in ["kept", "gone"] {
        client.create_topic(topic, 1, &[]);
    }
    find(&mut client, &["g"]);
    for topic in ["kept", "gone"] {
        let answer: OffsetCommitResponse =
            client.call(8, &commit_request("g", topic, &[(0, 4, "")]));
        assert_eq!(codes(&answer), [0]);
    }
    client.delete_topic("gone");
    client.create_topic("gone", 1, &[]);
    let expected = [("kept".to_owned(), 0, 4, String::new())];
    assert_eq!(committed(&mut client, "g"), expected);
}

/// A stop does not wait for a rebalance.
#[test]
fn whoever_waits_for_a_rebalance_is_told_of_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    find(&mut client, &["g"]);
    // The first rebalance waits 3 s for more members.
    let asked: JoinGroupResponse = client.call(7, &join_request("g", "", 10_000));
    let waiting = client.send(7, &join_request("g", &asked.member_id, 10_000));
    let mut other = broker.connect();
    support::eventually("the member waits", || {
        &*described(&mut other, "g").group_state == "PreparingRebalance"
    });
    broker.terminate();
    let answer: JoinGroupResponse = client.receive(7, waiting);
    assert_eq!(answer.error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(broker.wait(), Some(0));
}

/// One broker coordinates all, so only a client that asks too early can hear this.
#[test]
fn gotcha_48_without_a_coordinator_members_are_sent_to_look_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let elsewhere = ErrorCode::NotCoordinator.code();
    let joined: JoinGroupResponse = client.call(7, &join_request("g", "", 10_000));
    assert_eq!(joined.error_code, elsewhere);
    let answer: OffsetCommitResponse = client.call(8, &commit_request("g", "t", &[(0, 1, "")]));
    assert_eq!(codes(&answer), [elsewhere]);
    let request = OffsetFetchRequest {
        group_id: StrBytes::from("g"),
        topics: Some(vec![Default::default()]),
        ..OffsetFetchRequest::default()
    };
    let answer: OffsetFetchResponse = client.call(7, &request);
    assert_eq!(answer.error_code, elsewhere);
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: StrBytes::from("g"),
            topics: Some(vec![OffsetFetchRequestTopics::default()]),
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let answer: OffsetFetchResponse = client.call(9, &request);
    assert_eq!(answer.groups[0].error_code, elsewhere);
    assert_eq!(heartbeat(&mut client, "g", 1, "m"), elsewhere);
}

/// Consumers commit what they have read when they hear of a rebalance, before they join again.
#[test]
fn gotcha_43_fact_23_a_commit_of_the_current_generation_counts_during_a_rebalance() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), AT_ONCE);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    find(&mut client, &["g"]);
    let [(mut first, one), _second] = two_members(&broker, "g");
    let mut third = broker.connect();
    let asked: JoinGroupResponse = third.call(7, &join_request("g", "", 10_000));
    third.send(7, &join_request("g", &asked.member_id, 10_000));
    let rebalances = ErrorCode::RebalanceInProgress.code();
    support::eventually("the leader hears of the rebalance", || {
        heartbeat(&mut first, "g", one.generation_id, &one.member_id) == rebalances
    });
    let mut request = commit_request("g", "t", &[(0, 3, "")]);
    request.member_id = one.member_id.clone();
    for (generation, expected) in [
        (one.generation_id, 0),
        (one.generation_id - 1, ErrorCode::IllegalGeneration.code()),
    ] {
        request.generation_id_or_member_epoch = generation;
        let answer: OffsetCommitResponse = first.call(8, &request);
        assert_eq!(codes(&answer), [expected]);
    }
    assert_eq!(committed(&mut client, "g")[0].2, 3);
}

/// What a consumer subscribes to, as it tells its group (ConsumerProtocolSubscription 0).
fn subscription(topic: &str) -> Bytes {
    let name = topic.as_bytes();
    let len = u8::try_from(name.len()).unwrap();
    Bytes::from([&[0, 0, 0, 0, 0, 1, 0, len], name, &[255, 255, 255, 255]].concat())
}

#[test]
fn gotcha_47_fact_16_groups_are_described_listed_and_spared_as_in_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), AT_ONCE);
    let mut client = broker.connect();
    for topic in ["read", "other"] {
        client.create_topic(topic, 1, &[]);
    }
    find(&mut client, &["g"]);
    for topic in ["read", "other"] {
        let answer: OffsetCommitResponse =
            client.call(8, &commit_request("g", topic, &[(0, 4, "")]));
        assert_eq!(codes(&answer), [0]);
    }
    let mut member = broker.connect();
    let mut request = join_request("g", "", 10_000);
    request.protocols[0].metadata = subscription("read");
    let asked: JoinGroupResponse = member.call(7, &request);
    request.member_id = asked.member_id;
    let joined: JoinGroupResponse = member.call(7, &request);
    sync(&mut member, "g", &joined, &[]);

    let topic = |name: &str| OffsetDeleteRequestTopic {
        name: StrBytes::from(name),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    };
    let request = OffsetDeleteRequest {
        group_id: StrBytes::from("g"),
        topics: ["read", "other", "none"].map(topic).into(),
    };
    let answer: OffsetDeleteResponse = client.call(0, &request);
    assert_eq!(answer.error_code, 0);
    let code = |name: &str| {
        let topic = answer.topics.iter().find(|topic| topic.name == name);
        topic.unwrap().partitions[0].error_code
    };
    let subscribed = ErrorCode::GroupSubscribedToTopic.code();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(
        ["read", "other", "none"].map(code),
        [subscribed, 0, unknown]
    );
    let left = [("read".to_owned(), 0, 4, String::new())];
    assert_eq!(committed(&mut client, "g"), left);

    // Before version 6 an unknown group is a dead one.
    let request = DescribeGroupsRequest {
        groups: vec![StrBytes::from("none"), StrBytes::from("g")],
        ..DescribeGroupsRequest::default()
    };
    for (version, expected) in [(5, 0), (6, ErrorCode::GroupIdNotFound.code())] {
        let answer: DescribeGroupsResponse = client.call(version, &request);
        let told = |at: usize| {
            (
                answer.groups[at].error_code,
                &*answer.groups[at].group_state,
            )
        };
        assert_eq!((told(0), told(1)), ((expected, "Dead"), (0, "Stable")));
        let due = (expected != 0).then_some("Group none not found.");
        assert_eq!(answer.groups[0].error_message.as_deref(), due);
    }
    let mut request = ListGroupsRequest {
        types_filter: vec![StrBytes::from("Classic")],
        ..ListGroupsRequest::default()
    };
    let listed: ListGroupsResponse = client.call(5, &request);
    let group = &listed.groups[0];
    let told = [&group.protocol_type, &group.group_state, &group.group_type];
    assert_eq!(told, [&"consumer", &"Stable", &"classic"]);
    request.types_filter = vec![StrBytes::from("consumer")];
    let listed: ListGroupsResponse = client.call(5, &request);
    assert_eq!(listed.groups, []);
}
