use proptest::prelude::*;

use super::*;

const BASE: i64 = 1000;

/// Batches of `(records, bytes, max timestamp)` in a row.
fn batches(specs: &[(i64, u32, i64)]) -> Vec<IndexedBatch> {
    let (mut offset, mut position) = (BASE, 0);
    let mut batches = Vec::new();
    for &(records, size, max_timestamp) in specs {
        offset += records;
        batches.push(IndexedBatch {
            last_offset: offset - 1,
            position,
            size,
            max_timestamp,
        });
        position += size;
    }
    batches
}

fn built(batches: &[IndexedBatch], interval_bytes: u32) -> ActiveIndex {
    let mut index = ActiveIndex::new(BASE);
    for batch in batches {
        index.batch_appended(batch, interval_bytes);
    }
    index
}

fn entry(offset: i64, position: u32) -> OffsetPosition {
    OffsetPosition { offset, position }
}

fn time(timestamp: i64, offset: i64) -> TimestampOffset {
    TimestampOffset { timestamp, offset }
}

#[test]
fn entries_come_after_more_than_the_interval_and_never_for_the_first_batch() {
    let specs = [
        (10, 100, 5),
        (10, 100, 4),
        (10, 101, 9),
        (5, 300, 9),
        (1, 10, 7),
    ];
    let mut index = built(&batches(&specs), 200);
    let offsets: Vec<_> = (0..9)
        .map_while(|at| index.offset_index().entry(at))
        .collect();
    assert_eq!(offsets, [entry(1034, 301), entry(1035, 601)]);
    let times: Vec<_> = (0..9)
        .map_while(|at| index.time_index().entry(at))
        .collect();
    assert_eq!(times, [time(9, 1029)], "the timestamp stood still");
    assert_eq!(index.max_timestamp(), time(9, 1029));
    index.batch_appended(
        &IndexedBatch {
            last_offset: 1040,
            position: 611,
            size: 9,
            max_timestamp: 20,
        },
        200,
    );
    index.seal();
    index.seal();
    assert_eq!(
        index.time_index().len(),
        2,
        "sealing adds the largest timestamp once"
    );
    assert_eq!(index.time_index().last(), Some(time(20, 1040)));
}

#[test]
fn look_ups_give_the_last_entry_at_or_before() {
    let index = built(&batches(&[(10, 100, 50), (10, 100, 60), (10, 100, 70)]), 50);
    let cases = [
        (0, entry(BASE, 0)),
        (1018, entry(BASE, 0)),
        (1019, entry(1019, 100)),
        (1028, entry(1019, 100)),
        (9999, entry(1029, 200)),
    ];
    for (offset, answer) in cases {
        assert_eq!(index.lookup(offset), answer, "offset {offset}");
    }
    let cases = [
        (59, time(NO_TIMESTAMP, BASE)),
        (60, time(60, 1019)),
        (69, time(60, 1019)),
        (i64::MAX, time(70, 1029)),
    ];
    for (timestamp, answer) in cases {
        assert_eq!(
            index.lookup_timestamp(timestamp),
            answer,
            "timestamp {timestamp}"
        );
    }
}

#[test]
fn batches_without_timestamps_get_no_time_entry() {
    let mut index = built(&batches(&[(1, 100, -1), (1, 100, -1), (1, 100, -1)]), 0);
    index.seal();
    assert_eq!(index.offset_index().len(), 2);
    assert!(index.time_index().is_empty());
}

#[test]
fn files_that_contradict_themselves_are_refused() {
    let index = built(
        &batches(&[(1, 10, 1), (1, 10, 2), (1, 10, 3), (1, 10, 4)]),
        0,
    );
    let offsets = index.unwritten_offsets().bytes;
    let times = index.unwritten_times().bytes;
    OffsetIndex::open(BASE, offsets, 40)
        .unwrap()
        .check()
        .unwrap();
    TimeIndex::open(BASE, times).unwrap().check().unwrap();
    assert!(
        OffsetIndex::open(BASE, &offsets[..offsets.len() - 1], 40).is_err(),
        "cut"
    );
    assert!(
        TimeIndex::open(BASE, &times[..times.len() - 1]).is_err(),
        "cut"
    );
    assert!(
        OffsetIndex::open(BASE, offsets, 30).is_err(),
        "beyond the log"
    );
    let zeros = [offsets, &[0; 16]].concat();
    assert!(
        OffsetIndex::open(BASE, &zeros, 40).is_err(),
        "zeros at the end"
    );
    assert!(OffsetIndex::open(BASE, &[0; 8], 40).is_err(), "zeros alone");
    let zeros = [times, &[0; 12]].concat();
    assert!(TimeIndex::open(BASE, &zeros).is_err(), "zeros at the end");
    let middle = [&offsets[..8], &[0; 8], &offsets[16..]].concat();
    let found = OffsetIndex::open(BASE, &middle, 40).unwrap().check();
    assert_eq!(
        found,
        Err(IndexError {
            entry: 1,
            reason: "does not rise"
        })
    );
    let middle = [&times[..12], &[0; 12], &times[24..]].concat();
    assert!(TimeIndex::open(BASE, &middle).unwrap().check().is_err());
}

#[test]
fn a_full_index_asks_for_a_roll_and_keeps_room_for_the_last_time_entry() {
    let specs: Vec<_> = (0..10).map(|at| (1, 10, at)).collect();
    let index = built(&batches(&specs), 0);
    assert_eq!(
        (index.offset_index().len(), index.time_index().len()),
        (9, 9)
    );
    assert!(!index.is_full(11 * 12));
    assert!(index.is_full(11 * 12 - 1));
    assert!(index.is_full(9 * 8));
}

