//! Produce: appends one batch a partition. Stage one fixes the order, stage two waits for the disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use tidewheel_protocol::{ApiKey, DecodeError, ErrorCode, Message, StrBytes, Uuid};
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::request::DelayError;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::{Answer, Call, Context, Reply, Responder, error, weight};
use crate::broker::Broker;
use crate::clock;
use crate::connection::Holding;
use crate::delays::{self, Begun};
use crate::memory_pool::MemoryShare;
use crate::partition::{Acks, AppendError, AppendOutcome, Partition};
use crate::produce_lanes::Lane;
use crate::topics::{Topic, TopicsSnapshot};

/// A partition of the request after stage one.
struct Started {
    index: i32,
    append: Result<oneshot::Receiver<AppendOutcome>, AppendError>,
}

struct StartedTopic {
    name: StrBytes,
    topic_id: Uuid,
    partitions: Vec<Started>,
}

struct StartedRequest {
    topics: Vec<StartedTopic>,
    /// How long the client is asked to wait before it sends more, in ms.
    throttle_ms: i32,
}

/// Stage one, where the request was read or, if that takes long, on the blocking pool; the next request of
/// the connection is not read before.
pub(super) async fn handle(mut call: Call) -> Result<Reply, DecodeError> {
    let bytes = call.body.remaining();
    let body = call.body.clone();
    let request = call.decode::<ProduceRequest>()?;
    let topics = call.context.broker.topics();
    let config = |data: &TopicProduceData| {
        let topic = find_topic(&topics, data, call.context.version).ok()?;
        Some(topic.partitions.first()?.log().config())
    };
    let lane = Lane::of(&request, bytes, config);
    let weight = weight::produce(&request);
    if lane.is_none() && weight <= call.memory.free {
        return Ok(begin(
            call.responder(),
            request,
            MemoryShare::default(),
            None,
        ));
    }
    if weight > limits::EARLY_ANSWER_BYTES_MAX {
        debug!(peer = %call.context.session.peer, "too many partitions to produce to at once");
        return Ok(Reply::Now(Answer::Close));
    }
    // While it waits it holds no more than its bytes: it is decoded once more then.
    drop(request);
    call.body = body;
    let context = call.context.clone();
    let mut share = MemoryShare::default();
    let mut holding = None;
    if weight > call.memory.free {
        holding = Some(Holding::new(&context.session));
        let pool = context.broker.early_answer_memory();
        match context.answer_memory(pool, weight).await {
            Some(taken) => share = taken,
            None => return Ok(Reply::Now(Answer::Close)),
        }
    }
    let Some(lane) = lane else {
        let request = call.decode()?;
        return Ok(begin(call.responder(), request, share, holding));
    };
    let broker = &context.broker;
    let place = broker.produce_lanes().enter(lane).await;
    let begun = broker.read_blocking(move || {
        let request = call.decode()?;
        let reply = begin(call.responder(), request, share, holding);
        drop(place);
        Ok(reply)
    });
    begun.await.unwrap_or(Ok(Reply::Now(Answer::Close)))
}

fn begin(
    responder: Responder,
    request: ProduceRequest,
    share: MemoryShare,
    holding: Option<Holding>,
) -> Reply {
    let context = responder.context.clone();
    let wants_reply = request.acks != 0;
    let wait = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = clock::deadline(wait.max(limits::PRODUCE_WAIT_MIN));
    let started = start(&context, request);
    Reply::Started(Box::pin(async move {
        let response = finish(started, deadline).await;
        drop(holding);
        let error = response.first_error();
        if error != 0 {
            count_errors(&responder.context, &response);
        }
        if wants_reply {
            return responder.counted(&response, share);
        }
        responder.answers(ApiKey::Produce, error);
        // Without a reply, closing is the only way to tell of an error, as with Kafka.
        match error {
            0 => Answer::Nothing,
            _ => Answer::Close,
        }
    }))
}

/// Counts what went wrong with topics that there are.
fn count_errors(context: &Context, response: &ProduceResponse) {
    let topics = context.broker.topics();
    for answered in &response.responses {
        let topic = match context.version >= 13 {
            true => topics.with_id(answered.topic_id),
            false => topics.named(&answered.name),
        };
        let Some(partition) = topic.and_then(|topic| topic.partitions.first()) else {
            continue;
        };
        let codes = answered.partition_responses.iter();
        for code in codes.map(|one| one.error_code).filter(|code| *code != 0) {
            partition.traffic().produce_failed(code);
        }
    }
}

