//! What a service manager such as systemd is told: `Type=notify`.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tracing::warn;

/// However little time a service manager gives.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// What people are told while all is well.
pub(crate) const SERVING: &str = "serving clients";

/// Where the service manager watches (`WatchdogSec`), tells it that the runtime goes on, until it is dropped.
pub(crate) fn lives() -> JoinSet<()> {
    let mut telling = JoinSet::new();
    if let Some(within) = sd_notify::watchdog_enabled() {
        // On a worker, like everything that clients wait for.
        telling.spawn(async move {
            loop {
                tell(&[NotifyState::Watchdog]);
                tokio::time::sleep((within / 2).max(PAUSE_MIN)).await;
            }
        });
    }
    telling
}

/// Settings are read again; [`ready`] ends that.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd wants to know what came before it asked, and what after.
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager was not told"),
    }
}

/// Clients are served; `status` is what people are told beside it, one line.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The broker is going down.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Nobody is told where nobody asked: without `NOTIFY_SOCKET`.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager was not told");
    }
}
