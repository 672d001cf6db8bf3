//! What the world promised, to be compared with what came.

use std::collections::{BTreeMap, BTreeSet};

use tidewheel_storage::delay::ProducerStamp;

/// For how long a producer is remembered that sends nothing.
const REMEMBERED_MS: i64 = 86_400_000;

/// How far a promise holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// In doubt: it was tried.
    Tried,
    /// Written: survives a kill.
    Written,
    /// Synced: survives a power cut.
    Durable,
}

/// A record that was produced. Its number is in its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) partition: usize,
    pub(crate) due_ms: i64,
    pub(crate) id: Option<u8>,
    pub(crate) promise: Promise,
    /// Where the promise ends in the delay log.
    pub(crate) end: u64,
    /// It was appended at once, and the offset.
    pub(crate) immediate: Option<i64>,
    /// It may have expired at some time.
    pub(crate) expires_ms: Option<i64>,
    /// Where it comes once it has expired, if that is anywhere.
    pub(crate) buried_in: Option<usize>,
    /// The partition to whose log it was appended, or will be.
    pub(crate) lies_in: usize,
    pub(crate) appended: bool,
    /// Where it lies in its partition's log, if it was appended.
    pub(crate) offset: Option<i64>,
    /// It left the log again; `false` where a crash may bring it back.
    pub(crate) deleted: Option<bool>,
    /// Strongest promise of a cancellation that hits it, and whether it was delivered before.
    pub(crate) cancelled: Option<(Promise, bool, u64)>,
    /// It takes the place of what came before it under the same id.
    pub(crate) replaces: bool,
    /// A cancellation may hit it that puts nothing in its place.
    pub(crate) dropped: bool,
    /// It may be due at another time than it was, and then comes behind what was accepted meanwhile.
    pub(crate) moved: bool,
}

impl Entry {
    pub(crate) fn new(partition: usize, due_ms: i64) -> Self {
        Self {
            partition,
            due_ms,
            id: None,
            promise: Promise::Tried,
            end: u64::MAX,
            immediate: None,
            expires_ms: None,
            buried_in: None,
            lies_in: partition,
            appended: false,
            offset: None,
            deleted: None,
            cancelled: None,
            replaces: false,
            dropped: false,
            moved: false,
        }
    }
}

/// A batch of an idempotent producer, and how far it was promised to be known again.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) stamp: ProducerStamp,
    pub(crate) accepted_ms: i64,
    pub(crate) promise: Promise,
    /// Where the promise ends in the delay log, or behind its offset in the partition's.
    pub(crate) end: Option<u64>,
    pub(crate) offset: Option<i64>,
}

/// A clock that was set far ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    pub(crate) ahead_ms: i64,
    pub(crate) since_boot_ms: i64,
    /// A start knows nothing of the time before it.
    pub(crate) trusted: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) entries: BTreeMap<u64, Entry>,
    next: u64,
    pub(crate) wall_ms: i64,
    pub(crate) boot_ms: i64,
    pub(crate) jump: Option<Jump>,
    sequences: BTreeMap<(usize, i64), i32>,
    /// Producers of whom something may be forgotten: their sequence may be broken then.
    pub(crate) forgotten: BTreeSet<(usize, i64)>,
    /// Offsets before which records of a partition may be deleted.
    pub(crate) starts: BTreeMap<usize, i64>,
    /// By partition and producer, in the order in which they were sent.
    pub(crate) sent: BTreeMap<(usize, i64), Vec<Sent>>,
}

