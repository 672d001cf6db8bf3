//! A member of a consumer group, by the classic protocol: it reads what the group gives it, goes on where the group has
//! committed, and commits what it has printed. What is not committed when it ends suddenly comes again.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tidewheel_protocol::consumer_protocol::{ConsumerProtocolSubscription, PROTOCOL_TYPE};
use tidewheel_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use tidewheel_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use tidewheel_protocol::{ErrorCode, Message, StrBytes, TopicPartition};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::ConsumeArguments;
use super::follow::Consumer;
use super::output::Printer;
use super::position::{Position, positions};
use super::pulse::{self, Pulse, Stop};
use super::range::{self, RANGE};
use crate::cli::group::{commit, look};
use crate::cli::kafka::client::{Client, ClientError, Patience, To, may_be_repeated, will_pass};
use crate::cli::kafka::offsets::{leaders, topics};
use crate::cli::kafka::{Tried, refused};
use crate::cli::outcome::{EXIT_TIMED_OUT, Failure, failed, usage};
use crate::cli::say;
use crate::clock;

/// After so much silence the group goes on without it, as with Java's client.
const SESSION_MS: i32 = 45_000;
/// How long the group waits for it when another member has come or gone: it joins again at once, unless nobody reads what
/// it writes, and then it must not hold up the others for longer.
const REBALANCE_MS: i32 = 60_000;
/// How many times as long as any other answer one may take that waits for the other members, before it is asked for again.
const WAITS: u32 = 10;
/// After so much waiting for them it says so.
const TOLD: Duration = Duration::from_secs(5);
/// Between two commits.
const COMMIT: Duration = Duration::from_secs(5);
/// How long it tries to commit at the end.
const LAST_COMMIT: Duration = Duration::from_secs(10);
/// The version of what it says to the leader: every client reads it.
const SUBSCRIPTION_VERSION: i16 = 1;

/// A member of a group.
struct Member<'a> {
    arguments: &'a ConsumeArguments,
    group: &'a str,
    /// Empty where the coordinator does not know it.
    member_id: StrBytes,
    generation: i32,
    pulse: Pulse,
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
    /// It was there, and has not answered for as long as the others may take.
    Waited,
}

/// What ends a look at the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// It is time to commit.
    Clock,
    /// The coordinator has something against it.
    Code(i16),
    /// It is to end.
    Stop,
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
    pulse: Pulse,
    mut stop: Stop,
) -> Result<(), Failure> {
    if arguments.offset.to.is_some() {
        return Err(usage("the partitions of a group have no end by offset"));
    }
    let printer = Printer::new(arguments.form(), io::stdout().lock());
    let client = tokio::select! {
        client = connect(arguments) => client?,
        () = stop.heard() => return Ok(()),
    };
    let mut consumer = Consumer::new(client, printer, arguments);
    let mut member = Member {
        arguments,
        group,
        member_id: StrBytes::default(),
        generation: -1,
        pulse,
        committed: BTreeMap::new(),
    };
    let ended = member.work(&mut consumer, &mut stop).await;
    pulse::leave(consumer.client(), group, &member.member_id).await;
    ended
}

async fn connect(arguments: &ConsumeArguments) -> Result<Client, Failure> {
    let mut client = arguments.cluster.connect().await?;
    // The group would wait for one that is not there, and say nothing.
    topics(&mut client, &arguments.topics, false, |_| false).await?;
    Ok(client)
}

