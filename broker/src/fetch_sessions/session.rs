//! One fetch session: its partitions in their order, what the client knows of each, and whose turn it is.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidewheel_config::limits;
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchTopic, FetchableTopicResponse, ForgottenTopic, PartitionData,
};
use tidewheel_protocol::{ErrorCode, RecordsLen, StrBytes, Uuid};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The epoch of a session's first request after the one that made it.
const FIRST_EPOCH: i32 = 1;

/// A topic as a session names it, shared by its partitions.
#[derive(Debug)]
pub(crate) struct SessionTopic {
    /// The zero id in a session that uses names.
    pub(crate) id: Uuid,
    /// In a session that uses ids, the topic's name once there has been a topic with the id.
    pub(crate) name: OnceLock<StrBytes>,
}

impl SessionTopic {
    /// A topic by its name, if there is one, or its id. `None` where no topic can have the name.
    pub(crate) fn new(name: Option<&str>, id: Uuid) -> Option<Arc<Self>> {
        if name.is_some_and(|name| name.len() > limits::TOPIC_NAME_LEN_MAX) {
            return None;
        }
        // A copy: what comes from a request would keep the whole request in memory.
        let name = name.map(|name| OnceLock::from(StrBytes::from(name)));
        Some(Arc::new(Self {
            id,
            name: name.unwrap_or_default(),
        }))
    }

    /// As a request names it.
    fn asked(name: &StrBytes, id: Uuid, by_id: bool) -> Option<Arc<Self>> {
        Self::new((!by_id).then(|| name.as_str()), id)
    }
}

/// What partitions of a session differ in: the topic's id, or its name where it has no id.
#[derive(Clone, Debug)]
struct Key {
    topic: Arc<SessionTopic>,
    partition: i32,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.partition == other.partition
            && self.topic.id == other.topic.id
            && (self.topic.id != Uuid::ZERO || self.topic.name.get() == other.topic.name.get())
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.partition.hash(state);
        match self.topic.id {
            Uuid::ZERO => self.topic.name.get().hash(state),
            id => id.hash(state),
        }
    }
}

/// One partition of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionPartition {
    pub(crate) topic: Arc<SessionTopic>,
    /// What the client last asked for.
    pub(crate) fetch: FetchPartition,
    /// What the client was last told; -1 with an error, so that it hears when that is over.
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
}

impl SessionPartition {
    fn key(&self) -> Key {
        Key {
            topic: Arc::clone(&self.topic),
            partition: self.fetch.partition,
        }
    }

    /// Notes what the client is told; whether that is anything new.
    fn tell<R: RecordsLen>(&mut self, data: &PartitionData<R>) -> bool {
        let failed = data.error_code != 0;
        let news = has_records(data)
            || failed
            || self.high_watermark != data.high_watermark
            || self.log_start_offset != data.log_start_offset
            || data.preferred_read_replica != -1
            || data.diverging_epoch.epoch >= 0;
        self.high_watermark = if failed { -1 } else { data.high_watermark };
        self.log_start_offset = data.log_start_offset;
        news
    }
}

fn has_records<R: RecordsLen>(data: &PartitionData<R>) -> bool {
    let records = data.records.as_ref();
    records.is_some_and(|records| records.records_len() > 0)
}

/// The partitions, in the order in which they are served.
#[derive(Debug)]
struct Partitions {
    by_place: BTreeMap<u64, SessionPartition>,
    places: HashMap<Key, u64>,
    /// Larger than all others.
    next_place: u64,
    /// Their share of all that sessions may remember.
    room: OwnedSemaphorePermit,
}

impl Partitions {
    fn push(&mut self, partition: SessionPartition) {
        self.places.insert(partition.key(), self.next_place);
        self.by_place.insert(self.next_place, partition);
        self.next_place += 1;
    }

