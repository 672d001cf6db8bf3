//! What must hold after every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_consumer_groups::reply::GroupDescription;
use tidewheel_consumer_groups::request::*;
use tidewheel_consumer_groups::{
    GroupCoordinator, GroupError, GroupReply, GroupRequest, ReplyToken,
};

use super::{GROUPS, History, Key, REBALANCE_MS};

/// The answer to a question that changes nothing.
fn answer(coordinator: &mut GroupCoordinator, request: GroupRequest, now_ms: i64) -> GroupReply {
    let mut output = coordinator.handle(request, ReplyToken(u64::MAX), now_ms);
    assert!(output.records.is_empty());
    output.replies.pop().unwrap().1
}

fn offsets(coordinator: &mut GroupCoordinator, now_ms: i64) -> BTreeMap<Key, i64> {
    let mut found = BTreeMap::new();
    for group_id in GROUPS {
        let group_id: Arc<str> = group_id.into();
        let request = FetchOffsetsRequest {
            group_id: Arc::clone(&group_id),
            member: None,
            topics: None,
            require_stable: true,
        };
        let reply = answer(coordinator, GroupRequest::FetchOffsets(request), now_ms);
        let GroupReply::FetchOffsets(Ok(topics)) = reply else {
            panic!("{reply:?}");
        };
        for topic in topics {
            for partition in topic.partitions {
                let key = (
                    Arc::clone(&group_id),
                    Arc::clone(&topic.topic),
                    partition.partition,
                );
                found.insert(key, partition.committed.unwrap().offset);
            }
        }
    }
    found
}

fn describe(
    coordinator: &mut GroupCoordinator,
    group_id: &str,
    now_ms: i64,
) -> Option<GroupDescription> {
    let group_id = group_id.into();
    let request = GroupRequest::Describe(DescribeRequest { group_id });
    match answer(coordinator, request, now_ms) {
        GroupReply::Describe(Ok(group)) => Some(group),
        GroupReply::Describe(Err(GroupError::GroupIdNotFound)) => None,
        other => panic!("{other:?}"),
    }
}

impl History {
    pub(super) fn check(&mut self) {
        let now_ms = self.runner.now_ms;
        for (token, since_ms) in &self.runner.parked {
            let waits_ms = now_ms - since_ms;
            assert!(
                waits_ms <= i64::from(REBALANCE_MS),
                "{token:?} waits for {waits_ms} ms"
            );
        }
        let found = offsets(&mut self.runner.coordinator, now_ms);
        assert_eq!(
            found, self.offsets,
            "what was acknowledged is not what is there"
        );
        for group_id in GROUPS {
            match describe(&mut self.runner.coordinator, group_id, now_ms) {
                None => drop(self.generations.remove(group_id)),
                Some(group) => check_owners(&group),
            }
        }
    }

    /// What is made from the log is what is there, as far as the log tells.
    pub(super) fn check_recovery(&mut self) {
        let now_ms = self.runner.now_ms;
        let mut recovered = self.runner.recovered();
        assert_eq!(offsets(&mut recovered, now_ms), self.offsets);
        for group_id in GROUPS {
            let live = describe(&mut self.runner.coordinator, group_id, now_ms);
            let recovered = describe(&mut recovered, group_id, now_ms);
            let is_settled = |group: &GroupDescription| group.state == "Stable";
            if live.as_ref().is_some_and(is_settled) {
                assert_eq!(live, recovered);
            }
            assert!(
                live.is_some() || recovered.is_none(),
                "{group_id} has come back"
            );
        }
    }
}

/// In a stable group no partition has two owners.
fn check_owners(group: &GroupDescription) {
    if group.state != "Stable" {
        return;
    }
    let mut owners = BTreeMap::new();
    for member in &group.members {
        let assignment = std::str::from_utf8(&member.assignment).unwrap();
        for partition in assignment.split_terminator(',') {
            let before = owners.insert(partition.to_owned(), &member.member_id);
            assert_eq!(before, None, "partition {partition} has two owners");
        }
    }
}
