//! OffsetCommit and OffsetFetch of members of groups of the newer protocol.

use super::group::{ConsumerGroup, Member};
use crate::error::GroupError;
use crate::records::consumer::TopicIdPartition;
use crate::request::{CommitOffsetsRequest, FetchOffsetsRequest};
use crate::topics::Topics;

/// Whether a commit may come from whom it says. A member may commit under the epoch that it had when it got
/// the partition, as long as it has it; whoever is no member may commit where nobody is.
pub(crate) fn validate_commit(
    group: &ConsumerGroup,
    request: &CommitOffsetsRequest,
    topics: &dyn Topics,
) -> Result<(), GroupError> {
    if request.generation < 0 && group.members().is_empty() {
        return Ok(());
    }
    let member = group
        .member(&request.member_id)
        .ok_or(GroupError::UnknownMemberId)?;
    let current = &member.current;
    // That version is the first whose clients know what to make of member epochs.
    if !member.uses_classic_protocol() && !request.reports_unknown_group {
        return Err(GroupError::UnsupportedVersion);
    }
    if request.generation == current.epoch {
        return Ok(());
    }
    let came_by = |partition: TopicIdPartition| {
        let owned = current
            .assigned
            .get(&partition)
            .or(current.revoking.get(&partition));
        owned.is_some_and(|&came| came > 0 && came <= request.generation)
    };
    let all_came_by = request.topics.iter().all(|topic| {
        let known = topics.topic(&topic.topic);
        known.is_some_and(|known| {
            topic.partitions.iter().all(|entry| {
                came_by(TopicIdPartition {
                    topic_id: known.id,
                    partition: entry.partition,
                })
            })
        })
    });
    match request.generation < current.epoch && all_came_by {
        true => Ok(()),
        false => Err(wrong_epoch(member)),
    }
}

/// What a member of either protocol is told of an epoch that is not its own.
fn wrong_epoch(member: &Member) -> GroupError {
    match member.uses_classic_protocol() {
        true => GroupError::IllegalGeneration,
        false => GroupError::StaleMemberEpoch,
    }
}

/// Whether offsets may be asked for by whom the request says.
pub(crate) fn validate_fetch(
    group: &ConsumerGroup,
    request: &FetchOffsetsRequest,
) -> Result<(), GroupError> {
    let Some((member_id, epoch)) = &request.member else {
        return Ok(());
    };
    let member = group.member(member_id).ok_or(GroupError::UnknownMemberId)?;
    match member.current.epoch == *epoch {
        true => Ok(()),
        false => Err(wrong_epoch(member)),
    }
}
