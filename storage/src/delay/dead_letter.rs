//! What goes to a dead-letter topic: records that were tried too often ([`super::retry`]) and records that expired
//! before they were delivered. Headers say where they were to go, and why they did not.

use bytes::Bytes;
use tidewheel_config::limits::{DELAY_BATCH_BYTES_MAX, DELAY_BATCH_HEADERS_MAX};
use tidewheel_protocol::{BatchError, Compression, RecordBatch, RecordBatchBuilder, RecordHeader};

use super::group::DelayedBatch;
use super::pending::PendingRecord;

/// Where the record was to go.
const ORIGIN_TOPIC_HEADER: &str = "delay-origin-topic";
/// To which partition.
const ORIGIN_PARTITION_HEADER: &str = "delay-origin-partition";
/// Its timestamp then, ms since 1970.
const ORIGIN_TIMESTAMP_HEADER: &str = "delay-origin-timestamp";
/// Why it did not get there.
const REASON_HEADER: &str = "delay-reason";

/// It was tried too often.
pub(super) const ATTEMPTS: &str = "attempts";
/// It had expired when it was due.
const EXPIRED: &str = "expired";

/// Where a record was to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) timestamp_ms: i64,
}

impl Origin<'_> {
    /// The headers of the record, and where it comes from and why. A record that comes from elsewhere already keeps
    /// that, but the reason is the last one.
    pub(super) fn headers(self, mut headers: Vec<RecordHeader>, reason: &str) -> Vec<RecordHeader> {
        let is = |header: &RecordHeader, name: &str| header.key.as_ref() == name.as_bytes();
        for (name, value) in [
            (ORIGIN_TOPIC_HEADER, self.topic.to_owned()),
            (ORIGIN_PARTITION_HEADER, self.partition.to_string()),
            (ORIGIN_TIMESTAMP_HEADER, self.timestamp_ms.to_string()),
        ] {
            if !headers.iter().any(|known| is(known, name)) {
                headers.push(header(name, value));
            }
        }
        headers.retain(|known| !is(known, REASON_HEADER));
        headers.push(header(REASON_HEADER, reason.to_owned()));
        headers
    }
}

pub(super) fn header(key: &str, value: String) -> RecordHeader {
    RecordHeader {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::from(value)),
    }
}

/// What has expired, which was to go to this topic, as it goes to the dead-letter topic at `now_ms`, ms since 1970: in
/// the codec that this one has, or else in its own. And how many bytes it is unpacked, about.
///
/// # Errors
/// Where the batch cannot be read any more, which it could when it was accepted.
pub fn expired(
    found: &PendingRecord,
    topic: &str,
    codec: Option<Compression>,
    now_ms: i64,
) -> Result<(DelayedBatch, usize), BatchError> {
    let batch = RecordBatch::parse(found.add.batch.clone())?;
    let came_in = match found.add.split_from {
        Some(codec) => codec,
        None => batch.header.compression()?,
    };
    let codec = codec.unwrap_or(came_in);
    // A part of a batch lies there unpacked, to be joined with others.
    let split_from = found.add.split_from.map(|_| codec);
    let packed = split_from.map_or(codec, |_| Compression::None);
    let mut builder = RecordBatchBuilder::new().compression(packed);
    let mut unpacked = 0;
    let records = batch.records(DELAY_BATCH_BYTES_MAX)?;
    for record in records.limit_headers(DELAY_BATCH_HEADERS_MAX) {
        let record = record?;
        let origin = Origin {
            topic,
            partition: found.partition.partition,
            timestamp_ms: record.timestamp,
        };
        let headers = origin.headers(record.headers, EXPIRED);
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        unpacked += [key, value]
            .map(|part| part.map_or(0, <[u8]>::len))
            .iter()
            .sum::<usize>();
        let header_len =
            |header: &RecordHeader| header.key.len() + header.value.as_ref().map_or(0, Bytes::len);
        unpacked += headers.iter().map(header_len).sum::<usize>();
        builder = builder.record_with_headers(record.timestamp, key, value, headers);
    }
    let add = DelayedBatch {
        due_ms: now_ms,
        expires_ms: None,
        id: Bytes::new(),
        replace: false,
        split_from,
        batch: builder.build()?.bytes,
    };
    Ok((add, unpacked))
}

#[cfg(test)]
mod tests {
    use tidewheel_protocol::Uuid;

    use super::super::{DelayKey, PartitionId};
    use super::*;

    fn pending(codec: Compression, split_from: Option<Compression>) -> PendingRecord {
        let headers = vec![
            header("expire-ms", "5".to_owned()),
            header(REASON_HEADER, "x".to_owned()),
        ];
        let mut builder = RecordBatchBuilder::new().compression(codec);
        for timestamp in [7, 9] {
            let value = Some(&b"value"[..]);
            builder = builder.record_with_headers(timestamp, Some(b"key"), value, headers.clone());
        }
        PendingRecord {
            partition: PartitionId {
                topic_id: Uuid([1; 16]),
                partition: 3,
            },
            key: DelayKey::first_of(20),
            add: DelayedBatch {
                due_ms: 20,
                expires_ms: Some(10),
                id: Bytes::from_static(b"id"),
                replace: true,
                split_from,
                batch: builder.build().unwrap().bytes,
            },
        }
    }

    #[test]
    fn what_expired_says_where_it_was_to_go_and_why_it_did_not() {
        let (none, lz4, zstd) = (Compression::None, Compression::Lz4, Compression::Zstd);
        for (came_in, split, target, packed, joined) in [
            (lz4, None, None, lz4, None),
            (lz4, None, Some(zstd), zstd, None),
            (none, Some(lz4), None, none, Some(lz4)),
            (none, Some(lz4), Some(zstd), none, Some(zstd)),
        ] {
            let found = pending(came_in, split);
            let (add, unpacked) = expired(&found, "t", target, 30).unwrap();
            assert!((16..1_000).contains(&unpacked), "{unpacked}");
            let said = (add.due_ms, add.expires_ms, add.replace, add.split_from);
            assert_eq!(said, (30, None, false, joined));
            assert!(
                add.id.is_empty(),
                "a replacement of the old one does not hit it"
            );
            let batch = RecordBatch::parse(add.batch).unwrap();
            assert_eq!(batch.header.compression(), Ok(packed));
            let records = batch.records(1 << 20).unwrap().map(Result::unwrap);
            for (record, timestamp) in records.zip([7, 9]) {
                let pair = |header: &RecordHeader| {
                    let value = header.value.clone().unwrap();
                    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                    (text(&header.key), text(&value))
                };
                let headers: Vec<_> = record.headers.iter().map(pair).collect();
                let expected = [
                    ("expire-ms", "5".to_owned()),
                    ("delay-origin-topic", "t".to_owned()),
                    ("delay-origin-partition", "3".to_owned()),
                    ("delay-origin-timestamp", timestamp.to_string()),
                    ("delay-reason", "expired".to_owned()),
                ];
                assert_eq!(
                    headers,
                    expected.map(|(key, value)| (key.to_owned(), value))
                );
                assert_eq!(
                    (record.timestamp, record.value.as_deref()),
                    (timestamp, Some(&b"value"[..]))
                );
            }
        }
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_an_error() {
        let mut found = pending(Compression::None, None);
        let mut bytes = found.add.batch.to_vec();
        bytes[70] ^= 1;
        found.add.batch = Bytes::from(bytes);
        assert!(expired(&found, "t", None, 30).is_err());
    }
}
