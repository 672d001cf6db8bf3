//! What was cancelled. A cancelled record stays where it is and is passed over when it is due, so memory
//! is taken per cancellation and not per pending record.
//!
//! A cancellation that is not on the disk hits nobody for good: what takes the record's place may be lost
//! with it ([`Hit::Unsynced`]). Cancellations have tickets like everything in the delay log, so the first
//! ticket that is not on the disk tells them apart.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::key::DelayKey;
use super::partitions::Partitions;
use super::record::Record;

/// A second, in ms.
pub(super) const SECOND_MS: u64 = 1_000;

/// Cancellations in force. Partitions by number, as [`Partitions`] has them.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    /// Records with this id and a smaller ticket.
    pub(super) by_id: HashMap<(u32, Bytes), CancelledId>,
    /// Single records, by ticket.
    pub(super) by_ticket: BTreeMap<u64, CancelledTicket>,
    /// How many of these are due in each second since 1970.
    seconds: BTreeMap<u64, Withdrawn>,
    /// Cancellations with a smaller ticket are on the disk.
    synced: u64,
}

/// The cancellations of one id, by their tickets. Where one comes after the other, the last one is never on the
/// disk: so two before it are known as well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CancelledId {
    /// The last one.
    pub(super) last: u64,
    /// The first that was not on the disk when the one behind it came.
    first: u64,
    /// One that is on the disk.
    synced: u64,
    /// What they cancel is due then or before, ms since 1970: nothing in the partition was due later when the last
    /// one came.
    pub(super) reach_ms: u64,
}

/// The cancellation of a single record.
#[derive(Clone, Copy, Debug)]
pub(super) struct CancelledTicket {
    pub(super) partition: u32,
    /// When the record would have been due, ms since 1970.
    pub(super) due_ms: u64,
    /// How many records it is: a batch may be due as a whole.
    pub(super) records: u64,
    /// The ticket of the cancellation.
    by: u64,
}

/// What cancels one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancelled {
    /// Which one.
    pub(super) key: DelayKey,
    /// How many records it is: a batch may be due as a whole.
    pub(super) records: u64,
    /// The ticket of the cancellation.
    pub(super) by: u64,
}

/// What was cancelled one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Withdrawn {
    /// What would have been delivered in one piece counts once.
    pub(super) pieces: u64,
    /// As their producers count them.
    pub(super) records: u64,
}

/// Whether a record was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    No,
    /// A power cut could undo it.
    Unsynced,
    Synced,
}

impl CancelledId {
    fn add(&mut self, ticket: u64, synced: u64) {
        if ticket <= self.last {
            return;
        }
        if self.last < synced {
            (self.synced, self.first) = (self.last, ticket);
        } else if self.first < synced {
            (self.synced, self.first) = (self.first, self.last);
        }
        self.last = ticket;
    }

