//! The broker's own settings as typed values: what the daemon reads at start.

use std::path::PathBuf;

use crate::admin::AdminConfig;
use crate::error::{ConfigError, Place, Warning};
use crate::group::{self, GroupConfig};
use crate::listener::Listener;
use crate::log::LogConfig;
use crate::registry;
use crate::settings::{self, Settings, within};

/// Every effective broker setting, validated.
///
/// Made by [`BrokerConfig::load`]; [`BrokerConfig::default`] is the configuration of a broker that
/// was told nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// `node.id` (or `broker.id`): this broker's id in Metadata.
    pub node_id: i32,
    /// `broker.rack`, as Metadata reports it.
    pub rack: Option<String>,
    /// `listeners`: where to accept connections; port 0 lets the system choose.
    pub listeners: Vec<Listener>,
    /// Whether nobody configured `listeners`: only then may the broker go on without `[::1]`.
    pub listeners_are_default: bool,
    /// `advertised.listeners`, one per listener name; where it was not configured, the first
    /// listener of each name. Port 0 stands for the port that the listener of that name got.
    pub advertised_listeners: Vec<Listener>,
    /// The HTTP API: the `tidewheel.admin.*` keys.
    pub admin: AdminConfig,
    /// `num.partitions` of a topic whose creator does not say.
    pub num_partitions: i32,
    /// `default.replication.factor` of a topic whose creator does not say.
    pub default_replication_factor: i16,
    /// `tidewheel.replication.factor.max`: the largest replication factor a creator may ask for.
    pub replication_factor_max: i16,
    /// `tidewheel.max.partitions` of all topics, -1 for what the system's grants allow.
    pub max_partitions: i32,
    /// `auto.create.topics.enable`.
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `log.dirs` (or `log.dir`): the data directories, at least one, each once.
    pub log_dirs: Vec<PathBuf>,
    /// What topics without overrides get: the `log.*` keys.
    pub log: LogConfig,
    /// Consumer groups: the `group.*` and `offsets.*` keys.
    pub group: GroupConfig,
    /// `socket.request.max.bytes`: a longer frame closes the connection.
    pub socket_request_max_bytes: u32,
    /// `max.request.partition.size.limit`: partitions that one answer to DescribeTopicPartitions tells.
    pub max_request_partition_size_limit: i32,
    /// `queued.max.request.bytes`: bytes of requests held at once, over all connections.
    pub queued_max_request_bytes: u64,
    /// `max.connections`: connections held at once.
    pub max_connections: u32,
    /// `max.connections.per.ip`: connections held at once from one address.
    pub max_connections_per_ip: u32,
    /// `connections.max.idle.ms`: silence after which a connection is closed; -1 for never.
    pub connections_max_idle_ms: i64,
    /// `socket.listen.backlog.size` given to `listen(2)`.
    pub socket_listen_backlog_size: i32,
    /// `message.max.bytes`: the same value as `log.max_message_bytes`.
    pub message_max_bytes: u32,
    /// `fetch.max.bytes`: the most record bytes in one fetch answer.
    pub fetch_max_bytes: u32,
    /// `max.incremental.fetch.session.cache.slots`: fetch sessions that are remembered at once.
    pub max_incremental_fetch_session_cache_slots: u32,
    /// `log.initial.task.delay.ms`: how long after the start background tasks first run.
    pub log_initial_task_delay_ms: i64,
    /// `log.retention.check.interval.ms`.
    pub log_retention_check_interval_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`: how often recovery points, log starts and high
    /// watermarks are written.
    pub log_flush_offset_checkpoint_interval_ms: i64,
    /// How logs are compacted: `log.cleaner.*`.
    pub cleaner: CleanerConfig,
    /// `log.segment.delete.delay.ms`: the same value as `log.file_delete_delay_ms`.
    pub log_segment_delete_delay_ms: i64,
    /// `producer.id.expiration.ms`: an idle idempotent producer is forgotten after this.
    pub producer_id_expiration_ms: i64,
    /// `tidewheel.flush.unsynced.max.bytes`: unsynced bytes per data directory that start a flush.
    pub flush_unsynced_max_bytes: u64,
    /// `tidewheel.flush.interval.ms`: age of unsynced bytes that starts a flush.
    pub flush_interval_ms: i64,
    /// `tidewheel.log.dir.low.bytes`: free bytes below which room is made.
    pub log_dir_low_bytes: u64,
    /// `tidewheel.log.dir.reserved.bytes`: free bytes that clients' records do not get.
    pub log_dir_reserved_bytes: u64,
    /// `tidewheel.metrics.per.partition`.
    pub metrics_per_partition: MetricsPerPartition,
    /// `tidewheel.log.format`: how lines of the log look.
    pub log_format: LogFormat,
    /// `tidewheel.ignore.dynamic.config`: settings that were set on brokers while they ran do not act.
    pub ignore_dynamic_config: bool,
    /// `tidewheel.slow.request.ms`: requests that take so long are told in the log; 0 for none.
    pub slow_request_ms: i64,
    /// `tidewheel.loggers.expire.ms`: how long a level of the log lasts that a client sets.
    pub loggers_expire_ms: i64,
    /// `tidewheel.delay.near.records.max`: delayed records of a data directory that are kept in memory.
    pub delay_near_records_max: u32,
    /// `tidewheel.scrub.max.bytes.per.second`; 0 for no scrubbing.
    pub scrub_bytes_per_second: u32,
    /// What is odd about the configuration, such as settings that have no effect here.
    pub warnings: Vec<Warning>,
    /// The values behind the fields above, for DescribeConfigs.
    pub(crate) settings: Settings,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, logfmt elsewhere.
    Auto,
    /// For people.
    Text,
    /// `key=value`.
    Logfmt,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    fn from_settings(settings: &Settings) -> LogFormat {
        match settings.text("tidewheel.log.format").as_deref() {
            Some("text") => LogFormat::Text,
            Some("logfmt") => LogFormat::Logfmt,
            Some("json") => LogFormat::Json,
            _ => LogFormat::Auto,
        }
    }
}

/// Whether partitions have metrics of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsPerPartition {
    /// While they are few.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl MetricsPerPartition {
    fn from_settings(settings: &Settings) -> MetricsPerPartition {
        match settings.text("tidewheel.metrics.per.partition").as_deref() {
            Some("true") => MetricsPerPartition::Always,
            Some("false") => MetricsPerPartition::Never,
            _ => MetricsPerPartition::Auto,
        }
    }
}

/// How logs are compacted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub enable: bool,
    /// `log.cleaner.backoff.ms`: the pause where nothing is to be compacted.
    pub backoff_ms: i64,
    /// `log.cleaner.dedupe.buffer.size`: the most bytes that keys take in memory.
    pub dedupe_buffer_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`: how full that memory may become.
    pub load_factor: f64,
    /// `log.cleaner.io.max.bytes.per.second`, read and written together.
    pub io_max_bytes_per_second: f64,
}

