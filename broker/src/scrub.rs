//! The scrubbing thread: one sweep over all sealed segments after the other, below a rate.

use std::time::Duration;

use tracing::{error, info};

use crate::broker::Broker;
use crate::compaction::Pacer;
use crate::ids::random_u64;
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
        let (partition, error) = (damage.tp, damage.error);
        broker.metrics().storage().found_damage();
        error!(%partition, %error, "damaged below what was durable: it takes no data until the next start");
    });
    if let Some(stats) = stats {
        let (segments, bytes) = (stats.segments, stats.bytes);
        info!(segments, bytes, "all sealed segments were checked");
    }
}
