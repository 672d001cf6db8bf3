//! `log repair`: what was not damaged is there afterwards, nothing else is, and a start takes it.
//!
//! `TIDEWHEEL_REPAIR_SEEDS=from..to` for a longer run.

mod beginnings;
mod bits;
mod cut_off;
mod flaky;
mod nested;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use tidewheel_protocol::RecordBatch;
use tidewheel_storage::checkpoint::{
    CLEAN_SHUTDOWN_MARKER, RECOVERY_POINT_CHECKPOINT, REPLICATION_OFFSET_CHECKPOINT, write_offsets,
};
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::inspect::{
    RepairLine, RepairOptions, RepairSummary, Severity, repair, verify,
};
use tidewheel_storage::{METADATA_TOPIC, StorageError};

use crate::support::{self, Draft, Log, NOW, Random, append, check_lookups, read_all, tp};
use world::{DATA, DIR, Left, World, Written, content, damage, files, start};

/// The seeds of a test: its own ones, or those of the environment.
fn seeds(own: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("TIDEWHEEL_REPAIR_SEEDS") else {
        return own;
    };
    let (from, to) = range
        .split_once("..")
        .expect("TIDEWHEEL_REPAIR_SEEDS=from..to");
    from.parse().unwrap()..to.parse().unwrap()
}

fn options(dry_run: bool, run: i64) -> RepairOptions {
    RepairOptions {
        interval_bytes: 200,
        dry_run,
        now_ms: NOW + run,
    }
}

fn run(
    fs: &SimFs,
    dry_run: bool,
    run: i64,
) -> Result<(RepairSummary, Vec<RepairLine>), StorageError> {
    let mut lines = Vec::new();
    let options = options(dry_run, run);
    let summary = repair(fs, Path::new(DATA), options, &mut |line| lines.push(line))?;
    Ok((summary, lines))
}

fn damages(fs: &SimFs) -> Vec<String> {
    let mut damages = Vec::new();
    verify(fs, Path::new(DATA), &mut |finding| {
        if finding.severity == Severity::Damage {
            damages.push(finding.to_string());
        }
    })
    .unwrap();
    damages
}

fn is_empty(batch: &RecordBatch) -> bool {
    batch.header.record_count == 0
}

/// What a repaired directory must keep of what was `left`. `told` says what was done.
fn check(world: &World, fs: &SimFs, left: &Left<'_>, told: &[RepairLine]) {
    let (untouched, durable) = (&left.untouched[..], left.durable);
    let (again, lines) = run(fs, false, 99).unwrap();
    assert_eq!(
        (again.repaired, again.reindexed, &lines[..]),
        (0, 0, &[][..]),
        "a second run"
    );
    assert_eq!(damages(fs), [""; 0]);
    let fs = fs.kill();
    let (manager, log) = start(&fs, &world.config, world.epoch + 1);
    assert!(log.refusal().is_none(), "{:?}", log.refusal());
    let batches = read_all(&log, 1 << 20);
    let found: BTreeMap<i64, &RecordBatch> = batches
        .iter()
        .map(|batch| (batch.header.base_offset, batch))
        .collect();
    let first = log.offsets().log_start;
    for written in untouched {
        let offset = written.batch.header.base_offset;
        if offset < first || doubtful(told, offset, 8) || moved(told, offset) {
            continue;
        }
        let found = found.get(&offset).map(|batch| body(batch));
        assert_eq!(
            found,
            Some(body(&written.batch)),
            "what was not touched, at {offset}"
        );
    }
    check_written(world, left, told, &batches);
    check_order(left, &batches);
    let last = untouched
        .last()
        .map_or(0, |last| last.batch.header.next_offset());
    let end = log.offsets().log_end;
    assert!(
        durable.max(last) <= end && end <= left.end,
        "the end is {end}, not up to {}",
        left.end
    );
    // A wrong label at the end that nothing tells costs offsets, and time to look all of them up.
    if end <= world.log_end + 10_000 {
        check_lookups(&log, &batches);
    }
    check_producers(world, &log, untouched);
    let info = append(&log, &Draft::new(1_000), false, NOW).unwrap();
    assert_eq!((info.base_offset, info.duplicate), (end, false));
    manager.close(NOW).unwrap();
    drop((manager, log));
    let mut after = damages(&fs);
    // Behind the recovery point a start believes the epoch of the newest batch, and the time index.
    let repaired = |line: &RepairLine| matches!(line, RepairLine::Repaired { .. });
    let believed = ["epoch", "timestamp"];
    after
        .retain(|what| told.iter().any(repaired) || !believed.iter().any(|one| what.contains(one)));
    assert_eq!(after, [""; 0], "after a clean stop");
    let (_manager, log) = start(&fs, &world.config, world.epoch + 2);
    assert_eq!(read_all(&log, 1 << 20).len(), batches.len() + 1);
}

