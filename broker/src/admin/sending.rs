//! Answers on their way to readers that may be slow.
//!
//! What is longer than one piece is counted from the moment when it is there to the one when its last piece leaves,
//! or nobody reads it any more; there is a bound on all of it together, and one on the time. Shorter ones are as
//! many as there are connections.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody, to_bytes};
use axum::http::Response;
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tidewheel_config::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::idle::Activity;
use super::problem::Problem;

/// What a long answer holds until it is sent.
#[derive(Debug)]
pub(crate) enum Held {
    /// Its bytes, of those that may wait for readers at once. Where none of them are left, it is not sent.
    Bytes(Arc<Semaphore>),
    /// The place of its request: something was changed, and whoever asked for that has to hear of it.
    Place(Option<OwnedSemaphorePermit>),
}

/// An answer that leaves in pieces. Those that left it hold nothing of the rest: the connection keeps the last
/// ones until its socket takes them.
struct Unsent {
    left: Bytes,
    /// Until it is sent, or nobody reads it any more.
    _held: Option<OwnedSemaphorePermit>,
    /// Ends the connection where it takes too long.
    _late: JoinSet<()>,
}

/// Makes an answer wait for its reader as what it is: a stream and a short one are left alone.
pub(crate) async fn sent(
    answer: Response<Body>,
    held: Held,
    activity: Option<&Activity>,
) -> Response<Body> {
    let exact = answer.body().size_hint().exact();
    let Some(len) = exact.filter(|len| *len > limits::ADMIN_SENT_BYTES as u64) else {
        return answer;
    };
    let held = match held {
        Held::Place(place) => place,
        Held::Bytes(room) => match taken(room, len) {
            Some(bytes) => Some(bytes),
            None => return full().into_response(),
        },
    };
    let (parts, body) = answer.into_parts();
    // They are there as a whole: nothing is copied or waited for.
    let Ok(left) = to_bytes(body, usize::MAX).await else {
        return Problem::unavailable("/problems/stopping", "the answer broke off").into_response();
    };
    let late = activity.map(|activity| activity.end_after(limits::ADMIN_SEND_WAIT));
    let body = Unsent {
        left,
        _held: held,
        _late: late.unwrap_or_default(),
    };
    Response::from_parts(parts, Body::new(body))
}

pub(crate) fn full() -> Problem {
    let detail = "other answers wait for readers that are slow; ask for less, or try again";
    Problem::unavailable("/problems/too-many-answers", detail)
}

/// Whether there is room for one answer more, of whatever length.
pub(crate) fn has_room(room: &Semaphore) -> bool {
    room.available_permits() > 0
}

/// So many bytes, or those that are left: one answer may be longer than that.
fn taken(room: Arc<Semaphore>, len: u64) -> Option<OwnedSemaphorePermit> {
    let left = u32::try_from(room.available_permits()).unwrap_or(u32::MAX);
    let taken = u32::try_from(len).unwrap_or(u32::MAX).min(left);
    let taken = (taken > 0).then(|| room.try_acquire_many_owned(taken));
    taken?.ok()
}

impl HttpBody for Unsent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let len = self.left.len().min(limits::ADMIN_SENT_BYTES);
        let piece = self.left.split_to(len);
        Poll::Ready((len > 0).then(|| Ok(Frame::data(Bytes::copy_from_slice(&piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use axum::http::StatusCode;
    use tokio::time::timeout;

    use super::*;
    use crate::admin::idle::IdleConnections;

    const LEN: usize = 3 * limits::ADMIN_SENT_BYTES;

    fn answer(len: usize) -> Response<Body> {
        Response::new(Body::from(vec![b'x'; len]))
    }

    fn room(answers: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(answers * LEN))
    }

    #[tokio::test]
    async fn an_answer_counts_until_its_last_piece_has_left() {
        let room = room(1);
        let held = || Held::Bytes(Arc::clone(&room));
        let short = sent(answer(limits::ADMIN_SENT_BYTES), held(), None).await;
        assert_eq!(room.available_permits(), LEN);
        let mut first = sent(answer(LEN), held(), None).await;
        assert_eq!(first.body().size_hint().exact(), Some(LEN as u64));
        assert_eq!(room.available_permits(), 0);
        let refused = sent(answer(LEN), held(), None).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        for left in [2, 1, 0] {
            let piece = poll_fn(|cx| Pin::new(first.body_mut()).poll_frame(cx)).await;
            let piece = piece.unwrap().unwrap().into_data().unwrap();
            assert_eq!(piece.len(), limits::ADMIN_SENT_BYTES);
            assert_eq!(first.body().is_end_stream(), left == 0);
            assert_eq!(room.available_permits(), 0);
        }
        drop(first);
        assert_eq!(room.available_permits(), LEN);
        let again = sent(answer(LEN), held(), None).await;
        assert_eq!(again.status(), StatusCode::OK);
        let whole = to_bytes(again.into_body(), LEN).await.unwrap();
        assert_eq!((whole.len(), room.available_permits()), (LEN, LEN));
        drop(short);
    }

    /// A long one leaves as a whole where there is some room, and none after it.
    #[tokio::test]
    async fn one_answer_may_be_longer_than_the_room() {
        let room = Arc::new(Semaphore::new(LEN / 2));
        let held = || Held::Bytes(Arc::clone(&room));
        assert!(has_room(&room));
        let long = sent(answer(LEN), held(), None).await;
        assert_eq!(long.status(), StatusCode::OK);
        assert!(!has_room(&room));
        let refused = sent(answer(LEN), held(), None).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let whole = to_bytes(long.into_body(), LEN).await.unwrap();
        assert_eq!((whole.len(), room.available_permits()), (LEN, LEN / 2));
    }

    /// What was done is told, also where there is no room for more answers.
    #[tokio::test]
    async fn an_answer_about_a_change_holds_its_place() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().ok();
        let told = sent(answer(LEN), Held::Place(place), None).await;
        assert_eq!(told.status(), StatusCode::OK);
        assert_eq!(places.available_permits(), 0);
        drop(told);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_has_so_long_for_an_answer() {
        let activity = Activity::new(&Arc::new(IdleConnections::default()));
        let ends_within = |wait| {
            let ends = timeout(wait, activity.ends());
            async { ends.await.is_ok() }
        };
        let read = sent(answer(LEN), Held::Bytes(room(1)), Some(&activity)).await;
        assert!(to_bytes(read.into_body(), LEN).await.is_ok());
        let wait = limits::ADMIN_SEND_WAIT;
        assert!(!ends_within(2 * wait).await, "it was read in time");
        let unread = sent(answer(LEN), Held::Bytes(room(1)), Some(&activity)).await;
        assert!(!ends_within(wait * 9 / 10).await);
        assert!(ends_within(wait / 5).await);
        drop(unread);
    }
}
