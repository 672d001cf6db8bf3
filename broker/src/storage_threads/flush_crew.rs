//! Threads that sync logs beside a flush thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tidewheel_config::limits;
use tidewheel_storage::{FlushRound, FlushWork};
use tracing::debug;

use super::spawn;

/// The helpers of one flush thread, started when there is work for them first.
#[derive(Debug, Default)]
pub(super) struct FlushCrew {
    helpers: Vec<Helper>,
}

#[derive(Debug)]
struct Helper {
    /// Takes the next round. Without a sender the thread ends.
    rounds: SyncSender<Arc<FlushWork>>,
    thread: JoinHandle<()>,
}

impl FlushCrew {
    /// Carries out a round, with as many helpers as it has logs for.
    pub(super) fn run(&mut self, work: FlushWork) -> FlushRound {
        let wanted = work.len().saturating_sub(1).min(limits::FLUSH_HELPERS);
        if wanted == 0 {
            return work.finish();
        }
        self.grow(wanted);
        let work = Arc::new(work);
        for helper in self.helpers.iter().take(wanted) {
            // One that has not woken up for the last round yet comes too late for this one, too.
            drop(helper.rounds.try_send(Arc::clone(&work)));
        }
        work.finish()
    }

    /// Starts threads until there are so many; with fewer it takes longer.
    fn grow(&mut self, wanted: usize) {
        while self.helpers.len() < wanted {
            let (rounds, next) = sync_channel(1);
            match spawn("sync", move || help(&next)) {
                Ok(thread) => self.helpers.push(Helper { rounds, thread }),
                Err(error) => {
                    debug!(%error, helpers = self.helpers.len(), "no more threads to flush with");
                    return;
                }
            }
        }
    }
}

impl Drop for FlushCrew {
    fn drop(&mut self) {
        for Helper { rounds, thread } in self.helpers.drain(..) {
            drop(rounds);
            // A panic of it has ended the process.
            drop(thread.join());
        }
    }
}

fn help(rounds: &Receiver<Arc<FlushWork>>) {
    while let Ok(work) = rounds.recv() {
        work.work();
    }
}
