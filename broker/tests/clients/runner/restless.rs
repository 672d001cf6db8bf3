//! Groups whose members come, go and are killed while producers run, and whose broker is killed.

mod member;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde::Deserialize;

use super::broker::Broker;
use super::context::Context;
use super::install::{Tool, sources};
use super::matrix::Client;
use super::process::{Process, Report, must_succeed, note, note_duration, now, run};
use super::{Fault, trial};
use member::{KINDS, Kind, Member, Membership};

/// For a step: to produce on after a kill, to read all that is left, to leave.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// How long a kill of the broker waits for a rebalance to fall into.
const REBALANCE_LIMIT: Duration = Duration::from_secs(2);
const AUDIT_LIMIT: Duration = Duration::from_secs(120);
const SECONDS: u64 = 10;
const SECONDS_FULL: u64 = 180;
const PARTITIONS: &str = "12";
const MEMBERS_MAX: usize = 20;
/// JVMs among them: each takes a core for a second to start.
const JVMS_MAX: usize = 3;
/// Records between two actions, at most: a third of a second.
const RECORDS_BETWEEN: u64 = 600;
/// Members are expelled after 3 s, hear of their partitions soon, and nobody waits for the first rebalance.
const SETTINGS: [&str; 6] = [
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    "group.consumer.min.session.timeout.ms=1000",
    "group.consumer.session.timeout.ms=3000",
    "group.consumer.min.heartbeat.interval.ms=100",
    "group.consumer.heartbeat.interval.ms=200",
];
/// Runs at the same time: each is a crowd of processes.
const SIDE_BY_SIDE: usize = 2;
/// How many actions chance chooses from, see `act`.
const ACTIONS: u64 = 10;
/// What comes first, so that the shortest run has it: members come, one leaves, the broker is killed in a
/// rebalance, a member is killed, the broker is killed.
const FIRST: [u64; 5] = [0, 4, 8, 6, 9];
const GROUP: &str = "restless";
const TOPIC: &str = "restless-topic";
const CASES: [&str; 6] = [
    "delivered",
    "order",
    "commits",
    "offsets-topic",
    "owners",
    "one-at-a-time",
];

/// What was found, by kind.
#[derive(Default)]
pub(crate) struct Runs {
    found: [OnceLock<Result<Outcome, Fault>>; KINDS.len()],
    lanes: [Mutex<()>; SIDE_BY_SIDE],
}

struct Outcome {
    flow: Report,
    audit: Report,
}

#[derive(Deserialize)]
struct Progress {
    progress: u64,
}

/// A look of the observer.
#[derive(Deserialize)]
struct Look {
    state: String,
    lag: i64,
}

impl Look {
    /// The states of both protocols while partitions change hands.
    fn is_rebalance(&self) -> bool {
        matches!(
            self.state.as_str(),
            "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling"
        )
    }
}

/// splitmix64, from a seed that is printed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % end.max(1)
    }
}

/// What happened, for the reader of a failure.
#[derive(Default, Debug)]
struct Tally {
    joined: usize,
    left: usize,
    killed: usize,
    broker_killed: usize,
    of_them_in_a_rebalance: usize,
}

/// The group with all around it.
struct Restless<'a> {
    context: &'a Context,
    kind: &'static Kind,
    chance: Chance,
    /// Who joins next: each client in its turn, the turns by chance.
    deck: Vec<Client>,
    broker: Broker,
    flow: Process,
    flow_report: Report,
    acked: u64,
    observer: Process,
    members: Vec<Member>,
    journals: Vec<PathBuf>,
    tally: Tally,
}

/// A program of the franz-go folder.
fn franz_go(context: &Context, broker: &Broker, mode: &[&str]) -> Result<Command, Fault> {
    let mut command = Client::FranzGo.command(context, broker.address(), "unused")?;
    command.args(mode);
    Ok(command)
}

impl<'a> Restless<'a> {
    fn start(context: &'a Context, kind: &'static Kind, seed: u64) -> Result<Self, Fault> {
        let broker = context.new_broker_with(&SETTINGS)?;
        let mut flow = franz_go(context, &broker, &["flow", TOPIC, PARTITIONS])?;
        let observe = ["observe", kind.assignor, GROUP, TOPIC, PARTITIONS];
        let mut observe = franz_go(context, &broker, &observe)?;
        observe.arg(broker.beside("observer"));
        let flow = Process::start("the producer", &mut flow)?;
        let mut restless = Self {
            context,
            kind,
            chance: Chance(seed),
            deck: Vec::new(),
            observer: Process::start("the observer", &mut observe)?,
            broker,
            flow,
            flow_report: Report::default(),
            acked: 0,
            members: Vec::new(),
            journals: Vec::new(),
            tally: Tally::default(),
        };
        // The topic is there.
        restless.advance(1)?;
        Ok(restless)
    }

