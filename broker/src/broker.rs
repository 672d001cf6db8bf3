//! The broker: root of all state, and the operations that every front door calls.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewheel_config::{BrokerConfig, LogConfig, limits};
use tidewheel_protocol::{TopicPartition, Uuid};
use tidewheel_storage::{LivePartition, LoadedLogs, LogManager, StorageError};
use tracing::{error, info, warn};

use crate::clock;
use crate::memory_pool::MemoryPool;
use crate::metadata::{MetadataError, MetadataStore, TopicRecord};
pub(crate) use crate::new_topic::{CreatedTopic, NewTopic};
use crate::new_topic::{ValidTopic, refuse_collisions, refuse_surplus};
use crate::partition::{AppendWaiter, Partition, PartitionLog};
use crate::produce_lanes::ProduceLanes;
use crate::storage_threads::FlushSignal;
use crate::topics::{Topic, TopicRegistry, TopicsSnapshot};

/// Producer ids reserved at a time: one write to the metadata log for so many producers.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// What clients are told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host name or address.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
}

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    /// The topic name breaks Kafka's rules or collides with another.
    #[error("{reason}: {name:?}")]
    InvalidTopic {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The topic is there already.
    #[error("topic {name} exists already")]
    TopicExists {
        /// The name.
        name: String,
    },
    /// There is no such topic.
    #[error("there is no topic {name}")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// No topic has that id.
    #[error("there is no topic with the id {id}")]
    UnknownTopicId {
        /// The id.
        id: Uuid,
    },
    /// The number of partitions is out of bounds.
    #[error("{partitions} partitions: a topic has 1 to {max}, or -1 for the broker's default")]
    InvalidPartitions {
        /// What was asked.
        partitions: i32,
        /// The bound.
        max: i32,
    },
    /// The replication factor is out of bounds.
    #[error("replication factor {factor}: this broker accepts 1 to {max}, or -1 for its default")]
    InvalidReplicationFactor {
        /// What was asked.
        factor: i16,
        /// The bound.
        max: i16,
    },
    /// The explicit assignment makes no sense on this broker.
    #[error("{reason}")]
    InvalidAssignment {
        /// What is wrong with it.
        reason: String,
    },
    /// A topic config is unknown or its value is out of bounds.
    #[error("{reason}")]
    InvalidConfig {
        /// What is wrong with it.
        reason: String,
    },
    /// The request contradicts itself.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `delete.topic.enable` is false.
    #[error("topics cannot be deleted here: delete.topic.enable is false")]
    DeletionDisabled,
    /// The metadata log failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A partition's log failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What several topics of one request failed with together.
    #[error(transparent)]
    Together(Arc<BrokerError>),
    /// The broker is going down.
    #[error("the broker is stopping")]
    Stopped,
}

/// A topic as a request names it.
#[derive(Clone, Debug)]
pub(crate) enum TopicRef {
    Name(String),
    Id(Uuid),
}

