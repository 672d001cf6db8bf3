//! What becomes of every flipped byte of a small data directory after a kill: no manifest counts then, and a start
//! goes by the checkpoints. Beside a partition whose first records were deleted there is a compacted one, and a
//! metadata log that dropped its history.
//!
//! Who notices is asked before the start; after it, and after the tidying that follows, every batch must still
//! lie somewhere in the directory, but for the one that was hit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::flipped_bytes::{Seen, kind, look};
use crate::support::{self, Draft, Log, Manager, NOW, append, believe_texts, live};
use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_storage::checkpoint::{read_small, remove_durably, write_atomically};
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::inspect::{Severity, verify};
use tidewheel_storage::{CleanerOptions, LogCleaner, StorageError};

const DATA: &str = "/data";
/// The segment whose only batch lies above the recovery point.
const LAST: &str = "/data/p-0/00000000000000000012.log";
/// When everything that is kept for a while is due.
const LATER: i64 = NOW + (1 << 40);

/// Who notices, the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Noticed {
    /// `log verify`, before the start.
    ByVerify,
    /// The start fails, or names a partition as damaged.
    AtStart,
    /// A reader gets an error, or a batch that its CRC gives away.
    AtRead,
    /// The log ends before the batch, which is kept aside: it lay above the recovery point. Or all batches are there, and
    /// epochs alone are told otherwise.
    KeptAside,
    /// Nobody: everything reads the same.
    Harmless,
    /// Nobody: what stands before a batch's CRC is under none. In a compacted log a batch that has another offset within
    /// a hole is like any other, and above the recovery point no checkpoint of epochs tells a wrong one.
    Nobody,
}

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 400,
        ..support::config()
    }
}

fn compacted() -> LogConfig {
    LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: false,
            compact: true,
        },
        min_cleanable_dirty_ratio: 0.0,
        ..small()
    }
}

/// All logs, the metadata log first, and what the start told of damage.
type Started = (Manager, Vec<Arc<Log>>, Option<StorageError>);

fn start(fs: &SimFs) -> Result<Started, StorageError> {
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let manager = Manager::open(shared, support::options(&[DATA]))?;
    let metadata = manager.open_metadata_log(None, NOW)?;
    let partitions = vec![live("c", 1, compacted()), live("p", 2, small())];
    let loaded = manager.load(partitions, 1, NOW)?;
    let mut logs = loaded.logs;
    logs.sort_by_key(|log| log.topic_partition().clone());
    logs.insert(0, metadata);
    let refused = logs.iter().find_map(|log| log.refusal());
    let damage = loaded.lost.into_iter().next().or(refused);
    Ok((manager, logs, damage))
}

/// A directory that was killed, with a batch above a recovery point.
fn killed() -> SimFs {
    let fs = SimFs::new();
    let (manager, logs, damage) = start(&fs).unwrap();
    assert!(damage.is_none());
    let (metadata, keyed, plain) = (&logs[0], &logs[1], &logs[2]);
    let put = |log: &Log, id| {
        let draft = Draft {
            value_len: 20,
            ..Draft::new(id)
        };
        append(log, &draft, false, NOW).unwrap();
    };
    (0..6).for_each(|id| put(metadata, id));
    (0..12).for_each(|id| put(plain, id));
    (0..14).for_each(|number| put(keyed, number % 3));
    manager.checkpoint(NOW).unwrap();
    metadata.advance_log_start(4).unwrap();
    manager.delete_records(&[(Arc::clone(plain), 5)], NOW)[0]
        .as_ref()
        .unwrap();
    let mut cleaner = LogCleaner::new(CleanerOptions {
        dedupe_buffer_bytes: 1 << 20,
        load_factor: 0.9,
        secret: (1, 2),
    });
    cleaner.clean_due(&manager, &|| NOW, &mut |_| true, &mut |_| ());
    tidy(&manager, &logs);
    put(metadata, 6);
    manager.checkpoint(NOW).unwrap();
    put(plain, 12);
    drop((manager, logs));
    fs.kill()
}

/// What a broker does by itself soon after a start.
fn tidy(manager: &Manager, logs: &[Arc<Log>]) {
    for log in &logs[1..] {
        // One that is read-only refuses it.
        log.apply_retention(LATER).ok();
    }
    manager.checkpoint(LATER).ok();
    manager.unlink_deleted(LATER).unwrap();
    manager.unlink_deleted(LATER + LATER).unwrap();
}

