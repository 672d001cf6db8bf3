//! What a start finds of delayed records, and the making of a delay queue.

use tidewheel_protocol::BatchHeader;
use tidewheel_storage::delay::{
    DelayOpenReport, DelayQueue, ImmediateRepair, PartitionId, read_tail,
};
use tidewheel_storage::{LogManager, StorageError, ValidBatch};
use tracing::{error, info, warn};

use super::{DelayDir, Delays, Store, position};
use crate::ids::random_u64;
use crate::partition::{AppendWaiter, Partition};
use crate::topics::TopicsSnapshot;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Delays {
    /// Opens the queues that there are. One that cannot be opened is told of, and takes and delivers nothing.
    pub(crate) fn open(
        &self,
        logs: &LogManager<AppendWaiter>,
        topics: &TopicsSnapshot,
        now_ms: i64,
    ) {
        for dir in &self.dirs {
            match open(dir, logs, topics, now_ms) {
                Ok(Some(queue)) => dir.opened(queue),
                Ok(None) => {}
                Err(error) => dir.fail(error),
            }
        }
        // After the cursors were read, which lie in what is hidden now.
        self.hide_pending(topics, |partition| logs.dir_of(partition.log()));
    }
}

impl DelayDir {
    /// Makes the queue where there is none yet: for the first delayed record of a log directory.
    pub(super) fn make(
        &self,
        logs: &LogManager<AppendWaiter>,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        // Where the store that there is could not be opened, none is made over it.
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        let mut store = self.lock();
        if !matches!(*store, Store::Unmade) {
            return Ok(());
        }
        let mut tails = |_, _| Ok(None);
        let near = self.near_records_max;
        let made = logs.open_delays(self.number, true, near, random_u64(), now_ms, &mut tails)?;
        if let Some((queue, _)) = made {
            self.durable
                .store(position(queue.durable()), Ordering::SeqCst);
            *store = Store::Open(Box::new(queue));
        }
        Ok(())
    }

    fn opened(&self, queue: DelayQueue) {
        self.durable
            .store(position(queue.durable()), Ordering::SeqCst);
        self.changed.store(true, Ordering::SeqCst);
        *self.lock() = Store::Open(Box::new(queue));
    }
}

/// Partition `id`, if it exists.
pub(super) fn partition_of(topics: &TopicsSnapshot, id: PartitionId) -> Option<&Arc<Partition>> {
    topics.with_id(id.topic_id)?.partition(id.partition)
}

fn open(
    dir: &DelayDir,
    logs: &LogManager<AppendWaiter>,
    topics: &TopicsSnapshot,
    now_ms: i64,
) -> Result<Option<DelayQueue>, StorageError> {
    let mut tails = |id, from| match partition_of(topics, id) {
        Some(partition) => read_tail(partition.log(), from).map(Some),
        None => Ok(None),
    };
    let (number, near) = (dir.number, dir.near_records_max);
    let opened = logs.open_delays(number, false, near, random_u64(), now_ms, &mut tails)?;
    let Some((mut queue, report)) = opened else {
        return Ok(None);
    };
    for repair in &report.repairs {
        if let Some(partition) = partition_of(topics, repair.partition) {
            append_missing(partition, repair, now_ms)?;
        }
    }
    for id in queue.partitions() {
        let batches: Vec<_> = queue.producer_batches(id).collect();
        if batches.is_empty() {
            continue;
        }
        let merged = partition_of(topics, id).map_or(Ok(()), |partition| {
            partition.log().merge_delayed(&batches, now_ms)
        });
        if let Err(error) = merged {
            warn!(%error, "the producers of a partition that takes no data are not brought back");
        }
    }
    for id in queue.partitions() {
        if let Some(partition) = partition_of(topics, id) {
            // The next checkpoint says what it is not needed for any more.
            partition.log().keep_from(queue.scans_from(id));
        }
    }
    tell(dir, &mut queue, &report, now_ms);
    Ok(Some(queue))
}

/// Appends the records of a mixed batch that were to be visible at once, where the process died before it
/// did so: the log ends where they belong.
fn append_missing(
    partition: &Partition,
    repair: &ImmediateRepair,
    now_ms: i64,
) -> Result<(), StorageError> {
    if partition.log().offsets().log_end != repair.offset || partition.log().refusal().is_some() {
        return Ok(());
    }
    let bytes = repair.batch.clone();
    let header = BatchHeader::parse(&bytes)
        .map_err(|error| StorageError::invalid_record(error.to_string()))?;
    let appended = partition.append_valid(ValidBatch { header, bytes }, false, now_ms);
    appended.map(|_| ())
}

fn tell(dir: &DelayDir, queue: &mut DelayQueue, report: &DelayOpenReport, now_ms: i64) {
    let totals = queue.totals();
    let last_ms = report.last_checkpoint_ms.unwrap_or(now_ms);
    info!(
        since_last_checkpoint_ms = now_ms.saturating_sub(last_ms),
        pending = totals.pending.records,
        bytes = totals.pending.bytes,
        files_of_later_records = totals.buckets,
        "delayed records are back"
    );
    for id in &report.rewound {
        warn!(topic_id = %id.topic_id, partition = id.partition, "its log lost deliveries; what is still stored comes again");
    }
    dir.tell_damage(queue);
    if report.damaged > 0 || report.checkpoint_lost {
        let (places, bytes) = (report.damaged, report.damaged_bytes);
        let checkpoint_lost = report.checkpoint_lost;
        error!(
            places,
            bytes, checkpoint_lost, "the store of delayed records is damaged"
        );
    }
}
