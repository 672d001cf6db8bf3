//! Writing a checkpoint, and removing what it makes superfluous. The slow part needs no lock.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::Bucket;
use super::delay_log::{DelaySync, LogSegment, sync_failed};
use super::key::{DelayKey, PartitionId};
use super::queue::DelayQueue;
use super::snapshot::{BucketSnapshot, CancelledIdSnapshot, PartitionSnapshot, Snapshot};
use crate::error::StorageError;
use crate::fs::{FileSystem, OpenMode};

/// A checkpoint that is being written.
#[derive(Debug)]
pub struct DelayCheckpoint {
    dir: PathBuf,
    snapshot: Snapshot,
    /// What the snapshot counts lies in the delay log and is made durable first.
    log: Option<DelaySync>,
    /// Buckets that were written since they were last synced.
    dirty: Vec<PathBuf>,
    new_names: bool,
    /// What nobody needs once the checkpoint is there, and whether it was damaged.
    superfluous: Vec<(PathBuf, bool)>,
}

impl DelayCheckpoint {
    /// Does all of it: [`DelayCheckpoint::sync_log`], then [`DelayCheckpoint::write`].
    ///
    /// # Errors
    /// Those of both.
    pub fn run(&self, fs: &dyn FileSystem) -> Result<(), StorageError> {
        self.sync_log(fs)?;
        self.write(fs)
    }

    /// Makes the delay log durable as far as the checkpoint counts it. Nobody else may sync the delay log
    /// meanwhile; no lock of the queue is needed.
    ///
    /// # Errors
    /// Those of [`DelaySync::run`].
    pub fn sync_log(&self, fs: &dyn FileSystem) -> Result<(), StorageError> {
        self.log.as_ref().map_or(Ok(()), |log| log.run(fs))
    }

    /// What [`DelayCheckpoint::sync_log`] syncs, if anything: to be told to [`DelayQueue::synced`].
    #[must_use]
    pub fn log_sync(&self) -> Option<&DelaySync> {
        self.log.as_ref()
    }

