//! One connection that its owner drives: requests are queued, answers come back in their order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::ops::RangeInclusive;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tidewheel_config::limits;
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::{
    ApiKey, ErrorCode, Message, RequestHeader, StrBytes, decode_response_frame,
    encode_request_frame,
};
use tokio::net::TcpStream;

use super::ClientError;

/// What the bench calls itself.
pub(super) const CLIENT_ID: &str = "tidewheel-bench";

/// Bytes that are asked of the socket at once.
const READ_BYTES: usize = 256 * 1024;

/// An answer, without its length prefix.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The number of the request.
    pub correlation_id: i32,
    /// Header and body.
    pub bytes: Bytes,
}

/// A connection to one broker, with the versions it speaks.
#[derive(Debug)]
pub struct Connection {
    address: String,
    /// What this client calls itself.
    client_id: &'static str,
    stream: TcpStream,
    versions: Vec<(i16, RangeInclusive<i16>)>,
    next_correlation: i32,
    /// Bytes of requests that the socket has not taken yet.
    outgoing: VecDeque<Bytes>,
    /// Numbers of requests that have no answer yet: answers come in this order.
    awaited: VecDeque<i32>,
    incoming: BytesMut,
}

impl Connection {
    /// Connects and asks which versions the broker speaks.
    ///
    /// # Errors
    /// Where nobody accepts, or what accepts is no Kafka broker, within `timeout`.
    pub async fn open(address: &str, timeout: Duration) -> Result<Self, ClientError> {
        Self::open_as(CLIENT_ID, address, timeout).await
    }

