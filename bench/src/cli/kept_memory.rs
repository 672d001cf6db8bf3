//! Memory that a hypervisor leaves to the machine while it is free.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

use crate::process::field;

/// What a hypervisor is told of is free in one piece of this size, 2 MiB, or a larger one (`pageblock_order` of Linux
/// on most machines).
const PIECE_BYTES: u64 = 2 << 20;
/// Of every half of a piece the last page is held, so that one lies in each piece wherever it begins.
const HALF_BYTES: u64 = PIECE_BYTES / 2;
const LET_GO_BYTES: u64 = HALF_BYTES - 4096;
/// Left alone, for whatever else goes on.
const SPARED_BYTES: u64 = 2 << 30;
/// Several times what a run writes.
const MOST_BYTES: u64 = 16 << 30;

/// Touches the memory that is free and lets all of it go but a page here and there, until the file is dropped: what is
/// free stays in small pieces. It takes a second a gigabyte, or three. `None` where little is free or the system does
/// not let us have that.
///
/// Hypervisors that have their guests report free memory (`free_page_reporting` of virtio's balloon) take it back, and
/// whoever comes next waits for every page of it: two seconds a gigabyte, where this was written, which is twice what a
/// broker takes to receive a gigabyte and write it. Only large pieces are reported, and the page cache takes small ones
/// first.
pub(super) fn keep_free_memory() -> Option<File> {
    let bytes = free_bytes().saturating_sub(SPARED_BYTES).min(MOST_BYTES);
    keep(bytes).ok().filter(|_| bytes >= PIECE_BYTES)
}

fn keep(bytes: u64) -> io::Result<File> {
    let mut memory = File::from(memfd_create("kept", MemfdFlags::CLOEXEC)?);
    io::copy(&mut io::repeat(1).take(bytes), &mut memory)?;
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for half in 0..bytes / HALF_BYTES {
        fallocate(&memory, hole, half * HALF_BYTES, LET_GO_BYTES)?;
    }
    Ok(memory)
}

/// What nothing is in, bytes; 0 where that cannot be read.
fn free_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&text, "MemFree:").unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn twopages_of_each_piece_are_held() {
        let kept = keep(8 * PIECE_BYTES).unwrap();
        let held = kept.metadata().unwrap().blocks() * 512;
        assert_eq!(held, 8 * 2 * 4096);
    }
}
