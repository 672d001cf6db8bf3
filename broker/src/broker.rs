//! The broker: root of all state, and the operations that every front door calls.

mod config_changes;
#[cfg(test)]
mod crash_tests;
mod error;
mod load;
mod logger_changes;
mod reload;
mod topic_changes;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tidewheel_config::{BrokerConfig, GroupConfigOverrides, limits};
use tidewheel_storage::{LogManager, StorageError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

pub(crate) use self::config_changes::alter_configs;
pub(crate) use self::error::{BrokerError, WrongConfigs};
use self::load::Loading;
pub(crate) use self::reload::{Followed, Given, follow};
pub(crate) use self::topic_changes::{
    TopicRef, create_missing, create_partitions, create_topics, delete_topics, next_producer_id,
};
use crate::change_queue::ChangeQueue;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::connection_limits::ConnectionLimits;
use crate::delays::Delays;
use crate::faults::Faults;
use crate::fetch_sessions::FetchSessions;
use crate::groups::Groups;
use crate::logging::Logging;
use crate::memory_pool::MemoryPool;
use crate::metadata::MetadataStore;
use crate::metrics::Metrics;
pub(crate) use crate::new_partitions::NewPartitions;
pub(crate) use crate::new_topic::{CreatedTopic, NewTopic};
use crate::partition::AppendWaiter;
use crate::partition_budget::{Granted, PartitionBudget};
use crate::produce_lanes::ProduceLanes;
use crate::slow_requests::SlowRequests;
use crate::storage_threads::FlushSignal;
use crate::topics::{TopicRegistry, TopicsSnapshot};

/// What clients are told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host name or address.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
}

/// What is set on consumer groups, by id.
pub(crate) type GroupConfigs = BTreeMap<Arc<str>, Arc<GroupConfigOverrides>>;
/// `HOST:PORT`, as clients take it for their bootstrap servers.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// The root of state. Shared by all connections.
#[derive(Debug)]
pub(crate) struct Broker {
    config: BrokerConfig,
    clock: Clock,
    /// The same as it was read again since. Written by the change that runs in `changes`.
    given: ArcSwap<Given>,
    /// The same with what was set while it ran. Written by the change that runs in `changes`.
    topic_defaults: ArcSwap<BrokerConfig>,
    /// Written by the change that runs in `changes`.
    group_configs: ArcSwap<GroupConfigs>,
    /// One per bound listener, in their order.
    endpoints: Vec<Endpoint>,
    logs: LogManager<AppendWaiter>,
    leader_epoch: i32,
    /// Written by the change that runs in `changes`.
    topics: TopicRegistry,
    changes: ChangeQueue<MetadataStore>,
    /// Reserved in the metadata log, not yet given out.
    producer_ids: Mutex<Range<i64>>,
    memory: MemoryPool,
    answer_memory: MemoryPool,
    early_answer_memory: MemoryPool,
    made_answer_memory: MemoryPool,
    produce_lanes: ProduceLanes,
    fetch_sessions: FetchSessions,
    fetch_answer_memory: MemoryPool,
    look_ups: Arc<Semaphore>,
    files_being_sent: Arc<Semaphore>,
    /// One per log directory.
    flush: Arc<[FlushSignal]>,
    cleaner: FlushSignal,
    groups: Groups,
    clients: Clients,
    connection_limits: ConnectionLimits,
    partition_budget: PartitionBudget,
    metrics: Metrics,
    delays: Delays,
    slow_requests: SlowRequests,
    /// The log, where the broker is a process of its own.
    logging: Option<Arc<Logging>>,
    /// What happens to requests, where a test says so.
    faults: Option<Faults>,
}

