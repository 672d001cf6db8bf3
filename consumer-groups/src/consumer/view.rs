//! A group as it will be when what is being decided is in the log.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_protocol::Uuid;

use super::assignor::{Assignor, Demand, SubscribedTopic, Subscriber};
use super::group::ConsumerGroup;
use super::wishes::{Wanted, WishId, look_up};
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

/// What a member wants: what it names, or what its regular expression stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    /// The group knows it.
    Known(WishId),
    /// Only the changed member names it.
    Named,
    /// The changed regular expression stands for it.
    Resolved,
}

/// The places of what a member names and of what its regular expression stands for.
type Places = [Option<usize>; 2];

/// The members with what they want. Most members of a group want the same, which is there once; and what a
/// regular expression stands for is kept apart from what else its members name, so that this is never more than
/// the group holds.
pub(super) struct Gathered<'a> {
    /// Ordered by id.
    members: Vec<(&'a Arc<str>, &'a ConsumerMember, Places)>,
    /// The topics that there are of what is wanted, each wish once.
    wanted: Vec<Wanted>,
    /// How many partitions the topics have that anybody wants.
    topics: BTreeMap<Uuid, i32>,
}

impl<'a> View<'a> {
    fn gathered(&self) -> &Gathered<'a> {
        self.gathered.get_or_init(|| self.gather())
    }

    fn gather(&self) -> Gathered<'a> {
        let known = self.group.members().iter();
        let stay = known.filter(|(member_id, _)| !self.gone.contains(&***member_id));
        let stay = stay.map(|(id, m)| (id, (&*m.metadata, m.wish().map(Wish::Known))));
        let mut all: BTreeMap<_, _> = stay.collect();
        all.extend(self.changed.map(|(id, m)| (id, (m, self.named(m)))));
        let mut wanted = Vec::new();
        let (mut places, mut regexes) = (BTreeMap::new(), BTreeMap::new());
        let mut place_of = |wish| {
            *places.entry(wish).or_insert_with(|| {
                wanted.push(self.wanted(wish));
                wanted.len() - 1
            })
        };
        let mut members = Vec::with_capacity(all.len());
        for (member_id, (member, named)) in all {
            let named = named.map(&mut place_of);
            let regex = member.regex.as_ref().and_then(|regex| {
                let place = regexes.entry(regex);
                *place.or_insert_with(|| self.resolved(regex).map(&mut place_of))
            });
            members.push((member_id, member, [named, regex]));
        }
        let topics = wanted.iter().flat_map(|wanted: &Wanted| &**wanted);
        let topics = topics.map(|topic| (topic.id, topic.partitions)).collect();
        Gathered {
            members,
            wanted,
            topics,
        }
    }

    /// What the changed member names.
    fn named(&self, member: &ConsumerMember) -> Option<Wish> {
        let known = self.group.named_wish(&member.topics);
        let wish = known.map_or(Wish::Named, Wish::Known);
        Some(wish).filter(|_| !member.topics.is_empty())
    }

    /// What a regular expression stands for.
    fn resolved(&self, regex: &str) -> Option<Wish> {
        match self.resolved {
            Some((changed, _)) if *changed == *regex => Some(Wish::Resolved),
            _ => self.group.regex_wish(regex).map(Wish::Known),
        }
    }

    /// The topics that there are of a wish.
    fn wanted(&self, wish: Wish) -> Wanted {
        let names = match wish {
            Wish::Known(id) => return self.group.wanted(id, self.topics),
            Wish::Named => self.changed.map(|(_, member)| &member.topics),
            Wish::Resolved => self.resolved.map(|(_, resolved)| &resolved.topics),
        };
        names.map_or_else(Wanted::default, |names| look_up(names, self.topics))
    }

    /// A hash of the topics that anybody wants, as they are; 0 for none. Only equality counts: Kafka's is
    /// another one, and takes a group over with one more epoch.
    pub(super) fn metadata_hash(&self) -> i64 {
        let topics = self.gathered().topics.iter();
        let named = topics.filter_map(|topic| Some((self.topics.name(*topic.0)?, topic)));
        let named: BTreeMap<&Arc<str>, (&Uuid, &i32)> = named.collect();
        if named.is_empty() {
            return 0;
        }
        let mut hash = Fnv::default();
        for (name, (id, partitions)) in named {
            hash.add(&name.len().to_be_bytes());
            hash.add(name.as_bytes());
            hash.add(&id.0);
            hash.add(&partitions.to_be_bytes());
        }
        hash.0.cast_signed()
    }

    /// What everybody is to read.
    pub(super) fn assign(&self) -> BTreeMap<&'a Arc<str>, BTreeSet<TopicIdPartition>> {
        let gathered = self.gathered();
        let members = &gathered.members;
        let topics = gathered.topics.iter();
        let topics: Vec<SubscribedTopic> = topics
            .map(|(&id, &partitions)| SubscribedTopic { id, partitions })
            .collect();
        let position =
            |info: &TopicInfo| topics.binary_search_by_key(&info.id, |topic| topic.id).ok();
        // Both are ordered by id.
        let positions = |wanted: &Wanted| wanted.iter().filter_map(position).collect();
        let wishes = gathered.wanted.iter().map(positions).collect();
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
