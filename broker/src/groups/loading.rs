//! Reads a partition of `__consumer_offsets` back into its coordinator.

use std::fmt;
use std::io;
use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_consumer_groups::{GroupCoordinator, OffsetsRecord};
use tidewheel_protocol::{Batches, RecordBatch, TopicPartition};
use tidewheel_storage::StorageError;
use tracing::{error, info, warn};

use super::Known;
use super::shard::Shard;
use crate::clock;

/// Why groups cannot be brought back.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the batch at offset {offset} cannot be read: {reason}")]
    Unreadable { offset: i64, reason: String },
}

impl LoadError {
    /// Whether another try may go well: descriptors or memory may be short for a while.
    fn may_pass(&self) -> bool {
        let Self::Storage(error) = self else {
            return false;
        };
        let is_out_of_memory = |source: &io::Error| source.kind() == io::ErrorKind::OutOfMemory;
        error.is_out_of_descriptors()
            || matches!(error, StorageError::Io { source, .. } if is_out_of_memory(source))
    }
}

/// What became of an attempt to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// The shard serves, or never will.
    Settled,
    /// The disk did not let it, this time.
    NotYet,
}

/// How often a partition that takes long tells how far it is.
const TOLD_EVERY_MS: i64 = 5_000;

/// A partition that is being read.
struct Reading<'a> {
    partition: &'a TopicPartition,
    coordinator: GroupCoordinator,
    records: u64,
    /// The monotonic clock.
    now_ms: &'a dyn Fn() -> i64,
    told_ms: i64,
}

impl Reading<'_> {
    fn replay(&mut self, record: &OffsetsRecord) {
        self.records += 1;
        self.coordinator.replay(record);
    }

    /// Says now and then how far it is.
    fn has_come_to(&mut self, offset: i64, end: i64) {
        let now_ms = (self.now_ms)();
        if now_ms.saturating_sub(self.told_ms) >= TOLD_EVERY_MS {
            self.told_ms = now_ms;
            let (partition, records) = (self.partition, self.records);
            info!(%partition, records, offset, end, "groups are being read");
        }
    }
}

/// Replays the log and has the shard serve what it holds; blocks on the disk. Long reads tell how far they are.
pub(super) fn load(
    shard: &Shard,
    coordinator: GroupCoordinator,
    known: impl FnOnce() -> Known,
) -> Loaded {
    load_by(&clock::steady_ms, shard, coordinator, known)
}

/// The same by this monotonic clock.
pub(super) fn load_by(
    now_ms: &dyn Fn() -> i64,
    shard: &Shard,
    coordinator: GroupCoordinator,
    known: impl FnOnce() -> Known,
) -> Loaded {
    let partition = shard.log().log().topic_partition();
    let began = now_ms();
    let mut reading = Reading {
        partition,
        coordinator,
        records: 0,
        now_ms,
        told_ms: began,
    };
    match read_all(shard, &mut reading) {
        Err(error) if error.may_pass() => {
            warn!(%partition, %error, "its groups have no coordinator yet");
            return Loaded::NotYet;
        }
        Err(error) => {
            error!(%partition, %error, "its groups have no coordinator until a start that can read it; where a batch is damaged, tidewheel log repair helps");
            shard.fail();
        }
        Ok(()) => {
            let records = reading.records;
            if shard.serve(reading.coordinator, known) {
                let took_ms = now_ms() - began;
                info!(%partition, records, took_ms, "groups are loaded");
            }
        }
    }
    Loaded::Settled
}

/// Attempts to load until that is settled, with longer and longer waits between.
pub(super) async fn until_settled<F: Future<Output = Loaded>>(mut attempt: impl FnMut() -> F) {
    const FIRST_WAIT: Duration = Duration::from_secs(1);
    const LONGEST_WAIT: Duration = Duration::from_secs(30);
    let mut wait = FIRST_WAIT;
    while attempt().await == Loaded::NotYet {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn read_all(shard: &Shard, reading: &mut Reading) -> Result<(), LoadError> {
    let log = shard.log().log();
    if let Some(error) = log.unavailable() {
        // It looks empty, and no group may be told that nothing was committed.
        return Err(error.into());
    }
    let mut offset = log.offsets().log_start;
    // A broker that stops need not know the rest.
    while offset < log.offsets().log_end && shard.is_loading() {
        let read = log.read(offset, limits::OFFSETS_READ_BYTES, true)?;
        let Some(slice) = read.slice else {
            return Err(unreadable(
                offset,
                &"there is nothing before the end of the log",
            ));
        };
        for batch in Batches::new(slice.bytes()?) {
            let batch = batch.map_err(|error| unreadable(offset, &error))?;
            replay_batch(&batch, reading)?;
            offset = batch.header.next_offset();
        }
        reading.has_come_to(offset, log.offsets().log_end);
    }
    Ok(())
}

fn replay_batch(batch: &RecordBatch, reading: &mut Reading) -> Result<(), LoadError> {
    let base_offset = batch.header.base_offset;
    if batch.header.is_control() {
        return Ok(());
    }
    let records = batch
        .records(limits::OFFSETS_BATCH_BYTES_MAX as usize)
        .map_err(|error| unreadable(base_offset, &error))?;
    for record in records {
        let record = record.map_err(|error| unreadable(base_offset, &error))?;
        match OffsetsRecord::decode(record.key.unwrap_or_default(), record.value) {
            Ok(decoded) => reading.replay(&decoded),
            // A newer version may have written it: the others still say what they say.
            Err(error) if error.is_unknown_kind() => {
                warn!(offset = record.offset, %error, "a record of a group is passed over");
            }
            Err(error) => return Err(unreadable(record.offset, &error)),
        }
    }
    Ok(())
}

fn unreadable(offset: i64, reason: &dyn fmt::Display) -> LoadError {
    LoadError::Unreadable {
        offset,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn only_what_the_system_refused_is_tried_again() {
        let (enomem, emfile, eio) = (12, 24, 5);
        let failed = |code| {
            LoadError::from(StorageError::Io {
                op: "map",
                path: "00.log".into(),
                source: Arc::new(io::Error::from_raw_os_error(code)),
            })
        };
        assert!(failed(enomem).may_pass() && failed(emfile).may_pass());
        assert!(!failed(eio).may_pass());
        assert!(!LoadError::from(StorageError::Closed).may_pass());
        assert!(!unreadable(0, &"a lie").may_pass());
    }

    #[tokio::test(start_paused = true)]
    async fn loading_is_attempted_until_it_is_settled() {
        let waits = 1 + 2 + 4 + 8 + 16 + 30 + 30;
        for (seconds, is_settled) in [(waits - 1, false), (waits + 1, true)] {
            let mut left = 8;
            let settled = until_settled(|| {
                left -= 1;
                std::future::ready(match left {
                    0 => Loaded::Settled,
                    _ => Loaded::NotYet,
                })
            });
            let settled = timeout(Duration::from_secs(seconds), settled).await;
            assert_eq!((settled.is_ok(), left == 0), (is_settled, is_settled));
        }
    }
}
