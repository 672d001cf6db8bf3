//! Groups of the newer protocol (KIP-848) on the wire: members and their partitions, who is refused, what is
//! told of a group, and members of both protocols in one group.

use crate::support::consumers::{
    alive, assigned, described, heartbeat, join, joining, owning, reads,
};
use crate::support::groups::{codes, commit_request, committed, loaded};
use crate::support::{Broker, Client, eventually};
use tidewheel_protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use tidewheel_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use tidewheel_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use tidewheel_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse,
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
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse,
};
use tidewheel_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};

/// Members that fall silent are soon missed.
const IMPATIENT: &[&str] = &[
    "group.consumer.min.session.timeout.ms=500",
    "group.consumer.session.timeout.ms=500",
    "group.consumer.min.heartbeat.interval.ms=100",
    "group.consumer.heartbeat.interval.ms=100",
];

/// A broker with a topic of that many partitions and a coordinator; the topic's id.
fn with_topic(dir: &std::path::Path, settings: &[&str], partitions: i32) -> (Broker, Client, Uuid) {
    let broker = Broker::start_with(dir, settings);
    let mut client = broker.connect();
    let id = made(&mut client, "t", partitions);
    let found: FindCoordinatorResponse = client.call(2, &FindCoordinatorRequest::default());
    assert_eq!(found.error_code, 0);
    (broker, client, id)
}

/// Creates a topic; its id.
fn made(client: &mut Client, topic: &str, partitions: i32) -> Uuid {
    client.create_topic(topic, partitions, &[]);
    client.topic_id(topic)
}

fn refused(told: &ConsumerGroupHeartbeatResponse) -> ErrorCode {
    ErrorCode::from_code(told.error_code).unwrap()
}

fn partitions(topic_id: Uuid, partitions: &[i32]) -> Vec<TopicPartitions> {
    vec![TopicPartitions {
        topic_id,
        partitions: partitions.to_vec(),
    }]
}

/// The second member is told of its partitions when the first has given them up, and a topic that grows or
/// goes is noticed with the next heartbeats.
#[test]
fn fact_20_members_are_led_to_their_partitions_by_their_heartbeats() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client, id) = with_topic(dir.path(), &[], 2);
    let one = join(&mut client, "g", "one", &["t", "later"]);
    assert_eq!(one.heartbeat_interval_ms, 5_000);
    assert_eq!(assigned(&one), Some(vec![(id, vec![0, 1])]));
    let two = join(&mut client, "g", "two", &["t", "later"]);
    assert_eq!(assigned(&two), Some(vec![]));

    let one = heartbeat(&mut client, &alive("g", "one", one.member_epoch));
    let kept = assigned(&one).unwrap();
    assert_eq!((kept[0].1.len(), kept.len()), (1, 1), "it gives one up");
    let two = heartbeat(&mut client, &alive("g", "two", two.member_epoch));
    assert_eq!(assigned(&two), None, "nothing has changed for it yet");
    let has = partitions(id, &kept[0].1);
    let one = heartbeat(&mut client, &owning("g", &one, has));
    assert_eq!((one.error_code, one.member_epoch), (0, two.member_epoch));
    let two = heartbeat(&mut client, &alive("g", "two", two.member_epoch));
    assert_eq!(assigned(&two), Some(vec![(id, vec![1 - kept[0].1[0]])]));

    let later = made(&mut client, "later", 1);
    let two = heartbeat(&mut client, &alive("g", "two", two.member_epoch));
    assert_eq!(two.member_epoch, one.member_epoch + 1);
    let one = heartbeat(&mut client, &alive("g", "one", one.member_epoch));
    let has_later = |told| assigned(told).is_some_and(|topics| topics.iter().any(|t| t.0 == later));
    assert!(has_later(&one) != has_later(&two), "{one:?} {two:?}");
    client.delete_topic("later");
    let gone = heartbeat(&mut client, &alive("g", "two", two.member_epoch));
    assert_eq!(
        (gone.error_code, gone.member_epoch),
        (0, two.member_epoch + 1)
    );

    let left = heartbeat(&mut client, &alive("g", "two", -1));
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
    // Whether it had the topic that is gone or not, it says that it has it no more.
    let has = partitions(id, &kept[0].1);
    let alone = heartbeat(&mut client, &owning("g", &one, has));
    assert_eq!(assigned(&alone), Some(vec![(id, vec![0, 1])]));
}

