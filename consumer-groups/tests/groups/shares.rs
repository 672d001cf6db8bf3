//! What one group leaves to others, and members to the offsets of their group.

use std::sync::Arc;

use tidewheel_config::GroupConfig;
use tidewheel_consumer_groups::request::*;
use tidewheel_consumer_groups::{GroupError, GroupLimits, GroupReply, GroupRequest, ReplyToken};

use crate::bounds::{consume, consume_result, join, join_result};
use crate::support::{self, Runner, commit_alone, first_offset};

/// A member of this many bytes that asks for no id.
fn sized(group_id: &str, bytes: usize, uuid: u128) -> GroupRequest {
    let GroupRequest::Join(mut request) = join(group_id.to_owned(), &"".into(), uuid) else {
        unreachable!("it was made as one");
    };
    request.member_id_required = false;
    request.protocols[0].metadata = vec![b'm'; bytes].into();
    GroupRequest::Join(request)
}

/// The first offset of a consumer that is in no group, with a note of this many bytes.
fn noted(group_id: &str, partition: i32, bytes: usize) -> GroupRequest {
    let noted = CommitPartition {
        metadata: Some("n".repeat(bytes).into()),
        ..first_offset(partition)
    };
    commit_alone(group_id, [("topic", vec![noted])])
}

fn commit_result(step: &support::Step) -> Result<(), GroupError> {
    match &step.replies[..] {
        [(_, GroupReply::CommitOffsets(topics))] => topics[0].partitions[0].1,
        other => panic!("{other:?}"),
    }
}

fn small() -> Runner {
    let limits = GroupLimits {
        group_bytes: 1 << 19,
        membership_bytes: 3 << 17,
        state_bytes: 1 << 20,
        member_state_bytes: 3 << 18,
        ..GroupLimits::default()
    };
    Runner::new(GroupConfig::default(), limits)
}

/// The same, where nobody waits for others to come.
fn small_at_once() -> Runner {
    let config = GroupConfig {
        initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    };
    Runner::new(config, small().limits)
}

#[test]
fn one_group_leaves_room_for_others() {
    let mut runner = small();
    let refused = (0..100).find_map(|uuid| {
        let (_, step) = runner.send(sized("large", 20_000, uuid));
        let refused = !step.replies.is_empty();
        refused.then(|| (uuid, join_result(&step).1))
    });
    let (after, error) = refused.unwrap();
    assert_eq!(error, Some(GroupError::GroupMaxSizeReached));
    assert!((16..20).contains(&after), "{after}");
    let (_, step) = runner.send(sized("other", 100, 1_000));
    assert!(step.replies.is_empty(), "it waits for others");
    let (_, step) = runner.send(noted("simple", 0, 100));
    assert_eq!(commit_result(&step), Ok(()));

    let mut runner = small();
    let refused = (0..200).find_map(|partition| {
        let (_, step) = runner.send(noted("notes", partition, 4_000));
        commit_result(&step).err()
    });
    assert_eq!(refused, Some(GroupError::InvalidCommitOffsetSize));
    let (_, step) = runner.send(noted("simple", 0, 100));
    assert_eq!(commit_result(&step), Ok(()));
    let (_, step) = runner.send(sized("other", 100, 1_000));
    assert!(step.replies.is_empty(), "it waits for others");
}

#[test]
fn a_member_of_the_newer_protocol_that_makes_its_group_too_large_hears_so() {
    let mut runner = small();
    let names = |from: u32| (from..from + 500).map(|n| format!("{}-{n}", "t".repeat(100)).into());
    let refused = (0..100).find_map(|number| {
        let GroupRequest::ConsumerHeartbeat(mut request) = consume("g", &format!("m{number}"), "")
        else {
            unreachable!("it was made as one");
        };
        request.regex = None;
        request.topics = Some(names(number).collect());
        let (_, step) = runner.send(GroupRequest::ConsumerHeartbeat(request));
        consume_result(&step).err()
    });
    assert_eq!(refused, Some(GroupError::GroupMaxSizeReached));
    assert!(consume_result(&runner.send(consume("other", "m", "t")).1).is_ok());
}

#[test]
fn what_members_bring_leaves_room_for_offsets() {
    let mut runner = small();
    for group in 0..10 {
        let (_, step) = runner.send(noted(&format!("simple-{group}"), 0, 100));
        assert_eq!(commit_result(&step), Ok(()));
    }
    let refused = (0..100).find_map(|uuid| {
        let group = format!("g{}", uuid % 3);
        let (_, step) = runner.send(sized(&group, 20_000, uuid));
        (!step.replies.is_empty()).then(|| join_result(&step).1)
    });
    assert_eq!(refused, Some(Some(GroupError::CoordinatorNotAvailable)));
    let (_, step) = runner.send(sized("new", 20_000, 1_000));
    assert_eq!(
        join_result(&step).1,
        Some(GroupError::CoordinatorNotAvailable)
    );
    for group in 0..10 {
        let (_, step) = runner.send(noted(&format!("simple-{group}"), 1, 4_000));
        assert_eq!(commit_result(&step), Ok(()));
    }
}

