//! What the broker's threads do: sync, deliver, maintain, write checkpoints.

use std::sync::Arc;

use tidewheel_config::DeliverTimestamp;
use tidewheel_protocol::RecordBatch;
use tidewheel_storage::delay::{CLOCK_ACCEPT_MS, ClockVerdict, DelayCheckpoint, Delivery};
use tidewheel_storage::{StorageError, validate};

use crate::check::Unsynced;
use crate::scenario::PARTITIONS;
use crate::world::{
    Flaw, World, append, dead_letters_of, numbers, partition_id, place_of, reading,
};

impl World {
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        let (fs, flaw) = (self.fs.clone(), self.flaw);
        let queue = self.queue();
        if let Some(sync) = queue.sync_work() {
            let outcome = match flaw {
                Flaw::MissingSync => Ok(()),
                _ => sync.run(&fs),
            };
            queue.synced(&sync, &outcome);
            outcome?;
        }
        let durable = queue.durable();
        self.ledger.delays_durable(durable);
        Ok(())
    }

    pub(crate) fn maintain(&mut self) -> Result<(), StorageError> {
        let now = self.ledger.wall_ms;
        for _ in 0..100 {
            if !self.queue().maintain(now)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Fires until nothing more is due, at most so many times.
    pub(crate) fn deliver(&mut self, rounds: usize) -> Result<(), StorageError> {
        let verdict = self.clock.observe(reading(&self.ledger));
        if verdict != ClockVerdict::Believed && self.flaw != Flaw::BelievedJump {
            return Ok(());
        }
        for _ in 0..rounds {
            let ahead = i64::from(self.flaw == Flaw::EarlyTick);
            let now = self.ledger.wall_ms;
            let keeps = |id| dead_letters_of(place_of(id)).is_some();
            let fired = self.queue().fire_keeping(now + ahead, &keeps)?;
            self.settled += fired.cancelled + fired.expired;
            assert_eq!(fired.damaged, [], "nothing was damaged");
            for delivery in &fired.deliveries {
                self.append_delivery(delivery)?;
            }
            for found in &fired.kept {
                self.bury(found)?;
            }
            if let Some(error) = fired.error {
                return Err(error);
            }
            if fired.wants_sync {
                self.sync()?;
            }
            if fired.wants_maintenance {
                self.maintain()?;
            }
            let passed = fired.cancelled + fired.expired > 0;
            let moved = !fired.deliveries.is_empty() || !fired.kept.is_empty() || passed;
            if !moved && !fired.wants_sync && !fired.wants_maintenance && !fired.more {
                break;
            }
        }
        Ok(())
    }

    fn append_delivery(&mut self, delivery: &Delivery) -> Result<(), StorageError> {
        let at = place_of(delivery.partition);
        let now = self.ledger.wall_ms;
        if self.flaw != Flaw::DeletedCursor {
            self.logs[at].keep_from(self.logs[at].offsets().log_end);
        }
        for due in &delivery.batches {
            if self.refuse.take_if(|refused| *refused == at).is_some() {
                self.queue().delivery_failed(delivery.partition);
                self.inexact = true;
                return Ok(());
            }
            let mut valid = due.to_append(DeliverTimestamp::Create, now).unwrap();
            let batch = RecordBatch::parse(valid.bytes.clone()).unwrap();
            let offset = self.logs[at].offsets().log_end;
            self.check_time(&batch, at, offset);
            if self.flaw == Flaw::ForgottenCursor {
                valid = validate(without_cursor(&batch), &self.logs[at].config(), now)?;
            }
            append(&self.logs[at], valid, now)?;
            self.settled += numbers(&batch).len() as u64;
            let log_end = self.logs[at].offsets().log_end;
            self.queue().delivered(delivery.partition, due.key, log_end);
        }
        let log_end = self.logs[at].offsets().log_end;
        self.queue()
            .delivered(delivery.partition, delivery.up_to, log_end);
        Ok(())
    }

    /// Nothing is early by the clock, nor by a clock that nobody should believe.
    fn check_time(&mut self, batch: &RecordBatch, at: usize, offset: i64) {
        let now = self.ledger.wall_ms;
        let doubtful = self.ledger.jump.filter(|jump| {
            let stayed_ms = self.ledger.boot_ms - jump.since_boot_ms;
            !jump.trusted && stayed_ms < CLOCK_ACCEPT_MS
        });
        for number in numbers(batch) {
            let entry = self.ledger.entries.get_mut(&number).unwrap();
            assert!(now >= entry.due_ms, "{number} is early");
            assert!(doubtful.is_none(), "{number}, by a clock that jumped");
            (entry.appended, entry.offset, entry.lies_in) = (true, Some(offset), at);
        }
    }

    /// A round of the partitions' logs.
    pub(crate) fn flush(&mut self) -> Result<(), StorageError> {
        let round = self.manager.as_ref().unwrap().flush_round(0);
        for at in 0..PARTITIONS {
            let durable = self.logs[at].offsets().durable;
            self.ledger.log_durable(at, durable);
        }
        self.tell_durable();
        round.error.map_or(Ok(()), Err)
    }

    fn tell_durable(&mut self) {
        for at in 0..PARTITIONS {
            let offsets = self.logs[at].offsets();
            let durable = match self.flaw {
                Flaw::CursorAheadOfData => offsets.log_end,
                _ => offsets.durable,
            };
            self.queue().partition_durable(partition_id(at), durable);
        }
    }

    pub(crate) fn checkpoint(&mut self, logs: bool) -> Result<(), StorageError> {
        let now = self.ledger.wall_ms;
        if logs {
            self.manager.as_ref().unwrap().checkpoint(now)?;
        }
        self.tell_durable();
        let (fs, flaw) = (self.fs.clone(), self.flaw);
        let queue = self.queue();
        let checkpoint = queue.begin_checkpoint(now)?;
        let outcome = match flaw {
            Flaw::MissingBucketSync => checkpoint.run(&Unsynced(fs)),
            _ => checkpoint.run(&fs),
        };
        queue.finish_checkpoint(&checkpoint, &outcome);
        if outcome.is_ok() {
            self.release(&checkpoint);
        }
        outcome
    }

    /// What only the logs say of deliveries stays until a checkpoint says it.
    pub(crate) fn keep(&mut self) {
        let queue = self.queue.as_ref().unwrap();
        for at in 0..PARTITIONS {
            self.logs[at].keep_from(queue.scans_from(partition_id(at)));
        }
    }

    fn release(&mut self, checkpoint: &DelayCheckpoint) {
        let queue = self.queue.as_ref().unwrap();
        // Pauses are of no partition.
        let all = checkpoint.partitions().filter(|(id, ..)| id.partition >= 0);
        for (id, noted, scan_from) in all {
            let log = &self.logs[place_of(id)];
            let moved = queue.cursor(id) > noted && self.flaw != Flaw::DeletedCursor;
            log.keep_only(moved.then_some(scan_from));
        }
    }

    /// DeleteRecords up to the high watermark.
    pub(crate) fn delete(&mut self, at: usize) -> Result<(), StorageError> {
        let log = Arc::clone(&self.logs[at]);
        let offset = log.offsets().high_watermark;
        if self.flaw != Flaw::DeletedCursor {
            self.flush()?;
            self.checkpoint(false)?;
        }
        let now = self.ledger.wall_ms;
        self.ledger.deleted(at, offset, false);
        let manager = self.manager.as_ref().unwrap();
        let start = manager.delete_records(&[(log, offset)], now).remove(0)?;
        self.ledger.deleted(at, start, true);
        Ok(())
    }

    /// Retention, and a checkpoint of the log, after which it is for good.
    pub(crate) fn retain(&mut self, at: usize) -> Result<(), StorageError> {
        let now = self.ledger.wall_ms;
        let outcome = self.logs[at].apply_retention(now)?;
        self.ledger.deleted(at, outcome.log_start, false);
        self.manager.as_ref().unwrap().checkpoint(now)?;
        self.ledger.deleted(at, outcome.log_start, true);
        Ok(())
    }
}

fn without_cursor(batch: &RecordBatch) -> RecordBatch {
    let mut header = batch.header;
    (header.producer_id, header.producer_epoch) = (-1, -1);
    header.base_sequence = -1;
    RecordBatch::assemble(header, &batch.records_bytes()).unwrap()
}
