//! `tidewheel dev`: a broker for development and tests, which leaves nothing behind if asked.

mod seed;

use std::collections::HashSet;
use std::fmt;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;
use tidewheel_config::{BrokerConfig, Sources, limits};

use super::say;
use super::serve::{Failure, Service, environment, usage};
use super::settings::{OwnSettings, SettingsArguments};
use crate::broker::NewTopic;
use crate::ready::{self, Found, Ready};
use crate::running::{EmbeddedError, Running};
use crate::temporary;
use crate::topics::topic_name_problem;

/// What differs from `serve` where nobody says otherwise: groups that a single member has at once, any factor of
/// replication that examples ask for, records from the console.
const DEFAULTS: &[&str] = &[
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=1",
    "tidewheel.replication.factor.max=3",
    "tidewheel.admin.produce=true",
];

/// Where the console listens if clients come to a port that the system chose.
const ANY_CONSOLE: &str = "tidewheel.admin.listen=127.0.0.1:0";

/// How often files are removed again that were made while they were removed.
const REMOVALS_MAX: usize = 16;
/// What a broker that did not stop has of time between two removals, to make the file that it was about to make.
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// Options of `dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// Listen on this port of 127.0.0.1; 0 for any free one, then the console is on a free one, too
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Keep the data in a temporary directory, in memory if there is room, and remove it at the end
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// When ready, write the ready line to this file, which is removed at the end
    #[arg(long, value_name = "PATH")]
    port_file: Option<PathBuf>,
    /// Make this topic if it is not there; may be given several times
    #[arg(long = "topic", value_name = "NAME[:PARTITIONS]")]
    topics: Vec<DevTopic>,
    /// Make the topics of this file if they are not there: YAML, a list `topics` with name, partitions and config
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// A topic that is there when the first client comes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DevTopic {
    name: String,
    /// -1 for `num.partitions`.
    partitions: i32,
    /// Settings of the topic.
    configs: Vec<(String, Option<String>)>,
}

/// Whether a topic may have so many partitions.
fn is_partition_count(count: i32) -> bool {
    (1..=limits::PARTITIONS_PER_TOPIC_MAX).contains(&count)
}

impl FromStr for DevTopic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, partitions) = match text.split_once(':') {
            None => (text, -1),
            Some((name, partitions)) => {
                let most = limits::PARTITIONS_PER_TOPIC_MAX;
                let count = partitions.parse::<i32>().ok();
                let count = count.filter(|count| is_partition_count(*count));
                let none = || format!("{partitions:?} is no number from 1 to {most}");
                (name, count.ok_or_else(none)?)
            }
        };
        match topic_name_problem(name) {
            Some(problem) => Err(problem.to_owned()),
            None => Ok(Self {
                name: name.to_owned(),
                partitions,
                configs: Vec::new(),
            }),
        }
    }
}

impl fmt::Display for DevTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partitions {
            -1 => f.write_str(&self.name),
            partitions => write!(f, "{}:{partitions}", self.name),
        }
    }
}

/// What `dev` does beside a broker, and what it removes when that has ended: by itself or by SIGTERM, SIGINT and SIGHUP.
/// What ends a process at once, as SIGKILL, SIGQUIT and an abort do, leaves it there.
pub(super) struct Dev {
    topics: Vec<DevTopic>,
    ephemeral: bool,
    /// The directory of ephemeral data, while it is there.
    temporary: Option<TempDir>,
    /// The port file, with what was written into it.
    port_file: Option<(PathBuf, Vec<u8>)>,
}

