//! Settings of one topic about delayed delivery, which Kafka does not have.

use crate::key::{Check, ConfigKey, ConfigType, Unit};

use super::checks;
use ConfigType::{Boolean, Int, Long, String};
use Unit::{Bytes, Milliseconds};

pub(super) const KEYS: &[ConfigKey] = &[
    ConfigKey::topic(
        "delay.mode",
        String,
        "none",
        "What asks for records to become visible later: none, timestamp (a record timestamp in the \
         future), header (delay-until or delay-ms), or both; or fixed: every record waits for \
         delay.fixed.ms. What is pending is delivered also after a change to none. Compacted topics can \
         only have none or fixed. See docs/delayed-delivery.md.",
    )
    .check(Check::OneOf(&["none", "timestamp", "header", "both", "fixed"])),
    ConfigKey::topic(
        "delay.fixed.ms",
        Long,
        "0",
        "In mode fixed: how long after the broker received it a record becomes visible. A change counts for \
         what is pending, too. Records get the broker's time as with message.timestamp.type=LogAppendTime, \
         and retention.ms counts from when they became visible.",
    )
    .range(0, 100 * 366 * 86_400_000)
    .unit(Milliseconds),
    ConfigKey::topic(
        "delay.max.ms",
        Long,
        "31622400000",
        "The longest delay; a batch that asks for a longer one is refused.",
    )
    // A due time has to stay within what a batch header can carry.
    .range(1, 100 * 366 * 86_400_000)
    .unit(Milliseconds),
    ConfigKey::topic(
        "delay.max.pending.records",
        Long,
        "-1",
        "How many records of the topic may be pending; a batch that would delay more is refused. Producers are \
         slowed down from 80 % of it. -1 for no limit.",
    )
    .min(-1),
    ConfigKey::topic(
        "delay.max.pending.bytes",
        Long,
        "-1",
        "The same for the bytes that pending records of the topic take on disk.",
    )
    .min(-1)
    .unit(Bytes),
    ConfigKey::topic(
        "delay.coalesce.ms",
        Long,
        "10",
        "Records of one batch that are due no further apart are delivered together in that batch, when \
         the last of them is due.",
    )
    .range(0, 86_400_000)
    .unit(Milliseconds),
    ConfigKey::topic(
        "delay.threshold.ms",
        Long,
        "0",
        "A record timestamp that lies no further in the future does not delay: for producers whose clocks \
         are ahead.",
    )
    .range(0, 86_400_000)
    .unit(Milliseconds),
    ConfigKey::topic(
        "delay.deliver.timestamp",
        String,
        "create",
        "The timestamp that delivered records have: create (their producer's), due (when they were to \
         become visible) or append (when they did). On a topic with LogAppendTime it is always append.",
    )
    .check(Check::OneOf(&["create", "due", "append"])),
    ConfigKey::topic(
        "delay.expired",
        String,
        "drop",
        "What becomes of a record that has expired (expire-at, expire-ms) when it is due: drop, or dead-letter \
         for the topic NAME.dlq, which has to exist.",
    )
    .check(Check::OneOf(&["drop", "dead-letter"])),
    ConfigKey::topic(
        "delay.trust.header",
        Boolean,
        "false",
        "In mode timestamp: whether a batch is taken as not delayed, unread, where its header says that no \
         record in it is from the future.",
    ),
    ConfigKey::topic(
        "tidewheel.retry.target",
        String,
        "",
        "Makes this a retry topic: a record that is produced to it is delivered to the topic of this name after a \
         pause, and to NAME.dlq when it was tried too often. Both have to exist. Empty for no retry topic.",
    ),
    ConfigKey::topic(
        "tidewheel.retry.backoff.ms",
        String,
        "1000,2x,max 1h,jitter",
        "The pauses of a retry topic: the first one, and optionally by how much each is longer than the one \
         before, the longest, and whether a pause is spread over its upper half. Numbers are ms, or have one of \
         the units s, m, h, d.",
    )
    .check(Check::Custom(checks::retry_backoff)),
    ConfigKey::topic(
        "tidewheel.retry.max",
        Int,
        "5",
        "How often a record of a retry topic goes to its target before it goes to the dead-letter topic.",
    )
    .range(0, 1_000_000),
];
