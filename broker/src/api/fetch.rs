//! Fetch: slices of the log up to the high watermark, at once or when enough has come.
//!
//! A fetch reads, and where that is too little it puts itself on the waiting list of each of its
//! partitions, reads again, and sleeps until the missing bytes have arrived, the deadline has come
//! or the connection closes. Cold data is brought into memory on the blocking pool before the
//! reply is handed to the socket, so that no runtime worker waits for a disk.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidewheel_protocol::messages::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse,
    PartitionData,
};
use tidewheel_protocol::{ErrorCode, Part, StrBytes, Uuid};
use tidewheel_storage::RecordSlice;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{Answer, Context, Reply, Responder, check_leader_epoch, error};
use crate::clock;
use crate::fetch_wait::FetchWait;
use crate::partition::Partition;

const READ_COMMITTED: i8 = 1;

/// One partition of the request, looked up.
struct Asked {
    partition: Result<Arc<Partition>, ErrorCode>,
    fetch: FetchPartition,
}

struct AskedTopic {
    name: StrBytes,
    topic_id: Uuid,
    partitions: Vec<Asked>,
}

/// What the request asks for as a whole.
struct Plan {
    topics: Vec<AskedTopic>,
    bytes_min: usize,
    bytes_max: usize,
    read_committed: bool,
    /// The epoch under which this broker leads.
    leader_epoch: i32,
}

/// One look at all partitions.
struct Look {
    topics: Vec<FetchableTopicResponse<RecordSlice>>,
    bytes: usize,
    /// An error or a diverging epoch: the client must hear of it without waiting.
    urgent: bool,
}

pub(super) fn handle(responder: Responder, request: FetchRequest) -> Reply {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = clock::deadline(wait);
    Reply::Later(Box::pin(async move {
        let response = match session_error(&request) {
            Some(error) => FetchResponse {
                error_code: error.code(),
                ..FetchResponse::default()
            },
            None => {
                let plan = plan(&responder.context, request);
                let topics =
                    load_cold(&responder.context, fetch(&responder, plan, deadline).await).await;
                FetchResponse {
                    responses: topics,
                    ..FetchResponse::default()
                }
            }
        };
        reply(&responder, response)
    }))
}

/// Sessions are never granted (session id 0 is answered), so any session the client names is unknown.
fn session_error(request: &FetchRequest) -> Option<ErrorCode> {
    (request.session_id != 0).then_some(ErrorCode::FetchSessionIdNotFound)
}

fn plan(context: &Context, request: FetchRequest) -> Plan {
    let topics = context.broker.topics();
    let by_id = context.version >= 13;
    // A partition that stands twice is answered once, as in Kafka, where partitions are a map's keys.
    let mut seen = HashSet::new();
    let asked = request.topics.into_iter().map(|wanted| {
        let topic = match by_id {
            true => topics
                .with_id(wanted.topic_id)
                .ok_or(ErrorCode::UnknownTopicId),
            false => topics
                .named(&wanted.topic)
                .ok_or(ErrorCode::UnknownTopicOrPartition),
        };
        let look_up = |fetch: FetchPartition| Asked {
            partition: topic.and_then(|topic| {
                let found = topic.partition(fetch.partition).map(Arc::clone);
                found.ok_or(ErrorCode::UnknownTopicOrPartition)
            }),
            fetch,
        };
        AskedTopic {
            name: wanted.topic.clone(),
            topic_id: wanted.topic_id,
            partitions: wanted
                .partitions
                .into_iter()
                .filter(|fetch| {
                    seen.insert((wanted.topic.clone(), wanted.topic_id, fetch.partition))
                })
                .map(look_up)
                .collect(),
        }
    });
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0);
    let bytes_max = bytes_max.min(context.broker.config().fetch_max_bytes as usize);
    Plan {
        topics: asked.collect(),
        // More than may be answered is never waited for.
        bytes_min: usize::try_from(request.min_bytes)
            .unwrap_or(0)
            .min(bytes_max),
        bytes_max,
        read_committed: request.isolation_level == READ_COMMITTED,
        leader_epoch: context.broker.leader_epoch(),
    }
}

