//! What an embedded broker is to be like, before it is started.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tidewheel_config::{BrokerConfig, Sources};

use super::EmbeddedBroker;
use crate::broker::NewTopic;
use crate::faults::Faults;
use crate::running::{EmbeddedError, Hooks, Running, failed};
use crate::temporary;
use crate::test_clock::TestClock;

/// What differs from `tidewheel serve` where no setting says otherwise: a free port of this machine, no HTTP API, and
/// groups that a single member has at once.
const DEFAULTS: &[&str] = &[
    "listeners=PLAINTEXT://127.0.0.1:0",
    "tidewheel.admin.listen=off",
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=1",
];

/// Says what an embedded broker is to be like; see [`EmbeddedBroker::builder`].
///
/// What nobody says is as `tidewheel serve` has it, but for these: it listens on a free port of 127.0.0.1; the HTTP
/// API is off (`tidewheel.admin.listen` switches it on, port 0 is fine); `group.initial.rebalance.delay.ms` is 0 and
/// `offsets.topic.num.partitions` 1, so that a consumer has its partitions at once. Neither a file nor the environment
/// is read.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started before `start`"]
pub struct EmbeddedBuilder {
    sets: Vec<String>,
    place: Place,
    topics: Vec<WantedTopic>,
    hooks: Hooks,
}

/// Where the data lies.
#[derive(Clone, Debug, Default)]
enum Place {
    /// Anywhere, and goes with the broker.
    #[default]
    Temporary,
    /// In memory, and goes with the broker.
    Memory,
    /// Here, and stays.
    Kept(PathBuf),
}

/// A topic that is there when the broker is handed out.
#[derive(Clone, Debug)]
struct WantedTopic {
    name: String,
    partitions: i32,
    configs: Vec<(String, Option<String>)>,
}

