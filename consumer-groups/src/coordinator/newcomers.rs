//! Groups of which nothing was ever finished: whoever joins under invented names leaves many of them.

use std::sync::Arc;

use super::{GROUP_BYTES, GroupCoordinator, Membership};
use crate::reply::Output;

/// Whether a group may have to make room for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody has joined yet.
    #[default]
    Unseen,
    /// Members have joined and done no more, or have left no more than the record that nobody is left: no assignment of a classic group is in the log, and no member of the newer
    /// protocol has come with what it was told. With its number in [`ByAge`](crate::by_age::ByAge).
    New(u64),
    /// Somebody has worked with it, it has offsets, or it was there when the log was read.
    Known,
}

impl GroupCoordinator {
    /// Where new groups are too many or too large, the oldest of them are dismissed before somebody joins another one
    /// and brings so many bytes: members that are there join again, and others are not kept out by those that are not.
    pub(super) fn make_room_for_newcomer(
        &mut self,
        group_id: &Arc<str>,
        brought_bytes: usize,
        now_ms: i64,
        out: &mut Output,
    ) {
        let standing = self.groups.get(group_id).map(|group| group.standing);
        if standing == Some(Standing::Known) {
            return;
        }
        let more_bytes = GROUP_BYTES + group_id.len() + brought_bytes;
        let mut own = None;
        while self.are_newcomers_full(more_bytes) {
            let Some((number, oldest)) = self.newcomers.pop_oldest() else {
                break;
            };
            match oldest == *group_id {
                true => own = Some((number, oldest)),
                false => self.dismiss_newcomer(number, &oldest, now_ms, out),
            }
        }
        if let Some(own) = own {
            self.newcomers.put_back(own);
        }
        let groups = &self.groups;
        let count = self.total.get().new_groups;
        self.newcomers.tidy(count, |number, group_id| {
            let standing = groups.get(group_id).map(|group| group.standing);
            standing == Some(Standing::New(number))
        });
    }

    fn are_newcomers_full(&self, more_bytes: usize) -> bool {
        let (own, limits) = (self.total.get(), &self.limits);
        let is_beyond = |held: usize, most: usize| held.saturating_add(more_bytes) > most;
        own.new_groups >= limits.new_groups
            || (is_beyond(own.new_bytes, limits.new_bytes_share)
                && is_beyond(self.total.all_new_bytes(), limits.new_bytes))
    }

    /// The group with this number, if it is still new, is no more. What the log has of it is deleted there; until the
    /// log has taken that, it is there, and does not count as new.
    fn dismiss_newcomer(
        &mut self,
        number: u64,
        group_id: &Arc<str>,
        now_ms: i64,
        out: &mut Output,
    ) {
        self.change(group_id, now_ms, out, |group, cx| {
            if group.standing != Standing::New(number) {
                return;
            }
            group.standing = Standing::Known;
            let is_recorded = match &mut group.membership {
                Membership::Classic(classic) => {
                    classic.dissolve(cx);
                    classic.recorded
                }
                Membership::Consumer(_) => true,
            };
            if is_recorded {
                cx.out.records.extend(group.membership.end(group_id));
            }
        });
    }
}
