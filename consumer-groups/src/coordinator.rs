//! The state machine: every group, and what is asked of them.

mod answers;
mod consumer_requests;
mod deletions;
mod joins;
mod newcomers;
mod offset_requests;
mod retention;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_config::{ConsumerTimes, GroupConfig};
use tidewheel_protocol::Uuid;
use tidewheel_protocol::consumer_protocol::PROTOCOL_TYPE;

use self::deletions::Deletions;
use self::newcomers::Standing;
use self::offset_requests::is_same_topic;
pub use self::view::{GroupView, OffsetView};
use crate::by_age::ByAge;
use crate::classic::group::ClassicGroup;
use crate::classic::rebalance::Context;
use crate::consumer::group::ConsumerGroup;
use crate::consumer::{classic_members, conversion, removal};
use crate::deadlines::{Deadlines, Timer};
use crate::error::GroupError;
use crate::footprint::{Footprint, GroupLimits, HeldBytes, Listed, Total};
use crate::offsets::GroupOffsets;
use crate::records::OffsetsRecord;
use crate::reply::{GroupReply, MemberLeft, Output};
use crate::request::{GroupRequest, LeaveRequest, ReplyToken, SyncRequest};
use crate::topics::{NoTopics, Topics};

/// Estimated bytes of a group beside what is in it.
const GROUP_BYTES: usize = 1024;

/// What is set on single groups of the newer protocol, by id.
pub type GroupTimes = BTreeMap<Arc<str>, ConsumerTimes>;

/// Every group of one coordinator: see the crate's contract for how to run it.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    limits: GroupLimits,
    /// The topics that there are.
    topics: Arc<dyn Topics>,
    /// What is set on single groups, there or not.
    times: Arc<GroupTimes>,
    groups: BTreeMap<Arc<str>, Group>,
    deadlines: Deadlines,
    /// Member ids that were given out and not used yet.
    pending: ByAge,
    /// Groups that are new.
    newcomers: ByAge,
    /// What all groups hold.
    total: Total,
    /// The time that it was told last, in ms since 1970.
    told_ms: i64,
    /// Where the look for expired offsets goes on, if one is under way.
    retention_at: Option<Arc<str>>,
    /// Groups and topics that are being deleted.
    deletions: Deletions,
}

/// A group: who is in it, and how far it has read.
#[derive(Debug)]
struct Group {
    membership: Membership,
    offsets: GroupOffsets,
    /// Whether offsets were deleted: such a group stays, as in Kafka, until expired offsets are looked for,
    /// so that an administrator who deletes the offsets and then the group finds it.
    lingers: bool,
    /// Whether it may have to make room for others.
    standing: Standing,
    /// Whether the log says that it is being deleted: what is left of it goes, also after a start.
    is_deleted: bool,
}

/// By which protocol the members of a group work together.
#[derive(Debug)]
enum Membership {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

impl Membership {
    /// Estimated bytes of the members, with what they were given.
    fn bytes(&self) -> usize {
        match self {
            Membership::Classic(group) => group.bytes(),
            Membership::Consumer(group) => group.bytes(),
        }
    }

    /// Whether there are no members.
    fn is_empty(&self) -> bool {
        match self {
            Membership::Classic(group) => group.is_empty(),
            Membership::Consumer(group) => group.members().is_empty(),
        }
    }
}

impl Group {
    fn new(id: &Arc<str>, now_ms: Option<i64>) -> Group {
        Group {
            membership: Membership::Classic(ClassicGroup::new(Arc::clone(id), now_ms)),
            offsets: GroupOffsets::default(),
            lingers: false,
            standing: Standing::default(),
            is_deleted: false,
        }
    }

    fn footprint(&self) -> Footprint {
        let (pending_members, pending_bytes, id) = match &self.membership {
            Membership::Classic(group) => (group.pending_count(), group.pending_bytes(), &group.id),
            Membership::Consumer(group) => (0, 0, &group.id),
        };
        let own_bytes = GROUP_BYTES + id.len();
        let is_for_pending = pending_members > 0 && self.is_nothing_but_pending();
        let bytes = own_bytes + self.membership.bytes() + self.offsets.bytes();
        let is_new = !is_for_pending && matches!(self.standing, Standing::New(_));
        Footprint {
            pending_members,
            pending_bytes: pending_bytes + if is_for_pending { own_bytes } else { 0 },
            new_groups: usize::from(is_new),
            new_bytes: if is_new { bytes } else { 0 },
            bytes,
        }
    }

