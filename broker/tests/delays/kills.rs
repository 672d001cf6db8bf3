//! Many producers of delayed records while the broker is killed again and again: what was acknowledged comes
//! once and never early, what an idempotent producer sends again comes once.
//!
//! It has room for few records in memory and writes checkpoints all the time, so that records go through
//! files, and is killed in the middle of each step that moves them, of starts, and of stops. After kills an
//! auditor reads the files of the partitions' logs and nothing else.
//!
//! `TIDEWHEEL_KILL_ROUNDS` sets the number of rounds. More follow until it was killed inside each kind of step.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::delay_watch::{EVENTS, Event, OF_A_START, Watch};
use crate::delays::{Asked, audit, batch, due_in, stored};
use crate::support::{Broker, Client, eventually, now_ms, produce_request, tidewheel};
use bytes::Bytes;
use tidewheel_protocol::messages::produce::ProduceResponse;
use tidewheel_storage::delay::DelayKey;

const TOPIC: &str = "t";
const PARTITIONS: i32 = 2;
const PRODUCERS: i64 = 6;
/// With the kills in the middle of the starts of so many rounds that makes some 50.
const ROUNDS: usize = 20;
/// Kills, those in the middle of starts among them.
const KILLS_MIN: usize = 50;
/// Rounds that may follow, until there were so many kills and each event was one of them.
const MORE_ROUNDS_MAX: usize = 100;
/// Acknowledgements after which a round ends whose moment did not come.
const ACKS_MAX: usize = 300;
const SETTINGS: [&str; 3] = [
    // One flush in ten seconds: a kill keeps what was only written.
    "tidewheel.flush.interval.ms=10000",
    "tidewheel.delay.near.records.max=12",
    "log.flush.offset.checkpoint.interval.ms=30",
];

/// When a round ends.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// After so many acknowledgements.
    Acks(usize),
    /// At the n-th of these events.
    At(Event, u64),
    /// The same while the broker stops.
    WhileStopping(Event, u64),
}

impl Moment {
    fn name(self) -> String {
        match self {
            Self::Acks(_) => "under load".to_owned(),
            Self::At(event, _) => event.name.to_owned(),
            Self::WhileStopping(event, _) => format!("{}, while it stops", event.name),
        }
    }

    /// All kinds in turn.
    fn nth(round: usize, random: &mut Random) -> Self {
        let nth = |random: &mut Random, bound| random.below(bound).cast_unsigned() + 1;
        let stops = [EVENTS[0], EVENTS[5], EVENTS[6], EVENTS[7]];
        let kinds = EVENTS.len() + 3;
        match round % kinds {
            0 | 1 => Self::Acks(size(1 + random.below(60))),
            2 => Self::WhileStopping(stops[round / kinds % stops.len()], nth(random, 3)),
            kind => Self::At(EVENTS[kind - 3], nth(random, 12)),
        }
    }
}

fn size(number: i64) -> usize {
    usize::try_from(number).unwrap()
}

/// A small generator of repeatable numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        i64::try_from((z ^ (z >> 31)) >> 1).unwrap() % bound
    }
}

/// One of the producers; those with an even number are idempotent and send again what was not answered.
struct Producer {
    number: i64,
    random: Random,
    sent: i64,
    sequence: i32,
    /// The values of each batch that was acknowledged, or was sent and not answered.
    acked: Vec<String>,
    tried: Vec<String>,
    /// To be sent again.
    unanswered: Option<(Bytes, Vec<String>)>,
}

impl Producer {
    fn new(number: i64) -> Self {
        Self {
            number,
            random: Random(number.cast_unsigned()),
            sent: 0,
            sequence: 0,
            acked: Vec::new(),
            tried: Vec::new(),
            unanswered: None,
        }
    }

    fn is_idempotent(&self) -> bool {
        self.number % 2 == 0
    }

    fn partition(&self) -> i32 {
        i32::try_from(self.number / 2).unwrap() % PARTITIONS
    }

