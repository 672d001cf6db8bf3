//! `tidewheel log dump|verify|reindex|repair`: looks at the files of a stopped data directory, makes damaged
//! indexes anew, and cuts damaged bytes out of logs.
//!
//! Exit codes: 0 all is well, 1 the environment failed (a missing directory, one in use), 2 usage,
//! 5 `verify` found damage, or damage is left after `reindex` or `repair`.

mod repair;
mod watched;

use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use tidewheel_storage::error::StorageError;
use tidewheel_storage::fs::{FileSystem, RealFs};
use tidewheel_storage::inspect::{
    self, DumpEntry, DumpOptions, Finding, ReindexOptions, Reindexed, ReindexedSegment,
    RepairOptions, VerifySummary,
};

use self::watched::WatchedFs;
use super::outcome::print_json;
use super::progress::{Above, ProgressArguments};
use super::{EXIT_ENVIRONMENT, say};
use crate::clock;

const EXIT_DAMAGE: u8 = 5;

/// Arguments of `tidewheel log`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArguments {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum LogCommand {
    /// Show what the files of a stopped data directory hold
    Dump {
        #[command(flatten)]
        target: TargetArguments,
        /// Show records too, not only their batches
        #[arg(long)]
        records: bool,
    },
    /// Check that the files of a stopped data directory agree with themselves and each other
    Verify {
        #[command(flatten)]
        target: TargetArguments,
    },
    /// Make those indexes of a stopped data directory anew in which verify finds damage
    Reindex(ChangeArguments),
    /// Bring back damaged partitions of a stopped data directory
    ///
    /// A broker serves a partition read-only where bytes of it are damaged. This cuts them out of its log.
    /// Batches that are whole stay, with their offsets, unless nothing tells where they belong. What is cut out is
    /// kept in the folder cut-out.<time> of the partition, beside the old files, which take their room until the
    /// folder is deleted, and report.txt, which says what the output says: what was cut out and which offsets are
    /// lost. A partition without damage is not touched. Stop the broker before, and run this as the user that the
    /// broker runs as; try --dry-run first; where a run was cut off, run it again. Exit code 5: something is left
    /// that it cannot repair, or --dry-run found something to do.
    Repair(ChangeArguments),
}

/// Arguments of what writes to a data directory.
#[derive(Args, Clone, Debug)]
struct ChangeArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// The topic's index.interval.bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    index_interval_bytes: u32,
}

#[derive(Args, Clone, Debug)]
struct TargetArguments {
    /// A data directory, the directory of one partition, or one file
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// Text for people, or JSON with one object per line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArguments,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// Runs the command on the real file system and standard output.
pub(crate) fn run(args: &LogArguments) -> ExitCode {
    let fs = watched(&args.command);
    let fs = &*fs;
    let mut out = io::BufWriter::new(Above(io::stdout().lock()));
    let code = match &args.command {
        LogCommand::Dump { target, records } => {
            dump(fs, target, DumpOptions { records: *records }, &mut out)
        }
        LogCommand::Verify { target } => verify(fs, target, &mut out),
        LogCommand::Reindex(change) => {
            let options = ReindexOptions {
                interval_bytes: change.index_interval_bytes,
                dry_run: change.dry_run,
            };
            may_write(change).and_then(|()| reindex(fs, &change.target, options, &mut out))
        }
        LogCommand::Repair(change) => {
            let options = RepairOptions {
                interval_bytes: change.index_interval_bytes,
                dry_run: change.dry_run,
                now_ms: clock::now_ms(),
            };
            may_write(change).and_then(|()| repair::repair(fs, &change.target, options, &mut out))
        }
    };
    match code {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::from(EXIT_ENVIRONMENT)
        }
    }
}

/// The real file system, which shows how far it has been read.
fn watched(command: &LogCommand) -> Box<dyn FileSystem> {
    let (target, title) = match command {
        LogCommand::Dump { target, .. } => (target, "log dump"),
        LogCommand::Verify { target } => (target, "log verify"),
        LogCommand::Reindex(change) => (&change.target, "log reindex"),
        LogCommand::Repair(change) => (&change.target, "log repair"),
    };
    // What is shown on a terminal tells by itself how far it is.
    let tells = matches!(command, LogCommand::Dump { .. }) && io::stdout().is_terminal();
    match tells || !target.progress.is_wanted() {
        true => Box::new(RealFs),
        false => Box::new(WatchedFs::new(RealFs, &target.path, title, target.progress)),
    }
}

