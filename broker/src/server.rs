//! Listeners: bound before the data is touched, listening only when the first client can be served.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tidewheel_config::{Listener, limits};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::broker::Broker;
use crate::connection;
use crate::connection_places::{ConnectionPlace, ConnectionPlaces};
use crate::metrics::CloseReason;
use crate::trouble::Trouble;

/// The name under which the HTTP API's address is bound: no listener's, because those are in capitals.
pub(crate) const ADMIN: &str = "http";

/// A listener's address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listener}: {source}{hint}")]
pub(crate) struct ListenError {
    listener: String,
    source: io::Error,
    hint: &'static str,
}

/// A socket that holds its port but does not answer yet.
#[derive(Debug)]
pub(crate) struct BoundListener {
    socket: Socket,
    /// The security protocol and listener name, `PLAINTEXT`.
    pub(crate) name: String,
    /// The address with the port that was really taken.
    pub(crate) address: SocketAddr,
}

/// Takes the ports of all `listeners`. With the default pair, a missing IPv6 is no error: it is skipped
/// with a warning.
///
/// # Errors
/// Where a host cannot be resolved or a port is taken.
pub(crate) fn bind(
    listeners: &[Listener],
    default_pair: bool,
) -> Result<Vec<BoundListener>, ListenError> {
    let mut bound: Vec<BoundListener> = Vec::new();
    for listener in listeners {
        match bind_one(listener) {
            Ok(socket) => bound.push(socket),
            Err(error) if default_pair && !bound.is_empty() && is_no_ipv6(&error) => {
                warn!(listener = %listener, %error, "IPv6 is off here: listening on IPv4 only");
            }
            Err(source) => {
                let hint = match source.kind() {
                    io::ErrorKind::AddrInUse if listener.name == ADMIN => {
                        "; another process has the port: stop it, or choose one with \
                         --set tidewheel.admin.listen=127.0.0.1:PORT, or off"
                    }
                    io::ErrorKind::AddrInUse => {
                        "; another process has the port: stop it, or choose one with \
                         --set listeners=PLAINTEXT://127.0.0.1:PORT"
                    }
                    io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
                    _ => "",
                };
                return Err(ListenError {
                    listener: listener.to_string(),
                    source,
                    hint,
                });
            }
        }
    }
    Ok(bound)
}

fn is_no_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT: the kernel has no IPv6; EADDRNOTAVAIL: it is there but ::1 is not.
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

fn bind_one(listener: &Listener) -> io::Result<BoundListener> {
    use std::net::ToSocketAddrs;
    if listener.host.is_empty() {
        return bind_everywhere(listener);
    }
    let address = (listener.host.as_str(), listener.port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
    bind_to(listener, address, true)
}

/// Every address of the machine, of both families with one socket as in Java; where there is no IPv6, those of
/// IPv4.
fn bind_everywhere(listener: &Listener) -> io::Result<BoundListener> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, listener.port));
    match bind_to(listener, both, false) {
        Err(error) if is_no_ipv6(&error) => {
            let one = SocketAddr::from((Ipv4Addr::UNSPECIFIED, listener.port));
            bind_to(listener, one, true)
        }
        bound => bound,
    }
}

fn bind_to(
    listener: &Listener,
    address: SocketAddr,
    one_family: bool,
) -> io::Result<BoundListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Lets a restarted broker take its port while old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(one_family)?;
    }
    socket.bind(&address.into())?;
    let address = socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an IP address"))?;
    Ok(BoundListener {
        socket,
        name: listener.name.clone(),
        address,
    })
}

/// The broker's open doors. Dropping it without [`Server::stop`] cuts every connection.
#[derive(Debug)]
pub(crate) struct Server {
    stop: watch::Sender<bool>,
    acceptors: JoinSet<()>,
}

