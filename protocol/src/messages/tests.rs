use std::fmt::Debug;

use bytes::Bytes;

use super::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use super::fetch::{FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, Part, PartitionData};
use super::metadata::{MetadataRequest, MetadataRequestTopic};
use super::{Message, produce};
use crate::frame::{decode_request_frame, decode_response_frame, encode_response_frame};
use crate::wire::{BUDGET_BYTES_MIN, DecodeError, Reader, RecordsLen, Writer};

pub(super) fn encoded(message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    writer.freeze()
}

fn decoded<M: Message>(bytes: &[u8], version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    let message = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(message)
}

pub(super) fn check_golden<M: Message + Debug + PartialEq>(
    message: &M,
    version: i16,
    bytes: &[u8],
) {
    assert_eq!(encoded(message, version), bytes);
    assert_eq!(decoded::<M>(bytes, version).as_ref(), Ok(message));
}

#[test]
fn every_module_is_in_the_list_of_apis() {
    macro_rules! modules {
        ($($module:ident $request:ident $response:ident $(<$records:ty>)?;)*) => {
            [$(stringify!($module)),*]
        };
    }
    let listed = crate::for_each_api!(modules);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/messages");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs").to_owned();
        if !["mod", "definition", "oracle_tests", "golden_tests", "tests"]
            .contains(&module.as_str())
        {
            found.push(module);
        }
    }
    found.sort();
    assert_eq!(found, listed);
}

#[test]
fn versions_outside_the_definition_are_refused() {
    let known = encoded(&ApiVersionsRequest::default(), 4);
    for version in [i16::MIN, -1, 5, i16::MAX] {
        let error = DecodeError::UnsupportedVersion {
            api: crate::ApiKey::ApiVersions,
            version,
        };
        assert_eq!(decoded::<ApiVersionsRequest>(&known, version), Err(error));
    }
    assert!(decoded::<produce::ProduceRequest>(&[0; 20], 2).is_err());
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    // Null means "all topics" from version 1 on; version 0 says it with an empty list.
    assert_eq!(
        decoded::<MetadataRequest>(b"\xFF\xFF\xFF\xFF", 0),
        Err(DecodeError::UnexpectedNull)
    );
    let all = decoded::<MetadataRequest>(b"\xFF\xFF\xFF\xFF", 1).unwrap();
    assert_eq!(all.topics, None);
    assert_eq!(encoded(&all, 1), b"\xFF\xFF\xFF\xFF"[..]);
    // On the way out such a null becomes empty.
    assert_eq!(encoded(&all, 0), b"\0\0\0\0"[..]);
    // A topic without a name, as version 10 has it.
    let unnamed = MetadataRequestTopic {
        name: None,
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![unnamed]),
        ..MetadataRequest::default()
    };
    assert_eq!(decoded(&encoded(&request, 10), 10), Ok(request.clone()));
    assert_eq!(encoded(&request, 9), b"\x02\x01\0\x01\0\0\0"[..]);
    assert_eq!(
        decoded::<MetadataRequest>(b"\x02\0\0\x01\0\0\0", 9),
        Err(DecodeError::UnexpectedNull)
    );
}

#[test]
fn tagged_fields_come_in_any_order_and_unknown_ones_are_skipped() {
    // Error 0, no keys, throttle time 0, then three tagged fields: 9 (unknown), 3, 1.
    let bytes = b"\0\0\x01\0\0\0\0\x03\x09\x02ab\x03\x01\x01\x01\x08\0\0\0\0\0\0\0\x05";
    let response: ApiVersionsResponse = decoded(bytes, 3).unwrap();
    assert!(response.zk_migration_ready);
    assert_eq!(response.finalized_features_epoch, 5);
    // A tagged field that is larger than its value, cut, or counted but not there.
    for bad in [
        &b"\0\0\x01\0\0\0\0\x01\x03\x02\x01\x01"[..],
        b"\0\0\x01\0\0\0\0\x01\x01\x02\0\0",
        b"\0\0\x01\0\0\0\0\x02\x03\x01\x01",
    ] {
        assert!(decoded::<ApiVersionsResponse>(bad, 3).is_err());
    }
    // A known tag before the version that has it is an unknown one.
    let produce: produce::ProduceResponse = decoded(b"\x01\0\0\0\0\x01\0\x01\x07", 9).unwrap();
    assert_eq!(produce, produce::ProduceResponse::default());
}

