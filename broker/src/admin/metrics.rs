//! What Prometheus scrapes.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::IntoResponse;

use super::problem::Problem;
use super::queries::FamiliesQuery;
use super::state::Admin;
use crate::metrics::{MetricsFormat, MetricsPage, Stage, scrape, scrape_start};

/// Beginnings of names that a request may ask for.
const FAMILIES_MAX: usize = 64;

/// Whether a path is one of these.
pub(super) fn is_scrape(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/metrics/")
}

async fn page(
    admin: &Admin,
    headers: &HeaderMap,
    page: MetricsPage,
    families: Vec<String>,
) -> Result<impl IntoResponse + use<>, Problem> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::accepted(accept.unwrap_or_default());
    let stage = Stage::of(&admin.lifecycle);
    let text = match (admin.broker(), page) {
        (Ok(broker), _) => scrape(broker, stage, page, format, families).await,
        // Who waits for the end of a start wants to know how far it is.
        (Err(_), MetricsPage::Default | MetricsPage::Detailed) => {
            Some(scrape_start(stage, format, families))
        }
        // Of offsets and groups nothing is known yet.
        (Err(problem), MetricsPage::KafkaExporter) => return Err(problem),
    };
    let late = || {
        let detail = "another scrape has kept this one waiting; a disk may hang";
        Problem::unavailable("/problems/timed-out", detail)
    };
    Ok((
        [(CONTENT_TYPE, format.content_type())],
        text.ok_or_else(late)?,
    ))
}

/// Metrics for Prometheus, in OpenMetrics or the classic format, whichever `Accept` asks for.
#[utoipa::path(get, path = "/metrics", tag = "metrics",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn default(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    page(&admin, &headers, MetricsPage::Default, Vec::new()).await
}

/// The same with every partition and every group.
#[utoipa::path(get, path = "/metrics/detailed", tag = "metrics", params(FamiliesQuery),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn detailed(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<FamiliesQuery>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let families = query.family.unwrap_or_default();
    let families = families.split(',').filter(|family| !family.is_empty());
    let families: Vec<String> = families.map(str::to_owned).collect();
    if families.len() > FAMILIES_MAX {
        let detail = format!("it may name {FAMILIES_MAX} beginnings");
        return Err(Problem::invalid("?family", detail));
    }
    page(&admin, &headers, MetricsPage::Detailed, families).await
}

/// Offsets and lags under the names of kafka_exporter.
#[utoipa::path(get, path = "/metrics/kafka-exporter", tag = "metrics",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn kafka_exporter(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    page(&admin, &headers, MetricsPage::KafkaExporter, Vec::new()).await
}
