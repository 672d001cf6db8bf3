//! Directories for data that goes with its broker.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{FsWord, statfs};
use tempfile::{Builder, TempDir};
use tidewheel_storage::fs::{FileSystem, RealFs};

/// Where most Linux systems have a file system in memory.
const SHARED_MEMORY: &str = "/dev/shm";
/// What is free there, at least, if it is to be used: containers give it 64 MiB, which a few topics fill.
const ROOM_MIN: u64 = 512 << 20;
/// The same where only memory will do: whoever asks for it knows how much there is.
const MEMORY_MIN: u64 = 32 << 20;
/// What `statfs` says of a file system in memory: linux/magic.h.
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// Settings of brokers whose data goes with them, where nobody says otherwise: nothing waits for a disk, and nothing is
/// kept free on it.
pub(crate) const DEFAULTS: &[&str] = &[
    "tidewheel.log.ack.all=memory",
    "tidewheel.log.dir.low.bytes=0",
    "tidewheel.log.dir.reserved.bytes=0",
];

/// Makes a directory that only this user may enter: in memory where there is room, else where temporary files lie
/// (`TMPDIR`). It is removed when it is dropped; what a killed process leaves is named `tidewheel-*`.
///
/// # Errors
/// Where none can be made.
pub(crate) fn directory() -> io::Result<TempDir> {
    // Nobody may write there, for example.
    memory_with(ROOM_MIN).or_else(|_| make(&std::env::temp_dir()))
}

/// The same in memory, or not at all.
///
/// # Errors
/// Where there is no file system in memory, hardly any room in it, or nobody may write there.
pub(crate) fn in_memory() -> io::Result<TempDir> {
    memory_with(MEMORY_MIN)
}

fn make(base: &Path) -> io::Result<TempDir> {
    let mut builder = Builder::new();
    builder.permissions(Permissions::from_mode(0o700));
    builder.prefix("tidewheel-").tempdir_in(base)
}

/// `log.dirs` that is this one directory.
///
/// # Errors
/// Where a list cannot have it: it would be two, or another one.
pub(crate) fn setting(dir: &Path) -> io::Result<String> {
    match dir.to_str() {
        Some(path) if !path.contains(',') && path.trim() == path => Ok(format!("log.dirs={path}")),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "data cannot lie in {}: log.dirs is a list of paths in UTF-8 with commas between them",
                dir.display()
            ),
        )),
    }
}

fn memory_with(room: u64) -> io::Result<TempDir> {
    let base = Path::new(SHARED_MEMORY);
    let free_bytes = memory_free(base);
    if free_bytes < room {
        let detail = format!(
            "{} has {} MiB of memory free, and {} are needed (docker run --shm-size)",
            base.display(),
            free_bytes >> 20,
            room >> 20
        );
        return Err(io::Error::new(io::ErrorKind::StorageFull, detail));
    }
    make(base)
}

/// Bytes that are free in a file system in memory; none where it is another one, or not there.
fn memory_free(base: &Path) -> u64 {
    match statfs(base) {
        Ok(found) if found.f_type == TMPFS_MAGIC => {
            RealFs.space(base).map_or(0, |space| space.free_bytes)
        }
        Ok(_) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_is_its_owners_alone_and_goes_when_it_is_dropped() {
        let (one, other) = (directory().unwrap(), directory().unwrap());
        assert_ne!(one.path(), other.path());
        let path = one.path().to_owned();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("tidewheel-"), "{name}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(path.join("file"), "x").unwrap();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }

    #[test]
    fn memory_that_is_not_there_is_an_error_that_says_how_much_there_is() {
        let error = memory_with(u64::MAX).unwrap_err().to_string();
        assert!(
            error.contains("/dev/shm has ") && error.contains("--shm-size"),
            "{error}"
        );
        assert_eq!(memory_free(Path::new("/proc")), 0, "no place for files");
        assert_eq!(memory_free(Path::new("/nowhere")), 0);
        if let Ok(dir) = in_memory() {
            assert!(dir.path().starts_with(SHARED_MEMORY));
        }
    }
}
