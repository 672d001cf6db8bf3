//! The command line: one binary, a file per subcommand.

mod bench;
mod config;
mod consume;
mod dev;
mod generate;
mod group;
mod http;
mod kafka;
pub(crate) mod log;
mod outcome;
mod pages;
mod produce;
mod progress;
mod reload;
mod serve;
mod settings;
mod table;
mod topic;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A usage or configuration error.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The environment did not allow it: a port, a directory, a disk.
pub(crate) const EXIT_ENVIRONMENT: u8 = 1;
/// A second SIGTERM or Ctrl-C ended the broker before it had stopped: 128 + SIGINT, as shells have it.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// With the commit it is built from.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("BUILT_FROM_REVISION"),
    ", rustc ",
    env!("BUILT_WITH_RUSTC"),
    ")"
);

/// A log broker that speaks the Apache Kafka protocol.
#[derive(Debug, Parser)]
#[command(name = "tidewheel", version = VERSION, args_conflicts_with_subcommands = true)]
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
    /// Run a broker for development and tests, which leaves nothing behind if asked.
    Dev(dev::DevArguments),
    /// Check, show, explain and convert settings.
    Config(config::ConfigArguments),
    /// Send records from standard input to a topic.
    Produce(Box<produce::ProduceArguments>),
    /// Print records of topics.
    Consume(Box<consume::ConsumeArguments>),
    /// List, show, make, alter and delete topics.
    Topic(topic::TopicArguments),
    /// List, show, move and delete consumer groups.
    Group(group::GroupArguments),
    /// Look into the files of a stopped data directory.
    Log(log::LogArguments),
    /// Look at delayed records of a running broker and change them.
    Delayed(Box<http::DelayedArguments>),
    /// Tell whether a running broker serves clients.
    Health(http::HealthArguments),
    /// Watch what a running broker is busy with.
    Top(http::TopArguments),
    /// Make files for the tools that run and watch a broker, and programs that use one.
    Generate(generate::GenerateArguments),
    /// Print what a shell needs to complete commands and flags.
    Completion(pages::CompletionArguments),
    /// Print the manual page, or write those of all commands.
    Man(pages::ManArguments),
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
        Some(Command::Dev(arguments)) => dev::run(&arguments),
        Some(Command::Config(arguments)) => config::run(&arguments),
        Some(Command::Produce(arguments)) => produce::run(&arguments),
        Some(Command::Consume(arguments)) => consume::run(&arguments),
        Some(Command::Topic(arguments)) => topic::run(&arguments),
        Some(Command::Group(arguments)) => group::run(&arguments),
        Some(Command::Log(arguments)) => log::run(&arguments),
        Some(Command::Delayed(arguments)) => http::delayed(&arguments),
        Some(Command::Health(arguments)) => http::health(&arguments),
        Some(Command::Top(arguments)) => http::top(&arguments),
        Some(Command::Generate(arguments)) => generate::run(&arguments),
        Some(Command::Completion(arguments)) => pages::completion(&arguments),
        Some(Command::Man(arguments)) => pages::man(&arguments),
        Some(Command::Bench(arguments)) => bench::run(&arguments),
    }
}

/// Prints for people, to stderr.
#[expect(clippy::print_stderr, reason = "this is the command line's voice")]
pub(crate) fn say(text: &str) {
    progress::above(|| eprintln!("{text}"));
}

/// Writes what was asked for to standard output.
pub(crate) fn print(output: &[u8]) -> ExitCode {
    match io::stdout().lock().write_all(output) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) => {
            if error.kind() != io::ErrorKind::BrokenPipe {
                say(&format!("cannot write the output: {error}"));
            }
            ExitCode::from(EXIT_ENVIRONMENT)
        }
    }
}
