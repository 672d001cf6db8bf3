//! What a started broker says: a banner for people on stderr, one JSON line for programs on stdout.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::running::Running;

/// The event of the ready line.
const EVENT: &str = "ready";
/// What is longer is no ready line, in bytes.
const LINE_LEN_MAX: u64 = 64 << 10;

/// The ready line: written when the first client can be served.
#[derive(Debug, Serialize)]
pub(crate) struct Ready {
    event: &'static str,
    pid: u32,
    /// `HOST:PORT` of the first listener, as clients are told it.
    pub(crate) bootstrap: String,
    /// `PLAINTEXT://HOST:PORT`, with the ports that were really taken.
    pub(crate) listeners: Vec<String>,
    /// `HOST:PORT` of the HTTP API; null where it is off.
    admin: Option<String>,
    pub(crate) data_dir: String,
    pub(crate) version: &'static str,
}

impl Ready {
    /// The line for a broker that is ready.
    #[must_use]
    pub(crate) fn new(running: &Running) -> Self {
        let broker = running.broker();
        let data_dir = broker.config().log_dirs.first();
        let data_dir = data_dir.cloned().unwrap_or_default();
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        Self {
            event: EVENT,
            pid: std::process::id(),
            bootstrap: broker.endpoint(0).to_string(),
            listeners: running.listeners().to_vec(),
            admin: running.admin_address(),
            data_dir: data_dir.display().to_string(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The line, with its end.
    ///
    /// # Errors
    /// Where it cannot be put in JSON.
    pub(crate) fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok(line)
    }

    /// The banner: where it listens, where its data lies, and a line to copy.
    #[must_use]
    pub(crate) fn banner(&self) -> String {
        let Self {
            listeners,
            data_dir,
            version,
            bootstrap,
            ..
        } = self;
        let admin = self.console();
        format!(
            "Tidewheel {version} is ready.\n  \
             listening on  {}\n  \
             console, API  {admin}\n  \
             data in       {data_dir}\n  \
             try it        echo hello | kcat -b {bootstrap} -P -t greetings && \
             kcat -b {bootstrap} -C -t greetings -e\n",
            listeners.join(", ")
        )
    }

    /// Where a browser finds the console.
    pub(crate) fn console(&self) -> String {
        match &self.admin {
            Some(address) => format!("http://{address}"),
            None => "off".to_owned(),
        }
    }
}

/// Writes the line to a file that is never seen half-written.
///
/// # Errors
/// Where the file cannot be written.
pub(crate) fn write_port_file(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".");
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    // Under a name that nobody else can have taken; removed where this fails.
    let mut temporary = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".tmp")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    temporary.write_all(line)?;
    temporary.persist(path)?;
    Ok(())
}

/// What is there in the place of a port file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// The port file of a process that is not there any more.
    Left,
    /// That of another process that is there, a broker as far as can be told.
    Running,
    /// Something else.
    Other,
}

/// Looks what is in the place of a port file.
///
/// # Errors
/// Where a file is there that cannot be read.
pub(crate) fn look(path: &Path) -> io::Result<Found> {
    let metadata = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        metadata => metadata?,
    };
    if !metadata.is_file() {
        return Ok(Found::Other);
    }
    let mut text = Vec::new();
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        file => file?,
    };
    file.take(LINE_LEN_MAX).read_to_end(&mut text)?;
    if text.is_empty() {
        return Ok(Found::Nothing);
    }
    Ok(match serde_json::from_slice::<Writer>(&text) {
        Ok(writer) if writer.event == EVENT => match writer.is_another() {
            true => Found::Running,
            false => Found::Left,
        },
        Ok(_) | Err(_) => Found::Other,
    })
}

/// Who has written a ready line.
#[derive(Deserialize)]
struct Writer {
    event: String,
    pid: u32,
}

impl Writer {
    /// Whether another process has its number now. In a container it is this one's mostly.
    fn is_another(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let is_there = |pid| !matches!(test_kill_process(pid), Err(Errno::SRCH));
        self.pid != std::process::id() && pid.is_some_and(is_there)
    }
}

/// Writes the line to standard output, on which nothing else is written.
///
/// # Errors
/// Where it cannot be written.
pub(crate) fn print_line(line: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line)?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_file_tells_whether_its_broker_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port.json");
        assert_eq!(look(&path).unwrap(), Found::Nothing);
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let running = std::os::unix::process::parent_id();
        let left = [ended.id(), std::process::id(), 0, u32::MAX];
        ended.wait().unwrap();
        let line = |pid| format!("{{\"event\":\"ready\",\"pid\":{pid},\"admin\":null}}\n");
        for (text, found) in [
            (line(running), Found::Running),
            (String::new(), Found::Nothing),
            ("[server]\nport = 1\n".to_owned(), Found::Other),
            ("{\"pid\":1}".to_owned(), Found::Other),
            (line(running).replace("ready", "steady"), Found::Other),
        ]
        .into_iter()
        .chain(left.map(|pid| (line(pid), Found::Left)))
        {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(look(&path).unwrap(), found, "{text}");
        }
        assert_eq!(look(dir.path()).unwrap(), Found::Other);
    }

    #[test]
    fn a_port_file_that_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port.json");
        let names = || dir.path().read_dir().unwrap().count();
        write_port_file(&path, b"one").unwrap();
        write_port_file(&path, b"other").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"other");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o400, 0o400, "{mode:o}");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(write_port_file(&path, b"more").is_err());
        assert_eq!(names(), 1);
    }
}
