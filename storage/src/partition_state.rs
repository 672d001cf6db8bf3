//! What a partition knows, without its files: offsets, producer sequences, leader epochs and which
//! records may be seen. Pure: time comes in, nothing is read or written.
//!
//! **Visibility.** A batch that asked for durability (`acks=all` in disk mode) is seen only once it is
//! durable; other batches are seen at once, but never past an earlier batch that still waits. So the
//! high watermark is the start of the first waiting batch, or the log end where none waits. It never
//! moves back.

use std::collections::VecDeque;

use tidewheel_protocol::{BatchHeader, TimestampType};

use crate::error::StorageError;
use crate::leader_epochs::LeaderEpochs;
use crate::log_offsets::{LogOffsetsSnapshot, LogPoint};
use crate::producer_state::{ProducerState, SequenceCheck};

/// How many separate ranges of waiting batches are kept. More are merged with what lies between
/// them, which delays only batches that did not ask for durability, and by one flush at most.
const PENDING_RANGES_MAX: usize = 256;

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of the batch's first record.
    pub base_offset: i64,
    /// Offset of the batch's last record.
    pub last_offset: i64,
    /// The broker's clock at the append, ms since 1970; -1 where the topic keeps the producer's timestamps.
    pub log_append_time: i64,
    /// The partition's first offset at the append.
    pub log_start_offset: i64,
    /// The epoch the batch was written under.
    pub leader_epoch: i32,
    /// The batch was in the log already; the offsets are those of its first append.
    pub duplicate: bool,
}

/// What is to be done with a batch.
#[derive(Debug)]
pub(crate) enum AppendPlan {
    /// It is in the log already.
    Duplicate(AppendInfo),
    /// It is to be written with this header, whose base offset and leader epoch are assigned.
    Write(BatchHeader),
}

/// Batches in `start.offset..end_offset` wait for the disk.
#[derive(Debug)]
struct PendingRange {
    start: LogPoint,
    end_offset: i64,
}

/// The state that `Log` keeps beside its files.
#[derive(Debug)]
pub(crate) struct PartitionState {
    log_start: i64,
    end: LogPoint,
    durable: LogPoint,
    visible: LogPoint,
    leader_epoch: i32,
    epochs: LeaderEpochs,
    producers: ProducerState,
    pending: VecDeque<PendingRange>,
}

impl PartitionState {
    /// The state of a log whose records all lie on the disk.
    pub(crate) fn new(
        log_start: i64,
        end: LogPoint,
        leader_epoch: i32,
        epochs: LeaderEpochs,
        producers: ProducerState,
    ) -> Self {
        assert!(
            0 <= log_start && log_start <= end.offset,
            "log start {log_start} beyond {end:?}"
        );
        Self {
            log_start,
            end,
            durable: end,
            visible: end,
            leader_epoch,
            epochs,
            producers,
            pending: VecDeque::new(),
        }
    }

    /// The offsets to publish.
    pub(crate) fn offsets(&self) -> LogOffsetsSnapshot {
        LogOffsetsSnapshot {
            log_start: self.log_start,
            high_watermark: self.visible.offset,
            last_stable: self.visible.offset,
            log_end: self.end.offset,
            durable: self.durable.offset,
        }
    }

    /// Where the next batch goes.
    pub(crate) fn end(&self) -> LogPoint {
        self.end
    }

    /// The high watermark.
    pub(crate) fn visible(&self) -> LogPoint {
        self.visible
    }

    /// The epoch this start writes under.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Which epoch wrote what.
    pub(crate) fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// The sequences of idempotent producers.
    pub(crate) fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// The sequences of idempotent producers, to expire or load them.
    pub(crate) fn producers_mut(&mut self) -> &mut ProducerState {
        &mut self.producers
    }

