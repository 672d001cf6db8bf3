//! What is written down of every request that is meant to change something.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use futures_util::TryStreamExt;
use tracing::info;

use super::auth::Principal;
use super::guard::Peer;
use crate::logging::AUDIT;
use crate::rate_limit::RateLimit;

/// Characters of a path or query that are kept.
const TARGET_LEN_MAX: usize = 512;
/// Bytes that are kept of what was asked for.
const ASKED_BYTES_MAX: usize = 1_024;

/// Of those who were refused before it was known who they are: else a stranger could fill a disk with lines, and push
/// those of others out of the last ones.
static STRANGERS: RateLimit = RateLimit::new();

/// Who it was, once that is known.
pub(crate) type Known = Arc<OnceLock<Principal>>;

/// What a request asked for or changed, beside its path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(Arc<Mutex<String>>);

impl Noted {
    /// Says it in the handler's own words, in the place of what was said before.
    pub(crate) fn note(&self, mut text: String) {
        text.truncate(text.floor_char_boundary(ASKED_BYTES_MAX));
        *self.text() = text;
    }

    /// The same of the body as far as it has been read.
    fn read(&self, bytes: &Bytes) {
        let mut text = self.text();
        let room = ASKED_BYTES_MAX.saturating_sub(text.len());
        let more = String::from_utf8_lossy(&bytes[..bytes.len().min(room)]);
        text.push_str(&more);
    }

    fn text(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the body of a request is written down. Records are nobody's business but their readers', and of settings
/// the handler says which ones: a value may be a secret.
fn tells_body(path: &str) -> bool {
    let has_settings = ["/v1/config", "/v1/definitions"].contains(&path);
    !(path.ends_with("/records") || path.ends_with("/configs") || has_settings)
}

/// What is written down about a request when this is dropped, whatever came of it.
pub(crate) struct Audit {
    known: Known,
    noted: Noted,
    peer: Option<Peer>,
    method: Method,
    uri: Uri,
    /// Once it is answered.
    pub(crate) status: Option<StatusCode>,
}

impl Audit {
    /// Of a request that is told where to say who it was, and what is asked for.
    pub(crate) fn new(request: &mut Request) -> Self {
        let (known, noted) = (Known::default(), Noted::default());
        let extensions = request.extensions_mut();
        extensions.insert(Arc::clone(&known));
        extensions.insert(noted.clone());
        if tells_body(request.uri().path()) {
            // Only what a handler reads: nobody makes us keep what he may not send.
            let reader = noted.clone();
            let body = std::mem::take(request.body_mut()).into_data_stream();
            let body = body.inspect_ok(move |bytes| reader.read(bytes));
            *request.body_mut() = Body::from_stream(body);
        }
        Self {
            known,
            noted,
            peer: request.extensions().get::<Peer>().copied(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            status: None,
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let is_strangers = self.status.is_some() && self.known.get().is_none();
        let unsaid = match is_strangers {
            true => match STRANGERS.passes() {
                Some(unsaid) => unsaid,
                None => return,
            },
            false => 0,
        };
        let target = self.uri.path_and_query();
        let target = target.map_or("", |target| target.as_str());
        let target: String = target.chars().take(TARGET_LEN_MAX).collect();
        let status = match self.status {
            Some(status) => status.as_str().to_owned(),
            None if std::thread::panicking() => "500".to_owned(),
            // The broker has stopped: what has begun may be carried out or not.
            None => "abandoned".to_owned(),
        };
        let asked = std::mem::take(&mut *self.noted.text());
        info!(
            target: AUDIT,
            user = self.known.get().map_or("-", |who| &*who.name),
            peer = self.peer.map_or_else(String::new, |Peer(peer)| peer.to_string()),
            method = %self.method,
            path = target,
            asked,
            %status,
            unsaid = (unsaid > 0).then_some(unsaid),
            "HTTP request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_kept_of_a_body_and_no_more() {
        let noted = Noted::default();
        for _ in 0..1_000 {
            noted.read(&Bytes::from_static("{\"ä\": 1}".as_bytes()));
        }
        let len = noted.text().len();
        assert!(
            (ASKED_BYTES_MAX..ASKED_BYTES_MAX + 3).contains(&len),
            "{len}"
        );
        noted.note("retention.ms".to_owned());
        assert_eq!(*noted.text(), "retention.ms");
    }

    #[test]
    fn neither_records_nor_settings_are_written_down_as_they_came() {
        for (path, tells) in [
            ("/v1/topics", true),
            ("/v1/topics/orders/partitions/0:delete-records", true),
            ("/v1/topics/orders/records", false),
            ("/v1/topics/orders/configs", false),
            ("/v1/config", false),
            ("/v1/definitions", false),
        ] {
            assert_eq!(tells_body(path), tells, "{path}");
        }
    }
}
