//! The table of Kafka API keys: which versions are advertised, which are served, by which function.
//!
//! ApiVersions answers from [`APIS`]. A key or version outside the table closes the connection, as
//! Kafka does; ApiVersions itself is the one exception (KIP-511).

mod alter_configs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod decided;
mod delete_groups;
pub(crate) mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod elect_leaders;
pub(crate) mod error;
mod faulty;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
pub(crate) mod produce;
mod refusal;
mod reply;
mod rights;
mod sync_group;
mod weight;

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_protocol::wire::Reader;
use tidewheel_protocol::{
    ApiKey, DecodeError, ErrorCode, Message, RequestHeader, encode_response_frame,
};

use tidewheel_config::limits;
use tokio::time::timeout;
use tracing::debug;

pub(crate) use self::faulty::{dispatch_faulty, is_served};
pub(crate) use self::refusal::can_refuse;
pub(crate) use self::reply::{Answer, Answering, Reply, bytes};
use crate::broker::{Broker, Endpoint};
use crate::connection::Session;
use crate::memory_pool::{MemoryPool, MemoryShare};

/// One line of the table.
pub(crate) struct Api {
    /// The key.
    pub(crate) key: ApiKey,
    /// What ApiVersions says.
    pub(crate) advertised: RangeInclusive<i16>,
    /// What is decoded and answered; anything else closes the connection.
    served: RangeInclusive<i16>,
    handle: Handle,
}

/// How an API's requests are begun.
enum Handle {
    /// Where they are read.
    Here(fn(Call) -> Result<Reply, DecodeError>),
    /// Where they are read or elsewhere; what comes after them on the connection waits.
    Produce,
    /// The same, by a group's coordinator.
    Decided(fn(Call) -> Begun),
}

type Begun = Pin<Box<dyn Future<Output = Result<Reply, DecodeError>> + Send>>;

const fn api(
    key: ApiKey,
    versions: RangeInclusive<i16>,
    handle: fn(Call) -> Result<Reply, DecodeError>,
) -> Api {
    served(key, versions, Handle::Here(handle))
}

const fn decided(key: ApiKey, versions: RangeInclusive<i16>, handle: fn(Call) -> Begun) -> Api {
    served(key, versions, Handle::Decided(handle))
}

const fn served(key: ApiKey, versions: RangeInclusive<i16>, handle: Handle) -> Api {
    let advertised = *versions.start()..=*versions.end();
    Api {
        key,
        advertised,
        served: versions,
        handle,
    }
}