impl CleanerConfig {
    fn from_settings(settings: &Settings) -> CleanerConfig {
        CleanerConfig {
            enable: settings.boolean("log.cleaner.enable"),
            backoff_ms: settings.number("log.cleaner.backoff.ms"),
            dedupe_buffer_bytes: settings.within("log.cleaner.dedupe.buffer.size"),
            load_factor: settings::double(settings.get("log.cleaner.io.buffer.load.factor")),
            io_max_bytes_per_second: settings::double(
                settings.get("log.cleaner.io.max.bytes.per.second"),
            ),
        }
    }
}

impl BrokerConfig {
    /// Where the broker setting `name` was given; `None` where nobody gave it at the start.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<Place> {
        self.settings.places().remove(name)
    }

    /// Reads the typed view out of checked values, and checks what spans several settings.
    pub(crate) fn from_settings(
        settings: Settings,
        mut warnings: Vec<Warning>,
    ) -> Result<BrokerConfig, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let listeners = listeners_of(&settings, "listeners");
        let advertised_listeners = advertise(&settings, &listeners, &mut errors);
        check_identity(&settings, &mut errors);
        check_protocols(&settings, &listeners, &mut errors);
        check_replication(&settings, &mut errors);
        group::check_times(&settings, &mut errors);
        let admin = AdminConfig::from_settings(&settings);
        for (key, reason) in admin.contradictions(&settings) {
            errors.push(contradiction(&settings, key, reason));
        }
        let log = LogConfig::of_broker(&settings);
        warnings.extend(check_sizes(&settings, &log));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(BrokerConfig {
            node_id: node_id(&settings),
            rack: settings.text("broker.rack"),
            listeners_are_default: settings.given("listeners").is_none(),
            listeners,
            advertised_listeners,
            admin,
            num_partitions: settings.within("num.partitions"),
            default_replication_factor: settings.within("default.replication.factor"),
            replication_factor_max: settings.within("tidewheel.replication.factor.max"),
            max_partitions: settings.within("tidewheel.max.partitions"),
            auto_create_topics_enable: settings.boolean("auto.create.topics.enable"),
            delete_topic_enable: settings.boolean("delete.topic.enable"),
            log_dirs: settings
                .list("log.dirs")
                .into_iter()
                .map(PathBuf::from)
                .collect(),
            socket_request_max_bytes: settings.within("socket.request.max.bytes"),
            max_request_partition_size_limit: settings.within("max.request.partition.size.limit"),
            queued_max_request_bytes: settings.within("queued.max.request.bytes"),
            max_connections: settings.within("max.connections"),
            max_connections_per_ip: settings.within("max.connections.per.ip"),
            connections_max_idle_ms: settings.number("connections.max.idle.ms").max(-1),
            socket_listen_backlog_size: settings.within("socket.listen.backlog.size"),
            message_max_bytes: log.max_message_bytes,
            fetch_max_bytes: settings.within("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: settings
                .within("max.incremental.fetch.session.cache.slots"),
            log_initial_task_delay_ms: settings.number("log.initial.task.delay.ms"),
            log_retention_check_interval_ms: settings.number("log.retention.check.interval.ms"),
            log_flush_offset_checkpoint_interval_ms: settings
                .number("log.flush.offset.checkpoint.interval.ms"),
            cleaner: CleanerConfig::from_settings(&settings),
            log_segment_delete_delay_ms: log.file_delete_delay_ms,
            producer_id_expiration_ms: settings.number("producer.id.expiration.ms"),
            flush_unsynced_max_bytes: settings.within("tidewheel.flush.unsynced.max.bytes"),
            flush_interval_ms: settings.number("tidewheel.flush.interval.ms"),
            log_dir_low_bytes: settings.within("tidewheel.log.dir.low.bytes"),
            log_dir_reserved_bytes: settings.within("tidewheel.log.dir.reserved.bytes"),
            delay_near_records_max: settings.within("tidewheel.delay.near.records.max"),
            group: GroupConfig::from_settings(&settings),
            metrics_per_partition: MetricsPerPartition::from_settings(&settings),
            log_format: LogFormat::from_settings(&settings),
            ignore_dynamic_config: settings.boolean("tidewheel.ignore.dynamic.config"),
            slow_request_ms: settings.number("tidewheel.slow.request.ms"),
            loggers_expire_ms: settings.number("tidewheel.loggers.expire.ms"),
            scrub_bytes_per_second: settings.within("tidewheel.scrub.max.bytes.per.second"),
            log,
            warnings,
            settings,
        })
    }
}

