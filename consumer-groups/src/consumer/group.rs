//! A group of the newer protocol: what the log says about it, and what follows from that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::wishes::{Wanted, WishId, Wishes};
use crate::records::consumer::{
    ConsumerGroupChange, ConsumerMember, CurrentAssignment, GroupEpoch, MemberState, Names,
    ResolvedRegex, TargetEpoch, TopicIdPartition,
};
use crate::request::JoinProtocol;
use crate::topics::Topics;

/// Estimated bytes of a member beside its texts, its timers included.
const MEMBER_BYTES: usize = 1024;
/// Estimated bytes of a name in a set beside its characters.
const NAME_BYTES: usize = 64;
/// Estimated bytes of a partition in a set.
const PARTITION_BYTES: usize = 48;

/// A member: what it wants, and what it reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    pub(crate) metadata: Arc<ConsumerMember>,
    pub(crate) current: Arc<CurrentAssignment>,
    /// What it names, if it names anything.
    wish: Option<WishId>,
}

impl Member {
    /// What it names, if it names anything.
    pub(super) fn wish(&self) -> Option<WishId> {
        self.wish
    }

    pub(crate) fn uses_classic_protocol(&self) -> bool {
        self.metadata.classic.is_some()
    }

    fn bytes(&self) -> usize {
        let owned = self.current.assigned.len() + self.current.revoking.len();
        MEMBER_BYTES + member_bytes(&self.metadata) + 2 * owned * PARTITION_BYTES
    }
}

/// Estimated bytes of a new member beside what it says about itself: its place and its target.
pub(crate) fn place_bytes(member_id: &str) -> usize {
    MEMBER_BYTES + NAME_BYTES + 2 * member_id.len()
}

/// Estimated bytes of what a member says about itself.
pub(crate) fn member_bytes(member: &ConsumerMember) -> usize {
    let texts = [
        &member.instance_id,
        &member.rack_id,
        &member.regex,
        &member.assignor,
    ];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
    let names: usize = member
        .topics
        .iter()
        .map(|name| NAME_BYTES + name.len())
        .sum();
    let protocol = |p: &JoinProtocol| NAME_BYTES + p.name.len() + p.metadata.len();
    let classic = member.classic.iter().flat_map(|classic| &classic.protocols);
    let client = member.client_id.len() + member.client_host.len();
    texts + names + client + classic.map(protocol).sum::<usize>()
}

/// Estimated bytes of partitions that a member is given: in its target, in what it reads, and in who has what.
pub(crate) fn partition_bytes(count: usize) -> usize {
    3 * count * PARTITION_BYTES
}

/// Estimated bytes of the topics of a regular expression.
pub(crate) fn regex_bytes(regex: &str, resolved: &ResolvedRegex) -> usize {
    let names: usize = resolved
        .topics
        .iter()
        .map(|name| NAME_BYTES + name.len())
        .sum();
    NAME_BYTES + regex.len() + names
}

/// A regular expression of members.
#[derive(Debug)]
struct Regex {
    resolved: ResolvedRegex,
    wish: WishId,
    /// The version of the topics that it is known to be right for; 0 for none.
    right_for: u64,
}

/// A group of the newer protocol. All of it but what is known to be right changes in [`ConsumerGroup::apply`]
/// only.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    pub(crate) id: Arc<str>,
    pub(crate) epoch: GroupEpoch,
    pub(crate) target_epoch: TargetEpoch,
    /// Whether the log has a record of the group itself.
    pub(crate) recorded: bool,
    /// Whether the log has what Kafka before 4.1 wrote about the group's topics.
    pub(crate) has_partition_metadata: bool,
    members: BTreeMap<Arc<str>, Member>,
    /// Member ids by instance id.
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    targets: BTreeMap<Arc<str>, Arc<BTreeSet<TopicIdPartition>>>,
    regexes: BTreeMap<Arc<str>, Regex>,
    /// How many members have a regular expression.
    regex_users: BTreeMap<Arc<str>, usize>,
    /// What members name, and what regular expressions stand for.
    wishes: Wishes,
    /// Who has a partition: it may not be given to anybody else.
    owners: BTreeMap<TopicIdPartition, Arc<str>>,
    /// How many members use the classic protocol.
    classic_members: usize,
    /// The version of the topics that the group's epoch is known to be right for; 0 for none.
    right_for: u64,
    /// Estimated bytes of all of it.
    bytes: usize,
}

/// Before the first member: Kafka 4.3 counts from here.
const FIRST_EPOCH: i32 = 1;

impl ConsumerGroup {
    pub(crate) fn new(id: Arc<str>) -> ConsumerGroup {
        ConsumerGroup {
            id,
            epoch: GroupEpoch {
                epoch: FIRST_EPOCH,
                metadata_hash: 0,
            },
            target_epoch: TargetEpoch::default(),
            recorded: false,
            has_partition_metadata: false,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            regex_users: BTreeMap::new(),
            wishes: Wishes::default(),
            owners: BTreeMap::new(),
            classic_members: 0,
            right_for: 0,
            bytes: 0,
        }
    }

