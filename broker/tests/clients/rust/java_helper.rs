//! Stands for rskafka's helper of this name, which loads a JVM into the test: those cases are left out.

use rskafka::client::partition::Compression;
use rskafka::record::{Record, RecordAndOffset};

#[macro_export]
macro_rules! maybe_skip_java_interopt {
    () => {};
}

pub async fn produce(
    _connection: &[String],
    _records: Vec<(String, i32, Record)>,
    _compression: Compression,
) -> Vec<i64> {
    panic!("the Java client has its own program")
}

pub async fn consume(
    _connection: &[String],
    _topic: &str,
    _partition: i32,
    _count: usize,
) -> Vec<RecordAndOffset> {
    panic!("the Java client has its own program")
}
