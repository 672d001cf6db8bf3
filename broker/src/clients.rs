//! Who is connected: what clients say about themselves and how much they ask, for operators.
//!
//! A connection notes its requests in a place of its own, without a lock; the list of connections is locked when
//! one comes or goes, and when somebody looks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

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
    began: Instant,
    /// When the last request came, in ms since it connected.
    last_ms: AtomicU64,
    request_bytes: AtomicU64,
    answered: AtomicU64,
    answer_bytes: AtomicU64,
    ended: Notify,
    end_reason: OnceLock<String>,
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
            began: clock::instant(),
            last_ms: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            answer_bytes: AtomicU64::new(0),
            ended: Notify::new(),
            end_reason: OnceLock::new(),
        }
    }

    /// Notes a request of so many bytes that came then.
    pub(crate) fn asks(&self, header: &RequestHeader, bytes: usize, arrived: Instant) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.request_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_ms
            .store(self.ms_since_it_came(arrived), Ordering::Relaxed);
        self.last_api.store(header.api_key, Ordering::Relaxed);
        if let Some(client_id) = &header.client_id
            && self.client_id.get().is_none()
        {
            // Two at once say the same.
            self.client_id.get_or_init(|| shortened(client_id));
        }
    }

    /// Notes that so many requests are answered, with so many bytes together.
    pub(crate) fn is_answered(&self, requests: usize, bytes: usize) {
        self.answered.fetch_add(requests as u64, Ordering::Relaxed);
        self.answer_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn ms_since_it_came(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.began);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
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

    /// Requests whose answers have not left yet.
    pub(crate) fn requests_in_flight(&self) -> u64 {
        // In this order: one that is answered meanwhile does not make them less than none.
        let answered = self.answered.load(Ordering::Relaxed);
        self.requests().saturating_sub(answered)
    }

    /// Bytes of its requests, and of the answers that have left.
    pub(crate) fn bytes(&self) -> [u64; 2] {
        [&self.request_bytes, &self.answer_bytes].map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// For how long it has sent no request, in ms; since it connected where it never has.
    pub(crate) fn idle_ms(&self) -> u64 {
        let now_ms = self.ms_since_it_came(clock::instant());
        now_ms.saturating_sub(self.last_ms.load(Ordering::Relaxed))
    }

    /// Ends the connection, for a reason that the first one gives.
    pub(crate) fn end(&self, reason: Option<String>) {
        if let Some(reason) = reason {
            self.end_reason.get_or_init(|| reason);
        }
        self.ended.notify_one();
    }

    /// Resolves when somebody ends the connection, to the reason if there is one.
    pub(crate) async fn ended(&self) -> Option<&str> {
        self.ended.notified().await;
        self.end_reason.get().map(String::as_str)
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
        let now = clock::instant();
        first.asks(&header(None, 18), 10, now);
        first.asks(&header(Some(&"x".repeat(1_000)), 0), 20, now);
        first.asks(&header(Some("other"), 1), 30, now);
        first.is_answered(2, 700);
        first.is_software("librdkafka", "2.12.1");
        first.is_software("other", "0");
        assert_eq!((first.requests(), first.requests_in_flight()), (3, 1));
        assert_eq!(first.bytes(), [60, 700]);
        first.is_answered(2, 0);
        assert_eq!(first.requests_in_flight(), 0, "never less than none");
        assert_eq!(first.last_api(), Some(ApiKey::Fetch));
        assert_eq!(first.client_id().map(str::len), Some(TEXT_LEN_MAX));
        assert_eq!(first.software().unwrap().name, "librdkafka");
        clients.leave(&first);
        let left: Vec<u64> = clients.all().iter().map(|client| client.id).collect();
        assert_eq!(left, [2]);
        assert!(clients.get(1).is_none() && clients.get(2).is_some());
    }
}
