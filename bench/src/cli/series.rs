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
use crate::run::RunOptions;
use crate::summary::Summary;
use crate::workload::Workload;

/// Until a broker has removed the files of deleted topics whose `file.delete.delay.ms` is a second, as those of the
/// record are, and which looks for such once a second.
const DELETED_AFTER: Duration = Duration::from_millis(2_500);

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
/// not pay for it.
pub(super) async fn settle() {
    tokio::time::sleep(DELETED_AFTER).await;
    // It ends well, but for a panic in it.
    drop(tokio::task::spawn_blocking(rustix::fs::sync).await);
}
