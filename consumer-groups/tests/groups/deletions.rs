//! Groups that are deleted in more than one step, and a crash between these.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_config::GroupConfig;
use tidewheel_consumer_groups::request::*;
use tidewheel_consumer_groups::{GroupError, GroupLimits, GroupReply, GroupRequest, OffsetsRecord};

use crate::bounds::consume;
use crate::support::{Runner, Step, commit_alone, first_offset};

const OFFSETS: i32 = 8;

fn runner(retention_step: usize) -> Runner {
    let limits = GroupLimits {
        retention_step,
        ..GroupLimits::default()
    };
    Runner::new(GroupConfig::default(), limits)
}

/// Half of the offsets in each of two topics.
fn commit(group_id: &str, offsets: i32) -> GroupRequest {
    let half = || (0..offsets / 2).map(first_offset).collect();
    commit_alone(group_id, [("t", half()), ("u", half())])
}

/// How many offsets there are.
fn fetched(runner: &mut Runner, group_id: &str) -> Result<usize, GroupError> {
    let request = FetchOffsetsRequest {
        group_id: group_id.into(),
        member: None,
        topics: None,
        require_stable: true,
    };
    let (_, step) = runner.send(GroupRequest::FetchOffsets(request));
    match &step.replies[..] {
        [(_, GroupReply::FetchOffsets(result))] => result
            .clone()
            .map(|topics| topics.iter().map(|topic| topic.partitions.len()).sum()),
        other => panic!("{other:?}"),
    }
}

fn delete(runner: &mut Runner, group_id: &str) -> Step {
    let group_id: Arc<str> = group_id.into();
    let request = GroupRequest::DeleteGroup(DeleteGroupRequest { group_id });
    runner.send(request).1
}

fn leave(runner: &mut Runner, member_id: &str) {
    let GroupRequest::ConsumerHeartbeat(mut request) = consume("g", member_id, "t") else {
        unreachable!("it was made as one");
    };
    (request.epoch, request.owned, request.regex) = (-1, None, None);
    drop(runner.send(GroupRequest::ConsumerHeartbeat(request)));
}

