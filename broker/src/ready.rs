//! What a started broker says: a banner for people on stderr, one JSON line for programs on stdout.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::running::Running;

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
            event: "ready",
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
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    std::fs::write(&temporary, line)?;
    std::fs::rename(&temporary, path)
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