/// Whether it was told that nobody knows about an offset, or one so near.
fn doubtful(told: &[RepairLine], offset: i64, near: i64) -> bool {
    told.iter().any(|line| matches!(line, RepairLine::Doubtful { offset: told, .. } if (offset - told).abs() <= near))
}

/// Whether a batch had this offset and was given another one, of which it was told that it may be wrong.
fn moved(told: &[RepairLine], from: i64) -> bool {
    told.iter().any(|line| match line {
        RepairLine::Relabelled { was, offset, .. } => *was == from && doubtful(told, *offset, 0),
        _ => false,
    })
}

/// Batches without damage beside them stand in the order in which they were written, whatever offsets they have.
fn check_order(left: &Left<'_>, batches: &[RecordBatch]) {
    let mut places: HashMap<&[u8], Vec<i64>> = HashMap::new();
    for batch in batches {
        let (offset, bytes) = body(batch);
        places.entry(bytes).or_default().push(offset);
    }
    let kept = left.in_order.iter().filter_map(|written| {
        let places = places.get(body(&written.batch).1)?;
        (places.len() == 1).then(|| places[0])
    });
    let kept: Vec<i64> = kept.collect();
    assert!(kept.is_sorted(), "{kept:?}");
}

/// What no repair changes of a batch. The leader epoch alone may be another one: it is told by its neighbours where
/// it is damaged.
fn body(batch: &RecordBatch) -> (i64, &[u8]) {
    (batch.header.base_offset, &batch.bytes[16..])
}

/// Nothing is there that never was, or at another offset, as far as the file tells.
fn check_written(world: &World, left: &Left<'_>, told: &[RepairLine], batches: &[RecordBatch]) {
    let all: BTreeMap<i64, &RecordBatch> = world
        .written
        .iter()
        .map(|one| (one.batch.header.base_offset, &one.batch))
        .collect();
    for batch in batches.iter().filter(|batch| !is_empty(batch)) {
        let offset = batch.header.base_offset;
        let written = all.get(&offset).map(|batch| body(batch));
        // Where only a copy of a batch is left, in the place of another, it is taken for that one if one bit tells.
        let copied = told.iter().any(|line| match line {
            RepairLine::Relabelled {
                was, offset: is, ..
            } => *is == offset && all.get(was).map(|one| body(one).1) == Some(body(batch).1),
            _ => false,
        });
        let unknown = left
            .unknown
            .iter()
            .any(|(label, one)| *label == offset && one.batch.bytes[16..] == batch.bytes[16..]);
        assert!(
            written == Some(body(batch)) || doubtful(told, offset, 0) || unknown || copied,
            "never written: {:?}",
            batch.header
        );
    }
}

/// The newest batch of each producer is known, where nothing was written by it since.
fn check_producers(world: &World, log: &Log, untouched: &[&Written]) {
    let mut newest: HashMap<i64, &Written> = HashMap::new();
    for written in &world.written {
        newest.insert(written.batch.header.producer_id, written);
    }
    for written in untouched {
        let header = written.batch.header;
        let is_newest = newest[&header.producer_id].batch.header.base_offset == header.base_offset;
        if header.producer_id < 0 || !is_newest || header.record_count == 0 {
            continue;
        }
        let again = Draft {
            count: usize::try_from(header.last_offset_delta).unwrap() + 1,
            producer: Some((
                header.producer_id,
                header.producer_epoch,
                header.base_sequence,
            )),
            ..Draft::new(7)
        };
        let info = append(log, &again, false, NOW).unwrap();
        assert!(info.duplicate, "producer {}", header.producer_id);
    }
}

#[test]
fn what_is_not_damaged_is_there_after_a_repair_and_nothing_else() {
    let failed: Vec<u64> = seeds(0..250)
        .filter(|seed| std::panic::catch_unwind(|| damage_and_repair(*seed)).is_err())
        .collect();
    assert!(failed.is_empty(), "seeds {failed:?}");
}

