//! What single steps of the hot path cost: `cargo bench -p tidewheel-bench --bench micro`.
//!
//! Codec: decoding a produce request, checking and compressing a batch. Append: batches into a log on the
//! real disk's page cache. Index: looking an offset and a time up in a sealed segment's files. Timing wheel:
//! putting delayed records in and getting them out.
#![allow(clippy::unwrap_used, reason = "a failed step ends the measurement")]
#![allow(missing_docs, reason = "the macros of criterion make items without")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidewheel_config::LogConfig;
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidewheel_protocol::{
    ApiKey, Compression, RecordBatch, RecordBatchBuilder, RequestHeader, StrBytes, TopicPartition,
    Uuid, decode_request_frame, encode_request_frame,
};
use tidewheel_storage::delay::{TimingWheel, WheelEntry};
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::index::{OffsetIndex, TimeIndex};
use tidewheel_storage::{LivePartition, LogManager, LogManagerOptions, SharedLog, validate};

/// Any moment: 2023-11-14.
const NOW: i64 = 1_700_000_000_000;

/// A batch of 16 records of 1 KiB, three quarters of which are zeros.
fn batch(compression: Compression) -> RecordBatch {
    let mut value = vec![0; 1024];
    for (at, byte) in value.iter_mut().take(256).enumerate() {
        *byte = ((at * 167) >> 2).to_le_bytes()[0];
    }
    let mut builder = RecordBatchBuilder::new().compression(compression);
    for _ in 0..16 {
        builder = builder.record(NOW, None, Some(&value));
    }
    builder.build().unwrap()
}

fn codec(criterion: &mut Criterion) {
    let plain = batch(Compression::None);
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: StrBytes::from("orders"),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(plain.bytes.clone()),
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let header = RequestHeader {
        api_key: ApiKey::Produce.code(),
        api_version: 9,
        correlation_id: 1,
        client_id: None,
    };
    let frame = encode_request_frame(&header, &request).slice(4..);
    let mut group = criterion.benchmark_group("codec");
    group.bench_function("decode a produce request", |bencher| {
        bencher.iter(|| decode_request_frame::<ProduceRequest>(black_box(frame.clone())).unwrap());
    });
    group.throughput(Throughput::Bytes(plain.bytes.len() as u64));
    group.bench_function("check a batch of 16 KiB", |bencher| {
        bencher.iter(|| RecordBatch::parse(black_box(plain.bytes.clone())).unwrap());
    });
    group.bench_function("walk its records", |bencher| {
        bencher.iter(|| plain.records(1 << 20).unwrap().count());
    });
    let records = plain.records_bytes();
    for codec in [Compression::Lz4, Compression::Zstd] {
        let compressed = codec.compress(&records).unwrap();
        group.bench_function(format!("compress with {}", codec.name()), |bencher| {
            bencher.iter(|| codec.compress(black_box(&records)).unwrap());
        });
        group.bench_function(format!("decompress {}", codec.name()), |bencher| {
            bencher.iter(|| codec.decompress(black_box(&compressed), 1 << 20).unwrap());
        });
    }
    group.finish();
}

/// Batches that one log takes before the next begins: 16 MiB stay in the page cache.
const APPENDS: usize = 1024;

fn open_log(dir: &tempfile::TempDir) -> (LogManager<()>, Arc<SharedLog<()>>) {
    let options = LogManagerOptions::new(
        vec![dir.path().to_owned()],
        1,
        "bench".to_owned(),
        vec![Uuid([1; 16])],
    );
    let manager = LogManager::open(Arc::new(RealFs), options).unwrap();
    let partition = LivePartition {
        tp: TopicPartition {
            topic: Arc::from("t"),
            partition: 0,
        },
        topic_id: Uuid([2; 16]),
        config: LogConfig::everlasting(),
    };
    let log = manager
        .load(vec![partition], 0, NOW)
        .unwrap()
        .logs
        .remove(0);
    (manager, log)
}

fn append(criterion: &mut Criterion) {
    let batch = batch(Compression::None);
    let config = LogConfig::everlasting();
    let mut group = criterion.benchmark_group("append");
    group.sample_size(20);
    group.throughput(Throughput::Bytes((batch.bytes.len() * APPENDS) as u64));
    group.bench_function("1,024 batches of 16 KiB to the page cache", |bencher| {
        bencher.iter_batched(
            || {
                let dir = tempfile::tempdir().unwrap();
                let (manager, log) = open_log(&dir);
                (dir, manager, log)
            },
            |(dir, manager, log)| {
                for _ in 0..APPENDS {
                    let valid = validate(batch.clone(), &config, NOW).unwrap();
                    black_box(log.append(valid, false, (), NOW));
                }
                // Dropped outside of what is measured.
                (dir, manager, log)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Entries of an index of a segment of 1 GiB.
const ENTRIES: u32 = 262_144;

fn index(criterion: &mut Criterion) {
    let offsets = (1..=ENTRIES).flat_map(|entry| [entry * 4, entry * 4096]);
    let offsets: Bytes = offsets.flat_map(u32::to_be_bytes).collect();
    let times = (1..=ENTRIES).flat_map(|entry| {
        let time = (NOW + i64::from(entry)).to_be_bytes();
        time.into_iter().chain((entry * 4).to_be_bytes())
    });
    let times: Bytes = times.collect();
    let mut group = criterion.benchmark_group("index");
    let mut seed = 1_u32;
    let mut any = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) & (ENTRIES * 4 - 1)
    };
    group.bench_function("look an offset up", |bencher| {
        let index = OffsetIndex::open(0, &offsets, u64::from(u32::MAX)).unwrap();
        bencher.iter(|| index.lookup(i64::from(black_box(any()))));
    });
    group.bench_function("look a time up", |bencher| {
        let index = TimeIndex::open(0, &times).unwrap();
        bencher.iter(|| index.lookup(NOW + i64::from(black_box(any()) / 4)));
    });
    group.finish();
}

/// Delayed records in the wheel.
const DELAYED: u64 = 1_000_000;

/// A wheel of records that are due within five minutes.
fn filled(due: &[u64]) -> TimingWheel {
    let mut wheel = TimingWheel::new(NOW.unsigned_abs());
    for (ticket, due_ms) in (1..).zip(due) {
        let entry = WheelEntry {
            due_ms: *due_ms,
            ticket,
            ..WheelEntry::default()
        };
        wheel.insert(entry).unwrap();
    }
    wheel
}

fn wheel(criterion: &mut Criterion) {
    let mut seed = 1_u64;
    let mut any = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % 300_000
    };
    let start = NOW.unsigned_abs() + 1;
    let spread: Vec<u64> = (0..DELAYED).map(|_| start + any()).collect();
    let together = vec![start + 299_999; usize::try_from(DELAYED).unwrap()];
    let mut group = criterion.benchmark_group("timing wheel");
    group.sample_size(10);
    group.throughput(Throughput::Elements(DELAYED));
    group.bench_function("insert a million", |bencher| {
        bencher.iter_batched(|| (), |()| filled(&spread), BatchSize::PerIteration);
    });
    for (name, due) in [
        ("expire a million over 5 min", &spread),
        ("expire a million of one ms", &together),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (filled(due), Vec::with_capacity(due.len())),
                |(mut wheel, mut out)| {
                    while let Some(next) = wheel.next_ms() {
                        wheel.advance(next, &mut out);
                    }
                    (wheel, out)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, codec, append, index, wheel);
criterion_main!(benches);