    /// The partitions as the checkpoint has them: the key up to which each is delivered for good, and the
    /// offset before which no batch of its log has a greater one.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, DelayKey, i64)> {
        let partitions = self.snapshot.partitions.iter();
        partitions.map(|partition| (partition.id, partition.cursor, partition.scan_from))
    }

    /// Writes the checkpoint, then removes files. Needs no lock.
    ///
    /// # Errors
    /// `DiskFull`, after which the checkpoint before stands or this one does; `Io`.
    pub fn write(&self, fs: &dyn FileSystem) -> Result<(), StorageError> {
        for path in &self.dirty {
            let file = fs
                .open(path, OpenMode::ReadWrite)
                .map_err(|error| StorageError::from_io("open", path, error))?;
            file.sync_data().map_err(|error| sync_failed(path, error))?;
        }
        if self.new_names {
            fs.sync_dir(&self.dir)
                .map_err(|error| sync_failed(&self.dir, error))?;
        }
        self.snapshot.write(fs, &self.dir)?;
        for (path, damaged) in &self.superfluous {
            let removed = if *damaged {
                fs.rename(path, &path.with_extension("damaged"))
            } else {
                fs.remove_file(path)
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StorageError::from_io("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl DelayQueue {
    /// Takes down what a checkpoint says: cursors as far as the partitions' logs are known to be durable
    /// ([`DelayQueue::partition_durable`]). Run it and give its outcome to
    /// [`DelayQueue::finish_checkpoint`] before the next one is begun.
    ///
    /// # Errors
    /// `LogDirOffline`.
    pub fn begin_checkpoint(&mut self, now_ms: i64) -> Result<DelayCheckpoint, StorageError> {
        self.check_online()?;
        let partitions = &self.partitions;
        let passed = |number| partitions.passed(number);
        self.buckets.retire(passed);
        let mut done = 0;
        let last = self.log.segments.len().saturating_sub(1);
        for segment in self.log.segments.iter_mut().take(last) {
            let spilled = segment.end() <= self.spilled;
            segment.immediate.retain(|number, end| {
                let state = partitions.get(*number);
                !state.gone && state.log_durable < *end
            });
            let is_needed = !spilled || !segment.immediate.is_empty();
            if is_needed || !segment.holding.release(passed) {
                break;
            }
            let gone = (segment.path.clone(), segment.damaged);
            self.log.retired.push(gone);
            done += 1;
        }
        self.log.segments.drain(..done);
        let start = self.log.start();
        self.log.holes.forget_before(start);
        let buckets = self.buckets.retired.iter();
        let superfluous = buckets
            .map(|bucket| (bucket.path(&self.buckets.dir), bucket.damaged))
            .chain(self.log.retired.iter().cloned())
            .collect();
        let least = self.least_ticket();
        let latest_ms = self.latest_ms();
        self.tombstones.prune(least, latest_ms, &self.partitions);
        self.partitions.forget_latest(latest_ms);
        self.producers.expire(now_ms);
        self.checkpoint_sequence += 1;
        let mut dirty = Vec::new();
        for bucket in self.buckets.all.values_mut() {
            if std::mem::take(&mut bucket.dirty) {
                dirty.push(bucket.path(&self.buckets.dir));
            }
        }
        Ok(DelayCheckpoint {
            dir: self.dir.clone(),
            snapshot: self.snapshot(now_ms),
            log: self.sync_work(),
            dirty,
            new_names: std::mem::take(&mut self.buckets.new_names),
            superfluous,
        })
    }

    /// No pending record has a smaller ticket.
    fn least_ticket(&self) -> u64 {
        let segments = self.log.segments.iter();
        let buckets = self.buckets.all.values();
        segments
            .map(|segment: &LogSegment| segment.first_ticket)
            .chain(buckets.map(|bucket: &Bucket| bucket.first_ticket))
            .min()
            .unwrap_or(self.next_ticket)
    }

    /// Nothing that is pending is due later, ms since 1970: as far as the spans of the buckets tell.
    fn latest_ms(&self) -> u64 {
        let buckets = self.buckets.all.values();
        let buckets = buckets.map(|bucket: &Bucket| bucket.span.last_ms()).max();
        let in_memory = self.partitions.latest_ms().max(self.unspilled.latest());
        let near = self.wheel.latest_ms();
        buckets.into_iter().chain(near).fold(in_memory, u64::max)
    }

    fn snapshot(&self, now_ms: i64) -> Snapshot {
        let states = (0..).zip(&self.partitions.states);
        let (mut places, mut partitions) = (HashMap::new(), Vec::new());
        for (number, state) in states.filter(|(_, state)| !state.gone) {
            let place = u32::try_from(partitions.len()).expect("fewer partitions than 2^32");
            places.insert(number, place);
            partitions.push(PartitionSnapshot {
                id: state.id,
                cursor: state.durable,
                scan_from: state.scan_from,
                pending: state.pending_durably(),
                latest_ms: state.latest_ms,
            });
        }
        let place_of = |number: u32| places.get(&number).copied();
        let by_id = self.tombstones.by_id.iter();
        let by_ticket = self.tombstones.by_ticket.iter();
        let mut cancelled_ids: Vec<_> = by_id
            .filter_map(|((number, id), by)| {
                Some(CancelledIdSnapshot {
                    partition: place_of(*number)?,
                    before: by.last,
                    reach_ms: by.reach_ms,
                    id: id.clone(),
                })
            })
            .collect();
        cancelled_ids.sort_unstable();
        let producers = self.producers.all();
        let mut producers: Vec<_> = producers
            .filter_map(|(number, batch)| Some((place_of(number)?, batch)))
            .collect();
        producers.sort_by_key(|(partition, batch)| (*partition, batch.stamp.producer_id));
        let mut paused: Vec<_> = self.paused.iter().copied().collect();
        paused.sort_unstable_by_key(|topic_id| topic_id.0);
        let written = |bucket: &&Bucket| bucket.count > 0;
        Snapshot {
            sequence: self.checkpoint_sequence,
            salt: self.log.salt,
            written_ms: now_ms,
            spilled: self.spilled,
            next_ticket: self.next_ticket,
            next_bucket: self.buckets.next_id,
            log_start: self.log.start(),
            log_end: self.log.end(),
            uncounted: self.uncounted,
            holes: self.log.holes.behind(self.log.start()),
            partitions,
            buckets: self
                .buckets
                .all
                .values()
                .filter(written)
                .map(BucketSnapshot::of)
                .collect(),
            cancelled_ids,
            cancelled_tickets: by_ticket
                .filter_map(|(ticket, cancelled)| {
                    let key = DelayKey {
                        due_ms: cancelled.due_ms,
                        ticket: *ticket,
                    };
                    Some((place_of(cancelled.partition)?, key, cancelled.records))
                })
                .collect(),
            paused,
            producers,
        }
    }

    /// [`DelayCheckpoint::run`] has returned. Where the disk was full, the next checkpoint does what this
    /// one could not.
    pub fn finish_checkpoint(
        &mut self,
        checkpoint: &DelayCheckpoint,
        outcome: &Result<(), StorageError>,
    ) {
        match outcome {
            Ok(()) => {
                if let Some(log) = &checkpoint.log {
                    self.note_synced(log);
                }
                let gone = checkpoint.superfluous.iter();
                let gone: HashSet<&Path> = gone.map(|(path, _)| path.as_path()).collect();
                let kept = |path: &Path| !gone.contains(path);
                let dir = &checkpoint.dir;
                self.buckets
                    .retired
                    .retain(|bucket| kept(&bucket.path(dir)));
                self.log.retired.retain(|(path, _)| kept(path));
            }
            Err(error) if error.passes() => {
                self.buckets.new_names |= checkpoint.new_names;
                for bucket in self.buckets.all.values_mut() {
                    let path = bucket.path(&checkpoint.dir);
                    bucket.dirty |= checkpoint.dirty.contains(&path);
                }
            }
            Err(_) => self.offline = true,
        }
    }

    /// The file system that the queue's files are on, for what runs without its lock.
    #[must_use]
    pub fn file_system(&self) -> Arc<dyn FileSystem> {
        Arc::clone(&self.fs)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::test_queue::{NOW, accept, add, checkpoint, deliver, open};
    use super::super::{DelayOptions, DelayQueue};

    const HOUR_MS: i64 = 3_600_000;

    /// Until when the partition and the cancellation may have something pending.
    fn known(queue: &DelayQueue) -> (u64, Vec<u64>) {
        let reaches = queue.tombstones.by_id.values();
        let reaches = reaches.map(|cancelled| cancelled.reach_ms);
        (queue.partitions.get(0).latest_ms, reaches.collect())
    }

    /// Whether it is so long as something in the delay log, in a file of later records or in memory says.
    #[test]
    fn what_older_checkpoints_do_not_say_is_known_from_the_next_one_on() {
        let mut queue = open(DelayOptions {
            near_ms: 1_000,
            ..DelayOptions::default()
        });
        let due_ms = NOW + 30 * HOUR_MS;
        accept(&mut queue, NOW, [add(due_ms), add(NOW + 500)]);
        queue.partitions.get_mut(0).latest_ms = u64::MAX;
        let id = Bytes::from_static(b"x");
        queue.tombstones.cancel_id(0, &id, 1_000, u64::MAX);
        let (due, mut end) = (due_ms.cast_unsigned(), 0);
        checkpoint(&mut queue, NOW, end);
        assert_eq!(known(&queue), (due, vec![due]), "the delay log says it");
        for at in 0..10 {
            queue.maintain(NOW + at * 1_000).unwrap();
        }
        assert!(queue.totals().buckets > 0);
        queue.partitions.get_mut(0).latest_ms = u64::MAX;
        assert_eq!(deliver(&mut queue, NOW + 10_000, &mut end), [NOW + 500]);
        checkpoint(&mut queue, NOW + 10_000, end);
        let (latest, reaches) = known(&queue);
        let spans = due..due + 24 * HOUR_MS.cast_unsigned();
        assert!(spans.contains(&latest), "{latest}");
        assert_eq!(reaches, [due], "it is never higher than before");
        for at in 0..10 {
            queue.maintain(due_ms - 5_000 + at * 100).unwrap();
        }
        queue.partitions.get_mut(0).latest_ms = u64::MAX;
        checkpoint(&mut queue, due_ms - 4_000, end);
        assert!(known(&queue).0 >= due, "what is in memory counts");
        assert_eq!(deliver(&mut queue, due_ms, &mut end), [due_ms]);
        checkpoint(&mut queue, due_ms, end);
        assert_eq!(known(&queue), (0, Vec::new()));
    }
}
