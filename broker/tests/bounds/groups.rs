//! Hostile members and committers: groups that nobody needs, more than a coordinator takes in, and answers
//! that nobody reads.

use bytes::Bytes;
use tidewheel_protocol::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use tidewheel_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse,
};
use tidewheel_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use tidewheel_protocol::messages::list_groups::ListGroupsRequest;
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use tidewheel_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use tidewheel_protocol::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use tidewheel_protocol::{ErrorCode, Message, StrBytes};

use crate::case::bounded_on;
use crate::group_beside::{SETTINGS, WellBehaved, bounded, bounded_alone};
use crate::support::{Broker, Client, eventually};

/// Group names that nobody comes back with: more than a broker keeps member ids for, some 12,000.
const INVENTED: usize = if cfg!(debug_assertions) {
    30_000
} else {
    100_000
};
pub(crate) fn join(group: &str, metadata: usize) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: StrBytes::from(group),
        session_timeout_ms: 1_800_000,
        rebalance_timeout_ms: i32::MAX,
        protocol_type: StrBytes::from("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: StrBytes::from("range"),
            metadata: Bytes::from(vec![b'm'; metadata]),
        }],
        ..JoinGroupRequest::default()
    }
}

pub(crate) fn sync(
    group: &str,
    member: &JoinGroupResponse,
    assignments: Vec<SyncGroupRequestAssignment>,
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: StrBytes::from(group),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        assignments,
        ..SyncGroupRequest::default()
    }
}

/// Ten offsets with metadata of this length.
pub(crate) fn commit(group: &str, metadata: usize) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_metadata: Some(StrBytes::from("m".repeat(metadata))),
        ..OffsetCommitRequestPartition::default()
    };
    OffsetCommitRequest {
        group_id: StrBytes::from(group),
        topics: vec![OffsetCommitRequestTopic {
            name: StrBytes::from("committed"),
            partitions: (0..10).map(partition).collect(),
        }],
        ..OffsetCommitRequest::default()
    }
}

/// What is told of the first of them.
pub(crate) fn committed(client: &mut Client, request: &OffsetCommitRequest) -> i16 {
    let answer: OffsetCommitResponse = client.call(8, request);
    answer.topics[0].partitions[0].error_code
}

fn fetch(group: &str, partitions: Option<usize>) -> OffsetFetchRequest {
    OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: StrBytes::from(group),
            topics: partitions.map(|count| {
                vec![OffsetFetchRequestTopics {
                    name: StrBytes::from("committed"),
                    partition_indexes: vec![3; count],
                }]
            }),
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    }
}

fn describe(group: &str, times: usize) -> DescribeGroupsRequest {
    DescribeGroupsRequest {
        groups: vec![StrBytes::from(group); times],
        ..DescribeGroupsRequest::default()
    }
}

fn delete(group: &str, partitions: &[i32]) -> OffsetDeleteRequest {
    let named = |&partition_index| OffsetDeleteRequestPartition { partition_index };
    OffsetDeleteRequest {
        group_id: StrBytes::from(group),
        topics: vec![OffsetDeleteRequestTopic {
            name: StrBytes::from("committed"),
            partitions: partitions.iter().map(named).collect(),
        }],
    }
}

/// The partitions of one topic of which it is told that they have no offset any more.
fn deleted(answer: &OffsetDeleteResponse) -> Vec<i32> {
    assert_eq!((answer.error_code, answer.topics.len()), (0, 1));
    let partitions = &answer.topics[0].partitions;
    assert!(partitions.iter().all(|told| told.error_code == 0));
    partitions.iter().map(|told| told.partition_index).collect()
}

pub(crate) fn is_closed_for<Q: Message>(broker: &Broker, version: i16, request: &Q) {
    let mut peer = broker.connect();
    // Where it is closed before all is sent, too.
    if peer.try_send(version, request) {
        assert!(peer.is_closed_by_broker());
    }
}

/// Joins [`INVENTED`] groups, each in steps with requests of this version: a step makes the next request out of what
/// was answered, none after the last.
fn invented(
    broker: &Broker,
    version: i16,
    next: impl Fn(JoinGroupRequest, &JoinGroupResponse) -> Option<JoinGroupRequest>,
) -> Vec<Client> {
    let mut peers: Vec<Client> = (0..8).map(|_| broker.connect()).collect();
    for first in (0..INVENTED).step_by(peers.len()) {
        let requests =
            (first..first + peers.len()).map(|number| join(&format!("invented-{number}"), 10));
        let mut requests: Vec<JoinGroupRequest> = requests.collect();
        while !requests.is_empty() {
            let pairs = peers.iter_mut().zip(&requests);
            let sent: Vec<i32> = pairs
                .map(|(peer, request)| peer.send(version, request))
                .collect();
            let answers = peers.iter_mut().zip(sent);
            let answers: Vec<JoinGroupResponse> = answers
                .map(|(peer, sent)| peer.receive(version, sent))
                .collect();
            let answered = requests.into_iter().zip(&answers);
            requests = answered
                .filter_map(|(request, answer)| next(request, answer))
                .collect();
        }
    }
    peers
}