/// What clients see of every log, before the broker has tidied up and after.
fn seen_on(disk: &SimFs) -> Result<Vec<Seen>, Noticed> {
    let (manager, logs, damage) = start(disk).map_err(|_| Noticed::AtStart)?;
    if damage.is_some() {
        tidy(&manager, &logs);
        return Err(Noticed::AtStart);
    }
    let look_at_all = || -> Result<Vec<Seen>, Noticed> {
        let seen = logs.iter().map(|log| look(log));
        seen.collect::<Result<_, _>>().map_err(|_| Noticed::AtRead)
    };
    let before = look_at_all()?;
    tidy(&manager, &logs);
    Ok([before, look_at_all()?].concat())
}

/// Which batches lie nowhere in the directory any more.
fn gone(disk: &SimFs, sound: &[Seen]) -> usize {
    let mut all = Vec::new();
    let list = |dir: &Path| disk.read_dir(dir).unwrap();
    for dir in list(Path::new(DATA)).iter().filter(|entry| entry.is_dir) {
        let dir = Path::new(DATA).join(&dir.name);
        for file in list(&dir).iter().filter(|entry| !entry.is_dir) {
            all.push(read_small(disk, &dir.join(&file.name)).unwrap().unwrap());
        }
    }
    let lies = |batch: &&Vec<u8>| {
        let len = batch.len();
        !all.iter()
            .any(|file| file.windows(len).any(|part| part == batch.as_slice()))
    };
    let batches = sound.iter().flat_map(|seen| &seen.1);
    batches.filter(lies).count()
}

/// Who notices a flip, if it is noticed or harmless, and how many batches it cost.
fn noticed(fs: &SimFs, sound: &[Seen]) -> (Option<Noticed>, usize) {
    let mut damages = 0;
    verify(&fs.kill(), Path::new(DATA), &mut |finding| {
        damages += u32::from(finding.severity == Severity::Damage);
    })
    .unwrap();
    let disk = fs.kill();
    let seen = seen_on(&disk);
    if damages == 0 && seen.as_deref() == Ok(sound) {
        return (Some(Noticed::Harmless), 0);
    }
    let by_start = match &seen {
        Err(noticed) => Some(*noticed),
        Ok(seen) if seen.as_slice() == sound => None,
        Ok(seen) => is_cut(seen, sound).then_some(Noticed::KeptAside),
    };
    let by_verify = (damages > 0).then_some(Noticed::ByVerify);
    // They were looked at twice.
    let once = &sound[..sound.len() / 2];
    (by_verify.or(by_start), gone(&disk, once))
}

/// Whether of every log there is a beginning.
fn is_cut(seen: &[Seen], sound: &[Seen]) -> bool {
    let mut both = seen.iter().zip(sound);
    both.all(|(seen, sound)| sound.1.starts_with(&seen.1) && seen.0.0 == sound.0.0)
}

/// Whether a byte of a data file lies in the offset, length or epoch of a batch.
fn is_before_crc(fs: &SimFs, path: &Path, position: u64) -> bool {
    let bytes = read_small(fs, path).unwrap().unwrap();
    let position = usize::try_from(position).unwrap();
    let mut start = 0;
    while let Some(len) = bytes.get(start + 8..start + 12) {
        let len = usize::try_from(u32::from_be_bytes(len.try_into().unwrap())).unwrap();
        if position < start + 12 + len {
            break;
        }
        start += 12 + len;
    }
    (start..start + 16).contains(&position)
}

fn files(fs: &SimFs) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs.read_dir(Path::new(DATA)).unwrap() {
        let path = Path::new(DATA).join(&entry.name);
        if entry.is_dir {
            let inner = fs.read_dir(&path).unwrap().into_iter();
            files.extend(inner.map(|entry| path.join(entry.name)));
        } else if entry.name != ".lock" {
            files.push(path);
        }
    }
    files
}

