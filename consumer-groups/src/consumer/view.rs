//! A group as it will be when what is being decided is in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_protocol::Uuid;

use super::assignor::{Assignor, SubscribedTopic, Subscriber};
use super::group::ConsumerGroup;
use crate::records::consumer::{ConsumerMember, ResolvedRegex, TopicIdPartition};
use crate::topics::{TopicInfo, TopicsImage};

/// A group with one change to it.
pub(super) struct View<'a> {
    pub(super) group: &'a ConsumerGroup,
    pub(super) topics: &'a TopicsImage,
    /// The member that changes or is new, as it will be.
    pub(super) changed: Option<(&'a Arc<str>, &'a ConsumerMember)>,
    /// Those who will be gone.
    pub(super) gone: &'a BTreeSet<&'a str>,
    /// Whose place the changed member takes.
    pub(super) replaced: Option<&'a str>,
    /// A regular expression that stands for something new.
    pub(super) resolved: Option<(&'a str, &'a ResolvedRegex)>,
}

impl<'a> View<'a> {
    /// The members, ordered by id.
    fn members(&self) -> BTreeMap<&'a Arc<str>, &'a ConsumerMember> {
        let known = self.group.members().iter();
        let stay = known.filter(|(member_id, _)| !self.gone.contains(&***member_id));
        let mut members: BTreeMap<_, _> =
            stay.map(|(id, member)| (id, &*member.metadata)).collect();
        members.extend(self.changed);
        members
    }

    /// The topics that a member wants and that there are.
    fn wanted(
        &self,
        member: &'a ConsumerMember,
    ) -> impl Iterator<Item = (&'a Arc<str>, TopicInfo)> {
        let resolved = member.regex.as_ref().and_then(|regex| match self.resolved {
            Some((changed, resolved)) if *changed == **regex => Some(resolved),
            _ => self.group.regex(regex),
        });
        let of_regex = resolved.into_iter().flat_map(|resolved| &resolved.topics);
        let names = member.topics.iter().chain(of_regex);
        let topics = self.topics;
        names.filter_map(move |name| Some((name, topics.topic(name)?)))
    }

    /// A hash of the topics that anybody wants, as they are; 0 for none. Only equality counts: Kafka's is
    /// another one, and takes a group over with one more epoch.
    pub(super) fn metadata_hash(&self) -> i64 {
        let members = self.members();
        let wanted: BTreeMap<_, _> = members.values().flat_map(|m| self.wanted(m)).collect();
        if wanted.is_empty() {
            return 0;
        }
        let mut hash = Fnv::default();
        for (name, topic) in wanted {
            hash.add(&name.len().to_be_bytes());
            hash.add(name.as_bytes());
            hash.add(&topic.id.0);
            hash.add(&topic.partitions.to_be_bytes());
        }
        hash.0.cast_signed()
    }

    /// The assignor that most members want; uniform unless more want another one.
    fn assignor(&self) -> Assignor {
        preferred(self.members().into_values())
    }

    /// What everybody is to read.
    pub(super) fn assign(&self) -> BTreeMap<&'a Arc<str>, BTreeSet<TopicIdPartition>> {
        let members = self.members();
        let wanted: Vec<BTreeMap<Uuid, i32>> = members
            .values()
            .map(|member| {
                self.wanted(member)
                    .map(|(_, topic)| (topic.id, topic.partitions))
                    .collect()
            })
            .collect();
        let all: BTreeMap<Uuid, i32> = wanted.iter().flatten().map(|(&id, &n)| (id, n)).collect();
        let topics: Vec<SubscribedTopic> = all
            .iter()
            .map(|(&id, &partitions)| SubscribedTopic { id, partitions })
            .collect();
        let position = |id: &Uuid| topics.binary_search_by_key(id, |topic| topic.id).ok();
        let subscribers: Vec<Subscriber> = members
            .iter()
            .zip(&wanted)
            .map(|((member_id, member), wanted)| Subscriber {
                member_id,
                instance_id: member.instance_id.as_ref(),
                topics: wanted.keys().filter_map(position).collect(),
                before: self.target_before(member_id),
            })
            .collect();
        let assigned = self.assignor().assign(&subscribers, &topics);
        members.into_keys().zip(assigned).collect()
    }

    /// What a member was to read so far.
    pub(super) fn target_before(&self, member_id: &str) -> Option<&'a BTreeSet<TopicIdPartition>> {
        let is_changed = self.changed.is_some_and(|(id, _)| **id == *member_id);
        let replaced = self.replaced.filter(|_| is_changed);
        self.group
            .target(replaced.unwrap_or(member_id))
            .map(|target| &**target)
    }
}

/// The assignor that most of these want.
pub(super) fn preferred<'a>(members: impl Iterator<Item = &'a ConsumerMember>) -> Assignor {
    let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
    let wanted = members.filter_map(|member| Assignor::find(member.assignor.as_deref()?));
    for assignor in wanted {
        *votes.entry(assignor).or_default() += 1;
    }
    let count = |assignor: &Assignor| votes.get(assignor).copied().unwrap_or(0);
    match count(&Assignor::Range) > count(&Assignor::Uniform) {
        true => Assignor::Range,
        false => Assignor::Uniform,
    }
}

/// FNV-1a, 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
