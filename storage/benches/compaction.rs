//! What compaction costs: how fast a core goes through a log, and what appends to another log feel of it.
//!
//! `cargo bench -p tidewheel-storage --bench compaction`, on the disk that `TMPDIR` names; with `-- speed` or
//! `-- appends` behind it one of the two.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench measures by the clock, prints what it finds and ends where something fails"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_protocol::{Compression, RecordBatch, RecordBatchBuilder, TopicPartition, Uuid};
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::{
    CleanerOptions, LivePartition, LogCleaner, LogManager, LogManagerOptions, SharedLog, validate,
};

type Manager = LogManager<()>;
type Log = SharedLog<()>;

const NOW: i64 = 1_700_000_000_000;
/// Bytes of the log that is compacted.
const LOG_BYTES: u64 = 512 << 20;
/// Bytes of a value, and records of a batch: batches of about 16 KiB.
const VALUE_BYTES: usize = 200;
const BATCH_RECORDS: u64 = 70;
/// Added to the nice value of the thread that compacts, as the broker does (`broker/src/storage_threads.rs`).
const BACKGROUND_NICE: i32 = 10;
/// Pause between two appends whose latency is taken.
const APPEND_EVERY: Duration = Duration::from_micros(500);

fn config() -> LogConfig {
    LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: false,
            compact: true,
        },
        min_cleanable_dirty_ratio: 0.0,
        segment_bytes: 64 << 20,
        ..LogConfig::everlasting()
    }
}

fn open(dir: &Path) -> Manager {
    let dirs = vec![dir.to_path_buf()];
    let options = LogManagerOptions::new(dirs, 1, "bench".to_owned(), vec![Uuid([1; 16])]);
    let manager = Manager::open(Arc::new(RealFs), options).unwrap();
    manager.load(Vec::new(), 0, NOW).unwrap();
    manager
}

fn create(manager: &Manager, topic: &str, id: u8) -> Arc<Log> {
    let live = LivePartition {
        tp: TopicPartition {
            topic: Arc::from(topic),
            partition: 0,
        },
        topic_id: Uuid([id; 16]),
        config: config(),
    };
    manager.create(live, 0).unwrap()
}

fn batch(keys: impl Iterator<Item = u64>, codec: Compression) -> RecordBatch {
    let mut builder = RecordBatchBuilder::new().compression(codec);
    for key in keys {
        // Half of a value repeats itself, as texts do.
        let mut value = key.to_be_bytes().repeat(VALUE_BYTES / 8);
        for (at, byte) in value.iter_mut().enumerate().skip(VALUE_BYTES / 2) {
            *byte = key
                .wrapping_mul(at as u64 | 1)
                .wrapping_mul(0x9E37_79B9)
                .to_le_bytes()[3];
        }
        builder = builder.record(NOW, Some(&key.to_be_bytes()), Some(&value));
    }
    builder.build().unwrap()
}

fn append(log: &Log, batch: RecordBatch) {
    let batch = validate(batch, &log.config(), NOW).unwrap();
    log.append(batch, false, (), NOW).pop().unwrap().1.unwrap();
}

/// A log of random keys, of which about `copies` records share each, durable. Returns how many bytes its batches have
/// without compression, for each that they have.
fn fill(manager: &Manager, log: &Log, copies: u64, codec: Compression) -> f64 {
    let keys = LOG_BYTES / VALUE_BYTES as u64 / copies;
    let (mut state, mut packed, mut unpacked) = (1_u64, 0, 0);
    while log.size_bytes() < LOG_BYTES {
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % keys
        };
        let batch = batch((0..BATCH_RECORDS).map(|_| next()), codec);
        let records = batch.decompressed(usize::MAX).unwrap().len();
        unpacked += batch.bytes.len() - batch.records_bytes().len() + records;
        packed += batch.bytes.len();
        append(log, batch);
    }
    manager.flush_round(0);
    manager.checkpoint(i64::MAX).unwrap();
    manager.checkpoint(i64::MAX).unwrap();
    unpacked as f64 / packed as f64
}

fn cleaner() -> LogCleaner {
    LogCleaner::new(CleanerOptions {
        dedupe_buffer_bytes: 128 << 20,
        load_factor: 0.9,
        secret: (1, 2),
    })
}

/// Seconds that this thread was on a core: with other work on the machine the clock says little.
fn cpu_seconds() -> f64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let ns: f64 = spent.split(' ').next().unwrap().parse().unwrap();
    ns / 1e9
}

/// One pass; megabytes of log for each second on a core, and the bytes before and after.
fn clean(manager: &Manager) -> (f64, u64, u64) {
    let begun = cpu_seconds();
    let (mut before, mut after) = (0, 0);
    cleaner().clean_due(manager, &|| NOW, &mut |_| true, &mut |report| {
        let stats = report.outcome.unwrap();
        before += stats.bytes_before;
        after += stats.bytes_after;
    });
    let seconds = cpu_seconds() - begun;
    (before as f64 / 1e6 / seconds, before, after)
}

fn speed() {
    for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
        for copies in [1, 4, 100] {
            let dir = tempfile::tempdir().unwrap();
            let manager = open(dir.path());
            let log = create(&manager, "t", 2);
            let unpacked = fill(&manager, &log, copies, codec);
            let (speed, before, after) = clean(&manager);
            println!(
                "{:8} {copies:3} records a key: {speed:5.0} MB/s of a core, {:5.0} unpacked, {before} -> {after} bytes",
                codec.name(),
                speed * unpacked
            );
        }
    }
}

/// Latencies of appends to `log` until `done`, sorted.
fn latencies(manager: &Manager, log: &Log, sync: bool, done: &dyn Fn() -> bool) -> Vec<Duration> {
    let mut taken = Vec::new();
    let mut due = Instant::now();
    while !done() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        append(log, batch(0..10, Compression::None));
        if sync {
            manager.flush_round(0);
        }
        // From when it was meant to begin.
        taken.push(due.elapsed());
        due += APPEND_EVERY.max(if sync {
            APPEND_EVERY * 10
        } else {
            APPEND_EVERY
        });
    }
    taken.sort_unstable();
    taken
}

fn beside_appends(sync: bool) {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = create(&manager, "t", 2);
    fill(&manager, &log, 4, Compression::None);
    let live = create(&manager, "live", 3);
    live.set_config(LogConfig::everlasting());
    let end = Instant::now() + Duration::from_secs(5);
    let alone = latencies(&manager, &live, sync, &|| Instant::now() >= end);
    let cleaned = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Of this thread alone.
            rustix::process::nice(BACKGROUND_NICE).unwrap();
            clean(&manager);
            cleaned.store(true, Ordering::Release);
        });
        latencies(&manager, &live, sync, &|| cleaned.load(Ordering::Acquire))
    });
    let p99 = |all: &[Duration]| all[all.len() * 99 / 100];
    let ratio = p99(&beside).as_secs_f64() / p99(&alone).as_secs_f64();
    println!(
        "appends {}: p99 {:?} alone ({}), {:?} beside a pass ({}): {ratio:.2} times",
        if sync {
            "with a sync each"
        } else {
            "without sync"
        },
        p99(&alone),
        alone.len(),
        p99(&beside),
        beside.len()
    );
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let runs = |name: &str| {
        let named = wanted.iter().filter(|word| !word.starts_with('-'));
        named.clone().count() == 0 || named.clone().any(|word| word == name)
    };
    if runs("speed") {
        speed();
    }
    if runs("appends") {
        beside_appends(false);
        beside_appends(true);
    }
}
