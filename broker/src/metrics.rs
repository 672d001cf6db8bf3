//! What operators measure: one owner of all counters, and the text of a scrape.
//!
//! Whoever does something counts it here with relaxed atomics; what can be read off the state, such as offsets,
//! sizes and groups, is read when somebody scrapes. Names and words of all families are in
//! [`families`]. A scrape is bounded: see `limits::METRICS_TOPICS_BYTES` and its neighbours.

mod connections;
mod delayed;
mod exposition;
pub(crate) mod families;
mod gather;
mod histogram;
mod kafka_exporter;
mod lag;
mod process;
mod requests;
mod storage;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidewheel_config::limits;
use tidewheel_protocol::ApiKey;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::connections::Connections;
pub(crate) use self::connections::{CloseReason, OpenConnection};
use self::delayed::DelayedMetrics;
use self::exposition::Exposition;
pub use self::exposition::MetricsFormat;
pub(crate) use self::histogram::{Buckets, TIMES};
use self::lag::LagTimes;
use self::requests::Requests;
pub(crate) use self::requests::{Left, Meter, Phases, RequestTimer};
use self::storage::StorageMetrics;
pub(crate) use self::traffic::{TopicTraffic, Traffic};
use crate::broker::Broker;
use crate::lifecycle::Lifecycle;

/// All that is counted while the broker lives.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Arc<Requests>,
    connections: Arc<Connections>,
    traffic: Traffic,
    storage: StorageMetrics,
    delayed: DelayedMetrics,
    lag_times: LagTimes,
    /// How long producers were asked to wait because much is pending, in ms.
    throttled_ms: AtomicU64,
    /// One scrape at a time: it takes a thread that may wait for a disk.
    scrapes: Arc<Semaphore>,
}

impl Metrics {
    /// Nothing has happened yet on listeners with these names.
    pub(crate) fn new(listeners: impl Iterator<Item = String>) -> Self {
        Self {
            requests: Arc::default(),
            connections: Arc::new(Connections::new(listeners)),
            traffic: Traffic::default(),
            storage: StorageMetrics::default(),
            delayed: DelayedMetrics::default(),
            lag_times: LagTimes::default(),
            throttled_ms: AtomicU64::new(0),
            scrapes: Arc::new(Semaphore::new(1)),
        }
    }

    /// Where a new connection counts its requests.
    pub(crate) fn meter(&self) -> Meter {
        Meter::new(&self.requests)
    }

    /// A connection came through the listener of this number.
    pub(crate) fn opened(&self, listener: usize) -> OpenConnection {
        self.connections.opened(listener)
    }

    /// What is counted of topics.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Sums of what is counted.
    pub(crate) fn totals(&self) -> Totals {
        let [records_in, bytes_in, bytes_out] = self.traffic.totals();
        let [requests, request_errors, requests_in_flight] = self.requests.totals();
        Totals {
            records_in,
            bytes_in,
            bytes_out,
            requests,
            request_errors,
            requests_in_flight,
        }
    }

    /// A producer is asked to wait for so many ms, because much is pending.
    pub(crate) fn throttled(&self, ms: i32) {
        let ms = u64::try_from(ms).unwrap_or_default();
        self.throttled_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// How long all of these took since the start, in [`TIMES`]: requests to produce, requests to fetch with their
    /// wait, rounds of syncs.
    pub(crate) fn times(&self) -> [Buckets; 3] {
        let total = |key| self.requests.total_times(key);
        let flushes = self.storage.flush_times();
        [total(ApiKey::Produce), total(ApiKey::Fetch), flushes]
    }

    /// What is counted of delayed records.
    pub(crate) fn delayed(&self) -> &DelayedMetrics {
        &self.delayed
    }

    /// What the storage threads count.
    pub(crate) fn storage(&self) -> &StorageMetrics {
        &self.storage
    }
}

/// Sums over all topics and APIs; since the start but for the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Records of producers.
    pub(crate) records_in: u64,
    /// Bytes of their batches.
    pub(crate) bytes_in: u64,
    /// Bytes of batches that went to consumers.
    pub(crate) bytes_out: u64,
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// Those of them whose answer was an error.
    pub(crate) request_errors: u64,
    /// Requests under way.
    pub(crate) requests_in_flight: u64,
}

