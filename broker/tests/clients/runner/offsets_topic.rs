//! What Kafka's own formatters read out of `__consumer_offsets`, as lag monitors do, is what was committed: while a
//! member is there, after offsets and groups are deleted, after a compaction and after a restart.

use std::collections::BTreeMap;
use std::process::Command;

use rustix::process::Signal;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Fault;
use super::context::Context;
use super::group_tool::Calls;
use super::matrix::jvm;
use super::process::{Process, note_duration, now};
use super::tools::LIMIT;

const OFFSETS: &str = "org.apache.kafka.tools.consumer.OffsetsMessageFormatter";
const GROUPS: &str = "org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const COMMAND: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ProducerPerformance";
/// Short segments, which are soon worth compacting, in one partition.
const SETTINGS: [&str; 6] = [
    "offsets.topic.num.partitions=1",
    "log.roll.ms=1",
    "log.cleaner.backoff.ms=50",
    "log.cleaner.min.cleanable.ratio=0",
    "log.flush.offset.checkpoint.interval.ms=50",
    "group.initial.rebalance.delay.ms=0",
];
const TOPIC: &str = "read";
const RECORDS: usize = 60;
/// Commits of one group that nothing is left of but the last and what the newest segment has.
const MOVES: usize = 6;

/// A group whose member is seen, one of the newer protocol, one whose offsets go to and fro, one whose offsets are
/// deleted, and one that is deleted.
const CLASSIC: &str = "classic";
const NEWER: &str = "newer";
const MOVED: &str = "moved";
const BARE: &str = "bare";
const GONE: &str = "gone";

/// What a formatter says of a record.
#[derive(Debug, Deserialize)]
struct Said<K, V> {
    key: Data<K>,
    value: Option<Data<V>>,
}

#[derive(Debug, Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Debug, Deserialize)]
struct OffsetKey {
    group: String,
    topic: String,
    partition: i32,
}

#[derive(Debug, Deserialize)]
struct Offset {
    offset: i64,
}

#[derive(Debug, Deserialize)]
struct GroupKey {
    group: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    protocol_type: String,
    leader: Option<String>,
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    member_id: String,
}

/// The last that is said of each partition of a group; none where that is that there is no offset.
type Committed = BTreeMap<(String, i32), Option<i64>>;

/// What a formatter prints, one JSON text behind the other. What is no such record is about other keys, or from the
/// tool.
fn records<T: DeserializeOwned>(calls: &mut Calls, formatter: &str) -> Result<Vec<T>, Fault> {
    let args = format!(
        "--topic __consumer_offsets --partition 0 --offset earliest --timeout-ms 1000 --formatter {formatter}"
    );
    let said = calls.say(CONSUMER, &args, now() + LIMIT)?.join("\n");
    let starts = said.match_indices("{\"key\"").map(|(at, _)| at);
    let parsed = starts.filter_map(|at| {
        let mut texts = serde_json::Deserializer::from_str(said.get(at..)?).into_iter();
        texts.next()?.ok()
    });
    Ok(parsed.collect())
}

/// The offsets of all groups, and how many records tell those of the group that was moved.
fn offsets(calls: &mut Calls) -> Result<(Committed, usize), Fault> {
    let all: Vec<Said<OffsetKey, Offset>> = records(calls, OFFSETS)?;
    let moves = all.iter().filter(|said| said.key.data.group == MOVED);
    let (mut committed, moves) = (Committed::new(), moves.count());
    for Said { key, value } in all {
        let OffsetKey {
            group,
            topic,
            partition,
        } = key.data;
        if topic != TOPIC {
            return Err(format!("{group} has an offset in {topic}"));
        }
        committed.insert((group, partition), value.map(|value| value.data.offset));
    }
    Ok((committed, moves))
}

/// The last that is said of each classic group.
fn generations(calls: &mut Calls) -> Result<BTreeMap<String, Option<Generation>>, Fault> {
    let all: Vec<Said<GroupKey, Generation>> = records(calls, GROUPS)?;
    let last = all
        .into_iter()
        .map(|said| (said.key.data.group, said.value.map(|value| value.data)));
    Ok(last.collect())
}

/// Reads until it is as it is to be: what is read may be cut short on a busy machine.
fn eventually<T: std::fmt::Debug>(
    what: &str,
    mut read: impl FnMut() -> Result<T, Fault>,
    is_due: impl Fn(&T) -> bool,
) -> Result<(), Fault> {
    let until = now() + LIMIT;
    loop {
        let found = read()?;
        if is_due(&found) {
            return Ok(());
        }
        if now() > until {
            return Err(format!("{what}: {found:?}"));
        }
    }
}

