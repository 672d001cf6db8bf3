//! JoinGroup, before its group sees it: whether it makes sense, and whether there is room.

use std::sync::Arc;

use tidewheel_config::limits;

use super::consumer_requests::make_room_for_classic;
use super::{GROUP_BYTES, Group, GroupCoordinator, Membership};
use crate::classic::group::pending_bytes;
use crate::classic::join::new_member_id_len;
use crate::consumer::classic_members;
use crate::error::GroupError;
use crate::footprint::Footprint;
use crate::reply::{GroupReply, Output};
use crate::request::{JoinRequest, ReplyToken};

impl GroupCoordinator {
    pub(super) fn join(
        &mut self,
        request: &JoinRequest,
        token: ReplyToken,
        now_ms: i64,
        out: &mut Output,
    ) {
        let group_id = &request.group_id;
        let admitted = self.validate_join(request).and_then(|()| {
            if request.asks_for_id() {
                self.make_room_for_pending(request, now_ms, out);
                return Ok(());
            }
            self.make_room_for_newcomer(group_id, request.bytes(), now_ms, out)
        });
        if let Err(error) = admitted {
            let member_id = Arc::clone(&request.member_id);
            return out.reply(token, GroupReply::join_refused(member_id, error));
        }
        if !self.groups.contains_key(group_id) {
            self.insert(Group::new(group_id, Some(now_ms)), group_id);
        }
        self.change(group_id, now_ms, out, |group, cx| {
            match &mut group.membership {
                Membership::Classic(group) => group.join(request, token, cx),
                Membership::Consumer(group) if group.members().is_empty() => {
                    make_room_for_classic(group, request, token, cx);
                }
                Membership::Consumer(group) => {
                    let reply = classic_members::join(group, request, cx);
                    cx.out.reply(token, GroupReply::Join(reply));
                }
            }
        });
    }

    /// The oldest member ids that nobody has come back with are forgotten where there are too many of them: whoever
    /// means it comes back at once, and is not kept out by those who never do.
    fn make_room_for_pending(&mut self, request: &JoinRequest, now_ms: i64, out: &mut Output) {
        let most = self.limits.pending_members;
        let more_bytes =
            GROUP_BYTES + request.group_id.len() + pending_bytes(new_member_id_len(request));
        let bytes_max = self.limits.pending_bytes.saturating_sub(more_bytes);
        let is_full =
            |held: Footprint| held.pending_members >= most || held.pending_bytes > bytes_max;
        while most > 0 && is_full(self.total.get()) {
            let Some(oldest) = self.pending.pop_oldest() else {
                break;
            };
            self.change_classic(&oldest.group_id, now_ms, out, |group, cx| {
                group.forget_pending(oldest.number, cx);
            });
        }
        let groups = &self.groups;
        let count = self.total.get().pending_members;
        self.pending.tidy(count, |number, group_id| {
            let group = groups.get(group_id).map(|group| &group.membership);
            matches!(group, Some(Membership::Classic(group)) if group.pending_member(number).is_some())
        });
    }

    fn validate_join(&self, request: &JoinRequest) -> Result<(), GroupError> {
        if request.group_id.is_empty() || request.group_id.len() > limits::GROUP_ID_LEN_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        let (least, most) = (
            self.config.min_session_timeout_ms,
            self.config.max_session_timeout_ms,
        );
        if !(least..=most).contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if request.bytes() > self.limits.member_bytes {
            return Err(GroupError::InvalidRequest);
        }
        if self.groups.contains_key(&request.group_id) {
            return Ok(());
        }
        if !request.member_id.is_empty() {
            return Err(GroupError::UnknownMemberId);
        }
        match self.has_room_for_group() {
            true => Ok(()),
            false => Err(GroupError::CoordinatorNotAvailable),
        }
    }
}
