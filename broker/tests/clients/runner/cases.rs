//! Which cases each client owes: all that its library offers.

use super::matrix::Client;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Kafka before 2.1, clients too.
const BEFORE_ZSTD: [&str; 4] = ["none", "gzip", "snappy", "lz4"];
const PER_CODEC: [&str; 8] = [
    "acks=0",
    "acks=1",
    "acks=all",
    "idempotent",
    "offset",
    "timestamp",
    "end",
    "sizes",
];
/// Those of kcat, which has no admin API.
const KCAT: [&str; 3] = ["metadata/list", "metadata/auto-create", "metadata/query"];
/// The cases beside those of the codecs.
const OTHERS: [&str; 19] = [
    "metadata/unknown-topic",
    "metadata/auto-create",
    "fetch/out-of-range",
    "produce/too-large",
    "produce/delayed",
    "admin/create",
    "admin/describe-configs",
    "admin/errors",
    "admin/delete-recreate",
    "admin/list-offsets",
    "admin/cluster",
    "admin/alter-configs",
    "admin/incremental-alter-configs",
    "admin/create-partitions",
    "admin/delete-records",
    "admin/log-dirs",
    "admin/elect-leaders",
    "admin/list-reassignments",
    "admin/describe-producers",
];
/// What only kadm asks.
const FRANZ_GO: [&str; 2] = ["admin/leader-epoch", "admin/offset-kinds"];

/// What a client can compress with, and read.
pub(crate) fn codecs(client: Client) -> &'static [&'static str] {
    match client {
        Client::Java011 | Client::Java11 => &BEFORE_ZSTD,
        _ => &CODECS,
    }
}

/// What its library does not offer, out of what others do.
fn lacks(client: Client) -> &'static [&'static str] {
    match client {
        Client::Kcat => &OTHERS,
        Client::FranzGo => &[],
        Client::Confluent => &[
            "admin/log-dirs",
            "admin/list-reassignments",
            "admin/describe-producers",
        ],
        // Its metadata requests create the topic that is asked for.
        Client::KafkaPython => &["metadata/unknown-topic"],
        Client::Aiokafka => &[
            "metadata/unknown-topic",
            "admin/incremental-alter-configs",
            "admin/log-dirs",
            "admin/elect-leaders",
            "admin/list-reassignments",
            "admin/describe-producers",
        ],
        Client::Sarama => &["admin/describe-producers"],
        // Its default protocol is that of 1.0.
        Client::Sarama138 => &[
            "admin/incremental-alter-configs",
            "admin/elect-leaders",
            "admin/list-reassignments",
            "admin/describe-producers",
        ],
        Client::KafkaGo => &[
            "idempotent",
            "admin/delete-records",
            "admin/log-dirs",
            "admin/describe-producers",
        ],
        // It reads in groups only.
        Client::KafkaJs => &[
            "offset",
            "end",
            "fetch/out-of-range",
            "admin/incremental-alter-configs",
            "admin/log-dirs",
            "admin/elect-leaders",
            "admin/describe-producers",
        ],
        Client::Java011 => &[
            "admin/incremental-alter-configs",
            "admin/create-partitions",
            "admin/delete-records",
            "admin/log-dirs",
            "admin/elect-leaders",
            "admin/list-reassignments",
            "admin/describe-producers",
        ],
        Client::Java11 => &[
            "admin/incremental-alter-configs",
            "admin/elect-leaders",
            "admin/list-reassignments",
            "admin/describe-producers",
        ],
        Client::Java28 => &["admin/describe-producers"],
        Client::Java39 => &[],
        // Gone with 4.0.
        Client::Java4 => &["admin/alter-configs"],
    }
}

/// All cases of a client's list.
pub(crate) fn of(client: Client) -> Vec<String> {
    let lacks = lacks(client);
    let offered = |case: &&str| !lacks.contains(case);
    let mut out = Vec::new();
    for codec in codecs(client) {
        let cases = PER_CODEC.into_iter().filter(offered);
        out.extend(cases.map(|case| format!("{codec}/{case}")));
    }
    let own: &[&str] = match client {
        Client::Kcat => &KCAT,
        Client::FranzGo => &FRANZ_GO,
        _ => &[],
    };
    let others = OTHERS.into_iter().filter(offered);
    out.extend(others.chain(own.iter().copied()).map(str::to_owned));
    out
}

/// The cases of consumer groups, of the mode `groups`.
pub(crate) fn groups(client: Client) -> &'static [&'static str] {
    match client {
        // It has no admin API; the Java admin client knows groups since 2.0.
        Client::Kcat => &["group/share", "group/commit"],
        Client::Java011 | Client::Java11 => &["group/share", "group/commit", "group/delayed"],
        _ => &[
            "group/share",
            "group/commit",
            "group/admin",
            "group/delayed",
        ],
    }
}

/// Whether it can alter the broker's settings.
pub(crate) fn alters_broker(client: Client) -> bool {
    client != Client::Kcat
}
