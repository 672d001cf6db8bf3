"""kafka-python against a broker. See harness.py for the cases."""

import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.admin import OffsetSpec

import harness
from harness import Adapter, Failure, Record, check


def error_of(function):
    """The class of the Kafka error a call ends with."""
    try:
        function()
    except errors.KafkaError as error:
        return type(error)
    raise Failure("the call went through, an error was due")


class KafkaPython(Adapter):
    # kafka-python refuses to send a header without a value, and a record with neither key nor value.
    null_headers = False
    null_records = False

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self.consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=20,
        )

    def new_topic(self, topic, partitions, config):
        self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])

    def producer(self, codec="none", acks=-1, idempotent=False, **more):
        return KafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all" if acks < 0 else acks,
            enable_idempotence=idempotent,
            compression_type=None if codec == "none" else codec,
            linger_ms=5,
            batch_size=16_384,
            **more,
        )

    def produce(self, topic, records, codec, acks, idempotent):
        producer = self.producer(codec, acks, idempotent)
        try:
            sent = [
                producer.send(
                    topic,
                    value=r.value,
                    key=r.key,
                    headers=r.headers,
                    partition=r.partition,
                    timestamp_ms=r.timestamp,
                )
                for r in records
            ]
            producer.flush(30)
            done = [future.get(30) for future in sent]
        finally:
            producer.close(timeout=10)
        return [(d.partition, d.offset if acks != 0 else None) for d in done]

    def read(self, topic, partition, offset, count, timeout_s):
        at = TopicPartition(topic, partition)
        self.consumer.assign([at])
        self.consumer.seek(at, offset)
        out, until = [], time.monotonic() + timeout_s
        while len(out) < count and (left := until - time.monotonic()) > 0:
            found = self.consumer.poll(int(min(left, 0.2) * 1000), max_records=count - len(out))
            for m in found.get(at, []):
                out.append(
                    Record(m.key, m.value, list(m.headers), m.timestamp, partition, m.offset)
                )
        return out

    def end_offset(self, topic, partition):
        at = TopicPartition(topic, partition)
        return self.consumer.end_offsets([at])[at]

    def offset_for_time(self, topic, partition, timestamp):
        at = TopicPartition(topic, partition)
        found = self.consumer.offsets_for_times({at: timestamp})[at]
        return None if found is None else found.offset

    def close(self):
        self.consumer.close(autocommit=False)
        self.admin.close()

    def extra_cases(self, prefix):
        return [
            ("admin/create", lambda: self.admin_create(f"{prefix}-admin-create")),
            ("admin/describe-configs", lambda: self.admin_configs(f"{prefix}-admin-configs")),
            ("admin/errors", lambda: self.admin_errors(f"{prefix}-admin-errors")),
            ("admin/delete-recreate", lambda: self.admin_delete(f"{prefix}-admin-delete")),
            ("admin/list-offsets", lambda: self.admin_offsets(f"{prefix}-admin-offsets")),
            ("admin/cluster", self.admin_cluster),
            ("metadata/auto-create", lambda: self.auto_create(f"{prefix}-auto-create")),
            ("fetch/out-of-range", lambda: self.out_of_range(f"{prefix}-out-of-range")),
            ("produce/too-large", lambda: self.too_large(f"{prefix}-too-large")),
        ]

    def describe(self, topic):
        return self.admin.describe_topics([topic])[0]

    def admin_create(self, topic):
        self.create_topic(topic, 5, {})
        seen = self.describe(topic)
        partitions = sorted(seen["partitions"], key=lambda p: p["partition_index"])
        check(
            [p["partition_index"] for p in partitions] == list(range(5)), f"partitions {partitions}"
        )
        for p in partitions:
            check(p["leader_id"] >= 0, f"no leader: {p}")
            check(p["replica_nodes"] == p["isr_nodes"] == [p["leader_id"]], f"replicas: {p}")
        check(not seen["is_internal"], "is_internal is set")
        return str(seen.get("topic_id"))

    def configs_of(self, kind, name):
        seen = self.admin.describe_configs(
            [ConfigResource(kind, name)], include_synonyms=True, config_filter="all"
        )
        return seen[kind.name.lower()][name]

    def admin_configs(self, topic):
        self.create_topic(topic, 1, {"retention.ms": "3600000"})
        seen = self.configs_of(ConfigResourceType.TOPIC, topic)
        retention = seen["retention.ms"]
        check(retention["value"] == "3600000", f"retention.ms {retention}")
        check(retention["config_source"] == "DYNAMIC_TOPIC_CONFIG", f"retention.ms {retention}")
        limit = seen["max.message.bytes"]
        check(limit["value"] == "1048588", f"max.message.bytes {limit}")
        check(limit["config_source"] == "DEFAULT_CONFIG", f"max.message.bytes {limit}")
        check(not limit["read_only"], f"max.message.bytes {limit}")
        check(len(seen) >= 20, f"only {len(seen)} topic settings")
        node = str(self.admin.describe_cluster()["brokers"][0]["broker_id"])
        broker = self.configs_of(ConfigResourceType.BROKER, node)
        check("num.partitions" in broker, f"broker settings {len(broker)}")

    def admin_errors(self, topic):
        self.create_topic(topic, 1, {})
        make = lambda name, **config: lambda: self.new_topic(name, 1, config)
        check(error_of(make(topic)) is errors.TopicAlreadyExistsError, "create twice")
        check(error_of(make("no spaces")) is errors.InvalidTopicError, "bad name")
        check(
            error_of(make(topic + "-b", no_such_key="1")) is errors.InvalidConfigurationError,
            "bad key",
        )
        gone = lambda: self.admin.delete_topics([topic + "-d"])
        check(error_of(gone) is errors.UnknownTopicOrPartitionError, "delete of an unknown topic")

    def admin_delete(self, topic):
        ids = set()
        for n in range(3):
            self.create_topic(topic, 1, {})
            ids.add(str(self.describe(topic).get("topic_id")))
            placed = self.produce(topic, [Record(None, b"round %d" % n)], "none", -1, False)
            check(placed == [(0, 0)], f"round {n}: first record at {placed}")
            self.admin.delete_topics([topic])
            self.check_gone(topic, self.admin.list_topics)
        check(len(ids) == 3, f"three topics had the ids {ids}")

    def admin_offsets(self, topic):
        self.create_topic(topic, 1, harness.TOPIC_CONFIG)
        base = int(time.time() * 1000) - 100_000
        records = [Record(None, b"v", [], base + s, 0) for s in (5_000, 9_000, 7_000, 8_000)]
        for codec in ("none", "gzip"):
            self.produce(topic, records, codec, -1, False)
        at = TopicPartition(topic, 0)

        def ask(spec):
            found = self.admin.list_partition_offsets({at: spec})[at]
            return found.offset, found.timestamp - base

        check(ask(OffsetSpec.EARLIEST)[0] == 0, f"earliest {ask(OffsetSpec.EARLIEST)}")
        check(ask(OffsetSpec.LATEST)[0] == 8, f"latest {ask(OffsetSpec.LATEST)}")
        top = ask(OffsetSpec.MAX_TIMESTAMP)
        check(top == (1, 9_000), f"max timestamp {top}")
        check(ask(base + 6_000) == (1, 9_000), f"timestamp {ask(base + 6_000)}")
        check(ask(base + 9_001)[0] == -1, "timestamp past the end")
        local = ask(OffsetSpec.EARLIEST_LOCAL)[0]
        check(local == 0, f"earliest local {local}")

    def admin_cluster(self):
        seen = self.admin.describe_cluster()
        ids = [b["broker_id"] for b in seen["brokers"]]
        check(seen["cluster_id"], "no cluster id")
        check(seen["controller_id"] in ids, f"controller {seen['controller_id']} of {ids}")
        return str(self.admin.get_broker_version_data(ids[0]).broker_version)

    def auto_create(self, topic):
        placed = self.produce(topic, [Record(b"k", b"v")], "none", -1, False)
        check(placed[0][1] == 0, f"placed {placed}")
        check(topic in self.admin.list_topics(), "not listed")

    def out_of_range(self, topic):
        self.create_topic(topic, 1, {})
        self.produce(topic, [Record(None, b"v")], "none", -1, False)
        code = error_of(lambda: self.read(topic, 0, 1_000, 1, 10))
        check(issubclass(code, errors.OffsetOutOfRangeError), f"error {code}")

    def too_large(self, topic):
        self.create_topic(topic, 1, {"max.message.bytes": "20000"})
        big = [Record(None, b"x" * 30_000)]
        code = error_of(lambda: self.produce(topic, big, "none", -1, False))
        check(code is errors.MessageSizeTooLargeError, f"error {code}")
        placed = self.produce(topic, [Record(None, b"x")], "none", -1, False)
        check(placed == [(0, 0)], f"placed {placed}")


if __name__ == "__main__":
    ARGS = harness.arguments(["matrix", "digest"])
    harness.run(KafkaPython(ARGS.bootstrap), ARGS)
