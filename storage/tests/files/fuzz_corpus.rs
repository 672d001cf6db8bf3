//! The fuzz targets on the stable toolchain: over files that a log wrote, over the committed corpora, and over
//! inputs made from them by chance. A failure prints the seed and the input.

#[path = "../../fuzz/entry.rs"]
mod entry;

use std::path::Path;
use std::sync::Arc;

use crate::support::{self, Draft, NOW, Random, append, live, open};
use tidewheel_config::LogConfig;
use tidewheel_protocol::Uuid;
use tidewheel_storage::delay::{
    DelayGroup, DelayOperation, DelayOptions, DelayQueue, DelayedBatch, PartitionId,
};
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};

/// Where chance starts: here, or where `TIDEWHEEL_FUZZ_SEED` says.
fn first_seed() -> u64 {
    std::env::var("TIDEWHEEL_FUZZ_SEED").map_or(0x7469_6465, |seed| seed.parse().unwrap())
}

/// Prints seed and input when the test panics on it.
struct Input<'a>(u64, &'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}, input {:?}", self.0, self.1);
        }
    }
}

/// Changes a few places: bytes, lengths, what follows what.
fn mutate(random: &mut Random, input: &mut Vec<u8>) {
    const TELLING: [&[u8]; 7] = [
        &[0x7F, 0xFF, 0xFF, 0xFF],
        &[0xFF, 0xFF, 0xFF, 0xFF],
        &[0xFF; 8],
        &[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x80, 0, 0, 0],
        b"-1\n",
        b"9223372036854775807",
    ];
    for _ in 0..=random.below(4) {
        let at = random.index(input.len().max(1) as u64);
        match random.below(6) {
            0 | 1 if !input.is_empty() => input[at] = random.next().to_le_bytes()[0],
            2 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            3 => drop(input.drain(at..(at + random.index(20)).min(input.len()))),
            4 => {
                let telling = TELLING[random.index(TELLING.len() as u64)];
                let end = (at + telling.len()).min(input.len());
                input.splice(at.min(input.len())..end, telling.iter().copied());
            }
            _ => input.insert(at.min(input.len()), random.next().to_le_bytes()[0]),
        }
    }
}

/// What long runs of a target have kept.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Runs a target over seeds, over its corpus, and over `rounds` changed ones of both.
fn run(name: &str, seeds: &[Vec<u8>], rounds: u64, target: fn(&[u8])) {
    let seeds = [seeds, &corpus(name)].concat();
    let first_seed = first_seed();
    let check = |input: &[u8]| {
        let _printed = Input(first_seed, input);
        target(input);
    };
    seeds.iter().for_each(|seed| check(seed));
    let mut random = Random(first_seed);
    for round in 0..rounds {
        let mut input = match round % 16 {
            0 => Vec::new(),
            _ => seeds[random.index(seeds.len() as u64)].clone(),
        };
        mutate(&mut random, &mut input);
        check(&input);
    }
}

/// The files that a log leaves after a clean stop: two segments, several producers, two epochs.
fn written() -> SimFs {
    let disk = SimFs::new();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    for epoch in 0..2 {
        let config = LogConfig {
            segment_bytes: 550,
            index_interval_bytes: 0,
            ..support::config()
        };
        let (manager, logs) = open(&fs, vec![live("t", 2, config)], epoch).unwrap();
        for number in 0..5 {
            let sequence = epoch * 5 + number;
            let mut draft = Draft::new(u64::from(sequence.unsigned_abs()));
            draft.value_len = 10;
            draft.producer = Some((7 + i64::from(number % 2), 0, sequence / 2));
            append(&logs[0], &draft, false, NOW).ok();
        }
        manager.close(NOW).unwrap();
    }
    disk
}

