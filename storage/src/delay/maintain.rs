//! Moving records between the delay log, buckets and memory, a bounded step at a time.

use super::buckets::{BucketWrites, Loaded};
use super::damage::DelayDamage;
use super::delay_log::LogSegment;
use super::fire::place_in_bucket;
use super::key::unsigned_ms;
use super::partitions::{entry_of, key_of};
use super::queue::{DelayQueue, LOAD_AHEAD_MS};
use super::record::{Kind, parse_group};
use super::scan::{FILE_HEAD_LEN, Found};
use super::wheel::WheelEntry;
use crate::error::StorageError;

/// A bucket that begins so soon is divided where there is no room for all of it; what is due in it is loaded then
/// without room.
pub(super) const URGENT_MS: u64 = 1_000;
/// Far records wait so long for others before they are copied, unless they are many or due soon.
const SPILL_MS: u64 = 1_000;

impl DelayQueue {
    /// Copies far records from the delay log to buckets, and loads the bucket whose time is near; one step
    /// of each. Whether there is more to do at once.
    ///
    /// # Errors
    /// `DiskFull`, which passes; `Io`, after which the queue is offline if something was to be written.
    pub fn maintain(&mut self, now_ms: i64) -> Result<bool, StorageError> {
        self.check_online()?;
        let now = unsigned_ms(now_ms);
        let spilled = self.latched(|queue| queue.spill_step(now))?;
        let loaded = self.latched(|queue| queue.load_step(now))?;
        Ok(spilled || loaded)
    }

    /// Copies a part of the delay log; whether there is more.
    fn spill_step(&mut self, now: u64) -> Result<bool, StorageError> {
        let Some(at) = self.segment_to_spill() else {
            self.note_spilled();
            return Ok(false);
        };
        if !self.is_spill_due(now) {
            return Ok(false);
        }
        self.spilled_ms = now;
        let segment = &self.log.segments[at];
        let stop = segment.end().min(self.log.durable);
        let limit = self.spilled.max(segment.base) + self.options.step_bytes;
        let mut scan = self.log.scan(at, self.spilled);
        let mut writes = BucketWrites::default();
        let mut to = scan.position();
        while to < stop && to < limit {
            match scan.next()? {
                None => {
                    to = stop;
                    break;
                }
                Some(Found::Damage { .. }) => self.note_damaged_log(at, to, scan.position()),
                Some(Found::Block(position, _, body)) => {
                    match parse_group(&body, self.log.salt, position) {
                        Some(group) => self.spill_group(&group.records, now, &mut writes),
                        None => self.note_damaged_log(at, to, scan.position()),
                    }
                }
            }
            to = scan.position();
        }
        self.buckets.write(&writes)?;
        self.spilled = to;
        self.note_spilled();
        Ok(self.segment_to_spill().is_some())
    }

    /// Bytes of a file of the delay log, from one position to another, are damaged, and the far records in them
    /// lost. A start may have noted that.
    fn note_damaged_log(&mut self, at: usize, from: u64, to: u64) {
        let segment = &self.log.segments[at];
        let damage = DelayDamage::new(&segment.path, from - segment.base, to - segment.base);
        let is_new = self.note_uncounted(damage);
        self.log.segments[at].damaged |= is_new;
    }

    /// Whether far records are to be copied now: a few at a time would touch as many files as many do.
    fn is_spill_due(&self, now: u64) -> bool {
        let lag = self.log.end().saturating_sub(self.spilled);
        lag >= self.options.step_bytes / 8
            || self.unspilled.least() <= now.saturating_add(LOAD_AHEAD_MS)
            || now.abs_diff(self.spilled_ms) >= SPILL_MS
    }

    /// Where nothing but the heads of files is left to look at, all is spilled.
    fn note_spilled(&mut self) {
        let end = self.log.end();
        if self.log.durable >= end && self.segment_to_spill().is_none() {
            self.spilled = end;
        }
        self.unspilled.spilled(self.spilled, end);
    }

