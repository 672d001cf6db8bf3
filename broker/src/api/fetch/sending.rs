//! How the answer of a fetch leaves: large slices of the log by `sendfile`, all else as bytes.

use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::{ApiKey, Part};
use tidewheel_storage::RecordSlice;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use super::Topics;
use crate::api::{Answer, Responder, weight};
use crate::broker::Broker;
use crate::connection::{Files, Piece};
use crate::memory_pool::MemoryShare;
use crate::rate_limit::RateLimit;

pub(super) type Parts = Vec<Part<RecordSlice>>;

/// `share` is what the request holds for its answer.
pub(super) fn reply(
    responder: &Responder,
    responses: Topics,
    session_id: i32,
    mut share: MemoryShare,
) -> Answer {
    let response = FetchResponse {
        session_id,
        responses,
        ..FetchResponse::default()
    };
    let parts = encode(responder, response);
    let broker = &responder.context.broker;
    let weight = weight::fetched(&parts);
    if weight <= limits::FREE_BYTES_PER_CONNECTION {
        return leave(broker, parts, MemoryShare::default());
    }
    // Half of it stays for sessions, which cannot do with less.
    let pool = broker.fetch_answer_memory();
    if let Some(share) = pool.try_share(weight, limits::FETCH_ANSWER_BYTES_MAX / 2) {
        return leave(broker, parts, share);
    }
    share.shrink(weight);
    mapped(parts).map_or(Answer::Close, |parts| Answer::Counted(parts, share))
}

pub(super) fn encode(responder: &Responder, response: FetchResponse<RecordSlice>) -> Parts {
    responder.answers(ApiKey::Fetch, response.first_error());
    response.encode_parts(responder.context.version, responder.correlation_id)
}

/// The answer of these parts, whose memory is `share`.
pub(super) fn leave(broker: &Broker, parts: Parts, share: MemoryShare) -> Answer {
    let answer = match may_be_sent(broker, &parts) {
        Some(being_sent) => pieces(parts, being_sent.num_permits())
            .map(|pieces| Answer::Files(Files { pieces, being_sent }, share)),
        None if share.is_counted() => mapped(parts).map(|parts| Answer::Fetched(parts, share)),
        None => mapped(parts).map(Answer::Parts),
    };
    answer.unwrap_or(Answer::Close)
}

/// For how many files its large slices may stand, where there are some and readers do not keep too many open.
fn may_be_sent(broker: &Broker, parts: &Parts) -> Option<OwnedSemaphorePermit> {
    let files = parts.iter().filter(|part| match part {
        Part::Records(slice) => is_sent(slice),
        Part::Bytes(_) => false,
    });
    let files = files.take(limits::FILES_OF_ONE_ANSWER_MAX).count();
    let files = u32::try_from(files).ok().filter(|files| *files > 0)?;
    let being_sent = Arc::clone(broker.files_being_sent());
    being_sent.try_acquire_many_owned(files).ok()
}

fn is_sent(slice: &RecordSlice) -> bool {
    slice.len() >= limits::SENDFILE_BYTES_MIN && slice.can_be_sent()
}

/// Header bytes and views of the mapped log, in their order. `None` where that fails: its lengths are in
/// the header by then, and the only honest end is to close.
fn mapped(parts: Parts) -> Option<Vec<Bytes>> {
    let bytes = parts.into_iter().map(|part| match part {
        Part::Bytes(bytes) => Some(bytes),
        Part::Records(slice) => view(&slice),
    });
    bytes.collect()
}

/// The same with files in the place of the first large slices, so many of them.
fn pieces(parts: Parts, mut files: usize) -> Option<Vec<Piece>> {
    let pieces = parts.into_iter().map(|part| match part {
        Part::Bytes(bytes) => Some(Piece::Bytes(bytes)),
        Part::Records(slice) if files > 0 && is_sent(&slice) => {
            files -= 1;
            Some(Piece::File(slice))
        }
        Part::Records(slice) => view(&slice).map(Piece::Bytes),
    });
    pieces.collect()
}

/// Consumers come again and again.
static LINES: RateLimit = RateLimit::new();

fn view(slice: &RecordSlice) -> Option<Bytes> {
    slice
        .bytes()
        .inspect_err(|error| {
            if let Some(unsaid) = LINES.passes() {
                warn!(%error, unsaid, "cannot map a segment for a fetch");
            }
        })
        .ok()
}
