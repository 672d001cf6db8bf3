//! What a service manager such as systemd is told: `Type=notify`.

use sd_notify::NotifyState;
use tracing::warn;

/// Clients are served.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The broker is going down.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Nobody is told where nobody asked: without `NOTIFY_SOCKET`.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager was not told");
    }
}
