//! The commands of scenarios.

mod consumer;
mod render;
mod render_consumer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::{ConsumerTimes, GroupConfig};
use tidewheel_consumer_groups::request::*;
use tidewheel_consumer_groups::{GroupLimits, GroupRequest};
use tidewheel_protocol::Uuid;
use tidewheel_protocol::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};

use self::consumer::Topics;
use crate::support::{Runner, Step, subscription};
use crate::transitions::Transition;

pub(crate) struct Script {
    runner: Runner,
    /// Short names of member ids, and the other way round.
    aliases: BTreeMap<String, String>,
    /// How many member ids were made from a name.
    made: BTreeMap<String, u64>,
    requests: u128,
    topics: Topics,
}

/// The words of a command: those with `=` by name, the others in order.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(command: &'a str) -> Words<'a> {
        let mut words = Words {
            plain: Vec::new(),
            named: Vec::new(),
        };
        for word in command.split_whitespace() {
            match word.split_once('=') {
                Some(named) => words.named.push(named),
                None => words.plain.push(word),
            }
        }
        words
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let mut named = self.named.iter();
        named
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }

    fn text(&self, name: &str) -> Option<Arc<str>> {
        self.get(name).map(Arc::from)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T>
    where
        T::Err: std::fmt::Debug,
    {
        self.get(name).map(|value| value.parse().unwrap())
    }

    fn topic_id(&self) -> Uuid {
        self.number("id").map_or(Uuid::ZERO, |id| Uuid([id; 16]))
    }

    fn has(&self, flag: &str) -> bool {
        self.plain.contains(&flag)
    }

    fn at(&self, index: usize) -> &'a str {
        self.plain.get(index).copied().unwrap_or_default()
    }

    fn group(&self) -> Arc<str> {
        self.at(1).replace("''", "").into()
    }
}

/// `topic-3` taken apart.
fn partition(name: &str) -> (Arc<str>, i32) {
    let (topic, partition) = name.rsplit_once('-').unwrap();
    (topic.into(), partition.parse().unwrap())
}

fn partitions(names: &[&str], topic_id: Uuid) -> Vec<TopicPartitions> {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for name in names {
        let (topic, partition) = partition(name);
        match topics.iter_mut().find(|known| known.topic == topic) {
            Some(known) => known.partitions.push(partition),
            None => topics.push(TopicPartitions {
                topic,
                topic_id,
                partitions: vec![partition],
            }),
        }
    }
    topics
}

impl Script {
    pub(crate) fn new() -> Script {
        let mut runner = Runner::new(GroupConfig::default(), GroupLimits::default());
        runner.watch();
        Script {
            runner,
            aliases: BTreeMap::new(),
            made: BTreeMap::new(),
            requests: 0,
            topics: Topics::default(),
        }
    }

    /// What groups went through.
    pub(crate) fn transitions(self) -> BTreeSet<Transition> {
        self.runner.watch.unwrap_or_default().seen
    }

