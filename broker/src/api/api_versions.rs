//! ApiVersions: what this broker speaks, straight from the table.

use tidewheel_protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use tidewheel_protocol::{ApiKey, ErrorCode, StrBytes, encode_response_frame};

use super::{APIS, Answer, Context, Responder};

/// A feature in the words of KIP-584: tools, and some clients, look for them beside the versions of APIs.
struct Feature {
    name: &'static str,
    /// The lowest level that Kafka 4 brokers still name.
    min_version: i16,
    /// The level that is in force.
    version: i16,
}

const FEATURES: &[Feature] = &[
    // From 3.3-IV3 to 4.0-IV3, the level whose admin APIs this broker follows.
    Feature {
        name: "metadata.version",
        min_version: 7,
        version: 25,
    },
    // The newer protocol of consumer groups (KIP-848).
    Feature {
        name: "group.version",
        min_version: 0,
        version: 1,
    },
];

pub(super) fn handle(context: &Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_software_name(&request.client_software_name)
        && is_software_name(&request.client_software_version);
    if context.version >= 3 && !named {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ApiVersionsResponse::default()
        };
    }
    if named {
        let (name, version) = (
            &request.client_software_name,
            &request.client_software_version,
        );
        context.session.client.is_software(name, version);
    }
    ApiVersionsResponse {
        api_keys: APIS
            .iter()
            .map(|api| version(api.key, *api.advertised.start(), *api.advertised.end()))
            .collect(),
        supported_features: FEATURES
            .iter()
            // Older clients cannot read a range that begins at 0 (KAFKA-17492).
            .filter(|feature| context.version >= 4 || feature.min_version > 0)
            .map(|feature| SupportedFeatureKey {
                name: StrBytes::from_static(feature.name),
                min_version: feature.min_version,
                max_version: feature.version,
            })
            .collect(),
        // Must never go back: the start count does not.
        finalized_features_epoch: i64::from(context.broker.leader_epoch()),
        finalized_features: FEATURES
            .iter()
            .map(|feature| FinalizedFeatureKey {
                name: StrBytes::from_static(feature.name),
                max_version_level: feature.version,
                min_version_level: feature.version,
            })
            .collect(),
        ..ApiVersionsResponse::default()
    }
}

/// The answer to a version of ApiVersions that this broker does not know: the body is of version 0,
/// so that any client can read it, and names the versions of ApiVersions itself (KIP-511).
pub(super) fn unsupported_version(responder: &Responder) -> Answer {
    let known = APIS.iter().filter(|api| api.key == ApiKey::ApiVersions);
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: known
            .map(|api| version(api.key, *api.advertised.start(), *api.advertised.end()))
            .collect(),
        ..ApiVersionsResponse::default()
    };
    responder.answers(ApiKey::ApiVersions, response.error_code);
    Answer::Parts(vec![encode_response_frame(
        0,
        responder.correlation_id,
        &response,
    )])
}

fn version(key: ApiKey, min_version: i16, max_version: i16) -> ApiVersion {
    ApiVersion {
        api_key: key.code(),
        min_version,
        max_version,
    }
}

/// KIP-511's rule: letters and digits, with `-` and `.` inside.
fn is_software_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gotcha_02_software_names_follow_kip_511() {
        for good in ["librdkafka", "apache-kafka-java", "2.12.1", "a"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a_b", "ä", ".1"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }

    #[test]
    fn every_key_stands_once_in_the_table() {
        let mut keys: Vec<i16> = APIS.iter().map(|api| api.key.code()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), APIS.len());
    }
}