fn damage_and_repair(seed: u64) {
    println!("seed {seed}");
    let world = World::new(seed, false);
    let mut random = Random(seed ^ 0x5eed);
    for _ in 0..1 + random.below(4) {
        if let Some(what) = damage(&world, &mut random) {
            println!("  {what}");
        }
    }
    let fs = world.fs.kill();
    let left = world.left(&fs);
    let ops = fs.op_count();
    let (dry, _) = run(&fs, true, 0).unwrap();
    assert_eq!(fs.op_count(), ops, "a dry run changes nothing");
    let (summary, lines) = run(&fs, false, 1).unwrap();
    for line in &lines {
        println!("  {line}");
    }
    let counts = |one: &RepairSummary| (one.repaired, one.cut_bytes, one.lost_offsets);
    assert_eq!(counts(&dry), counts(&summary));
    assert_eq!((summary.left, summary.refused), (0, 0));
    check(&world, &fs, &left, &lines);
}

#[test]
fn a_healthy_partition_is_not_touched() {
    for seed in seeds(0..30) {
        let world = World::new(seed, false);
        let fs = world.fs.kill();
        let ops = fs.op_count();
        let (summary, lines) = run(&fs, false, 1).unwrap();
        assert_eq!((lines, summary.partitions), (Vec::new(), 1), "seed {seed}");
        assert_eq!(fs.op_count(), ops, "seed {seed}");
    }
}

/// Flips a byte in the middle of the first segment, cuts the second short and takes the third away.
fn damage_three(fs: &SimFs) {
    let logs = files(fs, &[".log"]);
    let bytes = content(fs, &logs[0]).unwrap();
    let middle = bytes.len() / 2;
    fs.rot(&logs[0], middle as u64, &[!bytes[middle]]).unwrap();
    let second = fs.open(&logs[1], OpenMode::ReadWrite).unwrap();
    second.set_len(second.len().unwrap() / 2).unwrap();
    fs.remove_file(&logs[2]).unwrap();
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    let world = World::new(1, true);
    damage_three(&world.fs);
    let fs = world.fs.kill();
    let before: Vec<_> = files(&fs, &[".log"])
        .iter()
        .map(|path| content(&fs, path))
        .collect();
    fs.set_free_bytes(100);
    let outcome = run(&fs, false, 1);
    assert!(
        matches!(outcome, Err(StorageError::DiskFull { .. })),
        "{outcome:?}"
    );
    let after: Vec<_> = files(&fs, &[".log"])
        .iter()
        .map(|path| content(&fs, path))
        .collect();
    assert_eq!(after, before);
    assert_eq!(files(&fs, &[".tmp"]).len(), 0);
    fs.set_free_bytes(1 << 30);
    let (_, lines) = run(&fs, false, 2).unwrap();
    check(&world, &fs, &world.left(&world.fs), &lines);
}

/// A recovery point whose digits rotted.
#[test]
fn a_recovery_point_within_a_batch_or_far_away_moves_to_the_end() {
    for seed in 0..10 {
        let world = World::new(seed, true);
        let path = Path::new(DATA).join(RECOVERY_POINT_CHECKPOINT);
        let wide = world
            .written
            .iter()
            .find(|one| one.batch.header.last_offset_delta > 0);
        let within = wide.unwrap().batch.header.base_offset + 1;
        for offset in [within, world.log_end + 50, 1 << 50] {
            let fs = world.fs.kill();
            write_offsets(&fs, &path, &[(tp("t", 0), offset)]).unwrap();
            support::believe_texts(&fs);
            let (summary, lines) = run(&fs, false, 1).unwrap();
            assert_eq!((summary.repaired, summary.left), (1, 0), "{lines:?}");
            let left = Left {
                durable: world.log_end,
                end: world.log_end + 50,
                ..world.left(&fs)
            };
            check(&world, &fs, &left, &lines);
        }
    }
}

/// Consumers saw what lies below the high watermark: offsets of it are not given away twice.
#[test]
fn the_high_watermark_tells_the_end_where_the_recovery_point_is_lost() {
    for seed in 0..6 {
        let world = World::of(seed, false);
        let fs = world.fs.kill();
        let logs = files(&fs, &[".log"]);
        let last = fs.open(&logs[logs.len() - 1], OpenMode::ReadWrite).unwrap();
        last.set_len(last.len().unwrap() / 2).unwrap();
        let first = content(&fs, &logs[0]).unwrap();
        let middle = first.len() / 2;
        fs.rot(&logs[0], middle as u64, &[!first[middle]]).unwrap();
        let data = Path::new(DATA);
        let offset = |offset| [(tp("t", 0), offset)];
        write_offsets(&fs, &data.join(RECOVERY_POINT_CHECKPOINT), &offset(0)).unwrap();
        let seen = offset(world.log_end);
        write_offsets(&fs, &data.join(REPLICATION_OFFSET_CHECKPOINT), &seen).unwrap();
        support::believe_texts(&fs);
        let left = world.left(&fs);
        let (summary, lines) = run(&fs, false, 1).unwrap();
        assert_eq!((summary.repaired, summary.left), (1, 0), "{lines:?}");
        check(&world, &fs, &left, &lines);
        let (_manager, log) = start(&fs.kill(), &world.config, world.epoch + 3);
        assert_eq!(log.offsets().log_end, world.log_end, "seed {seed}");
    }
}

