//! One client: a loop that reads frames and starts them, a loop that writes replies in request order.
//!
//! The read loop runs each request's first stage at once; that fixes the order of appends. The write
//! loop finishes the requests one after the other, so replies leave in request order and a waiting
//! fetch never lets a later reply overtake it. Between the two stands a queue of
//! `limits::REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX` requests: when it is full, the socket is not read.
//! After a request that changes topics the next one is begun when that one is done, so that it sees
//! the change.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tidewheel_config::limits;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

use crate::api::{self, Answer, Call, Reply, RequestMemory};
use crate::broker::Broker;
use crate::frame_reader::{FrameLimits, FrameReader, ReadEnd};
use crate::memory_pool::MemoryShare;

/// Who is at the other end, and through which door it came.
#[derive(Debug)]
pub(crate) struct Session {
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// Which of the broker's listeners accepted it: decides the advertised address.
    pub(crate) listener: usize,
    /// Turns true when the client has closed or the broker stops: waiting requests end.
    pub(crate) closing: watch::Receiver<bool>,
    /// How many requests that wait for their turn hold memory that other connections may wait for.
    pub(crate) holding: watch::Sender<usize>,
}

/// A request that waits for its turn holds counted memory. Until this is dropped no fetch before it waits
/// for data: how long a client lets its fetches wait must not decide how long memory is held. What a fetch
/// holds itself it gives up when somebody is short of it.
#[derive(Debug)]
pub(crate) struct Holding(Arc<Session>);

impl Holding {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        session.holding.send_modify(|count| *count += 1);
        Self(Arc::clone(session))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.holding.send_modify(|count| *count -= 1);
    }
}

/// A request between its two stages.
struct Outgoing {
    reply: Reply,
    /// The request's share of the memory pool, held until its reply is made.
    share: MemoryShare,
    /// Where that share is counted, until it is its turn.
    holding: Option<Holding>,
    /// Dropped when the reply is made, where the next request has to wait for that.
    answered: Option<oneshot::Sender<()>>,
}

impl Outgoing {
    /// Also returns, for a barrier, what tells when its reply is made.
    fn new(
        reply: Reply,
        share: MemoryShare,
        session: &Arc<Session>,
    ) -> (Self, Option<oneshot::Receiver<()>>) {
        // What is appended is no longer held in memory, however long its reply takes.
        let share = match &reply {
            Reply::Started(_) | Reply::Alone(_) => MemoryShare::default(),
            Reply::Now(_) | Reply::Later(_) | Reply::Barrier(_) => share,
        };
        let holding = share.is_counted().then(|| Holding::new(session));
        let is_barrier = matches!(reply, Reply::Alone(_) | Reply::Barrier(_));
        let (answered, barrier) = is_barrier.then(oneshot::channel).unzip();
        let outgoing = Self {
            reply,
            share,
            holding,
            answered,
        };
        (outgoing, barrier)
    }
}

/// Serves one client until it closes, misbehaves, idles too long, or `stop` turns true.
pub(crate) async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    listener: usize,
    broker: Arc<Broker>,
    stop: watch::Receiver<bool>,
) {
    let (reader, writer) = socket.into_split();
    let (closing_tx, mut closing) = watch::channel(false);
    let session = Arc::new(Session {
        peer,
        listener,
        closing: closing.clone(),
        holding: watch::Sender::new(0),
    });
    let limits = FrameLimits {
        frame_bytes_max: broker.config().socket_request_max_bytes as usize,
        idle: idle(broker.config().connections_max_idle_ms),
    };
    let patience = Patience {
        stall: limits.idle.min(limits::WRITE_STALL),
        session: Arc::clone(&session),
        broker: Arc::clone(&broker),
    };
    let frames = FrameReader::new(reader, broker.memory().clone(), limits);
    let (queue, replies) = mpsc::channel(limits::REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX);

    let reading = async {
        let answers = read_loop(frames, queue, session, broker, stop, &closing_tx).await;
        closing_tx.send_replace(true);
        if answers {
            std::future::pending().await
        }
    };
    // A peer that closed its half still gets the replies that need no more waiting.
    let grace = async {
        // The sender lives as long as this does.
        drop(closing.wait_for(|closing| *closing).await);
        tokio::time::sleep(limits::CLOSE_GRACE).await;
    };
    // Either side's end ends the connection: a writer that is done or failed, a reader that was lied to
    // or whose grace is over.
    tokio::select! {
        () = reading => {}
        () = grace => {}
        result = write_loop(writer, replies, &patience) => {
            if let Err(error) = result {
                debug!(%peer, %error, "connection ended while writing");
            }
        }
    }
}

