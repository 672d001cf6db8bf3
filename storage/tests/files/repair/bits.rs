//! Single faults, of which it is known what a repair has to make of them.

use std::collections::BTreeMap;
use std::path::Path;

use tidewheel_protocol::RecordBatch;
use tidewheel_storage::checkpoint::{CLEANER_OFFSET_CHECKPOINT, write_atomically};
use tidewheel_storage::fs::{FileSystem, SimFs};

use super::world::{DATA, DIR, World, Written, content, files, recovery_point, start};
use super::{check, moved, run, seeds};
use crate::support::{NOW, Random, believe_texts, read_all};

/// What no CRC of a batch covers: base offset, length, leader epoch and magic byte.
const UNCOVERED: usize = 17;

/// Flips a bit of a batch's header in a copy of the world.
fn with_flipped(world: &World, written: &Written, byte: usize, bit: u64) -> SimFs {
    let fs = world.fs.kill();
    let position = (written.position + byte) as u64;
    let flipped = written.batch.bytes[byte] ^ (1 << bit);
    fs.rot(&written.path, position, &[flipped]).unwrap();
    fs
}

/// The batches with records that a start finds, by their offsets.
fn found(world: &World, fs: &SimFs) -> BTreeMap<i64, RecordBatch> {
    let (_manager, log) = start(&fs.kill(), &world.config, world.epoch + 1);
    assert!(log.refusal().is_none(), "{:?}", log.refusal());
    let batches = read_all(&log, 1 << 20).into_iter();
    let full = batches.filter(|batch| batch.header.record_count > 0);
    full.map(|batch| (batch.header.base_offset, batch))
        .collect()
}

/// Offset and bytes of those batches of a world that a reader must find.
fn full(world: &World) -> impl Iterator<Item = &Written> {
    let all = world.written.iter();
    all.filter(|one| one.batch.header.record_count > 0)
}

fn same(one: &RecordBatch, other: Option<&RecordBatch>) -> bool {
    other.is_some_and(|other| other.bytes[16..] == one.bytes[16..])
}

/// Calls `look` with random bits of the headers of a world.
fn for_some_bits(world: &World, seed: u64, count: u64, mut look: impl FnMut(&Written, usize, u64)) {
    let mut random = Random(seed ^ 0xb175);
    for written in &world.written {
        for _ in 0..count {
            let byte = random.index(UNCOVERED as u64);
            look(written, byte, random.below(8));
        }
    }
}

#[test]
fn one_flipped_bit_that_no_crc_covers_costs_nothing_in_a_log_that_was_never_compacted() {
    for seed in seeds(0..6) {
        let world = World::of(seed, false);
        let expected = full(&world).count();
        for_some_bits(&world, seed, 4, |written, byte, bit| {
            let fs = with_flipped(&world, written, byte, bit);
            let (_, lines) = run(&fs, false, 1).unwrap();
            let offset = written.batch.header.base_offset;
            let what = || format!("seed {seed}, bit {bit} of byte {byte} of {offset}: {lines:#?}");
            let found = found(&world, &fs);
            assert_eq!(found.len(), expected, "{}", what());
            for one in full(&world) {
                let offset = one.batch.header.base_offset;
                assert!(same(&one.batch, found.get(&offset)), "{offset}; {}", what());
            }
        });
    }
}

#[test]
fn one_flipped_bit_in_a_compacted_log_costs_no_other_batch_and_all_stay_in_their_order() {
    for seed in seeds(0..6) {
        let world = World::of(seed, true);
        for_some_bits(&world, seed, 4, |written, byte, bit| {
            let fs = with_flipped(&world, written, byte, bit);
            let (_, lines) = run(&fs, false, 1).unwrap();
            let offset = written.batch.header.base_offset;
            let what = || format!("seed {seed}, bit {bit} of byte {byte} of {offset}: {lines:#?}");
            let found = found(&world, &fs);
            let mut expected: Vec<&Written> = full(&world).collect();
            if found.len() < expected.len() {
                expected.retain(|one| one.position != written.position || one.path != written.path);
            }
            assert_eq!(found.len(), expected.len(), "{}", what());
            for (one, (offset, found)) in expected.into_iter().zip(&found) {
                assert!(same(&one.batch, Some(found)), "{offset}; {}", what());
                // Where a wrong label still rises nobody sees it; where two could be wrong one may get another.
                let own = one.batch.header.base_offset;
                let is_other = one.position != written.position || one.path != written.path;
                assert!(
                    own == *offset || !is_other || moved(&lines, own),
                    "{own} is {offset}; {}",
                    what()
                );
            }
        });
    }
}

