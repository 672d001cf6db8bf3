//! A log with a random life, and damage to it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_protocol::{BatchHeader, Batches, Compression, RecordBatch};
use tidewheel_storage::checkpoint::{RECOVERY_POINT_CHECKPOINT, read_offsets, read_small};
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::{CleanerOptions, LogCleaner};

use crate::support::{self, Draft, Log, Manager, NOW, Random, append, live, open, tp};

pub(super) const DATA: &str = "/data";
pub(super) const DIR: &str = "/data/t-0";
/// Bytes of a batch before its first record.
pub(super) const HEADER: usize = 61;

/// A batch as it was written, and where.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) position: usize,
    pub(super) batch: RecordBatch,
}

/// What is left of a damaged world.
pub(super) struct Left<'a> {
    /// The recovery point.
    pub(super) durable: i64,
    /// The highest end that the log may have.
    pub(super) end: i64,
    /// The batches whose bytes are as they were, where they were. Those are left out of which nothing tells that they
    /// are no value of a record: damage is on both sides of them, and no index leads there.
    pub(super) untouched: Vec<&'a Written>,
    /// The batches with records that are whole, but for their label perhaps, and have no damage beside them.
    pub(super) in_order: Vec<&'a Written>,
    /// The batches that are whole but for their label, by that, where nothing in the file tells the right one: a
    /// compacted log has holes, and a batch between damage stands alone.
    pub(super) unknown: Vec<(i64, &'a Written)>,
}

/// A stopped data directory with one partition.
pub(super) struct World {
    pub(super) fs: SimFs,
    pub(super) config: LogConfig,
    pub(super) epoch: i32,
    pub(super) written: Vec<Written>,
    pub(super) log_end: i64,
}

pub(super) fn start(fs: &SimFs, config: &LogConfig, epoch: i32) -> (Manager, Arc<Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let (manager, mut logs) = open(&fs, vec![live("t", 1, config.clone())], epoch).unwrap();
    (manager, logs.pop().unwrap())
}

pub(super) fn content(fs: &SimFs, path: &Path) -> Option<Vec<u8>> {
    read_small(fs, path).unwrap()
}

/// The files of the partition that end so, in their order.
pub(super) fn files(fs: &SimFs, endings: &[&str]) -> Vec<PathBuf> {
    let entries = fs.read_dir(Path::new(DIR)).unwrap().into_iter();
    let names = entries
        .filter(|entry| !entry.is_dir)
        .map(|entry| entry.name);
    let wanted = names.filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    wanted.map(|name| Path::new(DIR).join(name)).collect()
}

pub(super) fn recovery_point(fs: &SimFs) -> i64 {
    let offsets = read_offsets(fs, &Path::new(DATA).join(RECOVERY_POINT_CHECKPOINT)).unwrap();
    offsets.get(&tp("t", 0)).copied().unwrap_or(0)
}

impl World {
    /// A log with a random life; with `durable` its recovery point is at its end.
    pub(super) fn new(seed: u64, durable: bool) -> Self {
        let mut random = Random(seed);
        let compact = random.chance(30);
        Self::living(random, compact, durable)
    }

    /// A log that is compacted, or that never is.
    pub(super) fn of(seed: u64, compact: bool) -> Self {
        Self::living(Random(seed), compact, true)
    }

    fn living(mut random: Random, compact: bool, durable: bool) -> Self {
        let config = LogConfig {
            cleanup_policy: CleanupPolicy {
                delete: !compact,
                compact,
            },
            min_cleanable_dirty_ratio: 0.0,
            ..support::config()
        };
        let fs = SimFs::new();
        let (mut manager, mut log) = start(&fs, &config, 0);
        let (mut epoch, mut sequences) = (0, HashMap::new());
        for id in 0..20 + random.below(100) {
            let draft = draft(id, compact, &mut sequences, &mut random);
            append(&log, &draft, false, NOW).unwrap();
            if random.chance(5) {
                manager.checkpoint(NOW).unwrap();
            }
            if compact && random.chance(5) {
                clean(&manager);
            }
            if random.chance(4) {
                if random.chance(50) {
                    manager.close(NOW).unwrap();
                }
                epoch += 1;
                drop((manager, log));
                (manager, log) = start(&fs, &config, epoch);
            }
        }
        if durable || random.chance(50) {
            manager.checkpoint(NOW).unwrap();
        }
        if random.chance(50) {
            manager.close(NOW).unwrap();
        }
        let log_end = log.offsets().log_end;
        drop((manager, log));
        Self::found(fs, config, epoch, log_end)
    }

