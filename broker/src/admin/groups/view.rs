//! A group as its coordinator and its committed offsets show it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use tidewheel_config::limits;
use tidewheel_consumer_groups::reply::{
    ConsumerGroupDescription, DescribedMember, GroupDescription, ListedGroup,
};
use tidewheel_consumer_groups::request::{DescribeRequest, ListRequest};
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use tidewheel_protocol::consumer_protocol::{ConsumerProtocolAssignment, PROTOCOL_TYPE};
use tokio::time::sleep;

use crate::admin::lag_status::{LagStatus, status};
use crate::admin::problem::Problem;
use crate::broker::Broker;
use crate::groups::{GroupOffset, Lag, committed_offsets};

/// A group.
#[derive(Debug)]
pub(crate) struct GroupView {
    pub(crate) group: Arc<str>,
    /// `classic` or `consumer`.
    pub(crate) group_type: &'static str,
    pub(crate) protocol_type: String,
    /// The chosen protocol or assignor.
    pub(crate) protocol: String,
    pub(crate) state: &'static str,
    /// Of a group of the newer protocol.
    pub(crate) epoch: Option<i32>,
    pub(crate) members: Vec<MemberView>,
}

/// A member.
#[derive(Debug)]
pub(crate) struct MemberView {
    pub(crate) member_id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    /// By topic; none where the members speak a language of their own.
    pub(crate) assignment: Vec<(String, Vec<i32>)>,
}

/// A committed offset and what it means now.
#[derive(Debug)]
pub(crate) struct OffsetView {
    pub(crate) offset: GroupOffset,
    pub(crate) lag: Lag,
    pub(crate) status: LagStatus,
}

/// A group with all that it has committed.
#[derive(Debug)]
pub(crate) struct GroupWithOffsets {
    pub(crate) view: GroupView,
    pub(crate) offsets: Vec<OffsetView>,
}

impl GroupWithOffsets {
    /// Unread records, of all partitions that are there.
    pub(crate) fn total_lag(&self) -> u64 {
        let lags = self.offsets.iter().filter_map(OffsetView::records);
        lags.fold(0, u64::saturating_add)
    }

    /// The same of the one that is furthest behind.
    pub(crate) fn max_lag(&self) -> u64 {
        let lags = self.offsets.iter().filter_map(OffsetView::records);
        lags.max().unwrap_or(0)
    }

    /// That of the offset that gets on worst.
    pub(crate) fn status(&self) -> LagStatus {
        let statuses = self.offsets.iter().map(|offset| offset.status);
        statuses.max().unwrap_or(LagStatus::Ok)
    }

    /// Whose the partitions are.
    pub(crate) fn owners(&self) -> HashMap<(&str, i32), &MemberView> {
        let mut owners = HashMap::new();
        for member in &self.view.members {
            for (topic, partitions) in &member.assignment {
                owners.extend(partitions.iter().map(|p| ((topic.as_str(), *p), member)));
            }
        }
        owners
    }
}

impl OffsetView {
    /// Unread records, where that is known.
    pub(crate) fn records(&self) -> Option<u64> {
        match self.lag {
            Lag::Behind { records, .. } => Some(records),
            Lag::BeyondEnd { .. } => Some(0),
            Lag::Gone | Lag::Offline => None,
        }
    }
}

/// All groups, by their names.
///
/// # Errors
/// While some of them are still being read.
pub(crate) async fn all(broker: &Broker) -> Result<Vec<ListedGroup>, Problem> {
    let request = GroupRequest::List(ListRequest::default());
    let mut groups = Vec::new();
    for reply in broker.groups().ask_all(&request).await {
        match reply? {
            GroupReply::List(listed) => groups.extend(listed),
            _ => return Err(GroupError::UnknownServerError.into()),
        }
    }
    groups.sort_unstable_by(|one, other| one.group_id.cmp(&other.group_id));
    Ok(groups)
}

/// One group, with its members.
///
/// # Errors
/// Where there is none of that name, or nobody can tell.
pub(crate) async fn describe(broker: &Broker, group: &Arc<str>) -> Result<GroupView, Problem> {
    if !broker.groups().are_there() {
        return Err(Problem::unknown_group(group));
    }
    let group_id = Arc::clone(group);
    let request = GroupRequest::Describe(DescribeRequest { group_id });
    match broker.groups().ask(group, request).await? {
        GroupReply::Describe(Ok(found)) => return Ok(classic(group, found)),
        GroupReply::Describe(Err(GroupError::GroupIdNotFound)) => {}
        GroupReply::Describe(Err(error)) => return Err(error.into()),
        _ => return Err(GroupError::UnknownServerError.into()),
    }
    let group_id = Arc::clone(group);
    let request = GroupRequest::DescribeConsumerGroup(DescribeRequest { group_id });
    match broker.groups().ask(group, request).await? {
        GroupReply::DescribeConsumerGroup(Ok(found)) => Ok(consumer(group, found)),
        GroupReply::DescribeConsumerGroup(Err(GroupError::GroupIdNotFound)) => {
            Err(Problem::unknown_group(group))
        }
        GroupReply::DescribeConsumerGroup(Err(error)) => Err(error.into()),
        _ => Err(GroupError::UnknownServerError.into()),
    }
}

