//! Recovery of the partitions of a start, by several threads.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::claiming::may_be_spared;
use crate::error::StorageError;
use crate::log::Log;
use crate::log_loading::{LivePartition, METADATA_TOPIC, partition_dir};
use crate::log_manager::ManagedDir;
use crate::over_threads::over_threads;
use crate::partition_log::FoundLog;
use crate::recovery::{RecoveryInput, recover};

/// How far the recoveries of a start are, for whoever watches it from another thread.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    total: AtomicUsize,
    done: AtomicUsize,
}

impl RecoveryProgress {
    /// Partitions that have to be looked at, as far as that is known; 0 after a clean stop.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Those that are back.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }
}

/// What all recoveries of a start have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovering {
    /// The epoch of this start, see [`RecoveryInput::leader_epoch`].
    pub(crate) leader_epoch: Option<i32>,
    /// `producer.id.expiration.ms`.
    pub(crate) producer_expiration_ms: i64,
    /// ms since 1970.
    pub(crate) now_ms: i64,
}

/// Recoveries under way.
#[derive(Debug, Default)]
struct Progress {
    /// What was found, by its number.
    found: Vec<(usize, Result<FoundLog, StorageError>)>,
    failed: Option<StorageError>,
}

impl Recovering {
    /// Brings one partition back.
    pub(crate) fn recover(
        self,
        managed: &ManagedDir,
        live: &LivePartition,
    ) -> Result<FoundLog, StorageError> {
        let at_start = managed.checkpoints.at_start(&live.tp);
        // A recovery point is written after a sync of the directory.
        let dir = partition_dir(managed, live, at_start.recovery_point > 0);
        dir.make()?;
        let is_sealed = managed.checkpoints.was_sealed();
        // All that is read of the metadata log from an earlier start on comes to the same: see the broker's
        // `metadata.rs`. From a later one on it would be without topics, and their partitions would go.
        let is_hint = !is_sealed && &*live.tp.topic == METADATA_TOPIC;
        let recovered = recover(&RecoveryInput {
            dir: &dir,
            recovery_point: at_start.recovery_point,
            log_start: if is_hint { 0 } else { at_start.log_start },
            is_sealed,
            may_have_holes: at_start.cleaned.is_some() || live.config.cleanup_policy.compact,
            config: &live.config,
            leader_epoch: self.leader_epoch,
            producer_expiration_ms: self.producer_expiration_ms,
            now_ms: self.now_ms,
        })?;
        Ok(FoundLog {
            log: Log::new(recovered.parts),
            recovery_point: at_start.recovery_point,
            snapshots: recovered.snapshots,
            cleaned: at_start.cleaned,
        })
    }

    /// Brings many back, in their order, with at most so many threads.
    ///
    /// One that cannot be read comes back as the error, as does each of a directory that failed, unless that is the
    /// first one.
    ///
    /// # Errors
    /// That of the first that failed otherwise; the ones that nobody had begun are left as they are.
    pub(crate) fn recover_all(
        self,
        partitions: &[(usize, &ManagedDir, &LivePartition)],
        threads: usize,
        told: &RecoveryProgress,
    ) -> Result<Vec<Result<FoundLog, StorageError>>, StorageError> {
        told.total.fetch_add(partitions.len(), Ordering::Relaxed);
        let progress = Mutex::new(Progress::default());
        // Whoever panics with it ends the start.
        let lock = || progress.lock().unwrap_or_else(PoisonError::into_inner);
        over_threads(partitions, threads, |number, (dir, managed, live)| {
            let found = self.recover(managed, live);
            told.done.fetch_add(1, Ordering::Relaxed);
            let mut progress = lock();
            match found {
                Err(error) if !is_spared(*dir, managed, &error) => {
                    // Others may only have found that the directory is offline already.
                    let cause = managed.dir.offline_cause().cloned();
                    progress.failed.get_or_insert(cause.unwrap_or(error));
                    return ControlFlow::Break(());
                }
                found => progress.found.push((number, found)),
            }
            ControlFlow::Continue(())
        });
        let progress = progress.into_inner();
        let mut progress = progress.unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = progress.failed {
            return Err(error);
        }
        progress.found.sort_unstable_by_key(|(number, _)| *number);
        Ok(progress.found.into_iter().map(|(_, found)| found).collect())
    }
}

/// Whether a start goes on without a partition that failed so.
fn is_spared(number: usize, managed: &ManagedDir, error: &StorageError) -> bool {
    match managed.dir.offline_cause() {
        Some(_) => number > 0,
        None => may_be_spared(error),
    }
}
