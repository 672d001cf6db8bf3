//! Groups that move from one state to another: which scenario shows which of these transitions. The table is in
//! `tests/scenarios/README.md`; `TIDEWHEEL_REGENERATE=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidewheel_consumer_groups::request::ListRequest;
use tidewheel_consumer_groups::{GroupCoordinator, GroupReply, GroupRequest, ReplyToken};

use crate::{consumers, random_histories, scenarios};

/// From which state, by what, to which.
pub(crate) type Transition = [String; 3];

/// The state of a group that is not there.
const NONE: &str = "none";
/// Above the rows of the table.
const HEAD: &str = "| from | by | to | shown by |\n|---|---|---|---|\n";

/// What groups went through.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    states: BTreeMap<Arc<str>, String>,
    pub(crate) seen: BTreeSet<Transition>,
}

impl Watch {
    /// Looks at the groups after a step; `by` is what it was.
    pub(crate) fn look(&mut self, coordinator: &mut GroupCoordinator, by: &str, now_ms: i64) {
        let all = ListRequest {
            states: Vec::new(),
            types: Vec::new(),
        };
        let listed = coordinator.handle(GroupRequest::List(all), ReplyToken(u64::MAX), now_ms);
        let [(_, GroupReply::List(groups))] = &listed.replies[..] else {
            panic!("{listed:?}");
        };
        let states = groups.iter().map(|group| {
            let state = format!("{} {}", group.group_type, group.state);
            (Arc::clone(&group.group_id), state)
        });
        let states: BTreeMap<Arc<str>, String> = states.collect();
        for group_id in self.states.keys().chain(states.keys()) {
            let state = |states: &BTreeMap<Arc<str>, String>| {
                let state = states.get(group_id);
                state.map_or(NONE.to_owned(), String::clone)
            };
            let (from, to) = (state(&self.states), state(&states));
            if from != to {
                self.seen.insert([from, by.to_owned(), to]);
            }
        }
        self.states = states;
    }
}

/// What moves a group, as the table names it.
pub(crate) fn cause(request: &GroupRequest) -> &'static str {
    match request {
        GroupRequest::Join(_) => "JoinGroup",
        GroupRequest::Sync(_) => "SyncGroup",
        GroupRequest::Heartbeat(_) => "Heartbeat",
        GroupRequest::Leave(_) => "LeaveGroup",
        GroupRequest::ConsumerHeartbeat(request) => match request.epoch {
            0 => "ConsumerGroupHeartbeat, joins",
            -1 => "ConsumerGroupHeartbeat, leaves",
            -2 => "ConsumerGroupHeartbeat, leaves for now",
            _ => "ConsumerGroupHeartbeat",
        },
        GroupRequest::CommitOffsets(_) => "OffsetCommit",
        GroupRequest::DeleteGroup(_) => "DeleteGroups",
        GroupRequest::DeleteOffsets(_) => "OffsetDelete",
        GroupRequest::TopicsDeleted(_) => "topics are deleted",
        GroupRequest::DescribeConsumerGroup(_)
        | GroupRequest::FetchOffsets(_)
        | GroupRequest::Describe(_)
        | GroupRequest::List(_) => "a question",
    }
}

fn rows(shown: &BTreeMap<Transition, BTreeSet<String>>) -> String {
    let mut rows = HEAD.to_owned();
    for ([from, by, to], files) in shown {
        let files: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
        writeln!(rows, "| {from} | {by} | {to} | {} |", files.join(", ")).unwrap();
    }
    rows
}

#[test]
fn the_table_says_which_scenarios_show_which_transition() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/README.md");
    let page = fs::read_to_string(&path).unwrap();
    let (above, table) = page.split_once(HEAD).unwrap();
    let now = rows(&scenarios::transitions());
    if std::env::var_os("TIDEWHEEL_REGENERATE").is_some() {
        fs::write(&path, format!("{above}{now}")).unwrap();
    } else {
        let table = format!("{HEAD}{table}");
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let (said, shown) = (lines(&table), lines(&now));
        let wrong: Vec<_> = said.difference(&shown).collect();
        let missing: Vec<_> = shown.difference(&said).collect();
        assert!(
            wrong.is_empty() && missing.is_empty(),
            "not shown as the table says: {wrong:#?}\nnot in the table: {missing:#?}"
        );
    }
}

/// Whatever random members get groups to do, in both protocols, a scenario shows it.
#[test]
fn every_transition_that_random_histories_find_has_a_scenario() {
    let shown = scenarios::transitions();
    let classic = random_histories::transitions();
    let newer = consumers::transitions();
    assert!(classic.len() > 20 && newer.len() > 20);
    let found: BTreeSet<_> = classic.union(&newer).collect();
    let missing: Vec<_> = found
        .into_iter()
        .filter(|&one| !shown.contains_key(one))
        .collect();
    assert!(missing.is_empty(), "no scenario shows {missing:#?}");
}
