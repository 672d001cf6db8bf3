//! What outsiders can make the coordinator hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::support::{self, Runner, commit_alone, first_offset};
use tidewheel_config::{GroupConfig, limits};
use tidewheel_consumer_groups::request::*;
use tidewheel_consumer_groups::{GroupError, GroupLimits, GroupReply, GroupRequest, TopicInfo};
use tidewheel_protocol::Uuid;
use tidewheel_protocol::wire::STRING_BYTES_MAX;

pub(crate) fn join(group_id: String, member_id: &Arc<str>, uuid: u128) -> GroupRequest {
    GroupRequest::Join(JoinRequest {
        group_id: group_id.into(),
        member_id: Arc::clone(member_id),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 1_800_000,
        rebalance_timeout_ms: 300_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinProtocol {
            name: "range".into(),
            metadata: support::subscription(&["t"]).into(),
        }],
        member_id_required: true,
        supports_skip_assignment: true,
        new_member_uuid: uuid,
    })
}

pub(crate) fn runner() -> Runner {
    Runner::new(GroupConfig::default(), GroupLimits::default())
}

pub(crate) fn consume(group_id: &str, member_id: &str, regex: &str) -> GroupRequest {
    GroupRequest::ConsumerHeartbeat(ConsumerHeartbeatRequest {
        group_id: group_id.into(),
        member_id: member_id.into(),
        chooses_member_id: true,
        epoch: 0,
        instance_id: None,
        rack_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 300_000,
        topics: None,
        regex: Some(regex.into()),
        assignor: None,
        owned: Some(BTreeSet::new()),
        new_member_uuid: 0,
    })
}

