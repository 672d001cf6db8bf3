//! A group as it will be when what is being decided is in the log.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_protocol::Uuid;

use super::assignor::{Assignor, Demand, SubscribedTopic, Subscriber};
use super::group::ConsumerGroup;
use crate::records::consumer::{ConsumerMember, ResolvedRegex, TopicIdPartition};
use crate::topics::{TopicInfo, Topics};

/// A group with one change to it.
pub(super) struct View<'a> {
    pub(super) group: &'a ConsumerGroup,
    pub(super) topics: &'a dyn Topics,
    /// The member that changes or is new, as it will be.
    pub(super) changed: Option<(&'a Arc<str>, &'a ConsumerMember)>,
    /// Those who will be gone.
    pub(super) gone: &'a BTreeSet<&'a str>,
    /// Whose place the changed member takes.
    pub(super) replaced: Option<&'a str>,
    /// A regular expression that stands for something new.
    pub(super) resolved: Option<(&'a str, &'a ResolvedRegex)>,
    /// Looked at by few heartbeats, so gathered when it is.
    pub(super) gathered: OnceCell<Gathered<'a>>,
}

/// The places of what a member names and of what its regular expression stands for.
type Wishes = [Option<usize>; 2];
/// Topics as members want them.
type Wanted<'a> = BTreeMap<&'a Arc<str>, TopicInfo>;

/// The members with what they want. Most members of a group want the same, which is looked up once; and what a
/// regular expression stands for is kept apart from what else its members name, so that this is never more than
/// the group holds.
pub(super) struct Gathered<'a> {
    /// Ordered by id, with the places of what they name and of their regular expressions.
    members: Vec<(&'a Arc<str>, &'a ConsumerMember, Wishes)>,
    /// The topics that there are of what is wanted, each wish once.
    wanted: Vec<Wanted<'a>>,
}

impl<'a> View<'a> {
    fn gathered(&self) -> &Gathered<'a> {
        self.gathered.get_or_init(|| self.gather())
    }

    fn gather(&self) -> Gathered<'a> {
        let known = self.group.members().iter();
        let stay = known.filter(|(member_id, _)| !self.gone.contains(&***member_id));
        let mut members: BTreeMap<_, _> =
            stay.map(|(id, member)| (id, &*member.metadata)).collect();
        members.extend(self.changed);
        let mut gathered = Gathered {
            members: Vec::with_capacity(members.len()),
            wanted: Vec::new(),
        };
        let (mut named, mut regexes) = (BTreeMap::new(), BTreeMap::new());
        for (member_id, member) in members {
            let mut place_of = |topics| {
                gathered.wanted.push(self.wanted(topics));
                gathered.wanted.len() - 1
            };
            let topics = Some(&member.topics).filter(|topics| !topics.is_empty());
            let topics = topics.map(|topics| {
                let place = named.entry(topics);
                *place.or_insert_with(|| place_of(topics))
            });
            let regex = member.regex.as_ref().and_then(|regex| {
                let resolved = &self.resolved(regex)?.topics;
                let place = regexes.entry(regex);
                Some(*place.or_insert_with(|| place_of(resolved)))
            });
            gathered.members.push((member_id, member, [topics, regex]));
        }
        gathered
    }

    /// What a regular expression stands for.
    fn resolved(&self, regex: &str) -> Option<&'a ResolvedRegex> {
        match self.resolved {
            Some((changed, resolved)) if *changed == *regex => Some(resolved),
            _ => self.group.regex(regex),
        }
    }

    /// Those of the topics that there are.
    fn wanted(&self, names: &'a BTreeSet<Arc<str>>) -> Wanted<'a> {
        let topic = |name: &'a Arc<str>| Some((name, self.topics.topic(name)?));
        names.iter().filter_map(topic).collect()
    }

    /// A hash of the topics that anybody wants, as they are; 0 for none. Only equality counts: Kafka's is
    /// another one, and takes a group over with one more epoch.
    pub(super) fn metadata_hash(&self) -> i64 {
        let wanted: Wanted = self
            .gathered()
            .wanted
            .iter()
            .flatten()
            .map(|(n, t)| (*n, *t))
            .collect();
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

    /// What everybody is to read.
    pub(super) fn assign(&self) -> BTreeMap<&'a Arc<str>, BTreeSet<TopicIdPartition>> {
        let Gathered { members, wanted } = self.gathered();
        let all = wanted.iter().flat_map(BTreeMap::values);
        let all: BTreeMap<Uuid, i32> = all.map(|topic| (topic.id, topic.partitions)).collect();
        let topics: Vec<SubscribedTopic> = all
            .into_iter()
            .map(|(id, partitions)| SubscribedTopic { id, partitions })
            .collect();
        let position =
            |info: &TopicInfo| topics.binary_search_by_key(&info.id, |topic| topic.id).ok();
        let positions = wanted.iter().map(|wanted| {
            let mut positions: Vec<usize> = wanted.values().filter_map(position).collect();
            positions.sort_unstable();
            positions
        });
        let wishes = positions.collect();
        let subscribers = members
            .iter()
            .map(|&(member_id, member, wishes)| Subscriber {
                member_id,
                instance_id: member.instance_id.as_ref(),
                wishes,
                before: self.target_before(member_id).map(|target| &**target),
            });
        let demand = Demand {
            members: subscribers.collect(),
            wishes,
            topics,
        };
        let assignor = preferred(members.iter().map(|&(_, member, _)| member));
        let assigned = assignor.assign(&demand);
        members.iter().map(|&(id, ..)| id).zip(assigned).collect()
    }

    /// What a member was to read so far.
    pub(super) fn target_before(
        &self,
        member_id: &str,
    ) -> Option<&'a Arc<BTreeSet<TopicIdPartition>>> {
        let is_changed = self.changed.is_some_and(|(id, _)| **id == *member_id);
        let replaced = self.replaced.filter(|_| is_changed);
        self.group.target(replaced.unwrap_or(member_id))
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