impl Member<'_> {
    async fn work(&mut self, consumer: &mut Consumer<'_>, stop: &mut Stop) -> Result<(), Failure> {
        loop {
            let positions = tokio::select! {
                positions = self.join(consumer.client()) => positions?,
                () = stop.heard() => return Ok(()),
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
            let mut heard = Heard::Clock;
            let mut alarm = Box::pin(async {
                tokio::select! {
                    () = sleep_until(commit_at) => {}
                    code = self.pulse.told() => heard = Heard::Code(code),
                    () = stop.heard() => heard = Heard::Stop,
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
            if is_done || heard == Heard::Stop {
                self.commit_all(consumer).await?;
                return Ok(Next::Ends);
            }
            if clock::has_come(commit_at) {
                commit_at = clock::deadline(COMMIT);
                if self.commit(consumer).await? == Next::Joins {
                    return Ok(Next::Joins);
                }
            }
            if let Heard::Code(code) = heard
                && self.turned_away(consumer.client(), code)? == Next::Joins
            {
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
        let (wait, long) = (client.wait(), client.wait() * WAITS);
        // One for a coordinator that nobody reaches, one for what it says.
        let (mut patience, mut restless) = (Patience::new(wait), Patience::new(long));
        loop {
            let trouble = match self.enter(client).await {
                Ok(assigned) => {
                    self.pulse.is(&self.member_id, self.generation);
                    return self.positions(client, &assigned).await;
                }
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
                    patience.renew(wait);
                    self.turned_away(client, code)?;
                    // A group that does not come to rest, or whose members take their time, will have it some time.
                    if code == ErrorCode::RebalanceInProgress.code() {
                        restless.renew(long);
                    }
                    if !restless.pause().await {
                        return Err(refused(&look::of(self.group), code, None));
                    }
                }
                Trouble::Waited => {
                    patience.renew(wait);
                    restless.renew(long);
                    client.forget_coordinator(self.group);
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
        let joined: JoinGroupResponse = self.parked(client, &request).await?;
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
        let synced: SyncGroupResponse = self.parked(client, &request).await?;
        match synced.error_code {
            0 => Ok(look::assigned(synced.assignment)),
            code => Err(Trouble::Code(code)),
        }
    }

    /// Asks what is answered when the other members have come, too.
    async fn parked<Q: Message, A: Message>(
        &self,
        client: &mut Client,
        request: &Q,
    ) -> Result<A, Trouble> {
        let to = To::Coordinator(self.group);
        client.reach(to).await?;
        let (soon, long) = (clock::deadline(client.wait()), client.wait() * WAITS);
        let mut answer = Box::pin(client.call_within(to, i16::MAX, request, long));
        let answer = tokio::select! {
            answer = &mut answer => answer,
            () = sleep(TOLD) => {
                let of = look::of(self.group);
                say(&format!("tidewheel: {of}: waiting for its other members"));
                answer.await
            }
        };
        answer.map_err(
            |error| match may_be_repeated(&error) && clock::has_come(soon) {
                true => Trouble::Waited,
                false => Trouble::Client(error),
            },
        )
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

    /// Commits where it is in each partition, all before which was printed. Where nobody answers now, somebody may the next time.
    async fn commit(&mut self, consumer: &mut Consumer<'_>) -> Result<Next, Failure> {
        match self.try_commit(consumer).await {
            Ok(()) => Ok(Next::Stays),
            Err(Trouble::Code(code)) => self.turned_away(consumer.client(), code),
            Err(Trouble::Client(error)) if !may_be_repeated(&error) => Err(error.into()),
            Err(Trouble::Client(_) | Trouble::Waited) => {
                consumer.client().forget_coordinator(self.group);
                Ok(Next::Stays)
            }
        }
    }

    /// The same at the end, where there is no next time: it tries again where that may help, and says where it did not.
    async fn commit_all(&mut self, consumer: &mut Consumer<'_>) -> Result<(), Failure> {
        let until = clock::deadline(LAST_COMMIT);
        let mut patience = Patience::new(LAST_COMMIT);
        let mut last = Trouble::Waited;
        while let Ok(done) = timeout_at(until, self.try_commit(consumer)).await {
            let Err(trouble) = done else {
                return Ok(());
            };
            let may_pass = match &trouble {
                Trouble::Client(error) => !is_final(error),
                Trouble::Code(code) => ErrorCode::from_code(*code)
                    .is_some_and(|code| will_pass(code) || code == ErrorCode::RebalanceInProgress),
                Trouble::Waited => false,
            };
            last = trouble;
            if !may_pass || !patience.pause().await {
                break;
            }
            consumer.client().forget_coordinator(self.group);
        }
        let of = look::of(self.group);
        let failure = match last {
            Trouble::Client(error) => error.into(),
            Trouble::Code(code) => refused(&of, code, None),
            Trouble::Waited => {
                let sentence = format!("{of}: no answer in {LAST_COMMIT:?}");
                failed(&sentence, EXIT_TIMED_OUT)
            }
        };
        say(&format!(
            "tidewheel: {of}: what was printed last could not be committed: it comes again"
        ));
        Err(failure)
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
}
