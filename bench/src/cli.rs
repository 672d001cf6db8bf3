//! `tidewheel bench`: the command line.
//!
//! Exit codes: 0 all is well, 1 an error or records that failed, 2 usage, 3 no such topic, 4 the broker
//! does not answer, 5 an assertion or comparison failed.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::assertion::Assertion;
use crate::error::BenchError;
use crate::output::{print, say};
use crate::report::{table, write_files};
use crate::run::{ProgressKind, RunOptions, run as run_once};
use crate::summary::Summary;
use crate::workload::{Mode, Workload};

mod brokers;
mod kept_memory;
mod load_arguments;
mod series;
mod several;
mod start;
mod versus;

pub use brokers::BrokersArguments;
pub(crate) use load_arguments::LoadArguments;

/// Records failed, or nothing could be measured.
const EXIT_FAILED: u8 = 1;
/// An assertion does not hold, or a side is worse.
const EXIT_CHECK: u8 = 5;

/// Arguments of `tidewheel bench`.
#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Produce, and measure until records are acknowledged
    Produce(SingleArguments),
    /// Consume what topics hold, from their start to where they end now
    Consume(SingleArguments),
    /// Produce and consume, and measure until records are consumed
    E2e(SingleArguments),
    /// The same beside consumers that read everything again from the start
    Mixed(SingleArguments),
    /// Produce what a topic holds once more, at the times its timestamps tell
    Replay(SingleArguments),
    /// Produce records that are due later, and measure how late they are consumed
    Delayed(SingleArguments),
    /// Run every workload file of a folder and write an index of their reports
    Suite(several::SuiteArguments),
    /// Compare the results of two sides, and say when a difference is noise
    Compare(several::CompareArguments),
    /// Run the same load against two brokers in turn, and print ratios
    Versus(versus::VersusArguments),
    /// Start a broker several times, and measure until it answers
    Start(start::StartArguments),
}

/// What the commands of one workload have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct SingleArguments {
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    common: CommonArguments,
    /// Run so many times, each into a folder of its own under --out
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Fail with exit code 5 unless this holds: e2e.p99<10ms, rate>=50k, errors=0 (several times)
    #[arg(long = "assert", value_name = "CONDITION")]
    assertions: Vec<Assertion>,
}

/// What every command that runs a load takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonArguments {
    #[command(flatten)]
    pub(crate) cluster: BrokersArguments,
    /// The broker's process on this host; found by its port where it may be seen
    #[arg(long, value_name = "PID")]
    pub(crate) broker_pid: Option<u32>,
    /// Write result.json, histograms, charts and an HTML report into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print a line every five seconds instead of a live one
    #[arg(long)]
    pub(crate) no_progress: bool,
}

impl CommonArguments {
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            brokers: self.cluster.brokers.clone(),
            broker_pid: self.broker_pid,
            progress: match self.no_progress || !std::io::stderr().is_terminal() {
                true => ProgressKind::Lines,
                false => ProgressKind::Live,
            },
        }
    }
}

/// Runs the command to its end.
#[must_use]
pub fn run(arguments: &BenchArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tidewheel-bench")
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run_command(&arguments.command)),
        Err(source) => Err(BenchError::System {
            what: "cannot start threads",
            source,
        }),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("tidewheel: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run_command(command: &BenchCommand) -> Result<u8, BenchError> {
    match command {
        BenchCommand::Produce(arguments) => single(Mode::Produce, arguments).await,
        BenchCommand::Consume(arguments) => single(Mode::Consume, arguments).await,
        BenchCommand::E2e(arguments) => single(Mode::E2e, arguments).await,
        BenchCommand::Mixed(arguments) => single(Mode::Mixed, arguments).await,
        BenchCommand::Replay(arguments) => single(Mode::Replay, arguments).await,
        BenchCommand::Delayed(arguments) => single(Mode::Delayed, arguments).await,
        BenchCommand::Suite(arguments) => several::run_suite(arguments).await,
        BenchCommand::Compare(arguments) => several::run_compare(arguments),
        BenchCommand::Versus(arguments) => versus::run_versus(arguments).await,
        BenchCommand::Start(arguments) => start::run_start(arguments).await,
    }
}

