//! Kafka's own command-line tools. They end with 0 after many errors: what they say is what counts.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;

use super::broker::{Broker, PARTITIONS};
use super::context::Context;
use super::install::Tool;
use super::matrix::jvm;
use super::process::{Process, note_duration, now};
use super::{Fault, trial};

/// One tool from the start of its JVM to its end, on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);
/// How long the console consumer waits for a record, in ms: it ends by count before.
const CONSUMER_TIMEOUT: &str = "60000";
/// What the console consumer prints beside a value.
const PRINTED: [&str; 3] = [
    "print.key=true",
    "print.offset=true",
    "print.partition=true",
];
const TOPIC: &str = "org.apache.kafka.tools.TopicCommand";

/// A broker, and the tools made ready to ask it.
struct Tools<'a> {
    context: &'a Context,
    address: String,
    /// Stopped with the trial; None: a foreign broker.
    _own: Option<Broker>,
    /// Of the topics of one trial; another for each run, so that a foreign broker may be used again.
    topic: String,
}

impl<'a> Tools<'a> {
    fn new(context: &'a Context, name: &str) -> Result<Self, Fault> {
        let own = match context.bootstrap {
            Some(_) => None,
            None => Some(context.new_broker()?),
        };
        let address = match (&own, &context.bootstrap) {
            (Some(broker), _) => broker.address().to_owned(),
            (None, address) => address.clone().unwrap_or_default(),
        };
        Ok(Self {
            context,
            address,
            _own: own,
            topic: format!("tools-{name}-{:x}", std::process::id()),
        })
    }

    /// Runs a tool to its end; gives the lines of its standard output and then of its error output.
    fn run(&self, class: &str, args: &[&str], input: &str) -> Result<String, Fault> {
        let mut command: Command = jvm(&self.context.installs.java_4()?);
        command.args([class, "--bootstrap-server", &self.address]);
        let _permit = self.context.permit();
        let started = now();
        let name = class.rsplit('.').next().unwrap_or(class);
        let mut process = Process::start(name, command.args(args))?;
        if let Some(mut stdin) = process.stdin() {
            stdin
                .write_all(input.as_bytes())
                .map_err(|e| format!("{name}: {e}"))?;
        }
        let mut said = String::new();
        while let Some(line) = process.line(started + LIMIT)? {
            said.push_str(&line);
            said.push('\n');
        }
        let (_, errors) = process.wait()?;
        note_duration(name, started);
        Ok(said + &errors)
    }

    /// The same with all texts to be found in what the tool says.
    fn says(&self, class: &str, args: &[&str], due: &[&str]) -> Result<String, Fault> {
        let said = self.run(class, args, "")?;
        match due.iter().find(|text| !said.contains(**text)) {
            Some(text) => Err(format!("{class} {args:?}: no \"{text}\" in: {said}")),
            None => Ok(said),
        }
    }

    fn create(&self) -> Result<(), Fault> {
        let args = ["--create", "--topic", &self.topic, "--partitions", "3"];
        let config = ["--config", "retention.ms=3600000"];
        let created = format!("Created topic {}.", self.topic);
        self.says(TOPIC, &[&args[..], &config].concat(), &[&created])?;
        Ok(())
    }

    /// Sends lines `KEY:VALUE`; the console producer says nothing when all went well.
    fn produce(&self, lines: &str) -> Result<(), Fault> {
        let args = ["--topic", &self.topic, "--reader-property"];
        let key = ["parse.key=true", "--reader-property", "key.separator=:"];
        let class = "org.apache.kafka.tools.ConsoleProducer";
        match self.run(class, &[&args[..], &key].concat(), lines)? {
            said if said.trim().is_empty() => Ok(()),
            said => Err(format!("ConsoleProducer says: {said}")),
        }
    }

    /// The end of each partition, as the offset shell tells it.
    fn ends(&self) -> Result<Vec<u64>, Fault> {
        let class = "org.apache.kafka.tools.GetOffsetShell";
        let said = self.says(class, &["--topic", &self.topic], &[])?;
        let mut out = Vec::new();
        for partition in 0..PARTITIONS {
            let start = format!("{}:{partition}:", self.topic);
            let found = said.lines().find_map(|line| line.strip_prefix(&start));
            let end = found.and_then(|end| end.parse().ok());
            out.push(end.ok_or_else(|| format!("no end of partition {partition} in: {said}"))?);
        }
        Ok(out)
    }
}

