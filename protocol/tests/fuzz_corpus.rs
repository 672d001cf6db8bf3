//! The fuzz targets on the stable toolchain: over the committed seeds and corpora, and over inputs made from
//! them by chance. An allocator that counts proves that no input makes the decoders allocate much.

use std::path::PathBuf;

use bytes::Bytes;
use counting::peak_of;
use tidewheel_protocol::{Compression, Message, Reader, RecordBatch, messages, wire};

mod counting;
#[path = "../fuzz/entry.rs"]
mod entry;

/// Inputs per target that are made by chance.
const ROUNDS: u64 = 30_000;
/// Where chance starts: a failure prints its input, so that other seeds need not be tried by hand.
const SEED: u64 = 0x7469_6465_7768_6565;

/// Prints the input when the test panics on it.
struct Input<'a>(&'a [u8]);

impl Drop for Input<'_> {
    #[expect(
        clippy::print_stdout,
        reason = "a failure must name the input that caused it"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("input: {:?}", Bytes::copy_from_slice(self.0));
        }
    }
}

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).expect("64 bits")).expect("small")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// Changes a few places: bytes, lengths, what follows what.
    fn mutate(&mut self, input: &mut Vec<u8>) {
        const TELLING: [&[u8]; 8] = [
            &[0x7F, 0xFF, 0xFF, 0xFF],
            &[0xFF, 0xFF, 0xFF, 0xFF],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
            &[0x80, 0, 0, 0],
            &[0, 0],
            &[0x7F, 0xFF],
            &[0],
        ];
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            match self.below(6) {
                0 | 1 if !input.is_empty() => input[at] = self.byte(),
                2 if !input.is_empty() => input[at] ^= 1 << self.below(8),
                3 => drop(input.drain(at..(at + self.below(8)).min(input.len()))),
                4 => {
                    let telling = TELLING[self.below(TELLING.len())];
                    let end = (at + telling.len()).min(input.len());
                    input.splice(at..end, telling.iter().copied());
                }
                _ => input.insert(at, self.byte()),
            }
        }
    }
}

fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), folder].iter().collect();
    let entries = std::fs::read_dir(&folder).expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    paths
        .iter()
        .filter(|path| path.is_file())
        .map(|path| std::fs::read(path).expect("readable"))
        .collect()
}

/// Runs a target over seeds, over what `corpus`, the folder of the target, has kept of long runs, and over
/// changed ones of both; `allowed` is how many bytes it may hold for an input of a length.
fn run(corpus: &str, mut seeds: Vec<Vec<u8>>, target: fn(&[u8]), allowed: fn(usize) -> usize) {
    assert!(!seeds.is_empty());
    seeds.extend(files(&format!("fuzz/corpus/{corpus}")));
    let check = |input: &[u8]| {
        let _printed = Input(input);
        let ((), peak) = peak_of(|| target(input));
        let allowed = allowed(input.len());
        assert!(
            peak <= allowed,
            "{peak} bytes held for {} of input",
            input.len()
        );
    };
    seeds.iter().for_each(|seed| check(seed));
    let mut chance = Chance(SEED);
    for round in 0..ROUNDS {
        let mut input = match round % 16 {
            0 => Vec::new(),
            _ => seeds[chance.below(seeds.len())].clone(),
        };
        chance.mutate(&mut input);
        check(&input);
    }
}

/// Arrays up to their budget, the input, and the message encoded again and decoded again.
fn allowed_for_messages(len: usize) -> usize {
    4 * (wire::BUDGET_BYTES_MIN + wire::BUDGET_FACTOR * len)
}

/// Copies of the batch, and decompressed records in a buffer that doubles as it grows.
fn allowed_for_batches(len: usize) -> usize {
    4 * entry::DECOMPRESSED_BYTES_MAX + 8 * len
}

#[test]
fn frames() {
    run("frame", files("fuzz/seeds/request"), entry::frame, |_| 0);
}

#[test]
fn headers() {
    run(
        "header",
        files("fuzz/seeds/request"),
        entry::header,
        |len| 4 * len + 1024,
    );
}

#[test]
fn requests() {
    run(
        "request",
        files("fuzz/seeds/request"),
        entry::request,
        allowed_for_messages,
    );
}

#[test]
fn responses() {
    run(
        "response",
        files("fuzz/seeds/response"),
        entry::response,
        allowed_for_messages,
    );
}

#[test]
fn coordinator_records() {
    run(
        "coordinator_record",
        files("fuzz/seeds/coordinator_record"),
        entry::coordinator_record,
        allowed_for_messages,
    );
}

#[test]
fn consumer_protocol() {
    run(
        "consumer_protocol",
        files("fuzz/seeds/consumer_protocol"),
        entry::consumer_protocol,
        allowed_for_messages,
    );
}