#[test]
fn no_flipped_byte_costs_more_than_its_batch_after_a_kill() {
    use Noticed::{AtStart, ByVerify, Harmless};
    let fs = killed();
    let sound = seen_on(&fs.kill()).unwrap();
    let starts: Vec<_> = sound.iter().map(|seen| seen.0.0).collect();
    assert_eq!(starts, [4, 0, 5, 4, 0, 5]);
    assert!(sound[1].1.len() < 14, "there are holes");
    let mut found: BTreeMap<String, BTreeSet<Noticed>> = BTreeMap::new();
    for path in files(&fs) {
        let kind = kind(&path);
        let file = fs.open(&path, OpenMode::Read).unwrap();
        for position in 0..file.len().unwrap() {
            let mut byte = [0];
            file.read_exact_at(&mut byte, position).unwrap();
            for mask in [0x01, 0x08, 0x80] {
                fs.rot(&path, position, &[byte[0] ^ mask]).unwrap();
                let place = format!("{} at {position}, {mask:#x}", path.display());
                let (noticed, gone) = noticed(&fs, &sound);
                let noticed = noticed.or_else(|| {
                    let excused = path.starts_with("/data/c-0") || path == Path::new(LAST);
                    let excused = excused && kind == "log" && is_before_crc(&fs, &path, position);
                    excused.then_some(Noticed::Nobody)
                });
                let noticed = noticed.unwrap_or_else(|| panic!("unnoticed: {place}"));
                let own = usize::from(kind == "log");
                assert!(gone <= own, "{gone} batches are gone: {place}, {noticed:?}");
                found.entry(kind.clone()).or_default().insert(noticed);
            }
            fs.rot(&path, position, &byte).unwrap();
        }
    }
    for (kind, noticed) in &found {
        println!("{kind}: {noticed:?}");
    }
    // What stands under a checksum needs none of Kafka's files, and they say the same where it is lost.
    for kind in ["cleaner", "log-start", "recovery-point", "replication"] {
        let expected = BTreeSet::from([ByVerify, Harmless]);
        let found = &found[&format!("{kind}-offset-checkpoint")];
        assert!(found.is_subset(&expected), "{kind}: {found:?}");
    }
    assert_eq!(found["tidewheel.checkpoints"], BTreeSet::from([ByVerify]));
    assert!(found["meta.properties"].contains(&AtStart));
    assert!(found["partition.metadata"].is_subset(&BTreeSet::from([AtStart, ByVerify])));
}

#[test]
fn lost_checkpoints_cost_no_record() {
    let fs = killed();
    let sound = seen_on(&fs.kill()).unwrap();
    let names = ["recovery-point", "cleaner", "replication"];
    // Kafka's users delete these to have a log looked at again.
    for (sealed, lost) in [true, false]
        .into_iter()
        .flat_map(|sealed| (1..1 << names.len()).map(move |lost: u32| (sealed, lost)))
    {
        for content in [None, Some("".as_bytes()), Some(b"0\n0\n")] {
            let disk = fs.kill();
            let chosen = names
                .iter()
                .zip(0..)
                .filter(|(_, bit)| lost & 1 << bit != 0);
            for (name, _) in chosen {
                let path = Path::new(DATA).join(format!("{name}-offset-checkpoint"));
                let lost = match content {
                    None => remove_durably(&disk, &path),
                    Some(content) => write_atomically(&disk, &path, content),
                };
                lost.unwrap();
            }
            if !sealed {
                believe_texts(&disk);
            }
            let mut seen = seen_on(&disk).unwrap_or_else(|noticed| panic!("{lost}: {noticed:?}"));
            let mut sound = sound.clone();
            if !sealed {
                for metadata in [0, sound.len() / 2] {
                    // Its log start is not believed: all that is there is read again.
                    assert_eq!(seen[metadata].0.0, 0);
                    seen[metadata] = sound[metadata].clone();
                }
                // Epochs begin with the first batch that is left.
                let both = seen.iter_mut().chain(&mut sound);
                both.for_each(|seen| seen.3.clear());
            }
            for (number, (seen, sound)) in seen.iter().zip(&sound).enumerate() {
                assert_eq!(seen, sound, "log {number}: {sealed}, {lost}, {content:?}");
            }
        }
    }
}

/// A log start without its checksum.
#[test]
fn a_start_removes_nothing_because_of_a_raised_log_start() {
    let fs = killed();
    let before = files(&fs).len();
    let raised = b"0\n2\n__tidewheel_metadata 0 6\np 0 12\n";
    let path = Path::new(DATA).join("log-start-offset-checkpoint");
    write_atomically(&fs, &path, raised).unwrap();
    let disk = fs.kill();
    let (_manager, logs, _) = start(&disk).unwrap();
    assert_eq!(logs[0].offsets().log_start, 4);
    assert_eq!(logs[2].offsets().log_start, 5);
    drop((_manager, logs));
    let disk = fs.kill();
    believe_texts(&disk);
    let (_manager, logs, _) = start(&disk).unwrap();
    assert_eq!(logs[0].offsets().log_start, 0);
    assert_eq!(logs[2].offsets().log_start, 12);
    assert!(files(&disk).len() + 1 >= before, "the segments are there");
}