    /// A batch of up to four records, some of them due at once. A value says when it is due.
    fn next(&mut self) -> (Bytes, Vec<String>) {
        let count = 1 + self.random.below(4);
        let mut asked = Vec::new();
        for _ in 0..count {
            let delay_ms =
                [0, 0, 1, 5, 40, 200, 900, 2_500][usize::try_from(self.random.below(8)).unwrap()];
            let due = due_in(delay_ms);
            let due_or_now = if delay_ms == 0 { now_ms() } else { due };
            let value = format!("{due_or_now} {}-{}", self.number, self.sent);
            asked.push(Asked::at(due_or_now, &value));
            self.sent += 1;
        }
        let mut builder = batch(&asked);
        if self.is_idempotent() {
            builder = builder.producer(100 + self.number, 0, self.sequence);
            self.sequence += i32::try_from(count).unwrap();
        }
        let values = asked.into_iter().map(|asked| asked.value).collect();
        (builder.build().unwrap().bytes, values)
    }

    /// Produces until the broker is gone.
    fn work(&mut self, client: &mut Client, acked: &SyncSender<()>) {
        loop {
            let (bytes, values) = match self.unanswered.take() {
                Some(again) => again,
                None => self.next(),
            };
            let request = produce_request(TOPIC, self.partition(), -1, Some(bytes.clone()));
            let answer: Option<ProduceResponse> = client.try_call(9, &request);
            let code = answer.map(|answer| answer.responses[0].partition_responses[0].error_code);
            match code {
                Some(code) => {
                    assert_eq!(code, 0, "producer {}", self.number);
                    self.acked.extend(values);
                }
                None if self.is_idempotent() => {
                    self.unanswered = Some((bytes, values));
                    return;
                }
                None => {
                    self.tried.extend(values);
                    return;
                }
            }
            if acked.send(()).is_err() {
                return;
            }
        }
    }
}

/// How a round ended.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    /// The moment came.
    met: bool,
    /// By a kill: else it had stopped before.
    killed: bool,
}

/// Lets producers work and kills the broker.
fn round(broker: Broker, producers: &mut [Producer], moment: Moment) -> Ended {
    let (acked, answers) = sync_channel(0);
    let delays = broker.data_dir.join("delays");
    std::thread::scope(|scope| {
        for producer in producers {
            let socket = TcpStream::connect(&broker.address).unwrap();
            let (mut client, acked) = (Client::new(socket), acked.clone());
            scope.spawn(move || producer.work(&mut client, &acked));
        }
        drop(acked);
        let work = |acks| answers.iter().take(acks).count() == acks;
        let met = match moment {
            Moment::Acks(acks) => work(acks),
            Moment::At(event, nth) => {
                let pid = broker.pid();
                watched(&delays, event, nth, pid, || {
                    work(ACKS_MAX);
                })
            }
            Moment::WhileStopping(event, nth) => {
                work(20);
                let pid = broker.pid();
                let met = watched(&delays, event, nth, pid, || {
                    broker.terminate();
                    broker.wait();
                });
                drop(answers);
                return Ended { met, killed: met };
            }
        };
        broker.kill();
        drop(answers);
        Ended { met, killed: true }
    })
}

/// Kills the process at an event of the directory unless `work` ends before; whether it did.
fn watched(dir: &Path, event: Event, nth: u64, pid: u32, work: impl FnOnce()) -> bool {
    let Some(watch) = Watch::begin(dir) else {
        work();
        return false;
    };
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| watch.kill_at(event, nth, pid));
        work();
        watch.end();
        killer.join().unwrap()
    })
}

/// Starts the broker and kills it before it is ready, if the event comes before; whether it did.
fn kill_a_start(dir: &Path, event: Event, nth: u64) -> bool {
    let mut command = tidewheel(&["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    command.arg("--data-dir").arg(dir).stdout(Stdio::piped());
    command.env("TIDEWHEEL_LOG", "warn");
    let Some(watch) = Watch::begin(&dir.join("delays")) else {
        return false;
    };
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let pid = child.id();
    let met = std::thread::scope(|scope| {
        let killer = scope.spawn(|| watch.kill_at(event, nth, pid));
        // It says that it is ready, or nothing any more.
        let said = stdout.fill_buf().unwrap().len();
        watch.end();
        killer.join().unwrap() && said == 0
    });
    child.kill().unwrap();
    child.wait().unwrap();
    met
}

/// How often each value is there. Its record was not due later than the cursor of its batch says, and no
/// batch was due later than it was read.
fn found(client: &mut Client) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for stored in stored(client, TOPIC, partition) {
            let key = DelayKey::of_header(&stored.header);
            for record in stored.records(1 << 20).unwrap() {
                let value = String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap();
                let due: u64 = value.split(' ').next().unwrap().parse().unwrap();
                assert!(
                    key.is_none_or(|key| due <= key.due_ms),
                    "{value} at {key:?}"
                );
                assert!(due <= now_ms().cast_unsigned(), "{value} is early");
                *found.entry(value).or_insert(0) += 1;
            }
        }
    }
    found
}

