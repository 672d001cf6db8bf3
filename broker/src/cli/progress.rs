//! What is shown of long work while it lasts: a line on standard error that is written again in its place, as that of
//! a bench run. Only a terminal gets it; pipes, files and logs get nothing.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::escaped;

/// Redraws of the line per second, at most.
const REDRAWS: u8 = 5;

/// The line of this process, which runs one command: what else is said stands above it.
static LINE: OnceLock<ProgressBar> = OnceLock::new();

/// Whether progress is wanted.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct ProgressArguments {
    /// Show no progress on a terminal; elsewhere none is shown
    #[arg(long)]
    quiet: bool,
}

impl ProgressArguments {
    /// Whether there is somebody who sees it and has not refused it.
    pub(crate) fn is_wanted(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Records,
    Partitions,
}

/// How far a command has come. The line goes with it.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of what `title` says, of so many in all, where that is known.
    pub(crate) fn new(
        arguments: ProgressArguments,
        title: &str,
        unit: Unit,
        total: Option<u64>,
    ) -> Self {
        if !arguments.is_wanted() {
            return Self::none();
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
        let bar = ProgressBar::with_draw_target(total, target);
        if let Ok(style) = ProgressStyle::with_template(template(unit, total)) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        // It may have the name of a topic in it.
        bar.set_prefix(escaped(title));
        bar.tick();
        // A command has one line; a second one would do without what is said above it.
        let _first = LINE.set(bar.clone());
        Self(bar)
    }

    /// That nobody sees.
    pub(crate) fn none() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Whether somebody sees it.
    pub(crate) fn is_shown(&self) -> bool {
        !self.0.is_hidden()
    }

    /// So many are done; `text` says what is being done.
    pub(crate) fn reach(&self, done: u64, text: impl FnOnce() -> String) {
        if self.is_shown() {
            self.0.set_message(text());
            self.0.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn template(unit: Unit, total: Option<u64>) -> &'static str {
    match (unit, total) {
        (Unit::Bytes, Some(_)) => {
            "{prefix}  {bar:20} {bytes} of {total_bytes}, {bytes_per_sec}  {wide_msg}"
        }
        (Unit::Bytes, None) => "{prefix}  {bytes}, {bytes_per_sec}  {wide_msg}",
        (Unit::Records, Some(_)) => {
            "{prefix}  {bar:20} {human_pos} of {human_len} records, {per_sec}  {wide_msg}"
        }
        (Unit::Records, None) => "{prefix}  {human_pos} records, {per_sec}  {wide_msg}",
        (Unit::Partitions, Some(_)) => {
            "{prefix}  {bar:20} {human_pos} of {human_len} partitions  {wide_msg}"
        }
        (Unit::Partitions, None) => "{prefix}  {human_pos} partitions  {wide_msg}",
    }
}

/// Writes something to the terminal on which the line may be: above it.
pub(super) fn above<T>(write: impl FnOnce() -> T) -> T {
    match LINE.get() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Output that may come to the same terminal as the line.
#[derive(Debug)]
pub(crate) struct Above<W>(pub(crate) W);

impl<W: Write> Write for Above<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        above(|| self.0.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_can_be_drawn() {
        for unit in [Unit::Bytes, Unit::Records, Unit::Partitions] {
            for total in [None, Some(7)] {
                assert!(ProgressStyle::with_template(template(unit, total)).is_ok());
            }
        }
    }

    #[test]
    fn nothing_is_shown_where_nobody_wants_it() {
        let quiet = ProgressArguments { quiet: true };
        let progress = Progress::new(quiet, "t", Unit::Bytes, Some(1));
        progress.reach(1, || unreachable!("nobody reads it"));
        assert!(!progress.is_shown());
        let mut out = Above(Vec::new());
        out.write_all(b"text").unwrap();
        out.flush().unwrap();
        assert_eq!(out.0, b"text");
    }
}
