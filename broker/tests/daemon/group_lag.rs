//! The lag of groups, as the broker computes it for whoever embeds it, beside what clients do.

use std::time::Duration;

use crate::embedded::Embedded;
use crate::support::groups::{codes, commit_request, find};
use crate::support::http::raw;
use crate::support::topics::delete_records;
use crate::support::{Client, batch, eventually, now_ms};
use bytes::Bytes;
use tidewheel_broker::{EmbeddedBroker, GroupLag, Lag, NoCoordinator, TestClock};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::{Compression, ErrorCode, RecordBatchBuilder};

/// What tests take for the same time: they run on busy machines.
const SLACK: Duration = Duration::from_secs(300);
const HOUR_MS: i64 = 3_600_000;

impl Embedded {
    fn lag(&self, group: &str) -> Result<GroupLag, NoCoordinator> {
        self.runtime.block_on(self.broker.group_lag(group))
    }
}

/// A batch of records written so many hours ago.
fn written(hours_ago: &[i64], compression: Compression) -> Bytes {
    let builder = RecordBatchBuilder::new().compression(compression);
    let record = |builder: RecordBatchBuilder, hours: &i64| {
        builder.record(now_ms() - hours * HOUR_MS, None, Some(b"value"))
    };
    let builder = hours_ago.iter().fold(builder, record);
    builder.build().unwrap().bytes
}

fn commit(client: &mut Client, group: &str, topic: &str, offsets: &[(i32, i64)]) {
    assert_eq!(find(client, &[group]).coordinators[0].error_code, 0);
    let offsets: Vec<_> = offsets
        .iter()
        .map(|(p, offset)| (*p, *offset, ""))
        .collect();
    let request = commit_request(group, topic, &offsets);
    eventually("the group's coordinator serves", || {
        let answer: OffsetCommitResponse = client.call(8, &request);
        let loading = ErrorCode::CoordinatorLoadInProgress.code();
        let codes = codes(&answer);
        assert!(codes.iter().all(|code| [0, loading].contains(code)));
        codes.iter().all(|code| *code == 0)
    });
}

/// Committed offset, records and age in hours of each partition, which must be there.
fn behind(lag: &GroupLag) -> Vec<(i64, u64, u64)> {
    let one = |partition: &tidewheel_broker::PartitionLag| match partition.lag {
        Lag::Behind {
            records,
            age: Some(age),
        } => {
            let hours = age.as_secs() / 3600;
            assert!(age - Duration::from_secs(hours * 3600) < SLACK, "{age:?}");
            (partition.committed, records, hours)
        }
        other => panic!("{other:?}"),
    };
    lag.partitions.iter().map(one).collect()
}

#[test]
fn lag_is_what_lies_between_the_commit_and_the_high_watermark() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::start(dir.path());
    assert_eq!(
        embedded.lag("g"),
        Ok(GroupLag::default()),
        "no group was ever asked for"
    );
    let mut client = embedded.connect();
    client.create_topic("t", 4, &[]);
    // Offsets 0 to 2, 3 to 5, and 6; the time of the record in the middle is in the batch alone.
    for (hours, compression) in [
        (&[50, 40, 30][..], Compression::None),
        (&[20, 15, 12], Compression::Gzip),
        (&[10], Compression::Lz4),
    ] {
        for partition in 0..3 {
            let answer = client.produce("t", partition, -1, written(hours, compression));
            assert_eq!(answer.error_code, 0);
        }
    }
    let ahead = batch(&["a"]);
    assert_eq!(client.produce("t", 3, -1, ahead).error_code, 0);

    commit(&mut client, "g", "t", &[(0, 0), (1, 1), (2, 4), (3, 0)]);
    let lag = embedded.lag("g").unwrap();
    assert_eq!(
        behind(&lag),
        [(0, 7, 50), (1, 6, 40), (4, 3, 15), (0, 1, 0)]
    );
    assert_eq!(
        (lag.records(), lag.age().unwrap().as_secs() / 3600),
        (17, 50)
    );

    commit(&mut client, "g", "t", &[(0, 3), (1, 6), (2, 7)]);
    let lag = embedded.lag("g").unwrap();
    assert_eq!(behind(&lag), [(3, 4, 20), (6, 1, 10), (7, 0, 0), (0, 1, 0)]);
    let read = &lag.partitions[2];
    let age = Some(Duration::ZERO);
    assert_eq!(read.lag, Lag::Behind { records: 0, age }, "exactly");

    // Below the log start nothing is left to read, beyond the end there is nothing.
    assert_eq!(delete_records(&mut client, "t", 0, 5).0, 0);
    commit(&mut client, "g", "t", &[(1, 17)]);
    let lag = embedded.lag("g").unwrap();
    assert_eq!(lag.partitions[1].lag, Lag::BeyondEnd { by: 10 });
    assert_eq!(
        (lag.partitions[1].committed, &*lag.partitions[1].topic),
        (17, "t")
    );
    let lag = GroupLag {
        partitions: vec![lag.partitions[0].clone()],
    };
    assert_eq!(behind(&lag), [(3, 2, 12)]);
    assert_eq!(embedded.lag("another"), Ok(GroupLag::default()));
    embedded.stop();
}

