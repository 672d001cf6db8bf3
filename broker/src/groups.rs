//! Consumer groups: which partition of `__consumer_offsets` keeps a group, and who asks it.
//!
//! Each partition of that topic has a [`Shard`]: the state machine of `tidewheel-consumer-groups` with
//! the log it writes to. The topic is made when the first client looks for a coordinator.

mod commit_history;
mod known_topics;
mod lag;
mod loading;
mod offsets_log;
mod pending;
mod room;
mod running;
mod shard;
mod wall_clock;
mod watch;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidewheel_config::{GroupConfig, limits};
use tidewheel_consumer_groups::request::TopicsDeletedRequest;
use tidewheel_consumer_groups::{GroupCoordinator, GroupReply, GroupRequest, GroupTimes, Listed};
use tidewheel_protocol::{StrBytes, Uuid};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::info;

pub(crate) use self::commit_history::{Commit, CommitHistory, Progress, RECENT_MS};
pub use self::lag::{GroupLag, Lag, PartitionLag};
pub(crate) use self::lag::{GroupOffset, committed_offsets, group_lag};
use self::loading::{Loaded, load, until_settled};
use self::offsets_log::OffsetsLog;
pub use self::pending::NoCoordinator;
use self::pending::Pending;
use self::room::Room;
use self::shard::Shard;
pub(crate) use self::watch::{WatchedGroup, WatchedOffset};
use crate::broker::{Broker, BrokerError, NewTopic, create_missing};
use crate::partition_budget::Granted;
use crate::topics::{OFFSETS_TOPIC, Topic, TopicsSnapshot};

/// How many partitions are loaded at the same time: the blocking pool has other work too.
const LOADED_AT_ONCE: usize = 2;

/// All groups of this broker.
#[derive(Debug)]
pub(crate) struct Groups {
    /// One per partition of the topic, in their order; set when the topic is there.
    shards: OnceLock<Vec<Arc<Shard>>>,
    /// What is set on single groups.
    times: ArcSwap<GroupTimes>,
    /// Whose lag is computed at the same time.
    lags: Semaphore,
    /// What groups committed lately.
    history: Arc<CommitHistory>,
    room: Room,
}

impl Groups {
    /// None yet.
    pub(crate) fn new(config: &GroupConfig, granted: Granted) -> Self {
        Self {
            shards: OnceLock::new(),
            times: ArcSwap::default(),
            lags: Semaphore::new(limits::GROUP_LAGS_AT_ONCE),
            history: Arc::default(),
            room: Room::new(config, granted),
        }
    }

