//! A disk that does not always deliver what it holds: a read that goes wrong is no damage.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tidewheel_storage::StorageError;
use tidewheel_storage::fs::{
    DirEntry, DirLock, DiskSpace, FileSystem, LogFile, MappedFile, OpenMode, SimFs,
};
use tidewheel_storage::inspect::{RepairLine, RepairSummary, repair};

use super::world::{DATA, DIR, World, content, files};
use super::{check, damage_three, options, run};
use crate::support::NOW;

/// What goes wrong with a read of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// EIO.
    Fails,
    /// One byte in the middle is another one.
    Differs,
    /// Nothing, but a file has one name only.
    Links,
}

/// Which reads of segments go wrong.
#[derive(Debug)]
struct Plan {
    wrong: Wrong,
    /// By their number.
    reads: std::ops::Range<u64>,
    /// Only such as touch this byte of a file.
    touching: Option<u64>,
    /// Only files whose names end so.
    ending: String,
    done: AtomicU64,
}

#[derive(Clone, Debug)]
struct FlakyFs {
    inner: SimFs,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct FlakyFile {
    inner: Arc<dyn LogFile>,
    plan: Arc<Plan>,
}

impl FlakyFs {
    fn new(inner: &SimFs, wrong: Wrong, reads: std::ops::Range<u64>) -> Self {
        let done = AtomicU64::new(0);
        let plan = Plan {
            wrong,
            reads,
            touching: None,
            ending: ".log".to_owned(),
            done,
        };
        Self {
            inner: inner.clone(),
            plan: Arc::new(plan),
        }
    }

    /// Reads of one file fail.
    fn failing(
        inner: &SimFs,
        reads: std::ops::Range<u64>,
        touching: Option<u64>,
        file: &Path,
    ) -> Self {
        let plan = Plan {
            wrong: Wrong::Fails,
            reads,
            touching,
            ending: file.to_string_lossy().into_owned(),
            done: AtomicU64::new(0),
        };
        Self {
            inner: inner.clone(),
            plan: Arc::new(plan),
        }
    }