    /// The first file with something that may have to be copied and is durable.
    fn segment_to_spill(&self) -> Option<usize> {
        let begun = |segment: &LogSegment| {
            let from = self.spilled.max(segment.base + FILE_HEAD_LEN);
            from < segment.end().min(self.log.durable)
        };
        self.log.segments.iter().position(begun)
    }

    fn spill_group(
        &mut self,
        records: &[(u64, u32, super::record::Record)],
        now: u64,
        writes: &mut BucketWrites,
    ) {
        for (_, _, record) in records {
            if record.kind != Kind::Add || !record.is_far() {
                continue;
            }
            let number = self.partitions.find(record.partition);
            let wanted = number.is_some_and(|number| {
                let state = self.partitions.get(number);
                !state.gone && record.key > state.handed
            });
            if wanted {
                self.buckets.put(record, now, writes);
                self.spilled_records += 1;
            }
        }
    }

    /// Loads a part of the bucket that is due first; whether there is more to do.
    fn load_step(&mut self, now: u64) -> Result<bool, StorageError> {
        let Some((id, start_ms)) = self.buckets.first_waiting() else {
            return Ok(false);
        };
        if start_ms > now.saturating_add(LOAD_AHEAD_MS) {
            return Ok(false);
        }
        let free = self
            .options
            .near_records_max
            .saturating_sub(self.near_records());
        let urgent = start_ms <= now.saturating_add(URGENT_MS);
        let stuck = free == 0 && urgent && self.is_stuck(now);
        let bucket = &self.buckets.all[&id];
        let end_ms = start_ms.saturating_add(bucket.span.width.ms());
        // A part of it is not due yet, and would only take room.
        let is_wide = bucket.span.width.ms() > URGENT_MS && end_ms > now.saturating_add(URGENT_MS);
        let divides = stuck && is_wide && bucket.is_untouched();
        // Not before it is needed: until then others may leave.
        let room = match stuck && !divides && start_ms <= now {
            true => self.options.step_records,
            false => free,
        };
        // A bucket of many records is split while there is still time, with room or without.
        let can_divide = bucket.is_untouched() && bucket.span.width.finer().is_some();
        let too_many = can_divide && bucket.count > self.options.near_records_max as u64;
        if room == 0 && !too_many && !divides {
            return Ok(false);
        }
        let loaded = self.buckets.load(id, room, self.options.step_bytes);
        for damage in std::mem::take(&mut self.buckets.damages) {
            self.note_uncounted(damage);
        }
        for loaded in loaded? {
            self.take_loaded(&loaded);
        }
        let next = self.buckets.first_waiting();
        let soon = |(_, start_ms): (u64, u64)| start_ms <= now.saturating_add(LOAD_AHEAD_MS);
        Ok(next.is_some_and(soon)
            && (urgent || self.near_records() < self.options.near_records_max))
    }

    /// Whether nothing can leave memory before something is loaded: what is due there comes after a record
    /// that still lies in a file.
    fn is_stuck(&self, now: u64) -> bool {
        let bound = self.bound();
        let can_go = |number: &u32| {
            let state = self.partitions.get(*number);
            let is_next = |entry: &WheelEntry| {
                entry.due_ms <= now && bound.is_none_or(|bound| key_of(entry) < bound)
            };
            // What a topic or a log refuses does not leave, however long the others wait for its room.
            let paused = self.paused.contains(&state.id.topic_id) || state.rests(now);
            !state.in_flight.is_empty() || (!paused && state.ready.front().is_some_and(is_next))
        };
        self.wheel.next_ms().is_none_or(|next| next > now) && !self.active.iter().any(can_go)
    }

    fn take_loaded(&mut self, loaded: &Loaded) {
        let Loaded {
            record,
            bucket,
            position,
            len,
        } = loaded;
        let Some(number) = self.partitions.find(record.partition) else {
            return;
        };
        let state = self.partitions.get(number);
        if state.gone || record.key <= state.handed {
            return;
        }
        if let Some(bucket) = self.buckets.all.get_mut(bucket) {
            bucket.holding.add(number, record.key);
        }
        let place = place_in_bucket(*bucket, *position);
        self.promoted_records += 1;
        self.insert_near(entry_of(number, record.key, (place, *len), record.target));
    }
}
