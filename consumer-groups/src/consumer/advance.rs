//! What follows when a member is heard of: what it wants now, what everybody is to read then, and how far
//! the member gets. Both protocols come through here.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::group::{
    ConsumerGroup, Member, member_bytes, partition_bytes, place_bytes, regex_bytes,
};
use super::reconcile::Destination;
use super::view::View;
use super::{regex, timers};
use crate::classic::rebalance::{Context, Who};
use crate::error::GroupError;
use crate::records::OffsetsRecord;
use crate::records::consumer::{
    ConsumerGroupChange, ConsumerMember, CurrentAssignment, GroupEpoch, MemberState, ResolvedRegex,
    TargetEpoch, TopicIdPartition,
};

/// A member that was heard of.
pub(super) struct Heard<'a> {
    pub(super) member_id: Arc<str>,
    /// The member under this id, unless it is new.
    pub(super) before: Option<&'a Member>,
    /// The static member with another id whose place it takes.
    pub(super) replaced: Option<(&'a Arc<str>, &'a Member)>,
    /// Whether it joins, so that it starts with nothing of its own.
    pub(super) joins: bool,
    /// What it says about itself.
    pub(super) metadata: Arc<ConsumerMember>,
    /// What it says that it reads, if it says so.
    pub(super) owned: Option<&'a BTreeSet<TopicIdPartition>>,
}

/// How far the member got.
#[derive(Debug)]
pub(super) struct Advanced {
    pub(super) member_id: Arc<str>,
    pub(super) current: Arc<CurrentAssignment>,
    /// Whether it is to read something else than before.
    pub(super) has_other_partitions: bool,
    /// What was found to be right for the topics as they are: the epoch, and a regular expression.
    pub(super) is_right: bool,
    pub(super) right_regex: Option<Arc<str>>,
}

impl Advanced {
    /// Notes in the group what was found out and is in no record.
    pub(super) fn note(&self, group: &mut ConsumerGroup, version: u64) {
        if self.is_right {
            group.note_right_for(version);
        }
        if let Some(regex) = &self.right_regex {
            group.note_regex_right_for(regex, version);
        }
    }
}

/// What is written if all goes well.
struct Decision<'a> {
    group: &'a ConsumerGroup,
    changes: Vec<ConsumerGroupChange>,
    /// Bytes that the group will hold more.
    more_bytes: usize,
    /// Bytes that others will hold less, or that give way to what is counted above.
    less_bytes: usize,
}

impl Decision<'_> {
    fn add(&mut self, change: ConsumerGroupChange) {
        self.changes.push(change);
    }
}

/// What becomes of a regular expression.
enum Resolved {
    /// The member has none.
    None,
    /// What is known is known to be right.
    Known,
    /// What is known was found to be right.
    Confirmed(Arc<str>),
    /// It stands for something else than is known.
    Changed(Arc<str>, ResolvedRegex),
}