/// Each refusal has the code that clients act on.
#[test]
fn who_is_not_what_the_coordinator_knows_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client, id) = with_topic(dir.path(), &[], 2);
    let mut ask = |request| refused(&heartbeat(&mut client, &request));
    // Who reads has to join again, whatever became of its group; who leaves need not know more.
    assert_eq!(ask(alive("g", "m", 1)), ErrorCode::UnknownMemberId);
    assert_eq!(ask(alive("g", "m", -1)), ErrorCode::GroupIdNotFound);
    assert_eq!(ask(joining("g", "m", &["t"])), ErrorCode::None);
    assert_eq!(ask(alive("g", "m", 7)), ErrorCode::FencedMemberEpoch);
    assert_eq!(ask(alive("g", "n", 1)), ErrorCode::UnknownMemberId);
    assert_eq!(ask(alive("g", "n", -1)), ErrorCode::UnknownMemberId);
    assert_eq!(ask(joining("", "m", &["t"])), ErrorCode::InvalidRequest);
    assert_eq!(ask(joining("g", "", &["t"])), ErrorCode::InvalidRequest);
    assert_eq!(ask(joining("\t", "m", &["t"])), ErrorCode::InvalidRequest);
    assert_eq!(ask(joining("g", " ", &["t"])), ErrorCode::InvalidRequest);
    let long = "g".repeat(1_025);
    assert_eq!(ask(joining(&long, "m", &["t"])), ErrorCode::InvalidGroupId);
    let has_already = ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(partitions(id, &[0])),
        ..joining("g", "n", &["t"])
    };
    assert_eq!(ask(has_already), ErrorCode::InvalidRequest);
    let unknown = ConsumerGroupHeartbeatRequest {
        server_assignor: Some(StrBytes::from("own")),
        ..joining("g", "n", &["t"])
    };
    assert_eq!(ask(unknown), ErrorCode::UnsupportedAssignor);

    // Version 0: the coordinator names the member.
    let told: ConsumerGroupHeartbeatResponse = client.call(0, &joining("h", "", &["t"]));
    assert_eq!(told.error_code, 0);
    assert_eq!(told.member_id.unwrap().len(), 22);
}

/// The reply to a heartbeat is what the log says, also after a kill; who was silent for too long is gone.
#[test]
fn members_survive_a_kill_and_those_who_fall_silent_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client, id) = with_topic(dir.path(), IMPATIENT, 2);
    let one = join(&mut client, "g", "one", &["t"]);
    assert_eq!(one.heartbeat_interval_ms, 100);
    broker.kill();

    let broker = Broker::start_with(dir.path(), IMPATIENT);
    let mut client = loaded(&broker);
    let has = partitions(id, &[0, 1]);
    let again = heartbeat(&mut client, &owning("g", &one, has));
    assert_eq!(
        (again.error_code, again.member_epoch),
        (0, one.member_epoch)
    );
    let group = described(&mut client, "g");
    assert_eq!((&*group.group_state, group.members.len()), ("Stable", 1));
    eventually("the silent member is gone", || {
        &*described(&mut client, "g").group_state == "Empty"
    });
    let late = heartbeat(&mut client, &alive("g", "one", one.member_epoch));
    assert_eq!(refused(&late), ErrorCode::UnknownMemberId);
}

#[test]
fn fact_20_expressions_stand_for_topics_that_come_and_grow() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client, id) = with_topic(dir.path(), &[], 1);
    let wanting = |regex: &str| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(StrBytes::from(regex)),
        ..joining("g", "m", &[])
    };
    let invalid = heartbeat(&mut client, &wanting("(t"));
    assert_eq!(refused(&invalid), ErrorCode::InvalidRegularExpression);
    let one = heartbeat(&mut client, &wanting("t.*"));
    assert_eq!(assigned(&one), Some(vec![(id, vec![0])]));
    let two = made(&mut client, "t2", 1);
    client.create_topic("u", 1, &[]);
    let told = heartbeat(&mut client, &alive("g", "m", one.member_epoch));
    let mut topics: Vec<Uuid> = assigned(&told).unwrap().into_iter().map(|t| t.0).collect();
    topics.sort_unstable();
    let mut expected = [id, two];
    expected.sort_unstable();
    assert_eq!(topics, expected);
    let group = described(&mut client, "g");
    let member = &group.members[0];
    assert_eq!(member.subscribed_topic_regex.as_deref(), Some("t.*"));
    let mut told_of = reads(member)[0].clone();
    told_of.sort_unstable();
    assert_eq!(told_of, [("t", &[0][..]), ("t2", &[0])]);

    let growing = CreatePartitionsTopic {
        name: StrBytes::from("t2"),
        count: 3,
        assignments: None,
    };
    let request = CreatePartitionsRequest {
        topics: vec![growing],
        timeout_ms: 30_000,
        ..CreatePartitionsRequest::default()
    };
    let answer: CreatePartitionsResponse = client.call(3, &request);
    assert_eq!(answer.results[0].error_code, 0);
    let told = heartbeat(&mut client, &alive("g", "m", told.member_epoch));
    let grown = (two, vec![0, 1, 2]);
    assert!(assigned(&told).unwrap().contains(&grown), "{told:?}");
}

