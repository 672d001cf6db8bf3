//! How logs come into being and go: after a start, at creation, at deletion.
//!
//! **Creation** makes no directory: that a partition exists stands in the caller's metadata, and its
//! directory is made by the first append ([`crate::partition_dir::PartitionDir`]). Only where a deleted
//! partition had the same name, the checkpoint files forget it first, durably, so that its numbers
//! never meet the new one. A directory without `partition.metadata` never held data of ours: where it
//! holds files all the same, it is left alone.
//!
//! **Deletion** renames the directory. Where a crash loses the rename, the directory is found at the
//! next start under an id that no topic has any more, and goes then. The caller has made the deletion
//! durable in the metadata before. Files are unlinked only once the rename is durable.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tidewheel_config::LogConfig;
use tidewheel_protocol::{TopicPartition, Uuid};

use crate::dir_names::parse_partition_dir;
use crate::error::StorageError;
use crate::leader_epochs::LeaderEpochs;
use crate::log::{Log, LogParts, Unopened};
use crate::log_manager::{DeletedDir, LogManager, ManagedDir};
use crate::log_offsets::LogPoint;
use crate::manifest::PartitionManifest;
use crate::partition_dir::{PartitionDir, Presence};
use crate::partition_homes::Homes;
use crate::partition_log::{FoundLog, PartitionLog};
use crate::partition_state::PartitionState;
use crate::producer_state::ProducerState;
use crate::recovering::Recovering;
use crate::segment::LogSegment;
use crate::segments::{SegmentList, Segments};
use crate::shared_log::{LogId, SharedLog};

/// The topic of the metadata log.
pub const METADATA_TOPIC: &str = "__tidewheel_metadata";
/// The topic id of the metadata log; Kafka gives its own metadata topic the same.
const METADATA_TOPIC_ID: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// A partition that exists, or is to exist.
#[derive(Clone, Debug)]
pub struct LivePartition {
    /// Which one.
    pub tp: TopicPartition,
    /// The id of its topic.
    pub topic_id: Uuid,
    /// Its settings.
    pub config: LogConfig,
}

/// The logs of a start.
#[derive(Debug)]
pub struct LoadedLogs<W> {
    /// One per partition, in no particular order.
    pub logs: Vec<Arc<SharedLog<W>>>,
    /// Partitions whose directories are gone although records in them were durable. They begin anew,
    /// empty, as with Kafka; a person must know.
    pub lost: Vec<StorageError>,
    /// Checkpoint files that are damaged, or missing beside others. What another one says was believed, or what
    /// is left of them; a person should know.
    pub doubts: Vec<StorageError>,
}

impl<W> LogManager<W> {
    /// Opens the metadata log, which lies in the first log directory and is recovered at every start.
    /// With no `leader_epoch` it is written under one more than the last epoch in it: since every
    /// start appends to it, that is the epoch of this start.
    ///
    /// # Errors
    /// `Io`, `DiskFull`; `Corrupt` where durable metadata is damaged or missing.
    pub fn open_metadata_log(
        &self,
        leader_epoch: Option<i32>,
        now_ms: i64,
    ) -> Result<Arc<SharedLog<W>>, StorageError> {
        let tp = TopicPartition {
            topic: Arc::from(METADATA_TOPIC),
            partition: 0,
        };
        let live = LivePartition {
            tp,
            topic_id: METADATA_TOPIC_ID,
            config: metadata_config(),
        };
        let managed = &self.dirs[0];
        let name = live.tp.to_string();
        if self.id_of_dir(managed, &name)? != Some(METADATA_TOPIC_ID) {
            self.refuse_lost_metadata()?;
            self.make_way(0, std::slice::from_ref(&live))?;
        }
        let recovering = self.recovering(leader_epoch, now_ms);
        let found = recovering.recover(managed, &live)?;
        if let Some(damage) = found.log.refusal() {
            return Err(damage.clone());
        }
        if found.log.state().end().offset == 0 {
            self.refuse_lost_metadata()?;
        }
        Ok(self.register(0, found, live.config))
    }

    /// Fails where there are partitions: with empty metadata all of them would belong to no topic and
    /// be deleted.
    fn refuse_lost_metadata(&self) -> Result<(), StorageError> {
        for managed in &self.dirs {
            let (fs, path) = (managed.dir.fs(), managed.dir.path());
            let entries = fs
                .read_dir(path)
                .map_err(|error| StorageError::from_io("list", path, error))?;
            for entry in entries.iter().filter(|entry| entry.is_dir) {
                let tp = parse_partition_dir(&entry.name);
                let topic = tp.is_some_and(|tp| &*tp.topic != METADATA_TOPIC);
                if topic && self.id_of_dir(managed, &entry.name)?.is_some() {
                    let reason = format!("it is missing or empty, but {} exists", entry.name);
                    let metadata = self.dirs[0].dir.path();
                    let metadata = metadata.join(format!("{METADATA_TOPIC}-0"));
                    return Err(StorageError::corrupt(&metadata, 0, reason));
                }
            }
        }
        Ok(())
    }

