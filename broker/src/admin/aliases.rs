//! Paths of Redpanda's admin API, for probes and tools that were made for it (`rpk cluster health`): the same facts
//! under its names, and in its shapes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::health;
use super::problem::Problem;
use super::state::Admin;
use crate::broker::Broker;
use crate::lifecycle::BrokerState;
use crate::process::ProcessFacts;

/// Partitions that are named; all of them are counted.
const NAMED_MAX: usize = 128;

/// Whether clients are served, as Redpanda says it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReadyStatus {
    /// `ready`, or `booting` where they are not.
    status: &'static str,
}

/// A broker, as Redpanda tells of one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedpandaBroker {
    /// Its number.
    node_id: i32,
    /// Processors that it may use.
    num_cores: Option<usize>,
    /// Always `active`.
    membership_status: &'static str,
    /// Always true: it answers.
    is_alive: bool,
    /// Its version.
    version: &'static str,
    /// The file systems of its log directories, as they were seen last.
    disk_space: Vec<RedpandaDisk>,
}

/// The file system of a log directory, as Redpanda tells of one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedpandaDisk {
    /// The directory.
    path: String,
    /// Free bytes.
    free: u64,
    /// Bytes.
    total: u64,
}

/// How the broker stands, as Redpanda tells of a cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedpandaHealth {
    /// Whether there is no reason below.
    is_healthy: bool,
    /// `controller_id`, `leaderless_partitions` and `high_disk_usage_nodes`.
    unhealthy_reasons: Vec<&'static str>,
    /// The broker itself; -1 where topics and settings cannot be changed, because of the first log directory.
    controller_id: i32,
    /// The broker itself.
    all_nodes: Vec<i32>,
    /// None: who is down does not answer.
    nodes_down: Vec<i32>,
    /// None: who recovers answers 503.
    nodes_in_recovery_mode: Vec<i32>,
    /// Partitions that cannot be read or written, because of their log directory: `kafka/TOPIC/PARTITION`. The first 128.
    leaderless_partitions: Vec<String>,
    /// How many there are.
    leaderless_count: usize,
    /// None: a partition has one replica.
    under_replicated_partitions: Vec<String>,
    /// 0.
    under_replicated_count: usize,
    /// The broker itself, where a disk is known to have less room than it should have.
    high_disk_usage_nodes: Vec<i32>,
}

/// Whether clients are served and topics can be changed, under the path and in the words of Redpanda. Answers 503 where
/// `/readyz` does.
#[utoipa::path(get, path = "/v1/status/ready", tag = "health", security(()),
    responses((status = 200, body = ReadyStatus), (status = 503, body = ReadyStatus)))]
pub(crate) async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<ReadyStatus>) {
    let broker = admin.lifecycle.broker();
    let can_change = broker.is_some_and(|broker| health::can_change(broker));
    let (code, status) = match admin.lifecycle.state() {
        BrokerState::Running if can_change => (StatusCode::OK, "ready"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "booting"),
    };
    (code, Json(ReadyStatus { status }))
}

/// The brokers, in the shape of Redpanda: this one.
#[utoipa::path(get, path = "/v1/brokers", tag = "broker",
    responses((status = 200, body = Vec<RedpandaBroker>)))]
pub(crate) async fn brokers(
    State(admin): State<Arc<Admin>>,
) -> Result<Json<Vec<RedpandaBroker>>, Problem> {
    let broker = admin.broker()?;
    let facts = tokio::task::spawn_blocking(ProcessFacts::of_this_one).await;
    let paths = broker.config().log_dirs.iter().enumerate();
    let disks = paths.filter_map(|(dir, path)| {
        let space = broker.logs().seen_space(dir)?;
        Some(RedpandaDisk {
            path: path.display().to_string(),
            free: space.free_bytes,
            total: space.total_bytes,
        })
    });
    Ok(Json(vec![RedpandaBroker {
        node_id: broker.node_id(),
        num_cores: facts.ok().and_then(|facts| facts.cores),
        membership_status: "active",
        is_alive: true,
        version: env!("CARGO_PKG_VERSION"),
        disk_space: disks.collect(),
    }]))
}

/// How the broker stands, in the shape of Redpanda.
#[utoipa::path(get, path = "/v1/cluster/health_overview", tag = "broker",
    responses((status = 200, body = RedpandaHealth)))]
pub(crate) async fn health_overview(
    State(admin): State<Arc<Admin>>,
) -> Result<Json<RedpandaHealth>, Problem> {
    let broker = admin.broker()?;
    let (node_id, can_change) = (broker.node_id(), health::can_change(broker));
    let has_room = health::has_room(&admin, broker).await;
    let leaderless = admin.compute(|broker| leaderless(broker)).await?;
    let (leaderless_partitions, leaderless_count) = leaderless;
    let reasons = [
        ("controller_id", !can_change),
        ("leaderless_partitions", leaderless_count > 0),
        ("high_disk_usage_nodes", !has_room),
    ];
    let reasons = reasons.into_iter().filter(|(_, holds)| *holds);
    let unhealthy_reasons: Vec<&str> = reasons.map(|(reason, _)| reason).collect();
    Ok(Json(RedpandaHealth {
        is_healthy: unhealthy_reasons.is_empty(),
        unhealthy_reasons,
        controller_id: if can_change { node_id } else { -1 },
        all_nodes: vec![node_id],
        nodes_down: Vec::new(),
        nodes_in_recovery_mode: Vec::new(),
        leaderless_partitions,
        leaderless_count,
        under_replicated_partitions: Vec::new(),
        under_replicated_count: 0,
        high_disk_usage_nodes: if has_room { Vec::new() } else { vec![node_id] },
    }))
}

/// The partitions of log directories that are offline, and how many there are.
fn leaderless(broker: &Broker) -> (Vec<String>, usize) {
    let topics = broker.topics();
    let (mut named, mut count) = (Vec::new(), 0);
    for topic in topics.iter() {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if partition.log().failure().is_some() {
                count += 1;
                if named.len() < NAMED_MAX {
                    named.push(format!("kafka/{}/{number}", topic.name));
                }
            }
        }
    }
    (named, count)
}
