//! The scenario: a seeded series of steps on a few partitions, and a ledger of what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_config::LogConfig;
use tidewheel_protocol::Compression;
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::{LivePartition, StorageError};

use crate::support::{self, Draft, Log, Manager, NOW, Random, append};

/// The producer id of every idempotent batch.
pub(crate) const PRODUCER: i64 = 7;

/// One step of the scenario.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append {
        topic: u64,
        durable: bool,
        draft: Draft,
        producer: bool,
    },
    Round,
    Flush {
        topic: u64,
    },
    Checkpoint,
    Retention {
        topic: u64,
    },
    AdvanceLogStart {
        topic: u64,
        percent: i64,
    },
    Create,
    Delete {
        topic: u64,
    },
    Release,
    Unlink,
    Restart {
        clean: bool,
    },
}

/// The steps of a seed.
pub(crate) fn scenario(seed: u64, len: u64) -> Vec<Step> {
    let mut random = Random(seed);
    let mut steps = vec![Step::Create, Step::Create];
    for id in 0..len {
        let topic = random.next();
        let step = match random.below(100) {
            0..=54 => {
                let mut draft = Draft::new(id);
                draft.count = 1 + random.index(4);
                draft.value_len = random.index(300);
                draft.timestamp += random.signed(200);
                if random.chance(20) {
                    draft.compression = Compression::Lz4;
                }
                let (durable, producer) = (random.chance(50), random.chance(50));
                Step::Append {
                    topic,
                    durable,
                    draft,
                    producer,
                }
            }
            55..=66 => Step::Round,
            67..=70 => Step::Flush { topic },
            71..=79 => Step::Checkpoint,
            80..=83 => Step::Retention { topic },
            84..=86 => Step::AdvanceLogStart {
                topic,
                percent: random.signed(101),
            },
            87..=88 => Step::Create,
            89 => Step::Delete { topic },
            90..=92 => Step::Release,
            93..=94 => Step::Unlink,
            95..=97 => Step::Restart { clean: true },
            _ => Step::Restart { clean: false },
        };
        steps.push(step);
    }
    steps
}

/// An append that was tried.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) draft: Draft,
    /// Where it went, if it was acknowledged.
    pub(crate) acked: Option<(i64, i64)>,
}

/// One incarnation of a topic's only partition.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) live: LivePartition,
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The largest durable offset that was ever published: readers and producers were told so.
    pub(crate) durable: i64,
    /// The largest log start that was ever published.
    pub(crate) log_start: i64,
    next_sequence: i32,
}

/// What must hold, whatever happens to the disk.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub(crate) config: LogConfig,
    /// Every partition that exists for the cluster's metadata.
    pub(crate) partitions: Vec<Partition>,
    /// The epochs that starts appended to the metadata log, durably.
    pub(crate) starts: Vec<i32>,
    /// The last start that was tried.
    pub(crate) epoch: i32,
    created: u8,
}

impl Ledger {
    pub(crate) fn live(&self) -> Vec<LivePartition> {
        self.partitions
            .iter()
            .map(|partition| partition.live.clone())
            .collect()
    }

    /// After a failed sync, what was only in the page cache may be gone.
    fn forgive_lost_cache(&mut self) {
        for partition in &mut self.partitions {
            for entry in partition.entries.values_mut() {
                entry.acked = entry
                    .acked
                    .filter(|(_, next_offset)| *next_offset <= partition.durable);
            }
        }
    }
}

/// A running broker's storage, as far as this test needs one.
pub(crate) struct World {
    pub(crate) fs: SimFs,
    pub(crate) ledger: Ledger,
    pub(crate) manager: Option<Manager>,
}

impl World {
    /// A broker with an empty disk that was not started yet.
    pub(crate) fn new(fs: SimFs) -> Self {
        let config = LogConfig {
            segment_bytes: 1_500,
            retention_bytes: 3_000,
            ..support::config()
        };
        let (partitions, starts) = (Vec::new(), Vec::new());
        let ledger = Ledger {
            config,
            partitions,
            starts,
            epoch: -1,
            created: 0,
        };
        Self {
            fs,
            ledger,
            manager: None,
        }
    }

    /// Starts the storage as the broker does: metadata log first, its epoch made durable, then topics.
    pub(crate) fn start(&mut self) -> Result<(), StorageError> {
        let started = self.try_start();
        if started.is_err() {
            // A sync of the recovery may be what failed.
            self.ledger.forgive_lost_cache();
        }
        started
    }

    fn try_start(&mut self) -> Result<(), StorageError> {
        let fs: Arc<dyn FileSystem> = Arc::new(self.fs.clone());
        if self
            .manager
            .take()
            .is_some_and(|manager| manager.offline_cause(0).is_some())
        {
            self.ledger.forgive_lost_cache();
        }
        let manager = Manager::open(fs, support::options(&["/data"]))?;
        let metadata = manager.open_metadata_log(None, NOW)?;
        let epoch = metadata.leader_epoch();
        assert!(
            self.ledger.starts.iter().all(|before| *before < epoch),
            "the epoch rises at every start"
        );
        self.ledger.epoch = self.ledger.epoch.max(epoch);
        append(
            &metadata,
            &Draft::new(u64::from(epoch.unsigned_abs())),
            true,
            NOW,
        )?;
        metadata.flush(NOW)?;
        self.ledger.starts.push(epoch);
        manager.load(self.ledger.live(), epoch, NOW)?;
        self.manager = Some(manager);
        Ok(())
    }

