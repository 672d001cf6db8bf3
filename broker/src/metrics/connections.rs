//! What is counted of connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::exposition::Exposition;
use super::families as family;

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closed it, or it broke.
    Client,
    /// No request came for `connections.max.idle.ms`.
    Idle,
    /// A request that was begun did not get on.
    Stalled,
    /// What came was no request, or one that is not served.
    Refused,
    /// Answers were not read.
    Unread,
    /// What an answer was to hold could not be read from the log.
    Storage,
    /// The broker stopped.
    Stopped,
    /// Its address had as many as it may.
    PerAddress,
    /// An operator ended it.
    Operator,
}

impl CloseReason {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Client, "client"),
        (Self::Idle, "idle"),
        (Self::Stalled, "stalled"),
        (Self::Refused, "refused"),
        (Self::Unread, "unread"),
        (Self::Storage, "storage"),
        (Self::Stopped, "stopped"),
        (Self::PerAddress, "per_address"),
        (Self::Operator, "operator"),
    ];
}

/// What is counted of connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// By listener, with its name.
    open: Vec<(String, AtomicU64)>,
    accepted: AtomicU64,
    /// In the order of [`CloseReason::ALL`].
    closed: [AtomicU64; CloseReason::ALL.len()],
}

impl Connections {
    /// Of listeners with these names.
    pub(super) fn new(listeners: impl Iterator<Item = String>) -> Self {
        Self {
            open: listeners.map(|name| (name, AtomicU64::new(0))).collect(),
            ..Self::default()
        }
    }

    /// A connection came through a listener.
    pub(super) fn opened(self: &Arc<Self>, listener: usize) -> OpenConnection {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if let Some((_, open)) = self.open.get(listener) {
            open.fetch_add(1, Ordering::Relaxed);
        }
        OpenConnection {
            connections: Arc::clone(self),
            listener,
            reason: OnceLock::new(),
        }
    }

    pub(super) fn expose(&self, out: &mut Exposition) {
        let mut samples = out.family(&family::CONNECTIONS);
        for (at, (name, _)) in self.open.iter().enumerate() {
            let mut same = self.open.iter().filter(|(other, _)| other == name);
            if self.open.iter().take(at).any(|(other, _)| other == name) {
                continue;
            }
            let open: u64 = same
                .by_ref()
                .map(|(_, open)| open.load(Ordering::Relaxed))
                .sum();
            samples.add(&[name, "PLAINTEXT"], open);
        }
        out.single(&family::ACCEPTED, self.accepted.load(Ordering::Relaxed));
        let mut samples = out.family(&family::CLOSED);
        for ((_, reason), count) in CloseReason::ALL.iter().zip(&self.closed) {
            samples.add(&[reason], count.load(Ordering::Relaxed));
        }
    }
}

/// A connection. It is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    connections: Arc<Connections>,
    listener: usize,
    reason: OnceLock<CloseReason>,
}

impl OpenConnection {
    /// Says why it ends. What is said first counts; where nothing is said the broker cut it.
    pub(crate) fn ends(&self, reason: CloseReason) {
        self.reason.get_or_init(|| reason);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some((_, open)) = self.connections.open.get(self.listener) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        let reason = *self.reason.get_or_init(|| CloseReason::Stopped);
        let all = CloseReason::ALL.iter().zip(&self.connections.closed);
        for (_, count) in all.filter(|((known, _), _)| *known == reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::MetricsFormat;
    use super::*;

    #[test]
    fn a_connection_is_open_until_it_is_dropped_and_the_first_reason_counts() {
        let names = ["PLAINTEXT", "INSIDE", "PLAINTEXT"].map(str::to_owned);
        let connections = Arc::new(Connections::new(names.into_iter()));
        let opened: Vec<_> = (0..3)
            .map(|listener| connections.opened(listener))
            .collect();
        let exposed = || {
            let mut out = Exposition::new(MetricsFormat::Classic);
            connections.expose(&mut out);
            out.finish()
        };
        let text = exposed();
        for line in [
            "tidewheel_connections{listener=\"PLAINTEXT\",security=\"PLAINTEXT\"} 2\n",
            "tidewheel_connections{listener=\"INSIDE\",security=\"PLAINTEXT\"} 1\n",
            "tidewheel_connections_accepted_total 3\n",
            "tidewheel_connections_closed_total{reason=\"idle\"} 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        opened[0].ends(CloseReason::Idle);
        opened[0].ends(CloseReason::Client);
        drop(opened);
        let text = exposed();
        for line in [
            "tidewheel_connections{listener=\"PLAINTEXT\",security=\"PLAINTEXT\"} 0\n",
            "tidewheel_connections_closed_total{reason=\"client\"} 0\n",
            "tidewheel_connections_closed_total{reason=\"idle\"} 1\n",
            "tidewheel_connections_closed_total{reason=\"stopped\"} 2\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
