//! As many partitions for everybody as can be, and as few that move as can be.
//!
//! 1. Everybody keeps what it had before and still wants, if it is the first to say so. Where all want the
//!    same topics, nobody keeps more than its share.
//! 2. What is left goes to whoever has least of those who want the topic; topics that few want come first.
//! 3. Where not all want the same topics, partitions move from those who have most to those who have least
//!    until no move makes two members more alike, or enough has been looked at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::audience::{Audience, Audiences};
use super::{Demand, Owners};

struct Builder<'a> {
    demand: &'a Demand<'a>,
    audiences: &'a Audiences,
    owners: &'a mut Owners,
    /// How many partitions each member has.
    counts: Vec<usize>,
    /// Looks at a member or a partition so far.
    steps: usize,
}

pub(super) fn assign(demand: &Demand, audiences: &Audiences, owners: &mut Owners) {
    let is_homogeneous = audiences.are_the_same();
    let shares = is_homogeneous.then(|| Shares::of(demand.members.len(), owners));
    let mut builder = Builder {
        demand,
        audiences,
        owners,
        counts: vec![0; demand.members.len()],
        steps: 0,
    };
    builder.keep(shares);
    for audience in &audiences.all {
        builder.give(audience);
    }
    if !is_homogeneous {
        builder.balance();
    }
}

/// What everybody may keep where all want the same.
struct Shares {
    each: usize,
    /// How many may have one more.
    more: usize,
}

impl Shares {
    fn of(members: usize, owners: &Owners) -> Shares {
        let all: usize = owners.iter().map(Vec::len).sum();
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
    fn keep(&mut self, mut shares: Option<Shares>) {
        for (index, member) in self.demand.members.iter().enumerate() {
            let mut kept = Vec::new();
            for before in member.before.into_iter().flatten() {
                let Some(topic) = self.demand.position(before.topic_id) else {
                    continue;
                };
                let partition = usize::try_from(before.partition).unwrap_or(usize::MAX);
                let is_free = self.owners[topic].get(partition) == Some(&None);
                if is_free && self.demand.wants(member, topic) {
                    kept.push((topic, partition));
                }
            }
            let most = shares
                .as_mut()
                .map_or(usize::MAX, |shares| shares.take(kept.len()));
            for (topic, partition) in kept.into_iter().take(most) {
                self.owners[topic][partition] = Some(index);
                self.counts[index] += 1;
            }
        }
    }

    /// Gives what nobody has of an audience's topics to those in it who have least.
    fn give(&mut self, audience: &Audience) {
        let is_left = |&topic: &usize| self.owners[topic].contains(&None);
        if !audience.topics.iter().any(is_left) {
            return;
        }
        let subscribers = self.audiences.subscribers(audience).into_iter();
        let least = subscribers.map(|member| Reverse((self.counts[member], member)));
        let mut least: BinaryHeap<_> = least.collect();
        for &topic in &audience.topics {
            for owner in self.owners[topic]
                .iter_mut()
                .filter(|owner| owner.is_none())
            {
                let Some(mut next) = least.peek_mut() else {
                    break;
                };
                let Reverse((count, member)) = &mut *next;
                *owner = Some(*member);
                *count += 1;
                self.counts[*member] += 1;
            }
        }
    }

    /// Every move brings the counts of two members closer together, so this ends; the bound is for the
    /// work of it. Each audience has its turn at least once.
    fn balance(&mut self) {
        let (audiences, mut has_moved) = (self.audiences, true);
        while has_moved && self.steps < audiences.steps_max {
            has_moved = false;
            for audience in &audiences.all {
                has_moved |= self.balance_audience(audience);
            }
        }
    }

    /// Moves partitions of an audience's topics from those who have most to those who have least. Returns whether
    /// any moved.
    fn balance_audience(&mut self, audience: &Audience) -> bool {
        /// What a move costs beside a look.
        const MOVE_STEPS: usize = 16;
        let subscribers = self.audiences.subscribers(audience);
        let topics = audience.topics.iter();
        self.steps += subscribers.len() + topics.map(|&t| self.owners[t].len()).sum::<usize>();
        let least = subscribers.iter().map(|&member| self.counts[member]).min();
        let all_owners = audience
            .topics
            .iter()
            .flat_map(|&topic| &self.owners[topic]);
        let most = all_owners
            .flatten()
            .map(|&member| self.counts[member])
            .max();
        if most.unwrap_or(0) < least.unwrap_or(0) + 2 {
            return false;
        }
        let mut givable: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for &topic in &audience.topics {
            for (partition, owner) in self.owners[topic].iter().enumerate() {
                if let Some(owner) = owner {
                    givable.entry(*owner).or_default().push((topic, partition));
                }
            }
        }
        let counted = |member: usize| (self.counts[member], member);
        let low = subscribers.iter().map(|&member| Reverse(counted(member)));
        let mut low: BinaryHeap<_> = low.collect();
        let mut high: BinaryHeap<_> = givable.keys().map(|&member| counted(member)).collect();
        let mut has_moved = false;
        // What a heap says may be of before a move.
        while let (Some(&Reverse((least, to))), Some(&(most, from))) = (low.peek(), high.peek()) {
            self.steps += 1;
            if least != self.counts[to] {
                low.pop();
                low.push(Reverse((self.counts[to], to)));
                continue;
            }
            if most != self.counts[from] {
                high.pop();
                high.push((self.counts[from], from));
                continue;
            }
            if most < least + 2 {
                break;
            }
            let Some((topic, partition)) = givable.get_mut(&from).and_then(Vec::pop) else {
                high.pop();
                continue;
            };
            self.owners[topic][partition] = Some(to);
            self.counts[from] -= 1;
            self.counts[to] += 1;
            self.steps += MOVE_STEPS;
            has_moved = true;
        }
        has_moved
    }
}