#[test]
fn strings_and_records_are_slices_of_the_frame() {
    let records = Bytes::from(vec![7; 1_000]);
    let partition = produce::PartitionProduceData {
        index: 0,
        records: Some(records),
    };
    let topic = produce::TopicProduceData {
        name: "a-topic".into(),
        partition_data: vec![partition],
        ..produce::TopicProduceData::default()
    };
    let request = produce::ProduceRequest {
        topic_data: vec![topic],
        ..produce::ProduceRequest::default()
    };
    let frame = encoded(&request, 9);
    let range = frame.as_ptr_range();
    let back = produce::ProduceRequest::decode(&mut Reader::new(frame.clone()), 9).unwrap();
    let topic = &back.topic_data[0];
    assert!(range.contains(&topic.name.as_bytes().as_ptr()));
    assert!(range.contains(&topic.partition_data[0].records.as_ref().unwrap().as_ptr()));
}

#[test]
fn gotcha_08_fact_26_arrays_may_not_take_much_more_memory_than_they_have_bytes() {
    // Topics without a name take two bytes each here and dozens in memory.
    let unnamed_topics = |count: u32| {
        let mut writer = Writer::new();
        writer.put_uvarint(count + 1);
        (0..count).for_each(|_| writer.put_slice(b"\x01\0"));
        writer.put_slice(b"\x01\0\0\0");
        decoded::<MetadataRequest>(&writer.freeze(), 9).map(|request| request.topics.unwrap().len())
    };
    let fitting = u32::try_from(BUDGET_BYTES_MIN / size_of::<MetadataRequestTopic>()).unwrap();
    assert_eq!(unnamed_topics(fitting), Ok(fitting as usize));
    assert_eq!(unnamed_topics(1_000_000), Err(DecodeError::BudgetExceeded));
}

/// Records that only their length is known of.
#[derive(Clone, Debug, PartialEq)]
struct FilePiece {
    id: u8,
    len: usize,
}

impl RecordsLen for FilePiece {
    fn records_len(&self) -> usize {
        self.len
    }
}

fn fetch_response<R>(records: Vec<Vec<Option<R>>>) -> FetchResponse<R> {
    let partition = |(index, records)| PartitionData {
        partition_index: index,
        high_watermark: 50,
        aborted_transactions: None,
        current_leader: LeaderIdAndEpoch {
            leader_id: 1,
            leader_epoch: 2,
        },
        records,
        ..PartitionData::default()
    };
    let topic = |partitions: Vec<Option<R>>| FetchableTopicResponse {
        topic: "t".into(),
        topic_id: crate::Uuid([9; 16]),
        partitions: (0..).zip(partitions).map(partition).collect(),
    };
    FetchResponse {
        session_id: 77,
        responses: records.into_iter().map(topic).collect(),
        ..FetchResponse::default()
    }
}

