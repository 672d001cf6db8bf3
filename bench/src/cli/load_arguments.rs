//! The flags that describe a load. Each that is given wins over the workload file.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::BenchError;
use crate::values::{Acks, ByteSize, Codec, Keys, Rate, Span, ValueSize};
use crate::workload::{Client, Mode, Workload};

/// How far ahead `delayed` dates records unless it is told.
const DELAY: Span = Span(std::time::Duration::from_secs(5));

/// Flags of a load.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LoadArguments {
    /// Begin with this file: TOML with the names of these flags, or YAML of the OpenMessaging Benchmark
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// The topic; with --topics, the beginning of the topics' names [tidewheel-bench]
    #[arg(short, long)]
    topic: Option<String>,
    /// How many topics [1]
    #[arg(long)]
    topics: Option<u32>,
    /// Partitions of topics that are created [1]
    #[arg(short, long)]
    partitions: Option<i32>,
    /// A setting of topics that are created (several times)
    #[arg(long, value_name = "KEY=VALUE")]
    topic_config: Vec<String>,
    /// Use only topics that exist
    #[arg(long)]
    no_create: bool,
    /// Producers of each topic [1]
    #[arg(long)]
    producers: Option<u32>,
    /// Consumers of each topic, which share its partitions [1]
    #[arg(long)]
    consumers: Option<u32>,
    /// How often each topic is consumed, by consumers of their own [1]
    #[arg(long)]
    subscriptions: Option<u32>,
    /// In mixed: consumers of each topic that read it from the start again and again [1]
    #[arg(long)]
    catch_up: Option<u32>,
    /// Before the measurement, produce so many bytes for the consumers to begin with [0]
    #[arg(long, value_name = "BYTES")]
    fill: Option<ByteSize>,
    /// In consume: begin again at the start until the duration is over
    #[arg(long)]
    repeat: bool,
    /// In replay: the topic whose records are produced once more
    #[arg(long, value_name = "TOPIC")]
    source: Option<String>,
    /// In replay: the brokers that have that topic [those of --brokers]
    #[arg(long, value_name = "BROKERS", value_delimiter = ',')]
    source_brokers: Vec<String>,
    /// In replay: how many times as fast as it was recorded [1]
    #[arg(long)]
    speed: Option<f64>,
    /// How far ahead records are dated, on topics made for that [delayed: 5s]
    #[arg(long)]
    delay: Option<Span>,
    /// By how much more, at most and at random [0s]
    #[arg(long)]
    spread: Option<Span>,
    /// Date all records for one moment: the delay after the load ends
    #[arg(long)]
    burst: bool,
    /// Through what to produce and consume [native]
    #[arg(long, value_enum)]
    client: Option<Client>,
    /// Bytes of a value: 1KiB, dist:uniform:MIN:MAX, or file:PATH for its content [1KiB]
    #[arg(short, long)]
    size: Option<ValueSize>,
    /// The share of each value that is random, the rest being zeros [0.5]
    #[arg(long)]
    random_ratio: Option<f64>,
    /// Records due per second, an open loop: 50k/s or 100MiB/s; max is a closed loop [max]
    #[arg(short, long)]
    rate: Option<Rate>,
    /// How long to measure [10s]
    #[arg(short, long)]
    duration: Option<Span>,
    /// How long to load before [2s]
    #[arg(long)]
    warmup: Option<Span>,
    /// How long to wait for answers and consumers at the end [10s]
    #[arg(long)]
    drain: Option<Span>,
    /// 0, 1 or all [all]
    #[arg(short, long)]
    acks: Option<Acks>,
    /// Bytes of a batch, at most [64KiB]
    #[arg(long)]
    batch_bytes: Option<ByteSize>,
    /// How long a record that is due waits for others [0s]
    #[arg(long)]
    linger: Option<Span>,
    /// Unanswered requests of a producer at each broker, at most [5]
    #[arg(long)]
    in_flight: Option<u32>,
    /// none, gzip, snappy, lz4 or zstd [none]
    #[arg(short = 'z', long)]
    compression: Option<Codec>,
    /// none, rr[:COUNT] or zipf:EXPONENT[:COUNT] [none]
    #[arg(short, long)]
    keys: Option<Keys>,
    /// From what everything random follows [1]
    #[arg(long)]
    seed: Option<u64>,
    /// How long a broker may take to answer [30s]
    #[arg(long)]
    timeout: Option<Span>,
    /// Bytes that a fetch asks of a partition, at most [1MiB]
    #[arg(long)]
    fetch_bytes: Option<ByteSize>,
    /// Congestion control of the bench's sockets; the broker's follow the system [the system's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
}

