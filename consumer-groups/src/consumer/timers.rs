//! How long silence of members is borne.

use std::sync::Arc;

use super::advance::{Heard, is_giving_up};
use super::group::ConsumerGroup;
use crate::classic::rebalance::Context;
use crate::deadlines::{Deadlines, Timer};
use crate::records::consumer::{ConsumerMember, CurrentAssignment};

fn session(group_id: &Arc<str>, member_id: &Arc<str>) -> Timer {
    Timer::ConsumerSession {
        group_id: Arc::clone(group_id),
        member_id: Arc::clone(member_id),
    }
}

fn rebalance(group_id: &Arc<str>, member_id: &Arc<str>) -> Timer {
    Timer::ConsumerRebalance {
        group_id: Arc::clone(group_id),
        member_id: Arc::clone(member_id),
    }
}

/// The member was heard of: its session begins anew.
pub(super) fn heard_of(
    group: &ConsumerGroup,
    member_id: &Arc<str>,
    member: &ConsumerMember,
    cx: &mut Context,
) {
    let timeout_ms = match &member.classic {
        Some(classic) => classic.session_timeout_ms,
        None => cx.times.session_timeout_ms,
    };
    cx.arm(session(&group.id, member_id), i64::from(timeout_ms));
}

/// A member that has to give partitions up has its rebalance timeout for that, from when it is told.
pub(super) fn gives_up(
    group: &ConsumerGroup,
    heard: &Heard,
    current: &CurrentAssignment,
    has_changed: bool,
    cx: &mut Context,
) {
    let timer = rebalance(&group.id, &heard.member_id);
    if !is_giving_up(current) {
        cx.deadlines.disarm(&timer);
    } else if has_changed || !cx.deadlines.is_armed(&timer) {
        cx.arm(timer, i64::from(heard.metadata.rebalance_timeout_ms));
    }
}

/// A member that uses the classic protocol is to do something within its rebalance timeout.
pub(super) fn expect(group: &ConsumerGroup, member_id: &Arc<str>, in_ms: i32, cx: &mut Context) {
    cx.arm(rebalance(&group.id, member_id), i64::from(in_ms));
}

/// The same, unless it is expected to do something already.
pub(super) fn expect_if_not_yet(
    group: &ConsumerGroup,
    member_id: &Arc<str>,
    in_ms: i32,
    cx: &mut Context,
) {
    if !cx.deadlines.is_armed(&rebalance(&group.id, member_id)) {
        expect(group, member_id, in_ms, cx);
    }
}

/// The member has done what was expected of it.
pub(super) fn has_done(group: &ConsumerGroup, member_id: &Arc<str>, cx: &mut Context) {
    cx.deadlines.disarm(&rebalance(&group.id, member_id));
}

/// The member's session may have ended without the log taking note: it is looked at again, unless it goes
/// on anyway.
pub(crate) fn retry(
    group_id: &Arc<str>,
    member_id: &Arc<str>,
    at_ms: i64,
    deadlines: &mut Deadlines,
) {
    let timer = session(group_id, member_id);
    if !deadlines.is_armed(&timer) {
        deadlines.arm(timer, at_ms);
    }
}

/// The member is gone.
pub(crate) fn forget(group_id: &Arc<str>, member_id: &Arc<str>, deadlines: &mut Deadlines) {
    deadlines.disarm(&session(group_id, member_id));
    deadlines.disarm(&rebalance(group_id, member_id));
}
