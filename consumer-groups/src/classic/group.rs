//! A classic group: who is in it, and what its members have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::consumer_protocol;

use super::member::Member;
use crate::error::GroupError;
use crate::records::{GroupMetadata, OffsetsRecord};
use crate::reply::JoinedMember;
use crate::request::{JoinProtocol, ReplyToken};

/// Estimated bytes of a pending member beside its id, its timer included.
const PENDING_MEMBER_BYTES: usize = 256;

/// Estimated bytes of a pending member whose id is so long.
pub(crate) fn pending_bytes(id_len: usize) -> usize {
    PENDING_MEMBER_BYTES + id_len
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No members; maybe offsets.
    Empty,
    /// Members are joining. `initial` while a group that was empty waits for more of them.
    PreparingRebalance { initial: Option<InitialDelay> },
    /// All have joined; the leader's assignment is awaited.
    CompletingRebalance,
    /// The members have their assignments.
    Stable,
}

/// How long a group that was empty still waits for members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InitialDelay {
    /// The wait under way.
    pub(crate) delay_ms: i64,
    /// What may be waited after it.
    pub(crate) remaining_ms: i64,
    /// Whether somebody came during this wait, which makes another one worthwhile.
    pub(crate) member_added: bool,
}

/// What is put back if the log does not take the record that replaces a static member.
#[derive(Debug)]
pub(crate) struct Replaced {
    /// Who was replaced.
    pub(crate) member: Member,
    /// By whom.
    pub(crate) new_id: Arc<str>,
}

/// A classic group.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    pub(crate) id: Arc<str>,
    pub(crate) state: State,
    /// Since when the group is in its state, if known.
    pub(crate) state_timestamp_ms: Option<i64>,
    pub(crate) generation: i32,
    /// None until the group has had a member: then it is used for its offsets only.
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol_name: Option<Arc<str>>,
    pub(crate) leader: Option<Arc<str>>,
    /// Members that have been sent the generation and have not asked for their assignment.
    pub(crate) pending_sync: BTreeSet<Arc<str>>,
    /// The static member that was replaced by a record which the log has not taken yet.
    pub(crate) replaced: Option<Box<Replaced>>,
    /// Whether the log has a record of the group itself.
    pub(crate) recorded: bool,
    members: BTreeMap<Arc<str>, Member>,
    /// Member ids by instance id.
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Members that were given an id and have not joined with it, with the numbers that they have in
    /// [`ByAge`](crate::by_age::ByAge).
    pending: BTreeMap<Arc<str>, u64>,
    /// The same by number.
    pending_numbers: BTreeMap<u64, Arc<str>>,
    /// How many members have a parked JoinGroup.
    awaiting_join: usize,
    /// How many members support a protocol; none is left out.
    supported: BTreeMap<Arc<str>, usize>,
    /// Estimated bytes of pending members.
    pending_bytes: usize,
    /// Estimated bytes of members and pending members.
    bytes: usize,
}