/// Stage one: every batch is appended or refused, in the order of the request.
fn start(context: &Context, request: ProduceRequest) -> StartedRequest {
    let acks = match request.acks {
        0 | 1 => Ok(Acks::Leader),
        -1 => Ok(Acks::All),
        _ => Err(AppendError::InvalidAcks),
    };
    let acks = match request.transactional_id {
        Some(_) => Err(AppendError::Transactional),
        None => acks,
    };
    let now_ms = context.broker.clock().now_ms();
    let mut last = clock::instant();
    let (mut unsynced, mut throttle_ms) = (false, 0);
    let mut started = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let topics = context.broker.topics();
        let topic = find_topic(&topics, &data, context.version);
        let TopicProduceData {
            name,
            topic_id,
            partition_data,
        } = data;
        let mut start_one = |data: PartitionProduceData| {
            let acks = acks.clone()?;
            let topic = topic.clone()?;
            if topic.is_internal() {
                return Err(AppendError::InternalTopic);
            }
            let partition = topic
                .partition(data.index)
                .ok_or(AppendError::UnknownTopic)?;
            let place = (&**topic, data.index, &**partition);
            // zstd came with Produce 7: an older client could not read it back.
            let zstd_allowed = context.version >= 7;
            let broker = &context.broker;
            let begun = append(broker, place, data.records, acks, zstd_allowed, now_ms);
            let now = clock::instant();
            context.session.meter.appended(now - last);
            last = now;
            let begun = begun?;
            unsynced |= begun.unsynced;
            throttle_ms = throttle_ms.max(begun.throttle_ms);
            Ok(begun.outcome)
        };
        let partitions = partition_data
            .into_iter()
            .map(|data| Started {
                index: data.index,
                append: start_one(data),
            })
            .collect();
        // A copy: a slice of the frame would keep the records in memory until the reply is made.
        let name = StrBytes::from(&*name);
        started.push(StartedTopic {
            name,
            topic_id,
            partitions,
        });
    }
    if unsynced {
        context.broker.flush_soon();
    }
    // Who wants no answer is not asked.
    if throttle_ms > 0 && request.acks != 0 {
        context.broker.metrics().throttled(throttle_ms);
    }
    StartedRequest {
        topics: started,
        throttle_ms,
    }
}

/// The topic that a request of `version` means.
fn find_topic<'a>(
    topics: &'a TopicsSnapshot,
    data: &TopicProduceData,
    version: i16,
) -> Result<&'a Arc<Topic>, AppendError> {
    match version >= 13 {
        true => topics
            .with_id(data.topic_id)
            .ok_or(AppendError::UnknownTopicId),
        false => topics.named(&data.name).ok_or(AppendError::UnknownTopic),
    }
}

/// Begins the append of one batch that somebody sent to a partition of a topic that is not the broker's own.
///
/// # Errors
/// Where the topic, the batch or the broker does not allow it.
pub(crate) fn append(
    broker: &Broker,
    (topic, index, partition): (&Topic, i32, &Partition),
    records: Option<Bytes>,
    acks: Acks,
    zstd_allowed: bool,
    now_ms: i64,
) -> Result<Begun, AppendError> {
    let config = partition.log().config();
    let wanted = config.min_insync_replicas;
    let stands_for = broker.config().replication_factor_max.max(1);
    if acks == Acks::All && wanted > i32::from(stands_for) {
        return Err(AppendError::NotEnoughReplicas { wanted });
    }
    let records = records.filter(|records| !records.is_empty());
    let records = records.ok_or(AppendError::NoRecords)?;
    if config.queues() {
        let place = (topic, index);
        return delays::produce(broker, place, records, acks, zstd_allowed, now_ms);
    }
    let begun = partition.append(records, acks, zstd_allowed, now_ms)?;
    if config.delay.holds_back().is_some() {
        broker.delays().appended(broker, (topic, index), now_ms);
    }
    Ok(begun.into())
}

/// What came of an append, waited for until `deadline`.
///
/// # Errors
/// As the append, and `TimedOut`.
pub(crate) async fn outcome(
    append: oneshot::Receiver<AppendOutcome>,
    deadline: Instant,
) -> AppendOutcome {
    match timeout_at(deadline, append).await {
        Ok(Ok(outcome)) => outcome,
        // Dropped unanswered: the partition was deleted under the request.
        Ok(Err(_)) => Err(AppendError::UnknownTopic),
        Err(_) => Err(AppendError::TimedOut),
    }
}

/// Stage two: waits for the outcomes, at most until `deadline`.
async fn finish(started: StartedRequest, deadline: Instant) -> ProduceResponse {
    let mut responses = Vec::with_capacity(started.topics.len());
    for StartedTopic {
        name,
        topic_id,
        partitions,
    } in started.topics
    {
        let mut partition_responses = Vec::with_capacity(partitions.len());
        for Started { index, append } in partitions {
            let outcome = match append {
                Ok(append) => outcome(append, deadline).await,
                Err(error) => Err(error),
            };
            partition_responses.push(partition_response(index, outcome));
        }
        responses.push(TopicProduceResponse {
            name,
            topic_id,
            partition_responses,
        });
    }
    ProduceResponse {
        responses,
        throttle_time_ms: started.throttle_ms,
        ..ProduceResponse::default()
    }
}

