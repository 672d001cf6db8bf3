//! A broker from its ports to its last sync: what the command line and a program that embeds it start and stop.

use std::sync::Arc;

use tempfile::TempDir;
use tidewheel_config::{BrokerConfig, Listener, limits};
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::{LogManager, LogManagerOptions, RecoveryProgress, SpaceLimits};
use tokio::task::JoinSet;

use crate::admin::{AdminServer, AdminStart};
use crate::broker::{Broker, Endpoint, NewTopic, create_missing};
use crate::clock::Clock;
use crate::descriptors;
use crate::faults::Faults;
use crate::groups::start_groups;
use crate::ids;
use crate::lifecycle::Lifecycle;
use crate::logging::Logging;
use crate::partition_budget::Granted;
use crate::server::{ADMIN, BoundListener, Server, bind};
use crate::storage_threads::StorageThreads;
use crate::test_clock::TestClock;

/// Why a broker did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EmbeddedError(pub(crate) Box<dyn std::error::Error + Send + Sync>);

pub(crate) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EmbeddedError {
    EmbeddedError(error.into())
}

/// What a program that embeds a broker does to it from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks {
    /// Turns its clock.
    pub(crate) clock: Option<TestClock>,
    /// Happen to its requests.
    pub(crate) faults: Option<Faults>,
    /// Where its data lies, if that goes with it: held while something may write there, also where a start is given
    /// up.
    pub(crate) temporary: Option<Arc<TempDir>>,
}

/// A broker that serves clients.
#[derive(Debug)]
pub(crate) struct Running {
    server: Server,
    threads: StorageThreads,
    broker: Arc<Broker>,
    admin: Option<AdminServer>,
    lifecycle: Arc<Lifecycle>,
    listeners: Vec<String>,
    /// Sets levels of the log back whose time is over.
    _expiring: JoinSet<()>,
}

/// Everything that listens, before the data is touched.
struct Ports {
    clients: Vec<BoundListener>,
    open_files_max: u64,
    admin: Option<BoundListener>,
    admin_max: usize,
}

impl Running {
    /// Takes the ports, then reads the data, so that a failure leaves nothing half-started. The HTTP API is there
    /// from the first moment and tells how far that is.
    ///
    /// # Errors
    /// Where a port is taken, or the data is in use or cannot be read.
    pub(crate) async fn start(
        config: BrokerConfig,
        logging: Option<Arc<Logging>>,
        hooks: Hooks,
    ) -> Result<Self, EmbeddedError> {
        let ports = take_ports(&config)?;
        let lifecycle = Arc::new(Lifecycle::begin());
        let admin = ports.admin.map(|bound| {
            AdminServer::start(AdminStart {
                bound,
                config: config.admin.clone(),
                connections_max: ports.admin_max,
                lifecycle: Arc::clone(&lifecycle),
                logging: logging.clone(),
            })
        });
        let admin = admin.transpose().map_err(failed)?;
        let expiring = expiring(logging.clone());
        let listeners = ports.clients.iter();
        let listeners = listeners.map(|bound| format!("{}://{}", bound.name, bound.address));
        let listeners = listeners.collect();
        let endpoints = ports.clients.iter();
        let endpoints = endpoints.map(|bound| endpoint(&config, bound)).collect();
        let progress = Arc::clone(lifecycle.recovery());
        let turned = hooks.clock.as_ref();
        let clock = turned.map(TestClock::clock).unwrap_or_default();
        // Data is read. Nobody can stop that, and what it makes is dropped before the directory is.
        let temporary = hooks.temporary.clone();
        let opened = tokio::task::spawn_blocking(move || {
            (open_data(config, endpoints, progress, clock), temporary)
        });
        let (broker, _temporary) = opened.await.map_err(failed)?;
        let broker = broker?.with_logging(logging).with_faults(hooks.faults);
        let broker = Arc::new(broker);
        if let Some(turned) = turned {
            // Before anybody sleeps by it.
            turned.followed_by(&broker);
        }
        lifecycle.has_read(&broker);
        let threads = StorageThreads::start(&broker).map_err(failed)?;
        start_groups(&broker);
        let server = Server::start(ports.clients, &broker, ports.open_files_max).map_err(failed)?;
        lifecycle.serves();
        Ok(Self {
            server,
            threads,
            broker,
            admin,
            lifecycle,
            listeners,
            _expiring: expiring,
        })
    }

