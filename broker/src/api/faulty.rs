//! Requests to which a fault happens that a test has made.

use tidewheel_protocol::RequestHeader;

use super::{Answer, Answering, Call, Refused, Reply, dispatch, refusal, served_by};
use crate::faults::FaultKind;

/// Whether a request with this header is one that faults may happen to: others close their connection.
pub(crate) fn is_served(header: &RequestHeader) -> bool {
    served_by(header).is_ok()
}

/// As [`dispatch`], with what happens to the request instead.
///
/// # Errors
/// As [`dispatch`].
pub(crate) async fn dispatch_faulty(call: Call, fault: FaultKind) -> Result<Reply, Refused> {
    match fault {
        FaultKind::Refuse(code) => refusal::refuse(call, code).map(Reply::Now),
        // Nothing is read behind it, and both ends of the connection may give it up.
        FaultKind::Delay(by) => Ok(Reply::Barrier(Box::pin(async move {
            let mut closing = call.context.session.closing.clone();
            tokio::select! {
                () = tokio::time::sleep(by) => {}
                _ = closing.wait_for(|closing| *closing) => return Answer::Close,
            }
            match dispatch(call).await {
                Ok(reply) => reply.answer().await,
                Err(_) => Answer::Close,
            }
        }))),
        FaultKind::DropConnection => Ok(Reply::Now(Answer::Close)),
        FaultKind::DropAnswer => Ok(unanswered(dispatch(call).await?)),
    }
}

/// The same work, and the connection closes when it is done.
fn unanswered(reply: Reply) -> Reply {
    match reply {
        Reply::Now(_) => Reply::Now(Answer::Close),
        Reply::Started(answer) => Reply::Started(lost(answer)),
        Reply::Alone(answer) => Reply::Alone(lost(answer)),
        Reply::Later(answer) => Reply::Later(lost(answer)),
        Reply::Barrier(answer) => Reply::Barrier(lost(answer)),
    }
}

fn lost(answer: Answering) -> Answering {
    Box::pin(async move {
        drop(answer.await);
        Answer::Close
    })
}
