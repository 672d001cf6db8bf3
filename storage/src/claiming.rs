//! Whose the log directories of a start are, and which of them cannot be used.
//!
//! The first directory holds the metadata of all topics: without it there is no start. Any other that cannot be
//! read or locked is offline until the next start, with the partitions in it; the rest is served.
//!
//! **A directory that is empty** may be new, or its disk may not be mounted. So the first directory lists all of
//! them ([`DIRECTORIES`]): one that stands there and says nothing of itself any more is offline too, and nothing is
//! written to it. Taken for new, its partitions would begin anew at offset 0, and who looks for the old ones after
//! the next mount would find two of each. A directory that the options do not name any more is given up: that is
//! how to say that it will not come back. The list is written after a new directory is signed, before anything can
//! lie in it. The file is ours:
//! ```text
//! [{"id":"JkFDRPP5SW6w7Lyl-v0PyA","path":"/data/a"}, …]
//! crc32:1b2c3d4e
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidewheel_protocol::Uuid;

use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::{DirLock, FileSystem};
use crate::log_manager_options::LogManagerOptions;
use crate::manifest::{add_checksum, checked_body};
use crate::meta_properties::{self, MetaProperties};

/// The lock file of a log directory; hidden, so that an empty directory stays empty.
const LOCK_FILE: &str = ".lock";
/// The list of all log directories, in the first of them; there is none where there never was a second one.
pub(crate) const DIRECTORIES: &str = "tidewheel.directories";

/// What a start knows of a directory: whose it is, nothing of a new one, or why it cannot be used.
type Look = Result<Option<MetaProperties>, StorageError>;

/// The log directories of a start.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The cluster's id.
    pub(crate) cluster_id: String,
    /// The lock of each directory, or why it cannot be used.
    pub(crate) locks: Vec<Result<Box<dyn DirLock>, StorageError>>,
    /// Directories with data that are not among the options any more.
    pub(crate) given_up: Vec<StorageError>,
}

/// Whether a start goes on without a directory that failed so, or without a partition of it: what the system is short
/// of at the moment is no such reason.
pub(crate) fn may_be_spared(error: &StorageError) -> bool {
    match error {
        StorageError::Io { source, .. } => {
            !error.is_out_of_descriptors() && source.kind() != ErrorKind::OutOfMemory
        }
        StorageError::Corrupt { .. } | StorageError::DirectoryLost { .. } => true,
        _ => false,
    }
}

/// The failure of a directory, where a start goes on without it.
///
/// # Errors
/// The failure, where it does not.
pub(crate) fn spared(number: usize, error: StorageError) -> Result<StorageError, StorageError> {
    match number > 0 && may_be_spared(&error) {
        true => Ok(error),
        false => Err(error),
    }
}

/// Locks the directories, checks whose they are and signs the new ones. All are looked at before one is changed.
///
/// # Errors
/// As [`crate::LogManager::open`].
pub(crate) fn claim(
    fs: &dyn FileSystem,
    options: &LogManagerOptions,
) -> Result<Claimed, StorageError> {
    // A directory that is not ours stays untouched: not even a lock file is left in it.
    let looks = look(fs, options)?;
    let were_new: Vec<bool> = looks.iter().map(|look| matches!(look, Ok(None))).collect();
    let mut locks = Vec::new();
    for (number, (path, look)) in options.dirs.iter().zip(looks).enumerate() {
        let locked = look.and_then(|_| lock(fs, path));
        locks.push(match locked {
            Err(error) => Err(spared(number, error)?),
            locked => locked,
        });
    }
    // Another process may have signed one meanwhile.
    let mut looks = look(fs, options)?;
    for (look, lock) in looks.iter_mut().zip(&locks) {
        if let Err(error) = lock {
            *look = Err(error.clone());
        }
    }
    let cluster_id = check(options, &looks)?;
    let known = Known::read(fs, &options.dirs[0])?;
    let mut has_signed = false;
    for (number, path) in options.dirs.iter().enumerate() {
        if matches!(looks[number], Ok(None)) {
            has_signed = true;
            let meta = MetaProperties {
                cluster_id: cluster_id.clone(),
                node_id: options.node_id,
                directory_id: new_id(options, number),
            };
            let signed =
                sync_way_to(fs, path).and_then(|()| meta_properties::write(fs, path, &meta));
            looks[number] = match signed {
                Ok(()) => Ok(Some(meta)),
                Err(error) => Err(spared(number, error)?),
            };
        }
    }
    for (lock, look) in locks.iter_mut().zip(&looks) {
        if let Err(error) = look {
            *lock = Err(error.clone());
        }
    }
    let (given_up, now) = known.now(&options.dirs, &looks, &were_new);
    let is_needed = options.dirs.len() > 1 || !matches!(known, Known::Nothing);
    if is_needed && known.dirs() != now {
        let file = options.dirs[0].join(DIRECTORIES);
        match checkpoint::write_atomically(fs, &file, &encode(&now)) {
            // What stands there is true of all that was used before; another start writes it.
            Err(error) if error.is_disk_full() && !has_signed => {}
            written => written?,
        }
    }
    Ok(Claimed {
        cluster_id,
        locks,
        given_up,
    })
}

