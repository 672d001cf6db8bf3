//! The write loop of a connection: finishes replies in their order and sends them.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tidewheel_config::limits;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Holding, Outgoing, Session};
use crate::api::{Answer, Reply};
use crate::broker::Broker;

/// How long a peer may take to receive some of an answer.
pub(super) struct Patience {
    pub(super) stall: Duration,
    pub(super) session: Arc<Session>,
    pub(super) broker: Arc<Broker>,
}

impl Patience {
    /// Resolves when a peer has to be given up that has received too little since. It ends sooner where it
    /// keeps memory from others: that of the answer, if that is `counted`, and that of requests behind it.
    async fn ends(&self, counted: bool) {
        let sooner = async {
            if !counted {
                self.keeps_from_others().await;
            }
            tokio::time::sleep(limits::COUNTED_WRITE_STALL).await;
        };
        tokio::select! {
            () = tokio::time::sleep(self.stall) => {}
            () = sooner => {}
        }
    }

    /// Resolves when requests that wait for their turn hold what others are short of.
    async fn keeps_from_others(&self) {
        // The session lives as long as this does.
        let mut holding = self.session.holding.subscribe();
        drop(holding.wait_for(|count| *count > 0).await);
        tokio::select! {
            () = self.broker.memory().is_short() => {}
            () = self.broker.early_answer_memory().is_short() => {}
        }
    }
}

/// Finishes and writes the replies in order, until the queue ends.
pub(super) async fn write_loop<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut replies: mpsc::Receiver<Outgoing>,
    patience: &Patience,
) -> io::Result<()> {
    let mut looked_at = None;
    loop {
        let next = match looked_at.take() {
            Some(next) => Some(next),
            None => replies.recv().await,
        };
        let Some(next) = next else {
            return writer.shutdown().await;
        };
        match next.answer().await {
            Answer::Parts(mut parts) => {
                looked_at = gather(&mut parts, &mut replies, &patience.session);
                write_all(&mut writer, parts, || patience.ends(false)).await?;
            }
            Answer::Counted(parts, share) => {
                let counted = share.is_counted();
                write_all(&mut writer, parts, || patience.ends(counted)).await?;
                drop(share);
            }
            Answer::Fetched(parts, share) => {
                write_all(&mut writer, parts, || patience.ends(false)).await?;
                drop(share);
            }
            Answer::Nothing => {}
            Answer::Close => return Ok(()),
        }
    }
}

/// Adds the answers that are ready already, up to about `limits::FREE_BYTES_PER_CONNECTION` of them: one
/// write costs less than many. Returns what was looked at and has to wait.
fn gather(
    parts: &mut Vec<Bytes>,
    replies: &mut mpsc::Receiver<Outgoing>,
    session: &Arc<Session>,
) -> Option<Outgoing> {
    let bytes = |parts: &[Bytes]| parts.iter().map(Bytes::len).sum::<usize>();
    let mut gathered = bytes(parts);
    while gathered < limits::FREE_BYTES_PER_CONNECTION && parts.len() < limits::WRITE_PARTS_MAX {
        let mut next = replies.try_recv().ok()?;
        // When it is looked at it takes its turn for come; what it holds still waits for the ones before it.
        next.holding.get_or_insert_with(|| Holding::new(session));
        match next.ready() {
            Some(Answer::Parts(more)) => {
                gathered += bytes(&more);
                parts.extend(more);
            }
            Some(other) => {
                next.reply = Reply::Now(other);
                return Some(next);
            }
            None => return Some(next),
        }
    }
    None
}

/// Writes all parts. A peer that has not taken `limits::WRITE_PROGRESS_BYTES` more before patience `ends` is
/// given up.
async fn write_all<W: AsyncWrite + Unpin, E: Future<Output = ()>>(
    writer: &mut W,
    mut parts: Vec<Bytes>,
    ends: impl Fn() -> E,
) -> io::Result<()> {
    let mut rest = parts.as_mut_slice();
    while !rest.is_empty() {
        rest = tokio::select! {
            biased;
            written = write_some(writer, rest) => written?,
            () = ends() => return Err(io::ErrorKind::TimedOut.into()),
        };
    }
    Ok(())
}

/// Writes some of `parts` with vectored writes: all, or `limits::WRITE_PROGRESS_BYTES` at least. Returns
/// what is left of them.
async fn write_some<'a, W: AsyncWrite + Unpin>(
    writer: &mut W,
    parts: &'a mut [Bytes],
) -> io::Result<&'a mut [Bytes]> {
    let (mut first, mut progress) = (0, 0);
    loop {
        while parts.get(first).is_some_and(Bytes::is_empty) {
            first += 1;
        }
        if first == parts.len() || progress >= limits::WRITE_PROGRESS_BYTES {
            return Ok(parts.get_mut(first..).unwrap_or_default());
        }
        let rest = parts.get_mut(first..).unwrap_or_default();
        let slices: Vec<IoSlice<'_>> = rest
            .iter()
            .take(limits::WRITE_PARTS_MAX)
            .map(|part| IoSlice::new(part))
            .collect();
        let written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        advance(rest, written);
        progress += written;
    }
}