    /// Carries out one command and returns the lines that come of it.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let words = Words::of(command);
        match words.at(0) {
            "set" => self.set(&words),
            "set-times" => self.runner.set_times(
                words.group(),
                ConsumerTimes {
                    session_timeout_ms: words.at(2).parse().unwrap(),
                    heartbeat_interval_ms: words.at(3).parse().unwrap(),
                },
            ),
            "topics" => self.set_topics(&words),
            "fail-append" => {
                self.runner.append_fails = true;
                self.runner.append_takes = words.at(1).parse().unwrap_or(0);
            }
            "restart" => {
                let became = |id: &str| id.parse().ok().map(|id| Uuid([id; 16]));
                let topics = words.named.iter();
                let topics = topics.map(|&(topic, id)| (topic.to_owned(), became(id)));
                self.runner.topics = topics.collect();
                let step = self.runner.restart();
                return self.render(&step, "");
            }
            "advance" => return self.advance(words.at(1).parse().unwrap()),
            "set-clock" => self.runner.set_clock(words.at(1).parse().unwrap()),
            _ => {
                self.requests += 1;
                let request = self.request(&words);
                return self.send(request);
            }
        }
        String::new()
    }

    fn send(&mut self, request: GroupRequest) -> String {
        let (token, step) = self.runner.send(request);
        let mut lines = self.render(&step, "");
        if self.runner.parked.contains_key(&token) {
            writeln!(lines, "{}: parked", token.0).unwrap();
        }
        lines
    }

    fn advance(&mut self, by_ms: i64) -> String {
        let (from_ms, mut lines) = (self.runner.now_ms, String::new());
        while let Some(step) = self.runner.next_tick(from_ms + by_ms) {
            let at = format!("+{} ", self.runner.now_ms - from_ms);
            lines.push_str(&self.render(&step, &at));
        }
        lines
    }

    fn set(&mut self, words: &Words) {
        let (config, limits) = (&mut self.runner.config, &mut self.runner.limits);
        for &(name, value) in &words.named {
            let value: usize = value.parse().unwrap();
            match name {
                "initial-delay" => {
                    config.initial_rebalance_delay_ms = i64::try_from(value).unwrap()
                }
                "retention" => config.offsets_retention_ms = i64::try_from(value).unwrap(),
                "max-size" => config.max_size = value,
                "consumer-max-size" => config.consumer_max_size = value,
                "upgrade" => config.consumer_upgrade = value > 0,
                "downgrade" => config.consumer_downgrade = value > 0,
                "groups" => limits.groups = value,
                "pending" => limits.pending_members = value,
                "member-bytes" => limits.member_bytes = value,
                "record-bytes" => limits.group_record_bytes = value,
                "offsets" => limits.offsets_per_group = value,
                "group-bytes" => limits.group_bytes = value,
                "membership-bytes" => limits.membership_bytes = value,
                "state-bytes" => {
                    (limits.state_bytes, limits.member_state_bytes) = (value, value);
                }
                "step" => limits.retention_step = value,
                other => panic!("what is {other}?"),
            }
        }
        self.runner.restart();
    }

    fn request(&mut self, words: &Words) -> GroupRequest {
        let (group_id, topics) = (words.group(), words.plain.get(2..).unwrap_or_default());
        match words.at(0) {
            "join" => GroupRequest::Join(self.join(words)),
            "sync" => GroupRequest::Sync(self.sync(words)),
            "heartbeat" => GroupRequest::Heartbeat(HeartbeatRequest {
                group_id,
                member_id: self.full(words.at(2)),
                instance_id: words.text("instance"),
                generation: words.at(3).parse().unwrap(),
            }),
            "leave" => GroupRequest::Leave(self.leave(words)),
            "consume" => GroupRequest::ConsumerHeartbeat(self.consumer_heartbeat(words)),
            "describe-consumer" => {
                GroupRequest::DescribeConsumerGroup(DescribeRequest { group_id })
            }
            "commit" => GroupRequest::CommitOffsets(self.commit(words)),
            "fetch" => GroupRequest::FetchOffsets(FetchOffsetsRequest {
                group_id,
                member: words.get("as").map(|asking| {
                    let (member, epoch) = asking.split_once(':').unwrap();
                    (self.full(member), epoch.parse().unwrap())
                }),
                topics: (!topics.is_empty()).then(|| partitions(topics, words.topic_id())),
                require_stable: true,
            }),
            "describe" => GroupRequest::Describe(DescribeRequest { group_id }),
            "list" => {
                let filter = |name| words.get(name).map_or(Vec::new(), split_commas);
                let (states, types) = (filter("states"), filter("types"));
                GroupRequest::List(ListRequest { states, types })
            }
            "delete" => GroupRequest::DeleteGroup(DeleteGroupRequest { group_id }),
            "delete-offsets" => GroupRequest::DeleteOffsets(DeleteOffsetsRequest {
                group_id,
                topics: partitions(topics, Uuid::ZERO)
                    .into_iter()
                    .map(|named| (named.topic, named.partitions.into_iter().collect()))
                    .collect(),
            }),
            "topics-deleted" => GroupRequest::TopicsDeleted(TopicsDeletedRequest {
                topics: words
                    .plain
                    .iter()
                    .skip(1)
                    .map(|&topic| (topic.into(), words.topic_id()))
                    .collect(),
            }),
            other => panic!("what is {other}?"),
        }
    }

    fn join(&mut self, words: &Words) -> JoinRequest {
        let (client, instance) = (words.at(2), words.text("instance"));
        let request = JoinRequest {
            group_id: words.group(),
            member_id: self.full(words.get("member").unwrap_or_default()),
            instance_id: instance.clone(),
            client_id: client.into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: words.number("session").unwrap_or(10_000),
            rebalance_timeout_ms: words.number("rebalance").unwrap_or(60_000),
            protocol_type: words.text("type").unwrap_or_else(|| "consumer".into()),
            protocols: protocols(words.get("protocols").unwrap_or("range:@t")),
            member_id_required: !words.has("v3"),
            supports_skip_assignment: words.has("v9"),
            new_member_uuid: self.requests,
        };
        if request.member_id.is_empty() {
            let name = instance.as_deref().unwrap_or(client).to_owned();
            let full = format!("{name}-00000000-0000-0000-0000-{:012x}", self.requests);
            let made = self.made.entry(name.clone()).or_default();
            *made += 1;
            self.aliases.insert(format!("{name}.{made}"), full);
        }
        request
    }

    fn sync(&mut self, words: &Words) -> SyncRequest {
        let options = ["instance", "type", "protocol"];
        let assignments = words
            .named
            .iter()
            .filter(|(name, _)| !options.contains(name));
        let assignments = assignments.map(|(member, assignment)| MemberAssignment {
            member_id: self.full(member),
            assignment: assignment_bytes(assignment),
        });
        SyncRequest {
            group_id: words.group(),
            member_id: self.full(words.at(2)),
            instance_id: words.text("instance"),
            generation: words.at(3).parse().unwrap(),
            protocol_type: words.text("type"),
            protocol_name: words.text("protocol"),
            assignments: assignments.collect(),
        }
    }

    fn leave(&mut self, words: &Words) -> LeaveRequest {
        let leaving = |name: &&str| {
            let (member, instance) = name
                .split_once('@')
                .map_or((*name, None), |(m, i)| (m, Some(i)));
            LeavingMember {
                member_id: self.full(member),
                instance_id: instance.map(Arc::from),
            }
        };
        LeaveRequest {
            group_id: words.group(),
            members: words.plain.iter().skip(2).map(leaving).collect(),
        }
    }

    fn commit(&mut self, words: &Words) -> CommitOffsetsRequest {
        let options = ["member", "generation", "instance", "retention", "at", "id"];
        let offsets = words
            .named
            .iter()
            .filter(|(name, _)| !options.contains(name));
        let topics = offsets.map(|(name, value)| {
            let (topic, partition) = partition(name);
            let (offset, note) = value
                .split_once('/')
                .map_or((*value, None), |(o, n)| (o, Some(n)));
            let partitions = vec![CommitPartition {
                partition,
                offset: offset.parse().unwrap(),
                leader_epoch: None,
                metadata: note.map(|note| match note.strip_prefix("repeat*") {
                    Some(times) => "ü".repeat(times.parse().unwrap()).into(),
                    None => note.into(),
                }),
                commit_timestamp_ms: words.number("at"),
            }];
            CommitTopic {
                topic,
                topic_id: words.topic_id(),
                partitions,
            }
        });
        CommitOffsetsRequest {
            group_id: words.group(),
            member_id: self.full(words.get("member").unwrap_or_default()),
            instance_id: words.text("instance"),
            generation: words.number("generation").unwrap_or(-1),
            reports_unknown_group: words.has("v9"),
            retention_ms: words.number("retention"),
            topics: topics.collect(),
        }
    }

    /// The member id behind a short name; others stand for themselves.
    fn full(&self, name: &str) -> Arc<str> {
        let full = self.aliases.get(name).map_or(name, String::as_str);
        full.into()
    }

    fn short<'a>(&'a self, member_id: &'a str) -> &'a str {
        let mut aliases = self.aliases.iter();
        let alias = aliases.find(|(_, full)| *full == member_id);
        alias.map_or(member_id, |(alias, _)| alias)
    }

    fn render(&self, step: &Step, at: &str) -> String {
        let mut lines = String::new();
        if step.refused_records > 0 {
            writeln!(lines, "{at}log refuses {} records", step.refused_records).unwrap();
        }
        for record in &step.records {
            writeln!(lines, "{at}log: {}", self.record(record)).unwrap();
        }
        for (token, reply) in &step.replies {
            writeln!(lines, "{at}{}: {}", token.0, self.reply(reply)).unwrap();
        }
        lines
    }
}

