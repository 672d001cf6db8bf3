//! A broker in the process of the test, and the runtime it is served on.

use std::path::Path;

use tidewheel_broker::{EmbeddedBroker, EmbeddedBuilder};
use tokio::runtime::Runtime;

use crate::support::Client;

pub(crate) struct Embedded {
    pub(crate) runtime: Runtime,
    pub(crate) broker: EmbeddedBroker,
}

impl Embedded {
    /// Starts on a free port with the data in `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &["listeners=PLAINTEXT://127.0.0.1:0"])
    }

    /// The same with these settings, which name the listeners.
    pub(crate) fn start_with(dir: &Path, settings: &[&str]) -> Self {
        let runtime = Runtime::new().unwrap();
        let dir = format!("log.dirs={}", dir.display());
        let settings = [&[&*dir], settings].concat();
        let broker = runtime.block_on(EmbeddedBroker::start(&settings)).unwrap();
        Self { runtime, broker }
    }

    /// One that was described.
    pub(crate) fn build(builder: EmbeddedBuilder) -> Self {
        let runtime = Runtime::new().unwrap();
        let broker = runtime.block_on(builder.start()).unwrap();
        Self { runtime, broker }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.broker.bootstrap())
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(self.broker.stop()).unwrap();
    }
}
