use super::*;
use crate::compression::Compression;
use crate::record_batch_builder::RecordBatchBuilder;

fn header(key: &'static [u8], value: Option<&'static [u8]>) -> RecordHeader {
    RecordHeader {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    }
}

/// What reading a batch gives: its records, or the error that ended it.
fn read(batch: &RecordBatch) -> Result<Vec<Record>, BatchError> {
    batch.records(1 << 20)?.collect()
}

/// A batch of three records with these record bytes instead of its own.
fn with_records(records: &[u8], change: impl FnOnce(&mut BatchHeader)) -> RecordBatch {
    let mut header = three().header;
    change(&mut header);
    RecordBatch::assemble(header, records).unwrap()
}

fn three() -> RecordBatch {
    let builder = RecordBatchBuilder::new().base_offset(10);
    let builder = builder.record(1_000, Some(b"k"), Some(b"v"));
    builder
        .record(900, None, None)
        .record(2_000, Some(b""), Some(b""))
        .build()
        .unwrap()
}

#[test]
fn records_have_the_bytes_of_kafkas_format() {
    let headers = vec![header(b"h", Some(b"x")), header(b"h", None)];
    let batch = RecordBatchBuilder::new()
        .record_with_headers(1_000, Some(b"key"), Some(b"value"), headers)
        .record(1_300, None, None)
        .build()
        .unwrap();
    let first = b"\x2A\0\0\0\x06key\x0Avalue\x04\x02h\x02x\x02h\x01";
    let second = b"\x0E\0\xD8\x04\x02\x01\x01\0";
    assert_eq!(batch.records_bytes(), [&first[..], second].concat());
}

#[test]
fn gotcha_27_every_codec_keeps_keys_values_headers_and_times() {
    for codec in Compression::ALL {
        let headers = vec![
            header(b"b", Some(b"1")),
            header(b"a", None),
            header(b"b", Some(b"")),
        ];
        let batch = RecordBatchBuilder::new()
            .base_offset(500)
            .compression(codec)
            .record_with_headers(1_000, Some(b"key"), Some(&[7; 5_000]), headers.clone())
            .record(-5, None, Some(b"before the first"))
            .record(i64::MAX, Some(b"tombstone"), None)
            .build()
            .unwrap();
        let batch = RecordBatch::parse(batch.bytes).unwrap();
        assert_eq!(batch.header.compression(), Ok(codec));
        let records = read(&batch).unwrap();
        assert_eq!(
            records.iter().map(|one| one.offset).collect::<Vec<_>>(),
            [500, 501, 502]
        );
        let times: Vec<i64> = records.iter().map(|one| one.timestamp).collect();
        assert_eq!(times, [1_000, -5, i64::MAX]);
        assert_eq!(records[0].headers, headers);
        assert_eq!(records[0].value.as_deref(), Some(&[7; 5_000][..]));
        assert_eq!(
            (records[1].key.as_deref(), records[1].headers.len()),
            (None, 0)
        );
        assert_eq!(records[2].value, None);
    }
}

#[test]
fn uncompressed_records_are_slices_of_the_batch() {
    let batch = three();
    let range = batch.bytes.as_ptr_range();
    let records = read(&batch).unwrap();
    let key = records[0].key.as_ref().unwrap();
    assert!(range.contains(&key.as_ptr()));
}

#[test]
fn the_header_must_count_the_records_that_are_there() {
    let bytes = three().records_bytes();
    let count = |count| read(&with_records(&bytes, |header| header.record_count = count));
    assert_eq!(count(3).map(|records| records.len()), Ok(3));
    for (announced, actual) in [
        (4, 3),
        (i32::MAX, 3),
        (2, 2),
        (0, 0),
        (-1, 0),
        (i32::MIN, 0),
    ] {
        assert_eq!(
            count(announced),
            Err(BatchError::RecordCount { announced, actual })
        );
    }
    let empty = |count| {
        with_records(b"", |header| {
            header.record_count = count;
            header.last_offset_delta = -1;
        })
    };
    assert_eq!(read(&empty(0)), Ok(Vec::new()));
    assert!(read(&empty(1)).is_err());
    assert!(read(&empty(-1)).is_err());
}

