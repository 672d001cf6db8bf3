//! Who is to read what: the assignors of the broker.
//!
//! Both are pure and give the same result for the same input. A partition goes to one member at most, and
//! to one that wants its topic; every partition of a topic that anybody wants goes to somebody.

mod audience;
mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_config::limits;
use tidewheel_protocol::Uuid;

use self::audience::Audiences;
use crate::records::consumer::TopicIdPartition;

/// An assignor of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Assignor {
    /// As many partitions for everybody as can be, and as few that move as can be.
    Uniform,
    /// Of each topic a range for everybody: of topics with equally many partitions the same numbers.
    Range,
}

/// A member as the assignors see it.
#[derive(Debug)]
pub(crate) struct Subscriber<'a> {
    pub(crate) member_id: &'a Arc<str>,
    pub(crate) instance_id: Option<&'a Arc<str>>,
    /// What it wants: what it named and what its regular expression stands for, as positions in the list of
    /// wishes.
    pub(crate) wishes: [Option<usize>; 2],
    /// What it was to read before.
    pub(crate) before: Option<&'a BTreeSet<TopicIdPartition>>,
}

/// A topic as the assignors see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscribedTopic {
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
}

/// All that the assignors look at.
#[derive(Debug)]
pub(crate) struct Demand<'a> {
    pub(crate) members: Vec<Subscriber<'a>>,
    /// Ordered by id, without doubles.
    pub(crate) topics: Vec<SubscribedTopic>,
    /// Topics that are wanted together, as positions in the list of topics, in order. Members share them: a group
    /// of many members who want many topics takes room for the sum, not for the product.
    pub(crate) wishes: Vec<Vec<usize>>,
}

/// Which member has each partition, by topic.
type Owners = Vec<Vec<Option<usize>>>;

impl Demand<'_> {
    fn position(&self, topic_id: Uuid) -> Option<usize> {
        let id = |topic: &SubscribedTopic| topic.id;
        self.topics.binary_search_by_key(&topic_id, id).ok()
    }

    fn wants(&self, member: &Subscriber, topic: usize) -> bool {
        let mut wishes = member.wishes.iter().flatten();
        wishes.any(|&wish| self.wishes[wish].binary_search(&topic).is_ok())
    }

    /// What each member has.
    fn assigned(&self, owners: &Owners) -> Vec<BTreeSet<TopicIdPartition>> {
        let mut assigned: Vec<Vec<TopicIdPartition>> = vec![Vec::new(); self.members.len()];
        for (topic, owners) in self.topics.iter().zip(owners) {
            for (partition, owner) in (0..).zip(owners) {
                if let Some(member) = owner {
                    assigned[*member].push(TopicIdPartition {
                        topic_id: topic.id,
                        partition,
                    });
                }
            }
        }
        assigned.into_iter().map(BTreeSet::from_iter).collect()
    }
}

impl Assignor {
    /// The assignor with this name.
    pub(crate) fn find(name: &str) -> Option<Assignor> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// What each member is to read, in the order of the members.
    pub(crate) fn assign(self, demand: &Demand) -> Vec<BTreeSet<TopicIdPartition>> {
        self.assign_within(demand, limits::GROUP_ASSIGNMENT_STEPS)
    }

    /// The same with so many looks at members and partitions about.
    fn assign_within(self, demand: &Demand, steps_max: usize) -> Vec<BTreeSet<TopicIdPartition>> {
        let partitions = |topic: &SubscribedTopic| usize::try_from(topic.partitions).unwrap_or(0);
        let topics = demand.topics.iter();
        let mut owners: Owners = topics.map(|topic| vec![None; partitions(topic)]).collect();
        let audiences = Audiences::of(demand, steps_max);
        match self {
            Assignor::Uniform => uniform::assign(demand, &audiences, &mut owners),
            Assignor::Range => range::assign(demand, &audiences, &mut owners),
        }
        demand.assigned(&owners)
    }
}
