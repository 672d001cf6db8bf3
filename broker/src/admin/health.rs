//! Probes: whether the process lives, whether it can serve, and what of it is not as it should be.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use futures_util::future::join_all;
use serde::Serialize;
use tidewheel_config::limits;
use tidewheel_storage::{LogDirSpace, StorageError};
use utoipa::ToSchema;

use super::auth::Role;
use super::look::Look;
use super::problem::Problem;
use super::state::Admin;
use crate::broker::Broker;
use crate::lifecycle::BrokerState;

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// As they should.
    Ok,
    /// Not as they should, but clients are served.
    Degraded,
    /// Clients are not served.
    Unavailable,
}

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    /// Always `ok`.
    status: Health,
}

/// Whether clients can be served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// The worst of the checks that clients depend on; at best `degraded` where another one fails.
    status: Health,
    /// Kafka's name of the state: `STARTING`, `RECOVERY`, `RUNNING` or `SHUTTING_DOWN`.
    broker_state: &'static str,
    /// Kafka's number of the state.
    broker_state_code: u8,
    /// Each check.
    checks: Vec<CheckResult>,
}

/// One check.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckResult {
    /// Its name, for `/readyz/NAME`.
    name: &'static str,
    /// How it stands.
    status: Health,
    /// What is wrong, or how far it is; null for those who may not know.
    detail: Option<String>,
}

/// The checks, in the order in which they are told.
const CHECKS: [Check; 6] = [
    Check::Broker,
    Check::Recovery,
    Check::Metadata,
    Check::Storage,
    Check::Partitions,
    Check::Disk,
];

/// Partitions and directories that a check names.
const NAMED_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Clients are served.
    Broker,
    /// What was not stopped cleanly is back.
    Recovery,
    /// The log of topics and settings can be written.
    Metadata,
    /// All log directories are usable.
    Storage,
    /// No partition is kept for reading only.
    Partitions,
    /// There is room.
    Disk,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Recovery => "recovery",
            Self::Metadata => "metadata",
            Self::Storage => "storage",
            Self::Partitions => "partitions",
            Self::Disk => "disk",
        }
    }

    fn named(name: &str) -> Option<Self> {
        CHECKS.into_iter().find(|check| check.name() == name)
    }

    /// Whether it says nothing of the data and of the machine, so that everybody may hear it all.
    fn is_harmless(self) -> bool {
        matches!(self, Self::Broker | Self::Recovery)
    }

    /// How it stands; `None` where it is about data that is still being read. Never takes long.
    async fn run(self, admin: &Admin, details: bool) -> Option<CheckResult> {
        let (status, detail) = match self {
            Self::Broker => serves(admin),
            Self::Recovery => is_back(admin),
            _ => self.looked(admin, admin.lifecycle.broker()?).await,
        };
        Some(CheckResult {
            name: self.name(),
            status,
            detail: detail.filter(|_| details || self.is_harmless()),
        })
    }

    /// What is wrong, with how bad that is.
    async fn looked(self, admin: &Admin, broker: &Arc<Broker>) -> (Health, Option<String>) {
        let troubles = match self {
            Self::Broker | Self::Recovery => Some(Vec::new()),
            Self::Metadata => Some(offline(broker, 0..1)),
            Self::Storage => Some(offline(broker, 0..broker.logs().dir_count())),
            Self::Partitions => {
                let damaged = admin.probes.damaged(broker).await;
                damaged.map(|damaged| damaged.to_vec())
            }
            Self::Disk => {
                let dirs = admin.probes.dirs(broker).await;
                dirs.map(|dirs| short_of_room(&dirs))
            }
        };
        let Some(troubles) = troubles else {
            let wait_s = limits::ADMIN_LOOK_WAIT.as_secs();
            let detail = format!("no answer within {wait_s} s; a disk may hang");
            return (Health::Degraded, Some(detail));
        };
        if troubles.is_empty() {
            return (Health::Ok, None);
        }
        let health = match self {
            Self::Metadata => Health::Unavailable,
            _ => Health::Degraded,
        };
        let more = troubles.len().saturating_sub(NAMED_MAX);
        let mut detail: String = troubles[..troubles.len() - more].join("; ");
        if more > 0 {
            detail.push_str(&format!("; and {more} more"));
        }
        (health, Some(detail))
    }
}

