//! Reads a partition of `__consumer_offsets` back into its coordinator.

use std::fmt;

use tidewheel_config::limits;
use tidewheel_consumer_groups::{GroupCoordinator, OffsetsRecord};
use tidewheel_protocol::{Batches, RecordBatch, Uuid};
use tidewheel_storage::StorageError;
use tracing::{error, info, warn};

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

/// Replays the log and has the shard serve what it holds; blocks on the disk.
pub(super) fn load(
    shard: &Shard,
    mut coordinator: GroupCoordinator,
    topic_id: impl Fn(&str) -> Option<Uuid>,
) {
    let partition = shard.log().log().topic_partition();
    let began = clock::steady_ms();
    let mut records = 0_u64;
    let read = read_all(shard, &mut |record| {
        records += 1;
        coordinator.replay(&record);
    });
    match read {
        Err(error) => {
            error!(%partition, %error, "its groups have no coordinator until the next start");
            shard.fail();
        }
        Ok(()) => {
            if shard.serve(coordinator, topic_id) {
                let took_ms = clock::steady_ms() - began;
                info!(%partition, records, took_ms, "groups are loaded");
            }
        }
    }
}

fn read_all(shard: &Shard, replay: &mut dyn FnMut(OffsetsRecord)) -> Result<(), LoadError> {
    let log = shard.log().log();
    let mut offset = log.offsets().log_start;
    // A broker that stops need not know the rest.
    while offset < log.offsets().log_end && shard.is_loading() {
        let read = log.read(offset, limits::OFFSETS_READ_BYTES, true)?;
        let Some(slice) = read.slice else { break };
        for batch in Batches::new(slice.bytes()?) {
            let batch = batch.map_err(|error| unreadable(offset, &error))?;
            replay_batch(&batch, replay)?;
            offset = batch.header.next_offset();
        }
    }
    Ok(())
}

fn replay_batch(
    batch: &RecordBatch,
    replay: &mut dyn FnMut(OffsetsRecord),
) -> Result<(), LoadError> {
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
            Ok(decoded) => replay(decoded),
            // A newer version may have written it: the others still say what they say.
            Err(error) => {
                warn!(offset = record.offset, %error, "a record of a group is passed over")
            }
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
