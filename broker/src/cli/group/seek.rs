//! A group goes on elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::str::FromStr;

use clap::{ArgGroup, Args};
use serde::Serialize;
use tidewheel_protocol::{ErrorCode, TopicPartition};

use super::commit;
use super::look::{self, of};
use crate::cli::EXIT_ENVIRONMENT;
use crate::cli::kafka::client::Client;
use crate::cli::kafka::offsets::{Leaders, all_bounds, leaders, must_be_there, topics};
use crate::cli::kafka::place::{Bounds, Place};
use crate::cli::kafka::time::parse_time;
use crate::cli::kafka::{ClusterArguments, Tried, refused, untold};
use crate::cli::outcome::{EXIT_NOT_FOUND, Failure, Format, failed, print_json, usage};
use crate::cli::table::{Table, escaped, known};
use crate::clock;

/// Arguments of `group seek`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("where").required(true)))]
pub(super) struct SeekArguments {
    /// The group
    group: String,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// To the first record
    #[arg(long, group = "where")]
    to_start: bool,
    /// Behind the last record
    #[arg(long, group = "where")]
    to_end: bool,
    /// To this offset, as far as the partition has it
    #[arg(long, value_name = "OFFSET", group = "where",
        value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record that is not older: 2026-12-01T09:00Z, ms since 1970, or -1h
    #[arg(long, value_name = "TIME", group = "where", allow_hyphen_values = true)]
    to_timestamp: Option<String>,
    /// So many records ahead, or back where it is below zero
    #[arg(
        long,
        value_name = "COUNT",
        group = "where",
        allow_hyphen_values = true
    )]
    shift_by: Option<i64>,
    /// A topic, maybe with partitions, as orders or orders:0,1; several times [all in which it has committed something]
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]")]
    topics: Vec<TopicChoice>,
    /// Show what would be committed, and commit nothing
    #[arg(long)]
    dry_run: bool,
    /// A table, or one JSON object per partition and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicChoice {
    topic: String,
    /// Empty for all.
    partitions: Vec<i32>,
}

impl TopicChoice {
    /// Whether a partition is chosen.
    pub(super) fn has(&self, one: &TopicPartition) -> bool {
        let is_chosen = self.partitions.is_empty() || self.partitions.contains(&one.partition);
        *self.topic == *one.topic && is_chosen
    }

    /// What of it is not among these, as it may be printed.
    pub(super) fn missing(&self, known: &BTreeMap<TopicPartition, i64>) -> Vec<String> {
        let is_known = |partition: i32| {
            let mut known = known.keys();
            known.any(|one| *one.topic == *self.topic && one.partition == partition)
        };
        let missing = self.partitions.iter().filter(|one| !is_known(**one));
        let topic = escaped(&self.topic);
        match self.partitions.is_empty() {
            true if known.keys().any(|one| self.has(one)) => Vec::new(),
            true => vec![topic],
            false => missing.map(|one| format!("{topic}-{one}")).collect(),
        }
    }
}

impl FromStr for TopicChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, numbers) = match text.split_once(':') {
            Some((topic, numbers)) => (topic, Some(numbers)),
            None => (text, None),
        };
        let number = |number: &str| number.trim().parse::<i32>().ok().filter(|one| *one >= 0);
        let numbers = numbers.map(|numbers| numbers.split(',').map(number).collect());
        let partitions: Option<Vec<i32>> = numbers.unwrap_or_else(|| Some(Vec::new()));
        match partitions {
            Some(partitions) if !topic.is_empty() => Ok(Self {
                topic: topic.to_owned(),
                partitions,
            }),
            _ => Err("it is not TOPIC or TOPIC:0,1".to_owned()),
        }
    }
}

/// Where to.
#[derive(Clone, Copy, Debug)]
enum Target {
    Place(Place),
    Shift(i64),
}

impl SeekArguments {
    fn target(&self) -> Result<Target, Failure> {
        if let Some(count) = self.shift_by {
            return Ok(Target::Shift(count));
        }
        if let Some(text) = &self.to_timestamp {
            let time = parse_time(text, clock::now_ms());
            let time = time.map_err(|error| usage(&format!("{text:?}: {error}")))?;
            return Ok(Target::Place(Place::Time(time)));
        }
        Ok(Target::Place(match self.to_offset {
            Some(offset) => Place::Offset(offset),
            None if self.to_start => Place::Start,
            None => Place::End,
        }))
    }
}

/// What becomes of a partition.
#[derive(Serialize)]
struct Move {
    group: String,
    topic: String,
    partition: i32,
    committed_offset: Option<i64>,
    new_offset: i64,
    dry_run: bool,
}

/// Moves a group.
pub(super) async fn seek(arguments: &SeekArguments) -> Result<(), Failure> {
    let target = arguments.target()?;
    let mut client = arguments.cluster.connect().await?;
    let group = &arguments.group;
    must_be_empty(&mut client, arguments).await?;
    let mut tried = Tried::default();
    let committed = look::committed(&mut client, group, &mut tried).await?;
    let leaders = chosen(&mut client, &arguments.topics, &committed, &mut tried).await?;
    if leaders.is_empty() {
        // Of topics that are gone was told.
        tried.end()?;
        let sentence = format!("{} has committed nothing: name a --topic", of(group));
        return Err(failed(&sentence, EXIT_NOT_FOUND));
    }
    let mut moves = plan(&mut client, &leaders, &committed, target).await?;
    if !arguments.dry_run {
        carry_out(&mut client, group, &mut moves, &mut tried).await?;
    }
    let moves = moves.into_iter().map(|(partition, new_offset)| Move {
        group: group.clone(),
        topic: partition.topic.to_string(),
        partition: partition.partition,
        committed_offset: committed.get(&partition).copied(),
        new_offset,
        dry_run: arguments.dry_run,
    });
    print(moves, arguments.format)?;
    tried.end()
}

