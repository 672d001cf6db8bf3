//! Who wants which topics.

use std::collections::BTreeMap;

use super::Demand;

/// Topics that the same wishes name, so that the same members want them.
#[derive(Debug)]
pub(super) struct Audience {
    /// In order.
    pub(super) topics: Vec<usize>,
    wishes: Vec<usize>,
    /// Which of those who want them come first, where not all are looked at.
    first: usize,
}

/// All audiences, those that few are in first.
#[derive(Debug)]
pub(super) struct Audiences {
    pub(super) all: Vec<Audience>,
    members_of: Vec<Vec<usize>>,
    members: usize,
    /// The most of an audience that are looked at.
    most: usize,
    /// Of one assignment.
    pub(super) steps_max: usize,
}

impl Audiences {
    pub(super) fn of(demand: &Demand, steps_max: usize) -> Audiences {
        let mut members_of: Vec<Vec<usize>> = vec![Vec::new(); demand.wishes.len()];
        for (index, member) in demand.members.iter().enumerate() {
            for &wish in member.wishes.iter().flatten() {
                members_of[wish].push(index);
            }
        }
        let mut wishes_of: Vec<Vec<usize>> = vec![Vec::new(); demand.topics.len()];
        for (wish, topics) in demand.wishes.iter().enumerate() {
            for &topic in topics {
                wishes_of[topic].push(wish);
            }
        }
        let mut by_wishes: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (topic, wishes) in wishes_of.into_iter().enumerate() {
            by_wishes.entry(wishes).or_default().push(topic);
        }
        let most = steps_max / by_wishes.len().max(1);
        let mut audiences = Audiences {
            all: Vec::with_capacity(by_wishes.len()),
            members_of,
            members: demand.members.len(),
            most: most.max(1),
            steps_max,
        };
        for (number, (wishes, topics)) in by_wishes.into_iter().enumerate() {
            let first = number * audiences.most;
            audiences.all.push(Audience {
                topics,
                wishes,
                first,
            });
        }
        let members_of = &audiences.members_of;
        let size = |audience: &Audience| size(members_of, audience);
        audiences.all.retain(|audience| size(audience) > 0);
        audiences
            .all
            .sort_by_key(|audience| (size(audience), audience.topics.first().copied()));
        audiences
    }

    /// Those who want the topics of an audience, each once: all of them, or as many as one assignment can look at
    /// for each audience.
    pub(super) fn subscribers(&self, audience: &Audience) -> Vec<usize> {
        let size = size(&self.members_of, audience);
        let lists = || {
            audience
                .wishes
                .iter()
                .flat_map(|&wish| &self.members_of[wish])
        };
        let looked_at = lists().cycle().skip(audience.first % size.max(1));
        let mut members: Vec<usize> = looked_at.take(size.min(self.most)).copied().collect();
        if audience.wishes.len() > 1 {
            // Whoever has two wishes may stand there twice.
            members.sort_unstable();
            members.dedup();
        }
        members
    }

    /// Whether everybody wants every topic.
    pub(super) fn are_the_same(&self) -> bool {
        /// More of them are never the same.
        const FEW: usize = 16;
        let is_everybody = |audience| self.subscribers(audience).len() == self.members;
        self.all.len() <= FEW && self.all.iter().all(is_everybody)
    }
}

/// How many want the topics; somebody with two wishes may count twice.
fn size(members_of: &[Vec<usize>], audience: &Audience) -> usize {
    let wishes = audience.wishes.iter();
    wishes.map(|&wish| members_of[wish].len()).sum()
}