fn read(disk: &SimFs, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The files of the partition whose names end so, in their order.
fn files(disk: &SimFs, ending: &str) -> Vec<Vec<u8>> {
    let entries = disk.read_dir(Path::new("/data/t-0")).unwrap().into_iter();
    let found: Vec<_> = entries
        .filter(|entry| entry.name.ends_with(ending))
        .map(|entry| read(disk, &format!("/data/t-0/{}", entry.name)))
        .collect();
    assert!(!found.is_empty(), "{ending}");
    found
}

#[test]
fn producer_snapshots() {
    let seeds = files(&written(), ".snapshot");
    run(
        "producer_snapshot",
        &seeds,
        20_000,
        entry::producer_snapshot,
    );
}

#[test]
fn leader_epochs() {
    let seeds = files(&written(), "leader-epoch-checkpoint");
    run("leader_epochs", &seeds, 20_000, entry::leader_epochs);
}

#[test]
fn checkpoints() {
    let disk = written();
    let names = [
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
    ];
    let seeds = names.map(|name| read(&disk, &format!("/data/{name}")));
    run("checkpoint", &seeds, 2_000, entry::checkpoint);
}

#[test]
fn manifests() {
    let mut body = read(&written(), "/data/tidewheel.manifest");
    // The target signs what it is given.
    body.truncate(body.len() - "crc32:00000000\n".len());
    run("manifest", &[body], 1_000, entry::manifest);
}

#[test]
fn properties() {
    let disk = written();
    let seeds = ["/data/meta.properties", "/data/t-0/partition.metadata"];
    run(
        "properties",
        &seeds.map(|path| read(&disk, path)),
        4_000,
        entry::properties,
    );
}

#[test]
fn indexes() {
    let disk = written();
    let seeds: Vec<Vec<u8>> = files(&disk, ".index")
        .iter()
        .zip(files(&disk, ".timeindex"))
        .map(|(offsets, times)| {
            let len = u8::try_from(offsets.len()).unwrap();
            [&[1, 0, 9, 3, len, 2, 0, 0], offsets.as_slice(), &times].concat()
        })
        .collect();
    run("index", &seeds, 50_000, entry::index);
}

#[test]
fn partitions_after_a_crash() {
    let disk = written();
    let endings = [".log", ".index", ".timeindex"];
    let [logs, indexes, times] = endings.map(|ending| files(&disk, ending));
    assert!(logs.len() > 1);
    let snapshot = files(&disk, ".snapshot").remove(0);
    let epochs = files(&disk, "leader-epoch-checkpoint").remove(0);
    let all = [
        &logs[0],
        &indexes[0],
        &times[0],
        &logs[1],
        &indexes[1],
        &times[1],
        &snapshot,
        &epochs,
    ];
    let with = |recovery_point, mend, numbers: &[u8]| {
        let mut seed = vec![recovery_point, mend];
        for number in numbers {
            let content = all[usize::from(*number)];
            seed.push(*number);
            seed.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            seed.extend(content);
        }
        seed
    };
    let mut seeds = Vec::new();
    for recovery_point in [0, 3, 5, 10] {
        seeds.push(with(recovery_point, 1, &[0]));
        seeds.push(with(recovery_point, 1, &[0, 1, 2]));
        seeds.push(with(recovery_point, 1, &[0, 1, 2, 3, 4, 5, 6, 7]));
        seeds.push(with(recovery_point, 0, &[0, 3, 7]));
    }
    run("partition", &seeds, 1_500, entry::partition);
}

/// The files of a delay store after a checkpoint and a few groups, with far records and near ones.
fn delay_store() -> Vec<(u8, Vec<u8>)> {
    let disk = SimFs::new();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let options = DelayOptions {
        segment_bytes: 400,
        ..DelayOptions::default()
    };
    let dir = Path::new("/delays");
    let salt = entry::DELAY_SALT;
    let mut tails = |_, _| Ok(None);
    let (mut queue, _) = DelayQueue::open(fs, dir, options, salt, NOW, &mut tails).unwrap();
    for number in 0..6 {
        let batch = Draft::new(number).batch();
        let add = |delay_ms| {
            DelayOperation::Add(DelayedBatch {
                due_ms: NOW + delay_ms,
                expires_ms: (number == 3).then_some(NOW),
                id: vec![b'a'; usize::try_from(number).unwrap()].into(),
                replace: number == 2,
                split_from: (number > 3).then_some(tidewheel_protocol::Compression::Lz4),
                batch: batch.bytes.clone(),
            })
        };
        let operations = vec![
            add(5),
            add(7_200_000),
            DelayOperation::Cancel {
                id: vec![b'a'; 4].into(),
            },
            DelayOperation::Immediate {
                offset: 3,
                batch: batch.bytes.clone(),
            },
        ];
        let group = DelayGroup {
            partition: PartitionId {
                topic_id: Uuid([2; 16]),
                partition: 0,
            },
            log_end: 0,
            producer: None,
            operations,
        };
        queue.accept(&group, NOW).unwrap();
        let sync = queue.sync_work().unwrap();
        queue.synced(&sync, &sync.run(&disk));
        queue.maintain(NOW).unwrap();
    }
    let checkpoint = queue.begin_checkpoint(NOW).unwrap();
    checkpoint.run(&disk).unwrap();
    let entries = disk.read_dir(dir).unwrap();
    let number = |name: &str| match name {
        name if name.ends_with(".delaylog") => u8::from(!name.contains("00000000.")),
        "delay-checkpoint" => 2,
        "delay-checkpoint.copy" => 3,
        _ => 4,
    };
    let content = |name: &str| read(&disk, &format!("/delays/{name}"));
    entries
        .iter()
        .map(|entry| (number(&entry.name), content(&entry.name)))
        .collect()
}

#[test]
fn delay_stores_after_a_crash() {
    let files = delay_store();
    let with = |mend: u8, wanted: &[u8]| {
        let mut seed = vec![mend];
        for (number, content) in files.iter().filter(|(number, _)| wanted.contains(number)) {
            seed.push(*number);
            seed.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            seed.extend(content);
        }
        seed
    };
    let mut seeds = Vec::new();
    for mend in [0, 1] {
        for wanted in [&[0][..], &[1], &[4], &[0, 4], &[0, 2, 4], &[0, 1, 2, 3, 4]] {
            seeds.push(with(mend, wanted));
        }
    }
    run("delay_store", &seeds, 2_000, entry::delay_store);
}