impl ClassicGroup {
    pub(crate) fn new(id: Arc<str>, now_ms: Option<i64>) -> ClassicGroup {
        ClassicGroup {
            id,
            state: State::Empty,
            state_timestamp_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            pending_sync: BTreeSet::new(),
            replaced: None,
            recorded: false,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_numbers: BTreeMap::new(),
            awaiting_join: 0,
            supported: BTreeMap::new(),
            pending_bytes: 0,
            bytes: 0,
        }
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::PreparingRebalance { .. } => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    pub(crate) fn is_preparing(&self) -> bool {
        matches!(self.state, State::PreparingRebalance { .. })
    }

    /// Whether the members are consumers, whose metadata is the only one that is ever looked into.
    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(consumer_protocol::PROTOCOL_TYPE)
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(crate) fn members(&self) -> &BTreeMap<Arc<str>, Member> {
        &self.members
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Member> {
        self.members.get(member_id)
    }

    pub(crate) fn static_member(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(instance_id)
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Estimated bytes of pending members.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pending.keys()
    }

    /// The pending member with a number.
    pub(crate) fn pending_member(&self, number: u64) -> Option<&Arc<str>> {
        self.pending_numbers.get(&number)
    }

    pub(crate) fn is_pending(&self, member_id: &str) -> bool {
        self.pending.contains_key(member_id)
    }

    pub(crate) fn awaiting_join_count(&self) -> usize {
        self.awaiting_join
    }

    /// Estimated bytes of members and pending members.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn has_all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending.is_empty()
    }

    /// The longest time that any member wants a rebalance to wait for it.
    pub(crate) fn rebalance_timeout_ms(&self) -> i64 {
        let timeouts = self.members.values().map(|m| m.rebalance_timeout_ms);
        i64::from(timeouts.max().unwrap_or(0))
    }

    /// Whether the request comes from a member as the group knows it.
    pub(crate) fn validate_member(
        &self,
        member_id: &str,
        instance_id: Option<&Arc<str>>,
    ) -> Result<&Member, GroupError> {
        if let Some(instance_id) = instance_id {
            let current = self.static_member(instance_id);
            let current = current.ok_or(GroupError::UnknownMemberId)?;
            if **current != *member_id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        self.member(member_id).ok_or(GroupError::UnknownMemberId)
    }

    /// Whether a member with these protocols fits the others: same type, and one that all support.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[JoinProtocol]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.is_candidate(&p.name))
    }

    /// Whether all members support the protocol.
    fn is_candidate(&self, protocol_name: &str) -> bool {
        self.supported.get(protocol_name).copied().unwrap_or(0) == self.members.len()
    }

    /// The protocol that most members prefer among those that all support. Of several, the one that the
    /// leader prefers.
    pub(crate) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut wanted = member.protocols.iter();
            if let Some(vote) = wanted.find(|p| self.is_candidate(&p.name)) {
                *votes.entry(&vote.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let judge = self.leader.as_ref().and_then(|id| self.members.get(id));
        let judge = judge.or_else(|| self.members.values().next())?;
        let won = |p: &&JoinProtocol| votes.get(&*p.name) == Some(&most);
        let wins = judge.protocols.iter().find(won);
        wins.map(|protocol| Arc::clone(&protocol.name))
    }

    /// The members as the leader is told of them.
    pub(crate) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let joined = |member: &Member| JoinedMember {
            member_id: Arc::clone(&member.id),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol).cloned().unwrap_or_default(),
        };
        self.members.values().map(joined).collect()
    }

    /// The record of the current generation, with the assignments that `assignment_of` knows.
    pub(crate) fn record(&self, assignment_of: impl Fn(&Member) -> Bytes) -> OffsetsRecord {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let record = |member: &Member| member.to_record(protocol, assignment_of(member));
        OffsetsRecord::GroupMetadata {
            group_id: Arc::clone(&self.id),
            value: Some(GroupMetadata {
                protocol_type: self.protocol_type.clone(),
                generation: self.generation,
                protocol_name: self.protocol_name.clone(),
                leader: self.leader.clone(),
                state_timestamp_ms: self.state_timestamp_ms,
                members: self.members.values().map(record).collect(),
            }),
        }
    }

    /// Moves to another state.
    pub(crate) fn enter(&mut self, state: State, now_ms: i64) {
        self.state = state;
        self.state_timestamp_ms = Some(now_ms);
    }

    /// Adds a member that is not in the group yet. It is no longer pending.
    pub(crate) fn add(&mut self, member: Member) {
        if self.members.is_empty() && self.leader.is_none() {
            self.leader = Some(Arc::clone(&member.id));
        }
        self.remove_pending(&member.id);
        if let Some(instance_id) = &member.instance_id {
            let (instance_id, id) = (Arc::clone(instance_id), Arc::clone(&member.id));
            self.static_members.insert(instance_id, id);
        }
        self.count_in(&member);
        self.members.insert(Arc::clone(&member.id), member);
    }