/// The root of state. Shared by all connections.
#[derive(Debug)]
pub(crate) struct Broker {
    config: BrokerConfig,
    /// One per bound listener, in their order.
    endpoints: Vec<Endpoint>,
    logs: LogManager<AppendWaiter>,
    leader_epoch: i32,
    topics: TopicRegistry,
    /// Held by whoever changes topics, over the change as a whole: the one writer of `topics` too.
    metadata: Mutex<MetadataStore>,
    /// Reserved in the metadata log, not yet given out.
    producer_ids: Mutex<Range<i64>>,
    memory: MemoryPool,
    answer_memory: MemoryPool,
    produce_lanes: ProduceLanes,
    /// One per log directory.
    flush: Vec<FlushSignal>,
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
    ) -> Result<Self, BrokerError> {
        let now_ms = clock::now_ms();
        let mut metadata = MetadataStore::open(logs.open_metadata_log(None, now_ms)?)?;
        let leader_epoch = metadata.broker_started(now_ms)?;
        if let Err(error) = metadata.compact(now_ms) {
            warn!(%error, "the metadata log was not shortened; its next replay takes longer");
        }
        let topics = TopicRegistry::default();
        topics.insert_all(load_topics(
            &config,
            &logs,
            &metadata,
            leader_epoch,
            now_ms,
        )?);
        let dir_count = logs.dir_count();
        let memory = usize::try_from(config.queued_max_request_bytes).unwrap_or(usize::MAX);
        Ok(Self {
            config,
            endpoints,
            logs,
            leader_epoch,
            topics,
            metadata: Mutex::new(metadata),
            producer_ids: Mutex::new(0..0),
            memory: MemoryPool::new(memory),
            answer_memory: MemoryPool::new(limits::ANSWER_BYTES_MAX),
            produce_lanes: ProduceLanes::default(),
            flush: (0..dir_count).map(|_| FlushSignal::default()).collect(),
        })
    }

    /// The settings.
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

    /// What large answers take until they have left.
    pub(crate) fn answer_memory(&self) -> &MemoryPool {
        &self.answer_memory
    }

    pub(crate) fn produce_lanes(&self) -> &ProduceLanes {
        &self.produce_lanes
    }

    pub(crate) fn logs(&self) -> &LogManager<AppendWaiter> {
        &self.logs
    }

    pub(crate) fn topics(&self) -> Arc<TopicsSnapshot> {
        self.topics.snapshot()
    }

    /// What wakes the flush threads, one per log directory.
    pub(crate) fn flush_signals(&self) -> &[FlushSignal] {
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

    fn lock_metadata(&self) -> MutexGuard<'_, MetadataStore> {
        // Poisoned only by a panic in the middle of a change; the log still says what is true, and
        // the next change fails on it if it is broken.
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates what is valid among `wanted`; blocks on the disk.
    fn create(
        &self,
        wanted: Vec<NewTopic>,
        validate_only: bool,
    ) -> Vec<Result<CreatedTopic, BrokerError>> {
        let mut metadata = self.lock_metadata();
        let existing = self.topics();
        let mut checked: Vec<Result<ValidTopic, BrokerError>> = wanted
            .into_iter()
            .map(|topic| topic.validate(&self.config, &existing))
            .collect();
        refuse_collisions(&mut checked);
        refuse_surplus(&mut checked);
        let valid: Vec<&ValidTopic> = checked
            .iter()
            .filter_map(|topic| topic.as_ref().ok())
            .collect();
        let made = match validate_only || valid.is_empty() {
            true => Ok(()),
            false => self.create_valid(&mut metadata, &valid),
        };
        let failure = made.err().map(Arc::new);
        checked
            .into_iter()
            .map(|topic| {
                let topic = topic?;
                match &failure {
                    // All were written together, so all failed together.
                    Some(error) => Err(BrokerError::Together(Arc::clone(error))),
                    None => Ok(topic.created(validate_only)),
                }
            })
            .collect()
    }

    /// Directories first, then the metadata record, which is what makes the topics exist: a crash in
    /// between leaves directories that no topic claims, and the next start removes them.
    fn create_valid(
        &self,
        metadata: &mut MetadataStore,
        topics: &[&ValidTopic],
    ) -> Result<(), BrokerError> {
        let now_ms = clock::now_ms();
        let live = topics
            .iter()
            .flat_map(|topic| topic.live_partitions())
            .collect();
        let logs = self.logs.create_many(live, self.leader_epoch)?;
        let records = topics.iter().map(|topic| topic.record()).collect();
        if let Err(error) = metadata.topics_created(records, now_ms) {
            for log in logs {
                if let Err(error) = self.logs.delete(&log, now_ms) {
                    warn!(partition = %log.topic_partition(), %error, "left behind until the next start");
                }
            }
            return Err(error.into());
        }
        let mut logs = by_partition(logs);
        let created = topics.iter().map(|topic| {
            let partitions = partitions(&topic.name, topic.partitions, &mut logs)?;
            Ok(Arc::new(Topic {
                name: Arc::clone(&topic.name),
                id: topic.id,
                configs: topic.configs.clone(),
                partitions,
            }))
        });
        self.topics
            .insert_all(created.collect::<Result<_, BrokerError>>()?);
        for topic in topics {
            info!(topic = %topic.name, partitions = topic.partitions, "created");
        }
        Ok(())
    }

    /// Deletes topics; blocks on the disk.
    fn delete(&self, wanted: Vec<TopicRef>) -> Vec<Result<(Arc<str>, Uuid), BrokerError>> {
        if !self.config.delete_topic_enable {
            return wanted
                .iter()
                .map(|_| Err(BrokerError::DeletionDisabled))
                .collect();
        }
        let mut metadata = self.lock_metadata();
        let topics = self.topics();
        let mut found: Vec<Result<Arc<Topic>, BrokerError>> = wanted
            .into_iter()
            .map(|wanted| resolve(&topics, wanted))
            .collect();
        let mut seen = std::collections::HashSet::new();
        for entry in &mut found {
            if entry.as_ref().is_ok_and(|topic| !seen.insert(topic.id)) {
                let reason = "the request names this topic more than once";
                *entry = Err(BrokerError::InvalidRequest { reason });
            }
        }
        let gone: Vec<Arc<Topic>> = found.iter().flatten().cloned().collect();
        let failure = self.delete_found(&mut metadata, &gone).err().map(Arc::new);
        found
            .into_iter()
            .map(|topic| {
                let topic = topic?;
                match &failure {
                    Some(error) => Err(BrokerError::Together(Arc::clone(error))),
                    None => Ok((Arc::clone(&topic.name), topic.id)),
                }
            })
            .collect()
    }

    /// The metadata record first: from then on the topic is gone, also after a crash.
    fn delete_found(
        &self,
        metadata: &mut MetadataStore,
        topics: &[Arc<Topic>],
    ) -> Result<(), BrokerError> {
        if topics.is_empty() {
            return Ok(());
        }
        let now_ms = clock::now_ms();
        let gone: Vec<_> = topics
            .iter()
            .map(|topic| (Arc::clone(&topic.name), topic.id))
            .collect();
        metadata.topics_deleted(&gone, now_ms)?;
        self.topics.remove_all(gone.iter().map(|(name, _)| &**name));
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            if let Err(error) = self.logs.delete(partition.log(), now_ms) {
                warn!(partition = %partition.log().topic_partition(), %error, "left behind until the next start");
            }
            // Whoever waits on it hears that it is gone.
            partition.settle();
        }
        for (name, _) in &gone {
            info!(topic = %name, "deleted");
        }
        Ok(())
    }

    /// The next producer id; blocks on the disk once per [`PRODUCER_ID_BLOCK`].
    fn take_producer_id(&self) -> Result<i64, BrokerError> {
        let mut ids = self
            .producer_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if ids.is_empty() {
            let first = self
                .lock_metadata()
                .reserve_producer_ids(PRODUCER_ID_BLOCK, clock::now_ms())?;
            *ids = first..first.saturating_add(PRODUCER_ID_BLOCK);
        }
        ids.next().ok_or(BrokerError::Stopped)
    }

    /// Makes everything durable and leaves the marks of a clean stop.
    ///
    /// # Errors
    /// Where the disk fails; the next start then recovers as after a crash.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        // A change of topics that was begun is finished first; later ones find the metadata log closed.
        let _changing = self.lock_metadata();
        self.logs.close(clock::now_ms())
    }
}

