//! Fetch sessions (KIP-227) on the wire, as Apache Kafka 4.3.1 keeps them. Gotchas are those of Kafka's
//! protocol that brokers are known to have fallen into, by the numbers that the tests of fetches use.

use std::time::Duration;

use crate::support::topics::delete_records;
use crate::support::{self, Broker, Client, batch, batches};
use bytes::Bytes;
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData,
};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};

struct Fixture {
    broker: Broker,
    client: Client,
    _dir: tempfile::TempDir,
}

/// A broker with these settings and two topics, `a` of three partitions and `b` of one.
fn fixture(settings: &[&str]) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), settings);
    let mut client = broker.connect();
    client.create_topic("a", 3, &[]);
    client.create_topic("b", 1, &[]);
    Fixture {
        broker,
        client,
        _dir: dir,
    }
}

fn topic(name: &str, id: Uuid, partitions: &[(i32, i64)]) -> FetchTopic {
    let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    FetchTopic {
        topic: StrBytes::from(name),
        topic_id: id,
        partitions: partitions.iter().map(partition).collect(),
    }
}

/// A topic by its name.
fn named(name: &str, partitions: &[(i32, i64)]) -> FetchTopic {
    topic(name, Uuid::ZERO, partitions)
}

/// A topic by its id.
fn with_id(id: Uuid, partitions: &[(i32, i64)]) -> FetchTopic {
    topic("", id, partitions)
}

fn forget(name: &str, id: Uuid, partitions: &[i32]) -> ForgottenTopic {
    ForgottenTopic {
        topic: StrBytes::from(name),
        topic_id: id,
        partitions: partitions.to_vec(),
    }
}

/// A request that does not wait.
fn request(session: (i32, i32), topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest {
        session_id: session.0,
        session_epoch: session.1,
        max_bytes: 1 << 20,
        topics,
        ..FetchRequest::default()
    }
}

/// What an answer tells: topic, partition, error, high watermark, log start and number of batches.
type Told = (String, i32, i16, i64, i64, usize);

fn told(topics: &str, answer: &FetchResponse<Bytes>) -> Vec<Told> {
    assert_eq!(answer.error_code, 0, "{topics}");
    let mut all = Vec::new();
    for topic in &answer.responses {
        for data in &topic.partitions {
            let records = data.records.clone().expect("gotcha 31: never null");
            all.push((
                topic.topic.to_string(),
                data.partition_index,
                data.error_code,
                data.high_watermark,
                data.log_start_offset,
                batches(records).len(),
            ));
        }
    }
    all
}

/// The same as topics and numbers of partitions.
fn names(answer: &FetchResponse<Bytes>) -> Vec<(String, i32)> {
    let told = told("", answer).into_iter();
    told.map(|(topic, partition, ..)| (topic, partition))
        .collect()
}

/// A client's side of a session.
struct Session {
    id: i32,
    epoch: i32,
    version: i16,
}

impl Session {
    /// Asks for one, which must be given; returns what the full fetch was answered too.
    fn start(client: &mut Client, version: i16, topics: Vec<FetchTopic>) -> (Self, Vec<Told>) {
        let answer: FetchResponse<Bytes> = client.call(version, &request((0, 0), topics));
        assert_ne!(answer.session_id, 0, "a session is given");
        assert!(answer.session_id > 0);
        let session = Self {
            id: answer.session_id,
            epoch: 1,
            version,
        };
        (session, told("full", &answer))
    }

    /// The next request.
    fn request(&mut self, topics: Vec<FetchTopic>) -> FetchRequest {
        let request = request((self.id, self.epoch), topics);
        self.epoch += 1;
        request
    }

    fn call(&self, client: &mut Client, request: &FetchRequest) -> FetchResponse<Bytes> {
        let answer: FetchResponse<Bytes> = client.call(self.version, request);
        assert_eq!(answer.session_id, self.id, "{answer:?}");
        answer
    }

    /// Goes on, with these partitions asked for anew.
    fn next(&mut self, client: &mut Client, topics: Vec<FetchTopic>) -> Vec<Told> {
        let request = self.request(topics);
        told("incremental", &self.call(client, &request))
    }
}

