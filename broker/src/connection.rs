//! One client: a loop that reads frames and starts them, a loop that writes replies in request order.
//!
//! The read loop runs each request's first stage at once; that fixes the order of appends. The write
//! loop finishes the requests one after the other, so replies leave in request order and a waiting
//! fetch never lets a later reply overtake it. Between the two stands a queue of
//! `limits::REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX` requests: when it is full, the socket is not read.
//! After a request that changes topics the next one is begun when that one is done, so that it sees
//! the change.

mod outlet;
mod writing;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_storage::StorageError;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

pub(crate) use self::outlet::{Files, Piece};
use self::writing::{Patience, write_loop};
use crate::api::{self, Answer, Call, Reply, RequestMemory};
use crate::broker::Broker;
use crate::clients::Client;
use crate::clock;
use crate::frame_reader::{Frame, FrameLimits, FrameReader, ReadEnd};
use crate::memory_pool::MemoryShare;
use crate::metrics::{CloseReason, Meter, OpenConnection, RequestTimer};
use crate::rate_limit::RateLimit;

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
    /// Where its requests are counted.
    pub(crate) meter: Meter,
    /// Counts it while it is there, and what ends it.
    pub(crate) open: OpenConnection,
    /// What operators are told about it.
    pub(crate) client: Arc<Client>,
    /// For how many µs the request that is answered now has waited for data, as its client wished.
    pub(crate) wished_us: AtomicU64,
}

impl Session {
    /// The request that is answered now has waited for data, as its client wished.
    pub(crate) fn has_waited(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.wished_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How long the request waited for data that was answered last: one at a time is.
    fn wished(&self) -> Duration {
        match self.wished_us.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => Duration::from_micros(self.wished_us.swap(0, Ordering::Relaxed)),
        }
    }
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
    /// How long it takes.
    timer: Option<RequestTimer>,
}

impl Outgoing {
    /// Also returns, for a barrier, what tells when its reply is made.
    fn new(
        reply: Reply,
        share: MemoryShare,
        session: &Arc<Session>,
        timer: Option<RequestTimer>,
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
            timer,
        };
        (outgoing, barrier)
    }

    /// Its answer, now that it is its turn.
    async fn answer(self) -> (Answer, Option<RequestTimer>) {
        drop(self.holding);
        let answer = self.reply.answer().await;
        drop((self.share, self.answered));
        (answer, self.timer)
    }

    /// Its answer, if that is made already, or was begun before its turn and can be made at once.
    fn ready(&mut self) -> Option<Answer> {
        let answer = match &mut self.reply {
            Reply::Now(answer) => std::mem::replace(answer, Answer::Nothing),
            Reply::Started(future) => {
                // Whoever waits for it asks again.
                let mut nobody = Context::from_waker(Waker::noop());
                match future.as_mut().poll(&mut nobody) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => return None,
                }
            }
            Reply::Alone(_) | Reply::Later(_) | Reply::Barrier(_) => return None,
        };
        Some(answer)
    }
}

/// A connection's place in the list of those that are there.
struct Entered {
    broker: Arc<Broker>,
    client: Arc<Client>,
}

