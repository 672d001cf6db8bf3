//! `start`: how long a broker takes from its process to its first answer, and what it holds then.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use tokio::process::{Child, Command};

use super::{EXIT_CHECK, show};
use crate::client::Cluster;
use crate::clock::{Clock, PreciseTimer};
use crate::compare::{Spread, number};
use crate::error::BenchError;
use crate::output::say;
use crate::process::{listener, sample};
use crate::values::Span;

/// How long between two attempts to be answered, in nanoseconds.
const PAUSE: u64 = 200_000;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Arguments of `start`.
#[derive(Debug, Clone, Args)]
pub(crate) struct StartArguments {
    /// Where the broker will answer
    #[arg(
        short,
        long,
        env = "TIDEWHEEL_BROKERS",
        default_value = "127.0.0.1:9092"
    )]
    brokers: String,
    /// How often it is started
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// How long one start may take, and one stop
    #[arg(long, default_value = "60s")]
    timeout: Span,
    /// How long it is left alone before its memory is looked at
    #[arg(long, default_value = "1s")]
    settle: Span,
    /// Fail with exit code 5 if the median start takes longer
    #[arg(long, value_name = "TIME")]
    within: Option<Span>,
    /// The command that runs it in the foreground, after --
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(super) async fn run_start(arguments: &StartArguments) -> Result<u8, BenchError> {
    if ask(&arguments.brokers).await {
        return Err(BenchError::usage(format!(
            "somebody answers at {} already",
            arguments.brokers
        )));
    }
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    for number in 1..=arguments.runs {
        let (milliseconds, bytes) = start_once(arguments).await?;
        say(&format!(
            "start {number} of {}: {milliseconds:.1} ms",
            arguments.runs
        ));
        starts.push(milliseconds);
        memory.extend(bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)));
    }
    let line = |name: &str, unit: &str, values: Vec<f64>| {
        Spread::of(values).map_or_else(String::new, |spread| {
            format!(
                "{name:<13}{} {unit} (min {}, max {})\n",
                number(spread.median),
                number(spread.min),
                number(spread.max)
            )
        })
    };
    let median = Spread::of(starts.clone()).map_or(0.0, |spread| spread.median);
    show(&format!(
        "{}{}",
        line("start", "ms to the first Metadata answer, median", starts),
        line("RssAnon", "MiB after it, median", memory)
    ))?;
    let within = arguments.within.map(|span| span.0.as_secs_f64() * 1e3);
    Ok(match within {
        Some(limit) if median > limit => EXIT_CHECK,
        _ => 0,
    })
}

/// Milliseconds of one start, and the broker's anonymous memory, where it can be seen.
async fn start_once(arguments: &StartArguments) -> Result<(f64, Option<u64>), BenchError> {
    let mut timer = PreciseTimer::new().map_err(|source| system("no timer", source))?;
    let (program, rest) = arguments
        .command
        .split_first()
        .ok_or_else(|| BenchError::usage("there is no command to start"))?;
    let clock = Clock::start();
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| system("the command cannot be started", source))?;
    while !ask(&arguments.brokers).await {
        let ended = child
            .try_wait()
            .map_err(|source| system("no child", source))?;
        if let Some(status) = ended {
            return Err(BenchError::usage(format!(
                "the command ended before it answered, with {status}"
            )));
        }
        if clock.now() > arguments.timeout.nanos() {
            return Err(BenchError::usage(format!(
                "nobody answers at {} after {}",
                arguments.brokers, arguments.timeout
            )));
        }
        timer
            .wait(PAUSE)
            .await
            .map_err(|source| system("the timer failed", source))?;
    }
    let milliseconds = clock.now() as f64 / 1e6;
    tokio::time::sleep(arguments.settle.0).await;
    let pid = listener(&arguments.brokers);
    let memory = pid.and_then(sample).map(|sample| sample.anonymous_bytes);
    stop(&mut child, arguments.timeout).await?;
    Ok((milliseconds, memory))
}

/// Whether a broker answers Metadata.
async fn ask(address: &str) -> bool {
    let brokers = [address.to_owned()];
    let Ok(mut cluster) = Cluster::connect(&brokers, ATTEMPT).await else {
        return false;
    };
    cluster.is_ready().await
}

/// Asks the process to end, and waits until it has.
async fn stop(child: &mut Child, timeout: Span) -> Result<(), BenchError> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|source| system("the broker cannot be stopped", source.into()))?;
    }
    match tokio::time::timeout(timeout.0, child.wait()).await {
        Ok(ended) => ended
            .map(|_| ())
            .map_err(|source| system("the broker cannot be waited for", source)),
        Err(_) => Err(BenchError::usage(format!(
            "the broker does not stop within {timeout}"
        ))),
    }
}

fn system(what: &'static str, source: std::io::Error) -> BenchError {
    BenchError::System { what, source }
}