/// What probes look at that may hang. It waits for nothing that other requests hold.
#[derive(Debug)]
pub(crate) struct Probes {
    damaged: Arc<Look<Vec<String>>>,
    dirs: Arc<Look<Vec<LogDirSpace>>>,
}

impl Default for Probes {
    fn default() -> Self {
        let (fresh, wait) = (limits::ADMIN_LOOK_FRESH, limits::ADMIN_LOOK_WAIT);
        Self {
            damaged: Look::new(fresh, wait),
            dirs: Look::new(fresh, wait),
        }
    }
}

impl Probes {
    /// Partitions that take no data because of damage; `None` where a log does not let itself be asked.
    async fn damaged(&self, broker: &Arc<Broker>) -> Option<Arc<Vec<String>>> {
        let broker = Arc::clone(broker);
        self.damaged.at(move || quarantined(&broker)).await
    }

    /// The space of the log directories; `None` where a file system does not answer.
    pub(super) async fn dirs(&self, broker: &Arc<Broker>) -> Option<Arc<Vec<LogDirSpace>>> {
        let broker = Arc::clone(broker);
        self.dirs.at(move || broker.logs().space()).await
    }
}

/// Whether a path is a probe's.
pub(super) fn is_probe(path: &str) -> bool {
    let probes = ["/livez", "/readyz", "/healthz", "/v1/status/ready"];
    probes.contains(&path) || path.starts_with("/readyz/")
}

fn offline(broker: &Broker, dirs: std::ops::Range<usize>) -> Vec<String> {
    let cause = |dir| broker.logs().offline_cause(dir);
    dirs.filter_map(cause)
        .map(|cause| cause.to_string())
        .collect()
}

/// Partitions that take no data because of damage.
fn quarantined(broker: &Broker) -> Vec<String> {
    let topics = broker.topics();
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let refused = partitions.filter_map(|partition| {
        let refusal = partition.log().damage()?;
        Some(format!("{}: {refusal}", partition.log().topic_partition()))
    });
    refused.collect()
}

fn short_of_room(dirs: &[LogDirSpace]) -> Vec<String> {
    let short = dirs.iter().filter_map(|dir| {
        let path = dir.path.display();
        let free = match &dir.space {
            Ok(space) => space.free_bytes,
            // Another check tells of it.
            Err(StorageError::LogDirOffline { .. }) => return None,
            Err(error) => return Some(error.to_string()),
        };
        if free < dir.limits.reserved_bytes {
            Some(format!(
                "{path} has {free} bytes left, which are kept for the broker: records are refused"
            ))
        } else if free < dir.limits.low_bytes {
            Some(format!("{path} has {free} bytes left"))
        } else {
            None
        }
    });
    short.collect()
}

/// Whether topics and settings can be changed.
pub(super) fn can_change(broker: &Broker) -> bool {
    offline(broker, 0..1).is_empty()
}

/// Whether no log directory is known to be short of room: one that does not answer may have much.
pub(super) async fn has_room(admin: &Admin, broker: &Arc<Broker>) -> bool {
    let dirs = admin.probes.dirs(broker).await;
    dirs.is_none_or(|dirs| short_of_room(&dirs).is_empty())
}

fn stands(fine: bool) -> Health {
    match fine {
        true => Health::Ok,
        false => Health::Unavailable,
    }
}

fn serves(admin: &Admin) -> (Health, Option<String>) {
    let state = admin.lifecycle.state();
    let running = state == BrokerState::Running;
    (stands(running), (!running).then(|| state.name().to_owned()))
}

fn is_back(admin: &Admin) -> (Health, Option<String>) {
    let recovery = admin.lifecycle.recovery();
    let (done, total) = (recovery.done(), recovery.total());
    let state = admin.lifecycle.state();
    // A broker that stops has long been through with it.
    let is_back = matches!(state, BrokerState::Running | BrokerState::ShuttingDown);
    let told = total > 0;
    (
        stands(is_back),
        told.then(|| format!("{done} of {total} partitions are back")),
    )
}

