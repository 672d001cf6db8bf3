//! Who is connected: what clients say about themselves and how much they ask, for operators.
//!
//! A connection notes its requests in a place of its own, without a lock; the list of connections is locked when
//! one comes or goes, and when somebody looks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidewheel_protocol::{ApiKey, RequestHeader};
use tokio::sync::Notify;

use crate::clock;

/// Characters that are kept of what a client says about itself.
const TEXT_LEN_MAX: usize = 128;

/// A client library, as it names itself in ApiVersions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSoftware {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What is known of one connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Counts connections from 1.
    pub(crate) id: u64,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// Through which of the broker's listeners it came.
    pub(crate) listener: usize,
    /// ms since 1970.
    pub(crate) connected_ms: i64,
    software: OnceLock<ClientSoftware>,
    client_id: OnceLock<String>,
    requests: AtomicU64,
    last_api: AtomicI16,
    ended: Notify,
}

impl Client {
    pub(crate) fn new(id: u64, peer: SocketAddr, listener: usize) -> Self {
        Self {
            id,
            peer,
            listener,
            connected_ms: clock::now_ms(),
            software: OnceLock::new(),
            client_id: OnceLock::new(),
            requests: AtomicU64::new(0),
            last_api: AtomicI16::new(-1),
            ended: Notify::new(),
        }
    }

    /// Notes a request.
    pub(crate) fn asks(&self, header: &RequestHeader) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.last_api.store(header.api_key, Ordering::Relaxed);
        if let Some(client_id) = &header.client_id
            && self.client_id.get().is_none()
        {
            // Two at once say the same.
            self.client_id.get_or_init(|| shortened(client_id));
        }
    }

    /// Notes what the client is; the first word counts.
    pub(crate) fn is_software(&self, name: &str, version: &str) {
        self.software.get_or_init(|| ClientSoftware {
            name: shortened(name),
            version: shortened(version),
        });
    }

    /// The library, if it has named itself.
    pub(crate) fn software(&self) -> Option<&ClientSoftware> {
        self.software.get()
    }

    /// `client.id`, if it has sent one.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.client_id.get().map(String::as_str)
    }

    /// How many requests it has sent.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The API of its last request.
    pub(crate) fn last_api(&self) -> Option<ApiKey> {
        ApiKey::from_key(self.last_api.load(Ordering::Relaxed))
    }

    /// Ends the connection.
    pub(crate) fn end(&self) {
        self.ended.notify_one();
    }

    /// Resolves when somebody ends the connection.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_LEN_MAX).collect()
}

/// All connections of the moment.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next: AtomicU64,
    connected: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    /// Takes a new connection in.
    pub(crate) fn enter(&self, peer: SocketAddr, listener: usize) -> Arc<Client> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client::new(id, peer, listener));
        self.connected().insert(id, Arc::clone(&client));
        client
    }

    /// Takes a connection out.
    pub(crate) fn leave(&self, client: &Client) {
        self.connected().remove(&client.id);
    }

    /// The connection of this number.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.connected().get(&id).map(Arc::clone)
    }

    /// All, the oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.connected().values().map(Arc::clone).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.connected().len()
    }

    fn connected(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_listed_while_it_is_there_and_keeps_the_first_that_it_says() {
        let clients = Clients::default();
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let (first, second) = (clients.enter(peer, 0), clients.enter(peer, 1));
        assert_eq!((first.id, second.id, clients.count()), (1, 2, 2));
        let header = |client_id: Option<&str>, api_key| RequestHeader {
            api_key,
            api_version: 0,
            correlation_id: 0,
            client_id: client_id.map(Into::into),
        };
        first.asks(&header(None, 18));
        first.asks(&header(Some(&"x".repeat(1_000)), 0));
        first.asks(&header(Some("other"), 1));
        first.is_software("librdkafka", "2.12.1");
        first.is_software("other", "0");
        assert_eq!(first.requests(), 3);
        assert_eq!(first.last_api(), Some(ApiKey::Fetch));
        assert_eq!(first.client_id().map(str::len), Some(TEXT_LEN_MAX));
        assert_eq!(first.software().unwrap().name, "librdkafka");
        clients.leave(&first);
        let left: Vec<u64> = clients.all().iter().map(|client| client.id).collect();
        assert_eq!(left, [2]);
        assert!(clients.get(1).is_none() && clients.get(2).is_some());
    }
}
