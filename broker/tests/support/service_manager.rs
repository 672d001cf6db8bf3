//! A service manager that hears what a broker tells it.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::PATIENCE;

/// Where `NOTIFY_SOCKET` leads.
pub(crate) struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    /// One that listens in a directory.
    pub(crate) fn listen(dir: &Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let patience = socket.set_read_timeout(Some(PATIENCE));
        patience.expect("a timeout can be set");
        Self { socket, path }
    }

    /// The variable that tells of it, and its value.
    pub(crate) fn variable(&self) -> (&'static str, &Path) {
        ("NOTIFY_SOCKET", &self.path)
    }

    /// Has a command tell it.
    pub(crate) fn watch(&self, command: &mut Command) {
        let (name, path) = self.variable();
        command.env(name, path);
    }

    /// What it is told next.
    pub(crate) fn heard(&self) -> String {
        let mut bytes = [0; 2_048];
        let len = self.socket.recv(&mut bytes).expect("it is told something");
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    /// Waits until it is told something with this word in it, and returns that.
    pub(crate) fn hears(&self, word: &str) -> String {
        loop {
            let heard = self.heard();
            if heard.contains(word) {
                return heard;
            }
        }
    }
}