fn partition_response(index: i32, outcome: AppendOutcome) -> PartitionProduceResponse {
    match outcome {
        Ok(info) => PartitionProduceResponse {
            index,
            error_code: ErrorCode::None.code(),
            base_offset: info.base_offset,
            log_append_time_ms: info.log_append_time,
            log_start_offset: info.log_start_offset,
            ..PartitionProduceResponse::default()
        },
        Err(error) => PartitionProduceResponse {
            index,
            error_code: error::append_code(&error).code(),
            base_offset: -1,
            record_errors: record_errors(&error),
            error_message: Some(StrBytes::from(error.to_string())),
            ..PartitionProduceResponse::default()
        },
    }
}

/// The records because of which a batch was refused: a client fails these, and tells the others that they
/// were in bad company.
fn record_errors(error: &AppendError) -> Vec<BatchIndexAndErrorMessage> {
    let of_record = |index: i32, message: StrBytes| BatchIndexAndErrorMessage {
        batch_index: index,
        batch_index_error_message: Some(message),
    };
    match error {
        AppendError::Storage(StorageError::MissingKeys { indexes, .. }) => {
            let message = StrBytes::from("a record of a compacted topic needs a key");
            let indexes = indexes.iter();
            indexes
                .map(|index| of_record(*index, message.clone()))
                .collect()
        }
        AppendError::Delay(DelayError::Invalid { errors }) => {
            let errors = errors.iter();
            errors
                .map(|(index, why)| of_record(*index, StrBytes::from(why.as_str())))
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context as TaskContext, Waker};

    use tidewheel_protocol::{RecordBatch, RecordBatchBuilder, ResponseHeader};

    use super::*;
    use crate::testing;

    fn request(partitions: i32, records: &Bytes) -> ProduceRequest {
        let data = (0..partitions).map(|index| PartitionProduceData {
            index,
            records: Some(records.clone()),
        });
        ProduceRequest {
            acks: 1,
            timeout_ms: 1_000,
            topic_data: vec![TopicProduceData {
                name: StrBytes::from("t"),
                partition_data: data.collect(),
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        }
    }

    /// What the producer is told, in the order of the request.
    async fn codes(reply: Reply) -> Vec<(i32, i64)> {
        let Reply::Started(finish) = reply else {
            panic!("begun")
        };
        let Answer::Counted(parts, _) = finish.await else {
            panic!("answered")
        };
        let mut reader = tidewheel_protocol::wire::Reader::new(parts[0].slice(4..));
        ResponseHeader::decode(&mut reader, ProduceResponse::KEY, 9).unwrap();
        let response = ProduceResponse::decode(&mut reader, 9).unwrap();
        let answers = response.responses[0].partition_responses.iter();
        answers
            .map(|answer| (i32::from(answer.error_code), answer.base_offset))
            .collect()
    }

    /// A long request used to be checked and written where it was read, and a batch of old sarama to be
    /// decompressed there: other connections of that runtime worker waited.
    #[tokio::test]
    async fn what_takes_long_waits_for_its_place_and_leaves_the_worker_free() {
        let dir = tempfile::tempdir().unwrap();
        let broker = testing::broker(dir.path(), &[]);
        let most = i32::try_from(limits::INLINE_PRODUCE_PARTITIONS_MAX).unwrap();
        testing::create_topic(&broker, "t", most + 1).await;
        let plain = RecordBatchBuilder::new().record(clock::now_ms(), None, Some(b"v"));
        let plain = plain.build().unwrap();
        let mut header = plain.header;
        header.max_timestamp = -1;
        let old = RecordBatch::assemble(header, &plain.records_bytes()).unwrap();
        let cases = [
            ("short", request(1, &plain.bytes), true),
            ("many partitions", request(most + 1, &plain.bytes), false),
            ("contradicts itself", request(1, &old.bytes), false),
        ];
        for (round, (name, request, here)) in (0..).zip(cases) {
            let mut taken = Vec::new();
            for _ in 0..limits::LONG_PRODUCE_AT_ONCE {
                taken.push(broker.produce_lanes().enter(Lane::Long).await);
            }
            taken.push(broker.produce_lanes().enter(Lane::Walked).await);
            let count = request.topic_data[0].partition_data.len();
            let call = testing::call(&broker, 9, &request);
            let mut begun = pin!(handle(call));
            let first = begun
                .as_mut()
                .poll(&mut TaskContext::from_waker(Waker::noop()));
            assert_eq!(first.is_ready(), here, "{name}");
            drop(taken);
            let reply = match first {
                std::task::Poll::Ready(reply) => reply,
                std::task::Poll::Pending => begun.await,
            };
            let told = codes(reply.unwrap()).await;
            assert_eq!(told.len(), count, "{name}");
            assert_eq!(told[0], (0, round), "{name}");
        }
    }
}
