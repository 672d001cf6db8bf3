//! What clients do: mostly what the protocol asks for, at times anything.

use std::sync::Arc;

use bytes::Bytes;
use tidewheel_consumer_groups::GroupRequest;
use tidewheel_consumer_groups::request::*;

use super::{Asked, GROUPS, History, Key, REBALANCE_MS};
use crate::support::subscription;

const TOPICS: [&str; 2] = ["t", "u"];

impl History {
    /// Some client does what comes next for it.
    pub(super) fn follow_protocol(&mut self) {
        let index = self.below(self.clients.len());
        let client = self.clients[index].clone();
        if client.waits_for.is_some() && self.below(10) > 0 {
            return;
        }
        if client.member_id.is_empty() || client.generation < 0 {
            return self.join(index);
        }
        match self.below(8) {
            0 => self.join(index),
            1..=3 => self.sync(index),
            4 => self.heartbeat(index),
            5 | 6 => self.commit(index),
            _ if self.below(4) == 0 => self.leave(index),
            _ => self.join(index),
        }
    }

    /// Something that may make sense or not.
    pub(super) fn ask_anything(&mut self) {
        let index = self.below(self.clients.len());
        match self.below(24) {
            0 => self.clients[index].generation += 1,
            1 => self.clients[index].member_id = "".into(),
            2 => self.clients[index].waits_for = None,
            3 => {
                let other = self.below(self.clients.len());
                self.clients[index].member_id = Arc::clone(&self.clients[other].member_id);
            }
            4..=6 => self.join(index),
            7..=9 => self.sync(index),
            10..=13 => self.heartbeat(index),
            14..=16 => self.commit(index),
            17 => self.leave(index),
            18 | 19 => self.commit_alone(),
            20 => self.delete_offsets(),
            21 => {
                let group_id = GROUPS[self.below(3)].into();
                self.delete_group(group_id);
            }
            22 => {
                let topic: Arc<str> = TOPICS[self.below(2)].into();
                let topics = [(Arc::clone(&topic), self.topic_id(&topic))].into();
                self.make_topic_again(&topic);
                let request = TopicsDeletedRequest { topics };
                self.send(GroupRequest::TopicsDeleted(request), Asked::Other);
            }
            _ => drop(self.send(GroupRequest::List(ListRequest::default()), Asked::Other)),
        }
    }

    fn join(&mut self, index: usize) {
        let protocols = match self.below(5) {
            0 => vec!["rr"],
            1 => vec!["range"],
            2 => vec!["rr", "range"],
            _ => vec!["range", "rr"],
        };
        let metadata: Bytes = subscription(&[TOPICS[self.below(5) / 4]]).into();
        let protocols = protocols.into_iter().map(|name| JoinProtocol {
            name: name.into(),
            metadata: metadata.clone(),
        });
        let protocols = protocols.collect();
        let (low, high) = (self.below(1 << 30), self.below(1 << 30));
        let client = &self.clients[index];
        let request = JoinRequest {
            group_id: Arc::clone(&client.group_id),
            member_id: Arc::clone(&client.member_id),
            instance_id: client.instance_id.clone(),
            client_id: format!("c{index}").into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: [6_000, 10_000][index % 2],
            rebalance_timeout_ms: REBALANCE_MS - i32::try_from(index).unwrap() * 500,
            protocol_type: "consumer".into(),
            protocols,
            member_id_required: !index.is_multiple_of(4),
            supports_skip_assignment: index.is_multiple_of(2),
            new_member_uuid: (low as u128) << 64 | high as u128,
        };
        let token = self.send(GroupRequest::Join(request), Asked::Join(index));
        if self.runner.parked.contains_key(&token) {
            self.clients[index].waits_for = Some(token);
        }
    }

