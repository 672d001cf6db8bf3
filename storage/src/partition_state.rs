//! What a partition knows, without its files: offsets, producer sequences, leader epochs and which
//! records may be seen. Pure: time comes in, nothing is read or written.
//!
//! **Visibility.** A batch that asked for durability (`acks=all` in disk mode) is seen only once it is
//! durable; other batches are seen at once, but never past an earlier batch that still waits. So the
//! high watermark is the start of the first waiting batch, or the log end where none waits. It never
//! moves back. On a topic with a fixed delay it also stays before the curtain: the first batch whose time
//! has not come.

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
    /// The outcome counts once the durable offset is beyond `last_offset`: the append asked for
    /// that, or `flush.messages` of the topic did.
    pub awaits_disk: bool,
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
    /// Nothing from here on is shown, whether it is durable or not: its time has not come. `None` where time
    /// does not matter.
    curtain: Option<LogPoint>,
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
            curtain: None,
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
    /// A repeated batch waits for the disk where `durable` asks for it or its first append does.
    pub(crate) fn plan(
        &self,
        header: &BatchHeader,
        durable: bool,
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
                awaits_disk: durable || self.is_pending(base_offset),
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
            awaits_disk: durable,
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
        if let Some(curtain) = &mut self.curtain
            && curtain.offset == self.end.offset
        {
            *curtain = start_of_new;
        }
        self.end = start_of_new;
    }

    /// Where what has to wait for its time begins.
    pub(crate) fn curtain(&self) -> Option<LogPoint> {
        self.curtain
    }

    /// What is appended from here on waits for its time.
    pub(crate) fn draw_curtain(&mut self) {
        self.curtain.get_or_insert(self.end);
    }

    /// The time of everything before `point` has come.
    pub(crate) fn move_curtain(&mut self, point: LogPoint) {
        if let Some(curtain) = &mut self.curtain
            && curtain.offset <= point.offset
        {
            *curtain = point;
        }
        self.settle();
    }

    /// Time does not matter any more.
    pub(crate) fn lift_curtain(&mut self) {
        self.curtain = None;
        self.settle();
    }

    /// At a start, before anybody reads: what lies from `point` on, `bytes` of it, waits for its time.
    pub(crate) fn hide_from(&mut self, point: LogPoint, bytes: u64) {
        self.end.bytes += bytes;
        self.durable.bytes += bytes;
        self.visible = point;
        self.curtain = Some(point);
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
        // Epochs from before it stay until the next start: a crash may bring the old log start back.
        self.log_start = self.log_start.max(offset);
        self.log_start
    }

    fn wait_for_disk(&mut self, start: LogPoint, end_offset: i64) {
        let full = self.pending.len() >= PENDING_RANGES_MAX;
        match self.pending.back_mut() {
            Some(last) if full || last.end_offset == start.offset => last.end_offset = end_offset,
            _ => self.pending.push_back(PendingRange { start, end_offset }),
        }
    }

    fn is_pending(&self, offset: i64) -> bool {
        self.pending
            .iter()
            .any(|range| range.start.offset <= offset && offset < range.end_offset)
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
        let limit = match self.curtain {
            Some(curtain) if curtain.offset < limit.offset => curtain,
            _ => limit,
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidewheel_protocol::{BatchHeader, RecordBatchBuilder};

    const BATCH_BYTES: u64 = 100;

    fn state() -> PartitionState {
        let (epochs, producers) = (LeaderEpochs::new(), ProducerState::default());
        PartitionState::new(0, LogPoint::default(), 3, epochs, producers)
    }

    fn header(records: usize) -> BatchHeader {
        let builder = RecordBatchBuilder::new();
        let builder = (0..records).fold(builder, |builder, _| builder.record(1, None, None));
        builder.build().unwrap().header
    }

    fn append(state: &mut PartitionState, records: usize, durable: bool) -> AppendInfo {
        let AppendPlan::Write(header) = state.plan(&header(records), durable, 0).unwrap() else {
            panic!("no producer, no duplicate");
        };
        let start = state.end();
        let end = LogPoint {
            offset: header.next_offset(),
            bytes: start.bytes + BATCH_BYTES,
            position: start.position + BATCH_BYTES,
            ..start
        };
        state.commit(&header, start, end, durable, 0).0
    }

    fn high_watermark(state: &PartitionState) -> i64 {
        state.offsets().high_watermark
    }

    #[test]
    fn what_waits_for_its_time_is_not_seen_though_it_is_durable() {
        let mut state = state();
        append(&mut state, 2, false);
        state.draw_curtain();
        append(&mut state, 3, false);
        let second = state.end();
        append(&mut state, 1, true);
        assert_eq!(high_watermark(&state), 2);
        state.durable_to(state.end());
        assert_eq!(high_watermark(&state), 2, "durable, and not due");
        state.move_curtain(second);
        assert_eq!((high_watermark(&state), state.visible()), (5, second));
        state.move_curtain(state.end());
        state.rolled();
        assert_eq!(state.curtain(), Some(state.end()));
        append(&mut state, 1, true);
        state.move_curtain(state.end());
        assert_eq!(high_watermark(&state), 6, "due, and not durable");
        state.lift_curtain();
        append(&mut state, 1, false);
        state.durable_to(state.end());
        assert_eq!(high_watermark(&state), 8);
    }

    #[test]
    fn batches_that_wait_for_the_disk_hold_back_those_behind_them() {
        let mut state = state();
        append(&mut state, 2, false);
        assert_eq!(high_watermark(&state), 2, "nobody waits");
        append(&mut state, 1, true);
        append(&mut state, 4, false);
        assert_eq!(
            high_watermark(&state),
            2,
            "never past an earlier batch that waits"
        );
        let flushed = state.end();
        append(&mut state, 1, true);
        append(&mut state, 1, false);
        state.durable_to(flushed);
        assert_eq!(high_watermark(&state), 7, "up to the next that waits");
        assert_eq!(state.visible().bytes, 3 * BATCH_BYTES);
        state.durable_to(state.end());
        assert_eq!(high_watermark(&state), 9);
        append(&mut state, 1, false);
        assert_eq!(high_watermark(&state), 10);
    }

    #[test]
    fn a_flush_in_the_middle_of_waiting_batches_shows_what_it_covered() {
        let mut state = state();
        append(&mut state, 1, true);
        let flushed = state.end();
        append(&mut state, 1, true);
        state.durable_to(flushed);
        assert_eq!(state.visible(), flushed);
        state.durable_to(LogPoint::default());
        assert_eq!(state.visible(), flushed, "an older round changes nothing");
    }

    #[test]
    fn the_queue_of_waiting_ranges_is_bounded_and_still_right() {
        let mut state = state();
        for _ in 0..4 * PENDING_RANGES_MAX {
            append(&mut state, 1, true);
            append(&mut state, 1, false);
        }
        assert_eq!(state.pending.len(), PENDING_RANGES_MAX);
        assert_eq!(high_watermark(&state), 0);
        state.durable_to(state.end());
        assert_eq!(high_watermark(&state), state.end().offset);
        assert!(state.pending.is_empty());
    }

    #[test]
    fn a_roll_moves_the_end_and_what_is_seen_into_the_new_segment() {
        let mut state = state();
        append(&mut state, 3, false);
        state.rolled();
        let start = LogPoint {
            offset: 3,
            bytes: BATCH_BYTES,
            segment_base: 3,
            position: 0,
        };
        assert_eq!((state.end(), state.visible()), (start, start));
        append(&mut state, 1, true);
        state.rolled();
        assert_eq!(state.visible(), start, "what waits is still in the old one");
    }

    #[test]
    fn offsets_never_run_over() {
        let end = LogPoint {
            offset: i64::MAX - 2,
            ..LogPoint::default()
        };
        let (epochs, producers) = (LeaderEpochs::new(), ProducerState::default());
        let mut state = PartitionState::new(0, end, 0, epochs, producers);
        assert!(matches!(
            state.plan(&header(3), false, 0),
            Err(StorageError::InvalidRecord { .. })
        ));
        assert_eq!(append(&mut state, 1, false).last_offset, i64::MAX - 2);
    }

    #[test]
    fn the_first_append_under_an_epoch_begins_it() {
        let mut state = state();
        assert_eq!(state.epochs().latest(), None);
        append(&mut state, 5, false);
        append(&mut state, 1, false);
        let entries: Vec<_> = state
            .epochs()
            .entries()
            .iter()
            .map(|entry| (entry.epoch, entry.start_offset))
            .collect();
        assert_eq!(entries, [(3, 0)]);
    }
}
