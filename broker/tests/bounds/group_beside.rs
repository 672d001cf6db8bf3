//! A group that sees no error while others are hostile, and others that begin meanwhile.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use tidewheel_protocol::messages::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse,
};
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidewheel_protocol::messages::join_group::JoinGroupResponse;
use tidewheel_protocol::messages::sync_group::SyncGroupResponse;
use tidewheel_protocol::{ErrorCode, StrBytes};

use crate::case::bounded_on;
use crate::groups::{commit, committed, join, sync};
use crate::support::{Broker, Client, eventually};

/// One partition, so that what it has open is open before descriptors are counted.
pub(crate) const SETTINGS: &[&str] = &[
    "offsets.topic.num.partitions=1",
    "group.initial.rebalance.delay.ms=0",
    "tidewheel.group.state.max.bytes=67108864",
];

/// A group with one member, which sees no error while others are hostile.
pub(crate) struct WellBehaved {
    client: Client,
    member: JoinGroupResponse,
    /// How often it was looked at whether others can begin.
    looks: usize,
}

impl WellBehaved {
    pub(crate) fn new(broker: &Broker) -> Self {
        let mut client = broker.connect();
        client.create_topic("committed", 10, &[]);
        eventually("the coordinator is there", || {
            let found: FindCoordinatorResponse = client.call(2, &FindCoordinatorRequest::default());
            let joined: JoinGroupResponse = client.call(3, &join("probe", 10));
            (found.error_code, joined.error_code) == (0, 0)
        });
        let member: JoinGroupResponse = client.call(3, &join("well-behaved", 10));
        assert_eq!(member.error_code, 0);
        let synced: SyncGroupResponse = client.call(3, &sync("well-behaved", &member, vec![]));
        assert_eq!(synced.error_code, 0);
        Self {
            client,
            member,
            looks: 0,
        }
    }

    /// It is there still, and commits with so long a note.
    pub(crate) fn is_alive(&mut self, note: usize) {
        let request = HeartbeatRequest {
            group_id: StrBytes::from("well-behaved"),
            generation_id: self.member.generation_id,
            member_id: self.member.member_id.clone(),
            ..HeartbeatRequest::default()
        };
        let answer: HeartbeatResponse = self.client.call(4, &request);
        assert_eq!(answer.error_code, 0);
        let mut request = commit("well-behaved", note);
        request.generation_id_or_member_epoch = self.member.generation_id;
        request.member_id = self.member.member_id.clone();
        assert_eq!(committed(&mut self.client, &request), 0);
    }

    pub(crate) fn gets_on(&mut self) {
        self.is_alive(10);
        self.looks += 1;
        others_begin(&mut self.client, self.looks);
    }

    /// Gets on until `stopped`'s other end is gone.
    #[expect(
        clippy::print_stdout,
        clippy::disallowed_methods,
        reason = "a failed case is read with its figures"
    )]
    fn gets_on_until(&mut self, stopped: &Receiver<()>) {
        const PAUSE: Duration = Duration::from_millis(10);
        let mut slowest = Duration::ZERO;
        while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            let began = Instant::now();
            self.gets_on();
            slowest = slowest.max(began.elapsed());
        }
        let looks = self.looks;
        println!("{looks} rounds of groups beside it, the slowest took {slowest:?}");
    }
}

/// A consumer commits for the first time, and a new member of another group is let in and gets its assignment. No look
/// has the number of another.
pub(crate) fn others_begin(client: &mut Client, look: usize) {
    /// Its group may have to make room for others before it asks, where many come at once: clients join again then.
    const TRIES: usize = 20;
    let code = committed(client, &commit(&format!("first-{look}"), 10));
    assert_eq!(code, 0);
    let group = format!("new-{look}");
    let code = (0..TRIES).find_map(|_| {
        let joined = joins_in_steps(client, &group);
        let synced: SyncGroupResponse = client.call(3, &sync(&group, &joined, vec![]));
        let is_unknown = synced.error_code == ErrorCode::UnknownMemberId.code();
        (!is_unknown).then_some(synced.error_code)
    });
    assert_eq!(code, Some(0));
}

/// A member joins as clients do: it asks for an id and comes back with it.
fn joins_in_steps(client: &mut Client, group: &str) -> JoinGroupResponse {
    let mut request = join(group, 10);
    let asked: JoinGroupResponse = client.call(4, &request);
    assert_eq!(asked.error_code, ErrorCode::MemberIdRequired.code());
    request.member_id = asked.member_id;
    let joined: JoinGroupResponse = client.call(4, &request);
    assert_eq!(joined.error_code, 0);
    joined
}

/// Runs a hostile case after which a well-behaved group gets on as it did before: the case counts what is in the log.
pub(crate) fn bounded_alone<T>(hostile: impl FnOnce(&Broker) -> T) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), SETTINGS);
    let mut group = WellBehaved::new(&broker);
    group.gets_on();
    bounded_on(&broker, |broker| {
        let peers = hostile(broker);
        group.gets_on();
        peers
    });
}

/// Runs a hostile case beside a well-behaved group, which gets on all along.
pub(crate) fn bounded<T>(hostile: impl FnOnce(&Broker) -> T) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), SETTINGS);
    let mut group = WellBehaved::new(&broker);
    group.gets_on();
    bounded_on(&broker, |broker| {
        let peers = std::thread::scope(|scope| {
            // Dropped at the end of this block, also where it panics: then the thread ends.
            let (_running, stopped) = sync_channel(1);
            scope.spawn(|| group.gets_on_until(&{ stopped }));
            hostile(broker)
        });
        group.gets_on();
        peers
    });
}
