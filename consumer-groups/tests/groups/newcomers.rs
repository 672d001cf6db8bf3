//! Groups under invented names whose members really join, and what is left of them for others.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_config::GroupConfig;
use tidewheel_consumer_groups::request::*;
use tidewheel_consumer_groups::{
    GroupCoordinator, GroupError, GroupLimits, GroupReply, GroupRequest, HeldBytes,
};

use crate::bounds::{consume, consume_result, join, join_result};
use crate::support::{Runner, Step, commit_alone, first_offset};

/// Joins more than there is room for of any kind.
const INVENTED: u32 = 100_000;

/// Members are answered at once, as they are where the delay is over.
fn at_once(limits: GroupLimits) -> Runner {
    let config = GroupConfig {
        initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    };
    Runner::new(config, limits)
}

/// A member whose client asks for no id to come back with.
fn join_at_once(group: String, uuid: u128) -> JoinRequest {
    let GroupRequest::Join(request) = join(group, &"".into(), uuid) else {
        unreachable!("it was made as one");
    };
    JoinRequest {
        member_id_required: false,
        ..request
    }
}

/// A member joins: at once where it is given no id to come back with, else in two steps. Returns its id.
fn joins(
    runner: &mut Runner,
    group: &str,
    uuid: u32,
    in_steps: bool,
) -> Result<Arc<str>, GroupError> {
    let request = |member_id: &Arc<str>| {
        let GroupRequest::Join(request) = join(group.to_owned(), member_id, uuid.into()) else {
            unreachable!("it was made as one");
        };
        GroupRequest::Join(JoinRequest {
            member_id_required: in_steps,
            ..request
        })
    };
    let mut step = runner.send(request(&"".into())).1;
    if in_steps {
        let (member_id, refused) = join_result(&step);
        assert_eq!(refused, Some(GroupError::MemberIdRequired));
        step = runner.send(request(&member_id)).1;
    }
    while step.replies.is_empty() {
        step = runner.next_tick(runner.now_ms).unwrap();
    }
    match join_result(&step) {
        (member_id, None) => Ok(member_id),
        (_, Some(error)) => Err(error),
    }
}

/// The one member of a group of the first generation asks for its assignment.
fn syncs(runner: &mut Runner, group: &str, member_id: &Arc<str>) -> Result<(), GroupError> {
    let request = SyncRequest {
        group_id: group.into(),
        member_id: Arc::clone(member_id),
        instance_id: None,
        generation: 1,
        protocol_type: None,
        protocol_name: None,
        assignments: Vec::new(),
    };
    match &runner.send(GroupRequest::Sync(request)).1.replies[..] {
        [(_, GroupReply::Sync(result))] => result.clone().map(|_| ()),
        other => panic!("{other:?}"),
    }
}

fn beats(runner: &mut Runner, group: &str, member_id: &Arc<str>) -> Result<(), GroupError> {
    let request = HeartbeatRequest {
        group_id: group.into(),
        member_id: Arc::clone(member_id),
        instance_id: None,
        generation: 1,
    };
    match &runner.send(GroupRequest::Heartbeat(request)).1.replies[..] {
        [(_, GroupReply::Heartbeat(result))] => *result,
        other => panic!("{other:?}"),
    }
}

/// A member of the newer protocol that was told of an epoch says that it is alive.
fn beats_anew(runner: &mut Runner, group: &str, epoch: i32) -> Step {
    let GroupRequest::ConsumerHeartbeat(mut request) = consume(group, "m", "t") else {
        unreachable!("it was made as one");
    };
    (request.epoch, request.regex, request.owned) = (epoch, None, None);
    request.rebalance_timeout_ms = -1;
    runner.send(GroupRequest::ConsumerHeartbeat(request)).1
}