#[test]
fn static_members_come_back_under_their_instance_id() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client, id) = with_topic(dir.path(), &[], 1);
    let fixed = |request: ConsumerGroupHeartbeatRequest| ConsumerGroupHeartbeatRequest {
        instance_id: Some(StrBytes::from("i")),
        ..request
    };
    let one = heartbeat(&mut client, &fixed(joining("g", "one", &["t"])));
    assert_eq!(assigned(&one), Some(vec![(id, vec![0])]));
    let other = heartbeat(&mut client, &fixed(joining("g", "two", &["t"])));
    assert_eq!(refused(&other), ErrorCode::UnreleasedInstanceId);
    let left = heartbeat(&mut client, &fixed(alive("g", "one", -2)));
    assert_eq!((left.error_code, left.member_epoch), (0, -2));
    let two = heartbeat(&mut client, &fixed(joining("g", "two", &["t"])));
    assert_eq!(assigned(&two), Some(vec![(id, vec![0])]));
    assert_eq!(
        two.member_epoch, one.member_epoch,
        "nobody else has noticed"
    );
    let late = heartbeat(&mut client, &fixed(alive("g", "one", one.member_epoch)));
    assert_eq!(refused(&late), ErrorCode::FencedInstanceId);
}

/// All groups in these states and of these types, in order.
fn listed(client: &mut Client, states: &[&str], types: &[&str]) -> Vec<String> {
    let names = |names: &[&str]| names.iter().map(|name| StrBytes::from(*name)).collect();
    let request = ListGroupsRequest {
        states_filter: names(states),
        types_filter: names(types),
    };
    let answer: ListGroupsResponse = client.call(5, &request);
    let all = answer.groups.iter();
    let all = all.map(|g| {
        format!(
            "{} {} {} {}",
            g.group_id, g.protocol_type, g.group_state, g.group_type
        )
    });
    let mut all: Vec<String> = all.collect();
    all.sort_unstable();
    all
}