/// A classic member: its place in a generation.
#[derive(Clone, Debug)]
struct Member {
    id: Arc<str>,
    bytes: usize,
    generation: i32,
    leads: bool,
}

/// The members of a classic group, which all come to every generation.
struct Classic {
    runner: Runner,
    members: Vec<Member>,
    uuid: u128,
}

impl Classic {
    fn new() -> Classic {
        Classic {
            runner: small_at_once(),
            members: Vec::new(),
            uuid: 0,
        }
    }

    /// A member joins, again if it has an id; none where it is parked.
    fn join(&mut self, member_id: &Arc<str>, bytes: usize) -> (ReplyToken, Option<GroupError>) {
        self.uuid += 1;
        let GroupRequest::Join(mut request) = sized("g", bytes, self.uuid) else {
            unreachable!("it was made as one");
        };
        request.member_id = Arc::clone(member_id);
        let (token, step) = self.runner.send(GroupRequest::Join(request));
        self.learn(&step);
        let own = step.replies.iter().find(|(to, _)| *to == token);
        let error = own.and_then(|(_, reply)| match reply {
            GroupReply::Join(reply) => reply.result.clone().err(),
            other => panic!("{other:?}"),
        });
        (token, error)
    }

    fn learn(&mut self, step: &support::Step) {
        for (_, reply) in &step.replies {
            let GroupReply::Join(reply) = reply else {
                continue;
            };
            if let Ok(joined) = &reply.result {
                let known = self.members.iter_mut().find(|m| m.id == reply.member_id);
                let known = known.unwrap();
                known.generation = joined.generation;
                known.leads = joined.leader == reply.member_id;
            }
        }
    }

    /// The first `count` of those who are in the group join again, with so many bytes if that is taken, and with as
    /// many as before if not. The leader comes first, upon which all have to.
    fn rejoin(&mut self, count: usize, mut bytes: impl FnMut() -> usize) {
        let leads = |index: &usize| self.members[*index].leads;
        let (first, others): (Vec<usize>, Vec<usize>) = (0..count).partition(leads);
        for index in first.into_iter().chain(others) {
            let Member { id, bytes: had, .. } = self.members[index].clone();
            let wanted = bytes();
            match self.join(&id, wanted).1 {
                None => self.members[index].bytes = wanted,
                Some(error) => {
                    assert_eq!(error, GroupError::CoordinatorNotAvailable, "it tries again");
                    assert_eq!(self.join(&id, had).1, None, "what it had it keeps");
                }
            }
        }
    }

    /// A new member joins while the others do.
    fn let_in(&mut self, bytes: usize) -> Option<GroupError> {
        let error = self.join(&"".into(), bytes).1;
        if error.is_none() {
            let name = format!("client-00000000-0000-0000-0000-{:012x}", self.uuid);
            self.members.push(Member {
                id: name.into(),
                bytes,
                generation: 0,
                leads: false,
            });
        }
        error
    }

    fn tick(&mut self) {
        while let Some(step) = self.runner.next_tick(self.runner.now_ms) {
            self.learn(&step);
        }
    }

