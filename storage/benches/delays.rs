//! What pending records cost, and how fast they come when their time has come: the delay queue by itself, on
//! a real disk and under a clock that the bench moves.
//!
//! `cargo bench -p tidewheel-storage --bench delays`, on the disk that `TMPDIR` names; `-- year 100000000` fills
//! so many records (1,000,000 where no number is given) into a year, opens the store again and lets the year pass;
//! `-- burst` has so many due in one millisecond, `-- insert` compares what accepting costs with appending to a
//! log, `-- find` looks for one of so many that are due in one millisecond. A second number says how many bytes
//! a value has (100). Everything that comes is checked: each record once, in order, and not before its time.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench measures by the clock, prints what it finds and ends where something fails"
)]

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewheel_config::LogConfig;
use tidewheel_protocol::{RecordBatch, RecordBatchBuilder, TopicPartition, Uuid};
use tidewheel_storage::delay::{
    DelayGroup, DelayKey, DelayOperation, DelayOptions, DelayQueue, DelayedBatch, PartitionId,
    PartitionTail, PendingSearch,
};
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::{LivePartition, LogManager, LogManagerOptions, validate};

const NOW: i64 = 1_700_000_000_000;
const YEAR_MS: u64 = 365 * 86_400_000;
/// Of a record's value: the second number given.
static VALUE_BYTES: LazyLock<usize> = LazyLock::new(|| numbers().nth(1).unwrap_or(100));
/// Records of a group that are due each at its own time, as a split batch is.
const GROUP: u64 = 500;
/// Records between two syncs, and between two checkpoints.
const SYNC_EVERY: u64 = 10_000;
const CHECKPOINT_EVERY: u64 = 500_000;
const PARTITION: PartitionId = PartitionId {
    topic_id: Uuid([1; 16]),
    partition: 0,
};

/// A part's name, and what measures it, with so many records.
type Part = (&'static str, fn(u64));

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let records = numbers().next().unwrap_or(1_000_000) as u64;
    let parts: [Part; 4] = [
        ("insert", insert),
        ("find", find),
        ("burst", burst),
        ("year", year),
    ];
    let any = |name: &str| given.iter().any(|text| text == name);
    let all = !parts.iter().any(|(name, _)| any(name));
    for (_, part) in parts.iter().filter(|(name, _)| all || any(name)) {
        part(records);
    }
}

/// The numbers among the arguments.
fn numbers() -> impl Iterator<Item = usize> {
    std::env::args().filter_map(|text| text.parse().ok())
}

/// A small generator of repeatable numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn open(dir: &Path, now_ms: i64, log_end: i64) -> DelayQueue {
    let mut tails = |_, _| {
        Ok(Some(PartitionTail {
            log_end,
            last_key: None,
        }))
    };
    let options = DelayOptions::default();
    let opened = DelayQueue::open(Arc::new(RealFs), dir, options, 5, now_ms, &mut tails);
    let (queue, report) = opened.unwrap();
    assert_eq!(report.damaged, 0);
    queue
}

fn sync(queue: &mut DelayQueue) {
    if let Some(work) = queue.sync_work() {
        let outcome = work.run(&RealFs);
        queue.synced(&work, &outcome);
        outcome.unwrap();
    }
}

fn checkpoint(queue: &mut DelayQueue, now_ms: i64) {
    queue.partition_durable(PARTITION, i64::MAX);
    let checkpoint = queue.begin_checkpoint(now_ms).unwrap();
    let outcome = checkpoint.run(&RealFs);
    queue.finish_checkpoint(&checkpoint, &outcome);
    outcome.unwrap();
}

fn maintain(queue: &mut DelayQueue, now_ms: i64) {
    while queue.maintain(now_ms).unwrap() {}
}

/// A batch of one record, which says when it is due.
fn batch(due_ms: i64) -> Bytes {
    let mut value = due_ms.to_be_bytes().to_vec();
    value.resize(*VALUE_BYTES, 7);
    let builder = RecordBatchBuilder::new().record(due_ms, None, Some(&value));
    builder.build().unwrap().bytes
}

fn add(due_ms: i64) -> DelayOperation {
    DelayOperation::Add(DelayedBatch {
        due_ms,
        expires_ms: None,
        id: Bytes::new(),
        replace: false,
        split_from: None,
        batch: batch(due_ms),
    })
}

