//! The last commits of groups, noted when they happen: what tells how a group gets on, whoever looks and when.
//!
//! The rules are those of Burrow, which looks at the ends of partitions now and then and reads all commits; so do we.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_consumer_groups::OffsetsRecord;

use crate::broker::Broker;
use crate::topics::TopicsSnapshot;

/// Commits of an offset that are remembered: Burrow's `intervals`.
const COMMITS: usize = 10;
/// A commit that follows another one faster takes its place, so that a client which commits each record does not
/// make ten commits of a moment: `min-distance` of Burrow's example.
const CLOSEST_MS: i64 = 1_000;
/// How often the ends of partitions are looked at: Burrow's `offset-refresh`.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Who had read everything so long ago, or later, is not told to have stopped: as many looks as Burrow remembers.
pub(crate) const RECENT_MS: i64 = 100_000;

/// A commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The offset of the next record to read.
    pub(crate) offset: i64,
    /// When it was noted, ms since 1970.
    pub(crate) at_ms: i64,
    /// Unread records at that time.
    pub(crate) lag: u64,
}

/// How an offset of a group went on lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The oldest first.
    commits: VecDeque<Commit>,
    /// When the last commit was last seen at the end of the partition.
    all_read_ms: Option<i64>,
}

impl Progress {
    /// The last commits, the oldest first.
    pub(crate) fn commits(&self) -> &VecDeque<Commit> {
        &self.commits
    }

    /// Whether everything was read at that time or later.
    pub(crate) fn was_all_read_since(&self, since_ms: i64) -> bool {
        self.all_read_ms.is_some_and(|at_ms| at_ms >= since_ms)
    }

    pub(crate) fn add(&mut self, commit: Commit) {
        let last = self.commits.back().copied();
        // Of a clock that was set back nothing can be told.
        if last.is_some_and(|last| commit.at_ms < last.at_ms) {
            *self = Self::default();
        }
        if last.is_some_and(|last| commit.offset < last.offset) {
            // What was the end to the one before lies ahead of this one.
            self.all_read_ms = None;
        }
        if commit.lag == 0 {
            self.all_read_ms = Some(commit.at_ms);
        }
        match self.commits.back_mut() {
            Some(last) if commit.at_ms.saturating_sub(last.at_ms) < CLOSEST_MS => {
                let at_ms = last.at_ms;
                *last = Commit { at_ms, ..commit };
            }
            _ => self.push(commit),
        }
    }

    fn push(&mut self, commit: Commit) {
        if self.commits.len() == COMMITS {
            self.commits.pop_front();
        }
        if self.commits.len() == self.commits.capacity() {
            // Not twice as many each time: there may be very many of these.
            self.commits.reserve_exact(COMMITS / 2);
        }
        self.commits.push_back(commit);
    }

    /// The end of the partition is there now.
    fn sees_end(&mut self, end: i64, now_ms: i64) {
        if self.commits.back().is_some_and(|last| end <= last.offset) {
            self.all_read_ms = Some(now_ms);
        }
    }
}

/// An offset of a group.
type Place = (Arc<str>, i32);

/// What is known of one group.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Its place among the groups by their last commits.
    turn: u64,
    offsets: HashMap<Place, Progress>,
}

impl Remembered {
    /// How one of its offsets went on; nothing where that is not known.
    pub(crate) fn progress(&self, topic: &Arc<str>, partition: i32) -> Option<&Progress> {
        self.offsets.get(&(Arc::clone(topic), partition))
    }
}

/// The last commits of all groups, or of those that committed last where there are too many offsets.
#[derive(Debug, Default)]
pub(crate) struct CommitHistory {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    groups: HashMap<Arc<str>, Remembered>,
    /// The groups, the one that committed nothing for longest first.
    turns: BTreeMap<u64, Arc<str>>,
    next_turn: u64,
    /// Offsets of all groups.
    offsets: usize,
}

impl Known {
    /// A group, which comes last among those that are forgotten.
    fn touched(&mut self, group: &Arc<str>) -> &mut Remembered {
        let remembered = self.groups.entry(Arc::clone(group)).or_default();
        let is_last = self.turns.last_key_value().map(|(turn, _)| *turn) == Some(remembered.turn);
        if !is_last || remembered.offsets.is_empty() {
            if !remembered.offsets.is_empty() {
                self.turns.remove(&remembered.turn);
            }
            remembered.turn = self.next_turn;
            self.turns.insert(self.next_turn, Arc::clone(group));
            self.next_turn += 1;
        }
        remembered
    }

