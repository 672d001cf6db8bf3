use std::collections::BTreeSet;
use std::io::IoSlice;

use super::*;

fn write(file: &dyn LogFile, position: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(&[IoSlice::new(bytes)], position)
}

fn read(fs: &SimFs, path: &str) -> Vec<u8> {
    let file = fs.open(Path::new(path), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn exists(fs: &SimFs, path: &str) -> bool {
    fs.exists(Path::new(path)).unwrap()
}

/// A disk with a durable empty file `/f`.
fn disk_with_file() -> (SimFs, Arc<dyn LogFile>) {
    let fs = SimFs::new();
    let file = fs.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    (fs, file)
}

fn is_power_cut<T: Debug>(result: io::Result<T>) -> bool {
    result.unwrap_err().to_string().contains("power")
}

#[test]
fn synced_bytes_survive_every_crash() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, &[1; 9000]).unwrap();
    file.sync_data().unwrap();
    write(&*file, 9000, &[2; 9000]).unwrap();
    for seed in 0..200 {
        let bytes = read(&fs.crash(seed), "/f");
        assert!(bytes.len() >= 9000 && bytes.len() <= 18_000, "seed {seed}");
        assert!(bytes[..9000].iter().all(|byte| *byte == 1), "seed {seed}");
        assert!(
            bytes[9000..].iter().all(|byte| *byte == 0 || *byte == 2),
            "seed {seed}"
        );
    }
    assert_eq!(read(&fs.crash_lose_all_unsynced(), "/f"), [1; 9000]);
}

#[test]
fn unsynced_bytes_survive_tear_vanish_or_turn_to_zeros() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, &[7; 3 * 4096]).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..500 {
        let bytes = read(&fs.crash(seed), "/f");
        let pages: Vec<_> = bytes.chunks_exact(4096).collect();
        let new = |page: &[u8]| page.iter().all(|byte| *byte == 7);
        let zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
        if bytes.is_empty() {
            seen.insert("nothing");
        }
        if pages.len() == 3 && pages.iter().all(|page| new(page)) {
            seen.insert("all");
        }
        if pages.len() == 3 && pages.iter().all(|page| zero(page)) {
            seen.insert("length without bytes");
        }
        if pages.len() == 3 && zero(pages[0]) && new(pages[2]) {
            seen.insert("later page without the earlier one");
        }
        if pages
            .iter()
            .any(|page| page.chunks(512).any(new) && page.chunks(512).any(zero))
        {
            seen.insert("torn page");
        }
        let whole_sectors = bytes.chunks(512).all(|sector| new(sector) || zero(sector));
        assert!(whole_sectors, "seed {seed}: a sector is written as a whole");
        if !bytes.len().is_multiple_of(4096) {
            seen.insert("odd length");
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn a_page_may_reach_the_disk_between_two_writes_to_it() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, b"first,").unwrap();
    write(&*file, 6, b"second").unwrap();
    let outcomes: BTreeSet<Vec<u8>> = (0..200).map(|seed| read(&fs.crash(seed), "/f")).collect();
    for expected in [&b""[..], b"first,second", b"first,", b"first,\0\0\0\0\0\0"] {
        assert!(outcomes.contains(expected), "{expected:?} in {outcomes:?}");
    }
}

#[test]
fn a_process_that_dies_loses_nothing_it_wrote_but_it_is_still_not_durable() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, b"abc").unwrap();
    fs.open(Path::new("/g"), OpenMode::CreateNew).unwrap();
    let next = fs.kill();
    assert_eq!(read(&next, "/f"), b"abc");
    assert!(exists(&next, "/g"));
    let after = next.crash_lose_all_unsynced();
    assert_eq!(read(&after, "/f"), b"");
    assert!(!exists(&after, "/g"));
}

#[test]
fn a_file_is_gone_with_its_directory_entry_although_its_bytes_were_synced() {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/d")).unwrap();
    let file = fs.open(Path::new("/d/f"), OpenMode::CreateNew).unwrap();
    write(&*file, 0, b"abc").unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    assert!(
        !exists(&fs.crash_lose_all_unsynced(), "/d"),
        "the directory itself was not synced"
    );
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(read(&fs.crash_lose_all_unsynced(), "/d/f"), b"abc");
    let other = fs.kill();
    other
        .open(Path::new("/d/g"), OpenMode::CreateNew)
        .unwrap()
        .sync_data()
        .unwrap();
    assert!(!exists(&other.crash_lose_all_unsynced(), "/d/g"));
    let survives: BTreeSet<bool> = (0..50)
        .map(|seed| exists(&other.crash(seed), "/d/g"))
        .collect();
    assert_eq!(survives.len(), 2, "it may survive by chance");
}

