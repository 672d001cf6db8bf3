//! How logs come into being and go: after a start, at creation, at deletion.
//!
//! **Creation** makes no directory: that a partition exists stands in the caller's metadata, and its
//! directory is made by the first append ([`crate::log_dir::PartitionDir`]). Only where a deleted
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

use crate::dir_names::{DELETED_SUFFIX, parse_partition_dir, stray_dir_name};
use crate::error::StorageError;
use crate::leader_epochs::LeaderEpochs;
use crate::log::{Log, LogParts, Unopened};
use crate::log_dir::{PartitionDir, Presence, lost_identity};
use crate::log_manager::{DeletedDir, LogManager, ManagedDir};
use crate::log_offsets::LogPoint;
use crate::manifest::PartitionManifest;
use crate::partition_log::{FoundLog, PartitionLog};
use crate::partition_metadata::{self, PARTITION_METADATA};
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
    /// wrong with it.
    ///
    /// # Errors
    /// `Io`, `DiskFull`, and `Corrupt` where a partition's `partition.metadata` is damaged or missing:
    /// the start failed.
    pub fn load(
        &self,
        live: Vec<LivePartition>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<LoadedLogs<W>, StorageError> {
        let wanted: HashMap<&TopicPartition, &LivePartition> =
            live.iter().map(|live| (&live.tp, live)).collect();
        let mut homes: HashMap<TopicPartition, usize> = HashMap::new();
        let mut lost = Vec::new();
        for (number, managed) in self.dirs.iter().enumerate() {
            for tp in self.find_partitions(managed, &wanted, &mut lost)? {
                homes.entry(tp).or_insert(number);
            }
        }
        let missing: Vec<_> = live
            .iter()
            .filter(|live| !homes.contains_key(&live.tp))
            .cloned()
            .collect();
        lost.extend(missing.iter().filter_map(|live| self.loss(live)));
        let mut logs = Vec::with_capacity(live.len());
        let mut unknown = Vec::new();
        for live in &live {
            let Some(number) = homes.get(&live.tp) else {
                continue;
            };
            let managed = &self.dirs[*number];
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
            .map(|(number, live)| (&self.dirs[*number], *live))
            .collect();
        let recovering = self.recovering(Some(leader_epoch), now_ms);
        let (threads, told) = (self.options.recovery_threads, &self.options.progress);
        let found = recovering.recover_all(&partitions, threads, told)?;
        for ((number, live), found) in unknown.iter().zip(found) {
            logs.push(self.register(*number, found, live.config.clone()));
        }
        logs.extend(self.create_many(missing, leader_epoch)?);
        for managed in &self.dirs {
            managed
                .manifest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            managed.checkpoints.all_loaded();
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

    /// What is known of the records of a partition that has no directory any more: it was durable before
    /// they were.
    fn loss(&self, live: &LivePartition) -> Option<StorageError> {
        self.dirs.iter().find_map(|managed| {
            let manifest = managed
                .manifest
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let known = manifest.get(&live.tp);
            let known = known.filter(|known| known.topic_id == live.topic_id);
            let (start, end) = match known {
                Some(known) => (known.log_start_offset, known.log_end_offset),
                None => {
                    let at_start = managed.checkpoints.at_start(&live.tp);
                    (at_start.log_start, at_start.recovery_point)
                }
            };
            let path = managed.dir.path().join(live.tp.to_string());
            let reason = format!(
                "the directory is gone with offsets {start}..{end}; the partition begins anew, empty"
            );
            (start < end).then(|| StorageError::corrupt(&path, 0, reason))
        })
    }

    /// The partitions of a directory that are wanted; renames the others away, and tells `lost` of those that
    /// nobody can have deleted.
    fn find_partitions(
        &self,
        managed: &ManagedDir,
        wanted: &HashMap<&TopicPartition, &LivePartition>,
        lost: &mut Vec<StorageError>,
    ) -> Result<Vec<TopicPartition>, StorageError> {
        let (fs, path) = (managed.dir.fs(), managed.dir.path());
        let entries = fs
            .read_dir(path)
            .map_err(|error| StorageError::from_io("list", path, error))?;
        let mut found = Vec::new();
        for entry in entries
            .iter()
            .filter(|entry| entry.is_dir && !entry.name.ends_with(DELETED_SUFFIX))
        {
            let Some(tp) = parse_partition_dir(&entry.name) else {
                continue;
            };
            if &*tp.topic == METADATA_TOPIC {
                continue;
            }
            let id = self.id_of_dir(managed, &entry.name)?;
            if id.is_some() && id == wanted.get(&tp).map(|live| live.topic_id) {
                found.push(tp);
            } else if let Some(id) = id.filter(|_| wanted.contains_key(&tp))
                && managed.checkpoints.at_start(&tp).recovery_point > 0
            {
                lost.push(set_aside(managed, &tp, id)?);
            } else if id.is_some() || Self::is_unwritten(managed, &tp)? {
                managed.dir.retire(&tp, id)?;
            } else if wanted.contains_key(&tp) {
                return Err(lost_identity(&path.join(&entry.name)));
            }
            // Else nobody knows whose it is; it stays.
        }
        Ok(found)
    }

    /// The topic id of a partition directory; from the manifest where there is one.
    fn id_of_dir(&self, managed: &ManagedDir, name: &str) -> Result<Option<Uuid>, StorageError> {
        let Some(tp) = parse_partition_dir(name) else {
            return Ok(None);
        };
        if let Some(known) = managed
            .manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&tp)
        {
            return Ok(Some(known.topic_id));
        }
        partition_metadata::read(managed.dir.fs(), &managed.dir.path().join(name))
    }

    /// Whether a directory without identity is one that a crash kept from ever holding durable data.
    fn is_unwritten(managed: &ManagedDir, tp: &TopicPartition) -> Result<bool, StorageError> {
        // A recovery point is written after the identity is durable.
        let never_durable = managed.checkpoints.at_start(tp).recovery_point == 0;
        Ok(never_durable && managed.dir.is_unwritten(tp)?)
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
        FoundLog {
            log,
            recovery_point: known.log_end_offset,
            snapshots: known.producer_snapshot_offset.into_iter().collect(),
            cleaned_to: managed.checkpoints.at_start(&live.tp).cleaned_to,
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
        managed.checkpoints.forget(&managed.dir, &names)
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
            cleaned_to: None,
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

/// Renames the directory of a partition that bears the id of another topic, although the checkpoints know the
/// partition, and says so. A name that is used again is forgotten by them first; so most likely the id rotted,
/// which is under no checksum. Else the power went between the note that there is a new topic and that.
fn set_aside(
    managed: &ManagedDir,
    tp: &TopicPartition,
    id: Uuid,
) -> Result<StorageError, StorageError> {
    let (fs, from) = (managed.dir.fs(), managed.dir.path().join(tp.to_string()));
    let failed = |error| {
        let error = StorageError::from_io("rename", &from, error);
        managed.dir.write_failed(error)
    };
    let name = stray_dir_name(tp, id);
    let mut to = managed.dir.path().join(&name);
    let mut number = 0;
    while fs.exists(&to).map_err(failed)? {
        number += 1;
        to = managed.dir.path().join(format!("{name}.{number}"));
    }
    fs.rename(&from, &to).map_err(failed)?;
    managed.dir.sync_names()?;
    let reason = format!(
        "it names another topic; the directory is kept as {}",
        to.display()
    );
    Ok(StorageError::corrupt(
        &from.join(PARTITION_METADATA),
        0,
        reason,
    ))
}

/// The settings of the metadata log: nothing in it expires.
fn metadata_config() -> LogConfig {
    LogConfig {
        segment_bytes: 64 << 20,
        max_message_bytes: 64 << 20,
        ..LogConfig::everlasting()
    }
}
