//! Where answers leave: sockets, which also take slices of files without a copy.

use std::io;
use std::os::fd::AsFd;

use bytes::Bytes;
use tidewheel_storage::RecordSlice;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::OwnedSemaphorePermit;

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// What a file of the system holds.
    File(RecordSlice),
}

impl Piece {
    /// Its bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(slice) => slice.len(),
        }
    }
}

/// An answer with slices of files.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) pieces: Vec<Piece>,
    /// Counts the files that answers keep open.
    pub(crate) being_sent: OwnedSemaphorePermit,
}

/// What a connection writes to.
pub(super) trait Outlet: AsyncWrite + Unpin {
    /// Lets bytes wait (`true`) until a packet is full or they may leave (`false`): the pieces of one answer
    /// are to wake its reader once.
    fn hold(&self, hold: bool) -> io::Result<()>;

    /// Sends some of `slice` from its byte `start` on; returns how many bytes. `WouldBlock` until there is
    /// [`Self::room`].
    fn try_send(&self, slice: &RecordSlice, start: usize) -> io::Result<usize>;

    /// Resolves when there may be room for more, as its peer has received some.
    async fn room(&self) -> io::Result<()>;
}

impl Outlet for OwnedWriteHalf {
    fn hold(&self, hold: bool) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_tcp_cork(self.as_ref(), hold)?)
    }

    fn try_send(&self, slice: &RecordSlice, start: usize) -> io::Result<usize> {
        let socket: &TcpStream = self.as_ref();
        let send = || slice.send_to(socket.as_fd(), start);
        socket.try_io(Interest::WRITABLE, send)
    }

    async fn room(&self) -> io::Result<()> {
        self.writable().await
    }
}
