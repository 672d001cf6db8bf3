//! A broker process of its own for a test, and a client that speaks raw frames to it.
#![allow(
    dead_code,
    reason = "every test binary uses its own part of this module"
)]

pub(crate) mod commands;
pub(crate) mod consumers;
pub(crate) mod groups;
pub(crate) mod http;
pub(crate) mod service_manager;
pub(crate) mod topics;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic,
};
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use tidewheel_protocol::wire::Reader;
use tidewheel_protocol::{
    Message, RecordBatch, RecordBatchBuilder, RequestHeader, ResponseHeader, StrBytes, Uuid,
    encode_request_frame,
};

/// How long a test waits for an answer before it fails: far longer than any healthy broker takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker process, killed when dropped.
pub(crate) struct Broker {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The ready line.
    pub(crate) ready: serde_json::Value,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    pub(crate) data_dir: PathBuf,
}

/// `tidewheel` with arguments, not started yet.
pub(crate) fn tidewheel(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewheel"));
    command.args(arguments).stdin(Stdio::null());
    set_apart(&mut command);
    command
}

/// Takes out of a broker's environment what is meant for the tests or for another broker, but for what
/// the command itself sets. Several brokers run at once: those whose HTTP API is not what the test is
/// about have none.
pub(crate) fn set_apart(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_setting = text.starts_with("TIDEWHEEL_") || text.starts_with("KAFKA_");
        if is_setting && !command.get_envs().any(|(own, _)| own == name) {
            command.env_remove(&name);
        }
    }
    command.env("TIDEWHEEL_ADMIN_LISTEN", "off");
}

/// Runs `tidewheel` to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    tidewheel(arguments).output().expect("the binary runs")
}

impl Broker {
    /// Starts on a free port with the data in `data_dir`.
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    /// The same with further settings, `key=value`.
    pub(crate) fn start_with(data_dir: &Path, settings: &[&str]) -> Self {
        let mut command = tidewheel(&["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        Self::spawn(&mut command, data_dir)
    }

    /// The same where the process may have so many files open, `key=value` further settings.
    pub(crate) fn start_limited(open_files: u32, data_dir: &Path, settings: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n \"$0\" && exec \"$@\""])
            .arg(open_files.to_string())
            .arg(env!("CARGO_BIN_EXE_tidewheel"))
            .args(["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"])
            .stdin(Stdio::null());
        for setting in settings {
            command.args(["--set", setting]);
        }
        Self::spawn(&mut command, data_dir)
    }

    /// Starts a prepared command with the data in `data_dir` and waits until it is ready.
    pub(crate) fn spawn(command: &mut Command, data_dir: &Path) -> Self {
        Self::spawn_as_is(command.arg("--data-dir").arg(data_dir), data_dir)
    }

    /// Starts a command that says itself where its data lies, first of all in `data_dir`.
    pub(crate) fn spawn_as_is(command: &mut Command, data_dir: &Path) -> Self {
        Self::try_spawn_as_is(command, data_dir).expect("the broker says that it is ready")
    }

    /// The same where it may end before it is ready: how it ended.
    pub(crate) fn try_spawn_as_is(
        command: &mut Command,
        data_dir: &Path,
    ) -> Result<Self, ExitStatus> {
        command.env("TIDEWHEEL_LOG", "warn");
        set_apart(command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout
            .read_line(&mut line)
            .expect("the broker says something");
        if line.is_empty() {
            return Err(child.wait().expect("the broker ends"));
        }
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the line is JSON");
        let listener = ready["listeners"][0].as_str().expect("a listener");
        let address = listener
            .strip_prefix("PLAINTEXT://")
            .expect("plaintext")
            .to_owned();
        Ok(Self {
            child,
            stdout,
            ready,
            address,
            data_dir: data_dir.to_owned(),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// One with next to no receive buffer, so that what its peer does not read stays with the broker.
    pub(crate) fn connect_narrow(&self) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(1_024).expect("a small buffer");
        let to: SocketAddr = self.address.parse().expect("an address");
        socket.connect(&to.into()).expect("the broker accepts");
        Client::new(TcpStream::from(socket))
    }

    /// Stops it with SIGTERM and returns whether its exit was clean.
    pub(crate) fn stop(self) -> bool {
        self.stop_by("-TERM")
    }

    /// The same with another signal.
    pub(crate) fn stop_by(mut self, signal: &str) -> bool {
        self.signal(signal);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("stdout ends");
        assert_eq!(rest, "", "stdout carries only the ready line");
        self.child.wait().expect("the broker ends").success()
    }

    /// Asks it to stop, with SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Waits for its end; the exit code, if it has one.
    pub(crate) fn wait(mut self) -> Option<i32> {
        let mut status = None;
        eventually("the broker ends", || {
            status = self.child.try_wait().expect("the child is ours");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the broker is there");
        self.child.wait().expect("the broker ends");
    }

    /// Sends it a signal, `-TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args([signal, &pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Anonymous resident memory in KiB: the log's mapped pages are not the broker's.
    pub(crate) fn rss_anon_kib(&self) -> u64 {
        self.status_kib("RssAnon:")
    }

    /// The most memory that was ever resident, in KiB, mapped pages included.
    pub(crate) fn rss_peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// CPU time it has taken, in hundredths of a second as Linux shows it.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(path).expect("the process is there");
        let after_name = stat.rsplit(')').next().expect("a last piece");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
        ticks(11) + ticks(12)
    }

    /// Descriptors the process has open.
    pub(crate) fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(path)
            .expect("the process is there")
            .count()
    }

    fn status_kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the process is there");
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("the line is there");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Already gone after `stop` and `kill`.
        if self.child.kill().is_ok() {
            self.child.wait().expect("the broker ends");
        }
    }
}

/// A blocking connection that speaks Kafka's protocol.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        Self::new(TcpStream::connect(address).expect("the broker accepts"))
    }

