//! What all requests of the HTTP API share.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderValue;
use tidewheel_config::{AdminConfig, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::auth::{Access, Principal};
use super::changes::Changes;
use super::guard::AllowedHosts;
use super::health::Probes;
use super::idempotency::Repeats;
use super::overview::WorstLagSearch;
use super::problem::Problem;
use super::records::{RecordProduced, Turns};
use super::sending;
use super::stats::Stats;
use crate::broker::Broker;
use crate::lifecycle::Lifecycle;
use crate::logging::Logging;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Admin {
    /// The broker's life.
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// Who is let in.
    pub(crate) access: Access,
    /// Under which names it is called.
    pub(crate) hosts: AllowedHosts,
    /// Whether metrics are for everybody.
    pub(crate) metrics_open: bool,
    /// Whether records can be produced.
    pub(crate) produce: bool,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The log, where the broker is a process of its own.
    pub(crate) logging: Option<Arc<Logging>>,
    /// What probes look at.
    pub(crate) probes: Probes,
    /// The groups that are furthest behind.
    pub(crate) worst_lag: WorstLagSearch,
    /// What is being changed.
    pub(crate) changes: Changes,
    /// How things went lately.
    pub(crate) stats: Stats,
    /// Where records go that have no key.
    pub(crate) turns: Turns,
    /// Records that were produced with a key of their request.
    pub(crate) produced: Repeats<RecordProduced>,
    /// Bytes of answers that wait for their readers.
    pub(crate) unsent: Arc<Semaphore>,
    /// The same of pages of metrics.
    pub(crate) unsent_metrics: Arc<Semaphore>,
    work: Arc<Semaphore>,
    /// For what waits for the mutex of a log.
    logs: Arc<Semaphore>,
    group_lists: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// How many of them may be of each kind.
    stats_streams: Arc<Semaphore>,
    record_streams: Arc<Semaphore>,
    log_streams: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    look_ups: Arc<Semaphore>,
    delayed_lists: Arc<Semaphore>,
    delayed_ones: Arc<Semaphore>,
    verifications: Arc<Semaphore>,
}

/// What a stream tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// Figures each second.
    Stats,
    /// Records of a partition.
    Records,
    /// Lines of the log.
    Log,
}

/// A place among the streams.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    _share: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

fn stopping() -> Problem {
    Problem::unavailable("/problems/stopping", "the broker is stopping")
}

/// One of the places that somebody may hold who waits for a disk.
async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let place = timeout(limits::ADMIN_PLACE_WAIT, Arc::clone(places).acquire_owned());
    place.await.ok().and_then(Result::ok).ok_or_else(|| {
        let detail = "other requests have kept this one waiting; a disk may hang";
        Problem::unavailable("/problems/timed-out", detail)
    })
}

impl Admin {
    pub(crate) fn new(
        config: &AdminConfig,
        access: Access,
        address: SocketAddr,
        connections_max: usize,
        lifecycle: Arc<Lifecycle>,
        logging: Option<Arc<Logging>>,
    ) -> Self {
        let host = config.listen.as_ref().map_or("", |listen| &listen.host);
        let streams = (connections_max / 4).clamp(1, limits::ADMIN_STREAMS_MAX);
        let of_one_kind = || Arc::new(Semaphore::new((streams * 3 / 4).max(1)));
        let scrapes = (connections_max / 8).clamp(1, limits::ADMIN_SCRAPES_MAX);
        // Those that none of them takes are left to probes: one at least.
        let left = connections_max.saturating_sub(streams + scrapes + 1);
        let requests = (connections_max / 2).min(left).max(1);
        Self {
            lifecycle,
            access,
            hosts: AllowedHosts::new(&config.allowed_hosts, host),
            metrics_open: config.metrics_open,
            produce: config.produce,
            address,
            logging,
            reads: Arc::new(Semaphore::new(1)),
            look_ups: Arc::new(Semaphore::new(1)),
            delayed_lists: Arc::new(Semaphore::new(1)),
            delayed_ones: Arc::new(Semaphore::new(1)),
            verifications: Arc::new(Semaphore::new(1)),
            probes: Probes::default(),
            worst_lag: WorstLagSearch::default(),
            requests: Arc::new(Semaphore::new(requests)),
            streams: Arc::new(Semaphore::new(streams)),
            stats_streams: of_one_kind(),
            record_streams: of_one_kind(),
            log_streams: of_one_kind(),
            scrapes: Arc::new(Semaphore::new(scrapes)),
            changes: Changes::default(),
            stats: Stats::default(),
            turns: Turns::default(),
            produced: Repeats::default(),
            unsent: Arc::new(Semaphore::new(limits::ADMIN_UNSENT_BYTES)),
            unsent_metrics: Arc::new(Semaphore::new(limits::ADMIN_UNSENT_METRICS_BYTES)),
            work: Arc::new(Semaphore::new(limits::ADMIN_WORK_AT_ONCE)),
            logs: Arc::new(Semaphore::new(limits::ADMIN_WORK_AT_ONCE)),
            group_lists: Arc::new(Semaphore::new(limits::ADMIN_GROUP_LISTS_AT_ONCE)),
        }
    }

