//! OffsetCommit, OffsetFetch, OffsetDelete, and topics that are gone.

use std::sync::Arc;

use tidewheel_config::limits;
use tidewheel_protocol::Uuid;

use super::{Group, GroupCoordinator, Membership};
use crate::classic::group::{ClassicGroup, State};
use crate::classic::subscription::Subscription;
use crate::consumer::offsets;
use crate::error::GroupError;
use crate::offsets::offset_bytes;
use crate::records::{CommittedOffset, OffsetKey, OffsetsRecord};
use crate::reply::{
    FetchedOffset, FetchedPartition, FetchedTopic, GroupReply, Output, TopicResults,
};
use crate::request::{
    CommitOffsetsRequest, CommitPartition, DeleteOffsetsRequest, FetchOffsetsRequest,
};

/// What a commit may still add.
struct Room {
    offsets: usize,
    /// To what the group holds.
    group_bytes: usize,
    /// To what all groups hold.
    bytes: usize,
}

impl Room {
    /// Makes room for one offset in the place of `before`.
    fn take(
        &mut self,
        before: Option<&CommittedOffset>,
        metadata_len: usize,
    ) -> Result<(), GroupError> {
        let held = before.map_or(0, |offset| offset_bytes(offset.metadata.as_bytes().len()));
        let more = offset_bytes(metadata_len).saturating_sub(held);
        if (before.is_none() && self.offsets == 0) || more > self.group_bytes {
            return Err(GroupError::InvalidCommitOffsetSize);
        }
        if more > self.bytes {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.offsets -= usize::from(before.is_none());
        self.group_bytes -= more;
        self.bytes -= more;
        Ok(())
    }
}

pub(super) fn tombstone(group_id: &Arc<str>, topic: &Arc<str>, partition: i32) -> OffsetsRecord {
    OffsetsRecord::OffsetCommit {
        key: OffsetKey {
            group_id: Arc::clone(group_id),
            topic: Arc::clone(topic),
            partition,
        },
        value: None,
    }
}

/// Every entry of a commit refused for the same reason.
pub(super) fn all_refused(request: &CommitOffsetsRequest, error: GroupError) -> GroupReply {
    let topics = request.topics.iter().map(|topic| TopicResults {
        topic: Arc::clone(&topic.topic),
        partitions: topic
            .partitions
            .iter()
            .map(|p| (p.partition, Err(error)))
            .collect(),
    });
    GroupReply::CommitOffsets(topics.collect())
}

impl Membership {
    /// What the members are subscribed to.
    pub(super) fn subscription(&self) -> Subscription<'_> {
        match self {
            Membership::Classic(group) => group.subscription(),
            Membership::Consumer(group) => Subscription::Names(group.wanted_topics()),
        }
    }
}

/// Whether a commit may come from whom it says. Members of the current generation may commit while others
/// join; whoever is in no group may commit where nobody is.
fn validate_commit(group: &ClassicGroup, request: &CommitOffsetsRequest) -> Result<(), GroupError> {
    if request.generation < 0 && group.is_empty() {
        return Ok(());
    }
    let instance_id = request.instance_id.as_ref();
    group.validate_member(&request.member_id, instance_id)?;
    if request.generation != group.generation {
        return Err(GroupError::IllegalGeneration);
    }
    match group.state {
        State::CompletingRebalance => Err(GroupError::RebalanceInProgress),
        State::Empty | State::PreparingRebalance { .. } | State::Stable => Ok(()),
    }
}

