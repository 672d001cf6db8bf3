//! Producers that keep on while the broker is killed and restarted, and a ledger of what was acked.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde::Deserialize;

use super::broker::Broker;
use super::context::Context;
use super::install::Tool;
use super::matrix::{Client, script};
use super::process::{Process, Report, note_duration, now, run};
use super::{Fault, trial};

/// What producers may take for a step: a broker that is back must be found and used within it.
const STEP_LIMIT: Duration = Duration::from_secs(60);
const VERIFY_LIMIT: Duration = Duration::from_secs(120);
/// Acks that every producer must get between two failures.
const ACKS_BETWEEN: u64 = 2000;
const CLASSES: [&str; 3] = ["acks-1", "acks-all", "idempotent"];
const PRODUCERS: [Client; 3] = [Client::FranzGo, Client::Confluent, Client::Java4];
const ROUNDS: u32 = 4;
const ROUNDS_FULL: u32 = 20;

#[derive(Deserialize)]
struct Progress {
    progress: u64,
}

/// What the loop left: reports by producer, the comparison, and the broker, stopped cleanly.
pub(crate) struct CrashRun {
    producers: Vec<(Client, Report)>,
    verified: Report,
    broker: Mutex<Broker>,
}

impl CrashRun {
    /// The data directory, stopped cleanly after the last kill.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.broker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .data_dir()
    }
}

/// One client program that produces all the time.
struct Producer {
    client: Client,
    process: Process,
    report: Report,
    acked: u64,
    ledger: PathBuf,
}

impl Producer {
    fn start(context: &Context, broker: &Broker, client: Client) -> Result<Self, Fault> {
        let ledger = broker.beside(&format!("{}.ledger", client.name()));
        let mut command = match client {
            Client::Confluent => {
                let python = std::process::Command::new(context.installs.python()?);
                let mut command = script(python, "python/ledger.py");
                command.args(["--bootstrap", broker.address(), "--prefix", client.name()]);
                if context.settle {
                    command.arg("--settle");
                }
                command
            }
            _ => client.command(context, broker.address(), client.name())?,
        };
        let process = Process::start(client.name(), command.arg("ledger").arg(&ledger))?;
        Ok(Self {
            client,
            process,
            report: Report::default(),
            acked: 0,
            ledger,
        })
    }

    /// Takes one line; false at the end of the output.
    fn step(&mut self, until: Instant) -> Result<bool, Fault> {
        let Some(line) = self.process.line(until)? else {
            return Ok(false);
        };
        if !self.report.take(&line) {
            let progress: Progress = serde_json::from_str(&line)
                .map_err(|e| format!("{}: {line}: {e}", self.client.name()))?;
            self.acked = progress.progress;
        }
        Ok(true)
    }

    /// Waits for more acks than there are now.
    fn advance(&mut self) -> Result<(), Fault> {
        while self.step(now()).is_ok_and(|more| more) {}
        let goal = self.acked + ACKS_BETWEEN;
        let until = now() + STEP_LIMIT;
        while self.acked < goal {
            let more = self
                .step(until)
                .map_err(|e| format!("{e}: {} of {goal} acks", self.acked))?;
            if !more {
                let (status, stderr) = self.process.wait()?;
                return Err(format!(
                    "{} ended with {status}: {stderr}",
                    self.client.name()
                ));
            }
        }
        Ok(())
    }

    /// Closes the input, which ends the program once everything under way is decided.
    fn finish(&mut self) -> Result<(), Fault> {
        drop(self.process.stdin());
        let until = now() + STEP_LIMIT;
        while self.step(until)? {}
        let (status, stderr) = self.process.wait()?;
        self.report.ended(self.client.name(), status, &stderr);
        Ok(())
    }
}

fn rounds(context: &Context) -> Result<u32, Fault> {
    match std::env::var("TIDEWHEEL_KILL_ROUNDS") {
        Ok(text) => text
            .parse()
            .map_err(|e| format!("TIDEWHEEL_KILL_ROUNDS={text}: {e}")),
        Err(_) if context.is_full => Ok(ROUNDS_FULL),
        Err(_) => Ok(ROUNDS),
    }
}

fn run_loop(context: &Context) -> Result<CrashRun, Fault> {
    // Building comes first: no producer shall wait for another's compiler.
    let usable = PRODUCERS
        .into_iter()
        .filter(|c| context.missing(c.tools()).is_none());
    let usable: Vec<Client> = usable.collect();
    for client in &usable {
        client.command(context, "unused", "unused")?;
    }
    let _permit = context.permit();
    let started = now();
    let mut broker = context.new_broker()?;
    let mut producers = Vec::new();
    for client in usable {
        producers.push(Producer::start(context, &broker, client)?);
    }
    for round in 0..rounds(context)? {
        for producer in &mut producers {
            producer.advance()?;
        }
        // Every third time a clean stop: the start after it takes another path.
        if round % 3 == 2 {
            broker.stop()?
        } else {
            broker.kill()?
        }
        broker.start_again()?;
    }
    for producer in &mut producers {
        producer.advance()?;
        producer.finish()?;
    }
    let mut verify = Client::FranzGo.command(context, broker.address(), "unused")?;
    verify
        .arg("verify")
        .args(producers.iter().map(|p| &p.ledger));
    let verified = run("verify", &mut verify, VERIFY_LIMIT);
    broker.stop()?;
    note_duration("crash", started);
    let producers = producers
        .into_iter()
        .map(|p| (p.client, p.report))
        .collect();
    Ok(CrashRun {
        producers,
        verified,
        broker: Mutex::new(broker),
    })
}

/// The loop, run by the first who asks.
pub(crate) fn the_run(context: &Context) -> Result<&CrashRun, Fault> {
    context
        .crash
        .get_or_init(|| run_loop(context))
        .as_ref()
        .map_err(Clone::clone)
}

fn producer_case(context: &Context, client: Client, class: &str) -> Result<(), Fault> {
    let run = the_run(context)?;
    let report = run.producers.iter().find(|(c, _)| *c == client);
    let (_, report) = report.ok_or_else(|| format!("{} did not run", client.name()))?;
    report.result(&format!("ledger/{class}")).map(|_| ())
}

fn verify_case(context: &Context, client: Client, class: &str) -> Result<(), Fault> {
    the_run(context)?
        .verified
        .result(&format!("verify/{}-{class}", client.name()))
        .map(|_| ())
}

const WITH_GO: [Tool; 2] = [Tool::Go, Tool::OwnBroker];
const WITH_PYTHON: [Tool; 3] = [Tool::Go, Tool::Python, Tool::OwnBroker];
const WITH_JAVA: [Tool; 3] = [Tool::Go, Tool::Java, Tool::OwnBroker];

/// `crash::CLIENT::CLASS::produce` and `crash::CLIENT::CLASS::ledger`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let mut out = Vec::new();
    for client in PRODUCERS {
        let tools: &'static [Tool] = match client {
            Client::Confluent => &WITH_PYTHON,
            Client::Java4 => &WITH_JAVA,
            _ => &WITH_GO,
        };
        for class in CLASSES {
            let name = format!("crash::{}::{class}", client.name());
            out.push(trial(
                context,
                format!("{name}::produce"),
                tools,
                move |c| producer_case(c, client, class),
            ));
            out.push(trial(context, format!("{name}::ledger"), tools, move |c| {
                verify_case(c, client, class)
            }));
        }
    }
    out
}
