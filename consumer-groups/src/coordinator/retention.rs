//! Offsets expire, and groups of which nothing is left.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Group, GroupCoordinator, Membership};
use crate::classic::subscription::Expiry;
use crate::deadlines::Timer;
use crate::records::{CommittedOffset, OffsetKey, OffsetsRecord};
use crate::reply::Output;

impl GroupCoordinator {
    pub(super) fn arm_retention(&mut self, now_ms: i64) {
        let interval_ms = self.config.offsets_retention_check_interval_ms;
        let at_ms = now_ms.saturating_add(interval_ms);
        self.deadlines.arm(Timer::Retention, at_ms);
    }

    /// Looks at some groups, and is due again at once if there are more.
    pub(super) fn expire_offsets(&mut self, now_ms: i64, out: &mut Output) {
        let from = self
            .retention_at
            .take()
            .map_or(Bound::Unbounded, Bound::Included);
        let mut looked_at = 0;
        for (group_id, group) in self.groups.range((from, Bound::Unbounded)) {
            if looked_at >= self.limits.retention_step {
                self.retention_at = Some(Arc::clone(group_id));
                break;
            }
            looked_at += 1 + group.offsets.count();
            self.expire_group(group_id, group, now_ms, out);
        }
        match self.retention_at {
            Some(_) => self.deadlines.arm(Timer::Retention, now_ms),
            None => self.arm_retention(now_ms),
        }
    }

    fn expire_group(&self, group_id: &Arc<str>, group: &Group, now_ms: i64, out: &mut Output) {
        let Membership::Classic(classic) = &group.membership;
        let subscription = classic.subscription();
        let expiry = classic.expiry(&subscription);
        let mut left = group.offsets.count();
        for (topic, partitions) in group.offsets.topics() {
            if subscription.may_contain(topic) {
                continue;
            }
            for partition in self.expired(partitions, expiry, now_ms) {
                left -= 1;
                out.records.push(OffsetsRecord::OffsetCommit {
                    key: OffsetKey {
                        group_id: Arc::clone(group_id),
                        topic: Arc::clone(topic),
                        partition,
                    },
                    value: None,
                });
            }
        }
        if left == 0 && classic.is_empty() && classic.pending_count() == 0 {
            out.records.push(OffsetsRecord::GroupMetadata {
                group_id: Arc::clone(group_id),
                value: None,
            });
        }
    }

    fn expired(
        &self,
        partitions: &BTreeMap<i32, CommittedOffset>,
        expiry: Expiry,
        now_ms: i64,
    ) -> Vec<i32> {
        let retention_ms = self.config.offsets_retention_ms;
        let is_expired = |offset: &CommittedOffset| {
            let since_ms = match expiry {
                Expiry::Never => return false,
                Expiry::AfterCommit => offset.commit_timestamp_ms,
                Expiry::After(since_ms) => since_ms,
            };
            match offset.expire_timestamp_ms {
                Some(expire_ms) => now_ms >= expire_ms,
                None => now_ms.saturating_sub(since_ms) >= retention_ms,
            }
        };
        let expired = partitions.iter().filter(|(_, offset)| is_expired(offset));
        expired.map(|(&partition, _)| partition).collect()
    }
}
