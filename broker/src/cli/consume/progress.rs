//! How much of what is wanted has been printed.

use std::io::{self, IsTerminal};

use super::ConsumeArguments;
use super::position::Position;
use crate::cli::progress::{Progress, Unit};

/// How far a command has come that ends some time.
#[derive(Debug)]
pub(super) struct Reading {
    progress: Progress,
    /// Records that are wanted in all, or offsets between where partitions begin and end.
    total: u64,
}

impl Reading {
    /// Nothing where records are on the terminal, or nobody knows how many there will be.
    pub(super) fn begin(arguments: &ConsumeArguments, positions: &[Position]) -> Option<Self> {
        if io::stdout().is_terminal() || !arguments.progress.is_wanted() {
            return None;
        }
        let total = left(positions.iter(), arguments.num)?;
        let title = format!("consume {}", arguments.topics.join(" "));
        let progress = Progress::new(arguments.progress, &title, Unit::Records, Some(total));
        Some(Self { progress, total })
    }

    /// Shows how far it is, with so many records wanted still.
    pub(super) fn reach<'a>(
        &self,
        positions: impl Iterator<Item = &'a Position>,
        wanted: Option<u64>,
    ) {
        let left = left(positions, wanted).unwrap_or(0);
        let done = self.total.saturating_sub(left);
        self.progress.reach(done, String::new);
    }
}

/// What is still to be read, at most; nothing where that has no bound.
fn left<'a>(mut positions: impl Iterator<Item = &'a Position>, wanted: Option<u64>) -> Option<u64> {
    let offsets = positions.try_fold(0, |sum: u64, one| Some(sum.saturating_add(one.left()?)));
    match (offsets, wanted) {
        (Some(offsets), Some(wanted)) => Some(offsets.min(wanted)),
        (one, other) => one.or(other),
    }
}
