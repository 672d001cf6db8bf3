//! What is sent next: records that are due, gathered into batches.

use std::collections::VecDeque;

use bytes::Bytes;
use tidewheel_protocol::BatchError;

use crate::keys::KeyChooser;
use crate::payload::{BatchMaker, Mark};
use crate::schedule::Schedule;

use super::ahead::Ahead;
use super::recording::Recording;

/// When the records of a batch were due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// Records of the schedule, one after the other.
    Scheduled { first: u64, count: usize },
    /// Each at its own time.
    Each(Vec<u64>),
    /// All at once.
    Now { at: u64, count: usize },
}

impl Due {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Scheduled { count, .. } | Self::Now { count, .. } => *count,
            Self::Each(times) => times.len(),
        }
    }
}

/// Where records come from: a schedule, or without one as many as can be sent.
#[derive(Debug)]
pub(super) struct Feeder {
    schedule: Option<Schedule>,
    /// The next record of the schedule that no batch has.
    next: u64,
    linger: u64,
    end: u64,
    pub(super) maker: BatchMaker,
    run_id: Option<u64>,
    keyed: Option<Keyed>,
    recording: Option<Recording>,
    ahead: Option<Ahead>,
    /// When the load begins: what a recording's times are relative to.
    start: u64,
    targets: usize,
    next_target: usize,
}

/// Records with keys, gathered by partition.
#[derive(Debug)]
struct Keyed {
    chooser: KeyChooser,
    gathered: Vec<Vec<Mark>>,
    /// Partitions that have records, in the order of their first.
    waiting: VecDeque<usize>,
}

/// A batch to send.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) target: usize,
    pub(super) bytes: Bytes,
    pub(super) due: Due,
    /// Bytes of its values; of the whole batch where those are not known.
    pub(super) value_bytes: u64,
}

/// What there is to send.
#[derive(Debug, PartialEq, Eq)]
enum Ready {
    /// A batch for this partition.
    Batch { target: usize },
    /// Nothing before this time.
    At(u64),
    /// Nothing more.
    Never,
}

/// How a feeder is set up.
pub(super) struct FeederOptions {
    pub(super) schedule: Option<Schedule>,
    pub(super) linger: u64,
    /// When a closed loop ends.
    pub(super) end: u64,
    pub(super) run_id: Option<u64>,
    pub(super) chooser: Option<KeyChooser>,
    /// What is sent in the place of records that are made.
    pub(super) recording: Option<Recording>,
    /// How far ahead records are dated.
    pub(super) ahead: Option<Ahead>,
    /// When the load begins.
    pub(super) start: u64,
    pub(super) targets: usize,
    /// The partition to begin with: producers begin at different ones.
    pub(super) first_target: usize,
}

impl Feeder {
    pub(super) fn new(maker: BatchMaker, options: FeederOptions) -> Self {
        let targets = options.targets.max(1);
        Self {
            schedule: options.schedule,
            next: 0,
            linger: options.linger,
            end: options.end,
            maker,
            run_id: options.run_id,
            keyed: options.chooser.map(|chooser| Keyed {
                chooser,
                gathered: vec![Vec::new(); targets],
                waiting: VecDeque::new(),
            }),
            recording: options.recording,
            ahead: options.ahead,
            start: options.start,
            targets,
            next_target: options.first_target % targets,
        }
    }

    /// Records of the schedule that were not handed out.
    pub(super) fn unsent(&self) -> u64 {
        let gathered = self.keyed.as_ref().map_or(0, |keyed| {
            keyed.gathered.iter().map(|marks| marks.len() as u64).sum()
        });
        let rest = self
            .schedule
            .as_ref()
            .map_or(0, |schedule| schedule.total() - self.next);
        let recorded = self.recording.as_ref().map_or(0, Recording::records);
        rest + gathered + recorded
    }

    /// Ends the schedule here: what is not due yet never will be. Returns how many records that leaves.
    pub(super) fn cut(&mut self, now: u64) {
        if let Some(schedule) = &mut self.schedule {
            let due = schedule.due_by(now).max(self.next);
            schedule.cut(due);
        }
        if let Some(recording) = &mut self.recording {
            recording.cut(now.saturating_sub(self.start));
        }
        self.end = self.end.min(now);
    }