pub(crate) fn run(arguments: &DevArguments) -> ExitCode {
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn serve(arguments: &DevArguments) -> Result<(), Failure> {
    let mut topics = arguments.topics.clone();
    if let Some(path) = &arguments.seed {
        topics.extend(seed::read(path).map_err(usage)?);
    }
    let mut names = HashSet::new();
    if let Some(twice) = topics.iter().find(|topic| !names.insert(&topic.name)) {
        return Err(usage(format!("topic {} is named twice", twice.name)));
    }
    let own = own_settings(arguments.port, arguments.ephemeral);
    let service = Service {
        settings: arguments.settings.with_own(own),
        port_file: arguments.port_file.as_deref(),
        dev: Some(Dev {
            topics,
            ephemeral: arguments.ephemeral,
            temporary: None,
            port_file: None,
        }),
    };
    service.serve()
}

/// Whoever waits for the file must not read what a killed broker left there. That of one that runs stays until this
/// one is ready, and what is no port file is not to become one.
fn forget(port_file: &Path) -> Result<(), Failure> {
    let cannot =
        |what, error| environment(format!("cannot {what} {}: {error}", port_file.display()));
    match ready::look(port_file).map_err(|error| cannot("read", error))? {
        Found::Nothing | Found::Running => Ok(()),
        Found::Left => std::fs::remove_file(port_file).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(cannot("remove", error)),
        }),
        Found::Other => Err(usage(format!(
            "{} is not a port file: it would be written over",
            port_file.display()
        ))),
    }
}

fn own_settings(port: Option<u16>, ephemeral: bool) -> OwnSettings {
    let mut own = OwnSettings::default();
    let defaults = DEFAULTS.iter().copied();
    own.defaults.extend(defaults.map(str::to_owned));
    if port == Some(0) {
        own.defaults.push(ANY_CONSOLE.to_owned());
    }
    if let Some(port) = port {
        let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{port}");
        own.sets.push(listeners);
    }
    if ephemeral {
        let defaults = temporary::DEFAULTS.iter().copied();
        own.defaults.extend(defaults.map(str::to_owned));
    }
    own
}

impl Dev {
    /// Puts away the port file of a killed broker, and makes the directory of ephemeral data: only when the settings
    /// are known to be good, and what would end this process by a signal is caught. What the settings are then.
    ///
    /// # Errors
    /// Where the port file is something else, no directory can be made, or a setting says where the data lies.
    pub(super) fn prepare(
        &mut self,
        port_file: Option<&Path>,
        config: BrokerConfig,
        mut sources: Sources,
    ) -> Result<BrokerConfig, Failure> {
        port_file.map_or(Ok(()), forget)?;
        if !self.ephemeral {
            return Ok(config);
        }
        let cannot = |error| environment(format!("cannot make a directory: {error}"));
        let dir = self
            .temporary
            .insert(temporary::directory().map_err(cannot)?);
        let place = temporary::setting(dir.path()).map_err(environment)?;
        // First, so that another one is noticed.
        sources.sets.insert(0, place);
        let config = BrokerConfig::load(&sources).map_err(usage)?;
        match config.log_dirs == [dir.path()] {
            true => Ok(config),
            false => Err(usage(
                "--ephemeral and log.dirs say two things about where the data lies",
            )),
        }
    }

    /// Makes the topics that are not there.
    ///
    /// # Errors
    /// Where one of them cannot be made.
    pub(super) async fn make_topics(&self, running: &Running) -> Result<(), EmbeddedError> {
        let config = running.broker().config();
        let topics = self.topics.iter().map(|topic| NewTopic {
            partitions: topic.partitions,
            configs: topic.configs.clone(),
            ..NewTopic::with_defaults(&topic.name, config)
        });
        running.make_topics(topics.collect()).await
    }

