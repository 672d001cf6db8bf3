//! Reading the delay log and the partitions' cursors at a start.

use std::collections::HashSet;

use bytes::Bytes;

use super::damage::DelayDamage;
use super::key::{DelayKey, PartitionId};
use super::opening::{DelayOpenReport, ImmediateRepair, TailReader};
use super::partitions::{DelayCount, PartitionState, entry_of};
use super::queue::{DelayQueue, cancelled_by};
use super::record::{Group, Kind, Record, parse_group};
use super::scan::Found;
use crate::error::StorageError;
use crate::fs::OpenMode;

/// What is carried along while a store is opened.
pub(super) struct Replay<'a, 'b> {
    tails: &'a mut TailReader<'b>,
    pub(super) report: &'a mut DelayOpenReport,
    /// Tickets of the delay log, where buckets have to be counted too.
    tickets: HashSet<u64>,
    /// The delay log was durable up to this position when the checkpoint was written.
    durable: u64,
    /// Files with a torn place behind which nothing sound was met yet.
    torn: Vec<usize>,
}

impl<'a, 'b> Replay<'a, 'b> {
    pub(super) fn new(
        tails: &'a mut TailReader<'b>,
        report: &'a mut DelayOpenReport,
        durable: u64,
    ) -> Self {
        Self {
            tails,
            report,
            tickets: HashSet::new(),
            durable,
            torn: Vec::new(),
        }
    }

    /// Finds a partition's cursor in its log: at or above `state.durable`, unless the log lost its end.
    pub(super) fn look(
        &mut self,
        state: &mut PartitionState,
        scan_from: i64,
    ) -> Result<(), StorageError> {
        if state.id.partition < 0 {
            return Ok(());
        }
        let Some(tail) = (self.tails)(state.id, scan_from)? else {
            state.gone = true;
            state.pending = DelayCount::default();
            return Ok(());
        };
        if tail.log_end >= scan_from {
            let found = tail.last_key.unwrap_or_default().max(state.durable);
            state.scan_from = scan_from;
            state.restore(found, tail.log_end);
            return Ok(());
        }
        // Looked at from the beginning: what is left counts.
        let whole = (self.tails)(state.id, 0)?;
        let found = whole.and_then(|tail| tail.last_key).unwrap_or_default();
        if found < state.durable {
            self.report.rewound.push(state.id);
        }
        state.scan_from = 0;
        state.restore(found, tail.log_end);
        Ok(())
    }
}

impl DelayQueue {
    /// Reads a file of the delay log; far records before `spilled` are in buckets.
    pub(super) fn replay_segment(
        &mut self,
        base: u64,
        spilled: u64,
        replay: &mut Replay<'_, '_>,
    ) -> Result<(), StorageError> {
        let path = self.dir.join(format!("{base:020}.delaylog"));
        let file = self
            .fs
            .open(&path, OpenMode::ReadWrite)
            .map_err(|error| StorageError::from_io("open", &path, error))?;
        self.log.restore(base, file)?;
        let at = self.log.segments.len() - 1;
        let mut scan = self.log.scan(at, base);
        loop {
            let from = scan.position();
            let Some(found) = scan.next()? else {
                return Ok(());
            };
            let (group, torn) = match found {
                Found::Block(position, _, body) => {
                    (parse_group(&body, self.log.salt, position), false)
                }
                // What a checkpoint knows to be durable was whole.
                Found::Damage { torn, .. } => (None, torn && from >= replay.durable),
            };
            if let Some(group) = group {
                for torn in replay.torn.drain(..) {
                    // Who wrote this may have been told that the other was on the disk.
                    self.log.segments[torn].damaged = true;
                }
                self.replay_group(&group, at, spilled, replay)?;
                continue;
            }
            let to = scan.position();
            let damage = DelayDamage::new(&path, from - base, to - base);
            if self.log.holes.covers(from, to) {
                self.damages.know(&path, damage.from);
            } else if torn {
                self.damages.note(DelayDamage { torn, ..damage });
                self.log.holes.add(from, to);
                replay.torn.push(at);
            } else {
                self.note_uncounted(damage);
                self.log.segments[at].damaged = true;
            }
        }
    }

