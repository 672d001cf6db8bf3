//! Commands about several runs: `compare` and `suite`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::series::Series;
use super::{CommonArguments, EXIT_CHECK, EXIT_FAILED, show};
use crate::compare::{Row, compare, render};
use crate::error::BenchError;
use crate::output::say;
use crate::report::html::{escape, page};
use crate::report::{chart, json};
use crate::summary::Summary;
use crate::workload::Workload;

/// Arguments of `compare`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArguments {
    /// Results of the first side: a folder of runs, as --runs makes it
    first: PathBuf,
    /// Results of the other sides: each is compared with the first
    #[arg(required = true)]
    others: Vec<PathBuf>,
    /// Fail with exit code 5 where a figure is worse by more than this, and not by noise: 10%
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    fail_above: Option<f64>,
    /// Write an overlay of the distributions, and this table, as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Arguments of `suite`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SuiteArguments {
    /// Workload files, in the order of their names
    folder: PathBuf,
    #[command(flatten)]
    common: CommonArguments,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent, 0.01),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(share) if share >= 0.0 => Ok(share * scale),
        _ => Err("not a share such as 10% or 0.1".to_owned()),
    }
}

/// The results at a path: itself, or those in its folders.
fn read_side(path: &Path) -> Result<Vec<Summary>, BenchError> {
    if path.is_file() || path.join("result.json").is_file() {
        return Ok(vec![json::read(path)?]);
    }
    let runs: Vec<Summary> = entries(path)?
        .iter()
        .filter(|entry| entry.join("result.json").is_file())
        .map(|entry| json::read(entry))
        .collect::<Result<_, _>>()?;
    match runs.is_empty() {
        true => Err(BenchError::usage(format!(
            "there are no results in {}",
            path.display()
        ))),
        false => Ok(runs),
    }
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let cannot = |source| BenchError::File {
        path: folder.into(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        paths.push(entry.map_err(cannot)?.path());
    }
    paths.sort();
    Ok(paths)
}

pub(super) fn run_compare(arguments: &CompareArguments) -> Result<u8, BenchError> {
    let paths = std::iter::once(&arguments.first).chain(&arguments.others);
    let sides: Vec<Vec<Summary>> = paths
        .clone()
        .map(|path| read_side(path))
        .collect::<Result<_, _>>()?;
    let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    let names = short_names(&paths);
    let all: Vec<(&String, &Vec<Summary>)> = names.iter().zip(&sides).collect();
    let (mut tables, mut worst) = (Vec::new(), 0.0_f64);
    if let [(first_name, first), others @ ..] = &all[..] {
        for (name, other) in others {
            let rows = compare(first, other)?;
            tables.push(render([first_name, name], &rows));
            worst = rows.iter().map(Row::worse_by).fold(worst, f64::max);
        }
    }
    let table = tables.join("\n");
    show(&table)?;
    if let Some(file) = &arguments.html {
        write_page(file, &all, &table)?;
    }
    match arguments.fail_above {
        Some(share) if worst > share => {
            say("a side is worse than the first by more than is allowed");
            Ok(EXIT_CHECK)
        }
        _ => Ok(0),
    }
}

/// The last parts of paths, where they differ.
fn short_names(paths: &[String]) -> Vec<String> {
    let last = |path: &String| {
        let path = path.trim_end_matches('/');
        path.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let names: Vec<String> = paths.iter().map(last).collect();
    let distinct: BTreeSet<&String> = names.iter().filter(|name| !name.is_empty()).collect();
    match distinct.len() == names.len() {
        true => names,
        false => (1..=paths.len())
            .map(|side| format!("side {side}"))
            .collect(),
    }
}

/// The distributions of all sides, a line per run, over the table.
fn write_page(
    file: &Path,
    sides: &[(&String, &Vec<Summary>)],
    table: &str,
) -> Result<(), BenchError> {
    let mut lines = Vec::new();
    for (name, runs) in sides {
        for (number, run) in (1..).zip(*runs) {
            let latency = ["e2e", "response"]
                .iter()
                .find_map(|one| run.latencies.get(*one));
            if let Some(latency) = latency {
                lines.push(chart::percentile_line(&format!("{name} {number}"), latency));
            }
        }
    }
    let mut body = format!("<pre>{}</pre>\n", escape(table));
    if !lines.is_empty() {
        body.push_str(&chart::percentiles(&lines)?);
    }
    write_file(file, &page("Comparison", &body))
}

/// Makes a folder for results, and those above it.
pub(super) fn make_folder(folder: &Path) -> Result<(), BenchError> {
    fs::create_dir_all(folder).map_err(|source| BenchError::File {
        path: folder.into(),
        source,
    })
}

pub(super) fn write_file(file: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(file, text).map_err(|source| BenchError::File {
        path: file.into(),
        source,
    })
}

/// The workload files of a folder, by name; or the one file that is named.
pub(super) fn workload_files(path: &Path) -> Result<Vec<PathBuf>, BenchError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let is_workload = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("toml" | "yaml" | "yml"))
    };
    let files: Vec<PathBuf> = entries(path)?.into_iter().filter(is_workload).collect();
    match files.is_empty() {
        true => Err(BenchError::usage(format!(
            "there are no workloads in {}",
            path.display()
        ))),
        false => Ok(files),
    }
}

/// The name of a file without its extension.
pub(super) fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

