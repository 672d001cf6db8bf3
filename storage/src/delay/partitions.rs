//! What the delay queue knows of each partition: what is due, what was handed out, what is delivered.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tidewheel_protocol::Uuid;

use super::key::{DelayKey, PartitionId, TICKET_MAX};
use super::wheel::WheelEntry;

/// How long a partition is left alone whose log did not take what is due, in ms.
pub(super) const RETRY_MS: u64 = 500;
/// Deliveries of a partition that are told apart until its log is durable; more count as one.
const UNSETTLED_MAX: usize = 64;

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelayCount {
    /// Records as their producers count them.
    pub records: u64,
    /// What they take in the files of the delay store, in bytes.
    pub bytes: u64,
}

impl DelayCount {
    /// Adds another count.
    pub fn join(&mut self, other: Self) {
        self.records = self.records.saturating_add(other.records);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// What was delivered or passed over, but may be gone after a power cut.
#[derive(Clone, Copy, Debug)]
struct Unsettled {
    up_to: DelayKey,
    /// The end of the partition's log behind it.
    log_end: i64,
    count: DelayCount,
}

/// What was appended or passed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// Entries of the wheel; one may stand for a whole batch.
    pub(super) entries: usize,
    pub(super) count: DelayCount,
}

/// `durable <= cursor <= handed`, always.
#[derive(Debug)]
pub(super) struct PartitionState {
    pub(super) id: PartitionId,
    /// Its topic was deleted: nothing is delivered any more.
    pub(super) gone: bool,
    /// The greatest key that was handed out or passed over. Every new record gets a greater one.
    pub(super) handed: DelayKey,
    /// The greatest key that was appended or passed over.
    pub(super) cursor: DelayKey,
    /// The same, of what a power cut leaves.
    pub(super) durable: DelayKey,
    /// Batches of the log before this offset have no key above `durable`.
    pub(super) scan_from: i64,
    /// Batches before this offset survive a power cut.
    pub(super) log_durable: i64,
    unsettled: VecDeque<Unsettled>,
    /// Due, in the order of keys, all above `handed`.
    pub(super) ready: VecDeque<WheelEntry>,
    /// Handed out and not answered.
    pub(super) in_flight: VecDeque<WheelEntry>,
    /// Those of `ready` of which the delay log says that they have expired, and where they go: the ticket of that.
    pub(super) buried: BTreeMap<DelayKey, u64>,
    /// Nothing is handed out before, since it could not be appended; ms since 1970.
    pub(super) retry_ms: u64,
    /// Accepted, and above `cursor`.
    pub(super) pending: DelayCount,
    /// Nothing that is pending is due later; ms since 1970.
    pub(super) latest_ms: u64,
    /// The cursor of the checkpoint that the store was opened with, which `pending` counted by.
    pub(super) counted_from: DelayKey,
    /// The cursor that was found when it was opened.
    pub(super) found: DelayKey,
    /// The end of the partition's log then.
    pub(super) found_end: i64,
}

impl PartitionState {
    fn new(id: PartitionId) -> Self {
        let none = DelayKey::default();
        Self {
            id,
            gone: false,
            handed: none,
            cursor: none,
            durable: none,
            scan_from: 0,
            log_durable: 0,
            unsettled: VecDeque::new(),
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            buried: BTreeMap::new(),
            retry_ms: 0,
            pending: DelayCount::default(),
            latest_ms: 0,
            counted_from: none,
            found: none,
            found_end: 0,
        }
    }

    /// Begins with the cursor that the partition's log shows.
    pub(super) fn restore(&mut self, found: DelayKey, log_end: i64) {
        (self.handed, self.cursor, self.found) = (found, found, found);
        self.found_end = log_end;
        self.durable = self.durable.min(found);
        if found > self.durable {
            self.unsettled.push_back(Unsettled {
                up_to: found,
                log_end,
                count: DelayCount::default(),
            });
        }
    }

    /// Takes in a record that is due; `false` where it was handed out before or is there already.
    pub(super) fn push_ready(&mut self, entry: WheelEntry) -> bool {
        let key = key_of(&entry);
        if self.gone
            || key <= self.handed
            || self
                .in_flight
                .back()
                .is_some_and(|last| key <= key_of(last))
        {
            return false;
        }
        if self.ready.back().is_none_or(|last| key_of(last) < key) {
            self.ready.push_back(entry);
            return true;
        }
        match self.ready.binary_search_by_key(&key, key_of) {
            Ok(_) => false,
            Err(at) => {
                self.ready.insert(at, entry);
                true
            }
        }
    }