#[test]
fn what_was_acknowledged_comes_once_however_often_the_broker_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = std::env::var("TIDEWHEEL_KILL_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut random = Random(7);
    let mut producers: Vec<_> = (0..PRODUCERS).map(Producer::new).collect();
    let start = || Broker::start_with(dir.path(), &SETTINGS);
    let broker = start();
    let configs = [("delay.mode", "timestamp"), ("delay.coalesce.ms", "2")];
    broker.connect().create_topic(TOPIC, PARTITIONS, &configs);
    round(broker, &mut producers, Moment::Acks(20));
    let mut met = Met::default();
    for number in 0..rounds + MORE_ROUNDS_MAX {
        if number >= rounds && met.is_enough() {
            break;
        }
        for event in OF_A_START.iter().take(number % (OF_A_START.len() + 1)) {
            let nth = random.below(8).cast_unsigned() + 1;
            let killed = kill_a_start(dir.path(), *event, nth);
            met.note(event.name.to_owned(), killed, killed);
        }
        let moment = match met.never().first() {
            // As early as it can be.
            Some(event) if number >= rounds => Moment::At(*event, 1),
            _ => Moment::nth(number, &mut random),
        };
        let ended = round(start(), &mut producers, moment);
        met.note(moment.name(), ended.met, ended.killed);
        if number % (rounds / 50).max(1) == 0 {
            audit_all(dir.path());
        }
    }
    println!("killed: {met:#?}");
    assert!(met.is_enough(), "never at {:?}", met.never());
    finish(&start(), producers, dir.path());
}

/// How often the broker was killed.
#[derive(Debug, Default)]
struct Met {
    kills: usize,
    /// At each moment.
    times: BTreeMap<String, usize>,
}

impl Met {
    fn note(&mut self, name: String, met: bool, killed: bool) {
        *self.times.entry(name).or_default() += usize::from(met);
        self.kills += usize::from(killed);
    }

    /// The steps in which it never was.
    fn never(&self) -> Vec<Event> {
        let all = EVENTS.iter().filter(|event| !self.was_at(event));
        all.copied().collect()
    }

    fn was_at(&self, event: &Event) -> bool {
        self.times.get(event.name).is_some_and(|times| *times > 0)
    }

    /// A start is killed at one of its steps at least: the third comes only where something is left over.
    fn is_enough(&self) -> bool {
        let in_starts = OF_A_START.iter().any(|event| self.was_at(event));
        self.kills >= KILLS_MIN && in_starts && self.never().is_empty()
    }
}

/// Whatever was acknowledged is there in the end, once.
fn finish(broker: &Broker, mut producers: Vec<Producer>, dir: &Path) {
    let mut client = broker.connect();
    for producer in &mut producers {
        if let Some((bytes, values)) = producer.unanswered.take() {
            let answer = client.produce(TOPIC, producer.partition(), -1, bytes);
            assert_eq!(answer.error_code, 0, "producer {}", producer.number);
            producer.acked.extend(values);
        }
    }
    let acked = || producers.iter().flat_map(|producer| &producer.acked);
    let mut seen = BTreeMap::new();
    eventually("all that was acknowledged is visible", || {
        seen = found(&mut client);
        acked().all(|value| seen.contains_key(value))
    });
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let tried = producers.iter().flat_map(|producer| &producer.tried);
    let known = acked().count() + tried.count();
    assert!(seen.len() <= known, "{} of {known}", seen.len());
    audit_all(dir);
}

/// Nothing is in the logs of partitions twice, as far as they are written.
fn audit_all(dir: &Path) {
    let partitions = 0..PARTITIONS;
    let mut all: Vec<_> = partitions.flat_map(|at| audit(dir, TOPIC, at)).collect();
    all.sort_unstable();
    let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
