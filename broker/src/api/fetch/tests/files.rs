//! Large slices leave as files: what arrives is what lies in the log, however the reader takes it.

use tidewheel_protocol::Part;
use tidewheel_storage::fs::OpenMode;
use tokio::time::timeout;

use super::*;
use crate::connection::Piece;
use crate::metrics::{self, MetricsFormat, MetricsPage, Stage};

/// A partition that is large enough to leave as a file, beside small ones.
const TOPICS: [(&str, i64); 4] = [("large", 0), ("small", 0), ("larger", 0), ("last", 0)];
const PATIENCE: Duration = Duration::from_secs(60);

async fn filled(dir: &tempfile::TempDir) -> (Arc<Broker>, Client) {
    let broker = open(Arc::new(RealFs), dir.path().to_owned());
    let mut client = Client::connect(&broker).await;
    let batches = [1, 1, 40, 1];
    for ((topic, _), count) in TOPICS.into_iter().zip(batches) {
        create(&broker, topic).await;
        for number in 0..count {
            let large = topic.starts_with("large");
            let len = if large { 100_000 } else { 10 };
            client.produce(topic, &vec![number; len]).await;
        }
    }
    (broker, client)
}

/// For all there is.
fn request() -> FetchRequest {
    let mut request = fetch_request(&TOPICS);
    request.max_bytes = i32::MAX;
    for topic in &mut request.topics {
        topic.partitions[0].partition_max_bytes = i32::MAX;
    }
    request
}

/// What the logs hold.
fn held(broker: &Broker) -> Vec<Bytes> {
    let topics = broker.topics();
    let held = TOPICS.map(|(topic, _)| {
        let log = topics.named(topic).unwrap().partition(0).unwrap().log();
        let read = log.read(0, 1 << 30, true).unwrap();
        read.slice.unwrap().bytes().unwrap()
    });
    held.to_vec()
}

async fn answer(broker: &Arc<Broker>) -> Answer {
    let Reply::Later(answer) = handle(testing::call(broker, 11, &request())) else {
        panic!("a fetch is answered in its turn");
    };
    answer.await
}

async fn receive(client: &mut Client) -> Vec<Bytes> {
    let answer: FetchResponse<Bytes> = client.receive(11).await;
    let partitions = answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions);
    partitions.map(|data| data.records.unwrap()).collect()
}

#[tokio::test]
async fn large_slices_leave_as_files_until_too_many_are_on_their_way() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, _client) = filled(&dir).await;
    let Answer::Files(files, _share) = answer(&broker).await else {
        panic!("there are large slices");
    };
    let lens = files.pieces.iter().map(|piece| match piece {
        Piece::File(slice) => Some(slice.len()),
        Piece::Bytes(_) => None,
    });
    let large = [0, 2].map(|at| held(&broker)[at].len());
    assert_eq!(lens.flatten().collect::<Vec<_>>(), large);
    let mut on_their_way = vec![files];
    while let Answer::Files(more, _share) = answer(&broker).await {
        on_their_way.push(more);
    }
    assert_eq!(on_their_way.len(), limits::FILES_BEING_SENT_MAX / 2);
    let Answer::Parts(parts) = answer(&broker).await else {
        panic!("the others leave as views");
    };
    let records: usize = held(&broker).iter().map(Bytes::len).sum();
    assert!(parts.iter().map(Bytes::len).sum::<usize>() > records);
    on_their_way.pop();
    assert!(matches!(answer(&broker).await, Answer::Files(..)));
}

#[tokio::test]
async fn files_arrive_whole_and_in_order_between_other_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = filled(&dir).await;
    for _ in 0..3 {
        client.send(11, &request()).await;
        client.send(9, &produce_request("last", b"between")).await;
    }
    for round in 0..3 {
        let received = timeout(PATIENCE, receive(&mut client)).await.unwrap();
        let held = held(&broker);
        // Not `assert_eq`, which would print megabytes.
        assert!(received[..3] == held[..3], "round {round}");
        assert!(held[3].starts_with(&received[3]));
        let produced: ProduceResponse = client.receive(9).await;
        assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
    }
    client.close().await;
}

/// A reader that stops must not take the places of all others.
#[tokio::test]
async fn one_answer_takes_few_of_the_places_for_files() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, _client) = filled(&dir).await;
    let topics = broker.topics();
    let log = topics.named("large").unwrap().partition(0).unwrap().log();
    let read = log.read(0, 1 << 30, true).unwrap();
    let slice = read.slice.unwrap();
    let parts = vec![Part::Records(slice.clone()); limits::FILES_OF_ONE_ANSWER_MAX + 5];
    let bytes = parts.len() * slice.len();
    let answer = sending::leave(&broker, parts, MemoryShare::default());
    let Answer::Files(files, _share) = answer else {
        panic!("there are large slices");
    };
    let sent = files.pieces.iter();
    let sent = sent.filter(|piece| matches!(piece, Piece::File(_)));
    assert_eq!(sent.count(), limits::FILES_OF_ONE_ANSWER_MAX);
    let free = broker.files_being_sent().available_permits();
    let taken = limits::FILES_BEING_SENT_MAX - free;
    assert_eq!(taken, limits::FILES_OF_ONE_ANSWER_MAX);
    let leaving: usize = files.pieces.iter().map(Piece::len).sum();
    assert_eq!(leaving, bytes, "nothing is left out");
}

/// The segment may be gone while its slice is on its way.
#[tokio::test]
async fn what_is_deleted_on_its_way_still_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = filled(&dir).await;
    let held = held(&broker);
    client.send(11, &request()).await;
    // 4 MB are more than the socket takes: the answer is being written.
    client.socket.readable().await.unwrap();
    for entry in std::fs::read_dir(dir.path().join("larger-0")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(timeout(PATIENCE, receive(&mut client)).await.unwrap() == held);
}

/// A file that is shorter than the log knows: the lengths are in the header, so nothing else can be said.
#[tokio::test]
async fn a_file_that_somebody_cut_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = filled(&dir).await;
    // Mapped from now on, so that the next fetch takes it for hot.
    let all: usize = held(&broker).iter().map(Bytes::len).sum();
    let path = dir.path().join("larger-0/00000000000000000000.log");
    let file = RealFs.open(&path, OpenMode::ReadWrite).unwrap();
    file.set_len(100_000).unwrap();
    client.send(11, &request()).await;
    let mut received = Vec::new();
    let ended = timeout(PATIENCE, client.socket.read_to_end(&mut received)).await;
    assert!(ended.is_ok(), "after {} bytes", received.len());
    assert!(received.len() > 200_000 && received.len() < all);
    let (served, _) = (client.served, drop(client.socket));
    timeout(PATIENCE, served).await.unwrap().unwrap();
    let (page, format) = (MetricsPage::Default, MetricsFormat::Classic);
    let told = metrics::scrape(&broker, Stage::RUNNING, page, format, Vec::new()).await;
    let told = told.unwrap();
    assert!(told.contains("closed_total{reason=\"storage\"} 1\n"));
}
