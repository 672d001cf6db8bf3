//! Groups of the newer protocol whose members all want something else: who comes or goes costs what it brings.

use std::sync::Arc;

use tidewheel_config::GroupConfig;
use tidewheel_consumer_groups::request::ConsumerHeartbeatRequest;
use tidewheel_consumer_groups::{GroupLimits, GroupRequest, TopicInfo};
use tidewheel_protocol::Uuid;

use crate::bounds::{consume, consume_result};
use crate::support::Runner;

/// Members, each with as many names of its own.
const MEMBERS: usize = 200;
const NAMES: usize = 50;

/// Topics `made-0`, `made-1` and so on, and what follows from them.
fn topics(count: usize) -> impl Iterator<Item = (Arc<str>, TopicInfo)> {
    (0..count).map(|number| {
        let id = Uuid(u128::try_from(number + 1).unwrap().to_be_bytes());
        let partitions = 1;
        (
            format!("made-{number}").into(),
            TopicInfo { id, partitions },
        )
    })
}

fn runner() -> Runner {
    let mut runner = Runner::new(GroupConfig::default(), GroupLimits::default());
    runner.set_topics(topics(20));
    runner
}

fn request(member_id: &str, epoch: i32) -> ConsumerHeartbeatRequest {
    let GroupRequest::ConsumerHeartbeat(mut request) = consume("g", member_id, "") else {
        unreachable!("it was made as one");
    };
    (request.epoch, request.regex) = (epoch, None);
    request
}

/// Sends a heartbeat and returns the member's epoch and how many names were looked up for it.
fn beat(runner: &mut Runner, request: ConsumerHeartbeatRequest) -> (i32, usize) {
    let before = runner.looks();
    let step = runner.send(GroupRequest::ConsumerHeartbeat(request)).1;
    (consume_result(&step).unwrap(), runner.looks() - before)
}

/// Of what the member names nothing is there but one topic.
fn invented(number: usize) -> ConsumerHeartbeatRequest {
    let mut request = request(&format!("m{number}"), 0);
    let names = (1..NAMES).map(|name| format!("invented-{number}-{name}").into());
    let made = format!("made-{}", number % 20).into();
    request.topics = Some(names.chain([made]).collect());
    request
}

#[test]
fn a_member_that_comes_or_goes_costs_what_it_names_and_not_what_others_do() {
    let mut runner = runner();
    let mut epoch = 0;
    for number in 0..MEMBERS {
        let (told, looks) = beat(&mut runner, invented(number));
        // Once to decide, once to remember it.
        assert!(looks <= 2 * NAMES, "{looks} for member {number}");
        epoch = told;
    }
    let last = format!("m{}", MEMBERS - 1);
    let (_, looks) = beat(&mut runner, request(&last, epoch));
    assert!(looks <= NAMES, "{looks} for what is there now");
    let (_, looks) = beat(&mut runner, request(&last, epoch));
    assert_eq!(looks, 0, "it says nothing new");
    let mut other = invented(MEMBERS);
    (other.member_id, other.epoch) = (last.as_str().into(), epoch);
    let (_, looks) = beat(&mut runner, other);
    assert!(looks <= 3 * NAMES, "{looks} for other names");
    let (_, looks) = beat(&mut runner, request("m0", -1));
    assert!(looks <= 2 * NAMES, "{looks} for one that leaves");

    // Other topics: everything is looked up again, once.
    runner.set_topics(topics(25));
    let (_, looks) = beat(&mut runner, invented(MEMBERS + 1));
    let names = MEMBERS * NAMES;
    assert!((names - NAMES..=names + NAMES).contains(&looks), "{looks}");
    let (_, looks) = beat(&mut runner, invented(MEMBERS + 2));
    assert!(looks <= 2 * NAMES, "{looks}");
}

#[test]
fn members_who_name_the_same_look_it_up_once() {
    let mut runner = runner();
    let same = |number: usize| {
        let mut request = request(&format!("m{number}"), 0);
        request.topics = invented(0).topics;
        request
    };
    beat(&mut runner, same(0));
    let (_, looks) = beat(&mut runner, same(1));
    assert!(looks <= NAMES, "{looks}");
    for number in 2..MEMBERS {
        let (_, looks) = beat(&mut runner, same(number));
        assert_eq!(looks, 0, "for member {number}");
    }
}

#[test]
fn expressions_cost_what_they_stand_for_once() {
    let mut runner = runner();
    for number in 0..MEMBERS {
        let step = runner.send(consume(
            "g",
            &format!("m{number}"),
            &format!("made-.*|{number}"),
        ));
        assert!(consume_result(&step.1).is_ok());
    }
    let before = runner.looks();
    let step = runner.send(consume("g", "last", "made-.*"));
    assert!(consume_result(&step.1).is_ok());
    let looks = runner.looks() - before;
    assert!(looks <= 2 * 20, "{looks}");
}
