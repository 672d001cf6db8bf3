//! Kafka's ConsumerGroupCommand says about this broker's groups what it says about Kafka's.

use std::io::Write;
use std::process::ChildStdin;
use std::time::Instant;

use rustix::process::Signal;

use super::Fault;
use super::context::Context;
use super::matrix::jvm;
use super::process::{Process, must_succeed, note_duration, now};
use super::tools::{LIMIT, Tools};

/// What it says about Kafka, in two parts.
const TRANSCRIPT: &str = include_str!("consumer_groups.txt");
/// Between the parts: from here on nobody is in the group.
const LEFT: &str = "== left\n";
const COMMAND: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
/// Records of each of two rounds; `$TIME` is when the second one began.
const ROUND: usize = 30;
/// The lines of a stack trace, which tell about the tool.
const TRACES: [&str; 3] = ["at ", "java.util.concurrent.", "Caused by: "];

/// What is put in for the names of the transcript.
type Names = [(&'static str, String); 5];

fn put_in(names: &Names, text: &str) -> String {
    let put = |text: String, (name, value): &(&str, String)| text.replace(name, value);
    names.iter().fold(text.to_owned(), put)
}

/// A line as the transcript has it: one blank for several, no number of a node, no random end of a
/// member's id.
fn as_recorded(line: &str) -> String {
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let one = |word: &str| {
        let inner = word.strip_prefix('(').and_then(|w| w.strip_suffix(')'));
        match word.split_once("console-consumer-") {
            Some((before, _)) => format!("{before}console-consumer-ID"),
            None if inner.is_some_and(is_number) => "(NODE)".to_owned(),
            None => word.to_owned(),
        }
    };
    let words: Vec<String> = line.split_whitespace().map(one).collect();
    words.join(" ")
}

/// One JVM that makes calls of the tool.
pub(super) struct Calls {
    process: Process,
    stdin: ChildStdin,
    address: String,
}

impl Calls {
    pub(super) fn start(context: &Context, address: &str) -> Result<Self, Fault> {
        let mut command = jvm(&context.installs.java_4()?);
        let name = "Kafka's tools";
        let mut process = Process::start(name, command.arg("tidewheel.clients.Calls"))?;
        let stdin = process.stdin().ok_or("no input")?;
        let address = address.to_owned();
        Ok(Self {
            process,
            stdin,
            address,
        })
    }

    /// The lines that a tool says to these arguments.
    pub(super) fn say(
        &mut self,
        class: &str,
        args: &str,
        until: Instant,
    ) -> Result<Vec<String>, Fault> {
        let (address, tabs) = (&self.address, args.replace(' ', "\t"));
        writeln!(self.stdin, "{class}\t--bootstrap-server\t{address}\t{tabs}")
            .map_err(|e| format!("{args}: {e}"))?;
        let mut said = Vec::new();
        loop {
            let line = self.process.line(until)?.ok_or("the tools' JVM ended")?;
            match line.strip_suffix('=') {
                Some("") => return Ok(said),
                // A formatter ends no line.
                Some(last) if last.ends_with('}') => {
                    said.push(last.to_owned());
                    return Ok(said);
                }
                _ => said.push(line),
            }
        }
    }

    /// What the tool says to these arguments, sorted; what concerns other groups is left out.
    fn call(&mut self, args: &str, group: &str, until: Instant) -> Result<Vec<String>, Fault> {
        let is_of_all = !args.contains("--group");
        let mut said = self.say(COMMAND, args, until)?;
        said.iter_mut().for_each(|line| *line = as_recorded(line));
        said.retain(|line| {
            let is_ours = line.contains(group) || line.starts_with("GROUP ");
            !line.is_empty() && (is_ours || !is_of_all) && !is_trace(line)
        });
        said.sort();
        // Each group has a head of its own.
        said.dedup_by(|a, b| is_of_all && a == b);
        Ok(said)
    }

    /// Makes the calls of a part; the first one again until what it waits for is there.
    fn follow(&mut self, part: &str, names: &Names, group: &str) -> Result<(), Fault> {
        let until = now() + LIMIT;
        for (number, call) in part.split("> ").skip(1).enumerate() {
            let call = put_in(names, call);
            let (args, due) = call.split_once('\n').ok_or("no line")?;
            let mut due: Vec<&str> = due.lines().collect();
            due.sort_unstable();
            if !args.contains("--group") {
                due.dedup();
            }
            let mut said = self.call(args, group, until)?;
            while number == 0 && said != due && now() < until {
                said = self.call(args, group, until)?;
            }
            if said != due {
                return Err(format!("{args}\nsays {said:#?}\ndue {due:#?}"));
            }
        }
        Ok(())
    }
}

fn is_trace(line: &str) -> bool {
    let is_class = line.starts_with("org.apache.kafka.");
    is_class || TRACES.iter().any(|start| line.starts_with(start))
}

/// The console consumer in the group, once it has read everything; and when the second round began, ms.
fn reader(tools: &Tools<'_>, group: &str) -> Result<(Process, u64), Fault> {
    let mut command = jvm(&tools.context.installs.java_4()?);
    command.arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
    command.args(["--bootstrap-server", &tools.address]);
    command.args(["--topic", &tools.topic, "--group", group]);
    command.args(["--from-beginning", "--formatter-property"]);
    command.args(["print.timestamp=true", "--command-property"]);
    command.arg("auto.commit.interval.ms=100");
    let mut process = Process::start("ConsoleConsumer", &mut command)?;
    let (until, mut second) = (now() + LIMIT, u64::MAX);
    for _ in 0..2 * ROUND {
        let line = process.line(until)?.ok_or("the reader ended")?;
        let fields = line
            .strip_prefix("CreateTime:")
            .and_then(|line| line.split_once("\tline "));
        let record = fields.and_then(|(time, n)| Some((time.parse().ok()?, n.parse().ok()?)));
        let (time, number): (u64, usize) = record.ok_or_else(|| format!("it reads {line}"))?;
        if number >= ROUND {
            second = second.min(time);
        }
    }
    Ok((process, second))
}

/// A time as the tool takes it, in UTC.
fn date(ms: u64) -> Result<String, Fault> {
    let mut date = std::process::Command::new("date");
    date.args(["-u", "-d", &format!("@{}", ms / 1000), "+%Y-%m-%dT%H:%M:%S"]);
    let text = must_succeed("date", &mut date)?;
    Ok(format!("{}.{:03}", text.trim(), ms % 1000))
}

/// The whole transcript: list, describe, reset by each way of naming the place, delete offsets, delete.
pub(crate) fn consumer_groups(context: &Context) -> Result<(), Fault> {
    let tools = Tools::new(context, "groups")?;
    tools.create()?;
    for round in [0..ROUND, ROUND..2 * ROUND] {
        let lines: Vec<String> = round.map(|n| format!("key-{n}:line {n}\n")).collect();
        tools.produce(&lines.concat())?;
    }
    let group = format!("group-{:x}", std::process::id());
    let _permit = context.permit();
    let started = now();
    let (mut reader, second) = reader(&tools, &group)?;
    let file = tempfile::NamedTempFile::new().map_err(|e| format!("no temporary file: {e}"))?;
    let places = [(0, 1), (1, 2), (2, 0)].map(|(p, o)| format!("{},{p},{o}\n", tools.topic));
    std::fs::write(file.path(), places.concat()).map_err(|e| format!("a file of places: {e}"))?;
    let names = [
        ("$GROUP", group.clone()),
        ("$TOPIC", tools.topic.clone()),
        ("$BROKER", format!("{} (NODE)", tools.address)),
        ("$FILE", file.path().display().to_string()),
        ("$TIME", date(second)?),
    ];
    let (live, left) = TRANSCRIPT.split_once(LEFT).ok_or("one part only")?;
    let mut calls = Calls::start(context, &tools.address)?;
    calls.follow(live, &names, &group)?;
    reader.signal(Signal::TERM);
    if !reader.drain(now() + LIMIT) {
        return Err("the reader does not end".to_owned());
    }
    calls.follow(left, &names, &group)?;
    note_duration("ConsumerGroupCommand", started);
    Ok(())
}
