"""The cases of the admin API, the same for every Python client program; see harness.py.

A program's `Library` says what its client offers in the terms below, and names in `lacks` the cases
for which it offers nothing. Nothing here imports a Kafka client.
"""

import time
from dataclasses import dataclass
from typing import Optional

import harness
from harness import READ_TIMEOUT_S, Adapter, Failure, Record, check

# Kinds of resources that have settings.
TOPIC, BROKER = 2, 4
# Where a setting comes from.
OF_TOPIC, OF_BROKER, BY_DEFAULT = 1, 2, 5
# How far in the future delayed records are dated.
DELAY_MS = 4_000
# How long after it was due, or after it is asked for where that is later, a record may be read.
LATE_MS = 5_000
# Offsets that are asked for by name instead of by a time.
LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3
# Error codes of the protocol.
OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
MESSAGE_TOO_LARGE = 10
INVALID_TOPIC = 17
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_REPLICATION_FACTOR = 38
INVALID_CONFIG = 40
INVALID_REQUEST = 42
ELECTION_NOT_NEEDED = 84


@dataclass(frozen=True)
class Setting:
    value: Optional[str]
    source: int
    read_only: bool = False


@dataclass
class Description:
    """A topic; `id` is None where the client does not show it."""

    id: Optional[str]
    internal: bool
    partitions: list  # (index, leader, replicas, in-sync replicas)


class Library(Adapter):
    """What a client with an admin API must offer besides."""

    lacks = frozenset()
    # The code with which a read outside the log ends, where it is not the broker's.
    out_of_range = OFFSET_OUT_OF_RANGE
    # Whether `replace_settings` sends what it is told and nothing else.
    replaces = True

    def code(self, error):
        """The protocol's error code of an exception; None where it is not the broker's."""
        raise NotImplementedError

    def make(self, topic, partitions, replicas, config, check_only):
        raise NotImplementedError

    def delete_topic(self, topic):
        raise NotImplementedError

    def names(self):
        """The names of all topics."""
        raise NotImplementedError

    def describe(self, topic):
        raise NotImplementedError

    def settings(self, kind, name):
        """{name: Setting} of a topic or a broker."""
        raise NotImplementedError

    def cluster(self):
        """(id of the cluster, id of the controller, ids of the brokers)."""
        raise NotImplementedError

    def offset(self, topic, at):
        """(offset, timestamp) in partition 0; the offset is -1 where nothing is so late."""
        raise NotImplementedError

    def replace_settings(self, kind, name, values):
        """AlterConfigs: what is not named falls back to its default."""
        raise NotImplementedError

    def change_settings(self, kind, name, changes):
        """IncrementalAlterConfigs; a value of None deletes."""
        raise NotImplementedError

    def grow(self, topic, count, check_only):
        """CreatePartitions."""
        raise NotImplementedError

    def delete_records(self, topic, partition, before):
        """Deletes what lies before an offset (-1: all); the first offset that is left."""
        raise NotImplementedError

    def log_sizes(self, topic):
        """{partition: bytes} out of DescribeLogDirs."""
        raise NotImplementedError

    def elect(self, topic, partition):
        """The code that ElectLeaders answers for the preferred leader of a partition."""
        raise NotImplementedError

    def reassignments(self):
        """The partitions that are being reassigned."""
        raise NotImplementedError

    def producers(self, topic, partition):
        """[(producer id, epoch, last sequence number)] out of DescribeProducers."""
        raise NotImplementedError

    # Whether it can delete groups.
    deletes_groups = True

    def join(self, group, topic, auto_commit):
        """A new groups.Member that reads the topic; from its start where nothing is committed."""
        raise NotImplementedError

    def groups(self):
        """The names of all groups."""
        raise NotImplementedError

    def describe_group(self, group):
        """(state in small letters, number of members)."""
        raise NotImplementedError

    def delete_group(self, group):
        raise NotImplementedError

    def new_topic(self, topic, partitions, config):
        self.make(topic, partitions, 1, config, False)

    def extra_cases(self, prefix):
        return Admin(self, prefix).cases(CASES)

    def broker_cases(self, prefix):
        return Admin(self, prefix).cases(BROKER_CASES)


