//! Faults that a test puts between its clients and an embedded broker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidewheel_protocol::{ApiKey, ErrorCode};

use crate::api::can_refuse;

/// Faults of an embedded broker, for [`EmbeddedBuilder::faults`](crate::EmbeddedBuilder::faults): what becomes of
/// requests instead of what the broker would do. Each concerns whole requests of one API, in the versions that are
/// served: others close their connection as ever, and are not counted. Where several concern one
/// request, the oldest that has not happened often enough does. Clones are the same faults; they may be made before
/// the broker starts and while it runs.
///
/// ```
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tidewheel_broker::{ApiKey, ErrorCode, Faults};
///
/// let faults = Faults::new();
/// let moved = faults.on(ApiKey::Produce).times(3).fail_with(ErrorCode::NotLeaderOrFollower)?;
/// let lost = faults.on(ApiKey::Produce).drop_answer();
/// assert_eq!((moved.happened(), lost.happened()), (0, 0));
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Those that may happen still, the oldest first.
    rules: Arc<Mutex<Vec<Arc<Rule>>>>,
}

/// A fault that is not made yet: whom it concerns, and how often. It happens once, to the next request, where nothing
/// else is said.
#[derive(Debug)]
#[must_use = "the fault is made by the last call, which says what happens"]
pub struct FaultBuilder {
    faults: Faults,
    key: ApiKey,
    spares: u64,
    times: u64,
}

/// A fault that was made. Dropping this changes nothing.
#[derive(Clone, Debug)]
pub struct Fault {
    faults: Faults,
    rule: Arc<Rule>,
}

/// There is no answer of this API that is an error alone: its requests can be delayed and lost, not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requests of {0:?} cannot be answered by an error alone")]
pub struct CannotRefuse(pub ApiKey);

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It is not handled, and answered with this error.
    Refuse(ErrorCode),
    /// It is handled when this time has passed.
    Delay(Duration),
    /// Its connection closes before it is handled.
    DropConnection,
    /// It is handled, and its connection closes instead of an answer.
    DropAnswer,
}

#[derive(Debug)]
struct Rule {
    key: ApiKey,
    kind: FaultKind,
    /// Requests of the API that it spares first.
    spares: u64,
    /// To so many after them it happens.
    times: u64,
    /// Requests of the API that came to it. Changed by the holder of the list.
    met: AtomicU64,
}

impl Rule {
    fn happened(&self) -> u64 {
        self.met.load(Ordering::SeqCst).saturating_sub(self.spares)
    }

    fn is_over(&self) -> bool {
        self.happened() >= self.times
    }
}

impl Faults {
    /// None at first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to make a fault of requests of one API.
    pub fn on(&self, key: ApiKey) -> FaultBuilder {
        FaultBuilder {
            faults: self.clone(),
            key,
            spares: 0,
            times: 1,
        }
    }

