use super::super::scan::Bounds;
use super::*;

const MAX: i64 = i64::MAX;

/// Batches of `span` offsets and 100 bytes, one behind the other; `None` stands for damage of that size.
fn batches(labels: &[Option<i64>], span: i32) -> Vec<Found> {
    let positions = (0..).step_by(100);
    let all = positions.zip(labels).filter_map(|(position, label)| {
        Some(Found {
            position,
            base_offset: (*label)?,
            size: 100,
            last_offset_delta: span - 1,
            leader_epoch: 0,
            crc: 0,
            thinned: false,
            mended: false,
        })
    });
    all.collect()
}

fn place(labels: &[Option<i64>], end_offset: i64, exact: bool) -> Place {
    let bounds = Bounds {
        base_offset: 0,
        end_offset,
    };
    let len = labels.len() as u64 * 100;
    Place { bounds, len, exact }
}

fn offsets(kept: &[Kept]) -> Vec<i64> {
    kept.iter().map(|kept| kept.base_offset).collect()
}

/// What becomes of these labels of batches of ten offsets in a segment that begins at 0.
fn settled(labels: &[Option<i64>], end_offset: i64, exact: bool) -> Vec<i64> {
    let kept = settle(&batches(labels, 10), place(labels, end_offset, exact));
    offsets(&kept)
}

/// The same for batches of one offset.
fn singles(labels: &[Option<i64>], end_offset: i64) -> Vec<i64> {
    let kept = settle(&batches(labels, 1), place(labels, end_offset, true));
    offsets(&kept)
}

#[test]
fn a_label_that_rotted_is_told_by_its_neighbours() {
    for bit in 0..64 {
        for end in [30, MAX] {
            let labels = [Some(0), Some(10 ^ (1 << bit)), Some(20)];
            assert_eq!(settled(&labels, end, true), [0, 10, 20], "{labels:?} {end}");
        }
        let first = [Some(1 << bit), Some(10), Some(20)];
        assert_eq!(settled(&first, 30, true), [0, 10, 20], "{first:?}");
        let last = [Some(0), Some(10), Some(20 ^ (1 << bit))];
        assert_eq!(settled(&last, MAX, true), [0, 10, 20], "{last:?}");
        let alone = [Some(1 << bit)];
        assert_eq!(settled(&alone, MAX, true), [0], "{alone:?}");
    }
}

#[test]
fn beside_damage_a_label_is_told_by_the_other_side_or_the_next_segment() {
    let labels = [Some(0), Some(10), Some(28), None, Some(50)];
    assert_eq!(settled(&labels, MAX, true), [0, 10, 20, 50]);
    // The one behind would be three bits off.
    let labels = [Some(0), None, Some(22), Some(30)];
    assert_eq!(settled(&labels, MAX, true), [0, 20, 30]);
    let labels = [Some(0), None, Some(20), Some(14)];
    assert_eq!(settled(&labels, MAX, true), [0, 20, 30]);
    for label in [52, 4] {
        assert_eq!(settled(&[None, None, Some(label)], 30, true), [20]);
    }
}

#[test]
fn a_wrong_label_that_points_at_lost_offsets_does_not_take_them() {
    let zeroed = [0, 1, 2, 8, 4, 5, 6, 7].map(Some);
    let labels = [&zeroed[..], &[None, Some(9), Some(10)]].concat();
    assert_eq!(singles(&labels, MAX), [0, 1, 2, 4, 5, 6, 7, 9, 10]);
    let labels = [0, 1, 2, 130, 4, 5, 6, 7].map(Some);
    assert_eq!(singles(&labels, MAX), [0, 1, 2, 4, 5, 6, 7]);
}

#[test]
fn what_stands_there_twice_costs_no_good_batch() {
    let twice = [0, 10, 20, 10, 20, 30, 40].map(Some);
    for end in [50, MAX] {
        assert_eq!(settled(&twice, end, true), [0, 10, 20, 30, 40]);
    }
    let in_place_of_another = [0, 10, 20, 10, 40].map(Some);
    assert_eq!(settled(&in_place_of_another, 50, true), [0, 10, 20, 40]);
    // 8 is one bit away from the 24 of the batch whose place it has: a copy is no rotten label all the same.
    let labels = [0, 8, 16, 8, 32].map(Some);
    let kept = settle(&batches(&labels, 8), place(&labels, 40, true));
    assert_eq!(offsets(&kept), [0, 8, 16, 32]);
}