/// Whether this user may write there: a broker that runs as another one, as root's does not, could not open what is
/// written.
fn may_write(change: &ChangeArguments) -> Result<(), Failure> {
    let path = &change.target.path;
    let owner = match std::fs::metadata(path) {
        Ok(metadata) => metadata.uid(),
        // It is said by what looks into it.
        Err(_) => return Ok(()),
    };
    let own = rustix::process::geteuid().as_raw();
    if change.dry_run || owner == own {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::Owner(format!(
        "{path} belongs to the user with the number {owner}, and this runs as {own}: the broker could not open what \
         is written; run it as its user (sudo -u '#{owner}' ...)"
    )))
}

fn report(failure: &Failure) {
    match failure {
        // Whoever reads our output has seen enough, as `head` does.
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Failure::Output(error) => say(&format!("cannot write the output: {error}")),
        Failure::Storage(StorageError::DirectoryInUse { dir }) => say(&format!(
            "{} is in use by a running broker; stop it first, or look at a copy",
            dir.display()
        )),
        Failure::Storage(error) => say(&error.to_string()),
        Failure::Owner(sentence) => say(sentence),
    }
}

#[derive(Debug)]
enum Failure {
    Storage(StorageError),
    Output(io::Error),
    /// The directory is somebody else's.
    Owner(String),
}

fn dump(
    fs: &dyn FileSystem,
    target: &TargetArguments,
    options: DumpOptions,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let mut printer = Printer::new(out, target.format);
    let outcome = inspect::dump(fs, &target.path, options, &mut |entry: DumpEntry| {
        printer.line(&entry, &entry.to_string());
    });
    printer.finish()?;
    outcome.map_err(Failure::Storage)?;
    Ok(ExitCode::SUCCESS)
}

fn verify(
    fs: &dyn FileSystem,
    target: &TargetArguments,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let mut printer = Printer::new(out, target.format);
    let outcome = inspect::verify(fs, &target.path, &mut |finding: Finding| {
        let text = finding.to_string();
        printer.line(
            &FindingLine {
                r#type: "finding",
                finding,
            },
            &text,
        );
    });
    let summary = match outcome {
        Ok(summary) => summary,
        Err(error) => {
            printer.finish()?;
            return Err(Failure::Storage(error));
        }
    };
    let text = summary_text(&target.path, &summary);
    printer.line(
        &SummaryLine {
            r#type: "summary",
            summary,
        },
        &text,
    );
    printer.finish()?;
    Ok(match summary.damages {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_DAMAGE),
    })
}

fn reindex(
    fs: &dyn FileSystem,
    target: &TargetArguments,
    options: ReindexOptions,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let mut printer = Printer::new(out, target.format);
    let (mut rebuilt, mut left) = (0, 0);
    let outcome = inspect::reindex(fs, &target.path, options, &mut |segment| {
        match segment.outcome {
            Reindexed::Rebuilt { .. } => rebuilt += 1,
            Reindexed::Damaged { .. } => left += 1,
        }
        let line = SegmentLine {
            r#type: "segment",
            segment: &segment,
        };
        printer.line(&line, &segment.to_string());
    });
    let dry_run = options.dry_run;
    let verb = if dry_run { "to rebuild" } else { "rebuilt" };
    let text = format!(
        "{}: indexes of {rebuilt} segments {verb}, {left} segments left as they are",
        target.path.display()
    );
    if outcome.is_ok() {
        let line = ReindexLine {
            r#type: "summary",
            rebuilt,
            left,
            dry_run,
        };
        printer.line(&line, &text);
    }
    printer.finish()?;
    outcome.map_err(Failure::Storage)?;
    Ok(match left == 0 && (rebuilt == 0 || !dry_run) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_DAMAGE),
    })
}

#[derive(Serialize)]
struct SegmentLine<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    segment: &'a ReindexedSegment,
}

#[derive(Serialize)]
struct ReindexLine {
    r#type: &'static str,
    rebuilt: u64,
    left: u64,
    dry_run: bool,
}

#[derive(Serialize)]
struct FindingLine {
    r#type: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

#[derive(Serialize)]
struct SummaryLine {
    r#type: &'static str,
    #[serde(flatten)]
    summary: VerifySummary,
}

fn summary_text(path: &Path, summary: &VerifySummary) -> String {
    let VerifySummary {
        partitions,
        files,
        batches,
        records,
        log_bytes,
        damages,
        notes,
        ..
    } = summary;
    let verdict = match damages {
        0 => "ok".to_owned(),
        1 => "1 damage".to_owned(),
        _ => format!("{damages} damages"),
    };
    format!(
        "{}: {verdict}, {notes} notes; {partitions} partitions, {files} files, {batches} batches, \
         {records} records, {log_bytes} log bytes",
        path.display()
    )
}

/// Writes lines and remembers the first error: the callbacks that produce them cannot fail.
struct Printer<'a> {
    out: &'a mut dyn Write,
    format: Format,
    error: Option<io::Error>,
}