class Admin:
    """The cases, each with a topic of its own."""

    def __init__(self, library, prefix):
        self.library, self.prefix = library, prefix

    def cases(self, bodies):
        for name, body in bodies.items():
            if name not in self.library.lacks:
                topic = f"{self.prefix}-{name.replace('/', '-')}"
                yield name, lambda body=body, topic=topic: body(self, topic)

    def shows(self, body):
        """What was acknowledged holds at once; Apache Kafka takes a moment."""
        until = time.monotonic() + (READ_TIMEOUT_S if self.library.settle else 0)
        while True:
            try:
                return body()
            except Exception:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.05)

    def refused(self, what, code, function):
        """Runs what must end with this code of the protocol."""
        try:
            seen = function()
        except Failure:
            raise
        except Exception as error:
            got = self.library.code(error)
            check(got == code, f"{what}: answered {error!r}, due is error {code}")
            return
        raise Failure(f"{what}: went through with {seen!r}, due is error {code}")

    def send(self, topic, values, idempotent=False, partition=0):
        """Sends uncompressed, acked by all; gives the offsets."""
        now = int(time.time() * 1000)
        records = [Record(None, v, [], now + n, partition) for n, v in enumerate(values)]
        return [o for _, o in self.library.produce(topic, records, "none", -1, idempotent)]

    def has(self, kind, name, due):
        seen = self.library.settings(kind, name)
        for key, setting in due.items():
            got = (seen[key].value, seen[key].source)
            check(got == setting, f"{key} is {got}, due is {setting}")

    def limit_holds(self, topic):
        """A limit of 20,000 bytes refuses 30,000 and takes less."""
        large = lambda: self.send(topic, [b"x" * 30_000])
        self.refused("30,000 bytes", MESSAGE_TOO_LARGE, large)
        self.send(topic, [b"x"])

    def create(self, topic):
        self.library.create_topic(topic, 5, {})
        seen = self.library.describe(topic)
        indexes = [index for index, *_ in seen.partitions]
        check(indexes == list(range(5)), f"partitions {seen.partitions}")
        for index, leader, replicas, isr in seen.partitions:
            check(leader >= 0 and replicas == isr == [leader], f"{index}: {leader} {replicas} {isr}")
        check(not seen.internal, "is internal")
        check(topic in self.library.names(), "not listed")

    def describe_configs(self, topic):
        self.library.create_topic(topic, 1, {"retention.ms": "3600000"})
        due = {
            "retention.ms": ("3600000", OF_TOPIC),
            "max.message.bytes": ("1048588", BY_DEFAULT),
            "cleanup.policy": ("delete", BY_DEFAULT),
            "compression.type": ("producer", BY_DEFAULT),
        }
        self.has(TOPIC, topic, due)
        seen = self.library.settings(TOPIC, topic)
        check(seen["min.insync.replicas"].value == "1", "min.insync.replicas")
        check(len(seen) >= 20, f"only {len(seen)} topic settings")
        check(not any(setting.read_only for setting in seen.values()), "a read-only topic setting")
        _, node, _ = self.library.cluster()
        broker = self.library.settings(BROKER, str(node))
        missing = {"num.partitions", "log.retention.hours", "log.dirs"} - set(broker)
        check(not missing, f"the broker does not show {missing}")

    def errors(self, topic):
        self.library.create_topic(topic, 1, {})
        for what, code, name, partitions, replicas, config in [
            ("a name that is taken", TOPIC_ALREADY_EXISTS, topic, 1, 1, {}),
            ("a bad name", INVALID_TOPIC, "no spaces", 1, 1, {}),
            ("no partitions", INVALID_PARTITIONS, f"{topic}-a", 0, 1, {}),
            ("too many replicas", INVALID_REPLICATION_FACTOR, f"{topic}-a", 1, 100, {}),
            ("an unknown setting", INVALID_CONFIG, f"{topic}-a", 1, 1, {"no.such.key": "1"}),
            ("a bad value", INVALID_CONFIG, f"{topic}-a", 1, 1, {"retention.ms": "soon"}),
        ]:
            make = lambda: self.library.make(name, partitions, replicas, config, False)
            self.refused(what, code, make)
        self.library.make(f"{topic}-checked", 1, 1, {}, True)
        for name in (f"{topic}-a", f"{topic}-checked"):
            delete = lambda: self.library.delete_topic(name)
            self.refused("delete of an unknown topic", UNKNOWN_TOPIC_OR_PARTITION, delete)

    def delete_recreate(self, topic):
        ids = []
        for n in range(3):
            self.library.create_topic(topic, 1, {})
            ids.append(self.library.describe(topic).id)
            value = b"round %d" % n
            placed = self.send(topic, [value])
            check(placed == [0], f"round {n}: first record at {placed}")
            got = [r.value for r in self.library.read(topic, 0, 0, 1, READ_TIMEOUT_S)]
            check(got == [value], f"round {n}: read {got}")
            self.library.delete_topic(topic)
            self.shows(lambda: check(topic not in self.library.names(), "still listed"))
        check(ids[0] is None or len(set(ids)) == 3, f"three topics had the ids {ids}")

    def list_offsets(self, topic):
        self.library.create_topic(topic, 1, harness.TOPIC_CONFIG)
        base = int(time.time() * 1000) - 100_000
        records = [Record(None, b"v", [], base + s, 0) for s in (5_000, 9_000, 7_000, 8_000)]
        for codec in ("none", "gzip"):
            self.library.produce(topic, records, codec, -1, False)
        ask = lambda at: self.library.offset(topic, at)
        check(ask(EARLIEST)[0] == 0, f"earliest {ask(EARLIEST)}")
        check(ask(LATEST)[0] == 8, f"latest {ask(LATEST)}")
        check(ask(base + 6_000) == (1, base + 9_000), f"timestamp {ask(base + 6_000)}, from {base}")
        check(ask(base + 9_001)[0] == -1, "timestamp past the end")
        if "max timestamp" not in self.library.lacks:
            top = ask(MAX_TIMESTAMP)
            check(top == (1, base + 9_000), f"max timestamp {top}, from {base}")

    def cluster(self, _):
        cluster, controller, nodes = self.library.cluster()
        check(cluster, "no cluster id")
        check(controller in nodes, f"controller {controller} of {nodes}")

    def unknown_topic(self, topic):
        for what in ("asked once", "asked again"):
            ask = lambda: self.library.describe(topic)
            self.refused(what, UNKNOWN_TOPIC_OR_PARTITION, ask)
        check(topic not in self.library.names(), "asking created the topic")

    def auto_create(self, topic):
        placed = self.library.produce(topic, [Record(b"k", b"v")], "none", -1, False)
        check(placed[0][1] == 0, f"placed {placed}")
        check(topic in self.library.names(), "not listed")

    def out_of_range(self, topic):
        self.library.create_topic(topic, 1, {})
        self.send(topic, [b"v"])
        read = lambda: self.library.read(topic, 0, 1_000, 1, 10)
        self.refused("past the end", self.library.out_of_range, read)

    def too_large(self, topic):
        self.library.create_topic(topic, 1, {"max.message.bytes": "20000"})
        self.limit_holds(topic)

    def delayed(self, topic):
        """Records from the future are read when their time has come, and not before.

        With every codec and whatever acknowledgement is asked for; some ask by a header.
        """
        if self.library.settle:  # Apache Kafka has no delays.
            return
        self.library.create_topic(topic, 1, {"delay.mode": "both"})
        sent, dues, due = [], [], 0

        def early(what):
            left = due - int(time.time() * 1000)
            check(left <= 0, f"{what} {left} ms before it was due")

        for codec in self.library.codecs:
            for mode, (acks, idempotent) in harness.MODES.items():
                now = int(time.time() * 1000)
                # Each a moment after the last one, so that their order is known.
                due = max(now + DELAY_MS, due + 1)
                record = Record(b"k", f"{codec} {mode}".encode(), [], due, 0)
                if len(sent) % 4 == 3:
                    record.timestamp = now
                    record.headers = [("delay-until", str(due).encode())]
                sent.append(record)
                dues.append(due)
                ((_, offset),) = self.library.produce(topic, sent[-1:], codec, acks, idempotent)
                if offset is not None and offset >= 0 and acks != 0:
                    early(f"{codec} {mode}: acked at {offset}")
        if self.library.end_offset(topic, 0) == len(sent):
            early("the log ended")
        for at, due in enumerate(dues):
            self.in_time(topic, at, due)
        got = self.library.read(topic, 0, 0, len(sent), READ_TIMEOUT_S)
        harness.compare(got, sent, 0, "delayed records")
        check(self.library.end_offset(topic, 0) == len(sent), "more than was sent")

    def in_time(self, topic, offset, due):
        """A record is read when its own time has come, not before and not long after."""
        asked = int(time.time() * 1000)
        got = self.library.read(topic, 0, offset, 1, READ_TIMEOUT_S)
        now = int(time.time() * 1000)
        check(len(got) == 1 and now >= due, f"{offset}: {len(got)} read {due - now} ms early")
        check(now - max(asked, due) <= LATE_MS, f"{offset}: read {now - due} ms after it was due")

    def alter_configs(self, topic):
        self.library.create_topic(topic, 1, {"retention.ms": "3600000"})
        alter = lambda name, **more: lambda: self.library.replace_settings(TOPIC, name, more)
        alter(topic, **{"max.message.bytes": "20000"})()
        left = ("604800000", BY_DEFAULT) if self.library.replaces else ("3600000", OF_TOPIC)
        due = {"retention.ms": left, "max.message.bytes": ("20000", OF_TOPIC)}
        self.shows(lambda: self.has(TOPIC, topic, due))
        self.refused("an unknown setting", INVALID_CONFIG, alter(topic, **{"no.such.key": "1"}))
        self.refused("a bad value", INVALID_CONFIG, alter(topic, **{"retention.ms": "soon"}))
        unknown = alter(f"{topic}-none", **{"retention.ms": "1"})
        self.refused("an unknown topic", UNKNOWN_TOPIC_OR_PARTITION, unknown)
        self.has(TOPIC, topic, due)
        self.shows(lambda: self.limit_holds(topic))

    def incremental_alter_configs(self, topic):
        self.library.create_topic(topic, 1, {"retention.ms": "3600000"})
        change = lambda name, changes: self.library.change_settings(TOPIC, name, changes)
        change(topic, {"max.message.bytes": "20000"})
        due = {"retention.ms": ("3600000", OF_TOPIC), "max.message.bytes": ("20000", OF_TOPIC)}
        self.shows(lambda: self.has(TOPIC, topic, due))
        self.shows(lambda: self.limit_holds(topic))
        for what, code, name, changes in [
            ("an unknown setting", INVALID_CONFIG, topic, {"no.such.key": "1"}),
            ("a bad value", INVALID_CONFIG, topic, {"retention.ms": "soon"}),
            ("an unknown topic", UNKNOWN_TOPIC_OR_PARTITION, f"{topic}-none", {"retention.ms": "1"}),
        ]:
            self.refused(what, code, lambda: change(name, changes))
        self.has(TOPIC, topic, due)
        change(topic, {"retention.ms": None, "max.message.bytes": None})
        due = {
            "retention.ms": ("604800000", BY_DEFAULT),
            "max.message.bytes": ("1048588", BY_DEFAULT),
        }
        self.shows(lambda: self.has(TOPIC, topic, due))

    def create_partitions(self, topic):
        self.library.create_topic(topic, 2, {})
        for what, code, name, count in [
            ("as many", INVALID_PARTITIONS, topic, 2),
            ("fewer", INVALID_PARTITIONS, topic, 1),
            ("an unknown topic", UNKNOWN_TOPIC_OR_PARTITION, f"{topic}-none", 4),
        ]:
            self.refused(what, code, lambda: self.library.grow(name, count, False))
        self.library.grow(topic, 4, True)
        self.library.grow(topic, 3, False)
        seen = lambda: len(self.library.describe(topic).partitions)
        self.shows(lambda: check(seen() == 3, f"{seen()} partitions"))
        for p in range(3):
            self.shows(lambda: self.library.end_offset(topic, p))
            self.library.refresh(topic)
            value = b"in %d" % p
            check(self.send(topic, [value], partition=p) == [0], f"partition {p} is not empty")
            got = [r.value for r in self.library.read(topic, p, 0, 1, READ_TIMEOUT_S)]
            check(got == [value], f"partition {p}: read {got}")

    def delete_records(self, topic):
        self.library.create_topic(topic, 1, harness.TOPIC_CONFIG)
        values = [b"%d" % n for n in range(10)]
        self.send(topic, values)
        low = self.library.delete_records(topic, 0, 4)
        check(low == 4, f"the log starts at {low}, due is 4")
        check(self.library.offset(topic, EARLIEST)[0] == 4, "the earliest offset is not 4")
        got = [r.value for r in self.library.read(topic, 0, 4, 6, READ_TIMEOUT_S)]
        check(got == values[4:], f"read {got}")
        before = lambda: self.library.read(topic, 0, 3, 1, 10)
        self.refused("what is deleted", self.library.out_of_range, before)
        beyond = lambda: self.library.delete_records(topic, 0, 11)
        self.refused("beyond the end", OFFSET_OUT_OF_RANGE, beyond)
        low = self.library.delete_records(topic, 0, -1)
        check(low == 10, f"the log starts at {low}, due is its end")
        check(self.send(topic, [b"next"]) == [10], "the next record is not at 10")

    def log_dirs(self, topic):
        self.library.create_topic(topic, 2, {})
        self.send(topic, [b"x" * 5_000], partition=1)
        seen = self.library.log_sizes(topic)
        check(sorted(seen) == [0, 1], f"partitions {seen}")
        check(seen[0] == 0 and 5_000 < seen[1] < 5_200, f"bytes {seen}")

    def elect_leaders(self, topic):
        self.library.create_topic(topic, 1, {})
        seen = self.library.elect(topic, 0)
        check(seen == ELECTION_NOT_NEEDED, f"answered {seen}")
        seen = self.library.elect(topic, 7)
        check(seen == UNKNOWN_TOPIC_OR_PARTITION, f"of an unknown partition: answered {seen}")

    def list_reassignments(self, _):
        seen = self.library.reassignments()
        check(not seen, f"reassigned are {seen}")

    def describe_producers(self, topic):
        self.library.create_topic(topic, 1, {})
        check(self.library.producers(topic, 0) == [], "producers before the first record")
        self.send(topic, [b"1", b"2", b"3"], idempotent=True)
        seen = self.library.producers(topic, 0)
        check(len(seen) == 1 and seen[0][0] >= 0 and seen[0][1:] == (0, 2), f"producers {seen}")

    def alter_broker_configs(self, topic):
        """A setting of the broker is the default of topics, from the answer on."""
        library = self.library
        library.create_topic(topic, 1, {})
        node = str(library.cluster()[1])
        incremental = "admin/incremental-alter-configs" not in library.lacks
        alter = library.change_settings if incremental else library.replace_settings
        alter(BROKER, node, {"message.max.bytes": "20000"})
        due = ("20000", OF_BROKER)
        self.shows(lambda: self.has(BROKER, node, {"message.max.bytes": due}))
        self.shows(lambda: self.has(TOPIC, topic, {"max.message.bytes": due}))
        self.shows(lambda: self.limit_holds(topic))
        for name, value in [("message.max.bytes", "many"), ("log.dirs", "/elsewhere")]:
            self.refused(name, INVALID_REQUEST, lambda: alter(BROKER, node, {name: value}))
        self.has(BROKER, node, {"message.max.bytes": due})
        alter(BROKER, node, {"message.max.bytes": None} if incremental else {})
        due = {"max.message.bytes": ("1048588", BY_DEFAULT)}
        self.shows(lambda: self.has(TOPIC, topic, due))
        self.shows(lambda: self.send(topic, [b"x" * 30_000]))


CASES = {
    "admin/create": Admin.create,
    "admin/describe-configs": Admin.describe_configs,
    "admin/errors": Admin.errors,
    "admin/delete-recreate": Admin.delete_recreate,
    "admin/list-offsets": Admin.list_offsets,
    "admin/cluster": Admin.cluster,
    "admin/alter-configs": Admin.alter_configs,
    "admin/incremental-alter-configs": Admin.incremental_alter_configs,
    "admin/create-partitions": Admin.create_partitions,
    "admin/delete-records": Admin.delete_records,
    "admin/log-dirs": Admin.log_dirs,
    "admin/elect-leaders": Admin.elect_leaders,
    "admin/list-reassignments": Admin.list_reassignments,
    "admin/describe-producers": Admin.describe_producers,
    "metadata/unknown-topic": Admin.unknown_topic,
    "metadata/auto-create": Admin.auto_create,
    "fetch/out-of-range": Admin.out_of_range,
    "produce/too-large": Admin.too_large,
    "produce/delayed": Admin.delayed,
}
# On a broker where nobody else is disturbed.
BROKER_CASES = {"admin/alter-broker-configs": Admin.alter_broker_configs}
