//! What is given to a delay queue, and how it becomes records of the delay log.

use bytes::Bytes;
use tidewheel_protocol::{BatchHeader, Compression};

use super::block::block_len;
use super::key::{DelayKey, PartitionId, unsigned_ms};
use super::partitions::DelayCount;
use super::record::{FLAG_REPLACE, FLAG_SPLIT, Kind, ProducerStamp, RECORD_FIELDS_LEN, Record};

/// Where a flag byte has the codec of a split batch.
pub(super) const CODEC_SHIFT: u8 = 4;

/// One thing of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DelayOperation {
    /// Deliver a record batch later.
    Add(DelayedBatch),
    /// Deliver nothing that has this id and was accepted before.
    Cancel {
        /// The `delay-id`.
        id: Bytes,
    },
    /// What follows goes to another partition of the log directory than what comes before. The producer of the
    /// group is that of [`DelayGroup::partition`], so the first one names that.
    Toward {
        /// Which one.
        partition: PartitionId,
        /// The end of its log now.
        log_end: i64,
    },
    /// Do not deliver one record, which is pending ([`super::DelayQueue::fate_of`]).
    CancelOne {
        /// Its key.
        key: DelayKey,
        /// How many records it is, as their producer counts them: a batch may be due as a whole.
        records: u64,
    },
    /// One record, which is pending, has expired: whatever becomes of it is in the same group.
    Expire {
        /// Its key.
        key: DelayKey,
    },
    /// The batch is appended to the partition at once, at this offset, after the group is written and
    /// before anything else is. A start makes up for it where that did not happen.
    Immediate {
        /// The end of the partition's log.
        offset: i64,
        /// One record batch.
        batch: Bytes,
    },
}

/// A record batch to be delivered later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedBatch {
    /// When, ms since 1970.
    pub due_ms: i64,
    /// When it is of no use any more, ms since 1970.
    pub expires_ms: Option<i64>,
    /// The `delay-id`, empty for none, at most [`super::DELAY_ID_LEN_MAX`] bytes.
    pub id: Bytes,
    /// Whether it takes the place of everything that has its id and was accepted before.
    pub replace: bool,
    /// The codec of the batch it was taken from, where that was split: then it may be joined with its
    /// neighbours, under that codec.
    pub split_from: Option<Compression>,
    /// One record batch. Its base offset, leader epoch and producer do not matter.
    pub batch: Bytes,
}

impl DelayedBatch {
    /// What it adds to what is pending.
    #[must_use]
    pub fn count(&self) -> DelayCount {
        let body_len = RECORD_FIELDS_LEN + self.id.len() + self.batch.len();
        DelayCount {
            records: records_in(&self.batch),
            bytes: block_len(u32::try_from(body_len).unwrap_or(u32::MAX)),
        }
    }
}

/// What is accepted together, whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayGroup {
    /// Where it goes.
    pub partition: PartitionId,
    /// The end of the partition's log now: nothing of the group was delivered before that offset.
    pub log_end: i64,
    /// Its producer, if that is an idempotent one.
    pub producer: Option<ProducerStamp>,
    /// What to do.
    pub operations: Vec<DelayOperation>,
}

/// A group that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The ticket of its first operation; the others follow.
    pub first_ticket: u64,
    /// It is durable when [`super::DelayQueue::durable`] has reached this position.
    pub end: u64,
}

/// A record of an operation that delivers nothing.
pub(super) fn plain_record(partition: PartitionId, ticket: u64) -> Record {
    Record {
        key: DelayKey { due_ms: 0, ticket },
        expires_ms: 0,
        target: 0,
        partition,
        kind: Kind::CancelId,
        flags: 0,
        id: Bytes::new(),
        payload: Bytes::new(),
    }
}

pub(super) fn record_of(partition: PartitionId, ticket: u64, operation: &DelayOperation) -> Record {
    let record = plain_record(partition, ticket);
    match operation {
        DelayOperation::Add(add) => {
            let split = add.split_from.map_or(0, |codec| {
                FLAG_SPLIT | u8::try_from(codec.id()).unwrap_or_default() << CODEC_SHIFT
            });
            Record {
                key: DelayKey {
                    due_ms: unsigned_ms(add.due_ms),
                    ticket,
                },
                // 0 is for never, so what expired in 1970 expires one ms later.
                expires_ms: add.expires_ms.map_or(0, |at| unsigned_ms(at).max(1)),
                target: records_in(&add.batch),
                kind: Kind::Add,
                flags: split | if add.replace { FLAG_REPLACE } else { 0 },
                id: add.id.clone(),
                payload: add.batch.clone(),
                ..record
            }
        }
        DelayOperation::Cancel { id } => Record {
            id: id.clone(),
            ..record
        },
        DelayOperation::Toward { partition, log_end } => Record {
            partition: *partition,
            target: log_end.cast_unsigned(),
            kind: Kind::Toward,
            ..record
        },
        DelayOperation::CancelOne { key, records } => Record {
            expires_ms: *records,
            ..about(*key, Kind::CancelTicket, record)
        },
        DelayOperation::Expire { key } => about(*key, Kind::Drop, record),
        DelayOperation::Immediate { offset, batch } => Record {
            kind: Kind::Immediate,
            target: offset.cast_unsigned(),
            payload: batch.clone(),
            ..record
        },
    }
}

/// What is said of one record.
pub(super) fn about(key: DelayKey, kind: Kind, record: Record) -> Record {
    Record {
        key: DelayKey {
            due_ms: key.due_ms,
            ..record.key
        },
        target: key.ticket,
        kind,
        ..record
    }
}

/// How many records a batch says it has.
pub(super) fn records_in(batch: &Bytes) -> u64 {
    let count = BatchHeader::parse(batch).map_or(1, |header| header.record_count);
    u64::try_from(count).unwrap_or(1)
}
