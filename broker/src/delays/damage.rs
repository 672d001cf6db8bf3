//! Damage to the files of a delay store: it is told, counted, and taken off what is pending.

use std::sync::atomic::Ordering;

use tidewheel_config::limits;
use tidewheel_storage::delay::{DelayDamage, DelayQueue, DelayRecount, RecountStep};
use tracing::{error, info, warn};

use super::DelayDir;
use crate::trouble::Trouble;

/// A count of what is pending that is under way.
#[derive(Default)]
pub(super) struct Recount {
    under_way: Option<DelayRecount>,
    /// A file cannot be read.
    failing: Trouble,
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
            "the end of a file of delayed records is what a crash leaves of a write that nobody was told of"
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
            // Begun anew by the next call.
            Ok(RecountStep::Gone) => return true,
            Ok(RecountStep::Done) => drop(self.failing.ends()),
            Err(error) => {
                if self.failing.begins() {
                    warn!(%error, "delayed records cannot be counted anew after damage yet");
                }
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
}