    /// Speaks over a connection that was made already.
    pub(crate) fn new(socket: TcpStream) -> Self {
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        socket.set_nodelay(true).expect("nodelay can be set");
        Self {
            socket,
            correlation_id: 0,
        }
    }

    /// Sends a request without waiting for the answer.
    pub(crate) fn send<Q: Message>(&mut self, version: i16, request: &Q) -> i32 {
        self.correlation_id += 1;
        let frame = encode_request_frame(&self.header::<Q>(version), request);
        self.socket.write_all(&frame).expect("the broker reads");
        self.correlation_id
    }

    fn header<Q: Message>(&self, version: i16) -> RequestHeader {
        RequestHeader {
            api_key: Q::KEY.code(),
            api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some(StrBytes::from_static("raw-test")),
        }
    }

    /// The same where the broker may have closed; returns whether it could be sent.
    pub(crate) fn try_send<Q: Message>(&mut self, version: i16, request: &Q) -> bool {
        self.correlation_id += 1;
        let frame = encode_request_frame(&self.header::<Q>(version), request);
        self.socket.write_all(&frame).is_ok()
    }

    /// Reads one frame, or `None` where the broker closed.
    pub(crate) fn read_frame(&mut self) -> Option<Bytes> {
        let mut prefix = [0; 4];
        match self.socket.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(error) if is_closed(&error) => return None,
            Err(error) => panic!("no answer: {error}"),
        }
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        match self.socket.read_exact(&mut frame) {
            Ok(()) => Some(Bytes::from(frame)),
            Err(error) => panic!("the frame is cut: {error}"),
        }
    }

    /// Reads the answer to the request that `send` numbered.
    pub(crate) fn receive<A: Message>(&mut self, version: i16, correlation_id: i32) -> A {
        let frame = self.read_frame().expect("the broker answers");
        let mut reader = Reader::new(frame);
        let header = ResponseHeader::decode(&mut reader, A::KEY, version).expect("a header");
        assert_eq!(
            header.correlation_id, correlation_id,
            "answers come in the order of requests"
        );
        let answer = A::decode(&mut reader, version).expect("the body decodes");
        assert_eq!(reader.remaining(), 0, "nothing follows the body");
        answer
    }

    /// Sends and receives.
    pub(crate) fn call<Q: Message, A: Message>(&mut self, version: i16, request: &Q) -> A {
        let correlation_id = self.send(version, request);
        self.receive(version, correlation_id)
    }

    /// Sends and receives; `None` where the broker closed the connection.
    pub(crate) fn try_call<Q: Message, A: Message>(
        &mut self,
        version: i16,
        request: &Q,
    ) -> Option<A> {
        if !self.try_send(version, request) {
            return None;
        }
        let mut reader = Reader::new(self.read_frame()?);
        let header = ResponseHeader::decode(&mut reader, A::KEY, version).expect("a header");
        assert_eq!(header.correlation_id, self.correlation_id);
        Some(A::decode(&mut reader, version).expect("the body decodes"))
    }

    /// Whether the broker closes this connection (rather than answer or keep it open).
    pub(crate) fn is_closed_by_broker(&mut self) -> bool {
        let mut byte = [0; 1];
        match self.socket.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => is_closed(&error),
        }
    }

    /// Creates a topic with configs, which must work.
    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: StrBytes::from(*name),
            value: Some(StrBytes::from(*value)),
        });
        let topic = CreatableTopic {
            name: StrBytes::from(name),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..CreateTopicsRequest::default()
        };
        let answer: CreateTopicsResponse = self.call(7, &request);
        assert_eq!(
            answer.topics[0].error_code, 0,
            "{:?}",
            answer.topics[0].error_message
        );
    }

    /// Deletes a topic, which must work.
    pub(crate) fn delete_topic(&mut self, name: &str) {
        let request = DeleteTopicsRequest {
            topic_names: vec![StrBytes::from(name)],
            timeout_ms: 30_000,
            ..DeleteTopicsRequest::default()
        };
        let answer: DeleteTopicsResponse = self.call(5, &request);
        assert_eq!(
            answer.responses[0].error_code, 0,
            "{:?}",
            answer.responses[0].error_message
        );
    }

    /// The id of a topic that exists.
    pub(crate) fn topic_id(&mut self, name: &str) -> Uuid {
        let request = MetadataRequest {
            topics: Some(vec![metadata_topic(name)]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = self.call(10, &request);
        assert_eq!(answer.topics[0].error_code, 0);
        answer.topics[0].topic_id
    }

    /// Produces with `acks=all` to partition 0 of a topic that is made on first use.
    pub(crate) fn produce_to_new(&mut self, topic: &str, records: Bytes) {
        let request = MetadataRequest {
            topics: Some(vec![metadata_topic(topic)]),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = self.call(9, &request);
        assert_eq!(answer.topics[0].error_code, 0);
        assert_eq!(self.produce(topic, 0, -1, records).error_code, 0);
    }

    /// Produces one batch and returns the partition's answer.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        acks: i16,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(topic, partition, acks, Some(records));
        let mut answer: ProduceResponse = self.call(9, &request);
        answer.responses.remove(0).partition_responses.remove(0)
    }

    /// Fetches all records of a partition from `offset` to its end.
    pub(crate) fn consume(
        &mut self,
        topic: &str,
        partition: i32,
        mut offset: i64,
    ) -> Vec<Consumed> {
        let mut all = Vec::new();
        loop {
            let request = fetch_request(topic, partition, offset);
            let mut answer: FetchResponse<Bytes> = self.call(11, &request);
            let data = answer.responses.remove(0).partitions.remove(0);
            assert_eq!(
                data.error_code, 0,
                "fetching {topic}-{partition} from {offset}"
            );
            for batch in batches(data.records.unwrap_or_default()) {
                for record in batch.records(1 << 28).expect("readable") {
                    let record = record.expect("readable");
                    if record.offset >= offset {
                        let value = record.value.unwrap_or_default();
                        all.push(Consumed {
                            offset: record.offset,
                            value,
                        });
                    }
                }
                offset = offset.max(batch.header.next_offset());
            }
            if offset >= data.high_watermark {
                return all;
            }
        }
    }
}

/// A record as a test reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub(crate) offset: i64,
    pub(crate) value: Bytes,
}

