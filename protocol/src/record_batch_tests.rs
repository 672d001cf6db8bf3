use super::*;
use crate::record_batch_builder::RecordBatchBuilder;

fn batch() -> RecordBatch {
    RecordBatchBuilder::new()
        .base_offset(100)
        .partition_leader_epoch(3)
        .producer(7, 1, 40)
        .record(1_000, Some(b"a"), Some(b"1"))
        .record(1_500, None, Some(b"2"))
        .record(1_200, Some(b"c"), None)
        .build()
        .unwrap()
}

/// The batch with one header field changed and the CRC made right again.
fn changed(change: impl FnOnce(&mut BatchHeader)) -> BatchHeader {
    let mut header = batch().header;
    change(&mut header);
    header
}

#[test]
fn headers_come_back() {
    let batch = batch();
    let header = BatchHeader::parse(&batch.bytes).unwrap();
    assert_eq!(header, batch.header);
    assert_eq!(header.encode(), batch.bytes[..BatchHeader::LEN]);
    assert_eq!(RecordBatch::parse(batch.bytes.clone()), Ok(batch));
}

#[test]
fn derived_fields_follow_kafkas_rules() {
    let header = batch().header;
    assert_eq!(header.size_in_bytes(), batch().bytes.len());
    assert_eq!((header.last_offset(), header.next_offset()), (102, 103));
    assert_eq!(
        (header.base_timestamp, header.max_timestamp),
        (1_000, 1_500)
    );
    assert_eq!((header.record_count, header.last_offset_delta), (3, 2));
    assert_eq!(header.last_sequence(), 42);
    // After 2^31 - 1 comes 0.
    let sequence = |base| changed(|header| header.base_sequence = base).last_sequence();
    assert_eq!(sequence(i32::MAX - 2), i32::MAX);
    assert_eq!(sequence(i32::MAX - 1), 0);
    assert_eq!(sequence(i32::MAX), 1);
    assert_eq!(sequence(-1), -1);
}

#[test]
fn attributes_are_independent_bits() {
    let of = |attributes| changed(|header| header.attributes = attributes);
    let flags = |header: &BatchHeader| {
        let log_append = header.timestamp_type() == TimestampType::LogAppendTime;
        let horizon = header.has_delete_horizon();
        (
            log_append,
            header.is_transactional(),
            header.is_control(),
            horizon,
        )
    };
    assert_eq!(flags(&of(0)), (false, false, false, false));
    assert_eq!(flags(&of(0b0_1000)), (true, false, false, false));
    assert_eq!(flags(&of(0b1_0000)), (false, true, false, false));
    assert_eq!(flags(&of(0b10_0000)), (false, false, true, false));
    assert_eq!(flags(&of(0b100_0000)), (false, false, false, true));
    assert_eq!(of(0b111_1100).compression(), Ok(Compression::Zstd));
    assert!(of(0b101).compression().is_err());
}

#[test]
fn extreme_header_values_do_not_overflow() {
    for value in [i64::MIN, -1, 0, i64::MAX] {
        for delta in [i32::MIN, -1, i32::MAX] {
            let header = changed(|header| {
                header.base_offset = value;
                header.last_offset_delta = delta;
                header.batch_length = delta;
                header.base_sequence = delta;
            });
            assert!(header.last_offset() <= header.next_offset());
            assert!((-1..=i32::MAX).contains(&header.last_sequence()));
            assert!(header.size_in_bytes() <= (1 << 31) + 11);
        }
    }
}

#[test]
fn a_change_anywhere_under_the_crc_is_noticed() {
    let batch = batch();
    for position in 0..batch.bytes.len() {
        for bit in 0..8 {
            let mut bytes = batch.bytes.to_vec();
            bytes[position] ^= 1 << bit;
            let result = RecordBatch::parse(Bytes::from(bytes));
            // Offset and leader epoch are stamped by the broker, so the CRC leaves them out.
            let uncovered = position < 8 || (12..16).contains(&position);
            assert_eq!(result.is_ok(), uncovered, "byte {position} bit {bit}");
        }
    }
}

