//! Settings of the broker itself: identity, listeners, connections.

use crate::key::{Check, ConfigKey, ConfigType, Synonym, Unit};

use super::checks;
use ConfigType::{Boolean, Int, List, Long, String};
use Unit::{Bytes, Milliseconds};

const NODE_ID: &[Synonym] = &[
    Synonym {
        name: "node.id",
        factor: 1,
    },
    Synonym {
        name: "broker.id",
        factor: 1,
    },
];

pub(super) const KEYS: &[ConfigKey] = &[
    ConfigKey::broker(
        "node.id",
        Int,
        "1",
        "Number of this broker in every answer that names brokers. A data directory keeps the \
         number it was made with.",
    )
    .min(0)
    .synonyms(NODE_ID),
    ConfigKey::broker(
        "broker.id",
        Int,
        "-1",
        "Older name of node.id; -1 for not set.",
    )
    .min(-1)
    .synonyms(NODE_ID),
    ConfigKey::broker(
        "broker.rack",
        String,
        "",
        "Rack of this broker as clients see it.",
    )
    .unset(),
    ConfigKey::broker(
        "listeners",
        List,
        "PLAINTEXT://127.0.0.1:9092,PLAINTEXT://[::1]:9092",
        "Where clients are accepted, as NAME://host:port; an empty host means every address, port \
         0 lets the system choose. Those of controllers are left out. Kafka's default is every address; ours is this machine only. \
         Where the default is in force, [::1] is left out with a warning if IPv6 is off.",
    )
    .check(Check::Custom(checks::listeners))
    .dynamic(),
    ConfigKey::broker(
        "advertised.listeners",
        List,
        "",
        "Addresses that clients are told to connect to, one per listener name. Not set, the first \
         address of each name in listeners. Needed where a listener accepts on every address.",
    )
    .unset()
    .check(Check::Custom(checks::advertised_listeners)),
    ConfigKey::broker(
        "listener.security.protocol.map",
        String,
        "PLAINTEXT:PLAINTEXT",
        "Which protocol each listener name speaks. Only PLAINTEXT can be served yet.",
    )
    .check(Check::Custom(checks::protocols))
    .dynamic(),
    ConfigKey::broker(
        "socket.request.max.bytes",
        Int,
        "104857600",
        "The longest request; a longer one closes its connection.",
    )
    .min(1)
    .unit(Bytes),
    ConfigKey::broker(
        "queued.max.request.bytes",
        Long,
        "134217728",
        "Bytes of requests held at once over all connections; sockets are not read beyond it. \
         Counted as bytes arrive, never by the announced length. Kafka's default is no limit.",
    )
    .min(1024 * 1024)
    .unit(Bytes),
    ConfigKey::broker(
        "max.request.partition.size.limit",
        Int,
        "2000",
        "Partitions that one answer to DescribeTopicPartitions tells at most.",
    )
    .min(1),
    ConfigKey::broker(
        "max.connections",
        Int,
        "10000",
        "Connections held at once, but never on more than half of the descriptors that the process may \
         open; further ones wait to be accepted. Kafka's default is no limit. In a TOML file write \
         this key in quotes if max.connections.per.ip stands beside it.",
    )
    .min(0)
    .dynamic(),
    ConfigKey::broker(
        "max.connections.per.ip",
        Int,
        "2147483647",
        "Connections held at once from one address; a further one is closed at once. Kafka's 0 makes \
         sense with exceptions only, which cannot be given yet.",
    )
    .min(1)
    .dynamic(),
    ConfigKey::broker(
        "connections.max.idle.ms",
        Long,
        "600000",
        "A connection without a request for so long is closed; a negative value never closes.",
    )
    .unit(Milliseconds),
    ConfigKey::broker(
        "sasl.kerberos.min.time.before.relogin",
        Long,
        "60000",
        "For Kerberos, of which there is nothing here, as in Kafka without such a listener: administrators' tools \
         may read and alter it.",
    )
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "socket.listen.backlog.size",
        Int,
        "1024",
        "Connections that may wait to be accepted; the kernel's own limit caps it. Kafka's 50 \
         makes bursts of clients wait a second for their retry.",
    )
    .min(1),
    ConfigKey::broker(
        "fetch.max.bytes",
        Int,
        "57671680",
        "Record bytes in one fetch answer at most; a single larger batch is still sent whole.",
    )
    .min(1024)
    .unit(Bytes),
    ConfigKey::broker(
        "max.incremental.fetch.session.cache.slots",
        Int,
        "1000",
        "Fetch sessions that are remembered at once; a client that is given none says with every \
         request all that it fetches.",
    )
    .min(0),
    ConfigKey::broker(
        "tidewheel.metrics.per.partition",
        String,
        "auto",
        "Whether /metrics has series for every partition and for every partition of a group: true, false, or \
         auto, with which it has them while they are few. /metrics/detailed always has them.",
    )
    .check(Check::OneOf(&["auto", "true", "false"])),
    ConfigKey::broker(
        "tidewheel.slow.request.ms",
        Long,
        "5000",
        "A request that takes so long is told in the log with its client and where its time went; 0 for none. \
         What a fetch waits for data, members wait for their group, requests wait for those before them on their \
         connection, does not count.",
    )
    .min(0)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "tidewheel.ignore.dynamic.config",
        Boolean,
        "false",
        "Whether settings that were set on brokers while they ran are kept, but do not act until the next start \
         without it (--ignore-dynamic-config): the way out where one of them shuts everybody out. They are set \
         back with tidewheel config unset or over HTTP. Settings of topics and groups act all the same.",
    ),
    ConfigKey::broker(
        "tidewheel.log.format",
        String,
        "auto",
        "How a line of the log looks on stderr: text for people, logfmt, json for an object a line, or auto, \
         which is text on a terminal and logfmt elsewhere. TIDEWHEEL_LOG says which lines are written, such as \
         info or warn,tidewheel_broker::groups=debug.",
    )
    .check(Check::OneOf(&["auto", "text", "logfmt", "json"])),
    ConfigKey::broker(
        "tidewheel.loggers.expire.ms",
        Long,
        "300000",
        "How long a level of the log lasts that a client of Kafka's protocol sets (kafka-configs --entity-type \
         broker-loggers); then it goes back to what TIDEWHEEL_LOG says.",
    )
    .range(1_000, 86_400_000)
    .unit(Milliseconds)
    .dynamic(),
];
