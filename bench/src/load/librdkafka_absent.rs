//! What stands in for librdkafka in a program that was built without it.

use crate::client::TopicInfo;
use crate::error::BenchError;
use crate::load::{Stop, Worker};
use crate::workload::Workload;

/// Nobody: there is no librdkafka to run them.
#[derive(Debug, Default)]
pub(crate) struct Applications {
    pub(crate) producers: Vec<Absent>,
    pub(crate) consumers: Vec<Absent>,
}

/// A producer or consumer that cannot be.
#[derive(Debug)]
pub(crate) enum Absent {}

impl Applications {
    pub(crate) async fn open(
        _: &Workload,
        _: &[String],
        _: &[TopicInfo],
    ) -> Result<Self, BenchError> {
        Err(BenchError::usage(
            "this program was built without librdkafka: build it with --features librdkafka",
        ))
    }

    pub(crate) fn mean_value(&self) -> Option<f64> {
        None
    }
}

impl Absent {
    pub(crate) async fn run<T>(self, _: Worker, _: f64, _: Stop) -> Result<T, BenchError> {
        match self {}
    }
}
