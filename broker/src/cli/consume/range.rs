//! Which member of a group reads which partitions, where this client leads the group: Kafka's range assignor, which
//! gives every member that wants a topic neighbouring partitions of it.

use std::collections::{BTreeMap, BTreeSet};

use tidewheel_protocol::StrBytes;
use tidewheel_protocol::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};
use tidewheel_protocol::messages::join_group::JoinGroupResponseMember;
use tidewheel_protocol::messages::sync_group::SyncGroupRequestAssignment;

use crate::cli::kafka::client::{Client, ClientError};

/// The name of the assignor.
pub(super) const RANGE: &str = "range";

/// What each member gets.
///
/// # Errors
/// Where nobody tells which partitions there are.
pub(super) async fn divided(
    client: &mut Client,
    members: &[JoinGroupResponseMember],
) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
    // In the order of their ids; whose words cannot be read gets nothing.
    let mut wanted: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for member in members {
        let read = ConsumerProtocolSubscription::decode(member.metadata.clone());
        for topic in read.map_or_else(|_| Vec::new(), |read| read.topics) {
            let readers = wanted.entry(topic.to_string()).or_default();
            readers.insert(&member.member_id);
        }
    }
    let names: Vec<String> = wanted.keys().cloned().collect();
    let known = client.metadata(Some(&names), false).await?;
    let counts = known.topics.iter().filter_map(|topic| {
        let name = topic.name.as_ref()?.to_string();
        Some((name, topic.partitions.len()))
    });
    let counts: BTreeMap<String, usize> = counts.collect();
    let assignment = |member: &JoinGroupResponseMember| {
        let topics = wanted.iter().filter_map(|(topic, readers)| {
            let at = readers.iter().position(|one| **one == *member.member_id)?;
            let count = counts.get(topic).copied().unwrap_or_default();
            let partitions = share(count, readers.len(), at);
            let partitions: Vec<i32> = partitions.filter_map(|one| one.try_into().ok()).collect();
            (!partitions.is_empty()).then(|| TopicPartition {
                topic: StrBytes::from(topic.as_str()),
                partitions,
            })
        });
        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: topics.collect(),
            user_data: None,
        };
        SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: assignment.encode(0),
        }
    };
    Ok(members.iter().map(assignment).collect())
}

/// Of `count` partitions those of the member `at` among so many: the first ones get one more where they do not come out
/// even.
fn share(count: usize, members: usize, at: usize) -> std::ops::Range<usize> {
    let (each, more) = match members {
        0 => (0, 0),
        _ => (count / members, count % members),
    };
    let from = at * each + at.min(more);
    from..from + each + usize::from(at < more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_reader() {
        assert_eq!([0, 1].map(|at| share(5, 2, at)), [0..3, 3..5]);
        assert_eq!([0, 1, 2].map(|at| share(2, 3, at)), [0..1, 1..2, 2..2]);
        for (count, members) in [(0, 1), (1, 1), (7, 3), (3, 7), (100, 9)] {
            let all = (0..members).flat_map(|at| share(count, members, at));
            assert!(all.eq(0..count), "{count} partitions, {members} members");
        }
    }
}