    /// A log that was filled and stopped.
    pub(super) fn stopped(config: LogConfig, fill: impl FnOnce(&Log)) -> Self {
        let fs = SimFs::new();
        let (manager, log) = start(&fs, &config, 0);
        fill(&log);
        manager.close(NOW).unwrap();
        let log_end = log.offsets().log_end;
        drop((manager, log));
        Self::found(fs, config, 0, log_end)
    }

    /// A stopped directory as it was made.
    pub(super) fn found(fs: SimFs, config: LogConfig, epoch: i32, log_end: i64) -> Self {
        let mut world = Self {
            fs,
            config,
            epoch,
            written: Vec::new(),
            log_end,
        };
        world.written = world.batches();
        world
    }

    /// The batches of a file.
    fn in_file(&self, path: &Path) -> Vec<&Written> {
        let all = self.written.iter();
        all.filter(|one| one.path == path).collect()
    }

    /// One of them.
    fn one_in(&self, path: &Path, random: &mut Random) -> Option<&Written> {
        let own = self.in_file(path);
        own.get(random.index(own.len().max(1) as u64)).copied()
    }

    /// All that was written is on the disk, as after a flush.
    pub(super) fn flush(&self) {
        let fs = &self.fs;
        for dir in ["/", DATA, DIR] {
            for entry in fs.read_dir(Path::new(dir)).unwrap() {
                if !entry.is_dir {
                    let path = Path::new(dir).join(&entry.name);
                    fs.open(&path, OpenMode::ReadWrite)
                        .unwrap()
                        .sync_data()
                        .unwrap();
                }
            }
            fs.sync_dir(Path::new(dir)).unwrap();
        }
    }

    fn batches(&self) -> Vec<Written> {
        let mut all = Vec::new();
        for path in files(&self.fs, &[".log"]) {
            let bytes = content(&self.fs, &path).unwrap();
            let mut position = 0;
            for batch in Batches::new(bytes.into()) {
                let batch = batch.unwrap();
                let len = batch.bytes.len();
                let path = path.clone();
                all.push(Written {
                    path,
                    position,
                    batch,
                });
                position += len;
            }
        }
        all
    }