/// The marker of a clean stop says that the manifest is right.
#[test]
fn a_manifest_that_cannot_be_read_goes_with_the_marker_and_nothing_else_is_touched() {
    let world = (0..20)
        .map(|seed| World::new(seed, true))
        .find(|world| content(&world.fs, &Path::new(DATA).join(CLEAN_SHUTDOWN_MARKER)).is_some());
    let world = world.unwrap();
    let manifest = Path::new(DATA).join("tidewheel.manifest");
    for missing in [false, true] {
        let fs = world.fs.kill();
        match missing {
            true => fs.remove_file(&manifest).unwrap(),
            false => fs.rot(&manifest, 10, &[0xff; 4]).unwrap(),
        }
        let (summary, lines) = run(&fs, false, 1).unwrap();
        assert_eq!((summary.repaired, summary.left), (0, 0), "{lines:?}");
        assert_eq!(lines.len(), if missing { 1 } else { 2 }, "{lines:?}");
        check(&world, &fs, &world.left(&fs), &lines);
    }
}

#[test]
fn what_is_cut_out_is_kept_byte_for_byte() {
    let world = World::new(1, true);
    damage_three(&world.fs);
    let fs = world.fs.kill();
    let old: BTreeMap<_, _> = files(&fs, &[".log"])
        .into_iter()
        .map(|path| (path.clone(), content(&fs, &path).unwrap()))
        .collect();
    let (summary, lines) = run(&fs, false, 1).unwrap();
    let names = fs.read_dir(Path::new(DIR)).unwrap().into_iter();
    let mut folders = names.filter(|entry| entry.name.starts_with("cut-out."));
    let report = Path::new(DIR).join(folders.next().unwrap().name);
    let report = content(&fs.crash_lose_all_unsynced(), &report.join("report.txt")).unwrap();
    let told: Vec<String> = lines.iter().map(ToString::to_string).collect();
    assert_eq!(String::from_utf8(report).unwrap(), told.join("\n") + "\n");
    let mut kept_bytes = 0;
    for line in lines {
        if let RepairLine::Cut {
            file,
            position,
            bytes,
            kept: Some(kept),
            ..
        } = line
        {
            let from = usize::try_from(position).unwrap();
            let cut = &old[&file][from..from + usize::try_from(bytes).unwrap()];
            assert_eq!(content(&fs, &kept).unwrap(), cut, "{}", kept.display());
            kept_bytes += bytes;
        }
    }
    assert!(
        kept_bytes > 0 && kept_bytes == summary.cut_bytes,
        "{kept_bytes}"
    );
}

#[test]
fn a_running_broker_the_metadata_log_and_an_open_swap_are_refused() {
    let world = World::new(1, true);
    damage_three(&world.fs);
    let fs = world.fs.kill();
    let lock = fs.lock(&Path::new(DATA).join(".lock")).unwrap();
    let outcome = run(&fs, false, 1);
    assert!(
        matches!(outcome, Err(StorageError::DirectoryInUse { .. })),
        "{outcome:?}"
    );
    drop(lock);
    let metadata = Path::new(DATA).join(format!("{METADATA_TOPIC}-0"));
    fs.create_dir_all(&metadata).unwrap();
    let log = content(&fs, &files(&fs, &[".log"])[0]).unwrap();
    for (name, bytes) in [
        ("00000000000000000000.log", &log),
        ("partition.metadata", &Vec::new()),
    ] {
        tidewheel_storage::checkpoint::write_atomically(&fs, &metadata.join(name), bytes).unwrap();
    }
    let swap = Path::new(DIR).join("00000000000000000000.log.swap");
    tidewheel_storage::checkpoint::write_atomically(&fs, &swap, b"").unwrap();
    let ops = fs.op_count();
    let (summary, lines) = run(&fs, false, 1).unwrap();
    assert_eq!(
        (summary.refused, summary.repaired, fs.op_count()),
        (2, 0, ops),
        "{lines:?}"
    );
}
