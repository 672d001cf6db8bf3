//! The client matrix: every client, codec and case, and every client reading what the others wrote.

use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::Trial;

use super::broker::PARTITIONS;
use super::context::Context;
use super::install::{Tool, sources};
use super::process::{Report, run};
use super::{Fault, cases, trial};

/// One client's whole list, on a busy machine.
const MATRIX_LIMIT: Duration = Duration::from_secs(240);
/// The case that has a broker to itself.
const BROKER_LIMIT: Duration = Duration::from_secs(60);
/// All that a client does in groups.
const GROUPS_LIMIT: Duration = Duration::from_secs(150);
/// One client reading all topics of all others.
const CROSS_LIMIT: Duration = Duration::from_secs(120);

/// The case of the mode `broker`.
const BROKER_CASE: &str = "admin/alter-broker-configs";
/// The topics per codec that other clients read again.
const CROSS_TOPICS: [&str; 2] = ["acks-all", "sizes"];

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Kcat,
    Confluent,
    KafkaPython,
    Aiokafka,
    FranzGo,
    Sarama,
    Sarama138,
    KafkaGo,
    KafkaJs,
    Java011,
    Java11,
    Java28,
    Java39,
    Java4,
}

impl Client {
    pub(crate) const ALL: [Self; 14] = [
        Self::Kcat,
        Self::Confluent,
        Self::KafkaPython,
        Self::Aiokafka,
        Self::FranzGo,
        Self::Sarama,
        Self::Sarama138,
        Self::KafkaGo,
        Self::KafkaJs,
        Self::Java011,
        Self::Java11,
        Self::Java28,
        Self::Java39,
        Self::Java4,
    ];
    /// Those that can hash what a topic holds.
    const READERS: [Self; 11] = [
        Self::Confluent,
        Self::KafkaPython,
        Self::Aiokafka,
        Self::FranzGo,
        Self::Sarama,
        Self::Sarama138,
        Self::Java011,
        Self::Java11,
        Self::Java28,
        Self::Java39,
        Self::Java4,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kcat => "kcat",
            Self::Confluent => "confluent-kafka",
            Self::KafkaPython => "kafka-python",
            Self::Aiokafka => "aiokafka",
            Self::FranzGo => "franz-go",
            Self::Sarama => "sarama",
            Self::Sarama138 => "sarama-1.38",
            Self::KafkaGo => "kafka-go",
            Self::KafkaJs => "kafkajs",
            Self::Java011 => "java-0.11",
            Self::Java11 => "java-1.1",
            Self::Java28 => "java-2.8",
            Self::Java39 => "java-3.9",
            Self::Java4 => "java-4",
        }
    }

    pub(crate) fn tools(self) -> &'static [Tool] {
        match self {
            Self::Kcat => &[Tool::Kcat],
            Self::Confluent | Self::KafkaPython | Self::Aiokafka => &[Tool::Python],
            Self::FranzGo | Self::Sarama | Self::Sarama138 | Self::KafkaGo => &[Tool::Go],
            Self::KafkaJs => &[Tool::Node, Tool::Go],
            Self::Java011 | Self::Java11 | Self::Java28 | Self::Java39 | Self::Java4 => {
                &[Tool::Java]
            }
        }
    }

    /// Whether it can read what another client compressed.
    fn reads(self, writer: Self, codec: &str) -> bool {
        // The LZ4 library of the old sarama fails on the block checksums that aiokafka writes.
        let checksums = writer == Self::Aiokafka && codec == "lz4";
        cases::codecs(self).contains(&codec) && !(self == Self::Sarama138 && checksums)
    }

    fn index(self) -> usize {
        self as usize
    }

    /// The program with what every mode takes; the mode and its own arguments follow.
    pub(crate) fn command(
        self,
        context: &Context,
        address: &str,
        prefix: &str,
    ) -> Result<Command, Fault> {
        let mut command = match self {
            Self::Kcat => script(Command::new("python3"), "kcat/kcat_client.py"),
            Self::Confluent => script(
                Command::new(context.installs.python()?),
                "python/confluent_client.py",
            ),
            Self::KafkaPython => script(
                Command::new(context.installs.python()?),
                "python/kafka_python_client.py",
            ),
            Self::Aiokafka => script(
                Command::new(context.installs.python()?),
                "python/aiokafka_client.py",
            ),
            Self::FranzGo => Command::new(context.installs.franz_go()?),
            Self::Sarama => Command::new(context.installs.sarama()?),
            Self::Sarama138 => Command::new(context.installs.shopify()?),
            Self::KafkaGo => Command::new(context.installs.kafka_go()?),
            Self::KafkaJs => kafkajs(context)?,
            Self::Java011 => java(&context.installs.java("0.11")?),
            Self::Java11 => java(&context.installs.java("1.1")?),
            Self::Java28 => java(&context.installs.java("2.8")?),
            Self::Java39 => java(&context.installs.java("3.9")?),
            Self::Java4 => java(&context.installs.java_4()?),
        };
        command.args(["--bootstrap", address, "--prefix", prefix]);
        command.args(["--partitions", &PARTITIONS.to_string()]);
        if context.settle {
            command.arg("--settle");
        }
        Ok(command)
    }
}