impl GroupCoordinator {
    pub(super) fn commit(
        &mut self,
        request: &CommitOffsetsRequest,
        now_ms: i64,
        out: &mut Output,
    ) -> GroupReply {
        if let Err(error) = self.authorize_commit(request, now_ms, out) {
            return all_refused(request, error);
        }
        let offsets = self
            .groups
            .get(&request.group_id)
            .map(|group| &group.offsets);
        let count = offsets.map_or(0, |offsets| offsets.count());
        let limits = &self.limits;
        let group_bytes = self.group_bytes(&request.group_id);
        let mut room = Room {
            offsets: limits.offsets_per_group.saturating_sub(count),
            group_bytes: limits.group_bytes.saturating_sub(group_bytes),
            bytes: limits.state_bytes.saturating_sub(self.total.get().bytes),
        };
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for entry in &topic.partitions {
                let before = offsets.and_then(|known| known.get(&topic.topic, entry.partition));
                let result = self.check_commit(entry, before, &mut room);
                partitions.push((entry.partition, result));
                if result.is_ok() {
                    out.records.push(OffsetsRecord::OffsetCommit {
                        key: OffsetKey {
                            group_id: Arc::clone(&request.group_id),
                            topic: Arc::clone(&topic.topic),
                            partition: entry.partition,
                        },
                        value: Some(committed(request, topic.topic_id, entry, now_ms)),
                    });
                }
            }
            let topic = Arc::clone(&topic.topic);
            topics.push(TopicResults { topic, partitions });
        }
        GroupReply::CommitOffsets(topics)
    }

    /// Whether the commit is accepted at all. It also shows that its member lives.
    fn authorize_commit(
        &mut self,
        request: &CommitOffsetsRequest,
        now_ms: i64,
        out: &mut Output,
    ) -> Result<(), GroupError> {
        if request.group_id.len() > limits::GROUP_ID_LEN_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        let authorized = self.change(&request.group_id, now_ms, out, |group, cx| {
            let group = match &group.membership {
                Membership::Classic(group) => group,
                Membership::Consumer(group) => {
                    return offsets::validate_commit(group, request, cx.topics);
                }
            };
            validate_commit(group, request)?;
            if let Some(member) = group.member(&request.member_id) {
                group.heard_of(member, cx);
            }
            Ok(())
        });
        match authorized {
            Some(result) => result,
            None if request.generation < 0 => match self.has_room_for_group() {
                true => Ok(()),
                false => Err(GroupError::CoordinatorNotAvailable),
            },
            None if request.reports_unknown_group => Err(GroupError::GroupIdNotFound),
            None => Err(GroupError::IllegalGeneration),
        }
    }

    fn check_commit(
        &self,
        entry: &CommitPartition,
        before: Option<&CommittedOffset>,
        room: &mut Room,
    ) -> Result<(), GroupError> {
        let metadata = entry.metadata.as_ref();
        let bytes = metadata.map_or(0, |metadata| metadata.as_bytes().len());
        let most = self.config.offset_metadata_max_bytes;
        // A text has at most as many UTF-16 units as bytes: most need no counting.
        if bytes > most {
            let units = metadata.map_or(0, |metadata| metadata.encode_utf16().count());
            if units > most {
                return Err(GroupError::OffsetMetadataTooLarge);
            }
        }
        room.take(before, bytes)
    }

    pub(super) fn fetch(&self, request: &FetchOffsetsRequest) -> GroupReply {
        let group = self.groups.get(&request.group_id);
        if let Some(Membership::Consumer(group)) = group.map(|group| &group.membership)
            && let Err(error) = offsets::validate_fetch(group, request)
        {
            return GroupReply::FetchOffsets(Err(error));
        }
        let offsets = group.map(|group| &group.offsets);
        let fetched = |partition: i32, committed: Option<&CommittedOffset>| FetchedPartition {
            partition,
            committed: committed.map(|committed| FetchedOffset {
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
                topic_id: committed.topic_id,
                metadata: committed.metadata.clone(),
                commit_timestamp_ms: committed.commit_timestamp_ms,
            }),
        };
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|wanted| {
                    let known = offsets.and_then(|offsets| offsets.of_topic(&wanted.topic));
                    let get = |&p: &i32| {
                        let known = known.and_then(|(_, known)| known.get(&p));
                        fetched(
                            p,
                            known.filter(|known| is_same_topic(known.topic_id, wanted.topic_id)),
                        )
                    };
                    FetchedTopic {
                        topic: Arc::clone(&wanted.topic),
                        partitions: wanted.partitions.iter().map(get).collect(),
                    }
                })
                .collect(),
            None => offsets
                .iter()
                .flat_map(|offsets| offsets.topics())
                .map(|(topic, known)| FetchedTopic {
                    topic: Arc::clone(topic),
                    partitions: known.iter().map(|(&p, c)| fetched(p, Some(c))).collect(),
                })
                .collect(),
        };
        GroupReply::FetchOffsets(Ok(topics))
    }

    pub(super) fn delete_offsets(
        &self,
        request: &DeleteOffsetsRequest,
        out: &mut Output,
    ) -> GroupReply {
        let Some(Group {
            membership,
            offsets,
            ..
        }) = self.groups.get(&request.group_id)
        else {
            return GroupReply::DeleteOffsets(Err(GroupError::GroupIdNotFound));
        };
        if let Membership::Classic(group) = membership
            && !group.is_empty()
            && !group.uses_consumer_protocol()
        {
            return GroupReply::DeleteOffsets(Err(GroupError::NonEmptyGroup));
        }
        let subscription = membership.subscription();
        let topics = request.topics.iter().map(|(wanted, partitions)| {
            let result = match subscription.may_contain(wanted) {
                true => Err(GroupError::GroupSubscribedToTopic),
                false => Ok(()),
            };
            if let (Ok(()), Some((topic, known))) = (result, offsets.of_topic(wanted)) {
                let there = partitions.iter().filter(|&p| known.contains_key(p));
                out.records
                    .extend(there.map(|&p| tombstone(&request.group_id, topic, p)));
            }
            TopicResults {
                topic: Arc::clone(wanted),
                partitions: partitions.iter().map(|&p| (p, result)).collect(),
            }
        });
        GroupReply::DeleteOffsets(Ok(topics.collect()))
    }

    /// Deletes the offsets in topics of which `is_gone` says, by name and id, that they are no more.
    pub(super) fn forget_topics(&self, is_gone: impl Fn(&str, Uuid) -> bool, out: &mut Output) {
        for (group_id, group) in &self.groups {
            for (topic, partitions) in group.offsets.topics() {
                let gone = partitions
                    .iter()
                    .filter(|(_, offset)| is_gone(topic, offset.topic_id));
                out.records
                    .extend(gone.map(|(&p, _)| tombstone(group_id, topic, p)));
            }
        }
    }
}

/// Whether two ids may be those of the same topic: an id that nobody named may be any.
pub(super) fn is_same_topic(one: Uuid, other: Uuid) -> bool {
    one == other || one.is_zero() || other.is_zero()
}

fn committed(
    request: &CommitOffsetsRequest,
    topic_id: Uuid,
    entry: &CommitPartition,
    now_ms: i64,
) -> CommittedOffset {
    CommittedOffset {
        offset: entry.offset,
        leader_epoch: entry.leader_epoch,
        metadata: entry.metadata.clone().unwrap_or_default(),
        topic_id,
        commit_timestamp_ms: entry.commit_timestamp_ms.unwrap_or(now_ms),
        expire_timestamp_ms: request
            .retention_ms
            .map(|keep_ms| now_ms.saturating_add(keep_ms)),
    }
}
