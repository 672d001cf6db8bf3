//! The broker as a whole: what it is, and how it stands.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use siphasher::sip::SipHasher13;
use tidewheel_config::{BrokerConfig, describe_broker, limits};
use tidewheel_storage::LogDirSpace;
use tidewheel_storage::delay::{DelayCount, DelayOutlook};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::groups::view::{self, GroupWithOffsets};
use super::lag_status::LagStatus;
use super::problem::Problem;
use super::state::Admin;
use super::topics::Figures;
use crate::broker::Broker;
use crate::clock;
use crate::delays;
use crate::groups::{Lag, committed_offsets};
use crate::process::ProcessFacts;

/// Groups that are named as the worst.
const WORST: usize = 10;

/// What the broker is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Info {
    /// Its version.
    version: &'static str,
    /// The commit that it was built from, as far as that is known.
    revision: &'static str,
    /// The compiler that it was built with.
    rustc: &'static str,
    /// Kafka's name of its state.
    broker_state: &'static str,
    /// When it was started.
    started_ms: i64,
    /// How long ago that was.
    uptime_ms: i64,
    /// Its process.
    pid: u32,
    /// Processors that it may use.
    cores: Option<usize>,
    /// Memory of the machine.
    memory_total_bytes: Option<u64>,
    /// Memory that is its own: without pages of mapped files.
    memory_resident_bytes: Option<u64>,
    /// Descriptors that it has open.
    open_files: Option<usize>,
    /// Descriptors that it may have open.
    open_files_max: Option<u64>,
    /// Where its data lies.
    log_dirs: Vec<String>,
    /// `listeners`, as they were given.
    listeners: Vec<String>,
    /// What clients are told to connect to.
    advertised_listeners: Vec<String>,
    /// Where this API listens.
    admin: String,
    /// The cluster's id; null while the data is read.
    cluster_id: Option<String>,
    /// This broker's number; null while the data is read.
    node_id: Option<i32>,
    /// How often this data was started.
    leader_epoch: Option<i32>,
    /// Another one for other settings.
    config_digest: Option<String>,
    /// When settings were read: at the start, or when it was last asked to read them again (SIGHUP).
    config_read_ms: Option<i64>,
}

/// How the broker stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Overview {
    /// Kafka's name of its state.
    broker_state: &'static str,
    /// How many topics there are, its own included.
    topics: usize,
    /// How many partitions they have.
    partitions: usize,
    /// Offsets that can be read.
    records: i64,
    /// Bytes of all segments.
    size_bytes: u64,
    /// Partitions that are kept for reading only, because of damage.
    damaged_partitions: usize,
    /// Connections of clients.
    connections: usize,
    /// What went in and out, the mean of the last 10 seconds; null in the first ones.
    rates: Option<Rates>,
    /// What is delayed.
    delayed: DelayedTotals,
    /// How many groups there are in each state.
    groups: BTreeMap<&'static str, usize>,
    /// The groups that are furthest behind, as they were found some seconds ago.
    worst_lag: Vec<WorstLag>,
    /// Groups that were not looked at, because there was no time for more.
    worst_lag_left_out: usize,
    /// The log directories.
    disks: Vec<Disk>,
    /// What a person should look at.
    alarms: Vec<Alarm>,
}

/// What goes in and out.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Rates {
    /// Records that producers sent.
    pub(super) records_in_per_second: f64,
    /// Bytes of record batches that producers sent.
    pub(super) bytes_in_per_second: f64,
    /// Bytes of record batches that consumers got.
    pub(super) bytes_out_per_second: f64,
    /// Requests of Kafka's API.
    pub(super) requests_per_second: f64,
}

/// What is delayed, as `/v1/delayed` has it. Where a delay store is being worked on it is told as it was seen last.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct DelayedTotals {
    /// Pending records.
    pending: u64,
    /// What they take on disk.
    pending_bytes: u64,
    /// Nothing is due before, apart from what is overdue; rounded down where that is far ahead.
    next_due_ms: Option<i64>,
    /// What is due and not delivered yet, in pieces.
    overdue: u64,
    /// When the first of it was due.
    oldest_overdue_ms: Option<i64>,
    /// Whether nothing is delivered because the clock jumped ahead.
    clock_held: bool,
}

impl DelayedTotals {
    fn of(broker: &Broker) -> Self {
        let mut pending = DelayCount::default();
        let mut outlook = DelayOutlook::default();
        for store in delays::seen(broker) {
            store.topics.values().for_each(|count| pending.join(*count));
            outlook.join(store.outlook.clone());
        }
        Self {
            pending: pending.records,
            pending_bytes: pending.bytes,
            next_due_ms: outlook.next_due_ms,
            overdue: outlook.overdue,
            oldest_overdue_ms: outlook.oldest_overdue_ms,
            clock_held: broker.delays().state().clock_held,
        }
    }
}