/// Every API this broker answers.
pub(crate) const APIS: &[Api] = &[
    // librdkafka up to 2.10 sends no compressed batches to a broker whose range does not start at 0
    // (KAFKA-18659). Versions 0-2 carry message sets of old formats, which are not served: as with
    // Kafka 4, such a request closes the connection.
    Api {
        key: ApiKey::Produce,
        advertised: 0..=13,
        served: 3..=13,
        handle: Handle::Produce,
    },
    api(ApiKey::Fetch, 4..=17, |call| Ok(fetch::handle(call))),
    api(ApiKey::ListOffsets, 1..=9, |call| {
        call.answer(weight::like_request, list_offsets::handle)
    }),
    api(ApiKey::Metadata, 0..=13, |call| {
        call.answer(weight::metadata, metadata::handle)
    }),
    api(ApiKey::ApiVersions, 0..=4, |call| {
        call.at_once(api_versions::handle)
    }),
    api(ApiKey::CreateTopics, 0..=7, |call| {
        call.change(weight::create_topics, create_topics::handle)
    }),
    api(ApiKey::DeleteTopics, 0..=6, |call| {
        call.change(weight::like_request, delete_topics::handle)
    }),
    api(ApiKey::InitProducerId, 0..=5, |call| {
        call.answer(weight::like_request, init_producer_id::handle)
    }),
    api(ApiKey::OffsetForLeaderEpoch, 0..=4, |call| {
        call.answer(weight::like_request, offset_for_leader_epoch::handle)
    }),
    api(ApiKey::DescribeConfigs, 0..=4, |call| {
        call.answer(weight::describe_configs, describe_configs::handle)
    }),
    api(ApiKey::CreatePartitions, 0..=3, |call| {
        call.change(weight::create_partitions, create_partitions::handle)
    }),
    api(ApiKey::AlterConfigs, 0..=2, |call| {
        call.change(weight::alter_configs, alter_configs::handle)
    }),
    api(ApiKey::IncrementalAlterConfigs, 0..=1, |call| {
        call.change(
            weight::incremental_alter_configs,
            incremental_alter_configs::handle,
        )
    }),
    api(ApiKey::DescribeCluster, 0..=2, |call| {
        call.answer(weight::like_request, describe_cluster::handle)
    }),
    api(ApiKey::DeleteRecords, 0..=2, |call| {
        call.answer(weight::like_request, delete_records::handle)
    }),
    api(ApiKey::DescribeAcls, 0..=3, |call| {
        call.at_once(describe_acls::handle)
    }),
    api(ApiKey::DescribeLogDirs, 0..=4, |call| {
        call.answer(weight::describe_log_dirs, describe_log_dirs::handle)
    }),
    api(ApiKey::ElectLeaders, 0..=2, |call| {
        call.answer(weight::like_request, elect_leaders::handle)
    }),
    api(ApiKey::ListPartitionReassignments, 0..=0, |call| {
        call.at_once(list_partition_reassignments::handle)
    }),
    api(ApiKey::DescribeProducers, 0..=0, |call| {
        call.answer(weight::describe_producers, describe_producers::handle)
    }),
    api(ApiKey::DescribeTopicPartitions, 0..=0, |call| {
        call.answer(
            weight::describe_topic_partitions,
            describe_topic_partitions::handle,
        )
    }),
    api(ApiKey::FindCoordinator, 0..=6, |call| {
        let call = call.of_groups(limits::GROUP_ARRAY_BYTES_MAX);
        call.answer(weight::find_coordinator, find_coordinator::handle)
    }),
    decided(ApiKey::JoinGroup, 0..=9, |call| {
        Box::pin(join_group::handle(call))
    }),
    decided(ApiKey::SyncGroup, 0..=5, |call| {
        Box::pin(sync_group::handle(call))
    }),
    decided(ApiKey::Heartbeat, 0..=4, |call| {
        Box::pin(call.decided(heartbeat::handle))
    }),
    decided(ApiKey::LeaveGroup, 0..=5, |call| {
        Box::pin(call.decided(leave_group::handle))
    }),
    // Kafka 4 begins at version 2; sarama before 1.41 sends version 1.
    decided(ApiKey::OffsetCommit, 1..=9, |call| {
        Box::pin(call.decided(offset_commit::handle))
    }),
    api(ApiKey::OffsetFetch, 1..=9, |call| {
        let call = call.of_groups(limits::OFFSET_FETCH_ARRAY_BYTES_MAX);
        call.answer(weight::offset_fetch, offset_fetch::handle)
    }),
    api(ApiKey::DescribeGroups, 0..=6, |call| {
        let call = call.of_groups(limits::GROUP_ARRAY_BYTES_MAX);
        call.answer(weight::describe_groups, describe_groups::handle)
    }),
    api(ApiKey::ListConfigResources, 0..=1, |call| {
        call.answer(weight::list_config_resources, list_config_resources::handle)
    }),
    api(ApiKey::ListGroups, 0..=5, |call| {
        call.answer(weight::list_groups, list_groups::handle)
    }),
    api(ApiKey::DeleteGroups, 0..=2, |call| {
        let call = call.of_groups(limits::GROUP_ARRAY_BYTES_MAX);
        call.change(weight::like_request, delete_groups::handle)
    }),
    api(ApiKey::OffsetDelete, 0..=0, |call| {
        let call = call.of_groups(limits::GROUP_ARRAY_BYTES_MAX);
        call.change(weight::like_request, offset_delete::handle)
    }),
    decided(ApiKey::ConsumerGroupHeartbeat, 0..=1, |call| {
        Box::pin(consumer_group_heartbeat::handle(call))
    }),
    api(ApiKey::ConsumerGroupDescribe, 0..=1, |call| {
        let call = call.of_groups(limits::GROUP_ARRAY_BYTES_MAX);
        let weigh = weight::consumer_group_describe;
        call.answer(weigh, consumer_group_describe::handle)
    }),
];

/// Where an API stands in the table.
pub(crate) fn place(key: i16) -> Option<usize> {
    APIS.iter().position(|api| api.key.code() == key)
}

