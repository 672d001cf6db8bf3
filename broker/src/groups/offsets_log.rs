//! The log of a coordinator: one partition of `__consumer_offsets`, to which nobody else writes.

use std::sync::Arc;

use tidewheel_config::limits;
use tidewheel_consumer_groups::{GroupError, GroupReply, OffsetsRecord};
use tidewheel_protocol::{BatchError, RecordBatchBuilder};
use tidewheel_storage::StorageError;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::partition::{AppendError, Partition, PartitionLog, WhenDurable};
use crate::storage_threads::FlushSignal;

/// What a record takes in a batch beside its key and value, at most.
const RECORD_BYTES: usize = 32;

#[derive(Clone, Debug)]
pub(super) struct OffsetsLog {
    partition: Arc<Partition>,
    flush: Arc<[FlushSignal]>,
    clock: Clock,
}

impl OffsetsLog {
    pub(super) fn new(
        partition: &Arc<Partition>,
        flush: &Arc<[FlushSignal]>,
        clock: &Clock,
    ) -> Self {
        Self {
            partition: Arc::clone(partition),
            flush: Arc::clone(flush),
            clock: clock.clone(),
        }
    }

    /// The broker's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// For reading.
    pub(super) fn log(&self) -> &PartitionLog {
        self.partition.log()
    }

    /// Whether there is nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        let offsets = self.log().offsets();
        offsets.log_start == offsets.log_end
    }

    /// Writes records, in as few batches as may be. Those that the log has taken are replayed and leave
    /// `records`, also where the next ones are refused.
    pub(super) fn append(
        &self,
        records: &mut Vec<OffsetsRecord>,
        mut replay: impl FnMut(&OffsetsRecord),
    ) -> Result<(), AppendError> {
        let mut taken = 0;
        let outcome = loop {
            let rest = records.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.append_first(rest) {
                Ok(count) => {
                    rest.iter().take(count).for_each(&mut replay);
                    taken += count;
                }
                Err(error) => break Err(error),
            }
        };
        records.drain(..taken);
        outcome
    }

    /// Writes one batch: of offsets about `limits::OFFSETS_BATCH_BYTES`, of what is decided about members all, if
    /// possible. Returns how many records are in it.
    fn append_first(&self, records: &[OffsetsRecord]) -> Result<usize, AppendError> {
        let now_ms = self.clock.now_ms();
        let mut builder = RecordBatchBuilder::new();
        let (mut count, mut bytes) = (0, 0);
        for record in records {
            let (key, value) = record.encode();
            bytes += RECORD_BYTES + key.len() + value.as_ref().map_or(0, |value| value.len());
            let most = match record {
                OffsetsRecord::OffsetCommit { .. } => limits::OFFSETS_BATCH_BYTES,
                OffsetsRecord::GroupMetadata { .. } | OffsetsRecord::ConsumerGroup { .. } => {
                    limits::GROUP_DECISION_BYTES
                }
            };
            if count > 0 && bytes > most {
                break;
            }
            builder = builder.record(now_ms, Some(&key), value.as_deref());
            count += 1;
        }
        self.partition.append_own(builder.build()?, now_ms)?;
        Ok(count)
    }

    /// Does `then` once the log takes nothing any more.
    pub(super) fn when_failed(&self, then: impl WhenDurable + 'static) {
        self.partition.when_failed(Box::new(then));
    }

    /// Lets replies go when all that was appended until now is durable.
    pub(super) fn release(&self, replies: Vec<Addressed>) {
        if self.partition.when_durable(Box::new(Replies(replies))) {
            self.flush.iter().for_each(FlushSignal::raise);
        }
    }
}

/// A reply and who waits for it.
pub(super) type Addressed = (oneshot::Sender<GroupReply>, GroupReply);

/// A receiver that is gone has closed its connection: what was decided stands all the same.
pub(super) fn send(replies: Vec<Addressed>) {
    for (sender, reply) in replies {
        drop(sender.send(reply));
    }
}

/// Replies that wait for the disk.
struct Replies(Vec<Addressed>);

impl WhenDurable for Replies {
    fn finish(mut self: Box<Self>, result: Result<(), AppendError>) {
        if result.is_err() {
            let refused = GroupError::CoordinatorNotAvailable;
            let told = |(sender, reply): Addressed| (sender, reply.refused(refused));
            self.0 = self.0.into_iter().map(told).collect();
        }
        send(self.0);
    }

    fn is_gone(&self) -> bool {
        self.0.iter().all(|(sender, _)| sender.is_closed())
    }
}

/// What members and committers are told of a refused append.
pub(super) fn append_error(error: &AppendError) -> GroupError {
    match error {
        AppendError::Storage(StorageError::RecordTooLarge { .. })
        | AppendError::Batch(BatchError::TooLarge) => GroupError::InvalidCommitOffsetSize,
        _ => GroupError::CoordinatorNotAvailable,
    }
}