fn resolve(topics: &TopicsSnapshot, wanted: TopicRef) -> Result<Arc<Topic>, BrokerError> {
    match wanted {
        TopicRef::Name(name) => match topics.named(&name) {
            Some(topic) => Ok(Arc::clone(topic)),
            None => Err(BrokerError::UnknownTopic { name }),
        },
        TopicRef::Id(id) => topics
            .with_id(id)
            .map(Arc::clone)
            .ok_or(BrokerError::UnknownTopicId { id }),
    }
}

/// Opens the logs of every topic that the metadata names.
fn load_topics(
    config: &BrokerConfig,
    logs: &LogManager<AppendWaiter>,
    metadata: &MetadataStore,
    leader_epoch: i32,
    now_ms: i64,
) -> Result<Vec<Arc<Topic>>, BrokerError> {
    let records: Vec<&TopicRecord> = metadata.state().topics.values().collect();
    let mut live = Vec::new();
    for record in &records {
        let id = record.topic_id()?;
        let log_config =
            LogConfig::resolve(config, &record.configs).map_err(|error| record.unusable(&error))?;
        let topic: Arc<str> = Arc::from(record.name.as_str());
        live.extend((0..record.partitions).map(|partition| LivePartition {
            tp: TopicPartition {
                topic: Arc::clone(&topic),
                partition,
            },
            topic_id: id,
            config: log_config.clone(),
        }));
    }
    let loaded = logs.load(live, leader_epoch, now_ms)?;
    report_damage(&loaded);
    let mut opened = by_partition(loaded.logs);
    let topics = records.iter().map(|record| {
        let name: Arc<str> = Arc::from(record.name.as_str());
        Ok(Arc::new(Topic {
            id: record.topic_id()?,
            configs: record.configs.clone(),
            partitions: partitions(&name, record.partitions, &mut opened)?,
            name,
        }))
    });
    topics.collect()
}