/// All are let in, and the last of them stay: whoever goes on with what was told gets on.
fn invented_groups_keep_nobody_out(in_steps: bool) {
    let mut runner = at_once(GroupLimits::default());
    let early = joins(&mut runner, "early", 1, false).unwrap();
    assert_eq!(syncs(&mut runner, "early", &early), Ok(()));
    let records = runner.log.len();
    let first = joins(&mut runner, "first", 2, false).unwrap();
    for number in 0..INVENTED {
        let group = format!("invented-{number}");
        let joined = joins(&mut runner, &group, number, in_steps);
        assert!(joined.is_ok(), "{number}: {joined:?}");
    }
    assert_eq!(runner.log.len(), records, "nothing of them was finished");
    let bytes = runner.coordinator.state_bytes();
    assert!(bytes < GroupLimits::default().new_bytes + 10_000, "{bytes}");
    let listed = runner.coordinator.listed().groups;
    assert!((5_000..10_000).contains(&listed), "{listed}");

    assert_eq!(beats(&mut runner, "early", &early), Ok(()));
    let refused = Err(GroupError::UnknownMemberId);
    assert_eq!(
        syncs(&mut runner, "first", &first),
        refused,
        "it joins again"
    );
    let first = joins(&mut runner, "first", 3, true).unwrap();
    assert_eq!(syncs(&mut runner, "first", &first), Ok(()));
    // Sessions end, and then the look for what has expired takes the empty groups.
    while runner.next_tick(4_000_000).is_some() {}
    assert_eq!(runner.coordinator.state_bytes(), 0);
    assert_eq!(runner.recovered().state_bytes(), 0);
}

#[test]
fn members_of_invented_groups_that_join_at_once_keep_nobody_out() {
    invented_groups_keep_nobody_out(false);
}

#[test]
fn members_of_invented_groups_that_join_in_two_steps_keep_nobody_out() {
    invented_groups_keep_nobody_out(true);
}

#[test]
fn members_of_invented_groups_of_the_newer_protocol_keep_nobody_out() {
    let mut runner = at_once(GroupLimits::default());
    let epoch = consume_result(&runner.send(consume("early", "m", "t")).1).unwrap();
    assert!(consume_result(&beats_anew(&mut runner, "early", epoch)).is_ok());
    assert!(consume_result(&runner.send(consume("first", "m", "t")).1).is_ok());
    for number in 0..INVENTED {
        let group = format!("invented-{number}");
        let joined = consume_result(&runner.send(consume(&group, "m", "t")).1);
        assert!(joined.is_ok(), "{number}: {joined:?}");
    }
    let bytes = runner.coordinator.state_bytes();
    assert!(bytes < GroupLimits::default().new_bytes + 10_000, "{bytes}");
    assert_eq!(runner.recovered().state_bytes(), bytes);
    assert!(consume_result(&beats_anew(&mut runner, "early", epoch)).is_ok());
    // Clients that are told that there is no such group end, or never join again.
    let gone = Err(GroupError::UnknownMemberId);
    assert_eq!(
        consume_result(&beats_anew(&mut runner, "first", epoch)),
        gone
    );
    let again = consume_result(&runner.send(consume("first", "m", "t")).1).unwrap();
    assert!(consume_result(&beats_anew(&mut runner, "first", again)).is_ok());
    let last = format!("invented-{}", INVENTED - 1);
    assert!(consume_result(&beats_anew(&mut runner, &last, epoch)).is_ok());
    while runner.next_tick(1_200_000).is_some() {}
    assert_eq!(runner.coordinator.state_bytes(), 0);
    assert_eq!(runner.recovered().state_bytes(), 0);
}

/// The record that nobody is left in it is all that the log has of a group that was never finished.
#[test]
fn what_is_left_of_a_group_that_was_never_finished_makes_room() {
    let limits = GroupLimits {
        new_groups: 10,
        ..GroupLimits::default()
    };
    let mut runner = at_once(limits);
    for number in 0..10 {
        joins(&mut runner, &format!("invented-{number}"), number, false).unwrap();
    }
    // Their time to ask for assignments ends.
    while runner.next_tick(400_000).is_some() {}
    assert_eq!(runner.coordinator.listed().groups, 10);
    joins(&mut runner, "other", 100, false).unwrap();
    assert_eq!(runner.coordinator.listed().groups, 10);
    assert_eq!(runner.recovered().listed().groups, 9, "one is deleted");
}

/// Groups whose members hold all that those of new groups may: nobody begins, but those who are known get new members.
#[test]
fn members_of_known_groups_find_room_where_no_group_begins() {
    let limits = GroupLimits {
        new_state_bytes: 1 << 18,
        member_state_bytes: 3 << 17,
        ..GroupLimits::default()
    };
    let mut runner = at_once(limits);
    let refused = (0..1_000).find_map(|number| {
        let group = format!("known-{number}");
        let member_id = match joins(&mut runner, &group, number, false) {
            Ok(member_id) => member_id,
            Err(error) => return Some((number, error)),
        };
        assert_eq!(syncs(&mut runner, &group, &member_id), Ok(()));
        None
    });
    let (known, error) = refused.unwrap();
    assert_eq!(error, GroupError::CoordinatorNotAvailable);
    assert!((100..200).contains(&known), "{known}");
    for number in 0..50_u128 {
        let group = format!("known-{number}");
        let request = join_at_once(group, 1_000 + number);
        let (_, step) = runner.send(GroupRequest::Join(request));
        assert!(step.replies.is_empty(), "it waits for the other: {step:?}");
    }
    let refused = consume_result(&runner.send(consume("new", "m", "t")).1);
    assert_eq!(refused, Err(GroupError::CoordinatorNotAvailable));
}