    fn remove(&mut self, group: &str) {
        if let Some(remembered) = self.groups.remove(group) {
            self.turns.remove(&remembered.turn);
            self.offsets -= remembered.offsets.len();
        }
    }

    fn make_room(&mut self) {
        while self.offsets > limits::GROUP_WATCHED_OFFSETS_MAX
            && let Some((_, oldest)) = self.turns.first_key_value()
        {
            let oldest = Arc::clone(oldest);
            self.remove(&oldest);
        }
    }
}

impl CommitHistory {
    /// Notes what a record of `__consumer_offsets` says that was appended just now.
    pub(super) fn note_record(&self, record: &OffsetsRecord, topics: &TopicsSnapshot, now_ms: i64) {
        let OffsetsRecord::OffsetCommit { key, value } = record else {
            return;
        };
        let place = (&key.topic, key.partition);
        match value {
            Some(value) => self.note(&key.group_id, place, value.offset, topics, now_ms),
            None => self.forget(&key.group_id, place),
        }
    }

    /// Notes a commit. Where there are too many offsets, those groups are forgotten that committed nothing for
    /// longest; a group with too many is always new.
    pub(super) fn note(
        &self,
        group: &Arc<str>,
        (topic, partition): (&Arc<str>, i32),
        offset: i64,
        topics: &TopicsSnapshot,
        now_ms: i64,
    ) {
        let Some(end) = end_of(topics, topic, partition) else {
            return;
        };
        let commit = Commit {
            offset,
            at_ms: now_ms,
            lag: u64::try_from(end.saturating_sub(offset)).unwrap_or(0),
        };
        self.add(group, (Arc::clone(topic), partition), commit);
    }

    fn add(&self, group: &Arc<str>, place: Place, commit: Commit) {
        let mut known = self.lock();
        let remembered = known.touched(group);
        let before = remembered.offsets.len();
        remembered.offsets.entry(place).or_default().add(commit);
        let more = remembered.offsets.len() - before;
        known.offsets += more;
        known.make_room();
    }

    fn forget(&self, group: &Arc<str>, (topic, partition): (&Arc<str>, i32)) {
        let mut known = self.lock();
        let Some(remembered) = known.groups.get_mut(group) else {
            return;
        };
        let place = (Arc::clone(topic), partition);
        let is_gone = remembered.offsets.remove(&place).is_some();
        let is_empty = remembered.offsets.is_empty();
        known.offsets -= usize::from(is_gone);
        if is_empty {
            known.remove(group);
        }
    }

    /// Looks at what is known of a group.
    pub(crate) fn look<T>(&self, group: &str, look: impl FnOnce(Option<&Remembered>) -> T) -> T {
        look(self.lock().groups.get(group))
    }

    /// Notes who of a group has read everything now.
    fn see_ends(&self, group: &str, topics: &TopicsSnapshot, now_ms: i64) {
        let mut known = self.lock();
        let Some(remembered) = known.groups.get_mut(group) else {
            return;
        };
        for ((topic, partition), progress) in &mut remembered.offsets {
            if let Some(end) = end_of(topics, topic, *partition) {
                progress.sees_end(end, now_ms);
            }
        }
    }

