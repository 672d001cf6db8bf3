//! The scrubbing thread: one sweep over all sealed segments after the other, below a rate. And a look at one
//! partition where somebody asks for it.

use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_protocol::TopicPartition;
use tidewheel_storage::{StorageError, Verified};
use tracing::{error, info};

use crate::broker::Broker;
use crate::clock;
use crate::compaction::Pacer;
use crate::ids::random_u64;
use crate::partition::PartitionLog;
use crate::storage_threads::FlushSignal;

/// From the start to the first sweep, and between two: what was read a day ago is read again early enough.
const PAUSE: Duration = Duration::from_hours(24);
/// Before the first one the broker has better things to do.
const FIRST_PAUSE: Duration = Duration::from_mins(10);

/// Sweeps until told to stop; `bytes_per_second` is not 0.
pub(crate) fn run(broker: &Broker, signal: &FlushSignal) {
    let mut pause = FIRST_PAUSE;
    while !signal.wait(pause) {
        pause = PAUSE;
        sweep(broker, signal);
    }
}

fn sweep(broker: &Broker, signal: &FlushSignal) {
    let rate = f64::from(broker.config().scrub_bytes_per_second);
    let mut pacer = Pacer::new(rate, signal);
    let mut pace = |bytes| pacer.pass(bytes);
    let stats = broker.logs().scrub(random_u64(), &mut pace, &mut |damage| {
        tell(broker, &damage.tp, &damage.error);
    });
    if let Some(stats) = stats {
        let (segments, bytes) = (stats.segments, stats.bytes);
        info!(segments, bytes, "all sealed segments were checked");
    }
}

fn tell(broker: &Broker, partition: &TopicPartition, error: &StorageError) {
    broker.metrics().storage().found_damage();
    error!(%partition, %error, "damaged below what was durable: it takes no data until the next start");
}

/// Reads and checks a partition from an offset on, as far as `limits::VERIFY_BYTES` and `limits::VERIFY_WAIT` go. One
/// in which damage is found takes no data until the next start, as where the thread finds it, unless this is a dry
/// run. Waits for the disk.
///
/// # Errors
/// The partition was deleted meanwhile; no descriptor is left.
pub(crate) fn verify(
    broker: &Broker,
    log: &PartitionLog,
    from: i64,
    dry_run: bool,
) -> Result<Verified, StorageError> {
    let until = clock::deadline(limits::VERIFY_WAIT);
    let mut left = limits::VERIFY_BYTES;
    let mut pace = |bytes| {
        left = left.saturating_sub(bytes);
        left > 0 && !clock::has_come(until)
    };
    let verified = log.verify(from, &mut pace)?;
    if let Some(damage) = verified.damage.as_ref().filter(|_| !dry_run) {
        let is_known = log.is_damaged();
        log.refuse(damage.clone());
        if !is_known {
            tell(broker, log.topic_partition(), damage);
        }
    }
    Ok(verified)
}