/// The whole batches in fetched bytes.
pub(crate) fn batches(records: Bytes) -> Vec<RecordBatch> {
    tidewheel_protocol::Batches::new(records)
        .map(|batch| batch.expect("a whole batch"))
        .collect()
}

fn is_closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Looks until `holds`, at most [`PATIENCE`] long.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let (_never, silence) = std::sync::mpsc::sync_channel::<()>(1);
    let pause = Duration::from_millis(20);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if holds() {
            return;
        }
        assert!(silence.recv_timeout(pause).is_err());
    }
    panic!("not in {PATIENCE:?}: {what}");
}

/// Now, as the test sees it.
pub(crate) fn now_ms() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's records carry the time of the test"
    )]
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292278994")
}

/// One uncompressed batch of these values, without a producer id.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut builder = RecordBatchBuilder::new();
    for value in values {
        builder = builder.record(now_ms(), None, Some(value.as_bytes()));
    }
    builder.build().expect("a small batch").bytes
}

/// A produce request for one partition.
pub(crate) fn produce_request(
    topic: &str,
    partition: i32,
    acks: i16,
    records: Option<Bytes>,
) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: StrBytes::from(topic),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records,
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

/// A fetch request for one partition that does not wait.
pub(crate) fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    FetchRequest {
        max_bytes: 50 << 20,
        topics: vec![FetchTopic {
            topic: StrBytes::from(topic),
            partitions: vec![FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// A topic as a metadata request names it.
pub(crate) fn metadata_topic(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic {
        name: Some(StrBytes::from(name)),
        ..MetadataRequestTopic::default()
    }
}
