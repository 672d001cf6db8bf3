//! How many connections clients may have, as it is set now.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

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
    /// What the process may have open, and places of listeners that wait for their next peer.
    granted: OnceLock<(u64, usize)>,
    /// What was asked for last.
    wanted: AtomicU32,
}

impl ConnectionLimits {
    /// Those of a broker that nobody can reach yet.
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        Self {
            peers: PeerCounts::new(config.max_connections_per_ip),
            places: ConnectionPlaces::new(0),
            granted: OnceLock::new(),
            wanted: AtomicU32::new(0),
        }
    }

    /// Lets peers in: of `open_files_max` descriptors some are theirs, and `waiting` places are for listeners that
    /// wait for the next one.
    pub(crate) fn open(&self, config: &BrokerConfig, open_files_max: u64, waiting: usize) {
        self.granted.get_or_init(|| (open_files_max, waiting));
        self.follow(config);
    }

    /// Goes by these settings from now on. Connections that are there stay.
    pub(crate) fn follow(&self, config: &BrokerConfig) {
        self.peers.allow(config.max_connections_per_ip);
        let wanted = config.max_connections;
        if let Some((open_files_max, waiting)) = self.granted.get()
            && self.wanted.swap(wanted, Ordering::Relaxed) != wanted
        {
            let most = descriptors::connections_max(wanted, *open_files_max);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            // With none for peers, none for those who wait for them.
            let waiting = if most == 0 { 0 } else { *waiting };
            self.places.allow(most.saturating_add(waiting));
        }
    }
}