/// Says what a start found damaged: nobody else may look before the data is needed.
fn report_damage(loaded: &LoadedLogs<AppendWaiter>) {
    for error in &loaded.lost {
        error!(%error, "a partition is lost");
    }
    for log in &loaded.logs {
        if let Some(error) = log.refusal() {
            error!(partition = %log.topic_partition(), %error, "served read-only: durable data is damaged");
        }
    }
}

/// Logs by the partition they say they are: storage hands them out in an order of its own.
fn by_partition(logs: Vec<Arc<PartitionLog>>) -> HashMap<TopicPartition, Arc<PartitionLog>> {
    logs.into_iter()
        .map(|log| (log.topic_partition().clone(), log))
        .collect()
}

/// The partitions of a topic, from 0 on, out of the logs that were opened for it.
fn partitions(
    topic: &Arc<str>,
    count: i32,
    logs: &mut HashMap<TopicPartition, Arc<PartitionLog>>,
) -> Result<Vec<Arc<Partition>>, BrokerError> {
    let partitions = (0..count).map(|partition| {
        let tp = TopicPartition {
            topic: Arc::clone(topic),
            partition,
        };
        let log = logs.remove(&tp).ok_or(StorageError::PartitionDeleted)?;
        Ok(Arc::new(Partition::new(log)))
    });
    partitions.collect()
}

/// [`Broker::create`] on the blocking pool. A request that is dropped does not undo it.
pub(crate) async fn create_topics(
    broker: Arc<Broker>,
    topics: Vec<NewTopic>,
    validate_only: bool,
) -> Vec<Result<CreatedTopic, BrokerError>> {
    let count = topics.len();
    let work = tokio::task::spawn_blocking(move || broker.create(topics, validate_only));
    work.await.unwrap_or_else(|_| stopped(count))
}

/// [`Broker::delete`] on the blocking pool.
pub(crate) async fn delete_topics(
    broker: Arc<Broker>,
    topics: Vec<TopicRef>,
) -> Vec<Result<(Arc<str>, Uuid), BrokerError>> {
    let count = topics.len();
    let work = tokio::task::spawn_blocking(move || broker.delete(topics));
    work.await.unwrap_or_else(|_| stopped(count))
}

/// A producer id that was never given out before, over all restarts.
pub(crate) async fn next_producer_id(broker: &Arc<Broker>) -> Result<i64, BrokerError> {
    let broker = Arc::clone(broker);
    let work = tokio::task::spawn_blocking(move || broker.take_producer_id());
    work.await.unwrap_or(Err(BrokerError::Stopped))
}

fn stopped<T>(count: usize) -> Vec<Result<T, BrokerError>> {
    (0..count).map(|_| Err(BrokerError::Stopped)).collect()
}