/// A group that is far behind.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WorstLag {
    /// Its name.
    group: String,
    /// How it gets on.
    status: LagStatus,
    /// Unread records.
    total_lag: u64,
    /// The age of the oldest of the first unread records; null where it is not known, or there was no time to look
    /// it up.
    max_lag_seconds: Option<f64>,
}

/// A log directory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Disk {
    /// The directory.
    log_dir: String,
    /// Size of its file system; null where it cannot be used.
    total_bytes: Option<u64>,
    /// What may still be written.
    free_bytes: Option<u64>,
    /// Room is made below so much.
    low_bytes: u64,
    /// Clients' records are refused below so much.
    reserved_bytes: u64,
    /// Why it cannot be used, or asked.
    offline: Option<String>,
}

/// What a person should look at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alarm {
    /// The check of `/readyz` that fails.
    check: &'static str,
    /// What is wrong.
    detail: Option<String>,
}

/// What the broker is: version, process, addresses, identity. Answers while the data is read, too.
#[utoipa::path(get, path = "/v1/info", tag = "broker", responses((status = 200, body = Info)))]
pub(crate) async fn info(State(admin): State<Arc<Admin>>) -> Result<Json<Info>, Problem> {
    let facts = tokio::task::spawn_blocking(ProcessFacts::of_this_one).await;
    let facts = facts.map_err(|_| Problem::unavailable("/problems/stopping", "it is stopping"))?;
    let life = &admin.lifecycle;
    let broker = life.broker();
    let config = broker.map(|broker| broker.config());
    let listeners = |of: fn(&BrokerConfig) -> &[tidewheel_config::Listener]| {
        let listeners = config.map_or(&[][..], of).iter();
        listeners.map(|listener| listener.to_string()).collect()
    };
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("BUILT_FROM_REVISION"),
        rustc: env!("BUILT_WITH_RUSTC"),
        broker_state: life.state().name(),
        started_ms: life.began_ms(),
        uptime_ms: life.uptime_ms(),
        pid: std::process::id(),
        cores: facts.cores,
        memory_total_bytes: facts.memory_total_bytes,
        memory_resident_bytes: facts.memory_resident_bytes,
        open_files: facts.open_files,
        open_files_max: facts.open_files_max,
        log_dirs: config.map_or(Vec::new(), |config| {
            let dirs = config.log_dirs.iter();
            dirs.map(|dir| dir.display().to_string()).collect()
        }),
        listeners: listeners(|config| &config.listeners),
        advertised_listeners: broker.map_or(Vec::new(), advertised),
        admin: admin.address.to_string(),
        cluster_id: broker.map(|broker| broker.cluster_id().to_owned()),
        node_id: broker.map(|broker| broker.node_id()),
        leader_epoch: broker.map(|broker| broker.leader_epoch()),
        config_digest: broker.map(|broker| digest(&broker.topic_defaults())),
        config_read_ms: broker.map(|broker| broker.given().read_ms),
    }))
}

fn advertised(broker: &Arc<Broker>) -> Vec<String> {
    let endpoints = broker.endpoints().iter();
    let endpoints = endpoints.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port));
    endpoints.collect()
}

/// Another one for other settings, the same over restarts.
fn digest(config: &BrokerConfig) -> String {
    let mut hasher = SipHasher13::new();
    for entry in describe_broker(config) {
        hasher.write(entry.name.as_bytes());
        hasher.write(b"=");
        hasher.write(entry.value.unwrap_or_default().as_bytes());
        hasher.write(b"\n");
    }
    format!("{:016x}", hasher.finish())
}

/// How the broker stands: totals, disks, the groups that are furthest behind, alarms.
#[utoipa::path(get, path = "/v1/overview", tag = "broker",
    responses((status = 200, body = Overview)))]
pub(crate) async fn overview(State(admin): State<Arc<Admin>>) -> Result<Json<Overview>, Problem> {
    let broker = admin.broker()?;
    let listed = view::all(broker).await?;
    let mut groups = BTreeMap::new();
    for group in &listed {
        *groups.entry(group.state).or_default() += 1;
    }
    let names: Vec<Arc<str>> = listed.into_iter().map(|group| group.group_id).collect();
    let worst = admin.worst_lag.find(&admin, broker, &names).await?;
    let alarms = super::health::alarms(&admin).await.into_iter();
    let alarms = alarms.map(|(check, detail)| Alarm { check, detail });
    let (state, alarms) = (admin.lifecycle.state(), alarms.collect());
    let rates = admin.stats.rates();
    let disks = match admin.probes.dirs(broker).await {
        Some(dirs) => dirs.iter().map(disk).collect(),
        None => silent_disks(broker),
    };
    let overview = admin.compute(move |broker| {
        let topics = broker.topics();
        let mut sums = Figures::default();
        for topic in topics.iter() {
            let figures = Figures::of(topic);
            sums.records += figures.records;
            sums.size_bytes += figures.size_bytes;
            sums.damaged += figures.damaged;
        }
        Overview {
            broker_state: state.name(),
            topics: topics.iter().count(),
            partitions: topics.partition_count(),
            records: sums.records,
            size_bytes: sums.size_bytes,
            damaged_partitions: sums.damaged,
            connections: broker.clients().count(),
            rates,
            delayed: DelayedTotals::of(broker),
            groups,
            worst_lag: worst.groups.clone(),
            worst_lag_left_out: worst.left_out,
            disks,
            alarms,
        }
    });
    Ok(Json(overview.await?))
}

