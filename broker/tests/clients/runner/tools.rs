//! Kafka's own command-line tools. They end with 0 after many errors: what they say is what counts.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde::Deserialize;

use super::broker::{Broker, PARTITIONS};
use super::context::Context;
use super::group_tool::consumer_groups;
use super::install::Tool;
use super::matrix::jvm;
use super::offsets_topic::offsets_topic;
use super::process::{Process, note_duration, now};
use super::{Fault, trial};

/// One tool from the start of its JVM to its end, on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
/// How long the console consumer waits for a record, in ms: it ends by count before.
const CONSUMER_TIMEOUT: &str = "60000";
/// What the console consumer prints beside a value.
const PRINTED: [&str; 3] = [
    "print.key=true",
    "print.offset=true",
    "print.partition=true",
];
/// What Kafka's ClientCompatibilityTest says when all that it does, from its start, takes it 10 s: a busy
/// machine, which is no matter of the broker's.
const TOO_SLOW: &str = "Timed out after 10000 ms.";
const COMPATIBILITY_ATTEMPTS: usize = 3;
const TOPIC: &str = "org.apache.kafka.tools.TopicCommand";

/// A broker, and the tools made ready to ask it.
pub(super) struct Tools<'a> {
    pub(super) context: &'a Context,
    pub(super) address: String,
    /// Stopped with the trial; None: a foreign broker.
    _own: Option<Broker>,
    /// Of the topics of one trial; another for each run, so that a foreign broker may be used again.
    pub(super) topic: String,
}

impl<'a> Tools<'a> {
    pub(super) fn new(context: &'a Context, name: &str) -> Result<Self, Fault> {
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

    pub(super) fn create(&self) -> Result<(), Fault> {
        let args = ["--create", "--topic", &self.topic, "--partitions", "3"];
        let config = ["--config", "retention.ms=3600000"];
        let created = format!("Created topic {}.", self.topic);
        self.says(TOPIC, &[&args[..], &config].concat(), &[&created])?;
        Ok(())
    }

    /// Sends lines `KEY:VALUE`; the console producer says nothing when all went well.
    pub(super) fn produce(&self, lines: &str) -> Result<(), Fault> {
        let args = ["--topic", &self.topic, "--reader-property"];
        let key = ["parse.key=true", "--reader-property", "key.separator=:"];
        let class = "org.apache.kafka.tools.ConsoleProducer";
        match self.run(class, &[&args[..], &key].concat(), lines)? {
            said if said.trim().is_empty() => Ok(()),
            said => Err(format!("ConsoleProducer says: {said}")),
        }
    }

    /// The offset of each partition, `earliest` or `latest`, as the offset shell tells it.
    fn offsets(&self, time: &str) -> Result<Vec<u64>, Fault> {
        let class = "org.apache.kafka.tools.GetOffsetShell";
        let said = self.says(class, &["--topic", &self.topic, "--time", time], &[])?;
        let mut out = Vec::new();
        for partition in 0..PARTITIONS {
            let start = format!("{}:{partition}:", self.topic);
            let found = said.lines().find_map(|line| line.strip_prefix(&start));
            let offset = found.and_then(|offset| offset.parse().ok());
            out.push(
                offset.ok_or_else(|| format!("no offset of partition {partition} in: {said}"))?,
            );
        }
        Ok(out)
    }
}

/// Create, list, describe, create again, alter, delete.
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
    let grow = ["--alter", "--topic", topic, "--partitions"];
    tools.says(TOPIC, &[&grow[..], &["4"]].concat(), &[])?;
    tools.says(
        TOPIC,
        &[&grow[..], &["2"]].concat(),
        &["2 would not be an increase"],
    )?;
    let filter = ["--list", "--topic", topic];
    tools.says(TOPIC, &filter, &[topic])?;
    let describe = ["--describe", "--topic", topic];
    tools.says(TOPIC, &describe, &["PartitionCount: 4\t"])?;
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
    let ends = tools.offsets("latest")?;
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

/// Settings of a topic and of the broker, with where they come from; settings of a topic altered.
/// Kafka's tools live in `org.apache.kafka.tools`, but this one stayed in `kafka.admin`.
fn fact_22_configs(context: &Context) -> Result<(), Fault> {
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
    let add = [&["--alter"], &topic[..], &["--add-config"]].concat();
    let updated = format!("Completed updating config for topic {}.", tools.topic);
    tools.says(
        class,
        &[&add[..], &["max.message.bytes=20000"]].concat(),
        &[&updated],
    )?;
    let unknown = [&add[..], &["no.such.key=1"]].concat();
    tools.says(class, &unknown, &["InvalidConfigurationException"])?;
    let delete = ["--delete-config", "retention.ms"];
    let delete = [&["--alter"], &topic[..], &delete].concat();
    tools.says(class, &delete, &[&updated])?;
    let left = tools.says(
        class,
        &[&["--describe"], &topic[..]].concat(),
        &["DYNAMIC_TOPIC_CONFIG:max.message.bytes=20000"],
    )?;
    if left.contains("retention.ms") {
        return Err(format!("a deleted setting is left: {left}"));
    }
    let broker = ["--describe", "--all", "--entity-type", "brokers"];
    let node = ["--entity-name", "1"];
    let due = "num.partitions=3 sensitive=false synonyms={STATIC_BROKER_CONFIG:num.partitions=3";
    let args = [&broker[..], &node].concat();
    tools.says(class, &args, &[due]).map(|_| ())
}

/// Settings of one broker and of all, by their names and by default: altered, told with where each comes from, and
/// deleted again.
fn broker_configs(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "broker-configs")?;
    let class = "kafka.admin.ConfigCommand";
    let (one, all) = (["--entity-name", "1"], ["--entity-default"]);
    let with = |action: &'static str, whom: &[&'static str]| {
        [&[action, "--entity-type", "brokers"], whom].concat()
    };
    let (own, default) = (
        "DYNAMIC_BROKER_CONFIG:log.retention.ms=7200000",
        "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=10800000",
    );
    let done_for_one = "Completed updating config for broker 1.";
    let done_for_all = "Completed updating default config for brokers in the cluster.";
    for (whom, value, done) in [
        (&one[..], "log.retention.ms=7200000", done_for_one),
        (&all[..], "log.retention.ms=10800000", done_for_all),
    ] {
        let add = [&with("--alter", whom)[..], &["--add-config", value]].concat();
        tools.says(class, &add, &[done])?;
    }
    let describe = |whom| tools.says(class, &with("--describe", whom), &[]);
    let synonyms = format!("log.retention.ms=7200000 sensitive=false synonyms={{{own}, {default}");
    let told = describe(&one)?;
    if !told.contains(&synonyms) {
        return Err(format!("no \"{synonyms}\" in: {told}"));
    }
    let told = describe(&all)?;
    if !told.contains(default) || told.contains(own) {
        return Err(format!("of all brokers: {told}"));
    }
    // What only a start reads, and a value that is none.
    for setting in ["num.partitions=5", "log.retention.ms=soon"] {
        let wrong = [&with("--alter", &one)[..], &["--add-config", setting]].concat();
        tools.says(class, &wrong, &["InvalidRequestException"])?;
    }
    for (whom, done) in [(&one[..], done_for_one), (&all[..], done_for_all)] {
        let delete = ["--delete-config", "log.retention.ms"];
        tools.says(
            class,
            &[&with("--alter", whom)[..], &delete].concat(),
            &[done],
        )?;
    }
    match describe(&one)? {
        told if told.contains("DYNAMIC") => Err(format!("what was deleted is left: {told}")),
        _ => Ok(()),
    }
}

