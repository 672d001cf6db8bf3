//! What keeps a member of a group alive while another thread reads: it tells the coordinator that the member is there,
//! also while the reader waits for a broker or cannot write its output, and hears who asks it to end.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidewheel_protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity,
};
use tidewheel_protocol::{ErrorCode, StrBytes};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::{ConsumeArguments, group};
use crate::cli::EXIT_ENVIRONMENT;
use crate::cli::group::look;
use crate::cli::kafka::client::{Client, To, will_pass};
use crate::cli::outcome::{Failure, failed, runtime};

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long a sign of life waits for its answer at most: three of them go into the time after which the member is missed.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the reader may take to notice that it is to end. After that it is stuck: in a write that nobody reads, or
/// before a broker that is gone.
const NOTICE: Duration = Duration::from_secs(3);
/// How long it may take to leave. Who cannot is missed soon.
const LEAVE: Duration = Duration::from_secs(2);

/// Who somebody is in a group, and a number that is another one each time it joins.
#[derive(Clone, Debug)]
struct Identity {
    turn: u64,
    member_id: StrBytes,
    generation: i32,
}

/// The reader's side: it says who it is, and is told what the coordinator says to that.
pub(super) struct Pulse {
    identity: watch::Sender<Option<Identity>>,
    told: watch::Receiver<(u64, i16)>,
}

impl Pulse {
    /// From now on the member is this one.
    pub(super) fn is(&self, member_id: &StrBytes, generation: i32) {
        self.identity.send_modify(|identity| {
            let turn = identity.as_ref().map_or(1, |before| before.turn + 1);
            *identity = Some(Identity {
                turn,
                member_id: member_id.clone(),
                generation,
            });
        });
    }

    /// Waits until the coordinator has something against the member; Kafka's code of that.
    pub(super) async fn told(&mut self) -> i16 {
        let turn = self.identity.borrow().as_ref().map_or(0, |one| one.turn);
        let told = self.told.wait_for(|(of, code)| *of == turn && *code != 0);
        match told.await {
            Ok(told) => told.1,
            Err(_) => pending().await,
        }
    }
}

/// The reader's other side: whether it is to end.
pub(super) struct Stop {
    asked: watch::Receiver<bool>,
    noticed: watch::Sender<bool>,
}

impl Stop {
    /// Waits until it is.
    pub(super) async fn heard(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            pending::<()>().await;
        }
        self.noticed.send_replace(true);
    }
}

/// The signals that ask a command to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
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

/// Who keeps the member alive.
struct Keeper<'a> {
    arguments: &'a ConsumeArguments,
    group: &'a str,
    identity: watch::Receiver<Option<Identity>>,
    told: watch::Sender<(u64, i16)>,
    /// A way to the cluster of its own, once it has found one.
    client: Option<Client>,
}

/// Reads as a member of a group on another thread, and keeps it alive on this one, until it is done or asked to end.
pub(super) fn consume(arguments: &ConsumeArguments, group: &str) -> Result<(), Failure> {
    let runtime = runtime()?;
    let ended = runtime.block_on(keep(arguments, group));
    // The reader is not waited for: a write that nobody reads never ends.
    runtime.shutdown_background();
    ended
}