impl EmbeddedBuilder {
    /// Sets one setting, by the name that it has in a configuration file. The last value of a name counts.
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        self.sets.push(format!("{key}={value}"));
        self
    }

    /// Keeps the data in a new directory that is removed with the broker, which is the default: in memory, below
    /// `/dev/shm`, where that is such a file system with 512 MiB free, else where temporary files lie (`TMPDIR`). There
    /// `acks=all` waits for no disk (`tidewheel.log.ack.all=memory`), and no room is kept in reserve. A killed process
    /// leaves the directory behind; its name begins with `tidewheel-`. With the setting `log.dirs` the data lies there
    /// instead, and is treated as that of [`EmbeddedBuilder::data_dir`].
    pub fn temporary(mut self) -> Self {
        self.place = Place::Temporary;
        self
    }

    /// The same, in memory or not at all: [`EmbeddedBuilder::start`] fails where `/dev/shm` is no file system in memory
    /// with 32 MiB free, and where the setting `log.dirs` names another place. Containers give it 64 MiB unless they
    /// are told otherwise (`docker run --shm-size`).
    pub fn in_memory(mut self) -> Self {
        self.place = Place::Memory;
        self
    }

    /// Keeps the data in this directory, which is made if it is not there and stays: the next broker that is started
    /// on it goes on with it. Its path is UTF-8 without commas, since `log.dirs` is a list.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.place = Place::Kept(dir.into());
        self
    }

    /// Makes a topic before the broker is handed out. One that is there already stays as it is.
    pub fn topic(self, name: &str, partitions: i32) -> Self {
        self.topic_with(name, partitions, &[])
    }

    /// The same with settings of the topic: `&[("cleanup.policy", "compact")]`.
    pub fn topic_with(mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Self {
        let configs = configs.iter();
        let configs = configs.map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
        self.topics.push(WantedTopic {
            name: name.to_owned(),
            partitions,
            configs: configs.collect(),
        });
        self
    }

    /// Lets the broker go by a clock that the test turns.
    pub fn clock(mut self, clock: &TestClock) -> Self {
        self.hooks.clock = Some(clock.clone());
        self
    }

    /// Lets faults happen to its requests that the test makes.
    pub fn faults(mut self, faults: &Faults) -> Self {
        self.hooks.faults = Some(faults.clone());
        self
    }

    /// Starts the broker on the tokio runtime of the caller, and raises the limit of open files of this process to
    /// all that the system grants. Installs no logger, no handler of signals and nothing else that a second broker
    /// of the process would find there: lines of the log go to whatever `tracing` subscriber the program has.
    ///
    /// # Errors
    /// Where a setting or a topic is wrong, a port is taken, or the data is in use or cannot be read or made.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time, on which the broker then runs.
    pub async fn start(mut self) -> Result<EmbeddedBroker, EmbeddedError> {
        let (config, temporary) = self.placed()?;
        let temporary = temporary.map(Arc::new);
        self.hooks.temporary.clone_from(&temporary);
        let topics = self.topics.into_iter().map(|topic| NewTopic {
            partitions: topic.partitions,
            configs: topic.configs,
            ..NewTopic::with_defaults(&topic.name, &config)
        });
        let topics = topics.collect();
        let running = Running::start(config, None, self.hooks).await?;
        let broker = EmbeddedBroker { running, temporary };
        match broker.running.make_topics(topics).await {
            Ok(()) => Ok(broker),
            Err(error) => {
                broker.stop().await?;
                Err(error)
            }
        }
    }

    /// Its settings, and the directory if it is temporary.
    fn placed(&self) -> Result<(BrokerConfig, Option<TempDir>), EmbeddedError> {
        let dir = match self.place {
            Place::Temporary => temporary::directory(),
            Place::Memory => temporary::in_memory(),
            Place::Kept(_) => return Ok((self.config(None)?, None)),
        };
        let dir = dir.map_err(failed)?;
        let config = self.config(Some(&dir))?;
        match (config.log_dirs == [dir.path()], &self.place) {
            (true, _) => Ok((config, Some(dir))),
            (false, Place::Memory) => Err(failed(
                "the data is to lie in memory, but log.dirs names another place",
            )),
            // A setting names another place, which stays: what is there is to be durable.
            (false, _) => Ok((self.config(None)?, None)),
        }
    }

    fn config(&self, temporary: Option<&TempDir>) -> Result<BrokerConfig, EmbeddedError> {
        let mut defaults: Vec<String> = DEFAULTS.iter().copied().map(str::to_owned).collect();
        let mut sets = self.sets.clone();
        if let Some(dir) = temporary {
            defaults.extend(temporary::DEFAULTS.iter().copied().map(str::to_owned));
            defaults.push(temporary::setting(dir.path()).map_err(failed)?);
        }
        if let Place::Kept(dir) = &self.place {
            sets.push(temporary::setting(dir).map_err(failed)?);
        }
        let sources = Sources {
            defaults,
            sets,
            ..Sources::default()
        };
        BrokerConfig::load(&sources).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the place is named, what stays is acknowledged from the disk.
    #[test]
    fn only_data_that_goes_with_its_broker_waits_for_no_disk() {
        let shown = |builder: &EmbeddedBuilder| {
            let (config, temporary) = builder.placed().unwrap();
            let room = (config.log_dir_low_bytes, config.log_dir_reserved_bytes);
            ((config.log.ack_all, room), temporary.is_some())
        };
        let (temporary, goes) = shown(&EmbeddedBroker::builder());
        assert!(goes);
        let (kept, goes) = shown(&EmbeddedBroker::builder().data_dir("/kept"));
        assert!(!goes);
        assert_ne!(temporary, kept);
        if temporary::in_memory().is_ok() {
            assert_eq!(
                shown(&EmbeddedBroker::builder().in_memory()),
                (temporary, true)
            );
            let other = EmbeddedBroker::builder().in_memory();
            let error = other.setting("log.dirs", "/kept").placed().unwrap_err();
            assert!(error.to_string().contains("log.dirs"), "{error}");
        }
        let setting = EmbeddedBroker::builder().setting("log.dirs", "/kept");
        assert_eq!(shown(&setting), (kept, false));
    }

    #[test]
    fn a_directory_that_would_be_two_is_refused() {
        let wrong = EmbeddedBroker::builder().data_dir("/a,/b").placed();
        let error = wrong.unwrap_err().to_string();
        assert!(error.contains("/a,/b"), "{error}");
    }
}