impl Broker {
    /// Opens the data directories and brings every topic back.
    ///
    /// # Errors
    /// Where a directory is in use, foreign or broken, or the metadata cannot be read.
    pub(crate) fn open(
        config: BrokerConfig,
        endpoints: Vec<Endpoint>,
        logs: LogManager<AppendWaiter>,
        clock: Clock,
    ) -> Result<Self, BrokerError> {
        let now_ms = clock.now_ms();
        let mut metadata = MetadataStore::open(logs.open_metadata_log(None, now_ms)?)?;
        let leader_epoch = metadata.broker_started(now_ms)?;
        if let Err(error) = metadata.compact(now_ms) {
            warn!(%error, "the metadata log was not shortened; its next replay takes longer");
        }
        let current = metadata.state().settings(&config)?;
        let listeners = config.listeners.iter();
        let metrics = Metrics::new(listeners.map(|listener| listener.name.clone()));
        let loading = Loading {
            config: &current,
            logs: &logs,
            metrics: &metrics,
            leader_epoch,
            now_ms,
        };
        let topics = TopicRegistry::default();
        topics.insert_all(loading.topics(&metadata)?);
        let dir_count = logs.dir_count();
        let granted = Granted::to_this_process();
        let partition_budget = PartitionBudget::new(config.max_partitions, granted);
        let delays = Delays::new(dir_count, &config, &clock);
        delays.open(&logs, &topics.snapshot(), now_ms);
        let slots = config.max_incremental_fetch_session_cache_slots;
        let slots = usize::try_from(slots).unwrap_or(usize::MAX);
        let memory = usize::try_from(config.queued_max_request_bytes).unwrap_or(usize::MAX);
        let group_configs = metadata.state().group_configs.clone();
        let groups = Groups::new(&config.group, granted);
        let broker = Self {
            slow_requests: SlowRequests::new(current.slow_request_ms),
            connection_limits: ConnectionLimits::new(&current),
            given: ArcSwap::from_pointee(Given::at_start(config.clone(), now_ms)),
            groups,
            config,
            clock,
            topic_defaults: ArcSwap::from_pointee(current),
            group_configs: ArcSwap::default(),
            endpoints,
            logs,
            leader_epoch,
            topics,
            changes: ChangeQueue::new(metadata, limits::METADATA_CHANGES_WAITING_MAX),
            producer_ids: Mutex::new(0..0),
            memory: MemoryPool::growing(memory),
            answer_memory: MemoryPool::at_once(limits::ANSWER_BYTES_MAX),
            early_answer_memory: MemoryPool::at_once(limits::EARLY_ANSWER_BYTES_MAX),
            made_answer_memory: MemoryPool::at_once(limits::MADE_ANSWER_BYTES_MAX),
            produce_lanes: ProduceLanes::default(),
            fetch_sessions: FetchSessions::new(slots),
            fetch_answer_memory: MemoryPool::at_once(limits::FETCH_ANSWER_BYTES_MAX),
            look_ups: Arc::new(Semaphore::new(limits::LOOK_UPS_AT_ONCE)),
            files_being_sent: Arc::new(Semaphore::new(limits::FILES_BEING_SENT_MAX)),
            flush: (0..dir_count).map(|_| FlushSignal::default()).collect(),
            cleaner: FlushSignal::default(),
            clients: Clients::default(),
            partition_budget,
            metrics,
            delays,
            logging: None,
            faults: None,
        };
        broker.put_group_configs(group_configs);
        Ok(broker)
    }

    /// The same with the log of its process, whose levels clients may change.
    pub(crate) fn with_logging(self, logging: Option<Arc<Logging>>) -> Self {
        Self { logging, ..self }
    }

    /// The same with faults that a test makes.
    pub(crate) fn with_faults(self, faults: Option<Faults>) -> Self {
        Self { faults, ..self }
    }

    /// What happens to requests, where a test says so.
    pub(crate) fn faults(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }

    /// The log, where the broker is a process of its own.
    pub(crate) fn logging(&self) -> Option<&Logging> {
        self.logging.as_deref()
    }

    /// The settings with those that were changed while the broker ran, which are the defaults of topics.
    #[must_use]
    pub(crate) fn topic_defaults(&self) -> Arc<BrokerConfig> {
        self.topic_defaults.load_full()
    }

    /// What is set on consumer groups.
    pub(crate) fn group_configs(&self) -> Arc<GroupConfigs> {
        self.group_configs.load_full()
    }

    /// Goes by these settings from now on; topics are told by the caller.
    fn put_settings(&self, settings: BrokerConfig) {
        self.slow_requests.begin_at(settings.slow_request_ms);
        self.connection_limits.follow(&settings);
        self.topic_defaults.store(Arc::new(settings));
    }

    /// How many connections there may be.
    pub(crate) fn connection_limits(&self) -> &ConnectionLimits {
        &self.connection_limits
    }

    /// Who tells of requests that take long.
    pub(crate) fn slow_requests(&self) -> &SlowRequests {
        &self.slow_requests
    }

    /// What it was given when its settings were last read.
    pub(crate) fn given(&self) -> Arc<Given> {
        self.given.load_full()
    }