    /// Removes them all.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What happens to a request of this API, if anything.
    pub(crate) fn strike(&self, api_key: i16) -> Option<FaultKind> {
        let mut rules = self.lock();
        let mut struck = None;
        for rule in rules.iter().filter(|rule| rule.key.code() == api_key) {
            let met = rule.met.fetch_add(1, Ordering::SeqCst);
            if met >= rule.spares {
                struck = Some(rule.kind);
                break;
            }
        }
        if struck.is_some() {
            rules.retain(|rule| !rule.is_over());
        }
        struck
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Rule>>> {
        // Nothing in the critical sections panics.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultBuilder {
    /// Spares so many requests first that no older fault happens to.
    pub fn after(self, requests: u64) -> Self {
        Self {
            spares: requests,
            ..self
        }
    }

    /// Happens to so many requests.
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    /// Happens to every request, until it is removed.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// The request is not handled, and answered with this error, in the place that the API has for it: for each
    /// partition, topic or group that it names, or as a whole. A produce request with `acks=0`, which is never
    /// answered, closes its connection, and a fetch that goes on with a session and names nothing is refused as a whole.
    /// The code may be one that this broker never gives.
    ///
    /// # Errors
    /// For other APIs than Produce, Fetch, ListOffsets, Metadata, OffsetForLeaderEpoch, CreateTopics, DeleteTopics,
    /// InitProducerId, FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, OffsetCommit, OffsetFetch and
    /// ConsumerGroupHeartbeat.
    pub fn fail_with(self, code: ErrorCode) -> Result<Fault, CannotRefuse> {
        match can_refuse(self.key) {
            true => Ok(self.make(FaultKind::Refuse(code))),
            false => Err(CannotRefuse(self.key)),
        }
    }

    /// The request is handled this much later, in real time, and what comes behind it on its connection waits. It is
    /// not handled at all where its client has closed by then or the broker stops.
    pub fn delay(self, by: Duration) -> Fault {
        self.make(FaultKind::Delay(by))
    }

    /// The connection closes and the request is not handled, as where it got lost on its way.
    pub fn drop_connection(self) -> Fault {
        self.make(FaultKind::DropConnection)
    }

    /// The request is handled, and the connection closes in the place of its answer: a lost acknowledgement.
    pub fn drop_answer(self) -> Fault {
        self.make(FaultKind::DropAnswer)
    }

    fn make(self, kind: FaultKind) -> Fault {
        let rule = Arc::new(Rule {
            key: self.key,
            kind,
            spares: self.spares,
            times: self.times,
            met: AtomicU64::new(0),
        });
        if !rule.is_over() {
            self.faults.lock().push(Arc::clone(&rule));
        }
        Fault {
            faults: self.faults,
            rule,
        }
    }
}

impl Fault {
    /// How many requests it has begun to happen to: one that is delayed waits still, and one whose answer gets lost may
    /// not be handled yet. That is done when its connection has closed.
    #[must_use]
    pub fn happened(&self) -> u64 {
        self.rule.happened()
    }

    /// It happens no more.
    pub fn remove(&self) {
        self.faults
            .lock()
            .retain(|rule| !Arc::ptr_eq(rule, &self.rule));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strike(faults: &Faults, key: ApiKey) -> Option<FaultKind> {
        faults.strike(key.code())
    }

    #[test]
    fn faults_of_an_api_happen_in_their_order_and_as_often_as_was_said() {
        let faults = Faults::new();
        let code = ErrorCode::NotLeaderOrFollower;
        let first = faults.on(ApiKey::Produce).after(1).times(2);
        let first = first.fail_with(code).unwrap();
        let second = faults.on(ApiKey::Produce).drop_answer();
        assert_eq!(strike(&faults, ApiKey::Fetch), None);
        let struck = [(); 5].map(|()| strike(&faults, ApiKey::Produce));
        // The one that the first spares is the second's.
        let refused = Some(FaultKind::Refuse(code));
        let lost = Some(FaultKind::DropAnswer);
        assert_eq!(struck, [lost, refused, refused, None, None]);
        assert_eq!((first.happened(), second.happened()), (2, 1));
        assert!(faults.lock().is_empty(), "what is over is forgotten");
    }

    #[test]
    fn a_fault_without_end_ends_when_it_is_removed() {
        let faults = Faults::new();
        let cut = faults.on(ApiKey::Fetch).always().drop_connection();
        let slow = faults.on(ApiKey::Fetch).delay(Duration::from_secs(1));
        for _ in 0..10 {
            assert_eq!(
                strike(&faults, ApiKey::Fetch),
                Some(FaultKind::DropConnection)
            );
        }
        cut.remove();
        let delayed = Some(FaultKind::Delay(Duration::from_secs(1)));
        assert_eq!(strike(&faults, ApiKey::Fetch), delayed);
        assert_eq!((cut.happened(), slow.happened()), (10, 1));
        drop(faults.on(ApiKey::Fetch).drop_connection());
        faults.clear();
        assert_eq!(strike(&faults, ApiKey::Fetch), None);
        drop(faults.on(ApiKey::Fetch).times(0).drop_connection());
        assert_eq!(strike(&faults, ApiKey::Fetch), None);
    }

    #[test]
    fn what_has_no_answer_of_an_error_alone_cannot_be_refused() {
        let refused = Faults::new()
            .on(ApiKey::ApiVersions)
            .fail_with(ErrorCode::InvalidRequest);
        let error = refused.unwrap_err();
        assert_eq!(error, CannotRefuse(ApiKey::ApiVersions));
        assert!(error.to_string().contains("ApiVersions"), "{error}");
    }
}
