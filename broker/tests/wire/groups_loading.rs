//! A start with groups: they are read while clients ask for them already.

use crate::support::Broker;
use crate::support::groups::{codes, commit_request, committed, find, loaded};
use tidewheel_protocol::messages::describe_groups::DescribeGroupsRequest;
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::{ErrorCode, StrBytes};

/// A data directory with a group whose log takes a moment to read: 40 MB.
fn long_history() -> tempfile::TempDir {
    const PARTITIONS: i32 = 500;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", PARTITIONS, &[]);
    find(&mut client, &["g"]);
    let note = "x".repeat(4_000);
    for round in 0..20 {
        let offsets: Vec<_> = (0..PARTITIONS).map(|p| (p, round, &*note)).collect();
        let answer: OffsetCommitResponse = client.call(8, &commit_request("g", "t", &offsets));
        assert!(codes(&answer).iter().all(|code| *code == 0));
    }
    assert!(broker.stop());
    dir
}

/// Who comes while the group is read is refused at once, so nothing that was asked early comes late.
#[test]
fn gotcha_48_commits_that_come_while_groups_are_read_keep_their_order() {
    const COMMITS: i64 = 300;
    let dir = long_history();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let mut next = 1_000;
    loop {
        let sent: Vec<_> = (next..next + COMMITS)
            .map(|offset| client.send(8, &commit_request("g", "t", &[(0, offset, "")])))
            .collect();
        next += COMMITS;
        let answers = sent.into_iter().map(|sent| {
            let answer: OffsetCommitResponse = client.receive(8, sent);
            codes(&answer)[0]
        });
        let answers: Vec<i16> = answers.collect();
        let loading = ErrorCode::CoordinatorLoadInProgress.code();
        let refused = answers.iter().take_while(|code| **code == loading).count();
        assert!(
            answers[refused..].iter().all(|code| *code == 0),
            "{answers:?}"
        );
        if refused < answers.len() {
            break;
        }
    }
    let all = committed(&mut client, "g");
    assert_eq!((all.len(), all[0].2, all[1].2), (500, next - 1, 19));
}

#[test]
fn a_broker_that_is_stopped_while_it_reads_its_groups_stops_cleanly() {
    let dir = long_history();
    let broker = Broker::start(dir.path());
    // What they ask for is weighed when its turn comes, also while the groups are closed.
    let request = DescribeGroupsRequest {
        groups: vec![StrBytes::from("g")],
        ..DescribeGroupsRequest::default()
    };
    let mut clients: Vec<_> = (0..20).map(|_| broker.connect()).collect();
    for client in &mut clients {
        for _ in 0..60 {
            client.send(5, &request);
        }
    }
    broker.terminate();
    assert_eq!(broker.wait(), Some(0));
    let broker = Broker::start(dir.path());
    let all = committed(&mut loaded(&broker), "g");
    assert_eq!((all.len(), all[1].2), (500, 19));
}
