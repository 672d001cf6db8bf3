//! How old the records are that groups have not read.
//!
//! The time of a record stands in the log, so it is looked up, and remembered while the group stays where it
//! is. A scrape looks for so long; where that is not enough, it goes on at the next one, and what it did not get
//! to is told as it was found last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_storage::LogId;

use crate::broker::Broker;
use crate::clock;
use crate::groups::{WatchedGroup, WatchedOffset};

/// A group and the log it reads.
type Reading = (Arc<str>, LogId);

/// The first record that a group has not read.
#[derive(Clone, Copy, Debug)]
struct Oldest {
    offset: i64,
    /// ms since 1970; `None` where it has no timestamp or cannot be read.
    timestamp: Option<i64>,
}

#[derive(Debug, Default)]
struct Known {
    readings: HashMap<Reading, Oldest>,
    /// Where the next scrape goes on looking, in the row of those that are behind.
    next: usize,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct LagTimes {
    known: Mutex<Known>,
}

impl LagTimes {
    /// The age of the oldest record that each of `groups` has not read, zero where it has read everything;
    /// nothing where that is not known. Reads from disk.
    pub(super) fn ages(&self, broker: &Broker, groups: &[WatchedGroup]) -> Vec<Option<Duration>> {
        let mut ages = vec![Some(Duration::ZERO); groups.len()];
        let mut behind = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            for offset in &group.offsets {
                let Some(unread) = offset.unread().filter(|unread| unread.records > 0) else {
                    continue;
                };
                // Until it is found.
                ages[number] = None;
                behind.push((number, group, offset, unread.first));
            }
        }
        let now_ms = broker.clock().now_ms();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut known.readings);
        let mut look = Look::begin(broker);
        let first = known.next.checked_rem(behind.len()).unwrap_or(0);
        behind.rotate_left(first);
        known.next = first;
        for (number, group, offset, first) in behind {
            let Some(reading) = reading(group, offset) else {
                continue;
            };
            let last = before.get(&reading).copied();
            let found = match last.filter(|last| last.offset == first) {
                Some(same) => Some(same),
                None => look.at(offset, first).or(last),
            };
            known.next = known.next.wrapping_add(usize::from(look.lasts()));
            let Some(found) = found else { continue };
            if known.readings.len() < limits::METRICS_LAGS_MAX {
                known.readings.insert(reading, found);
            }
            if let Some(timestamp) = found.timestamp {
                let age = now_ms.saturating_sub(timestamp);
                let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
                ages[number] = ages[number].max(Some(age));
            }
        }
        ages
    }
}

fn reading(group: &WatchedGroup, offset: &WatchedOffset) -> Option<Reading> {
    let partition = offset.found.as_ref()?;
    Some((Arc::clone(&group.id), partition.log().id()))
}

/// The look-ups of one scrape.
struct Look {
    /// The right to look records up, of which there are few: one may open a large batch.
    turn: Option<tokio::sync::OwnedSemaphorePermit>,
    ends: std::time::Instant,
}

impl Look {
    fn begin(broker: &Broker) -> Self {
        Self {
            turn: broker.try_look_up(),
            ends: clock::instant() + limits::METRICS_LAG_LOOK,
        }
    }

    /// Whether there is time for another look-up.
    fn lasts(&self) -> bool {
        self.turn.is_some()
    }

    fn at(&mut self, offset: &WatchedOffset, first: i64) -> Option<Oldest> {
        self.turn.as_ref()?;
        let log = offset.found.as_ref()?.log();
        let found = log.timestamp_at(first);
        if clock::instant() >= self.ends {
            self.turn = None;
        }
        // Where it cannot be read the next scrape tries again.
        let timestamp = found.ok()?;
        Some(Oldest {
            offset: first,
            timestamp: timestamp.filter(|timestamp| *timestamp >= 0),
        })
    }
}