/// New groups of one partition of the log that fill what all may hold leave those of another in peace.
#[test]
fn invented_groups_of_one_coordinator_dismiss_none_of_another() {
    let all = GroupLimits {
        new_bytes: 1 << 20,
        new_bytes_share: 1 << 20,
        ..GroupLimits::default()
    };
    let limits = all.divided(50);
    let held = HeldBytes::default();
    let mut runners: [Runner; 2] = std::array::from_fn(|_| {
        let mut runner = at_once(limits.clone());
        runner.coordinator =
            GroupCoordinator::new(runner.config.clone(), limits.clone()).sharing(&held);
        runner
    });
    let [flooded, quiet] = &mut runners;
    for number in 0..3_000 {
        joins(flooded, &format!("invented-{number}"), number, false).unwrap();
    }
    let new: Vec<(String, Arc<str>)> = (0..8)
        .map(|number| {
            let group = format!("new-{number}");
            let member_id = joins(quiet, &group, number, true).unwrap();
            (group, member_id)
        })
        .collect();
    for number in 0..3_000 {
        joins(flooded, &format!("more-{number}"), number, false).unwrap();
    }
    for (group, member_id) in new {
        assert_eq!(syncs(quiet, &group, &member_id), Ok(()), "{group}");
    }
    let bytes = flooded.coordinator.state_bytes();
    assert!(bytes < (1 << 20) + 50_000, "{bytes}");
}

/// What the log did not take back is there, and its members get on.
#[test]
fn a_group_whose_end_the_log_does_not_take_goes_on() {
    let limits = GroupLimits {
        new_groups: 1,
        ..GroupLimits::default()
    };
    let mut runner = at_once(limits);
    let epoch = consume_result(&runner.send(consume("first", "m", "t")).1).unwrap();
    runner.append_fails = true;
    assert!(consume_result(&runner.send(consume("second", "m", "t")).1).is_err());
    assert!(consume_result(&beats_anew(&mut runner, "first", epoch)).is_ok());
    assert!(consume_result(&runner.send(consume("second", "m", "t")).1).is_ok());
    assert!(consume_result(&beats_anew(&mut runner, "first", epoch)).is_ok());
    assert_eq!(runner.recovered().listed().groups, 2);
}

/// Many consumers that start at the same time, each in a group of its own, more than there is room for in their delay:
/// those that are let in come to the end of it, and the others are let in then.
#[test]
fn groups_that_begin_together_do_not_dismiss_each_other() {
    let mut runner = Runner::new(GroupConfig::default(), GroupLimits::default());
    let mut outside: Vec<u32> = (0..10_000).collect();
    let mut rounds = 0;
    while !outside.is_empty() {
        rounds += 1;
        let mut waiting = BTreeMap::new();
        outside.retain(|&number| {
            let request = join_at_once(format!("group-{number}"), number.into());
            let (token, step) = runner.send(GroupRequest::Join(request));
            if step.replies.is_empty() {
                waiting.insert(token, number);
                return false;
            }
            let refused = Some(GroupError::CoordinatorNotAvailable);
            assert_eq!(join_result(&step).1, refused, "{number} in round {rounds}");
            true
        });
        assert!(waiting.len() > 2_000, "{} in round {rounds}", waiting.len());
        let until_ms = runner.now_ms + 3_000;
        let mut joined = Vec::new();
        while let Some(step) = runner.next_tick(until_ms) {
            for (token, reply) in step.replies {
                let GroupReply::Join(reply) = reply else {
                    panic!("{reply:?}");
                };
                assert!(reply.result.is_ok(), "{:?}", reply.result);
                joined.push((waiting.remove(&token).unwrap(), reply.member_id));
            }
        }
        assert!(
            waiting.is_empty(),
            "{} of round {rounds} wait still",
            waiting.len()
        );
        for (number, member_id) in joined {
            let synced = syncs(&mut runner, &format!("group-{number}"), &member_id);
            assert_eq!(synced, Ok(()), "{number}");
        }
    }
    assert!(rounds <= 3, "{rounds}");
}

