//! `versus`: the same load against two brokers in turn, and what it says about them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use super::kept_memory::keep_free_memory;
use super::series::{Series, settle};
use super::several::{make_folder, stem, workload_files, write_file};
use super::{CommonArguments, EXIT_CHECK, EXIT_FAILED, LoadArguments, show};
use crate::assertion::{Assertion, InvalidAssertion};
use crate::compare::{self, Row, Spread, compare, number, render};
use crate::environment::{Durability, Environment};
use crate::error::BenchError;
use crate::output::say;
use crate::process::HostTicks;
use crate::run::RunOptions;
use crate::summary::Summary;
use crate::values::{Rate, whole};
use crate::workload::{Mode, Workload};

/// Arguments of `versus`.
#[derive(Debug, Clone, Args)]
pub(crate) struct VersusArguments {
    /// Workload files, or folders of them, run one after the other; flags win over all of them
    workloads: Vec<PathBuf>,
    /// The other broker: host:port
    #[arg(long, value_name = "BROKER")]
    peer: String,
    /// Its process on this host; found by its port where it may be seen
    #[arg(long, value_name = "PID")]
    peer_pid: Option<u32>,
    /// Measured rounds of each side; one more, the first, is dropped
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What is run against each [produce, or what the file says]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Measure although the machine is busy
    #[arg(long)]
    busy: bool,
    /// Fail with exit code 5 unless this holds of the medians: cpu_per_gb>=3x (the peer's is three
    /// times the broker's), rate>=50k (the broker's); `goals` are those in the files (several times)
    #[arg(long = "assert", value_name = "CONDITION")]
    claims: Vec<Claim>,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    common: CommonArguments,
}

/// What must hold.
#[derive(Debug, Clone)]
enum Claim {
    /// The goals of the workload files.
    Goals,
    /// This, of every workload.
    One(Assertion),
}

impl FromStr for Claim {
    type Err = InvalidAssertion;

    fn from_str(text: &str) -> Result<Self, InvalidAssertion> {
        match text {
            "goals" => Ok(Self::Goals),
            text => text.parse().map(Self::One),
        }
    }
}

/// One of the two brokers.
struct Contender {
    name: &'static str,
    options: RunOptions,
    runs: Vec<Summary>,
}

/// A goal, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Outcome {
    goal: String,
    /// Whether it must hold.
    required: bool,
    reached: bool,
    figure: String,
    broker: Option<Spread>,
    peer: Option<Spread>,
    ratio: Option<f64>,
}

/// What two brokers made of a workload: the content of `versus.json`, and a part of the final table.
#[derive(Debug, Serialize)]
struct Contest {
    name: String,
    what: String,
    durability: Durability,
    rounds: u32,
    rows: Vec<Row>,
    goals: Vec<Outcome>,
    environment: Environment,
}

pub(super) async fn run_versus(arguments: &VersusArguments) -> Result<u8, BenchError> {
    // All are read before the first runs: a mistake in the last would come late.
    let workloads = workloads(arguments)?;
    if !arguments.busy {
        check_idle().await?;
    }
    if let Some(out) = &arguments.common.out {
        // Better to hear now than after all rounds that nothing can be written there.
        make_folder(out)?;
    }
    let several = !arguments.workloads.is_empty();
    let (mut contests, mut failed, mut interrupted) = (Vec::new(), 0, false);
    let mut broken = None;
    let mut series = Series::begin()?;
    let kept = keep_memory(arguments, &workloads).await;
    for (name, workload) in &workloads {
        let out = arguments.common.out.as_ref();
        let out = out.map(|out| if several { out.join(name) } else { out.clone() });
        let sides = match run_rounds(arguments, &mut series, workload, out.as_deref()).await {
            Ok(Some(sides)) => sides,
            Ok(None) => {
                interrupted = true;
                break;
            }
            // What the workloads before it came to is not lost.
            Err(error) => {
                broken = Some(error);
                break;
            }
        };
        let [first, second] = &sides;
        let rows = compare(&first.runs, &second.runs)?;
        show(&format!(
            "\n{}\n{}",
            workload.headline(),
            render([first.name, second.name], &rows)
        ))?;
        let runs = sides.iter().flat_map(|side| &side.runs);
        failed += runs.map(Summary::failures).sum::<u64>();
        let Some(example) = first.runs.first() else {
            continue;
        };
        contests.push(Contest {
            name: name.clone(),
            what: workload.headline(),
            durability: example.durability,
            rounds: arguments.rounds,
            goals: judge(workload, &arguments.claims, &rows)?,
            rows,
            environment: example.environment.clone(),
        });
    }
    drop(kept);
    let missed = conclude(arguments, &contests)?;
    if let Some(error) = broken {
        return Err(error);
    }
    Ok(match (failed > 0 || interrupted, missed) {
        (_, true) => EXIT_CHECK,
        (true, false) => EXIT_FAILED,
        (false, false) => 0,
    })
}