/// What Kafka tells of such a group: DescribeGroups, whose answers are those of the classic protocol, does not
/// know it.
#[test]
fn groups_are_described_and_listed_by_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client, _) = with_topic(dir.path(), &[], 2);
    join(&mut client, "g", "one", &["t"]);
    join(&mut client, "g", "two", &["t"]);
    let answer: OffsetCommitResponse =
        client.call(8, &commit_request("classic", "t", &[(0, 1, "")]));
    assert_eq!(codes(&answer), [0]);

    let group = described(&mut client, "g");
    assert_eq!((group.error_code, &*group.group_state), (0, "Reconciling"));
    assert_eq!((group.group_epoch, group.assignment_epoch), (3, 3));
    assert_eq!(&*group.assignor_name, "uniform");
    let [one, two] = &group.members[..] else {
        panic!("{group:?}")
    };
    assert_eq!((&*one.member_id, one.member_epoch), ("one", 2));
    assert_eq!((&*two.member_id, two.member_epoch), ("two", 3));
    assert_eq!((one.member_type, &*one.client_host), (1, "/127.0.0.1"));
    assert_eq!(one.subscribed_topic_names, [StrBytes::from("t")]);
    assert_eq!(reads(one)[0], [("t", &[0, 1][..])]);
    assert_eq!(reads(two)[0], []);
    assert_eq!([reads(one)[1][0].1.len(), reads(two)[1][0].1.len()], [1, 1]);

    let not_found = ErrorCode::GroupIdNotFound.code();
    for name in ["classic", "none"] {
        assert_eq!(described(&mut client, name).error_code, not_found);
    }
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![StrBytes::from("g"); 1_000],
        ..ConsumerGroupDescribeRequest::default()
    };
    let answer: ConsumerGroupDescribeResponse = client.call(0, &request);
    assert_eq!(answer.groups.len(), 1, "once, however often it is named");

    let request = DescribeGroupsRequest {
        groups: vec![StrBytes::from("g")],
        ..DescribeGroupsRequest::default()
    };
    let answer: DescribeGroupsResponse = client.call(5, &request);
    assert_eq!(
        (answer.groups[0].error_code, &*answer.groups[0].group_state),
        (0, "Dead")
    );
    let answer: DescribeGroupsResponse = client.call(6, &request);
    assert_eq!(answer.groups[0].error_code, not_found);

    let (classic, newer) = ("classic  Empty classic", "g consumer Reconciling consumer");
    assert_eq!(listed(&mut client, &[], &[]), [classic, newer]);
    assert_eq!(listed(&mut client, &[], &["Consumer"]), [newer]);
    assert_eq!(listed(&mut client, &["empty"], &[]), [classic]);
    assert_eq!(
        listed(&mut client, &["Reconciling"], &["classic"]),
        Vec::<String>::new()
    );

    // What a member is to give up it may still read; an administrator may take any member out.
    heartbeat(&mut client, &alive("g", "one", 2));
    assert_eq!(
        reads(&described(&mut client, "g").members[0])[0],
        [("t", &[0, 1][..])]
    );
    let request = LeaveGroupRequest {
        group_id: StrBytes::from("g"),
        members: vec![MemberIdentity {
            member_id: StrBytes::from("one"),
            ..MemberIdentity::default()
        }],
        ..LeaveGroupRequest::default()
    };
    let answer: LeaveGroupResponse = client.call(5, &request);
    assert_eq!((answer.error_code, answer.members[0].error_code), (0, 0));
    assert_eq!(described(&mut client, "g").members.len(), 1);
}

/// Offsets are committed and asked for with the member's epoch, from version 9 on.
#[test]
fn gotcha_46_offsets_go_with_the_epoch_of_the_member() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut client, _) = with_topic(dir.path(), &[], 1);
    let one = join(&mut client, "g", "m", &["t"]);
    let mut commit = |version: i16, member_id: &str, epoch: i32| {
        let mut request = commit_request("g", "t", &[(0, 5, "")]);
        request.member_id = StrBytes::from(member_id);
        request.generation_id_or_member_epoch = epoch;
        let answer: OffsetCommitResponse = client.call(version, &request);
        ErrorCode::from_code(codes(&answer)[0]).unwrap()
    };
    assert_eq!(commit(9, "m", one.member_epoch), ErrorCode::None);
    assert_eq!(
        commit(9, "m", one.member_epoch + 1),
        ErrorCode::StaleMemberEpoch
    );
    assert_eq!(commit(9, "n", one.member_epoch), ErrorCode::UnknownMemberId);
    assert_eq!(commit(9, "", -1), ErrorCode::UnknownMemberId);
    assert_eq!(
        commit(8, "m", one.member_epoch),
        ErrorCode::UnsupportedVersion
    );

    let mut fetch = |member_id: Option<&str>, epoch: i32| {
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: StrBytes::from("g"),
                member_id: member_id.map(StrBytes::from),
                member_epoch: epoch,
                topics: None,
            }],
            ..OffsetFetchRequest::default()
        };
        let answer: OffsetFetchResponse = client.call(9, &request);
        let group = &answer.groups[0];
        match group.error_code {
            0 => Ok(group.topics[0].partitions[0].committed_offset),
            code => Err(ErrorCode::from_code(code).unwrap()),
        }
    };
    assert_eq!(fetch(Some("m"), one.member_epoch), Ok(5));
    assert_eq!(fetch(None, -1), Ok(5), "an administrator");
    let stale = fetch(Some("m"), one.member_epoch + 1);
    assert_eq!(stale, Err(ErrorCode::StaleMemberEpoch));
    let unknown = fetch(Some("n"), one.member_epoch);
    assert_eq!(unknown, Err(ErrorCode::UnknownMemberId));
}

