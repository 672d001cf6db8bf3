//! How a classic group gets from one generation to the next.
//!
//! ```text
//! Empty ──first join──▶ PreparingRebalance ──all joined, or time is up──▶ CompletingRebalance
//!   ▲                     │   ▲        ▲                                      │    │
//!   └──nobody is left─────┘   │        └──join, leave, silence, no sync───────┘    │ leader's sync
//!                             └─────────join, leave, silence───────── Stable ◀─────┘
//! ```

use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::{ConsumerTimes, GroupConfig, limits};

use super::group::{ClassicGroup, InitialDelay, Replaced, State};
use super::member::Member;
use crate::by_age::ByAge;
use crate::deadlines::{Deadlines, Timer};
use crate::error::GroupError;
use crate::footprint::{Footprint, GroupLimits};
use crate::reply::{GroupReply, JoinReply, Joined, Output};
use crate::topics::Topics;

/// [`limits::GROUP_NEW_MEMBER_WAIT`] in ms.
const NEW_MEMBER_WAIT_MS: i64 = limits::GROUP_NEW_MEMBER_WAIT.as_secs().cast_signed() * 1000;

/// The shortest time between two looks at whether a static member that is away has come back.
const LOOK_FOR_ABSENT_MS: i64 = 1_000;

/// After which time the record of a group that became empty is written again, if the log refused it.
const RECORD_AGAIN_MS: i64 = 1_000;

/// For whom memory is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// One who would be a member.
    Newcomer,
    /// A member of the group, or its leader for all of them.
    Member,
}

impl Who {
    pub(crate) fn known(is_known: bool) -> Who {
        match is_known {
            true => Who::Member,
            false => Who::Newcomer,
        }
    }
}

/// What a group's changes need beside the group.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a GroupConfig,
    /// What is set on this group, or on all.
    pub(crate) times: ConsumerTimes,
    pub(crate) limits: &'a GroupLimits,
    pub(crate) topics: &'a dyn Topics,
    pub(crate) deadlines: &'a mut Deadlines,
    /// The member ids that were given out.
    pub(crate) pending: &'a mut ByAge,
    /// What all groups held before this change.
    pub(crate) total: Footprint,
    /// Estimated bytes that this group held before it.
    pub(crate) group_bytes: usize,
    /// Of these, what its members took.
    pub(crate) membership_bytes: usize,
    /// Bytes that all groups may hold for this one's members to bring more.
    pub(crate) state_bytes_max: usize,
    pub(crate) now_ms: i64,
    pub(crate) out: &'a mut Output,
}

impl Context<'_> {
    /// The most members of a group.
    pub(crate) fn members_max(&self) -> usize {
        self.config.max_size.min(self.limits.members_per_group)
    }

    /// The most members of a group of the newer protocol.
    pub(crate) fn consumer_members_max(&self) -> usize {
        let most = self.config.consumer_max_size;
        most.min(self.limits.members_per_group)
    }

    /// Whether there is memory for so many bytes more of what members bring and are given.
    ///
    /// # Errors
    /// `GroupMaxSizeReached` for a newcomer where the group's members would hold more than they may: its client gives up.
    /// `CoordinatorNotAvailable` where its offsets leave no room or all groups would hold too much, and for a member: it
    /// tries again.
    pub(crate) fn check_room(&self, more_bytes: usize, who: Who) -> Result<(), GroupError> {
        if more_bytes == 0 {
            return Ok(());
        }
        let is_beyond = |held: usize, most: usize| held.saturating_add(more_bytes) > most;
        let are_members_full = is_beyond(self.membership_bytes, self.limits.membership_bytes);
        if are_members_full && who == Who::Newcomer {
            return Err(GroupError::GroupMaxSizeReached);
        }
        let is_full = are_members_full
            || is_beyond(self.group_bytes, self.limits.group_bytes)
            || is_beyond(self.total.bytes, self.state_bytes_max);
        match is_full {
            true => Err(GroupError::CoordinatorNotAvailable),
            false => Ok(()),
        }
    }

    /// The same, and counts them as held from now on.
    ///
    /// # Errors
    /// As [`Context::check_room`].
    pub(crate) fn take_room(&mut self, more_bytes: usize, who: Who) -> Result<(), GroupError> {
        self.check_room(more_bytes, who)?;
        self.group_bytes += more_bytes;
        self.membership_bytes += more_bytes;
        self.total.bytes += more_bytes;
        Ok(())
    }

    pub(crate) fn arm(&mut self, timer: Timer, in_ms: i64) {
        self.deadlines.arm(timer, self.now_ms.saturating_add(in_ms));
    }
}

