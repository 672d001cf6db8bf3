//! Replies and records as lines.

use bytes::Bytes;
use tidewheel_consumer_groups::reply::*;
use tidewheel_consumer_groups::{GroupError, GroupReply, OffsetsRecord};
use tidewheel_protocol::consumer_protocol::ConsumerProtocolAssignment;

use super::Script;

fn bytes(bytes: &Bytes) -> String {
    let text = String::from_utf8_lossy(bytes);
    let printable = |c: char| (!c.is_control() && c != '\u{fffd}').then_some(c);
    let text: String = text.chars().filter_map(printable).collect();
    format!("'{text}'")
}

/// An assignment of consumers as `@t-0,t-1`, others as they are.
fn assignment(assigned: &Bytes) -> String {
    match ConsumerProtocolAssignment::decode(assigned.clone()) {
        Ok(decoded) if decoded.encode(0) == *assigned => {
            let topics = decoded.assigned_partitions.iter();
            let names = topics.flat_map(|topic| {
                let named = topic.partitions.iter();
                named.map(|partition| format!("{}-{partition}", topic.topic.as_str()))
            });
            format!("@{}", names.collect::<Vec<_>>().join(","))
        }
        _ => bytes(assigned),
    }
}

fn results(topics: &[TopicResults]) -> String {
    let mut words = Vec::new();
    for topic in topics {
        for (partition, result) in &topic.partitions {
            let result = result.map_or_else(|error| format!("{error:?}"), |()| "ok".to_owned());
            words.push(format!("{}-{partition} {result}", topic.topic));
        }
    }
    words.join(", ")
}

fn fetched(topics: &[FetchedTopic]) -> String {
    let mut words = Vec::new();
    for topic in topics {
        for partition in &topic.partitions {
            let committed = partition.committed.as_ref();
            let committed = committed.map_or("none".to_owned(), |committed| {
                format!("{}/{}", committed.offset, &*committed.metadata)
            });
            words.push(format!(
                "{}-{}={committed}",
                topic.topic, partition.partition
            ));
        }
    }
    words.join(" ")
}

fn or_error<T>(result: &Result<T, GroupError>, text: impl FnOnce(&T) -> String) -> String {
    match result {
        Ok(value) => text(value),
        Err(error) => format!("{error:?}"),
    }
}

impl Script {
    pub(super) fn reply(&self, reply: &GroupReply) -> String {
        match reply {
            GroupReply::JoinAgain(_) => "join again".to_owned(),
            GroupReply::Join(reply) => {
                let result = or_error(&reply.result, |joined| self.joined(joined));
                format!("join {:?} {result}", self.short(&reply.member_id))
            }
            GroupReply::Sync(result) => {
                let synced = |synced: &Synced| format!("ok {}", assignment(&synced.assignment));
                format!("sync {}", or_error(result, synced))
            }
            GroupReply::Heartbeat(result) => {
                format!("heartbeat {}", or_error(result, |()| "ok".to_owned()))
            }
            GroupReply::Leave(result) => {
                let left = |left: &MemberLeft| {
                    let instance = left.instance_id.as_deref().unwrap_or_default();
                    let result = or_error(&left.result, |()| "ok".to_owned());
                    format!("{:?}@{instance:?} {result}", self.short(&left.member_id))
                };
                let all =
                    |all: &Vec<MemberLeft>| all.iter().map(left).collect::<Vec<_>>().join(", ");
                format!("leave {}", or_error(result, all))
            }
            GroupReply::ConsumerHeartbeat(result) => self.consumer_heard(result),
            GroupReply::DescribeConsumerGroup(result) => self.consumer_group(result),
            GroupReply::CommitOffsets(topics) => format!("commit {}", results(topics)),
            GroupReply::FetchOffsets(result) => {
                format!("fetch {}", or_error(result, |topics| fetched(topics)))
            }
            GroupReply::Describe(result) => {
                format!(
                    "describe {}",
                    or_error(result, |group| self.described(group))
                )
            }
            GroupReply::List(groups) => {
                let listed = |group: &ListedGroup| {
                    let ListedGroup {
                        group_id,
                        protocol_type,
                        state,
                        group_type,
                    } = group;
                    format!("{group_id}({group_type},{protocol_type:?},{state})")
                };
                format!(
                    "list {}",
                    groups.iter().map(listed).collect::<Vec<_>>().join(" ")
                )
            }
            GroupReply::DeleteGroup(result) | GroupReply::TopicsDeleted(result) => {
                format!("delete {}", or_error(result, |()| "ok".to_owned()))
            }
            GroupReply::DeleteOffsets(result) => {
                format!(
                    "delete-offsets {}",
                    or_error(result, |topics| results(topics))
                )
            }
        }
    }