    /// The broker.
    ///
    /// # Errors
    /// While it reads its data.
    pub(crate) fn broker(&self) -> Result<&Arc<Broker>, Problem> {
        self.lifecycle.broker().ok_or_else(|| {
            Problem::unavailable(
                "/problems/starting",
                "the broker reads its data; /readyz tells how far it is",
            )
        })
    }

    /// Who sends a request with this `Authorization`. One that is wrong is counted.
    ///
    /// # Errors
    /// As [`Access::principal`].
    pub(crate) async fn principal(&self, sent: Option<&HeaderValue>) -> Result<Principal, Problem> {
        let principal = self.access.principal(sent).await;
        if sent.is_some() && principal.is_err() {
            self.lifecycle.sent_wrong_token();
        }
        principal
    }

    /// Reads records off the threads that serve connections, one request at a time: not in turns with those that
    /// clients of Kafka's API wait for.
    ///
    /// # Errors
    /// While the broker reads its data, when it goes down, and where others take too long.
    pub(crate) async fn read_records<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let broker = self.broker()?;
        let place = place(&self.reads).await?;
        let read = broker.read_blocking(move || {
            let read = work();
            drop(place);
            read
        });
        read.await.ok_or_else(stopping)
    }

    /// The turn of one request to look something up: where clients of Kafka's API want to do so, too, no more
    /// than one of these stands before them. Whatever looks it up gives it back.
    ///
    /// # Errors
    /// Where others take too long.
    pub(crate) async fn look_up_turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        place(&self.look_ups).await
    }

    /// Looks something up in its turn, off the threads that serve connections.
    ///
    /// # Errors
    /// While the broker reads its data, when it goes down, and where others take too long.
    pub(crate) async fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let broker = self.broker()?;
        let turn = self.look_up_turn().await?;
        let found = broker.look_up(move || {
            let found = work();
            drop(turn);
            found
        });
        found.await.ok_or_else(stopping)
    }

    /// Lists delayed records off the threads that serve connections, one request at a time: it may read files for
    /// seconds, so it is not in turns with the look-ups of Kafka's clients.
    ///
    /// # Errors
    /// As [`Admin::compute`].
    pub(crate) async fn list_delayed<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Broker>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.compute_in(&self.delayed_lists, work).await
    }

    /// The same for what looks at one delayed record or changes it: no list stands before it.
    ///
    /// # Errors
    /// As [`Admin::compute`].
    pub(crate) async fn one_delayed<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Broker>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.compute_in(&self.delayed_ones, work).await
    }

    /// Reads much of a partition off the threads that serve connections, one request at a time.
    ///
    /// # Errors
    /// As [`Admin::compute`].
    pub(crate) async fn verify<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Broker>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.compute_in(&self.verifications, work).await
    }

    /// A place among the requests that are answered at once, given back when it is dropped.
    ///
    /// # Errors
    /// Where there are as many as may be.
    pub(crate) fn request_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.requests).try_acquire_owned();
        let full = |_| {
            let detail = "too many requests are being answered at once";
            Problem::unavailable("/problems/too-many-requests", detail)
        };
        place.map_err(full)
    }

    /// A place among the streams, given back when it is dropped. Those of one kind have three quarters of them at most,
    /// so that some are left for the others.
    ///
    /// # Errors
    /// Where there are as many as may be, of this kind or of all.
    pub(crate) fn stream_place(&self, kind: StreamKind) -> Result<StreamPlace, Problem> {
        let share = match kind {
            StreamKind::Stats => &self.stats_streams,
            StreamKind::Records => &self.record_streams,
            StreamKind::Log => &self.log_streams,
        };
        let taken = |places: &Arc<Semaphore>| {
            let place = Arc::clone(places).try_acquire_owned();
            let full = |_| {
                Problem::unavailable("/problems/too-many-streams", "there are too many streams")
            };
            place.map_err(full)
        };
        Ok(StreamPlace {
            _share: taken(share)?,
            _place: taken(&self.streams)?,
        })
    }

    /// The same for a scrape: no page is made that would have to be thrown away.
    ///
    /// # Errors
    /// Where all are taken, or no page more may wait for its reader.
    pub(crate) fn scrape_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        if !sending::has_room(&self.unsent_metrics) {
            return Err(sending::full());
        }
        let place = Arc::clone(&self.scrapes).try_acquire_owned();
        let full = |_| {
            let detail = "too many pages of metrics are being made at once";
            Problem::unavailable("/problems/too-many-requests", detail)
        };
        place.map_err(full)
    }

    /// A place among those who go through the offsets of all groups, given back when it is dropped.
    ///
    /// # Errors
    /// Where others take too long.
    pub(crate) async fn group_list_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        place(&self.group_lists).await
    }

    /// Computes an answer off the threads that serve connections, a few at a time. It takes no mutex of a log:
    /// an append to a disk that hangs may hold it.
    ///
    /// # Errors
    /// While the broker reads its data, when it goes down, and where others take too long.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Broker>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.compute_in(&self.work, work).await
    }

    /// The same for what has to take the mutex of a log, in places of its own.
    ///
    /// # Errors
    /// As [`Admin::compute`].
    pub(crate) async fn ask_logs<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Broker>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.compute_in(&self.logs, work).await
    }

    async fn compute_in<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&Arc<Broker>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (asked, broker) = (self.broker()?, Arc::clone(self.broker()?));
        let place = place(places).await?;
        let computed = asked.read_blocking(move || {
            let computed = work(&broker);
            // Also where nobody waits for it any more.
            drop(place);
            computed
        });
        computed.await.ok_or_else(stopping)
    }
}