    /// Notes what is missing of the delay log, of which the checkpoint needs what lies behind `start`, between the
    /// files that were read and a position. What was not durable may be: a power cut took it.
    pub(super) fn note_missing(&mut self, start: u64, to: u64, replay: &Replay<'_, '_>) {
        let from = self.log.last_end().unwrap_or(start).max(start);
        let damaged_to = to.min(replay.durable);
        for (from, to) in self.log.holes.outside(from, damaged_to) {
            self.note_missing_part(from, to);
        }
        self.log.holes.add(from.max(damaged_to), to);
    }

    fn note_missing_part(&mut self, from: u64, to: u64) {
        let last = self.log.segments.back_mut();
        let (path, base) = match last.filter(|last| last.end() == from) {
            Some(last) => {
                last.damaged = true;
                (last.path.clone(), last.base)
            }
            None => (self.dir.join(format!("{from:020}.delaylog")), from),
        };
        self.note_uncounted(DelayDamage::new(&path, from - base, to - base));
    }

    fn replay_group(
        &mut self,
        group: &Group,
        segment: usize,
        spilled: u64,
        replay: &mut Replay<'_, '_>,
    ) -> Result<(), StorageError> {
        for (place, len, record) in &group.records {
            let log_end = match record.kind {
                Kind::Toward => record.target.cast_signed(),
                _ => group.fields.log_end,
            };
            let number = self.number_at_start(record.partition, log_end, replay)?;
            let segment = &mut self.log.segments[segment];
            segment.first_ticket = segment.first_ticket.min(record.key.ticket);
            self.next_ticket = self.next_ticket.max(record.key.ticket + 1);
            if self.partitions.get(number).gone {
                continue;
            }
            self.replay_record(number, record, (*place, *len), spilled, replay);
        }
        // Of older ones the checkpoint says which count.
        let first = group.records.first();
        let newer = first.filter(|(_, _, record)| record.key.ticket >= self.counted_ticket);
        if let (Some(producer), Some((_, _, record))) = (group.fields.producer, newer) {
            let (number, _) = self.partitions.number(record.partition);
            self.producers
                .note(number, producer, group.fields.accepted_ms);
        }
        Ok(())
    }

    /// The number of a partition, whose cursor is looked for where it is new.
    fn number_at_start(
        &mut self,
        id: PartitionId,
        log_end: i64,
        replay: &mut Replay<'_, '_>,
    ) -> Result<u32, StorageError> {
        let (number, is_new) = self.partitions.number(id);
        if is_new {
            replay.look(self.partitions.get_mut(number), log_end)?;
        }
        Ok(number)
    }

    fn replay_record(
        &mut self,
        number: u32,
        record: &Record,
        (place, len): (u64, u32),
        spilled: u64,
        replay: &mut Replay<'_, '_>,
    ) {
        match record.kind {
            Kind::Add => {
                if replay.report.checkpoint_lost {
                    replay.tickets.insert(record.key.ticket);
                }
                self.apply_replace(number, record);
                self.note_latest(number, record);
                self.replay_add(number, record, (place, len), spilled);
            }
            Kind::CancelId => self.cancel_id(number, record),
            Kind::CancelTicket | Kind::Drop => {
                let cancelled = cancelled_by(record);
                if cancelled.key > self.partitions.get(number).found {
                    self.tombstones.cancel(number, cancelled);
                }
            }
            Kind::Immediate => {
                self.hold_immediate(number, record, place);
                let offset = record.target.cast_signed();
                // Nearly all were appended, and a payload keeps its whole group in memory.
                if offset >= self.partitions.get(number).found_end {
                    replay.report.repairs.push(ImmediateRepair {
                        partition: record.partition,
                        offset,
                        batch: Bytes::copy_from_slice(&record.payload),
                    });
                }
            }
            Kind::Toward => {}
            Kind::Pause => drop(self.paused.insert(record.partition.topic_id)),
            Kind::Resume => drop(self.paused.remove(&record.partition.topic_id)),
        }
    }

