//! One run from its topics to its summary.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{ClientError, Cluster, NewTopic, TopicInfo};
use crate::clock::{Clock, wall_ms};
use crate::environment::{Durability, Environment};
use crate::error::BenchError;
use crate::load::consumer::{Assignment, Consumer, Purpose};
use crate::load::producer::{ProducerSetup, Share};
use crate::load::{Phases, Shared, Stop, Worker};
use crate::process::{ProcessWatch, listener};
use crate::recorder::{Interval, Recorder};
use crate::summary::Summary;
use crate::values::Rate;
use crate::workload::{Mode, Workload};

mod collector;
mod progress;

use collector::Collector;
pub(crate) use progress::ProgressKind;

/// Between the last connection and the first record: everybody is ready when the schedule begins.
const LEAD: u64 = 50_000_000;
/// How often figures are collected while a run lasts.
const TICK: u64 = 100_000_000;

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

/// Everybody who takes part, connected.
struct Crew {
    producers: Vec<(ProducerSetup, Share)>,
    followers: Vec<Consumer>,
    catch_up: Vec<Consumer>,
}

/// Runs a workload once.
pub(crate) async fn run(workload: &Workload, options: &RunOptions) -> Result<Outcome, BenchError> {
    workload.check()?;
    let mut cluster = Cluster::connect(&options.brokers, workload.timeout.0).await?;
    let mut topics = Vec::new();
    for name in workload.topic_names() {
        topics.push(find_or_create(&mut cluster, workload, name).await?);
    }
    let durability = match topics.first().filter(|_| workload.mode.produces()) {
        Some(topic) => {
            let settings = cluster.topic_configs(&topic.name).await.ok();
            Durability::of(workload.acks, settings.as_ref())
        }
        None => Durability::Unknown,
    };
    let crew = Crew::assemble(workload, &topics).await?;
    let address = cluster.connection().address().to_owned();
    let pid = options.broker_pid.or_else(|| listener(&address));
    let congestion = match &workload.congestion {
        Some(name) => Some(name.clone()),
        None => cluster.connection().congestion_control(),
    };
    let summary = Summary {
        workload: workload.clone(),
        broker_address: address,
        started_ms: wall_ms(),
        seconds: 0.0,
        interrupted: false,
        asked_per_second: crew.records_per_second(workload),
        throughput: Default::default(),
        counts: Default::default(),
        errors: Default::default(),
        unsent: 0,
        latencies: Default::default(),
        durability,
        broker: None,
        generator: None,
        environment: Environment::read(congestion),
        points: Vec::new(),
    };
    let mut watches = Watches {
        broker: pid.and_then(ProcessWatch::start),
        generator: ProcessWatch::start(std::process::id()),
    };
    crew.work(workload, summary, options, &mut watches).await
}

