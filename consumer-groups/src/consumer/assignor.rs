//! Who is to read what: the assignors of the broker.
//!
//! Both are pure and give the same result for the same input. A partition goes to one member at most, and
//! to one that wants its topic; every partition of a topic that anybody wants goes to somebody.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_protocol::Uuid;

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
    /// The topics that it wants, as positions in the list of topics, in order.
    pub(crate) topics: &'a [usize],
    /// What it was to read before.
    pub(crate) before: Option<&'a BTreeSet<TopicIdPartition>>,
}

/// A topic as the assignors see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscribedTopic {
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
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

    /// What each member is to read, in the order of the members. The topics are ordered by id, without
    /// doubles.
    pub(crate) fn assign(
        self,
        members: &[Subscriber],
        topics: &[SubscribedTopic],
    ) -> Vec<BTreeSet<TopicIdPartition>> {
        match self {
            Assignor::Uniform => uniform::assign(members, topics),
            Assignor::Range => range::assign(members, topics),
        }
    }
}
