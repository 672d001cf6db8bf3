//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_consumer_groups::records::consumer::TopicIdPartition;
use tidewheel_consumer_groups::reply::{ConsumerGroupDescription, DescribedTopic, ListedGroup};
use tidewheel_consumer_groups::request::*;
use tidewheel_consumer_groups::{GroupCoordinator, GroupReply, GroupRequest, ReplyToken};

use super::{GROUPS, History};

/// The answer to a question that changes nothing.
fn answer(coordinator: &mut GroupCoordinator, request: GroupRequest) -> GroupReply {
    let mut output = coordinator.handle(request, ReplyToken(u64::MAX), 0);
    assert!(output.records.is_empty());
    output.replies.pop().unwrap().1
}

fn describe(
    coordinator: &mut GroupCoordinator,
    group_id: &str,
) -> Option<ConsumerGroupDescription> {
    let group_id = group_id.into();
    let request = GroupRequest::DescribeConsumerGroup(DescribeRequest { group_id });
    match answer(coordinator, request) {
        GroupReply::DescribeConsumerGroup(result) => result.ok(),
        other => panic!("{other:?}"),
    }
}

/// The ids of a group's members, whatever protocol it uses.
fn member_ids(coordinator: &mut GroupCoordinator, group_id: &str) -> BTreeSet<Arc<str>> {
    if let Some(group) = describe(coordinator, group_id) {
        return group.members.into_iter().map(|m| m.member_id).collect();
    }
    let group_id = group_id.into();
    match answer(
        coordinator,
        GroupRequest::Describe(DescribeRequest { group_id }),
    ) {
        GroupReply::Describe(Ok(group)) => group.members.into_iter().map(|m| m.member_id).collect(),
        _ => BTreeSet::new(),
    }
}

fn list(coordinator: &mut GroupCoordinator) -> Vec<ListedGroup> {
    match answer(coordinator, GroupRequest::List(ListRequest::default())) {
        GroupReply::List(groups) => groups,
        other => panic!("{other:?}"),
    }
}

fn partitions(topics: &[DescribedTopic]) -> BTreeSet<TopicIdPartition> {
    let of_topic = |topic: &DescribedTopic| {
        let topic_id = topic.topic_id;
        let all = topic.partitions.iter();
        all.map(|&partition| TopicIdPartition {
            topic_id,
            partition,
        })
        .collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

impl History {
    pub(super) fn check(&mut self) {
        for group_id in GROUPS {
            self.check_readers(group_id);
            let live = describe(&mut self.runner.coordinator, group_id);
            match &live {
                None => drop(self.epochs.remove(group_id)),
                Some(group) => {
                    check_targets(group);
                    let last = self.epochs.insert(group_id.into(), group.epoch);
                    assert!(
                        last.is_none_or(|last| last <= group.epoch),
                        "{last:?} {group:?}"
                    );
                    assert!(group.assignment_epoch <= group.epoch);
                    let epochs = group.members.iter().map(|member| member.epoch);
                    assert!(
                        epochs.max().is_none_or(|most| most <= group.epoch),
                        "{group:?}"
                    );
                }
            }
        }
    }

    /// No partition is read by two members of a group.
    fn check_readers(&mut self, group_id: &str) {
        let members = member_ids(&mut self.runner.coordinator, group_id);
        let mut readers: BTreeMap<TopicIdPartition, usize> = BTreeMap::new();
        for (index, client) in self.clients.iter().enumerate() {
            if *client.group_id != *group_id || !members.contains(&client.member_id) {
                continue;
            }
            for &partition in &client.reads {
                let other = readers.insert(partition, index);
                assert_eq!(other, None, "{partition:?} is read by {index} too");
            }
        }
    }

    /// What is made from the log is what is there.
    pub(super) fn check_recovery(&mut self) {
        let mut recovered = self.runner.recovered();
        for group_id in GROUPS {
            let live = describe(&mut self.runner.coordinator, group_id);
            assert_eq!(live, describe(&mut recovered, group_id));
            if live.is_some() {
                let bytes = self.runner.coordinator.group_bytes(group_id);
                assert_eq!(bytes, recovered.group_bytes(group_id), "{group_id}");
            }
        }
        let is_newer = |group: &ListedGroup| group.group_type == "consumer";
        let live = list(&mut self.runner.coordinator)
            .into_iter()
            .filter(is_newer);
        let recovered = list(&mut recovered).into_iter().filter(is_newer);
        assert!(live.eq(recovered));
    }

    /// Everybody reads what it is to read, and together all that anybody wants.
    pub(super) fn check_settled(&mut self) {
        for group_id in GROUPS {
            let group = describe(&mut self.runner.coordinator, group_id).unwrap();
            assert_eq!(group.state, "Stable", "{group:?}");
            assert!(group.members.len() >= 3, "{group:?}");
            let mut read = BTreeSet::new();
            for member in &group.members {
                let client = self
                    .clients
                    .iter()
                    .find(|c| c.member_id == member.member_id);
                let client = client.unwrap();
                assert_eq!(client.reads, partitions(&member.assignment), "{group:?}");
                assert_eq!(member.assignment, member.target_assignment);
                read.extend(client.reads.iter().copied());
            }
            let wants = |name: &str| {
                group.members.iter().any(|member| {
                    let matches = match member.regex.as_deref() {
                        None => false,
                        Some("[tu]") => name != "v",
                        Some("v|t") => name != "u",
                        Some(_) => true,
                    };
                    matches || member.topics.iter().any(|topic| **topic == *name)
                })
            };
            let wanted = self.topics.iter().filter(|(name, _)| wants(name));
            let count: i32 = wanted.map(|(_, topic)| topic.partitions).sum();
            assert_eq!(read.len(), usize::try_from(count).unwrap(), "{group:?}");
        }
    }
}

/// No partition is given to two members, now or in the target.
fn check_targets(group: &ConsumerGroupDescription) {
    for of in [
        |m: &tidewheel_consumer_groups::reply::DescribedConsumer| partitions(&m.assignment),
        |m: &tidewheel_consumer_groups::reply::DescribedConsumer| partitions(&m.target_assignment),
    ] {
        let mut owners = BTreeSet::new();
        for partition in group.members.iter().flat_map(of) {
            assert!(
                owners.insert(partition),
                "{partition:?} has two owners: {group:?}"
            );
        }
    }
}