/// Members that ask for an id in a group of their own and never come back, and members that never sync.
#[test]
fn joins_with_invented_group_names() {
    bounded(|broker| {
        let mut peers = invented(broker, 4, |_, answer| {
            assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code());
            None
        });
        for number in 0..1_000 {
            let group = format!("never-syncs-{number}");
            let joined: JoinGroupResponse = peers[0].call(3, &join(&group, 1_000));
            assert_eq!(joined.error_code, 0);
        }
        peers
    });
}

/// Members of old clients, which join at once, each in a group of its own, and never sync.
#[test]
fn members_of_invented_groups_that_join_at_once() {
    bounded(|broker| {
        invented(broker, 3, |_, answer| {
            assert_eq!(answer.error_code, 0);
            None
        })
    });
}

/// Members that come back with the id they were given, each in a group of its own, and never sync.
#[test]
fn members_of_invented_groups_that_join_in_two_steps() {
    bounded(|broker| {
        invented(broker, 4, |mut request, answer| {
            if !request.member_id.is_empty() {
                assert_eq!(answer.error_code, 0);
                return None;
            }
            assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code());
            request.member_id = answer.member_id.clone();
            Some(request)
        })
    });
}

/// Consumers without a group that commit, each under a name of its own, and members that join, commit and leave: their
/// offsets stay. They find no room long before those who are there do.
#[test]
fn offsets_of_invented_groups() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), SETTINGS);
    let mut group = WellBehaved::new(&broker);
    group.gets_on();
    bounded_on(&broker, |broker| {
        let mut client = broker.connect();
        let refused = (0..INVENTED).find_map(|number| {
            let name = format!("invented-{number}");
            let mut request = commit(&name, 10);
            if number % 2 == 0 {
                let joined: JoinGroupResponse = client.call(3, &join(&name, 10));
                if joined.error_code != 0 {
                    return Some((number, joined.error_code));
                }
                request.generation_id_or_member_epoch = joined.generation_id;
                request.member_id = joined.member_id.clone();
                let synced: SyncGroupResponse = client.call(3, &sync(&name, &joined, vec![]));
                assert_eq!(synced.error_code, 0);
            }
            match committed(&mut client, &request) {
                0 => None,
                code => Some((number, code)),
            }
        });
        let (number, code) = refused.unwrap();
        assert_eq!(code, ErrorCode::CoordinatorNotAvailable.code());
        assert!(number > 5_000, "{number}");
        for longer in 1..100 {
            group.is_alive(10 * longer);
        }
    });
}

/// Members that wait for others which never come, with a request behind the one that waits: their connections
/// come back when they hang up.
#[test]
fn members_that_wait_for_ever_and_hang_up() {
    bounded(|broker| {
        let mut client = broker.connect();
        for number in 0..20 {
            let group = format!("waits-{number}");
            let joined: JoinGroupResponse = client.call(3, &join(&group, 10));
            assert_eq!(joined.error_code, 0);
            let mut waiting = broker.connect();
            waiting.send(3, &join(&group, 10));
            waiting.send(4, &describe(&group, 1));
            eventually("it waits", || {
                let answer: DescribeGroupsResponse = client.call(4, &describe(&group, 1));
                &*answer.groups[0].group_state == "PreparingRebalance"
            });
        }
    });
}

/// More than a coordinator takes in has an error of its own, or closes the connection before it is decoded.
#[test]
fn joins_syncs_and_commits_of_more_than_a_group_takes() {
    bounded(|broker| {
        let mut client = broker.connect();
        let too_much: JoinGroupResponse = client.call(3, &join("large", 5 << 20));
        assert_eq!(too_much.error_code, ErrorCode::InvalidRequest.code());
        let leader: JoinGroupResponse = client.call(3, &join("large", 1 << 20));
        assert_eq!(leader.error_code, 0);
        let given = |bytes: usize| SyncGroupRequestAssignment {
            member_id: leader.member_id.clone(),
            assignment: Bytes::from(vec![b'a'; bytes]),
        };
        let request = sync("large", &leader, vec![given(17 << 20)]);
        let answer: SyncGroupResponse = client.call(3, &request);
        assert_eq!(answer.error_code, ErrorCode::UnknownServerError.code());
        let request = sync("large", &leader, vec![given(14 << 20)]);
        let answer: SyncGroupResponse = client.call(3, &request);
        assert_eq!((answer.error_code, answer.assignment.len()), (0, 14 << 20));

        let code = committed(&mut client, &commit("texts", 5_000));
        assert_eq!(code, ErrorCode::OffsetMetadataTooLarge.code());

        is_closed_for(broker, 3, &sync("large", &leader, vec![given(0); 100_000]));
        let mut request = join("large", 0);
        request.protocols = vec![request.protocols[0].clone(); 100_000];
        is_closed_for(broker, 3, &request);
        let mut request = commit("texts", 0);
        let entry = request.topics[0].partitions[0].clone();
        request.topics[0].partitions = vec![entry; 100_000];
        is_closed_for(broker, 8, &request);
    });
}

