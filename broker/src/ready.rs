//! What a started broker says: a banner for people on stderr, one JSON line for programs on stdout.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

/// The ready line: written when the first client can be served.
#[derive(Debug, Serialize)]
pub(crate) struct Ready {
    event: &'static str,
    pid: u32,
    /// `PLAINTEXT://HOST:PORT`, with the ports that were really taken.
    listeners: Vec<String>,
    /// `HOST:PORT` of the HTTP API; null where it is off.
    admin: Option<String>,
    data_dir: String,
    version: &'static str,
}

impl Ready {
    /// The line for a broker that listens on `listeners`, with its HTTP API at `admin` and its data in
    /// `data_dir`.
    #[must_use]
    pub(crate) fn new(listeners: Vec<String>, admin: Option<String>, data_dir: &Path) -> Self {
        Self {
            event: "ready",
            pid: std::process::id(),
            listeners,
            admin,
            data_dir: data_dir.display().to_string(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Writes the line to stdout and, if asked, to a file that is never seen half-written.
    ///
    /// # Errors
    /// Where the file or stdout cannot be written.
    pub(crate) fn announce(&self, port_file: Option<&Path>) -> io::Result<()> {
        let mut line = serde_json::to_vec(self).map_err(io::Error::other)?;
        line.push(b'\n');
        if let Some(path) = port_file {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.tmp", self.pid));
            let temporary = path.with_file_name(name);
            std::fs::write(&temporary, &line)?;
            std::fs::rename(&temporary, path)?;
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    }

    /// The banner: where it listens, where its data lies, and a line to copy.
    #[must_use]
    pub(crate) fn banner(&self, bootstrap: &str) -> String {
        let Self {
            listeners,
            data_dir,
            version,
            ..
        } = self;
        let admin = match &self.admin {
            Some(address) => format!("http://{address}"),
            None => "off".to_owned(),
        };
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
}
