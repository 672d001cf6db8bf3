//! The members of restless groups: which clients there are, and how each joins and leaves.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;

use super::super::Fault;
use super::super::context::Context;
use super::super::install::Tool;
use super::super::matrix::{Client, jvm, script};
use super::super::process::{Process, now, tail};

/// A kind of run: who joins, and how partitions are shared.
pub(super) struct Kind {
    /// In the names of trials.
    pub(super) name: &'static str,
    /// The assignor of the classic protocol, or `consumer` for the newer one (KIP-848).
    pub(super) assignor: &'static str,
    /// Who joins. The first three read to the end.
    pub(super) clients: &'static [Client],
    pub(super) tools: &'static [Tool],
}

/// The libraries whose members share the names of assignors, and know the newer protocol too.
const CLIENTS: [Client; 3] = [Client::FranzGo, Client::Confluent, Client::Java4];
const TOOLS: [Tool; 4] = [Tool::Go, Tool::Python, Tool::Java, Tool::OwnBroker];

pub(super) const KINDS: [Kind; 3] = [
    Kind {
        name: "range",
        assignor: "range",
        clients: &CLIENTS,
        tools: &TOOLS,
    },
    Kind {
        name: "cooperative-sticky",
        assignor: "cooperative-sticky",
        clients: &CLIENTS,
        tools: &TOOLS,
    },
    Kind {
        name: "consumer",
        assignor: "consumer",
        clients: &CLIENTS,
        tools: &TOOLS,
    },
];

/// What a member is told.
pub(super) struct Membership<'a> {
    pub(super) address: &'a str,
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) assignor: &'a str,
    /// The file that it writes.
    pub(super) journal: &'a Path,
    /// Where it kills itself when it comes there for the `count`th time.
    pub(super) place: &'a str,
    pub(super) count: u64,
}

/// Makes a client's program ready.
pub(super) fn install(context: &Context, client: Client) -> Result<(), Fault> {
    program(context, client).map(|_| ())
}

/// The program of a client's members, without what it is told.
fn program(context: &Context, client: Client) -> Result<Command, Fault> {
    let installs = &context.installs;
    let python = |path| Ok(script(Command::new(installs.python()?), path));
    let java = |generation| {
        let mut command = jvm(&installs.java(generation)?);
        command.arg("tidewheel.clients.RestlessMember");
        Ok(command)
    };
    match client {
        Client::Confluent => python("python/restless.py"),
        Client::Java4 => java("4"),
        _ => Ok(Command::new(installs.franz_go()?)),
    }
}

pub(super) struct Member {
    client: Client,
    process: Process,
    /// It was told to kill itself at some time.
    dies: bool,
}

impl Member {
    pub(super) fn start(
        context: &Context,
        client: Client,
        name: &str,
        told: &Membership<'_>,
    ) -> Result<Self, Fault> {
        let mut command = program(context, client)?;
        command.args(["--bootstrap", told.address, "member"]);
        command.args([told.group, told.topic, told.assignor]);
        command.arg(told.journal);
        command.arg(format!("{}:{}", told.place, told.count));
        Ok(Self {
            client,
            process: Process::start(name, &mut command)?,
            dies: told.place != "never",
        })
    }

    pub(super) fn is_jvm(&self) -> bool {
        self.client.tools().contains(&Tool::Java)
    }

    /// Whether it has ended by now.
    pub(super) fn has_ended(&mut self) -> bool {
        self.process.drain(now())
    }

    /// Waits for its end, which must be a clean one unless it kills itself.
    pub(super) fn ended(&mut self) -> Result<(), Fault> {
        let (status, stderr) = self.process.wait()?;
        use std::os::unix::process::ExitStatusExt;
        if status.success() || self.dies && status.signal() == Some(Signal::KILL.as_raw()) {
            return Ok(());
        }
        Err(format!(
            "a member of {} ended with {status}: {}",
            self.client.name(),
            tail(&stderr)
        ))
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) -> Result<(), Fault> {
        self.dies = true;
        self.process.signal(Signal::KILL);
        self.ended()
    }

    /// A clean end, by the end of its input.
    pub(super) fn leave(mut self, until: Instant) -> Result<(), Fault> {
        drop(self.process.stdin());
        if !self.process.drain(until) {
            return Err(format!("a member of {} stays", self.client.name()));
        }
        self.ended()
    }
}