    fn replay_add(&mut self, number: u32, record: &Record, place: (u64, u32), spilled: u64) {
        let (place, len) = place;
        let in_bucket = record.is_far() && place < spilled;
        let counted = record.key.ticket < self.counted_ticket;
        let state = self.partitions.get_mut(number);
        let is_pending = record.key > state.found;
        if in_bucket {
            return;
        }
        match counted {
            true => state.recount(record.key, record.count(len.into())),
            false if is_pending => state.pending.join(record.count(len.into())),
            false => {}
        }
        if !is_pending {
            return;
        }
        if record.is_far() {
            self.unspilled.add(record.key.due_ms);
        } else {
            self.hold_in_log(number, record.key, place);
            self.insert_near(entry_of(number, record.key, (place, len), record.target));
        }
    }

    /// Counts what the buckets hold and the delay log does not, where no checkpoint says it.
    pub(super) fn count_buckets(
        &mut self,
        replay: &mut Replay<'_, '_>,
    ) -> Result<(), StorageError> {
        let ids: Vec<u64> = self.buckets.all.keys().copied().collect();
        for id in ids {
            let mut scan = self.buckets.scan(id)?;
            let (mut count, mut first_ticket) = (0, u64::MAX);
            loop {
                let from = scan.position();
                let Some(found) = scan.next()? else {
                    break;
                };
                let record = match &found {
                    Found::Block(_, _, body) => Record::parse_fields(body),
                    Found::Damage { .. } => None,
                };
                let Some(record) = record else {
                    let damage = DelayDamage::new(scan.path(), from, scan.position());
                    self.damages.note(damage);
                    self.buckets.mark_damaged(id);
                    continue;
                };
                count += 1;
                first_ticket = first_ticket.min(record.key.ticket);
                self.next_ticket = self.next_ticket.max(record.key.ticket + 1);
                let number = self.number_at_start(record.partition, 0, replay)?;
                self.note_latest(number, &record);
                let state = self.partitions.get_mut(number);
                let is_new = replay.tickets.insert(record.key.ticket);
                if is_new && !state.gone && record.key > state.found {
                    let len = super::block::block_len(match found {
                        Found::Block(_, _, body) => u32::try_from(body.len()).unwrap_or(u32::MAX),
                        Found::Damage { .. } => 0,
                    });
                    state.pending.join(record.count(len));
                }
            }
            self.buckets.counted(id, count, first_ticket);
        }
        Ok(())
    }

    /// Puts the counts right where deliveries went on after the checkpoint, or were lost: for what lies in
    /// the buckets whose time had come by then.
    pub(super) fn recount_buckets(&mut self) -> Result<(), StorageError> {
        let states = self.partitions.states.iter();
        let moved = states.filter(|state| !state.gone && state.found != state.counted_from);
        let Some(last) = moved.map(|state| state.found.max(state.counted_from)).max() else {
            return Ok(());
        };
        let buckets = self.buckets.all.values();
        let begun = buckets.filter(|bucket| bucket.span.start_ms <= last.due_ms);
        let ids: Vec<u64> = begun.map(|bucket| bucket.id).collect();
        for id in ids {
            let mut scan = self.buckets.scan(id)?;
            while let Some(found) = scan.next()? {
                let Found::Block(_, len, body) = found else {
                    continue;
                };
                let record = Record::parse_fields(&body);
                let number = record
                    .as_ref()
                    .and_then(|record| self.partitions.find(record.partition));
                if let (Some(record), Some(number)) = (record, number)
                    && !self.partitions.get(number).gone
                {
                    let count = record.count(len);
                    self.partitions.get_mut(number).recount(record.key, count);
                }
            }
        }
        Ok(())
    }

    /// The key up to which a partition was delivered, as the start found it or as it moved since.
    #[must_use]
    pub fn cursor(&self, partition: PartitionId) -> DelayKey {
        let number = self.partitions.find(partition);
        number.map_or(DelayKey::default(), |number| {
            self.partitions.get(number).cursor
        })
    }
}
