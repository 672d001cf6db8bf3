//! Members that use the classic protocol in a group of the newer one: while a group moves from one to the
//! other, they join, ask for their assignment and send heartbeats as before. The member epoch is their
//! generation; there is no leader.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::Uuid;
use tidewheel_protocol::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, PROTOCOL_TYPE, TopicPartition,
};

use super::advance::{Heard, advance, is_giving_up};
use super::group::{ConsumerGroup, Member};
use super::{removal, timers};
use crate::classic::join::new_member_id;
use crate::classic::member::kept_protocols;
use crate::classic::rebalance::Context;
use crate::error::GroupError;
use crate::records::consumer::{ClassicSide, ConsumerMember, MemberState, TopicIdPartition};
use crate::reply::{JoinReply, Joined, MemberLeft, Synced};
use crate::request::{HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, SyncRequest};
use crate::topics::Topics;

/// What a member says about itself in JoinGroup, and what it says that it reads.
pub(super) fn classic_metadata(
    instance_id: Option<&Arc<str>>,
    client: (&Arc<str>, &Arc<str>),
    timeouts_ms: (i32, i32),
    protocols: &[crate::request::JoinProtocol],
    topics: &dyn Topics,
) -> Option<(ConsumerMember, BTreeSet<TopicIdPartition>)> {
    let subscription = protocols.first()?.metadata.clone();
    let subscription = ConsumerProtocolSubscription::decode(subscription).ok()?;
    let (session_timeout_ms, rebalance_timeout_ms) = timeouts_ms;
    let names = subscription.topics.iter();
    let member = ConsumerMember {
        instance_id: instance_id.map(Arc::clone),
        rack_id: subscription.rack_id.as_deref().map(Arc::from),
        client_id: Arc::clone(client.0),
        client_host: Arc::clone(client.1),
        topics: Arc::new(names.map(|name| Arc::from(name.as_str())).collect()),
        regex: None,
        rebalance_timeout_ms: rebalance_timeout_ms.max(0),
        assignor: None,
        classic: Some(ClassicSide {
            session_timeout_ms,
            protocols: kept_protocols(protocols),
        }),
    };
    Some((member, with_ids(&subscription.owned_partitions, topics)))
}

/// Partitions by the ids of their topics, as far as there are such topics.
pub(super) fn with_ids(
    named: &[TopicPartition],
    topics: &dyn Topics,
) -> BTreeSet<TopicIdPartition> {
    let mut partitions = BTreeSet::new();
    for topic in named {
        if let Some(info) = topics.topic(&topic.topic) {
            partitions.extend(topic.partitions.iter().map(|&partition| TopicIdPartition {
                topic_id: info.id,
                partition,
            }));
        }
    }
    partitions
}

/// What a member reads, as members of the classic protocol are told of it.
pub(super) fn classic_assignment(member: &Member, topics: &dyn Topics) -> Bytes {
    let mut named: Vec<(Uuid, TopicPartition)> = Vec::new();
    for partition in member.current.assigned.keys() {
        match named.last_mut() {
            Some((topic_id, last)) if *topic_id == partition.topic_id => {
                last.partitions.push(partition.partition);
            }
            _ => {
                if let Some(name) = topics.name(partition.topic_id) {
                    let topic = TopicPartition {
                        topic: (&**name).into(),
                        partitions: vec![partition.partition],
                    };
                    named.push((partition.topic_id, topic));
                }
            }
        }
    }
    let metadata = member
        .metadata
        .classic
        .as_ref()
        .and_then(|c| c.protocols.first());
    let version = metadata.and_then(|protocol| protocol.metadata.first_chunk::<2>());
    let version = version.map_or(0, |version| i16::from_be_bytes(*version));
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: named.into_iter().map(|(_, topic)| topic).collect(),
        user_data: None,
    };
    assignment.encode(version)
}

/// Handles JoinGroup. Nobody waits for others here: the answer is there at once.
pub(crate) fn join(
    group: &mut ConsumerGroup,
    request: &JoinRequest,
    cx: &mut Context,
) -> JoinReply {
    let member_id = match request.member_id.is_empty() {
        true => new_member_id(request),
        false => Arc::clone(&request.member_id),
    };
    let result = join_as(group, &member_id, request, cx);
    let told_id = match &result {
        Ok(_) | Err(GroupError::MemberIdRequired) => member_id,
        Err(_) => Arc::clone(&request.member_id),
    };
    JoinReply {
        member_id: told_id,
        result,
    }
}

