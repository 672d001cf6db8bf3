"""confluent-kafka (librdkafka) against a broker. See harness.py for the cases."""

import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

import harness
from harness import Adapter, Failure, Record, check

ADMIN_TIMEOUT_S = 20


def error_of(function):
    """The KafkaError code a call ends with."""
    try:
        function()
    except KafkaException as error:
        return error.args[0].code()
    raise Failure("the call went through, an error was due")


class Confluent(Adapter):
    def __init__(self, bootstrap):
        self.common = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(self.common)
        self.consumer = Consumer(
            self.common
            | {
                "group.id": "unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
                "enable.partition.eof": False,
            }
        )

    def new_topic(self, topic, partitions, config):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config)
        self.admin.create_topics([new])[topic].result(ADMIN_TIMEOUT_S)

    def refresh(self, topic):
        self.consumer.list_topics(topic, timeout=10)

    def producer(self, codec="none", acks=-1, idempotent=False, **more):
        config = {"compression.codec": codec, "acks": acks, "enable.idempotence": idempotent}
        config |= {"batch.num.messages": 25, "linger.ms": 5}
        return Producer(self.common | config | more)

    def produce(self, topic, records, codec, acks, idempotent):
        producer = self.producer(codec, acks, idempotent)
        placed = [None] * len(records)

        def delivered(index, error, message):
            if error is None:
                placed[index] = (message.partition(), message.offset() if acks != 0 else None)
            else:
                placed[index] = error

        for n, r in enumerate(records):
            producer.produce(
                topic,
                key=r.key,
                value=r.value,
                headers=r.headers,
                timestamp=r.timestamp or 0,
                partition=-1 if r.partition is None else r.partition,
                on_delivery=lambda e, m, n=n: delivered(n, e, m),
            )
            producer.poll(0)
        left = producer.flush(30)
        check(left == 0, f"{left} records were not delivered in 30 s")
        failed = [p for p in placed if isinstance(p, KafkaError)]
        check(not failed, f"{len(failed)} deliveries failed, first: {failed[:1]}")
        return placed

    def read(self, topic, partition, offset, count, timeout_s):
        self.consumer.assign([TopicPartition(topic, partition, offset)])
        out, until = [], time.monotonic() + timeout_s
        while len(out) < count and (left := until - time.monotonic()) > 0:
            for m in self.consumer.consume(count - len(out), min(left, 0.2)):
                if m.error():
                    raise KafkaException(m.error())
                headers = [(k, v) for k, v in m.headers() or []]
                out.append(
                    Record(m.key(), m.value(), headers, m.timestamp()[1], partition, m.offset())
                )
        self.consumer.unassign()
        return out

    def end_offset(self, topic, partition):
        return self.consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]

    def offset_for_time(self, topic, partition, timestamp):
        asked = [TopicPartition(topic, partition, timestamp)]
        found = self.consumer.offsets_for_times(asked, timeout=10)[0]
        check(found.error is None, f"offsets_for_times: {found.error}")
        return found.offset if found.offset >= 0 else None

    def close(self):
        self.consumer.close()

    def extra_cases(self, prefix):
        return [
            ("admin/create", lambda: self.admin_create(f"{prefix}-admin-create")),
            ("admin/describe-configs", lambda: self.admin_configs(f"{prefix}-admin-configs")),
            ("admin/errors", lambda: self.admin_errors(f"{prefix}-admin-errors")),
            ("admin/delete-recreate", lambda: self.admin_delete(f"{prefix}-admin-delete")),
            ("admin/list-offsets", lambda: self.admin_offsets(f"{prefix}-admin-offsets")),
            ("admin/cluster", self.admin_cluster),
            ("metadata/unknown-topic", lambda: self.unknown_topic(f"{prefix}-nobody-made-this")),
            ("metadata/auto-create", lambda: self.auto_create(f"{prefix}-auto-create")),
            ("fetch/out-of-range", lambda: self.out_of_range(f"{prefix}-out-of-range")),
            ("produce/too-large", lambda: self.too_large(f"{prefix}-too-large")),
        ]

    def describe(self, topic):
        return self.admin.describe_topics(TopicCollection([topic]))[topic].result(ADMIN_TIMEOUT_S)

    def admin_create(self, topic):
        self.create_topic(topic, 5, {})
        seen = self.describe(topic)
        check([p.id for p in seen.partitions] == list(range(5)), f"partitions {seen.partitions}")
        for p in seen.partitions:
            check(p.leader is not None and p.leader.id >= 0, f"partition {p.id} has no leader")
            check(
                [n.id for n in p.replicas] == [n.id for n in p.isr],
                f"partition {p.id}: isr {p.isr}",
            )
        check(not seen.is_internal, "is_internal is set")
        return self.describe(topic).name

    def configs_of(self, kind, name):
        resource = ConfigResource(kind, name)
        return self.admin.describe_configs([resource])[resource].result(ADMIN_TIMEOUT_S)

    def admin_configs(self, topic):
        self.create_topic(topic, 1, {"retention.ms": "3600000", "max.message.bytes": "20000"})
        seen = self.configs_of(ResourceType.TOPIC, topic)
        check(seen["retention.ms"].value == "3600000", f"retention.ms {seen['retention.ms'].value}")
        check(
            seen["retention.ms"].source == 1, f"retention.ms source {seen['retention.ms'].source}"
        )
        check(not seen["retention.ms"].is_default, "retention.ms is a default")
        check(
            seen["cleanup.policy"].value == "delete",
            f"cleanup.policy {seen['cleanup.policy'].value}",
        )
        check(
            seen["compression.type"].value == "producer",
            f"compression.type {seen['compression.type'].value}",
        )
        check(seen["min.insync.replicas"].value == "1", "min.insync.replicas")
        check(len(seen) >= 20, f"only {len(seen)} topic settings")
        node = next(iter(self.admin.list_topics(timeout=10).brokers))
        broker = self.configs_of(ResourceType.BROKER, str(node))
        check(
            "num.partitions" in broker and "log.retention.hours" in broker,
            f"broker settings {len(broker)}",
        )

    def admin_errors(self, topic):
        self.create_topic(topic, 1, {})
        make = lambda name, parts=1, **config: lambda: self.create_topic(name, parts, config)
        check(error_of(make(topic)) == KafkaError.TOPIC_ALREADY_EXISTS, "create twice")
        check(error_of(make("no spaces")) == KafkaError.TOPIC_EXCEPTION, "bad name")
        check(
            error_of(make(topic + "-b", no_such_key="1")) == KafkaError.INVALID_CONFIG,
            "unknown key",
        )
        bad = lambda: self.create_topic(topic + "-c", 1, {"retention.ms": "soon"})
        check(error_of(bad) == KafkaError.INVALID_CONFIG, "bad value")
        gone = lambda: self.admin.delete_topics([topic + "-d"])[topic + "-d"].result(
            ADMIN_TIMEOUT_S
        )
        check(error_of(gone) == KafkaError.UNKNOWN_TOPIC_OR_PART, "delete of an unknown topic")

    def admin_delete(self, topic):
        ids = set()
        for n in range(3):
            self.create_topic(topic, 1, {})
            ids.add(str(self.describe(topic).topic_id))
            placed = self.produce(topic, [Record(None, b"round %d" % n)], "none", -1, False)
            check(placed == [(0, 0)], f"round {n}: first record at {placed}")
            got = self.read(topic, 0, OFFSET_BEGINNING, 1, 10)
            check([r.value for r in got] == [b"round %d" % n], f"round {n}: read {got}")
            self.admin.delete_topics([topic])[topic].result(ADMIN_TIMEOUT_S)
            self.check_gone(topic, lambda: self.admin.list_topics(timeout=10).topics)
        check(len(ids) == 3, f"three topics had the ids {ids}")

    def admin_offsets(self, topic):
        self.create_topic(topic, 1, harness.TOPIC_CONFIG)
        stamps = [5_000, 9_000, 7_000, 8_000]
        base = int(time.time() * 1000) - 100_000
        records = [Record(None, b"v", [], base + s, 0) for s in stamps]
        for codec in ("none", "gzip"):
            self.produce(topic, records, codec, -1, False)
        level = IsolationLevel.READ_UNCOMMITTED

        def ask(spec):
            found = self.admin.list_offsets({TopicPartition(topic, 0): spec}, isolation_level=level)
            return next(iter(found.values())).result(ADMIN_TIMEOUT_S)

        check(ask(OffsetSpec.earliest()).offset == 0, "earliest")
        check(ask(OffsetSpec.latest()).offset == 8, "latest")
        top = ask(OffsetSpec.max_timestamp())
        check(
            (top.offset, top.timestamp) == (1, base + 9_000),
            f"max timestamp at {top.offset}, {top.timestamp - base}",
        )
        at = ask(OffsetSpec.for_timestamp(base + 6_000))
        check((at.offset, at.timestamp) == (1, base + 9_000), f"timestamp at {at.offset}")
        check(ask(OffsetSpec.for_timestamp(base + 9_001)).offset == -1, "timestamp past the end")

    def admin_cluster(self):
        seen = self.admin.describe_cluster().result(ADMIN_TIMEOUT_S)
        ids = [n.id for n in seen.nodes]
        check(seen.cluster_id, "no cluster id")
        check(
            seen.controller is not None and seen.controller.id in ids,
            f"controller {seen.controller} of {ids}",
        )

    def unknown_topic(self, topic):
        consumer = Consumer(self.common | {"group.id": "unused", "allow.auto.create.topics": False})
        try:
            error = consumer.list_topics(topic, timeout=10).topics[topic].error
            check(error and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART, f"error {error}")
        finally:
            consumer.close()
        check(topic not in self.admin.list_topics(timeout=10).topics, "asking created the topic")

    def auto_create(self, topic):
        placed = self.produce(topic, [Record(b"k", b"v")], "none", -1, False)
        check(placed[0][1] == 0, f"placed {placed}")
        check(topic in self.admin.list_topics(timeout=10).topics, "not listed")

    def out_of_range(self, topic):
        self.create_topic(topic, 1, {})
        self.produce(topic, [Record(None, b"v")], "none", -1, False)
        code = error_of(lambda: self.read(topic, 0, 1_000, 1, 10))
        check(code == KafkaError._AUTO_OFFSET_RESET, f"code {code}")

    def too_large(self, topic):
        self.create_topic(topic, 1, {"max.message.bytes": "20000"})
        seen = []
        producer = self.producer()
        for size in (30_000, 10):
            producer.produce(
                topic, value=b"x" * size, on_delivery=lambda e, m: seen.append(e and e.code())
            )
            producer.flush(20)
        check(seen == [KafkaError.MSG_SIZE_TOO_LARGE, None], f"codes {seen}")


if __name__ == "__main__":
    ARGS = harness.arguments(["matrix", "digest"])
    harness.run(Confluent(ARGS.bootstrap), ARGS)
