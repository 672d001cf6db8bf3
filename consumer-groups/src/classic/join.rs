//! JoinGroup: who is let in, and whether that starts a rebalance.

use std::sync::Arc;

use tidewheel_protocol::wire::STRING_BYTES_MAX;

use super::group::{ClassicGroup, Replaced, State};
use super::member::{Member, kept_protocols, protocol_bytes};
use super::rebalance::{Context, Who, answer_parked};
use crate::error::GroupError;
use crate::reply::{GroupReply, JoinReply, Joined};
use crate::request::{JoinRequest, ReplyToken};

/// What follows the name in a member id: a hyphen and the random bits.
const MEMBER_ID_SUFFIX_BYTES: usize = 1 + 36;

/// Bytes of the id of a new member, at most.
pub(crate) fn new_member_id_len(request: &JoinRequest) -> usize {
    let name = request.instance_id.as_ref().unwrap_or(&request.client_id);
    name.len() + MEMBER_ID_SUFFIX_BYTES
}

/// A member id as Kafka makes it: a name that says who, and random bits. A name with which it would be no
/// text of the protocol any more is cut: Kafka cannot answer such a client.
pub(crate) fn new_member_id(request: &JoinRequest) -> Arc<str> {
    let name = request.instance_id.as_ref().unwrap_or(&request.client_id);
    let name = &name[..name.floor_char_boundary(STRING_BYTES_MAX - MEMBER_ID_SUFFIX_BYTES)];
    let hex = format!("{:032x}", request.new_member_uuid);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    format!("{name}-{}", parts.join("-")).into()
}

fn refuse(cx: &mut Context, token: ReplyToken, member_id: Arc<str>, error: GroupError) {
    cx.out
        .reply(token, GroupReply::join_refused(member_id, error));
}

impl ClassicGroup {
    /// Handles JoinGroup, whose sender is answered now or when the joining is over.
    pub(crate) fn join(&mut self, request: &JoinRequest, token: ReplyToken, cx: &mut Context) {
        let member_id = &request.member_id;
        if !self.has_room_for(member_id, cx) {
            self.remove_pending(member_id);
            self.dismiss(member_id, cx);
            refuse(cx, token, "".into(), GroupError::GroupMaxSizeReached);
            self.maybe_complete_join(cx);
        } else if let Err(error) = self.check_memory(request, cx) {
            refuse(cx, token, Arc::clone(member_id), error);
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            let error = GroupError::InconsistentGroupProtocol;
            refuse(cx, token, Arc::clone(member_id), error);
        } else if member_id.is_empty() {
            self.join_new(request, token, cx);
        } else if self.is_pending(member_id) && request.instance_id.is_none() {
            let member = Member::joining(Arc::clone(member_id), request);
            self.let_in(member, request, token, cx);
        } else {
            match self.validate_member(member_id, request.instance_id.as_ref()) {
                Ok(_) => self.join_again(request, token, cx),
                Err(error) => refuse(cx, token, Arc::clone(member_id), error),
            }
        }
    }

