//! Offsets expire, and groups of which nothing is left.

use std::cell::LazyCell;
use std::ops::Bound;
use std::sync::Arc;

use super::offset_requests::tombstone;
use super::{Group, GroupCoordinator, Membership};
use crate::classic::subscription::Expiry;
use crate::deadlines::Timer;
use crate::records::CommittedOffset;
use crate::reply::Output;

/// What requests have to themselves between two steps of a look for expired offsets, or of a deletion.
pub(super) const BETWEEN_STEPS_MS: i64 = 1;

impl GroupCoordinator {
    pub(super) fn arm_retention(&mut self, now_ms: i64) {
        let interval_ms = self.config.offsets_retention_check_interval_ms;
        let at_ms = now_ms.saturating_add(interval_ms);
        self.deadlines.arm(Timer::Retention, at_ms);
    }

    /// Looks at some groups, and goes on after [`BETWEEN_STEPS_MS`] if there are more.
    pub(super) fn expire_offsets(&mut self, now_ms: i64, out: &mut Output) {
        let from = self
            .retention_at
            .take()
            .map_or(Bound::Unbounded, Bound::Included);
        let step = self.limits.retention_step.max(1);
        let mut looked_at = 0;
        for (group_id, group) in self.groups.range((from, Bound::Unbounded)) {
            if looked_at >= step || self.expire_group(group_id, group, now_ms, step, out) {
                self.retention_at = Some(Arc::clone(group_id));
                break;
            }
            looked_at += 1 + group.offsets.count();
        }
        match self.retention_at {
            Some(_) => {
                let at_ms = now_ms.saturating_add(BETWEEN_STEPS_MS);
                self.deadlines.arm(Timer::Retention, at_ms);
            }
            None => self.arm_retention(now_ms),
        }
    }

    /// The log refuses what is written: a look under way would only be refused more. The next one has its time.
    pub(super) fn give_up_retention(&mut self, now_ms: i64) {
        if self.retention_at.take().is_some() {
            self.arm_retention(now_ms);
        }
    }

    /// Returns whether there are more records than `most`: the rest is for the next step.
    fn expire_group(
        &self,
        group_id: &Arc<str>,
        group: &Group,
        now_ms: i64,
        most: usize,
        out: &mut Output,
    ) -> bool {
        // It takes long to read, and mostly nothing has expired.
        let subscription = LazyCell::new(|| group.membership.subscription());
        let (expiry, is_idle) = match &group.membership {
            Membership::Classic(classic) => {
                let is_idle = classic.is_empty() && classic.pending_count() == 0;
                (classic.expiry(), is_idle)
            }
            Membership::Consumer(group) => (Expiry::AfterCommit, group.members().is_empty()),
        };
        let mut left = group.offsets.count();
        for (topic, partitions) in group.offsets.topics() {
            let is_expired = |offset| self.is_expired(offset, expiry, now_ms);
            let mut expired = partitions
                .iter()
                .filter(|&(_, offset)| is_expired(offset))
                .peekable();
            if expired.peek().is_none() || subscription.may_contain(topic) {
                continue;
            }
            for (&partition, _) in expired {
                if out.records.len() >= most {
                    return true;
                }
                left -= 1;
                out.records.push(tombstone(group_id, topic, partition));
            }
        }
        if left == 0 && is_idle {
            out.records.extend(group.membership.end(group_id));
        }
        false
    }

    fn is_expired(&self, offset: &CommittedOffset, expiry: Expiry, now_ms: i64) -> bool {
        let since_ms = match expiry {
            Expiry::Never => return false,
            Expiry::AfterCommit => offset.commit_timestamp_ms,
            Expiry::After(since_ms) => since_ms,
        };
        match offset.expire_timestamp_ms {
            Some(expire_ms) => now_ms >= expire_ms,
            None => now_ms.saturating_sub(since_ms) >= self.config.offsets_retention_ms,
        }
    }
}
