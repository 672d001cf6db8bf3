//! A broker inside a program: what `tidewheel serve` runs, without its signals and its ready line.

use std::sync::Arc;

use tidewheel_config::{BrokerConfig, Sources, limits};
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::{LogManager, LogManagerOptions, SpaceLimits};

use crate::broker::{Broker, Endpoint};
use crate::descriptors;
use crate::groups::{GroupLag, NoCoordinator, group_lag, start_groups};
use crate::ids;
use crate::partition_budget::Granted;
use crate::server::{BoundListener, Server, bind};
use crate::storage_threads::StorageThreads;

/// Why a broker did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EmbeddedError(Box<dyn std::error::Error + Send + Sync>);

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EmbeddedError {
    EmbeddedError(error.into())
}

/// A broker that serves Kafka clients from within this process. Dropped without [`EmbeddedBroker::stop`] it
/// cuts its connections, and the next start checks its data as after a crash.
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
    server: Server,
    threads: StorageThreads,
    broker: Arc<Broker>,
}

impl EmbeddedBroker {
    /// Starts a broker with settings `KEY=VALUE`, of which `log.dirs` says where the data lies and
    /// `listeners` where clients connect. Also raises the limit of open files of this process to all that the
    /// system grants.
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
        let config = BrokerConfig::load(&sources).map_err(failed)?;
        // Data is read.
        let opened = tokio::task::spawn_blocking(move || open(config));
        let opened = opened.await.map_err(failed)?.map_err(failed)?;
        let threads = StorageThreads::start(&opened.broker).map_err(failed)?;
        start_groups(&opened.broker);
        let server = Server::start(opened.bound, &opened.broker, opened.connections_max);
        Ok(Self {
            server: server.map_err(failed)?,
            threads,
            broker: opened.broker,
        })
    }

    /// HOST:PORT of the first listener.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let Endpoint { host, port } = self.broker.endpoint(0);
        format!("{host}:{port}")
    }

    /// How far a group is behind, in every partition in which it has committed an offset. May read from disk,
    /// one record at a time. Can be given up at any time.
    ///
    /// # Errors
    /// Where nobody can tell what the group has committed.
    pub async fn group_lag(&self, group_id: &str) -> Result<GroupLag, NoCoordinator> {
        group_lag(&self.broker, group_id).await
    }

    /// Lets clients finish and makes everything durable.
    ///
    /// # Errors
    /// Where the disk fails; the next start then checks the data as after a crash.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        stop(self.server, self.threads, self.broker).await
    }
}

/// A broker with its ports and its data, that serves nobody yet.
pub(crate) struct Opened {
    pub(crate) bound: Vec<BoundListener>,
    pub(crate) connections_max: u32,
    pub(crate) broker: Arc<Broker>,
}

/// Takes the ports, then reads the data, so that a failure leaves nothing half-started.
pub(crate) fn open(config: BrokerConfig) -> Result<Opened, EmbeddedError> {
    let open_files_max = descriptors::raise_limit();
    let connections_max = descriptors::connections_max(config.max_connections, open_files_max);
    let bound = bind(&config.listeners, config.listeners_are_default).map_err(failed)?;
    let logs = open_logs(&config)?;
    let endpoints = bound
        .iter()
        .map(|listener| endpoint(&config, listener))
        .collect();
    let broker = Broker::open(config, endpoints, logs).map_err(failed)?;
    Ok(Opened {
        bound,
        connections_max,
        broker: Arc::new(broker),
    })
}

fn open_logs<W>(config: &BrokerConfig) -> Result<LogManager<W>, EmbeddedError> {
    let options = LogManagerOptions {
        producer_expiration_ms: config.producer_id_expiration_ms,
        checkpoint_interval_ms: config.log_flush_offset_checkpoint_interval_ms,
        open: Granted::to_this_process().open_limits(),
        recovery_threads: limits::RECOVERY_THREADS,
        space: SpaceLimits {
            low_bytes: config.log_dir_low_bytes,
            reserved_bytes: config.log_dir_reserved_bytes,
        },
        ..LogManagerOptions::new(
            config.log_dirs.clone(),
            config.node_id,
            ids::random_uuid().to_string(),
            config.log_dirs.iter().map(|_| ids::random_uuid()).collect(),
        )
    };
    LogManager::open(Arc::new(RealFs), options).map_err(failed)
}

/// What clients of a listener are told: as advertised for its name, with the port it really got.
fn endpoint(config: &BrokerConfig, bound: &BoundListener) -> Endpoint {
    let advertised = config
        .advertised_listeners
        .iter()
        .find(|entry| entry.name == bound.name);
    let host = advertised
        .map(|entry| entry.host.clone())
        .unwrap_or_else(|| bound.address.ip().to_string());
    let port = advertised.map_or(0, |entry| entry.port);
    Endpoint {
        host,
        port: if port == 0 {
            bound.address.port()
        } else {
            port
        },
    }
}

/// Lets clients finish, ends the threads, and leaves the marks of a clean stop.
pub(crate) async fn stop(
    server: Server,
    mut threads: StorageThreads,
    broker: Arc<Broker>,
) -> Result<(), EmbeddedError> {
    let parked = Arc::clone(&broker);
    server.stop(move || parked.groups().close()).await;
    // Both wait for the disk: not on the thread that hears the next signal.
    let closed = tokio::task::spawn_blocking(move || {
        threads.stop();
        broker.close()
    });
    match closed.await {
        Ok(closed) => closed.map_err(failed),
        Err(error) => Err(failed(error)),
    }
}
