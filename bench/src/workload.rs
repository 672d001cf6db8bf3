//! What a run does: one value that flags, our own files and those of the OpenMessaging Benchmark fill in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewheel_config::limits;
use tidewheel_protocol::Compression;

use crate::assertion::Assertion;
use crate::error::BenchError;
use crate::payload::STAMP_BYTES;
use crate::values::{Acks, ByteSize, Codec, Keys, Rate, Span, ValueSize};

mod omb;

/// Which sides take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Producers alone.
    Produce,
    /// Consumers alone, over what the topics hold.
    Consume,
    /// Producers, and consumers that follow them.
    E2e,
    /// The same beside consumers that read everything again from the start.
    Mixed,
    /// What a topic holds, produced once more, at the times its timestamps tell.
    Replay,
    /// Producers whose records are to be delivered later, and consumers that take how much later.
    Delayed,
}

impl Mode {
    /// The name of the subcommand.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::E2e => "e2e",
            Self::Mixed => "mixed",
            Self::Replay => "replay",
            Self::Delayed => "delayed",
        }
    }

    /// Whether records are produced.
    #[must_use]
    pub fn produces(self) -> bool {
        self != Self::Consume
    }

    /// Whether records tell when they were due, for consumers that follow.
    #[must_use]
    pub fn is_stamped(self) -> bool {
        matches!(self, Self::E2e | Self::Mixed | Self::Delayed)
    }

    /// Whether anything is consumed.
    #[must_use]
    pub fn consumes(self) -> bool {
        matches!(
            self,
            Self::Consume | Self::E2e | Self::Mixed | Self::Delayed
        )
    }
}

/// A whole workload. In files the names are those of the flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Workload {
    /// What reports call it.
    pub name: String,
    /// Which sides take part.
    pub mode: Mode,
    /// The topic; with several, the beginning of their names.
    pub topic: String,
    /// How many topics.
    pub topics: u32,
    /// Partitions of each; topics that exist keep theirs. Without it, 1 for new topics.
    pub partitions: Option<i32>,
    /// Settings of topics that are created.
    pub topic_config: BTreeMap<String, String>,
    /// Whether topics that are missing are created.
    pub create: bool,
    /// Producers of each topic.
    pub producers: u32,
    /// Consumers of each topic, between whom its partitions are divided.
    pub consumers: u32,
    /// How often each topic is consumed, by consumers of their own.
    pub subscriptions: u32,
    /// In `mixed`: consumers of each topic that read it from the start, again and again.
    pub catch_up: u32,
    /// Bytes of values that are produced before anything is measured: what consumers begin with.
    pub fill: ByteSize,
    /// In `consume`: begin again at the start until the duration is over.
    pub repeat: bool,
    /// In `replay`: the topic that is read and produced once more.
    pub source: Option<String>,
    /// In `replay`: where that topic is, if not at the brokers of the run.
    pub source_brokers: Vec<String>,
    /// In `replay`: how many times as fast as it was recorded.
    pub speed: f64,
    /// In `delayed`, and `produce`: how far ahead records are dated.
    pub delay: Span,
    /// By how much more, at most and at random.
    pub spread: Span,
    /// All records are due at one moment: the delay after the load ends.
    pub burst: bool,
    /// Through what records are produced and consumed.
    pub client: Client,
    /// What values are.
    pub size: ValueSize,
    /// The share of each value that is random; the rest is zeros.
    pub random_ratio: f64,
    /// How fast records are due, over all producers and topics.
    pub rate: Rate,
    /// How long the measurement lasts. Consuming ends earlier where the end is reached.
    pub duration: Span,
    /// How long the load lasts before the measurement.
    pub warmup: Span,
    /// How long after the measurement answers and consumers are waited for.
    pub drain: Span,
    /// Whose acknowledgement is waited for.
    pub acks: Acks,
    /// Bytes of a batch, at most.
    pub batch_bytes: ByteSize,
    /// How long records that are due wait for others to fill a batch.
    pub linger: Span,
    /// Requests without an answer that one producer may have at each broker.
    pub in_flight: u32,
    /// The codec of batches.
    pub compression: Codec,
    /// Which keys records have.
    pub keys: Keys,
    /// From what everything random follows.
    pub seed: u64,
    /// How long a broker may take to answer.
    pub timeout: Span,
    /// Bytes that a fetch asks of a partition, at most.
    pub fetch_bytes: ByteSize,
    /// The congestion control of the bench's own sockets; the broker's are its own affair.
    pub congestion: Option<String>,
    /// What `versus` should show, as assertions: `cpu_per_gb>=6x`.
    pub goals: Vec<String>,
}

/// Through what records are produced and consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// The bench's own: batches made beforehand, so that it costs little.
    #[default]
    Native,
    /// librdkafka, record by record, as an application uses it.
    Librdkafka,
}