    /// Hands the first ready record out.
    pub(super) fn hand_out(&mut self) {
        if let Some(entry) = self.ready.pop_front() {
            self.handed = key_of(&entry);
            self.in_flight.push_back(entry);
        }
    }

    /// Whether it is left alone after a failure; not for longer than that, also if the clock was set back.
    pub(super) fn rests(&self, now: u64) -> bool {
        self.retry_ms > now && self.retry_ms <= now.saturating_add(RETRY_MS)
    }

    /// What was handed out up to a key has been appended or passed over; the partition's log ends at
    /// `log_end` behind it, where that is known. How many records it was.
    pub(super) fn settle(&mut self, up_to: DelayKey, log_end: Option<i64>) -> Settled {
        let (mut entries, mut count) = (0, DelayCount::default());
        while let Some(entry) = self.in_flight.pop_front_if(|entry| key_of(entry) <= up_to) {
            entries += 1;
            count.join(count_of(&entry));
            self.cursor = key_of(&entry);
        }
        if entries == 0 {
            return Settled { entries, count };
        }
        self.pending.remove(count);
        if !self.buried.is_empty() {
            let behind = DelayKey {
                ticket: self.cursor.ticket + 1,
                ..self.cursor
            };
            self.buried = self.buried.split_off(&behind);
        }
        let before = self
            .unsettled
            .back()
            .map_or(self.scan_from, |last| last.log_end);
        let log_end = log_end.unwrap_or(before).max(before);
        let mut settled = Unsettled {
            up_to: self.cursor,
            log_end,
            count,
        };
        if self.unsettled.len() >= UNSETTLED_MAX
            && let Some(last) = self.unsettled.pop_back()
        {
            settled.count.join(last.count);
        }
        self.unsettled.push_back(settled);
        Settled { entries, count }
    }

    /// What was handed out and not settled is ready again.
    pub(super) fn take_back(&mut self) {
        while let Some(entry) = self.in_flight.pop_back() {
            self.ready.push_front(entry);
        }
        self.handed = self.cursor;
    }

    /// Everything in the partition's log before an offset is durable.
    pub(super) fn log_is_durable(&mut self, offset: i64) {
        self.log_durable = self.log_durable.max(offset);
        while let Some(settled) = self.unsettled.pop_front_if(|first| first.log_end <= offset) {
            self.durable = settled.up_to;
            self.scan_from = self.scan_from.max(settled.log_end);
        }
        if self.unsettled.is_empty() && self.in_flight.is_empty() {
            self.scan_from = self.scan_from.max(offset);
        }
    }

    /// What is pending as the durable cursor counts.
    pub(super) fn pending_durably(&self) -> DelayCount {
        let mut count = self.pending;
        for settled in &self.unsettled {
            count.join(settled.count);
        }
        count
    }

    /// Whether nothing is pending, nor would be after a power cut.
    pub(super) fn is_empty_durably(&self) -> bool {
        self.pending_durably() == DelayCount::default()
    }

    /// Puts a record of the time before the store was opened right in `pending`: the checkpoint counted
    /// by a cursor that may be behind, or ahead of, what the partition's log shows.
    pub(super) fn recount(&mut self, key: DelayKey, count: DelayCount) {
        match (key > self.counted_from, key > self.found) {
            (true, false) => self.pending.remove(count),
            (false, true) => self.pending.join(count),
            _ => {}
        }
    }
}

/// The largest number of records that an entry can say it stands for: more than any batch has.
pub(super) const ENTRY_RECORDS_MAX: u64 = u64::MAX >> TICKET_MAX.count_ones();

/// An entry for the wheel. Its ticket has bits to spare, which hold the number of its records.
pub(super) fn entry_of(
    partition: u32,
    key: DelayKey,
    place: (u64, u32),
    records: u64,
) -> WheelEntry {
    let records = records.clamp(1, ENTRY_RECORDS_MAX);
    WheelEntry {
        due_ms: key.due_ms,
        ticket: records << TICKET_MAX.count_ones() | key.ticket,
        place: place.0,
        len: place.1,
        partition,
    }
}

pub(super) fn key_of(entry: &WheelEntry) -> DelayKey {
    DelayKey {
        due_ms: entry.due_ms,
        ticket: entry.ticket & TICKET_MAX,
    }
}

/// What an entry stands for.
pub(super) fn count_of(entry: &WheelEntry) -> DelayCount {
    DelayCount {
        records: entry.ticket >> TICKET_MAX.count_ones(),
        bytes: entry.len.into(),
    }
}

/// Partitions by number. A number stays with a partition for as long as the store is open.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    numbers: HashMap<PartitionId, u32>,
    pub(super) states: Vec<PartitionState>,
    /// What is pending for each topic: the sum over its partitions.
    topics: HashMap<Uuid, DelayCount>,
}

