//! Answers of coordinators, which may take a while, and why there is none.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tidewheel_consumer_groups::GroupReply;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Why there is no coordinator that could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCoordinator {
    /// What it keeps is still being read.
    #[error("the group is still being read")]
    Loading,
    /// It was never found, or the broker stops: the client is to look for it.
    #[error("there is no coordinator of groups here, or the broker stops")]
    Elsewhere,
    /// What it keeps cannot be read or written.
    #[error("what the group keeps cannot be read or written")]
    Failed,
}

/// An answer that may take a while.
pub(crate) struct Pending(Pin<Box<dyn Future<Output = Result<GroupReply, NoCoordinator>> + Send>>);

impl Pending {
    pub(super) fn refused(reason: NoCoordinator) -> Self {
        Self(Box::pin(std::future::ready(Err(reason))))
    }

    /// What comes through `reply`, within `at_most`. Only within a runtime, whose time that is.
    pub(super) fn new(reply: oneshot::Receiver<GroupReply>, at_most: Option<Duration>) -> Self {
        let reply = async { reply.await.map_err(|_| NoCoordinator::Elsewhere) };
        let Some(at_most) = at_most else {
            return Self(Box::pin(reply));
        };
        // From now on, not from when somebody waits for it: there may be others before it.
        let reply = timeout(at_most, reply);
        Self(Box::pin(async move {
            reply.await.unwrap_or(Err(NoCoordinator::Failed))
        }))
    }
}

impl Future for Pending {
    type Output = Result<GroupReply, NoCoordinator>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}
