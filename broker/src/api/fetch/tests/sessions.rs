//! What the answers of sessions hold, whoever reads them or not.

use super::*;

/// A session of partitions that do not exist, so that each is told every time.
fn asks(session: (i32, i32), partitions: i32) -> FetchRequest {
    let partition = |number| FetchPartition {
        partition: number,
        ..FetchPartition::default()
    };
    FetchRequest {
        session_id: session.0,
        session_epoch: session.1,
        topics: vec![FetchTopic {
            topic: StrBytes::from("none"),
            partitions: (0..partitions).map(partition).collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

async fn answer(broker: &Arc<Broker>, request: &FetchRequest) -> Answer {
    let call = testing::call(broker, 11, request);
    match crate::api::dispatch(call).await.unwrap() {
        Reply::Later(answer) => answer.await,
        _ => panic!("a fetch is answered in its turn"),
    }
}

/// Error code and session id.
fn said(parts: &[Bytes]) -> (i16, i32) {
    let frame = Bytes::from(parts.concat()).slice(4..);
    let (_, said) = decode_response_frame::<FetchResponse<Bytes>>(frame, 11).unwrap();
    (said.error_code, said.session_id)
}

async fn start(broker: &Arc<Broker>, partitions: i32) -> i32 {
    let (Answer::Parts(parts) | Answer::Fetched(parts, _) | Answer::Counted(parts, _)) =
        answer(broker, &asks((0, 0), partitions)).await
    else {
        panic!("a full fetch is answered whoever reads");
    };
    let (error, session_id) = said(&parts);
    assert!(error == 0 && session_id > 0);
    session_id
}

/// A request of a few bytes, again and again, without reading: the answers used to cost what they like.
#[tokio::test]
async fn answers_of_sessions_share_a_bounded_memory_until_they_have_left() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let pool = broker.fetch_answer_memory();
    let all = pool.free_bytes();
    let session_id = start(&broker, 10_000).await;
    let mut unread = Vec::new();
    let mut epoch = 1;
    let refused = loop {
        match answer(&broker, &asks((session_id, epoch), 0)).await {
            Answer::Fetched(parts, share) => {
                let held: usize = parts.iter().map(Bytes::len).sum();
                assert!(held > 10_000 && share.is_counted());
                unread.push((parts, share));
                let bytes: usize = unread
                    .iter()
                    .flat_map(|(parts, _)| parts)
                    .map(Bytes::len)
                    .sum();
                assert!(bytes <= all - pool.free_bytes());
            }
            Answer::Parts(parts) => break said(&parts),
            _ => panic!("it is answered"),
        }
        epoch += 1;
    };
    let unknown = ErrorCode::FetchSessionIdNotFound.code();
    assert_eq!(refused, (unknown, NO_SESSION));
    assert!(unread.len() > 10 && pool.free_bytes() < 1 << 20);
    // Small ones get through, and the large one's client starts anew.
    let small = start(&broker, 3).await;
    let small = answer(&broker, &asks((small, 1), 0)).await;
    assert!(matches!(small, Answer::Parts(_)));
    let session_id = start(&broker, 10_000).await;
    drop(unread);
    assert_eq!(pool.free_bytes(), all);
    let again = answer(&broker, &asks((session_id, 1), 0)).await;
    assert!(matches!(again, Answer::Fetched(_, share) if share.is_counted()));
}
