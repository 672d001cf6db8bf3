//! Members that leave or are taken out, and groups that end.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::advance::{is_giving_up, tombstones, write};
use super::group::ConsumerGroup;
use super::view::View;
use crate::classic::rebalance::Context;
use crate::deadlines::Timer;
use crate::records::consumer::{ConsumerGroupChange, GroupEpoch};

/// Takes members out. What they had goes to others with the next heartbeat of one of those.
pub(crate) fn remove(group: &ConsumerGroup, gone: &BTreeSet<&str>, cx: &mut Context) {
    let leaving = group
        .members()
        .iter()
        .filter(|(id, _)| gone.contains(&***id));
    // Of a decision that a crash cuts, the epoch is there: those who stay are given what those who are gone had.
    let mut changes = vec![epoch_without(group, gone, cx)];
    let mut regexes = BTreeSet::new();
    for (member_id, member) in leaving {
        changes.extend(tombstones(member_id));
        regexes.extend(member.metadata.regex.as_ref());
    }
    let uses = |regex: &Arc<str>| {
        let leaving = gone
            .iter()
            .filter_map(|id| group.member(id)?.metadata.regex.as_ref());
        group.regex_users(regex) > leaving.filter(|&theirs| theirs == regex).count()
    };
    let unused = regexes
        .into_iter()
        .filter(|&regex| group.regex(regex).is_some() && !uses(regex));
    changes.extend(unused.map(|regex| ConsumerGroupChange::Regex {
        regex: Arc::clone(regex),
        value: None,
    }));
    write(group, changes, cx);
    let mut stay = group
        .members()
        .iter()
        .filter(|(id, _)| !gone.contains(&***id));
    if stay.all(|(_, member)| member.uses_classic_protocol()) {
        look_at_protocol(group, cx);
    }
}

/// The group's epoch when these are gone.
fn epoch_without(
    group: &ConsumerGroup,
    gone: &BTreeSet<&str>,
    cx: &Context,
) -> ConsumerGroupChange {
    let view = View {
        group,
        topics: cx.topics,
        changed: None,
        gone,
        replaced: None,
        resolved: None,
        gathered: OnceCell::new(),
    };
    ConsumerGroupChange::Epoch(Some(GroupEpoch {
        epoch: group.epoch.epoch.saturating_add(1),
        metadata_hash: view.metadata_hash(),
    }))
}

/// Those who stay may all use the classic protocol. The group may go on with it then: to be looked at when
/// the log has what was decided now.
pub(crate) fn look_at_protocol(group: &ConsumerGroup, cx: &mut Context) {
    cx.arm(Timer::Downgrade(Arc::clone(&group.id)), 0);
}

/// Nothing was heard of the member for its session timeout.
pub(crate) fn session_is_due(group: &ConsumerGroup, member_id: &str, cx: &mut Context) {
    if group.member(member_id).is_some() {
        remove(group, &BTreeSet::from([member_id]), cx);
    }
}

/// The member has not done in time what it was told to do.
pub(crate) fn rebalance_is_due(group: &ConsumerGroup, member_id: &str, cx: &mut Context) {
    let is_late = group
        .member(member_id)
        .is_some_and(|member| member.uses_classic_protocol() || is_giving_up(&member.current));
    if is_late {
        remove(group, &BTreeSet::from([member_id]), cx);
    }
}

/// The records that end a group and everything in it but its offsets. The group itself comes last: what a
/// torn append leaves behind is a group with less in it.
pub(crate) fn end(group: &ConsumerGroup) -> Vec<ConsumerGroupChange> {
    let mut changes: Vec<ConsumerGroupChange> = Vec::new();
    for member_id in group.members().keys() {
        changes.extend(tombstones(member_id));
    }
    changes.extend(group.regexes().map(|regex| ConsumerGroupChange::Regex {
        regex: Arc::clone(regex),
        value: None,
    }));
    changes.push(ConsumerGroupChange::TargetEpoch(None));
    if group.has_partition_metadata {
        changes.push(ConsumerGroupChange::PartitionMetadata(false));
    }
    changes.push(ConsumerGroupChange::Epoch(None));
    changes
}
