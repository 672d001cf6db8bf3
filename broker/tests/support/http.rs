//! A client of the HTTP API that sends exactly the bytes it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use super::{Broker, PATIENCE};

/// What the broker answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Some(Self {
            status,
            headers: headers.collect(),
            body: body.to_owned(),
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer that is good.
    pub(crate) fn good(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }

    /// The kind of a problem, which must be told as such.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let media_type = self.header("content-type");
        assert_eq!(media_type, Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for field in ["type", "title", "instance"] {
            assert!(problem[field].is_string(), "{field}: {self:?}");
        }
        problem
    }
}

/// A connection to `127.0.0.1:PORT`.
pub(crate) fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the HTTP API accepts");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    socket
}

/// Sends bytes and reads until the broker closes; `None` where it answered nothing.
pub(crate) fn raw(address: &str, request: &[u8]) -> Option<Answer> {
    let mut socket = connect(address);
    // The broker may have answered and closed before it has read everything; then what it said may be lost.
    let sent = socket.write_all(request);
    let mut bytes = Vec::new();
    let read = socket.read_to_end(&mut bytes);
    let timed_out = read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    assert!(!timed_out, "it neither answers nor closes: {sent:?}");
    Answer::parse(&bytes)
}

/// Where a broker's HTTP API listens.
pub(crate) fn admin(broker: &Broker) -> String {
    let address = broker.ready["admin"].as_str();
    address.expect("it has an HTTP API").to_owned()
}

/// A broker with an HTTP API on a free port.
pub(crate) fn start(data_dir: &Path, settings: &[&str]) -> Broker {
    let mut all = vec!["tidewheel.admin.listen=127.0.0.1:0"];
    all.extend(settings);
    Broker::start_with(data_dir, &all)
}

/// One request on a connection of its own.
pub(crate) fn send(
    broker: &Broker,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let address = admin(broker);
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    raw(&address, request.as_bytes()).expect("an answer")
}

/// What is at a path.
pub(crate) fn get(broker: &Broker, path: &str) -> Answer {
    send(broker, "GET", path, &[], "")
}
