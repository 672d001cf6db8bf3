//! Groups that move from one protocol to the other, with their members.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::consumer_protocol::{ConsumerProtocolAssignment, PROTOCOL_TYPE};

use super::advance::{is_giving_up, write};
use super::classic_members::{classic_assignment, classic_metadata, with_ids};
use super::group::{ConsumerGroup, Member};
use super::{removal, timers};
use crate::classic::group::ClassicGroup;
use crate::classic::member::Member as ClassicMember;
use crate::classic::rebalance::Context;
use crate::deadlines::Timer;
use crate::error::GroupError;
use crate::records::OffsetsRecord;
use crate::records::consumer::{
    ConsumerGroupChange, ConsumerMember, CurrentAssignment, GroupEpoch, MemberState,
    OwnedPartitions, TargetEpoch,
};
use crate::reply::{GroupReply, JoinReply};

/// The group of the newer protocol that takes the place of a classic one, as it will be when the changes are
/// in the log.
pub(crate) struct Upgrade {
    pub(crate) group: ConsumerGroup,
    changes: Vec<ConsumerGroupChange>,
    ends_classic: bool,
}

/// Makes a group of the newer protocol out of a classic one.
///
/// # Errors
/// If its members are no consumers, or say what cannot be read, or the settings forbid it.
pub(crate) fn upgrade(classic: &ClassicGroup, cx: &Context) -> Result<Upgrade, GroupError> {
    let mut upgrade = Upgrade {
        group: ConsumerGroup::new(Arc::clone(&classic.id)),
        changes: Vec::new(),
        ends_classic: classic.recorded || !classic.is_empty(),
    };
    if classic.is_empty() {
        return Ok(upgrade);
    }
    let is_allowed = cx.config.consumer_upgrade
        && classic.uses_consumer_protocol()
        && classic.members().len() <= cx.consumer_members_max();
    if !is_allowed {
        return Err(GroupError::GroupIdNotFound);
    }
    let epoch = classic.generation.max(upgrade.group.epoch.epoch);
    let mut members = Vec::new();
    let mut taken = BTreeSet::new();
    // Those who have joined no generation do not know that they are members: they will join again.
    for member in classic.members().values().filter(|member| !member.is_new) {
        let (metadata, current) = converted(member, epoch, &mut taken, cx)?;
        members.push((Arc::clone(&member.id), metadata, current));
    }
    for (member_id, metadata, _) in &members {
        upgrade.add(ConsumerGroupChange::Member {
            member_id: Arc::clone(member_id),
            value: Some(Arc::new(metadata.clone())),
        });
    }
    upgrade.add(ConsumerGroupChange::Epoch(Some(GroupEpoch {
        epoch,
        metadata_hash: 0,
    })));
    for (member_id, _, current) in &members {
        upgrade.add(ConsumerGroupChange::Target {
            member_id: Arc::clone(member_id),
            value: Some(Arc::new(current.assigned.keys().copied().collect())),
        });
    }
    upgrade.add(ConsumerGroupChange::TargetEpoch(Some(TargetEpoch {
        epoch,
        timestamp_ms: cx.now_ms,
    })));
    for (member_id, _, current) in members {
        let value = Some(Arc::new(current));
        upgrade.add(ConsumerGroupChange::Current { member_id, value });
    }
    Ok(upgrade)
}

impl Upgrade {
    fn add(&mut self, change: ConsumerGroupChange) {
        self.group.apply(&change);
        self.changes.push(change);
    }

    /// Puts the changes into the output, before what `records` holds already, and tells members that wait in
    /// the classic group to join again.
    pub(crate) fn write(
        self,
        classic: &mut ClassicGroup,
        records: Vec<OffsetsRecord>,
        cx: &mut Context,
    ) {
        let error = GroupError::RebalanceInProgress;
        for (_, token) in classic.take_syncs() {
            cx.out.reply(token, GroupReply::Sync(Err(error)));
        }
        for (member_id, token) in classic.take_joins() {
            let result = Err(error);
            let reply = JoinReply { member_id, result };
            cx.out.reply(token, GroupReply::Join(reply));
        }
        if self.ends_classic {
            cx.out.records.push(OffsetsRecord::GroupMetadata {
                group_id: Arc::clone(&classic.id),
                value: None,
            });
        }
        write(&self.group, self.changes, cx);
        cx.out.records.extend(records);
        for (member_id, member) in self.group.members() {
            timers::heard_of(&self.group, member_id, &member.metadata, cx);
        }
    }
}