fn join_as(
    group: &mut ConsumerGroup,
    member_id: &Arc<str>,
    request: &JoinRequest,
    cx: &mut Context,
) -> Result<Joined, GroupError> {
    let is_new_here = request.member_id.is_empty();
    let known = match &request.instance_id {
        None => group.member_entry(member_id),
        Some(instance_id) => {
            let known = group.static_member(instance_id);
            match known {
                Some((known_id, _)) if !is_new_here && known_id != member_id => {
                    return Err(GroupError::FencedInstanceId);
                }
                None if !is_new_here => return Err(GroupError::UnknownMemberId),
                known => known,
            }
        }
    };
    if known.is_none() && group.members().len() >= cx.consumer_members_max() {
        return Err(GroupError::GroupMaxSizeReached);
    }
    let names: BTreeSet<&str> = request.protocols.iter().map(|p| &*p.name).collect();
    let common = group.common_classic_protocols();
    let is_common = common.is_none_or(|common| !common.is_disjoint(&names));
    if *request.protocol_type != *PROTOCOL_TYPE || !is_common {
        return Err(GroupError::InconsistentGroupProtocol);
    }
    let (metadata, owned) = classic_metadata(
        request.instance_id.as_ref(),
        (&request.client_id, &request.client_host),
        (request.session_timeout_ms, request.rebalance_timeout_ms),
        &request.protocols,
        cx.topics,
    )
    .ok_or(GroupError::InconsistentGroupProtocol)?;
    if is_new_here && request.instance_id.is_none() && request.member_id_required {
        return Err(GroupError::MemberIdRequired);
    }
    let is_same = known.is_some_and(|(id, _)| id == member_id);
    let takes_place = known.is_some_and(|(_, member)| !member.uses_classic_protocol());
    let protocol_name = metadata.classic.as_ref().and_then(|c| c.protocols.first());
    let protocol_name = protocol_name.map(|protocol| Arc::clone(&protocol.name));
    let heard = Heard {
        member_id: Arc::clone(member_id),
        before: known.filter(|_| is_same).map(|(_, member)| member),
        replaced: known.filter(|_| !is_same),
        joins: is_new_here,
        metadata: Arc::new(metadata),
        owned: Some(&owned),
    };
    let advanced = advance(group, heard, cx)?;
    advanced.note(group, cx.topics.version());
    timers::expect(group, member_id, request.rebalance_timeout_ms.max(0), cx);
    // The member may have taken the place of the last one that used the newer protocol.
    if takes_place {
        removal::look_at_protocol(group, cx);
    }
    Ok(Joined {
        generation: advanced.current.epoch,
        protocol_type: Some(PROTOCOL_TYPE.into()),
        protocol_name,
        leader: "".into(),
        skip_assignment: false,
        members: Vec::new(),
    })
}

/// The member that a request of the classic protocol speaks for.
fn classic_member<'a>(
    group: &'a ConsumerGroup,
    member_id: &str,
    instance_id: Option<&Arc<str>>,
) -> Result<(&'a Arc<str>, &'a Member, &'a ClassicSide), GroupError> {
    let (known_id, member) = known_member(group, member_id, instance_id)?;
    let classic = member.metadata.classic.as_ref();
    let classic = classic.ok_or(GroupError::UnknownMemberId)?;
    Ok((known_id, member, classic))
}

/// The member of either protocol under this id, and this instance id if it has one.
fn known_member<'a>(
    group: &'a ConsumerGroup,
    member_id: &str,
    instance_id: Option<&Arc<str>>,
) -> Result<(&'a Arc<str>, &'a Member), GroupError> {
    let known = match instance_id {
        None => group.member_entry(member_id),
        Some(instance_id) => group.static_member(instance_id),
    };
    let (known_id, member) = known.ok_or(GroupError::UnknownMemberId)?;
    match **known_id == *member_id {
        true => Ok((known_id, member)),
        false => Err(GroupError::FencedInstanceId),
    }
}

