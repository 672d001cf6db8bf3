//! Made-up results for tests.

use crate::environment::{Durability, Environment};
use crate::process::ProcessUse;
use crate::recorder::{Counts, Interval, Series};
use crate::summary::{Point, Summary};
use crate::workload::Workload;

/// A run of ten seconds at this rate, in which every latency was so many milliseconds.
pub(crate) fn summary(records_per_second: f64, latency_ms: f64) -> Summary {
    let mut interval = Interval::default();
    for series in [Series::Response, Series::Service, Series::SendDelay] {
        let nanos = crate::values::whole(latency_ms * 1e6);
        interval.record(series, nanos, 1000);
    }
    let records = crate::values::whole(records_per_second * 10.0);
    let counts = Counts {
        sent: records,
        acked: records,
        acked_bytes: records * 1000,
        requests: records,
        ..Counts::default()
    };
    interval.counts = counts;
    let mut summary = Summary {
        workload: Workload::default(),
        broker_address: "127.0.0.1:9092".to_owned(),
        started_ms: 1_700_000_000_000,
        seconds: 10.0,
        interrupted: false,
        asked_per_second: None,
        throughput: Default::default(),
        counts,
        errors: Default::default(),
        unsent: 0,
        unconsumed: 0,
        stolen_percent: Some(1.5),
        latencies: Default::default(),
        durability: Durability::PageCache,
        broker: Some(ProcessUse {
            pid: 1,
            program: "broker".to_owned(),
            user_seconds: 1.0,
            system_seconds: 2.0,
            anonymous_bytes_max: 1 << 20,
            written_bytes: 0,
        }),
        generator: None,
        environment: Environment::default(),
        points: vec![Point::of(&interval, 0.0, 10.0, 0)],
    };
    summary.fill(&interval, counts, 10.0);
    summary
}
