//! One run from its topics to its summary.

use std::sync::Arc;

use crate::client::{ClientError, Cluster, Connection, NewTopic, TopicInfo, list_offsets};
use crate::clock::{Clock, wall_ms};
use crate::environment::{Durability, Environment};
use crate::error::BenchError;
use crate::load::recording::Recording;
use crate::load::{Phases, Shared};
use crate::process::{HostTicks, ProcessWatch, listener};
use crate::recorder::{Interval, Recorder};
use crate::summary::Summary;
use crate::values::{Acks, ByteSize, Rate, Span};
use crate::workload::{Client, Mode, Workload};

mod collector;
mod crew;
mod progress;
mod team;

use collector::Collector;
use crew::{Crew, divide};
pub(crate) use progress::ProgressKind;
use team::{Team, Watches};

/// Between the last connection and the first record: everybody is ready when the schedule begins.
const LEAD: u64 = 50_000_000;
/// How often figures are collected while a run lasts.
const TICK: u64 = 100_000_000;
/// How long filling in what consumers begin with may take.
const FILL_MAX: Span = Span(std::time::Duration::from_secs(3600));

/// What a run needs beside its workload.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    pub(crate) brokers: Vec<String>,
    /// The broker's process, where it is on this host; looked for where not given.
    pub(crate) broker_pid: Option<u32>,
    pub(crate) progress: ProgressKind,
}

/// What a run leaves.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) summary: Summary,
    /// The latencies of the whole measurement.
    pub(crate) total: Interval,
    /// The log of its intervals, in the format of HdrHistogram's tools.
    pub(crate) interval_log: Vec<u8>,
}

/// Runs a workload once.
pub(crate) async fn run(workload: &Workload, options: &RunOptions) -> Result<Outcome, BenchError> {
    workload.check()?;
    let mut cluster = Cluster::connect(&options.brokers, workload.timeout.0).await?;
    let recording = match workload.mode {
        Mode::Replay => Some(Recording::read(workload, &options.brokers).await?),
        _ => None,
    };
    let partitions = recording.as_ref().map_or(1, Recording::partitions);
    let mut topics = Vec::new();
    for name in workload.topic_names() {
        topics.push(find_or_create(&mut cluster, workload, name, partitions).await?);
    }
    let mut summary = begin(workload, &mut cluster, &topics).await;
    let mut filled = 0;
    if workload.mode == Mode::Consume {
        filled = fill(workload, &topics, options).await?;
    }
    let crew = Crew::assemble(workload, &options.brokers, &topics, recording).await?;
    if workload.mode != Mode::Consume {
        // Whoever follows begins before it.
        filled = fill(workload, &topics, options).await?;
    }
    summary.asked_per_second = crew.records_per_second(workload);
    let pid = options.broker_pid;
    let pid = pid.or_else(|| listener(&summary.broker_address));
    let mut watches = Watches {
        broker: pid.and_then(ProcessWatch::start),
        generator: ProcessWatch::start(std::process::id()),
        host: HostTicks::now(),
    };
    work(crew, filled, summary, options, &mut watches).await
}

/// A summary with everything that is known before the load.
async fn begin(workload: &Workload, cluster: &mut Cluster, topics: &[TopicInfo]) -> Summary {
    let durability = match topics.first().filter(|_| workload.mode.produces()) {
        Some(topic) => {
            let settings = cluster.topic_configs(&topic.name).await.ok();
            Durability::of(workload.acks, settings.as_ref())
        }
        None => Durability::Unknown,
    };
    let congestion = match &workload.congestion {
        Some(name) => Some(name.clone()),
        None => cluster.connection().congestion_control(),
    };
    let mut environment = Environment::read(congestion);
    environment.look_at_broker(cluster).await;
    Summary {
        workload: workload.clone(),
        broker_address: cluster.connection().address().to_owned(),
        started_ms: wall_ms(),
        seconds: 0.0,
        interrupted: false,
        asked_per_second: None,
        throughput: Default::default(),
        counts: Default::default(),
        errors: Default::default(),
        unsent: 0,
        unconsumed: 0,
        stolen_percent: None,
        latencies: Default::default(),
        durability,
        broker: None,
        generator: None,
        environment,
        points: Vec::new(),
    }
}

/// Lets everybody work, and sums up.
async fn work(
    crew: Crew,
    filled: u64,
    mut summary: Summary,
    options: &RunOptions,
    watches: &mut Watches,
) -> Result<Outcome, BenchError> {
    let workload = &summary.workload;
    let workers = crew.len();
    let clock = Clock::start();
    let start = clock.now() + LEAD;
    let warmup = match workload.mode {
        // There is no more of it than there is.
        Mode::Consume if !workload.repeat => 0,
        Mode::Replay => 0,
        _ => workload.warmup.nanos(),
    };
    let measure = start.saturating_add(warmup);
    let end = measure.saturating_add(workload.duration.nanos());
    let longest = match workload.mode {
        Mode::Delayed => workload.delay.nanos() + workload.spread.nanos(),
        _ => 0,
    };
    let shared = Arc::new(Shared {
        clock,
        phases: Phases {
            start,
            measure,
            end,
            deadline: end
                .saturating_add(longest)
                .saturating_add(workload.drain.nanos()),
        },
        recorder: Recorder::new(workers),
        workload: workload.clone(),
        run_id: run_id(),
        filled,
    });
    let rate = summary.asked_per_second.unwrap_or_default();
    let mut team = Team::start(crew, &shared, rate)?;
    let mut collector = Collector::new(Arc::clone(&shared), options.progress);
    let finished = team.oversee(&mut collector, watches).await;
    summary.interrupted = team.interrupted;
    summary.unsent = team.unsent;
    let outcome = collector.finish(summary, watches);
    finished.map(|()| outcome)
}