    /// When something can be sent, at the earliest, as long as no answer comes; `None` when everything was.
    pub(super) fn next_at(&mut self, now: u64, can_send: impl Fn(usize) -> bool) -> Option<u64> {
        match self.ready(now, can_send) {
            Ready::Batch { .. } => Some(now),
            Ready::At(time) => Some(time),
            Ready::Never => None,
        }
    }

    /// The next batch that is due and whose partition can take one.
    pub(super) fn take(
        &mut self,
        now: u64,
        wall_ns: i64,
        can_send: impl Fn(usize) -> bool,
    ) -> Result<Option<Batch>, BatchError> {
        let Ready::Batch { target } = self.ready(now, can_send) else {
            return Ok(None);
        };
        if let Some(recording) = &mut self.recording {
            let start = self.start;
            return Ok(recording.pop().map(|batch| Batch {
                target,
                value_bytes: batch.bytes.len() as u64,
                bytes: batch.bytes,
                due: Due::Now {
                    at: start + batch.after,
                    count: batch.records,
                },
            }));
        }
        let (timestamp, due_at) = match &mut self.ahead {
            None => (wall_ns / 1_000_000, None),
            Some(ahead) => {
                let (timestamp, due) = ahead.date(now, wall_ns);
                (timestamp, Some(due))
            }
        };
        if let Some(keyed) = &mut self.keyed {
            keyed.waiting.retain(|&waiting| waiting != target);
            let marks = std::mem::take(&mut keyed.gathered[target]);
            let dated = (timestamp, due_at);
            return self.keyed_batch(target, marks, now, dated).map(Some);
        }
        let due = self.take_due(now);
        self.next_target = (target + 1) % self.targets;
        let count = due.count();
        let alike = self.ahead.as_ref().is_none_or(|ahead| !ahead.is_spread());
        let bytes = match self.run_id {
            None if alike => self.maker.plain(count, timestamp)?,
            _ => {
                let times = match due_at {
                    Some(due) => vec![due; count],
                    None => self.times(&due),
                };
                let marks = times.into_iter().map(|due| Mark { due, key: None });
                self.maker.marked(marks, self.run_id, timestamp)?
            }
        };
        Ok(Some(Batch {
            target,
            bytes,
            due,
            value_bytes: self.maker.value_bytes(count),
        }))
    }

    /// When each record of a batch was due.
    pub(super) fn times(&self, due: &Due) -> Vec<u64> {
        match (due, &self.schedule) {
            (Due::Scheduled { first, count }, Some(schedule)) => (*first..*first + *count as u64)
                .map(|index| schedule.due_at(index))
                .collect(),
            (Due::Each(times), _) => times.clone(),
            (Due::Now { at, count }, _) => vec![*at; *count],
            (Due::Scheduled { .. }, None) => Vec::new(),
        }
    }

    fn keyed_batch(
        &self,
        target: usize,
        mut marks: Vec<Mark>,
        now: u64,
        (timestamp, due_at): (i64, Option<u64>),
    ) -> Result<Batch, BatchError> {
        let due = match self.schedule {
            Some(_) => Due::Each(marks.iter().map(|mark| mark.due).collect()),
            None => {
                marks.iter_mut().for_each(|mark| mark.due = now);
                Due::Now {
                    at: now,
                    count: marks.len(),
                }
            }
        };
        if let Some(due) = due_at {
            marks.iter_mut().for_each(|mark| mark.due = due);
        }
        let bytes = self
            .maker
            .marked(marks.into_iter(), self.run_id, timestamp)?;
        let value_bytes = self.maker.value_bytes(due.count());
        Ok(Batch {
            target,
            bytes,
            due,
            value_bytes,
        })
    }