    /// A line of the producer; false at the end of its output.
    fn flow_line(&mut self, until: Instant) -> Result<bool, Fault> {
        let Some(line) = self.flow.line(until)? else {
            return Ok(false);
        };
        if !self.flow_report.take(&line) {
            let progress: Progress =
                serde_json::from_str(&line).map_err(|e| format!("{line}: {e}"))?;
            self.acked = progress.progress;
        }
        Ok(true)
    }

    /// Waits until so many more records are acknowledged.
    fn advance(&mut self, records: u64) -> Result<(), Fault> {
        while self.flow_line(now()).is_ok_and(|more| more) {}
        let (goal, until) = (self.acked + records, now() + STEP_LIMIT);
        while self.acked < goal {
            if !self.flow_line(until)? {
                return Err("the producer ended".to_owned());
            }
        }
        Ok(())
    }

    fn look(&mut self, until: Instant) -> Result<Look, Fault> {
        let line = self.observer.line(until)?;
        let line = line.ok_or("the observer ended")?;
        serde_json::from_str(&line).map_err(|e| format!("{line}: {e}"))
    }

    /// The next client, of those that may join now.
    fn draw(&mut self) -> Client {
        let jvms = self.members.iter().filter(|m| m.is_jvm()).count();
        let may_join = |client: &Client| jvms < JVMS_MAX || !client.tools().contains(&Tool::Java);
        loop {
            if let Some(at) = self.deck.iter().position(may_join) {
                return self.deck.remove(at);
            }
            let mut next = self.kind.clients(self.context.is_full).to_vec();
            while !next.is_empty() {
                let at = self.chance.below(next.len() as u64);
                self.deck
                    .push(next.remove(usize::try_from(at).unwrap_or(0)));
            }
        }
    }

    /// A member of any client, which may kill itself in the middle of something.
    fn join(&mut self) -> Result<(), Fault> {
        let client = self.draw();
        self.join_as(client, true)
    }

    fn join_as(&mut self, client: Client, may_die: bool) -> Result<(), Fault> {
        let place = match self.chance.below(6) {
            0 if may_die => "assigned",
            1 if may_die => "revoked",
            2 if may_die => "commit",
            _ => "never",
        };
        let name = format!("{}-{}", client.name(), self.journals.len());
        let journal = self.broker.beside(&name);
        let membership = Membership {
            address: self.broker.address(),
            group: GROUP,
            topic: TOPIC,
            assignor: self.kind.assignor,
            journal: &journal,
            place,
            count: 1 + self.chance.below(3),
        };
        let member = Member::start(self.context, client, &name, &membership)?;
        self.journals.push(journal);
        self.members.push(member);
        self.tally.joined += 1;
        Ok(())
    }

    fn pick(&mut self) -> Option<Member> {
        let picked = usize::try_from(self.chance.below(self.members.len() as u64)).unwrap_or(0);
        (!self.members.is_empty()).then(|| self.members.swap_remove(picked))
    }