/// A classic member as one of the newer protocol. What two members claim stays with the first. In the middle
/// of a rebalance there are no assignments: cooperative members go on reading what they say they have.
fn converted(
    member: &ClassicMember,
    epoch: i32,
    taken: &mut BTreeSet<crate::records::consumer::TopicIdPartition>,
    cx: &Context,
) -> Result<(ConsumerMember, CurrentAssignment), GroupError> {
    let (metadata, owned) = classic_metadata(
        member.instance_id.as_ref(),
        (&member.client_id, &member.client_host),
        (member.session_timeout_ms, member.rebalance_timeout_ms),
        &member.protocols,
        cx.topics,
    )
    .ok_or(GroupError::GroupIdNotFound)?;
    let assigned = match member.assignment.is_empty() {
        true => owned,
        false => {
            let assignment = ConsumerProtocolAssignment::decode(member.assignment.clone());
            let assignment = assignment.map_err(|_| GroupError::GroupIdNotFound)?;
            with_ids(&assignment.assigned_partitions, cx.topics)
        }
    };
    let own = assigned
        .into_iter()
        .filter(|&partition| taken.insert(partition));
    let current = CurrentAssignment {
        epoch,
        previous_epoch: epoch,
        state: MemberState::Stable,
        assigned: own.map(|partition| (partition, epoch)).collect(),
        revoking: OwnedPartitions::new(),
    };
    Ok((metadata, current))
}

/// Begins to serve a group that was replayed: sessions begin now.
pub(crate) fn loaded(group: &ConsumerGroup, cx: &mut Context) {
    for (member_id, member) in group.members() {
        timers::heard_of(group, member_id, &member.metadata, cx);
        // A member of the classic protocol is told to join again with its next heartbeat.
        if !member.uses_classic_protocol() && is_giving_up(&member.current) {
            timers::expect(group, member_id, member.metadata.rebalance_timeout_ms, cx);
        }
    }
    removal::look_at_protocol(group, cx);
}

/// Lets the group go on with the classic protocol, if all its members use that: they are to join again then.
pub(crate) fn maybe_downgrade(group: &ConsumerGroup, cx: &mut Context) {
    let is_due = cx.config.consumer_downgrade
        && group.has_only_classic_members()
        && group.members().len() <= cx.members_max();
    if !is_due {
        return;
    }
    let mut classic = ClassicGroup::new(Arc::clone(&group.id), Some(cx.now_ms));
    for (member_id, member) in group.members() {
        if let Some(member) = classic_again(member_id, member, cx) {
            classic.add(member);
        }
    }
    classic.protocol_type = Some(PROTOCOL_TYPE.into());
    // The generation that members know, so that they are told to join again and not that they are out.
    let epochs = group.members().values().map(|member| member.current.epoch);
    classic.generation = epochs.max().unwrap_or(group.epoch.epoch);
    classic.protocol_name = classic.select_protocol();
    let record = classic.record(|member| member.assignment.clone());
    for member in classic.members().values() {
        classic.heard_of(member, cx);
    }
    write(group, removal::end(group), cx);
    cx.out.records.push(record);
    cx.arm(Timer::Rebalance(Arc::clone(&group.id)), 0);
}

fn classic_again(member_id: &Arc<str>, member: &Member, cx: &Context) -> Option<ClassicMember> {
    let metadata = &member.metadata;
    let classic = metadata.classic.as_ref()?;
    Some(ClassicMember {
        id: Arc::clone(member_id),
        instance_id: metadata.instance_id.clone(),
        client_id: Arc::clone(&metadata.client_id),
        client_host: Arc::clone(&metadata.client_host),
        rebalance_timeout_ms: metadata.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocols: classic.protocols.clone(),
        assignment: Bytes::clone(&classic_assignment(member, cx.topics)),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    })
}
