//! The log: its levels, for a while, and its lines.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::StreamExt;
use futures_util::stream::{Stream, iter, unfold};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tracing::Level;
use utoipa::ToSchema;

use super::auth::Role;
use super::idle::Activity;
use super::problem::Problem;
use super::queries::LevelQuery;
use super::state::{Admin, StreamKind};
use super::streams::{self, Pass};
use crate::logging::{LogLine, Logging, SetLevel, is_logger};

/// How long a level lasts unless said otherwise.
const EXPIRES_S: i64 = 300;
/// The longest.
const EXPIRES_MAX_S: i64 = 24 * 3_600;
/// How often a stream of lines looks whether the broker stops.
const STOP_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// The levels of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Loggers {
    /// What is written where nothing else is said, in the words of `TIDEWHEEL_LOG`.
    directives: String,
    /// The levels that were set for a while.
    loggers: Vec<Logger>,
}

/// A part of the broker that writes lines, or whose level was set for a while.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Logger {
    /// The part of the broker; `root` for all of it.
    name: String,
    /// What is written: `error`, `warn`, `info`, `debug`, `trace` or `off`.
    level: String,
    /// How long it still lasts; null where it was not set for a while.
    expires_in_ms: Option<i64>,
    /// The level that was set before, if one was.
    previous: Option<String>,
    /// How long that one would have lasted.
    previous_expires_in_ms: Option<i64>,
}

fn word(level: Level) -> String {
    level.as_str().to_ascii_lowercase()
}

impl Logger {
    fn new(name: String, set: SetLevel, previous: Option<SetLevel>) -> Self {
        Self {
            name,
            level: word(set.level),
            expires_in_ms: Some(set.lasts_ms()),
            previous: previous.map(|previous| word(previous.level)),
            previous_expires_in_ms: previous.map(SetLevel::lasts_ms),
        }
    }
}

fn logging(admin: &Admin) -> Result<&Arc<Logging>, Problem> {
    let missing = || Problem::not_found("this broker is a part of a program that has its own log");
    admin.logging.as_ref().ok_or_else(missing)
}

/// The levels of the log.
#[utoipa::path(get, path = "/v1/loggers", tag = "log", responses((status = 200, body = Loggers)))]
pub(crate) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Loggers>, Problem> {
    let logging = logging(&admin)?;
    let levels = logging.levels().into_iter();
    Ok(Json(Loggers {
        directives: logging.directives().to_owned(),
        loggers: levels
            .map(|(name, set)| Logger::new(name, set, None))
            .collect(),
    }))
}

/// The level of a part of the broker: the one that was set for a while, or that acts otherwise.
#[utoipa::path(get, path = "/v1/loggers/{name}", tag = "log",
    params(("name" = String, Path, description = "the part of the broker")),
    responses((status = 200, body = Logger)))]
pub(crate) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Json<Logger>, Problem> {
    let logging = logging(&admin)?;
    if let Some(set) = logging.levels().remove(&name) {
        return Ok(Json(Logger::new(name, set, None)));
    }
    let Some(acting) = logging.acting_levels().remove(&name) else {
        return Err(unknown(&name));
    };
    Ok(Json(Logger {
        name,
        level: acting.to_ascii_lowercase(),
        expires_in_ms: None,
        previous: None,
        previous_expires_in_ms: None,
    }))
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("no part of the broker is called {name}"))
}

/// Sets the level of a part of the broker, such as `tidewheel_broker::groups`, or `root`, for a while.
#[utoipa::path(put, path = "/v1/loggers/{name}", tag = "log",
    params(("name" = String, Path, description = "the part of the broker"), LevelQuery),
    responses((status = 200, body = Logger)))]
pub(crate) async fn set(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Query(query): Query<LevelQuery>,
) -> Result<Json<Logger>, Problem> {
    let logging = logging(&admin)?;
    if !is_logger(&name) {
        return Err(unknown(&name));
    }
    let wrong = |_| Problem::invalid("?level", "it must be error, warn, info, debug or trace");
    let level: Level = query.level.parse().map_err(wrong)?;
    let expires_s = query.expires.unwrap_or(EXPIRES_S);
    if !(1..=EXPIRES_MAX_S).contains(&expires_s) {
        let detail = format!("it must be from 1 to {EXPIRES_MAX_S} seconds");
        return Err(Problem::invalid("?expires", detail));
    }
    let (lasts_ms, is_dry) = (expires_s * 1_000, query.dry_run.unwrap_or(false));
    let previous = logging.set_level(&name, level, lasts_ms, is_dry);
    let previous = previous.map_err(|error| {
        let problem = Problem::new(
            StatusCode::CONFLICT,
            "/problems/too-many-loggers",
            "too many levels are set",
        );
        problem.detail(error.to_string())
    })?;
    let set = SetLevel::lasting(level, lasts_ms);
    Ok(Json(Logger::new(name, set, previous)))
}

/// Lines of the log as they come.
struct Tail {
    pass: Pass,
    news: Receiver<Arc<LogLine>>,
    is_over: bool,
}

impl Tail {
    /// The next event; `None` after the last one.
    async fn next(mut self) -> Option<(Event, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            if let Some(reason) = self.pass.ends().await {
                self.is_over = true;
                return Some((streams::end(reason), self));
            }
            let line = tokio::time::timeout(STOP_PAUSE, self.news.recv());
            match line.await {
                Ok(Ok(line)) => return Some((event(&line), self)),
                // Its reader is too slow: the numbers of the lines show what is missing.
                Ok(Err(RecvError::Lagged(_))) | Err(_) => {}
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }
}

fn event(line: &LogLine) -> Event {
    let event = Event::default().event("line").id(line.number.to_string());
    event.json_data(line).unwrap_or_default()
}

/// The last lines of the log, and then those that come: server-sent events named `line`, with their numbers as ids.
/// `end`, the last event, says why the broker ends the stream.
#[utoipa::path(get, path = "/v1/logs/tail", tag = "log",
    responses((status = 200, body = LogLine, content_type = "text/event-stream")))]
pub(crate) async fn tail(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    Extension(activity): Extension<Arc<Activity>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (last, news) = logging(&admin)?.lines().follow();
    let tail = Tail {
        pass: Pass::new(
            &admin,
            &headers,
            &activity,
            (StreamKind::Log, Role::Operator),
        )?,
        news,
        is_over: false,
    };
    let last = last.into_iter().map(|line| event(&line));
    let events = iter(last).chain(unfold(tail, Tail::next));
    Ok(Sse::new(events.map(Ok)).keep_alive(KeepAlive::default()))
}