    /// Bytes of memory that all groups take with their members and offsets, and that they may take; estimated.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.room.held.all(), self.room.limits.state_bytes)
    }

    /// Asks the coordinator of a group. What the request decides is decided, and its place in the order
    /// of the group's log fixed, before this returns; the answer may take a rebalance.
    pub(crate) fn ask(&self, group_id: &str, request: GroupRequest) -> Pending {
        match self.shard(group_id) {
            Some(shard) => {
                let pending = shard.ask(request);
                self.room.look();
                pending
            }
            None => Pending::refused(NoCoordinator::Elsewhere),
        }
    }

    /// Asks about each of `all`, some at a time, and passes on what is told in their order: what they write
    /// reaches the disk together, and a disk that hangs is not waited for again and again.
    pub(crate) async fn ask_each<T>(
        &self,
        all: Vec<T>,
        request: impl Fn(&T) -> (Arc<str>, GroupRequest),
        mut told: impl FnMut(T, Result<GroupReply, NoCoordinator>),
    ) {
        /// Each may take a kilobyte until it is answered, and some time under a coordinator's mutex.
        const AT_ONCE: usize = 64;
        let mut all = all.into_iter();
        loop {
            let ask = |one| {
                let (group_id, request) = request(&one);
                (self.ask(&group_id, request), one)
            };
            let asked: Vec<_> = all.by_ref().take(AT_ONCE).map(ask).collect();
            if asked.is_empty() {
                return;
            }
            for (reply, one) in asked {
                told(one, reply.await);
            }
            // Others of this thread have their turn.
            tokio::task::yield_now().await;
        }
    }

    /// The same for groups that are only named, each once: a name of a few bytes may stand for megabytes of
    /// members.
    pub(crate) async fn ask_named(
        &self,
        mut names: Vec<StrBytes>,
        request: impl Fn(Arc<str>) -> GroupRequest,
        told: impl FnMut(StrBytes, Result<GroupReply, NoCoordinator>),
    ) {
        let mut named = HashSet::new();
        names.retain(|name| named.insert(name.clone()));
        let ask = |name: &StrBytes| {
            let group_id: Arc<str> = Arc::from(&**name);
            (Arc::clone(&group_id), request(group_id))
        };
        self.ask_each(names, ask, told).await;
    }

    /// The same request to every coordinator, answered in the order of the partitions.
    pub(crate) async fn ask_all(
        &self,
        request: &GroupRequest,
    ) -> Vec<Result<GroupReply, NoCoordinator>> {
        let shards = self.all().iter();
        let asked: Vec<_> = shards.map(|shard| shard.ask(request.clone())).collect();
        let mut replies = Vec::with_capacity(asked.len());
        for reply in asked {
            replies.push(reply.await);
        }
        replies
    }

    /// Waits for a place among those that compute the lag of a group. Nobody closes it.
    async fn lag_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.lags.acquire().await.ok()
    }

    /// What groups committed lately.
    pub(crate) fn history(&self) -> &Arc<CommitHistory> {
        &self.history
    }

    /// Estimated bytes of what a group holds.
    pub(crate) fn weight(&self, group_id: &str) -> usize {
        self.shard(group_id)
            .map_or(0, |shard| shard.weight(group_id))
    }

    /// What a list of all groups takes.
    pub(crate) fn listed(&self) -> Listed {
        let shards = self.all().iter().map(|shard| shard.listed());
        shards.fold(Listed::default(), |sum, listed| Listed {
            groups: sum.groups + listed.groups,
            bytes: sum.bytes + listed.bytes,
        })
    }

    /// Tells all coordinators that the topics are these from now on, which the snapshot of topics says already.
    /// They share it, and hold no other: what is deleted is held by nobody. A coordinator that is loading sees
    /// it when it is loaded.
    pub(crate) fn topics_changed(&self, topics: &Arc<TopicsSnapshot>) {
        for shard in self.all() {
            shard.set_topics(Arc::clone(topics));
        }
    }

    /// What is set on single groups.
    pub(crate) fn times(&self) -> Arc<GroupTimes> {
        self.times.load_full()
    }

    /// Lets single groups go by what is set on them from now on. A coordinator that is loading sees it when it is
    /// loaded.
    pub(crate) fn set_times(&self, times: GroupTimes) {
        self.times.store(Arc::new(times));
        for shard in self.all() {
            shard.set_times(self.times());
        }
    }

    /// Tells all groups that topics are gone, which the snapshot of topics says already: nobody will read on
    /// from the offsets in them. A coordinator that is loading, or that cannot write now, sees it when it
    /// is loaded.
    pub(crate) fn topics_deleted(&self, topics: BTreeMap<Arc<str>, Uuid>) {
        let request = GroupRequest::TopicsDeleted(TopicsDeletedRequest { topics });
        for shard in self.all() {
            shard.tell(request.clone());
        }
    }

    /// Puts the shards there, once; what is known may change while they are made.
    fn put(
        &self,
        make: impl FnOnce() -> Vec<Arc<Shard>>,
        known: impl Fn() -> Known,
    ) -> &[Arc<Shard>] {
        let shards = self.shards.get_or_init(make);
        for shard in shards {
            // What changed meanwhile was told to none of them.
            shard.set_known(&known);
        }
        shards
    }

    /// The clock was turned: what is due now is done.
    pub(crate) fn look_again(&self) {
        self.all().iter().for_each(|shard| shard.look_again());
    }

    /// Answers whoever waits and takes no more requests.
    pub(crate) fn close(&self) {
        self.all().iter().for_each(|shard| shard.close());
    }

    /// Whether any client has ever looked for a coordinator.
    pub(crate) fn are_there(&self) -> bool {
        !self.all().is_empty()
    }

    fn all(&self) -> &[Arc<Shard>] {
        self.shards.get().map_or(&[], Vec::as_slice)
    }

    fn shard(&self, group_id: &str) -> Option<&Arc<Shard>> {
        let shards = self.all();
        shards.get(partition_for(group_id, shards.len()))
    }
}

/// The partition that keeps a group: Kafka's rule, which tools repeat, is Java's hash of the name.
fn partition_for(group_id: &str, partitions: usize) -> usize {
    let hash = group_id.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // Kafka takes the sign bit off `i32::MIN`, of which there is no absolute value.
    let positive = hash.checked_abs().unwrap_or(0);
    usize::try_from(positive).unwrap_or(0) % partitions.max(1)
}