#[test]
fn a_rename_shows_the_old_file_or_the_new_one_and_never_neither() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, b"old").unwrap();
    file.sync_data().unwrap();
    let new = fs.open(Path::new("/f.tmp"), OpenMode::CreateNew).unwrap();
    write(&*new, 0, b"new").unwrap();
    new.sync_data().unwrap();
    fs.rename(Path::new("/f.tmp"), Path::new("/f")).unwrap();
    assert_eq!(read(&fs, "/f"), b"new");
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let after = fs.crash(seed);
        let bytes = read(&after, "/f");
        assert!(bytes == b"old" || !exists(&after, "/f.tmp"), "seed {seed}");
        seen.insert(bytes);
    }
    assert_eq!(seen, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(read(&fs.crash_lose_all_unsynced(), "/f"), b"new");
}

#[test]
fn a_rename_without_a_sync_before_may_leave_an_empty_file() {
    let fs = SimFs::new();
    let file = fs.open(Path::new("/tmp"), OpenMode::CreateNew).unwrap();
    write(&*file, 0, b"new").unwrap();
    fs.rename(Path::new("/tmp"), Path::new("/f")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(read(&fs.crash_lose_all_unsynced(), "/f"), b"");
}

#[test]
fn an_unsynced_removal_may_be_undone_with_the_durable_bytes() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, b"abc").unwrap();
    file.sync_data().unwrap();
    fs.remove_file(Path::new("/f")).unwrap();
    assert!(!exists(&fs, "/f"));
    assert_eq!(file.len().unwrap(), 3, "who holds it open still reads it");
    assert_eq!(read(&fs.crash_lose_all_unsynced(), "/f"), b"abc");
    fs.sync_dir(Path::new("/")).unwrap();
    assert!(!exists(&fs.crash_lose_all_unsynced(), "/f"));
}

#[test]
fn directory_changes_survive_in_their_order() {
    let fs = SimFs::new();
    for name in ["/a", "/b", "/c"] {
        fs.open(Path::new(name), OpenMode::CreateNew).unwrap();
    }
    for seed in 0..50 {
        let after = fs.crash(seed);
        assert!(exists(&after, "/a") || !exists(&after, "/b"), "seed {seed}");
        assert!(exists(&after, "/b") || !exists(&after, "/c"), "seed {seed}");
    }
}

#[test]
fn an_unsynced_cut_survives_or_not_and_what_follows_it_depends_on_it() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, b"0123456789").unwrap();
    file.sync_data().unwrap();
    file.set_len(4).unwrap();
    write(&*file, 4, b"xyz").unwrap();
    let outcomes: BTreeSet<Vec<u8>> = (0..200).map(|seed| read(&fs.crash(seed), "/f")).collect();
    assert!(outcomes.contains(&b"0123456789"[..]), "{outcomes:?}");
    assert!(outcomes.contains(&b"0123xyz"[..]), "{outcomes:?}");
    assert!(outcomes.contains(&b"0123"[..]), "{outcomes:?}");
    for bytes in &outcomes {
        let cut = bytes.starts_with(b"0123") && bytes.len() <= 7;
        assert!(cut || bytes == b"0123456789", "{outcomes:?}");
    }
    file.sync_data().unwrap();
    assert_eq!(read(&fs.crash(1), "/f"), b"0123xyz");
}

#[test]
fn a_failed_sync_is_not_made_good_by_a_later_one() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, &[1; 4096]).unwrap();
    fs.fail_at(fs.op_count(), Fault::Eio);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    write(&*file, 4096, &[2; 4096]).unwrap();
    file.sync_data().unwrap();
    assert_eq!(read(&fs, "/f")[..4096], [1; 4096], "readers still see it");
    let after = read(&fs.crash_lose_all_unsynced(), "/f");
    assert_eq!(after[..4096], [0; 4096]);
    assert_eq!(after[4096..], [2; 4096]);
    file.drop_cache(4095).unwrap();
    assert_eq!(
        read(&fs, "/f"),
        after,
        "without the cache readers see the disk"
    );
}

/// Every kind of mutating operation once, in an order that makes sense; stops at the first error.
fn workload(fs: &SimFs) -> io::Result<()> {
    fs.create_dir_all(Path::new("/d/e"))?;
    let file = fs.open(Path::new("/d/f.tmp"), OpenMode::Create)?;
    write(&*file, 0, b"abcdef")?;
    file.sync_data()?;
    file.set_len(3)?;
    fs.rename(Path::new("/d/f.tmp"), Path::new("/d/f"))?;
    fs.sync_dir(Path::new("/d"))?;
    fs.remove_dir_all(Path::new("/d"))
}

const WORKLOAD_OPS: u64 = 11;