    /// Opens the logs of all partitions that exist, also of those that were never written and have no
    /// directory, and takes directories away that belonged to others. After a clean stop this opens no
    /// file of a partition.
    ///
    /// A partition with damaged durable data comes back too; [`SharedLog::refusal`] says what is
    /// wrong with it. So does one that cannot be read at all, or that may lie in a directory that is offline:
    /// [`SharedLog::unavailable`] says why.
    ///
    /// # Errors
    /// `Io` where the first directory cannot be read or written, `DiskFull`: the start failed.
    pub fn load(
        &self,
        live: Vec<LivePartition>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<LoadedLogs<W>, StorageError> {
        let wanted: HashMap<&TopicPartition, &LivePartition> =
            live.iter().map(|live| (&live.tp, live)).collect();
        let (homes, mut lost) = self.find_homes(&wanted)?;
        let missing: Vec<_> = live
            .iter()
            .filter(|live| !homes.contains_key(&live.tp))
            .cloned()
            .collect();
        let mut logs = self.open_found(&live, &homes, leader_epoch, now_ms)?;
        match self.offline_dir() {
            // They may lie there. Made anew elsewhere, their offsets would be used twice.
            Some((number, error)) => logs.extend(
                missing
                    .iter()
                    .map(|live| self.register_unavailable(number, live, leader_epoch, &error)),
            ),
            None => {
                lost.extend(missing.iter().filter_map(|live| self.loss(live)));
                logs.extend(self.create_many(missing, leader_epoch)?);
            }
        }
        let unavailable = logs.iter().filter(|log| log.unavailable().is_some());
        let unavailable = unavailable
            .map(|log| log.topic_partition().clone())
            .collect();
        for managed in &self.dirs {
            managed
                .manifest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            managed.checkpoints.all_loaded(&unavailable);
            if managed.dir.check_online().is_ok() && managed.checkpoints.are_behind() {
                // Also where no log of the directory ever writes anything.
                managed.turn.want();
            }
        }
        self.registry().loaded = true;
        let doubts = self.dirs.iter();
        let doubts = doubts.flat_map(|managed| managed.checkpoints.take_doubts());
        Ok(LoadedLogs {
            logs,
            lost,
            doubts: doubts.collect(),
        })
    }

    /// The logs of all partitions that have a directory.
    fn open_found(
        &self,
        live: &[LivePartition],
        homes: &Homes,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Vec<Arc<SharedLog<W>>>, StorageError> {
        let mut logs = Vec::with_capacity(live.len());
        let mut unknown = Vec::new();
        for live in live {
            let Some((number, failed)) = homes.get(&live.tp) else {
                continue;
            };
            let managed = &self.dirs[*number];
            if let Some(error) = failed {
                logs.push(self.register_unavailable(*number, live, leader_epoch, error));
                continue;
            }
            let known = managed
                .manifest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&live.tp);
            match known {
                Some(known) => {
                    let found = self.known(managed, live, &known, leader_epoch);
                    logs.push(self.register(*number, found, live.config.clone()));
                }
                None => unknown.push((*number, live)),
            }
        }
        let partitions = unknown.iter();
        let partitions: Vec<_> = partitions
            .map(|(number, live)| (*number, &self.dirs[*number], *live))
            .collect();
        let recovering = self.recovering(Some(leader_epoch), now_ms);
        let (threads, told) = (self.options.recovery_threads, &self.options.progress);
        let found = recovering.recover_all(&partitions, threads, told)?;
        for ((number, live), found) in unknown.iter().zip(found) {
            logs.push(match found {
                Ok(found) => self.register(*number, found, live.config.clone()),
                Err(error) => self.register_unavailable(*number, live, leader_epoch, &error),
            });
        }
        Ok(logs)
    }

    /// A directory that is offline, and the error of those who ask for what lies there.
    fn offline_dir(&self) -> Option<(usize, StorageError)> {
        self.dirs.iter().enumerate().find_map(|(number, managed)| {
            let error = managed.dir.check_online().err()?;
            Some((number, error))
        })
    }

    /// A log that takes nothing and says nothing of itself until another start. Its numbers in the checkpoint files
    /// stay as they are.
    fn register_unavailable(
        &self,
        number: usize,
        live: &LivePartition,
        leader_epoch: i32,
        error: &StorageError,
    ) -> Arc<SharedLog<W>> {
        let mut found = self.new_log(number, live, leader_epoch);
        found.log.segments().dir().set_unavailable(error.clone());
        found.log.refuse(error.clone());
        self.register(number, found, live.config.clone())
    }

    fn recovering(&self, leader_epoch: Option<i32>, now_ms: i64) -> Recovering {
        Recovering {
            leader_epoch,
            producer_expiration_ms: self.options.producer_expiration_ms,
            now_ms,
        }
    }

    /// A log as the manifest of a clean stop describes it; nothing is opened.
    fn known(
        &self,
        managed: &ManagedDir,
        live: &LivePartition,
        known: &PartitionManifest,
        leader_epoch: i32,
    ) -> FoundLog {
        // The manifest is written after a sync of every log that holds data.
        let dir = partition_dir(managed, live, known.log_end_offset > 0);
        let mut segments: Vec<_> = known
            .segments
            .iter()
            .map(|entry| Arc::new(LogSegment::known(Arc::clone(&dir), entry)))
            .collect();
        if segments.is_empty() {
            segments.push(Arc::new(LogSegment::empty(
                Arc::clone(&dir),
                known.log_end_offset,
            )));
        }
        segments
            .iter()
            .rev()
            .skip(1)
            .for_each(|segment| segment.seal());
        let list = SegmentList::new(segments);
        let active = list.active();
        let end = LogPoint {
            offset: known.log_end_offset,
            bytes: 0,
            segment_base: active.base_offset(),
            position: active.published_len(),
        };
        let epochs = LeaderEpochs::from_entries(known.leader_epochs.iter().copied());
        let producers = ProducerState::new(self.options.producer_expiration_ms);
        let log = Log::new(LogParts {
            state: PartitionState::new(
                known.log_start_offset,
                end,
                leader_epoch,
                epochs,
                producers,
            ),
            segments: Segments::new(dir, list, Vec::new()),
            unopened: Some(Unopened {
                snapshot_offset: known.producer_snapshot_offset,
                producer_expiration_ms: self.options.producer_expiration_ms,
            }),
            refusal: None,
            changed: false,
        });
        let snapshots = known.producer_snapshot_offset.into_iter();
        let snapshots = snapshots.chain(known.older_snapshot_offsets.iter().copied());
        FoundLog {
            log,
            recovery_point: known.log_end_offset,
            snapshots: snapshots.collect(),
            cleaned: managed.checkpoints.at_start(&live.tp).cleaned,
        }
    }

    /// Makes a partition. It is the caller who remembers that it exists.
    ///
    /// # Errors
    /// `DiskFull`, `LogDirOffline`, `Io`; `Corrupt` where somebody's files lie in its place.
    pub fn create(
        &self,
        live: LivePartition,
        leader_epoch: i32,
    ) -> Result<Arc<SharedLog<W>>, StorageError> {
        let mut logs = self.create_many(vec![live], leader_epoch)?;
        Ok(logs
            .pop()
            .unwrap_or_else(|| unreachable!("one log for one partition")))
    }

    /// Makes partitions, in the directories that hold the fewest. It is the caller who remembers that
    /// they exist; their directories are made by the first append. On an error none of them is open.
    ///
    /// # Errors
    /// As [`LogManager::create`].
    pub fn create_many(
        &self,
        live: Vec<LivePartition>,
        leader_epoch: i32,
    ) -> Result<Vec<Arc<SharedLog<W>>>, StorageError> {
        let mut by_dir: Vec<Vec<LivePartition>> = self.dirs.iter().map(|_| Vec::new()).collect();
        let mut counts = self.partition_counts();
        for live in &live {
            let emptiest = (0..counts.len()).filter(|number| counts[*number].is_some());
            let Some(number) = emptiest.min_by_key(|number| counts[*number]) else {
                self.dirs[0].dir.check_online()?;
                continue;
            };
            counts[number] = counts[number].map(|count| count + 1);
            by_dir[number].push(live.clone());
        }
        for (number, live) in by_dir
            .iter()
            .enumerate()
            .filter(|(_, live)| !live.is_empty())
        {
            self.make_way(number, live)?;
        }
        let mut logs = Vec::with_capacity(live.len());
        for (number, live) in by_dir.into_iter().enumerate() {
            for live in live {
                let found = self.new_log(number, &live, leader_epoch);
                logs.push(self.register(number, found, live.config));
            }
        }
        Ok(logs)
    }

    /// Partitions per directory, `None` for those that are offline.
    fn partition_counts(&self) -> Vec<Option<usize>> {
        let mut counts: Vec<_> = self
            .dirs
            .iter()
            .map(|managed| managed.dir.check_online().ok().map(|()| 0))
            .collect();
        for (number, _) in self.registry().logs.values() {
            counts[*number] = counts[*number].map(|count: usize| count + 1);
        }
        counts
    }

    /// Readies a directory for new partitions: nobody's files lie in their places, and the checkpoint
    /// files know nothing of their names.
    fn make_way(&self, number: usize, live: &[LivePartition]) -> Result<(), StorageError> {
        let managed = &self.dirs[number];
        managed.dir.check_online()?;
        for live in live {
            managed.dir.check_place(&live.tp)?;
        }
        let names: Vec<_> = live.iter().map(|live| live.tp.clone()).collect();
        managed.checkpoints.forget(&managed.dir, &names)?;
        // A deleted topic of the same name may have lain in another one.
        let others = self.dirs.iter().enumerate();
        let mut others = others.filter(|(other, managed)| {
            *other != number
                && managed.dir.check_online().is_ok()
                && managed.checkpoints.know_any(&names)
        });
        others.try_for_each(|(_, managed)| {
            let forgotten = managed.checkpoints.forget(&managed.dir, &names);
            // As if it had been offline before: the next start finds the new one here.
            let is_spared = |error: &StorageError| {
                error.is_disk_full() || managed.dir.offline_cause().is_some()
            };
            match forgotten {
                Err(error) if is_spared(&error) => Ok(()),
                forgotten => forgotten,
            }
        })
    }

    fn new_log(&self, number: usize, live: &LivePartition, leader_epoch: i32) -> FoundLog {
        let dir = partition_dir(&self.dirs[number], live, false);
        let list = SegmentList::new(vec![Arc::new(LogSegment::empty(Arc::clone(&dir), 0))]);
        let producers = ProducerState::new(self.options.producer_expiration_ms);
        let end = LogPoint::default();
        let log = Log::new(LogParts {
            state: PartitionState::new(0, end, leader_epoch, LeaderEpochs::new(), producers),
            segments: Segments::new(dir, list, Vec::new()),
            unopened: None,
            refusal: None,
            changed: false,
        });
        FoundLog {
            log,
            recovery_point: 0,
            snapshots: BTreeSet::new(),
            cleaned: None,
        }
    }

    fn register(&self, number: usize, found: FoundLog, config: LogConfig) -> Arc<SharedLog<W>> {
        let id = LogId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let dir = &self.dirs[number];
        let noted = dir.checkpoints.at_start(found.log.segments().dir().tp());
        let log = Arc::new(PartitionLog::new(id, found, noted.high_watermark, config));
        log.dir().set_log(&log);
        log.dir().stir();
        let shared = Arc::new(SharedLog::new(log));
        let tp = shared.topic_partition().clone();
        self.registry()
            .logs
            .insert(tp, (number, Arc::clone(&shared)));
        shared
    }

    /// Deletes a partition: nothing of it can be read or written from here on, except slices that
    /// readers hold. Its files are unlinked by [`LogManager::unlink_deleted`].
    ///
    /// # Errors
    /// `Io` where the directory cannot be renamed; the partition is gone all the same, and its files
    /// go at the next start.
    pub fn delete(&self, log: &SharedLog<W>, now_ms: i64) -> Result<(), StorageError> {
        let tp = log.topic_partition();
        let mut registry = self.registry();
        let open = registry
            .logs
            .get(tp)
            .map(|(number, log)| (*number, log.id()));
        if let Some((number, id)) = open
            && id == log.id()
        {
            registry.logs.remove(tp);
            let kept = DeletedDir {
                since_ms: now_ms,
                delay_ms: log.config().file_delete_delay_ms,
            };
            let name = log.partition_log().deleted_dir_name();
            // Before the rename: a directory that is not noted is removed at once.
            if log.partition_log().dir().is_made() {
                self.dirs[number].deleted().insert(name, kept);
            }
        }
        drop(registry);
        log.partition_log().delete()
    }
}

pub(crate) fn partition_dir(
    managed: &ManagedDir,
    live: &LivePartition,
    is_durable: bool,
) -> Arc<PartitionDir> {
    let (log_dir, tp) = (Arc::clone(&managed.dir), live.tp.clone());
    let presence = match is_durable {
        true => Presence::Durable,
        false => Presence::Unknown,
    };
    Arc::new(PartitionDir::new(log_dir, tp, live.topic_id, presence))
}

/// The settings of the metadata log: nothing in it expires.
fn metadata_config() -> LogConfig {
    LogConfig {
        segment_bytes: 64 << 20,
        max_message_bytes: 64 << 20,
        ..LogConfig::everlasting()
    }
}