/// The settings still say that the topic is compacted, so that a start takes the log.
#[test]
fn a_compacted_log_without_the_checkpoint_that_says_so_keeps_all_its_batches() {
    for seed in seeds(0..40) {
        let world = World::of(seed, true);
        let fs = world.fs.kill();
        let path = Path::new(DATA).join(CLEANER_OFFSET_CHECKPOINT);
        if content(&fs, &path).is_none() {
            continue;
        }
        fs.remove_file(&path).unwrap();
        believe_texts(&fs);
        let (summary, lines) = run(&fs, false, 1).unwrap();
        assert_eq!((summary.cut_bytes, summary.left), (0, 0), "{lines:#?}");
        check(&world, &fs, &world.left(&world.fs), &lines);
    }
}

/// A hole that reaches from below the recovery point to above it: no batch may reach over that.
#[test]
fn what_is_lost_around_the_recovery_point_leaves_a_log_that_a_start_takes() {
    let mut looked_at = 0;
    for seed in seeds(0..60) {
        let world = World::new(seed, false);
        let durable = recovery_point(&world.fs);
        let over = |one: &&Written| one.batch.header.base_offset >= durable;
        let Some(first) = world.written.iter().find(over) else {
            continue;
        };
        let fs = world.fs.kill();
        let from = first.position.saturating_sub(200);
        let len = content(&fs, &first.path).unwrap().len();
        let zeros = vec![0; len.min(first.position + 100) - from];
        fs.rot(&first.path, from as u64, &zeros).unwrap();
        let left = world.left(&fs);
        let (summary, lines) = run(&fs, false, 1).unwrap();
        assert_eq!((summary.left, summary.refused), (0, 0), "{lines:#?}");
        check(&world, &fs, &left, &lines);
        looked_at += 1;
    }
    assert!(looked_at > 0, "no log had data above its recovery point");
}

/// Nothing of it is cut out: a name that is wrong costs less to put right than what lies behind it.
#[test]
fn a_segment_with_a_wrong_name_is_left_as_it_is() {
    for wrong in [1, 2, 7] {
        let world = World::of(3, false);
        let fs = world.fs.kill();
        let logs = files(&fs, &[".log"]);
        let second = world.written.iter().find(|one| one.path == logs[1]);
        let base_offset = second.unwrap().batch.header.base_offset;
        let name = |offset: i64| Path::new(DIR).join(format!("{offset:020}.log"));
        fs.rename(&logs[1], &name(base_offset + wrong)).unwrap();
        left_alone(&fs);
        // A file that does not belong there makes a part of the one before it look out of place.
        let fs = world.fs.kill();
        write_atomically(&fs, &name(base_offset - 3), b"").unwrap();
        left_alone(&fs);
    }
}

fn left_alone(fs: &SimFs) {
    let ops = fs.op_count();
    let (summary, lines) = run(fs, false, 1).unwrap();
    assert_eq!((summary.left, summary.repaired), (1, 0), "{lines:#?}");
    assert_eq!(fs.op_count(), ops, "{lines:#?}");
}

#[test]
fn messages_of_formats_before_kafka_0_11_are_not_cut_out() {
    let world = World::of(3, false);
    let fs = world.fs.kill();
    let mut message = [
        &[1, 0][..],
        &NOW.to_be_bytes(),
        &[0xff; 4],
        &5_u32.to_be_bytes(),
        b"value",
    ]
    .concat();
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &message);
    let len = u32::try_from(message.len() + 4).unwrap();
    let crc = u32::try_from(crc).unwrap();
    message.splice(
        ..0,
        [&[0; 8][..], &len.to_be_bytes(), &crc.to_be_bytes()].concat(),
    );
    write_atomically(&fs, &files(&fs, &[".log"])[0], &message).unwrap();
    left_alone(&fs);
}