impl Entered {
    fn new(broker: &Arc<Broker>, peer: SocketAddr, listener: usize) -> Self {
        Self {
            broker: Arc::clone(broker),
            client: broker.clients().enter(peer, listener),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.broker.clients().leave(&self.client);
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
    let entered = Entered::new(&broker, peer, listener);
    let session = Arc::new(Session {
        peer,
        listener,
        closing: closing.clone(),
        holding: watch::Sender::new(0),
        meter: broker.metrics().meter(),
        open: broker.metrics().opened(listener),
        client: Arc::clone(&entered.client),
        wished_us: AtomicU64::new(0),
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

    // A task of its own: were it a part of this one, each request would wake the task that runs already,
    // and the runtime another thread to look for more of that.
    let mut reader = JoinSet::new();
    reader.spawn(async move {
        let answers = read_loop(frames, queue, session, broker, stop, &closing_tx).await;
        closing_tx.send_replace(true);
        answers
    });
    let reading = async {
        if let Some(Ok(true)) = reader.join_next().await {
            std::future::pending().await
        }
    };
    // A peer that closed its half still gets the replies that need no more waiting.
    let grace = async {
        // Without a sender the reader is gone, too.
        drop(closing.wait_for(|closing| *closing).await);
        tokio::time::sleep(limits::CLOSE_GRACE).await;
    };
    // Either side's end ends the connection: a writer that is done or failed, a reader that was lied to
    // or whose grace is over.
    tokio::select! {
        () = reading => {}
        () = grace => {}
        reason = entered.client.ended() => {
            patience.session.open.ends(CloseReason::Operator);
            info!(%peer, reason, "connection ended by an operator");
        }
        result = write_loop(writer, replies, &patience) => {
            if let Err(error) = result {
                failed(&patience.session, &error);
            }
        }
    }
    // Nothing of it is left when this connection gives its place back.
    reader.shutdown().await;
}

/// Consumers come again and again.
static LINES: RateLimit = RateLimit::new();

/// Says why an answer could not leave: its reader, the way to it, or the log that it is of.
fn failed(session: &Session, error: &io::Error) {
    let peer = session.peer;
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<StorageError>())
    {
        session.open.ends(CloseReason::Storage);
        if let Some(unsaid) = LINES.passes() {
            warn!(%peer, %error, unsaid, "cannot send a segment, connection closed");
        }
        return;
    }
    session.open.ends(match error.kind() {
        ErrorKind::TimedOut => CloseReason::Unread,
        _ => CloseReason::Client,
    });
    debug!(%peer, %error, "connection ended while writing");
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
                    session.open.ends(CloseReason::Client);
                    closing.send_replace(true);
                }
                _ = stop.wait_for(|stop| *stop) => return true,
            }
            continue;
        }
        let place = tokio::select! {
            place = queue.reserve() => place,
            () = frames.hung_up(), if waits_for_peer => {
                session.open.ends(CloseReason::Client);
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
            Err(error) => return no_more(&session, &error),
        };
        let Some((reply, share, timer)) = start(frame, free, &session, &broker).await else {
            session.open.ends(CloseReason::Refused);
            return true;
        };
        let closes = matches!(reply, Reply::Now(Answer::Close));
        let outgoing;
        (outgoing, barrier) = Outgoing::new(reply, share, &session, timer);
        place.send(outgoing);
        if closes {
            // What comes after it is not begun: nobody could answer it.
            return true;
        }
    }
}

/// No further request is read. Returns whether what was started may still be answered.
fn no_more(session: &Session, end: &ReadEnd) -> bool {
    session.open.ends(match end {
        ReadEnd::Closed | ReadEnd::Io(_) => CloseReason::Client,
        ReadEnd::Idle => CloseReason::Idle,
        ReadEnd::Stalled => CloseReason::Stalled,
        ReadEnd::BadLength(_) => CloseReason::Refused,
    });
    if let ReadEnd::Closed = end {
        return true;
    }
    debug!(peer = %session.peer, error = %end, "connection closed");
    false
}

/// Starts a request; returns its reply with what it holds. `None` where it closes the connection.
async fn start(
    frame: Frame,
    free: usize,
    session: &Arc<Session>,
    broker: &Arc<Broker>,
) -> Option<(Reply, MemoryShare, Option<RequestTimer>)> {
    let (arrived, bytes) = (clock::instant(), frame.bytes.len());
    let memory = RequestMemory {
        free,
        counted: frame.share.is_counted(),
    };
    let call = Call::new(frame.bytes, Arc::clone(session), Arc::clone(broker), memory);
    let unreadable =
        |error: &_| debug!(peer = %session.peer, %error, "unreadable request, connection closed");
    let call = call.inspect_err(unreadable).ok()?;
    session.client.asks(&call.header, bytes, arrived);
    let mut timer = session.meter.begin(call.header.api_key, bytes, arrived);
    let refused =
        |error: &_| debug!(peer = %session.peer, %error, "refused request, connection closed");
    // What no broker would handle is not a fault's either.
    let faults = broker.faults().filter(|_| api::is_served(&call.header));
    let begun = match faults.and_then(|faults| faults.strike(call.header.api_key)) {
        None => api::dispatch(call).await,
        Some(fault) => Box::pin(api::dispatch_faulty(call, fault)).await,
    };
    let reply = begun.inspect_err(refused).ok()?;
    if let Some(timer) = &mut timer {
        timer.begun(clock::instant());
    }
    Some((reply, frame.share, timer))
}