/// All checks; while the data is read only those that say nothing about it.
async fn run(admin: &Admin, details: bool) -> Readiness {
    let state = admin.lifecycle.state();
    let checks = CHECKS.map(|check| check.run(admin, details));
    let checks = join_all(checks).await.into_iter().flatten();
    let checks: Vec<CheckResult> = checks.collect();
    let worst = |health| checks.iter().any(|check| check.status == health);
    let status = match (worst(Health::Unavailable), worst(Health::Degraded)) {
        (true, _) => Health::Unavailable,
        (false, true) => Health::Degraded,
        (false, false) => Health::Ok,
    };
    Readiness {
        status,
        broker_state: state.name(),
        broker_state_code: state as u8,
        checks,
    }
}

/// Whether somebody may hear what is wrong, with the names of directories and topics.
async fn may_hear(admin: &Admin, headers: &HeaderMap) -> bool {
    let who = admin.principal(headers.get(AUTHORIZATION)).await;
    who.is_ok_and(|who| who.role >= Role::Viewer)
}

/// The checks that fail, and what is wrong.
pub(super) async fn alarms(admin: &Admin) -> Vec<(&'static str, Option<String>)> {
    let checks = run(admin, true).await.checks.into_iter();
    let fail = checks.filter(|check| check.status != Health::Ok);
    fail.map(|check| (check.name, check.detail)).collect()
}

fn code(status: Health) -> StatusCode {
    match status {
        Health::Ok | Health::Degraded => StatusCode::OK,
        Health::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether the process lives. Looks at nothing else.
#[utoipa::path(get, path = "/livez", tag = "health", security(()),
    responses((status = 200, body = Alive)))]
pub(crate) async fn livez() -> Json<Alive> {
    Json(Alive { status: Health::Ok })
}

/// Whether clients can be served, with each check. Answers 503 where they cannot; what is only not as it
/// should be (a damaged partition, little room, a disk that does not answer) is told with 200.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(crate) async fn readyz(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> (StatusCode, Json<Readiness>) {
    let readiness = run(&admin, may_hear(&admin, &headers).await).await;
    (code(readiness.status), Json(readiness))
}

/// The same as `/readyz`.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(crate) async fn healthz(
    admin: State<Arc<Admin>>,
    headers: HeaderMap,
) -> (StatusCode, Json<Readiness>) {
    readyz(admin, headers).await
}

/// One check: `broker`, `recovery`, `metadata`, `storage`, `partitions` or `disk`. Answers 503 where it is
/// not as it should be.
#[utoipa::path(get, path = "/readyz/{check}", tag = "health", security(()),
    params(("check" = String, Path, description = "its name")),
    responses((status = 200, body = CheckResult), (status = 503, body = CheckResult)))]
pub(crate) async fn readyz_check(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<CheckResult>), Problem> {
    let missing = || Problem::not_found(format!("there is no check {name}"));
    let check = Check::named(&name).ok_or_else(missing)?;
    let details = may_hear(&admin, &headers).await;
    let starting = || {
        let detail = "the data is still being read";
        Problem::unavailable("/problems/starting", detail)
    };
    let check = check.run(&admin, details).await.ok_or_else(starting)?;
    let code = match check.status {
        Health::Ok => StatusCode::OK,
        Health::Degraded | Health::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok((code, Json(check)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::admin::aliases;
    use crate::lifecycle::Lifecycle;
    use crate::testing;

    #[tokio::test]
    async fn a_disk_that_does_not_answer_is_not_called_full() {
        let dir = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::begin();
        lifecycle.has_read(&testing::broker(dir.path(), &[]));
        let admin = Admin::of(lifecycle);
        let (go_on, hangs) = mpsc::sync_channel::<()>(1);
        let hung = move || hangs.recv().map(|()| Vec::new()).unwrap_or_default();
        assert!(admin.probes.dirs.at(hung).await.is_none());
        let told = aliases::health_overview(State(Arc::clone(&admin))).await;
        let told = serde_json::to_value(told.unwrap().0).unwrap();
        assert_eq!(told["high_disk_usage_nodes"], serde_json::json!([]));
        drop(go_on);
    }
}
