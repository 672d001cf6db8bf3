//! The debugger judges what the log itself leaves behind: after a clean stop there is nothing to
//! report, after a crash nothing worse than what recovery is there for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_config::{BrokerConfig, LogConfig};
use tidewheel_protocol::{Compression, RecordBatchBuilder, TopicPartition, Uuid};
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::inspect::{self, Finding, Severity, VerifySummary};
use tidewheel_storage::{LivePartition, LogManager, LogManagerOptions, SharedLog, validate};

const DATA: &str = "/data";
const NOW: i64 = 1_700_000_000_000;

/// A linear congruential generator: the tests repeat exactly.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

fn live() -> Vec<LivePartition> {
    let config = LogConfig {
        segment_bytes: 3000,
        index_interval_bytes: 200,
        ..BrokerConfig::default().log
    };
    let partition = |partition: i32| LivePartition {
        tp: TopicPartition {
            topic: "orders".into(),
            partition,
        },
        topic_id: Uuid(*b"a topic's own id"),
        config: config.clone(),
    };
    vec![partition(0), partition(1)]
}

fn open(fs: &SimFs, epoch: i32) -> (LogManager<()>, Vec<Arc<SharedLog<()>>>) {
    let ids = vec![Uuid(*b"a directory's id")];
    let dirs = vec![PathBuf::from(DATA)];
    let options = LogManagerOptions {
        checkpoint_bytes: 500,
        ..LogManagerOptions::new(dirs, 1, "a-cluster".to_owned(), ids)
    };
    let disk: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let manager = LogManager::open(disk, options).expect("the directory is good");
    let metadata = manager
        .open_metadata_log(None, NOW)
        .expect("the metadata log is good");
    // As the broker does: every start leaves a record.
    let started = RecordBatchBuilder::new().record(NOW, None, Some(b"started"));
    let started = started.build().expect("a small batch");
    let started = validate(started, &metadata.config(), NOW).expect("a good batch");
    metadata.append(started, true, (), NOW);
    metadata.flush(NOW).expect("the disk works");
    let loaded = manager
        .load(live(), epoch, NOW)
        .expect("the partitions are good");
    (manager, loaded.logs)
}

fn work(manager: &LogManager<()>, logs: &[Arc<SharedLog<()>>], random: &mut Random, steps: u64) {
    for step in 0..steps {
        let log = &logs[usize::try_from(random.below(2)).expect("small")];
        let codec = Compression::ALL[usize::try_from(random.below(5)).expect("small")];
        let timestamp = NOW + i64::try_from(random.below(10_000)).expect("small");
        let mut builder = RecordBatchBuilder::new().compression(codec);
        for _ in 0..=random.below(3) {
            let value = vec![b'v'; usize::try_from(random.below(200)).expect("small")];
            builder = builder.record(timestamp, Some(b"key"), Some(&value));
        }
        let batch = builder.build().expect("a small batch");
        let valid = validate(batch, &log.config(), NOW).expect("a good batch");
        for ((), outcome) in log.append(valid, random.below(2) == 0, (), NOW) {
            outcome.expect("the disk works");
        }
        if random.below(4) == 0 {
            manager.flush_round(0);
        }
        if random.below(6) == 0 {
            manager
                .checkpoint(NOW + i64::try_from(step).expect("small"))
                .expect("the disk works");
        }
    }
}

fn verify(fs: &SimFs) -> (Vec<Finding>, VerifySummary) {
    let mut findings = Vec::new();
    let outcome = inspect::verify(fs, Path::new(DATA), &mut |finding| findings.push(finding));
    (findings, outcome.expect("the files can be read"))
}

#[test]
fn a_clean_stop_leaves_nothing_to_report() {
    for seed in 0..10 {
        let mut random = Random(seed);
        let mut fs = SimFs::new();
        for epoch in 1..4 {
            let (manager, logs) = open(&fs, epoch);
            work(&manager, &logs, &mut random, 40);
            manager.close(NOW).expect("the disk works");
            // The process ends, and with it its locks.
            fs = fs.kill();
            let (findings, summary) = verify(&fs);
            assert_eq!(findings, [], "seed {seed} epoch {epoch}");
            assert!(summary.clean && summary.batches >= 40, "{summary:?}");
        }
    }
}

#[test]
fn a_crash_leaves_nothing_that_recovery_is_not_there_for() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut fs = SimFs::new();
        for epoch in 1..4 {
            let (manager, logs) = open(&fs, epoch);
            work(&manager, &logs, &mut random, 30);
            let crashed = match random.below(3) {
                0 => fs.kill(),
                1 => fs.crash_lose_all_unsynced(),
                _ => fs.crash(random.below(1 << 30)),
            };
            fs = crashed;
            let (findings, _) = verify(&fs);
            let damages: Vec<_> = findings
                .iter()
                .filter(|found| found.severity == Severity::Damage)
                .collect();
            assert!(
                damages.is_empty(),
                "seed {seed} epoch {epoch}: {damages:#?}"
            );
        }
        let (manager, logs) = open(&fs, 9);
        assert_eq!(logs.len(), 2);
        manager.close(NOW).expect("the disk works");
        let (mut findings, _) = verify(&fs.kill());
        // What recovery cut off it keeps beside the log, for people.
        findings.retain(|found| !found.file.to_string_lossy().contains(".log.torn-"));
        assert_eq!(findings, [], "seed {seed}: recovered and closed");
    }
}
