//! Every message against `kafka-protocol`, whose codec is generated from Kafka's own schemas: same
//! bytes, same values under the same names, same headers, same defaults, in every version both know.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as oracle;
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message as OracleMessage, Request as OracleRequest,
};
use proptest::test_runner::{Config, TestRunner};

use super::Message;
use crate::frame::{encode_request_frame, encode_response_frame};
use crate::generate::{Choices, Generate};
use crate::types::{StrBytes, Uuid};
use crate::wire::Reader;
use crate::wire::field::Form;
use crate::{RequestHeader, messages};

/// Messages per version.
const CASES: u32 = 48;
/// Requests and responses, each in each version that both know.
const COMPARED: usize = 360;
/// Fields that the oracle has only for versions that are not defined here, at their defaults.
const NEWER: [&str; 7] = [
    "high_watermark: 9223372036854775807,",
    "timeout_ms: 0,",
    "enable_2_pc: false,",
    "keep_prepared_txn: false,",
    "ongoing_txn_producer_id: -1,",
    "ongoing_txn_producer_epoch: -1,",
    "topic_id: AAAAAAAAAAAAAAAAAAAAAA,",
];
/// Fields that only versions have which the oracle does not know, at their defaults.
const OLDER: [&str; 2] = ["is_default: false,", "commit_timestamp: -1,"];

/// Values as they print, without what cannot be the same on both sides.
fn printed(value: &impl Debug, is_oracle: bool) -> Vec<String> {
    let text = format!("{value:#?}");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !is_oracle || *line != "unknown_tagged_fields: {},");
    lines
        .map(|line| {
            if is_oracle {
                with_our_uuid(line)
            } else {
                line.to_owned()
            }
        })
        .collect()
}

/// The oracle prints ids in hexadecimal with dashes.
fn with_our_uuid(line: &str) -> String {
    let Some((name, value)) = line.split_once(": ") else {
        return line.to_owned();
    };
    let digits = value.trim_end_matches(',').replace('-', "");
    if value.len() != 37 || digits.len() != 32 {
        return line.to_owned();
    }
    let Ok(number) = u128::from_str_radix(&digits, 16) else {
        return line.to_owned();
    };
    format!("{name}: {},", Uuid(number.to_be_bytes()))
}

/// Compares line by line; every field of both sides is at the same place with the same value.
fn assert_same(ours: &impl Debug, oracle: &impl Debug) {
    let ours = printed(ours, false);
    let oracle = printed(oracle, true);
    let mut theirs = oracle.iter().map(String::as_str).peekable();
    for line in ours.iter().map(String::as_str) {
        while theirs
            .next_if(|&their| their != line && NEWER.contains(&their))
            .is_some()
        {}
        if theirs.peek() != Some(&line) && OLDER.contains(&line) {
            continue;
        }
        assert_eq!(theirs.next(), Some(line));
    }
    assert_eq!(theirs.next(), None);
}

/// The versions out of ours that the oracle's table of APIs names, which is not made from its messages.
fn known_to_both(key: i16, ours: RangeInclusive<i16>) -> Vec<i16> {
    let api =
        oracle::ApiKey::try_from(key).expect("the oracle knows every API that is defined here");
    let theirs = api.valid_versions();
    let both = ours.filter(|version| (theirs.min..=theirs.max).contains(version));
    both.collect()
}

/// Compares one message in all versions; `frame` is our whole frame, `header` the oracle's header.
fn check<M, O>(frame: impl Fn(i16, &M) -> Bytes, header: impl Fn(&mut BytesMut, i16))
where
    M: Message + Generate + Clone + Debug + PartialEq + Default,
    O: OracleMessage + Encodable + Decodable + HeaderVersion + Debug + Default,
{
    let both = |version: i16| O::VERSIONS.min <= version && version <= O::VERSIONS.max;
    assert_eq!(
        M::VERSIONS
            .filter(|&version| both(version))
            .collect::<Vec<_>>(),
        known_to_both(M::KEY.code(), M::VERSIONS),
        "what is compared here is not what both know"
    );
    assert_same(&M::default(), &O::default());
    for version in M::VERSIONS {
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        };
        let choices = proptest::collection::vec(proptest::num::u8::ANY, 0..400);
        let result = TestRunner::new(config).run(&choices, |choices| {
            let form = Form::new(version, M::KEY.is_flexible(version));
            let value = M::generate(&mut Choices::new(&choices), form);
            let whole = frame(version, &value);
            let body = body_of(&whole, &value, version);
            check_ours(&value, &body, version);
            if both(version) {
                check_oracle::<M, O>(&value, &body, version);
                let mut expected = BytesMut::from(&[0; 4][..]);
                header(&mut expected, version);
                expected.extend_from_slice(&body);
                let len = u32::try_from(expected.len() - 4).unwrap();
                expected[..4].copy_from_slice(&len.to_be_bytes());
                assert_eq!(whole, expected.freeze());
            }
            Ok(())
        });
        if let Err(failure) = result {
            panic!("{:?} version {version}: {failure}", M::KEY);
        }
    }
}