/// The workloads by name, with the flags over them.
fn workloads(arguments: &VersusArguments) -> Result<Vec<(String, Workload)>, BenchError> {
    let mode = arguments.mode;
    if arguments.workloads.is_empty() {
        let workload = arguments.load.workload(mode)?;
        return Ok(vec![(workload.name.clone(), workload)]);
    }
    let mut workloads = Vec::new();
    for path in &arguments.workloads {
        for file in workload_files(path)? {
            workloads.push((stem(&file), arguments.load.over(Some(&file), mode)?));
        }
    }
    Ok(workloads)
}

/// For workloads that write as fast as they can, until they are over.
async fn keep_memory(
    arguments: &VersusArguments,
    workloads: &[(String, Workload)],
) -> Option<File> {
    let mut workloads = workloads.iter().map(|(_, workload)| workload);
    let writes_much =
        |workload: &Workload| workload.mode.produces() && matches!(workload.rate, Rate::Max);
    if arguments.busy || !workloads.any(writes_much) {
        return None;
    }
    say("memory that is free is touched, so that no run waits for a hypervisor to give it back");
    let taking = tokio::task::spawn_blocking(keep_free_memory);
    taking.await.ok().flatten()
}

/// Runs a workload against both sides in turn; `None` when it was interrupted.
async fn run_rounds(
    arguments: &VersusArguments,
    series: &mut Series,
    workload: &Workload,
    out: Option<&Path>,
) -> Result<Option<[Contender; 2]>, BenchError> {
    let own = arguments.common.options();
    let peer = RunOptions {
        brokers: vec![arguments.peer.clone()],
        broker_pid: arguments.peer_pid,
        ..own.clone()
    };
    let mut sides = [("broker", own), ("peer", peer)].map(|(name, options)| Contender {
        name,
        options,
        runs: Vec::new(),
    });
    for round in 0..=arguments.rounds {
        for side in &mut sides {
            if series.is_interrupted() {
                return Ok(None);
            }
            if !arguments.busy {
                settle().await;
            }
            let dir = out.map(|dir| dir.join(side.name).join(format!("run-{round}")));
            say(&format!(
                "round {round} of {}: {}",
                arguments.rounds, side.name
            ));
            let dir = dir.filter(|_| round > 0);
            let summary = series
                .run(workload, &side.options, round, dir.as_deref())
                .await?;
            if summary.interrupted {
                return Ok(None);
            }
            side.runs.push(summary);
        }
        if round == 0 {
            // Better to hear now than after all rounds that the two cannot be compared.
            compare(&sides[0].runs, &sides[1].runs)?;
            // Caches and memory were cold.
            sides.iter_mut().for_each(|side| side.runs.clear());
        }
    }
    Ok(Some(sides))
}

/// What came of the goals of a workload, and of what must hold of every one.
fn judge(workload: &Workload, claims: &[Claim], rows: &[Row]) -> Result<Vec<Outcome>, BenchError> {
    let goals_required = claims.iter().any(|claim| matches!(claim, Claim::Goals));
    let mut outcomes = Vec::new();
    for goal in &workload.goals {
        let goal: Assertion = goal
            .parse()
            .map_err(|error: InvalidAssertion| BenchError::usage(error.to_string()))?;
        outcomes.push(outcome(&goal, goals_required, rows));
    }
    for claim in claims {
        if let Claim::One(assertion) = claim {
            outcomes.push(outcome(assertion, true, rows));
        }
    }
    Ok(outcomes)
}

fn outcome(goal: &Assertion, required: bool, rows: &[Row]) -> Outcome {
    let row = rows.iter().find(|row| row.figure == goal.figure());
    let value = match goal.is_ratio() {
        true => row.and_then(|row| row.ratio),
        false => row.map(|row| row.first.median),
    };
    Outcome {
        goal: goal.to_string(),
        required,
        // A figure that the runs do not have is no success.
        reached: value.is_some_and(|value| goal.holds(value)),
        figure: row.map_or_else(|| goal.figure().to_owned(), |row| row.name.to_owned()),
        broker: row.map(|row| row.first),
        peer: row.map(|row| row.second),
        ratio: row.and_then(|row| row.ratio),
    }
}