    /// Whether nothing is left that anybody could ask for and nothing of it is in the log.
    fn is_nothing(&self) -> bool {
        let has_pending = match &self.membership {
            Membership::Classic(group) => group.pending_count() > 0,
            Membership::Consumer(_) => false,
        };
        !has_pending && self.is_nothing_but_pending()
    }

    /// The same, but for members that were given an id and have not come back with it.
    fn is_nothing_but_pending(&self) -> bool {
        let is_nothing = match &self.membership {
            Membership::Classic(group) => group.is_empty() && !group.recorded,
            Membership::Consumer(group) => group.is_nothing(),
        };
        is_nothing && self.offsets.is_empty() && !self.lingers
    }
}

impl GroupCoordinator {
    /// A coordinator of no groups. What the log holds goes through [`GroupCoordinator::replay`] first,
    /// then [`GroupCoordinator::loaded`], then requests may come.
    #[must_use]
    pub fn new(config: GroupConfig, limits: GroupLimits) -> GroupCoordinator {
        GroupCoordinator {
            config,
            limits,
            topics: Arc::new(NoTopics),
            times: Arc::default(),
            groups: BTreeMap::new(),
            deadlines: Deadlines::default(),
            pending: ByAge::default(),
            newcomers: ByAge::default(),
            total: Total::default(),
            told_ms: 0,
            retention_at: None,
            deletions: Deletions::default(),
        }
    }

    /// The same with a share in `held`, which bounds the bytes of all coordinators that have one.
    #[must_use]
    pub fn sharing(mut self, held: &HeldBytes) -> GroupCoordinator {
        self.total = Total::sharing(held);
        self
    }

    /// Begins to serve what was replayed: sessions begin now, `now_ms` in ms since 1970. `topic_id` tells the
    /// id of a topic, none if there is no such topic: a deletion may have been cut short before the offsets
    /// in it were deleted, which is made up for.
    pub fn loaded(&mut self, now_ms: i64, topic_id: impl Fn(&str) -> Option<Uuid>) -> Output {
        let mut out = Output::default();
        self.told_ms = now_ms;
        self.forget_topics(
            |topic, id| !topic_id(topic).is_some_and(|now| is_same_topic(id, now)),
            &mut out,
        );
        let group_ids: Vec<Arc<str>> = self.groups.keys().map(Arc::clone).collect();
        for group_id in group_ids {
            self.change(&group_id, now_ms, &mut out, |group, cx| {
                group.standing = Standing::Known;
                let group = match &mut group.membership {
                    Membership::Classic(group) => group,
                    Membership::Consumer(group) => return conversion::loaded(group, cx),
                };
                for member in group.members().values() {
                    group.heard_of(member, cx);
                }
                if group.members().len() > cx.members_max() {
                    // The last to join again will find the group full.
                    group.prepare_rebalance(cx);
                }
            });
        }
        self.newcomers = ByAge::default();
        self.go_on_deleting(now_ms);
        self.arm_retention(now_ms);
        out
    }

    /// Estimated bytes of what a group holds; 0 for none.
    #[must_use]
    pub fn group_bytes(&self, group_id: &str) -> usize {
        let group = self.groups.get(group_id);
        group.map_or(0, |group| group.footprint().bytes)
    }

    /// What [`GroupRequest::List`] without filters would answer with.
    #[must_use]
    pub fn listed(&self) -> Listed {
        let names = self.groups.iter().map(|(id, group)| {
            let protocol_type = match &group.membership {
                Membership::Classic(group) => {
                    group.protocol_type.as_ref().map_or(0, |name| name.len())
                }
                Membership::Consumer(_) => PROTOCOL_TYPE.len(),
            };
            id.len() + protocol_type
        });
        Listed {
            groups: self.groups.len(),
            bytes: names.sum(),
        }
    }