#[cfg(test)]
impl Admin {
    /// An API that is open and has 16 connections, of a broker with this life.
    pub(crate) fn of(lifecycle: Lifecycle) -> Arc<Self> {
        crate::logging::let_tests_note();
        let config = AdminConfig {
            listen: None,
            listen_is_default: true,
            auth: tidewheel_config::AdminAuth::None,
            tokens_file: None,
            allowed_hosts: Vec::new(),
            metrics_open: true,
            produce: false,
        };
        let address = ([127, 0, 0, 1], 0).into();
        let lifecycle = Arc::new(lifecycle);
        Arc::new(Self::new(
            &config,
            Access::Open,
            address,
            16,
            lifecycle,
            None,
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::IntoResponse;

    use super::*;
    use crate::admin::health;
    use crate::testing;

    #[tokio::test]
    async fn probes_do_not_wait_for_what_others_ask() {
        let dir = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::begin();
        lifecycle.has_read(&testing::broker(dir.path(), &[]));
        lifecycle.serves();
        let admin = Admin::of(lifecycle);
        let mut hung = Vec::new();
        for _ in 0..limits::ADMIN_WORK_AT_ONCE {
            let (go_on, hangs) = mpsc::sync_channel::<()>(1);
            let slow = Arc::clone(&admin);
            let slow = async move { slow.compute(move |_| hangs.recv().is_ok()).await.is_ok() };
            hung.push((go_on, tokio::spawn(slow)));
        }
        while admin.work.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let (status, _) = health::readyz(State(Arc::clone(&admin)), HeaderMap::new()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(admin.work.available_permits(), 0);
        for (go_on, slow) in hung {
            go_on.send(()).unwrap();
            assert!(slow.await.unwrap());
        }
    }

    #[tokio::test]
    async fn nobody_waits_long_for_what_a_disk_may_hold() {
        let dir = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::begin();
        lifecycle.has_read(&testing::broker(dir.path(), &[]));
        let admin = Admin::of(lifecycle);
        let take = |places: &Arc<Semaphore>| {
            let places = Arc::clone(places);
            let taken = std::iter::repeat_with(|| Arc::clone(&places).try_acquire_owned());
            taken.map_while(Result::ok).collect::<Vec<_>>()
        };
        let lists = [&admin.group_lists, &admin.delayed_lists];
        let held = [&admin.logs, &admin.reads, &admin.delayed_ones].map(take);
        let verified = take(&admin.verifications);
        let held = (held, verified, lists.map(take));
        tokio::time::pause();
        for refused in [
            admin.ask_logs(|_| ()).await,
            admin.read_records(|| ()).await,
            admin.list_delayed(|_| ()).await,
            admin.one_delayed(|_| ()).await,
            admin.verify(|_| ()).await,
            admin.group_list_place().await.map(drop),
        ] {
            let refused = refused.unwrap_err().into_response();
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        tokio::time::resume();
        // What waits for no mutex of a log goes on.
        assert!(admin.compute(|_| ()).await.is_ok());
        drop(held);
        assert!(admin.ask_logs(|_| ()).await.is_ok());
    }

    #[test]
    fn streams_and_requests_leave_connections_to_probes() {
        let admin = Admin::of(Lifecycle::begin());
        let kinds = [StreamKind::Stats, StreamKind::Records, StreamKind::Log];
        for kind in kinds {
            let streams = (0..16).map_while(|_| admin.stream_place(kind).ok());
            let streams: Vec<_> = streams.collect();
            assert_eq!(streams.len(), 3, "{kind:?}");
            for other in kinds {
                let place = admin.stream_place(other);
                assert_eq!(place.is_ok(), other != kind, "{other:?} beside {kind:?}");
            }
        }
        let streams = kinds.iter().cycle().take(16);
        let streams: Vec<_> = streams
            .map_while(|kind| admin.stream_place(*kind).ok())
            .collect();
        let requests: Vec<_> = (0..16).map_while(|_| admin.request_place().ok()).collect();
        assert_eq!((streams.len(), requests.len()), (4, 8));
        let scrapes: Vec<_> = (0..16).map_while(|_| admin.scrape_place().ok()).collect();
        assert_eq!(scrapes.len(), 2);
        drop((streams, requests, scrapes));
        assert!(admin.stream_place(StreamKind::Log).is_ok() && admin.request_place().is_ok());
        assert!(admin.scrape_place().is_ok());
    }
}
