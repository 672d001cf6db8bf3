//! Producing to a retry topic: nothing goes to its own log. Each record goes to the delay queue of the directory in
//! which its target partition lies, to be appended there when its pause is over, or to the dead-letter topic at once.
//!
//! The batch takes its place among its producer's sequence numbers in the retry topic. It is one group of the delay
//! log, whole or not at all, so target and dead-letter partition have to lie in one directory.

use std::collections::BTreeMap;

use tidewheel_config::RetryConfig;
use tidewheel_config::limits::{
    DELAY_BATCH_BYTES_MAX, DELAY_BATCH_HEADERS_MAX, DELAY_BATCH_RECORDS_MAX,
};
use tidewheel_protocol::{Compression, Record, RecordBatchBuilder};
use tidewheel_storage::delay::request::DelayError;
use tidewheel_storage::delay::retry::{RetryPlan, plan};
use tidewheel_storage::delay::{DelayGroup, DelayOperation, DelayedBatch, PartitionId};
use tidewheel_storage::{StorageError, own_codec};

use super::produce::{Begun, Produced};
use super::start::partition_of;
use crate::broker::Broker;
use crate::ids::random_u64;
use crate::partition::AppendError;
use crate::topics::Topic;

/// Where the records of one partition of a retry topic go.
pub(super) struct Targets {
    /// The partition of the target.
    pub(super) again: PartitionId,
    dead_letter: PartitionId,
}

impl Targets {
    /// Finds both topics: that one is missing shows with the first record and not when a record was tried too often.
    pub(super) fn of(
        broker: &Broker,
        topic: &Topic,
        index: i32,
        retry: &RetryConfig,
    ) -> Result<Self, AppendError> {
        let topics = broker.topics();
        let find = |name: &str| {
            let refused = |why: &str| AppendError::RetryTarget {
                reason: format!("topic {name}, to which records of this one go, {why}"),
            };
            let found = topics
                .named(name)
                .ok_or_else(|| refused("does not exist"))?;
            let partition = index.checked_rem(found.partition_count()).unwrap_or(0);
            let home = found.partition(partition);
            let home = home.ok_or_else(|| refused("has no partitions"))?;
            if found.is_internal() || found.id == topic.id {
                return Err(refused("cannot be it"));
            }
            if home.log().config().cleanup_policy.compact {
                return Err(refused("is compacted"));
            }
            let id = PartitionId {
                topic_id: found.id,
                partition,
            };
            Ok((id, broker.logs().dir_of(home.log())))
        };
        let (again, again_in) = find(&retry.target)?;
        let (dead_letter, dead_letter_in) = find(&retry.dead_letter_topic())?;
        if again_in != dead_letter_in {
            let reason = format!(
                "partition {} of {} and partition {} of {} lie in two data directories",
                again.partition,
                retry.target,
                dead_letter.partition,
                retry.dead_letter_topic()
            );
            return Err(AppendError::RetryTarget { reason });
        }
        Ok(Self { again, dead_letter })
    }
}

/// What goes to a partition.
type ByTarget = BTreeMap<PartitionId, Vec<DelayOperation>>;

impl Produced<'_> {
    /// Accepts a batch of a retry topic. Its producer's order lock is held.
    pub(super) fn accept_retries(
        &self,
        retry: &RetryConfig,
        targets: &Targets,
    ) -> Result<Begun, AppendError> {
        if let Some(refusal) = self.dir.failure.get().cloned() {
            return Err(refusal.into());
        }
        let mut planned = self.plan_retries(retry, targets)?;
        for operations in planned.values_mut() {
            self.check(operations)?;
        }
        let topics = self.broker.topics();
        let mut operations = vec![self.toward(self.id, self.partition.log().offsets().log_end)];
        for (target, adds) in planned {
            let partition = partition_of(&topics, target).ok_or(AppendError::UnknownTopic)?;
            let log = partition.log();
            log.take_room(adds.iter().map(super::produce::bytes_of).sum())?;
            operations.push(self.toward(target, log.offsets().log_end));
            operations.extend(adds);
        }
        let due_ms = operations.iter().filter_map(super::produce::due_of).min();
        self.dir.make(self.broker.logs(), self.now_ms)?;
        let group = DelayGroup {
            partition: self.id,
            log_end: self.partition.log().offsets().log_end,
            producer: self.stamp,
            operations,
        };
        let accepted = self.dir.with(|queue| queue.accept(&group, self.now_ms));
        let end = accepted.ok_or(StorageError::Closed)??.end;
        let records = super::pending_limits::wanted(&group.operations).records;
        self.broker.metrics().delayed().accepted(records);
        self.dir.wake(due_ms);
        self.note_accepted()?;
        Ok(self.wait(end, false).into())
    }

    fn toward(&self, partition: PartitionId, log_end: i64) -> DelayOperation {
        DelayOperation::Toward { partition, log_end }
    }

    /// Counts the attempt of each record, and says when it goes where.
    fn plan_retries(
        &self,
        retry: &RetryConfig,
        targets: &Targets,
    ) -> Result<ByTarget, AppendError> {
        let count = self.batch.header.record_count;
        if count > DELAY_BATCH_RECORDS_MAX {
            return Err(DelayError::TooManyRecords { count }.into());
        }
        let came_in = self.batch.header.compression()?;
        let topics = self.broker.topics();
        let codec = |target| {
            let kept = partition_of(&topics, target)
                .and_then(|partition| own_codec(&partition.log().config()));
            kept.unwrap_or(came_in)
        };
        let (again_codec, dead_letter_codec) = (codec(targets.again), codec(targets.dead_letter));
        let mut planned = ByTarget::new();
        let records = self.batch.records(DELAY_BATCH_BYTES_MAX)?;
        for record in records.limit_headers(DELAY_BATCH_HEADERS_MAX) {
            let record = record?;
            let origin = (record.timestamp, targets.again.partition);
            let (target, codec, due_ms, headers) =
                match plan(retry, &record.headers, origin, random_u64()) {
                    RetryPlan::Again { pause_ms, headers } => {
                        let pause_ms = i64::try_from(pause_ms).unwrap_or(i64::MAX);
                        let due_ms = self
                            .now_ms
                            .saturating_add(pause_ms.min(self.config.delay.max_ms));
                        (targets.again, again_codec, due_ms, headers)
                    }
                    RetryPlan::DeadLetter { headers } => {
                        (targets.dead_letter, dead_letter_codec, self.now_ms, headers)
                    }
                };
            let add = later(&Record { headers, ..record }, due_ms, codec)?;
            planned.entry(target).or_default().push(add);
        }
        Ok(planned)
    }
}

/// A record as a batch of its own, which may share one again with others that are due together.
fn later(record: &Record, due_ms: i64, codec: Compression) -> Result<DelayOperation, AppendError> {
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    let batch = RecordBatchBuilder::new()
        .record_with_headers(record.timestamp, key, value, record.headers.clone())
        .build()?;
    Ok(DelayOperation::Add(DelayedBatch {
        due_ms,
        expires_ms: None,
        id: bytes::Bytes::new(),
        replace: false,
        split_from: Some(codec),
        batch: batch.bytes,
    }))
}
