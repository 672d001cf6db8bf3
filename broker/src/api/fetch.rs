//! Fetch: slices of the log up to the high watermark, at once or when enough has come.
//!
//! A fetch reads, and where that is too little it puts itself on the waiting list of each of its
//! partitions, reads again, and sleeps until the missing bytes have arrived, the deadline has come
//! or the connection closes. A runtime worker looks only at what is in memory: where one partition of
//! the request needs the disk, the blocking pool looks at all of them and brings what it finds into
//! memory before the reply is handed to the socket.
//!
//! What is looked up for a large request is counted as its answer is, and a fetch that holds such memory, or
//! request bytes that are counted, waits no longer when somebody is short of it.
//!
//! Where the request goes on with a session, the session's partitions are looked at, and the answer tells
//! what is new of them.

mod plan;
mod sending;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_config::{CompressionType, limits};
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse,
    PartitionData,
};
use tidewheel_storage::{LogRead, RecordSlice, StorageError};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use self::plan::{Asked, Plan};
use self::sending::{encode, reply};
use super::{Answer, Call, Context, Reply, Responder, check_leader_epoch, error, weight};
use crate::clock;
use crate::fetch_sessions::{NO_SESSION, SessionChange, Turn};
use crate::fetch_wait::FetchWait;
use crate::ids;
use crate::memory_pool::MemoryShare;
use crate::partition::{Partition, PartitionLog};

const NO_SESSION_EPOCH: i32 = -1;
const NEW_SESSION_EPOCH: i32 = 0;

/// What is answered.
type Topics = Vec<FetchableTopicResponse<RecordSlice>>;

/// One look at all partitions.
struct Look {
    topics: Topics,
    /// Bytes of records in `topics`.
    bytes: usize,
    /// Bytes that the partitions have to offer, each up to its own limit, whether they fit or not.
    available: usize,
    /// The client must hear of it without waiting: an error, a diverging epoch, or the end of an
    /// older segment.
    urgent: bool,
}

/// Whether a look may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Memory,
    Disk,
}

/// Why a partition has nothing to answer with.
enum Nothing {
    /// With [`Access::Memory`]: the disk is needed.
    NeedsDisk,
    Error(ErrorCode),
}

