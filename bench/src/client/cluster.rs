//! The brokers of a cluster, its topics, and who leads which partition.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{ClientError, Connection};

/// The newest version of Metadata that names topics in all cases.
const METADATA: i16 = 12;
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
/// The source of a setting that nobody chose.
const DEFAULT_CONFIG: i8 = 5;

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the broker's default.
    pub partitions: i32,
    /// How many replicas of each; -1 for the broker's default.
    pub replicas: i16,
    /// Configuration that differs from the defaults.
    pub configs: BTreeMap<String, String>,
}

/// Who leads a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The partition's number.
    pub partition: i32,
    /// `host:port` of the leader.
    pub address: String,
}

/// A topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Who leads each partition, by number.
    pub leaders: Vec<Leader>,
}

/// An offset in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// The way into a cluster: one connection for questions, answered one at a time.
#[derive(Debug)]
pub struct Cluster {
    connection: Connection,
    timeout: Duration,
}

impl Cluster {
    /// Connects to the first broker of a list that answers.
    ///
    /// # Errors
    /// The last broker's error, where none answers.
    pub async fn connect(brokers: &[String], timeout: Duration) -> Result<Self, ClientError> {
        let mut last = None;
        for address in brokers {
            match Connection::open(address, timeout).await {
                Ok(connection) => {
                    return Ok(Self {
                        connection,
                        timeout,
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Malformed {
            address: "no broker".to_owned(),
            what: "the list of brokers is empty".to_owned(),
        }))
    }

    /// The connection that questions go over.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether the broker answers what every client asks first.
    pub async fn is_ready(&mut self) -> bool {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            ..MetadataRequest::default()
        };
        let answer: Result<MetadataResponse, ClientError> =
            self.connection.call(METADATA, &request, self.timeout).await;
        answer.is_ok_and(|answer| !answer.brokers.is_empty())
    }

    /// Looks a topic up, without creating it.
    ///
    /// # Errors
    /// Where it does not exist, has a partition without a leader, or the broker does not answer.
    pub async fn topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(StrBytes::from(name)),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = self
            .connection
            .call(METADATA, &request, self.timeout)
            .await?;
        let brokers: BTreeMap<i32, String> = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id, address(&broker.host, broker.port)))
            .collect();
        let code = |code| refused(format!("topic {name}"), code, None);
        let topic = answer.topics.first();
        let topic = topic.ok_or_else(|| code(ErrorCode::UnknownTopicOrPartition.code()))?;
        if topic.error_code != 0 {
            return Err(code(topic.error_code));
        }
        let leaders = leaders(name, topic, &brokers)?;
        Ok(TopicInfo {
            name: name.to_owned(),
            leaders,
        })
    }

    /// Creates a topic; one that exists is left as it is.
    ///
    /// # Errors
    /// Where the broker refuses or does not answer.
    pub async fn create_topic(&mut self, topic: &NewTopic) -> Result<(), ClientError> {
        let configs = topic
            .configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig {
                name: StrBytes::from(name.as_str()),
                value: Some(StrBytes::from(value.as_str())),
            });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: StrBytes::from(topic.name.as_str()),
                num_partitions: topic.partitions,
                replication_factor: topic.replicas,
                configs: configs.collect(),
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        };
        let answer: CreateTopicsResponse = self
            .connection
            .call(i16::MAX, &request, self.timeout)
            .await?;
        match answer.topics.first() {
            Some(result)
                if result.error_code != 0
                    && result.error_code != ErrorCode::TopicAlreadyExists.code() =>
            {
                let detail = result.error_message.as_ref().map(ToString::to_string);
                let what = format!("cannot create topic {}", topic.name);
                Err(refused(what, result.error_code, detail))
            }
            _ => Ok(()),
        }
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// Where the broker refuses or does not answer.
    pub async fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest {
            topic_names: vec![StrBytes::from(name)],
            timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
            ..DeleteTopicsRequest::default()
        };
        // The newest version that takes names alone.
        let answer: DeleteTopicsResponse = self.connection.call(5, &request, self.timeout).await?;
        match answer.responses.first() {
            Some(result) if result.error_code != 0 => {
                let what = format!("cannot delete topic {name}");
                Err(refused(what, result.error_code, None))
            }
            _ => Ok(()),
        }
    }

    /// Settings of a topic by name, also those that have their default.
    ///
    /// # Errors
    /// Where the broker refuses or does not answer.
    pub async fn topic_configs(
        &mut self,
        name: &str,
    ) -> Result<BTreeMap<String, String>, ClientError> {
        self.configs(RESOURCE_TOPIC, name, true).await
    }

    /// Settings of the broker that answers which somebody chose; secrets are empty.
    ///
    /// # Errors
    /// Where the broker refuses or does not answer.
    pub async fn broker_settings(&mut self) -> Result<BTreeMap<String, String>, ClientError> {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = self
            .connection
            .call(METADATA, &request, self.timeout)
            .await?;
        let here = self.connection.address();
        let brokers = &answer.brokers;
        let this = brokers
            .iter()
            .find(|broker| address(&broker.host, broker.port) == here);
        let id = this.or(brokers.first()).map_or(0, |broker| broker.node_id);
        self.configs(RESOURCE_BROKER, &id.to_string(), false).await
    }

    async fn configs(
        &mut self,
        kind: i8,
        name: &str,
        defaults: bool,
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: kind,
                resource_name: StrBytes::from(name),
                configuration_keys: None,
            }],
            ..DescribeConfigsRequest::default()
        };
        let answer: DescribeConfigsResponse = self
            .connection
            .call(i16::MAX, &request, self.timeout)
            .await?;
        let mut configs = BTreeMap::new();
        for result in answer.results {
            if result.error_code != 0 {
                let what = format!("settings of {name}");
                return Err(refused(what, result.error_code, None));
            }
            for config in result.configs {
                if defaults || config.config_source != DEFAULT_CONFIG {
                    let value = config.value.map(|value| value.to_string());
                    configs.insert(config.name.to_string(), value.unwrap_or_default());
                }
            }
        }
        Ok(configs)
    }

    /// The directories in which the broker that answers keeps its logs.
    ///
    /// # Errors
    /// Where the broker refuses or does not answer.
    pub async fn log_dirs(&mut self) -> Result<Vec<String>, ClientError> {
        let request = DescribeLogDirsRequest {
            // No partition is asked for: the directories alone.
            topics: Some(Vec::new()),
        };
        let answer: DescribeLogDirsResponse = self
            .connection
            .call(i16::MAX, &request, self.timeout)
            .await?;
        if answer.error_code != 0 {
            return Err(refused(
                "log directories".to_owned(),
                answer.error_code,
                None,
            ));
        }
        let dirs = answer.results.iter().map(|dir| dir.log_dir.to_string());
        Ok(dirs.collect())
    }
}

