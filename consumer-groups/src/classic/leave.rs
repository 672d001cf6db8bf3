//! Heartbeat and LeaveGroup: how long a member stays.

use std::sync::Arc;

use super::group::ClassicGroup;
use super::rebalance::Context;
use crate::error::GroupError;
use crate::reply::MemberLeft;
use crate::request::{HeartbeatRequest, LeaveRequest, LeavingMember};

impl ClassicGroup {
    /// Handles Heartbeat: while members join, it tells the sender to join too.
    pub(crate) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        cx: &mut Context,
    ) -> Result<(), GroupError> {
        let member = self.validate_member(&request.member_id, request.instance_id.as_ref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.heard_of(member, cx);
        match self.is_preparing() {
            true => Err(GroupError::RebalanceInProgress),
            false => Ok(()),
        }
    }

    /// Handles LeaveGroup. What those who leave have parked is answered.
    pub(crate) fn leave(&mut self, request: &LeaveRequest, cx: &mut Context) -> Vec<MemberLeft> {
        let left = |member: &LeavingMember| MemberLeft {
            member_id: Arc::clone(&member.member_id),
            instance_id: member.instance_id.clone(),
            result: self.leave_one(member, cx),
        };
        let left: Vec<MemberLeft> = request.members.iter().map(left).collect();
        if left.iter().any(|member| member.result.is_ok()) {
            self.go_on_without_those_who_left(cx);
        }
        left
    }

    fn leave_one(&mut self, member: &LeavingMember, cx: &mut Context) -> Result<(), GroupError> {
        let instance_id = member.instance_id.as_ref();
        if member.member_id.is_empty() {
            let member_id = instance_id.and_then(|instance_id| self.static_member(instance_id));
            let member_id = Arc::clone(member_id.ok_or(GroupError::UnknownMemberId)?);
            self.dismiss(&member_id, cx);
        } else if self.remove_pending(&member.member_id) {
            cx.deadlines.disarm(&self.session_timer(&member.member_id));
        } else {
            self.validate_member(&member.member_id, instance_id)?;
            self.dismiss(&member.member_id, cx);
        }
        Ok(())
    }
}