/// Accepts groups of records that are due when `due` says, as producers would who wait for the disk together.
fn fill(queue: &mut DelayQueue, records: u64, mut due: impl FnMut() -> i64) -> Duration {
    let began = Instant::now();
    for first in (0..records).step_by(usize::try_from(GROUP).unwrap()) {
        let group = DelayGroup {
            partition: PARTITION,
            log_end: 0,
            producer: None,
            operations: (first..records.min(first + GROUP))
                .map(|_| add(due()))
                .collect(),
        };
        queue.accept(&group, NOW).unwrap();
        let done = first + GROUP;
        if done.is_multiple_of(SYNC_EVERY) {
            sync(queue);
            maintain(queue, NOW);
        }
        if done.is_multiple_of(CHECKPOINT_EVERY) {
            checkpoint(queue, NOW);
        }
    }
    sync(queue);
    maintain(queue, NOW);
    checkpoint(queue, NOW);
    began.elapsed()
}

/// Takes out what is due, and checks it.
struct Taker {
    count: u64,
    bytes: u64,
    log_end: i64,
    last: Option<DelayKey>,
}

impl Taker {
    fn new() -> Self {
        Self {
            count: 0,
            bytes: 0,
            log_end: 1,
            last: None,
        }
    }

    /// Whether anything was due.
    fn take(&mut self, queue: &mut DelayQueue, now_ms: i64) -> bool {
        let fired = queue.fire(now_ms).unwrap();
        assert!(fired.error.is_none(), "{:?}", fired.error);
        assert!(fired.damaged.is_empty());
        let moved = !fired.deliveries.is_empty();
        for delivery in fired.deliveries {
            for due in &delivery.batches {
                let deliver = tidewheel_config::DeliverTimestamp::Create;
                let valid = due.to_append(deliver, now_ms).unwrap();
                assert!(self.last < Some(due.key), "in order, and once");
                assert!(due.key.due_ms.cast_signed() <= now_ms, "not early");
                assert!(valid.header.max_timestamp <= now_ms, "not early");
                self.last = Some(due.key);
                self.count += u64::try_from(valid.header.record_count).unwrap();
                self.bytes += valid.bytes.len() as u64;
                self.log_end += 1;
            }
            queue.delivered(delivery.partition, delivery.up_to, self.log_end);
        }
        moved || fired.more || fired.wants_maintenance
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Anonymous resident memory of this process, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<u64>().unwrap() << 10
}

fn disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

/// So many records over a year: memory, disk, a start, and the year itself.
fn year(records: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("delays");
    let mut random = Random(1);
    let mut queue = open(&path, NOW, 0);
    let before = memory();
    let took = fill(&mut queue, records, || {
        NOW + random.below(YEAR_MS).cast_signed()
    });
    let per_second = records as f64 / took.as_secs_f64();
    println!("year: {records} records taken in {took:.1?}, {per_second:.0} a second");
    let bytes = disk(&path);
    let own = batch(NOW).len() as u64;
    let each = bytes as f64 / records as f64;
    println!(
        "year: {} MiB on disk, {each:.1} bytes a record, {own} of them its batch",
        mib(bytes)
    );
    println!(
        "year: {} MiB more RssAnon with all of them pending",
        mib(memory().saturating_sub(before))
    );
    drop(queue);
    let began = Instant::now();
    let mut queue = open(&path, NOW, 0);
    println!("year: opened again in {:.1?}", began.elapsed());
    assert_eq!(queue.totals().pending.records, records);
    println!("year: {} MiB RssAnon", mib(memory()));
    let (mut taker, mut now, mut most) = (Taker::new(), NOW, 0);
    let mut marked = 0;
    let began = Instant::now();
    while taker.count < records {
        now = queue.next_wake_ms().unwrap().max(now);
        maintain(&mut queue, now);
        while taker.take(&mut queue, now) {
            maintain(&mut queue, now);
        }
        if taker.count >= marked + CHECKPOINT_EVERY / 10 {
            marked = taker.count;
            checkpoint(&mut queue, now);
            most = most.max(memory());
        }
    }
    let took = began.elapsed();
    println!(
        "year: passed in {took:.1?}, {} MiB RssAnon at most",
        mib(most)
    );
    for _ in 0..2 {
        checkpoint(&mut queue, now);
    }
    println!("year: {} bytes on disk at its end", disk(&path));
    assert_eq!(queue.totals().pending.records, 0);
}

/// So many records that are due in one millisecond.
fn burst(records: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("delays");
    let mut queue = open(&path, NOW, 0);
    let due_ms = NOW + 60_000;
    let took = fill(&mut queue, records, || due_ms);
    println!("burst: {records} records taken in {took:.1?}");
    let (mut taker, mut longest) = (Taker::new(), Duration::ZERO);
    assert!(!taker.take(&mut queue, due_ms - 1), "nothing is early");
    let began = Instant::now();
    while taker.count < records {
        let turn = Instant::now();
        taker.take(&mut queue, due_ms);
        maintain(&mut queue, due_ms);
        longest = longest.max(turn.elapsed());
    }
    let (took, mb) = (began.elapsed(), taker.bytes / 1_000_000);
    println!("burst: given out in {took:.1?}, {mb} MB; the longest turn {longest:.1?}");
}

/// One of so many that are due in one millisecond: whoever looks for it lets others at the queue between steps.
fn find(records: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = open(&dir.path().join("delays"), NOW, 0);
    let due_ms = NOW + 60_000;
    fill(&mut queue, records, || due_ms);
    let mut random = Random(2);
    let (mut longest, mut longest_step) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..100 {
        let key = DelayKey {
            due_ms: due_ms.unsigned_abs(),
            ticket: 1 + random.below(records),
        };
        let (began, mut search) = (Instant::now(), PendingSearch::default());
        let look = loop {
            let step = Instant::now();
            let look = queue.look_for(PARTITION, key, &mut search).unwrap();
            longest_step = longest_step.max(step.elapsed());
            if let Some(look) = look {
                break look;
            }
        };
        let found = look.run(|| false).unwrap().unwrap().records;
        assert_eq!(found[0].key, key);
        longest = longest.max(began.elapsed());
    }
    println!(
        "find: one of {records} due in one millisecond within {longest:.1?}, the queue held for {longest_step:.1?} at most"
    );
}

/// Accepting records, near and far, and appending the same batches to a log; all synced alike.
fn insert(records: u64) {
    let dir = tempfile::tempdir().unwrap();
    let log = append_all(&dir.path().join("log"), records);
    println!(
        "insert: appended to a log: {:.0} records a second",
        rate(records, log)
    );
    for (name, delay_ms) in [("near", 60_000), ("far", 86_400_000)] {
        let path = dir.path().join(name);
        let mut queue = open(&path, NOW, 0);
        let took = fill(&mut queue, records, || NOW + delay_ms);
        let share = log.as_secs_f64() / took.as_secs_f64() * 100.0;
        println!(
            "insert: accepted, {name}: {:.0} records a second, {share:.0} % of the log's",
            rate(records, took)
        );
    }
}

fn rate(records: u64, took: Duration) -> f64 {
    records as f64 / took.as_secs_f64()
}

fn append_all(dir: &Path, records: u64) -> Duration {
    let dirs = vec![dir.to_path_buf()];
    let options = LogManagerOptions::new(dirs, 1, "bench".to_owned(), vec![Uuid([1; 16])]);
    let manager = LogManager::<()>::open(Arc::new(RealFs), options).unwrap();
    manager.load(Vec::new(), 0, NOW).unwrap();
    let live = LivePartition {
        tp: TopicPartition {
            topic: Arc::from("t"),
            partition: 0,
        },
        topic_id: Uuid([1; 16]),
        config: LogConfig::everlasting(),
    };
    let log = manager.create(live, 0).unwrap();
    let began = Instant::now();
    for number in 0..records {
        let batch = RecordBatch::parse(batch(NOW)).unwrap();
        let valid = validate(batch, &log.config(), NOW).unwrap();
        for (_, outcome) in log.append(valid, false, (), NOW) {
            outcome.unwrap();
        }
        if number.is_multiple_of(SYNC_EVERY) {
            log.flush(NOW).unwrap();
        }
    }
    log.flush(NOW).unwrap();
    began.elapsed()
}
