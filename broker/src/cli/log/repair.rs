//! `tidewheel log repair`: cuts damaged bytes out of logs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use tidewheel_storage::fs::FileSystem;
use tidewheel_storage::inspect::{self, RepairOptions, RepairSummary};

use super::{EXIT_DAMAGE, Failure, Printer, TargetArguments};

#[derive(Serialize)]
struct SummaryLine {
    r#type: &'static str,
    #[serde(flatten)]
    summary: RepairSummary,
}

/// The path by which a directory can be told: what it is called and where it lies say which partition it is, so `.` is
/// not enough.
fn full_path(path: &Path) -> PathBuf {
    let full = match path.file_name() {
        Some(_) => std::path::absolute(path),
        None => path.canonicalize(),
    };
    // That it is not there shows when it is opened.
    full.unwrap_or_else(|_| path.to_path_buf())
}

pub(super) fn repair(
    fs: &dyn FileSystem,
    target: &TargetArguments,
    options: RepairOptions,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let path = full_path(&target.path);
    let mut printer = Printer::new(out, target.format);
    let outcome = inspect::repair(fs, &path, options, &mut |line| {
        printer.line(&line, &line.to_string());
        // What was done is known also where the rest is cut off.
        printer.flush();
    });
    if let Ok(summary) = outcome {
        let line = SummaryLine {
            r#type: "summary",
            summary,
        };
        printer.line(&line, &summary_text(&path, &summary));
    }
    printer.finish()?;
    let summary = outcome.map_err(Failure::Storage)?;
    let found = summary.repaired + summary.reindexed + summary.lost_offsets;
    let to_do = summary.dry_run && found > 0;
    Ok(match summary.left + summary.refused == 0 && !to_do {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_DAMAGE),
    })
}

fn summary_text(path: &Path, summary: &RepairSummary) -> String {
    let RepairSummary {
        partitions,
        repaired,
        reindexed,
        cut_bytes,
        lost_offsets,
        left,
        refused,
        dry_run,
        ..
    } = summary;
    let verb = if *dry_run { "to repair" } else { "repaired" };
    format!(
        "{}: {partitions} partitions, {repaired} {verb}, {lost_offsets} offsets lost, {cut_bytes} bytes cut out; \
         indexes of {reindexed} other segments made anew, {left} damages left, {refused} refused",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tidewheel_storage::StorageError;
    use tidewheel_storage::fs::SimFs;

    use super::super::{Format, ProgressArguments};
    use super::*;

    fn run(fs: &SimFs, path: &str) -> (Result<ExitCode, Failure>, String) {
        let target = TargetArguments {
            path: PathBuf::from(path),
            format: Format::Json,
            progress: ProgressArguments::default(),
        };
        let options = RepairOptions {
            interval_bytes: 4096,
            dry_run: false,
            now_ms: 0,
        };
        let mut out = Vec::new();
        let code = repair(fs, &target, options, &mut out);
        (code, String::from_utf8(out).expect("the output is text"))
    }

    #[test]
    fn a_directory_is_told_by_where_it_lies_however_it_is_called() {
        let here = std::env::current_dir().unwrap();
        let name = Path::new(here.file_name().unwrap());
        for path in [".", "./", "./."] {
            assert_eq!(full_path(Path::new(path)), here, "{path}");
        }
        assert_eq!(full_path(Path::new("..")), here.parent().unwrap());
        assert_eq!(full_path(Path::new("t-0/")), here.join("t-0"));
        let again = Path::new("..").join(name);
        assert_eq!(full_path(&again).file_name(), here.file_name());
    }

    #[test]
    fn what_lies_outside_of_a_data_directory_is_refused_and_what_is_not_there_an_error() {
        let fs = SimFs::new();
        fs.create_dir_all(Path::new("/copy/orders-0")).unwrap();
        let (code, text) = run(&fs, "/copy/orders-0");
        assert_eq!(code.unwrap(), ExitCode::from(EXIT_DAMAGE));
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["type"], "refused");
        assert_eq!(lines[0]["dir"], "/copy/orders-0");
        let types: Vec<_> = lines.iter().map(|line| &line["type"]).collect();
        assert_eq!(types, ["refused", "summary"]);
        assert_eq!(lines[1]["refused"], 1);
        let (code, text) = run(&fs, "/nowhere");
        assert!(matches!(
            code,
            Err(Failure::Storage(StorageError::Io { .. }))
        ));
        assert_eq!(text, "");
    }
}
