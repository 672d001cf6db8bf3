//! ConsumerGroupDescribe, and what else is asked about a group.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::group::{ConsumerGroup, Member};
use super::heartbeat::by_topic;
use super::view::preferred;
use crate::records::consumer::TopicIdPartition;
use crate::reply::{ConsumerGroupDescription, DescribedConsumer, DescribedTopic};
use crate::topics::Topics;

/// The group as ConsumerGroupDescribe shows it.
pub(crate) fn describe(group: &ConsumerGroup, topics: &dyn Topics) -> ConsumerGroupDescription {
    let members = group.members().iter();
    let described = |(member_id, member)| described_member(group, member_id, member, topics);
    ConsumerGroupDescription {
        state: group.state_name(),
        epoch: group.epoch.epoch,
        assignment_epoch: group.target_epoch.epoch,
        assignor: preferred(group.members().values().map(|m| &*m.metadata)).name(),
        members: members.map(described).collect(),
    }
}

fn described_member(
    group: &ConsumerGroup,
    member_id: &Arc<str>,
    member: &Member,
    topics: &dyn Topics,
) -> DescribedConsumer {
    let metadata = &*member.metadata;
    let target = group.target(member_id);
    // What it is to give up it may still read.
    let current = &member.current;
    let held: BTreeSet<_> = current
        .assigned
        .keys()
        .chain(current.revoking.keys())
        .collect();
    DescribedConsumer {
        member_id: Arc::clone(member_id),
        instance_id: metadata.instance_id.clone(),
        rack_id: metadata.rack_id.clone(),
        epoch: member.current.epoch,
        client_id: Arc::clone(&metadata.client_id),
        client_host: Arc::clone(&metadata.client_host),
        topics: metadata.topics.iter().map(Arc::clone).collect(),
        regex: metadata.regex.clone(),
        assignment: named(held.into_iter(), topics),
        target_assignment: named(target.into_iter().flat_map(|target| &**target), topics),
        uses_classic_protocol: member.uses_classic_protocol(),
    }
}

/// Partitions with the names of their topics, as far as there are such topics.
fn named<'a>(
    partitions: impl Iterator<Item = &'a TopicIdPartition>,
    topics: &dyn Topics,
) -> Vec<DescribedTopic> {
    let named = by_topic(partitions).into_iter().filter_map(|topic| {
        Some(DescribedTopic {
            topic: Arc::clone(topics.name(topic.topic_id)?),
            topic_id: topic.topic_id,
            partitions: topic.partitions,
        })
    });
    named.collect()
}

impl ConsumerGroup {
    /// The topics that any member wants.
    pub(crate) fn wanted_topics(&self) -> BTreeSet<&str> {
        let named = self
            .members()
            .values()
            .flat_map(|member| &*member.metadata.topics);
        let resolved = self.regexes().filter_map(|regex| self.regex(regex));
        let resolved = resolved.flat_map(|resolved| &*resolved.topics);
        named.chain(resolved).map(|name| &**name).collect()
    }
}