/// One group that holds all the memory that one may have.
#[test]
fn a_group_as_large_as_one_may_be() {
    const BYTES: usize = (4 << 20) - 500;
    bounded(|broker| {
        let mut client = broker.connect();
        let mut peers: Vec<Client> = (0..6).map(|_| broker.connect()).collect();
        let first: JoinGroupResponse = peers[0].call(3, &join("greedy", 10));
        assert_eq!(first.error_code, 0);
        let own: SyncGroupResponse = peers[0].call(3, &sync("greedy", &first, vec![]));
        assert_eq!(own.error_code, 0);
        for (members, peer) in (2..).zip(&mut peers[1..]) {
            peer.send(3, &join("greedy", BYTES));
            eventually("it waits for the first one", || {
                let answer: DescribeGroupsResponse = client.call(4, &describe("greedy", 1));
                answer.groups[0].members.len() == members
            });
        }
        let refused: JoinGroupResponse = client.call(3, &join("greedy", BYTES));
        let expected = ErrorCode::GroupMaxSizeReached.code();
        assert_eq!(refused.error_code, expected);
        // Who is in the group commits, and is asked to try again where it brings more.
        let mut request = commit("greedy", 1_000);
        request.generation_id_or_member_epoch = first.generation_id;
        request.member_id = first.member_id.clone();
        assert_eq!(committed(&mut client, &request), 0);
        let mut larger = join("greedy", BYTES);
        larger.member_id = first.member_id;
        let refused: JoinGroupResponse = client.call(3, &larger);
        let expected = ErrorCode::CoordinatorNotAvailable.code();
        assert_eq!(refused.error_code, expected);
        peers
    });
}

/// Short names a hundred thousand times: answered once, or not at all.
#[test]
fn huge_lists_of_groups_and_partitions() {
    bounded_alone(|broker| {
        let mut client = broker.connect();
        assert_eq!(committed(&mut client, &commit("texts", 4_000)), 0);
        let answer: OffsetFetchResponse = client.call(8, &fetch("texts", Some(250_000)));
        assert_eq!(answer.groups[0].topics[0].partitions.len(), 1);
        is_closed_for(broker, 8, &fetch("texts", Some(300_000)));
        let before = end_of_groups(&mut client);
        let answer: OffsetDeleteResponse = client.call(0, &delete("texts", &[3; 250_000]));
        assert_eq!(deleted(&answer), [3]);
        assert_eq!(end_of_groups(&mut client), before + 1, "one tombstone");
        let answer: DescribeGroupsResponse = client.call(4, &describe("texts", 10_000));
        assert_eq!(answer.groups.len(), 1);
        is_closed_for(broker, 4, &describe("texts", 100_000));
    });
}

/// More offsets than are deleted at once.
#[test]
fn many_offsets_that_are_deleted_by_name() {
    const PARTITIONS: i32 = 4_100;
    bounded_alone(|broker| {
        let mut client = broker.connect();
        client.create_topic("wide", PARTITIONS, &[]);
        let partition = |partition_index| OffsetCommitRequestPartition {
            partition_index,
            ..OffsetCommitRequestPartition::default()
        };
        let mut request = commit("many", 0);
        request.topics[0].name = StrBytes::from("wide");
        request.topics[0].partitions = (0..PARTITIONS).map(partition).collect();
        assert_eq!(committed(&mut client, &request), 0);
        let before = end_of_groups(&mut client);
        let all: Vec<i32> = (0..PARTITIONS).collect();
        let mut request = delete("many", &all);
        request.topics[0].name = StrBytes::from("wide");
        let answer: OffsetDeleteResponse = client.call(0, &request);
        assert_eq!(deleted(&answer), all);
        let tombstones = i64::from(PARTITIONS);
        assert_eq!(end_of_groups(&mut client), before + tombstones);
        let answer: OffsetFetchResponse = client.call(8, &fetch("many", None));
        assert!(answer.groups[0].topics.is_empty());
        let answer: OffsetDeleteResponse = client.call(0, &delete("none", &[1]));
        assert_eq!(answer.error_code, ErrorCode::GroupIdNotFound.code());
    });
}