    fn hit(self, ticket: u64, synced: u64) -> Hit {
        let hits = |before: u64| ticket < before && before < synced;
        if hits(self.last) || hits(self.first) || ticket < self.synced {
            return Hit::Synced;
        }
        match ticket < self.last {
            true => Hit::Unsynced,
            false => Hit::No,
        }
    }
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
                .filter(|(_, cancelled)| partitions.contains(&cancelled.partition))
                .map(|(ticket, cancelled)| (*ticket, *cancelled))
                .collect(),
            // Nobody asks those who look at records.
            seconds: BTreeMap::new(),
            synced: self.synced,
        }
    }

    /// Cancels what has this id and a smaller ticket than the cancellation, none of which is due after `reach_ms`.
    pub(super) fn cancel_id(&mut self, partition: u32, id: &Bytes, by: u64, reach_ms: u64) {
        // The id may be a slice of a whole group.
        let id = Bytes::copy_from_slice(id);
        let synced = self.synced;
        let cancelled = self.by_id.entry((partition, id)).or_default();
        // A start meets again what the checkpoint knows better.
        if by > cancelled.last {
            cancelled.add(by, synced);
            cancelled.reach_ms = cancelled.reach_ms.max(reach_ms);
        }
    }

    /// They may mean whatever is pending in their partitions.
    pub(super) fn reach_all(&mut self, partitions: &Partitions) {
        for ((partition, _), cancelled) in &mut self.by_id {
            cancelled.reach_ms = partitions.get(*partition).latest_ms;
        }
    }

    /// Cancels one record.
    pub(super) fn cancel(&mut self, partition: u32, cancelled: Cancelled) {
        let Cancelled { key, records, by } = cancelled;
        // An earlier one says the same, and is on the disk before.
        if let Entry::Vacant(entry) = self.by_ticket.entry(key.ticket) {
            entry.insert(CancelledTicket {
                partition,
                due_ms: key.due_ms,
                records,
                by,
            });
            let second = self.seconds.entry(key.due_ms / SECOND_MS).or_default();
            second.pieces += 1;
            second.records = second.records.saturating_add(records);
        }
    }

    /// What was cancelled one by one, by the second since 1970 in which it would have been due, from that of a time
    /// on, ms since 1970.
    pub(super) fn withdrawn_from(&self, from_ms: u64) -> impl Iterator<Item = (u64, Withdrawn)> {
        let from = from_ms / SECOND_MS;
        self.seconds.range(from..).map(|(at, count)| (*at, *count))
    }

    /// Forgets the records that this does not say it keeps.
    fn retain_tickets(&mut self, keeps: impl Fn(u64, &CancelledTicket) -> bool) {
        let seconds = &mut self.seconds;
        self.by_ticket.retain(|ticket, cancelled| {
            let keeps = keeps(*ticket, cancelled);
            let second = cancelled.due_ms / SECOND_MS;
            if !keeps && let Entry::Occupied(mut entry) = seconds.entry(second) {
                let count = entry.get_mut();
                count.pieces = count.pieces.saturating_sub(1);
                count.records = count.records.saturating_sub(cancelled.records);
                if count.pieces == 0 {
                    entry.remove();
                }
            }
            keeps
        });
    }

    /// Forgets the records of partitions whose topics were deleted.
    pub(super) fn forget_gone(&mut self, partitions: &Partitions) {
        self.retain_tickets(|_, cancelled| !partitions.get(cancelled.partition).gone);
    }

    /// Everything in the delay log with a smaller ticket is on the disk.
    pub(super) fn synced(&mut self, ticket: u64) {
        self.synced = self.synced.max(ticket);
    }

    /// Whether what has this ticket is on the disk.
    pub(super) fn is_synced(&self, ticket: u64) -> bool {
        ticket < self.synced
    }

    /// Whether a record was cancelled, and for good.
    pub(super) fn hit(&self, partition: u32, record: &Record) -> Hit {
        self.hit_by_name(partition, record.key.ticket, &record.id)
    }

    /// Whether a record with this ticket and id was cancelled.
    pub(super) fn hits(&self, partition: u32, ticket: u64, id: &Bytes) -> bool {
        self.hit_by_name(partition, ticket, id) != Hit::No
    }

    fn hit_by_name(&self, partition: u32, ticket: u64, id: &Bytes) -> Hit {
        let alone = self.by_ticket.get(&ticket);
        if alone.is_some_and(|cancelled| cancelled.by < self.synced) {
            return Hit::Synced;
        }
        let by_id = match id.is_empty() || self.by_id.is_empty() {
            true => None,
            false => self.by_id.get(&(partition, id.clone())),
        };
        match by_id.map_or(Hit::No, |cancelled| cancelled.hit(ticket, self.synced)) {
            Hit::No if alone.is_some() => Hit::Unsynced,
            hit => hit,
        }
    }

    /// Forgets what can hit nothing any more: no pending record has a ticket below `least_ticket`, or the partition
    /// has delivered something that comes after whatever could be meant, of which nothing is due after `latest_ms`.
    pub(super) fn prune(&mut self, least_ticket: u64, latest_ms: u64, partitions: &Partitions) {
        self.by_id.retain(|(partition, _), cancelled| {
            let state = partitions.get(*partition);
            cancelled.reach_ms = cancelled.reach_ms.min(latest_ms);
            let reach = DelayKey {
                due_ms: cancelled.reach_ms,
                ticket: cancelled.last,
            };
            let may_hit = cancelled.last > least_ticket && state.durable < reach;
            may_hit && !state.gone && !state.is_empty_durably()
        });
        self.retain_tickets(|ticket, cancelled| {
            let key = DelayKey {
                due_ms: cancelled.due_ms,
                ticket,
            };
            partitions
                .passed(cancelled.partition)
                .is_some_and(|passed| passed < key)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_cancelled_without_end_is_hit_as_soon_as_one_cancellation_is_on_the_disk() {
        // Each sync covers what came before the one before it ended: three cancellations.
        let (mut id, mut synced) = (CancelledId::default(), 0);
        for ticket in (10..1_000).step_by(10) {
            id.add(ticket, synced);
            if ticket % 30 == 0 {
                synced = ticket - 25;
            }
            for older in 1..ticket {
                let hit = id.hit(older, synced);
                assert_ne!(hit, Hit::No, "{older} before {ticket}");
                let is_synced = hit == Hit::Synced;
                assert!(!is_synced || older < synced, "{older}, {synced}");
                assert!(is_synced || older + 10 > synced, "{older}, {synced}");
            }
            assert_eq!(id.hit(ticket, synced), Hit::No);
        }
        assert_eq!(id.hit(5, u64::MAX), Hit::Synced);
    }
}
