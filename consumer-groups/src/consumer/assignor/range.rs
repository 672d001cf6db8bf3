//! Of each topic a range for everybody who wants it. Static members come first, by instance id, so that
//! a member that comes back under another member id finds its range.

use std::collections::BTreeSet;

use super::{SubscribedTopic, Subscriber};
use crate::records::consumer::TopicIdPartition;

pub(super) fn assign(
    members: &[Subscriber],
    topics: &[SubscribedTopic],
) -> Vec<BTreeSet<TopicIdPartition>> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&index| {
        let member = &members[index];
        let name = member.instance_id.unwrap_or(member.member_id);
        (member.instance_id.is_none(), name)
    });
    let mut subscribers: Vec<Vec<usize>> = vec![Vec::new(); topics.len()];
    for &member in &order {
        for &topic in members[member].topics {
            subscribers[topic].push(member);
        }
    }
    let mut assigned = vec![BTreeSet::new(); members.len()];
    for (topic, subscribers) in topics.iter().zip(subscribers) {
        let count = i32::try_from(subscribers.len()).unwrap_or(i32::MAX).max(1);
        let (each, more) = (topic.partitions / count, topic.partitions % count);
        let mut next = 0;
        for (place, member) in (0..).zip(subscribers) {
            let end = next + each + i32::from(place < more);
            assigned[member].extend((next..end).map(|partition| TopicIdPartition {
                topic_id: topic.id,
                partition,
            }));
            next = end;
        }
    }
    assigned
}
