//! ConsumerGroupHeartbeat: all that a member says to its group and hears from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_config::limits;
use tidewheel_protocol::Uuid;

use super::advance::{Advanced, Heard, advance, write};
use super::assignor::Assignor;
use super::group::{ConsumerGroup, Member, member_bytes, place_bytes};
use super::{removal, timers};
use crate::classic::rebalance::Context;
use crate::error::GroupError;
use crate::records::consumer::{
    ConsumerGroupChange, ConsumerMember, CurrentAssignment, OwnedPartitions, TopicIdPartition,
};
use crate::reply::{AssignedTopic, ConsumerHeartbeatReply};
use crate::request::ConsumerHeartbeatRequest;

/// The epoch of a member that joins.
pub(crate) const JOINS: i32 = 0;
/// The epoch of a member that leaves.
const LEAVES: i32 = -1;
/// The epoch of a static member that leaves and comes back.
const LEAVES_FOR_NOW: i32 = -2;

/// Whether the request makes sense, whatever the group is like.
pub(crate) fn validate(request: &ConsumerHeartbeatRequest) -> Result<(), GroupError> {
    // As Java trims a text.
    let is_blank = |text: &str| text.chars().all(|c| c <= ' ');
    let names_nothing = |text: &Option<Arc<str>>| text.as_deref().is_some_and(is_blank);
    let needs_member_id = request.chooses_member_id || request.epoch != JOINS;
    let is_valid = match request.epoch {
        JOINS => {
            request.rebalance_timeout_ms >= 0
                && request.owned.as_ref().is_some_and(BTreeSet::is_empty)
                && (request.topics.is_some() || request.regex.is_some())
        }
        LEAVES_FOR_NOW => request.instance_id.is_some(),
        epoch => epoch >= LEAVES && request.rebalance_timeout_ms >= -1,
    };
    if is_blank(&request.group_id)
        || names_nothing(&request.instance_id)
        || names_nothing(&request.rack_id)
        || (needs_member_id && is_blank(&request.member_id))
        || !is_valid
    {
        return Err(GroupError::InvalidRequest);
    }
    if request.group_id.len() > limits::GROUP_ID_LEN_MAX {
        return Err(GroupError::InvalidGroupId);
    }
    match request.assignor.as_deref().map(Assignor::find) {
        Some(None) => Err(GroupError::UnsupportedAssignor),
        _ => Ok(()),
    }
}

/// Topics and partitions as members are told of them.
pub(crate) fn by_topic<'a>(
    partitions: impl Iterator<Item = &'a TopicIdPartition>,
) -> Vec<AssignedTopic> {
    let mut topics: Vec<AssignedTopic> = Vec::new();
    for partition in partitions {
        match topics.last_mut() {
            Some(last) if last.topic_id == partition.topic_id => {
                last.partitions.push(partition.partition);
            }
            _ => topics.push(AssignedTopic {
                topic_id: partition.topic_id,
                partitions: vec![partition.partition],
            }),
        }
    }
    topics
}

/// Handles a heartbeat of a member that stays or leaves, or of a new one.
pub(crate) fn heartbeat(
    group: &mut ConsumerGroup,
    request: &ConsumerHeartbeatRequest,
    cx: &mut Context,
) -> Result<ConsumerHeartbeatReply, GroupError> {
    if request.epoch < JOINS {
        return leave(group, request, cx);
    }
    let advanced = stay(group, request, cx)?;
    advanced.note(group, cx.topics.version());
    let is_full = request.epoch == JOINS
        || (request.rebalance_timeout_ms != -1
            && (request.topics.is_some() || request.regex.is_some())
            && request.owned.is_some());
    let is_told = is_full || advanced.has_other_partitions;
    Ok(ConsumerHeartbeatReply {
        epoch: advanced.current.epoch,
        heartbeat_interval_ms: cx.times.heartbeat_interval_ms,
        assignment: is_told.then(|| by_topic(advanced.current.assigned.keys())),
        member_id: advanced.member_id,
    })
}

fn stay(
    group: &ConsumerGroup,
    request: &ConsumerHeartbeatRequest,
    cx: &mut Context,
) -> Result<Advanced, GroupError> {
    let member_id = match request.member_id.is_empty() {
        true => Uuid(request.new_member_uuid.to_be_bytes())
            .to_string()
            .into(),
        false => Arc::clone(&request.member_id),
    };
    let known = find(group, &member_id, request)?;
    if known.is_none() && group.members().len() >= cx.consumer_members_max() {
        return Err(GroupError::GroupMaxSizeReached);
    }
    let metadata = updated(known.map(|(_, member)| &member.metadata), request);
    if member_bytes(&metadata) > cx.limits.member_bytes {
        return Err(GroupError::InvalidRequest);
    }
    let is_same = known.is_some_and(|(id, _)| **id == *member_id);
    let heard = Heard {
        before: known.filter(|_| is_same).map(|(_, member)| member),
        replaced: known.filter(|_| !is_same),
        joins: request.epoch == JOINS,
        metadata,
        owned: request.owned.as_ref(),
        member_id,
    };
    advance(group, heard, cx)
}

