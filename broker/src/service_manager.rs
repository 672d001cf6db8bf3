//! What a service manager such as systemd is told: `Type=notify`.

use sd_notify::NotifyState;
use tracing::warn;

/// Settings are read again; [`ready`] ends that.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd wants to know what came before it asked, and what after.
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager was not told"),
    }
}

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