/// Looks until there is enough, the deadline has come, or the connection closes.
async fn fetch(
    responder: &Responder,
    plan: Plan,
    deadline: Instant,
) -> Vec<FetchableTopicResponse<RecordSlice>> {
    let first = look(&plan);
    if first.is_enough(&plan)
        || plan.topics.is_empty()
        || deadline <= clock::deadline(Duration::ZERO)
    {
        return first.topics;
    }
    let mut closing = responder.context.session.closing.clone();
    loop {
        let wait = FetchWait::new(plan.bytes_min);
        let listed = Listed::on(&plan, &wait);
        let found = look(&plan);
        if found.is_enough(&plan) {
            return found.topics;
        }
        wait.arrived(found.bytes as u64);
        // Each arm may be dropped at any time: nothing is taken from anywhere.
        let timed_out = tokio::select! {
            () = wait.enough() => false,
            () = sleep_until(deadline) => true,
            _ = closing.wait_for(|closing| *closing) => true,
        };
        drop(listed);
        if timed_out {
            return look(&plan).topics;
        }
    }
}

impl Look {
    fn is_enough(&self, plan: &Plan) -> bool {
        self.urgent || self.bytes >= plan.bytes_min
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
                .register(wait, partition.log().visible_bytes());
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
    let asked = plan.topics.iter().flat_map(|topic| &topic.partitions);
    asked.filter_map(|asked| asked.partition.as_ref().ok())
}

/// Reads every partition in the order of the request (KIP-74: the first batch found is whole, even
/// where it is larger than all limits, so that a consumer always gets on).
fn look(plan: &Plan) -> Look {
    let mut found = Look {
        topics: Vec::with_capacity(plan.topics.len()),
        bytes: 0,
        urgent: false,
    };
    for topic in &plan.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let room = plan.bytes_max.saturating_sub(found.bytes);
            let answer = read(plan, asked, room, found.bytes == 0);
            let data = answer.unwrap_or_else(|error| PartitionData {
                error_code: error.code(),
                high_watermark: -1,
                ..PartitionData::default()
            });
            found.bytes += data.records.as_ref().map_or(0, RecordSlice::len);
            found.urgent |=
                data.error_code != 0 || data.diverging_epoch != EpochEndOffset::default();
            partitions.push(PartitionData {
                partition_index: asked.fetch.partition,
                ..data
            });
        }
        found.topics.push(FetchableTopicResponse {
            topic: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions,
        });
    }
    found
}

fn read(
    plan: &Plan,
    asked: &Asked,
    room: usize,
    nothing_yet: bool,
) -> Result<PartitionData<RecordSlice>, ErrorCode> {
    let log = asked.partition.as_ref().map_err(|error| *error)?.log();
    let fetch = &asked.fetch;
    check_leader_epoch(fetch.current_leader_epoch, plan.leader_epoch)?;
    let mut data = PartitionData {
        // Null for read_uncommitted; nothing is ever aborted before transactions exist.
        aborted_transactions: plan.read_committed.then(Vec::new),
        ..PartitionData::default()
    };
    if let Some(diverging) = diverging_epoch(log, fetch, plan.leader_epoch) {
        data.diverging_epoch = diverging?;
        fill_offsets(&mut data, &log.offsets());
        return Ok(data);
    }
    let bytes_max = usize::try_from(fetch.partition_max_bytes)
        .unwrap_or(0)
        .min(room);
    let read = log
        .read(fetch.fetch_offset, bytes_max, nothing_yet)
        .map_err(|error| error::storage_code(&error))?;
    fill_offsets(&mut data, &read.offsets);
    data.records = read.slice;
    Ok(data)
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
    log: &crate::partition::PartitionLog,
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

/// Brings slices that are not in the page cache into memory; what cannot be read becomes an error of its
/// partition.
async fn load_cold(
    context: &Context,
    mut topics: Vec<FetchableTopicResponse<RecordSlice>>,
) -> Vec<FetchableTopicResponse<RecordSlice>> {
    for topic in &mut topics {
        for data in &mut topic.partitions {
            let Some(slice) = data.records.clone().filter(|slice| !slice.is_resident()) else {
                continue;
            };
            let loaded = context.broker.read_blocking(move || slice.load()).await;
            if let Some(Err(error)) = loaded {
                warn!(topic = %topic.topic, partition = data.partition_index, %error, "cannot read");
                data.error_code = error::storage_code(&error).code();
                data.records = None;
            }
        }
    }
    topics
}

/// Encodes the reply as header bytes and views of the mapped log, in their order.
fn reply(responder: &Responder, response: FetchResponse<RecordSlice>) -> Answer {
    let parts = response.encode_parts(responder.context.version, responder.correlation_id);
    let bytes = parts.into_iter().map(|part| match part {
        Part::Bytes(bytes) => Ok(bytes),
        Part::Records(slice) => slice.bytes(),
    });
    match bytes.collect() {
        Ok(parts) => Answer::Parts(parts),
        Err(error) => {
            // The lengths are already in the header: the only honest end is to close.
            warn!(%error, "cannot map a segment for a fetch");
            Answer::Close
        }
    }
}