/// A group that reads would commit over what is committed here. One that is not there yet may be given a beginning.
async fn must_be_empty(client: &mut Client, arguments: &SeekArguments) -> Result<(), Failure> {
    let group = &arguments.group;
    let members = match look::find(client, group).await? {
        Some(found) => found.members.len(),
        None if arguments.topics.is_empty() => {
            return Err(refused(&of(group), ErrorCode::GroupIdNotFound.code(), None));
        }
        None => 0,
    };
    match members {
        0 => Ok(()),
        count => {
            let sentence = format!("{} has members ({count}): stop them first", of(group));
            Err(failed(&sentence, EXIT_ENVIRONMENT))
        }
    }
}

/// The partitions to move in. Of all in which something is committed, those are left out that are gone.
async fn chosen(
    client: &mut Client,
    choices: &[TopicChoice],
    committed: &BTreeMap<TopicPartition, i64>,
    tried: &mut Tried,
) -> Result<Leaders, Failure> {
    let mut all = Leaders::new();
    if choices.is_empty() {
        let names: BTreeSet<&str> = committed.keys().map(|one| &*one.topic).collect();
        for name in names {
            match topics(client, &[name.to_owned()], false, |_| true).await {
                Ok(known) => all.extend(leaders(&known)),
                Err(failure) if failure.0 == EXIT_NOT_FOUND => tried.note(failure),
                Err(failure) => return Err(failure),
            }
        }
        all.retain(|partition, _| committed.contains_key(partition));
        return Ok(all);
    }
    let mut names: Vec<String> = choices.iter().map(|one| one.topic.clone()).collect();
    names.sort();
    names.dedup();
    all.extend(leaders(&topics(client, &names, false, |_| true).await?));
    for choice in choices {
        for &partition in &choice.partitions {
            must_be_there(&all, &choice.topic.as_str().into(), partition)?;
        }
    }
    all.retain(|partition, _| choices.iter().any(|choice| choice.has(partition)));
    Ok(all)
}

/// The new offset of each partition, within its bounds.
async fn plan(
    client: &mut Client,
    leaders: &Leaders,
    committed: &BTreeMap<TopicPartition, i64>,
    target: Target,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let time = match target {
        Target::Place(place) => place.time(),
        Target::Shift(_) => None,
    };
    let mut planned = BTreeMap::new();
    for (partition, [bounds]) in all_bounds(client, leaders, [time]).await? {
        let Bounds { start, end, .. } = bounds;
        let offset = match target {
            Target::Place(place) => place.offset(bounds),
            Target::Shift(count) => {
                let from = committed.get(&partition).copied().unwrap_or(start);
                from.saturating_add(count)
            }
        };
        planned.insert(partition, offset.clamp(start, end));
    }
    Ok(planned)
}

/// Commits what is planned, from outside the group. What is refused leaves the plan.
async fn carry_out(
    client: &mut Client,
    group: &str,
    moves: &mut BTreeMap<TopicPartition, i64>,
    tried: &mut Tried,
) -> Result<(), Failure> {
    let request = commit::request(group, moves);
    let told = commit::commit(client, group, &request).await?;
    moves.retain(|partition, _| {
        let what = format!("{} in {}", of(group), escaped(&partition.to_string()));
        match told.get(partition) {
            Some(0) => return true,
            Some(&code) => tried.note(refused(&what, code, None)),
            None => tried.note(untold(client, &what)),
        }
        false
    });
    Ok(())
}

fn print(moves: impl Iterator<Item = Move>, format: Format) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut table = Table::new(&[
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "NEW-OFFSET",
    ]);
    for one in moves {
        if format == Format::Json {
            print_json(&mut out, &one)?;
            continue;
        }
        table.row(vec![
            escaped(&one.group),
            escaped(&one.topic),
            one.partition.to_string(),
            known(one.committed_offset),
            one.new_offset.to_string(),
        ]);
    }
    if format == Format::Text {
        table.write(&mut out)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_be_named_with_partitions() {
        let all: TopicChoice = "orders".parse().unwrap();
        let some: TopicChoice = "orders:0, 2".parse().unwrap();
        for (topic, partition, in_all, in_some) in [
            ("orders", 0, true, true),
            ("orders", 1, true, false),
            ("orders", 2, true, true),
            ("orders:0", 0, false, false),
        ] {
            let one = TopicPartition {
                topic: topic.into(),
                partition,
            };
            assert_eq!((all.has(&one), some.has(&one)), (in_all, in_some), "{one}");
        }
        for text in ["", ":0", "orders:", "orders:x", "orders:-1", "orders:1,,2"] {
            assert!(text.parse::<TopicChoice>().is_err(), "{text}");
        }
    }
}