impl Client {
    /// Its name in flags and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Librdkafka => "librdkafka",
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            name: String::new(),
            mode: Mode::Produce,
            topic: "tidewheel-bench".to_owned(),
            topics: 1,
            partitions: None,
            topic_config: BTreeMap::new(),
            create: true,
            producers: 1,
            consumers: 1,
            subscriptions: 1,
            catch_up: 0,
            fill: ByteSize(0),
            repeat: false,
            source: None,
            source_brokers: Vec::new(),
            speed: 1.0,
            delay: Span(Duration::ZERO),
            spread: Span(Duration::ZERO),
            burst: false,
            client: Client::Native,
            size: ValueSize::Fixed(1024),
            random_ratio: 0.5,
            rate: Rate::Max,
            duration: Span(Duration::from_secs(10)),
            warmup: Span(Duration::from_secs(2)),
            drain: Span(Duration::from_secs(10)),
            acks: Acks::All,
            batch_bytes: ByteSize(64 * 1024),
            linger: Span(Duration::ZERO),
            in_flight: 5,
            compression: Codec(Compression::None),
            keys: Keys::None,
            seed: 1,
            timeout: Span(Duration::from_secs(30)),
            fetch_bytes: ByteSize(1024 * 1024),
            congestion: None,
            goals: Vec::new(),
        }
    }
}

