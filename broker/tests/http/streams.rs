//! Streams: records and lines of the log as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};

use crate::messages::written;
use crate::support::http::{admin, connect, get, send, start};
use crate::support::{Broker, Client, batch, eventually, now_ms};

/// Server-sent events, until the broker ends them.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    pub(crate) fn of(broker: &Broker, path: &str) -> Self {
        Self::with(broker, path, "x: y")
    }

    /// The same with a header.
    pub(crate) fn with(broker: &Broker, path: &str, header: &str) -> Self {
        let address = admin(broker);
        let mut socket = connect(&address);
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close");
        let request = format!("{head}\r\n{header}\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut events = Self(BufReader::new(socket));
        let head = events.line();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        while !events.line().is_empty() {}
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// What the next event carries.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// The name of the next event and what it carries.
    pub(crate) fn named(&mut self) -> (String, Value) {
        loop {
            if let Some(name) = self.line().strip_prefix("event: ") {
                return (name.to_owned(), self.next());
            }
        }
    }

    /// Why the stream ends. It says so, and then nothing more.
    pub(crate) fn end(&mut self) -> String {
        loop {
            let (name, told) = self.named();
            if name == "end" {
                let mut rest = String::new();
                self.0.read_to_string(&mut rest).unwrap();
                assert!(!rest.contains("event:"), "{rest}");
                return told["reason"].as_str().unwrap().to_owned();
            }
        }
    }
}

#[test]
fn a_stream_tells_records_as_they_come_and_ends_with_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = written(&broker);
    let mut old = Events::of(&broker, "/v1/topics/t/messages/tail?offset=earliest");
    assert_eq!(
        (0..4)
            .map(|_| old.next()["offset"].clone())
            .collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    let mut new = Events::of(&broker, "/v1/topics/t/messages/tail?q=wanted");
    for value in ["other", "wanted"] {
        assert_eq!(client.produce("t", 0, -1, batch(&[value])).error_code, 0);
    }
    let told = new.next();
    assert_eq!(
        (&told["offset"], &told["value"]["data"]),
        (&json!(5), &json!("wanted"))
    );
    assert_eq!(old.next()["offset"], 4);
    broker.terminate();
    for mut stream in [old, new] {
        assert_eq!(stream.end(), "the broker is stopping");
    }
    assert_eq!(broker.wait(), Some(0));
}

#[test]
fn streams_are_few() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = written(&broker);
    let path = "/v1/topics/t/messages/tail";
    let streams: Vec<Events> = (0..12).map(|_| Events::of(&broker, path)).collect();
    get(&broker, path).problem(503);
    // Those of one kind leave some to the others.
    let others = "/v1/stats/stream";
    let more: Vec<Events> = (0..4).map(|_| Events::of(&broker, others)).collect();
    get(&broker, others).problem(503);
    get(&broker, "/v1/logs/tail").problem(503);
    drop(more);
    assert_eq!(get(&broker, "/livez").status, 200);
    drop(streams);
    eventually("there is a place again", || {
        let address = admin(&broker);
        let mut socket = connect(&address);
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).unwrap();
        line.starts_with("HTTP/1.1 200")
    });
}

/// Gives up the records before an offset.
fn delete_before(client: &mut Client, offset: i64) {
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: StrBytes::from_static("t"),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset,
            }],
        }],
        timeout_ms: 60_000,
    };
    let answer: DeleteRecordsResponse = client.call(2, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

#[test]
fn a_client_that_comes_again_goes_on_where_it_was_and_hears_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = written(&broker);
    let path = "/v1/topics/t/messages/tail";
    let mut again = Events::with(&broker, path, "Last-Event-ID: 1");
    assert_eq!(again.next()["offset"], 2);
    delete_before(&mut client, 3);
    let mut late = Events::with(&broker, path, "Last-Event-ID: 0");
    let (name, gap) = late.named();
    assert_eq!(
        (&*name, &gap["from"], &gap["to"]),
        ("gap", &json!(1), &json!(3))
    );
    assert_eq!(late.next()["offset"], 3);
    // Whoever has seen more than there is hears what comes.
    let mut early = Events::with(&broker, path, "Last-Event-ID: 99");
    assert_eq!(client.produce("t", 0, -1, batch(&["new"])).error_code, 0);
    assert_eq!(early.next()["offset"], 4);
    for id in ["x", "-2", "9223372036854775807"] {
        send(&broker, "GET", path, &[("last-event-id", id)], "").problem(400);
    }
}