impl From<ErrorCode> for Nothing {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

/// What one partition answers.
struct Found {
    data: PartitionData<RecordSlice>,
    /// See [`Look::available`].
    available: usize,
    /// See [`Look::urgent`].
    urgent: bool,
}

/// What a fetch holds that others may wait for.
struct Held {
    /// Whether the bytes of the request are counted.
    request: bool,
    /// What is looked up for it, and its answer.
    share: MemoryShare,
}

impl Held {
    /// Resolves when somebody is short of it.
    async fn is_wanted(&self, context: &Context) {
        let broker = &context.broker;
        tokio::select! {
            () = broker.memory().is_short(), if self.request => {}
            () = broker.answer_memory().is_short(), if self.share.is_counted() => {}
            else => std::future::pending().await,
        }
    }
}

/// One fetch in its turn.
struct Fetch {
    responder: Responder,
    request: FetchRequest,
    held: Held,
    deadline: Instant,
}

/// Begun in its turn: what waits costs no more than its bytes, and a session's requests may follow each other
/// on the connection without a pause.
pub(super) fn handle(mut call: Call) -> Reply {
    let arrived = clock::deadline(Duration::ZERO);
    call.body.limit_budget(limits::FETCH_ARRAY_BYTES_MAX);
    Reply::Later(Box::pin(async move {
        let Some((request, share)) = call.weighed(weigh).await else {
            return Answer::Close;
        };
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let fetch = Fetch {
            request,
            held: Held {
                request: call.memory.counted,
                share,
            },
            responder: call.responder(),
            deadline: arrived + wait,
        };
        match begin(&fetch.responder.context, &fetch.request).await {
            Ok(Begun::Sessionless) => answer(fetch).await,
            Ok(Begun::New) => answer_and_remember(fetch).await,
            Ok(Begun::GoesOn(turn)) => answer_in_session(fetch, turn).await,
            Err(error) => refused(&fetch.responder, error, NO_SESSION),
        }
    }))
}

fn weigh(context: &Context, request: &FetchRequest) -> Option<usize> {
    let weight = weight::fetch(request);
    if weight > limits::FETCH_BYTES_MAX {
        debug!(peer = %context.session.peer, weight, "too many partitions to fetch at once");
        return None;
    }
    Some(weight)
}

/// What a request has to do with sessions.
enum Begun {
    Sessionless,
    /// It asks for a session, which is made when it is answered.
    New,
    GoesOn(Turn),
}

/// Closes the session that a full fetch names, and goes on with that of any other.
async fn begin(context: &Context, request: &FetchRequest) -> Result<Begun, ErrorCode> {
    let sessions = context.broker.fetch_sessions();
    if let NO_SESSION_EPOCH | NEW_SESSION_EPOCH = request.session_epoch {
        if request.session_id != NO_SESSION {
            sessions.close(request.session_id);
        }
        return Ok(match request.session_epoch {
            NEW_SESSION_EPOCH => Begun::New,
            _ => Begun::Sessionless,
        });
    }
    let change = SessionChange {
        epoch: request.session_epoch,
        by_id: context.version >= 13,
        topics: &request.topics,
        forgotten: &request.forgotten_topics_data,
    };
    match sessions.go_on(request.session_id, change, clock::now_ms())? {
        Some(going) => Ok(Begun::GoesOn(going.turn().await)),
        None => Ok(Begun::Sessionless),
    }
}

async fn answer(fetch: Fetch) -> Answer {
    let (responder, held, Some((_, topics))) = fetch.of_request().await else {
        return Answer::Close;
    };
    reply(&responder, topics, NO_SESSION, held.share)
}

async fn answer_and_remember(fetch: Fetch) -> Answer {
    let (responder, held, Some((plan, topics))) = fetch.of_request().await else {
        return Answer::Close;
    };
    // The others have no session anyway, and are not copied in vain.
    let small = plan
        .asked()
        .nth(limits::FETCH_SESSION_PARTITIONS_MAX)
        .is_none();
    let told = topics.iter().flat_map(|topic| &topic.partitions);
    let session_id = small.then(|| plan.remembered(told)).flatten();
    drop(plan);
    let session_id = session_id.map_or(NO_SESSION, |partitions| {
        let by_id = responder.context.version >= 13;
        let sessions = responder.context.broker.fetch_sessions();
        sessions.create(by_id, partitions, clock::now_ms(), ids::random_session_id)
    });
    reply(&responder, topics, session_id, held.share)
}

async fn answer_in_session(fetch: Fetch, turn: Turn) -> Answer {
    let Fetch {
        responder,
        request,
        held,
        deadline,
    } = fetch;
    let context = &responder.context;
    let session_id = turn.session_id();
    if !turn.is_current() {
        return refused(&responder, ErrorCode::InvalidFetchSessionEpoch, session_id);
    }
    let plan = Arc::new(Plan::new(context, &request, Some(turn)));
    drop(request);
    // The room of its session is for this copy, too.
    let held = Held {
        share: MemoryShare::default(),
        ..held
    };
    let Some(topics) = look_until(context, &plan, &held, deadline).await else {
        return Answer::Close;
    };
    plan.count(&topics);
    let places = plan.asked().map(|asked| asked.place);
    let told = plan.turn.as_ref().map(|turn| turn.answer(topics, places));
    let response = match told.unwrap_or(Err(ErrorCode::InvalidFetchSessionEpoch)) {
        Ok(responses) => FetchResponse {
            session_id,
            responses,
            ..FetchResponse::default()
        },
        Err(error) => return refused(&responder, error, session_id),
    };
    // However short the request was: the answer is as long as what is new in the session.
    let parts = encode(&responder, response);
    let weight = weight::fetched(&parts);
    let share = match weight <= limits::FREE_BYTES_PER_CONNECTION {
        true => Some(MemoryShare::default()),
        false => context.broker.fetch_answer_memory().try_share(weight, 0),
    };
    let Some(share) = share else {
        context.broker.fetch_sessions().close(session_id);
        return refused(&responder, ErrorCode::FetchSessionIdNotFound, NO_SESSION);
    };
    sending::leave(&context.broker, parts, share)
}

fn refused(responder: &Responder, error: ErrorCode, session_id: i32) -> Answer {
    responder.frame(&FetchResponse::<Bytes> {
        error_code: error.code(),
        session_id,
        ..FetchResponse::default()
    })
}

impl Fetch {
    /// Looks up the partitions of the request, and looks at them. `None` as with [`look_until`].
    async fn of_request(self) -> (Responder, Held, Option<(Arc<Plan>, Topics)>) {
        let Self {
            responder,
            request,
            mut held,
            deadline,
        } = self;
        let context = &responder.context;
        let plan = Arc::new(Plan::new(context, &request, None));
        drop(request);
        if held.share.is_counted() {
            held.share.shrink(plan.weight());
        }
        let topics = look_until(context, &plan, &held, deadline).await;
        if let Some(topics) = &topics {
            plan.count(topics);
        }
        (responder, held, topics.map(|topics| (plan, topics)))
    }
}

/// Looks until there is enough, the deadline has come, somebody is short of what is held, or the connection
/// closes. `None` where the broker is going down.
async fn look_until(
    context: &Context,
    plan: &Arc<Plan>,
    held: &Held,
    deadline: Instant,
) -> Option<Topics> {
    let first = look(context, plan).await?;
    // As in Kafka, a partition that does not exist is a reason to answer only where it is alone: a
    // client that asks for it again and again is held back by the others.
    if first.is_enough(plan)
        || partitions(plan).next().is_none()
        || deadline <= clock::deadline(Duration::ZERO)
    {
        return Some(first.topics);
    }
    // Looks are as large as their answers, and none is kept while it waits.
    drop(first);
    let mut closing = context.session.closing.clone();
    let mut holding = context.session.holding.subscribe();
    loop {
        let wait = FetchWait::new(plan.bytes_min);
        let listed = Listed::on(plan, &wait);
        let found = look(context, plan).await?;
        if found.is_enough(plan) {
            return Some(found.topics);
        }
        wait.arrived(found.available as u64);
        drop(found);
        let asleep = clock::instant();
        // Each arm may be dropped at any time: nothing is taken from anywhere.
        let timed_out = tokio::select! {
            () = wait.enough() => false,
            () = sleep_until(deadline) => true,
            () = session_is_over(plan) => true,
            () = held.is_wanted(context) => true,
            _ = closing.wait_for(|closing| *closing) => true,
            _ = holding.wait_for(|count| *count > 0) => true,
        };
        drop(listed);
        context.session.has_waited(clock::instant() - asleep);
        if timed_out {
            return look(context, plan).await.map(|found| found.topics);
        }
    }
}

/// Resolves when the session of the fetch has gone on without it, or is closed.
async fn session_is_over(plan: &Plan) {
    match &plan.turn {
        Some(turn) => turn.is_over().await,
        None => std::future::pending().await,
    }
}

impl Look {
    fn is_enough(&self, plan: &Plan) -> bool {
        self.urgent || self.available >= plan.bytes_min
    }
}

/// A fetch's places on the waiting lists, given up when dropped.
struct Listed<'a> {
    plan: &'a Plan,
    wait: &'a Arc<FetchWait>,
}

