//! Names of Apache Kafka's broker settings that have no row: told apart from misspelt names.

/// What a broker setting of Apache Kafka without a row means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It has no effect: a warning with this reason.
    Ignored(&'static str),
    /// Whoever sets it relies on it, so that a broker that goes on without it would be unsafe: refused with
    /// this reason.
    Refused(&'static str),
}

use Foreign::{Ignored, Refused};

/// How Kafka's settings of one listener begin; its name in small letters and a dot follow.
pub(crate) const OF_ONE_LISTENER: &str = "listener.name.";

const NO_QUORUM: Foreign = Ignored("there is no controller quorum here");
const ALONE: Foreign = Ignored("no cluster is joined, every broker is one on its own");
const ONE_NODE: Foreign = Ignored("a single node copies nothing to other brokers");
const OWN_THREADS: Foreign = Ignored("threads are managed without settings");
const OWN_QUEUES: Foreign = Ignored("waiting requests are kept in a different way");
const GONE: Foreign = Ignored("Apache Kafka 4 no longer has it");
const JVM: Foreign = Ignored("there is no JVM here to load it");
const BOTH_PROTOCOLS: Foreign = Ignored("both protocols of consumer groups are on");
const STREAMS: Foreign = Ignored("streams groups are not built yet");
const TRANSACTIONS: Foreign = Ignored("transactions are not built yet");
const SECURITY: Foreign = Refused("encryption, logins and access control are not built yet");
const POLICY: Foreign = Refused("there is no JVM to run a policy class");
const SHARE: Foreign = Ignored("share groups are not built yet");
const QUOTAS: Foreign = Ignored("quotas are not built yet");
const TIERS: Foreign = Ignored("tiered storage is not built yet");

/// Prefixes (with a dot at the end) and whole names. The first match counts.
const FOREIGN: &[(&str, Foreign)] = &[
    ("zookeeper.", GONE),
    ("inter.broker.protocol.version", GONE),
    ("log.message.format.version", GONE),
    ("log.message.downconversion.enable", GONE),
    ("log.message.timestamp.difference.max.ms", GONE),
    ("password.encoder.", GONE),
    ("advertised.host.name", GONE),
    ("advertised.port", GONE),
    (
        "host.name",
        Ignored("Apache Kafka 4 no longer has it; listeners says where to listen"),
    ),
    (
        "port",
        Ignored("Apache Kafka 4 no longer has it; listeners says where to listen"),
    ),
    ("broker.id.generation.enable", GONE),
    ("reserved.broker.max.id", GONE),
    ("control.plane.listener.name", GONE),
    ("offsets.commit.required.acks", GONE),
    (
        "process.roles",
        Refused("this is a broker, and there are no controllers"),
    ),
    ("controller.quota.", QUOTAS),
    ("controller.quorum.voters", ALONE),
    ("controller.quorum.bootstrap.servers", ALONE),
    ("controller.", NO_QUORUM),
    ("early.start.listeners", NO_QUORUM),
    ("broker.heartbeat.interval.ms", NO_QUORUM),
    ("broker.session.timeout.ms", NO_QUORUM),
    ("initial.broker.registration.timeout.ms", NO_QUORUM),
    ("metadata.", NO_QUORUM),
    ("inter.broker.listener.name", ONE_NODE),
    ("security.inter.broker.protocol", SECURITY),
    ("controlled.shutdown.", ONE_NODE),
    ("auto.leader.rebalance.enable", ONE_NODE),
    ("leader.imbalance.check.interval.seconds", ONE_NODE),
    ("leader.imbalance.per.broker.percentage", ONE_NODE),
    ("unclean.leader.election.interval.ms", ONE_NODE),
    ("replica.selector.class", ONE_NODE),
    (
        "replica.high.watermark.checkpoint.interval.ms",
        Ignored("high watermarks are written with the recovery points"),
    ),
    ("replica.", ONE_NODE),
    ("num.replica.fetchers", ONE_NODE),
    ("num.replica.alter.log.dirs.threads", ONE_NODE),
    ("replication.quota.", ONE_NODE),
    ("alter.log.dirs.replication.quota.", ONE_NODE),
    ("log.dir.failure.timeout.ms", ONE_NODE),
    (
        "log.flush.start.offset.checkpoint.interval.ms",
        Ignored("log starts are written with the recovery points"),
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
        Ignored("the kernel sizes socket buffers"),
    ),
    (
        "socket.receive.buffer.bytes",
        Ignored("the kernel sizes socket buffers"),
    ),
    ("socket.connection.setup.", ONE_NODE),
    ("request.timeout.ms", ONE_NODE),
    ("server.max.startup.time.ms", ONE_NODE),
    ("eligible.leader.replicas.enable", ONE_NODE),
    ("unstable.", Ignored("it is for Apache Kafka's own tests")),
    (
        "confluent.",
        Ignored("it is a setting of Confluent's own server"),
    ),
    ("metric.", JVM),
    ("metrics.", JVM),
    ("kafka.metrics.", JVM),
    ("auto.include.jmx.reporter", JVM),
    (
        "client.telemetry.",
        Ignored("client metrics are not built yet"),
    ),
    ("telemetry.", Ignored("client metrics are not built yet")),
    (
        "offsets.load.buffer.size",
        Ignored("offsets are read in pieces of a fixed size"),
    ),
    ("offsets.topic.replication.factor", ONE_NODE),
    ("group.coordinator.rebalance.protocols", BOTH_PROTOCOLS),
    ("group.coordinator.", OWN_THREADS),
    (
        "group.consumer.",
        Ignored(
            "members get new targets, and expressions new topics, as soon as something changes",
        ),
    ),
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
    ("create.topic.policy.class.name", POLICY),
    ("alter.config.policy.class.name", POLICY),
    (
        "config.providers",
        Refused("values cannot be fetched from other places"),
    ),
    (
        "cordoned.log.dirs",
        Refused("data directories cannot be cordoned yet"),
    ),
    (
        "remote.log.storage.system.enable",
        Refused("tiered storage is not built yet"),
    ),
    ("remote.", TIERS),
    ("follower.fetch.last.tiered.offset.enable", TIERS),
    (
        "log.cleaner.io.buffer.size",
        Ignored("the cleaner reads as much at once as suits it"),
    ),
];

/// A setting, whether a value of it asks for nothing that is missing, and what it means then.
type Harmless = (&'static str, fn(&str) -> bool, Foreign);

/// Exceptions from what is refused. Nothing is asked for by an empty value either.
const HARMLESS: &[Harmless] = &[
    (
        "process.roles",
        |roles| roles.split(',').any(|role| role.trim() == "broker"),
        NO_QUORUM,
    ),
    (
        "security.inter.broker.protocol",
        |protocol| protocol == "PLAINTEXT",
        ONE_NODE,
    ),
    (
        "remote.log.storage.system.enable",
        |enable| enable.eq_ignore_ascii_case("false"),
        TIERS,
    ),
    (
        "ssl.client.auth",
        |auth| auth == "none",
        Ignored("nobody is asked for a certificate"),
    ),
];

/// What Apache Kafka's setting `name` with this value means here; `None` if Kafka has none of that name
/// either.
pub(crate) fn foreign(name: &str, value: &str) -> Option<Foreign> {
    match name.strip_prefix(OF_ONE_LISTENER) {
        Some(rest) => of_one_listener(rest.split_once('.')?.1, value.trim()),
        None => of_the_broker(name, value.trim()),
    }
}

fn of_the_broker(name: &str, value: &str) -> Option<Foreign> {
    let harmless = |(pattern, is_harmless, _): &&Harmless| *pattern == name && is_harmless(value);
    match by_name(name)? {
        Refused(_) if value.is_empty() => Some(Ignored("it is empty")),
        Refused(reason) => match HARMLESS.iter().find(harmless) {
            Some((_, _, meaning)) => Some(*meaning),
            None => Some(Refused(reason)),
        },
        ignored => Some(ignored),
    }
}

fn by_name(name: &str) -> Option<Foreign> {
    let matches = |pattern: &str| match pattern.ends_with('.') {
        true => name.starts_with(pattern),
        false => name == pattern,
    };
    FOREIGN
        .iter()
        .find(|(pattern, _)| matches(pattern))
        .map(|(_, meaning)| *meaning)
}

/// The setting `name` of a single listener; a SASL mechanism may stand before the name.
fn of_one_listener(name: &str, value: &str) -> Option<Foreign> {
    let name = name.find(".sasl.").map_or(name, |dot| &name[dot + 1..]);
    let known = super::find(crate::key::Scope::Broker, name).is_some();
    match of_the_broker(name, value) {
        Some(Refused(reason)) => Some(Refused(reason)),
        None if !known => None,
        _ => Some(Ignored("listeners have no settings of their own yet")),
    }
}

/// Names and prefixes of the settings without a row, and what they mean where their value asks for
/// something.
pub(crate) fn all_foreign() -> impl Iterator<Item = (&'static str, Foreign)> {
    FOREIGN.iter().copied()
}

/// `value` if it may stand in a log: it is no password, key or the like, and no address with one in it.
pub(crate) fn shown<'a>(name: &str, value: &'a str) -> Option<&'a str> {
    const SECRET: &[&str] = &[
        "passw",
        "pwd",
        "passphrase",
        "secret",
        "credential",
        "token",
        "private",
        "user.info",
        "apikey",
        "jaas.config",
        "certificate",
        "assertion",
        "license",
    ];
    let name = name.to_ascii_lowercase();
    let is_key = name.rsplit(['.', '-', '_']).next() == Some("key");
    let secret = is_key || SECRET.iter().any(|part| name.contains(part));
    (!secret && !has_login(value)).then_some(value)
}

