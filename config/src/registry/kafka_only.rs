//! Names of Apache Kafka's broker settings that have no row: told apart from misspelt names.

/// What a broker setting of Apache Kafka without a row means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It has no effect: a warning with this reason.
    Meaningless(&'static str),
    /// It belongs to something that is not built yet: refused with this reason.
    NotBuilt(&'static str),
}

use Foreign::{Meaningless, NotBuilt};

const NO_QUORUM: Foreign = Meaningless("there is no controller quorum here");
const ONE_NODE: Foreign = Meaningless("a single node copies nothing to other brokers");
const OWN_THREADS: Foreign = Meaningless("threads are managed without settings");
const OWN_QUEUES: Foreign = Meaningless("waiting requests are kept in a different way");
const GONE: Foreign = Meaningless("Apache Kafka 4 no longer has it");
const JVM: Foreign = Meaningless("there is no JVM here to load it");
const GROUPS: Foreign = NotBuilt("the newer consumer group protocol is not built yet");
const STREAMS: Foreign = NotBuilt("streams groups are not built yet");
const TRANSACTIONS: Foreign = NotBuilt("transactions are not built yet");
const SECURITY: Foreign = NotBuilt("encryption, logins and access control are not built yet");
const SHARE: Foreign = NotBuilt("share groups are not built yet");
const QUOTAS: Foreign = NotBuilt("quotas are not built yet");
const TIERS: Foreign = NotBuilt("tiered storage is not built yet");

/// Prefixes (with a dot at the end) and whole names. The first match counts.
const FOREIGN: &[(&str, Foreign)] = &[
    ("zookeeper.", GONE),
    ("inter.broker.protocol.version", GONE),
    ("log.message.format.version", GONE),
    ("log.message.downconversion.enable", GONE),
    ("log.message.timestamp.difference.max.ms", GONE),
    ("process.roles", NO_QUORUM),
    ("controller.quota.", QUOTAS),
    ("controller.", NO_QUORUM),
    ("early.start.listeners", NO_QUORUM),
    ("broker.heartbeat.interval.ms", NO_QUORUM),
    ("broker.session.timeout.ms", NO_QUORUM),
    ("initial.broker.registration.timeout.ms", NO_QUORUM),
    ("metadata.", NO_QUORUM),
    ("inter.broker.listener.name", ONE_NODE),
    ("security.inter.broker.protocol", ONE_NODE),
    ("controlled.shutdown.enable", ONE_NODE),
    ("auto.leader.rebalance.enable", ONE_NODE),
    ("leader.imbalance.check.interval.seconds", ONE_NODE),
    ("leader.imbalance.per.broker.percentage", ONE_NODE),
    ("unclean.leader.election.interval.ms", ONE_NODE),
    ("replica.selector.class", ONE_NODE),
    (
        "replica.high.watermark.checkpoint.interval.ms",
        Meaningless("high watermarks are written with the recovery points"),
    ),
    ("replica.", ONE_NODE),
    ("num.replica.fetchers", ONE_NODE),
    ("num.replica.alter.log.dirs.threads", ONE_NODE),
    ("replication.quota.", ONE_NODE),
    ("alter.log.dirs.replication.quota.", ONE_NODE),
    ("log.dir.failure.timeout.ms", ONE_NODE),
    (
        "log.flush.start.offset.checkpoint.interval.ms",
        Meaningless("log starts are written with the recovery points"),
    ),
    ("num.network.threads", OWN_THREADS),
    ("num.io.threads", OWN_THREADS),
    ("background.threads", OWN_THREADS),
    ("num.recovery.threads.per.data.dir", OWN_THREADS),
    ("queued.max.requests", OWN_QUEUES),
    ("fetch.purgatory.purge.interval.requests", OWN_QUEUES),
    ("producer.purgatory.purge.interval.requests", OWN_QUEUES),
    (
        "delete.records.purgatory.purge.interval.requests",
        OWN_QUEUES,
    ),
    (
        "socket.send.buffer.bytes",
        Meaningless("the kernel sizes socket buffers"),
    ),
    (
        "socket.receive.buffer.bytes",
        Meaningless("the kernel sizes socket buffers"),
    ),
    ("socket.connection.setup.", ONE_NODE),
    ("request.timeout.ms", ONE_NODE),
    ("server.max.startup.time.ms", ONE_NODE),
    ("metric.", JVM),
    ("metrics.", JVM),
    ("kafka.metrics.", JVM),
    ("auto.include.jmx.reporter", JVM),
    (
        "client.telemetry.",
        NotBuilt("client metrics are not built yet"),
    ),
    ("telemetry.", NotBuilt("client metrics are not built yet")),
    (
        "offsets.load.buffer.size",
        Meaningless("offsets are read in pieces of a fixed size"),
    ),
    ("offsets.topic.replication.factor", ONE_NODE),
    ("group.coordinator.rebalance.protocols", GROUPS),
    ("group.coordinator.", OWN_THREADS),
    ("group.consumer.", GROUPS),
    ("group.share.", SHARE),
    ("group.streams.", STREAMS),
    ("share.", SHARE),
    ("transaction.", TRANSACTIONS),
    ("transactional.id.expiration.ms", TRANSACTIONS),
    ("add.partitions.to.txn.", TRANSACTIONS),
    ("ssl.", SECURITY),
    ("sasl.", SECURITY),
    ("security.providers", SECURITY),
    ("delegation.token.", SECURITY),
    ("authorizer.class.name", SECURITY),
    ("super.users", SECURITY),
    ("allow.everyone.if.no.acl.found", SECURITY),
    ("principal.builder.class", SECURITY),
    ("connections.max.reauth.ms", SECURITY),
    ("connection.failed.authentication.delay.ms", SECURITY),
    ("quota.", QUOTAS),
    ("client.quota.callback.class", QUOTAS),
    ("max.connection.creation.rate", QUOTAS),
    ("max.connections.per.ip.overrides", QUOTAS),
    (
        "create.topic.policy.class.name",
        NotBuilt("there is no JVM to run a policy class"),
    ),
    (
        "alter.config.policy.class.name",
        NotBuilt("there is no JVM to run a policy class"),
    ),
    (
        "config.providers",
        NotBuilt("values cannot be fetched from other places"),
    ),
    (
        "cordoned.log.dirs",
        NotBuilt("data directories cannot be cordoned yet"),
    ),
    ("remote.", TIERS),
    ("follower.fetch.last.tiered.offset.enable", TIERS),
    (
        "log.cleaner.io.buffer.size",
        Meaningless("the cleaner reads as much at once as suits it"),
    ),
];

/// What Apache Kafka's setting `name` means here; `None` if Kafka has none of that name either.
pub(crate) fn foreign(name: &str) -> Option<Foreign> {
    let matches = |pattern: &str| match pattern.ends_with('.') {
        true => name.starts_with(pattern),
        false => name == pattern,
    };
    FOREIGN
        .iter()
        .find(|(pattern, _)| matches(pattern))
        .map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Scope;

    #[test]
    fn every_kafka_setting_is_a_row_or_explained() {
        let kafka = include_str!("../../tests/data/kafka-4.3.1-configs.tsv");
        let unexplained: Vec<&str> = kafka
            .lines()
            .filter_map(|line| line.strip_prefix("BROKER\t")?.split('\t').next())
            .filter(|name| super::super::find(Scope::Broker, name).is_none())
            .filter(|name| foreign(name).is_none())
            .collect();
        assert_eq!(unexplained, Vec::<&str>::new());
    }

    #[test]
    fn misspelt_names_are_nobodys() {
        assert_eq!(foreign("num.partitons"), None);
        assert_eq!(foreign("zookeeper.connect"), Some(GONE));
        assert_eq!(foreign("process.roles.x"), None);
    }
}