async fn single(mode: Mode, arguments: &SingleArguments) -> Result<u8, BenchError> {
    let workload = arguments.load.workload(Some(mode))?;
    if arguments.assertions.iter().any(Assertion::is_ratio) {
        return Err(BenchError::usage(
            "a bound in times (x) compares two brokers: use versus",
        ));
    }
    let mut code = 0;
    for number in 1..=arguments.runs {
        let dir = arguments
            .common
            .out
            .as_ref()
            .map(|dir| match arguments.runs {
                1 => dir.clone(),
                _ => dir.join(format!("run-{number}")),
            });
        let options = arguments.common.options();
        let summary = run_and_report(&workload, &options, dir.as_deref()).await?;
        code = code.max(verdict(&summary, &arguments.assertions));
        if summary.interrupted {
            break;
        }
    }
    Ok(code)
}

/// Runs once, prints the table and writes the files.
pub(crate) async fn run_and_report(
    workload: &Workload,
    options: &RunOptions,
    dir: Option<&Path>,
) -> Result<Summary, BenchError> {
    let outcome = run_once(workload, options).await?;
    show(&table::render(&outcome.summary))?;
    if let Some(dir) = dir {
        write_files(dir, &outcome)?;
        say(&format!("wrote {}", dir.join("report.html").display()));
    }
    Ok(outcome.summary)
}

/// Prints a result.
pub(crate) fn show(text: &str) -> Result<(), BenchError> {
    print(text).map_err(|source| BenchError::System {
        what: "cannot write the output",
        source,
    })
}

/// The exit code of a run: records that failed are a failure unless an assertion speaks of them. `errors`
/// counts all, `unsent` and `unconsumed` each a part of them.
fn verdict(summary: &Summary, assertions: &[Assertion]) -> u8 {
    let broken: Vec<String> = assertions
        .iter()
        .filter_map(|assertion| assertion.check(summary))
        .collect();
    for sentence in &broken {
        say(&format!("assertion failed: {sentence}"));
    }
    if !broken.is_empty() {
        return EXIT_CHECK;
    }
    let is_told = |figure| assertions.iter().any(|told| told.figure() == figure);
    let parts = [
        ("unsent", summary.unsent),
        ("unconsumed", summary.unconsumed),
    ];
    let told = parts.into_iter().filter(|(figure, _)| is_told(*figure));
    let untold = summary.failures() - told.map(|(_, count)| count).sum::<u64>();
    match untold > 0 && !is_told("errors") {
        true => EXIT_FAILED,
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn failures_that_no_assertion_speaks_of_fail_the_run() {
        for (unsent, unconsumed, told, code) in [
            (0, 0, vec![], 0),
            (0, 9, vec![], EXIT_FAILED),
            (0, 9, vec!["rate>1"], EXIT_FAILED),
            (0, 9, vec!["unconsumed<10"], 0),
            (0, 9, vec!["unconsumed<9"], EXIT_CHECK),
            (9, 0, vec!["unsent<10"], 0),
            (9, 9, vec!["unsent<10"], EXIT_FAILED),
            (9, 9, vec!["unsent<10", "unconsumed<10"], 0),
            (9, 9, vec!["errors<20"], 0),
        ] {
            let mut summary = testing::summary(1000.0, 5.0);
            (summary.unsent, summary.unconsumed) = (unsent, unconsumed);
            let assertions: Vec<Assertion> =
                told.iter().map(|text| text.parse().unwrap()).collect();
            let found = verdict(&summary, &assertions);
            assert_eq!(found, code, "{unsent} {unconsumed} {told:?}");
        }
    }
}