fn new_id(options: &LogManagerOptions, number: usize) -> Uuid {
    let ids = &options.new_directory_ids;
    ids.get(number).copied().unwrap_or_default()
}

/// Looks at all directories; changes nothing.
fn look(fs: &dyn FileSystem, options: &LogManagerOptions) -> Result<Vec<Look>, StorageError> {
    let mut looks: Vec<Look> = Vec::new();
    for (number, path) in options.dirs.iter().enumerate() {
        looks.push(match meta_properties::read(fs, path) {
            Err(error) => Err(spared(number, error)?),
            found => found,
        });
    }
    let known = Known::read(fs, &options.dirs[0])?;
    for number in 1..looks.len() {
        if matches!(looks[number], Ok(None)) && known.has_lost(&options.dirs[number], &looks) {
            let dir = options.dirs[number].clone();
            looks[number] = Err(StorageError::DirectoryLost {
                dir,
                why: "it is empty and held data before; is its disk mounted? To go on without that data, start \
                      once without it in log.dirs"
                    .to_owned(),
            });
        }
    }
    Ok(looks)
}

fn lock(fs: &dyn FileSystem, path: &Path) -> Result<Box<dyn DirLock>, StorageError> {
    fs.create_dir_all(path)
        .map_err(|error| StorageError::from_io("create", path, error))?;
    let lock = fs.lock(&path.join(LOCK_FILE));
    lock.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => StorageError::DirectoryInUse {
            dir: path.to_path_buf(),
        },
        _ => StorageError::from_io("lock", path, error),
    })
}

