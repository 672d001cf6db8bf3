//! How many heartbeats a large group of the newer protocol (KIP-848) takes to settle, and what they cost.
//!
//! `cargo bench -p tidewheel-broker --bench groups_consumer`. As clients do, a member sends one heartbeat in each
//! interval, and one more at once when it has taken or given up what it was told to. Intervals are counted and
//! not waited for: a member that has settled after two of them has settled after two heartbeats.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the measurement"
)]
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and starts threads"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use support::consumers::{alive, join, joining, owning};
use support::groups::find;
use support::{Broker, Client};
use tidewheel_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

const GROUP: &str = "large";
const TOPIC: &str = "topic";
const MEMBERS: usize = 500;
const PARTITIONS: i32 = 1_000;
/// Heartbeats under way.
const WINDOW: usize = 64;
/// After so many intervals it will not settle any more.
const INTERVALS_MAX: usize = 20;
const VERSION: i16 = 1;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic(TOPIC, PARTITIONS, &[]);
    find(&mut client, &[GROUP]);
    join(&mut client, GROUP, &id(0), &[TOPIC]);
    let mut group = Group {
        members: Vec::new(),
        client,
    };
    group.grow(MEMBERS - 1);
    settle(&broker, &mut group, "499 members that join at once");
    group.grow(MEMBERS);
    settle(&broker, &mut group, "one more");
    group.members.truncate(MEMBERS - 100);
    let gone = (MEMBERS - 100)..MEMBERS;
    let leave = gone.map(|number| alive(GROUP, &id(number), -1));
    group.heartbeats(leave.collect());
    settle(&broker, &mut group, "a hundred less");
}

/// Prints what it takes until everybody has its share.
fn settle(broker: &Broker, group: &mut Group, what: &str) {
    let (begun, cpu) = (Instant::now(), broker.cpu_ticks());
    let mut intervals = 0;
    while !group.is_settled() {
        assert!(intervals < INTERVALS_MAX, "{what}: it does not settle");
        group.interval();
        intervals += 1;
    }
    // Linux shows it in hundredths of a second.
    let cpu_ms = (broker.cpu_ticks() - cpu) * 10;
    println!(
        "{what}: {} members on {PARTITIONS} partitions settle in {intervals} heartbeats each, without pauses {} ms; \
         CPU time of the broker {cpu_ms} ms",
        group.members.len(),
        begun.elapsed().as_millis(),
    );
}

fn id(number: usize) -> String {
    format!("member-{number}")
}

#[derive(Default)]
struct Member {
    told: ConsumerGroupHeartbeatResponse,
    owned: Vec<TopicPartitions>,
    /// It has something to say without being asked.
    changed: bool,
}

impl Member {
    fn owned_count(&self) -> usize {
        self.owned.iter().map(|topic| topic.partitions.len()).sum()
    }

    fn hear(&mut self, told: ConsumerGroupHeartbeatResponse) {
        assert_eq!(told.error_code, 0, "{:?}", told.error_message);
        if let Some(assignment) = &told.assignment {
            self.owned.clone_from(&assignment.topic_partitions);
            self.changed = true;
        }
        self.told = told;
    }
}

/// All members, on one connection.
struct Group {
    members: Vec<Member>,
    client: Client,
}

impl Group {
    /// Has members join until there are so many.
    fn grow(&mut self, count: usize) {
        let new = self.members.len()..count;
        let requests = new.map(|number| joining(GROUP, &id(number), &[TOPIC]));
        for told in self.heartbeats(requests.collect()) {
            let mut member = Member::default();
            member.hear(told);
            self.members.push(member);
        }
    }

    /// One epoch, and everything is read by somebody, nobody having more than one more than others.
    fn is_settled(&self) -> bool {
        let counts = || self.members.iter().map(Member::owned_count);
        let epochs = || self.members.iter().map(|member| member.told.member_epoch);
        let all = usize::try_from(PARTITIONS).unwrap();
        counts().sum::<usize>() == all
            && counts().max().unwrap() - counts().min().unwrap() <= 1
            && epochs().max() == epochs().min()
    }

    /// One heartbeat of everybody, and what follows from it at once.
    fn interval(&mut self) {
        self.speak(|_| true);
        while self.members.iter().any(|member| member.changed) {
            self.speak(|member| member.changed);
        }
    }

    fn speak(&mut self, who: impl Fn(&Member) -> bool) {
        let speakers: Vec<usize> = (0..self.members.len())
            .filter(|number| who(&self.members[*number]))
            .collect();
        let requests = speakers.iter().map(|number| {
            let member = &mut self.members[*number];
            if std::mem::take(&mut member.changed) {
                owning(GROUP, &member.told, member.owned.clone())
            } else {
                alive(GROUP, &id(*number), member.told.member_epoch)
            }
        });
        let requests = requests.collect();
        let told = self.heartbeats(requests);
        for (number, told) in speakers.into_iter().zip(told) {
            self.members[number].hear(told);
        }
    }

    fn heartbeats(
        &mut self,
        requests: Vec<ConsumerGroupHeartbeatRequest>,
    ) -> Vec<ConsumerGroupHeartbeatResponse> {
        let mut told = Vec::new();
        for window in requests.chunks(WINDOW) {
            let client = &mut self.client;
            let sent: Vec<i32> = window.iter().map(|one| client.send(VERSION, one)).collect();
            told.extend(sent.into_iter().map(|id| client.receive(VERSION, id)));
        }
        told
    }
}