    /// Notes that the port file was written, and writes the line for programs, but not to people.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub(super) fn announced(&mut self, port_file: Option<&Path>, line: &[u8]) -> io::Result<()> {
        self.port_file = port_file.map(|path| (path.to_owned(), line.to_vec()));
        match io::stdout().is_terminal() {
            true => Ok(()),
            false => ready::print_line(line),
        }
    }

    /// What people are told: where it is, what becomes of the data, and lines to copy, of a topic that it was told of
    /// if there is one.
    pub(super) fn banner(&self, ready: &Ready) -> String {
        let Ready {
            bootstrap,
            listeners,
            data_dir,
            version,
            ..
        } = ready;
        let topic = self.topics.first();
        let topic = topic.map_or("greetings", |topic| topic.name.as_str());
        let made: Vec<String> = self.topics.iter().map(ToString::to_string).collect();
        let made = match made.is_empty() {
            true => "made when they are first used".to_owned(),
            false => format!("{}; others when they are first used", made.join(", ")),
        };
        let kept = match self.ephemeral {
            true => ", gone when this ends; acks=all waits for no disk",
            false => "",
        };
        format!(
            "Tidewheel {version} is ready, for development.\n  \
             listening on  {}\n  \
             console, API  {}\n  \
             data in       {data_dir}{kept}\n  \
             topics        {made}\n  \
             produce       echo hello | tidewheel produce {topic} -b {bootstrap} --create-topic\n  \
             consume       tidewheel consume {topic} -b {bootstrap} -e\n  \
             with kcat     echo hello | kcat -b {bootstrap} -P -t {topic}\n                \
             kcat -b {bootstrap} -C -t {topic} -o beginning -e\n  \
             stop          Ctrl-C\n",
            listeners.join(", "),
            ready.console(),
        )
    }

    /// Removes the port file, if it is still the one that was written, and the data if it is temporary.
    pub(super) fn leave_no_traces(&mut self) -> Traces {
        if let Some((path, line)) = self.port_file.take()
            && std::fs::read(&path).is_ok_and(|found| found == line)
        {
            // Whoever removed it meanwhile did what was to be done.
            drop(std::fs::remove_file(path));
        }
        let Some(dir) = self.temporary.take() else {
            return Traces::Kept;
        };
        // Where the broker did not stop, it may make files meanwhile, and the directory again.
        let dir = dir.keep();
        for _ in 0..REMOVALS_MAX {
            let removed = std::fs::remove_dir_all(&dir);
            #[expect(
                clippy::disallowed_methods,
                reason = "what writes there tells nobody, and the process is about to end"
            )]
            std::thread::sleep(REMOVAL_PAUSE);
            let absent = || matches!(dir.try_exists(), Ok(false));
            if removed.is_ok() && absent() {
                return Traces::Gone;
            }
        }
        Traces::Left(dir)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Traces::Left(dir) = self.leave_no_traces() {
            say(&format!("tidewheel: cannot remove {}", dir.display()));
        }
    }
}

/// What has become of the data at the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Traces {
    /// It is to stay.
    Kept,
    /// It was temporary and is gone.
    Gone,
    /// It was temporary, and some of it is still in this directory.
    Left(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_with_or_without_their_partitions() {
        let topic = |name: &str, partitions| {
            Ok(DevTopic {
                name: name.to_owned(),
                partitions,
                configs: Vec::new(),
            })
        };
        let parsed = |text: &str| text.parse::<DevTopic>();
        assert_eq!(parsed("orders"), topic("orders", -1));
        assert_eq!(parsed("orders:3"), topic("orders", 3));
        assert_eq!(parsed("orders:3").unwrap().to_string(), "orders:3");
        for wrong in [
            "",
            ":3",
            "a b",
            "orders:0",
            "orders:",
            "orders:x",
            "a:1:2",
            "a:99999999999",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_file_that_another_broker_has_written_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port.json");
        let dev = |line: &[u8]| Dev {
            topics: Vec::new(),
            ephemeral: false,
            temporary: None,
            port_file: Some((path.clone(), line.to_vec())),
        };
        std::fs::write(&path, "theirs").unwrap();
        drop(dev(b"ours"));
        assert!(path.exists());
        drop(dev(b"theirs"));
        assert!(!path.exists());
        drop(dev(b"theirs"));
    }

    /// Somebody made the directory again, or its place is out of reach: nobody is told that the data is gone.
    #[test]
    fn data_that_could_not_be_removed_is_not_said_to_be_gone() {
        let dev = |temporary| Dev {
            topics: Vec::new(),
            ephemeral: true,
            temporary,
            port_file: None,
        };
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let path = dir.path().to_owned();
        assert_eq!(dev(Some(dir)).leave_no_traces(), Traces::Gone);
        assert!(!path.exists());
        assert_eq!(dev(None).leave_no_traces(), Traces::Kept);

        // A file in its place cannot be removed as a directory.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "x").unwrap();
        let left = dev(Some(dir)).leave_no_traces();
        assert_eq!(left, Traces::Left(path.clone()));
        std::fs::remove_file(path).unwrap();
    }
}
