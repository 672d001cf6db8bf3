//! What the fuzz targets run, and `tests/fuzz_corpus.rs` on the stable toolchain: each function takes
//! any input, must not panic, and checks that what was read can be written and read again.
#![allow(dead_code, reason = "each fuzz target uses one of these functions")]

use std::fmt::Debug;

use bytes::Bytes;
use tidewheel_protocol::{
    ApiKey, BatchHeader, Batches, Message, Reader, RecordBatch, RequestHeader, ResponseHeader,
    Writer, consumer_protocol, coordinator_record, frame_len, messages,
};

/// What the decompressed records of a batch may take here.
pub(crate) const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
/// The largest frame accepted here.
const FRAME_BYTES_MAX: usize = 100 << 20;

/// A length prefix.
pub(crate) fn frame(data: &[u8]) {
    let Some(prefix) = data.first_chunk::<4>() else {
        return;
    };
    if let Ok(len) = frame_len(*prefix, FRAME_BYTES_MAX) {
        assert!((8..=FRAME_BYTES_MAX).contains(&len));
    }
}

/// A request header, and a response header to it.
pub(crate) fn header(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    let mut reader = Reader::new(data.clone());
    if let Ok(header) = RequestHeader::decode(&mut reader) {
        let mut writer = Writer::new();
        header.encode(&mut writer);
        let again = RequestHeader::decode(&mut Reader::new(writer.freeze()));
        assert_eq!(again, Ok(header));
    }
    for api in [ApiKey::ApiVersions, ApiKey::Fetch] {
        for version in [3, 12] {
            drop(ResponseHeader::decode(
                &mut Reader::new(data.clone()),
                api,
                version,
            ));
        }
    }
}

/// A request with its header, which says which one it is.
pub(crate) fn request(data: &[u8]) {
    let mut reader = Reader::new(Bytes::copy_from_slice(data));
    let Ok(header) = RequestHeader::decode(&mut reader) else {
        return;
    };
    let Ok(api) = ApiKey::try_from(header.api_key) else {
        return;
    };
    macro_rules! decode_request {
        ($($module:ident $request:ident $response:ident $(<$records:ty>)?;)*) => {$(
            if api == messages::$module::$request::KEY {
                decode_twice::<messages::$module::$request>(reader.clone(), header.api_version);
            }
        )*};
    }
    tidewheel_protocol::for_each_api!(decode_request);
}

/// A response after the key and version that say which one it is.
pub(crate) fn response(data: &[u8]) {
    let mut reader = Reader::new(Bytes::copy_from_slice(data));
    let (Ok(key), Ok(version)) = (reader.read_i16(), reader.read_i16()) else {
        return;
    };
    macro_rules! decode_response {
        ($($module:ident $request:ident $response:ident $(<$records:ty>)?;)*) => {$(
            if key == messages::$module::$request::KEY.code() {
                decode_twice::<messages::$module::$response$(<$records>)?>(reader.clone(), version);
            }
        )*};
    }
    tidewheel_protocol::for_each_api!(decode_response);
}

fn decode_twice<M: Message + PartialEq + Debug>(mut reader: Reader, version: i16) {
    let Ok(message) = M::decode(&mut reader, version) else {
        return;
    };
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    let mut reader = Reader::new(writer.freeze());
    assert_eq!(M::decode(&mut reader, version).as_ref(), Ok(&message));
    assert_eq!(reader.remaining(), 0);
}

/// A record of a group coordinator: the length of its key in two bytes, its key, its value. No value at
/// all stands for null.
pub(crate) fn coordinator_record(data: &[u8]) {
    use coordinator_record::CoordinatorRecord;

    let mut data = Bytes::copy_from_slice(data);
    let Some(len) = data.first_chunk::<2>() else {
        return;
    };
    let len = usize::from(u16::from_be_bytes(*len));
    let mut key = data.split_off(2);
    let value = key.split_off(len.min(key.len()));
    let value = (!value.is_empty()).then_some(value);
    let Ok(record) = CoordinatorRecord::decode(key, value) else {
        return;
    };
    let (key, value) = record.encode();
    assert_eq!(CoordinatorRecord::decode(key, value), Ok(record));
}

/// What consumers say to each other.
pub(crate) fn consumer_protocol(data: &[u8]) {
    use consumer_protocol::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, VERSION_MAX,
    };

    let data = Bytes::copy_from_slice(data);
    if let Ok(subscription) = ConsumerProtocolSubscription::decode(data.clone()) {
        let again = ConsumerProtocolSubscription::decode(subscription.encode(VERSION_MAX));
        assert_eq!(again, Ok(subscription));
    }
    if let Ok(assignment) = ConsumerProtocolAssignment::decode(data) {
        let again = ConsumerProtocolAssignment::decode(assignment.encode(VERSION_MAX));
        assert_eq!(again, Ok(assignment));
    }
}

/// A record batch with its records; the CRC is made right, so that what is behind it is reached.
pub(crate) fn record_batch(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    for batch in Batches::new(bytes.clone()) {
        let Ok(batch) = batch else { break };
        assert_eq!(RecordBatch::parse(batch.bytes.clone()), Ok(batch));
    }
    drop(RecordBatch::parse(bytes));
    let Ok(header) = BatchHeader::parse(data) else {
        return;
    };
    assert_eq!(BatchHeader::parse(&header.encode()), Ok(header));
    let records = data.get(BatchHeader::LEN..).unwrap_or_default();
    let Ok(batch) = RecordBatch::assemble(header, records) else {
        return;
    };
    let batch = RecordBatch::parse(batch.bytes).expect("an assembled batch can be read");
    assert!(batch.with_log_append_time(5).header.max_timestamp == 5);
    let Ok(iter) = batch.records(DECOMPRESSED_BYTES_MAX) else {
        return;
    };
    let mut count = 0;
    for record in iter {
        let Ok(record) = record else { return };
        assert!(record.offset >= batch.header.base_offset);
        assert!(record.offset <= batch.header.last_offset());
        count += 1;
    }
    assert_eq!(count, batch.header.record_count);
}