fn body_of<M: Message>(frame: &Bytes, value: &M, version: i16) -> Bytes {
    let mut writer = crate::Writer::new();
    value.encode(&mut writer, version);
    let body = writer.freeze();
    assert!(frame.ends_with(&body));
    body
}

/// Our own decoder returns the value, and refuses each shorter input.
fn check_ours<M: Message + Debug + PartialEq>(value: &M, body: &Bytes, version: i16) {
    let mut reader = Reader::new(body.clone());
    assert_eq!(M::decode(&mut reader, version).as_ref(), Ok(value));
    assert_eq!(reader.finish(), Ok(()));
    for len in (0..body.len()).step_by(1 + body.len() / 64) {
        let result = M::decode(&mut Reader::new(body.slice(..len)), version);
        assert!(result.is_err(), "cut to {len} of {}", body.len());
    }
}

/// The oracle reads our bytes as the same value and writes them again.
fn check_oracle<M: Debug, O: Encodable + Decodable + Debug>(value: &M, body: &Bytes, version: i16) {
    let mut bytes = body.clone();
    let theirs = O::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty(), "the oracle leaves {} bytes", bytes.len());
    assert_same(value, &theirs);
    let mut encoded = BytesMut::new();
    theirs.encode(&mut encoded, version).unwrap();
    assert_eq!(encoded.freeze(), body);
}

fn check_request<M, O>()
where
    M: Message + Generate + Clone + Debug + PartialEq + Default,
    O: OracleMessage + Encodable + Decodable + HeaderVersion + Debug + Default,
{
    let api_key = M::KEY.code();
    let frame = |api_version, value: &M| {
        let client_id = Some(StrBytes::from_static("client"));
        let header = RequestHeader {
            api_key,
            api_version,
            correlation_id: -7,
            client_id,
        };
        encode_request_frame(&header, value)
    };
    check::<M, O>(frame, |buffer, version| {
        let client_id = Some(kafka_protocol::protocol::StrBytes::from_static_str(
            "client",
        ));
        let header = oracle::RequestHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(version)
            .with_correlation_id(-7)
            .with_client_id(client_id);
        header.encode(buffer, O::header_version(version)).unwrap();
    });
}

fn check_response<M, O>()
where
    M: Message + Generate + Clone + Debug + PartialEq + Default,
    O: OracleMessage + Encodable + Decodable + HeaderVersion + Debug + Default,
{
    let frame = |version, value: &M| encode_response_frame(version, -7, value);
    check::<M, O>(frame, |buffer, version| {
        let header = oracle::ResponseHeader::default().with_correlation_id(-7);
        header.encode(buffer, O::header_version(version)).unwrap();
    });
}

macro_rules! against_the_oracle {
    ($($module:ident $request:ident $response:ident $(<$records:ty>)?;)*) => {$(
        mod $module {
            #[test]
            fn request() {
                use super::{check_request, messages::$module as ours, oracle};
                check_request::<ours::$request, oracle::$request>();
            }

            #[test]
            fn response() {
                use super::{check_response, messages::$module as ours, oracle};
                check_response::<ours::$response $(<$records>)?, oracle::$response>();
            }
        }
    )*};
}

crate::for_each_api!(against_the_oracle);

/// Every message is in the list that the comparison goes through, request and response of one API in the
/// same versions, under the key and the names of the oracle: nothing both know is left out.
#[test]
fn no_message_and_no_version_that_both_know_is_left_out() {
    let mut listed = Vec::new();
    let mut compared = 0;
    macro_rules! rows {
        ($($module:ident $request:ident $response:ident $(<$records:ty>)?;)*) => {$({
            type Request = messages::$module::$request;
            type Response = messages::$module::$response $(<$records>)?;
            let versions = <Request as Message>::VERSIONS;
            assert_eq!(versions, <Response as Message>::VERSIONS, stringify!($module));
            let key = <Request as Message>::KEY;
            assert_eq!(key, <Response as Message>::KEY, stringify!($module));
            assert_eq!(key.code(), <oracle::$request as OracleRequest>::KEY, stringify!($module));
            let both = known_to_both(key.code(), versions);
            assert!(!both.is_empty(), stringify!($module));
            compared += 2 * both.len();
            listed.push(concat!(stringify!($module), ".rs"));
        })*};
    }
    crate::for_each_api!(rows);
    assert_eq!(compared, COMPARED, "state the new number where it is right");
    // Files beside the messages' own.
    listed.extend([
        "definition.rs",
        "golden_tests.rs",
        "mod.rs",
        "oracle_tests.rs",
        "tests.rs",
    ]);
    listed.sort_unstable();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/messages");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort_unstable();
    assert_eq!(listed, files);
}