/// Takes `written` bytes off the front of `parts`.
fn advance(parts: &mut [Bytes], mut written: usize) {
    for part in parts {
        let taken = written.min(part.len());
        part.advance(taken);
        written -= taken;
        if written == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;
    use crate::memory_pool::MemoryShare;
    use crate::testing;

    const STALL: Duration = Duration::from_secs(10);

    fn stall() -> tokio::time::Sleep {
        tokio::time::sleep(STALL)
    }

    fn parts() -> Vec<Bytes> {
        vec![
            Bytes::from(vec![1; 100_000]),
            Bytes::new(),
            Bytes::from(vec![2; 100_000]),
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_reading_is_given_up() {
        let (mut ours, _theirs) = tokio::io::duplex(1_000);
        let stopped = write_all(&mut ours, parts(), stall).await;
        assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    /// Behind the answer that it does not read, others' memory may wait.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_keeps_memory_from_others_is_given_up_sooner() {
        let dir = tempfile::tempdir().unwrap();
        let broker = testing::broker(dir.path(), &[]);
        let patience = Patience {
            stall: limits::WRITE_STALL,
            session: testing::session(),
            broker: Arc::clone(&broker),
        };
        let is_given_up = async |holds: bool, short: bool, within: Duration| {
            let _holding = holds.then(|| Holding::new(&patience.session));
            let pool = broker.early_answer_memory();
            let _all = pool.try_share(pool.free_bytes(), 0);
            let mut more = MemoryShare::default();
            let ends = async {
                tokio::select! {
                    () = patience.ends(false) => {}
                    () = pool.grow(&mut more, 1), if short => {}
                }
            };
            timeout(within, ends).await.is_ok()
        };
        let soon = 2 * limits::COUNTED_WRITE_STALL;
        assert!(is_given_up(true, true, soon).await);
        for (holds, short) in [(true, false), (false, true)] {
            assert!(!is_given_up(holds, short, soon).await);
            assert!(is_given_up(holds, short, limits::WRITE_STALL).await);
        }
    }

    /// One byte now and then is no progress: the reply would be held for days.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_drop_by_drop_is_given_up() {
        let (mut ours, mut theirs) = tokio::io::duplex(1_000);
        let reading = async {
            loop {
                theirs.read_u8().await.unwrap();
                tokio::time::sleep(STALL / 2).await;
            }
        };
        tokio::select! {
            () = reading => {}
            stopped = write_all(&mut ours, parts(), stall) => {
                assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_that_gets_on_receives_everything_in_order() {
        let (mut ours, mut theirs) = tokio::io::duplex(1_000);
        let reading = async {
            let mut received = Vec::new();
            let mut piece = vec![0; 40_000];
            while received.len() < 200_000 {
                theirs.read_exact(&mut piece).await.unwrap();
                received.extend_from_slice(&piece);
                tokio::time::sleep(STALL / 3).await;
            }
            received
        };
        let (received, written) = tokio::join!(reading, write_all(&mut ours, parts(), stall));
        written.unwrap();
        assert_eq!(received, parts().concat());
    }

    /// What was written, by writes.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
            let bytes = bytes.concat();
            let length = bytes.len();
            self.0.push(bytes);
            Poll::Ready(Ok(length))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn answer(bytes: &'static [u8]) -> Answer {
        Answer::Parts(vec![Bytes::from_static(bytes)])
    }

    /// What a write loop writes of these replies, by writes, and whether it ends.
    async fn written(replies: Vec<Reply>) -> (Vec<Vec<u8>>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let patience = Patience {
            stall: STALL,
            session: testing::session(),
            broker: testing::broker(dir.path(), &[]),
        };
        let (queue, outgoing) = mpsc::channel(replies.len());
        for reply in replies {
            let (reply, _) = Outgoing::new(reply, MemoryShare::default(), &patience.session);
            assert!(queue.try_send(reply).is_ok());
        }
        drop(queue);
        let mut writes = Writes::default();
        let ended = timeout(STALL, write_loop(&mut writes, outgoing, &patience)).await;
        (writes.0, ended.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_ready_leave_with_one_write_and_in_order() {
        let replies = vec![
            Reply::Started(Box::pin(ready(answer(b"1")))),
            Reply::Now(answer(b"2")),
            Reply::Now(Answer::Nothing),
            Reply::Now(answer(b"3")),
            Reply::Started(Box::pin(ready(answer(b"4")))),
            // Made in its turn.
            Reply::Later(Box::pin(ready(answer(b"5")))),
            Reply::Now(Answer::Counted(
                vec![Bytes::from_static(b"6")],
                MemoryShare::default(),
            )),
            Reply::Now(answer(b"7")),
        ];
        let expected = [&b"12"[..], b"34", b"5", b"6", b"7"];
        assert_eq!(
            written(replies).await,
            (expected.map(<[u8]>::to_vec).to_vec(), true)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_ready_wait_for_no_other_and_are_not_gathered_for_ever() {
        const LARGE: &[u8] = &[7; limits::FREE_BYTES_PER_CONNECTION];
        let replies = vec![
            Reply::Now(answer(LARGE)),
            Reply::Now(answer(b"1")),
            Reply::Started(Box::pin(pending())),
            Reply::Now(answer(b"2")),
        ];
        let expected = vec![LARGE.to_vec(), b"1".to_vec()];
        assert_eq!(written(replies).await, (expected, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_closes_the_connection_lets_the_answers_before_it_out() {
        let replies = vec![
            Reply::Now(answer(b"1")),
            Reply::Now(Answer::Close),
            Reply::Now(answer(b"2")),
        ];
        assert_eq!(written(replies).await, (vec![b"1".to_vec()], true));
    }
}