    /// Adds partitions, or replaces what is asked of them. `false` where that is too much for a session.
    fn ask(&mut self, topics: &[FetchTopic], by_id: bool) -> bool {
        for asked in topics {
            let Some(topic) = SessionTopic::asked(&asked.topic, asked.topic_id, by_id) else {
                return false;
            };
            for fetch in asked.partitions.iter().cloned() {
                let key = Key {
                    topic: Arc::clone(&topic),
                    partition: fetch.partition,
                };
                let place = self.places.get(&key);
                if let Some(known) = place.and_then(|place| self.by_place.get_mut(place)) {
                    known.fetch = fetch;
                    continue;
                }
                self.push(SessionPartition {
                    topic: Arc::clone(&topic),
                    fetch,
                    high_watermark: -1,
                    log_start_offset: -1,
                });
                // Those that it forgets may be among them: they are counted all the same.
                if self.by_place.len() > 2 * limits::FETCH_SESSION_PARTITIONS_MAX {
                    return false;
                }
            }
        }
        true
    }

    fn forget(&mut self, topics: &[ForgottenTopic], by_id: bool) {
        for forgotten in topics {
            let topic = SessionTopic::asked(&forgotten.topic, forgotten.topic_id, by_id);
            let Some(topic) = topic else {
                continue;
            };
            for partition in &forgotten.partitions {
                let key = Key {
                    topic: Arc::clone(&topic),
                    partition: *partition,
                };
                if let Some(place) = self.places.remove(&key) {
                    self.by_place.remove(&place);
                }
            }
        }
    }

    /// Holds room for exactly what there is. `false` where there is too much.
    fn fit(&mut self, all: &Arc<Semaphore>) -> bool {
        let held = self.room.num_permits();
        let wanted = room_of(self.by_place.len());
        if wanted <= held {
            drop(self.room.split(held - wanted));
            return true;
        }
        let more = u32::try_from(wanted - held).unwrap_or(u32::MAX);
        if self.by_place.len() > limits::FETCH_SESSION_PARTITIONS_MAX {
            return false;
        }
        let more = Arc::clone(all).try_acquire_many_owned(more);
        more.map(|more| self.room.merge(more)).is_ok()
    }

    /// Moves a partition behind all others: those that were served come last the next time.
    fn move_to_end(&mut self, place: u64) {
        if let Some(partition) = self.by_place.remove(&place) {
            self.push(partition);
        }
    }
}

/// How much of the room for all sessions one of this many partitions takes: an empty one takes some too.
pub(super) fn room_of(partitions: usize) -> usize {
    partitions.max(1)
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// What the next request must name.
    epoch: i32,
    /// It was closed or evicted.
    closed: bool,
}

/// What a request changes in a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionChange<'a> {
    /// The epoch that the request names.
    pub(crate) epoch: i32,
    /// Whether the request's version names topics by their ids.
    pub(crate) by_id: bool,
    /// What it adds, or asks for anew.
    pub(crate) topics: &'a [FetchTopic],
    /// What it drops, also of what it adds.
    pub(crate) forgotten: &'a [ForgottenTopic],
}

/// A session. See the module above for who may hold what.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) id: i32,
    pub(super) created_ms: i64,
    by_id: bool,
    partitions: Mutex<Partitions>,
    /// Changed with `partitions` locked, except that it closes.
    progress: watch::Sender<Progress>,
    /// One permit: only one request at a time looks at the partitions and has a copy of them.
    turn: Arc<Semaphore>,
}

