//! Records as they come.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::{Stream, iter, once, unfold};
use serde::Serialize;

use super::{Message, Messages, Wanted};
use crate::admin::auth::Role;
use crate::admin::idle::Activity;
use crate::admin::problem::Problem;
use crate::admin::queries::MessagesQuery;
use crate::admin::state::{Admin, StreamKind};
use crate::admin::streams::{self, Pass};

/// How often a stream looks for new records.
const PAUSE: Duration = Duration::from_millis(250);
/// Records that a stream sends at once.
const RECORDS: usize = 100;
/// What a client that connects again names as the last event that it has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// Records that are not told: an event named `gap`.
#[derive(Debug, Serialize)]
struct Gap {
    /// Offset of the first one.
    from: i64,
    /// Offset after the last one.
    to: i64,
    /// Why they are not.
    reason: String,
}

impl Gap {
    fn event(self) -> Event {
        let event = Event::default().event("gap");
        // Whoever connects again goes on behind it.
        let event = event.id(self.to.saturating_sub(1).to_string());
        event.json_data(self).unwrap_or_default()
    }
}

/// A stream of records, and what it holds.
struct Tail {
    pass: Pass,
    wanted: Wanted,
    next_offset: i64,
    is_over: bool,
}

impl Tail {
    /// The next events; `None` after the last ones.
    async fn next(mut self) -> Option<(Vec<Event>, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            match self.look().await {
                Ok(events) if events.is_empty() => tokio::time::sleep(PAUSE).await,
                Ok(events) => return Some((events, self)),
                Err(reason) => {
                    self.is_over = true;
                    return Some((vec![streams::end(&reason)], self));
                }
            }
        }
    }

    /// What is new; an error says why the stream ends.
    async fn look(&mut self) -> Result<Vec<Event>, String> {
        if let Some(reason) = self.pass.ends().await {
            return Err(reason.to_owned());
        }
        let log = self.wanted.partition.log();
        if let Some(failure) = log.failure() {
            return Err(failure.to_string());
        }
        let offsets = log.offsets();
        let mut events = Vec::new();
        if self.next_offset < offsets.log_start {
            let gap = Gap {
                from: self.next_offset,
                to: offsets.log_start,
                reason: "they were deleted before they were read".to_owned(),
            };
            events.push(gap.event());
            self.next_offset = offsets.log_start;
        }
        if self.next_offset < offsets.high_watermark {
            let (wanted, from) = (self.wanted.clone(), self.next_offset);
            let read = self
                .pass
                .admin
                .read_records(move || wanted.read(from))
                .await;
            match read {
                // Others have kept it waiting, or the broker is stopping: the next look tries again, or says so.
                Err(_) => {}
                Ok(Ok(read)) => self.tell(read, &mut events),
                // They were deleted meanwhile: the next look says so.
                Ok(Err(_)) if from < self.wanted.partition.log().offsets().log_start => {}
                Ok(Err(error)) => return Err(error.to_string()),
            }
        }
        Ok(events)
    }

    fn tell(&mut self, read: Messages, events: &mut Vec<Event>) {
        let from = self.next_offset;
        self.next_offset = read.next_offset;
        events.extend(read.items.into_iter().map(event));
        if read.skipped_batches > 0 {
            let (to, count) = (read.next_offset, read.skipped_batches);
            let reason = format!("{count} batches among these are damaged, or open to too much");
            events.push(Gap { from, to, reason }.event());
        }
    }
}

fn event(message: Message) -> Event {
    let event = Event::default().event("message");
    let event = event.id(message.offset.to_string());
    event.json_data(message).unwrap_or_default()
}

/// The offset after the last one that the client has seen before it lost its connection.
fn goes_on_at(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let offset = id.to_str().ok().and_then(|id| id.parse::<i64>().ok());
    let next = offset.and_then(|offset| offset.checked_add(1));
    let wrong = || Problem::invalid("Last-Event-ID", "it is no id of this stream");
    next.filter(|next| *next >= 0).map(Some).ok_or_else(wrong)
}

/// Records as they come: server-sent events named `message`, each with a record, and its offset as id.
///
/// `gap` tells of offsets that are left out (`from`, `to`, `reason`), and `end`, the last event, why the broker ends
/// the stream (`reason`). `Last-Event-ID` says where to go on.
#[utoipa::path(get, path = "/v1/topics/{topic}/messages/tail", tag = "messages",
    params(("topic" = String, Path, description = "the topic's name"), MessagesQuery,
        ("Last-Event-ID" = Option<i64>, Header,
            description = "offset of the last record that was seen; goes before `offset`")),
    responses((status = 200, body = Message, content_type = "text/event-stream")))]
pub(crate) async fn tail(
    State(admin): State<Arc<Admin>>,
    Path(topic): Path<String>,
    Query(query): Query<MessagesQuery>,
    headers: HeaderMap,
    Extension(activity): Extension<Arc<Activity>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let broker = admin.broker()?;
    let mut wanted = Wanted::new(broker, &topic, &query)?;
    wanted.limit = RECORDS;
    let next_offset = match goes_on_at(&headers)? {
        // What is gone meanwhile is told as a gap.
        Some(offset) => offset.min(wanted.partition.log().offsets().high_watermark),
        None => {
            let offset = query.offset.as_deref().unwrap_or("latest");
            wanted.begin(&admin, Some(offset)).await?
        }
    };
    let mut tail = Tail {
        pass: Pass::new(
            &admin,
            &headers,
            &activity,
            (StreamKind::Records, Role::Operator),
        )?,
        next_offset,
        wanted,
        is_over: false,
    };
    // Clients come again after a stream that ends, but not after an answer that is none.
    let first = tail.look().await;
    let first = first.map_err(|reason| Problem::unavailable("/problems/no-records", reason))?;
    let events = once(ready(first)).chain(unfold(tail, Tail::next));
    let events = events.flat_map(|events| iter(events.into_iter().map(Ok)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