    fn joined(&self, joined: &Joined) -> String {
        let members: Vec<String> = joined
            .members
            .iter()
            .map(|member| {
                let instance = member.instance_id.as_ref().map(|id| format!("@{id}"));
                let instance = instance.unwrap_or_default();
                let (id, metadata) = (self.short(&member.member_id), bytes(&member.metadata));
                format!("{id}{instance}:{metadata}")
            })
            .collect();
        let (generation, leader) = (joined.generation, self.short(&joined.leader));
        let protocol = joined.protocol_name.as_deref().unwrap_or_default();
        let skip = if joined.skip_assignment { " skip" } else { "" };
        let members = members.join(" ");
        format!("ok generation={generation} {protocol} leader={leader}{skip} [{members}]")
    }

    fn described(&self, group: &GroupDescription) -> String {
        let members: Vec<String> = group
            .members
            .iter()
            .map(|member| {
                let (id, metadata) = (self.short(&member.member_id), bytes(&member.metadata));
                let instance = member.instance_id.as_ref().map(|id| format!("@{id}"));
                let instance = instance.unwrap_or_default();
                let (client, host) = (&member.client_id, &member.client_host);
                format!(
                    "{id}{instance}({client},{host}):{metadata}:{}",
                    assignment(&member.assignment)
                )
            })
            .collect();
        let (kind, name) = (&group.protocol_type, &group.protocol_name);
        format!("{} {kind:?} {name:?} [{}]", group.state, members.join(" "))
    }

    pub(super) fn record(&self, record: &OffsetsRecord) -> String {
        match record {
            OffsetsRecord::OffsetCommit { key, value } => {
                let value = value.as_ref().map_or("gone".to_owned(), |value| {
                    let expires = value.expire_timestamp_ms.map(|at| format!(" until {at}"));
                    let expires = expires.unwrap_or_default();
                    let (offset, at_ms) = (value.offset, value.commit_timestamp_ms);
                    let note: String = value.metadata.chars().take(20).collect();
                    format!("{offset}/{note} at {at_ms}{expires}")
                });
                format!("{} {}-{} {value}", key.group_id, key.topic, key.partition)
            }
            OffsetsRecord::ConsumerGroup { group_id, change } => {
                format!("{group_id} {}", self.change(change))
            }
            OffsetsRecord::GroupMetadata {
                group_id,
                value: None,
            } => format!("{group_id} gone"),
            OffsetsRecord::GroupMetadata {
                group_id,
                value: Some(value),
            } => {
                let members: Vec<String> = value
                    .members
                    .iter()
                    .map(|member| {
                        let (id, metadata) =
                            (self.short(&member.member_id), bytes(&member.subscription));
                        format!("{id}:{metadata}:{}", assignment(&member.assignment))
                    })
                    .collect();
                let leader = value.leader.as_deref().map(|leader| self.short(leader));
                let (kind, name) = (
                    value.protocol_type.as_deref(),
                    value.protocol_name.as_deref(),
                );
                let (kind, name) = (kind.unwrap_or_default(), name.unwrap_or_default());
                let (generation, leader) = (value.generation, leader.unwrap_or_default());
                let members = members.join(" ");
                format!(
                    "{group_id} generation={generation} {kind:?} {name:?} leader={leader} [{members}]"
                )
            }
        }
    }
}
