//! SyncGroup: the leader brings the assignment, and everybody gets a part of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::group::{ClassicGroup, State};
use super::rebalance::{Context, Who};
use crate::error::GroupError;
use crate::records::{GroupMetadata, OffsetsRecord};
use crate::reply::{GroupReply, Synced};
use crate::request::{ReplyToken, SyncRequest};

/// Bytes of a group's record: what its members bring, and the names beside it.
fn record_bytes(value: &GroupMetadata) -> usize {
    let bytes = |member: &crate::records::GroupMember| {
        let texts = [&member.member_id, &member.client_id, &member.client_host];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let instance = member.instance_id.as_ref().map_or(0, |text| text.len());
        32 + texts + instance + member.subscription.len() + member.assignment.len()
    };
    value.members.iter().map(bytes).sum()
}

impl ClassicGroup {
    /// Handles SyncGroup, whose sender is answered now or when the assignment is there.
    pub(crate) fn sync(&mut self, request: &SyncRequest, token: ReplyToken, cx: &mut Context) {
        if let Err(error) = self.validate_sync(request) {
            cx.out.reply(token, GroupReply::Sync(Err(error)));
            return;
        }
        let member_id = &request.member_id;
        self.has_synced(member_id, cx);
        if self.state == State::Stable {
            let assignment = self.member(member_id).map(|m| m.assignment.clone());
            let synced = self.synced(assignment.unwrap_or_default());
            cx.out.reply(token, GroupReply::Sync(Ok(synced)));
            return;
        }
        if let Some(earlier) = self.park_sync(member_id, token) {
            let error = GroupError::RebalanceInProgress;
            cx.out.reply(earlier, GroupReply::Sync(Err(error)));
        }
        if self.is_leader(member_id) {
            self.complete_sync(request, cx);
        }
    }

    fn validate_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        self.validate_member(&request.member_id, request.instance_id.as_ref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |theirs: &Option<Arc<str>>, ours: &Option<Arc<str>>| {
            theirs.is_some() && ours.is_some() && theirs != ours
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        match self.state {
            State::PreparingRebalance { .. } => Err(GroupError::RebalanceInProgress),
            State::Empty => Err(GroupError::UnknownMemberId),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
        }
    }

    /// The leader has spoken: the generation goes to the log. With its replay the group is stable.
    fn complete_sync(&mut self, request: &SyncRequest, cx: &mut Context) {
        let assignments = request.assignments.iter();
        let assignments: BTreeMap<&str, &Bytes> = assignments
            .map(|entry| (&*entry.member_id, &entry.assignment))
            .collect();
        let assigned = |id: &str| assignments.get(id).copied().cloned().unwrap_or_default();
        let record = self.record(|member| assigned(&member.id));
        if let Err(error) = self.check_record(&record, cx) {
            self.answer_syncs(error, cx);
            return self.prepare_rebalance(cx);
        }
        cx.out.records.push(record);
        for (member_id, token) in self.take_syncs() {
            let synced = self.synced(assigned(&member_id));
            cx.out.reply(token, GroupReply::Sync(Ok(synced)));
            if let Some(member) = self.member(&member_id) {
                self.heard_of(member, cx);
            }
        }
    }

    fn check_record(&self, record: &OffsetsRecord, cx: &Context) -> Result<(), GroupError> {
        let OffsetsRecord::GroupMetadata {
            value: Some(value), ..
        } = record
        else {
            return Ok(());
        };
        if record_bytes(value) > cx.limits.group_record_bytes {
            return Err(GroupError::UnknownServerError);
        }
        // They take the place of those that the members have had.
        let held: usize = self.members().values().map(|m| m.assignment.len()).sum();
        let given: usize = value.members.iter().map(|m| m.assignment.len()).sum();
        cx.check_room(given.saturating_sub(held), Who::Member)
    }
}
