//! Replies and records of groups of the newer protocol as lines.

use std::sync::Arc;

use tidewheel_consumer_groups::GroupError;
use tidewheel_consumer_groups::records::consumer::*;
use tidewheel_consumer_groups::reply::*;

use super::Script;

fn joined<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.as_ref().to_owned())
        .collect();
    words.join(" ")
}

impl Script {
    fn partitions<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicIdPartition>) -> String {
        let name =
            |p: &TopicIdPartition| format!("{}-{}", self.topics.name(p.topic_id), p.partition);
        format!("[{}]", joined(partitions.into_iter().map(name)))
    }

    fn owned(&self, owned: &OwnedPartitions) -> String {
        let name = |(p, epoch): (&TopicIdPartition, &i32)| {
            format!("{}-{}@{epoch}", self.topics.name(p.topic_id), p.partition)
        };
        format!("[{}]", joined(owned.iter().map(name)))
    }

    fn assigned(&self, topics: &[AssignedTopic]) -> String {
        let all = topics.iter().flat_map(|topic| {
            let name = self.topics.name(topic.topic_id);
            topic
                .partitions
                .iter()
                .map(move |partition| format!("{name}-{partition}"))
        });
        format!("[{}]", joined(all))
    }

    fn described_topics(&self, topics: &[DescribedTopic]) -> String {
        let all = topics.iter().flat_map(|topic| {
            let named = topic.partitions.iter();
            named.map(|partition| format!("{}-{partition}", topic.topic))
        });
        format!("[{}]", joined(all))
    }

    pub(super) fn consumer_heard(
        &self,
        result: &Result<ConsumerHeartbeatReply, GroupError>,
    ) -> String {
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => return format!("consume {error:?}"),
        };
        let (member, epoch) = (self.short(&reply.member_id), reply.epoch);
        let interval_ms = match reply.heartbeat_interval_ms {
            5_000 => String::new(),
            other => format!(" every {other}"),
        };
        let assignment = reply
            .assignment
            .as_ref()
            .map(|topics| self.assigned(topics));
        let assignment = assignment.map(|all| format!(" {all}")).unwrap_or_default();
        format!("consume {member} epoch={epoch}{assignment}{interval_ms}")
    }

    pub(super) fn consumer_group(
        &self,
        result: &Result<ConsumerGroupDescription, GroupError>,
    ) -> String {
        let group = match result {
            Ok(group) => group,
            Err(error) => return format!("describe-consumer {error:?}"),
        };
        let members = group.members.iter().map(|member| {
            let id = self.short(&member.member_id);
            let instance = member.instance_id.as_ref().map(|id| format!("@{id}"));
            let rack = member.rack_id.as_ref().map(|rack| format!("/{rack}"));
            let regex = member.regex.as_ref().map(|regex| format!("~{regex}"));
            let classic = if member.uses_classic_protocol {
                " classic"
            } else {
                ""
            };
            format!(
                "{id}{}{}({},{}) {}{}{classic} {} {}->{}",
                instance.unwrap_or_default(),
                rack.unwrap_or_default(),
                member.client_id,
                member.client_host,
                member.topics.join(","),
                regex.unwrap_or_default(),
                member.epoch,
                self.described_topics(&member.assignment),
                self.described_topics(&member.target_assignment),
            )
        });
        let (state, assignor) = (group.state, group.assignor);
        let epochs = (group.epoch, group.assignment_epoch);
        let members = members.collect::<Vec<_>>().join("; ");
        format!(
            "describe-consumer {state} {}/{} {assignor} {members}",
            epochs.0, epochs.1
        )
    }

    pub(super) fn change(&self, change: &ConsumerGroupChange) -> String {
        match change {
            ConsumerGroupChange::Epoch(value) => match value {
                Some(value) if value.metadata_hash == 0 => {
                    format!("epoch={} of nothing", value.epoch)
                }
                Some(value) => format!("epoch={}", value.epoch),
                None => "epoch gone".to_owned(),
            },
            ConsumerGroupChange::PartitionMetadata(is_there) => format!("topics {is_there}"),
            ConsumerGroupChange::TargetEpoch(value) => match value {
                Some(value) => format!("target-epoch={} at {}", value.epoch, value.timestamp_ms),
                None => "target-epoch gone".to_owned(),
            },
            ConsumerGroupChange::Member { member_id, value } => {
                let value = value
                    .as_ref()
                    .map_or("gone".to_owned(), |value| self.member(value));
                format!("member {} {value}", self.short(member_id))
            }
            ConsumerGroupChange::Target { member_id, value } => {
                let value = value.as_ref().map(|value| self.partitions(&**value));
                let value = value.unwrap_or_else(|| "gone".to_owned());
                format!("target {} {value}", self.short(member_id))
            }
            ConsumerGroupChange::Current { member_id, value } => {
                let value = value.as_ref().map_or("gone".to_owned(), |value| {
                    let revoking = match value.revoking.is_empty() {
                        true => String::new(),
                        false => format!(" gives up {}", self.owned(&value.revoking)),
                    };
                    let (epoch, before) = (value.epoch, value.previous_epoch);
                    let assigned = self.owned(&value.assigned);
                    format!("{epoch}<{before} {:?} {assigned}{revoking}", value.state)
                });
                format!("current {} {value}", self.short(member_id))
            }
            ConsumerGroupChange::Regex { regex, value } => {
                let value = value.as_ref();
                let value = value.map(|value| format!("[{}]", joined(&*value.topics)));
                format!(
                    "regex {regex} {}",
                    value.unwrap_or_else(|| "gone".to_owned())
                )
            }
        }
    }

    fn member(&self, member: &ConsumerMember) -> String {
        let text = |name: &str, text: &Option<Arc<str>>| {
            let text = text.as_ref().map(|text| format!(" {name}={text}"));
            text.unwrap_or_default()
        };
        let classic = member.classic.as_ref().map(|classic| {
            let names: Vec<&str> = classic.protocols.iter().map(|p| &*p.name).collect();
            format!(" classic={}", names.join("+"))
        });
        format!(
            "[{}]{}{}{}{}{}",
            joined(&*member.topics),
            text("regex", &member.regex),
            text("instance", &member.instance_id),
            text("rack", &member.rack_id),
            text("assignor", &member.assignor),
            classic.unwrap_or_default(),
        )
    }
}