#[test]
fn lag_is_the_same_after_a_restart_and_gone_with_its_topic() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::start(dir.path());
    let mut client = embedded.connect();
    for topic in ["stays", "goes"] {
        client.create_topic(topic, 1, &[]);
        let records = written(&[8, 6, 4], Compression::Gzip);
        assert_eq!(client.produce(topic, 0, -1, records).error_code, 0);
        commit(&mut client, "g", topic, &[(0, 1)]);
    }
    assert_eq!(behind(&embedded.lag("g").unwrap()), [(1, 2, 6), (1, 2, 6)]);
    client.delete_topic("goes");
    let lag = embedded.lag("g").unwrap();
    assert_eq!(
        (behind(&lag), &*lag.partitions[0].topic),
        (vec![(1, 2, 6)], "stays")
    );
    drop(client);
    embedded.stop();

    let embedded = Embedded::start(dir.path());
    let mut lag = embedded.lag("g");
    eventually("the group is loaded", || {
        lag = embedded.lag("g");
        lag != Err(NoCoordinator::Loading)
    });
    assert_eq!(behind(&lag.unwrap()), [(1, 2, 6)]);
    embedded.stop();
}

impl Embedded {
    /// What the HTTP API says of how a group gets on, once its coordinator serves.
    fn status(&self, group: &str) -> String {
        let address = self.broker.admin().unwrap();
        let request = format!(
            "GET /v1/groups/{group} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        );
        let mut status = String::new();
        eventually("the group is told", || {
            let answer = raw(&address, request.as_bytes()).unwrap();
            let is_told = answer.status == 200;
            if is_told {
                status = answer.json()["status"].as_str().unwrap().to_owned();
            }
            is_told
        });
        status
    }
}

/// Nobody looks at the group while it commits.
#[test]
fn a_group_that_kept_up_and_hangs_has_stopped_and_one_that_went_back_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let start = || {
        let builder = EmbeddedBroker::builder().data_dir(dir.path()).topic("t", 1);
        let builder = builder.setting("tidewheel.admin.listen", "127.0.0.1:0");
        Embedded::build(builder.clock(&clock))
    };
    let produce = |client: &mut Client| {
        assert_eq!(client.produce("t", 0, -1, batch(&["v"])).error_code, 0);
    };
    let seconds = Duration::from_secs;
    let broker = start();
    let mut client = broker.connect();
    for offset in 1..=4 {
        produce(&mut client);
        commit(&mut client, "g", "t", &[(0, offset)]);
        clock.advance(seconds(5));
    }
    clock.advance(seconds(60));
    produce(&mut client);
    assert_eq!(broker.status("g"), "OK", "it had read everything lately");
    clock.advance(seconds(120));
    assert_eq!(broker.status("g"), "STOP");
    commit(&mut client, "g", "t", &[(0, 0)]);
    assert_eq!(broker.status("g"), "REWIND");
    clock.advance(seconds(5));
    commit(&mut client, "g", "t", &[(0, 5)]);
    assert_eq!(broker.status("g"), "OK");
    broker.stop();

    let broker = start();
    assert_eq!(broker.status("g"), "OK");
    produce(&mut broker.connect());
    assert_eq!(broker.status("g"), "OK", "it had read everything before");
    clock.advance(seconds(101));
    assert_eq!(broker.status("g"), "STOP");
    broker.stop();
}