impl ClassicGroup {
    pub(crate) fn join_timer(&self) -> Timer {
        Timer::Join(Arc::clone(&self.id))
    }

    pub(crate) fn sync_timer(&self) -> Timer {
        Timer::Sync(Arc::clone(&self.id))
    }

    pub(crate) fn session_timer(&self, member_id: &Arc<str>) -> Timer {
        Timer::Session {
            group_id: Arc::clone(&self.id),
            member_id: Arc::clone(member_id),
        }
    }

    /// Starts the time after which the member counts as gone anew.
    pub(crate) fn arm_session(&self, member_id: &Arc<str>, timeout_ms: i64, cx: &mut Context) {
        cx.arm(self.session_timer(member_id), timeout_ms);
    }

    /// The member was heard of.
    pub(crate) fn heard_of(&self, member: &Member, cx: &mut Context) {
        self.arm_session(&member.id, i64::from(member.session_timeout_ms), cx);
    }

    /// Begins a rebalance, or goes on with the one under way.
    pub(crate) fn rebalance(&mut self, cx: &mut Context) {
        match self.state {
            State::PreparingRebalance { .. } => self.maybe_complete_join(cx),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(cx),
        }
    }

    /// Begins a rebalance. A group that was empty waits for more members first.
    pub(crate) fn prepare_rebalance(&mut self, cx: &mut Context) {
        if self.state == State::CompletingRebalance {
            self.reset_assignments();
            self.answer_syncs(GroupError::RebalanceInProgress, cx);
        }
        self.pending_sync.clear();
        cx.deadlines.disarm(&self.sync_timer());
        let was_empty = self.is_empty();
        if was_empty {
            let delay_ms = cx.config.initial_rebalance_delay_ms;
            let initial = InitialDelay {
                delay_ms,
                remaining_ms: (self.rebalance_timeout_ms() - delay_ms).max(0),
                member_added: false,
            };
            let initial = Some(initial);
            self.enter(State::PreparingRebalance { initial }, cx.now_ms);
            cx.arm(self.join_timer(), delay_ms);
            return;
        }
        self.enter(State::PreparingRebalance { initial: None }, cx.now_ms);
        if self.has_all_joined() {
            self.complete_join(cx);
        } else {
            cx.arm(self.join_timer(), self.rebalance_timeout_ms());
        }
    }

    /// Answers every parked SyncGroup with an error.
    pub(crate) fn answer_syncs(&mut self, error: GroupError, cx: &mut Context) {
        for (member_id, token) in self.take_syncs() {
            cx.out.reply(token, GroupReply::Sync(Err(error)));
            if let Some(member) = self.member(&member_id) {
                self.heard_of(member, cx);
            }
        }
    }

    /// Finishes the joining if everybody is there, unless a group that was empty waits for others.
    pub(crate) fn maybe_complete_join(&mut self, cx: &mut Context) {
        let waits = self.state == State::PreparingRebalance { initial: None };
        if waits && self.has_all_joined() {
            self.complete_join(cx);
        }
    }

    /// Finishes the joining: dynamic members that did not join are out, static ones stay until their
    /// session ends. If no one joined at all, it goes on.
    fn complete_join(&mut self, cx: &mut Context) {
        cx.deadlines.disarm(&self.join_timer());
        let absent = |m: &&Member| m.awaiting_join.is_none() && m.instance_id.is_none();
        let absent: Vec<_> = self.members().values().filter(absent).collect();
        let absent: Vec<_> = absent.into_iter().map(|m| Arc::clone(&m.id)).collect();
        for member_id in absent {
            self.dismiss(&member_id, cx);
        }
        if self.members().is_empty() {
            self.become_empty(cx);
        } else if self.elect_leader() {
            self.complete_generation(cx);
        } else {
            // Nobody is there but static members that are away, who may have allowed no time at all.
            let wait_ms = self.rebalance_timeout_ms().max(LOOK_FOR_ABSENT_MS);
            cx.arm(self.join_timer(), wait_ms);
        }
    }