    pub(crate) fn members(&self) -> &BTreeMap<Arc<str>, Member> {
        &self.members
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Member> {
        self.members.get(member_id)
    }

    /// A member with its id as the group keeps it.
    pub(crate) fn member_entry(&self, member_id: &str) -> Option<(&Arc<str>, &Member)> {
        self.members.get_key_value(member_id)
    }

    pub(crate) fn static_member(&self, instance_id: &str) -> Option<(&Arc<str>, &Member)> {
        self.member_entry(self.static_members.get(instance_id)?)
    }

    pub(crate) fn target(&self, member_id: &str) -> Option<&Arc<BTreeSet<TopicIdPartition>>> {
        self.targets.get(member_id)
    }

    pub(crate) fn regex(&self, regex: &str) -> Option<&ResolvedRegex> {
        self.regexes.get(regex).map(|regex| &regex.resolved)
    }

    /// What the regular expression stands for, among the wishes.
    pub(super) fn regex_wish(&self, regex: &str) -> Option<WishId> {
        self.regexes.get(regex).map(|regex| regex.wish)
    }

    /// The wish of members who name these, if there are any.
    pub(super) fn named_wish(&self, names: &Names) -> Option<WishId> {
        self.wishes.find(names)
    }

    /// The topics that there are of a wish.
    pub(super) fn wanted(&self, wish: WishId, topics: &dyn Topics) -> Wanted {
        self.wishes.wanted(wish, topics)
    }

    /// Regular expressions that the log knows.
    pub(crate) fn regexes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.regexes.keys()
    }

    /// How many members have the regular expression.
    pub(crate) fn regex_users(&self, regex: &str) -> usize {
        self.regex_users.get(regex).copied().unwrap_or(0)
    }

    /// Who has a partition.
    pub(crate) fn owner(&self, partition: TopicIdPartition) -> Option<&Arc<str>> {
        self.owners.get(&partition)
    }

    pub(crate) fn has_only_classic_members(&self) -> bool {
        !self.members.is_empty() && self.classic_members == self.members.len()
    }

    /// The classic protocols that all members support which use the classic protocol, unless there is no
    /// such member.
    pub(crate) fn common_classic_protocols(&self) -> Option<BTreeSet<&str>> {
        let mut common: Option<BTreeSet<&str>> = None;
        if self.classic_members == 0 {
            return None;
        }
        let classic = self
            .members
            .values()
            .filter_map(|m| m.metadata.classic.as_ref());
        for side in classic {
            let names = side.protocols.iter().map(|p| &*p.name).collect();
            common = Some(match common {
                None => names,
                Some(common) => common.intersection(&names).copied().collect(),
            });
        }
        common
    }

    /// Whether nothing of the group is in the log.
    pub(crate) fn is_nothing(&self) -> bool {
        !self.recorded
            && !self.has_partition_metadata
            && self.members.is_empty()
            && self.targets.is_empty()
            && self.regexes.is_empty()
            && self.target_epoch == TargetEpoch::default()
    }

    /// Estimated bytes of the group's members and partitions.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the group's epoch is known to be right for this version of the topics.
    pub(crate) fn is_right_for(&self, version: u64) -> bool {
        version == self.right_for
    }

    /// Notes that the group's epoch is right for this version of the topics.
    pub(crate) fn note_right_for(&mut self, version: u64) {
        self.right_for = version;
    }

    /// Whether what a regular expression stands for is known to be right for this version of the topics.
    pub(crate) fn is_regex_right_for(&self, regex: &str, version: u64) -> bool {
        let regex = self.regexes.get(regex);
        regex.is_some_and(|regex| regex.right_for == version)
    }

    /// Notes that what a regular expression stands for is right for this version of the topics.
    pub(crate) fn note_regex_right_for(&mut self, regex: &str, version: u64) {
        if let Some(regex) = self.regexes.get_mut(regex) {
            regex.right_for = version;
        }
    }