/// Names of groups that are not there, each another one, from many at once: a coordinator is asked about all of
/// them, some at a time.
#[test]
fn long_lists_of_groups_that_are_not_there() {
    const NAMES: usize = 60_000;
    bounded(|broker| {
        let names = (0..NAMES).map(|number| StrBytes::from(format!("{number}")));
        let request = DeleteGroupsRequest {
            groups_names: names.collect(),
        };
        let mut peers: Vec<Client> = (0..20).map(|_| broker.connect()).collect();
        let sent: Vec<i32> = peers
            .iter_mut()
            .map(|peer| peer.send(1, &request))
            .collect();
        for (peer, sent) in peers.iter_mut().zip(sent) {
            let answer: DeleteGroupsResponse = peer.receive(1, sent);
            assert_eq!(answer.results.len(), NAMES);
        }
        peers
    });
}

/// A group that holds megabytes, and its only member.
fn large_group(client: &mut Client) -> JoinGroupResponse {
    let leader: JoinGroupResponse = client.call(3, &join("large", 1 << 20));
    let given = SyncGroupRequestAssignment {
        member_id: leader.member_id.clone(),
        assignment: Bytes::from(vec![b'a'; 4 << 20]),
    };
    let request = sync("large", &leader, vec![given]);
    let answer: SyncGroupResponse = client.call(3, &request);
    assert_eq!(answer.error_code, 0);
    leader
}

/// A group that holds megabytes is described, asked for its offsets and led by peers that read nothing.
#[test]
fn slow_readers_of_large_answers_about_groups() {
    bounded(|broker| {
        let mut client = broker.connect();
        let leader = large_group(&mut client);
        for group in 0..100 {
            let name = format!("{group}-{}", "n".repeat(1_000));
            assert_eq!(committed(&mut client, &commit(&name, 4_000)), 0);
        }
        let mut peers: Vec<Client> = (0..100).map(|_| broker.connect_narrow()).collect();
        for (number, peer) in peers.iter_mut().enumerate() {
            for _ in 0..3 {
                match number % 4 {
                    0 => peer.send(4, &describe("large", 1)),
                    1 => peer.send(4, &ListGroupsRequest::default()),
                    2 => peer.send(8, &fetch(&format!("5-{}", "n".repeat(1_000)), None)),
                    _ => peer.send(3, &sync("large", &leader, vec![])),
                };
            }
        }
        for number in 20..40 {
            let mut peer = broker.connect_narrow();
            peer.send(3, &join(&format!("led-{number}"), 1 << 20));
            peers.push(peer);
        }
        // What one of them asked for is there when it reads at last.
        let answer: DescribeGroupsResponse = peers[0].receive(4, 1);
        assert_eq!(answer.groups[0].members[0].member_assignment.len(), 4 << 20);
        peers
    });
}

/// The end of the log of all groups.
fn end_of_groups(client: &mut Client) -> i64 {
    let partition = ListOffsetsPartition {
        timestamp: -1,
        ..ListOffsetsPartition::default()
    };
    let request = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: StrBytes::from("__consumer_offsets"),
            partitions: vec![partition],
        }],
        ..ListOffsetsRequest::default()
    };
    let answer: ListOffsetsResponse = client.call(7, &request);
    answer.topics[0].partitions[0].offset
}

/// A static member that comes again and again, and reads nothing of what it is told as the leader: each
/// answer has a megabyte that is no part of the group any more when the next one is there.
#[test]
fn a_static_leader_that_comes_again_and_again_and_reads_nothing() {
    bounded(|broker| {
        let mut client = broker.connect();
        let mut request = join("replaced", 1 << 20);
        request.group_instance_id = Some(StrBytes::from("static"));
        let leader: JoinGroupResponse = client.call(9, &request);
        assert_eq!(leader.error_code, 0);
        let synced: SyncGroupResponse = client.call(3, &sync("replaced", &leader, vec![]));
        assert_eq!(synced.error_code, 0);
        let again: JoinGroupResponse = client.call(9, &request);
        assert_eq!((again.error_code, again.members.len()), (0, 1));
        // The memory of all answers is held by others.
        large_group(&mut client);
        let asks = |_| {
            let mut peer = broker.connect_narrow();
            for _ in 0..3 {
                peer.send(4, &describe("large", 1));
            }
            peer
        };
        let mut peers: Vec<Client> = (0..40).map(asks).collect();
        let mut decided = end_of_groups(&mut client);
        let comes = |_| {
            let mut peer = broker.connect_narrow();
            peer.send(9, &request);
            eventually("it has taken the place of the one before it", || {
                decided < end_of_groups(&mut client)
            });
            decided = end_of_groups(&mut client);
            peer
        };
        peers.extend((0..300).map(comes));
        peers
    });
}