    /// Sees who has killed itself; nobody else may end unasked.
    fn bury(&mut self) -> Result<(), Fault> {
        let mut at = 0;
        while at < self.members.len() {
            if self.members[at].has_ended() {
                self.members.swap_remove(at).ended()?;
                self.tally.killed += 1;
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// `kill -9` of the broker, if need be once the group is in the middle of a rebalance.
    fn kill_broker(&mut self, in_a_rebalance: bool) -> Result<(), Fault> {
        if in_a_rebalance {
            // Looks that were taken before say nothing about now.
            while self.look(now()).is_ok() {}
            let until = now() + REBALANCE_LIMIT;
            while let Ok(look) = self.look(until) {
                if look.is_rebalance() {
                    self.tally.of_them_in_a_rebalance += 1;
                    break;
                }
            }
        }
        self.broker.kill()?;
        self.tally.broker_killed += 1;
        self.broker.start_again()
    }

    fn act(&mut self, what: u64) -> Result<(), Fault> {
        match what {
            0..=3 => {
                for _ in 0..=self.chance.below(4) {
                    if self.members.len() < MEMBERS_MAX {
                        self.join()?;
                    }
                }
            }
            4..=5 => {
                if let Some(member) = self.pick() {
                    member.leave(now() + STEP_LIMIT)?;
                    self.tally.left += 1;
                }
            }
            6..=7 => {
                if let Some(member) = self.pick() {
                    member.kill(now() + STEP_LIMIT)?;
                    self.tally.killed += 1;
                }
            }
            8 => {
                // One that is quick to start makes the rebalance.
                if self.members.len() < MEMBERS_MAX {
                    self.join_as(self.kind.clients(false)[0], true)?;
                }
                self.kill_broker(true)?;
            }
            _ => self.kill_broker(false)?,
        }
        Ok(())
    }

    /// Lets the group read to the end, and everybody leave.
    fn finish(&mut self) -> Result<(), Fault> {
        for &client in self.kind.clients(false) {
            self.join_as(client, false)?;
        }
        drop(self.flow.stdin());
        let until = now() + STEP_LIMIT;
        while self.flow_line(until)? {}
        let (status, stderr) = self.flow.wait()?;
        self.flow_report.ended("the producer", status, &stderr);
        while self.look(now()).is_ok() {}
        // The look that is under way may have seen the end of the topic as it was.
        let mut last = self.look(until)?;
        loop {
            self.bury()?;
            let behind = format!("{} records behind, {}", last.lag, last.state);
            last = self.look(until).map_err(|e| format!("{e}: {behind}"))?;
            if last.lag == 0 {
                break;
            }
        }
        while let Some(member) = self.pick() {
            member.leave(now() + STEP_LIMIT)?;
        }
        drop(self.observer.stdin());
        if !self.observer.drain(now() + STEP_LIMIT) {
            return Err("the observer does not end".to_owned());
        }
        Ok(())
    }

    fn audit(&mut self) -> Result<Report, Fault> {
        let mode = ["audit", self.kind.assignor, GROUP, TOPIC, PARTITIONS];
        let mut audit = franz_go(self.context, &self.broker, &mode)?;
        audit.arg(self.broker.beside("observer"));
        audit.args(self.journals.iter().filter(|journal| journal.exists()));
        let report = run("audit", &mut audit, AUDIT_LIMIT);
        self.broker.stop()?;
        Ok(report)
    }
}

fn number(variable: &str) -> Result<Option<u64>, Fault> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .map(Some)
            .map_err(|e| format!("{variable}={text}: {e}")),
        Err(_) => Ok(None),
    }
}

fn run_loop(context: &Context, kind: &'static Kind) -> Result<Outcome, Fault> {
    let seconds = number("TIDEWHEEL_RESTLESS_SECONDS")?;
    let by_default = if context.is_full {
        SECONDS_FULL
    } else {
        SECONDS
    };
    let seed = number("TIDEWHEEL_RESTLESS_SEED")?.unwrap_or_else(|| u64::from(std::process::id()));
    let _permit = context.permit();
    let name = kind.name;
    note(&format!("restless {name}: TIDEWHEEL_RESTLESS_SEED={seed}"));
    let started = now();
    let mut restless = Restless::start(context, kind, seed)?;
    let until = now() + Duration::from_secs(seconds.unwrap_or(by_default));
    let mut first = FIRST.into_iter();
    let mut steps = |restless: &mut Restless<'_>| {
        while now() < until {
            let records = 1 + restless.chance.below(RECORDS_BETWEEN);
            restless.advance(records)?;
            restless.bury()?;
            let by_chance = restless.chance.below(ACTIONS);
            restless.act(first.next().unwrap_or(by_chance))?;
        }
        restless.finish()?;
        restless.audit()
    };
    let audit = steps(&mut restless);
    note(&format!("restless {name}: {:?}", restless.tally));
    note_duration(&format!("restless {name}"), started);
    Ok(Outcome {
        audit: audit?,
        flow: restless.flow_report,
    })
}

fn outcome(context: &Context, index: usize) -> Result<&Outcome, Fault> {
    let runs = &context.restless;
    let body = || {
        // Building comes first: no member shall wait for another's compiler.
        for client in KINDS[index].clients(context.is_full) {
            member::install(context, *client)?;
        }
        context.installs.franz_go()?;
        let lane = runs.lanes[index % SIDE_BY_SIDE].lock();
        let _lane = lane.unwrap_or_else(PoisonError::into_inner);
        run_loop(context, &KINDS[index])
    };
    runs.found[index]
        .get_or_init(body)
        .as_ref()
        .map_err(Clone::clone)
}

fn judge(
    context: &Context,
    index: usize,
    case: &str,
    report: fn(&Outcome) -> &Report,
) -> Result<(), Fault> {
    let detail = report(outcome(context, index)?).result(case)?;
    note(&format!("restless {} {case}: {detail}", KINDS[index].name));
    Ok(())
}

/// The audit's own tests: of a history that is broken it says so.
fn auditor(context: &Context) -> Result<(), Fault> {
    let mut tests = Command::new("go");
    tests.args(["test", "-mod=readonly", "."]);
    tests.env("GOTOOLCHAIN", "local");
    tests.current_dir(sources().join("go/franz-go"));
    let _permit = context.permit();
    must_succeed("go test", &mut tests).map(|_| ())
}

/// `restless::auditor`, and `restless::KIND::CASE`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let name = "restless::auditor".to_owned();
    let mut out = vec![trial(context, name, &[Tool::Go], |context| {
        auditor(context)
    })];
    let kinds = KINDS.iter().enumerate();
    for (index, kind) in kinds.filter(|(_, kind)| context.is_full || !kind.only_full) {
        let name = format!("restless::{}::flow", kind.name);
        out.push(trial(context, name, kind.tools, move |context| {
            judge(context, index, "flow", |found| &found.flow)
        }));
        for case in CASES {
            let name = format!("restless::{}::{case}", kind.name);
            out.push(trial(context, name, kind.tools, move |context| {
                judge(context, index, &format!("audit/{case}"), |found| {
                    &found.audit
                })
            }));
        }
    }
    out
}
