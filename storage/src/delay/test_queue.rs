//! A queue on a simulated disk, for the tests of its parts.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::{RecordBatchBuilder, Uuid};

use super::{
    Accepted, DelayGroup, DelayOperation, DelayOptions, DelayQueue, DelayedBatch, PartitionId,
    PartitionTail,
};
use crate::fs::SimFs;

/// Ten seconds before an hour begins.
pub(super) const NOW: i64 = 472_222 * 3_600_000 - 10_000;
pub(super) const PARTITION: PartitionId = PartitionId {
    topic_id: Uuid([1; 16]),
    partition: 0,
};

/// A record that is due then.
pub(super) fn add(due_ms: i64) -> DelayOperation {
    add_many(due_ms, 1)
}

/// So many records in a batch that is due then.
pub(super) fn add_many(due_ms: i64, records: usize) -> DelayOperation {
    let batch = (0..records).fold(RecordBatchBuilder::new(), |batch, _| {
        batch.record(due_ms, None, Some(b"value"))
    });
    DelayOperation::Add(DelayedBatch {
        due_ms,
        expires_ms: None,
        id: Bytes::new(),
        replace: false,
        split_from: None,
        batch: batch.build().unwrap().bytes,
    })
}

/// Accepts them as one group, and makes it durable.
pub(super) fn accept(
    queue: &mut DelayQueue,
    now_ms: i64,
    operations: impl IntoIterator<Item = DelayOperation>,
) -> Accepted {
    let group = DelayGroup {
        partition: PARTITION,
        log_end: 0,
        producer: None,
        operations: operations.into_iter().collect(),
    };
    let accepted = queue.accept(&group, now_ms).unwrap();
    let sync = queue.sync_work().unwrap();
    queue.synced(&sync, &sync.run(queue.file_system().as_ref()));
    accepted
}

/// Delivers what is due; the due times.
pub(super) fn deliver(queue: &mut DelayQueue, now_ms: i64, log_end: &mut i64) -> Vec<i64> {
    let mut due = Vec::new();
    let fired = queue.fire(now_ms).unwrap();
    assert!(fired.error.is_none() && fired.damaged.is_empty());
    for delivery in fired.deliveries {
        let batches = delivery.batches.iter();
        due.extend(batches.map(|batch| batch.key.due_ms.cast_signed()));
        *log_end += delivery.batches.len() as i64;
        queue.delivered(delivery.partition, delivery.up_to, *log_end);
    }
    due
}

/// Writes a checkpoint; the partition's log is durable up to `log_end`.
pub(super) fn checkpoint(queue: &mut DelayQueue, now_ms: i64, log_end: i64) {
    queue.partition_durable(PARTITION, log_end);
    let checkpoint = queue.begin_checkpoint(now_ms).unwrap();
    let outcome = checkpoint.run(queue.file_system().as_ref());
    queue.finish_checkpoint(&checkpoint, &outcome);
    outcome.unwrap();
}

/// An empty queue.
pub(super) fn open(options: DelayOptions) -> DelayQueue {
    open_on(SimFs::new(), options)
}

/// The same on this disk.
pub(super) fn open_on(disk: SimFs, options: DelayOptions) -> DelayQueue {
    let mut tails = |_, _| {
        Ok(Some(PartitionTail {
            log_end: 0,
            last_key: None,
        }))
    };
    let opened = DelayQueue::open(Arc::new(disk), Path::new("/d"), options, 9, NOW, &mut tails);
    opened.unwrap().0
}