fn classic(group: &Arc<str>, found: GroupDescription) -> GroupView {
    let is_consumer = &*found.protocol_type == PROTOCOL_TYPE;
    let member = |member: DescribedMember| MemberView {
        assignment: match is_consumer {
            true => assignment(&member),
            false => Vec::new(),
        },
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
    };
    GroupView {
        group: Arc::clone(group),
        group_type: "classic",
        protocol_type: found.protocol_type.to_string(),
        protocol: found.protocol_name.to_string(),
        state: found.state,
        epoch: None,
        members: found.members.into_iter().map(member).collect(),
    }
}

/// What the leader gave a member; nothing where that cannot be read.
fn assignment(member: &DescribedMember) -> Vec<(String, Vec<i32>)> {
    let decoded = ConsumerProtocolAssignment::decode(member.assignment.clone());
    let topics = decoded.map_or(Vec::new(), |decoded| decoded.assigned_partitions);
    let topics = topics.into_iter();
    topics
        .map(|topic| (topic.topic.to_string(), topic.partitions))
        .collect()
}

fn consumer(group: &Arc<str>, found: ConsumerGroupDescription) -> GroupView {
    let members = found.members.into_iter().map(|member| MemberView {
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        assignment: member
            .assignment
            .into_iter()
            .map(|topic| (topic.topic.to_string(), topic.partitions))
            .collect(),
    });
    GroupView {
        group: Arc::clone(group),
        group_type: "consumer",
        protocol_type: PROTOCOL_TYPE.to_owned(),
        protocol: found.assignor.to_owned(),
        state: found.state,
        epoch: Some(found.epoch),
        members: members.collect(),
    }
}

/// One group with all that it has committed, without a look at the disk.
///
/// # Errors
/// As [`describe`].
pub(crate) async fn with_offsets(
    broker: &Broker,
    group: &Arc<str>,
) -> Result<GroupWithOffsets, Problem> {
    let view = describe(broker, group).await?;
    let offsets = committed_offsets(broker, group).await?;
    Ok(with_these(broker, view, offsets).await)
}

/// A group with these of its offsets.
pub(super) async fn with_these(
    broker: &Broker,
    view: GroupView,
    offsets: Vec<GroupOffset>,
) -> GroupWithOffsets {
    let has_members = !view.members.is_empty();
    let now_ms = broker.clock().now_ms();
    let mut told = Vec::with_capacity(offsets.len());
    for offset in offsets {
        let lag = offset.records(broker);
        let behind = match lag {
            Lag::Behind { records, .. } => records,
            Lag::BeyondEnd { .. } | Lag::Gone | Lag::Offline => 0,
        };
        let status = broker.groups().history().look(&view.group, |known| {
            let progress = known.and_then(|known| known.progress(&offset.topic, offset.partition));
            status(progress, behind, has_members, now_ms)
        });
        told.push(OffsetView {
            offset,
            lag,
            status,
        });
        // There may be many thousands.
        tokio::task::consume_budget().await;
    }
    GroupWithOffsets {
        view,
        offsets: told,
    }
}

/// Tells of many groups, in their order, a few at a time: each may have many thousands of offsets, which are
/// given back as soon as it is told. Those that are gone by now are left out. Returns how many are left for which
/// `wait` was too short.
///
/// # Errors
/// Where nobody can tell what is with one of them.
pub(crate) async fn each<'a, T, F>(
    groups: &'a [Arc<str>],
    wait: Duration,
    ask: impl Fn(&'a Arc<str>) -> F,
    mut told: impl FnMut(&T),
) -> Result<usize, Problem>
where
    F: Future<Output = Result<T, Problem>>,
{
    let mut late = pin!(sleep(wait));
    let mut left = groups.iter();
    let mut asked = FuturesOrdered::new();
    loop {
        let room = limits::ADMIN_GROUPS_AT_ONCE.saturating_sub(asked.len());
        if late.as_mut().now_or_never().is_none() {
            asked.extend(left.by_ref().take(room).map(&ask));
        }
        match asked.next().await {
            None => return Ok(left.len()),
            Some(Ok(one)) => told(&one),
            Some(Err(problem)) if problem.is_not_found() => {}
            Some(Err(problem)) => return Err(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_groups_are_held_at_once_and_none_is_begun_when_time_is_up() {
        let second = Duration::from_secs(1);
        let names: Vec<Arc<str>> = (0..100).map(|at| Arc::from(format!("{at:02}"))).collect();
        let held = Arc::new(());
        let ask = |name| {
            let held = Arc::clone(&held);
            async move {
                sleep(second).await;
                Ok((name, held))
            }
        };
        let mut seen = Vec::new();
        let told = |(name, one): &(&Arc<str>, Arc<()>)| {
            assert!(Arc::strong_count(one) <= 1 + limits::ADMIN_GROUPS_AT_ONCE);
            seen.push(Arc::clone(name));
        };
        let left_out = each(&names, second * 5 / 2, ask, told).await.unwrap();
        assert_eq!(seen.len() + left_out, names.len());
        assert_eq!(seen, names[..3 * limits::ADMIN_GROUPS_AT_ONCE]);
        let none = |_| async { Err::<(), _>(Problem::unknown_group("gone")) };
        let left_out = each(&names, second, none, |()| ()).await.unwrap();
        assert_eq!(left_out, 0, "those that are gone are no trouble");
    }
}