/// Decides what follows. Nothing is written if there is an error.
pub(super) fn advance(
    group: &ConsumerGroup,
    heard: Heard,
    cx: &mut Context,
) -> Result<Advanced, GroupError> {
    let mut decision = Decision {
        group,
        changes: Vec::new(),
        more_bytes: 0,
        less_bytes: 0,
    };
    let base = heard.before.or(heard.replaced.map(|(_, member)| member));
    if let Some((replaced_id, _)) = heard.replaced {
        decision.changes.extend(tombstones(replaced_id));
    }
    let resolved = resolve(group, base, &heard.metadata, cx)?;
    decision.want(&heard, base, &resolved, cx.limits.group_record_bytes)?;

    let gone: BTreeSet<&str> = heard.replaced.iter().map(|(id, _)| &***id).collect();
    let view = View {
        group,
        topics: cx.topics,
        changed: Some((&heard.member_id, &*heard.metadata)),
        gone: &gone,
        replaced: heard.replaced.map(|(id, _)| &**id),
        resolved: match &resolved {
            Resolved::Changed(regex, resolved) => Some((regex, resolved)),
            _ => None,
        },
        gathered: OnceCell::new(),
    };
    let is_other = match base {
        None => true,
        Some(base) => {
            let (before, now) = (&base.metadata, &heard.metadata);
            !Arc::ptr_eq(before, now) && (before.topics != now.topics || before.regex != now.regex)
        }
    };
    let is_other = is_other || matches!(resolved, Resolved::Changed(..));
    let (epoch, is_right) = decision.epoch(&view, is_other);
    let target = decision.target(&view, epoch, &heard.member_id, cx.now_ms);
    let target_epoch = group.target_epoch.epoch.max(epoch);
    let current = decision.reconcile(&heard, base, &target, target_epoch);
    let more_bytes = decision.more_bytes.saturating_sub(decision.less_bytes);
    if let Err(error) = cx.check_room(more_bytes, Who::known(base.is_some())) {
        // It is alive all the same: who was let in is not thrown out for what others hold, and tries again. A static
        // member that comes back keeps its place.
        let place = heard.replaced.map(|(id, member)| (id, &member.metadata));
        let own = heard.before.map(|_| (&heard.member_id, &heard.metadata));
        if let Some((member_id, metadata)) = place.or(own) {
            timers::heard_of(group, member_id, metadata, cx);
        }
        return Err(error);
    }

    timers::heard_of(group, &heard.member_id, &heard.metadata, cx);
    let before = heard.before.map(|member| &member.current);
    let has_changed = before != Some(&current);
    if heard.metadata.classic.is_none() {
        timers::gives_up(group, &heard, &current, has_changed, cx);
    }
    write(group, decision.changes, cx);
    Ok(Advanced {
        has_other_partitions: base.is_none_or(|base| {
            let is_known = Arc::ptr_eq(&base.current, &current);
            !is_known && !base.current.assigned.keys().eq(current.assigned.keys())
        }),
        member_id: heard.member_id,
        current,
        is_right,
        right_regex: match resolved {
            Resolved::Confirmed(regex) => Some(regex),
            _ => None,
        },
    })
}

/// The records that take a member out, in Kafka's order.
pub(super) fn tombstones(member_id: &Arc<str>) -> [ConsumerGroupChange; 3] {
    let id = || Arc::clone(member_id);
    [
        ConsumerGroupChange::Current {
            member_id: id(),
            value: None,
        },
        ConsumerGroupChange::Target {
            member_id: id(),
            value: None,
        },
        ConsumerGroupChange::Member {
            member_id: id(),
            value: None,
        },
    ]
}

/// Puts changes to a group into the output.
pub(super) fn write(
    group: &ConsumerGroup,
    changes: impl IntoIterator<Item = ConsumerGroupChange>,
    cx: &mut Context,
) {
    let record = |change| OffsetsRecord::ConsumerGroup {
        group_id: Arc::clone(&group.id),
        change,
    };
    cx.out.records.extend(changes.into_iter().map(record));
}

fn resolve(
    group: &ConsumerGroup,
    base: Option<&Member>,
    member: &ConsumerMember,
    cx: &Context,
) -> Result<Resolved, GroupError> {
    let Some(regex) = &member.regex else {
        return Ok(Resolved::None);
    };
    let version = cx.topics.version();
    if group.is_regex_right_for(regex, version) {
        return Ok(Resolved::Known);
    }
    let topics = regex::resolve(regex, cx.topics)?;
    let had = base.and_then(|base| base.metadata.regex.as_ref());
    if !member.topics.is_empty() && had != Some(regex) && group.regex(regex).is_none() {
        // Who names topics, too, hears of those first, as in Kafka, and with the next heartbeat of the others.
        return Ok(Resolved::None);
    }
    if group
        .regex(regex)
        .is_some_and(|known| *known.topics == topics)
    {
        return Ok(Resolved::Confirmed(Arc::clone(regex)));
    }
    let resolved = ResolvedRegex {
        topics: Arc::new(topics),
        version: version.cast_signed(),
        timestamp_ms: cx.now_ms,
    };
    Ok(Resolved::Changed(Arc::clone(regex), resolved))
}