/// A consumer of the classic protocol with the topic `t`, as clients of the `consumer` type say it.
fn classic(group: &str, member_id: &str) -> JoinGroupRequest {
    // Version 0: one topic, no user data.
    let subscription: &[u8] = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";
    JoinGroupRequest {
        group_id: StrBytes::from(group),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        member_id: StrBytes::from(member_id),
        protocol_type: StrBytes::from("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: StrBytes::from("range"),
            metadata: subscription.to_vec().into(),
        }],
        ..JoinGroupRequest::default()
    }
}

fn sync(client: &mut Client, joined: &JoinGroupResponse) -> SyncGroupResponse {
    let request = SyncGroupRequest {
        group_id: StrBytes::from("g"),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some(StrBytes::from("consumer")),
        protocol_name: Some(StrBytes::from("range")),
        ..SyncGroupRequest::default()
    };
    client.call(5, &request)
}

/// Who goes back to the classic protocol when nobody is left does not notice that there was another one.
#[test]
fn a_classic_member_takes_an_empty_group_over() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["group.initial.rebalance.delay.ms=0"];
    let (_broker, mut client, _) = with_topic(dir.path(), &settings, 2);
    join(&mut client, "g", "new", &["t"]);
    let answer: OffsetCommitResponse = client.call(9, &{
        let mut request = commit_request("g", "t", &[(0, 5, "")]);
        request.member_id = StrBytes::from("new");
        request.generation_id_or_member_epoch = 2;
        request
    });
    assert_eq!(codes(&answer), [0]);
    heartbeat(&mut client, &alive("g", "new", -1));
    let old: JoinGroupResponse = client.call(3, &classic("g", ""));
    assert_eq!((old.error_code, old.members.len()), (0, 1));
    assert_eq!(sync(&mut client, &old).error_code, 0);
    let kept = [("t".to_owned(), 0, 5, String::new())];
    assert_eq!(committed(&mut client, "g"), kept);
}

/// Clients are upgraded one by one: a group with a classic member becomes one of the newer protocol when the
/// first new one joins, and classic again when the last of those leaves.
#[test]
fn members_of_both_protocols_share_a_group() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["group.initial.rebalance.delay.ms=0"];
    let (_broker, mut client, id) = with_topic(dir.path(), &settings, 2);
    let old: JoinGroupResponse = client.call(3, &classic("g", ""));
    assert_eq!(old.error_code, 0);
    assert_eq!(sync(&mut client, &old).error_code, 0);
    let new = heartbeat(&mut client, &joining("g", "new", &["t"]));
    assert_eq!(new.error_code, 0, "{new:?}");
    let group = described(&mut client, "g");
    let types: Vec<i8> = group
        .members
        .iter()
        .map(|member| member.member_type)
        .collect();
    assert_eq!(
        (types.len(), types.contains(&0), types.contains(&1)),
        (2, true, true)
    );

    let mut beat = |generation_id: i32| {
        let request = HeartbeatRequest {
            group_id: StrBytes::from("g"),
            generation_id,
            member_id: old.member_id.clone(),
            ..HeartbeatRequest::default()
        };
        let answer: HeartbeatResponse = client.call(4, &request);
        ErrorCode::from_code(answer.error_code).unwrap()
    };
    assert_eq!(beat(old.generation_id), ErrorCode::RebalanceInProgress);
    let again: JoinGroupResponse = client.call(7, &classic("g", &old.member_id));
    assert_eq!(
        (again.error_code, again.members.len()),
        (0, 0),
        "nobody leads"
    );
    assert_eq!(sync(&mut client, &again).error_code, 0);
    let mut epoch = new.member_epoch;
    eventually("each has one partition", || {
        let told = heartbeat(&mut client, &alive("g", "new", epoch));
        epoch = told.member_epoch;
        let group = described(&mut client, "g");
        group
            .members
            .iter()
            .all(|m| reads(m)[0] == reads(m)[1] && reads(m)[0][0].1.len() == 1)
    });
    assert!(group.members.iter().all(|m| {
        m.assignment
            .topic_partitions
            .iter()
            .all(|t| t.topic_id == id)
    }));

    let left = heartbeat(&mut client, &alive("g", "new", -1));
    assert_eq!(left.error_code, 0);
    eventually("the group is a classic one", || {
        described(&mut client, "g").error_code == ErrorCode::GroupIdNotFound.code()
    });
    let back: JoinGroupResponse = client.call(7, &classic("g", &old.member_id));
    assert_eq!((back.error_code, back.members.len()), (0, 1));
    assert_eq!(back.leader, old.member_id);
}