/// Starts the coordinators if the topic is there, as it is at every start but the first.
pub(crate) fn start_groups(broker: &Arc<Broker>) {
    if let Some(topic) = broker.topics().named(OFFSETS_TOPIC) {
        open(broker, topic);
    }
}

/// Makes sure that there are coordinators.
///
/// # Errors
/// Where the topic cannot be made.
pub(crate) async fn find_groups(broker: &Arc<Broker>) -> Result<(), BrokerError> {
    if !broker.groups().all().is_empty() {
        return Ok(());
    }
    if broker.topics().named(OFFSETS_TOPIC).is_none() {
        let topic = NewTopic::with_defaults(OFFSETS_TOPIC, broker.config());
        create_missing(broker, vec![topic]).await?;
    }
    start_groups(broker);
    Ok(())
}

/// What a coordinator is told beside requests.
#[derive(Debug)]
struct Known {
    topics: Arc<TopicsSnapshot>,
    /// What is set on single groups.
    times: Arc<GroupTimes>,
    /// Where commits are noted.
    history: Arc<CommitHistory>,
}

impl Known {
    fn now(broker: &Broker) -> Self {
        Self {
            topics: broker.topics(),
            times: broker.groups().times(),
            history: Arc::clone(broker.groups().history()),
        }
    }
}

/// Makes the shards, once, and reads what their partitions hold. Those that hold nothing serve at once.
fn open(broker: &Arc<Broker>, topic: &Arc<Topic>) {
    let group = &broker.config().group;
    let commit_timeout_ms = u64::try_from(group.offsets_commit_timeout_ms).unwrap_or(0);
    let commit_timeout = Duration::from_millis(commit_timeout_ms);
    let mut made = Vec::new();
    let known = || Known::now(broker);
    let make = || {
        let count = topic.partitions.len();
        let room = &broker.groups().room;
        let (bounds, held) = (room.limits.clone().divided(count), room.held.clone());
        let shard = |partition| {
            let (group, bounds, held) = (group.clone(), bounds.clone(), held.clone());
            let coordinator =
                move || GroupCoordinator::new(group.clone(), bounds.clone()).sharing(&held);
            let log = OffsetsLog::new(partition, broker.flush_signals(), broker.clock());
            let shard = Arc::new(Shard::new(log, commit_timeout));
            if shard.log().is_empty() {
                shard.serve(coordinator(), known);
                made.push((Arc::clone(&shard), None));
            } else {
                made.push((Arc::clone(&shard), Some(coordinator)));
            }
            shard
        };
        topic.partitions.iter().map(shard).collect()
    };
    let shards = broker.groups().put(make, known);
    if made.is_empty() {
        return;
    }
    info!(partitions = shards.len(), "consumer groups are loading");
    tokio::spawn(commit_history::look_at_ends(Arc::downgrade(broker)));
    let places = Arc::new(Semaphore::new(LOADED_AT_ONCE));
    for (shard, coordinator) in made {
        let loading = coordinator.map(|coordinator| {
            let (broker, shard) = (Arc::clone(broker), Arc::clone(&shard));
            load_in_turn(broker, shard, coordinator, Arc::clone(&places))
        });
        tokio::spawn(async move {
            if let Some(loading) = loading {
                loading.await;
            }
            shard::keep_time(shard).await;
        });
    }
}

/// A start does not wait for it, only those who ask for a group.
async fn load_in_turn(
    broker: Arc<Broker>,
    shard: Arc<Shard>,
    coordinator: impl Fn() -> GroupCoordinator + Send + Sync + 'static,
    places: Arc<Semaphore>,
) {
    let coordinator = Arc::new(coordinator);
    let attempt = || async {
        // Nobody closes it.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Loaded::Settled;
        };
        let (asked, loaded) = (Arc::clone(&broker), Arc::clone(&shard));
        // A new one each time: what another attempt has replayed may be a part.
        let coordinator = Arc::clone(&coordinator);
        let work = move || {
            let _place = place;
            load(&loaded, coordinator(), || Known::now(&asked))
        };
        broker.read_blocking(work).await.unwrap_or_else(|| {
            // A panic, or the end of the runtime.
            shard.fail();
            Loaded::Settled
        })
    };
    until_settled(attempt).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `Utils.abs(groupId.hashCode()) % 50`, as Kafka's coordinator computes them.
    #[test]
    fn a_groups_partition_is_the_one_that_kafka_would_choose() {
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("a", 50), 47);
        assert_eq!(partition_for("my-consumer-group", 50), 13);
        // hashCode() of this one is i32::MIN.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("gruppe-ü", 50), 22);
    }
}
