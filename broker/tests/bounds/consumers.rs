//! Hostile members of groups of the newer protocol: groups that nobody needs, more than a coordinator takes in,
//! regular expressions that take their time, and answers that nobody reads.

use tidewheel_protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use tidewheel_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use crate::case::bounded_on;
use crate::group_beside::others_begin;
use crate::groups::is_closed_for;
use crate::support::consumers::{alive, assigned, heartbeat, join, joining};
use crate::support::{Broker, Client};

/// Members whose bytes are too many: each has a group of its own and long texts.
const INVENTED: usize = 20_000;
const SETTINGS: &[&str] = &[
    "offsets.topic.num.partitions=1",
    "group.initial.rebalance.delay.ms=0",
    "tidewheel.group.state.max.bytes=67108864",
    // Members are heard of when a case is over, however long it takes.
    "group.consumer.max.session.timeout.ms=600000",
    "group.consumer.session.timeout.ms=600000",
];

/// Runs a hostile case beside a group with one member, which sees no error. Afterwards others begin, by both protocols.
fn bounded<T>(hostile: impl FnOnce(&Broker) -> T) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), SETTINGS);
    let mut client = broker.connect();
    client.create_topic("read", 3, &[]);
    client.create_topic("committed", 10, &[]);
    crate::support::groups::find(&mut client, &["well-behaved"]);
    let told = join(&mut client, "well-behaved", "m", &["read"]);
    assert_eq!(assigned(&told).unwrap()[0].1, [0, 1, 2]);
    // It has come back once: its group makes no room for others any more.
    let told = heartbeat(&mut client, &alive("well-behaved", "m", told.member_epoch));
    assert_eq!(told.error_code, 0);
    bounded_on(&broker, |broker| {
        let peers = hostile(broker);
        let told = heartbeat(&mut client, &alive("well-behaved", "m", told.member_epoch));
        assert_eq!(told.error_code, 0);
        others_begin(&mut client, 1);
        let told = heartbeat(&mut client, &joining("new", "m", &["read"]));
        assert_eq!(assigned(&told).unwrap()[0].1, [0, 1, 2]);
        let told = heartbeat(&mut client, &alive("new", "m", told.member_epoch));
        assert_eq!(told.error_code, 0);
        peers
    });
}

fn with_regex(group: &str, regex: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(StrBytes::from(regex)),
        ..joining(group, "m", &[])
    }
}

/// Members that join, each in a group of its own, and are never heard of again.
#[test]
fn members_of_invented_groups_of_the_newer_protocol() {
    bounded(|broker| {
        let mut client = broker.connect();
        let instance = "i".repeat(8_000);
        for number in 0..INVENTED {
            let mut request = joining(&format!("invented-{number}"), "m", &["read"]);
            request.instance_id = Some(StrBytes::from(&*instance));
            // The oldest of them make room: together they would be ten times what all members may hold.
            assert_eq!(heartbeat(&mut client, &request).error_code, 0, "{number}");
        }
        // A member of theirs is told to join again, and may.
        let gone = alive("invented-0", "m", 1);
        let gone = heartbeat(&mut client, &gone).error_code;
        assert_eq!(gone, ErrorCode::UnknownMemberId.code());
        let told = heartbeat(&mut client, &joining("invented-0", "m", &["read"]));
        assert_eq!(assigned(&told).unwrap()[0].1, [0, 1, 2]);
    });
}

/// Members that also say that they are alive: their groups are like any others, until their bytes are too many. Who
/// is known is let in all the same.
#[test]
fn members_of_invented_groups_of_the_newer_protocol_that_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), SETTINGS);
    let mut client = broker.connect();
    client.create_topic("read", 3, &[]);
    crate::support::groups::find(&mut client, &["known"]);
    let known = join(&mut client, "known", "m", &["read"]);
    let told = heartbeat(&mut client, &alive("known", "m", known.member_epoch));
    assert_eq!(told.error_code, 0);
    let instance = "i".repeat(30_000);
    let refused = (0..INVENTED).find_map(|number| {
        let group = format!("invented-{number}");
        let mut request = joining(&group, "m", &["read"]);
        request.instance_id = Some(StrBytes::from(&*instance));
        let told = heartbeat(&mut client, &request);
        if told.error_code != 0 {
            return Some((number, told.error_code));
        }
        let told = heartbeat(&mut client, &alive(&group, "m", told.member_epoch));
        assert_eq!(told.error_code, 0);
        None
    });
    let (number, code) = refused.unwrap();
    assert_eq!(code, ErrorCode::CoordinatorNotAvailable.code());
    assert!((1_000..2_000).contains(&number), "{number}");
    for member in 0..100 {
        let told = heartbeat(
            &mut client,
            &joining("known", &format!("more-{member}"), &["read"]),
        );
        assert_eq!(told.error_code, 0);
    }
}

