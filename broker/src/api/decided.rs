//! Requests to a group's coordinator, which decides about them in the order in which they are read.

use std::future::Future;

use tidewheel_config::limits;
use tidewheel_protocol::{DecodeError, Message};

use super::{Answer, Call, Context, Reply, Responder, weight};
use crate::connection::Holding;
use crate::memory_pool::MemoryShare;

/// How the request was begun.
struct Asked<F> {
    responder: Responder,
    /// What the coordinator answers.
    reply: F,
    /// The memory of a long one.
    share: MemoryShare,
    /// Where that share is counted, until it is answered.
    holding: Option<Holding>,
}

impl Call {
    /// A request about groups: its arrays may not take more memory than this.
    pub(super) fn of_groups(mut self, array_bytes_max: usize) -> Self {
        self.body.limit_budget(array_bytes_max);
        self
    }

    /// For requests that are answered soon: `handle` has asked the coordinator when it returns, and that
    /// has decided. Nothing is read behind a long one before it is answered.
    pub(super) async fn decided<Q, A, F>(
        self,
        handle: fn(Context, Q) -> F,
    ) -> Result<Reply, DecodeError>
    where
        Q: Message + Send + 'static,
        A: Message + Send,
        F: Future<Output = A> + Send + 'static,
    {
        let Some(asked) = self.ask(handle).await? else {
            return Ok(Reply::Now(Answer::Close));
        };
        let is_long = asked.holding.is_some();
        let answer = Box::pin(async move {
            let response = asked.reply.await;
            drop(asked.holding);
            asked.responder.counted(&response, asked.share)
        });
        Ok(match is_long {
            true => Reply::Alone(answer),
            false => Reply::Started(answer),
        })
    }

    /// For requests whose answer may take a rebalance, in which it holds nothing, and is as long as what
    /// others told the coordinator: `weigh` tells how long. As in Kafka nothing is read behind them before
    /// they are answered.
    pub(super) async fn joined<Q, A, F>(
        self,
        handle: impl FnOnce(Context, Q) -> F + Send + 'static,
        weigh: fn(&A) -> usize,
    ) -> Result<Reply, DecodeError>
    where
        Q: Message + Send + 'static,
        A: Message + Send + Sync + 'static,
        F: Future<Output = A> + Send + 'static,
    {
        let Some(asked) = self.ask(handle).await? else {
            return Ok(Reply::Now(Answer::Close));
        };
        drop((asked.share, asked.holding));
        Ok(Reply::Alone(Box::pin(async move {
            let response = asked.reply.await;
            let weight = weigh(&response);
            if weight <= limits::FREE_BYTES_PER_CONNECTION {
                return asked.responder.frame(&response);
            }
            let context = &asked.responder.context;
            match memory_for_made(context, weight).await {
                Some(share) => asked.responder.counted(&response, share),
                None => Answer::Close,
            }
        })))
    }

    /// Asks the coordinator: where the request is read, or on the blocking pool with memory for it if it is
    /// long. `None` where the connection has to close, for want of memory.
    async fn ask<Q, F>(
        mut self,
        handle: impl FnOnce(Context, Q) -> F + Send + 'static,
    ) -> Result<Option<Asked<F>>, DecodeError>
    where
        Q: Message + Send + 'static,
        F: Send + 'static,
    {
        self.body.limit_budget(limits::GROUP_ARRAY_BYTES_MAX);
        let bytes = self.body.remaining();
        if bytes <= limits::INLINE_GROUP_BYTES_MAX {
            let request = self.decode()?;
            let reply = handle(self.context.clone(), request);
            return Ok(Some(Asked {
                responder: self.responder(),
                reply,
                share: MemoryShare::default(),
                holding: None,
            }));
        }
        let context = self.context.clone();
        let holding = Holding::new(&context.session);
        let weight = bytes.saturating_mul(weight::PER_REQUEST_BYTE);
        let pool = context.broker.early_answer_memory();
        let Some(share) = context.answer_memory(pool, weight).await else {
            return Ok(None);
        };
        let begun = context.broker.read_blocking(move || {
            let request = self.decode()?;
            let reply = handle(self.context.clone(), request);
            Ok::<_, DecodeError>((self.responder(), reply))
        });
        let begun = begun.await.transpose()?;
        Ok(begun.map(|(responder, reply)| Asked {
            responder,
            reply,
            share,
            holding: Some(holding),
        }))
    }
}

