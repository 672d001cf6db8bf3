//! One client: a loop that reads frames and starts them, a loop that writes replies in request order.
//!
//! The read loop runs each request's first stage at once; that fixes the order of appends. The write
//! loop finishes the requests one after the other, so replies leave in request order and a waiting
//! fetch never lets a later reply overtake it. Between the two stands a queue of
//! `limits::REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX` requests: when it is full, the socket is not read.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tidewheel_config::limits;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::debug;

use crate::api::{self, Answer, Call, Reply};
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
}

/// A request between its two stages.
struct Outgoing {
    reply: Reply,
    /// The request's share of the memory pool, held until its reply is made.
    share: MemoryShare,
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
    let (closing_tx, closing) = watch::channel(false);
    let session = Arc::new(Session {
        peer,
        listener,
        closing,
    });
    let limits = FrameLimits {
        frame_bytes_max: broker.config().socket_request_max_bytes as usize,
        idle: idle(broker.config().connections_max_idle_ms),
    };
    let write_stall = limits.idle;
    let frames = FrameReader::new(reader, broker.memory().clone(), limits);
    let (queue, replies) = mpsc::channel(limits::REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX);

    let reading = async move {
        let end = read_loop(frames, queue, session, broker, stop).await;
        // A peer that closed its half still gets the replies that need no more waiting.
        closing_tx.send_replace(true);
        let grace = if end {
            limits::CLOSE_GRACE
        } else {
            Duration::ZERO
        };
        tokio::time::sleep(grace).await;
    };
    // Either side's end ends the connection: a writer that failed, or a reader whose grace is over.
    tokio::select! {
        () = reading => {}
        result = write_loop(writer, replies, write_stall) => {
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
async fn read_loop<R: tokio::io::AsyncRead + Unpin>(
    mut frames: FrameReader<R>,
    queue: mpsc::Sender<Outgoing>,
    session: Arc<Session>,
    broker: Arc<Broker>,
    mut stop: watch::Receiver<bool>,
) -> bool {
    loop {
        // The place in the queue comes first: a request is not begun that nobody could answer.
        let Ok(place) = queue.reserve().await else {
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
        let call = match Call::new(frame.bytes, Arc::clone(&session), Arc::clone(&broker)) {
            Ok(call) => call,
            Err(error) => {
                debug!(peer = %session.peer, %error, "unreadable request, connection closed");
                return true;
            }
        };
        match api::dispatch(call).await {
            Ok(reply) => {
                // What is appended is no longer held in memory, however long its reply takes.
                let share = match &reply {
                    Reply::Started(_) => MemoryShare::default(),
                    Reply::Now(_) | Reply::Later(_) => frame.share,
                };
                place.send(Outgoing { reply, share });
            }
            Err(error) => {
                debug!(peer = %session.peer, %error, "refused request, connection closed");
                return true;
            }
        }
    }
}

/// Finishes and writes the replies in order, until the queue ends.
async fn write_loop<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut replies: mpsc::Receiver<Outgoing>,
    stall: Duration,
) -> io::Result<()> {
    while let Some(Outgoing { reply, share }) = replies.recv().await {
        let answer = match reply {
            Reply::Now(answer) => answer,
            Reply::Started(future) | Reply::Later(future) => future.await,
        };
        drop(share);
        match answer {
            Answer::Parts(parts) => write_all(&mut writer, parts, stall).await?,
            Answer::Nothing => {}
            Answer::Close => return Ok(()),
        }
    }
    writer.shutdown().await
}

/// Writes all parts with vectored writes. A peer that takes nothing for `stall` is given up.
async fn write_all<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut parts: Vec<Bytes>,
    stall: Duration,
) -> io::Result<()> {
    let mut first = 0;
    loop {
        while parts.get(first).is_some_and(Bytes::is_empty) {
            first += 1;
        }
        let parts = parts.get_mut(first..).unwrap_or_default();
        if parts.is_empty() {
            return Ok(());
        }
        let slices: Vec<IoSlice<'_>> = parts
            .iter()
            .take(limits::WRITE_PARTS_MAX)
            .map(|part| IoSlice::new(part))
            .collect();
        let written = timeout(stall, writer.write_vectored(&slices))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        advance(parts, written);
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
