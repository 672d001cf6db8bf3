//! Mutated copies of what real clients sent. None of the originals names the topics of the well-behaved
//! client, so that a mutant disturbs it only if the broker does not keep them apart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidewheel_protocol::messages::fetch::FetchRequest;
use tidewheel_protocol::messages::list_offsets::ListOffsetsRequest;
use tidewheel_protocol::messages::produce::ProduceRequest;
use tidewheel_protocol::{
    Message, RequestHeader, Uuid, decode_request_frame, encode_request_frame,
};

use crate::case::{Chance, forget_topics};
use crate::frames::shown;
use crate::support::{Broker, Client};
use crate::volley::{Shot, fire};

/// Mutants that are sent. A debug build takes several times as long for one.
const MUTANTS: usize = if cfg!(debug_assertions) {
    20_000
} else {
    100_000
};
/// Mutants after which the topics go that they made: a request for 10,000 partitions is a good one.
const VOLLEY: usize = 2_500;
/// Bytes of a length prefix.
const LENGTH: usize = 4;
/// Numbers that tell of a length, as bytes: plain ones and varints.
const EXTREMES: [&[u8]; 12] = [
    &[0x7F, 0xFF, 0xFF, 0xFF],
    &[0xFF, 0xFF, 0xFF, 0xFF],
    &[0xFF, 0xFF, 0xFF, 0xFE],
    &[0x80, 0, 0, 0],
    &[0x06, 0x40, 0, 0],
    &[0, 0, 0, 0],
    &[0x7F, 0xFF],
    &[0x80, 0],
    &[0xFF, 0xFF],
    &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
    &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
    &[0],
];

/// The requests of one API.
type Api = Vec<Vec<u8>>;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../protocol")
        .join(name)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Every recorded request, by API.
fn recorded() -> Vec<Api> {
    let folders = entries(&folder("tests/golden/frames"));
    let requests = |folder: &PathBuf| {
        let files = entries(folder).into_iter();
        let requests = files.filter(|file| file.to_string_lossy().ends_with("-request.bin"));
        requests.map(|file| std::fs::read(file).unwrap()).collect()
    };
    let folders = folders.iter().filter(|path| path.is_dir());
    folders.map(requests).collect()
}

/// For the APIs that nobody recorded: what the fuzz targets start with, a frame each.
pub(crate) fn written() -> Vec<Api> {
    let files = entries(&folder("fuzz/seeds/request")).into_iter();
    files
        .map(|file| vec![Shot::new(&std::fs::read(file).unwrap()).bytes])
        .collect()
}

/// Makes the topics that the recorded requests name, and gives those that name one by its id the id of a
/// topic that is there, so that mutants reach what lies behind the look-up.
fn prepare(client: &mut Client, apis: &mut [Api]) {
    let mut names = BTreeSet::new();
    for frame in apis.iter_mut().flatten() {
        let key = i16::from_be_bytes([frame[4], frame[5]]);
        match key {
            0 => edit::<ProduceRequest>(frame, |request| {
                for (number, topic) in request.topic_data.iter_mut().enumerate() {
                    if topic.name.is_empty() {
                        topic.topic_id = made(client, &format!("produced-{number}"), &mut names);
                    } else {
                        made(client, topic.name.as_ref(), &mut names);
                    }
                }
            }),
            1 => edit::<FetchRequest>(frame, |request| {
                for (number, topic) in request.topics.iter_mut().enumerate() {
                    if topic.topic.is_empty() {
                        topic.topic_id = made(client, &format!("fetched-{number}"), &mut names);
                    } else {
                        made(client, topic.topic.as_ref(), &mut names);
                    }
                }
            }),
            2 => edit::<ListOffsetsRequest>(frame, |request| {
                for topic in &request.topics {
                    made(client, topic.name.as_ref(), &mut names);
                }
            }),
            _ => {}
        }
    }
}

fn edit<Q: Message>(frame: &mut Vec<u8>, change: impl FnOnce(&mut Q)) {
    let bytes = Bytes::copy_from_slice(&frame[LENGTH..]);
    let (header, mut request): (RequestHeader, Q) = decode_request_frame(bytes).unwrap();
    change(&mut request);
    *frame = encode_request_frame(&header, &request).to_vec();
}

fn made(client: &mut Client, name: &str, names: &mut BTreeSet<String>) -> Uuid {
    if names.insert(name.to_owned()) {
        client.create_topic(name, 3, &[]);
    }
    client.topic_id(name)
}