fn refused(client: &mut Client, version: i16, request: &FetchRequest, code: ErrorCode) {
    let answer: FetchResponse<Bytes> = client.call(version, request);
    let what = (answer.error_code, answer.session_id, answer.responses.len());
    assert_eq!(what, (code.code(), 0, 0));
}

fn line(topic: &str, partition: i32, high_watermark: i64, count: usize) -> Told {
    (topic.to_owned(), partition, 0, high_watermark, 0, count)
}

fn error(topic: &str, partition: i32, code: ErrorCode) -> Told {
    (topic.to_owned(), partition, code.code(), -1, -1, 0)
}

#[test]
fn gotcha_35_an_incremental_fetch_tells_only_what_is_new() {
    let mut f = fixture(&[]);
    let all = vec![named("a", &[(0, 0), (1, 0)]), named("b", &[(0, 0)])];
    let (mut session, first) = Session::start(&mut f.client, 12, all);
    let empty = |topic, partition| line(topic, partition, 0, 0);
    assert_eq!(first, [empty("a", 0), empty("a", 1), empty("b", 0)]);
    assert!(session.next(&mut f.client, vec![]).is_empty());
    f.client.produce("a", 1, 1, batch(&["x"]));
    // Until the client asks for what follows, it is told again.
    for _ in 0..2 {
        let found = session.next(&mut f.client, vec![]);
        assert_eq!(found, [line("a", 1, 1, 1)]);
    }
    let on = vec![named("a", &[(1, 1)])];
    assert!(session.next(&mut f.client, on).is_empty());
    // A partition that is new to the session is told of, whether it has records or not.
    let more = vec![named("a", &[(2, 0)])];
    assert_eq!(session.next(&mut f.client, more), [empty("a", 2)]);
    assert!(session.next(&mut f.client, vec![]).is_empty());
}

/// A changed high watermark is told without records too, and so is a log start.
#[test]
fn gotcha_35_changed_offsets_are_told_once() {
    let mut f = fixture(&[]);
    for _ in 0..2 {
        f.client.produce("b", 0, 1, batch(&["x"]));
    }
    let (mut session, _) = Session::start(&mut f.client, 11, vec![named("b", &[(0, 2)])]);
    f.client.produce("b", 0, 1, batch(&["x"]));
    let found = session.next(&mut f.client, vec![named("b", &[(0, 3)])]);
    assert_eq!(found, [line("b", 0, 3, 0)]);
    assert_eq!(delete_records(&mut f.client, "b", 0, 2).0, 0);
    let found = session.next(&mut f.client, vec![]);
    assert_eq!(found, [("b".to_owned(), 0, 0, 3, 2, 0)]);
    assert!(session.next(&mut f.client, vec![]).is_empty());
}

/// Errors are told every time, and their end as well.
#[test]
fn gotcha_34_35_errors_are_told_again_and_so_is_their_end() {
    let mut f = fixture(&[]);
    let all = vec![named("b", &[(0, 9)]), named("a", &[(0, 0), (7, 0)])];
    let (mut session, _) = Session::start(&mut f.client, 12, all);
    let missing = error("a", 7, ErrorCode::UnknownTopicOrPartition);
    for _ in 0..2 {
        let found = session.next(&mut f.client, vec![]);
        let out_of_range = error("b", 0, ErrorCode::OffsetOutOfRange);
        assert_eq!(found, [out_of_range, missing.clone()]);
    }
    let mended = vec![named("b", &[(0, 0)])];
    let found = session.next(&mut f.client, mended);
    assert_eq!(found, [line("b", 0, 0, 0), missing.clone()]);
    assert_eq!(session.next(&mut f.client, vec![]), [missing]);
}

#[test]
fn gotcha_35_unknown_ids_and_wrong_epochs_are_refused() {
    let mut f = fixture(&[]);
    let (mut session, _) = Session::start(&mut f.client, 12, vec![named("a", &[(0, 0)])]);
    for id in [0, -5, session.id ^ 1, i32::MAX, i32::MIN] {
        let unknown = ErrorCode::FetchSessionIdNotFound;
        refused(&mut f.client, 12, &request((id, 1), vec![]), unknown);
    }
    for epoch in [2, 7, -2, i32::MIN, i32::MAX] {
        let wrong = ErrorCode::InvalidFetchSessionEpoch;
        refused(
            &mut f.client,
            12,
            &request((session.id, epoch), vec![]),
            wrong,
        );
    }
    assert!(session.next(&mut f.client, vec![]).is_empty());
    let stale = request((session.id, 1), vec![]);
    let wrong = ErrorCode::InvalidFetchSessionEpoch;
    refused(&mut f.client, 12, &stale, wrong);
}