#[test]
fn only_exactly_one_batch_is_taken() {
    let batch = batch();
    let len = batch.bytes.len();
    for cut in 0..len {
        let result = RecordBatch::parse(batch.bytes.slice(..cut));
        if cut < BatchHeader::LEN {
            assert_eq!(result, Err(BatchError::TooShort(cut)));
        } else {
            assert_eq!(
                result,
                Err(BatchError::Cut {
                    announced: len,
                    actual: cut
                })
            );
        }
    }
    let two = Bytes::from([&batch.bytes[..], &batch.bytes[..]].concat());
    assert_eq!(RecordBatch::parse(two), Err(BatchError::TrailingBytes(len)));
}

#[test]
fn lengths_and_magics_that_no_batch_has_are_refused() {
    let parse = |header: BatchHeader| BatchHeader::parse(&header.encode());
    for length in [i32::MIN, -1, 0, 48] {
        let header = changed(|header| header.batch_length = length);
        assert_eq!(parse(header), Err(BatchError::InvalidLength(length)));
    }
    assert!(parse(changed(|header| header.batch_length = 49)).is_ok());
    for magic in [-1, 0, 1, 3] {
        let header = changed(|header| header.magic = magic);
        assert_eq!(parse(header), Err(BatchError::UnsupportedMagic(magic)));
    }
    // The zeros at the end of a file whose space was allotted but not written.
    assert!(BatchHeader::parse(&[0; 100]).is_err());
}

#[test]
fn gotcha_22_a_patched_prefix_moves_a_batch_without_breaking_its_crc() {
    let batch = batch();
    let mut bytes = batch.bytes.to_vec();
    bytes[..16].copy_from_slice(&batch.patched_prefix(1 << 40, 9));
    let moved = RecordBatch::parse(Bytes::from(bytes)).unwrap();
    let expected = BatchHeader {
        base_offset: 1 << 40,
        partition_leader_epoch: 9,
        ..batch.header
    };
    assert_eq!(moved.header, expected);
    let offsets = moved
        .records(0)
        .unwrap()
        .map(|record| record.unwrap().offset);
    assert_eq!(
        offsets.collect::<Vec<_>>(),
        [1 << 40, (1 << 40) + 1, (1 << 40) + 2]
    );
}

#[test]
fn gotcha_22_log_append_time_is_stamped_with_a_new_crc() {
    let batch = batch();
    let stamped = batch.with_log_append_time(5_000);
    assert_eq!(
        RecordBatch::parse(stamped.bytes.clone()),
        Ok(stamped.clone())
    );
    assert_eq!(
        stamped.header.timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(stamped.header.max_timestamp, 5_000);
    assert_eq!(stamped.header.base_timestamp, batch.header.base_timestamp);
    assert_eq!(stamped.records_bytes(), batch.records_bytes());
    assert!(
        stamped
            .records(0)
            .unwrap()
            .all(|record| record.unwrap().timestamp == 5_000)
    );
}

#[test]
fn batches_end_at_a_cut_one_and_stop_at_a_broken_one() {
    let batch = batch();
    let len = batch.bytes.len();
    let three = Bytes::from([&batch.bytes[..], &batch.bytes[..], &batch.bytes[..]].concat());
    for cut in 0..=three.len() {
        let found = Batches::new(three.slice(..cut)).map(|found| found.unwrap() == batch);
        assert_eq!(
            found.collect::<Vec<_>>(),
            vec![true; cut / len],
            "cut at {cut}"
        );
    }
    let mut broken = three.to_vec();
    broken[2 * len - 1] ^= 1;
    let mut found = Batches::new(Bytes::from(broken));
    assert_eq!(found.next(), Some(Ok(batch)));
    assert!(matches!(found.next(), Some(Err(BatchError::Crc { .. }))));
    assert_eq!(found.next(), None);
}

#[test]
fn batches_are_slices_of_what_they_came_in() {
    let bytes = Bytes::from([&batch().bytes[..], &batch().bytes[..]].concat());
    let second = Batches::new(bytes.clone()).nth(1).unwrap().unwrap();
    assert_eq!(second.bytes.as_ptr(), bytes[batch().bytes.len()..].as_ptr());
}