/// What the broker itself says that a group has committed.
fn described(calls: &mut Calls, group: &str) -> Result<Committed, Fault> {
    let said = calls.say(
        COMMAND,
        &format!("--describe --group {group}"),
        now() + LIMIT,
    )?;
    let row = |line: &String| {
        let mut words = line.split_whitespace();
        let is_row = words.next()? == group && words.next()? == TOPIC;
        let (partition, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        is_row.then(|| ((group.to_owned(), partition), Some(offset)))
    };
    Ok(said.iter().filter_map(row).collect())
}

/// A console consumer in a group that has read and committed everything, for as long as it is not dropped.
fn member(context: &Context, address: &str, group: &str, protocol: &str) -> Result<Process, Fault> {
    let mut command: Command = jvm(&context.installs.java_4()?);
    command.args([CONSUMER, "--bootstrap-server", address, "--topic", TOPIC]);
    command.args(["--group", group, "--from-beginning"]);
    let protocol = format!("group.protocol={protocol}");
    command.args(["--command-property", &protocol]);
    // A reader of the commits ends when none comes for a second.
    command.args(["--command-property", "auto.commit.interval.ms=3000"]);
    let mut process = Process::start("ConsoleConsumer", &mut command)?;
    let until = now() + LIMIT;
    for _ in 0..RECORDS {
        process.line(until)?.ok_or("the reader ended")?;
    }
    Ok(process)
}

fn is_everything(committed: &Committed) -> bool {
    let read: i64 = committed.values().flatten().sum();
    usize::try_from(read) == Ok(RECORDS)
}

/// Has a member in a group until everything is committed, and what it was told is read.
fn read_in(
    context: &Context,
    address: &str,
    calls: &mut Calls,
    (group, protocol): (&str, &str),
) -> Result<Committed, Fault> {
    let mut process = member(context, address, group, protocol)?;
    eventually("not committed", || described(calls, group), is_everything)?;
    if group == CLASSIC {
        let leads = |generation: &Generation| {
            let ids = || generation.members.iter().map(|member| &member.member_id);
            generation.protocol_type == "consumer" && ids().eq(&generation.leader)
        };
        eventually(
            "the member is not seen",
            || generations(calls),
            |found| found.get(group).and_then(Option::as_ref).is_some_and(leads),
        )?;
    }
    process.signal(Signal::TERM);
    if !process.drain(now() + LIMIT) {
        return Err("the reader does not end".to_owned());
    }
    described(calls, group)
}

pub(super) fn offsets_topic(context: &Context) -> Result<(), Fault> {
    let mut broker = context.new_broker_with(&SETTINGS)?;
    let address = broker.address().to_owned();
    let _permit = context.permit();
    let started = now();
    let mut calls = Calls::start(context, &address)?;
    let command = |calls: &mut Calls, args: &str| calls.say(COMMAND, args, now() + LIMIT);
    let load = format!("--topic {TOPIC} --num-records {RECORDS} --record-size 10 --throughput -1");
    calls.say(PRODUCER, &load, now() + LIMIT)?;
    let mut due = Committed::new();
    for group in [(CLASSIC, "classic"), (NEWER, "consumer")] {
        due.extend(read_in(context, &address, &mut calls, group)?);
    }
    let reset = |group: &str, place: &str| {
        format!("--reset-offsets --execute --group {group} --topic {TOPIC} {place}")
    };
    for group in [BARE, GONE] {
        command(&mut calls, &reset(group, "--to-latest"))?;
        due.extend(
            described(&mut calls, group)?
                .into_keys()
                .map(|key| (key, None)),
        );
    }
    let args = format!("--delete-offsets --group {BARE} --topic {TOPIC}");
    command(&mut calls, &args)?;
    command(&mut calls, &format!("--delete --group {GONE}"))?;
    for _ in 0..MOVES / 2 {
        command(&mut calls, &reset(MOVED, "--to-earliest"))?;
        command(&mut calls, &reset(MOVED, "--to-latest"))?;
    }
    let moved = described(&mut calls, MOVED)?;
    if !is_everything(&moved) || due.len() != 4 * moved.len() {
        return Err(format!("it is committed {moved:?} {due:?}"));
    }
    due.extend(moved);
    let is_due = |(found, moves): &(Committed, usize)| *found == due && *moves <= MOVES;
    eventually("before the restart", || offsets(&mut calls), is_due)?;
    broker.stop()?;
    broker.start_again()?;
    eventually("after the restart", || offsets(&mut calls), is_due)?;
    let are_due = |found: &BTreeMap<String, Option<Generation>>| {
        let is_empty = |generation: &Generation| generation.members.is_empty();
        let left = found.get(CLASSIC).and_then(Option::as_ref);
        left.is_some_and(is_empty) && matches!(found.get(GONE), Some(None))
    };
    eventually("after the restart", || generations(&mut calls), are_due)?;
    note_duration("__consumer_offsets", started);
    Ok(())
}