    /// What is left of it in a damaged copy.
    pub(super) fn left(&self, fs: &SimFs) -> Left<'_> {
        let mut contents: BTreeMap<&Path, Vec<u8>> = BTreeMap::new();
        for written in &self.written {
            let content = || content(fs, &written.path).unwrap_or_default();
            contents.entry(&written.path).or_insert_with(content);
        }
        let bytes = |written: &Written| {
            let range = written.position..written.position + written.batch.bytes.len();
            contents[&*written.path].get(range)
        };
        let stranded = self.stranded(fs, &contents);
        let readable = |written: Option<&Written>| {
            let bytes = written.and_then(|written| Some((bytes(written)?, written)));
            bytes.is_some_and(|(bytes, written)| {
                let own = &written.batch.bytes;
                bytes[8..12] == own[8..12] && bytes[16..] == own[16..]
            })
        };
        let mut left = Left {
            durable: recovery_point(fs),
            end: self.log_end,
            untouched: Vec::new(),
            in_order: Vec::new(),
            unknown: Vec::new(),
        };
        for (number, written) in self.written.iter().enumerate() {
            let Some(bytes) = bytes(written) else {
                continue;
            };
            let is_own = *bytes == written.batch.bytes;
            if is_own && !stranded[number] && !self.is_covered(written, &contents) {
                left.untouched.push(written);
            }
            let beside = |number: usize| {
                self.written
                    .get(number)
                    .filter(|one| one.path == written.path)
            };
            let (before, behind) = (number.checked_sub(1).and_then(beside), beside(number + 1));
            let alone = !readable(before) && !readable(behind) && written.position > 0;
            if readable(Some(written)) && (alone || self.config.cleanup_policy.compact) {
                let label = bytes[..8].try_into().map(i64::from_be_bytes).unwrap();
                left.unknown.push((label, written));
                let end = label.saturating_add(i64::from(written.batch.header.last_offset_delta));
                left.end = left.end.max(end.saturating_add(1));
            }
            let sound = |one: Option<&Written>| one.is_none() || readable(one);
            let full = written.batch.header.record_count > 0;
            if full && readable(Some(written)) && sound(before) && sound(behind) {
                left.in_order.push(written);
            }
        }
        left
    }

    /// Whether it begins within a copy of a batch: that is skipped as a whole where no header leads from it.
    fn is_covered(&self, written: &Written, contents: &BTreeMap<&Path, Vec<u8>>) -> bool {
        let bytes = &contents[&*written.path];
        let mut own = self.written.iter().filter(|one| one.path == written.path);
        own.any(|one| {
            let own = &one.batch.bytes;
            let from = (written.position + 1).saturating_sub(own.len());
            (from..written.position)
                .any(|at| at != one.position && bytes.get(at..at + own.len()) == Some(&own[..]))
        })
    }

    /// Which batches no header leads from to the beginning of the file, its end or a place in the index.
    fn stranded(&self, fs: &SimFs, contents: &BTreeMap<&Path, Vec<u8>>) -> Vec<bool> {
        let head = |written: &Written| {
            let range = written.position..written.position + HEADER;
            contents[&*written.path].get(range) == Some(&written.batch.bytes[..HEADER])
        };
        let mut stranded = Vec::with_capacity(self.written.len());
        for run in self
            .written
            .chunk_by(|a, b| a.path == b.path && head(a) && head(b))
        {
            let (first, last) = (&run[0], &run[run.len() - 1]);
            let index = content(fs, &first.path.with_extension("index")).unwrap_or_default();
            let base = Self::base_offset(&first.path);
            let known = |one: &Written| {
                let offset = u32::try_from(one.batch.header.last_offset() - base).unwrap();
                let position = u32::try_from(one.position).unwrap();
                let entry = [offset.to_be_bytes(), position.to_be_bytes()].concat();
                index.chunks(8).any(|known| known == entry)
            };
            let end = contents[&*last.path].len();
            let ends = last.position + last.batch.bytes.len() == end
                && !self.cut_short(&last.path, contents);
            let leads = first.position == 0 || ends || run.iter().any(known);
            stranded.extend(run.iter().map(|_| !leads));
        }
        stranded
    }

    /// Whether a header somewhere, whose offset belongs into the file, says that its batch reaches beyond the end: that
    /// is then no known place.
    fn cut_short(&self, path: &Path, contents: &BTreeMap<&Path, Vec<u8>>) -> bool {
        let bytes = &contents[path];
        let own = self.written.iter().filter(|one| one.path == path);
        let end = own.map(|one| one.batch.header.next_offset()).max();
        let offsets = Self::base_offset(path)..end.unwrap_or(0);
        (0..bytes.len()).any(|at| {
            BatchHeader::parse(&bytes[at..]).is_ok_and(|header| {
                let reaches = at + header.size_in_bytes() > bytes.len();
                reaches && offsets.contains(&header.base_offset)
            })
        })
    }

    fn base_offset(path: &Path) -> i64 {
        path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
    }
}

fn draft(id: u64, compact: bool, sequences: &mut HashMap<i64, i32>, random: &mut Random) -> Draft {
    let count = 1 + random.index(4);
    let producer = random.chance(50).then(|| {
        let producer = random.signed(3);
        let sequence = sequences.entry(producer).or_default();
        let first = *sequence;
        *sequence += i32::try_from(count).unwrap();
        (producer, 0, first)
    });
    Draft {
        // With few keys compaction finds something to do.
        id: if compact { id % 12 } else { id },
        count,
        value_len: if random.chance(5) {
            1_500
        } else {
            random.index(200)
        },
        timestamp: NOW + random.signed(1_000),
        compression: Compression::ALL[random.index(5)],
        producer,
    }
}

