//! What a fetch of many partitions holds, and for how long.

use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Waker};

use super::*;
use crate::testing;

/// Longer than any test takes.
const FOREVER_MS: i32 = i32::MAX;

fn topic(name: &str, partitions: impl Iterator<Item = i32>) -> FetchTopic {
    let partition = |partition| FetchPartition {
        partition,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    FetchTopic {
        topic: StrBytes::from(name),
        partitions: partitions.map(partition).collect(),
        ..FetchTopic::default()
    }
}

/// Waits for more than there is.
fn patient(topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest {
        max_wait_ms: FOREVER_MS,
        min_bytes: 1 << 20,
        max_bytes: 1 << 30,
        topics,
        ..FetchRequest::default()
    }
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn begun(broker: &Arc<Broker>, request: &FetchRequest) -> Answering {
    match handle(testing::call(broker, 11, request)) {
        Reply::Later(answer) => answer,
        _ => panic!("a fetch is answered in its turn"),
    }
}

/// Polls a fetch until it waits for data.
fn waits<F: Future + Unpin>(future: &mut F) {
    let mut task = TaskContext::from_waker(Waker::noop());
    assert!(Pin::new(future).poll(&mut task).is_pending());
}

/// Bytes that a vector takes.
fn heap<T>(all: &Vec<T>) -> usize {
    all.capacity() * size_of::<T>()
}

fn requested(request: &FetchRequest) -> usize {
    let topics = request.topics.iter();
    heap(&request.topics) + topics.map(|topic| heap(&topic.partitions)).sum::<usize>()
}

fn planned(plan: &Plan) -> usize {
    let topics = plan.topics.iter();
    heap(&plan.topics) + topics.map(|topic| heap(&topic.partitions)).sum::<usize>()
}

fn looked(topics: &Topics) -> usize {
    let each = topics.iter().map(|topic| heap(&topic.partitions));
    heap(topics) + each.sum::<usize>()
}

/// What finds partitions that stand twice: its entries, in the worst fill of its tables while they grow.
fn found_again(request: &FetchRequest) -> usize {
    const ENTRY: usize = 41;
    let partitions = request.topics.iter().map(|topic| topic.partitions.len());
    (request.topics.len() + partitions.sum::<usize>()) * ENTRY * 16 / 7
}

#[tokio::test]
async fn the_estimate_is_not_below_what_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "full", 300).await;
    testing::create_topic(&broker, "empty", 1_000).await;
    let topics = broker.topics();
    for partition in &topics.named("full").unwrap().partitions {
        let acks = crate::partition::Acks::Leader;
        let appended = partition.append(batch(b"v"), acks, true, clock::now_ms());
        assert!(appended.is_ok());
    }
    let long = "n".repeat(limits::TOPIC_NAME_LEN_MAX);
    let shapes = [
        ("with records", vec![topic("full", 0..300)]),
        ("without records", vec![topic("empty", 0..1_000)]),
        ("missing", vec![topic("none", 0..10_000)]),
        ("some missing", vec![topic("empty", 0..2_000)]),
        ("the same", vec![topic("empty", (0..10_000).map(|_| 7))]),
        (
            "a topic each",
            (0..5_000)
                .map(|number| topic(&format!("none-{number}"), 0..1))
                .collect(),
        ),
        (
            "long names",
            (0..500)
                .map(|number| topic(&format!("{long}{number}"), 0..1))
                .collect(),
        ),
        (
            "in turns",
            (0..5_000)
                .map(|number| topic(["empty", "none"][number % 2], 0..1))
                .collect(),
        ),
    ];
    for (name, topics) in shapes {
        let request = patient(topics);
        let weight = weight::fetch(&request);
        let call = testing::call(&broker, 12, &request);
        let responder = call.responder();
        let plan = Plan::new(&responder.context, &request, None);
        let plan_bytes = planned(&plan);
        let planning = requested(&request) + found_again(&request) + plan_bytes;
        assert!(planning <= weight, "{name}: {planning} of {weight}");
        // Of the plan alone it is not below what comes after it.
        let weight = weight.min(plan.weight());
        let looked_at = look_at_all(&plan, Access::Disk).unwrap();
        let waiters = plan.asked().count() * 4 * size_of::<Arc<FetchWait>>();
        let looking = plan_bytes + waiters + looked(&looked_at.topics);
        assert!(looking <= weight, "{name}: {looking} of {weight}");
        let looked_bytes = looked(&looked_at.topics);
        let response = FetchResponse {
            responses: looked_at.topics,
            ..FetchResponse::default()
        };
        let parts = encode(&responder, response);
        // Its buffer may have grown to twice of it.
        let answering = looked_bytes + 2 * weight::fetched(&parts);
        assert!(answering <= weight, "{name}: {answering} of {weight}");
    }
}

