//! Fetch sessions (KIP-227): what a client fetches, remembered from one of its requests to the next, so
//! that a request says only what changed and an answer tells only what is new.
//!
//! A session belongs to nobody: as in Kafka, whoever names its id, which cannot be guessed, and its epoch
//! goes on with it, over whichever connection. What a client may read is decided for each request.
//!
//! **Bounds.** There are as many sessions as `max.incremental.fetch.session.cache.slots`, of
//! `limits::FETCH_SESSION_PARTITIONS_MAX` partitions each and `limits::FETCH_SESSIONS_PARTITIONS_MAX`
//! together. Who finds no room is given no session; a session that grows beyond it is closed. A request
//! costs one look at each partition of its session, and while it waits a copy of them. There is one such
//! copy per session, whoever sends how many requests: a request that is taken in ends the wait of the one
//! before it, which has lost its answer by that, and waits for its turn. The room of a session that is
//! closed comes free when nothing of it is left.
//!
//! Time is an argument. The lock of all sessions and that of one are never held together.

mod session;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewheel_config::limits;
use tidewheel_protocol::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::session::{Going, SessionChange, SessionPartition, SessionTopic, Turn};
use self::session::{Session, room_of};

/// The id of no session: the answer to whoever is given none.
pub(crate) const NO_SESSION: i32 = 0;

/// All sessions of the broker.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    /// How many there may be.
    slots: usize,
    /// One permit for each partition that may be remembered.
    room: Arc<Semaphore>,
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    last_used_ms: i64,
    /// Partitions when it was last used.
    len: usize,
}

#[derive(Debug, Default)]
struct Cache {
    entries: HashMap<i32, Entry>,
    /// Time of the last use, and id.
    last_used: BTreeSet<(i64, i32)>,
    /// Number of partitions, and id: those that a larger session may take the place of.
    replaceable: BTreeSet<(usize, i32)>,
    /// How many made way for others.
    evicted: u64,
}

/// How many sessions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionCounts {
    /// Those that are remembered.
    pub(crate) sessions: usize,
    /// Their partitions, when they were last used.
    pub(crate) partitions: usize,
    /// Those that made way for others, since the start.
    pub(crate) evicted: u64,
}