    /// Decides about a request. Its reply is in this output, or parked and in a later one.
    pub fn handle(&mut self, request: GroupRequest, token: ReplyToken, now_ms: i64) -> Output {
        let mut out = Output::default();
        self.told_ms = now_ms;
        if self.has_deletions()
            && let Some(refusal) = self.refused_for_deletion(&request)
        {
            out.reply(token, refusal);
            return out;
        }
        let reply = match request {
            GroupRequest::Join(request) => {
                self.join(&request, token, now_ms, &mut out);
                return out;
            }
            GroupRequest::Sync(request) => {
                self.sync(&request, token, now_ms, &mut out);
                return out;
            }
            GroupRequest::Heartbeat(request) => {
                let id = Arc::clone(&request.group_id);
                let heard = self.member_request(&id, now_ms, &mut out, |group, cx| match group {
                    Membership::Classic(group) => group.heartbeat(&request, cx),
                    Membership::Consumer(group) => classic_members::heartbeat(group, &request, cx),
                });
                GroupReply::Heartbeat(heard.and_then(|result| result))
            }
            GroupRequest::Leave(request) => self.leave(&request, now_ms, &mut out),
            GroupRequest::ConsumerHeartbeat(request) => {
                GroupReply::ConsumerHeartbeat(self.consumer_heartbeat(&request, now_ms, &mut out))
            }
            GroupRequest::DescribeConsumerGroup(request) => self.describe_consumer_group(&request),
            GroupRequest::CommitOffsets(request) => self.commit(&request, now_ms, &mut out),
            GroupRequest::FetchOffsets(request) => self.fetch(&request),
            GroupRequest::Describe(request) => self.describe(&request),
            GroupRequest::List(request) => self.list(&request),
            GroupRequest::DeleteGroup(request) => {
                self.delete_group(&request, token, now_ms, &mut out);
                return out;
            }
            GroupRequest::DeleteOffsets(request) => self.delete_offsets(&request, &mut out),
            GroupRequest::TopicsDeleted(request) => self.topics_deleted(&request, now_ms, &mut out),
        };
        out.reply(token, reply);
        out
    }

    /// The clock from which `now_ms` comes was set: from now on it says `by_ms` more than it would have. Nobody
    /// is silent for longer or has longer to come back because of that. Offsets expire by the new time.
    pub fn clock_was_set(&mut self, by_ms: i64) {
        self.deadlines.move_all(by_ms);
        self.newcomers.move_all(by_ms);
        self.told_ms = self.told_ms.saturating_add(by_ms);
    }

    /// When [`GroupCoordinator::tick`] has something to do next, in ms since 1970.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.next_ms()
    }

