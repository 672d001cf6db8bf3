//! As many partitions for everybody as can be, and as few that move as can be.
//!
//! 1. Everybody keeps what it had before and still wants, if it is the first to say so. Where all want the
//!    same topics, nobody keeps more than its share.
//! 2. What is left goes to whoever has least of those who want the topic; topics that few want come first.
//! 3. Where not all want the same topics, partitions move from those who have most to those who have least
//!    until no move makes two members more alike.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use std::cmp::Reverse;

use super::{SubscribedTopic, Subscriber};
use crate::records::consumer::TopicIdPartition;

struct Builder<'a> {
    topics: &'a [SubscribedTopic],
    /// Who wants each topic.
    subscribers: Vec<Vec<usize>>,
    assigned: Vec<BTreeSet<TopicIdPartition>>,
    /// What nobody has, by topic.
    left: Vec<BTreeSet<i32>>,
}

pub(super) fn assign(
    members: &[Subscriber],
    topics: &[SubscribedTopic],
) -> Vec<BTreeSet<TopicIdPartition>> {
    let mut subscribers: Vec<Vec<usize>> = vec![Vec::new(); topics.len()];
    for (index, member) in members.iter().enumerate() {
        for &topic in member.topics {
            subscribers[topic].push(index);
        }
    }
    let is_homogeneous = subscribers.iter().all(|all| all.len() == members.len());
    let left = subscribers
        .iter()
        .zip(topics)
        .map(|(all, topic)| match all.is_empty() {
            true => BTreeSet::new(),
            false => (0..topic.partitions).collect(),
        });
    let mut builder = Builder {
        topics,
        left: left.collect(),
        subscribers,
        assigned: vec![BTreeSet::new(); members.len()],
    };
    let shares = is_homogeneous.then(|| Shares::of(members.len(), &builder.left));
    builder.keep(members, shares);
    builder.give();
    if !is_homogeneous {
        builder.balance();
    }
    builder.assigned
}

/// What everybody may keep where all want the same.
struct Shares {
    each: usize,
    /// How many may have one more.
    more: usize,
}

impl Shares {
    fn of(members: usize, left: &[BTreeSet<i32>]) -> Shares {
        let all: usize = left.iter().map(BTreeSet::len).sum();
        let members = members.max(1);
        Shares {
            each: all / members,
            more: all % members,
        }
    }

    /// How many a member may keep that had `count`.
    fn take(&mut self, count: usize) -> usize {
        let has_more = count > self.each && self.more > 0;
        self.more -= usize::from(has_more);
        self.each + usize::from(has_more)
    }
}

impl Builder<'_> {
    fn position(&self, partition: &TopicIdPartition) -> Option<usize> {
        let id = |topic: &SubscribedTopic| topic.id;
        self.topics
            .binary_search_by_key(&partition.topic_id, id)
            .ok()
    }

    fn keep(&mut self, members: &[Subscriber], mut shares: Option<Shares>) {
        for (index, member) in members.iter().enumerate() {
            let mut kept = Vec::new();
            for partition in member.before.into_iter().flatten() {
                let Some(topic) = self.position(partition) else {
                    continue;
                };
                let wants = member.topics.binary_search(&topic).is_ok();
                if wants && self.left[topic].contains(&partition.partition) {
                    kept.push((topic, *partition));
                }
            }
            let most = shares
                .as_mut()
                .map_or(usize::MAX, |shares| shares.take(kept.len()));
            for (topic, partition) in kept.into_iter().take(most) {
                self.left[topic].remove(&partition.partition);
                self.assigned[index].insert(partition);
            }
        }
    }

    fn give(&mut self) {
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        order.sort_by_key(|&topic| self.subscribers[topic].len());
        for topic in order {
            let left = std::mem::take(&mut self.left[topic]);
            if left.is_empty() {
                continue;
            }
            let least = |&member: &usize| Reverse((self.assigned[member].len(), member));
            let mut least: BinaryHeap<_> = self.subscribers[topic].iter().map(least).collect();
            for partition in left {
                let Some(Reverse((count, member))) = least.pop() else {
                    break;
                };
                let topic_id = self.topics[topic].id;
                self.assigned[member].insert(TopicIdPartition {
                    topic_id,
                    partition,
                });
                least.push(Reverse((count + 1, member)));
            }
        }
    }

    /// Every move brings the counts of two members closer together, so this ends; the bound is for the
    /// work of it.
    fn balance(&mut self) {
        let all: usize = self.assigned.iter().map(BTreeSet::len).sum();
        let mut moves_left = 4 * all;
        loop {
            let before = moves_left;
            for topic in 0..self.topics.len() {
                moves_left = self.balance_topic(topic, moves_left);
            }
            if moves_left == before || moves_left == 0 {
                return;
            }
        }
    }

    /// Moves partitions of one topic from those who have most to those who have least.
    fn balance_topic(&mut self, topic: usize, mut moves_left: usize) -> usize {
        let topic_id = self.topics[topic].id;
        let first = TopicIdPartition {
            topic_id,
            partition: 0,
        };
        let last = TopicIdPartition {
            topic_id,
            partition: i32::MAX,
        };
        let mut by_count: BTreeSet<(usize, usize)> = BTreeSet::new();
        let mut givable: BTreeMap<usize, Vec<TopicIdPartition>> = BTreeMap::new();
        let mut most: BTreeSet<(usize, usize)> = BTreeSet::new();
        for &member in &self.subscribers[topic] {
            let count = self.assigned[member].len();
            by_count.insert((count, member));
            let of_topic: Vec<_> = self.assigned[member].range(first..=last).copied().collect();
            if !of_topic.is_empty() {
                most.insert((count, member));
                givable.insert(member, of_topic);
            }
        }
        while moves_left > 0 {
            let (Some(&(low, to)), Some(&(high, from))) = (by_count.first(), most.last()) else {
                break;
            };
            let partition = givable.get_mut(&from).and_then(Vec::pop);
            let Some(partition) = partition.filter(|_| high >= low + 2) else {
                break;
            };
            self.assigned[from].remove(&partition);
            self.assigned[to].insert(partition);
            by_count.remove(&(low, to));
            by_count.remove(&(high, from));
            by_count.insert((low + 1, to));
            by_count.insert((high - 1, from));
            most.remove(&(high, from));
            if givable.get(&from).is_some_and(|rest| !rest.is_empty()) {
                most.insert((high - 1, from));
            }
            if most.remove(&(low, to)) {
                most.insert((low + 1, to));
            }
            moves_left -= 1;
        }
        moves_left
    }
}