/// A Python program of the source tree; no byte code is left beside it.
pub(crate) fn script(mut python: Command, path: &str) -> Command {
    python.arg("-B").arg(sources().join(path));
    python
}

/// The kafkajs program, with the one that reads for it.
fn kafkajs(context: &Context) -> Result<Command, Fault> {
    let mut command = Command::new("node");
    command.arg(context.installs.node()?.join("kafkajs_client.js"));
    command.arg("--reader").arg(context.installs.franz_go()?);
    Ok(command)
}

/// The Java program on the class path that Maven collected; small, quick to start.
pub(crate) fn java(installed: &std::path::Path) -> Command {
    let mut command = jvm(installed);
    command.arg("tidewheel.clients.Main");
    command
}

/// A JVM with the class path of an install.
pub(crate) fn jvm(installed: &std::path::Path) -> Command {
    let mut command = Command::new("java");
    command.args([
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
    ]);
    command.arg(format!("{0}/classes:{0}/lib/*", installed.display()));
    command
}

/// What the clients said, each run at most once.
#[derive(Default)]
pub(crate) struct Runs {
    matrix: [OnceLock<Report>; Client::ALL.len()],
    cross: [OnceLock<Report>; Client::ALL.len()],
    groups: [OnceLock<Report>; Client::ALL.len()],
}

/// Names of topics differ from run to run, so that a foreign broker may be used again.
fn prefix(client: Client) -> String {
    format!("{}-{:x}", client.name(), std::process::id())
}

/// The report of a client's list; the first caller runs it.
fn matrix_report(context: &Context, client: Client) -> &Report {
    context.runs.matrix[client.index()].get_or_init(|| {
        // An install waits for the network, not for a core: it needs no permit.
        let command = context
            .shared_address()
            .and_then(|address| client.command(context, &address, &prefix(client)));
        match command {
            Ok(mut command) => {
                let _permit = context.permit();
                run(client.name(), command.arg("matrix"), MATRIX_LIMIT)
            }
            Err(fault) => Report::of_fault(fault),
        }
    })
}

fn available(context: &Context) -> impl Iterator<Item = Client> {
    Client::ALL
        .into_iter()
        .filter(|client| context.missing(client.tools()).is_none())
}

/// The topics that clients have written and this one can read again.
fn cross_topics(context: &Context, reader: Client) -> Vec<String> {
    let mut out = Vec::new();
    for client in available(context) {
        let read = |codec: &&&str| reader.reads(client, codec);
        for codec in cases::codecs(client).iter().filter(read) {
            out.extend(
                CROSS_TOPICS
                    .iter()
                    .map(|kind| format!("{}-{codec}-{kind}", prefix(client))),
            );
        }
    }
    out
}

fn cross_report(context: &Context, reader: Client) -> &Report {
    context.runs.cross[reader.index()].get_or_init(|| {
        for client in available(context) {
            matrix_report(context, client);
        }
        let command = context
            .shared_address()
            .and_then(|address| reader.command(context, &address, "unused"));
        match command {
            Ok(mut command) => {
                let _permit = context.permit();
                let topics = cross_topics(context, reader);
                run(
                    &format!("cross {}", reader.name()),
                    command.arg("digest").args(topics),
                    CROSS_LIMIT,
                )
            }
            Err(fault) => Report::of_fault(fault),
        }
    })
}