/// Shows and writes what came of all workloads; returns whether something that must hold does not.
fn conclude(arguments: &VersusArguments, contests: &[Contest]) -> Result<bool, BenchError> {
    let outcomes = || contests.iter().flat_map(|contest| &contest.goals);
    let table = table(contests);
    if outcomes().next().is_some() {
        let reached = outcomes().filter(|outcome| outcome.reached).count();
        let missed = outcomes().count() - reached;
        show(&format!(
            "\n{table}\ngoals: {reached} reached, {missed} missed\n"
        ))?;
    }
    if let Some(out) = &arguments.common.out {
        write_file(&out.join("versus.md"), &table)?;
        let json = serde_json::to_string_pretty(contests);
        let json = json.expect("a list of structures is JSON");
        write_file(&out.join("versus.json"), &json)?;
    }
    let broken: Vec<&Outcome> = outcomes()
        .filter(|outcome| outcome.required && !outcome.reached)
        .collect();
    for outcome in &broken {
        let ratio = outcome.ratio.map_or_else(|| "-".to_owned(), number);
        say(&format!(
            "assertion failed: {}: the ratio is {ratio}",
            outcome.goal
        ));
    }
    Ok(!broken.is_empty())
}

/// A line per goal, in Markdown: medians with the ranges of the runs, and how many times the broker's figure the peer's is.
fn table(contests: &[Contest]) -> String {
    let mut text =
        "| workload | acknowledged | figure | broker | peer | peer / broker | goal | |\n\
                    |---|---|---|---|---|---|---|---|\n"
            .to_owned();
    let spread = |spread: &Option<Spread>| match spread {
        Some(spread) => compare::show(spread),
        None => "-".to_owned(),
    };
    for contest in contests {
        for outcome in &contest.goals {
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
                contest.name,
                contest.durability.name(),
                outcome.figure,
                spread(&outcome.broker),
                spread(&outcome.peer),
                outcome.ratio.map_or_else(|| "-".to_owned(), number),
                outcome.goal.replace('|', " "),
                if outcome.reached { "reached" } else { "missed" },
            ));
        }
    }
    text
}

/// The share of processor time that must be idle, and for how long it is watched.
const IDLE_MIN: f64 = 0.85;
const IDLE_WATCH: std::time::Duration = std::time::Duration::from_secs(2);

async fn check_idle() -> Result<(), BenchError> {
    let before = HostTicks::now();
    tokio::time::sleep(IDLE_WATCH).await;
    let (Some(before), Some(after)) = (before, HostTicks::now()) else {
        return Ok(());
    };
    let between = after.since(before);
    let idle = between.idle as f64 / between.all.max(1) as f64;
    if idle >= IDLE_MIN {
        return Ok(());
    }
    Err(BenchError::usage(format!(
        "the machine is only {} % idle, a comparison needs {} %: stop what runs, or say --busy",
        whole(idle * 100.0),
        whole(IDLE_MIN * 100.0)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::summary;

    fn rows() -> Vec<Row> {
        let side = |rate: f64, latency: f64| vec![summary(rate, latency); 3];
        compare(&side(1000.0, 5.0), &side(500.0, 20.0)).unwrap()
    }

    fn goals(texts: &[&str]) -> Workload {
        Workload {
            goals: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..Workload::default()
        }
    }

    #[test]
    fn ratios_are_the_peers_to_the_brokers_and_plain_bounds_are_the_brokers() {
        let rows = rows();
        let goals = goals(&[
            "response.p99>=3.9x",
            "rate<=0.5x",
            "rate>=900",
            "rate<900",
            "e2e.p99>=2x",
        ]);
        let outcomes = judge(&goals, &[], &rows).unwrap();
        let reached: Vec<bool> = outcomes.iter().map(|outcome| outcome.reached).collect();
        assert_eq!(reached, [true, true, true, false, false]);
        assert!(outcomes.iter().all(|outcome| !outcome.required));
        let missing = outcomes.last().unwrap();
        assert_eq!((missing.broker, missing.ratio), (None, None));
    }

    #[test]
    fn goals_must_hold_only_where_that_was_asked() {
        let rows = rows();
        let goals = goals(&["rate<=0.1x"]);
        let required = |claims: &[&str]| -> Vec<bool> {
            let claims: Vec<Claim> = claims.iter().map(|text| text.parse().unwrap()).collect();
            let outcomes = judge(&goals, &claims, &rows).unwrap();
            outcomes.iter().map(|outcome| outcome.required).collect()
        };
        assert_eq!(required(&[]), [false]);
        assert_eq!(required(&["goals"]), [true]);
        assert_eq!(required(&["rate<1x"]), [false, true]);
    }
}