    fn reads(&self) -> u64 {
        self.plan.done.load(Ordering::Relaxed)
    }
}

impl FileSystem for FlakyFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        let inner = self.inner.open(path, mode)?;
        let wrong = path.to_string_lossy().ends_with(&self.plan.ending);
        Ok(match wrong && mode == OpenMode::Read {
            true => Arc::new(FlakyFile {
                inner,
                plan: Arc::clone(&self.plan),
            }),
            false => inner,
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.read_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.plan.wrong {
            Wrong::Links => Err(io::ErrorKind::Unsupported.into()),
            _ => self.inner.hard_link(from, to),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.inner.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.inner.lock(path)
    }
}

impl LogFile for FlakyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn modified_ms(&self) -> io::Result<i64> {
        self.inner.modified_ms()
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.inner.set_modified_ms(modified_ms)
    }

    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, position)?;
        let range = position..position + buf.len() as u64;
        let plan = &self.plan;
        if plan.touching.is_some_and(|byte| !range.contains(&byte)) {
            return Ok(());
        }
        let number = plan.done.fetch_add(1, Ordering::Relaxed);
        match plan.wrong {
            _ if !plan.reads.contains(&number) => {}
            Wrong::Links => {}
            Wrong::Fails => return Err(io::Error::from_raw_os_error(5)),
            Wrong::Differs => {
                let middle = buf.len() / 2;
                buf.iter_mut()
                    .skip(middle)
                    .take(1)
                    .for_each(|byte| *byte = !*byte);
            }
        }
        Ok(())
    }

    fn write_all_at(&self, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<()> {
        self.inner.write_all_at(parts, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn drop_cache(&self, position: u64) -> io::Result<()> {
        self.inner.drop_cache(position)
    }

    fn preallocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.inner.preallocate(position, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn unsettle(&self, len: u64) {
        self.inner.unsettle(len);
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        self.inner.map(len)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn run_on(fs: &FlakyFs) -> Result<(RepairSummary, Vec<RepairLine>), StorageError> {
    let lines = Mutex::new(Vec::new());
    let summary = repair(fs, Path::new(DATA), options(false, 1), &mut |line| {
        lines.lock().unwrap().push(line);
    })?;
    Ok((summary, lines.into_inner().unwrap()))
}

#[test]
fn one_read_that_goes_wrong_cuts_nothing_out_of_a_healthy_log() {
    for wrong in [Wrong::Fails, Wrong::Differs] {
        let world = World::of(2, false);
        let logs: Vec<_> = files(&world.fs, &[".log"]);
        let before: Vec<_> = logs.iter().map(|log| content(&world.fs, log)).collect();
        for number in 0.. {
            let fs = world.fs.kill();
            let flaky = FlakyFs::new(&fs, wrong, number..number + 1);
            let outcome = run_on(&flaky);
            if flaky.reads() <= number {
                assert!(number > 5);
                break;
            }
            let after: Vec<_> = logs.iter().map(|log| content(&fs, log)).collect();
            assert_eq!(after, before, "{wrong:?} at {number}: {outcome:?}");
        }
    }
}

/// Whatever one read says, and of whatever step: what is lost is what was damaged, once another run is through.
#[test]
fn one_read_that_goes_wrong_costs_no_batch_of_a_damaged_log() {
    let world = World::of(1, false);
    damage_three(&world.fs);
    let left = world.left(&world.fs);
    for wrong in [Wrong::Fails, Wrong::Differs] {
        let mut ended = 0;
        for number in 0.. {
            let fs = world.fs.kill();
            let flaky = FlakyFs::new(&fs, wrong, number..number + 1);
            let outcome = run_on(&flaky);
            if flaky.reads() <= number {
                assert!(number > 10 && ended * 10 < number, "{ended} of {number}");
                break;
            }
            println!("{wrong:?} at {number}: {outcome:?}");
            ended += u64::from(outcome.is_err());
            let (_, lines) = run(&fs, false, 2).unwrap();
            check(&world, &fs, &left, &lines);
        }
    }
}

/// What the disk never delivers is cut out, and nobody takes the zeros in its place for what was there.
#[test]
fn a_sector_that_cannot_be_read_is_cut_out_and_told() {
    let world = World::of(2, false);
    let fs = world.fs.kill();
    let log = &world.written[1].path;
    let touching = Some(world.written[1].position as u64 + 70);
    let flaky = FlakyFs::failing(&fs, 0..u64::MAX, touching, log);
    let (summary, lines) = run_on(&flaky).unwrap();
    assert!(
        summary.lost_offsets > 0 && summary.repaired == 1,
        "{lines:#?}"
    );
    // All of the sector, as far as the file reaches, and nothing else.
    let sector = content(&world.fs, log).unwrap().len().min(4096);
    let told = lines.iter().map(ToString::to_string);
    let told: Vec<String> = told
        .filter(|line| line.contains("does not deliver"))
        .collect();
    let bytes = format!("does not deliver {sector} bytes");
    assert!(told.len() == 1 && told[0].contains(&bytes), "{lines:#?}");
    let lost = world.fs.kill();
    lost.rot(log, 0, &vec![0; sector]).unwrap();
    check(&world, &fs, &world.left(&lost), &lines);
    // It may deliver them later.
    let old = Path::new(DIR).join(format!("cut-out.{}", NOW + 1));
    for path in [log.clone(), log.with_extension("index")] {
        let kept = old.join(path.file_name().unwrap());
        let durable = fs.crash_lose_all_unsynced();
        let before = content(&world.fs, &path);
        assert_eq!(content(&durable, &kept), before, "{}", kept.display());
        assert_ne!(content(&fs, log), content(&world.fs, log));
    }
}

#[test]
fn a_log_whose_old_file_cannot_be_kept_is_left_as_it_is() {
    let world = World::of(1, false);
    damage_three(&world.fs);
    let fs = world.fs.kill();
    let logs = files(&fs, &[".log", ".index"]);
    let before: Vec<_> = logs.iter().map(|path| content(&fs, path)).collect();
    let flaky = FlakyFs::new(&fs, Wrong::Links, 0..0);
    let (summary, lines) = run_on(&flaky).unwrap();
    assert_eq!((summary.repaired, summary.left), (0, 1), "{lines:#?}");
    let after: Vec<_> = logs.iter().map(|path| content(&fs, path)).collect();
    assert_eq!(after, before);
    assert_eq!(summary.cut_bytes, 0, "{lines:#?}");
}

/// It is kept aside, as what is damaged in it would be, and made anew.
#[test]
fn a_file_beside_the_log_that_cannot_be_read_is_made_anew() {
    for ending in [".snapshot", "leader-epoch-checkpoint"] {
        let world = (0..20)
            .map(|seed| World::of(seed, false))
            .find(|world| !files(&world.fs, &[ending]).is_empty());
        let world = world.unwrap();
        damage_three(&world.fs);
        let fs = world.fs.kill();
        let file = &files(&fs, &[ending])[0];
        let before = content(&fs, file);
        // A file is asked for twice.
        let flaky = FlakyFs::failing(&fs, 0..2, None, file);
        let (summary, lines) = run_on(&flaky).unwrap();
        assert_eq!((summary.repaired, summary.left), (1, 0), "{lines:#?}");
        let replaced = |line: &RepairLine| match line {
            RepairLine::Replaced { file: told, .. } => told == file,
            _ => false,
        };
        assert!(lines.iter().any(replaced), "{lines:#?}");
        let old = Path::new(DIR).join(format!("cut-out.{}", NOW + 1));
        let kept = content(&fs, &old.join(file.file_name().unwrap()));
        assert_eq!(kept, before, "{ending}");
        check(&world, &fs, &world.left(&world.fs), &lines);
        // Where the second read delivers it, nothing is wrong with it.
        let (_, lines) = run_on(&FlakyFs::failing(&world.fs.kill(), 0..1, None, file)).unwrap();
        let (_, expected) = run(&world.fs.kill(), false, 1).unwrap();
        assert_eq!(lines, expected);
    }
}