#[test]
fn gotcha_35_a_full_fetch_closes_the_session_it_names() {
    let mut f = fixture(&[]);
    let all = || vec![named("a", &[(0, 0)])];
    let unknown = ErrorCode::FetchSessionIdNotFound;
    for (epoch, given) in [(-1, false), (0, true)] {
        let (session, _) = Session::start(&mut f.client, 12, all());
        let full = request((session.id, epoch), all());
        let answer: FetchResponse<Bytes> = f.client.call(12, &full);
        assert_eq!((answer.session_id != 0, names(&answer).len()), (given, 1));
        assert_ne!(answer.session_id, session.id);
        refused(
            &mut f.client,
            12,
            &request((session.id, 1), vec![]),
            unknown,
        );
    }
    // A full fetch that names what is not there is served all the same, and versions without sessions too.
    let answer: FetchResponse<Bytes> = f.client.call(12, &request((77, -1), all()));
    assert_eq!((answer.session_id, names(&answer).len()), (0, 1));
    let answer: FetchResponse<Bytes> = f.client.call(6, &request((77, 3), all()));
    assert_eq!(names(&answer).len(), 1);
}

/// What the same request adds may be forgotten too. A session without partitions is none.
#[test]
fn gotcha_35_forgotten_partitions_leave_and_the_last_one_ends_the_session() {
    let mut f = fixture(&[]);
    let (mut session, _) = Session::start(&mut f.client, 12, vec![named("a", &[(0, 0), (1, 0)])]);
    f.client.produce("a", 0, 1, batch(&["x"]));
    let mut next = session.request(vec![named("a", &[(2, 0)])]);
    next.forgotten_topics_data = vec![
        forget("a", Uuid::ZERO, &[0, 2, 9]),
        forget("nowhere", Uuid::ZERO, &[0]),
    ];
    let answer = session.call(&mut f.client, &next);
    assert!(names(&answer).is_empty());
    let mut last = session.request(vec![named("b", &[(0, 0)])]);
    last.forgotten_topics_data = vec![forget("a", Uuid::ZERO, &[1]), forget("b", Uuid::ZERO, &[0])];
    let answer: FetchResponse<Bytes> = f.client.call(12, &last);
    let found = (answer.session_id, names(&answer));
    assert_eq!(
        found,
        (0, vec![("b".to_owned(), 0)]),
        "as without a session"
    );
    let gone = session.request(vec![]);
    let unknown = ErrorCode::FetchSessionIdNotFound;
    refused(&mut f.client, 12, &gone, unknown);
    // Kafka gives a session to whoever asks for nothing.
    let (mut session, first) = Session::start(&mut f.client, 12, vec![]);
    assert!(first.is_empty());
    let added = session.next(&mut f.client, vec![named("b", &[(0, 0)])]);
    assert_eq!(added, [line("b", 0, 0, 0)]);
}

/// Whoever was served goes to the end of the row, so that a small `max_bytes` starves nobody; and the
/// first batch found is whole.
#[test]
fn gotcha_32_partitions_take_turns_where_not_all_fit() {
    let mut f = fixture(&[]);
    let all = vec![named("a", &[(0, 0), (1, 0), (2, 0)])];
    let (mut session, _) = Session::start(&mut f.client, 12, all);
    for number in [1, 2, 0] {
        f.client.produce("a", number, 1, batch(&["x"]));
    }
    let mut with_records = Vec::new();
    for _ in 0..5 {
        let mut next = session.request(vec![]);
        next.max_bytes = 1;
        let answer = session.call(&mut f.client, &next);
        let found = told("one", &answer).into_iter();
        with_records.extend(found.filter(|told| told.5 > 0).map(|told| told.1));
    }
    assert_eq!(with_records, [0, 1, 2, 0, 1]);
    let found = session.next(&mut f.client, vec![]);
    let order: Vec<i32> = found.iter().map(|told| told.1).collect();
    assert_eq!(order, [2, 0, 1]);
}

