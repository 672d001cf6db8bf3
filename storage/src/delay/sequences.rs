//! The sequence numbers of idempotent producers, some of whose batches go to a partition's log and some to
//! the delay log. While the broker runs the partition knows both, in the order in which they came. A start
//! brings those of the log back from the log, and then those of the delay log from there.

use super::producers::DelayedProducerBatch;
use super::record::ProducerStamp;
use crate::producer_state::{
    PRODUCER_BATCHES_MAX, ProducerBatch, ProducerState, sequence_after, sequence_before,
};

/// Notes a batch that has no offset yet.
pub(crate) fn note_delayed(state: &mut ProducerState, batch: &DelayedProducerBatch) {
    let DelayedProducerBatch { stamp, accepted_ms } = *batch;
    let noted = ProducerBatch {
        last_sequence: stamp.last_sequence,
        last_offset: -1,
        offset_delta: distance(stamp.first_sequence, stamp.last_sequence),
        append_time_ms: accepted_ms,
    };
    state.note(stamp.producer_id, stamp.epoch, noted);
}

/// Notes those batches that follow what the log says, each in its turn; `batches` is ordered by age within
/// a producer. After a power cut the log may have lost what came between it and a delayed batch: that one
/// is left out, so that its producer can send again what is missing.
pub(crate) fn merge_delayed(state: &mut ProducerState, batches: &[DelayedProducerBatch]) {
    let same = |a: &DelayedProducerBatch, b: &DelayedProducerBatch| {
        a.stamp.producer_id == b.stamp.producer_id
    };
    for of_producer in batches.chunk_by(same) {
        for (index, batch) in of_producer.iter().enumerate() {
            // Of a producer with so many there may have been more, which nobody remembers.
            let first_known = index == 0 && of_producer.len() == PRODUCER_BATCHES_MAX;
            if follows(state, &batch.stamp, first_known) {
                note_delayed(state, batch);
            }
        }
    }
}

fn follows(state: &ProducerState, stamp: &ProducerStamp, first_known: bool) -> bool {
    let Some(entry) = state.get(stamp.producer_id) else {
        return true;
    };
    if entry.batches().is_empty() || stamp.epoch != entry.epoch {
        return stamp.epoch >= entry.epoch;
    }
    let ahead = distance(sequence_after(entry.last_sequence()), stamp.first_sequence);
    // Half of all numbers lie ahead, the others behind.
    ahead == 0 || (first_known && ahead < 1 << 30)
}

/// Steps from one sequence number to a later one.
fn distance(from: i32, to: i32) -> i32 {
    sequence_before(to, from)
}

#[cfg(test)]
mod tests {
    use tidewheel_protocol::{BatchHeader, RecordBatchBuilder};

    use super::*;
    use crate::producer_state::SequenceCheck;

    const NOW: i64 = 1_700_000_000_000;

    fn header(epoch: i16, first: i32, count: i32) -> BatchHeader {
        let builder = (0..count).fold(RecordBatchBuilder::new(), |builder, _| {
            builder.record(NOW, None, None)
        });
        builder.producer(7, epoch, first).build().unwrap().header
    }

    fn delayed(epoch: i16, first: i32, count: i32) -> DelayedProducerBatch {
        DelayedProducerBatch {
            stamp: ProducerStamp::of(&header(epoch, first, count)).unwrap(),
            accepted_ms: NOW,
        }
    }

    fn check(state: &ProducerState, first: i32, count: i32) -> Option<SequenceCheck> {
        state.check(&header(0, first, count), NOW).ok()
    }

    #[test]
    fn a_delayed_batch_takes_its_place_and_is_known_without_an_offset() {
        let mut state = ProducerState::default();
        state.update(&header(0, i32::MAX, 1), NOW);
        note_delayed(&mut state, &delayed(0, 0, 3));
        let again = SequenceCheck::Duplicate {
            base_offset: -1,
            last_offset: -1,
            append_time_ms: NOW,
        };
        assert_eq!(check(&state, 0, 3), Some(again));
        assert_eq!(check(&state, 3, 1), Some(SequenceCheck::New));
        assert_eq!(check(&state, 4, 1), None);
        let saved = state.of_log();
        assert_eq!(saved.len(), 1);
        assert_eq!(saved[0].1.batches().len(), 1, "the log does not hold it");
        let mut only_delayed = ProducerState::default();
        note_delayed(&mut only_delayed, &delayed(0, 0, 3));
        assert!(only_delayed.of_log().is_empty());
    }

    #[test]
    fn a_start_brings_back_what_follows_and_nothing_behind_a_hole() {
        let after = |log: &[(i32, i32)], from_delay: &[DelayedProducerBatch]| {
            let mut state = ProducerState::default();
            for (first, count) in log {
                state.update(&header(0, *first, *count), NOW);
            }
            merge_delayed(&mut state, from_delay);
            state
                .get(7)
                .map(|entry| (entry.epoch, entry.last_sequence()))
        };
        let (zero, two) = (delayed(0, 0, 2), delayed(0, 2, 1));
        assert_eq!(after(&[], &[zero, two]), Some((0, 2)));
        // Those between them are in the log.
        assert_eq!(
            after(&[(1, 1), (3, 1)], &[delayed(0, 0, 1), two]),
            Some((0, 3))
        );
        assert_eq!(after(&[(0, 2)], &[two, delayed(0, 3, 1)]), Some((0, 3)));
        // 2 was lost.
        assert_eq!(after(&[(0, 2)], &[delayed(0, 3, 1)]), Some((0, 1)));
        // Of five there were more before them.
        let five: Vec<_> = (10..15).map(|first| delayed(0, first, 1)).collect();
        assert_eq!(after(&[(0, 2)], &five), Some((0, 14)));
        assert_eq!(after(&[(0, 2)], &[delayed(1, 0, 1)]), Some((1, 0)));
    }
}