impl Ledger {
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            next: 1,
            wall_ms: now_ms,
            boot_ms: 1_000,
            ..Self::default()
        }
    }

    /// Time passes, whether or not anybody is awake.
    pub(crate) fn advance(&mut self, by_ms: i64) {
        self.boot_ms += by_ms;
        self.set_clock(by_ms);
    }

    /// Only the wall clock is set.
    pub(crate) fn set_clock(&mut self, by_ms: i64) {
        self.wall_ms += by_ms;
        // Whoever was idle for so long may be forgotten from now on, wherever the clock goes then.
        let since_ms = self.wall_ms - REMEMBERED_MS;
        for (producer, sent) in &mut self.sent {
            let before = sent.len();
            if sent.last().is_some_and(|last| last.accepted_ms <= since_ms) {
                sent.clear();
            }
            sent.retain(|sent| sent.accepted_ms > since_ms);
            if sent.len() < before {
                self.forgotten.insert(*producer);
            }
        }
    }

    /// Sets the clock far ahead, or back from there.
    pub(crate) fn jump(&mut self, ahead_ms: i64) {
        // A start dates what it finds in a log by its own clock, and then all else is old.
        self.forgotten.extend(self.sent.keys());
        match self.jump.take() {
            Some(jump) => self.set_clock(-jump.ahead_ms),
            None => {
                self.set_clock(ahead_ms);
                self.jump = Some(Jump {
                    ahead_ms,
                    since_boot_ms: self.boot_ms,
                    trusted: false,
                });
            }
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The next batch of a producer.
    pub(crate) fn stamp(&mut self, at: usize, producer_id: i64) -> ProducerStamp {
        let sequence = self.sequences.entry((at, producer_id)).or_insert(-1);
        *sequence += 1;
        let stamp = ProducerStamp {
            producer_id,
            epoch: 0,
            first_sequence: *sequence,
            last_sequence: *sequence,
        };
        let sent = Sent {
            stamp,
            accepted_ms: self.wall_ms,
            promise: Promise::Tried,
            end: None,
            offset: None,
        };
        self.sent.entry((at, producer_id)).or_default().push(sent);
        stamp
    }

    /// The batch that [`Ledger::stamp`] made last for the producer was refused, and nothing of it is anywhere.
    pub(crate) fn unsend(&mut self, at: usize, producer_id: i64) {
        *self.sequences.get_mut(&(at, producer_id)).unwrap() -= 1;
        self.sent.get_mut(&(at, producer_id)).unwrap().pop();
    }

    /// That batch was written: into the delay log up to `end`, or to the partition's log before `offset`.
    pub(crate) fn written(
        &mut self,
        at: usize,
        producer_id: i64,
        end: Option<u64>,
        offset: Option<i64>,
    ) {
        let sent = self.sent.get_mut(&(at, producer_id)).unwrap();
        let last = sent.last_mut().unwrap();
        (last.promise, last.end, last.offset) = (Promise::Written, end, offset);
    }

    /// Everything with this id and a smaller number is hit: by what replaces it, or, with no number, by what
    /// does not.
    pub(crate) fn mark_cancelled(
        &mut self,
        at: usize,
        id: u8,
        by: Option<u64>,
        (promise, end): (Promise, u64),
    ) {
        for (_, entry) in self.entries.range_mut(..by.unwrap_or(u64::MAX)) {
            if entry.partition == at && entry.id == Some(id) {
                entry.dropped |= by.is_none();
                let was = entry.cancelled;
                let appended = was.map_or(entry.appended, |(_, appended, _)| appended);
                match was {
                    Some((strong, _, known)) if strong > promise || known < end => {}
                    _ => entry.cancelled = Some((promise, appended, end)),
                }
            }
        }
    }

    /// Everything before an offset left a partition's log; for good, or maybe.
    pub(crate) fn deleted(&mut self, at: usize, start: i64, surely: bool) {
        let known = self.starts.entry(at).or_default();
        *known = start.max(*known);
        for entry in self
            .entries
            .values_mut()
            .filter(|entry| entry.lies_in == at)
        {
            if entry.offset.is_some_and(|offset| offset < start) && entry.deleted != Some(true) {
                entry.deleted = Some(surely);
            }
        }
    }

    /// The delay log survives a power cut up to there.
    pub(crate) fn delays_durable(&mut self, durable: u64) {
        for entry in self.entries.values_mut() {
            if entry.end <= durable {
                entry.promise = Promise::Durable;
            }
            if let Some(cancelled) = &mut entry.cancelled
                && cancelled.2 <= durable
            {
                cancelled.0 = Promise::Durable;
            }
        }
        for sent in self.sent.values_mut().flatten() {
            if sent.end.is_some_and(|end| end <= durable) {
                sent.promise = Promise::Durable;
            }
        }
    }

    /// A partition's log survives a power cut up to there.
    pub(crate) fn log_durable(&mut self, at: usize, durable: i64) {
        for entry in self
            .entries
            .values_mut()
            .filter(|entry| entry.partition == at)
        {
            let synced = entry.immediate.is_some_and(|offset| offset < durable);
            if synced && entry.end == u64::MAX && entry.promise == Promise::Tried {
                entry.promise = Promise::Durable;
            }
        }
        for ((_, _), sent) in self.sent.iter_mut().filter(|((of, _), _)| *of == at) {
            for sent in sent {
                if sent.offset.is_some_and(|offset| offset < durable) {
                    sent.promise = Promise::Durable;
                }
            }
        }
    }
}
