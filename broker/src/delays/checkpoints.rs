//! The checkpoints of a delay store, which a thread of its own writes now and then: they sync files, and what is due
//! does not wait for that.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::{DelayCheckpoint, PartitionId};
use tracing::warn;

use super::DelayDir;
use super::start::partition_of;
use crate::broker::Broker;
use crate::topics::TopicsSnapshot;

/// Writes checkpoints until told to stop.
pub(crate) fn run(broker: &Broker, dir: usize) {
    let Some(dir) = broker.delays().dir(dir) else {
        return;
    };
    let period = period(broker);
    while !dir.checkpoint_signal.wait(period) {
        if dir.changed.load(Ordering::SeqCst)
            && dir.failure.get().is_none()
            && let Err(error) = checkpoint(broker, dir)
        {
            warn!(%error, "the checkpoint of delayed records is put off");
        }
    }
}

/// As often as the checkpoints of logs, where those come often.
fn period(broker: &Broker) -> Duration {
    let period_ms = broker.config().log_flush_offset_checkpoint_interval_ms;
    let period = Duration::from_millis(u64::try_from(period_ms).unwrap_or(0));
    period.clamp(Duration::from_millis(1), limits::DELAY_CHECKPOINT_PERIOD)
}

/// Writes a checkpoint: cursors as far as the partitions' logs are durable. What they hold beyond that is for
/// the next one.
pub(super) fn checkpoint(broker: &Broker, dir: &DelayDir) -> Result<(), StorageError> {
    if let Some(failure) = dir.failure.get() {
        return Err(failure.clone());
    }
    let (topics, now_ms) = (broker.topics(), dir.time.now_ms());
    let _writing = dir.checkpointing();
    let syncing = dir.syncing();
    dir.changed.store(false, Ordering::SeqCst);
    let begun = dir.with(|queue| {
        let partitions: Vec<PartitionId> = queue.partitions().collect();
        for id in partitions {
            let Some(partition) = partition_of(&topics, id) else {
                continue;
            };
            let offsets = partition.log().offsets();
            queue.partition_durable(id, offsets.durable);
            if offsets.durable < offsets.log_end {
                dir.changed.store(true, Ordering::SeqCst);
            }
        }
        Ok((queue.begin_checkpoint(now_ms)?, queue.file_system()))
    });
    let Some(begun) = begun else {
        return Ok(());
    };
    let (checkpoint, fs) = begun?;
    let mut outcome = checkpoint.sync_log(&*fs);
    if let Some(sync) = checkpoint.log_sync() {
        dir.with(|queue| queue.synced(sync, &outcome));
    }
    // Producers wait for the log alone.
    drop(syncing);
    dir.answer_durable();
    if outcome.is_ok() {
        outcome = checkpoint.write(&*fs);
    }
    if outcome.is_err() {
        dir.changed.store(true, Ordering::SeqCst);
    }
    dir.with(|queue| queue.finish_checkpoint(&checkpoint, &outcome));
    if outcome.is_ok() {
        release(dir, &topics, &checkpoint);
    }
    outcome
}

/// Lets go what partitions kept because only their logs said that it was delivered.
fn release(dir: &DelayDir, topics: &TopicsSnapshot, checkpoint: &DelayCheckpoint) {
    for (id, noted, scan_from) in checkpoint.partitions() {
        let Some(partition) = partition_of(topics, id) else {
            continue;
        };
        let _order = partition.order();
        let log = partition.log();
        let cursor = dir.with(|queue| queue.cursor(id));
        let moved = cursor.is_some_and(|cursor| cursor > noted);
        log.keep_only(moved.then_some(scan_from));
    }
}
