//! How groups get on, told from their last commits, by the rules of Burrow, which many alert on.
//!
//! What is committed is noted when somebody looks, so a group that nobody looks at costs nothing; the first looks
//! know too little and say so.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tidewheel_config::limits;
use utoipa::ToSchema;

/// Commits of an offset that are remembered.
const COMMITS: usize = 10;

/// How a group gets on, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum LagStatus {
    /// It keeps up, or has just done so.
    Ok,
    /// Too few of its commits were seen to tell.
    Unknown,
    /// It reads, but falls behind.
    Warn,
    /// It commits, but always the same offset.
    Stall,
    /// It commits no more, or nobody reads.
    Stop,
    /// It went back.
    Rewind,
}

/// One commit, and how far it was behind when it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The offset of the next record to read.
    pub(crate) offset: i64,
    /// When it was committed, ms since 1970.
    pub(crate) commit_ms: i64,
    /// Unread records.
    pub(crate) lag: u64,
}

/// What the last commits of one offset say. `commits` has the oldest first; `has_members` says whether anybody
/// could read on.
pub(crate) fn status(commits: &VecDeque<Commit>, has_members: bool, now_ms: i64) -> LagStatus {
    let (Some(first), Some(last)) = (commits.front(), commits.back()) else {
        return LagStatus::Unknown;
    };
    if last.lag == 0 {
        return LagStatus::Ok;
    }
    let was_zero = commits.iter().any(|commit| commit.lag == 0);
    if !has_members {
        return LagStatus::Stop;
    }
    if commits.len() < 2 {
        return LagStatus::Unknown;
    }
    let span_ms = last.commit_ms.saturating_sub(first.commit_ms);
    if now_ms.saturating_sub(last.commit_ms) > span_ms && !was_zero {
        return LagStatus::Stop;
    }
    if was_zero {
        return LagStatus::Ok;
    }
    let pairs = || commits.iter().zip(commits.iter().skip(1));
    let highest = commits.iter().map(|commit| commit.offset).max();
    let went_back = pairs().any(|(one, next)| next.offset < one.offset);
    if went_back && highest > Some(last.offset) {
        return LagStatus::Rewind;
    }
    if first.offset == last.offset {
        return LagStatus::Stall;
    }
    if pairs().all(|(one, next)| next.lag >= one.lag) {
        return LagStatus::Warn;
    }
    LagStatus::Ok
}

/// An offset of a group.
type Place = (Arc<str>, i32);

#[derive(Debug, Default)]
struct Watched {
    /// Its place among the groups by the last look at them.
    turn: u64,
    offsets: HashMap<Place, VecDeque<Commit>>,
}

/// The last commits of the groups that somebody looked at lately.
#[derive(Debug, Default)]
pub(crate) struct LagHistory {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    groups: HashMap<Arc<str>, Watched>,
    /// The groups, the one that nobody looked at for longest first.
    turns: BTreeMap<u64, Arc<str>>,
    next_turn: u64,
    /// Offsets of all groups.
    offsets: usize,
}

impl Known {
    fn remove(&mut self, group: &Arc<str>) -> Option<Watched> {
        let watched = self.groups.remove(group)?;
        self.turns.remove(&watched.turn);
        self.offsets -= watched.offsets.len();
        Some(watched)
    }

    /// Makes room for a group that it does not have, and takes it in where it is not too large.
    fn insert(&mut self, group: &Arc<str>, mut watched: Watched) {
        let (more, most) = (watched.offsets.len(), limits::ADMIN_WATCHED_OFFSETS_MAX);
        while self.offsets + more > most
            && let Some((_, oldest)) = self.turns.pop_first()
        {
            let gone = self.groups.remove(&oldest);
            self.offsets -= gone.map_or(0, |gone| gone.offsets.len());
        }
        if more <= most {
            watched.turn = self.next_turn;
            self.next_turn += 1;
            self.offsets += more;
            self.turns.insert(watched.turn, Arc::clone(group));
            self.groups.insert(Arc::clone(group), watched);
        }
    }
}