/// Produces what consumers begin with, unmeasured, and returns how many records that are.
async fn fill(
    workload: &Workload,
    topics: &[TopicInfo],
    options: &RunOptions,
) -> Result<u64, BenchError> {
    if workload.fill.0 == 0 {
        return Ok(0);
    }
    let moment = Span(std::time::Duration::from_millis(1));
    let mut filling = Workload {
        mode: Mode::Produce,
        client: Client::Native,
        acks: Acks::Leader,
        fill: ByteSize(0),
        repeat: false,
        catch_up: 0,
        delay: Span(std::time::Duration::ZERO),
        spread: Span(std::time::Duration::ZERO),
        burst: false,
        duration: moment,
        warmup: Span(std::time::Duration::ZERO),
        linger: Span(std::time::Duration::ZERO),
        drain: FILL_MAX,
        ..workload.clone()
    };
    let crew = Crew::assemble(&filling, &options.brokers, topics, None).await?;
    let mean = crew.mean_value().unwrap_or(1.0).max(1.0);
    let records = (workload.fill.0 as f64 / mean).ceil();
    // All of it is due in the first moment; what answers allow is how fast it goes.
    filling.rate = Rate::Records(records / moment.0.as_secs_f64());
    let mut cluster = Cluster::connect(&options.brokers, workload.timeout.0).await?;
    let mut summary = begin(&filling, &mut cluster, &[]).await;
    summary.asked_per_second = crew.records_per_second(&filling);
    let silent = RunOptions {
        progress: ProgressKind::Silent,
        ..options.clone()
    };
    let mut nobody = Watches {
        broker: None,
        generator: None,
        host: None,
    };
    let outcome = work(crew, 0, summary, &silent, &mut nobody).await?;
    match outcome.summary.failures() {
        0 if !outcome.summary.interrupted => Ok(crate::values::whole(records)),
        lost => Err(BenchError::NotFilled { lost }),
    }
}

async fn find_or_create(
    cluster: &mut Cluster,
    workload: &Workload,
    name: String,
    partitions: i32,
) -> Result<TopicInfo, BenchError> {
    let brings_records = workload.mode.produces() || workload.fill.0 > 0;
    let info = match cluster.topic(&name).await {
        Err(error) if error.is_not_found() && workload.create && brings_records => {
            let topic = NewTopic {
                name: name.clone(),
                partitions: workload.partitions.unwrap_or(partitions),
                replicas: -1,
                configs: workload.settings(),
            };
            cluster.create_topic(&topic).await?;
            await_leaders(cluster, &name, workload).await?
        }
        found => {
            let info = found?;
            check_settings(cluster, workload, &name).await?;
            info
        }
    };
    match workload.partitions {
        Some(asked) if usize::try_from(asked) != Ok(info.leaders.len()) => {
            Err(BenchError::usage(format!(
                "topic {name} has {} partitions, not {asked}: name another topic or leave \
                 --partitions out",
                info.leaders.len()
            )))
        }
        _ => Ok(info),
    }
}

/// A topic that was there has the settings that the workload asks for: another would measure something else.
async fn check_settings(
    cluster: &mut Cluster,
    workload: &Workload,
    name: &str,
) -> Result<(), BenchError> {
    let wanted = workload.settings();
    if wanted.is_empty() {
        return Ok(());
    }
    let has = cluster.topic_configs(name).await?;
    match wanted
        .iter()
        .find(|(key, value)| has.get(*key) != Some(value))
    {
        Some((key, value)) => Err(BenchError::usage(format!(
            "topic {name} has {key}={:?}, not {value:?}: name another topic or leave the setting out",
            has.get(key).map_or("", String::as_str),
        ))),
        None => Ok(()),
    }
}

/// Kafka's brokers hear of a new topic a moment after it was made, and that they lead its partitions
/// another moment later.
async fn await_leaders(
    cluster: &mut Cluster,
    name: &str,
    workload: &Workload,
) -> Result<TopicInfo, ClientError> {
    let clock = Clock::start();
    loop {
        let found = match cluster.topic(name).await {
            Ok(topic) => ask_leaders(&topic, workload).await.map(|()| topic),
            Err(error) => Err(error),
        };
        match found {
            Err(ClientError::Refused { .. } | ClientError::NoLeader { .. })
                if clock.now() < workload.timeout.nanos() =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

/// Asks every leader for the ends of its partitions, which it knows once it leads them.
async fn ask_leaders(topic: &TopicInfo, workload: &Workload) -> Result<(), ClientError> {
    const AT_END: i64 = -1;
    let timeout = workload.timeout.0;
    for one in divide(topic, 1) {
        let mut leader = Connection::open(&one.leader, timeout).await?;
        list_offsets(&mut leader, &one.topic, &one.partitions, AT_END, timeout).await?;
    }
    Ok(())
}

/// Tells this run's records from those of others.
fn run_id() -> u64 {
    let wall = u64::try_from(wall_ms()).unwrap_or_default();
    wall << 22 ^ u64::from(std::process::id())
}