/// The member that the request speaks for or, where a static member comes back, the one it replaces.
fn find<'a>(
    group: &'a ConsumerGroup,
    member_id: &str,
    request: &ConsumerHeartbeatRequest,
) -> Result<Option<(&'a Arc<str>, &'a Member)>, GroupError> {
    let joins = request.epoch == JOINS;
    let Some(instance_id) = &request.instance_id else {
        let known = group.member_entry(member_id);
        let member = known.map(|(_, member)| member);
        return match member {
            None if joins => Ok(None),
            None => Err(GroupError::UnknownMemberId),
            Some(member) => validate_epoch(&member.current, request).map(|()| known),
        };
    };
    let known = group.static_member(instance_id);
    let Some((known_id, member)) = known else {
        let is_taken = group.member(member_id).is_some();
        return match joins && !is_taken {
            true => Ok(None),
            false => Err(GroupError::UnknownMemberId),
        };
    };
    if joins {
        // Its own id: it did not hear that it has joined.
        let is_free = member.current.epoch == LEAVES_FOR_NOW
            || member.uses_classic_protocol()
            || **known_id == *member_id;
        if !is_free {
            return Err(GroupError::UnreleasedInstanceId);
        }
        // The id must not be that of another member.
        let is_taken = **known_id != *member_id && group.member(member_id).is_some();
        return match is_taken {
            true => Err(GroupError::InvalidRequest),
            false => Ok(known),
        };
    }
    if **known_id != *member_id {
        return Err(GroupError::FencedInstanceId);
    }
    validate_epoch(&member.current, request).map(|()| known)
}

/// A member that did not hear of its new epoch comes with the one before, and with nothing that it was not
/// told to read.
fn validate_epoch(
    current: &CurrentAssignment,
    request: &ConsumerHeartbeatRequest,
) -> Result<(), GroupError> {
    let reads_only = |assigned: &OwnedPartitions| {
        let owned = request.owned.as_ref();
        owned.is_some_and(|owned| owned.iter().all(|p| assigned.contains_key(p)))
    };
    let is_current = request.epoch == current.epoch;
    let missed_the_last = current.epoch > request.epoch
        && current.previous_epoch == request.epoch
        && reads_only(&current.assigned);
    match is_current || missed_the_last || request.epoch == JOINS {
        true => Ok(()),
        false => Err(GroupError::FencedMemberEpoch),
    }
}

/// Whether the request says nothing about the member but that it lives, as most do.
fn is_plain(before: &ConsumerMember, request: &ConsumerHeartbeatRequest) -> bool {
    let says_more = request.topics.is_some()
        || request.regex.is_some()
        || request.rack_id.is_some()
        || request.assignor.is_some()
        || request.rebalance_timeout_ms >= 0;
    let instance_id = request.instance_id.as_ref();
    !says_more
        && before.classic.is_none()
        && before.client_id == request.client_id
        && before.client_host == request.client_host
        && instance_id.is_none_or(|id| before.instance_id.as_ref() == Some(id))
}

/// What the member says about itself: what the request leaves out stays.
fn updated(
    before: Option<&Arc<ConsumerMember>>,
    request: &ConsumerHeartbeatRequest,
) -> Arc<ConsumerMember> {
    if let Some(before) = before.filter(|before| is_plain(before, request)) {
        return Arc::clone(before);
    }
    let mut member = before.map_or_else(ConsumerMember::default, |before| {
        ConsumerMember::clone(before)
    });
    member.classic = None;
    member.client_id = Arc::clone(&request.client_id);
    member.client_host = Arc::clone(&request.client_host);
    if let Some(instance_id) = &request.instance_id {
        member.instance_id = Some(Arc::clone(instance_id));
    }
    if let Some(rack_id) = &request.rack_id {
        member.rack_id = Some(Arc::clone(rack_id));
    }
    if request.rebalance_timeout_ms >= 0 {
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(assignor) = &request.assignor {
        member.assignor = Some(Arc::clone(assignor));
    }
    if let Some(topics) = &request.topics {
        member.topics = Arc::new(topics.iter().map(Arc::clone).collect());
    }
    if let Some(regex) = &request.regex {
        member.regex = Some(Arc::clone(regex)).filter(|regex| !regex.is_empty());
    }
    Arc::new(member)
}

/// Bytes that a new member brings, about.
pub(crate) fn newcomer_bytes(request: &ConsumerHeartbeatRequest) -> usize {
    place_bytes(&request.member_id) + member_bytes(&updated(None, request))
}

fn leave(
    group: &ConsumerGroup,
    request: &ConsumerHeartbeatRequest,
    cx: &mut Context,
) -> Result<ConsumerHeartbeatReply, GroupError> {
    let (member_id, member) = match &request.instance_id {
        None => group.member_entry(&request.member_id),
        Some(instance_id) => group.static_member(instance_id),
    }
    .ok_or(GroupError::UnknownMemberId)?;
    if *member_id != request.member_id {
        return Err(GroupError::FencedInstanceId);
    }
    if request.epoch == LEAVES_FOR_NOW {
        let current = CurrentAssignment {
            epoch: LEAVES_FOR_NOW,
            revoking: OwnedPartitions::new(),
            ..CurrentAssignment::clone(&member.current)
        };
        // It need not give up any more what it was told to.
        timers::has_done(group, member_id, cx);
        let (member_id, value) = (Arc::clone(member_id), Some(Arc::new(current)));
        write(
            group,
            [ConsumerGroupChange::Current { member_id, value }],
            cx,
        );
    } else {
        removal::remove(group, &BTreeSet::from([&**member_id]), cx);
    }
    Ok(ConsumerHeartbeatReply {
        member_id: Arc::clone(&request.member_id),
        epoch: request.epoch,
        heartbeat_interval_ms: 0,
        assignment: None,
    })
}