#[test]
fn a_stream_of_a_topic_that_is_deleted_says_so_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = written(&broker);
    let mut stream = Events::of(&broker, "/v1/topics/t/messages/tail");
    client.delete_topic("t");
    let reason = stream.end();
    assert!(reason.contains("deleted"), "{reason}");
}

pub(crate) fn set_level(broker: &Broker, path: &str) -> crate::support::http::Answer {
    send(broker, "PUT", path, &[("x-requested-with", "t")], "")
}

#[test]
fn the_log_is_told_and_its_levels_go_back_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let loggers = get(&broker, "/v1/loggers").good();
    assert_eq!(loggers, json!({"directives": "warn", "loggers": []}));
    let mut lines = Events::of(&broker, "/v1/logs/tail");
    let path = "/v1/loggers/tidewheel_broker";
    let acting = json!({"name": "tidewheel_broker", "level": "warn", "expires_in_ms": null,
        "previous": null, "previous_expires_in_ms": null});
    assert_eq!(get(&broker, path).good(), acting);
    let dry = set_level(&broker, &format!("{path}?level=info&dry_run=true")).good();
    assert_eq!(dry["level"], "info");
    assert_eq!(get(&broker, path).good(), acting);
    get(&broker, "/v1/loggers/no_such_part").problem(404);
    let set = set_level(&broker, &format!("{path}?level=info&expires=3600")).good();
    assert_eq!(
        (&set["level"], &set["previous"]),
        (&json!("info"), &Value::Null)
    );
    broker.connect().create_topic("told", 1, &[]);
    loop {
        let line = lines.next();
        if line["message"]
            .as_str()
            .unwrap()
            .contains("created topic=told")
        {
            assert_eq!(line["level"], "INFO");
            assert!(line["time_ms"].as_i64() <= Some(now_ms()));
            break;
        }
    }
    let set = set_level(&broker, &format!("{path}?level=debug&expires=1")).good();
    assert_eq!(set["previous"], "info");
    assert!(
        set["previous_expires_in_ms"].as_i64() > Some(3_500_000),
        "{set}"
    );
    let told = get(&broker, path).good();
    assert_eq!(told["level"], "debug");
    assert!(told["expires_in_ms"].as_i64() <= Some(1_000), "{told}");
    eventually("it goes back", || {
        get(&broker, "/v1/loggers").good()["loggers"] == json!([])
    });
    for bad in ["level=loud", "level=info&expires=0", "expires=5"] {
        set_level(&broker, &format!("{path}?{bad}")).problem(400);
    }
    set_level(&broker, "/v1/loggers/a=b?level=info").problem(404);
}

#[test]
fn whoever_changes_something_is_written_down_whatever_the_levels_are() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut lines = Events::of(&broker, "/v1/logs/tail");
    for logger in ["root", "tidewheel", "tidewheel::audi"] {
        set_level(&broker, &format!("/v1/loggers/{logger}?level=error")).good();
        let told = lines.next();
        assert_eq!(told["target"], "tidewheel::audit", "{told}");
        assert!(told["message"].as_str().unwrap().contains(logger), "{told}");
    }
    for logger in ["tidewheel::audit", "tidewheel::audit::x"] {
        set_level(&broker, &format!("/v1/loggers/{logger}?level=error")).problem(404);
        assert_eq!(lines.next()["target"], "tidewheel::audit");
    }
}

/// The head of a request that makes a topic, sent until the broker wants to have its body.
fn half_sent(broker: &Broker, body: &str) -> TcpStream {
    let mut socket = connect(&admin(broker));
    let head = format!(
        "POST /v1/topics HTTP/1.1\r\nhost: localhost\r\nx-requested-with: t\r\n\
         content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    socket
}

#[test]
fn what_was_begun_is_written_down_also_where_its_client_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut lines = Events::of(&broker, "/v1/logs/tail");
    let body = r#"{"name": "gone"}"#;
    drop(half_sent(&broker, body));
    let told = lines.next()["message"].to_string();
    assert!(told.contains("status=400"), "{told}");
    let mut whole = half_sent(&broker, body);
    whole.write_all(body.as_bytes()).unwrap();
    drop(whole);
    let told = lines.next()["message"].to_string();
    assert!(told.contains("status=201"), "{told}");
    get(&broker, "/v1/topics/gone").good();
}