    fn manager(&self) -> Result<&Manager, StorageError> {
        self.manager.as_ref().ok_or(StorageError::Closed)
    }

    /// The log of the partition that a number chooses.
    fn choose(&self, topic: u64) -> Result<Option<(usize, Arc<Log>)>, StorageError> {
        let manager = self.manager()?;
        if self.ledger.partitions.is_empty() {
            return Ok(None);
        }
        let at = usize::try_from(topic % self.ledger.partitions.len() as u64).unwrap();
        let log = manager.get(&self.ledger.partitions[at].live.tp);
        Ok(log.map(|log| (at, log)))
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<(), StorageError> {
        let outcome = self.try_step(step);
        self.observe();
        outcome
    }

    fn try_step(&mut self, step: &Step) -> Result<(), StorageError> {
        match step {
            Step::Append {
                topic,
                durable,
                draft,
                producer,
            } => {
                let Some((at, log)) = self.choose(*topic)? else {
                    return Ok(());
                };
                return self.append(at, &log, *durable, draft, *producer);
            }
            Step::Round => {
                let round = self.manager()?.flush_round(0);
                return round.error.map_or(Ok(()), Err);
            }
            Step::Flush { topic } => {
                if let Some((_, log)) = self.choose(*topic)? {
                    log.flush(NOW)?;
                }
            }
            Step::Checkpoint => self.manager()?.checkpoint(NOW)?,
            Step::Retention { topic } => {
                if let Some((_, log)) = self.choose(*topic)? {
                    log.apply_retention(NOW)?;
                }
            }
            Step::AdvanceLogStart { topic, percent } => {
                if let Some((_, log)) = self.choose(*topic)? {
                    let offsets = log.offsets();
                    let span = offsets.high_watermark - offsets.log_start;
                    log.advance_log_start(offsets.log_start + span * percent / 100)?;
                }
            }
            Step::Create => return self.create(),
            Step::Delete { topic } => {
                if let Some((at, log)) = self.choose(*topic)? {
                    // The metadata says so first.
                    self.ledger.partitions.remove(at);
                    self.manager()?.delete(&log, NOW)?;
                    assert!(matches!(
                        log.read(0, 1, true),
                        Err(StorageError::PartitionDeleted)
                    ));
                }
            }
            Step::Release => {
                self.manager()?.release_idle(i64::MAX, 0);
                self.manager()?.release_idle(i64::MAX, 0);
            }
            Step::Unlink => self.manager()?.unlink_deleted(NOW)?,
            Step::Restart { clean } => {
                let closed = if *clean {
                    self.manager()?.close(NOW)
                } else {
                    Ok(())
                };
                self.observe();
                return closed.and(self.start());
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        at: usize,
        log: &Log,
        durable: bool,
        draft: &Draft,
        producer: bool,
    ) -> Result<(), StorageError> {
        let partition = &mut self.ledger.partitions[at];
        let mut draft = draft.clone();
        draft.producer = producer.then_some((PRODUCER, 0, partition.next_sequence));
        let entry = Entry {
            draft: draft.clone(),
            acked: None,
        };
        partition.entries.insert(draft.id, entry);
        let info = append(log, &draft, durable, NOW)?;
        assert!(!info.duplicate);
        let acked = Some((info.base_offset, info.last_offset + 1));
        partition.entries.insert(
            draft.id,
            Entry {
                draft: draft.clone(),
                acked,
            },
        );
        if producer {
            partition.next_sequence += i32::try_from(draft.count).unwrap();
        }
        Ok(())
    }

    /// Topics come in three names, so that a name is used again after a deletion.
    fn create(&mut self) -> Result<(), StorageError> {
        let used = |name: &str| {
            self.ledger
                .partitions
                .iter()
                .any(|one| &*one.live.tp.topic == name)
        };
        let Some(name) = ["a", "b", "c"].into_iter().find(|name| !used(name)) else {
            return Ok(());
        };
        self.ledger.created += 1;
        let live = support::live(name, self.ledger.created, self.ledger.config.clone());
        let (entries, durable, log_start, next_sequence) = (BTreeMap::new(), 0, 0, 0);
        self.ledger.partitions.push(Partition {
            live: live.clone(),
            entries,
            durable,
            log_start,
            next_sequence,
        });
        let created = self
            .manager()
            .and_then(|manager| manager.create(live, self.ledger.epoch));
        if created.as_ref().is_err_and(StorageError::is_disk_full) {
            // The broker takes it back; after a power cut in the middle it may be there.
            self.ledger.partitions.pop();
        }
        created.map(drop)
    }

    /// Notes what readers and producers can see now.
    fn observe(&mut self) {
        let Some(manager) = &self.manager else { return };
        for partition in &mut self.ledger.partitions {
            let Some(log) = manager.get(&partition.live.tp) else {
                continue;
            };
            let offsets = log.offsets();
            assert!(offsets.log_start <= offsets.high_watermark, "{offsets:?}");
            assert!(offsets.high_watermark <= offsets.log_end, "{offsets:?}");
            assert!(offsets.durable <= offsets.log_end, "{offsets:?}");
            partition.durable = partition.durable.max(offsets.durable);
            partition.log_start = partition.log_start.max(offsets.log_start);
        }
    }
}