impl Server {
    /// Starts to answer on the bound listeners, to as many peers at once as `max.connections` and `open_files_max`
    /// descriptors allow.
    ///
    /// # Errors
    /// Where `listen` fails: another process may have taken the port since it was bound.
    pub(crate) fn start(
        bound: Vec<BoundListener>,
        broker: &Arc<Broker>,
        open_files_max: u64,
    ) -> Result<Self, ListenError> {
        let (stop, stopped) = watch::channel(false);
        // Every listener holds a place for the peer it waits for, so that an idle one takes none away.
        let waiting = bound.len().saturating_sub(1);
        broker.connection_limits().open(open_files_max, waiting);
        let mut acceptors = JoinSet::new();
        for (index, bound) in bound.into_iter().enumerate() {
            let listener = bound.listen(broker.config().socket_listen_backlog_size)?;
            acceptors.spawn(accept_loop(
                listener,
                index,
                Arc::clone(broker),
                stopped.clone(),
            ));
        }
        Ok(Self { stop, acceptors })
    }

    /// Stops accepting and reading, lets what was begun be answered within `limits::STOP_GRACE`,
    /// and cuts what is left.
    /// `answer_parked` is called when no more requests are read.
    pub(crate) async fn stop(mut self, answer_parked: impl FnOnce()) {
        self.stop.send_replace(true);
        answer_parked();
        let drained = timeout(limits::STOP_GRACE, async {
            while self.acceptors.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            warn!("connections still open after the grace time are cut");
        }
    }
}

impl BoundListener {
    /// Begins to let peers connect.
    ///
    /// # Errors
    /// Where another process has taken the port since it was bound.
    pub(crate) fn listen(self, backlog: i32) -> Result<TcpListener, ListenError> {
        let listen = |socket: Socket| {
            socket.listen(backlog)?;
            socket.set_nonblocking(true)?;
            TcpListener::from_std(StdListener::from(socket))
        };
        listen(self.socket).map_err(|source| ListenError {
            listener: format!("{}://{}", self.name, self.address),
            source,
            hint: "",
        })
    }
}

/// Accepts until told to stop, then waits for its connections.
async fn accept_loop(
    listener: TcpListener,
    index: usize,
    broker: Arc<Broker>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut trouble = Trouble::default();
    let places = Arc::clone(&broker.connection_limits().places);
    let peers = Arc::clone(&broker.connection_limits().peers);
    loop {
        // At the most connections new peers wait in the kernel's backlog, as they do with Kafka.
        let accepted = tokio::select! {
            accepted = accept(&listener, &places, &mut trouble) => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let Some((socket, peer, place)) = accepted else {
            continue;
        };
        let Some(peer_place) = peers.enter(peer.ip()) else {
            // Dropping the socket closes it, which is all that Kafka tells such a peer.
            broker.metrics().opened(index).ends(CloseReason::PerAddress);
            debug!(%peer, "refused: its address has max.connections.per.ip connections");
            continue;
        };
        let (broker, stopped) = (Arc::clone(&broker), stopped.clone());
        connections.spawn(async move {
            connection::serve(socket, peer, index, broker, stopped).await;
            // Whoever finds a place then finds that of its address, too.
            drop((peer_place, place));
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One accepted connection with its place, or `None` where accepting failed and is worth another try.
async fn accept(
    listener: &TcpListener,
    places: &Arc<ConnectionPlaces>,
    trouble: &mut Trouble,
) -> Option<(TcpStream, SocketAddr, ConnectionPlace)> {
    let place = places.take().await;
    match listener.accept().await {
        Ok((socket, peer)) => {
            if trouble.ends() {
                info!("connections are accepted again");
            }
            if let Err(error) = socket.set_nodelay(true) {
                debug!(%peer, %error, "cannot switch off Nagle's algorithm");
            }
            // A machine that vanished never closes: without this, whoever waits for data waits on.
            if let Err(error) = SockRef::from(&socket).set_keepalive(true) {
                debug!(%peer, %error, "cannot switch keepalive on");
            }
            Some((socket, peer, place))
        }
        Err(error) => {
            // Out of descriptors, mostly: those in use come back when connections close.
            if trouble.begins() {
                warn!(%error, "cannot accept connections");
            }
            tokio::time::sleep(limits::ACCEPT_RETRY).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as StdStream;

    use super::*;

    #[test]
    fn an_empty_host_is_every_address_of_both_families() {
        let listener = Listener::parse("PLAINTEXT://:0").unwrap();
        let bound = bind(std::slice::from_ref(&listener), false).unwrap();
        bound[0].socket.listen(8).unwrap();
        let port = bound[0].address.port();
        StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if bound[0].address.is_ipv6() {
            StdStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }
}