impl<'a> Printer<'a> {
    fn new(out: &'a mut dyn Write, format: Format) -> Self {
        Self {
            out,
            format,
            error: None,
        }
    }

    fn line(&mut self, object: &impl Serialize, text: &str) {
        if self.error.is_some() {
            return;
        }
        let written = match self.format {
            Format::Text => writeln!(self.out, "{text}"),
            Format::Json => print_json(&mut self.out, object),
        };
        self.error = written.err();
    }

    fn flush(&mut self) {
        if self.error.is_none() {
            self.error = self.out.flush().err();
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self.error {
            Some(error) => Err(Failure::Output(error)),
            None => self.out.flush().map_err(Failure::Output),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tidewheel_storage::checkpoint;
    use tidewheel_storage::fs::SimFs;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: LogArguments,
    }

    fn parse(arguments: &[&str]) -> Result<LogArguments, clap::Error> {
        Cli::try_parse_from(["log"].iter().chain(arguments)).map(|cli| cli.args)
    }

    fn run_verify(fs: &SimFs, path: &str, format: Format) -> (Result<ExitCode, Failure>, String) {
        let target = TargetArguments {
            path: PathBuf::from(path),
            format,
            progress: ProgressArguments::default(),
        };
        let mut out = Vec::new();
        let code = verify(fs, &target, &mut out);
        (code, String::from_utf8(out).expect("the output is text"))
    }

    fn disk(checkpoint_text: &[u8]) -> SimFs {
        let fs = SimFs::new();
        fs.create_dir_all(Path::new("/p")).unwrap();
        checkpoint::write_atomically(
            &fs,
            Path::new("/p/leader-epoch-checkpoint"),
            checkpoint_text,
        )
        .unwrap();
        fs
    }

    #[test]
    fn arguments_are_read() {
        assert!(parse(&["dump", "/data", "--records", "--format", "json"]).is_ok());
        assert!(parse(&["verify", "/data"]).is_ok());
        assert!(
            parse(&[
                "reindex",
                "/data",
                "--dry-run",
                "--index-interval-bytes",
                "512"
            ])
            .is_ok()
        );
        assert!(parse(&["repair", "/data", "--dry-run", "--format", "json"]).is_ok());
        for wrong in [
            &["verify"][..],
            &["repair"],
            &["repair", "/d", "--force"],
            &["dump", "/d", "--format", "xml"],
        ] {
            assert_eq!(
                parse(wrong).err().map(|error| error.exit_code()),
                Some(2),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn sound_files_end_with_0_and_damage_with_5() {
        let path = "/p/leader-epoch-checkpoint";
        let (code, text) = run_verify(&disk(b"0\n1\n0 0\n"), path, Format::Text);
        assert_eq!(code.unwrap(), ExitCode::SUCCESS);
        assert!(
            text.starts_with("/p/leader-epoch-checkpoint: ok, 0 notes;"),
            "{text}"
        );
        let (code, text) = run_verify(&disk(b"0\n2\n0 0\n"), path, Format::Text);
        assert_eq!(code.unwrap(), ExitCode::from(EXIT_DAMAGE));
        assert!(
            text.starts_with("damage: /p/leader-epoch-checkpoint at byte "),
            "{text}"
        );
    }

    #[test]
    fn json_is_one_object_per_line() {
        let path = "/p/leader-epoch-checkpoint";
        let (_, text) = run_verify(&disk(b"0\n2\n0 0\n"), path, Format::Json);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["type"], "finding");
        assert_eq!(lines[0]["severity"], "damage");
        assert_eq!(lines[0]["file"], path);
        assert_eq!(
            (&lines[1]["type"], &lines[1]["damages"]),
            (&"summary".into(), &1.into())
        );
        let target = TargetArguments {
            path: PathBuf::from("/p"),
            format: Format::Json,
            progress: ProgressArguments::default(),
        };
        let mut out = Vec::new();
        dump(
            &disk(b"0\n1\n4 7\n"),
            &target,
            DumpOptions::default(),
            &mut out,
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains(r#"{"type":"leader_epoch","epoch":4,"start_offset":7}"#),
            "{text}"
        );
    }

    #[test]
    fn a_missing_directory_is_a_failure_of_the_environment() {
        let (code, text) = run_verify(&SimFs::new(), "/nowhere", Format::Text);
        assert!(matches!(code, Err(Failure::Storage(_))));
        assert_eq!(text, "");
    }
}