impl<'a> Listed<'a> {
    fn on(plan: &'a Plan, wait: &'a Arc<FetchWait>) -> Self {
        for partition in partitions(plan) {
            partition
                .waits()
                .register(wait, partition.log().visible_end());
        }
        Self { plan, wait }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        for partition in partitions(self.plan) {
            partition.waits().deregister(self.wait);
        }
    }
}

fn partitions(plan: &Plan) -> impl Iterator<Item = &Arc<Partition>> {
    plan.asked()
        .filter_map(|asked| asked.partition.as_ref().ok())
}

/// Looks at all partitions: at once where they are in memory, else on the blocking pool. `None` where
/// the broker is going down.
async fn look(context: &Context, plan: &Arc<Plan>) -> Option<Look> {
    if let Some(found) = look_at_all(plan, Access::Memory) {
        return Some(found);
    }
    let plan = Arc::clone(plan);
    let looking = move || look_at_all(&plan, Access::Disk);
    context.broker.read_blocking(looking).await.flatten()
}

/// Reads every partition in the order of the request (KIP-74: the first batch found is whole, even
/// where it is larger than all limits, so that a consumer always gets on). `None` only with
/// [`Access::Memory`]: the disk is needed.
fn look_at_all(plan: &Plan, access: Access) -> Option<Look> {
    let mut all = Look {
        topics: Vec::with_capacity(plan.topics.len()),
        bytes: 0,
        available: 0,
        urgent: false,
    };
    for topic in &plan.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let room = plan.bytes_max.saturating_sub(all.bytes);
            let found = match look_at(plan, asked, room, all.bytes == 0, access) {
                Ok(found) => found,
                Err(Nothing::NeedsDisk) => return None,
                Err(Nothing::Error(error)) => Found {
                    data: PartitionData {
                        error_code: error.code(),
                        high_watermark: -1,
                        ..PartitionData::default()
                    },
                    available: 0,
                    urgent: !asked.is_missing(),
                },
            };
            all.bytes += found.data.records.as_ref().map_or(0, RecordSlice::len);
            all.available = all.available.saturating_add(found.available);
            all.urgent |= found.urgent;
            partitions.push(PartitionData {
                partition_index: asked.fetch.partition,
                ..found.data
            });
        }
        all.topics.push(FetchableTopicResponse {
            topic: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions,
        });
    }
    Some(all)
}