    /// Makes topics, but for those that are there already.
    ///
    /// # Errors
    /// Where one of them cannot be made.
    pub(crate) async fn make_topics(&self, topics: Vec<NewTopic>) -> Result<(), EmbeddedError> {
        create_missing(&self.broker, topics).await.map_err(failed)
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// `PLAINTEXT://HOST:PORT` of each listener, with the ports that were really taken.
    pub(crate) fn listeners(&self) -> &[String] {
        &self.listeners
    }

    /// `HOST:PORT` of the HTTP API, where it is served.
    pub(crate) fn admin_address(&self) -> Option<String> {
        self.admin.as_ref().map(|admin| admin.address().to_string())
    }

    /// Resolves with a sentence when the broker cannot go on.
    pub(crate) async fn failed(&mut self) -> String {
        self.threads.failed().await
    }

    /// Lets clients finish, ends the threads, and leaves the marks of a clean stop. The HTTP API tells so until
    /// the end.
    ///
    /// # Errors
    /// Where the disk fails; the next start then checks the data as after a crash.
    pub(crate) async fn stop(self) -> Result<(), EmbeddedError> {
        let Self {
            server,
            mut threads,
            broker,
            admin,
            lifecycle,
            ..
        } = self;
        lifecycle.stops();
        let parked = Arc::clone(&broker);
        server.stop(move || parked.groups().close()).await;
        // Both wait for the disk: not on the thread that hears the next signal.
        let closed = tokio::task::spawn_blocking(move || {
            threads.stop();
            broker.close()
        });
        let closed = closed.await;
        if let Some(admin) = admin {
            admin.stop().await;
        }
        closed.map_err(failed)?.map_err(failed)
    }
}

/// Sets levels of the log back whose time is over, until it is dropped.
fn expiring(logging: Option<Arc<Logging>>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(logging) = logging {
        tasks.spawn(async move { logging.expire().await });
    }
    tasks
}

fn take_ports(config: &BrokerConfig) -> Result<Ports, EmbeddedError> {
    let open_files_max = descriptors::raise_limit();
    let clients = bind(&config.listeners, config.listeners_are_default).map_err(failed)?;
    let admin = config.admin.listen.as_ref().map(|address| {
        let listener = Listener {
            name: ADMIN.to_owned(),
            host: address.host.clone(),
            port: address.port,
        };
        bind(&[listener], false)
    });
    let admin = admin.transpose().map_err(failed)?;
    Ok(Ports {
        clients,
        open_files_max,
        admin: admin.and_then(|bound| bound.into_iter().next()),
        admin_max: descriptors::admin_connections_max(open_files_max),
    })
}

fn open_data(
    config: BrokerConfig,
    endpoints: Vec<Endpoint>,
    progress: Arc<RecoveryProgress>,
    clock: Clock,
) -> Result<Broker, EmbeddedError> {
    let options = LogManagerOptions {
        producer_expiration_ms: config.producer_id_expiration_ms,
        checkpoint_interval_ms: config.log_flush_offset_checkpoint_interval_ms,
        open: Granted::to_this_process().open_limits(),
        recovery_threads: limits::RECOVERY_THREADS,
        space: SpaceLimits {
            low_bytes: config.log_dir_low_bytes,
            reserved_bytes: config.log_dir_reserved_bytes,
            ballast_bytes: limits::BALLAST_BYTES_MAX,
        },
        progress,
        ..LogManagerOptions::new(
            config.log_dirs.clone(),
            config.node_id,
            ids::random_uuid().to_string(),
            config.log_dirs.iter().map(|_| ids::random_uuid()).collect(),
        )
    };
    let logs = LogManager::open(Arc::new(RealFs), options).map_err(failed)?;
    Broker::open(config, endpoints, logs, clock).map_err(failed)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidewheel_config::Sources;

    use super::*;
    use crate::temporary;

    /// Who reads the data goes on, and would make directories anew that were removed before.
    #[test]
    fn a_start_that_is_given_up_leaves_no_temporary_data() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let dir = temporary::directory().unwrap();
        let path = dir.path().to_owned();
        let sources = Sources {
            sets: vec![
                temporary::setting(&path).unwrap(),
                "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
                "tidewheel.admin.listen=off".to_owned(),
            ],
            ..Sources::default()
        };
        let hooks = Hooks {
            temporary: Some(Arc::new(dir)),
            ..Hooks::default()
        };
        let config = BrokerConfig::load(&sources).unwrap();
        runtime.block_on(async {
            let start = Box::pin(Running::start(config, None, hooks));
            drop(tokio::time::timeout(Duration::ZERO, start).await);
        });
        // Waits for what was begun.
        drop(runtime);
        assert!(!path.exists());
    }
}
