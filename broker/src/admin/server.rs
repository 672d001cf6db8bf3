//! The sockets of the HTTP API.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tidewheel_config::{AdminConfig, limits};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::auth::{Access, TokensError};
use super::guard::Peer;
use super::idle::{Activity, IdleConnections};
use super::routes;
use super::state::Admin;
use super::stats;
use crate::lifecycle::Lifecycle;
use crate::logging::Logging;
use crate::server::{BoundListener, ListenError};
use crate::trouble::Trouble;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// What an HTTP API needs to start.
#[derive(Debug)]
pub(crate) struct AdminStart {
    /// Its port.
    pub(crate) bound: BoundListener,
    /// Its settings.
    pub(crate) config: AdminConfig,
    /// How many connections it may have at once.
    pub(crate) connections_max: usize,
    /// The broker that it speaks of.
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// The log, where the broker is a process of its own.
    pub(crate) logging: Option<Arc<Logging>>,
}

/// The HTTP API did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminStartError {
    /// The port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The file of tokens.
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

/// The running HTTP API. Dropped without [`AdminServer::stop`] it cuts its connections.
#[derive(Debug)]
pub(crate) struct AdminServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    acceptor: JoinSet<()>,
    admin: Arc<Admin>,
    /// Looks at the counters.
    sampling: JoinSet<()>,
}

impl AdminServer {
    /// Begins to answer.
    ///
    /// # Errors
    /// Where the port was taken meanwhile, or the file of tokens cannot be used.
    pub(crate) fn start(start: AdminStart) -> Result<Self, AdminStartError> {
        let address = start.bound.address;
        let access = Access::load(&start.config)?;
        if access.wants_tokens() {
            start.lifecycle.wants_tokens();
        }
        let admin = Arc::new(Admin::new(
            &start.config,
            access,
            address,
            start.connections_max,
            start.lifecycle,
            start.logging,
        ));
        let listener = start.bound.listen(BACKLOG)?;
        let (stop, stopped) = watch::channel(false);
        let (mut acceptor, mut sampling) = (JoinSet::new(), JoinSet::new());
        sampling.spawn(stats::sample(Arc::clone(&admin), stopped.clone()));
        let acceptance = Acceptance {
            router: routes::router(&admin),
            connections_max: start.connections_max,
            idle: Arc::default(),
            stopped,
        };
        acceptor.spawn(acceptance.run(listener));
        Ok(Self {
            address,
            stop,
            acceptor,
            admin,
            sampling,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends streams, lets answers leave that were begun, lets changes end whose clients are gone, and cuts what is
    /// left.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        let drained = timeout(limits::ADMIN_STOP_GRACE, async {
            while self.acceptor.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            debug!("connections of the HTTP API are cut");
        }
        // What it holds of the broker is given back before this returns.
        self.acceptor.shutdown().await;
        self.sampling.shutdown().await;
        self.admin.changes.end().await;
    }
}

/// What accepting connections takes.
struct Acceptance {
    router: Router,
    connections_max: usize,
    idle: Arc<IdleConnections>,
    stopped: watch::Receiver<bool>,
}

impl Acceptance {
    /// Accepts until told to stop, then waits for its connections.
    async fn run(mut self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut trouble = Trouble::default();
        loop {
            // Each may be dropped before it has happened.
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                _ = self.stopped.wait_for(|stop| *stop) => break,
            };
            let Some((socket, peer)) = noted(accepted, &mut trouble).await else {
                continue;
            };
            while connections.try_join_next().is_some() {}
            if connections.len() >= self.connections_max {
                if !self.idle.end_oldest() {
                    debug!(%peer, "the HTTP API has all the connections that it may have");
                    continue;
                }
                connections.join_next().await;
            }
            let activity = Activity::new(&self.idle);
            let (router, stopped) = (self.router.clone(), self.stopped.clone());
            connections.spawn(serve(socket, peer, router, activity, stopped));
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// A connection, or `None` where accepting failed, which is told once while it lasts.
async fn noted(
    accepted: io::Result<(TcpStream, SocketAddr)>,
    trouble: &mut Trouble,
) -> Option<(TcpStream, SocketAddr)> {
    match accepted {
        Ok(accepted) => {
            if trouble.ends() {
                info!("the HTTP API accepts connections again");
            }
            Some(accepted)
        }
        Err(error) => {
            if trouble.begins() {
                warn!(%error, "the HTTP API cannot accept connections");
            }
            tokio::time::sleep(limits::ACCEPT_RETRY).await;
            None
        }
    }
}

/// Answers one client until it closes, is silent or reads for too long, has to make room, or `stopped` turns true.
async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    activity: Arc<Activity>,
    mut stopped: watch::Receiver<bool>,
) {
    if let Err(error) = SockRef::from(&socket).set_tcp_user_timeout(Some(limits::ADMIN_WRITE_STALL))
    {
        debug!(%peer, %error, "cannot bound how long an answer may take to leave");
    }
    let current = Arc::clone(&activity);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let busy = current.begin();
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(Arc::clone(&current));
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let answer: Result<_, Infallible> = answer.await;
            drop(busy);
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_HEADER_WAIT)
        .max_headers(limits::ADMIN_HEADERS_MAX)
        .max_buf_size(limits::ADMIN_HEADER_BYTES_MAX);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(socket), service));
    let stops = async { drop(stopped.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = activity.ends() => return,
        () = stops => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection of the HTTP API ended");
    }
}
