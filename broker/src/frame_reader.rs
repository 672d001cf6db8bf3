//! Reads length-prefixed frames from a socket, growing its buffer only as bytes arrive.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidewheel_config::limits;
use tidewheel_protocol::frame::{FrameError, frame_len};
use tokio::io::{AsyncRead, AsyncReadExt, Interest};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

use crate::memory_pool::{MemoryPool, MemoryShare};

/// One request as it came, without its length prefix, and the pool's share it holds.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Header and body.
    pub(crate) bytes: Bytes,
    /// Given back when the request has been handled.
    pub(crate) share: MemoryShare,
}

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadEnd {
    /// The peer closed between two frames.
    #[error("closed by the peer")]
    Closed,
    /// Nothing came for `connections.max.idle.ms`.
    #[error("idle for too long")]
    Idle,
    /// A frame was begun and then nothing moved: the peer stalled or the request memory stayed full.
    #[error("stalled in the middle of a request")]
    Stalled,
    /// The announced length is negative, too short or above `socket.request.max.bytes`.
    #[error(transparent)]
    BadLength(#[from] FrameError),
    /// The socket failed, or the peer closed in the middle of a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Bounds of one connection's reading.
#[derive(Clone, Debug)]
pub(crate) struct FrameLimits {
    /// `socket.request.max.bytes`.
    pub(crate) frame_bytes_max: usize,
    /// `connections.max.idle.ms`.
    pub(crate) idle: Duration,
}

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    socket: R,
    buffer: BytesMut,
    pool: MemoryPool,
    limits: FrameLimits,
}

impl FrameReader<OwnedReadHalf> {
    /// Resolves when the peer has closed its sending half or all of its connection, also while there are
    /// received bytes that nobody has read. Cancel-safe: it takes nothing.
    pub(crate) async fn hung_up(&self) {
        // This interest is met by the end of the stream, never by bytes; urgent ones are not asked for
        // where sockets are registered. An error of the socket ends it as well.
        drop(self.socket.ready(Interest::PRIORITY).await);
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(socket: R, pool: MemoryPool, limits: FrameLimits) -> Self {
        // No buffer before the first byte: idle connections cost none.
        Self {
            socket,
            buffer: BytesMut::new(),
            pool,
            limits,
        }
    }

    /// The next frame, of which `free` bytes are not counted by the pool. Not cancel-safe in the middle of
    /// a frame: cancel only to close.
    pub(crate) async fn next(&mut self, free: usize) -> Result<Frame, ReadEnd> {
        let mut share = MemoryShare::default();
        while self.buffer.len() < 4 {
            let wait = if self.buffer.is_empty() {
                self.limits.idle
            } else {
                limits::FRAME_STALL
            };
            self.fill(limits::READ_CHUNK_BYTES, wait).await?;
        }
        let mut prefix = [0; 4];
        prefix.copy_from_slice(&self.buffer.split_to(4));
        let len = frame_len(prefix, self.limits.frame_bytes_max)?;
        while self.buffer.len() < len {
            let missing = len - self.buffer.len();
            // Room for as much again as has arrived: a lying length costs at most a factor of two.
            let room = missing.min(self.buffer.len().max(limits::READ_CHUNK_BYTES));
            let held = self.buffer.len() + room;
            if held > free {
                let counted = held - free;
                timeout(limits::FRAME_STALL, self.pool.grow(&mut share, counted))
                    .await
                    .map_err(|_| ReadEnd::Stalled)?;
            }
            self.fill(room, limits::FRAME_STALL).await?;
        }
        let bytes = self.buffer.split_to(len).freeze();
        if self.buffer.is_empty() {
            // Let go of a buffer that only idles until the next request.
            self.buffer = BytesMut::new();
        }
        Ok(Frame { bytes, share })
    }

    /// Reads once, at most `room` bytes beyond what is buffered.
    async fn fill(&mut self, room: usize, wait: Duration) -> Result<(), ReadEnd> {
        let at_boundary = self.buffer.is_empty();
        self.buffer.reserve(room);
        let mut limited = (&mut self.socket).take(room as u64);
        match timeout(wait, limited.read_buf(&mut self.buffer)).await {
            Err(_) if wait == limits::FRAME_STALL => Err(ReadEnd::Stalled),
            Err(_) => Err(ReadEnd::Idle),
            Ok(Ok(0)) if at_boundary => Err(ReadEnd::Closed),
            Ok(Ok(0)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
        }
    }
}