pub(super) async fn run_suite(arguments: &SuiteArguments) -> Result<u8, BenchError> {
    let Some(out) = &arguments.common.out else {
        return Err(BenchError::usage("a suite needs --out, for its results"));
    };
    // All are read before the first runs: a mistake in the last would come late.
    let mut workloads = Vec::new();
    for file in &workload_files(&arguments.folder)? {
        let workload = Workload::read(file)?;
        workload.check()?;
        workloads.push((stem(file), workload));
    }
    make_folder(out)?;
    let mut rows = String::new();
    let (mut code, mut broken) = (0, None);
    let mut series = Series::begin()?;
    let options = arguments.common.options();
    for (number, (name, workload)) in workloads.iter().enumerate() {
        if series.is_interrupted() {
            break;
        }
        let dir = out.join(name);
        let summary = match series.run(workload, &options, number, Some(&dir)).await {
            Ok(summary) => summary,
            // What came of those before it is not lost.
            Err(error) => {
                broken = Some(error);
                break;
            }
        };
        if summary.failures() > 0 {
            code = EXIT_FAILED;
        }
        index_row(&mut rows, name, &summary);
        if summary.interrupted {
            break;
        }
    }
    let head = "<tr><th>workload</th><th>what</th><th>produced, records/s</th><th>consumed, \
                records/s</th><th>response p99, ms</th><th>e2e p99, ms</th><th>errors</th></tr>";
    let body = format!("<table>{head}\n{rows}</table>");
    let index = out.join("index.html");
    write_file(&index, &page("Suite", &body))?;
    say(&format!("wrote {}", index.display()));
    broken.map_or(Ok(code), Err)
}

fn index_row(rows: &mut String, name: &str, summary: &Summary) {
    let name = escape(name);
    let figure = |name: &str, digits: usize| match summary.figure(name) {
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    };
    let written = writeln!(
        rows,
        "<tr><td><a href=\"{name}/report.html\">{name}</a></td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>{}</td><td>{}</td></tr>",
        escape(&summary.workload.headline()),
        figure("rate", 0),
        figure("consume_rate", 0),
        figure("response.p99", 3),
        figure("e2e.p99", 3),
        summary.failures()
    );
    written.expect("a string takes what is written");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::summary;

    fn write_runs(dir: &Path, side: &str, latencies: &[f64]) -> PathBuf {
        let side = dir.join(side);
        for (number, latency) in latencies.iter().enumerate() {
            let run = side.join(format!("run-{number}"));
            fs::create_dir_all(&run).unwrap();
            let text = json::render(&summary(1000.0, *latency));
            fs::write(run.join("result.json"), text).unwrap();
        }
        side
    }

    #[test]
    fn a_comparison_fails_only_where_a_side_is_worse_beyond_noise_and_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let first = write_runs(dir.path(), "old", &[5.0, 5.1, 5.2]);
        let code = |latencies: &[f64], fail_above| {
            let second = write_runs(dir.path(), "new", latencies);
            let page = dir.path().join("page.html");
            let arguments = CompareArguments {
                first: first.clone(),
                others: vec![second],
                fail_above,
                html: Some(page.clone()),
            };
            let code = run_compare(&arguments).unwrap();
            assert!(fs::read_to_string(page).unwrap().contains("<svg"));
            code
        };
        assert_eq!(code(&[8.0, 8.1, 8.2], Some(0.1)), EXIT_CHECK);
        assert_eq!(code(&[8.0, 8.1, 8.2], Some(0.9)), 0);
        assert_eq!(code(&[8.0, 8.1, 8.2], None), 0);
        assert_eq!(code(&[4.0, 8.1, 8.2], Some(0.1)), 0);
        assert_eq!(code(&[1.0, 1.1, 1.2], Some(0.1)), 0);
    }

    #[test]
    fn every_further_side_is_compared_with_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = write_runs(dir.path(), "old", &[5.0, 5.1, 5.2]);
        let same = write_runs(dir.path(), "same", &[5.0, 5.1, 5.2]);
        let worse = write_runs(dir.path(), "worse", &[8.0, 8.1, 8.2]);
        let page = dir.path().join("page.html");
        let code = |others: Vec<PathBuf>| {
            let arguments = CompareArguments {
                first: first.clone(),
                others,
                fail_above: Some(0.1),
                html: Some(page.clone()),
            };
            run_compare(&arguments).unwrap()
        };
        assert_eq!(code(vec![same.clone()]), 0);
        for others in [vec![same.clone(), worse.clone()], vec![worse, same]] {
            assert_eq!(code(others), EXIT_CHECK);
        }
        let page = fs::read_to_string(page).unwrap();
        for name in ["same (min..max)", "worse (min..max)", "worse 3"] {
            assert!(page.contains(name), "{name}");
        }
        let paths = ["a/x", "b/x/"].map(str::to_owned);
        assert_eq!(short_names(&paths), ["side 1", "side 2"]);
    }

    #[test]
    fn a_folder_without_results_is_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_side(dir.path()).unwrap_err().exit_code(), 2);
        assert_eq!(read_side(&dir.path().join("x")).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn shares_are_read_as_percent_or_fraction() {
        assert_eq!(parse_share("10%"), Ok(0.1));
        assert_eq!(parse_share("0.25"), Ok(0.25));
        assert!(parse_share("-1").is_err() && parse_share("x").is_err());
    }
}
