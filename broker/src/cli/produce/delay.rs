//! Records for later: how a topic wants to be asked.

use bytes::Bytes;
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::{Record, RecordHeader, StrBytes};

use super::ProduceArguments;
use crate::cli::EXIT_ENVIRONMENT;
use crate::cli::kafka::client::{Client, To};
use crate::cli::kafka::refused;
use crate::cli::outcome::{Failure, failed};
use crate::cli::table::escaped;
use crate::config_changes::TOPIC;

/// The setting that says what delays a record.
const DELAY_MODE: &str = "delay.mode";

/// What is done to each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delay {
    /// Nothing.
    None,
    /// It gets this header.
    Header(&'static str, i64),
    /// Its timestamp lies so many ms ahead.
    Ahead(i64),
    /// It gets this timestamp, ms since 1970.
    Timestamp(i64),
}

impl Delay {
    /// Looks up how the topic wants to be asked, where that is needed.
    pub(super) async fn find(
        arguments: &ProduceArguments,
        client: &mut Client,
    ) -> Result<Self, Failure> {
        if arguments.delay.is_none() && arguments.at.is_none() {
            return Ok(Self::None);
        }
        let topic = &arguments.topic;
        let mode = mode(client, topic).await?;
        let wanted = Self::of(mode.as_deref(), arguments.delay, arguments.at);
        wanted.ok_or_else(|| {
            let topic = escaped(topic);
            let sentence = match mode.as_deref() {
                Some("fixed") => format!(
                    "topic {topic} delays every record by its delay.fixed.ms: delay.mode=fixed takes no other time"
                ),
                Some(_) => format!(
                    "topic {topic} delays nothing: tidewheel config set delay.mode=both --topic {topic}"
                ),
                None => format!("topic {topic} has no setting {DELAY_MODE}: this broker delays nothing"),
            };
            failed(&sentence, EXIT_ENVIRONMENT)
        })
    }

    /// What a topic with this `delay.mode` understands.
    fn of(mode: Option<&str>, delay_ms: Option<i64>, due_ms: Option<i64>) -> Option<Self> {
        match (mode?, delay_ms, due_ms) {
            ("header" | "both", Some(delay), _) => Some(Self::Header("delay-ms", delay)),
            ("header" | "both", None, Some(due)) => Some(Self::Header("delay-until", due)),
            ("timestamp", Some(delay), _) => Some(Self::Ahead(delay)),
            ("timestamp", None, Some(due)) => Some(Self::Timestamp(due)),
            _ => None,
        }
    }

    /// Asks for the delay of a record.
    pub(super) fn ask(&self, record: &mut Record, now_ms: i64) {
        match self {
            Self::None => {}
            Self::Header(name, value) => record.headers.push(RecordHeader {
                key: Bytes::from_static(name.as_bytes()),
                value: Some(Bytes::from(value.to_string())),
            }),
            Self::Ahead(delay) => record.timestamp = now_ms.saturating_add(*delay),
            Self::Timestamp(due) => record.timestamp = *due,
        }
    }
}

/// The topic's `delay.mode`; nothing where the broker does not know such a setting.
async fn mode(client: &mut Client, topic: &str) -> Result<Option<String>, Failure> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: StrBytes::from(topic),
            configuration_keys: Some(vec![StrBytes::from_static(DELAY_MODE)]),
        }],
        ..DescribeConfigsRequest::default()
    };
    let answer: DescribeConfigsResponse = client.call(To::Any, i16::MAX, &request).await?;
    for result in &answer.results {
        if result.error_code != 0 {
            let of = format!("topic {}", escaped(topic));
            return Err(refused(
                &of,
                result.error_code,
                result.error_message.as_ref(),
            ));
        }
    }
    let mut configs = answer.results.into_iter().flat_map(|result| result.configs);
    let found = configs.find(|config| config.name == DELAY_MODE);
    Ok(found
        .and_then(|config| config.value)
        .map(|value| value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_asked_in_its_way() {
        for (mode, delay, due, expected) in [
            ("header", Some(5), None, Some(Delay::Header("delay-ms", 5))),
            ("both", None, Some(7), Some(Delay::Header("delay-until", 7))),
            ("timestamp", Some(5), None, Some(Delay::Ahead(5))),
            ("timestamp", None, Some(7), Some(Delay::Timestamp(7))),
            ("fixed", Some(5), None, None),
            ("none", Some(5), None, None),
        ] {
            assert_eq!(Delay::of(Some(mode), delay, due), expected, "{mode}");
        }
        assert_eq!(Delay::of(None, Some(5), None), None);
    }
}
