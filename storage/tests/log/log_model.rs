//! Random operations on one partition beside a model that is a list of batches. Clean stops and
//! deaths of the process come at random; nothing may be lost by either.

use std::sync::Arc;

use crate::support::{
    self, Draft, Log, Manager, NOW, append, check_lookups, id_of, live, open, read_all,
};
use proptest::prelude::*;
use tidewheel_config::LogConfig;
use tidewheel_protocol::Compression;
use tidewheel_storage::StorageError;
use tidewheel_storage::fs::{FileSystem, SimFs};

#[derive(Clone, Debug)]
enum Op {
    Append {
        durable: bool,
        count: usize,
        value_len: usize,
        ahead_ms: i64,
        gzip: bool,
        producer: bool,
    },
    /// Send the batch of the producer again that many batches back.
    Repeat {
        back: usize,
    },
    Round,
    Flush,
    Checkpoint,
    Release,
    Retention {
        keep_percent: i64,
    },
    AdvanceLogStart {
        percent: i64,
    },
    ReopenClean,
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    let append = (
        any::<bool>(),
        1..6_usize,
        0..400_usize,
        -500..500_i64,
        any::<bool>(),
        any::<bool>(),
    );
    prop_oneof![
        12 => append.prop_map(|(durable, count, value_len, ahead_ms, gzip, producer)| {
            Op::Append { durable, count, value_len, ahead_ms, gzip, producer }
        }),
        2 => (0..5_usize).prop_map(|back| Op::Repeat { back }),
        3 => Just(Op::Round),
        1 => Just(Op::Flush),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Release),
        1 => (0..100_i64).prop_map(|keep_percent| Op::Retention { keep_percent }),
        1 => (0..=100_i64).prop_map(|percent| Op::AdvanceLogStart { percent }),
        1 => Just(Op::ReopenClean),
        1 => Just(Op::Kill),
    ]
}

#[derive(Clone, Debug)]
struct Entry {
    base_offset: i64,
    next_offset: i64,
    draft: Draft,
    /// Seen only once it is durable.
    durable: bool,
    epoch: i32,
}

struct Model {
    fs: SimFs,
    manager: Option<Manager>,
    log: Arc<Log>,
    config: LogConfig,
    entries: Vec<Entry>,
    log_start: i64,
    durable: i64,
    epoch: i32,
    next_id: u64,
    sequence: i32,
}

impl Model {
    fn new() -> Self {
        let fs = SimFs::new();
        let config = support::config();
        let (manager, log) = start(&fs, &config, 0);
        Self {
            fs,
            manager: Some(manager),
            log,
            config,
            entries: Vec::new(),
            log_start: 0,
            durable: 0,
            epoch: 0,
            next_id: 0,
            sequence: 0,
        }
    }

    fn manager(&self) -> &Manager {
        self.manager.as_ref().unwrap()
    }

    fn end(&self) -> i64 {
        self.entries.last().map_or(0, |entry| entry.next_offset)
    }