/// Wherever a crash cuts what was written, the group is there as a whole, or nobody is told of a part of it and it goes.
fn whole_or_gone_at_every_cut(mut runner: Runner) {
    drop(runner.send(commit("g", OFFSETS)));
    let before = runner.log.len();
    drop(delete(&mut runner, "g"));
    while runner.next_tick(runner.now_ms + 1).is_some() {}
    assert_eq!(fetched(&mut runner, "g"), Ok(0));
    let mut seen = BTreeSet::new();
    for records in before..=runner.log.len() {
        let mut cut = Runner::new(runner.config.clone(), runner.limits.clone());
        cut.log = runner.log[..records].to_vec();
        drop(cut.restart());
        let found = fetched(&mut cut, "g");
        seen.insert(format!("{found:?}"));
        assert!(
            found != Ok(0) || records == runner.log.len(),
            "{records}: {found:?}"
        );
        let until_ms = cut.now_ms + 100;
        while cut.next_tick(until_ms).is_some() {}
        let whole = usize::try_from(OFFSETS).unwrap();
        match found {
            Ok(count) if count == whole => assert_eq!(fetched(&mut cut, "g"), Ok(whole)),
            Ok(0) | Err(GroupError::NotCoordinator) => {
                assert_eq!(cut.coordinator.group_bytes("g"), 0, "{records}");
                assert_eq!(cut.recovered().state_bytes(), 0, "{records}");
            }
            other => panic!("{records}: {other:?}"),
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn a_start_finishes_what_a_crash_cut() {
    whole_or_gone_at_every_cut(runner(3));
    let mut newer = runner(3);
    drop(newer.send(consume("g", "m", "t")));
    leave(&mut newer, "m");
    whole_or_gone_at_every_cut(newer);
}

#[test]
fn a_group_that_one_batch_holds_is_written_in_one() {
    let mut runner = runner(100);
    drop(runner.send(commit("g", OFFSETS)));
    let step = delete(&mut runner, "g");
    let ends = |record: &OffsetsRecord| match record {
        OffsetsRecord::OffsetCommit { value, .. } => value.is_none(),
        OffsetsRecord::GroupMetadata { value, .. } => value.is_none(),
        OffsetsRecord::ConsumerGroup { .. } => false,
    };
    assert!(step.records.iter().all(ends), "{:?}", step.records);
    assert_eq!(step.replies.len(), 1);
}

/// Few offsets may be many bytes.
#[test]
fn a_group_with_long_names_is_said_to_go_first() {
    let mut runner = runner(GroupLimits::default().retention_step);
    let group_id = "g".repeat(1_000);
    drop(runner.send(commit(&group_id, 1_200)));
    let step = delete(&mut runner, &group_id);
    assert!(
        matches!(
            step.records[0],
            OffsetsRecord::GroupMetadata { value: Some(_), .. }
        ),
        "{:?}",
        step.records[0]
    );
    assert_eq!(
        fetched(&mut runner, &group_id),
        Err(GroupError::NotCoordinator)
    );
    assert!(runner.next_tick(1).is_some());
    assert_eq!(fetched(&mut runner, &group_id), Ok(0));
    assert_eq!(runner.recovered().state_bytes(), 0);
}

/// It is on its way out whoever is told what: nobody reads what is left.
#[test]
fn what_has_begun_is_brought_to_its_end_though_the_log_refuses_a_part() {
    for takes in [0, 1, 2, 5] {
        for steps_before in 0..3 {
            let mut runner = runner(3);
            drop(runner.send(commit("g", OFFSETS)));
            let before = runner.log.len();
            let refuse = |runner: &mut Runner| {
                (runner.append_fails, runner.append_takes) = (true, takes);
            };
            if steps_before == 0 {
                refuse(&mut runner);
            }
            drop(delete(&mut runner, "g"));
            for step in 1..=steps_before {
                if step == steps_before {
                    refuse(&mut runner);
                }
                drop(runner.next_tick(10));
            }
            runner.append_fails = false;
            let has_begun = runner.log.len() > before;
            let found = fetched(&mut runner, "g");
            assert!(found == Ok(8) && !has_begun || found != Ok(8) && has_begun);
            let until_ms = runner.now_ms + 1_100;
            while runner.next_tick(until_ms).is_some() {}
            assert_eq!(
                fetched(&mut runner, "g").is_ok_and(|count| count == 0),
                has_begun
            );
            assert!(runner.parked.is_empty());
        }
    }
}

/// A deletion that the log refused is no generation that it refused: nothing is written of the group later that would
/// take the next deletion back.
#[test]
fn a_deletion_that_was_refused_and_asked_for_again_is_not_taken_back() {
    for deletes_again in [false, true] {
        let mut runner = runner(1);
        drop(runner.send(commit("g", OFFSETS)));
        let before = runner.log.len();
        (runner.append_fails, runner.append_takes) = (true, 0);
        drop(delete(&mut runner, "g"));
        runner.append_fails = false;
        if deletes_again {
            drop(delete(&mut runner, "g"));
        }
        let until_ms = runner.now_ms + 2_000;
        while runner.next_tick(until_ms).is_some() {}
        let others = runner.log[before..].iter().filter(|record| {
            matches!(record, OffsetsRecord::GroupMetadata { value: Some(value), .. } if value.generation >= 0)
        });
        assert_eq!(others.count(), 0);
        let left = fetched(&mut runner, "g");
        assert_eq!(left, Ok(if deletes_again { 0 } else { 8 }));
    }
}

/// Whatever wrote such a log, members that come after a group was said to go keep it.
#[test]
fn members_that_join_afterwards_keep_a_group() {
    let mut gone = runner(3);
    drop(gone.send(commit("g", OFFSETS)));
    let marker = delete(&mut gone, "g").records[0].clone();
    assert!(matches!(
        marker,
        OffsetsRecord::GroupMetadata { value: Some(_), .. }
    ));
    let mut kept = runner(3);
    drop(kept.send(consume("g", "m", "t")));
    drop(kept.send(commit("h", OFFSETS)));
    kept.log.insert(0, marker);
    drop(kept.restart());
    assert_eq!(fetched(&mut kept, "g"), Ok(0));
    let until_ms = kept.now_ms + 100;
    while kept.next_tick(until_ms).is_some() {}
    assert_ne!(kept.coordinator.group_bytes("g"), 0);
}
