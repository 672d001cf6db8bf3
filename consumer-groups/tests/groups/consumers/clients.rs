//! What clients of both protocols do and learn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_consumer_groups::records::consumer::TopicIdPartition;
use tidewheel_consumer_groups::reply::*;
use tidewheel_consumer_groups::request::*;
use tidewheel_consumer_groups::{GroupError, GroupRequest, TopicInfo};
use tidewheel_protocol::consumer_protocol::{ConsumerProtocolAssignment, TopicPartition};

use super::{Client, History, Protocol, TOPICS};
use crate::support::subscription;

impl Client {
    /// The client gives everything up and joins as a new member.
    pub(super) fn start_anew(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.member_id = "".into();
        self.give_up();
    }

    /// The client gives everything up and joins again.
    fn give_up(&mut self) {
        self.reads.clear();
        self.told.clear();
        self.members.clear();
        (self.epoch, self.is_unsure, self.syncs, self.waits_for) = (0, false, false, None);
    }

    pub(super) fn learn_heartbeat(&mut self, result: &Result<ConsumerHeartbeatReply, GroupError>) {
        if self.protocol != Protocol::Consumer {
            return;
        }
        match result {
            // It has left, or another process uses the member's name now.
            Ok(reply) if reply.epoch < 0 || reply.member_id != self.member_id => {}
            Ok(reply) => {
                self.epoch = reply.epoch;
                self.is_unsure = false;
                if let Some(topics) = &reply.assignment {
                    self.told = partitions(topics);
                }
                // What is to be given up is given up later: see `act`.
            }
            Err(GroupError::FencedMemberEpoch) => self.give_up(),
            Err(GroupError::NotCoordinator | GroupError::CoordinatorNotAvailable) => {
                self.is_unsure = true;
            }
            Err(_) => self.start_anew(Protocol::Consumer),
        }
    }

    pub(super) fn learn_join(&mut self, reply: &JoinReply) {
        if self.protocol != Protocol::Classic {
            return;
        }
        match &reply.result {
            Ok(joined) => {
                self.member_id = Arc::clone(&reply.member_id);
                self.epoch = joined.generation;
                self.syncs = true;
                let members = joined.members.iter();
                self.members = members.map(|m| Arc::clone(&m.member_id)).collect();
            }
            Err(GroupError::MemberIdRequired) => self.member_id = Arc::clone(&reply.member_id),
            Err(GroupError::RebalanceInProgress) => {}
            Err(_) => self.start_anew(Protocol::Classic),
        }
    }

    pub(super) fn learn_sync(
        &mut self,
        result: &Result<Synced, GroupError>,
        topics: &BTreeMap<Arc<str>, TopicInfo>,
    ) {
        if self.protocol != Protocol::Classic {
            return;
        }
        self.syncs = false;
        match result {
            Ok(synced) => {
                let assigned = match synced.assignment.is_empty() {
                    true => Vec::new(),
                    false => {
                        let decoded = ConsumerProtocolAssignment::decode(synced.assignment.clone());
                        decoded.unwrap().assigned_partitions
                    }
                };
                self.reads = with_ids(&assigned, topics);
            }
            Err(error) => self.learn_classic_heartbeat(Err(*error)),
        }
    }

    pub(super) fn learn_classic_heartbeat(&mut self, result: Result<(), GroupError>) {
        if self.protocol != Protocol::Classic {
            return;
        }
        match result {
            Ok(()) => {}
            // Everything is given up before joining again.
            Err(GroupError::RebalanceInProgress) => self.give_up(),
            Err(GroupError::NotCoordinator | GroupError::CoordinatorNotAvailable) => {}
            Err(_) => self.start_anew(Protocol::Classic),
        }
    }
}