#[test]
fn record_batches() {
    let mut seeds = files("tests/golden");
    seeds.retain(|seed| RecordBatch::parse(Bytes::copy_from_slice(seed)).is_ok());
    run(
        "record_batch",
        seeds,
        entry::record_batch,
        allowed_for_batches,
    );
}

#[test]
fn the_seeds_reach_every_message() {
    let mut known = Vec::new();
    macro_rules! keys {
        ($($module:ident $request:ident $response:ident $(<$records:ty>)?;)*) => {
            $(known.push(messages::$module::$request::KEY.code());)*
        };
    }
    tidewheel_protocol::for_each_api!(keys);
    known.sort_unstable();
    for folder in ["fuzz/seeds/request", "fuzz/seeds/response"] {
        let key = |seed: &Vec<u8>| i16::from_be_bytes(*seed.first_chunk().expect("a key"));
        let mut found: Vec<i16> = files(folder).iter().map(key).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, known, "{folder}");
    }
}

/// Arrays that announce everything an `i32` can say, at every place of every message.
#[test]
fn announced_lengths_allocate_nothing() {
    for (key, version) in [
        (3, 0),
        (3, 1),
        (0, 3),
        (1, 4),
        (2, 1),
        (8, 1),
        (9, 1),
        (11, 0),
        (13, 3),
        (14, 0),
        (15, 0),
        (19, 2),
        (20, 1),
        (32, 1),
        (42, 0),
        (47, 0),
    ] {
        for fill in 0..64 {
            let mut input: Vec<u8> = vec![0, key, 0, version, 0, 0, 0, 1, 0xFF, 0xFF];
            input.extend(std::iter::repeat_n(0, fill));
            input.extend([0x7F, 0xFF, 0xFF, 0xFF]);
            let ((), peak) = peak_of(|| entry::request(&input));
            assert!(
                peak <= 16 * 1024,
                "key {key}: {peak} bytes for {} of input",
                input.len()
            );
        }
    }
}

/// The same in what lies in logs and passes between consumers, where no frame limit comes before.
#[test]
fn announced_lengths_in_stored_records_allocate_nothing() {
    let key = |record_type| vec![0, 8, 0, record_type, 0, 1, b'g', 0, 1, b'm', 0, 0];
    let group = vec![0, 5, 0, 2, 0, 1, b'g', 0, 3];
    for head in [group, key(5), key(7), key(8), key(16)] {
        for fill in 0..64 {
            for length in [&[0x7F, 0xFF, 0xFF, 0xFF][..], &[0xFF, 0xFF, 0xFF, 0xFF, 7]] {
                let mut input = head.clone();
                input.extend(std::iter::repeat_n(0, fill));
                input.extend(length);
                let ((), peak) = peak_of(|| entry::coordinator_record(&input));
                assert!(peak <= 16 * 1024, "{peak} bytes for {input:?}");
                let ((), peak) = peak_of(|| entry::consumer_protocol(&input[head.len() - 2..]));
                assert!(peak <= 16 * 1024, "{peak} bytes for {input:?}");
            }
        }
    }
}

/// 100 MiB of the smallest elements there are.
#[test]
fn a_large_frame_of_small_elements_stays_within_the_budget() {
    let count = 10_u32 << 20;
    let mut writer = tidewheel_protocol::Writer::new();
    writer.put_uvarint(count + 1);
    (0..count).for_each(|_| writer.put_slice(&[1, 0]));
    let body = writer.freeze();
    let len = body.len();
    let (result, peak) =
        peak_of(|| messages::metadata::MetadataRequest::decode(&mut Reader::new(body), 9));
    assert_eq!(result, Err(wire::DecodeError::BudgetExceeded));
    assert!(
        peak <= wire::BUDGET_BYTES_MIN + wire::BUDGET_FACTOR * len,
        "{peak} bytes"
    );
}

/// Small inputs that decompress to much more than the cap.
#[test]
fn decompression_bombs_stay_near_the_cap() {
    let cap = 1 << 20;
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let bomb = codec.compress(&vec![0; 64 << 20]).expect("compresses");
        let (result, peak) = peak_of(|| codec.decompress(&bomb, cap));
        assert!(result.is_err());
        assert!(peak <= 4 * cap, "{codec:?} held {peak} bytes");
    }
}

/// Inputs whose headers announce far more than their bytes could become.
#[test]
fn announced_sizes_of_compressed_data_allocate_nothing() {
    // A snappy block of 2^20 bytes; an LZ4 frame of 4 MiB blocks.
    let snappy = b"\x80\x80\x40\x00\x00";
    let lz4 = b"\x04\x22\x4D\x18\x60\x70\x73\x02\0\0\0\x10\x61";
    for (codec, input) in [(Compression::Snappy, &snappy[..]), (Compression::Lz4, lz4)] {
        let (result, peak) = peak_of(|| codec.decompress(input, 1 << 30));
        assert!(result.is_err(), "{codec:?}");
        assert!(peak <= 8 * 1024, "{codec:?} held {peak} bytes");
    }
}
