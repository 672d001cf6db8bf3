use super::*;

fn shape(size: ValueSize) -> RecordShape {
    RecordShape {
        size,
        random_ratio: 0.5,
        keyed: false,
        batch_bytes: 4096,
        compression: Compression::None,
        seed: 7,
    }
}

fn parse(batch: Bytes) -> Vec<tidewheel_protocol::Record> {
    let batch = RecordBatch::parse(batch).unwrap();
    let records = batch.records(1 << 24).unwrap();
    records.map(|record| record.unwrap()).collect()
}

#[test]
fn batches_of_any_count_are_whole_and_fit() {
    for size in [ValueSize::Fixed(100), ValueSize::Uniform(1, 300)] {
        let mut maker = BatchMaker::new(&shape(size)).unwrap();
        assert!(maker.capacity() > 10);
        for count in 1..=maker.capacity() {
            let batch = maker.plain(count, 1_700_000_000_000).unwrap();
            assert!(batch.len() <= 4096);
            let records = parse(batch);
            assert_eq!(records.len(), count);
            assert_eq!(records[0].timestamp, 1_700_000_000_000);
            let bytes: usize = records
                .iter()
                .map(|record| record.value.as_ref().unwrap().len())
                .sum();
            assert_eq!(bytes as u64, maker.value_bytes(count));
        }
    }
}

#[test]
fn a_value_longer_than_a_batch_is_sent_alone() {
    let mut maker = BatchMaker::new(&shape(ValueSize::Fixed(10_000))).unwrap();
    assert_eq!(maker.capacity(), 1);
    assert_eq!(parse(maker.plain(1, 0).unwrap()).len(), 1);
}

#[test]
fn keys_and_stamps_are_put_in_their_places() {
    for compression in Compression::ALL {
        let keyed = RecordShape {
            keyed: true,
            compression,
            ..shape(ValueSize::Uniform(16, 200))
        };
        let maker = BatchMaker::new(&keyed).unwrap();
        let mark = |at: u64| Mark {
            due: 1000 + at,
            key: u32::try_from(at * 3).ok(),
        };
        let marks: Vec<Mark> = (0..maker.capacity() as u64).map(mark).collect();
        let batch = maker.marked(marks.into_iter(), Some(99), 5).unwrap();
        for (at, record) in (0_u64..).zip(parse(batch)) {
            let number = u32::try_from(at * 3).unwrap();
            assert_eq!(record.key.as_deref(), Some(&key(number)[..]));
            let value = record.value.unwrap();
            assert_eq!(value[..8], 99_u64.to_be_bytes());
            assert_eq!(value[8..16], (1000 + at).to_be_bytes());
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_batches() {
    let make = |seed| {
        let seeded = RecordShape {
            seed,
            ..shape(ValueSize::Uniform(1, 300))
        };
        BatchMaker::new(&seeded).unwrap().plain(9, 0).unwrap()
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
}

#[test]
fn a_batch_is_used_again_for_a_second() {
    let mut maker = BatchMaker::new(&shape(ValueSize::Fixed(100))).unwrap();
    let first = maker.plain(3, 10_000).unwrap();
    assert_eq!(maker.plain(3, 10_999).unwrap().as_ptr(), first.as_ptr());
    let later = maker.plain(3, 11_000).unwrap();
    assert_eq!(parse(later)[0].timestamp, 11_000);
}