/// Handles SyncGroup.
pub(crate) fn sync(
    group: &ConsumerGroup,
    request: &SyncRequest,
    cx: &mut Context,
) -> Result<Synced, GroupError> {
    let instance_id = request.instance_id.as_ref();
    let (member_id, member, classic) = classic_member(group, &request.member_id, instance_id)?;
    if request.generation != member.current.epoch {
        return Err(GroupError::IllegalGeneration);
    }
    let protocol_name = classic.protocols.first().map(|protocol| &protocol.name);
    let has_other_type = request
        .protocol_type
        .as_deref()
        .is_some_and(|t| t != PROTOCOL_TYPE);
    let has_other_name = request
        .protocol_name
        .as_ref()
        .is_some_and(|n| Some(n) != protocol_name);
    if has_other_type || has_other_name {
        return Err(GroupError::InconsistentGroupProtocol);
    }
    if group.epoch.epoch > member.current.epoch && !is_giving_up(&member.current) {
        let in_ms = member.metadata.rebalance_timeout_ms;
        timers::expect_if_not_yet(group, member_id, in_ms, cx);
        return Err(GroupError::RebalanceInProgress);
    }
    timers::has_done(group, member_id, cx);
    timers::heard_of(group, member_id, &member.metadata, cx);
    Ok(Synced {
        protocol_type: request.protocol_type.clone(),
        protocol_name: request.protocol_name.clone(),
        assignment: classic_assignment(member, cx.topics),
    })
}

/// Handles Heartbeat: a member that could get closer to its target is told to join again.
pub(crate) fn heartbeat(
    group: &ConsumerGroup,
    request: &HeartbeatRequest,
    cx: &mut Context,
) -> Result<(), GroupError> {
    let instance_id = request.instance_id.as_ref();
    let (member_id, member, _) = classic_member(group, &request.member_id, instance_id)?;
    let current = &member.current;
    if request.generation != current.epoch {
        return Err(GroupError::IllegalGeneration);
    }
    timers::heard_of(group, member_id, &member.metadata, cx);
    let waits_for = |p: &TopicIdPartition| {
        !current.assigned.contains_key(p) && group.owner(*p).is_some_and(|o| o != member_id)
    };
    let could_go_on = match current.state {
        MemberState::Stable => false,
        MemberState::UnrevokedPartitions => true,
        MemberState::UnreleasedPartitions => {
            let target = group.target(member_id);
            target.is_none_or(|target| !target.iter().any(waits_for))
        }
    };
    if current.epoch < group.epoch.epoch || could_go_on {
        let in_ms = member.metadata.rebalance_timeout_ms;
        timers::expect_if_not_yet(group, member_id, in_ms, cx);
        return Err(GroupError::RebalanceInProgress);
    }
    Ok(())
}

/// Handles LeaveGroup.
pub(crate) fn leave(
    group: &ConsumerGroup,
    request: &LeaveRequest,
    cx: &mut Context,
) -> Vec<MemberLeft> {
    let mut gone: BTreeSet<&str> = BTreeSet::new();
    let mut left = Vec::with_capacity(request.members.len());
    for leaving in &request.members {
        let found = who_leaves(group, leaving);
        let found = found.and_then(|id| {
            gone.insert(id)
                .then_some(())
                .ok_or(GroupError::UnknownMemberId)
        });
        left.push(MemberLeft {
            member_id: Arc::clone(&leaving.member_id),
            instance_id: leaving.instance_id.clone(),
            result: found,
        });
    }
    if !gone.is_empty() {
        removal::remove(group, &gone, cx);
    }
    left
}

/// An administrator takes members of either protocol out.
fn who_leaves<'a>(
    group: &'a ConsumerGroup,
    leaving: &LeavingMember,
) -> Result<&'a str, GroupError> {
    let instance_id = leaving.instance_id.as_ref();
    // A static one by its instance id alone.
    if leaving.member_id.is_empty() {
        let known = instance_id.and_then(|instance_id| group.static_member(instance_id));
        return known
            .map(|(id, _)| &**id)
            .ok_or(GroupError::UnknownMemberId);
    }
    let found = known_member(group, &leaving.member_id, instance_id);
    found.map(|(member_id, _)| &**member_id)
}