    /// Decides about a batch: refuses it, knows it already, or assigns its offsets. Changes nothing.
    pub(crate) fn plan(
        &self,
        header: &BatchHeader,
        now_ms: i64,
    ) -> Result<AppendPlan, StorageError> {
        if let SequenceCheck::Duplicate {
            base_offset,
            last_offset,
            append_time_ms,
        } = self.producers.check(header, now_ms)?
        {
            return Ok(AppendPlan::Duplicate(AppendInfo {
                base_offset,
                last_offset,
                log_append_time: log_append_time(header, append_time_ms),
                log_start_offset: self.log_start,
                leader_epoch: self
                    .epochs
                    .epoch_for(base_offset)
                    .unwrap_or(self.leader_epoch),
                duplicate: true,
            }));
        }
        // One more than the last offset must be a valid offset too: it becomes the log end.
        let room = i64::MAX - 1 - self.end.offset;
        if i64::from(header.last_offset_delta) > room {
            return Err(StorageError::invalid_record(
                "the partition has no offsets left",
            ));
        }
        Ok(AppendPlan::Write(BatchHeader {
            base_offset: self.end.offset,
            partition_leader_epoch: self.leader_epoch,
            ..*header
        }))
    }

    /// Takes over a batch that was written between `start` and `end`. `start` may lie in another
    /// segment than the last end: the log was rolled. Returns whether a new leader epoch began.
    pub(crate) fn commit(
        &mut self,
        header: &BatchHeader,
        start: LogPoint,
        end: LogPoint,
        durable: bool,
        now_ms: i64,
    ) -> (AppendInfo, bool) {
        assert_eq!(
            start.offset, self.end.offset,
            "a batch follows the one before it"
        );
        assert_eq!(
            header.base_offset, start.offset,
            "the header carries the assigned offset"
        );
        assert_eq!(
            header.last_offset() + 1,
            end.offset,
            "the end follows the last record"
        );
        let new_epoch = self
            .epochs
            .assign(header.partition_leader_epoch, header.base_offset);
        self.producers.update(header, now_ms);
        self.end = end;
        if durable {
            self.wait_for_disk(start, end.offset);
        }
        self.settle();
        let info = AppendInfo {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time: log_append_time(header, header.max_timestamp),
            log_start_offset: self.log_start,
            leader_epoch: header.partition_leader_epoch,
            duplicate: false,
        };
        (info, new_epoch)
    }

    /// The log was rolled at its end: what follows lies in a new segment.
    pub(crate) fn rolled(&mut self) {
        let start_of_new = LogPoint {
            segment_base: self.end.offset,
            position: 0,
            ..self.end
        };
        if self.visible.offset == self.end.offset {
            self.visible = start_of_new;
        }
        self.end = start_of_new;
    }

    /// Everything before `point` is on the disk.
    pub(crate) fn durable_to(&mut self, point: LogPoint) {
        assert!(
            point.offset <= self.end.offset,
            "{point:?} was never written"
        );
        if point.offset > self.durable.offset {
            self.durable = point;
            self.settle();
        }
    }

    /// Moves the log start forward; never back, never past the high watermark. Returns the new one.
    pub(crate) fn advance_log_start(&mut self, offset: i64) -> i64 {
        assert!(
            offset <= self.visible.offset,
            "records that nobody may see are not deleted"
        );
        if offset > self.log_start {
            self.log_start = offset;
            self.epochs.truncate_from_start(offset);
        }
        self.log_start
    }

    fn wait_for_disk(&mut self, start: LogPoint, end_offset: i64) {
        let full = self.pending.len() >= PENDING_RANGES_MAX;
        match self.pending.back_mut() {
            Some(last) if full || last.end_offset == start.offset => last.end_offset = end_offset,
            _ => self.pending.push_back(PendingRange { start, end_offset }),
        }
    }

    fn settle(&mut self) {
        while self
            .pending
            .front()
            .is_some_and(|range| range.end_offset <= self.durable.offset)
        {
            self.pending.pop_front();
        }
        let limit = match self.pending.front() {
            None => self.end,
            Some(range) if range.start.offset < self.durable.offset => self.durable,
            Some(range) => range.start,
        };
        if limit.offset >= self.visible.offset {
            self.visible = limit;
        }
    }
}

fn log_append_time(header: &BatchHeader, time_ms: i64) -> i64 {
    match header.timestamp_type() {
        TimestampType::LogAppendTime => time_ms,
        TimestampType::CreateTime => -1,
    }
}