/// A clock that is set makes no new group old, and keeps none new.
#[test]
fn new_groups_are_as_old_as_they_are_whatever_the_clock_says() {
    let limits = GroupLimits {
        new_groups: 1,
        ..GroupLimits::default()
    };
    let mut runner = Runner::new(GroupConfig::default(), limits);
    runner.set_clock(1_700_000_000_000);
    assert!(consume_result(&runner.send(consume("first", "m", "t")).1).is_ok());
    let refused = Err(GroupError::CoordinatorNotAvailable);
    runner.set_clock(1_000_000);
    assert_eq!(
        consume_result(&runner.send(consume("second", "m", "t")).1),
        refused
    );
    runner.set_clock(-2_000_000);
    runner.now_ms += 5_999;
    assert_eq!(
        consume_result(&runner.send(consume("second", "m", "t")).1),
        refused
    );
    runner.now_ms += 1;
    assert!(consume_result(&runner.send(consume("second", "m", "t")).1).is_ok());
}

/// Consumers without a group that commit under invented names: none of theirs begins any more before those that are
/// there find no room, for members and for offsets.
#[test]
fn commits_under_invented_names_leave_room_for_those_who_are_there() {
    let mut runner = at_once(GroupLimits::default());
    let member_id = joins(&mut runner, "known", 1, false).unwrap();
    assert_eq!(syncs(&mut runner, "known", &member_id), Ok(()));
    let alone =
        |group: &str, partition| commit_alone(group, [("t", vec![first_offset(partition)])]);
    let commits = |runner: &mut Runner, group: &str, partition| match &runner
        .send(alone(group, partition))
        .1
        .replies[..]
    {
        [(_, GroupReply::CommitOffsets(topics))] => topics[0].partitions[0].1,
        other => panic!("{other:?}"),
    };
    let refused = (0..INVENTED).find_map(|number| {
        let error = commits(&mut runner, &format!("invented-{number}"), 0).err()?;
        Some((number, error))
    });
    let (count, error) = refused.unwrap();
    assert_eq!(error, GroupError::CoordinatorNotAvailable);
    assert!((25_000..60_000).contains(&count), "{count}");
    assert_eq!(commits(&mut runner, "invented-0", 1), Ok(()));
    let request = join_at_once("known".to_owned(), 2);
    let (_, step) = runner.send(GroupRequest::Join(request));
    assert!(step.replies.is_empty(), "it waits for the other: {step:?}");
}

#[test]
fn groups_of_the_newer_protocol_that_begin_together_do_not_dismiss_each_other() {
    let mut runner = Runner::new(GroupConfig::default(), GroupLimits::default());
    runner.set_clock(1_700_000_000_000);
    let mut outside: Vec<u32> = (0..10_000).collect();
    let mut rounds = 0;
    while !outside.is_empty() {
        rounds += 1;
        let mut joined = Vec::new();
        outside.retain(|&number| {
            let told = runner.send(consume(&format!("group-{number}"), "m", "t")).1;
            match consume_result(&told) {
                Ok(epoch) => joined.push((number, epoch)),
                Err(error) => assert_eq!(error, GroupError::CoordinatorNotAvailable),
            }
            joined.last().is_none_or(|(last, _)| *last != number)
        });
        assert!(joined.len() > 1_000, "{} in round {rounds}", joined.len());
        for (number, epoch) in joined {
            let told = beats_anew(&mut runner, &format!("group-{number}"), epoch);
            assert!(consume_result(&told).is_ok(), "{number} in round {rounds}");
        }
    }
    assert!(rounds <= 4, "{rounds}");
}

/// Large members that join invented groups leave room for usual ones, which are let in while those are new.
#[test]
fn large_newcomers_leave_room_for_usual_ones() {
    let mut runner = Runner::new(GroupConfig::default(), GroupLimits::default());
    let joins = |runner: &mut Runner, group: String, bytes: usize| {
        let mut request = join_at_once(group, 1);
        request.protocols[0].metadata = vec![0; bytes].into();
        let (_, step) = runner.send(GroupRequest::Join(request));
        step.replies.is_empty()
    };
    let large = (0..200).filter(|n| joins(&mut runner, format!("large-{n}"), 260_000));
    let large = large.count();
    assert!((10..30).contains(&large), "{large}");
    let usual = (0..1_000).filter(|n| joins(&mut runner, format!("usual-{n}"), 100));
    assert_eq!(usual.count(), 1_000);
}
