//! A producer's way to one broker: a connection, what is in flight on it, and how it comes back.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use tidewheel_protocol::messages::produce::ProduceResponse;

use super::feeder::Due;
use crate::client::{ClientError, Connection, ProduceFrame, code_name};

/// The first pause before a connection is tried again, in nanoseconds; it doubles up to the second.
const RETRY_FIRST: u64 = 50_000_000;
const RETRY_MAX: u64 = 1_000_000_000;
/// How long one attempt may take: it holds up the producer's other brokers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A batch that was sent and is not answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) due: Due,
    pub(super) sent: u64,
    pub(super) value_bytes: u64,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) batch: InFlight,
    /// The name of the error, if it was refused.
    pub(super) error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Lane {
    address: String,
    congestion: Option<String>,
    connection: Option<Connection>,
    version: i16,
    in_flight: VecDeque<InFlight>,
    retry_at: u64,
    retry_pause: u64,
}

impl Lane {
    /// Connects for the first time, which must succeed.
    pub(super) async fn open(
        address: &str,
        congestion: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let mut lane = Self {
            address: address.to_owned(),
            congestion: congestion.map(str::to_owned),
            connection: None,
            version: 0,
            in_flight: VecDeque::new(),
            retry_at: 0,
            retry_pause: RETRY_FIRST,
        };
        lane.connect(timeout).await?;
        Ok(lane)
    }

    async fn connect(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let connection = Connection::open(&self.address, timeout).await?;
        if let Some(name) = &self.congestion {
            let chosen = connection.set_congestion_control(name);
            chosen.map_err(|source| ClientError::Io {
                address: self.address.clone(),
                source,
            })?;
        }
        self.version = ProduceFrame::version(&connection)?;
        self.connection = Some(connection);
        self.retry_pause = RETRY_FIRST;
        Ok(())
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The version of Produce that it speaks.
    pub(super) fn version(&self) -> i16 {
        self.version
    }

    pub(super) fn can_send(&self, in_flight_max: usize) -> bool {
        self.connection.is_some() && self.in_flight.len() < in_flight_max
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// When something must happen without an answer: a time-out or the next attempt to connect.
    pub(super) fn wake_at(&self, timeout: u64) -> u64 {
        match (&self.connection, self.in_flight.front()) {
            (None, _) => self.retry_at,
            (Some(_), Some(oldest)) => oldest.sent.saturating_add(timeout),
            (Some(_), None) => u64::MAX,
        }
    }

    pub(super) fn send(
        &mut self,
        frame: &ProduceFrame,
        batch: bytes::Bytes,
    ) -> Result<(), ClientError> {
        match &mut self.connection {
            Some(connection) => frame.send(connection, batch).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Waits until the kernel has taken what was sent: where no answer comes, that is all there is.
    pub(super) async fn flush(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        match tokio::time::timeout(timeout, connection.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(ClientError::TimedOut {
                address: self.address.clone(),
                after: timeout,
            }),
        }
    }

    pub(super) fn await_answer(&mut self, batch: InFlight) {
        self.in_flight.push_back(batch);
    }

    /// Gives the connection up. What was in flight is lost: whether the broker has it is not known.
    pub(super) fn fail(&mut self, now: u64) -> Vec<InFlight> {
        self.connection = None;
        self.retry_at = now.saturating_add(self.retry_pause);
        self.in_flight.drain(..).collect()
    }

    /// Whether the oldest request waits longer than that.
    pub(super) fn is_overdue(&self, now: u64, timeout: u64) -> bool {
        self.in_flight
            .front()
            .is_some_and(|oldest| oldest.sent.saturating_add(timeout) <= now)
    }

    /// Tries to connect again where it is time to.
    pub(super) async fn revive(&mut self, now: u64) {
        if self.connection.is_some() || now < self.retry_at {
            return;
        }
        if self.connect(CONNECT_TIMEOUT).await.is_err() {
            self.retry_at = now.saturating_add(self.retry_pause);
            self.retry_pause = (self.retry_pause * 2).min(RETRY_MAX);
        }
    }

    /// The next answer; pending while there is no connection.
    pub(super) fn poll_outcome(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Outcome, ClientError>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Pending;
        };
        let frame = match connection.poll_next(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame?,
        };
        let address = connection.address().to_owned();
        let answer: ProduceResponse = connection.decode(frame, self.version)?;
        let partitions = answer
            .responses
            .first()
            .and_then(|topic| topic.partition_responses.first());
        let code = partitions.map(|partition| partition.error_code);
        match (code, self.in_flight.pop_front()) {
            (Some(code), Some(batch)) => Poll::Ready(Ok(Outcome {
                batch,
                error: (code != 0).then(|| code_name(code)),
            })),
            _ => Poll::Ready(Err(ClientError::Malformed {
                address,
                what: "an answer without a partition".to_owned(),
            })),
        }
    }
}
