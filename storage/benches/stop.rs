//! What a clean stop takes that has many partitions to complete.
//!
//! `cargo bench -p tidewheel-storage --bench stop`, on the disk that `TMPDIR` names: 10,000 partitions (`-- 1000` for
//! another number) of which each was checkpointed and got one batch more, which is on the disk; in turn with one
//! thread and with those of a broker, three times each.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench measures by the clock, prints what it finds and ends where something fails"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewheel_config::{LogConfig, limits};
use tidewheel_protocol::{RecordBatchBuilder, TopicPartition, Uuid};
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::{LivePartition, LogManager, LogManagerOptions, OpenLimits, validate};

type Manager = LogManager<()>;

const NOW: i64 = 1_700_000_000_000;
const ROUNDS: usize = 3;

fn main() {
    let given = std::env::args().find_map(|text| text.parse().ok());
    let partitions: i32 = given.unwrap_or(10_000);
    for round in 0..ROUNDS {
        for threads in [1, limits::RECOVERY_THREADS] {
            let took = stop(partitions, threads);
            println!("round {round}: {partitions} partitions, {threads} threads: {took:.2?}");
        }
    }
}

fn open(dir: &Path, partitions: i32, threads: usize) -> Manager {
    let dirs = vec![dir.to_path_buf()];
    let options = LogManagerOptions {
        checkpoint_bytes: 0,
        recovery_threads: threads,
        open: OpenLimits {
            files: 512,
            maps: 8_192,
        },
        ..LogManagerOptions::new(dirs, 1, "bench".to_owned(), vec![Uuid([1; 16])])
    };
    let manager = Manager::open(Arc::new(RealFs), options).unwrap();
    let live = |partition| LivePartition {
        tp: TopicPartition {
            topic: Arc::from("t"),
            partition,
        },
        topic_id: Uuid([2; 16]),
        config: LogConfig::everlasting(),
    };
    let live = (0..partitions).map(live).collect();
    manager.load(live, 0, NOW).unwrap();
    manager
}

/// How long the stop took.
fn stop(partitions: i32, threads: usize) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), partitions, threads);
    for number in 0..2 {
        append_to_all(&manager, partitions);
        if number == 0 {
            manager.checkpoint(NOW).unwrap();
        }
    }
    let began = Instant::now();
    manager.close(NOW).unwrap();
    began.elapsed()
}

fn append_to_all(manager: &Manager, partitions: i32) {
    for partition in 0..partitions {
        let tp = TopicPartition {
            topic: Arc::from("t"),
            partition,
        };
        let log = manager.get(&tp).unwrap();
        let batch = RecordBatchBuilder::new().record(NOW, None, Some(&[7; 100]));
        let valid = validate(batch.build().unwrap(), &log.config(), NOW).unwrap();
        log.append(valid, false, (), NOW).pop().unwrap().1.unwrap();
        if partition % 256 == 255 {
            assert!(manager.flush_round(0).error.is_none());
        }
    }
    assert!(manager.flush_round(0).error.is_none());
}