impl Session {
    pub(super) fn new(
        id: i32,
        by_id: bool,
        partitions: Vec<SessionPartition>,
        room: OwnedSemaphorePermit,
        created_ms: i64,
    ) -> Self {
        let mut all = Partitions {
            by_place: BTreeMap::new(),
            places: HashMap::with_capacity(partitions.len()),
            next_place: 0,
            room,
        };
        for partition in partitions {
            all.push(partition);
        }
        Self {
            id,
            created_ms,
            by_id,
            partitions: Mutex::new(all),
            progress: watch::Sender::new(Progress {
                epoch: FIRST_EPOCH,
                closed: false,
            }),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Takes in the next request. Returns the epoch that the session has then and the number of its
    /// partitions; where none are left, nothing goes on.
    ///
    /// # Errors
    /// Kafka's, in Kafka's order. FETCH_SESSION_ID_NOT_FOUND also where it would grow too large: then it
    /// must be closed, and the client starts anew.
    pub(super) fn advance(
        &self,
        change: SessionChange<'_>,
        room: &Arc<Semaphore>,
    ) -> Result<(i32, usize), ErrorCode> {
        let mut partitions = self.lock();
        let Progress { epoch, closed } = *self.progress.borrow();
        if closed {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if epoch != change.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if self.by_id != change.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if !partitions.ask(change.topics, self.by_id) {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        partitions.forget(change.forgotten, self.by_id);
        if !partitions.fit(room) {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let len = partitions.by_place.len();
        let next = next_epoch(epoch);
        if len > 0 {
            self.progress.send_modify(|progress| progress.epoch = next);
        }
        Ok((next, len))
    }

    /// Ends the wait of the request whose turn it is.
    pub(super) fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    #[cfg(test)]
    pub(super) fn set_epoch(&self, epoch: i32) {
        self.progress.send_modify(|progress| progress.epoch = epoch);
    }

    fn lock(&self) -> MutexGuard<'_, Partitions> {
        // Nothing panics while it is held.
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The epoch after `epoch`, which is positive: 0 and -1 have a meaning of their own.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(FIRST_EPOCH)
}

/// A request that a session has taken in, before its turn.
#[derive(Debug)]
pub(crate) struct Going {
    pub(super) session: Arc<Session>,
    /// The session's epoch, unless another request has come since.
    pub(super) epoch: i32,
}

impl Going {
    /// Waits for the request before it, which hears of this one and makes an end.
    pub(crate) async fn turn(self) -> Turn {
        let permit = Arc::clone(&self.session.turn).acquire_owned().await;
        Turn {
            going: self,
            // Never closed.
            _permit: permit.ok(),
        }
    }
}

/// The right to look at a session's partitions and to answer.
#[derive(Debug)]
pub(crate) struct Turn {
    going: Going,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    pub(crate) fn session_id(&self) -> i32 {
        self.going.session.id
    }

    /// Whether no other request has been taken in since; if one has, this one has no answer but an error.
    pub(crate) fn is_current(&self) -> bool {
        self.going.session.progress.borrow().epoch == self.going.epoch
    }

    /// Resolves when waiting longer makes no sense: another request was taken in, or the session is gone.
    /// Cancel-safe.
    pub(crate) async fn is_over(&self) {
        let mut progress = self.going.session.progress.subscribe();
        let over = |progress: &Progress| progress.closed || progress.epoch != self.going.epoch;
        // The sender lives as long as this does.
        drop(progress.wait_for(over).await);
    }

    /// Shows every partition with its place, in their order.
    pub(crate) fn each(&self, mut show: impl FnMut(u64, &SessionPartition)) {
        let partitions = self.going.session.lock();
        for (place, partition) in &partitions.by_place {
            show(*place, partition);
        }
    }

    /// Takes out of an answer what the client knows already, and notes what it is told. `places` are those
    /// of the answer's partitions, in its order.
    ///
    /// # Errors
    /// INVALID_FETCH_SESSION_EPOCH where another request was taken in meanwhile.
    pub(crate) fn answer<R: RecordsLen>(
        &self,
        topics: Vec<FetchableTopicResponse<R>>,
        places: impl Iterator<Item = u64>,
    ) -> Result<Vec<FetchableTopicResponse<R>>, ErrorCode> {
        let mut partitions = self.going.session.lock();
        if !self.is_current() {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let mut places = places;
        let mut told: Vec<FetchableTopicResponse<R>> = Vec::new();
        for mut topic in topics {
            topic.partitions.retain(|data| {
                let place = places.next().unwrap_or(u64::MAX);
                let known = partitions.by_place.get_mut(&place);
                let news = known.is_some_and(|known| known.tell(data));
                if has_records(data) {
                    partitions.move_to_end(place);
                }
                news
            });
            match told.last_mut() {
                _ if topic.partitions.is_empty() => {}
                Some(last) if last.topic == topic.topic && last.topic_id == topic.topic_id => {
                    last.partitions.append(&mut topic.partitions);
                }
                _ => told.push(topic),
            }
        }
        Ok(told)
    }
}