    /// Takes a member out, with whatever it waits for. The leadership passes on.
    pub(crate) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        self.count_out(&member);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().map(Arc::clone);
        }
        Some(member)
    }

    /// Puts a member in the place of another, the leadership included, and returns that one.
    pub(crate) fn replace(&mut self, old_id: &str, member: Member) -> Option<Member> {
        let old = self.members.remove(old_id)?;
        self.count_out(&old);
        if self.is_leader(old_id) {
            self.leader = Some(Arc::clone(&member.id));
        }
        self.add(member);
        Some(old)
    }

    /// Changes a member and keeps the counts right.
    pub(crate) fn update(&mut self, member_id: &str, change: impl FnOnce(&mut Member)) {
        let Some(mut member) = self.members.remove(member_id) else {
            return;
        };
        self.count_out(&member);
        change(&mut member);
        self.count_in(&member);
        self.members.insert(Arc::clone(&member.id), member);
    }

    /// Takes all assignments away.
    pub(crate) fn reset_assignments(&mut self) {
        for member in self.members.values_mut() {
            self.bytes -= member.assignment.len();
            member.assignment = Bytes::new();
        }
    }

    /// Takes every parked SyncGroup.
    pub(crate) fn take_syncs(&mut self) -> Vec<(Arc<str>, ReplyToken)> {
        let take =
            |member: &mut Member| Some((Arc::clone(&member.id), member.awaiting_sync.take()?));
        self.members.values_mut().filter_map(take).collect()
    }

    /// Takes every parked JoinGroup. All members have joined a generation then.
    pub(crate) fn take_joins(&mut self) -> Vec<(Arc<str>, ReplyToken)> {
        self.awaiting_join = 0;
        let take = |member: &mut Member| {
            member.is_new = false;
            Some((Arc::clone(&member.id), member.awaiting_join.take()?))
        };
        self.members.values_mut().filter_map(take).collect()
    }

    /// Parks a SyncGroup, and returns one that the member had parked before.
    pub(crate) fn park_sync(&mut self, member_id: &str, token: ReplyToken) -> Option<ReplyToken> {
        let member = self.members.get_mut(member_id)?;
        member.awaiting_sync.replace(token)
    }

    /// Adds a pending member. Its id is a new one.
    pub(crate) fn add_pending(&mut self, member_id: Arc<str>, number: u64) {
        self.pending_bytes += pending_bytes(member_id.len());
        self.bytes += pending_bytes(member_id.len());
        self.pending_numbers.insert(number, Arc::clone(&member_id));
        self.pending.insert(member_id, number);
    }

    /// Whether the member was pending.
    pub(crate) fn remove_pending(&mut self, member_id: &str) -> bool {
        let Some(number) = self.pending.remove(member_id) else {
            return false;
        };
        self.pending_numbers.remove(&number);
        self.pending_bytes -= pending_bytes(member_id.len());
        self.bytes -= pending_bytes(member_id.len());
        true
    }

    /// Takes over what the log says. Members that live on keep what the log does not tell: all their
    /// protocols and what they wait for. Returns those that are gone.
    pub(crate) fn apply(&mut self, value: &GroupMetadata) -> Vec<Member> {
        let mut before = std::mem::take(&mut self.members);
        before.values().for_each(|member| self.count_out(member));
        self.replaced = None;
        self.static_members.clear();
        self.generation = value.generation;
        self.protocol_type = value.protocol_type.clone();
        self.protocol_name = value.protocol_name.clone();
        self.state_timestamp_ms = value.state_timestamp_ms;
        self.recorded = true;
        let protocol = value.protocol_name.clone().unwrap_or_default();
        for recorded in &value.members {
            let known = before.remove(&recorded.member_id);
            let same = |m: &Member| m.metadata(&protocol) == Some(&recorded.subscription);
            let member = match known.filter(same) {
                Some(mut member) => {
                    member.assignment = Bytes::copy_from_slice(&recorded.assignment);
                    member
                }
                None => Member::recorded(recorded, &protocol),
            };
            self.add(member);
        }
        self.leader = value.leader.clone();
        self.state = match self.members.is_empty() {
            true => State::Empty,
            false => State::Stable,
        };
        before.into_values().collect()
    }

    fn count_in(&mut self, member: &Member) {
        self.bytes += member.bytes();
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        for protocol in &member.protocols {
            *self
                .supported
                .entry(Arc::clone(&protocol.name))
                .or_default() += 1;
        }
    }

    fn count_out(&mut self, member: &Member) {
        self.bytes -= member.bytes();
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        for protocol in &member.protocols {
            if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
    }
}