/// Asks one leader for one offset in each of some partitions: at `timestamp`, where -1 is the end and -2
/// the start.
///
/// # Errors
/// Where the broker refuses or does not answer.
pub(crate) async fn list_offsets(
    connection: &mut Connection,
    topic: &str,
    partitions: &[i32],
    timestamp: i64,
    timeout: Duration,
) -> Result<Vec<PartitionOffset>, ClientError> {
    let partitions = partitions
        .iter()
        .map(|&partition_index| ListOffsetsPartition {
            partition_index,
            timestamp,
            ..ListOffsetsPartition::default()
        });
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: StrBytes::from(topic),
            partitions: partitions.collect(),
        }],
        ..ListOffsetsRequest::default()
    };
    let answer: ListOffsetsResponse = connection.call(i16::MAX, &request, timeout).await?;
    let mut offsets = Vec::new();
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        if partition.error_code != 0 {
            let what = format!("offsets of {topic}-{}", partition.partition_index);
            return Err(refused(what, partition.error_code, None));
        }
        offsets.push(PartitionOffset {
            partition: partition.partition_index,
            offset: partition.offset,
        });
    }
    Ok(offsets)
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn address(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn leaders(
    name: &str,
    topic: &MetadataResponseTopic,
    brokers: &BTreeMap<i32, String>,
) -> Result<Vec<Leader>, ClientError> {
    let mut leaders = Vec::with_capacity(topic.partitions.len());
    for partition in &topic.partitions {
        let address = brokers.get(&partition.leader_id);
        let address = address.ok_or_else(|| ClientError::NoLeader {
            topic: name.to_owned(),
            partition: partition.partition_index,
        })?;
        leaders.push(Leader {
            partition: partition.partition_index,
            address: address.clone(),
        });
    }
    leaders.sort_by_key(|leader| leader.partition);
    Ok(leaders)
}

fn refused(what: String, code: i16, detail: Option<String>) -> ClientError {
    ClientError::Refused { what, code, detail }
}
