//! What was cancelled. A cancelled record stays where it is and is passed over when it is due, so memory
//! is taken per cancellation and not per pending record.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::key::DelayKey;
use super::partitions::{DelayCount, Partitions};
use super::record::Record;

/// Cancellations in force. Partitions by number, as [`Partitions`] has them.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    /// Records with this id and a smaller ticket.
    pub(super) by_id: HashMap<(u32, Bytes), u64>,
    /// Single records: partition and due time by ticket.
    pub(super) by_ticket: BTreeMap<u64, (u32, u64)>,
}

impl Tombstones {
    pub(super) fn len(&self) -> usize {
        self.by_id.len() + self.by_ticket.len()
    }

    /// Those that are about records of these partitions.
    pub(super) fn of(&self, partitions: &HashSet<u32>) -> Self {
        let by_id = self.by_id.iter();
        let by_ticket = self.by_ticket.iter();
        Self {
            by_id: by_id
                .filter(|((partition, _), _)| partitions.contains(partition))
                .map(|(named, before)| (named.clone(), *before))
                .collect(),
            by_ticket: by_ticket
                .filter(|(_, (partition, _))| partitions.contains(partition))
                .map(|(ticket, record)| (*ticket, *record))
                .collect(),
        }
    }

    /// Cancels what has this id and a smaller ticket.
    pub(super) fn cancel_id(&mut self, partition: u32, id: &Bytes, before_ticket: u64) {
        // The id may be a slice of a whole group.
        let id = Bytes::copy_from_slice(id);
        let before = self.by_id.entry((partition, id)).or_default();
        *before = (*before).max(before_ticket);
    }

    /// Cancels one record.
    pub(super) fn cancel(&mut self, partition: u32, key: DelayKey) {
        self.by_ticket.insert(key.ticket, (partition, key.due_ms));
    }

    /// Whether a record was cancelled.
    pub(super) fn hit(&self, partition: u32, record: &Record) -> bool {
        self.hits(partition, record.key.ticket, &record.id)
    }

    /// Whether a record with this ticket and id was cancelled.
    pub(super) fn hits(&self, partition: u32, ticket: u64, id: &Bytes) -> bool {
        if self.by_ticket.contains_key(&ticket) {
            return true;
        }
        if id.is_empty() || self.by_id.is_empty() {
            return false;
        }
        let before = self.by_id.get(&(partition, id.clone()));
        before.is_some_and(|before| ticket < *before)
    }

    /// Forgets what can hit nothing any more: no pending record has a ticket below `least_ticket`.
    pub(super) fn prune(&mut self, least_ticket: u64, partitions: &Partitions) {
        self.by_id.retain(|(partition, _), before| {
            let state = partitions.get(*partition);
            let is_empty = state.pending_durably() == DelayCount::default();
            *before > least_ticket && !state.gone && !is_empty
        });
        self.by_ticket.retain(|ticket, (partition, due_ms)| {
            let key = DelayKey {
                due_ms: *due_ms,
                ticket: *ticket,
            };
            partitions
                .passed(*partition)
                .is_some_and(|passed| passed < key)
        });
    }
}