/// Why a request closes the connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("API key {key} is not served")]
    UnknownKey { key: i16 },
    #[error("version {version} of {key:?} is not served")]
    UnknownVersion { key: ApiKey, version: i16 },
    #[error("malformed {key:?} request of version {version}: {source}")]
    Malformed {
        key: ApiKey,
        version: i16,
        source: DecodeError,
    },
}

/// One request: its header, the bytes of its body, and where it came from.
pub(crate) struct Call {
    pub(crate) header: RequestHeader,
    pub(crate) body: Reader,
    pub(crate) context: Context,
    pub(crate) memory: RequestMemory,
}

/// What a request holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestMemory {
    /// Bytes of memory that need not be counted for its answer while it waits behind others.
    pub(crate) free: usize,
    /// Whether its own bytes are counted, until its reply is made.
    pub(crate) counted: bool,
}

/// What every handler may use.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) broker: Arc<Broker>,
    pub(crate) session: Arc<Session>,
    /// The version of the request and so of its response.
    pub(crate) version: i16,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The address that clients of the listener they came through are told.
    fn endpoint(&self) -> &Endpoint {
        self.broker.endpoint(self.session.listener)
    }

    /// Memory of `pool` for an answer of this weight in bytes; `None` where others hold it for too long.
    async fn answer_memory(&self, pool: &MemoryPool, weight: usize) -> Option<MemoryShare> {
        let mut share = MemoryShare::default();
        let grown = pool.grow(&mut share, weight);
        if timeout(limits::ANSWER_WAIT, grown).await.is_err() {
            debug!(peer = %self.session.peer, weight, "no memory for an answer, connection closed");
            return None;
        }
        Some(share)
    }
}

/// How long a change may take that a request gives this time; none where it is not positive, as in Kafka.
fn wait(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}