impl Decision<'_> {
    /// What the member wants, and what its regular expression stands for.
    fn want(
        &mut self,
        heard: &Heard,
        base: Option<&Member>,
        resolved: &Resolved,
        record_bytes_max: usize,
    ) -> Result<(), GroupError> {
        let is_known = heard
            .before
            .is_some_and(|before| before.metadata == heard.metadata);
        if !is_known {
            self.more_bytes += member_bytes(&heard.metadata);
            match base {
                Some(base) => self.less_bytes += member_bytes(&base.metadata),
                None => self.more_bytes += place_bytes(&heard.member_id),
            }
            self.add(ConsumerGroupChange::Member {
                member_id: Arc::clone(&heard.member_id),
                value: Some(Arc::clone(&heard.metadata)),
            });
        }
        let left = base.and_then(|base| base.metadata.regex.as_ref());
        let left = left.filter(|&left| heard.metadata.regex.as_ref() != Some(left));
        if let Some(left) = left
            && self.group.regex_users(left) <= 1
            && self.group.regex(left).is_some()
        {
            self.add(ConsumerGroupChange::Regex {
                regex: Arc::clone(left),
                value: None,
            });
        }
        if let Resolved::Changed(regex, resolved) = resolved {
            let bytes = regex_bytes(regex, resolved);
            if bytes > record_bytes_max {
                return Err(GroupError::UnknownServerError);
            }
            self.more_bytes += bytes;
            let held = self.group.regex(regex);
            self.less_bytes += held.map_or(0, |held| regex_bytes(regex, held));
            self.add(ConsumerGroupChange::Regex {
                regex: Arc::clone(regex),
                value: Some(resolved.clone()),
            });
        }
        Ok(())
    }

    /// The group's epoch, and whether it was found to be right for the topics as they are.
    fn epoch(&mut self, view: &View, is_other: bool) -> (i32, bool) {
        let known = self.group.epoch;
        if !is_other && self.group.is_right_for(view.topics.version()) {
            return (known.epoch, false);
        }
        let metadata_hash = view.metadata_hash();
        if !is_other && metadata_hash == known.metadata_hash {
            return (known.epoch, true);
        }
        let epoch = known.epoch.saturating_add(1);
        self.add(ConsumerGroupChange::Epoch(Some(GroupEpoch {
            epoch,
            metadata_hash,
        })));
        (epoch, false)
    }

    /// What the member is to read; if the group's epoch is a new one, everybody's target is made anew.
    fn target(
        &mut self,
        view: &View,
        epoch: i32,
        member_id: &Arc<str>,
        now_ms: i64,
    ) -> Arc<BTreeSet<TopicIdPartition>> {
        if epoch <= self.group.target_epoch.epoch {
            let target = view.target_before(member_id).cloned().unwrap_or_default();
            if view.replaced.is_some() {
                self.set_target(member_id, &target);
            }
            return target;
        }
        let mut own = Arc::default();
        for (id, target) in view.assign() {
            let (before, target) = (self.group.target(id), Arc::new(target));
            if before != Some(&target) {
                self.more_bytes += partition_bytes(target.len());
                self.less_bytes += before.map_or(0, |before| partition_bytes(before.len()));
                self.set_target(id, &target);
            }
            if id == member_id {
                own = target;
            }
        }
        self.add(ConsumerGroupChange::TargetEpoch(Some(TargetEpoch {
            epoch,
            timestamp_ms: now_ms,
        })));
        own
    }

    fn set_target(&mut self, member_id: &Arc<str>, target: &Arc<BTreeSet<TopicIdPartition>>) {
        self.add(ConsumerGroupChange::Target {
            member_id: Arc::clone(member_id),
            value: Some(Arc::clone(target)),
        });
    }

    fn reconcile(
        &mut self,
        heard: &Heard,
        base: Option<&Member>,
        target: &BTreeSet<TopicIdPartition>,
        target_epoch: i32,
    ) -> Arc<CurrentAssignment> {
        let mut current = base
            .map(|base| Arc::clone(&base.current))
            .unwrap_or_default();
        if heard.joins {
            let current = Arc::make_mut(&mut current);
            (current.epoch, current.previous_epoch) = (0, 0);
        }
        let replaced_id = heard.replaced.map(|(id, _)| id);
        let is_held = |partition: TopicIdPartition| {
            let owner = self.group.owner(partition);
            owner.is_some_and(|owner| *owner != heard.member_id && Some(owner) != replaced_id)
        };
        let destination = Destination {
            epoch: target_epoch,
            target,
            owned: heard.owned,
            is_held: &is_held,
        };
        let next = destination.approach(&current).map_or(current, Arc::new);
        if heard.before.map(|before| &before.current) != Some(&next) {
            self.add(ConsumerGroupChange::Current {
                member_id: Arc::clone(&heard.member_id),
                value: Some(Arc::clone(&next)),
            });
        }
        next
    }
}

/// Whether the member has to give partitions up first. Of a static member that is away it says nothing any more
/// what its last state was: it reads nothing.
pub(super) fn is_giving_up(current: &CurrentAssignment) -> bool {
    current.state == MemberState::UnrevokedPartitions && !current.revoking.is_empty()
}