/// The answer keeps the session's order, in which a topic may stand twice.
#[test]
fn gotcha_35_an_answer_has_the_order_of_the_session() {
    let mut f = fixture(&[]);
    let all = vec![named("b", &[(0, 0)]), named("a", &[(0, 0), (1, 0)])];
    let (mut session, _) = Session::start(&mut f.client, 12, all);
    f.client.produce("a", 0, 1, batch(&["x"]));
    assert_eq!(session.next(&mut f.client, vec![]).len(), 1);
    for (topic, number) in [("b", 0), ("a", 1)] {
        f.client.produce(topic, number, 1, batch(&["x"]));
    }
    let next = session.request(vec![]);
    let answer = session.call(&mut f.client, &next);
    let order = [("b", 0), ("a", 1), ("a", 0)].map(|(topic, number)| (topic.to_owned(), number));
    assert_eq!(names(&answer), order);
    assert_eq!(answer.responses.len(), 2);
}

/// An offset inside a batch, which the session remembers, gives the whole batch again and again.
#[test]
fn gotcha_30_an_offset_inside_a_batch_gives_the_whole_batch_in_a_session() {
    let mut f = fixture(&[]);
    f.client.produce("b", 0, 1, batch(&["x", "y", "z"]));
    let (mut session, first) = Session::start(&mut f.client, 12, vec![named("b", &[(0, 2)])]);
    assert_eq!(first, [line("b", 0, 3, 1)]);
    let found = session.next(&mut f.client, vec![]);
    assert_eq!(found, [line("b", 0, 3, 1)]);
}

fn partition_zero(answer: &FetchResponse<Bytes>) -> PartitionData<Bytes> {
    answer.responses[0].partitions[0].clone()
}

#[test]
fn gotcha_31_36_what_is_told_without_records_is_complete() {
    let mut f = fixture(&[]);
    let (mut session, _) = Session::start(&mut f.client, 12, vec![named("b", &[(0, 0)])]);
    for (isolation_level, aborted) in [(0, None), (1, Some(Vec::new()))] {
        let produced = f.client.produce("b", 0, 1, batch(&["x"]));
        let end = produced.base_offset + 1;
        let mut next = session.request(vec![named("b", &[(0, end)])]);
        next.isolation_level = isolation_level;
        let data = partition_zero(&session.call(&mut f.client, &next));
        assert_eq!(data.records, Some(Bytes::new()));
        assert_eq!(data.aborted_transactions, aborted);
        assert_eq!(data.preferred_read_replica, -1);
        let offsets = (data.high_watermark, data.last_stable_offset);
        assert_eq!((offsets, data.log_start_offset), ((end, end), 0));
    }
}

#[test]
fn gotcha_37_leader_epochs_are_remembered_and_compared() {
    let mut f = fixture(&[]);
    let (mut session, _) = Session::start(&mut f.client, 12, vec![named("b", &[(0, 0)])]);
    for (epoch, code) in [(1, ErrorCode::UnknownLeaderEpoch), (-1, ErrorCode::None)] {
        let mut asked = named("b", &[(0, 0)]);
        asked.partitions[0].current_leader_epoch = epoch;
        let changed = session.next(&mut f.client, vec![asked]);
        assert_eq!(changed[0].2, code.code());
        let found = session.next(&mut f.client, vec![]);
        let codes: Vec<i16> = found.iter().map(|told| told.2).collect();
        let again = code != ErrorCode::None;
        assert_eq!(codes, vec![code.code(); usize::from(again)]);
    }
}

fn is_silent(client: &mut Client) -> bool {
    let mut byte = [0; 1];
    let brief = Some(Duration::from_millis(200));
    client.socket.set_read_timeout(brief).unwrap();
    let silent = client.socket.peek(&mut byte).is_err();
    let patience = Some(support::PATIENCE);
    client.socket.set_read_timeout(patience).unwrap();
    silent
}