fn look_at(
    plan: &Plan,
    asked: &Asked,
    room: usize,
    nothing_yet: bool,
    access: Access,
) -> Result<Found, Nothing> {
    let partition = asked.partition.as_ref().map_err(|error| *error)?;
    let log = partition.log();
    let fetch = &asked.fetch;
    // Any negative number stands for an epoch that the client does not know.
    check_leader_epoch(fetch.current_leader_epoch.max(-1), plan.leader_epoch)?;
    // zstd came with Fetch 10. As in Kafka the topic's setting counts, not what its batches are kept in.
    if plan.version < 10 && matches!(log.config().compression, CompressionType::Zstd { .. }) {
        return Err(ErrorCode::UnsupportedCompressionType.into());
    }
    let mut data = PartitionData {
        // Null for read_uncommitted; nothing is ever aborted before transactions exist.
        aborted_transactions: plan.read_committed.then(Vec::new),
        ..PartitionData::default()
    };
    if let Some(diverging) = diverging_epoch(log, fetch, plan.leader_epoch) {
        data.diverging_epoch = diverging?;
        fill_offsets(&mut data, &log.offsets());
        return Ok(Found {
            data,
            available: 0,
            urgent: true,
        });
    }
    let bytes_max = usize::try_from(fetch.partition_max_bytes).unwrap_or(0);
    let offset = fetch.fetch_offset;
    let read = read(log, offset, bytes_max.min(room), nothing_yet, access)
        .map_err(|error| failed(plan, partition, offset, &error))?
        .ok_or(Nothing::NeedsDisk)?;
    fill_offsets(&mut data, &read.offsets);
    data.records = read.slice;
    Ok(Found {
        data,
        available: usize::try_from(read.available).map_or(bytes_max, |all| all.min(bytes_max)),
        urgent: read.complete,
    })
}

/// Reads from one log; what is found is in memory when this returns. `None` only with
/// [`Access::Memory`]: the disk is needed.
fn read(
    log: &PartitionLog,
    offset: i64,
    bytes_max: usize,
    whole_first_batch: bool,
    access: Access,
) -> Result<Option<LogRead>, StorageError> {
    if access == Access::Memory {
        return log.read_in_memory(offset, bytes_max, whole_first_batch);
    }
    let mut read = log.read(offset, bytes_max, whole_first_batch)?;
    if let Some(slice) = &mut read.slice
        && !slice.is_resident()
    {
        *slice = slice.load()?;
    }
    Ok(Some(read))
}

/// The code for a failed read, and a word about it where a person must look.
fn failed(plan: &Plan, partition: &Partition, offset: i64, error: &StorageError) -> ErrorCode {
    let damage = matches!(
        error,
        StorageError::Io { .. } | StorageError::Corrupt { .. }
    );
    if damage && let Some(unsaid) = partition.unreadable().passes() {
        warn!(partition = %partition.log().topic_partition(), offset, %error, unsaid, "cannot read");
    }
    error::fetch_code(error, plan.version)
}

fn fill_offsets(
    data: &mut PartitionData<RecordSlice>,
    offsets: &tidewheel_storage::LogOffsetsSnapshot,
) {
    data.high_watermark = offsets.high_watermark;
    data.last_stable_offset = offsets.last_stable;
    data.log_start_offset = offsets.log_start;
}

/// Whether the client's last fetched epoch ended before its fetch offset: after a power cut, offsets
/// it has seen may have been used again (KIP-595's check, which consumers ask for since Fetch 12).
fn diverging_epoch(
    log: &PartitionLog,
    fetch: &FetchPartition,
    current: i32,
) -> Option<Result<EpochEndOffset, ErrorCode>> {
    // The current epoch has not ended: nothing written under it can have been replaced.
    if fetch.last_fetched_epoch < 0 || fetch.last_fetched_epoch == current {
        return None;
    }
    let (epoch, end_offset) = log.end_offset_for_epoch(fetch.last_fetched_epoch);
    if epoch < 0 || end_offset < 0 {
        return Some(Err(ErrorCode::OffsetOutOfRange));
    }
    let diverges = epoch < fetch.last_fetched_epoch || end_offset < fetch.fetch_offset;
    diverges.then_some(Ok(EpochEndOffset { epoch, end_offset }))
}

#[cfg(test)]
mod tests;
