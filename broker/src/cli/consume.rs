//! `tidewheel consume`: records of topics of this or any other Kafka cluster, on standard output.
//!
//! It belongs to no group and commits nothing, unless one is named. Batches of transactions that were aborted, or are
//! under way, are shown. Exit codes: 0 all is well, also after Ctrl-C and, with a group, SIGTERM, even while it still
//! connects or joins; 1 something cannot be read, written or committed; 2 usage; 3 there is no such topic or partition;
//! 4 no answer in time.

mod follow;
mod group;
mod output;
mod position;
mod progress;
mod pulse;
mod range;
mod span;
mod template;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use self::follow::Consumer;
use self::output::{Form, Printer};
use self::span::Span;
use self::template::Template;
use super::kafka::{ClusterArguments, PartitionsArguments, waited_for};
use super::outcome::{Failure, exit_code};
use super::progress::ProgressArguments;

/// Arguments of `tidewheel consume`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConsumeArguments {
    /// Names of topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Where to begin in each partition: start, end, an offset, +N (after the start), -N (before the end) or @TIME;
    /// with :PLACE where to end
    #[arg(
        short,
        long,
        value_name = "PLACE[:PLACE]",
        default_value = "start",
        allow_hyphen_values = true
    )]
    offset: Span,
    /// Read as a member of this consumer group: it shares the partitions with other members, begins where the group has
    /// committed, and --offset counts only where it has not; commits what was printed every 5 s and at the end
    #[arg(short, long, conflicts_with = "partitions")]
    group: Option<String>,
    /// End after so many records
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    num: Option<u64>,
    #[command(flatten)]
    only: PartitionsArguments,
    /// How a record is written: %t topic, %p partition, %o offset, %k key, %v or %s value, %h headers, %T timestamp in
    /// ms, %K and %S bytes of key and value, %R those of the value in four bytes, %% a percent sign, \n \t \\ \xHH bytes
    #[arg(short = 'f', long, conflicts_with = "format")]
    template: Option<Template>,
    /// End where the partitions end now, instead of waiting for more
    #[arg(short, long)]
    exit_at_end: bool,
    /// Leave the values out
    #[arg(long, conflicts_with = "template")]
    meta_only: bool,
    /// Values, or one JSON object per record and line [text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    progress: ProgressArguments,
}

/// How the output looks.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A line for each value.
    Text,
    /// For programs.
    #[value(alias = "json")]
    Jsonl,
}

impl ConsumeArguments {
    fn form(&self) -> Form {
        if let Some(template) = &self.template {
            return Form::Template(template.clone());
        }
        let is_terminal = io::stdout().is_terminal();
        let default = if is_terminal {
            Format::Text
        } else {
            Format::Jsonl
        };
        match self.format.unwrap_or(default) {
            Format::Jsonl => Form::Json {
                meta_only: self.meta_only,
            },
            Format::Text if self.meta_only => Form::Template(Template::meta()),
            Format::Text => Form::Template(Template::value()),
        }
    }
}

/// Runs the command on standard output.
pub(crate) fn run(arguments: &ConsumeArguments) -> ExitCode {
    exit_code(match &arguments.group {
        Some(group) => pulse::consume(arguments, group),
        None => waited_for(consume(arguments)),
    })
}

async fn consume(arguments: &ConsumeArguments) -> Result<(), Failure> {
    let printer = Printer::new(arguments.form(), io::stdout().lock());
    let consuming = async {
        let mut consumer = Consumer::open(arguments, printer).await?;
        consumer.run().await
    };
    // What is dropped has written whole records only, and flushed them where it waited.
    tokio::select! {
        ended = consuming => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}
