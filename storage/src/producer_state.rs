//! What a partition knows of its idempotent producers: enough to recognise a batch that came
//! before, and one that came too early.
//!
//! Per producer id it keeps the epoch and the last five batches. A producer is forgotten when it
//! has appended nothing for `producer.id.expiration.ms`, measured by the time of the append: a
//! producer that replays old records stays known. An unknown producer may start at any sequence
//! number, because retention may have removed all it wrote.
//!
//! The state changes only with the log: [`ProducerState::check`] before a batch is written,
//! [`ProducerState::update`] once it is. It is saved by [`crate::producer_snapshot`].

use std::collections::HashMap;

use tidewheel_protocol::{BatchHeader, TimestampType};

use crate::error::StorageError;

/// Batches kept per producer: a client has at most five unanswered requests on a connection.
pub const PRODUCER_BATCHES_MAX: usize = 5;
/// Producers kept per partition; beyond it those that were idle longest are forgotten.
pub const PRODUCERS_MAX: usize = 10_000;
/// Kafka's default of `producer.id.expiration.ms`: one day.
pub const PRODUCER_ID_EXPIRATION_MS: i64 = 86_400_000;

/// `producer_id` of a batch without an idempotent producer.
pub const NO_PRODUCER_ID: i64 = -1;

/// A batch that a producer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence number of the last record.
    pub last_sequence: i32,
    /// Offset of the last record; -1 for a batch that went to the delay log, which snapshots leave out.
    pub last_offset: i64,
    /// Last offset minus first offset; the sequence numbers span as much.
    pub offset_delta: i32,
    /// When it was appended, ms since 1970.
    pub append_time_ms: i64,
}

impl ProducerBatch {
    /// Sequence number of the first record.
    #[must_use]
    pub fn first_sequence(&self) -> i32 {
        sequence_before(self.last_sequence, self.offset_delta)
    }

    /// Offset of the first record; -1 for a batch that went to the delay log.
    #[must_use]
    pub fn first_offset(&self) -> i64 {
        match self.last_offset {
            ..0 => -1,
            last => last - i64::from(self.offset_delta),
        }
    }
}

/// One producer as the partition knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The latest epoch.
    pub epoch: i16,
    /// When it last appended, ms since 1970.
    pub last_append_ms: i64,
    /// Its last batches of this epoch, oldest first, at most [`PRODUCER_BATCHES_MAX`].
    batches: Vec<ProducerBatch>,
}

impl ProducerEntry {
    /// An entry with these batches, oldest first; all but the last
    /// [`PRODUCER_BATCHES_MAX`] are dropped.
    #[must_use]
    pub fn new(epoch: i16, last_append_ms: i64, batches: &[ProducerBatch]) -> Self {
        let skip = batches.len().saturating_sub(PRODUCER_BATCHES_MAX);
        Self {
            epoch,
            last_append_ms,
            batches: batches[skip..].to_vec(),
        }
    }

    /// Its last batches, oldest first.
    #[must_use]
    pub fn batches(&self) -> &[ProducerBatch] {
        &self.batches
    }

    /// Sequence number of its last record, -1 where that is unknown.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(-1, |batch| batch.last_sequence)
    }

    fn push(&mut self, batch: ProducerBatch) {
        if self.batches.len() == PRODUCER_BATCHES_MAX {
            self.batches.remove(0);
        }
        self.batches.push(batch);
        self.last_append_ms = batch.append_time_ms;
    }
}

/// What a batch is to the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It comes next, or has no producer: append it.
    New,
    /// It was appended before: answer with where it lies, write nothing.
    Duplicate {
        /// Offset of its first record.
        base_offset: i64,
        /// Offset of its last record.
        last_offset: i64,
        /// When it was appended, ms since 1970.
        append_time_ms: i64,
    },
}

/// The producers of one partition.
#[derive(Clone, Debug)]
pub struct ProducerState {
    producers: HashMap<i64, ProducerEntry>,
    expiration_ms: i64,
}

impl Default for ProducerState {
    fn default() -> Self {
        Self::new(PRODUCER_ID_EXPIRATION_MS)
    }
}

impl ProducerState {
    /// No producers; each is forgotten `expiration_ms` (ms) after its last append.
    #[must_use]
    pub fn new(expiration_ms: i64) -> Self {
        Self {
            producers: HashMap::new(),
            expiration_ms,
        }
    }