/// The acting `node.id`; `broker.id` at -1 counts as not set.
pub(crate) fn node_id(settings: &Settings) -> i32 {
    match settings.number("node.id") {
        id if id >= 0 => within(id),
        _ => {
            let row = registry::find(crate::key::Scope::Broker, "node.id");
            within(settings::number(row.and_then(crate::value::default_of)))
        }
    }
}

fn listeners_of(settings: &Settings, key: &str) -> Vec<Listener> {
    // Every entry has passed the check of its row.
    settings
        .list(key)
        .iter()
        .filter_map(|entry| Listener::parse(entry).ok())
        .collect()
}

/// What clients are told: as configured, else the first listener of each name.
fn advertise(
    settings: &Settings,
    listeners: &[Listener],
    errors: &mut Vec<ConfigError>,
) -> Vec<Listener> {
    let configured = listeners_of(settings, "advertised.listeners");
    let mut advertised: Vec<Listener> = Vec::new();
    for listener in &configured {
        if listeners.iter().any(|bound| bound.name == listener.name) {
            advertised.push(listener.clone());
        } else {
            let reason = format!("no entry of listeners has the name {}", listener.name);
            errors.push(contradiction(settings, "advertised.listeners", reason));
        }
    }
    for listener in listeners {
        if advertised.iter().any(|known| known.name == listener.name) {
            continue;
        }
        if listener.is_wildcard() {
            let reason = format!(
                "{listener} accepts on every address, so advertised.listeners must say which \
                 address clients of {} connect to",
                listener.name
            );
            errors.push(contradiction(settings, "listeners", reason));
        }
        advertised.push(listener.clone());
    }
    advertised
}