    /// Whether the group is not too large. While members join, those who have joined count, so that a
    /// group which is already too large loses the last to join.
    fn has_room_for(&self, member_id: &str, cx: &Context) -> bool {
        let most = cx.members_max();
        let member = self.member(member_id);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance { .. } => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.awaiting_join_count() < most
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.members().len() < most
            }
        }
    }

    /// Whether there is memory for what the member brings beyond what is held of it already.
    fn check_memory(&self, request: &JoinRequest, cx: &Context) -> Result<(), GroupError> {
        let instance_id = request.instance_id.as_ref();
        let static_id = instance_id.and_then(|instance_id| self.static_member(instance_id));
        let known = self.member(static_id.unwrap_or(&request.member_id));
        let held = known.map_or(0, |member| protocol_bytes(&member.protocols));
        let more = protocol_bytes(&request.protocols).saturating_sub(held);
        if request.asks_for_id() && cx.total.pending_members >= cx.limits.pending_members {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        cx.check_room(more, Who::known(known.is_some()))
    }

    fn join_new(&mut self, request: &JoinRequest, token: ReplyToken, cx: &mut Context) {
        let new_id = new_member_id(request);
        let instance_id = request.instance_id.as_ref();
        let replaced = instance_id.and_then(|instance_id| self.static_member(instance_id));
        if let Some(old_id) = replaced.map(Arc::clone) {
            self.replace_static(&old_id, new_id, request, token, cx);
        } else if request.asks_for_id() {
            self.expect(Arc::clone(&new_id), request.session_timeout_ms, cx);
            refuse(cx, token, new_id, GroupError::MemberIdRequired);
        } else {
            self.let_in(Member::joining(new_id, request), request, token, cx);
        }
    }

    fn let_in(
        &mut self,
        mut member: Member,
        request: &JoinRequest,
        token: ReplyToken,
        cx: &mut Context,
    ) {
        if self.members().is_empty() {
            self.protocol_type = Some(Arc::clone(&request.protocol_type));
        }
        member.awaiting_join = Some(token);
        self.admit(member, cx);
    }

    /// A member joins that is in the group already. Only what may change the assignment starts a
    /// rebalance: other protocols or metadata, or the leader, who knows why.
    fn join_again(&mut self, request: &JoinRequest, token: ReplyToken, cx: &mut Context) {
        let member_id = &request.member_id;
        let member = self.member(member_id);
        let is_same = member.is_some_and(|member| member.protocols == request.protocols);
        let is_current = match self.state {
            State::CompletingRebalance => is_same,
            State::Stable => is_same && !self.is_leader(member_id),
            State::Empty | State::PreparingRebalance { .. } => false,
        };
        if is_current {
            let reply = JoinReply {
                member_id: Arc::clone(member_id),
                result: Ok(self.joined(member_id)),
            };
            cx.out.reply(token, GroupReply::Join(reply));
        } else {
            self.update_member(request, token, cx);
            self.rebalance(cx);
        }
    }

    fn update_member(&mut self, request: &JoinRequest, token: ReplyToken, cx: &mut Context) {
        let mut earlier = None;
        self.update(&request.member_id, |member| {
            member.protocols = kept_protocols(&request.protocols);
            member.rebalance_timeout_ms = request.rebalance_timeout_ms.max(0);
            member.session_timeout_ms = request.session_timeout_ms;
            earlier = member.awaiting_join.replace(token);
        });
        if let Some(earlier) = earlier {
            let member_id = Arc::clone(&request.member_id);
            refuse(cx, earlier, member_id, GroupError::RebalanceInProgress);
        }
    }

    /// A static member has been restarted: it gets a new member id and the old assignment. What the
    /// old one waits for is fenced. A stable group goes on as it is, if its protocol does not change.
    fn replace_static(
        &mut self,
        old_id: &Arc<str>,
        new_id: Arc<str>,
        request: &JoinRequest,
        token: ReplyToken,
        cx: &mut Context,
    ) {
        let old_leader = self.leader.clone();
        let mut member = Member::joining(Arc::clone(&new_id), request);
        member.is_new = false;
        member.assignment = self
            .member(old_id)
            .map(|m| m.assignment.clone())
            .unwrap_or_default();
        cx.deadlines.disarm(&self.session_timer(old_id));
        self.heard_of(&member, cx);
        self.has_synced(old_id, cx);
        let Some(mut old) = self.replace(old_id, member) else {
            return;
        };
        answer_parked(
            old.clone(),
            Arc::clone(old_id),
            GroupError::FencedInstanceId,
            cx,
        );
        if self.state == State::Stable && self.select_protocol() == self.protocol_name {
            cx.out
                .records
                .push(self.record(|member| member.assignment.clone()));
            let joined = self.joined_in_place(&new_id, old_leader, request);
            let (member_id, result) = (Arc::clone(&new_id), Ok(joined));
            cx.out
                .reply(token, GroupReply::Join(JoinReply { member_id, result }));
            (old.awaiting_join, old.awaiting_sync) = (None, None);
            self.replaced = Some(Box::new(Replaced {
                member: old,
                new_id,
            }));
            return;
        }
        self.update(&new_id, |member| member.awaiting_join = Some(token));
        self.rebalance(cx);
    }

    /// What a replaced static member is told of a generation that goes on. Clients that do not know
    /// `skip_assignment` would assign anew if they were told that they lead: they are told the old id.
    fn joined_in_place(
        &self,
        new_id: &str,
        old_leader: Option<Arc<str>>,
        request: &JoinRequest,
    ) -> Joined {
        let mut joined = self.joined(new_id);
        if request.supports_skip_assignment {
            joined.skip_assignment = self.is_leader(new_id);
        } else {
            joined.leader = old_leader.unwrap_or_default();
            joined.members = Vec::new();
        }
        joined
    }
}