    fn take_due(&mut self, now: u64) -> Due {
        let capacity = self.maker.capacity();
        let Some(schedule) = &self.schedule else {
            return Due::Now {
                at: now,
                count: capacity,
            };
        };
        let ready = schedule.due_by(now) - self.next;
        let count = usize::try_from(ready).unwrap_or(usize::MAX).min(capacity);
        let first = self.next;
        self.next += count as u64;
        Due::Scheduled { first, count }
    }

    fn ready(&mut self, now: u64, can_send: impl Fn(usize) -> bool) -> Ready {
        if self.keyed.is_some() {
            return self.ready_keyed(now, can_send);
        }
        if let Some(recording) = &self.recording {
            let Some(next) = recording.front() else {
                return Ready::Never;
            };
            let (due, target) = (self.start + next.after, next.partition % self.targets);
            return match (due <= now, can_send(target)) {
                (false, _) => Ready::At(due),
                (true, true) => Ready::Batch { target },
                (true, false) => Ready::At(u64::MAX),
            };
        }
        let until = match &self.schedule {
            None if now < self.end => now,
            None => return Ready::Never,
            Some(schedule) if self.next == schedule.total() => return Ready::Never,
            Some(schedule) => {
                let capacity = self.maker.capacity() as u64;
                let waits = schedule.due_at(self.next).saturating_add(self.linger);
                // A full batch does not linger, and after the last record there is nothing to wait for.
                let last = (self.next + capacity).min(schedule.total()) - 1;
                waits.min(schedule.due_at(last))
            }
        };
        if until > now {
            return Ready::At(until);
        }
        let targets = (0..self.targets).map(|step| (self.next_target + step) % self.targets);
        match targets.into_iter().find(|&target| can_send(target)) {
            Some(target) => Ready::Batch { target },
            // Whoever asked wakes up when an answer makes room.
            None => Ready::At(u64::MAX),
        }
    }

    fn ready_keyed(&mut self, now: u64, can_send: impl Fn(usize) -> bool) -> Ready {
        self.gather(now);
        let capacity = self.maker.capacity();
        let ended = match &self.schedule {
            None => now >= self.end,
            Some(schedule) => self.next == schedule.total(),
        };
        let Some(keyed) = &self.keyed else {
            return Ready::Never;
        };
        let mut soonest = match &self.schedule {
            Some(schedule) if !ended => schedule.due_at(self.next),
            _ => u64::MAX,
        };
        for &target in &keyed.waiting {
            let marks = &keyed.gathered[target];
            let first = marks.first().map_or(u64::MAX, |mark| mark.due);
            let until = match marks.len() >= capacity || ended {
                true => now,
                false => first.saturating_add(self.linger),
            };
            if until > now {
                soonest = soonest.min(until);
            } else if can_send(target) {
                return Ready::Batch { target };
            }
        }
        match ended && keyed.waiting.is_empty() {
            true => Ready::Never,
            // A full batch that cannot leave holds the others back, as a full buffer does.
            false if soonest <= now => Ready::At(u64::MAX),
            false => Ready::At(soonest),
        }
    }

    /// Gives records that are due to their partitions, until one of those has a full batch.
    fn gather(&mut self, now: u64) {
        let capacity = self.maker.capacity();
        let Some(keyed) = &mut self.keyed else {
            return;
        };
        let due = match &self.schedule {
            Some(schedule) => schedule.due_by(now),
            None if now < self.end => u64::MAX,
            None => 0,
        };
        let is_full = |marks: &Vec<Mark>| marks.len() >= capacity;
        let mut blocked = keyed.gathered.iter().any(is_full);
        while !blocked && self.next < due {
            let (number, target) = keyed.chooser.next();
            let marks = &mut keyed.gathered[target];
            if marks.is_empty() {
                keyed.waiting.push_back(target);
            }
            marks.push(Mark {
                due: self
                    .schedule
                    .as_ref()
                    .map_or(u64::MAX, |schedule| schedule.due_at(self.next)),
                key: Some(number),
            });
            blocked = marks.len() >= capacity;
            self.next += 1;
        }
    }
}

#[cfg(test)]
#[path = "feeder_tests.rs"]
mod tests;
