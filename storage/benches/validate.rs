//! What it costs to look at every record of a produced batch, beside the CRC of the same bytes.
//!
//! `cargo bench -p tidewheel-storage --bench validate`. Rounds of both alternate, and the fastest round of
//! each counts: other work on the machine only ever adds.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench measures by the clock, prints what it finds and ends where something fails"
)]

use std::hint::black_box;
use std::time::Instant;

use tidewheel_config::LogConfig;
use tidewheel_protocol::{BatchHeader, RecordBatch, RecordBatchBuilder, crc32c};
use tidewheel_storage::validate;

const NOW: i64 = 1_700_000_000_000;
/// Bytes gone through in one round: less than a scheduler takes away.
const ROUND_BYTES: usize = 1 << 20;
const ROUNDS: usize = 1_000;
/// Where the bytes under the CRC begin.
const ATTRIBUTES: usize = 21;

fn batch(bytes: usize, record_bytes: usize) -> RecordBatch {
    let mut builder = RecordBatchBuilder::new();
    // Without a value for the smallest record, of seven bytes while its offset takes one.
    let value = record_bytes.checked_sub(10).map(|len| vec![b'v'; len]);
    for _ in 0..(bytes - BatchHeader::LEN) / (record_bytes + 2) {
        builder = builder.record(NOW, None, value.as_deref());
    }
    builder.build().unwrap()
}

/// Nanoseconds that one call takes in the fastest of the rounds so far.
fn fastest(best: &mut f64, calls: usize, call: impl Fn()) {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    *best = best.min(start.elapsed().as_secs_f64() * 1e9 / calls as f64);
}

fn main() {
    let config = LogConfig::everlasting();
    println!("batch     record   records   crc ns   validate ns   ns/record   of the crc");
    for bytes in [16 << 10, 1 << 20] {
        for record_bytes in [7, 100, 1 << 10] {
            let batch = batch(bytes, record_bytes);
            let calls = ROUND_BYTES / bytes;
            let (mut crc, mut checked) = (f64::MAX, f64::MAX);
            for _ in 0..ROUNDS {
                fastest(&mut crc, calls, || {
                    black_box(crc32c(black_box(&batch.bytes[ATTRIBUTES..])));
                });
                fastest(&mut checked, calls, || {
                    black_box(validate(black_box(batch.clone()), &config, NOW).unwrap());
                });
            }
            let records = f64::from(batch.header.record_count);
            println!(
                "{:7}   {record_bytes:6}   {records:7}   {crc:6.0}   {checked:11.0}   {:9.2}   {:8.1} %",
                batch.bytes.len(),
                checked / records,
                100.0 * checked / crc,
            );
        }
    }
}
