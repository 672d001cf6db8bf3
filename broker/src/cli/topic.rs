//! `tidewheel topic ls|describe|create|delete|add-partitions|trim`: topics of this or any other Kafka cluster.
//!
//! Exit codes: 0 all is well, 1 a broker refused or cannot be reached, 2 usage, 3 there is no such topic or partition,
//! 4 no answer in time. Where several topics are named, each is tried, and the first failure decides.

mod change;
mod show;
mod trim;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::kafka::waited_for;
use super::outcome::exit_code;

/// Arguments of `tidewheel topic`.
#[derive(Args, Debug)]
pub(crate) struct TopicArguments {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    /// List topics
    #[command(visible_alias = "list")]
    Ls(show::ListArguments),
    /// Show topics with their partitions and what was set on them
    Describe(show::DescribeArguments),
    /// Make topics
    Create(change::CreateArguments),
    /// Delete topics with all their records
    Delete(change::DeleteArguments),
    /// Give topics more partitions
    AddPartitions(change::AddPartitionsArguments),
    /// Delete the oldest records of a topic
    Trim(trim::TrimArguments),
}

/// Runs the command on standard output.
pub(crate) fn run(arguments: &TopicArguments) -> ExitCode {
    exit_code(waited_for(async {
        match &arguments.command {
            TopicCommand::Ls(arguments) => show::list(arguments).await,
            TopicCommand::Describe(arguments) => show::describe(arguments).await,
            TopicCommand::Create(arguments) => change::create(arguments).await,
            TopicCommand::Delete(arguments) => change::delete(arguments).await,
            TopicCommand::AddPartitions(arguments) => change::add_partitions(arguments).await,
            TopicCommand::Trim(arguments) => trim::trim(arguments).await,
        }
    }))
}
