//! Who is connected.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::listing::Page;
use super::problem::Problem;
use super::queries::{EndQuery, NumberQuery};
use super::state::Admin;
use crate::broker::Broker;
use crate::clients::Client;
use crate::clock;

/// Characters of a reason to end a connection.
const REASON_LEN_MAX: usize = 256;

/// A connection of a client.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// Counts connections from 1.
    id: u64,
    /// The client's address.
    address: String,
    /// Where it was accepted, as clients are told.
    listener: String,
    /// `PLAINTEXT`.
    security: &'static str,
    /// `client.id`, if it has sent one.
    client_id: Option<String>,
    /// The client's library, if it has named itself.
    software_name: Option<String>,
    /// The library's version.
    software_version: Option<String>,
    /// When it connected.
    connected_ms: i64,
    /// How long ago that was.
    age_ms: i64,
    /// Requests that it has sent.
    requests: u64,
    /// Those of them whose answers have not left yet.
    requests_in_flight: u64,
    /// Bytes of its requests.
    request_bytes: u64,
    /// Bytes of the answers that have left.
    answer_bytes: u64,
    /// The API of the last request.
    last_api: Option<&'static str>,
    /// How long ago that one came; or it connected, where it sent none.
    idle_ms: u64,
}

impl Connection {
    fn new(broker: &Broker, client: &Client) -> Self {
        let listener = broker.endpoint(client.listener);
        let software = client.software();
        let [request_bytes, answer_bytes] = client.bytes();
        Self {
            id: client.id,
            address: client.peer.to_string(),
            listener: format!("{}:{}", listener.host, listener.port),
            security: "PLAINTEXT",
            client_id: client.client_id().map(str::to_owned),
            software_name: software.map(|software| software.name.clone()),
            software_version: software.map(|software| software.version.clone()),
            connected_ms: client.connected_ms,
            age_ms: clock::now_ms().saturating_sub(client.connected_ms).max(0),
            requests_in_flight: client.requests_in_flight(),
            requests: client.requests(),
            request_bytes,
            answer_bytes,
            last_api: client.last_api().map(|api| api.name()),
            idle_ms: client.idle_ms(),
        }
    }
}

/// All connections of clients, the oldest first.
#[utoipa::path(get, path = "/v1/connections", tag = "connections", params(NumberQuery),
    responses((status = 200, body = Page<Connection>)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<Page<Connection>>, Problem> {
    let broker = admin.broker()?;
    let all = broker.clients().all();
    let page = query.page(all, number, |client| Connection::new(broker, &client))?;
    Ok(Json(page))
}

fn number(client: &Arc<Client>) -> i64 {
    i64::try_from(client.id).unwrap_or(i64::MAX)
}

/// One connection.
#[utoipa::path(get, path = "/v1/connections/{id}", tag = "connections",
    params(("id" = u64, Path, description = "its number")),
    responses((status = 200, body = Connection)))]
pub(crate) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<u64>,
) -> Result<Json<Connection>, Problem> {
    let broker = admin.broker()?;
    let client = found(broker, id)?;
    Ok(Json(Connection::new(broker, &client)))
}

/// Ends a connection. Its client may connect again.
#[utoipa::path(delete, path = "/v1/connections/{id}", tag = "connections",
    params(("id" = u64, Path, description = "its number"), EndQuery),
    responses((status = 200, body = Connection)))]
pub(crate) async fn end(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<u64>,
    Query(query): Query<EndQuery>,
) -> Result<Json<Connection>, Problem> {
    let broker = admin.broker()?;
    let client = found(broker, id)?;
    let is_long = |reason: &String| reason.chars().nth(REASON_LEN_MAX).is_some();
    if query.reason.as_ref().is_some_and(is_long) {
        let detail = format!("it must have {REASON_LEN_MAX} characters at most");
        return Err(Problem::invalid("?reason", detail));
    }
    if !query.dry_run.unwrap_or(false) {
        client.end(query.reason);
    }
    Ok(Json(Connection::new(broker, &client)))
}

fn found(broker: &Broker, id: u64) -> Result<Arc<Client>, Problem> {
    let client = broker.clients().get(id);
    client.ok_or_else(|| Problem::not_found(format!("there is no connection {id}")))
}
