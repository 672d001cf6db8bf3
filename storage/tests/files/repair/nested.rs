//! Records whose values are whole batches, as a topic holds them that keeps copies of logs.

use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_protocol::RecordBatchBuilder;
use tidewheel_storage::fs::{Fault, FileSystem, OpenMode, SimFs};
use tidewheel_storage::validate;

use super::cut_off::cut_off_everywhere;
use super::world::{HEADER, World, Written, files, start};
use super::{check, run};
use crate::support::{self, Draft, Log, NOW, Random, append, read_all};

/// Records of a batch that holds batches.
const RECORDS: i64 = 4;

/// A batch that would fit at `offset` by its header.
fn inner(offset: i64) -> Vec<u8> {
    let draft = Draft::new(u64::try_from(offset).unwrap());
    let mut bytes = draft.batch().bytes.to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes
}

/// A log in which every second batch holds batches, alone and several in one value; their offsets are those of its own
/// records and of the ones that follow.
fn world(compact: bool, index_interval_bytes: u32) -> World {
    let config = LogConfig {
        segment_bytes: 1 << 20,
        index_interval_bytes,
        cleanup_policy: CleanupPolicy {
            delete: !compact,
            compact,
        },
        ..support::config()
    };
    World::stopped(config, |log| {
        for id in 0..8 {
            append(log, &Draft::new(id), false, NOW).unwrap();
            let first = log.offsets().log_end;
            let mut outer = RecordBatchBuilder::new();
            for record in 0..RECORDS {
                let mut value = inner(first + record);
                for behind in 1..=record * 2 {
                    value.extend(inner(first + record + behind));
                }
                let key = [b"key", &first.to_be_bytes()[..]].concat();
                outer = outer.record(NOW + first, Some(&key), Some(&value));
            }
            append_built(log, outer);
        }
    })
}

/// A log of which one batch has this record, with that many batches before and behind it.
fn around(index_interval_bytes: u32, (before, behind): (u64, u64), value: &[u8]) -> World {
    let config = LogConfig {
        segment_bytes: 1 << 20,
        index_interval_bytes,
        ..support::config()
    };
    World::stopped(config, |log| {
        for id in 0..before {
            append(log, &Draft::new(id), false, NOW).unwrap();
        }
        append_built(
            log,
            RecordBatchBuilder::new().record(NOW, None, Some(value)),
        );
        for id in before + 1..=before + behind {
            append(log, &Draft::new(id), false, NOW).unwrap();
        }
    })
}

fn append_built(log: &Log, batch: RecordBatchBuilder) {
    let batch = validate(batch.build().unwrap(), &log.config(), NOW).unwrap();
    log.append(batch, false, 0, NOW);
}

/// The batches that hold batches.
fn outers(world: &World) -> impl Iterator<Item = &Written> {
    let all = world.written.iter();
    all.filter(|one| one.batch.header.last_offset_delta > 0)
}

fn repair_and_check(world: &World, fs: &SimFs) {
    let left = world.left(fs);
    let (summary, lines) = run(fs, false, 1).unwrap();
    assert_eq!((summary.left, summary.refused), (0, 0), "{lines:#?}");
    check(world, fs, &left, &lines);
}

#[test]
fn a_flipped_byte_of_a_batch_that_holds_batches_makes_none_of_them_one_of_the_log() {
    for (compact, index) in [(false, 200), (false, 1 << 20), (true, 200), (true, 1 << 20)] {
        let world = world(compact, index);
        for (number, outer) in outers(&world).enumerate() {
            // All of the header of one, and some bytes of each.
            let len = outer.batch.bytes.len();
            let header = (0..HEADER).filter(|_| number == 2);
            let some = (0..5).map(|part| part * (len - 1) / 4);
            for byte in header.chain(some) {
                let fs = world.fs.kill();
                let flipped = !outer.batch.bytes[byte];
                let position = (outer.position + byte) as u64;
                fs.rot(&outer.path, position, &[flipped]).unwrap();
                repair_and_check(&world, &fs);
            }
        }
    }
}

