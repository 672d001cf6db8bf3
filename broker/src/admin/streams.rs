//! What all streams of events have in common: there are few, they end with the broker, and with the right of
//! whoever reads them.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderValue};
use axum::response::sse::Event;
use serde::Serialize;
use tidewheel_config::limits;

use super::auth::Role;
use super::idle::{Activity, Busy};
use super::problem::Problem;
use super::state::{Admin, StreamKind, StreamPlace};
use crate::clock;
use crate::lifecycle::BrokerState;

/// How often the right to read a stream is looked at again.
#[expect(clippy::cast_possible_truncation, reason = "a second")]
const LOOK_PAUSE_MS: i64 = limits::ADMIN_TOKENS_LOOK.as_millis() as i64;

/// The last event of a stream that the broker ends, named `end`.
#[derive(Debug, Serialize)]
struct StreamEnd<'a> {
    reason: &'a str,
}

/// What a stream holds.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) admin: Arc<Admin>,
    authorization: Option<HeaderValue>,
    role: Role,
    looked_ms: i64,
    _place: StreamPlace,
    _busy: Busy,
}

impl Pass {
    /// For a stream of this kind to whoever has just been let in, and needs this role.
    ///
    /// # Errors
    /// Where there are as many streams as may be, of this kind or of all.
    pub(crate) fn new(
        admin: &Arc<Admin>,
        headers: &HeaderMap,
        activity: &Arc<Activity>,
        (kind, role): (StreamKind, Role),
    ) -> Result<Self, Problem> {
        Ok(Self {
            authorization: headers.get(AUTHORIZATION).cloned(),
            role,
            looked_ms: clock::steady_ms(),
            _place: admin.stream_place(kind)?,
            _busy: activity.begin(),
            admin: Arc::clone(admin),
        })
    }

    /// Why the stream has to end now, if it has to.
    pub(crate) async fn ends(&mut self) -> Option<&'static str> {
        if self.admin.lifecycle.state() == BrokerState::ShuttingDown {
            return Some("the broker is stopping");
        }
        let now_ms = clock::steady_ms();
        if now_ms.saturating_sub(self.looked_ms) < LOOK_PAUSE_MS {
            return None;
        }
        self.looked_ms = now_ms;
        let who = self.admin.access.principal(self.authorization.as_ref());
        let may = who.await.is_ok_and(|who| who.role >= self.role);
        (!may).then_some("the token is not valid any more")
    }
}

/// What a stream says last.
pub(crate) fn end(reason: &str) -> Event {
    let event = Event::default().event("end");
    event.json_data(StreamEnd { reason }).unwrap_or_default()
}
