//! Groups and topics that are deleted in steps: the offsets of one may be so many that others would have to wait.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use tidewheel_config::limits;
use tidewheel_protocol::Uuid;

use super::offset_requests::{all_refused, is_same_topic, tombstone};
use super::retention::BETWEEN_STEPS_MS;
use super::{Group, GroupCoordinator, Membership};
use crate::deadlines::Timer;
use crate::error::GroupError;
use crate::records::{GroupMetadata, OffsetsRecord};
use crate::reply::{GroupReply, Output};
use crate::request::{DeleteGroupRequest, GroupRequest, ReplyToken, TopicsDeletedRequest};

/// When a deletion goes on after the log refused something: of a group that the log says is on its way out, and of
/// offsets in topics that are gone.
const RETRY_MS: i64 = 1_000;

/// Bytes that a tombstone takes in a batch beside the names in its key, at most.
const TOMBSTONE_BYTES: usize = 64;

/// What is being deleted.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    /// Groups, with those who wait until they are gone.
    groups: BTreeMap<Arc<str>, Vec<ReplyToken>>,
    /// Who is told by the last step that its group is gone, and which one that is.
    told: BTreeMap<ReplyToken, Arc<str>>,
    topics: GoneTopics,
}

/// Topics that are gone, and the look for offsets in them.
#[derive(Debug, Default)]
struct GoneTopics {
    /// Those that the look under way is for; none where none is. A name may have been given several times.
    ids: BTreeMap<Arc<str>, Vec<Uuid>>,
    /// Those that were heard of meanwhile: the next look is for them, so that each comes to its end.
    next: BTreeMap<Arc<str>, Vec<Uuid>>,
    /// Where the look goes on; none at its end, which it has come to when the log has taken the last step too.
    at: Option<Place>,
}

/// A topic of a group, there or not; by default before all of them.
#[derive(Debug, Default)]
struct Place {
    group_id: Arc<str>,
    topic: Arc<str>,
}

impl GoneTopics {
    /// Deletes offsets in these topics, and returns where to go on if there may be more: at most `step` are
    /// deleted, and not many more groups and topics looked at.
    fn delete_some(
        &self,
        groups: &BTreeMap<Arc<str>, Group>,
        from: &Place,
        step: usize,
        out: &mut Output,
    ) -> Option<Place> {
        let mut looked_at = 0;
        let rest = (Bound::Included(&*from.group_id), Bound::Unbounded);
        for (group_id, group) in groups.range::<str, _>(rest) {
            let topic = match *group_id == from.group_id {
                true => &*from.topic,
                false => "",
            };
            let place = |topic: &str| {
                let (group_id, topic) = (Arc::clone(group_id), Arc::from(topic));
                Some(Place { group_id, topic })
            };
            if looked_at >= step {
                return place(topic);
            }
            looked_at += 1;
            for (topic, partitions) in group.offsets.topics_from(topic) {
                if looked_at > step {
                    return place(topic);
                }
                looked_at += 1;
                let Some(ids) = self.ids.get(topic) else {
                    continue;
                };
                let is_gone = |id| ids.iter().any(|&gone| is_same_topic(id, gone));
                let gone = partitions
                    .iter()
                    .filter(|(_, offset)| is_gone(offset.topic_id));
                let room = step.saturating_sub(out.records.len());
                let gone = gone.map(|(&p, _)| tombstone(group_id, topic, p));
                out.records.extend(gone.take(room));
                if out.records.len() >= step {
                    return place(topic);
                }
            }
        }
        None
    }
}

impl Group {
    /// Bytes of the records that delete it, at most.
    fn deletion_bytes(&self, group_id: &Arc<str>) -> usize {
        let offsets = self.offsets.topics().map(|(topic, partitions)| {
            partitions.len() * (TOMBSTONE_BYTES + group_id.len() + topic.len())
        });
        let last = self.membership.end(group_id).len() * (TOMBSTONE_BYTES + group_id.len());
        last + offsets.sum::<usize>()
    }
}