/// Puts a flag that was given in its place.
fn set<T: Clone>(place: &mut T, given: &Option<T>) {
    if let Some(value) = given {
        place.clone_from(value);
    }
}

impl LoadArguments {
    /// The workload of the file, with the flags over it; `mode` is that of the subcommand.
    pub(crate) fn workload(&self, mode: Option<Mode>) -> Result<Workload, BenchError> {
        self.over(self.workload.as_deref(), mode)
    }

    /// The workload of `file`, with the flags over it.
    pub(crate) fn over(
        &self,
        file: Option<&Path>,
        mode: Option<Mode>,
    ) -> Result<Workload, BenchError> {
        let mut workload = match file {
            Some(path) => Workload::read(path)?,
            None => Workload::default(),
        };
        self.put_scene(&mut workload, mode)?;
        self.put_load(&mut workload);
        workload.check()?;
        Ok(workload)
    }

    /// Who takes part, and where.
    fn put_scene(&self, workload: &mut Workload, mode: Option<Mode>) -> Result<(), BenchError> {
        set(&mut workload.mode, &mode);
        set(&mut workload.topic, &self.topic);
        set(&mut workload.topics, &self.topics);
        workload.partitions = self.partitions.or(workload.partitions);
        for pair in &self.topic_config {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| BenchError::usage(format!("{pair:?} is not KEY=VALUE")))?;
            workload
                .topic_config
                .insert(key.to_owned(), value.to_owned());
        }
        workload.create &= !self.no_create;
        set(&mut workload.producers, &self.producers);
        set(&mut workload.consumers, &self.consumers);
        set(&mut workload.subscriptions, &self.subscriptions);
        if workload.mode == Mode::Mixed && workload.catch_up == 0 {
            workload.catch_up = 1;
        }
        set(&mut workload.catch_up, &self.catch_up);
        set(&mut workload.fill, &self.fill);
        workload.repeat |= self.repeat;
        if self.source.is_some() {
            workload.source.clone_from(&self.source);
        }
        if !self.source_brokers.is_empty() {
            workload.source_brokers.clone_from(&self.source_brokers);
        }
        set(&mut workload.speed, &self.speed);
        if workload.mode == Mode::Delayed && workload.delay.0.is_zero() {
            workload.delay = DELAY;
        }
        set(&mut workload.delay, &self.delay);
        set(&mut workload.spread, &self.spread);
        workload.burst |= self.burst;
        set(&mut workload.client, &self.client);
        Ok(())
    }

    /// What is sent, how fast and for how long.
    fn put_load(&self, workload: &mut Workload) {
        set(&mut workload.size, &self.size);
        set(&mut workload.random_ratio, &self.random_ratio);
        set(&mut workload.rate, &self.rate);
        set(&mut workload.duration, &self.duration);
        set(&mut workload.warmup, &self.warmup);
        set(&mut workload.drain, &self.drain);
        set(&mut workload.acks, &self.acks);
        set(&mut workload.batch_bytes, &self.batch_bytes);
        set(&mut workload.linger, &self.linger);
        set(&mut workload.in_flight, &self.in_flight);
        set(&mut workload.compression, &self.compression);
        set(&mut workload.keys, &self.keys);
        set(&mut workload.seed, &self.seed);
        set(&mut workload.timeout, &self.timeout);
        set(&mut workload.fetch_bytes, &self.fetch_bytes);
        if self.congestion.is_some() {
            workload.congestion.clone_from(&self.congestion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.toml");
        std::fs::write(&path, "mode = 'e2e'\nrate = '5/s'\nproducers = 7\n").unwrap();
        let arguments = LoadArguments {
            workload: Some(path),
            rate: Some(Rate::Max),
            topic_config: vec!["a=b=c".to_owned()],
            ..LoadArguments::default()
        };
        let workload = arguments.workload(Some(Mode::Produce)).unwrap();
        assert_eq!(workload.mode, Mode::Produce);
        assert_eq!(workload.rate, Rate::Max);
        assert_eq!(workload.producers, 7);
        assert_eq!(workload.topic_config["a"], "b=c");
        assert_eq!(arguments.workload(None).unwrap().mode, Mode::E2e);
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArguments,
    }

    /// The workload of a command line.
    fn parse(mode: Mode, line: &str) -> Workload {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
        line.load.workload(Some(mode)).unwrap()
    }

    #[test]
    fn every_flag_reaches_the_workload() {
        let line = "-t a --topics 2 -p 3 --topic-config x=y --no-create --producers 4 --consumers 5 \
                    --subscriptions 6 --fill 1MiB --size 2KiB --random-ratio 0.25 --rate 7k/s \
                    --duration 8s --warmup 9s --drain 10s --acks 1 --batch-bytes 16KiB \
                    --linger 11ms --in-flight 12 -z lz4 --keys rr:13 --seed 14 --timeout 15s \
                    --fetch-bytes 2MiB --congestion reno --client native";
        let workload = parse(Mode::E2e, line);
        let span = |seconds| Span(std::time::Duration::from_secs(seconds));
        let expected = Workload {
            mode: Mode::E2e,
            topic: "a".to_owned(),
            topics: 2,
            partitions: Some(3),
            topic_config: [("x".to_owned(), "y".to_owned())].into(),
            create: false,
            producers: 4,
            consumers: 5,
            subscriptions: 6,
            fill: ByteSize(1 << 20),
            size: ValueSize::Fixed(2048),
            random_ratio: 0.25,
            rate: Rate::Records(7000.0),
            duration: span(8),
            warmup: span(9),
            drain: span(10),
            acks: Acks::Leader,
            batch_bytes: ByteSize(16 << 10),
            linger: Span(std::time::Duration::from_millis(11)),
            in_flight: 12,
            compression: Codec(tidewheel_protocol::Compression::Lz4),
            keys: Keys::RoundRobin(13),
            seed: 14,
            timeout: span(15),
            fetch_bytes: ByteSize(2 << 20),
            congestion: Some("reno".to_owned()),
            ..Workload::default()
        };
        assert_eq!(workload, expected);
        assert_eq!(parse(Mode::Mixed, "--catch-up 3").catch_up, 3);
        let delayed = parse(Mode::Delayed, "--spread 2s --burst");
        assert_eq!((delayed.delay, delayed.burst), (DELAY, true));
        assert_eq!(delayed.settings()["delay.mode"], "timestamp");
        assert!(parse(Mode::Consume, "--repeat").repeat);
        let replay = parse(
            Mode::Replay,
            "--source s --source-brokers h:1,h:2 --speed 2.5",
        );
        assert_eq!(replay.source.as_deref(), Some("s"));
        assert_eq!(replay.source_brokers, ["h:1", "h:2"]);
        assert!((replay.speed - 2.5).abs() < 1e-9);
        assert_eq!(
            parse(Mode::Produce, "--client librdkafka").client,
            Client::Librdkafka
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let arguments = LoadArguments {
            topic_config: vec!["nothing".to_owned()],
            ..LoadArguments::default()
        };
        assert_eq!(arguments.workload(None).unwrap_err().exit_code(), 2);
    }
}