/// The search for the groups that are furthest behind: one at a time, and not too often.
#[derive(Debug)]
pub(crate) struct WorstLagSearch {
    turn: Semaphore,
    found: ArcSwapOption<WorstGroups>,
}

#[derive(Debug, Default)]
struct WorstGroups {
    /// The worst first, those left out that have read everything.
    groups: Vec<WorstLag>,
    left_out: usize,
    /// In steady ms.
    at_ms: i64,
}

impl Default for WorstLagSearch {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            found: ArcSwapOption::empty(),
        }
    }
}

fn after(wait: Duration, from_ms: i64) -> i64 {
    from_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

impl WorstLagSearch {
    /// What was found a moment ago, or is found now.
    async fn find(
        &self,
        admin: &Admin,
        broker: &Broker,
        names: &[Arc<str>],
    ) -> Result<Arc<WorstGroups>, Problem> {
        // It is never closed.
        let _turn = self.turn.acquire().await.ok();
        let now_ms = clock::steady_ms();
        if let Some(found) = self.found.load_full()
            && now_ms < after(limits::ADMIN_WORST_LAG_FRESH, found.at_ms)
        {
            return Ok(found);
        }
        let mut worst = WorstGroups::default();
        let told = |group: &GroupWithOffsets| worst.take(group);
        let ask = |group| view::with_offsets(broker, group);
        let wait = limits::ADMIN_WORST_LAG_WAIT;
        worst.left_out = view::each(names, wait, ask, told).await?;
        let ages = worst.find_ages(admin, broker);
        // What there was no time for stays unknown.
        drop(timeout(limits::ADMIN_WORST_LAG_AGES_WAIT, ages).await);
        worst.at_ms = clock::steady_ms();
        let worst = Arc::new(worst);
        self.found.store(Some(Arc::clone(&worst)));
        Ok(worst)
    }
}

impl WorstGroups {
    /// Looks up how old the first unread records are. Each look-up may read from disk.
    async fn find_ages(&mut self, admin: &Admin, broker: &Broker) {
        for worst in &mut self.groups {
            let group: Arc<str> = worst.group.as_str().into();
            let Ok(offsets) = committed_offsets(broker, &group).await else {
                continue;
            };
            let mut oldest = Some(Duration::ZERO);
            for offset in offsets {
                let lag = match offset.records(broker) {
                    Lag::Behind { age: None, .. } => match admin.look_up_turn().await {
                        Ok(turn) => offset.lag(broker, turn).await,
                        Err(_) => return,
                    },
                    lag => lag,
                };
                if let Lag::Behind { age, .. } = lag {
                    oldest = oldest.zip(age).map(|(oldest, age)| oldest.max(age));
                }
            }
            worst.max_lag_seconds = oldest.map(|oldest| oldest.as_secs_f64());
        }
    }

    fn take(&mut self, group: &GroupWithOffsets) {
        let total_lag = group.total_lag();
        let at = self
            .groups
            .partition_point(|one| one.total_lag >= total_lag);
        if total_lag == 0 || at == WORST {
            return;
        }
        self.groups.truncate(WORST - 1);
        self.groups.insert(
            at,
            WorstLag {
                group: group.view.group.to_string(),
                status: group.status(),
                total_lag,
                max_lag_seconds: None,
            },
        );
    }
}

fn disk(dir: &LogDirSpace) -> Disk {
    let space = dir.space.as_ref().ok();
    Disk {
        log_dir: dir.path.display().to_string(),
        total_bytes: space.map(|space| space.total_bytes),
        free_bytes: space.map(|space| space.free_bytes),
        low_bytes: dir.limits.low_bytes,
        reserved_bytes: dir.limits.reserved_bytes,
        offline: dir.space.as_ref().err().map(|error| error.to_string()),
    }
}

/// The disks where one of them does not answer.
fn silent_disks(broker: &Broker) -> Vec<Disk> {
    let config = broker.config();
    let disks = config.log_dirs.iter().map(|dir| Disk {
        log_dir: dir.display().to_string(),
        total_bytes: None,
        free_bytes: None,
        low_bytes: config.log_dir_low_bytes,
        reserved_bytes: config.log_dir_reserved_bytes,
        offline: Some("no answer; a disk may hang".to_owned()),
    });
    disks.collect()
}