impl Membership {
    /// The records after which an empty group is on its way out.
    fn begin_deletion(&self, group_id: &Arc<str>) -> Vec<OffsetsRecord> {
        let mut records = match self {
            Membership::Classic(_) => Vec::new(),
            Membership::Consumer(_) => self.end(group_id),
        };
        records.push(OffsetsRecord::GroupMetadata {
            group_id: Arc::clone(group_id),
            value: Some(GroupMetadata::deletion()),
        });
        records
    }
}

impl GroupCoordinator {
    /// The refusal of a request to a group that is half deleted: it would find a part of the offsets, or add some.
    pub(super) fn refused_for_deletion(&self, request: &GroupRequest) -> Option<GroupReply> {
        let error = GroupError::NotCoordinator;
        let (group_id, refusal) = match request {
            GroupRequest::Join(request) => {
                let member_id = Arc::clone(&request.member_id);
                let refusal = GroupReply::join_refused(member_id, error);
                (&request.group_id, refusal)
            }
            GroupRequest::ConsumerHeartbeat(request) => {
                let refusal = GroupReply::ConsumerHeartbeat(Err(error));
                (&request.group_id, refusal)
            }
            GroupRequest::CommitOffsets(request) => {
                (&request.group_id, all_refused(request, error))
            }
            GroupRequest::FetchOffsets(request) => {
                (&request.group_id, GroupReply::FetchOffsets(Err(error)))
            }
            _ => return None,
        };
        let is_met = self.deletions.groups.contains_key(group_id);
        is_met.then_some(refusal)
    }

    /// Whether a group is on its way out.
    pub(super) fn has_deletions(&self) -> bool {
        !self.deletions.groups.is_empty()
    }

    pub(super) fn delete_group(
        &mut self,
        request: &DeleteGroupRequest,
        token: ReplyToken,
        now_ms: i64,
        out: &mut Output,
    ) {
        let group_id = &request.group_id;
        let refusal = match self.groups.get_key_value(group_id) {
            None => Some(GroupError::GroupIdNotFound),
            Some((_, group)) if !group.membership.is_empty() => Some(GroupError::NonEmptyGroup),
            Some((group_id, _)) => {
                let is_first = !self.has_deletions();
                let groups = &mut self.deletions.groups;
                groups.entry(Arc::clone(group_id)).or_default().push(token);
                if is_first {
                    self.delete_some(now_ms, out);
                }
                None
            }
        };
        if let Some(error) = refusal {
            out.reply(token, GroupReply::DeleteGroup(Err(error)));
        }
    }

    /// Groups of which the log says that they are on their way out go on with the rest.
    pub(super) fn go_on_deleting(&mut self, now_ms: i64) {
        let deleted = self.groups.iter().filter(|(_, group)| group.is_deleted);
        let deleted = deleted.map(|(group_id, _)| (Arc::clone(group_id), Vec::new()));
        self.deletions.groups.extend(deleted);
        if self.has_deletions() {
            self.deadlines.arm(Timer::GroupDeletions, now_ms);
        }
    }

    /// Deletes some offsets of the groups on their way out, of one after the other, with its last a group. A group that
    /// one batch does not hold is said to be on its way out first, so that no crash leaves a part of it to be read.
    pub(super) fn delete_some(&mut self, now_ms: i64, out: &mut Output) {
        let step = self.limits.retention_step.max(1);
        let mut batch_bytes = 0;
        self.deletions.told.clear();
        while let Some(deletion) = self.deletions.groups.first_entry() {
            let room = step.saturating_sub(out.records.len());
            if room == 0 {
                break;
            }
            let group_id = deletion.key();
            if let Some(group) = self.groups.get(group_id) {
                let is_last = group.offsets.count() <= room;
                if is_last {
                    batch_bytes += group.deletion_bytes(group_id);
                }
                let is_whole = is_last && batch_bytes <= limits::OFFSETS_BATCH_BYTES;
                let begins = !is_whole && !group.is_deleted;
                if begins && !out.records.is_empty() {
                    break;
                }
                if begins {
                    out.records
                        .extend(group.membership.begin_deletion(group_id));
                }
                let all = group.offsets.topics().flat_map(|(topic, partitions)| {
                    let partitions = partitions.keys();
                    partitions.map(move |&partition| tombstone(group_id, topic, partition))
                });
                out.records.extend(all.take(room));
                if begins || !is_last {
                    break;
                }
                // The group itself comes last, as in Kafka.
                out.records.extend(group.membership.end(group_id));
            }
            let group_id = Arc::clone(group_id);
            for token in deletion.remove() {
                out.reply(token, GroupReply::DeleteGroup(Ok(())));
                self.deletions.told.insert(token, Arc::clone(&group_id));
            }
        }
        if self.has_deletions() {
            let at_ms = now_ms.saturating_add(BETWEEN_STEPS_MS);
            self.deadlines.arm(Timer::GroupDeletions, at_ms);
        }
    }

