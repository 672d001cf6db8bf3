//! Groups of the newer protocol (KIP-848): the cases of groups by it, and what becomes of members whose broker
//! is killed.

use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::Trial;

use super::broker::Broker;
use super::context::Context;
use super::install::Tool;
use super::matrix::{Client, script};
use super::process::{Process, Report, note_duration, now, run};
use super::{Fault, trial};

/// The clients that know it; it is to be asked for in all of them.
const CLIENTS: [Client; 3] = [Client::FranzGo, Client::Confluent, Client::Java4];
/// All that a client does in groups, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(150);
const CASES: [&str; 3] = [
    "consumer-group/share",
    "consumer-group/commit",
    "consumer-group/admin",
];
const SURVIVE: &str = "consumer-group/survive";
/// Members hear of their partitions with their heartbeats, which the broker asks for: every 5 s unless it is
/// told otherwise.
pub(crate) const FREQUENT_HEARTBEATS: [&str; 2] = [
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
];

/// What the clients said, each run at most once.
#[derive(Default)]
pub(crate) struct Runs([OnceLock<Report>; CLIENTS.len()]);

fn command(context: &Context, client: Client, address: &str) -> Result<Command, Fault> {
    let prefix = format!("{}-{:x}", client.name(), std::process::id());
    if client != Client::Confluent {
        return client.command(context, address, &prefix);
    }
    let python = Command::new(context.installs.python()?);
    let mut command = script(python, "python/confluent_consumers.py");
    command.args(["--bootstrap", address, "--prefix", &prefix]);
    if context.settle {
        command.arg("--settle");
    }
    Ok(command)
}

fn new_broker(context: &Context) -> Result<Broker, Fault> {
    context.new_broker_with(&FREQUENT_HEARTBEATS)
}

fn report(context: &Context, number: usize) -> &Report {
    let client = CLIENTS[number];
    context.consumers.0[number].get_or_init(|| {
        let ran = || {
            let own = match context.bootstrap {
                Some(_) => None,
                None => Some(new_broker(context)?),
            };
            let address = match &own {
                Some(broker) => broker.address().to_owned(),
                None => context.shared_address()?,
            };
            let mut command = command(context, client, &address)?;
            let _permit = context.permit();
            let label = format!("consumers {}", client.name());
            Ok(run(&label, command.arg("consumers"), LIMIT))
        };
        ran().unwrap_or_else(Report::of_fault)
    })
}

/// The broker is killed when the client says that its members have settled and committed.
fn survive(context: &Context, client: Client) -> Result<(), Fault> {
    let mut broker = new_broker(context)?;
    let mut command = command(context, client, broker.address())?;
    let _permit = context.permit();
    let (label, started) = (format!("survive {}", client.name()), now());
    let mut process = Process::start(&label, command.arg("survive"))?;
    let mut report = Report::default();
    // The only line beside those of cases.
    let mut is_killed = false;
    while let Some(line) = process.line(started + LIMIT)? {
        if !report.take(&line) && !is_killed {
            broker.kill()?;
            broker.start_again()?;
            drop(process.stdin());
            is_killed = true;
        }
    }
    let (status, stderr) = process.wait()?;
    report.ended(&label, status, &stderr);
    note_duration(&label, started);
    report.result(SURVIVE).map(|_| ())
}

/// `CLIENT::consumer-group/CASE`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let mut out = Vec::new();
    for (number, client) in CLIENTS.into_iter().enumerate() {
        for case in CASES {
            let name = format!("{}::{case}", client.name());
            out.push(trial(context, name, client.tools(), move |context| {
                report(context, number).result(case).map(|_| ())
            }));
        }
        let tools: &'static [Tool] = match client {
            Client::Confluent => &[Tool::Python, Tool::OwnBroker],
            Client::Java4 => &[Tool::Java, Tool::OwnBroker],
            _ => &[Tool::Go, Tool::OwnBroker],
        };
        let name = format!("{}::{SURVIVE}", client.name());
        out.push(trial(context, name, tools, move |context| {
            survive(context, client)
        }));
    }
    out
}
