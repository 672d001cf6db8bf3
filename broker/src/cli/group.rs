//! `tidewheel group ls|describe|lag|seek|delete|offset-delete`: consumer groups of this or any other Kafka cluster.
//!
//! Exit codes: 0 all is well, 1 a broker refused or cannot be reached, 2 usage, 3 there is no such group, topic or
//! partition, 4 no answer in time. Where several groups are named, each is tried, and the first failure decides.

mod age;
mod change;
pub(super) mod commit;
mod lag;
mod list;
pub(super) mod look;
mod seek;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::kafka::waited_for;
use super::outcome::exit_code;

/// Arguments of `tidewheel group`.
#[derive(Args, Debug)]
pub(crate) struct GroupArguments {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// List groups
    #[command(visible_alias = "list")]
    Ls(list::ListArguments),
    /// Show how far groups have read, how much they have not read yet, and who reads what
    Describe(show::DescribeArguments),
    /// Show how much groups have not read yet, a line for each of them
    Lag(lag::LagArguments),
    /// Let a group without members go on elsewhere
    Seek(seek::SeekArguments),
    /// Delete groups without members, with all that they have committed
    Delete(change::DeleteArguments),
    /// Delete what a group has committed in some topics
    OffsetDelete(change::OffsetDeleteArguments),
}

/// Runs the command on standard output.
pub(crate) fn run(arguments: &GroupArguments) -> ExitCode {
    exit_code(waited_for(async {
        match &arguments.command {
            GroupCommand::Ls(arguments) => list::list(arguments).await,
            GroupCommand::Describe(arguments) => show::describe(arguments).await,
            GroupCommand::Lag(arguments) => lag::lag(arguments).await,
            GroupCommand::Seek(arguments) => seek::seek(arguments).await,
            GroupCommand::Delete(arguments) => change::delete(arguments).await,
            GroupCommand::OffsetDelete(arguments) => change::offset_delete(arguments).await,
        }
    }))
}