    /// `Empty`, `Assigning`, `Reconciling` or `Stable`.
    pub(crate) fn state_name(&self) -> &'static str {
        let is_there = |member: &Member| {
            let current = &member.current;
            current.state == MemberState::Stable && current.epoch == self.target_epoch.epoch
        };
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch.epoch > self.target_epoch.epoch {
            "Assigning"
        } else if self.members.values().all(is_there) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Takes over what the log says. Compaction keeps the last word about each thing, wherever it stands:
    /// so a member's assignment may come before the member.
    pub(crate) fn apply(&mut self, change: &ConsumerGroupChange) {
        match change {
            ConsumerGroupChange::Epoch(Some(epoch)) => {
                self.recorded = true;
                self.epoch = *epoch;
                self.right_for = 0;
            }
            ConsumerGroupChange::Epoch(None) => *self = ConsumerGroup::new(Arc::clone(&self.id)),
            ConsumerGroupChange::PartitionMetadata(is_there) => {
                self.has_partition_metadata = *is_there;
            }
            ConsumerGroupChange::TargetEpoch(epoch) => {
                self.target_epoch = epoch.unwrap_or_default();
            }
            ConsumerGroupChange::Member { member_id, value } => match value {
                Some(metadata) => self.set_metadata(member_id, metadata),
                None => self.remove(member_id),
            },
            ConsumerGroupChange::Target { member_id, value } => {
                self.set_target(member_id, value.as_ref());
            }
            ConsumerGroupChange::Current { member_id, value } => match value {
                Some(current) => {
                    self.update(member_id, |member| member.current = Arc::clone(current));
                }
                None if self.members.contains_key(member_id) => {
                    self.update(member_id, |member| {
                        member.current = Arc::default();
                    });
                }
                None => {}
            },
            ConsumerGroupChange::Regex { regex, value } => self.set_regex(regex, value.as_ref()),
        }
    }

    fn set_metadata(&mut self, member_id: &Arc<str>, metadata: &Arc<ConsumerMember>) {
        // Before the one it had goes: mostly it is the same.
        let wish = self.wishes.name(&metadata.topics);
        let mut before = None;
        self.update(member_id, |member| {
            member.metadata = Arc::clone(metadata);
            before = std::mem::replace(&mut member.wish, wish);
        });
        if let Some(before) = before {
            self.wishes.leave(before);
        }
    }

    fn update(&mut self, member_id: &Arc<str>, change: impl FnOnce(&mut Member)) {
        let mut member = self.take(member_id).unwrap_or_default();
        change(&mut member);
        self.put(member_id, member);
    }

    fn put(&mut self, member_id: &Arc<str>, member: Member) {
        self.bytes += member_id.len() + member.bytes();
        self.classic_members += usize::from(member.uses_classic_protocol());
        if let Some(instance_id) = &member.metadata.instance_id {
            let (instance_id, member_id) = (Arc::clone(instance_id), Arc::clone(member_id));
            self.static_members.insert(instance_id, member_id);
        }
        if let Some(regex) = &member.metadata.regex {
            *self.regex_users.entry(Arc::clone(regex)).or_default() += 1;
        }
        let current = &member.current;
        for &partition in current.assigned.keys().chain(current.revoking.keys()) {
            self.owners.insert(partition, Arc::clone(member_id));
        }
        self.members.insert(Arc::clone(member_id), member);
    }

    /// Takes a member out, with all that follows from it.
    fn take(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        self.bytes -= member_id.len() + member.bytes();
        self.classic_members -= usize::from(member.uses_classic_protocol());
        if let Some(instance_id) = &member.metadata.instance_id
            && self
                .static_members
                .get(instance_id)
                .is_some_and(|id| **id == *member_id)
        {
            self.static_members.remove(instance_id);
        }
        if let Some(regex) = &member.metadata.regex
            && let Some(users) = self.regex_users.get_mut(regex)
        {
            *users -= 1;
            if *users == 0 {
                self.regex_users.remove(regex);
            }
        }
        let current = &member.current;
        for partition in current.assigned.keys().chain(current.revoking.keys()) {
            if self
                .owners
                .get(partition)
                .is_some_and(|owner| **owner == *member_id)
            {
                self.owners.remove(partition);
            }
        }
        Some(member)
    }

    fn remove(&mut self, member_id: &str) {
        let gone = self.take(member_id);
        if let Some(wish) = gone.and_then(|member| member.wish) {
            self.wishes.leave(wish);
        }
    }

    fn set_target(
        &mut self,
        member_id: &Arc<str>,
        value: Option<&Arc<BTreeSet<TopicIdPartition>>>,
    ) {
        let bytes = |target: &BTreeSet<TopicIdPartition>| {
            NAME_BYTES + member_id.len() + target.len() * PARTITION_BYTES
        };
        let before = match value {
            Some(target) => {
                self.bytes += bytes(target);
                self.targets
                    .insert(Arc::clone(member_id), Arc::clone(target))
            }
            None => self.targets.remove(member_id),
        };
        self.bytes -= before.map_or(0, |before| bytes(&before));
    }

    fn set_regex(&mut self, name: &Arc<str>, value: Option<&ResolvedRegex>) {
        let before = match value {
            Some(resolved) => {
                self.bytes += regex_bytes(name, resolved);
                let regex = Regex {
                    resolved: resolved.clone(),
                    wish: self.wishes.add(&resolved.topics),
                    right_for: 0,
                };
                self.regexes.insert(Arc::clone(name), regex)
            }
            None => self.regexes.remove(name),
        };
        if let Some(before) = before {
            self.bytes -= regex_bytes(name, &before.resolved);
            self.wishes.leave(before.wish);
        }
    }
}