impl Workload {
    /// Reads a workload file: YAML is the OpenMessaging Benchmark's, anything else our own TOML.
    ///
    /// # Errors
    /// Where the file cannot be read, or is no workload.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = read_text(path)?;
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        let mut workload = if is_yaml {
            omb::parse(&text, path)?
        } else {
            toml::from_str(&text).map_err(|error| BenchError::Content {
                path: path.into(),
                what: error.to_string(),
            })?
        };
        if workload.name.is_empty() {
            let stem = path.file_stem().unwrap_or_default();
            workload.name = stem.to_string_lossy().into_owned();
        }
        Ok(workload)
    }

    /// Checks what no single value shows.
    ///
    /// # Errors
    /// With a sentence about the first contradiction.
    pub fn check(&self) -> Result<(), BenchError> {
        let rules = self.sizes().into_iter().chain(self.parts());
        for (holds, sentence) in rules {
            if !holds {
                return Err(BenchError::usage(sentence));
            }
        }
        for goal in &self.goals {
            let parsed: Result<Assertion, _> = goal.parse();
            parsed.map_err(|error| BenchError::usage(error.to_string()))?;
        }
        Ok(())
    }

    /// Whether numbers are within their bounds.
    fn sizes(&self) -> [(bool, &'static str); 9] {
        let workers = 1..=limits::BENCH_WORKERS_MAX;
        [
            (
                workers.contains(&self.producers) && workers.contains(&self.consumers),
                "there must be between 1 and 10000 producers and consumers",
            ),
            (
                workers.contains(&self.topics) && workers.contains(&self.subscriptions),
                "there must be between 1 and 10000 topics and subscriptions",
            ),
            (
                self.partitions.is_none_or(|partitions| partitions > 0),
                "there must be at least one partition",
            ),
            (
                (1..=1000).contains(&self.in_flight),
                "between 1 and 1000 requests may be in flight",
            ),
            (
                !self.duration.0.is_zero(),
                "the duration must be longer than nothing",
            ),
            (
                (0.0..=1.0).contains(&self.random_ratio),
                "the random ratio is a share from 0 to 1",
            ),
            (
                (100..=limits::BENCH_BATCH_BYTES_MAX).contains(&self.batch_bytes.0),
                "a batch has between 100 bytes and 64 MiB",
            ),
            (
                (1024..=limits::BENCH_BATCH_BYTES_MAX).contains(&self.fetch_bytes.0),
                "a fetch asks for between 1 KiB and 64 MiB of a partition",
            ),
            (
                self.value_size_max() <= limits::BENCH_VALUE_BYTES_MAX,
                "a value has at most 64 MiB",
            ),
        ]
    }

    /// Whether everything that is asked for belongs to the mode.
    fn parts(&self) -> [(bool, &'static str); 11] {
        let is_ahead = !self.delay.0.is_zero();
        [
            (
                self.mode != Mode::Delayed || is_ahead,
                "delayed needs a --delay that is longer than nothing",
            ),
            (
                !is_ahead
                    || matches!(self.mode, Mode::Delayed | Mode::Produce)
                        && self.client == Client::Native,
                "--delay is for delayed and produce, with the native client",
            ),
            (
                is_ahead || self.spread.0.is_zero() && !self.burst,
                "--spread and --burst need a --delay",
            ),
            (
                self.catch_up <= limits::BENCH_WORKERS_MAX
                    && (self.mode == Mode::Mixed) == (self.catch_up > 0),
                "catch-up consumers belong to mixed, which has at least one",
            ),
            (
                !self.mode.is_stamped() || self.value_size_min() >= STAMP_BYTES as u64,
                "end-to-end latency needs values of at least 16 bytes, which carry the time",
            ),
            (
                !self.mode.is_stamped() || self.acks != Acks::None,
                "end-to-end runs need acks=1 or acks=all, to know what to wait for",
            ),
            (
                !self.repeat || self.mode == Mode::Consume,
                "to begin again at the start is for consume",
            ),
            (
                self.fill.0 == 0 || !matches!(self.mode, Mode::Produce | Mode::Replay),
                "only consumers find what was filled in before: produce and replay have none",
            ),
            (
                (self.mode == Mode::Replay) == self.source.is_some(),
                "replay, and nothing else, needs --source, the topic that is produced once more",
            ),
            (
                self.mode != Mode::Replay || self.rate == Rate::Max && self.speed > 0.0,
                "replay keeps the times of its source: it has a speed above 0 and no rate",
            ),
            (
                self.client == Client::Native
                    || !self.repeat
                        && matches!(self.mode, Mode::Produce | Mode::Consume | Mode::E2e),
                "librdkafka takes part in produce, consume without --repeat, and e2e",
            ),
        ]
    }

    fn value_size_min(&self) -> u64 {
        match &self.size {
            ValueSize::Fixed(bytes) | ValueSize::Uniform(bytes, _) => *bytes,
            // Known when the file is read; checked there.
            ValueSize::File(_) => u64::MAX,
        }
    }

    fn value_size_max(&self) -> u64 {
        match &self.size {
            ValueSize::Fixed(bytes) | ValueSize::Uniform(_, bytes) => *bytes,
            ValueSize::File(_) => 0,
        }
    }

    /// Settings of topics that are created: those asked for, and delays where records are dated ahead.
    #[must_use]
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.topic_config.clone();
        if !self.delay.0.is_zero() {
            let mode = settings.entry("delay.mode".to_owned());
            mode.or_insert_with(|| "timestamp".to_owned());
        }
        settings
    }

    /// The names of the topics.
    #[must_use]
    pub fn topic_names(&self) -> Vec<String> {
        match self.topics {
            1 => vec![self.topic.clone()],
            count => (0..count)
                .map(|number| format!("{}-{number}", self.topic))
                .collect(),
        }
    }

    /// Whether sending waits for answers, so that stalls hide themselves.
    #[must_use]
    pub fn is_closed_loop(&self) -> bool {
        self.rate == Rate::Max && self.mode.produces() && self.mode != Mode::Replay
    }

    /// One line that says what it does.
    #[must_use]
    pub fn headline(&self) -> String {
        let sides = match self.mode {
            Mode::Produce => format!("{}p", self.producers),
            Mode::Consume => format!("{}c", self.consumers),
            Mode::E2e | Mode::Delayed => {
                format!("{}p→{}c", self.producers, self.consumers)
            }
            Mode::Mixed => format!(
                "{}p→{}c+{} catching up",
                self.producers, self.consumers, self.catch_up
            ),
            Mode::Replay => format!("{}p", self.producers),
        };
        let mode = self.mode.name();
        let client = match self.client {
            Client::Native => String::new(),
            other => format!(" through {}", other.name()),
        };
        let ahead = match (self.delay.0.is_zero(), self.burst) {
            (true, _) => String::new(),
            (false, true) => format!(" due at once, {} after the load", self.delay),
            (false, false) if self.spread.0.is_zero() => format!(" due {} later", self.delay),
            (false, false) => format!(" due {} to {} more later", self.delay, self.spread),
        };
        match (&self.source, self.mode) {
            (_, Mode::Consume) => format!("{mode} {} {sides}{client}", self.topic),
            (Some(source), _) => format!(
                "{mode} {source}→{} {sides} at {}x acks={}",
                self.topic, self.speed, self.acks
            ),
            (None, _) => format!(
                "{mode} {} {sides} {} @{} acks={}{client}{ahead}",
                self.topic,
                self.size.describe(),
                self.rate.describe(),
                self.acks
            ),
        }
    }
}

/// Reads a text file of bounded size.
pub(crate) fn read_text(path: &Path) -> Result<String, BenchError> {
    let cannot = |source| BenchError::File {
        path: path.into(),
        source,
    };
    if std::fs::metadata(path).map_err(cannot)?.len() > limits::BENCH_FILE_BYTES_MAX {
        return Err(BenchError::Content {
            path: path.into(),
            what: "the file is too large".to_owned(),
        });
    }
    std::fs::read_to_string(path).map_err(cannot)
}

#[cfg(test)]
mod tests;
