//! One round of group commit under way: which logs it syncs, by as many threads as come to help.
//!
//! A file system answers syncs that wait at the same time with one commit of its journal, so that a hundred
//! of them take little longer than a few one after the other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::StorageError;
use crate::flush_coalescer::FlushRound;
use crate::log_dir::LogDir;
use crate::partition_log::PartitionLog;
use crate::segments::FlushPlan;

/// What a round has to sync. Any thread may [work](Self::work) at it; one of them [finishes](Self::finish) it.
#[derive(Debug)]
pub struct FlushWork {
    dir: Arc<LogDir>,
    /// Logs, and what of each was written when the round began.
    plans: Vec<(Arc<PartitionLog>, FlushPlan)>,
    progress: Mutex<Progress>,
    all_idle: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// How many plans were taken.
    taken: usize,
    /// How many of these are being carried out.
    busy: usize,
    round: FlushRound,
}

impl FlushWork {
    /// What is written of `logs` now.
    pub(crate) fn new(dir: &Arc<LogDir>, logs: Vec<Arc<PartitionLog>>) -> Self {
        let planned = |log: Arc<PartitionLog>| {
            let plan = log.flush_plan();
            (log, plan)
        };
        Self {
            dir: Arc::clone(dir),
            plans: logs.into_iter().map(planned).collect(),
            progress: Mutex::default(),
            all_idle: Condvar::new(),
        }
    }

    /// No work, for this reason.
    pub(crate) fn refused(dir: &Arc<LogDir>, error: StorageError) -> Self {
        let work = Self::new(dir, Vec::new());
        work.progress().round.error = Some(error);
        work
    }

    /// How many logs there are to sync: more threads than this have nothing to do.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plans.len()
    }

    /// Whether there is nothing to sync.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Syncs logs until none is left, or one has failed.
    pub fn work(&self) {
        while let Some((log, plan)) = self.take() {
            let result = plan.execute(log.dir());
            if result.is_ok() {
                log.flushed(plan);
            }
            self.put_down(log, result);
        }
    }

    /// Works, waits for the others and says what the round did: for one thread, once.
    #[must_use]
    pub fn finish(&self) -> FlushRound {
        self.work();
        let is_busy = |progress: &mut Progress| progress.busy > 0;
        let progress = self.all_idle.wait_while(self.progress(), is_busy);
        let mut progress = progress.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut progress.round)
    }

    fn take(&self) -> Option<&(Arc<PartitionLog>, FlushPlan)> {
        let mut progress = self.progress();
        let plan = self.plans.get(progress.taken)?;
        progress.taken += 1;
        progress.busy += 1;
        Some(plan)
    }

    fn put_down(&self, log: &Arc<PartitionLog>, result: Result<(), StorageError>) {
        let mut progress = self.progress();
        progress.busy -= 1;
        let round = &mut progress.round;
        match result {
            Ok(()) => round.advanced.push(log.id()),
            Err(StorageError::PartitionDeleted) => {}
            Err(error) if error.is_out_of_descriptors() => {
                self.dir.coalescer().put_back(log);
                round.error.get_or_insert(error);
            }
            Err(error) => {
                // Others may only have found that the directory is offline already.
                round.error = Some(self.dir.offline_cause().cloned().unwrap_or(error));
                progress.taken = self.plans.len();
            }
        }
        if progress.busy == 0 {
            self.all_idle.notify_all();
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
