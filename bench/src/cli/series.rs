//! Several runs, one after the other, until somebody interrupts.

use std::fmt::Display;
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::run_and_report;
use crate::client::Cluster;
use crate::clock::wall_ms;
use crate::error::BenchError;
use crate::process::field;
use crate::run::RunOptions;
use crate::summary::Summary;
use crate::values::Rate;
use crate::workload::Workload;

/// Until a broker has removed the files of deleted topics whose `file.delete.delay.ms` is a second, as those of the
/// record are.
const DELETED_AFTER: Duration = Duration::from_millis(1_500);

/// More than a run of the record writes. Left alone where the machine has not this much to spare.
const TOUCHED_BYTES: u64 = 6 << 30;
const CHUNK_BYTES: usize = 64 << 20;

/// Runs that belong together.
pub(super) struct Series {
    interrupts: Signal,
    /// In the names of its topics: no other series has the same.
    mark: i64,
}

impl Series {
    /// From here on Ctrl-C ends runs, and no process.
    pub(super) fn begin() -> Result<Self, BenchError> {
        let interrupts = signal(SignalKind::interrupt());
        let interrupts = interrupts.map_err(|source| BenchError::System {
            what: "signals cannot be heard",
            source,
        })?;
        Ok(Self {
            interrupts,
            mark: wall_ms(),
        })
    }

    /// Whether somebody wants it to end, also between two runs.
    pub(super) fn is_interrupted(&mut self) -> bool {
        let mut nobody_waits = Context::from_waker(Waker::noop());
        self.interrupts.poll_recv(&mut nobody_waits).is_ready()
    }

    /// Runs once on topics of its own, the `number`th, which are removed again. Consuming needs what is there.
    pub(super) async fn run(
        &self,
        workload: &Workload,
        options: &RunOptions,
        number: impl Display,
        dir: Option<&Path>,
    ) -> Result<Summary, BenchError> {
        let mut workload = workload.clone();
        let own_topics = workload.create && (workload.mode.produces() || workload.fill.0 > 0);
        if own_topics {
            workload.topic = format!("{}-{}-{number}", workload.topic, self.mark);
        }
        let summary = run_and_report(&workload, options, dir).await;
        if own_topics {
            let removed = remove_topics(&workload, options).await;
            // Where the run failed its own error says more.
            if summary.is_ok() {
                removed?;
            }
        }
        summary
    }
}

async fn remove_topics(workload: &Workload, options: &RunOptions) -> Result<(), BenchError> {
    let mut cluster = Cluster::connect(&options.brokers, workload.timeout.0).await?;
    for topic in workload.topic_names() {
        cluster.delete_topic(&topic).await?;
    }
    Ok(())
}

/// Waits until the files of the last run are gone and what is left of it has reached the disk: the next run should
/// not pay for it. Where `workload` writes as fast as it can, memory is touched then, which the page cache takes for
/// it: hypervisors take back what a guest has freed, and let whoever comes next wait for every page of it (two
/// seconds a gigabyte, where this was written; that is twice what a broker takes to receive and write it).
pub(super) async fn settle(workload: &Workload) {
    tokio::time::sleep(DELETED_AFTER).await;
    let writes_much = workload.mode.produces() && matches!(workload.rate, Rate::Max);
    let touching = tokio::task::spawn_blocking(move || {
        rustix::fs::sync();
        if !writes_much {
            return;
        }
        let touched: Vec<Vec<u8>> = (0..TOUCHED_BYTES / CHUNK_BYTES as u64)
            .take_while(|_| available_bytes() > TOUCHED_BYTES)
            .map(|_| vec![1; CHUNK_BYTES])
            .collect();
        drop(std::hint::black_box(touched));
    });
    // It ends well, but for a panic in it.
    drop(touching.await);
}

/// What processes could have at once, bytes; 0 where that cannot be read.
fn available_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&text, "MemAvailable:").unwrap_or(0) * 1024
}