async fn keep(arguments: &ConsumeArguments, group: &str) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let (identity, told) = (watch::channel(None), watch::channel((0, 0)));
    let (ask, asked) = watch::channel(false);
    let (noticed, mut notices) = watch::channel(false);
    let pulse = Pulse {
        identity: identity.0,
        told: told.1,
    };
    let mut ended = start(arguments, group, pulse, Stop { asked, noticed });
    let mut keeper = Keeper {
        arguments,
        group,
        identity: identity.1,
        told: told.0,
        client: None,
    };
    let gone = |error| Err(failed(&format!("cannot read: {error}"), EXIT_ENVIRONMENT));
    tokio::select! {
        ended = &mut ended => return ended.unwrap_or_else(gone),
        () = signals.heard() => {}
        never = Box::pin(keeper.beat()) => match never {},
    }
    ask.send_replace(true);
    let is_stuck = tokio::select! {
        ended = &mut ended => return ended.unwrap_or_else(gone),
        noticed = timeout(NOTICE, notices.wait_for(|noticed| *noticed)) => noticed.is_err(),
        () = signals.heard() => true,
    };
    if !is_stuck {
        // What it still does has its bounds; whoever asks again does not want to wait for them.
        tokio::select! {
            ended = &mut ended => return ended.unwrap_or_else(gone),
            () = signals.heard() => {}
        }
    }
    keeper.leave().await;
    let sentence = format!(
        "{}: ended before what was printed last could be committed: it comes again",
        look::of(group)
    );
    Err(failed(&sentence, EXIT_ENVIRONMENT))
}

/// Starts the reader; how it ends.
fn start(
    arguments: &ConsumeArguments,
    group: &str,
    pulse: Pulse,
    stop: Stop,
) -> JoinHandle<Result<(), Failure>> {
    let (arguments, group) = (arguments.clone(), group.to_owned());
    spawn_blocking(move || {
        let read = group::consume(&arguments, &group, pulse, stop);
        runtime()?.block_on(read)
    })
}

impl Keeper<'_> {
    /// Says that the member is there, again and again, whatever comes of it.
    async fn beat(&mut self) -> Infallible {
        loop {
            let identity = self.identity.borrow_and_update().clone();
            let changed = self.identity.changed();
            let is_gone = match &identity {
                None => changed.await.is_err(),
                Some(_) => matches!(timeout(HEARTBEAT, changed).await, Ok(Err(_))),
            };
            if is_gone {
                return pending().await;
            }
            // Who has joined meanwhile has just been heard.
            if let (Some(identity), Ok(false)) = (identity, self.identity.has_changed()) {
                self.beat_once(&identity).await;
            }
        }
    }

    async fn beat_once(&mut self, identity: &Identity) {
        let request = HeartbeatRequest {
            group_id: StrBytes::from(self.group),
            generation_id: identity.generation,
            member_id: identity.member_id.clone(),
            ..HeartbeatRequest::default()
        };
        let cluster = &self.arguments.cluster;
        if self.client.is_none() {
            self.client = cluster.reach(ANSWER.min(cluster.wait())).await.ok();
        }
        let Some(client) = &mut self.client else {
            return;
        };
        let to = To::Coordinator(self.group);
        let answer = client.call_once::<_, HeartbeatResponse>(to, i16::MAX, &request);
        match answer.await.map(|answer| answer.error_code) {
            Ok(0) => {}
            Ok(code) if !ErrorCode::from_code(code).is_some_and(will_pass) => {
                self.told.send_replace((identity.turn, code));
            }
            // Another one may look after the group by now.
            Ok(_) | Err(_) => client.forget_coordinator(self.group),
        }
    }

    /// Leaves in the place of a reader that cannot.
    async fn leave(&mut self) {
        let identity = self.identity.borrow().clone();
        if let (Some(identity), Some(client)) = (identity, &mut self.client) {
            leave(client, self.group, &identity.member_id).await;
        }
    }
}

/// Lets the others of a group have the partitions of a member at once.
pub(super) async fn leave(client: &mut Client, group: &str, member_id: &StrBytes) {
    if member_id.is_empty() {
        return;
    }
    // An answer may still be due that nobody waits for.
    client.abandon();
    let request = LeaveGroupRequest {
        group_id: StrBytes::from(group),
        member_id: member_id.clone(),
        members: vec![MemberIdentity {
            member_id: member_id.clone(),
            ..MemberIdentity::default()
        }],
    };
    let to = To::Coordinator(group);
    let left = client.call_once::<_, LeaveGroupResponse>(to, i16::MAX, &request);
    drop(timeout(LEAVE, left).await);
}