    fn high_watermark(&self) -> i64 {
        let waits = |entry: &&Entry| entry.durable && entry.next_offset > self.durable;
        self.entries
            .iter()
            .find(waits)
            .map_or(self.end(), |entry| entry.base_offset)
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append {
                durable,
                count,
                value_len,
                ahead_ms,
                gzip,
                producer,
            } => {
                let mut draft = Draft::new(self.next_id);
                draft.timestamp += ahead_ms;
                (draft.count, draft.value_len) = (count, value_len);
                draft.compression = if gzip {
                    Compression::Gzip
                } else {
                    Compression::None
                };
                draft.producer = producer.then_some((7, 0, self.sequence));
                self.append(draft, durable);
            }
            Op::Repeat { back } => self.repeat(back),
            Op::Round => {
                let round = self.manager().flush_round(0);
                assert!(round.error.is_none(), "{round:?}");
                self.durable = self.end();
            }
            Op::Flush => {
                self.log.flush(NOW).unwrap();
                self.durable = self.end();
            }
            Op::Checkpoint => {
                self.manager().checkpoint(NOW).unwrap();
                self.durable = self.log.offsets().durable;
                assert!(self.durable <= self.end());
            }
            Op::Release => {
                // What was used since the first call is closed by the second.
                self.manager().release_idle(i64::MAX, 0);
                self.manager().release_idle(i64::MAX, 0);
            }
            Op::Retention { keep_percent } => self.retain(keep_percent),
            Op::AdvanceLogStart { percent } => {
                let high_watermark = self.high_watermark();
                let target = self.log_start + (high_watermark - self.log_start) * percent / 100;
                assert_eq!(self.log.advance_log_start(target).unwrap(), target);
                self.log_start = target;
                let beyond = self.log.advance_log_start(high_watermark + 1);
                assert!(matches!(beyond, Err(StorageError::OffsetOutOfRange { .. })));
            }
            Op::ReopenClean => {
                self.manager().close(NOW).unwrap();
                let closed = append(&self.log, &Draft::new(999_999), false, NOW);
                assert!(matches!(closed, Err(StorageError::Closed)), "{closed:?}");
                self.durable = self.end();
                self.manager = None;
                self.reopen();
            }
            Op::Kill => {
                // Without a checkpoint of the log start, deleted records come back, as in Kafka.
                self.manager().checkpoint(NOW).unwrap();
                self.manager = None;
                self.fs = self.fs.kill();
                self.durable = self.end();
                self.reopen();
            }
        }
    }

    fn append(&mut self, draft: Draft, durable: bool) {
        let info = append(&self.log, &draft, durable, NOW).unwrap();
        assert_eq!((info.base_offset, info.duplicate), (self.end(), false));
        assert_eq!(info.leader_epoch, self.epoch);
        assert_eq!(info.log_start_offset, self.log_start);
        if draft.producer.is_some() {
            self.sequence += i32::try_from(draft.count).unwrap();
        }
        self.next_id += 1;
        let next_offset = info.last_offset + 1;
        let (base_offset, epoch) = (info.base_offset, self.epoch);
        self.entries.push(Entry {
            base_offset,
            next_offset,
            draft,
            durable,
            epoch,
        });
    }

    fn repeat(&mut self, back: usize) {
        let produced = self
            .entries
            .iter()
            .rev()
            .filter(|entry| entry.draft.producer.is_some());
        let Some(entry) = produced.take(5).nth(back).cloned() else {
            return;
        };
        let info = append(&self.log, &entry.draft, false, NOW).unwrap();
        assert!(info.duplicate, "a producer's last five batches are known");
        assert_eq!(
            (info.base_offset, info.last_offset + 1),
            (entry.base_offset, entry.next_offset)
        );
        assert_eq!(self.log.offsets().log_end, self.end());
    }

    fn retain(&mut self, keep_percent: i64) {
        let size = i64::try_from(self.log.size_bytes()).unwrap();
        let before = self.log.size_bytes();
        let config = LogConfig {
            retention_bytes: size * keep_percent / 100,
            ..self.config.clone()
        };
        self.log.set_config(config);
        let outcome = self.log.apply_retention(NOW).unwrap();
        self.log.set_config(self.config.clone());
        assert_eq!(before - self.log.size_bytes(), outcome.deleted_bytes);
        assert!(outcome.log_start <= self.high_watermark());
        let starts = self
            .entries
            .iter()
            .map(|entry| entry.base_offset)
            .chain([self.end()]);
        let on_batch = starts
            .chain([self.log_start])
            .any(|start| start == outcome.log_start);
        assert!(
            on_batch && outcome.log_start >= self.log_start,
            "{outcome:?}"
        );
        self.log_start = outcome.log_start;
    }

    fn reopen(&mut self) {
        self.epoch += 1;
        let (manager, log) = start(&self.fs, &self.config, self.epoch);
        (self.manager, self.log) = (Some(manager), log);
        assert_eq!(
            self.log.offsets().durable,
            self.end(),
            "all that was found is durable"
        );
        // What waited for the disk is on it now.
        self.durable = self.end();
    }

    fn check(&self) {
        let offsets = self.log.offsets();
        assert_eq!(offsets.log_end, self.end());
        assert_eq!(offsets.durable, self.durable);
        assert_eq!(offsets.high_watermark, self.high_watermark());
        assert_eq!(offsets.log_start, self.log_start);
        let expected: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| {
                entry.next_offset > self.log_start && entry.next_offset <= self.high_watermark()
            })
            .map(|entry| {
                (
                    entry.base_offset,
                    entry.next_offset,
                    entry.epoch,
                    entry.draft.id,
                )
            })
            .collect();
        for max_bytes in [1, 300, 1 << 20] {
            let batches = read_all(&self.log, max_bytes);
            let found: Vec<_> = batches
                .iter()
                .map(|batch| {
                    let header = &batch.header;
                    (
                        header.base_offset,
                        header.next_offset(),
                        header.partition_leader_epoch,
                        id_of(batch),
                    )
                })
                .collect();
            assert_eq!(found, expected);
            if max_bytes == 300 {
                check_lookups(&self.log, &batches);
            }
        }
        for outside in [offsets.log_start - 1, offsets.log_end + 1] {
            let read = self.log.read(outside, 1, true);
            assert!(
                matches!(read, Err(StorageError::OffsetOutOfRange { .. })),
                "{read:?}"
            );
        }
    }
}

fn start(fs: &SimFs, config: &LogConfig, epoch: i32) -> (Manager, Arc<Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let (manager, mut logs) = open(&fs, vec![live("t", 1, config.clone())], epoch).unwrap();
    (manager, logs.pop().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_log_is_a_list_of_batches(ops in prop::collection::vec(op(), 1..80)) {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        model.check();
        model.apply(&Op::Kill);
        model.check();
        model.apply(&Op::ReopenClean);
        model.check();
    }
}
