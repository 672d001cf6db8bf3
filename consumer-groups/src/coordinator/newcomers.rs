//! Groups of which nothing was ever finished: whoever joins under invented names leaves many of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{GROUP_BYTES, Group, GroupCoordinator, Membership};
use crate::by_age::Aged;
use crate::error::GroupError;
use crate::reply::Output;

/// Whether a group may have to make room for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody has joined yet.
    #[default]
    Unseen,
    /// Members have joined and done no more, or have left no more than the record that nobody is left: no assignment of a
    /// classic group is in the log, and no member of the newer protocol has come with what it was told. With its number
    /// in [`ByAge`](crate::by_age::ByAge).
    New(u64),
    /// Somebody has worked with it, it has offsets, or it was there when the log was read.
    Known,
}

/// For so many times `group.initial.rebalance.delay.ms` a new group makes no room for others: first it waits for its
/// members, and then they need some time to ask for their assignments. Were it dismissed meanwhile, its members would
/// join again and have others dismissed in their turn, and where many groups begin together none would come to its end.
const SETTLING_DELAYS: i64 = 2;
/// Who brings more than so many bytes finds half of the room for new groups only: a few large members would fill it, and
/// keep everybody out for that time.
const LARGE_BYTES: usize = 8 * 1024;

/// Whether the group with this number is new still.
fn is_newcomer(groups: &BTreeMap<Arc<str>, Group>, number: u64, group_id: &str) -> bool {
    let group = groups.get(group_id);
    group.is_some_and(|group| group.standing == Standing::New(number))
}

impl GroupCoordinator {
    /// Where new groups are too many or too large, the oldest of them are dismissed before somebody joins another one
    /// and brings so many bytes: members that are there join again, and others are not kept out by those that are not.
    ///
    /// # Errors
    /// `CoordinatorNotAvailable` where none has been there for long enough, for the clients to try again.
    pub(super) fn make_room_for_newcomer(
        &mut self,
        group_id: &Arc<str>,
        brought_bytes: usize,
        now_ms: i64,
        out: &mut Output,
    ) -> Result<(), GroupError> {
        let standing = self.groups.get(group_id).map(|group| group.standing);
        if standing == Some(Standing::Known) {
            return Ok(());
        }
        let more_bytes = GROUP_BYTES + group_id.len() + brought_bytes;
        let delay_ms = self.config.initial_rebalance_delay_ms;
        let until_ms = now_ms.saturating_sub(delay_ms.saturating_mul(SETTLING_DELAYS));
        let (mut own, mut made) = (None, Ok(()));
        while self.are_newcomers_full(more_bytes) {
            let Some(oldest) = self.newcomers.pop_oldest() else {
                break;
            };
            if oldest.group_id == *group_id {
                own = Some(oldest);
            } else if oldest.since_ms > until_ms
                && is_newcomer(&self.groups, oldest.number, &oldest.group_id)
            {
                self.newcomers.put_back(oldest);
                made = Err(GroupError::CoordinatorNotAvailable);
                break;
            } else {
                self.dismiss_newcomer(&oldest, now_ms, out);
            }
        }
        if let Some(own) = own {
            self.newcomers.put_back(own);
        }
        let (groups, count) = (&self.groups, self.total.get().new_groups);
        self.newcomers.tidy(count, |number, group_id| {
            is_newcomer(groups, number, group_id)
        });
        made
    }

    fn are_newcomers_full(&self, more_bytes: usize) -> bool {
        let (own, limits) = (self.total.get(), &self.limits);
        let part = if more_bytes > LARGE_BYTES { 2 } else { 1 };
        let is_beyond = |held: usize, most: usize| held.saturating_add(more_bytes) > most / part;
        own.new_groups >= limits.new_groups
            || (is_beyond(own.new_bytes, limits.new_bytes_share)
                && is_beyond(self.total.all_new_bytes(), limits.new_bytes))
    }

    /// The group, if it is still new, is no more. What the log has of it is deleted there; until the log has taken
    /// that, it is there, and does not count as new.
    fn dismiss_newcomer(&mut self, aged: &Aged, now_ms: i64, out: &mut Output) {
        self.change(&aged.group_id, now_ms, out, |group, cx| {
            if group.standing != Standing::New(aged.number) {
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
                cx.out.records.extend(group.membership.end(&aged.group_id));
            }
        });
    }
}