/// Memory for an answer that is made already; `None` where the connection has to close. While it waits, it
/// is counted elsewhere: what it holds may be no part of its group any more.
async fn memory_for_made(context: &Context, weight: usize) -> Option<MemoryShare> {
    let pool = context.broker.answer_memory();
    let mut share = MemoryShare::default();
    let at_once = tokio::select! {
        biased;
        () = pool.grow(&mut share, weight) => true,
        () = std::future::ready(()) => false,
    };
    if at_once {
        return Some(share);
    }
    let counted = weight.min(limits::MADE_ANSWER_BYTES_MAX);
    let _waits = context.broker.made_answer_memory().try_share(counted, 0)?;
    context.answer_memory(pool, weight).await
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::task::{Context as TaskContext, Poll, Waker};

    use bytes::Bytes;
    use tidewheel_protocol::StrBytes;
    use tidewheel_protocol::messages::heartbeat::HeartbeatRequest;
    use tidewheel_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
    use tidewheel_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

    use super::*;
    use crate::api::{Answering, Refused, dispatch};
    use crate::broker::Broker;
    use crate::groups::find_groups;
    use crate::testing;

    /// Nobody else comes, and a first member joins with one request.
    const JOIN_VERSION: i16 = 3;

    async fn broker(dir: &std::path::Path) -> Arc<Broker> {
        let settings = [
            "group.initial.rebalance.delay.ms=0",
            "offsets.topic.num.partitions=1",
        ];
        let broker = testing::broker(dir, &settings);
        find_groups(&broker).await.unwrap();
        broker
    }

    fn join(group: &str, protocols: usize, metadata: usize) -> JoinGroupRequest {
        let protocol = |number: usize| JoinGroupRequestProtocol {
            name: StrBytes::from(number.to_string()),
            metadata: Bytes::from(vec![b'm'; metadata]),
        };
        JoinGroupRequest {
            group_id: StrBytes::from(group),
            session_timeout_ms: 60_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: StrBytes::from("consumer"),
            protocols: (0..protocols).map(protocol).collect(),
            ..JoinGroupRequest::default()
        }
    }

    async fn begun(broker: &Arc<Broker>, request: &JoinGroupRequest) -> Answering {
        match dispatch(testing::call(broker, JOIN_VERSION, request))
            .await
            .unwrap()
        {
            Reply::Alone(answer) => answer,
            _ => panic!("nothing is read behind it"),
        }
    }

    fn now<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
        future.poll(&mut TaskContext::from_waker(Waker::noop()))
    }

    /// A hundred leaders that read nothing used to be told of all members without counting.
    #[tokio::test(start_paused = true)]
    async fn what_a_leader_is_told_is_counted_until_it_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let broker = broker(dir.path()).await;
        let pool = broker.answer_memory();
        let all = pool.free_bytes();
        let answer = begun(&broker, &join("g", 1, 100_000)).await;
        assert_eq!(
            pool.free_bytes(),
            all,
            "who waits for members holds nothing"
        );
        let Answer::Counted(parts, share) = answer.await else {
            panic!("a large answer is counted")
        };
        let held = all - pool.free_bytes();
        let bytes = parts[0].len();
        assert!(
            100_000 < bytes && bytes <= held && held < bytes + 2_048,
            "{held} for {bytes}"
        );
        drop(share);
        assert_eq!(pool.free_bytes(), all);

        let answer = begun(&broker, &join("h", 1, 100_000)).await;
        let _others = pool.try_share(all, 0).unwrap();
        assert!(matches!(answer.await, Answer::Close), "it waits in vain");
    }

    /// What holds nothing that others may wait for can leave together with others.
    #[tokio::test]
    async fn a_small_answer_is_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let broker = broker(dir.path()).await;
        let call = testing::call(&broker, 0, &HeartbeatRequest::default());
        let Ok(Reply::Started(answer)) = dispatch(call).await else {
            panic!("it is answered soon")
        };
        assert!(matches!(answer.await, Answer::Parts(_)));
    }

    /// A request of 16 MB used to be read and written to the log where others are served.
    #[tokio::test]
    async fn a_long_request_is_begun_when_there_is_memory_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let broker = broker(dir.path()).await;
        let pool = broker.early_answer_memory();
        let mut others = pool.try_share(pool.free_bytes(), 0);
        for (metadata, is_long) in [(100, false), (100_000, true)] {
            let group = metadata.to_string();
            let call = testing::call(&broker, JOIN_VERSION, &join(&group, 1, metadata));
            let mut begins = pin!(dispatch(call));
            assert_eq!(now(begins.as_mut()).is_pending(), is_long, "{metadata}");
            if is_long {
                drop(others.take());
                assert!(matches!(begins.await, Ok(Reply::Alone(_))));
            }
        }
    }

    /// 16 MB of the shortest elements used to be decoded to 32 MB, and copied.
    #[tokio::test]
    async fn a_request_of_countless_elements_is_not_decoded() {
        let dir = tempfile::tempdir().unwrap();
        let broker = broker(dir.path()).await;
        let sync = |assignments: usize| SyncGroupRequest {
            group_id: StrBytes::from("g"),
            assignments: vec![SyncGroupRequestAssignment::default(); assignments],
            ..SyncGroupRequest::default()
        };
        let most = limits::GROUP_ARRAY_BYTES_MAX / size_of::<SyncGroupRequestAssignment>();
        let taken = dispatch(testing::call(&broker, 0, &sync(most))).await;
        assert!(matches!(taken, Ok(Reply::Alone(_))));
        let refused = dispatch(testing::call(&broker, 0, &sync(most + 1))).await;
        assert!(matches!(refused, Err(Refused::Malformed { .. })));
        let most = limits::GROUP_ARRAY_BYTES_MAX / size_of::<JoinGroupRequestProtocol>();
        let refused = dispatch(testing::call(
            &broker,
            JOIN_VERSION,
            &join("g", most + 1, 0),
        ));
        assert!(matches!(refused.await, Err(Refused::Malformed { .. })));
    }
}