/// Makes the way to a new log directory durable. All of it: parts may be left from a start that was
/// killed before it came here.
fn sync_way_to(fs: &dyn FileSystem, path: &Path) -> Result<(), StorageError> {
    for ancestor in path.ancestors().skip(1) {
        let here = if ancestor.as_os_str().is_empty() {
            Path::new(".")
        } else {
            ancestor
        };
        match fs.sync_dir(here) {
            // Who may not even list it has not made anything in it either.
            Err(error) if error.kind() != ErrorKind::PermissionDenied => {
                return Err(StorageError::from_io("sync", here, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that the directories belong together; returns the cluster id.
fn check(options: &LogManagerOptions, looks: &[Look]) -> Result<String, StorageError> {
    let known = looks.iter().flatten().flatten().next();
    let mismatch = |dir: &PathBuf, why: String| StorageError::DirectoryMismatch {
        dir: dir.clone(),
        why,
    };
    if let (Some(known), Some(Ok(None))) = (known, looks.first()) {
        let why = format!(
            "it is empty, while another one belongs to cluster {}; the first directory holds the \
             metadata of all topics, so restore it or leave it out",
            known.cluster_id
        );
        return Err(mismatch(&options.dirs[0], why));
    }
    let cluster_id = known.map_or(&options.new_cluster_id, |meta| &meta.cluster_id);
    for (dir, look) in options.dirs.iter().zip(looks) {
        let Ok(Some(meta)) = look else { continue };
        if meta.cluster_id != *cluster_id {
            let why = format!(
                "its cluster is {}, that of the others {cluster_id}",
                meta.cluster_id
            );
            return Err(mismatch(dir, why));
        }
        if meta.node_id != options.node_id {
            let why = format!(
                "it was written by node {}, this is node {}",
                meta.node_id, options.node_id
            );
            return Err(mismatch(dir, why));
        }
    }
    Ok(cluster_id.clone())
}

/// A directory in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    /// As its `meta.properties` has it.
    id: String,
    /// As the options named it.
    path: PathBuf,
}

/// What the list in the first directory says.
#[derive(Debug)]
enum Known {
    /// There is none: no second directory was ever used, or by an earlier version.
    Nothing,
    /// It is damaged: any directory may stand in it.
    Unreadable,
    Dirs(Vec<Listed>),
}

impl Known {
    fn read(fs: &dyn FileSystem, first: &Path) -> Result<Self, StorageError> {
        Ok(match checkpoint::read_small(fs, &first.join(DIRECTORIES)) {
            Ok(None) => Self::Nothing,
            Ok(Some(bytes)) => decode(&bytes).map_or(Self::Unreadable, Self::Dirs),
            Err(StorageError::Corrupt { .. }) => Self::Unreadable,
            Err(error) => return Err(error),
        })
    }

    fn dirs(&self) -> &[Listed] {
        match self {
            Self::Dirs(dirs) => dirs,
            Self::Nothing | Self::Unreadable => &[],
        }
    }

    /// Whether a directory that says nothing of itself was used before. Where it lies somewhere else by now, this
    /// one is new.
    fn has_lost(&self, path: &Path, looks: &[Look]) -> bool {
        if matches!(self, Self::Unreadable) {
            return true;
        }
        let mut here = self.dirs().iter().filter(|listed| listed.path == path);
        here.any(|listed| !is_found(&listed.id, looks))
    }

    /// The directories that were given up, and the list as it is now. A new one that could not be signed was never
    /// used, and does not stand in it.
    fn now(
        &self,
        paths: &[PathBuf],
        looks: &[Look],
        were_new: &[bool],
    ) -> (Vec<StorageError>, Vec<Listed>) {
        let old = |path: &Path| self.dirs().iter().find(|listed| listed.path == path);
        let all = paths.iter().zip(looks).zip(were_new);
        let now = all.filter_map(|((path, look), was_new)| match look {
            Ok(Some(meta)) => Some(Listed {
                id: meta.directory_id.to_string(),
                path: path.clone(),
            }),
            _ if *was_new => None,
            _ => Some(Listed {
                id: old(path).map_or_else(String::new, |listed| listed.id.clone()),
                path: path.clone(),
            }),
        });
        let now: Vec<Listed> = now.collect();
        let gone = |listed: &&Listed| {
            !paths.contains(&listed.path) && !listed.id.is_empty() && !is_found(&listed.id, looks)
        };
        let given_up = self.dirs().iter().filter(gone);
        let given_up = given_up.map(|listed| StorageError::DirectoryLost {
            dir: listed.path.clone(),
            why: "it is none of the log directories any more; partitions in it begin anew"
                .to_owned(),
        });
        let given_up = given_up.collect();
        (given_up, now)
    }
}

fn is_found(id: &str, looks: &[Look]) -> bool {
    let mut signed = looks.iter().flatten().flatten();
    signed.any(|meta| meta.directory_id.to_string() == id)
}

/// Checks the list at `path`, for people.
///
/// # Errors
/// `Corrupt` where it is damaged, `Io`.
pub(crate) fn check_list(fs: &dyn FileSystem, path: &Path) -> Result<(), StorageError> {
    match checkpoint::read_small(fs, path)? {
        Some(bytes) if decode(&bytes).is_none() => {
            Err(StorageError::corrupt(path, 0, "its checksum does not fit"))
        }
        _ => Ok(()),
    }
}

fn encode(dirs: &[Listed]) -> Vec<u8> {
    // A path that is no UTF-8 cannot be written; settings are text.
    let mut bytes = serde_json::to_vec(dirs).unwrap_or_default();
    bytes.push(b'\n');
    add_checksum(&mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Listed>> {
    serde_json::from_slice(checked_body(bytes).ok()?).ok()
}