#[test]
fn offsets_fit_up_to_two_to_the_31() {
    assert!(offset_fits(5, 5 + i64::from(i32::MAX)));
    assert!(!offset_fits(5, 6 + i64::from(i32::MAX)));
    assert!(!offset_fits(5, 4));
    assert!(!offset_fits(i64::MIN, i64::MAX));
}

#[test]
fn only_what_the_files_lack_is_written() {
    let all = batches(&[(1, 10, 1), (1, 10, 2), (1, 10, 3)]);
    let mut index = built(&all[..2], 0);
    assert_eq!(index.unwritten_offsets().bytes.len(), 8);
    index.mark_written(8, 12);
    assert!(index.unwritten_offsets().bytes.is_empty());
    index.batch_appended(&all[2], 0);
    assert_eq!(
        (
            index.unwritten_offsets().position,
            index.unwritten_times().position
        ),
        (8, 12)
    );
    assert_eq!(index.unwritten_times().bytes.len(), 12);
}

prop_compose! {
    fn any_batches()(
        specs in prop::collection::vec((1..20_i64, 61..500_u32, -1..50_i64), 1..60),
    ) -> Vec<IndexedBatch> {
        batches(&specs)
    }
}

proptest! {
    #[test]
    fn every_look_up_starts_at_a_batch_at_or_before_the_one_wanted(
        batches in any_batches(), interval in 0..1000_u32,
    ) {
        let mut index = built(&batches, interval);
        index.seal();
        let mut first_offset = BASE;
        for batch in &batches {
            for offset in [first_offset, batch.last_offset] {
                let start = index.lookup(offset).position;
                prop_assert!(start <= batch.position);
                prop_assert!(batches.iter().any(|batch| batch.position == start));
            }
            first_offset = batch.last_offset + 1;
        }
        for timestamp in -1..52 {
            let from = index.lookup_timestamp(timestamp).offset;
            let first = batches.iter().find(|batch| batch.max_timestamp >= timestamp);
            if let Some(first) = first {
                prop_assert!(from <= first.last_offset, "timestamp {}", timestamp);
            }
        }
    }

    #[test]
    fn recovery_from_files_that_a_crash_left_rebuilds_the_same_index(
        batches in any_batches(),
        interval in 0..1000_u32,
        trusted in any::<prop::sample::Index>(),
        offsets_cut in any::<prop::sample::Index>(),
        times_cut in any::<prop::sample::Index>(),
        holes in any::<[prop::sample::Index; 2]>(),
        zeros in 0..40_usize,
    ) {
        let mut expected = built(&batches, interval);
        expected.seal();
        let trusted = &batches[trusted.index(batches.len())];
        let before = batches.iter().take_while(|batch| batch.position < trusted.position);
        let durable = built(&before.copied().collect::<Vec<_>>(), interval);
        // What lies below the trusted end was synced. After it some bytes may have survived, with
        // a hole and zeros at the end. Both begin and end with a sector, which splits no offset
        // entry, and a time entry only at a multiple of four bytes.
        let survived = |expected: &[u8], durable: &[u8], cut: prop::sample::Index, step: usize| {
            let len = (cut.index(expected.len() + 1) / step * step).max(durable.len());
            let mut file = expected[..len].to_vec();
            let hole = holes.map(|at: prop::sample::Index| (at.index(len + 1) / step * step).max(durable.len()));
            file[hole[0].min(hole[1])..hole[0].max(hole[1])].fill(0);
            file.resize(len + zeros, 0);
            file
        };
        let offsets = survived(
            expected.unwritten_offsets().bytes,
            durable.unwritten_offsets().bytes,
            offsets_cut,
            8,
        );
        let times =
            survived(expected.unwritten_times().bytes, durable.unwritten_times().bytes, times_cut, 4);
        let first = batches.iter().take_while(|batch| batch.position < trusted.position).last();
        let end = entry(first.map_or(BASE, |batch| batch.last_offset + 1), trusted.position);
        let mut index = ActiveIndex::restore(BASE, &offsets, &times, end);
        let resume = index.resume_position();
        prop_assert!(resume <= trusted.position);
        let kept_offsets = index.unwritten_offsets().position;
        let kept_times = index.unwritten_times().position;
        for batch in batches.iter().filter(|batch| batch.position >= resume) {
            index.batch_appended(batch, interval);
        }
        index.seal();
        let whole = |file: &[u8], kept: u64, added: &[u8]| {
            [&file[..usize::try_from(kept).unwrap()], added].concat()
        };
        let rebuilt = whole(&offsets, kept_offsets, index.unwritten_offsets().bytes);
        prop_assert_eq!(rebuilt, expected.unwritten_offsets().bytes);
        let rebuilt = whole(&times, kept_times, index.unwritten_times().bytes);
        prop_assert_eq!(rebuilt, expected.unwritten_times().bytes);
    }
}

/// Found by fuzzing recovery: a damaged header below the recovery point may say any last offset.
#[test]
fn an_offset_that_does_not_fit_gets_no_entry() {
    let mut index = built(&batches(&[(10, 100, 5)]), 0);
    let far = IndexedBatch {
        last_offset: BASE + (1 << 31),
        position: 100,
        size: 100,
        max_timestamp: 9,
    };
    index.batch_appended(&far, 0);
    index.seal();
    assert!(index.offset_index().is_empty() && index.time_index().is_empty());
}
