//! Records as people look at them.

use serde_json::{Value, json};
use tidewheel_protocol::{Compression, RecordBatchBuilder, RecordHeader};

use crate::support::http::{get, start};
use crate::support::{Broker, Client, batch};

pub(crate) fn written(broker: &Broker) -> Client {
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let records = RecordBatchBuilder::new()
        .compression(Compression::Zstd)
        .record(1_000, Some(b"first"), Some(br#"{"a": [1, 2]}"#))
        .record(2_000, Some(b"second"), Some(b"plain text"))
        .record(3_000, None, Some(&[0xff, 0x00, 0x01]))
        .record(4_000, Some(b"gone"), None);
    let records = records.build().unwrap().bytes;
    assert_eq!(client.produce("t", 0, -1, records).error_code, 0);
    client
}

fn offsets(page: &Value) -> Vec<i64> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["offset"].as_i64().unwrap()).collect()
}

#[test]
fn records_are_shown_in_a_form_that_fits_them() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = written(&broker);
    let page = get(&broker, "/v1/topics/t/messages").good();
    assert_eq!(
        (&page["scanned"], &page["next_offset"]),
        (&json!(4), &json!(4))
    );
    let items = page["items"].as_array().unwrap();
    let first = &items[0];
    assert_eq!(
        (&first["timestamp_ms"], &first["compression"]),
        (&json!(1_000), &json!("zstd"))
    );
    assert_eq!(first["key"]["data"], "first");
    assert_eq!(first["value"]["format"], "json");
    assert_eq!(first["value"]["data"], r#"{"a": [1, 2]}"#);
    assert_eq!(items[1]["value"]["data"], "plain text");
    assert_eq!(
        items[2]["value"],
        json!({"format": "base64", "data": "/wAB", "size_bytes": 3, "cut": false})
    );
    assert_eq!(items[2]["key"]["format"], "null");
    assert_eq!(items[3]["value"]["data"], Value::Null);
    let cut = get(
        &broker,
        "/v1/topics/t/messages?offset=1&limit=1&max_value_bytes=5",
    )
    .good();
    assert_eq!(
        cut["items"][0]["value"],
        json!({"format": "text", "data": "plain", "size_bytes": 10, "cut": true})
    );
}

#[test]
fn records_are_shown_in_the_form_that_is_asked_for_where_they_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let records = RecordBatchBuilder::new();
    let header = RecordHeader {
        key: "kind".into(),
        value: Some("new".into()),
    };
    let records = records
        .record_with_headers(1, Some(b"{}"), Some(b"5"), vec![header])
        .record(2, None, Some(&[0xff, 0x0a]));
    let records = records.build().unwrap().bytes;
    assert_eq!(client.produce("t", 0, -1, records).error_code, 0);
    let shown = |query: &str| {
        let page = get(&broker, &format!("/v1/topics/t/messages?{query}")).good();
        let items = page["items"].as_array().unwrap().iter();
        let shown = |what: &Value| json!([what["format"], what["data"]]);
        items
            .map(|item| json!([shown(&item["key"]), shown(&item["value"])]))
            .collect::<Vec<Value>>()
    };
    let absent = json!(["null", null]);
    for (format, key, first, second) in [
        ("auto", ["json", "{}"], ["text", "5"], ["base64", "/wo="]),
        ("json", ["json", "{}"], ["json", "5"], ["base64", "/wo="]),
        ("text", ["text", "{}"], ["text", "5"], ["base64", "/wo="]),
        ("hex", ["hex", "7b7d"], ["hex", "35"], ["hex", "ff0a"]),
        (
            "base64",
            ["base64", "e30="],
            ["base64", "NQ=="],
            ["base64", "/wo="],
        ),
    ] {
        let expected = [json!([key, first]), json!([absent, second])];
        assert_eq!(shown(&format!("value_format={format}")), expected);
    }
    for (header, count) in [
        ("kind", 1),
        ("kind=new", 1),
        ("kind=", 0),
        ("kin", 0),
        ("new", 0),
    ] {
        assert_eq!(shown(&format!("header={header}")).len(), count, "{header}");
    }
    get(&broker, "/v1/topics/t/messages?value_format=avro").problem(400);
}

#[test]
fn a_read_begins_where_it_is_told_and_takes_what_fits() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = written(&broker);
    for (query, expected) in [
        ("offset=earliest", &[0, 1, 2, 3][..]),
        ("offset=latest", &[]),
        ("offset=2", &[2, 3]),
        ("offset=-1", &[3]),
        ("offset=-99", &[0, 1, 2, 3]),
        ("offset=99", &[]),
        ("offset=@2500", &[2, 3]),
        ("offset=@99999", &[]),
        ("limit=2", &[2, 3]),
        ("offset=0&limit=2", &[0, 1]),
        ("offset=0&q=plain", &[1]),
        ("offset=0&key=gone", &[3]),
    ] {
        let page = get(&broker, &format!("/v1/topics/t/messages?{query}")).good();
        assert_eq!(offsets(&page), expected, "{query}");
    }
    for bad in [
        "offset=x",
        "offset=@x",
        "limit=0",
        "limit=1001",
        "partition=1",
        "x=1",
    ] {
        let status = get(&broker, &format!("/v1/topics/t/messages?{bad}")).status;
        assert!([400, 404].contains(&status), "{bad}");
    }
    client.create_topic("two", 2, &[]);
    get(&broker, "/v1/topics/two/messages").problem(400);
    get(&broker, "/v1/topics/two/messages?partition=1").good();
}

/// A batch of one record that opens to far more bytes than it has.
fn puffed(byte: u8, bytes: usize) -> bytes::Bytes {
    let records = RecordBatchBuilder::new().compression(Compression::Zstd);
    let records = records.record(1, None, Some(&vec![byte; bytes]));
    records.build().unwrap().bytes
}

#[test]
fn a_read_opens_and_shows_only_so_much_and_says_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("big", 1, &[]);
    for _ in 0..5 {
        let answer = client.produce("big", 0, 1, puffed(b'x', 30_000_000));
        assert_eq!(answer.error_code, 0);
    }
    let mut offset = 0;
    for at_most in [3, 5] {
        let path = format!("/v1/topics/big/messages?q=nomatch&offset={offset}");
        let page = get(&broker, &path).good();
        offset = page["next_offset"].as_i64().unwrap();
        assert!(offset > 0 && offset <= at_most, "{page}");
        assert_eq!(page["items"], json!([]));
    }
    // What has to be escaped takes six bytes each.
    for _ in 0..20 {
        assert_eq!(
            client.produce("big", 0, 1, puffed(0, 250_000)).error_code,
            0
        );
    }
    let path = "/v1/topics/big/messages?offset=5&limit=1000&max_value_bytes=262144";
    let answer = get(&broker, path);
    assert!(answer.body.len() < 6 << 20, "{}", answer.body.len());
    let next = answer.good()["next_offset"].as_i64().unwrap();
    assert!((6..15).contains(&next), "{next}");
}

#[test]
fn a_batch_that_opens_to_too_much_hides_nothing_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = written(&broker);
    let too_much = client.produce("t", 0, 1, puffed(b'x', 40_000_000));
    assert_eq!(too_much.error_code, 0);
    assert_eq!(client.produce("t", 0, 1, batch(&["behind"])).error_code, 0);
    let page = get(&broker, "/v1/topics/t/messages").good();
    assert_eq!(offsets(&page), [0, 1, 2, 3, 5]);
    assert_eq!(
        (&page["skipped_batches"], &page["next_offset"]),
        (&json!(1), &json!(6))
    );
}
