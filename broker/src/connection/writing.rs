//! The write loop of a connection: finishes replies in their order and sends them.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tidewheel_config::limits;
use tidewheel_storage::RecordSlice;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::outlet::{Outlet, Piece};
use super::{Holding, Outgoing, Session};
use crate::api::{Answer, Reply, bytes};
use crate::broker::Broker;
use crate::clock;
use crate::metrics::{CloseReason, Left, RequestTimer};
use crate::slow_requests::Answered;

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
pub(super) async fn write_loop<W: Outlet>(
    mut writer: W,
    mut replies: mpsc::Receiver<Outgoing>,
    patience: &Patience,
) -> io::Result<()> {
    let mut looked_at = None;
    // The requests whose answers are being written, with the lengths of these.
    let mut leaving = Vec::new();
    loop {
        let next = match looked_at.take() {
            Some(next) => Some(next),
            None => replies.recv().await,
        };
        let Some(next) = next else {
            return writer.shutdown().await;
        };
        let turn = clock::instant();
        let (answer, timer) = next.answer().await;
        let answered = clock::instant();
        let wished = patience.session.wished();
        leaving.push((timer, answer.bytes()));
        match answer {
            Answer::Parts(mut parts) => {
                looked_at = gather(&mut parts, &mut replies, &patience.session, &mut leaving);
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
            Answer::Files(files, share) => {
                let residency = Residency {
                    broker: &patience.broker,
                    made: answered,
                    unasked: limits::RESIDENT_UNASKED,
                };
                let ends = || patience.ends(false);
                write_files(&mut writer, files.pieces, &residency, ends).await?;
                drop((files.being_sent, share));
            }
            Answer::Nothing => {}
            Answer::Close => {
                patience.session.open.ends(CloseReason::Refused);
                return Ok(());
            }
        }
        let written = clock::instant();
        let left = Left {
            turn,
            answered,
            written,
            bytes: 0,
        };
        finish(&mut leaving, left, wished, patience);
    }
}

/// Counts the requests whose answers have left together, `bytes` of them each.
fn finish(
    leaving: &mut Vec<(Option<RequestTimer>, usize)>,
    left: Left,
    wished: Duration,
    patience: &Patience,
) {
    let slow = patience.broker.slow_requests();
    let bytes = leaving.iter().map(|(_, bytes)| bytes).sum();
    patience.session.client.is_answered(leaving.len(), bytes);
    for (place, (timer, bytes)) in leaving.drain(..).enumerate() {
        let Some(timer) = timer else { continue };
        let phases = timer.finish(Left { bytes, ..left });
        let Some(key) = timer.key() else { continue };
        slow.look(&Answered {
            key,
            client: &patience.session.client,
            phases,
            wished,
            gathered: place > 0,
            request_bytes: timer.bytes(),
            response_bytes: bytes,
        });
    }
}

/// Adds the answers that are ready already, up to about `limits::FREE_BYTES_PER_CONNECTION` of them: one
/// write costs less than many. Returns what was looked at and has to wait.
fn gather(
    parts: &mut Vec<Bytes>,
    replies: &mut mpsc::Receiver<Outgoing>,
    session: &Arc<Session>,
    leaving: &mut Vec<(Option<RequestTimer>, usize)>,
) -> Option<Outgoing> {
    let mut gathered = bytes(parts);
    while gathered < limits::FREE_BYTES_PER_CONNECTION && parts.len() < limits::WRITE_PARTS_MAX {
        let mut next = replies.try_recv().ok()?;
        // When it is looked at it takes its turn for come; what it holds still waits for the ones before it.
        next.holding.get_or_insert_with(|| Holding::new(session));
        match next.ready() {
            Some(Answer::Parts(more)) => {
                leaving.push((next.timer.take(), bytes(&more)));
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

/// Whether the files of an answer are in memory: they were when they were looked up, but their reader may
/// take minutes to come for them.
struct Residency<'a> {
    broker: &'a Broker,
    /// When the answer was made.
    made: Instant,
    /// For how long nobody asks.
    unasked: Duration,
}

/// When a slice was seen in memory, and up to which of its bytes.
struct Seen {
    at: Instant,
    end: usize,
}

impl Residency<'_> {
    /// What is known of a slice of which nothing has left.
    fn seen(&self, slice: &RecordSlice) -> Seen {
        Seen {
            at: self.made,
            end: slice.len(),
        }
    }

    /// Before more of `slice` leaves from its byte `start` on: sees to it that no worker of the runtime waits
    /// for the disk. Where the time went does not matter, be it here or behind what leaves before it.
    async fn ensure(&self, slice: &RecordSlice, start: usize, seen: &mut Seen) -> io::Result<()> {
        let now = clock::instant();
        let next = slice.len().min(start + RecordSlice::SEND_BYTES_MAX);
        if next <= seen.end && now.duration_since(seen.at) < self.unasked {
            return Ok(());
        }
        let end = slice.len().min(start + limits::RESIDENT_BYTES_AHEAD);
        *seen = Seen { at: now, end };
        if slice.is_still_resident(&(start..end)) {
            return Ok(());
        }
        let slice = slice.clone();
        let brought = self
            .broker
            .read_blocking(move || slice.bring_in(start..end));
        match brought.await {
            Some(brought) => brought.map_err(io::Error::other),
            // The broker is going down.
            None => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Writes all pieces, files without a copy, under the rule of [`write_all`].
async fn write_files<W: Outlet, E: Future<Output = ()>>(
    writer: &mut W,
    pieces: Vec<Piece>,
    residency: &Residency<'_>,
    ends: impl Fn() -> E,
) -> io::Result<()> {
    writer.hold(true)?;
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(more) => bytes.push(more),
            Piece::File(slice) => {
                write_all(writer, std::mem::take(&mut bytes), &ends).await?;
                send_all(writer, &slice, residency, &ends).await?;
            }
        }
    }
    write_all(writer, bytes, &ends).await?;
    writer.hold(false)
}

/// Sends a slice of a file under the rule of [`write_all`]; from its map, where the system sends no such file.
async fn send_all<W: Outlet, E: Future<Output = ()>>(
    writer: &mut W,
    slice: &RecordSlice,
    residency: &Residency<'_>,
    ends: impl Fn() -> E,
) -> io::Result<()> {
    let mut sent = 0;
    let mut seen = residency.seen(slice);
    while sent < slice.len() {
        let some = async {
            let enough = slice.len().min(sent + limits::WRITE_PROGRESS_BYTES);
            while sent < enough {
                // A reader that is as fast as the log does not keep the worker from others.
                tokio::task::consume_budget().await;
                residency.ensure(slice, sent, &mut seen).await?;
                match writer.try_send(slice, sent) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        writer.room().await?;
                    }
                    some => sent += some?,
                }
            }
            io::Result::Ok(())
        };
        let some = tokio::select! {
            biased;
            some = some => some,
            () = ends() => return Err(io::ErrorKind::TimedOut.into()),
        };
        match some {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let bytes = slice.bytes().map_err(io::Error::other)?;
                return write_all(writer, vec![bytes.slice(sent..)], ends).await;
            }
            some => some?,
        }
    }
    Ok(())
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
mod tests;