/// What a scrape asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsPage {
    /// `/metrics`.
    Default,
    /// `/metrics/detailed`: also every partition, every group and every partition of a group.
    Detailed,
    /// `/metrics/kafka-exporter`: offsets and lags under the names of kafka_exporter.
    KafkaExporter,
}

/// Where the broker stands, for a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    /// When it began, ms since 1970.
    began_ms: i64,
    /// Kafka's number of the state.
    state: u8,
    /// Partitions that the start has to check.
    recovery_partitions: u64,
    /// How many of them are not checked yet.
    recovery_remaining: u64,
    /// Requests with a token that nobody has; `None` where none is wanted.
    wrong_tokens: Option<u64>,
}

impl Stage {
    /// Clients are served.
    #[cfg(test)]
    pub(crate) const RUNNING: Self = Self {
        began_ms: 0,
        state: 3,
        recovery_partitions: 0,
        recovery_remaining: 0,
        wrong_tokens: None,
    };

    /// Where a broker stands in its life.
    pub(crate) fn of(life: &Lifecycle) -> Self {
        let recovery = life.recovery();
        let (done, total) = (recovery.done(), recovery.total());
        let count = |partitions: usize| u64::try_from(partitions).unwrap_or(u64::MAX);
        Self {
            began_ms: life.began_ms(),
            state: life.state() as u8,
            recovery_partitions: count(total),
            recovery_remaining: count(total.saturating_sub(done)),
            wrong_tokens: life.wrong_tokens(),
        }
    }
}

/// The text of a scrape of a broker that still reads its data: what runs, where it stands, and what the system says of
/// the process. Opens some files of `/proc`.
pub(crate) fn scrape_start(stage: Stage, format: MetricsFormat, families: Vec<String>) -> String {
    let mut out = Exposition::new(format).only(families);
    gather::expose_stage(stage, &mut out);
    gather::expose_wrong_tokens(stage, &mut out);
    process::expose(&mut out, stage.began_ms);
    out.finish()
}

/// The text of a scrape, in a form that goes with [`MetricsFormat::content_type`]. `None` where another one has kept it
/// waiting for `limits::METRICS_WAIT`: a disk hangs, mostly.
///
/// Only within a runtime, of which it tells.
pub(crate) async fn scrape(
    broker: &Arc<Broker>,
    stage: Stage,
    page: MetricsPage,
    format: MetricsFormat,
    families: Vec<String>,
) -> Option<String> {
    let turn = Arc::clone(&broker.metrics().scrapes).acquire_owned();
    let turn = timeout(limits::METRICS_WAIT, turn).await.ok()?.ok()?;
    let (runtime, scraped) = (Handle::current().metrics(), Arc::clone(broker));
    let work = move || {
        // Given back by the work, which goes on where nobody waits for it any more.
        let _turn = turn;
        let out = Exposition::new(format).only(families);
        render(&scraped, &runtime, stage, page, out)
    };
    timeout(limits::METRICS_WAIT, broker.read_blocking(work))
        .await
        .ok()?
}

fn render(
    broker: &Broker,
    runtime: &RuntimeMetrics,
    stage: Stage,
    page: MetricsPage,
    mut out: Exposition,
) -> String {
    match page {
        MetricsPage::Default => gather::expose(broker, runtime, stage, false, &mut out),
        MetricsPage::Detailed => gather::expose(broker, runtime, stage, true, &mut out),
        MetricsPage::KafkaExporter => kafka_exporter::expose(broker, &mut out),
    }
    out.finish()
}

#[cfg(test)]
mod tests;
