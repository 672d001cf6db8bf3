//! Inputs that make the crate `kafka-protocol` 0.18.0 panic, abort or lose data, one test for each: here
//! they are an error in bounded memory, or keep what they say. The oracle itself is never fed with them:
//! the first of them would end the test process.

mod counting;

use bytes::Bytes;
use counting::peak_of;
use tidewheel_protocol::{
    BatchError, BatchHeader, Compression, DecodeError, Message, Reader, RecordBatch,
    RecordBatchBuilder, RecordHeader, RequestHeader, TimestampType, messages, wire,
};

/// Bytes that a refused input of a few bytes may hold for a moment.
const LITTLE: usize = 16 * 1024;

/// Decodes `body` as every version of every request and response, in little memory. Returns how many refuse
/// it.
fn refused_by(body: &[u8]) -> usize {
    fn decode<M: Message>(body: &[u8]) -> usize {
        let refused = M::VERSIONS.map(|version| {
            let mut reader = Reader::new(Bytes::copy_from_slice(body));
            let (refused, peak) = peak_of(|| M::decode(&mut reader, version).is_err());
            assert!(peak <= LITTLE, "{} {version}: {peak} bytes", M::KEY);
            usize::from(refused)
        });
        refused.sum()
    }
    let mut refused = 0;
    macro_rules! both {
        ($($module:ident $request:ident $response:ident $(<$records:ty>)?;)*) => {$(
            refused += decode::<messages::$module::$request>(body);
            refused += decode::<messages::$module::$response $(<$records>)?>(body);
        )*};
    }
    tidewheel_protocol::for_each_api!(both);
    refused
}

/// Aborted the process: an array's count, as it came, was how many elements memory was taken for.
#[test]
fn a_count_of_2_147_483_647_topics_is_an_error() {
    let body = Bytes::from_static(&[0x7F, 0xFF, 0xFF, 0xFF]);
    let decode = || messages::metadata::MetadataRequest::decode(&mut Reader::new(body), 0);
    let (result, peak) = peak_of(decode);
    let expected = DecodeError::ArrayTooLong {
        count: 0x7FFF_FFFF,
        remaining: 0,
    };
    assert_eq!(result, Err(expected));
    assert!(peak <= LITTLE, "{peak} bytes");
}

/// The same in the compact form, and as the first thing in every message, alone and after zeros.
#[test]
fn counts_that_lie_take_no_memory_in_any_message() {
    let counts: [&[u8]; 5] = [
        &[0x7F, 0xFF, 0xFF, 0xFF],
        &[0x0F, 0xFF, 0xFF, 0xFF],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x07],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
        &[0x80, 0x80, 0x80, 0x80, 0x10],
    ];
    for count in counts {
        for zeros in 0..40 {
            // Some messages end before the count; what follows is not theirs.
            assert!(refused_by(&[&vec![0; zeros], count].concat()) > 0);
        }
    }
}

/// A count that the bytes which follow could just be: what it costs is bounded by how many they are.
#[test]
fn a_count_of_as_many_elements_as_bytes_stays_within_the_budget() {
    const BYTES: usize = 1 << 20;
    let count = u32::try_from(BYTES).unwrap();
    let body = [&count.to_be_bytes()[..], &vec![0; BYTES]].concat();
    let decode = || messages::metadata::MetadataRequest::decode(&mut Reader::new(body.into()), 0);
    let (result, peak) = peak_of(decode);
    assert!(result.is_err());
    let allowed = wire::BUDGET_BYTES_MIN + (wire::BUDGET_FACTOR + 1) * BYTES;
    assert!(peak <= allowed, "{peak} bytes");
}

/// Aborted the process: the count of records in the header was how many memory was taken for.
#[test]
fn a_batch_that_announces_2_147_483_647_records_is_an_error() {
    let builder = RecordBatchBuilder::new().record(1, None, Some(b"only"));
    for compression in Compression::ALL {
        let batch = builder.clone().compression(compression).build().unwrap();
        let mut header = batch.header;
        (header.record_count, header.last_offset_delta) = (i32::MAX, i32::MAX - 1);
        let lying = RecordBatch::assemble(header, &batch.records_bytes()).unwrap();
        let (result, peak) = peak_of(|| -> Result<(), BatchError> {
            lying
                .records(1 << 20)?
                .try_for_each(|record| record.map(drop))
        });
        assert!(result.is_err(), "{compression:?}");
        // A decompressor has its own tables.
        assert!(peak <= 1 << 20, "{compression:?}: {peak} bytes");
    }
}

