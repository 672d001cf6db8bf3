//! A group as it will be when what is being decided is in the log.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_protocol::Uuid;

use super::assignor::{Assignor, SubscribedTopic, Subscriber};
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

/// Topics as members want them.
type Wanted<'a> = BTreeMap<&'a Arc<str>, TopicInfo>;
/// What a member says that it wants: names, and what its regular expression stands for.
type Wish<'a> = (&'a BTreeSet<Arc<str>>, Option<&'a BTreeSet<Arc<str>>>);

/// The members with what they want. Most members of a group want the same, which is looked up once.
pub(super) struct Gathered<'a> {
    /// Ordered by id, with the place of what they want.
    members: Vec<(&'a Arc<str>, &'a ConsumerMember, usize)>,
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
        let mut places: BTreeMap<Wish<'a>, usize> = BTreeMap::new();
        let mut gathered = Gathered {
            members: Vec::with_capacity(members.len()),
            wanted: Vec::new(),
        };
        for (member_id, member) in members {
            let wish = self.wish(member);
            let place = *places.entry(wish).or_insert_with(|| {
                gathered.wanted.push(self.wanted(wish));
                gathered.wanted.len() - 1
            });
            gathered.members.push((member_id, member, place));
        }
        gathered
    }

    fn wish(&self, member: &'a ConsumerMember) -> Wish<'a> {
        let resolved = member.regex.as_ref().and_then(|regex| match self.resolved {
            Some((changed, resolved)) if *changed == **regex => Some(resolved),
            _ => self.group.regex(regex),
        });
        (&member.topics, resolved.map(|resolved| &resolved.topics))
    }

    /// The topics of a wish that there are.
    fn wanted(&self, (named, resolved): Wish<'a>) -> Wanted<'a> {
        let names = named.iter().chain(resolved.into_iter().flatten());
        let topic = |name: &'a Arc<str>| Some((name, self.topics.topic(name)?));
        names.filter_map(topic).collect()
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
        let positions: Vec<Vec<usize>> = positions.collect();
        let subscriber =
            |&(member_id, member, place): &(&'a Arc<str>, &'a ConsumerMember, usize)| Subscriber {
                member_id,
                instance_id: member.instance_id.as_ref(),
                topics: &positions[place],
                before: self.target_before(member_id),
            };
        let subscribers: Vec<Subscriber> = members.iter().map(subscriber).collect();
        let assignor = preferred(members.iter().map(|&(_, member, _)| member));
        let assigned = assignor.assign(&subscribers, &topics);
        members.iter().map(|&(id, ..)| id).zip(assigned).collect()
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
