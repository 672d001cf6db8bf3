//! A broker inside a program: what `tidewheel serve` runs, without its signals and its ready line.

mod builder;

use std::sync::Arc;

use tempfile::TempDir;
use tidewheel_config::{BrokerConfig, Sources, Warning};

pub use self::builder::EmbeddedBuilder;
use crate::delays::DelayedRecords;
use crate::groups::{GroupLag, NoCoordinator, group_lag};
use crate::metrics::{self, MetricsFormat, MetricsPage, Stage};
use crate::running::{EmbeddedError, Hooks, Running, failed};

/// A broker that serves Kafka clients from within this process: for tests, by [`EmbeddedBroker::builder`], and for
/// programs, by [`EmbeddedBroker::start`]. Several of them may run at once. Dropped without [`EmbeddedBroker::stop`] it
/// cuts its connections, and the next start checks its data as after a crash.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tidewheel_broker::EmbeddedBroker;
///
/// let broker = EmbeddedBroker::builder().topic("orders", 3).start().await?;
/// println!("clients connect to {}", broker.bootstrap());
/// broker.stop().await?;
/// # Ok(())
/// # }
/// ```
///
/// ```
/// # async fn example(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
/// use tidewheel_broker::{EmbeddedBroker, Lag};
///
/// let dir = format!("log.dirs={}", dir.display());
/// let broker = EmbeddedBroker::start(&[&dir, "listeners=PLAINTEXT://127.0.0.1:0"]).await?;
/// println!("clients connect to {}", broker.bootstrap());
/// for partition in broker.group_lag("billing").await?.partitions {
///     if let Lag::Behind { records, age } = partition.lag {
///         println!("{}-{}: {records} records, {age:?}", partition.topic, partition.partition);
///     }
/// }
/// broker.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EmbeddedBroker {
    running: Running,
    /// Where the data lies that goes with it; dropped after what writes there.
    temporary: Option<Arc<TempDir>>,
}

impl EmbeddedBroker {
    /// A broker for a test, if nothing else is said: on a free port, with data that goes with it.
    pub fn builder() -> EmbeddedBuilder {
        EmbeddedBuilder::default()
    }

    /// Starts a broker with settings `KEY=VALUE`, of which `log.dirs` says where the data lies and
    /// `listeners` where clients connect. The HTTP API is served only where `tidewheel.admin.listen` is given.
    /// Also raises the limit of open files of this process to all that the system grants.
    ///
    /// # Errors
    /// Where a setting is wrong, a port is taken, or the data is in use or cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time, on which the broker then runs.
    pub async fn start(settings: &[&str]) -> Result<Self, EmbeddedError> {
        let sources = Sources {
            sets: settings.iter().map(|&setting| setting.to_owned()).collect(),
            ..Sources::default()
        };
        let mut config = BrokerConfig::load(&sources).map_err(failed)?;
        if config.admin.listen_is_default {
            // A program may embed several brokers.
            config.admin.listen = None;
        }
        let running = Running::start(config, None, Hooks::default()).await?;
        Ok(Self {
            running,
            temporary: None,
        })
    }

    /// HOST:PORT of the first listener.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.running.broker().endpoint(0).to_string()
    }

    /// What is odd about its settings: those without effect here, each with the reason.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.running.broker().config().warnings
    }

    /// HOST:PORT of the HTTP API, where `tidewheel.admin.listen` asks for one.
    #[must_use]
    pub fn admin(&self) -> Option<String> {
        self.running.admin_address()
    }

    /// How far a group is behind, in every partition in which it has committed an offset. May read from disk,
    /// one record at a time. Can be given up at any time.
    ///
    /// # Errors
    /// Where nobody can tell what the group has committed.
    pub async fn group_lag(&self, group_id: &str) -> Result<GroupLag, NoCoordinator> {
        group_lag(self.running.broker(), group_id).await
    }

    /// What operators measure, as a scrape of `page` would tell it. `None` where another one has kept this waiting
    /// for seconds: a disk hangs, mostly.
    pub async fn metrics(&self, page: MetricsPage, format: MetricsFormat) -> Option<String> {
        let stage = Stage::of(self.running.lifecycle());
        metrics::scrape(self.running.broker(), stage, page, format, Vec::new()).await
    }

    /// The delayed records: to list them, to look into them, and to cancel, move, pause and resume them.
    #[must_use]
    pub fn delayed(&self) -> DelayedRecords {
        DelayedRecords::new(self.running.broker())
    }

    /// Lets clients finish and makes everything durable, or removes it where the data goes with the broker.
    ///
    /// # Errors
    /// Where the disk fails; the next start then checks the data as after a crash.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        let stopped = self.running.stop().await;
        let Some(temporary) = self.temporary.and_then(Arc::into_inner) else {
            return stopped;
        };
        let removed = tokio::task::spawn_blocking(move || temporary.close()).await;
        stopped?;
        removed.map_err(failed)?.map_err(failed)
    }
}
