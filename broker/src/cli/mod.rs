//! The command line: one binary, a file per subcommand.

mod bench;
mod config;
mod generate;
pub(crate) mod log;
mod reload;
mod serve;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A usage or configuration error.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The environment did not allow it: a port, a directory, a disk.
pub(crate) const EXIT_ENVIRONMENT: u8 = 1;
/// A second SIGTERM or Ctrl-C ended the broker before it had stopped: 128 + SIGINT, as shells have it.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// A log broker that speaks the Apache Kafka protocol.
#[derive(Debug, Parser)]
#[command(name = "tidewheel", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a subcommand, `serve` is meant.
    #[command(flatten)]
    serve: serve::ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker (what happens without a subcommand).
    Serve(serve::ServeArguments),
    /// Check, show, explain and convert settings.
    Config(config::ConfigArguments),
    /// Look into the files of a stopped data directory.
    Log(log::LogArguments),
    /// Print a dashboard and alert rules for the tools that watch a broker.
    Generate(generate::GenerateArguments),
    /// Put load on any Kafka endpoint and report figures.
    Bench(Box<bench::BenchArguments>),
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => serve::run(&arguments.serve),
        Some(Command::Serve(arguments)) => serve::run(&arguments),
        Some(Command::Config(arguments)) => config::run(&arguments),
        Some(Command::Log(arguments)) => log::run(&arguments),
        Some(Command::Generate(arguments)) => generate::run(&arguments),
        Some(Command::Bench(arguments)) => bench::run(&arguments),
    }
}

/// Prints for people, to stderr.
#[expect(clippy::print_stderr, reason = "this is the command line's voice")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
