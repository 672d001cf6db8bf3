//! What state the broker is in, from its first breath to its last, for those who ask from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tidewheel_storage::RecoveryProgress;

use crate::broker::Broker;
use crate::clock;

/// Kafka's states of a broker, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BrokerState {
    /// It takes its ports and looks at its data.
    Starting = 1,
    /// Partitions are brought back that were not stopped cleanly.
    Recovery = 2,
    /// It serves clients.
    Running = 3,
    /// It lets clients finish, and makes everything durable.
    ShuttingDown = 7,
}

impl BrokerState {
    /// Kafka's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Recovery => "RECOVERY",
            Self::Running => "RUNNING",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }
}

/// One life of a broker.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    began_ms: i64,
    began_steady_ms: i64,
    recovery: Arc<RecoveryProgress>,
    /// Set when the data is read.
    broker: OnceLock<Arc<Broker>>,
    /// Clients are served.
    serves: AtomicBool,
    stops: AtomicBool,
    /// Requests with a token that nobody has; not set where none is wanted.
    wrong_tokens: OnceLock<AtomicU64>,
}

impl Lifecycle {
    /// A life that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            began_ms: clock::now_ms(),
            began_steady_ms: clock::steady_ms(),
            recovery: Arc::default(),
            broker: OnceLock::new(),
            serves: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            wrong_tokens: OnceLock::new(),
        }
    }

    /// Whoever asks over HTTP has to send a token.
    pub(crate) fn wants_tokens(&self) {
        self.wrong_tokens.get_or_init(AtomicU64::default);
    }

    /// A request was refused that sent a wrong token.
    pub(crate) fn sent_wrong_token(&self) {
        if let Some(count) = self.wrong_tokens.get() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many did; `None` where none is wanted.
    pub(crate) fn wrong_tokens(&self) -> Option<u64> {
        Some(self.wrong_tokens.get()?.load(Ordering::Relaxed))
    }

    /// What a start tells how far its recovery is.
    pub(crate) fn recovery(&self) -> &Arc<RecoveryProgress> {
        &self.recovery
    }

    /// When it began, ms since 1970.
    pub(crate) fn began_ms(&self) -> i64 {
        self.began_ms
    }

    /// How long it has lasted, in ms.
    pub(crate) fn uptime_ms(&self) -> i64 {
        clock::steady_ms().saturating_sub(self.began_steady_ms)
    }

    /// The data is read.
    pub(crate) fn has_read(&self, broker: &Arc<Broker>) {
        self.broker.get_or_init(|| Arc::clone(broker));
    }

    /// Clients are served from now on.
    pub(crate) fn serves(&self) {
        self.serves.store(true, Ordering::Release);
    }

    /// The broker is going down from now on.
    pub(crate) fn stops(&self) {
        self.stops.store(true, Ordering::Release);
    }

    /// The broker, once its data is read.
    pub(crate) fn broker(&self) -> Option<&Arc<Broker>> {
        self.broker.get()
    }

    /// Where it stands now.
    pub(crate) fn state(&self) -> BrokerState {
        if self.stops.load(Ordering::Acquire) {
            return BrokerState::ShuttingDown;
        }
        if self.serves.load(Ordering::Acquire) {
            return BrokerState::Running;
        }
        match self.recovery.total() {
            0 => BrokerState::Starting,
            _ => BrokerState::Recovery,
        }
    }
}