fn clean(manager: &Manager) {
    manager.checkpoint(NOW).unwrap();
    let mut cleaner = LogCleaner::new(CleanerOptions {
        dedupe_buffer_bytes: 1 << 20,
        load_factor: 0.9,
        secret: (1, 2),
    });
    cleaner.clean_due(manager, &|| NOW, &mut |_| true, &mut |_| ());
}

/// Damages something, and says what; `None` where there was nothing of the kind.
pub(super) fn damage(world: &World, random: &mut Random) -> Option<String> {
    let fs = &world.fs;
    let logs = files(fs, &[".log"]);
    let path = logs.get(random.index(logs.len().max(1) as u64))?;
    let bytes = content(fs, path)?;
    let len = bytes.len() as u64;
    let page = 512;
    let rot = |path: &Path, position: u64, bytes: &[u8]| fs.rot(path, position, bytes).unwrap();
    let kind = random.below(11);
    match kind {
        0 | 1 if len > 0 => {
            for _ in 0..1 + random.below(3) {
                let position = random.below(len);
                let byte = bytes[usize::try_from(position).unwrap()] ^ (1 << random.below(8));
                rot(path, position, &[byte]);
            }
        }
        2..=4 => {
            // One bit of a header that no CRC covers, or of the length.
            let written = world.one_in(path, random)?;
            let at = random.index(17);
            let byte = bytes.get(written.position + at)? ^ (1 << random.below(8));
            rot(path, (written.position + at) as u64, &[byte]);
        }
        5 if len > page => rot(path, random.below(len / page) * page, &[0; 512]),
        6 => {
            let file = fs.open(path, OpenMode::ReadWrite).unwrap();
            file.set_len(random.below(len + 1)).unwrap();
        }
        7 if len > 2 * page => {
            let at = [(); 2].map(|()| random.below(len / page) * page);
            let pages = at.map(|at| {
                let at = usize::try_from(at).unwrap();
                bytes[at..bytes.len().min(at + 512)].to_vec()
            });
            if pages[0].len() != pages[1].len() {
                return None;
            }
            rot(path, at[0], &pages[1]);
            rot(path, at[1], &pages[0]);
        }
        8 if len > 1 => copy_range(world, path, &bytes, random),
        10 => {
            let written = world.one_in(path, random)?;
            let mut label = written.batch.header.base_offset.to_be_bytes();
            let (at, kind) = (random.index(8), random.below(3));
            match kind {
                0 => label[7 - at % 2] = !label[7 - at % 2],
                1 => label[..at].fill(0),
                _ => label[at..].fill(0),
            }
            rot(path, written.position as u64, &label);
        }
        9 if random.chance(30) => fs.remove_file(path).unwrap(),
        9 => return damage_beside(fs, random),
        _ => return None,
    }
    Some(format!("kind {kind} in {}", path.display()))
}

/// A range lies in the place of another; half of the time both begin where batches do.
fn copy_range(world: &World, path: &Path, bytes: &[u8], random: &mut Random) {
    let own = world.in_file(path);
    let len = bytes.len() as u64;
    let mut place = || match random.chance(50) && !own.is_empty() {
        true => own[random.index(own.len() as u64)].position,
        false => random.index(len),
    };
    let (from, to) = (place(), place());
    let end = bytes.len().min(from + 1 + random.index(len));
    let range = &bytes[from.min(end)..end];
    world.fs.rot(path, to as u64, range).unwrap();
}

/// Flips a bit of a file beside the batches.
fn damage_beside(fs: &SimFs, random: &mut Random) -> Option<String> {
    let endings = [
        ".index",
        ".timeindex",
        ".snapshot",
        "leader-epoch-checkpoint",
    ];
    let beside = files(fs, &endings);
    let path = beside.get(random.index(beside.len().max(1) as u64))?;
    let bytes = content(fs, path)?;
    let position = random.index(bytes.len().max(1) as u64);
    let byte = bytes.get(position)? ^ (1 << random.below(8));
    fs.rot(path, position as u64, &[byte]).unwrap();
    Some(format!("{} at {position}", path.display()))
}