    /// Bytes that all groups take, also those of coordinators that share them, estimated: what
    /// [`GroupLimits::state_bytes`] bounds.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.total.get().bytes
    }

    /// Does what is due first, if anything is: call it as long as [`GroupCoordinator::next_deadline`] has
    /// come.
    pub fn tick(&mut self, now_ms: i64) -> Output {
        let mut out = Output::default();
        self.told_ms = now_ms;
        match self.deadlines.pop_due(now_ms) {
            None => {}
            Some(Timer::Retention) => self.expire_offsets(now_ms, &mut out),
            Some(Timer::GroupDeletions) => self.delete_some(now_ms, &mut out),
            Some(Timer::TopicsDeletion) => self.forget_some(now_ms, &mut out),
            Some(Timer::Join(group_id)) => {
                self.change_classic(&group_id, now_ms, &mut out, ClassicGroup::join_is_due);
            }
            Some(Timer::Sync(group_id)) => {
                self.change_classic(&group_id, now_ms, &mut out, ClassicGroup::sync_is_due);
            }
            Some(Timer::Session {
                group_id,
                member_id,
            }) => {
                self.change_classic(&group_id, now_ms, &mut out, |group, cx| {
                    group.session_is_due(&member_id, cx);
                });
            }
            Some(Timer::Rebalance(group_id)) => {
                self.change_classic(&group_id, now_ms, &mut out, |group, cx| {
                    if !group.is_empty() {
                        group.prepare_rebalance(cx);
                    }
                });
            }
            Some(Timer::Downgrade(group_id)) => {
                let downgrade = conversion::maybe_downgrade;
                self.change_consumer(&group_id, now_ms, &mut out, downgrade);
            }
            Some(Timer::ConsumerSession {
                group_id,
                member_id,
            }) => {
                self.change_consumer(&group_id, now_ms, &mut out, |group, cx| {
                    removal::session_is_due(group, &member_id, cx);
                });
            }
            Some(Timer::ConsumerRebalance {
                group_id,
                member_id,
            }) => {
                self.change_consumer(&group_id, now_ms, &mut out, |group, cx| {
                    removal::rebalance_is_due(group, &member_id, cx);
                });
            }
        }
        out
    }

    /// Applies a record that is in the log: the only way in which hard state changes.
    pub fn replay(&mut self, record: &OffsetsRecord) {
        let group_id = record.group_id();
        if !self.groups.contains_key(group_id) {
            self.insert(Group::new(group_id, None), group_id);
        }
        // Replaying decides nothing, so it leads to no replies. A group that begins with it began at the time of what led
        // to the record.
        let (now_ms, mut nothing) = (self.told_ms, Output::default());
        self.change(group_id, now_ms, &mut nothing, |group, cx| match record {
            OffsetsRecord::OffsetCommit { key, value } => match value {
                Some(value) => {
                    group.standing = Standing::Known;
                    group.offsets.put(&key.topic, key.partition, value.clone());
                }
                None => {
                    group.lingers |= !group.offsets.is_empty();
                    group.offsets.remove(&key.topic, key.partition);
                }
            },
            OffsetsRecord::GroupMetadata { value, .. } => {
                if value
                    .as_ref()
                    .is_some_and(|value| !value.members.is_empty())
                {
                    group.standing = Standing::Known;
                }
                group.replay_classic(value.as_ref(), cx.deadlines);
            }
            OffsetsRecord::ConsumerGroup { change, .. } => {
                group.replay_consumer(change, cx.deadlines);
            }
        });
    }

    /// The log did not take the records of an output. Its replies become errors, and what was waiting
    /// for the records is taken back, which may lead to more replies and records.
    pub fn append_failed(&mut self, output: Output, error: GroupError, now_ms: i64) -> Output {
        let replies = output.replies.into_iter().map(|(token, reply)| {
            let reply = match self.is_gone(token, &output.records) {
                true => reply,
                false => reply.refused(error),
            };
            (token, reply)
        });
        let mut out = Output {
            records: Vec::new(),
            replies: replies.collect(),
        };
        for record in &output.records {
            match record {
                // That a group is to be deleted is said again: see `deletions_failed`.
                OffsetsRecord::GroupMetadata {
                    group_id,
                    value: Some(value),
                } if !value.is_deletion() => {
                    let take_back = ClassicGroup::generation_was_not_stored;
                    self.change_classic(group_id, now_ms, &mut out, take_back);
                }
                OffsetsRecord::ConsumerGroup { group_id, change } => {
                    self.was_not_stored(group_id, change, now_ms);
                }
                OffsetsRecord::OffsetCommit { .. } | OffsetsRecord::GroupMetadata { .. } => {}
            }
        }
        self.deletions_failed(&output.records, error, now_ms, &mut out);
        self.give_up_retention(now_ms);
        out
    }

    /// Answers everything that is parked, and forgets all groups: the log is lost for good, or the broker
    /// stops.
    pub fn close(&mut self, error: GroupError) -> Output {
        let mut out = Output::default();
        for group in std::mem::take(&mut self.groups).into_values() {
            let Membership::Classic(mut group) = group.membership else {
                continue;
            };
            for (_, token) in group.take_syncs() {
                out.reply(token, GroupReply::Sync(Err(error)));
            }
            for (member_id, token) in group.take_joins() {
                out.reply(token, GroupReply::join_refused(member_id, error));
            }
        }
        self.close_deletions(error, &mut out);
        self.deadlines = Deadlines::default();
        self.pending = ByAge::default();
        self.newcomers = ByAge::default();
        self.total.clear();
        self.retention_at = None;
        out
    }

    /// Works on a group and keeps the books; a group of which nothing is left is forgotten.
    fn change<R>(
        &mut self,
        group_id: &Arc<str>,
        now_ms: i64,
        out: &mut Output,
        change: impl FnOnce(&mut Group, &mut Context) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(group_id)?;
        let before = group.footprint();
        let times = self.times.get(group_id).copied();
        let mut cx = Context {
            config: &self.config,
            times: times.unwrap_or_else(|| self.config.default_consumer_times()),
            limits: &self.limits,
            topics: &*self.topics,
            deadlines: &mut self.deadlines,
            pending: &mut self.pending,
            total: self.total.get(),
            group_bytes: before.bytes,
            membership_bytes: group.membership.bytes(),
            state_bytes_max: match group.standing {
                Standing::Known => self.limits.member_state_bytes,
                Standing::Unseen | Standing::New(_) => self.limits.new_state_bytes_max(),
            },
            now_ms,
            out,
        };
        let result = change(group, &mut cx);
        if group.standing == Standing::Unseen && !group.is_nothing_but_pending() {
            group.standing = Standing::New(self.newcomers.add(group_id, now_ms));
        }
        self.total.replace(before, group.footprint());
        if group.is_nothing() {
            if let Membership::Classic(classic) = &group.membership {
                self.deadlines.disarm(&classic.join_timer());
            }
            self.total.replace(group.footprint(), Footprint::default());
            self.groups.remove(group_id);
        }
        Some(result)
    }

    fn change_classic<R>(
        &mut self,
        group_id: &Arc<str>,
        now_ms: i64,
        out: &mut Output,
        change: impl FnOnce(&mut ClassicGroup, &mut Context) -> R,
    ) -> Option<R> {
        let changed = self.change(group_id, now_ms, out, |group, cx| {
            match &mut group.membership {
                Membership::Classic(group) => Some(change(group, cx)),
                Membership::Consumer(_) => None,
            }
        });
        changed.flatten()
    }

    fn insert(&mut self, group: Group, group_id: &Arc<str>) {
        self.total.replace(Footprint::default(), group.footprint());
        self.groups.insert(Arc::clone(group_id), group);
    }

    /// A request that only members of a group may make.
    fn member_request<R>(
        &mut self,
        group_id: &Arc<str>,
        now_ms: i64,
        out: &mut Output,
        change: impl FnOnce(&mut Membership, &mut Context) -> R,
    ) -> Result<R, GroupError> {
        if group_id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let change = |group: &mut Group, cx: &mut Context| change(&mut group.membership, cx);
        let changed = self.change(group_id, now_ms, out, change);
        changed.ok_or(GroupError::UnknownMemberId)
    }

    fn sync(&mut self, request: &SyncRequest, token: ReplyToken, now_ms: i64, out: &mut Output) {
        let id = &request.group_id;
        let synced = self.member_request(id, now_ms, out, |group, cx| match group {
            Membership::Classic(group) => group.sync(request, token, cx),
            Membership::Consumer(group) => {
                let synced = classic_members::sync(group, request, cx);
                cx.out.reply(token, GroupReply::Sync(synced));
            }
        });
        if let Err(error) = synced {
            out.reply(token, GroupReply::Sync(Err(error)));
        }
    }

    /// Whether one more group may begin.
    fn has_room_for_group(&self) -> bool {
        self.groups.len() < self.limits.groups
            && self.total.get().bytes < self.limits.new_state_bytes_max()
    }

    fn leave(&mut self, request: &LeaveRequest, now_ms: i64, out: &mut Output) -> GroupReply {
        let id = &request.group_id;
        let left = self.member_request(id, now_ms, out, |group, cx| match group {
            Membership::Classic(group) => group.leave(request, cx),
            Membership::Consumer(group) => classic_members::leave(group, request, cx),
        });
        GroupReply::Leave(match left {
            Err(GroupError::UnknownMemberId) => Ok(request.members.iter().map(unknown).collect()),
            left => left,
        })
    }
}

fn unknown(member: &crate::request::LeavingMember) -> MemberLeft {
    MemberLeft {
        member_id: Arc::clone(&member.member_id),
        instance_id: member.instance_id.clone(),
        result: Err(GroupError::UnknownMemberId),
    }
}
