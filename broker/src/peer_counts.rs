//! `max.connections.per.ip`: how many connections each address has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections of every address that has one: no more entries than `max.connections`.
#[derive(Debug)]
pub(crate) struct PeerCounts {
    max: AtomicU32,
    counts: Mutex<HashMap<IpAddr, u32>>,
}

/// One connection of an address; the address has one less when it is dropped.
#[derive(Debug)]
pub(crate) struct PeerPlace {
    counts: Arc<PeerCounts>,
    address: IpAddr,
}

impl PeerCounts {
    /// At most `max` connections for each address.
    pub(crate) fn new(max: u32) -> Arc<Self> {
        Arc::new(Self {
            max: AtomicU32::new(max),
            counts: Mutex::default(),
        })
    }

    /// At most `max` for each from now on. Connections that are there stay.
    pub(crate) fn allow(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Counts one more connection of `address`; `None` where it has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<PeerPlace> {
        let address = address.to_canonical();
        let mut counts = self.lock();
        let count = counts.get(&address).copied().unwrap_or(0);
        if count >= self.max.load(Ordering::Relaxed) {
            return None;
        }
        counts.insert(address, count + 1);
        Some(PeerPlace {
            counts: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        // Nothing panics while it is held.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_own_count_and_leaves_nothing_behind() {
        let counts = PeerCounts::new(2);
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let first = counts.enter(one).unwrap();
        let second = counts.enter(mapped).unwrap();
        assert!(counts.enter(one).is_none());
        let third = counts.enter(other).unwrap();
        drop(first);
        let fourth = counts.enter(one).unwrap();
        assert!(counts.enter(mapped).is_none());
        counts.allow(3);
        let fifth = counts.enter(one).unwrap();
        counts.allow(1);
        assert!(counts.enter(one).is_none() && counts.enter(other).is_none());
        drop((second, third, fourth, fifth));
        assert!(counts.lock().is_empty());
    }
}