/// Levels of the log: described, set, refused and set back. The tool takes only names that the broker lists.
fn broker_loggers(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "loggers")?;
    let class = "kafka.admin.ConfigCommand";
    let broker = ["--entity-type", "broker-loggers", "--entity-name", "1"];
    let describe = [&["--describe"], &broker[..]].concat();
    let described = tools.says(class, &describe, &["  root="])?;
    let names = described.lines().filter_map(|line| line.split_once('='));
    let names = names.filter_map(|(name, _)| name.strip_prefix("  "));
    let mut names = names.filter(|name| *name != "root");
    let Some(logger) = names.next_back() else {
        return Err(format!("no logger but root: {described}"));
    };
    let alter = [&["--alter"], &broker[..]].concat();
    let updated = "Completed updating config for broker-logger 1.";
    let level = format!("{logger}=DEBUG");
    let add = [&alter[..], &["--add-config", &level]].concat();
    tools.says(class, &add, &[updated])?;
    tools.says(class, &describe, &[&format!("  {level} sensitive=false")])?;
    for (option, config, due) in [
        (
            "--add-config",
            "no.such.logger=DEBUG",
            "Invalid broker logger",
        ),
        ("--add-config", "root=LOUD", "InvalidConfigurationException"),
        ("--delete-config", "root", "InvalidRequestException"),
    ] {
        let wrong = [&alter[..], &[option, config]].concat();
        tools.says(class, &wrong, &[due])?;
    }
    let delete = [&alter[..], &["--delete-config", logger]].concat();
    tools.says(class, &delete, &[updated])?;
    match tools.says(class, &describe, &[])? {
        said if said.contains(&format!("  {level} ")) => {
            Err(format!("a level that was deleted is left: {said}"))
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct LogDirs {
    brokers: Vec<BrokerDirs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BrokerDirs {
    log_dirs: Vec<LogDir>,
}

#[derive(Deserialize)]
struct LogDir {
    error: Option<String>,
    partitions: Vec<PartitionDir>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartitionDir {
    partition: String,
    size: u64,
    offset_lag: i64,
    is_future: bool,
}

/// Sizes on disk: more in partitions that hold records than in those that do not.
fn log_dirs(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "log-dirs")?;
    tools.create()?;
    tools.produce("key:a line\n")?;
    let ends = tools.offsets("latest")?;
    let class = "org.apache.kafka.tools.LogDirsCommand";
    let args = ["--describe", "--topic-list", &tools.topic];
    let said = tools.says(class, &args, &["Received log directory information"])?;
    let json = said.lines().find(|line| line.starts_with('{'));
    let seen: LogDirs = serde_json::from_str(json.unwrap_or_default())
        .map_err(|e| format!("{e} in the answer: {said}"))?;
    let dirs = || seen.brokers.iter().flat_map(|b| &b.log_dirs);
    let partitions = dirs().flat_map(|dir| &dir.partitions);
    let is_right = |p: &PartitionDir| {
        let number = p.partition.rsplit('-').next().unwrap_or_default();
        let end = number.parse().ok().and_then(|n: usize| ends.get(n));
        end.is_some_and(|end| (*end > 0) == (p.size > 0)) && p.offset_lag == 0 && !p.is_future
    };
    if dirs().all(|dir| dir.error.is_none())
        && partitions.clone().count() == 3
        && partitions.clone().all(is_right)
    {
        return Ok(());
    }
    Err(format!("the partitions end at {ends:?}; {said}"))
}

/// Records before an offset go; an offset past the end is refused, and only that.
fn delete_records(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "delete-records")?;
    tools.create()?;
    let topic = &tools.topic;
    let sent: Vec<String> = (0..30).map(|n| format!("key-{n}:line {n}\n")).collect();
    tools.produce(&sent.concat())?;
    let ends = tools.offsets("latest")?;
    let asked: Vec<String> = [1, 2, 1_000_000]
        .iter()
        .enumerate()
        .map(|(p, offset)| format!(r#"{{"topic":"{topic}","partition":{p},"offset":{offset}}}"#))
        .collect();
    let list = format!(r#"{{"partitions":[{}],"version":1}}"#, asked.join(","));
    let file = tempfile::NamedTempFile::new().map_err(|e| format!("no temporary file: {e}"))?;
    std::fs::write(file.path(), list).map_err(|e| format!("{}: {e}", file.path().display()))?;
    let class = "org.apache.kafka.tools.DeleteRecordsCommand";
    let path = file.path().display().to_string();
    let due = [
        format!("partition: {topic}-0\tlow_watermark: 1"),
        format!("partition: {topic}-1\tlow_watermark: 2"),
        format!("partition: {topic}-2\terror: "),
    ];
    let due = due.each_ref().map(String::as_str);
    let said = tools.says(class, &["--offset-json-file", &path], &due)?;
    let (first, after) = (tools.offsets("earliest")?, tools.offsets("latest")?);
    if !said.contains("OffsetOutOfRangeException") || first != [1, 2, 0] || after != ends {
        return Err(format!("{first:?} to {after:?}, once {ends:?}: {said}"));
    }
    Ok(())
}

/// Kafka's own test of a client against any broker: all that it knows of is there.
fn client_compatibility(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "compatibility")?;
    let mut said = String::new();
    for attempt in 0..COMPATIBILITY_ATTEMPTS {
        said = compatibility_once(&tools, &format!("{}-{attempt}", tools.topic))?;
        // It makes this topic, and would be in its own way the next time.
        tools.says(TOPIC, &["--delete", "--topic", "newtopic"], &[])?;
        if !said.contains(TOO_SLOW) {
            break;
        }
    }
    match said.contains("SUCCESS.") {
        true => Ok(()),
        false => Err(format!("ClientCompatibilityTest says: {said}")),
    }
}

fn compatibility_once(tools: &Tools<'_>, topic: &str) -> Result<String, Fault> {
    let created = format!("Created topic {topic}.");
    let one = ["--create", "--topic", topic, "--partitions", "1"];
    tools.says(TOPIC, &one, &[&created])?;
    let mut args = vec!["--topic", topic, "--num-cluster-nodes", "1"];
    for feature in [
        "--create-topics-supported",
        "--offsets-for-times-supported",
        "--cluster-id-supported",
        "--describe-acls-supported",
        "--describe-configs-supported",
        "--idempotent-producer-supported",
    ] {
        args.extend([feature, "true"]);
    }
    args.extend(["--expect-record-too-large-exception", "false"]);
    let class = "org.apache.kafka.tools.ClientCompatibilityTest";
    tools.run(class, &args, "")
}

/// `tools::NAME`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    type Body = fn(&Context) -> Result<(), Fault>;
    let all: [(&str, Body); 10] = [
        ("topics", topics),
        ("console", console),
        ("versions", versions),
        ("fact_22_configs", fact_22_configs),
        ("broker-configs", broker_configs),
        ("broker-loggers", broker_loggers),
        ("log-dirs", log_dirs),
        ("delete-records", delete_records),
        ("client-compatibility", client_compatibility),
        ("consumer-groups", consumer_groups),
    ];
    all.into_iter()
        .map(|(name, body)| {
            trial(context, format!("tools::{name}"), &[Tool::Java], move |c| {
                body(c)
            })
        })
        .chain([trial(
            context,
            "tools::offsets-topic".to_owned(),
            &[Tool::Java, Tool::OwnBroker],
            |c| offsets_topic(c),
        )])
        .collect()
}
