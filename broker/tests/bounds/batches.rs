//! Record batches that lie, and those that decompress to far more than they are.

use bytes::Bytes;
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::produce::ProduceResponse;
use tidewheel_protocol::{
    BatchHeader, Compression, ErrorCode, RecordBatch, RecordBatchBuilder, crc32c,
};

use crate::support::{Broker, Client, batch, fetch_request, now_ms, produce_request};

/// Where the fields lie in a batch, in bytes from its start.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;

fn three_records() -> RecordBatchBuilder {
    ["a", "b", "c"]
        .iter()
        .fold(RecordBatchBuilder::new(), |builder, value| {
            builder.record(now_ms(), None, Some(value.as_bytes()))
        })
}

/// A batch with another header, under the right CRC.
fn with(builder: &RecordBatchBuilder, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let batch = builder.build().unwrap();
    let mut header = batch.header;
    change(&mut header);
    let changed = RecordBatch::assemble(header, &batch.records_bytes());
    changed.unwrap().bytes
}

/// A batch with other bytes somewhere; the CRC is what it was, or made right.
fn patched(at: usize, bytes: &[u8], right_crc: bool) -> Bytes {
    let mut batch = three_records().build().unwrap().bytes.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    if right_crc {
        let crc = crc32c(&batch[ATTRIBUTES..]).to_be_bytes();
        batch[CRC..CRC + 4].copy_from_slice(&crc);
    }
    Bytes::from(batch)
}