/// Panicked: the key and the version were read without a look at the length.
#[test]
fn a_request_that_ends_in_its_header_is_an_error() {
    let whole = [0, 3, 0, 9, 0, 0, 0, 1, 0, 1, b'c', 0];
    for len in 0..whole.len() {
        let mut reader = Reader::new(Bytes::copy_from_slice(&whole[..len]));
        let (result, peak) = peak_of(|| RequestHeader::decode(&mut reader));
        assert!(result.is_err(), "{len} bytes");
        assert!(peak <= LITTLE, "{peak} bytes");
    }
    let mut reader = Reader::new(Bytes::copy_from_slice(&whole));
    assert!(RequestHeader::decode(&mut reader).is_ok());
}

/// One of two headers with the same key was lost.
#[test]
fn headers_with_the_same_key_are_all_kept() {
    let header = |value: &'static str| RecordHeader {
        key: Bytes::from_static(b"trace"),
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    let headers = [header("1"), header("2"), header("1")];
    let batch = RecordBatchBuilder::new()
        .record_with_headers(1, None, None, headers.to_vec())
        .build()
        .unwrap();
    let record = batch.records(1 << 10).unwrap().next().unwrap().unwrap();
    assert_eq!(record.headers, headers);
}

/// Both were lost when a batch was written again.
#[test]
fn the_kind_of_time_and_the_last_offset_of_a_compacted_batch_are_kept() {
    let builder = RecordBatchBuilder::new()
        .record(1, None, Some(b"a"))
        .record(2, None, Some(b"b"));
    let batch = builder.build().unwrap().with_log_append_time(7);
    let mut header = batch.header;
    header.last_offset_delta = 41;
    let compacted = RecordBatch::assemble(header, &batch.records_bytes()).unwrap();
    let again = RecordBatch::parse(compacted.bytes.clone()).unwrap();
    assert_eq!(again.bytes, compacted.bytes);
    assert_eq!(again.header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(again.header.max_timestamp, 7);
    assert_eq!(again.header.next_offset(), 42);
    assert_eq!(BatchHeader::parse(&again.header.encode()), Ok(again.header));
}

/// Had no bound on what a batch becomes.
#[test]
fn a_batch_that_decompresses_beyond_the_cap_is_an_error() {
    const CAP: usize = 1 << 20;
    let zeros = vec![0; 16 << 20];
    let builder = RecordBatchBuilder::new().record(1, None, Some(&zeros));
    for compression in Compression::ALL {
        if compression == Compression::None {
            continue;
        }
        let bomb = builder.clone().compression(compression).build().unwrap();
        let (result, peak) = peak_of(|| bomb.records(CAP).map(drop));
        let expected = matches!(result, Err(BatchError::DecompressedTooLarge { .. }));
        assert!(expected, "{compression:?}: {result:?}");
        assert!(peak <= 4 * CAP, "{compression:?}: {peak} bytes");
    }
}

/// Blocks in the framing of Snappy for Java were read wrong, and numbers of 64 bits.
#[test]
fn xerial_blocks_that_lie_are_errors() {
    const MAGIC: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    let lengths: [&[u8]; 5] = [
        &[0x7F, 0xFF, 0xFF, 0xFF],
        &[0xFF, 0xFF, 0xFF, 0xFF],
        &[0x80, 0, 0, 0],
        &[0, 0, 0, 9, 0],
        &[0, 0],
    ];
    for length in lengths {
        let input = [MAGIC, length].concat();
        let (result, peak) = peak_of(|| Compression::Snappy.decompress(&input, 1 << 20));
        assert!(result.is_err(), "{length:?}");
        assert!(peak <= LITTLE, "{length:?}: {peak} bytes");
    }
}

#[test]
fn timestamps_at_both_ends_of_64_bits_come_back() {
    // Farther apart than this no delta of 64 bits takes them.
    for timestamps in [
        [0, i64::MAX],
        [i64::MAX, 0],
        [-1, i64::MAX - 1],
        [-1, i64::MIN],
    ] {
        let batch = timestamps
            .iter()
            .fold(RecordBatchBuilder::new(), |builder, timestamp| {
                builder.record(*timestamp, None, None)
            })
            .build()
            .unwrap();
        let records = batch.records(1 << 10).unwrap();
        let found: Vec<i64> = records.map(|record| record.unwrap().timestamp).collect();
        assert_eq!(found, timestamps);
    }
}
