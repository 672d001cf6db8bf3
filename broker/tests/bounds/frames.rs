//! Requests that nobody would send: lengths that lie at every place, every key in every version, noise as a
//! body.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::{ApiKey, RequestHeader, StrBytes, Writer};

use crate::case::Chance;
use crate::mutants;
use crate::support::Broker;
use crate::volley::{Shot, fire};

/// Random bodies for each key in each version, be they served or not.
const BODIES_EACH: usize = if cfg!(debug_assertions) { 2 } else { 10 };
/// Random bodies for each version that is served.
const BODIES_SERVED: usize = if cfg!(debug_assertions) { 60 } else { 500 };

/// A header with everything its version has.
fn header(api_key: i16, api_version: i16) -> Bytes {
    let header = RequestHeader {
        api_key,
        api_version,
        correlation_id: 0,
        client_id: Some(StrBytes::from_static("noise")),
    };
    let mut writer = Writer::new();
    header.encode(&mut writer);
    writer.freeze()
}

/// Mostly small numbers: they reach deeper than noise does.
fn body(chance: &mut Chance, len_max: usize) -> Vec<u8> {
    let byte = |chance: &mut Chance| match chance.below(4) {
        0 => chance.byte(),
        _ => chance.byte() & 3,
    };
    (0..chance.below(len_max)).map(|_| byte(chance)).collect()
}

/// The versions that the broker shows for each key.
pub(crate) fn shown(broker: &Broker) -> BTreeMap<i16, (i16, i16)> {
    let answer: ApiVersionsResponse = broker.connect().call(0, &ApiVersionsRequest::default());
    let keys = answer.api_keys.iter();
    keys.map(|api| (api.api_key, (api.min_version, api.max_version)))
        .collect()
}

/// Keys and versions around all that exist: only what the broker shows is ever answered, and ApiVersions,
/// which tells clients of any age what to ask instead.
pub(crate) fn keys_and_versions(broker: &Broker) {
    let mut chance = Chance::seeded();
    let shown = shown(broker);
    let mut pairs = Vec::new();
    for key in -1..=100_i16 {
        for version in -1..=20_i16 {
            pairs.extend(std::iter::repeat_n((key, version), BODIES_EACH));
        }
    }
    let shot = |&(key, version): &(i16, i16)| {
        let head = match ApiKey::from_key(key) {
            Some(_) => header(key, version),
            None => header(0, 0),
        };
        let mut frame = head.to_vec();
        frame[..2].copy_from_slice(&key.to_be_bytes());
        frame[2..4].copy_from_slice(&version.to_be_bytes());
        frame.extend(body(&mut chance, 80));
        Shot::new(&frame)
    };
    let tally = fire(broker, pairs.iter().map(shot).collect());
    for place in tally.answered {
        let (key, version) = pairs[place];
        let range = shown.get(&key);
        let is_shown = range.is_some_and(|(min, max)| (*min..=*max).contains(&version));
        assert!(
            is_shown || key == ApiKey::ApiVersions.code(),
            "key {key} version {version} was answered"
        );
    }
}

/// A good header before a random body, for everything that is served.
pub(crate) fn noise_for_what_is_served(broker: &Broker) {
    let mut chance = Chance::seeded();
    let mut shots = Vec::new();
    for (key, (min, max)) in shown(broker) {
        for version in min..=max {
            for _ in 0..BODIES_SERVED {
                let mut frame = header(key, version).to_vec();
                frame.extend(body(&mut chance, 120));
                shots.push(Shot::new(&frame));
            }
        }
    }
    let count = shots.len();
    let tally = fire(broker, shots);
    assert!(
        tally.answered.len() > count / 100,
        "some are good by chance: {} of {count}",
        tally.answered.len()
    );
}

/// Every place of every request in turn says that as much follows as an array, a string or a varint can
/// say.
pub(crate) fn lying_array_lengths(broker: &Broker) {
    const LENGTHS: [&[u8]; 4] = [
        &[0x7F, 0xFF, 0xFF, 0xFF],
        &[0x01, 0, 0, 0],
        &[0x7F, 0xFF],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
    ];
    let mut shots = Vec::new();
    for frame in mutants::written().concat() {
        for at in 12..frame.len() {
            for length in LENGTHS {
                let mut lying = frame.clone();
                let end = frame.len().min(at + length.len());
                lying.splice(at..end, length.iter().copied());
                shots.push(Shot::new(&lying[4..]));
            }
        }
    }
    // The same as the last thing that comes.
    for (key, (min, max)) in shown(broker) {
        for version in min..=max {
            for zeros in 0..24 {
                for length in LENGTHS {
                    let mut frame = header(key, version).to_vec();
                    frame.extend(std::iter::repeat_n(0, zeros));
                    frame.extend_from_slice(length);
                    shots.push(Shot::new(&frame));
                }
            }
        }
    }
    fire(broker, shots);
}