/// A changed copy of one of the requests: three in four of a recorded one.
fn mutant(chance: &mut Chance, recorded: &[Api], written: &[Api]) -> Shot {
    let original = |chance: &mut Chance| {
        let apis = if chance.below(4) == 0 {
            written
        } else {
            recorded
        };
        let api = chance.below(apis.len());
        chance.pick(&apis[api]).clone()
    };
    let frame = original(chance);
    let mut body = frame[LENGTH..].to_vec();
    let announced = body.len();
    match chance.below(12) {
        // The header says which request it is: most mutants keep it, to get behind it.
        0..=3 => flip(chance, &mut body, 8),
        4 => flip(chance, &mut body, 0),
        5..=7 => replace_length(chance, &mut body),
        8 => body.truncate(chance.below(announced)),
        9 => {
            let other = original(chance);
            let (at, from) = (chance.below(body.len()), chance.below(other.len()));
            body.truncate(at);
            body.extend_from_slice(&other[from..]);
        }
        10 => {
            let at = chance.below(body.len());
            let end = (at + chance.below(16)).min(body.len());
            let piece = body[at..end].to_vec();
            let to = chance.below(body.len());
            body.splice(to..to, piece);
        }
        _ => return lying(chance, &body),
    }
    Shot::new(&body)
}

/// Flips up to eight bits after the first `from` bytes.
fn flip(chance: &mut Chance, body: &mut [u8], from: usize) {
    for _ in 0..=chance.below(8) {
        let at = from + chance.below(body.len() - from);
        body[at] ^= 1 << chance.below(8);
    }
}

/// Puts an extreme in the place of any number.
fn replace_length(chance: &mut Chance, body: &mut Vec<u8>) {
    let extreme = *chance.pick(&EXTREMES);
    let at = 8 + chance.below(body.len().saturating_sub(8));
    let end = (at + extreme.len()).min(body.len());
    body.splice(at.min(end)..end, extreme.iter().copied());
}

/// A frame whose length is not that of its body, or is none.
fn lying(chance: &mut Chance, body: &[u8]) -> Shot {
    let mut shot = Shot::new(body);
    let len = i32::try_from(body.len()).unwrap();
    let lengths = [
        len - 1,
        len + 1,
        len / 2,
        len * 2,
        99_000_000,
        i32::MAX,
        i32::MIN,
        -1,
        0,
        7,
    ];
    let length = *chance.pick(&lengths);
    shot.bytes[..LENGTH].copy_from_slice(&length.to_be_bytes());
    shot.lies = true;
    shot
}

/// The recorded requests as they are: what is closed later is closed for what was changed.
fn are_answered(broker: &Broker, recorded: &[Api]) {
    let shown = shown(broker);
    let key = |frame: &[u8]| i16::from_be_bytes([frame[LENGTH], frame[LENGTH + 1]]);
    let originals = recorded.iter().flatten();
    // Of APIs that are not built yet there are frames too.
    let originals = originals.filter(|frame| shown.contains_key(&key(frame)));
    let shots: Vec<Shot> = originals.map(|frame| Shot::new(&frame[LENGTH..])).collect();
    let count = shots.len();
    assert_eq!(fire(broker, shots).answered.len(), count);
}

/// How many mutants: `TIDEWHEEL_FUZZ_ROUNDS`, or what the build takes in a minute.
fn rounds() -> usize {
    std::env::var("TIDEWHEEL_FUZZ_ROUNDS")
        .map_or(MUTANTS, |rounds| rounds.parse().expect("a number"))
}

#[expect(clippy::print_stdout, reason = "what was run is read in the log")]
pub(crate) fn of_real_requests(broker: &Broker) {
    let mut chance = Chance::seeded();
    let (mut answered, mut connections, mut sent) = (0, 0, 0);
    let written = written();
    while sent < rounds() {
        let mut apis = recorded();
        prepare(&mut broker.connect(), &mut apis);
        if sent == 0 {
            are_answered(broker, &apis);
        }
        let count = VOLLEY.min(rounds() - sent);
        let shots = (0..count).map(|_| mutant(&mut chance, &apis, &written));
        let shots = shots.collect();
        let tally = fire(broker, shots);
        answered += tally.answered.len();
        connections += tally.connections;
        sent += count;
        forget_topics(broker);
    }
    println!("{sent} mutants on {connections} connections, {answered} answered");
    assert!(
        answered > sent / 10,
        "too few got behind the first check: {answered} of {sent}"
    );
}
