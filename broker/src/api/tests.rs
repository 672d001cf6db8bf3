//! What is told of everything takes part of the memory that answers have.

use std::task::{Context as TaskContext, Waker};

use tidewheel_protocol::messages::metadata::MetadataRequest;

use super::*;
use crate::testing;

async fn metadata_of_all(broker: &Arc<Broker>) -> Answering {
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    match dispatch(testing::call(broker, 9, &request)).await.unwrap() {
        Reply::Later(answer) => answer,
        _ => panic!("answered in its turn"),
    }
}

/// A thousand peers that each ask for all there is and read nothing used to be given all of it.
#[tokio::test]
async fn what_is_told_of_everything_is_counted_until_it_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "t", 100).await;
    let pool = broker.answer_memory();
    let all = pool.free_bytes();
    let Answer::Counted(parts, share) = metadata_of_all(&broker).await.await else {
        panic!("a large answer is counted")
    };
    let [frame] = &parts[..] else {
        panic!("it is in one piece")
    };
    let held = all - pool.free_bytes();
    assert!(
        frame.len() <= held && held < frame.len() + 1_024,
        "{held} bytes for {}",
        frame.len()
    );
    drop(share);
    assert_eq!(pool.free_bytes(), all);

    let others = pool.try_share(all, 0).unwrap();
    let mut waiting = metadata_of_all(&broker).await;
    let mut task = TaskContext::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut task).is_pending());
    drop(others);
    assert!(matches!(waiting.await, Answer::Counted(..)));
}

/// Whoever keeps others waiting for that memory without reading is cut off in the end.
#[tokio::test(start_paused = true)]
async fn who_waits_too_long_for_the_memory_of_an_answer_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "t", 100).await;
    let pool = broker.answer_memory();
    let others = pool.try_share(pool.free_bytes(), 0).unwrap();
    assert!(matches!(
        metadata_of_all(&broker).await.await,
        Answer::Close
    ));
    drop(others);
}
