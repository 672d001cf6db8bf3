//! Groups of the newer protocol among the others: their requests, their records and how groups change sides.

use std::sync::Arc;

use super::newcomers::Standing;
use super::{Group, GroupCoordinator, GroupTimes, Membership};
use crate::classic::group::ClassicGroup;
use crate::classic::rebalance::{Context, Who};
use crate::consumer::group::ConsumerGroup;
use crate::consumer::{conversion, describe, heartbeat, removal, timers};
use crate::deadlines::{Deadlines, Timer};
use crate::error::GroupError;
use crate::records::consumer::ConsumerGroupChange;
use crate::records::{GroupMetadata, OffsetsRecord};
use crate::reply::{ConsumerHeartbeatReply, GroupReply, Output};
use crate::request::{ConsumerHeartbeatRequest, DescribeRequest, JoinRequest, ReplyToken};
use crate::topics::Topics;

/// When a deadline is tried again whose records the log did not take.
const RETRY_MS: i64 = 1_000;

impl Group {
    /// What the log says about a classic group. The last word about a group counts: one that it makes a
    /// classic group is none of the newer protocol any more.
    pub(super) fn replay_classic(
        &mut self,
        value: Option<&GroupMetadata>,
        deadlines: &mut Deadlines,
    ) {
        if let Membership::Consumer(group) = &self.membership {
            if value.is_none() {
                return;
            }
            let classic = ClassicGroup::new(Arc::clone(&group.id), None);
            forget_timers(group, deadlines);
            self.membership = Membership::Classic(classic);
        }
        let Membership::Classic(classic) = &mut self.membership else {
            return;
        };
        self.is_deleted = value.is_some_and(GroupMetadata::is_deletion);
        match value.filter(|_| !self.is_deleted) {
            Some(value) => {
                for gone in classic.apply(value) {
                    deadlines.disarm(&classic.session_timer(&gone.id));
                }
            }
            None => {
                for member_id in classic.pending().chain(classic.members().keys()) {
                    deadlines.disarm(&classic.session_timer(member_id));
                }
                // It would be written as a group that has become empty.
                deadlines.disarm(&classic.join_timer());
                deadlines.disarm(&classic.sync_timer());
                *classic = ClassicGroup::new(Arc::clone(&classic.id), None);
                classic.recorded = self.is_deleted;
                self.lingers = false;
            }
        }
    }

    /// What the log says about a group of the newer protocol.
    pub(super) fn replay_consumer(
        &mut self,
        change: &ConsumerGroupChange,
        deadlines: &mut Deadlines,
    ) {
        if let Membership::Classic(classic) = &self.membership {
            if change.is_tombstone() {
                return;
            }
            for member_id in classic.pending().chain(classic.members().keys()) {
                deadlines.disarm(&classic.session_timer(member_id));
            }
            let group = ConsumerGroup::new(Arc::clone(&classic.id));
            self.membership = Membership::Consumer(group);
            // Members that came after it was said to be on its way out say that it is not.
            self.is_deleted = false;
        }
        let Membership::Consumer(group) = &mut self.membership else {
            return;
        };
        match change {
            ConsumerGroupChange::Member {
                member_id,
                value: None,
            } => timers::forget(&group.id, member_id, deadlines),
            ConsumerGroupChange::Epoch(None) => {
                forget_timers(group, deadlines);
                self.lingers = false;
            }
            _ => {}
        }
        group.apply(change);
        // What is left of a group that has ended is a group without members, of no protocol.
        if group.is_nothing() {
            let classic = ClassicGroup::new(Arc::clone(&group.id), None);
            self.membership = Membership::Classic(classic);
        }
    }
}

fn forget_timers(group: &ConsumerGroup, deadlines: &mut Deadlines) {
    for member_id in group.members().keys() {
        timers::forget(&group.id, member_id, deadlines);
    }
}

/// An empty group of the newer protocol ends when a member of the classic one joins. It has to ask again: the
/// classic group begins when the log has the end of the other one.
pub(super) fn make_room_for_classic(
    group: &ConsumerGroup,
    request: &JoinRequest,
    token: ReplyToken,
    cx: &mut Context,
) {
    let record = |change| OffsetsRecord::ConsumerGroup {
        group_id: Arc::clone(&group.id),
        change,
    };
    cx.out
        .records
        .extend(removal::end(group).into_iter().map(record));
    cx.out.reply(token, GroupReply::JoinAgain(request.clone()));
}

