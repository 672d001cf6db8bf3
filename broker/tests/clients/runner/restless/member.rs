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

/// So many clients of a kind have a member each while the group reads to the end.
const JOIN_LAST: usize = 3;

/// A kind of run: who joins, and how partitions are shared.
pub(super) struct Kind {
    /// In the names of trials.
    pub(super) name: &'static str,
    /// The assignor of the classic protocol, or `consumer` for the newer one (KIP-848).
    pub(super) assignor: &'static str,
    /// Who joins in a full run. The first three read to the end, and are those of a short run.
    clients: &'static [Client],
    /// Left to the full run: whole groups of slow starters keep the other suites from their time.
    pub(super) only_full: bool,
    pub(super) tools: &'static [Tool],
}

impl Kind {
    /// Who joins in a full run, or in a short one.
    pub(super) fn clients(&self, is_full: bool) -> &'static [Client] {
        match is_full {
            true => self.clients,
            false => &self.clients[..self.clients.len().min(JOIN_LAST)],
        }
    }
}

/// Groups have one protocol, so members share the name of an assignor and what they tell its leader.
/// kafka-go and kafkajs are among themselves: what the one tells is cut short, which others refuse, and the
/// other brings an assignor of its own. Java 2.8 is no cooperative member: as the leader of newer ones it gives
/// partitions to others before their owners have given them up.
pub(super) const KINDS: [Kind; 5] = [
    Kind {
        name: "range",
        only_full: false,
        assignor: "range",
        clients: &[
            Client::FranzGo,
            Client::Confluent,
            Client::Java4,
            Client::Sarama,
            Client::Sarama138,
            Client::KafkaPython,
            Client::Aiokafka,
            Client::Kcat,
            Client::Java39,
            Client::Java28,
            Client::Java11,
            Client::Java011,
        ],
        tools: &[
            Tool::Go,
            Tool::Python,
            Tool::Java,
            Tool::Kcat,
            Tool::OwnBroker,
        ],
    },
    Kind {
        name: "cooperative-sticky",
        only_full: false,
        assignor: "cooperative-sticky",
        clients: &[
            Client::FranzGo,
            Client::Confluent,
            Client::Java4,
            Client::Java39,
        ],
        tools: &[Tool::Go, Tool::Python, Tool::Java, Tool::OwnBroker],
    },
    Kind {
        name: "consumer",
        only_full: false,
        assignor: "consumer",
        clients: &[Client::FranzGo, Client::Confluent, Client::Java4],
        tools: &[Tool::Go, Tool::Python, Tool::Java, Tool::OwnBroker],
    },
    Kind {
        name: "kafka-go",
        only_full: true,
        assignor: "range",
        clients: &[Client::KafkaGo],
        tools: &[Tool::Go, Tool::OwnBroker],
    },
    Kind {
        name: "kafkajs",
        only_full: true,
        assignor: "RoundRobinAssigner",
        clients: &[Client::KafkaJs],
        tools: &[Tool::Go, Tool::Node, Tool::OwnBroker],
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
        Client::Kcat => Ok(Command::new("sh")),
        Client::Confluent => python("python/restless.py"),
        Client::KafkaPython => python("python/kafka_python_restless.py"),
        Client::Aiokafka => python("python/aiokafka_restless.py"),
        Client::FranzGo => Ok(Command::new(installs.franz_go()?)),
        Client::Sarama => Ok(Command::new(installs.sarama()?)),
        Client::Sarama138 => Ok(Command::new(installs.shopify()?)),
        Client::KafkaGo => Ok(Command::new(installs.kafka_go()?)),
        Client::KafkaJs => {
            let mut command = Command::new("node");
            command.arg(installs.node()?.join("restless.js"));
            Ok(command)
        }
        Client::Java011 => java("0.11"),
        Client::Java11 => java("1.1"),
        Client::Java28 => java("2.8"),
        Client::Java39 => java("3.9"),
        Client::Java4 => java("4"),
    }
}

/// kcat writes lines of a journal by itself, but for times, and says in lines of its own what it is given
/// (see go/franz-go/events.go). Its output goes to the file; the pipe that tells of its end stays open.
fn kcat(command: &mut Command, told: &Membership<'_>) {
    command.args(["-c", r#"exec kcat "$@" 3>&1 >>"$0" 2>&1"#]);
    command.arg(told.journal);
    command.args(["-b", told.address, "-G", told.group, "-u", "-E"]);
    command.args(["-f", "0 take %p %o %o\n"]);
    for setting in [
        // Nobody else writes between the parts of a line.
        "log_level=0",
        "partition.assignment.strategy=range",
        "auto.offset.reset=earliest",
        "auto.commit.interval.ms=100",
        "session.timeout.ms=3000",
        "max.poll.interval.ms=10000",
        "heartbeat.interval.ms=100",
        "fetch.wait.max.ms=20",
        "reconnect.backoff.max.ms=200",
    ] {
        command.args(["-X", setting]);
    }
    command.arg(told.topic);
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
        if client == Client::Kcat {
            kcat(&mut command, told);
        } else {
            command.args(["--bootstrap", told.address, "member"]);
            command.args([told.group, told.topic, told.assignor]);
            command.arg(told.journal);
            command.arg(format!("{}:{}", told.place, told.count));
        }
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

    /// `kill -9`. kcat leaves: its library commits what it has handed over, perhaps before it is written, and
    /// a kill between the two would lose a record.
    pub(super) fn kill(mut self, until: Instant) -> Result<(), Fault> {
        if self.client == Client::Kcat {
            return self.leave(until);
        }
        self.dies = true;
        self.process.signal(Signal::KILL);
        self.ended()
    }

    /// A clean end, by the end of its input.
    pub(super) fn leave(mut self, until: Instant) -> Result<(), Fault> {
        drop(self.process.stdin());
        if self.client == Client::Kcat {
            self.process.signal(Signal::TERM);
        }
        if !self.process.drain(until) {
            return Err(format!("a member of {} stays", self.client.name()));
        }
        self.ended()
    }
}