#[test]
fn batches_that_were_moved_are_put_in_order_where_one_continues_another() {
    for end in [50, MAX] {
        let labels = [0, 10, 30, 20, 40].map(Some);
        assert_eq!(settled(&labels, end, true), [0, 10, 20, 30, 40]);
    }
    assert_eq!(singles(&[0, 1, 3, 2, 4].map(Some), MAX), [0, 1, 2, 3, 4]);
    let labels = [0, 1, 6, 7, 4, 5, 2, 3, 8, 9].map(Some);
    assert_eq!(singles(&labels, MAX), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    // Of one alone nobody knows whether it was moved.
    let labels = [None, Some(20), Some(30), Some(10), Some(40)];
    assert_eq!(settled(&labels, MAX, true), [20, 30, 40]);
}

#[test]
fn in_a_compacted_segment_holes_stay_and_nothing_is_guessed() {
    assert_eq!(settled(&[0, 40, 100].map(Some), 110, false), [0, 40, 100]);
    let one_fits = [0, 10 + (1 << 30), 1000].map(Some);
    assert_eq!(settled(&one_fits, 1010, false), [0, 10, 1000]);
    let many_fit = [0, 2, 1000].map(Some);
    assert_eq!(settled(&many_fit, 1010, false), [0, 1000]);
}

/// What becomes of batches of one offset in a compacted segment, and which of them are doubtful; they stay in the order
/// of the file.
fn check_order(labels: &[i64], expected: &[i64], doubtful: &[i64]) {
    let labels: Vec<_> = labels.iter().copied().map(Some).collect();
    let end = expected.last().map_or(0, |last| last + 1);
    let kept = settle(&batches(&labels, 1), place(&labels, end, false));
    assert_eq!(offsets(&kept), expected);
    assert!(
        kept.is_sorted_by_key(|kept| kept.found.position),
        "{kept:?}"
    );
    let told = kept.iter().filter(|kept| kept.doubtful);
    let told: Vec<i64> = told.map(|kept| kept.base_offset).collect();
    assert_eq!(told, doubtful);
}

/// One of two batches has a wrong label, and both could be the one.
#[test]
fn in_a_compacted_segment_a_good_batch_is_not_lost_for_a_rotten_one_and_their_order_stays() {
    // 36 could have been 44 or 100, and 40 could have been 8 or 32.
    check_order(&[0, 40, 36, 500], &[0, 32, 36, 500], &[32, 36]);
    // The 28 was 20; it could have been 12 or 24 as well, and 25 could have been 29.
    check_order(&[0, 10, 28, 25, 40], &[0, 10, 24, 25, 40], &[24, 25]);
    // Here only the second can be wrong: no bit leads from 200 to an offset before 36.
    let labels = [0, 200, 36, 500].map(Some);
    let kept = settle(&batches(&labels, 1), place(&labels, 501, false));
    assert_eq!(offsets(&kept), [0, 200, 292, 500]);
}

#[test]
fn holes_that_no_checkpoint_knows_of_are_no_rotten_labels() {
    let labels = [0, 12, 40, 42, 56, 100].map(Some);
    assert_eq!(singles(&labels, 101), [0, 12, 40, 42, 56, 100]);
    let labels = [Some(0), Some(1), Some(3), Some(4), None, Some(9)];
    assert_eq!(singles(&labels, MAX), [0, 1, 3, 4, 9]);
}

#[test]
fn a_label_that_more_than_a_bit_of_is_gone_is_not_guessed() {
    let labels = [None, Some(0), Some(50), Some(60)];
    assert_eq!(settled(&labels, MAX, true), [50, 60]);
    // A batch of another length in the place of one says nothing against those behind it.
    let labels = [0, 10, 120, 40].map(Some);
    let mut found = batches(&labels, 10);
    found[2].last_offset_delta = 0;
    assert_eq!(
        offsets(&settle(&found, place(&labels, MAX, true))),
        [0, 10, 40]
    );
    assert_eq!(settled(&[None, Some(0), Some(30)], 40, true), [30]);
    let labels = [Some(0), Some(10), Some(45), None, Some(60)];
    assert_eq!(settled(&labels, MAX, true), [0, 10, 60]);
}

#[test]
fn bytes_that_are_gone_without_a_trace_cost_nothing_else() {
    let labels = [0, 10, 70, 80].map(Some);
    assert_eq!(settled(&labels, MAX, true), [0, 10, 70, 80]);
    // The last batches of the file are gone.
    assert_eq!(settled(&[None, Some(20)], 100, true), [20]);
}

/// Damage in front of a batch may reach into its label, up to the edge of a sector.
#[test]
fn a_label_that_straddles_the_edge_of_a_damaged_sector_is_told_by_those_behind_it() {
    let torn = |label: i64, reached: u64| {
        let position = 512 - reached;
        let mut found = batches(&[Some(0), Some(label), Some(20), Some(30)], 10);
        let positions = [0, position, position + 100, position + 200];
        for (number, (batch, position)) in (1..).zip(found.iter_mut().zip(positions)) {
            (batch.crc, batch.position) = (number, position);
        }
        let place = Place {
            len: position + 300,
            ..place(&[], MAX, true)
        };
        offsets(&settle(&found, place))
    };
    for reached in 1..=16_u64 {
        let whole = 64 - 8 * reached.min(8);
        let garbage = [0, 0x5a5a_5a5a_5a5a_5a5a, -1];
        for garbage in garbage {
            let label = match whole {
                0 => garbage,
                _ => 10 | ((garbage >> whole) << whole),
            };
            assert_eq!(torn(label, reached), [0, 10, 20, 30], "{reached} {garbage}");
        }
    }
    // Here the sector ends before the batch, or it takes more of the header than can be told.
    for reached in [17, 24] {
        assert_eq!(torn(0x5a5a_5a5a, reached), [0, 20, 30]);
    }
}