    /// Sees to it that the leader is somebody who has joined.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |m: &&Member| m.awaiting_join.is_some();
        let leader = self.leader.as_ref().and_then(|id| self.member(id));
        if leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let elected = self.members().values().find(has_joined);
        let elected = elected.map(|member| Arc::clone(&member.id));
        let is_elected = elected.is_some();
        self.leader = elected.or(self.leader.take());
        is_elected
    }

    fn become_empty(&mut self, cx: &mut Context) {
        self.next_generation();
        self.protocol_name = None;
        self.leader = None;
        self.enter(State::Empty, cx.now_ms);
        self.record_empty(cx);
    }

    fn record_empty(&self, cx: &mut Context) {
        cx.out.records.push(self.record(|_| Bytes::new()));
    }

    fn next_generation(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.pending_sync.clear();
    }

    fn complete_generation(&mut self, cx: &mut Context) {
        self.next_generation();
        self.protocol_name = self.select_protocol();
        self.enter(State::CompletingRebalance, cx.now_ms);
        for (member_id, token) in self.take_joins() {
            let reply = GroupReply::Join(JoinReply {
                result: Ok(self.joined(&member_id)),
                member_id,
            });
            cx.out.reply(token, reply);
        }
        self.pending_sync = self.members().keys().map(Arc::clone).collect();
        for member in self.members().values() {
            self.heard_of(member, cx);
        }
        cx.arm(self.sync_timer(), self.rebalance_timeout_ms());
    }

    /// The current generation as a member is told of it.
    pub(crate) fn joined(&self, member_id: &str) -> Joined {
        let members = match self.is_leader(member_id) {
            true => self.joined_members(),
            false => Vec::new(),
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members,
        }
    }

    /// Gives out a member id and waits for the member to come back with it.
    pub(crate) fn expect(
        &mut self,
        member_id: Arc<str>,
        session_timeout_ms: i32,
        cx: &mut Context,
    ) {
        let wait_ms = i64::from(session_timeout_ms).min(NEW_MEMBER_WAIT_MS);
        self.arm_session(&member_id, wait_ms, cx);
        let number = cx.pending.add(&self.id, cx.now_ms);
        self.add_pending(member_id, number);
    }

    /// The pending member with this number, if it still is one, has to make room for another.
    pub(crate) fn forget_pending(&mut self, number: u64, cx: &mut Context) {
        if let Some(member_id) = self.pending_member(number).map(Arc::clone) {
            cx.deadlines.disarm(&self.session_timer(&member_id));
            self.session_is_due(&member_id, cx);
        }
    }

    /// Adds a member that has just asked to join.
    pub(crate) fn admit(&mut self, member: Member, cx: &mut Context) {
        if let State::PreparingRebalance {
            initial: Some(initial),
        } = &mut self.state
        {
            initial.member_added = true;
        }
        // It cannot send heartbeats before it is answered.
        self.arm_session(&member.id, NEW_MEMBER_WAIT_MS, cx);
        self.add(member);
        self.rebalance(cx);
    }

    /// Takes a member out, with what it waits for.
    pub(crate) fn dismiss(&mut self, member_id: &Arc<str>, cx: &mut Context) {
        cx.deadlines.disarm(&self.session_timer(member_id));
        if let Some(member) = self.remove(member_id) {
            answer_parked(member, "".into(), GroupError::UnknownMemberId, cx);
        }
    }

    /// Everybody is out, also who was given an id and has not come back: nothing is left of a group that the log knows
    /// nothing of.
    pub(crate) fn dissolve(&mut self, cx: &mut Context) {
        let members: Vec<Arc<str>> = self.members().keys().map(Arc::clone).collect();
        for member_id in members {
            self.dismiss(&member_id, cx);
        }
        let pending: Vec<Arc<str>> = self.pending().map(Arc::clone).collect();
        for member_id in pending {
            cx.deadlines.disarm(&self.session_timer(&member_id));
            self.remove_pending(&member_id);
        }
        self.pending_sync.clear();
        cx.deadlines.disarm(&self.join_timer());
        cx.deadlines.disarm(&self.sync_timer());
        (self.protocol_name, self.leader) = (None, None);
        self.enter(State::Empty, cx.now_ms);
    }

    /// Goes on after members have left.
    pub(crate) fn go_on_without_those_who_left(&mut self, cx: &mut Context) {
        match self.state {
            State::Empty => {}
            State::PreparingRebalance { .. } => self.maybe_complete_join(cx),
            State::CompletingRebalance | State::Stable => self.prepare_rebalance(cx),
        }
    }

    /// The member received the generation and now has, or waits for, its assignment.
    pub(crate) fn has_synced(&mut self, member_id: &str, cx: &mut Context) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            cx.deadlines.disarm(&self.sync_timer());
        }
    }

    /// The time to join is up. Of a group that is empty, the log is to hear that once more.
    pub(crate) fn join_is_due(&mut self, cx: &mut Context) {
        let initial = match self.state {
            State::PreparingRebalance { initial } => initial,
            State::Empty => return self.record_empty(cx),
            State::CompletingRebalance | State::Stable => return,
        };
        let more = initial.filter(|initial| initial.member_added && initial.remaining_ms > 0);
        let Some(initial) = more else {
            return self.complete_join(cx);
        };
        let next = InitialDelay {
            delay_ms: cx
                .config
                .initial_rebalance_delay_ms
                .min(initial.remaining_ms),
            remaining_ms: (initial.remaining_ms - initial.delay_ms).max(0),
            member_added: false,
        };
        // The state stays the same, and so does its timestamp.
        self.state = State::PreparingRebalance {
            initial: Some(next),
        };
        cx.arm(self.join_timer(), next.delay_ms);
    }

    /// The time to ask for assignments is up.
    pub(crate) fn sync_is_due(&mut self, cx: &mut Context) {
        let late = std::mem::take(&mut self.pending_sync);
        for member_id in &late {
            self.dismiss(member_id, cx);
        }
        if !late.is_empty() {
            self.prepare_rebalance(cx);
        }
    }

    /// Nothing was heard of the member for its session timeout.
    pub(crate) fn session_is_due(&mut self, member_id: &Arc<str>, cx: &mut Context) {
        if self.remove_pending(member_id) {
            return self.maybe_complete_join(cx);
        }
        if self.member(member_id).is_none_or(Member::is_excused) {
            return;
        }
        self.dismiss(member_id, cx);
        self.go_on_without_those_who_left(cx);
    }

    /// The group's record could not be stored: a static member that it replaces is put back; a generation
    /// that it finishes begins anew; that nobody is left is written again later, unless somebody joins before.
    pub(crate) fn generation_was_not_stored(&mut self, cx: &mut Context) {
        if let Some(replaced) = self.replaced.take() {
            let Replaced { member, new_id } = *replaced;
            cx.deadlines.disarm(&self.session_timer(&new_id));
            self.heard_of(&member, cx);
            self.replace(&new_id, member);
        } else if self.state == State::CompletingRebalance {
            self.prepare_rebalance(cx);
        } else if self.is_empty() {
            cx.arm(self.join_timer(), RECORD_AGAIN_MS);
        }
    }
}

/// Answers what a member waits for that is no longer in its group; `told_id` is the member id that a
/// reply to JoinGroup carries.
pub(crate) fn answer_parked(
    member: Member,
    told_id: Arc<str>,
    error: GroupError,
    cx: &mut Context,
) {
    if let Some(token) = member.awaiting_join {
        cx.out
            .reply(token, GroupReply::join_refused(told_id, error));
    }
    if let Some(token) = member.awaiting_sync {
        cx.out.reply(token, GroupReply::Sync(Err(error)));
    }
}
