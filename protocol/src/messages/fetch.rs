//! `Fetch` (1): reads record batches.
//!
//! 5 adds log start offsets; 7 sessions; 9 leader epochs; 10 allows zstd; 11 adds racks; 12 is flexible
//! and finds diverging epochs; 13 names topics by id alone; 15 moves the replica's id into a struct; 16
//! adds addresses of leaders; 17 directory ids of replicas. 6, 8 and 14 look like the one before.

use bytes::Bytes;

use super::{Message, message};
use crate::header::ResponseHeader;
use crate::types::{StrBytes, Uuid};
use crate::wire::field::{Encode, Form};
use crate::wire::{RecordsLen, Writer};

message! {
    /// Asks for batches from some partitions.
    pub struct FetchRequest (Fetch, 4..=17) {
        /// The cluster a replica believes to be in.
        cluster_id: Option<StrBytes>, 12.., null 12.., tag 0, default None;
        /// Node id of a replica that asks; -1 for clients.
        replica_id: i32, 0..=14, default -1;
        /// The replica that asks.
        replica_state: ReplicaState, 15.., tag 1;
        /// How long to wait for enough bytes, in ms.
        max_wait_ms: i32, 0..;
        /// How many bytes are enough to answer.
        min_bytes: i32, 0..;
        /// Bytes the answer should not exceed.
        max_bytes: i32, 3.., default i32::MAX;
        /// 0: up to the high watermark; 1: up to the last stable offset.
        isolation_level: i8, 4..;
        /// The session; 0 for none.
        session_id: i32, 7..;
        /// Number of the request in the session; 0 starts one, -1 goes without.
        session_epoch: i32, 7.., default -1;
        /// What to fetch, in the order in which to fill the answer. In a session only what changed.
        topics: Vec<FetchTopic>, 0..;
        /// What to drop from the session.
        forgotten_topics_data: Vec<ForgottenTopic>, 7..;
        /// The client's rack.
        rack_id: StrBytes, 11..;
    }

    /// A replica that asks.
    pub struct ReplicaState {
        /// Its node id; -1 for clients.
        replica_id: i32, 15.., default -1;
        /// The epoch of its registration.
        replica_epoch: i64, 15.., default -1;
    }

    /// The partitions of one topic.
    pub struct FetchTopic {
        /// The topic's name.
        topic: StrBytes, 0..=12;
        /// The topic's id.
        topic_id: Uuid, 13..;
        /// One entry per partition.
        partitions: Vec<FetchPartition>, 0..;
    }

    /// What to fetch from one partition.
    pub struct FetchPartition {
        /// The partition's number.
        partition: i32, 0..;
        /// The leader epoch the client knows; -1 to skip the check.
        current_leader_epoch: i32, 9.., default -1;
        /// The first offset wanted.
        fetch_offset: i64, 0..;
        /// Epoch of the last record the client has; -1 for none.
        last_fetched_epoch: i32, 12.., default -1;
        /// A replica's own log start offset.
        log_start_offset: i64, 5.., default -1;
        /// Bytes that the batches of this partition should not exceed.
        partition_max_bytes: i32, 0..;
        /// Directory in which a replica keeps the partition.
        replica_directory_id: Uuid, 17.., tag 0;
    }

    /// Partitions to drop from the session.
    pub struct ForgottenTopic {
        /// The topic's name.
        topic: StrBytes, 7..=12;
        /// The topic's id.
        topic_id: Uuid, 13..;
        /// The partitions' numbers.
        partitions: Vec<i32>, 7..;
    }

    /// Batches from some partitions. `R` is what stands for their bytes: [`Bytes`] where they are at
    /// hand, or a piece of a file, for [`FetchResponse::encode_parts`].
    pub struct FetchResponse<R> (Fetch, 4..=17) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// 0, or what is wrong with the request or its session.
        error_code: i16, 7..;
        /// The session; 0 for none.
        session_id: i32, 7..;
        /// One entry per topic; in a session only those with something to tell.
        responses: Vec<FetchableTopicResponse<R>>, 0..;
        /// Addresses of the leaders that entries name.
        node_endpoints: Vec<NodeEndpoint>, 16.., tag 0;
    }

    /// Batches of one topic.
    pub struct FetchableTopicResponse<R> {
        /// The topic's name.
        topic: StrBytes, 0..=12;
        /// The topic's id.
        topic_id: Uuid, 13..;
        /// One entry per partition.
        partitions: Vec<PartitionData<R>>, 0..;
    }

    /// Batches of one partition.
    pub struct PartitionData<R> {
        /// The partition's number.
        partition_index: i32, 0..;
        /// 0, or why there are no batches.
        error_code: i16, 0..;
        /// First offset that consumers may not read yet.
        high_watermark: i64, 0..;
        /// First offset that belongs to an open transaction, else the high watermark.
        last_stable_offset: i64, 4.., default -1;
        /// The partition's first offset.
        log_start_offset: i64, 5.., default -1;
        /// Where the client's log and this one part.
        diverging_epoch: EpochEndOffset, 12.., tag 0;
        /// Who leads the partition, where the client asked the wrong broker.
        current_leader: LeaderIdAndEpoch, 12.., tag 1;
        /// The snapshot to fetch instead of offsets that are gone.
        snapshot_id: SnapshotId, 12.., tag 2;
        /// Transactions to leave out; null without the read-committed isolation level.
        aborted_transactions: Option<Vec<AbortedTransaction>>, 4.., null 4..;
        /// Node id of a replica nearer to the client; -1 for none.
        preferred_read_replica: i32, 11.., default -1;
        /// The batches. None is written as no bytes, never as null: clients fail on null.
        records: Option<R>, 0.., default None;
    }

    /// The end of an epoch.
    pub struct EpochEndOffset {
        /// The epoch.
        epoch: i32, 12.., default -1;
        /// The first offset after it.
        end_offset: i64, 12.., default -1;
    }

    /// A partition's leader.
    pub struct LeaderIdAndEpoch {
        /// Its node id; -1 where unknown.
        leader_id: i32, 12.., default -1;
        /// Its epoch.
        leader_epoch: i32, 12.., default -1;
    }

    /// A snapshot.
    pub struct SnapshotId {
        /// The first offset it does not cover.
        end_offset: i64, 0.., default -1;
        /// Its epoch.
        epoch: i32, 0.., default -1;
    }

    /// A transaction that was aborted.
    pub struct AbortedTransaction {
        /// Its producer.
        producer_id: i64, 4..;
        /// Its first offset.
        first_offset: i64, 4..;
    }

    /// Where clients reach a node.
    pub struct NodeEndpoint {
        /// Its node id.
        node_id: i32, 16..;
        /// Its host.
        host: StrBytes, 16..;
        /// Its port.
        port: i32, 16..;
        /// Its rack.
        rack: Option<StrBytes>, 16.., null 16.., default None;
    }
}