#[tokio::test]
async fn a_waiting_fetch_holds_its_share_until_somebody_is_short_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "t", 1_000).await;
    let pool = broker.answer_memory();
    let all = pool.free_bytes();
    let mut waiting = begun(&broker, &patient(vec![topic("t", 0..1_000)]));
    waits(&mut waiting);
    let held = all - pool.free_bytes();
    assert!(held > 500_000, "{held}");
    let mut small = begun(&broker, &patient(vec![topic("t", 0..30)]));
    waits(&mut small);
    assert_eq!(all - pool.free_bytes(), held, "a small one takes nothing");
    let others = pool.try_share(pool.free_bytes(), 0).unwrap();
    let mut other = MemoryShare::default();
    let (answer, ()) = tokio::join!(waiting, pool.grow(&mut other, held));
    let Answer::Fetched(parts, share) = answer else {
        panic!("it is answered, and its reader has time");
    };
    assert_eq!(pool.free_bytes(), 0, "nothing is left of its share");
    drop((other, others));
    let pool = broker.fetch_answer_memory();
    let most = limits::FETCH_ANSWER_BYTES_MAX;
    assert!(pool.free_bytes() < most && !parts.is_empty());
    drop(share);
    assert_eq!(pool.free_bytes(), most);
    waits(&mut small);
}

/// Bytes of the request are held for as long as it waits, too.
#[tokio::test]
async fn a_waiting_fetch_of_counted_bytes_gives_way_to_requests() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "t", 1).await;
    for counted in [false, true] {
        let mut call = testing::call(&broker, 11, &patient(vec![topic("t", 0..1)]));
        call.memory.counted = counted;
        let Reply::Later(mut waiting) = handle(call) else {
            panic!("a fetch is answered in its turn");
        };
        waits(&mut waiting);
        // All of it, and what one may take beyond it.
        let mut taken = [(); 2].map(|()| MemoryShare::default());
        for share in &mut taken {
            broker.memory().grow(share, usize::MAX).await;
        }
        waits(&mut waiting);
        let mut third = MemoryShare::default();
        let mut third = pin!(broker.memory().grow(&mut third, 1));
        waits(&mut third);
        match counted {
            true => assert!(matches!(waiting.await, Answer::Parts(_))),
            false => waits(&mut waiting),
        }
    }
}

#[tokio::test]
async fn what_stands_twice_is_held_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "t", 1).await;
    let same = |count| patient(vec![topic("t", (0..count).map(|_| 0))]);
    let pool = broker.answer_memory();
    let all = pool.free_bytes();
    let mut waiting = begun(&broker, &same(30_000));
    waits(&mut waiting);
    assert!(all - pool.free_bytes() <= 2_048);
    drop(waiting);
    assert_eq!(pool.free_bytes(), all);
    for too_many in [40_000, 600_000] {
        let refused = begun(&broker, &same(too_many)).await;
        assert!(matches!(refused, Answer::Close));
        assert_eq!(pool.free_bytes(), all);
    }
}

#[tokio::test]
async fn an_answer_that_finds_no_other_memory_keeps_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let most = limits::FETCH_ANSWER_BYTES_MAX;
    // The rest is for sessions.
    let unread = broker.fetch_answer_memory().try_share(most / 2, 0).unwrap();
    let pool = broker.answer_memory();
    let all = pool.free_bytes();
    // A session cannot be made of so many.
    for session_epoch in [NO_SESSION_EPOCH, NEW_SESSION_EPOCH] {
        let request = FetchRequest {
            session_epoch,
            ..patient(vec![topic("none", 0..20_000)])
        };
        let Answer::Counted(parts, share) = begun(&broker, &request).await else {
            panic!("it is counted");
        };
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let held = all - pool.free_bytes();
        assert!(bytes <= held && held < bytes + 2_048, "{held} for {bytes}");
        drop(share);
        assert_eq!(pool.free_bytes(), all);
    }
    drop(unread);
}
