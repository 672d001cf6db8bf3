//! What all suites share: the environment, the broker of the client matrix, permits, installs.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use super::Fault;
use super::broker::Broker;
use super::consumers;
use super::crash::CrashRun;
use super::install::{Installs, Tool};
use super::matrix::Runs;
use super::restless;

/// Suites that run at the same time: client programs mostly wait, also on a machine of two cores.
const MOST_AT_ONCE: usize = 6;

/// Shared by all trials.
pub(crate) struct Context {
    /// A toolchain that is missing is a failure, not a reason to ignore.
    pub(crate) is_ci: bool,
    /// The longer lists.
    pub(crate) is_full: bool,
    /// A foreign broker's address: suites that start and stop brokers are ignored.
    pub(crate) bootstrap: Option<String>,
    /// Clients wait for the leaders of new topics, which Apache Kafka needs and Tidewheel must not.
    pub(crate) settle: bool,
    pub(crate) installs: Installs,
    /// What the clients of the matrix said.
    pub(crate) runs: Runs,
    /// The same in groups of the newer protocol.
    pub(crate) consumers: consumers::Runs,
    /// What the kill loop left.
    pub(crate) crash: OnceLock<Result<CrashRun, Fault>>,
    /// What became of restless groups.
    pub(crate) restless: restless::Runs,
    binary: OsString,
    shared: OnceLock<Result<Mutex<Broker>, Fault>>,
    free: Mutex<usize>,
    freed: Condvar,
}

impl Context {
    /// Reads CI, TIDEWHEEL_SUITES, TIDEWHEEL_TEST_BOOTSTRAP and TIDEWHEEL_TEST_BINARY.
    pub(crate) fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        let bootstrap = variable("TIDEWHEEL_TEST_BOOTSTRAP");
        let binary = std::env::var_os("TIDEWHEEL_TEST_BINARY");
        Self {
            is_ci: variable("CI").is_some_and(|v| v == "true"),
            is_full: variable("TIDEWHEEL_SUITES").is_some_and(|v| v == "full"),
            settle: bootstrap.is_some() || binary.is_some(),
            bootstrap,
            installs: Installs::default(),
            runs: Runs::default(),
            consumers: consumers::Runs::default(),
            crash: OnceLock::new(),
            restless: restless::Runs::default(),
            binary: binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_tidewheel").into()),
            shared: OnceLock::new(),
            free: Mutex::new(MOST_AT_ONCE),
            freed: Condvar::new(),
        }
    }

    /// Why a trial that needs these tools cannot run, if it cannot.
    pub(crate) fn missing(&self, tools: &[Tool]) -> Option<String> {
        tools.iter().find_map(|tool| {
            if *tool == Tool::OwnBroker {
                return self
                    .bootstrap
                    .as_ref()
                    .map(|_| "needs a broker of its own".to_owned());
            }
            tool.missing()
        })
    }

    /// A broker for one suite.
    pub(crate) fn new_broker(&self) -> Result<Broker, Fault> {
        self.new_broker_with(&[])
    }

    /// The same with settings beside those of all brokers, as `NAME=VALUE`.
    pub(crate) fn new_broker_with(&self, settings: &[&str]) -> Result<Broker, Fault> {
        Broker::start(self.binary.clone(), settings, None)
    }

    /// The same with its data in a directory that the suite has made.
    pub(crate) fn new_broker_on(&self, data: PathBuf, settings: &[&str]) -> Result<Broker, Fault> {
        Broker::start(self.binary.clone(), settings, Some(data))
    }

    /// The program under test.
    pub(crate) fn binary(&self) -> &OsStr {
        &self.binary
    }

    /// A command of the program under test.
    pub(crate) fn program(&self, command: &str) -> Command {
        let mut program = Command::new(&self.binary);
        program.arg(command);
        program
    }

    fn shared(&self) -> Result<&Mutex<Broker>, Fault> {
        let made = self
            .shared
            .get_or_init(|| self.new_broker().map(Mutex::new));
        made.as_ref().map_err(Clone::clone)
    }

    /// The address of the broker that all clients of the matrix use side by side.
    pub(crate) fn shared_address(&self) -> Result<String, Fault> {
        if let Some(address) = &self.bootstrap {
            return Ok(address.clone());
        }
        Ok(self
            .shared()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .address()
            .to_owned())
    }

    /// Something to do with that broker alone, for example to stop it.
    pub(crate) fn with_shared<T>(
        &self,
        body: impl FnOnce(&mut Broker) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        body(
            &mut self
                .shared()?
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Ends what is left when all trials are done. The directories go with the context.
    pub(crate) fn stop(&self) {
        if let Some(Ok(broker)) = self.shared.get() {
            // Trials have judged the broker already; this is only tidying up.
            drop(broker.lock().unwrap_or_else(PoisonError::into_inner).kill());
        }
    }

    /// Waits for a place among the suites that run at once.
    pub(crate) fn permit(&self) -> Permit<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.freed.wait_while(free, |free| *free == 0);
        *wait.unwrap_or_else(PoisonError::into_inner) -= 1;
        Permit { context: self }
    }
}

/// A place among the running suites, given back when dropped.
pub(crate) struct Permit<'a> {
    context: &'a Context,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self
            .context
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        self.context.freed.notify_one();
    }
}
