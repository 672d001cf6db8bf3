//! How many connections clients may have, as it is set now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewheel_config::BrokerConfig;

use crate::connection_places::ConnectionPlaces;
use crate::descriptors;
use crate::peer_counts::PeerCounts;

/// The limits of a broker. They follow its settings.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    /// `max.connections.per.ip`.
    pub(crate) peers: Arc<PeerCounts>,
    /// `max.connections`.
    pub(crate) places: Arc<ConnectionPlaces>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What is set as `max.connections`.
    wanted: u32,
    /// What the process may have open, and places of listeners that wait for their next peer; `None` before the first
    /// peer is let in.
    granted: Option<(u64, usize)>,
}

impl ConnectionLimits {
    /// Those of a broker that nobody can reach yet.
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        Self {
            peers: PeerCounts::new(config.max_connections_per_ip),
            places: ConnectionPlaces::new(0),
            state: Mutex::new(State {
                wanted: config.max_connections,
                granted: None,
            }),
        }
    }

    /// Lets peers in: of `open_files_max` descriptors some are theirs, and `waiting` places are for listeners that
    /// wait for the next one.
    pub(crate) fn open(&self, open_files_max: u64, waiting: usize) {
        let mut state = self.state();
        state.granted = Some((open_files_max, waiting));
        self.grant(&state);
    }

    /// Goes by these settings from now on. Connections that are there stay.
    pub(crate) fn follow(&self, config: &BrokerConfig) {
        let mut state = self.state();
        self.peers.allow(config.max_connections_per_ip);
        if state.wanted != config.max_connections {
            state.wanted = config.max_connections;
            self.grant(&state);
        }
    }

    /// Makes as many places as there are to be. The caller holds the state meanwhile, so that the last one to change
    /// it has the last word here.
    fn grant(&self, state: &State) {
        let Some((open_files_max, waiting)) = state.granted else {
            return;
        };
        let most = descriptors::connections_max(state.wanted, open_files_max);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // With none for peers, none for those who wait for them.
        let waiting = if most == 0 { 0 } else { waiting };
        self.places.allow(most.saturating_add(waiting));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn config(max_connections: u32) -> BrokerConfig {
        let mut config = BrokerConfig::default();
        config.max_connections = max_connections;
        config
    }

    /// How many places there are.
    fn places(limits: &ConnectionLimits) -> usize {
        let mut taken = Vec::new();
        while let Poll::Ready(place) =
            pin!(limits.places.take()).poll(&mut Context::from_waker(Waker::noop()))
        {
            taken.push(place);
        }
        taken.len()
    }

    #[test]
    fn peers_are_let_in_by_what_was_set_last() {
        let limits = ConnectionLimits::new(&config(10));
        limits.follow(&config(3));
        assert_eq!(places(&limits), 0);
        limits.open(1 << 20, 0);
        assert_eq!(places(&limits), 3);
        limits.follow(&config(5));
        assert_eq!(places(&limits), 5);
        limits.follow(&config(2));
        assert_eq!(places(&limits), 2);
    }
}