    fn groups(&self) -> Vec<Arc<str>> {
        self.lock().groups.keys().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The offset after the last record that consumers see.
fn end_of(topics: &TopicsSnapshot, topic: &str, partition: i32) -> Option<i64> {
    let partition = topics.named(topic)?.partition(partition)?;
    Some(partition.log().offsets().high_watermark)
}

/// Notes now and then who has read everything, as long as there is a broker.
pub(super) async fn look_at_ends(broker: Weak<Broker>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(broker) = broker.upgrade() else {
            return;
        };
        let history = broker.groups().history();
        for group in history.groups() {
            history.see_ends(&group, &broker.topics(), broker.clock().now_ms());
            // Others of this thread have their turn.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::find_groups;
    use crate::testing;

    fn commit(offset: i64, second: i64, lag: u64) -> Commit {
        let at_ms = second * 1_000;
        Commit { offset, at_ms, lag }
    }

    fn remembered(history: &CommitHistory, group: &str) -> usize {
        let known = history.lock();
        let counted = known.groups.values().map(|group| group.offsets.len());
        assert_eq!(counted.sum::<usize>(), known.offsets);
        assert_eq!(known.groups.len(), known.turns.len());
        let remembered = known.groups.get(group);
        remembered.map_or(0, |remembered| remembered.offsets.len())
    }

    #[test]
    fn the_last_commits_are_remembered_and_those_of_a_moment_are_one() {
        let mut progress = Progress::default();
        for offset in 0..50 {
            progress.add(commit(offset, offset, 1));
            progress.add(Commit {
                at_ms: offset * 1_000 + 999,
                ..commit(offset + 1, 0, 1)
            });
        }
        assert_eq!(progress.commits().len(), COMMITS);
        assert_eq!(progress.commits().capacity(), COMMITS);
        assert_eq!(progress.commits().front(), Some(&commit(41, 40, 1)));
        assert_eq!(progress.commits().back(), Some(&commit(50, 49, 1)));
        progress.add(commit(60, 10, 2));
        let only = [commit(60, 10, 2)];
        assert_eq!(progress.commits(), &only, "the clock was set back");
    }

    #[test]
    fn the_end_is_that_of_the_last_commit() {
        let mut progress = Progress::default();
        progress.add(commit(5, 1, 0));
        assert!(progress.was_all_read_since(1_000) && !progress.was_all_read_since(1_001));
        progress.add(commit(7, 3, 2));
        assert!(progress.was_all_read_since(1_000), "it was at the end then");
        progress.sees_end(8, 4_000);
        assert!(!progress.was_all_read_since(1_001));
        progress.sees_end(7, 5_000);
        assert!(progress.was_all_read_since(5_000));
        progress.add(commit(6, 7, 1));
        assert!(!progress.was_all_read_since(0), "it went back");
    }

    #[test]
    fn the_group_that_committed_nothing_for_longest_is_forgotten_first() {
        let history = CommitHistory::default();
        let most = i32::try_from(limits::GROUP_WATCHED_OFFSETS_MAX).unwrap();
        let topic: Arc<str> = "t".into();
        let add = |group: &str, partitions: i32| {
            for partition in 0..partitions {
                let place = (Arc::clone(&topic), partition);
                history.add(&group.into(), place, commit(1, 1, 1));
            }
        };
        add("a", most / 2);
        add("b", most / 2);
        add("a", 1);
        add("c", most / 2);
        let counts = ["a", "b", "c"].map(|group| remembered(&history, group));
        let half = limits::GROUP_WATCHED_OFFSETS_MAX / 2;
        assert_eq!(counts, [half, 0, half]);
        history.forget(&"a".into(), (&topic, 0));
        history.forget(&"a".into(), (&topic, 0));
        history.forget(&"b".into(), (&topic, 0));
        assert_eq!(remembered(&history, "a"), half - 1);
        add("d", most + 1);
        assert_eq!(
            remembered(&history, "d"),
            0,
            "with too many it is always new"
        );
        add("d", 1);
        history.forget(&"d".into(), (&topic, 0));
        assert_eq!(remembered(&history, "d"), 0);
        assert!(history.groups().is_empty());
    }

    #[tokio::test]
    async fn commits_are_noted_when_they_happen_and_ends_when_they_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let broker = testing::broker(dir.path(), &["offsets.topic.num.partitions=1"]);
        testing::create_topic(&broker, "t", 1).await;
        testing::written(&broker, "t", b"one");
        find_groups(&broker).await.unwrap();
        testing::commit(&broker, "g", "t", &[1]);
        let history = broker.groups().history();
        let topic: Arc<str> = "t".into();
        let seen = |since_ms| {
            history.look("g", |known| {
                let progress = known?.progress(&topic, 0)?;
                let commit = progress.commits().back()?;
                let is_read = progress.was_all_read_since(since_ms);
                Some((commit.offset, commit.lag, is_read))
            })
        };
        assert_eq!(seen(0), Some((1, 0, true)));
        let later_ms = i64::MAX / 2;
        history.see_ends("g", &broker.topics(), later_ms);
        assert_eq!(seen(later_ms), Some((1, 0, true)));
        testing::written(&broker, "t", b"two");
        history.see_ends("g", &broker.topics(), later_ms + 1);
        assert_eq!(seen(later_ms + 1), Some((1, 0, false)));
    }
}
