//! The load of one run: producers, consumers, and what they share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::recorder::{Interval, Recorder};
use crate::workload::Workload;

mod ahead;
pub(crate) mod consumer;
mod feeder;
mod lane;
#[cfg_attr(not(feature = "librdkafka"), path = "load/librdkafka_absent.rs")]
pub(crate) mod librdkafka;
pub(crate) mod producer;
pub(crate) mod recording;

/// When the phases of a run begin, nanoseconds of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phases {
    /// Load begins, unmeasured.
    pub(crate) start: u64,
    /// The measurement begins: what is due from here on counts.
    pub(crate) measure: u64,
    /// Load and measurement end: nothing is due any more.
    pub(crate) end: u64,
    /// Nobody waits any longer.
    pub(crate) deadline: u64,
}

/// What workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) phases: Phases,
    pub(crate) recorder: Recorder,
    pub(crate) workload: Workload,
    /// Marks the values of this run.
    pub(crate) run_id: u64,
    /// Records that were there for the consumers before the load began.
    pub(crate) filled: u64,
}

impl Shared {
    /// Records figures of a worker, and latencies only where the record was due in the measurement.
    pub(crate) fn record(&self, worker: usize, write: impl FnOnce(&mut Interval)) {
        self.recorder.write(worker, write);
    }

    /// Whether a record due at this time belongs to the measurement.
    pub(crate) fn is_measured(&self, due: u64) -> bool {
        self.phases.measure <= due
    }
}

/// Tells workers to end early. Who waits for it is woken.
#[derive(Debug, Clone)]
pub(crate) struct Stop(pub(crate) watch::Receiver<bool>);

impl Stop {
    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is asked for. May be dropped and begun again.
    pub(crate) async fn asked(&mut self) {
        // An error means that nobody can ask any more, which is the end of the run too.
        while !self.is_asked() {
            if self.0.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A worker's number and what it shares with the others.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) number: usize,
    pub(crate) shared: Arc<Shared>,
}