fn partitions(topics: &[AssignedTopic]) -> BTreeSet<TopicIdPartition> {
    let of_topic = |topic: &AssignedTopic| {
        let topic_id = topic.topic_id;
        let named = topic.partitions.iter();
        named
            .map(move |&partition| TopicIdPartition {
                topic_id,
                partition,
            })
            .collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

fn with_ids(
    named: &[TopicPartition],
    topics: &BTreeMap<Arc<str>, TopicInfo>,
) -> BTreeSet<TopicIdPartition> {
    let mut found = BTreeSet::new();
    for topic in named {
        if let Some(info) = topics.get(topic.topic.as_str()) {
            found.extend(topic.partitions.iter().map(|&partition| TopicIdPartition {
                topic_id: info.id,
                partition,
            }));
        }
    }
    found
}

impl History {
    /// A client does what comes next for it.
    pub(super) fn act(&mut self, index: usize) {
        let client = self.clients[index].clone();
        if client.waits_for.is_some() && self.below(10) > 0 {
            return;
        }
        if client.member_id.is_empty() {
            let protocol = match self.below(3) {
                0 => Protocol::Classic,
                _ => Protocol::Consumer,
            };
            self.clients[index].start_anew(protocol);
            self.choose_topics(index);
        }
        let is_settled = client.reads == client.told;
        match (self.clients[index].protocol, self.below(12)) {
            (Protocol::Consumer, 0) => self.choose_topics(index),
            (Protocol::Consumer, 1) => self.leave_consumer(index),
            (Protocol::Consumer, 2..=4) if !is_settled => self.move_on(index),
            (Protocol::Consumer, _) => self.consumer_heartbeat(index),
            (Protocol::Classic, 0) => self.leave_classic(index),
            (Protocol::Classic, _) if client.epoch == 0 => self.join(index),
            (Protocol::Classic, _) if client.syncs => self.sync(index),
            (Protocol::Classic, 1) => {
                self.clients[index].give_up();
                self.join(index);
            }
            (Protocol::Classic, _) => self.classic_heartbeat(index),
        }
    }

    /// What a client does that means well.
    pub(super) fn beat(&mut self, index: usize) {
        let client = &self.clients[index];
        match client.protocol {
            Protocol::Consumer => self.consumer_heartbeat(index),
            Protocol::Classic if client.waits_for.is_some() => {}
            Protocol::Classic if client.epoch == 0 => self.join(index),
            Protocol::Classic if client.syncs => self.sync(index),
            Protocol::Classic => self.classic_heartbeat(index),
        }
    }

    /// A client stops reading what it is to give up, or begins to read what it was given: it does the first
    /// before the second, and each when it gets to it.
    fn move_on(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let kept: BTreeSet<_> = client.reads.intersection(&client.told).copied().collect();
        client.reads = match kept == client.reads {
            true => client.told.clone(),
            false => kept,
        };
    }

    /// A client that is not what it seems.
    pub(super) fn confuse(&mut self) {
        let index = self.below(self.clients.len());
        let client = &mut self.clients[index];
        match client.epoch % 4 {
            _ if client.protocol == Protocol::Classic && client.epoch > 0 => client.epoch += 1,
            // It stops without a word.
            0 | 1 => client.start_anew(Protocol::Consumer),
            // It names another epoch.
            2 if client.protocol == Protocol::Consumer && client.reads.is_empty() => {
                client.epoch += 1;
            }
            _ => client.waits_for = None,
        }
    }

    fn choose_topics(&mut self, index: usize) {
        let (first, count) = (self.below(3), self.below(3));
        let regex = ["", "[tu]", ".*", "v|t"][self.below(4)];
        let client = &mut self.clients[index];
        let topics = (first..first + count + 1).map(|topic| TOPICS[topic % 3].into());
        client.topics = topics.collect();
        client.regex = Some(regex.into());
        // The next request says so.
        client.is_unsure = true;
    }

    pub(super) fn consumer_heartbeat(&mut self, index: usize) {
        if self.clients[index].member_id.is_empty() {
            let number = self.trace.len();
            let client = &mut self.clients[index];
            client.member_id = format!("c{index}-{number}").into();
        }
        let says_all = {
            let client = &self.clients[index];
            let is_settled = client.reads == client.told;
            client.epoch == 0 || client.is_unsure || !is_settled
        };
        let client = &mut self.clients[index];
        let says_owned = says_all || client.said.as_ref() != Some(&client.reads);
        client.said = Some(client.reads.clone());
        let client = &self.clients[index];
        let request = ConsumerHeartbeatRequest {
            group_id: Arc::clone(&client.group_id),
            member_id: Arc::clone(&client.member_id),
            chooses_member_id: true,
            epoch: client.epoch,
            instance_id: client.instance_id.clone(),
            rack_id: None,
            client_id: format!("c{index}").into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: if says_all { 30_000 } else { -1 },
            topics: says_all.then(|| client.topics.clone()),
            regex: client.regex.clone().filter(|_| says_all),
            assignor: (says_all && index == 0).then(|| "range".into()),
            owned: says_owned.then(|| client.reads.clone()),
            new_member_uuid: 0,
        };
        self.send(index, GroupRequest::ConsumerHeartbeat(request));
        self.move_on(index);
    }

    fn leave_consumer(&mut self, index: usize) {
        let client = &mut self.clients[index];
        // Nothing is read any more when a member says that it leaves.
        client.reads.clear();
        let is_static = client.instance_id.is_some();
        let request = ConsumerHeartbeatRequest {
            group_id: Arc::clone(&client.group_id),
            member_id: Arc::clone(&client.member_id),
            chooses_member_id: true,
            epoch: if is_static && client.epoch % 2 == 0 {
                -2
            } else {
                -1
            },
            instance_id: client.instance_id.clone(),
            rack_id: None,
            client_id: "".into(),
            client_host: "".into(),
            rebalance_timeout_ms: -1,
            topics: None,
            regex: None,
            assignor: None,
            owned: None,
            new_member_uuid: 0,
        };
        client.start_anew(Protocol::Consumer);
        if !request.member_id.is_empty() {
            self.send(index, GroupRequest::ConsumerHeartbeat(request));
        }
    }

    fn join(&mut self, index: usize) {
        let uuid = u128::try_from(self.trace.len()).unwrap();
        let client = &mut self.clients[index];
        client.give_up();
        let topics: Vec<&str> = client.topics.iter().map(|topic| &**topic).collect();
        let request = JoinRequest {
            group_id: Arc::clone(&client.group_id),
            member_id: Arc::clone(&client.member_id),
            instance_id: client.instance_id.clone(),
            client_id: format!("c{index}").into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 6_000,
            protocol_type: "consumer".into(),
            protocols: vec![JoinProtocol {
                name: "range".into(),
                metadata: subscription(&topics).into(),
            }],
            member_id_required: index.is_multiple_of(2),
            supports_skip_assignment: false,
            new_member_uuid: uuid,
        };
        self.send(index, GroupRequest::Join(request));
    }

    /// The leader gives everything to everybody in turn.
    fn sync(&mut self, index: usize) {
        let client = &self.clients[index];
        let mut parts: Vec<Vec<TopicPartition>> = vec![Vec::new(); client.members.len()];
        let mut next = 0;
        for (name, topic) in &self.topics {
            for partition in 0..topic.partitions {
                if !parts.is_empty() {
                    let to = next % parts.len();
                    parts[to].push(TopicPartition {
                        topic: (&**name).into(),
                        partitions: vec![partition],
                    });
                    next += 1;
                }
            }
        }
        let assignments = client
            .members
            .iter()
            .zip(parts)
            .map(|(member_id, partitions)| {
                let assignment = ConsumerProtocolAssignment {
                    assigned_partitions: partitions,
                    user_data: None,
                };
                MemberAssignment {
                    member_id: Arc::clone(member_id),
                    assignment: assignment.encode(0),
                }
            });
        let request = SyncRequest {
            group_id: Arc::clone(&client.group_id),
            member_id: Arc::clone(&client.member_id),
            instance_id: client.instance_id.clone(),
            generation: client.epoch,
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.collect(),
        };
        self.send(index, GroupRequest::Sync(request));
    }

    fn classic_heartbeat(&mut self, index: usize) {
        let client = &self.clients[index];
        let request = HeartbeatRequest {
            group_id: Arc::clone(&client.group_id),
            member_id: Arc::clone(&client.member_id),
            instance_id: client.instance_id.clone(),
            generation: client.epoch,
        };
        self.send(index, GroupRequest::Heartbeat(request));
    }

    fn leave_classic(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let leaving = LeavingMember {
            member_id: Arc::clone(&client.member_id),
            instance_id: client.instance_id.clone(),
        };
        let group_id = Arc::clone(&client.group_id);
        client.start_anew(Protocol::Consumer);
        let members = vec![leaving];
        self.send(
            index,
            GroupRequest::Leave(LeaveRequest { group_id, members }),
        );
    }
}