    fn sync(&mut self, index: usize) {
        let mut assignments: Vec<(Arc<str>, String)> = Vec::new();
        for member_id in self.clients[index].members.clone() {
            assignments.push((member_id, String::new()));
        }
        if !assignments.is_empty() {
            for partition in 0..6 {
                let to = self.below(assignments.len());
                assignments[to].1.push_str(&format!("{partition},"));
            }
        }
        let assignments = assignments
            .into_iter()
            .map(|(member_id, partitions)| MemberAssignment {
                member_id,
                assignment: partitions.into(),
            });
        let client = &self.clients[index];
        let request = SyncRequest {
            group_id: Arc::clone(&client.group_id),
            member_id: Arc::clone(&client.member_id),
            instance_id: client.instance_id.clone(),
            generation: client.generation,
            protocol_type: Some("consumer".into()),
            protocol_name: None,
            assignments: assignments.collect(),
        };
        let token = self.send(GroupRequest::Sync(request), Asked::Sync(index));
        if self.runner.parked.contains_key(&token) {
            self.clients[index].waits_for = Some(token);
        }
    }

    fn heartbeat(&mut self, index: usize) {
        let client = &self.clients[index];
        let request = HeartbeatRequest {
            group_id: Arc::clone(&client.group_id),
            member_id: Arc::clone(&client.member_id),
            instance_id: client.instance_id.clone(),
            generation: client.generation,
        };
        self.send(GroupRequest::Heartbeat(request), Asked::Other);
    }

    fn leave(&mut self, index: usize) {
        let client = &self.clients[index];
        let by_instance = client.instance_id.is_some() && index.is_multiple_of(2);
        let leaving = LeavingMember {
            member_id: if by_instance {
                "".into()
            } else {
                Arc::clone(&client.member_id)
            },
            instance_id: client.instance_id.clone(),
        };
        let request = LeaveRequest {
            group_id: Arc::clone(&client.group_id),
            members: vec![leaving],
        };
        self.send(GroupRequest::Leave(request), Asked::Other);
    }

    fn commit(&mut self, index: usize) {
        let client = self.clients[index].clone();
        self.commit_as(
            client.group_id,
            client.member_id,
            client.generation,
            client.instance_id,
        );
    }

    fn commit_alone(&mut self) {
        let group_id = GROUPS[self.below(3)].into();
        self.commit_as(group_id, "".into(), -1, None);
    }

    fn commit_as(
        &mut self,
        group_id: Arc<str>,
        member_id: Arc<str>,
        generation: i32,
        instance_id: Option<Arc<str>>,
    ) {
        let mut topics = Vec::new();
        let mut offsets: Vec<(Key, i64)> = Vec::new();
        for topic in TOPICS {
            let topic: Arc<str> = topic.into();
            let partition = i32::try_from(self.below(3)).unwrap();
            let offset = i64::try_from(self.below(1_000_000)).unwrap();
            offsets.push((
                (Arc::clone(&group_id), Arc::clone(&topic), partition),
                offset,
            ));
            let metadata = (offset % 7 == 0).then(|| "x".repeat(5_000).into());
            let partitions = vec![CommitPartition {
                partition,
                offset,
                leader_epoch: Some(3),
                metadata,
                commit_timestamp_ms: None,
            }];
            topics.push(CommitTopic {
                topic_id: self.topic_id(&topic),
                topic,
                partitions,
            });
        }
        let request = CommitOffsetsRequest {
            group_id,
            member_id,
            instance_id,
            generation,
            reports_unknown_group: true,
            retention_ms: None,
            topics,
        };
        self.send(GroupRequest::CommitOffsets(request), Asked::Commit(offsets));
    }

    fn delete_offsets(&mut self) {
        let group_id: Arc<str> = GROUPS[self.below(3)].into();
        let topic: Arc<str> = TOPICS[self.below(2)].into();
        let partition = i32::try_from(self.below(3)).unwrap();
        let keys = vec![(Arc::clone(&group_id), Arc::clone(&topic), partition)];
        let topics = [(topic, [partition].into())].into();
        let request = DeleteOffsetsRequest { group_id, topics };
        self.send(
            GroupRequest::DeleteOffsets(request),
            Asked::DeleteOffsets(keys),
        );
    }

    pub(super) fn delete_group(&mut self, group_id: Arc<str>) {
        let asked = Asked::DeleteGroup(Arc::clone(&group_id));
        self.send(
            GroupRequest::DeleteGroup(DeleteGroupRequest { group_id }),
            asked,
        );
    }
}