/// What a member with this epoch hears whose group is not there. Whoever reads has to join again: its group may have
/// been dismissed. Kafka says that there is no such group, after which Java's consumers end for good and librdkafka's
/// go on with an epoch that nobody knows.
fn no_group(epoch: i32) -> GroupError {
    match epoch > heartbeat::JOINS {
        true => GroupError::UnknownMemberId,
        false => GroupError::GroupIdNotFound,
    }
}

impl GroupCoordinator {
    /// Takes note of the topics as they are now. Groups look at them when their members are next heard of.
    pub fn set_topics(&mut self, topics: Arc<dyn Topics>) {
        self.topics = topics;
    }

    /// Takes note of what is set on single groups from now on; the others go by the config. It holds from when
    /// their members are next heard of.
    pub fn set_times(&mut self, times: Arc<GroupTimes>) {
        self.times = times;
    }

    pub(super) fn change_consumer(
        &mut self,
        group_id: &Arc<str>,
        now_ms: i64,
        out: &mut Output,
        change: impl FnOnce(&ConsumerGroup, &mut Context),
    ) {
        self.change(group_id, now_ms, out, |group, cx| {
            if let Membership::Consumer(group) = &group.membership {
                change(group, cx);
            }
        });
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        request: &ConsumerHeartbeatRequest,
        now_ms: i64,
        out: &mut Output,
    ) -> Result<ConsumerHeartbeatReply, GroupError> {
        heartbeat::validate(request)?;
        let group_id = &request.group_id;
        let joins = request.epoch == heartbeat::JOINS;
        if joins {
            let brought_bytes = heartbeat::newcomer_bytes(request);
            self.make_room_for_newcomer(group_id, brought_bytes, now_ms, out)?;
        }
        if !self.groups.contains_key(group_id) {
            if !joins {
                return Err(no_group(request.epoch));
            }
            if !self.has_room_for_group() {
                return Err(GroupError::CoordinatorNotAvailable);
            }
            self.insert(Group::new(group_id, Some(now_ms)), group_id);
        }
        let heard = self.change(group_id, now_ms, out, |group, cx| {
            let classic = match &mut group.membership {
                Membership::Consumer(consumer) => {
                    let reply = heartbeat::heartbeat(consumer, request, cx)?;
                    if request.epoch > heartbeat::JOINS {
                        group.standing = Standing::Known;
                    }
                    return Ok(reply);
                }
                Membership::Classic(classic) if joins => classic,
                Membership::Classic(_) => return Err(GroupError::GroupIdNotFound),
            };
            let mut upgrade = conversion::upgrade(classic, cx)?;
            // Names and partitions take more room than the bytes in which members wrote them.
            let more_bytes = upgrade.group.bytes().saturating_sub(classic.bytes());
            cx.take_room(more_bytes, Who::Newcomer)?;
            let reply = heartbeat::heartbeat(&mut upgrade.group, request, cx)?;
            let records = std::mem::take(&mut cx.out.records);
            upgrade.write(classic, records, cx);
            Ok(reply)
        });
        heard.unwrap_or(Err(GroupError::GroupIdNotFound))
    }

    pub(super) fn describe_consumer_group(&self, request: &DescribeRequest) -> GroupReply {
        let group = self.groups.get(&request.group_id);
        GroupReply::DescribeConsumerGroup(match group.map(|group| &group.membership) {
            Some(Membership::Consumer(group)) => Ok(describe::describe(group, &*self.topics)),
            Some(Membership::Classic(_)) | None => Err(GroupError::GroupIdNotFound),
        })
    }

    /// A change is not in the log. A member that it was to bring is not there, so nobody waits for it; what a
    /// deadline was to do is tried again.
    pub(super) fn was_not_stored(
        &mut self,
        group_id: &Arc<str>,
        change: &ConsumerGroupChange,
        now_ms: i64,
    ) {
        let deadlines = &mut self.deadlines;
        let group = match self.groups.get(group_id).map(|group| &group.membership) {
            Some(Membership::Consumer(group)) => Some(group),
            Some(Membership::Classic(_)) | None => None,
        };
        let again_ms = now_ms.saturating_add(RETRY_MS);
        match (change, group) {
            (ConsumerGroupChange::Current { member_id, .. }, group) => {
                let is_there = group.is_some_and(|group| group.member(member_id).is_some());
                match is_there {
                    true => timers::retry(group_id, member_id, again_ms, deadlines),
                    false => timers::forget(group_id, member_id, deadlines),
                }
            }
            (ConsumerGroupChange::Epoch(None), Some(_)) => {
                deadlines.arm(Timer::Downgrade(Arc::clone(group_id)), again_ms);
            }
            _ => {}
        }
    }
}