    /// The same under another `client.id`.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn open_as(
        client_id: &'static str,
        address: &str,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let opening = Self::open_slowly(client_id, address, timeout);
        match tokio::time::timeout(timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(ClientError::TimedOut {
                address: address.to_owned(),
                after: timeout,
            }),
        }
    }

    async fn open_slowly(
        client_id: &'static str,
        address: &str,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let cannot = |source| ClientError::Connect {
            address: address.to_owned(),
            source,
        };
        let stream = TcpStream::connect(address).await.map_err(cannot)?;
        stream.set_nodelay(true).map_err(cannot)?;
        let mut connection = Self {
            address: address.to_owned(),
            client_id,
            stream,
            versions: Vec::new(),
            next_correlation: 0,
            outgoing: VecDeque::new(),
            awaited: VecDeque::new(),
            incoming: BytesMut::new(),
        };
        connection.negotiate(timeout).await?;
        Ok(connection)
    }

    async fn negotiate(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: StrBytes::from_static(self.client_id),
            client_software_version: StrBytes::from_static(env!("CARGO_PKG_VERSION")),
        };
        let mut version = 3;
        let mut answer = self.ask_versions(version, &request, timeout).await?;
        if answer.error_code == ErrorCode::UnsupportedVersion.code() {
            version = 0;
            answer = self.ask_versions(version, &request, timeout).await?;
        }
        if answer.error_code != 0 {
            return Err(ClientError::Refused {
                what: format!("{} does not tell its versions", self.address),
                code: answer.error_code,
                detail: None,
            });
        }
        self.versions = answer
            .api_keys
            .iter()
            .map(|api| (api.api_key, api.min_version..=api.max_version))
            .collect();
        Ok(())
    }

    /// An answer to an unknown version comes in version 0, whatever was asked.
    async fn ask_versions(
        &mut self,
        version: i16,
        request: &ApiVersionsRequest,
        timeout: Duration,
    ) -> Result<ApiVersionsResponse, ClientError> {
        self.send(version, request)?;
        let frame = self.next_within(timeout).await?;
        let refused =
            frame.bytes.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
        self.decode(frame, if refused { 0 } else { version })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The congestion control of this socket, where the system tells.
    #[must_use]
    pub fn congestion_control(&self) -> Option<String> {
        let name = socket2::SockRef::from(&self.stream).tcp_congestion().ok()?;
        let name = String::from_utf8(name).ok()?;
        Some(name.trim_end_matches('\0').to_owned())
    }

    /// Chooses the congestion control of this socket: what is sent from here follows it.
    ///
    /// # Errors
    /// Where the kernel does not have it or does not allow it.
    pub fn set_congestion_control(&self, name: &str) -> std::io::Result<()> {
        socket2::SockRef::from(&self.stream).set_tcp_congestion(name.as_bytes())
    }

    /// The newest version of an API that both sides know, at most `newest`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn version<M: Message>(&self, newest: i16) -> Result<i16, ClientError> {
        let theirs = self
            .versions
            .iter()
            .find(|(key, _)| *key == M::KEY.code())
            .map(|(_, range)| range.clone());
        let unsupported = || ClientError::UnsupportedVersion {
            address: self.address.clone(),
            api: M::KEY,
        };
        let theirs = theirs.ok_or_else(unsupported)?;
        let version = newest.min(*M::VERSIONS.end()).min(*theirs.end());
        if version < *theirs.start() || version < *M::VERSIONS.start() {
            return Err(unsupported());
        }
        Ok(version)
    }

    /// Whether the broker serves an API at all.
    #[must_use]
    pub fn serves(&self, api: ApiKey) -> bool {
        self.versions.iter().any(|(key, _)| *key == api.code())
    }

    /// Queues a request and hands the socket what it takes.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn send<M: Message>(&mut self, version: i16, request: &M) -> Result<i32, ClientError> {
        let correlation_id = self.queue(version, request);
        self.awaited.push_back(correlation_id);
        self.try_flush()?;
        Ok(correlation_id)
    }

    /// The same with a request that the broker does not answer.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn send_unanswered<M: Message>(
        &mut self,
        version: i16,
        request: &M,
    ) -> Result<(), ClientError> {
        self.queue(version, request);
        self.try_flush()
    }

    fn queue<M: Message>(&mut self, version: i16, request: &M) -> i32 {
        let correlation_id = self.next_id();
        let header = RequestHeader {
            api_key: M::KEY.code(),
            api_version: version,
            correlation_id,
            client_id: Some(StrBytes::from_static(self.client_id)),
        };
        self.outgoing
            .push_back(encode_request_frame(&header, request));
        correlation_id
    }

    /// The number of the next request.
    pub(super) fn next_id(&mut self) -> i32 {
        self.next_correlation = self.next_correlation.wrapping_add(1);
        self.next_correlation
    }

    /// Queues a frame that is made already, in pieces; `answered` says whether an answer will come.
    pub(super) fn send_parts(
        &mut self,
        correlation_id: i32,
        parts: [Bytes; 3],
        answered: bool,
    ) -> Result<(), ClientError> {
        self.outgoing
            .extend(parts.into_iter().filter(|part| !part.is_empty()));
        if answered {
            self.awaited.push_back(correlation_id);
        }
        self.try_flush()
    }

    /// The next answer. Nothing is lost when the future is dropped: all state is in the connection.
    ///
    /// # Errors
    /// Where the connection ended or what came is no answer.
    pub async fn next(&mut self) -> Result<Frame, ClientError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    async fn next_within(&mut self, timeout: Duration) -> Result<Frame, ClientError> {
        match tokio::time::timeout(timeout, self.next()).await {
            Ok(frame) => frame,
            Err(_) => Err(ClientError::TimedOut {
                address: self.address.clone(),
                after: timeout,
            }),
        }
    }

    /// As [`Connection::next`], for owners of several connections. Writes what is queued on the way.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Frame, ClientError>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Poll::Ready(Ok(frame));
            }
            while !self.outgoing.is_empty() {
                match self.stream.poll_write_ready(context) {
                    Poll::Pending => break,
                    Poll::Ready(ready) => ready.map_err(|source| self.failed(source))?,
                }
                self.try_flush()?;
            }
            ready!(self.stream.poll_read_ready(context)).map_err(|source| self.failed(source))?;
            self.incoming.reserve(READ_BYTES);
            match self.stream.try_read_buf(&mut self.incoming) {
                Ok(0) => {
                    return Poll::Ready(Err(ClientError::Closed {
                        address: self.address.clone(),
                    }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(source) => return Poll::Ready(Err(self.failed(source))),
            }
        }
    }

    /// Waits until the kernel has taken every byte; answers that come meanwhile are kept.
    ///
    /// # Errors
    /// Where the socket fails.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        while !self.outgoing.is_empty() {
            let ready = self.stream.writable().await;
            ready.map_err(|source| self.failed(source))?;
            self.try_flush()?;
        }
        Ok(())
    }

    /// Sends and waits for the answer; nothing else may be in flight.
    ///
    /// # Errors
    /// As for sending and receiving, and where no answer comes in `timeout`.
    pub async fn call<Q: Message, A: Message>(
        &mut self,
        newest: i16,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, ClientError> {
        let version = self.version::<Q>(newest)?;
        self.send(version, request)?;
        let frame = self.next_within(timeout).await?;
        self.decode(frame, version)
    }

    /// Reads an answer of a known kind.
    ///
    /// # Errors
    /// Where the bytes are not that answer.
    pub fn decode<A: Message>(&self, frame: Frame, version: i16) -> Result<A, ClientError> {
        let decoded = decode_response_frame(frame.bytes, version);
        decoded
            .map(|(_, answer)| answer)
            .map_err(|source| ClientError::Decode {
                address: self.address.clone(),
                source,
            })
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, ClientError> {
        let Some(prefix) = self.incoming.first_chunk::<4>() else {
            return Ok(None);
        };
        let announced = i32::from_be_bytes(*prefix);
        let len = match usize::try_from(announced) {
            Ok(len) if (4..=limits::ANSWER_FRAME_BYTES_MAX).contains(&len) => len,
            _ => return Err(self.malformed(format!("a frame of {announced} bytes"))),
        };
        if self.incoming.len() < 4 + len {
            // What is announced is reserved only as it comes in.
            return Ok(None);
        }
        self.incoming.advance(4);
        let bytes = self.incoming.split_to(len).freeze();
        let correlation_id = bytes.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
        let expected = self.awaited.pop_front();
        match correlation_id {
            Some(correlation_id) if expected == correlation_id.into() => Ok(Some(Frame {
                correlation_id,
                bytes,
            })),
            _ => Err(self.malformed(format!(
                "answer {correlation_id:?} where {expected:?} was due"
            ))),
        }
    }

    fn try_flush(&mut self) -> Result<(), ClientError> {
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); limits::WRITE_PARTS_MAX];
            let mut count = 0;
            for (slot, part) in slices.iter_mut().zip(&self.outgoing) {
                *slot = IoSlice::new(part);
                count += 1;
            }
            match self.stream.try_write_vectored(&slices[..count]) {
                Ok(written) => self.advance_outgoing(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(())
    }

    fn advance_outgoing(&mut self, mut written: usize) {
        while let Some(part) = self.outgoing.front_mut() {
            if written < part.len() {
                part.advance(written);
                return;
            }
            written -= part.len();
            self.outgoing.pop_front();
        }
    }

    fn failed(&self, source: std::io::Error) -> ClientError {
        match source.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                ClientError::Closed {
                    address: self.address.clone(),
                }
            }
            _ => ClientError::Io {
                address: self.address.clone(),
                source,
            },
        }
    }

    fn malformed(&self, what: String) -> ClientError {
        ClientError::Malformed {
            address: self.address.clone(),
            what,
        }
    }
}