    /// The settings it was started with.
    #[must_use]
    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// `node.id`.
    #[must_use]
    pub(crate) fn node_id(&self) -> i32 {
        self.config.node_id
    }

    /// The cluster id, made when the first data directory was.
    #[must_use]
    pub(crate) fn cluster_id(&self) -> &str {
        self.logs.cluster_id()
    }

    /// How often this data was started: the epoch under which all partitions are led.
    #[must_use]
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// What clients of each listener are told to connect to.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(crate) fn endpoint(&self, listener: usize) -> &Endpoint {
        const NOWHERE: &Endpoint = &Endpoint {
            host: String::new(),
            port: 0,
        };
        self.endpoints.get(listener).unwrap_or(NOWHERE)
    }

    pub(crate) fn memory(&self) -> &MemoryPool {
        &self.memory
    }

    /// What large answers take from their turn until they have left.
    pub(crate) fn answer_memory(&self) -> &MemoryPool {
        &self.answer_memory
    }

    /// What is taken by requests that are begun before their turn to answer, until their large answers have
    /// left.
    pub(crate) fn early_answer_memory(&self) -> &MemoryPool {
        &self.early_answer_memory
    }

    /// What answers take that are made already while they wait for [`Self::answer_memory`].
    pub(crate) fn made_answer_memory(&self) -> &MemoryPool {
        &self.made_answer_memory
    }

    pub(crate) fn produce_lanes(&self) -> &ProduceLanes {
        &self.produce_lanes
    }

    pub(crate) fn fetch_sessions(&self) -> &FetchSessions {
        &self.fetch_sessions
    }

    /// Files that answers on their way may keep open.
    pub(crate) fn files_being_sent(&self) -> &Arc<Semaphore> {
        &self.files_being_sent
    }

    /// What large answers to fetches take until they have left, while there is some.
    pub(crate) fn fetch_answer_memory(&self) -> &MemoryPool {
        &self.fetch_answer_memory
    }

    pub(crate) fn logs(&self) -> &LogManager<AppendWaiter> {
        &self.logs
    }

    pub(crate) fn topics(&self) -> Arc<TopicsSnapshot> {
        self.topics.snapshot()
    }

    /// The consumer groups.
    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Records that become visible later.
    pub(crate) fn delays(&self) -> &Delays {
        &self.delays
    }

    /// Who is connected.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The clock by which it goes in all that it does to data.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A test has turned the clock: whoever sleeps until a time looks again.
    pub(crate) fn clock_was_turned(&self) {
        self.delays.look_again();
        self.groups.look_again();
        self.cleaner.raise();
    }

    /// What wakes the cleaning thread.
    pub(crate) fn cleaner_signal(&self) -> &FlushSignal {
        &self.cleaner
    }

    /// What wakes the flush threads, one per log directory.
    pub(crate) fn flush_signals(&self) -> &Arc<[FlushSignal]> {
        &self.flush
    }

    /// Tells the flush threads that a producer waits for the disk.
    pub(crate) fn flush_soon(&self) {
        self.flush.iter().for_each(FlushSignal::raise);
    }

    /// Runs work that may wait for a disk on the blocking pool; `None` when the runtime is going down.
    pub(crate) async fn read_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// The same for work that may decompress a batch of a client's: few at a time.
    pub(crate) async fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.look_ups).acquire_owned().await.ok()?;
        // Given back by the work, which goes on where nobody waits for it any more.
        self.read_blocking(move || {
            let found = work();
            drop(place);
            found
        })
        .await
    }

    /// The right to look something up, as with [`Self::look_up`], where nobody else does.
    pub(crate) fn try_look_up(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.look_ups).try_acquire_owned().ok()
    }

    /// What operators measure.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Makes everything durable and leaves the marks of a clean stop.
    ///
    /// # Errors
    /// Where the disk fails; the next start then recovers as after a crash.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        // A change of topics that was begun is finished first; later ones find the metadata log closed.
        let _changing = self.changes.hold();
        let closed = self.logs.close(self.clock.now_ms());
        closed.and(self.delays.close(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        for (host, expected) in [
            ("example.org", "example.org:9"),
            ("127.0.0.1", "127.0.0.1:9"),
            ("::1", "[::1]:9"),
        ] {
            let host = host.to_owned();
            assert_eq!(Endpoint { host, port: 9 }.to_string(), expected);
        }
    }
}