#[test]
fn a_fault_fires_at_its_operation_and_only_there() {
    let fs = SimFs::new();
    workload(&fs).unwrap();
    assert_eq!(
        fs.op_count(),
        WORKLOAD_OPS,
        "/d, /d/e, f, …, then e, f and /d removed"
    );
    for op in 0..WORKLOAD_OPS {
        for (fault, code) in [(Fault::Eio, 5), (Fault::Enospc, 28), (Fault::ShortWrite, 5)] {
            let fs = SimFs::new();
            fs.fail_at(op, fault);
            assert_eq!(
                workload(&fs).unwrap_err().raw_os_error(),
                Some(code),
                "op {op}"
            );
            assert_eq!(fs.op_count(), op + 1);
            fs.create_dir_all(Path::new("/after")).unwrap();
        }
    }
}

#[test]
fn after_a_power_cut_everything_fails_until_the_disk_is_taken_over() {
    for op in 0..WORKLOAD_OPS {
        let fs = SimFs::new();
        let kept = fs.open(Path::new("/kept"), OpenMode::Create).unwrap();
        fs.fail_at(op + 1, Fault::Crash);
        assert!(is_power_cut(workload(&fs)), "op {op}");
        assert!(is_power_cut(fs.exists(Path::new("/"))));
        assert!(is_power_cut(fs.read_dir(Path::new("/"))));
        assert!(is_power_cut(fs.open(Path::new("/kept"), OpenMode::Read)));
        assert!(is_power_cut(fs.rename(Path::new("/kept"), Path::new("/k"))));
        assert!(is_power_cut(fs.lock(Path::new("/.lock"))));
        assert!(is_power_cut(kept.len()));
        assert!(is_power_cut(kept.read_exact_at(&mut [], 0)));
        assert!(is_power_cut(write(&*kept, 0, b"x")));
        assert!(is_power_cut(kept.sync_data()));
        assert!(is_power_cut(kept.set_len(0)));
        assert!(is_power_cut(kept.map(1)));
        let same = |a: &SimFs, b: &SimFs| format!("{:?}", a.disk()) == format!("{:?}", b.disk());
        assert!(same(&fs.crash(op), &fs.crash(op)), "the seed decides");
        workload(&fs.crash_lose_all_unsynced()).unwrap();
    }
}

#[test]
fn the_interrupted_operation_itself_may_or_may_not_survive() {
    let (fs, file) = disk_with_file();
    fs.fail_at(fs.op_count(), Fault::Crash);
    assert!(is_power_cut(write(&*file, 0, b"abc")));
    let outcomes: BTreeSet<Vec<u8>> = (0..50).map(|seed| read(&fs.crash(seed), "/f")).collect();
    assert!(
        outcomes.contains(&b""[..]) && outcomes.contains(&b"abc"[..]),
        "{outcomes:?}"
    );
    assert_eq!(read(&fs.kill(), "/f"), b"abc");
}

