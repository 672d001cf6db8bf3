//! Produce requests around batches that are not copied.

use bytes::{BufMut, Bytes, BytesMut};
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidewheel_protocol::{ApiKey, Message, RequestHeader, StrBytes, encode_request_frame};

use super::connection::CLIENT_ID;
use super::{ClientError, Connection};

/// Topics are named up to this version; later ones want their ids.
const NEWEST_BY_NAME: i16 = 12;

/// What surrounds the batch in a produce request for one partition. The records are the last field but
/// for the empty tagged fields of partition, topic and request, so everything around them is constant.
#[derive(Debug, Clone)]
pub struct ProduceFrame {
    head: Bytes,
    tail: Bytes,
    flexible: bool,
    answered: bool,
}

/// Where the correlation id lies: after length, key and version.
const CORRELATION: std::ops::Range<usize> = 8..12;

impl ProduceFrame {
    /// The version of the request that a connection takes.
    ///
    /// # Errors
    /// Where it takes none that names topics.
    pub fn version(connection: &Connection) -> Result<i16, ClientError> {
        connection.version::<ProduceRequest>(NEWEST_BY_NAME)
    }

    /// The frame for one partition. The broker is given `timeout_ms` to answer.
    #[must_use]
    pub fn new(version: i16, topic: &str, partition: i32, acks: i16, timeout_ms: i32) -> Self {
        let request = ProduceRequest {
            acks,
            timeout_ms,
            topic_data: vec![TopicProduceData {
                name: StrBytes::from(topic),
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: Some(Bytes::new()),
                }],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        let header = RequestHeader {
            api_key: ApiKey::Produce.code(),
            api_version: version,
            correlation_id: 0,
            client_id: Some(StrBytes::from_static(CLIENT_ID)),
        };
        let flexible = version >= ProduceRequest::FLEXIBLE_FROM;
        let mut head = encode_request_frame(&header, &request);
        // Empty records: their length (one byte in compact form, else four), then three empty tag lists.
        let tail_len = if flexible { 3 } else { 0 };
        let length_len = if flexible { 1 } else { 4 };
        let tail = head.split_off(head.len() - tail_len);
        head.truncate(head.len() - length_len);
        Self {
            head,
            tail,
            flexible,
            answered: acks != 0,
        }
    }

    /// Bytes of the whole frame around a batch of so many bytes, at most.
    #[must_use]
    pub fn overhead(&self) -> usize {
        self.head.len() + self.tail.len() + 5
    }

    /// Sends a batch over `connection`, whose version this frame has.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn send(&self, connection: &mut Connection, batch: Bytes) -> Result<i32, ClientError> {
        let correlation_id = connection.next_id();
        let parts = self.parts(correlation_id, batch);
        connection.send_parts(correlation_id, parts, self.answered)?;
        Ok(correlation_id)
    }

    pub(super) fn parts(&self, correlation_id: i32, batch: Bytes) -> [Bytes; 3] {
        let mut head = BytesMut::with_capacity(self.head.len() + 5);
        head.put_slice(&self.head);
        if self.flexible {
            put_uvarint(&mut head, batch.len() + 1);
        } else {
            head.put_u32(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        }
        let len = head.len() + batch.len() + self.tail.len() - 4;
        head[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        head[CORRELATION].copy_from_slice(&correlation_id.to_be_bytes());
        [head.freeze(), batch, self.tail.clone()]
    }
}

fn put_uvarint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7F).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}