/// More is gone than a CRC or a flipped bit can tell: the header, the length, all around the edge of two batches.
#[test]
fn no_damage_around_such_batches_makes_one_of_them_one_of_the_log() {
    for (compact, index) in [(false, 200), (false, 1 << 20), (true, 1 << 20)] {
        let world = world(compact, index);
        let len: usize = world.written.iter().map(|one| one.batch.bytes.len()).sum();
        for seed in 0..60 {
            let mut random = Random(seed);
            let fs = world.fs.kill();
            for _ in 0..1 + random.below(4) {
                let all: Vec<&Written> = outers(&world).collect();
                let outer = all[random.index(all.len() as u64)];
                let start = outer.position;
                let garbage: Vec<u8> = (0..600).map(|_| random.next().to_le_bytes()[0]).collect();
                let (from, to) = match random.below(6) {
                    0 => (start, start + HEADER),
                    1 => (start + 8, start + 12),
                    2 => (start + 16, start + 30),
                    3 => (start.saturating_sub(20), start + random.index(200)),
                    4 => {
                        let end = start + outer.batch.bytes.len();
                        (end - random.index(80), end + random.index(80))
                    }
                    _ => (start + 512 - start % 512, start + 1024 - start % 512),
                };
                let bytes = &garbage[..to - from];
                let zeros = vec![0; bytes.len()];
                let bytes = if random.chance(50) { bytes } else { &zeros };
                fs.rot(&outer.path, from as u64, bytes).unwrap();
            }
            if random.chance(20) {
                let file = fs.open(&files(&fs, &[".log"])[0], OpenMode::ReadWrite);
                let cut = random.index(len as u64) as u64;
                file.unwrap().set_len(cut).unwrap();
            }
            println!("seed {seed}, compact {compact}, index {index}");
            repair_and_check(&world, &fs);
        }
    }
}

/// The index is gone as well, and the file ends with one of the inner batches.
#[test]
fn a_file_that_was_cut_between_two_inner_batches_ends_with_the_batch_before_them() {
    let world = world(false, 1 << 20);
    for outer in outers(&world) {
        let bytes = &outer.batch.bytes;
        let starts = (HEADER..bytes.len() - HEADER).filter(|at| {
            let header = tidewheel_protocol::BatchHeader::parse(&bytes[*at..]);
            header.is_ok_and(|header| header.size_in_bytes() < 300 && header.record_count == 1)
        });
        for at in starts {
            let fs = world.fs.kill();
            fs.remove_file(&outer.path.with_extension("index")).unwrap();
            let file = fs.open(&outer.path, OpenMode::ReadWrite).unwrap();
            file.set_len((outer.position + at) as u64).unwrap();
            drop(file);
            repair_and_check(&world, &fs);
        }
    }
}

/// What they are for: without them no batch behind damage would be found.
#[test]
fn a_batch_behind_destroyed_headers_is_found_by_the_index_or_the_end_of_the_file() {
    for index in [200, 1 << 20] {
        let world = world(false, index);
        let fs = world.fs.kill();
        let mut wiped = outers(&world);
        let (first, third) = (wiped.next().unwrap(), wiped.nth(1).unwrap());
        for outer in [first, third] {
            fs.rot(&outer.path, outer.position as u64, &[0; HEADER])
                .unwrap();
        }
        let left = world.left(&fs);
        let between = left.untouched.iter().filter(|one| {
            let position = one.position;
            first.position < position && position < third.position
        });
        let expected = if index == 200 { 3 } else { 0 };
        assert_eq!(between.count(), expected, "as far as they are known");
        repair_and_check(&world, &fs);
    }
}

/// The run that is cut off may have taken the index away that tells of the batches between the two.
#[test]
fn a_repair_that_is_cut_off_still_knows_the_batches_between_destroyed_headers() {
    let world = world(false, 200);
    for outer in outers(&world).step_by(2).take(2) {
        let position = outer.position as u64;
        world.fs.rot(&outer.path, position, &[0; HEADER]).unwrap();
    }
    world.flush();
    cut_off_everywhere(&world, &[Fault::Crash, Fault::Eio]);
}

