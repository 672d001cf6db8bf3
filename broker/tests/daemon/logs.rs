//! What a broker process writes to its log, as programs read it.

use std::fs::{self, File};
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse};
use tidewheel_protocol::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};

use super::reload::set_for_all_brokers;
use crate::support::http::send;
use crate::support::{Broker, Client, batch, eventually, fetch_request, tidewheel};

/// A broker that writes to the file `said` of `dir`.
fn start(dir: &Path, arguments: &[&str]) -> Broker {
    let mut command = tidewheel(&["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command
        .args(["--set", "tidewheel.admin.listen=127.0.0.1:0"])
        .args(arguments)
        .stderr(File::create(dir.join("said")).unwrap());
    Broker::spawn(&mut command, &dir.join("data"))
}

/// Its lines, all of which are JSON but those for whoever has started it.
fn said(dir: &Path, message: &str) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("said")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["msg"] == message).collect()
}

/// What one client can cause without end is written a few times.
#[test]
fn a_client_cannot_fill_the_log_and_its_words_stay_on_their_line() {
    const REFUSED: &str = "transactions are not supported yet: refused";
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["--log-format", "json"]);
    let path = "/v1/loggers/tidewheel_broker::api?level=info";
    let set = send(&broker, "PUT", path, &[("x-requested-with", "t")], "");
    assert_eq!(set.status, 200, "{set:?}");
    let mut client = broker.connect();
    let ask = |client: &mut Client| {
        let request = InitProducerIdRequest {
            transactional_id: Some(StrBytes::from("id\n{\"msg\":\"forged\"}")),
            ..InitProducerIdRequest::default()
        };
        let answer: InitProducerIdResponse = client.call(4, &request);
        assert_eq!(answer.error_code, 42);
    };
    let asked = 500;
    (0..asked).for_each(|_| ask(&mut client));
    let lines = said(dir.path(), REFUSED);
    assert!((10..100).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines[0]["level"], "info");
    assert_eq!(
        lines[0]["target"],
        "tidewheel_broker::api::init_producer_id"
    );
    assert_eq!(lines[0]["fields"]["unsaid"], 0);
    assert_eq!(lines[0]["fields"]["id"], "id\n{\"msg\":\"forged\"}");
    assert!(said(dir.path(), "forged").is_empty());
    // The next one that is written says how many were not.
    eventually("another one is written", || {
        ask(&mut client);
        let lines = said(dir.path(), REFUSED);
        let unsaid = lines.iter().map(|line| line["fields"]["unsaid"].as_u64());
        unsaid.map(Option::unwrap).sum::<u64>() >= 300
    });
    assert!(broker.stop());
}

#[test]
fn lines_for_programs_are_logfmt_unless_somebody_wants_another_form() {
    for (format, begins) in [("auto", "ts=2"), ("logfmt", "ts=2"), ("text", "2")] {
        let dir = tempfile::tempdir().unwrap();
        let setting = format!("tidewheel.log.format={format}");
        // Named in a warning.
        let broker = start(
            dir.path(),
            &["--set", &setting, "--set", "num.io.threads=8"],
        );
        let text = fs::read_to_string(dir.path().join("said")).unwrap();
        let line = text.lines().find(|line| line.contains("num.io.threads"));
        let line = line.unwrap();
        assert!(line.starts_with(begins), "{format}: {line}");
        assert_eq!(
            line.contains("level=warn target="),
            format != "text",
            "{line}"
        );
        assert!(broker.stop());
    }
}

/// Reads all of a topic slowly: the answer leaves when the other one has waited for as long as it wished.
fn read_slowly(broker: &Broker, waiting: &mut Client) -> String {
    let mut slow = broker.connect_narrow();
    let mut all = fetch_request("large", 0, 0);
    all.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    let sent = slow.send(12, &all);
    let wishes = FetchRequest {
        max_wait_ms: 1_500,
        min_bytes: 1,
        ..fetch_request("empty", 0, 0)
    };
    let nothing: FetchResponse<Bytes> = waiting.call(12, &wishes);
    assert_eq!(nothing.error_code, 0);
    let answer: FetchResponse<Bytes> = slow.receive(12, sent);
    assert_eq!(answer.error_code, 0);
    slow.socket.local_addr().unwrap().to_string()
}

#[test]
fn a_slow_request_is_told_and_one_that_waits_as_it_wished_is_not() {
    const SLOW: &str = "slow request";
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        "tidewheel.slow.request.ms=1000",
        "tidewheel.log.format=json",
    ];
    let broker = start(dir.path(), &["--set", settings[0], "--set", settings[1]]);
    let mut client = broker.connect();
    client.create_topic("large", 1, &[]);
    client.create_topic("empty", 1, &[]);
    let value = "x".repeat(900_000);
    for _ in 0..12 {
        assert_eq!(
            client.produce("large", 0, 1, batch(&[&value])).error_code,
            0
        );
    }
    let others = said(dir.path(), SLOW).len();
    let peer = read_slowly(&broker, &mut client);
    let of = |peer: &str| {
        let mut lines = said(dir.path(), SLOW);
        lines.retain(|line| line["fields"]["peer"] == *peer);
        lines
    };
    eventually("it is told", || !of(&peer).is_empty());
    let told = of(&peer);
    let fields = &told[0]["fields"];
    assert_eq!(told[0]["level"], "warn");
    assert_eq!(
        (&fields["api"], &fields["client_id"]),
        (&"Fetch".into(), &"raw-test".into())
    );
    let number = |name: &str| fields[name].as_u64().unwrap();
    assert!(number("respond_ms") >= 1_000, "{fields}");
    assert!(number("total_ms") >= number("respond_ms"));
    assert!(number("response_bytes") > 12 * 900_000);
    assert!(number("request_bytes") > 20);
    let waited = client.socket.local_addr().unwrap().to_string();
    assert_eq!(
        of(&waited).len(),
        others,
        "what waits by its own wish: {fields}"
    );
    // It is a setting that may be changed at any time.
    set_for_all_brokers(&mut client, "tidewheel.slow.request.ms", "0");
    let before = said(dir.path(), SLOW).len();
    read_slowly(&broker, &mut client);
    assert!(broker.stop());
    assert_eq!(said(dir.path(), SLOW).len(), before);
}