pub(crate) fn consume_result(step: &support::Step) -> Result<i32, GroupError> {
    match &step.replies[..] {
        [(_, GroupReply::ConsumerHeartbeat(result))] => result.clone().map(|reply| reply.epoch),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn join_result(step: &support::Step) -> (Arc<str>, Option<GroupError>) {
    match &step.replies[..] {
        [(_, GroupReply::Join(reply))] => {
            (Arc::clone(&reply.member_id), reply.result.clone().err())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_that_nobody_comes_back_for_are_bounded_and_forgotten() {
    let mut runner = runner();
    let nobody: Arc<str> = "".into();
    for number in 0..100_000 {
        let (_, step) = runner.send(join(format!("invented-{number}"), &nobody, number));
        let refused = join_result(&step).1;
        assert_eq!(refused, Some(GroupError::MemberIdRequired));
    }
    let listed = runner.coordinator.listed().groups;
    assert!(
        (8_000..limits::GROUP_PENDING_MEMBERS_MAX).contains(&listed),
        "{listed}"
    );
    let bytes = runner.coordinator.state_bytes();
    assert!(bytes <= GroupLimits::default().pending_bytes, "{bytes}");
    let retention_check_ms = runner.config.offsets_retention_check_interval_ms;
    while runner.next_tick(300_000).is_some() {}
    assert_eq!(runner.coordinator.state_bytes(), 0);
    assert_eq!(runner.coordinator.next_deadline(), Some(retention_check_ms));
    assert!(
        runner.log.is_empty(),
        "a group that nobody joined is not worth a record"
    );
}

/// Member ids that nobody comes back with may be as many as there is room for: the next one is for somebody who
/// does, and takes the place of the oldest.
#[test]
fn who_comes_back_is_let_in_whatever_others_invent() {
    let limits = GroupLimits {
        pending_members: 10,
        ..GroupLimits::default()
    };
    let mut runner = Runner::new(GroupConfig::default(), limits);
    let (nobody, mut uuid): (Arc<str>, u128) = ("".into(), 0);
    let mut ask = |runner: &mut Runner, group: &str, member_id: &Arc<str>| {
        uuid += 1;
        runner.send(join(group.to_owned(), member_id, uuid)).1
    };
    let (oldest, _) = join_result(&ask(&mut runner, "shared", &nobody));
    for _ in 0..20 {
        let (meant, refused) = join_result(&ask(&mut runner, "meant", &nobody));
        assert_eq!(refused, Some(GroupError::MemberIdRequired));
        for number in 0..9 {
            // Some in one group, some in groups of their own.
            let group = format!("invented-{}", number % 5);
            let (_, refused) = join_result(&ask(&mut runner, &group, &nobody));
            assert_eq!(refused, Some(GroupError::MemberIdRequired));
        }
        let step = ask(&mut runner, "meant", &meant);
        assert!(step.replies.is_empty(), "it is a member: {step:?}");
    }
    let step = ask(&mut runner, "shared", &oldest);
    assert_eq!(join_result(&step).1, Some(GroupError::UnknownMemberId));
}

#[test]
fn a_deleted_group_takes_the_waiting_for_its_members_with_it() {
    let mut runner = runner();
    let (_, step) = runner.send(join("g".to_owned(), &"".into(), 1));
    let (member_id, _) = join_result(&step);
    let request = DeleteGroupRequest {
        group_id: "g".into(),
    };
    let (_, step) = runner.send(GroupRequest::DeleteGroup(request));
    assert!(matches!(
        step.replies[..],
        [(_, GroupReply::DeleteGroup(Ok(())))]
    ));
    let retention_check_ms = runner.config.offsets_retention_check_interval_ms;
    assert_eq!(runner.coordinator.next_deadline(), Some(retention_check_ms));
    let (_, step) = runner.send(join("g".to_owned(), &member_id, 2));
    assert_eq!(join_result(&step).1, Some(GroupError::UnknownMemberId));
}

#[test]
fn ten_thousand_groups_of_ten_partitions_are_little() {
    let mut runner = runner();
    for group in 0..10_000 {
        let partitions = (0..10).map(|partition| CommitPartition {
            leader_epoch: Some(0),
            ..first_offset(partition)
        });
        let group_id = format!("group-{group}");
        let request = commit_alone(&group_id, [("topic", partitions.collect())]);
        let (_, step) = runner.send(request);
        assert_eq!(step.records.len(), 10);
    }
    let bytes = runner.coordinator.state_bytes();
    assert!(bytes < GroupLimits::default().state_bytes, "{bytes}");
}

/// Clients may call themselves anything: ids of 32 KiB are as many as there is room for, and others find room.
#[test]
fn long_names_that_nobody_comes_back_for_are_bounded_by_their_bytes() {
    let all = GroupLimits::default().divided(50);
    let pending_bytes = all.pending_bytes;
    let mut runner = Runner::new(GroupConfig::default(), all);
    let nobody: Arc<str> = "".into();
    let long = |group: String, uuid| {
        let GroupRequest::Join(mut request) = join(group, &"".into(), uuid) else {
            unreachable!("it was made as one");
        };
        request.client_id = "c".repeat(32_000).into();
        GroupRequest::Join(request)
    };
    let (_, step) = runner.send(join("meant".to_owned(), &nobody, 1_000));
    let (oldest, _) = join_result(&step);
    for uuid in 0..200 {
        // In a group of their own, and in one that is there anyway.
        let group = format!("invented-{}", uuid % 2 * uuid);
        let (_, step) = runner.send(long(group, uuid));
        assert_eq!(join_result(&step).1, Some(GroupError::MemberIdRequired));
        let bytes = runner.coordinator.state_bytes();
        assert!(bytes <= pending_bytes, "{bytes}");
    }
    let (_, step) = runner.send(join("meant".to_owned(), &oldest, 1_001));
    assert_eq!(join_result(&step).1, Some(GroupError::UnknownMemberId));
    let (_, step) = runner.send(join("meant".to_owned(), &nobody, 1_002));
    let (member_id, _) = join_result(&step);
    let (_, step) = runner.send(join("meant".to_owned(), &member_id, 1_003));
    assert!(step.replies.is_empty(), "it is a member: {step:?}");
    while runner.next_tick(400_000).is_some() {}
    assert_eq!(runner.coordinator.group_bytes("invented-1"), 0);
}

/// One that is longer than all may be together is given all the same: nobody is kept out for good.
#[test]
fn a_name_for_which_there_is_never_room_is_given_alone() {
    let limits = GroupLimits {
        pending_bytes: 100,
        ..GroupLimits::default()
    };
    let mut runner = Runner::new(GroupConfig::default(), limits);
    let nobody: Arc<str> = "".into();
    for number in 0..10 {
        let (_, step) = runner.send(join(format!("g{number}"), &nobody, number));
        let (member_id, refused) = join_result(&step);
        assert_eq!(refused, Some(GroupError::MemberIdRequired));
        assert_eq!(runner.coordinator.listed().groups, 1);
        if number == 9 {
            let (_, step) = runner.send(join("g9".to_owned(), &member_id, 100));
            assert!(step.replies.is_empty(), "it is a member: {step:?}");
        }
    }
}

/// Of a text that is longer than the protocol's, clients would hear less than the id, and never get in.
#[test]
fn whatever_a_client_calls_itself_it_is_told_all_of_its_member_id() {
    let nobody: Arc<str> = "".into();
    for (name, instance_id) in [
        ("a".repeat(STRING_BYTES_MAX), None),
        ("ü".repeat(STRING_BYTES_MAX / 2), None),
        (
            "c".to_owned(),
            Some(Arc::from("i".repeat(STRING_BYTES_MAX))),
        ),
    ] {
        let mut runner = runner();
        let mut ask = |member_id: &Arc<str>, uuid| {
            let GroupRequest::Join(mut request) = join("g".to_owned(), member_id, uuid) else {
                unreachable!("it was made as one");
            };
            request.client_id = name.as_str().into();
            request.instance_id = instance_id.clone();
            runner.send(GroupRequest::Join(request)).1
        };
        let mut step = ask(&nobody, 0xABC);
        if instance_id.is_none() {
            let (member_id, refused) = join_result(&step);
            assert_eq!(refused, Some(GroupError::MemberIdRequired));
            assert!(member_id.len() > STRING_BYTES_MAX - 2 && member_id.len() <= STRING_BYTES_MAX);
            step = ask(&member_id, 0xDEF);
        }
        assert!(step.replies.is_empty(), "it waits for others");
        while step.replies.is_empty() {
            step = runner.next_tick(10_000).unwrap();
        }
        let (member_id, refused) = join_result(&step);
        assert_eq!(refused, None);
        assert!(member_id.len() <= STRING_BYTES_MAX);
        assert!(member_id.ends_with("-00000000-0000-0000-0000-000000000abc"));
    }
}

#[test]
fn groups_of_the_newer_protocol_that_are_invented_are_bounded_and_forgotten() {
    let limits = GroupLimits {
        groups: 1_000,
        new_groups: 2_000,
        ..GroupLimits::default()
    };
    let mut runner = Runner::new(GroupConfig::default(), limits);
    for number in 0..1_500 {
        let (_, step) = runner.send(consume(&format!("invented-{number}"), "m", "t"));
        let expected = match number < 1_000 {
            true => Ok(2),
            false => Err(GroupError::CoordinatorNotAvailable),
        };
        assert_eq!(consume_result(&step), expected);
    }
    // Sessions end, and then the look for what has expired takes the empty groups.
    while runner.next_tick(600_000).is_some() {}
    assert_eq!(runner.coordinator.state_bytes(), 0);
    assert_eq!(runner.recovered().state_bytes(), 0);
}

/// Each expression stands for all topics: what they take is counted, however short they are.
#[test]
fn what_expressions_stand_for_is_bounded() {
    let limits = GroupLimits {
        member_state_bytes: 1 << 20,
        ..GroupLimits::default()
    };
    let state_bytes = limits.member_state_bytes;
    let mut runner = Runner::new(GroupConfig::default(), limits);
    let topics = (0..200_u32).map(|number| {
        let name: Arc<str> = format!("topic-{number}").into();
        let id = Uuid(u128::from(number + 1).to_be_bytes());
        (name, TopicInfo { id, partitions: 1 })
    });
    runner.set_topics(topics);
    let mut refused = 0;
    for number in 0..80 {
        let regex = format!(".*(x{{{number}}})?");
        let (_, step) = runner.send(consume("g", &format!("m{number}"), &regex));
        match consume_result(&step) {
            Ok(_) => assert_eq!(refused, 0),
            Err(error) => {
                assert_eq!(error, GroupError::CoordinatorNotAvailable);
                refused += 1;
            }
        }
        // What the others are to give up they still have.
        let given_up = 200 * 96;
        assert!(runner.coordinator.state_bytes() <= state_bytes + given_up);
    }
    assert!(refused > 0);
}

/// Where a topic has grown to more than there is memory for, a member's heartbeats are refused; but it is alive,
/// and goes on when there is room again.
#[test]
fn members_that_are_let_in_stay_when_memory_is_full() {
    let limits = GroupLimits {
        member_state_bytes: 1 << 16,
        ..GroupLimits::default()
    };
    let mut runner = Runner::new(GroupConfig::default(), limits);
    let topic = |partitions| {
        let id = Uuid([1; 16]);
        [(Arc::from("t"), TopicInfo { id, partitions })]
    };
    runner.set_topics(topic(1));
    let (_, step) = runner.send(consume("g", "m", "t"));
    let epoch = consume_result(&step).unwrap();
    let beats = |runner: &mut Runner| {
        let GroupRequest::ConsumerHeartbeat(mut request) = consume("g", "m", "t") else {
            unreachable!("it was made as one");
        };
        (request.epoch, request.regex, request.owned) = (epoch, None, None);
        request.rebalance_timeout_ms = -1;
        consume_result(&runner.send(GroupRequest::ConsumerHeartbeat(request)).1)
    };
    runner.set_topics(topic(2_000));
    // Ten of these are more than two sessions.
    for _ in 0..10 {
        let until_ms = runner.now_ms + 10_000;
        while runner.next_tick(until_ms).is_some() {}
        assert_eq!(beats(&mut runner), Err(GroupError::CoordinatorNotAvailable));
    }
    runner.set_topics(topic(2));
    assert!(beats(&mut runner).is_ok());
}