/// Whether an address in it is written as `scheme://user:password@host`.
fn has_login(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ',']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(login, _)| login.contains(':'))
    })
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
            .filter(|name| foreign(name, "x").is_none())
            .collect();
        assert_eq!(unexplained, Vec::<&str>::new());
    }

    #[test]
    fn misspelt_names_are_nobodys() {
        assert_eq!(foreign("num.partitons", "1"), None);
        assert_eq!(foreign("zookeeper.connect", "z:2181"), Some(GONE));
        assert_eq!(foreign("process.roles.x", "broker"), None);
        assert_eq!(foreign("listener.name.in", "x"), None);
        assert_eq!(foreign("listener.name.in.num.io.thread", "3"), None);
    }

    #[test]
    fn what_protects_data_is_refused_unless_it_asks_for_nothing() {
        let refused = |name, value| matches!(foreign(name, value), Some(Refused(_)));
        for (name, value) in [
            ("ssl.keystore.location", "/k.jks"),
            ("ssl.client.auth", "required"),
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("authorizer.class.name", "a.B"),
            ("super.users", "User:a"),
            ("security.inter.broker.protocol", "SASL_SSL"),
            ("listener.name.in.ssl.client.auth", "required"),
            ("listener.name.in.scram-sha-256.sasl.jaas.config", "x"),
            ("create.topic.policy.class.name", "a.B"),
            ("config.providers", "file"),
            ("process.roles", "controller"),
            ("remote.log.storage.system.enable", "true"),
        ] {
            assert!(refused(name, value), "{name}={value}");
            assert!(!refused(name, " "), "{name} is empty");
        }
        for (name, value) in [
            ("ssl.client.auth", "none"),
            ("ssl.endpoint.identification.algorithm", ""),
            ("security.inter.broker.protocol", "PLAINTEXT"),
            ("process.roles", "controller, broker"),
            ("remote.log.storage.system.enable", "False"),
            ("listener.name.in.num.network.threads", "3"),
            ("listener.name.in.max.connections", "3"),
        ] {
            assert!(matches!(foreign(name, value), Some(Ignored(_))), "{name}");
        }
    }

    #[test]
    fn every_setting_of_kafka_for_tls_and_logins_is_refused() {
        let kafka = include_str!("../../tests/data/kafka-4.3.1-configs.tsv");
        let names = kafka
            .lines()
            .filter_map(|line| line.strip_prefix("BROKER\t")?.split('\t').next());
        let names: Vec<&str> = names
            .filter(|name| name.starts_with("ssl.") || name.starts_with("sasl."))
            .collect();
        assert!(names.len() > 50, "{}", names.len());
        for name in names {
            assert_eq!(foreign(name, "x"), Some(SECURITY), "{name}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for name in [
            "ssl.key.password",
            "ssl.keystore.key",
            "ssl.truststore.certificates",
            "sasl.jaas.config",
            "delegation.token.secret.key",
            "listener.name.in.plain.sasl.jaas.config",
            "confluent.license",
            "confluent.metrics.reporter.sasl.passwd",
            "metrics.influx.token",
            "some.reporter.api-key",
            "some.reporter.api_key",
            "basic.auth.user.info",
            "azure.Credentials",
        ] {
            assert_eq!(shown(name, "x"), None, "{name}");
        }
        for (name, value) in [
            ("ssl.keystore.location", "/k.jks"),
            ("metrics.keyspace", "x"),
            ("zookeeper.connect", "z1:2181,z2:2181/kafka"),
            ("metrics.url", "http://push:9091/a@b:c"),
        ] {
            assert_eq!(shown(name, value), Some(value), "{name}");
        }
        for value in ["http://me:hush@push:9091", "a,b://u:p@h,c"] {
            assert_eq!(shown("metrics.url", value), None, "{value}");
        }
    }
}
