//! How groups get on, told from their last commits, by the rules of Burrow, which many alert on
//! (`calculatePartitionStatus` in its `core/internal/evaluator/caching.go`).

use serde::Serialize;
use utoipa::ToSchema;

use crate::groups::{Commit, Progress, RECENT_MS};

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

/// How an offset gets on that is `behind` by so many records: what its last commits say. `has_members` says whether
/// anybody could read on, which is asked where there are too few commits only.
pub(crate) fn status(
    progress: Option<&Progress>,
    behind: u64,
    has_members: bool,
    now_ms: i64,
) -> LagStatus {
    if behind == 0 {
        return LagStatus::Ok;
    }
    let nothing = Progress::default();
    let progress = progress.unwrap_or(&nothing);
    let commits = progress.commits();
    let since = |at_ms| now_ms.saturating_sub(at_ms);
    let had_read_all = progress.was_all_read_since(since(RECENT_MS));
    let (first, last) = match (commits.front(), commits.back()) {
        (Some(first), Some(last)) if commits.len() > 1 => (first, last),
        _ if had_read_all => return LagStatus::Ok,
        (_, Some(last)) if since(last.at_ms) > RECENT_MS => return LagStatus::Stop,
        _ if has_members => return LagStatus::Unknown,
        _ => return LagStatus::Stop,
    };
    // Also where everything was read at one of the commits: they may be old.
    let span_ms = last.at_ms.saturating_sub(first.at_ms);
    if since(last.at_ms) > span_ms && !had_read_all {
        return LagStatus::Stop;
    }
    // Before a look at lags: who had read everything goes back most often.
    if has_gone_back(commits.iter()) {
        return LagStatus::Rewind;
    }
    if commits.iter().any(|commit| commit.lag == 0) {
        return LagStatus::Ok;
    }
    if commits.iter().all(|commit| commit.offset == first.offset) {
        return LagStatus::Stall;
    }
    let mut pairs = commits.iter().zip(commits.iter().skip(1));
    match pairs.all(|(one, next)| next.lag >= one.lag) {
        true => LagStatus::Warn,
        false => LagStatus::Ok,
    }
}

/// Whether an offset was followed by a lower one, and by none since that is as high again.
fn has_gone_back<'a>(commits: impl Iterator<Item = &'a Commit> + Clone) -> bool {
    let offsets = commits.map(|commit| commit.offset);
    let mut pairs = offsets.clone().zip(offsets.clone().skip(1)).zip(1..);
    let back = pairs.find(|((one, next), _)| next < one);
    back.is_some_and(|((before, _), at)| offsets.skip(at).all(|offset| offset < before))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits of these offsets and lags, ten seconds after each other from second 10 on.
    fn progress(told: &[(i64, u64)]) -> Progress {
        let mut progress = Progress::default();
        for (at, &(offset, lag)) in (1..).zip(told) {
            let at_ms = at * 10_000;
            progress.add(Commit { offset, at_ms, lag });
        }
        progress
    }

    fn told(told: &[(i64, u64)], behind: u64, now_s: i64) -> LagStatus {
        status(Some(&progress(told)), behind, true, now_s * 1_000)
    }

    #[test]
    fn the_rules_are_those_of_burrow() {
        for (commits, behind, now_s, expected) in [
            (&[(5, 9), (6, 9), (7, 9)][..], 0, 900, LagStatus::Ok),
            (&[(5, 0), (6, 1), (7, 2)], 2, 40, LagStatus::Ok),
            // It kept up, and hangs.
            (&[(5, 0), (6, 0), (7, 0)], 2, 130, LagStatus::Ok),
            (&[(5, 0), (6, 0), (7, 0)], 2, 131, LagStatus::Stop),
            (&[(5, 0), (6, 1), (7, 2)], 2, 400, LagStatus::Stop),
            (&[(5, 3), (6, 3), (7, 3)], 3, 50, LagStatus::Warn),
            (&[(5, 3), (6, 3), (7, 3)], 3, 51, LagStatus::Stop),
            // It kept up, and went back: only if it also stops that is worse.
            (&[(50, 0), (60, 0), (0, 60)], 60, 40, LagStatus::Rewind),
            (&[(50, 0), (60, 0), (0, 60)], 60, 400, LagStatus::Stop),
            (&[(5, 3), (4, 4), (4, 5)], 5, 40, LagStatus::Rewind),
            (&[(5, 3), (4, 4), (6, 2)], 2, 40, LagStatus::Ok),
            (&[(5, 3), (4, 4), (5, 3), (4, 4)], 4, 50, LagStatus::Ok),
            (&[(5, 3), (5, 4), (5, 5)], 5, 40, LagStatus::Stall),
            (&[(5, 3), (5, 0), (5, 5)], 5, 40, LagStatus::Ok),
            (&[(5, 3), (6, 3), (7, 4)], 4, 40, LagStatus::Warn),
            (&[(5, 3), (6, 4), (9, 2)], 2, 40, LagStatus::Ok),
        ] {
            let status = told(commits, behind, now_s);
            assert_eq!(status, expected, "{commits:?} {now_s}");
        }
    }

    #[test]
    fn of_one_commit_only_time_and_members_tell() {
        for (commits, now_s, has_members, expected) in [
            (&[][..], 10, true, LagStatus::Unknown),
            (&[], 10, false, LagStatus::Stop),
            (&[(5, 3)], 10, true, LagStatus::Unknown),
            (&[(5, 3)], 110, true, LagStatus::Unknown),
            (&[(5, 3)], 111, true, LagStatus::Stop),
            (&[(5, 3)], 10, false, LagStatus::Stop),
            (&[(5, 0)], 110, false, LagStatus::Ok),
            (&[(5, 0)], 111, false, LagStatus::Stop),
        ] {
            let known = progress(commits);
            let status = status(Some(&known), 3, has_members, now_s * 1_000);
            assert_eq!(status, expected, "{commits:?} {now_s} {has_members}");
        }
        assert_eq!(status(None, 3, true, 1), LagStatus::Unknown);
        assert_eq!(status(None, 0, true, 1), LagStatus::Ok);
    }
}