#[test]
fn offsets_ascend_within_the_batch_but_may_have_gaps() {
    let record = |delta: u8| vec![0x0C, 0, 0, delta << 1, 0x01, 0x01, 0];
    let of = |deltas: &[u8]| {
        let bytes: Vec<u8> = deltas.iter().flat_map(|&delta| record(delta)).collect();
        let count = i32::try_from(deltas.len()).unwrap();
        read(&with_records(&bytes, |header| {
            header.record_count = count;
            header.last_offset_delta = 9;
        }))
        .map(|records| records.iter().map(|one| one.offset).collect::<Vec<_>>())
    };
    assert_eq!(of(&[0, 4, 9]), Ok(vec![10, 14, 19]));
    assert_eq!(
        of(&[0, 4, 4]),
        Err(BatchError::OffsetDelta { index: 2, delta: 4 })
    );
    assert_eq!(
        of(&[4, 3]),
        Err(BatchError::OffsetDelta { index: 1, delta: 3 })
    );
    assert_eq!(
        of(&[0, 10]),
        Err(BatchError::OffsetDelta {
            index: 1,
            delta: 10
        })
    );
}

#[test]
fn malformed_records_are_errors_and_end_the_iteration() {
    let end = |needed, remaining| DecodeError::UnexpectedEnd { needed, remaining };
    for (records, why) in [
        (&b"\x01"[..], DecodeError::InvalidLength(-1)),
        // Longer than the batch; shorter than the record; longer than the record.
        (b"\x0E\0\0\0\x01\x01", end(7, 5)),
        (b"\x0A\0\0\0\x01\x01\0", end(1, 0)),
        (b"\x0E\0\0\0\x01\x01\0\0", DecodeError::TrailingBytes(1)),
        // Key length -2; a key that is longer than the record.
        (b"\x0C\0\0\0\x03\x01\0", DecodeError::InvalidLength(-2)),
        (b"\x0C\0\0\0\x08\x01\0", end(4, 2)),
        // Header count -1; a header that is not there; a header without a key.
        (b"\x0C\0\0\0\x01\x01\x01", DecodeError::InvalidLength(-1)),
        (
            b"\x0C\0\0\0\x01\x01\x02",
            DecodeError::ArrayTooLong {
                count: 1,
                remaining: 0,
            },
        ),
        (
            b"\x10\0\0\0\x01\x01\x02\x01\x01",
            DecodeError::UnexpectedNull,
        ),
        (b"\xFF\xFF\xFF\xFF\xFF\xFF", DecodeError::Varint),
    ] {
        let batch = with_records(records, |header| header.record_count = 1);
        let mut iter = batch.records(0).unwrap();
        let error = BatchError::MalformedRecord {
            index: 0,
            source: why,
        };
        assert_eq!(iter.next(), Some(Err(error)));
        assert_eq!(iter.next(), None);
    }
}

#[test]
fn a_huge_header_count_is_refused_before_anything_is_allocated() {
    // Header count 2^31 - 1 in a record of eleven bytes.
    let records = b"\x14\0\0\0\x01\x01\xFE\xFF\xFF\xFF\x0F";
    let batch = with_records(records, |header| header.record_count = 1);
    let expected = DecodeError::ArrayTooLong {
        count: 0x7FFF_FFFF,
        remaining: 0,
    };
    assert_eq!(
        read(&batch),
        Err(BatchError::MalformedRecord {
            index: 0,
            source: expected
        })
    );
}

#[test]
fn decompression_stops_at_the_callers_limit() {
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let batch = RecordBatchBuilder::new().compression(codec);
        let batch = batch.record(0, None, Some(&[0; 100_000])).build().unwrap();
        assert!(batch.records(200_000).is_ok());
        let error = batch.records(100_000).map(drop);
        assert_eq!(
            error,
            Err(BatchError::DecompressedTooLarge { max: 100_000 }),
            "{codec:?}"
        );
    }
}
