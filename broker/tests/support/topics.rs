//! What several tests ask of topics: other settings, and that old records go.

use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResponse, AlterableConfig,
};
use tidewheel_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};

use super::Client;

/// Gives a topic these settings and no others; the error code.
pub(crate) fn alter(client: &mut Client, topic: &str, configs: &[(&str, &str)]) -> i16 {
    let configs = configs.iter().map(|(name, value)| AlterableConfig {
        name: StrBytes::from(*name),
        value: Some(StrBytes::from(*value)),
    });
    let request = AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: StrBytes::from(topic),
            configs: configs.collect(),
        }],
        ..AlterConfigsRequest::default()
    };
    let answer: AlterConfigsResponse = client.call(1, &request);
    answer.responses[0].error_code
}

/// Deletes the records of a partition before `offset`; the error code and the low watermark.
pub(crate) fn delete_records(
    client: &mut Client,
    topic: &str,
    partition_index: i32,
    offset: i64,
) -> (i16, i64) {
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: StrBytes::from(topic),
            partitions: vec![DeleteRecordsPartition {
                partition_index,
                offset,
            }],
        }],
        timeout_ms: 30_000,
    };
    let answer: DeleteRecordsResponse = client.call(2, &request);
    let partition = &answer.topics[0].partitions[0];
    (partition.error_code, partition.low_watermark)
}
