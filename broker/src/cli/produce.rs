//! `tidewheel produce`: records from standard input into a topic of this or any other Kafka cluster.
//!
//! Exit codes: 0 all is well, 1 a record was refused or a broker cannot be reached, 2 usage, 3 there is no such topic or
//! partition, 4 no answer in time. What was read before a failure may have been produced.

mod delay;
mod input;
mod sender;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use rustix::fs::{FileType, fstat};
use serde::Serialize;
use tidewheel_protocol::{Compression, Record, RecordHeader};

use self::delay::Delay;
use self::input::{Input, Reader, Template};
use self::sender::{Sender, Sent};
use super::kafka::ClusterArguments;
use super::kafka::time::{parse_duration, parse_time};
use super::outcome::{Failure, Format, exit_code, print_json, runtime, usage};
use super::progress::{Progress, ProgressArguments, Unit};
use super::table::escaped;
use crate::clock;

/// Arguments of `tidewheel produce`.
#[derive(Args, Debug)]
pub(crate) struct ProduceArguments {
    /// The topic
    topic: String,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Key of every record
    #[arg(short, long)]
    key: Option<String>,
    /// A header of every record, several times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE")]
    headers: Vec<String>,
    /// The partition [that of the key, as Java's client chooses it; without keys the partitions take turns]
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, value_name = "CODEC", default_value_t = Codec::None)]
    compression: Codec,
    /// What a record looks like: %k its key, %v its value, %% a percent sign, \n \t \\ \xHH bytes
    #[arg(short = 'f', long, default_value = "%v\\n")]
    template: Template,
    /// Whether records look like the template, or are one JSON object a line, as consume writes them
    #[arg(long, value_enum, default_value_t = Input::Text, conflicts_with = "template")]
    input: Input,
    /// Who must have a record: all replicas in sync, the leader (1), or nobody (0), who is not waited for then
    #[arg(long, value_enum, default_value_t = Acks::All)]
    acks: Acks,
    /// Deliver the records so much later, as 30s, 5m or 7d: the topic's delay.mode must allow it
    #[arg(long, value_name = "DURATION", value_parser = delay_ms)]
    delay: Option<i64>,
    /// Deliver the records then, as 2026-12-01T09:00Z or in ms since 1970
    #[arg(long, value_name = "TIME", value_parser = due_ms, conflicts_with = "delay")]
    at: Option<i64>,
    /// Make a value that is empty none: compaction then deletes the key
    #[arg(long)]
    tombstone: bool,
    /// Let the broker make the topic if it is not there
    #[arg(long)]
    create_topic: bool,
    /// What is said: a line at the end, or one JSON object per record and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArguments,
}

/// A codec under Kafka's name.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

/// Who must have a record before it counts as produced.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    #[value(alias = "-1")]
    All,
    #[value(name = "1")]
    Leader,
    #[value(name = "0")]
    Nobody,
}

impl Acks {
    /// As requests have it.
    fn number(self) -> i16 {
        match self {
            Self::All => -1,
            Self::Leader => 1,
            Self::Nobody => 0,
        }
    }
}

fn delay_ms(text: &str) -> Result<i64, String> {
    let delay = parse_duration(text)?;
    i64::try_from(delay.as_millis()).map_err(|_| "it is too long".to_owned())
}

fn due_ms(text: &str) -> Result<i64, String> {
    parse_time(text, clock::now_ms())
}

/// A record in JSON, under the names that the HTTP API has.
#[derive(Serialize)]
struct Produced<'a> {
    topic: &'a str,
    partition: i32,
    /// Null where it is delivered later, or nobody tells.
    offset: Option<i64>,
    timestamp_ms: i64,
}

/// Runs the command on standard input and output.
pub(crate) fn run(arguments: &ProduceArguments) -> ExitCode {
    exit_code(produce(arguments))
}

fn produce(arguments: &ProduceArguments) -> Result<(), Failure> {
    let headers = headers(&arguments.headers)?;
    let runtime = runtime()?;
    let (mut sender, delay) = runtime.block_on(async {
        let mut sender = Sender::open(arguments).await?;
        let delay = Delay::find(arguments, sender.client()).await?;
        Ok::<_, Failure>((sender, delay))
    })?;
    let progress = progress(arguments);
    let mut reader = Reader::new(arguments, io::stdin().lock());
    let mut count: u64 = 0;
    let end = loop {
        let (mut records, end) = reader.next();
        for record in &mut records {
            prepare(record, arguments, &headers);
            delay.ask(record, clock::now_ms());
        }
        // Nothing else goes on meanwhile, so reading may block this thread.
        let mut sent = Vec::new();
        let outcome = runtime.block_on(sender.send(records, &mut sent));
        count += sent
            .iter()
            .map(|sent| sent.records.len() as u64)
            .sum::<u64>();
        progress.reach(reader.bytes(), || format!("{count} records"));
        if arguments.format == Format::Json {
            print(&arguments.topic, &sent)?;
        }
        match (outcome, end) {
            (Ok(()), None) => {}
            (Ok(()), Some(end)) => break end,
            // What was produced is told all the same: who begins again must know.
            (Err(failure), _) => break Err(failure),
        }
    };
    drop(progress);
    if arguments.format == Format::Text {
        let topic = escaped(&arguments.topic);
        let records = if count == 1 { "record" } else { "records" };
        writeln!(io::stdout(), "topic {topic}: {count} {records} produced")?;
    }
    end
}

/// Shows how much of the input has been produced; not to who types it, or sees each record anyway.
fn progress(arguments: &ProduceArguments) -> Progress {
    let input = io::stdin();
    let sees_all = arguments.format == Format::Json && io::stdout().is_terminal();
    if input.is_terminal() || sees_all {
        return Progress::none();
    }
    // Only a file tells how long it is.
    let file = fstat(&input).ok();
    let file = file.filter(|one| FileType::from_raw_mode(one.st_mode) == FileType::RegularFile);
    let total = file.and_then(|file| u64::try_from(file.st_size).ok());
    let title = format!("produce {}", arguments.topic);
    Progress::new(arguments.progress, &title, Unit::Bytes, total)
}

fn headers(given: &[String]) -> Result<Vec<RecordHeader>, Failure> {
    let mut headers = Vec::with_capacity(given.len());
    for header in given {
        let colon = header.split_once(':');
        let (key, value) = colon.ok_or_else(|| usage(&format!("{header:?} is not NAME:VALUE")))?;
        headers.push(RecordHeader {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        });
    }
    Ok(headers)
}

/// Gives a record what all of them are to have.
fn prepare(record: &mut Record, arguments: &ProduceArguments, headers: &[RecordHeader]) {
    if let Some(key) = &arguments.key {
        record.key = Some(Bytes::copy_from_slice(key.as_bytes()));
    }
    record.headers.extend_from_slice(headers);
    if arguments.tombstone && record.value.as_ref().is_some_and(Bytes::is_empty) {
        record.value = None;
    }
}

fn print(topic: &str, sent: &[Sent]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for sent in sent {
        let mut offset = sent.base_offset;
        for &timestamp_ms in &sent.records {
            let produced = Produced {
                topic,
                partition: sent.partition,
                offset,
                timestamp_ms,
            };
            print_json(&mut out, &produced)?;
            offset = offset.map(|offset| offset.saturating_add(1));
        }
    }
    out.flush()
}