/// `connections.max.idle.ms`; -1 means never, which is a hundred years here.
fn idle(max_idle_ms: i64) -> Duration {
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
    u64::try_from(max_idle_ms)
        .map_or(NEVER, Duration::from_millis)
        .min(NEVER)
}

/// Reads and starts requests. Returns whether what was started may still be answered.
async fn read_loop(
    mut frames: FrameReader<OwnedReadHalf>,
    queue: mpsc::Sender<Outgoing>,
    session: Arc<Session>,
    broker: Arc<Broker>,
    mut stop: watch::Receiver<bool>,
    closing: &watch::Sender<bool>,
) -> bool {
    let mut barrier: Option<oneshot::Receiver<()>> = None;
    loop {
        // The place in the queue comes first: a request is not begun that nobody could answer. A peer that
        // hangs up while it waits ends the fetches before it, and what it sent is read to its end. Any arm
        // may be dropped: none takes anything.
        let waits_for_peer = !*closing.borrow();
        // Nothing is read before its answer is made either: it may wait for other clients, and a request
        // that is read holds memory.
        if let Some(answered) = &mut barrier {
            tokio::select! {
                _ = answered => barrier = None,
                () = frames.hung_up(), if waits_for_peer => {
                    closing.send_replace(true);
                }
                _ = stop.wait_for(|stop| *stop) => return true,
            }
            continue;
        }
        let place = tokio::select! {
            place = queue.reserve() => place,
            () = frames.hung_up(), if waits_for_peer => {
                closing.send_replace(true);
                continue;
            }
            _ = stop.wait_for(|stop| *stop) => return true,
        };
        let Ok(place) = place else {
            return false;
        };
        // Only a request that waits behind no other is let in uncounted: that is one a connection.
        let waiting = limits::REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX - 1 - queue.capacity();
        let free = if waiting == 0 {
            limits::FREE_BYTES_PER_CONNECTION
        } else {
            0
        };
        let frame = tokio::select! {
            frame = frames.next(free) => frame,
            _ = stop.wait_for(|stop| *stop) => return true,
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(ReadEnd::Closed) => return true,
            Err(error) => {
                debug!(peer = %session.peer, %error, "connection closed");
                return false;
            }
        };
        let (counted, peer) = (frame.share.is_counted(), Arc::clone(&session));
        let memory = RequestMemory { free, counted };
        let call = match Call::new(frame.bytes, peer, Arc::clone(&broker), memory) {
            Ok(call) => call,
            Err(error) => {
                debug!(peer = %session.peer, %error, "unreadable request, connection closed");
                return true;
            }
        };
        match api::dispatch(call).await {
            Ok(reply) => {
                let closes = matches!(reply, Reply::Now(Answer::Close));
                let outgoing;
                (outgoing, barrier) = Outgoing::new(reply, frame.share, &session);
                place.send(outgoing);
                if closes {
                    // What comes after it is not begun: nobody could answer it.
                    return true;
                }
            }
            Err(error) => {
                debug!(peer = %session.peer, %error, "refused request, connection closed");
                return true;
            }
        }
    }
}

/// How long a peer may take to receive some of an answer.
struct Patience {
    stall: Duration,
    session: Arc<Session>,
    broker: Arc<Broker>,
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
async fn write_loop<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut replies: mpsc::Receiver<Outgoing>,
    patience: &Patience,
) -> io::Result<()> {
    while let Some(Outgoing {
        reply,
        share,
        holding,
        answered,
    }) = replies.recv().await
    {
        drop(holding);
        let answer = match reply {
            Reply::Now(answer) => answer,
            Reply::Started(future)
            | Reply::Alone(future)
            | Reply::Later(future)
            | Reply::Barrier(future) => future.await,
        };
        drop((share, answered));
        match answer {
            Answer::Parts(parts) => {
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
    writer.shutdown().await
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
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;
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
}