    /// How many producers are known, expired ones included until [`ProducerState::expire`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// What snapshots hold, by id: without batches of the delay log, which that log brings back.
    pub(crate) fn of_log(&self) -> Vec<(i64, ProducerEntry)> {
        let in_log = |entry: &ProducerEntry| {
            let batches = entry.batches.iter();
            let kept: Vec<_> = batches
                .filter(|batch| batch.last_offset >= 0)
                .copied()
                .collect();
            (!kept.is_empty() || entry.batches.is_empty())
                .then(|| ProducerEntry::new(entry.epoch, entry.last_append_ms, &kept))
        };
        let all = self.sorted().into_iter();
        all.filter_map(|(id, entry)| Some((id, in_log(entry)?)))
            .collect()
    }

    /// The producer with this id.
    #[must_use]
    pub fn get(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// All producers by id, in ascending order.
    #[must_use]
    pub fn sorted(&self) -> Vec<(i64, &ProducerEntry)> {
        let mut all: Vec<_> = self
            .producers
            .iter()
            .map(|(id, entry)| (*id, entry))
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Takes over a producer from a snapshot.
    pub fn insert(&mut self, producer_id: i64, entry: ProducerEntry) {
        self.producers.insert(producer_id, entry);
        self.evict();
    }

    /// Whether the batch may be appended. Changes nothing; `now_ms` is the time of the append.
    ///
    /// # Errors
    /// `InvalidProducerEpoch` for an epoch older than the known one; `OutOfOrderSequence` where
    /// the batch does not follow the last one, or a new epoch does not start at 0.
    pub fn check(&self, header: &BatchHeader, now_ms: i64) -> Result<SequenceCheck, StorageError> {
        let producer_id = header.producer_id;
        if producer_id <= NO_PRODUCER_ID {
            return Ok(SequenceCheck::New);
        }
        let known = self
            .producers
            .get(&producer_id)
            .filter(|entry| !self.expired(entry, now_ms));
        let Some(entry) = known else {
            return Ok(SequenceCheck::New);
        };
        if header.producer_epoch < entry.epoch {
            return Err(StorageError::InvalidProducerEpoch {
                producer_id,
                current: entry.epoch,
                found: header.producer_epoch,
            });
        }
        let found = header.base_sequence;
        let expected = if header.producer_epoch > entry.epoch {
            0
        } else {
            if let Some(batch) = find_duplicate(entry, header) {
                return Ok(SequenceCheck::Duplicate {
                    base_offset: batch.first_offset(),
                    last_offset: batch.last_offset,
                    append_time_ms: batch.append_time_ms,
                });
            }
            sequence_after(entry.last_sequence())
        };
        if found == expected {
            return Ok(SequenceCheck::New);
        }
        Err(StorageError::OutOfOrderSequence {
            producer_id,
            expected,
            found,
        })
    }

    /// Notes a batch that was found in the log. When it was appended is known only where it says so
    /// itself; otherwise it counts as new at `now_ms` (ms since 1970): a producer is then known longer
    /// than it must be, never shorter.
    pub fn replay(&mut self, header: &BatchHeader, now_ms: i64) {
        // A batch that compaction left without records says nothing about time.
        let append_time_ms = match header.timestamp_type() {
            TimestampType::LogAppendTime if header.record_count > 0 => header.max_timestamp,
            TimestampType::LogAppendTime | TimestampType::CreateTime => now_ms,
        };
        self.update(header, append_time_ms);
    }

    /// Notes a batch that was appended at `append_time_ms` (ms since 1970); `header` carries its
    /// offsets.
    pub fn update(&mut self, header: &BatchHeader, append_time_ms: i64) {
        if header.producer_id <= NO_PRODUCER_ID {
            return;
        }
        let batch = ProducerBatch {
            last_sequence: last_sequence(header),
            last_offset: header.base_offset + i64::from(header.last_offset_delta),
            offset_delta: header.last_offset_delta,
            append_time_ms,
        };
        self.note(header.producer_id, header.producer_epoch, batch);
    }

    /// Notes a batch of a producer.
    pub(crate) fn note(&mut self, producer_id: i64, epoch: i16, batch: ProducerBatch) {
        let known = self.producers.get(&producer_id);
        let expired = known.is_some_and(|entry| self.expired(entry, batch.append_time_ms));
        let entry = self
            .producers
            .entry(producer_id)
            .or_insert_with(|| ProducerEntry {
                epoch,
                last_append_ms: batch.append_time_ms,
                batches: Vec::with_capacity(1),
            });
        if expired || entry.epoch != epoch {
            entry.epoch = epoch;
            entry.batches.clear();
        }
        entry.push(batch);
        self.evict();
    }

    /// Forgets the producers that appended nothing for the expiration time; returns how many.
    pub fn expire(&mut self, now_ms: i64) -> usize {
        let before = self.producers.len();
        let expiration_ms = self.expiration_ms;
        self.producers
            .retain(|_, entry| !is_expired(entry, now_ms, expiration_ms));
        before - self.producers.len()
    }

    fn expired(&self, entry: &ProducerEntry, now_ms: i64) -> bool {
        is_expired(entry, now_ms, self.expiration_ms)
    }

    /// Keeps the number of producers bounded. An eighth goes at once, so that the scan is paid by
    /// many new producers.
    fn evict(&mut self) {
        if self.producers.len() <= PRODUCERS_MAX {
            return;
        }
        let age = |(id, entry): (&i64, &ProducerEntry)| {
            (
                entry.last_append_ms,
                entry.batches.last().map_or(-1, |batch| batch.last_offset),
                *id,
            )
        };
        let mut ages: Vec<_> = self.producers.iter().map(age).collect();
        let (_, youngest_evicted, _) = ages.select_nth_unstable(PRODUCERS_MAX / 8);
        let youngest_evicted = *youngest_evicted;
        self.producers
            .retain(|id, entry| age((id, entry)) > youngest_evicted);
    }
}

fn is_expired(entry: &ProducerEntry, now_ms: i64, expiration_ms: i64) -> bool {
    now_ms.saturating_sub(entry.last_append_ms) >= expiration_ms
}

fn find_duplicate(entry: &ProducerEntry, header: &BatchHeader) -> Option<ProducerBatch> {
    let last = last_sequence(header);
    let same = |batch: &&ProducerBatch| {
        batch.first_sequence() == header.base_sequence && batch.last_sequence == last
    };
    entry.batches.iter().find(same).copied()
}

/// The sequence number of a batch's last record.
pub(crate) fn last_sequence(header: &BatchHeader) -> i32 {
    let last = i64::from(header.base_sequence) + i64::from(header.last_offset_delta);
    wrap(last)
}

/// The sequence number after `sequence`: 2^31-1 is followed by 0.
pub(crate) fn sequence_after(sequence: i32) -> i32 {
    wrap(i64::from(sequence) + 1)
}

pub(crate) fn sequence_before(sequence: i32, delta: i32) -> i32 {
    wrap(i64::from(sequence) - i64::from(delta))
}

/// Sequence numbers run from 0 to 2^31-1 and start again.
fn wrap(sequence: i64) -> i32 {
    // The remainder of a division by 2^31 fits.
    i32::try_from(sequence.rem_euclid(1 << 31)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn batch(producer_id: i64, epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: offset,
            batch_length: 100,
            partition_leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
        }
    }

    fn append(state: &mut ProducerState, header: BatchHeader) {
        assert_eq!(state.check(&header, NOW).unwrap(), SequenceCheck::New);
        state.update(&header, NOW);
    }

    #[test]
    fn gotcha_28_the_last_five_batches_are_recognised_and_answer_their_offsets() {
        let mut state = ProducerState::default();
        for round in 0..7 {
            append(&mut state, batch(9, 0, round * 3, 3, i64::from(round) * 10));
        }
        for round in 2..7 {
            let again = state.check(&batch(9, 0, round * 3, 3, 0), NOW).unwrap();
            let base_offset = i64::from(round) * 10;
            let answer = SequenceCheck::Duplicate {
                base_offset,
                last_offset: base_offset + 2,
                append_time_ms: NOW,
            };
            assert_eq!(again, answer);
        }
        for (sequence, count) in [(3, 3), (18, 2), (19, 2), (22, 1)] {
            let found = state.check(&batch(9, 0, sequence, count, 0), NOW);
            assert!(
                matches!(
                    found,
                    Err(StorageError::OutOfOrderSequence { expected: 21, .. })
                ),
                "sequence {sequence}: {found:?}"
            );
        }
    }

    #[test]
    fn gotcha_28_an_unknown_producer_may_start_anywhere_but_a_new_epoch_starts_at_zero() {
        let mut state = ProducerState::default();
        append(&mut state, batch(9, 4, 100, 1, 0));
        let late = state.check(&batch(9, 3, 101, 1, 0), NOW);
        assert!(matches!(
            late,
            Err(StorageError::InvalidProducerEpoch { current: 4, .. })
        ));
        let gap = state.check(&batch(9, 5, 101, 1, 0), NOW);
        assert!(matches!(
            gap,
            Err(StorageError::OutOfOrderSequence { expected: 0, .. })
        ));
        append(&mut state, batch(9, 5, 0, 1, 1));
        let old = state.check(&batch(9, 5, 100, 1, 0), NOW);
        assert!(
            old.is_err(),
            "batches of the old epoch are forgotten: {old:?}"
        );
    }

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        let mut state = ProducerState::default();
        append(&mut state, batch(9, 0, i32::MAX - 1, 4, 0));
        assert_eq!(state.get(9).unwrap().last_sequence(), 1);
        let again = state.check(&batch(9, 0, i32::MAX - 1, 4, 0), NOW).unwrap();
        assert!(matches!(
            again,
            SequenceCheck::Duplicate { base_offset: 0, .. }
        ));
        append(&mut state, batch(9, 0, 2, i32::MAX - 1, 4));
        append(&mut state, batch(9, 0, 0, 1, 9));
    }

    #[test]
    fn batches_without_a_producer_leave_no_trace() {
        let mut state = ProducerState::default();
        append(&mut state, batch(-1, -1, -1, 3, 0));
        assert!(state.is_empty());
    }

    #[test]
    fn fact_19_a_producer_expires_by_the_time_of_its_last_append() {
        let mut state = ProducerState::new(1000);
        append(&mut state, batch(9, 7, 0, 1, 0));
        let other = batch(9, 0, 55, 1, 1);
        assert!(state.check(&other, NOW + 999).is_err());
        assert_eq!(state.check(&other, NOW + 1000).unwrap(), SequenceCheck::New);
        assert_eq!(state.expire(NOW + 999), 0);
        state.update(&other, NOW + 1000);
        assert_eq!(
            state.get(9).unwrap().epoch,
            0,
            "the expired entry is replaced"
        );
        assert_eq!(state.get(9).unwrap().batches().len(), 1);
        assert_eq!(state.expire(NOW + 2000), 1);
        assert!(state.is_empty());
    }

    #[test]
    fn the_number_of_producers_is_bounded_and_the_longest_idle_go_first() {
        let mut state = ProducerState::default();
        let first = 1000;
        let count = i64::try_from(PRODUCERS_MAX).unwrap();
        for id in 0..=count {
            // The first producer stays busy.
            state.update(&batch(first, 0, 0, 1, id * 2), NOW + id);
            state.update(&batch(first + 1 + id, 0, 0, 1, id * 2 + 1), NOW + id);
            assert!(state.len() <= PRODUCERS_MAX);
        }
        assert!(state.get(first).is_some(), "a busy producer stays");
        assert!(state.get(first + 1).is_none(), "the longest idle one went");
        assert!(state.get(first + 1 + count).is_some());
        assert!(state.len() > PRODUCERS_MAX / 2);
    }

    proptest! {
        #[test]
        fn resending_any_of_the_last_five_in_any_order_never_appends_twice(
            counts in prop::collection::vec(1..50_i32, 1..20),
            start in prop_oneof![Just(0), 0..i32::MAX, Just(i32::MAX - 60)],
            resend in 0..5_usize,
        ) {
            let mut state = ProducerState::default();
            let (mut sequence, mut offset) = (start, 0_i64);
            let mut sent = Vec::new();
            for count in counts {
                let header = batch(1, 0, sequence, count, offset);
                append(&mut state, header);
                sent.push(header);
                sequence = wrap(i64::from(sequence) + i64::from(count));
                offset += i64::from(count);
            }
            let at = sent.len() - 1 - resend.min(sent.len() - 1);
            let found = state.check(&sent[at], NOW).unwrap();
            let base_offset = sent[at].base_offset;
            let same = matches!(found, SequenceCheck::Duplicate { base_offset: b, .. } if b == base_offset);
            prop_assert!(same, "{:?}", found);
        }
    }
}