/// A piece of an encoded response, to be sent in order with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<R> {
    /// Everything that is not records.
    Bytes(Bytes),
    /// Records, never empty: as many bytes as their length.
    Records(R),
}

impl<R: RecordsLen> FetchResponse<R> {
    /// As [`Message::first_error`].
    #[must_use]
    pub fn first_error(&self) -> i16 {
        super::first_error(self)
    }

    /// The whole frame in pieces, so that records need not be copied: length prefix, header and body.
    /// The first piece is always bytes.
    #[must_use]
    pub fn encode_parts(mut self, version: i16, correlation_id: i32) -> Vec<Part<R>> {
        // Empty records are dropped first, so that each gap below belongs to one record set left.
        let partitions = self
            .responses
            .iter_mut()
            .flat_map(|topic| &mut topic.partitions);
        for partition in partitions {
            partition
                .records
                .take_if(|records| records.records_len() == 0);
        }
        let mut writer = Writer::new();
        writer.put_i32(0);
        let api_key = FetchResponse::<Bytes>::KEY;
        ResponseHeader::encode(&mut writer, api_key, version, correlation_id);
        self.encode_field(
            &mut writer,
            Form::new(version, api_key.is_flexible(version)),
        );
        writer.set_frame_len();
        let (mut bytes, gaps) = writer.into_parts();
        let mut parts = Vec::with_capacity(gaps.len() * 2 + 1);
        let mut done = 0;
        let records = self
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions);
        let records = records.filter_map(|partition| partition.records);
        for (gap, records) in gaps
            .iter()
            .zip(records.filter(|one| one.inline().is_none()))
        {
            parts.push(Part::Bytes(bytes.split_to(gap.position - done)));
            parts.push(Part::Records(records));
            done = gap.position;
        }
        if !bytes.is_empty() {
            parts.push(Part::Bytes(bytes));
        }
        parts
    }
}