/// Create, list, describe, create again, delete.
fn topics(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "topics")?;
    let topic = &tools.topic;
    tools.create()?;
    let said = tools.says(
        TOPIC,
        &["--describe", "--topic", topic],
        &[
            "PartitionCount: 3\tReplicationFactor: 1\tConfigs: ",
            "retention.ms=3600000",
        ],
    )?;
    for partition in 0..3 {
        let start = format!("\tTopic: {topic}\tPartition: {partition}\tLeader: ");
        let line = said.lines().find_map(|line| line.strip_prefix(&start));
        let node = line.and_then(|line| line.split('\t').next());
        let node = node.ok_or_else(|| format!("no partition {partition} in: {said}"))?;
        let replicas = format!("{node}\tReplicas: {node}\tIsr: {node}\t");
        if !line.is_some_and(|line| line.starts_with(&replicas)) {
            return Err(format!("partition {partition} in: {said}"));
        }
    }
    let again = ["--create", "--topic", topic];
    tools.says(TOPIC, &again, &["Error while executing topic command"])?;
    let filter = ["--list", "--topic", topic];
    tools.says(TOPIC, &filter, &[topic])?;
    tools.says(TOPIC, &["--delete", "--topic", topic], &[])?;
    match tools.says(TOPIC, &filter, &[])? {
        said if said.contains(topic.as_str()) && !context.settle => {
            Err(format!("a deleted topic is listed: {said}"))
        }
        _ => Ok(()),
    }
}

/// Records through the console, to a topic that is created by it, and back by partition.
fn console(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "console")?;
    let sent: Vec<String> = (0..100).map(|n| format!("key-{n}:line {n}\n")).collect();
    tools.produce(&sent.concat())?;
    let ends = tools.ends()?;
    if ends.iter().sum::<u64>() != 100 {
        return Err(format!("100 records were sent, partitions end at {ends:?}"));
    }
    let mut read = Vec::new();
    for (partition, end) in ends.iter().enumerate().filter(|(_, end)| **end > 0) {
        let (number, count) = (partition.to_string(), end.to_string());
        let from = ["--topic", &tools.topic, "--partition", &number];
        let until = ["--offset", "earliest", "--max-messages", &count];
        let limit = ["--timeout-ms", CONSUMER_TIMEOUT];
        let mut args = [&from[..], &until, &limit].concat();
        for property in PRINTED {
            args.extend(["--formatter-property", property]);
        }
        let total = format!("Processed a total of {end} messages");
        let class = "org.apache.kafka.tools.consumer.ConsoleConsumer";
        let said = tools.says(class, &args, &[&total])?;
        let lines = said.lines().filter(|line| line.starts_with("Partition:"));
        for (offset, line) in lines.enumerate() {
            let start = format!("Partition:{partition}\tOffset:{offset}\t");
            let record = line.strip_prefix(&start);
            let record = record.ok_or_else(|| format!("{line} is not at {start}"))?;
            read.push(record.replacen('\t', ":", 1) + "\n");
        }
    }
    read.sort();
    let mut sent = sent;
    sent.sort();
    if read == sent {
        Ok(())
    } else {
        Err(format!("{} records came back, not those sent", read.len()))
    }
}

/// The tool negotiates: the newest version that it and the broker know.
fn versions(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "versions")?;
    let class = "org.apache.kafka.tools.BrokerApiVersionsCommand";
    let due = [
        "Produce(0): 0 to 13 [usable: 13]",
        "Fetch(1): 4 to ",
        "Metadata(3): 0 to 13 [usable: 13]",
        "ApiVersions(18): 0 to 4 [usable: 4]",
        " to 7 [usable: 7]", // CreateTopics, of which Apache Kafka serves fewer old versions
    ];
    tools.says(class, &[], &due).map(|_| ())
}

/// Settings of a topic and of the broker, with where they come from.
fn configs(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "configs")?;
    tools.create()?;
    let class = "kafka.admin.ConfigCommand";
    let topic = ["--entity-type", "topics", "--entity-name", &tools.topic];
    let set = "retention.ms=3600000 sensitive=false \
               synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=3600000";
    let described = tools.says(class, &[&["--describe"], &topic[..]].concat(), &[set])?;
    if described.contains("cleanup.policy") {
        return Err(format!(
            "a default among what was set on the topic: {described}"
        ));
    }
    let all = [&["--describe", "--all"], &topic[..]].concat();
    let due = [
        set,
        "cleanup.policy=delete sensitive=false",
        "max.message.bytes=1048588",
    ];
    tools.says(class, &all, &due)?;
    let broker = ["--describe", "--all", "--entity-type", "brokers"];
    let node = ["--entity-name", "1"];
    let due = "num.partitions=3 sensitive=false synonyms={STATIC_BROKER_CONFIG:num.partitions=3";
    let args = [&broker[..], &node].concat();
    tools.says(class, &args, &[due]).map(|_| ())
}

/// `tools::NAME`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    type Body = fn(&Context) -> Result<(), Fault>;
    let all: [(&str, Body); 4] = [
        ("topics", topics),
        ("console", console),
        ("versions", versions),
        ("configs", configs),
    ];
    all.into_iter()
        .map(|(name, body)| {
            trial(context, format!("tools::{name}"), &[Tool::Java], move |c| {
                body(c)
            })
        })
        .collect()
}
