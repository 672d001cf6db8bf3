use tidewheel_protocol::{RecordBatch, RecordBatchBuilder};

use super::*;
use crate::checkpoint::write_atomically;
use crate::fs::SimFs;

/// A header that is destroyed.
const DESTROYED: [u8; BatchHeader::LEN] = [0; BatchHeader::LEN];

/// A batch of one record.
fn batch(offset: i64) -> Vec<u8> {
    let built = RecordBatchBuilder::new().record(1_000, Some(b"key"), Some(b"value"));
    let mut bytes = built.build().unwrap().bytes.to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    RecordBatch::parse(bytes.clone().into()).unwrap();
    bytes
}

/// The offsets of the batches that are found in a compacted segment without an index, where headers lead out of any
/// value behind `reach` bytes.
fn found(parts: &[&[u8]], reach: u64) -> Vec<i64> {
    let fs = SimFs::new();
    let path = Path::new("/00000000000000000000.log");
    write_atomically(&fs, path, &parts.concat()).unwrap();
    let bounds = Bounds {
        base_offset: 0,
        end_offset: i64::MAX,
    };
    let known = Known {
        bounds,
        exact: false,
    };
    let mut scanner = Scanner::open(&fs, path, known).unwrap();
    scanner.reach = reach;
    let all = scanner.find_all().unwrap();
    all.iter().map(|batch| batch.base_offset).collect()
}

#[test]
fn between_two_destroyed_headers_batches_count_that_reach_further_than_any_value() {
    let (first, second) = (batch(10), batch(12));
    let parts = [&DESTROYED[..], &first, &second, &DESTROYED];
    assert_eq!(found(&parts, BATCH_BYTES_MAX), [0; 0]);
    assert_eq!(found(&parts, first.len() as u64), [0; 0]);
    assert_eq!(found(&parts, first.len() as u64 - 1), [10, 12]);
}

/// The bytes behind a value say something as well, also a length that leads far away.
#[test]
fn a_header_with_a_wrong_crc_leads_nowhere_however_long_it_is() {
    let (first, last) = (batch(10), batch(5_000));
    let mut liar = batch(4_000);
    liar[8..12].copy_from_slice(&1_000_u32.to_be_bytes());
    liar[30] ^= 1;
    let filler = vec![0; 1_012 - liar.len()];
    let parts = [&DESTROYED[..], &first, &liar, &filler, &DESTROYED];
    for reach in [1, 500, BATCH_BYTES_MAX] {
        assert_eq!(found(&parts, reach), [0; 0], "{reach}");
    }
    // What continues the batch before it does lead on: it may be a damaged one.
    liar[..8].copy_from_slice(&11_i64.to_be_bytes());
    let parts = [&DESTROYED[..], &first, &liar, &filler, &last];
    assert_eq!(found(&parts, BATCH_BYTES_MAX), [10, 5_000]);
}
