//! ApiVersions: the first thing a client asks, and what it concludes from it.

use crate::support::{Broker, Client};
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::{ApiKey, ErrorCode, StrBytes};

fn ask(client: &mut Client, version: i16, name: &str) -> ApiVersionsResponse {
    let request = ApiVersionsRequest {
        client_software_name: StrBytes::from(name),
        client_software_version: StrBytes::from_static("1.0"),
    };
    client.call(version, &request)
}

/// Rows `| key | name | min-max | ...` of the table in docs/compatibility.md.
fn documented() -> Vec<(i16, String, i16, i16)> {
    let page = include_str!("../../../docs/compatibility.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split('|').map(str::trim);
        let key = cells.next()?.parse().ok()?;
        let name = cells.next()?.to_owned();
        let (min, max) = cells.next()?.split_once('-')?;
        Some((key, name, min.parse().ok()?, max.parse().ok()?))
    });
    rows.collect()
}

#[test]
fn the_documented_table_is_what_is_advertised() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut advertised: Vec<(i16, String, i16, i16)> = ask(&mut broker.connect(), 3, "test")
        .api_keys
        .iter()
        .map(|api| {
            let name = ApiKey::try_from(api.api_key).unwrap().name().to_owned();
            (api.api_key, name, api.min_version, api.max_version)
        })
        .collect();
    advertised.sort_unstable();
    assert_eq!(advertised, documented());
}

/// Versions 3 and up check who the client says it is (KIP-511).
#[test]
fn gotcha_02_clients_with_impossible_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    for version in [3, 4] {
        let refused = ask(&mut client, version, "not a name");
        assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
        assert_eq!(ask(&mut client, version, "a-name.1").error_code, 0);
    }
    assert_eq!(
        ask(&mut client, 2, "").error_code,
        0,
        "older clients have no name"
    );
}

/// A feature whose minimum is 0 breaks old Java clients before version 4; tools read the
/// finalized `metadata.version`, whose epoch never goes back, and clients `group.version`.
#[test]
fn gotcha_03_features_are_such_that_old_clients_can_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut epoch = -1;
    for _ in 0..2 {
        let broker = Broker::start(dir.path());
        let answer = ask(&mut broker.connect(), 3, "test");
        assert!(
            answer
                .supported_features
                .iter()
                .all(|feature| feature.min_version > 0)
        );
        let finalized = answer.finalized_features.iter();
        let finalized: Vec<_> = finalized.map(|f| (&*f.name, f.max_version_level)).collect();
        assert_eq!(finalized, [("metadata.version", 25), ("group.version", 1)]);
        let newer = ask(&mut broker.connect(), 4, "test").supported_features;
        let ranges = newer
            .iter()
            .map(|f| (&*f.name, f.min_version, f.max_version));
        let ranges: Vec<_> = ranges.collect();
        assert_eq!(
            ranges,
            [("metadata.version", 7, 25), ("group.version", 0, 1)]
        );
        assert!(answer.finalized_features_epoch > epoch);
        epoch = answer.finalized_features_epoch;
        assert!(broker.stop());
    }
}