/// More than a coordinator takes in has an error of its own, or closes the connection before it is decoded.
#[test]
fn heartbeats_of_more_than_a_group_takes() {
    bounded(|broker| {
        let mut client = broker.connect();
        let mut ask = |request: &ConsumerGroupHeartbeatRequest| {
            ErrorCode::from_code(heartbeat(&mut client, request).error_code).unwrap()
        };
        let name = "n".repeat(200);
        let names: Vec<String> = (0..30_000).map(|n| format!("{name}-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(ask(&joining("g", "m", &names)), ErrorCode::InvalidRequest);
        assert_eq!(ask(&joining("g", "m", &names[..10_000])), ErrorCode::None);
        let long = "m".repeat(30_000);
        assert_eq!(ask(&joining("g", &long, &["read"])), ErrorCode::None);
        let owning = |partitions: usize| ConsumerGroupHeartbeatRequest {
            topic_partitions: Some(vec![TopicPartitions {
                partitions: vec![7; partitions],
                ..TopicPartitions::default()
            }]),
            ..alive("g", "m", 1)
        };
        assert_eq!(ask(&owning(500_000)), ErrorCode::FencedMemberEpoch);
        is_closed_for(broker, 1, &owning(1_000_000));
        is_closed_for(broker, 1, &joining("g", "m", &vec![""; 100_000]));
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![StrBytes::from("g"); 100_000],
            ..ConsumerGroupDescribeRequest::default()
        };
        is_closed_for(broker, 1, &request);
    });
}

/// Each is refused for what it would become, or soon compared.
#[test]
fn regular_expressions_that_would_take_long() {
    bounded(|broker| {
        let mut peers: Vec<Client> = (0..8).map(|_| broker.connect()).collect();
        let hostile = [
            ("(.*)*r(.*)*e(.*)*a(.*)*d(.*)*", 0),
            ("(x+x+)+y|read", 0),
            (
                "(a|b)*a(a|b){40}",
                ErrorCode::InvalidRegularExpression.code(),
            ),
            (
                "((a{0,100}){0,100}){0,100}",
                ErrorCode::InvalidRegularExpression.code(),
            ),
        ];
        for round in 0..5 {
            for (regex, code) in hostile {
                let sent: Vec<i32> = (0..peers.len())
                    .map(|peer| {
                        let group = format!("{round}-{peer}-{code}");
                        peers[peer].send(1, &with_regex(&group, regex))
                    })
                    .collect();
                for (peer, sent) in peers.iter_mut().zip(sent) {
                    let answer: ConsumerGroupHeartbeatResponse = peer.receive(1, sent);
                    assert_eq!(answer.error_code, code, "{regex}");
                }
            }
        }
    });
}

/// A group of 5,000 partitions is described to peers that read nothing, and its member comes again and again
/// to be told of all it has, and reads nothing either.
#[test]
fn slow_readers_of_a_group_of_five_thousand_partitions() {
    bounded(|broker| {
        let mut client = broker.connect();
        let topic = "t".repeat(200);
        client.create_topic(&topic, 5_000, &[]);
        let told = join(&mut client, "large", "m", &[&topic]);
        assert_eq!(assigned(&told).unwrap()[0].1.len(), 5_000);
        let describe = ConsumerGroupDescribeRequest {
            group_ids: vec![StrBytes::from("large")],
            ..ConsumerGroupDescribeRequest::default()
        };
        let mut peers: Vec<Client> = (0..80).map(|_| broker.connect_narrow()).collect();
        for (number, peer) in peers.iter_mut().enumerate() {
            for _ in 0..10 {
                match number % 4 {
                    0 => peer.send(1, &joining("large", "m", &[&topic])),
                    _ => peer.send(1, &describe),
                };
            }
        }
        // What one of them asked for is there when it reads at last.
        let answer: ConsumerGroupDescribeResponse = peers[1].receive(1, 1);
        let has = &answer.groups[0].members[0].assignment;
        assert_eq!(has.topic_partitions[0].partitions.len(), 5_000);
        peers
    });
}