    pub(super) fn topics_deleted(
        &mut self,
        request: &TopicsDeletedRequest,
        now_ms: i64,
        out: &mut Output,
    ) -> GroupReply {
        let topics = &mut self.deletions.topics;
        let is_first = topics.at.is_none();
        for (name, id) in &request.topics {
            let named = topics.next.entry(Arc::clone(name)).or_default();
            if !named.contains(id) {
                named.push(*id);
            }
        }
        if is_first {
            self.forget_some(now_ms, out);
        }
        GroupReply::TopicsDeleted(Ok(()))
    }

    /// Deletes some of the offsets in topics that are gone.
    pub(super) fn forget_some(&mut self, now_ms: i64, out: &mut Output) {
        let step = self.limits.retention_step.max(1);
        let topics = &mut self.deletions.topics;
        if topics.at.is_none() {
            topics.ids = std::mem::take(&mut topics.next);
        }
        if !topics.ids.is_empty() {
            let from = topics.at.take().unwrap_or_default();
            topics.at = topics.delete_some(&self.groups, &from, step, out);
            let at_ms = now_ms.saturating_add(BETWEEN_STEPS_MS);
            self.deadlines.arm(Timer::TopicsDeletion, at_ms);
        }
    }

    /// Whether the group of which somebody is told that it is gone is: the log has taken all but these records.
    pub(super) fn is_gone(&self, token: ReplyToken, refused: &[OffsetsRecord]) -> bool {
        let group_id = self.deletions.told.get(&token);
        group_id.is_some_and(|group_id| refused.iter().all(|record| record.group_id() != group_id))
    }

    /// The log did not take these records: whoever waits for a group to be gone hears of it. Offsets in topics that
    /// are gone are looked for again later, from the first on, if they are among them.
    pub(super) fn deletions_failed(
        &mut self,
        records: &[OffsetsRecord],
        error: GroupError,
        now_ms: i64,
        out: &mut Output,
    ) {
        let deletions = &mut self.deletions;
        for record in records {
            let group_id = record.group_id();
            let waiting = deletions.groups.remove(group_id);
            for token in waiting.into_iter().flatten() {
                out.reply(token, GroupReply::DeleteGroup(Err(error)));
            }
            // What has begun is brought to its end, whoever hears of it.
            if self
                .groups
                .get(group_id)
                .is_some_and(|group| group.is_deleted)
            {
                deletions.groups.insert(Arc::clone(group_id), Vec::new());
                let at_ms = now_ms.saturating_add(RETRY_MS);
                self.deadlines.arm(Timer::GroupDeletions, at_ms);
            }
        }
        if deletions.groups.is_empty() {
            self.deadlines.disarm(&Timer::GroupDeletions);
        }
        let is_of_look = |record: &OffsetsRecord| match record {
            OffsetsRecord::OffsetCommit { key, value: None } => {
                deletions.topics.ids.contains_key(&key.topic)
            }
            _ => false,
        };
        if records.iter().any(is_of_look) {
            deletions.topics.at = Some(Place::default());
            let at_ms = now_ms.saturating_add(RETRY_MS);
            self.deadlines.arm(Timer::TopicsDeletion, at_ms);
        }
    }

    /// Answers whoever waits, and forgets what was to be deleted.
    pub(super) fn close_deletions(&mut self, error: GroupError, out: &mut Output) {
        let deletions = std::mem::take(&mut self.deletions);
        for token in deletions.groups.into_values().flatten() {
            out.reply(token, GroupReply::DeleteGroup(Err(error)));
        }
    }
}
