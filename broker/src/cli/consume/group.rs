//! A member of a consumer group, by the classic protocol: it reads what the group gives it, goes on where the group has
//! committed, and commits what it has printed. What is not committed when it ends suddenly comes again.

use std::collections::BTreeMap;
use std::io::StdoutLock;
use std::time::Duration;

use tidewheel_protocol::consumer_protocol::{ConsumerProtocolSubscription, PROTOCOL_TYPE};
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidewheel_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use tidewheel_protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity,
};
use tidewheel_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use tidewheel_protocol::{ErrorCode, StrBytes, TopicPartition};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep_until;

use super::ConsumeArguments;
use super::follow::Consumer;
use super::output::Printer;
use super::position::{Position, positions};
use super::range::{self, RANGE};
use crate::cli::EXIT_ENVIRONMENT;
use crate::cli::group::{commit, look};
use crate::cli::kafka::client::{Client, ClientError, Patience, To, may_be_repeated, will_pass};
use crate::cli::kafka::offsets::{leaders, topics};
use crate::cli::kafka::{Tried, refused};
use crate::cli::outcome::{Failure, failed, usage};
use crate::clock;

/// After so much silence the group goes on without it, as with Java's client.
const SESSION_MS: i32 = 45_000;
/// How long the group waits for its other members when one has come or gone, as with Java's client.
const REBALANCE: Duration = Duration::from_secs(300);
const REBALANCE_MS: i32 = 300_000;
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Between two commits.
const COMMIT: Duration = Duration::from_secs(5);
/// The version of what it says to the leader: every client reads it.
const SUBSCRIPTION_VERSION: i16 = 1;

/// What asks it to end.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let hear = |kind| {
            signal(kind)
                .map_err(|error| failed(&format!("cannot hear signals: {error}"), EXIT_ENVIRONMENT))
        };
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
        })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A member of a group.
struct Member<'a> {
    arguments: &'a ConsumeArguments,
    group: &'a str,
    /// Empty where the coordinator does not know it.
    member_id: StrBytes,
    generation: i32,
    /// What the group has committed, as far as it knows.
    committed: BTreeMap<TopicPartition, i64>,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// As it is.
    Stays,
    /// The group divides the partitions anew.
    Joins,
    /// It leaves.
    Ends,
}

/// Why it is not in the group.
enum Trouble {
    /// The coordinator says so.
    Code(i16),
    /// It cannot be asked.
    Client(ClientError),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Whether another attempt would end alike.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code, .. } => !ErrorCode::from_code(*code).is_some_and(will_pass),
        error => !may_be_repeated(error),
    }
}

/// Reads as a member of a group until everything that is wanted was printed, or somebody asks it to end.
pub(super) async fn consume(
    arguments: &ConsumeArguments,
    group: &str,
    printer: Printer<StdoutLock<'_>>,
) -> Result<(), Failure> {
    if arguments.offset.to.is_some() {
        return Err(usage("the partitions of a group have no end by offset"));
    }
    let mut stop = Stop::new()?;
    let mut client = arguments.cluster.connect().await?;
    // The group would wait for one that is not there, and say nothing.
    topics(&mut client, &arguments.topics, false, |_| false).await?;
    let mut consumer = Consumer::new(client, printer, arguments);
    let mut member = Member {
        arguments,
        group,
        member_id: StrBytes::default(),
        generation: -1,
        committed: BTreeMap::new(),
    };
    let ended = member.work(&mut consumer, &mut stop).await;
    member.leave(consumer.client()).await;
    ended
}

