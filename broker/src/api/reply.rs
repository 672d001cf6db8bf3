//! What becomes of a request.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::connection::{Files, Piece};
use crate::memory_pool::MemoryShare;

/// An answer under way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a handler hands to the write loop.
pub(crate) enum Reply {
    /// Known at once.
    Now(Answer),
    /// Begun; the write loop finishes it in its turn. The request's bytes are no longer needed.
    Started(Answering),
    /// The same, and the connection's next request is not read before it is finished.
    Alone(Answering),
    /// Finished by the write loop, in its turn.
    Later(Answering),
    /// The same, and the connection's next request is not read before it is finished.
    Barrier(Answering),
}

impl Reply {
    /// Its answer, now that it is its turn.
    pub(crate) async fn answer(self) -> Answer {
        match self {
            Self::Now(answer) => answer,
            Self::Started(future)
            | Self::Alone(future)
            | Self::Later(future)
            | Self::Barrier(future) => future.await,
        }
    }
}

/// What leaves the socket.
pub(crate) enum Answer {
    /// A whole response frame, written one part after the other.
    Parts(Vec<Bytes>),
    /// The same whose memory is counted until it has left.
    Counted(Vec<Bytes>, MemoryShare),
    /// The same of a fetch: nobody waits for its memory, so that its reader has time.
    Fetched(Vec<Bytes>, MemoryShare),
    /// The same with slices of files in it.
    Files(Files, MemoryShare),
    /// Nothing: a produce request with `acks=0`.
    Nothing,
    /// The connection closes: the only way to tell a producer with `acks=0` of an error.
    Close,
}

impl Answer {
    /// Bytes of it that leave.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Parts(parts) | Self::Counted(parts, _) | Self::Fetched(parts, _) => bytes(parts),
            Self::Files(files, _) => files.pieces.iter().map(Piece::len).sum(),
            Self::Nothing | Self::Close => 0,
        }
    }
}

/// Bytes of all parts.
pub(crate) fn bytes(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}
