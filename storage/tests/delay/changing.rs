//! What happens to records that are pending: they are cancelled, replaced, moved, buried.

use std::num::NonZeroUsize;

use bytes::Bytes;
use tidewheel_protocol::RecordBatch;
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::{
    DelayGroup, DelayOperation, DelayedBatch, PendingFate, PendingQuery, PendingRecord,
};

use crate::ledger::Promise;
use crate::world::{Flaw, World, dead_letters_of, numbers, partition_id, place_of};

impl World {
    pub(crate) fn cancelled(
        &mut self,
        at: usize,
        id: Option<u8>,
        by: Option<u64>,
        promise: (Promise, u64),
    ) {
        self.ledger.mark_cancelled(at, id.unwrap(), by, promise);
    }

    /// Where that is the mistake, what came before it is hit whatever becomes of the group.
    pub(crate) fn tear(&mut self, group: &mut DelayGroup) -> Result<(), StorageError> {
        let now = self.ledger.wall_ms;
        if self.flaw != Flaw::TornReplacement {
            return Ok(());
        }
        let mut torn = Vec::new();
        for operation in &mut group.operations {
            if let DelayOperation::Add(add) = operation
                && std::mem::take(&mut add.replace)
            {
                torn.push(DelayOperation::Cancel { id: add.id.clone() });
            }
        }
        let cancels = DelayGroup {
            producer: None,
            operations: torn,
            ..group.clone()
        };
        self.queue().accept(&cancels, now).map(drop)
    }

    pub(crate) fn move_one(
        &mut self,
        at: usize,
        which: u64,
        delay_ms: i64,
    ) -> Result<(), StorageError> {
        let now = self.ledger.wall_ms;
        let id = partition_id(at);
        let query = PendingQuery {
            partition: Some(id.partition),
            ..PendingQuery::all(id.topic_id)
        };
        let page = self.queue().look(query).run(|| false)?.unwrap();
        let Some(count) = NonZeroUsize::new(page.records.len()) else {
            return Ok(());
        };
        let found = &page.records[usize::try_from(which >> 32).unwrap() % count];
        // On its way already.
        if self.queue().fate_of(found) != PendingFate::Pending {
            return Ok(());
        }
        let number = numbers(&RecordBatch::parse(found.add.batch.clone()).unwrap())[0];
        let entry = self.ledger.entries.get_mut(&number).unwrap();
        entry.due_ms = entry.due_ms.min(now + delay_ms);
        entry.moved = true;
        let group = DelayGroup {
            partition: id,
            log_end: self.logs[at].offsets().log_end,
            producer: None,
            operations: found.moved_to(now + delay_ms).into(),
        };
        match self.queue().accept(&group, now) {
            Ok(_) => self.accepted += 1,
            Err(StorageError::QueueFull) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(crate) fn cancel(&mut self, at: usize, id: u8) -> Result<(), StorageError> {
        let group = DelayGroup {
            partition: partition_id(at),
            log_end: self.logs[at].offsets().log_end,
            producer: None,
            operations: vec![DelayOperation::Cancel {
                id: Bytes::from(vec![id; 3]),
            }],
        };
        let now = self.ledger.wall_ms;
        self.cancelled(at, Some(id), None, (Promise::Tried, u64::MAX));
        if self.flaw == Flaw::ForgottenCancel {
            self.cancelled(at, Some(id), None, (Promise::Durable, 0));
            return Ok(());
        }
        match self.queue().accept(&group, now) {
            Ok(accepted) => {
                let promise = (Promise::Written, accepted.end);
                self.cancelled(at, Some(id), None, promise);
                Ok(())
            }
            Err(StorageError::QueueFull) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An expired record goes to where such records do.
    pub(crate) fn bury(&mut self, found: &PendingRecord) -> Result<(), StorageError> {
        let now = self.ledger.wall_ms;
        let to = dead_letters_of(place_of(found.partition)).unwrap();
        let add = DelayedBatch {
            due_ms: now,
            expires_ms: None,
            id: Bytes::new(),
            ..found.add.clone()
        };
        let toward = DelayOperation::Toward {
            partition: partition_id(to),
            log_end: self.logs[to].offsets().log_end,
        };
        let group = DelayGroup {
            partition: found.partition,
            log_end: self.logs[place_of(found.partition)].offsets().log_end,
            producer: None,
            operations: vec![found.expired(), toward, DelayOperation::Add(add)],
        };
        self.queue().accept(&group, now)?;
        self.accepted += 1;
        // A cancellation comes too late.
        let number = numbers(&RecordBatch::parse(found.add.batch.clone()).unwrap())[0];
        self.ledger.entries.get_mut(&number).unwrap().appended = true;
        Ok(())
    }
}