#[test]
fn fetch_parts_put_together_are_the_frame_with_the_records_inside() {
    let lengths = [
        vec![Some(3), Some(0)],
        vec![None, Some(200), Some(70_000)],
        vec![],
        vec![Some(1)],
    ];
    let piece = |id, len| FilePiece { id, len };
    let with = |lengths: &[Vec<Option<usize>>]| {
        let mut id = 0;
        let mut next = |len: Option<usize>| {
            id += 1;
            len.map(|len| piece(id, len))
        };
        lengths
            .iter()
            .map(|topic| topic.iter().map(|&len| next(len)).collect())
            .collect()
    };
    let pieces: Vec<Vec<Option<FilePiece>>> = with(&lengths);
    let bytes_of = |piece: &FilePiece| Bytes::from(vec![piece.id; piece.len]);
    let bytes = pieces.iter().map(|topic| {
        topic
            .iter()
            .map(|piece| piece.as_ref().map(bytes_of))
            .collect()
    });
    let whole = fetch_response(bytes.collect());
    for version in FetchResponse::VERSIONS {
        let parts = fetch_response(pieces.clone()).encode_parts(version, 5);
        let mut joined = Vec::new();
        let mut ids = Vec::new();
        for part in &parts {
            match part {
                Part::Bytes(bytes) => {
                    assert!(!bytes.is_empty());
                    joined.extend_from_slice(bytes);
                }
                Part::Records(piece) => {
                    ids.push(piece.id);
                    joined.extend_from_slice(&bytes_of(piece));
                }
            }
        }
        // The second has no bytes and the third is not there: neither is a part.
        assert_eq!(ids, [1, 4, 5, 6], "version {version}");
        assert_eq!(
            joined,
            encode_response_frame(version, 5, &whole),
            "version {version}"
        );
        let announced = u32::from_be_bytes(*joined.first_chunk().unwrap());
        assert_eq!(announced as usize, joined.len() - 4);
        let body = Bytes::from(joined).slice(4..);
        let (_, back) = decode_response_frame::<FetchResponse<Bytes>>(body, version).unwrap();
        let records: Vec<usize> = back
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| partition.records.as_ref().unwrap().len())
            .collect();
        assert_eq!(
            records,
            [3, 0, 0, 200, 70_000, 1],
            "absent records are empty, never null"
        );
    }
}

#[test]
fn a_fetch_response_without_records_is_one_part() {
    let response = fetch_response::<FilePiece>(vec![vec![None]]);
    let parts = response.encode_parts(12, 5);
    assert!(matches!(parts.as_slice(), [Part::Bytes(_)]));
}

#[test]
fn frames_with_bytes_left_over_are_refused() {
    let frame = encode_response_frame(3, 1, &ApiVersionsResponse::default());
    let longer = Bytes::from([&frame[4..], &[0]].concat());
    assert_eq!(
        decode_response_frame::<ApiVersionsResponse>(longer, 3),
        Err(DecodeError::TrailingBytes(1))
    );
    let request = Bytes::from_static(b"\0\x12\0\x02\0\0\0\x01\xFF\xFF!");
    assert_eq!(
        decode_request_frame::<ApiVersionsRequest>(request),
        Err(DecodeError::TrailingBytes(1))
    );
}

#[test]
fn the_first_error_of_a_message_is_found_at_any_depth() {
    use super::leave_group::{LeaveGroupResponse, MemberResponse};
    use super::produce::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
    let member = |error_code| MemberResponse {
        error_code,
        ..MemberResponse::default()
    };
    let left = |error_code, members: &[i16]| LeaveGroupResponse {
        error_code,
        members: members.iter().map(|code| member(*code)).collect(),
        ..LeaveGroupResponse::default()
    };
    assert_eq!(left(0, &[0, 0]).first_error(), 0);
    assert_eq!(left(0, &[0, 25, 16]).first_error(), 25);
    assert_eq!(left(15, &[25]).first_error(), 15);
    let partition = |error_code| PartitionProduceResponse {
        error_code,
        ..PartitionProduceResponse::default()
    };
    let topic = |code| TopicProduceResponse {
        partition_responses: vec![partition(0), partition(code)],
        ..TopicProduceResponse::default()
    };
    let produced = |codes: &[i16]| ProduceResponse {
        responses: codes.iter().map(|code| topic(*code)).collect(),
        ..ProduceResponse::default()
    };
    assert_eq!(produced(&[0, 0]).first_error(), 0);
    assert_eq!(produced(&[0, -1]).first_error(), -1);
    let mut fetched = fetch_response::<FilePiece>(vec![vec![None, None]]);
    assert_eq!(fetched.first_error(), 0);
    fetched.responses[0].partitions[1].error_code = 1;
    assert_eq!(fetched.first_error(), 1);
    assert_eq!(MetadataRequest::default().first_error(), 0, "knows none");
}