#[test]
fn a_short_write_leaves_a_prefix_that_the_next_write_replaces() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, b"abc").unwrap();
    let map = file.map(100).unwrap();
    fs.fail_at(fs.op_count(), Fault::ShortWrite);
    assert!(write(&*file, 3, b"1234").is_err());
    assert_eq!(read(&fs, "/f"), b"abc12");
    assert_eq!(map.bytes(0, 4), None, "a failed write does not settle");
    write(&*file, 3, b"wxyz").unwrap();
    assert_eq!(map.bytes(0, 7), Some(&b"abcwxyz"[..]));
    assert_eq!(
        write(&*file, 2, b"!").unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(file.set_len(6).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_full_disk_takes_what_fits_and_removal_makes_room() {
    let (fs, file) = disk_with_file();
    fs.set_free_bytes(10);
    write(&*file, 0, &[1; 6]).unwrap();
    assert!(file.preallocate(6, 5).is_err());
    let full = write(&*file, 6, &[2; 6]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(fs.space(Path::new("/")).unwrap().free_bytes, 0);
    assert_eq!(read(&fs, "/f"), [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    write(&*file, 6, &[3; 4]).unwrap();
    let after = fs.crash_lose_all_unsynced();
    assert_eq!(after.space(Path::new("/")).unwrap().free_bytes, 10);
    fs.remove_file(Path::new("/f")).unwrap();
    assert_eq!(fs.space(Path::new("/")).unwrap().free_bytes, 10);
}

#[test]
fn a_map_shows_bytes_that_settle_later_and_slices_stay() {
    let (_fs, file) = disk_with_file();
    let map = file.map(1 << 20).unwrap();
    assert_eq!(map.bytes(0, 1), None);
    let mut slices = Vec::new();
    for number in 0..200_u8 {
        let at = u64::from(number) * 1000;
        write(&*file, at, &[number; 1000]).unwrap();
        slices.push(map.bytes(at, 1000).unwrap());
    }
    let whole = map.bytes(0, 200_000).unwrap();
    assert_eq!(whole, slices.concat());
    assert_eq!(map.bytes(199_999, 2), None);
    assert_eq!(map.bytes(u64::MAX, 1), None);
}

#[test]
fn a_lock_is_held_until_dropped_or_the_process_is_gone() {
    let fs = SimFs::new();
    let path = Path::new("/.lock");
    let lock = fs.lock(path).unwrap();
    assert_eq!(
        fs.clone().lock(path).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    drop(lock);
    let _lock = fs.lock(path).unwrap();
    fs.kill().lock(path).unwrap();
    fs.crash(1).lock(path).unwrap();
}

#[test]
fn paths_and_modes_are_checked_as_by_a_real_disk() {
    let (fs, _) = disk_with_file();
    let kind = |result: io::Result<Arc<dyn LogFile>>| result.unwrap_err().kind();
    let open = |path: &str, mode| fs.open(Path::new(path), mode);
    assert_eq!(
        kind(open("/f", OpenMode::CreateNew)),
        ErrorKind::AlreadyExists
    );
    assert_eq!(kind(open("/g", OpenMode::Read)), ErrorKind::NotFound);
    assert_eq!(kind(open("/g", OpenMode::ReadWrite)), ErrorKind::NotFound);
    assert_eq!(kind(open("/no/g", OpenMode::Create)), ErrorKind::NotFound);
    assert_eq!(kind(open("/", OpenMode::Read)), ErrorKind::IsADirectory);
    let reader = open("/f", OpenMode::Read).unwrap();
    assert!(write(&*reader, 0, b"x").is_err());
    assert!(fs.create_dir_all(Path::new("/f/g")).is_err());
    fs.create_dir_all(Path::new("/d")).unwrap();
    let listed = fs.read_dir(Path::new("/")).unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|entry| (entry.name.as_str(), entry.is_dir))
        .collect();
    assert_eq!(names, [("d", true), ("f", false)]);
    let moved = fs.rename(Path::new("/f"), Path::new("/d/f")).unwrap_err();
    assert_eq!(moved.kind(), ErrorKind::Unsupported);
    fs.rename(Path::new("/d"), Path::new("/e")).unwrap();
    assert!(exists(&fs, "/e") && !exists(&fs, "/d"));
    assert!(fs.remove_file(Path::new("/e")).is_err());
}

#[test]
fn bit_rot_shows_at_once_and_after_a_crash() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, b"abc").unwrap();
    file.sync_data().unwrap();
    fs.rot(Path::new("/f"), 1, b"X?!").unwrap();
    assert_eq!(read(&fs, "/f"), b"aX?");
    assert_eq!(read(&fs.crash(3), "/f"), b"aX?");
    assert!(fs.rot(Path::new("/g"), 0, b"").is_err());
}

#[test]
fn a_second_name_in_another_directory_keeps_the_file_and_its_space() {
    let (fs, file) = disk_with_file();
    write(&*file, 0, &[1; 9000]).unwrap();
    file.sync_data().unwrap();
    fs.set_free_bytes(1000);
    fs.create_dir_all(Path::new("/d")).unwrap();
    let (first, second) = (Path::new("/f"), Path::new("/d/f"));
    fs.hard_link(first, second).unwrap();
    let again = fs.hard_link(first, second).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    fs.remove_file(first).unwrap();
    assert_eq!(fs.space(second).unwrap().free_bytes, 1000);
    assert_eq!(read(&fs, "/d/f"), [1; 9000]);
    assert!(!exists(&fs.crash_lose_all_unsynced(), "/d/f"));
    for dir in ["/d", "/"] {
        fs.sync_dir(Path::new(dir)).unwrap();
    }
    assert_eq!(read(&fs.crash_lose_all_unsynced(), "/d/f"), [1; 9000]);
    fs.remove_file(second).unwrap();
    assert_eq!(fs.space(Path::new("/d")).unwrap().free_bytes, 10_000);
}

#[test]
fn what_survives_of_a_file_with_two_names_is_the_same_under_both() {
    let (fs, file) = disk_with_file();
    fs.create_dir_all(Path::new("/d")).unwrap();
    fs.hard_link(Path::new("/f"), Path::new("/d/f")).unwrap();
    for dir in ["/d", "/"] {
        fs.sync_dir(Path::new(dir)).unwrap();
    }
    write(&*file, 0, &[1; 90_000]).unwrap();
    for seed in 0..50 {
        let after = fs.crash(seed);
        assert_eq!(read(&after, "/f"), read(&after, "/d/f"), "seed {seed}");
        let free = after.space(Path::new("/")).unwrap();
        assert_eq!(
            free.total_bytes,
            fs.space(Path::new("/")).unwrap().total_bytes
        );
    }
}