fn check_identity(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let given = |name| settings.given(name).map(|value| value.to_string());
    if let (Some(node_id), Some(broker_id)) = (given("node.id"), given("broker.id"))
        && node_id != broker_id
        && broker_id != "-1"
    {
        let reason = format!("node.id is {node_id}; give one of them, or the same number");
        errors.push(contradiction(settings, "broker.id", reason));
    }
}

fn check_protocols(settings: &Settings, listeners: &[Listener], errors: &mut Vec<ConfigError>) {
    const KEY: &str = "listener.security.protocol.map";
    // What listeners of these names speak where nothing else is said.
    const SECURE: [&str; 3] = ["SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    let map = registry::protocol_map(&settings.text(KEY).unwrap_or_default()).unwrap_or_default();
    for listener in listeners {
        // Of several entries the last one counts, as in Kafka.
        let protocol = map.iter().rfind(|(name, _)| *name == listener.name);
        let reason = match protocol.map(|(_, protocol)| protocol.as_str()) {
            Some("PLAINTEXT") => continue,
            Some(other) => format!("{listener} asks for {other}, which is not built yet"),
            None if SECURE.contains(&listener.name.as_str()) => {
                format!(
                    "{listener} asks for {}, which is not built yet",
                    listener.name
                )
            }
            None => format!(
                "{listener} needs an entry {}:PLAINTEXT in listener.security.protocol.map",
                listener.name
            ),
        };
        errors.push(contradiction(settings, "listeners", reason));
    }
}

fn check_replication(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let factor = settings.number("default.replication.factor");
    let most = settings.number("tidewheel.replication.factor.max");
    if factor > most {
        let reason = format!("tidewheel.replication.factor.max allows {most} at most");
        errors.push(contradiction(
            settings,
            "default.replication.factor",
            reason,
        ));
    }
}

/// Sizes that keep larger batches out than `message.max.bytes` says.
fn check_sizes(settings: &Settings, log: &LogConfig) -> Vec<Warning> {
    let message = i64::from(log.max_message_bytes);
    let limits = [
        ("log.segment.bytes", i64::from(log.segment_bytes)),
        (
            "socket.request.max.bytes",
            settings.number("socket.request.max.bytes"),
        ),
    ];
    let smaller = limits.into_iter().filter(|(_, limit)| *limit < message);
    let warn = |(name, limit): (&str, i64)| Warning::Note {
        place: settings.place(name),
        sentence: format!(
            "{name} ({limit}) is smaller than message.max.bytes ({message}): larger batches are \
             refused"
        ),
    };
    smaller.map(warn).collect()
}

pub(crate) fn contradiction(settings: &Settings, key: &str, expected: String) -> ConfigError {
    let value = settings.text(key).unwrap_or_default();
    ConfigError::Invalid {
        key: key.to_owned(),
        value,
        expected,
    }
}