impl FetchSessions {
    /// No sessions yet, `slots` at most.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots,
            room: Arc::new(Semaphore::new(limits::FETCH_SESSIONS_PARTITIONS_MAX)),
            cache: Mutex::default(),
        }
    }

    /// Makes a session of what a full fetch was answered, if there is room; another one may have to go.
    /// Returns its id, one of those that `new_id` gives (positive numbers, not the same for ever), or
    /// [`NO_SESSION`].
    pub(crate) fn create(
        &self,
        by_id: bool,
        partitions: Vec<SessionPartition>,
        now_ms: i64,
        mut new_id: impl FnMut() -> i32,
    ) -> i32 {
        let len = partitions.len();
        let mut cache = self.lock();
        let Some(room) = self.make_room(&mut cache, len, now_ms) else {
            return NO_SESSION;
        };
        let id = loop {
            let id = new_id();
            if id != NO_SESSION && !cache.entries.contains_key(&id) {
                break id;
            }
        };
        let entry = Entry {
            session: Arc::new(Session::new(id, by_id, partitions, room, now_ms)),
            last_used_ms: now_ms,
            len,
        };
        cache.last_used.insert((now_ms, id));
        cache.entries.insert(id, entry);
        id
    }

    /// A place and room for a session of `len` partitions. As in Kafka, one that was not used for long
    /// makes way, else the smallest of those that are not new, for a larger one.
    fn make_room(
        &self,
        cache: &mut Cache,
        len: usize,
        now_ms: i64,
    ) -> Option<OwnedSemaphorePermit> {
        if len > limits::FETCH_SESSION_PARTITIONS_MAX {
            return None;
        }
        loop {
            let full = cache.entries.len() >= self.slots;
            if !full && let Some(room) = self.take_room(len) {
                return Some(room);
            }
            match cache.last_used.first() {
                Some(&(used_ms, id)) if is_past(used_ms, now_ms) => cache.evict(id),
                _ if full => break,
                _ => return None,
            }
        }
        let &(smallest, id) = cache.replaceable.first()?;
        let fits = self.room.available_permits() + room_of(smallest) >= room_of(len);
        if len <= smallest || !fits {
            return None;
        }
        cache.evict(id);
        self.take_room(len)
    }

    fn take_room(&self, len: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(room_of(len)).ok()?;
        Arc::clone(&self.room).try_acquire_many_owned(wanted).ok()
    }

    /// Takes in a request that goes on with a session. `None` where it leaves the session without
    /// partitions: then there is no session any more.
    ///
    /// # Errors
    /// Kafka's codes for a session that does not exist, is elsewhere, or names topics in the other way.
    pub(crate) fn go_on(
        &self,
        id: i32,
        change: SessionChange<'_>,
        now_ms: i64,
    ) -> Result<Option<Going>, ErrorCode> {
        let session = self.find(id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        // Not under the lock of all sessions: a request may be long.
        let advanced = session.advance(change, &self.room);
        match advanced {
            Ok((epoch, len)) if len > 0 => {
                self.lock().used(&session, len, now_ms);
                Ok(Some(Going { session, epoch }))
            }
            Ok(_) => {
                self.lock().remove_session(&session);
                Ok(None)
            }
            Err(error) => {
                if error == ErrorCode::FetchSessionIdNotFound {
                    self.lock().remove_session(&session);
                }
                Err(error)
            }
        }
    }

    fn find(&self, id: i32) -> Option<Arc<Session>> {
        let cache = self.lock();
        cache
            .entries
            .get(&id)
            .map(|entry| Arc::clone(&entry.session))
    }

    /// How many there are.
    pub(crate) fn counts(&self) -> SessionCounts {
        let cache = self.lock();
        SessionCounts {
            sessions: cache.entries.len(),
            partitions: cache.entries.values().map(|entry| entry.len).sum(),
            evicted: cache.evicted,
        }
    }

    /// Closes a session, if there is one with this id. A request of it that waits is answered now.
    pub(crate) fn close(&self, id: i32) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // Nothing panics while it is held.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something of that time is older than what may be evicted.
fn is_past(time_ms: i64, now_ms: i64) -> bool {
    let age_ms = u128::try_from(now_ms.saturating_sub(time_ms)).unwrap_or(0);
    age_ms > limits::FETCH_SESSION_EVICTION.as_millis()
}

impl Cache {
    /// Notes a use, unless the session is gone.
    fn used(&mut self, session: &Arc<Session>, len: usize, now_ms: i64) {
        let id = session.id;
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if !Arc::ptr_eq(&entry.session, session) {
            return;
        }
        self.last_used.remove(&(entry.last_used_ms, id));
        self.replaceable.remove(&(entry.len, id));
        (entry.last_used_ms, entry.len) = (now_ms, len);
        self.last_used.insert((now_ms, id));
        if is_past(session.created_ms, now_ms) {
            self.replaceable.insert((len, id));
        }
    }

    /// Removes one that makes way for another.
    fn evict(&mut self, id: i32) {
        self.remove(id);
        self.evicted += 1;
    }

    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.entries.remove(&id) {
            self.last_used.remove(&(entry.last_used_ms, id));
            self.replaceable.remove(&(entry.len, id));
            entry.session.close();
        }
    }

    /// The same for this very session: another may have its id meanwhile.
    fn remove_session(&mut self, session: &Arc<Session>) {
        let entry = self.entries.get(&session.id);
        if entry.is_some_and(|entry| Arc::ptr_eq(&entry.session, session)) {
            self.remove(session.id);
        }
    }
}

#[cfg(test)]
mod tests;
