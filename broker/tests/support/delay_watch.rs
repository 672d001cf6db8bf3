//! Kills a broker in the middle of work on the files of its delay store: at the n-th event of a kind that
//! inotify tells of its directory, a few microseconds after the system call.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A file of this name ends the watch.
const OVER: &str = "watch-is-over";

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// What it is called where a test says how often it came.
    pub(crate) name: &'static str,
    kind: ReadFlags,
    /// In the names of files.
    part: &'static str,
}

const fn event(name: &'static str, kind: ReadFlags, part: &'static str) -> Event {
    Event { name, kind, part }
}

/// Each step that leaves its traces in the store's directory.
pub(crate) const EVENTS: [Event; 9] = [
    event("a group is written", ReadFlags::MODIFY, ".delaylog"),
    event("a bucket begins", ReadFlags::CREATE, ".delaybucket"),
    event("spill or division", ReadFlags::MODIFY, ".delaybucket"),
    event("a bucket is loaded", ReadFlags::OPEN, ".delaybucket"),
    event("a bucket is read", ReadFlags::CLOSE_NOWRITE, ".delaybucket"),
    event(
        "a checkpoint is written",
        ReadFlags::MODIFY,
        "delay-checkpoint",
    ),
    event(
        "a checkpoint is there",
        ReadFlags::MOVED_TO,
        "delay-checkpoint",
    ),
    event("a bucket goes", ReadFlags::DELETE, ".delaybucket"),
    event("a log file goes", ReadFlags::DELETE, ".delaylog"),
];

/// What a start does.
pub(crate) const OF_A_START: [Event; 3] = [
    event("a file is looked at", ReadFlags::OPEN, "delay"),
    event("a new file", ReadFlags::CREATE, ".delaylog"),
    event("a file that is left over goes", ReadFlags::DELETE, "delay"),
];

/// A directory that is watched.
pub(crate) struct Watch {
    events: OwnedFd,
    dir: PathBuf,
}

impl Watch {
    /// Watches from now on; `None` where there is no such directory yet.
    pub(crate) fn begin(dir: &Path) -> Option<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC).expect("inotify is there");
        let all = WatchFlags::ALL_EVENTS;
        inotify::add_watch(&events, dir, all).ok()?;
        Some(Self {
            events,
            dir: dir.to_owned(),
        })
    }

    /// Kills the process at the `nth` of these events, counted from 1; whether it came before
    /// [`Watch::end`] and the process was still there.
    pub(crate) fn kill_at(&self, event: Event, nth: u64, pid: u32) -> bool {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = pidfd_open(pid.expect("a pid"), PidfdFlags::empty());
        let process = process.expect("a process that nobody has waited for");
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.events, &mut buffer);
        let mut left = nth;
        loop {
            let read = reader.next().expect("events are read");
            let name = read.file_name().map(CStr::to_string_lossy);
            let name = name.unwrap_or_default();
            if name == OVER {
                return false;
            }
            if read.events().contains(event.kind) && name.contains(event.part) {
                left -= 1;
                if left == 0 {
                    return pidfd_send_signal(&process, Signal::KILL).is_ok();
                }
            }
        }
    }

    /// Ends a watch in another thread.
    pub(crate) fn end(&self) {
        let over = self.dir.join(OVER);
        std::fs::write(&over, "").expect("the directory is there");
        std::fs::remove_file(&over).expect("it was made just now");
    }
}