impl LagHistory {
    /// Notes what a group has committed by now and tells how each offset gets on, in their order. What it no
    /// longer has is forgotten, and so are the groups that nobody looked at for longest where there are too many
    /// offsets; a group with too many is always new.
    pub(crate) fn note(
        &self,
        group: &Arc<str>,
        commits: &[(Place, Commit)],
        has_members: bool,
        now_ms: i64,
    ) -> Vec<LagStatus> {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = all.remove(group).unwrap_or_default();
        let mut watched = Watched {
            turn: 0,
            offsets: HashMap::with_capacity(commits.len()),
        };
        let mut statuses = Vec::with_capacity(commits.len());
        for (place, commit) in commits {
            let mut last = known.offsets.remove(place).unwrap_or_default();
            match last.back_mut() {
                // The same commit, further behind by now.
                Some(back)
                    if (back.offset, back.commit_ms) == (commit.offset, commit.commit_ms) =>
                {
                    *back = *commit;
                }
                _ => last.push_back(*commit),
            }
            if last.len() > COMMITS {
                last.pop_front();
            }
            statuses.push(status(&last, has_members, now_ms));
            watched.offsets.insert(place.clone(), last);
        }
        all.insert(group, watched);
        statuses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits of these offsets and lags, a second after each other from second 1 on.
    fn commits(commits: &[(i64, u64)]) -> VecDeque<Commit> {
        let commits = (1..).zip(commits).map(|(second, &(offset, lag))| Commit {
            offset,
            commit_ms: second * 1_000,
            lag,
        });
        commits.collect()
    }

    #[test]
    fn the_rules_are_those_of_burrow() {
        for (told, now_s, expected) in [
            (&[][..], 1, LagStatus::Unknown),
            (&[(5, 3)], 1, LagStatus::Unknown),
            (&[(5, 0)], 9, LagStatus::Ok),
            (&[(5, 9), (6, 0)], 9, LagStatus::Ok),
            (&[(5, 0), (6, 1), (7, 2)], 4, LagStatus::Ok),
            (&[(5, 0), (6, 1), (7, 2)], 400, LagStatus::Ok),
            (&[(5, 3), (4, 4), (4, 5)], 4, LagStatus::Rewind),
            (&[(5, 3), (4, 4), (6, 2)], 4, LagStatus::Ok),
            (&[(5, 3), (6, 3), (7, 3)], 6, LagStatus::Stop),
            (&[(5, 3), (5, 4), (5, 5)], 4, LagStatus::Stall),
            (&[(5, 3), (6, 3), (7, 4)], 4, LagStatus::Warn),
            (&[(5, 3), (6, 4), (9, 2)], 4, LagStatus::Ok),
        ] {
            let told = commits(told);
            assert_eq!(status(&told, true, now_s * 1_000), expected, "{told:?}");
        }
        assert_eq!(status(&commits(&[(5, 3)]), false, 1), LagStatus::Stop);
        assert_eq!(status(&commits(&[(5, 0)]), false, 1), LagStatus::Ok);
    }

    fn place(partition: i32) -> Place {
        ("t".into(), partition)
    }

    fn commit(offset: i64) -> Commit {
        Commit {
            offset,
            commit_ms: offset,
            lag: 1,
        }
    }

    fn remembered(history: &LagHistory, group: &str) -> usize {
        let known = history.known.lock().unwrap();
        let counted = known.groups.values().map(|watched| watched.offsets.len());
        assert_eq!(counted.sum::<usize>(), known.offsets);
        assert_eq!(known.groups.len(), known.turns.len());
        let watched = known.groups.get(group);
        watched.map_or(0, |watched| {
            watched.offsets.values().map(VecDeque::len).sum()
        })
    }

    #[test]
    fn the_last_commits_are_remembered_each_once() {
        let history = LagHistory::default();
        let group: Arc<str> = "g".into();
        for offset in [1, 1, 2, 2] {
            let told = [(place(0), commit(offset))];
            assert_eq!(history.note(&group, &told, true, 3).len(), 1);
        }
        assert_eq!(remembered(&history, "g"), 2);
        (0..50).for_each(|offset| {
            history.note(&group, &[(place(0), commit(offset))], true, 3);
        });
        assert_eq!(remembered(&history, "g"), COMMITS);
        history.note(&group, &[(place(1), commit(1))], true, 3);
        assert_eq!(
            remembered(&history, "g"),
            1,
            "partition 0 has none any more"
        );
    }

    #[test]
    fn the_group_that_nobody_looked_at_for_longest_is_forgotten_first() {
        let history = LagHistory::default();
        let most = i32::try_from(limits::ADMIN_WATCHED_OFFSETS_MAX).unwrap();
        let told = |count: i32| {
            (0..count)
                .map(|p| (place(p), commit(1)))
                .collect::<Vec<_>>()
        };
        let half = told(most / 2);
        for (now_ms, group) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
            history.note(&group.into(), &half, true, now_ms);
        }
        assert_eq!(
            ["a", "b", "c"].map(|group| remembered(&history, group) > 0),
            [true, false, true]
        );
        history.note(&"d".into(), &told(most + 1), true, 5);
        assert_eq!(remembered(&history, "d"), 0);
    }
}