/// Every topic has the same digest for this reader and for the first one.
fn compare_digests(context: &Context, reader: Client) -> Result<(), Fault> {
    let mut readers = Client::READERS.into_iter();
    let first = readers
        .find(|client| context.missing(client.tools()).is_none())
        .unwrap_or(reader);
    for topic in cross_topics(context, reader) {
        let case = format!("digest/{topic}");
        let got = cross_report(context, reader)
            .result(&case)
            .map_err(|e| format!("{topic}: {e}"))?;
        let want = cross_report(context, first).result(&case);
        let want = want.map_err(|e| format!("{topic}, read by {}: {e}", first.name()))?;
        if got != want {
            return Err(format!(
                "{topic} differs between {} and {}",
                reader.name(),
                first.name()
            ));
        }
    }
    Ok(())
}

/// A client changes the broker's own settings: on a broker of its own, for others must not see that.
fn alter_broker(context: &Context, client: Client) -> Result<(), Fault> {
    let broker = context.new_broker()?;
    let mut command = client.command(context, broker.address(), &prefix(client))?;
    let _permit = context.permit();
    let label = format!("broker {}", client.name());
    let report = run(&label, command.arg("broker"), BROKER_LIMIT);
    report.result(BROKER_CASE).map(|_| ())
}

/// The report of a client's groups; on a broker of its own, which does not wait for more members.
fn groups_report(context: &Context, client: Client) -> &Report {
    context.runs.groups[client.index()].get_or_init(|| {
        let ran = || {
            let own = match context.bootstrap {
                Some(_) => None,
                None => Some(context.new_broker_with(&["group.initial.rebalance.delay.ms=0"])?),
            };
            let address = match &own {
                Some(broker) => broker.address().to_owned(),
                None => context.shared_address()?,
            };
            let mut command = client.command(context, &address, &prefix(client))?;
            let _permit = context.permit();
            let label = format!("groups {}", client.name());
            Ok(run(&label, command.arg("groups"), GROUPS_LIMIT))
        };
        ran().unwrap_or_else(Report::of_fault)
    })
}

/// Runs every client that is there, and waits: for suites that look at what they left.
pub(crate) fn run_all(context: &Context) {
    for client in available(context) {
        matrix_report(context, client);
    }
    for reader in Client::READERS {
        if context.missing(reader.tools()).is_none() {
            cross_report(context, reader);
        }
    }
}

/// `CLIENT::CASE`, `CLIENT::all-cases-known` and `cross::CLIENT`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let mut out = Vec::new();
    for client in Client::ALL {
        for case in cases::of(client) {
            let name = format!("{}::{case}", client.name());
            out.push(trial(context, name, client.tools(), move |context| {
                matrix_report(context, client).result(&case).map(|_| ())
            }));
        }
        let name = format!("{}::all-cases-known", client.name());
        out.push(trial(context, name, client.tools(), move |context| {
            matrix_report(context, client).only(&cases::of(client))
        }));
    }
    for client in Client::ALL {
        for case in cases::groups(client) {
            let name = format!("{}::{case}", client.name());
            out.push(trial(context, name, client.tools(), move |context| {
                groups_report(context, client).result(case).map(|_| ())
            }));
        }
    }
    // Not on a foreign broker, which is everybody's.
    let alone = context.bootstrap.is_none();
    let altering = |client: &Client| alone && cases::alters_broker(*client);
    for client in Client::ALL.into_iter().filter(altering) {
        let name = format!("{}::{BROKER_CASE}", client.name());
        out.push(trial(context, name, client.tools(), move |context| {
            alter_broker(context, client)
        }));
    }
    for reader in Client::READERS {
        let name = format!("cross::{}", reader.name());
        out.push(trial(context, name, reader.tools(), move |context| {
            compare_digests(context, reader)
        }));
    }
    out
}
