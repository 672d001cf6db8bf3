//! Where the partitions of a start lie, and whose the directories are that look like one.
//!
//! A directory goes by the topic id in it. One of a topic that is gone is renamed and removed later; one that bears
//! a wrong id is kept aside, unless the right one is found in another directory; one that nobody can say anything
//! about stays as it is.

use std::collections::HashMap;
use std::sync::PoisonError;

use tidewheel_protocol::{TopicPartition, Uuid};

use crate::claiming::{may_be_spared, spared};
use crate::dir_names::{DELETED_SUFFIX, parse_partition_dir, stray_dir_name};
use crate::error::StorageError;
use crate::log_loading::{LivePartition, METADATA_TOPIC};
use crate::log_manager::{LogManager, ManagedDir};
use crate::partition_dir::lost_identity;
use crate::partition_metadata::{self, PARTITION_METADATA};

/// The number of the directory of each partition, and why it cannot be used.
pub(crate) type Homes = HashMap<TopicPartition, (usize, Option<StorageError>)>;

/// What lies in one directory.
#[derive(Default)]
struct FoundPartitions {
    /// The partitions that are wanted, and of some why they cannot be used.
    partitions: Vec<(TopicPartition, Option<StorageError>)>,
    /// Those that are wanted and bear the id of another topic, although the checkpoints know them.
    misnamed: Vec<(TopicPartition, Uuid)>,
}

impl<W> LogManager<W> {
    /// Where each of the partitions lies that are wanted, and for some why they cannot be used; what is lost, and is
    /// found twice. A directory but the first that cannot be listed is offline from here on.
    pub(crate) fn find_homes(
        &self,
        wanted: &HashMap<&TopicPartition, &LivePartition>,
    ) -> Result<(Homes, Vec<StorageError>), StorageError> {
        let mut homes = Homes::new();
        let (mut lost, mut misnamed) = (self.given_up.clone(), Vec::new());
        for (number, managed) in self.dirs.iter().enumerate() {
            if number > 0 && managed.dir.offline_cause().is_some() {
                continue;
            }
            let found = match self.find_partitions(managed, wanted) {
                Err(error) => {
                    managed.dir.take_offline(spared(number, error)?);
                    continue;
                }
                Ok(found) => found,
            };
            misnamed.extend(found.misnamed.into_iter().map(|(tp, id)| (number, tp, id)));
            for (tp, failed) in found.partitions {
                if let Some((other, _)) = homes.get(&tp) {
                    let other = self.dirs[*other].dir.path().display();
                    let reason = format!("that in {other} is used, this one is left alone");
                    let path = managed.dir.path().join(tp.to_string());
                    lost.push(StorageError::corrupt(&path, 0, reason));
                } else {
                    homes.insert(tp, (number, failed));
                }
            }
        }
        for (number, tp, id) in misnamed {
            let managed = &self.dirs[number];
            let is_elsewhere = homes.get(&tp).is_some_and(|(_, failed)| failed.is_none());
            let moved = match is_elsewhere {
                // The topic was deleted and made anew while this directory was away.
                true => managed.dir.retire(&tp, Some(id)),
                false => set_aside(managed, &tp, id).map(|error| lost.push(error)),
            };
            if let Err(error) = moved {
                managed.dir.take_offline(spared(number, error)?);
                homes.retain(|_, (home, _)| *home != number);
            }
        }
        Ok((homes, lost))
    }

    /// What lies in a directory; those partitions that are not wanted are renamed away.
    fn find_partitions(
        &self,
        managed: &ManagedDir,
        wanted: &HashMap<&TopicPartition, &LivePartition>,
    ) -> Result<FoundPartitions, StorageError> {
        let (fs, path) = (managed.dir.fs(), managed.dir.path());
        let entries = fs
            .read_dir(path)
            .map_err(|error| StorageError::from_io("list", path, error))?;
        let mut found = FoundPartitions::default();
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
            let id = self.id_of_dir(managed, &entry.name).and_then(|id| {
                let is_nobodys = id.is_none() && Self::is_unwritten(managed, &tp)?;
                Ok((id, is_nobodys))
            });
            let is_wanted = wanted.contains_key(&tp);
            match id {
                Ok((Some(id), _)) if wanted.get(&tp).is_some_and(|live| live.topic_id == id) => {
                    found.partitions.push((tp, None));
                }
                Ok((Some(id), _))
                    if is_wanted && managed.checkpoints.at_start(&tp).recovery_point > 0 =>
                {
                    found.misnamed.push((tp, id));
                }
                Ok((id @ Some(_), _) | (id, true)) => managed.dir.retire(&tp, id)?,
                Err(error) if !may_be_spared(&error) => return Err(error),
                // Nobody knows whose it is; it stays.
                _ if !is_wanted => {}
                Ok(_) => {
                    let lost = lost_identity(&path.join(&entry.name));
                    found.partitions.push((tp, Some(lost)));
                }
                Err(error) => found.partitions.push((tp, Some(error))),
            }
        }
        Ok(found)
    }

    /// The topic id of a partition directory; from the manifest where there is one.
    pub(crate) fn id_of_dir(
        &self,
        managed: &ManagedDir,
        name: &str,
    ) -> Result<Option<Uuid>, StorageError> {
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

    /// What is known of the records of a partition that has no directory any more: it was durable before
    /// they were.
    pub(crate) fn loss(&self, live: &LivePartition) -> Option<StorageError> {
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
}

/// Renames the directory of a partition that bears the id of another topic, although the checkpoints know the
/// partition, and says so. A name that is used again is forgotten before the new topic is noted by all directories
/// that are there and have room for it; so most likely the id rotted, which is under no checksum.
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
    let named = |number| managed.dir.path().join(stray_dir_name(tp, id, number));
    let mut to = named(0);
    for number in 1.. {
        if !fs.exists(&to).map_err(failed)? {
            break;
        }
        to = named(number);
    }
    fs.rename(&from, &to).map_err(failed)?;
    managed.dir.sync_names()?;
    managed.checkpoints.set_aside(tp);
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
