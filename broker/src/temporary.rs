//! Directories for data that goes with its broker.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, statfs};
use tempfile::{Builder, TempDir};
use tidewheel_storage::fs::{FileSystem, RealFs};

/// Where most Linux systems have a file system in memory.
const SHARED_MEMORY: &str = "/dev/shm";
/// What is free there, at least, if it is to be used: containers give it 64 MiB, which a few topics fill.
const ROOM_MIN: u64 = 512 << 20;
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
    let make = |base: &Path| {
        let mut builder = Builder::new();
        builder.permissions(Permissions::from_mode(0o700));
        builder.prefix("tidewheel-").tempdir_in(base)
    };
    let memory = in_memory().map(|base| make(&base));
    match memory {
        Some(Ok(dir)) => Ok(dir),
        // Nobody may write there, for example.
        Some(Err(_)) | None => make(&std::env::temp_dir()),
    }
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

/// A file system in memory with enough room.
fn in_memory() -> Option<PathBuf> {
    let base = PathBuf::from(SHARED_MEMORY);
    let kind = statfs(&base).ok()?.f_type;
    let free_bytes = RealFs.space(&base).ok()?.free_bytes;
    (kind == TMPFS_MAGIC && free_bytes >= ROOM_MIN).then_some(base)
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
}