/// What a cooperative consumer says that still has partitions.
fn cooperative(topics: &str, owned: &str) -> Bytes {
    let assignment = assignment_bytes(&format!("@{owned}"));
    let owned = ConsumerProtocolAssignment::decode(assignment).unwrap();
    let wanted = ConsumerProtocolSubscription {
        topics: topics.split(',').map(Into::into).collect(),
        owned_partitions: owned.assigned_partitions,
        ..ConsumerProtocolSubscription::default()
    };
    wanted.encode(1)
}

/// `@t-0,t-1` as consumers write it; other texts as they are.
fn assignment_bytes(text: &str) -> Bytes {
    let Some(names) = text.strip_prefix('@') else {
        return Bytes::copy_from_slice(text.as_bytes());
    };
    let named = names.split(',').map(|name| {
        let (topic, partition) = partition(name);
        TopicPartition {
            topic: (&*topic).into(),
            partitions: vec![partition],
        }
    });
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: named.collect(),
        user_data: None,
    };
    assignment.encode(0)
}

fn split_commas(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn protocols(text: &str) -> Vec<JoinProtocol> {
    let protocol = |text: &str| {
        let (name, metadata) = text.split_once(':').unwrap_or((text, ""));
        let metadata = match metadata.strip_prefix('@') {
            Some(topics) => match topics.split_once('/') {
                Some((topics, owned)) => cooperative(topics, owned),
                None => subscription(&topics.split(',').collect::<Vec<_>>()).into(),
            },
            None => Bytes::copy_from_slice(metadata.as_bytes()),
        };
        JoinProtocol {
            name: name.into(),
            metadata,
        }
    };
    text.split('+')
        .filter(|text| !text.is_empty())
        .map(protocol)
        .collect()
}