impl Member<'_> {
    async fn work(&mut self, consumer: &mut Consumer<'_>, stop: &mut Stop) -> Result<(), Failure> {
        loop {
            let positions = tokio::select! {
                positions = self.join(consumer.client()) => positions?,
                () = stop.heard() => {
                    // The answer to what was asked last would be taken for another one.
                    consumer.client().abandon();
                    return Ok(());
                }
            };
            consumer.assign(positions);
            if self.read(consumer, stop).await? == Next::Ends {
                return Ok(());
            }
        }
    }

    /// Reads what the group gives it, until that changes or all is done.
    async fn read(
        &mut self,
        consumer: &mut Consumer<'_>,
        stop: &mut Stop,
    ) -> Result<Next, Failure> {
        let mut commit_at = clock::deadline(COMMIT);
        loop {
            let mut is_stopped = false;
            let beat_at = clock::deadline(HEARTBEAT);
            let mut alarm = Box::pin(async {
                tokio::select! {
                    () = sleep_until(beat_at) => {}
                    () = stop.heard() => is_stopped = true,
                }
            });
            let is_done = match consumer.has_to_wait() {
                true => {
                    (&mut alarm).await;
                    false
                }
                false => consumer.run_until(&mut alarm).await?,
            };
            drop(alarm);
            if is_done || is_stopped {
                self.commit_all(consumer).await?;
                return Ok(Next::Ends);
            }
            if clock::has_come(commit_at) {
                commit_at = clock::deadline(COMMIT);
                if self.commit(consumer).await? == Next::Joins {
                    return Ok(Next::Joins);
                }
            }
            if self.beat(consumer.client()).await? == Next::Joins {
                // A member may commit while the others come. Who is none any more must not: another one may have read on.
                if !self.member_id.is_empty() {
                    self.commit(consumer).await?;
                }
                return Ok(Next::Joins);
            }
        }
    }

    /// Becomes a member, or one of the next generation; where to read on in the partitions that it is given.
    async fn join(&mut self, client: &mut Client) -> Result<Vec<Position>, Failure> {
        let mut patience = Patience::new(client.wait());
        // A group that does not come to rest takes as long as it waits for its members.
        let mut restless = Patience::new(client.wait() + REBALANCE);
        loop {
            let trouble = match self.enter(client).await {
                Ok(assigned) => return self.positions(client, &assigned).await,
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Client(error) => {
                    if is_final(&error) || !patience.pause().await {
                        return Err(error.into());
                    }
                    client.forget_coordinator(self.group);
                }
                Trouble::Code(code) => {
                    self.turned_away(client, code)?;
                    if !restless.pause().await {
                        return Err(refused(&look::of(self.group), code, None));
                    }
                }
            }
        }
    }

    /// One attempt, by the member's id that it has.
    async fn enter(&mut self, client: &mut Client) -> Result<Vec<TopicPartition>, Trouble> {
        let topics = self.arguments.topics.iter();
        let subscription = ConsumerProtocolSubscription {
            topics: topics.map(|name| StrBytes::from(name.as_str())).collect(),
            ..ConsumerProtocolSubscription::default()
        };
        let request = JoinGroupRequest {
            group_id: StrBytes::from(self.group),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: self.member_id.clone(),
            protocol_type: StrBytes::from(PROTOCOL_TYPE),
            protocols: vec![JoinGroupRequestProtocol {
                name: StrBytes::from(RANGE),
                metadata: subscription.encode(SUBSCRIPTION_VERSION),
            }],
            ..JoinGroupRequest::default()
        };
        // Others may take their time.
        let (to, wait) = (To::Coordinator(self.group), client.wait() + REBALANCE);
        let answer = client.call_within(to, i16::MAX, &request, wait).await;
        let joined: JoinGroupResponse = answer?;
        if joined.error_code != 0 {
            if joined.error_code == ErrorCode::MemberIdRequired.code() {
                self.member_id = joined.member_id;
            }
            return Err(Trouble::Code(joined.error_code));
        }
        self.generation = joined.generation_id;
        self.member_id = joined.member_id.clone();
        let assignments = match joined.leader == joined.member_id {
            true => range::divided(client, &joined.members).await?,
            false => Vec::new(),
        };
        let request = SyncGroupRequest {
            group_id: StrBytes::from(self.group),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            protocol_type: Some(StrBytes::from(PROTOCOL_TYPE)),
            protocol_name: joined.protocol_name,
            assignments,
            ..SyncGroupRequest::default()
        };
        let answer = client.call_within(to, i16::MAX, &request, wait).await;
        let synced: SyncGroupResponse = answer?;
        match synced.error_code {
            0 => Ok(look::assigned(synced.assignment)),
            code => Err(Trouble::Code(code)),
        }
    }

    /// What it does about an error of its coordinator.
    fn turned_away(&mut self, client: &mut Client, code: i16) -> Result<Next, Failure> {
        match ErrorCode::from_code(code) {
            Some(ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress) => Ok(Next::Joins),
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                (self.member_id, self.generation) = (StrBytes::default(), -1);
                Ok(Next::Joins)
            }
            Some(known) if will_pass(known) => {
                client.forget_coordinator(self.group);
                Ok(Next::Stays)
            }
            _ => Err(refused(&look::of(self.group), code, None)),
        }
    }

    /// Where the group has committed, or else where the arguments say.
    async fn positions(
        &mut self,
        client: &mut Client,
        assigned: &[TopicPartition],
    ) -> Result<Vec<Position>, Failure> {
        if assigned.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: Vec<String> = assigned.iter().map(|one| one.topic.to_string()).collect();
        names.sort();
        names.dedup();
        let known = topics(client, &names, false, |_| true).await?;
        let mut leaders = leaders(&known);
        leaders.retain(|partition, _| assigned.contains(partition));
        let mut tried = Tried::default();
        self.committed = look::committed(client, self.group, &mut tried).await?;
        tried.end()?;
        let (span, at_end) = (self.arguments.offset, self.arguments.exit_at_end);
        let mut positions = positions(client, &leaders, span, at_end).await?;
        for position in &mut positions {
            if let Some(&offset) = self.committed.get(&position.partition) {
                position.go_on_at(offset);
            }
        }
        Ok(positions)
    }

    /// Says that it is there.
    async fn beat(&mut self, client: &mut Client) -> Result<Next, Failure> {
        let request = HeartbeatRequest {
            group_id: StrBytes::from(self.group),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            ..HeartbeatRequest::default()
        };
        let to = To::Coordinator(self.group);
        let answer = client.call_once(to, i16::MAX, &request).await;
        let answer: HeartbeatResponse = match answer {
            Err(error) if may_be_repeated(&error) => {
                client.forget_coordinator(self.group);
                return Ok(Next::Stays);
            }
            answer => answer?,
        };
        match answer.error_code {
            0 => Ok(Next::Stays),
            code => self.turned_away(client, code),
        }
    }

    /// Commits where it is in each partition, all before which was printed. Where nobody answers now, somebody may the next time.
    async fn commit(&mut self, consumer: &mut Consumer<'_>) -> Result<Next, Failure> {
        match self.try_commit(consumer).await {
            Ok(()) => Ok(Next::Stays),
            Err(Trouble::Client(error)) if may_be_repeated(&error) => Ok(Next::Stays),
            Err(Trouble::Client(error)) => Err(error.into()),
            Err(Trouble::Code(code)) => self.turned_away(consumer.client(), code),
        }
    }

    /// The same at the end, where there is no next time.
    async fn commit_all(&mut self, consumer: &mut Consumer<'_>) -> Result<(), Failure> {
        match self.try_commit(consumer).await {
            Ok(()) => Ok(()),
            Err(Trouble::Client(error)) => Err(error.into()),
            Err(Trouble::Code(code)) => Err(refused(&look::of(self.group), code, None)),
        }
    }

    async fn try_commit(&mut self, consumer: &mut Consumer<'_>) -> Result<(), Trouble> {
        let offsets = consumer.offsets();
        let mut fresh = offsets.clone();
        fresh.retain(|partition, offset| self.committed.get(partition) != Some(offset));
        if fresh.is_empty() {
            return Ok(());
        }
        let mut request = commit::request(self.group, &fresh);
        request.generation_id_or_member_epoch = self.generation;
        request.member_id = self.member_id.clone();
        let told = commit::commit(consumer.client(), self.group, &request).await?;
        let unknown = ErrorCode::UnknownServerError.code();
        let mut codes = fresh
            .keys()
            .map(|one| told.get(one).copied().unwrap_or(unknown));
        match codes.find(|code| *code != 0) {
            Some(code) => Err(Trouble::Code(code)),
            None => {
                self.committed = offsets;
                Ok(())
            }
        }
    }

    /// Lets the others have its partitions at once.
    async fn leave(&self, client: &mut Client) {
        if self.member_id.is_empty() {
            return;
        }
        let request = LeaveGroupRequest {
            group_id: StrBytes::from(self.group),
            member_id: self.member_id.clone(),
            members: vec![MemberIdentity {
                member_id: self.member_id.clone(),
                ..MemberIdentity::default()
            }],
        };
        let to = To::Coordinator(self.group);
        let left = client.call_once::<_, LeaveGroupResponse>(to, i16::MAX, &request);
        // Who cannot leave is missed soon.
        drop(left.await);
    }
}