    /// The leader assigns so much to itself.
    fn sync(&mut self, bytes: usize) -> Result<(), GroupError> {
        let leader = self.members.iter().find(|member| member.leads).unwrap();
        let request = SyncRequest {
            group_id: "g".into(),
            member_id: Arc::clone(&leader.id),
            instance_id: None,
            generation: leader.generation,
            protocol_type: None,
            protocol_name: None,
            assignments: vec![MemberAssignment {
                member_id: Arc::clone(&leader.id),
                assignment: vec![b'a'; bytes].into(),
            }],
        };
        let (token, step) = self.runner.send(GroupRequest::Sync(request));
        let own = step.replies.iter().find(|(to, _)| *to == token);
        match own {
            Some((_, GroupReply::Sync(result))) => result.clone().map(|_| ()),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, partition: i32, bytes: usize) -> Result<(), GroupError> {
        let member = &self.members[0];
        let GroupRequest::CommitOffsets(mut request) = noted("g", partition, bytes) else {
            unreachable!("it was made as one");
        };
        request.member_id = Arc::clone(&member.id);
        request.generation = member.generation;
        commit_result(&self.runner.send(GroupRequest::CommitOffsets(request)).1)
    }
}

#[test]
fn an_assignment_takes_the_place_of_the_one_before() {
    let mut group = Classic::new();
    assert_eq!(group.let_in(1_000), None);
    group.tick();
    for _ in 0..3 {
        assert_eq!(group.sync(300_000), Ok(()));
        group.rejoin(1, || 1_000);
        group.tick();
    }
    let refused = Err(GroupError::CoordinatorNotAvailable);
    assert_eq!(group.sync(400_000), refused, "the group goes on without");
    group.rejoin(1, || 1_000);
    group.tick();
    assert_eq!(group.sync(300_000), Ok(()));
}

#[test]
fn a_group_whose_members_hold_all_they_may_commits() {
    let mut group = Classic::new();
    assert_eq!(group.let_in(1_000), None);
    group.tick();
    assert_eq!(group.sync(10), Ok(()));
    let refused = (0..100).find_map(|_| group.let_in(20_000));
    assert_eq!(refused, Some(GroupError::GroupMaxSizeReached));
    // A quarter is kept for these.
    for partition in 0..30 {
        assert_eq!(group.commit(partition, 4_000), Ok(()));
    }
    let refused = (30..40).find_map(|partition| group.commit(partition, 4_000).err());
    assert_eq!(refused, Some(GroupError::InvalidCommitOffsetSize));
    assert_eq!(group.commit(0, 4_000), Ok(()), "in the place of another");
}

/// Random sizes, again and again: whoever is in the group is never told to give up.
#[test]
fn who_is_in_a_group_stays_whatever_it_or_others_bring() {
    for seed in 0..40_u64 {
        let mut group = Classic::new();
        let mut state = seed;
        let mut below = |most: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed | 1);
            usize::try_from(state >> 33).unwrap() % most
        };
        assert_eq!(group.let_in(below(60_000)), None);
        let mut refused = 0;
        for _ in 0..30 {
            if group.members[0].generation > 0 {
                group.rejoin(group.members.len(), || below(60_000));
            }
            let known = group.members.len();
            match group.let_in(below(90_000)) {
                None => group.rejoin(known, || below(60_000)),
                Some(error) => {
                    assert_eq!(error, GroupError::GroupMaxSizeReached);
                    refused += 1;
                }
            }
            group.tick();
            match group.sync(below(200_000)) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error, GroupError::CoordinatorNotAvailable);
                    refused += 1;
                }
            }
            let bytes = group.runner.coordinator.group_bytes("g");
            assert!(bytes <= (3 << 17) + 40_000, "seed {seed}: {bytes}");
        }
        assert!(refused > 3, "seed {seed}: {refused}");
    }
}

/// Of the newer protocol, a static one: its place is its own, also while there is no memory for what it brings.
#[test]
fn a_static_member_that_comes_back_to_a_full_group_keeps_its_place() {
    let mut runner = small();
    let ask = |member_id: &str, epoch, names: u32| {
        let GroupRequest::ConsumerHeartbeat(mut request) = consume("g", member_id, "") else {
            unreachable!("it was made as one");
        };
        let name = |n: u32| format!("{}-{n}", "t".repeat(100)).into();
        (request.epoch, request.regex) = (epoch, None);
        request.topics = Some((0..names).map(name).collect());
        request
    };
    let with_id = |mut request: ConsumerHeartbeatRequest| {
        request.instance_id = Some("i".into());
        GroupRequest::ConsumerHeartbeat(request)
    };
    assert!(consume_result(&runner.send(with_id(ask("first", 0, 10))).1).is_ok());
    assert!(consume_result(&runner.send(with_id(ask("first", -2, 10))).1).is_ok());
    let refused = (0..100).find_map(|number| {
        let request = ask(&format!("m{number}"), 0, 300);
        consume_result(&runner.send(GroupRequest::ConsumerHeartbeat(request)).1).err()
    });
    assert_eq!(refused, Some(GroupError::GroupMaxSizeReached));
    // As often as more than its session lasts.
    for _ in 0..10 {
        let until_ms = runner.now_ms + 10_000;
        while runner.next_tick(until_ms).is_some() {}
        for number in 0..20 {
            let beat = ask(&format!("m{number}"), 0, 300);
            drop(runner.send(GroupRequest::ConsumerHeartbeat(beat)));
        }
        let step = runner.send(with_id(ask("second", 0, 2_000))).1;
        let refused = Err(GroupError::CoordinatorNotAvailable);
        assert_eq!(consume_result(&step), refused);
    }
    assert!(consume_result(&runner.send(with_id(ask("second", 0, 10))).1).is_ok());
}