impl Partitions {
    pub(super) fn find(&self, id: PartitionId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// The number of a partition, and whether it is new.
    pub(super) fn number(&mut self, id: PartitionId) -> (u32, bool) {
        if let Some(number) = self.find(id) {
            return (number, false);
        }
        let number = u32::try_from(self.states.len()).expect("fewer partitions than 2^32");
        self.numbers.insert(id, number);
        self.states.push(PartitionState::new(id));
        (number, true)
    }

    pub(super) fn get(&self, number: u32) -> &PartitionState {
        &self.states[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut PartitionState {
        &mut self.states[number as usize]
    }

    /// What is pending for a topic.
    pub(super) fn pending_of(&self, topic_id: Uuid) -> DelayCount {
        self.topics.get(&topic_id).copied().unwrap_or_default()
    }

    /// What is pending for each topic that exists.
    pub(super) fn pending_topics(&self) -> impl Iterator<Item = (Uuid, DelayCount)> {
        self.topics
            .iter()
            .map(|(topic_id, count)| (*topic_id, *count))
    }

    /// Adds up what is pending for each topic.
    pub(super) fn count_topics(&mut self) {
        self.topics.clear();
        for state in self.states.iter().filter(|state| !state.gone) {
            let topic = self.topics.entry(state.id.topic_id).or_default();
            topic.join(state.pending);
        }
    }

    /// A record of the partition is pending.
    pub(super) fn count_in(&mut self, number: u32, count: DelayCount) {
        let state = self.get_mut(number);
        state.pending.join(count);
        let topic_id = state.id.topic_id;
        self.topics.entry(topic_id).or_default().join(count);
    }

    /// Notes where nothing is pending any more that is due late: nothing in the store is due after `latest_ms`.
    pub(super) fn forget_latest(&mut self, latest_ms: u64) {
        for state in &mut self.states {
            state.latest_ms = match state.is_empty_durably() {
                true => 0,
                false => state.latest_ms.min(latest_ms),
            };
        }
    }

    /// Nothing that is out of the wheel, or that a power cut could make pending again, is due later; ms since 1970.
    pub(super) fn latest_ms(&self) -> u64 {
        let states = self.states.iter().filter(|state| !state.gone);
        let latest = states.flat_map(|state| {
            let entries = [state.in_flight.back(), state.ready.back()];
            let due = entries.into_iter().flatten().map(|entry| entry.due_ms);
            due.chain([state.handed.due_ms])
        });
        latest.max().unwrap_or(0)
    }

    /// Records of the partition, which does not count them any more, are not pending.
    pub(super) fn count_out(&mut self, number: u32, count: DelayCount) {
        let topic_id = self.get(number).id.topic_id;
        if let Some(topic) = self.topics.get_mut(&topic_id) {
            topic.remove(count);
        }
    }

    /// Forgets a topic; how many entries of its partitions were out of the wheel.
    pub(super) fn forget_topic(&mut self, topic_id: Uuid) -> usize {
        let mut dropped = 0;
        for state in &mut self.states {
            if state.id.topic_id == topic_id {
                state.gone = true;
                dropped += state.ready.len() + state.in_flight.len();
                state.ready.clear();
                state.in_flight.clear();
                state.buried.clear();
                state.pending = DelayCount::default();
            }
        }
        self.topics.remove(&topic_id);
        dropped
    }

    /// Up to which key a partition was delivered for good; `None` where it is gone.
    pub(super) fn passed(&self, number: u32) -> Option<DelayKey> {
        let state = self.get(number);
        (!state.gone).then_some(state.durable)
    }
}