async fn find_or_create(
    cluster: &mut Cluster,
    workload: &Workload,
    name: String,
) -> Result<TopicInfo, BenchError> {
    let info = match cluster.topic(&name).await {
        Err(error) if error.is_not_found() && workload.create && workload.mode.produces() => {
            let topic = NewTopic {
                name: name.clone(),
                partitions: workload.partitions.unwrap_or(1),
                replicas: -1,
                configs: workload.topic_config.clone(),
            };
            cluster.create_topic(&topic).await?;
            await_leaders(cluster, &name, workload).await?
        }
        found => found?,
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

/// Kafka's brokers hear of a new topic a moment after it was made.
async fn await_leaders(
    cluster: &mut Cluster,
    name: &str,
    workload: &Workload,
) -> Result<TopicInfo, ClientError> {
    let clock = Clock::start();
    loop {
        match cluster.topic(name).await {
            Err(ClientError::Refused { .. } | ClientError::NoLeader { .. })
                if clock.now() < workload.timeout.nanos() =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

impl Crew {
    async fn assemble(workload: &Workload, topics: &[TopicInfo]) -> Result<Self, BenchError> {
        let mut crew = Self {
            producers: Vec::new(),
            followers: Vec::new(),
            catch_up: Vec::new(),
        };
        let purpose = match workload.mode {
            Mode::Consume => Purpose::ReadAll,
            Mode::Produce | Mode::E2e | Mode::Mixed => Purpose::Follow,
        };
        for topic in topics.iter().filter(|_| workload.mode != Mode::Produce) {
            for _ in 0..workload.subscriptions {
                for assignment in divide(topic, workload.consumers) {
                    let consumer = Consumer::open(workload, assignment, purpose).await?;
                    crew.followers.push(consumer);
                }
            }
            for _ in 0..workload.catch_up {
                for assignment in divide(topic, 1) {
                    let consumer = Consumer::open(workload, assignment, Purpose::CatchUp).await?;
                    crew.catch_up.push(consumer);
                }
            }
        }
        if workload.mode == Mode::Consume {
            crew.followers.retain(|consumer| consumer.remaining() > 0);
            if crew.followers.is_empty() {
                return Err(BenchError::usage(
                    "there is nothing to consume: the topic is empty",
                ));
            }
        }
        let count = u64::from(workload.producers) * topics.len() as u64;
        let numbers = topics.iter().flat_map(|topic| {
            let producers = 0..workload.producers;
            producers.map(move |_| topic)
        });
        let numbers = numbers.filter(|_| workload.mode.produces());
        for (index, topic) in (0..).zip(numbers) {
            let share = Share { index, count };
            let setup = ProducerSetup::open(workload, topic, share).await?;
            crew.producers.push((setup, share));
        }
        Ok(crew)
    }

    /// Records that are due per second, over all producers.
    fn records_per_second(&self, workload: &Workload) -> Option<f64> {
        let (first, _) = self.producers.first()?;
        match workload.rate {
            Rate::Max => None,
            Rate::Records(rate) => Some(rate),
            Rate::Bytes(rate) => Some(rate / first.mean_value().max(1.0)),
        }
    }

    async fn work(
        self,
        workload: &Workload,
        mut summary: Summary,
        options: &RunOptions,
        watches: &mut Watches,
    ) -> Result<Outcome, BenchError> {
        let workers = self.producers.len() + self.followers.len() + self.catch_up.len();
        let clock = Clock::start();
        let start = clock.now() + LEAD;
        let warmup = match workload.mode {
            Mode::Consume => 0,
            _ => workload.warmup.nanos(),
        };
        let measure = start.saturating_add(warmup);
        let end = measure.saturating_add(workload.duration.nanos());
        let shared = Arc::new(Shared {
            clock,
            phases: Phases {
                start,
                measure,
                end,
                deadline: end.saturating_add(workload.drain.nanos()),
            },
            recorder: Recorder::new(workers),
            workload: workload.clone(),
            run_id: run_id(),
        });
        let rate = summary.asked_per_second.unwrap_or_default();
        let mut team = Team::start(self, &shared, rate)?;
        let mut collector = Collector::new(Arc::clone(&shared), options.progress);
        let finished = team.oversee(&mut collector, watches).await;
        summary.interrupted = team.interrupted;
        summary.unsent = team.unsent;
        summary.broker = watches.broker.as_ref().map(ProcessWatch::used);
        summary.generator = watches.generator.as_ref().map(ProcessWatch::used);
        let outcome = collector.finish(summary);
        finished.map(|()| outcome)
    }
}

/// The partitions of a topic for so many consumers, each at one broker.
fn divide(topic: &TopicInfo, consumers: u32) -> Vec<Assignment> {
    let mut assignments: Vec<Assignment> = Vec::new();
    for consumer in 0..consumers as usize {
        let before = assignments.len();
        let mine = topic.leaders.iter().skip(consumer);
        for leader in mine.step_by(consumers as usize) {
            let known = assignments[before..]
                .iter_mut()
                .find(|assignment| assignment.leader == leader.address);
            match known {
                Some(assignment) => assignment.partitions.push(leader.partition),
                None => assignments.push(Assignment {
                    topic: topic.name.clone(),
                    leader: leader.address.clone(),
                    partitions: vec![leader.partition],
                }),
            }
        }
    }
    assignments
}

/// Tells this run's records from those of others.
fn run_id() -> u64 {
    let wall = u64::try_from(wall_ms()).unwrap_or_default();
    wall << 22 ^ u64::from(std::process::id())
}

/// The processes that are watched.
struct Watches {
    broker: Option<ProcessWatch>,
    generator: Option<ProcessWatch>,
}

impl Watches {
    fn each(&mut self, call: impl FnMut(&mut ProcessWatch)) {
        [&mut self.broker, &mut self.generator]
            .into_iter()
            .flatten()
            .for_each(call);
    }
}

/// Everybody at work.
struct Team {
    shared: Arc<Shared>,
    producers: JoinSet<Result<u64, BenchError>>,
    consumers: JoinSet<Result<(), BenchError>>,
    /// Ends producers, and consumers that catch up.
    stop_load: watch::Sender<bool>,
    /// Ends the others.
    stop_followers: watch::Sender<bool>,
    unsent: u64,
    interrupted: bool,
    /// When consumers that still wait for records are ended.
    deadline: u64,
    failed: Option<BenchError>,
}

impl Team {
    fn start(crew: Crew, shared: &Arc<Shared>, rate: f64) -> Result<Self, BenchError> {
        let mut team = Self {
            shared: Arc::clone(shared),
            producers: JoinSet::new(),
            consumers: JoinSet::new(),
            stop_load: watch::Sender::new(false),
            stop_followers: watch::Sender::new(false),
            unsent: 0,
            interrupted: false,
            deadline: shared.phases.deadline,
            failed: None,
        };
        let mut numbers = 0..;
        let mut worker = || Worker {
            number: numbers.next().unwrap_or_default(),
            shared: Arc::clone(shared),
        };
        for consumer in crew.followers {
            let stop = Stop(team.stop_followers.subscribe());
            team.consumers.spawn(consumer.run(worker(), stop));
        }
        for consumer in crew.catch_up {
            let stop = Stop(team.stop_load.subscribe());
            team.consumers.spawn(consumer.run(worker(), stop));
        }
        for (setup, share) in crew.producers {
            let producer = setup.start(worker(), share, rate)?;
            let stop = Stop(team.stop_load.subscribe());
            team.producers.spawn(producer.run(stop));
        }
        Ok(team)
    }

    /// Collects figures until everybody is done.
    async fn oversee(
        &mut self,
        collector: &mut Collector,
        watches: &mut Watches,
    ) -> Result<(), BenchError> {
        let interrupts = signal(SignalKind::interrupt());
        let mut interrupts = interrupts.map_err(|source| BenchError::System {
            what: "signals cannot be heard",
            source,
        })?;
        let mut next_tick = self.shared.clock.now();
        while !(self.producers.is_empty() && self.consumers.is_empty()) {
            let now = self.shared.clock.now();
            let wait = std::time::Duration::from_nanos(next_tick.saturating_sub(now));
            // A worker that has ended stays in its set until it is joined; the tick is set anew.
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    let now = self.shared.clock.now();
                    collector.tick(now, watches);
                    self.follow_up(now, collector);
                    next_tick = collector.next_tick(now, TICK);
                }
                Some(joined) = self.producers.join_next() => match joined {
                    Ok(Ok(unsent)) => self.unsent += unsent,
                    Ok(Err(error)) => self.fail(error),
                    Err(error) => self.fail(BenchError::Worker(error.to_string())),
                },
                Some(joined) = self.consumers.join_next() => match joined {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => self.fail(error),
                    Err(error) => self.fail(BenchError::Worker(error.to_string())),
                },
                Some(()) = interrupts.recv() => self.interrupt(),
            }
        }
        collector.tick(self.shared.clock.now(), watches);
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Ends consumers when there is nothing left for them.
    fn follow_up(&mut self, now: u64, collector: &Collector) {
        let phases = &self.shared.phases;
        let consuming_ends = self.shared.workload.mode == Mode::Consume && now >= phases.end;
        let load_ended = self.producers.is_empty() && self.shared.workload.mode.produces();
        if load_ended || consuming_ends {
            self.stop_load.send_replace(true);
        }
        let drained = load_ended && collector.backlog() == 0;
        if drained || consuming_ends || now >= self.deadline {
            self.stop_followers.send_replace(true);
        }
    }

    fn fail(&mut self, error: BenchError) {
        self.failed.get_or_insert(error);
        self.stop_load.send_replace(true);
        self.stop_followers.send_replace(true);
    }

    /// The first Ctrl-C ends the load; what was measured is reported.
    fn interrupt(&mut self) {
        if self.interrupted {
            // Whoever asks twice does not want to wait for answers: 128 + SIGINT, as shells have it.
            std::process::exit(130);
        }
        self.interrupted = true;
        let drain = self.shared.workload.drain.nanos();
        let now = self.shared.clock.now();
        self.deadline = self.deadline.min(now.saturating_add(drain));
        self.stop_load.send_replace(true);
        if !self.shared.workload.mode.produces() {
            self.stop_followers.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Leader;

    #[test]
    fn partitions_are_divided_between_consumers_and_by_leader() {
        let leader = |partition: i32, address: &str| Leader {
            partition,
            address: address.to_owned(),
        };
        let topic = TopicInfo {
            name: "t".to_owned(),
            leaders: vec![
                leader(0, "a"),
                leader(1, "a"),
                leader(2, "b"),
                leader(3, "a"),
            ],
        };
        let divided = |consumers| -> Vec<(String, Vec<i32>)> {
            let parts = divide(&topic, consumers).into_iter();
            parts.map(|one| (one.leader, one.partitions)).collect()
        };
        assert_eq!(
            divided(1),
            [("a".into(), vec![0, 1, 3]), ("b".into(), vec![2])]
        );
        assert_eq!(
            divided(2),
            [
                ("a".into(), vec![0]),
                ("b".into(), vec![2]),
                ("a".into(), vec![1, 3])
            ]
        );
        assert_eq!(divided(9).len(), 4);
    }
}