/// KIP-320: a client that names the leader epoch it knows is told when it is not the current one. All
/// partitions are led under the epoch of the broker's start.
fn check_leader_epoch(known: i32, current: i32) -> Result<(), ErrorCode> {
    match known {
        -1 => Ok(()),
        known if known < current => Err(ErrorCode::FencedLeaderEpoch),
        known if known > current => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

impl Call {
    /// Reads the header of a frame.
    pub(crate) fn new(
        frame: Bytes,
        session: Arc<Session>,
        broker: Arc<Broker>,
        memory: RequestMemory,
    ) -> Result<Self, DecodeError> {
        let mut body = Reader::new(frame);
        let header = RequestHeader::decode(&mut body)?;
        let version = header.api_version;
        Ok(Self {
            header,
            body,
            context: Context {
                broker,
                session,
                version,
            },
            memory,
        })
    }

    fn decode<Q: Message>(&mut self) -> Result<Q, DecodeError> {
        Q::decode(&mut self.body, self.header.api_version)
    }

    /// Decodes the request when its turn has come and there is memory for what it weighs; while it waits
    /// it holds no more than its bytes. `None` where the connection has to close, also where it weighs too
    /// much (`None`) to be handled at all.
    async fn weighed<Q: Message>(
        &mut self,
        weigh: impl FnOnce(&Context, &Q) -> Option<usize>,
    ) -> Option<(Q, MemoryShare)> {
        let body = self.body.clone();
        let request = self.decode_or_close::<Q>()?;
        let weight = weigh(&self.context, &request)?;
        // It is the only one of its connection.
        let free = limits::FREE_BYTES_PER_CONNECTION;
        if weight <= free {
            return Some((request, MemoryShare::default()));
        }
        drop(request);
        self.body = body;
        let pool = self.context.broker.answer_memory();
        let share = self.context.answer_memory(pool, weight).await?;
        Some((self.decode_or_close()?, share))
    }

    fn decode_or_close<Q: Message>(&mut self) -> Option<Q> {
        let request = self.decode::<Q>();
        request
            .inspect_err(
                |error| debug!(api = ?Q::KEY, %error, "malformed request, connection closed"),
            )
            .ok()
    }

    /// For handlers whose answer depends on nothing that earlier requests change.
    fn at_once<Q: Message, A: Message>(
        mut self,
        handle: fn(&Context, Q) -> A,
    ) -> Result<Reply, DecodeError> {
        let request = self.decode()?;
        let responder = self.responder();
        Ok(Reply::Now(
            responder.frame(&handle(&responder.context, request)),
        ))
    }

    /// For handlers that are run when their reply's turn has come. The body is decoded only then: what
    /// waits costs no more than its bytes. What the answer weighs beyond its request decides how many are
    /// made at once.
    fn answer<Q, A, F>(
        mut self,
        weigh: fn(&Context, &Q) -> usize,
        handle: fn(Context, Q) -> F,
    ) -> Result<Reply, DecodeError>
    where
        Q: Message + Send + 'static,
        A: Message + Send,
        F: Future<Output = A> + Send + 'static,
    {
        Ok(Reply::Later(Box::pin(async move {
            let bytes = self.body.remaining();
            let weigh = |context: &Context, request: &Q| {
                let weight = bytes.saturating_mul(weight::PER_REQUEST_BYTE);
                Some(weight.saturating_add(weigh(context, request)))
            };
            let Some((request, share)) = self.weighed(weigh).await else {
                return Answer::Close;
            };
            let responder = self.responder();
            let response = handle(responder.context.clone(), request).await;
            responder.counted(&response, share)
        })))
    }

    /// The same, for handlers that change what later requests of the connection see.
    fn change<Q, A, F>(
        self,
        weigh: fn(&Context, &Q) -> usize,
        handle: fn(Context, Q) -> F,
    ) -> Result<Reply, DecodeError>
    where
        Q: Message + Send + 'static,
        A: Message + Send,
        F: Future<Output = A> + Send + 'static,
    {
        Ok(match self.answer(weigh, handle)? {
            Reply::Later(future) => Reply::Barrier(future),
            other => other,
        })
    }

    fn responder(self) -> Responder {
        Responder {
            correlation_id: self.header.correlation_id,
            context: self.context,
        }
    }
}

/// Encodes the response to one request.
#[derive(Debug)]
pub(crate) struct Responder {
    pub(crate) correlation_id: i32,
    pub(crate) context: Context,
}

impl Responder {
    /// Counts an answer with its first error.
    fn answers(&self, key: ApiKey, error: i16) {
        let Context {
            session, version, ..
        } = &self.context;
        session.meter.answered(key, *version, error);
    }

    fn frame<A: Message>(&self, response: &A) -> Answer {
        self.answers(A::KEY, response.first_error());
        let frame = encode_response_frame(self.context.version, self.correlation_id, response);
        Answer::Parts(vec![frame])
    }

    /// The same for an answer whose memory is counted; the estimate was for its making.
    fn counted<A: Message>(&self, response: &A, mut share: MemoryShare) -> Answer {
        self.answers(A::KEY, response.first_error());
        let frame = encode_response_frame(self.context.version, self.correlation_id, response);
        share.shrink(frame.len());
        match share.is_counted() {
            true => Answer::Counted(vec![frame], share),
            false => Answer::Parts(vec![frame]),
        }
    }
}

/// The line of the table for a request.
///
/// # Errors
/// Where there is none, or not for this version.
fn served_by(header: &RequestHeader) -> Result<&'static Api, Refused> {
    let (key, version) = (header.api_key, header.api_version);
    let api = APIS.iter().find(|api| api.key.code() == key);
    let api = api.ok_or(Refused::UnknownKey { key })?;
    match api.served.contains(&version) {
        true => Ok(api),
        false => Err(Refused::UnknownVersion {
            key: api.key,
            version,
        }),
    }
}

/// Starts a request. When this returns, its place in the order of appends is fixed.
///
/// # Errors
/// Where the key or version is not in the table or the body cannot be read: the connection closes.
pub(crate) async fn dispatch(call: Call) -> Result<Reply, Refused> {
    let api = match served_by(&call.header) {
        Err(Refused::UnknownVersion {
            key: ApiKey::ApiVersions,
            ..
        }) => {
            let responder = call.responder();
            return Ok(Reply::Now(api_versions::unsupported_version(&responder)));
        }
        served => served?,
    };
    let (key, version) = (api.key, call.header.api_version);
    let begun = match api.handle {
        Handle::Here(handle) => handle(call),
        Handle::Produce => produce::handle(call).await,
        Handle::Decided(handle) => handle(call).await,
    };
    begun.map_err(|source| Refused::Malformed {
        key,
        version,
        source,
    })
}

#[cfg(test)]
mod tests;
