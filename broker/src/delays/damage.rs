//! Damage to the files of a delay store: it is told, counted, and taken off what is pending.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::{DelayDamage, DelayQueue, DelayRecount, RecountStep};
use tracing::{error, info, warn};

use super::DelayDir;
use crate::clock;
use crate::trouble::Trouble;

/// A count of what is pending that is under way.
#[derive(Default)]
pub(super) struct Recount {
    under_way: Option<DelayRecount>,
    /// A file cannot be read.
    failing: Trouble,
    /// None begins before.
    rests_until: Option<tokio::time::Instant>,
    /// How long it rested last since it fails.
    pause: Duration,
}

impl DelayDir {
    /// Tells what was found to be damaged since the last call, and counts it.
    pub(super) fn tell_damage(&self, queue: &mut DelayQueue) {
        for damage in queue.take_damage() {
            tell(&damage);
        }
        let (places, lost) = queue.damage_totals();
        self.counts.damaged.store(places, Ordering::Relaxed);
        self.counts.lost.store(lost.records, Ordering::Relaxed);
    }
}

fn tell(damage: &DelayDamage) {
    let DelayDamage {
        path,
        from,
        to,
        torn,
    } = damage;
    let file = path.display();
    match torn {
        true => warn!(
            %file, from, to,
            "bytes of a file of delayed records are most likely what a crash left of a write that nobody was told of; where something was written behind them the file is kept under the name ….damaged when it is needed no more"
        ),
        false => error!(
            %file, from, to,
            "bytes of a file of delayed records are damaged or missing: what only they held is lost; the file is kept under the name ….damaged when it is needed no more"
        ),
    }
}

impl Recount {
    /// Reads a part of what has to be counted after damage; whether there is more.
    pub(super) fn step(&mut self, dir: &DelayDir) -> bool {
        if !self.rests_until.is_none_or(clock::has_come) {
            return false;
        }
        self.rests_until = None;
        let recount = match self.under_way.take() {
            Some(recount) => Some(recount),
            None => dir
                .with(|queue| queue.wants_recount().then(|| queue.begin_recount()))
                .flatten(),
        };
        let Some(mut recount) = recount else {
            return false;
        };
        match recount.step(limits::DELAY_STEP_BYTES) {
            Ok(RecountStep::More) => {
                self.under_way = Some(recount);
                return true;
            }
            Ok(RecountStep::Gone) => {
                self.rests_until = Some(clock::deadline(limits::DELAY_RECOUNT_PAUSE));
                return false;
            }
            Ok(RecountStep::Done) => {
                self.failing.ends();
                self.pause = Duration::ZERO;
            }
            Err(error) => {
                self.failed(&error);
                return false;
            }
        }
        let lost = dir.with(|queue| {
            let (_, before) = queue.damage_totals();
            queue.finish_recount(recount);
            dir.tell_damage(queue);
            let (_, lost) = queue.damage_totals();
            lost.records - before.records
        });
        dir.changed.store(true, Ordering::SeqCst);
        match lost.unwrap_or_default() {
            0 => info!("pending delayed records were counted after damage: none is lost"),
            records => error!(records, "damage took delayed records"),
        }
        false
    }

    /// It is begun anew, each time later: to begin looks at all that hangs in memory, while producers wait.
    fn failed(&mut self, error: &StorageError) {
        self.pause = longer(self.pause);
        self.rests_until = Some(clock::deadline(self.pause));
        if self.failing.begins() {
            warn!(
                %error,
                "delayed records cannot be counted anew after damage: this is tried again until it can be done"
            );
        }
    }
}

/// How long to rest after a failure, where the last time it was so long.
fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(limits::DELAY_RECOUNT_PAUSE, limits::DELAY_RECOUNT_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_fails_rests_longer_each_time_and_five_minutes_at_most() {
        let pauses =
            std::iter::successors(Some(longer(Duration::ZERO)), |last| Some(longer(*last)));
        let pauses: Vec<u64> = pauses.take(11).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }
}