/// An incremental fetch that names nothing waits for what its session has.
#[test]
fn gotcha_33_an_empty_incremental_fetch_waits() {
    let mut f = fixture(&[]);
    let all = vec![named("a", &[(0, 0), (9, 0)]), named("b", &[(0, 0)])];
    let (mut session, _) = Session::start(&mut f.client, 12, all);
    let mut next = session.request(vec![]);
    (next.max_wait_ms, next.min_bytes) = (i32::MAX, 1);
    let correlation_id = f.client.send(12, &next);
    assert!(is_silent(&mut f.client));
    f.broker.connect().produce("b", 0, 1, batch(&["x"]));
    let answer: FetchResponse<Bytes> = f.client.receive(12, correlation_id);
    let missing = error("a", 9, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(told("woken", &answer), [line("b", 0, 1, 1), missing]);
}

/// The session does not end with its connection, and requests may follow each other without a pause.
#[test]
fn gotcha_35_sessions_belong_to_no_connection() {
    let mut f = fixture(&[]);
    let (mut session, _) = Session::start(&mut f.client, 12, vec![named("b", &[(0, 0)])]);
    let mut other = f.broker.connect();
    drop(f.client);
    let sent: Vec<i32> = (0..10)
        .map(|_| other.send(12, &session.request(vec![])))
        .collect();
    for correlation_id in sent {
        let answer: FetchResponse<Bytes> = other.receive(12, correlation_id);
        assert_eq!((answer.error_code, answer.session_id), (0, session.id));
    }
}

/// Of two requests under way at once the later one is served; the earlier one ends, with Kafka's error.
#[test]
fn gotcha_35_a_request_that_was_overtaken_has_lost_its_answer() {
    let mut f = fixture(&[]);
    let (mut session, _) = Session::start(&mut f.client, 12, vec![named("b", &[(0, 0)])]);
    let mut waiting = session.request(vec![]);
    (waiting.max_wait_ms, waiting.min_bytes) = (i32::MAX, 1);
    let correlation_id = f.client.send(12, &waiting);
    assert!(is_silent(&mut f.client));
    let mut other = f.broker.connect();
    assert!(session.next(&mut other, vec![]).is_empty());
    let answer: FetchResponse<Bytes> = f.client.receive(12, correlation_id);
    let what = (answer.error_code, answer.session_id, answer.responses.len());
    let wrong = ErrorCode::InvalidFetchSessionEpoch.code();
    assert_eq!(what, (wrong, session.id, 0));
    // One that waits when its session is closed has an answer.
    let mut waiting = session.request(vec![]);
    (waiting.max_wait_ms, waiting.min_bytes) = (i32::MAX, 1);
    let correlation_id = f.client.send(12, &waiting);
    assert!(is_silent(&mut f.client));
    let closing: FetchResponse<Bytes> = other.call(12, &request((session.id, -1), vec![]));
    assert_eq!((closing.error_code, closing.session_id), (0, 0));
    let answer: FetchResponse<Bytes> = f.client.receive(12, correlation_id);
    assert_eq!((answer.error_code, answer.session_id), (0, session.id));
}

#[test]
fn gotcha_35_a_session_names_topics_in_one_way() {
    let mut f = fixture(&[]);
    let id = f.client.topic_id("a");
    for (version, other, topic) in [
        (12, 13, named("a", &[(0, 0)])),
        (17, 12, with_id(id, &[(0, 0)])),
    ] {
        let (mut session, _) = Session::start(&mut f.client, version, vec![topic]);
        let wrong = request((session.id, 1), vec![]);
        let mixed = ErrorCode::FetchSessionTopicIdError;
        refused(&mut f.client, other, &wrong, mixed);
        assert!(session.next(&mut f.client, vec![]).is_empty());
    }
}

/// A name means whichever topic bears it.
#[test]
fn gotcha_14_a_name_in_a_session_finds_the_topic_that_was_made_again() {
    let mut f = fixture(&[]);
    let all = vec![named("later", &[(0, 0)]), named("b", &[(0, 0)])];
    let (mut session, _) = Session::start(&mut f.client, 12, all);
    f.client.delete_topic("b");
    let missing = |topic| error(topic, 0, ErrorCode::UnknownTopicOrPartition);
    let found = session.next(&mut f.client, vec![]);
    assert_eq!(found, [missing("b"), missing("later")]);
    f.client.create_topic("b", 1, &[]);
    f.client.create_topic("later", 1, &[]);
    let found = session.next(&mut f.client, vec![]);
    assert_eq!(found, [line("b", 0, 0, 0), line("later", 0, 0, 0)]);
    assert!(session.next(&mut f.client, vec![]).is_empty());
}

/// An id means one topic for ever. What is said of it when that is gone depends on whether the session
/// has met it, and whether another has its name.
#[test]
fn gotcha_14_an_id_in_a_session_never_finds_another_topic() {
    let mut f = fixture(&[]);
    let [a, b] = ["a", "b"].map(|name| f.client.topic_id(name));
    let unknown = Uuid([9; 16]);
    let all = vec![
        with_id(unknown, &[(0, 0)]),
        with_id(a, &[(0, 0)]),
        with_id(b, &[(0, 0), (5, 0)]),
    ];
    let (mut session, _) = Session::start(&mut f.client, 17, all);
    let codes = |found: Vec<Told>| found.iter().map(|told| told.2).collect::<Vec<_>>();
    let [id, missing, replaced] = [
        ErrorCode::UnknownTopicId,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::InconsistentTopicId,
    ]
    .map(ErrorCode::code);
    assert_eq!(codes(session.next(&mut f.client, vec![])), [id, missing]);
    f.client.delete_topic("b");
    let found = session.next(&mut f.client, vec![]);
    assert_eq!(codes(found), [id, missing, missing]);
    f.client.create_topic("b", 1, &[]);
    // A reason to answer at once, whatever else is waited for.
    let mut next = session.request(vec![with_id(b, &[(0, 0)])]);
    (next.max_wait_ms, next.min_bytes) = (i32::MAX, 1);
    let answer = session.call(&mut f.client, &next);
    assert_eq!(codes(told("", &answer)), [replaced, id, missing]);
    let made = f.client.topic_id("b");
    let mut next = session.request(vec![with_id(made, &[(0, 0)])]);
    next.forgotten_topics_data = vec![forget("", b, &[0, 5]), forget("", unknown, &[0])];
    let answer = session.call(&mut f.client, &next);
    assert_eq!(answer.responses[0].topic_id, made);
    assert_eq!(codes(told("", &answer)), [0]);
}

#[test]
fn who_finds_no_slot_is_served_without_a_session() {
    let mut f = fixture(&["max.incremental.fetch.session.cache.slots=1"]);
    let all = || vec![named("a", &[(0, 0)]), named("b", &[(0, 0)])];
    let (mut session, _) = Session::start(&mut f.client, 12, all());
    let answer: FetchResponse<Bytes> = f.client.call(12, &request((0, 0), all()));
    assert_eq!((answer.session_id, names(&answer).len()), (0, 2));
    assert!(session.next(&mut f.client, vec![]).is_empty());
}

/// The bound on the partitions of one session, when it is made and when it grows.
#[test]
fn a_session_does_not_grow_beyond_its_bound() {
    let mut f = fixture(&[]);
    let many = |count| (0..count).map(|number| (number, 0)).collect::<Vec<_>>();
    let all = vec![named("a", &many(10_001))];
    let answer: FetchResponse<Bytes> = f.client.call(12, &request((0, 0), all));
    assert_eq!((answer.session_id, names(&answer).len()), (0, 10_001));
    let all = vec![named("a", &many(10_000))];
    let (mut session, _) = Session::start(&mut f.client, 12, all);
    // Each of them is told: all but three are errors.
    assert_eq!(session.next(&mut f.client, vec![]).len(), 9_997);
    let more = session.request(vec![named("a", &[(10_000, 0)])]);
    let unknown = ErrorCode::FetchSessionIdNotFound;
    refused(&mut f.client, 12, &more, unknown);
    let gone = session.request(vec![]);
    refused(&mut f.client, 12, &gone, unknown);
    let long = "x".repeat(250);
    let all = vec![named(&long, &[(0, 0)])];
    let answer: FetchResponse<Bytes> = f.client.call(12, &request((0, 0), all));
    assert_eq!((answer.session_id, names(&answer).len()), (0, 1));
}