/// Each of them costs a CRC over much of the file, in vain.
#[test]
fn a_value_full_of_headers_keeps_nobody_from_the_batches_behind_it() {
    let mut header = inner(3);
    header.truncate(HEADER);
    header[8..12].copy_from_slice(&100_000_u32.to_be_bytes());
    let world = around(200, (3, 6), &header.repeat(4_000));
    let fs = world.fs.kill();
    let outer = world.written.iter().max_by_key(|one| one.batch.bytes.len());
    let outer = outer.unwrap();
    fs.rot(&outer.path, outer.position as u64, &[0; HEADER])
        .unwrap();
    assert_eq!(world.left(&fs).untouched.len(), world.written.len() - 1);
    repair_and_check(&world, &fs);
}

/// The last byte of the record is the last one of the batch in its value, so that one ends where the record's batch
/// does. While the header before it can be read, nothing inside is looked at; without it nothing tells the two apart.
#[test]
fn a_value_made_to_end_as_its_record_does_is_taken_for_a_batch_once_the_header_is_destroyed() {
    let forged = inner(1);
    // A record without headers ends with a zero, the number of these.
    let (zero, value) = forged.split_last().unwrap();
    assert_eq!(*zero, 0);
    let world = around(support::config().index_interval_bytes, (1, 3), value);
    let outer = &world.written[1];
    for (destroyed, taken) in [(1, false), (HEADER, true)] {
        let fs = world.fs.kill();
        let last = outer.position + HEADER - destroyed;
        fs.rot(&outer.path, last as u64, &vec![0xff; destroyed])
            .unwrap();
        let (summary, lines) = run(&fs, false, 1).unwrap();
        assert_eq!((summary.repaired, summary.left), (1, 0), "{lines:#?}");
        let (_manager, log) = start(&fs.kill(), &world.config, 1);
        let found = read_all(&log, 1 << 20);
        assert_eq!(found.len(), world.written.len());
        let is_forged = found[1].bytes[16..] == forged[16..];
        assert_eq!(is_forged, taken, "{lines:#?}");
    }
}

#[test]
fn what_looks_like_a_batch_and_is_not_taken_for_one_is_told() {
    let world = world(false, 1 << 20);
    let fs = world.fs.kill();
    let outer = outers(&world).next().unwrap();
    fs.rot(&outer.path, outer.position as u64, &[0; HEADER])
        .unwrap();
    let (summary, lines) = run(&fs, false, 1).unwrap();
    assert_eq!(
        (summary.lost_offsets, summary.repaired),
        (RECORDS.unsigned_abs(), 1)
    );
    let told = lines.iter().map(ToString::to_string);
    let told: Vec<String> = told
        .filter(|line| line.contains("looks like one"))
        .collect();
    assert_eq!(told.len(), 1, "{lines:#?}");
}

/// The header can be read: the batch is as long as it says.
#[test]
fn a_batch_within_a_damaged_batch_is_not_taken_for_one() {
    let world = around(support::config().index_interval_bytes, (1, 1), &inner(1));
    let fs = &world.fs;
    let outer = &world.written[1];
    let last = outer.batch.bytes.len() - 1;
    let position = (outer.position + last) as u64;
    fs.rot(&outer.path, position, &[!outer.batch.bytes[last]])
        .unwrap();
    let (summary, _) = run(fs, false, 1).unwrap();
    assert_eq!((summary.repaired, summary.lost_offsets), (1, 1));
    let (_manager, log) = start(&fs.kill(), &world.config, 1);
    let found = read_all(&log, 1 << 20);
    let counts: Vec<i32> = found
        .iter()
        .map(|batch| batch.header.record_count)
        .collect();
    assert_eq!(counts, [1, 0, 1]);
}
