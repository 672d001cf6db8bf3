//! What requests change: it goes on where its client is gone, and a stop waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewheel_config::limits;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

/// What is being changed. There is no more of it than there are places for requests.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<JoinSet<()>>);

impl Changes {
    /// Carries something out, also where nobody waits for it any more. `None` where it comes to grief, or a stop
    /// has cut it.
    pub(crate) async fn carry_out<T: Send + 'static>(
        &self,
        change: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        {
            let mut running = self.running();
            while running.try_join_next().is_some() {}
            running.spawn(async move { drop(done.send(change.await)) });
        }
        answer.await.ok()
    }

    /// Waits for what is under way, and cuts what takes longer than `limits::ADMIN_STOP_GRACE`. None may begin
    /// after it.
    pub(crate) async fn end(&self) {
        let mut running = std::mem::take(&mut *self.running());
        let ended = timeout(limits::ADMIN_STOP_GRACE, async {
            while running.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            debug!("changes through the HTTP API are cut");
        }
        running.shutdown().await;
    }

    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
