//! Who is connected.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::listing::Page;
use super::problem::Problem;
use super::queries::{DryRun, NumberQuery};
use super::state::Admin;
use crate::broker::Broker;
use crate::clients::Client;
use crate::clock;

/// A connection of a client.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// Counts connections from 1.
    id: u64,
    /// The client's address.
    address: String,
    /// Where it was accepted, as clients are told.
    listener: String,
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
    /// The API of the last one.
    last_api: Option<&'static str>,
}

impl Connection {
    fn new(broker: &Broker, client: &Client) -> Self {
        let listener = broker.endpoint(client.listener);
        let software = client.software();
        Self {
            id: client.id,
            address: client.peer.to_string(),
            listener: format!("{}:{}", listener.host, listener.port),
            client_id: client.client_id().map(str::to_owned),
            software_name: software.map(|software| software.name.clone()),
            software_version: software.map(|software| software.version.clone()),
            connected_ms: client.connected_ms,
            age_ms: clock::now_ms().saturating_sub(client.connected_ms).max(0),
            requests: client.requests(),
            last_api: client.last_api().map(|api| api.name()),
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
    params(("id" = u64, Path, description = "its number"), DryRun),
    responses((status = 200, body = Connection)))]
pub(crate) async fn end(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<u64>,
    Query(query): Query<DryRun>,
) -> Result<Json<Connection>, Problem> {
    let broker = admin.broker()?;
    let client = found(broker, id)?;
    if !query.is_dry() {
        client.end();
    }
    Ok(Json(Connection::new(broker, &client)))
}

fn found(broker: &Broker, id: u64) -> Result<Arc<Client>, Problem> {
    let client = broker.clients().get(id);
    client.ok_or_else(|| Problem::not_found(format!("there is no connection {id}")))
}