/// What lies, and what it is answered with.
type Lie = (&'static str, Bytes, ErrorCode);

/// Headers that lie under the right CRC.
fn lying_headers() -> Vec<Lie> {
    type Change = fn(&mut BatchHeader);
    let changes: [(&str, Change); 10] = [
        ("count below", |h| h.record_count = 1),
        ("count above", |h| h.record_count = i32::MAX),
        ("no count", |h| h.record_count = 0),
        ("negative count", |h| h.record_count = -1),
        ("offsets below", |h| h.last_offset_delta = 1),
        ("offsets above", |h| h.last_offset_delta = i32::MAX),
        ("negative offsets", |h| h.last_offset_delta = -1),
        ("more than there can be", |h| {
            (h.record_count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1);
        }),
        ("control batch", |h| h.attributes |= 1 << 5),
        ("delete horizon", |h| h.attributes |= 1 << 6),
    ];
    changes
        .into_iter()
        .map(|(name, change)| {
            let records = with(&three_records(), change);
            (name, records, ErrorCode::InvalidRecord)
        })
        .collect()
}

/// Bytes that are no batch, or not the one that they say.
fn lying_bytes() -> Vec<Lie> {
    use ErrorCode::{CorruptMessage, InvalidRecord, UnsupportedCompressionType};
    let whole = three_records().build().unwrap().bytes;
    let length = |length: i32| patched(LENGTH, &length.to_be_bytes(), false);
    let two = [&whole[..], &batch(&["second"])].concat();
    vec![
        ("length above", length(1_000), CorruptMessage),
        ("length below", length(10), CorruptMessage),
        ("negative length", length(-1), CorruptMessage),
        ("largest length", length(i32::MAX), CorruptMessage),
        ("cut", whole.slice(..whole.len() - 1), CorruptMessage),
        ("half a header", whole.slice(..30), CorruptMessage),
        ("crc", patched(CRC, &[0; 4], false), CorruptMessage),
        (
            "under the crc",
            patched(whole.len() - 2, b"x", false),
            CorruptMessage,
        ),
        ("magic 3", patched(MAGIC, &[3], false), InvalidRecord),
        (
            "codec 7",
            patched(ATTRIBUTES, &[0, 7], true),
            UnsupportedCompressionType,
        ),
        ("two batches", Bytes::from(two), InvalidRecord),
    ]
}

/// Records that lie under a header which is right in itself: it announces three.
fn lying_records() -> Vec<Lie> {
    let batch = three_records().build().unwrap();
    let records = batch.records_bytes();
    let record_bytes = records.len() / 3;
    let record = |index: usize| &records[index * record_bytes..][..record_bytes];
    let (first, second, third) = (record(0), record(1), record(2));
    // One record of more bytes than two of the others.
    let long = RecordBatchBuilder::new().record(now_ms(), None, Some(&[b'v'; 40]));
    let long = long.build().unwrap().records_bytes();
    // Length, attributes and time lie before the offset.
    let misplaced = |record: &[u8], offset_delta: u8| {
        let mut record = record.to_vec();
        record[3] = 2 * offset_delta;
        record
    };
    let cases = [
        ("fewer records", [&long[..], second].concat()),
        ("more records", [first, second, third, third].concat()),
        ("bytes left over", [first, second, third, &[0]].concat()),
        ("a record cut", records[..records.len() - 1].to_vec()),
        ("no last record", [&long[..], second, &[0]].concat()),
        ("an offset twice", [first, second, second].concat()),
        ("falling offsets", [third, second, first].concat()),
        (
            "an offset beyond the last",
            [first, second, &misplaced(third, 3)].concat(),
        ),
    ];
    let under_the_header = |(name, records): (&'static str, Vec<u8>)| {
        let lying = RecordBatch::assemble(batch.header, &records).unwrap();
        (name, lying.bytes, ErrorCode::InvalidRecord)
    };
    cases.into_iter().map(under_the_header).collect()
}

/// Each lie has its answer, nothing of it is appended, and the connection goes on.
pub(crate) fn that_lie(broker: &Broker) {
    let mut client = broker.connect();
    client.create_topic("lies", 1, &[]);
    client.create_topic(
        "stamped-lies",
        1,
        &[("message.timestamp.type", "LogAppendTime")],
    );
    for (name, records, expected) in [lying_headers(), lying_bytes(), lying_records()].concat() {
        for topic in ["lies", "stamped-lies"] {
            let answer = client.produce(topic, 0, -1, records.clone());
            assert_eq!(answer.error_code, expected.code(), "{topic}: {name}");
            assert_eq!(answer.base_offset, -1, "{topic}: {name}");
        }
    }
    assert_eq!(
        client.produce("lies", 0, -1, batch(&["true"])).base_offset,
        0
    );
    let read = client.consume("lies", 0, 0);
    assert_eq!(read.len(), 1);
    assert_eq!(&read[0].value[..], b"true");
}

/// Zeros that compress to less than `max.message.bytes`, as much as the codec can.
fn zeros(codec: Compression) -> usize {
    match codec {
        Compression::Snappy => 18 << 20,
        _ => 100 << 20,
    }
}

/// A bomb; where `walked`, its header contradicts itself, so that the broker must look into it.
fn bomb(codec: Compression, walked: bool) -> Bytes {
    let builder = RecordBatchBuilder::new().compression(codec).record(
        now_ms(),
        None,
        Some(&vec![0; zeros(codec)]),
    );
    let bytes = with(&builder, |header| {
        if walked {
            header.max_timestamp = -1;
        }
    });
    assert!(bytes.len() < 1 << 20, "{codec:?}: {} bytes", bytes.len());
    bytes
}

/// Eight peers at once with the same batch; returns what they are told.
fn produced_by_many(broker: &Broker, topic: &str, records: &Bytes) -> Vec<i16> {
    let sent: Vec<(Client, i32)> = (0..8)
        .map(|_| {
            let mut peer = broker.connect();
            let request = produce_request(topic, 0, 1, Some(records.clone()));
            let number = peer.send(9, &request);
            (peer, number)
        })
        .collect();
    sent.into_iter()
        .map(|(mut peer, number)| {
            let answer: ProduceResponse = peer.receive(9, number);
            answer.responses[0].partition_responses[0].error_code
        })
        .collect()
}

/// Topics that the broker compresses: their `compression.type`, at the level at which zstd would take most memory,
/// and `delay.mode`.
const RECOMPRESSED: [(&str, &str); 3] = [
    ("uncompressed", "none"),
    ("zstd", "none"),
    ("zstd", "header"),
];

/// A bomb that the broker must look into is refused within the bound for one batch. Any other is stored as
/// it came, like any large batch that compresses well, and served as it came, to old consumers too:
/// nothing in the broker decompresses it.
pub(crate) fn decompression_bombs(broker: &Broker) {
    let mut client = broker.connect();
    client.create_topic("bombs", 1, &[]);
    for (kept_in, mode) in RECOMPRESSED {
        let topic = format!("{kept_in}-{mode}");
        let settings = [
            ("compression.type", kept_in),
            ("compression.zstd.level", "22"),
            ("delay.mode", mode),
        ];
        client.create_topic(&topic, 1, &settings);
        let small = produced_by_many(broker, &topic, &batch(&["small"]));
        assert_eq!(small, [0; 8], "{topic}");
    }
    let codecs = Compression::ALL.into_iter();
    for codec in codecs.filter(|codec| *codec != Compression::None) {
        let refused = [ErrorCode::InvalidRecord.code(); 8];
        let walked = produced_by_many(broker, "bombs", &bomb(codec, true));
        assert_eq!(walked, refused, "{codec:?}");
        let plain = bomb(codec, false);
        let stored = produced_by_many(broker, "bombs", &plain);
        assert_eq!(stored, [0; 8], "{codec:?}");
        for (kept_in, mode) in RECOMPRESSED {
            let topic = format!("{kept_in}-{mode}");
            let came = produced_by_many(broker, &topic, &plain);
            let expected = match (kept_in == codec.name(), mode) {
                (false, _) => refused,
                (true, "none") => [0; 8],
                (true, _) => [ErrorCode::MessageTooLarge.code(); 8],
            };
            assert_eq!(came, expected, "{codec:?} to {topic}");
        }
    }
    for version in [10, 11] {
        let mut request = fetch_request("bombs", 0, 0);
        request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
        let answer: FetchResponse<Bytes> = client.call(version, &request);
        assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    }
}
